//! Append, the only point of order: what was decided becomes a record here, if what the decision
//! read still holds. Also the broker's time and its fresh ids, which decisions read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::oneshot;

use super::broker_time::BrokerTime;
use super::idempotency::KeyIndex;
use super::reply::Reply;
use super::turn::Instance;
use crate::domain::catalogue::{InstanceCatalogue, Tenant};
use crate::domain::event::{Event, Record};
use crate::domain::idempotency::Keyed;
use crate::domain::ids::{LineItemNumber, Sequence, SessionId, SessionNumber};
use crate::domain::keys::Keys;
use crate::domain::line_item::Posting;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::env::{Clock, IdSource};
use crate::error::BrokerError;
use crate::journal::{Journal, JournalDown, OnDurable, Queue, Room, format};

/// Who owns a piece of state that is snapshot on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A line item's balance.
    LineItem(LineItemNumber),
    /// A session.
    Session(SessionId),
}

impl Owner {
    /// The owners of the balances that a record changes.
    pub(crate) fn of_postings(postings: &[Posting]) -> impl Iterator<Item = Owner> {
        postings.iter().map(|posting| Owner::LineItem(posting.line_item))
    }
}

/// What of an instance append checks and keeps under its lock.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// The stamp of the instance's last record: within an instance stamps never run backwards.
    last_stamp: Timestamp,
    /// Whose state has changed since the last snapshot.
    dirty: BTreeSet<Owner>,
    /// Sessions that are forgotten, and that the snapshots are still to forget.
    forgotten: BTreeMap<SessionId, SessionNumber>,
}

impl Cell {
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<Owner> {
        std::mem::take(&mut self.dirty)
    }

    /// The number that a forgotten session had.
    pub(crate) fn forgotten(&self, id: SessionId) -> Option<SessionNumber> {
        self.forgotten.get(&id).copied()
    }

    /// The snapshots have forgotten these too.
    pub(crate) fn gone(&mut self, owners: &BTreeSet<Owner>) {
        for owner in owners {
            // One that is dirty again was forgotten after the pass had copied it.
            if let Owner::Session(id) = owner
                && !self.dirty.contains(owner)
            {
                self.forgotten.remove(id);
            }
        }
    }
}

/// What a decision read, immediately before it decided.
pub(crate) struct Basis {
    pub(crate) tenant: Guard<Arc<Tenant>>,
    pub(crate) instance: Guard<Arc<InstanceCatalogue>>,
    pub(crate) now: Timestamp,
}

/// A record that is to be appended, and what it keeps of the key that its call came under.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) record: &'a Record,
    pub(crate) keyed: Option<&'a Keyed>,
}

/// Why a decided record was not appended. Nothing has changed.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// What the decision read has moved meanwhile: decide again.
    Moved,
    /// A later record of the instance is there already: decide again, at a later moment.
    Late,
    /// It cannot be appended at all.
    Refused(BrokerError),
}

/// The journal with the checks of append in front of it.
pub(crate) struct Ledger {
    journal: Journal,
    tenant: ArcSwap<Tenant>,
    time: BrokerTime,
    /// The highest stamp of any record, in milliseconds. Only changed under the journal's lock.
    highest_ms: AtomicU64,
    ids: Arc<dyn IdSource>,
    keys: Arc<KeyIndex>,
    dirty: Mutex<Vec<Arc<Instance>>>,
    key_holders: Mutex<Vec<KeyHolder>>,
}

/// Takes over the registered keys, and hands back what it needs no more. Called under the journal's
/// lock: it must not wait.
type KeyHolder = Box<dyn Fn(&Keys) -> Box<dyn Send> + Send>;

/// What is only to be dropped, but may be large: not under a lock.
pub(super) type Left = Vec<Box<dyn Send>>;

thread_local! {
    /// Reused for every record's bytes.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// In an exclusive turn nothing later can be there: what is decided in it has its moment.
pub(crate) fn out_of_order() -> BrokerError {
    tracing::error!("a record of an exclusive turn is older than the last of its instance");
    BrokerError::Fault
}

impl Ledger {
    /// `mark` is the highest stamp of any durable record: broker time starts no earlier.
    pub(crate) fn new(
        journal: Journal,
        tenant: Tenant,
        mark: Timestamp,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        keys: KeyIndex,
    ) -> Ledger {
        Ledger {
            journal,
            tenant: ArcSwap::from_pointee(tenant),
            time: BrokerTime::new(clock, mark),
            highest_ms: AtomicU64::new(mark.as_ms()),
            ids,
            keys: Arc::new(keys),
            dirty: Mutex::new(Vec::new()),
            key_holders: Mutex::new(Vec::new()),
        }
    }

    /// Broker time, which never runs backwards (spec 4.2).
    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// The clock behind it.
    pub(crate) fn time(&self) -> &BrokerTime {
        &self.time
    }

    pub(crate) fn fresh_id(&self) -> u128 {
        self.ids.fresh()
    }

    pub(crate) fn tenant(&self) -> Guard<Arc<Tenant>> {
        self.tenant.load()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What a decision in this instance reads at `now`: in the shared turn the present moment, in
    /// the exclusive one the moment up to which nothing is open. To be taken right before deciding.
    pub(crate) fn basis(&self, instance: &Instance, now: Timestamp) -> Basis {
        Basis { tenant: self.tenant(), instance: instance.catalogue(), now }
    }

    /// Appends a decided record whose answer waits for the disk, unless what the decision read has
    /// moved.
    pub(crate) fn append<W>(
        &self,
        instance: &Arc<Instance>,
        basis: &Basis,
        draft: Draft<'_>,
        owners: impl IntoIterator<Item = Owner>,
        reply: W,
        settling: impl FnOnce(W) -> Box<dyn OnDurable>,
    ) -> Result<Sequence, (NotAppended, W)> {
        let at = draft.record.at;
        self.check(instance, basis, draft, reply, |mut cell, mut queue, bytes, reply| {
            // Dirty before appended: who reads the journal's end finds all marks up to it.
            self.mark_dirty(instance, &mut cell, owners);
            self.place(draft.keyed, queue.last().next(), at);
            cell.last_stamp = at;
            self.highest_ms.fetch_max(at.as_ms(), Ordering::SeqCst);
            queue.append(bytes, settling(reply))
        })
    }

    /// Answers with a record that could be appended now, and appends nothing: the answer rests on
    /// everything before the place that the record would have had.
    pub(crate) fn quote<W>(
        &self,
        instance: &Arc<Instance>,
        basis: &Basis,
        record: &Record,
        reply: W,
        settling: impl FnOnce(W) -> Box<dyn OnDurable>,
    ) -> Result<(), (NotAppended, W)> {
        let draft = Draft { record, keyed: None };
        self.check(instance, basis, draft, reply, |cell, queue, _, reply| {
            drop(cell);
            queue.after_all(settling(reply));
        })
    }

    /// Runs `then` with the record's bytes under the instance's cell and the journal's queue, if
    /// the record may be appended there: what the decision read still holds.
    fn check<W, T>(
        &self,
        instance: &Instance,
        basis: &Basis,
        Draft { record, keyed }: Draft<'_>,
        reply: W,
        then: impl FnOnce(MutexGuard<'_, Cell>, Queue<'_>, &[u8], W) -> T,
    ) -> Result<T, (NotAppended, W)> {
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            format::encode_keyed(record, keyed, bytes);
            let cell = instance.cell();
            let holds = instance.catalogue().number == basis.instance.number;
            if !holds {
                return Err((NotAppended::Moved, reply));
            }
            if record.at < cell.last_stamp {
                return Err((NotAppended::Late, reply));
            }
            let queue = match self.journal.queue() {
                Ok(queue) => queue,
                // Nothing of it is in the journal, so this outcome is known.
                Err(_) => return Err((NotAppended::Refused(BrokerError::Stopping), reply)),
            };
            if let Err(error) = check_length(bytes, &queue) {
                return Err((NotAppended::Refused(error), reply));
            }
            if self.tenant().number != basis.tenant.number {
                return Err((NotAppended::Moved, reply));
            }
            Ok(then(cell, queue, bytes, reply))
        })
    }

    /// Decides a change of the catalogue, appends it and publishes what follows from it, all under
    /// the lock that orders the journal: no decision falls in between, and the moment it is decided
    /// at is behind every record before it. All that could fail is in `prepare`, before the append;
    /// it says what the record keeps of a key, too.
    pub(crate) fn append_and_publish<P>(
        &self,
        instance: Option<&Arc<Instance>>,
        decide: impl FnOnce(Timestamp) -> Result<Record, Refusal>,
        prepare: impl FnOnce(Sequence, &Record) -> Result<(P, Option<Arc<Keyed>>), BrokerError>,
        settling: impl FnOnce(&mut P) -> Box<dyn OnDurable>,
        publish: impl FnOnce(&P) -> Left,
    ) -> Result<(Sequence, Record, P), BrokerError> {
        let mut cell = instance.map(|instance| instance.cell());
        let mut queue = self.journal.queue().map_err(|_| BrokerError::Stopping)?;
        let record = decide(self.now())?;
        let sequence = queue.last().next();
        let (mut prepared, keyed) = prepare(sequence, &record)?;
        let left = BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            format::encode_keyed(&record, keyed.as_deref(), bytes);
            check_length(bytes, &queue)?;
            if let Some(cell) = &mut cell {
                assert!(record.at >= cell.last_stamp, "time does not run backwards in a turn");
                cell.last_stamp = record.at;
            }
            if let Some((instance, cell)) = instance.zip(cell.as_mut()) {
                let owners = Owner::of_postings(record.event.postings());
                self.mark_dirty(instance, cell, owners);
            }
            self.place(keyed.as_deref(), sequence, record.at);
            self.highest_ms.fetch_max(record.at.as_ms(), Ordering::SeqCst);
            let appended = queue.append(bytes, settling(&mut prepared));
            assert_eq!(appended, sequence, "the queue is locked between asking and appending");
            Ok::<_, BrokerError>(publish(&prepared))
        })?;
        drop((queue, cell));
        if !left.is_empty() {
            tokio::task::spawn_blocking(|| drop(left));
        }
        Ok((sequence, record, prepared))
    }

    /// Answers without a change: a refusal, or what was so already. It waits for all that it may
    /// rest on. Under a key it is a record, so that it is never decided again.
    pub(crate) fn answer<T: Send + 'static>(
        &self,
        mut reply: Reply<T>,
        answer: Result<T, BrokerError>,
    ) {
        let keyed = match reply.keep(answer.as_ref()) {
            Ok(Some(keyed)) => keyed,
            Ok(None) => return self.after_all(reply.with(answer)),
            Err(fault) => return reply.now(fault),
        };
        if self.journal.room() == Room::Short {
            return reply.now(BrokerError::StorageFull); // The last of it is for closes.
        }
        let Ok(mut queue) = self.journal.queue() else { return reply.now(BrokerError::Stopping) };
        let record = Record { at: self.now(), event: Event::Answered };
        let mut bytes = Vec::new();
        format::encode_keyed(&record, Some(&keyed), &mut bytes);
        if let Err(error) = check_length(&bytes, &queue) {
            return reply.now(error);
        }
        self.place(Some(&keyed), queue.last().next(), record.at);
        self.highest_ms.fetch_max(record.at.as_ms(), Ordering::SeqCst);
        queue.append(&bytes, reply.with(answer));
    }

    /// The key of a call gets its place, under the lock that orders the journal.
    fn place(&self, keyed: Option<&Keyed>, sequence: Sequence, at: Timestamp) {
        if let Some(keyed) = keyed {
            let at = self.tenant().outages.session_time(at);
            self.keys.place(&keyed.call, sequence, at);
        }
    }

    /// The keys that calls came under.
    pub(crate) fn keys(&self) -> &Arc<KeyIndex> {
        &self.keys
    }

    /// The last instant before an outage at which something may have been decided. Only inside
    /// `append_and_publish`: what is decided meanwhile is refused, since the tenant's number moves.
    pub(crate) fn last_seen(&self) -> Timestamp {
        self.time.last_tick().max(self.highest())
    }

    /// Appends what concerns no instance and changes nothing.
    pub(crate) fn note(&self, event: Event) -> Result<(), BrokerError> {
        let mut queue = self.journal.queue().map_err(|_| BrokerError::Stopping)?;
        let record = Record { at: self.now(), event };
        let mut bytes = Vec::new();
        format::encode(&record, &mut bytes);
        self.highest_ms.fetch_max(record.at.as_ms(), Ordering::SeqCst);
        queue.append(&bytes, Box::new(Nobody));
        Ok(())
    }

    /// The highest stamp of any record.
    pub(crate) fn highest(&self) -> Timestamp {
        Timestamp::from_ms(self.highest_ms.load(Ordering::SeqCst))
    }

    /// Sees to it that the journal knows how far time has come: what passes after its last stamp is
    /// an outage to the next start. Says how far.
    pub(crate) fn leave_mark(&self) -> Result<Timestamp, BrokerError> {
        let (now, highest) = (self.now(), self.highest());
        let old_ms = if self.time.is_by_hand() { 1 } else { MARK_EVERY_MS };
        if now.ms_since(highest) >= old_ms {
            self.note(Event::Time)?;
        }
        Ok(now)
    }

    /// Notes that a session is forgotten, for the next snapshot.
    pub(crate) fn forget(&self, instance: &Arc<Instance>, number: SessionNumber, id: SessionId) {
        let mut cell = instance.cell();
        self.mark_dirty(instance, &mut cell, [Owner::Session(id)]);
        cell.forgotten.insert(id, number);
    }

    /// Makes a new version of the tenant's catalogue visible. Only inside `append_and_publish`.
    /// Where keys have changed, whoever holds them knows it in the same step.
    pub(super) fn publish_tenant(&self, tenant: Arc<Tenant>) -> Left {
        let former = self.tenant.swap(Arc::clone(&tenant));
        if tenant.keys.is_unchanged_from(&former.keys) {
            return Left::new();
        }
        let holders = self.key_holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.iter().map(|holder| holder(&tenant.keys)).collect()
    }

    /// Tells `holder` the keys now, and at every change from here on. Says what it said of the
    /// first; what it says later is dropped outside of every lock.
    pub(crate) fn add_key_holder<T: Send + 'static>(
        &self,
        holder: impl Fn(&Keys) -> T + Send + 'static,
    ) -> T {
        // A change that comes meanwhile waits for the lock, and tells it then.
        let mut holders = self.key_holders.lock().unwrap_or_else(PoisonError::into_inner);
        let said = holder(&self.tenant().keys);
        holders.push(Box::new(move |keys| Box::new(holder(keys))));
        said
    }

    /// An answer without a record of its own, once everything it may rest on is durable.
    pub(crate) fn after_all(&self, waiter: Box<dyn OnDurable>) {
        self.journal.after_all(waiter);
    }

    /// Waits until everything appended so far is durable.
    pub(crate) async fn settled(&self) -> Result<Sequence, BrokerError> {
        let (sender, receiver) = oneshot::channel();
        self.journal.after_all(Box::new(Signal(sender)));
        match receiver.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(BrokerError::Stopping),
        }
    }

    /// Instances with state that has changed since it was last taken.
    pub(crate) fn take_dirty(&self) -> Vec<Arc<Instance>> {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts owners back whose state could not be taken.
    pub(crate) fn still_dirty(&self, instance: &Arc<Instance>, owners: BTreeSet<Owner>) {
        let mut cell = instance.cell();
        self.mark_dirty(instance, &mut cell, owners);
    }

    fn mark_dirty(
        &self,
        instance: &Arc<Instance>,
        cell: &mut Cell,
        owners: impl IntoIterator<Item = Owner>,
    ) {
        let was_clean = cell.dirty.is_empty();
        cell.dirty.extend(owners);
        if was_clean && !cell.dirty.is_empty() {
            let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
            dirty.push(Arc::clone(instance));
        }
    }
}

fn check_length(bytes: &[u8], queue: &Queue<'_>) -> Result<(), BrokerError> {
    let (bytes, limit) = (bytes.len(), queue.record_bytes_max());
    if bytes <= limit { Ok(()) } else { Err(BrokerError::RecordTooLong { bytes, limit }) }
}

/// How old the last stamp of an idle journal becomes.
const MARK_EVERY_MS: u64 = 2_000;

/// Waits for nothing.
pub(crate) struct Nobody;

impl OnDurable for Nobody {
    fn settle(self: Box<Self>, _: Result<Sequence, JournalDown>) {}
}

/// Tells a task that the journal has come so far.
struct Signal(oneshot::Sender<Result<Sequence, JournalDown>>);

impl OnDurable for Signal {
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>) {
        let _ = self.0.send(outcome); // Whoever waited may have gone.
    }
}

/// Runs a decision. It only reads shared state, so a panic in it costs this one request and
/// nothing else.
pub(crate) fn guarded<T>(decide: impl FnOnce() -> T) -> Result<T, BrokerError> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|_| {
        tracing::error!("a decision panicked: the request is answered 500, nothing was changed");
        BrokerError::Fault
    })
}
