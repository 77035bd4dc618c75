//! What snapshots are to the rest of the program: the newest state of every owner, so that a start
//! need not replay everything. Owns the trait, its limits and errors, and the store in memory.
//!
//! A snapshot is a convenience, never a truth: at the least doubt it is thrown away and rebuilt
//! from the journal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::Mark;

/// The most entries that one call writes.
pub const ENTRIES_MAX: usize = 1_000;
/// The longest key.
pub const KEY_BYTES_MAX: usize = 1_100;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// An entry to write: the key, and the value or `None` to remove it.
pub type Entry = (Vec<u8>, Option<Vec<u8>>);

/// Where snapshots are kept.
///
/// A pass is: any number of [`Snapshots::write`], then [`Snapshots::finish`]. After a crash at any
/// step the watermark is the old or the new one, and every value is at least as new as it says.
pub trait Snapshots: Send + Sync {
    /// Shows `each` every entry, in no particular order; returns the watermark, or `None` when
    /// there is nothing.
    ///
    /// # Errors
    /// At any doubt whether this is what was written. `each` may have seen entries by then: forget
    /// them, call [`Snapshots::clear`], and replay the whole journal.
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError>;

    /// Puts and removes entries: all of this call or none. The last of several with one key wins.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Panics
    /// With more than [`ENTRIES_MAX`] entries, or a key or value above its limit.
    fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError>;

    /// Ends a pass: what was written is made durable, then the watermark.
    ///
    /// # Errors
    /// If the store fails; the old watermark may then still be in force.
    fn finish(&self, mark: Mark) -> Result<(), SnapshotError>;

    /// Forgets everything. Interrupted, it leaves what [`Snapshots::load`] refuses, or nothing.
    ///
    /// # Errors
    /// If the store fails.
    fn clear(&self) -> Result<(), SnapshotError>;
}

/// Why the snapshots are of no use. Nothing is lost: they are rebuilt from the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// What was read is not what was written.
    #[error("the snapshots are damaged: {reason}; they are rebuilt from the journal")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// Somebody else has the store open.
    #[error(
        "the snapshots at `{}` are in use by another broker: stop that one first", path.display()
    )]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store failed.
    #[error("the snapshots at `{}` cannot be read or written: {reason}", path.display())]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

impl SnapshotError {
    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            SnapshotError::Damaged { .. } => "snapshots-damaged",
            SnapshotError::InUse { .. } => "snapshots-in-use",
            SnapshotError::Store { .. } => "snapshots-store",
        }
    }
}

pub(super) fn damaged(reason: impl Into<String>) -> SnapshotError {
    SnapshotError::Damaged { reason: reason.into() }
}

/// Checks the limits, and keeps the last entry of every key.
pub(super) fn last_of_each(entries: &[Entry]) -> BTreeMap<&[u8], Option<&[u8]>> {
    assert!(entries.len() <= ENTRIES_MAX, "a call writes at most {ENTRIES_MAX} entries");
    for (key, value) in entries {
        assert!(key.len() <= KEY_BYTES_MAX, "a key is longer than the limit");
        let value_bytes = value.as_ref().map_or(0, Vec::len);
        assert!(value_bytes <= VALUE_BYTES_MAX, "a value is longer than the limit");
    }
    entries.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect()
}

/// Snapshots in memory: for tests and diskless embedding.
#[derive(Default)]
pub struct MemorySnapshots {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    watermark: Option<Mark>,
}

impl MemorySnapshots {
    /// Nothing kept yet.
    pub fn new() -> MemorySnapshots {
        MemorySnapshots::default()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshots for MemorySnapshots {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError> {
        let kept = self.lock();
        if kept.watermark.is_none() && !kept.entries.is_empty() {
            return Err(damaged("the first pass was interrupted"));
        }
        kept.entries.iter().for_each(|(key, value)| each(key, value));
        Ok(kept.watermark)
    }

    fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        let mut kept = self.lock();
        for (key, value) in last_of_each(entries) {
            match value {
                Some(value) => kept.entries.insert(key.to_vec(), value.to_vec()),
                None => kept.entries.remove(key),
            };
        }
        Ok(())
    }

    fn finish(&self, mark: Mark) -> Result<(), SnapshotError> {
        self.lock().watermark = Some(mark);
        Ok(())
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        *self.lock() = Kept::default();
        Ok(())
    }
}
