//! What happens to a session if nobody calls: automatic charges, heartbeat deadlines, the idle limit
//! (spec 4.2 to 4.4). Whoever runs it does so at its own time and in its order.

use std::sync::Arc;

use super::{ChargeLine, Need, PaidPeriod, Session, State};
use crate::domain::catalogue::InstanceCatalogue;
use crate::domain::charge::{self, Balances, Candidates, Denial, Missing, Verdict};
use crate::domain::event::{AutomaticCharge, Next, SessionClosed};
use crate::domain::ids::{CorrelationId, SessionNumber};
use crate::domain::limits::{IDLE_LIMIT_MS, LINE_ITEMS_CHARGED_MAX};
use crate::domain::refusal::Refusal;
use crate::domain::session_time::{Outages, SessionTime};
use crate::domain::time::{Period, Timestamp};

/// What a session has coming, if nobody calls (spec 4.2). The order is that of events due together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueKind {
    /// It ends: no heartbeat came. Known a millisecond after the last instant for one, at which it
    /// is stamped: so it comes first.
    MissedHeartbeat,
    /// It ends: idle for too long.
    IdleLimit,
    /// A session of components lapses (components 4).
    Lapse,
    /// A checkout has waited long enough (components 2.4).
    WaitOver,
    /// The next period is charged.
    AutomaticCharge,
}

/// When something falls due, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// The first instant at which it has happened.
    pub at: SessionTime,
    /// What it is.
    pub kind: DueKind,
    /// Whose: sessions in order of creation.
    pub session: SessionNumber,
}

impl Due {
    /// What the record of it is stamped with: a heartbeat is missed at the last instant that it
    /// could have come at, which is a millisecond before that is known (spec 4.2).
    pub fn stamp(&self, outages: &Outages) -> Timestamp {
        let at = outages.broker_time(self.at);
        match self.kind {
            DueKind::MissedHeartbeat => at.minus_ms(1),
            DueKind::IdleLimit | DueKind::Lapse | DueKind::WaitOver | DueKind::AutomaticCharge => {
                at
            }
        }
    }
}

/// When the client of a session should be heard of again; broker time, 0 for "not at all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// The end of the paid period.
    pub charged_until: Timestamp,
    /// The first instant at which the next heartbeat that counts may arrive.
    pub heartbeat_from: Timestamp,
    /// The last one.
    pub heartbeat_due_by: Timestamp,
}

impl Session {
    /// When its client should be heard of again: in the window that still lacks a heartbeat, else
    /// in that after the next automatic charge, which will pay for `next_period`.
    pub fn pacing(&self, next_period: Period, outages: &Outages) -> Pacing {
        let State::Active(usage) = &self.state else { return Pacing::default() };
        let next = PaidPeriod { from: usage.period.until(), length: next_period, ..usage.period };
        let window = if usage.period.heartbeat == Need::Open { usage.period } else { next };
        Pacing {
            charged_until: outages.broker_time(usage.period.until()),
            heartbeat_from: outages.broker_time(window.from),
            heartbeat_due_by: outages.broker_time(window.heartbeat_deadline()),
        }
    }

    /// What falls due next if nobody calls (spec 4.2).
    pub fn due(&self) -> Option<Due> {
        let (at, kind) = match &self.state {
            State::Idle { since } => (since.plus_ms(IDLE_LIMIT_MS), DueKind::IdleLimit),
            State::Active(usage) if usage.period.heartbeat == Need::Open => {
                (usage.period.heartbeat_deadline().plus_ms(1), DueKind::MissedHeartbeat)
            }
            State::Active(usage) => (usage.period.until(), DueKind::AutomaticCharge),
            State::Leased(lease) => (lease.until, DueKind::Lapse),
            State::Ended { .. } => return None,
        };
        Some(Due { at, kind, session: self.number })
    }

    /// Whether a heartbeat received at `heard` is the first that counts in its window (spec 4.4).
    ///
    /// # Errors
    /// [`Refusal::SessionEnded`].
    pub fn decide_heartbeat(&self, heard: SessionTime) -> Result<bool, Refusal> {
        match &self.state {
            State::Ended { how, .. } => Err(Refusal::SessionEnded(*how)),
            State::Idle { .. } | State::Leased(_) => Ok(false),
            State::Active(usage) => {
                let window = usage.period.from..=usage.period.heartbeat_deadline();
                Ok(usage.period.heartbeat == Need::Open && window.contains(&heard))
            }
        }
    }

    /// The next period of the same set, at the prices and on the line items of its own moment
    /// (spec 4.3): all of it or the end.
    pub fn decide_automatic_charge(
        &self,
        correlation: CorrelationId,
        period: Period,
        candidates: Candidates<'_>,
        balances: &impl Balances,
    ) -> Result<AutomaticCharge, Missing> {
        let State::Active(usage) = &self.state else {
            panic!("only what is ACTIVE is charged automatically");
        };
        let refunds = self.refunds_at(usage.period.until());
        let set = charge::whole_set(&usage.request.items, &refunds, candidates, balances)?;
        let (verdicts, postings, next) = match set {
            Ok(granted) if granted.postings.len() <= LINE_ITEMS_CHARGED_MAX => {
                (granted.verdicts, granted.postings, Next::Charged(period))
            }
            // It would name more line items, old and new, than fit a record: as good as short.
            Ok(granted) => {
                let denied = granted.verdicts.iter().map(|_| Verdict::Denied(Denial::Insufficient));
                let postings = charge::refunded(&refunds, candidates.instance(), balances)?;
                (denied.collect(), postings, Next::Terminated)
            }
            Err(denied) => {
                let postings = charge::refunded(&refunds, candidates.instance(), balances)?;
                (denied.verdicts, postings, Next::Terminated)
            }
        };
        Ok(AutomaticCharge {
            session: self.number,
            session_id: self.id,
            instance: self.instance,
            correlation,
            request: Arc::clone(&usage.request),
            verdicts,
            refunds,
            postings,
            next,
        })
    }

    /// The end of a session that was IDLE for too long, or that no heartbeat has come from: then
    /// the whole automatic charge is given back, which is taken to have been made in error
    /// (spec 4.4).
    pub fn decide_expiry(
        &self,
        correlation: CorrelationId,
        catalogue: &InstanceCatalogue,
        balances: &impl Balances,
    ) -> Result<SessionClosed, Missing> {
        let refunds = match &self.state {
            State::Active(usage) => usage.charges.iter().map(ChargeLine::undone).collect(),
            State::Idle { .. } | State::Leased(_) | State::Ended { .. } => Vec::new(),
        };
        let postings = charge::refunded(&refunds, catalogue, balances)?;
        Ok(self.closed(correlation, refunds, postings))
    }
}
