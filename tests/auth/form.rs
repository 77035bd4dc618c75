//! The text of a token: parts, encoding, header, size (C3, C12, C17 to C20, C22, C23).

use farebox::auth::{TOKEN_BYTES_MAX, Unauthorized};

use crate::forge::{
    INSTANCE, KEYS, Payload, base64url, check_refused, header, is_plainly_invalid, token, verifier,
};

fn good() -> String {
    Payload::client("ed25519").signed()
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().expect("a token has three parts")
}

#[test]
fn no_token_is_told_apart_from_a_bad_one() {
    let (verifier, _) = verifier();
    assert_eq!(verifier.verify(""), Err(Unauthorized::Missing));
    assert_eq!(Unauthorized::Missing.code(), "missing-token");
    let bad = verifier.verify("x").expect_err("no token");
    assert_eq!(bad.code(), "invalid-token");
    assert_eq!(Unauthorized::Expired.code(), "invalid-token");
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let payload = Payload::client("ed25519").json();
    let mut rows = Vec::new();
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let signed = token(&header(alg), &payload, "EdDSA");
        let [head, body, signature] = parts(&signed);
        rows.push((format!("C3 {alg:?}, signed"), signed));
        rows.push((format!("C3 {alg:?}, empty signature"), format!("{head}.{body}.")));
        rows.push((format!("C3 {alg:?}, two parts"), format!("{head}.{body}")));
        rows.push((format!("C3 {alg:?}, no header"), format!(".{body}.{signature}")));
    }
    for (key_id, alg) in [("rsa", "RS256"), ("rsa", "PS256"), ("p256", "ES256"), ("p384", "ES384")]
    {
        let [head, body, _] = parts(&token(&header(alg), &Payload::client(key_id).json(), alg));
        rows.push((format!("C3 {alg}, empty signature"), format!("{head}.{body}.")));
    }
    let [head, body, signature] = parts(&good());
    rows.push(("C3 empty signature".into(), format!("{head}.{body}.")));
    rows.push(("C3 two parts".into(), format!("{head}.{body}")));
    rows.push(("C3 empty payload".into(), format!("{head}..{signature}")));
    rows.push(("C3 only dots".into(), "..".into()));
    check_refused(rows);
}

#[test]
fn other_serialisations_are_refused() {
    let [head, body, signature] = parts(&good());
    let flattened =
        format!(r#"{{"protected":"{head}","payload":"{body}","signature":"{signature}"}}"#);
    let nested = token(r#"{"alg":"EdDSA","cty":"JWT"}"#, &good(), "EdDSA");
    check_refused([
        ("C19 five parts".into(), format!("{head}.{body}.{signature}.{body}.{signature}")),
        ("C19 four parts".into(), format!("{head}.{body}.{signature}.")),
        ("C19 JSON serialisation".into(), flattened),
        ("C19 nested JWT".into(), nested),
    ]);
}

/// The same bytes with one of the spare bits of the last digit set.
fn stray(part: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = part.split_at(part.len() - 1);
    let place = alphabet.find(last).expect("a digit");
    let next = alphabet.chars().nth(place + 1).expect("a last digit with bits to spare");
    format!("{rest}{next}")
}

#[test]
fn another_spelling_of_the_same_bytes_is_refused() {
    let token = good();
    let [head, body, signature] = parts(&token);
    let with = |head: &str, body: &str, signature: &str| format!("{head}.{body}.{signature}");
    let standard = signature.replace('-', "+").replace('_', "/") + "+/";
    check_refused([
        ("C22 padded signature".into(), with(&head, &body, &format!("{signature}=="))),
        ("C22 padded header".into(), with(&format!("{head}="), &body, &signature)),
        ("C22 stray last bits".into(), with(&head, &body, &stray(&signature))),
        ("C22 trailing space".into(), format!("{token} ")),
        ("C22 leading space".into(), format!(" {token}")),
        ("C22 newline inside".into(), with(&head, &format!("{body}\n"), &signature)),
        ("C22 tab inside".into(), with(&format!("\t{head}"), &body, &signature)),
        ("C22 NUL at the end".into(), format!("{token}\0")),
        ("C22 standard alphabet".into(), with(&head, &body, &standard)),
        ("C22 not ASCII".into(), with(&head, &body, &format!("{signature}é"))),
    ]);
}

/// The signature covers the text, so only our own reading can refuse what the signer spelt badly.
#[test]
fn a_token_is_refused_that_was_signed_in_another_spelling() {
    // 28 and 1 mod 3 bytes: two digits of padding, and four bits to spare in the last digit.
    let head = base64url(r#"{"alg":"EdDSA","typ":"JWT" }"#);
    let mut json = Payload::client("ed25519").json();
    while json.len() % 3 != 1 {
        json.push(' ');
    }
    let body = base64url(json);
    let signed = |head: &str, body: &str| {
        let message = format!("{head}.{body}");
        let signature = KEYS.sign("EdDSA", message.as_bytes());
        format!("{message}.{}", base64url(signature))
    };
    let (verifier, _) = verifier();
    assert!(verifier.verify(&signed(&head, &body)).is_ok(), "in the canonical spelling");
    check_refused([
        ("C22 padded header".into(), signed(&format!("{head}=="), &body)),
        ("C22 padded payload".into(), signed(&head, &format!("{body}=="))),
        ("C22 half padded payload".into(), signed(&head, &format!("{body}="))),
        ("C22 stray bits in the header".into(), signed(&stray(&head), &body)),
        ("C22 stray bits in the payload".into(), signed(&head, &stray(&body))),
        ("C22 newline in the payload".into(), signed(&head, &format!("{body}\n"))),
        ("C22 space in the header".into(), signed(&format!(" {head}"), &body)),
        ("C19 a fourth part".into(), signed(&head, &format!("{body}.{body}"))),
    ]);
}

/// JSON is UTF-8, also in what is not read: another reader might see something else there.
#[test]
fn a_token_that_is_not_utf8_is_refused() {
    let signed = |header: &[u8], payload: &[u8]| {
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = KEYS.sign("EdDSA", message.as_bytes());
        format!("{message}.{}", base64url(signature))
    };
    let (head, body) = (header("EdDSA"), Payload::client("ed25519").with("note", r#""?""#).json());
    let with = |text: &str, bytes: &[u8]| {
        let (before, after) = text.split_once('?').expect("a place");
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    let noted = head.replace('}', r#","note":"?"}"#);
    let (verifier, _) = verifier();
    let fine = signed(&with(&noted, "é".as_bytes()), &with(&body, "é".as_bytes()));
    assert!(verifier.verify(&fine).is_ok(), "what is UTF-8 is fine");
    let bad: [(&str, &[u8]); 5] = [
        ("no start", b"\xff"),
        ("cut short", b"\xc3"),
        ("overlong", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("above all planes", b"\xf4\x90\x80\x80"),
    ];
    check_refused(bad.into_iter().flat_map(|(what, bytes)| {
        [
            (format!("{what} in the payload"), signed(head.as_bytes(), &with(&body, bytes))),
            (format!("{what} in the header"), signed(&with(&noted, bytes), body.as_bytes())),
        ]
    }));
}

#[test]
fn a_header_that_wants_to_be_understood_is_refused() {
    let payload = Payload::client("ed25519").json();
    let headers = [
        r#"{"alg":"EdDSA","crit":["x"],"x":1}"#,
        r#"{"alg":"EdDSA","crit":[]}"#,
        r#"{"alg":"EdDSA","crit":null}"#,
        r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","b64":false}"#,
        r#"{"alg":"EdDSA","b64":true}"#,
        r#"{"alg":"EdDSA","zip":"DEF"}"#,
        r#"{"alg":"EdDSA","zip":null}"#,
        r#"{"alg":"EdDSA","\u007aip":"DEF"}"#,
        r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
        r#"{"alg":"none","alg":"EdDSA"}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"{"alg":null}"#,
        r#"{"Alg":"EdDSA"}"#,
        r#"{"typ":"JWT"}"#,
        r#"["EdDSA"]"#,
        r#""EdDSA""#,
        r#"{"alg":"EdDSA"} {}"#,
        "{}",
        "not JSON",
    ];
    check_refused(
        headers.map(|header| (format!("C18, C23: {header}"), token(header, &payload, "EdDSA"))),
    );
}

#[test]
fn keys_offered_by_the_header_are_not_looked_at() {
    let (verifier, _) = verifier();
    let strange = base64url(aws_lc_rs::signature::KeyPair::public_key(&KEYS.stranger));
    let offers = [
        r#""jku":"https://evil.example/keys""#.to_owned(),
        r#""x5u":"https://evil.example/cert""#.to_owned(),
        r#""x5c":["AAAA"]"#.to_owned(),
        r#""kid":"nobody""#.to_owned(),
        format!(r#""jwk":{{"kty":"OKP","crv":"Ed25519","x":"{strange}"}}"#),
        r#""jwk":"no key at all""#.to_owned(),
    ];
    for offer in offers {
        let header = format!(r#"{{"alg":"EdDSA",{offer}}}"#);
        let payload = Payload::client("ed25519").json();
        assert!(verifier.verify(&token(&header, &payload, "EdDSA")).is_ok(), "C17: {offer}");

        let message = format!("{}.{}", base64url(&header), base64url(&payload));
        let signature = KEYS.stranger.sign(message.as_bytes());
        let forged = format!("{message}.{}", base64url(signature));
        assert!(is_plainly_invalid(&verifier.verify(&forged)), "C17: {offer}");
    }
}

#[test]
fn a_payload_must_be_an_object() {
    let good = Payload::client("ed25519").json();
    let values = format!(
        r#"["producer.org",1700000000,1700003600,1700000000,["{INSTANCE}"],[["ed25519","CLIENT"]]]"#
    );
    let payloads = [
        format!("[{good}]"),
        values,
        format!("{good}{good}"),
        format!("{good},"),
        format!("\u{feff}{good}"),
        format!("\"{}\"", base64url(&good)),
        "null".to_owned(),
        "1".to_owned(),
        "[".repeat(5_000),
        String::from_utf8_lossy(&[b' '; 64]).into_owned(),
    ];
    check_refused(
        payloads.map(|json| (format!("C20 {:.60}", json), token(&header("EdDSA"), &json, "EdDSA"))),
    );
}

#[test]
fn a_token_may_have_8_kib_and_not_a_byte_more() {
    let (verifier, _) = verifier();
    // Base64 cannot make every length: grow the header's padding member until it fits.
    let sized = |bytes: usize| {
        (0..4)
            .flat_map(|in_header| (0..bytes).map(move |in_payload| (in_header, in_payload)))
            .skip_while(|(_, in_payload)| in_payload * 4 / 3 + 600 < bytes)
            .find_map(|(in_header, in_payload)| {
                let header = format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(in_header));
                let padding = format!("\"{}\"", "x".repeat(in_payload));
                let payload = Payload::client("ed25519").with("x", &padding).json();
                let unsigned = base64url(&header).len() + 1 + base64url(&payload).len();
                (unsigned + 1 + 86 == bytes).then(|| token(&header, &payload, "EdDSA"))
            })
            .expect("some padding makes the length")
    };
    let longest = sized(TOKEN_BYTES_MAX);
    assert_eq!(longest.len(), TOKEN_BYTES_MAX);
    assert!(verifier.verify(&longest).is_ok());
    let longer = sized(TOKEN_BYTES_MAX + 1);
    assert_eq!(longer.len(), TOKEN_BYTES_MAX + 1);
    assert!(is_plainly_invalid(&verifier.verify(&longer)), "C12");
}
