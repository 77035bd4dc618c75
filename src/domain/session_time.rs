//! Session time: broker time less the outages (spec 4.2). Everything that a session pays for or
//! waits for follows it, so that nobody is charged for, refunded by or terminated by our silence.

use super::time::Timestamp;

/// Milliseconds on the clock of the sessions, which stands still while the broker is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionTime(u64);

impl SessionTime {
    /// The instant with this number of milliseconds.
    pub const fn from_ms(ms: u64) -> SessionTime {
        SessionTime(ms)
    }

    /// Its number of milliseconds: those since 1970 less all outages before it.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The instant so many milliseconds later; the end of time where there is none.
    pub const fn plus_ms(self, ms: u64) -> SessionTime {
        SessionTime(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here; 0 where it is later.
    pub const fn ms_since(self, earlier: SessionTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A stretch of broker time in which the broker was not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last instant at which something may have been decided.
    pub from: Timestamp,
    /// When it was there again.
    pub to: Timestamp,
}

/// All outages of a broker. What lies before one is not moved by it, so a translation that was
/// right once stays right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outages {
    /// By their beginnings, each with what has been lost up to its end, in milliseconds.
    known: imbl::OrdMap<Timestamp, (Outage, u64)>,
}

impl Outages {
    /// Adds an outage; one that is known already changes nothing.
    pub fn insert(&mut self, outage: Outage) {
        assert!(outage.from <= outage.to, "an outage does not end before it begins");
        let length = outage.to.ms_since(outage.from);
        let latest = self.known.get_max().is_none_or(|(from, _)| *from < outage.from);
        if latest {
            self.known.insert(outage.from, (outage, self.lost_ms() + length));
            return;
        }
        // Entries of a snapshot come in any order.
        self.known.insert(outage.from, (outage, 0));
        let mut lost = 0;
        let known = self.known.values().map(|(outage, _)| {
            lost += outage.to.ms_since(outage.from);
            (outage.from, (*outage, lost))
        });
        self.known = known.collect();
    }

    /// What has been lost in all, in milliseconds.
    pub fn lost_ms(&self) -> u64 {
        self.known.get_max().map_or(0, |(_, (_, lost))| *lost)
    }

    /// What the sessions' clock shows at an instant.
    pub fn session_time(&self, at: Timestamp) -> SessionTime {
        let before = self.known.values().rev().find(|(outage, _)| outage.from < at);
        let Some((outage, lost)) = before else { return SessionTime(at.as_ms()) };
        SessionTime(at.max(outage.to).as_ms() - lost)
    }

    /// The first instant at which the sessions' clock shows this.
    pub fn broker_time(&self, at: SessionTime) -> Timestamp {
        let before =
            self.known.values().rev().find(|(outage, lost)| outage.to.as_ms() - lost < at.0);
        Timestamp::from_ms(at.0.saturating_add(before.map_or(0, |(_, lost)| *lost)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outages(pairs: &[(u64, u64)]) -> Outages {
        let mut outages = Outages::default();
        for (from, to) in pairs {
            outages.insert(Outage { from: Timestamp::from_ms(*from), to: Timestamp::from_ms(*to) });
        }
        outages
    }

    #[test]
    fn the_clock_of_the_sessions_stands_still_in_an_outage() {
        let outages = outages(&[(100, 150), (200, 230)]);
        for (broker, session) in [
            (0, 0),
            (99, 99),
            (100, 100),
            (101, 100),
            (150, 100),
            (151, 101),
            (200, 150),
            (230, 150),
            (240, 160),
        ] {
            let told = outages.session_time(Timestamp::from_ms(broker));
            assert_eq!(told, SessionTime::from_ms(session), "{broker}");
        }
        for (session, broker) in [(99, 99), (100, 100), (101, 151), (150, 200), (151, 231)] {
            let told = outages.broker_time(SessionTime::from_ms(session));
            assert_eq!(told, Timestamp::from_ms(broker), "{session}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_where_one_was(
            steps in prop::collection::vec((0..50u64, 0..50u64), 0..6), at in 0..500u64,
        ) {
            let (mut pairs, mut now) = (Vec::new(), 0);
            for (up, down) in steps {
                pairs.push((now + up, now + up + down));
                now += up + down + 1;
            }
            let in_order = outages(&pairs);
            pairs.reverse();
            prop_assert_eq!(&outages(&pairs), &in_order, "their order does not matter");
            let at = SessionTime::from_ms(at);
            prop_assert_eq!(in_order.session_time(in_order.broker_time(at)), at);
            let later = in_order.session_time(Timestamp::from_ms(at.as_ms() + 1));
            prop_assert!(in_order.session_time(Timestamp::from_ms(at.as_ms())) <= later);
        }
    }
}
