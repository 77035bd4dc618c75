//! Public keys (spec 2.1).
//!
//! Whoever sends a private key by mistake must not find it in an answer, and so not in the log of a
//! proxy: no sentence here repeats anything of a body but the name of a member that is too short to
//! be a secret.

use std::borrow::Cow;

use super::list::list;
use super::read::{Fault, Flaw, Shape, Value, required, string};
use super::{Bracket, Json};
use crate::auth::{BadKey, canonical_public_key};
use crate::domain::ids::Text;
use crate::domain::keys::{KeyClass, KeyPage, NewKey};
use crate::domain::limits::KEYS_SENT_MAX;

/// Reads the keys that are to be saved.
pub(crate) fn read(body: &[u8], class: KeyClass) -> Result<Vec<NewKey>, Fault> {
    let sent = list::<Entry, _, KEYS_SENT_MAX>(body).map_err(|fault| match fault.code {
        "bad-type" | "unknown-field" if fault.detail.starts_with('`') => {
            let members = "each entry is an object with the texts `publicKey` and `id`, no more";
            Fault { detail: format!("`{}`: {members}", place(&fault.detail)), ..fault }
        }
        _ => fault,
    })?;
    if sent.is_empty() {
        let detail = "must have at least one key".to_owned();
        return Err(Fault { code: "no-items", detail });
    }
    let keys = sent.into_iter().enumerate().map(|(position, (id, pem))| match Text::new(&id) {
        Ok(id) => Ok(NewKey { id, class, pem }),
        Err(_) => {
            let detail = format!("at {position}: {}", BadKey::Id);
            Err(Fault { code: BadKey::Id.code(), detail })
        }
    });
    keys.collect()
}

/// The pointer that a detail begins with; without the member, if its name may be a piece of a key.
fn place(detail: &str) -> String {
    const SHORT: usize = 16;
    let mut steps = detail.split(['`', '/']).skip(2);
    let (entry, member) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    let ends =
        detail.get(entry.len() + member.len() + 3..).is_some_and(|rest| rest.starts_with("`: "));
    if ends && (1..=SHORT).contains(&member.len()) && member.bytes().all(is_plain) {
        format!("/{entry}/{member}")
    } else {
        format!("/{entry}")
    }
}

/// A key as it was sent. One that is no text is only looked at for a secret.
fn key(raw: &str) -> Result<String, Flaw> {
    if raw.starts_with('{') && canonical_public_key(raw) == Err(BadKey::Private) {
        return Err(Flaw::new(BadKey::Private.code(), BadKey::Private.to_string()));
    }
    string(raw).map(Cow::into_owned)
}

#[derive(Default)]
struct Entry {
    public_key: Option<String>,
    id: Option<String>,
}

impl<'a> Shape<'a> for Entry {
    /// Id and key.
    type Whole = (String, String);
    const MEMBERS: &'static [&'static str] = &["publicKey", "id"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "publicKey" => self.public_key = Some(value.parsed(key)?),
            _ => self.id = Some(value.string()?.into_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<(String, String), Flaw> {
        let public_key = required(self.public_key, "publicKey")?;
        Ok((required(self.id, "id")?, public_key))
    }
}

/// Writes a page; the cursor is 0 at the end.
pub(crate) fn write(page: &KeyPage) -> Vec<u8> {
    let mut json = Json::with_capacity(32 + 512 * page.keys.len());
    json.open(Bracket::Object);
    json.open_member("keys", Bracket::Array);
    for key in &page.keys {
        json.open(Bracket::Object);
        json.text("id", key.id.as_str());
        json.text("type", key.class.as_str());
        json.text("publicKey", &key.pem);
        json.plain("created", key.created);
        json.plain("modified", key.modified);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.plain("next", page.next.unwrap_or(0));
    json.close(Bracket::Object);
    json.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MC4CAQAwBQYDK2VwBCIEIJ";

    #[test]
    fn a_body_is_a_list_of_keys_with_ids() {
        let long = "x".repeat(300);
        for (body, expected) in [
            (r#"[{"publicKey":"a","id":"b"}]"#.to_owned(), "ok 1"),
            (format!("[{}]", [r#"{"publicKey":"a","id":"b"}"#; 100].join(",")), "ok 100"),
            (format!("[{}]", [r#"{"publicKey":"a","id":"b"}"#; 101].join(",")), "too-many-items"),
            ("[]".to_owned(), "no-items"),
            (r#"{"publicKey":"a","id":"b"}"#.to_owned(), "bad-type"),
            ("{}".to_owned(), "bad-type"),
            (r#"[{"publicKey":{"kty":"OKP","x":"a"},"id":"b"}]"#.to_owned(), "bad-type"),
            (r#"[{"publicKey":{"kty":"OKP","d":"a"},"id":"b"}]"#.to_owned(), "bad-key"),
            (r#"[{"publicKey":"a"}]"#.to_owned(), "missing-field"),
            (r#"[{"id":"a"}]"#.to_owned(), "missing-field"),
            (r#"[{"publicKey":"a","id":"b","id":"b"}]"#.to_owned(), "duplicate-field"),
            (format!(r#"[{{"publicKey":"a","id":"{long}"}}]"#), "bad-key"),
            (r#"[{"publicKey":"a","id":"\n"}]"#.to_owned(), "bad-key"),
            (r#"[{"publicKey":"a","id":5}]"#.to_owned(), "bad-type"),
            (r#"[{"publicKey":null,"id":"b"}]"#.to_owned(), "bad-type"),
            ("".to_owned(), "bad-json"),
        ] {
            let found = read(body.as_bytes(), KeyClass::Client);
            let found = found
                .map_or_else(|fault| fault.code.to_owned(), |keys| format!("ok {}", keys.len()));
            assert_eq!(found, expected, "{body:.60}");
        }
    }

    #[test]
    fn a_fault_is_told_with_its_place() {
        let members = "each entry is an object with the texts `publicKey` and `id`, no more";
        let good = r#"{"publicKey":"a","id":"b"}"#;
        for (body, expected) in [
            (r#"[{"id":"e4","publicKey":5}]"#.to_owned(), format!("`/0/publicKey`: {members}")),
            (format!("[{good},7]"), format!("`/1`: {members}")),
            (format!(r#"[{good},{{"id":"b","kid":1}}]"#), format!("`/1/kid`: {members}")),
            (format!(r#"[{{"{}":1}}]"#, "x".repeat(17)), format!("`/0`: {members}")),
            (r#"[{"a/b":1}]"#.to_owned(), format!("`/0`: {members}")),
            (format!("[{}]", [good; 101].join(",")), "must have at most 100 entries".to_owned()),
            ("{}".to_owned(), "the body must be a list, object found".to_owned()),
            (
                r#"[{"id":"a","publicKey":{"d":"s"}}]"#.to_owned(),
                format!("`/0/publicKey`: {}", BadKey::Private),
            ),
        ] {
            let fault = read(body.as_bytes(), KeyClass::Client).unwrap_err();
            assert_eq!(fault.detail, expected, "{body:.60}");
        }
    }

    #[test]
    fn nothing_of_a_body_comes_back() {
        for body in [
            format!(r#""{SECRET}""#),
            format!(r#"["{SECRET}"]"#),
            format!(r#"[["{SECRET}"]]"#),
            format!(r#"{{"{SECRET}":1}}"#),
            format!(r#"[{{"{SECRET}":1}}]"#),
            format!(r#"[{{"publicKey":"a","id":"b","{SECRET}":1}}]"#),
            format!(r#"[{{"publicKey":{{"{SECRET}":1}},"id":"b"}}]"#),
            format!(r#"[{{"publicKey":{{"d":"{SECRET}"}},"id":"b"}}]"#),
            format!(r#"[{{"publicKey":"{SECRET}"}}]"#),
            format!(r#"[{{"publicKey":"{SECRET}","publicKey":"{SECRET}"}}]"#),
            format!(r#"[{{"publicKey":"a","id":"{SECRET}\u0000"}}]"#),
            format!(r#"[{{"publicKey":"{SECRET}\ud800","id":"b"}}]"#),
            format!(r#"[{{"publicKey":"{SECRET}"#),
            format!("[{SECRET}]"),
            SECRET.to_owned(),
        ] {
            let fault = read(body.as_bytes(), KeyClass::Client).unwrap_err();
            assert!(!fault.detail.contains("MC4"), "{body}: {}", fault.detail);
        }
    }
}
