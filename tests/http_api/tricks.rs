//! What a caller may try beside its token (table D of the promises): other headers, ids of its own
//! making, positions in other people's lists, and a watch.

use std::time::Duration;

use farebox::auth::Principal;
use farebox::domain::ids::InstanceId;
use farebox::domain::line_item::Terms;
use farebox::domain::time::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::asking;
use crate::http_client::Answer;
use crate::server::{TestServer, text};

const UNKNOWN: &str = "64d2028c-ae87-4069-a624-66089d957ef9";

async fn session(server: &TestServer, instance: &str) -> String {
    let body = format!(r#"{{"instanceId":"{instance}"}}"#);
    text(&server.admin("POST /api/v1.1/sessions", &body).await.json(), "/sessionId")
}

/// Status, kind and body without the correlation id.
fn told(answer: &Answer) -> (u16, Option<String>, Value) {
    let kind = answer.header("content-type").map(str::to_owned);
    let mut body = match answer.body.as_str() {
        "" => Value::Null,
        _ => answer.json(),
    };
    if let Some(id) = body.get_mut("correlationId") {
        *id = Value::Null;
    }
    (answer.status, kind, body)
}

#[tokio::test]
async fn headers_that_name_another_method_or_path_are_ignored() {
    let (server, instance) = crate::with_line_items(&[1000]).await;
    let token = server.client_token(&[&instance]);
    let session = session(&server, &instance).await;
    let own = format!("x-instance-id: {instance}");
    let calls = [
        (format!("GET /api/v1.1/sessions/{session}\n{own}"), String::new()),
        (format!("GET /api/v1.1/sessions/{UNKNOWN}\n{own}"), String::new()),
        (format!("GET /api/v1.1/instances/{instance}/line-items"), String::new()),
        (
            format!("POST /api/v1.1/instances/{instance}/access-request?dryRun=true"),
            asking(&[("PhotoPrint", "1.0", "1")]),
        ),
        ("GET /api/v1.1/rate-tables".to_owned(), String::new()),
    ];
    let headers = [
        "x-http-method-override: DELETE",
        "x-http-method: DELETE",
        "x-method-override: PUT",
        "x-original-url: /api/v1.1/rate-tables",
        "x-rewrite-url: /api/v1.1/usage",
        "x-forwarded-host: evil.example",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-prefix: /api/v1.0",
        "x-forwarded-uri: /livez",
        "forwarded: for=127.0.0.1;host=evil.example",
        "x-real-ip: 127.0.0.1",
        "x-farebox-role: ADMIN",
    ];
    let before = server.broker.journal().durable();
    for (target, body) in &calls {
        let plain = told(&server.call(&token, target, body).await);
        for header in headers {
            let answer = server.call(&token, &format!("{target}\n{header}"), body).await;
            assert_eq!(told(&answer), plain, "D6 {header} {target}");
        }
    }
    assert_eq!(server.broker.journal().durable(), before, "D6: nothing of it was done");
}

#[tokio::test]
async fn a_correlation_id_of_the_callers_is_not_used() {
    let (server, instance) = crate::with_line_items(&[1000]).await;
    let token = server.client_token(&[&instance]);
    let body = asking(&[("PhotoPrint", "1.0", "1")]);
    let target = format!("POST /api/v1.1/instances/{instance}/access-request");
    let long = "x".repeat(10 * 1024);
    let mut seen = Vec::new();
    // The last one breaks the line: what follows it is a header of its own.
    for value in [UNKNOWN, long.as_str(), "a\nx-injected: yes"] {
        for name in ["x-correlation-id", "correlationid", "x-request-id", "traceparent"] {
            let head = format!("{target}\n{name}: {value}");
            let answer = server.call(&token, &head, &body).await;
            assert_eq!(answer.status, 200, "D8 {name}: {answer:?}");
            assert_eq!(answer.header("x-injected"), None, "D8 {name}");
            assert!(!answer.head.contains(UNKNOWN) && !answer.head.contains("xxx"), "D8 {name}");
            let id = text(&answer.json(), "/correlationId");
            assert_eq!((id.len(), id == UNKNOWN), (36, false), "D8 {name}: {id}");
            seen.push(id);
        }
    }
    // The same ids stand in the usage rows, each once.
    let usage = server.admin("GET /api/v1.1/usage", "").await.body;
    for id in &seen {
        assert_eq!(usage.matches(id.as_str()).count(), 1, "D8 {id}");
    }
    assert_eq!(server.used(&instance, 1).await, (seen.len() * 3).to_string());
    // A refusal makes its own as well.
    let refused = server.call(&token, &format!("{target}\nx-correlation-id: {UNKNOWN}"), "").await;
    assert_ne!(text(&refused.json(), "/correlationId"), UNKNOWN);
}

#[tokio::test]
async fn a_position_in_anothers_list_is_one_in_the_callers_own() {
    let (server, own) = crate::with_line_items(&[]).await;
    let foreign = server.instance("FOREIGN").await;
    // In turn: so each position of the one lies between positions of the other.
    for number in 0..202 {
        let (instance, name) = if number % 2 == 0 { (&own, "OWN") } else { (&foreign, "FOREIGN") };
        let scope = InstanceId::parse(instance).map(|id| Principal::administration().scope(id));
        let id = format!("{name}-{number}").parse().expect("an id");
        let end = Timestamp::from_ms(253_402_300_000_000);
        let terms = Terms::new(id, 1, Timestamp::default(), end);
        let scope = scope.expect("an id").expect("administration");
        server.broker.map_line_item(scope, terms).await.expect("it is mapped");
    }
    let page = async |token: &str, instance: &str, next: &str| {
        let path = format!("/api/v1.1/instances/{instance}/line-items/actions?next={next}");
        let answer = server.call(token, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 200, "D9: {answer:?}");
        answer
    };
    let [mine, theirs] = [&own, &foreign].map(|instance| server.client_token(&[instance]));
    let first = page(&theirs, &foreign, "0").await;
    let position = first.json().get("next").expect("there is more").to_string();
    assert_ne!(position, "0", "D9");
    let rest = page(&mine, &own, &position).await;
    assert!(!rest.body.contains("FOREIGN"), "D9: {rest:?}");
    assert_eq!(rest.body.matches("OWN-").count(), 1, "D9: {rest:?}");
    for next in ["1", "18446744073709551614"] {
        assert!(!page(&mine, &own, next).await.body.contains("FOREIGN"), "D9 {next}");
    }
}

/// D1, D2 with a watch. Only for people to read: no machine of ours stands still enough for a
/// verdict on every submission.
#[tokio::test]
async fn a_foreign_thing_takes_as_long_as_one_that_is_not_there() {
    let pairs = if std::env::var_os("FAREBOX_LONG").is_some() { 10_000 } else { 10 };
    let (server, own) = crate::with_line_items(&[1000]).await;
    let foreign = server.instance("FOREIGN").await;
    let session = session(&server, &foreign).await;
    let token = server.client_token(&[&own]);
    let mut client = server.connect().await;
    let bearer = format!("authorization: Bearer {token}");
    let of_instance = |id: &str| format!("GET /api/v1.1/instances/{id}/line-items\n{bearer}");
    let of_session =
        |id: &str| format!("GET /api/v1.1/sessions/{id}/heartbeat\n{bearer}\nx-instance-id: {own}");
    let rows = [
        ("instance", 403, of_instance(&foreign), of_instance(UNKNOWN)),
        ("session", 404, of_session(&session), of_session(UNKNOWN)),
    ];
    for (what, status, foreign, unknown) in rows {
        let (mut of_foreign, mut of_unknown) = (Vec::new(), Vec::new());
        for pair in 0..2 * pairs {
            let (head, times) = match pair % 4 {
                0 | 3 => (&foreign, &mut of_foreign),
                _ => (&unknown, &mut of_unknown),
            };
            let began = Instant::now();
            let answer = client.request(head, "").await;
            times.push(began.elapsed());
            assert_eq!(answer.status, status, "{what}: {answer:?}");
        }
        let at = |times: &mut Vec<Duration>, share: usize| {
            times.sort_unstable();
            times.get(times.len() * share / 100).copied().expect("there are some")
        };
        for share in [10, 50, 90] {
            let (foreign, unknown) = (at(&mut of_foreign, share), at(&mut of_unknown, share));
            println!("{what}, {share} of 100 within: foreign {foreign:?}, unknown {unknown:?}");
        }
    }
}
