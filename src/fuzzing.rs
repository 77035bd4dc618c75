//! One entry for each parser that takes bytes from outside: what `fuzz/` feeds, and what
//! `tests/fuzz_corpus.rs` replays.
//!
//! The parsers are private, and should be: nobody is to build on them. A fuzz target is another
//! crate, so it needs some door; this one is hidden from the documentation, promises nothing, and
//! says of an input only whether it was well formed. The properties are asserted here, so that both
//! users check the same: nothing panics, and what was read is read alike once it has been written.

use crate::domain::formula::Formula;
use crate::domain::ids::Text;
use crate::domain::tokens::{Count, Decimal, Rate, Tokens};
use crate::domain::variables::{Number, Variable, Variables};
use crate::{auth, http, journal};

/// Takes an input; says whether it was well formed.
pub type Target = fn(&[u8]) -> bool;

/// The targets, by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("formula", formula),
    ("journal", journal),
    ("key", key),
    ("number", number),
    ("path", path),
    ("request", request),
    ("token", token),
];

/// The body of a request, read as each operation reads it.
pub fn request(bytes: &[u8]) -> bool {
    http::fuzz::request(bytes)
}

/// What stands in a request line: a path, and a query after `?`.
pub fn path(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(http::fuzz::path)
}

/// A bearer token, of which nothing is believed.
pub fn token(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(auth::reads_as_token)
}

/// A public key in PEM, as it is sent to be registered.
///
/// # Panics
/// If a key is not what it is written as.
pub fn key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let family = auth::check_public_key(text);
    let written = auth::canonical_public_key(text);
    assert_eq!(family.is_ok(), written.is_ok(), "{text}");
    let Ok(written) = written else { return false };
    assert_eq!(auth::check_public_key(&written), family, "{text}");
    assert_eq!(auth::canonical_public_key(&written), Ok(written.clone()), "{text}");
    true
}

/// What the journal reads back. The first byte says what the rest is: a record, a segment's first
/// page, a batch, or the mark of a clean stop; seals and checksums are put right first.
pub fn journal(bytes: &[u8]) -> bool {
    journal::fuzz::piece(bytes)
}

/// A number as JSON has it, as everything that numbers become.
///
/// # Panics
/// If an amount is not what it is written as.
pub fn number(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Some(tokens) = Tokens::parse(text) {
        assert_eq!(Tokens::parse(&tokens.to_string()), Some(tokens), "{text}");
    }
    let Some(decimal) = Decimal::parse(text) else { return false };
    decimal.as_integer();
    if let Ok(count) = Count::parse(&decimal) {
        assert!(count.units() > 0, "{text}");
        let again = Decimal::parse(&count.to_string()).map(|decimal| Count::parse(&decimal));
        assert_eq!(again, Some(Ok(count)), "{text}");
    }
    if let Ok(rate) = Rate::parse(&decimal) {
        let again = Decimal::parse(&rate.to_string()).map(|decimal| Rate::parse(&decimal));
        assert_eq!(again, Some(Ok(rate)), "{text}");
    }
    if let Ok(number) = Number::parse(&decimal) {
        let again = Decimal::parse(&number.to_string()).map(|decimal| Number::parse(&decimal));
        assert_eq!(again, Some(Ok(number)), "{text}");
    }
    true
}

/// A formula on the first line, then its variables: a name and a number on each line.
///
/// # Panics
/// If a formula is not what it is written as.
pub fn formula(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (formula, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(formula) = Formula::parse(formula) else { return false };
    assert_eq!(Formula::parse(formula.as_str()).as_ref(), Ok(&formula), "{text}");
    let variables = rest.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some(Variable { name: Text::new(name).ok()?, value: value.parse().ok()? })
    });
    let variables = Variables::new(variables.collect()).unwrap_or_default();
    let first = formula.rate(&variables);
    assert_eq!(first, formula.rate(&variables), "{text}");
    true
}
