//! The API's own description: OpenAPI 3.1, made from the route table and from what is said of every
//! operation. Built once, when it is first asked for, and served from memory.
//!
//! It is a description: nothing is read or refused by it. `operations` says what each operation is
//! for, `requests` and `answers` what is sent, `problems` what can go wrong, `examples` what it
//! looks like, and `page` shows all of it to people.

mod answers;
mod component_examples;
mod components;
mod examples;
mod licensing;
mod operations;
mod page;
mod problems;
mod requests;

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};

use self::operations::{About, Shape};
use self::requests::{put, reference};
use super::operation::{Licensing as L, Operation};
use super::routes::{self, Caller, Route};
use super::wire::Version;

const VERSIONS: [Version; 2] = [Version::V1_0, Version::V1_1];
/// Schemas of which each version has its own.
const DIFFERENT: &[&str] = &[
    "NewRateTable",
    "NewLineItem",
    "AccessRequest",
    "SessionAccessRequest",
    "ItemStatus",
    "RateTables",
    "LineItem",
    "LineItems",
    "AccessAnswer",
    "Decision",
];
const ABOUT: &str = "\
farebox is an access broker: producers publish rate tables, customers hold line items (pools of \
tokens) in instances, and clients ask for access, once or in sessions that are paid by time.

Every path below `/api/v1.0` and `/api/v1.1` also answers with the prefix `/dynamicmonetization`, \
and with one of `/provisioning`, `/elastic` and `/floating` before `/api`; all spellings are the \
same. The version alone decides what differs: v1.0 has item statuses of three digits, v1.1 of \
four; v1.1 knows formulas and their `variables`, `resetFrequency`, and the setting \
`session.charge.period`; a call on a session that is over is 403 in v1.0 and 409 in v1.1.

Amounts are exact decimal numbers, times are milliseconds since 1970. `null` for a member that is \
optional is as good as leaving it out; a member that is not described is refused.

The methods below `/api/v3.0/auth`, `/api/v3.1/auth` and `/api/v3.2/auth` are for clients whose \
components are licensed: seats, tokens that come back, tokens that are spent. Each version has \
those of the versions before it. Their bodies are plain JSON under TLS: the encryption of the \
original API is not published and not built; its envelope is taken with clear `data`. Their times \
are RFC 3339, a member that is not described is passed over, and a failure is 200 with \
`success` false.

Whoever sends `Idempotency-Key` with a call that changes something can repeat it until there is an \
answer: it happens once. `x-sequence` names the record of the journal that an answer rests on.";

/// The description in both of its forms.
pub(super) struct Described {
    /// `GET /openapi.json`
    pub(super) json: Bytes,
    /// `GET /docs`
    pub(super) page: Bytes,
    /// What the page may load: nothing but its own style.
    pub(super) policy: HeaderValue,
}

/// The description of a server with or without a test clock.
pub(super) fn described(has_test_clock: bool) -> &'static Described {
    static USUAL: LazyLock<Described> = LazyLock::new(|| describe(false));
    static TESTING: LazyLock<Described> = LazyLock::new(|| describe(true));
    if has_test_clock { &TESTING } else { &USUAL }
}

fn describe(has_test_clock: bool) -> Described {
    let description = description(has_test_clock);
    Described {
        json: Bytes::from(description.to_string()),
        page: Bytes::from(page::write(&description, has_test_clock)),
        policy: page::policy(),
    }
}

fn description(has_test_clock: bool) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, route: &Route, operation: Value| {
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        put(entry, &route.method().as_str().to_lowercase(), operation);
    };
    for route in routes::below() {
        for version in VERSIONS {
            add(path(route, version), route, operation(route, Some(version)));
        }
    }
    for version in Version::COMPONENTS {
        for route in routes::components(version) {
            add(path(route, version), route, operation(route, Some(version)));
        }
    }
    for route in routes::outside(has_test_clock) {
        add(route.path().to_owned(), route, operation(route, None));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "farebox", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "Where this description was read." }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "administration": token("A token of an administration key: it may do everything."),
                "client": token("A token of a client key: it reaches the instances in its `aud`."),
            },
        },
    })
}

fn token(description: &str) -> Value {
    json!({
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description,
    })
}

fn schemas() -> Map<String, Value> {
    let common = [requests::common(), answers::common(), problems::schemas()];
    let common = [common.concat(), licensing::schemas(), components::schemas()].concat();
    let mut all: Map<String, Value> =
        common.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    for version in VERSIONS {
        let of_version = [requests::versioned(version), answers::versioned(version)].concat();
        for (name, schema) in of_version {
            all.insert(versioned_name(name, version), schema);
        }
    }
    all
}

/// The name of a schema for one version.
fn versioned_name(name: &str, version: Version) -> String {
    match DIFFERENT.contains(&name) && VERSIONS.contains(&version) {
        true => format!("{name}_{}", suffix(version)),
        false => name.to_owned(),
    }
}

fn suffix(version: Version) -> String {
    version.name().replace('.', "_")
}

/// The path that the description knows a route by.
fn path(route: &Route, version: Version) -> String {
    format!("/api/{}{}", version.name(), route.path())
}

/// The name that generated clients give to a call.
fn operation_id(route: &Route, version: Option<Version>) -> String {
    let mut id = String::new();
    for word in route.operation.name().split('-') {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        id += &if id.is_empty() { first.to_owned() } else { first.to_uppercase() };
        id += rest;
    }
    let siblings = routes::below().filter(|other| other.operation == route.operation).count();
    if siblings > 1 {
        id = format!("{id}_{}", route.method().as_str().to_lowercase());
    }
    match version {
        Some(version) => format!("{id}_{}", suffix(version)),
        None => id,
    }
}

fn operation(route: &Route, named: Option<Version>) -> Value {
    let about = operations::of(route.operation);
    let version = named.unwrap_or(Version::V1_1);
    let security = match route.caller {
        Caller::Anyone => json!([]),
        Caller::Administration => json!([{ "administration": [] }]),
        Caller::ClientOrAdministration | Caller::ClientOfInstanceOrAdministration => {
            json!([{ "administration": [] }, { "client": [] }])
        }
    };
    let mut whole = json!({
        "operationId": operation_id(route, named),
        "tags": [about.group],
        "summary": about.summary,
        "description": about.text,
        "security": security,
        "parameters": parameters(route),
        "responses": responses(route, &about, version, named.is_some()),
    });
    if let Some(schema) = about.body {
        let examples: Map<String, Value> = examples::bodies(route.operation, version)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({ "value": value })))
            .collect();
        put(
            &mut whole,
            "requestBody",
            json!({
                "required": true,
                "content": { "application/json": {
                    "schema": reference(&versioned_name(schema, version)), "examples": examples,
                }},
            }),
        );
    }
    whole
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for segment in route.path().split('/') {
        let id = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let Some(id) = id else { continue };
        let (schema, example) = match id {
            "lineItemId" => (requests::path_text("A line item."), examples::LINE_ITEM),
            "instanceId" => (requests::id("An instance."), examples::INSTANCE),
            "keyId" => (requests::path_text("A key."), examples::KEY),
            "conditionId" => (requests::id("A condition."), examples::CONDITION),
            "sessionId" => (requests::id("A session."), examples::SESSION),
            "correlationId" => (requests::id("A decision."), examples::CORRELATION),
            other => licensing::path_id(other).unwrap_or_default(),
        };
        parameters.push(json!({
            "name": id, "in": "path", "required": true, "example": example, "schema": schema,
            "description": "Escaped once, a `/` as `%2F`. One that names nothing is 404.",
        }));
    }
    parameters.extend(route.parameters.iter().map(|name| query_parameter(name)));
    if route.caller == Caller::ClientOfInstanceOrAdministration {
        parameters.push(json!({
            "name": "x-instance-id", "in": "header", "required": false,
            "example": examples::INSTANCE,
            "description": "The session's instance. A client must send it; an administration \
                            token may.",
            "schema": { "type": "string", "format": "uuid" },
        }));
    }
    if route.operation.is_change() {
        // A quote ignores the key, whatever it is.
        let schema = match route.parameters.contains(&"dryRun") {
            true => json!({ "type": "string" }),
            false => json!({
                "type": "string", "minLength": 1, "maxLength": 255,
                "pattern": "^[!-~]([ -~]*[!-~])?$",
            }),
        };
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": schema,
            "description": "Of the caller's choice, a UUID for example: 1 to 255 characters of \
                            printable ASCII. The same call under the same key happens once and is \
                            answered as it was the first time, for 24 hours unless configured. A \
                            quote ignores it.",
        }));
    }
    parameters
}

fn number(least: u64, default: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "default": default })
}

/// What is said of a parameter: whether it is required, its schema, an example, and what it means.
fn query_parameter(name: &str) -> Value {
    let flag = json!({ "type": "boolean", "default": false });
    let text = requests::text("");
    let (required, schema, example, description) = match name {
        "series" => (false, text, json!(examples::SERIES), "Left out: a table without a series."),
        "version" => (true, requests::name(""), json!("2"), "The table's version."),
        "next" => {
            let mut cursor = number(0, 0);
            put(&mut cursor, "maximum", json!(u64::MAX - 1));
            (false, cursor, json!(0), "`next` of the page before; 0 is the first page.")
        }
        "size" => (false, number(1, 100), json!(100), "Entries wanted: more than 500 is 500."),
        "accountId" => (false, text, json!("ACME"), "Only together with `default=true`."),
        "default" => {
            (false, json!({ "enum": ["true"] }), json!("true"), "Only together with `accountId`.")
        }
        "instanceId" => {
            let id = json!({ "type": "string", "format": "uuid" });
            (true, id, json!(examples::INSTANCE), "Whose sessions or licenses.")
        }
        "instance" => {
            let id = json!({ "type": "string", "format": "uuid" });
            (false, id, json!(examples::INSTANCE), "Only rows of this instance.")
        }
        "after" => (
            false,
            number(0, 0),
            json!(0),
            "Only rows of records after this `sequence`, which is not beyond the last.",
        ),
        "limit" => (
            false,
            number(1, 1_000),
            json!(1_000),
            "Rows wanted: more than 10,000 is 10,000. Rows of one record are never parted.",
        ),
        "dryRun" => (
            false,
            flag,
            json!(false),
            "A quote: what the call would answer now. Nothing changes and nothing is reserved.",
        ),
        "balances" => (
            false,
            flag,
            json!(true),
            "The answer ends with the balances of the line items that were charged or refunded.",
        ),
        _ => (false, text, json!(""), ""),
    };
    json!({
        "name": name, "in": "query", "required": required, "schema": schema, "example": example,
        "description": description,
    })
}

fn header(description: &str) -> Value {
    let schema = json!({ "type": "integer", "format": "int64", "minimum": 0 });
    json!({ "description": description, "schema": schema })
}

/// When the session's client is to be heard of (spec 2.8).
fn pacing() -> Value {
    json!({
        "x-charged-until": header("The end of the paid period; 0: nothing is paid for."),
        "x-heartbeat-from": header("When a heartbeat is wanted next; 0: none is."),
        "x-heartbeat-due-by": header("By when; 0: none is wanted."),
    })
}

fn responses(
    route: &Route,
    about: &About,
    version: Version,
    journaled: bool,
) -> Map<String, Value> {
    let pacing = pacing();
    let mut responses = Map::new();
    for (status, codes) in problems::codes(route, about, version) {
        responses.insert(status.to_string(), problems::response(status, &codes, &pacing));
    }
    if Version::COMPONENTS.contains(&version) {
        components::add_failures(&mut responses, route.operation.is_change());
    }
    if route.operation == Operation::Readiness {
        let mut not_ready = json!({ "description": "Not ready, and why." });
        let example = json!({ "status": "not-ready", "reason": "the server is stopping" });
        put(&mut not_ready, "content", content(reference("Health"), Some(example)));
        responses.insert("503".to_owned(), not_ready);
    }
    let mut headers = if about.paced { pacing } else { json!({}) };
    if journaled {
        put(
            &mut headers,
            "x-sequence",
            header("The last record of the journal that the answer rests on."),
        );
    }
    let description = match about.answer {
        Shape::Nothing => "Done; there is no body.",
        Shape::Json(_) | Shape::Lines(_) | Shape::Media(_) => "What was asked for.",
    };
    let mut answer = json!({ "description": description, "headers": headers });
    match about.answer {
        Shape::Nothing => {}
        Shape::Json(schema) => {
            let example = examples::answer(route.operation, version);
            put(
                &mut answer,
                "content",
                content(reference(&versioned_name(schema, version)), example),
            );
        }
        Shape::Lines(schema) => {
            let description = format!("Lines of JSON: each is a {schema}.");
            put(
                &mut answer,
                "content",
                json!({ "application/x-ndjson": {
                    "schema": { "type": "string", "description": description },
                }}),
            );
        }
        Shape::Media(media_type) => put(&mut answer, "content", json!({ media_type: {} })),
    }
    if journaled {
        put(&mut answer, "links", links(route.operation, version));
    }
    responses.insert(about.status.to_string(), answer);
    responses
}

fn content(schema: Value, example: Option<Value>) -> Value {
    let mut media = json!({ "schema": schema });
    if let Some(example) = example {
        put(&mut media, "example", example);
    }
    json!({ "application/json": media })
}

const INSTANCE: (&str, &str) = ("instanceId", "$request.path.instanceId");
const SESSION: (&str, &str) = ("sessionId", "$response.body#/sessionId");
const DECISION: (&str, &str) = ("correlationId", "$response.body#/correlationId");
const CONDITION: (&str, &str) = ("conditionId", "$response.body#/0/id");
const NEW_INSTANCE: (&str, &str) = ("instanceId", "$response.body#/id");
const LINE_ITEM: (&str, &str) = ("lineItemId", "$response.body#/activationId");

const PRODUCT: (&str, &str) = ("productGuid", "$response.body#/productGuid");
const OF_PRODUCT: (&str, &str) = ("productGuid", "$request.path.productGuid");
const COMPONENT: (&str, &str) = ("name", "$response.body#/name");
const LICENSE: (&str, &str) = ("licenseKey", "$response.body#/licenseKey");
const OF_LICENSE: (&str, &str) = ("licenseKey", "$request.path.licenseKey");
const ENTITLEMENT: (&str, &str) = ("entitlementId", "$response.body#/entitlementId");

/// From an operation's answer to another operation, and where its parameters come from.
type Link = (Operation, Operation, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const LINKS: &[Link] = &[
    (Operation::CreateInstance, Operation::MapLineItem, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::ListLineItems, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::ChangeConditions, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::OneOffAccess, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::ListActions, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::ListSessions, &[NEW_INSTANCE]),
    (Operation::CreateInstance, Operation::ReadUsage, &[("instance", "$response.body#/id")]),
    (Operation::MapLineItem, Operation::ReadLineItem, &[INSTANCE, LINE_ITEM]),
    (Operation::MapLineItem, Operation::DeleteLineItem, &[INSTANCE, LINE_ITEM]),
    (Operation::MapLineItem, Operation::CreateActions, &[INSTANCE, LINE_ITEM]),
    (Operation::MapLineItem, Operation::OneOffAccess, &[INSTANCE]),
    (Operation::ChangeConditions, Operation::DeleteCondition, &[INSTANCE, CONDITION]),
    (Operation::OneOffAccess, Operation::ExplainDecision, &[DECISION]),
    (Operation::SessionAccess, Operation::ExplainDecision, &[DECISION]),
    (Operation::CreateSession, Operation::SessionAccess, &[SESSION]),
    (Operation::CreateSession, Operation::ReadSession, &[SESSION]),
    (Operation::CreateSession, Operation::Heartbeat, &[SESSION]),
    (Operation::CreateSession, Operation::CloseSession, &[SESSION]),
    (Operation::Licensing(L::SaveProduct), Operation::Licensing(L::SaveComponent), &[PRODUCT]),
    (Operation::Licensing(L::SaveProduct), Operation::Licensing(L::DeleteProduct), &[PRODUCT]),
    (Operation::Licensing(L::SaveComponent), Operation::Licensing(L::DeleteComponent), &[OF_PRODUCT, COMPONENT]),
    (Operation::Licensing(L::SaveLicense), Operation::Licensing(L::SaveEntitlement), &[LICENSE]),
    (Operation::Licensing(L::SaveLicense), Operation::Licensing(L::ListHolders), &[LICENSE]),
    (Operation::Licensing(L::SaveLicense), Operation::Licensing(L::DeleteLicense), &[LICENSE]),
    (Operation::Licensing(L::SaveEntitlement), Operation::Licensing(L::DeleteEntitlement), &[OF_LICENSE, ENTITLEMENT]),
];

fn links(from: Operation, version: Version) -> Value {
    let mut links = json!({});
    for (_, to, parameters) in LINKS.iter().filter(|(operation, ..)| *operation == from) {
        for route in routes::below().filter(|route| route.operation == *to) {
            let id = operation_id(route, Some(version));
            let parameters: Map<String, Value> =
                parameters.iter().map(|(name, from)| ((*name).to_owned(), json!(from))).collect();
            put(&mut links, &id, json!({ "operationId": id, "parameters": parameters }));
        }
    }
    if from == Operation::CreateInstance {
        for route in routes::below().filter(|route| route.operation == Operation::CreateSession) {
            let id = operation_id(route, Some(version));
            let body = json!({ "instanceId": "$response.body#/id" });
            put(&mut links, &id, json!({ "operationId": id, "requestBody": body }));
        }
    }
    links
}
