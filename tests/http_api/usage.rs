//! `GET /usage`: pages, filters, what is refused, and that a reader who stops taking rows harms
//! nobody. Which rows there are is told by tests/usage.rs.

use serde_json::Value;

use crate::http_client::Answer;
use crate::server::{TestServer, text};
use crate::{asking, with_line_items};

/// The rows of an answer, line by line.
fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert!(answer.body.is_empty() || answer.body.ends_with('\n'), "the last row is whole");
    let row = |line: &str| serde_json::from_str(line).expect("a row is JSON");
    answer.body.lines().map(row).collect()
}

fn sequence(row: &Value) -> u64 {
    row["sequence"].as_u64().expect("a number")
}

fn rests_on(answer: &Answer) -> u64 {
    answer.header("x-sequence").expect("it rests on the journal").parse().expect("a number")
}

async fn charge(server: &TestServer, instance: &str, items: &[(&str, &str, &str)]) -> Value {
    let target = format!("POST /api/v1.0/instances/{instance}/access-request");
    let answer = server.admin(&target, &asking(items)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn read(server: &TestServer, query: &str) -> Answer {
    server.admin(&format!("GET /api/v1.1/usage{query}"), "").await
}

#[tokio::test]
async fn a_row_says_what_the_answer_said() {
    let (server, instance) = with_line_items(&[1000]).await;
    let body = r#"{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[
        {"item":"PhotoPrint","version":"1.0","count":10,"metaData":{"order": "A-1",
         "note":"a\nb"}}]}"#;
    let target = format!("POST /api/v1.0/instances/{instance}/access-request");
    let charged = server.admin(&target, body).await;
    for prefix in ["api/v1.0", "dynamicmonetization/provisioning/api/v1.1"] {
        let answer = server.admin(&format!("GET /{prefix}/usage"), "").await;
        let [row] = rows(&answer).try_into().expect("one row");
        assert_eq!(text(&row, "/correlationId"), text(&charged.json(), "/correlationId"));
        assert_eq!(sequence(&row).to_string(), charged.header("x-sequence").expect("a number"));
        assert_eq!(text(&row, "/accountId"), "ACME");
        assert_eq!(text(&row, "/instanceId"), instance);
        assert_eq!(text(&row, "/statusCode"), "101", "that of version 1.0, whatever was asked");
        assert_eq!(text(&row, "/metaData/note"), "a\nb", "it comes through unchanged");
        assert_eq!((row["tokens"].as_u64(), row["used"].as_u64()), (Some(30), Some(30)));
    }
}

#[tokio::test]
async fn pages_never_part_the_rows_of_a_record_and_leave_none_out() {
    let (server, instance) = with_line_items(&[5, 1000]).await;
    for _ in 0..9 {
        charge(&server, &instance, &[("PhotoPrint", "1.0", "1"), ("PhotoAlbum", "1.0", "1")]).await;
    }
    let whole = read(&server, "").await;
    let all = rows(&whole);
    assert_eq!(all.len(), 19, "18 items, one of them split");
    for limit in [1, 2, 3, 7, 18, 19, 1_000_000] {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = read(&server, &format!("?after={after}&limit={limit}")).await;
            let page = rows(&page);
            let Some(last) = page.last().map(sequence) else { break };
            assert!(page.len() <= limit + 2, "one record more at most");
            found.extend(page);
            after = last;
        }
        assert_eq!(found, all, "limit={limit}");
    }
    // What has no rows is passed over: the answer says how far it looked.
    let empty = read(&server, &format!("?after={}", rests_on(&whole))).await;
    assert_eq!((rows(&empty).len(), rests_on(&empty)), (0, rests_on(&whole)));
    for beyond in [rests_on(&whole) + 1, u64::MAX] {
        let refused = read(&server, &format!("?after={beyond}")).await;
        assert_eq!(refused.outcome(), (400, "bad-query".to_owned()), "nobody has seen {beyond}");
    }
}

#[tokio::test]
async fn rows_of_one_instance_are_told_apart() {
    let (server, instance) = with_line_items(&[1000]).await;
    let other = server.instance("Other").await;
    charge(&server, &instance, &[("PhotoPrint", "1.0", "1")]).await;
    charge(&server, &other, &[("PhotoPrint", "1.0", "1")]).await; // Denied: it has no line item.
    for (query, accounts) in [
        (format!("?instance={instance}"), &["ACME"][..]),
        (format!("?instance={other}"), &["Other"]),
        (String::new(), &["ACME", "Other"]),
    ] {
        let answer = read(&server, &query).await;
        let found: Vec<_> = rows(&answer).iter().map(|row| text(row, "/accountId")).collect();
        assert_eq!(found, accounts, "{query}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let (server, instance) = with_line_items(&[1000]).await;
    for (query, code) in [
        ("?after=-1", (400, "bad-query")),
        ("?after=x", (400, "bad-query")),
        ("?limit=0", (400, "bad-query")),
        ("?limit=1.5", (400, "bad-query")),
        ("?from=1", (400, "bad-query")),
        ("?after=1&after=2", (400, "bad-query")),
        ("?instance=nobody", (404, "unknown-instance")),
        ("?instance=00000000-0000-4000-8000-000000000000", (404, "unknown-instance")),
    ] {
        let (status, found) = read(&server, query).await.outcome();
        assert_eq!((status, found.as_str()), code, "{query}");
    }
    let client = server.client_token(&[&instance]);
    let refused = server.call(&client, "GET /api/v1.1/usage", "").await;
    assert_eq!(refused.outcome(), (403, "forbidden".to_owned()));
}

#[tokio::test]
async fn readers_who_take_nothing_hold_four_places_and_keep_nobody_from_being_charged() {
    let (server, instance) = with_line_items(&[1_000_000]).await;
    let widest: String = "x".repeat(15_000);
    let items = (0..60).map(|_| {
        format!(
            r#"{{"item":"PhotoPrint","version":"1.0","count":1,"metaData":{{"a":"{widest}"}}}}"#
        )
    });
    let items = items.collect::<Vec<_>>().join(",");
    let requester = r#"{"type":"user","value":"LisaBarry"}"#;
    let body = format!(r#"{{"requester":{requester},"requestedItems":[{items}]}}"#);
    let target = format!("POST /api/v1.0/instances/{instance}/access-request");
    for _ in 0..40 {
        assert_eq!(server.admin(&target, &body).await.status, 200);
    }
    let ask = format!(
        "GET /api/v1.1/usage?limit=10000 HTTP/1.1\r\nhost: farebox\r\nauthorization: Bearer {}\r\n\r\n",
        server.admin_token
    );
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = server.connect().await;
        reader.send(ask.as_bytes()).await;
        readers.push(reader); // 36 MB are more than any buffer takes.
    }
    let refused = loop {
        let answer = read(&server, "?limit=1").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.outcome(), (429, "journal-busy".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    charge(&server, &instance, &[("PhotoPrint", "1.0", "1")]).await;
    let slow = readers.pop().expect("there are four").answer().await;
    assert_eq!(rows(&slow).len(), 2_400, "whoever takes the rows gets all of them");
    drop(readers); // Whoever hangs up gives his place back.
    while read(&server, "?limit=1").await.status != 200 {
        tokio::task::yield_now().await;
    }
}
