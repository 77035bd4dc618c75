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
#[derive(Clone)]
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
const NO_LICENSE: &str = "404 unknown-license";

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

/// About a licence, for administration alone.
fn of_license(ok: &'static str) -> Vec<Case> {
    only_administration(vec![
        about(Own, Own, [ok; 3]),
        about(Foreign, Foreign, [ok; 3]),
        about(Nobodys, Nobodys, [NO_LICENSE; 3]),
    ])
}

/// About something of a licence, for administration alone.
fn in_license(ok: &'static str, unknown: &'static str) -> Vec<Case> {
    let mut cases = of_license(ok);
    cases.extend(only_administration(vec![about(Own, Nobodys, [unknown; 3])]));
    cases
}

/// About a licence, an installation or a session that the body names: what is out of reach does not
/// exist.
fn of_component(unknown: &'static str) -> Vec<Case> {
    vec![
        about(Own, Own, ["200 ok"; 3]),
        about(Foreign, Foreign, ["200 ok", unknown, "200 ok"]),
        about(Nobodys, Nobodys, [unknown; 3]),
    ]
}

fn component_rows() -> Vec<Row> {
    let row = |route, body: &str, cases| Row { route, query: "", body: body.to_owned(), cases };
    let component = r#"{"licenseModel":"token","tokensRequired":2,"freeTrialExpiration":null}"#;
    let license = r#"{"productGuid":"P","instanceId":"$I","terms":[],"concurrentSessions":9,"features":[],"sessionDuration":9,"gracePeriod":9}"#;
    let entitlement = r#"{"components":["Mesher"],"tokens":9,"sessions":9}"#;
    let begin = r#"{"product_guid":"P","instance_guid":"$G","user_identity":{"login":"lisa"},"version":"1","duration":5}"#;
    let register = r#"{"product_guid":"P","license_key":"$K","instance_identity":{"host":"new"}}"#;
    let (session, checkout) = (r#"{"session_key":"$S"}"#, r#"{"checkout_key":"$O"}"#);
    let components = r#"{"session_key":"$S","components":["Mesher","Report"]}"#;
    let (no_installation, no_session) = ("200 UNKNOWN_INSTANCE", "200 UNKNOWN_SESSION");
    let (no_product, no_component) = ("404 unknown-product", "404 unknown-component");
    let no_entitlement = "404 unknown-entitlement";
    // Whoever creates one of a new key names the instance in the body.
    let mut creations = of_license("200 ok");
    creations.retain(|case| case.instance != Nobodys);
    vec![
        row("GET /products", "", administration("200 ok")),
        row("PUT /products/{productGuid}", r#"{"name":"x"}"#, administration("200 ok")),
        row("GET /products/{productGuid}", "", of_name("200 ok", no_product)),
        row("DELETE /products/{productGuid}", "", of_name("204 ok", no_product)),
        row("GET /products/{productGuid}/components", "", of_name("200 ok", no_product)),
        row(
            "PUT /products/{productGuid}/components/{name}",
            component,
            of_name("200 ok", no_product),
        ),
        row("GET /products/{productGuid}/components/{name}", "", of_name("200 ok", no_component)),
        row(
            "DELETE /products/{productGuid}/components/{name}",
            "",
            of_name("204 ok", no_component),
        ),
        Row {
            query: "?instanceId=$I",
            ..row("GET /licenses", "", only_administration(of_instance("200 ok")))
        },
        row("PUT /licenses/{licenseKey}", license, creations),
        row("GET /licenses/{licenseKey}", "", of_license("200 ok")),
        row("DELETE /licenses/{licenseKey}", "", of_license("204 ok")),
        row("GET /licenses/{licenseKey}/entitlements", "", of_license("200 ok")),
        row(
            "PUT /licenses/{licenseKey}/entitlements/{entitlementId}",
            entitlement,
            of_license("200 ok"),
        ),
        row(
            "GET /licenses/{licenseKey}/entitlements/{entitlementId}",
            "",
            in_license("200 ok", no_entitlement),
        ),
        row(
            "DELETE /licenses/{licenseKey}/entitlements/{entitlementId}",
            "",
            in_license("204 ok", no_entitlement),
        ),
        row("GET /licenses/{licenseKey}/holders", "", of_license("200 ok")),
        row("GET /licenses/{licenseKey}/waiters", "", of_license("200 ok")),
        row(
            "DELETE /licenses/{licenseKey}/sessions/{sessionKey}",
            "",
            in_license("204 ok", NO_SESSION),
        ),
        row("POST /auth/register_instance", register, of_component("200 UNKNOWN_LICENSE")),
        row("POST /auth/begin_app_session", begin, of_component(no_installation)),
        row("POST /auth/begin_user_session", begin, of_component(no_installation)),
        row("POST /auth/extend_session", session, of_component(no_session)),
        row("POST /auth/end_session", session, of_component(no_session)),
        row("POST /auth/check_out_components", components, of_component(no_session)),
        row("POST /auth/components_status", session, of_component("400 UNKNOWN_SESSION")),
        row("POST /auth/check_in_components", components, of_component(no_session)),
        row("POST /auth/check_out_license", begin, of_component(no_installation)),
        row("POST /auth/check_in_license", checkout, of_component(no_session)),
    ]
}

pub(crate) fn rows() -> Vec<Row> {
    [first_rows(), component_rows()].concat()
}

fn first_rows() -> Vec<Row> {
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
        let only_looks = self.route.ends_with("/components_status");
        (!self.route.starts_with("GET") || self.route.ends_with("heartbeat")) && !only_looks
    }
}
