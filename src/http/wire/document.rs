//! Free-form JSON objects (`metaData`, `dictionary`): how deep, how long, and no name twice.
//!
//! serde_json has checked their form before; its own limit of depth does not hold for values that
//! it only copies, and it would keep the last of two equal names in silence.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::cursor::Cursor;
use super::read::{Flaw, string};
use crate::domain::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};

/// Checks a well-formed object.
pub(super) fn check(raw: &str) -> Result<(), Flaw> {
    if depth(raw) > DOCUMENT_DEPTH_MAX {
        let sentence = format!("must be nested at most {DOCUMENT_DEPTH_MAX} levels deep");
        return Err(Flaw::new("too-deep", sentence));
    }
    if raw.len() > DOCUMENT_BYTES_MAX {
        let sentence = format!("must have at most {DOCUMENT_BYTES_MAX} bytes");
        return Err(Flaw::new("too-long", sentence));
    }
    check_strings(raw)
}

/// How many objects and arrays lie inside one another at the deepest place. One pass, no recursion.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Looks at every string: a name must not be there twice, and an escape must mean a character.
fn check_strings(raw: &str) -> Result<(), Flaw> {
    // The names of the objects that are open; a name is a string that a colon follows.
    let mut open: Vec<BTreeSet<Cow<'_, str>>> = Vec::new();
    let mut rest = raw;
    while let Some(byte) = rest.as_bytes().first() {
        match byte {
            b'{' | b'[' => open.push(BTreeSet::new()),
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let (quoted, behind) = split_string(rest);
                let characters = string(quoted)?;
                rest = behind;
                let is_name = rest.trim_start().starts_with(':');
                if is_name && let Some(names) = open.last_mut() {
                    let name = characters.clone();
                    if !names.insert(characters) {
                        let sentence = "is there twice: send it once";
                        return Err(Flaw::of(&name, "duplicate-field", sentence));
                    }
                }
                continue;
            }
            _ => {}
        }
        // Outside of strings all of JSON is ASCII, so every byte is a character.
        rest = rest.get(1..).unwrap_or_default();
    }
    Ok(())
}

/// Where the first string begins that has an escape without a character.
pub(super) fn bad_string(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let start = at + rest.find('"')?;
        let (quoted, _) = split_string(text.get(start..)?);
        if string(quoted).is_err() {
            return Some(start);
        }
        at = start + quoted.len();
    }
    None
}

/// Parts the string that `text` begins with, quotes included, from what follows it.
fn split_string(text: &str) -> (&str, &str) {
    let mut cursor = Cursor::at(text);
    (cursor.take_value(), cursor.rest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_bounded_and_names_each_member_once() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let bytes = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        let cases = [
            ("{}".to_owned(), None),
            (r#"{"a":{"b":1},"c":{"b":1},"d":["b","b",{"b":"a"}]}"#.to_owned(), None),
            (r#"{"a":"\"a\":1","b":"}]{["}"#.to_owned(), None),
            (nested(16), None),
            (nested(17), Some("too-deep")),
            (nested(100_000), Some("too-deep")),
            (bytes(16 * 1024), None),
            (bytes(16 * 1024 + 1), Some("too-long")),
            (r#"{"a":1,"a":2}"#.to_owned(), Some("duplicate-field")),
            (r#"{"a":1, "\u0061" : 2}"#.to_owned(), Some("duplicate-field")),
            (r#"{"x":[{"a":1,"b":[],"a":2}]}"#.to_owned(), Some("duplicate-field")),
            (r#"{"a":"\ud800"}"#.to_owned(), Some("bad-json")),
            (r#"{"a":"\ud83d\ude00"}"#.to_owned(), None),
        ];
        for (text, code) in cases {
            let found = check(&text).err();
            let shown: String = text.chars().take(60).collect();
            let same = found.as_ref().map(Flaw::code) == code;
            assert!(same, "{shown}: {found:?}");
        }
    }
}
