//! The API over a socket: the specification's worked examples and the tutorial's bodies.

#[path = "http_api/authorization.rs"]
mod authorization;
#[path = "http_api/components.rs"]
mod components;
#[path = "http_api/configuration.rs"]
mod configuration;
#[path = "http_api/decisions.rs"]
mod decisions;
#[path = "http_api/edge.rs"]
mod edge;
#[path = "http_api/error_codes.rs"]
mod error_codes;
#[path = "auth/forge.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod forge;
#[path = "http_api/forged.rs"]
mod forged;
#[path = "common/http_client.rs"]
mod http_client;
#[path = "http_api/idempotency.rs"]
mod idempotency;
#[path = "http_api/keys.rs"]
mod keys;
#[path = "http_api/licensing.rs"]
mod licensing;
#[path = "http_api/matrix.rs"]
mod matrix;
#[path = "http_api/matrix_rows.rs"]
mod matrix_rows;
#[path = "http_api/openapi.rs"]
mod openapi;
#[path = "http_api/prefixes.rs"]
mod prefixes;
#[path = "http_api/quotes.rs"]
mod quotes;
#[path = "http_api/rules.rs"]
mod rules;
#[path = "common/server.rs"]
mod server;
#[path = "http_api/sessions_in_time.rs"]
mod sessions_in_time;
#[path = "http_api/tricks.rs"]
mod tricks;
#[path = "http_api/usage.rs"]
mod usage;

use serde_json::{Value, json};
use server::{TestServer, line_item, start, text};

const STARTED: [(&str, u16); 2] = [("v1.0", 403), ("v1.1", 409)];

/// A request of LisaBarry for so many of each item.
fn asking(items: &[(&str, &str, &str)]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|(item, version, count)| {
            format!(r#"{{"item":"{item}","version":"{version}","count":{count}}}"#)
        })
        .collect();
    format!(
        r#"{{"requester":{{"type":"user","value":"LisaBarry"}},"requestedItems":[{}]}}"#,
        items.join(",")
    )
}

fn in_session(request: &str, rollback: &str) -> String {
    request.replacen('{', &format!(r#"{{"rollbackOnDeny":{rollback},"#), 1)
}

/// Per item: status code and total; then what each line item gave.
fn outcome(answer: &Value) -> Vec<(String, String, Vec<String>)> {
    let items = answer.pointer("/requestedItems").and_then(Value::as_array).expect("items");
    let one = |item: &Value| {
        let takes = item.pointer("/lineItems").and_then(Value::as_array).expect("takes");
        let take = |take: &Value| {
            format!("{} {} at {}", text(take, "/activationId"), take["tokensCharged"], take["rate"])
        };
        let total = item.pointer("/totalTokensCharged").expect("a total").to_string();
        (text(item, "/status/code"), total, takes.iter().map(take).collect())
    };
    items.iter().map(one).collect()
}

async fn with_line_items(quantities: &[u64]) -> (TestServer, String) {
    let server = start().await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    for (number, quantity) in (1..).zip(quantities) {
        server.line_item(&instance, number, *quantity).await;
    }
    (server, instance)
}

#[tokio::test]
async fn x1_a_one_off_request_is_answered_to_the_letter() {
    let (server, instance) = with_line_items(&[1000]).await;
    let token = server.client_token(&[&instance]);
    let target =
        format!("POST /dynamicmonetization/elastic/api/v1.0/instances/{instance}/access-request");
    let body = asking(&[("PhotoPrint", "1.0", "10"), ("CADPrint", "2.0", "2")]);
    let answer = server.call(&token, &target, &body).await;
    let correlation = text(&answer.json(), "/correlationId");
    let expected = format!(
        concat!(
            r#"{{"requestedItems":[{{"item":"PhotoPrint","version":"1.0","count":10,"totalTokensCharged":30,"#,
            r#""lineItems":[{{"rate":3,"activationId":"ACT01","tokensCharged":30}}],"#,
            r#""status":{{"code":"101","description":"Successfully checked out"}}}},"#,
            r#"{{"item":"CADPrint","version":"2.0","count":2,"totalTokensCharged":14,"#,
            r#""lineItems":[{{"rate":7,"activationId":"ACT01","tokensCharged":14}}],"#,
            r#""status":{{"code":"101","description":"Successfully checked out"}}}}],"#,
            r#""requester":{{"type":"user","value":"LisaBarry"}},"correlationId":"{}"}}"#
        ),
        correlation
    );
    assert_eq!((answer.status, answer.body), (200, expected));
    assert_eq!(server.used(&instance, 1).await, "44");
}

#[tokio::test]
async fn one_off_requests_charge_as_the_examples_say() {
    let photo = ("PhotoPrint", "1.0", "10");
    let cad = ("CADPrint", "2.0", "2");
    let granted = |total: &str, takes: &[&str]| {
        ("101".to_owned(), total.to_owned(), takes.iter().map(|take| (*take).to_owned()).collect())
    };
    let denied = |code: &str| (code.to_owned(), "0".to_owned(), Vec::new());
    let cases = [
        (
            "X2",
            vec![10, 100],
            vec![("PhotoPrint", "1.0", "1"), ("CADPrint", "2.0", "8")],
            vec![
                granted("3", &["ACT01 3 at 3"]),
                granted("56", &["ACT01 7 at 7", "ACT02 49 at 7"]),
            ],
            vec!["10", "49"],
        ),
        (
            "X4",
            vec![40],
            vec![photo, cad, ("SignPrint", "1.0", "1")],
            vec![granted("30", &["ACT01 30 at 3"]), denied("306"), granted("4", &["ACT01 4 at 4"])],
            vec!["34"],
        ),
        (
            "X5",
            vec![1000],
            vec![photo, ("PhotoAlbum", "1.0", "1"), cad, ("PhotoPrint", "", "1")],
            vec![
                granted("30", &["ACT01 30 at 3"]),
                denied("201"),
                granted("14", &["ACT01 14 at 7"]),
                denied("201"),
            ],
            vec!["44"],
        ),
    ];
    for (name, quantities, items, expected, used) in cases {
        let (server, instance) = with_line_items(&quantities).await;
        let target = format!("POST /api/v1.0/instances/{instance}/access-request");
        let answer = server.admin(&target, &asking(&items)).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert!(answer.header("x-sequence").is_some(), "{name}: {answer:?}");
        assert_eq!(outcome(&answer.json()), expected, "{name}");
        for (number, used) in (1..).zip(used) {
            assert_eq!(server.used(&instance, number).await, used, "{name}");
        }
    }
}

#[tokio::test]
async fn amounts_pass_in_and_out_without_a_double() {
    let (server, instance) = with_line_items(&[1000]).await;
    let target = format!("POST /api/v1.1/instances/{instance}/access-request");
    let body = asking(&[("PhotoPrint", "1.0", "0.30000000000000004"), ("SignPrint", "1.0", "1E0")]);
    let answer = server.admin(&target, &body).await;
    assert!(answer.body.contains(r#""count":0.3,"totalTokensCharged":0.9"#), "{answer:?}");
    assert!(answer.body.contains(r#""count":1,"totalTokensCharged":4"#), "{answer:?}");
    assert!(answer.body.contains(r#""code":"1001""#), "{answer:?}");
}

#[tokio::test]
async fn x24_rate_tables_are_published_once_and_stay_when_in_effect() {
    let server = start().await;
    server.publish_p().await;
    let table = |version: &str, from: u64| {
        format!(
            r#"{{"effectiveFrom":{from},"series":"P","version":"{version}","items":[{{"name":"A","rate":0.5}}]}}"#
        )
    };
    let again = server.admin("POST /api/v1.0/rate-tables", &table("1", 1_698_849_852_000)).await;
    assert_eq!(again.outcome(), (409, "rate-table-exists".to_owned()));
    assert_eq!(text(&again.json(), "/error"), text(&again.json(), "/detail"));
    let future = server.admin("POST /api/v1.0/rate-tables", &table("2", 7_258_118_400_000)).await;
    assert_eq!(future.status, 201);
    for (query, status) in [
        ("version=1&series=P", 409),
        ("version=2", 404),
        ("version=2&series=P", 204),
        ("version=2&series=P", 404),
        ("series=P", 400),
        ("version=2&serie=P", 400),
        ("version=2&version=2", 400),
    ] {
        let answer = server.admin(&format!("DELETE /api/v1.0/rate-tables?{query}"), "").await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    let listed = server.admin("GET /provisioning/api/v1.1/rate-tables", "").await;
    let list = listed.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(
        list.pointer("/0/items/0"),
        Some(&json!({"name":"PhotoPrint","version":"1.0","rate":3}))
    );
}

#[tokio::test]
async fn x25_line_items_change_state_as_their_life_allows() {
    let (server, instance) = with_line_items(&[1000]).await;
    let target = |version: &str| format!("PUT /api/{version}/instances/{instance}/line-items");
    let with = |pointer: &str, value: Value| {
        let mut body = line_item(1, 1000);
        *body.pointer_mut(pointer).expect("a member") = value;
        body
    };
    let state = |state: &str| with("/state", json!(state));
    let mut first_inactive = state("INACTIVE");
    first_inactive["activationId"] = json!("ACT02");
    for (body, status) in [
        (first_inactive, 400),
        (state("INACTIVE"), 200),
        (state("DEPLOYED"), 200),
        (state("OBSOLETE"), 200),
        (state("DEPLOYED"), 400),
    ] {
        let answer = server.admin(&target("v1.0"), &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(status == 400, answer.json().get("errors").is_some(), "{answer:?}");
    }
    let attributes = json!({"overdraftLimit": "5", "overdraftType": "Number"});
    let limit = with("/attributes", attributes).to_string();
    let fault = json!(["$.attributes.overdraftLimit: string found, integer expected"]);
    for (version, member) in [("v1.0", "/errors"), ("v1.1", "/message")] {
        let answer = server.admin(&target(version), &limit).await;
        assert_eq!(answer.outcome(), (400, "line-item-invalid".to_owned()));
        assert_eq!(answer.json().pointer(member), Some(&fault), "{answer:?}");
    }
    let one = format!("/api/v1.0/instances/{instance}/line-items/ACT01");
    let read = server.admin(&format!("GET {one}"), "").await;
    assert_eq!(text(&read.json(), "/state"), "OBSOLETE");
    assert_eq!(server.admin(&format!("DELETE {one}"), "").await.status, 204);
    assert_eq!(
        server.admin(&format!("GET {one}"), "").await.outcome(),
        (404, "unknown-line-item".to_owned())
    );
}

#[tokio::test]
async fn an_id_is_escaped_once_in_a_path_and_may_have_a_slash() {
    let (server, instance) = with_line_items(&[]).await;
    let line_items = format!("/api/v1.0/instances/{instance}/line-items");
    for (id, escaped) in [("a/b", "a%2Fb"), ("100%", "100%25"), ("/é", "%2f%C3%A9")] {
        let mut body = line_item(1, 1000);
        body["activationId"] = json!(id);
        let mapped = server.admin(&format!("PUT {line_items}"), &body.to_string()).await;
        assert_eq!(mapped.status, 200, "{id}: {mapped:?}");
        let read = server.admin(&format!("GET {line_items}/{escaped}"), "").await;
        assert_eq!(text(&read.json(), "/activationId"), id, "{read:?}");
    }
    let two_segments = server.admin(&format!("GET {line_items}/a/b"), "").await;
    assert_eq!(two_segments.outcome(), (404, "unknown-path".to_owned()));
    let mut body = line_item(1, 1000);
    body["activationId"] = json!("a\\b");
    let refused = server.admin(&format!("PUT {line_items}"), &body.to_string()).await;
    assert_eq!(refused.outcome(), (400, "line-item-invalid".to_owned()));
}

#[tokio::test]
async fn x27_the_first_instance_of_an_account_is_its_default() {
    let server = start().await;
    let first = server.instance("ACME").await;
    let second = server.instance("ACME").await;
    let get =
        async |query: &str| server.admin(&format!("GET /api/v1.0/instances?{query}"), "").await;
    let found = get("accountId=ACME&default=true").await.json();
    assert_eq!(found.pointer("/content").and_then(Value::as_array).map(Vec::len), Some(1));
    assert_eq!(text(&found, "/content/0/id"), first);
    assert_eq!(found.pointer("/content/0/defaultInstance"), Some(&json!(true)));
    let nobody = get("accountId=NOBODY&default=true").await;
    assert_eq!(nobody.body, r#"{"content":[],"next":0}"#);
    for query in [
        "accountId=ACME",
        "default=true",
        "accountId=ACME&default=false",
        "size=0",
        "size=-1",
        "size=x",
        "next=garbage",
        "next=18446744073709551615",
        "next=18446744073709551616",
        "page=1",
        "size=1&size=1",
    ] {
        assert_eq!(get(query).await.outcome(), (400, "bad-query".to_owned()), "{query}");
    }
    let page = get("size=1").await.json();
    assert_eq!(text(&page, "/content/0/id"), first);
    let rest = get(&format!("size=1000&next={}", page["next"])).await.json();
    assert_eq!(text(&rest, "/content/0/id"), second);
    assert_eq!(rest.pointer("/content/0/defaultInstance"), Some(&json!(false)));
    assert_eq!(rest.pointer("/next"), Some(&json!(0)));
}

#[tokio::test]
async fn a_session_is_created_used_seen_and_closed() {
    for (version, ended) in STARTED {
        let (server, instance) = with_line_items(&[1000]).await;
        let token = server.client_token(&[&instance]);
        let call = async |target: &str, body: &str| {
            let (method, path) = target.split_once(' ').expect("method and path");
            let target = format!("{method} /api/{version}{path}\nx-instance-id: {instance}");
            server.call(&token, &target, body).await
        };
        let created = call("POST /sessions", &json!({"instanceId": instance}).to_string()).await;
        let session = text(&created.json(), "/sessionId");
        let path = format!("/sessions/{session}");
        let listed = call(&format!("GET /sessions?instanceId={instance}"), "").await;
        let idle = format!(
            concat!(
                r#"[{{"sessionId":"{}","instanceId":"{}","state":"IDLE","chargedUntil":0,"#,
                r#""lastHeartBeat":0,"lastAccessRequest":0}}]"#
            ),
            session, instance
        );
        assert_eq!(listed.body, idle);
        let body = asking(&[("PhotoPrint", "1.0", "10")]);
        assert_eq!(
            call(&format!("PUT {path}"), &body).await.outcome(),
            (400, "missing-field".to_owned())
        );
        let granted = call(&format!("PUT {path}"), &in_session(&body, "true")).await;
        assert_eq!(granted.status, 200, "{granted:?}");
        let details = call(&format!("GET {path}"), "").await;
        let items = json!([{"item":"PhotoPrint","version":"1.0","count":10}]);
        assert_eq!(details.json().pointer("/items"), Some(&items));
        let short = asking(&[("CADPrint", "2.0", "1000"), ("PhotoPrint", "1.0", "1")]);
        let denied = call(&format!("PUT {path}"), &in_session(&short, "true")).await.json();
        let codes: Vec<String> = outcome(&denied).into_iter().map(|(code, ..)| code).collect();
        assert_eq!(codes, if version == "v1.0" { ["306", "102"] } else { ["3006", "1002"] });
        for method in ["GET", "POST"] {
            let beat = call(&format!("{method} {path}/heartbeat"), "").await;
            assert_eq!((beat.status, beat.body.as_str()), (204, ""));
        }
        assert_eq!(call(&format!("DELETE {path}"), "").await.status, 200);
        for target in [format!("DELETE {path}"), format!("GET {path}/heartbeat")] {
            let again = call(&target, "").await;
            assert_eq!(again.outcome(), (ended, "session-terminated".to_owned()), "{target}");
            assert_eq!(text(&again.json(), "/message"), "Session is TERMINATED");
            assert!(again.header("x-sequence").is_some(), "it rests on the close: {again:?}");
        }
        assert_eq!(text(&call(&format!("GET {path}"), "").await.json(), "/state"), "TERMINATED");
    }
}

/// A body of the tutorial as it is printed there.
fn tutorial(file: &str) -> String {
    let path = format!("{}/tests/data/tutorial/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the tutorial's bodies are there")
}

#[tokio::test]
async fn the_tutorial_runs_and_its_misprints_are_pointed_out() {
    let server = start().await;
    let table =
        server.admin("POST /provisioning/api/v1.0/rate-tables", &tutorial("rate-table.json")).await;
    assert_eq!(table.status, 201, "{table:?}");
    let instance = server.instance("ACME").await;
    let mut item = line_item(1, 1000);
    item["activationId"] = json!("ACT01-Elastic");
    item["attributes"]["rateTableSeries"] = json!("PublicationApps");
    let line_items = format!("/provisioning/api/v1.0/instances/{instance}/line-items");
    assert_eq!(server.admin(&format!("PUT {line_items}"), &item.to_string()).await.status, 200);

    let access = format!("POST /elastic/api/v1.0/instances/{instance}/access-request");
    let printed = tutorial("access-request.malformed.json");
    let refused = server.admin(&access, &printed).await;
    assert_eq!(refused.outcome(), (400, "bad-json".to_owned()));
    let detail = text(&refused.json(), "/detail");
    assert!(detail.starts_with("trailing comma at line 1 column "), "{detail}");
    let granted = server.admin(&access, &printed.replace(", }", " }")).await;
    let mut expected: Value = serde_json::from_str(&tutorial("access-answer.json")).expect("JSON");
    expected["correlationId"] = granted.json()["correlationId"].clone();
    assert_eq!(granted.json(), expected);

    let creation = tutorial("session-create.json");
    assert_eq!(server.admin("POST /api/v1.0/sessions", &creation).await.status, 404);
    let creation = creation.replace("64d2028c-ae87-4069-a624-66089d957ef9", &instance);
    let created = server.admin("POST /api/v1.0/sessions", &creation).await;
    let put = format!("PUT /api/v1.0/sessions/{}", text(&created.json(), "/sessionId"));
    let printed = tutorial("session-put.malformed.json");
    let refused = server.admin(&put, &printed).await;
    assert_eq!(refused.outcome(), (400, "bad-json".to_owned()));
    let mended = format!("{} }}", printed.replace("10, } {", "10 }, {"));
    assert_eq!(server.admin(&put, &mended).await.status, 200);
    let read = server.admin(&format!("GET {line_items}/ACT01-Elastic"), "").await;
    assert_eq!(read.json().pointer("/used"), Some(&json!(88)));
}
