//! The line item actor: sole owner of one balance, which it debits one request after the other.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::access::{Job, Outcome, When};
use super::directory::Versioned;
use super::turn::{Instance, SharedTurn};
use crate::domain::ids::{LineItemNumber, Sequence};
use crate::domain::line_item::{Balance, Posting};

/// What one can say to a line item.
pub(crate) enum LineItemMessage {
    /// Decide this request alone, in a shared turn.
    Access(Box<Job>, SharedTurn),
    /// Tell the balance: to who holds the instance's turn.
    Ask(oneshot::Sender<Versioned<Balance>>),
    /// Tell the balance and end: to who holds the exclusive turn and keeps it from then on.
    Sleep(oneshot::Sender<Versioned<Balance>>),
    /// A record of the exclusive turn says this of the balance.
    Post(Sequence, Posting),
}

/// The owner of one line item's balance.
pub(crate) struct LineItemActor {
    instance: Arc<Instance>,
    number: LineItemNumber,
}

impl LineItemActor {
    pub(crate) fn new(instance: &Arc<Instance>, number: LineItemNumber) -> LineItemActor {
        LineItemActor { instance: Arc::clone(instance), number }
    }

    /// A one-off request that this line item decides alone, or passes on to the exclusive turn
    /// when it turns out that it cannot.
    fn access(&self, job: Box<Job>, turn: SharedTurn, owned: &mut Versioned<Balance>) {
        let view = self.instance.view(vec![(self.number, owned.state.clone())]);
        match job.decide_and_append(&view, When::Shared) {
            Outcome::Appended(sequence, access) => {
                for posting in &access.postings {
                    self.apply(sequence, posting, owned);
                    self.instance.note(posting); // Still in the turn: it falls with this call.
                }
            }
            Outcome::Ended => {}
            Outcome::Missing(job, _) | Outcome::Moved(job) => {
                drop(turn); // Nobody waits for the exclusive turn while holding a shared one.
                job.spawn_exclusive();
            }
        }
    }

    /// One step with append, and infallible: what was recorded is so.
    fn apply(&self, sequence: Sequence, posting: &Posting, owned: &mut Versioned<Balance>) {
        assert_eq!(posting.line_item, self.number, "a posting goes to its own line item");
        assert!(sequence > owned.last, "a record is applied once");
        owned.state.take_over(&posting.after);
        owned.last = sequence;
    }
}

impl Actor for LineItemActor {
    type Msg = LineItemMessage;
    type State = Versioned<Balance>;
    type Arguments = Versioned<Balance>;

    async fn pre_start(
        &self,
        _: ActorRef<LineItemMessage>,
        balance: Versioned<Balance>,
    ) -> Result<Versioned<Balance>, ActorProcessingErr> {
        Ok(balance)
    }

    async fn handle(
        &self,
        myself: ActorRef<LineItemMessage>,
        message: LineItemMessage,
        owned: &mut Versioned<Balance>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LineItemMessage::Access(job, turn) => self.access(job, turn, owned),
            LineItemMessage::Ask(reply) => {
                let _ = reply.send(owned.clone()); // Who asked may have gone.
            }
            LineItemMessage::Sleep(reply) => {
                if reply.send(owned.clone()).is_ok() {
                    myself.stop(None);
                }
            }
            LineItemMessage::Post(sequence, posting) => self.apply(sequence, &posting, owned),
        }
        Ok(()) // Whatever the caller was told: to ractor, `Err` means that this actor is broken.
    }
}
