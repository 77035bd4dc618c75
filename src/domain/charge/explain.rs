//! Why a decision came out as it did (spec 2.13): how every line item of the instance stood to every
//! item, and what was missing where an item was short. It asks what decides, and decides nothing.

mod raise;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::raise::{Raise, RaisedAllocation, Shortfall};
use super::{
    Balances, Books, Candidates, Cap, Denial, Known, LineKind, Missing, Pass, Refund, Take,
    Verdict, allocate, sum,
};
use crate::domain::formula::FormulaError;
use crate::domain::ids::{ActionId, ConditionId, LineItemNumber, Text};
use crate::domain::line_item::{LineItem, Obstacle, Overdraft};
use crate::domain::price::{Price, Prices};
use crate::domain::rates::RateTable;
use crate::domain::request::RequestedItem;
use crate::domain::rules::{Action, Effect, Permission};
use crate::domain::time::Timestamp;
use crate::domain::tokens::{Rate, Tokens};

/// One item of a decision, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemExplained {
    /// What becomes of it. An item of a session's set that nothing is wrong with is granted here,
    /// whatever becomes of the set.
    pub verdict: Verdict,
    /// The line items of the instance in charging order, at most so many as were wanted. Those
    /// that gave something and the one that should be raised are never left out, then those that
    /// came closest to giving.
    pub line_items: Vec<LineItemExplained>,
    /// How many were left out.
    pub more: usize,
    /// What would have granted it, where tokens were missing.
    pub shortfall: Option<Shortfall>,
}

/// A line item, as one item of a request found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItemExplained {
    /// Which.
    pub line_item: LineItemNumber,
    /// Its name.
    pub activation_id: Text,
    /// How it stood.
    pub standing: Standing,
}

/// How a line item stood to an item: what kept it from giving, the first thing of several; or what
/// it could give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No access request can use it (spec 3.2).
    Unusable(Obstacle),
    /// No table of its series had taken effect (spec 3.1).
    NoTable {
        /// Its series.
        series: Text,
    },
    /// The table of its series does not have the item in this version.
    NotPriced(Table),
    /// The rules do not let the requester (spec 5.3).
    Denied {
        /// The table that has the item.
        table: Table,
        /// The action that says so; without one, it is that none lets.
        rule: Option<Rule>,
    },
    /// The formula of the price has no result.
    FormulaFails {
        /// The table that has it.
        table: Table,
        /// The formula.
        formula: String,
        /// Where, and why.
        error: FormulaError,
    },
    /// It could be charged.
    Usable(Usable),
}

/// A rate table, as one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its series.
    pub series: Text,
    /// Its version.
    pub version: Text,
    /// Since when it held.
    pub effective_from: Timestamp,
}

/// The action that decided for the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub action: ActionId,
    /// Its label.
    pub name: Text,
    /// The condition that held, with its label; a default action has none.
    pub condition: Option<(ConditionId, Text)>,
    /// Its allocation, if it has one, and what was left of it before the item.
    pub allocation: Option<(Tokens, Tokens)>,
}

/// What a line item could give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// The table that has the item.
    pub table: Table,
    /// Its price for one count.
    pub rate: Rate,
    /// The formula that this is the result of.
    pub formula: Option<String>,
    /// The action that let the requester, if there are actions.
    pub rule: Option<Rule>,
    /// What was left of the quantity, as far as the allocation went.
    pub entitled: Tokens,
    /// The same with its overdraft. `None`: without bound.
    pub with_overdraft: Option<Tokens>,
    /// What the item took of it.
    pub taken: Tokens,
}

/// A request as it was decided: its items in order, after the refunds.
pub struct Asked<'a, B> {
    /// The items.
    pub items: &'a [RequestedItem],
    /// What was credited first.
    pub refunds: &'a [Refund],
    /// Whether each item stands for itself, as in a one-off request: what is granted is charged,
    /// whatever becomes of the others.
    pub best_effort: bool,
    /// The line items, prices and rules of the moment.
    pub candidates: Candidates<'a>,
    /// The balances before it, all of them; of a line item that is not there, that nothing is used.
    pub balances: &'a B,
}

impl<B: Balances> Asked<'_, B> {
    /// Explains every item; at most `listed_max` line items are listed for each.
    ///
    /// # Errors
    /// If a balance is not known.
    pub fn explain(&self, listed_max: usize) -> Result<Vec<ItemExplained>, Missing> {
        let mut books = self.books()?;
        let mut decided = Vec::with_capacity(self.items.len());
        for item in self.items {
            let before = copy(&books);
            decided.push((before, allocate(item, self.candidates, &mut books, LineKind::Final)?));
        }
        let mut explained = Vec::with_capacity(self.items.len());
        let mut shortfalls = 0;
        for ((index, item), (before, verdict)) in self.items.iter().enumerate().zip(decided) {
            let shortfall = match &verdict {
                Verdict::Denied(Denial::Insufficient) if shortfalls < raise::SHORTFALLS_MAX => {
                    shortfalls += 1;
                    Some(self.shortfall(index, item, &before, &books)?)
                }
                Verdict::Denied(Denial::Insufficient) => Some(Shortfall::Later),
                Verdict::Granted(_) | Verdict::Denied(_) => None,
            };
            let (prices, candidates) = (Prices::of(item), self.candidates);
            let look = Look { candidates, books: &before, prices: &prices, verdict: &verdict };
            let (line_items, more) = look.listed(listed_max, shortfall.as_ref())?;
            explained.push(ItemExplained { verdict, line_items, more, shortfall });
        }
        Ok(explained)
    }

    /// What would grant the item at `index`: of a set, in the set; else asked alone, after what the
    /// others were charged.
    fn shortfall(
        &self,
        index: usize,
        item: &RequestedItem,
        before: &Books<'_, B>,
        after: &Books<'_, B>,
    ) -> Result<Shortfall, Missing> {
        if !self.best_effort {
            return raise::shortfall(self, index, item, before);
        }
        let items = std::slice::from_ref(item);
        let alone = Asked {
            items,
            refunds: &[],
            best_effort: true,
            candidates: self.candidates,
            balances: &after.postings,
        };
        raise::shortfall(&alone, 0, item, &alone.books()?)
    }

    fn books(&self) -> Result<Books<'_, B>, Missing> {
        let mut books = Books::over(self.balances, self.candidates.instance);
        books.credit(self.refunds)?;
        Ok(books)
    }
}

/// Books as they are now.
fn copy<'a, B: Balances>(books: &Books<'a, B>) -> Books<'a, B> {
    Books { instance: books.instance, postings: books.postings.clone(), no_price: None }
}

fn taken(verdict: &Verdict, line_item: LineItemNumber) -> Tokens {
    let takes = match verdict {
        Verdict::Granted(takes) => takes.as_slice(),
        Verdict::Denied(_) => &[],
    };
    let own = takes.iter().filter(|take| take.line_item == line_item);
    own.fold(Tokens::ZERO, |all, Take { tokens, .. }| sum(all, *tokens))
}

/// A look at the line items as one item found them.
struct Look<'a, 'b, B> {
    candidates: Candidates<'a>,
    books: &'b Books<'a, B>,
    prices: &'b Prices<'b>,
    verdict: &'b Verdict,
}

impl<B: Balances> Look<'_, '_, B> {
    /// The line items to be listed, in charging order, and how many are left out.
    fn listed(
        &self,
        listed_max: usize,
        shortfall: Option<&Shortfall>,
    ) -> Result<(Vec<LineItemExplained>, usize), Missing> {
        let all = || self.candidates.instance.in_charging_order().map(Arc::as_ref).enumerate();
        let mut ranks = Vec::new();
        for (place, line_item) in all() {
            let must = match shortfall {
                Some(Shortfall::Raise(raise)) => raise.line_item == line_item.number,
                Some(Shortfall::Ceiling | Shortfall::Later) | None => false,
            };
            let rank = match self.standing(line_item)? {
                Standing::Usable(usable) if must || usable.taken > Tokens::ZERO => 0,
                Standing::Usable(_) => 1,
                Standing::FormulaFails { .. } => 2,
                Standing::Denied { .. } => 3,
                Standing::NotPriced(_) => 4,
                Standing::NoTable { .. } => 5,
                Standing::Unusable(_) => 6,
            };
            ranks.push((rank, place));
        }
        ranks.sort_unstable();
        let first = ranks.iter().enumerate();
        let first = first.take_while(|(order, (rank, _))| *rank == 0 || *order < listed_max);
        let listed: BTreeSet<usize> = first.map(|(_, (_, place))| *place).collect();
        let mut line_items = Vec::with_capacity(listed.len());
        for (_, line_item) in all().filter(|(place, _)| listed.contains(place)) {
            let (number, standing) = (line_item.number, self.standing(line_item)?);
            let activation_id = line_item.terms.activation_id.clone();
            line_items.push(LineItemExplained { line_item: number, activation_id, standing });
        }
        Ok((line_items, ranks.len() - listed.len()))
    }

    /// How one line item stood: the questions that [`allocate`] asks, in their order.
    fn standing(&self, line_item: &LineItem) -> Result<Standing, Missing> {
        let Candidates { now, published, instance, rates, tolerant, requester } = self.candidates;
        if let Some(obstacle) = line_item.obstacle(now, tolerant) {
            return Ok(Standing::Unusable(obstacle));
        }
        let series = &line_item.terms.series;
        let Some(rate_table) = rates.effective(series, now, published) else {
            return Ok(Standing::NoTable { series: series.clone() });
        };
        let table = Table::of(rate_table);
        let RequestedItem { name, version, .. } = self.prices.item();
        let Some(price) = rate_table.price(name, version) else {
            return Ok(Standing::NotPriced(table));
        };
        let deciding = instance.deciding(line_item, &requester.dictionary);
        let rule = deciding.map(|action| self.rule(line_item, action)).transpose()?;
        let cap = match instance.permission(line_item, &requester.dictionary) {
            Permission::Unrestricted => None,
            Permission::Allocated { action, allocation } => Some(Cap { action, allocation }),
            Permission::Denied => return Ok(Standing::Denied { table, rule }),
        };
        let formula = match price {
            Price::Rate(_) => None,
            Price::Formula(formula) => Some(formula),
        };
        let rate = match (self.prices.rate(rate_table, price), &formula) {
            (Ok(rate), _) => rate,
            (Err(error), formula) => {
                let formula = formula.map_or_else(String::new, ToString::to_string);
                return Ok(Standing::FormulaFails { table, formula, error });
            }
        };
        let entitled = self.books.capacity(line_item, cap, Pass::Entitled, &[])?;
        let with_overdraft = self.books.capacity(line_item, cap, Pass::Overdraft, &[])?;
        let is_endless = line_item.terms.overdraft == Overdraft::Unlimited && cap.is_none();
        let with_overdraft = if is_endless { None } else { Some(with_overdraft) };
        let taken = taken(self.verdict, line_item.number);
        let formula = formula.map(ToString::to_string);
        let usable = Usable { table, rate, formula, rule, entitled, with_overdraft, taken };
        Ok(Standing::Usable(usable))
    }

    fn rule(&self, line_item: &LineItem, action: &Action) -> Result<Rule, Missing> {
        let named = |id| self.candidates.instance.condition(id).map(|found| found.name.clone());
        let condition = action.condition.map(|id| (id, named(id).unwrap_or(Text::empty())));
        let allocation = match action.effect {
            Effect::Allow(Some(allocation)) => {
                let Known::Balance(balance) = self.books.postings.known(line_item.number) else {
                    return Err(Missing(line_item.number));
                };
                let left = allocation.saturating_sub(balance.counters.used(action.id));
                Some((allocation, left))
            }
            Effect::Allow(None) | Effect::Deny => None,
        };
        Ok(Rule { action: action.id, name: action.name.clone(), condition, allocation })
    }
}

impl Table {
    fn of(table: &RateTable) -> Table {
        let RateTable { series, version, effective_from, .. } = table;
        let (series, version) = (series.clone(), version.clone());
        Table { series, version, effective_from: *effective_from }
    }
}
