//! Public keys over a socket: what may be saved, from when on it holds and until when (spec 2.1;
//! C24 to C26 and C28 of the promises).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farebox::auth::{KeyPair, Role, generate_key_pair};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::asking;
use crate::http_client::{Answer, Client, bytes_of};
use crate::server::{TestServer, signed, start, text};

const ADMINISTRATION: &str = "/api/v1.0/administration-keys";
const CLIENT: &str = "/api/v1.0/client-keys";

fn pair() -> KeyPair {
    generate_key_pair().expect("a key pair")
}

fn entry(id: &str, pem: &str) -> Value {
    json!({"publicKey": pem, "id": id})
}

async fn put(server: &TestServer, path: &str, keys: &[Value]) -> Answer {
    server.admin(&format!("PUT {path}"), &json!(keys).to_string()).await
}

async fn delete(server: &TestServer, path: &str, id: &str) -> (u16, String) {
    server.admin(&format!("DELETE {path}/{id}"), "").await.outcome()
}

/// Every key by its entry in the list.
async fn listed(server: &TestServer) -> Vec<Value> {
    let list = server.admin("GET /api/v1.1/public-keys", "").await.json();
    assert_eq!(list.pointer("/next"), Some(&json!(0)));
    list.pointer("/keys").and_then(Value::as_array).expect("a list").clone()
}

/// The names that a page has, and where the next begins.
async fn page(server: &TestServer, query: &str) -> (Vec<String>, Value) {
    let answer = server.admin(&format!("GET /api/v1.0/public-keys?{query}"), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let keys = page.pointer("/keys").and_then(Value::as_array).expect("a list");
    (
        keys.iter().map(|key| text(key, "/id")).collect(),
        page.pointer("/next").cloned().unwrap_or_default(),
    )
}

fn journal(server: &TestServer) -> u64 {
    server.broker.journal().durable().get()
}

#[tokio::test]
async fn keys_are_saved_listed_and_deleted() {
    let server = start().await;
    let [a, b, c] = [pair(), pair(), pair()];
    let saved = put(&server, CLIENT, &[entry("a", &a.public_pem), entry("b", &b.public_pem)]).await;
    assert_eq!((saved.status, saved.body.as_str()), (200, ""), "{saved:?}");
    assert!(saved.header("x-sequence").is_some(), "{saved:?}");
    assert_eq!(put(&server, ADMINISTRATION, &[entry("a", &c.public_pem)]).await.status, 200);

    let keys = listed(&server).await;
    let row = |key: &Value| [text(key, "/id"), text(key, "/type"), text(key, "/publicKey")];
    let told: Vec<[String; 3]> = keys.iter().skip(2).map(row).collect();
    let expected = [
        ["a", "client-key", &a.public_pem],
        ["b", "client-key", &b.public_pem],
        ["a", "administration-key", &c.public_pem],
    ];
    assert_eq!(told, expected.map(|row| row.map(str::to_owned)));
    for key in &keys {
        let members: Vec<&str> =
            key.as_object().expect("it is one").keys().map(String::as_str).collect();
        assert_eq!(members, ["created", "id", "modified", "publicKey", "type"], "{key}");
        assert_eq!(key["created"], key["modified"], "{key}");
    }
    assert_eq!(page(&server, "size=2&next=2").await, (vec!["a".into(), "b".into()], json!(4)));
    assert_eq!(page(&server, "size=2&next=4").await, (vec!["a".into()], json!(0)));
    assert_eq!(page(&server, "size=9999&next=99").await, (vec![], json!(0)));
    for query in ["size=0", "size=x", "next=-1", "page=1", "next=18446744073709551615"] {
        let answer = server.admin(&format!("GET /api/v1.0/public-keys?{query}"), "").await;
        assert_eq!(answer.outcome(), (400, "bad-query".to_owned()), "{query}");
    }

    assert_eq!(delete(&server, CLIENT, "a").await, (200, "ok".to_owned()));
    assert_eq!(delete(&server, CLIENT, "a").await, (404, "unknown-key".to_owned()));
    assert_eq!(delete(&server, ADMINISTRATION, "b").await, (404, "unknown-key".to_owned()));
    assert_eq!(delete(&server, ADMINISTRATION, "a").await, (200, "ok".to_owned()));
    let last = delete(&server, ADMINISTRATION, "administration-key").await;
    assert_eq!(last, (403, "last-key".to_owned()), "C25");
    assert_eq!(page(&server, "").await.0, ["administration-key", "client-key", "b"]);
}

#[tokio::test]
async fn the_same_key_again_changes_nothing_and_another_one_keeps_created() {
    let server = start().await;
    let [first, second] = [pair(), pair()];
    put(&server, CLIENT, &[entry("k", &first.public_pem)]).await;
    let (before, records) = (listed(&server).await, journal(&server));
    let windows = format!("\n {}", first.public_pem.replace('\n', "\r\n"));
    for spelling in [&first.public_pem, &windows] {
        let again = put(&server, CLIENT, &[entry("k", spelling)]).await;
        assert_eq!(again.status, 200, "{again:?}");
    }
    assert_eq!((listed(&server).await, journal(&server)), (before.clone(), records));

    while server.broker.now().as_ms() <= before[2]["modified"].as_u64().expect("a time") {
        tokio::task::yield_now().await;
    }
    put(&server, CLIENT, &[entry("k", &second.public_pem)]).await;
    let after = listed(&server).await;
    assert_eq!(after[2]["created"], before[2]["created"]);
    assert!(after[2]["modified"].as_u64() > before[2]["modified"].as_u64(), "{after:?}");
    assert_eq!(text(&after[2], "/publicKey"), second.public_pem);
}

/// Public halves of throw-away pairs, made with `openssl genpkey`.
const P192: &str = "MEkwEwYHKoZIzj0CAQYIKoZIzj0DAQEDMgAEaMP87lDDGv0kySJByFMnMlxs509CgrzXM/z7c+MW1n8uxqZ/UJ6Xe3KT1KMZrAA/";
const RSA_512: &str = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL8QN0RiAv/9j9A5sImSsq6+JQDnbbuJK5LvwBs2oqqQPE2JhA+jFoPzmsYh0kdkaUMj4eYSf+ifhrQdvATDHnECAwEAAQ==";

fn block(label: &str, digits: &str) -> String {
    format!("-----BEGIN {label}-----\n{digits}\n-----END {label}-----\n")
}

/// The SPKI of an RSA key of 16384 bits.
fn rsa_16384() -> String {
    use base64::Engine;
    let modulus = [&[2, 0x82, 0x08, 0x01, 0][..], &[0xff; 2048]].concat();
    let key = [&[0, 0x30, 0x82, 0x08, 0x0a][..], &modulus, &[2, 3, 1, 0, 1]].concat();
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let inner = [&algorithm[..], &[3, 0x82, 0x08, 0x0f], &key].concat();
    let der = [&[0x30, 0x82, 0x08, 0x22][..], &inner].concat();
    block("PUBLIC KEY", &base64::engine::general_purpose::STANDARD.encode(der))
}

#[tokio::test]
async fn what_is_no_public_key_is_refused_and_never_repeated() {
    let server = start().await;
    let private = pair().private_pem;
    let secret = private.lines().nth(1).expect("digits").to_owned();
    let good = entry("good", &pair().public_pem);
    let digits = secret.as_str();
    let long = "x".repeat(129);
    let key = |pem: &str| json!([good, entry("bad", pem)]).to_string();
    let named = |id: &str| json!([good, entry(id, &pair().public_pem)]).to_string();
    let cases = [
        ("private key", key(&private), "bad-key"),
        ("both halves", key(&format!("{}{private}", pair().public_pem)), "bad-key"),
        ("encrypted", key(&block("ENCRYPTED PRIVATE KEY", digits)), "bad-key"),
        ("EC private", key(&block("EC PRIVATE KEY", digits)), "bad-key"),
        ("private under a public label", key(&block("PUBLIC KEY", digits)), "bad-key"),
        ("bare digits", key(digits), "bad-key"),
        ("RSA 512", key(&block("PUBLIC KEY", RSA_512)), "bad-key"),
        ("RSA 16384", key(&rsa_16384()), "bad-key"),
        ("P-192", key(&block("PUBLIC KEY", P192)), "bad-key"),
        ("garbage", key("garbage"), "bad-key"),
        ("nothing", key(""), "bad-key"),
        ("no id", named(""), "bad-key"),
        ("long id", named(&long), "bad-key"),
        ("control character", named("a\u{0}"), "bad-key"),
        ("no path", named(".."), "bad-key"),
        ("no path", named("a%2fb"), "bad-key"),
        ("private key as an id", named(&private), "bad-key"),
        ("twice", json!([good, good]).to_string(), "bad-key"),
        ("a secret as a member", format!(r#"[{{"{digits}":1}}]"#), "unknown-field"),
        ("a secret for an object", format!(r#"["{digits}"]"#), "bad-type"),
        ("a secret for a list", format!(r#""{digits}""#), "bad-type"),
        ("not a list", good.to_string(), "bad-type"),
        ("an empty list", "[]".to_owned(), "no-items"),
        ("a missing member", r#"[{"id":"a"}]"#.to_owned(), "missing-field"),
        ("a list that breaks off", key("x").replace("}]", "}"), "bad-json"),
    ];
    let (before, records) = (listed(&server).await, journal(&server));
    for (what, body, code) in &cases {
        for path in [ADMINISTRATION, CLIENT] {
            let answer = server.admin(&format!("PUT {path}"), body).await;
            assert_eq!(answer.outcome(), (400, (*code).to_owned()), "C26 {what}: {answer:?}");
            assert!(!answer.body.contains(digits), "C26 {what}: {answer:?}");
        }
    }
    assert_eq!((listed(&server).await, journal(&server)), (before, records), "all or none");
}

/// A client that calls on one connection with one token.
struct Shop {
    client: Client,
    head: String,
    body: String,
}

impl Shop {
    async fn open(server: &TestServer, instance: &str, token: &str) -> Shop {
        let head = format!(
            "POST /api/v1.0/instances/{instance}/access-request\nauthorization: Bearer {token}\n\
             content-type: application/json"
        );
        let body = asking(&[("PhotoPrint", "1.0", "1")]);
        Shop { client: server.connect().await, head, body }
    }

    async fn buy(&mut self) -> u16 {
        self.client.request(&self.head, &self.body).await.status
    }
}

#[tokio::test]
async fn a_key_holds_from_the_answer_to_its_put_to_that_of_its_delete() {
    let (server, instance) = crate::with_line_items(&[1000]).await;
    let key = pair();
    let token = signed(&key, "shop", Role::Client, &[&instance]);
    let mut shop = Shop::open(&server, &instance, &token).await;
    let mut bought = 0;
    for _ in 0..20 {
        assert_eq!(shop.buy().await, 401, "not yet");
        assert_eq!(put(&server, CLIENT, &[entry("shop", &key.public_pem)]).await.status, 200);
        assert_eq!((shop.buy().await, shop.buy().await), (200, 200), "at once");
        bought += 2;
        assert_eq!(delete(&server, CLIENT, "shop").await.0, 200);
        assert_eq!(shop.buy().await, 401, "C24");
    }
    // Replaced under its id: the old one's tokens end, the new one's hold.
    assert_eq!(put(&server, CLIENT, &[entry("shop", &key.public_pem)]).await.status, 200);
    let other = pair();
    assert_eq!(put(&server, CLIENT, &[entry("shop", &other.public_pem)]).await.status, 200);
    assert_eq!(shop.buy().await, 401);
    let token = signed(&other, "shop", Role::Client, &[&instance]);
    assert_eq!(Shop::open(&server, &instance, &token).await.buy().await, 200);
    assert_eq!(server.used(&instance, 1).await, ((bought + 1) * 3).to_string());
}

#[tokio::test]
async fn who_deletes_its_own_key_gets_the_answer_and_nothing_after_it() {
    let server = start().await;
    let key = pair();
    put(&server, ADMINISTRATION, &[entry("mine", &key.public_pem)]).await;
    let token = signed(&key, "mine", Role::Administration, &[]);
    let target = format!("DELETE {ADMINISTRATION}/mine");
    assert_eq!(server.call(&token, &target, "").await.status, 200);
    assert_eq!(server.call(&token, &target, "").await.outcome(), (401, "invalid-token".to_owned()));
}

#[tokio::test]
async fn a_request_under_way_is_finished_although_its_key_goes() {
    let (server, instance) = crate::with_line_items(&[1000]).await;
    let key = pair();
    put(&server, CLIENT, &[entry("shop", &key.public_pem)]).await;
    let token = signed(&key, "shop", Role::Client, &[&instance]);
    let Shop { mut client, head, body } = Shop::open(&server, &instance, &token).await;
    let bytes = bytes_of(&format!("{head}\nexpect: 100-continue"), &body);
    let (head, body) = bytes.split_at(bytes.len() - body.len());
    client.send(head.as_bytes()).await;
    // The server asks for a body once it knows who calls.
    assert_eq!(client.answer().await.status, 100);
    assert_eq!(delete(&server, CLIENT, "shop").await.0, 200);
    client.send(body.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200, "C24");
    assert_eq!(server.used(&instance, 1).await, "3");
    client.send(bytes.as_bytes()).await;
    assert_eq!(client.answer().await.status, 401, "C24");
    assert_eq!(server.used(&instance, 1).await, "3");
}

#[tokio::test]
async fn of_two_who_save_one_id_at_once_the_later_wins() {
    let (server, instance) = crate::with_line_items(&[1000]).await;
    let server = Arc::new(server);
    for round in 0..10 {
        let id = format!("twin-{round}");
        let pairs = [pair(), pair()];
        let mut saving = JoinSet::new();
        for (number, pair) in pairs.iter().enumerate() {
            let (server, keys) = (Arc::clone(&server), vec![entry(&id, &pair.public_pem)]);
            saving.spawn(async move {
                let answer = put(&server, CLIENT, &keys).await;
                assert_eq!(answer.status, 200, "C26: {answer:?}");
                let sequence = answer.header("x-sequence").expect("a record").parse::<u64>();
                (sequence.expect("a number"), number)
            });
        }
        let mut order = saving.join_all().await;
        order.sort_unstable();
        let [(first, loser), (second, winner)] = order[..] else { panic!("two answers") };
        assert!(first < second, "a record each");
        let of = |number: usize| pairs.get(number).expect("one of the two");
        for (number, status) in [(winner, 200), (loser, 401)] {
            let token = signed(of(number), &id, Role::Client, &[&instance]);
            assert_eq!(Shop::open(&server, &instance, &token).await.buy().await, status, "C26");
        }
        let keys = listed(&server).await;
        let of_id: Vec<&Value> = keys.iter().filter(|key| text(key, "/id") == id).collect();
        assert_eq!(of_id.len(), 1);
        assert_eq!(text(of_id[0], "/publicKey"), of(winner).public_pem);
    }
}

/// Waits until this many more have been bought: only shops that were turned away take so long.
async fn more(bought: &AtomicU64, count: u64) {
    let goal = bought.load(Ordering::SeqCst) + count;
    let bought_so_many = async {
        while bought.load(Ordering::SeqCst) < goal {
            tokio::task::yield_now().await;
        }
    };
    timeout(HANG, bought_so_many).await.expect("C28: nobody buys any more");
}

/// Only a hang takes so long.
const HANG: Duration = Duration::from_secs(40);

/// C28. Shops sign with the old key or the new one, and buy all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_under_load_fails_nobody() {
    let (server, instance) = crate::with_line_items(&[1_000_000]).await;
    let [old, new] = [pair(), pair()];
    put(&server, CLIENT, &[entry("old", &old.public_pem)]).await;
    let [sold_by_old, sold_by_new] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let mut shops = JoinSet::new();
    let open = async |pair: &KeyPair, id: &str| {
        let token = signed(pair, id, Role::Client, &[&instance]);
        Shop::open(&server, &instance, &token).await
    };
    let until_401 = |mut shop: Shop, sold: &Arc<AtomicU64>| {
        let sold = Arc::clone(sold);
        async move {
            loop {
                match shop.buy().await {
                    200 => sold.fetch_add(1, Ordering::SeqCst),
                    401 => return,
                    other => panic!("C28: {other}"),
                };
            }
        }
    };
    let mut old_shops = Vec::new();
    for _ in 0..4 {
        old_shops.push(shops.spawn(until_401(open(&old, "old").await, &sold_by_old)));
    }
    more(&sold_by_old, 20).await;
    assert_eq!(put(&server, CLIENT, &[entry("new", &new.public_pem)]).await.status, 200);
    let mut new_shops = JoinSet::new();
    for _ in 0..4 {
        new_shops.spawn(until_401(open(&new, "new").await, &sold_by_new));
    }
    more(&sold_by_old, 50).await;
    more(&sold_by_new, 50).await;
    // Other keys come and go meanwhile, and everything that was verified is forgotten each time.
    for round in 0..10 {
        let id = format!("other-{round}");
        put(&server, CLIENT, &[entry(&id, &pair().public_pem)]).await;
        more(&sold_by_old, 3).await;
        assert_eq!(delete(&server, CLIENT, &id).await.0, 200);
        more(&sold_by_new, 3).await;
    }
    assert!(old_shops.iter().all(|shop| !shop.is_finished()), "C28: no failure while both hold");
    assert_eq!(delete(&server, CLIENT, "old").await.0, 200);
    let sold_by_then = sold_by_old.load(Ordering::SeqCst);
    let mut late = open(&old, "old").await;
    assert_eq!(late.buy().await, 401, "C28");
    timeout(HANG, shops.join_all()).await.expect("C28: everybody is turned away");
    let sold_after_it = sold_by_old.load(Ordering::SeqCst) - sold_by_then;
    assert!(sold_after_it <= 4, "C28: {sold_after_it} although one a shop was under way");
    more(&sold_by_new, 50).await;
    assert_eq!(delete(&server, CLIENT, "new").await.0, 200);
    timeout(HANG, new_shops.join_all()).await.expect("C28: everybody is turned away");
    let sold = sold_by_old.load(Ordering::SeqCst) + sold_by_new.load(Ordering::SeqCst);
    assert_eq!(server.used(&instance, 1).await, (sold * 3).to_string());
}
