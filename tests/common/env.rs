//! A clock that only the test moves, ids that a seed repeats, and panics at the places that ask
//! either: how actors are killed in the middle of their work.

use std::collections::BTreeSet;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use farebox::config::{Limits, Settings};
use farebox::domain::time::Timestamp;
use farebox::env::{Clock, IdSource};

use super::dice::mixed;

/// So few that owners go to sleep and wake all the time.
const AWAKE: usize = 3;

/// Settings for many small brokers: short segments, which are made of zeros in advance, and time
/// limits that a slow machine does not meet.
pub fn settings() -> Settings {
    let answer_within = Duration::from_secs(120);
    let limits = Limits { answer_within, ..Limits::default() };
    Settings { limits, segment_bytes: 64 << 10, awake: AWAKE, ..Settings::default() }
}

/// Broker time in the test's hands. Both clocks show it, so it never runs backwards.
#[derive(Default)]
pub struct ManualClock {
    ms: AtomicU64,
    faults: Option<Arc<Faults>>,
}

impl ManualClock {
    pub fn at(ms: u64) -> ManualClock {
        ManualClock { ms: AtomicU64::new(ms), faults: None }
    }

    pub fn with_faults(ms: u64, faults: &Arc<Faults>) -> ManualClock {
        ManualClock { ms: AtomicU64::new(ms), faults: Some(Arc::clone(faults)) }
    }

    pub fn set(&self, ms: u64) {
        let former = self.ms.swap(ms, Ordering::SeqCst);
        assert!(former <= ms, "time runs backwards: {former} to {ms}");
    }

    pub fn advance(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn ms(&self) -> u64 {
        self.ms.load(Ordering::SeqCst)
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        if let Some(faults) = &self.faults {
            faults.strike();
        }
        Duration::from_millis(self.ms())
    }

    fn system(&self) -> Timestamp {
        Timestamp::from_ms(self.ms())
    }

    fn is_test_clock(&self) -> bool {
        true
    }
}

/// The same ids for the same seed, in the order in which they are asked for.
pub struct SeededIds {
    seed: u64,
    asked: AtomicU64,
    faults: Option<Arc<Faults>>,
}

impl SeededIds {
    pub fn new(seed: u64) -> SeededIds {
        SeededIds { seed, asked: AtomicU64::new(0), faults: None }
    }

    pub fn with_faults(seed: u64, faults: &Arc<Faults>) -> SeededIds {
        SeededIds { faults: Some(Arc::clone(faults)), ..SeededIds::new(seed) }
    }
}

impl IdSource for SeededIds {
    fn fresh(&self) -> u128 {
        if let Some(faults) = &self.faults {
            faults.strike();
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        u128::from(mixed(self.seed)) << 64 | u128::from(mixed(number))
    }
}

/// What a panic that the tests throw carries: the panic hook keeps quiet about it.
pub struct Injected;

/// Panics thrown out of the clock and the id source, on some of their calls.
pub struct Faults {
    seed: u64,
    /// One call in so many panics; 0: none does.
    one_in: AtomicU64,
    calls: AtomicU64,
    thrown: AtomicU64,
    /// Tasks that are let alone: the catalogue's, whose death stops the process by design.
    spared: Mutex<BTreeSet<tokio::task::Id>>,
    learning: AtomicBool,
    /// Whether some calls let other threads go first, so that what a decision has read can move
    /// before it is appended.
    dawdling: AtomicBool,
}

impl Faults {
    /// None yet; see [`Faults::begin`].
    pub fn new(seed: u64) -> Arc<Faults> {
        silence();
        Arc::new(Faults {
            seed,
            one_in: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            thrown: AtomicU64::new(0),
            spared: Mutex::new(BTreeSet::new()),
            learning: AtomicBool::new(false),
            dawdling: AtomicBool::new(false),
        })
    }

    /// Until [`Faults::begin`], whichever task asks is one to be spared from then on.
    pub fn learn(&self) {
        self.learning.store(true, Ordering::SeqCst);
    }

    /// From now on one call in `one_in` panics.
    pub fn begin(&self, one_in: u64) {
        self.learning.store(false, Ordering::SeqCst);
        self.one_in.store(one_in, Ordering::SeqCst);
    }

    /// From now on some calls take their time.
    pub fn dawdle(&self) {
        self.dawdling.store(true, Ordering::SeqCst);
    }

    /// No more panics.
    pub fn end(&self) {
        self.one_in.store(0, Ordering::SeqCst);
    }

    /// How many there were.
    pub fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::SeqCst)
    }

    fn strike(&self) {
        let Some(task) = tokio::task::try_id() else { return };
        let mut spared = self.spared.lock().expect("nobody panics with it");
        if self.learning.load(Ordering::SeqCst) {
            spared.insert(task);
        }
        let is_spared = spared.contains(&task);
        drop(spared);
        let one_in = self.one_in.load(Ordering::SeqCst);
        if is_spared {
            return;
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let dice = mixed(self.seed ^ mixed(call));
        if one_in != 0 && dice.is_multiple_of(one_in) {
            self.thrown.fetch_add(1, Ordering::SeqCst);
            panic::panic_any(Injected);
        }
        if self.dawdling.load(Ordering::SeqCst) && dice >> 32 & 7 == 0 {
            for _ in 0..dice >> 40 & 63 {
                std::thread::yield_now();
            }
        }
    }
}

/// Keeps the panics that are thrown on purpose out of the output.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Injected>() {
                usual(info);
            }
        }));
    });
}
