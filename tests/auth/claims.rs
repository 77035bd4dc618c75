//! What a token says: times, issuer, audience, the key it names (C7 to C11, C13, C15, C21).

use farebox::auth::Unauthorized;
use farebox::domain::ids::InstanceId;

use crate::forge::{
    INSTANCE, NOW_S, Payload, check_refused, header, is_plainly_invalid, token, verifier,
    verifier_of,
};

fn client() -> Payload {
    Payload::client("ed25519")
}

/// None of these rules has to do with keys, so saying which one failed gives nothing away.
#[test]
fn a_refusal_names_the_rule_that_failed() {
    let (verifier, _) = verifier();
    let future = (NOW_S + 60).to_string();
    let twice = client().json().replacen('{', r#"{"iss":"a","#, 1);
    let rows = [
        (client().without("exp").json(), "its `exp` must be there, in whole seconds"),
        (client().with("exp", "1700003600000").json(), "its `exp` must be there"),
        (client().with("iat", "1.5").json(), "its `iat` must be there, in whole seconds"),
        (client().with("nbf", "null").json(), "its `nbf` must be in whole seconds"),
        (client().without("iss").json(), "its `iss` must be a string"),
        (client().with("aud", "\"x\"").json(), "its `aud` must be a list of strings"),
        (client().with("aud", "[5]").json(), "its `aud` must be a list of strings"),
        (client().without("cnf").json(), "its `cnf.jwk` must be an object"),
        (client().with("cnf", r#"{"jwk":[]}"#).json(), "its `cnf.jwk` must be an object"),
        (client().with("cnf", r#"{"jwk":{"kty":"CLIENT"}}"#).json(), "its `cnf.jwk.kid` must be"),
        (client().with("cnf", r#"{"jwk":{"kid":"x","kty":"admin"}}"#).json(), "ADMIN or CLIENT"),
        (client().with("iat", &future).json(), "its `iat` is yet to come"),
        (client().with("nbf", &future).json(), "its `nbf` is yet to come"),
        (twice, "must not have a member twice"),
        ("[]".to_owned(), "its payload must be an object"),
        ("{".to_owned(), "its payload must be JSON"),
    ];
    for (payload, words) in rows {
        let refused = verifier.verify(&token(&header("EdDSA"), &payload, "EdDSA"));
        let said = refused.expect_err("refused").to_string();
        assert!(said.contains(words), "{payload}: {said}");
    }
}

#[test]
fn an_expired_token_is_refused_at_once() {
    let (verifier, clock) = verifier();
    for age_s in [1, 6, 59, 60, 3600] {
        let token = client().with("exp", &(NOW_S - age_s).to_string()).signed();
        assert_eq!(verifier.verify(&token), Err(Unauthorized::Expired), "C7 {age_s} s ago");
    }
    for (now_ms, held) in [(NOW_S * 1000 - 1, true), (NOW_S * 1000, false)] {
        let token = client().with("exp", &NOW_S.to_string()).with("jti", &now_ms.to_string());
        clock.set_ms(now_ms);
        assert_eq!(verifier.verify(&token.signed()).is_ok(), held, "at {now_ms} ms");
    }
}

#[test]
fn a_token_from_the_future_is_refused_beyond_five_seconds() {
    let (verifier, _) = verifier();
    for claim in ["nbf", "iat"] {
        for (ahead_s, held) in [(0, true), (5, true), (6, false), (3600, false)] {
            let token = client().with(claim, &(NOW_S + ahead_s).to_string()).signed();
            let answer = verifier.verify(&token);
            assert_eq!(answer.is_ok(), held, "C9, C10 {claim} {ahead_s} s ahead: {answer:?}");
            assert!(held || is_plainly_invalid(&answer));
        }
    }
}

#[test]
fn times_are_whole_seconds_of_this_era() {
    let mut rows = Vec::new();
    let wrong = [
        "null",
        r#""1700003600""#,
        "-1",
        "-0",
        "1e300",
        "1e9",
        "1700003600.0",
        "1700003600.5",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "253402300800",
        "1700003600000",
        "[1700003600]",
        r#"{"at":1700003600}"#,
        "true",
        "NaN",
        "01700003600",
    ];
    for claim in ["exp", "iat", "nbf"] {
        for json in wrong {
            rows.push((format!("C8, C9 {claim} {json}"), client().with(claim, json).signed()));
        }
    }
    for claim in ["exp", "iat"] {
        rows.push((format!("C8 no {claim}"), client().without(claim).signed()));
    }
    check_refused(rows);
}

#[test]
fn the_last_second_of_the_year_9999_is_a_time() {
    let (verifier, _) = verifier();
    let token = client().with("exp", "253402300799").signed();
    assert!(verifier.verify(&token).is_ok());
}

#[test]
fn a_clients_audience_is_a_list_of_instances() {
    let wrong = ["null", "5", r#""""#, r#"{"0":"x"}"#, "[]", "[5]", "[null]", r#"[["x"]]"#, "true"];
    let mut rows: Vec<_> =
        wrong.map(|json| (format!("C11 aud {json}"), client().with("aud", json).signed())).into();
    let bare = format!("\"{INSTANCE}\"");
    rows.push(("C11 aud a bare string".into(), client().with("aud", &bare).signed()));
    rows.push(("C11 no aud".into(), client().without("aud").signed()));
    check_refused(rows);
}

#[test]
fn an_audience_that_names_no_known_instance_opens_none() {
    let (verifier, _) = verifier();
    let instance = InstanceId::parse(INSTANCE).unwrap();
    let upper = INSTANCE.to_uppercase();
    let other_spellings = [
        "",
        "*",
        "any",
        upper.as_str(),
        &INSTANCE.replace('-', ""),
        &format!("{{{INSTANCE}}}"),
        &format!("urn:uuid:{INSTANCE}"),
        &format!(" {INSTANCE}"),
        &format!("{INSTANCE}\\u0000"),
        "00000000-0000-0000-0000-000000000001",
    ];
    for name in other_spellings {
        let token = client().with("aud", &format!("[\"{name}\"]")).signed();
        let principal = verifier.verify(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(principal.scope(instance).is_err(), "C11 {name}");
    }
}

#[test]
fn the_issuer_is_a_string_and_never_empty() {
    let wrong = ["null", "5", r#"["producer.org"]"#, r#""""#, "{}", "true"];
    let mut rows: Vec<_> =
        wrong.map(|json| (format!("C13 iss {json}"), client().with("iss", json).signed())).into();
    rows.push(("C13 no iss".into(), client().without("iss").signed()));
    check_refused(rows);
}

#[test]
fn a_configured_issuer_is_compared_byte_for_byte() {
    let (verifier, _) = verifier_of(Some("https://producer.org"));
    let rows = [
        ("https://producer.org", true),
        ("https://producer.org/", false),
        ("https://Producer.org", false),
        ("https://producer.or", false),
        (" https://producer.org", false),
        ("producer.org", false),
        (r"https:\/\/producer.org", true), // The same text, in another spelling of JSON.
    ];
    for (issuer, held) in rows {
        let answer = verifier.verify(&client().with("iss", &format!("\"{issuer}\"")).signed());
        assert_eq!(answer.is_ok(), held, "C13 {issuer}: {answer:?}");
        assert!(held || is_plainly_invalid(&answer));
    }
}

#[test]
fn the_confirmation_names_one_key_and_one_role() {
    let wrong = [
        "null",
        "[]",
        r#""ed25519""#,
        r#"[{"kid":"ed25519","kty":"CLIENT"}]"#,
        r#"{}"#,
        r#"{"jwk":null}"#,
        r#"{"jwk":[]}"#,
        r#"{"jwk":["ed25519","CLIENT"]}"#,
        r#"{"jwk":{"kid":"ed25519"}}"#,
        r#"{"jwk":{"kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":null,"kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":["ed25519"],"kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":5,"kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":null}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":""}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":"client"}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":"admin"}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":"OKP"}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":["ADMIN"]}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":{"CLIENT":null}}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":"CLIENT","kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":"ed25519","kid":"ed25519","kty":"CLIENT"}}"#,
        r#"{"jwk":{"kid":"ed25519","kty":"CLIENT"},"jwk":{"kid":"ed25519","kty":"CLIENT"}}"#,
    ];
    let mut rows: Vec<_> =
        wrong.map(|json| (format!("C15 cnf {json}"), client().with("cnf", json).signed())).into();
    rows.push(("C15 no cnf".into(), client().without("cnf").signed()));
    check_refused(rows);
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    let good = client().json();
    let inside = good.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
    let past = NOW_S - 3600;
    let again = [
        format!(r#""exp":{past}"#),
        format!(r#""exp":{}"#, NOW_S + 3600),
        r#""\u0065xp":1700003600"#.to_owned(),
        r#""cnf":{"jwk":{"kid":"ed25519","kty":"CLIENT"}}"#.to_owned(),
        r#""cnf":null"#.to_owned(),
        format!(r#""aud":["{INSTANCE}"]"#),
        r#""iss":"producer.org""#.to_owned(),
        r#""iat":1700000000"#.to_owned(),
        r#""nbf":1700000000,"nbf":1700000000"#.to_owned(),
        r#""unknown":1,"unknown":1"#.to_owned(),
    ];
    let rows = again.iter().flat_map(|member| {
        [format!("{{{inside},{member}}}"), format!("{{{member},{inside}}}")]
            .map(|json| (format!("C21 {member}"), token(&header("EdDSA"), &json, "EdDSA")))
    });
    check_refused(rows);
}

#[test]
fn claims_that_are_not_known_are_ignored() {
    let (verifier, _) = verifier();
    let payload = client()
        .with("jti", r#""1""#)
        .with("sub", "null")
        .with("scope", r#"[1.5e300,{"deep":[[]]}]"#)
        .with("role", r#""ADMIN""#);
    let principal = verifier.verify(&payload.signed()).expect("a good token with more in it");
    assert!(principal.may_administer().is_err());
}
