//! Putting owners to sleep: an actor takes about 8 KB, its state asleep some hundred bytes. So only
//! so many are awake; beyond that those that were woken first go back to sleep.
//!
//! Whoever sends a message to an owner holds a turn of its instance, and this holds the exclusive
//! one: nobody can be about to speak to what goes to sleep.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::directory::Found;
use super::ledger::Owner;
use super::line_item::LineItemMessage;
use super::session::SessionMessage;
use super::turn::Instance;
use super::{Core, answered};
use crate::error::BrokerError;

/// So many of those that were woken are the latest: an event wakes its session, then the line items
/// that it posts to.
const JUST_NOW: usize = 64;

/// Who was woken, in that order.
pub(crate) struct Awake {
    woken: Mutex<VecDeque<(Arc<Instance>, Owner)>>,
    most: usize,
    too_many: Notify,
}

impl Awake {
    /// At most about `most` owners stay awake.
    pub(crate) fn new(most: usize) -> Awake {
        Awake { woken: Mutex::default(), most, too_many: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Arc<Instance>, Owner)>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an owner was woken.
    pub(super) fn note(&self, instance: &Arc<Instance>, owner: Owner) {
        let mut woken = self.lock();
        woken.push_back((Arc::clone(instance), owner));
        if woken.len() > self.most {
            self.too_many.notify_one();
        }
    }

    /// Takes an owner out again that was woken just now, if too many are awake.
    fn take_back(&self, owner: Owner) -> bool {
        let mut woken = self.lock();
        if woken.len() <= self.most {
            return false;
        }
        let latest = woken.len().saturating_sub(JUST_NOW)..;
        let place = woken.range(latest.clone()).rposition(|(_, latest)| *latest == owner);
        place.is_some_and(|place| woken.remove(latest.start + place).is_some())
    }

    fn next_to_sleep(&self) -> Option<(Arc<Instance>, Owner)> {
        let mut woken = self.lock();
        if woken.len() > self.most { woken.pop_front() } else { None }
    }
}

/// Puts owners to sleep while too many are awake, for ever. The broker ends it.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        while let Some((instance, owner)) = core.awake.next_to_sleep() {
            let turn = instance.exclude().await;
            let slept = core.put_to_sleep(&instance, owner).await;
            drop(turn);
            if let Err(error) = slept {
                tracing::warn!(%error, ?owner, "an owner could not be put to sleep: later again");
                core.awake.note(&instance, owner);
                break;
            }
        }
        core.awake.too_many.notified().await;
    }
}

impl Core {
    /// Puts an owner to sleep that was woken in this turn, if too many are awake.
    pub(super) async fn back_to_sleep(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        owner: Owner,
    ) -> Result<(), BrokerError> {
        if self.awake.take_back(owner) { self.put_to_sleep(instance, owner).await } else { Ok(()) }
    }

    /// The caller holds the exclusive turn.
    async fn put_to_sleep(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        owner: Owner,
    ) -> Result<(), BrokerError> {
        match owner {
            Owner::LineItem(number) => {
                let Some(Found::Alive(actor)) = self.directory.awake_line_item(number) else {
                    return Ok(());
                };
                let (sender, receiver) = oneshot::channel();
                let _ = actor.send_message(LineItemMessage::Sleep(sender)); // Dead: no answer comes.
                if let Some(balance) = answered(receiver).await? {
                    self.directory.add_line_item(number, balance);
                }
            }
            Owner::Session(id) => {
                let Some(Found::Alive(actor)) = self.directory.awake_session(id) else {
                    return Ok(());
                };
                let (sender, receiver) = oneshot::channel();
                let _ = actor.send_message(SessionMessage::Sleep(sender)); // Dead: no answer comes.
                if let Some(session) = answered(receiver).await? {
                    self.directory.add_session(Arc::clone(instance), session);
                }
            }
        }
        Ok(())
    }
}
