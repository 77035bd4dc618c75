//! Who calls, and what the caller may touch: bearer tokens in, principals out (spec 9).
//!
//! A token is believed in this order, and the first check that fails is the answer:
//!
//! 1. `token`: size, three parts, canonical base64url, strict types, no member twice;
//! 2. `keys`: the signature, by the registered key that `cnf.jwk.kid` names and by an algorithm of
//!    that key's family. Whatever else the header says about keys is not even read;
//! 3. `verifier`: role as registered, issuer, audience, times.
//!
//! `verifier` also remembers which tokens passed, `principal` decides what a caller may do, `sign`
//! makes tokens. HTTP is not known here: neither the `Authorization` header nor a status.

mod decoys;
mod keys;
mod principal;
mod sign;
mod token;
mod verifier;

pub use keys::{
    BadKey, Family, KEY_ID_CHARS_MAX, KeyPair, canonical_public_key, check_key_id,
    check_public_key, generate_key_pair,
};
pub(crate) use principal::UnderWay;
pub use principal::{Forbidden, Principal, Role, Scope};
pub use sign::{SignError, TokenRequest, sign};
pub use token::TOKEN_BYTES_MAX;
pub use verifier::{Former, LEEWAY_MS, Unauthorized, Verifier};

/// Whether a text has the form of a token, whoever signed it. For `crate::fuzzing`: nothing else
/// should want to know.
pub(crate) fn reads_as_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX && token::parse(text).is_ok()
}
