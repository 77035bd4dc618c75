//! What a request of the component API comes in (components 2.0, and 6 U-2).
//!
//! The original API encrypts what is in the envelope; how is not published, so that is not built.
//! [`Clear`] takes the same data as plain JSON; TLS goes around it.

use std::borrow::Cow;

use super::read::{self, Fault, Flaw, Shape, Value};

/// A way to pack the data of a request.
pub(super) trait Envelope {
    /// The data, as JSON text.
    fn open(body: &[u8]) -> Result<Cow<'_, [u8]>, Fault>;
}

/// Nothing is encrypted: the data is the body, or its member `data`, as an object or as a text of
/// JSON.
pub(super) struct Clear;

impl Envelope for Clear {
    fn open(body: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
        let data = read::object::<Enveloped<'_>>(body)?;
        Ok(data.map_or(Cow::Borrowed(body), |data| match data {
            Cow::Borrowed(data) => Cow::Borrowed(data.as_bytes()),
            Cow::Owned(data) => Cow::Owned(data.into_bytes()),
        }))
    }
}

#[derive(Default)]
struct Enveloped<'a>(Option<Cow<'a, str>>);

impl<'a> Shape<'a> for Enveloped<'a> {
    type Whole = Option<Cow<'a, str>>;
    const MEMBERS: &'static [&'static str] = &["data"];
    const IS_OPEN: bool = true;

    fn set(&mut self, _member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        let data = value.parsed(|raw| match raw.as_bytes().first() {
            Some(b'{') => Ok(Cow::Borrowed(raw)),
            Some(b'"') => read::string(raw),
            Some(_) | None => Err(Flaw::wrong_type("object, or a text of one", raw)),
        })?;
        self.0 = Some(data);
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_the_body_or_a_member_of_it() {
        for (body, expected) in [
            (r#"{"a":1}"#, Ok(r#"{"a":1}"#)),
            (r#"{"key":"k","data":{"a":1}}"#, Ok(r#"{"a":1}"#)),
            (r#"{"data":"{\"a\":1}","key":7}"#, Ok(r#"{"a":1}"#)),
            (r#"{"data":"anything"}"#, Ok("anything")),
            (r#"{"data":[]}"#, Err("bad-type")),
            (r#"{"data":null}"#, Err("bad-type")),
            (r#"{"data":{},"data":{}}"#, Err("duplicate-field")),
            (r#"{"data":"\ud800"}"#, Err("bad-json")),
            ("[]", Err("bad-json")),
            ("", Err("bad-json")),
        ] {
            let opened = Clear::open(body.as_bytes());
            let opened = opened.as_deref().map_err(|fault| fault.code);
            assert_eq!(opened, expected.map(str::as_bytes), "{body}");
        }
    }
}
