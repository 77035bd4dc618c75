//! What an access request may say, and what its answer looks like.

use std::sync::Arc;

use super::super::Version;
use super::*;
use crate::domain::balance::Seen;
use crate::domain::catalogue::InstanceCatalogue;
use crate::domain::charge::Denial;
use crate::domain::event::Access;
use crate::domain::ids::{ActionId, CorrelationId, InstanceNumber, LineItemNumber, Sequence};
use crate::domain::line_item::{Balance, Overdraft, Terms};
use crate::domain::time::Timestamp;
use crate::domain::tokens::{Rate, Tokens};

fn code(body: &str) -> &'static str {
    read_one_off(body.as_bytes(), Version::V1_0.dialect()).map_or_else(|fault| fault.code, |_| "ok")
}

fn with_items(items: &str) -> String {
    format!(r#"{{"requester":{{"type":"user","value":"LisaBarry"}},"requestedItems":{items}}}"#)
}

fn with_count(count: &str) -> String {
    with_items(&format!(r#"[{{"item":"A","version":"1","count":{count}}}]"#))
}

fn with_member(member: &str) -> String {
    with_items(&format!(r#"[{{"item":"A","count":1,{member}}}]"#))
}

fn with_requester(requester: &str) -> String {
    format!(r#"{{"requester":{requester},"requestedItems":[{{"item":"A","count":1}}]}}"#)
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn bodies_are_accepted_or_refused_with_a_code() {
    let item_name = |name: &str| with_items(&format!(r#"[{{"item":"{name}","count":1}}]"#));
    let many = |count: usize| {
        let items = vec![r#"{"item":"A","count":1}"#; count];
        with_items(&format!("[{}]", items.join(",")))
    };
    let cases = [
        // A1, A2: no object at all
        (String::new(), "bad-json"),
        ("null".to_owned(), "bad-json"),
        ("true".to_owned(), "bad-json"),
        ("\"x\"".to_owned(), "bad-json"),
        ("7".to_owned(), "bad-json"),
        ("[]".to_owned(), "bad-json"),
        // A3
        (with_requester(r#"["user","LisaBarry"]"#), "bad-type"),
        (with_items(r#"[["A",1]]"#), "bad-type"),
        (with_items("{}"), "bad-type"),
        (with_items("[7]"), "bad-type"),
        // A4 to A6: depth
        (nested(127), "too-deep"),
        (nested(128), "too-deep"),
        (nested(100_000), "too-deep"),
        (with_count(&nested(100_000)), "too-deep"),
        (format!(r#"{{"x":{},"y":1}}"#, nested(100_000)), "unknown-field"),
        (with_member(&format!(r#""metaData":{{"a":{}}}"#, nested(100_000))), "too-deep"),
        (with_member(&format!(r#""metaData":{{"a":{}}}"#, nested(16))), "too-deep"),
        (with_member(&format!(r#""metaData":{{"a":{}}}"#, nested(15))), "ok"),
        // A7
        (with_member(r#""metaData":[]"#), "bad-type"),
        (with_member(r#""metaData":1"#), "bad-type"),
        (with_member(r#""metaData":"x""#), "bad-type"),
        (with_requester(r#"{"type":"a","value":"b","dictionary":[]}"#), "bad-type"),
        (with_requester(r#"{"type":"a","value":"b","dictionary":null}"#), "ok"),
        (with_member(r#""metaData":null"#), "ok"),
        // A10 to A12, A15, A16
        (with_items(r#"[{"item":"A","count":1,}]"#), "bad-json"),
        (with_items(r#"[{"item":"A","count":1},]"#), "bad-json"),
        (with_items(r#"[{"item":"A" "count":1}]"#), "bad-json"),
        (with_items("/* none */ []"), "bad-json"),
        (with_items("[{'item':'A','count':1}]"), "bad-json"),
        (with_count("NaN"), "bad-json"),
        (with_count("Infinity"), "bad-json"),
        (format!("\u{feff}{}", with_count("1")), "bad-json"),
        (item_name("\\ud800"), "bad-json"),
        (with_requester(r#"{"type":"a","value":"\udc00"}"#), "bad-json"),
        (format!("{} {{}}", with_count("1")), "bad-json"),
        (format!("{} x", with_count("1")), "bad-json"),
        (format!(" \r\n\t{}\n", with_count("1")), "ok"),
        // A17 to A19
        (with_member(r#""count":1"#), "duplicate-field"),
        (with_member(r#""metaData":{"a":1,"a":2}"#), "duplicate-field"),
        (with_requester(r#"{"type":"a","value":"b","value":"c"}"#), "duplicate-field"),
        (with_member(r#""totalTokensCharged":0"#), "unknown-field"),
        (with_member(r#""rate":0"#), "unknown-field"),
        (with_member(r#""variables":{"a":1}"#), "unknown-field"),
        (with_member(r#""variables":null"#), "unknown-field"),
        (with_requester(r#"{"type":"a","value":"b","role":"c"}"#), "unknown-field"),
        // A20 to A32: counts
        (with_count("0"), "bad-count"),
        (with_count("-1"), "bad-count"),
        (with_count("-0"), "bad-count"),
        (with_count("-0.0"), "bad-count"),
        (with_count("1e400"), "too-large"),
        (with_count("1e-400"), "bad-count"),
        (with_count("1.7976931348623157e308"), "too-large"),
        (with_count("9007199254740993"), "too-large"),
        (with_count("0.123456789512345678"), "ok"),
        (with_count("0.000000001"), "ok"),
        (with_count("1E2"), "ok"),
        (with_count("1e+2"), "ok"),
        (with_count("100.000"), "ok"),
        (with_count("\"10\""), "bad-type"),
        (with_count("null"), "bad-type"),
        (with_count("[1]"), "bad-type"),
        (with_count("{}"), "bad-type"),
        (with_count("true"), "bad-type"),
        (with_count("01"), "bad-json"),
        (with_count(".5"), "bad-json"),
        (with_count("1."), "bad-json"),
        (with_count("+1"), "bad-json"),
        (with_count("0x10"), "bad-json"),
        (with_count(&format!("0.{}", "1".repeat(1_000_000))), "ok"),
        // A34 to A36
        (with_items("[]"), "no-items"),
        (many(100), "ok"),
        (many(101), "too-many-items"),
        (many(1_001), "too-many-items"),
        // A37
        (r#"{"requestedItems":[{"item":"A","count":1}]}"#.to_owned(), "missing-field"),
        (with_requester(r#"{"value":"b"}"#), "missing-field"),
        (with_requester(r#"{"type":"a"}"#), "missing-field"),
        (with_requester(r#"{"type":"","value":"b"}"#), "missing-field"),
        (with_requester(r#"{"type":"a","value":""}"#), "missing-field"),
        (item_name(""), "missing-field"),
        (r#"{"requester":{"type":"a","value":"b"}}"#.to_owned(), "missing-field"),
        (with_items(r#"[{"count":1}]"#), "missing-field"),
        (with_items(r#"[{"item":"A"}]"#), "missing-field"),
        // A38 to A40
        (with_member(r#""version":null"#), "ok"),
        (with_member(r#""version":"""#), "ok"),
        (with_member(r#""version":" ""#), "ok"),
        (with_member(r#""version":1"#), "bad-type"),
        (with_member(r#""version":"1","requestedVersion":"1""#), "ok"),
        (with_member(r#""version":"1","requestedVersion":"\u0031""#), "ok"),
        (with_member(r#""version":"1","requestedVersion":"2""#), "conflicting-fields"),
        (with_member(r#""version":"1","requestedVersion":null"#), "ok"),
        // A41, A42, A44
        (item_name(&"x".repeat(255)), "ok"),
        (item_name(&"é".repeat(255)), "ok"),
        (item_name(&"x".repeat(256)), "too-long"),
        (item_name("a\\u0000"), "bad-chars"),
        (item_name("a\\r\\n"), "bad-chars"),
        (item_name("\\u001b[1m"), "bad-chars"),
        (item_name("\u{202e}\u{200d}"), "ok"),
        (item_name("=cmd|' /C calc'!A0${jndi:x}<script>"), "ok"),
    ];
    for (body, expected) in cases {
        let shown: String = body.chars().take(160).collect();
        assert_eq!(code(&body), expected, "{shown}");
    }
    let not_utf8 = [b"{\n \"".as_slice(), &[0xff], b"\":1}"].concat();
    let fault = read_one_off(&not_utf8, Version::V1_0.dialect()).unwrap_err();
    assert_eq!((fault.code, fault.detail.as_str()), ("bad-json", "not UTF-8 at line 2 column 3"));
}

#[test]
fn a_session_says_what_a_denial_does() {
    let of_session = |member: &str| {
        let body =
            format!(r#"{{"requester":{{"type":"a","value":"b"}},"requestedItems":[]{member}}}"#);
        read_of_session(body.as_bytes(), Version::V1_0.dialect())
            .map(|(_, on_deny)| on_deny)
            .map_err(|fault| fault.code)
    };
    assert_eq!(of_session(r#","rollbackOnDeny":true"#), Ok(OnDeny::Rollback));
    assert_eq!(of_session(r#","rollbackOnDeny":false"#), Ok(OnDeny::Terminate));
    assert_eq!(of_session(r#","rollbackOnDeny":"true""#), Err("bad-type"));
    assert_eq!(of_session(r#","rollbackOnDeny":null"#), Err("bad-type"));
    assert_eq!(of_session(""), Err("missing-field"));
    let one_off = with_items(r#"[{"item":"A","count":1}],"rollbackOnDeny":true"#);
    assert_eq!(code(&one_off), "unknown-field");
}

const BAD_ESCAPE: &str =
    "`/requester/value`: an escape that gives no character at line 4 column 11";

fn item_name_of_line_four(name: &str) -> String {
    format!(
        "{{\n\"requester\":{{\n  \"type\":\"a\",\n  \"value\":\"{name}\"}},\n\"requestedItems\":[]}}"
    )
}

#[test]
fn a_refusal_says_where() {
    let cases = [
        (
            with_items(r#"[{"item":"A","count":1},{"item":"B","count":0}]"#),
            "`/requestedItems/1/count`: must be greater than 0",
        ),
        (
            with_items(r#"[{"item":"A","count":"1"}]"#),
            "`/requestedItems/0/count`: number expected, string found",
        ),
        (with_items(r#"[{"item":"A"}]"#), "`/requestedItems/0/count`: is required"),
        (
            with_requester(r#"{"type":7,"value":"b"}"#),
            "`/requester/type`: string expected, integer found",
        ),
        (
            with_member(r#""a/b":1"#),
            "`/requestedItems/0/a~1b`: is not a member of a requested item: leave it out",
        ),
        ("{\"requester\":\n 7}".to_owned(), "`/requester`: object expected, integer found"),
        ("{\n\"requester\"}".to_owned(), "expected `:` at line 2 column 12"),
        ("\n[]".to_owned(), "the body must be an object, array found"),
        ("[".repeat(99) + &"]".repeat(99), "nested too deep, 16 levels at most"),
        ("{\"requestedItems\":\n{}}".to_owned(), "`/requestedItems`: array expected, object found"),
        (item_name_of_line_four("\\ud800"), BAD_ESCAPE),
        (
            "{\n\"requester\":\n{\n  \"\\udc00\": 1}}".to_owned(),
            "`/requester`: an escape that gives no character at line 4 column 3",
        ),
        (
            with_member("\n\"metaData\":{\"a\":[1e999,\"\\ud800\"]}"),
            "`/requestedItems/0/metaData`: an escape that gives no character at line 2 column 24",
        ),
        (
            with_items(r#"[{"item":"","count":1}]"#),
            "`/requestedItems/0/item`: is required and must not be empty",
        ),
    ];
    for (body, detail) in cases {
        assert_eq!(
            read_one_off(body.as_bytes(), Version::V1_0.dialect()).unwrap_err().detail,
            detail,
            "{body}"
        );
    }
}

#[test]
fn an_answer_has_the_members_and_numbers_of_the_sample() {
    let body = r#"{"requester": {"type":"user", "value":"Lisa\u0042arry"}, "requestedItems":[
        {"item":"PhotoPrint","version":"1.0","count":1.00e1},
        {"item":"CADPrint","requestedVersion":"2.0","count":2},
        {"item":"Other","count":0.30000000000000004}]}"#;
    let asked = read_one_off(body.as_bytes(), Version::V1_0.dialect()).unwrap();
    assert_eq!(asked.request.items.get(1).unwrap().version.as_str(), "2.0");
    let number = LineItemNumber::new(Sequence::new(7));
    let name = Text::new("ACT \"01\"").unwrap();
    let take = |rate: u64, tokens: &str| Take {
        line_item: number,
        rate: Rate::from_units(rate * 1_000_000_000).unwrap(),
        tokens: Tokens::parse(tokens).unwrap(),
        action: (tokens == "0.5").then(|| ActionId::from_u128(2)),
    };
    let access = Access {
        instance: InstanceNumber::default(),
        request: Arc::new(asked.request.clone()),
        correlation: CorrelationId::from_u128(1),
        verdicts: vec![
            Verdict::Granted(vec![take(3, "30")]),
            Verdict::Granted(vec![take(7, "13.5"), take(7, "0.5")]),
            Verdict::Denied(Denial::UnknownItem),
        ],
        postings: vec![Posting {
            quantity: Some(1000),
            line_item: number,
            activation_id: name.clone(),
            after: Balance { used: Tokens::parse("44.5").unwrap(), ..Balance::default() },
        }],
    };
    let at = Timestamp::from_ms(1);
    let terms = Terms { overdraft: Overdraft::Unlimited, ..Terms::new(name, 100, at, at) };
    let seen = |number| {
        let mut catalogue = InstanceCatalogue::default();
        catalogue.insert_terms(number, terms.clone());
        Seen::new(Arc::new(catalogue), at, false)
    };
    let answer = AccessAnswer::OneOff(Arc::new(access), seen(number));
    let write = |version: Version, answer: &AccessAnswer, extras| {
        String::from_utf8(write(version.dialect(), &asked.echo, answer, extras)).unwrap()
    };
    let written = |version: Version| write(version, &answer, Extras::default());
    let expected = concat!(
        r#"{"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":10,"#,
        r#""totalTokensCharged":30,"#,
        r#""lineItems":[{"rate":3,"activationId":"ACT \"01\"","tokensCharged":30}],"#,
        r#""status":{"code":"101","description":"Successfully checked out"}},"#,
        r#"{"item":"CADPrint","requestedVersion":"2.0","count":2,"totalTokensCharged":14,"#,
        r#""lineItems":[{"rate":7,"activationId":"ACT \"01\"","tokensCharged":13.5},"#,
        r#"{"rate":7,"activationId":"ACT \"01\"","tokensCharged":0.5,"actionId":"00000000-0000-0000-0000-000000000002"}],"#,
        r#""status":{"code":"101","description":"Successfully checked out"}},"#,
        r#"{"item":"Other","count":0.3,"totalTokensCharged":0,"lineItems":[],"#,
        r#""status":{"code":"201","description":"Item not found in any effective rate table"}}],"#,
        r#""requester":{"type":"user", "value":"Lisa\u0042arry"},"#,
        r#""correlationId":"00000000-0000-0000-0000-000000000001"}"#,
    );
    assert_eq!(written(Version::V1_0), expected);
    let four_digits = expected.replace("\"101\"", "\"1001\"").replace("\"201\"", "\"2001\"");
    assert_eq!(written(Version::V1_1), four_digits);

    let body = expected.strip_suffix('}').unwrap();
    let with = |answer: &AccessAnswer, dry_run, balances| {
        let written = write(Version::V1_0, answer, Extras { dry_run, balances });
        written.strip_prefix(body).unwrap().to_owned()
    };
    let standing = r#","balances":[{"activationId":"ACT \"01\"","used":44.5,"available":"#;
    assert_eq!(with(&answer, true, false), r#","dryRun":true}"#);
    assert_eq!(with(&answer, false, true), format!("{standing}null}}]}}"));
    assert_eq!(with(&answer, true, true), format!(r#","dryRun":true{standing}null}}]}}"#));
    let AccessAnswer::OneOff(access, _) = answer else { panic!("it is a one-off request's") };
    let mapped_anew = seen(LineItemNumber::new(Sequence::new(8)));
    let answer = AccessAnswer::OneOff(access, mapped_anew);
    assert_eq!(with(&answer, false, true), format!("{standing}0}}]}}"));
}

#[test]
fn variables_are_a_member_of_v1_1() {
    for (member, expected) in [
        (r#""variables":{"basePrice":2.6,"Extra":-1}"#, Ok(2)),
        (r#""variables":{}"#, Ok(0)),
        (r#""variables":null"#, Ok(0)),
        (r#""variables":[]"#, Err("`/requestedItems/0/variables`: object expected, array found")),
        (
            r#""variables":{"a":1,"b":"2"}"#,
            Err("`/requestedItems/0/variables/b`: number expected, string found"),
        ),
        (
            r#""variables":{"a":1,"A":2}"#,
            Err(
                "`/requestedItems/0/variables/A`: is there twice: names of variables do not differ \
                 by case",
            ),
        ),
        (
            r#""variables":{},"variables":{}"#,
            Err("`/requestedItems/0/variables`: is there twice: send it once"),
        ),
    ] {
        let body = with_member(member);
        let asked = read_one_off(body.as_bytes(), Version::V1_1.dialect());
        let found = asked.map(|asked| asked.request.items[0].variables.all().len());
        let found = found.map_err(|fault| fault.detail);
        assert_eq!(found, expected.map_err(str::to_owned), "{body}");
    }
}
