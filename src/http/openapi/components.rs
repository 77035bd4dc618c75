//! The description of the component API (components 2, 5).

use serde_json::{Map, Value, json};

use super::super::operation::Method;
use super::answers::{list, text, whole, whole_number};
use super::operations::{About, Shape, about};
use super::problems::SYMBOLS;
use super::requests::{self, Named, put, reference};
use crate::domain::limits::{IDENTITY_PAIRS_MAX, ITEMS_MAX, WAIT_MAX_S};

const GROUP: &str = "Component licensing: clients";

/// What is said of a method.
pub(super) const fn about_it(method: Method) -> About {
    match method {
        Method::RegisterInstance => about(
            GROUP,
            "Register an installation of a program, and its user",
            "Who registers again with an identity that is recognised is answered the same guids.",
        )
        .body("RegisterInstance")
        .answers(200, Shape::Json("RegisterInstanceAnswer")),
        Method::BeginAppSession => about(
            GROUP,
            "Begin a session of a program",
            "It takes a seat of a license that limits its sessions, checks nothing out, and lasts \
             for `session_duration` unless it is extended.",
        )
        .body("BeginSession")
        .answers(200, Shape::Json("BeginSessionAnswer")),
        Method::BeginUserSession => about(
            GROUP,
            "Begin a session of a user of a web application",
            "As `begin_app_session`. Below v3.2 `version` may be left out.",
        )
        .body("BeginUserSession")
        .answers(200, Shape::Json("BeginSessionAnswer")),
        Method::ExtendSession => about(
            GROUP,
            "Extend a session",
            "It lasts for `session_duration` from now on. What it holds stays as it is.",
        )
        .body("ExtendSession")
        .answers(200, Shape::Json("ExtendSessionAnswer")),
        Method::EndSession => about(
            GROUP,
            "End a session",
            "What it holds is free at once; what it has consumed stays consumed. Again it is \
             answered the same.",
        )
        .body("EndSession")
        .answers(200, Shape::Json("EndSessionAnswer")),
        Method::CheckOutComponents => about(
            GROUP,
            "Check components out",
            "All of them or none. What the session holds already stays as it is; consumable tokens \
             are spent by every call: send `Idempotency-Key`. With `wait_seconds` it waits in line \
             where a pool is short.",
        )
        .body("CheckOutComponents")
        .answers(200, Shape::Json("CheckOutComponentsAnswer")),
        Method::ComponentsStatus => about(
            GROUP,
            "Show how a session stands",
            "It does not extend the session. A failure is 400 here.",
        )
        .body("ComponentsStatus")
        .answers(200, Shape::Json("ComponentsStatusAnswer")),
        Method::CheckInComponents => about(
            GROUP,
            "Give components back before the session ends",
            "All of them or none. Consumed tokens do not come back. An extension of ours.",
        )
        .body("CheckInComponents")
        .answers(200, Shape::Json("CheckOutComponentsAnswer")),
        Method::CheckOutLicense => about(
            GROUP,
            "Take a license out for a time",
            "It keeps a seat of a license that limits its sessions until `expiration_time`, for a \
             program that cannot reach the broker; with `session_key` the seat of that session.",
        )
        .body("CheckOutLicense")
        .answers(200, Shape::Json("CheckOutLicenseAnswer")),
        Method::CheckInLicense => {
            about(GROUP, "Give a license back that was taken out", "Its seat is free at once.")
                .body("CheckInLicense")
                .answers(200, Shape::Json("CheckInLicenseAnswer"))
        }
    }
}

/// An object that has these members, and perhaps others that mean nothing here.
fn open(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// The same, in the envelope of the original API or without it.
fn sent(required: &[&str], properties: Value) -> Value {
    let data = open(required, properties);
    let envelope = open(
        &["data"],
        json!({
            "key": { "description": "Ignored: nothing is encrypted." },
            "data": { "oneOf": [
                data,
                { "type": "string", "description": "The same, as a text of JSON." },
            ]},
        }),
    );
    let mut bare = data;
    put(&mut bare, "not", json!({ "required": ["data"] }));
    json!({ "oneOf": [bare, envelope] })
}

fn instant(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn any_text(description: &str) -> Value {
    json!({ "type": ["string", "null"], "description": description })
}

fn duration() -> Value {
    json!({
        "type": ["integer", "null"], "format": "int64", "minimum": 1, "maximum": i64::MAX,
        "description": "In seconds. No longer than the license says; that long if it is left out.",
    })
}

fn identity() -> Value {
    let texts = json!({
        "type": "array", "maxItems": IDENTITY_PAIRS_MAX, "items": requests::text(""),
    });
    let one_or_more = json!({ "oneOf": [requests::text(""), texts] });
    let number = |description: &str| {
        json!({
            "type": "integer", "minimum": 0, "maximum": 1_000_000_000, "description": description,
        })
    };
    let steered = open(
        &["value"],
        json!({
            "value": one_or_more,
            "_weight": number("How much a difference here counts; 1 if left out."),
            "_case_sensitive": { "type": "boolean", "description": "Yes if left out." },
            "_max_array_values_removed": number("How many values may be gone; 0 if left out."),
        }),
    );
    json!({
        "type": ["object", "null"],
        "description": format!(
            "What the installation is recognised by: 1 to {IDENTITY_PAIRS_MAX} pairs. Names that \
             begin with `_` only steer the comparison; those that were registered count."
        ),
        "propertyNames": requests::text(""),
        "maxProperties": 2 * IDENTITY_PAIRS_MAX,
        "minProperties": 1,
        "properties": {
            "_version": number("Different versions are never the same; 1 if left out."),
            "_max_mismatch_count": number("How many pairs may differ; 0 if left out."),
        },
        "patternProperties": { "^[^_]|^$": { "oneOf": [requests::text(""), texts, steered] } },
    })
}

fn user() -> Value {
    json!({
        "type": ["object", "null"], "minProperties": 1, "maxProperties": IDENTITY_PAIRS_MAX,
        "propertyNames": requests::text(""),
        "additionalProperties": requests::text(""),
        "description": "Who uses the program. The same pairs are the same user.",
    })
}

fn beginning(version_is_required: bool, is_offline: bool) -> Value {
    let mut properties = json!({
        "product_guid": requests::text("The product."),
        "instance_guid": { "type": "string", "description": "The registered installation." },
        "instance_identity": identity(),
        "user_guid": any_text("The registered user; or `user_identity`."),
        "user_identity": user(),
        "version": requests::nullable(requests::text("The version of the program.")),
        "duration": duration(),
    });
    let mut required = vec!["product_guid", "instance_guid"];
    if version_is_required || is_offline {
        required.push("version");
        put(&mut properties, "version", requests::text("The version of the program."));
    }
    if is_offline {
        required.push("duration");
        put(&mut properties, "/duration/type", json!("integer"));
        put(&mut properties, "session_key", any_text("The session whose seat is taken out."));
    }
    let named = |member: &str, kind: &str| json!({ "required": [member], "properties": { member: { "type": kind } } });
    let mut schema = sent(&required, properties);
    let who = json!([named("user_guid", "string"), named("user_identity", "object")]);
    put(&mut schema, "/oneOf/0/anyOf", who);
    schema
}

/// The schemas of bodies and answers.
pub(super) fn schemas() -> Vec<Named> {
    let key = || json!({ "type": "string", "description": "The session." });
    let names = json!({
        "type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": requests::text(""),
    });
    let names = json!({ "oneOf": [requests::text("One alone."), names] });
    let waiting = json!({
        "type": ["integer", "null"], "minimum": 0, "maximum": WAIT_MAX_S,
        "description": "How long to wait in line where a pool is short; not at all if left out.",
    });
    let on_session = || sent(&["session_key"], json!({ "session_key": key() }));
    vec![
        (
            "RegisterInstance",
            sent(
                &["product_guid", "license_key", "instance_identity"],
                json!({
                    "product_guid": requests::text("The product."),
                    "license_key": requests::text("The license."),
                    "instance_identity": registered_identity(),
                    "user_identity": user(),
                }),
            ),
        ),
        ("BeginSession", beginning(true, false)),
        ("BeginUserSession", beginning(false, false)),
        ("CheckOutLicense", beginning(true, true)),
        (
            "ExtendSession",
            sent(&["session_key"], json!({ "session_key": key(), "duration": duration() })),
        ),
        ("EndSession", on_session()),
        ("ComponentsStatus", on_session()),
        (
            "CheckOutComponents",
            sent(
                &["session_key", "components"],
                json!({ "session_key": key(), "components": names, "wait_seconds": waiting }),
            ),
        ),
        (
            "CheckInComponents",
            sent(
                &["session_key", "components"],
                json!({ "session_key": key(), "components": names }),
            ),
        ),
        (
            "CheckInLicense",
            sent(
                &["checkout_key"],
                json!({ "checkout_key": { "type": "string", "description": "The checkout." } }),
            ),
        ),
    ]
    .into_iter()
    .chain(answers())
    .collect()
}

fn registered_identity() -> Value {
    let mut identity = identity();
    put(&mut identity, "type", json!("object"));
    identity
}

/// An answer of these members, or a failure.
fn success(properties: Value) -> Value {
    let mut all = json!({
        "status": { "const": 0 }, "time": instant("The time of the broker."),
    });
    for (name, schema) in properties.as_object().into_iter().flatten() {
        put(&mut all, name, schema.clone());
    }
    json!({ "oneOf": [whole(all), reference("Failure")] })
}

fn answers() -> Vec<Named> {
    let features = || list(text("What the license switches on."));
    let lasts = || whole_number("For how long it lasts from now on, in seconds.");
    let grace = || whole_number("How long to go on when it cannot be validated, in seconds.");
    let components = || list(reference("LicensedComponent"));
    let entitlements = || list(reference("ComponentEntitlement"));
    vec![
        ("Failure", failure()),
        ("LicensedComponent", component()),
        ("ComponentEntitlement", entitlement()),
        (
            "RegisterInstanceAnswer",
            success(json!({
                "instance_guid": requests::id("The installation."),
                "user_guid": requests::id("The user."),
            })),
        ),
        (
            "BeginSessionAnswer",
            success(json!({
                "session_key": requests::id("The session."),
                "features": features(),
                "session_duration": lasts(),
                "grace_period_for_validation_failures": grace(),
                "components": components(),
                "component_entitlements": entitlements(),
            })),
        ),
        (
            "ExtendSessionAnswer",
            success(json!({
                "features": features(),
                "session_duration": lasts(),
                "grace_period_for_validation_failures": grace(),
            })),
        ),
        ("EndSessionAnswer", success(json!({ "success": { "const": true } }))),
        (
            "CheckOutComponentsAnswer",
            success(json!({
                "components": components(), "component_entitlements": entitlements(),
            })),
        ),
        (
            "ComponentsStatusAnswer",
            whole(json!({
                "components": components(), "component_entitlements": entitlements(),
            })),
        ),
        (
            "CheckOutLicenseAnswer",
            success(json!({
                "checkout_key": requests::id("The checkout."),
                "expiration_time": instant("Until when."),
                "features": features(),
            })),
        ),
        ("CheckInLicenseAnswer", success(json!({}))),
    ]
}

fn failure() -> Value {
    let mut table = "What is wrong, in a word that never changes.\n".to_owned();
    for symbol in SYMBOLS.iter() {
        table += &format!("\n* `{}` ({}): {}", symbol.name, symbol.number, symbol.meaning);
    }
    let symbols: Vec<&str> = SYMBOLS.iter().map(|symbol| symbol.name).collect();
    json!({
        "type": "object",
        "required": ["status", "success", "time", "error", "code"],
        "properties": {
            "status": {
                "type": "integer", "minimum": 1,
                "description": "The number of `code`: placeholders of ours.",
            },
            "success": { "const": false },
            "time": instant("The time of the broker."),
            "error": text("What is wrong, for people: the words may change."),
            "code": { "enum": symbols, "description": table },
            "effect": {
                "enum": ["none", "unknown"],
                "description": "With 429, 500, 503 and 507: whether anything may have happened.",
            },
        },
    })
}

fn component() -> Value {
    let mut component = whole(json!({
        "name": text("What checkouts name."),
        "license_model": { "enum": ["session", "token", "consumable token", "none"] },
        "tokens_required": super::answers::amount("What a checkout costs now."),
        "free_trial": { "type": "boolean", "description": "Whether it is on trial now." },
        "original_tokens_required": super::answers::amount("What it costs outside the trial."),
    }));
    let expiration = instant("Until when it is on trial; only there while it is.");
    put(&mut component, "/properties/free_trial_expiration", expiration);
    component
}

fn entitlement() -> Value {
    let tokens = |what: &str| super::answers::amount(what);
    whole(json!({
        "components": list(text("A component that draws on the pool.")),
        "tokens_entitled": requests::nullable(tokens("Its tokens; null: no limit.")),
        "tokens_in_use": tokens("Held or consumed, by whomever."),
        "tokens_in_use_by_session": tokens("By this session."),
        "sessions_entitled": requests::nullable(whole_number("Its seats; null: no limit.")),
        "sessions_in_use": whole_number("Sessions that have a seat."),
        "in_use_by_session": { "type": "boolean", "description": "Whether this one has." },
    }))
}

/// The statuses beside 200 with which a method fails in its own form, and what they mean.
const FAILURES: &[(&str, &str, bool)] = &[
    ("400", "The request is not well formed: `INVALID_REQUEST`.", false),
    ("409", "The first request under this `Idempotency-Key` is not answered yet.", true),
    ("422", "The `Idempotency-Key` was used for another request.", true),
    ("429", "Too many calls on the session, or sessions, or keys: come back.", false),
    ("500", "A fault of ours.", false),
    ("503", "The broker cannot, or not now.", false),
    ("507", "The disk is full.", true),
];

/// Adds the failures of a method to what it can answer.
pub(super) fn add_failures(responses: &mut Map<String, Value>, is_change: bool) {
    for (status, meaning, only_changes) in FAILURES {
        if *only_changes && !is_change {
            continue;
        }
        let response = responses.entry(*status).or_insert_with(|| json!({ "content": {} }));
        let said = response.get("description").and_then(Value::as_str).map(str::to_owned);
        let said = said.map_or_else(|| (*meaning).to_owned(), |said| format!("{said}. {meaning}"));
        put(response, "description", json!(said));
        if let Some(Value::Object(content)) = response.get_mut("content") {
            content
                .insert("application/json".to_owned(), json!({ "schema": reference("Failure") }));
        }
        if ["409", "429", "503"].contains(status) {
            let schema = json!({ "type": "string" });
            let header =
                json!({ "description": "When to come back, in seconds.", "schema": schema });
            put(response, "headers", json!({ "Retry-After": header }));
        }
    }
}
