//! THE persistence format of records: an event's bytes, and back. docs/journal-format.md describes
//! it; the format version in every segment's header covers it.

use std::sync::Arc;

use super::code::{CodeError, Coded, Reader, coded_enum, coded_struct, put_marked, take_marked};
use crate::domain::charge::{Denial, Refund, Take, Verdict};
use crate::domain::configuration::Setting;
use crate::domain::event::{
    Access, AutomaticCharge, Event, Next, Record, SessionAccess, SessionClosed,
};
use crate::domain::formula::Formula;
use crate::domain::ids::{Document, Requester};
use crate::domain::keys::{KeyClass, RegisteredKey};
use crate::domain::line_item::{Balance, LineItemState, Overdraft, Posting, Terms};
use crate::domain::price::Price;
use crate::domain::rates::{NewRateTable, RatedItem};
use crate::domain::request::{AccessRequest, RequestedItem};
use crate::domain::rules::{
    Action, Clause, Condition, Counters, Dictionary, Effect, Operator, Rule,
};
use crate::domain::session_time::Outage;
use crate::domain::tokens::Rate;
use crate::domain::variables::{Number, Variable, Variables};

/// Appends a record's bytes.
pub fn encode(record: &Record, bytes: &mut Vec<u8>) {
    record.put(bytes);
}

/// Reads a record's bytes, all of them.
pub fn decode(bytes: &[u8]) -> Result<Record, CodeError> {
    let mut reader = Reader::new(bytes);
    let record = Record::take(&mut reader)?;
    reader.finish()?;
    Ok(record)
}

coded_struct! {
    Record { at, event }
    RegisteredKey { id, class, pem, created }
    NewRateTable { series, version, effective_from, items }
    RatedItem { name, version, rate }
    Variable { name, value }
    Terms {
        activation_id, state, quantity, start, end, elastic, series, overdraft, reset_frequency,
    }
    Posting { line_item, activation_id, after }
    AccessRequest { requester, items }
    Condition { id, place, name, rule }
    Clause { key, operator, values }
    Action { id, name, condition, effect }
    Access { instance, correlation, request, verdicts, postings }
    SessionAccess {
        session, instance, correlation, refund_correlation, request, verdicts, refunds, postings,
        next,
    }
    SessionClosed { session, instance, correlation, refunds, postings }
    AutomaticCharge { session, instance, correlation, verdicts, refunds, postings, next }
    Outage { from, to }
}

/// Stands where a rate does and says that the text of a formula follows. No rate is as large.
const FORMULA_FOLLOWS: u64 = u64::MAX;

/// A rate, as it was written before there were formulas; or a number that is none, and the formula.
impl Coded for Price {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Price::Rate(rate) => rate.units().put(bytes),
            Price::Formula(formula) => {
                FORMULA_FOLLOWS.put(bytes);
                formula.as_str().to_owned().put(bytes);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Price, CodeError> {
        match u64::take(reader)? {
            FORMULA_FOLLOWS => {
                let formula = Formula::parse(&String::take(reader)?).ok();
                let formula = reader.check(formula, "not a formula")?;
                Ok(Price::Formula(Arc::new(formula)))
            }
            units => reader.check(Rate::from_units(units), "not a rate").map(Price::Rate),
        }
    }
}

/// Doubled, and odd below 0.
impl Coded for Number {
    fn put(&self, bytes: &mut Vec<u8>) {
        (self.units().unsigned_abs() << 1 | u64::from(self.units() < 0)).put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Number, CodeError> {
        let doubled = u64::take(reader)?;
        let magnitude = i64::try_from(doubled >> 1).ok();
        let units = if doubled & 1 == 0 { magnitude } else { magnitude.map(|units| -units) };
        reader.check(units.and_then(Number::from_units), "not a number of a variable")
    }
}

/// What follows a requested item's count: bits of one byte. Before there were variables, the first
/// alone: that of an option.
const METADATA_FOLLOWS: u8 = 1;
const VARIABLES_FOLLOW: u8 = 2;

impl Coded for RequestedItem {
    fn put(&self, bytes: &mut Vec<u8>) {
        let RequestedItem { name, version, count, metadata, variables } = self;
        name.put(bytes);
        version.put(bytes);
        count.put(bytes);
        let has = |bit: u8, is_there: bool| if is_there { bit } else { 0 };
        let has_metadata = has(METADATA_FOLLOWS, metadata.is_some());
        bytes.push(has_metadata | has(VARIABLES_FOLLOW, !variables.is_empty()));
        if let Some(metadata) = metadata {
            metadata.put(bytes);
        }
        if !variables.is_empty() {
            variables.all().to_vec().put(bytes);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<RequestedItem, CodeError> {
        let (name, version, count) =
            (Coded::take(reader)?, Coded::take(reader)?, Coded::take(reader)?);
        let follow = reader.byte()?;
        if follow > METADATA_FOLLOWS | VARIABLES_FOLLOW {
            return reader.fail("something unknown follows a requested item");
        }
        let has = |bit: u8| follow & bit != 0;
        let metadata = if has(METADATA_FOLLOWS) { Some(Coded::take(reader)?) } else { None };
        let variables = if has(VARIABLES_FOLLOW) { Vec::take(reader)? } else { Vec::new() };
        let variables = Variables::new(variables).ok();
        let variables = reader.check(variables, "not the variables of an item")?;
        Ok(RequestedItem { name, version, count, metadata, variables })
    }
}

impl Coded for Balance {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.used.put(bytes);
        let has_rules = self.counters != Counters::default();
        put_marked(self.open_lines, has_rules, bytes);
        if has_rules {
            self.counters.put(bytes);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Balance, CodeError> {
        let used = Coded::take(reader)?;
        let (open_lines, has_rules) = take_marked(reader)?;
        let counters = if has_rules { Coded::take(reader)? } else { Counters::default() };
        Ok(Balance { used, open_lines, counters })
    }
}

impl Coded for Take {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.line_item.put(bytes);
        put_marked(self.rate.units(), self.action.is_some(), bytes);
        self.tokens.put(bytes);
        self.action.iter().for_each(|action| action.put(bytes));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Take, CodeError> {
        let line_item = Coded::take(reader)?;
        let (units, has_rules) = take_marked(reader)?;
        let rate = reader.check(Rate::from_units(units), "not a rate")?;
        let tokens = Coded::take(reader)?;
        let action = if has_rules { Some(Coded::take(reader)?) } else { None };
        Ok(Take { line_item, rate, tokens, action })
    }
}

impl Coded for Refund {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.line_item.put(bytes);
        self.activation_id.put(bytes);
        put_marked(self.item as u64, self.action.is_some(), bytes);
        self.tokens.put(bytes);
        self.action.iter().for_each(|action| action.put(bytes));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Refund, CodeError> {
        let (line_item, activation_id) = (Coded::take(reader)?, Coded::take(reader)?);
        let (item, has_rules) = take_marked(reader)?;
        let item = reader.check(usize::try_from(item).ok(), "a number is too large")?;
        let tokens = Coded::take(reader)?;
        let action = if has_rules { Some(Coded::take(reader)?) } else { None };
        Ok(Refund { line_item, activation_id, item, tokens, action })
    }
}

/// What is known of a requester: nothing, or (2) the pairs of its dictionary. Before there were
/// rules of access, (1) a JSON text that nothing was made of.
impl Coded for Requester {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.kind.put(bytes);
        self.value.put(bytes);
        let has_pairs = !self.dictionary.pairs().is_empty();
        bytes.push(if has_pairs { 2 } else { 0 });
        if has_pairs {
            self.dictionary.put(bytes);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Requester, CodeError> {
        let (kind, value) = (Coded::take(reader)?, Coded::take(reader)?);
        let dictionary = match reader.byte()? {
            0 => Dictionary::default(),
            1 => {
                Document::take(reader)?;
                Dictionary::default()
            }
            2 => Coded::take(reader)?,
            _ => return reader.fail("not what follows a requester"),
        };
        Ok(Requester { kind, value, dictionary })
    }
}

coded_enum!(Event {
    1 => KeyRegistered(key),
    2 => RateTablePublished(table),
    3 => RateTableDeleted { series, number },
    4 => InstanceCreated { id, short_name, account_id, default },
    5 => LineItemMapped { instance, number, terms },
    6 => LineItemDeleted { instance, number, activation_id },
    7 => Access(access),
    8 => SessionCreated { id, instance },
    9 => SessionAccess(access),
    10 => SessionClosed(closed),
    11 => AutomaticCharge(charge),
    12 => SessionExpired(closed),
    13 => Heartbeat { session, instance, heard },
    14 => Outage(outage),
    15 => Time,
    16 => Configured { by, settings },
    17 => TestClock,
    18 => ConditionsSet { instance, conditions },
    19 => ConditionsDeleted { instance, conditions },
    20 => ActionsSet { instance, number, activation_id, actions, posting },
});

coded_enum!(Rule {
    1 => Simple(clause),
    2 => And(clauses),
    3 => Or(clauses),
});

coded_enum!(Operator {
    1 => In,
    2 => Not,
});

coded_enum!(Effect {
    1 => Allow(allocation),
    2 => Deny,
});

coded_enum!(Setting {
    1 => TimezoneTolerant(tolerant),
    2 => ChargePeriod(period),
});

coded_enum!(KeyClass {
    1 => Administration,
    2 => Client,
});

coded_enum!(LineItemState {
    1 => Deployed,
    2 => Inactive,
    3 => Obsolete,
});

coded_enum!(Overdraft {
    1 => None,
    2 => Number(limit),
    3 => Unlimited,
});

coded_enum!(Verdict {
    1 => Granted(takes),
    2 => Denied(denial),
});

coded_enum!(Denial {
    1 => NoStatus,
    2 => UnknownItem,
    3 => NoLineItem,
    4 => Insufficient,
});

coded_enum!(Next {
    1 => Unchanged,
    2 => Charged(period),
    3 => Halted,
    4 => Terminated,
});

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
