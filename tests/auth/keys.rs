//! Which keys may be registered (C26), new pairs, and the tokens that `sign` makes.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use farebox::auth::{
    BadKey, Family, Role, SignError, TokenRequest, check_public_key, generate_key_pair, sign,
};
use farebox::domain::ids::InstanceId;
use farebox::domain::keys::KeyClass;
use farebox::domain::time::Timestamp;

use crate::forge::{
    INSTANCE, KEYS, NOW_S, Payload, header, pem, public_pem, registered, token, verifier,
};

/// The SPKI of an RSA key with a modulus of so many bits, all set.
fn rsa_of(bits: usize, exponent: &[u8]) -> String {
    // The first byte has what is over of eight bits; where nothing is, a zero for the sign.
    let first = u8::try_from((1_u32 << (bits % 8)) - 1).expect("under eight bits");
    let modulus = [vec![first], vec![0xff; bits / 8]].concat();
    let numbers = [tlv(2, &modulus), tlv(2, exponent)].concat();
    let key = [&[0][..], &tlv(0x30, &numbers)].concat();
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    public_pem(&tlv(0x30, &[&algorithm[..], &tlv(3, &key)].concat()))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("short").to_be_bytes();
    let length = match content.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [vec![tag], length, content.to_vec()].concat()
}

#[test]
fn keys_of_the_four_families_are_accepted() {
    let rows = [
        ("EdDSA", Family::Ed25519),
        ("ES256", Family::P256),
        ("ES384", Family::P384),
        ("RS256", Family::Rsa),
    ];
    for (alg, family) in rows {
        let pem = KEYS.public_pem(alg);
        assert_eq!(check_public_key(&pem), Ok(family));
        let from_windows = format!("\r\n{}\r\n", pem.replace('\n', "\r\n"));
        assert_eq!(check_public_key(&from_windows), Ok(family));
    }
}

#[test]
fn rsa_keys_have_2048_to_4096_bits() {
    let e = [1, 0, 1];
    for bits in [2048, 2049, 3072, 4095, 4096] {
        assert_eq!(check_public_key(&rsa_of(bits, &e)), Ok(Family::Rsa), "{bits}");
    }
    for bits in [512, 1024, 2040, 2047, 4097, 8192, 16384] {
        let refused = check_public_key(&rsa_of(bits, &e)).expect_err("out of range");
        let expected = [BadKey::RsaBits { bits }, BadKey::Unsupported];
        assert!(expected.contains(&refused), "C26 {bits}: {refused}");
    }
    for exponent in [&[0][..], &[1], &[2], &[4]] {
        assert!(check_public_key(&rsa_of(2048, exponent)).is_err(), "exponent {exponent:?}");
    }
}

#[test]
fn other_kinds_of_keys_are_refused() {
    // Public halves of throw-away pairs, made with `openssl genpkey`.
    let others = [
        (
            "P-192",
            "MEkwEwYHKoZIzj0CAQYIKoZIzj0DAQEDMgAEaMP87lDDGv0kySJByFMnMlxs509CgrzXM/z7c+MW1n8uxqZ/UJ6Xe3KT1KMZrAA/",
        ),
        (
            "P-521",
            "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBuxDGOm9Hwh2CuxDFSs7XlasPrHeuRDWzmFgzHpp+8LUACrZhzN1k1QKKwnkbHZNO4IYdvJRshTCFSNoXJvlkoLkAFq8+wTQxXNpdYdsR5twJCOoUR8CCOfr0RFIFZwJnTiUgq4L+ioTOGhxNlP7T4ua2T07q+7uz9MxWlfA33y2iMlw=",
        ),
        (
            "secp256k1",
            "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAERSktfJmhnU0UFJxpPVXuo8IKlW5osMg7/FgmIrkzQMs/bNX2Lns/XKI6ueEhUk6Jb+J4V8qHBHJKCDBLo1ploA==",
        ),
        ("X25519", "MCowBQYDK2VuAyEANs04FmBNNISmXzK6owA6FBxa40TC/MUoBz54ZEdSEiw="),
        ("garbage", "AAAA"),
        ("nothing", ""),
    ];
    for (what, digits) in others {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{digits}\n-----END PUBLIC KEY-----\n");
        assert_eq!(check_public_key(&pem), Err(BadKey::Unsupported), "C26 {what}");
    }
}

#[test]
fn a_key_that_is_not_quite_one_is_refused() {
    let der = |alg: &str| {
        let pair = match alg {
            "ES256" => aws_lc_rs::signature::KeyPair::public_key(&KEYS.p256).as_der(),
            _ => aws_lc_rs::signature::KeyPair::public_key(&KEYS.p384).as_der(),
        };
        pair.expect("a key has a DER form").as_ref().to_vec()
    };
    let ed25519 = aws_lc_rs::signature::KeyPair::public_key(&KEYS.ed25519).as_der().unwrap();
    let rsa = aws_lc_rs::signature::KeyPair::public_key(&KEYS.rsa).as_der().unwrap();
    let rsa_pkcs1 = aws_lc_rs::signature::KeyPair::public_key(&KEYS.rsa).as_ref();
    let mut off_the_curve = der("ES256");
    *off_the_curve.last_mut().unwrap() ^= 1;
    let with_point = |first: u8, bytes: usize| {
        let mut der = der("ES256")[..26 + bytes].to_vec();
        der[26] = first;
        der
    };
    let last_bit = der("ES256").last().unwrap() & 1;
    let rows = [
        ("a point off the curve", off_the_curve),
        ("a compressed point in the plain one's place", with_point(2 + last_bit, 33)),
        ("a hybrid point", with_point(6 + last_bit, 65)),
        ("a byte after Ed25519", [ed25519.as_ref(), &[0]].concat()),
        ("a byte after P-256", [&der("ES256")[..], &[0]].concat()),
        ("a byte after P-384", [&der("ES384")[..], &[0]].concat()),
        ("a byte after RSA", [rsa.as_ref(), &[0]].concat()),
        ("half of P-256", der("ES256")[..60].to_vec()),
        ("PKCS#1 under the label of SPKI", rsa_pkcs1.to_vec()),
    ];
    for (what, der) in rows {
        assert_eq!(check_public_key(&public_pem(&der)), Err(BadKey::Unsupported), "{what}");
    }
    let private = public_pem(KEYS.ed25519.to_pkcs8v1().unwrap().as_ref());
    assert_eq!(check_public_key(&private), Err(BadKey::Private), "under a public label");
}

#[test]
fn only_one_block_with_the_right_label_is_a_public_key() {
    let good = KEYS.public_pem("EdDSA");
    let private = generate_key_pair().unwrap().private_pem;
    let ec_private = pem("EC PRIVATE KEY", &[0x30, 0]);
    let rows = [
        (private.clone(), BadKey::Private),
        (format!("{good}{private}"), BadKey::Private),
        (format!("{private}{good}"), BadKey::Private),
        (ec_private, BadKey::Private),
        (format!("{good}{good}"), BadKey::NotPem),
        (format!("a comment\n{good}"), BadKey::NotPem),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), BadKey::NotPem),
        (good.replace("PUBLIC KEY", "RSA PUBLIC KEY"), BadKey::NotPem),
        (good.replace("=", ""), BadKey::NotPem),
        (good.replace("-----END", "?-----END"), BadKey::NotPem),
        (good.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1), BadKey::NotPem),
        (public_pem(&[0; 8 * 1024]), BadKey::NotPem),
        ("ssh-ed25519 AAAAC3Nza".to_owned(), BadKey::NotPem),
        (String::new(), BadKey::NotPem),
    ];
    for (pem, refusal) in rows {
        assert_eq!(check_public_key(&pem), Err(refusal), "C26 {pem:.80}");
    }
}

#[test]
fn a_set_with_a_bad_key_changes_nothing() {
    let (verifier, _) = verifier();
    let good = || KEYS.public_pem("EdDSA");
    let client = |id: &str, pem| registered(id, KeyClass::Client, pem);
    let long = "x".repeat(129);
    let rows = [
        (vec![client("k", good()), client("bad", "x".into())], BadKey::NotPem),
        (vec![client("k", good()), client("k", good())], BadKey::Repeated),
        (vec![client("", good())], BadKey::Id),
        (vec![client(&long, good())], BadKey::Id),
        (vec![client("..", good())], BadKey::Id),
        (vec![client("a/./b", good())], BadKey::Id),
        (vec![client("a\\b", good())], BadKey::Id),
        (vec![client("%41", good())], BadKey::Id),
    ];
    for (keys, expected) in rows {
        let BadKey::InSet { class, id, cause } = verifier.set_keys(&keys).unwrap_err() else {
            panic!("the refusal must name the key");
        };
        assert_eq!((class, *cause), ("client-key", expected), "{id}");
        assert!(verifier.verify(&Payload::client("ed25519").signed()).is_ok(), "as before");
    }
    assert!(verifier.set_keys(&[client(&"x".repeat(128), good())]).is_ok());
}

#[test]
fn refusals_of_keys_read_well() {
    let cause = Box::new(BadKey::RsaBits { bits: 512 });
    let refusal = BadKey::InSet { class: "client-key", id: "old".into(), cause };
    assert_eq!(
        format!("{}: {refusal}", refusal.code()),
        "bad-key: client-key `old`: is an RSA key of 512 bits: from 2048 to 4096 are accepted"
    );
    assert_eq!(
        BadKey::Id.to_string(),
        "id must have 1 to 128 characters, no control character, `%`, `;` or `\\` among them, \
         and `.` and `..` are none"
    );
}

fn request(role: Role, key_id: &str) -> TokenRequest {
    let instances = match role {
        Role::Client => vec![INSTANCE.to_owned()],
        Role::Administration => Vec::new(),
    };
    TokenRequest {
        role,
        instances,
        expires_in: Duration::from_secs(600),
        issuer: "farebox".to_owned(),
        now: Timestamp::from_ms(NOW_S * 1000 + 999),
        key_id: key_id.to_owned(),
    }
}

#[test]
fn a_new_pair_signs_tokens_that_its_public_half_verifies() {
    let (verifier, clock) = verifier();
    let pair = generate_key_pair().unwrap();
    let keys = [KeyClass::Client, KeyClass::Administration]
        .map(|class| registered("new", class, pair.public_pem.clone()));
    verifier.set_keys(&keys).unwrap();
    for role in [Role::Client, Role::Administration] {
        let token = sign(&pair.private_pem, &request(role, "new")).unwrap();
        let principal = verifier.verify(&token).unwrap();
        assert_eq!((&*principal.key_id, principal.role), ("new", role));
        assert!(principal.scope(InstanceId::parse(INSTANCE).unwrap()).is_ok());
        clock.set_s(NOW_S + 605);
        assert!(verifier.verify(&token).is_err(), "it lasts as long as asked for");
        clock.set_s(NOW_S);
    }
    let other = generate_key_pair().unwrap();
    assert_ne!(other.private_pem, pair.private_pem);
}

#[test]
fn private_keys_of_every_family_sign() {
    let (verifier, _) = verifier();
    let rows = [
        ("ed25519", KEYS.ed25519.to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("ed25519", KEYS.ed25519.to_pkcs8().unwrap().as_ref().to_vec()),
        ("p256", KEYS.p256.to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("p384", KEYS.p384.to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("rsa", KEYS.rsa.as_der().unwrap().as_ref().to_vec()),
    ];
    for (key_id, der) in rows {
        let private: String = pem("PRIVATE KEY", &der);
        let token = sign(&private, &request(Role::Client, key_id));
        let token = token.unwrap_or_else(|error| panic!("{key_id}: {error}"));
        assert!(verifier.verify(&token).is_ok(), "{key_id}");
    }
}

#[test]
fn what_no_server_would_accept_is_not_signed() {
    let pair = generate_key_pair().unwrap();
    let client = request(Role::Client, "new");
    let administration = request(Role::Administration, "new");
    let requests = [
        TokenRequest { instances: Vec::new(), ..client.clone() },
        TokenRequest { instances: vec![INSTANCE.to_owned()], ..administration },
        TokenRequest { instances: vec![INSTANCE.to_owned(); 200], ..client.clone() },
        TokenRequest { issuer: String::new(), ..client.clone() },
        TokenRequest { key_id: String::new(), ..client.clone() },
        TokenRequest { key_id: "a\nb".to_owned(), ..client.clone() },
        TokenRequest { expires_in: Duration::from_millis(999), ..client.clone() },
        TokenRequest { expires_in: Duration::from_secs(300_000_000_000), ..client.clone() },
        TokenRequest { expires_in: Duration::MAX, ..client.clone() },
    ];
    for request in requests {
        let refused = sign(&pair.private_pem, &request);
        assert!(matches!(refused, Err(SignError::BadRequest { .. })), "{request:?}");
    }
    for key in [pair.public_pem.as_str(), "", "garbage", &pem("PRIVATE KEY", &[0x30, 0])] {
        assert_eq!(sign(key, &client), Err(SignError::BadPrivateKey), "{key:.40}");
    }
}

#[test]
fn a_private_key_is_never_printed() {
    let pair = generate_key_pair().unwrap();
    let printed = format!("{pair:?} {pair:#?}");
    let secret = pair.private_pem.lines().nth(1).expect("the digits of the key");
    assert!(!printed.contains(secret) && !printed.contains("PRIVATE"), "{printed}");
    let refused = check_public_key(&pair.private_pem).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains(secret));
}

#[test]
fn a_token_is_never_repeated_by_its_refusal() {
    let (verifier, _) = verifier();
    let secret = token(&header("EdDSA"), &Payload::client("someone").json(), "EdDSA");
    let refused = verifier.verify(&secret).unwrap_err();
    let printed = format!("{refused} {refused:?}");
    assert!(!printed.contains("someone") && !printed.contains(&secret[..10]), "{printed}");
}
