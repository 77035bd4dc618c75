//! One timer for the earliest due event of all instances. It decides nothing: it only sees to it
//! that somebody takes the turn of an instance when something falls due there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Core;
use crate::domain::ids::InstanceId;
use crate::domain::session_time::SessionTime;
use crate::error::BrokerError;

/// Instances that are caught up at once.
const AT_ONCE: usize = 64;
/// The longest sleep: time can come by in other ways than by passing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often ended sessions are looked for that nobody asks after.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// When each instance has something coming.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    earliest: Mutex<BTreeSet<(SessionTime, InstanceId)>>,
    moved: Notify,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(SessionTime, InstanceId)>> {
        self.earliest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance had its earliest event at `before`, and has it at `after` now.
    pub(super) fn set(
        &self,
        instance: InstanceId,
        before: Option<SessionTime>,
        after: Option<SessionTime>,
    ) {
        let mut earliest = self.lock();
        let first = earliest.first().copied();
        if let Some(before) = before {
            earliest.remove(&(before, instance));
        }
        earliest.extend(after.map(|after| (after, instance)));
        if earliest.first().copied() < first || first.is_none() {
            self.moved.notify_one();
        }
    }

    /// The first instances in which something is due, at most so many and not those that are to be
    /// left alone; and when the next one follows, if these are all.
    fn due(
        &self,
        now: SessionTime,
        most: usize,
        is_left_alone: impl Fn(&InstanceId) -> bool,
    ) -> (Vec<InstanceId>, Option<SessionTime>) {
        let (earliest, mut due) = (self.lock(), Vec::new());
        for (at, instance) in earliest.iter().filter(|(_, instance)| !is_left_alone(instance)) {
            if due.len() == most {
                break;
            }
            if *at > now {
                return (due, Some(*at));
            }
            due.push(*instance);
        }
        (due, None)
    }
}

/// Sleeps until something is due, runs it, for ever. The broker ends it. One instance does not keep
/// the others, be it slow or broken.
pub(crate) async fn run(core: Arc<Core>) {
    let mut running = JoinSet::new();
    // Those that are being caught up, and those that failed, until when they are left alone.
    let mut left_alone: BTreeMap<InstanceId, Option<Instant>> = BTreeMap::new();
    loop {
        left_alone.retain(|_, until| until.is_none_or(|until| until > Instant::now()));
        let now = core.ledger.now();
        let outages = core.ledger.tenant().outages.clone();
        let free = AT_ONCE.saturating_sub(running.len());
        let is_left_alone = |id: &InstanceId| left_alone.contains_key(id);
        let (due, next) = core.alarm.due(outages.session_time(now), free, is_left_alone);
        for id in due {
            left_alone.insert(id, None);
            let core = Arc::clone(&core);
            running.spawn(async move { (id, catch_up_one(&core, id).await) });
        }
        let wait = next.map_or(LOOK_AGAIN, |next| {
            Duration::from_millis(outages.broker_time(next).ms_since(core.ledger.now()))
        });
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok((id, Ok(()))) => drop(left_alone.remove(&id)),
                Ok((id, Err(error))) => {
                    tracing::warn!(instance = %id, %error, "what is due could not be run: later again");
                    left_alone.insert(id, Some(Instant::now() + LOOK_AGAIN));
                }
                Err(error) => {
                    // Nobody knows which one it was: all are looked at again.
                    tracing::error!(%error, "what is due could not be run");
                    left_alone.clear();
                }
            },
            () = core.alarm.moved.notified() => {}
            () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
        }
    }
}

async fn catch_up_one(core: &Arc<Core>, id: InstanceId) -> Result<(), BrokerError> {
    let Some(instance) = core.directory.instance(id) else { return Ok(()) };
    let turn = instance.exclude().await;
    core.catch_up(&instance, turn).await.map(drop)
}

/// Runs everything that is due now, in all instances. One that fails does not keep the others.
pub(crate) async fn catch_up_all(core: &Arc<Core>) -> Result<(), BrokerError> {
    loop {
        let now = core.ledger.now();
        let session_time = core.ledger.tenant().outages.session_time(now);
        let (due, _) = core.alarm.due(session_time, usize::MAX, |_| false);
        if due.is_empty() {
            return Ok(());
        }
        let (mut running, mut failed) = (JoinSet::new(), Ok(()));
        let mut take_up = |ended: Result<Result<(), BrokerError>, JoinError>| {
            if failed.is_ok() {
                failed = ended.unwrap_or(Err(BrokerError::Fault));
            }
        };
        for id in due {
            if running.len() >= AT_ONCE
                && let Some(ended) = running.join_next().await
            {
                take_up(ended);
            }
            let core = Arc::clone(core);
            running.spawn(async move { catch_up_one(&core, id).await });
        }
        while let Some(ended) = running.join_next().await {
            take_up(ended);
        }
        failed?;
    }
}

/// Forgets what ended long ago, also where nobody calls any more; for ever. The broker ends it.
pub(crate) async fn sweep(core: Arc<Core>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        for instance in core.directory.instances() {
            let mut turn = instance.exclude().await;
            core.forget_ended(&instance, &mut turn, core.ledger.now());
        }
    }
}
