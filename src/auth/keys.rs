//! Public keys and their algorithms: which keys are accepted, how a signature is checked, and how
//! a new pair is made. The family of a key fixes its algorithms; `none` and HMAC do not exist here.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::Value;

/// The longest id of a key, in characters.
pub const KEY_ID_CHARS_MAX: usize = 128;

/// RSA keys from and to this many bits: shorter ones break, longer ones make a check a burden.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Over any key that is accepted, and enough to say of most others what they are.
const PEM_BYTES_MAX: usize = 8 * 1024;

/// How RFC 8410 and RFC 5480 begin a key, up to its bytes. DER has one spelling, so equal
/// bytes need no parser; RSA, whose lengths vary, has one in aws-lc.
const ED25519_HEAD: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P256_HEAD: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384_HEAD: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";

/// What a key is, and so which algorithms its tokens may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// RSA of 2048 to 4096 bits: RS256, RS384, RS512, PS256.
    Rsa,
    /// The curve P-256: ES256.
    P256,
    /// The curve P-384: ES384.
    P384,
    /// The curve Ed25519: EdDSA.
    Ed25519,
}

/// A way to sign that tokens may use.
pub(super) struct Algorithm {
    /// How a token's header writes it.
    name: &'static str,
    pub(super) family: Family,
    pub(super) implementation: jsonwebtoken::Algorithm,
}

impl Algorithm {
    /// Every algorithm there is (spec 9).
    const ALL: [Algorithm; 7] = [
        Algorithm::new("RS256", Family::Rsa, jsonwebtoken::Algorithm::RS256),
        Algorithm::new("RS384", Family::Rsa, jsonwebtoken::Algorithm::RS384),
        Algorithm::new("RS512", Family::Rsa, jsonwebtoken::Algorithm::RS512),
        Algorithm::new("PS256", Family::Rsa, jsonwebtoken::Algorithm::PS256),
        Algorithm::new("ES256", Family::P256, jsonwebtoken::Algorithm::ES256),
        Algorithm::new("ES384", Family::P384, jsonwebtoken::Algorithm::ES384),
        Algorithm::new("EdDSA", Family::Ed25519, jsonwebtoken::Algorithm::EdDSA),
    ];

    const fn new(
        name: &'static str,
        family: Family,
        implementation: jsonwebtoken::Algorithm,
    ) -> Algorithm {
        Algorithm { name, family, implementation }
    }

    /// `None` for anything but the exact spelling.
    pub(super) fn named(name: &str) -> Option<&'static Algorithm> {
        const ALL: &[Algorithm] = &Algorithm::ALL;
        ALL.iter().find(|algorithm| algorithm.name == name)
    }
}

/// A public key, ready to check signatures.
pub(super) struct VerifyingKey {
    pub(super) family: Family,
    key: DecodingKey,
    /// Of an RSA key, in big-endian bytes without leading zeros.
    modulus: Option<Vec<u8>>,
}

impl VerifyingKey {
    /// Accepts one SPKI block of a supported family, in the one form DER gives it.
    pub(super) fn from_pem(pem: &str) -> Result<VerifyingKey, BadKey> {
        VerifyingKey::from_der(&der_of_pem(pem)?)
    }

    fn from_der(der: &[u8]) -> Result<VerifyingKey, BadKey> {
        if let Some(point) = der.strip_prefix(ED25519_HEAD).filter(|point| point.len() == 32) {
            return Ok(VerifyingKey {
                family: Family::Ed25519,
                key: DecodingKey::from_ed_der(point),
                modulus: None,
            });
        }
        if let Some(point) = der.strip_prefix(P256_HEAD) {
            return VerifyingKey::on_curve(Family::P256, &ECDSA_P256_SHA256_FIXED, point, 32);
        }
        if let Some(point) = der.strip_prefix(P384_HEAD) {
            return VerifyingKey::on_curve(Family::P384, &ECDSA_P384_SHA384_FIXED, point, 48);
        }
        VerifyingKey::rsa(der)
    }

    fn on_curve(
        family: Family,
        curve: &'static dyn VerificationAlgorithm,
        point: &[u8],
        coordinate_bytes: usize,
    ) -> Result<VerifyingKey, BadKey> {
        // Only the uncompressed form, which begins with a 4.
        let plain = point.len() == 1 + 2 * coordinate_bytes && point.first() == Some(&4);
        if !plain || ParsedPublicKey::new(curve, point).is_err() {
            return Err(BadKey::Unsupported);
        }
        Ok(VerifyingKey { family, key: DecodingKey::from_ec_der(point), modulus: None })
    }

    fn rsa(der: &[u8]) -> Result<VerifyingKey, BadKey> {
        let key = rsa::PublicKey::from_der(der).map_err(|_| BadKey::Unsupported)?;
        let written_back = key.as_der().map_err(|_| BadKey::Unsupported)?;
        if written_back.as_ref() != der {
            return Err(BadKey::Unsupported); // Another form, or something after the key.
        }
        let modulus = key.modulus();
        let modulus = modulus.big_endian_without_leading_zero();
        let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = modulus.len() * 8 - unused;
        if !RSA_BITS.contains(&bits) {
            return Err(BadKey::RsaBits { bits });
        }
        let (modulus, key) = (Some(modulus.to_vec()), DecodingKey::from_rsa_der(key.as_ref()));
        Ok(VerifyingKey { family: Family::Rsa, key, modulus })
    }

    /// Whether a check of this signature takes its full time: one of another length than the key,
    /// or beyond its modulus, is refused at once.
    pub(super) fn may_have_made(&self, signature: &[u8]) -> bool {
        self.modulus.as_deref().is_none_or(|modulus| {
            signature.len() == modulus.len() && signature < modulus // As numbers, being as long.
        })
    }

    /// Whether this key signed `message`. False for an algorithm of another family.
    pub(super) fn verify(&self, algorithm: &Algorithm, message: &str, signature: &str) -> bool {
        algorithm.family == self.family
            && jsonwebtoken::crypto::verify(
                signature,
                message.as_bytes(),
                &self.key,
                algorithm.implementation,
            )
            .unwrap_or(false)
    }
}

/// Tells the family of a public key in PEM, or why it cannot be registered.
///
/// ```
/// use farebox::auth::{Family, check_public_key, generate_key_pair};
///
/// let pair = generate_key_pair()?;
/// assert_eq!(check_public_key(&pair.public_pem), Ok(Family::Ed25519));
/// assert!(check_public_key(&pair.private_pem).is_err());
/// # Ok::<(), farebox::auth::SignError>(())
/// ```
pub fn check_public_key(pem: &str) -> Result<Family, BadKey> {
    VerifyingKey::from_pem(pem).map(|key| key.family)
}

/// The one spelling of a public key in PEM, which all others of the same key give.
pub fn canonical_public_key(pem: &str) -> Result<String, BadKey> {
    let der = der_of_pem(pem)?;
    VerifyingKey::from_der(&der)?;
    Ok(pem_of_der("PUBLIC KEY", &der))
}

/// Refuses an id that tokens or paths could not name, or that is hard to tell from another.
pub fn check_key_id(id: &str) -> Result<(), BadKey> {
    let fits = !id.is_empty() && id.chars().count() <= KEY_ID_CHARS_MAX;
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ';' | '%');
    let dots = id.split('/').any(|part| matches!(part, "." | ".."));
    if fits && !dots && !id.chars().any(odd) { Ok(()) } else { Err(BadKey::Id) }
}

/// The bytes in a text that is exactly one `PUBLIC KEY` block, but for white space around it.
fn der_of_pem(pem: &str) -> Result<Vec<u8>, BadKey> {
    if pem.contains("PRIVATE KEY") {
        return Err(BadKey::Private);
    }
    if pem.len() > PEM_BYTES_MAX {
        return Err(BadKey::NotPem);
    }
    let body = pem
        .trim_ascii()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
        .ok_or_else(|| if is_private(pem) { BadKey::Private } else { BadKey::NotPem })?;
    // A second block would leave dashes in here, which base64 refuses.
    let digits: String = body.chars().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(digits).map_err(|_| BadKey::NotPem)?;
    if is_private_der(&der) { Err(BadKey::Private) } else { Ok(der) }
}

/// Whether a text that is no PEM gives a secret away all the same: as a JWK, or in bare base64. Who
/// sent it must hear that it is to be replaced.
fn is_private(text: &str) -> bool {
    if let Ok(jwk) = serde_json::from_str::<Value>(text) {
        let set = jwk.get("keys").and_then(Value::as_array);
        let has_secret = |key: &Value| key.get("d").or(key.get("k")).is_some();
        return has_secret(&jwk) || set.into_iter().flatten().any(has_secret);
    }
    let digits = text.chars().filter(|digit| !digit.is_ascii_whitespace() && *digit != '=');
    let standard = digits.map(|digit| match digit {
        '-' => '+',
        '_' => '/',
        other => other,
    });
    STANDARD_NO_PAD.decode(standard.collect::<String>()).is_ok_and(|der| is_private_der(&der))
}

/// PKCS#8, PKCS#1 and SEC 1 begin with a version of 0 or 1, and no public key does.
fn is_private_der(der: &[u8]) -> bool {
    let content = match der {
        [0x30, 0x82, _, _, content @ ..]
        | [0x30, 0x81, _, content @ ..]
        | [0x30, 0..=0x7f, content @ ..] => content,
        _ => return false,
    };
    matches!(content, [2, 1, 0 | 1, ..])
}

fn pem_of_der(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----");
    for (place, digit) in STANDARD.encode(der).chars().enumerate() {
        if place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(digit);
    }
    pem + &format!("\n-----END {label}-----\n")
}

/// Why a public key cannot be registered. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// A secret that should not have left its owner.
    #[error("holds a private key, which is now to be replaced: send only its public half")]
    Private,
    /// No PEM, another label, or more than one block.
    #[error("must be exactly one PEM block labelled `PUBLIC KEY`")]
    NotPem,
    /// PEM, but not of a key that tokens can be checked with.
    #[error("must be an RSA, P-256, P-384 or Ed25519 key in its plain SPKI form")]
    Unsupported,
    /// An RSA key that is too weak, or too slow.
    #[error("is an RSA key of {bits} bits: from 2048 to 4096 are accepted")]
    RsaBits {
        /// What the key has.
        bits: usize,
    },
    /// An id that no token can name.
    #[error(
        "id must have 1 to {KEY_ID_CHARS_MAX} characters, no control character, `%`, `;` or `\\` \
         among them, and `.` and `..` are none"
    )]
    Id,
    /// Two keys of one class by the same id.
    #[error("is registered twice")]
    Repeated,
    /// Which key of a set it was.
    #[error("{class} `{id}`: {cause}")]
    InSet {
        /// The name of its class.
        class: &'static str,
        /// Its id.
        id: String,
        /// What is wrong with it.
        cause: Box<BadKey>,
    },
}

impl BadKey {
    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        "bad-key"
    }
}

/// A new pair of keys, in PEM.
#[derive(Clone)]
pub struct KeyPair {
    /// PKCS#8, to be kept secret: whoever has it can sign tokens.
    pub private_pem: String,
    /// SPKI, to be registered.
    pub public_pem: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyPair")
            .field("public_pem", &self.public_pem)
            .finish_non_exhaustive()
    }
}

/// Makes an Ed25519 pair from the system's randomness. The private half is PKCS#8 version 1, which
/// OpenSSL reads too.
pub fn generate_key_pair() -> Result<KeyPair, super::SignError> {
    let failed = |_| super::SignError::NoRandomness;
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let public = pair.public_key().as_der().map_err(failed)?;
    Ok(KeyPair {
        private_pem: pem_of_der("PRIVATE KEY", private.as_ref()),
        public_pem: pem_of_der("PUBLIC KEY", public.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_known_in_whatever_form() {
        let pair = generate_key_pair().unwrap();
        let digits: String =
            pair.private_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let unpadded = digits.trim_end_matches('=').replace('+', "-").replace('/', "_");
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"abc","d":"def"}"#;
        // How the forms of an RSA key (PKCS#1) and of a curve's (SEC 1) begin.
        let (rsa, curve) = ([0x30, 5, 2, 1, 0, 2, 0], [0x30, 5, 2, 1, 1, 4, 0]);
        for text in [
            pair.private_pem.clone(),
            pem_of_der("RSA PRIVATE KEY", &rsa),
            pem_of_der("PUBLIC KEY", &curve),
            digits.clone(),
            format!(" {digits}\n"),
            unpadded,
            STANDARD.encode(rsa),
            STANDARD.encode(curve),
            jwk.to_owned(),
            format!(" {jwk}"),
            format!(r#"{{"keys":[{{"kty":"OKP"}},{jwk}]}}"#),
        ] {
            assert_eq!(canonical_public_key(&text), Err(BadKey::Private), "{text}");
        }
        let public: String =
            pair.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"abc"}"#;
        for text in ["", "AAAA", "{", "[]", "7", jwk, &public] {
            assert_eq!(canonical_public_key(text), Err(BadKey::NotPem), "{text}");
        }
        assert!(canonical_public_key(&pair.public_pem).is_ok());
    }
}
