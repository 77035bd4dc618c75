//! The truth of a load: what the answers say was charged is what the line items have used.

use std::fmt;

use serde::Serialize;

use crate::measure::{Charged, Measured};

/// What all line items together say, and what the answers say, in millionths of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// By how much `used` grew; nothing where nobody counts.
    #[serde(rename = "used_micro_tokens")]
    pub used: Option<i128>,
    /// By how much the answers say it grew.
    #[serde(rename = "answers_micro_tokens")]
    pub answers: Charged,
    /// What requests of unknown outcome may have changed besides.
    #[serde(rename = "unknown_micro_tokens")]
    pub unsure: Charged,
    /// Whether answers, and requests without one, leave so much open that an agreement says nothing.
    pub too_wide: bool,
    /// Whether the two agree, and it can be told.
    pub agrees: bool,
}

/// What the answers may leave open: one part in so many of what they say was charged.
const SLACK_PART: i128 = 100;

impl Audit {
    /// Holds what was used before and after against the answers; and in a storm of so many
    /// sessions, whether each was charged exactly once. `cost` is that of one request: where the
    /// answers leave more open than that and than a hundredth of what was charged, it is too wide
    /// to tell.
    pub fn new(
        used: Option<(i128, i128)>,
        measured: &Measured,
        cost: i128,
        stormed: Option<u64>,
    ) -> Audit {
        let (answers, unsure) = (measured.charged, measured.unsure);
        let used = used.map(|(before, after)| after - before);
        let (least, most) = (answers.least + unsure.least, answers.most + unsure.most);
        let sums_agree = used.is_none_or(|used| (least..=most).contains(&used));
        let once = stormed.is_none_or(|sessions| measured.charged_once == sessions);
        let bearable = cost.max(answers.least / SLACK_PART);
        let wide = used.is_some() && most - least > bearable;
        let too_wide = sums_agree && once && wide;
        Audit { used, answers, unsure, too_wide, agrees: sums_agree && once && !too_wide }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Measured { charged, unsure, ..Measured::new().expect("good bounds") }
    }

    #[test]
    fn what_the_answers_say_is_what_was_used_or_the_audit_fails() {
        let (exactly, nothing) = (Charged::exactly(44_000_000), Charged::default());
        let lost = Charged { least: 0, most: 44_000_000 };
        for (used, charged, unsure, expected) in [
            (44_000_000, exactly, nothing, true),
            (43_999_999, exactly, nothing, false),
            (44_000_001, exactly, nothing, false),
            (88_000_000, exactly, lost, true),
            (88_000_001, exactly, lost, false),
            (43_000_000, exactly, lost, false),
        ] {
            let audit = Audit::new(Some((7, 7 + used)), &measured(charged, unsure), COST, None);
            assert_eq!(audit.agrees, expected, "{audit}");
        }
        assert!(Audit::new(None, &measured(exactly, nothing), COST, None).agrees, "nobody counts");
    }

    #[test]
    fn in_a_storm_the_sum_alone_is_not_enough() {
        let mut measured = measured(Charged::exactly(88_000_000), Charged::default());
        measured.charged_once = 1; // One session twice, the other not at all.
        assert!(!Audit::new(Some((0, 88_000_000)), &measured, COST, Some(2)).agrees);
        measured.charged_once = 2;
        assert!(Audit::new(Some((0, 88_000_000)), &measured, COST, Some(2)).agrees);
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
            let audit = Audit::new(Some((0, least)), &measured(charged, nothing), COST, None);
            assert_eq!((audit.too_wide, audit.agrees), (too_wide, !too_wide), "{audit}");
            assert_eq!(audit.to_string().starts_with("TOO WIDE TO TELL"), too_wide, "{audit}");
            let nobody = Audit::new(None, &measured(charged, nothing), COST, None);
            assert!(nobody.agrees, "nobody counts");
            let beyond = Some((0, least - 1));
            let beyond = Audit::new(beyond, &measured(charged, nothing), COST, None);
            assert!(beyond.to_string().starts_with("DOES NOT AGREE"), "{beyond}");
        }
        for (unknown, too_wide) in [(COST, false), (9 * COST, true)] {
            let lost = Charged { least: 0, most: unknown };
            let audit = Audit::new(Some((0, COST)), &measured(nothing, lost), COST, None);
            assert_eq!(
                audit.too_wide, too_wide,
                "what is unknown leaves open what it may: {audit}"
            );
        }
    }

    #[test]
    fn an_audit_reads_well() {
        let charged = Charged { least: 1_500_000, most: 2_000_000 };
        let measured = measured(charged, Charged::default());
        let audit = Audit::new(Some((0, 1)), &measured, COST, None);
        let expected = "DOES NOT AGREE: used 0.000001 tokens, by the answers 1.500000 to 2";
        assert_eq!(audit.to_string(), expected);
    }
}
