//! Writing JSON by hand, into one buffer: members in the order of the specification's samples and
//! amounts from their digits, which no serialiser that knows only doubles could write.

use std::fmt::{self, Display, Write};

/// JSON text in the making. Commas come by themselves.
#[derive(Debug)]
pub(crate) struct Json(Vec<u8>);

impl Json {
    /// Nothing yet, with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Json {
        Json(Vec::with_capacity(bytes))
    }

    /// The text.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Begins an object or an array, here or as an entry of an array.
    pub(crate) fn open(&mut self, bracket: Bracket) {
        self.comma();
        self.0.push(bracket.opening());
    }

    /// Ends it.
    pub(crate) fn close(&mut self, bracket: Bracket) {
        self.0.push(bracket.closing());
    }

    /// Begins an object or an array as a member.
    pub(crate) fn open_member(&mut self, name: &'static str, bracket: Bracket) {
        self.name(name);
        self.0.push(bracket.opening());
    }

    /// A string member.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    /// A string entry of an array.
    pub(crate) fn text_entry(&mut self, value: &str) {
        self.comma();
        self.quoted(value);
    }

    /// A string member of something whose text needs no escape: an id.
    pub(crate) fn id(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        self.0.push(b'"');
        self.display(value);
        self.0.push(b'"');
    }

    /// A number or boolean member.
    pub(crate) fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        self.display(value);
    }

    /// A number or boolean member; `null` where there is none.
    pub(crate) fn plain_or_null(&mut self, name: &'static str, value: Option<impl Display>) {
        match value {
            Some(value) => self.plain(name, value),
            None => self.null(name),
        }
    }

    /// A member that says that there is nothing.
    pub(crate) fn null(&mut self, name: &'static str) {
        self.plain(name, "null");
    }

    /// A member that is an array of strings.
    pub(crate) fn texts<'a>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'a str>,
    ) {
        self.open_member(name, Bracket::Array);
        values.into_iter().for_each(|value| self.text_entry(value));
        self.close(Bracket::Array);
    }

    /// A member that is JSON already.
    pub(crate) fn raw(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.0.extend_from_slice(json.as_bytes());
    }

    fn name(&mut self, name: &'static str) {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[')) {
            self.0.push(b',');
        }
    }

    fn quoted(&mut self, value: &str) {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
            self.0.push(b'"');
            self.0.extend_from_slice(value.as_bytes());
            return self.0.push(b'"');
        }
        serde_json::to_writer(&mut self.0, value).expect("a buffer in memory takes every string");
    }

    fn display(&mut self, value: impl Display) {
        write!(self, "{value}").expect("a buffer in memory takes every byte");
    }
}

impl Write for Json {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What holds members or entries together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bracket {
    /// `{}`
    Object,
    /// `[]`
    Array,
}

impl Bracket {
    const fn opening(self) -> u8 {
        match self {
            Bracket::Object => b'{',
            Bracket::Array => b'[',
        }
    }

    const fn closing(self) -> u8 {
        match self {
            Bracket::Object => b'}',
            Bracket::Array => b']',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_and_strings_are_escaped() {
        let mut json = Json::with_capacity(16);
        json.open(Bracket::Object);
        json.text("a", "\"\\\n{");
        json.plain("b", 1.to_string());
        json.open_member("c", Bracket::Array);
        json.open(Bracket::Object);
        json.raw("d", "[]");
        json.close(Bracket::Object);
        json.text_entry("[");
        json.open(Bracket::Object);
        json.close(Bracket::Object);
        json.close(Bracket::Array);
        json.id("e", 7);
        json.texts("f", ["g", "\""]);
        json.plain_or_null("h", Some(true));
        json.plain_or_null("i", None::<u64>);
        json.close(Bracket::Object);
        let text = String::from_utf8(json.into_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"a":"\"\\\n{","b":1,"c":[{"d":[]},"[",{}],"e":"7","f":["g","\""],"h":true,"i":null}"#
        );
    }
}
