//! Public keys that callers' tokens are verified against: who registered what, without cryptography.

use super::ids::Text;
use super::time::Timestamp;

/// What a key's tokens may do: the role of a caller is the class of the registered key (spec 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyClass {
    /// Signs tokens of the producer's own people and programs: every operation.
    Administration,
    /// Signs tokens of client software: only the instances its tokens name.
    Client,
}

impl KeyClass {
    /// The name in answers (spec 2.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyClass::Administration => "administration-key",
            KeyClass::Client => "client-key",
        }
    }
}

/// A registered public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredKey {
    /// The name that tokens call it by in `cnf.jwk.kid`.
    pub id: Text,
    /// What its tokens may do.
    pub class: KeyClass,
    /// The key itself: SPKI in PEM.
    pub pem: String,
    /// When it was first registered.
    pub created: Timestamp,
}
