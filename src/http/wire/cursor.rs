//! Going through JSON text whose form serde_json has found right: all that is left to do is to find
//! where each value ends. Nothing here can fail; text that is not JSON is merely cut at odd places.

/// What is still to be read of the text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the first value of the text.
    pub(super) fn at(text: &'a str) -> Cursor<'a> {
        Cursor { rest: text.trim_ascii_start() }
    }

    /// What is still to be read, beginning with a value.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// Goes into the object or the list that begins here with this bracket, if one does.
    pub(super) fn enter(&mut self, bracket: u8) -> bool {
        let is_there = self.next_byte() == Some(bracket);
        if is_there {
            self.skip(1);
        }
        is_there
    }

    /// Goes to the next entry of the list, if there is one; else behind its end.
    pub(super) fn next_entry(&mut self) -> bool {
        self.skip_blanks();
        match self.next_byte() {
            None => return false,
            Some(b']' | b'}') => {
                self.skip(1);
                return false;
            }
            Some(b',') => {
                self.skip(1);
                self.skip_blanks();
            }
            Some(_) => {}
        }
        true
    }

    /// Goes to the value of the object's next member, if there is one; else behind the object's
    /// end. Says the name as it was written.
    pub(super) fn next_member(&mut self) -> Option<&'a str> {
        if !self.next_entry() {
            return None;
        }
        let name = self.take_value();
        self.skip_blanks();
        if self.next_byte() == Some(b':') {
            self.skip(1);
            self.skip_blanks();
        }
        Some(name)
    }

    /// The text of the value that begins here, and goes behind it.
    pub(super) fn take_value(&mut self) -> &'a str {
        let bytes = self.rest.as_bytes();
        let length = match bytes.first() {
            Some(b'"') => string_bytes(bytes),
            Some(b'{' | b'[') => nested_bytes(bytes),
            Some(_) | None => plain_bytes(bytes),
        };
        let (value, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        value
    }

    fn next_byte(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_blanks(&mut self) {
        while self.next_byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.skip(1);
        }
    }
}

/// How long the string is that begins here, quotes included.
fn string_bytes(bytes: &[u8]) -> usize {
    let mut length = 1;
    loop {
        let inside = bytes.get(length..).unwrap_or_default();
        match inside.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            None => return bytes.len(),
            Some(at) if inside.get(at) == Some(&b'"') => return length + at + 1,
            Some(at) => length += at + 2, // Whatever is escaped is no end.
        }
    }
}

/// How long the object or list is that begins here.
fn nested_bytes(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(rest) = bytes.get(at..) {
        match rest.first() {
            Some(b'"') => {
                at += string_bytes(rest);
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth = depth.saturating_sub(1),
            Some(_) => {}
            None => return bytes.len(),
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// How long the number, the boolean or the null is that begins here.
fn plain_bytes(bytes: &[u8]) -> usize {
    let is_behind = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
    bytes.iter().position(is_behind).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_cut_into_its_members() {
        let text = r#" { "a" : 1 ,"b\"}":"}\\", "c": [ {"d":"]"} , [] ] ,"e":{},"f":null } "#;
        let mut cursor = Cursor::at(text);
        assert!(cursor.enter(b'{'));
        let mut members = Vec::new();
        while let Some(name) = cursor.next_member() {
            members.push((name, cursor.take_value()));
        }
        let expected = [
            (r#""a""#, "1"),
            (r#""b\"}""#, r#""}\\""#),
            (r#""c""#, r#"[ {"d":"]"} , [] ]"#),
            (r#""e""#, "{}"),
            (r#""f""#, "null"),
        ];
        assert_eq!(members, expected);
        assert_eq!(cursor.rest(), " ");
    }

    #[test]
    fn a_list_is_cut_into_its_entries() {
        for (text, expected) in [
            ("[]", &[][..]),
            (" [ ] ", &[]),
            ("[1]", &["1"]),
            ("[-1.5e3,true , \"x\" ,[[]]]", &["-1.5e3", "true", "\"x\"", "[[]]"]),
        ] {
            let mut cursor = Cursor::at(text);
            assert!(cursor.enter(b'['), "{text}");
            let mut entries = Vec::new();
            while cursor.next_entry() {
                entries.push(cursor.take_value());
            }
            assert_eq!(entries, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_comes_to_an_end_too() {
        for text in
            ["", "{", "[", "\"", "[\"", "{\"a\"", "{\"a\":", "[1,", "[[[", "\\", "}", "[,,]"]
        {
            let mut cursor = Cursor::at(text);
            cursor.enter(b'{');
            for _ in 0..10 {
                cursor.next_member();
                cursor.take_value();
            }
            assert_eq!(cursor.rest(), "", "{text}");
        }
    }
}
