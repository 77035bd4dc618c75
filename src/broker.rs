//! The embedded library: open, one method per operation, close. What HTTP offers is this and no
//! more; see the crate's documentation for an example.

mod calls;
mod components;
mod keyed;
mod keys;
mod open;
mod rules;
mod usage;

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

pub use self::components::{HolderView, WaiterView};
pub use crate::actors::{
    AccessAnswer, ActionsChange, Answer, InstancePage, LeaseAnswer, LicenseChange, LineItemView,
    ProductChange, Receipt, Registered, Registration,
};
pub use crate::domain::components::BeginSession;
use open::Passes;
pub(crate) use open::lock_journal;
pub use open::{OpenError, Opened, Options, Storage};
pub use usage::{UsagePage, UsageQuery};

use self::calls::Turn;
use self::keyed::Carried;
pub(crate) use self::keyed::Key;
use crate::actors::alarm::catch_up_all;
use crate::actors::{
    CatalogueMessage, Core, Draft, Instance, Intent, Lane, NotAppended, Owner, Reply,
    SessionMessage, Versioned, out_of_order,
};
use crate::auth::Scope;
use crate::config::Settings;
use crate::domain::catalogue::InstanceEntry;
use crate::domain::configuration::{Configuration, Setting};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{CorrelationId, InstanceId, Sequence, SessionId, SessionNumber, Text};
use crate::domain::limits::SESSIONS_LISTED_MAX;
use crate::domain::line_item::Terms;
use crate::domain::rates::{NewRateTable, RateTable};
use crate::domain::refusal::Refusal;
use crate::domain::request::AccessRequest;
use crate::domain::session::{OnDeny, Pacing, Session};
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::{Journal, Room};

/// A broker at work. Clones share it; [`Broker::close`] stops it.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
    /// What the next call brings along, if it comes under an idempotency key.
    keyed: Option<Carried>,
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
    /// When its client should be heard of again.
    pub pacing: Pacing,
}

/// Which sessions a call may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of one instance.
    Instance(Scope),
    /// All of them: administration that names no instance.
    Everywhere,
}

/// What is seen of a session at `now`.
fn view(core: &Core, instance: &Instance, session: Session, now: Timestamp) -> SessionView {
    let tenant = core.ledger.tenant();
    let pacing = session.pacing(tenant.configuration.at(now).charge_period, &tenant.outages);
    SessionView { instance: instance.entry.id, session, pacing }
}

impl Broker {
    /// Publishes a rate table (spec 2.6).
    ///
    /// # Errors
    /// [`Refusal::RateTableExists`], [`Refusal::PricedTwice`].
    pub async fn publish_rate_table(&self, table: NewRateTable) -> Answer<()> {
        self.check_room().await?;
        self.ask_catalogue(|reply| CatalogueMessage::PublishRateTable(table, reply)).await
    }

    /// Every rate table, effective or not, in the order of publication (spec 2.6).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn rate_tables(&self) -> Answer<Vec<Arc<RateTable>>> {
        self.ask_catalogue(CatalogueMessage::RateTables).await
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
        self.check_room().await?;
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

    /// Maps a line item, or replaces its terms entirely; what was used stays (spec 2.3).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::LineItemInvalid`], [`Refusal::MappedElsewhere`],
    /// [`Refusal::RemovalPending`].
    pub async fn map_line_item(&self, scope: Scope, terms: Terms) -> Answer<LineItemView> {
        self.check_room().await?;
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
        self.read(scope, |core, instance, _, _| async move {
            let line_items = instance.catalogue().in_charging_order().cloned().collect();
            core.line_item_views(&instance, line_items).await
        })
        .await
    }

    /// One line item of an instance (spec 2.3).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::UnknownLineItem`].
    pub async fn line_item(&self, scope: Scope, activation_id: &str) -> Answer<LineItemView> {
        let activation_id = activation_id.to_owned();
        self.read(scope, move |core, instance, _, _| async move {
            let found = instance.catalogue().find(&activation_id).cloned();
            let line_item = found.ok_or(Refusal::UnknownLineItem)?;
            let balance = core.line_item_state(&instance, line_item.number).await?.state;
            Ok(LineItemView { instance: instance.entry.id, line_item, balance })
        })
        .await
    }

    /// A one-off request: charged once, each item alone, in order (spec 2.7, 3.5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`]. A denied item is not an error but a verdict of the answer.
    pub async fn access(&self, scope: Scope, request: Arc<AccessRequest>) -> Answer<AccessAnswer> {
        let instance = self.instance(scope)?;
        self.check_room().await?;
        self.one_off(instance, request, Intent::Act).await
    }

    /// What [`Broker::access`] would answer now. Nothing is charged and nothing recorded: the
    /// answer's correlation id names no decision, and another request may get the tokens first
    /// (spec 2.7).
    ///
    /// # Errors
    /// Those of [`Broker::access`], but not for want of space on the disk.
    pub async fn quote(&self, scope: Scope, request: Arc<AccessRequest>) -> Answer<AccessAnswer> {
        let instance = self.instance(scope)?;
        self.one_off(instance, request, Intent::Quote).await
    }

    /// Creates a session, IDLE (spec 2.8).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`]; [`BrokerError::SessionQuota`] where too many are live.
    pub async fn create_session(&self, scope: Scope) -> Answer<SessionId> {
        self.check_room().await?;
        let Turn { instance, permit, mut turn, now, deadline } =
            self.turn(scope, Lane::Ordinary).await?;
        let room = self.core().quota.try_take(turn.live())?;
        let ledger = &self.core().ledger;
        let id = SessionId::from_u128(ledger.fresh_id());
        let (mut reply, answer) = self.reply(permit, deadline);
        loop {
            let basis = ledger.basis(&instance, now);
            let event = Event::SessionCreated { id, instance: instance.entry.number };
            let record = Record { at: now, event };
            let owner = [Owner::Session(id)];
            let settling = |reply: Reply<SessionId>| reply.with(Ok(id));
            let kept = reply.keep(Ok(&id))?;
            let draft = Draft { record: &record, keyed: kept.as_deref() };
            match ledger.append(&instance, &basis, draft, owner, reply, settling) {
                Ok(sequence) => {
                    let (number, since) = (SessionNumber::new(sequence), basis.session_time());
                    let session = Session::new(number, id, instance.entry.number, now, since);
                    turn.admit(&session, room);
                    let session = Versioned { state: session, last: sequence };
                    self.core().directory.add_session(Arc::clone(&instance), session);
                    break;
                }
                Err((NotAppended::Moved, returned)) => reply = returned,
                Err((NotAppended::Late, _)) => return Err(out_of_order()),
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
        self.read(scope, |core, instance, turn, now| async move {
            let mut views = Vec::new();
            for id in turn.newest(SESSIONS_LISTED_MAX) {
                let session = core.session_state(&instance, id).await?.state;
                views.push(view(&core, &instance, session, now));
            }
            Ok(views)
        })
        .await
    }

    /// One session, live or ended (spec 2.8).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], also for one outside the reach.
    pub async fn session(&self, reach: Reach, id: &str) -> Answer<SessionView> {
        let (id, scope) = self.find_session(reach, id)?;
        self.read(scope, move |core, instance, _, now| async move {
            let session = core.session_state(&instance, id).await?.state;
            Ok(view(&core, &instance, session, now))
        })
        .await
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
            self.check_room().await?; // A halt gives tokens back: it may use the last of the room.
        }
        let intent = Intent::Act;
        let message = |call| SessionMessage::Access { request, on_deny, intent, call };
        self.tell_session(reach, id, Lane::Ordinary, message).await
    }

    /// What [`Broker::session_access`] would answer now, refund and all. The session goes on as it
    /// is, and so says its pacing, also where `on_deny` would end it (spec 2.8).
    ///
    /// # Errors
    /// Those of [`Broker::session_access`], but not for want of space on the disk.
    pub async fn quote_session(
        &self,
        reach: Reach,
        id: &str,
        request: Arc<AccessRequest>,
        on_deny: OnDeny,
    ) -> Answer<AccessAnswer> {
        let intent = Intent::Quote;
        let message = |call| SessionMessage::Access { request, on_deny, intent, call };
        self.tell_session(reach, id, Lane::Ordinary, message).await
    }

    /// A sign of life (spec 4.4). Says when the next one is wanted.
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], [`Refusal::SessionEnded`].
    pub async fn heartbeat(&self, reach: Reach, id: &str) -> Answer<Pacing> {
        let heard = self.now();
        let message = |call| SessionMessage::Heartbeat { heard, call };
        let (id, scope) = self.find_session(reach, id)?;
        let mut waiting = self.enter_session(id, scope, Lane::Priority)?;
        waiting.place.hear(heard); // Before it waits: in time is in time.
        self.tell(id, waiting, message).await
    }

    /// Ends a session and refunds the rest of its period (spec 4.7).
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`], [`Refusal::SessionEnded`].
    pub async fn close_session(&self, reach: Reach, id: &str) -> Answer<Pacing> {
        self.tell_session(reach, id, Lane::Priority, SessionMessage::Close).await
    }

    /// The producer's settings (spec 2.9).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn configuration(&self) -> Answer<Configuration> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        let latest = self.core().ledger.tenant().configuration.latest().clone();
        self.core().ledger.after_all(reply.with(Ok(latest)));
        self.wait(answer, deadline).await
    }

    /// Changes settings, all of them at once; `by` is the key id of who asks. They hold from the
    /// next charge on (spec 2.9, 8). Says what holds from here on.
    ///
    /// # Errors
    /// Only those of the broker itself: a [`Setting`] that exists is valid.
    pub async fn configure(&self, settings: Vec<Setting>, by: Text) -> Answer<Configuration> {
        self.check_room().await?;
        self.ask_catalogue(|reply| CatalogueMessage::Configure { settings, by, reply }).await
    }

    /// Runs everything that is due by now, each event at its own time, and waits until all of it
    /// is durable, and that time has come so far. A broker does so by itself, unless its clock is
    /// moved by hand.
    ///
    /// # Errors
    /// If something could not be run: it is still due.
    pub async fn catch_up(&self) -> Answer<Timestamp> {
        let ledger = &self.core().ledger;
        catch_up_all(self.core()).await?;
        let value = ledger.leave_mark()?;
        let sequence = ledger.settled().await?;
        Ok(Receipt { value, sequence })
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
        if self.journal().room() == Room::Short {
            return Err(BrokerError::StorageFull.to_string());
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
        self.core().gate.shut();
        self.dismiss_waiting().await;
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
