//! What a request leaves of the line items that it touches (spec 2.7, `balances`).

use std::fmt;
use std::sync::Arc;

use super::catalogue::InstanceCatalogue;
use super::ids::Text;
use super::line_item::Posting;
use super::time::Timestamp;
use super::tokens::Tokens;

/// How one line item stands after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItemBalance {
    /// Its name.
    pub activation_id: Text,
    /// Tokens charged and not refunded.
    pub used: Tokens,
    /// What could be charged at that moment, the overdraft included; `None`: without bound.
    pub available: Option<Tokens>,
}

/// The line items of an instance as a decision saw them, and when that was.
#[derive(Clone)]
pub struct Seen {
    instance: Arc<InstanceCatalogue>,
    at: Timestamp,
    tolerant: bool,
}

impl Seen {
    /// What was seen at `at`; `tolerant` as in [`super::line_item::LineItem::is_candidate`].
    pub fn new(instance: Arc<InstanceCatalogue>, at: Timestamp, tolerant: bool) -> Seen {
        Seen { instance, at, tolerant }
    }

    /// The moment of the decision.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// How the line item of a posting stands then. What is deleted, or may not be charged at that
    /// moment, gives nothing, whatever is left of it.
    pub fn standing(&self, posting: &Posting) -> LineItemBalance {
        let Posting { line_item, activation_id, after, .. } = posting;
        let found = self.instance.find(activation_id.as_str());
        let found = found.filter(|found| found.number == *line_item);
        let available = found.map_or(Some(Tokens::ZERO), |found| {
            found.chargeable(after.taken(), self.at, self.tolerant)
        });
        LineItemBalance { activation_id: activation_id.clone(), used: after.used, available }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { instance, at, tolerant } = self; // Not thousands of line items.
        write!(formatter, "Seen {{ {}, {at:?}, tolerant: {tolerant} }}", instance.number)
    }
}

/// Versions of one instance's catalogue are told apart by their numbers.
impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        let key = |seen: &Seen| (seen.instance.number, seen.at, seen.tolerant);
        key(self) == key(other)
    }
}

impl Eq for Seen {}
