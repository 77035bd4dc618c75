//! Failing disks: any call may fail, once or for ever. What was acknowledged is there after a
//! restart, nothing is acknowledged after the failure, and no failed sync is tried again.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use farebox::domain::ids::Sequence;
use farebox::journal::{Disk, DiskFile, Journal, JournalDown, Known, MemoryDisk, Room, walk};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Eio,
    Enospc,
    /// Half is written, then the call fails.
    Short,
    /// All but the first 24 bytes are written, then the call fails.
    Torn,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The number of the call, from 0, that fails.
    at: usize,
    kind: Kind,
    forever: bool,
}

/// A disk in memory with one fault. Calls that change something are counted.
#[derive(Clone, Default)]
struct FaultyDisk {
    memory: MemoryDisk,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// What was called, in order.
    calls: Vec<String>,
    failed: usize,
    /// The disk is full: nothing can be created.
    no_new_files: bool,
    /// The disk is slow: whoever creates something waits until this is over.
    is_slow: bool,
    /// The next sync of this file fails, and only that.
    fail_next_sync_of: Option<String>,
    /// Nothing but the first page of this file can be read.
    unreadable: Option<String>,
    /// Files whose sync has failed: nobody may sync or write them again.
    poisoned: BTreeSet<String>,
    broken: Vec<String>,
}

struct FaultyFile {
    name: Arc<Mutex<String>>,
    file: Arc<dyn DiskFile>,
    disk: FaultyDisk,
}

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("test lock")
    }

    /// Counts a call; answers how it is to fail.
    fn call(&self, what: &str, name: &str) -> Option<Kind> {
        let mut state = self.state();
        let number = state.calls.len();
        state.calls.push(format!("{what} {name}"));
        if matches!(what, "write" | "sync") && state.poisoned.contains(name) {
            state.broken.push(format!("{what} {name} after its sync had failed"));
        }
        let named = what == "sync" && state.fail_next_sync_of.as_deref() == Some(name);
        let kind = match state.fault {
            _ if named => Kind::Eio,
            Some(fault) if number == fault.at || (fault.forever && number > fault.at) => fault.kind,
            Some(_) | None => return None,
        };
        if named {
            state.fail_next_sync_of = None;
        }
        state.failed += 1;
        if what == "sync" {
            state.poisoned.insert(name.to_owned());
            self.memory.forget_unsynced(name);
        }
        Some(kind)
    }

    fn checked(&self, what: &str, name: &str) -> io::Result<()> {
        self.call(what, name).map_or(Ok(()), |kind| Err(error(kind)))
    }

    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let name = Arc::new(Mutex::new(name.trim_end_matches(".unfinished").to_owned()));
        Arc::new(FaultyFile { name, file, disk: self.clone() })
    }
}

fn error(kind: Kind) -> io::Error {
    match kind {
        Kind::Enospc => io::ErrorKind::StorageFull.into(),
        Kind::Eio | Kind::Short | Kind::Torn => io::Error::other("simulated failure"),
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.memory.open(name)?))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.checked("create", name)?;
        while self.state().is_slow {
            std::thread::yield_now();
        }
        if self.state().no_new_files {
            return Err(error(Kind::Enospc));
        }
        // A new file has nothing to do with one of its name that failed.
        self.state().poisoned.remove(name.trim_end_matches(".unfinished"));
        Ok(self.file(name, self.memory.create(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.checked("rename", from)?;
        self.memory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.checked("remove", name)?;
        self.memory.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.checked("sync-dir", ".")?;
        self.memory.sync_dir()
    }
}

impl FaultyFile {
    fn name(&self) -> String {
        self.name.lock().expect("test lock").clone()
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if buffer.len() > PAGE && self.disk.state().unreadable.as_deref() == Some(&self.name()) {
            return Err(error(Kind::Eio));
        }
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(kind) = self.disk.call("write", &self.name()) else {
            return self.file.write_at(bytes, offset);
        };
        match kind {
            Kind::Eio | Kind::Enospc => {}
            Kind::Short => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                self.file.write_at(half, offset)?;
            }
            Kind::Torn => {
                let rest = bytes.get(24..).unwrap_or_default();
                self.file.write_at(rest, offset + 24)?;
            }
        }
        Err(error(kind))
    }
    fn sync_data(&self) -> io::Result<()> {
        match self.disk.call("sync", &self.name()) {
            None => self.file.sync_data(),
            Some(kind) => Err(error(kind)),
        }
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.checked("set-length", &self.name())?;
        self.file.set_length(length)
    }
}

/// Opens, commits batches of one and of many over several segments, and stops. Answers the last
/// record acknowledged and the last appended.
fn script(disk: &FaultyDisk) -> (u64, u64) {
    let (mut acknowledged, mut appended, mut down) = (0, 0, false);
    for _ in 0..2 {
        let shared = Arc::new(disk.clone());
        let ignore = &mut |_: farebox::domain::ids::Sequence, _: &[u8]| Ok(());
        let Ok(recovered) = Journal::open(shared, small(), Known::default(), ignore) else {
            return (acknowledged, appended);
        };
        let journal = recovered.journal;
        let from = recovered.last.get();
        assert!(from >= acknowledged, "a restart lost what was acknowledged");
        acknowledged = from; // It is answered from now on.
        appended = from;
        for size in [1, 3, 40, 1, 30, 2] {
            let (first, last) = (appended + 1, appended + size);
            if journal.queue().is_ok() {
                appended = last;
            }
            let outcome = commit(&journal, first..=last);
            assert!(!(down && outcome.is_ok()), "acknowledged after a failure");
            match outcome {
                Ok(()) => acknowledged = appended,
                Err(_) => down = true,
            }
        }
        assert_eq!(down, journal.failure().borrow().is_some(), "the watch says so");
        assert_eq!(down, journal.queue().is_err(), "the queue refuses");
        if down || journal.close().is_err() {
            break;
        }
    }
    (acknowledged, appended)
}

fn survives(image: &MemoryDisk, acknowledged: u64, appended: u64, what: &str) {
    let reopened = match reopen(image, None) {
        Ok(reopened) => reopened,
        Err(error) => panic!("{what}: does not open: {error}"),
    };
    let last = reopened.recovered.last.get();
    assert!(last >= acknowledged, "{what}: {acknowledged} acknowledged, {last} survived");
    assert!(last <= appended, "{what}: {appended} appended, {last} found");
    assert_records(&reopened.records, 1, last);
    // What was replayed is answered from now on, so it must survive the next power cut.
    let reopened = reopen(&image.after_power_cut(0), None).expect("it opened before");
    assert_eq!(reopened.recovered.last.get(), last, "{what}: replayed, then lost");
}

#[test]
fn whatever_call_fails_nothing_acknowledged_is_lost_and_no_failed_sync_is_repeated() {
    let calm = FaultyDisk::default();
    let (acknowledged, appended) = script(&calm);
    assert_eq!(acknowledged, appended);
    let calls = calm.state().calls.len();
    assert!(calls > 60, "the script does something: {calls} calls");
    let mut injected = 0;
    for at in 0..calls {
        for kind in [Kind::Eio, Kind::Enospc, Kind::Short, Kind::Torn] {
            for forever in [false, true] {
                let fault = Fault { at, kind, forever };
                let disk = FaultyDisk::default();
                disk.state().fault = Some(fault);
                let (acknowledged, appended) = script(&disk);
                injected += disk.state().failed;
                let broken = disk.state().broken.clone();
                assert_eq!(broken, Vec::<String>::new(), "{fault:?}");
                for torn in [0, 1, 100, usize::MAX] {
                    let left = disk.memory.after_power_cut(torn);
                    survives(&left, acknowledged, appended, &format!("{fault:?} torn {torn}"));
                }
                let left = disk.memory.after_kill();
                survives(&left, acknowledged, appended, &format!("{fault:?} killed"));
                // And the disk itself, which will not write what a failed sync has lost.
                survives(&disk.memory, acknowledged, appended, &format!("{fault:?} same disk"));
            }
        }
    }
    println!("{calls} calls, {injected} failures injected");
}

#[test]
fn a_power_cut_after_any_batch_keeps_it_whatever_was_torn_behind_it() {
    let (disk, journal) = journal_with(&[]);
    for last in 1..=80 {
        extend(&journal, last - 1, &[last]);
        for torn in [0, 50] {
            survives(&disk.after_power_cut(torn), last, last, &format!("after {last}"));
        }
    }
}

/// A journal of two batches, and a third whose sync fails, everything else being well.
fn failing_sync() -> (FaultyDisk, Journal, JournalDown) {
    let disk = FaultyDisk::default();
    let opened = reopen_with(Arc::new(disk.clone()), small(), None);
    let journal = opened.expect("it opens").recovered.journal;
    extend(&journal, 0, &[1, 2]);
    disk.state().fail_next_sync_of = Some(segment(1));
    let down = commit(&journal, 3..=3).expect_err("its sync fails");
    (disk, journal, down)
}

#[test]
fn after_one_failed_sync_everything_is_refused_although_the_next_would_succeed() {
    let (disk, journal, down) = failing_sync();
    assert_eq!(down.code(), "journal-down");
    assert!(down.cause().contains(&segment(1)) && down.cause().contains("at byte"), "{down}");
    assert!(journal.queue().is_err());
    let answers = Answers::new();
    journal.after_all(answers.waiter(1));
    assert!(answers.next().1.is_err(), "an answer that rests on lost records is not given");
    assert!(journal.failure().borrow().is_some());
    assert!(journal.close().is_err());
    assert!(!image(&disk.memory).contains_key("end"), "this was no clean stop");
    assert_eq!(disk.state().failed, 1);
    assert_eq!(disk.state().broken, Vec::<String>::new());
}

/// After a failed sync the system shows pages as clean that never reached the disk. A restart
/// reads them and answers rest on them: they must be written again, not merely synced.
#[test]
fn what_a_restart_reads_after_a_failed_sync_is_written_again() {
    let (disk, journal, _) = failing_sync();
    drop(journal);
    assert_eq!(reopen(&disk.memory.after_power_cut(0), None).unwrap().recovered.last.get(), 2);
    let second = reopen_holding(&disk.memory, 3);
    assert_eq!(second.recovered.epoch, 2);
    reopen_holding(&disk.memory.after_power_cut(0), 3);
}

#[test]
fn a_segment_that_cannot_be_read_is_told_once_those_before_it_were_shown() {
    let disk = FaultyDisk::default();
    for first in [0, 3, 6] {
        let shared = Arc::new(disk.clone());
        let journal = reopen_with(shared, small(), None).unwrap().recovered.journal;
        extend(&journal, first, &[first + 1, first + 3]);
    }
    for (index, records) in [(1, 0), (2, 3), (3, 6)] {
        disk.state().unreadable = Some(segment(index));
        let mut shown = Vec::new();
        let failed = walk(&disk, Sequence::ZERO, &mut |sequence, _| {
            shown.push(sequence.get());
            ControlFlow::Continue(())
        });
        let failed = failed.unwrap_err();
        assert_eq!(failed.code(), "journal-io");
        assert!(failed.to_string().contains(&segment(index)), "{failed}");
        assert_eq!(shown, (1..=records).collect::<Vec<_>>());
    }
}

#[test]
fn a_start_without_room_says_how_much_is_missing() {
    let disk = FaultyDisk::default();
    disk.state().fault = Some(Fault { at: 2, kind: Kind::Enospc, forever: true });
    let Err(error) = reopen_with(Arc::new(disk.clone()), small(), None) else {
        panic!("it opened without room")
    };
    assert_eq!(error.code(), "journal-no-room");
    assert!(error.to_string().starts_with("no room for `0000000001.segment`, 8192 bytes: free"));
}

#[test]
fn want_of_room_is_seen_before_it_hurts_and_ends_when_there_is_space_again() {
    let disk = FaultyDisk::default();
    let shared = Arc::new(disk.clone());
    let journal = reopen_with(shared, small(), None).unwrap().recovered.journal;
    assert_eq!(journal.room(), Room::Enough);
    disk.state().no_new_files = true; // A full disk does not keep anyone from overwriting.
    let mut last = 0;
    while journal.room() == Room::Enough {
        last += 1;
        extend(&journal, last - 1, &[last]);
        std::thread::yield_now();
    }
    extend(&journal, last, &[last + 1]); // What must be written still can be.
    disk.state().no_new_files = false;
    while journal.room() != Room::Enough {
        std::thread::yield_now();
    }
    extend(&journal, last + 1, &[last + 2]);
    survives(&disk.memory.after_power_cut(0), last + 2, last + 2, "after want of room");
}

#[test]
fn a_segment_that_is_late_is_waited_for_and_is_no_want_of_room() {
    for full in [false, true] {
        let disk = FaultyDisk::default();
        let shared = Arc::new(disk.clone());
        let journal = reopen_with(shared, small(), None).unwrap().recovered.journal;
        disk.state().is_slow = true;
        let mut last = 0;
        while journal.room() == Room::Enough {
            last += 1;
            extend(&journal, last - 1, &[last]);
        }
        let mut secured = pin!(journal.secured_room());
        let poll = secured.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending(), "nobody knows yet");
        {
            let mut state = disk.state();
            (state.no_new_files, state.is_slow) = (full, false);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(secured), !full);
    }
}

#[test]
fn without_any_segment_left_the_journal_stops_and_loses_nothing() {
    let disk = FaultyDisk::default();
    let shared = Arc::new(disk.clone());
    let journal = reopen_with(shared, small(), None).unwrap().recovered.journal;
    disk.state().no_new_files = true;
    let mut last = 0;
    let down = loop {
        match commit(&journal, last + 1..=last + 1) {
            Ok(()) => last += 1,
            Err(down) => break down,
        }
    };
    assert!(down.cause().starts_with("preparing a segment: `"), "{down}");
    assert!(last > 50, "what was prepared is used up first");
    survives(&disk.memory.after_power_cut(0), last, last, "out of segments");
}
