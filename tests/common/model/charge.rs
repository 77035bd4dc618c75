//! Section 3: which line items pay for an item, and how much each.

use std::collections::BTreeMap;

use super::amount::{Amount, ceil_9, decimal, half_even_9, whole};
use super::formula::{self, Variables};
use super::rules::{Permitted, Who};
use super::{
    Answer, Cause, HOUR_MS, LineItemState, Model, Moment, Movement, Overdraft, Presence, Price,
    Refused,
};

const ITEMS_MAX: usize = 100;

/// The outcome of one item; the number is the code of v1.0 (spec 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Charged.
    CheckedOut = 101,
    /// Innocent part of a failed session request.
    NoStatus = 102,
    /// No effective table of a usable line item has it.
    ItemNotFound = 201,
    /// No usable line item at all.
    NoActiveLineItem = 301,
    /// Usable line items, but not enough tokens.
    Insufficient = 306,
}

/// One thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub version: String,
    pub count: Amount,
    pub variables: Variables,
}

impl Item {
    /// With the count as a plain decimal.
    pub fn new(name: &str, version: &str, count: &str) -> Item {
        let (name, version, variables) = (name.to_owned(), version.to_owned(), Variables::new());
        Item { name, version, count: decimal(count), variables }
    }
}

/// What one line item was charged for one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineAnswer {
    pub activation: String,
    pub rate: Amount,
    pub tokens: Amount,
    /// Through which action's allocation.
    pub action: Option<String>,
}

/// The answer to one item; `item` is echoed with its count as rounded (spec 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemAnswer {
    pub item: Item,
    pub status: Status,
    pub total: Amount,
    pub lines: Vec<LineAnswer>,
}

/// What one line item pays for one item, and is refunded from (spec 4.8).
#[derive(Clone, Debug)]
pub(super) struct ChargeLine {
    pub(super) mapping: usize,
    pub(super) rate: Amount,
    pub(super) tokens: Amount,
    pub(super) action: Option<String>,
}

/// Spec 3.3: first what is entitled, of all line items; then the overdrafts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pass {
    Entitled,
    Overdraft,
}

/// Tokens by mapping and action that a request moves if it is granted: charges positive, refunds
/// negative.
pub(super) type Pending = BTreeMap<(usize, Option<String>), Amount>;

/// What each item of a request would be charged, or why not.
pub(super) type Outcomes = Vec<Result<Vec<ChargeLine>, Denied>>;

/// Why an item is not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    With(Status),
    /// Its formula fails (spec 3.1 no. 4): nobody's status, unless nobody asked.
    NoPrice,
}

impl Denied {
    /// Spec 4.3: at an automatic charge an item without a price is in no table.
    fn status(self) -> Status {
        match self {
            Denied::With(status) => status,
            Denied::NoPrice => Status::ItemNotFound,
        }
    }
}

/// Spec 3.1 no. 4: one formula that fails is a request refused.
pub(super) fn all_priced(outcomes: &Outcomes) -> Answer {
    let no_price = |outcome: &Result<_, Denied>| matches!(outcome, Err(Denied::NoPrice));
    if outcomes.iter().any(no_price) { Err(Refused::Invalid) } else { Ok(()) }
}

/// Spec 2.7: at most 32, names that differ by more than case, nine decimals, at most 10^9.
fn checked_variables(variables: &Variables) -> Answer<Variables> {
    let twice = |(index, (name, _)): (usize, &(String, Amount))| {
        let mut earlier = variables.iter().take(index);
        earlier.any(|(other, _)| other.to_lowercase() == name.to_lowercase())
    };
    if variables.len() > 32 || variables.iter().enumerate().any(twice) {
        return Err(Refused::Invalid);
    }
    let checked = |(name, value): &(String, Amount)| {
        let value = half_even_9(value);
        let fine = formula::is_name(name) && -rate_max() <= value && value <= rate_max();
        if fine { Ok((name.clone(), value)) } else { Err(Refused::Invalid) }
    };
    variables.iter().map(checked).collect()
}

/// Counts and rates are at most 10^9 (spec 8).
pub(super) fn rate_max() -> Amount {
    whole(10).pow(9)
}

/// A charge that takes `used` past this is denied; only Unlimited gets there (spec 8).
fn used_max() -> Amount {
    whole(8) * whole(10).pow(19)
}

/// Spec 3.7, 8, 10 no. 34: counts to nine decimals, above 0, at most 10^9; at most 100 items.
pub(super) fn checked_items(items: &[Item]) -> Answer<Vec<Item>> {
    if items.len() > ITEMS_MAX {
        return Err(Refused::Invalid);
    }
    let checked = |item: &Item| {
        let count = half_even_9(&item.count);
        let fine = whole(0) < count && count <= rate_max() && !item.name.is_empty();
        let variables = checked_variables(&item.variables)?;
        if fine { Ok(Item { count, variables, ..item.clone() }) } else { Err(Refused::Invalid) }
    };
    items.iter().map(checked).collect()
}

impl Model {
    /// Spec 3.5: each item alone, in order, whatever became of the others.
    pub(super) fn charge_once(
        &mut self,
        at: u64,
        instance: &str,
        items: &[Item],
    ) -> Answer<Vec<ItemAnswer>> {
        let items = checked_items(items)?;
        self.known_instance(instance)?;
        let (when, who) = (Moment::of_a_call(at), self.who.clone());
        let outcomes = self.allocate_each(instance, &items, when, &who, Pending::new());
        all_priced(&outcomes)?;
        for line in outcomes.iter().flatten().flatten() {
            self.book(at, None, Cause::Access, line, line.tokens.clone());
        }
        Ok(self.answers(&items, &outcomes))
    }

    /// Each item in order (spec 3.5, 3.6); what one is granted is pending for those behind it.
    pub(super) fn allocate_each(
        &self,
        instance: &str,
        items: &[Item],
        when: Moment,
        who: &Who,
        mut pending: Pending,
    ) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for item in items {
            let outcome = self.allocate(instance, item, when, who, &pending);
            for line in outcome.iter().flatten() {
                let key = (line.mapping, line.action.clone());
                *pending.entry(key).or_insert(whole(0)) += &line.tokens;
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Spec 3.4.
    fn allocate(
        &self,
        instance: &str,
        item: &Item,
        when: Moment,
        who: &Who,
        pending: &Pending,
    ) -> Result<Vec<ChargeLine>, Denied> {
        let usable = self.candidates(instance, when);
        if usable.is_empty() {
            return Err(Denied::With(Status::NoActiveLineItem));
        }
        let with_price = |index| Some((index, self.price(index, item, when)?));
        let priced: Vec<(usize, &Price)> = usable.into_iter().filter_map(with_price).collect();
        if priced.is_empty() {
            return Err(Denied::With(Status::ItemNotFound));
        }
        let mut permitted = Vec::new();
        for (index, price) in priced {
            match self.permitted(index, who) {
                Permitted::Everything => permitted.push((index, price, None)),
                Permitted::UpTo(most, action) => {
                    permitted.push((index, price, Some((most, action))));
                }
                Permitted::Nothing => {}
            }
        }
        if permitted.is_empty() {
            return Err(Denied::With(Status::NoActiveLineItem));
        }

        let mut lines = Vec::<ChargeLine>::new();
        // What is still missing, in tokens at the rate of the last that gave; at first, nobody has.
        let mut missing: Option<(Amount, Amount)> = None;
        for pass in [Pass::Entitled, Pass::Overdraft] {
            for (mapping, price, cap) in &permitted {
                if missing.as_ref().is_some_and(|(need, _)| *need == whole(0)) {
                    break;
                }
                // Only whose turn it is may spoil the request.
                let rate = &match price {
                    Price::Rate(rate) => rate.clone(),
                    Price::Formula(text) => {
                        formula::rate(text, &item.variables).map_err(|_| Denied::NoPrice)?
                    }
                };
                let own = lines.iter().filter(|line| line.mapping == *mapping);
                let own: Amount = own.map(|line| line.tokens.clone()).sum();
                let here = pending.iter().filter(|((other, _), _)| other == mapping);
                let here: Amount = here.map(|(_, tokens)| tokens.clone()).sum();
                let used = self.used_of(*mapping) + here + &own;

                let mut capacity = self.capacity(*mapping, pass, &used);
                if let Some((most, action)) = cap {
                    let key = (*mapping, Some(action.clone()));
                    let pending = pending.get(&key).unwrap_or(&whole(0)) + &own;
                    let allowed = self.allowed(most, action, &pending);
                    capacity = Some(capacity.map_or(allowed.clone(), |own| own.min(allowed)));
                }
                if capacity == Some(whole(0)) && *rate > whole(0) {
                    continue;
                }
                let need = match missing {
                    None => &item.count * rate,
                    Some((need, last_rate)) if last_rate == *rate => need,
                    Some((need, last_rate)) => ceil_9(&(need / last_rate)) * rate,
                };
                let take = capacity.map_or(need.clone(), |capacity| capacity.min(need.clone()));
                if used + &take > used_max() {
                    return Err(Denied::With(Status::Insufficient));
                }
                missing = Some((need - &take, rate.clone()));
                let action = cap.as_ref().map(|(_, action)| action.clone());
                let (mapping, rate) = (*mapping, rate.clone());
                lines.push(ChargeLine { mapping, rate, tokens: take, action });
            }
        }
        match missing {
            Some((need, _)) if need == whole(0) => Ok(merged(lines)),
            Some(_) | None => Err(Denied::With(Status::Insufficient)),
        }
    }

    /// Spec 3.2: DEPLOYED, elastic, within its dates; in charging order.
    pub(super) fn candidates(&self, instance: &str, when: Moment) -> Vec<usize> {
        let slack = if self.timezone_tolerant(when) { 12 * HOUR_MS } else { 0 };
        let mut indices = self.in_charging_order(instance);
        indices.retain(|index| {
            let terms = &self.mapping(*index).terms;
            let (from, to) = (terms.start.saturating_sub(slack), terms.end.saturating_add(slack));
            terms.elastic
                && terms.state == LineItemState::Deployed
                && (from..=to).contains(&when.at)
        });
        indices
    }

    /// Spec 3.2: earliest end, then earliest start, then activation id.
    pub(super) fn in_charging_order(&self, instance: &str) -> Vec<usize> {
        let listed = |index: &usize| {
            let mapping = self.mapping(*index);
            mapping.presence == Presence::Listed && mapping.instance == instance
        };
        let mut indices: Vec<usize> = (0..self.mappings.len()).filter(listed).collect();
        indices.sort_by_key(|index| {
            let mapping = self.mapping(*index);
            (mapping.terms.end, mapping.terms.start, &mapping.activation)
        });
        indices
    }

    /// Spec 3.1: the latest effective table of the line item's series, and no other.
    fn price(&self, mapping: usize, item: &Item, when: Moment) -> Option<&Price> {
        let series = &self.mapping(mapping).terms.series;
        let known = self.tables.iter().filter(|(published, _)| *published <= when.known);
        let effective = |t: &&super::RateTable| t.series == *series && t.effective_from <= when.at;
        let effective = known.map(|(_, table)| table).filter(effective);
        // Of equals `max_by_key` takes the last, which is the later created.
        let table = effective.max_by_key(|t| t.effective_from)?;
        let same =
            |rated: &&super::RatedItem| rated.name == item.name && rated.version == item.version;
        table.items.iter().find(same).map(|rated| &rated.price)
    }

    /// Spec 3.3: what a line item that is used so far may still give; `None` is no bound.
    pub(super) fn capacity(&self, mapping: usize, pass: Pass, used: &Amount) -> Option<Amount> {
        let terms = &self.mapping(mapping).terms;
        let overdraft = match (pass, terms.overdraft) {
            (Pass::Entitled, _) | (Pass::Overdraft, Overdraft::None) => whole(0),
            (Pass::Overdraft, Overdraft::Number(limit)) => whole(limit),
            (Pass::Overdraft, Overdraft::Unlimited) => return None,
        };
        Some((whole(terms.quantity) + overdraft - used).max(whole(0)))
    }

    pub(super) fn answers(&self, items: &[Item], outcomes: &Outcomes) -> Vec<ItemAnswer> {
        let answer = |(item, outcome): (&Item, &Result<Vec<ChargeLine>, Denied>)| {
            let line = |line: &ChargeLine| LineAnswer {
                activation: self.mapping(line.mapping).activation.clone(),
                rate: line.rate.clone(),
                tokens: line.tokens.clone(),
                action: line.action.clone(),
            };
            let lines: Vec<LineAnswer> = outcome.iter().flatten().map(line).collect();
            ItemAnswer {
                item: item.clone(),
                status: outcome
                    .as_ref()
                    .map_or_else(|denied| denied.status(), |_| Status::CheckedOut),
                total: lines.iter().map(|line| line.tokens.clone()).sum(),
                lines,
            }
        };
        items.iter().zip(outcomes).map(answer).collect()
    }

    pub(super) fn book(
        &mut self,
        at: u64,
        session: Option<&str>,
        cause: Cause,
        line: &ChargeLine,
        tokens: Amount,
    ) {
        let (mapping, action) = (line.mapping, line.action.clone());
        let activation = self.mapping(mapping).activation.clone();
        let session = session.map(str::to_owned);
        self.ledger.push(Movement { at, mapping, activation, session, cause, tokens, action });
    }
}

/// One line for each line item, where it first appeared.
fn merged(lines: Vec<ChargeLine>) -> Vec<ChargeLine> {
    let mut merged = Vec::<ChargeLine>::new();
    for line in lines {
        match merged.iter_mut().find(|earlier| earlier.mapping == line.mapping) {
            Some(earlier) => earlier.tokens += line.tokens,
            None => merged.push(line),
        }
    }
    merged
}
