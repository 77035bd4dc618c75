//! What a client, and a usage row, is told of one item (spec 2.7).

use super::charge::{Denial, Verdict};

/// The status of an item: a code of version 1.0 of the API, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemStatus {
    /// Three digits.
    pub code: &'static str,
    /// For people.
    pub description: &'static str,
}

impl ItemStatus {
    /// An item that was granted.
    pub const GRANTED: ItemStatus =
        ItemStatus { code: "101", description: "Successfully checked out" };

    /// What became of an item.
    pub const fn of(verdict: &Verdict) -> ItemStatus {
        match verdict {
            Verdict::Granted(_) => ItemStatus::GRANTED,
            Verdict::Denied(denial) => ItemStatus::of_denial(*denial),
        }
    }

    /// Why an item was denied.
    pub const fn of_denial(denial: Denial) -> ItemStatus {
        let (code, description) = match denial {
            Denial::NoStatus => ("102", "No ItemStatus"),
            Denial::UnknownItem => ("201", "Item not found in any effective rate table"),
            Denial::NoLineItem => ("301", "No valid active line items"),
            Denial::Insufficient => ("306", "Insufficient count available"),
        };
        ItemStatus { code, description }
    }
}
