//! Line items (spec 2.3). Unlike every other body, one that is refused is told all its faults at
//! once, each as a JSON path and a reason.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::path::{self, BadPath};
use super::read::{self, Fault, type_name};
use super::{Bracket, Dialect, Json};
use crate::broker::LineItemView;
use crate::domain::catalogue::check_terms;
use crate::domain::ids::Text;
use crate::domain::limits::TERM_MAX_MS;
use crate::domain::line_item::{LineItemState, Overdraft, Terms};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Decimal;
use crate::domain::tokens::Tokens;

/// Members that are no business of the body are listed up to this number.
const UNKNOWN_LISTED_MAX: usize = 16;
const MEMBERS: &[&str] = &[
    "activationId",
    "state",
    "quantity",
    "start",
    "end",
    "attributes",
    // Read-only: what a client sends there is ignored (spec 2.3).
    "used",
    "held",
    "instanceId",
];
const ATTRIBUTES_1_0: &[&str] = &["elastic", "rateTableSeries", "overdraftLimit", "overdraftType"];
const ATTRIBUTES_1_1: &[&str] =
    &["elastic", "rateTableSeries", "overdraftLimit", "overdraftType", "resetFrequency"];

/// Why a line item is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not even one JSON object.
    Malformed(Fault),
    /// What is wrong with it, one sentence each.
    Invalid(Vec<String>),
}

/// Reads the terms of a line item.
pub(crate) fn read(body: &[u8], dialect: &Dialect) -> Result<Terms, Refused> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refused::Malformed(read::not_utf8(body, error.valid_up_to())))?;
    let mut faults = Vec::new();
    let mut top = Part { path: "$", members: members(text, "", text)?, faults: &mut faults };
    top.refuse_unknown(MEMBERS);
    let activation_id = top.required("activationId", activation_id);
    let state = top.required("state", state);
    let quantity = top.required("quantity", |raw| integer(raw, 1, i64::MAX));
    let last = i64::try_from(TERM_MAX_MS).unwrap_or(i64::MAX);
    let start = top.required("start", |raw| integer(raw, 0, last));
    let end = top.required("end", |raw| integer(raw, 0, last));
    let attributes = top.required("attributes", |raw| match raw.starts_with('{') {
        true => Ok(raw),
        false => Err(wrong_type(raw, "object")),
    });
    let attributes = match attributes {
        Some(raw) => {
            let members = members(raw, "/attributes", text)?;
            Some(read_attributes(members, dialect, &mut faults))
        }
        None => None,
    };
    if let (Some(start), Some(end), false) = (start, end, faults.is_empty()) {
        faults.extend(faults_of_the_domain(quantity, start, end));
    }
    let whole = (activation_id, state, quantity, start, end, attributes);
    let (
        Some(activation_id),
        Some(state),
        Some(quantity),
        Some(start),
        Some(end),
        Some(attributes),
    ) = whole
    else {
        return Err(Refused::Invalid(faults));
    };
    if !faults.is_empty() {
        return Err(Refused::Invalid(faults));
    }
    let Attributes { elastic, series, overdraft, reset_frequency } = attributes;
    let (start, end) = (Timestamp::from_ms(start), Timestamp::from_ms(end));
    Ok(Terms {
        activation_id,
        state,
        quantity,
        start,
        end,
        elastic,
        series,
        overdraft,
        reset_frequency,
    })
}

/// What the domain, which only gets whole terms, would have found in the part that could be read.
fn faults_of_the_domain(quantity: Option<u64>, start: u64, end: u64) -> Vec<String> {
    let (start, end) = (Timestamp::from_ms(start), Timestamp::from_ms(end));
    let terms = Terms::new(Text::empty(), quantity.unwrap_or(1), start, end);
    match check_terms(&terms, None) {
        Err(Refusal::LineItemInvalid(faults)) => faults,
        Ok(()) | Err(_) => Vec::new(),
    }
}

struct Attributes {
    elastic: bool,
    series: Text,
    overdraft: Overdraft,
    reset_frequency: Option<Text>,
}

fn read_attributes(
    members: Vec<(Cow<'_, str>, &str)>,
    dialect: &Dialect,
    faults: &mut Vec<String>,
) -> Attributes {
    let mut part = Part { path: "$.attributes", members, faults };
    let known = if dialect.reset_frequency { ATTRIBUTES_1_1 } else { ATTRIBUTES_1_0 };
    part.refuse_unknown(known);
    let elastic = part.optional("elastic", boolean);
    let series = part.optional("rateTableSeries", text);
    let limit = part.optional("overdraftLimit", |raw| integer(raw, 0, i64::MAX));
    let number = part.optional("overdraftType", overdraft_is_number);
    let reset_frequency = match dialect.reset_frequency {
        true => part.optional("resetFrequency", text),
        false => None,
    };
    let sent = |name: &str| part.find(name).is_some_and(|raw| raw != "null");
    let (has_limit, has_type) = (sent("overdraftLimit"), sent("overdraftType"));
    let overdraft = match (number, limit) {
        (Some(true), Some(limit)) => Overdraft::Number(limit),
        (Some(true), None) if !has_limit => {
            part.fault("overdraftLimit", "is missing but overdraftType Number requires it");
            Overdraft::None
        }
        (Some(false), _) if !has_limit => Overdraft::Unlimited,
        (None, _) if !has_limit || has_type => Overdraft::None,
        (Some(true), None) => Overdraft::None,
        (Some(false) | None, _) => {
            part.fault("overdraftLimit", "is only allowed with overdraftType Number");
            Overdraft::None
        }
    };
    let series = series.unwrap_or_else(Text::empty);
    Attributes { elastic: elastic.unwrap_or(false), series, overdraft, reset_frequency }
}

/// An object of the body, and where its faults go.
struct Part<'a, 'f> {
    path: &'static str,
    members: Vec<(Cow<'a, str>, &'a str)>,
    faults: &'f mut Vec<String>,
}

impl<'a> Part<'a, '_> {
    fn find(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, raw)| *raw)
    }

    fn fault(&mut self, member: &str, reason: &str) {
        self.faults.push(format!("{}.{member}: {reason}", self.path));
    }

    fn refuse_unknown(&mut self, known: &[&str]) {
        for (name, _) in &self.members {
            if !known.contains(&name.as_ref()) {
                let shown: String = name.chars().take(80).collect();
                self.faults.push(format!(
                    "{}: property '{shown}' is not defined in the schema and the schema does not \
                     allow additional properties",
                    self.path
                ));
            }
        }
    }

    /// A member that may be missing; null is the same.
    fn optional<T>(
        &mut self,
        member: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.find(member).filter(|raw| *raw != "null")?;
        parse(raw).map_err(|reason| self.fault(member, &reason)).ok()
    }

    fn required<T>(
        &mut self,
        member: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(raw) = self.find(member) else {
            self.fault(member, "is missing but it is required");
            return None;
        };
        parse(raw).map_err(|reason| self.fault(member, &reason)).ok()
    }
}

fn wrong_type(raw: &str, expected: &str) -> String {
    format!("{} found, {expected} expected", type_name(raw))
}

fn integer(raw: &str, least: i64, most: i64) -> Result<u64, String> {
    let number = Decimal::parse(raw).filter(|number| number.scale == 0);
    let number = number.ok_or_else(|| wrong_type(raw, "integer"))?;
    let above = if number.negative { i64::MIN } else { i64::MAX };
    let value = number.as_integer().unwrap_or(above);
    if value < least {
        return Err(format!("must have a minimum value of {least}"));
    }
    if value > most || number.as_integer().is_none() {
        return Err(format!("must have a maximum value of {most}"));
    }
    u64::try_from(value).map_err(|_| "must not be negative".to_owned())
}

fn boolean(raw: &str) -> Result<bool, String> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong_type(raw, "boolean")),
    }
}

fn string(raw: &str) -> Result<Cow<'_, str>, String> {
    if !raw.starts_with('"') {
        return Err(wrong_type(raw, "string"));
    }
    read::string(raw).map_err(|_| "has an escape that means no character".to_owned())
}

fn text(raw: &str) -> Result<Text, String> {
    Text::new(&string(raw)?).map_err(|error| error.to_string())
}

/// An id that no path could name would make a line item that nobody can read or delete.
fn activation_id(raw: &str) -> Result<Text, String> {
    let id = text(raw)?;
    if id.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if id.as_str() == "actions" {
        return Err("cannot be `actions`: that is the path of all actions".to_owned());
    }
    match path::check_decoded(id.as_str()) {
        Ok(()) => Ok(id),
        Err(BadPath(reason)) => Err(format!("cannot stand in a path: {reason}")),
    }
}

fn state(raw: &str) -> Result<LineItemState, String> {
    LineItemState::parse(&string(raw)?).ok_or_else(|| {
        "does not have a value in the enumeration [DEPLOYED, INACTIVE, OBSOLETE]".to_owned()
    })
}

fn overdraft_is_number(raw: &str) -> Result<bool, String> {
    match string(raw)?.as_ref() {
        "Number" => Ok(true),
        "Unlimited" => Ok(false),
        _ => Err("does not have a value in the enumeration [Number, Unlimited]".to_owned()),
    }
}

/// The members of an object, not yet read. `pointer` says which object of the body it is.
fn members<'a>(
    text: &'a str,
    pointer: &str,
    body: &str,
) -> Result<Vec<(Cow<'a, str>, &'a str)>, Refused> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let members = Members::deserialize(&mut parser);
    let fault = match members.and_then(|members| parser.end().map(|()| members)) {
        Ok(Members { listed, twice: None }) => return Ok(listed),
        Ok(Members { twice: Some(name), .. }) => read::twice(pointer, &name),
        Err(error) if !error.is_data() => read::bad_json(&error),
        Err(_) if !text.trim_start().starts_with('{') => read::no_object(text),
        // Of an object that is well formed only the names are looked at here.
        Err(_) => read::bad_escape(pointer, body),
    };
    Err(Refused::Malformed(fault))
}

#[derive(Default)]
struct Members<'a> {
    listed: Vec<(Cow<'a, str>, &'a str)>,
    twice: Option<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Members<'a>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                let room = MEMBERS.len() + UNKNOWN_LISTED_MAX;
                while let Some(quoted) = access.next_key::<&'de RawValue>()? {
                    let name = read::string(quoted.get())
                        .map_err(|_| A::Error::custom("a name has an escape that means nothing"))?;
                    if members.listed.iter().any(|(listed, _)| *listed == name) {
                        members.twice.get_or_insert_with(|| name.chars().take(80).collect());
                    }
                    let known =
                        MEMBERS.contains(&name.as_ref()) || ATTRIBUTES_1_1.contains(&name.as_ref());
                    if members.twice.is_none() && (known || members.listed.len() < room) {
                        members.listed.push((name, access.next_value::<&'de RawValue>()?.get()));
                    } else {
                        access.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(members)
            }
        }
        parser.deserialize_map(Object)
    }
}

/// Writes one line item.
pub(crate) fn write(dialect: &Dialect, view: &LineItemView) -> Vec<u8> {
    let mut json = Json::with_capacity(512);
    write_entry(&mut json, dialect, view);
    json.into_bytes()
}

/// Writes a list of them.
pub(crate) fn write_list(dialect: &Dialect, views: &[LineItemView]) -> Vec<u8> {
    let mut json = Json::with_capacity(16 + 320 * views.len());
    json.open(Bracket::Array);
    views.iter().for_each(|view| write_entry(&mut json, dialect, view));
    json.close(Bracket::Array);
    json.into_bytes()
}

fn write_entry(json: &mut Json, dialect: &Dialect, view: &LineItemView) {
    let terms = &view.line_item.terms;
    json.open(Bracket::Object);
    json.text("activationId", terms.activation_id.as_str());
    json.id("instanceId", view.instance);
    json.text("state", terms.state.as_str());
    json.plain("start", terms.start);
    json.plain("end", terms.end);
    json.plain("quantity", terms.quantity);
    json.plain("used", view.balance.used);
    if view.balance.held != Tokens::ZERO {
        json.plain("held", view.balance.held);
    }
    json.open_member("attributes", Bracket::Object);
    json.plain("elastic", terms.elastic);
    json.text("rateTableSeries", terms.series.as_str());
    match terms.overdraft {
        Overdraft::None => {}
        Overdraft::Number(limit) => {
            json.plain("overdraftLimit", limit);
            json.text("overdraftType", "Number");
        }
        Overdraft::Unlimited => json.text("overdraftType", "Unlimited"),
    }
    if let Some(frequency) = terms.reset_frequency.as_ref().filter(|_| dialect.reset_frequency) {
        json.text("resetFrequency", frequency.as_str());
    }
    json.close(Bracket::Object);
    json.close(Bracket::Object);
}

#[cfg(test)]
#[path = "line_items_tests.rs"]
mod tests;
