//! Table C of the promises over a socket: each row with really forged tokens, on a call that would
//! charge. What each check does in detail is told by `tests/auth`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use farebox::domain::keys::NewKey;

use crate::asking;
use crate::forge::{KEYS, NOW_S, Payload, base64url, header, key_set, stopped_clock, token};
use crate::http_client::{Answer, bytes_of};
use crate::server::{TestServer, start_judging};

const ISSUER: &str = "producer.org";
const UNKNOWN: &str = "64d2028c-ae87-4069-a624-66089d957ef9";

/// A server that knows the forger's keys, and the instance that the forgeries are after.
async fn house() -> (TestServer, String) {
    let mut server = start_judging(ISSUER, stopped_clock()).await;
    let keys = key_set().into_iter();
    let keys = keys.map(|key| NewKey { id: key.id, class: key.class, pem: key.pem }).collect();
    server.broker.register_keys(keys).await.expect("good keys");
    server.admin_token = Payload::administration().signed();
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 1000).await;
    (server, instance)
}

fn access(instance: &str) -> String {
    format!("POST /api/v1.1/instances/{instance}/access-request\ncontent-type: application/json")
}

async fn call(server: &TestServer, instance: &str, headers: &str) -> Answer {
    let head = format!("{}\n{headers}", access(instance));
    let body = asking(&[("PhotoPrint", "1.0", "1")]);
    server.connect().await.request(&head, &body).await
}

/// The header and payload of this token with a signature of another's making.
fn resigned(payload: &Payload, alg: &str, signature: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header(alg)), base64url(payload.json()));
    format!("{message}.{}", base64url(signature(message.as_bytes())))
}

fn with_cnf(payload: &Payload, kid: &str, kty: &str) -> Payload {
    payload.clone().with("cnf", &format!(r#"{{"jwk":{{"kid":{kid},"kty":{kty}}}}}"#))
}

/// Row of the table, token.
fn forgeries(good: &Payload) -> Vec<(&'static str, String)> {
    let signed = good.signed();
    let (message, signature) = signed.rsplit_once('.').expect("three parts");
    let (head, body) = message.split_once('.').expect("three parts");
    let of = |key_id: &str| with_cnf(good, &format!("\"{key_id}\""), r#""CLIENT""#);
    let with = |name: &'static str, json: &str| good.clone().with(name, json).signed();
    let headed = |header: &str| token(header, &good.json(), "EdDSA");
    let hmac = |bytes: &[u8]| {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, KEYS.public_pem("RS256").as_bytes());
        hmac::sign(&secret, bytes).as_ref().to_vec()
    };
    let es256 = |bytes: &[u8]| KEYS.sign("ES256", bytes);
    let swapped = |bytes: &[u8]| {
        let mut raw = es256(bytes);
        raw.rotate_left(32);
        raw
    };
    let flipped = |bytes: &[u8]| es256(bytes).iter().map(|byte| byte ^ 1).collect();
    let stranger = |bytes: &[u8]| KEYS.stranger.sign(bytes).as_ref().to_vec();
    let jwk = base64url(aws_lc_rs::signature::KeyPair::public_key(&KEYS.stranger));
    let offered = format!(
        r#"{{"alg":"EdDSA","kid":"x","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{jwk}"}}}}"#
    );
    let by_its_own_key = format!("{}.{body}", base64url(&offered));
    let by_its_own_key =
        format!("{by_its_own_key}.{}", base64url(stranger(by_its_own_key.as_bytes())));
    let (past, later) = ((NOW_S - 1).to_string(), (NOW_S + 3600).to_string());
    let twice = |first: &str, second: &str| {
        let rest = good.clone().without("exp").json();
        let json = rest.replacen('{', &format!(r#"{{"exp":{first},"exp":{second},"#), 1);
        token(&header("EdDSA"), &json, "EdDSA")
    };
    let many: Vec<String> = (0..220).map(|_| format!("\"{UNKNOWN}\"")).collect();
    vec![
        ("C3 none", format!("{}.{body}.", base64url(header("none")))),
        ("C3 nOnE", headed(&header("nOnE"))),
        ("C3 empty signature", format!("{message}.")),
        ("C3 two parts", message.to_owned()),
        ("C4 HMAC", resigned(&of("rsa"), "HS256", hmac)),
        ("C5 RS256 of an ES256 key", token(&header("RS256"), &of("p256").json(), "RS256")),
        ("C5 PS256 said, RS256 done", token(&header("PS256"), &of("rsa").json(), "RS256")),
        ("C5 EdDSA of an ES256 key", token(&header("EdDSA"), &of("p256").json(), "EdDSA")),
        ("C6 zeros", resigned(&of("p256"), "ES256", |_| vec![0; 64])),
        ("C6 halves swapped", resigned(&of("p256"), "ES256", swapped)),
        ("C6 bits flipped", resigned(&of("p256"), "ES256", flipped)),
        ("C7 one second", with("exp", &past)),
        ("C7 59 seconds", with("exp", &(NOW_S - 59).to_string())),
        ("C8 missing", good.clone().without("exp").signed()),
        ("C8 null", with("exp", "null")),
        ("C8 text", with("exp", &format!("\"{later}\""))),
        ("C8 negative", with("exp", "-1")),
        ("C8 1e300", with("exp", "1e300")),
        ("C8 2^63", with("exp", "9223372036854775808")),
        ("C8 array", with("exp", &format!("[{later}]"))),
        ("C9 number", with("nbf", &later)),
        ("C9 text", with("nbf", &format!("\"{later}\""))),
        ("C9 array", with("nbf", &format!("[{later}]"))),
        ("C10 future", with("iat", &later)),
        ("C11 missing", good.clone().without("aud").signed()),
        ("C11 number", with("aud", "5")),
        ("C11 text", with("aud", &format!("\"{UNKNOWN}\""))),
        ("C11 empty", with("aud", "[]")),
        ("C12 over 8 KiB", with("aud", &format!("[{}]", many.join(",")))),
        ("C13 missing", good.clone().without("iss").signed()),
        ("C13 not a text", with("iss", "5")),
        ("C13 another", with("iss", r#""producer.com""#)),
        ("C13 trailing slash", with("iss", &format!("\"{ISSUER}/\""))),
        ("C14 client claims ADMIN", with_cnf(good, r#""ed25519""#, r#""ADMIN""#).signed()),
        ("C14 the same without aud", {
            with_cnf(good, r#""ed25519""#, r#""ADMIN""#).without("aud").signed()
        }),
        ("C15 missing", good.clone().without("cnf").signed()),
        ("C15 array", with("cnf", "[]")),
        (
            "C15 two keys",
            with(
                "cnf",
                r#"{"jwk":{"kid":"ed25519","kty":"CLIENT"},"jwk":{"kid":"admin","kty":"ADMIN"}}"#,
            ),
        ),
        ("C15 lower case", with_cnf(good, r#""admin""#, r#""admin""#).signed()),
        ("C15 list", with_cnf(good, r#""admin""#, r#"["ADMIN"]"#).signed()),
        ("C16 unknown", of("nobody").signed()),
        ("C16 path", of("../../etc/passwd").signed()),
        ("C16 quote", of("' OR 1=1").signed()),
        ("C16 NUL", of(r"ed25519\u0000").signed()),
        ("C16 long", of(&"x".repeat(3_000)).signed()),
        ("C16 unknown administrator", with_cnf(good, r#""root""#, r#""ADMIN""#).signed()),
        ("C16 a stranger's signature", resigned(good, "EdDSA", stranger)),
        ("C17 a key in the header", by_its_own_key),
        ("C18 crit", headed(r#"{"alg":"EdDSA","crit":["x"],"x":1}"#)),
        ("C19 five parts", format!("{head}.{body}.{signature}.{body}.{signature}")),
        ("C19 nested", token(r#"{"alg":"EdDSA","cty":"JWT"}"#, &signed, "EdDSA")),
        (
            "C19 JSON",
            format!(r#"{{"protected":"{head}","payload":"{body}","signature":"{signature}"}}"#),
        ),
        ("C20 array", token(&header("EdDSA"), &format!("[{}]", good.json()), "EdDSA")),
        ("C21 valid first", twice(&later, &past)),
        ("C21 expired first", twice(&past, &later)),
        ("C22 padding", format!("{signed}==")),
        ("C22 white space", format!("{head}. {body}.{signature}")),
        ("C23 zip", headed(r#"{"alg":"EdDSA","zip":"DEF"}"#)),
        ("C23 b64", headed(r#"{"alg":"EdDSA","b64":false}"#)),
    ]
}

#[tokio::test]
async fn a_forged_token_gets_401_and_changes_nothing() {
    let (server, instance) = house().await;
    let good = Payload::client("ed25519").with("aud", &format!("[\"{instance}\"]"));
    let before = (server.used(&instance, 1).await, server.broker.journal().durable());
    let mut rows = 0;
    for (row, forged) in forgeries(&good) {
        let answer = call(&server, &instance, &format!("authorization: Bearer {forged}")).await;
        assert_eq!(answer.outcome(), (401, "invalid-token".to_owned()), "{row}: {answer:?}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#), "{row}");
        assert_eq!(answer.header("x-sequence"), None, "{row}: it rests on nothing");
        let claims = [ISSUER, "ed25519", "nobody", "passwd"];
        assert!(!claims.iter().any(|claim| answer.body.contains(claim)), "{row}: {answer:?}");
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
    let after = (server.used(&instance, 1).await, server.broker.journal().durable());
    assert_eq!(after, before, "nothing was charged and nothing recorded");

    // C11: what is well signed and names another instance is known, and may not.
    let foreign = good.clone().with("aud", &format!("[\"{UNKNOWN}\"]")).signed();
    let answer = call(&server, &instance, &format!("authorization: Bearer {foreign}")).await;
    assert_eq!(answer.outcome(), (403, "forbidden".to_owned()));
    // And the rows bite: what they are made from is a good token.
    let good = good.signed();
    assert_eq!(
        call(&server, &instance, &format!("authorization: Bearer {good}")).await.status,
        200
    );
    assert_eq!(server.used(&instance, 1).await, "3");
}

#[tokio::test]
async fn a_token_that_no_header_holds_is_refused_before_it_is_looked_at() {
    let (server, instance) = house().await;
    let good = Payload::client("ed25519").with("aud", &format!("[\"{instance}\"]"));
    let ids: Vec<String> = (0..10_000).map(|_| format!("\"{instance}\"")).collect();
    let kid = format!("\"{}\"", "x".repeat(1 << 20));
    for (row, token) in [
        ("C12 10,000 ids", good.clone().with("aud", &format!("[{}]", ids.join(","))).signed()),
        ("C16 1 MiB", with_cnf(&good, &kid, r#""CLIENT""#).signed()),
    ] {
        let head = format!("{}\nauthorization: Bearer {token}", access(&instance));
        let bytes = bytes_of(&head, &asking(&[("PhotoPrint", "1.0", "1")]));
        // Who sends so much may find the connection closed before it reads why.
        let answer = server.connect().await.try_send(bytes.as_bytes()).await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 431), "{row}: {answer:?}");
    }
    // Just too long for a head: there the answer always comes.
    let long = good.with("x", &format!("\"{}\"", "x".repeat(15_000))).signed();
    let answer = call(&server, &instance, &format!("authorization: Bearer {long}")).await;
    assert_eq!(answer.status, 431, "C12: {answer:?}");
    assert_eq!(server.used(&instance, 1).await, "0");
}

/// C17: nothing that a token says makes the server call anybody.
#[tokio::test]
async fn a_key_that_is_offered_by_address_is_never_fetched() {
    let (server, instance) = house().await;
    let bait = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = bait.local_addr().expect("an address");
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let biting = tokio::spawn(async move {
        while bait.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let payload = Payload::client("ed25519").with("aud", &format!("[\"{instance}\"]"));
    for member in ["jku", "x5u"] {
        let header = format!(r#"{{"alg":"EdDSA","{member}":"http://{address}/keys"}}"#);
        for (kid, status) in [("ed25519", 200), ("nobody", 401)] {
            let payload = with_cnf(&payload, &format!("\"{kid}\""), r#""CLIENT""#);
            let token = token(&header, &payload.json(), "EdDSA");
            let answer = call(&server, &instance, &format!("authorization: Bearer {token}")).await;
            assert_eq!(answer.status, status, "C17 {member} {kid}: {answer:?}");
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0, "C17");
    biting.abort();
}
