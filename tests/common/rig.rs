//! A broker in a test's hands: one call after the other, time that stands still unless moved,
//! snapshot passes when the test wants one, and reopening whatever a crash has left.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use farebox::auth::generate_key_pair;
use farebox::broker::{Broker, OpenError, Options, Storage};
use farebox::config::Settings;
use farebox::domain::event::Record;
use farebox::domain::ids::Sequence;
use farebox::domain::keys::{KeyClass, NewKey, RegisteredKey};
use farebox::error::BrokerError;
use farebox::journal::{Snapshots, TornTail};
use tokio::runtime::{Builder, Runtime};

use super::crowd::{Attempt, Crowd, Outcome, START_MS, prepare};
use super::dice::{Dice, mixed};
use super::disks::Watched;
use super::env::{self, ManualClock, SeededIds};
use super::judge::judge;
use super::product;
use super::replay::{Replay, records};

const HOUR_MS: u64 = 3_600_000;

/// A runtime of one thread whose clock only the test moves. tokio would move it by itself whenever
/// all tasks wait, and they also wait for the journal's threads; a blocking task prevents that.
pub struct Still {
    _hold: mpsc::Sender<()>,
    pub runtime: Runtime,
}

impl Still {
    pub fn new() -> Still {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let (hold, held) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || held.recv());
        Still { _hold: hold, runtime }
    }
}

/// What is to happen at once: nobody waits for time or for the disk.
pub async fn at_once<T>(future: impl Future<Output = T>) -> T {
    let enough_turns = async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        outcome = future => outcome,
        () = enough_turns => panic!("it waits, and should have been answered at once"),
    }
}

/// A broker with its world, and what its callers were told.
pub struct Rig {
    still: Still,
    pub broker: Broker,
    pub crowd: Arc<Crowd>,
    dice: Dice,
    made: u64,
}

pub fn options(storage: Storage, seed: u64, settings: Settings) -> (Options, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START_MS));
    let ids = Arc::new(SeededIds::new(seed));
    (Options { storage, settings, clock: Arc::clone(&clock) as _, ids }, clock)
}

impl Rig {
    pub fn open(storage: Storage, seed: u64) -> Rig {
        Rig::open_with(storage, seed, env::settings())
    }

    pub fn open_with(storage: Storage, seed: u64, settings: Settings) -> Rig {
        let still = Still::new();
        let (options, clock) = options(storage, seed, settings);
        let opened = still.runtime.block_on(Broker::open(options)).expect("it opens");
        let (broker, mut dice) = (opened.broker, Dice::new(seed));
        let instances = still.runtime.block_on(prepare(&broker, &mut dice));
        let crowd = Arc::new(Crowd::new(broker.clone(), clock, instances));
        Rig { still, broker, crowd, dice, made: 0 }
    }

    /// Goes on with what another broker has left, one hour later.
    pub fn go_on(storage: Storage, seed: u64, generation: u64) -> Rig {
        let still = Still::new();
        let (options, clock) = options(storage, mixed(seed ^ generation), env::settings());
        clock.advance(generation * HOUR_MS);
        let broker = still.runtime.block_on(Broker::open(options)).expect("it opens").broker;
        let mut replay = Replay::default();
        for (sequence, record) in records(&broker.journal().clone()) {
            replay.record(sequence, &record);
        }
        still.runtime.block_on(replay.check_all(&broker));
        let instances = replay.instances.into_values().collect();
        let crowd = Arc::new(Crowd::new(broker.clone(), clock, instances));
        crowd.remember(replay.sessions.into_values());
        Rig {
            still,
            broker,
            crowd,
            dice: Dice::new(mixed(seed ^ generation)),
            made: generation << 32,
        }
    }

    /// Drops the broker without closing it; keeps the runtime that it lived on.
    pub fn into_parts(self) -> (Still, Vec<Attempt>) {
        let Rig { still, broker, crowd, .. } = self;
        let attempts = crowd.attempts();
        drop((broker, crowd));
        (still, attempts)
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.still.runtime.block_on(future)
    }

    /// So many calls, one after the other; `heard` is told of each answer at once.
    pub fn calls(&mut self, many: u64, heard: impl Fn(Sequence)) {
        for _ in 0..many {
            self.made += 1;
            if self.dice.chance(40) {
                self.crowd.clock.advance(self.dice.below(180_000));
            }
            let call = self.crowd.any_call(&mut self.dice);
            let attempting = self.crowd.attempt(format!("call {}", self.made), call, None);
            self.still.runtime.block_on(attempting);
            if let Some(Outcome::Answered(_, sequence)) =
                self.crowd.attempts().last().map(|attempt| attempt.outcome.clone())
            {
                heard(sequence);
            }
        }
    }

    /// Several callers at once: batches of many records.
    pub fn calls_at_once(&mut self, callers: usize, calls_each: usize) {
        let running: Vec<_> = (0..callers)
            .map(|name| {
                self.made += 1;
                let dice = self.dice.fork(self.made);
                let caller = Arc::clone(&self.crowd).caller(dice, name + 1_000, calls_each);
                self.still.runtime.spawn(caller)
            })
            .collect();
        for caller in running {
            self.still.runtime.block_on(caller).expect("a caller comes to its end");
        }
    }

    pub fn register_key(&self, id: &str) {
        let (id, pem) = (product::text(id), generate_key_pair().expect("a key pair").public_pem);
        let key = NewKey { id, class: KeyClass::Client, pem };
        self.block_on(self.broker.register_keys(vec![key])).expect("they are registered");
    }

    pub fn delete_key(&self, id: &str) {
        self.block_on(self.broker.delete_key(KeyClass::Client, id)).expect("it is deleted");
    }

    /// Lets the time of the next snapshot pass come, and waits until the pass has ended.
    pub fn snapshot_pass<S>(&self, snapshots: &Watched<S>) {
        self.block_on(snapshots.next_pass(env::settings().snapshot_every));
    }
}

/// What a start found.
pub struct Reopened {
    pub last: Sequence,
    pub replayed: u64,
    pub cut: Option<TornTail>,
    pub records: Vec<(Sequence, Record)>,
    pub keys: Vec<RegisteredKey>,
}

/// Opens what a crash has left and holds it against the model: the records give what callers were
/// told, and what can be read is what the records say.
pub fn reopen(
    storage: Storage,
    attempts: &[Attempt],
    may_fail: impl Fn(&BrokerError) -> bool,
) -> Result<Reopened, OpenError> {
    open_again(storage, |replay, records| {
        judge(replay, records, attempts, may_fail);
    })
}

/// [`reopen`] for what was left in the middle of some calls: everything that is there is held
/// against the model, but not what callers were told, who may have been told more by now.
pub fn reopen_unjudged(storage: Storage) -> Result<Reopened, OpenError> {
    open_again(storage, |replay, records| {
        records.iter().for_each(|(sequence, record)| replay.record(*sequence, record));
    })
}

fn open_again(
    storage: Storage,
    check: impl FnOnce(&mut Replay, &[(Sequence, Record)]),
) -> Result<Reopened, OpenError> {
    let still = Still::new();
    let (options, _) = options(storage, 7, env::settings());
    let opened = still.runtime.block_on(Broker::open(options))?;
    let mut records = records(opened.broker.journal());
    if opened.last == Sequence::ZERO {
        records.clear(); // Only that the clock is moved by hand, which the start has noted.
    }
    assert_eq!(records.len() as u64, opened.last.get(), "what is counted is there");
    let mut replay = Replay::default();
    check(&mut replay, &records);
    still.runtime.block_on(replay.check_all(&opened.broker));
    let keys = keys(&opened.broker);
    Ok(Reopened { last: opened.last, replayed: opened.replayed, cut: opened.cut, records, keys })
}

pub fn keys(broker: &Broker) -> Vec<RegisteredKey> {
    broker.keys().iter().map(|key| key.as_ref().clone()).collect()
}

/// No error is expected.
pub fn none(_: &BrokerError) -> bool {
    false
}

pub fn in_memory(
    disk: impl farebox::journal::Disk + 'static,
    snapshots: impl Snapshots + 'static,
) -> Storage {
    Storage::Custom(Arc::new(disk), Arc::new(snapshots))
}

/// A copy of a directory with everything in it.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
