//! Instants and lengths of time in whole milliseconds. Reads no clock.

use std::fmt;
use std::num::NonZeroU64;

/// Milliseconds since 1970-01-01T00:00:00Z (spec 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant so many milliseconds after the epoch.
    pub const fn from_ms(ms: u64) -> Timestamp {
        Timestamp(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The instant so many milliseconds later; the end of time where there is none.
    pub const fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// The instant so many milliseconds earlier; the epoch where there is none.
    pub const fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to here; 0 where it is later.
    pub const fn ms_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A length of time that is not nothing: what is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(NonZeroU64);

impl Period {
    /// `None` for nothing.
    pub const fn from_ms(ms: u64) -> Option<Period> {
        match NonZeroU64::new(ms) {
            Some(ms) => Some(Period(ms)),
            None => None,
        }
    }

    /// Its length in milliseconds, never 0.
    pub const fn as_ms(self) -> NonZeroU64 {
        self.0
    }
}
