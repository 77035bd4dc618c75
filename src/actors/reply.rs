//! How an answer travels: with its permit, to whoever waits, once what it rests on is durable.

use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::gate::Permit;
use super::idempotency::Reservation;
use super::ledger::guarded;
use crate::domain::idempotency::{FirstAnswer, Keyed};
use crate::domain::ids::Sequence;
use crate::error::BrokerError;
use crate::journal::{JournalDown, OnDurable};

/// An answer, and the place in the journal that it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<T> {
    /// The answer.
    pub value: T,
    /// Its record's sequence, or that of the last record it rests on. Durable.
    pub sequence: Sequence,
}

/// What a caller gets.
pub type Answer<T> = Result<Receipt<T>, BrokerError>;

/// The caller's end of a request: where the answer goes, and the right to be in flight. Dropped
/// without an answer, it tells the caller that the outcome is unknown.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    sender: oneshot::Sender<Answer<T>>,
    /// None for one who waits in line.
    permit: Option<Permit>,
    deadline: Instant,
    keyed: Option<Box<KeyedReply<T>>>,
}

/// How an answer, or a refusal, is sent: the one who asked says it, since only the answer that was
/// sent can be sent again.
pub(crate) type Rendering<T> = Box<dyn Fn(Result<&T, &BrokerError>) -> FirstAnswer + Send + Sync>;

/// What a call under an idempotency key brings along (spec 2.12).
pub(crate) struct KeyedReply<T> {
    reservation: Reservation,
    rendering: Rendering<T>,
    /// What is kept, and in which record, once that is durable: this is what the caller is told.
    told: Arc<Told>,
    /// What the record keeps.
    kept: Option<Arc<Keyed>>,
}

/// Where the caller of a keyed call finds what was kept of it.
pub(crate) type Told = OnceLock<(Sequence, Arc<Keyed>)>;

impl<T> KeyedReply<T> {
    pub(crate) fn new(
        reservation: Reservation,
        rendering: Rendering<T>,
        told: Arc<Told>,
    ) -> KeyedReply<T> {
        KeyedReply { reservation, rendering, told, kept: None }
    }
}

impl<T> std::fmt::Debug for KeyedReply<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KeyedReply {{ {:?} }}", self.reservation.call())
    }
}

impl<T: Send + 'static> Reply<T> {
    /// A reply and where its answer arrives.
    pub(crate) fn new(
        permit: Permit,
        deadline: Instant,
        keyed: Option<KeyedReply<T>>,
    ) -> (Reply<T>, oneshot::Receiver<Answer<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Reply { sender, permit: Some(permit), deadline, keyed: keyed.map(Box::new) }, receiver)
    }

    /// What the record of this answer keeps, if the call came under a key. To be asked before it
    /// is appended; a panic costs the request a 500 and nothing else.
    pub(crate) fn keep(
        &mut self,
        answer: Result<&T, &BrokerError>,
    ) -> Result<Option<Arc<Keyed>>, BrokerError> {
        let Some(KeyedReply { reservation, rendering, kept, .. }) = self.keyed.as_deref_mut()
        else {
            return Ok(None);
        };
        let answer = guarded(|| rendering(answer))?;
        *kept = Some(Arc::new(Keyed { call: reservation.call(), answer }));
        Ok(kept.clone())
    }

    /// Whether nobody waits for it any more. Only asked before deciding: what is decided happens.
    pub(crate) fn is_too_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The same without its permit: it waits in line, for as long as it takes.
    pub(crate) fn parked(mut self) -> Reply<T> {
        self.permit = None;
        self
    }

    /// Whether its caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }

    /// What a future gives until the deadline.
    pub(crate) async fn within<U>(&self, future: impl Future<Output = U>) -> Option<U> {
        timeout_at(self.deadline, future).await.ok()
    }

    /// Answers at once: only for what rests on nothing that could still be lost.
    pub(crate) fn now(self, error: BrokerError) {
        let _ = self.sender.send(Err(error)); // The caller may have gone.
    }

    /// The answer, to be given to the journal.
    pub(crate) fn with(self, answer: Result<T, BrokerError>) -> Box<dyn OnDurable> {
        Box::new(Settling { reply: self, answer })
    }
}

/// An answer that waits for the journal.
struct Settling<T> {
    reply: Reply<T>,
    answer: Result<T, BrokerError>,
}

impl<T: Send + 'static> OnDurable for Settling<T> {
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>) {
        let Settling { reply: Reply { sender, permit, keyed, .. }, answer } = *self;
        if let (Some(KeyedReply { told, kept: Some(kept), .. }), Ok(sequence)) =
            (keyed.as_deref(), &outcome)
        {
            let _ = told.set((*sequence, Arc::clone(kept))); // Nobody else does.
        }
        let answer = match outcome {
            Ok(sequence) => match answer {
                Ok(value) => Ok(Receipt { value, sequence }),
                Err(error) => Err(error.resting_on(sequence)),
            },
            Err(down) => Err(BrokerError::JournalDown(down)),
        };
        drop((permit, keyed)); // First: an answered client finds its place free, its key answered.
        let _ = sender.send(answer); // The caller may have gone.
    }
}
