//! Instants and lengths of time in whole milliseconds, and the calendar. Reads no clock.

use std::fmt;
use std::num::NonZeroU64;

const DAY_MS: u64 = 86_400_000;

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

    /// What calendar and clock show in UTC.
    pub const fn date_time(self) -> DateTime {
        // Years that begin in March end with their leap day; 400 of them are an era.
        let (days, ms) = (self.0 / DAY_MS + 719_468, self.0 % DAY_MS);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = match month < 10 {
            true => (era * 400 + year, month + 3),
            false => (era * 400 + year + 1, month - 9),
        };
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        DateTime { year, month, day, hour, minute, second: ms / 1_000 % 60, ms: ms % 1_000 }
    }
}

/// An instant as people read it: a day of the Gregorian calendar, and a time of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// From 1970 on.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// Of the month, 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59: leap seconds do not count.
    pub second: u64,
    /// Milliseconds of the second, 0 to 999.
    pub ms: u64,
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
