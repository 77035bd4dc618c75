//! How an answer travels: with its permit, to whoever waits, once what it rests on is durable.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::gate::Permit;
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
    permit: Permit,
    deadline: Instant,
}

impl<T: Send + 'static> Reply<T> {
    /// A reply and where its answer arrives.
    pub(crate) fn new(
        permit: Permit,
        deadline: Instant,
    ) -> (Reply<T>, oneshot::Receiver<Answer<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Reply { sender, permit, deadline }, receiver)
    }

    /// Whether nobody waits for it any more. Only asked before deciding: what is decided happens.
    pub(crate) fn is_too_late(&self) -> bool {
        Instant::now() >= self.deadline
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
        let Settling { reply: Reply { sender, permit, .. }, answer } = *self;
        let answer = match outcome {
            Ok(sequence) => match answer {
                Ok(value) => Ok(Receipt { value, sequence }),
                Err(error) => Err(error.resting_on(sequence)),
            },
            Err(down) => Err(BrokerError::JournalDown(down)),
        };
        drop(permit); // First, so that an answered client finds its place free.
        let _ = sender.send(answer); // The caller may have gone.
    }
}
