//! `dryRun` and `balances` (spec 2.7, 2.8): their bodies to the letter, and who knows them.

use farebox::domain::time::Timestamp;
use serde_json::{Value, json};

use super::server::{TestServer, start_with_test_clock, text};
use super::{STARTED, asking, in_session};

/// Everything behind the items.
fn tail(body: &str) -> &str {
    body.split_once(r#""correlationId":""#).expect("an id").1.split_once('"').expect("a string").1
}

/// Time stands still, and so does the journal unless something is done.
async fn with_one_line_item(quantity: u64) -> (TestServer, String) {
    let server = start_with_test_clock(Timestamp::from_ms(1_800_000_000_000)).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, quantity).await;
    (server, instance)
}

#[tokio::test]
async fn a_quote_and_its_request_differ_in_the_id_and_in_saying_so() {
    for (version, _) in STARTED {
        let (server, instance) = with_one_line_item(1000).await;
        let token = server.client_token(&[&instance]);
        let target = format!("POST /elastic/api/{version}/instances/{instance}/access-request");
        let body = asking(&[("PhotoPrint", "1.0", "10"), ("PhotoAlbum", "1.0", "1")]);
        let call =
            async |query: &str| server.call(&token, &format!("{target}{query}"), &body).await;
        let listed = format!("GET /api/v1.0/instances/{instance}/line-items");
        let before = server.admin(&listed, "").await.header("x-sequence").map(str::to_owned);

        let quoted = call("?dryRun=true").await;
        assert_eq!(quoted.status, 200, "{quoted:?}");
        assert_eq!(quoted.header("x-sequence").map(str::to_owned), before);
        let with_balances = call("?balances=true&dryRun=true").await;
        assert_eq!(server.used(&instance, 1).await, "0");
        let done = call("?balances=true&dryRun=false").await;
        assert_ne!(done.header("x-sequence").map(str::to_owned), before);
        let plain = call("?balances=false").await;
        assert_eq!(server.used(&instance, 1).await, "60");

        let ids = [&quoted, &with_balances, &done, &plain]
            .map(|answer| text(&answer.json(), "/correlationId"));
        let (items, _) = quoted.body.split_once(&ids[0]).expect("its id");
        for (answer, id) in [&with_balances, &done, &plain].into_iter().zip(&ids[1..]) {
            assert_ne!(ids[0], *id);
            assert_eq!(answer.body.split_once(id).expect("its id").0, items);
        }
        let balances = r#","balances":[{"activationId":"ACT01","used":30,"available":970}]"#;
        let bodies = [&quoted, &with_balances, &done, &plain].map(|answer| tail(&answer.body));
        assert_eq!(bodies[0], r#","dryRun":true}"#);
        assert_eq!(bodies[1], format!(r#","dryRun":true{balances}}}"#));
        assert_eq!(bodies[2], format!("{balances}}}"));
        assert_eq!(bodies[3], "}");
        let denied = asking(&[("PhotoAlbum", "1.0", "1")]);
        let denied = server.call(&token, &format!("{target}?balances=true"), &denied).await;
        assert_eq!(tail(&denied.body), r#","balances":[]}"#);
    }
}

#[tokio::test]
async fn a_quote_of_a_session_leaves_it_and_its_headers_as_they_are() {
    for (version, ended) in STARTED {
        let (server, instance) = with_one_line_item(40).await;
        let created = server
            .admin(
                &format!("POST /api/{version}/sessions"),
                &json!({"instanceId": instance}).to_string(),
            )
            .await;
        let path = format!("/api/{version}/sessions/{}", text(&created.json(), "/sessionId"));
        let put = async |query: &str, count: &str, rollback: &str| {
            let body = in_session(&asking(&[("PhotoPrint", "1.0", count)]), rollback);
            server.admin(&format!("PUT {path}{query}"), &body).await
        };
        let quoted = put("?dryRun=true", "10", "true").await;
        assert_eq!(quoted.status, 200, "{quoted:?}");
        assert_eq!(quoted.header("x-charged-until"), Some("0"), "it is IDLE");
        let granted = put("", "10", "true").await;
        let until = granted.header("x-charged-until").expect("it is paid for").to_owned();
        assert_ne!(until, "0");

        let listed = format!("GET /api/v1.0/sessions?instanceId={instance}");
        let before = server.admin(&listed, "").await;
        for (count, rollback) in [("1", "true"), ("100", "true"), ("100", "false")] {
            let quoted = put("?dryRun=true&balances=true", count, rollback).await;
            assert_eq!(quoted.header("x-charged-until"), Some(until.as_str()), "{quoted:?}");
            assert_eq!(quoted.header("x-heartbeat-from"), Some(until.as_str()), "{quoted:?}");
            assert_eq!(quoted.header("x-sequence"), before.header("x-sequence"), "{quoted:?}");
            let touched = quoted.json().pointer("/balances").and_then(Value::as_array).cloned();
            let is_untouched = count == "100" && rollback == "true";
            assert_eq!(touched.expect("a list").is_empty(), is_untouched, "{quoted:?}");
        }
        assert_eq!(server.admin(&listed, "").await.body, before.body);

        let closed = server.admin(&format!("DELETE {path}"), "").await;
        assert_eq!(closed.status, 200);
        let refused = put("?dryRun=true", "1", "true").await;
        assert_eq!(refused.outcome(), (ended, "session-terminated".to_owned()));
    }
}

#[tokio::test]
async fn both_parameters_are_true_or_false_and_known_where_something_is_charged() {
    let (server, instance) = with_one_line_item(1000).await;
    let created = json!({"instanceId": instance}).to_string();
    let session = server.admin("POST /api/v1.0/sessions", &created).await;
    let session = format!("/api/v1.0/sessions/{}", text(&session.json(), "/sessionId"));
    let one_off = format!("/api/v1.0/instances/{instance}/access-request");
    let body = asking(&[("PhotoPrint", "1.0", "1")]);
    for parameter in ["dryRun", "balances"] {
        let allowed = format!("`{parameter}` must be `true` or `false`");
        for value in ["", "=", "=1", "=True", "=yes", "=true%20", "=null"] {
            for target in [format!("POST {one_off}"), format!("PUT {session}")] {
                let target = format!("{target}?{parameter}{value}");
                let refused = server.admin(&target, &body).await;
                assert_eq!(refused.outcome(), (400, "bad-query".to_owned()), "{target}");
                assert_eq!(text(&refused.json(), "/detail"), allowed, "{target}");
            }
        }
        let twice = format!("POST {one_off}?{parameter}=true&{parameter}=true");
        assert_eq!(server.admin(&twice, &body).await.outcome(), (400, "bad-query".to_owned()));
        for target in [
            "POST /api/v1.0/sessions".to_owned(),
            format!("GET {session}"),
            format!("DELETE {session}"),
            format!("GET {session}/heartbeat"),
            format!("PUT /api/v1.0/instances/{instance}/line-items"),
            format!("GET /api/v1.0/instances/{instance}/line-items"),
        ] {
            let target = format!("{target}?{parameter}=true");
            let refused = server.admin(&target, &created).await;
            assert_eq!(refused.outcome(), (400, "bad-query".to_owned()), "{target}");
        }
    }
    let unknown = server.admin(&format!("POST {one_off}?dryrun=true"), &body).await;
    let detail = text(&unknown.json(), "/detail");
    assert_eq!(detail, "`dryrun` is no parameter here: there are `dryRun`, `balances`");
    assert_eq!(server.used(&instance, 1).await, "0");
}
