//! A running journal: order, release of answers, reading back, and the end.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use farebox::domain::ids::Sequence;
use farebox::journal::{Disk, DiskFile, Journal, MemoryDisk, OnDurable};

use crate::support::*;

/// A disk whose syncs of segments in use wait to be let through, one by one.
struct GateDisk {
    memory: MemoryDisk,
    gate: Arc<Gate>,
}

struct Gate {
    arrived: Sender<()>,
    allowed: Mutex<Receiver<()>>,
}

struct GateFile {
    file: Arc<dyn DiskFile>,
    /// `None` while the segment is being prepared.
    gate: Option<Arc<Gate>>,
}

/// The other side: hears of a sync, lets it through.
struct Keeper {
    arrived: Receiver<()>,
    allow: Sender<()>,
}

impl Keeper {
    /// Waits for a sync.
    fn arrives(&self) {
        self.arrived.recv_timeout(HANG).expect("no sync: the journal hangs or forgot it");
    }

    /// Lets one sync through.
    fn allows(&self) {
        self.allow.send(()).expect("the gate hears");
    }
}

impl GateDisk {
    fn new(memory: &MemoryDisk) -> (GateDisk, Keeper) {
        let ((arrived, hears), (allow, allowed)) = (channel(), channel());
        let gate = Arc::new(Gate { arrived, allowed: Mutex::new(allowed) });
        (GateDisk { memory: memory.clone(), gate }, Keeper { arrived: hears, allow })
    }
}

impl Disk for GateDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        // Opened, that is prepared by an earlier start: the one that will be written.
        let (file, gate) = (self.memory.open(name)?, Some(Arc::clone(&self.gate)));
        Ok(Arc::new(GateFile { file, gate }))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GateFile { file: self.memory.create(name)?, gate: None }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.memory.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.memory.sync_dir()
    }
}

impl DiskFile for GateFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            let _ = gate.arrived.send(());
            let _ = gate.allowed.lock().expect("test lock").recv();
        }
        self.file.sync_data()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }
}

/// A journal whose every sync is in our hand; the start's own syncs are let through.
fn gated() -> (MemoryDisk, Journal, Keeper) {
    let (memory, journal) = journal_with(&[]);
    journal.close().expect("it closes");
    drop(journal);
    let (disk, keeper) = GateDisk::new(&memory);
    // The trimmed segment is settled, then the next one's first page.
    (0..2).for_each(|_| keeper.allows());
    let journal = reopen_with(Arc::new(disk), small(), None).expect("it opens").recovered.journal;
    (0..2).for_each(|_| keeper.arrives());
    (memory, journal, keeper)
}

#[test]
fn no_answer_is_released_before_its_sync() {
    let (disk, journal, keeper) = gated();
    let answers = Answers::new();
    journal.queue().unwrap().append(&payload(1), answers.waiter(1));
    keeper.arrives();
    assert_eq!((journal.last().get(), journal.durable().get()), (1, 0));
    assert!(answers.released().is_empty());
    reopen_holding(&disk.after_power_cut(0), 0);
    keeper.allows();
    assert_eq!(answers.next().1.unwrap().get(), 1);
    assert_eq!(journal.durable().get(), 1);
    reopen_holding(&disk.after_power_cut(0), 1);
    drop(keeper); // From now on every sync is let through.
}

#[test]
fn an_answer_without_a_record_waits_for_the_records_it_rests_on() {
    let (_, journal, keeper) = gated();
    let answers = Answers::new();
    journal.after_all(answers.waiter(0));
    assert_eq!(answers.released().len(), 1, "nothing to wait for: at once, on this thread");

    journal.queue().unwrap().append(&payload(1), answers.waiter(1));
    keeper.arrives();
    journal.after_all(answers.waiter(2)); // Rests on 1, which is being synced.
    journal.queue().unwrap().append(&payload(2), answers.waiter(3));
    journal.after_all(answers.waiter(4)); // Rests on 2, which is queued.
    assert!(answers.released().is_empty());

    keeper.allows();
    keeper.arrives(); // The second batch is written; the first is settled.
    let released: Vec<_> = answers.released().into_iter().map(|(tag, _)| tag).collect();
    assert!(released == [1] || released == [1, 2], "{released:?}");
    keeper.allows();
    let rest: Vec<_> = (released.len()..4).map(|_| answers.next()).collect();
    let order: Vec<_> = rest.into_iter().map(|(tag, out)| (tag, out.unwrap().get())).collect();
    let all = [(2, 1), (3, 2), (4, 2)];
    assert_eq!(order, all[released.len() - 1..]);
    drop(keeper);
}

#[test]
fn answers_that_need_no_record_cause_no_write() {
    let (disk, journal, keeper) = gated();
    let answers = Answers::new();
    journal.queue().unwrap().append(&payload(1), answers.waiter(1));
    keeper.arrives();
    (2..50).for_each(|tag| journal.after_all(answers.waiter(tag)));
    let before = image(&disk)[&segment(2)].clone();
    keeper.allows();
    (1..50).for_each(|tag| assert_eq!(answers.next().0, tag));
    assert!(image(&disk)[&segment(2)] == before);
    assert!(keeper.arrived.try_recv().is_err(), "one sync for one record");
    drop(keeper);
}

#[test]
fn what_queues_up_during_one_sync_shares_the_next() {
    let (disk, journal, keeper) = gated();
    let answers = Answers::new();
    journal.queue().unwrap().append(&payload(1), answers.waiter(1));
    keeper.arrives();
    for number in 2..=20 {
        journal.queue().unwrap().append(&payload(number), answers.waiter(number));
    }
    keeper.allows();
    keeper.arrives();
    keeper.allows();
    (1..=20).for_each(|tag| assert_eq!(answers.next().0, tag));
    assert!(keeper.arrived.try_recv().is_err(), "two syncs for twenty records");
    drop(keeper);
    let report =
        farebox::journal::walk(&disk, Sequence::new(1), &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(report.unwrap().batches, 2);
}

/// Records the order of release, on the committer's thread.
struct Released(Arc<Mutex<Vec<u64>>>, Sender<()>);

impl OnDurable for Released {
    fn settle(self: Box<Self>, outcome: Outcome) {
        self.0.lock().expect("test lock").push(outcome.expect("the disk does not fail").get());
        let _ = self.1.send(());
    }
}

#[test]
fn concurrent_appenders_get_places_without_gaps_and_answers_in_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 500;
    let (disk, journal) = journal_with(&[]);
    let released = Arc::new(Mutex::new(Vec::new()));
    let (settled, settlements) = channel();
    let appenders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (journal, released, settled) =
                (journal.clone(), Arc::clone(&released), settled.clone());
            thread::spawn(move || {
                let mut places = Vec::new();
                for number in 0..EACH {
                    let waiter = Box::new(Released(Arc::clone(&released), settled.clone()));
                    let record = format!("{thread} {number}").into_bytes();
                    let mut queue = journal.queue().expect("the journal is up");
                    let place = queue.append(&record, waiter);
                    assert_eq!(queue.last(), place, "nobody else appends under the guard");
                    places.push((place.get(), record));
                }
                places
            })
        })
        .collect();
    let mut expected = BTreeMap::new();
    for appender in appenders {
        let places = appender.join().unwrap();
        assert!(places.is_sorted_by_key(|(place, _)| *place));
        expected.extend(places);
    }
    (0..THREADS * EACH).for_each(|_| settlements.recv_timeout(HANG).unwrap());
    let all: Vec<_> = (1..=THREADS * EACH).collect();
    assert_eq!(*released.lock().unwrap(), all);
    assert_eq!(expected.keys().copied().collect::<Vec<_>>(), all);
    drop(journal);
    let reopened = reopen(&disk.after_power_cut(0), None).unwrap();
    assert_eq!(reopened.records, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_queue_longer_than_a_batch_is_written_as_several() {
    let (disk, journal) = journal_with(&[]);
    commit(&journal, 1..=300).unwrap(); // Some 10 KiB under one guard; 2 KiB a batch.
    let report =
        farebox::journal::walk(&disk, Sequence::new(1), &mut |_, _| ControlFlow::Continue(()));
    let report = report.unwrap();
    assert!(report.batches >= 5 && report.segments >= 2, "{report:?}");
    drop(journal);
    reopen_holding(&disk, 300);
}

#[test]
fn the_longest_record_fits_and_a_longer_one_is_a_bug_of_the_caller() {
    let (disk, journal) = journal_with(&[]);
    let answers = Answers::new();
    let longest = vec![7; small().record_bytes_max()];
    for tag in 0..3 {
        journal.queue().unwrap().append(&longest, answers.waiter(tag));
    }
    (0..3).for_each(|tag| assert_eq!(answers.next().0, tag));
    let longer = vec![7; longest.len() + 1];
    let second = journal.clone();
    let refused = thread::spawn(move || {
        let answers = Answers::new();
        second.queue().unwrap().append(&longer, answers.waiter(0));
    });
    assert!(refused.join().is_err());
    assert_eq!(journal.last().get(), 3, "nothing of it was appended");
    journal.queue().unwrap().append(b"", answers.waiter(4)); // An empty one is one too.
    assert_eq!(answers.next().1.unwrap().get(), 4);
    drop(journal);
    let records = reopen(&disk, None).unwrap().records;
    assert_eq!(records.iter().map(|(_, payload)| payload.len()).sum::<usize>(), 3 * longest.len());
}

fn read(journal: &Journal, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    let each = &mut |sequence: Sequence, payload: &[u8]| {
        records.push((sequence.get(), payload.to_vec()));
        ControlFlow::Continue(())
    };
    journal.read(Sequence::new(from), each).expect("it reads");
    records
}

#[test]
fn every_durable_record_can_be_read_back_while_the_journal_runs() {
    let disk = MemoryDisk::new();
    let options = farebox::journal::Options { segment_bytes: 256 << 10, ..small() };
    let mut last = 0;
    for _ in 0..2 {
        let shared = Arc::new(disk.clone());
        let reopened = reopen_with(shared, options.clone(), None).unwrap();
        let journal = reopened.recovered.journal;
        for _ in 0..200 {
            extend(&journal, last, &[last + 1, last + 30]);
            last += 30;
        }
        for from in [0, 1, 2, 31, 1000, last - 1, last] {
            assert_records(&read(&journal, from), from.max(1), last);
        }
        assert_eq!(read(&journal, last + 1), []);
        let mut seen = 0;
        let stop = &mut |_: Sequence, _: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        journal.read(Sequence::new(77), stop).unwrap();
        assert_eq!(seen, 1);
    }
}

#[test]
fn reading_stops_at_what_is_durable() {
    let (_, journal, keeper) = gated();
    let answers = Answers::new();
    journal.queue().unwrap().append(&payload(1), answers.waiter(1));
    keeper.arrives();
    assert_eq!(read(&journal, 1), []);
    keeper.allows();
    answers.next().1.unwrap();
    assert_records(&read(&journal, 1), 1, 1);
    drop(keeper);
}

#[test]
fn a_flipped_bit_is_seen_when_a_record_is_read_back() {
    let (disk, journal) = journal_with(&[1, 4, 9]);
    let file = disk.open(&segment(1)).unwrap();
    file.write_at(&[0xff], PAGE as u64 + 200).unwrap();
    let error = journal.read(Sequence::new(1), &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().code(), "journal-damaged");
}

#[test]
fn closing_commits_what_is_queued_and_refuses_the_rest() {
    let (disk, journal) = journal_with(&[2]);
    let answers = Answers::new();
    let mut queue = journal.queue().unwrap();
    (3..=40).for_each(|number| {
        queue.append(&payload(number), answers.waiter(number));
    });
    drop(queue);
    let mark = journal.close().unwrap();
    assert_eq!(mark.sequence.get(), 40);
    (3..=40).for_each(|tag| assert_eq!(answers.next().0, tag));
    assert!(journal.queue().is_err());
    assert_eq!(journal.close().unwrap(), mark, "closing twice answers the same");
    journal.after_all(answers.waiter(99));
    assert_eq!(answers.next().1.unwrap().get(), 40);
    assert_records(&read(&journal, 30), 30, 40);
    assert!(journal.failure().borrow().is_none());
    drop(journal);
    reopen_holding(&disk.after_power_cut(0), 40);
}

/// A waiter may own the last handle: its thread must not wait for itself.
#[test]
fn the_last_handle_may_fall_inside_a_waiter() {
    struct Owner(Option<Journal>, Sender<()>);
    impl OnDurable for Owner {
        fn settle(mut self: Box<Self>, _: Outcome) {
            drop(self.0.take());
            let _ = self.1.send(());
        }
    }
    let (_, journal) = journal_with(&[]);
    let (sender, receiver) = channel();
    let owner = Box::new(Owner(Some(journal.clone()), sender));
    let mut queue = journal.queue().unwrap();
    queue.append(b"last", owner);
    drop(queue);
    drop(journal);
    receiver.recv_timeout(HANG).unwrap();
}

/// A waiter that panics is a bug; the others must hear of it rather than wait for ever.
#[test]
fn a_waiter_that_panics_brings_the_journal_down() {
    struct Broken;
    impl OnDurable for Broken {
        fn settle(self: Box<Self>, _: Outcome) {
            panic!("a bug");
        }
    }
    let (_, journal) = journal_with(&[]);
    let mut failure = journal.failure();
    journal.queue().unwrap().append(b"one", Box::new(Broken));
    while failure.borrow_and_update().is_none() {
        thread::yield_now();
    }
    assert!(journal.queue().is_err());
}
