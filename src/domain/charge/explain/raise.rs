//! What an item that was short would have needed (spec 2.13): how much more of which line item. Tried
//! with the very function that decides, on an instance that is changed so far.

use super::{Asked, copy, taken};
use crate::domain::catalogue::InstanceCatalogue;
use crate::domain::charge::{
    Balances, Books, Candidates, Cap, Known, LineKind, Missing, Verdict, allocate,
};
use crate::domain::ids::{ActionId, LineItemNumber, Sequence, Text};
use crate::domain::line_item::{LineItem, Overdraft, Terms};
use crate::domain::price::Prices;
use crate::domain::request::RequestedItem;
use crate::domain::rounding;
use crate::domain::rules::{Action, Effect};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

/// The most that a quantity or an allocation can be raised to: 2^63 - 1, as they are sent.
const RAISED_MAX: u64 = i64::MAX.unsigned_abs();
/// For so many items of a request it is worked out: for each the request is decided up to it again,
/// mostly three times.
pub(super) const SHORTFALLS_MAX: usize = 10;
/// So many of the last permitted line items are asked whether raising them would do.
const RAISES_TRIED: usize = 8;

/// So often it is tried whether less would do.
const ATTEMPTS_MAX: usize = 64;

/// A line item that is none: no record is so late.
const ANOTHER: LineItemNumber = LineItemNumber::new(Sequence::new(u64::MAX));

/// What would have granted an item that was short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// Raising one line item.
    Raise(Raise),
    /// Not worked out: it comes after so many items that are short as well.
    Later,
    /// Nothing that can be raised: what the last of them may ever have used is bounded.
    Ceiling,
}

/// A line item that would have had enough, had it had so much more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    /// Which.
    pub line_item: LineItemNumber,
    /// Its name.
    pub activation_id: Text,
    /// Whole tokens to add to its quantity; 0 where that is not what is missing.
    pub quantity: u64,
    /// Its quantity then.
    pub quantity_now: u64,
    /// What to add to the allocation of its action, if that is what is missing.
    pub allocation: Option<RaisedAllocation>,
}

/// An allocation that was too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedAllocation {
    /// Of which action.
    pub action: ActionId,
    /// Its label.
    pub name: Text,
    /// Whole tokens to add.
    pub tokens: u64,
    /// The allocation then.
    pub now: Tokens,
}

/// What would grant the item at `index`, over the balances that it found: raising the last line
/// item that may give, or one before it where that cannot be raised.
pub(super) fn shortfall<B: Balances>(
    asked: &Asked<'_, B>,
    index: usize,
    item: &RequestedItem,
    before: &Books<'_, B>,
) -> Result<Shortfall, Missing> {
    let prices = Prices::of(item);
    let permitted: Vec<_> = asked.candidates.permitted(&prices).collect();
    for (line_item, _, cap) in permitted.iter().rev().take(RAISES_TRIED) {
        let raising = Raising { asked, index, item, line_item, cap: *cap };
        if let Some(raise) = raising.least(before)? {
            return Ok(Shortfall::Raise(raise));
        }
    }
    Ok(Shortfall::Ceiling)
}

/// One line item that is looked at for what it would have to be.
struct Raising<'a, B> {
    asked: &'a Asked<'a, B>,
    index: usize,
    item: &'a RequestedItem,
    line_item: &'a LineItem,
    cap: Option<Cap>,
}

impl<B: Balances> Raising<'_, B> {
    /// The least that we can find to raise it by so that the item is granted, in its request and
    /// alone. Nothing where it cannot be raised so far.
    fn least(&self, before: &Books<'_, B>) -> Result<Option<Raise>, Missing> {
        let bounded = self.line_item.terms.overdraft;
        // What is missing once everybody has given all, at its price.
        let another = self.with_another();
        let candidates = Candidates { instance: &another, ..self.asked.candidates };
        let verdict = allocate(self.item, candidates, &mut copy(before), LineKind::Final)?;
        let missing = taken(&verdict, ANOTHER);
        let needed = self.taken(&verdict).checked_add(missing).unwrap_or(Tokens::MAX);
        let limit = match bounded {
            Overdraft::Number(limit) => Tokens::whole(limit),
            Overdraft::None | Overdraft::Unlimited => Tokens::ZERO,
        };
        let least = self.raise(before, needed, limit);
        if let Some(raise) = least
            && self.is_enough(&raise)?
        {
            return self.trimmed(raise).map(Some);
        }
        // What is raised may go to the items before, or be lost where counts are rounded up: so much
        // that it gives to all of them as if it had no end.
        let quantity = if bounded == Overdraft::Unlimited { None } else { Some(u64::MAX) };
        let quantity = quantity.unwrap_or(self.line_item.terms.quantity);
        let endless = self.with(quantity, bounded, Tokens::MAX);
        let verdicts = self.up_to_it(&endless)?;
        let taken = verdicts.iter().fold(Tokens::ZERO, |all, verdict| {
            all.checked_add(self.taken(verdict)).unwrap_or(Tokens::MAX)
        });
        let enough = self.raise(&self.asked.books()?, taken, Tokens::ZERO);
        let Some(raise) = enough else { return Ok(None) };
        if self.is_enough(&raise)? { self.trimmed(raise).map(Some) } else { Ok(None) }
    }

    /// A raise that is enough, less what is more than enough.
    fn trimmed(&self, raise: Raise) -> Result<Raise, Missing> {
        let so_much = |quantity: u64| Raise { quantity, ..raise.clone() };
        let quantity = least_of(raise.quantity, |quantity| self.is_enough(&so_much(quantity)))?;
        let raise = so_much(quantity);
        let Some(most) = raise.allocation.clone() else { return Ok(raise) };
        let with_allocation = |tokens: u64| {
            let allocation = (tokens > 0).then(|| RaisedAllocation { tokens, ..most.clone() });
            Raise { allocation, ..raise.clone() }
        };
        let tokens = least_of(most.tokens, |tokens| self.is_enough(&with_allocation(tokens)))?;
        Ok(with_allocation(tokens))
    }

    /// The instance with another line item, priced alike, behind all others: it has nothing but an
    /// overdraft without bound.
    fn with_another(&self) -> InstanceCatalogue {
        let mut instance = self.asked.candidates.instance.clone();
        let (start, end) = (Timestamp::default(), Timestamp::from_ms(u64::MAX));
        let terms = Terms::new(Text::empty(), 0, start, end);
        let (series, overdraft) = (self.line_item.terms.series.clone(), Overdraft::Unlimited);
        instance.insert_terms(ANOTHER, Terms { series, overdraft, ..terms });
        instance
    }

    /// The instance with this line item changed.
    fn with(&self, quantity: u64, overdraft: Overdraft, allocation: Tokens) -> InstanceCatalogue {
        let mut instance = self.asked.candidates.instance.clone();
        let LineItem { number, terms, actions } = self.line_item;
        instance.insert_terms(*number, Terms { quantity, overdraft, ..terms.clone() });
        let raised = |action: &Action| match self.cap {
            Some(cap) if cap.action == action.id => {
                Action { effect: Effect::Allow(Some(allocation)), ..action.clone() }
            }
            Some(_) | None => action.clone(),
        };
        let actions = actions.iter().map(raised).collect();
        instance.set_actions(&terms.activation_id, actions);
        instance
    }

    fn taken(&self, verdict: &Verdict) -> Tokens {
        taken(verdict, self.line_item.number)
    }

    /// What it lacks to give `taken` in all over these books, `limit` of it beyond its quantity.
    fn raise(&self, books: &Books<'_, B>, taken: Tokens, limit: Tokens) -> Option<Raise> {
        let LineItem { number, terms, actions } = self.line_item;
        let Known::Balance(balance) = books.postings.known(*number) else {
            return None;
        };
        let lacking = |used: Tokens, had: Tokens| {
            Some(rounding::whole_up(used.checked_add(taken)?.saturating_sub(had)))
        };
        let quantity = match terms.overdraft {
            Overdraft::Unlimited => 0,
            Overdraft::None | Overdraft::Number(_) => {
                lacking(balance.taken(), Tokens::whole(terms.quantity).checked_add(limit)?)?
            }
        };
        let allocation = match self.cap {
            None => None,
            Some(Cap { action, allocation }) => {
                let tokens = lacking(balance.counters.used(action), allocation)?;
                let named = actions.iter().find(|other| other.id == action)?;
                let name = named.name.clone();
                Some(RaisedAllocation { action, name, tokens, now: allocation })
            }
        };
        let allocation = allocation.filter(|raised| raised.tokens > 0);
        let (line_item, activation_id) = (*number, terms.activation_id.clone());
        let quantity_now = terms.quantity;
        checked(Raise { line_item, activation_id, quantity, quantity_now, allocation })
    }

    /// The items up to this one, decided in an instance that was changed.
    fn up_to_it(&self, instance: &InstanceCatalogue) -> Result<Vec<Verdict>, Missing> {
        let candidates = Candidates { instance, ..self.asked.candidates };
        let mut books = self.asked.books()?;
        let items = self.asked.items.iter().take(self.index + 1);
        items.map(|item| allocate(item, candidates, &mut books, LineKind::Final)).collect()
    }

    /// Whether the item is granted once it is raised so, in its request and asked alone.
    fn is_enough(&self, raise: &Raise) -> Result<bool, Missing> {
        let quantity = raise.quantity_now + raise.quantity;
        let raised = raise.allocation.as_ref().and_then(|raised| {
            raised.now.checked_add(Tokens::whole(raised.tokens)) // As was checked.
        });
        let allocation = raised.or(self.cap.map(|cap| cap.allocation)).unwrap_or(Tokens::ZERO);
        let instance = self.with(quantity, self.line_item.terms.overdraft, allocation);
        let in_place = self.up_to_it(&instance)?.pop();
        let candidates = Candidates { instance: &instance, ..self.asked.candidates };
        let mut books = self.asked.books()?;
        let alone = allocate(self.item, candidates, &mut books, LineKind::Final)?;
        let is_granted = |verdict: Verdict| matches!(verdict, Verdict::Granted(_));
        Ok(in_place.is_some_and(is_granted) && is_granted(alone))
    }
}

/// The least number that is enough, looked for from above: mostly it is `most`, which is known to be
/// enough. After so many attempts it is the least that was found until then.
fn least_of(most: u64, is_enough: impl Fn(u64) -> Result<bool, Missing>) -> Result<u64, Missing> {
    let (mut low, mut high) = (0, most);
    // Ever larger steps down, until one is too large; then halves of what is left.
    let mut step = Some(1_u64);
    for _ in 0..ATTEMPTS_MAX {
        if low == high {
            break;
        }
        let down = step.map_or((high - low) / 2, |step| step.min(high - low)).max(1);
        let less = high - down;
        if is_enough(less)? {
            (high, step) = (less, step.map(|step| step.saturating_mul(2)));
        } else {
            (low, step) = (less + 1, None);
        }
    }
    Ok(high)
}

/// Nothing where it cannot be raised so far.
fn checked(raise: Raise) -> Option<Raise> {
    let quantity = raise.quantity_now.checked_add(raise.quantity)?;
    let allocation = match &raise.allocation {
        None => Tokens::ZERO,
        Some(raised) => raised.now.checked_add(Tokens::whole(raised.tokens))?,
    };
    (quantity <= RAISED_MAX && allocation <= Tokens::whole(RAISED_MAX)).then_some(raise)
}
