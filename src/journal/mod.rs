//! The journal: facts to disk and back, in one order.
//!
//! **The promise.** An answer is released only when its record, and every record before it, has
//! been written and synced; it then survives a power cut at any later instant. Records have one
//! order, the order of [`Queue::append`], without gaps, and what is read back is always a prefix
//! of it: all that was acknowledged and perhaps some that was not. After one failed write or sync
//! nothing more is acknowledged, nothing is retried, and a restart reads what is there. Bytes that
//! were durable and have changed since are never passed over: the journal refuses to open and
//! names the place. (One limit: damage inside the very last batch of an unclean stop cannot be
//! told from a write that never finished, and is cut and reported as one.)
//!
//! A record is opaque bytes here: what it means is its encoder's business. docs/journal-format.md
//! draws the bytes.

mod ahead;
pub mod code;
mod commit;
mod disk;
mod error;
mod file;
pub mod format;
pub(crate) mod fuzz;
mod layout;
mod memory;
mod prepare;
mod read;
mod recover;
mod replay;
mod snapshots;
mod store;
mod survey;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::watch;

pub use self::commit::Queue;
pub use self::disk::{Disk, DiskFile};
pub use self::error::{JournalDown, OpenError, ReadError};
pub use self::file::Directory;
pub use self::layout::{Hash, Mark, RECORD_BYTES_MAX};
pub use self::memory::MemoryDisk;
pub use self::prepare::Room;
pub use self::replay::{FilePlace, TornTail, WalkReport, walk};
pub use self::snapshots::{SledSnapshots, Step};
pub use self::store::{
    ENTRIES_MAX, Entry, KEY_BYTES_MAX, MemorySnapshots, SnapshotError, Snapshots, VALUE_BYTES_MAX,
};
pub use self::survey::{SEGMENT_SUFFIX, check_version, records_about};

use self::commit::{Committer, Current, Line, Meters};
use self::layout::{ALIGNMENT, BATCH_HEADER_BYTES, PAGE_BYTES, RECORD_PREFIX_BYTES};
use self::prepare::Ahead;
use self::read::Places;
use crate::domain::ids::Sequence;
use crate::metrics::{JOURNAL_REPLAY_SECONDS, JOURNAL_REPLAYED_RECORDS_TOTAL};

/// How a journal is kept. Nothing here changes what is promised.
#[derive(Clone, Debug)]
pub struct Options {
    /// The id that a new journal gets: random, and not shown to clients, since it keeps their
    /// records from passing for the journal's own bytes. An existing journal keeps its own.
    pub journal: u128,
    /// The length of a segment: 16 MiB unless said, at least 8 KiB, at most 1 GiB. May change
    /// between starts. Whoever reads a journal has one in memory; beside it others are loaded and
    /// checked, until they have 64 MiB together.
    pub segment_bytes: u64,
    /// The longest batch: 5 MiB unless said. Longer queues are written as several.
    pub batch_bytes_max: usize,
    /// Segments kept ready ahead of the one being written: 2 unless said, at least 1.
    pub prepared_segments: usize,
    /// How long to wait before trying again to prepare a segment: 1 s unless said.
    pub prepare_retry: Duration,
    /// How much a start reads: everything unless said.
    pub extent: Extent,
}

/// How much of the journal a start reads and checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every byte, from the first segment on.
    Everything,
    /// From the segment on that holds the snapshots' watermark; of the segments before, only
    /// that they are all there and belong together. For journals too long to read at every start.
    AboveWatermark,
}

const SEGMENT_BYTES: u64 = 16 << 20;
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const BATCH_BYTES_MAX: usize = 5 << 20;

const _: () = assert!(
    RECORD_BYTES_MAX + RECORD_PREFIX_BYTES + BATCH_HEADER_BYTES <= BATCH_BYTES_MAX,
    "with the default options the longest record fits a batch"
);
const _: () = assert!((BATCH_BYTES_MAX + PAGE_BYTES) as u64 <= SEGMENT_BYTES);

impl Options {
    /// The defaults; `journal` is the id that a new journal gets.
    pub const fn new(journal: u128) -> Options {
        Options {
            journal,
            segment_bytes: SEGMENT_BYTES,
            batch_bytes_max: BATCH_BYTES_MAX,
            prepared_segments: 2,
            prepare_retry: Duration::from_secs(1),
            extent: Extent::Everything,
        }
    }

    /// The longest record that fits with these options, at most [`RECORD_BYTES_MAX`]: a batch
    /// never straddles two segments.
    pub fn record_bytes_max(&self) -> usize {
        let room = self.batch_bytes().saturating_sub(BATCH_HEADER_BYTES + RECORD_PREFIX_BYTES);
        room.min(RECORD_BYTES_MAX)
    }

    fn batch_bytes(&self) -> usize {
        let segment = layout::in_memory(self.segment_bytes).saturating_sub(PAGE_BYTES);
        let bytes = self.batch_bytes_max.min(segment);
        bytes - bytes % ALIGNMENT
    }

    fn check(&self) {
        let segment_bytes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        assert!(segment_bytes.contains(&self.segment_bytes), "8 KiB <= segment_bytes <= 1 GiB");
        assert!(self.record_bytes_max() > 0, "batch_bytes_max holds a record");
        assert!(self.prepared_segments > 0, "prepared_segments is at least 1");
    }
}

/// The limits that follow from [`Options`].
#[derive(Clone, Copy)]
struct Limits {
    batch_bytes_max: usize,
    record_bytes_max: usize,
}

/// What is known elsewhere about how far the journal goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The snapshots' watermark: everything up to it is in the snapshots.
    pub watermark: Option<Mark>,
}

/// Takes the records that are read back. A closure over sequence and payload is one.
pub trait Replay {
    /// Called once, before any record: the first record will be the one after this. It is the
    /// watermark's place, or 0 if there was none or the journal does not know it: then whatever
    /// was loaded from snapshots must be forgotten here.
    fn begin(&mut self, after: Sequence) {
        let _ = after;
    }

    /// One record, in order. An error ends the start.
    fn record(&mut self, sequence: Sequence, payload: &[u8]) -> Result<(), String>;
}

impl<F: FnMut(Sequence, &[u8]) -> Result<(), String>> Replay for F {
    fn record(&mut self, sequence: Sequence, payload: &[u8]) -> Result<(), String> {
        self(sequence, payload)
    }
}

/// An answer that waits until what it rests on is durable.
pub trait OnDurable: Send {
    /// Called exactly once, on the committer's thread unless nothing had to be waited for; must
    /// neither block nor panic. `Ok` carries the record's place, or the last one the answer rests
    /// on; after `Err` it is unknown whether the record will be there after a restart.
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>);
}

/// A journal that was opened, and what was found.
pub struct Recovered {
    /// The journal, taking records.
    pub journal: Journal,
    /// The last record that was there.
    pub last: Sequence,
    /// The number of this start, from 1. (epoch, sequence) is never used twice.
    pub epoch: u64,
    /// The write that had not finished when the process stopped, if there was one: it was never
    /// acknowledged and has been cut.
    pub cut: Option<TornTail>,
    /// False if the journal does not know the snapshots' watermark: throw the snapshots away. The
    /// replay then began with the first record.
    pub known_mark_matches: bool,
    /// How many records were replayed.
    pub replayed: u64,
}

/// The handle. Clones share one journal. If all are dropped without [`Journal::close`], what is
/// queued is still written, but the next start treats it as a crash.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    line: Arc<Line>,
    ahead: Arc<Ahead>,
    places: Arc<Places>,
    epoch: u64,
    running: Mutex<Running>,
}

enum Running {
    Threads { committer: JoinHandle<Current>, preparer: JoinHandle<()> },
    Closed(Result<Mark, JournalDown>),
}

impl Journal {
    /// Reads everything back, replays the records above the watermark, cuts a torn tail, and
    /// begins a new segment in a new epoch. Returns once that is durable.
    ///
    /// # Errors
    /// See [`OpenError`]. A damaged or incomplete journal, or one of another format, is not touched.
    ///
    /// # Panics
    /// If the options are out of their documented ranges: whoever parses settings checks them.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        known: Known,
        replay: &mut dyn Replay,
    ) -> Result<Recovered, OpenError> {
        options.check();
        let started = commit::now();
        let ready = recover::recover(disk.as_ref(), &options, known, replay)?;
        counter!(JOURNAL_REPLAYED_RECORDS_TOTAL).increment(ready.replayed);
        histogram!(JOURNAL_REPLAY_SECONDS).record(started.elapsed());

        let (batch_bytes_max, record_bytes_max) =
            (options.batch_bytes(), options.record_bytes_max());
        let line = Arc::new(Line::new(Limits { batch_bytes_max, record_bytes_max }, ready.mark));
        let next = ready.current.header.index + ready.ahead.len() as u64 + 1;
        let ahead = Arc::new(Ahead::new(Arc::clone(&disk), &options, ready.ahead, next));
        let places = Arc::new(ready.places);
        let committer = Committer {
            line: Arc::clone(&line),
            ahead: Arc::clone(&ahead),
            places: Arc::clone(&places),
            current: ready.current,
            mark: ready.mark,
            meters: Meters::register(),
        };
        let preparing = Arc::clone(&ahead);
        let preparer = spawn("journal-prepare", move || preparing.run())?;
        let committer = spawn("journal-commit", move || committer.run()).inspect_err(|_| {
            ahead.close();
        })?;
        let running = Mutex::new(Running::Threads { committer, preparer });
        let inner = Inner { disk, line, ahead, places, epoch: ready.epoch, running };
        Ok(Recovered {
            journal: Journal { inner: Arc::new(inner) },
            last: ready.mark.sequence,
            epoch: ready.epoch,
            cut: ready.cut,
            known_mark_matches: ready.known_mark_matches,
            replayed: ready.replayed,
        })
    }

    /// The only point of order: while the guard lives nobody else appends. In the runtime that
    /// opened the journal a task wakes the committer: nobody may block a thread of it until
    /// something is durable.
    ///
    /// # Errors
    /// After a failed write, and after [`Journal::close`].
    pub fn queue(&self) -> Result<Queue<'_>, JournalDown> {
        self.inner.line.queue()
    }

    /// An answer that rests on everything appended so far and has no record of its own. Settled
    /// at once, on this thread, if all of that is durable.
    pub fn after_all(&self, waiter: Box<dyn OnDurable>) {
        self.inner.line.after_all(waiter);
    }

    /// The last record appended.
    pub fn last(&self) -> Sequence {
        self.inner.line.last()
    }

    /// The last record that is on the disk.
    pub fn durable(&self) -> Sequence {
        self.inner.line.durable().sequence
    }

    /// The end of the last durable batch: what a snapshot's watermark is made of.
    pub fn durable_mark(&self) -> Mark {
        self.inner.line.durable()
    }

    /// The number of this start.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Whether there is room for what is decided now.
    pub fn room(&self) -> Room {
        self.inner.ahead.room()
    }

    /// Whether there is enough, once it is known: where the next segment is late, this waits.
    pub async fn secured_room(&self) -> bool {
        self.inner.ahead.secured().await
    }

    /// Turns `Some` once, when a write or sync has failed.
    pub fn failure(&self) -> watch::Receiver<Option<JournalDown>> {
        self.inner.line.failure()
    }

    /// Shows `each` the durable records from `from` up to what is durable at the call, in order.
    /// Reads the disk on this thread; appending goes on meanwhile.
    ///
    /// # Errors
    /// See [`ReadError`]; `each` may have seen some records by then.
    pub fn read(
        &self,
        from: Sequence,
        each: &mut dyn FnMut(Sequence, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let Inner { disk, places, .. } = self.inner.as_ref();
        read::read(disk.as_ref(), places, from, self.durable(), each)
    }

    /// Commits what is queued, ends the threads, and leaves the mark of a clean stop. Again:
    /// answers the same.
    ///
    /// # Errors
    /// If the journal had failed, or the mark could not be written.
    ///
    /// # Panics
    /// On the committer's own thread, that is from [`OnDurable::settle`].
    pub fn close(&self) -> Result<Mark, JournalDown> {
        let inner = self.inner.as_ref();
        inner.line.close();
        let mut running = inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        let closing = Running::Closed(Err(JournalDown::new("closing was interrupted")));
        let outcome = match std::mem::replace(&mut *running, closing) {
            Running::Closed(outcome) => outcome,
            Running::Threads { committer, preparer } => {
                let current = committer.join();
                let preparer = preparer.join();
                match (current, preparer) {
                    (Ok(current), Ok(())) => inner.finish(&current),
                    (Err(_), _) | (_, Err(_)) => Err(JournalDown::new("a thread panicked")),
                }
            }
        };
        *running = Running::Closed(outcome.clone());
        outcome
    }
}

impl Inner {
    fn finish(&self, current: &Current) -> Result<Mark, JournalDown> {
        if let Some(down) = self.line.down() {
            return Err(down);
        }
        let mark = self.line.durable();
        assert!(mark.sequence == self.line.last(), "everything queued was committed");
        recover::finish(&self.disk, current, mark)
            .map_err(|error| JournalDown::new(format!("marking the clean stop: {error}")))?;
        Ok(mark)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.line.close();
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        let closed = Running::Closed(Err(JournalDown::new("it was dropped")));
        let Running::Threads { committer, preparer } = std::mem::replace(running, closed) else {
            return;
        };
        // The last handle may have been inside a waiter: a thread cannot wait for itself.
        if committer.thread().id() != std::thread::current().id() {
            let _ = committer.join(); // A panic has been reported by the committer.
            let _ = preparer.join();
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, OpenError> {
    Builder::new().name(name.to_owned()).spawn(run).map_err(OpenError::io("."))
}
