//! Single JSON values, from their text: strings and the digits of numbers.

use std::borrow::Cow;

use super::read::{BAD_ESCAPE, Flaw};
use crate::domain::ids::{Text, TextError};
use crate::domain::limits::COUNT_MAX;
use crate::domain::tokens::{AmountError, Decimal};

/// The characters of a JSON string. Only one with escapes is copied.
pub(super) fn string(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err(Flaw::wrong_type("string", raw));
    };
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let unescaped = serde_json::from_str::<String>(raw);
    unescaped.map(Cow::Owned).map_err(|_| Flaw::new("bad-json", BAD_ESCAPE))
}

pub(super) fn text(raw: &str) -> Result<Text, Flaw> {
    Text::new(&string(raw)?).map_err(|error| {
        let code = match error {
            TextError::TooLong => "too-long",
            TextError::BadChars => "bad-chars",
        };
        Flaw::new(code, error.to_string())
    })
}

/// A time in whole milliseconds from `first` to `last`.
pub(super) fn time_ms(raw: &str, first: u64, last: u64) -> Result<u64, Flaw> {
    let ms = decimal(raw)?.as_integer().and_then(|ms| u64::try_from(ms).ok());
    ms.filter(|ms| (first..=last).contains(ms)).ok_or_else(|| {
        let range = format!("must be whole milliseconds from {first} to {last}");
        Flaw::new("bad-time", range)
    })
}

/// The digits of a JSON number, which serde_json has found well formed.
pub(super) fn decimal(raw: &str) -> Result<Decimal, Flaw> {
    Decimal::parse(raw).ok_or_else(|| Flaw::wrong_type("number", raw))
}

pub(super) fn amount(code: &'static str, error: AmountError) -> Flaw {
    match error {
        AmountError::NotANumber | AmountError::NotPositive | AmountError::Negative => {
            Flaw::new(code, error.to_string())
        }
        AmountError::TooLarge => Flaw::new("too-large", format!("must be at most {COUNT_MAX}")),
        AmountError::TooPrecise => Flaw::new("too-precise", error.to_string()),
    }
}

/// What a value is, as messages call it. It must be well formed.
pub(super) fn type_name(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(_) | None => match Decimal::parse(raw) {
            Some(number) if number.scale == 0 => "integer",
            Some(_) | None => "number",
        },
    }
}
