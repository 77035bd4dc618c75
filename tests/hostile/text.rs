//! The small language of the cases: names that stand for ids and tokens, repetitions, and the bytes
//! that no text file can show.

use std::collections::BTreeMap;

/// What the names stand for.
pub(crate) type Names = BTreeMap<String, String>;

/// A text with `$NAME` and `$(3*ab)` (which is `ababab`) replaced.
pub(crate) fn filled(text: &str, names: &Names) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        whole += before;
        let name = names.keys().rev().find(|name| after.starts_with(name.as_str()));
        if let Some((times, piece, left)) = repetition(after) {
            whole += &filled(piece, names).repeat(times);
            rest = left;
        } else if let Some(name) = name {
            whole += names.get(name).expect("found above");
            rest = &after[name.len()..];
        } else {
            whole.push('$');
            rest = after;
        }
    }
    whole + rest
}

/// What follows a `$` that repeats something: how often, what, and the rest.
fn repetition(after: &str) -> Option<(usize, &str, &str)> {
    let (times, rest) = after.strip_prefix('(')?.split_once('*')?;
    let (piece, rest) = rest.split_once(')')?;
    Some((times.parse().ok()?, piece, rest))
}

/// The bytes of a text in which `\r`, `\n`, `\t`, `\\` and `\xHH` stand for one byte each.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, left) = match (first, after) {
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [b'\\', left @ ..]) => (b'\\', left),
            (b'\\', [b'x', high, low, left @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit");
                let byte = digit(*high) * 16 + digit(*low);
                (u8::try_from(byte).expect("two hex digits"), left)
            }
            (b'\\', _) => panic!("no escape: {}", String::from_utf8_lossy(rest)),
            (other, left) => (*other, left),
        };
        bytes.push(byte);
        rest = left;
    }
    bytes
}

#[test]
fn the_language_of_the_cases_means_what_it_says() {
    let names = Names::from([("A".to_owned(), "1".to_owned()), ("AB".to_owned(), "2".to_owned())]);
    let cases = [("$A$AB$C${x}", "12$C${x}"), ("<$(3*a$A)>$", "<a1a1a1>$"), ("$(2*)$(x)", "$(x)")];
    for (text, expected) in cases {
        assert_eq!(filled(text, &names), expected, "{text}");
    }
    assert_eq!(bytes(r"a\r\n\x00\xfF\\x"), b"a\r\n\x00\xff\\x");
}
