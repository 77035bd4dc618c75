//! Who may call what: broken `Authorization` headers, names of instances that are none, and where an
//! instance is named (promises.md, P8 and tables C, D). Every route and caller is in the matrix.

use serde_json::json;

use crate::http_client::Answer;
use crate::server::{TestServer, line_item, start, text};

const UNKNOWN: &str = "64d2028c-ae87-4069-a624-66089d957ef9";
const NO_UUID: &str = "d889a651-123a-456b-78d9-60d6de8cfes9";

/// Whether a route is for administration alone, and what names the instance it is about.
enum Kind {
    Administration,
    Path,
    Query,
    Header,
}

/// Routes of each kind (the matrix has all of them); `I` stands for an instance, `S` for a session of
/// it.
const ROUTES: &[(&str, Kind)] = &[
    ("POST /api/v1.0/rate-tables", Kind::Administration),
    ("GET /api/v1.0/rate-tables", Kind::Administration),
    ("DELETE /api/v1.0/rate-tables?version=1", Kind::Administration),
    ("POST /api/v1.0/instances", Kind::Administration),
    ("GET /api/v1.0/instances", Kind::Administration),
    ("PUT /api/v1.0/instances/I/line-items", Kind::Administration),
    ("DELETE /api/v1.0/instances/I/line-items/ACT01", Kind::Administration),
    ("GET /api/v1.0/decisions/64d2028c-ae87-4069-a624-66089d957ef9", Kind::Administration),
    ("GET /api/v1.0/instances/I/line-items", Kind::Path),
    ("GET /api/v1.0/instances/I/line-items/ACT01", Kind::Path),
    ("GET /api/v1.0/instances/I/line-items/actions", Kind::Path),
    ("POST /api/v1.0/instances/I/line-items/ACT01/actions", Kind::Path),
    ("GET /api/v1.0/instances/I/line-items/ACT01/actions", Kind::Path),
    ("PUT /api/v1.0/instances/I/line-items/ACT01/actions", Kind::Path),
    ("DELETE /api/v1.0/instances/I/line-items/ACT01/actions", Kind::Path),
    ("GET /api/v1.0/instances/I/conditions", Kind::Path),
    ("POST /api/v1.0/instances/I/conditions", Kind::Path),
    ("PATCH /api/v1.0/instances/I/conditions", Kind::Path),
    ("DELETE /api/v1.0/instances/I/conditions", Kind::Path),
    ("DELETE /api/v1.0/instances/I/conditions/64d2028c-ae87-4069-a624-66089d957ef9", Kind::Path),
    ("POST /api/v1.0/instances/I/access-request", Kind::Path),
    ("GET /api/v1.0/sessions?instanceId=I", Kind::Query),
    ("POST /api/v1.0/sessions", Kind::Header),
    ("GET /api/v1.0/sessions/S", Kind::Header),
    ("PUT /api/v1.0/sessions/S", Kind::Header),
    ("GET /api/v1.0/sessions/S/heartbeat", Kind::Header),
    ("POST /api/v1.0/sessions/S/heartbeat", Kind::Header),
    ("DELETE /api/v1.0/sessions/S", Kind::Header),
];

struct House {
    server: TestServer,
    mine: String,
    foreign: String,
    foreign_session: String,
}

async fn house() -> House {
    let server = start().await;
    let (mine, foreign) = (server.instance("MINE").await, server.instance("FOREIGN").await);
    server.line_item(&foreign, 1, 10).await;
    let body = json!({"instanceId": foreign}).to_string();
    let created = server.admin("POST /api/v1.0/sessions", &body).await;
    let foreign_session = text(&created.json(), "/sessionId");
    House { server, mine, foreign, foreign_session }
}

impl House {
    fn target(&self, route: &str, instance: &str) -> String {
        let session = &self.foreign_session;
        let path =
            route.replace("/I/", &format!("/{instance}/")).replace("=I", &format!("={instance}"));
        path.replace("/S", &format!("/{session}"))
    }
}

/// A body that would do on any route that takes one, as far as who calls comes first.
fn body_for(route: &str, instance: &str) -> String {
    let asked = json!([{"item": "A", "count": 1}]);
    let requester = json!({"type": "a", "value": "b"});
    match route {
        _ if route.ends_with("access-request") => {
            json!({"requester": requester, "requestedItems": asked}).to_string()
        }
        _ if route.starts_with("PUT") && route.contains("/sessions/") => {
            json!({"requester": requester, "requestedItems": asked, "rollbackOnDeny": true})
                .to_string()
        }
        _ if route.ends_with("/sessions") => json!({"instanceId": instance}).to_string(),
        _ if route.ends_with("/actions") => json!([{"name": "a", "action": "DENY"}]).to_string(),
        _ if route.ends_with("/conditions") => {
            let condition = json!({"key": "k", "operator": "IN", "values": ["v"]});
            json!({"conditions": [{"name": "c", "condition": condition}]}).to_string()
        }
        _ if route.starts_with("PUT") => line_item(2, 10).to_string(),
        _ => String::new(),
    }
}

/// What must not differ between a foreign thing and one that does not exist. The path is the
/// caller's own words.
fn without_ids(answer: &Answer) -> (u16, String) {
    let mut body = answer.json();
    for own in ["/correlationId", "/instance"] {
        *body.pointer_mut(own).expect("every problem has it") = json!("");
    }
    (answer.status, body.to_string())
}

#[tokio::test]
async fn without_a_good_token_nothing_is_to_be_had() {
    let house = house().await;
    let good = house.server.client_token(&[&house.mine]);
    // Another character within the signature: the last one has few that are canonical.
    let (before, after) = good.split_at(good.len() - 20);
    let other = if after.starts_with('A') { "B" } else { "A" };
    let forged = format!("{before}{other}{}", after.get(1..).expect("ASCII"));
    for (route, _) in ROUTES {
        let target = house.target(route, &house.mine);
        let call = async |headers: &str| {
            house.server.connect().await.request(&format!("{target}\n{headers}"), "").await
        };
        for (headers, status, code) in [
            (String::new(), 401, "missing-token"),
            ("authorization: Basic YTpi".to_owned(), 401, "missing-token"),
            ("authorization: Bearer".to_owned(), 401, "missing-token"),
            (format!("authorization: Bearer {good} {good}"), 401, "invalid-token"),
            (format!("authorization: Bearer {forged}"), 401, "invalid-token"),
            (
                format!("authorization: Bearer {good}\nauthorization: Bearer {good}"),
                400,
                "duplicate-header",
            ),
        ] {
            let answer = call(&headers).await;
            assert_eq!(answer.outcome(), (status, code.to_owned()), "{target} {headers}");
            let challenged =
                answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer"));
            assert_eq!(challenged, status == 401, "{answer:?}");
        }
        let lower_case = call(&format!("authorization: bearer {good}")).await;
        assert_ne!(lower_case.status, 401, "{target}");
    }
}

#[tokio::test]
async fn a_client_reaches_only_its_own_and_cannot_tell_the_rest_apart() {
    let house = house().await;
    let token = house.server.client_token(&[&house.mine]);
    for (route, kind) in ROUTES {
        let mut seen = Vec::new();
        for instance in [&house.foreign, UNKNOWN, NO_UUID, ""] {
            if instance.is_empty() && !matches!(kind, Kind::Header) {
                continue; // Another path.
            }
            let target = format!("{}\nx-instance-id: {instance}", house.target(route, instance));
            let answer = house.server.call(&token, &target, &body_for(route, instance)).await;
            assert_eq!(answer.outcome(), (403, "forbidden".to_owned()), "{target}: {answer:?}");
            seen.push(without_ids(&answer));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{route}: {seen:?}");
    }
    // An instance of its own, a session of another: as unknown as one that never was.
    for (route, _) in ROUTES.iter().filter(|(route, _)| route.contains("/S")) {
        let mut seen = Vec::new();
        for session in [house.foreign_session.as_str(), UNKNOWN, NO_UUID] {
            let path = route.replace("/S", &format!("/{session}"));
            let target = format!("{path}\nx-instance-id: {}", house.mine);
            let answer = house.server.call(&token, &target, &body_for(route, &house.mine)).await;
            assert_eq!(
                answer.outcome(),
                (404, "unknown-session".to_owned()),
                "{target}: {answer:?}"
            );
            seen.push(without_ids(&answer));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{route}: {seen:?}");
    }
}

#[tokio::test]
async fn the_instance_of_a_session_call_is_named_once_and_alike() {
    let house = house().await;
    let House { server, mine, foreign, foreign_session } = &house;
    let both = server.client_token(&[mine, foreign]);
    let creation = |instance: &str| json!({"instanceId": instance}).to_string();
    let sessions = "POST /api/v1.0/sessions";
    let details = format!("GET /api/v1.0/sessions/{foreign_session}");
    let listed = format!("GET /api/v1.0/sessions?instanceId={foreign}");
    let header = |target: &str, instance: &str| format!("{target}\nx-instance-id: {instance}");
    let admin = &server.admin_token;
    let cases = [
        (&both, sessions.to_owned(), creation(mine), 400, "missing-header"),
        (&both, details.clone(), String::new(), 400, "missing-header"),
        (&both, header(&header(sessions, mine), mine), creation(mine), 400, "duplicate-header"),
        (
            &both,
            header(sessions, &format!("{mine}, {mine}")),
            creation(mine),
            400,
            "duplicate-header",
        ),
        (&both, header(sessions, mine), creation(foreign), 403, "instance-mismatch"),
        (&both, header(sessions, mine), creation(UNKNOWN), 403, "forbidden"),
        (&both, header(sessions, mine), "{}".to_owned(), 400, "missing-field"),
        (&both, header(sessions, UNKNOWN), "{}".to_owned(), 403, "forbidden"),
        (&both, header(&details, mine), String::new(), 404, "unknown-session"),
        (&both, header(&details, foreign), String::new(), 200, "ok"),
        (&both, listed.clone(), String::new(), 200, "ok"),
        (&both, header(&listed, mine), String::new(), 403, "instance-mismatch"),
        (&both, "GET /api/v1.0/sessions".to_owned(), String::new(), 400, "bad-query"),
        (admin, sessions.to_owned(), creation(mine), 200, "ok"),
        (admin, sessions.to_owned(), creation(UNKNOWN), 404, "unknown-instance"),
        (admin, sessions.to_owned(), creation(NO_UUID), 404, "unknown-instance"),
        (admin, header(sessions, foreign), creation(mine), 403, "instance-mismatch"),
        (admin, details.clone(), String::new(), 200, "ok"),
        (admin, header(&details, foreign), String::new(), 200, "ok"),
        (admin, header(&details, mine), String::new(), 404, "unknown-session"),
        (admin, header(&details, NO_UUID), String::new(), 404, "unknown-session"),
    ];
    for (token, target, body, status, code) in cases {
        let answer = server.call(token, &target, &body).await;
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{target} {body}: {answer:?}");
    }
}
