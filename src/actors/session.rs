//! The session actor: sole owner of one session's timeline. It decides what its client asks, in
//! the exclusive turn of its instance that the message brings along.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::Core;
use super::access::AccessAnswer;
use super::directory::Versioned;
use super::ledger::{Basis, NotAppended, Owner, guarded};
use super::reply::Reply;
use super::turn::{ExclusiveTurn, Instance, View};
use crate::domain::charge::Missing;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{CorrelationId, Sequence};
use crate::domain::line_item::Posting;
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::session::{AccessCommand, OnDeny, Session};
use crate::error::BrokerError;

/// What one can say to a session. Whoever sends it holds the instance's exclusive turn.
pub(crate) enum SessionMessage {
    /// Use this set of items from now on (PUT).
    Access {
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
        turn: ExclusiveTurn,
        reply: Reply<AccessAnswer>,
    },
    /// The client is alive.
    Heartbeat { turn: ExclusiveTurn, reply: Reply<()> },
    /// It is over (DELETE).
    Close { turn: ExclusiveTurn, reply: Reply<()> },
    /// Tell the state.
    Ask(oneshot::Sender<Versioned<Session>>),
}

/// The owner of one session's timeline.
pub(crate) struct SessionActor {
    core: Arc<Core>,
    instance: Arc<Instance>,
}

impl SessionActor {
    pub(crate) fn new(core: &Arc<Core>, instance: &Arc<Instance>) -> SessionActor {
        SessionActor { core: Arc::clone(core), instance: Arc::clone(instance) }
    }

    async fn access(
        &self,
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
        mut turn: ExclusiveTurn,
        reply: Reply<AccessAnswer>,
        owned: &mut Versioned<Session>,
    ) {
        let command = AccessCommand {
            request,
            on_deny,
            correlation: CorrelationId::from_u128(self.core.ledger.fresh_id()),
            refund_correlation: CorrelationId::from_u128(self.core.ledger.fresh_id()),
        };
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let period = basis.tenant.configuration.charge_period;
            let candidates = basis.candidates();
            let decided = session.decide_access(&command, period, basis.now, &candidates, view)?;
            Ok(decided.map(|access| {
                let access = Arc::new(access);
                let event = Event::SessionAccess(Arc::clone(&access));
                (event, AccessAnswer::Session(access))
            }))
        };
        self.transact(decide, &mut turn, reply, owned).await;
    }

    async fn close(
        &self,
        mut turn: ExclusiveTurn,
        reply: Reply<()>,
        owned: &mut Versioned<Session>,
    ) {
        let correlation = CorrelationId::from_u128(self.core.ledger.fresh_id());
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let decided = session.decide_close(correlation, basis.now, view)?;
            Ok(decided.map(|closed| (Event::SessionClosed(Arc::new(closed)), ())))
        };
        self.transact(decide, &mut turn, reply, owned).await;
    }

    /// Asks the balances that a decision needs, decides, appends, applies and posts. In the
    /// exclusive turn nothing but the tenant's catalogue can move meanwhile.
    async fn transact<T: Clone + Send + 'static>(
        &self,
        decide: impl Fn(&Session, &Basis, &View) -> Result<Result<(Event, T), Refusal>, Missing>,
        turn: &mut ExclusiveTurn,
        mut reply: Reply<T>,
        owned: &mut Versioned<Session>,
    ) {
        if reply.is_too_late() {
            return; // Nobody waits any more, and nothing has been decided.
        }
        let mut view = self.instance.view(Vec::new());
        loop {
            let basis = self.core.ledger.basis(&self.instance);
            let (event, answer) = match guarded(|| decide(&owned.state, &basis, &view)) {
                Ok(Ok(Ok(decided))) => decided,
                Ok(Ok(Err(refusal))) => {
                    // A refusal may rest on what is not yet durable, so it waits like any answer.
                    return self.core.ledger.after_all(reply.with(Err(refusal.into())));
                }
                Ok(Err(Missing(number))) => {
                    drop(basis);
                    match self.core.balance(&self.instance, number).await {
                        Ok(balance) => view.add(number, balance),
                        Err(error) => return reply.now(error),
                    }
                    continue;
                }
                Err(fault) => return reply.now(fault),
            };
            let record = Record { at: basis.now, event };
            let owners =
                Owner::of_postings(record.event.postings()).chain([Owner::Session(owned.state.id)]);
            let appended =
                self.core.ledger.append(&self.instance, &basis, &record, owners, reply, answer);
            match appended {
                Ok(sequence) => return self.apply(sequence, &record, turn, owned),
                Err((NotAppended::Moved, returned)) => reply = returned,
                Err((NotAppended::Refused(error), reply)) => return reply.now(error),
            }
        }
    }

    /// One step with append, and infallible: what was recorded is so.
    fn apply(
        &self,
        sequence: Sequence,
        record: &Record,
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) {
        let _aftermath = self.core.aftermath();
        let before = owned.state.due();
        owned.state.apply(record);
        owned.last = sequence;
        turn.update(before, &owned.state);
        let postings: &[Posting] = record.event.postings();
        self.core.post(&self.instance, sequence, postings);
    }

    fn heartbeat(&self, reply: Reply<()>, owned: &mut Versioned<Session>) {
        let heard = owned.state.hear(self.core.ledger.now());
        self.core.ledger.after_all(reply.with(heard.map_err(BrokerError::from)));
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
        _: ActorRef<SessionMessage>,
        message: SessionMessage,
        owned: &mut Versioned<Session>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMessage::Access { request, on_deny, turn, reply } => {
                self.access(request, on_deny, turn, reply, owned).await;
            }
            SessionMessage::Heartbeat { turn, reply } => {
                self.heartbeat(reply, owned);
                drop(turn);
            }
            SessionMessage::Close { turn, reply } => self.close(turn, reply, owned).await,
            SessionMessage::Ask(reply) => {
                let _ = reply.send(owned.clone()); // Who asked may have gone.
            }
        }
        Ok(()) // Whatever the caller was told: to ractor, `Err` means that this actor is broken.
    }
}
