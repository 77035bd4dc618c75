//! THE session state machine, its timeline, and what falls due when (spec 4).
//!
//! A session is charged in advance for a period; `decide_*` reads and says what shall happen,
//! [`Session::apply`] makes it so. Automatic charges, heartbeat deadlines and the idle limit are in
//! the timeline ([`Session::due`]); nothing runs them yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::charge::{self, Balances, Candidates, Missing, Refund, Verdict};
use super::event::{Event, Next, Record, SessionAccess, SessionClosed};
use super::ids::{CorrelationId, InstanceNumber, LineItemNumber, SessionId, SessionNumber, Text};
use super::limits::{IDLE_LIMIT_MS, LINE_ITEMS_CHARGED_MAX};
use super::line_item::Posting;
use super::refusal::Refusal;
use super::request::AccessRequest;
use super::rounding;
use super::time::{Period, Timestamp};
use super::tokens::Tokens;

/// A timeline in one instance in which a set of items is charged in advance (spec 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its place among the sessions that fall due together.
    pub number: SessionNumber,
    /// Its id.
    pub id: SessionId,
    /// Where it runs.
    pub instance: InstanceNumber,
    /// When it was created.
    pub created: Timestamp,
    /// What it is doing.
    pub state: State,
    /// When it was last heard of. In memory only until a heartbeat counts (spec 4.4).
    pub last_heartbeat: Option<Timestamp>,
    /// When it was last asked for access, granted or not.
    pub last_access_request: Option<Timestamp>,
}

/// What a session is doing (spec 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Created or halted: uses nothing.
    Idle {
        /// Since when; it may stay so for 30 days.
        since: Timestamp,
    },
    /// Uses a set of items and has paid for a period.
    Active(Arc<Use>),
    /// Over.
    Ended(Ended),
}

/// How a session is over (spec 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Closed, or ended by the rules.
    Terminated,
    /// Ended by an internal fault.
    Failed,
}

impl Ended {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ended::Terminated => "TERMINATED",
            Ended::Failed => "FAILED",
        }
    }

    /// The stable code of the refusal to use it again.
    pub const fn code(self) -> &'static str {
        match self {
            Ended::Terminated => "session-terminated",
            Ended::Failed => "session-failed",
        }
    }
}

/// What an active session uses, and the period it has paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The last granted request: the complete set of items, and who asked (spec 4.3).
    pub request: Arc<AccessRequest>,
    /// The paid period.
    pub period: PaidPeriod,
    /// What was charged for it, line by line.
    pub charges: Vec<ChargeLine>,
}

/// A charge of the current period, open to a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeLine {
    /// Which item of the request it was for.
    pub item: usize,
    /// Who was charged.
    pub line_item: LineItemNumber,
    /// Its name.
    pub activation_id: Text,
    /// How much.
    pub tokens: Tokens,
}

/// A stretch of a session's timeline that is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidPeriod {
    /// When it was charged.
    pub from: Timestamp,
    /// How long it lasts.
    pub length: Period,
    /// Whether the charge was automatic and no heartbeat has answered it yet (spec 4.4).
    pub awaits_heartbeat: bool,
}

impl PaidPeriod {
    /// Its end: when the next automatic charge is due (`chargedUntil`).
    pub fn until(&self) -> Timestamp {
        self.from.plus_ms(self.length.as_ms().get())
    }

    /// The last millisecond at which the heartbeat counts: half the interval (spec 4.2).
    pub fn heartbeat_deadline(&self) -> Timestamp {
        self.from.plus_ms(self.length.as_ms().get() / 2)
    }
}

/// What a session has coming, if nobody calls (spec 4.2). The order is that of events due together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueKind {
    /// It ends: idle for too long, or no heartbeat.
    Deadline,
    /// The next period is charged.
    AutomaticCharge,
}

/// When something falls due, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// The first instant at which it has happened.
    pub at: Timestamp,
    /// What it is.
    pub kind: DueKind,
    /// Whose: sessions in order of creation.
    pub session: SessionNumber,
}

/// What a PUT asks of a session (spec 4.5).
#[derive(Clone, Debug)]
pub struct AccessCommand {
    /// The complete new set; empty halts.
    pub request: Arc<AccessRequest>,
    /// Whether a denial leaves everything as it was, or ends the session.
    pub on_deny: OnDeny,
    /// The id of the charge.
    pub correlation: CorrelationId,
    /// The id of the refund, which is an operation of its own (spec 7).
    pub refund_correlation: CorrelationId,
}

/// What a denied request does to its session (`rollbackOnDeny`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeny {
    /// Nothing changes.
    Rollback,
    /// The rest is refunded and the session is TERMINATED.
    Terminate,
}

impl Session {
    /// A new session, IDLE.
    pub fn new(
        number: SessionNumber,
        id: SessionId,
        instance: InstanceNumber,
        created: Timestamp,
    ) -> Session {
        Session {
            number,
            id,
            instance,
            created,
            state: State::Idle { since: created },
            last_heartbeat: None,
            last_access_request: None,
        }
    }

    /// The name of its state on the wire.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Idle { .. } => "IDLE",
            State::Active(_) => "ACTIVE",
            State::Ended(ended) => ended.as_str(),
        }
    }

    /// Whether it can still be used.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    /// The end of the paid period, if there is one.
    pub fn charged_until(&self) -> Option<Timestamp> {
        match &self.state {
            State::Active(usage) => Some(usage.period.until()),
            State::Idle { .. } | State::Ended(_) => None,
        }
    }

    /// What falls due next if nobody calls (spec 4.2).
    pub fn due(&self) -> Option<Due> {
        let (at, kind) = match &self.state {
            State::Idle { since } => (since.plus_ms(IDLE_LIMIT_MS), DueKind::Deadline),
            State::Active(usage) if usage.period.awaits_heartbeat => {
                (usage.period.heartbeat_deadline().plus_ms(1), DueKind::Deadline)
            }
            State::Active(usage) => (usage.period.until(), DueKind::AutomaticCharge),
            State::Ended(_) => return None,
        };
        Some(Due { at, kind, session: self.number })
    }

    /// What is given back if the current period ends at `now`: one line per charge (spec 4.8).
    pub fn refunds_at(&self, now: Timestamp) -> Vec<Refund> {
        let State::Active(usage) = &self.state else { return Vec::new() };
        let left_ms = usage.period.until().ms_since(now);
        let refund = |line: &ChargeLine| Refund {
            line_item: line.line_item,
            activation_id: line.activation_id.clone(),
            item: line.item,
            tokens: rounding::refund(line.tokens, left_ms, usage.period.length),
        };
        usage.charges.iter().map(refund).collect()
    }

    /// A PUT at `now`, which charges for a whole `period` in advance (spec 4.5, 4.6).
    pub fn decide_access(
        &self,
        command: &AccessCommand,
        period: Period,
        now: Timestamp,
        candidates: &Candidates<'_>,
        balances: &impl Balances,
    ) -> Result<Result<SessionAccess, Refusal>, Missing> {
        if let State::Ended(ended) = self.state {
            return Ok(Err(Refusal::SessionEnded(ended)));
        }
        let refunds = self.refunds_at(now);
        let access = |verdicts, refunds, postings, next| SessionAccess {
            session: self.number,
            instance: self.instance,
            correlation: command.correlation,
            refund_correlation: command.refund_correlation,
            request: Arc::clone(&command.request),
            verdicts,
            refunds,
            postings,
            next,
        };
        if command.request.items.is_empty() {
            let next = match self.state {
                State::Active(_) => Next::Halted,
                State::Idle { .. } | State::Ended(_) => Next::Unchanged,
            };
            let postings = charge::refunded(&refunds, balances)?;
            return Ok(Ok(access(Vec::new(), refunds, postings, next)));
        }
        let set = charge::whole_set(&command.request.items, &refunds, candidates, balances)?;
        Ok(Ok(match (set, command.on_deny) {
            (Ok(granted), _) if charged_line_items(&granted.verdicts) > LINE_ITEMS_CHARGED_MAX => {
                return Ok(Err(Refusal::TooManyLineItems));
            }
            (Ok(granted), _) => {
                let next = Next::Charged(period);
                access(granted.verdicts, refunds, granted.postings, next)
            }
            (Err(verdicts), OnDeny::Rollback) => {
                access(verdicts, Vec::new(), Vec::new(), Next::Unchanged)
            }
            (Err(verdicts), OnDeny::Terminate) => {
                let postings = charge::refunded(&refunds, balances)?;
                access(verdicts, refunds, postings, Next::Terminated)
            }
        }))
    }

    /// A DELETE at `now` (spec 4.7).
    pub fn decide_close(
        &self,
        correlation: CorrelationId,
        now: Timestamp,
        balances: &impl Balances,
    ) -> Result<Result<SessionClosed, Refusal>, Missing> {
        if let State::Ended(ended) = self.state {
            return Ok(Err(Refusal::SessionEnded(ended)));
        }
        let refunds = self.refunds_at(now);
        let postings: Vec<Posting> = charge::refunded(&refunds, balances)?;
        let (session, instance) = (self.number, self.instance);
        Ok(Ok(SessionClosed { session, instance, correlation, refunds, postings }))
    }

    /// A heartbeat (spec 4.4): refused when the session is over.
    pub fn hear(&mut self, now: Timestamp) -> Result<(), Refusal> {
        if let State::Ended(ended) = self.state {
            return Err(Refusal::SessionEnded(ended));
        }
        self.last_heartbeat = Some(now);
        Ok(())
    }

    /// Makes what a record says of this session so.
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::SessionAccess(access) => self.apply_access(record.at, access),
            Event::SessionClosed(closed) => {
                assert_eq!(closed.session, self.number, "a record goes to the session it names");
                assert!(self.is_live(), "a session is closed once");
                self.state = State::Ended(Ended::Terminated);
            }
            Event::KeyRegistered(_)
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. } => {}
        }
    }

    fn apply_access(&mut self, at: Timestamp, access: &SessionAccess) {
        assert_eq!(access.session, self.number, "a record goes to the session it names");
        assert!(self.is_live(), "nothing is granted to a session that is over");
        self.last_access_request = Some(at);
        match access.next {
            Next::Unchanged => {}
            Next::Halted => self.state = State::Idle { since: at },
            Next::Terminated => self.state = State::Ended(Ended::Terminated),
            Next::Charged(length) => {
                let period = PaidPeriod { from: at, length, awaits_heartbeat: false };
                let charges = charge_lines(&access.verdicts, &access.postings);
                let request = Arc::clone(&access.request);
                self.state = State::Active(Arc::new(Use { request, period, charges }));
            }
        }
    }
}

fn charged_line_items(verdicts: &[Verdict]) -> usize {
    let takes = verdicts.iter().flat_map(|verdict| match verdict {
        Verdict::Granted(takes) => takes.as_slice(),
        Verdict::Denied(_) => &[],
    });
    takes.map(|take| take.line_item).collect::<BTreeSet<_>>().len()
}

/// The charge lines that verdicts stand for: one per item and line item.
fn charge_lines(verdicts: &[Verdict], postings: &[Posting]) -> Vec<ChargeLine> {
    let mut lines = Vec::new();
    for (item, verdict) in verdicts.iter().enumerate() {
        let Verdict::Granted(takes) = verdict else { continue };
        for take in takes {
            let named = postings.iter().find(|posting| posting.line_item == take.line_item);
            let posting = named.expect("a record posts every line item that it charges");
            lines.push(ChargeLine {
                item,
                line_item: take.line_item,
                activation_id: posting.activation_id.clone(),
                tokens: take.tokens,
            });
        }
    }
    lines
}
