//! What can be asked, and what comes of it. An enum over the targets: nothing on the way of a
//! request is behind a pointer.

use std::str::FromStr;

use indicatif::ProgressBar;

use crate::Anything;
use crate::measure::Charged;
use crate::profile::Profile;
use crate::workload::Operation;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, and so much was charged.
    Granted(Charged),
    /// Answered, and nothing was charged: a denial or a refusal.
    Refused,
    /// Told to come back later: nothing was charged.
    Overloaded,
    /// Nobody knows whether it happened: no answer, or one that says so.
    Unknown,
}

/// A place where worlds can be made.
#[derive(Clone, Debug)]
pub enum Target {}

/// A world that was made there.
pub enum Prepared {}

/// One caller in it, with one request at a time.
pub enum Connection {}

impl FromStr for Target {
    type Err = String;

    fn from_str(address: &str) -> Result<Target, String> {
        Err(format!("`{address}` is no target"))
    }
}

impl Target {
    /// Makes the world of a profile.
    ///
    /// # Errors
    /// If it cannot be made there, and why.
    pub async fn prepare(
        &self,
        _profile: &Profile,
        _progress: &ProgressBar,
    ) -> Result<Prepared, Anything> {
        match *self {}
    }
}

impl Prepared {
    /// A connection, made in the runtime that uses it.
    ///
    /// # Errors
    /// If there is none to be had.
    pub async fn connect(&self) -> Result<Connection, Anything> {
        match *self {}
    }

    /// What all line items have used, in millionths of a token; `None` where nobody counts.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub async fn used(&self) -> Result<Option<i128>, Anything> {
        match *self {}
    }
}

impl Connection {
    /// Asks, and waits for what comes of it. A connection that broke is made again by the next.
    pub async fn ask(&mut self, _operation: Operation) -> Outcome {
        match *self {}
    }
}
