//! Broker time on clocks that stop, step and jump (spec 4.2, promises I1 to I5): whatever they do,
//! nobody is charged for, refunded by or terminated by the broker's absence.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::crowd::START_MS;
use common::env::{self, SeededIds};
use common::model::{Item, Price, RateTable, RatedItem, decimal};
use common::replay::records;
use common::rig::Still;
use common::{product, script};
use farebox::auth::Scope;
use farebox::broker::{Broker, Options, Reach, Storage};
use farebox::domain::configuration::Setting;
use farebox::domain::event::Event;
use farebox::domain::session::OnDeny;
use farebox::domain::session_time::Outage;
use farebox::domain::time::Timestamp;
use farebox::env::Clock;
use farebox::journal::{MemoryDisk, MemorySnapshots};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The machine's clocks, each in the test's hands.
struct Clocks {
    monotonic_ms: AtomicU64,
    system_ms: AtomicU64,
}

impl Clocks {
    fn pass(&self, monotonic_ms: u64, system_ms: u64) {
        self.monotonic_ms.fetch_add(monotonic_ms, Ordering::SeqCst);
        self.system_ms.fetch_add(system_ms, Ordering::SeqCst);
    }

    fn set_back(&self, ms: u64) {
        self.system_ms.fetch_sub(ms, Ordering::SeqCst);
    }
}

impl Clock for Clocks {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }

    fn system(&self) -> Timestamp {
        Timestamp::from_ms(self.system_ms.load(Ordering::SeqCst))
    }
}

/// A broker on such clocks, with a line item of 1000 tokens and a session.
struct World {
    still: Still,
    clocks: Arc<Clocks>,
    disk: MemoryDisk,
    broker: Broker,
    scope: Scope,
    session: String,
}

fn open(still: &Still, clocks: &Arc<Clocks>, disk: &MemoryDisk, seed: u64) -> Broker {
    let options = Options {
        storage: Storage::Custom(Arc::new(disk.clone()), Arc::new(MemorySnapshots::new())),
        settings: env::settings(),
        clock: Arc::clone(clocks) as _,
        ids: Arc::new(SeededIds::new(seed)),
    };
    still.runtime.block_on(Broker::open(options)).expect("it opens").broker
}

impl World {
    /// Of a charge interval of so many minutes; the session uses 10 x PhotoPrint (30 tokens).
    fn new(interval_minutes: u64) -> World {
        let clocks = Arc::new(Clocks {
            monotonic_ms: AtomicU64::new(0),
            system_ms: AtomicU64::new(START_MS),
        });
        let (still, disk) = (Still::new(), MemoryDisk::new());
        let broker = open(&still, &clocks, &disk, 1);
        let (scope, session) = still.runtime.block_on(async {
            let interval = format!("PT{interval_minutes}M");
            let setting = Setting::parse("session.charge.period", &interval).expect("valid");
            broker.configure(vec![setting], product::text("key")).await.expect("configured");
            let created = broker.create_instance(product::text("I"), product::text("A")).await;
            let scope = product::scope(created.expect("created").value.id);
            let price = RatedItem {
                name: "PhotoPrint".to_owned(),
                version: "1.0".to_owned(),
                price: Price::Rate(decimal("3")),
            };
            let table = RateTable {
                series: "P".to_owned(),
                version: "1".to_owned(),
                effective_from: START_MS - 1,
                items: vec![price],
            };
            broker.publish_rate_table(product::new_table(&table)).await.expect("published");
            let terms = product::new_terms("L", &script::terms(&[]), "");
            broker.map_line_item(scope, terms).await.expect("mapped");
            let session = broker.create_session(scope).await.expect("created").value.to_string();
            let request = product::request("user", &[Item::new("PhotoPrint", "1.0", "10")]);
            let request = request.expect("valid");
            let put = broker.session_access(Reach::Everywhere, &session, request, OnDeny::Rollback);
            put.await.expect("decided");
            (scope, session)
        });
        World { still, clocks, disk, broker, scope, session }
    }

    /// Lets time pass as it does on a good day, a tick a second.
    fn seconds(&self, many: u64) {
        for _ in 0..many {
            self.after(SECOND, SECOND);
        }
    }

    /// The next tick comes when so much has passed on each clock.
    fn after(&self, monotonic_ms: u64, system_ms: u64) {
        self.clocks.pass(monotonic_ms, system_ms);
        self.still.runtime.block_on(async {
            tokio::time::advance(Duration::from_millis(SECOND)).await;
            for _ in 0..50 {
                tokio::task::yield_now().await; // Whoever is due runs; nobody waits for the disk.
            }
        });
    }

    fn used(&self) -> String {
        let asked = self.broker.line_item(self.scope, "L");
        self.still.runtime.block_on(asked).expect("it exists").value.balance.used.to_string()
    }

    /// The session's state, and how much of what it has paid for is left, in milliseconds.
    fn session(&self) -> (&'static str, u64) {
        let asked = self.broker.session(Reach::Everywhere, &self.session);
        let view = self.still.runtime.block_on(asked).expect("it exists").value;
        let left = view.pacing.charged_until.ms_since(self.broker.now());
        (view.session.state_name(), left)
    }

    fn heartbeat(&self) {
        let asked = self.broker.heartbeat(Reach::Everywhere, &self.session);
        self.still.runtime.block_on(asked).expect("it is alive");
    }

    fn outages(&self) -> Vec<Outage> {
        self.settle();
        let events = records(self.broker.journal()).into_iter().map(|(_, record)| record.event);
        let outages =
            events.filter_map(|event| if let Event::Outage(o) = event { Some(o) } else { None });
        outages.collect()
    }

    /// An answer comes once all that it may rest on is durable.
    fn settle(&self) {
        let asked = self.broker.line_items(self.scope);
        self.still.runtime.block_on(asked).expect("answered");
    }

    /// kill -9, and a start so much later.
    fn restart_after(self, ms: u64) -> World {
        self.settle();
        let World { still, clocks, disk, broker, scope, session } = self;
        drop(broker);
        let disk = disk.after_kill();
        clocks.pass(ms, ms);
        let broker = open(&still, &clocks, &disk, 2);
        World { still, clocks, disk, broker, scope, session }
    }
}

#[test]
fn on_a_good_day_time_just_passes() {
    let world = World::new(10);
    world.seconds(600);
    assert_eq!((world.session(), world.used().as_str()), (("ACTIVE", 10 * MINUTE), "60"));
    world.heartbeat();
    world.seconds(600);
    assert_eq!((world.session(), world.used().as_str()), (("ACTIVE", 10 * MINUTE), "90"));
    world.seconds(301);
    assert_eq!((world.session().0, world.used().as_str()), ("TERMINATED", "60"), "no heartbeat");
    assert_eq!(world.outages(), []);
}

#[test]
fn a_system_clock_set_back_changes_nothing() {
    let world = World::new(60);
    world.seconds(10);
    world.clocks.set_back(HOUR);
    world.seconds(10);
    assert_eq!(world.session(), ("ACTIVE", HOUR - 20 * SECOND));
    let now = world.broker.now();
    assert_eq!(now.as_ms(), START_MS + 20 * SECOND, "broker time goes on by the monotonic clock");
    assert_eq!(world.outages(), []);
}

#[test]
fn a_system_clock_that_was_behind_and_is_put_right_changes_nothing() {
    let world = World::new(60);
    world.seconds(10);
    for round in 1..=5 {
        world.clocks.set_back(HOUR);
        world.seconds(10);
        world.after(SECOND, HOUR + SECOND);
        let now = START_MS + 10 * SECOND + round * 11 * SECOND;
        assert_eq!(world.broker.now().as_ms(), now, "nothing was missing");
    }
    assert_eq!(world.outages(), []);
    let world = world.restart_after(0); // As after a start with a clock that is not set yet.
    let before = world.outages();
    world.clocks.set_back(DAY);
    world.seconds(2);
    let now = world.broker.now().as_ms();
    world.after(SECOND, DAY + SECOND);
    assert_eq!(world.broker.now().as_ms(), now + SECOND);
    assert_eq!(world.outages(), before);
}

#[test]
fn what_the_clocks_skip_is_an_outage_that_nobody_pays_for() {
    // What passes on the monotonic and on the system's clock before a tick, and how far broker time
    // goes. The second of the tick itself is lost with the rest.
    for (name, monotonic, system, broker) in [
        ("the system's clock an hour ahead", SECOND, HOUR + SECOND, HOUR + SECOND),
        ("a suspend of 8 hours", SECOND, 8 * HOUR, 8 * HOUR),
        ("stopped for 45 minutes", 45 * MINUTE, 45 * MINUTE, 45 * MINUTE),
        ("stopped for 3 days", 3 * DAY, 3 * DAY, 3 * DAY),
        ("just above the limit", 5_001, 5_001, 5_001),
    ] {
        let world = World::new(60);
        world.seconds(10);
        world.after(monotonic, system);
        let now = START_MS + 10 * SECOND + broker;
        assert_eq!(world.broker.now().as_ms(), now, "{name}: the calendar jumps");
        assert_eq!(world.session(), ("ACTIVE", HOUR - 10 * SECOND), "{name}: sessions stand still");
        let from = Timestamp::from_ms(START_MS + 10 * SECOND);
        assert_eq!(world.outages(), [Outage { from, to: Timestamp::from_ms(now) }], "{name}");
        world.seconds(10);
        assert_eq!(world.session(), ("ACTIVE", HOUR - 20 * SECOND), "{name}: and go on");
        assert_eq!(world.used(), "30", "{name}");
    }
}

#[test]
fn a_gap_of_five_seconds_is_time_like_any_other() {
    let world = World::new(60);
    world.after(5 * SECOND, 5 * SECOND);
    assert_eq!(world.session(), ("ACTIVE", HOUR - 5 * SECOND));
    assert_eq!(world.outages(), []);
}

#[test]
fn forward_an_hour_and_back_is_one_outage() {
    let world = World::new(60);
    world.seconds(10);
    world.after(SECOND, HOUR + SECOND);
    world.clocks.set_back(HOUR);
    world.seconds(20);
    assert_eq!(world.session(), ("ACTIVE", HOUR - 30 * SECOND));
    assert_eq!(world.outages().len(), 1);
}

#[test]
fn a_session_that_owes_a_heartbeat_survives_an_outage_longer_than_its_window() {
    let world = World::new(10);
    world.seconds(600);
    world.after(45 * MINUTE, 45 * MINUTE);
    assert_eq!((world.session(), world.used().as_str()), (("ACTIVE", 10 * MINUTE), "60"));
    world.seconds(299);
    world.heartbeat();
    world.seconds(10);
    assert_eq!(world.session().0, "ACTIVE", "the window went on where it had stopped");
}

#[test]
fn nothing_is_stamped_beyond_the_horizon() {
    let world = World::new(60);
    world.seconds(10);
    world.clocks.pass(HOUR, HOUR); // No tick has seen it yet.
    assert_eq!(world.broker.now().as_ms(), START_MS + 13 * SECOND);
    assert_eq!(world.session().0, "ACTIVE");
    world.after(SECOND, SECOND);
    assert_eq!(world.outages().len(), 1);
    assert!(world.session().1 >= HOUR - 13 * SECOND);
    assert_eq!(world.used(), "30");
}

#[test]
fn three_days_down_cost_nobody_anything() {
    let world = World::new(60);
    world.seconds(10 * 60);
    let (_, left) = world.session();
    let world = world.restart_after(3 * DAY);
    let (state, left_after) = world.session();
    assert_eq!((state, world.used().as_str()), ("ACTIVE", "30"));
    assert!((left..=left + 3 * SECOND).contains(&left_after), "{left} then {left_after}");
    let [outage] = world.outages()[..] else { panic!("one outage: {:?}", world.outages()) };
    assert_eq!(outage.to.as_ms(), START_MS + 10 * MINUTE + 3 * DAY);
    assert!(outage.to.ms_since(outage.from) < 3 * DAY + 3 * SECOND, "an idle journal is stamped");
    world.seconds(50 * 60 + 2);
    assert_eq!((world.session().0, world.used().as_str()), ("ACTIVE", "60"), "the rest is used up");
}

#[test]
fn a_clock_that_is_behind_at_a_start_is_no_outage() {
    let world = World::new(60);
    world.seconds(100);
    world.clocks.set_back(HOUR);
    let world = world.restart_after(0);
    assert!(world.broker.now().as_ms() > START_MS + 90 * SECOND, "time does not run backwards");
    assert_eq!(world.session().0, "ACTIVE");
    assert_eq!(world.outages(), []);
    world.seconds(5);
    assert_eq!(world.outages(), []);
}

/// Once what was due within the horizon, and still being decided when the outage was recorded, got
/// the time that the outage had moved it to: a record from the future, after which every change of
/// its instance was refused until that time had come.
#[test]
fn an_event_that_an_outage_overtakes_waits_for_its_new_time_and_nobody_waits_for_it() {
    // How long before the automatic charge the last tick comes. Under a second, the charge has begun
    // when the next tick finds the outage.
    for left in [1, 100, 500, 900, 1_000, 2_000, 3_000] {
        let world = World::new(10);
        world.seconds(597);
        world.after(3 * SECOND - left, 3 * SECOND - left);
        world.after(HOUR, HOUR);

        let (from, now) = (START_MS + 10 * MINUTE - left, START_MS + 10 * MINUTE - left + HOUR);
        let outage = Outage { from: Timestamp::from_ms(from), to: Timestamp::from_ms(now) };
        assert_eq!(world.outages(), [outage], "{left}");
        assert_eq!(world.broker.now().as_ms(), now, "{left}");
        let stamps = records(world.broker.journal()).into_iter().map(|(_, record)| record.at);
        assert_eq!(stamps.max(), Some(outage.to), "{left}: nothing is stamped later than now");
        assert_eq!(world.session(), ("ACTIVE", left), "{left}: its paid end has moved");
        assert_eq!(world.used(), "30", "{left}");
        let created = world.still.runtime.block_on(world.broker.create_session(world.scope));
        created.unwrap_or_else(|error| panic!("{left}: the instance goes on, but {error}"));

        world.after(left, left);
        assert_eq!(world.session(), ("ACTIVE", 10 * MINUTE), "{left}: now it is charged");
        assert_eq!(world.used(), "60", "{left}");
        world.settle();
        let charges = records(world.broker.journal()).into_iter().filter_map(|(_, record)| {
            matches!(record.event, Event::AutomaticCharge(_)).then_some(record.at.as_ms())
        });
        assert_eq!(charges.collect::<Vec<_>>(), [now + left], "{left}");
    }
}
