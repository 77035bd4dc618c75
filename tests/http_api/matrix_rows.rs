//! The rows of the authorization matrix: for every route what it may be about, and what each kind of
//! caller is answered by the order of checks (spec 9).

use farebox::auth::generate_key_pair;
use serde_json::json;

use crate::server::line_item;
use crate::{asking, in_session};

/// Whose a thing is, seen from the client that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Own,
    Foreign,
    Nobodys,
}
pub(crate) use Whose::{Foreign, Nobodys, Own};

/// What one call is about, and what the callers that are known are answered, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) instance: Whose,
    pub(crate) thing: Whose,
    pub(crate) header: Option<Whose>,
    pub(crate) expected: [&'static str; 3],
}

/// A route, and a body that would do.
pub(crate) struct Row {
    pub(crate) route: &'static str,
    pub(crate) query: &'static str,
    pub(crate) body: String,
    pub(crate) cases: Vec<Case>,
}

const FORBIDDEN: &str = "403 forbidden";
const MISMATCH: &str = "403 instance-mismatch";
const MISSING: &str = "400 missing-header";
const NO_INSTANCE: &str = "404 unknown-instance";
const NO_SESSION: &str = "404 unknown-session";

fn about(instance: Whose, thing: Whose, expected: [&'static str; 3]) -> Case {
    Case { instance, thing, header: None, expected }
}

/// For administration alone, about no instance.
fn administration(ok: &'static str) -> Vec<Case> {
    vec![about(Own, Own, [ok, FORBIDDEN, FORBIDDEN])]
}

/// For administration alone, whatever it is about.
fn only_administration(mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        let [administration, ..] = case.expected;
        case.expected = [administration, FORBIDDEN, FORBIDDEN];
    }
    cases
}

/// About an instance that the path names.
fn of_instance(ok: &'static str) -> Vec<Case> {
    vec![
        about(Own, Own, [ok; 3]),
        about(Foreign, Foreign, [ok, FORBIDDEN, ok]),
        about(Nobodys, Nobodys, [NO_INSTANCE, FORBIDDEN, FORBIDDEN]),
        about(Nobodys, Foreign, [NO_INSTANCE, FORBIDDEN, FORBIDDEN]),
    ]
}

/// About something in an instance that the path names.
fn of_thing(ok: &'static str, unknown: &'static str) -> Vec<Case> {
    let mut cases = of_instance(ok);
    cases.extend([
        about(Own, Foreign, [unknown; 3]),
        about(Own, Nobodys, [unknown; 3]),
        about(Foreign, Own, [unknown, FORBIDDEN, unknown]),
        about(Foreign, Nobodys, [unknown, FORBIDDEN, unknown]),
    ]);
    cases
}

/// About a session; the header names the instance.
fn of_session(ok: &'static str) -> Vec<Case> {
    let call = |header, thing, expected| Case { instance: thing, thing, header, expected };
    vec![
        call(Some(Own), Own, [ok; 3]),
        call(Some(Own), Foreign, [NO_SESSION; 3]), // D2, D4
        call(Some(Own), Nobodys, [NO_SESSION; 3]),
        call(Some(Foreign), Foreign, [ok, FORBIDDEN, ok]),
        call(Some(Foreign), Own, [NO_SESSION, FORBIDDEN, NO_SESSION]),
        call(Some(Foreign), Nobodys, [NO_SESSION, FORBIDDEN, NO_SESSION]),
        call(Some(Nobodys), Own, [NO_SESSION, FORBIDDEN, FORBIDDEN]),
        call(Some(Nobodys), Foreign, [NO_SESSION, FORBIDDEN, FORBIDDEN]),
        call(Some(Nobodys), Nobodys, [NO_SESSION, FORBIDDEN, FORBIDDEN]),
        call(None, Own, [ok, MISSING, MISSING]), // D5
        call(None, Foreign, [ok, MISSING, MISSING]),
        call(None, Nobodys, [NO_SESSION, MISSING, MISSING]),
    ]
}

/// A new session: header and body name the instance.
fn of_creation(ok: &'static str) -> Vec<Case> {
    let call = |header, instance, expected| Case { instance, thing: Own, header, expected };
    vec![
        call(Some(Own), Own, [ok; 3]),
        call(Some(Own), Foreign, [MISMATCH, FORBIDDEN, MISMATCH]),
        call(Some(Own), Nobodys, [MISMATCH, FORBIDDEN, FORBIDDEN]),
        call(Some(Foreign), Foreign, [ok, FORBIDDEN, ok]),
        call(Some(Foreign), Own, [MISMATCH, FORBIDDEN, MISMATCH]),
        call(Some(Nobodys), Own, [MISMATCH, FORBIDDEN, FORBIDDEN]),
        call(Some(Nobodys), Nobodys, [NO_INSTANCE, FORBIDDEN, FORBIDDEN]),
        call(None, Own, [ok, MISSING, MISSING]),
        call(None, Foreign, [ok, MISSING, MISSING]),
        call(None, Nobodys, [NO_INSTANCE, MISSING, MISSING]),
    ]
}

/// The sessions of an instance that the query names; a header may name it too.
fn of_list(ok: &'static str) -> Vec<Case> {
    let call = |header, instance, expected| Case { instance, thing: Own, header, expected };
    let mut cases = of_instance(ok);
    cases.extend([
        call(Some(Own), Own, [ok; 3]),
        call(Some(Own), Foreign, [MISMATCH, FORBIDDEN, MISMATCH]),
        call(Some(Own), Nobodys, [MISMATCH, FORBIDDEN, FORBIDDEN]),
        call(Some(Foreign), Own, [MISMATCH, FORBIDDEN, MISMATCH]),
        call(Some(Nobodys), Own, [MISMATCH, FORBIDDEN, FORBIDDEN]),
    ]);
    cases
}

/// A key, a table: there, or not.
fn of_name(ok: &'static str, unknown: &'static str) -> Vec<Case> {
    only_administration(vec![about(Own, Own, [ok; 3]), about(Own, Nobodys, [unknown; 3])])
}

pub(crate) fn rows() -> Vec<Row> {
    let row = |route, body: &str, cases| Row { route, query: "", body: body.to_owned(), cases };
    let asked = asking(&[("PhotoPrint", "1.0", "1")]);
    let set = in_session(&asked, "true");
    let table = r#"{"effectiveFrom":7258118400000,"series":"P","version":"3","items":[{"name":"A","rate":1}]}"#;
    let pem = generate_key_pair().expect("a key pair").public_pem;
    let keys = json!([{"id": "new", "publicKey": pem}]).to_string();
    let terms = line_item(1, 2000).to_string().replace("ACT01", "$L");
    let conditions =
        r#"{"conditions":[{"name":"c","condition":{"key":"k","operator":"IN","values":["v"]}}]}"#;
    let actions = r#"[{"name":"a","action":"DENY"}]"#;
    let setting = r#"{"name":"timezone.tolerant","value":"true"}"#;
    let creation = r#"{"instanceId":"$I"}"#;
    let (no_item, no_condition) = ("404 unknown-line-item", "404 unknown-condition");
    let in_effect = about(Own, Foreign, ["409 rate-table-in-effect", FORBIDDEN, FORBIDDEN]);
    let mut deletions = of_name("204 ok", "404 unknown-rate-table");
    deletions.push(in_effect);
    vec![
        row("PUT /administration-keys", &keys, administration("200 ok")),
        row("DELETE /administration-keys/{keyId}", "", of_name("200 ok", "404 unknown-key")),
        row("PUT /client-keys", &keys, administration("200 ok")),
        row("DELETE /client-keys/{keyId}", "", of_name("200 ok", "404 unknown-key")),
        row("GET /public-keys", "", administration("200 ok")),
        row("POST /rate-tables", table, administration("201 ok")),
        row("GET /rate-tables", "", administration("200 ok")),
        Row { query: "?series=P&version=$V", ..row("DELETE /rate-tables", "", deletions) },
        row("POST /instances", r#"{"shortName":"x","accountId":"NEW"}"#, administration("200 ok")),
        row("GET /instances", "", administration("200 ok")),
        row(
            "PUT /instances/{instanceId}/line-items",
            &terms,
            only_administration(of_instance("200 ok")),
        ),
        row("GET /instances/{instanceId}/line-items", "", of_instance("200 ok")),
        row("GET /instances/{instanceId}/line-items/{lineItemId}", "", of_thing("200 ok", no_item)),
        row(
            "DELETE /instances/{instanceId}/line-items/{lineItemId}",
            "",
            only_administration(of_thing("204 ok", no_item)),
        ),
        row("GET /instances/{instanceId}/line-items/actions", "", of_instance("200 ok")),
        row(
            "POST /instances/{instanceId}/line-items/{lineItemId}/actions",
            actions,
            of_thing("200 ok", no_item),
        ),
        row(
            "GET /instances/{instanceId}/line-items/{lineItemId}/actions",
            "",
            of_thing("200 ok", no_item),
        ),
        row(
            "PUT /instances/{instanceId}/line-items/{lineItemId}/actions",
            actions,
            of_thing("200 ok", no_item),
        ),
        row(
            "DELETE /instances/{instanceId}/line-items/{lineItemId}/actions",
            "",
            of_thing("204 ok", no_item),
        ),
        row("GET /instances/{instanceId}/conditions", "", of_instance("200 ok")),
        row("POST /instances/{instanceId}/conditions", conditions, of_instance("200 ok")),
        row("PATCH /instances/{instanceId}/conditions", conditions, of_instance("200 ok")),
        row("DELETE /instances/{instanceId}/conditions", "", of_instance("204 ok")),
        row(
            "DELETE /instances/{instanceId}/conditions/{conditionId}",
            "",
            of_thing("204 ok", no_condition),
        ),
        row("POST /instances/{instanceId}/access-request", &asked, of_instance("200 ok")),
        row("POST /sessions", creation, of_creation("200 ok")),
        Row { query: "?instanceId=$I", ..row("GET /sessions", "", of_list("200 ok")) },
        row("GET /sessions/{sessionId}", "", of_session("200 ok")),
        row("PUT /sessions/{sessionId}", &set, of_session("200 ok")),
        row("DELETE /sessions/{sessionId}", "", of_session("200 ok")),
        row("GET /sessions/{sessionId}/heartbeat", "", of_session("204 ok")),
        row("POST /sessions/{sessionId}/heartbeat", "", of_session("204 ok")),
        row("GET /configuration", "", administration("200 ok")),
        row("PATCH /configuration", setting, administration("200 ok")),
        row("GET /usage", "", administration("200 ok")),
        row("GET /decisions/{correlationId}", "", administration("404 unknown-decision")),
    ]
}

impl Row {
    /// Whether it changes anything where it is admitted.
    pub(crate) fn is_change(&self) -> bool {
        !self.route.starts_with("GET") || self.route.ends_with("heartbeat")
    }
}
