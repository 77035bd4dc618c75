//! The embedded library: open, one method per operation, close. What HTTP offers is this and no
//! more; see the crate's documentation for an example.

mod open;

use std::sync::{Arc, Mutex};

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub use crate::actors::{AccessAnswer, Answer, InstancePage, LineItemView, Receipt};
use open::Passes;
pub(crate) use open::lock_journal;
pub use open::{OpenError, Opened, Options, Storage};

use crate::actors::{
    CatalogueMessage, Core, ExclusiveTurn, Found, Instance, Job, Lane, NotAppended, Owner, Permit,
    Placed, Reply, SessionMessage, Versioned,
};
use crate::auth::Scope;
use crate::config::Settings;
use crate::domain::catalogue::InstanceEntry;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{CorrelationId, InstanceId, Sequence, SessionId, SessionNumber, Text};
use crate::domain::keys::RegisteredKey;
use crate::domain::limits::SESSIONS_LISTED_MAX;
use crate::domain::line_item::Terms;
use crate::domain::rates::{NewRateTable, RateTable};
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::session::{OnDeny, Session};
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::Journal;

/// A broker at work. Clones share it; [`Broker::close`] stops it.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    settings: Settings,
    passes: Mutex<Option<Passes>>,
}

/// A session as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Where it runs.
    pub instance: InstanceId,
    /// Its state.
    pub session: Session,
}

/// Which sessions a call may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of one instance.
    Instance(Scope),
    /// All of them: administration that names no instance.
    Everywhere,
}

impl Broker {
    /// Publishes a rate table (spec 2.6).
    ///
    /// # Errors
    /// [`Refusal::RateTableExists`], [`Refusal::PricedTwice`].
    pub async fn publish_rate_table(&self, table: NewRateTable) -> Answer<()> {
        self.ask_catalogue(|reply| CatalogueMessage::PublishRateTable(table, reply)).await
    }

    /// Every rate table, effective or not, in the order of publication (spec 2.6).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn rate_tables(&self) -> Answer<Vec<Arc<RateTable>>> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        let tables = self.core().ledger.tenant().rates.all();
        self.core().ledger.after_all(reply.with(Ok(tables)));
        self.wait(answer, deadline).await
    }

    /// Deletes a rate table that has not taken effect (spec 2.6).
    ///
    /// # Errors
    /// [`Refusal::UnknownRateTable`], [`Refusal::RateTableInEffect`].
    pub async fn delete_rate_table(&self, series: Text, version: Text) -> Answer<()> {
        self.ask_catalogue(|reply| CatalogueMessage::DeleteRateTable { series, version, reply })
            .await
    }

    /// Creates an instance; the account's first becomes its default (spec 2.2).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn create_instance(
        &self,
        short_name: Text,
        account_id: Text,
    ) -> Answer<Arc<InstanceEntry>> {
        self.ask_catalogue(|reply| CatalogueMessage::CreateInstance {
            short_name,
            account_id,
            reply,
        })
        .await
    }

    /// Up to `size` instances created after `after`, in order of creation (spec 2.2).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn instances(&self, after: Sequence, size: usize) -> Answer<InstancePage> {
        self.ask_catalogue(|reply| CatalogueMessage::Instances { after, size, reply }).await
    }

    /// The default instance of an account, if it has any (spec 2.2).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn default_instance(&self, account_id: &Text) -> Answer<Option<Arc<InstanceEntry>>> {
        let account_id = account_id.clone();
        self.ask_catalogue(|reply| CatalogueMessage::DefaultInstance { account_id, reply }).await
    }

    /// Registers a public key, or replaces the one of its class and id (spec 2.1).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn register_key(&self, key: RegisteredKey) -> Answer<()> {
        self.ask_catalogue(|reply| CatalogueMessage::RegisterKey(key, reply)).await
    }

    /// The registered keys.
    pub fn keys(&self) -> Vec<Arc<RegisteredKey>> {
        self.core().ledger.tenant().keys.values().cloned().collect()
    }

    /// Maps a line item, or replaces its terms entirely; what was used stays (spec 2.3).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::LineItemInvalid`], [`Refusal::MappedElsewhere`],
    /// [`Refusal::RemovalPending`].
    pub async fn map_line_item(&self, scope: Scope, terms: Terms) -> Answer<LineItemView> {
        self.place(scope, terms, CatalogueMessage::MapLineItem).await
    }

    /// Deletes an OBSOLETE line item (spec 6).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::UnknownLineItem`], [`Refusal::NotObsolete`].
    pub async fn delete_line_item(&self, scope: Scope, activation_id: &str) -> Answer<()> {
        self.place(scope, activation_id.to_owned(), CatalogueMessage::DeleteLineItem).await
    }

    /// The line items of an instance in the order in which they are charged (spec 2.3).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn line_items(&self, scope: Scope) -> Answer<Vec<LineItemView>> {
        let turn = self.turn(scope, Lane::Ordinary).await?;
        let line_items: Vec<_> = turn.instance.catalogue().in_charging_order().cloned().collect();
        let mut views = Vec::with_capacity(line_items.len());
        for line_item in line_items {
            let balance = self.core().line_item_state(&turn.instance, line_item.number).await?;
            let instance = turn.instance.entry.id;
            views.push(LineItemView { instance, line_item, balance: balance.state });
        }
        self.answer(turn, Ok(views)).await
    }

    /// One line item of an instance (spec 2.3).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::UnknownLineItem`].
    pub async fn line_item(&self, scope: Scope, activation_id: &str) -> Answer<LineItemView> {
        let turn = self.turn(scope, Lane::Ordinary).await?;
        let found = turn.instance.catalogue().find(activation_id).cloned();
        let Some(line_item) = found else {
            return self.answer(turn, Err(Refusal::UnknownLineItem)).await;
        };
        let balance = self.core().line_item_state(&turn.instance, line_item.number).await?.state;
        let instance = turn.instance.entry.id;
        self.answer(turn, Ok(LineItemView { instance, line_item, balance })).await
    }

    /// A one-off request: charged once, each item alone, in order (spec 2.7, 3.5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`]. A denied item is not an error but a verdict of the answer.
    pub async fn access(&self, scope: Scope, request: Arc<AccessRequest>) -> Answer<AccessAnswer> {
        let instance = self.instance(scope)?;
        self.check_room()?;
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, Some(&instance))?;
        let core = Arc::clone(self.core());
        Box::new(Job { core, instance, request, reply }).start().await;
        self.wait(answer, deadline).await
    }

    /// Creates a session, IDLE (spec 2.8).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn create_session(&self, scope: Scope) -> Answer<SessionId> {
        self.check_room()?;
        let Turn { instance, permit, mut turn, deadline } =
            self.turn(scope, Lane::Ordinary).await?;
        let ledger = &self.core().ledger;
        let id = SessionId::from_u128(ledger.fresh_id());
        let (mut reply, answer) = Reply::new(permit, deadline);
        loop {
            let basis = ledger.basis(&instance);
            let event = Event::SessionCreated { id, instance: instance.entry.number };
            let record = Record { at: basis.now, event };
            let owner = [Owner::Session(id)];
            match ledger.append(&instance, &basis, &record, owner, reply, id) {
                Ok(sequence) => {
                    let number = SessionNumber::new(sequence);
                    let session = Session::new(number, id, instance.entry.number, basis.now);
                    turn.update(None, &session);
                    let session = Versioned { state: session, last: sequence };
                    self.core().directory.add_session(Arc::clone(&instance), session);
                    break;
                }
                Err((NotAppended::Moved, returned)) => reply = returned,
                Err((NotAppended::Refused(error), _)) => return Err(error),
            }
        }
        drop(turn);
        self.wait(answer, deadline).await
    }

    /// The newest live sessions of an instance, newest first, at most 100 (spec 2.8).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn sessions(&self, scope: Scope) -> Answer<Vec<SessionView>> {
        let turn = self.turn(scope, Lane::Ordinary).await?;
        let mut views = Vec::new();
        for id in turn.turn.newest(SESSIONS_LISTED_MAX) {
            let session = self.core().session_state(&turn.instance, id).await?.state;
            views.push(SessionView { instance: turn.instance.entry.id, session });
        }
        self.answer(turn, Ok(views)).await
    }

    /// One session, live or ended (spec 2.8).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], also for one outside the reach.
    pub async fn session(&self, reach: Reach, id: &str) -> Answer<SessionView> {
        let (id, scope) = self.find_session(reach, id)?;
        let turn = self.turn(scope, Lane::Ordinary).await?;
        let session = self.core().session_state(&turn.instance, id).await?.state;
        let view = SessionView { instance: turn.instance.entry.id, session };
        self.answer(turn, Ok(view)).await
    }

    /// The complete new set of a session; an empty one halts it (spec 4.5, 4.6).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], [`Refusal::SessionEnded`]. A denied set is not an error.
    pub async fn session_access(
        &self,
        reach: Reach,
        id: &str,
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
    ) -> Answer<AccessAnswer> {
        if !request.items.is_empty() {
            self.check_room()?; // A halt gives tokens back: it may use the last of the room.
        }
        self.tell_session(reach, id, Lane::Ordinary, |turn, reply| SessionMessage::Access {
            request,
            on_deny,
            turn,
            reply,
        })
        .await
    }

    /// A sign of life (spec 4.4).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], [`Refusal::SessionEnded`].
    pub async fn heartbeat(&self, reach: Reach, id: &str) -> Answer<()> {
        let message = |turn, reply| SessionMessage::Heartbeat { turn, reply };
        self.tell_session(reach, id, Lane::Priority, message).await
    }

    /// Ends a session and refunds the rest of its period (spec 4.7).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], [`Refusal::SessionEnded`].
    pub async fn close_session(&self, reach: Reach, id: &str) -> Answer<()> {
        let message = |turn, reply| SessionMessage::Close { turn, reply };
        self.tell_session(reach, id, Lane::Priority, message).await
    }

    /// A fresh id, for an answer that no decision gave one.
    pub fn correlation(&self) -> CorrelationId {
        CorrelationId::from_u128(self.core().ledger.fresh_id())
    }

    /// Broker time (spec 4.2).
    pub fn now(&self) -> Timestamp {
        self.core().ledger.now()
    }

    /// The journal: what happened, record by record.
    pub fn journal(&self) -> &Journal {
        self.core().ledger.journal()
    }

    /// Whether calls can be served, and if not, why not.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn readiness(&self) -> Result<(), String> {
        if let Some(why) = self.failure().borrow().clone() {
            return Err(why);
        }
        if !self.journal().has_room() {
            return Err("storage is full: charges are refused".to_owned());
        }
        Ok(())
    }

    /// Turns `Some` when the broker cannot go on and the process has to stop: a restart replays
    /// the journal. Says why.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.core().failed()
    }

    /// Lets nobody in, waits for those inside, takes a last snapshot and closes the journal. What
    /// was acknowledged is safe without it; a clean stop makes the next start quick.
    ///
    /// # Errors
    /// If the journal had failed.
    pub async fn close(&self) -> Result<(), BrokerError> {
        self.core().gate.close().await;
        open::stop_snapshots(&self.inner).await;
        let journal = self.journal().clone();
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        open::stop_actors(&self.inner).await;
        match closed {
            Ok(mark) => mark.map(|_| ()).map_err(BrokerError::JournalDown),
            Err(_) => Err(BrokerError::Stopping),
        }
    }
}

/// An exclusive turn that a call on its own holds, with everything it needs to answer.
struct Turn {
    instance: Arc<Instance>,
    permit: Permit,
    turn: ExclusiveTurn,
    deadline: Instant,
}

type Waiting<T> = oneshot::Receiver<Answer<T>>;

impl Broker {
    fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    fn instance(&self, scope: Scope) -> Result<Arc<Instance>, BrokerError> {
        let found = self.core().directory.instance(scope.instance());
        found.ok_or(BrokerError::from(Refusal::UnknownInstance))
    }

    /// Space is secured before deciding: what costs tokens is refused while room is short.
    fn check_room(&self) -> Result<(), BrokerError> {
        if self.journal().has_room() { Ok(()) } else { Err(BrokerError::StorageFull) }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.inner.settings.limits.answer_within
    }

    fn enter<T: Send + 'static>(
        &self,
        lane: Lane,
        instance: Option<&Arc<Instance>>,
    ) -> Result<(Reply<T>, Waiting<T>, Instant), BrokerError> {
        let shares = instance.map(|instance| &instance.shares);
        let permit = self.core().gate.try_enter(lane, shares)?;
        let deadline = self.deadline();
        let (reply, answer) = Reply::new(permit, deadline);
        Ok((reply, answer, deadline))
    }

    /// Waits for an answer. Going away does not stop what was asked; only nobody hears of it.
    async fn wait<T>(&self, answer: Waiting<T>, deadline: Instant) -> Answer<T> {
        let waited = self.inner.settings.limits.answer_within;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(BrokerError::NoAnswer { waited }),
        }
    }

    async fn ask_catalogue<T: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<T>) -> CatalogueMessage,
    ) -> Answer<T> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        self.core().send_catalogue(message(reply));
        self.wait(answer, deadline).await
    }

    /// Waits for the exclusive turn of an instance. Until it is there nothing has been decided.
    async fn turn(&self, scope: Scope, lane: Lane) -> Result<Turn, BrokerError> {
        let instance = self.instance(scope)?;
        let permit = self.core().gate.try_enter(lane, Some(&instance.shares))?;
        let deadline = self.deadline();
        let Ok(turn) = timeout_at(deadline, instance.exclude()).await else {
            let limit = self.inner.settings.limits.in_flight_per_instance;
            return Err(BrokerError::Overloaded { limit });
        };
        Ok(Turn { instance, permit, turn, deadline })
    }

    /// An answer that was read in a turn, once what it rests on is durable.
    async fn answer<T: Send + 'static>(&self, turn: Turn, value: Result<T, Refusal>) -> Answer<T> {
        let Turn { permit, turn, deadline, .. } = turn;
        let (reply, answer) = Reply::new(permit, deadline);
        self.core().ledger.after_all(reply.with(value.map_err(BrokerError::from)));
        drop(turn);
        self.wait(answer, deadline).await
    }

    /// Has the catalogue change an instance, in its exclusive turn.
    async fn place<V, T: Send + 'static>(
        &self,
        scope: Scope,
        value: V,
        message: impl FnOnce(Placed<V, T>) -> CatalogueMessage,
    ) -> Answer<T> {
        let Turn { instance, permit, turn, deadline } = self.turn(scope, Lane::Ordinary).await?;
        let (reply, answer) = Reply::new(permit, deadline);
        self.core().send_catalogue(message(Placed { instance, turn, value, reply }));
        self.wait(answer, deadline).await
    }

    /// Where a session runs, if it exists and the reach allows it: else it does not exist.
    fn find_session(&self, reach: Reach, id: &str) -> Result<(SessionId, Scope), BrokerError> {
        let unknown = || BrokerError::from(Refusal::UnknownSession);
        let id = SessionId::parse(id).ok_or_else(unknown)?;
        let instance = self.core().directory.instance_of(id).ok_or_else(unknown)?;
        let here = instance.entry.id;
        match reach {
            Reach::Instance(scope) if scope.instance() == here => Ok((id, scope)),
            Reach::Instance(_) => Err(unknown()),
            Reach::Everywhere => Ok((id, Scope::everywhere(here))),
        }
    }

    async fn tell_session<T: Send + 'static>(
        &self,
        reach: Reach,
        id: &str,
        lane: Lane,
        message: impl FnOnce(ExclusiveTurn, Reply<T>) -> SessionMessage,
    ) -> Answer<T> {
        let (id, scope) = self.find_session(reach, id)?;
        let Turn { instance, permit, turn, deadline } = self.turn(scope, lane).await?;
        if matches!(self.core().directory.session(self.core(), id)?, Found::Dead) {
            self.core().session_state(&instance, id).await?; // Rebuilds it.
        }
        let (reply, answer) = Reply::new(permit, deadline);
        if let Found::Alive(actor) = self.core().directory.session(self.core(), id)? {
            // A dead one drops the message: the caller learns that the outcome is unknown.
            let _ = actor.send_message(message(turn, reply));
        }
        self.wait(answer, deadline).await
    }
}
