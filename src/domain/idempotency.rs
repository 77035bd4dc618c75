//! Calls under an idempotency key (spec 2.12): a call that is repeated under its key is answered as
//! it was the first time, and happens once. Only what is kept of such a call is here.

use super::ids::InstanceId;
use super::session::Pacing;

/// A key that a client chose, and whose it is: a hash of both. Nobody meets somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(u128);

impl IdempotencyKey {
    /// The key of this hash.
    pub const fn from_u128(hash: u128) -> IdempotencyKey {
        IdempotencyKey(hash)
    }

    /// The bare hash.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// What was asked under a key, as a hash: a repetition asks exactly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of this hash.
    pub const fn from_u128(hash: u128) -> Fingerprint {
        Fingerprint(hash)
    }

    /// The bare hash.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// A call as its key stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedCall {
    /// The key.
    pub key: IdempotencyKey,
    /// The instance that the call names. Whoever may not touch it does not meet the key either.
    pub instance: Option<InstanceId>,
    /// What was asked.
    pub fingerprint: Fingerprint,
}

/// The answer to the first call under a key, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The status of HTTP.
    pub status: u16,
    /// When the session's client should be heard of again, where that was said.
    pub pacing: Option<Pacing>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// What a record keeps of the key that its call came under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The call.
    pub call: KeyedCall,
    /// Its answer.
    pub answer: FirstAnswer,
}
