//! What a client asks for, as far as the domain cares (spec 2.7, 2.8).

use super::ids::{Document, Requester, Text};
use super::tokens::Count;
use super::variables::Variables;

/// One item of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedItem {
    /// What is to be used.
    pub name: Text,
    /// Exactly which version; empty means the item whose version is empty.
    pub version: Text,
    /// How many.
    pub count: Count,
    /// Copied to the usage data.
    pub metadata: Option<Document>,
    /// What the formula of its price is worked out with, now and at automatic charges.
    pub variables: Variables,
}

/// A one-off request, or the new set of a session. At most
/// [`ITEMS_MAX`](super::limits::ITEMS_MAX) items; the edge sees to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// Who asks.
    pub requester: Requester,
    /// For what, in the order that counts.
    pub items: Vec<RequestedItem>,
}
