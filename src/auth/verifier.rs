//! Decides whether a token is believed, and remembers which were. Owns the registered keys in the
//! form that checks signatures; where keys are kept and who may change them is not known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::decoys::Decoys;
use super::keys::{BadKey, VerifyingKey, check_key_id};
use super::principal::{Principal, Role};
use super::token::{self, Claims, Parsed, TOKEN_BYTES_MAX};
use crate::domain::ids::InstanceId;
use crate::domain::keys::{KeyClass, RegisteredKey};
use crate::env::Clock;
use crate::metrics::AUTH_ROLE_FORGERIES_TOTAL;

/// How far the signer's clock may be ahead of ours: for `nbf` and `iat` (spec 9).
pub const LEEWAY_MS: u64 = 5_000;

/// So many tokens are expected to be in use at a time.
const REMEMBERED_TOKENS: usize = 65_536;

/// A kilobyte for each; a client that signs many long tokens pushes out others, not the process.
const REMEMBERED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The same words for a key that is not there: ids of keys cannot be guessed from answers.
const BAD_SIGNATURE: &str = "no registered key of the kind in `cnf.jwk.kty`, of the name in \
    `cnf.jwk.kid` and of the family of `alg` signed it";

const FORGED_ROLE: &str = "its `cnf.jwk.kty` is not what its key is registered as";

/// Believes tokens, or says why not.
pub struct Verifier {
    issuer: Option<String>,
    clock: Arc<dyn Clock>,
    decoys: Decoys,
    known: ArcSwap<Known>,
}

/// Keys, and what was verified with exactly these keys: replaced together, so that a check that
/// began under old keys cannot be remembered under new ones.
struct Known {
    administration: HashMap<Arc<str>, Arc<Holder>>,
    client: HashMap<Arc<str>, Arc<Holder>>,
    tokens: Cache<Box<str>, Verified, Bytes>,
}

/// A key, and what it was read from.
struct Holder {
    pem: String,
    key: VerifyingKey,
    /// See [`Principal::begin_call`]: the same for every token that the key signs.
    under_way: Arc<AtomicUsize>,
}

/// A registered key that a token may have been signed with.
struct Signer<'a> {
    key_id: &'a Arc<str>,
    role: Role,
    holder: &'a Holder,
}

/// What a verifier had before its keys were replaced: up to 64 MiB of remembered tokens, which take
/// some milliseconds to drop. To be dropped where nobody waits; no call finds anything in it.
pub struct Former {
    _known: Arc<Known>,
}

impl fmt::Debug for Former {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Former").finish_non_exhaustive()
    }
}

/// A token that passed.
#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    /// `exp`.
    ends_ms: u64,
}

/// Weighs what a remembered token takes of the memory, roughly.
#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Verified> for Bytes {
    fn weight(&self, token: &Box<str>, verified: &Verified) -> u64 {
        let instances = verified.principal.instances_len() * size_of::<InstanceId>();
        (token.len() + instances + 160) as u64
    }
}

impl Verifier {
    /// Knows no key yet. Tokens must be of `issuer`, byte for byte, where one is given.
    pub fn new(issuer: Option<String>, clock: Arc<dyn Clock>) -> Verifier {
        metrics::counter!(AUTH_ROLE_FORGERIES_TOTAL).increment(0); // There to be watched from now on.
        let known = ArcSwap::from_pointee(Known::new(REMEMBERED_BYTES_MAX));
        Verifier { issuer, clock, decoys: Decoys::new(), known }
    }

    /// Replaces the key set and forgets every verified token. A call of [`Verifier::verify`] that
    /// begins after this one has returned knows only the new keys. With an error nothing changes.
    /// What is forgotten is handed back.
    ///
    /// The ids of administration and of client keys are apart: the same id may be in both.
    pub fn set_keys<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a RegisteredKey>,
    ) -> Result<Former, BadKey> {
        let former = self.known.load();
        let mut known = Known::new(REMEMBERED_BYTES_MAX);
        for key in keys {
            let id: &str = key.id.as_str();
            known.add(key.class, id, &key.pem, &former).map_err(|cause| BadKey::InSet {
                class: key.class.as_str(),
                id: id.to_owned(),
                cause: Box::new(cause),
            })?;
        }
        Ok(Former { _known: self.known.swap(Arc::new(known)) })
    }

    /// Who sent this token: the text after `Bearer `.
    ///
    /// A token seen before costs one look-up until its `exp`. Any other is taken apart, its
    /// signature checked, and only then its claims.
    pub fn verify(&self, bearer: &str) -> Result<Arc<Principal>, Unauthorized> {
        if bearer.is_empty() {
            return Err(Unauthorized::Missing);
        }
        if bearer.len() > TOKEN_BYTES_MAX {
            return Err(invalid("it must not pass 8 KiB"));
        }
        let now_ms = self.clock.system().as_ms();
        let known = self.known.load();
        if let Some(verified) = known.tokens.get(bearer) {
            if now_ms < verified.ends_ms {
                return Ok(verified.principal);
            }
            known.tokens.remove(bearer);
            return Err(Unauthorized::Expired);
        }
        let verified = self.judge(&known, bearer, now_ms)?;
        known.tokens.insert(Box::from(bearer), verified.clone());
        Ok(verified.principal)
    }

    fn judge(&self, known: &Known, bearer: &str, now_ms: u64) -> Result<Verified, Unauthorized> {
        let token = token::parse(bearer).map_err(invalid)?;
        let Signer { key_id, role, holder } =
            self.signer(known, &token).ok_or(invalid(BAD_SIGNATURE))?;
        let claims = &token.claims;
        if claims.claimed_role() != role {
            metrics::counter!(AUTH_ROLE_FORGERIES_TOTAL).increment(1);
            let (registered, claimed) = (role.kty(), claims.claimed_role().kty());
            tracing::warn!(key = %key_id, registered, claimed, "refused: a token of a forged role");
            return Err(Unauthorized::Invalid { reason: FORGED_ROLE, forged_role: true });
        }
        self.check_issuer(claims)?;
        let instances = audience(claims, role)?;
        let ends_ms = check_times(claims, now_ms)?;
        let principal =
            Principal::verified(Arc::clone(key_id), role, instances, Arc::clone(&holder.under_way));
        let principal = Arc::new(principal);
        Ok(Verified { principal, ends_ms })
    }

    /// The registered key that signed the token: one of the class that it claims, or a client's that
    /// claims administration.
    fn signer<'a>(&self, known: &'a Known, token: &Parsed<'_>) -> Option<Signer<'a>> {
        let claimed = token.claims.claimed_role();
        self.signer_among(known, claimed, token).or_else(|| match claimed {
            Role::Administration => self.signer_among(known, Role::Client, token),
            Role::Client => None, // An administration key has no reason to claim less.
        })
    }

    /// The key of this class that signed it. Takes as long where there is no such key, or one of
    /// another family, as where the signature is wrong (C16).
    fn signer_among<'a>(
        &self,
        known: &'a Known,
        role: Role,
        token: &Parsed<'_>,
    ) -> Option<Signer<'a>> {
        let named = known
            .find(role, token.claims.key_id())
            .filter(|signer| signer.holder.key.family == token.algorithm.family)
            .filter(|signer| signer.holder.key.may_have_made(&token.signature_bytes));
        let Some(signer) = named else {
            self.decoys.check(token);
            return None;
        };
        let key = &signer.holder.key;
        key.verify(token.algorithm, token.message, token.signature).then_some(signer)
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), Unauthorized> {
        if claims.iss.is_empty() {
            return Err(invalid("its `iss` must not be empty"));
        }
        match &self.issuer {
            Some(issuer) if *issuer != claims.iss => {
                Err(invalid("its `iss` is not the issuer that this server accepts"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Known {
    fn new(bytes_max: u64) -> Known {
        Known {
            administration: HashMap::new(),
            client: HashMap::new(),
            tokens: Cache::with_weighter(REMEMBERED_TOKENS, bytes_max, Bytes),
        }
    }

    /// A key that was known before as it is now is not read again.
    fn add(&mut self, class: KeyClass, id: &str, pem: &str, former: &Known) -> Result<(), BadKey> {
        check_key_id(id)?;
        let same = former.of(class.into()).get(id).filter(|holder| holder.pem == pem);
        let holder = match same {
            Some(holder) => Arc::clone(holder),
            None => Arc::new(Holder {
                pem: pem.to_owned(),
                key: VerifyingKey::from_pem(pem)?,
                under_way: Arc::default(),
            }),
        };
        let keys = match class {
            KeyClass::Administration => &mut self.administration,
            KeyClass::Client => &mut self.client,
        };
        match keys.insert(Arc::from(id), holder) {
            None => Ok(()),
            Some(_) => Err(BadKey::Repeated),
        }
    }

    fn of(&self, role: Role) -> &HashMap<Arc<str>, Arc<Holder>> {
        match role {
            Role::Administration => &self.administration,
            Role::Client => &self.client,
        }
    }

    fn find(&self, role: Role, id: &str) -> Option<Signer<'_>> {
        let found = self.of(role).get_key_value(id);
        found.map(|(key_id, holder)| Signer { key_id, role, holder })
    }
}

/// The instances that a token names. Another spelling of an id names nothing (spec 2.2).
fn audience(claims: &Claims, role: Role) -> Result<Vec<InstanceId>, Unauthorized> {
    match (role, claims.aud.as_deref()) {
        (Role::Administration, _) => Ok(Vec::new()),
        (Role::Client, Some(names)) if !names.is_empty() => {
            Ok(names.iter().filter_map(|name| InstanceId::parse(name)).collect())
        }
        (Role::Client, Some(_) | None) => {
            Err(invalid("its `aud` must list at least one instance, its key being a client's"))
        }
    }
}

/// Until when the token holds: its `exp` to the millisecond. What the clocks may differ by is
/// granted where a token begins; where it ends, late is late.
fn check_times(claims: &Claims, now_ms: u64) -> Result<u64, Unauthorized> {
    let ends_ms = claims.exp.as_ms();
    if ends_ms <= now_ms {
        return Err(Unauthorized::Expired);
    }
    let latest_ms = now_ms.saturating_add(LEEWAY_MS);
    if claims.iat.as_ms() > latest_ms {
        return Err(invalid("its `iat` is yet to come: compare the clocks"));
    }
    if claims.nbf.as_ref().is_some_and(|nbf| nbf.as_ms() > latest_ms) {
        return Err(invalid("its `nbf` is yet to come: compare the clocks"));
    }
    Ok(ends_ms)
}

/// Why a caller is not known. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorized {
    /// No token at all.
    #[error("a bearer token is needed: send `Authorization: Bearer <token>`")]
    Missing,
    /// A token that is not believed.
    #[error("the bearer token is refused: {reason}")]
    Invalid {
        /// What is wrong with it. Never tells whether a key is registered.
        reason: &'static str,
        /// A registered client key signed it, and it claims administration: an alarm, already
        /// counted and logged.
        forged_role: bool,
    },
    /// A token that held once.
    #[error("the bearer token has expired: sign a new one")]
    Expired,
}

impl Unauthorized {
    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            Unauthorized::Missing => "missing-token",
            Unauthorized::Invalid { .. } | Unauthorized::Expired => "invalid-token",
        }
    }
}

const fn invalid(reason: &'static str) -> Unauthorized {
    Unauthorized::Invalid { reason, forged_role: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_tokens_never_pass_their_share_of_the_memory() {
        const BYTES_MAX: u64 = 64 * 1024;
        let known = Known::new(BYTES_MAX);
        let principal = Arc::new(Principal::administration());
        for number in 0..2_000 {
            let token = format!("{number:0300}").into_boxed_str();
            let verified = Verified { principal: Arc::clone(&principal), ends_ms: 1 };
            known.tokens.insert(token, verified);
        }
        assert!(known.tokens.len() > 50, "{}", known.tokens.len());
        assert!(known.tokens.weight() <= BYTES_MAX, "{}", known.tokens.weight());
    }
}
