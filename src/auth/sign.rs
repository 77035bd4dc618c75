//! Makes tokens: for `farebox token`, the demo and tests. The server itself never signs.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::Serialize;

use super::keys::check_key_id;
use super::principal::Role;
use super::token::{SECONDS_MAX, TOKEN_BYTES_MAX};
use crate::domain::time::Timestamp;

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Written as `cnf.jwk.kty`; must be what the key is registered as.
    pub role: Role,
    /// Written as `aud`: at least one for a client, none for administration.
    pub instances: Vec<String>,
    /// From `now` to `exp`, in whole seconds; at least one.
    pub expires_in: Duration,
    /// Written as `iss`; must not be empty.
    pub issuer: String,
    /// Written as `iat` and `nbf`.
    pub now: Timestamp,
    /// Written as `cnf.jwk.kid`: the id that the public half is registered by.
    pub key_id: String,
}

/// Why there is no token, or no key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Nothing of the key is repeated: it may be a secret in the wrong form.
    #[error(
        "the private key must be one PEM block of PKCS#8, labelled `PRIVATE KEY`, \
         of an Ed25519, P-256, P-384 or RSA key of at least 2048 bits"
    )]
    BadPrivateKey,
    /// The server would refuse the token.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong with the request.
        reason: &'static str,
    },
    /// The machine gave no randomness for a new key.
    #[error("the system has no randomness for a key")]
    NoRandomness,
}

#[derive(Serialize)]
struct Header {
    alg: Algorithm,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    nbf: u64,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aud: &'a [String],
    cnf: Confirmation<'a>,
}

#[derive(Serialize)]
struct Confirmation<'a> {
    jwk: KeyReference<'a>,
}

#[derive(Serialize)]
struct KeyReference<'a> {
    kid: &'a str,
    kty: &'a str,
}

/// Signs a token with a private key in PEM: EdDSA, ES256, ES384 or RS256, as the key is.
///
/// Refuses what no server would accept. Whether the key is registered, and as what, is not known
/// here; neither is whether the instances exist.
pub fn sign(private_pem: &str, request: &TokenRequest) -> Result<String, SignError> {
    let payload = URL_SAFE_NO_PAD.encode(payload(request)?);
    let pem = private_pem.as_bytes();
    // A PEM does not say which key it is in a way worth parsing twice: the right one signs.
    let keys = [
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
        (Algorithm::ES256, EncodingKey::from_ec_pem(pem)),
        (Algorithm::ES384, EncodingKey::from_ec_pem(pem)),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(pem)),
    ];
    for (alg, key) in keys {
        let Ok(key) = key else { continue };
        let header = json(&Header { alg, typ: "JWT" })?;
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
        let Ok(signature) = crypto::sign(message.as_bytes(), &key, alg) else { continue };
        let token = format!("{message}.{signature}");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(bad("the token would pass 8 KiB: name fewer instances"));
        }
        return Ok(token);
    }
    Err(SignError::BadPrivateKey)
}

fn payload(request: &TokenRequest) -> Result<Vec<u8>, SignError> {
    check_key_id(&request.key_id)
        .map_err(|_| bad(
            "the key id must have 1 to 128 characters, no control character, `%`, `;` or `\\` among \
             them, and `.` and `..` are none",
        ))?;
    if request.issuer.is_empty() {
        return Err(bad("the issuer must not be empty"));
    }
    match request.role {
        Role::Client if request.instances.is_empty() => {
            return Err(bad("a client token must name at least one instance"));
        }
        Role::Administration if !request.instances.is_empty() => {
            return Err(bad("an administration token is for all instances: name none"));
        }
        Role::Client | Role::Administration => {}
    }
    let seconds = request.expires_in.as_secs();
    if seconds == 0 {
        return Err(bad("the token must last at least a second"));
    }
    let now = request.now.as_ms() / 1000;
    let exp = now.saturating_add(seconds);
    if exp > SECONDS_MAX {
        return Err(bad("the token must end before the year 10000"));
    }
    json(&Claims {
        iss: &request.issuer,
        nbf: now,
        iat: now,
        exp,
        aud: &request.instances,
        cnf: Confirmation { jwk: KeyReference { kid: &request.key_id, kty: request.role.kty() } },
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, SignError> {
    serde_json::to_vec(value).map_err(|_| bad("the token cannot be written as JSON"))
}

const fn bad(reason: &'static str) -> SignError {
    SignError::BadRequest { reason }
}
