//! Requests that are none, clients that keep silent, and the end of the server (promises.md,
//! tables B and E; P14).

use std::sync::Arc;
use std::time::Duration;

use farebox::http::Limits;
use tokio::time::Instant;

use crate::http_client::bytes_of;
use crate::server::{start, start_showing, start_with};

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused_with_a_code() {
    let server = start().await;
    let bearer = format!("authorization: Bearer {}", server.admin_token);
    let admin = |head: &str| bytes_of(&format!("{head}\n{bearer}"), "");
    let posted = |headers: &str, body: &str| {
        bytes_of(&format!("POST /api/v1.0/instances\n{bearer}\n{headers}"), body)
    };
    let headers = |count: usize| "x: y\n".repeat(count);
    let chunked = |chunks: &str| {
        let head = bytes_of(
            &format!("POST /api/v1.0/instances\n{bearer}\n{JSON}\ntransfer-encoding: chunked"),
            "",
        );
        format!("{head}{chunks}")
    };
    let raw = |text: &str| format!("{text}\r\n\r\n");
    let endless = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let cases = [
        // B3 to B5: paths
        (admin("GET /api/v1.0/sessions/.."), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/%2e%2e/x"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/..%2fadmin"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/%252e"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/a;b=c"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/%00"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/%0d%0a"), 400, "bad-path"),
        (admin("GET /api/v1.0/sessions/%zz"), 400, "bad-path"),
        // An escaped slash belongs to the id and begins no segment.
        (admin("GET /api/v1.0/sessions/x%2fheartbeat"), 404, "unknown-session"),
        (admin("GET /api/v1.0%2Fsessions/x"), 404, "unknown-path"),
        (admin("GET /api/v1.0//sessions//x"), 404, "unknown-path"),
        (admin("GET /api/v1.0/sessions/x/"), 404, "unknown-path"),
        (admin("GET /api/v1.0/sessions/x"), 404, "unknown-session"),
        (admin("GET /api/v1.0/instances/x/line-items"), 404, "unknown-instance"),
        (admin("GET /nowhere"), 404, "unknown-path"),
        // B13, B14: hosts and methods
        (raw("GET http://evil/livez HTTP/1.1\r\nhost: evil"), 400, "bad-host"),
        (raw("GET /livez HTTP/1.1"), 400, "bad-host"),
        (raw("GET /livez HTTP/1.1\r\nhost: a\r\nhost: b"), 400, "bad-host"),
        (raw("GET /livez HTTP/1.0"), 200, "ok"),
        (raw("CONNECT evil:80 HTTP/1.1\r\nhost: evil:80"), 405, "method-not-allowed"),
        (bytes_of("FOO /livez", ""), 405, "method-not-allowed"),
        (bytes_of("TRACE /api/v1.0/instances", ""), 405, "method-not-allowed"),
        // B15: a body where none is wanted
        (bytes_of("GET /livez", "{}"), 200, "ok"),
        // A heartbeat is posted without a body, and then has no type
        (admin("POST /api/v1.0/sessions/x/heartbeat"), 404, "unknown-session"),
        // A13, A14: content types
        (posted("", "{}"), 415, "unsupported-media-type"),
        (posted("content-type: text/plain", "{}"), 415, "unsupported-media-type"),
        (
            posted("content-type: application/json; charset=utf-16", "{}"),
            415,
            "unsupported-media-type",
        ),
        (posted(&format!("{JSON}\ncontent-encoding: gzip"), "{}"), 415, "unsupported-media-type"),
        (
            posted(&format!("{JSON}\ncontent-encoding: identity\ncontent-encoding: br"), "{}"),
            415,
            "unsupported-media-type",
        ),
        (posted(&format!("{JSON}\ncontent-encoding: Identity"), "{}"), 400, "missing-field"),
        (posted(JSON, ""), 400, "bad-json"),
        (posted(JSON, "{}"), 400, "missing-field"),
        // E5 to E11, E17: framing and size
        (
            posted(&format!("{JSON}\ntransfer-encoding: gzip, chunked"), ""),
            501,
            "unsupported-coding",
        ),
        (
            posted(&format!("{JSON}\ntransfer-encoding: chunked\ntransfer-encoding: chunked"), ""),
            501,
            "unsupported-coding",
        ),
        (posted(&format!("{JSON}\nexpect: junk"), "{}"), 417, "bad-expectation"),
        (posted(&format!("{JSON}\ncontent-length: 10737418240"), ""), 413, "body-too-large"),
        (posted(&format!("{JSON}\ncontent-length: 1048577"), ""), 413, "body-too-large"),
        (chunked("2\r\n{}\r\n0\r\n\r\n"), 400, "missing-field"),
        (chunked(&format!("{endless}1\r\nx\r\n0\r\n\r\n")), 413, "body-too-large"),
        (chunked("0x5\r\nabcde\r\n0\r\n\r\n"), 400, "bad-framing"),
        (
            chunked("2\r\n{}\r\n0\r\n\r\n")
                .replace("\r\ntransfer", "\r\ncontent-length: 9\r\ntransfer"),
            400,
            "missing-field",
        ),
        (posted(&format!("{JSON}\ncontent-length: 1\ncontent-length: 2"), ""), 400, "ok"),
        (posted(&format!("{JSON}\ntransfer-encoding: gzip"), ""), 400, "ok"),
        (bytes_of(&format!("GET /livez\n{}", headers(63)), ""), 200, "ok"),
        (bytes_of(&format!("GET /livez\n{}", headers(64)), ""), 431, "too-many-headers"),
        (bytes_of(&format!("GET /livez\n{}", headers(101)), ""), 431, "ok"),
        (bytes_of(&format!("GET /livez\nx: {}", "y".repeat(20_000)), ""), 431, "ok"),
        (bytes_of(&format!("GET /{}", "y".repeat(20_000)), ""), 431, "ok"),
    ];
    for (request, status, code) in cases {
        let mut client = server.connect().await;
        client.send(request.as_bytes()).await;
        let shown: String = request.chars().take(200).collect();
        let answer = client.try_answer().await.unwrap_or_else(|| panic!("no answer: {shown}"));
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{shown}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_told_which_are() {
    let server = start().await;
    let answer = server.connect().await.request("PATCH /api/v1.1/sessions/x", "").await;
    assert_eq!(answer.header("allow"), Some("GET, PUT, DELETE"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_first_that_is_none() {
    let server = start().await;
    let mut client = server.connect().await;
    let good = bytes_of("GET /livez", "");
    client.send(format!("{good}{good}G@T /livez HTTP/9\r\n\r\n{good}").as_bytes()).await;
    let mut statuses = Vec::new();
    while let Some(answer) = client.try_answer().await {
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 400]);
}

#[tokio::test]
async fn whoever_runs_it_sees_that_it_lives_and_what_it_did() {
    let server = start().await;
    for (path, body) in [
        ("/livez", r#"{"status":"live"}"#),
        ("/readyz", r#"{"status":"ready"}"#),
        ("/metrics", "# figures\n"),
    ] {
        let answer = server.connect().await.request(&format!("GET {path}?x=y"), "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_keeps_silent_is_let_go_when_its_time_is_over() {
    let server = start().await;
    let head = format!(
        "POST /api/v1.0/instances\nauthorization: Bearer {}\n{JSON}\ncontent-length: 9",
        server.admin_token
    );
    let cases = [
        ("nothing", String::new(), 5, None),
        ("half a head", "GET /livez HTTP/1.1\r\nhos".to_owned(), 5, None),
        ("half a body", format!("{}{{", bytes_of(&head, "")), 10, Some(408)),
        ("one request", bytes_of("GET /livez", ""), 30, Some(200)),
    ];
    // From here on time passes when everybody waits.
    tokio::time::pause();
    for (name, sent, seconds, status) in cases {
        let mut client = server.connect().await;
        let began = Instant::now();
        client.send(sent.as_bytes()).await;
        let answer = client.try_answer().await;
        assert_eq!(answer.map(|answer| answer.status), status, "{name}");
        assert!(client.try_answer().await.is_none(), "{name}");
        let took = began.elapsed();
        let expected = Duration::from_secs(seconds);
        assert!(expected <= took && took < expected * 5 / 4, "{name}: let go after {took:?}");
    }
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let server = start_with(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    assert_eq!(first.request("GET /livez", "").await.status, 200);
    let mut second = server.connect().await;
    second.send(bytes_of("GET /livez", "").as_bytes()).await;
    assert_eq!(first.request("GET /livez", "").await.status, 200);
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn a_panic_costs_one_connection_and_no_permit() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let mut server = start_showing(limits, Arc::new(|| panic!("injected into /metrics"))).await;
    let mut unlucky = server.connect().await;
    unlucky.send(bytes_of("GET /metrics", "").as_bytes()).await;
    assert!(unlucky.try_answer().await.is_none());
    assert_eq!(server.connect().await.request("GET /livez", "").await.status, 200);
    server.stop();
    assert_eq!(server.served().await, 0);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_lets_nobody_in() {
    let mut server = start().await;
    let mut idle = server.connect().await;
    assert_eq!(idle.request("GET /livez", "").await.status, 200);
    let body = r#"{"shortName":"a","accountId":"b"}"#;
    let head =
        format!("POST /api/v1.0/instances\nauthorization: Bearer {}\n{JSON}", server.admin_token);
    let request = bytes_of(&format!("{head}\nexpect: 100-continue"), body);
    let (head, body) = request.split_at(request.len() - body.len());
    let mut busy = server.connect().await;
    busy.send(head.as_bytes()).await;
    assert_eq!(busy.answer().await.status, 100, "the request is being handled");
    server.stop();
    assert!(idle.try_answer().await.is_none(), "an idle connection is closed");
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "nobody listens");
    busy.send(body.as_bytes()).await;
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(server.served().await, 0);
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let limits = Limits { drain: Duration::from_secs(3), ..Limits::default() };
    let mut server = start_with(limits).await;
    let mut silent = server.connect().await;
    silent.send(b"GET /livez HTTP/1.1\r\n").await;
    let mut other = server.connect().await;
    assert_eq!(other.request("GET /livez", "").await.status, 200);
    tokio::time::pause();
    server.stop();
    assert_eq!(server.served().await, 1);
    assert!(silent.try_answer().await.is_none());
}

#[tokio::test]
async fn a_key_whose_calls_are_too_many_is_told_to_come_back_and_keeps_its_sessions() {
    let server = start_with(Limits { calls_per_key: 0, ..Limits::default() }).await;
    let admin = async |target: &str| server.call(&server.admin_token, target, "").await;
    let refused = admin("GET /api/v1.1/instances").await;
    assert_eq!(refused.outcome(), (503, "overloaded".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    for kept_alive in ["GET /api/v1.1/sessions/x/heartbeat", "DELETE /api/v1.1/sessions/x"] {
        assert_eq!(admin(kept_alive).await.outcome(), (404, "unknown-session".to_owned()));
    }
}
