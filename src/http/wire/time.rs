//! Instants as the component API writes them (components 6, U-3).

use std::fmt;

use crate::domain::time::{DateTime, Timestamp};

/// An instant as RFC 3339 has it, in UTC; milliseconds only where there are some.
pub(super) struct Rfc3339(pub(super) Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateTime { year, month, day, hour, minute, second, ms } = self.0.date_time();
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match ms {
            0 => formatter.write_str("Z"),
            ms => write!(formatter, ".{ms:03}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_a_date_and_a_time_in_utc() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696_001, "2000-02-29T12:34:56.001Z"),
            (1_894_266_000_000, "2030-01-10T09:00:00Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Rfc3339(Timestamp::from_ms(ms)).to_string(), expected, "{ms}");
        }
    }
}
