//! Examples of bodies and answers. A test sends them in order to a real server.

use serde_json::{Value, json};

use super::super::operation::Operation;
use super::Version;
use super::requests::put;
use super::{component_examples, licensing};
use crate::domain::keys::KeyClass;

/// The ids that the examples name; whoever plays them puts the real ones in their place.
pub(super) const INSTANCE: &str = "64d2028c-ae87-4069-a624-66089d957ef9";
pub(super) const SESSION: &str = "0b7c4bb1-5d6c-4a53-9e3e-1f2a4f9d7c10";
pub(super) const CONDITION: &str = "3f0c1a52-7a0e-4f7e-8a53-2a9b6f0f7d21";
const ACTION: &str = "9d2c7e84-1b3f-4c60-9a75-5e8d0c6b4a32";
const DEFAULT_ACTION: &str = "a1c5e9d3-60b7-4f28-8d14-7f3b2e6c9d43";
pub(super) const CORRELATION: &str = "c7e1f5b9-2d84-4a6e-b093-8a4d5f7e1c54";
pub(super) const LINE_ITEM: &str = "ACT01";
pub(super) const KEY: &str = "shop-2";
pub(super) const SERIES: &str = "PublicationApps";

const PUBLISHED: u64 = 1_698_849_852_000;
pub(super) const LATER: u64 = 7_258_118_400_000;
pub(super) const NOW: u64 = 1_795_602_145_028;
pub(super) const HOUR: u64 = 3_600_000;

/// What a client's operator sends; the private half belongs to nobody.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEALC4sh2f99ienG8nYn63B0IkyZR+ruFKWbUFaJFm/n3Q=\n\
    -----END PUBLIC KEY-----\n";

/// Examples under their names, in the order in which they can be sent.
pub(super) type Examples = Vec<(&'static str, Value)>;

/// What can be sent to an operation.
pub(super) fn bodies(operation: Operation, version: Version) -> Examples {
    match operation {
        Operation::PublishRateTable => {
            let mut examples =
                vec![("inEffect", rate_table(PUBLISHED, "1")), ("later", rate_table(LATER, "2"))];
            if version == Version::V1_1 {
                let mut formula = rate_table(PUBLISHED + 1, "3");
                put(
                    &mut formula,
                    "items",
                    json!([
                        { "name": "PhotoPrint", "version": "1.0", "rate": 3 },
                        { "name": "CADPrint", "version": "2.0", "rate": 7 },
                        { "name": "Poster", "formula": "CEILING.MATH(basePrice * 1.2) + extra" },
                    ]),
                );
                examples.push(("formula", formula));
            }
            examples
        }
        Operation::SaveAdministrationKeys | Operation::SaveClientKeys => {
            vec![("keys", json!([{ "publicKey": PEM, "id": KEY }]))]
        }
        Operation::CreateInstance => {
            vec![("instance", json!({ "shortName": "ACME-def-inst", "accountId": "ACME" }))]
        }
        Operation::MapLineItem => {
            vec![("deployed", line_item("DEPLOYED")), ("obsolete", line_item("OBSOLETE"))]
        }
        Operation::CreateActions => vec![("actions", actions())],
        Operation::ReplaceActions => {
            let mut kept = actions();
            put(&mut kept, "/0/id", json!(ACTION));
            put(&mut kept, "/0/allocation", json!(200));
            vec![("actions", kept)]
        }
        Operation::ChangeConditions => vec![
            ("simple", json!({ "conditions": [engineering()] })),
            (
                "joined",
                json!({ "conditions": [{
                    "name": "Product teams outside the US",
                    "condition": { "operator": "AND", "conditions": [
                        { "key": "department", "operator": "IN", "values": ["PM", "PMM"] },
                        { "key": "region", "operator": "NOT", "values": ["US"] },
                    ]},
                }]}),
            ),
        ],
        Operation::OneOffAccess => access_requests(version),
        Operation::CreateSession => vec![("session", json!({ "instanceId": INSTANCE }))],
        Operation::SessionAccess => {
            let mut set = access_request();
            put(&mut set, "rollbackOnDeny", json!(true));
            let mut halt = set.clone();
            put(&mut halt, "requestedItems", json!([]));
            vec![("set", set), ("halt", halt)]
        }
        Operation::ChangeConfiguration => {
            let setting = |name, value| json!({ "name": name, "value": value });
            vec![
                ("one", setting("timezone.tolerant", "true")),
                ("list", json!([setting("session.charge.period", "PT30M")])),
            ]
        }
        Operation::Licensing(operation) => licensing::bodies(operation),
        Operation::Component(method) => component_examples::bodies(method),
        Operation::MoveTestClock => {
            vec![("advance", json!({ "advance": HOUR })), ("set", json!({ "set": LATER }))]
        }
        Operation::Liveness
        | Operation::Readiness
        | Operation::Metrics
        | Operation::ReadDescription
        | Operation::ReadPage
        | Operation::ReadTestClock
        | Operation::DeleteAdministrationKey
        | Operation::DeleteClientKey
        | Operation::ListPublicKeys
        | Operation::ListRateTables
        | Operation::DeleteRateTable
        | Operation::ListInstances
        | Operation::ListLineItems
        | Operation::ReadLineItem
        | Operation::DeleteLineItem
        | Operation::ReadActions
        | Operation::DeleteActions
        | Operation::ListActions
        | Operation::ListConditions
        | Operation::DeleteConditions
        | Operation::DeleteCondition
        | Operation::ListSessions
        | Operation::ReadSession
        | Operation::Heartbeat
        | Operation::CloseSession
        | Operation::ReadConfiguration
        | Operation::ReadUsage
        | Operation::ExplainDecision => Vec::new(),
    }
}

/// What an operation answers when all goes well; nothing where it answers nothing.
pub(super) fn answer(operation: Operation, version: Version) -> Option<Value> {
    Some(match operation {
        Operation::ListPublicKeys => json!({
            "keys": [{
                "id": KEY, "type": KeyClass::Client.as_str(), "publicKey": PEM, "created": NOW, "modified": NOW,
            }],
            "next": 0,
        }),
        Operation::PublishRateTable => json!({ "message": "Rate table successfully saved" }),
        Operation::ListRateTables => {
            let mut table = rate_table(PUBLISHED, "1");
            put(&mut table, "created", json!(NOW));
            json!([table])
        }
        Operation::CreateInstance => instance(),
        Operation::ListInstances => json!({ "content": [instance()], "next": 0 }),
        Operation::MapLineItem | Operation::ReadLineItem => line_item_shown(),
        Operation::ListLineItems => json!([line_item_shown()]),
        Operation::CreateActions | Operation::ReadActions | Operation::ReplaceActions => {
            actions_shown()
        }
        Operation::ListActions => json!({
            "lineItems": [{ "lineItemId": LINE_ITEM, "actions": actions_shown() }], "next": 0,
        }),
        Operation::ListConditions | Operation::ChangeConditions => {
            let mut condition = engineering();
            put(&mut condition, "id", json!(CONDITION));
            json!([condition])
        }
        Operation::OneOffAccess | Operation::SessionAccess => access_answer(version),
        Operation::CreateSession => json!({ "sessionId": SESSION }),
        Operation::ListSessions => json!([{
            "sessionId": SESSION, "instanceId": INSTANCE, "state": "ACTIVE",
            "chargedUntil": NOW + HOUR, "lastHeartBeat": 0, "lastAccessRequest": NOW,
        }]),
        Operation::ReadSession => json!({
            "sessionId": SESSION, "instanceId": INSTANCE, "state": "ACTIVE",
            "items": [{ "item": "PhotoPrint", "version": "1.0", "count": 10 }],
        }),
        Operation::ReadConfiguration | Operation::ChangeConfiguration => json!([{
            "name": "timezone.tolerant", "value": "true",
            "modified": NOW, "updatedBy": "administration",
        }]),
        Operation::ExplainDecision => decision(version),
        Operation::Licensing(operation) => return licensing::answer(operation),
        Operation::Component(method) => component_examples::answer(method),
        Operation::ReadTestClock | Operation::MoveTestClock => json!({ "now": NOW }),
        Operation::Liveness => json!({ "status": "live" }),
        Operation::Readiness => json!({ "status": "ready" }),
        Operation::Metrics
        | Operation::ReadDescription
        | Operation::ReadPage
        | Operation::ReadUsage
        | Operation::SaveAdministrationKeys
        | Operation::SaveClientKeys
        | Operation::DeleteAdministrationKey
        | Operation::DeleteClientKey
        | Operation::DeleteRateTable
        | Operation::DeleteLineItem
        | Operation::DeleteActions
        | Operation::DeleteConditions
        | Operation::DeleteCondition
        | Operation::Heartbeat
        | Operation::CloseSession => return None,
    })
}

fn rate_table(from: u64, version: &str) -> Value {
    json!({
        "effectiveFrom": from, "series": SERIES, "version": version,
        "items": [
            { "name": "PhotoPrint", "version": "1.0", "rate": 3 },
            { "name": "CADPrint", "version": "2.0", "rate": 7 },
        ],
    })
}

fn instance() -> Value {
    json!({
        "id": INSTANCE, "shortName": "ACME-def-inst", "accountId": "ACME", "defaultInstance": true,
        "created": NOW, "modified": NOW,
    })
}

fn line_item(state: &str) -> Value {
    json!({
        "activationId": LINE_ITEM, "state": state, "quantity": 1000, "start": 1_695_772_800_000_u64,
        "end": 253_402_300_799_999_u64,
        "attributes": { "elastic": true, "rateTableSeries": SERIES },
    })
}

fn line_item_shown() -> Value {
    let mut shown = line_item("DEPLOYED");
    put(&mut shown, "instanceId", json!(INSTANCE));
    put(&mut shown, "used", json!(44));
    shown
}

fn engineering() -> Value {
    json!({
        "name": "Engineering only",
        "condition": { "key": "department", "operator": "IN", "values": ["Engineering"] },
    })
}

fn actions() -> Value {
    json!([
        {
            "name": "Engineering", "conditionId": CONDITION, "action": "ALLOW", "allocation": 150,
        },
        { "name": "Everybody else", "action": "ALLOW" },
    ])
}

fn actions_shown() -> Value {
    let mut shown = actions();
    put(&mut shown, "/0/id", json!(ACTION));
    put(&mut shown, "/0/used", json!(30));
    put(&mut shown, "/1/id", json!(DEFAULT_ACTION));
    shown
}

fn access_request() -> Value {
    json!({
        "requester": {
            "type": "user", "value": "LisaBarry", "dictionary": { "department": "Engineering" },
        },
        "requestedItems": [{
            "item": "PhotoPrint", "version": "1.0", "count": 10, "metaData": { "project": "X-1" },
        }],
    })
}

fn access_requests(version: Version) -> Examples {
    let mut examples = vec![("request", access_request())];
    if version == Version::V1_1 {
        let mut poster = access_request();
        put(
            &mut poster,
            "requestedItems",
            json!([
                { "item": "Poster", "count": 1, "variables": { "basePrice": 2, "extra": 1 } },
            ]),
        );
        examples.push(("variables", poster));
    }
    examples
}

fn charged(version: Version) -> Value {
    let code = match version {
        Version::V1_0 => "101",
        Version::V1_1 | Version::V3_0 | Version::V3_1 | Version::V3_2 => "1001",
    };
    json!({ "code": code, "description": "Successfully checked out" })
}

fn access_answer(version: Version) -> Value {
    let request = access_request();
    json!({
        "requestedItems": [{
            "item": "PhotoPrint", "version": "1.0", "count": 10, "totalTokensCharged": 30,
            "lineItems": [{
                "rate": 3, "activationId": LINE_ITEM, "tokensCharged": 30, "actionId": ACTION,
            }],
            "status": charged(version),
        }],
        "requester": request.get("requester"),
        "correlationId": CORRELATION,
    })
}

fn decision(version: Version) -> Value {
    json!({
        "correlationId": CORRELATION, "sequence": 8, "time": NOW, "kind": "ONE_OFF",
        "instanceId": INSTANCE, "accountId": "ACME", "consistent": true,
        "requester": {
            "type": "user", "value": "LisaBarry",
            "dictionary": [{ "key": "department", "value": "Engineering" }],
        },
        "items": [{
            "item": "PhotoPrint", "version": "1.0", "count": 10, "totalTokensCharged": 30,
            "status": charged(version),
            "lineItems": [{
                "activationId": LINE_ITEM, "standing": "USABLE",
                "rateTable": { "series": SERIES, "version": "1", "effectiveFrom": PUBLISHED },
                "rate": 3,
                "action": {
                    "id": ACTION, "name": "Engineering", "conditionId": CONDITION,
                    "conditionName": "Engineering only", "allocation": 150, "left": 150,
                },
                "entitled": 150, "withOverdraft": 150, "tokensTaken": 30,
            }],
        }],
        "refunds": [],
        "balances": [{ "activationId": LINE_ITEM, "used": 30, "available": 970 }],
    })
}
