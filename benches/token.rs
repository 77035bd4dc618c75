//! What a token costs: a request in process, in memory, by itself; with a token seen before; with
//! one of each algorithm that has to be checked.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use farebox::auth::{Role, TokenRequest, Verifier, sign};
use farebox::broker::Options;
use farebox::domain::keys::{KeyClass, RegisteredKey};
use farebox::domain::time::Timestamp;
use farebox::env::{Clock, SystemClock};
use tokio::runtime::Runtime;

#[path = "common/broker.rs"]
mod broker;
use broker::{Anything, prepare};

/// Both halves in PEM, of each algorithm.
fn pairs() -> Result<[(&'static str, String, String); 3], Anything> {
    let ed25519 = Ed25519KeyPair::generate()?;
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let private = |der: &[u8]| pem("PRIVATE KEY", der);
    let public = |der: &[u8]| pem("PUBLIC KEY", der);
    let rsa_private: Pkcs8V1Der<'_> = rsa.as_der()?;
    Ok([
        (
            "EdDSA",
            private(ed25519.to_pkcs8v1()?.as_ref()),
            public(ed25519.public_key().as_der()?.as_ref()),
        ),
        (
            "ES256",
            private(p256.to_pkcs8v1()?.as_ref()),
            public(p256.public_key().as_der()?.as_ref()),
        ),
        ("RS256", private(rsa_private.as_ref()), public(rsa.public_key().as_der()?.as_ref())),
    ])
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn tokens(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (broker, scope, request) =
        runtime.block_on(prepare(Options::memory(), 1)).expect("a broker");
    let clock = Arc::new(SystemClock::default());
    let now = clock.system();
    let mut group = criterion.benchmark_group("request");
    group.measurement_time(Duration::from_secs(5));
    let charge = || runtime.block_on(broker.access(scope, Arc::clone(&request))).expect("charged");
    group.bench_function("no token", |bencher| bencher.iter(charge));
    for (algorithm, private, public) in pairs().expect("key pairs") {
        let token = sign(
            &private,
            &TokenRequest {
                role: Role::Client,
                instances: vec![scope.instance().to_string()],
                expires_in: Duration::from_secs(86_400),
                issuer: "shop".to_owned(),
                now,
                key_id: "shop".to_owned(),
            },
        );
        let (token, start) = (token.expect("signed"), Timestamp::default());
        let (id, class) = ("shop".parse().expect("an id"), KeyClass::Client);
        let key =
            RegisteredKey { id, class, pem: public, created: start, modified: start, place: 1 };
        let verifier = Verifier::new(None, clock.clone());
        let known = [key];
        verifier.set_keys(&known).expect("a good key");
        group.bench_function(format!("{algorithm}, cached"), |bencher| {
            bencher.iter(|| {
                verifier.verify(&token).expect("it is believed");
                charge()
            });
        });
        group.bench_function(format!("{algorithm}, uncached"), |bencher| {
            let forget = || drop(verifier.set_keys(&known).expect("a good key"));
            let verified = |()| {
                verifier.verify(&token).expect("it is believed");
                charge()
            };
            bencher.iter_batched(forget, verified, BatchSize::PerIteration);
        });
    }
    group.finish();
    runtime.block_on(broker.close()).expect("closed");
}

criterion_group!(benches, tokens);
criterion_main!(benches);
