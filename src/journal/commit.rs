//! The group commit: one line of waiting records, one thread that writes and syncs them.
//!
//! Whatever queues up during one sync shares the next, and what the runtime has ready goes before
//! the first: no timer, no linger. Batch n + 1 is written
//! only after the sync of n returned. At the first failed write or sync everything stops: what the
//! disk holds is then unknown, so nothing more may be acknowledged until a restart has read it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};
use tokio::runtime::{self, Handle};
use tokio::sync::watch;
use tracing::error;

use super::disk::DiskFile;
use super::error::JournalDown;
use super::layout::{
    ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, Mark, PAGE_BYTES, RECORD_PREFIX_BYTES,
    SegmentHeader, record_prefix,
};
use super::prepare::{Ahead, Prepared};
use super::read::{Place, Places};
use super::survey::segment_name;
use super::{Limits, OnDurable};
use crate::domain::ids::Sequence;
use crate::metrics::{JOURNAL_APPENDED_BYTES_TOTAL, JOURNAL_BATCH_RECORDS, JOURNAL_SYNC_SECONDS};

/// Buffers kept for the next batches: one being written, one filling.
const SPARES_MAX: usize = 2;

/// The line of records and answers before the committer.
pub(super) struct Line {
    state: Mutex<State>,
    filled: Condvar,
    limits: Limits,
    failure: watch::Sender<Option<JournalDown>>,
    /// The runtime that it was opened in, which is driven as long as the journal is of use.
    home: Option<runtime::Id>,
}

struct State {
    filling: Filling,
    /// Batches that reached their limit, in order, before `filling`.
    full: VecDeque<Filling>,
    spares: Vec<Filling>,
    appended: Sequence,
    durable: Mark,
    /// The committer waits, and nobody has seen to its waking yet: whoever adds something does.
    sleeping: bool,
    closing: bool,
    down: Option<JournalDown>,
}

/// A batch in the making: room for its header, the records, and who waits for it, in order.
struct Filling {
    bytes: Vec<u8>,
    first: Sequence,
    waiters: Vec<(Sequence, Box<dyn OnDurable>)>,
}

impl Filling {
    fn new() -> Filling {
        let bytes = vec![0; BATCH_HEADER_BYTES];
        Filling { bytes, first: Sequence::new(0), waiters: Vec::new() }
    }

    fn has_records(&self) -> bool {
        self.bytes.len() > BATCH_HEADER_BYTES
    }

    fn is_empty(&self) -> bool {
        self.waiters.is_empty() && !self.has_records()
    }

    fn settle(&mut self, outcome: &Result<(), JournalDown>) {
        for (sequence, waiter) in self.waiters.drain(..) {
            waiter.settle(outcome.clone().map(|()| sequence));
        }
    }
}

impl Line {
    pub(super) fn new(limits: Limits, durable: Mark) -> Line {
        let state = State {
            filling: Filling::new(),
            full: VecDeque::new(),
            spares: Vec::new(),
            appended: durable.sequence,
            durable,
            sleeping: false,
            closing: false,
            down: None,
        };
        let (failure, _) = watch::channel(None);
        let home = Handle::try_current().ok().map(|runtime| runtime.id());
        Line { state: Mutex::new(state), filled: Condvar::new(), limits, failure, home }
    }

    pub(super) fn queue(self: &Arc<Line>) -> Result<Queue<'_>, JournalDown> {
        let state = self.lock();
        if let Some(down) = &state.down {
            return Err(down.clone());
        }
        if state.closing {
            return Err(JournalDown::new("it was closed"));
        }
        Ok(Queue { line: self, state: Some(state) })
    }

    pub(super) fn after_all(self: &Arc<Line>, waiter: Box<dyn OnDurable>) {
        self.wait(self.lock(), waiter);
    }

    /// Lets the line go, then settles the waiter or has it wait for all that was appended.
    fn wait(self: &Arc<Line>, mut state: MutexGuard<'_, State>, waiter: Box<dyn OnDurable>) {
        let (last, down) = (state.appended, state.down.clone());
        if let Some(down) = down {
            drop(state);
            return waiter.settle(Err(down));
        }
        if state.durable.sequence == last {
            drop(state);
            return waiter.settle(Ok(last));
        }
        state.filling.waiters.push((last, waiter));
        self.release(state);
    }

    pub(super) fn last(&self) -> Sequence {
        self.lock().appended
    }

    pub(super) fn durable(&self) -> Mark {
        self.lock().durable
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<JournalDown>> {
        self.failure.subscribe()
    }

    pub(super) fn down(&self) -> Option<JournalDown> {
        self.lock().down.clone()
    }

    /// Takes no more records; the committer finishes what is queued and ends.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    /// Unlocks, then has the committer woken if it sleeps: woken earlier it would only find the lock.
    fn release(self: &Arc<Line>, mut state: MutexGuard<'_, State>) {
        let is_asleep = std::mem::take(&mut state.sleeping);
        drop(state);
        if !is_asleep {
            return;
        }
        let wake = Wake(Arc::clone(self));
        match Handle::try_current() {
            // What the runtime has ready goes first: it shares the batch, and the sync.
            Ok(runtime) if Some(runtime.id()) == self.home => drop(runtime.spawn(async move {
                behind_what_is_ready().await;
                drop(wake);
            })),
            // Another runtime may stand still.
            Ok(_) | Err(_) => drop(wake),
        }
    }

    /// Gives back the buffer of the last batch and waits for the next; `None` when closed and
    /// nothing is left.
    fn next(&self, spare: Filling) -> Option<Filling> {
        let mut state = self.lock();
        if state.spares.len() < SPARES_MAX {
            state.spares.push(spare);
        }
        loop {
            if let Some(full) = state.full.pop_front() {
                return Some(full);
            }
            if !state.filling.is_empty() {
                let fresh = state.spares.pop().unwrap_or_else(Filling::new);
                return Some(std::mem::replace(&mut state.filling, fresh));
            }
            if state.closing {
                return None;
            }
            state.sleeping = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn advance(&self, durable: Mark) {
        let mut state = self.lock();
        assert!(durable.sequence > state.durable.sequence, "batches are committed in order");
        assert!(durable.sequence <= state.appended, "only what was appended is committed");
        state.durable = durable;
    }

    /// The end: `batch` and everything queued is told, and nothing is taken any more.
    fn fail(&self, down: JournalDown, mut batch: Option<Filling>) {
        error!(cause = down.cause(), "the journal stopped: nothing more is acknowledged");
        let mut state = self.lock();
        state.down = Some(down.clone());
        let mut queued = std::mem::take(&mut state.full);
        queued.push_back(std::mem::replace(&mut state.filling, Filling::new()));
        drop(state);

        self.failure.send_replace(Some(down.clone()));
        let outcome = Err(down);
        for batch in batch.iter_mut().chain(&mut queued) {
            batch.settle(&outcome);
        }
    }

    /// No step under this lock can panic half-way, but its holder may (see [`Queue`]): what was
    /// appended until then stays appended.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the committer when it falls, even with a runtime that ends.
struct Wake(Arc<Line>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.filled.notify_one();
    }
}

/// Done when the tasks have run that are in this worker's queue now. Unlike tokio's own yield it is
/// in that queue itself meanwhile, where any worker finds it.
async fn behind_what_is_ready() {
    let mut is_queued = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_queued, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The end of the line, held: while this guard lives nobody else appends, and the committer takes
/// no batch. Hold it only for appending and for publishing what was appended.
pub struct Queue<'a> {
    line: &'a Arc<Line>,
    /// `None` only while dropping.
    state: Option<MutexGuard<'a, State>>,
}

impl Queue<'_> {
    /// Appends a record and the answer that waits for it; returns the record's place at once.
    ///
    /// The bytes are copied. The waiter is settled on the committer's thread, in the order of
    /// appending, once the record is on the disk.
    ///
    /// # Panics
    /// If the payload is longer than [`super::Options::record_bytes_max`]: whoever encodes records
    /// bounds them long before.
    pub fn append(&mut self, payload: &[u8], waiter: Box<dyn OnDurable>) -> Sequence {
        let limits = self.line.limits;
        assert!(payload.len() <= limits.record_bytes_max, "a record is longer than the limit");
        let state = self.state.as_mut().expect("held until drop");
        let needed = RECORD_PREFIX_BYTES + payload.len();
        if state.filling.bytes.len() + needed > limits.batch_bytes_max {
            let fresh = state.spares.pop().unwrap_or_else(Filling::new);
            let full = std::mem::replace(&mut state.filling, fresh);
            state.full.push_back(full);
        }
        let sequence = state.appended.next();
        state.appended = sequence;
        let filling = &mut state.filling;
        if !filling.has_records() {
            filling.first = sequence;
        }
        filling.bytes.extend_from_slice(&record_prefix(payload));
        filling.bytes.extend_from_slice(payload);
        filling.waiters.push((sequence, waiter));
        sequence
    }

    /// Lets the line go; the answer waits as in [`super::Journal::after_all`]. What it rests on is
    /// what has been appended until now, and nothing that comes later.
    pub fn after_all(mut self, waiter: Box<dyn OnDurable>) {
        let state = self.state.take().expect("held until drop");
        self.line.wait(state, waiter);
    }

    /// The longest payload that [`Queue::append`] takes.
    pub fn record_bytes_max(&self) -> usize {
        self.line.limits.record_bytes_max
    }

    /// The last record appended.
    pub fn last(&self) -> Sequence {
        self.state.as_ref().expect("held until drop").appended
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take()
            && !(state.full.is_empty() && state.filling.is_empty())
        {
            self.line.release(state);
        }
    }
}

/// The segment being written.
pub(super) struct Current {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SegmentHeader,
    /// Where the next batch goes.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Current {
    /// Takes a prepared segment into use: its header is durable before any batch follows.
    pub(super) fn begin(
        prepared: Prepared,
        journal: u128,
        epoch: u64,
        mark: &Mark,
    ) -> std::io::Result<Current> {
        let Prepared { index, file, length } = prepared;
        let (first, hash) = (mark.sequence.next(), mark.hash);
        let header = SegmentHeader { journal, index, epoch, first, hash };
        file.write_at(&header.encode(), 0)?;
        file.sync_data()?;
        Ok(Current { file, header, offset: PAGE_BYTES as u64, length })
    }
}

/// The thread that writes.
pub(super) struct Committer {
    pub(super) line: Arc<Line>,
    pub(super) ahead: Arc<Ahead>,
    pub(super) places: Arc<Places>,
    pub(super) current: Current,
    /// The last durable batch.
    pub(super) mark: Mark,
    pub(super) meters: Meters,
}

/// What is counted of each batch, registered once.
pub(super) struct Meters {
    sync_seconds: Histogram,
    appended_bytes: Counter,
    batch_records: Histogram,
}

impl Meters {
    /// Registers with the recorder that is installed by now.
    pub(super) fn register() -> Meters {
        Meters {
            sync_seconds: histogram!(JOURNAL_SYNC_SECONDS),
            appended_bytes: counter!(JOURNAL_APPENDED_BYTES_TOTAL),
            batch_records: histogram!(JOURNAL_BATCH_RECORDS),
        }
    }
}

impl Committer {
    /// Until closed or failed. Answers the segment being written, to be trimmed.
    pub(super) fn run(mut self) -> Current {
        let line = Arc::clone(&self.line);
        // A waiter that panics is a bug of its owner; without this it would leave the others
        // waiting for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.commit_all()));
        if outcome.is_err() {
            line.fail(JournalDown::new("the committer panicked"), None);
        }
        self.ahead.close();
        self.current
    }

    #[inline(never)] // Has a name of its own where time is measured.
    fn commit_all(&mut self) {
        let mut spare = Filling::new();
        while let Some(mut batch) = self.line.next(spare) {
            if batch.has_records()
                && let Err(down) = self.commit(&mut batch)
            {
                return self.line.fail(down, Some(batch));
            }
            batch.settle(&Ok(()));
            batch.bytes.truncate(BATCH_HEADER_BYTES);
            spare = batch;
        }
    }

    /// One write and one sync. After `Err` neither is ever called again.
    fn commit(&mut self, batch: &mut Filling) -> Result<(), JournalDown> {
        let bytes = batch.bytes.len().next_multiple_of(ALIGNMENT) as u64;
        if self.current.offset + bytes > self.current.length {
            self.next_segment()?;
        }
        let (file, offset) = (&self.current.file, self.current.offset);
        let (first, header) = (batch.first, &self.current.header);
        let last = last_of(batch);
        assert!(first == self.mark.sequence.next(), "batches follow each other without a gap");
        let (durable, previous) = (self.mark.sequence, self.mark.hash);
        let batch_header = BatchHeader { epoch: header.epoch, first, last, durable, previous };
        let hash = batch_header.complete(header.seal(), &mut batch.bytes);

        let stopped = |doing: &str, error: std::io::Error| {
            let name = segment_name(header.index);
            JournalDown::new(format!("{doing} `{name}` at byte {offset}: {error}"))
        };
        file.write_at(&batch.bytes, offset).map_err(|error| stopped("writing", error))?;
        let started = now();
        file.sync_data().map_err(|error| stopped("syncing", error))?;
        self.meters.sync_seconds.record(started.elapsed());
        self.meters.appended_bytes.increment(bytes);
        let records = u32::try_from(last.get() - durable.get()).unwrap_or(u32::MAX);
        self.meters.batch_records.record(records);

        self.mark = Mark { sequence: last, epoch: header.epoch, hash };
        let place = Place { first, segment: header.index, offset, seal: header.seal() };
        self.places.note(place);
        self.current.offset += bytes;
        self.line.advance(self.mark);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), JournalDown> {
        let prepared = self
            .ahead
            .take()
            .map_err(|cause| JournalDown::new(format!("preparing a segment: {cause}")))?;
        let name = segment_name(prepared.index);
        let SegmentHeader { journal, epoch, .. } = self.current.header;
        self.current = Current::begin(prepared, journal, epoch, &self.mark)
            .map_err(|error| JournalDown::new(format!("beginning `{name}`: {error}")))?;
        Ok(())
    }
}

/// The last record of a batch that holds some: its waiters name it, since each record has one.
fn last_of(batch: &Filling) -> Sequence {
    batch.waiters.last().map_or(batch.first, |(sequence, _)| *sequence)
}

/// For metrics only: nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "metric; this thread has no tokio clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
