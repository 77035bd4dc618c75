//! What request bodies look like: JSON schemas, as strict as the code that reads them.
//!
//! What no schema can say stands in a description: the code behind `http::wire` has the last word.

use serde_json::{Value, json};

use super::Version;
use crate::domain::limits::{
    ACTIONS_MAX, CLAUSE_VALUES_MAX, CLAUSES_MAX, CONDITIONS_MAX, COUNT_MAX, EFFECTIVE_FROM_MAX_MS,
    EFFECTIVE_FROM_MIN_MS, FORMULA_CHARS_MAX, ITEMS_MAX, KEYS_SENT_MAX, RATE_TABLE_ITEMS_MAX,
    TERM_MAX_MS, TEXT_CHARS_MAX, VARIABLE_CHARS_MAX, VARIABLES_MAX,
};

const NO_CONTROLS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// `.` and `..` between slashes, and what would be an escape that is escaped again.
const PATH_REFUSES: [&str; 2] = [r"(^|/)\.\.?(/|$)", "%[0-9A-Fa-f][0-9A-Fa-f]"];
const UUID: &str = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// A schema under its name.
pub(super) type Named = (&'static str, Value);

/// An object that has these members and no others.
pub(super) fn closed(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object", "required": required, "properties": properties,
        "additionalProperties": false,
    })
}

/// Sets a member, which a JSON pointer names where it lies deeper.
pub(super) fn put(whole: &mut Value, pointer: &str, part: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(Value::Object(members)) = whole.pointer_mut(parent) {
        members.insert(name.to_owned(), part);
    }
}

/// The schema of this name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A name: it may not be empty.
pub(super) fn name(description: &str) -> Value {
    let mut schema = text(description);
    put(&mut schema, "minLength", json!(1));
    schema
}

/// A text that may be empty.
pub(super) fn text(description: &str) -> Value {
    json!({
        "type": "string", "maxLength": TEXT_CHARS_MAX, "pattern": NO_CONTROLS,
        "description": description,
    })
}

/// The same, or `null`: in a request as good as leaving it out.
pub(super) fn nullable(mut schema: Value) -> Value {
    let one = schema.get("type").cloned();
    put(&mut schema, "type", json!([one, "null"]));
    schema
}

/// An id that somebody else has chosen, as `path::check_decoded` lets it pass.
pub(super) fn path_text(description: &str) -> Value {
    let refused = PATH_REFUSES.map(|pattern| json!({ "pattern": pattern }));
    json!({
        "type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX,
        "pattern": r"^[^\\;\u0000-\u001f\u007f-\u009f]*$",
        "not": { "anyOf": refused },
        "description": description,
    })
}

/// An id that may stand in a path, and is shorter.
fn key_id() -> Value {
    let mut id = path_text("Unique among the keys of its kind; the `kid` of its tokens.");
    put(&mut id, "maxLength", json!(128));
    id
}

/// An id that the broker has made.
pub(super) fn id(description: &str) -> Value {
    json!({ "type": "string", "format": "uuid", "pattern": UUID, "description": description })
}

/// Milliseconds since 1970, UTC.
pub(super) fn time(first: u64, last: u64, description: &str) -> Value {
    json!({
        "type": "integer", "format": "int64", "minimum": first, "maximum": last,
        "description": format!("{description} In milliseconds since 1970, UTC."),
    })
}

/// The bodies that are the same in both versions.
pub(super) fn common() -> Vec<Named> {
    let clause = |operators: Value| {
        closed(
            &["key", "operator", "values"],
            json!({
                "key": name("A member of the requester's `dictionary`."),
                "operator": operators,
                "values": {
                    "type": "array", "minItems": 1, "maxItems": CLAUSE_VALUES_MAX,
                    "items": text("Compared as text, case-sensitively."),
                },
            }),
        )
    };
    let simple = json!({
        "enum": ["IN", "NOT"],
        "description": "IN: some value of the key is among `values`. NOT: none is.",
    });
    vec![
        (
            "NewInstance",
            closed(
                &["shortName", "accountId"],
                json!({
                    "shortName": name("A label."),
                    "accountId": name("The customer. Its first instance becomes its default one."),
                }),
            ),
        ),
        ("Clause", clause(simple)),
        ("Joined", joined()),
        (
            "NewConditions",
            closed(
                &["conditions"],
                json!({ "conditions": {
                    "type": "array", "minItems": 1, "maxItems": CONDITIONS_MAX,
                    "items": closed(&["name", "condition"], json!({
                        "id": id("Changes this condition; without it one is added."),
                        "name": name("A label, not unique."),
                        "condition": { "oneOf": [reference("Clause"), reference("Joined")] },
                    })),
                }}),
            ),
        ),
        ("NewActions", new_actions()),
        (
            "NewKeys",
            json!({
                "type": "array", "minItems": 1, "maxItems": KEYS_SENT_MAX,
                "items": closed(&["publicKey", "id"], json!({
                    "publicKey": {
                        "type": "string",
                        "description": "RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519, as PEM \
                                        (SubjectPublicKeyInfo).",
                    },
                    "id": key_id(),
                })),
            }),
        ),
        (
            "NewSession",
            closed(
                &["instanceId"],
                json!({ "instanceId": {
                    "type": "string", "format": "uuid", "description": "Where it charges.",
                }}),
            ),
        ),
        (
            "NewSetting",
            closed(
                &["name", "value"],
                json!({
                    "name": { "enum": ["timezone.tolerant", "session.charge.period"] },
                    "value": {
                        "type": "string",
                        "description": "`true` or `false`; or `PTnH`, `PTnM`, `PTnHnM` from 10 \
                                        minutes to 24 hours.",
                    },
                }),
            ),
        ),
        (
            "NewSettings",
            json!({ "oneOf": [
                {
                    "type": "array", "minItems": 1, "maxItems": 100,
                    "items": reference("NewSetting"),
                },
                reference("NewSetting"),
            ]}),
        ),
        ("ClockMove", clock_move()),
    ]
}

fn joined() -> Value {
    closed(
        &["operator", "conditions"],
        json!({
            "operator": { "enum": ["AND", "OR"] },
            "conditions": {
                "type": "array", "minItems": 1, "maxItems": CLAUSES_MAX,
                "items": reference("Clause"),
            },
        }),
    )
}

fn new_actions() -> Value {
    let action = closed(
        &["name", "action"],
        json!({
            "id": id("Keeps this action and its counter; without it one is added."),
            "name": name("A label, not unique."),
            "conditionId": nullable(id("When it decides; the default action has none.")),
            "action": { "enum": ["ALLOW", "DENY"] },
            "allocation": {
                "type": ["number", "null"], "minimum": 0, "maximum": i64::MAX,
                "description": "How many tokens it may give, with at most 9 decimals. Required \
                                beside ALLOW and a `conditionId`.",
            },
            "used": { "description": "Ignored, so that a list can be sent back as it was read." },
        }),
    );
    json!({
        "type": "array", "maxItems": ACTIONS_MAX, "items": action,
        "description": "In order: the first whose condition holds decides. At most one has no \
                        `conditionId`; it decides last.",
    })
}

fn clock_move() -> Value {
    let set = time(EFFECTIVE_FROM_MIN_MS, EFFECTIVE_FROM_MAX_MS, "Where to: never back.");
    let advance = json!({
        "type": "integer", "minimum": 0, "maximum": EFFECTIVE_FROM_MAX_MS,
        "description": "So many milliseconds on.",
    });
    json!({ "oneOf": [
        closed(&["set"], json!({ "set": set })),
        closed(&["advance"], json!({ "advance": advance })),
    ]})
}

/// The bodies that differ between the versions.
pub(super) fn versioned(version: Version) -> Vec<Named> {
    vec![
        ("NewRateTable", new_rate_table(version)),
        ("NewLineItem", new_line_item(version)),
        ("AccessRequest", access_request(version, false)),
        ("SessionAccessRequest", access_request(version, true)),
    ]
}

fn new_rate_table(version: Version) -> Value {
    let rate = json!({
        "type": "number", "minimum": 0, "maximum": COUNT_MAX,
        "description": "Tokens for one. At most 9 decimals: a rate is never rounded.",
    });
    let mut properties = json!({
        "name": name("What can be used."),
        "version": nullable(text("Matched exactly; left out it is empty.")),
        "rate": &rate,
    });
    let item = if version == Version::V1_0 {
        closed(&["name", "rate"], properties)
    } else {
        put(&mut properties, "rate", nullable(rate));
        put(
            &mut properties,
            "formula",
            json!({
                "type": ["string", "null"], "minLength": 1, "maxLength": FORMULA_CHARS_MAX,
                "description": "Instead of a rate: numbers, variables, `+ - * / ^`, parentheses, \
                                FLOOR.MATH(x), CEILING.MATH(x), POWER(x,y), PRODUCT(x,y), \
                                SUM(x,y), ABS(x), MIN(x,y), MAX(x,y), ROUND(x,precision). What \
                                is no formula is refused when the table is posted.",
            }),
        );
        let one_of = |there: &str, kind: &str, absent: &str| {
            json!({
                "required": [there],
                "properties": { there: { "type": kind }, absent: { "type": "null" } },
            })
        };
        let mut item = closed(&["name"], properties);
        put(
            &mut item,
            "oneOf",
            json!([one_of("rate", "number", "formula"), one_of("formula", "string", "rate")]),
        );
        item
    };
    let from = "From when on its prices hold, in place of the table of its series before it.";
    closed(
        &["effectiveFrom", "version", "items"],
        json!({
            "effectiveFrom": time(EFFECTIVE_FROM_MIN_MS, EFFECTIVE_FROM_MAX_MS, from),
            "series": nullable(text("Line items name the series that prices them. Left out it \
                                     is empty.")),
            "version": name("Of each series every version is published once."),
            "items": {
                "type": "array", "minItems": 1, "maxItems": RATE_TABLE_ITEMS_MAX, "items": item,
                "description": "No name and version is priced twice.",
            },
        }),
    )
}

fn new_line_item(version: Version) -> Value {
    let mut attributes = json!({
        "elastic": {
            "type": ["boolean", "null"],
            "description": "Whether access requests charge it. Left out it is false.",
        },
        "rateTableSeries": nullable(text("The series that prices it; empty: the tables without \
                                          one.")),
        "overdraftType": { "enum": ["Number", "Unlimited", null] },
        "overdraftLimit": {
            "type": ["integer", "null"], "format": "int64", "minimum": 0, "maximum": i64::MAX,
            "description": "With overdraftType Number, and only with it.",
        },
    });
    if version == Version::V1_1 {
        put(&mut attributes, "resetFrequency", nullable(text("Kept and shown; it has no effect.")));
    }
    let mut attributes = closed(&[], attributes);
    put(
        &mut attributes,
        "anyOf",
        json!([
            {
                "required": ["overdraftType", "overdraftLimit"],
                "properties": {
                    "overdraftType": { "const": "Number" }, "overdraftLimit": { "type": "integer" },
                },
            },
            { "properties": {
                "overdraftType": { "enum": ["Unlimited", null] },
                "overdraftLimit": { "type": "null" },
            }},
        ]),
    );
    closed(
        &["activationId", "state", "quantity", "start", "end", "attributes"],
        json!({
            "activationId": activation_id(),
            "state": {
                "enum": ["DEPLOYED", "INACTIVE", "OBSOLETE"],
                "description": "A new line item is DEPLOYED; an OBSOLETE one stays so.",
            },
            "quantity": {
                "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX,
                "description": "How many tokens it has.",
            },
            "start": time(0, TERM_MAX_MS, "The first instant at which it can be charged."),
            "end": time(0, TERM_MAX_MS, "The last such instant, not before `start`."),
            "attributes": attributes,
            "used": { "description": "Ignored." },
            "held": { "description": "Ignored." },
            "instanceId": { "description": "Ignored: the path names the instance." },
        }),
    )
}

/// What `path::check_decoded` lets pass, and what is the path of something else.
fn activation_id() -> Value {
    let mut id = path_text("The line item's id. It must be able to stand in a path.");
    if let Some(Value::Array(refused)) = id.pointer_mut("/not/anyOf") {
        refused.push(json!({ "const": "actions" }));
    }
    id
}

fn access_request(version: Version, in_session: bool) -> Value {
    let mut item = json!({
        "item": name("What is to be used."),
        "version": nullable(text("Matched exactly; left out it is empty.")),
        "requestedVersion": nullable(text("The same under another name; of the two send one.")),
        "count": {
            "type": "number", "exclusiveMinimum": 0.000_000_000_5, "maximum": COUNT_MAX,
            "description": "How many. Rounded to 9 decimals, half-even.",
        },
        "metaData": {
            "type": ["object", "null"],
            "description": "Kept with the usage rows. At most 16 KiB and 16 levels deep.",
        },
    });
    if version == Version::V1_1 {
        put(
            &mut item,
            "variables",
            json!({
                "type": ["object", "null"], "maxProperties": VARIABLES_MAX,
                "propertyNames": {
                    "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": VARIABLE_CHARS_MAX,
                },
                "additionalProperties": {
                    "type": "number", "minimum": -1_000_000_000, "maximum": COUNT_MAX,
                },
                "description": "For formulas. No two names differ only in case.",
            }),
        );
    }
    let requester = closed(
        &["type", "value"],
        json!({
            "type": name("Such as `user`."),
            "value": name("Who it is."),
            "dictionary": {
                "type": ["object", "null"],
                "description": "What conditions ask after: texts, numbers, booleans and lists of \
                                them. At most 16 KiB and 16 levels deep.",
            },
        }),
    );
    let items = json!({
        "type": "array", "minItems": u8::from(!in_session), "maxItems": ITEMS_MAX,
        "items": closed(&["item", "count"], item),
    });
    let mut properties = json!({ "requester": requester, "requestedItems": items });
    if !in_session {
        return closed(&["requester", "requestedItems"], properties);
    }
    put(
        &mut properties,
        "/requestedItems/description",
        json!("The whole set from now on. Empty: the session halts."),
    );
    put(
        &mut properties,
        "rollbackOnDeny",
        json!({
            "type": "boolean",
            "description": "If the set is denied: whether the session goes on as before, or ends.",
        }),
    );
    closed(&["requester", "requestedItems", "rollbackOnDeny"], properties)
}
