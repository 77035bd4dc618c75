//! What an owner's state is, asked in the right way: from its actor, from where it sleeps, or, if
//! its actor has died, from the journal.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::catalogue::LineItemView;
use super::directory::{Found, Versioned};
use super::ledger::Owner;
use super::line_item::LineItemMessage;
use super::session::SessionMessage;
use super::snapshot::{self, Kept, KeptBalance, KeptSession};
use super::turn::Instance;
use super::{Core, answered};
use crate::domain::event::Record;
use crate::domain::ids::{LineItemNumber, Sequence, SessionId};
use crate::domain::line_item::{Balance, LineItem};
use crate::domain::refusal::Refusal;
use crate::domain::session::Session;
use crate::error::BrokerError;
use crate::journal::{Entry, format};

/// Two deaths of one owner at one record within this time: it would die again.
const RELAPSE_WITHIN: Duration = Duration::from_secs(60);

impl Core {
    /// A line item's balance. The caller holds the exclusive turn, so a dead owner is rebuilt.
    pub(crate) async fn line_item_state(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        number: LineItemNumber,
    ) -> Result<Versioned<Balance>, BrokerError> {
        if let Some(told) = self.told_line_item(instance, number).await? {
            return Ok(told);
        }
        self.ledger.settled().await?;
        let core = Arc::clone(self);
        let mut balance = Versioned { state: Balance::default(), last: number.created() };
        let balance = replaying(move || {
            core.replay(number.created(), |sequence, record| {
                for posting in record.event.postings() {
                    if posting.line_item == number {
                        balance.state.take_over(&posting.after);
                        balance.last = sequence;
                    }
                }
            })?;
            Ok(balance)
        })
        .await?;
        self.note_rebuild(Owner::LineItem(number), balance.last)?;
        self.directory.add_line_item(number, balance.clone());
        Ok(balance)
    }

    /// Line items with their balances. The caller holds the exclusive turn.
    pub(crate) async fn line_item_views(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        line_items: Vec<Arc<LineItem>>,
    ) -> Result<Vec<LineItemView>, BrokerError> {
        let mut views = Vec::with_capacity(line_items.len());
        for line_item in line_items {
            let balance = self.line_item_state(instance, line_item.number).await?.state;
            views.push(LineItemView { instance: instance.entry.id, line_item, balance });
        }
        Ok(views)
    }

    /// A session's state. The caller holds the exclusive turn, so a dead owner is rebuilt.
    pub(crate) async fn session_state(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        id: SessionId,
    ) -> Result<Versioned<Session>, BrokerError> {
        if let Some(told) = self.told_session(id).await? {
            return Ok(told);
        }
        self.ledger.settled().await?;
        let number = self.directory.session_number(id);
        let number = number.ok_or(BrokerError::from(Refusal::UnknownSession))?;
        let core = Arc::clone(self);
        let session = replaying(move || {
            let outages = core.ledger.tenant().outages.clone(); // Later ones move nothing earlier.
            let mut found: Option<Versioned<Session>> = None;
            core.replay(number.created(), |sequence, record| {
                let at = outages.session_time(record.at);
                match &mut found {
                    None => {
                        let begun = Session::begun_by(sequence, record, at);
                        found = begun.map(|state| Versioned { state, last: sequence });
                    }
                    Some(session) if record.event.session() == Some(number) => {
                        session.state.apply(record, at);
                        session.last = sequence;
                    }
                    Some(_) => {}
                }
            })?;
            found.ok_or(BrokerError::from(Refusal::UnknownSession))
        })
        .await?;
        self.note_rebuild(Owner::Session(id), session.last)?;
        self.directory.add_session(Arc::clone(instance), session.clone());
        Ok(session)
    }

    /// A copy of an owner's state for a snapshot. Taken in a shared turn; a dead owner needs the
    /// exclusive one.
    pub(super) async fn copy(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        owner: Owner,
    ) -> Result<Entry, BrokerError> {
        match owner {
            Owner::LineItem(number) => {
                let turn = instance.share().await;
                let told = self.told_line_item(instance, number).await?;
                drop(turn);
                let Versioned { state: balance, last } = match told {
                    Some(told) => told,
                    None => {
                        let _turn = instance.exclude().await;
                        self.line_item_state(instance, number).await?
                    }
                };
                Ok(Kept::Balance(KeptBalance { number, last, balance }).entry())
            }
            Owner::Session(id) => {
                let turn = instance.share().await;
                if let Some(number) = instance.cell().forgotten(id) {
                    return Ok(snapshot::forgotten_session(number));
                }
                let told = self.told_session(id).await?;
                drop(turn);
                let Versioned { state: session, last } = match told {
                    Some(told) => told,
                    None => {
                        let _turn = instance.exclude().await;
                        if let Some(number) = instance.cell().forgotten(id) {
                            return Ok(snapshot::forgotten_session(number));
                        }
                        self.session_state(instance, id).await?
                    }
                };
                Ok(Kept::Session(KeptSession { last, session }).entry())
            }
        }
    }

    /// What a line item tells of itself; `None` where it is dead.
    pub(super) async fn told_line_item(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        number: LineItemNumber,
    ) -> Result<Option<Versioned<Balance>>, BrokerError> {
        if let Some(asleep) = self.directory.sleeping_line_item(number) {
            return Ok(Some(asleep));
        }
        let (sender, receiver) = oneshot::channel();
        match self.directory.line_item(self, instance, number)? {
            Found::Alive(actor) => {
                let _ = actor.send_message(LineItemMessage::Ask(sender)); // Dead: no answer comes.
                answered(receiver).await
            }
            Found::Dead => Ok(None),
            Found::Absent => Err(BrokerError::Fault), // Whoever names one has read it somewhere.
        }
    }

    /// What a line item tells to one who holds no turn of its instance, and so must not wake it;
    /// `None` where it is dead. It may go to sleep while it is asked: then it is asked again.
    pub(super) async fn overheard_line_item(
        self: &Arc<Core>,
        number: LineItemNumber,
    ) -> Result<Option<Versioned<Balance>>, BrokerError> {
        loop {
            if let Some(asleep) = self.directory.sleeping_line_item(number) {
                return Ok(Some(asleep));
            }
            let Some(Found::Alive(actor)) = self.directory.awake_line_item(number) else {
                return Ok(self.directory.sleeping_line_item(number));
            };
            let (sender, receiver) = oneshot::channel();
            let _ = actor.send_message(LineItemMessage::Ask(sender)); // Dead: no answer comes.
            if let Some(told) = answered(receiver).await? {
                return Ok(Some(told));
            }
            tokio::task::yield_now().await; // Whoever puts it to sleep is about to say so.
        }
    }

    /// What a session tells of itself; `None` where it is dead.
    async fn told_session(
        self: &Arc<Core>,
        id: SessionId,
    ) -> Result<Option<Versioned<Session>>, BrokerError> {
        if let Some(asleep) = self.directory.sleeping_session(id) {
            return Ok(Some(asleep));
        }
        let (sender, receiver) = oneshot::channel();
        match self.directory.session(self, id)? {
            Found::Alive(actor) => {
                let _ = actor.send_message(SessionMessage::Ask(sender)); // Dead: no answer comes.
                answered(receiver).await
            }
            Found::Dead => Ok(None),
            Found::Absent => Err(BrokerError::from(Refusal::UnknownSession)),
        }
    }

    /// Reads durable records from a place on. Everything that concerns a dead owner is durable.
    fn replay(
        &self,
        from: Sequence,
        mut each: impl FnMut(Sequence, &Record),
    ) -> Result<(), BrokerError> {
        let mut unreadable = None;
        let read = self.ledger.journal().read(from, &mut |sequence, payload| match format::decode(
            payload,
        ) {
            Ok(record) => {
                each(sequence, &record);
                ControlFlow::Continue(())
            }
            Err(error) => {
                unreadable = Some(format!("record {sequence} cannot be read: {error}"));
                ControlFlow::Break(())
            }
        });
        match (read, unreadable) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(why)) => {
                self.fail(why);
                Err(BrokerError::Stopping)
            }
            (Err(error), _) => {
                self.fail(error.to_string());
                Err(BrokerError::Stopping)
            }
        }
    }

    /// Notes that an owner was rebuilt; gives up on the process if it dies of the same record again.
    fn note_rebuild(&self, owner: Owner, last: Sequence) -> Result<(), BrokerError> {
        tracing::warn!(?owner, %last, "an owner was rebuilt from the journal");
        let mut rebuilt = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        let former = rebuilt.insert(owner, (last, Instant::now()));
        match former {
            Some((at, when)) if at == last && when.elapsed() < RELAPSE_WITHIN => {
                self.fail(format!("{owner:?} died twice at record {last}"));
                Err(BrokerError::Stopping)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Runs what reads the disk where it keeps nobody waiting.
async fn replaying<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BrokerError::Stopping))
}
