//! What an installation is recognised by, and who uses it (components 2.0, 2.1).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::members::{boolean, members, nullable, texts, whole};
use super::read::{Flaw, Value};
use super::scalar::text;
use crate::domain::components::{Identity, IdentityValue};
use crate::domain::ids::Text;
use crate::domain::limits::IDENTITY_PAIRS_MAX;

/// So many members of an object are looked at: pairs, and what steers their comparison.
const MEMBERS_MAX: usize = 2 * IDENTITY_PAIRS_MAX;
/// The greatest version, weight and number of differences.
const STEERING_MAX: u64 = 1_000_000_000;

impl<'a> Value<'_, 'a> {
    /// What an installation says of itself; `None` for null.
    pub(super) fn nullable_identity(self) -> Result<Option<Identity>, Flaw> {
        self.parsed(|raw| nullable(raw, identity))
    }

    /// Who a user is: texts under names, sorted; `None` for null.
    pub(super) fn nullable_user(self) -> Result<Option<Vec<(Text, Text)>>, Flaw> {
        self.parsed(|raw| nullable(raw, user))
    }
}

fn identity(raw: &str) -> Result<Identity, Flaw> {
    let (mut version, mut mismatches_max, mut pairs) = (1, 0, BTreeMap::new());
    for (name, raw) in once_each(raw)? {
        let read = match name.as_ref() {
            "_version" => whole(raw, 0, STEERING_MAX).map(|number| version = number),
            "_max_mismatch_count" => {
                whole(raw, 0, STEERING_MAX).map(|number| mismatches_max = number)
            }
            // Clients of later versions may steer in other ways.
            other if other.starts_with('_') => named(other).map(drop),
            other => value(raw).and_then(|value| {
                pairs.insert(named(other)?, value);
                Ok(())
            }),
        };
        read.map_err(|flaw| flaw.within(&name))?;
    }
    check_number(pairs.len())?;
    Ok(Identity { version, mismatches_max, pairs })
}

fn value(raw: &str) -> Result<IdentityValue, Flaw> {
    if !raw.starts_with('{') {
        return Ok(IdentityValue::new(one_or_more(raw)?));
    }
    let mut value = IdentityValue::new(Vec::new());
    let mut has_value = false;
    for (name, raw) in once_each(raw)? {
        match name.as_ref() {
            "value" => (value.values, has_value) = (one_or_more(raw)?, true),
            "_weight" => value.weight = whole(raw, 0, STEERING_MAX)?,
            "_case_sensitive" => value.case_sensitive = boolean(raw)?,
            "_max_array_values_removed" => value.removed_max = whole(raw, 0, STEERING_MAX)?,
            _ => {}
        }
    }
    match has_value {
        true => Ok(value),
        false => Err(Flaw::new("missing-field", "`value` is required")),
    }
}

/// A text alone is a list of one.
fn one_or_more(raw: &str) -> Result<Vec<Text>, Flaw> {
    match raw.as_bytes().first() {
        Some(b'[') => texts(raw, IDENTITY_PAIRS_MAX),
        Some(_) | None => Ok(vec![text(raw)?]),
    }
}

fn user(raw: &str) -> Result<Vec<(Text, Text)>, Flaw> {
    let pairs = once_each(raw)?.into_iter().map(|(name, raw)| {
        let value = text(raw).map_err(|flaw| flaw.within(&name))?;
        Ok((named(&name)?, value))
    });
    let mut pairs = pairs.collect::<Result<Vec<_>, Flaw>>()?;
    check_number(pairs.len())?;
    pairs.sort();
    Ok(pairs)
}

fn named(name: &str) -> Result<Text, Flaw> {
    Text::new(name).map_err(|error| Flaw::of(name, "bad-chars", format!("a name {error}")))
}

fn once_each(raw: &str) -> Result<Vec<(Cow<'_, str>, &str)>, Flaw> {
    let members = members(raw, MEMBERS_MAX)?;
    if members.len() > MEMBERS_MAX {
        return Err(too_many());
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(twice) => {
            let name = twice.first().copied().unwrap_or_default();
            Err(Flaw::of(name, "duplicate-field", "is there twice: send it once"))
        }
        None => Ok(members),
    }
}

/// Without a pair it would be everybody.
fn check_number(pairs: usize) -> Result<(), Flaw> {
    match pairs {
        0 => Err(Flaw::new("no-items", "must have at least one pair")),
        1..=IDENTITY_PAIRS_MAX => Ok(()),
        _ => Err(too_many()),
    }
}

fn too_many() -> Flaw {
    let sentence = format!("must have at most {IDENTITY_PAIRS_MAX} pairs");
    Flaw::new("too-many-items", sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_pairs_and_what_steers_their_comparison() {
        let plain = identity(r#"{"host":"pc","mac":["a","b"]}"#).unwrap();
        assert_eq!((plain.version, plain.mismatches_max, plain.pairs.len()), (1, 0, 2));
        let host = plain.pairs.get("host").unwrap();
        assert_eq!((host.weight, host.case_sensitive, host.removed_max), (1, true, 0));
        let steered = identity(
            r#"{"_version":2,"_max_mismatch_count":3,"_later":{},"mac":{"value":["a"],"_weight":4,
                "_case_sensitive":false,"_max_array_values_removed":1,"more":null}}"#,
        );
        let steered = steered.unwrap();
        assert_eq!((steered.version, steered.mismatches_max, steered.pairs.len()), (2, 3, 1));
        let mac = steered.pairs.get("mac").unwrap();
        assert_eq!((mac.weight, mac.case_sensitive, mac.removed_max), (4, false, 1));
        let pairs = |count: usize| {
            let pairs: Vec<String> = (0..count).map(|n| format!(r#""{n}":"x""#)).collect();
            format!("{{{}}}", pairs.join(","))
        };
        for (raw, code) in [
            (pairs(64), None),
            (pairs(65), Some("too-many-items")),
            (pairs(1_000), Some("too-many-items")),
            ("{}".to_owned(), Some("no-items")),
            (r#"{"_version":1}"#.to_owned(), Some("no-items")),
            (r#"{"a":"x","a":"y"}"#.to_owned(), Some("duplicate-field")),
            (r#"{"a":"x","\u0061":"y"}"#.to_owned(), Some("duplicate-field")),
            (r#"{"a":1}"#.to_owned(), Some("bad-type")),
            (r#"{"a":[1]}"#.to_owned(), Some("bad-type")),
            (r#"{"a":{}}"#.to_owned(), Some("missing-field")),
            (r#"{"a":{"value":"x","_weight":-1}}"#.to_owned(), Some("bad-number")),
            (r#"{"a":{"value":"x","_weight":0.5}}"#.to_owned(), Some("bad-number")),
            (r#"{"a":{"value":"x","_case_sensitive":0}}"#.to_owned(), Some("bad-type")),
            (r#"{"a":"x","_version":"1"}"#.to_owned(), Some("bad-type")),
            ("[]".to_owned(), Some("bad-type")),
        ] {
            assert_eq!(identity(&raw).err().map(|flaw| flaw.code()), code, "{raw:.60}");
        }
    }

    #[test]
    fn a_user_is_texts_under_names_in_any_order() {
        let user = |raw: &str| user(raw).map_err(|flaw| flaw.code());
        assert_eq!(user(r#"{"b":"2","a":"1"}"#), user(r#"{"a":"1","b":"2"}"#));
        for (raw, code) in [
            ("{}", "no-items"),
            (r#"{"a":1}"#, "bad-type"),
            (r#"{"a":"1","a":"2"}"#, "duplicate-field"),
        ] {
            assert_eq!(user(raw), Err(code), "{raw}");
        }
    }
}
