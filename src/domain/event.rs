//! Everything that can become true. One request is one event is one record: refund and charge, all
//! items, all line items and the session's transition stand or fall together.
//!
//! Events say results (`after`), so that replay decides nothing and can repeat without harm.

use std::sync::Arc;

use super::charge::{Refund, Verdict};
use super::components::{LeaseEvent, Provision};
use super::configuration::Setting;
use super::ids::{
    ConditionId, CorrelationId, InstanceId, InstanceNumber, LineItemNumber, RateTableNumber,
    SessionId, SessionNumber, Text,
};
use super::keys::{KeyClass, RegisteredKey};
use super::line_item::{Posting, Terms};
use super::rates::NewRateTable;
use super::request::AccessRequest;
use super::rules::{Action, Condition};
use super::session_time::Outage;
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
    /// Public keys were registered, or replaced those of their class and id (spec 2.1).
    KeysRegistered(Vec<RegisteredKey>),
    /// A public key was deleted.
    KeyDeleted {
        /// Its class.
        class: KeyClass,
        /// Its id.
        id: Text,
    },
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
    /// Conditions of an instance were added or changed (spec 2.5).
    ConditionsSet {
        /// Where.
        instance: InstanceNumber,
        /// What they are from now on.
        conditions: Vec<Condition>,
    },
    /// Conditions of an instance were deleted.
    ConditionsDeleted {
        /// Where.
        instance: InstanceNumber,
        /// Which.
        conditions: Vec<ConditionId>,
    },
    /// The actions of a line item were replaced (spec 2.4).
    ActionsSet {
        /// Where.
        instance: InstanceNumber,
        /// Of which line item.
        number: LineItemNumber,
        /// Its name.
        activation_id: Text,
        /// All its actions from now on.
        actions: Vec<Action>,
        /// Takes the counters of those that are gone, if they had any.
        posting: Option<Posting>,
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
    /// A session's paid period was over: the next one was charged, or it could not be (spec 4.3).
    AutomaticCharge(Arc<AutomaticCharge>),
    /// A session ended by itself: idle for too long, or no heartbeat (spec 4.2, 4.4).
    SessionExpired(Arc<SessionClosed>),
    /// The first heartbeat that counts in its window (spec 4.4).
    Heartbeat {
        /// Of which session.
        session: SessionNumber,
        /// Where.
        instance: InstanceNumber,
        /// When it was received.
        heard: Timestamp,
    },
    /// The broker was not there for a while: the sessions' clock stood still (spec 4.2).
    Outage(Outage),
    /// Nothing but that broker time has come so far (spec 4.2).
    Time,
    /// The producer changed settings (spec 2.9).
    Configured {
        /// The key id of the token; empty for the process itself.
        by: Text,
        /// The new values.
        settings: Vec<Setting>,
    },
    /// Broker time is moved by hand here (spec 4.2): the first record of such a journal.
    TestClock,
    /// A call under an idempotency key was answered, and nothing else has changed (spec 2.12).
    Answered,
    /// Products, components, licences, entitlements or registrations changed (components 2.1).
    Provisioned(Arc<Provision>),
    /// Something happened to a session of components (components 3, 4).
    Lease(Arc<LeaseEvent>),
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
    /// Its id.
    pub session_id: SessionId,
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
    /// What had been asked for the period that ends here, if one does.
    pub ended: Option<Arc<AccessRequest>>,
    /// What its end gives back; one line per charge line that it closes.
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

/// An automatic charge, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticCharge {
    /// Which session.
    pub session: SessionNumber,
    /// Its id.
    pub session_id: SessionId,
    /// Where.
    pub instance: InstanceNumber,
    /// The id of the charge.
    pub correlation: CorrelationId,
    /// The session's set, and who asked for it: in the period that is over and in the next.
    pub request: Arc<AccessRequest>,
    /// What became of each item of the session's set.
    pub verdicts: Vec<Verdict>,
    /// The charge lines of the period that is over: nothing is left of them to give back.
    pub refunds: Vec<Refund>,
    /// The balances from here on.
    pub postings: Vec<Posting>,
    /// Charged for the next period, or terminated.
    pub next: Next,
}

/// A session that was closed, or ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClosed {
    /// Which session.
    pub session: SessionNumber,
    /// Its id.
    pub session_id: SessionId,
    /// Where.
    pub instance: InstanceNumber,
    /// The id of the refund.
    pub correlation: CorrelationId,
    /// What had been asked for the period that ends here; none where it was IDLE.
    pub ended: Option<Arc<AccessRequest>>,
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
            Event::SessionClosed(closed) | Event::SessionExpired(closed) => Some(closed.session),
            Event::AutomaticCharge(charge) => Some(charge.session),
            Event::Heartbeat { session, .. } => Some(*session),
            Event::Lease(event) => event.session,
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::ActionsSet { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_) => None,
        }
    }

    /// The instance whose owners it changes, or adds to.
    pub fn instance(&self) -> Option<InstanceNumber> {
        match self {
            Event::LineItemMapped { instance, .. }
            | Event::LineItemDeleted { instance, .. }
            | Event::ConditionsSet { instance, .. }
            | Event::ConditionsDeleted { instance, .. }
            | Event::ActionsSet { instance, .. }
            | Event::SessionCreated { instance, .. } => Some(*instance),
            Event::Access(access) => Some(access.instance),
            Event::SessionAccess(access) => Some(access.instance),
            Event::SessionClosed(closed) | Event::SessionExpired(closed) => Some(closed.instance),
            Event::AutomaticCharge(charge) => Some(charge.instance),
            Event::Heartbeat { instance, .. } => Some(*instance),
            Event::Provisioned(provision) => provision.instance(),
            Event::Lease(event) => Some(event.instance),
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered => None,
        }
    }

    /// What it changes of what is licensed, if anything.
    pub const fn provision(&self) -> Option<&Arc<Provision>> {
        if let Event::Provisioned(provision) = self { Some(provision) } else { None }
    }

    /// The id of the decision that it is, if it is one.
    pub fn correlation(&self) -> Option<CorrelationId> {
        self.decision().map(Decision::correlation)
    }

    /// The decision that it is, if it is one.
    pub fn decision(&self) -> Option<Decision<'_>> {
        match self {
            Event::Access(access) => Some(Decision::OneOff(access)),
            Event::SessionAccess(access) => Some(Decision::Session(access)),
            Event::AutomaticCharge(charge) => Some(Decision::AutomaticCharge(charge)),
            Event::SessionClosed(closed) => Some(Decision::Close(closed)),
            Event::SessionExpired(closed) => Some(Decision::Expiry(closed)),
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::ActionsSet { .. }
            | Event::SessionCreated { .. }
            | Event::Heartbeat { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_)
            | Event::Lease(_) => None,
        }
    }

    /// The balances that follow from it.
    pub fn postings(&self) -> &[Posting] {
        match self {
            Event::Access(access) => &access.postings,
            Event::SessionAccess(access) => &access.postings,
            Event::SessionClosed(closed) | Event::SessionExpired(closed) => &closed.postings,
            Event::AutomaticCharge(charge) => &charge.postings,
            Event::ActionsSet { posting, .. } => posting.as_slice(),
            Event::Lease(event) => &event.postings,
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::SessionCreated { .. }
            | Event::Heartbeat { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_) => &[],
        }
    }
}

/// A charge, a denial or a refund: what usage rows tell, and what can be explained.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// A one-off request.
    OneOff(&'a Access),
    /// An access request of a session.
    Session(&'a SessionAccess),
    /// The charge of a session's next period.
    AutomaticCharge(&'a AutomaticCharge),
    /// A session that was closed.
    Close(&'a SessionClosed),
    /// A session that ended by itself.
    Expiry(&'a SessionClosed),
}

impl Decision<'_> {
    /// Its id.
    pub const fn correlation(self) -> CorrelationId {
        match self {
            Decision::OneOff(access) => access.correlation,
            Decision::Session(access) => access.correlation,
            Decision::AutomaticCharge(charge) => charge.correlation,
            Decision::Close(closed) | Decision::Expiry(closed) => closed.correlation,
        }
    }

    /// Where.
    pub const fn instance(self) -> InstanceNumber {
        match self {
            Decision::OneOff(access) => access.instance,
            Decision::Session(access) => access.instance,
            Decision::AutomaticCharge(charge) => charge.instance,
            Decision::Close(closed) | Decision::Expiry(closed) => closed.instance,
        }
    }

    /// In which session; none for a one-off request.
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Decision::OneOff(_) => None,
            Decision::Session(access) => Some(access.session_id),
            Decision::AutomaticCharge(charge) => Some(charge.session_id),
            Decision::Close(closed) | Decision::Expiry(closed) => Some(closed.session_id),
        }
    }
}
