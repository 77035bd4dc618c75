//! Postings in the making: the balances as a decision would leave them, over those it only reads.

use super::charge::{Balances, Known, Missing};
use super::ids::{LineItemNumber, Text};
use super::line_item::{Balance, Posting};

/// What a decision changes of the balances that it reads.
pub(super) struct Postings<'a, B> {
    balances: &'a B,
    made: Vec<Posting>,
}

impl<'a, B: Balances> Postings<'a, B> {
    /// Nothing is changed yet.
    pub(super) fn over(balances: &'a B) -> Postings<'a, B> {
        Postings { balances, made: Vec::new() }
    }

    /// A balance, to be changed; its posting names it so, and the quantity at this moment.
    ///
    /// # Errors
    /// Where it cannot be seen.
    pub(super) fn change(
        &mut self,
        line_item: LineItemNumber,
        activation_id: &Text,
        quantity: Option<u64>,
    ) -> Result<&mut Balance, Missing> {
        let found = self.made.iter().position(|posting| posting.line_item == line_item);
        let index = match found {
            Some(index) => index,
            None => {
                let after = self.balances.balance(line_item)?;
                let activation_id = activation_id.clone();
                self.made.push(Posting { line_item, activation_id, quantity, after });
                self.made.len() - 1
            }
        };
        let posting = self.made.get_mut(index).ok_or(Missing(line_item))?;
        Ok(&mut posting.after)
    }

    /// The postings, each with the counters that it changes.
    pub(super) fn close(mut self) -> Vec<Posting> {
        for posting in &mut self.made {
            if let Known::Balance(before) = self.balances.known(posting.line_item) {
                let changed = posting.after.counters.changed_since(&before.counters);
                posting.after.counters = changed;
            }
        }
        self.made
    }
}

/// The balances as far as the decision has got.
impl<B: Balances> Balances for Postings<'_, B> {
    fn known(&self, line_item: LineItemNumber) -> Known {
        match self.made.iter().find(|posting| posting.line_item == line_item) {
            Some(posting) => Known::Balance(posting.after.clone()),
            None => self.balances.known(line_item),
        }
    }
}

impl<B> Clone for Postings<'_, B> {
    fn clone(&self) -> Self {
        Postings { balances: self.balances, made: self.made.clone() }
    }
}
