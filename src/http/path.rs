//! Paths and query strings, checked byte by byte: what is no path at all is refused, nothing is
//! normalised, and an escape is decoded exactly once.

use std::borrow::Cow;

use super::wire::Version;

/// Why a path is none (400 `bad-path`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPath(pub(super) &'static str);

/// Checks a path as it was sent.
pub(super) fn check(path: &str) -> Result<(), BadPath> {
    // Every call comes by here: what is beyond doubt is not looked at closely.
    let suspicious = path
        .bytes()
        .fold(false, |seen, byte| seen | matches!(byte, b'%' | b'\\' | b';' | ..=b' ' | 0x7f..));
    let is_plain = !suspicious && path.starts_with('/') && !path.contains("/.");
    if is_plain { Ok(()) } else { check_closely(path) }
}

fn check_closely(path: &str) -> Result<(), BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath("a path begins with `/`"));
    }
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(BadPath("a path has only visible ASCII: escape the rest"));
    }
    for segment in path.split('/') {
        let decoded = decode(segment).ok_or(BadPath("an escape is `%` and two hex digits"))?;
        let Ok(decoded) = std::str::from_utf8(&decoded) else {
            return Err(BadPath("escapes must give UTF-8"));
        };
        check_decoded(decoded)?;
    }
    Ok(())
}

/// Checks what an escaped segment stands for: an id that passes can be named by a path. A slash is
/// part of the id, since routes are found before anything is decoded.
pub(super) fn check_decoded(segment: &str) -> Result<(), BadPath> {
    if segment.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(BadPath("`.` and `..` name nothing: paths are not normalised"));
    }
    if segment.contains(|c: char| c.is_control() || matches!(c, '\\' | ';')) {
        return Err(BadPath("there is no `\\`, no `;` and no control character in it"));
    }
    if segment.as_bytes().windows(3).any(is_escape) {
        return Err(BadPath("`%` with two hex digits would be an escape that is escaped again"));
    }
    Ok(())
}

fn is_escape(bytes: &[u8]) -> bool {
    let [percent, digits @ ..] = bytes else { return false };
    *percent == b'%' && digits.iter().all(u8::is_ascii_hexdigit)
}

/// The characters of a path segment; `check` has passed.
pub(super) fn segment(sent: &str) -> Cow<'_, str> {
    match decode(sent) {
        Some(Cow::Owned(bytes)) => String::from_utf8(bytes).map_or(Cow::Borrowed(sent), Cow::Owned),
        Some(Cow::Borrowed(_)) | None => Cow::Borrowed(sent),
    }
}

/// Replaces each escape by its byte; `None` where one is incomplete.
fn decode(sent: &str) -> Option<Cow<'_, [u8]>> {
    if !sent.contains('%') {
        return Some(Cow::Borrowed(sent.as_bytes()));
    }
    let mut bytes = sent.bytes();
    let mut decoded = Vec::with_capacity(sent.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(Cow::Owned(decoded))
}

/// Parts the version from the rest of the path (spec 2.0):
/// `/{dynamicmonetization/}{provisioning/|elastic/|floating/}api/{v1.0|v1.1}` + rest.
pub(super) fn fold(path: &str) -> Option<(Version, &str)> {
    let path = path.strip_prefix("/dynamicmonetization").filter(begins_anew).unwrap_or(path);
    let path = ["/provisioning", "/elastic", "/floating"]
        .into_iter()
        .find_map(|group| path.strip_prefix(group).filter(begins_anew))
        .unwrap_or(path);
    let versioned = path.strip_prefix("/api/")?;
    let (version, _) = versioned.split_once('/')?;
    let rest = versioned.strip_prefix(version)?;
    Some((Version::parse(version)?, rest))
}

/// The same for the component API, which has no prefixes (components 2.0).
pub(super) fn fold_components(path: &str) -> Option<(Version, &str)> {
    let versioned = path.strip_prefix("/api/")?;
    let (version, _) = versioned.split_once('/')?;
    let found = Version::COMPONENTS.into_iter().find(|known| known.name() == version)?;
    Some((found, versioned.strip_prefix(version)?))
}

fn begins_anew(rest: &&str) -> bool {
    rest.starts_with('/')
}

/// The parameters of a query string, each of them known and there once.
#[derive(Debug, Default)]
pub(super) struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads the parameters; the `Err` says what is wrong with them (400 `bad-query`).
    pub(super) fn parse(sent: &'a str, known: &[&'static str]) -> Result<Query<'a>, String> {
        let mut query = Query::default();
        for pair in sent.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (form_decoded(name), form_decoded(value)) else {
                return Err("an escape is `%` and two hex digits that give UTF-8".to_owned());
            };
            let Some(known) = known.iter().find(|known| **known == name) else {
                let shown: String = name.chars().take(80).collect();
                let there_are = match known {
                    [] => "there are none".to_owned(),
                    known => format!("there are `{}`", known.join("`, `")),
                };
                return Err(format!("`{shown}` is no parameter here: {there_are}"));
            };
            if query.get(known).is_some() {
                return Err(format!("`{known}` is there twice: send it once"));
            }
            query.0.push((known, value));
        }
        Ok(query)
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }

    /// Whether a parameter is set that is `true` or `false`; one that is not there is `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("`{name}` must be `true` or `false`")),
        }
    }

    /// The value of a parameter that is a whole number. One too large for a number is the largest.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{name}` must be a whole number"));
        }
        Ok(Some(value.parse().unwrap_or(u64::MAX)))
    }
}

fn form_decoded(sent: &str) -> Option<Cow<'_, str>> {
    if !sent.contains(['%', '+']) {
        return Some(Cow::Borrowed(sent));
    }
    let spaced = sent.replace('+', " ");
    let bytes = decode(&spaced)?.into_owned();
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_is_refused_and_nothing_is_decoded_twice() {
        for path in [
            "/",
            "/a",
            "//a//",
            "/a/",
            "/v1.0/a.b",
            "/...",
            "/a%20b",
            "/100%25",
            "/%C3%A9",
            "/a%2fb",
            "/%2F%2Fa.%2F.b%2F",
            "/%25%C3%A9",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "*",
            "a",
            "/../admin",
            "/a/..",
            "/./a",
            "/a/.",
            "/..%2fa",
            "/a%2F..%2Fb",
            "/a%2f.",
            "/%2e%2e/a",
            "/%2E",
            "/%252e",
            "/%252e%252e",
            "/%25zz%252e",
            "/%25%32e",
            "/a;x=y",
            "/a%3bx",
            "/a\\b",
            "/a%5cb",
            "/a%2f%00",
            "/%00",
            "/%0d%0a",
            "/a%7f",
            "/%zz",
            "/%",
            "/%4",
            "/%+4",
            "/é",
            "/a b",
            "/%ff",
            "/%C3",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
        assert_eq!(segment("a%20b%C3%A9%25"), "a bé%");
        assert_eq!(segment("plain"), "plain");
        assert_eq!(segment("a%2Fb"), "a/b");
    }

    #[test]
    fn both_prefixes_are_optional_and_independent() {
        for service in ["", "/provisioning", "/elastic", "/floating"] {
            for product in ["", "/dynamicmonetization"] {
                let path = format!("{product}{service}/api/v1.1/sessions/x");
                assert_eq!(fold(&path), Some((Version::V1_1, "/sessions/x")), "{path}");
            }
        }
        assert_eq!(fold("/api/v1.0/"), Some((Version::V1_0, "/")));
        for path in [
            "/",
            "/api",
            "/api/v1.0",
            "/api/v1.2/x",
            "/v1.0/x",
            "/elastic/floating/api/v1.0/x",
            "/elastic/dynamicmonetization/api/v1.0/x",
            "/elasticapi/v1.0/x",
            "//api/v1.0/x",
            "/dynamicmonetizationapi/v1.0/x",
            "/API/v1.0/x",
        ] {
            assert_eq!(fold(path), None, "{path}");
        }
    }

    #[test]
    fn the_component_api_has_versions_and_no_prefixes() {
        let found = fold_components("/api/v3.1/auth/x");
        assert_eq!(found, Some((Version::V3_1, "/auth/x")));
        for path in ["/api/v3.3/x", "/api/v1.0/x", "/api/v3.1", "/elastic/api/v3.1/x", "/v3.1/x"] {
            assert_eq!(fold_components(path), None, "{path}");
        }
        assert_eq!(fold("/api/v3.1/auth/x"), None);
    }

    #[test]
    fn a_query_has_known_parameters_once_each() {
        let known = ["next", "size"];
        for (sent, size) in [
            ("", None),
            ("size=5", Some("5")),
            ("next=1&size=", Some("")),
            ("&size=a+b%2Bc", Some("a b+c")),
        ] {
            let query = Query::parse(sent, &known).unwrap();
            assert_eq!(query.get("size"), size, "{sent}");
        }
        for sent in ["sise=5", "size=1&size=1", "size=1&next=2&size", "size=%zz", "%ff=1", "=1"] {
            assert!(Query::parse(sent, &known).is_err(), "{sent}");
        }
        let number = |sent| Query::parse(sent, &known).unwrap().number("size");
        assert_eq!(number("next=1"), Ok(None));
        assert_eq!(number("size=0017"), Ok(Some(17)));
        assert_eq!(number("size=99999999999999999999999"), Ok(Some(u64::MAX)));
        for sent in ["size=-1", "size=", "size=1.0", "size=+1", "size=garbage", "size=%2B1"] {
            assert!(number(sent).is_err(), "{sent}");
        }
    }
}
