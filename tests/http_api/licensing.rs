//! Component licensing over a socket, beside the worked examples: how it is written and what it is
//! refused with, whom it is shown to, keys of idempotency, administration.

use std::collections::BTreeSet;

use farebox::http::component_routes;
use serde_json::{Value, json};

use crate::components::{House, JAN_10, checkout, license, pool, registration};
use crate::http_client::{Answer, bytes_of};
use crate::server::text;

fn symbol(answer: &Answer) -> (u16, String) {
    (answer.status, text(&answer.json(), "/code"))
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body.as_object_mut().expect("an object").insert(member.to_owned(), value);
    body
}

#[tokio::test]
async fn the_data_may_be_in_an_envelope_and_may_say_more_than_is_known() {
    let house = House::new().await;
    let session = house.session().await;
    let data = json!({"session_key": session, "later": {"than": ["this"]}});
    let plain = house.done("components_status", data.clone()).await;
    for enveloped in [
        json!({"key": "k", "data": data}),
        json!({"key": "k", "data": data.to_string()}),
        json!({"data": data, "more": 1}),
    ] {
        assert_eq!(house.done("components_status", enveloped.clone()).await, plain, "{enveloped}");
    }
    for (body, expected) in [
        ("", "INVALID_REQUEST"),
        ("[]", "INVALID_REQUEST"),
        (r#"{"session_key":"#, "INVALID_REQUEST"),
        (r#"{"data":1}"#, "INVALID_REQUEST"),
        (r#"{"data":"x"}"#, "INVALID_REQUEST"),
        (r#"{"data":{}}"#, "INVALID_REQUEST"),
        (r#"{"session_key":7}"#, "INVALID_REQUEST"),
        (r#"{"session_key":"a","session_key":"b"}"#, "INVALID_REQUEST"),
        (r#"{"session_key":"x"}"#, "UNKNOWN_SESSION"),
    ] {
        let target = "POST /api/v3.1/auth/components_status";
        let answer = house.server.call(&house.token, target, body).await;
        assert_eq!(symbol(&answer), (400, expected.to_owned()), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    }
}

#[tokio::test]
async fn each_version_has_the_methods_of_those_before_it_under_one_path() {
    let house = House::new().await;
    let known: BTreeSet<String> =
        component_routes().map(|(version, _, path)| format!("{version}{path}")).collect();
    let (mut found, mut missing) = (0, 0);
    for version in ["v1.0", "v3.0", "v3.1", "v3.2", "v3.3"] {
        for (_, _, path) in component_routes() {
            let answer = house.server.admin(&format!("POST /api/{version}{path}"), "{}").await;
            if known.contains(&format!("{version}{path}")) {
                assert_eq!(
                    symbol(&answer),
                    (400, "INVALID_REQUEST".to_owned()),
                    "{version} {path}"
                );
                found += 1;
            } else {
                assert_eq!(answer.outcome(), (404, "unknown-path".to_owned()), "{version} {path}");
                missing += 1;
            }
        }
    }
    assert!(found > 30 && missing > 40, "{found} {missing}");
    for (target, expected) in [
        ("GET /api/v3.2/auth/end_session", (405, "method-not-allowed")),
        ("POST /api/v3.2/auth/no_method", (404, "unknown-path")),
        ("POST /api/v3.2/auth/end_session/", (404, "unknown-path")),
        ("POST /api/v3.2/instances", (404, "unknown-path")),
        ("POST /provisioning/api/v3.2/auth/end_session", (404, "unknown-path")),
        ("POST /dynamicmonetization/api/v3.2/auth/end_session", (404, "unknown-path")),
        ("POST /api/v3.2/auth/end_session?x=1", (400, "bad-query")),
    ] {
        let answer = house.server.admin(target, "{}").await;
        assert_eq!(answer.outcome(), (expected.0, expected.1.to_owned()), "{target}");
    }
    let large = json!({"session_key": "x".repeat(1 << 20)}).to_string();
    let answer = house.server.admin("POST /api/v3.2/auth/end_session", &large).await;
    assert_eq!(answer.outcome(), (413, "body-too-large".to_owned()));
    let nobody = house.server.call("x", "POST /api/v3.2/auth/end_session", "{}").await;
    assert_eq!(nobody.outcome(), (401, "invalid-token".to_owned()));
}

#[tokio::test]
async fn every_failure_has_its_symbol() {
    let house = House::new().await;
    house.put("/products/Q", &json!({"name": "Another"})).await;
    let lapsed = with(house.beginning(), "duration", json!(1));
    let lapsed = text(&house.done("begin_app_session", lapsed).await, "/session_key");
    house.server.move_to(JAN_10 + 1_000).await;
    let (open, closed) = (house.session().await, house.session().await);
    house.done("end_session", json!({"session_key": closed})).await;
    let revoked = house.session().await;
    let revocation = format!("DELETE /api/v1.1/licenses/K/sessions/{revoked}");
    assert_eq!(house.server.admin(&revocation, "").await.status, 204);
    let again = house.server.admin(&revocation, "").await;
    assert_eq!(again.outcome(), (409, "session-revoked".to_owned()));
    house
        .put(
            "/products/P/components/Loose",
            &json!({
                "licenseModel": "token", "tokensRequired": 0.25, "freeTrialExpiration": null,
            }),
        )
        .await;

    let begin = |member: &str, value: Value| with(house.beginning(), member, value);
    let register = |member: &str, value: Value| with(registration(), member, value);
    let nobody = json!("64d2028c-ae87-4069-a624-66089d957ef9");
    let identity = json!({"host": "other"});
    let offline = with(house.beginning(), "duration", json!(60));
    let mut both = begin("user_identity", json!({"login": "nobody"}));
    both["user_guid"].take();
    for (method, data, symbol, status) in [
        ("register_instance", register("product_guid", json!("R")), "UNKNOWN_PRODUCT", 1001),
        ("register_instance", register("license_key", json!("L")), "UNKNOWN_LICENSE", 1002),
        ("register_instance", register("product_guid", json!("Q")), "UNKNOWN_LICENSE", 1002),
        ("begin_app_session", begin("product_guid", json!("R")), "UNKNOWN_PRODUCT", 1001),
        ("begin_app_session", begin("product_guid", json!("Q")), "UNKNOWN_INSTANCE", 1010),
        ("begin_app_session", begin("instance_guid", nobody.clone()), "UNKNOWN_INSTANCE", 1010),
        ("begin_app_session", begin("instance_guid", json!("x")), "UNKNOWN_INSTANCE", 1010),
        ("begin_app_session", begin("instance_identity", identity), "INSTANCE_MISMATCH", 1012),
        ("begin_user_session", begin("user_guid", nobody), "UNKNOWN_USER", 1020),
        ("begin_user_session", begin("user_guid", json!("x")), "UNKNOWN_USER", 1020),
        ("begin_app_session", both, "UNKNOWN_USER", 1020),
        ("check_out_license", offline, "LICENSE_NOT_CONCURRENT", 1032),
        ("end_session", json!({"session_key": "x"}), "UNKNOWN_SESSION", 1040),
        ("extend_session", json!({"session_key": closed}), "SESSION_CLOSED", 1041),
        ("check_out_components", checkout(&lapsed, json!("Help")), "SESSION_LAPSED", 1042),
        ("end_session", json!({"session_key": revoked}), "SESSION_REVOKED", 1043),
        ("check_in_license", json!({"checkout_key": open}), "UNKNOWN_SESSION", 1040),
        ("check_out_components", checkout(&open, json!("Nothing")), "UNKNOWN_COMPONENT", 1050),
        ("check_out_components", checkout(&open, json!("Loose")), "NO_ENTITLEMENT", 1051),
        ("check_in_components", checkout(&open, json!("Mesher")), "NOT_CHECKED_OUT", 1054),
    ] {
        let failed = house.fails(method, data.clone(), symbol).await;
        assert_eq!(failed["status"], json!(status), "{method} {data}");
        assert_eq!(failed["time"], json!("2030-01-10T09:00:01Z"), "{method} {data}");
    }
    let waiting = |seconds: Value| with(checkout(&open, json!("Help")), "wait_seconds", seconds);
    for (method, data) in [
        ("check_out_components", checkout(&open, json!([]))),
        ("check_out_components", waiting(json!(61))),
        ("check_out_components", waiting(json!("5"))),
        ("begin_app_session", begin("duration", json!(0))),
        ("begin_app_session", begin("version", json!(null))),
        ("begin_app_session", begin("user_guid", json!(null))),
        ("begin_app_session", begin("instance_identity", json!({}))),
        ("check_out_license", house.beginning()),
        ("register_instance", register("user_identity", json!({"login": 1}))),
    ] {
        let failed = house.call(method, data.clone()).await;
        assert_eq!(symbol(&failed), (400, "INVALID_REQUEST".to_owned()), "{method} {data}");
    }
    let mut past = license(&house.instance, json!(null));
    past["terms"] = json!([{"start": 0, "end": JAN_10}]);
    house.put("/licenses/K", &past).await;
    house.fails("begin_app_session", house.beginning(), "TERM_CLOSED").await;
    house.fails("extend_session", json!({"session_key": open}), "TERM_CLOSED").await;
}

#[tokio::test]
async fn what_is_of_another_instance_is_unknown() {
    let house = House::new().await;
    let session = house.session().await;
    let foreign = house.server.instance("Other").await;
    let token = house.server.client_token(&[&foreign]);
    let call = async |method: &str, data: Value| {
        let target = format!("POST /api/v3.2/auth/{method}");
        house.server.call(&token, &target, &data.to_string()).await
    };
    for (method, data, status, expected) in [
        ("register_instance", registration(), 200, "UNKNOWN_LICENSE"),
        ("begin_app_session", house.beginning(), 200, "UNKNOWN_INSTANCE"),
        (
            "check_out_license",
            with(house.beginning(), "duration", json!(5)),
            200,
            "UNKNOWN_INSTANCE",
        ),
        ("extend_session", json!({"session_key": session}), 200, "UNKNOWN_SESSION"),
        ("check_out_components", checkout(&session, json!("Mesher")), 200, "UNKNOWN_SESSION"),
        ("check_in_components", checkout(&session, json!("Mesher")), 200, "UNKNOWN_SESSION"),
        ("components_status", json!({"session_key": session}), 400, "UNKNOWN_SESSION"),
        ("end_session", json!({"session_key": session}), 200, "UNKNOWN_SESSION"),
        ("check_in_license", json!({"checkout_key": session}), 200, "UNKNOWN_SESSION"),
    ] {
        let answer = call(method, data).await;
        assert_eq!(symbol(&answer), (status, expected.to_owned()), "{method}");
    }
    // Nor is a session of components one of the first API.
    for target in [
        format!("GET /api/v1.1/sessions/{session}"),
        format!("POST /api/v1.1/sessions/{session}/heartbeat"),
        format!("DELETE /api/v1.1/sessions/{session}"),
    ] {
        let answer = house.server.admin(&target, "").await;
        assert_eq!(answer.outcome(), (404, "unknown-session".to_owned()), "{target}");
    }
    house.out(&session, json!("Mesher")).await;
}

#[tokio::test]
async fn a_checkout_under_a_key_spends_once_and_a_denial_is_kept() {
    let house = House::new().await;
    let session = house.session().await;
    let call = async |key: &str, components: &str| {
        let target = format!("POST /api/v3.1/auth/check_out_components\nidempotency-key: {key}");
        let body = checkout(&session, json!(components)).to_string();
        house.server.call(&house.token, &target, &body).await
    };
    let first = call("a", "Report").await;
    assert_eq!(first.json()["component_entitlements"][1]["tokens_in_use"], json!(5));
    let again = call("a", "Report").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("x-sequence"), first.header("x-sequence"));
    assert_eq!(call("b", "Report").await.json()["status"], json!(0));
    let denied = call("c", "Report").await;
    assert_eq!(symbol(&denied), (200, "TOKENS_SHORT".to_owned()));
    house.entitle("E2", &pool(&["Report"], json!(100), 0)).await;
    let again = call("c", "Report").await;
    assert_eq!(again.body, denied.body, "it stays as it was said");
    assert_eq!(again.header("content-type"), Some("application/json"));
    let reused = call("a", "Help").await;
    assert_eq!(symbol(&reused), (422, "INVALID_REQUEST".to_owned()));
    let end = "POST /api/v3.1/auth/end_session\nidempotency-key: end";
    let end = async || {
        let body = json!({"session_key": session}).to_string();
        house.server.call(&house.token, end, &body).await
    };
    assert_eq!(end().await.body, end().await.body);
    let closed = call("d", "Help").await;
    assert_eq!(symbol(&closed), (200, "SESSION_CLOSED".to_owned()));
    assert_eq!(call("d", "Help").await.body, closed.body);
    let bad = call("\u{e9}", "Help").await;
    assert_eq!(bad.outcome(), (400, "bad-idempotency-key".to_owned()));
}

/// Customers' tokens are signed by one key: their idempotency keys do not meet, though no header
/// names their instances.
#[tokio::test]
async fn customers_do_not_meet_under_one_key() {
    let house = House::new().await;
    let foreign = house.server.instance("Other").await;
    let other = house.server.client_token(&[&foreign]);
    let target = "POST /api/v3.0/auth/register_instance\nidempotency-key: 1";
    let body = registration().to_string();
    let own = house.server.call(&house.token, target, &body).await;
    assert_eq!(own.json()["status"], json!(0));
    let told = house.server.call(&other, target, &body).await;
    assert_eq!(symbol(&told), (200, "UNKNOWN_LICENSE".to_owned()), "{told:?}");
    let again = house.server.call(&house.token, target, &body).await;
    assert_eq!(again.body, own.body);
}

#[tokio::test]
async fn an_installation_that_is_recognised_keeps_its_guids() {
    let house = House::new().await;
    let known = (house.installation.clone(), house.user.clone());
    let guids = async |data: Value| {
        let answer = house.done("register_instance", data).await;
        (text(&answer, "/instance_guid"), text(&answer, "/user_guid"))
    };
    assert_eq!(guids(registration()).await, known);
    // One that would pass for it is registered too: it is not taken for the other.
    let first = guids(with(registration(), "instance_identity", json!({"host": "strict"}))).await;
    for number in 0..8 {
        let wide = json!({"host": number.to_string(), "_max_mismatch_count": 1});
        let wide = guids(with(registration(), "instance_identity", wide)).await;
        assert_ne!(wide.0, first.0);
        let again = with(registration(), "instance_identity", json!({"host": "strict"}));
        assert_eq!(guids(again).await, first);
    }
    let other_user = guids(with(registration(), "user_identity", json!({"login": "max"}))).await;
    assert_eq!(other_user.0, known.0);
    assert_ne!(other_user.1, known.1);
    let loose = json!({"_max_mismatch_count": 1, "host": "b", "disk": "1"});
    let loose = guids(with(registration(), "instance_identity", loose)).await;
    assert_ne!(loose.0, known.0);
    let later = json!({"host": "b", "disk": "2"});
    assert_eq!(guids(with(registration(), "instance_identity", later)).await.0, loose.0);
    let mut by_identity = house.beginning();
    by_identity["user_guid"].take();
    by_identity["user_identity"] = json!({"login": "max"});
    let session = text(&house.done("begin_app_session", by_identity).await, "/session_key");
    let holders = house.server.admin("GET /api/v1.1/licenses/K/holders", "").await.json();
    assert_eq!(text(&holders, "/holders/0/sessionKey"), session);
    assert_eq!(text(&holders, "/holders/0/userGuid"), other_user.1);
}

#[tokio::test]
async fn administration_sees_who_holds_and_who_waits_and_takes_back() {
    let house = House::new().await;
    let (holder, waiter) = (house.session().await, house.session().await);
    house.out(&holder, json!(["Mesher", "Solver", "Beta", "Viewer"])).await;
    let holders = house.server.admin("GET /api/v1.1/licenses/K/holders?size=1", "").await.json();
    let expected = json!({
        "sessionKey": holder, "instanceGuid": house.installation, "userGuid": house.user,
        "version": "4.2", "offline": false, "since": JAN_10, "until": JAN_10 + 7_776_000_000,
        "holds": [
            {"component": "Mesher", "pool": "K/E1", "tokens": 30, "since": JAN_10},
            {"component": "Solver", "pool": "K/E1", "tokens": 50, "since": JAN_10},
            {"component": "Beta", "pool": null, "tokens": 0, "since": JAN_10},
            {"component": "Viewer", "pool": "K/E3", "tokens": null, "since": JAN_10},
        ],
    });
    assert_eq!(holders["holders"], json!([expected]));
    let next = format!("GET /api/v1.1/licenses/K/holders?next={}", holders["next"]);
    let rest = house.server.admin(&next, "").await.json();
    assert_eq!((&rest["holders"][0]["sessionKey"], &rest["next"]), (&json!(waiter), &json!(0)));

    let waiting = with(checkout(&waiter, json!("Solver")), "wait_seconds", json!(60));
    let waiting = house.call("check_out_components", waiting);
    let revoking = async {
        let waiters = "GET /api/v1.1/licenses/K/waiters";
        let seen = loop {
            let seen = house.server.admin(waiters, "").await.json();
            if seen["waiters"] != json!([]) {
                break seen;
            }
            tokio::task::yield_now().await;
        };
        let expected = json!({
            "sessionKey": waiter, "component": "Solver", "pool": "K/E1", "tokens": 50,
            "since": JAN_10, "until": JAN_10 + 60_000,
        });
        assert_eq!(seen, json!({"waiters": [expected], "next": 0}));
        let revocation = format!("DELETE /api/v1.1/licenses/K/sessions/{holder}");
        assert_eq!(house.server.admin(&revocation, "").await.status, 204);
    };
    let (waited, ()) = tokio::join!(waiting, revoking);
    assert_eq!(waited.json()["status"], json!(0), "{waited:?}");
    house.fails("extend_session", json!({"session_key": holder}), "SESSION_REVOKED").await;

    house.out(&waiter, json!(["Report", "Help"])).await;
    house.done("check_in_components", checkout(&waiter, json!("Solver"))).await;
    let rows = house.server.admin("GET /api/v1.1/usage?limit=50", "").await.body;
    let types: Vec<String> = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"))
        .map(|row| format!("{} {} {}", text(&row, "/eventType"), row["item"], row["tokens"]))
        .collect();
    let expected = [
        r#"CHECKOUT "Mesher" 30"#,
        r#"CHECKOUT "Solver" 50"#,
        r#"CHECKOUT "Beta" 0"#,
        r#"CHECKOUT "Viewer" 0"#,
        r#"RELEASE "Mesher" -30"#,
        r#"RELEASE "Solver" -50"#,
        r#"RELEASE "Beta" 0"#,
        r#"RELEASE "Viewer" 0"#,
        r#"CHECKOUT "Solver" 50"#,
        r#"CONSUMPTION "Report" 5"#,
        r#"CHECKOUT "Help" 0"#,
        r#"RELEASE "Solver" -50"#,
    ];
    assert_eq!(types, expected);
}

#[tokio::test]
async fn what_is_licensed_is_saved_read_paged_and_deleted() {
    let house = House::new().await;
    let admin = async |target: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (method, path) = target.split_once(' ').expect("a method and a path");
        house.server.admin(&format!("{method} /provisioning/api/v1.1{path}"), &body).await
    };
    let fractions = json!({
        "licenseModel": "token", "tokensRequired": 0.300_000_001, "freeTrialExpiration": null,
    });
    let saved = admin("PUT /products/P/components/a%2Fb", fractions).await;
    let shown = r#"{"name":"a/b","licenseModel":"token","tokensRequired":0.300000001,"freeTrialExpiration":null}"#;
    assert_eq!(saved.body, shown);
    assert_eq!(admin("GET /products/P/components/a%2Fb", json!(null)).await.body, shown);
    let saved = admin("PUT /licenses/K", license(&house.instance, json!(7))).await;
    let read = admin("GET /licenses/K", json!(null)).await;
    assert_eq!((saved.json()["concurrentSessions"].clone(), saved.body), (json!(7), read.body));

    // Pages: in order of creation, each entry once.
    for (path, list, member, expected) in [
        (
            "/products/P/components",
            "components",
            "name",
            "Mesher Solver Beta Report Viewer Editor Help a/b",
        ),
        ("/licenses/K/entitlements", "entitlements", "entitlementId", "E1 E2 E3"),
        ("/products", "products", "productGuid", "P"),
    ] {
        let (mut names, mut next) = (Vec::new(), json!(0));
        loop {
            let page = admin(&format!("GET {path}?size=2&next={next}"), json!(null)).await.json();
            let entries = page[list].as_array().expect("a list").clone();
            assert!((1..=2).contains(&entries.len()), "{page}");
            names.extend(entries.iter().map(|entry| text(entry, &format!("/{member}"))));
            next = page["next"].clone();
            if next == json!(0) {
                break;
            }
        }
        assert_eq!(names.join(" "), expected);
    }
    let target = format!("GET /licenses?instanceId={}", house.instance);
    let listed = admin(&target, json!(null)).await.json();
    assert_eq!(listed["licenses"].as_array().map(Vec::len), Some(1));

    let other = house.server.instance("Other").await;
    let session = house.session().await;
    house.out(&session, json!("Mesher")).await;
    let (long, nothing) = ("k".repeat(101), || json!(null));
    for (target, body, status, code) in [
        ("GET /licenses", nothing(), 400, "bad-query"),
        ("GET /products/Q", nothing(), 404, "unknown-product"),
        ("GET /products/P/components/Q", nothing(), 404, "unknown-component"),
        ("GET /products/Q/components", nothing(), 404, "unknown-product"),
        ("GET /licenses/L", nothing(), 404, "unknown-license"),
        ("GET /licenses/K/entitlements/E9", nothing(), 404, "unknown-entitlement"),
        ("GET /licenses/L/holders", nothing(), 404, "unknown-license"),
        ("GET /licenses/L/waiters", nothing(), 404, "unknown-license"),
        ("DELETE /licenses/K/sessions/x", nothing(), 404, "unknown-session"),
        (&format!("DELETE /licenses/L/sessions/{session}"), nothing(), 404, "unknown-license"),
        ("DELETE /products/Q", nothing(), 404, "unknown-product"),
        ("DELETE /products/P", nothing(), 409, "in-use"),
        ("DELETE /products/P/components/Mesher", nothing(), 409, "in-use"),
        ("DELETE /products/P/components/Q", nothing(), 404, "unknown-component"),
        ("DELETE /licenses/K", nothing(), 409, "in-use"),
        ("DELETE /licenses/K/entitlements/E1", nothing(), 409, "in-use"),
        ("DELETE /licenses/K/entitlements/E9", nothing(), 404, "unknown-entitlement"),
        ("PUT /licenses/K", license(&other, json!(1)), 409, "license-fixed"),
        (
            "PUT /licenses/L",
            with(license(&other, json!(1)), "productGuid", json!("Q")),
            404,
            "unknown-product",
        ),
        ("PUT /licenses/L", license("nowhere", json!(1)), 404, "unknown-instance"),
        (&format!("PUT /licenses/{long}"), license(&other, json!(1)), 400, "too-long"),
        (&format!("PUT /licenses/K/entitlements/{long}"), pool(&[], json!(1), 1), 400, "too-long"),
        ("PUT /licenses/K/entitlements/E4", pool(&["Q"], json!(1), 1), 404, "unknown-component"),
        ("PUT /licenses/L/entitlements/E4", pool(&[], json!(1), 1), 404, "unknown-license"),
        ("PUT /products/P", json!({"name": "x", "guid": "P"}), 400, "unknown-field"),
    ] {
        let answer = admin(target, body).await;
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{target}: {answer:?}");
    }
    for target in ["DELETE /licenses/K/entitlements/E2", "DELETE /products/P/components/Report"] {
        assert_eq!(admin(target, nothing()).await.status, 204, "{target}");
    }
}

/// A vanished waiter never gets what it waited for.
#[tokio::test]
async fn who_goes_away_has_left_the_line() {
    let house = House::new().await;
    let (holder, waiter) = (house.session().await, house.session().await);
    house.out(&holder, json!(["Mesher", "Solver"])).await;
    let waiters = async || {
        let seen = house.server.admin("GET /api/v1.1/licenses/K/waiters", "").await.json();
        seen["waiters"].as_array().map_or(0, Vec::len)
    };
    let body = with(checkout(&waiter, json!("Solver")), "wait_seconds", json!(60)).to_string();
    let head = format!(
        "POST /api/v3.2/auth/check_out_components\nauthorization: Bearer {}\ncontent-type: application/json",
        house.token
    );
    let mut client = house.server.connect().await;
    client.send(bytes_of(&head, &body).as_bytes()).await;
    while waiters().await == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    for _ in 0..10_000 {
        if waiters().await == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(waiters().await, 0, "it still waits");
    house.done("end_session", json!({"session_key": holder})).await;
    let status = house.done("components_status", json!({"session_key": waiter})).await;
    assert_eq!(status["component_entitlements"][0]["tokens_in_use"], json!(0));
}
