//! What an item costs: a rate, or a formula of the variables that it is requested with (spec 3.1).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::formula::{Formula, FormulaError};
use super::ids::{RateTableNumber, Text};
use super::rates::RateTable;
use super::request::RequestedItem;
use super::tokens::{AmountError, Rate};
use super::variables::Variables;

/// What one count of an item costs: a rate, or the formula that it is worked out by (spec 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// Always the same.
    Rate(Rate),
    /// It depends on the variables of the requested item.
    Formula(Arc<Formula>),
}

impl Price {
    /// The rate with these variables (spec 3.1).
    ///
    /// # Errors
    /// A formula that lacks a variable or has no result that is a rate.
    pub fn rate(&self, variables: &Variables) -> Result<Rate, FormulaError> {
        match self {
            Price::Rate(rate) => Ok(*rate),
            Price::Formula(formula) => formula.rate(variables),
        }
    }
}

impl From<Rate> for Price {
    fn from(rate: Rate) -> Price {
        Price::Rate(rate)
    }
}

impl From<Formula> for Price {
    fn from(formula: Formula) -> Price {
        Price::Formula(Arc::new(formula))
    }
}

/// Reads a rate; a formula is read as a [`Formula`].
impl std::str::FromStr for Price {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Price, AmountError> {
        text.parse().map(Price::Rate)
    }
}

/// A rate, or why its formula has none.
pub(super) type Priced = Result<Rate, FormulaError>;

/// What one requested item costs by each table. A formula is worked out once, however many line items have
/// its table.
pub(super) struct Prices<'a> {
    item: &'a RequestedItem,
    formulas: RefCell<BTreeMap<RateTableNumber, Priced>>,
}

impl<'a> Prices<'a> {
    pub(super) fn of(item: &'a RequestedItem) -> Prices<'a> {
        Prices { item, formulas: RefCell::default() }
    }

    /// Which item.
    pub(super) fn item(&self) -> &'a RequestedItem {
        self.item
    }

    /// Its rate by this table, which has it at this price.
    pub(super) fn rate(&self, table: &RateTable, price: &Price) -> Priced {
        match price {
            Price::Rate(rate) => Ok(*rate),
            Price::Formula(_) => {
                let mut formulas = self.formulas.borrow_mut();
                let rate = || price.rate(&self.item.variables);
                formulas.entry(table.number).or_insert_with(rate).clone()
            }
        }
    }
}

/// A requested item has no price: its formula fails (spec 3.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the formula of item `{item}` fails at {error}")]
pub struct NoPrice {
    /// The item.
    pub item: Text,
    /// Where, and why.
    pub error: FormulaError,
}
