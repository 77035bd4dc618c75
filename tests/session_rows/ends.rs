//! Sessions that nobody uses any more: H28, ends that come in the same millisecond, and how those
//! that are over are forgotten (spec 4.1).

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use farebox::broker::Storage;
use farebox::config::Settings;
use farebox::journal::{Entry, Mark, MemoryDisk, MemorySnapshots, SnapshotError, Snapshots};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::common::crowd::{MINUTE_MS, START_MS};
use crate::common::dice;
use crate::common::disks::{MoodyDisk, Watched, copy_of};
use crate::common::model::whole;
use crate::common::product;
use crate::common::rig::{Still, in_memory};
use crate::common::script;
use crate::house::{
    HOUR_MS, House, THIRTY_DAYS_MS, code, kinds, many_threads, one_thread, refunded, refunds,
    settings,
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

/// Once the idle limit could come first. The deadline, which is stamped a millisecond earlier, then
/// found a later record of its instance, and was decided again for ever.
#[test]
fn what_falls_due_in_the_same_millisecond_happens_in_the_order_of_its_stamps() {
    let tie = START_MS + THIRTY_DAYS_MS;
    for [idle, owing, paying] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    {
        one_thread().block_on(async {
            let house = House::open().await;
            let sessions = [house.session().await, house.session().await, house.session().await];
            let deadline = tie - 1; // That it has passed is known at the idle limit of the first.
            house.at(deadline - 90 * MINUTE_MS).await;
            house.put(&sessions[owing], "10xPhotoPrint").await.expect("it is granted");
            house.at(tie - HOUR_MS).await;
            house.put(&sessions[paying], "1xPhotoPrint").await.expect("it is granted");
            house.at(deadline).await;
            let last = house.last();
            house.at(tie).await;

            let records = house.since(last);
            let shown = format!("idle {idle}, owing {owing}, paying {paying}: {records:?}");
            assert_eq!(kinds(&records), ["expired", "expired", "charge"], "{shown}");
            let stamps: Vec<_> = records.iter().map(|record| record.at.as_ms()).collect();
            assert_eq!(stamps, [deadline, tie, tie], "{shown}");
            assert_eq!(refunded(&records[..1]), whole(30), "{shown}: it is the one that owed");
            assert_eq!(refunds(&records[1]), [], "{shown}: it is the idle one");
            for (session, state) in
                [(idle, "TERMINATED"), (owing, "TERMINATED"), (paying, "ACTIVE")]
            {
                assert_eq!(house.state(&sessions[session]).await, state, "{shown}");
            }
            house.session().await; // The instance goes on.
        });
    }
}

/// The names of what is kept.
fn kept(snapshots: &dyn Snapshots) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let loaded = snapshots.load(&mut |name, _| names.push(name.to_vec()));
    assert!(loaded.expect("they can be read").is_some(), "a pass has ended");
    names.sort_unstable();
    names
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
    let every = settings().snapshot_every;
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
            snapshots.next_pass(every).await;
            let (without, tasks_without) = (kept(&snapshots.inner), tasks().await);

            let session = house.session().await;
            house.put(&session, "10xPhotoPrint").await.expect("it is granted");
            house.at(START_MS + HOUR_MS / 2).await;
            if closed {
                house.close(&session).await.expect("it is alive");
            }
            house.at(START_MS + ended + 1).await;
            assert_eq!(house.state(&session).await, "TERMINATED");
            snapshots.next_pass(every).await;
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
            snapshots.next_pass(every).await;
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

/// Snapshots whose next write can be held up.
#[derive(Default)]
struct Held {
    inner: MemorySnapshots,
    hold: Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Held {
    /// The next write says when it is there, and waits until the other end is dropped.
    fn hold_next(&self) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
        let ((there, is_there), (go_on, held)) = (oneshot::channel(), mpsc::channel());
        *self.hold.lock().expect("unpoisoned") = Some((there, held));
        (is_there, go_on)
    }
}

impl Snapshots for Held {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError> {
        self.inner.load(each)
    }

    fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        let hold = self.hold.lock().expect("unpoisoned").take();
        if let Some((there, held)) = hold {
            let _ = there.send(()); // A test that has failed asks no more.
            let _ = held.recv();
        }
        self.inner.write(entries)
    }

    fn finish(&self, mark: Mark) -> Result<(), SnapshotError> {
        self.inner.finish(mark)
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        self.inner.clear()
    }
}

/// Once the pass took it for one that the snapshots had forgotten too: the next one asked it for its
/// state, failed, and so did all that followed.
#[test]
fn a_session_that_is_forgotten_while_a_pass_writes_is_left_to_the_next_one() {
    let still = Still::new();
    still.runtime.block_on(async {
        let disk = MemoryDisk::new();
        let snapshots = Arc::new(Watched::new(Held::default()));
        let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
        let house = House::with(storage, START_MS, settings()).await;
        let session = house.session().await;
        house.close(&session).await.expect("it is alive");
        let (writing, go_on) = snapshots.inner.hold_next();
        tokio::time::advance(settings().snapshot_every + Duration::from_millis(1)).await;
        writing.await.expect("the first pass writes");
        house.at(START_MS + THIRTY_DAYS_MS).await;
        assert_eq!(told(&house, &session).await, UNKNOWN);
        drop(go_on);
        let mut passes = snapshots.passes.subscribe();
        passes.wait_for(|passes| *passes == 1).await.expect("the broker keeps them");
        let with = kept(snapshots.as_ref());
        let remembered = copy_of(&snapshots.inner.inner, |_| {});

        house.at(START_MS + THIRTY_DAYS_MS + 1).await; // A pass without news is none.
        house.broker.close().await.expect("a clean stop"); // With a pass, which may fail silently.
        assert_eq!(*snapshots.passes.borrow(), 2, "the next pass comes to its end");
        let without = kept(snapshots.as_ref());
        assert_eq!(without.len() + 1, with.len(), "the session had been copied before");

        for snapshots in [remembered, copy_of(&snapshots.inner.inner, |_| {})] {
            let snapshots = Arc::new(Watched::new(snapshots));
            let disk = Arc::new(disk.after_kill());
            let again = house.again(Storage::Custom(disk, Arc::clone(&snapshots) as _)).await;
            assert_eq!(told(&again, &session).await, UNKNOWN);
            again.session().await;
            again.broker.close().await.expect("a clean stop");
            assert_eq!(*snapshots.passes.borrow(), 1, "passes go on");
            assert_eq!(kept(snapshots.as_ref()).len(), with.len(), "the new session");
        }
    });
}
