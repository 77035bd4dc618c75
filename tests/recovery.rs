//! What a broker is after it was stopped in the middle: killed, cut off from power, refused by its
//! disk. What was acknowledged is there, what is there is what the model says, and a broker that
//! cannot be sure says so or does not start.

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::crowd::{Outcome, START_MS};
use common::dice;
use common::disks::{Fault, MoodyDisk, Watched, copy_of};
use common::env::settings;
use common::judge::judge;
use common::product;
use common::replay::{Replay, records};
use common::rig::{
    Rig, Still, at_once, copy_directory, in_memory, keys, none, options, reopen, reopen_unjudged,
};
use farebox::broker::{Broker, OpenError, Storage};
use farebox::config::{Limits, Settings};
use farebox::domain::ids::Sequence;
use farebox::error::{BrokerError, Effect};
use farebox::journal::{self, MemoryDisk, MemorySnapshots, SledSnapshots, Step};
use tokio::sync::oneshot;

fn seeds(usual: u64) -> impl Iterator<Item = u64> {
    let first = dice::seed(1);
    let many = if dice::is_long() { usual * 20 } else { usual };
    (0..many).map(move |number| first.wrapping_add(number)).inspect(|seed| println!("seed {seed}"))
}

#[test]
fn a_kill_at_any_moment_leaves_exactly_what_was_there() {
    for seed in seeds(4) {
        let disk = MemoryDisk::new();
        let mut rig = Rig::open(in_memory(disk.clone(), MemorySnapshots::new()), seed);
        for moment in 0..16 {
            rig.calls(6, |_| {});
            rig.register_key(&format!("key-{}", moment % 5));
            if moment % 3 == 2 {
                rig.delete_key(&format!("key-{}", (moment + 4) % 5));
            }
            let attempts = rig.crowd.attempts();
            for left in [disk.after_kill(), disk.after_power_cut(0)] {
                let again = reopen(in_memory(left, MemorySnapshots::new()), &attempts, none);
                let again = again.expect("it opens");
                assert_eq!(again.last, rig.broker.journal().durable(), "seed {seed}");
                assert_eq!(again.replayed, again.last.get(), "there was no snapshot");
                assert_eq!(keys(&rig.broker), again.keys);
            }
        }
    }
}

#[test]
fn snapshots_of_any_moment_and_the_journal_after_them_give_the_same_state() {
    let mut skipped = 0;
    for seed in seeds(4) {
        let (disk, snapshots) = (MemoryDisk::new(), Arc::new(Watched::new(MemorySnapshots::new())));
        let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
        let mut rig = Rig::open(storage, seed);
        for moment in 0..12 {
            rig.calls(3 + moment % 7, |_| {});
            rig.register_key(&format!("key-{}", moment % 5));
            if moment % 3 != 2 {
                rig.snapshot_pass(&snapshots);
                rig.calls(moment % 4, |_| {});
                rig.delete_key(&format!("key-{}", moment % 5)); // It is in the snapshot.
            }
            let attempts = rig.crowd.attempts();
            let (left, kept) = (disk.after_kill(), copy_of(&snapshots.inner, |_| {}));
            let again = reopen(in_memory(left, kept), &attempts, none).expect("it opens");
            assert!(again.replayed < again.last.get(), "the snapshot is used");
            skipped += again.last.get() - again.replayed;
            assert_eq!(keys(&rig.broker), again.keys);

            // Damaged, they are thrown away, and everything is replayed.
            let damaged = copy_of(&snapshots.inner, |value| value.truncate(value.len() / 2));
            let again = reopen(in_memory(disk.after_kill(), damaged), &attempts, none);
            let again = again.expect("it opens");
            assert_eq!(again.replayed, again.last.get(), "damaged snapshots are not used");
        }
    }
    assert!(skipped > 0);
}

/// Once a pass after a restart moved the watermark past records that the restart had only
/// replayed: the next restart would have missed them.
#[test]
fn generations_of_kills_and_snapshots_end_in_the_same_state() {
    for seed in seeds(3) {
        let mut left = (MemoryDisk::new(), MemorySnapshots::new());
        let mut before = Vec::new();
        for generation in 0..8 {
            let (disk, snapshots) = (left.0, Arc::new(Watched::new(left.1)));
            let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
            let mut rig = match generation {
                0 => Rig::open(storage, seed),
                later => Rig::go_on(storage, seed, later),
            };
            rig.calls(generation % 3 * 4, |_| {});
            if (seed + generation) % 3 != 0 {
                rig.register_key(&format!("key {generation}")); // A pass without news is none.
                rig.snapshot_pass(&snapshots);
            }
            rig.calls(generation * 5 % 7, |_| {});
            left = (disk.after_kill(), copy_of(&snapshots.inner, |_| {}));
            let now = records(rig.broker.journal());
            assert_eq!(now.get(..before.len()), Some(before.as_slice()), "seed {seed}");
            before = now;
        }
        let again = reopen_unjudged(in_memory(left.0, left.1)).expect("it opens");
        assert_eq!(again.records, before, "seed {seed}");
    }
}

#[test]
fn a_clean_stop_takes_a_last_snapshot_and_leaves_nothing_to_replay() {
    let (disk, snapshots) = (MemoryDisk::new(), Arc::new(Watched::new(MemorySnapshots::new())));
    let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
    let mut rig = Rig::open(storage, 3);
    rig.calls(40, |_| {});
    rig.block_on(rig.broker.close()).expect("it closes");
    let kept = copy_of(&snapshots.inner, |_| {});
    let again = reopen(in_memory(disk.after_kill(), kept), &rig.crowd.attempts(), none);
    let again = again.expect("it opens");
    assert_eq!((again.replayed, again.cut), (0, None));
    assert!(again.last.get() > 0);
}

#[test]
fn a_journal_that_ends_before_its_snapshots_is_refused() {
    let (disk, snapshots) = (MemoryDisk::new(), Arc::new(Watched::new(MemorySnapshots::new())));
    let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
    let mut rig = Rig::open(storage, 5);
    rig.calls(20, |_| {});
    let earlier = disk.after_kill();
    rig.calls(20, |_| {});
    assert!(rig.broker.journal().durable().get() > 0);
    rig.snapshot_pass(&snapshots);
    let before = earlier.files();
    let kept = copy_of(&snapshots.inner, |_| {});
    let refused = reopen(in_memory(earlier.clone(), kept), &[], none).err().expect("it is refused");
    let OpenError::Journal(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.code(), "journal-damaged", "{refused}");
    assert_eq!(before, earlier.files(), "what is refused is not touched");
}

#[test]
fn a_power_cut_at_any_sync_leaves_everything_that_was_acknowledged() {
    let (mut pictures, mut torn_tails) = (0, 0);
    for seed in seeds(3) {
        for torn in [0, 50, 300] {
            let disk = MoodyDisk::new(MemoryDisk::new());
            let mut rig = Rig::open(in_memory(disk.clone(), MemorySnapshots::new()), seed);
            disk.take_pictures(torn);
            let heard = |sequence: Sequence| disk.acknowledge(sequence.get());
            rig.calls(12, heard);
            rig.calls_at_once(8, 3);
            rig.calls(4, heard);
            let whole = records(rig.broker.journal());
            for picture in disk.pictures() {
                pictures += 1;
                let storage = in_memory(picture.left, MemorySnapshots::new());
                let again = reopen_unjudged(storage).expect("it opens");
                assert!(picture.acknowledged <= again.last.get(), "seed {seed}: lost");
                assert_eq!(whole.get(..again.records.len()), Some(again.records.as_slice()));
                torn_tails += u64::from(again.cut.is_some());
            }
        }
    }
    println!("{pictures} power cuts, {torn_tails} torn tails reported");
    assert!(pictures > 100 && torn_tails > 20, "{pictures} and {torn_tails}");
}

/// Whether a journal or disk that has failed may be the cause.
fn disk_failed(error: &BrokerError) -> bool {
    matches!(error, BrokerError::JournalDown(_) | BrokerError::StorageFull | BrokerError::Stopping)
}

#[test]
fn whatever_call_to_the_disk_fails_nothing_is_lost_and_nothing_is_acknowledged_after() {
    let (mut struck, mut stopped) = (0, 0);
    for fault in [Fault::Once, Fault::ForEver, Fault::Full, Fault::Torn] {
        for number in 1.. {
            let disk = MoodyDisk::new(MemoryDisk::new());
            // Short segments: some of the calls make new ones.
            let settings = Settings { segment_bytes: 8 << 10, ..settings() };
            let storage = in_memory(disk.clone(), MemorySnapshots::new());
            let mut rig = Rig::open_with(storage, 11, settings);
            rig.calls(6, |_| {});
            disk.fail_at(number, fault);
            rig.calls(16, |_| {});
            if !disk.has_struck() {
                break;
            }
            struck += 1;
            let attempts = rig.crowd.attempts();
            let down =
                |outcome: &Outcome| matches!(outcome, Outcome::Failed(BrokerError::JournalDown(_)));
            let first = attempts.iter().position(|attempt| down(&attempt.outcome));
            if let Some(first) = first {
                stopped += 1;
                // From the first failure on nothing succeeds, not even a look.
                for attempt in attempts.iter().skip(first) {
                    let Outcome::Failed(error) = &attempt.outcome else {
                        panic!("{fault:?} at {number}: a success after the end: {attempt:?}")
                    };
                    let refused = matches!(error, BrokerError::Refused(..));
                    assert!(!refused || error.effect() == Effect::None, "{error}");
                }
                assert!(rig.broker.journal().failure().borrow().is_some(), "the journal says so");
                let failed = rig.broker.failure();
                rig.block_on(async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await; // The broker hears of it in a task.
                    }
                });
                assert!(failed.borrow().is_some(), "the broker says so");
                assert!(rig.broker.readiness().is_err(), "readiness is red");
                assert!(rig.block_on(rig.broker.close()).is_err(), "closing says so too");
            }
            assert_eq!(disk.touched_after_failed_sync(), 0, "a failed sync is not repeated");
            let storage = |left| in_memory(left, MemorySnapshots::new());
            for left in [disk.inner.after_kill(), disk.inner.after_power_cut(0)] {
                let again = reopen(storage(left), &attempts, disk_failed);
                again.unwrap_or_else(|error| panic!("{fault:?} at {number}: {error}"));
            }
        }
    }
    println!("{struck} failing calls, {stopped} of them stopped the journal");
    assert!(struck > 40 && stopped > 40, "{struck}, {stopped}");
}

/// Where a directory's snapshots are.
fn sled_of(directory: &Path) -> PathBuf {
    directory.join("snapshots")
}

#[test]
fn a_directory_without_its_snapshots_or_with_damaged_ones_gives_the_same_state() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut rig = Rig::open(Storage::Directory(data.clone()), 17);
    rig.calls(30, |_| {});
    rig.block_on(rig.broker.close()).expect("it closes");
    let attempts = rig.crowd.attempts();
    drop(rig); // sled keeps its files locked as long as it lives.

    let opened = |name: &str, change: &dyn Fn(&Path)| {
        let copy = home.path().join(name);
        copy_directory(&data, &copy);
        change(&copy);
        reopen(Storage::Directory(copy), &attempts, none).expect("it opens")
    };
    assert_eq!(opened("whole", &|_| {}).replayed, 0, "the last snapshot has everything");
    let missing = opened("missing", &|copy| {
        std::fs::remove_dir_all(sled_of(copy)).expect("it was there");
    });
    assert_eq!(missing.replayed, missing.last.get());
    let mut rebuilt = 0;
    for part in 0..12 {
        let damaged = opened(&format!("damaged-{part}"), &|copy| {
            let file = sled_of(copy).join("db");
            let mut bytes = std::fs::read(&file).expect("sled's file");
            let place = bytes.len() * part / 12;
            bytes.iter_mut().skip(place).take(400).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&file, bytes).expect("it can be written");
        });
        assert!(damaged.replayed == 0 || damaged.replayed == damaged.last.get());
        rebuilt += u64::from(damaged.replayed > 0);
    }
    println!("{rebuilt} of 12 damaged sleds were thrown away");
    assert!(rebuilt > 0, "none of the damage was where anything is");
}

#[test]
fn a_snapshot_pass_interrupted_at_any_step_leaves_a_start_with_the_same_state() {
    let home = Arc::new(tempfile::tempdir().expect("a directory"));
    let sled = home.path().join("sled");
    let disk = MemoryDisk::new();
    let steps: Arc<Mutex<Vec<(Step, PathBuf, MemoryDisk)>>> = Arc::default();
    let observe = {
        let (home, sled, disk, steps) =
            (Arc::clone(&home), sled.clone(), disk.clone(), Arc::clone(&steps));
        move |step| {
            let mut steps = steps.lock().expect("unpoisoned");
            let copy = home.path().join(format!("step-{}", steps.len()));
            copy_directory(&sled, &copy);
            steps.push((step, copy, disk.after_kill()));
        }
    };
    let snapshots = SledSnapshots::observed(&sled, Box::new(observe)).expect("it opens");
    let snapshots = Arc::new(Watched::new(snapshots));
    let storage = Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
    let mut rig = Rig::open(storage, 23);
    steps.lock().expect("unpoisoned").clear(); // An empty store is cleared before its first use.
    for _ in 0..3 {
        rig.calls(10, |_| {});
        rig.snapshot_pass(&snapshots);
    }
    let steps = std::mem::take(&mut *steps.lock().expect("unpoisoned"));
    assert_eq!(steps.len(), 15, "five steps in each of three passes");
    let mut used = 0;
    for (step, copy, left) in steps {
        let (snapshots, warning) = SledSnapshots::open_or_reset(&copy).expect("it opens");
        assert!(warning.is_none(), "{step:?}: {warning:?}");
        let again = reopen_unjudged(in_memory(left, snapshots));
        let again = again.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        used += u64::from(again.replayed < again.last.get());
    }
    assert!(used >= 10, "the old mark or the new one is found: {used} of 15");
}

#[test]
fn a_journal_of_another_format_is_refused_and_left_alone() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::open(in_memory(disk.clone(), MemorySnapshots::new()), 29);
    rig.calls(5, |_| {});
    let later = disk.files().into_iter().enumerate().map(|(number, (name, mut bytes))| {
        // In every format: magic (8 bytes), version (4), ..., checksum of the first page (4).
        if number == 0 {
            let (page, _) = bytes.split_at_mut(4096);
            let (content, checksum) = page.split_at_mut(4092);
            content.iter_mut().skip(8).take(1).for_each(|byte| *byte += 1);
            checksum.copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        }
        (name, bytes)
    });
    let later = MemoryDisk::from_files(later);
    let before = later.files();
    let storage = in_memory(later.clone(), MemorySnapshots::new());
    let refused = reopen_unjudged(storage).err().expect("it is refused");
    let OpenError::Journal(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.code(), "journal-format-other", "{refused}");
    assert_eq!(before, later.files(), "what is refused is not touched");
}

#[test]
fn a_directory_serves_one_broker_at_a_time() {
    let home = tempfile::tempdir().expect("a directory");
    let still = Still::new();
    let open = |still: &Still| {
        let storage = Storage::Directory(home.path().join("data"));
        still.runtime.block_on(Broker::open(options(storage, 1, settings()).0))
    };
    let first = open(&still).expect("it opens").broker;
    for _ in 0..2 {
        let refused = open(&still).err().expect("it is in use");
        assert!(matches!(&refused, OpenError::InUse { .. }), "{refused}");
        assert!(refused.to_string().contains("data"), "{refused}");
    }
    still.runtime.block_on(first.close()).expect("it closes");
    drop(first);
    drop(still);
    let still = Still::new();
    let storage = Storage::Directory(home.path().join("data"));
    let again = still.runtime.block_on(Broker::open(options(storage, 1, settings()).0));
    assert!(again.is_ok(), "a directory that is let go of can be used again");
}

/// An embedder may forget to close. What lives on of the first broker must not write beside the
/// second: either the directory is still in use, or everything is as it was left.
#[test]
fn a_directory_whose_broker_was_dropped_unclosed_is_never_damaged_by_the_next() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let rig = {
        let mut rig = Rig::open(Storage::Directory(data.clone()), 37);
        rig.calls(20, |_| {});
        rig.into_parts()
    };
    let (still, attempts) = rig; // The runtime, with all actors and tasks, lives on.
    for _ in 0..3 {
        match reopen(Storage::Directory(data.clone()), &attempts, none) {
            Ok(again) => assert!(again.last.get() >= 9),
            Err(error) => assert!(matches!(error, OpenError::InUse { .. }), "{error}"),
        }
        still.runtime.block_on(tokio::task::yield_now());
    }
    drop(still);
    let again = reopen(Storage::Directory(data), &attempts, none).expect("nothing holds it");
    assert!(again.last.get() >= 9);
}

#[test]
fn two_brokers_in_one_process_do_not_meet() {
    let mut one = Rig::open(Storage::Memory, 31);
    let mut other = Rig::open(Storage::Memory, 31);
    let [mut first, mut second] = [&mut one, &mut other];
    for _ in 0..20 {
        first.calls(3, |_| {});
        second.calls(2, |_| {});
        (first, second) = (second, first);
    }
    for rig in [&one, &other] {
        let mut replay = Replay::default();
        let records = records(rig.broker.journal());
        judge(&mut replay, &records, &rig.crowd.attempts(), none);
        rig.block_on(replay.check_all(&rig.broker));
    }
}

#[test]
fn a_slow_sync_holds_answers_back_but_neither_loses_nor_doubles_them() {
    let still = Still::new();
    let disk = MoodyDisk::new(MemoryDisk::new());
    let limits = Limits { in_flight: 4, ..Limits::default() };
    let settings = Settings { limits, ..settings() };
    let storage = in_memory(disk.clone(), MemorySnapshots::new());
    let (options, _) = options(storage, 2, settings);
    still.runtime.block_on(async {
        let broker = Broker::open(options).await.expect("it opens").broker;
        let scope = one_line_item(&broker, 100).await;
        let blocked = disk.block();
        let ask = || {
            let (broker, request) = (broker.clone(), request(1));
            tokio::spawn(async move { broker.access(scope, request).await })
        };
        let waiting = [ask(), ask(), ask(), ask()];
        for _ in 0..100 {
            tokio::task::yield_now().await; // All four are decided and wait for the disk.
        }
        let refused = at_once(broker.access(scope, request(1))).await;
        let refused = refused.expect_err("the house is full");
        assert!(matches!(refused, BrokerError::Overloaded { limit: 4 }), "{refused}");
        tokio::time::advance(limits.answer_within + Duration::from_millis(1)).await;
        for answer in waiting {
            let error = answer.await.expect("no panic").expect_err("too late");
            assert!(matches!(error, BrokerError::NoAnswer { .. }), "{error}");
            assert_eq!(error.effect(), Effect::Unknown);
        }
        drop(blocked);
        settled(&broker).await;
        let view = at_once(broker.line_item(scope, "L")).await.expect("places are free again");
        assert_eq!(view.value.balance.used.to_string(), "4", "what was appended happened once");
    });
}

/// Waits until everything appended so far is durable: behind it in the line, without a permit.
async fn settled(broker: &Broker) {
    struct Signal(oneshot::Sender<()>);
    impl journal::OnDurable for Signal {
        fn settle(self: Box<Self>, _: Result<Sequence, journal::JournalDown>) {
            let _ = self.0.send(()); // Nobody hangs up here.
        }
    }
    let (sender, receiver) = oneshot::channel();
    broker.journal().after_all(Box::new(Signal(sender)));
    receiver.await.expect("the journal settles it");
}

fn request(count: u32) -> Arc<farebox::domain::request::AccessRequest> {
    let item = common::model::Item::new("Draw", "", &count.to_string());
    product::request("somebody", &[item]).expect("a valid count")
}

/// One instance with one line item L, and Draw = 1.
async fn one_line_item(broker: &Broker, quantity: i64) -> farebox::auth::Scope {
    let created = broker.create_instance(product::text("short"), product::text("Acme")).await;
    let scope = product::scope(created.expect("it is created").value.id);
    let table = common::model::RateTable {
        series: "P".to_owned(),
        version: "1".to_owned(),
        effective_from: START_MS,
        items: vec![common::script::rated("Draw=1")],
    };
    broker.publish_rate_table(product::new_table(&table)).await.expect("it is published");
    let terms = common::script::terms(&[&format!("quantity={quantity}")]);
    let terms = product::new_terms("L", &terms, "");
    broker.map_line_item(scope, terms).await.expect("it is mapped");
    scope
}
