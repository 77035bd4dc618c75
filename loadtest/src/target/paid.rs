//! What a session has paid for, and what comes back of it. The answers of a session show what they
//! charged, not what they refunded: that follows from the time they were given at, which the end
//! of the paid period tells.

use crate::measure::Charged;

/// What a charge pays for, where nothing else is configured.
pub const CHARGE_PERIOD_MS: u64 = 3_600_000;

/// A session's set, as far as it is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    /// Millionths of a token for one period.
    cost: i128,
    /// The end of the paid period; 0 if there is none.
    until_ms: u64,
    /// Charges that it consists of: each refund is rounded down by itself.
    parts: i128,
}

impl Paid {
    /// A new set was charged, in so many parts, until then: the rest of the old one came back.
    pub fn put(&mut self, cost: i128, parts: usize, until_ms: u64) -> Charged {
        let at = until_ms.saturating_sub(CHARGE_PERIOD_MS);
        let mut charged = self.close(at, at);
        charged += Charged::exactly(cost);
        let parts = i128::try_from(parts).unwrap_or(i128::MAX);
        *self = Paid { cost, until_ms, parts };
        charged
    }

    /// The paid period was seen to end then: what was charged automatically to bring it there.
    pub fn prolong(&mut self, until_ms: u64) -> Charged {
        let periods = until_ms.saturating_sub(self.until_ms) / CHARGE_PERIOD_MS;
        if self.until_ms == 0 || periods == 0 {
            return Charged::default();
        }
        self.until_ms += periods * CHARGE_PERIOD_MS;
        Charged::exactly(self.cost * i128::from(periods))
    }

    /// It ended, some time between these two instants: what came back.
    pub fn close(&mut self, earliest_ms: u64, latest_ms: u64) -> Charged {
        if self.until_ms == 0 {
            return Charged::default();
        }
        let due = earliest_ms.checked_sub(self.until_ms).map(|late| late / CHARGE_PERIOD_MS + 1);
        let mut charged = self.prolong(self.until_ms + due.unwrap_or(0) * CHARGE_PERIOD_MS);
        let refund = |at: u64| {
            let left = self.until_ms.saturating_sub(at).min(CHARGE_PERIOD_MS);
            self.cost * i128::from(left) / i128::from(CHARGE_PERIOD_MS)
        };
        let (most, least) = (refund(earliest_ms), refund(latest_ms));
        charged += Charged { least: -most, most: self.parts - least };
        *self = Paid::default();
        charged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = CHARGE_PERIOD_MS;

    #[test]
    fn what_comes_back_is_reckoned_from_the_end_of_the_paid_period() {
        let mut paid = Paid::default();
        let start = 1_000 * HOUR;
        assert_eq!(paid.close(start, start), Charged::default(), "nothing was paid");
        assert_eq!(paid.put(44_000_000, 2, start + HOUR), Charged::exactly(44_000_000));
        // After a quarter of an hour three quarters come back, rounded in two parts.
        let changed = paid.put(30_000_000, 1, start + HOUR / 4 + HOUR);
        assert_eq!(changed, Charged { least: -3_000_000, most: -2_999_998 });
        assert_eq!(paid.prolong(start + HOUR / 4 + HOUR), Charged::default(), "as it was");
        let later = start + HOUR / 4 + 3 * HOUR;
        assert_eq!(paid.prolong(later), Charged::exactly(60_000_000), "two more periods");
        let closed = paid.close(later - HOUR / 2 - 36_000, later - HOUR / 2);
        assert_eq!(closed, Charged { least: -15_300_000, most: -14_999_999 });
    }

    #[test]
    fn a_charge_that_nobody_told_of_is_seen_when_the_set_changes() {
        let mut paid = Paid::default();
        paid.put(30_000_000, 1, HOUR);
        // At an hour and a half: 30 more, of which 15 come back.
        let charged = paid.put(10_000_000, 1, HOUR / 2 + 2 * HOUR);
        assert_eq!(charged, Charged { least: 25_000_000, most: 25_000_001 });
    }
}
