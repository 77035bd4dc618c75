//! Everything that can become true. One request is one event is one record: refund and charge, all
//! items, all line items and the session's transition stand or fall together.
//!
//! Events say results (`after`), so that replay decides nothing and can repeat without harm.

use std::sync::Arc;

use super::charge::{Refund, Verdict};
use super::ids::{
    CorrelationId, InstanceId, InstanceNumber, LineItemNumber, RateTableNumber, SessionId,
    SessionNumber, Text,
};
use super::keys::RegisteredKey;
use super::line_item::{Posting, Terms};
use super::rates::NewRateTable;
use super::request::AccessRequest;
use super::time::{Period, Timestamp};

/// An event and its moment. A record's place in the journal is its [`Sequence`](super::ids::Sequence).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it became true, in broker time.
    pub at: Timestamp,
    /// What became true.
    pub event: Event,
}

/// What became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A public key was registered, or replaced the one of its id (spec 2.1).
    KeyRegistered(RegisteredKey),
    /// A rate table was published (spec 2.6).
    RateTablePublished(NewRateTable),
    /// A rate table that had not taken effect was deleted.
    RateTableDeleted {
        /// Its series.
        series: Text,
        /// Which.
        number: RateTableNumber,
    },
    /// An instance was created (spec 2.2).
    InstanceCreated {
        /// Its id.
        id: InstanceId,
        /// Its short name.
        short_name: Text,
        /// Its account.
        account_id: Text,
        /// Whether it is the account's default.
        default: bool,
    },
    /// A line item was mapped, or its terms were replaced (spec 2.3).
    LineItemMapped {
        /// Where.
        instance: InstanceNumber,
        /// Which; `None` for a new one, which takes the number of this record.
        number: Option<LineItemNumber>,
        /// Its terms from now on.
        terms: Terms,
    },
    /// A line item was deleted (spec 6).
    LineItemDeleted {
        /// Where.
        instance: InstanceNumber,
        /// Which.
        number: LineItemNumber,
        /// Its name.
        activation_id: Text,
    },
    /// A one-off request was decided (spec 3.5).
    Access(Arc<Access>),
    /// A session was created (spec 4).
    SessionCreated {
        /// Its id.
        id: SessionId,
        /// Where.
        instance: InstanceNumber,
    },
    /// An access request of a session was decided (spec 4.5, 4.6).
    SessionAccess(Arc<SessionAccess>),
    /// A session was closed (spec 4.7).
    SessionClosed(Arc<SessionClosed>),
}

/// A decided one-off request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where.
    pub instance: InstanceNumber,
    /// Ties the answer to this record.
    pub correlation: CorrelationId,
    /// What was asked.
    pub request: Arc<AccessRequest>,
    /// What became of each item.
    pub verdicts: Vec<Verdict>,
    /// The balances from here on.
    pub postings: Vec<Posting>,
}

/// A decided access request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAccess {
    /// Which session.
    pub session: SessionNumber,
    /// Where.
    pub instance: InstanceNumber,
    /// Ties the answer and the charge to this record.
    pub correlation: CorrelationId,
    /// The id of the refund, where there is one.
    pub refund_correlation: CorrelationId,
    /// What was asked.
    pub request: Arc<AccessRequest>,
    /// What became of each item.
    pub verdicts: Vec<Verdict>,
    /// What the end of the current period gives back; one line per charge line that it closes.
    pub refunds: Vec<Refund>,
    /// The balances from here on.
    pub postings: Vec<Posting>,
    /// What the session does from here on.
    pub next: Next,
}

/// What a decided access request makes of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Goes on as it was: denied with rollback, or halted while IDLE.
    Unchanged,
    /// ACTIVE on a new timeline, paid for so long from now on.
    Charged(Period),
    /// IDLE.
    Halted,
    /// TERMINATED: denied without rollback.
    Terminated,
}

/// A closed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClosed {
    /// Which session.
    pub session: SessionNumber,
    /// Where.
    pub instance: InstanceNumber,
    /// The id of the refund.
    pub correlation: CorrelationId,
    /// What it gives back; one line per charge line that it closes.
    pub refunds: Vec<Refund>,
    /// The balances from here on.
    pub postings: Vec<Posting>,
}

impl Event {
    /// The session whose state it changes; not the one that it creates.
    pub fn session(&self) -> Option<SessionNumber> {
        match self {
            Event::SessionAccess(access) => Some(access.session),
            Event::SessionClosed(closed) => Some(closed.session),
            Event::KeyRegistered(_)
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. } => None,
        }
    }

    /// The instance whose owners it changes, or adds to.
    pub fn instance(&self) -> Option<InstanceNumber> {
        match self {
            Event::LineItemMapped { instance, .. }
            | Event::LineItemDeleted { instance, .. }
            | Event::SessionCreated { instance, .. } => Some(*instance),
            Event::Access(access) => Some(access.instance),
            Event::SessionAccess(access) => Some(access.instance),
            Event::SessionClosed(closed) => Some(closed.instance),
            Event::KeyRegistered(_)
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. } => None,
        }
    }

    /// The balances that follow from it.
    pub fn postings(&self) -> &[Posting] {
        match self {
            Event::Access(access) => &access.postings,
            Event::SessionAccess(access) => &access.postings,
            Event::SessionClosed(closed) => &closed.postings,
            Event::KeyRegistered(_)
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::SessionCreated { .. } => &[],
        }
    }
}
