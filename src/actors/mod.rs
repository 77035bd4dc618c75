//! Layer 4: ownership. Who owns what, who restarts whom, who stops first.
//!
//! ```text
//!                      gate        permits, in front of every mailbox
//!                        |
//!                   instance turn   shared: one line item decides alone; exclusive: all else
//!        ________________|________________
//!       |                |                |
//!   catalogue         session          line item      one actor each, spawned by `directory`
//!   (one)             (one each)       (one each)     when first needed, linked to `root`
//!       |________________|________________|
//!                        |
//!                     ledger        append: the only point of order -> journal
//! ```
//!
//! * A line item's balance belongs to its actor, a session's timeline to its actor, the catalogue to
//!   the catalogue actor, which publishes immutable snapshots of it. Nobody else writes them.
//! * `root` supervises all and restarts nobody: who next holds the exclusive turn and finds an actor
//!   dead rebuilds its state from the journal (`rebuild`). A dead catalogue stops the process.
//! * Order of locks, everywhere: permit, turn, session, line items, append. Stop order: gate,
//!   snapshot, journal.

mod access;
pub(crate) mod alarm;
mod begin;
pub(crate) mod broker_time;
mod catalogue;
mod directory;
mod due;
mod gate;
pub(crate) mod idempotency;
mod lease;
mod ledger;
mod licensing;
mod line;
mod line_item;
mod quota;
mod rebuild;
pub(crate) mod recovery;
mod reply;
mod root;
mod rules;
mod session;
pub(crate) mod sleep;
mod snapshot;
mod turn;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::runtime::{EnterGuard, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use access::AccessAnswer;
pub use catalogue::{InstancePage, LineItemView};
pub use lease::LeaseAnswer;
pub use licensing::{LicenseChange, ProductChange, Registered, Registration};
pub use reply::{Answer, Receipt};
pub use rules::ActionsChange;

pub(crate) use access::{Intent, Job};
pub(crate) use alarm::Alarm;
pub(crate) use begin::Beginning;
pub(crate) use catalogue::{CatalogueMessage, Placed};
pub(crate) use directory::{Directory, Found, SessionPlace, Versioned};
pub(crate) use gate::{Gate, Lane, Permit};
pub(crate) use idempotency::{KeyIndex, Reservation, Reserved};
pub(crate) use lease::LeaseCommand;
pub(crate) use ledger::{Draft, Ledger, NotAppended, Owner, out_of_order};
pub(crate) use line_item::LineItemMessage;
pub(crate) use quota::Quota;
pub(crate) use reply::{KeyedReply, Rendering, Reply, Told};
pub(crate) use root::{start, stop};
pub(crate) use session::{SessionCall, SessionMessage};
pub(crate) use sleep::Awake;
pub(crate) use snapshot::{pass as snapshot_pass, test_clock_entry};
pub(crate) use turn::{ExclusiveTurn, Instance};

use crate::domain::ids::{LineItemNumber, Sequence};
use crate::domain::line_item::{Balance, Posting};
use crate::error::BrokerError;
use crate::journal::{Entry, Snapshots};

/// How long one owner waits for another's answer before the request is given up.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// What all actors share.
pub(crate) struct Core {
    pub(crate) ledger: Ledger,
    pub(crate) directory: Arc<Directory>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) awake: Awake,
    pub(crate) gate: Gate,
    pub(crate) quota: Arc<Quota>,
    snapshots: Arc<dyn Snapshots>,
    /// How far the snapshots are known to go.
    watermark: AtomicU64,
    root: OnceLock<ActorCell>,
    catalogue: OnceLock<ActorRef<CatalogueMessage>>,
    /// Nobody waits in line any more.
    lines_closed: AtomicBool,
    failed: watch::Sender<Option<String>>,
    rebuilt: Mutex<BTreeMap<Owner, (Sequence, Instant)>>,
    /// Where the broker lives.
    runtime: Handle,
}

impl Core {
    pub(crate) fn new(
        ledger: Ledger,
        directory: Arc<Directory>,
        alarm: Arc<Alarm>,
        awake: Awake,
        (gate, quota): (Gate, Arc<Quota>),
        snapshots: Arc<dyn Snapshots>,
        watermark: Sequence,
    ) -> Core {
        Core {
            ledger,
            directory,
            alarm,
            awake,
            gate,
            quota,
            snapshots,
            watermark: AtomicU64::new(watermark.get()),
            root: OnceLock::new(),
            catalogue: OnceLock::new(),
            lines_closed: AtomicBool::new(false),
            failed: watch::Sender::new(None),
            rebuilt: Mutex::new(BTreeMap::new()),
            runtime: Handle::current(),
        }
    }

    /// Starts a task where the broker lives: the runtime of a caller may stand still as soon as the
    /// caller has its answer.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(task)
    }

    /// The same for actors, which ractor starts wherever the call is made: there while this lives.
    fn at_home(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    fn supervisor(&self) -> ActorCell {
        self.root.get().expect("the root is started first").clone()
    }

    /// Says why the process has to stop, once it has to.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }

    /// The process cannot go on safely: a restart replays the journal.
    pub(crate) fn fail(&self, why: String) {
        tracing::error!(why, "the broker stops");
        self.gate.shut();
        self.failed.send_replace(Some(why));
    }

    /// Watches over the steps from an append to the last of its postings: a panic in them would
    /// leave living owners behind the journal, and nobody could tell which.
    fn aftermath(&self) -> Aftermath<'_> {
        Aftermath(self)
    }

    /// Asks the owner of the catalogue for something. A message to a dead one is dropped, and its
    /// caller learns that there is no answer.
    pub(crate) fn send_catalogue(&self, message: CatalogueMessage) {
        let catalogue =
            self.catalogue.get().expect("the catalogue is started before the first call");
        let _ = catalogue.send_message(message);
    }

    async fn take_dirty_catalogue(&self) -> Result<Vec<Entry>, BrokerError> {
        let (sender, receiver) = oneshot::channel();
        self.send_catalogue(CatalogueMessage::TakeDirty(sender));
        answered(receiver).await?.ok_or(BrokerError::Stopping)
    }

    /// Tells every line item of a record what it says of its balance. In the exclusive turn: who
    /// decides next finds the messages in the mailboxes. A dead owner misses nothing: it will be
    /// rebuilt from the journal, which has the record.
    ///
    /// What is exhausted is noted here and not by the owner, who may read the message only after
    /// the turn: a decision in between would pass over tokens that have just been given back.
    fn post(self: &Arc<Core>, instance: &Arc<Instance>, sequence: Sequence, postings: &[Posting]) {
        let _aftermath = self.aftermath();
        instance.stir();
        for posting in postings {
            instance.note(posting);
            let owner = self.directory.line_item(self, instance, posting.line_item);
            if let Ok(Found::Alive(actor)) = owner {
                let _ = actor.send_message(LineItemMessage::Post(sequence, posting.clone()));
            }
        }
    }

    /// A line item's balance, from its owner, in the exclusive turn.
    async fn balance(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        number: LineItemNumber,
    ) -> Result<Balance, BrokerError> {
        self.line_item_state(instance, number).await.map(|versioned| versioned.state)
    }
}

/// See [`Core::aftermath`].
struct Aftermath<'a>(&'a Core);

impl Drop for Aftermath<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a panic between a record and its postings".to_owned());
        }
    }
}

/// What an owner answers; `None` if it died. A slow one is not taken for dead: two owners of one
/// balance would be worse than no answer.
async fn answered<T>(receiver: oneshot::Receiver<T>) -> Result<Option<T>, BrokerError> {
    match timeout(ASK_WITHIN, receiver).await {
        Ok(answer) => Ok(answer.ok()),
        Err(_) => Err(BrokerError::NoAnswer { waited: ASK_WITHIN }),
    }
}
