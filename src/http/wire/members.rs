//! Objects and lists whose content has no fixed names: members whatever they are called, texts of
//! any number.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::read::{BAD_ESCAPE, Flaw, Value, decimal};
use super::scalar::text;
use crate::domain::ids::Text;

/// The members of a well-formed object, equal ones too; of more than `MAX` only one too many.
pub(super) fn members<const MAX: usize>(raw: &str) -> Result<Vec<(String, &RawValue)>, Flaw> {
    if !raw.starts_with('{') {
        return Err(Flaw::wrong_type("object", raw));
    }
    let members = serde_json::from_str::<Members<'_, MAX>>(raw);
    // It is well formed but for the escapes in its names.
    members.map(|Members(members)| members).map_err(|_| Flaw::new("bad-json", BAD_ESCAPE))
}

struct Members<'a, const MAX: usize>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Members<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Members<'a, MAX>, D::Error> {
        struct All<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for All<MAX> {
            type Value = Members<'de, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while members.len() <= MAX {
                    let Some(name) = access.next_key::<String>()? else {
                        return Ok(Members(members));
                    };
                    members.push((name, access.next_value::<&'de RawValue>()?));
                }
                while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members(members))
            }
        }

        parser.deserialize_map(All::<MAX>)
    }
}

/// The texts of a well-formed list, at most `max`.
pub(super) fn texts(raw: &str, max: usize) -> Result<Vec<Text>, Flaw> {
    if !raw.starts_with('[') {
        return Err(Flaw::wrong_type("array", raw));
    }
    let entries = serde_json::from_str::<Vec<&RawValue>>(raw);
    let entries = entries.map_err(|_| Flaw::new("bad-json", BAD_ESCAPE))?;
    if entries.len() > max {
        return Err(Flaw::new("too-many-items", format!("must have at most {max} entries")));
    }
    let entry = |(place, raw): (usize, &RawValue)| {
        text(raw.get()).map_err(|flaw| flaw.within(&place.to_string()))
    };
    entries.into_iter().enumerate().map(entry).collect()
}

/// A whole number in these bounds.
pub(super) fn whole(raw: &str, first: u64, last: u64) -> Result<u64, Flaw> {
    let number = decimal(raw)?.as_integer().and_then(|number| u64::try_from(number).ok());
    number.filter(|number| (first..=last).contains(number)).ok_or_else(|| {
        let range = format!("must be a whole number from {first} to {last}");
        Flaw::new("bad-number", range)
    })
}

/// `true` or `false`.
pub(super) fn boolean(raw: &str) -> Result<bool, Flaw> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Flaw::wrong_type("boolean", raw)),
    }
}

/// What `read` makes of a value; `None` for null.
pub(super) fn nullable<'a, T>(
    raw: &'a str,
    read: impl FnOnce(&'a str) -> Result<T, Flaw>,
) -> Result<Option<T>, Flaw> {
    if raw == "null" { Ok(None) } else { read(raw).map(Some) }
}

impl<'a, A: MapAccess<'a>> Value<'_, A> {
    /// A list of texts, at most `max`.
    pub(super) fn texts(self, max: usize) -> Result<Vec<Text>, A::Error> {
        self.parsed(|raw| texts(raw, max))
    }

    /// A whole number in these bounds.
    pub(super) fn whole(self, first: u64, last: u64) -> Result<u64, A::Error> {
        self.parsed(|raw| whole(raw, first, last))
    }

    /// The same; `None` for null.
    pub(super) fn nullable_whole(self, first: u64, last: u64) -> Result<Option<u64>, A::Error> {
        self.parsed(|raw| nullable(raw, |raw| whole(raw, first, last)))
    }

    /// Any string; `None` for null.
    pub(super) fn nullable_string(self) -> Result<Option<String>, A::Error> {
        let owned = |raw| super::read::string(raw).map(std::borrow::Cow::into_owned);
        self.parsed(|raw| nullable(raw, owned))
    }
}
