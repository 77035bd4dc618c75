//! Which errors an operation can answer with. What they mean is read from `docs/errors.md`, which a
//! test compares with the source.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::routes::{Caller, Route};
use super::Version;
use super::operations::About;
use super::requests::{put, reference};

const ERRORS: &str = include_str!("../../../docs/errors.md");

/// What `docs/errors.md` says of a code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Explained {
    pub(super) code: &'static str,
    /// As it is written there: one, or one for each version.
    pub(super) status: &'static str,
    pub(super) meaning: &'static str,
    pub(super) remedy: &'static str,
}

impl Explained {
    fn parse(line: &'static str) -> Option<Explained> {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [code, status, .., meaning, remedy] = cells.as_slice() else { return None };
        let code = code.trim_end_matches('`');
        Some(Explained { code, status, meaning, remedy })
    }

    fn status(&self, version: Version) -> u16 {
        let mut statuses = self.status.split(", ").map(|one| one.split(' ').next().unwrap_or(""));
        let (v1_0, v1_1) = (statuses.next(), statuses.next());
        let status = match version {
            Version::V1_0 => v1_0,
            Version::V1_1 | Version::V3_0 | Version::V3_1 | Version::V3_2 => v1_1.or(v1_0),
        };
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// Every code, in the order of the document.
pub(super) static ALL: LazyLock<Vec<Explained>> =
    LazyLock::new(|| ERRORS.lines().filter_map(Explained::parse).collect());

/// What the document says of a symbol of the component API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) name: &'static str,
    pub(super) number: &'static str,
    pub(super) meaning: &'static str,
}

impl Symbol {
    fn parse(line: &'static str) -> Option<Symbol> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [name, number, meaning, _] = cells.as_slice() else { return None };
        let is_symbol = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_symbol.then_some(Symbol { name, number, meaning })
    }
}

/// Every symbol, in the order of the document.
pub(super) static SYMBOLS: LazyLock<Vec<Symbol>> =
    LazyLock::new(|| ERRORS.lines().filter_map(Symbol::parse).collect());

/// What the component API tells as a problem: what its methods have nothing to do with.
pub(super) const OUTSIDE_COMPONENTS: &[&str] = &[
    "missing-token",
    "invalid-token",
    "forbidden",
    "duplicate-header",
    "bad-query",
    "bad-framing",
    "body-timeout",
    "body-too-large",
    "unsupported-media-type",
];

/// Whatever is called.
const EVERYWHERE: &[&str] =
    &["bad-path", "bad-host", "bad-expectation", "too-many-headers", "unsupported-coding"];
/// Whatever needs a token.
const WITH_TOKEN: &[&str] = &[
    "missing-token",
    "invalid-token",
    "forbidden",
    "duplicate-header",
    "bad-query",
    "overloaded",
    "instance-busy",
    "stopping",
    "internal-error",
    "no-answer",
    "outcome-unknown",
];
const WITH_BODY: &[&str] = &[
    "bad-framing",
    "body-timeout",
    "body-too-large",
    "unsupported-media-type",
    "bad-json",
    "duplicate-field",
];
/// A line item's body has one code for all of these.
const WITH_MEMBERS: &[&str] =
    &["bad-type", "unknown-field", "missing-field", "too-long", "bad-chars", "too-deep"];
const OF_CHANGES: &[&str] =
    &["bad-idempotency-key", "in-progress", "key-reused", "key-quota", "storage-full"];
/// What an id in the path may lead to.
const OF_IDS: &[(&str, &[&str])] = &[
    ("{instanceId}", &["unknown-instance", "instance-mismatch"]),
    ("{lineItemId}", &["unknown-line-item"]),
    ("{conditionId}", &["unknown-condition"]),
    ("{keyId}", &["unknown-key"]),
    ("{sessionId}", &["unknown-session", "missing-header", "unknown-instance"]),
    ("{productGuid}", &["unknown-product"]),
    ("{name}", &["unknown-component"]),
    ("{licenseKey}", &["unknown-license"]),
    ("{entitlementId}", &["unknown-entitlement"]),
    ("{sessionKey}", &["unknown-session"]),
];

/// The codes of a route, by status.
pub(super) fn codes(
    route: &Route,
    about: &About,
    version: Version,
) -> BTreeMap<u16, Vec<&'static str>> {
    let mut wanted = [EVERYWHERE, about.codes].concat();
    if Version::COMPONENTS.contains(&version) {
        wanted.extend(OUTSIDE_COMPONENTS);
        if route.operation.is_change() {
            wanted.push("bad-idempotency-key");
        }
        return by_status(&wanted, version);
    }
    if route.caller != Caller::Anyone {
        wanted.extend(WITH_TOKEN);
    }
    if about.body.is_some() {
        wanted.extend(WITH_BODY);
    }
    if about.body.is_some_and(|schema| schema != "NewLineItem") {
        wanted.extend(WITH_MEMBERS);
    }
    if route.operation.is_change() {
        wanted.extend(OF_CHANGES);
    }
    if route.caller == Caller::ClientOfInstanceOrAdministration {
        wanted.push("missing-header");
    }
    for (id, codes) in OF_IDS {
        if route.path().contains(id) {
            wanted.extend(*codes);
        }
    }
    by_status(&wanted, version)
}

fn by_status(wanted: &[&str], version: Version) -> BTreeMap<u16, Vec<&'static str>> {
    let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for explained in ALL.iter().filter(|explained| wanted.contains(&explained.code)) {
        by_status.entry(explained.status(version)).or_default().push(explained.code);
    }
    by_status
}

/// The schemas of all errors.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let mut table = "What is wrong, in a word that never changes.\n".to_owned();
    for Explained { code, status, meaning, remedy } in ALL.iter() {
        table += &format!("\n* `{code}` ({status}): {meaning} {remedy}");
    }
    let codes: Vec<&str> = ALL.iter().map(|explained| explained.code).collect();
    let text = |description: &str| json!({ "type": "string", "description": description });
    let faults = json!({
        "type": "array", "items": { "type": "string" },
        "description": "Every fault of a line item: a path in it, and a reason.",
    });
    let problem = json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "code", "correlationId"],
        "properties": {
            "type": text("Where the code is explained, on this server."),
            "title": text("The status in words."),
            "status": { "type": "integer" },
            "detail": text("What is wrong, for people: the words may change."),
            "instance": text("The path that was called."),
            "code": { "enum": codes, "description": table },
            "correlationId": text("The server's name for this answer."),
            "message": {
                "description": "As `detail`; the faults of a line item in v1.1.",
                "oneOf": [{ "type": "string" }, faults],
            },
            "error": text("As `detail`, where a rate table stands in the way."),
            "errors": faults,
            "effect": {
                "enum": ["none", "unknown"],
                "description": "With 429, 500, 503 and 507: whether anything may have happened.",
            },
        },
    });
    vec![("Problem", problem)]
}

/// The answer with a status that has these codes.
pub(super) fn response(status: u16, codes: &[&str], paced: &Value) -> Value {
    let listed: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut headers = json!({});
    let mut add = |name: &str, description: &str| {
        let schema = json!({ "type": "string" });
        put(&mut headers, name, json!({ "description": description, "schema": schema }));
    };
    match status {
        401 => add("WWW-Authenticate", "What authorization is wanted."),
        409 | 429 | 503 => {
            add("Retry-After", "In how many seconds to come back, where that helps.")
        }
        _ => {}
    }
    if codes.contains(&"session-terminated") {
        headers.as_object_mut().into_iter().for_each(|all| {
            all.extend(paced.as_object().cloned().unwrap_or_default());
        });
    }
    json!({
        "description": listed.join(", "),
        "headers": headers,
        "content": { "application/problem+json": { "schema": {
            "allOf": [
                reference("Problem"),
                { "properties": { "status": { "const": status }, "code": { "enum": codes } } },
            ],
        }}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_a_meaning() {
        assert!(ALL.len() > 70, "{}", ALL.len());
        for explained in ALL.iter() {
            for version in [Version::V1_0, Version::V1_1] {
                let status = explained.status(version);
                assert!((400..600).contains(&status), "{explained:?}");
            }
            assert!(explained.meaning.len() > 10 && !explained.remedy.is_empty(), "{explained:?}");
        }
        let ended = ALL.iter().find(|explained| explained.code == "session-terminated");
        let ended = ended.expect("it is explained");
        assert_eq!((ended.status(Version::V1_0), ended.status(Version::V1_1)), (403, 409));
    }
}
