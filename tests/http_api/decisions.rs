//! `GET /decisions/{correlationId}` (spec 2.13): its body, what it does not know, and that one is
//! worked out at a time while everything else goes on.
//!
//! Two places instead of one, and another figure as `entitled`, were seen red.

use std::io;
use std::sync::{Arc, Mutex, mpsc};

use farebox::broker::{Broker, Options, Storage};
use farebox::journal::{Disk, DiskFile, MemoryDisk, MemorySnapshots};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::asking;
use crate::server::{TestServer, line_item, start, start_over, text};

const UNKNOWN: &str = "64d2028c-ae87-4069-a624-66089d957ef9";

/// Asks for access; gives the correlation id and the record.
async fn access(server: &TestServer, instance: &str, body: &str) -> (String, String) {
    let target = format!("POST /api/v1.0/instances/{instance}/access-request");
    let answer = server.admin(&target, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sequence = answer.header("x-sequence").expect("it rests on a record").to_owned();
    (text(&answer.json(), "/correlationId"), sequence)
}

#[tokio::test]
async fn x4_is_explained_to_the_letter_and_following_it_helps() {
    let server = start().await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 40).await;
    let put = format!("PUT /api/v1.0/instances/{instance}/line-items");
    let mut second = line_item(2, 40);
    server.admin(&put, &second.to_string()).await;
    second["state"] = json!("INACTIVE");
    server.admin(&put, &second.to_string()).await;
    let items = [("PhotoPrint", "1.0", "10"), ("CADPrint", "2.0", "2"), ("SignPrint", "1.0", "1")];
    let (id, sequence) = access(&server, &instance, &asking(&items)).await;

    let usable = |rate: u64, left: u64, taken: u64| {
        format!(
            concat!(
                r#"{{"activationId":"ACT01","standing":"USABLE","#,
                r#""rateTable":{{"series":"P","version":"1","effectiveFrom":1698849852000}},"#,
                r#""rate":{},"entitled":{},"withOverdraft":{},"tokensTaken":{}}},"#,
                r#"{{"activationId":"ACT02","standing":"NOT_DEPLOYED","state":"INACTIVE"}}"#,
            ),
            rate, left, left, taken
        )
    };
    for (version, granted, short) in [("v1.0", "101", "306"), ("v1.1", "1001", "3006")] {
        let target = format!("GET /dynamicmonetization/elastic/api/{version}/decisions/{id}");
        let answer = server.admin(&target, "").await;
        assert_eq!(answer.outcome(), (200, "ok".to_owned()), "{answer:?}");
        assert_eq!(answer.header("x-sequence"), Some(sequence.as_str()), "the decision's record");
        let time = answer.json().pointer("/time").and_then(Value::as_u64).expect("a time");
        let status = |code: &str, words: &str| {
            format!(r#""status":{{"code":"{code}","description":"{words}"}}"#)
        };
        let granted = status(granted, "Successfully checked out");
        let short = status(short, "Insufficient count available");
        let expected = format!(
            concat!(
                r#"{{"correlationId":"{}","sequence":{},"time":{},"kind":"ONE_OFF","instanceId":"{}","#,
                r#""accountId":"ACME","consistent":true,"#,
                r#""requester":{{"type":"user","value":"LisaBarry","dictionary":[]}},"items":["#,
                r#"{{"item":"PhotoPrint","version":"1.0","count":10,"totalTokensCharged":30,{},"lineItems":[{}]}},"#,
                r#"{{"item":"CADPrint","version":"2.0","count":2,"totalTokensCharged":0,{},"lineItems":[{}],"#,
                r#""shortfall":{{"activationId":"ACT01","quantity":8,"quantityNow":40}}}},"#,
                r#"{{"item":"SignPrint","version":"1.0","count":1,"totalTokensCharged":4,{},"lineItems":[{}]}}],"#,
                r#""refunds":[],"balances":[{{"activationId":"ACT01","used":34,"available":6}}]}}"#,
            ),
            id,
            sequence,
            time,
            instance,
            granted,
            usable(3, 40, 30),
            short,
            usable(7, 10, 0),
            granted,
            usable(4, 10, 4),
        );
        assert_eq!(answer.body, expected);
    }

    // 34 of 40 are used: with 8 more there are 14.
    server.line_item(&instance, 1, 40 + 8).await;
    let (id, _) = access(&server, &instance, &asking(&[("CADPrint", "2.0", "2")])).await;
    let explained = server.admin(&format!("GET /api/v1.0/decisions/{id}"), "").await.json();
    assert_eq!(text(&explained, "/items/0/status/code"), "101");
}

#[tokio::test]
async fn what_has_no_record_has_no_explanation() {
    let server = start().await;
    let instance = server.instance("ACME").await;
    let target = format!("POST /api/v1.0/instances/{instance}/access-request");
    let refused = server.admin(&target, "{}").await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let refused = text(&refused.json(), "/correlationId");
    for id in [UNKNOWN, &UNKNOWN.to_uppercase(), "nonsense", "%20", &refused, &instance] {
        let answer = server.admin(&format!("GET /api/v1.1/decisions/{id}"), "").await;
        assert_eq!(answer.outcome(), (404, "unknown-decision".to_owned()), "{id}: {answer:?}");
    }
    let answer = server.admin(&format!("GET /api/v1.1/decisions/{UNKNOWN}?x=1"), "").await;
    assert_eq!(answer.outcome(), (400, "bad-query".to_owned()));
}

/// A disk whose files can be kept from being opened: nobody but a reader opens one.
struct Slow {
    disk: MemoryDisk,
    /// Says how many have waited.
    waiting: watch::Sender<u32>,
    /// While there is one, whoever opens a file waits for a word from it.
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Disk for Slow {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let gate = self.gate.lock().expect("nobody panics").take();
        if let Some(gate) = gate {
            self.waiting.send_modify(|waited| *waited += 1);
            let _ = gate.recv();
        }
        self.disk.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

#[tokio::test]
async fn one_is_explained_at_a_time_and_nobody_else_waits_for_it() {
    let (waiting, mut waited) = watch::channel(0);
    let slow = Arc::new(Slow { disk: MemoryDisk::new(), waiting, gate: Mutex::default() });
    let storage = Storage::Custom(Arc::clone(&slow) as _, Arc::new(MemorySnapshots::new()));
    let broker = Broker::open(Options { storage, ..Options::memory() }).await.unwrap().broker;
    let server = start_over(broker).await;
    server.publish_p().await;
    let instance = server.instance("ACME").await;
    server.line_item(&instance, 1, 40).await;
    let asked = asking(&[("PhotoPrint", "1.0", "1")]);
    let (id, _) = access(&server, &instance, &asked).await;
    let target = format!("GET /api/v1.1/decisions/{id}");

    let (open, gate) = mpsc::channel();
    *slow.gate.lock().expect("nobody panics") = Some(gate);
    let first = server.admin(&target, "");
    let meanwhile = async {
        waited.wait_for(|waited| *waited == 1).await.expect("it begins to read");
        let second = server.admin(&target, "").await;
        assert_eq!(second.outcome(), (429, "journal-busy".to_owned()), "{second:?}");
        assert_eq!(second.header("retry-after"), Some("1"));
        assert_eq!(text(&second.json(), "/effect"), "none");
        access(&server, &instance, &asked).await;
        open.send(()).expect("it waits");
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.outcome(), (200, "ok".to_owned()), "{first:?}");
    assert_eq!(first.json().pointer("/consistent"), Some(&json!(true)));
    let again = server.admin(&target, "").await;
    assert_eq!(again.body, first.body, "and later it is explained in the same words");
}
