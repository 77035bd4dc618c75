//! The API's own description: complete, valid, and true. Its examples are sent to a real server, in
//! an order in which all of them go well, and the answers are held against its schemas.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::http_client::Answer;
use crate::server::{TestServer, start, start_with_test_clock, text};
use crate::sessions_in_time::START;
use farebox::domain::time::Timestamp;

const VERSIONS: [&str; 2] = ["v1.0", "v1.1"];

/// A version of the first API and one of the component API: their examples are sent together.
const PAIRS: [(&str, &str); 3] = [("v1.0", "v3.0"), ("v1.1", "v3.1"), ("v1.1", "v3.2")];

/// Operations in an order in which they go well, each with the example of its body that is sent; a
/// `+` before it where only the later versions have it.
#[rustfmt::skip]
const ORDER: &[(&str, &str)] = &[
    ("saveAdministrationKeys", "keys"), ("saveClientKeys", "keys"), ("listPublicKeys", ""),
    ("deleteAdministrationKey", ""), ("deleteClientKey", ""),
    ("publishRateTable", "inEffect"), ("publishRateTable", "later"), ("listRateTables", ""),
    ("deleteRateTable", ""), ("createInstance", "instance"), ("listInstances", ""),
    ("mapLineItem", "deployed"), ("listLineItems", ""), ("readLineItem", ""),
    ("changeConditions_post", "simple"), ("changeConditions_patch", "joined"),
    ("changeConditions_post", "joined"), ("changeConditions_patch", "simple"),
    ("listConditions", ""),
    ("createActions", "actions"), ("replaceActions", "actions"), ("readActions", ""),
    ("listActions", ""), ("accessRequest", "request"), ("explainDecision", ""),
    ("createSession", "session"), ("sessionAccess", "set"), ("listSessions", ""),
    ("readSession", ""), ("heartbeat_get", ""), ("heartbeat_post", ""), ("sessionAccess", "halt"),
    ("closeSession", ""), ("readUsage", ""), ("changeConfiguration", "one"),
    ("changeConfiguration", "list"), ("readConfiguration", ""), ("deleteActions", ""),
    ("deleteCondition", ""), ("deleteConditions", ""), ("publishRateTable", "+formula"),
    ("saveProduct", "product"), ("listProducts", ""), ("readProduct", ""),
    ("saveComponent", "token"), ("listComponents", ""), ("readComponent", ""),
    ("saveLicense", "concurrent"), ("listLicenses", ""), ("readLicense", ""),
    ("saveEntitlement", "lineItem"), ("saveEntitlement", "pool"), ("listEntitlements", ""),
    ("readEntitlement", ""), ("registerInstance", "installation"),
    ("beginAppSession", "session"), ("extendSession", "enveloped"),
    ("beginUserSession", "session"), ("checkOutComponents", "+one"),
    ("checkOutComponents", "+waiting"), ("componentsStatus", "+session"), ("listHolders", ""),
    ("listWaiters", ""), ("checkInComponents", "+components"), ("checkOutLicense", "+license"),
    ("checkInLicense", "+checkout"), ("extendSession", "extension"), ("endSession", "session"),
    ("revokeSession", ""), ("deleteEntitlement", ""), ("deleteLicense", ""),
    ("deleteComponent", ""), ("deleteProduct", ""),
    ("accessRequest", "+variables"), ("mapLineItem", "obsolete"), ("deleteLineItem", ""),
    ("liveness", ""), ("readiness", ""), ("metrics", ""), ("readDescription", ""),
    ("readPage", ""), ("readTestClock", ""), ("moveTestClock", "advance"), ("moveTestClock", "set"),
];

/// An id in the examples, and the answer that brings the real one.
#[rustfmt::skip]
const IDS: &[(&str, &str, &str)] = &[
    ("64d2028c-ae87-4069-a624-66089d957ef9", "createInstance", "/id"),
    ("0b7c4bb1-5d6c-4a53-9e3e-1f2a4f9d7c10", "createSession", "/sessionId"),
    ("3f0c1a52-7a0e-4f7e-8a53-2a9b6f0f7d21", "changeConditions_post", "/0/id"),
    ("9d2c7e84-1b3f-4c60-9a75-5e8d0c6b4a32", "createActions", "/0/id"),
    ("c7e1f5b9-2d84-4a6e-b093-8a4d5f7e1c54", "accessRequest", "/correlationId"),
    ("e1f3a5c7-2b4d-4f60-8a9c-0d2e4f6a8b1c", "registerInstance", "/instance_guid"),
    ("7c5e3a19-8d6f-4b2a-9e0c-4a6c8e0f2b3d", "registerInstance", "/user_guid"),
    ("2f9b4d7a-6c1e-4e83-b5a0-9d3f7b1c5e68", "beginAppSession", "/session_key"),
    ("5b0e7f64-93c2-4d1a-8b7e-2c4f6a9d1e35", "beginUserSession", "/session_key"),
    ("d4b2f0e8-1a3c-4d5e-8f70-6b8d0f2a4c9e", "checkOutLicense", "/checkout_key"),
];

pub(crate) async fn read(server: &TestServer) -> Value {
    let answer = server.connect().await.request("GET /openapi.json", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// The answer's status is one that its route describes; so is the code, if it is an error.
pub(crate) fn assert_described(description: &Value, version: &str, route: &str, answer: &Answer) {
    let (method, path) = route.split_once(' ').expect("a method and a path");
    let path = format!("/api/{version}{path}").replace('/', "~1");
    let (method, status) = (method.to_lowercase(), answer.status);
    let response = description.pointer(&format!("/paths/{path}/{method}/responses/{status}"));
    let response = response.unwrap_or_else(|| panic!("{version} {route}: {answer:?}"));
    if answer.header("content-type") == Some("application/problem+json") {
        let codes = response.pointer(CODES).and_then(Value::as_array).expect("codes");
        let code = json!(text(&answer.json(), "/code"));
        assert!(codes.contains(&code), "{version} {route}: {answer:?}");
    }
}

/// Method, path and description of every operation.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, entry)| {
        let entry = entry.as_object().expect("operations");
        entry.iter().map(|(method, one)| (method.to_uppercase(), path.clone(), one.clone()))
    });
    all.collect()
}

#[tokio::test]
async fn every_route_is_described_in_both_versions_and_on_the_page() {
    let server = start_with_test_clock(Timestamp::from_ms(START)).await;
    let description = read(&server).await;
    let described: BTreeSet<String> = operations(&description)
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let below = farebox::http::routes().flat_map(|(method, path)| {
        VERSIONS.map(|version| format!("{method} /api/{version}{path}"))
    });
    let methods = farebox::http::component_routes();
    let below = below
        .chain(methods.map(|(version, method, path)| format!("{method} /api/{version}{path}")));
    let outside = ["livez", "readyz", "metrics", "openapi.json", "docs", "test/clock"];
    let outside = outside.iter().map(|path| format!("GET /{path}"));
    let clock = "POST /test/clock".to_owned();
    let expected: BTreeSet<String> = below.chain(outside).chain([clock]).collect();
    assert_eq!(described, expected, "left: the description, right: the table");

    let answer = server.connect().await.request("GET /docs", "").await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for (method, path, one) in operations(&description) {
        assert!(answer.body.contains(&format!("{method} {path}<")), "{method} {path}");
        assert!(answer.body.contains(one["operationId"].as_str().expect("an id")), "{one}");
    }
    for word in ["http:", "https:", "<script", "src=", "url(", "@import", "//"] {
        assert!(!answer.body.contains(word), "{word}");
    }
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_what_its_code_means() {
    let server = start().await;
    let problem = server.connect().await.request("GET /nowhere", "").await.json();
    let (path, code) = problem["type"].as_str().and_then(|it| it.split_once('#')).expect("a place");
    assert_eq!(problem["code"], code);
    let page = server.connect().await.request(&format!("GET {path}"), "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains(&format!("id=\"{code}\"")), "{code}");
    let other = server.connect().await.request(&format!("POST {path}"), "").await;
    assert_eq!((other.status, other.header("allow")), (405, Some("GET")));
}

#[tokio::test]
async fn the_test_clock_is_described_only_where_there_is_one() {
    let description = read(&start().await).await;
    assert!(description.pointer("/paths/~1livez").is_some());
    assert_eq!(description.pointer("/paths/~1test~1clock"), None);
}

#[tokio::test]
async fn the_description_is_openapi_3_1() {
    let description = read(&start().await).await;
    let form: Value = serde_json::from_str(include_str!("../data/openapi-3.1.json")).expect("JSON");
    let form = jsonschema::validator_for(&form).expect("a schema");
    assert_fits(&form, &description, "the description");
    let schemas = description.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.expect("schemas") {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        Api(&description).validator(schema); // Whatever it refers to is there.
    }
    let ids = operations(&description).into_iter().map(|(.., one)| one["operationId"].to_string());
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "every id is there once");
}

/// Where a response lists its codes.
const CODES: &str = "/content/application~1problem+json/schema/allOf/1/properties/code/enum";

/// Codes of what is no operation, and of what the component API tells as `INTERNAL`.
const OF_NO_OPERATION: [&str; 3] = ["line-full", "method-not-allowed", "unknown-path"];

#[tokio::test]
async fn every_error_code_is_one_of_some_operation() {
    let description = read(&start().await).await;
    let mut described = BTreeSet::new();
    for (.., one) in operations(&description) {
        for response in one["responses"].as_object().expect("responses").values() {
            let codes = response.pointer(CODES).and_then(Value::as_array);
            described.extend(codes.into_iter().flatten().map(Value::to_string));
        }
    }
    let all = description.pointer("/components/schemas/Problem/properties/code/enum");
    let all = all.and_then(Value::as_array).expect("codes").iter().map(Value::to_string);
    let missing: Vec<String> = all.filter(|code| !described.contains(code)).collect();
    let of_none = OF_NO_OPERATION.map(|code| format!("\"{code}\""));
    assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(of_none));
}

#[tokio::test]
async fn every_example_is_answered_as_described() {
    for (version, of_components) in PAIRS {
        let server = start_with_test_clock(Timestamp::from_ms(START)).await;
        let description = read(&server).await;
        let operations = operations(&description);
        let mut unsent = examples(&operations, version, of_components);
        let mut ids: Vec<(&str, String)> = Vec::new();
        for (name, example) in ORDER {
            let (example, only_later) = match example.strip_prefix('+') {
                Some(example) => (example, true),
                None => (*example, false),
            };
            let suffixed = |version: &str| format!("{name}_{}", version.replace('.', "_"));
            let full = [suffixed(version), suffixed(of_components), (*name).to_owned()];
            if only_later && !unsent.iter().any(|(id, other)| is_one(id, &full) && other == example)
            {
                continue; // Else `unsent` shows what is never sent.
            }
            let (method, path, operation) = operations
                .iter()
                .find(|(.., one)| is_one(&one["operationId"].to_string(), &full))
                .unwrap_or_else(|| panic!("{name} is described"));
            let api = Api(&description);
            let (target, body) = request(&api, method, path, operation, example);
            let real = |text: String| {
                ids.iter().fold(text, |text, (shown, real)| text.replace(shown, real))
            };
            let answer = server.admin(&real(target), &real(body)).await;
            api.check(&answer, operation, &format!("{version} {name} {example}"));
            unsent.remove(&(operation["operationId"].to_string(), example.to_owned()));
            for (shown, _, pointer) in IDS.iter().filter(|(_, from, _)| from == name) {
                if let Some(id) = answer.json().pointer(pointer).and_then(Value::as_str) {
                    ids.push((shown, id.to_owned()));
                }
            }
        }
        assert!(unsent.is_empty(), "{version}: {unsent:?}");
    }
}

fn is_one(id: &str, names: &[String]) -> bool {
    names.iter().any(|name| id.trim_matches('"') == name)
}

/// Every operation of these versions, with each of the examples of its body.
fn examples(
    operations: &[(String, String, Value)],
    version: &str,
    of_components: &str,
) -> BTreeSet<(String, String)> {
    let prefixes = [version, of_components].map(|version| format!("/api/{version}/"));
    let is_asked = |path: &str| {
        !path.starts_with("/api/") || prefixes.iter().any(|prefix| path.starts_with(prefix))
    };
    let mut all = BTreeSet::new();
    for (_, _, one) in operations.iter().filter(|(_, path, _)| is_asked(path)) {
        let id = one["operationId"].to_string();
        let examples = one.pointer("/requestBody/content/application~1json/examples");
        match examples.and_then(Value::as_object) {
            Some(examples) => all.extend(examples.keys().map(|name| (id.clone(), name.clone()))),
            None => all.extend([(id, String::new())]),
        }
    }
    all
}

/// The example's request: required parameters and those in the path, and the body.
fn request(
    api: &Api<'_>,
    method: &str,
    path: &str,
    operation: &Value,
    example: &str,
) -> (String, String) {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().expect("parameters") {
        let name = parameter["name"].as_str().expect("a name");
        let Some(value) = parameter.get("example") else { continue };
        assert_fits(&api.validator(&parameter["schema"]), value, name);
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let is_version = method == "DELETE" && name == "series";
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &value),
            Some("query") if parameter["required"] == true || is_version => {
                query.push(format!("{name}={value}"));
            }
            _ => {}
        }
    }
    let media = operation.pointer("/requestBody/content/application~1json");
    let body = media.map_or(Value::Null, |media| {
        let named = media.pointer(&format!("/examples/{example}/value"));
        let body = named.expect("the example").clone();
        assert_fits(&api.validator(&media["schema"]), &body, example);
        body
    });
    let body = if body.is_null() { String::new() } else { body.to_string() };
    (format!("{method} {path}?{}", query.join("&")).trim_end_matches('?').to_owned(), body)
}

/// The description while answers are held against it.
struct Api<'a>(&'a Value);

impl Api<'_> {
    /// The answer is one that the operation describes, and it is not an error.
    fn check(&self, answer: &Answer, operation: &Value, what: &str) {
        assert!(answer.status < 300, "{what}: {answer:?}");
        assert!(!answer.body.contains("\"success\":false"), "{what}: {answer:?}");
        let described = operation.pointer(&format!("/responses/{}", answer.status));
        let described = described.unwrap_or_else(|| panic!("{what}: {answer:?}"));
        for name in described["headers"].as_object().into_iter().flat_map(Map::keys) {
            assert!(answer.header(name).is_some(), "{what}: no {name} in {answer:?}");
        }
        let Some(content) = described.get("content").and_then(Value::as_object) else {
            assert_eq!(answer.body, "", "{what}");
            return;
        };
        let (media_type, content) = content.iter().next().expect("a media type");
        let sent = answer.header("content-type").expect("a content type");
        assert_eq!(sent.split(';').next(), Some(media_type.as_str()), "{what}");
        let schema = content.get("schema").map(|schema| self.validator(schema));
        match (media_type.as_str(), schema) {
            ("application/json", Some(schema)) => {
                assert_fits(&schema, &answer.json(), what);
                assert_fits(&schema, &content["example"], what);
            }
            ("application/x-ndjson", _) => {
                let row = self.validator(&json!({ "$ref": "#/components/schemas/UsageRow" }));
                assert!(!answer.body.is_empty(), "{what}: there are rows");
                for line in answer.body.lines() {
                    assert_fits(&row, &serde_json::from_str(line).expect("JSON"), what);
                }
            }
            _ => {}
        }
    }

    /// For one of its schemas. What is answered may have no member that is not described: whoever
    /// adds one has to describe it.
    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = json!({ "components": self.0["components"], "allOf": [schema] });
        close(&mut whole);
        jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

/// Closes every object that says which members it has and not that it may have others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| {
                kind == "object"
                    || kind.as_array().is_some_and(|all| all.contains(&json!("object")))
            });
            if is_object && members.contains_key("properties") {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(entries) => entries.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn assert_fits(schema: &Validator, value: &Value, what: &str) {
    let faults: Vec<String> = schema
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{what}: {faults:#?}");
}

#[tokio::test]
async fn the_schemas_refuse_what_the_server_refuses() {
    let server = start().await;
    let description = read(&server).await;
    let api = Api(&description);
    let instance = server.instance("ACME").await;
    let line_items = format!("PUT /api/v1.0/instances/{instance}/line-items");
    let access = format!("POST /api/v1.0/instances/{instance}/access-request");
    let table = |version: &str, item: Value| {
        let table =
            json!({ "effectiveFrom": 1_698_849_852_000_u64, "version": "1", "items": [item] });
        (format!("POST /api/{version}/rate-tables"), format!("NewRateTable_{version}"), table)
    };
    let item = |id: &str, attributes: Value| {
        let mut item = crate::server::line_item(1, 10);
        item["activationId"] = json!(id);
        item["attributes"] = attributes;
        (line_items.clone(), "NewLineItem_v1.0".to_owned(), item)
    };
    let asked = |member: &str, value: Value| {
        let mut one = json!({ "item": "A", "count": 1 });
        one[member] = value;
        let asked = json!({ "requester": { "type": "a", "value": "b" }, "requestedItems": [one] });
        (access.clone(), "AccessRequest_v1.0".to_owned(), asked)
    };
    let cases = [
        (table("v1.0", json!({ "name": "A", "rate": 1 })), true),
        (table("v1.0", json!({ "name": "A", "rate": -1 })), false),
        (table("v1.0", json!({ "name": "A", "formula": "1" })), false),
        (table("v1.1", json!({ "name": "A", "formula": "1", "rate": 1 })), false),
        (table("v1.1", json!({ "name": "A" })), false),
        (table("v1.1", json!({ "name": "", "rate": 1 })), false),
        (table("v1.1", json!({ "name": "a\u{0}", "rate": 1 })), false),
        (item("ACT01", json!({})), true),
        (item("actions", json!({})), false),
        (item("a/../b", json!({})), false),
        (item("a..b/...", json!({})), true),
        (item("a%41", json!({})), false),
        (item("100%", json!({})), true),
        (item("a;b", json!({})), false),
        (item(&"x".repeat(256), json!({})), false),
        (item("ACT01", json!({ "overdraftType": "Number" })), false),
        (item("ACT01", json!({ "overdraftType": "Number", "overdraftLimit": 1 })), true),
        (item("ACT01", json!({ "overdraftType": "Unlimited", "overdraftLimit": 1 })), false),
        (item("ACT01", json!({ "overdraftType": "Unlimited", "overdraftLimit": null })), true),
        (item("ACT01", json!({ "overdraftLimit": 1 })), false),
        (item("ACT01", json!({ "overdraftType": null })), true),
        (item("ACT01", json!({ "resetFrequency": "x" })), false),
        (asked("version", Value::Null), true),
        (asked("count", json!(0)), false),
        (asked("count", json!(1_000_000_001)), false),
        (asked("metaData", json!([])), false),
        (asked("variables", json!({ "a": 1 })), false),
        (asked("rollbackOnDeny", json!(true)), false),
    ];
    for ((target, schema, body), is_fine) in cases {
        let schema = format!("#/components/schemas/{}", schema.replace('.', "_"));
        let fits = api.validator(&json!({ "$ref": schema })).is_valid(&body);
        let answer = server.admin(&target, &body.to_string()).await;
        let taken = answer.status < 300;
        assert_eq!((fits, taken), (is_fine, is_fine), "{body}: {answer:?}");
    }
}
