//! THE charging algorithm (spec 3.4 to 3.6): candidates, order, two passes, splitting.
//!
//! It reads balances through [`Balances`], which may say that it does not know one: then nothing is
//! decided, and whoever asked learns whose balance is missing. That is how one line item can decide
//! a request alone, and how nobody ever decides on a guess.

pub mod explain;

use std::sync::Arc;

use super::balance::Seen;
use super::catalogue::InstanceCatalogue;
use super::ids::{ActionId, LineItemNumber, Requester, Text};
use super::line_item::{Balance, LineItem, Overdraft, Posting};
use super::postings::Postings;
use super::price::{NoPrice, Price, Priced, Prices};
use super::rates::{RateTable, Rates};
use super::request::RequestedItem;
use super::rounding;
use super::rules::Permission;
use super::time::Timestamp;
use super::tokens::{Rate, Tokens};

/// What of one line item's balance a decision can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// All of it.
    Balance(Balance),
    /// Only that nothing of the quantity is left: enough to pass it over.
    NothingEntitled,
    /// Nothing: ask its owner.
    Nothing,
}

/// Where a decision reads balances.
pub trait Balances {
    /// What is known of this one. The same answer each time while one decision runs.
    fn known(&self, line_item: LineItemNumber) -> Known;

    /// The whole balance of this one.
    ///
    /// # Errors
    /// Where it cannot be seen.
    fn balance(&self, line_item: LineItemNumber) -> Result<Balance, Missing> {
        match self.known(line_item) {
            Known::Balance(balance) => Ok(balance),
            Known::NothingEntitled | Known::Nothing => Err(Missing(line_item)),
        }
    }
}

/// The decision needs the balance of a line item that it cannot see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(pub LineItemNumber);

/// The line items of an instance that may be charged at an instant, in charging order. They are
/// looked at one by one: most requests need only the first of thousands.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    now: Timestamp,
    published: Timestamp,
    instance: &'a InstanceCatalogue,
    rates: &'a Rates,
    tolerant: bool,
    requester: &'a Requester,
}

impl<'a> Candidates<'a> {
    /// Those of the instance that are elastic, deployed and inside their window (spec 3.2), each
    /// with the table of its own series that holds at `now` of those published at or before
    /// `published` (spec 3.1), as far as rules of access let this requester (spec 5).
    pub fn at(
        now: Timestamp,
        published: Timestamp,
        instance: &'a InstanceCatalogue,
        rates: &'a Rates,
        tolerant: bool,
        requester: &'a Requester,
    ) -> Candidates<'a> {
        Candidates { now, published, instance, rates, tolerant, requester }
    }

    /// The catalogue that they are taken from.
    pub fn instance(&self) -> &'a InstanceCatalogue {
        self.instance
    }

    /// The same line items, for the answer: `instance` is where these candidates are from.
    pub fn seen(&self, instance: Arc<InstanceCatalogue>) -> Seen {
        Seen::new(instance, self.now, self.tolerant)
    }

    fn iter(self) -> impl Iterator<Item = &'a LineItem> {
        let line_items = self.instance.in_charging_order().map(Arc::as_ref);
        line_items.filter(move |line_item| line_item.is_candidate(self.now, self.tolerant))
    }

    /// The line item that each priced item of a request would be charged to, if all balances were
    /// plentiful but those that `is_empty` names.
    pub fn first_choices<'b>(
        self,
        items: &'b [RequestedItem],
        is_empty: impl Fn(LineItemNumber) -> bool + 'b,
    ) -> impl Iterator<Item = LineItemNumber> {
        items.iter().filter_map(move |item| {
            let is_free = |rate: &Priced| rate.as_ref().is_ok_and(|rate| rate.is_zero());
            self.permitted(&Prices::of(item))
                .find(|(line_item, rate, _)| is_free(rate) || !is_empty(line_item.number))
                .map(|(line_item, ..)| line_item.number)
        })
    }

    /// Those whose table has the item, with their price.
    fn pricing<'b>(
        self,
        item: &'b RequestedItem,
    ) -> impl Iterator<Item = (&'a LineItem, &'a RateTable, &'a Price)> + use<'a, 'b> {
        let mut last: Option<(&Text, Option<(&RateTable, &Price)>)> = None; // Most are of one series.
        self.iter().filter_map(move |line_item| {
            let series = &line_item.terms.series;
            let priced = match last {
                Some((former, priced)) if former == series => priced,
                Some(_) | None => {
                    let table = self.rates.effective(series, self.now, self.published);
                    table.and_then(|table| Some((table, table.price(&item.name, &item.version)?)))
                }
            };
            last = Some((series, priced));
            priced.map(|(table, price)| (line_item, table, price))
        })
    }

    /// Why none of them gives anything for an item, if none is permitted to (spec 3.4).
    fn why_none(self, item: &RequestedItem) -> Denial {
        let is_unknown = self.pricing(item).next().is_none() && self.iter().next().is_some();
        if is_unknown { Denial::UnknownItem } else { Denial::NoLineItem }
    }

    /// Those of them that the rules permit, each with its rate and with what caps it.
    fn permitted<'b>(
        self,
        prices: &'b Prices<'b>,
    ) -> impl Iterator<Item = (&'a LineItem, Priced, Option<Cap>)> + use<'a, 'b> {
        self.pricing(prices.item()).filter_map(move |(line_item, table, price)| {
            let cap = match self.instance.permission(line_item, &self.requester.dictionary) {
                Permission::Unrestricted => None,
                Permission::Allocated { action, allocation } => Some(Cap { action, allocation }),
                Permission::Denied => return None,
            };
            Some((line_item, prices.rate(table, price), cap))
        })
    }
}

/// The action that lets a requester use a line item, and how far in all.
#[derive(Clone, Copy, Debug)]
struct Cap {
    action: ActionId,
    allocation: Tokens,
}

/// What one line item gives for one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Who gives.
    pub line_item: LineItemNumber,
    /// Its price for one count.
    pub rate: Rate,
    /// How much.
    pub tokens: Tokens,
    /// Through which action's allocation, if one counts it (spec 5.4).
    pub action: Option<ActionId>,
}

/// Why an item is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Another item of an all-or-nothing request was denied (102).
    NoStatus,
    /// In no effective rate table of the candidates' series; or, at an automatic charge, its
    /// formula fails (201).
    UnknownItem,
    /// No line item may be charged now, or the rules permit none (301).
    NoLineItem,
    /// Line items there are, but too few tokens on them (306).
    Insufficient,
}

/// What becomes of one requested item: all of it or nothing of it (spec 10, no. 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Granted, and by whom (101).
    Granted(Vec<Take>),
    /// Denied.
    Denied(Denial),
}

impl Verdict {
    /// The sum of what was taken for the item.
    pub fn total(&self) -> Tokens {
        let Verdict::Granted(takes) = self else { return Tokens::ZERO };
        takes.iter().fold(Tokens::ZERO, |total, take| sum(total, take.tokens))
    }
}

/// What is given back on one charge line, to the line item that was charged (spec 4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Who is credited.
    pub line_item: LineItemNumber,
    /// Its name.
    pub activation_id: Text,
    /// Which item of the session's set the charge was for.
    pub item: usize,
    /// The rate that it was charged at.
    pub rate: Rate,
    /// How much; may be nothing.
    pub tokens: Tokens,
    /// Through which action it was charged.
    pub action: Option<ActionId>,
}

/// A decided request: an outcome per item, in order, and the balances that follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of each item.
    pub verdicts: Vec<Verdict>,
    /// The balance of every line item touched.
    pub postings: Vec<Posting>,
}

/// A set that is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is wrong with which item.
    pub verdicts: Vec<Verdict>,
    /// An item has no price: then a client's request is not denied but refused (spec 3.1).
    pub no_price: Option<NoPrice>,
}

/// A one-off request: each item alone, in order, as far as tokens go (spec 3.5). An item that has
/// no price spoils it.
pub fn one_off(
    items: &[RequestedItem],
    candidates: Candidates<'_>,
    balances: &impl Balances,
) -> Result<Result<Decision, NoPrice>, Missing> {
    let mut books = Books::over(balances, candidates.instance);
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        verdicts.push(allocate(item, candidates, &mut books, LineKind::Final)?);
        if let Some(no_price) = books.no_price {
            return Ok(Err(no_price));
        }
    }
    Ok(Ok(Decision { verdicts, postings: books.postings.close() }))
}

/// A session's new set (spec 3.6, 4.5): `refunds` are credited first; then all items are granted,
/// or the `Err` inside says what is wrong with which of them.
pub fn whole_set(
    items: &[RequestedItem],
    refunds: &[Refund],
    candidates: Candidates<'_>,
    balances: &impl Balances,
) -> Result<Result<Decision, Denied>, Missing> {
    let mut books = Books::over(balances, candidates.instance);
    books.credit(refunds)?;
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        verdicts.push(allocate(item, candidates, &mut books, LineKind::Session)?);
    }
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Granted(_))) {
        return Ok(Ok(Decision { verdicts, postings: books.postings.close() }));
    }
    let innocent = |verdict| match verdict {
        Verdict::Granted(_) => Verdict::Denied(Denial::NoStatus),
        Verdict::Denied(denial) => Verdict::Denied(denial),
    };
    let verdicts = verdicts.into_iter().map(innocent).collect();
    Ok(Err(Denied { verdicts, no_price: books.no_price }))
}

/// The balances after `refunds`: each ends one charge line of a session's period.
pub fn refunded(
    refunds: &[Refund],
    instance: &InstanceCatalogue,
    balances: &impl Balances,
) -> Result<Vec<Posting>, Missing> {
    let mut books = Books::over(balances, instance);
    books.credit(refunds)?;
    Ok(books.postings.close())
}

/// Whether a charge stays open to a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Final,
    Session,
}

/// One item over all candidates (spec 3.4).
fn allocate<B: Balances>(
    item: &RequestedItem,
    candidates: Candidates<'_>,
    books: &mut Books<'_, B>,
    kind: LineKind,
) -> Result<Verdict, Missing> {
    let prices = Prices::of(item);
    let mut shares: Vec<Share<'_>> = Vec::new();
    // What is still missing, and the rate it is counted at; nobody has given anything at first.
    let mut missing: Option<(Rate, Tokens)> = None;
    let mut is_permitted = false;
    'passes: for pass in [Pass::Entitled, Pass::Overdraft] {
        for (line_item, rate, cap) in candidates.permitted(&prices) {
            is_permitted = true;
            let rate = match rate {
                Ok(rate) => rate,
                Err(error) => {
                    let no_price = NoPrice { item: item.name.clone(), error };
                    books.no_price.get_or_insert(no_price);
                    return Ok(Verdict::Denied(Denial::UnknownItem));
                }
            };
            let capacity = match rate.is_zero() {
                true => Tokens::ZERO,
                false => books.capacity(line_item, cap, pass, &shares)?,
            };
            if capacity == Tokens::ZERO && !rate.is_zero() {
                continue;
            }
            let needed = match missing {
                None => rounding::charge(item.count, rate),
                Some((previous, tokens)) => rounding::convert(tokens, previous, rate),
            };
            let tokens = needed.min(capacity);
            let action = cap.map(|cap| cap.action);
            add_share(&mut shares, Share { line_item, rate, tokens, action });
            missing = Some((rate, needed.saturating_sub(tokens)));
            if needed == tokens {
                break 'passes;
            }
        }
    }
    if !matches!(missing, Some((_, Tokens::ZERO))) {
        let denial = if is_permitted { Denial::Insufficient } else { candidates.why_none(item) };
        return Ok(Verdict::Denied(denial));
    }
    for share in &shares {
        books.charge(share, kind)?;
    }
    Ok(Verdict::Granted(shares.iter().map(Share::take).collect()))
}

/// What one line item gives for one item while that is still being worked out.
struct Share<'a> {
    line_item: &'a LineItem,
    rate: Rate,
    tokens: Tokens,
    action: Option<ActionId>,
}

impl Share<'_> {
    fn take(&self) -> Take {
        let Share { line_item, rate, tokens, action } = *self;
        Take { line_item: line_item.number, rate, tokens, action }
    }
}

/// One entry per line item, also where both passes took from it.
fn add_share<'a>(shares: &mut Vec<Share<'a>>, share: Share<'a>) {
    match shares.iter_mut().find(|other| other.line_item.number == share.line_item.number) {
        Some(other) => other.tokens = sum(other.tokens, share.tokens),
        None => shares.push(share),
    }
}

/// Amounts of one request always fit: each is bounded by what a line item can hold.
fn sum(left: Tokens, right: Tokens) -> Tokens {
    left.checked_add(right).expect("two amounts under the limit of a line item fit")
}

/// Entitled tokens of all candidates go first, overdrafts after them (spec 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Entitled,
    Overdraft,
}

/// What a charge has made of the balances so far.
struct Books<'a, B> {
    instance: &'a InstanceCatalogue,
    postings: Postings<'a, B>,
    /// The first item whose formula fails.
    no_price: Option<NoPrice>,
}

impl<'a, B: Balances> Books<'a, B> {
    fn over(balances: &'a B, instance: &'a InstanceCatalogue) -> Books<'a, B> {
        Books { instance, postings: Postings::over(balances), no_price: None }
    }

    /// What a line item can give in a pass, beyond what `shares` of the same item already took.
    fn capacity(
        &self,
        line_item: &LineItem,
        cap: Option<Cap>,
        pass: Pass,
        shares: &[Share<'_>],
    ) -> Result<Tokens, Missing> {
        let number = line_item.number;
        let all = match (self.postings.known(number), pass, line_item.terms.overdraft) {
            (Known::Balance(balance), pass, _) => {
                let own = match pass {
                    Pass::Entitled => line_item.entitled(balance.taken()),
                    Pass::Overdraft => line_item.available(balance.taken()),
                };
                let left = cap.map(|Cap { action, allocation }| {
                    allocation.saturating_sub(balance.counters.used(action))
                });
                left.map_or(own, |left| left.min(own))
            }
            (Known::NothingEntitled, Pass::Entitled, _)
            | (Known::NothingEntitled, Pass::Overdraft, Overdraft::None) => Tokens::ZERO,
            (Known::NothingEntitled, Pass::Overdraft, _) | (Known::Nothing, _, _) => {
                return Err(Missing(number));
            }
        };
        let own = shares.iter().filter(|share| share.line_item.number == number);
        Ok(own.fold(all, |left, share| left.saturating_sub(share.tokens)))
    }

    fn charge(&mut self, share: &Share<'_>, kind: LineKind) -> Result<(), Missing> {
        let LineItem { number, terms, .. } = share.line_item;
        let quantity = Some(terms.quantity);
        let after = self.postings.change(*number, &terms.activation_id, quantity)?;
        after.used = sum(after.used, share.tokens);
        if let Some(action) = share.action {
            let counters = &mut after.counters;
            counters.set(action, sum(counters.used(action), share.tokens));
        }
        after.open_lines += u64::from(kind == LineKind::Session);
        Ok(())
    }

    fn credit(&mut self, refunds: &[Refund]) -> Result<(), Missing> {
        for refund in refunds {
            let Refund { line_item, activation_id, .. } = refund;
            let quantity = self.instance.quantity(*line_item, activation_id);
            let after = self.postings.change(*line_item, activation_id, quantity)?;
            let used = after.used.checked_sub(refund.tokens);
            after.used = used.expect("what is refunded was charged before");
            if let Some(action) = refund.action {
                let refunded = after.counters.refund(action, refund.tokens);
                refunded.expect("what is refunded was charged before");
            }
            let open_lines = after.open_lines.checked_sub(1);
            after.open_lines = open_lines.expect("what is refunded was an open charge line");
        }
        Ok(())
    }
}
