//! What is remembered of a token that passed, and for how long (C7, C24, C28; T6).

use std::sync::Arc;

use farebox::auth::Unauthorized;
use farebox::domain::keys::KeyClass;

use crate::forge::{
    KEYS, NOW_S, Payload, header, is_plainly_invalid, key_set, registered, token, verifier,
};
#[test]
fn a_token_seen_before_is_not_checked_again() {
    let (verifier, _) = verifier();
    let token = Payload::client("ed25519").signed();
    let first = verifier.verify(&token).unwrap();
    let second = verifier.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &second), "the very principal of the first call");
}

#[test]
fn a_remembered_token_ends_with_its_exp() {
    let (verifier, clock) = verifier();
    let token = Payload::client("ed25519").with("exp", &(NOW_S + 60).to_string()).signed();
    let first = verifier.verify(&token).unwrap();
    for (after_ms, held) in [(0, true), (59_999, true), (60_000, false)] {
        clock.set_ms(NOW_S * 1000 + after_ms);
        assert_eq!(verifier.verify(&token).is_ok(), held, "C7 after {after_ms} ms");
    }
    assert_eq!(verifier.verify(&token), Err(Unauthorized::Expired));
    // Forgotten by then: a clock that steps back has it checked anew.
    clock.set_s(NOW_S);
    let again = verifier.verify(&token).unwrap();
    assert!(!Arc::ptr_eq(&first, &again));
}

#[test]
fn a_remembered_token_ends_with_its_key() {
    let (verifier, _) = verifier();
    let token = Payload::client("ed25519").signed();
    assert!(verifier.verify(&token).is_ok());

    let without: Vec<_> =
        key_set().into_iter().filter(|key| key.id.as_str() != "ed25519").collect();
    verifier.set_keys(&without).unwrap();
    assert!(is_plainly_invalid(&verifier.verify(&token)), "C24");

    verifier.set_keys(&key_set()).unwrap();
    assert!(verifier.verify(&token).is_ok(), "registered again");
}

#[test]
fn a_key_replaced_under_its_id_ends_the_tokens_of_the_old_one() {
    let (verifier, _) = verifier();
    let old = Payload::client("ed25519").signed();
    let new = token(&header("ES256"), &Payload::client("ed25519").json(), "ES256");
    assert!(verifier.verify(&old).is_ok());
    assert!(verifier.verify(&new).is_err());

    let replaced = [registered("ed25519", KeyClass::Client, KEYS.public_pem("ES256"))];
    verifier.set_keys(&replaced).unwrap();
    assert!(is_plainly_invalid(&verifier.verify(&old)));
    assert!(verifier.verify(&new).is_ok());
}

#[test]
fn both_keys_of_a_rotation_hold_until_the_old_one_goes() {
    let (verifier, _) = verifier();
    let old = Payload::client("ed25519").signed();
    let new = token(&header("ES256"), &Payload::client("next").json(), "ES256");
    let mut keys = key_set();
    keys.push(registered("next", KeyClass::Client, KEYS.public_pem("ES256")));
    verifier.set_keys(&keys).unwrap();
    assert!(verifier.verify(&old).is_ok() && verifier.verify(&new).is_ok(), "C28");

    keys.retain(|key| key.id.as_str() != "ed25519");
    verifier.set_keys(&keys).unwrap();
    assert!(verifier.verify(&old).is_err() && verifier.verify(&new).is_ok(), "C28");
}

#[test]
fn a_key_that_moves_to_the_other_class_takes_no_token_along() {
    let (verifier, _) = verifier();
    let administration = Payload::administration().signed();
    assert!(verifier.verify(&administration).is_ok());

    let demoted = [registered("admin", KeyClass::Client, KEYS.public_pem("EdDSA"))];
    verifier.set_keys(&demoted).unwrap();
    let answer = verifier.verify(&administration);
    assert!(matches!(answer, Err(Unauthorized::Invalid { forged_role: true, .. })), "{answer:?}");
}

#[test]
fn a_refused_token_is_not_remembered_as_refused() {
    let (verifier, clock) = verifier();
    let early = Payload::client("ed25519").with("nbf", &(NOW_S + 60).to_string()).signed();
    assert!(is_plainly_invalid(&verifier.verify(&early)));
    clock.set_s(NOW_S + 60);
    assert!(verifier.verify(&early).is_ok());
}

#[test]
fn without_keys_nobody_is_known() {
    let (verifier, _) = verifier();
    verifier.set_keys(&[]).unwrap();
    for token in [Payload::client("ed25519").signed(), Payload::administration().signed()] {
        assert!(is_plainly_invalid(&verifier.verify(&token)));
    }
}
