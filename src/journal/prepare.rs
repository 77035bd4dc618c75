//! Segments ahead of time: written with zeros and synced by a thread of its own, so that the
//! committer only ever overwrites blocks that exist (1.5 to 1.9 times the commits of a growing
//! file), and so that space is secured before anything is decided that needs it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use super::disk::{Disk, DiskFile};
use super::survey::{UNFINISHED_SUFFIX, segment_name};

/// Fewer segments than this ahead, and a failure to make another: charges are refused.
const ROOM_SEGMENTS_MIN: usize = 2;
const ZEROS_BYTES: usize = 256 * 1024;

/// A segment that holds zeros only, durably.
pub(super) struct Prepared {
    pub(super) index: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) length: u64,
}

/// The segments ahead, shared by the preparer and the committer.
pub(super) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
    /// An attempt has ended, or all of it has.
    ended: Notify,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    wanted: usize,
    retry: Duration,
}

struct State {
    ready: VecDeque<Prepared>,
    next: u64,
    /// Why the last attempt failed; `None` after a success.
    failed: Option<String>,
    /// Attempts that ended, either way.
    attempts: u64,
    /// The committer waits for a segment: do not wait for the next retry.
    urgent: bool,
    closing: bool,
}

/// Whether there is room for what is decided now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is: two segments are ready, or one while the next is in the making.
    Enough,
    /// None is ready, and the next is in the making: that is haste, not want of space.
    Late,
    /// Fewer than two are ready, and another could not be made: refuse what costs space
    /// (`storage-full`) before deciding it.
    Short,
}

impl State {
    fn room(&self) -> Room {
        match (self.ready.len(), &self.failed) {
            (ROOM_SEGMENTS_MIN.., _) | (1.., None) => Room::Enough,
            (_, None) => Room::Late,
            (_, Some(_)) => Room::Short,
        }
    }
}

impl Ahead {
    /// `ready` are at hand, `next` is the index after them.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        options: &super::Options,
        ready: VecDeque<Prepared>,
        next: u64,
    ) -> Ahead {
        let (failed, attempts, urgent, closing) = (None, 0, false, false);
        let state = State { ready, next, failed, attempts, urgent, closing };
        Ahead {
            state: Mutex::new(state),
            changed: Condvar::new(),
            ended: Notify::new(),
            disk,
            segment_bytes: options.segment_bytes,
            wanted: options.prepared_segments,
            retry: options.prepare_retry,
        }
    }

    pub(super) fn room(&self) -> Room {
        self.lock().room()
    }

    /// Where the preparer is late, its next attempt decides.
    pub(super) async fn secured(&self) -> bool {
        loop {
            let ended = self.ended.notified(); // From here on, not from when it is awaited.
            {
                let state = self.lock();
                if state.room() != Room::Late || state.closing {
                    return state.room() == Room::Enough;
                }
            }
            ended.await;
        }
    }

    /// The next segment. If none is ready, waits for one attempt of the preparer.
    pub(super) fn take(&self) -> Result<Prepared, String> {
        let mut state = self.lock();
        let before = state.attempts;
        loop {
            if let Some(prepared) = state.ready.pop_front() {
                self.changed.notify_all();
                return Ok(prepared);
            }
            if state.closing || state.attempts > before {
                let failed = state.failed.clone();
                return Err(failed.unwrap_or_else(|| "the preparer has ended".to_owned()));
            }
            if !state.urgent {
                warn!("no prepared segment is ready: the commit waits for one");
                state.urgent = true;
                self.changed.notify_all();
            }
            state = self.wait(state);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
        self.ended.notify_waiters();
    }

    /// The preparer's thread: until closed.
    pub(super) fn run(&self) {
        let _closed = CloseOnDrop(self); // Also if it panics: nobody must wait for it in vain.
        while let Some(index) = self.needed() {
            let made = prepare(self.disk.as_ref(), index, self.segment_bytes);
            let mut state = self.lock();
            state.attempts += 1;
            state.urgent = false;
            match made {
                Ok(prepared) => {
                    if state.failed.take().is_some() {
                        info!(file = segment_name(index), "there is room for segments again");
                    }
                    state.ready.push_back(prepared);
                    state.next = index + 1;
                }
                Err(error) => {
                    let cause = format!("`{}`: {error}", segment_name(index));
                    if state.failed.as_ref() != Some(&cause) {
                        warn!(cause, "a segment cannot be prepared: trying again");
                    }
                    state.failed = Some(cause);
                }
            }
            drop(state);
            self.changed.notify_all();
            self.ended.notify_waiters();
        }
    }

    /// The index of the segment to make next, when it is time to; `None` when closed.
    fn needed(&self) -> Option<u64> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if state.closing {
                return None;
            }
            let due = state.failed.is_none() || state.urgent || waited;
            if state.ready.len() < self.wanted && due {
                return Some(state.next);
            }
            if state.failed.is_none() {
                state = self.wait(state);
            } else {
                let (again, outcome) = self
                    .changed
                    .wait_timeout(state, self.retry)
                    .unwrap_or_else(PoisonError::into_inner);
                (state, waited) = (again, outcome.timed_out());
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CloseOnDrop<'a>(&'a Ahead);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Makes one segment of zeros. It has its name only once it is whole and durable; after a failure
/// nothing of it is left, and no sync that failed is repeated on the same file.
pub(super) fn prepare(disk: &dyn Disk, index: u64, length: u64) -> io::Result<Prepared> {
    let name = segment_name(index);
    let unfinished = format!("{name}{UNFINISHED_SUFFIX}");
    let made = write_zeros(disk, &unfinished, length).and_then(|file| {
        disk.rename(&unfinished, &name)?;
        disk.sync_dir()?;
        Ok(Prepared { index, file, length })
    });
    if made.is_err() {
        // Best effort: one of the two is not there, and a start removes what is left over.
        let _ = disk.remove(&unfinished);
        let _ = disk.remove(&name);
    }
    made
}

fn write_zeros(disk: &dyn Disk, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(name)?;
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < length {
        let count = (length - offset).min(ZEROS_BYTES as u64);
        let part = zeros.get(..super::layout::in_memory(count)).unwrap_or_default();
        file.write_at(part, offset)?;
        offset += count;
    }
    file.sync_data()?;
    Ok(file)
}
