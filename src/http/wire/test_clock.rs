//! Moving the test clock (spec 4.2).

use super::read::{self, Fault, Flaw, Shape, Value};
use crate::domain::limits::{EFFECTIVE_FROM_MAX_MS, EFFECTIVE_FROM_MIN_MS};
use crate::domain::time::Timestamp;

/// The last instant that the clock can show.
pub(crate) const LATEST: Timestamp = Timestamp::from_ms(EFFECTIVE_FROM_MAX_MS);

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// To this instant.
    Set(Timestamp),
    /// So many milliseconds on.
    Advance(u64),
}

/// Reads where to move the clock.
pub(crate) fn read(body: &[u8]) -> Result<Move, Fault> {
    read::object::<Wanted>(body)
}

#[derive(Default)]
struct Wanted {
    set: Option<u64>,
    advance: Option<u64>,
}

impl<'a> Shape<'a> for Wanted {
    type Whole = Move;
    const MEMBERS: &'static [&'static str] = &["set", "advance"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "set" => self.set = Some(value.time_ms(EFFECTIVE_FROM_MIN_MS, EFFECTIVE_FROM_MAX_MS)?),
            _ => self.advance = Some(value.time_ms(0, EFFECTIVE_FROM_MAX_MS)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Move, Flaw> {
        match (self.set, self.advance) {
            (Some(at), None) => Ok(Move::Set(Timestamp::from_ms(at))),
            (None, Some(ms)) => Ok(Move::Advance(ms)),
            (Some(_), Some(_)) => Err(Flaw::new("conflicting-fields", "send `set` or `advance`")),
            (None, None) => Err(Flaw::of("set", "missing-field", "send `set` or `advance`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_set_or_advanced() {
        let at = |ms| Ok(Move::Set(Timestamp::from_ms(ms)));
        for (body, expected) in [
            (r#"{"set":1700000000000}"#, at(1_700_000_000_000)),
            (r#"{"advance":3600000}"#, Ok(Move::Advance(3_600_000))),
            (r#"{"advance":0}"#, Ok(Move::Advance(0))),
            (r#"{"set":1700000000}"#, Err("bad-time")),
            (r#"{"advance":-1}"#, Err("bad-time")),
            (r#"{"advance":1.5}"#, Err("bad-time")),
            (r#"{"set":1700000000000,"advance":1}"#, Err("conflicting-fields")),
            ("{}", Err("missing-field")),
        ] {
            assert_eq!(read(body.as_bytes()).map_err(|fault| fault.code), expected, "{body}");
        }
    }
}
