//! `farebox explain` beside a running server and after it stopped, which says what
//! `GET /decisions/{correlationId}` says: decisions of the worked examples (spec 11).

use std::ops::ControlFlow;
use std::path::Path;

use farebox::domain::ids::{CorrelationId, Sequence};
use farebox::journal::{Directory, format, walk};
use serde_json::{Value, json};

use crate::process::{Caller, Served, check_fails, farebox, ran, string, text};

const MINUTE_MS: u64 = 60_000;

/// One example's instance; its line items are called after it.
struct Example {
    name: &'static str,
    instance: String,
}

impl Example {
    async fn new(admin: &mut Caller, name: &'static str) -> Example {
        let body = json!({"shortName": name, "accountId": name}).to_string();
        let created = admin.call("POST /api/v1.1/instances", None, &body).await;
        Example { name, instance: string(&created, "/id") }
    }

    /// Maps its first or second line item, with changes to the usual terms.
    async fn line(&self, admin: &mut Caller, number: u64, quantity: u64, changes: Value) {
        let mut body = json!({
            "activationId": format!("{}-{number}", self.name), "state": "DEPLOYED",
            "quantity": quantity, "start": 0, "end": 253_402_300_000_000_u64 + number,
            "attributes": {"elastic": true, "rateTableSeries": "P"},
        });
        for (name, value) in changes.as_object().expect("members") {
            let at = if name == "state" { "" } else { "/attributes" };
            let object = body.pointer_mut(at).and_then(Value::as_object_mut);
            object.expect("an object").insert(name.clone(), value.clone());
        }
        let target = format!("PUT /api/v1.1/instances/{}/line-items", self.instance);
        admin.call(&target, None, &body.to_string()).await;
    }

    /// A one-off request of somebody's.
    async fn access(&self, admin: &mut Caller, department: &str, items: &[(&str, u64)]) {
        let target = format!("POST /api/v1.1/instances/{}/access-request", self.instance);
        admin.call(&target, None, &asking(department, items).to_string()).await;
    }

    /// A session that has begun to use something.
    async fn session(&self, admin: &mut Caller, items: &[(&str, u64)]) -> String {
        let body = json!({"instanceId": self.instance}).to_string();
        let created = admin.call("POST /api/v1.1/sessions", None, &body).await;
        let session = format!("/api/v1.1/sessions/{}", string(&created, "/sessionId"));
        put(admin, &session, items).await;
        session
    }
}

fn asking(department: &str, items: &[(&str, u64)]) -> Value {
    let item = |(name, count): &(&str, u64)| {
        let version = match *name {
            "CADPrint" => "2.0",
            "Work" | "Draw" => "",
            _ => "1.0",
        };
        json!({"item": name, "version": version, "count": count})
    };
    let items: Vec<_> = items.iter().map(item).collect();
    let dictionary = json!({"department": department});
    let requester = json!({"type": "user", "value": "LisaBarry", "dictionary": dictionary});
    json!({"requester": requester, "requestedItems": items})
}

async fn put(admin: &mut Caller, session: &str, items: &[(&str, u64)]) {
    let mut body = asking("", items);
    let members = body.as_object_mut().expect("an object");
    members.insert("rollbackOnDeny".to_owned(), json!(true));
    admin.call(&format!("PUT {session}"), None, &body.to_string()).await;
}

async fn publish(admin: &mut Caller, series: &str, items: &[(&str, &str, u64)]) {
    let item = |(name, version, rate): &(&str, &str, u64)| json!({"name": name, "version": version, "rate": rate});
    let items: Vec<_> = items.iter().map(item).collect();
    let from = 1_698_849_852_000_u64;
    let table = json!({"effectiveFrom": from, "series": series, "version": "1", "items": items});
    admin.call("POST /api/v1.1/rate-tables", None, &table.to_string()).await;
}

/// Plays the examples, the sessions among them side by side.
async fn play(admin: &mut Caller) -> Vec<Example> {
    let p = [("PhotoPrint", "1.0", 3), ("SignPrint", "1.0", 4), ("CADPrint", "2.0", 7)];
    publish(admin, "P", &p).await;
    publish(admin, "", &[("Draw", "", 2)]).await;
    publish(admin, "X", &[("Draw", "", 5), ("Work", "", 10)]).await;
    let names = ["X1", "X2", "X4", "X5", "X16", "X18", "X19", "X14", "X13", "X21", "X8"];
    let mut all = Vec::new();
    for name in names {
        all.push(Example::new(admin, name).await);
    }
    let [x1, x2, x4, x5, x16, x18, x19, x14, x13, x21, x8] = all.as_slice() else { panic!() };
    let none = || json!({});
    x1.line(admin, 1, 1000, none()).await;
    x1.access(admin, "", &[("PhotoPrint", 10), ("CADPrint", 2)]).await;
    x2.line(admin, 1, 10, none()).await;
    x2.line(admin, 2, 100, none()).await;
    x2.access(admin, "", &[("PhotoPrint", 1), ("CADPrint", 8)]).await;
    x4.line(admin, 1, 40, none()).await;
    x4.access(admin, "", &[("PhotoPrint", 10), ("CADPrint", 2), ("SignPrint", 1)]).await;
    x5.line(admin, 1, 1000, none()).await;
    x5.access(admin, "", &[("PhotoPrint", 10), ("PhotoAlbum", 1), ("CADPrint", 2)]).await;
    x16.line(admin, 1, 6, json!({"rateTableSeries": ""})).await;
    x16.line(admin, 2, 1000, json!({"rateTableSeries": "X"})).await;
    x16.access(admin, "", &[("Draw", 10)]).await;
    let overdraft = json!({"overdraftType": "Number", "overdraftLimit": 5});
    x18.line(admin, 1, 10, overdraft).await;
    for (item, count) in [("PhotoPrint", 3), ("SignPrint", 1), ("PhotoPrint", 1)] {
        x18.access(admin, "", &[(item, count)]).await;
    }
    x19.line(admin, 1, 200, json!({"rateTableSeries": "X"})).await;
    let path = format!("/api/v1.1/instances/{}", x19.instance);
    let condition = json!({"key": "department", "operator": "IN", "values": ["Engineering"]});
    let conditions = json!({"conditions": [{"name": "Eng", "condition": condition}]}).to_string();
    let conditions = admin.call(&format!("POST {path}/conditions"), None, &conditions).await;
    let actions = json!([
        {"name": "Eng", "conditionId": string(&conditions, "/0/id"), "action": "ALLOW", "allocation": 150},
        {"name": "others", "action": "DENY"},
    ]);
    let target = format!("POST {path}/line-items/X19-1/actions");
    admin.call(&target, None, &actions.to_string()).await;
    for (department, count) in [("Engineering", 15), ("Engineering", 1), ("Sales", 1)] {
        x19.access(admin, department, &[("Work", count)]).await;
    }

    for (example, quantity) in [(x14, 1000), (x13, 10), (x21, 65), (x8, 1000)] {
        example.line(admin, 1, quantity, none()).await;
    }
    x14.line(admin, 2, 100, none()).await;
    x13.line(admin, 2, 100, none()).await;
    let s14 = x14.session(admin, &[("PhotoPrint", 10)]).await;
    let s13 = x13.session(admin, &[("PhotoPrint", 10), ("CADPrint", 2)]).await;
    let s21 = x21.session(admin, &[("PhotoPrint", 10)]).await;
    x8.session(admin, &[("PhotoPrint", 10)]).await;
    advance(admin, 30 * MINUTE_MS).await;
    x14.line(admin, 1, 1000, json!({"state": "INACTIVE"})).await;
    put(admin, &s14, &[("PhotoPrint", 20)]).await;
    advance(admin, 15 * MINUTE_MS).await;
    admin.call(&format!("DELETE {s13}"), None, "").await;
    admin.call(&format!("DELETE {s14}"), None, "").await;
    advance(admin, 20 * MINUTE_MS).await;
    admin.call(&format!("POST {s21}/heartbeat"), None, "").await;
    advance(admin, 55 * MINUTE_MS).await;
    all
}

async fn advance(admin: &mut Caller, ms: u64) {
    admin.call("POST /test/clock", None, &json!({"advance": ms}).to_string()).await;
}

/// The ids of all decisions, read beside whoever writes.
fn decisions(data: &Path) -> Vec<CorrelationId> {
    let disk = Directory::read_only(data.join("journal")).expect("it is there");
    let mut ids = Vec::new();
    let walked = walk(&disk, Sequence::new(1), &mut |_, payload| {
        ids.extend(format::decode(payload).expect("a record").event.correlation());
        ControlFlow::Continue(())
    });
    walked.expect("it can be read");
    ids
}

/// A decision in a line: kind, what became of the session, status and shortfall of each item, and
/// refunds.
fn shown(explained: &Value) -> String {
    assert_eq!(explained.pointer("/consistent"), Some(&json!(true)), "{explained}");
    let list = |name| explained.pointer(name).and_then(Value::as_array).expect("a list");
    let mut words = vec![string(explained, "/kind")];
    let outcome = explained.pointer("/sessionOutcome").and_then(Value::as_str);
    words.extend(outcome.map(str::to_owned));
    for item in list("/items") {
        let short = |name: &str| {
            let by = item.pointer(&format!("/shortfall/{name}"));
            by.map(|by| format!("+{name}:{by}")).unwrap_or_default()
        };
        let by = [short("quantity"), short("allocation")].concat();
        words.push(string(item, "/status/code") + &by);
    }
    for refund in list("/refunds") {
        let tokens = refund.pointer("/tokens").expect("an amount");
        words.push(format!("-{}:{tokens}", string(refund, "/activationId")));
    }
    words.join(" ")
}

const EXPECTED: &[(&str, &[&str])] = &[
    ("X1", &["ONE_OFF 1001 1001"]),
    ("X2", &["ONE_OFF 1001 1001"]),
    ("X4", &["ONE_OFF 1001 3006+quantity:8 1001"]),
    ("X5", &["ONE_OFF 1001 2001 1001"]),
    ("X16", &["ONE_OFF 1001"]),
    ("X18", &["ONE_OFF 1001", "ONE_OFF 1001", "ONE_OFF 3006+quantity:1"]),
    ("X19", &["ONE_OFF 1001", "ONE_OFF 3006+allocation:10", "ONE_OFF 3001"]),
    (
        "X14",
        &["SESSION CHARGED 1001", "SESSION CHARGED 1001 -X14-1:15", "CLOSE TERMINATED -X14-2:45"],
    ),
    ("X13", &["SESSION CHARGED 1001 1001", "CLOSE TERMINATED -X13-1:2.5 -X13-2:5 -X13-2:3.5"]),
    (
        "X21",
        &[
            "SESSION CHARGED 1001",
            "AUTOMATIC_CHARGE CHARGED 1001",
            "AUTOMATIC_CHARGE TERMINATED 3006+quantity:25",
        ],
    ),
    (
        "X8",
        &[
            "SESSION CHARGED 1001",
            "AUTOMATIC_CHARGE CHARGED 1001",
            "MISSED_HEARTBEAT TERMINATED -X8-1:30",
        ],
    ),
];

/// What the command says of a decision.
async fn explained(data: &Path, id: CorrelationId) -> Value {
    let id = id.to_string();
    let ran = ran(&["explain", "--data", text(data), &id, "--format", "json"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[tokio::test]
async fn decisions_are_explained_beside_the_server_as_by_it_and_after_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serving = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data), "--test-clock"];
    let served = Served::from(farebox(&serving), &data).await;
    let mut admin = served.administration().await;
    let examples = play(&mut admin).await;
    let ids = decisions(&data);

    let mut told = Vec::new();
    for id in &ids {
        let by_it = admin.call(&format!("GET /api/v1.1/decisions/{id}"), None, "").await;
        assert_eq!(explained(&data, *id).await, by_it, "beside it");
        told.push(by_it);
    }
    for (name, expected) in EXPECTED {
        let example = examples.iter().find(|example| example.name == *name).expect("it was played");
        let own = told.iter().filter(|told| string(told, "/instanceId") == example.instance);
        assert_eq!(own.map(shown).collect::<Vec<_>>(), *expected, "{name}");
    }
    served.stop().await;
    for (id, before) in ids.iter().zip(&told) {
        assert_eq!(explained(&data, *id).await, *before, "after it");
    }

    let short = told.iter().zip(&ids).find(|(told, _)| shown(told).contains("quantity:8"));
    let id = short.expect("X4").1.to_string();
    let ran = ran(&["explain", "--data", text(&data), &id]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in [
        "What       one-off request\n",
        "Requester  user LisaBarry (department=)\n",
        "1. 10 x PhotoPrint 1.0: granted, 30 tokens\n   X4-1  gave 30; could give 40 tokens; 3 for one",
        "2. 2 x CADPrint 2.0: denied, too few tokens\n   X4-1  gave 0; could give 10 tokens; 7 for one",
        "   To grant it, asked alone, raise `X4-1`'s quantity by 8 tokens (now 40).\n",
        "Balances after it\n   X4-1  used 34, available 6\n",
    ] {
        assert!(ran.stdout.contains(line), "no `{line}` in {}", ran.stdout);
    }
    let unknown = "64d2028c-ae87-4069-a624-66089d957ef9";
    for id in [unknown, "nonsense"] {
        let words = format!("farebox: `{id}`: no record has this correlation id");
        check_fails(&["explain", "--data", text(&data), id], 1, &[&words]).await;
    }
    let nowhere = home.path().join("nowhere");
    check_fails(&["explain", "--data", text(&nowhere), unknown], 2, &["cannot be used"]).await;
    assert!(!nowhere.exists(), "nothing is made");
}
