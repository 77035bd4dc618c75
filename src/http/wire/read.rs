//! Reading request JSON strictly: objects are objects, members are known, once each, and those that
//! are required are there. What is wrong comes back with a code and a JSON pointer.
//!
//! serde_json does the parsing, in one pass over borrowed text. Its errors are only sentences, so
//! the [`Reader`] carries code and path past it; on the way down nothing is recorded.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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

/// What is wrong with one value, before anybody knows where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    code: &'static str,
    /// The member concerned, if it is one of the value and not the value itself.
    member: Option<String>,
    sentence: Cow<'static, str>,
}

impl Flaw {
    /// A flaw of the value itself.
    pub(super) fn new(code: &'static str, sentence: impl Into<Cow<'static, str>>) -> Flaw {
        Flaw { code, member: None, sentence: sentence.into() }
    }

    /// A flaw of one member of the value.
    pub(super) fn of(
        member: &str,
        code: &'static str,
        sentence: impl Into<Cow<'static, str>>,
    ) -> Flaw {
        Flaw { code, member: Some(member.to_owned()), sentence: sentence.into() }
    }

    /// The same flaw, but of one member of a larger value.
    pub(super) fn within(self, member: &str) -> Flaw {
        Flaw { member: Some(member.to_owned()), ..self }
    }

    /// The stable code.
    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn wrong_type(expected: &str, raw: &str) -> Flaw {
        Flaw::new("bad-type", format!("{expected} expected, {} found", type_name(raw)))
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
    fn set<A: MapAccess<'a>>(
        &mut self,
        member: &'static str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error>;

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
    let reader = Reader::default();
    let mut parser = serde_json::Deserializer::from_str(text);
    let whole = ObjectOf::<S>::of(&reader).deserialize(&mut parser);
    match whole.and_then(|whole| parser.end().map(|()| whole)) {
        Ok(whole) => Ok(whole),
        Err(error) => Err(reader.explain(&error, text)),
    }
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

/// The fault that serde_json found by itself.
pub(super) fn bad_json(error: &serde_json::Error) -> Fault {
    Fault { code: "bad-json", detail: error.to_string() }
}

/// One step from an object or a list to a value in it.
enum Step {
    Member(&'static str),
    Entry(usize),
}

/// What is known of the first fault: filled from the inside outwards while errors unwind.
#[derive(Default)]
pub(super) struct Reader {
    flaw: RefCell<Option<Flaw>>,
    /// The innermost step first.
    path: RefCell<Vec<Step>>,
}

impl Reader {
    fn refuse<E: de::Error>(&self, flaw: Flaw) -> E {
        *self.flaw.borrow_mut() = Some(flaw);
        E::custom("refused")
    }

    fn at<T, E>(&self, step: Step, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.path.borrow_mut().push(step);
        }
        result
    }

    fn pointer(&self, member: Option<&str>) -> String {
        let mut pointer = String::new();
        for step in self.path.borrow().iter().rev() {
            match step {
                Step::Member(name) => pointer.push_str(&format!("/{name}")),
                Step::Entry(index) => pointer.push_str(&format!("/{index}")),
            }
        }
        if let Some(name) = member {
            pointer.push_str(&format!("/{}", escaped(name)));
        }
        pointer
    }

    /// What is malformed is told before what is merely wrong, wherever in the text it stands.
    fn explain(self, error: &serde_json::Error, text: &str) -> Fault {
        if self.flaw.borrow().is_none() && !error.is_data() {
            return bad_json(error);
        }
        if let Err(malformed) = serde_json::from_str::<de::IgnoredAny>(text) {
            return bad_json(&malformed);
        }
        let flaw = self.flaw.take().unwrap_or_else(|| {
            // An object or a list that is none: serde_json finds that by itself. Its place is that
            // of what was read last, and the pointer is better.
            let place = format!(" at line {} column {}", error.line(), error.column());
            Flaw::new("bad-type", error.to_string().replace(&place, ""))
        });
        let pointer = self.pointer(flaw.member.as_deref());
        let wrong_type = matches!(flaw.code, "bad-type" | "bad-json");
        if wrong_type && document::depth(text) > DOCUMENT_DEPTH_MAX + OWN_DEPTH_MAX {
            let sentence = format!("nested too deep, {DOCUMENT_DEPTH_MAX} levels at most");
            return Fault { code: "too-deep", detail: located(&pointer, &sentence) };
        }
        match flaw.code {
            "bad-type" if pointer.is_empty() => no_object(text),
            "bad-json" => bad_escape(&pointer, text),
            code => Fault { code, detail: located(&pointer, &flaw.sentence) },
        }
    }
}

/// The whole body has the empty pointer, which would only puzzle people.
fn located(pointer: &str, sentence: &str) -> String {
    if pointer.is_empty() { sentence.to_owned() } else { format!("`{pointer}`: {sentence}") }
}

/// The value of a member, not yet read.
pub(super) struct Value<'r, A> {
    reader: &'r Reader,
    access: &'r mut A,
}

impl<'a, A: MapAccess<'a>> Value<'_, A> {
    /// The JSON text of the value, checked for form but for lone surrogates.
    pub(super) fn raw(self) -> Result<&'a str, A::Error> {
        self.access.next_value::<&'a RawValue>().map(RawValue::get)
    }

    pub(super) fn parsed<T>(
        self,
        parse: impl FnOnce(&'a str) -> Result<T, Flaw>,
    ) -> Result<T, A::Error> {
        let reader = self.reader;
        parse(self.raw()?).map_err(|flaw| reader.refuse(flaw))
    }

    /// A text within the limits.
    pub(super) fn text(self) -> Result<Text, A::Error> {
        self.parsed(text)
    }

    /// A text within the limits, and how it was written.
    pub(super) fn text_as_sent(self) -> Result<(Text, &'a str), A::Error> {
        self.parsed(|raw| Ok((text(raw)?, raw)))
    }

    /// A text and how it was written; `None` for null.
    pub(super) fn nullable_text(self) -> Result<Option<(Text, &'a str)>, A::Error> {
        self.parsed(|raw| if raw == "null" { Ok(None) } else { Ok(Some((text(raw)?, raw))) })
    }

    /// Any string, of any length.
    pub(super) fn string(self) -> Result<Cow<'a, str>, A::Error> {
        self.parsed(string)
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Result<bool, A::Error> {
        self.parsed(boolean)
    }

    /// How many of an item (spec 3.7).
    pub(super) fn count(self) -> Result<Count, A::Error> {
        self.parsed(|raw| Count::parse(&decimal(raw)?).map_err(|error| amount("bad-count", error)))
    }

    /// A time in whole milliseconds from `first` to `last`.
    pub(super) fn time_ms(self, first: u64, last: u64) -> Result<u64, A::Error> {
        self.parsed(|raw| time_ms(raw, first, last))
    }

    /// A free-form object, kept as it was sent (spec 2.7); `None` for null.
    pub(super) fn nullable_document(self) -> Result<Option<Document>, A::Error> {
        self.parsed(|raw| match raw.as_bytes().first() {
            Some(b'{') => document::check(raw).map(|()| Some(Document::from_checked(raw))),
            _ if raw == "null" => Ok(None),
            _ => Err(Flaw::wrong_type("object", raw)),
        })
    }

    /// An object of another shape, and how it was written.
    pub(super) fn object_as_sent<S: Shape<'a>>(self) -> Result<(S::Whole, &'a str), A::Error> {
        let reader = self.reader;
        let raw = self.raw()?;
        if !raw.starts_with('{') {
            return Err(reader.refuse(Flaw::wrong_type("object", raw)));
        }
        let mut parser = serde_json::Deserializer::from_str(raw);
        match ObjectOf::<S>::of(reader).deserialize(&mut parser) {
            Ok(whole) => Ok((whole, raw)),
            Err(_) if reader.flaw.borrow().is_some() => Err(de::Error::custom("refused")),
            // It is well formed but for the escapes in its names.
            Err(_) => Err(reader.refuse(Flaw::new("bad-json", BAD_ESCAPE))),
        }
    }

    /// A list of objects, at most `max`.
    pub(super) fn list<S: Shape<'a>>(self, max: usize) -> Result<Vec<S::Whole>, A::Error> {
        let list = ListOf::<S> { reader: self.reader, max, shape: PhantomData };
        self.access.next_value_seed(list)
    }
}

struct ObjectOf<'r, S> {
    reader: &'r Reader,
    shape: PhantomData<S>,
}

impl<'r, S> ObjectOf<'r, S> {
    fn of(reader: &'r Reader) -> ObjectOf<'r, S> {
        ObjectOf { reader, shape: PhantomData }
    }
}

impl<'a, S: Shape<'a>> DeserializeSeed<'a> for ObjectOf<'_, S> {
    type Value = S::Whole;

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<S::Whole, D::Error> {
        // Not `deserialize_struct`: for that an array would do as well.
        parser.deserialize_map(self)
    }
}

impl<'a, S: Shape<'a>> Visitor<'a> for ObjectOf<'_, S> {
    type Value = S::Whole;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut access: A) -> Result<S::Whole, A::Error> {
        let reader = self.reader;
        let mut shape = S::default();
        let mut seen = 0u32;
        while let Some(name) = access.next_key_seed(NameOf(S::MEMBERS))? {
            let (index, member) = match name {
                Ok(known) => known,
                Err(_) if S::IS_OPEN => {
                    access.next_value::<de::IgnoredAny>()?;
                    continue;
                }
                Err(other) => {
                    let flaw = Flaw::of(&other, "unknown-field", S::unknown(&other));
                    return Err(reader.refuse(flaw));
                }
            };
            if seen & (1 << index) != 0 {
                let flaw = Flaw::of(member, "duplicate-field", TWICE);
                return Err(reader.refuse(flaw));
            }
            seen |= 1 << index;
            let value = Value { reader, access: &mut access };
            reader.at(Step::Member(member), shape.set(member, value))?;
        }
        shape.finish().map_err(|flaw| reader.refuse(flaw))
    }
}

/// Which of the known members a name is, or the name.
struct NameOf(&'static [&'static str]);

impl<'a> DeserializeSeed<'a> for NameOf {
    type Value = Result<(usize, &'static str), String>;

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Result<(usize, &'static str), String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let known = self.0.iter().enumerate().find(|(_, member)| **member == name);
        Ok(known.map(|(index, member)| (index, *member)).ok_or_else(|| name.to_owned()))
    }
}

struct ListOf<'r, S> {
    reader: &'r Reader,
    max: usize,
    shape: PhantomData<S>,
}

impl<'a, S: Shape<'a>> DeserializeSeed<'a> for ListOf<'_, S> {
    type Value = Vec<S::Whole>;

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'a, S: Shape<'a>> Visitor<'a> for ListOf<'_, S> {
    type Value = Vec<S::Whole>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let reader = self.reader;
        let mut list = Vec::new();
        loop {
            if list.len() == self.max {
                // One more, whatever it is, is one too many; it is not read into anything.
                if access.next_element::<de::IgnoredAny>()?.is_some() {
                    let sentence = format!("must have at most {} entries", self.max);
                    return Err(reader.refuse(Flaw::new("too-many-items", sentence)));
                }
                return Ok(list);
            }
            let entry = access.next_element_seed(ObjectOf::<S>::of(reader));
            match reader.at(Step::Entry(list.len()), entry)? {
                Some(entry) => list.push(entry),
                None => return Ok(list),
            }
        }
    }
}
