//! Calls under an idempotency key (spec 2.12): reserving the key, making the call, finding its first
//! answer again.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout_at;

use super::Broker;
use crate::actors::{KeyedReply, Lane, Rendering, Reservation, Reserved, Told};
use crate::auth::Principal;
use crate::domain::idempotency::{FirstAnswer, Keyed, KeyedCall};
use crate::domain::ids::Sequence;
use crate::error::BrokerError;
use crate::journal::format;

/// What became of the key of a call.
pub(crate) enum Key {
    /// The call is the first under it: it is to be made with [`Broker::under`].
    First(Reservation),
    /// It was made before: this is its answer, and the record that has it.
    Answered(Sequence, FirstAnswer),
}

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
    /// Takes the key of a call, or finds the call's first answer. Waits while it is being made, for
    /// as long as an answer may take.
    ///
    /// # Errors
    /// [`BrokerError::KeyReused`], [`BrokerError::KeyInProgress`], [`BrokerError::KeyQuota`]; and
    /// those of a journal that cannot be read.
    pub(crate) async fn reserve(
        &self,
        call: KeyedCall,
        caller: &Principal,
    ) -> Result<Key, BrokerError> {
        let ledger = &self.core().ledger;
        let deadline = self.deadline();
        loop {
            let now = ledger.tenant().outages.session_time(ledger.now());
            match ledger.keys().reserve(call, now, caller.reach()) {
                Reserved::First(reservation) => return Ok(Key::First(reservation)),
                Reserved::Answered(sequence) => return self.first_answer(call, sequence).await,
                Reserved::Wait(waiting) => {
                    let waited = timeout_at(deadline, waiting.done()).await;
                    waited.map_err(|_| BrokerError::KeyInProgress)?;
                }
                Reserved::TooManyWaiting => return Err(BrokerError::KeyInProgress),
                Reserved::Reused => return Err(BrokerError::KeyReused),
                Reserved::Full { limit, in_ms } => {
                    let retry_after = in_ms.div_ceil(1_000).max(1);
                    return Err(BrokerError::KeyQuota { limit, retry_after });
                }
            }
        }
    }

    /// The answer that a record keeps, if it is the answer to this call.
    async fn first_answer(&self, call: KeyedCall, sequence: Sequence) -> Result<Key, BrokerError> {
        let permit = self.core().gate.try_enter(Lane::Ordinary, None)?;
        let journal = self.journal().clone();
        if journal.durable() < sequence {
            // It never became durable: it may be on the disk nevertheless.
            let down = journal.failure().borrow().clone();
            return Err(down.map_or(BrokerError::FirstAnswerUnread, BrokerError::from));
        }
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut kept = Err("there is no such record".to_owned());
            let read = journal.read(sequence, &mut |_, payload| {
                kept = format::decode_keyed(payload).map_err(|error| error.to_string());
                ControlFlow::Break(())
            });
            read.map_err(|error| error.to_string()).and(kept)
        });
        let wrong = match read.await {
            Ok(Ok((_, Some(Keyed { call: kept, answer })))) if kept == call => {
                return Ok(Key::Answered(sequence, answer));
            }
            Ok(Ok(_)) => "it is the answer to another call".to_owned(),
            Ok(Err(error)) => error,
            Err(error) => error.to_string(),
        };
        tracing::error!(%sequence, wrong, "a first answer cannot be read back");
        Err(BrokerError::FirstAnswerUnread)
    }

    /// This broker, whose next call comes under a key: what `rendering` makes of its answer stands
    /// in the same record as what the call does, and is the same for whoever repeats it.
    pub(crate) fn under<T: Send + 'static>(
        &self,
        reservation: Reservation,
        rendering: Rendering<T>,
        told: Arc<Told>,
    ) -> Broker {
        let keyed: Box<dyn Any + Send> = Box::new(KeyedReply::new(reservation, rendering, told));
        let keyed = Some(Carried(Arc::new(Mutex::new(Some(keyed)))));
        Broker { inner: Arc::clone(&self.inner), keyed }
    }
}
