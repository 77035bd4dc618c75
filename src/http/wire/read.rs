//! Reading request JSON strictly: objects are objects, members are known, once each, and those that
//! are required are there. What is wrong comes back with a code and a JSON pointer.
//!
//! serde_json judges the form of the whole text first. So what is malformed is told before what is
//! merely wrong, wherever it stands, and after that a [`Cursor`] only cuts.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::IgnoredAny;

use super::cursor::Cursor;
use super::document;
use super::members::boolean;
pub(super) use super::scalar::{amount, decimal, string, type_name};
use super::scalar::{text, time_ms};
use crate::domain::ids::{Document, Text};
use crate::domain::limits::DOCUMENT_DEPTH_MAX;
use crate::domain::tokens::Count;

/// Objects and lists that the API itself nests around a value of the caller's.
const OWN_DEPTH_MAX: usize = 4;
const TWICE: &str = "is there twice: send it once";
pub(super) const BAD_ESCAPE: &str = "an escape that gives no character";

/// Why a body is refused (400): a stable code and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The stable code.
    pub(crate) code: &'static str,
    /// Where, as a JSON pointer or as line and column, and what is wrong.
    pub(crate) detail: String,
}

/// What is wrong with one value, before anybody knows where in the body it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    code: &'static str,
    /// A JSON pointer, from the value on: empty where it is the value itself.
    pointer: String,
    sentence: Cow<'static, str>,
}

impl Flaw {
    /// A flaw of the value itself.
    pub(super) fn new(code: &'static str, sentence: impl Into<Cow<'static, str>>) -> Flaw {
        Flaw { code, pointer: String::new(), sentence: sentence.into() }
    }

    /// A flaw of one member of the value.
    pub(super) fn of(
        member: &str,
        code: &'static str,
        sentence: impl Into<Cow<'static, str>>,
    ) -> Flaw {
        Flaw::new(code, sentence).within(member)
    }

    /// The same flaw, of the value that has this one as a member, or as the entry at this place.
    pub(super) fn within(self, step: impl Display) -> Flaw {
        let pointer = format!("/{}{}", escaped(&step.to_string()), self.pointer);
        Flaw { pointer, ..self }
    }

    /// The stable code.
    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn wrong_type(expected: &str, raw: &str) -> Flaw {
        Flaw::new("bad-type", format!("{expected} expected, {} found", type_name(raw)))
    }

    /// As it is told; `text` is the whole body.
    fn told(self, text: &str) -> Fault {
        let Flaw { code, pointer, sentence } = self;
        let wrong_type = matches!(code, "bad-type" | "bad-json");
        if wrong_type && document::depth(text) > DOCUMENT_DEPTH_MAX + OWN_DEPTH_MAX {
            let sentence = format!("nested too deep, {DOCUMENT_DEPTH_MAX} levels at most");
            return Fault { code: "too-deep", detail: located(&pointer, &sentence) };
        }
        match code {
            "bad-type" if pointer.is_empty() => no_object(text),
            "bad-json" => bad_escape(&pointer, text),
            code => Fault { code, detail: located(&pointer, &sentence) },
        }
    }
}

/// A required member, or the flaw that it is missing.
pub(super) fn required<T>(value: Option<T>, member: &str) -> Result<T, Flaw> {
    value.ok_or_else(|| Flaw::of(member, "missing-field", "is required"))
}

/// A required text that must not be empty either.
pub(super) fn required_name(value: Option<Text>, member: &str) -> Result<Text, Flaw> {
    let empty = || Flaw::of(member, "missing-field", "is required and must not be empty");
    value.filter(|text| !text.is_empty()).ok_or_else(empty)
}

/// An object of the API while it is being read.
pub(super) trait Shape<'a>: Default {
    /// What it becomes.
    type Whole;
    /// The members it may have: at most 32.
    const MEMBERS: &'static [&'static str];
    /// Whether it may have others, which mean nothing here.
    const IS_OPEN: bool = false;

    /// Takes the value of one member; called once for each that is there.
    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw>;

    /// Checks what only the whole object shows: what is missing, what does not go together.
    fn finish(self) -> Result<Self::Whole, Flaw>;

    /// What to say of a member that it may not have.
    fn unknown(_member: &str) -> &'static str {
        "is not a member of this object: leave it out"
    }
}

/// Reads a body that must be one object of this shape.
pub(super) fn object<'a, S: Shape<'a>>(body: &'a [u8]) -> Result<S::Whole, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(text, error))?;
    read_object::<S>(&mut Cursor::at(text)).map_err(|flaw| flaw.told(text))
}

/// The place of the first byte that is no UTF-8.
pub(super) fn not_utf8(body: &[u8], at: usize) -> Fault {
    Fault { code: "bad-json", detail: format!("not UTF-8 {}", place(body, at)) }
}

fn place(body: &[u8], at: usize) -> String {
    let before = body.get(..at).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    format!("at line {line} column {column}")
}

/// What is well formed and no object.
pub(super) fn no_object(text: &str) -> Fault {
    let detail = format!("the body must be an object, {} found", type_name(text.trim()));
    Fault { code: "bad-json", detail }
}

/// A string of the object at this place has an escape without a character; the first in the body.
pub(super) fn bad_escape(pointer: &str, body: &str) -> Fault {
    let place = place(body.as_bytes(), document::bad_string(body).unwrap_or_default());
    Fault { code: "bad-json", detail: located(pointer, &format!("{BAD_ESCAPE} {place}")) }
}

/// An object has a member twice.
pub(super) fn twice(pointer: &str, name: &str) -> Fault {
    let pointer = format!("{pointer}/{}", escaped(name));
    Fault { code: "duplicate-field", detail: located(&pointer, TWICE) }
}

/// A name in a JSON pointer, cut to what people can read.
fn escaped(name: &str) -> String {
    let shown: String = name.chars().take(80).collect();
    shown.replace('~', "~0").replace('/', "~1")
}

/// The fault of a text that is malformed. Whoever reads values knows better what is wrong than who
/// only skips them, but may stumble earlier over what is not malformed: depth, or a large number.
fn malformed(text: &str, skipping: serde_json::Error) -> Fault {
    let place = |error: &serde_json::Error| (error.line(), error.column());
    let reading = serde_json::from_str::<serde_json::Value>(text).err();
    let reading = reading.filter(|reading| place(reading) >= place(&skipping));
    bad_json(&reading.unwrap_or(skipping))
}

/// The fault that serde_json found by itself.
pub(super) fn bad_json(error: &serde_json::Error) -> Fault {
    Fault { code: "bad-json", detail: error.to_string() }
}

/// The whole body has the empty pointer, which would only puzzle people.
fn located(pointer: &str, sentence: &str) -> String {
    if pointer.is_empty() { sentence.to_owned() } else { format!("`{pointer}`: {sentence}") }
}

fn read_object<'a, S: Shape<'a>>(cursor: &mut Cursor<'a>) -> Result<S::Whole, Flaw> {
    if !cursor.enter(b'{') {
        return Err(Flaw::wrong_type("object", cursor.take_value()));
    }
    let mut shape = S::default();
    let mut seen = 0u32;
    while let Some(name) = cursor.next_member() {
        let known = |wanted: &str| {
            (0u32..).zip(S::MEMBERS.iter().copied()).find(|(_, member)| *member == wanted)
        };
        // As it is written, nearly always: an escape is only looked for where nothing is found.
        let written = name.get(1..name.len().saturating_sub(1)).unwrap_or_default();
        let found = match known(written) {
            Some(found) => Some(found),
            None => known(&string(name)?),
        };
        let Some((index, member)) = found else {
            let name = string(name)?;
            if S::IS_OPEN {
                cursor.take_value();
                continue;
            }
            return Err(Flaw::of(&name, "unknown-field", S::unknown(&name)));
        };
        if seen & (1 << index) != 0 {
            return Err(Flaw::of(member, "duplicate-field", TWICE));
        }
        seen |= 1 << index;
        shape.set(member, Value(cursor)).map_err(|flaw| flaw.within(member))?;
    }
    shape.finish()
}

/// The value of a member, not yet read.
pub(super) struct Value<'r, 'a>(&'r mut Cursor<'a>);

impl<'a> Value<'_, 'a> {
    /// The JSON text of the value, checked for form but for lone surrogates.
    pub(super) fn raw(self) -> &'a str {
        self.0.take_value()
    }

    pub(super) fn parsed<T>(
        self,
        parse: impl FnOnce(&'a str) -> Result<T, Flaw>,
    ) -> Result<T, Flaw> {
        parse(self.raw())
    }

    /// A text within the limits.
    pub(super) fn text(self) -> Result<Text, Flaw> {
        self.parsed(text)
    }

    /// A text within the limits, and how it was written.
    pub(super) fn text_as_sent(self) -> Result<(Text, &'a str), Flaw> {
        self.parsed(|raw| Ok((text(raw)?, raw)))
    }

    /// A text and how it was written; `None` for null.
    pub(super) fn nullable_text(self) -> Result<Option<(Text, &'a str)>, Flaw> {
        self.parsed(|raw| if raw == "null" { Ok(None) } else { Ok(Some((text(raw)?, raw))) })
    }

    /// Any string, of any length.
    pub(super) fn string(self) -> Result<Cow<'a, str>, Flaw> {
        self.parsed(string)
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Result<bool, Flaw> {
        self.parsed(boolean)
    }

    /// How many of an item (spec 3.7).
    pub(super) fn count(self) -> Result<Count, Flaw> {
        self.parsed(|raw| Count::parse(&decimal(raw)?).map_err(|error| amount("bad-count", error)))
    }

    /// A time in whole milliseconds from `first` to `last`.
    pub(super) fn time_ms(self, first: u64, last: u64) -> Result<u64, Flaw> {
        self.parsed(|raw| time_ms(raw, first, last))
    }

    /// A free-form object, kept as it was sent (spec 2.7); `None` for null.
    pub(super) fn nullable_document(self) -> Result<Option<Document>, Flaw> {
        self.parsed(|raw| match raw.as_bytes().first() {
            Some(b'{') => document::check(raw).map(|()| Some(Document::from_checked(raw))),
            _ if raw == "null" => Ok(None),
            _ => Err(Flaw::wrong_type("object", raw)),
        })
    }

    /// An object of another shape, and how it was written.
    pub(super) fn object_as_sent<S: Shape<'a>>(self) -> Result<(S::Whole, &'a str), Flaw> {
        let sent = self.0.rest();
        let whole = read_object::<S>(self.0)?;
        let length = sent.len() - self.0.rest().len();
        Ok((whole, sent.get(..length).unwrap_or_default()))
    }

    /// A list of objects, at most `max`.
    pub(super) fn list<S: Shape<'a>>(self, max: usize) -> Result<Vec<S::Whole>, Flaw> {
        if !self.0.enter(b'[') {
            return Err(Flaw::wrong_type("array", self.raw()));
        }
        let mut list = Vec::new();
        while self.0.next_entry() {
            if list.len() == max {
                // Whatever it is: it is not read into anything.
                let sentence = format!("must have at most {max} entries");
                return Err(Flaw::new("too-many-items", sentence));
            }
            let entry = read_object::<S>(self.0).map_err(|flaw| flaw.within(list.len()))?;
            list.push(entry);
        }
        Ok(list)
    }
}
