//! Rules of access (spec 2.4, 2.5, 5.2): what is said of a requester, conditions and actions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::list::list;
use super::read::{self, Fault, Flaw, Shape, Value, required, required_name};
use super::{Bracket, Json};
use crate::broker::LineItemView;
use crate::domain::ids::{ActionId, ConditionId, Document, Text};
use crate::domain::limits::{ACTIONS_MAX, CLAUSE_VALUES_MAX, CLAUSES_MAX, CONDITIONS_MAX};
use crate::domain::rules::{
    Clause, Condition, Dictionary, Effect, NewAction, NewCondition, Operator, Rule,
};
use crate::domain::tokens::Tokens;

/// The pairs of a dictionary that a condition can ask after: strings, numbers and booleans as they
/// were written, each of a list. Whatever no condition can name is left out.
pub(super) fn dictionary(document: &Document) -> Dictionary {
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(document.as_str()) else {
        return Dictionary::default(); // Checked before: an object.
    };
    let mut pairs = Vec::new();
    for (key, value) in members {
        let Ok(key) = Text::new(&key) else { continue };
        let listed = serde_json::from_str::<Vec<&RawValue>>(value.get());
        for value in listed.unwrap_or_else(|_| vec![value]) {
            pairs.extend(scalar(value.get()).map(|value| (key.clone(), value)));
        }
    }
    Dictionary::new(pairs)
}

fn scalar(raw: &str) -> Option<Text> {
    match read::type_name(raw) {
        "string" => Text::new(&read::string(raw).ok()?).ok(),
        "object" | "array" | "null" => None,
        _ => Text::new(raw).ok(),
    }
}

/// Reads conditions that are to be added or changed.
pub(crate) fn read_conditions(body: &[u8]) -> Result<Vec<NewCondition>, Fault> {
    read::object::<ConditionsShape>(body)
}

/// Reads the whole list of a line item's actions.
pub(crate) fn read_actions(body: &[u8]) -> Result<Vec<NewAction>, Fault> {
    list::<ActionShape, _, ACTIONS_MAX>(body)
}

#[derive(Default)]
struct ConditionsShape(Option<Vec<NewCondition>>);

impl<'a> Shape<'a> for ConditionsShape {
    type Whole = Vec<NewCondition>;
    const MEMBERS: &'static [&'static str] = &["conditions"];

    fn set(&mut self, _member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        self.0 = Some(value.list::<ConditionShape>(CONDITIONS_MAX)?);
        Ok(())
    }

    fn finish(self) -> Result<Vec<NewCondition>, Flaw> {
        let conditions = required(self.0, "conditions")?;
        if conditions.is_empty() {
            return Err(Flaw::of("conditions", "no-items", "must name at least one condition"));
        }
        Ok(conditions)
    }
}

#[derive(Default)]
struct ConditionShape {
    id: Option<String>,
    name: Option<Text>,
    rule: Option<Rule>,
}

impl<'a> Shape<'a> for ConditionShape {
    type Whole = NewCondition;
    const MEMBERS: &'static [&'static str] = &["id", "name", "condition"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "id" => self.id = Some(value.string()?.into_owned()),
            "name" => self.name = Some(value.text()?),
            _ => self.rule = Some(value.object_as_sent::<RuleShape>()?.0),
        }
        Ok(())
    }

    fn finish(self) -> Result<NewCondition, Flaw> {
        let parsed = |id: String| ConditionId::parse(&id).ok_or_else(|| not_an_id("id"));
        let id = self.id.map(parsed).transpose()?;
        let name = required_name(self.name, "name")?;
        Ok(NewCondition { id, name, rule: required(self.rule, "condition")? })
    }
}

fn not_an_id(member: &str) -> Flaw {
    Flaw::of(member, "bad-id", "must be an id as a list shows it: a UUID in lower case")
}

/// One clause, or several that are joined.
#[derive(Default)]
struct RuleShape {
    clause: ClauseShape,
    conditions: Option<Vec<Clause>>,
}

impl<'a> Shape<'a> for RuleShape {
    type Whole = Rule;
    const MEMBERS: &'static [&'static str] = &["key", "operator", "values", "conditions"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        if member != "conditions" {
            return self.clause.set(member, value);
        }
        self.conditions = Some(value.list::<ClauseShape>(CLAUSES_MAX)?);
        Ok(())
    }

    fn finish(self) -> Result<Rule, Flaw> {
        let Some(clauses) = self.conditions else {
            return Shape::finish(self.clause).map(Rule::Simple);
        };
        if self.clause.key.is_some() || self.clause.values.is_some() {
            let sentence = "goes with `operator` alone: `key` and `values` belong in its entries";
            return Err(Flaw::of("conditions", "conflicting-fields", sentence));
        }
        if clauses.is_empty() {
            return Err(Flaw::of("conditions", "no-items", "must name at least one condition"));
        }
        match required(self.clause.operator, "operator")?.as_str() {
            "AND" => Ok(Rule::And(clauses)),
            "OR" => Ok(Rule::Or(clauses)),
            _ => Err(Flaw::of("operator", "bad-condition", "must be `AND` or `OR` here")),
        }
    }
}

#[derive(Default)]
struct ClauseShape {
    key: Option<Text>,
    operator: Option<String>,
    values: Option<String>,
}

impl<'a> Shape<'a> for ClauseShape {
    type Whole = Clause;
    const MEMBERS: &'static [&'static str] = &["key", "operator", "values"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "key" => self.key = Some(value.text()?),
            "operator" => self.operator = Some(value.string()?.into_owned()),
            _ => self.values = Some(value.raw().to_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Clause, Flaw> {
        let key = required_name(self.key, "key")?;
        let operator = match required(self.operator, "operator")?.as_str() {
            "IN" => Operator::In,
            "NOT" => Operator::Not,
            _ => return Err(Flaw::of("operator", "bad-condition", "must be `IN` or `NOT` here")),
        };
        let raw = required(self.values, "values")?;
        let bad = |code, sentence| Flaw::of("values", code, sentence);
        let values = serde_json::from_str::<Vec<String>>(&raw)
            .map_err(|_| bad("bad-type", "must be a list of strings"))?;
        if values.is_empty() {
            return Err(bad("no-items", "must name at least one value"));
        }
        if values.len() > CLAUSE_VALUES_MAX {
            return Err(bad("too-many-items", "must name at most 1000 values"));
        }
        let text = |value: String| {
            Text::new(&value).map_err(|_| bad("too-long", "255 characters at most, no controls"))
        };
        Ok(Clause {
            key,
            operator,
            values: values.into_iter().map(text).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Default)]
struct ActionShape {
    id: Option<String>,
    name: Option<Text>,
    condition: Option<String>,
    action: Option<String>,
    allocation: Option<String>,
}

impl<'a> Shape<'a> for ActionShape {
    type Whole = NewAction;
    const MEMBERS: &'static [&'static str] =
        &["id", "name", "conditionId", "action", "allocation", "used"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "id" => self.id = Some(value.string()?.into_owned()),
            "name" => self.name = Some(value.text()?),
            "conditionId" => {
                self.condition =
                    value.nullable_text()?.map(|(condition, _)| condition.as_str().to_owned());
            }
            "action" => self.action = Some(value.string()?.into_owned()),
            "allocation" => {
                self.allocation = Some(value.raw().to_owned()).filter(|raw| raw != "null");
            }
            _ => drop(value.raw()), // Read-only: what a list shows may be sent back.
        }
        Ok(())
    }

    fn finish(self) -> Result<NewAction, Flaw> {
        let name = required_name(self.name, "name")?;
        let action = |id: String| ActionId::parse(&id).ok_or_else(|| not_an_id("id"));
        let id = self.id.map(action).transpose()?;
        let condition =
            |id: String| ConditionId::parse(&id).ok_or_else(|| not_an_id("conditionId"));
        let condition = self.condition.map(condition).transpose()?;
        let allocation = self.allocation.as_deref().map(allocation).transpose()?;
        let effect = match required(self.action, "action")?.as_str() {
            "ALLOW" => Effect::Allow(allocation),
            "DENY" => Effect::Deny,
            _ => return Err(Flaw::of("action", "bad-action", "must be `ALLOW` or `DENY`")),
        };
        Ok(NewAction { id, name, condition, effect })
    }
}

/// Tokens up to the greatest quantity, with at most nine decimals as counts and rates have.
fn allocation(raw: &str) -> Result<Tokens, Flaw> {
    let bad = |sentence: &'static str| Flaw::of("allocation", "bad-action", sentence);
    let number = read::decimal(raw).map_err(|_| bad("must be a number"))?;
    if number.negative {
        return Err(bad("must not be negative"));
    }
    if number.scale > 9 {
        return Err(bad("must have at most 9 decimals"));
    }
    let greatest = Tokens::whole(i64::MAX.unsigned_abs());
    let tokens = Tokens::parse(raw).filter(|tokens| *tokens <= greatest);
    tokens.ok_or_else(|| bad("must be at most 9223372036854775807"))
}

/// Writes all conditions of an instance.
pub(crate) fn write_conditions(conditions: &[Arc<Condition>]) -> Vec<u8> {
    let mut json = Json::with_capacity(64 + 256 * conditions.len());
    json.open(Bracket::Array);
    for condition in conditions {
        json.open(Bracket::Object);
        json.id("id", condition.id);
        json.text("name", condition.name.as_str());
        json.open_member("condition", Bracket::Object);
        let (operator, clauses) = match &condition.rule {
            Rule::Simple(clause) => {
                write_clause(&mut json, clause);
                ("", &[][..])
            }
            Rule::And(clauses) => ("AND", clauses.as_slice()),
            Rule::Or(clauses) => ("OR", clauses.as_slice()),
        };
        if !clauses.is_empty() {
            json.text("operator", operator);
            json.open_member("conditions", Bracket::Array);
            for clause in clauses {
                json.open(Bracket::Object);
                write_clause(&mut json, clause);
                json.close(Bracket::Object);
            }
            json.close(Bracket::Array);
        }
        json.close(Bracket::Object);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.into_bytes()
}

fn write_clause(json: &mut Json, clause: &Clause) {
    json.text("key", clause.key.as_str());
    json.text(
        "operator",
        match clause.operator {
            Operator::In => "IN",
            Operator::Not => "NOT",
        },
    );
    json.texts("values", clause.values.iter().map(Text::as_str));
}

/// Writes the actions of one line item.
pub(crate) fn write_actions(view: &LineItemView) -> Vec<u8> {
    let mut json = Json::with_capacity(64 + 192 * view.line_item.actions.len());
    json.open(Bracket::Array);
    write_each_action(&mut json, view);
    json.close(Bracket::Array);
    json.into_bytes()
}

/// Writes a page of line items with their actions; `next` is where the next page begins.
pub(crate) fn write_actions_page(views: &[LineItemView], next: u64) -> Vec<u8> {
    let mut json = Json::with_capacity(64 + 256 * views.len());
    json.open(Bracket::Object);
    json.open_member("lineItems", Bracket::Array);
    for view in views {
        json.open(Bracket::Object);
        json.text("lineItemId", view.line_item.terms.activation_id.as_str());
        json.open_member("actions", Bracket::Array);
        write_each_action(&mut json, view);
        json.close(Bracket::Array);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.plain("next", next);
    json.close(Bracket::Object);
    json.into_bytes()
}

fn write_each_action(json: &mut Json, view: &LineItemView) {
    for action in &view.line_item.actions {
        json.open(Bracket::Object);
        json.id("id", action.id);
        json.text("name", action.name.as_str());
        if let Some(condition) = action.condition {
            json.id("conditionId", condition);
        }
        match action.effect {
            Effect::Deny => json.text("action", "DENY"),
            Effect::Allow(None) => json.text("action", "ALLOW"),
            Effect::Allow(Some(allocation)) => {
                json.text("action", "ALLOW");
                json.plain("allocation", allocation);
                json.plain("used", view.balance.counters.used(action.id));
            }
        }
        json.close(Bracket::Object);
    }
}
