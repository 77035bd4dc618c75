//! Component licensing over a socket: the specification's worked examples (components 8), as the JSON
//! that clients see. Everything else about it is in `licensing.rs`.

use farebox::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::http_client::Answer;
use crate::server::{TestServer, start_with_test_clock, text};
use crate::{asking, in_session};

/// 2030-01-10T09:00:00Z
pub(crate) const JAN_10: u64 = 1_894_266_000_000;
const DAY: u64 = 86_400_000;
const JAN_15: u64 = JAN_10 + 5 * DAY;
const JAN_31: u64 = 1_896_048_000_000;
const MAR_1: u64 = 1_898_553_600_000;
const YEAR: [u64; 2] = [1_893_456_000_000, 1_924_991_999_999];

/// A server on which the examples' product is licensed, and an installation that is registered.
pub(crate) struct House {
    pub(crate) server: TestServer,
    pub(crate) instance: String,
    pub(crate) token: String,
    pub(crate) installation: String,
    pub(crate) user: String,
}

/// The usual licence, with this limit of sessions.
pub(crate) fn license(instance: &str, concurrent: Value) -> Value {
    json!({
        "productGuid": "P", "instanceId": instance, "terms": [{"start": YEAR[0], "end": YEAR[1]}],
        "concurrentSessions": concurrent, "features": [], "sessionDuration": 7_776_000,
        "gracePeriod": 3_600,
    })
}

/// An entitlement with a pool of its own.
pub(crate) fn pool(components: &[&str], tokens: Value, sessions: u64) -> Value {
    json!({"components": components, "tokens": tokens, "sessions": sessions})
}

impl House {
    pub(crate) async fn new() -> House {
        House::at(JAN_10, json!(null)).await
    }

    async fn at(start: u64, concurrent: Value) -> House {
        let server = start_with_test_clock(Timestamp::from_ms(start)).await;
        let instance = server.instance("ACME").await;
        let token = server.client_token(&[&instance]);
        let (installation, user) = (String::new(), String::new());
        let mut house = House { server, instance, token, installation, user };
        house.put("/products/P", &json!({"name": "Mesh Studio"})).await;
        for (name, model, price, trial) in [
            ("Mesher", "token", 30, json!(null)),
            ("Solver", "token", 50, json!(null)),
            ("Beta", "token", 40, json!(JAN_31)),
            ("Report", "consumable token", 5, json!(null)),
            ("Viewer", "session", 0, json!(null)),
            ("Editor", "session", 0, json!(null)),
            ("Help", "none", 0, json!(null)),
        ] {
            let body = json!({
                "licenseModel": model, "tokensRequired": price, "freeTrialExpiration": trial,
            });
            house.put(&format!("/products/P/components/{name}"), &body).await;
        }
        house.put("/licenses/K", &license(&house.instance, concurrent)).await;
        house.entitle("E1", &pool(&["Mesher", "Solver", "Beta"], json!(100), 0)).await;
        house.entitle("E2", &pool(&["Report"], json!(12), 0)).await;
        house.entitle("E3", &pool(&["Viewer", "Editor"], json!(0), 2)).await;
        let registered = house.done("register_instance", registration()).await;
        house.installation = text(&registered, "/instance_guid");
        house.user = text(&registered, "/user_guid");
        house
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Value {
        let target = format!("PUT /provisioning/api/v1.0{path}");
        let answer = self.server.admin(&target, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(crate) async fn entitle(&self, id: &str, body: &Value) {
        self.put(&format!("/licenses/K/entitlements/{id}"), body).await;
    }

    /// A call of the client.
    pub(crate) async fn call(&self, method: &str, data: Value) -> Answer {
        let target = format!("POST /api/v3.2/auth/{method}");
        self.server.call(&self.token, &target, &data.to_string()).await
    }

    /// One that goes well.
    pub(crate) async fn done(&self, method: &str, data: Value) -> Value {
        let answer = self.call(method, data).await;
        let json = answer.json();
        assert_eq!((answer.status, json.get("code")), (200, None), "{method}: {answer:?}");
        json
    }

    /// One that fails with this symbol; HTTP says 200.
    pub(crate) async fn fails(&self, method: &str, data: Value, symbol: &str) -> Value {
        let answer = self.call(method, data).await;
        let json = answer.json();
        let told = (answer.status, json.get("code"), json.get("success"));
        let expected = (200, Some(&json!(symbol)), Some(&json!(false)));
        assert_eq!(told, expected, "{method}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
        json
    }

    pub(crate) fn beginning(&self) -> Value {
        json!({
            "product_guid": "P", "instance_guid": self.installation, "user_guid": self.user,
            "version": "4.2",
        })
    }

    pub(crate) async fn session(&self) -> String {
        text(&self.done("begin_app_session", self.beginning()).await, "/session_key")
    }

    pub(crate) async fn out(&self, session: &str, components: Value) -> Value {
        self.done("check_out_components", checkout(session, components)).await
    }

    async fn short(&self, session: &str, components: Value, symbol: &str) -> Value {
        self.fails("check_out_components", checkout(session, components), symbol).await
    }

    /// Tokens in use, those by the session, seats in use, and whether the session has one.
    async fn view(&self, session: &str, entitlement: usize) -> (Value, Value, Value, Value) {
        let status = self.done("components_status", json!({"session_key": session})).await;
        let one = status.pointer(&format!("/component_entitlements/{entitlement}"));
        let member = |name: &str| one.and_then(|one| one.get(name)).cloned().unwrap_or_default();
        (
            member("tokens_in_use"),
            member("tokens_in_use_by_session"),
            member("sessions_in_use"),
            member("in_use_by_session"),
        )
    }
}

pub(crate) fn registration() -> Value {
    json!({
        "product_guid": "P", "license_key": "K", "instance_identity": {"host": "pc"},
        "user_identity": {"login": "lisa"},
    })
}

pub(crate) fn checkout(session: &str, components: Value) -> Value {
    json!({"session_key": session, "components": components})
}

fn view(tokens: u64, own: u64, seats: u64, has_one: bool) -> (Value, Value, Value, Value) {
    (json!(tokens), json!(own), json!(seats), json!(has_one))
}

/// X1, as it is printed.
const X1: &str = r#"{"status":0,"time":"2030-01-10T09:00:00Z",
 "components":[
  {"name":"Mesher","license_model":"token","tokens_required":30,"free_trial":false,"original_tokens_required":30},
  {"name":"Solver","license_model":"token","tokens_required":50,"free_trial":false,"original_tokens_required":50},
  {"name":"Beta","license_model":"token","tokens_required":0,"free_trial":true,"free_trial_expiration":"2030-01-31T00:00:00Z","original_tokens_required":40},
  {"name":"Report","license_model":"consumable token","tokens_required":5,"free_trial":false,"original_tokens_required":5},
  {"name":"Viewer","license_model":"session","tokens_required":0,"free_trial":false,"original_tokens_required":0},
  {"name":"Editor","license_model":"session","tokens_required":0,"free_trial":false,"original_tokens_required":0},
  {"name":"Help","license_model":"none","tokens_required":0,"free_trial":false,"original_tokens_required":0}],
 "component_entitlements":[
  {"components":["Mesher","Solver","Beta"],"tokens_entitled":100,"tokens_in_use":30,"tokens_in_use_by_session":30,"sessions_entitled":0,"sessions_in_use":0,"in_use_by_session":false},
  {"components":["Report"],"tokens_entitled":12,"tokens_in_use":0,"tokens_in_use_by_session":0,"sessions_entitled":0,"sessions_in_use":0,"in_use_by_session":false},
  {"components":["Viewer","Editor"],"tokens_entitled":0,"tokens_in_use":0,"tokens_in_use_by_session":0,"sessions_entitled":2,"sessions_in_use":0,"in_use_by_session":false}]}"#;

/// X3, as it is printed, at that time.
const X3: &str = r#"{"status":1052,"success":false,"time":"2030-01-10T09:00:00Z","error":"insufficient tokens for component Solver: 50 required, 20 available","code":"TOKENS_SHORT"}"#;

fn printed(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[tokio::test]
async fn x1_to_x9_components_are_checked_out_and_come_back_with_the_session() {
    let house = House::new().await;
    let (s1, s2, s3) = (house.session().await, house.session().await, house.session().await);
    assert_eq!(house.out(&s1, json!("Mesher")).await, printed(X1), "X1");
    house.out(&s2, json!(["Solver"])).await;
    assert_eq!(house.view(&s2, 0).await, view(80, 50, 0, false), "X2");
    assert_eq!(house.view(&s1, 0).await, view(80, 30, 0, false), "X2");

    let short = house.short(&s1, json!(["Solver"]), "TOKENS_SHORT").await;
    assert_eq!(short, printed(X3), "X3");
    assert_eq!(house.view(&s1, 0).await, view(80, 30, 0, false), "X3");
    let short = house.short(&s1, json!(["Viewer", "Solver"]), "TOKENS_SHORT").await;
    assert_eq!(short, printed(X3), "X4");
    assert_eq!(house.view(&s1, 2).await, view(0, 0, 0, false), "X4");
    house.out(&s1, json!(["Mesher", "Mesher"])).await;
    assert_eq!(house.view(&s1, 0).await, view(80, 30, 0, false), "X5");

    for component in ["Viewer", "Editor"] {
        house.out(&s1, json!([component])).await;
        assert_eq!(house.view(&s1, 2).await, view(0, 0, 1, true), "X6 {component}");
    }
    house.out(&s2, json!(["Editor"])).await;
    assert_eq!(house.view(&s2, 2).await, view(0, 0, 2, true), "X6");
    house.short(&s3, json!(["Viewer"]), "SEATS_SHORT").await;
    assert_eq!(house.view(&s3, 2).await, view(0, 0, 2, false), "X6");

    for tokens in [5, 10] {
        house.out(&s1, json!(["Report"])).await;
        assert_eq!(house.view(&s1, 1).await, view(tokens, tokens, 0, false), "X7");
    }
    let short = house.short(&s1, json!(["Report"]), "TOKENS_SHORT").await;
    assert!(text(&short, "/error").ends_with("5 required, 2 available"), "X7 {short}");
    assert_eq!(house.view(&s1, 1).await, view(10, 10, 0, false), "X7");

    let ended = json!({"status": 0, "success": true, "time": "2030-01-10T09:00:00Z"});
    for again in [false, true] {
        let said = house.done("end_session", json!({"session_key": s1})).await;
        assert_eq!(said, ended, "X8 {again}");
    }
    let after = [view(50, 50, 0, false), view(10, 0, 0, false), view(0, 0, 1, true)];
    for (entitlement, expected) in after.into_iter().enumerate() {
        assert_eq!(house.view(&s2, entitlement).await, expected, "X8");
    }
    let closed = house.short(&s1, json!(["Mesher"]), "SESSION_CLOSED").await;
    assert_eq!(closed["status"], json!(1041), "X8");
    let before = house.done("components_status", json!({"session_key": s3})).await;
    house.out(&s3, json!(["Help"])).await;
    let after = house.done("components_status", json!({"session_key": s3})).await;
    assert_eq!(after, before, "X9");
}

/// E1, the entitlement of the components with tokens.
async fn limit_e1(house: &House, tokens: Value) {
    house.entitle("E1", &pool(&["Mesher", "Solver", "Beta"], tokens, 0)).await;
}

#[tokio::test]
async fn x10_x12_x14_trials_end_and_limits_move_while_components_are_held() {
    let house = House::new().await;
    let (s2, s3) = (house.session().await, house.session().await);
    house.out(&s2, json!(["Solver"])).await;
    house.server.move_to(JAN_15).await;
    house.out(&s3, json!(["Beta"])).await;
    assert_eq!(house.view(&s3, 0).await, view(50, 0, 0, false), "X10");
    house.server.move_to(JAN_31 - 1).await;
    let beta = async |house: &House| {
        let status = house.done("components_status", json!({"session_key": s3})).await;
        status["components"][2].clone()
    };
    assert_eq!(beta(&house).await["free_trial"], json!(true), "X10");
    house.server.move_to(JAN_31).await;
    let expected = json!({
        "name": "Beta", "license_model": "token", "tokens_required": 40, "free_trial": false,
        "original_tokens_required": 40,
    });
    assert_eq!(beta(&house).await, expected, "X10");
    house.server.move_to(JAN_31 + DAY).await;
    let s4 = house.session().await;
    house.out(&s4, json!(["Beta"])).await;
    assert_eq!(house.view(&s4, 0).await, view(90, 40, 0, false), "X10");
    assert_eq!(house.view(&s3, 0).await, view(90, 0, 0, false), "X10");
    house.out(&s3, json!(["Beta"])).await;
    assert_eq!(house.view(&s3, 0).await, view(90, 0, 0, false), "X10");
    let short = house.short(&s4, json!(["Mesher"]), "TOKENS_SHORT").await;
    assert!(text(&short, "/error").ends_with("30 required, 10 available"), "X10 {short}");

    limit_e1(&house, json!(null)).await;
    let e1 = &house.out(&s4, json!(["Mesher", "Solver"])).await["component_entitlements"][0];
    let expected = json!({
        "components": ["Mesher", "Solver", "Beta"], "tokens_entitled": null, "tokens_in_use": 170,
        "tokens_in_use_by_session": 120, "sessions_entitled": 0, "sessions_in_use": 0,
        "in_use_by_session": false,
    });
    assert_eq!(*e1, expected, "X12");

    limit_e1(&house, json!(60)).await;
    let status = house.done("components_status", json!({"session_key": s2})).await;
    let e1 = &status["component_entitlements"][0];
    let shown = (&e1["tokens_entitled"], &e1["tokens_in_use"]);
    assert_eq!(shown, (&json!(60), &json!(170)), "X14");
    let short = house.short(&s3, json!(["Mesher"]), "TOKENS_SHORT").await;
    assert!(text(&short, "/error").ends_with("30 required, 0 available"), "X14 {short}");
    house.done("end_session", json!({"session_key": s4})).await;
    assert_eq!(house.view(&s2, 0).await, view(50, 50, 0, false), "X14");
    let short = house.short(&s3, json!(["Mesher"]), "TOKENS_SHORT").await;
    assert!(text(&short, "/error").ends_with("30 required, 10 available"), "X14 {short}");
}

#[tokio::test]
async fn x11_a_session_lapses_at_its_instant_and_what_it_held_is_free() {
    const TEN: u64 = JAN_10 + 3_600_000;
    let house = House::new().await;
    house.server.move_to(TEN).await;
    let mut beginning = house.beginning();
    beginning["duration"] = json!(600);
    let begun = house.done("begin_app_session", beginning).await;
    assert_eq!(begun["session_duration"], json!(600));
    assert_eq!(begun["grace_period_for_validation_failures"], json!(3_600));
    assert_eq!(begun["components"].as_array().map(Vec::len), Some(7));
    let (s5, other) = (text(&begun, "/session_key"), house.session().await);
    house.out(&s5, json!("Mesher")).await;
    house.server.move_to(TEN + 480_000).await;
    let extended = house.done("extend_session", json!({"session_key": s5, "duration": 600})).await;
    let expected = json!({
        "status": 0, "time": "2030-01-10T10:08:00Z", "session_duration": 600, "features": [],
        "grace_period_for_validation_failures": 3_600,
    });
    assert_eq!(extended, expected);
    house.server.move_to(TEN + 1_079_500).await;
    let nearly = house.out(&s5, json!("Mesher")).await;
    assert_eq!(nearly["time"], json!("2030-01-10T10:17:59.500Z"));
    assert_eq!(house.view(&other, 0).await, view(30, 0, 0, false));
    house.server.move_to(TEN + 1_080_000).await;
    house.short(&s5, json!("Mesher"), "SESSION_LAPSED").await;
    assert_eq!(house.view(&other, 0).await, view(0, 0, 0, false));
}

#[tokio::test]
async fn x13_a_status_call_that_fails_is_a_bad_request() {
    let house = House::new().await;
    let answer = house.call("components_status", json!({"session_key": "nope"})).await;
    let expected = json!({
        "status": 1040, "success": false, "time": "2030-01-10T09:00:00Z",
        "error": "there is no such session: begin one", "code": "UNKNOWN_SESSION",
    });
    assert_eq!((answer.status, answer.json()), (400, expected));
}

#[tokio::test]
async fn x15_a_license_is_taken_out_with_the_seat_of_a_session() {
    let house = House::at(MAR_1, json!(2)).await;
    let (a, b) = (house.session().await, house.session().await);
    house.fails("begin_app_session", house.beginning(), "LICENSE_FULL").await;
    let mut taking = house.beginning();
    (taking["duration"], taking["session_key"]) = (json!(86_400), json!(a));
    let mut taken = house.done("check_out_license", taking).await;
    let key = taken["checkout_key"].take();
    let expected = json!({
        "status": 0, "time": "2030-03-01T00:00:00Z", "checkout_key": null,
        "expiration_time": "2030-03-02T00:00:00Z", "features": [],
    });
    assert_eq!(taken, expected);
    house.fails("begin_app_session", house.beginning(), "LICENSE_FULL").await;
    house.done("end_session", json!({"session_key": a})).await;
    let full = house.fails("begin_app_session", house.beginning(), "LICENSE_FULL").await;
    assert_eq!(full["status"], json!(1031));
    let returned = house.done("check_in_license", json!({"checkout_key": key})).await;
    assert_eq!(returned, json!({"status": 0, "time": "2030-03-01T00:00:00Z"}));
    let c = house.session().await;
    house.fails("begin_app_session", house.beginning(), "LICENSE_FULL").await;
    for session in [b, c] {
        house.done("end_session", json!({"session_key": session})).await;
    }
}

/// The mixed example of components 7.4: one line item for components and for access requests.
#[tokio::test]
async fn one_line_item_serves_components_and_access_requests() {
    let house = House::new().await;
    house.server.publish_p().await;
    house.server.line_item(&house.instance, 1, 100).await;
    let drawn = json!({"components": ["Mesher", "Solver", "Beta"], "activationId": "ACT01"});
    house.entitle("E1", &drawn).await;
    let balance = async || {
        let target = format!("GET /api/v1.1/instances/{}/line-items/ACT01", house.instance);
        let shown = house.server.admin(&target, "").await.json();
        (shown["used"].to_string(), shown.get("held").map_or("-".to_owned(), Value::to_string))
    };
    let pair = |used: &str, held: &str| (used.to_owned(), held.to_owned());
    let (first, second) = (house.session().await, house.session().await);
    house.out(&first, json!("Mesher")).await;
    assert_eq!(balance().await, pair("0", "30"));
    let access = format!("POST /api/v1.1/instances/{}/access-request", house.instance);
    let items = [("PhotoPrint", "1.0", "10"), ("CADPrint", "2.0", "2")];
    assert_eq!(house.server.admin(&access, &asking(&items)).await.status, 200);
    assert_eq!(balance().await, pair("44", "30"));
    let short = house.short(&second, json!("Solver"), "TOKENS_SHORT").await;
    assert!(text(&short, "/error").ends_with("50 required, 26 available"), "{short}");
    house.done("end_session", json!({"session_key": first})).await;
    let after = house.out(&second, json!("Solver")).await;
    assert_eq!(balance().await, pair("44", "50"));
    let expected = json!({
        "components": ["Mesher", "Solver", "Beta"], "tokens_entitled": 100, "tokens_in_use": 94,
        "tokens_in_use_by_session": 50, "sessions_entitled": 0, "sessions_in_use": 0,
        "in_use_by_session": false,
    });
    assert_eq!(after["component_entitlements"][0], expected);

    let created = json!({"instanceId": house.instance}).to_string();
    let created = house.server.admin("POST /api/v1.1/sessions", &created).await.json();
    let session = format!("/api/v1.1/sessions/{}", text(&created, "/sessionId"));
    let put = async |count: &str| {
        let set = in_session(&asking(&[("PhotoPrint", "1.0", count)]), "true");
        let answer = house.server.admin(&format!("PUT {session}"), &set).await.json();
        text(&answer, "/requestedItems/0/status/code")
    };
    assert_eq!((put("3").await.as_str(), put("2").await.as_str()), ("3006", "1001"));
    assert_eq!(balance().await, pair("50", "50"));
    house.server.move_to(JAN_10 + 45 * 60_000).await;
    assert_eq!(house.server.admin(&format!("DELETE {session}"), "").await.status, 200);
    assert_eq!(balance().await, pair("48.5", "50"));
}
