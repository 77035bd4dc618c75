//! Sessions in the course of time, which the test clock moves over HTTP: pacing headers, heartbeats,
//! the ends of sessions and how long they are remembered, the list, and `/test/clock` itself.
//! What each charge comes to is told by the worked examples.

use std::ops::ControlFlow;

use farebox::domain::event::{Event, Record};
use farebox::domain::ids::Sequence;
use farebox::domain::time::Timestamp;
use farebox::journal::format;
use serde_json::{Value, json};

use crate::http_client::Answer;
use crate::server::{TestServer, start, start_with_test_clock, text};
use crate::{STARTED, asking, in_session};

/// Minute 0.
pub(crate) const START: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;
/// An ended session is remembered for so long, and an idle one lives for so long.
const THIRTY_DAYS: u64 = 43_200;

/// A server whose time stands at minute 0, and an instance with 1000 tokens.
struct House {
    server: TestServer,
    instance: String,
}

async fn house() -> House {
    let server = start_with_test_clock(Timestamp::from_ms(START)).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 1000).await;
    House { server, instance }
}

impl House {
    async fn at(&self, minute: u64) {
        self.server.move_to(START + minute * MINUTE).await;
    }

    async fn session(&self) -> String {
        let body = json!({"instanceId": self.instance}).to_string();
        let created = self.server.admin("POST /api/v1.0/sessions", &body).await;
        assert_eq!((created.status, pacing(&created)), (200, Some([0, 0, 0])), "{created:?}");
        text(&created.json(), "/sessionId")
    }

    /// A call about a session; see the match. PUTs are for so many PhotoPrint, of 3 tokens each.
    async fn call(&self, version: &str, session: &str, action: &str) -> Answer {
        let (path, body) = (format!("/api/{version}/sessions/{session}"), String::new());
        let put = |count: &str, rollback| {
            let items = [("PhotoPrint", "1.0", count)];
            let items = if count == "0" { &[][..] } else { &items };
            (format!("PUT {path}"), in_session(&asking(items), rollback))
        };
        let (target, body) = match action.split_once(' ').unwrap_or((action, "")) {
            ("read", "") => (format!("GET {path}"), body),
            ("put", count) => put(count, "true"),
            ("put-or-end", count) => put(count, "false"),
            ("close", "") => (format!("DELETE {path}"), body),
            ("beat", method) => (format!("{method} {path}/heartbeat"), body),
            ("period", value) => {
                let setting = json!({"name": "session.charge.period", "value": value});
                (format!("PATCH /api/{version}/configuration"), setting.to_string())
            }
            _ => panic!("unknown action `{action}`"),
        };
        self.server.admin(&target, &body).await
    }

    async fn used(&self) -> String {
        self.server.used(&self.instance, 1).await
    }

    async fn list(&self) -> Value {
        let target = format!("GET /api/v1.1/sessions?instanceId={}", self.instance);
        let answer = self.server.admin(&target, "").await;
        assert_eq!((answer.status, pacing(&answer)), (200, None), "{answer:?}");
        answer.json()
    }

    /// Every record so far.
    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let read = self.server.broker.journal().read(Sequence::new(1), &mut |_, payload| {
            records.push(format::decode(payload).expect("a record"));
            ControlFlow::Continue(())
        });
        read.expect("the journal can be read");
        records
    }
}

/// The three headers: all or none.
fn pacing(answer: &Answer) -> Option<[u64; 3]> {
    let names = ["x-charged-until", "x-heartbeat-from", "x-heartbeat-due-by"];
    let values: Vec<_> = names.iter().filter_map(|name| answer.header(name)).collect();
    let values: Vec<u64> = values.iter().map(|ms| ms.parse().expect("a number")).collect();
    if values.is_empty() { None } else { Some(values.try_into().expect("all or none")) }
}

/// Minutes as milliseconds of broker time; 0 stays 0, which is "not at all".
pub(crate) fn instant(minute: u64) -> u64 {
    if minute == 0 { 0 } else { START + minute * MINUTE }
}

#[tokio::test]
async fn every_answer_about_a_session_says_when_to_be_heard_of_again() {
    let nothing = Some([0, 0, 0]);
    // Minute, call, status (0: that of a session that is over), and the headers in minutes.
    let rows = [
        (0, "read", 200, nothing),
        (0, "beat", 204, nothing),
        (0, "put 0", 200, nothing),
        (0, "put 5000", 200, nothing),
        (0, "put 10", 200, Some([60, 60, 90])),
        (0, "read", 200, Some([60, 60, 90])),
        (59, "beat", 204, Some([60, 60, 90])), // Too early: to be sent again.
        (59, "put 5000", 200, Some([60, 60, 90])),
        (60, "read", 200, Some([120, 60, 90])),
        (61, "put 5000", 200, Some([120, 60, 90])), // Denied: no sign of life.
        (90, "beat", 204, Some([120, 120, 150])),
        (90, "beat", 204, Some([120, 120, 150])),
        (91, "read", 200, Some([120, 120, 150])),
        (120, "read", 200, Some([180, 120, 150])),
        (130, "put 20", 200, Some([190, 190, 220])), // A new timeline.
        (140, "period PT10M", 200, None),
        (140, "read", 200, Some([190, 190, 195])),
        (190, "beat", 204, Some([200, 200, 205])),
        (198, "put 0", 200, nothing),
        (198, "beat", 204, nothing),
        (199, "put 1", 200, Some([209, 209, 214])),
        (200, "close", 200, nothing),
        (200, "read", 200, nothing),
        (200, "beat", 0, nothing),
        (200, "put 1", 0, nothing),
        (200, "put 0", 0, nothing),
        (200, "close", 0, nothing),
    ];
    for (version, ended) in STARTED {
        for method in ["GET", "POST"] {
            let house = house().await;
            let session = house.session().await;
            for (minute, action, status, headers) in rows {
                house.at(minute).await;
                let action = action.replace("beat", &format!("beat {method}"));
                let answer = house.call(version, &session, &action).await;
                let shown = format!("{version}, minute {minute}, {action}: {answer:?}");
                assert_eq!(answer.status, if status == 0 { ended } else { status }, "{shown}");
                assert_eq!(pacing(&answer), headers.map(|all| all.map(instant)), "{shown}");
                assert!(answer.header("x-sequence").is_some(), "{shown}");
            }
            let unknown = house.call(version, "no-session", "read").await;
            assert_eq!((unknown.status, pacing(&unknown)), (404, None), "{unknown:?}");
            let malformed = house.call(version, &session, "put x").await;
            assert_eq!((malformed.status, pacing(&malformed)), (400, None), "{malformed:?}");
        }
    }
}

/// How sessions end: name, calls at minutes, the minute of the end, and what is used then.
type End = (&'static str, &'static [(u64, &'static str)], u64, &'static str);
const ENDS: &[End] = &[
    ("closed while ACTIVE", &[(0, "put 10"), (30, "close")], 30, "15"),
    ("closed while IDLE", &[(7, "close")], 7, "0"),
    ("denied while ACTIVE", &[(0, "put 10"), (30, "put-or-end 5000")], 30, "15"),
    ("denied while IDLE", &[(7, "put-or-end 5000")], 7, "0"),
    ("no heartbeat", &[(0, "put 10")], 90, "30"),
    ("an automatic charge that is short", &[(0, "put 200")], 60, "600"),
    ("idle for too long", &[], THIRTY_DAYS, "0"),
];
const CALLS: &[&str] = &["beat GET", "beat POST", "put 1", "put-or-end 1", "put 0", "close"];

/// A session that has ended so, and time stands a millisecond after its end.
async fn ended(version: &str, (name, calls, end, used): End) -> (House, String) {
    let house = house().await;
    let session = house.session().await;
    for (minute, action) in calls {
        house.at(*minute).await;
        assert_eq!(house.call(version, &session, action).await.status, 200, "{name}: {action}");
    }
    // One millisecond on: a missed heartbeat is known then.
    house.server.move_to(START + end * MINUTE + 1).await;
    assert_eq!(house.used().await, used, "{name}");
    (house, session)
}

#[tokio::test]
async fn what_is_over_says_so_to_every_call_and_nothing_happens_any_more() {
    for (version, status) in STARTED {
        for end in ENDS {
            let (name, .., used) = *end;
            let (house, session) = ended(version, *end).await;
            let last = house.server.broker.journal().last();
            for action in CALLS {
                let answer = house.call(version, &session, action).await;
                let shown = format!("{version}, {name}, {action}: {answer:?}");
                assert_eq!(answer.outcome(), (status, "session-terminated".to_owned()), "{shown}");
                assert_eq!(text(&answer.json(), "/message"), "Session is TERMINATED", "{shown}");
                assert_eq!(pacing(&answer), Some([0, 0, 0]), "{shown}");
            }
            let foreign = house.server.instance("OTHER").await;
            let elsewhere = format!("GET /api/{version}/sessions/{session}/heartbeat");
            let elsewhere = format!("{elsewhere}\nx-instance-id: {foreign}");
            let elsewhere = house.server.admin(&elsewhere, "").await;
            assert_eq!(elsewhere.outcome(), (404, "unknown-session".to_owned()), "{name}");
            let details = house.call(version, &session, "read").await.json();
            assert_eq!(text(&details, "/state"), "TERMINATED", "{name}");
            assert_eq!(details.pointer("/items"), Some(&json!([])), "{name}");
            assert_eq!(house.used().await, used, "{name}: one refund");
            assert_eq!(house.list().await, json!([]), "{name}");
            let records = house.server.broker.journal().last();
            assert_eq!(records, last.next(), "{name}: only the other instance is recorded");
        }
    }
}

/// Status and body of an answer, but for what is its own.
fn without_ids(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    for own in ["/correlationId", "/instance"] {
        *body.pointer_mut(own).expect("every problem has it") = json!("");
    }
    (answer.status, body)
}

#[tokio::test]
async fn what_is_over_is_remembered_for_thirty_days_and_then_as_if_it_had_never_been() {
    const NEVER: &str = "64d2028c-ae87-4069-a624-66089d957ef9";
    for (version, status) in STARTED {
        for end in ENDS {
            let (name, _, minute, used) = *end;
            let (house, session) = ended(version, *end).await;
            let forgotten = START + (minute + THIRTY_DAYS) * MINUTE;
            house.server.move_to(forgotten - 1).await;
            let details = house.call(version, &session, "read").await;
            assert_eq!(text(&details.json(), "/state"), "TERMINATED", "{name}: {details:?}");
            let beat = house.call(version, &session, "beat GET").await;
            assert_eq!(beat.outcome(), (status, "session-terminated".to_owned()), "{name}");

            house.server.move_to(forgotten).await;
            for action in CALLS.iter().chain(&["read"]) {
                let answer = house.call(version, &session, action).await;
                let shown = format!("{version}, {name}, {action}: {answer:?}");
                assert_eq!(answer.outcome(), (404, "unknown-session".to_owned()), "{shown}");
                assert_eq!(pacing(&answer), None, "{shown}");
                let never = house.call(version, NEVER, action).await;
                assert_eq!(without_ids(&answer), without_ids(&never), "{shown}");
            }
            assert_eq!(house.used().await, used, "{name}: what was charged stays charged");
        }
    }
}

#[tokio::test]
async fn what_ended_unseen_more_than_thirty_days_ago_is_forgotten_all_the_same() {
    let house = house().await;
    let session = house.session().await;
    assert_eq!(house.call("v1.0", &session, "put 10").await.status, 200);
    house.at(90 + THIRTY_DAYS).await;
    let read = house.call("v1.0", &session, "read").await;
    assert_eq!(read.outcome(), (404, "unknown-session".to_owned()), "{read:?}");
    assert_eq!(house.used().await, "30", "no heartbeat came for the second charge");
}

#[tokio::test]
async fn the_list_shows_the_live_ones_and_when_each_was_heard_of() {
    let house = house().await;
    let sessions = [house.session().await, house.session().await];
    let [idle, active] = ["IDLE", "ACTIVE"];
    // Minute, whose call, and who is listed then: state, chargedUntil, lastHeartBeat and
    // lastAccessRequest in minutes.
    let rows: [(u64, usize, &str, &[_]); 11] = [
        (1, 0, "read", &[(1, idle, 0, 0, 0), (0, idle, 0, 0, 0)]),
        (2, 0, "beat GET", &[(1, idle, 0, 0, 0), (0, idle, 0, 2, 0)]),
        (3, 0, "put 10", &[(1, idle, 0, 0, 0), (0, active, 63, 2, 3)]),
        (4, 1, "put 5000", &[(1, idle, 0, 0, 4), (0, active, 63, 2, 3)]),
        (5, 0, "beat POST", &[(1, idle, 0, 0, 4), (0, active, 63, 5, 3)]),
        (63, 1, "read", &[(1, idle, 0, 0, 4), (0, active, 123, 5, 3)]),
        (64, 0, "beat GET", &[(1, idle, 0, 0, 4), (0, active, 123, 64, 3)]),
        (65, 0, "beat POST", &[(1, idle, 0, 0, 4), (0, active, 123, 65, 3)]),
        (66, 1, "put 1", &[(1, active, 126, 0, 66), (0, active, 123, 65, 3)]),
        (67, 0, "put 0", &[(1, active, 126, 0, 66), (0, idle, 0, 65, 67)]),
        (68, 1, "close", &[(0, idle, 0, 65, 67)]),
    ];
    for (minute, who, action, expected) in rows {
        house.at(minute).await;
        house.call("v1.0", &sessions[who], action).await;
        let shown = |(who, state, until, heard, asked): &(usize, &str, u64, u64, u64)| {
            json!({
                "sessionId": sessions[*who], "instanceId": house.instance, "state": state,
                "chargedUntil": instant(*until), "lastHeartBeat": instant(*heard),
                "lastAccessRequest": instant(*asked),
            })
        };
        let expected: Vec<Value> = expected.iter().map(shown).collect();
        assert_eq!(house.list().await, json!(expected), "minute {minute}: {action}");
    }
}

#[tokio::test]
async fn the_list_has_the_hundred_newest_live_sessions_newest_first() {
    let house = house().await;
    let mut newest = Vec::new();
    for _ in 0..103 {
        newest.insert(0, house.session().await);
    }
    for gone in [None, Some(0), Some(50)] {
        if let Some(place) = gone {
            house.call("v1.0", &newest.remove(place), "close").await;
        }
        let list = house.list().await;
        let list = list.as_array().unwrap().iter();
        let listed: Vec<_> = list.map(|session| text(session, "/sessionId")).collect();
        assert_eq!(listed, newest[..100], "{gone:?}");
    }
}

#[tokio::test]
async fn settings_and_the_test_clock_are_for_administration_only() {
    let house = house().await;
    let client = house.server.client_token(&[&house.instance]);
    for (path, method, allow) in
        [("/api/v1.0/configuration", "PATCH", "GET, PATCH"), ("/test/clock", "POST", "GET, POST")]
    {
        for target in [format!("GET {path}"), format!("{method} {path}")] {
            let nobody = house.server.connect().await.request(&target, "").await;
            assert_eq!(nobody.outcome(), (401, "missing-token".to_owned()), "{target}");
            let refused = house.server.call(&client, &target, r#"{"advance":1}"#).await;
            assert_eq!(refused.outcome(), (403, "forbidden".to_owned()), "{target}");
        }
        let other = house.server.admin(&format!("PUT {path}"), "{}").await;
        assert_eq!((other.status, other.header("allow")), (405, Some(allow)), "{path}");
    }
    let read = house.server.admin("GET /test/clock", "").await;
    assert_eq!(read.body, format!(r#"{{"now":{START}}}"#), "nobody has moved it");
}

#[tokio::test]
async fn without_a_test_clock_there_is_no_such_path() {
    let server = start().await;
    for target in ["GET /test/clock", "POST /test/clock", "PUT /test/clock"] {
        for token in [server.admin_token.as_str(), ""] {
            let answer = server.call(token, target, r#"{"advance":1}"#).await;
            assert_eq!(answer.outcome(), (404, "unknown-path".to_owned()), "{target}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_test_clock_goes_forward_by_whole_milliseconds_and_never_back() {
    const LAST: u64 = 7_258_118_400_000;
    let house = house().await;
    let hour = START + 60 * MINUTE;
    let set = |ms: u64| json!({"set": ms}).to_string();
    let rows = [
        (r#"{"advance":0}"#.to_owned(), "ok", START),
        (r#"{"advance":3600000}"#.to_owned(), "ok", hour),
        (set(hour), "ok", hour),
        (set(hour - 1), "bad-time", hour),
        (set(START / 1000), "bad-time", hour),
        (set(LAST + 1), "bad-time", hour),
        (r#"{"advance":-1}"#.to_owned(), "bad-time", hour),
        (r#"{"advance":1.5}"#.to_owned(), "bad-time", hour),
        (json!({"advance": LAST}).to_string(), "bad-time", hour),
        (r#"{"advance":18446744073709551615}"#.to_owned(), "bad-time", hour),
        (r#"{"advance":"1"}"#.to_owned(), "bad-type", hour),
        (format!(r#"{{"set":{hour},"advance":1}}"#), "conflicting-fields", hour),
        ("{}".to_owned(), "missing-field", hour),
        (r#"{"now":1}"#.to_owned(), "unknown-field", hour),
        (String::new(), "bad-json", hour),
        (set(hour + 1), "ok", hour + 1),
        (set(LAST), "ok", LAST),
        (r#"{"advance":1}"#.to_owned(), "bad-time", LAST),
    ];
    for (body, code, now) in rows {
        let answer = house.server.admin("POST /test/clock", &body).await;
        let status = if code == "ok" { 200 } else { 400 };
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{body}: {answer:?}");
        let expected = format!(r#"{{"now":{now}}}"#);
        assert!(code != "ok" || answer.body == expected, "{body}: {answer:?}");
        assert_eq!(house.server.admin("GET /test/clock", "").await.body, expected, "{body}");
    }
}

/// A key that was overlooked would let a repetition move the clock twice.
#[tokio::test]
async fn the_test_clock_refuses_a_call_under_an_idempotency_key() {
    let house = house().await;
    let target = "POST /test/clock\nidempotency-key: k";
    let refused = house.server.admin(target, r#"{"advance":1}"#).await;
    assert_eq!(refused.outcome(), (400, "bad-idempotency-key".to_owned()), "{refused:?}");
    let read = house.server.admin("GET /test/clock\nidempotency-key: k", "").await;
    assert_eq!(read.body, format!(r#"{{"now":{START}}}"#), "a read ignores it");
}

/// What happened by itself so far: the minute of its stamp, and what.
fn by_itself(house: &House) -> Vec<(u64, &'static str)> {
    let kind = |record: &Record| {
        let automatic = matches!(record.event, Event::AutomaticCharge(_)).then_some("charge");
        let expired = matches!(record.event, Event::SessionExpired(_)).then_some("end");
        Some(((record.at.as_ms() - START) / MINUTE, automatic.or(expired)?))
    };
    let mut happened: Vec<_> = house.records().iter().filter_map(kind).collect();
    happened.sort_unstable(); // Instances do not wait for each other.
    happened
}

#[tokio::test]
async fn an_advance_by_hours_is_answered_once_all_that_fell_due_is_done_at_its_own_time() {
    let mut house = house().await;
    let first = house.session().await;
    assert_eq!(house.call("v1.0", &first, "put 10").await.status, 200);
    house.at(30).await;
    let (acme, other) = (house.instance.clone(), house.server.instance("OTHER").await);
    house.server.line_item(&other, 2, 1000).await;
    house.instance = other.clone();
    let second = house.session().await;
    assert_eq!(house.call("v1.0", &second, "put 5").await.status, 200);

    let advance = |hours: u64| json!({"advance": hours * 60 * MINUTE}).to_string();
    house.server.admin("POST /test/clock", &advance(1)).await;
    assert_eq!(by_itself(&house), [(60, "charge"), (90, "charge")]);
    for (session, status) in [(&first, 204), (&second, 204)] {
        assert_eq!(house.call("v1.0", session, "beat GET").await.status, status);
    }
    let answer = house.server.admin("POST /test/clock", &advance(5)).await;
    assert_eq!(answer.body, format!(r#"{{"now":{}}}"#, START + 390 * MINUTE));
    assert_eq!(
        by_itself(&house),
        [
            (60, "charge"),
            (90, "charge"),
            (120, "charge"),
            (150, "charge"),
            (150, "end"),
            (180, "end"),
        ]
    );
    assert_eq!(house.server.used(&acme, 1).await, "60");
    assert_eq!(house.server.used(&other, 2).await, "30");
}
