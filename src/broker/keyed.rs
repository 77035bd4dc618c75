//! Calls under an idempotency key (spec 2.12): reserving the key, making the call, finding its first
//! answer again.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::Broker;
use crate::actors::{KeyedReply, Rendering, Reserved, Told, idempotency};
use crate::auth::Principal;
use crate::domain::idempotency::{FirstAnswer, Keyed, KeyedCall};
use crate::domain::ids::Sequence;
use crate::error::BrokerError;
use crate::journal::format;

/// What became of the key of a call.
pub enum Key {
    /// The call is the first under it: make it with `Broker::under`.
    First(Reservation),
    /// It was made before: this is its answer, and the record that has it.
    Answered(Sequence, FirstAnswer),
}

/// A key that is taken for one call. Falls it without an answer, the key is free again.
pub struct Reservation(idempotency::Reservation);

/// What a keyed call brings along to whoever answers it. The type of the answer is the call's own.
#[derive(Clone)]
pub(super) struct Carried(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

impl Carried {
    /// For the one call that it is for.
    pub(super) fn take<T: 'static>(&self) -> Option<KeyedReply<T>> {
        let carried = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let keyed = carried.downcast().expect("the rendering is that of the call");
        Some(*keyed)
    }
}

impl Broker {
    /// Takes the key of a call, or finds the call's first answer. Waits while it is being made:
    /// 5 s at most.
    ///
    /// # Errors
    /// [`BrokerError::KeyReused`], [`BrokerError::KeyInProgress`], [`BrokerError::KeyQuota`]; and
    /// those of a journal that cannot be read.
    pub async fn reserve(&self, call: KeyedCall, caller: &Principal) -> Result<Key, BrokerError> {
        let ledger = &self.core().ledger;
        let deadline = self.deadline();
        loop {
            let now = ledger.tenant().outages.session_time(ledger.now());
            let may_touch = |instance| caller.scope(instance).is_ok();
            match ledger.keys().reserve(call, now, may_touch) {
                Reserved::First(reservation) => return Ok(Key::First(Reservation(reservation))),
                Reserved::Answered(sequence) => return self.first_answer(sequence).await,
                Reserved::Wait(waiting) => {
                    let waited = tokio::time::timeout_at(deadline, waiting.done()).await;
                    waited.map_err(|_| BrokerError::KeyInProgress)?;
                }
                Reserved::TooManyWaiting => return Err(BrokerError::KeyInProgress),
                Reserved::Reused => return Err(BrokerError::KeyReused),
                Reserved::Full => return Err(BrokerError::KeyQuota { limit: ledger.keys().max() }),
            }
        }
    }

    /// The answer that a record keeps.
    async fn first_answer(&self, sequence: Sequence) -> Result<Key, BrokerError> {
        let journal = self.journal().clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut kept = None;
            let read = journal.read(sequence, &mut |_, payload| {
                kept = format::decode_keyed(payload).ok().and_then(|(_, keyed)| keyed);
                ControlFlow::Break(())
            });
            read.map(|()| kept)
        });
        match read.await {
            Ok(Ok(Some(Keyed { answer, .. }))) => Ok(Key::Answered(sequence, answer)),
            // Its record never became durable, or cannot be read any more.
            Ok(Ok(None)) => Err(BrokerError::Stopping),
            Ok(Err(error)) => {
                tracing::error!(%error, %sequence, "a first answer cannot be read back");
                Err(BrokerError::Fault)
            }
            Err(_) => Err(BrokerError::Fault),
        }
    }

    /// This broker, whose next call comes under a key: what `rendering` makes of its answer stands
    /// in the same record as what the call does, and is the same for whoever repeats it.
    pub(crate) fn under<T: Send + 'static>(
        &self,
        Reservation(reservation): Reservation,
        rendering: Rendering<T>,
        told: Arc<Told>,
    ) -> Broker {
        let keyed: Box<dyn Any + Send> = Box::new(KeyedReply::new(reservation, rendering, told));
        let keyed = Some(Carried(Arc::new(Mutex::new(Some(keyed)))));
        Broker { inner: Arc::clone(&self.inner), keyed }
    }
}
