//! Rows that need the real program: its file descriptors, its metrics, its memory.

use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{Caller, Served, run, serve, serving, string, text, through_shell};

const TABLE: &str = r#"{"effectiveFrom":1698849852000,"series":"P","version":"1","items":[{"name":"PhotoPrint","version":"1.0","rate":3}]}"#;
const LINE_ITEM: &str = r#"{"activationId":"ACT01","state":"DEPLOYED","quantity":1000000,"start":0,"end":253402300000000,"attributes":{"elastic":true,"rateTableSeries":"P"}}"#;
const ASK: &str = r#"{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#;

/// An instance with a line item; the path of its requests.
async fn furnished(admin: &mut Caller) -> (String, String) {
    admin.call("POST /api/v1.1/rate-tables", None, TABLE).await;
    let instance = json!({"shortName": "ACME-def-inst", "accountId": "ACME"}).to_string();
    let instance = string(&admin.call("POST /api/v1.1/instances", None, &instance).await, "/id");
    let line_items = format!("PUT /api/v1.1/instances/{instance}/line-items");
    admin.call(&line_items, None, LINE_ITEM).await;
    let access = format!("POST /api/v1.1/instances/{instance}/access-request");
    (instance, access)
}

/// Descriptors for 64 connections, and more connections than that. Who was there before is served all
/// the time, the journal keeps descriptors of its own, and when there is room again everybody is served.
#[tokio::test]
async fn g1_without_descriptors_nobody_new_gets_in_and_nobody_is_thrown_out() {
    let home = tempfile::tempdir().expect("a directory");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", text(home.path())];
    let limited = through_shell(r#"ulimit -n 320; ulimit -Sn 100; exec "$@""#, &arguments);
    let mut served = Served::from(limited, home.path()).await;
    let said = served.process.stderr.borrow().clone();
    assert!(said.contains("files=320 connections=64"), "the soft limit is raised: {said}");
    let mut early = served.administration().await;
    let (_, access) = furnished(&mut early).await;
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(TcpStream::connect(&served.address).await.expect("the kernel's queue is long"));
    }
    for _ in 0..20 {
        early.call(&access, None, ASK).await;
        let open = Path::new("/proc").join(served.process.id().to_string()).join("fd");
        let open = std::fs::read_dir(open).expect("it runs").count();
        assert!(open < 64 + 128, "{open} files are open: the journal's descriptors are taken");
    }
    drop(crowd);
    let mut late = served.administration().await;
    let charged = late.call(&access, None, ASK).await;
    assert_eq!(charged.pointer("/requestedItems/0/totalTokensCharged"), Some(&json!(3)));

    // None at all, as where something else takes them: it is said once, however often it fails.
    let id = i32::try_from(served.process.id()).ok().and_then(Pid::from_raw);
    let limit = |files| {
        let files = Rlimit { current: Some(files), maximum: Some(320) };
        prlimit(id, Resource::Nofile, files).expect("it runs");
    };
    limit(0);
    let waiting = TcpStream::connect(&served.address).await.expect("the kernel's queue is long");
    served.process.logs("cannot accept connections").await;
    for _ in 0..200 {
        early.call(&access, None, ASK).await;
    }
    limit(320);
    served.process.logs("connections are accepted again").await;
    let said = served.process.stderr.borrow().clone();
    assert_eq!(said.matches("cannot accept connections").count(), 1, "{said}");
    drop(waiting);
    served.stop().await;

    let too_few = through_shell(r#"ulimit -n 256; exec "$@""#, &arguments);
    let refused = run(too_few).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("this process may open 256 files"), "{refused:?}");
}

/// What is there at a start stays, however many they are, and counts.
#[tokio::test]
async fn g2_sessions_above_the_limit_of_a_new_start_stay_and_no_other_comes() {
    let home = tempfile::tempdir().expect("a directory");
    let served = serve(home.path()).await;
    let mut admin = served.administration().await;
    let (instance, _) = furnished(&mut admin).await;
    let create = json!({"instanceId": instance}).to_string();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let created = admin.call("POST /api/v1.1/sessions", None, &create).await;
        sessions.push(string(&created, "/sessionId"));
    }
    served.stop().await;
    for flag in ["--sessions", "--sessions-per-instance"] {
        let mut command = serving(home.path());
        command.args([flag, "2"]);
        let served = Served::from(command, home.path()).await;
        let mut admin = served.administration().await;
        let refused = admin.attempt("POST /api/v1.1/sessions", None, &create).await;
        let refused = refused.expect("an answer");
        assert_eq!(refused.status, 429, "{flag}: {refused:?}");
        for session in &sessions {
            admin.call(&format!("POST /api/v1.1/sessions/{session}/heartbeat"), None, "").await;
        }
        for _ in 0..2 {
            let session = sessions.pop().expect("three are live");
            admin.call(&format!("DELETE /api/v1.1/sessions/{session}"), None, "").await;
        }
        for _ in 0..2 {
            if let Some(created) = admin.attempt("POST /api/v1.1/sessions", None, &create).await
                && created.status == 200
            {
                sessions.push(string(&created.body, "/sessionId"));
            }
        }
        assert_eq!(sessions.len(), 2, "{flag}: one place was free");
        // The next round begins with three again.
        served.stop().await;
        let served = serve(home.path()).await;
        let created =
            served.administration().await.call("POST /api/v1.1/sessions", None, &create).await;
        sessions.push(string(&created, "/sessionId"));
        served.stop().await;
    }
}

/// How many lines the metrics have, and how many bytes.
async fn metrics(admin: &mut Caller) -> (usize, usize) {
    let answer = admin.attempt("GET /metrics", None, "").await.expect("an answer");
    let lines = answer.bytes.split(|byte| *byte == b'\n');
    (lines.filter(|line| !line.starts_with(b"#")).count(), answer.bytes.len())
}

/// No metric has a label that a client chooses.
#[tokio::test]
async fn g9_metrics_do_not_grow_with_the_names_that_clients_send() {
    let names: usize = if std::env::var_os("FAREBOX_LONG").is_some() { 100_000 } else { 5_000 };
    let home = tempfile::tempdir().expect("a directory");
    let served = serve(home.path()).await;
    let mut admin = served.administration().await;
    let (instance, access) = furnished(&mut admin).await;
    let request = |first: usize| {
        let item = |n: usize| json!({"item": format!("name-{n}"), "count": 1});
        let items: Vec<_> = (first..first + 100).map(item).collect();
        let requester = json!({"type": format!("t{first}"), "value": format!("v{first}")});
        json!({"requester": requester, "requestedItems": items}).to_string()
    };
    for round in 0..2 {
        admin.call(&access, None, &request(round)).await;
        admin.attempt(&format!("GET /api/v1.1/nowhere/{round}"), None, "").await;
        metrics(&mut admin).await;
    }
    let (lines, _) = metrics(&mut admin).await;
    for first in (0..names).step_by(100) {
        admin.call(&access, None, &request(first)).await;
        admin.attempt(&format!("GET /api/v1.1/nowhere/{first}"), None, "").await;
    }
    let (lines_after, bytes) = metrics(&mut admin).await;
    assert!(lines > 50, "there are metrics: {lines}");
    // What is counted for the first time late is a label's known value: some lines, not one a name.
    assert!(lines_after < lines + 60, "{lines} lines became {lines_after}");
    assert!(bytes < 1 << 20, "{bytes} bytes");
    let text = admin.attempt("GET /metrics", None, "").await.expect("an answer").bytes;
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert!(!text.contains("name-") && !text.contains(&instance), "a name is a label");
    served.stop().await;
}

/// The long form alone: as many sessions as 100,000 and a burst of long bodies stay below 256 MiB.
/// The table wants a memory group, which only the machine's owner can make; what the process took at
/// most is measured instead.
#[tokio::test]
async fn g6_sessions_and_long_bodies_stay_below_256_mib() {
    let sessions: usize = if std::env::var_os("FAREBOX_LONG").is_some() { 100_000 } else { 1_000 };
    let home = tempfile::tempdir().expect("a directory");
    let served = serve(home.path()).await;
    let mut admin = served.administration().await;
    let (instance, access) = furnished(&mut admin).await;
    let create = json!({"instanceId": instance}).to_string();
    let token = served.token(&["--role", "administration"]).await;
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (mut caller, create) = (served.caller(token.clone()), create.clone());
        callers.spawn(async move {
            for _ in 0..sessions / 50 {
                caller.call("POST /api/v1.1/sessions", None, &create).await;
            }
        });
    }
    while callers.join_next().await.transpose().expect("every caller comes to its end").is_some() {}
    let long = format!(r#"{{"requester":{{"type":"user","value":"{}"}}}}"#, "x".repeat(60 << 10));
    for _ in 0..200 {
        let (mut caller, access, long) =
            (served.caller(token.clone()), access.clone(), long.clone());
        callers.spawn(async move {
            for _ in 0..20 {
                let answer = caller.attempt(&access, None, &long).await.expect("an answer");
                assert!([400, 503].contains(&answer.status), "{answer:?}");
            }
        });
    }
    while callers.join_next().await.transpose().expect("every caller comes to its end").is_some() {}
    let most = peak_kib(served.process.id());
    println!("{sessions} sessions and 4,000 long bodies: {most} KiB at most");
    assert!(most < 256 << 10, "{most} KiB");
    served.stop().await;
}

/// What a process has had of the machine's memory at most.
fn peak_kib(process: u32) -> u64 {
    let status = Path::new("/proc").join(process.to_string()).join("status");
    let status = std::fs::read_to_string(status).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = peak.and_then(|peak| peak.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).expect("a figure")
}
