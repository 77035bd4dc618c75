//! Every route under every spelling of its prefix, in both versions (spec 2.0, 2.11): one script is
//! played to a fresh server for each of them. All spellings of a version answer the same; the
//! versions differ where the table says so, and nowhere else. The methods of components have one
//! spelling; they are in the script for what administration shows of them.

use std::collections::BTreeSet;

use farebox::domain::time::Timestamp;

use crate::openapi::{self, assert_described};
use crate::server::{TestServer, start_with_test_clock};
use crate::sessions_in_time::START;

const PREFIXES: [&str; 8] = [
    "",
    "provisioning/",
    "elastic/",
    "floating/",
    "dynamicmonetization/",
    "dynamicmonetization/provisioning/",
    "dynamicmonetization/elastic/",
    "dynamicmonetization/floating/",
];

/// Whether the versions answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    Same,
    Differ,
}
use Versions::{Differ, Same};

pub(crate) struct Step {
    /// The entry of the route table.
    pub(crate) route: &'static str,
    /// What is sent: values for the route's `{…}`, a query, a body. `$I` is the instance, `$S` the
    /// session, `$C` the condition, `$A` the action, `$N` the correlation id that an answer brought;
    /// of components `$G` the installation, `$U` its user, `$K` and `$W` sessions, `$O` a checkout.
    ids: &'static [&'static str],
    query: &'static str,
    body: &'static str,
    /// The statuses of v1.0 and v1.1.
    statuses: (u16, u16),
    versions: Versions,
}

const fn step(
    route: &'static str,
    ids: &'static [&'static str],
    query: &'static str,
    body: &'static str,
    status: u16,
) -> Step {
    Step { route, ids, query, body, statuses: (status, status), versions: Same }
}

const fn differing(step: Step, v1_1: u16) -> Step {
    Step { statuses: (step.statuses.0, v1_1), versions: Differ, ..step }
}

const LINE_ITEM: &str = r#"{"activationId":"ACT01","state":"DEPLOYED","quantity":1000,"start":0,"end":253402300000000,"attributes":{"elastic":true,"rateTableSeries":"P"}}"#;
const OBSOLETE: &str = r#"{"activationId":"ACT01","state":"OBSOLETE","quantity":1000,"start":0,"end":253402300000000,"attributes":{"elastic":true,"rateTableSeries":"P"}}"#;
const BAD_LINE_ITEM: &str =
    r#"{"activationId":"ACT01","state":"DEPLOYED","quantity":0,"start":0,"end":1,"attributes":{}}"#;
const CONDITION: &str =
    r#"{"conditions":[{"name":"c","condition":{"key":"k","operator":"IN","values":["v"]}}]}"#;
const ACTIONS: &str = r#"[{"name":"a","conditionId":"$C","action":"ALLOW","allocation":9},{"name":"d","action":"ALLOW"}]"#;
const KEPT: &str =
    r#"[{"id":"$A","name":"a","conditionId":"$C","action":"DENY"},{"name":"d","action":"ALLOW"}]"#;
const ASKED: &str = r#"{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1},{"item":"Nothing","count":1}]}"#;
const KEYS: &str = r#"[{"publicKey":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEALC4sh2f99ienG8nYn63B0IkyZR+ruFKWbUFaJFm/n3Q=\n-----END PUBLIC KEY-----\n","id":"shop/2"}]"#;
const SET: &str = r#"{"rollbackOnDeny":true,"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#;
const LICENSE: &str = r#"{"productGuid":"P/1","instanceId":"$I","terms":[{"start":0,"end":253402300000000}],"concurrentSessions":3,"features":["Batch"],"sessionDuration":3600,"gracePeriod":60}"#;
const REGISTERED: &str = r#"{"product_guid":"P/1","license_key":"K","instance_identity":{"host":"pc"},"user_identity":{"login":"lisa"}}"#;
const BEGUN: &str = r#"{"product_guid":"P/1","instance_guid":"$G","user_guid":"$U","version":"4.2","duration":600}"#;

#[rustfmt::skip]
pub(crate) const SCRIPT: &[Step] = &[
    step("PUT /administration-keys", &[], "", KEYS, 200),
    step("PUT /client-keys", &[], "", KEYS, 200),
    step("PUT /client-keys", &[], "", r#"[{"publicKey":"x","id":"y"}]"#, 400),
    step("GET /public-keys", &[], "?next=2&size=1", "", 200),
    step("GET /public-keys", &[], "?next=3", "", 200),
    step("DELETE /administration-keys/{keyId}", &["shop%2F2"], "", "", 200),
    step("DELETE /administration-keys/{keyId}", &["administration-key"], "", "", 403),
    step("DELETE /client-keys/{keyId}", &["shop%2F2"], "", "", 200),
    step("DELETE /client-keys/{keyId}", &["shop%2F2"], "", "", 404),
    step("POST /rate-tables", &[], "", r#"{"effectiveFrom":1698849852000,"series":"P","version":"1","items":[{"name":"PhotoPrint","version":"1.0","rate":3}]}"#, 201),
    step("POST /rate-tables", &[], "", r#"{"effectiveFrom":7258118400000,"series":"P","version":"2","items":[{"name":"PhotoPrint","version":"1.0","rate":3}]}"#, 201),
    step("POST /rate-tables", &[], "", r#"{"effectiveFrom":7258118400000,"series":"P","version":"2","items":[{"name":"PhotoPrint","version":"1.0","rate":3}]}"#, 409),
    step("GET /rate-tables", &[], "", "", 200),
    step("DELETE /rate-tables", &[], "?series=P&version=2", "", 204),
    step("DELETE /rate-tables", &[], "?series=P&version=2", "", 404),
    step("POST /instances", &[], "", r#"{"shortName":"ACME-def-inst","accountId":"ACME"}"#, 200),
    step("GET /instances", &[], "?size=5", "", 200),
    step("PUT /instances/{instanceId}/line-items", &["$I"], "", LINE_ITEM, 200),
    differing(step("PUT /instances/{instanceId}/line-items", &["$I"], "", BAD_LINE_ITEM, 400), 400),
    step("GET /instances/{instanceId}/line-items", &["$I"], "", "", 200),
    step("GET /instances/{instanceId}/line-items/{lineItemId}", &["$I", "ACT01"], "", "", 200),
    step("POST /instances/{instanceId}/conditions", &["$I"], "", CONDITION, 200),
    step("PATCH /instances/{instanceId}/conditions", &["$I"], "", CONDITION, 200),
    step("GET /instances/{instanceId}/conditions", &["$I"], "", "", 200),
    step("POST /instances/{instanceId}/line-items/{lineItemId}/actions", &["$I", "ACT01"], "", ACTIONS, 200),
    step("GET /instances/{instanceId}/line-items/{lineItemId}/actions", &["$I", "ACT01"], "", "", 200),
    step("PUT /instances/{instanceId}/line-items/{lineItemId}/actions", &["$I", "ACT01"], "", KEPT, 200),
    step("GET /instances/{instanceId}/line-items/actions", &["$I"], "?next=0", "", 200),
    step("DELETE /instances/{instanceId}/conditions/{conditionId}", &["$I", "$C"], "", "", 409),
    step("DELETE /instances/{instanceId}/line-items/{lineItemId}/actions", &["$I", "ACT01"], "", "", 204),
    step("DELETE /instances/{instanceId}/conditions/{conditionId}", &["$I", "$C"], "", "", 204),
    step("DELETE /instances/{instanceId}/conditions", &["$I"], "", "", 204),
    differing(step("POST /instances/{instanceId}/access-request", &["$I"], "", ASKED, 200), 200),
    step("POST /sessions", &[], "", r#"{"instanceId":"$I"}"#, 200),
    step("GET /sessions", &[], "?instanceId=$I", "", 200),
    differing(step("PUT /sessions/{sessionId}", &["$S"], "", SET, 200), 200),
    step("GET /sessions/{sessionId}", &["$S"], "", "", 200),
    step("GET /sessions/{sessionId}/heartbeat", &["$S"], "", "", 204),
    step("POST /sessions/{sessionId}/heartbeat", &["$S"], "", "", 204),
    step("DELETE /sessions/{sessionId}", &["$S"], "", "", 200),
    differing(step("GET /sessions/{sessionId}/heartbeat", &["$S"], "", "", 403), 409),
    differing(step("DELETE /sessions/{sessionId}", &["$S"], "", "", 403), 409),
    step("GET /usage", &[], "?limit=5", "", 200),
    differing(step("GET /decisions/{correlationId}", &["$N"], "", "", 200), 200),
    differing(step("GET /configuration", &[], "", "", 200), 200),
    differing(step("PATCH /configuration", &[], "", r#"{"name":"timezone.tolerant","value":"true"}"#, 200), 200),
    step("PUT /products/{productGuid}", &["P%2F1"], "", r#"{"name":"Mesh Studio"}"#, 200),
    step("GET /products", &[], "?size=5", "", 200),
    step("GET /products/{productGuid}", &["P%2F1"], "", "", 200),
    step("PUT /products/{productGuid}/components/{name}", &["P%2F1", "Mesher"], "", r#"{"licenseModel":"token","tokensRequired":30,"freeTrialExpiration":null}"#, 200),
    step("PUT /products/{productGuid}/components/{name}", &["P%2F1", "Mesher"], "", r#"{"licenseModel":"seat","tokensRequired":30,"freeTrialExpiration":null}"#, 400),
    step("GET /products/{productGuid}/components", &["P%2F1"], "?size=5", "", 200),
    step("GET /products/{productGuid}/components/{name}", &["P%2F1", "Mesher"], "", "", 200),
    step("PUT /licenses/{licenseKey}", &["K"], "", LICENSE, 200),
    step("GET /licenses", &[], "?instanceId=$I", "", 200),
    step("GET /licenses/{licenseKey}", &["K"], "", "", 200),
    step("PUT /licenses/{licenseKey}/entitlements/{entitlementId}", &["K", "E1"], "", r#"{"components":["Mesher"],"tokens":100,"sessions":null}"#, 200),
    step("GET /licenses/{licenseKey}/entitlements", &["K"], "?size=5", "", 200),
    step("GET /licenses/{licenseKey}/entitlements/{entitlementId}", &["K", "E1"], "", "", 200),
    step("POST /auth/register_instance", &[], "", REGISTERED, 200),
    step("POST /auth/begin_app_session", &[], "", BEGUN, 200),
    step("POST /auth/begin_user_session", &[], "", BEGUN, 200),
    step("POST /auth/extend_session", &[], "", r#"{"session_key":"$K"}"#, 200),
    step("POST /auth/check_out_components", &[], "", r#"{"session_key":"$K","components":"Mesher"}"#, 200),
    step("POST /auth/components_status", &[], "", r#"{"session_key":"$K"}"#, 200),
    step("GET /licenses/{licenseKey}/holders", &["K"], "", "", 200),
    step("GET /licenses/{licenseKey}/waiters", &["K"], "", "", 200),
    step("DELETE /licenses/{licenseKey}/entitlements/{entitlementId}", &["K", "E1"], "", "", 409),
    step("POST /auth/check_in_components", &[], "", r#"{"session_key":"$K","components":["Mesher"]}"#, 200),
    step("POST /auth/check_out_license", &[], "", BEGUN, 200),
    step("POST /auth/check_in_license", &[], "", r#"{"checkout_key":"$O"}"#, 200),
    step("POST /auth/end_session", &[], "", r#"{"session_key":"$K"}"#, 200),
    step("DELETE /licenses/{licenseKey}/entitlements/{entitlementId}", &["K", "E1"], "", "", 204),
    step("DELETE /licenses/{licenseKey}", &["K"], "", "", 409),
    step("DELETE /licenses/{licenseKey}/sessions/{sessionKey}", &["K", "$W"], "", "", 204),
    differing(step("DELETE /licenses/{licenseKey}/sessions/{sessionKey}", &["K", "$W"], "", "", 403), 409),
    step("DELETE /licenses/{licenseKey}", &["K"], "", "", 204),
    step("DELETE /products/{productGuid}", &["P%2F1"], "", "", 409),
    step("DELETE /products/{productGuid}/components/{name}", &["P%2F1", "Mesher"], "", "", 204),
    step("DELETE /products/{productGuid}", &["P%2F1"], "", "", 204),
    step("GET /products/{productGuid}", &["P%2F1"], "", "", 404),
    step("PUT /instances/{instanceId}/line-items", &["$I"], "", OBSOLETE, 200),
    step("DELETE /instances/{instanceId}/line-items/{lineItemId}", &["$I", "ACT01"], "", "", 204),
    step("GET /instances/{instanceId}/line-items/{lineItemId}", &["$I", "ACT01"], "", "", 404),
];

/// Where the methods of components are.
const COMPONENTS: &str = "/api/v3.2";

impl Step {
    /// Method and path, and the body, with the ids that are known.
    pub(crate) fn filled(&self, prefix: &str, ids: &Ids) -> (String, String) {
        let (method, path) = self.route.split_once(' ').expect("a method and a path");
        let mut path = path.to_owned();
        for id in self.ids {
            let (from, to) = (path.find('{'), path.find('}'));
            let (from, to) = from.zip(to).expect("a place for the id");
            path.replace_range(from..=to, &ids.fill(id));
        }
        let prefix = if path.starts_with("/auth/") { COMPONENTS } else { prefix };
        let target = format!("{method} {prefix}{path}{}", ids.fill(self.query));
        (target, ids.fill(self.body))
    }
}

/// The ids that answers brought, by the letter that the script has for them.
#[derive(Default)]
pub(crate) struct Ids(Vec<(&'static str, String)>);

impl Ids {
    pub(crate) fn learn(&mut self, route: &str, body: &str) {
        let found: &[(&str, &str)] = match route {
            "POST /instances" => &[("$I", "id")],
            "POST /sessions" => &[("$S", "sessionId")],
            "POST /instances/{instanceId}/conditions" => &[("$C", "id")],
            "POST /instances/{instanceId}/line-items/{lineItemId}/actions" => &[("$A", "id")],
            "POST /instances/{instanceId}/access-request" => &[("$N", "correlationId")],
            "POST /auth/register_instance" => &[("$G", "instance_guid"), ("$U", "user_guid")],
            "POST /auth/begin_app_session" => &[("$K", "session_key")],
            "POST /auth/begin_user_session" => &[("$W", "session_key")],
            "POST /auth/check_out_license" => &[("$O", "checkout_key")],
            _ => return,
        };
        for (letter, member) in found {
            if let Some((_, rest)) = body.split_once(&format!("\"{member}\":\"")) {
                let id = rest.split('"').next().unwrap_or_default().to_owned();
                self.0.push((letter, id));
            }
        }
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (letter, id)| text.replace(letter, id))
    }
}

/// A text in which every UUID stands as the number of its first occurrence, and the path without
/// its prefix.
fn told(text: &str, prefix: &str, known: &mut Vec<String>) -> String {
    let text = text.replace(prefix, "");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(piece) = rest.get(..36) {
        let is_uuid = piece.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
        let taken = if is_uuid { 36 } else { rest.chars().next().map_or(0, char::len_utf8) };
        let (taken, left) = rest.split_at(taken);
        if is_uuid {
            let number = known.iter().position(|id| id == taken).unwrap_or_else(|| {
                known.push(taken.to_owned());
                known.len() - 1
            });
            plain += &format!("#{number}");
        } else {
            plain += taken;
        }
        rest = left;
    }
    plain + rest
}

/// What the script is answered under one spelling.
async fn play(server: &TestServer, prefix: &str, version: &str) -> Vec<String> {
    let (mut ids, mut known, mut transcript) = (Ids::default(), Vec::new(), Vec::new());
    let prefix = format!("/{prefix}api/{version}");
    let description = openapi::read(server).await;
    for step in SCRIPT {
        let (target, body) = step.filled(&prefix, &ids);
        let answer = server.admin(&target, &body).await;
        let expected = if version == "v1.0" { step.statuses.0 } else { step.statuses.1 };
        assert_eq!(answer.status, expected, "{target}: {answer:?}");
        let version = if target.contains(COMPONENTS) { "v3.2" } else { version };
        assert_described(&description, version, step.route, &answer);
        ids.learn(step.route, &answer.body);
        let kind = answer.header("content-type").unwrap_or("-");
        let body = told(&answer.body, &prefix, &mut known);
        transcript.push(format!("{} {} {kind} {body}", step.route, answer.status));
    }
    transcript
}

#[tokio::test]
async fn every_route_answers_alike_under_every_prefix_and_the_versions_differ_where_they_should() {
    let mut of_versions = Vec::new();
    for version in ["v1.0", "v1.1"] {
        let mut first: Option<Vec<String>> = None;
        for prefix in PREFIXES {
            let server = start_with_test_clock(Timestamp::from_ms(START)).await;
            let transcript = play(&server, prefix, version).await;
            let first = first.get_or_insert_with(|| transcript.clone());
            assert_eq!(&transcript, first, "{prefix} {version}");
        }
        of_versions.push(first.expect("there are prefixes"));
    }
    let [v1_0, v1_1] = of_versions.try_into().expect("two versions");
    for (step, (v1_0, v1_1)) in SCRIPT.iter().zip(v1_0.iter().zip(&v1_1)) {
        let found = if v1_0 == v1_1 { Same } else { Differ };
        assert_eq!(found, step.versions, "{v1_0}\n{v1_1}");
    }
}

#[test]
fn the_script_leaves_no_route_out() {
    let methods = farebox::http::component_routes().map(|(_, method, path)| (method, path));
    let routes = farebox::http::routes().chain(methods);
    let routes = routes.map(|(method, path)| format!("{method} {path}"));
    let played: BTreeSet<String> = SCRIPT.iter().map(|step| step.route.to_owned()).collect();
    assert_eq!(routes.collect::<BTreeSet<_>>(), played, "left: the table, right: the script");
}
