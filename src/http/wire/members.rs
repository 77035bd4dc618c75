//! Objects and lists whose content has no fixed names: members whatever they are called, texts of
//! any number.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::read::{Flaw, Value, decimal, string};
use super::scalar::text;
use crate::domain::ids::Text;

/// The members of a well-formed object, equal ones too; of more than `max` only one too many.
pub(super) fn members(raw: &str, max: usize) -> Result<Vec<(Cow<'_, str>, &str)>, Flaw> {
    let mut cursor = Cursor::at(raw);
    if !cursor.enter(b'{') {
        return Err(Flaw::wrong_type("object", raw));
    }
    let mut members = Vec::new();
    while members.len() <= max
        && let Some(name) = cursor.next_member()
    {
        members.push((string(name)?, cursor.take_value()));
    }
    Ok(members)
}

/// The texts of a well-formed list, at most `max`.
pub(super) fn texts(raw: &str, max: usize) -> Result<Vec<Text>, Flaw> {
    let mut cursor = Cursor::at(raw);
    if !cursor.enter(b'[') {
        return Err(Flaw::wrong_type("array", raw));
    }
    let mut texts = Vec::new();
    while cursor.next_entry() {
        if texts.len() == max {
            return Err(Flaw::new("too-many-items", format!("must have at most {max} entries")));
        }
        texts.push(text(cursor.take_value()).map_err(|flaw| flaw.within(texts.len()))?);
    }
    Ok(texts)
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

impl<'a> Value<'_, 'a> {
    /// A list of texts, at most `max`.
    pub(super) fn texts(self, max: usize) -> Result<Vec<Text>, Flaw> {
        self.parsed(|raw| texts(raw, max))
    }

    /// A whole number in these bounds.
    pub(super) fn whole(self, first: u64, last: u64) -> Result<u64, Flaw> {
        self.parsed(|raw| whole(raw, first, last))
    }

    /// The same; `None` for null.
    pub(super) fn nullable_whole(self, first: u64, last: u64) -> Result<Option<u64>, Flaw> {
        self.parsed(|raw| nullable(raw, |raw| whole(raw, first, last)))
    }

    /// Any string; `None` for null.
    pub(super) fn nullable_string(self) -> Result<Option<String>, Flaw> {
        let owned = |raw| string(raw).map(Cow::into_owned);
        self.parsed(|raw| nullable(raw, owned))
    }
}
