//! `serve --test-clock`: time in hand over HTTP, across a kill; and a directory that was served so
//! is never served otherwise, nor the reverse (spec 4.2).

use std::path::Path;

use farebox::env::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{Caller, Ran, Served, check_fails, farebox, ran, run, serve, string, text};
use crate::world::World;

const HOUR_MS: u64 = 3_600_000;

fn test_clock(data: &Path) -> Command {
    farebox(&["serve", "--listen", "127.0.0.1:0", "--data", text(data), "--test-clock"])
}

async fn served(data: &Path) -> Served {
    Served::from(test_clock(data), data).await
}

/// What the clock shows.
async fn now(admin: &mut Caller) -> u64 {
    let answer = admin.call("GET /test/clock", None, "").await;
    answer.pointer("/now").and_then(Value::as_u64).expect("milliseconds")
}

async fn advance(admin: &mut Caller, ms: u64) {
    let expected = json!({"now": now(admin).await + ms});
    let body = json!({"advance": ms}).to_string();
    assert_eq!(admin.call("POST /test/clock", None, &body).await, expected);
}

/// What is used of the first instance of the world.
async fn used(world: &World, served: &Served) -> String {
    world.used(served).await.first().expect("there is one").to_string()
}

#[tokio::test]
async fn after_a_kill_time_and_its_sessions_go_on_where_the_directory_has_got_to() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let system = SystemClock::new();
    let before = system.system().as_ms();
    let mut server = served(&data).await;
    let mut admin = server.administration().await;
    let start = now(&mut admin).await;
    assert!((before..=system.system().as_ms()).contains(&start), "a new directory starts now");

    let world = World::create(&server).await;
    let creation = json!({"instanceId": world.instances[0]}).to_string();
    let created = admin.call("POST /api/v1.0/sessions", None, &creation).await;
    let session = format!("/api/v1.0/sessions/{}", string(&created, "/sessionId"));
    let ten = json!({
        "requester": {"type": "user", "value": "LisaBarry"}, "rollbackOnDeny": true,
        "requestedItems": [{"item": "PhotoPrint", "version": "1.0", "count": 10}],
    });
    admin.call(&format!("PUT {session}"), None, &ten.to_string()).await;
    assert_eq!(now(&mut admin).await, start, "it stands still");
    for (hours, expected) in [(1, "60"), (2, "90"), (3, "120")] {
        advance(&mut admin, HOUR_MS).await;
        assert_eq!(used(&world, &server).await, expected, "after {hours} hours");
        admin.call(&format!("POST {session}/heartbeat"), None, "").await;
    }
    server.process.kill().await;

    let server = served(&data).await;
    let mut admin = server.administration().await;
    assert_eq!(now(&mut admin).await, start + 3 * HOUR_MS, "the high-water mark");
    assert_eq!(used(&world, &server).await, "120");
    advance(&mut admin, HOUR_MS - 1).await;
    assert_eq!(used(&world, &server).await, "120", "the paid period was not over");
    advance(&mut admin, 1).await;
    assert_eq!(used(&world, &server).await, "150");
    advance(&mut admin, HOUR_MS / 2 + 1).await;
    assert_eq!(used(&world, &server).await, "120", "no heartbeat came");
    let details = admin.call(&format!("GET {session}"), None, "").await;
    assert_eq!(string(&details, "/state"), "TERMINATED");
    server.stop().await;

    let server = served(&data).await;
    let mut admin = server.administration().await;
    assert_eq!(now(&mut admin).await, start + 4 * HOUR_MS + HOUR_MS / 2 + 1, "a clean stop");
    server.stop().await;
    records(&data).await;
}

/// How many records a directory has, as `verify` counts them.
async fn records(data: &Path) -> String {
    let verified = ran(&["verify", "--data", text(data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let counted = verified.stdout.split_once(" records").expect("it counts them");
    counted.0.to_owned()
}

#[tokio::test]
async fn a_directory_is_only_served_with_the_clock_that_it_was_begun_with() {
    let home = tempfile::tempdir().unwrap();
    let [by_hand, by_itself] = ["by-hand", "by-itself"].map(|name| home.path().join(name));
    served(&by_hand).await.stop().await;
    serve(&by_itself).await.stop().await;
    let [serve_by_hand, serve_by_itself] = [&by_hand, &by_itself]
        .map(|data| ["serve", "--listen", "127.0.0.1:0", "--data", text(data)]);
    let before = [records(&by_hand).await, records(&by_itself).await];

    let words = ["farebox: the directory is driven by a test clock: serve it with --test-clock\n"];
    check_fails(&serve_by_hand, 2, &words).await;
    let words = [
        "farebox: the directory is driven by the system's clocks: serve it without --test-clock\n",
    ];
    check_fails(&[&serve_by_itself[..], &["--test-clock"]].concat(), 2, &words).await;
    let mut command = farebox(&serve_by_itself);
    command.env("FAREBOX_TEST_CLOCK", "true");
    let Ran { code, stderr, .. } = run(command).await;
    assert!(code == Some(2) && stderr.contains(words[0]), "{code:?}: {stderr}");

    assert_eq!(before, [records(&by_hand).await, records(&by_itself).await], "nothing happened");
    served(&by_hand).await.stop().await;
    let by_itself = serve(&by_itself).await;
    let mut admin = by_itself.administration().await;
    let answer = admin.attempt("GET /test/clock", None, "").await.unwrap();
    assert_eq!((answer.status, string(&answer.body, "/code")), (404, "unknown-path".to_owned()));
    by_itself.stop().await;
}
