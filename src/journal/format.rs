//! THE persistence format of records: an event's bytes, and back. docs/journal-format.md describes
//! it; the format version in every segment's header covers it.

mod components;

use super::code::{CodeError, Coded, Reader, coded_enum, coded_struct};
use crate::domain::charge::{Denial, Refund, Take, Verdict};
use crate::domain::configuration::Setting;
use crate::domain::event::{
    Access, AutomaticCharge, Event, Next, Record, SessionAccess, SessionClosed,
};
use crate::domain::formula::Formula;
use crate::domain::idempotency::{FirstAnswer, Keyed, KeyedCall};
use crate::domain::ids::{CorrelationId, InstanceNumber, LineItemNumber, Requester, Text};
use crate::domain::keys::{KeyClass, RegisteredKey};
use crate::domain::line_item::{Balance, LineItemState, Overdraft, Posting, Terms};
use crate::domain::price::Price;
use crate::domain::rates::{NewRateTable, RatedItem};
use crate::domain::request::{AccessRequest, RequestedItem};
use crate::domain::rules::{Action, Clause, Condition, Effect, Operator, Rule};
use crate::domain::session::Pacing;
use crate::domain::session_time::Outage;
use crate::domain::time::Timestamp;
use crate::domain::variables::{Number, Variable, Variables};

/// The byte of the event `Access`.
const ACCESS: u8 = 7;

/// Appends a record's bytes.
pub fn encode(record: &Record, bytes: &mut Vec<u8>) {
    record.put(bytes);
}

/// Appends a record's bytes, and those of the key that its call came under.
pub fn encode_keyed(record: &Record, keyed: Option<&Keyed>, bytes: &mut Vec<u8>) {
    record.put(bytes);
    if let Some(keyed) = keyed {
        keyed.put(bytes);
    }
}

/// Reads a record's bytes, all of them.
pub fn decode(bytes: &[u8]) -> Result<Record, CodeError> {
    decode_keyed(bytes).map(|(record, _)| record)
}

/// Reads a record's bytes, all of them, and what it keeps of a key.
pub fn decode_keyed(bytes: &[u8]) -> Result<(Record, Option<Keyed>), CodeError> {
    let mut reader = Reader::new(bytes);
    let record = Record::take(&mut reader)?;
    let keyed = if reader.is_at_end() { None } else { Some(Keyed::take(&mut reader)?) };
    reader.finish()?;
    Ok((record, keyed))
}

/// A one-off request's record, without what was asked and what it was charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// When it was decided.
    pub at: Timestamp,
    /// The key that its call came under.
    pub keyed: Option<KeyedCall>,
}

/// Reads of a one-off request's record, as nearly all of a long journal are, no more than what it
/// changes, and shows `each` the instance and the balances after it. `None` for any other record.
///
/// What was asked is passed over unchecked: [`decode`] may find an error where this finds none.
/// After an error `each` may have seen some balances.
pub fn read_charged(
    bytes: &[u8],
    mut each: impl FnMut(InstanceNumber, LineItemNumber, Balance),
) -> Result<Option<Charged>, CodeError> {
    let mut reader = Reader::new(bytes);
    let at = Timestamp::take(&mut reader)?;
    if reader.byte()? != ACCESS {
        return Ok(None);
    }
    let instance = InstanceNumber::take(&mut reader)?;
    CorrelationId::skip(&mut reader)?;
    AccessRequest::skip(&mut reader)?;
    Vec::<Verdict>::skip(&mut reader)?;
    for _ in 0..reader.length()? {
        let line_item = LineItemNumber::take(&mut reader)?;
        Text::skip(&mut reader)?;
        Option::<u64>::skip(&mut reader)?;
        each(instance, line_item, Balance::take(&mut reader)?);
    }
    let keyed = if reader.is_at_end() {
        None
    } else {
        let call = KeyedCall::take(&mut reader)?;
        FirstAnswer::skip(&mut reader)?;
        Some(call)
    };
    reader.finish()?;
    Ok(Some(Charged { at, keyed }))
}

coded_struct! {
    Record { at, event }
    RegisteredKey { id, class, pem, created, modified, place }
    NewRateTable { series, version, effective_from, items }
    RatedItem { name, version, rate }
    Variable { name, value }
    Terms {
        activation_id, state, quantity, start, end, elastic, series, overdraft, reset_frequency,
    }
    Balance { used, open_lines, counters, held, seats }
    Posting { line_item, activation_id, quantity, after }
    Take { line_item, rate, tokens, action }
    Refund { line_item, activation_id, item, rate, tokens, action }
    Requester { kind, value, dictionary }
    RequestedItem { name, version, count, metadata, variables }
    AccessRequest { requester, items }
    Condition { id, place, name, rule }
    Clause { key, operator, values }
    Action { id, name, condition, effect }
    Access { instance, correlation, request, verdicts, postings }
    SessionAccess {
        session, session_id, instance, correlation, refund_correlation, request, verdicts, ended, refunds,
        postings, next,
    }
    SessionClosed { session, session_id, instance, correlation, ended, refunds, postings }
    AutomaticCharge {
        session, session_id, instance, correlation, request, verdicts, refunds, postings, next,
    }
    Outage { from, to }
    KeyedCall { key, instance, fingerprint }
    FirstAnswer { status, pacing, body }
    Keyed { call, answer }
    Pacing { charged_until, heartbeat_from, heartbeat_due_by }
}

/// A formula is its text.
impl Coded for Formula {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_str().to_owned().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Formula, CodeError> {
        let formula = Formula::parse(&String::take(reader)?).ok();
        reader.check(formula, "not a formula")
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

impl Coded for Variables {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.all().to_vec().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Variables, CodeError> {
        let variables = Variables::new(Vec::take(reader)?).ok();
        reader.check(variables, "not the variables of an item")
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        Vec::<Variable>::skip(reader)
    }
}

coded_enum!(Event {
    1 => KeysRegistered(keys),
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
    21 => KeyDeleted { class, id },
    22 => Answered,
    23 => Provisioned(provision),
    24 => Lease(event),
});

coded_enum!(Price {
    1 => Rate(rate),
    2 => Formula(formula),
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
