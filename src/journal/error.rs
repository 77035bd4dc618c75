//! What can go wrong with the journal, each with a stable code, the place and what to do.

use std::io;
use std::sync::Arc;

use crate::domain::ids::Sequence;

/// The journal takes no more records: a write failed, or it was closed. Nothing is retried; what
/// was not yet answered may or may not be on the disk, and a restart reads what is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal takes no more records: {cause}; restart to read back what is on the disk")]
pub struct JournalDown {
    cause: Arc<str>,
}

impl JournalDown {
    pub(super) fn new(cause: impl Into<Arc<str>>) -> JournalDown {
        JournalDown { cause: cause.into() }
    }

    /// What happened, with file and offset.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        "journal-down"
    }
}

/// Why a journal was not opened. Nothing was appended, and unless it says so nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Bytes that were durable are not what they were, or are gone.
    #[error(
        "`{file}` is damaged at byte {offset}: {reason}; restore this file from a copy: farebox \
         refuses to guess"
    )]
    Damaged {
        /// The file that holds the bad place.
        file: String,
        /// The first byte that cannot be vouched for.
        offset: u64,
        /// What was found and what was expected.
        reason: String,
    },
    /// A segment that must exist does not.
    #[error(
        "`{file}` is missing: {reason}; restore this file from a copy: farebox refuses to guess"
    )]
    MissingSegment {
        /// The file that should be there.
        file: String,
        /// How that is known.
        reason: String,
    },
    /// Written by another farebox. Nothing was touched.
    #[error(
        "`{file}` has format version {version}, this farebox reads {known}: start the farebox that \
         wrote it"
    )]
    OtherFormat {
        /// The file that says so.
        file: String,
        /// The version found.
        version: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// A file of another journal lies in this directory.
    #[error(
        "`{file}` belongs to journal {found:032x}, this is journal {expected:032x}: put back this \
         journal's own file"
    )]
    OtherJournal {
        /// The foreign file.
        file: String,
        /// The journal it names.
        found: u128,
        /// The journal of the rest.
        expected: u128,
    },
    /// There is no space to prepare a segment.
    #[error("no room for `{file}`, {bytes} bytes: free that much on the journal's disk ({source})")]
    NoRoom {
        /// The segment that could not be prepared.
        file: String,
        /// What it needs.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a call.
    #[error("`{file}` cannot be read or written: {source}")]
    Io {
        /// The file, or `.` for the directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A record was read back intact, but its owner could not take it.
    #[error("record {sequence} cannot be replayed: {reason}")]
    Replay {
        /// The record.
        sequence: Sequence,
        /// What its owner said.
        reason: String,
    },
}

impl OpenError {
    /// The stable name callers branch on. Never renamed; the wording above may improve.
    pub const fn code(&self) -> &'static str {
        match self {
            OpenError::Damaged { .. } => "journal-damaged",
            OpenError::MissingSegment { .. } => "journal-segment-missing",
            OpenError::OtherFormat { .. } => "journal-format-other",
            OpenError::OtherJournal { .. } => "journal-mixed",
            OpenError::NoRoom { .. } => "journal-no-room",
            OpenError::Io { .. } => "journal-io",
            OpenError::Replay { .. } => "journal-replay",
        }
    }

    /// Whether the journal is not what it should be; else it could not be looked at.
    pub fn is_wrong(&self) -> bool {
        !matches!(self.code(), "journal-io" | "journal-format-other")
    }

    pub(super) fn damaged(file: &str, offset: u64, reason: impl Into<String>) -> OpenError {
        OpenError::Damaged { file: file.to_owned(), offset, reason: reason.into() }
    }

    /// For `map_err`: the system refused something about `file`.
    pub(super) fn io(file: &str) -> impl FnOnce(io::Error) -> OpenError + '_ {
        |source| OpenError::Io { file: file.to_owned(), source }
    }
}

/// Why records could not be read back from a running journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Bytes that were durable are not what they were.
    #[error("`{file}` is damaged at byte {offset}: {reason}; stop and restore it from a copy")]
    Damaged {
        /// The file that holds the bad place.
        file: String,
        /// Where its batch begins.
        offset: u64,
        /// What was found.
        reason: String,
    },
    /// The system refused a call.
    #[error("`{file}` cannot be read: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ReadError {
    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            ReadError::Damaged { .. } => "journal-damaged",
            ReadError::Io { .. } => "journal-io",
        }
    }
}
