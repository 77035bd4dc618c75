//! Section 4: sessions as lists of paid periods, and what falls due in them.

use super::amount::{Amount, floor_6, whole};
use super::charge::{
    ChargeLine, Denied, Item, ItemAnswer, Pending, Status, all_priced, checked_items,
};
use super::rules::Who;
use super::{Answer, Cause, HOUR_MS, Model, Moment, Refused};

const IDLE_LIMIT_MS: u64 = 30 * 24 * HOUR_MS;

/// Spec 4.1; FAILED is never produced here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Idle,
    Active,
    Terminated,
    Failed,
}

/// `rollbackOnDeny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeny {
    /// `true`: go on as before.
    RollBack,
    /// `false`: refund and end the session.
    Terminate,
}

/// The answer to a PUT or DELETE of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAnswer {
    pub items: Vec<ItemAnswer>,
    /// For each charge line of the period that ended, in the order charged, also where it is 0;
    /// empty where no period ended.
    pub refund: Vec<(String, Amount)>,
    pub state: SessionState,
    /// The end of the paid period; 0 unless ACTIVE.
    pub charged_until: u64,
}

/// A session as the GETs show it; times are 0 for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    pub state: SessionState,
    pub charged_until: u64,
    /// Empty unless ACTIVE.
    pub items: Vec<Item>,
    pub last_access_request: u64,
    pub last_heartbeat: u64,
}

/// One paid period.
#[derive(Clone, Debug)]
struct Segment {
    start: u64,
    paid_until: u64,
    /// From when on it is given back; `paid_until` where it was used up.
    used_until: Option<u64>,
    items: Vec<Item>,
    /// Who asked for them.
    who: Who,
    lines: Vec<ChargeLine>,
    cause: Cause,
    /// Whether a heartbeat came within the window (spec 4.2).
    confirmed: bool,
    /// Whether its charge was taken back as made in error: the whole of it (spec 4.4).
    undone: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    id: String,
    instance: String,
    state: SessionState,
    idle_since: u64,
    last_access_request: u64,
    last_heartbeat: u64,
    segments: Vec<Segment>,
}

/// Something due: when, which of the two groups of spec 4.2, and whose (by age of session).
type Due = (u64, Group, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Deadline,
    Idle,
    AutomaticCharge,
}

/// What became of each item, and what was given back.
type Happened = (Vec<ItemAnswer>, Vec<(String, Amount)>);

impl ItemAnswer {
    /// What would have been granted has no status where another item is denied (spec 3.6).
    fn spare(&mut self) {
        if self.status == Status::CheckedOut {
            self.status = Status::NoStatus;
            self.total = whole(0);
            self.lines.clear();
        }
    }
}

impl Segment {
    /// The last millisecond at which a heartbeat counts: half the interval (spec 4.2).
    fn deadline(&self) -> u64 {
        self.start + (self.paid_until - self.start) / 2
    }

    fn needs_heartbeat(&self) -> bool {
        self.cause == Cause::AutomaticCharge && !self.confirmed
    }

    /// Spec 3.7, 4.8: what each line gets back of a period used until `until`.
    fn refunds(&self, until: u64) -> Vec<(ChargeLine, Amount)> {
        let left = whole(self.paid_until.saturating_sub(until));
        let share = left / whole(self.paid_until - self.start);
        let refund = |line: &ChargeLine| match self.undone {
            true => (line.clone(), line.tokens.clone()),
            false => (line.clone(), floor_6(&(&line.tokens * &share))),
        };
        self.lines.iter().map(refund).collect()
    }
}

impl Session {
    fn current(&self) -> Option<&Segment> {
        self.segments.last().filter(|_| self.state == SessionState::Active)
    }

    pub(super) fn is_charged_to(&self, mapping: usize) -> bool {
        let lines = self.current().map(|segment| segment.lines.as_slice()).unwrap_or_default();
        lines.iter().any(|line| line.mapping == mapping)
    }

    fn due(&self) -> Option<(u64, Group)> {
        match (self.state, self.current()) {
            (SessionState::Idle, _) => Some((self.idle_since + IDLE_LIMIT_MS, Group::Idle)),
            (SessionState::Active, Some(segment)) if segment.needs_heartbeat() => {
                Some((segment.deadline() + 1, Group::Deadline))
            }
            (SessionState::Active, Some(segment)) => {
                Some((segment.paid_until, Group::AutomaticCharge))
            }
            (SessionState::Active | SessionState::Terminated | SessionState::Failed, _) => None,
        }
    }

    fn charged_until(&self) -> u64 {
        self.current().map_or(0, |segment| segment.paid_until)
    }
}

/// Calls on sessions (spec 2.8, 4).
impl Model {
    /// POST `/sessions`.
    pub fn create_session(&mut self, at: u64, id: &str, instance: &str) -> Answer {
        self.advance(at);
        self.known_instance(instance)?;
        assert!(self.position(id).is_none(), "session `{id}` exists: the ids are yours");
        self.sessions.push(Session {
            id: id.to_owned(),
            instance: instance.to_owned(),
            state: SessionState::Idle,
            idle_since: at,
            last_access_request: 0,
            last_heartbeat: 0,
            segments: Vec::new(),
        });
        Ok(())
    }

    /// Spec 3.6, 4.5, 4.6: `items` is the complete new set; none halts.
    pub(super) fn use_from_now_on(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        let items = checked_items(items)?;
        let index = self.live(id)?;
        if items.is_empty() {
            self.session_mut(index).last_access_request = at;
            let refund = self.end_period(index, at, at);
            self.rest(index, at);
            return Ok(self.session_answer(index, Vec::new(), refund));
        }

        let (session, when, who) = (self.session(index), Moment::of_a_call(at), self.who.clone());
        let mut pending = Pending::new();
        for (line, tokens) in session.current().iter().flat_map(|period| period.refunds(at)) {
            *pending.entry((line.mapping, line.action)).or_insert(whole(0)) -= tokens;
        }
        let outcomes = self.allocate_each(&session.instance, &items, when, &who, pending);
        all_priced(&outcomes)?;
        let mut answers = self.answers(&items, &outcomes);
        self.session_mut(index).last_access_request = at;
        if let Ok(lines) = outcomes.into_iter().collect::<Result<Vec<_>, Denied>>() {
            let refund = self.end_period(index, at, at);
            self.begin_period(index, when, items, who, lines.concat(), Cause::Access);
            return Ok(self.session_answer(index, answers, refund));
        }
        answers.iter_mut().for_each(ItemAnswer::spare);
        let refund = match on_deny {
            OnDeny::RollBack => Vec::new(),
            OnDeny::Terminate => self.terminate(index, at, at),
        };
        Ok(self.session_answer(index, answers, refund))
    }

    /// GET `/sessions/{id}/heartbeat` (spec 4.4); `Ok` is 204.
    pub fn heartbeat(&mut self, at: u64, id: &str) -> Answer {
        self.advance(at);
        let index = self.live(id)?;
        let session = self.session_mut(index);
        session.last_heartbeat = at;
        if session.state == SessionState::Active
            && let Some(period) = session.segments.last_mut()
            && (period.start..=period.deadline()).contains(&at)
        {
            period.confirmed = true;
        }
        Ok(())
    }

    /// DELETE `/sessions/{id}` (spec 4.7).
    pub fn close_session(&mut self, at: u64, id: &str) -> Answer<SessionAnswer> {
        self.advance(at);
        let index = self.live(id)?;
        let refund = self.terminate(index, at, at);
        Ok(self.session_answer(index, Vec::new(), refund))
    }

    /// GET `/sessions/{id}`, as of the last command or [`Model::advance`].
    pub fn session_view(&self, id: &str) -> Answer<SessionView> {
        let session = self.session(self.position(id).ok_or(Refused::NotFound)?);
        Ok(SessionView {
            state: session.state,
            charged_until: session.charged_until(),
            items: session.current().map(|period| period.items.clone()).unwrap_or_default(),
            last_access_request: session.last_access_request,
            last_heartbeat: session.last_heartbeat,
        })
    }

    /// What a session has cost, from its periods alone: charged, less the unused part of each.
    ///
    /// Always the sum of its movements in the ledger, computed the other way.
    pub fn session_cost(&self, id: &str) -> Answer<Amount> {
        let session = self.session(self.position(id).ok_or(Refused::NotFound)?);
        let cost = |period: &Segment| {
            let charged: Amount = period.lines.iter().map(|line| line.tokens.clone()).sum();
            let refunds = period.refunds(period.used_until.unwrap_or(period.paid_until));
            charged - refunds.into_iter().map(|(_, tokens)| tokens).sum::<Amount>()
        };
        Ok(session.segments.iter().map(cost).sum())
    }
}

/// What falls due (spec 4.2 - 4.4).
impl Model {
    /// Lets time pass until `at`, and happen what is due by then, each thing at its own time.
    pub fn advance(&mut self, at: u64) {
        assert!(self.now <= at || !self.automatic, "time runs backwards: {} to {at}", self.now);
        while let Some((due, group, index)) = self.next_due().filter(|(due, ..)| *due <= at) {
            self.now = due;
            self.happen(due, group, index);
        }
        self.now = at;
    }

    /// What falls due first in an instance, whatever the time: when, and in which session.
    pub fn first_due(&self, instance: &str) -> Option<(u64, String)> {
        let (due, _, index) = self.first_due_of(|session| session.instance == instance)?;
        Some((due, self.session(index).id.clone()))
    }

    /// Lets that happen, and tells what it came to.
    pub fn let_happen(&mut self, instance: &str) -> SessionAnswer {
        let first = self.first_due_of(|session| session.instance == instance);
        let (due, group, index) = first.expect("something is due");
        self.now = due;
        let (items, refund) = self.happen(due, group, index);
        self.session_answer(index, items, refund)
    }

    fn happen(&mut self, due: u64, group: Group, index: usize) -> Happened {
        match group {
            Group::Deadline | Group::Idle => (Vec::new(), self.expire(index, due)),
            Group::AutomaticCharge => self.charge_again(index, due),
        }
    }

    fn next_due(&self) -> Option<Due> {
        if !self.automatic {
            return None;
        }
        self.first_due_of(|_| true)
    }

    fn first_due_of(&self, wanted: impl Fn(&Session) -> bool) -> Option<Due> {
        let due = |(index, session): (usize, &Session)| {
            session.due().filter(|_| wanted(session)).map(|(at, group)| (at, group, index))
        };
        self.sessions.iter().enumerate().filter_map(due).min()
    }

    /// The idle limit, or a missing heartbeat: the whole charge back, stamped with the deadline.
    fn expire(&mut self, index: usize, due: u64) -> Vec<(String, Amount)> {
        let (stamp, used_until) = match self.session(index).current() {
            Some(period) => (period.deadline(), period.start),
            None => (due, due),
        };
        if self.session(index).state == SessionState::Active {
            self.session_mut(index).segments.last_mut().expect("it is ACTIVE").undone = true;
        }
        self.terminate(index, stamp, used_until)
    }

    /// Spec 4.3: the same items at today's prices, for the next interval, or the end.
    fn charge_again(&mut self, index: usize, due: u64) -> Happened {
        let (session, when) = (self.session(index), Moment::of_an_event(due));
        let items = session.current().map(|period| period.items.clone()).unwrap_or_default();
        let who = session.current().map(|period| period.who.clone()).unwrap_or_default();
        let outcomes = self.allocate_each(&session.instance, &items, when, &who, Pending::new());
        let mut answers = self.answers(&items, &outcomes);
        let refund = self.end_period(index, due, due);
        match outcomes.into_iter().collect::<Result<Vec<_>, Denied>>() {
            Ok(lines) => {
                self.begin_period(index, when, items, who, lines.concat(), Cause::AutomaticCharge);
            }
            Err(_) => {
                answers.iter_mut().for_each(ItemAnswer::spare);
                self.session_mut(index).state = SessionState::Terminated;
                self.remove_unused();
            }
        }
        (answers, refund)
    }
}

impl Model {
    /// Where a session runs; nowhere if there is none.
    pub(super) fn place_of(&self, id: &str) -> String {
        self.position(id).map_or_else(String::new, |index| self.session(index).instance.clone())
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.sessions.iter().position(|session| session.id == id)
    }

    fn live(&self, id: &str) -> Answer<usize> {
        let index = self.position(id).ok_or(Refused::NotFound)?;
        match self.session(index).state {
            SessionState::Idle | SessionState::Active => Ok(index),
            dead @ (SessionState::Terminated | SessionState::Failed) => {
                Err(Refused::SessionDead(dead))
            }
        }
    }

    fn session(&self, index: usize) -> &Session {
        self.sessions.get(index).expect("sessions are never forgotten")
    }

    fn session_mut(&mut self, index: usize) -> &mut Session {
        self.sessions.get_mut(index).expect("sessions are never forgotten")
    }

    fn begin_period(
        &mut self,
        index: usize,
        when: Moment,
        items: Vec<Item>,
        who: Who,
        lines: Vec<ChargeLine>,
        cause: Cause,
    ) {
        let (id, start) = (self.session(index).id.clone(), when.at);
        for line in &lines {
            self.book(start, Some(&id), cause, line, line.tokens.clone());
        }
        let paid_until = start + self.charge_period(when);
        let session = self.session_mut(index);
        session.state = SessionState::Active;
        let (used_until, confirmed, undone) = (None, false, false);
        session.segments.push(Segment {
            start,
            paid_until,
            used_until,
            items,
            who,
            lines,
            cause,
            confirmed,
            undone,
        });
        self.remove_unused();
    }

    /// Refunds what is left of the current period after `used_until`, to the line items charged.
    fn end_period(&mut self, index: usize, stamp: u64, used_until: u64) -> Vec<(String, Amount)> {
        let session = self.session_mut(index);
        if session.state != SessionState::Active {
            return Vec::new();
        }
        let id = session.id.clone();
        let period = session.segments.last_mut().expect("it is ACTIVE");
        period.used_until = Some(used_until);
        let mut refunded = Vec::new();
        for (line, tokens) in period.refunds(used_until) {
            refunded.push((self.mapping(line.mapping).activation.clone(), tokens.clone()));
            self.book(stamp, Some(&id), Cause::Refund, &line, -tokens);
        }
        refunded
    }

    /// Spec 4.6: the idle clock starts at the change to IDLE, and is not restarted.
    fn rest(&mut self, index: usize, at: u64) {
        let session = self.session_mut(index);
        if session.state == SessionState::Active {
            session.state = SessionState::Idle;
            session.idle_since = at;
        }
        self.remove_unused();
    }

    fn terminate(&mut self, index: usize, stamp: u64, used_until: u64) -> Vec<(String, Amount)> {
        let refunded = self.end_period(index, stamp, used_until);
        self.session_mut(index).state = SessionState::Terminated;
        self.remove_unused();
        refunded
    }

    fn session_answer(
        &self,
        index: usize,
        items: Vec<ItemAnswer>,
        refund: Vec<(String, Amount)>,
    ) -> SessionAnswer {
        let session = self.session(index);
        let (state, charged_until) = (session.state, session.charged_until());
        SessionAnswer { items, refund, state, charged_until }
    }
}
