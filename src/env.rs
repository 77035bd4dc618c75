//! The only unpredictable things: the clocks and fresh ids. Everything else asks these.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use crate::domain::time::Timestamp;

/// What the machine says about time. Broker time is made of it in one place (spec 4.2).
pub trait Clock: Send + Sync + 'static {
    /// Never runs backwards; its zero means nothing.
    fn monotonic(&self) -> Duration;
    /// The calendar; may step either way.
    fn system(&self) -> Timestamp;
    /// Whether somebody moves it by hand: then moving it is never an outage, and nothing is done
    /// before somebody calls (spec 4.2).
    fn is_test_clock(&self) -> bool {
        false
    }
}

/// Where fresh 128-bit ids come from.
pub trait IdSource: Send + Sync + 'static {
    /// An id that nobody can guess (version 4), never the same twice.
    fn fresh(&self) -> u128;
}

/// The machine's own clocks.
#[derive(Clone, Copy)]
pub struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    /// Starts its monotonic clock at zero.
    pub fn new() -> SystemClock {
        SystemClock { started: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl fmt::Debug for SystemClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SystemClock")
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed() // A tokio Instant, which tests can pause.
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that may read the wall clock")]
    fn system(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is moved: `serve --test-clock`.
#[derive(Debug)]
pub struct TestClock {
    start: Timestamp,
    moved_ms: AtomicU64,
}

impl TestClock {
    /// A broker on a new directory starts at `start`, any other where its directory has got to.
    pub fn new(start: Timestamp) -> TestClock {
        TestClock { start, moved_ms: AtomicU64::new(0) }
    }

    /// Moves it forward.
    pub fn advance(&self, ms: u64) {
        self.moved_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.moved_ms.load(Ordering::SeqCst))
    }

    fn system(&self) -> Timestamp {
        self.start.plus_ms(self.moved_ms.load(Ordering::SeqCst))
    }

    fn is_test_clock(&self) -> bool {
        true
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that may make random ids")]
    fn fresh(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }
}
