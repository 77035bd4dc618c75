//! Drives a load: threads with a runtime and a share of the connections each, in a closed loop or an
//! open one.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::Anything;
use crate::measure::Measured;
use crate::profile::Profile;
use crate::target::Prepared;

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

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// After a time.
    Time(Duration),
    /// After so many requests.
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
    /// When it is enough.
    pub lasting: Lasting,
    /// Repeats what every connection asks.
    pub seed: u64,
}

/// Drives it to its end. Blocks: the generator has threads of its own.
///
/// # Errors
/// If a connection cannot be made.
pub fn run(
    _prepared: &Prepared,
    _profile: &Profile,
    _load: &Load,
    _progress: &ProgressBar,
) -> Result<Measured, Anything> {
    Measured::new()
}
