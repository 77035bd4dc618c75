//! What a verified caller may do, and who may not pass for more (C11, C14; P8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox::auth::{Forbidden, Principal, Role, Unauthorized, Verifier};
use farebox::domain::ids::InstanceId;
use farebox::domain::keys::KeyClass;
use farebox::metrics::AUTH_ROLE_FORGERIES_TOTAL;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::forge::{
    INSTANCE, KEYS, NOW_S, Payload, base64url, header, is_plainly_invalid, registered, token,
    verifier,
};

/// Counts the alarms of the calls made under it.
#[derive(Default)]
struct Alarms(Arc<AlarmCount>);

#[derive(Default)]
struct AlarmCount(AtomicU64);

impl CounterFn for AlarmCount {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl Recorder for Alarms {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_eq!(key.name(), AUTH_ROLE_FORGERIES_TOTAL);
        Counter::from_arc(Arc::clone(&self.0))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The answer to a token, and how many alarms it gave.
fn verify_counting(token: &str) -> (Result<Arc<Principal>, Unauthorized>, u64) {
    counting(&verifier().0, token)
}

fn counting(verifier: &Verifier, token: &str) -> (Result<Arc<Principal>, Unauthorized>, u64) {
    let alarms = Alarms::default();
    let answer = metrics::with_local_recorder(&alarms, || verifier.verify(token));
    (answer, alarms.0.0.load(Ordering::SeqCst))
}

fn claiming(key_id: &str, kty: &str) -> Payload {
    let cnf = format!(r#"{{"jwk":{{"kid":"{key_id}","kty":"{kty}"}}}}"#);
    Payload::client(key_id).with("cnf", &cnf)
}

#[test]
fn a_client_key_that_claims_administration_is_refused_and_raises_the_alarm() {
    // However else the token is wrong: what its holder tried is what counts.
    let attempts = [
        claiming("ed25519", "ADMIN"),
        claiming("ed25519", "ADMIN").without("aud"),
        claiming("ed25519", "ADMIN").with("exp", &(NOW_S - 3600).to_string()),
    ];
    for attempt in attempts {
        let (answer, alarms) = verify_counting(&attempt.signed());
        let forged = matches!(answer, Err(Unauthorized::Invalid { forged_role: true, .. }));
        assert!(forged, "C14 {}: {answer:?}", attempt.json());
        assert_eq!(alarms, 1, "C14 {}", attempt.json());
        assert_eq!(answer.expect_err("refused").code(), "invalid-token");
    }
}

/// Otherwise whoever knows the id of an administration key could try in silence.
#[test]
fn a_client_key_raises_the_alarm_also_under_the_id_of_an_administration_key() {
    let (verifier, _) = verifier();
    let twins = [
        registered("twin", KeyClass::Administration, KEYS.public_pem("ES256")),
        registered("twin", KeyClass::Client, KEYS.public_pem("EdDSA")),
    ];
    verifier.set_keys(&twins).expect("two keys of two classes");
    let payload = claiming("twin", "ADMIN").json();
    // What signs, whether it is believed, how many alarms.
    for (alg, fine, alarms) in [("ES256", true, 0), ("EdDSA", false, 1), ("RS256", false, 0)] {
        let (answer, found) = counting(&verifier, &token(&header(alg), &payload, alg));
        assert_eq!((answer.is_ok(), found), (fine, alarms), "C14 {alg}: {answer:?}");
    }
}

#[test]
fn an_administration_key_that_claims_less_is_refused_without_alarm() {
    let (answer, alarms) = verify_counting(&claiming("admin", "CLIENT").signed());
    assert!(is_plainly_invalid(&answer), "{answer:?}");
    assert_eq!(alarms, 0);
}

#[test]
fn who_does_not_hold_the_key_cannot_raise_the_alarm() {
    let payload = claiming("ed25519", "ADMIN").json();
    let message = format!("{}.{}", base64url(header("EdDSA")), base64url(&payload));
    let by_a_stranger = format!("{message}.{}", base64url(KEYS.stranger.sign(message.as_bytes())));
    let by_another_key = token(&header("ES256"), &payload, "ES256");
    let unknown = claiming("nobody", "ADMIN").signed();
    for forged in [by_a_stranger, by_another_key, unknown] {
        let (answer, alarms) = verify_counting(&forged);
        assert!(matches!(answer, Err(Unauthorized::Invalid { forged_role: false, .. })));
        assert_eq!(alarms, 0);
    }
}

#[test]
fn an_administration_token_opens_everything() {
    let (verifier, _) = verifier();
    // An audience is a client's: it gives administration nothing and takes nothing away.
    let foreign = r#"["00000000-0000-0000-0000-000000000001"]"#;
    for payload in [Payload::administration(), Payload::administration().with("aud", foreign)] {
        let principal = verifier.verify(&payload.signed()).expect("a good token");
        assert_eq!((&*principal.key_id, principal.role), ("admin", Role::Administration));
        assert_eq!(principal.may_administer(), Ok(()));
        let instance = InstanceId::parse(INSTANCE).unwrap();
        assert_eq!(principal.scope(instance).map(|scope| scope.instance()), Ok(instance));
    }
}

#[test]
fn a_client_token_opens_the_instances_it_names_and_no_other() {
    let (verifier, _) = verifier();
    let [a, b, c, foreign] = [7, 3, 1, 5].map(InstanceId::from_u128);
    let aud = format!(r#"["{a}","no id","{b}","{c}","{a}"]"#);
    let principal = verifier.verify(&Payload::client("ed25519").with("aud", &aud).signed());
    let principal = principal.expect("a good token");
    for instance in [a, b, c] {
        assert_eq!(principal.scope(instance).map(|scope| scope.instance()), Ok(instance));
    }
    assert_eq!(principal.scope(foreign), Err(Forbidden::Instance));
    assert_eq!(principal.may_administer(), Err(Forbidden::Administration));
}

#[test]
fn a_refusal_does_not_tell_a_foreign_instance_from_an_unknown_one() {
    let texts = [Forbidden::Instance, Forbidden::Administration]
        .map(|forbidden| format!("{}: {forbidden}", forbidden.code()));
    assert_eq!(
        texts,
        [
            "forbidden: the token's `aud` does not name this instance",
            "forbidden: this operation needs a token signed by an administration key",
        ]
    );
}

#[test]
fn the_process_itself_is_administration_and_no_registered_key() {
    let principal = Principal::administration();
    assert_eq!(principal.may_administer(), Ok(()));
    assert!(principal.scope(InstanceId::from_u128(1)).is_ok());
    assert_eq!(&*principal.key_id, "");
}
