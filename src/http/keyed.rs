//! Idempotency keys (spec 2.12): reading the header, knowing a repetition, and asking under a key.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use hyper::header::{HeaderMap, HeaderName};

use super::answer::{Answer, Content};
use super::problem::{Asked, Problem};
use super::wire::Dialect;
use crate::actors::Reservation;
use crate::auth::Principal;
use crate::broker::{self, Broker};
use crate::domain::idempotency::{Fingerprint, IdempotencyKey};
use crate::domain::ids::{CorrelationId, InstanceId};
use crate::error::BrokerError;

static HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_CHARS_MAX: usize = 255;

/// The key that a call came under, as it was sent.
pub(super) fn sent(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut sent = headers.get_all(&HEADER).iter();
    let Some(first) = sent.next() else { return Ok(None) };
    let key = first.to_str().ok().filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
    let key = key.filter(|key| key.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    match (key, sent.next()) {
        (Some(key), None) => Ok(Some(key)),
        (_, Some(_)) | (None, _) => {
            let detail = format!(
                "send `Idempotency-Key` once, with 1 to {KEY_CHARS_MAX} characters of printable ASCII"
            );
            Err(Problem::bad_request("bad-idempotency-key", detail))
        }
    }
}

/// For the one change that knows no keys: it must not seem as if it did.
pub(super) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(&HEADER) {
        return Ok(());
    }
    let detail = "the test clock knows no `Idempotency-Key`: leave it out; a `set` may be repeated";
    Err(Problem::bad_request("bad-idempotency-key", detail))
}

/// A key of this caller: what others choose is another key. Customers' tokens may all be signed
/// by one key: where a call names no instance, they are told apart by those that they reach.
pub(super) fn key_of(
    caller: &Principal,
    instance: Option<InstanceId>,
    sent: &str,
) -> IdempotencyKey {
    let reach = caller.reach().filter(|_| instance.is_none()).unwrap_or_default();
    let reach: Vec<[u8; 16]> = reach.iter().map(|id| id.as_u128().to_be_bytes()).collect();
    let own = [caller.role.kty().as_bytes(), caller.key_id.as_bytes(), sent.as_bytes()];
    let parts: Vec<&[u8]> = own.into_iter().chain(reach.iter().map(<[u8; 16]>::as_slice)).collect();
    IdempotencyKey::from_u128(hash(&parts))
}

/// What is asked: a repetition has the same parts.
pub(super) fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    Fingerprint::from_u128(hash(parts))
}

/// Each part with its length before it, so that none runs into the next.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let half = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(*half)
}

/// The right to ask once under a key, and what its answer needs besides the result.
pub(super) struct Under {
    pub(super) reservation: Reservation,
    pub(super) dialect: &'static Dialect,
    /// What a problem names.
    pub(super) path: String,
    pub(super) correlation: CorrelationId,
}

impl Under {
    /// Asks, and answers with what was kept under the key.
    pub(super) async fn ask<T: Send + 'static>(
        self,
        broker: &Broker,
        content: impl Fn(&T) -> Content + Send + Sync + 'static,
        ask: impl AsyncFnOnce(&Broker) -> broker::Answer<T>,
    ) -> Result<Answer, Problem> {
        self.ask_or(broker, move |answer| answer.ok().map(&content), ask).await
    }

    /// The same; what `content` says nothing of is told as a problem.
    pub(super) async fn ask_or<T: Send + 'static>(
        self,
        broker: &Broker,
        content: impl Fn(Result<&T, &BrokerError>) -> Option<Content> + Send + Sync + 'static,
        ask: impl AsyncFnOnce(&Broker) -> broker::Answer<T>,
    ) -> Result<Answer, Problem> {
        let Under { reservation, dialect, path, correlation } = self;
        let told = Arc::new(OnceLock::new());
        let clock = broker.clone();
        let rendering = move |answer: Result<&T, &BrokerError>| {
            if let Some(content) = content(answer) {
                return content.kept();
            }
            let error = answer.err().cloned().unwrap_or(BrokerError::Fault); // There is one.
            let asked = Asked { dialect, path: &path, correlation, now: clock.now() };
            Problem::from(error).kept(asked)
        };
        let broker = broker.under(reservation, Box::new(rendering), Arc::clone(&told));
        let asked = ask(&broker).await;
        if let Some((sequence, keyed)) = told.get() {
            return Ok(Answer::kept(*sequence, &keyed.answer, dialect));
        }
        // Without a record of its own it was not decided: nothing is kept, and the key is free.
        Err(asked.err().unwrap_or(BrokerError::FirstAnswerUnread).into())
    }
}
