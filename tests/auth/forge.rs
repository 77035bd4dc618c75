//! A forger's workshop: keys of every family, tokens of any text, a clock that obeys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use farebox::auth::{Principal, Unauthorized, Verifier};
use farebox::domain::ids::Text;
use farebox::domain::keys::{KeyClass, RegisteredKey};
use farebox::domain::time::Timestamp;
use farebox::env::Clock;

/// When every test begins, in seconds.
pub(crate) const NOW_S: u64 = 1_700_000_000;
pub(crate) const INSTANCE: &str = "0b7a5f7e-3f0a-4b62-9d4e-6a1f1c2d3e4f";

/// A clock that stands still until told otherwise.
pub(crate) struct StoppedClock(AtomicU64);

impl StoppedClock {
    pub(crate) fn set_s(&self, seconds: u64) {
        self.set_ms(seconds * 1000);
    }

    pub(crate) fn set_ms(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn system(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// The key pairs: making RSA keys is slow, so all tests share them.
pub(crate) struct Keys {
    pub(crate) ed25519: Ed25519KeyPair,
    pub(crate) stranger: Ed25519KeyPair,
    pub(crate) rsa: RsaKeyPair,
    pub(crate) p256: EcdsaKeyPair,
    pub(crate) p384: EcdsaKeyPair,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    ed25519: Ed25519KeyPair::generate().expect("randomness"),
    stranger: Ed25519KeyPair::generate().expect("randomness"),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness"),
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("randomness"),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("randomness"),
});

impl Keys {
    /// A true signature by the algorithm of this name, with the pair of its family.
    pub(crate) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            "ES256" => self.p256.sign(&random, message).expect("signs").as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).expect("signs").as_ref().to_vec(),
            "RS256" => self.sign_rsa(&RSA_PKCS1_SHA256, message),
            "RS384" => self.sign_rsa(&RSA_PKCS1_SHA384, message),
            "RS512" => self.sign_rsa(&RSA_PKCS1_SHA512, message),
            "PS256" => self.sign_rsa(&RSA_PSS_SHA256, message),
            other => panic!("no such algorithm here: {other}"),
        }
    }

    fn sign_rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("signs");
        signature
    }

    /// The public half of the pair that signs by this algorithm.
    pub(crate) fn public_pem(&self, alg: &str) -> String {
        let der = match alg {
            "EdDSA" => self.ed25519.public_key().as_der(),
            "ES256" => self.p256.public_key().as_der(),
            "ES384" => self.p384.public_key().as_der(),
            _ => self.rsa.public_key().as_der(),
        };
        public_pem(der.expect("a key has a DER form").as_ref())
    }
}

pub(crate) fn public_pem(der: &[u8]) -> String {
    pem("PUBLIC KEY", der)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

pub(crate) fn registered(id: &str, class: KeyClass, pem: String) -> RegisteredKey {
    let id = Text::new(id).expect("a key id");
    let (created, modified) = (Timestamp::default(), Timestamp::default());
    RegisteredKey { id, class, pem, created, modified, place: 1 }
}

/// The keys that every test finds registered: one client key of each family, named by its family,
/// and the Ed25519 pair again as the administration key `admin`.
pub(crate) fn key_set() -> Vec<RegisteredKey> {
    let clients = [("ed25519", "EdDSA"), ("p256", "ES256"), ("p384", "ES384"), ("rsa", "RS256")];
    let mut keys: Vec<RegisteredKey> = clients
        .into_iter()
        .map(|(id, alg)| registered(id, KeyClass::Client, KEYS.public_pem(alg)))
        .collect();
    keys.push(registered("admin", KeyClass::Administration, KEYS.public_pem("EdDSA")));
    keys
}

/// A clock at [`NOW_S`].
pub(crate) fn stopped_clock() -> Arc<StoppedClock> {
    Arc::new(StoppedClock(AtomicU64::new(NOW_S * 1000)))
}

/// A verifier with those keys at [`NOW_S`], for any issuer.
pub(crate) fn verifier() -> (Verifier, Arc<StoppedClock>) {
    verifier_of(None)
}

pub(crate) fn verifier_of(issuer: Option<&str>) -> (Verifier, Arc<StoppedClock>) {
    let clock = stopped_clock();
    let verifier = Verifier::new(issuer.map(str::to_owned), clock.clone());
    verifier.set_keys(&key_set()).expect("good keys");
    (verifier, clock)
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header, payload and a true signature by this algorithm's pair, whatever the header says.
pub(crate) fn token(header: &str, payload: &str, signed_by: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let signature = KEYS.sign(signed_by, message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

pub(crate) fn header(alg: &str) -> String {
    format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#)
}

/// Claims in JSON text, so that a test can say what no serialiser would.
#[derive(Clone)]
pub(crate) struct Payload(Vec<(&'static str, String)>);

impl Payload {
    /// A good client token of the key `ed25519`.
    pub(crate) fn client(key_id: &str) -> Payload {
        Payload(vec![
            ("iss", r#""producer.org""#.to_owned()),
            ("iat", NOW_S.to_string()),
            ("exp", (NOW_S + 3600).to_string()),
            ("aud", format!(r#"["{INSTANCE}"]"#)),
            ("cnf", format!(r#"{{"jwk":{{"kid":"{key_id}","kty":"CLIENT"}}}}"#)),
        ])
    }

    /// A good administration token of the key `admin`.
    pub(crate) fn administration() -> Payload {
        Payload::client("admin")
            .without("aud")
            .with("cnf", r#"{"jwk":{"kid":"admin","kty":"ADMIN"}}"#)
    }

    pub(crate) fn with(self, name: &'static str, json: &str) -> Payload {
        let mut payload = self.without(name);
        payload.0.push((name, json.to_owned()));
        payload
    }

    pub(crate) fn without(mut self, name: &str) -> Payload {
        self.0.retain(|(member, _)| *member != name);
        self
    }

    pub(crate) fn json(&self) -> String {
        let members: Vec<String> =
            self.0.iter().map(|(name, json)| format!(r#""{name}":{json}"#)).collect();
        format!("{{{}}}", members.join(","))
    }

    /// Truly signed with the Ed25519 pair.
    pub(crate) fn signed(&self) -> String {
        token(&header("EdDSA"), &self.json(), "EdDSA")
    }
}

/// Whether a token is refused as invalid, and not as an alarm or by chance for its age.
pub(crate) fn is_plainly_invalid(answer: &Result<Arc<Principal>, Unauthorized>) -> bool {
    matches!(answer, Err(Unauthorized::Invalid { forged_role: false, .. }))
}

/// Every row is refused as invalid; the row's first column is what to say when it is not.
pub(crate) fn check_refused(rows: impl IntoIterator<Item = (String, String)>) {
    let (verifier, _) = verifier();
    let good = Payload::client("ed25519").signed();
    assert!(verifier.verify(&good).is_ok(), "without the forgery it must be accepted");
    for (what, token) in rows {
        let answer = verifier.verify(&token);
        assert!(is_plainly_invalid(&answer), "{what}: {answer:?}");
    }
}
