//! What the journal's tests share: small journals, waiters that report, and images of a disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use farebox::domain::ids::Sequence;
use farebox::journal::{
    Disk, Journal, JournalDown, Known, Mark, MemoryDisk, OnDurable, OpenError, Options, Recovered,
    walk,
};

pub(crate) const JOURNAL_ID: u128 = 0x5eed;
/// The first page of a segment: batches follow.
pub(crate) const PAGE: usize = 4096;
/// Only a hang waits so long.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) type Files = BTreeMap<String, Vec<u8>>;
pub(crate) type Outcome = Result<Sequence, JournalDown>;

/// Small segments: 4 KiB of batches each.
pub(crate) fn small() -> Options {
    Options {
        segment_bytes: 8192,
        batch_bytes_max: 2048,
        prepare_retry: Duration::from_millis(1),
        ..Options::new(JOURNAL_ID)
    }
}

/// Where answers go: the tag of each, and its outcome, in the order of release.
pub(crate) struct Answers {
    sender: Sender<(u64, Outcome)>,
    receiver: Receiver<(u64, Outcome)>,
}

struct Answer {
    tag: u64,
    sender: Sender<(u64, Outcome)>,
}

impl OnDurable for Answer {
    fn settle(self: Box<Self>, outcome: Outcome) {
        let _ = self.sender.send((self.tag, outcome));
    }
}

impl Answers {
    pub(crate) fn new() -> Answers {
        let (sender, receiver) = channel();
        Answers { sender, receiver }
    }

    pub(crate) fn waiter(&self, tag: u64) -> Box<dyn OnDurable> {
        Box::new(Answer { tag, sender: self.sender.clone() })
    }

    /// Waits for the next answer.
    pub(crate) fn next(&self) -> (u64, Outcome) {
        self.receiver.recv_timeout(HANG).expect("no answer: the journal hangs")
    }

    /// What has been released so far.
    pub(crate) fn released(&self) -> Vec<(u64, Outcome)> {
        self.receiver.try_iter().collect()
    }
}

/// A record's bytes: told apart by number, never zero at the end.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 7).expect("small") * 5 + 3;
    let mut bytes = format!("record {number} ").into_bytes();
    bytes.extend(std::iter::repeat_n(0xab, length));
    bytes
}

/// One batch of records `first ..= last`, durable when this returns.
pub(crate) fn commit(
    journal: &Journal,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<(), JournalDown> {
    let answers = Answers::new();
    let mut queue = journal.queue()?;
    for number in numbers.clone() {
        let sequence = queue.append(&payload(number), answers.waiter(number));
        assert_eq!(sequence.get(), number, "the journal counts without gaps");
    }
    drop(queue);
    for number in numbers {
        let (tag, outcome) = answers.next();
        assert_eq!(tag, number, "answers come in order");
        outcome?;
    }
    Ok(())
}

/// What a start found: the records replayed.
pub(crate) struct Reopened {
    pub(crate) recovered: Recovered,
    pub(crate) after: Vec<u64>,
    pub(crate) records: Vec<(u64, Vec<u8>)>,
}

struct Collect {
    after: Vec<u64>,
    records: Vec<(u64, Vec<u8>)>,
}

impl farebox::journal::Replay for Collect {
    fn begin(&mut self, after: Sequence) {
        self.after.push(after.get());
    }

    fn record(&mut self, sequence: Sequence, payload: &[u8]) -> Result<(), String> {
        self.records.push((sequence.get(), payload.to_vec()));
        Ok(())
    }
}

pub(crate) fn reopen_with(
    disk: Arc<dyn Disk>,
    options: Options,
    watermark: Option<Mark>,
) -> Result<Reopened, OpenError> {
    let mut collect = Collect { after: Vec::new(), records: Vec::new() };
    let recovered = Journal::open(disk, options, Known { watermark }, &mut collect)?;
    let Collect { after, records } = collect;
    Ok(Reopened { recovered, after, records })
}

pub(crate) fn reopen(disk: &MemoryDisk, watermark: Option<Mark>) -> Result<Reopened, OpenError> {
    reopen_with(Arc::new(disk.clone()), small(), watermark)
}

/// Opens what must open, and must hold exactly the records 1 ..= last.
pub(crate) fn reopen_holding(disk: &MemoryDisk, last: u64) -> Reopened {
    let reopened = reopen(disk, None).expect("the journal opens");
    assert_records(&reopened.records, 1, last);
    assert_eq!(reopened.recovered.last.get(), last);
    reopened
}

pub(crate) fn assert_records(records: &[(u64, Vec<u8>)], first: u64, last: u64) {
    let expected: Vec<_> = (first..=last).map(|number| (number, payload(number))).collect();
    assert_eq!(records, expected);
}

/// A new journal in memory, with the batches that end at these records.
pub(crate) fn journal_with(batches: &[u64]) -> (MemoryDisk, Journal) {
    let disk = MemoryDisk::new();
    let journal = reopen(&disk, None).expect("a new journal opens").recovered.journal;
    extend(&journal, 0, batches);
    (disk, journal)
}

/// The same, all of it in this segment: those before have no batch.
pub(crate) fn journal_in(segment: u64, batches: &[u64]) -> (MemoryDisk, Journal) {
    let (disk, mut journal) = journal_with(&[]);
    for _ in 1..segment {
        drop(journal);
        journal = reopen_holding(&disk, 0).recovered.journal;
    }
    extend(&journal, 0, batches);
    (disk, journal)
}

/// Batches that end at these records, after the record `from`.
pub(crate) fn extend(journal: &Journal, mut from: u64, batches: &[u64]) {
    for last in batches {
        commit(journal, from + 1..=*last).expect("the disk does not fail");
        from = *last;
    }
}

/// The files as a kill leaves them now.
pub(crate) fn image(disk: &MemoryDisk) -> Files {
    disk.after_kill().files()
}

pub(crate) fn segment(index: u64) -> String {
    format!("{index:010}.segment")
}

/// Where a batch begins and ends: the only bytes that differ between the images before and after.
pub(crate) fn extent(before: &Files, after: &Files, file: &str) -> (usize, usize) {
    let [before, after] =
        [before, after].map(|files| files.get(file).expect("the segment is there"));
    let differs = |(a, b): (&u8, &u8)| a != b;
    let first = before.iter().zip(after).position(differs).expect("a batch was written");
    let last = before.iter().zip(after).rposition(differs).expect("a batch was written");
    (first / 8 * 8, (last + 1).next_multiple_of(8))
}

/// A disk with one file changed.
pub(crate) fn with(files: &Files, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> MemoryDisk {
    let mut files = files.clone();
    change(files.get_mut(file).expect("the file is there"));
    MemoryDisk::from_files(files)
}

/// Flips one bit, another for each byte.
pub(crate) fn flip(bytes: &mut [u8], place: usize) {
    *bytes.get_mut(place).expect("inside the file") ^= 1 << (place % 8);
}

/// The code of the refusal, the file and the offset it names. Refusing must not touch the files.
pub(crate) fn refusal(disk: &MemoryDisk, watermark: Option<Mark>) -> (&'static str, String, u64) {
    let before = image(disk);
    let Err(error) = reopen(disk, watermark) else { panic!("it opened: damage was passed over") };
    assert!(image(disk) == before, "a journal that is refused is not touched");
    let (file, offset) = place(&error);
    assert!(error.to_string().contains(&file), "the message names the file: {error}");
    (error.code(), file, offset)
}

pub(crate) fn place(error: &OpenError) -> (String, u64) {
    match error {
        OpenError::Damaged { file, offset, .. } => (file.clone(), *offset),
        OpenError::MissingSegment { file, .. }
        | OpenError::OtherFormat { file, .. }
        | OpenError::OtherJournal { file, .. }
        | OpenError::NoRoom { file, .. }
        | OpenError::Io { file, .. } => (file.clone(), 0),
        other @ (OpenError::Replay { .. } | _) => panic!("unexpected: {other}"),
    }
}

/// All records that a read-only walk finds.
pub(crate) fn walked(disk: &dyn Disk) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    walk(disk, Sequence::new(1), &mut |sequence, payload| {
        records.push((sequence.get(), payload.to_vec()));
        ControlFlow::Continue(())
    })
    .expect("the journal is intact");
    records
}
