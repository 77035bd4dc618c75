//! `Idempotency-Key`: a call that is repeated under its key is answered as it was the first time, byte
//! for byte, and happens once (P5, D7, H18 to H21 of promises.md). Crashes are in
//! tests/binary/retries.rs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farebox::broker::{Broker, Options, Storage};
use farebox::config::{Idempotency, Settings};
use farebox::domain::time::Timestamp;
use farebox::env::TestClock;
use farebox::journal::{Disk, Entry, MemoryDisk, MemorySnapshots, SledSnapshots, Snapshots};
use farebox::verify::verify;
use serde_json::json;
use tokio::task::JoinSet;

use crate::http_client::{Answer, bytes_of};
use crate::prefixes::{Ids, SCRIPT};
use crate::server::{line_item, start_over, start_with_settings, start_with_test_clock, text};
use crate::sessions_in_time::START;
use crate::{asking, in_session, with_line_items};

const DAY_MS: u64 = 86_400_000;

/// An answer without what every connection adds.
fn told(answer: &Answer) -> (u16, String, Vec<Option<String>>) {
    let names =
        ["content-type", "x-sequence", "x-charged-until", "x-heartbeat-from", "x-heartbeat-due-by"];
    let headers = names.map(|name| answer.header(name).map(str::to_owned)).to_vec();
    (answer.status, answer.body.clone(), headers)
}

fn keyed(target: &str, key: &str) -> String {
    format!("{target}\nidempotency-key: {key}")
}

fn access(instance: &str) -> String {
    format!("POST /api/v1.1/instances/{instance}/access-request")
}

fn one() -> String {
    asking(&[("PhotoPrint", "1.0", "1")])
}

fn is_change(route: &str) -> bool {
    let only_looks = route.ends_with("/heartbeat") || route.ends_with("/components_status");
    !route.starts_with("GET") && !only_looks
}

#[tokio::test]
async fn every_change_is_answered_again_to_the_byte_and_happens_once() {
    for version in ["v1.0", "v1.1"] {
        let server = start_with_test_clock(Timestamp::from_ms(START)).await;
        let (mut ids, mut again) = (Ids::default(), BTreeSet::new());
        for (number, step) in SCRIPT.iter().enumerate() {
            let (target, body) = step.filled(&format!("/api/{version}"), &ids);
            let target = keyed(&target, &format!("key {number}"));
            let first = server.admin(&target, &body).await;
            ids.learn(step.route, &first.body);
            let is_change = is_change(step.route);
            let is_decided = first.header("x-sequence").is_some();
            if is_change && is_decided {
                let last = server.broker.journal().last();
                let second = server.admin(&target, &body).await;
                assert_eq!(told(&second), told(&first), "{target}");
                assert_eq!(server.broker.journal().last(), last, "{target} has done nothing");
                again.insert(step.route);
            }
        }
        let methods = farebox::http::component_routes().map(|(_, method, path)| (method, path));
        let all = farebox::http::routes().chain(methods);
        let all = all.map(|(method, path)| format!("{method} {path}"));
        let all: BTreeSet<String> = all.filter(|route| is_change(route)).collect();
        let again: BTreeSet<String> = again.into_iter().map(str::to_owned).collect();
        assert_eq!(again, all, "left: what was repeated, right: what changes something");
    }
}

#[tokio::test]
async fn a_key_is_for_one_request() {
    let (server, instance) = with_line_items(&[1000]).await;
    let other = server.instance("Other").await;
    let target = access(&instance);
    let first = server.admin(&keyed(&target, "k"), &one()).await;
    assert_eq!(first.outcome(), (200, "ok".to_owned()));
    let reused = (422, "key-reused".to_owned());
    let two = asking(&[("PhotoPrint", "1.0", "2")]);
    assert_eq!(server.admin(&keyed(&target, "k"), &two).await.outcome(), reused, "body");
    let elsewhere = keyed(&access(&other), "k");
    assert_eq!(server.admin(&elsewhere, &one()).await.outcome(), reused, "instance");
    let older = keyed(&target.replace("v1.1", "v1.0"), "k");
    assert_eq!(server.admin(&older, &one()).await.outcome(), reused, "version");
    let with_balances = keyed(&format!("{target}?balances=true"), "k");
    assert_eq!(server.admin(&with_balances, &one()).await.outcome(), reused, "query");
    // Another spelling of the path is the same path.
    let spelled = target.replace("/api/", "/dynamicmonetization/elastic/api/");
    let again = server.admin(&keyed(&spelled, "k"), &one()).await;
    assert_eq!(told(&again), told(&first));
    assert_eq!(server.used(&instance, 1).await, "3");
    // A quote changes nothing, and knows no keys.
    let quote = keyed(&format!("{target}?dryRun=true"), "k");
    assert_eq!(server.admin(&quote, &two).await.outcome(), (200, "ok".to_owned()));
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_does_nothing() {
    let (server, instance) = with_line_items(&[1000]).await;
    let longest = "k".repeat(255);
    for (headers, expected) in [
        ("idempotency-key: ".to_owned(), (400, "bad-idempotency-key")),
        (format!("idempotency-key: {longest}k"), (400, "bad-idempotency-key")),
        ("idempotency-key: a\tb".to_owned(), (400, "bad-idempotency-key")),
        ("idempotency-key: \u{e9}".to_owned(), (400, "bad-idempotency-key")),
        ("idempotency-key: a\nidempotency-key: a".to_owned(), (400, "bad-idempotency-key")),
        (format!("idempotency-key: {longest}"), (200, "ok")),
        ("idempotency-key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"".to_owned(), (200, "ok")),
    ] {
        let answer = server.admin(&format!("{}\n{headers}", access(&instance)), &one()).await;
        let (status, code) = answer.outcome();
        assert_eq!((status, code.as_str()), expected, "{headers}");
    }
    assert_eq!(server.used(&instance, 1).await, "6", "two were fine");
}

#[tokio::test]
async fn a_request_that_was_not_decided_leaves_its_key_free() {
    let (server, instance) = with_line_items(&[1000]).await;
    let target = keyed(&access(&instance), "k");
    let bad = asking(&[("PhotoPrint", "1.0", "0")]);
    assert_eq!(server.admin(&target, &bad).await.outcome(), (400, "bad-count".to_owned()));
    assert_eq!(server.admin(&target, &one()).await.status, 200);
    // What was decided is kept, also where it was refused.
    let session = keyed(&format!("PUT /api/v1.1/sessions/{instance}"), "s");
    let unknown = server.admin(&session, &in_session(&one(), "true")).await;
    assert_eq!(unknown.outcome(), (404, "unknown-session".to_owned()));
    let other = server.admin(&session, &in_session(&one(), "false")).await;
    assert_eq!(other.outcome(), (404, "unknown-session".to_owned()), "the key is still free");
    let delete = keyed(&format!("DELETE /api/v1.1/instances/{instance}/line-items/ACT01"), "d");
    let refused = server.admin(&delete, "").await;
    assert_eq!(refused.outcome(), (409, "not-obsolete".to_owned()));
    let mut body = line_item(1, 1000);
    body["state"] = json!("OBSOLETE");
    let map = format!("PUT /api/v1.1/instances/{instance}/line-items");
    assert_eq!(server.admin(&map, &body.to_string()).await.status, 200);
    assert_eq!(told(&server.admin(&delete, "").await), told(&refused), "it stays as it was said");
}

#[tokio::test]
async fn nobody_meets_the_keys_of_others() {
    let (server, a) = with_line_items(&[1000]).await;
    let b = server.instance("Other").await;
    server.line_item_named(&b, "ACT-B").await;
    let (of_a, of_b) = (server.client_token(&[&a]), server.client_token(&[&b]));
    let (to_a, to_b) = (keyed(&access(&a), "k"), keyed(&access(&b), "k"));
    let first = server.call(&of_a, &to_a, &one()).await;
    let own = server.call(&of_b, &to_b, &one()).await;
    assert_eq!((first.status, own.status), (200, 200), "the same key, and each its own request");
    assert_ne!(text(&first.json(), "/correlationId"), text(&own.json(), "/correlationId"));
    assert_eq!(told(&server.call(&of_b, &to_b, &one()).await), told(&own));
    assert_eq!(told(&server.call(&of_a, &to_a, &one()).await), told(&first));
    assert_eq!(server.call(&of_b, &to_a, &one()).await.outcome().0, 403, "not its instance");
    // Administration has keys of its own.
    let admin = server.admin(&to_a, &one()).await;
    assert_ne!(admin.body, first.body);
    // Who may touch both instances meets both keys, and may not use it for a third.
    let c = server.instance("Third").await;
    let of_all = server.client_token(&[&a, &b, &c]);
    assert_eq!(told(&server.call(&of_all, &to_a, &one()).await), told(&first));
    assert_eq!(told(&server.call(&of_all, &to_b, &one()).await), told(&own));
    let third = server.call(&of_all, &keyed(&access(&c), "k"), &one()).await;
    assert_eq!(third.outcome(), (422, "key-reused".to_owned()));
}

#[tokio::test]
async fn a_key_is_kept_for_24_hours_of_session_time() {
    let server = start_with_test_clock(Timestamp::from_ms(START)).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 1000).await;
    let target = keyed(&access(&instance), "k");
    let first = server.admin(&target, &one()).await;
    server.move_to(START + DAY_MS - 1).await;
    assert_eq!(told(&server.admin(&target, &one()).await), told(&first), "a millisecond before");
    assert_eq!(server.used(&instance, 1).await, "3");
    server.move_to(START + DAY_MS).await;
    let second = server.admin(&target, &one()).await;
    assert_ne!(second.body, first.body, "it is a new request");
    assert_eq!(server.used(&instance, 1).await, "6");
    assert_eq!(told(&server.admin(&target, &one()).await), told(&second));
}

#[tokio::test]
async fn a_close_whose_answer_was_lost_can_be_repeated_and_refunds_once() {
    let server = start_with_test_clock(Timestamp::from_ms(START)).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 1000).await;
    let created = keyed("POST /api/v1.1/sessions", "open");
    let open = json!({"instanceId": instance}).to_string();
    let session = text(&server.admin(&created, &open).await.json(), "/sessionId");
    assert_eq!(text(&server.admin(&created, &open).await.json(), "/sessionId"), session);
    let path = format!("/api/v1.1/sessions/{session}");
    let put = keyed(&format!("PUT {path}"), "put");
    let set = in_session(&asking(&[("PhotoPrint", "1.0", "10")]), "true");
    let charged = server.admin(&put, &set).await;
    assert!(charged.header("x-charged-until").is_some());
    server.move_to(START + 20 * 60_000).await;
    assert_eq!(told(&server.admin(&put, &set).await), told(&charged), "and no refund");
    assert_eq!(server.used(&instance, 1).await, "30");
    let close = keyed(&format!("DELETE {path}"), "close");
    let closed = server.admin(&close, "").await;
    assert_eq!((closed.status, server.used(&instance, 1).await.as_str()), (200, "10"));
    assert_eq!(told(&server.admin(&close, "").await), told(&closed));
    assert_eq!(server.used(&instance, 1).await, "10");
    let other = keyed(&format!("DELETE {path}"), "another");
    assert_eq!(server.admin(&other, "").await.outcome().0, 409, "another request finds it closed");
}

#[tokio::test]
async fn whoever_hangs_up_and_repeats_is_charged_once() {
    let (server, instance) = with_line_items(&[1_000_000]).await;
    for round in 1..=50_u64 {
        let head = format!(
            "{}\nauthorization: Bearer {}\ncontent-type: application/json\nidempotency-key: {round}",
            access(&instance),
            server.admin_token
        );
        let mut gone = server.connect().await;
        gone.send(bytes_of(&head, &one()).as_bytes()).await;
        drop(gone); // Perhaps before it is read, perhaps while it is decided.
        let answer = loop {
            let answer = server.connect().await.request(&head, &one()).await;
            if answer.status != 409 {
                break answer;
            }
        };
        assert_eq!(answer.outcome(), (200, "ok".to_owned()));
        assert_eq!(server.used(&instance, 1).await, (3 * round).to_string(), "round {round}");
    }
}

#[tokio::test]
async fn when_no_key_can_be_kept_nothing_is_decided() {
    let idempotency = Idempotency { keys_max: 3, keys_max_per_instance: 2, ..Default::default() };
    let server = start_with_settings(Settings { idempotency, ..Settings::default() }).await;
    server.publish_p().await;
    let [a, b] = [server.instance("A").await, server.instance("B").await];
    server.line_item(&a, 1, 1000).await;
    let full = (429, "key-quota".to_owned());
    for (key, instance, expected) in
        [("1", &a, 200), ("2", &a, 200), ("3", &a, 429), ("4", &b, 200), ("5", &b, 429)]
    {
        let answer = server.admin(&keyed(&access(instance), key), &one()).await;
        assert_eq!(answer.status, expected, "{key}: {answer:?}");
        if expected == 429 {
            assert_eq!(answer.outcome(), full);
            let seconds = answer.header("retry-after").expect("when to come back");
            let seconds: u64 = seconds.parse().expect("a number");
            assert!(
                (86_000..=86_400).contains(&seconds),
                "when the oldest is forgotten: {seconds}"
            );
        }
    }
    assert_eq!(server.used(&a, 1).await, "6");
    let again = server.admin(&keyed(&access(&a), "1"), &one()).await;
    assert_eq!(again.status, 200, "what is kept is still answered");
    assert_eq!(server.admin(&access(&a), &one()).await.status, 200, "and who has no key is served");
}

/// A hundred clients send the same request at once, again and again: one of them is charged, and
/// all are told the same.
#[tokio::test]
async fn twins_have_one_effect_and_one_answer() {
    const TWINS: usize = 100;
    let rounds = if std::env::var_os("FAREBOX_LONG").is_some() { 1_000 } else { 100 };
    let (server, instance) = with_line_items(&[1_000_000]).await;
    let server = std::sync::Arc::new(server);
    let mut clients = Vec::new();
    for _ in 0..TWINS {
        clients.push(server.connect().await);
    }
    let mut busy = 0_u64;
    for round in 1..=rounds {
        let head = format!(
            "{}\nauthorization: Bearer {}\ncontent-type: application/json\nidempotency-key: {round}",
            access(&instance),
            server.admin_token
        );
        let mut twins = JoinSet::new();
        for mut client in clients.drain(..) {
            let head = head.clone();
            twins.spawn(async move {
                let mut busy = 0;
                loop {
                    let answer = client.request(&head, &one()).await;
                    if answer.outcome() != (409, "in-progress".to_owned()) {
                        return (client, answer, busy);
                    }
                    assert_eq!(answer.header("retry-after"), Some("1"));
                    busy += 1;
                    tokio::task::yield_now().await;
                }
            });
        }
        let mut answers = Vec::new();
        while let Some(twin) = twins.join_next().await {
            let (client, answer, more) = twin.expect("a client comes to its end");
            clients.push(client);
            busy += more;
            answers.push(told(&answer));
        }
        assert_eq!(answers.len(), TWINS);
        assert_eq!(answers[0].0, 200);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "round {round}");
        assert_eq!(server.used(&instance, 1).await, (3 * round).to_string(), "round {round}");
    }
    println!("{rounds} rounds of {TWINS} twins: one effect each; {busy} times told to ask again");
}

#[tokio::test]
async fn a_first_answer_that_cannot_be_read_back_is_not_said_to_have_changed_nothing() {
    let disk = MemoryDisk::new();
    let storage = Storage::Custom(Arc::new(disk.clone()), Arc::new(MemorySnapshots::new()));
    let broker = Broker::open(Options { storage, ..Options::memory() }).await.expect("a broker");
    let server = start_over(broker.broker).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 10).await;
    let target = keyed(&access(&instance), "once");
    assert_eq!(server.admin(&target, &one()).await.status, 200);
    let name = "0000000001.segment";
    let spoiled: Vec<u8> = disk.files()[name].iter().skip(4096).map(|byte| !byte).collect();
    let file = disk.open(name).expect("the journal's first segment");
    file.write_at(&spoiled, 4096).expect("it is written");
    let again = server.admin(&target, &one()).await;
    assert_eq!(again.status, 503, "{again:?}");
    let problem = again.json();
    assert_eq!((&problem["code"], &problem["effect"]), (&json!("no-answer"), &json!("unknown")));
}

/// The first byte of an entry that says where the answer under a key is.
const ANSWERED: u8 = 14;

/// Takes keys out of the snapshots and leaves everything else as it should be.
fn lose(data: &Path, which: impl Fn(usize) -> bool) {
    let snapshots = SledSnapshots::open(&data.join("snapshots")).expect("it opens");
    let mut entries: Vec<Entry> = Vec::new();
    let mark = snapshots.load(&mut |key, _| {
        if key.first() == Some(&ANSWERED) {
            entries.push((key.to_vec(), None));
        }
    });
    let mut number = 0..;
    entries.retain(|_| number.next().is_some_and(&which));
    assert!(!entries.is_empty(), "there is something to lose");
    snapshots.write(&entries).expect("it is written");
    snapshots.finish(mark.expect("whole").expect("there is one")).expect("it is written");
}

/// The snapshots say up to when they have forgotten keys. `verify`, which is not told how long they
/// are kept, misses every other one, and none that was forgotten, whatever each start was told.
#[tokio::test]
async fn verify_misses_the_keys_that_the_snapshots_have_lost_and_none_that_they_forgot() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let clock = Arc::new(TestClock::new(Timestamp::from_ms(START)));
    for (run, keep_ms) in [(0, 1_000), (1, 7 * DAY_MS), (2, 1_500), (3, 2 * DAY_MS)] {
        let keep = Duration::from_millis(keep_ms);
        let idempotency = Idempotency { keep, ..Idempotency::default() };
        let settings = Settings { idempotency, segment_bytes: 64 << 10, ..Settings::default() };
        let (storage, clock_of) = (Storage::Directory(data.clone()), Arc::clone(&clock) as _);
        let options = Options { storage, settings, clock: clock_of, ..Options::memory() };
        let mut server = start_over(Broker::open(options).await.expect("it opens").broker).await;
        for number in 0..6 {
            clock.advance(400);
            let body = json!({"shortName": "short", "accountId": "ACME"}).to_string();
            let key = keyed("POST /api/v1.1/instances", &format!("{run}.{number}"));
            assert_eq!(server.admin(&key, &body).await.status, 200);
        }
        server.broker.close().await.expect("it closes");
        server.stop();
        assert_eq!(server.served().await, 0);
        verify(&data).expect("nothing is lost");
        clock.advance(2 * DAY_MS - 1_600);
    }
    let words = "the snapshots do not have the idempotency keys as the journal does";
    lose(&data, |number| number == 0);
    let lost = verify(&data).expect_err("one is lost").to_string();
    assert!(lost.contains(words), "{lost}");
    lose(&data, |_| true);
    let lost = verify(&data).expect_err("all are lost").to_string();
    assert!(lost.contains(words), "{lost}");
}
