//! What answers look like: JSON schemas. Clients should expect further members one day.

use serde_json::{Value, json};

use super::Version;
use super::requests::{Named, id, nullable, put, reference};
use crate::domain::keys::KeyClass;

/// An object of which these members are always there.
pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// An object of which all members are always there.
pub(super) fn whole(properties: Value) -> Value {
    let names: Vec<&String> =
        properties.as_object().into_iter().flat_map(|all| all.keys()).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(super) fn time(description: &str) -> Value {
    json!({
        "type": "integer", "format": "int64", "minimum": 0,
        "description": format!("{description} In milliseconds since 1970, UTC."),
    })
}

pub(super) fn whole_number(description: &str) -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": description })
}

/// Exact digits: a reader that takes them for a double may lose some.
pub(super) fn amount(description: &str) -> Value {
    json!({ "type": "number", "minimum": 0, "description": description })
}

pub(super) const NEXT: &str = "Where the next page begins; 0 at the end.";

/// The answers that are the same in both versions.
pub(super) fn common() -> Vec<Named> {
    let balance = whole(json!({
        "activationId": text("The line item."),
        "used": amount("What has been used of it."),
        "available": nullable(amount("What could be charged, overdraft included; null: no bound.")),
    }));
    let setting = object(
        &["name", "value"],
        json!({
            "name": text("Its name."),
            "value": text("Its value, in its shortest form."),
            "modified": time("When it was changed, if it ever was."),
            "updatedBy": text("The id of the key whose token changed it."),
        }),
    );
    vec![
        ("Saved", whole(json!({ "message": text("A sentence.") }))),
        (
            "PublicKeys",
            whole(json!({
                "keys": list(whole(json!({
                    "id": text("Its id."),
                    "type": { "enum": [KeyClass::Administration.as_str(), KeyClass::Client.as_str()] },
                    "publicKey": text("PEM, in its one spelling."),
                    "created": time("When it was first saved."),
                    "modified": time("When the key of this id last became another one."),
                }))),
                "next": whole_number(NEXT),
            })),
        ),
        ("Instance", instance()),
        (
            "Instances",
            whole(json!({
                "content": list(reference("Instance")), "next": whole_number(NEXT),
            })),
        ),
        (
            "Clauses",
            object(
                &["operator"],
                json!({
                    "key": text("A member of the requester's `dictionary`."),
                    "operator": { "enum": ["IN", "NOT", "AND", "OR"] },
                    "values": list(text("Compared as text.")),
                    "conditions": list(reference("Clause")),
                }),
            ),
        ),
        (
            "Conditions",
            list(whole(json!({
                "id": id("What actions name."),
                "name": text("Its label."),
                "condition": reference("Clauses"),
            }))),
        ),
        ("Action", action()),
        ("Actions", list(reference("Action"))),
        (
            "ActionsPage",
            whole(json!({
                "lineItems": list(whole(json!({
                    "lineItemId": text("The line item."), "actions": reference("Actions"),
                }))),
                "next": whole_number(NEXT),
            })),
        ),
        ("Balance", balance),
        ("SessionCreated", whole(json!({ "sessionId": id("The new session.") }))),
        ("Sessions", sessions()),
        ("Session", session()),
        ("Settings", list(setting)),
        ("UsageRow", usage_row()),
        ("Clock", whole(json!({ "now": time("What the test clock shows.") }))),
        (
            "Health",
            object(
                &["status"],
                json!({
                    "status": { "enum": ["live", "ready", "not-ready"] },
                    "reason": text("Why it is not ready."),
                }),
            ),
        ),
    ]
}

fn instance() -> Value {
    whole(json!({
        "id": id("What paths and tokens name."),
        "shortName": text("Its label."),
        "accountId": text("The customer."),
        "defaultInstance": {
            "type": "boolean", "description": "Whether it is the first of its account.",
        },
        "created": time("When it was created."),
        "modified": time("When it was changed last."),
    }))
}

fn action() -> Value {
    object(
        &["id", "name", "action"],
        json!({
            "id": id("What charges and changes name."),
            "name": text("Its label."),
            "conditionId": id("When it decides; the default action has none."),
            "action": { "enum": ["ALLOW", "DENY"] },
            "allocation": amount("How many tokens it may give."),
            "used": amount("How many of them it has given."),
        }),
    )
}

fn sessions() -> Value {
    list(whole(json!({
        "sessionId": id("The session."),
        "instanceId": id("Its instance."),
        "state": { "enum": ["IDLE", "ACTIVE"] },
        "chargedUntil": time("The end of the paid period; 0 when IDLE."),
        "lastHeartBeat": time("0: never."),
        "lastAccessRequest": time("0: never."),
    })))
}

fn session() -> Value {
    whole(json!({
        "sessionId": id("The session."),
        "instanceId": id("Its instance."),
        "state": { "enum": ["IDLE", "ACTIVE", "TERMINATED", "FAILED"] },
        "items": list(whole(json!({
            "item": text("What is used."), "version": text("May be empty."),
            "count": amount("How many."),
        }))),
    }))
}

fn usage_row() -> Value {
    whole(json!({
        "sequence": whole_number("The record that the row is of."),
        "correlationId": id("Of the request, automatic charge or refund."),
        "tenantId": text("The producer."),
        "usageTime": time("When it happened."),
        "writeTime": time("The same."),
        "consumerId": text("`requester.value`"),
        "consumerType": text("`requester.type`"),
        "accountId": text("The customer."),
        "instanceId": id("Where."),
        "activationId": text("The line item, entitlement or license; empty where nothing was given."),
        "mappedEntitledCount": nullable(whole_number("Its quantity; null: no limit.")),
        "used": nullable(amount("What is charged or consumed of it after the whole record.")),
        "item": text("What was asked for."),
        "itemVersion": text("May be empty."),
        "itemCount": amount("How many were asked for."),
        "rate": nullable(amount("Tokens for one.")),
        "tokens": { "type": "number", "description": "Below 0 for a refund and for what comes back." },
        "eventType": { "enum": ["ACCESS", "AUTOMATIC_CHARGE", "REFUND", "DENIED", "CHECKOUT", "RELEASE", "CONSUMPTION"] },
        "statusCode": nullable(text("As of v1.0.")),
        "statusDescription": nullable(text("In words.")),
        "sessionId": nullable(id("The session, if it was one.")),
        "actionId": nullable(id("The action that gave the tokens.")),
        "metaData": { "type": ["object", "null"], "description": "As it was sent." },
    }))
}

/// The answers that differ between the versions.
pub(super) fn versioned(version: Version) -> Vec<Named> {
    let named = |name: &str| reference(&super::versioned_name(name, version));
    let codes = match version {
        Version::V1_0 => ["101", "102", "201", "301", "306", "4001"],
        Version::V1_1 | Version::V3_0 | Version::V3_1 | Version::V3_2 => {
            ["1001", "1002", "2001", "3001", "3006", "4001"]
        }
    };
    let status = whole(json!({
        "code": {
            "enum": codes,
            "description": "In this order: charged; not judged, because others of its set were \
                            denied; in no effective rate table; no line item may give it; not \
                            enough tokens; a fault of the server.",
        },
        "description": text("The same in words."),
    }));
    vec![
        ("ItemStatus", status),
        ("RateTables", rate_tables(version)),
        ("LineItem", line_item(version)),
        ("LineItems", list(named("LineItem"))),
        ("AccessAnswer", access_answer(&named("ItemStatus"))),
        ("Decision", decision(&named("ItemStatus"))),
    ]
}

fn rate_tables(version: Version) -> Value {
    let mut item = json!({
        "name": text("What is priced."),
        "version": text("There unless it is empty."),
        "rate": amount("Tokens for one."),
    });
    let item = match version {
        Version::V1_0 => {
            put(
                &mut item,
                "/rate/description",
                json!("Tokens for one; missing where v1.1 has a formula."),
            );
            item
        }
        Version::V1_1 | Version::V3_0 | Version::V3_1 | Version::V3_2 => {
            put(&mut item, "formula", text("Instead of the rate, as it was posted."));
            item
        }
    };
    list(object(
        &["effectiveFrom", "version", "items", "created"],
        json!({
            "effectiveFrom": time("From when on it holds."),
            "series": text("There unless it is empty."),
            "version": text("Its version in its series."),
            "items": list(object(&["name"], item)),
            "created": time("When it was published."),
        }),
    ))
}

fn line_item(version: Version) -> Value {
    let mut attributes = json!({
        "elastic": { "type": "boolean", "description": "Whether access requests charge it." },
        "rateTableSeries": text("The series that prices it; empty: the tables without one."),
        "overdraftType": { "enum": ["Number", "Unlimited"] },
        "overdraftLimit": whole_number("With overdraftType Number."),
    });
    if version == Version::V1_1 {
        put(&mut attributes, "resetFrequency", text("As it was sent; it has no effect."));
    }
    let mut shown = whole(json!({
        "activationId": text("The line item's id."),
        "instanceId": id("Where it is mapped."),
        "state": { "enum": ["DEPLOYED", "INACTIVE", "OBSOLETE"] },
        "start": time("The first instant at which it can be charged."),
        "end": time("The last such instant."),
        "quantity": whole_number("How many tokens it has."),
        "used": amount("How many of them are used, overdraft included."),
        "attributes": object(&["elastic", "rateTableSeries"], attributes),
    }));
    let held = amount("How many of them components hold; only there if there are any.");
    put(&mut shown, "/properties/held", held);
    shown
}

fn access_answer(status: &Value) -> Value {
    let take = object(
        &["rate", "activationId", "tokensCharged"],
        json!({
            "rate": amount("Tokens for one."),
            "activationId": text("The line item that was charged."),
            "tokensCharged": amount("So many tokens."),
            "actionId": id("The action whose allocation gave them."),
        }),
    );
    let item = object(
        &["item", "count", "totalTokensCharged", "lineItems", "status"],
        json!({
            "item": text("As it was sent."),
            "version": { "type": ["string", "null"], "description": "As it was sent." },
            "requestedVersion": { "type": ["string", "null"], "description": "As it was sent." },
            "count": amount("How many were asked for."),
            "totalTokensCharged": amount("0 where it was not granted."),
            "lineItems": list(take),
            "status": status,
        }),
    );
    object(
        &["requestedItems", "requester", "correlationId"],
        json!({
            "requestedItems": list(item),
            "requester": {
                "type": "object", "description": "As it was sent.", "additionalProperties": true,
            },
            "correlationId": id("Names the decision: in usage rows, and in `/decisions`."),
            "dryRun": { "const": true, "description": "It is a quote: nothing was charged." },
            "balances": {
                "type": "array", "items": reference("Balance"),
                "description": "With `balances=true`: the line items that were charged or \
                                refunded, right after it.",
            },
        }),
    )
}

fn decision(status: &Value) -> Value {
    let refunds = list(object(
        &["activationId", "tokens"],
        json!({
            "activationId": text("The line item."), "item": text("Of which item."),
            "version": text("Of which version."), "tokens": amount("So many tokens."),
            "actionId": id("The action that had given them."),
        }),
    ));
    object(
        &[
            "correlationId",
            "sequence",
            "time",
            "kind",
            "instanceId",
            "accountId",
            "consistent",
            "items",
            "refunds",
            "balances",
        ],
        json!({
            "correlationId": id("The decision."),
            "refundCorrelationId": id("The refund that went with it."),
            "sequence": whole_number("Its record in the journal."),
            "time": time("When it was decided."),
            "kind": { "enum": [
                "ONE_OFF", "SESSION", "AUTOMATIC_CHARGE", "CLOSE", "MISSED_HEARTBEAT", "IDLE_LIMIT",
            ]},
            "instanceId": id("Where."),
            "accountId": text("Whose."),
            "sessionId": id("The session, if it was one."),
            "sessionOutcome": { "enum": ["CHARGED", "UNCHANGED", "HALTED", "TERMINATED"] },
            "consistent": {
                "type": "boolean", "description": "Whether deciding again comes to the same.",
            },
            "requester": whole(json!({
                "type": text("As it was sent."), "value": text("As it was sent."),
                "dictionary": list(whole(json!({
                    "key": text("A key."), "value": text("A value."),
                }))),
            })),
            "items": list(decided_item(status)),
            "refunds": refunds,
            "refundsCounted": refunds,
            "balances": list(reference("Balance")),
        }),
    )
}

fn decided_item(status: &Value) -> Value {
    let shortfall = json!({
        "type": ["object", "null"], "required": ["activationId"],
        "description": "What would have granted it: so many tokens more.",
        "properties": {
            "activationId": text("On this line item,"),
            "quantity": whole_number("to its quantity,"),
            "quantityNow": whole_number("which is this,"),
            "actionId": id("and on this action,"), "actionName": text("called so,"),
            "allocation": whole_number("to its allocation,"),
            "allocationNow": amount("which is this."),
        },
    });
    object(
        &["item", "version", "count", "totalTokensCharged", "status", "lineItems"],
        json!({
            "item": text("What was asked for."), "version": text("May be empty."),
            "count": amount("How many."),
            "variables": list(whole(json!({
                "name": text("A variable."), "value": { "type": "number" },
            }))),
            "totalTokensCharged": amount("0 where it was not granted."),
            "status": status,
            "reason": { "enum": ["TOO_MANY_LINE_ITEMS", "CEILING", "AFTER_OTHERS"] },
            "lineItems": list(considered()),
            "more": whole_number("So many line items are not listed."),
            "shortfall": shortfall,
        }),
    )
}

/// A line item of a decision, and the first obstacle that it had.
fn considered() -> Value {
    let table = whole(json!({
        "series": text("May be empty."), "version": text("Its version."),
        "effectiveFrom": time("From when on it holds."),
    }));
    let action = json!({
        "type": ["object", "null"], "required": ["id", "name"],
        "description": "The action that decided; null: none did.",
        "properties": {
            "id": id("The action."), "name": text("Its label."),
            "conditionId": id("Its condition."), "conditionName": text("The condition's label."),
            "allocation": amount("How much it may give."), "left": amount("What was left of it."),
        },
    });
    object(
        &["activationId", "standing"],
        json!({
            "activationId": text("The line item."),
            "standing": { "enum": [
                "NOT_ELASTIC", "NOT_DEPLOYED", "NOT_STARTED", "ENDED", "NO_RATE_TABLE",
                "NOT_IN_RATE_TABLE", "DENIED_BY_RULES", "FORMULA_FAILS", "USABLE",
            ]},
            "state": { "enum": ["INACTIVE", "OBSOLETE"] },
            "start": time("When it begins."), "end": time("When it ended."),
            "series": text("The series without a table."),
            "rateTable": table,
            "rate": amount("Tokens for one."),
            "formula": text("What the rate comes from."), "error": text("Why it has no result."),
            "action": action,
            "entitled": amount("What it could give of its quantity."),
            "withOverdraft": nullable(amount("With its overdraft; null: no bound.")),
            "tokensTaken": amount("What the decision took of it."),
        }),
    )
}
