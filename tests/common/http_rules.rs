//! What the HTTP stage does about rules of access: who asks, conditions and actions as JSON. A story
//! calls conditions and actions by names; the server by ids.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::http_stage::{OverHttp, digits, read};
use super::model::{self, Action, Amount, Answer, Item, LineAnswer, Rule, Who, text};
use super::server;

/// What the stage knows of rules.
#[derive(Default)]
pub(super) struct Names {
    pub(super) who: Who,
    conditions: BTreeMap<String, String>,
    actions: BTreeMap<String, String>,
}

impl Names {
    fn name_of(&self, action: &str) -> String {
        let found = self.actions.iter().find(|(_, id)| *id == action);
        found.expect("the story made it").0.clone()
    }
}

/// What one line item gives, and no member more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Take<'a> {
    #[serde(borrow)]
    rate: &'a RawValue,
    activation_id: String,
    tokens_charged: &'a RawValue,
    action_id: Option<String>,
}

impl Take<'_> {
    pub(super) fn line(&self, names: &Names) -> LineAnswer {
        LineAnswer {
            activation: self.activation_id.clone(),
            rate: digits(self.rate),
            tokens: digits(self.tokens_charged),
            action: self.action_id.as_deref().map(|id| names.name_of(id)),
        }
    }
}

/// An action, and no member more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listed<'a> {
    id: String,
    name: String,
    condition_id: Option<String>,
    action: String,
    #[serde(borrow)]
    allocation: Option<&'a RawValue>,
    used: Option<&'a RawValue>,
}

pub(super) fn requester(who: &Who) -> Value {
    requester_as("somebody", who)
}

fn requester_as(name: &str, who: &Who) -> Value {
    if who.is_empty() {
        return json!({"type": "user", "value": name});
    }
    let value = |values: &std::collections::BTreeSet<String>| match values.iter().next() {
        Some(only) if values.len() == 1 => json!(only),
        Some(_) | None => json!(values),
    };
    let pairs = who.iter().map(|(key, values)| (key.clone(), value(values)));
    let dictionary: serde_json::Map<String, Value> = pairs.collect();
    json!({"type": "user", "value": name, "dictionary": dictionary})
}

/// The body of an access request, its counts digit by digit; no version is a version left out.
pub(super) fn asking(items: &[Item], who: &Who, rollback: &str) -> String {
    asking_as("somebody", items, who, rollback)
}

/// The same by somebody of this name.
pub(super) fn asking_as(name: &str, items: &[Item], who: &Who, rollback: &str) -> String {
    let one = |Item { name, version, count, variables }: &Item| {
        let variable =
            |(name, value): &(String, Amount)| format!("{}:{}", json!(name), model::text(value));
        let variables = match variables.as_slice() {
            [] => String::new(),
            all => {
                let all: Vec<String> = all.iter().map(variable).collect();
                format!(r#","variables":{{{}}}"#, all.join(","))
            }
        };
        let version = match version.as_str() {
            "" => String::new(),
            version => format!(r#""version":{},"#, json!(version)),
        };
        let count = model::text(count);
        format!(r#"{{"item":{},{version}"count":{count}{variables}}}"#, json!(name))
    };
    let items: Vec<String> = items.iter().map(one).collect();
    let requester = requester_as(name, who);
    format!(r#"{{{rollback}"requester":{requester},"requestedItems":[{}]}}"#, items.join(","))
}

pub(super) fn set_condition(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    name: &str,
    rule: &Rule,
) -> Answer {
    let clause = |clause: &model::Clause| {
        let operator = if clause.is_in { "IN" } else { "NOT" };
        json!({"key": clause.key, "operator": operator, "values": clause.values})
    };
    let mut clauses: Vec<Value> = rule.clauses.iter().map(clause).collect();
    let rule = match clauses.len() {
        1 => clauses.remove(0),
        _ => json!({"operator": if rule.any { "OR" } else { "AND" }, "conditions": clauses}),
    };
    let mut condition = json!({"name": name, "condition": rule});
    let former = stage.rules.conditions.get(name);
    let method = if former.is_some() { "PATCH" } else { "POST" };
    if let Some(id) = former {
        let members = condition.as_object_mut().expect("an object");
        members.insert("id".to_owned(), json!(id));
    }
    let target = format!("{method} /instances/{}/conditions", stage.instance(instance));
    let answer = stage.call(at, &target, &json!({"conditions": [condition]}).to_string(), 200)?;
    let listed = answer.json();
    let own = listed
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one.pointer("/name") == Some(&json!(name)));
    let own = own.expect("it is listed");
    assert_eq!(own.pointer("/condition"), Some(&rule), "as it was sent");
    stage.rules.conditions.insert(name.to_owned(), server::text(own, "/id"));
    Ok(())
}

pub(super) fn delete_condition(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    name: &str,
) -> Answer {
    let id = stage.rules.conditions.get(name).map_or("nothing", String::as_str);
    let target = format!("DELETE /instances/{}/conditions/{id}", stage.instance(instance));
    stage.call(at, &target, "", 204).map(drop)
}

pub(super) fn set_actions(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    activation: &str,
    actions: &[Action],
) -> Answer {
    let path = actions_path(stage, instance, activation);
    let current = stage.call(at, &format!("GET {path}"), "", 200)?;
    let current: Vec<Listed<'_>> = read(&current.body);
    if actions.is_empty() {
        return stage.call(at, &format!("DELETE {path}"), "", 204).map(drop);
    }
    let one = |action: &Action| {
        let mut members = vec![format!(r#""name":{}"#, json!(action.id))];
        if let Some(known) = current.iter().find(|known| known.name == action.id) {
            members.push(format!(r#""id":{}"#, json!(known.id)));
        }
        if let Some(name) = &action.condition {
            let unknown = "00000000-0000-4000-8000-000000000404".to_owned();
            let id = stage.rules.conditions.get(name).unwrap_or(&unknown);
            members.push(format!(r#""conditionId":{}"#, json!(id)));
        }
        members.push(format!(r#""action":"{}""#, if action.allow { "ALLOW" } else { "DENY" }));
        let allocation = action.allocation.iter();
        members.extend(allocation.map(|tokens| format!(r#""allocation":{}"#, text(tokens))));
        format!("{{{}}}", members.join(","))
    };
    let body = format!("[{}]", actions.iter().map(one).collect::<Vec<_>>().join(","));
    let method = if current.is_empty() { "POST" } else { "PUT" };
    let answer = stage.call(at, &format!("{method} {path}"), &body, 200)?;
    for action in read::<Vec<Listed<'_>>>(&answer.body) {
        stage.rules.actions.insert(action.name, action.id);
    }
    Ok(())
}

pub(super) fn counters(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    activation: &str,
) -> Answer<Vec<(String, Amount)>> {
    let path = actions_path(stage, instance, activation);
    let answer = stage.call(at, &format!("GET {path}"), "", 200)?;
    let listed: Vec<Listed<'_>> = read(&answer.body);
    let counter = |action: &Listed<'_>| {
        assert_eq!(action.used.is_some(), action.allocation.is_some(), "both or neither");
        assert!(action.action == "ALLOW" || action.allocation.is_none());
        let _ = &action.condition_id;
        (action.name.clone(), action.used.map_or(model::whole(0), digits))
    };
    Ok(listed.iter().map(counter).collect())
}

fn actions_path(stage: &OverHttp, instance: &str, activation: &str) -> String {
    format!("/instances/{}/line-items/{activation}/actions", stage.instance(instance))
}
