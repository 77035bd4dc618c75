//! One one-off request: decided by one line item alone where that is possible, else in the
//! exclusive turn: ask, decide, append, post. A quote goes the same way, but for the last two.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use super::directory::Found;
use super::ledger::{self, Basis, Draft, NotAppended, Owner, guarded};
use super::line_item::LineItemMessage;
use super::reply::Reply;
use super::turn::{Instance, SharedTurn, View};
use crate::domain::balance::{LineItemBalance, Seen};
use crate::domain::charge::{self, Candidates, Missing, Verdict};
use crate::domain::event::{Access, Event, Record, SessionAccess};
use crate::domain::ids::{CorrelationId, LineItemNumber, Requester, Sequence};
use crate::domain::line_item::Posting;
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::session::Pacing;
use crate::domain::session_time::SessionTime;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// A decided access request: the record itself, one-off or of a session, and what it was decided
/// on. A quote is the record that would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAnswer {
    /// A one-off request.
    OneOff(Arc<Access>, Seen),
    /// A session's new set, and when its client should be heard of again.
    Session(Arc<SessionAccess>, Pacing, Seen),
}

impl AccessAnswer {
    /// Ties the answer to its record.
    pub fn correlation(&self) -> CorrelationId {
        match self {
            AccessAnswer::OneOff(access, _) => access.correlation,
            AccessAnswer::Session(access, ..) => access.correlation,
        }
    }

    /// What was asked.
    pub fn request(&self) -> &AccessRequest {
        match self {
            AccessAnswer::OneOff(access, _) => &access.request,
            AccessAnswer::Session(access, ..) => &access.request,
        }
    }

    /// What became of each item, in the order of the request.
    pub fn verdicts(&self) -> &[Verdict] {
        match self {
            AccessAnswer::OneOff(access, _) => &access.verdicts,
            AccessAnswer::Session(access, ..) => &access.verdicts,
        }
    }

    /// The balance after it of every line item touched, with its activation id.
    pub fn postings(&self) -> &[Posting] {
        match self {
            AccessAnswer::OneOff(access, _) => &access.postings,
            AccessAnswer::Session(access, ..) => &access.postings,
        }
    }

    /// The moment that it was decided at, in broker time (spec 4.2).
    pub fn decided_at(&self) -> Timestamp {
        self.seen().at()
    }

    /// How every line item stands that was charged or refunded, in the order of the postings
    /// (spec 2.7): right after this request and before any later one. Worked out here: an answer
    /// keeps the catalogue that it was decided on.
    pub fn balances(&self) -> Vec<LineItemBalance> {
        self.postings().iter().map(|posting| self.seen().standing(posting)).collect()
    }

    fn seen(&self) -> &Seen {
        match self {
            AccessAnswer::OneOff(_, seen) | AccessAnswer::Session(_, _, seen) => seen,
        }
    }
}

/// Whether what is decided becomes so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It does.
    Act,
    /// It is only told: nothing is appended, nothing changes.
    Quote,
}

/// A one-off request on its way, with everything that belongs to it.
pub(crate) struct Job {
    pub(crate) core: Arc<Core>,
    pub(crate) instance: Arc<Instance>,
    pub(crate) request: Arc<AccessRequest>,
    pub(crate) intent: Intent,
    pub(crate) reply: Reply<AccessAnswer>,
}

/// How far a decision came.
pub(crate) enum Outcome {
    /// It is a record, whose answer waits for the disk; its postings are still to be applied.
    Appended(Sequence, Arc<Access>),
    /// It ended without a record.
    Ended,
    /// It needs a balance that the turn cannot see.
    Missing(Box<Job>, LineItemNumber),
    /// What it read moved under it, twice, or something is due first.
    Moved(Box<Job>),
}

/// The moment that a request is decided at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// In a shared turn: now, if nothing is due.
    Shared,
    /// In the exclusive turn: the moment up to which nothing is open.
    Exclusive(Timestamp),
}

impl Basis {
    /// What the sessions' clock shows.
    pub(crate) fn session_time(&self) -> SessionTime {
        self.tenant.outages.session_time(self.now)
    }

    /// The line items that a call of this requester may charge now.
    pub(crate) fn candidates<'a>(&'a self, requester: &'a Requester) -> Candidates<'a> {
        self.candidates_known(self.now, requester)
    }

    /// The line items that may be charged now, as far as the producer had set things up by `known`.
    pub(crate) fn candidates_known<'a>(
        &'a self,
        known: Timestamp,
        requester: &'a Requester,
    ) -> Candidates<'a> {
        let tolerant = self.tenant.configuration.at(known).timezone_tolerant;
        Candidates::at(self.now, known, &self.instance, &self.tenant.rates, tolerant, requester)
    }

    /// What an answer keeps of it.
    pub(crate) fn seen(&self, candidates: Candidates<'_>) -> Seen {
        candidates.seen(Arc::clone(&self.instance))
    }
}

impl Job {
    /// Sends the request to the line item that can probably decide it alone; decides at once where
    /// no line item is needed.
    pub(crate) async fn start(self: Box<Job>) {
        let Some(turn) = self.reply.within(self.instance.share()).await else {
            return self.reply.now(BrokerError::Busy);
        };
        let view = self.instance.view(Vec::new());
        let number = match self.choices(&view, self.core.ledger.now(), |choices| choices.next()) {
            Ok(Some(number)) => number,
            Ok(None) => return self.decide_without_line_item(&view, turn),
            Err(fault) => return self.reply.now(fault),
        };
        match self.core.directory.line_item(&self.core, &self.instance, number) {
            Ok(Found::Alive(actor)) => {
                // A mailbox that closed meanwhile drops the message: the caller then learns that
                // the outcome is unknown, although here nothing has happened.
                let _ = actor.send_message(LineItemMessage::Access(self, turn));
            }
            Ok(Found::Dead | Found::Absent) => {
                drop(turn);
                self.spawn_exclusive();
            }
            Err(error) => self.reply.now(error),
        }
    }

    /// The line items that the request will probably be charged to, or as many of them as `take`
    /// wants.
    fn choices<T>(
        &self,
        view: &View,
        now: Timestamp,
        take: impl FnOnce(&mut dyn Iterator<Item = LineItemNumber>) -> T,
    ) -> Result<T, BrokerError> {
        guarded(|| {
            let basis = self.core.ledger.basis(&self.instance, now);
            let AccessRequest { requester, items } = self.request.as_ref();
            let candidates = basis.candidates(requester);
            take(&mut candidates.first_choices(items, |number| view.is_exhausted(number)))
        })
    }

    fn decide_without_line_item(self: Box<Job>, view: &View, turn: SharedTurn) {
        match self.decide_and_append(view, When::Shared) {
            Outcome::Appended(_, access) => {
                assert!(access.postings.is_empty(), "nothing is charged without a balance");
            }
            Outcome::Ended => {}
            Outcome::Missing(job, _) | Outcome::Moved(job) => {
                drop(turn); // Nobody waits for the exclusive turn while holding a shared one.
                job.spawn_exclusive();
            }
        }
    }

    /// Decides over the balances of `view` and appends: one synchronous step, in a turn.
    pub(crate) fn decide_and_append(mut self: Box<Job>, view: &View, when: When) -> Outcome {
        if self.reply.is_too_late() {
            return Outcome::Ended; // Nobody waits any more, and nothing has been decided.
        }
        for _ in 0..2 {
            let basis = match when {
                When::Exclusive(now) => self.core.ledger.basis(&self.instance, now),
                When::Shared => self.core.ledger.basis(&self.instance, self.core.ledger.now()),
            };
            if matches!(when, When::Shared) && self.instance.is_due(basis.session_time()) {
                return Outcome::Moved(self);
            }
            let AccessRequest { requester, items } = self.request.as_ref();
            let candidates = basis.candidates(requester);
            let decided = guarded(|| charge::one_off(items, candidates, view));
            let decision = match decided {
                Ok(Ok(Ok(decision))) => decision,
                Ok(Ok(Err(no_price))) => {
                    let refused = Refusal::FormulaFailed(no_price).into();
                    self.core.ledger.answer(self.reply, Err(refused));
                    return Outcome::Ended;
                }
                Ok(Err(Missing(number))) => return Outcome::Missing(self, number),
                Err(fault) => {
                    self.reply.now(fault);
                    return Outcome::Ended;
                }
            };
            let seen = basis.seen(candidates);
            let access = Arc::new(Access {
                instance: self.instance.entry.number,
                correlation: CorrelationId::from_u128(self.core.ledger.fresh_id()),
                request: Arc::clone(&self.request),
                verdicts: decision.verdicts,
                postings: decision.postings,
            });
            let record = Record { at: basis.now, event: Event::Access(Arc::clone(&access)) };
            let answer = AccessAnswer::OneOff(Arc::clone(&access), seen);
            let kept = match self.reply.keep(Ok(&answer)) {
                Ok(kept) => kept,
                Err(fault) => {
                    self.reply.now(fault);
                    return Outcome::Ended;
                }
            };
            let settling = |reply: Reply<_>| reply.with(Ok(answer));
            let (ledger, instance) = (&self.core.ledger, &self.instance);
            let appended = match self.intent {
                Intent::Act => {
                    let owners = Owner::of_postings(&access.postings);
                    let draft = Draft { record: &record, keyed: kept.as_deref() };
                    let reply = self.reply;
                    ledger.append(instance, &basis, draft, owners, reply, settling).map(Some)
                }
                Intent::Quote => {
                    ledger.quote(instance, &basis, &record, self.reply, settling).map(|()| None)
                }
            };
            match appended {
                Ok(Some(sequence)) => return Outcome::Appended(sequence, access),
                Ok(None) => return Outcome::Ended,
                Err((NotAppended::Late, reply)) if matches!(when, When::Exclusive(_)) => {
                    reply.now(ledger::out_of_order());
                    return Outcome::Ended;
                }
                Err((NotAppended::Moved | NotAppended::Late, reply)) => self.reply = reply,
                Err((NotAppended::Refused(error), reply)) => {
                    reply.now(error);
                    return Outcome::Ended;
                }
            }
        }
        Outcome::Moved(self)
    }

    /// Goes on in the exclusive turn, in a task of its own: the client's has nothing to do with it.
    pub(crate) fn spawn_exclusive(self: Box<Job>) {
        let core = Arc::clone(&self.core);
        core.spawn(self.run_exclusive());
    }

    async fn run_exclusive(self: Box<Job>) {
        let (core, instance) = (Arc::clone(&self.core), Arc::clone(&self.instance));
        let (turn, now) = match core.catch_up(&instance, instance.exclude().await).await {
            Ok(caught_up) => caught_up,
            Err(error) => return self.reply.now(error),
        };
        let mut view = instance.view(Vec::new());
        // Those that it will want to know of anyway, so that it is seldom decided more than once.
        let wanted = self.choices(&view, now, |choices| choices.collect::<BTreeSet<_>>());
        let mut wanted = match wanted {
            Ok(wanted) => wanted,
            Err(fault) => return self.reply.now(fault),
        };
        let mut job = self;
        loop {
            for number in wanted {
                match core.balance(&instance, number).await {
                    Ok(balance) => {
                        instance.note_told(number, &balance);
                        view.add(number, balance);
                    }
                    Err(error) => return job.reply.now(error),
                }
            }
            (job, wanted) = match job.decide_and_append(&view, When::Exclusive(now)) {
                Outcome::Appended(sequence, access) => {
                    core.post(&instance, sequence, &access.postings);
                    break;
                }
                Outcome::Ended => break,
                Outcome::Moved(job) => (job, BTreeSet::new()),
                Outcome::Missing(job, number) => (job, BTreeSet::from([number])),
            };
        }
        drop(turn); // After the postings: whoever comes next finds them in the mailboxes.
    }
}
