//! How a call gets in and how its answer gets out: permits, turns, deadlines, and whose task it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::keyed::Carried;
use super::{Answer, Broker, Reach};
use crate::actors::{
    AccessAnswer, CatalogueMessage, Core, ExclusiveTurn, Found, Instance, Intent, Job, Lane,
    Permit, Placed, Reply, SessionCall, SessionMessage, SessionPlace,
};
use crate::auth::Scope;
use crate::domain::ids::SessionId;
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// An exclusive turn that a call on its own holds, with everything it needs to answer.
pub(super) struct Turn {
    pub(super) instance: Arc<Instance>,
    pub(super) permit: Permit,
    pub(super) turn: ExclusiveTurn,
    /// The moment up to which nothing is open in it.
    pub(super) now: Timestamp,
    pub(super) deadline: Instant,
}

/// A call on a session that has been let in.
pub(super) struct Entered {
    instance: Arc<Instance>,
    pub(super) place: SessionPlace,
    permit: Permit,
}

pub(super) type Waiting<T> = oneshot::Receiver<Answer<T>>;

impl Broker {
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    pub(super) fn instance(&self, scope: Scope) -> Result<Arc<Instance>, BrokerError> {
        let found = self.core().directory.instance(scope.instance());
        found.ok_or(BrokerError::from(Refusal::UnknownInstance))
    }

    /// Space is secured before deciding: what costs tokens is refused while room is short.
    pub(super) async fn check_room(&self) -> Result<(), BrokerError> {
        let secured = timeout_at(self.deadline(), self.journal().secured_room()).await;
        if secured == Ok(true) { Ok(()) } else { Err(BrokerError::StorageFull) }
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.inner.settings.limits.answer_within
    }

    pub(super) fn enter<T: Send + 'static>(
        &self,
        lane: Lane,
        instance: Option<&Arc<Instance>>,
    ) -> Result<(Reply<T>, Waiting<T>, Instant), BrokerError> {
        let shares = instance.map(|instance| &instance.shares);
        let permit = self.core().gate.try_enter(lane, shares)?;
        let deadline = self.deadline();
        let (reply, answer) = self.reply(permit, deadline);
        Ok((reply, answer, deadline))
    }

    /// Where an answer goes. Of a call under a key it is kept.
    pub(super) fn reply<T: Send + 'static>(
        &self,
        permit: Permit,
        deadline: Instant,
    ) -> (Reply<T>, Waiting<T>) {
        let keyed = self.keyed.as_ref().and_then(Carried::take);
        Reply::new(permit, deadline, keyed)
    }

    /// Waits for an answer. Going away does not stop what was asked; only nobody hears of it.
    pub(super) async fn wait<T>(&self, answer: Waiting<T>, deadline: Instant) -> Answer<T> {
        let waited = self.inner.settings.limits.answer_within;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(BrokerError::NoAnswer { waited }),
        }
    }

    pub(super) async fn ask_catalogue<T: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<T>) -> CatalogueMessage,
    ) -> Answer<T> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        self.core().send_catalogue(message(reply));
        self.wait(answer, deadline).await
    }

    /// Waits for the exclusive turn of an instance. Until it is there nothing has been decided.
    pub(super) async fn turn(&self, scope: Scope, lane: Lane) -> Result<Turn, BrokerError> {
        let instance = self.instance(scope)?;
        let permit = self.core().gate.try_enter(lane, Some(&instance.shares))?;
        self.turn_for(instance, permit).await
    }

    async fn turn_for(&self, instance: Arc<Instance>, permit: Permit) -> Result<Turn, BrokerError> {
        let deadline = self.deadline();
        let turn = timeout_at(deadline, instance.exclude()).await;
        let mut turn = turn.map_err(|_| BrokerError::Busy)?;
        if let Some(now) = self.core().open_moment(&instance, &mut turn) {
            return Ok(Turn { instance, permit, turn, now, deadline });
        }
        // In a task of its own: what is due does not depend on whether the caller stays.
        let (core, here) = (Arc::clone(self.core()), Arc::clone(&instance));
        let running = self.core().spawn(async move { core.catch_up(&here, turn).await });
        let ran = timeout_at(deadline, running).await.map_err(|_| BrokerError::Busy)?;
        let (turn, now) = ran.unwrap_or(Err(BrokerError::Fault))?;
        Ok(Turn { instance, permit, turn, now, deadline })
    }

    /// Reads in the exclusive turn, in a task of its own: the turn must not depend on whether the
    /// caller stays, since a dead owner may have to be rebuilt in it.
    pub(super) async fn read<T, F>(
        &self,
        scope: Scope,
        work: impl FnOnce(Arc<Core>, Arc<Instance>, Arc<ExclusiveTurn>, Timestamp) -> F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BrokerError>> + Send + 'static,
    {
        let Turn { instance, permit, turn, now, deadline } =
            self.turn(scope, Lane::Ordinary).await?;
        let (reply, answer) = self.reply(permit, deadline);
        let core = Arc::clone(self.core());
        let turn = Arc::new(turn);
        let reading = work(Arc::clone(&core), instance, Arc::clone(&turn), now);
        self.core().spawn(async move {
            core.ledger.after_all(reply.with(reading.await));
            drop(turn);
        });
        self.wait(answer, deadline).await
    }

    /// Has the catalogue change an instance, in its exclusive turn.
    pub(super) async fn place<V, T: Send + 'static>(
        &self,
        scope: Scope,
        value: V,
        message: impl FnOnce(Placed<V, T>) -> CatalogueMessage,
    ) -> Answer<T> {
        let Turn { instance, permit, turn, now, deadline } =
            self.turn(scope, Lane::Ordinary).await?;
        let (reply, answer) = self.reply(permit, deadline);
        self.core().send_catalogue(message(Placed { instance, turn, now, value, reply }));
        self.wait(answer, deadline).await
    }

    /// Has a one-off request decided.
    pub(super) async fn one_off(
        &self,
        instance: Arc<Instance>,
        request: Arc<AccessRequest>,
        intent: Intent,
    ) -> Answer<AccessAnswer> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, Some(&instance))?;
        let core = Arc::clone(self.core());
        Box::new(Job { core, instance, request, intent, reply }).start().await;
        self.wait(answer, deadline).await
    }

    /// Where a session runs, if it exists and the reach allows it: else it does not exist.
    pub(super) fn find_session(
        &self,
        reach: Reach,
        id: &str,
    ) -> Result<(SessionId, Scope), BrokerError> {
        let unknown = || BrokerError::from(Refusal::UnknownSession);
        let id = SessionId::parse(id).ok_or_else(unknown)?;
        let directory = &self.core().directory;
        match reach {
            Reach::Instance(scope) => {
                let is_here = directory.has_session(scope.instance(), id);
                if is_here { Ok((id, scope)) } else { Err(unknown()) }
            }
            Reach::Everywhere => {
                let instance = directory.instance_of(id).ok_or_else(unknown)?;
                Ok((id, Scope::everywhere(instance.entry.id)))
            }
        }
    }

    /// Gets a call on a session in: a place among those of the session, and a permit.
    pub(super) fn enter_session(
        &self,
        id: SessionId,
        scope: Scope,
        lane: Lane,
    ) -> Result<Entered, BrokerError> {
        let instance = self.instance(scope)?;
        let place = self.core().directory.enter_session(id)?;
        let permit = self.core().gate.try_enter(lane, Some(&instance.shares))?;
        Ok(Entered { instance, place, permit })
    }

    pub(super) async fn tell_session<T: Send + 'static>(
        &self,
        reach: Reach,
        id: &str,
        lane: Lane,
        message: impl FnOnce(SessionCall<T>) -> SessionMessage,
    ) -> Answer<T> {
        let (id, scope) = self.find_session(reach, id)?;
        let entered = self.enter_session(id, scope, lane)?;
        self.tell(id, entered, message).await
    }

    pub(super) async fn tell<T: Send + 'static>(
        &self,
        id: SessionId,
        entered: Entered,
        message: impl FnOnce(SessionCall<T>) -> SessionMessage,
    ) -> Answer<T> {
        self.tell_within(id, entered, self.inner.settings.limits.answer_within, message).await
    }

    /// The same with a time limit of its own.
    pub(super) async fn tell_within<T: Send + 'static>(
        &self,
        id: SessionId,
        entered: Entered,
        longest: Duration,
        message: impl FnOnce(SessionCall<T>) -> SessionMessage,
    ) -> Answer<T> {
        let Entered { instance, place, permit } = entered;
        let last = Instant::now() + longest;
        let Turn { instance, permit, turn, now, deadline } =
            self.turn_for(instance, permit).await?;
        let (reply, answer) = self.reply(permit, deadline);
        let message = message(SessionCall { turn, now, reply, place });
        let core = Arc::clone(self.core());
        match core.directory.session(&core, id)? {
            // A mailbox that closed meanwhile drops the message: the outcome is then unknown.
            Found::Alive(actor) => drop(actor.send_message(message)),
            Found::Absent => return Err(Refusal::UnknownSession.into()),
            Found::Dead => {
                self.core().spawn(async move {
                    let rebuilt = core.session_state(&instance, id).await; // In the message's turn.
                    if let (Ok(_), Ok(Found::Alive(actor))) =
                        (rebuilt, core.directory.session(&core, id))
                    {
                        let _ = actor.send_message(message);
                    }
                });
            }
        }
        self.wait(answer, last).await
    }
}
