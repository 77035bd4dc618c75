//! Drives a load: threads with a share of the connections each, in a closed loop or an open one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::ProgressBar;
use rustix::time::ClockId;
use tokio::runtime::{self, Handle, Runtime};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Anything;
use crate::alarm::Alarm;
use crate::machine::own_cpu_time;
use crate::measure::{Charged, Measured};
use crate::profile::Profile;
use crate::target::paid::CHARGE_PERIOD_MS;
use crate::target::{ANSWER_WITHIN, Connection, Outcome, Prepared};
use crate::workload::{Odds, Operation, Workload};

#[cfg(test)]
mod tests;

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// When a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As soon as the connection has its answer to the one before.
    Closed,
    /// When it is due, so many a second over all connections: the first that is free takes the
    /// earliest, and its latency counts from when it was due.
    Open {
        /// How many a second.
        per_second: u32,
    },
}

/// When it is enough. A storm is over when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// After a time.
    Time(Duration),
    /// After so many requests, those of the warm-up among them.
    Requests(u64),
}

/// How a profile is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// When a request is sent.
    pub arrival: Arrival,
    /// Callers, with one request at a time each.
    pub connections: usize,
    /// Threads that they are shared out to.
    pub threads: usize,
    /// What begins earlier is asked, and not measured.
    pub warm_up: Duration,
    /// When it is enough; a time begins with the end of the warm-up.
    pub lasting: Lasting,
    /// Repeats what every connection asks.
    pub seed: u64,
}

impl Load {
    /// Threads that have a connection.
    pub fn busy_threads(&self) -> usize {
        self.threads.min(self.connections)
    }

    /// When the request of this number is due, for who is free now, both since the start; nothing
    /// when it is enough.
    fn due(&self, number: u64, now: Duration) -> Option<Duration> {
        let due = match self.arrival {
            Arrival::Closed => now,
            Arrival::Open { per_second } => due_after(number, per_second),
        };
        let goes_on = match self.lasting {
            Lasting::Time(time) => due.max(now) < self.warm_up + time,
            Lasting::Requests(many) => number < many,
        };
        goes_on.then_some(due)
    }

    /// Whether what is sent then, since the start, is measured.
    fn is_measured(&self, sent: Duration) -> bool {
        sent >= self.warm_up
    }

    /// What is due before the end of an open loop, and is not among those that were sent.
    fn unsent(&self, sent: u64) -> u64 {
        let (Arrival::Open { per_second }, Lasting::Time(time)) = (self.arrival, self.lasting)
        else {
            return 0;
        };
        // The first is due at the start, and what is due at the end is not sent any more.
        let nanoseconds = (self.warm_up + time).as_nanos() * u128::from(per_second);
        let due = u64::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        due.saturating_sub(sent)
    }
}

/// What all threads share.
struct Course {
    prepared: Arc<Prepared>,
    profile: Profile,
    load: Load,
    odds: Arc<Odds>,
    /// Until all connections are made and all sessions are open.
    ready: Barrier,
    failed: AtomicBool,
    started: OnceLock<Instant>,
    /// Numbers that somebody took, those after the end among them.
    taken: AtomicU64,
    /// Requests that were sent.
    sent: AtomicU64,
    over: AtomicBool,
}

/// Drives it to its end. Blocks: the generator has threads of its own; `runtime` is where the
/// world was prepared.
///
/// # Errors
/// If a connection cannot be made, a session cannot be opened, or time does not move.
pub fn run(
    runtime: &Handle,
    prepared: &Arc<Prepared>,
    profile: &Profile,
    load: &Load,
    progress: &ProgressBar,
) -> Result<Measured, Anything> {
    if (1..load.connections).contains(&profile.sessions) {
        let (sessions, connections) = (profile.sessions, load.connections);
        return Err(format!("{sessions} sessions are too few for {connections} connections").into());
    }
    let threads = load.busy_threads();
    let course = Arc::new(Course {
        prepared: Arc::clone(prepared),
        profile: profile.clone(),
        // A storm breaks at once, and is over when it is over.
        load: if profile.world.storm {
            let lasting = Lasting::Requests(u64::MAX);
            Load { warm_up: Duration::ZERO, lasting, ..*load }
        } else {
            *load
        },
        odds: Odds::new(profile)?,
        ready: Barrier::new(threads + 1),
        failed: AtomicBool::new(false),
        started: OnceLock::new(),
        taken: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let course = Arc::clone(&course);
            std::thread::spawn(move || work(&course, thread, threads))
        })
        .collect();
    progress.set_message(format!("{}: connecting", profile.name));
    course.ready.wait();
    progress.set_message(profile.name.clone());
    let started = course.started();
    let storm = (profile.world.storm && !course.failed.load(Ordering::SeqCst)).then(|| {
        let moved = runtime.block_on(prepared.advance(CHARGE_PERIOD_MS));
        course.over.store(true, Ordering::SeqCst);
        moved.map(|()| started.elapsed())
    });
    let mut measured = course.join(workers, progress)?;
    if let Some(lasted) = storm {
        measured.lasted = lasted?;
    }
    measured.unsent = course.unsent();
    Ok(measured)
}

impl Course {
    fn started(&self) -> Instant {
        *self.started.get_or_init(Instant::now)
    }

    /// From when on answers are measured.
    fn begins(&self) -> Instant {
        self.started() + self.load.warm_up
    }

    /// When the next request is due, for whoever is free; nothing when it is enough.
    fn take(&self) -> Option<Instant> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let due = self.load.due(number, self.started().elapsed())?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Some(self.started() + due)
    }

    /// What was due in the open loop and nobody sent.
    fn unsent(&self) -> u64 {
        self.load.unsent(self.sent.load(Ordering::Relaxed))
    }

    /// Waits for the threads, and shows how far they are.
    fn join(
        &self,
        workers: Vec<JoinHandle<Result<Measured, Anything>>>,
        progress: &ProgressBar,
    ) -> Result<Measured, Anything> {
        while workers.iter().any(|worker| !worker.is_finished()) {
            progress.set_position(self.sent.load(Ordering::Relaxed));
            std::thread::park_timeout(SHOWN_EVERY);
        }
        let mut measured = Measured::new(self.profile.world.instances)?;
        for worker in workers {
            let share = worker.join().map_err(|_| "a thread of the generator panicked")??;
            measured.merge(&share)?;
        }
        Ok(measured)
    }
}

/// A one-off request that is granted costs what it costs: with any other price it is no answer.
fn judge(operation: Operation, outcome: Outcome, cost: i128) -> Outcome {
    match (operation, outcome) {
        (Operation::OneOff { .. }, Outcome::Granted(charged))
            if charged != Charged::exactly(cost) =>
        {
            Outcome::Failed
        }
        (_, outcome) => outcome,
    }
}

/// How long after the start the request of this number is due.
fn due_after(number: u64, per_second: u32) -> Duration {
    let per_second = u64::from(per_second.max(1));
    let rest = (number % per_second) * 1_000_000_000 / per_second;
    Duration::from_secs(number / per_second) + Duration::from_nanos(rest)
}

/// One thread of the generator, with its share of the connections.
fn work(course: &Arc<Course>, thread: usize, threads: usize) -> Result<Measured, Anything> {
    let measured = Measured::new(course.profile.world.instances)?;
    let measured = Arc::new(Mutex::new(measured));
    let opened = open(course, (thread..course.load.connections).step_by(threads), &measured);
    if opened.is_err() {
        course.failed.store(true, Ordering::SeqCst);
    }
    course.ready.wait();
    let (stage, callers) = opened?;
    if course.failed.load(Ordering::SeqCst) {
        return Err("another thread of the generator could not begin".into());
    }
    let begins = course.begins();
    let cpu = stage.cpu_from(begins);
    let callers = stage.each(callers, Caller::drive)?;
    // The open loop may have its last answer before the time is over.
    let least = match course.load.lasting {
        Lasting::Time(time) => time,
        Lasting::Requests(_) => Duration::ZERO,
    };
    let (lasted, cpu) = (begins.elapsed().max(least), stage.cpu_since(cpu)?);
    stage.each(callers, Caller::call_the_roll)?;
    let mut measured = lock(&measured).clone();
    (measured.lasted, measured.generator_cpu) = (lasted, cpu);
    Ok(measured)
}

/// Makes the connections of a thread, and opens their sessions.
fn open(
    course: &Arc<Course>,
    connections: impl Iterator<Item = usize>,
    measured: &Arc<Mutex<Measured>>,
) -> Result<(Stage, Vec<Caller>), Anything> {
    let stage = match course.prepared.runtime() {
        Some(runtime) => Stage::Shared(runtime.clone()),
        None => Stage::Own(runtime::Builder::new_current_thread().enable_all().build()?),
    };
    let mut callers = Vec::new();
    for number in connections {
        let caller = Caller::new(Arc::clone(course), number, Arc::clone(measured));
        callers.push(stage.block_on(caller)?);
    }
    let callers = stage.each(callers, Caller::open)?;
    Ok((stage, callers))
}

/// Where the callers of a thread run.
enum Stage {
    /// On the thread itself.
    Own(Runtime),
    /// Where the broker runs that they call: what it starts for a caller belongs there.
    Shared(Handle),
}

impl Stage {
    fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        match self {
            Stage::Own(runtime) => runtime.block_on(what),
            Stage::Shared(runtime) => runtime.block_on(what),
        }
    }

    /// Lets all callers do something at once.
    fn each<F>(
        &self,
        callers: Vec<Caller>,
        what: impl Fn(Caller) -> F,
    ) -> Result<Vec<Caller>, Anything>
    where
        F: Future<Output = Result<Caller, Anything>> + Send + 'static,
    {
        self.block_on(async {
            let mut tasks: JoinSet<_> = callers.into_iter().map(what).collect();
            let mut callers = Vec::with_capacity(tasks.len());
            while let Some(ended) = tasks.join_next().await {
                callers.push(ended??);
            }
            Ok(callers)
        })
    }

    /// Will have looked at the thread's CPU time then; nothing where it is not the generator's.
    fn cpu_from(&self, begins: Instant) -> Option<task::JoinHandle<Duration>> {
        let Stage::Own(runtime) = self else { return None };
        Some(runtime.spawn(async move {
            sleep_until(begins).await;
            own_cpu_time(ClockId::ThreadCPUTime)
        }))
    }

    /// CPU time since then.
    fn cpu_since(&self, begun: Option<task::JoinHandle<Duration>>) -> Result<Duration, Anything> {
        match begun {
            Some(begun) if begun.is_finished() => {
                Ok(own_cpu_time(ClockId::ThreadCPUTime).saturating_sub(self.block_on(begun)?))
            }
            _ => Ok(Duration::ZERO),
        }
    }
}

fn lock(measured: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection and what it asks.
struct Caller {
    course: Arc<Course>,
    connection: Connection,
    workload: Workload,
    /// That of one request.
    cost: i128,
    /// That of the thread.
    measured: Arc<Mutex<Measured>>,
    /// What the heartbeats of a storm told of automatic charges, by slot.
    told: Vec<i128>,
}

impl Caller {
    async fn new(
        course: Arc<Course>,
        number: usize,
        measured: Arc<Mutex<Measured>>,
    ) -> Result<Caller, Anything> {
        let (sessions, connections) = (course.profile.sessions, course.load.connections);
        let sessions = sessions / connections + usize::from(number < sessions % connections);
        let odds = Arc::clone(&course.odds);
        let workload = Workload::new(odds, course.load.seed, u64::try_from(number)?, sessions);
        let connection = course.prepared.connect(u64::try_from(number)?, sessions).await?;
        let cost = course.profile.world.cost();
        Ok(Caller { course, connection, workload, cost, measured, told: vec![0; sessions] })
    }

    async fn ask(&mut self, operation: Operation) -> Outcome {
        let answer = timeout(ANSWER_WITHIN, self.connection.ask(operation)).await;
        let outcome = answer.unwrap_or(Outcome::Unknown);
        let outcome = judge(operation, outcome, self.cost);
        self.workload.learn(operation, &outcome);
        if let (Operation::Heartbeat { slot }, Outcome::Granted(charged)) = (operation, outcome)
            && let Some(told) = self.told.get_mut(slot)
        {
            *told += charged.most;
        }
        outcome
    }

    /// Adds what an answer charged to what the thread has measured.
    fn settle(&self, operation: Operation, outcome: Outcome) {
        let instance = self.workload.instance_of(operation);
        lock(&self.measured).settle(instance, operation, outcome, self.cost);
    }

    /// Creates and uses its sessions.
    async fn open(mut self) -> Result<Caller, Anything> {
        while let Some(operation) = self.workload.opening() {
            let outcome = self.ask(operation).await;
            if !matches!(outcome, Outcome::Granted(_)) {
                return Err(format!("{operation:?} ended as {outcome:?}").into());
            }
            self.settle(operation, outcome);
        }
        Ok(self)
    }

    /// Asks until it is enough.
    async fn drive(mut self) -> Result<Caller, Anything> {
        let (load, started) = (self.course.load, self.course.started());
        let alarm = match load.arrival {
            Arrival::Closed => None,
            Arrival::Open { .. } => Some(Alarm::new()?),
        };
        while let Some(due) = self.course.take() {
            if let Some(alarm) = &alarm {
                alarm.wait_until(due).await?;
            }
            let (late, is_measured) = (due.elapsed(), load.is_measured(started.elapsed()));
            let operation = self.workload.next();
            let outcome = self.ask(operation).await;
            let latency = due.elapsed();
            self.settle(operation, outcome);
            let mut measured = lock(&self.measured);
            if is_measured {
                measured.count(outcome, latency);
                if alarm.is_some() {
                    measured.note_sent(late);
                }
            } else {
                measured.look_at(outcome);
            }
        }
        Ok(self)
    }

    /// After a storm every session is heard of once more: by then it was charged exactly once.
    async fn call_the_roll(mut self) -> Result<Caller, Anything> {
        if !self.course.profile.world.storm {
            return Ok(self);
        }
        for operation in self.workload.roll_call() {
            let outcome = self.ask(operation).await;
            self.settle(operation, outcome);
        }
        let once = self.told.iter().filter(|told| **told == self.cost).count();
        lock(&self.measured).charged_once += u64::try_from(once)?;
        Ok(self)
    }
}
