//! The authorization matrix (spec 9; P8 and table D of the promises): every route, every kind of
//! caller, and objects of its own, of another and of nobody. What is refused changes nothing, and
//! does not tell what is another's from what does not exist.

use std::collections::{BTreeMap, BTreeSet};

use farebox::auth::{Role, generate_key_pair};
use farebox::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::http_client::Answer;
use crate::matrix_rows::{Case, Foreign, Nobodys, Own, Row, Whose, rows};
use crate::openapi::{self, assert_described};
use crate::server::{TestServer, line_item, signed, signed_at, start_with_test_clock, text};
use crate::sessions_in_time::START;
use crate::{asking, in_session};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Administration,
    /// A client whose token names its own instance.
    Client,
    /// A client whose token names the foreign instance too.
    ClientOfBoth,
    Nobody,
    /// The client, long ago.
    Expired,
    /// Somebody with a key of his own who calls himself as the administrator is called.
    Impostor,
    /// The client, whose token claims to be administration's.
    Usurper,
}

const KNOWN: [Caller; 3] = [Caller::Administration, Caller::Client, Caller::ClientOfBoth];
const UNKNOWN: [Caller; 4] = [Caller::Nobody, Caller::Expired, Caller::Impostor, Caller::Usurper];

/// A thing of each kind, and what names none: all names of a kind are of the same length.
struct Things {
    instance: String,
    live: &'static str,
    obsolete: &'static str,
    condition: String,
    session: String,
    key: &'static str,
    version: &'static str,
    licensed: Licensed,
}

/// The same of component licensing.
struct Licensed {
    license: String,
    /// Without entitlements and sessions.
    spare_license: String,
    entitlement: &'static str,
    /// Of which nothing is held.
    spare_entitlement: &'static str,
    product: &'static str,
    spare_product: &'static str,
    component: &'static str,
    spare_component: &'static str,
    installation: String,
    lease: String,
    checkout: String,
}

/// What components are licensed from.
async fn products(server: &TestServer) {
    let put = async |path: &str, body: &str| {
        let answer = server.admin(&format!("PUT /api/v1.1{path}"), body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    };
    put("/products/P", r#"{"name":"P"}"#).await;
    put("/products/GONE", r#"{"name":"G"}"#).await;
    for (name, model) in [("Mesher", "token"), ("Report", "consumable token"), ("Gone", "token")] {
        let body = json!({"licenseModel": model, "tokensRequired": 1, "freeTrialExpiration": null});
        put(&format!("/products/P/components/{name}"), &body.to_string()).await;
    }
}

/// A licence with a session that holds something, one that is taken out, and a spare one.
async fn licensed(server: &TestServer, instance: &str, name: &str) -> Licensed {
    let done = async |target: String, body: Value| {
        let answer = server.admin(&target, &body.to_string()).await;
        let json = answer.json();
        assert_eq!((answer.status, json.get("code")), (200, None), "{target}: {answer:?}");
        json
    };
    let (license, spare_license) = (format!("LIC-{name}"), format!("GON-{name}"));
    for key in [&license, &spare_license] {
        let terms = json!({
            "productGuid": "P", "instanceId": instance, "concurrentSessions": 9, "features": [],
            "terms": [{"start": 0, "end": 253_402_300_799_999_u64}], "sessionDuration": 360_000,
            "gracePeriod": 0,
        });
        done(format!("PUT /api/v1.1/licenses/{key}"), terms).await;
    }
    for (id, components) in [("E1", json!(["Mesher", "Report"])), ("E2", json!([]))] {
        let body = json!({"components": components, "tokens": 100, "sessions": 0});
        done(format!("PUT /api/v1.1/licenses/{license}/entitlements/{id}"), body).await;
    }
    let call =
        async |method: &str, data: Value| done(format!("POST /api/v3.2/auth/{method}"), data).await;
    let registration = json!({
        "product_guid": "P", "license_key": license, "instance_identity": {"host": name},
        "user_identity": {"login": "lisa"},
    });
    let installation = text(&call("register_instance", registration).await, "/instance_guid");
    let beginning = json!({
        "product_guid": "P", "instance_guid": installation, "version": "1",
        "user_identity": {"login": "lisa"}, "duration": 360_000,
    });
    let lease = text(&call("begin_app_session", beginning.clone()).await, "/session_key");
    call("check_out_components", json!({"session_key": lease, "components": "Mesher"})).await;
    let checkout = text(&call("check_out_license", beginning).await, "/checkout_key");
    Licensed {
        license,
        spare_license,
        entitlement: "E1",
        spare_entitlement: "E2",
        product: "P",
        spare_product: "GONE",
        component: "Mesher",
        spare_component: "Gone",
        installation,
        lease,
        checkout,
    }
}

struct World {
    server: TestServer,
    things: [Things; 3],
    tokens: BTreeMap<Caller, String>,
}

impl World {
    /// Two instances with a session each, whose clients should be heard of now.
    async fn new() -> World {
        let server = start_with_test_clock(Timestamp::from_ms(START)).await;
        server.publish_p().await;
        let future = r#"{"effectiveFrom":7258118400000,"series":"P","version":"2","items":[{"name":"A","rate":1}]}"#;
        assert_eq!(server.admin("POST /api/v1.1/rate-tables", future).await.status, 201);
        for class in ["administration-keys", "client-keys"] {
            let pem = generate_key_pair().expect("a key pair").public_pem;
            let keys = json!([{"id": "spare", "publicKey": pem}]).to_string();
            let saved = server.admin(&format!("PUT /api/v1.1/{class}"), &keys).await;
            assert_eq!(saved.status, 200, "{saved:?}");
        }
        products(&server).await;
        let own = Things { version: "2", ..things(&server, "LIVE-OWN", "GONE-OWN").await };
        let foreign = Things { version: "1", ..things(&server, "LIVE-FOR", "GONE-FOR").await };
        server.move_to(START + 61 * 60_000).await;
        let unknown = |digit: &str| format!("64d2028c-ae87-4069-a624-66089d957ef{digit}");
        let nobodys = Things {
            instance: unknown("1"),
            live: "LIVE-NIL",
            obsolete: "GONE-NIL",
            condition: unknown("2"),
            session: unknown("3"),
            key: "nokey",
            version: "9",
            licensed: Licensed {
                license: "LIC-LIVE-NIL".to_owned(),
                spare_license: "GON-LIVE-NIL".to_owned(),
                entitlement: "E9",
                spare_entitlement: "E9",
                product: "N",
                spare_product: "NONE",
                component: "Nobody",
                spare_component: "None",
                installation: unknown("4"),
                lease: unknown("5"),
                checkout: unknown("6"),
            },
        };
        let (mine, both) = ([own.instance.as_str()], [own.instance.as_str(), &foreign.instance]);
        let (key, stranger) = (&server.client_key, generate_key_pair().expect("a key pair"));
        let long_ago = Timestamp::from_ms(START);
        let tokens = [
            (Caller::Administration, server.admin_token.clone()),
            (Caller::Client, server.client_token(&mine)),
            (Caller::ClientOfBoth, server.client_token(&both)),
            (Caller::Expired, signed_at(long_ago, key, "client-key", Role::Client, &mine)),
            (Caller::Impostor, signed(&stranger, "administration-key", Role::Administration, &[])),
            (Caller::Usurper, signed(key, "client-key", Role::Administration, &[])),
        ];
        World { server, things: [own, foreign, nobodys], tokens: BTreeMap::from(tokens) }
    }

    fn of(&self, whose: Whose) -> &Things {
        let [own, foreign, nobodys] = &self.things;
        match whose {
            Own => own,
            Foreign => foreign,
            Nobodys => nobodys,
        }
    }

    /// Method, path and headers of a call, and its body.
    fn target(&self, row: &Row, case: &Case) -> (String, String) {
        let (instance, thing) = (&self.of(case.instance).instance, self.of(case.thing));
        let deletes = row.route.starts_with("DELETE") && row.route.ends_with("{lineItemId}");
        let line_item = if deletes { thing.obsolete } else { thing.live };
        let (method, path) = row.route.split_once(' ').expect("a method and a path");
        let (of, in_it) = (&self.of(case.instance).licensed, &thing.licensed);
        let last = if method == "DELETE" { path.rsplit('/').next() } else { None };
        let license = match last {
            Some("{licenseKey}") => &of.spare_license,
            _ => &of.license,
        };
        let entitlement = match row.is_change() {
            true => in_it.spare_entitlement,
            false => in_it.entitlement,
        };
        // A component is missed in a product that is there.
        let is_of_product = path.ends_with("{name}") && method != "PUT";
        let product = if is_of_product { "P" } else { in_it.product };
        let product = if last == Some("{productGuid}") { in_it.spare_product } else { product };
        let component = match row.is_change() {
            true => in_it.spare_component, // No licence shows it.
            false => in_it.component,
        };
        let mut target = format!("{method} {}{path}{}", prefix(path), row.query)
            .replace("{licenseKey}", license)
            .replace("{entitlementId}", entitlement)
            .replace("{productGuid}", product)
            .replace("{name}", component)
            .replace("{sessionKey}", &in_it.lease)
            .replace("{instanceId}", instance)
            .replace("{lineItemId}", line_item)
            .replace("{conditionId}", &thing.condition)
            .replace("{sessionId}", &thing.session)
            .replace("{keyId}", thing.key)
            .replace("$I", instance)
            .replace("$V", thing.version);
        if let Some(header) = case.header {
            target += &format!("\nx-instance-id: {}", self.of(header).instance);
        }
        let body = row.body.replace("$I", instance).replace("$L", thing.live);
        let body = body.replace("$G", &in_it.installation).replace("$K", &in_it.license);
        (target, body.replace("$S", &in_it.lease).replace("$O", &in_it.checkout))
    }

    async fn call(&self, caller: Caller, row: &Row, case: &Case) -> Answer {
        let (target, body) = self.target(row, case);
        match self.tokens.get(&caller) {
            Some(token) => self.server.call(token, &target, &body).await,
            None => {
                let head = format!("{target}\ncontent-type: application/json");
                self.server.connect().await.request(&head, &body).await
            }
        }
    }

    fn records(&self) -> u64 {
        self.server.broker.journal().durable().get()
    }

    /// Everything of an instance that a call could change.
    async fn state_of(&self, whose: Whose) -> Vec<String> {
        let Things { instance, session, licensed: Licensed { license, lease, .. }, .. } =
            self.of(whose);
        let mut state = Vec::new();
        for path in [
            format!("/instances/{instance}/line-items"),
            format!("/instances/{instance}/line-items/actions"),
            format!("/instances/{instance}/conditions"),
            format!("/sessions?instanceId={instance}"),
            format!("/sessions/{session}"),
            format!("/licenses?instanceId={instance}"),
            format!("/licenses/{license}/entitlements"),
            format!("/licenses/{license}/holders"),
        ] {
            state.push(self.read(&path).await);
        }
        let body = json!({"session_key": lease}).to_string();
        let status = self.server.admin("POST /api/v3.1/auth/components_status", &body).await;
        state.push(status.body);
        state
    }

    /// Everything that a call could change.
    async fn state(&self) -> Vec<String> {
        let mut state = [self.state_of(Own).await, self.state_of(Foreign).await].concat();
        for path in [
            "/public-keys",
            "/rate-tables",
            "/instances",
            "/configuration",
            "/usage",
            "/products",
            "/products/P/components",
        ] {
            state.push(self.read(path).await);
        }
        state.push(self.records().to_string());
        state
    }

    async fn read(&self, path: &str) -> String {
        let answer = self.server.admin(&format!("GET /api/v1.1{path}"), "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }
}

/// An instance with two line items, a condition and a session that is charged.
async fn things(server: &TestServer, live: &'static str, obsolete: &'static str) -> Things {
    let instance = server.instance(live).await;
    let put = format!("PUT /api/v1.1/instances/{instance}/line-items");
    for (id, state) in [(live, "DEPLOYED"), (obsolete, "DEPLOYED"), (obsolete, "OBSOLETE")] {
        let mut body = line_item(1, 1000);
        for (member, value) in [("activationId", id), ("state", state)] {
            *body.get_mut(member).expect("it has one") = json!(value);
        }
        assert_eq!(server.admin(&put, &body.to_string()).await.status, 200);
    }
    let body =
        r#"{"conditions":[{"name":"c","condition":{"key":"k","operator":"IN","values":["v"]}}]}"#;
    let target = format!("POST /api/v1.1/instances/{instance}/conditions");
    let conditions = server.admin(&target, body).await.json();
    let created = json!({"instanceId": instance}).to_string();
    let created = server.admin("POST /api/v1.1/sessions", &created).await.json();
    let session = text(&created, "/sessionId");
    let set = in_session(&asking(&[("PhotoPrint", "1.0", "10")]), "true");
    let charged = server.admin(&format!("PUT /api/v1.1/sessions/{session}"), &set).await;
    assert_eq!(charged.status, 200, "{charged:?}");
    let condition = find_id(&conditions).expect("a condition");
    let licensed = licensed(server, &instance, live).await;
    Things { instance, live, obsolete, condition, session, key: "spare", version: "", licensed }
}

fn find_id(value: &Value) -> Option<String> {
    match value {
        Value::Object(members) => match members.get("id").and_then(Value::as_str) {
            Some(id) => Some(id.to_owned()),
            None => members.values().find_map(find_id),
        },
        Value::Array(entries) => entries.iter().find_map(find_id),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// All that is answered, but for the correlation id, the caller's own path, and the time of day.
fn told(answer: &Answer) -> String {
    let mut body = answer.json();
    if answer.outcome().1 != "ok" {
        for own in ["/correlationId", "/instance"] {
            *body.pointer_mut(own).expect("every problem has it") = json!("");
        }
    }
    let passing = |line: &&str| !line.starts_with("date:") && !line.starts_with("content-length:");
    let head: Vec<&str> = answer.head.lines().filter(passing).collect();
    format!("{} {body}", head.join("\n"))
}

fn outcome(answer: &Answer) -> String {
    let (status, code) = answer.outcome();
    let is_failure = answer.body.starts_with(r#"{"status":"#) && code == "ok";
    let json = if is_failure { answer.json() } else { Value::Null };
    match json.get("code").and_then(Value::as_str) {
        Some(symbol) => format!("{status} {symbol}"),
        None => format!("{status} {code}"),
    }
}

/// Where a route is.
fn prefix(path: &str) -> &'static str {
    if path.starts_with("/auth/") { "/api/v3.2" } else { "/api/v1.1" }
}

#[test]
fn the_matrix_has_a_row_for_every_route() {
    let methods = farebox::http::component_routes().map(|(_, method, path)| (method, path));
    let routes = farebox::http::routes().chain(methods);
    let routes: BTreeSet<String> =
        routes.map(|(method, path)| format!("{method} {path}")).collect();
    let rows: BTreeSet<String> = rows().iter().map(|row| row.route.to_owned()).collect();
    assert_eq!(routes, rows, "left: the table of routes, right: the matrix");
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_tells_nothing() {
    let world = World::new().await;
    let description = openapi::read(&world.server).await;
    let mut refused = 0;
    for row in rows() {
        let before = world.state().await;
        let mut answers: BTreeMap<(Caller, String), BTreeSet<String>> = BTreeMap::new();
        for case in &row.cases {
            let known = KNOWN.into_iter().zip(case.expected);
            let code = |caller| match caller == Caller::Nobody {
                true => "401 missing-token",
                false => "401 invalid-token",
            };
            let unknown = UNKNOWN.map(|caller| (caller, code(caller)));
            for (caller, expected) in known.chain(unknown) {
                if expected.ends_with(" ok") {
                    continue;
                }
                let answer = world.call(caller, &row, case).await;
                let told_of = format!("{} {caller:?} {case:?}: {answer:?}", row.route);
                assert_eq!(outcome(&answer), expected, "{told_of}");
                let version = prefix(row.route.split_once(' ').expect("a path").1);
                let version = version.trim_start_matches("/api/");
                assert_described(&description, version, row.route, &answer);
                assert_eq!(world.records().to_string(), *before.last().expect("one"), "{told_of}");
                answers.entry((caller, expected.to_owned())).or_default().insert(told(&answer));
                refused += 1;
            }
        }
        for ((caller, expected), answers) in answers {
            assert_eq!(answers.len(), 1, "{} {caller:?} {expected}: {answers:#?}", row.route);
        }
        assert_eq!(world.state().await, before, "{}", row.route);
    }
    println!("{refused} calls were refused");
    assert!(refused > 1_000, "{refused}");
}

#[tokio::test]
async fn what_is_admitted_reaches_the_object_it_names_and_no_other() {
    let reading = World::new().await;
    for row in rows() {
        for case in &row.cases {
            for (caller, expected) in KNOWN.into_iter().zip(case.expected) {
                if !expected.ends_with(" ok") {
                    continue;
                }
                let told_of = format!("{} {caller:?} {case:?}", row.route);
                if !row.is_change() {
                    let records = reading.records();
                    let answer = reading.call(caller, &row, case).await;
                    assert_eq!(outcome(&answer), expected, "{told_of}: {answer:?}");
                    assert_eq!(reading.records(), records, "{told_of} only reads");
                    continue;
                }
                let world = World::new().await;
                let other = if case.instance == Foreign { Own } else { Foreign };
                let before = (world.state_of(other).await, world.state().await);
                let answer = world.call(caller, &row, case).await;
                assert_eq!(outcome(&answer), expected, "{told_of}: {answer:?}");
                assert_eq!(world.state_of(other).await, before.0, "{told_of}");
                let idle = row.route.starts_with("DELETE") && row.route.ends_with("/actions");
                assert!(idle || world.state().await != before.1, "{told_of} changes something");
            }
        }
    }
}

/// D3: outside the prefixes as well.
#[tokio::test]
async fn the_hand_on_the_test_clock_is_administrations() {
    let world = World::new().await;
    for (target, body) in [("GET /test/clock", ""), ("POST /test/clock", r#"{"advance":60000}"#)] {
        for caller in [Caller::Client, Caller::ClientOfBoth].into_iter().chain(UNKNOWN) {
            let answer = match world.tokens.get(&caller) {
                Some(token) => world.server.call(token, target, body).await,
                None => world.server.connect().await.request(target, body).await,
            };
            let is_client = matches!(caller, Caller::Client | Caller::ClientOfBoth);
            assert_eq!(answer.status, if is_client { 403 } else { 401 }, "{target} {caller:?}");
        }
        assert_eq!(world.server.broker.now().as_ms(), START + 61 * 60_000);
    }
}
