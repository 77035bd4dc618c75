//! What was measured: latencies, answers by kind, and what they charged.

use std::ops::AddAssign;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Anything;
use crate::target::Outcome;
use crate::workload::Operation;

/// The longest latency that is told from longer ones.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// How much was charged (+) or refunded (-), in millionths of a token, as exactly as it is known:
/// the answer to a close, for one, does not say when the session ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Charged {
    /// At least so many.
    pub least: i128,
    /// At most so many.
    pub most: i128,
}

impl Charged {
    /// An amount that is known.
    pub const fn exactly(micro_tokens: i128) -> Charged {
        Charged { least: micro_tokens, most: micro_tokens }
    }
}

impl AddAssign for Charged {
    fn add_assign(&mut self, other: Charged) {
        self.least += other.least;
        self.most += other.most;
    }
}

/// What a load came to. What began during the warm-up counts
/// in what was charged, or may have been, and in `failed`.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of what was granted, in nanoseconds; in the open loop from when the request was due.
    pub latency: Histogram<u64>,
    /// The same of what was refused.
    pub refusal_latency: Histogram<u64>,
    /// How long after it was due a request of the open loop was sent: until a connection was free,
    /// and the generator had its turn. Part of the latency.
    pub lateness: Histogram<u64>,
    /// Requests that were granted.
    pub granted: u64,
    /// Requests that were answered, and nothing was charged.
    pub refused: u64,
    /// Requests that were told to come back later.
    pub overloaded: u64,
    /// Requests for which no connection could be made.
    pub unreached: u64,
    /// Requests of which nobody knows what became of them.
    pub unknown: u64,
    /// Requests that were answered otherwise than a decision about tokens is, those of the warm-up
    /// among them.
    pub failed: u64,
    /// Requests that were due, and no connection was free before the end.
    pub unsent: u64,
    /// What the answers say, from the first one on.
    pub charged: Charged,
    /// What may have been charged besides, by requests whose outcome is unknown.
    pub unsure: Charged,
    /// Both together, by instance.
    pub said: Vec<Charged>,
    /// Sessions whose heartbeats told of exactly one automatic charge. Counted in a storm alone.
    pub charged_once: u64,
    /// How long was measured.
    pub lasted: Duration,
    /// CPU time of the generator's threads meanwhile; 0 where callers run beside the broker.
    pub generator_cpu: Duration,
}

impl Measured {
    /// Nothing yet, in so many instances.
    ///
    /// # Errors
    /// None that could happen: the bounds of the histogram are constants.
    pub fn new(instances: usize) -> Result<Measured, Anything> {
        Ok(Measured {
            latency: Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?,
            refusal_latency: Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?,
            lateness: Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?,
            granted: 0,
            refused: 0,
            overloaded: 0,
            unreached: 0,
            unknown: 0,
            failed: 0,
            unsent: 0,
            charged: Charged::default(),
            unsure: Charged::default(),
            said: vec![Charged::default(); instances],
            charged_once: 0,
            lasted: Duration::ZERO,
            generator_cpu: Duration::ZERO,
        })
    }

    /// Adds what an answer charged an instance; or may have charged, where a request costs so much.
    pub fn settle(&mut self, instance: usize, operation: Operation, outcome: Outcome, cost: i128) {
        let (sum, charged) = match outcome {
            Outcome::Granted(charged) => (&mut self.charged, charged),
            Outcome::Unknown | Outcome::Failed => (&mut self.unsure, operation.unsure(cost)),
            Outcome::Refused | Outcome::Overloaded | Outcome::Unreached => return,
        };
        *sum += charged;
        if let Some(said) = self.said.get_mut(instance) {
            *said += charged;
        }
    }

    /// Notes that a request of the open loop was sent so long after it was due.
    pub fn note_sent(&mut self, late: Duration) {
        self.lateness.saturating_record(nanoseconds(late));
    }

    /// Looks at an answer of the warm-up: of those only failures count.
    pub fn look_at(&mut self, outcome: Outcome) {
        self.failed += u64::from(matches!(outcome, Outcome::Failed));
    }

    /// Counts an answer that took so long.
    pub fn count(&mut self, outcome: Outcome, latency: Duration) {
        let nanoseconds = nanoseconds(latency);
        match outcome {
            Outcome::Granted(_) => {
                self.granted += 1;
                self.latency.saturating_record(nanoseconds);
            }
            Outcome::Refused => {
                self.refused += 1;
                self.refusal_latency.saturating_record(nanoseconds);
            }
            Outcome::Overloaded => self.overloaded += 1,
            Outcome::Unreached => self.unreached += 1,
            Outcome::Unknown => self.unknown += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Requests that came to an end of any kind.
    pub fn answered(&self) -> u64 {
        self.granted + self.refused + self.overloaded + self.unreached + self.unknown + self.failed
    }

    /// Takes what another thread measured in the same time.
    ///
    /// # Errors
    /// None that could happen: all histograms have the same bounds.
    pub fn merge(&mut self, other: &Measured) -> Result<(), Anything> {
        self.latency.add(&other.latency)?;
        self.refusal_latency.add(&other.refusal_latency)?;
        self.lateness.add(&other.lateness)?;
        self.granted += other.granted;
        self.refused += other.refused;
        self.overloaded += other.overloaded;
        self.unreached += other.unreached;
        self.unknown += other.unknown;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.charged += other.charged;
        self.unsure += other.unsure;
        self.said.iter_mut().zip(&other.said).for_each(|(said, other)| *said += *other);
        self.charged_once += other.charged_once;
        self.lasted = self.lasted.max(other.lasted);
        self.generator_cpu += other.generator_cpu;
        Ok(())
    }
}

/// What stands in the middle; between the two that do, half way.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values.get(below)? + values.get(above)?) / 2.0)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_decided_has_a_latency_and_each_kind_its_own() {
        let mut measured = Measured::new(0).expect("good bounds");
        let at = Duration::from_millis;
        for (outcome, latency) in [
            (Outcome::Granted(Charged::exactly(1)), at(5)),
            (Outcome::Refused, at(2)),
            (Outcome::Refused, at(2)),
            (Outcome::Overloaded, at(1)),
            (Outcome::Unknown, at(60_000)),
            (Outcome::Failed, at(1)),
        ] {
            measured.count(outcome, latency);
        }
        measured.note_sent(at(1));
        let mut both = measured.clone();
        both.merge(&measured).expect("the same bounds");
        assert_eq!((both.latency.len(), both.refusal_latency.len()), (2, 4));
        assert_eq!(both.lateness.len(), 2);
        assert!(both.latency.min() >= 4_990_000 && both.refusal_latency.max() < 2_010_000);
        assert_eq!((both.overloaded, both.unknown, both.failed, both.answered()), (2, 2, 2, 12));
    }

    #[test]
    fn a_median_stands_in_the_middle() {
        let cases = [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![100.0, 2.0, 1.0], Some(2.0)),
            (vec![4.0, 1.0, 3.0, 200.0], Some(3.5)),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_failure_may_have_charged_and_a_refusal_has_not() {
        let mut measured = Measured::new(1).expect("good bounds");
        let operation = Operation::OneOff { instance: 0 };
        measured.settle(0, operation, Outcome::Refused, 44);
        assert_eq!(measured.unsure, Charged::default());
        measured.settle(0, operation, Outcome::Failed, 44);
        assert_eq!(measured.unsure, Charged { least: 0, most: 44 });
    }

    #[test]
    fn what_is_charged_is_summed_by_instance_too() {
        let mut measured = Measured::new(3).expect("good bounds");
        for (instance, outcome) in [
            (0, Outcome::Granted(Charged::exactly(44))),
            (2, Outcome::Granted(Charged::exactly(44))),
            (2, Outcome::Unknown),
            (1, Outcome::Refused),
        ] {
            measured.settle(instance, Operation::OneOff { instance }, outcome, 44);
        }
        let mut both = measured.clone();
        both.merge(&measured).expect("the same bounds");
        let expected = [Charged::exactly(88), Charged::default(), Charged { least: 88, most: 176 }];
        assert_eq!(both.said, expected);
        assert_eq!((both.charged, both.unsure.most), (Charged::exactly(176), 88));
    }
}
