//! The session actor: sole owner of one session's timeline. It decides what its client asks and what
//! falls due by itself, in the exclusive turn of its instance that the message brings along.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::Core;
use super::access::{AccessAnswer, Intent};
use super::directory::{SessionPlace, Versioned};
use super::lease::{LeaseAnswer, LeaseCommand, licensed};
use super::ledger::{Basis, Draft, Nobody, NotAppended, Owner, guarded, out_of_order};
use super::line::Ticket;
use super::reply::Reply;
use super::turn::{ExclusiveTurn, Instance, View};
use crate::domain::catalogue::Tenant;
use crate::domain::charge::Missing;
use crate::domain::event::{Event, Record};
use crate::domain::idempotency::Keyed;
use crate::domain::ids::{CorrelationId, Text};
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::session::{AccessCommand, Due, DueKind, Ended, OnDeny, Pacing, Session, State};
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::OnDurable;

/// What one can say to a session. Whoever sends it holds the instance's exclusive turn; `now` is
/// the moment up to which nothing is open in it.
pub(crate) enum SessionMessage {
    /// Use this set of items from now on (PUT), or say what would come of it.
    Access {
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
        intent: Intent,
        call: SessionCall<AccessAnswer>,
    },
    /// The client is alive, as was heard at `heard`.
    Heartbeat { heard: Timestamp, call: SessionCall<Pacing> },
    /// It is over (DELETE).
    Close(SessionCall<Pacing>),
    /// What a session of components is asked (components 3, 4).
    Lease(LeaseCommand, SessionCall<LeaseAnswer>),
    /// A checkout, which may wait in line for so long.
    CheckOut { components: Vec<Text>, wait_ms: u64, call: SessionCall<LeaseAnswer> },
    /// Try a checkout again that waits in line, and give the turn back.
    Try {
        ticket: Ticket,
        now: Timestamp,
        turn: ExclusiveTurn,
        back: oneshot::Sender<ExclusiveTurn>,
    },
    /// Decide what falls due, and give the turn back.
    Due { due: Due, turn: ExclusiveTurn, back: oneshot::Sender<Result<ExclusiveTurn, BrokerError>> },
    /// Tell the state: to who holds a turn, shared or not.
    Ask(oneshot::Sender<Versioned<Session>>),
    /// Tell the state and end: to who holds the exclusive turn and keeps it from then on.
    Sleep(oneshot::Sender<Versioned<Session>>),
}

/// A client's call on a session, with everything that belongs to it.
pub(crate) struct SessionCall<T> {
    pub(crate) turn: ExclusiveTurn,
    pub(crate) now: Timestamp,
    pub(crate) reply: Reply<T>,
    /// Its place among the calls of the session; falls with the turn.
    pub(crate) place: SessionPlace,
}

/// The owner of one session's timeline.
pub(crate) struct SessionActor {
    pub(super) core: Arc<Core>,
    pub(super) instance: Arc<Instance>,
}

/// When something is decided, and its place among the calls of the session until it is.
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) place: Option<SessionPlace>,
}

/// A record that is ready to be appended, and the session as it will be then.
pub(super) struct Decided {
    pub(super) basis: Basis,
    pub(super) record: Record,
    pub(super) after: Session,
    /// What the record keeps of the call's key.
    kept: Option<Arc<Keyed>>,
}

impl Decided {
    /// When the client should be heard of again, once it is so.
    fn pacing(&self) -> Pacing {
        let period = self.basis.tenant.configuration.at(self.basis.now).charge_period;
        self.after.pacing(period, &self.basis.tenant.outages)
    }
}

/// Why nothing was decided.
enum Undecided {
    /// The session refuses: waits like any answer for what it rests on.
    Refused(Refusal),
    /// It cannot be decided at all.
    Failed(BrokerError),
    /// Its time has not come.
    NotYet,
}

impl SessionActor {
    pub(crate) fn new(core: &Arc<Core>, instance: &Arc<Instance>) -> SessionActor {
        SessionActor { core: Arc::clone(core), instance: Arc::clone(instance) }
    }

    pub(super) fn fresh_id(&self) -> u128 {
        self.core.ledger.fresh_id()
    }

    async fn access(
        &self,
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
        intent: Intent,
        call: SessionCall<AccessAnswer>,
        owned: &mut Versioned<Session>,
    ) {
        let command = AccessCommand {
            request,
            on_deny,
            correlation: CorrelationId::from_u128(self.core.ledger.fresh_id()),
            refund_correlation: CorrelationId::from_u128(self.core.ledger.fresh_id()),
        };
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let period = basis.tenant.configuration.at(basis.now).charge_period;
            let candidates = basis.candidates(&command.request.requester);
            let at = basis.session_time();
            let decided = session.decide_access(&command, period, at, candidates, view)?;
            Ok(decided.map(|access| Event::SessionAccess(Arc::new(access))))
        };
        let answer = |decided: &Decided, _: &View| {
            let Event::SessionAccess(access) = &decided.record.event else {
                unreachable!("an access request is decided as one");
            };
            let basis = &decided.basis;
            let seen = basis.seen(basis.candidates(&access.request.requester));
            AccessAnswer::Session(Arc::clone(access), decided.pacing(), seen)
        };
        self.transact(intent, decide, answer, call, owned).await;
    }

    async fn close(&self, call: SessionCall<Pacing>, owned: &mut Versioned<Session>) {
        let correlation = CorrelationId::from_u128(self.core.ledger.fresh_id());
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let at = basis.session_time();
            let decided = session.decide_close(correlation, at, &basis.instance, view)?;
            Ok(decided.map(|closed| Event::SessionClosed(Arc::new(closed))))
        };
        self.transact(Intent::Act, decide, |decided, _| decided.pacing(), call, owned).await;
    }

    async fn heartbeat(
        &self,
        heard: Timestamp,
        call: SessionCall<Pacing>,
        owned: &mut Versioned<Session>,
    ) {
        let tenant = self.core.ledger.tenant();
        let counts = owned.state.decide_heartbeat(tenant.outages.session_time(heard));
        if let Ok(false) = counts {
            owned.state.hear(heard);
            let period = tenant.configuration.at(call.now).charge_period;
            let pacing = owned.state.pacing(period, &tenant.outages);
            drop(call.place); // Decided: whoever hears of it may call again.
            return self.core.ledger.after_all(call.reply.with(Ok(pacing)));
        }
        drop(tenant);
        let decide = |session: &Session, basis: &Basis, _: &View| {
            let counts = session.decide_heartbeat(basis.tenant.outages.session_time(heard));
            let (session, instance) = (session.number, session.instance);
            Ok(counts.map(|_| Event::Heartbeat { session, instance, heard }))
        };
        self.transact(Intent::Act, decide, |decided, _| decided.pacing(), call, owned).await;
    }

    /// Decides what its client asks, appends, applies and posts; a quote is only decided.
    pub(super) async fn transact<T: Clone + Send + 'static>(
        &self,
        intent: Intent,
        decide: impl Fn(&Session, &Basis, &View) -> Result<Result<Event, Refusal>, Missing>,
        answer: impl Fn(&Decided, &View) -> T,
        call: SessionCall<T>,
        owned: &mut Versioned<Session>,
    ) {
        let SessionCall { mut turn, now, reply, place } = call;
        if reply.is_too_late() {
            return; // Nobody waits any more, and nothing has been decided.
        }
        let moment = Moment { now, place: Some(place) };
        let parts = (decide, answer, |_: &Decided| false);
        let (turn, view) = (&mut turn, self.instance.view(Vec::new()));
        let _all_done = self.transact_in(intent, parts, moment, (reply, view), turn, owned).await;
    }

    /// The same in somebody's turn. What is put off is not decided: its reply comes back.
    pub(super) async fn transact_in<T: Clone + Send + 'static>(
        &self,
        intent: Intent,
        (decide, answer, mut is_put_off): (
            impl Fn(&Session, &Basis, &View) -> Result<Result<Event, Refusal>, Missing>,
            impl Fn(&Decided, &View) -> T,
            impl FnMut(&Decided) -> bool,
        ),
        Moment { now, mut place }: Moment,
        (mut reply, mut view): (Reply<T>, View),
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) -> Option<Reply<T>> {
        loop {
            let decided = self.decide(&decide, |_, _| Some(now), &mut view, owned).await;
            drop(place.take()); // Decided: whoever hears of it may call again.
            let mut decided = match decided {
                Ok(decided) => decided,
                Err(Undecided::Refused(refusal)) => {
                    self.core.ledger.answer(reply, Err(refusal.into()));
                    return None;
                }
                Err(Undecided::Failed(error)) => {
                    reply.now(error);
                    return None;
                }
                Err(Undecided::NotYet) => unreachable!("a call is due when it is there"),
            };
            if is_put_off(&decided) {
                return Some(reply);
            }
            if intent == Intent::Quote {
                decided.after = owned.state.clone(); // It goes on as it was.
            }
            let told = answer(&decided, &view);
            decided.kept = match reply.keep(Ok(&told)) {
                Ok(kept) => kept,
                Err(fault) => {
                    reply.now(fault);
                    return None;
                }
            };
            let settling = |reply: Reply<T>| reply.with(Ok(told));
            let done = match intent {
                Intent::Act => self.append(decided, reply, settling, turn, owned),
                Intent::Quote => {
                    let Decided { basis, record, .. } = &decided;
                    self.core.ledger.quote(&self.instance, basis, record, reply, settling)
                }
            };
            match done {
                Ok(()) => return None,
                Err((NotAppended::Moved, returned)) => reply = returned,
                Err((NotAppended::Late, reply)) => {
                    reply.now(out_of_order());
                    return None;
                }
                Err((NotAppended::Refused(error), reply)) => {
                    reply.now(error);
                    return None;
                }
            }
        }
    }

    /// Decides what falls due by itself (spec 4.2 to 4.4), at its own time.
    async fn fall_due(
        &self,
        due: Due,
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) -> Result<(), BrokerError> {
        let correlation = CorrelationId::from_u128(self.core.ledger.fresh_id());
        let seat_is_shared = turn.shares_seat(owned.state.id);
        let decide = |session: &Session, basis: &Basis, view: &View| {
            if due.kind == DueKind::AutomaticCharge {
                // A change of its own millisecond comes after it, whichever was recorded first.
                let known = basis.now.minus_ms(1);
                let period = basis.tenant.configuration.at(known).charge_period;
                let State::Active(usage) = &session.state else {
                    unreachable!("only what is ACTIVE is charged automatically");
                };
                let requester = &usage.request.requester;
                let candidates = basis.candidates_known(known, requester);
                let charge =
                    session.decide_automatic_charge(correlation, period, candidates, view)?;
                return Ok(Ok(Event::AutomaticCharge(Arc::new(charge))));
            }
            if due.kind == DueKind::Lapse {
                let lease = session.lease().expect("only what is leased lapses");
                let licensed =
                    licensed(basis, &lease.license.name).expect("a license outlives its sessions");
                let ended = session.decide_end(
                    Ended::Lapsed,
                    seat_is_shared,
                    correlation,
                    &licensed,
                    view,
                )?;
                return Ok(ended.map(|event| Event::Lease(Arc::new(event))).map_err(Refusal::from));
            }
            // A heartbeat that was received in time and still waits for the turn has not lost.
            let in_time = |heard: &Timestamp| {
                let heard = basis.tenant.outages.session_time(*heard);
                session.decide_heartbeat(heard) == Ok(true)
            };
            let received = self.core.directory.heard(session.id).into_iter();
            if let Some(heard) = received.filter(in_time).min() {
                let (session, instance) = (session.number, session.instance);
                return Ok(Ok(Event::Heartbeat { session, instance, heard }));
            }
            let expired = session.decide_expiry(correlation, &basis.instance, view)?;
            Ok(Ok(Event::SessionExpired(Arc::new(expired))))
        };
        if due.kind == DueKind::WaitOver {
            let tenant = self.core.ledger.tenant();
            if due.at > tenant.outages.session_time(self.core.ledger.now()) {
                return Ok(()); // An outage that was recorded meanwhile has moved it.
            }
            let at = due.stamp(&tenant.outages);
            drop(tenant);
            for ticket in turn.waiting_over(&due) {
                self.try_again(ticket, at, true, turn, owned).await;
            }
            return Ok(());
        }
        let mut view = self.instance.view(Vec::new());
        loop {
            // An outage that was recorded meanwhile may have moved it.
            let stamp = |tenant: &Tenant, now: Timestamp| {
                let is_due = due.at <= tenant.outages.session_time(now);
                is_due.then(|| due.stamp(&tenant.outages))
            };
            let decided = match self.decide(&decide, stamp, &mut view, owned).await {
                Ok(decided) => decided,
                Err(Undecided::NotYet) => return Ok(()),
                Err(Undecided::Refused(refusal)) => return Err(refusal.into()),
                Err(Undecided::Failed(error)) => return Err(error),
            };
            let settling = |()| Box::new(Nobody) as Box<dyn OnDurable>;
            match self.append(decided, (), settling, turn, owned) {
                Ok(()) => return Ok(()),
                Err((NotAppended::Moved, ())) => {}
                Err((NotAppended::Late, ())) => return Err(out_of_order()),
                Err((NotAppended::Refused(error), ())) => return Err(error),
            }
        }
    }

    /// Asks the balances that a decision needs, and decides. In the exclusive turn nothing but the
    /// tenant's catalogue can move meanwhile.
    async fn decide(
        &self,
        decide: &impl Fn(&Session, &Basis, &View) -> Result<Result<Event, Refusal>, Missing>,
        at: impl Fn(&Tenant, Timestamp) -> Option<Timestamp>,
        view: &mut View,
        owned: &Versioned<Session>,
    ) -> Result<Decided, Undecided> {
        loop {
            // First the clock, then the catalogue: an outage is published before time shows it.
            let mut basis = self.core.ledger.basis(&self.instance, self.core.ledger.now());
            let now = at(&basis.tenant, basis.now).ok_or(Undecided::NotYet)?;
            basis.now = now;
            let decided = guarded(|| {
                let decided = decide(&owned.state, &basis, view)?;
                Ok(decided.map(|event| {
                    let (record, mut after) = (Record { at: now, event }, owned.state.clone());
                    after.apply(&record, basis.session_time());
                    (record, after)
                }))
            });
            match decided.map_err(Undecided::Failed)? {
                Ok(Ok((record, after))) => return Ok(Decided { basis, record, after, kept: None }),
                Ok(Err(refusal)) => return Err(Undecided::Refused(refusal)),
                Err(Missing(number)) => {
                    drop(basis);
                    let balance = self.core.balance(&self.instance, number).await;
                    view.add(number, balance.map_err(Undecided::Failed)?);
                }
            }
        }
    }

    /// Append and apply are one step, and after the append infallible: what was recorded is so.
    fn append<W>(
        &self,
        decided: Decided,
        waiter: W,
        settling: impl FnOnce(W) -> Box<dyn OnDurable>,
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) -> Result<(), (NotAppended, W)> {
        let Decided { basis, record, after, kept } = decided;
        let owners = Owner::of_postings(record.event.postings()).chain([Owner::Session(after.id)]);
        let ledger = &self.core.ledger;
        // Under the journal's lock: no answer overtakes what falls due because of it.
        let settling = |waiter| {
            turn.update(owned.state.due(), &after);
            settling(waiter)
        };
        let draft = Draft { record: &record, keyed: kept.as_deref() };
        let appended = ledger.append(&self.instance, &basis, draft, owners, waiter, settling);
        let sequence = appended?;
        let _aftermath = self.core.aftermath();
        *owned = Versioned { state: after, last: sequence };
        self.core.post(&self.instance, sequence, record.event.postings());
        Ok(())
    }
}

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = Versioned<Session>;
    type Arguments = Versioned<Session>;

    async fn pre_start(
        &self,
        _: ActorRef<SessionMessage>,
        session: Versioned<Session>,
    ) -> Result<Versioned<Session>, ActorProcessingErr> {
        Ok(session)
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        owned: &mut Versioned<Session>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Access { request, on_deny, intent, call } => {
                self.access(request, on_deny, intent, call, owned).await;
            }
            SessionMessage::Heartbeat { heard, call } => self.heartbeat(heard, call, owned).await,
            SessionMessage::Close(call) => self.close(call, owned).await,
            SessionMessage::Lease(command, call) => self.lease(command, call, owned).await,
            SessionMessage::CheckOut { components, wait_ms, call } => {
                self.check_out(components, wait_ms, call, owned).await;
            }
            SessionMessage::Try { ticket, now, mut turn, back } => {
                self.try_again(ticket, now, false, &mut turn, owned).await;
                let _ = back.send(turn); // Else the turn falls here.
            }
            SessionMessage::Due { due, mut turn, back } => {
                let ran = self.fall_due(due, &mut turn, owned).await;
                let _ = back.send(ran.map(|()| turn)); // Else the turn falls here.
            }
            SessionMessage::Sleep(reply) => {
                if reply.send(owned.clone()).is_ok() {
                    myself.stop(None);
                }
            }
            SessionMessage::Ask(reply) => {
                let _ = reply.send(owned.clone()); // Who asked may have gone.
            }
        }
        Ok(()) // Whatever the caller was told: to ractor, `Err` means that this actor is broken.
    }
}
