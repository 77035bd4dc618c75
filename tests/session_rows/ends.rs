//! Sessions that nobody uses any more: H28, and how those that are over are forgotten (spec 4.1).

use std::sync::Arc;
use std::time::Duration;

use farebox::broker::Storage;
use farebox::config::Settings;
use farebox::journal::{MemoryDisk, MemorySnapshots, Snapshots};
use tokio::task::yield_now;

use crate::common::crowd::START_MS;
use crate::common::dice;
use crate::common::disks::{MoodyDisk, Watched, copy_of};
use crate::common::model::whole;
use crate::common::product;
use crate::common::rig::{Still, in_memory};
use crate::common::script;
use crate::house::{
    HOUR_MS, House, THIRTY_DAYS_MS, code, kinds, many_threads, one_thread, refunds, settings,
};

#[test]
fn h28_sessions_that_are_never_used_end_at_the_limit_and_cost_nothing() {
    let instances = 20;
    let each = if dice::is_long() { 50_000 } else { 500 };
    many_threads().block_on(async {
        let first = House::with(Storage::Memory, START_MS, settings()).await;
        let mut houses = vec![first.clone()];
        for number in 1..instances {
            let name = product::text(&number.to_string());
            let created = first.broker.create_instance(name.clone(), name).await;
            let scope = product::scope(created.expect("it is created").value.id);
            houses.push(House { scope, ..first.clone() });
        }
        first.line_item("L", &[]).await;
        let creating: Vec<_> = houses
            .iter()
            .map(|house| {
                let house = house.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        house.session().await;
                    }
                })
            })
            .collect();
        for created in creating {
            created.await.expect("no panic");
        }
        let last = first.last();

        first.at(START_MS + THIRTY_DAYS_MS - 1).await;
        assert_eq!(first.since(last), [], "a millisecond too early");
        first.at(START_MS + THIRTY_DAYS_MS).await;
        let records = first.since(last);
        assert_eq!(records.len(), instances * each, "each ends once");
        for record in &records {
            assert_eq!(kinds(std::slice::from_ref(record)), ["expired"]);
            assert_eq!(record.at.as_ms(), START_MS + THIRTY_DAYS_MS);
            assert!(refunds(record).is_empty() && record.event.postings().is_empty(), "{record:?}");
        }
        assert_eq!(first.used("L").await, whole(0));
        for house in &houses {
            let live = house.broker.sessions(house.scope).await.expect("listed").value;
            assert!(live.is_empty(), "{live:?}");
        }
        first.at(START_MS + THIRTY_DAYS_MS + 1).await;
        assert_eq!(first.since(last).len(), records.len(), "it is over once");
    });
}

/// What falls due takes no permit: the journal bounds it instead.
#[test]
fn h28_a_sweep_waits_for_the_disk_after_every_thousand() {
    one_thread().block_on(async {
        let disk = MoodyDisk::new(MemoryDisk::new());
        let storage = in_memory(disk.clone(), MemorySnapshots::new());
        let house = House::with(storage, START_MS, settings()).await;
        for _ in 0..2_500 {
            house.session().await;
        }
        house.clock.set(START_MS + THIRTY_DAYS_MS);
        let (blocked, last) = (disk.block(), house.last());
        let sweeping = tokio::spawn({
            let broker = house.broker.clone();
            async move { broker.catch_up().await }
        });
        let (mut swept, mut still) = (0, 0);
        while still < 1_000 {
            yield_now().await;
            let now = house.last().get() - last.get();
            still = if now == swept { still + 1 } else { 0 };
            swept = now;
        }
        assert_eq!(swept, 1_000);
        drop(blocked);
        sweeping.await.expect("no panic").expect("the disk works again");
        assert_eq!(kinds(&house.since(last)), ["expired"; 2_500]);
    });
}

/// The names of what is kept.
fn kept(snapshots: &dyn Snapshots) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let loaded = snapshots.load(&mut |name, _| names.push(name.to_vec()));
    assert!(loaded.expect("they can be read").is_some(), "a pass has ended");
    names.sort_unstable();
    names
}

/// Has the next snapshot pass come and waits until it has ended.
async fn pass(snapshots: &Watched<MemorySnapshots>) {
    let mut passes = snapshots.passes.subscribe();
    let before = *passes.borrow_and_update();
    tokio::time::advance(settings().snapshot_every + Duration::from_millis(1)).await;
    passes.wait_for(|passes| *passes > before).await.expect("the broker keeps them");
}

/// What calls on a session are told.
async fn told(house: &House, session: &str) -> [&'static str; 4] {
    let (put, beat) = (house.put(session, "").await, house.beat(session).await);
    let closed = house.close(session).await;
    [code(&put), code(&beat), code(&closed), house.state(session).await]
}

const UNKNOWN: [&str; 4] = ["unknown-session"; 4];

/// Tasks of the runtime, once whoever has something to do has done it: each awake owner is one.
async fn tasks() -> usize {
    for _ in 0..200 {
        yield_now().await;
    }
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Closed after half an hour, or left alone: then it has ended half an hour after its automatic
/// charge.
#[test]
fn what_is_over_is_forgotten_for_good_by_memory_snapshots_and_restarts() {
    for (closed, ended) in [(true, HOUR_MS / 2), (false, HOUR_MS + HOUR_MS / 2)] {
        let still = Still::new();
        still.runtime.block_on(async {
            let disk = MemoryDisk::new();
            let snapshots = Arc::new(Watched::new(MemorySnapshots::new()));
            let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
            let house =
                House::with(storage, START_MS, Settings { awake: 1_000, ..settings() }).await;
            house.line_item("L", &[]).await;
            let request = product::request("somebody", &[script::item("1xPhotoPrint")]);
            let asked = house.broker.access(house.scope, request.expect("a valid count"));
            asked.await.expect("it is decided");
            pass(&snapshots).await;
            let (without, tasks_without) = (kept(&snapshots.inner), tasks().await);

            let session = house.session().await;
            house.put(&session, "10xPhotoPrint").await.expect("it is granted");
            house.at(START_MS + HOUR_MS / 2).await;
            if closed {
                house.close(&session).await.expect("it is alive");
            }
            house.at(START_MS + ended + 1).await;
            assert_eq!(house.state(&session).await, "TERMINATED");
            pass(&snapshots).await;
            assert_eq!(kept(&snapshots.inner).len(), without.len() + 1);
            assert_eq!(tasks().await, tasks_without + 1);

            let forgotten = START_MS + ended + THIRTY_DAYS_MS;
            house.at(forgotten - 1).await;
            let remembered = copy_of(&snapshots.inner, |_| {});
            for snapshots in [copy_of(&remembered, |_| {}), MemorySnapshots::new()] {
                let again = house.again(in_memory(disk.after_kill(), snapshots)).await;
                assert_eq!(again.state(&session).await, "TERMINATED");
                again.broker.close().await.expect("a clean stop");
            }
            assert_eq!(house.state(&session).await, "TERMINATED");

            house.at(forgotten).await;
            assert_eq!(told(&house, &session).await, UNKNOWN);
            assert_eq!(tasks().await, tasks_without, "its actor has ended");
            house.at(forgotten + 1).await; // A pass without news is none.
            pass(&snapshots).await;
            assert_eq!(kept(&snapshots.inner), without);

            let now = copy_of(&snapshots.inner, |_| {});
            for snapshots in [now, remembered, MemorySnapshots::new()] {
                let snapshots = Arc::new(snapshots);
                let disk = Arc::new(disk.after_kill());
                let again = house.again(Storage::Custom(disk, Arc::clone(&snapshots) as _)).await;
                assert_eq!(told(&again, &session).await, UNKNOWN);
                again.broker.close().await.expect("a clean stop");
                assert_eq!(kept(snapshots.as_ref()), without, "closed: {closed}");
            }
        });
    }
}
