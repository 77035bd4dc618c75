//! THE session state machine, its timeline, and what falls due when (spec 4).
//!
//! A session is charged in advance for a period; `decide_*` reads and says what shall happen,
//! [`Session::apply`] makes it so. What happens if nobody calls (automatic charges, heartbeat
//! deadlines, the idle limit) is in `due`. All of it is measured in
//! session time, which stands still while the broker is not there.

mod begun;
mod due;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use self::due::{Due, DueKind, Pacing};
use super::catalogue::InstanceCatalogue;
use super::charge::{self, Balances, Candidates, Denied, Missing, Refund, Verdict};
use super::components::{Lease, LeaseChange};
use super::event::{Event, Next, Record, SessionAccess, SessionClosed};
use super::ids::{
    ActionId, CorrelationId, InstanceNumber, LineItemNumber, SessionId, SessionNumber, Text,
};
use super::limits::{ENDED_KEPT_MS, LINE_ITEMS_CHARGED_MAX};
use super::line_item::Posting;
use super::refusal::Refusal;
use super::request::AccessRequest;
use super::rounding;
use super::session_time::SessionTime;
use super::time::{Period, Timestamp};
use super::tokens::{Rate, Tokens};

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
        since: SessionTime,
    },
    /// Uses a set of items and has paid for a period.
    Active(Arc<Use>),
    /// A session of components (components 4).
    Leased(Arc<Lease>),
    /// Over.
    Ended {
        /// How.
        how: Ended,
        /// Since when; it stays readable for 30 days.
        at: Timestamp,
    },
}

/// How a session is over (spec 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Closed, or ended by the rules.
    Terminated,
    /// Ended by an internal fault.
    Failed,
    /// A session of components that its client ended.
    Closed,
    /// A session of components that was not extended in time.
    Lapsed,
    /// A session of components that its producer took back.
    Revoked,
}

impl Ended {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ended::Terminated => "TERMINATED",
            Ended::Failed => "FAILED",
            Ended::Closed => "CLOSED",
            Ended::Lapsed => "LAPSED",
            Ended::Revoked => "REVOKED",
        }
    }

    /// The stable code of the refusal to use it again.
    pub const fn code(self) -> &'static str {
        match self {
            Ended::Terminated => "session-terminated",
            Ended::Failed => "session-failed",
            Ended::Closed => "session-closed",
            Ended::Lapsed => "session-lapsed",
            Ended::Revoked => "session-revoked",
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
    /// Its price for one count.
    pub rate: Rate,
    /// How much.
    pub tokens: Tokens,
    /// Through which action.
    pub action: Option<ActionId>,
}

impl ChargeLine {
    /// All of it given back.
    fn undone(&self) -> Refund {
        let (line_item, activation_id) = (self.line_item, self.activation_id.clone());
        let ChargeLine { item, rate, tokens, action, .. } = *self;
        Refund { line_item, activation_id, item, rate, tokens, action }
    }
}

/// A stretch of a session's timeline that is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidPeriod {
    /// When it was charged.
    pub from: SessionTime,
    /// How long it lasts.
    pub length: Period,
    /// Whether the charge needs a heartbeat, and whether that has come (spec 4.4).
    pub heartbeat: Need,
}

/// Whether a paid period needs a heartbeat in its first half (spec 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No: a client asked for it.
    None,
    /// Yes, since its charge was automatic, and none has come.
    Open,
    /// It did, and one has come.
    Met,
}

impl PaidPeriod {
    /// Its end: when the next automatic charge is due (`chargedUntil`).
    pub fn until(&self) -> SessionTime {
        self.from.plus_ms(self.length.as_ms().get())
    }

    /// The last millisecond at which the heartbeat counts: half the interval (spec 4.2).
    pub fn heartbeat_deadline(&self) -> SessionTime {
        self.from.plus_ms(self.length.as_ms().get() / 2)
    }
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
    /// A new session, IDLE since `since`, which is what the sessions' clock showed at `created`.
    pub fn new(
        number: SessionNumber,
        id: SessionId,
        instance: InstanceNumber,
        created: Timestamp,
        since: SessionTime,
    ) -> Session {
        Session {
            number,
            id,
            instance,
            created,
            state: State::Idle { since },
            last_heartbeat: None,
            last_access_request: None,
        }
    }

    /// The name of its state on the wire.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Idle { .. } => "IDLE",
            State::Active(_) => "ACTIVE",
            State::Leased(_) => "LEASED",
            State::Ended { how, .. } => how.as_str(),
        }
    }

    /// Whether it is, or was, a session of components.
    pub fn is_lease(&self) -> bool {
        match &self.state {
            State::Leased(_) => true,
            State::Ended { how, .. } => match how {
                Ended::Closed | Ended::Lapsed | Ended::Revoked => true,
                Ended::Terminated | Ended::Failed => false,
            },
            State::Idle { .. } | State::Active(_) => false,
        }
    }

    /// Whether it can still be used.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    /// When it is forgotten: 30 days after its end.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Ended { at, .. } => Some(at.plus_ms(ENDED_KEPT_MS)),
            State::Idle { .. } | State::Active(_) | State::Leased(_) => None,
        }
    }

    /// What was asked for the current period, if it has paid for one.
    pub fn asked(&self) -> Option<Arc<AccessRequest>> {
        match &self.state {
            State::Active(usage) => Some(Arc::clone(&usage.request)),
            State::Idle { .. } | State::Leased(_) | State::Ended { .. } => None,
        }
    }

    /// What is given back if the current period ends at `now`: one line per charge (spec 4.8).
    pub fn refunds_at(&self, now: SessionTime) -> Vec<Refund> {
        let State::Active(usage) = &self.state else { return Vec::new() };
        let left_ms = usage.period.until().ms_since(now);
        let refund = |line: &ChargeLine| Refund {
            tokens: rounding::refund(line.tokens, left_ms, usage.period.length),
            ..line.undone()
        };
        usage.charges.iter().map(refund).collect()
    }

    /// A PUT at `now`, which charges for a whole `period` in advance (spec 4.5, 4.6).
    pub fn decide_access(
        &self,
        command: &AccessCommand,
        period: Period,
        now: SessionTime,
        candidates: Candidates<'_>,
        balances: &impl Balances,
    ) -> Result<Result<SessionAccess, Refusal>, Missing> {
        if let State::Ended { how, .. } = self.state {
            return Ok(Err(Refusal::SessionEnded(how)));
        }
        let refunds = self.refunds_at(now);
        let access = |verdicts, refunds, postings, next| SessionAccess {
            ended: if next == Next::Unchanged { None } else { self.asked() },
            session: self.number,
            session_id: self.id,
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
                State::Idle { .. } | State::Leased(_) | State::Ended { .. } => Next::Unchanged,
            };
            let postings = charge::refunded(&refunds, candidates.instance(), balances)?;
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
            (Err(Denied { no_price: Some(no_price), .. }), _) => return Ok(Err(no_price.into())),
            (Err(denied), OnDeny::Rollback) => {
                access(denied.verdicts, Vec::new(), Vec::new(), Next::Unchanged)
            }
            (Err(denied), OnDeny::Terminate) => {
                let postings = charge::refunded(&refunds, candidates.instance(), balances)?;
                access(denied.verdicts, refunds, postings, Next::Terminated)
            }
        }))
    }

    /// A DELETE at `now` (spec 4.7).
    pub fn decide_close(
        &self,
        correlation: CorrelationId,
        now: SessionTime,
        catalogue: &InstanceCatalogue,
        balances: &impl Balances,
    ) -> Result<Result<SessionClosed, Refusal>, Missing> {
        if let State::Ended { how, .. } = self.state {
            return Ok(Err(Refusal::SessionEnded(how)));
        }
        let refunds = self.refunds_at(now);
        let postings = charge::refunded(&refunds, catalogue, balances)?;
        Ok(Ok(self.closed(correlation, refunds, postings)))
    }

    fn closed(
        &self,
        correlation: CorrelationId,
        refunds: Vec<Refund>,
        postings: Vec<Posting>,
    ) -> SessionClosed {
        SessionClosed {
            session: self.number,
            session_id: self.id,
            instance: self.instance,
            correlation,
            ended: self.asked(),
            refunds,
            postings,
        }
    }

    /// Notes a sign of life that need not be recorded (spec 4.4).
    pub fn hear(&mut self, heard: Timestamp) {
        self.last_heartbeat = self.last_heartbeat.max(Some(heard));
    }

    /// Makes what a record says of this session so; `at` is what the sessions' clock showed then.
    pub fn apply(&mut self, record: &Record, at: SessionTime) {
        if let Some(session) = record.event.session() {
            assert_eq!(session, self.number, "a record goes to the session it names");
            assert!(self.is_live(), "nothing happens to a session that is over");
        }
        match &record.event {
            Event::SessionAccess(access) => {
                self.last_access_request = Some(record.at);
                let (next, request) = (access.next, Arc::clone(&access.request));
                let charges = charge_lines(&access.verdicts, &access.postings);
                self.go_on(next, record.at, at, Need::None, request, charges);
            }
            Event::AutomaticCharge(charge) => {
                let State::Active(usage) = &self.state else {
                    panic!("only what is ACTIVE is charged automatically");
                };
                let request = Arc::clone(&usage.request);
                let charges = charge_lines(&charge.verdicts, &charge.postings);
                self.go_on(charge.next, record.at, at, Need::Open, request, charges);
            }
            Event::SessionClosed(_) | Event::SessionExpired(_) => {
                self.state = State::Ended { how: Ended::Terminated, at: record.at };
            }
            Event::Lease(event) => match (&event.change, &mut self.state) {
                (LeaseChange::Ended((how, _)), _) => {
                    self.state = State::Ended { how: *how, at: record.at };
                }
                (change, State::Leased(lease)) => Arc::make_mut(lease).apply(change, record.at),
                (_, State::Idle { .. } | State::Active(_) | State::Ended { .. }) => {
                    panic!("a lease has a session of its own");
                }
            },
            Event::Heartbeat { heard, .. } => {
                self.hear(*heard);
                if let State::Active(usage) = &mut self.state {
                    Arc::make_mut(usage).period.heartbeat = Need::Met;
                }
            }
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::ActionsSet { .. }
            | Event::LineItemDeleted { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_) => {}
        }
    }

    fn go_on(
        &mut self,
        next: Next,
        at: Timestamp,
        from: SessionTime,
        heartbeat: Need,
        request: Arc<AccessRequest>,
        charges: Vec<ChargeLine>,
    ) {
        match next {
            Next::Unchanged => {}
            Next::Halted => self.state = State::Idle { since: from },
            Next::Terminated => self.state = State::Ended { how: Ended::Terminated, at },
            Next::Charged(length) => {
                let period = PaidPeriod { from, length, heartbeat };
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
                rate: take.rate,
                tokens: take.tokens,
                action: take.action,
            });
        }
    }
    lines
}
