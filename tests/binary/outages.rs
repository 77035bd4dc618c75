//! Outages of the real program (spec 4.2): while it was stopped or not running at all, nobody was
//! charged and nothing ended, and the rest of a paid period is there afterwards.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farebox::auth::Principal;
use farebox::broker::{Broker, Options, Reach};
use farebox::domain::event::Event;
use farebox::domain::ids::{Requester, Sequence, Text};
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::session::OnDeny;
use farebox::domain::session_time::Outage;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;
use farebox::env::{Clock, SystemClock};
use farebox::journal::{Directory, format, walk};
use serde_json::{Value, json};

use crate::process::{Caller, HANG, ran, serve, string, text};
use crate::world::World;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// How far beyond the last tick a broker still stamps: so much of a stop may count as time.
const HORIZON: u64 = 3 * SECOND;

/// The live sessions of an instance, newest first: the state of each, and until when it has paid.
async fn sessions(admin: &mut Caller, instance: &str) -> Vec<(String, u64)> {
    let target = format!("GET /api/v1.0/sessions?instanceId={instance}");
    let listed = admin.call(&target, None, "").await;
    let until = |session: &Value| session.pointer("/chargedUntil").and_then(Value::as_u64);
    let seen = |session| (string(session, "/state"), until(session).expect("milliseconds"));
    listed.as_array().expect("a list").iter().map(seen).collect()
}

/// What a session of one hour has to say in a journal in which it is the only one that was charged.
struct Told {
    charged: Timestamp,
    /// Since that charge.
    outages: Vec<Outage>,
}

impl Told {
    /// Reads the directory of a server that was stopped.
    async fn by(data: &Path) -> Told {
        let verified = ran(&["verify", "--data", text(data)]).await;
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let disk = Directory::read_only(data.join("journal")).expect("the journal is there");
        let mut told = None;
        let walked = walk(&disk, Sequence::new(1), &mut |_, payload| {
            let record = format::decode(payload).expect("a record");
            if let Event::SessionAccess(_) = record.event {
                assert!(told.is_none(), "charged twice");
                told = Some(Told { charged: record.at, outages: Vec::new() });
            } else if let (Event::Outage(outage), Some(told)) = (record.event, &mut told) {
                told.outages.push(outage);
            }
            ControlFlow::Continue(())
        });
        walked.expect("it can be read");
        told.expect("it was charged")
    }

    /// The outages between two looks at the end of the paid period. Each of them has moved it by
    /// its length, and nothing else has. (A slow machine may have had outages of its own.)
    fn between(&self, before: u64, after: u64) -> &[Outage] {
        let mut end = self.charged.plus_ms(HOUR).as_ms();
        let mut ends = vec![end];
        for outage in &self.outages {
            end += length(outage);
            ends.push(end);
        }
        let place = |end| ends.iter().position(|known| *known == end);
        let (Some(from), Some(to)) = (place(before), place(after)) else {
            panic!("{before} or {after} is no end that the journal explains: {ends:?}")
        };
        self.outages.get(from..to).expect("the end only moves later")
    }
}

fn length(outage: &Outage) -> u64 {
    outage.to.ms_since(outage.from)
}

/// Only the kernel can make a process stand still while its machine goes on, so this is the one
/// test that waits for real time: a second more than a broker may go without a tick.
#[tokio::test]
async fn a_server_that_was_stopped_for_six_seconds_gives_its_sessions_their_time_back() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = serve(&data).await;
    let world = World::create(&served).await;
    let instance = &world.instances[0];
    let mut admin = served.administration().await;
    let creation = json!({"instanceId": instance}).to_string();
    let created = admin.call("POST /api/v1.0/sessions", None, &creation).await;
    let ten = json!({
        "requester": {"type": "user", "value": "LisaBarry"}, "rollbackOnDeny": true,
        "requestedItems": [{"item": "PhotoPrint", "version": "1.0", "count": 10}],
    });
    let session = format!("PUT /api/v1.0/sessions/{}", string(&created, "/sessionId"));
    let system = SystemClock::new();
    let start = system.system();
    admin.call(&session, None, &ten.to_string()).await;
    let used = world.used(&served).await;
    assert_eq!(used[0].to_string(), "30");
    let before = sessions(&mut admin, instance).await[0].1;

    let stopped = 6 * SECOND;
    served.process.signal("STOP").await;
    tokio::time::sleep(Duration::from_millis(stopped)).await;
    served.process.signal("CONT").await;
    let noticed = async {
        loop {
            let [(state, until)] = &sessions(&mut admin, instance).await[..] else {
                panic!("it has ended")
            };
            assert_eq!(state, "ACTIVE");
            if *until >= before + stopped - HORIZON {
                return *until;
            }
            tokio::task::yield_now().await;
        }
    };
    let after = tokio::time::timeout(HANG, noticed).await.expect("the outage is noticed");
    let passed = system.system().ms_since(start);
    assert!(after - before <= passed + SECOND, "{} of {passed} ms", after - before);
    assert_eq!(world.used(&served).await, used, "nobody was charged");
    served.stop().await;

    assert_ne!(Told::by(&data).await.between(before, after), []);
}

/// The machine's clocks as they were three days ago.
struct ThreeDaysAgo {
    machine: SystemClock,
    skipped_ms: AtomicU64,
}

impl ThreeDaysAgo {
    /// Less than a broker notices.
    fn skip_two_seconds(&self) {
        self.skipped_ms.fetch_add(2 * SECOND, Ordering::SeqCst);
    }
}

impl Clock for ThreeDaysAgo {
    fn monotonic(&self) -> Duration {
        self.machine.monotonic() + Duration::from_millis(self.skipped_ms.load(Ordering::SeqCst))
    }

    fn system(&self) -> Timestamp {
        let skipped_ms = self.skipped_ms.load(Ordering::SeqCst);
        self.machine.system().minus_ms(3 * DAY).plus_ms(skipped_ms)
    }
}

/// What there was to see three days ago.
struct Left {
    instance: String,
    /// The end of the paid period.
    until: u64,
    /// When the broker was closed.
    closed: Timestamp,
}

fn word(text: &str) -> Text {
    text.parse().expect("a valid text")
}

/// Leaves a directory with a session that uses 30 tokens an hour, and one that is IDLE.
async fn three_days_ago(data: &Path) -> Left {
    let machine = SystemClock::new();
    let clock = Arc::new(ThreeDaysAgo { machine, skipped_ms: AtomicU64::new(0) });
    let mut options = Options::directory(data);
    options.clock = Arc::clone(&clock) as _;
    let broker = Broker::open(options).await.expect("it opens").broker;

    let rate = "3".parse().expect("a rate");
    let items = vec![RatedItem { name: word("PhotoPrint"), version: word("1.0"), rate }];
    let (series, version, effective_from) = (word(""), word("1"), Timestamp::from_ms(1));
    let table = NewRateTable { series, version, effective_from, items };
    broker.publish_rate_table(table).await.expect("published");
    let created = broker.create_instance(word("I"), word("ACME")).await.expect("created").value;
    let scope = Principal::administration().scope(created.id).expect("administration may");
    let terms =
        Terms::new(word("ACT"), 1_000, Timestamp::from_ms(1), broker.now().plus_ms(9 * DAY));
    broker.map_line_item(scope, terms).await.expect("mapped");

    let session = broker.create_session(scope).await.expect("created").value.to_string();
    let count = "10".parse().expect("a count");
    let (name, version) = (word("PhotoPrint"), word("1.0"));
    let items = vec![RequestedItem {
        name,
        version,
        count,
        metadata: None,
        variables: Variables::default(),
    }];
    let (kind, value) = (word("user"), word("LisaBarry"));
    let requester = Requester { kind, value, dictionary: Dictionary::default() };
    let request = Arc::new(AccessRequest { requester, items });
    let put = broker.session_access(Reach::Everywhere, &session, request, OnDeny::Rollback);
    put.await.expect("decided");
    clock.skip_two_seconds();
    broker.create_session(scope).await.expect("created");

    let view = broker.session(Reach::Everywhere, &session).await.expect("it is there").value;
    assert_eq!(view.session.state_name(), "ACTIVE");
    let until = view.pacing.charged_until.as_ms();
    broker.close().await.expect("closed");
    Left { instance: created.id.to_string(), until, closed: broker.now() }
}

#[tokio::test]
async fn a_server_that_starts_after_three_days_goes_on_with_what_its_sessions_had_left() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let Left { instance, until, closed } = three_days_ago(&data).await;
    let system = SystemClock::new();
    let start = system.system();
    let served = serve(&data).await;
    let ready = system.system();

    let mut admin = served.administration().await;
    let live = sessions(&mut admin, &instance).await;
    let [(idle, 0), (active, after)] = &live[..] else {
        panic!("two sessions, and the newer has paid for nothing: {live:?}")
    };
    assert_eq!((idle.as_str(), active.as_str()), ("IDLE", "ACTIVE"));
    let target = format!("GET /api/v1.0/instances/{instance}/line-items/ACT");
    let line_item = admin.call(&target, None, "").await;
    assert_eq!(line_item.pointer("/used"), Some(&json!(30)), "nobody was charged");
    served.stop().await;

    let told = Told::by(&data).await;
    let long: Vec<_> = told.outages.iter().filter(|outage| length(outage) > DAY).collect();
    let [outage] = long[..] else { panic!("one outage: {:?}", told.outages) };
    assert!(told.between(until, *after).contains(outage));
    assert!((told.charged..=closed).contains(&outage.from), "{outage:?}, closed at {closed}");
    assert!((start..=ready).contains(&outage.to), "{outage:?}, from {start} to {ready}");
    let [left, rest] = [until - closed.as_ms(), after - outage.to.as_ms()];
    assert!(left <= rest, "{left} ms were left, {rest} ms are");
}
