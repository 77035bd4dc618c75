//! The truth of a load: what the answers say was charged is what the line items of each instance
//! have used, and none has used more than it had.

use std::fmt;

use serde::Serialize;

use crate::Anything;
use crate::measure::{Charged, Measured};

/// What the line items of a world have used and hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By instance, in millionths of a token.
    pub by_instance: Vec<i128>,
    /// Line items that have used and hold more than their quantity: none has an overdraft.
    pub oversold: usize,
    /// The name of the first of them.
    pub first_oversold: Option<String>,
}

impl Taken {
    /// Adds the next instance: of each of its line items the name, the quantity in whole tokens, and
    /// what it has used and holds in millionths.
    pub fn add(&mut self, line_items: impl IntoIterator<Item = (String, u64, i128)>) {
        let mut sum = 0;
        for (name, quantity, taken) in line_items {
            sum += taken;
            if taken > i128::from(quantity) * 1_000_000 {
                self.oversold += 1;
                self.first_oversold.get_or_insert(name);
            }
        }
        self.by_instance.push(sum);
    }
}

/// What the line items say, and what the answers say, in millionths of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// By how much `used` grew in all; nothing where nobody counts.
    #[serde(rename = "used_micro_tokens")]
    pub used: Option<i128>,
    /// By how much the answers say it grew.
    #[serde(rename = "answers_micro_tokens")]
    pub answers: Charged,
    /// What requests of unknown outcome may have changed besides.
    #[serde(rename = "unknown_micro_tokens")]
    pub unsure: Charged,
    /// Instances in which it grew by what the answers for them do not say.
    pub differing: usize,
    /// The first of them.
    pub first_differing: Option<Difference>,
    /// Line items that have used more than they had.
    pub oversold: usize,
    /// The name of the first of them.
    pub first_oversold: Option<String>,
    /// Sessions of a storm that were not charged exactly once.
    pub not_once: u64,
    /// Why nobody told what was used.
    pub untold: Option<String>,
    /// Whether answers, and requests without one, leave so much open that an agreement says nothing.
    pub too_wide: bool,
    /// Whether the two agree in every instance, nothing is oversold, and it can be told.
    pub agrees: bool,
}

/// An instance whose line items say one thing, and the answers another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its number, from 0, as in the names of its line items.
    pub instance: usize,
    /// By how much `used` grew there.
    #[serde(rename = "used_micro_tokens")]
    pub used: i128,
    /// By how much the answers for it say it grew, or may have grown where there was none.
    #[serde(rename = "answers_micro_tokens")]
    pub answers: Charged,
}

/// What the answers may leave open: one part in so many of what they say was charged.
const SLACK_PART: i128 = 100;

impl Audit {
    /// Holds what was used before and after against the answers; and in a storm of so many
    /// sessions, whether each was charged exactly once. `cost` is that of one request: where the
    /// answers leave more open than that and than a hundredth of what was charged, it is too wide
    /// to tell.
    pub fn new(
        used: Option<(Taken, Taken)>,
        measured: &Measured,
        cost: i128,
        stormed: Option<u64>,
    ) -> Audit {
        let (answers, unsure) = (measured.charged, measured.unsure);
        let not_once = stormed.map_or(0, |sessions| sessions.abs_diff(measured.charged_once));
        let mut audit = Audit {
            used: None,
            answers,
            unsure,
            differing: 0,
            first_differing: None,
            oversold: 0,
            first_oversold: None,
            not_once,
            untold: None,
            too_wide: false,
            agrees: not_once == 0,
        };
        let Some((before, after)) = used else { return audit };
        let instances = before.by_instance.len().max(after.by_instance.len());
        let mut sum = 0;
        for instance in 0..instances.max(measured.said.len()) {
            // What nobody counts or speaks of is nothing.
            let at = |taken: &Taken| taken.by_instance.get(instance).copied().unwrap_or_default();
            let answers = measured.said.get(instance).copied().unwrap_or_default();
            let used = at(&after) - at(&before);
            sum += used;
            if !(answers.least..=answers.most).contains(&used) {
                audit.differing += 1;
                audit.first_differing.get_or_insert(Difference { instance, used, answers });
            }
        }
        audit.used = Some(sum);
        (audit.oversold, audit.first_oversold) = (after.oversold, after.first_oversold);
        let open = answers.most + unsure.most - answers.least - unsure.least;
        let agrees = audit.agrees && audit.differing == 0 && audit.oversold == 0;
        audit.too_wide = agrees && open > cost.max(answers.least / SLACK_PART);
        audit.agrees = agrees && !audit.too_wide;
        audit
    }

    /// What the answers say, where nobody tells any more what was used.
    pub fn untold(measured: &Measured, why: &Anything) -> Audit {
        let audit = Audit::new(None, measured, 0, None);
        Audit { untold: Some(why.to_string()), agrees: false, ..audit }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.untold {
            return write!(formatter, "NOT POSSIBLE: nobody tells what was used: {why}");
        }
        let Some(used) = self.used else { return formatter.write_str("nobody counts there") };
        let verdict = match self {
            Audit { agrees: true, .. } => "agrees",
            Audit { too_wide: true, .. } => "TOO WIDE TO TELL",
            Audit { .. } => "DOES NOT AGREE",
        };
        let (used, answers) = (Tokens(used), Range(self.answers));
        write!(formatter, "{verdict}: used {used} tokens, by the answers {answers}")?;
        if self.unsure != Charged::default() {
            write!(formatter, ", and unknown {}", Range(self.unsure))?;
        }
        if let Some(Difference { instance, used, answers }) = self.first_differing {
            let (many, used, answers) = (self.differing, Tokens(used), Range(answers));
            write!(formatter, "; instances that differ: {many}, the first is {instance}: ")?;
            write!(formatter, "used {used} tokens, by the answers {answers}")?;
        }
        if let Some(name) = &self.first_oversold {
            write!(formatter, "; oversold line items: {}, the first is `{name}`", self.oversold)?;
        }
        if self.not_once > 0 {
            write!(formatter, "; sessions that were not charged exactly once: {}", self.not_once)?;
        }
        Ok(())
    }
}

/// Shows millionths of a token as tokens.
struct Tokens(i128);

impl fmt::Display for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        write!(formatter, "{sign}{whole}")?;
        if rest > 0 {
            write!(formatter, ".{rest:06}")?;
        }
        Ok(())
    }
}

/// Shows an amount that may not be known exactly.
struct Range(Charged);

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Charged { least, most } = self.0;
        if least == most {
            return Tokens(least).fmt(formatter);
        }
        write!(formatter, "{} to {}", Tokens(least), Tokens(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: i128 = 44_000_000;

    fn measured(charged: Charged, unsure: Charged) -> Measured {
        let mut said = charged;
        said += unsure;
        Measured { charged, unsure, said: vec![said], ..Measured::new(1).expect("good bounds") }
    }

    /// What line items have used in each instance, of as much as they need.
    fn taken(by_instance: &[i128]) -> Taken {
        Taken { by_instance: by_instance.to_vec(), ..Taken::default() }
    }

    /// One instance, in which so much was used.
    fn used(micro_tokens: i128) -> Option<(Taken, Taken)> {
        Some((taken(&[7]), taken(&[7 + micro_tokens])))
    }

    #[test]
    fn what_the_answers_say_is_what_was_used_or_the_audit_fails() {
        let (exactly, nothing) = (Charged::exactly(44_000_000), Charged::default());
        let lost = Charged { least: 0, most: 44_000_000 };
        for (grown, charged, unsure, expected) in [
            (44_000_000, exactly, nothing, true),
            (43_999_999, exactly, nothing, false),
            (44_000_001, exactly, nothing, false),
            (88_000_000, exactly, lost, true),
            (88_000_001, exactly, lost, false),
            (43_000_000, exactly, lost, false),
        ] {
            let audit = Audit::new(used(grown), &measured(charged, unsure), COST, None);
            assert_eq!(audit.agrees, expected, "{audit}");
        }
        assert!(Audit::new(None, &measured(exactly, nothing), COST, None).agrees, "nobody counts");
    }

    #[test]
    fn what_went_to_another_instance_is_found_although_the_sums_agree() {
        let exactly = Charged::exactly;
        let said = vec![exactly(44), exactly(44), exactly(0), Charged { least: 44, most: 88 }];
        let charged = Charged { least: 132, most: 176 };
        let measured = Measured { said, ..measured(charged, Charged::default()) };
        for (grown, differing, first) in [
            ([44, 44, 0, 44], 0, None),
            ([44, 44, 0, 88], 0, None),
            ([44, 0, 44, 44], 2, Some((1, 0, exactly(44)))),
            ([44, 44, 1, 43], 2, Some((2, 1, exactly(0)))),
            ([44, 44, 0, 89], 1, Some((3, 89, Charged { least: 44, most: 88 }))),
        ] {
            let before = [5, 6, 7, 8];
            let after: Vec<_> = before.iter().zip(grown).map(|(had, grown)| had + grown).collect();
            let used = Some((taken(&before), taken(&after)));
            let audit = Audit::new(used, &measured, COST, None);
            let first =
                first.map(|(instance, used, answers)| Difference { instance, used, answers });
            assert_eq!((audit.differing, audit.first_differing), (differing, first), "{audit}");
            assert_eq!((audit.agrees, audit.too_wide), (differing == 0, false), "{audit}");
        }
    }

    #[test]
    fn nothing_is_used_that_was_not_there() {
        let mut taken = Taken::default();
        let line_item = |name: &str, quantity, taken| (name.to_owned(), quantity, taken);
        taken.add([line_item("a", 1, 1_000_000), line_item("b", 2, 0)]);
        assert_eq!((taken.oversold, &taken.first_oversold), (0, &None), "all of it is not more");
        taken.add([line_item("c", 1, 1_000_001), line_item("d", 0, 1)]);
        assert_eq!(taken.by_instance, [1_000_000, 1_000_002]);
        assert_eq!((taken.oversold, taken.first_oversold.as_deref()), (2, Some("c")));
        let measured = Measured::new(2).expect("good bounds");
        let audit = Audit::new(Some((taken.clone(), taken)), &measured, COST, None);
        assert!(!audit.agrees && audit.differing == 0, "{audit}");
        assert_eq!((audit.oversold, audit.first_oversold.as_deref()), (2, Some("c")));
    }

    #[test]
    fn in_a_storm_the_sum_alone_is_not_enough() {
        let mut measured = measured(Charged::exactly(88_000_000), Charged::default());
        measured.charged_once = 1; // One session twice, the other not at all.
        let audit = Audit::new(used(88_000_000), &measured, COST, Some(2));
        assert!(!audit.agrees);
        let told = "; sessions that were not charged exactly once: 1";
        assert!(audit.to_string().ends_with(told), "{audit}");
        measured.charged_once = 2;
        assert!(Audit::new(used(88_000_000), &measured, COST, Some(2)).agrees);
    }

    #[test]
    fn where_nobody_tells_what_was_used_the_audit_fails_and_says_why() {
        let measured = measured(Charged::exactly(COST), Charged::default());
        let audit = Audit::untold(&measured, &"it has gone".into());
        assert!(!audit.agrees && audit.answers == measured.charged);
        assert_eq!(audit.to_string(), "NOT POSSIBLE: nobody tells what was used: it has gone");
    }

    #[test]
    fn an_instance_that_nobody_counts_has_used_nothing() {
        let measured = measured(Charged::exactly(COST), Charged::default());
        for by_instance in [&[][..], &[0], &[0, COST], &[COST, 1]] {
            let audit = Audit::new(Some((taken(&[]), taken(by_instance))), &measured, COST, None);
            assert!(!audit.agrees && audit.differing > 0, "{by_instance:?}: {audit}");
        }
        assert!(Audit::new(Some((taken(&[]), taken(&[COST]))), &measured, COST, None).agrees);
    }

    #[test]
    fn an_audit_that_leaves_too_much_open_fails_whatever_was_used() {
        let nothing = Charged::default();
        for (least, slack, too_wide) in [
            (0, COST, false),
            (0, COST + 1, true),
            (-COST, COST + 1, true),
            (100 * COST, COST + 1, true),
            (1_000 * COST, 10 * COST, false),
            (1_000 * COST, 10 * COST + 1, true),
        ] {
            let charged = Charged { least, most: least + slack };
            let audit = Audit::new(used(least), &measured(charged, nothing), COST, None);
            assert_eq!((audit.too_wide, audit.agrees), (too_wide, !too_wide), "{audit}");
            assert_eq!(audit.to_string().starts_with("TOO WIDE TO TELL"), too_wide, "{audit}");
            let nobody = Audit::new(None, &measured(charged, nothing), COST, None);
            assert!(nobody.agrees, "nobody counts");
            let beyond = Audit::new(used(least - 1), &measured(charged, nothing), COST, None);
            assert!(beyond.to_string().starts_with("DOES NOT AGREE"), "{beyond}");
        }
        for (unknown, too_wide) in [(COST, false), (9 * COST, true)] {
            let lost = Charged { least: 0, most: unknown };
            let audit = Audit::new(used(COST), &measured(nothing, lost), COST, None);
            assert_eq!(
                audit.too_wide, too_wide,
                "what is unknown leaves open what it may: {audit}"
            );
        }
    }

    #[test]
    fn an_audit_reads_well() {
        let charged = Charged { least: 1_500_000, most: 2_000_000 };
        let (before, after) = used(1).expect("somebody counts");
        let after = Taken { oversold: 3, first_oversold: Some("L0-1".to_owned()), ..after };
        let measured = measured(charged, Charged::default());
        let audit = Audit::new(Some((before, after)), &measured, COST, None);
        let expected = "DOES NOT AGREE: used 0.000001 tokens, by the answers 1.500000 to 2; \
                        instances that differ: 1, the first is 0: used 0.000001 tokens, by the \
                        answers 1.500000 to 2; oversold line items: 3, the first is `L0-1`";
        assert_eq!(audit.to_string(), expected);
        let json = serde_json::to_value(&audit).expect("JSON");
        assert_eq!(json["first_differing"]["answers_micro_tokens"]["most"], 2_000_000);
        assert_eq!((&json["differing"], &json["oversold"]), (&1.into(), &3.into()));
        assert_eq!(json["used_micro_tokens"], 1);
    }
}
