//! What a comparison measures, where it belongs, and what several rounds of it come to.

use std::time::Duration;

use crate::measure::{Measured, median};
use crate::servers::{Counters, Kind};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A hyper handler that parses and answers, and does nothing: the ceiling.
    Noop,
    /// farebox over HTTP.
    Farebox,
    /// The same without the journal's sync.
    Unsynced,
    /// A script in Redis.
    Redis,
    /// One statement in PostgreSQL.
    Statement,
    /// A procedure in PostgreSQL.
    Procedure,
    /// farebox in this process.
    Embedded,
    /// A file in the same file system, and no broker at all.
    File,
}

impl Place {
    /// What the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Noop => "no-op",
            Place::Farebox => "farebox",
            Place::Unsynced => "farebox, not synced",
            Place::Redis => "Redis",
            Place::Statement => "PostgreSQL, statement",
            Place::Procedure => "PostgreSQL, procedure",
            Place::Embedded => "farebox, embedded",
            Place::File => "file",
        }
    }

    /// The server that it needs.
    pub fn server(self) -> Option<Kind> {
        match self {
            Place::Noop => Some(Kind::Noop),
            Place::Farebox => Some(Kind::Farebox),
            Place::Unsynced => Some(Kind::Unsynced),
            Place::Redis => Some(Kind::Redis),
            Place::Statement | Place::Procedure => Some(Kind::Postgres),
            Place::Embedded | Place::File => None,
        }
    }
}

/// One run of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The profile, or what is done with a file.
    pub profile: &'static str,
    /// How many ask at once.
    pub connections: usize,
    /// In the open loop, the share of what the closed one came to, in percent.
    pub load_percent: Option<u32>,
    /// Who is asked.
    pub place: Place,
    /// Once, and for so long that stalls can show which come seldom.
    pub is_long: bool,
}

impl Case {
    /// Everybody asks again as soon as there is an answer.
    pub const fn closed(profile: &'static str, connections: usize, place: Place) -> Case {
        Case { profile, connections, load_percent: None, place, is_long: false }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Granted requests a second.
    pub per_second: f64,
    /// Half of the answers took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p999_ms: f64,
    /// The longest of all.
    pub max_ms: f64,
    /// In the open loop, how many were due.
    pub offered_per_second: f64,
    /// In the open loop, how many were due and not sent by the end.
    pub unsent: f64,
    /// The server's CPU time for a request.
    pub cpu_us: f64,
    /// Syncs of the server's log.
    pub syncs_per_second: f64,
    /// Bytes that a request took in farebox's journal.
    pub journal_bytes: f64,
    /// How much of one core the generator used.
    pub generator_cores: f64,
}

impl Figures {
    /// What a load came to, and what the server did for it meanwhile. All that it was asked, also
    /// during the warm-up, shows in what it charged, at so much a request.
    pub fn of(measured: &Measured, cost: i128, before: Counters, after: Counters) -> Figures {
        let lasted = measured.lasted.as_secs_f64();
        let per_second = measured.granted as f64 / lasted;
        let requests = (measured.charged.least / cost) as f64;
        let each = |before: u64, after: u64| (after - before) as f64 / requests;
        Figures {
            per_second,
            unsent: measured.unsent as f64,
            cpu_us: (after.cpu - before.cpu).as_secs_f64() * 1e6 / requests,
            syncs_per_second: each(before.syncs, after.syncs) * per_second,
            journal_bytes: each(before.appended_bytes, after.appended_bytes),
            generator_cores: measured.generator_cpu.as_secs_f64() / lasted,
            ..Figures::latency(&measured.latency)
        }
    }

    /// Syncs of a file, over so long.
    pub fn of_syncs(latency: &hdrhistogram::Histogram<u64>, lasting: Duration) -> Figures {
        let per_second = latency.len() as f64 / lasting.as_secs_f64();
        Figures { per_second, ..Figures::latency(latency) }
    }

    /// Latencies alone.
    pub fn latency(nanoseconds: &hdrhistogram::Histogram<u64>) -> Figures {
        let ms = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e6;
        let (p50_ms, p99_ms, p999_ms) = (ms(0.5), ms(0.99), ms(0.999));
        let max_ms = nanoseconds.max() as f64 / 1e6;
        Figures { p50_ms, p99_ms, p999_ms, max_ms, ..Figures::default() }
    }
}

/// Everything that was measured: each case with its rounds, in the order in which they were run.
#[derive(Default)]
pub struct Results(Vec<(Case, Vec<Figures>)>);

impl Results {
    /// Takes the figures of the round that is under way.
    pub fn add(&mut self, case: Case, figures: Figures) {
        match self.0.iter_mut().find(|(known, _)| *known == case) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.0.push((case, vec![figures])),
        }
    }

    /// All cases.
    pub fn cases(&self) -> impl Iterator<Item = Case> {
        self.0.iter().map(|(case, _)| *case)
    }

    fn rounds(&self, case: Case) -> Option<&[Figures]> {
        self.0.iter().find(|(known, _)| *known == case).map(|(_, rounds)| rounds.as_slice())
    }

    /// What it was in the latest round.
    pub fn latest(&self, case: Case) -> Option<Figures> {
        self.rounds(case)?.last().copied()
    }

    /// The median over all rounds.
    pub fn median(&self, case: Case, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        median(self.rounds(case)?.iter().map(figure).collect())
    }

    /// The median of the ratios that a figure had to that of another case, each in its own round:
    /// what moves the whole machine moves both.
    pub fn ratio(&self, one: Case, other: Case, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        let rounds = self.rounds(one)?.iter().zip(self.rounds(other)?);
        median(rounds.map(|(one, other)| figure(one) / figure(other)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        let [one, other] = [Place::Farebox, Place::Redis].map(|p| Case::closed("hot", 64, p));
        let mut results = Results::default();
        for (fast, slow) in [(200.0, 100.0), (30.0, 10.0), (80.0, 20.0)] {
            results.add(one, Figures { per_second: fast, ..Figures::default() });
            results.add(other, Figures { per_second: slow, ..Figures::default() });
        }
        let rate = |figures: &Figures| figures.per_second;
        assert_eq!(results.ratio(one, other, rate), Some(3.0));
        assert_eq!(results.median(one, rate), Some(80.0));
        assert_eq!(results.latest(one).map(|figures| figures.per_second), Some(80.0));
        assert_eq!(results.ratio(one, Case::closed("hot", 1, Place::Noop), rate), None);
    }
}
