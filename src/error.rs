//! What a call on the broker can fail with, and whether it may have changed something all the same.

use std::time::Duration;

use crate::domain::ids::Sequence;
use crate::domain::refusal::Refusal;
use crate::journal::JournalDown;

/// Why a call was not answered with a result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The request was understood and refused: nothing is broken. With the last record that the
    /// refusal rests on, durable by now; without one it rests on none.
    #[error("{0}")]
    Refused(Refusal, Option<Sequence>),
    /// Too many requests at once: come back in a second.
    #[error("overloaded: {limit} requests are in flight, the limit")]
    Overloaded {
        /// The limit that was met.
        limit: usize,
    },
    /// Too many calls on one session at once.
    #[error("{limit} calls on this session are under way, the limit: wait for their answers")]
    SessionBusy {
        /// The limit that was met.
        limit: u8,
    },
    /// Too many sessions are live.
    #[error("{limit} sessions of {whose} are live, the limit: close those that are not used")]
    SessionQuota {
        /// The limit that was met.
        limit: usize,
        /// Whose limit it is, in words.
        whose: &'static str,
    },
    /// Too many checkouts wait in line.
    #[error("{limit} checkouts wait in line, the limit: come back, or do not wait")]
    LineFull {
        /// The limit that was met: of the pool, the session or the instance.
        limit: usize,
    },
    /// Something else was asked under this idempotency key.
    #[error("the idempotency key was used for another request: use a key once, with one request")]
    KeyReused,
    /// The first call under this idempotency key has no answer yet.
    #[error("the first request under this idempotency key is not answered yet: ask again")]
    KeyInProgress,
    /// No further idempotency key can be kept.
    #[error(
        "{limit} idempotency keys are kept, the limit: the oldest is forgotten in {retry_after} s"
    )]
    KeyQuota {
        /// The limit that was met: that of all, or of one instance.
        limit: usize,
        /// In how many seconds there may be room.
        retry_after: u64,
    },
    /// The journal is being read back for others: usage rows, or a decision that is explained.
    #[error("{limit} such calls read the journal at once, the limit: come back")]
    JournalBusy {
        /// The limit that was met.
        limit: usize,
    },
    /// The instance was taken the whole time; nothing was decided.
    #[error("the instance was busy all the time: come back")]
    Busy,
    /// No file could be made for further charges. Mostly the disk is full, but not always.
    #[error(
        "no room could be secured for further charges, which are refused until it can: the disk is \
         full, or the system gives no file; the server's log has the cause"
    )]
    StorageFull,
    /// What was asked does not fit one record, and one request is one record.
    #[error("the request makes a record of {bytes} bytes, {limit} are the limit: split it")]
    RecordTooLong {
        /// What it would take.
        bytes: usize,
        /// What there is.
        limit: usize,
    },
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
    /// A fault of ours in one request; nothing was changed.
    #[error("the request met a fault of ours and changed nothing")]
    Fault,
    /// No answer in time, or its maker died.
    #[error(
        "no answer came within {waited:?}: the outcome is unknown: repeat it under its idempotency key, or look first"
    )]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
    },
    /// A call under a key was answered once, and that answer cannot be read back.
    #[error(
        "what this was answered before cannot be read back now: ask again under the same idempotency key"
    )]
    FirstAnswerUnread,
    /// The journal has stopped; the process is about to.
    #[error("{0}: the outcome is unknown until a restart has read the journal back")]
    JournalDown(#[from] JournalDown),
}

/// Whether a failed call may still have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not.
    None,
    /// It may have.
    Unknown,
}

impl Effect {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Effect::None => "none",
            Effect::Unknown => "unknown",
        }
    }
}

impl From<Refusal> for BrokerError {
    fn from(refusal: Refusal) -> BrokerError {
        BrokerError::Refused(refusal, None)
    }
}

impl BrokerError {
    /// The same, now that everything up to `sequence` is durable.
    pub(crate) fn resting_on(mut self, sequence: Sequence) -> BrokerError {
        if let BrokerError::Refused(_, record) = &mut self {
            *record = Some(sequence);
        }
        self
    }

    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            BrokerError::Refused(refusal, _) => refusal.code(),
            BrokerError::Overloaded { .. } => "overloaded",
            BrokerError::SessionBusy { .. } => "session-busy",
            BrokerError::SessionQuota { .. } => "session-quota",
            BrokerError::LineFull { .. } => "line-full",
            BrokerError::KeyReused => "key-reused",
            BrokerError::KeyInProgress => "in-progress",
            BrokerError::KeyQuota { .. } => "key-quota",
            BrokerError::JournalBusy { .. } => "journal-busy",
            BrokerError::Busy => "instance-busy",
            BrokerError::StorageFull => "storage-full",
            BrokerError::RecordTooLong { .. } => "record-too-long",
            BrokerError::Stopping => "stopping",
            BrokerError::Fault => "internal-error",
            BrokerError::NoAnswer { .. } | BrokerError::FirstAnswerUnread => "no-answer",
            BrokerError::JournalDown(_) => "outcome-unknown",
        }
    }

    /// Whether a failed call may still have changed something.
    pub const fn effect(&self) -> Effect {
        match self {
            BrokerError::Refused(..)
            | BrokerError::Overloaded { .. }
            | BrokerError::SessionBusy { .. }
            | BrokerError::SessionQuota { .. }
            | BrokerError::LineFull { .. }
            | BrokerError::KeyReused
            | BrokerError::KeyInProgress
            | BrokerError::KeyQuota { .. }
            | BrokerError::JournalBusy { .. }
            | BrokerError::Busy
            | BrokerError::StorageFull
            | BrokerError::RecordTooLong { .. }
            | BrokerError::Stopping
            | BrokerError::Fault => Effect::None,
            BrokerError::NoAnswer { .. }
            | BrokerError::FirstAnswerUnread
            | BrokerError::JournalDown(_) => Effect::Unknown,
        }
    }
}
