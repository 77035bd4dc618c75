//! Who signed, and how (C4 to C6, C16).

use aws_lc_rs::hmac;
use farebox::auth::{Role, Unauthorized};
use farebox::domain::keys::KeyClass;

use crate::forge::{
    INSTANCE, KEYS, Payload, base64url, check_refused, header, registered, token, verifier,
};

#[test]
fn every_algorithm_of_a_keys_family_is_accepted() {
    let (verifier, _) = verifier();
    let rows = [
        ("ed25519", "EdDSA"),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
    ];
    for (key_id, alg) in rows {
        let token = token(&header(alg), &Payload::client(key_id).json(), alg);
        let principal = verifier.verify(&token).unwrap_or_else(|error| panic!("{alg}: {error}"));
        assert_eq!(&*principal.key_id, key_id);
        assert_eq!(principal.role, Role::Client);
    }
}

#[test]
fn an_algorithm_of_another_family_is_refused() {
    let mut rows = Vec::new();
    // Which key is named, what the header says, what really signed.
    let confusions = [
        ("p256", "RS256", "RS256"),
        ("p256", "RS256", "ES256"),
        ("p256", "ES384", "ES384"),
        ("p256", "EdDSA", "EdDSA"),
        ("p384", "ES256", "ES384"),
        ("ed25519", "ES256", "ES256"),
        ("ed25519", "ES256", "EdDSA"),
        ("rsa", "PS256", "RS256"),
        ("rsa", "RS256", "PS256"),
        ("rsa", "RS384", "RS256"),
        ("rsa", "EdDSA", "EdDSA"),
        ("rsa", "PS384", "PS256"),
        ("rsa", "PS512", "PS256"),
        ("rsa", "rs256", "RS256"),
        ("ed25519", "eddsa", "EdDSA"),
        ("ed25519", "Ed25519", "EdDSA"),
        ("ed25519", "EdDSA ", "EdDSA"),
        ("p256", "ES256K", "ES256"),
        ("p256", "ES512", "ES256"),
    ];
    for (key_id, alg, signed_by) in confusions {
        let token = token(&header(alg), &Payload::client(key_id).json(), signed_by);
        rows.push((format!("C5 {key_id}: {alg} in fact {signed_by}"), token));
    }
    check_refused(rows);
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let mut rows = Vec::new();
    for (key_id, family) in [("rsa", "RS256"), ("p256", "ES256"), ("ed25519", "EdDSA")] {
        let pem = KEYS.public_pem(family);
        let secrets =
            [pem.clone(), pem.trim_end().to_owned(), pem.replace('\n', ""), String::new()];
        let hashes = [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ];
        for (alg, hash) in hashes {
            for secret in &secrets {
                let payload = Payload::client(key_id).json();
                let message = format!("{}.{}", base64url(header(alg)), base64url(payload));
                let key = hmac::Key::new(hash, secret.as_bytes());
                let tag = hmac::sign(&key, message.as_bytes());
                rows.push((format!("C4 {key_id} {alg}"), format!("{message}.{}", base64url(tag))));
            }
        }
    }
    check_refused(rows);
}

/// A raw ECDSA signature as DER, the form that X.509 uses and JWS does not.
fn der_of_raw(raw: &[u8]) -> Vec<u8> {
    let mut integers = Vec::new();
    for number in raw.chunks(raw.len() / 2) {
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = usize::from(number.first().is_some_and(|byte| *byte >= 0x80));
        integers.extend([2, u8::try_from(number.len() + sign).expect("short")]);
        integers.resize(integers.len() + sign, 0);
        integers.extend(number);
    }
    let mut der = vec![0x30, u8::try_from(integers.len()).expect("short")];
    der.extend(integers);
    der
}

#[test]
fn a_forged_signature_is_refused() {
    let mut rows = Vec::new();
    for (key_id, alg) in
        [("p256", "ES256"), ("p384", "ES384"), ("ed25519", "EdDSA"), ("rsa", "PS256")]
    {
        let payload = Payload::client(key_id).json();
        let message = format!("{}.{}", base64url(header(alg)), base64url(payload));
        let raw = KEYS.sign(alg, message.as_bytes());
        let (r, s) = raw.split_at(raw.len() / 2);
        let mut forgeries = vec![
            ("zeros", vec![0; raw.len()]),
            ("ones", vec![1; raw.len()]),
            ("all bits", vec![0xff; raw.len()]),
            ("halves swapped", [s, r].concat()),
            ("r alone", r.to_vec()),
            ("a byte more", [&raw, &[0][..]].concat()),
            ("a byte less", raw[..raw.len() - 1].to_vec()),
            ("twice", raw.repeat(2)),
            ("of another text", KEYS.sign(alg, b"another text")),
        ];
        if alg.starts_with("ES") {
            forgeries.push(("DER", der_of_raw(&raw)));
        }
        for bit in (0..raw.len() * 8).step_by(37) {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            forgeries.push(("a bit flipped", flipped));
        }
        for (what, forgery) in forgeries {
            rows.push((format!("C6 {alg}, {what}"), format!("{message}.{}", base64url(forgery))));
        }
    }
    check_refused(rows);
}

#[test]
fn changed_claims_or_header_break_the_signature() {
    let signed = Payload::client("ed25519").signed();
    let mut parts = signed.split('.');
    let (head, body, signature) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let longer = base64url(Payload::client("ed25519").with("exp", "1800000000").json());
    let wider = base64url(
        Payload::client("ed25519")
            .with("aud", &format!(r#"["{INSTANCE}","00000000-0000-0000-0000-000000000001"]"#))
            .json(),
    );
    let other_head = base64url(r#"{"typ":"JWT","alg":"EdDSA"}"#);
    check_refused([
        ("later exp".into(), format!("{head}.{longer}.{signature}")),
        ("wider aud".into(), format!("{head}.{wider}.{signature}")),
        ("other header".into(), format!("{other_head}.{body}.{signature}")),
    ]);
}

#[test]
fn an_unknown_key_is_answered_like_a_bad_signature() {
    let (verifier, _) = verifier();
    let signed_by_a_stranger = |payload: &Payload| {
        let message = format!("{}.{}", base64url(header("EdDSA")), base64url(payload.json()));
        let signature = KEYS.stranger.sign(message.as_bytes());
        format!("{message}.{}", base64url(signature))
    };
    let bad_signature = verifier.verify(&signed_by_a_stranger(&Payload::client("ed25519")));
    assert!(matches!(bad_signature, Err(Unauthorized::Invalid { forged_role: false, .. })));

    let huge = "x".repeat(4_000);
    let too_long = "x".repeat(129);
    let names = [
        "nobody",
        "",
        "ed25519 ",
        "ED25519",
        "ed2551",
        "../../etc/passwd",
        "' OR 1=1",
        r"ed25519\u0000",
        r"\u0000",
        huge.as_str(),
        too_long.as_str(),
        "p256",
        "rsa",
        "admin",
    ];
    for name in names {
        let token = signed_by_a_stranger(&Payload::client(name));
        assert_eq!(verifier.verify(&token), bad_signature, "C16 {name:.20}");
    }
    // Another one's key, and a true signature by one's own.
    for name in ["nobody", "p256", "rsa"] {
        assert_eq!(verifier.verify(&Payload::client(name).signed()), bad_signature, "C16 {name}");
    }
}

#[test]
fn every_family_has_a_decoy_for_unknown_keys() {
    for alg in ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = token(&header(alg), &Payload::client("nobody").json(), alg);
        check_refused([(format!("C16 {alg}"), token)]);
    }
}

#[test]
fn administration_and_client_keys_are_named_apart() {
    let (verifier, _) = verifier();
    let twins = [
        registered("twin", KeyClass::Administration, KEYS.public_pem("ES256")),
        registered("twin", KeyClass::Client, KEYS.public_pem("EdDSA")),
    ];
    verifier.set_keys(&twins).expect("two keys of two classes");
    let client = Payload::client("twin");
    let administration = client.clone().with("cnf", r#"{"jwk":{"kid":"twin","kty":"ADMIN"}}"#);
    // What the token claims, what signed it, whom it makes.
    let rows = [
        (&client, "EdDSA", Some(Role::Client)),
        (&client, "ES256", None),
        (&administration, "ES256", Some(Role::Administration)),
        (&administration, "EdDSA", None),
    ];
    for (payload, alg, role) in rows {
        let answer = verifier.verify(&token(&header(alg), &payload.json(), alg));
        assert_eq!(answer.map(|principal| principal.role).ok(), role, "{alg}");
    }
}

/// C16: the id of a key cannot be guessed by the clock either. Only the long form judges time: a
/// machine that does something else meanwhile would judge wrongly.
#[test]
fn an_unknown_key_takes_as_long_as_a_bad_signature() {
    let is_long = std::env::var_os("FAREBOX_LONG").is_some();
    let pairs = if is_long { 10_000 } else { 20 };
    let (verifier, _) = verifier();
    let bad = |alg: &str| KEYS.sign(alg, b"another text");
    let rows = [
        ("ed25519", "EdDSA", "of another text", bad("EdDSA")),
        ("p256", "ES256", "of another text", bad("ES256")),
        ("p384", "ES384", "of another text", bad("ES384")),
        ("rsa", "RS256", "below every modulus", [vec![0], vec![1; 255]].concat()),
        ("rsa", "PS256", "below every modulus", [vec![0], vec![1; 255]].concat()),
        ("rsa", "RS256", "below most moduli", vec![0xa0; 256]),
        ("rsa", "RS256", "beyond every modulus", vec![0xff; 256]),
        ("rsa", "RS256", "of a longer key", vec![1; 512]),
        ("rsa", "RS256", "of no key", vec![1; 9]),
    ];
    for (key_id, alg, what, signature) in rows {
        let forged = |kid: &str| {
            let payload = Payload::client(kid).json();
            let message = format!("{}.{}", base64url(header(alg)), base64url(payload));
            format!("{message}.{}", base64url(&signature))
        };
        let (known, unknown) = (forged(key_id), forged(&"x".repeat(key_id.len())));
        let time = |token: &str| {
            let began = tokio::time::Instant::now();
            assert!(verifier.verify(token).is_err());
            began.elapsed()
        };
        // Now the one first, now the other: what the first leaves in the caches helps the second.
        let (mut of_known, mut of_unknown): (Vec<_>, Vec<_>) = (0..pairs)
            .map(|pair| {
                if pair % 2 == 0 {
                    (time(&known), time(&unknown))
                } else {
                    let unknown = time(&unknown);
                    (time(&known), unknown)
                }
            })
            .unzip();
        let [known, unknown] = [&mut of_known, &mut of_unknown].map(|times| {
            times.sort_unstable();
            *times.get(pairs / 2).expect("a median")
        });
        println!("C16 {alg}, {what}: {known:?} a known key, {unknown:?} an unknown one");
        let apart = known.abs_diff(unknown);
        assert!(!is_long || apart * 20 < known, "C16 {alg}, {what}: more than a twentieth apart");
    }
}
