//! Starts: what is replayed, what a watermark changes, what is made anew.

use std::ops::ControlFlow;
use std::sync::Arc;

use farebox::domain::ids::Sequence;
use farebox::journal::{Extent, Mark, MemoryDisk, Options, Room, walk};

use crate::support::*;

#[test]
fn a_new_journal_is_empty_and_takes_records() {
    let disk = MemoryDisk::new();
    let reopened = reopen_holding(&disk, 0);
    let journal = reopened.recovered.journal;
    assert_eq!((journal.epoch(), journal.last().get(), journal.durable().get()), (1, 0, 0));
    assert_eq!(journal.durable_mark(), Mark::beginning(JOURNAL_ID));
    assert_eq!(journal.room(), Room::Enough);
    assert_eq!(reopened.after, [0]);
    extend(&journal, 0, &[1]);
    assert_eq!(journal.durable().get(), 1);
}

#[test]
fn every_start_is_a_new_epoch_and_goes_on_counting() {
    let disk = MemoryDisk::new();
    for start in 0..5 {
        let reopened = reopen_holding(&disk, start * 3);
        assert_eq!(reopened.recovered.epoch, start + 1);
        extend(&reopened.recovered.journal, start * 3, &[start * 3 + 1, start * 3 + 3]);
        if start % 2 == 0 {
            let mark = reopened.recovered.journal.close().unwrap();
            assert_eq!(mark, reopened.recovered.journal.durable_mark());
        }
    }
}

#[test]
fn starts_without_a_record_do_no_harm() {
    let disk = MemoryDisk::new();
    for epoch in 1..6 {
        assert_eq!(reopen_holding(&disk, 0).recovered.epoch, epoch);
    }
    extend(&reopen_holding(&disk, 0).recovered.journal, 0, &[2]);
    for epoch in 7..10 {
        assert_eq!(reopen_holding(&disk, 2).recovered.epoch, epoch);
    }
    let unused = image(&disk).values().filter(|bytes| bytes.len() > PAGE).count();
    assert!(unused <= 5, "what no batch needs is given back");
}

#[test]
fn only_the_records_above_a_known_watermark_are_replayed() {
    let (disk, journal) = journal_with(&[1, 4]);
    let watermark = journal.durable_mark();
    extend(&journal, 4, &[5, 7]);
    drop(journal);
    let reopened = reopen(&disk, Some(watermark)).unwrap();
    assert!(reopened.recovered.known_mark_matches);
    assert_eq!((reopened.after, reopened.recovered.replayed), (vec![4], 3));
    assert_records(&reopened.records, 5, 7);
}

#[test]
fn a_watermark_that_the_journal_does_not_know_is_ignored_and_everything_replayed() {
    let (disk, journal) = journal_with(&[1, 4, 7]);
    let mark = journal.durable_mark();
    let strangers = [
        Mark { hash: [7; 32], ..mark },
        Mark { epoch: 2, ..mark },
        Mark { sequence: Sequence::new(4), ..mark },
        Mark { sequence: Sequence::new(3), ..mark }, // Not the end of a batch.
        Mark::beginning(99),
    ];
    drop(journal);
    for stranger in strangers {
        let reopened = reopen(&disk.after_kill(), Some(stranger)).unwrap();
        assert!(!reopened.recovered.known_mark_matches);
        assert_eq!(reopened.after, [0]);
        assert_records(&reopened.records, 1, 7);
    }
}

#[test]
fn the_mark_of_every_batch_is_known_again_after_a_restart() {
    let (disk, journal) = journal_with(&[]);
    let mut marks = vec![journal.durable_mark()];
    for last in 1..=60 {
        extend(&journal, last - 1, &[last]);
        marks.push(journal.durable_mark());
    }
    drop(journal);
    for mark in marks {
        let options = Options { extent: Extent::AboveWatermark, ..small() };
        for options in [small(), options] {
            let disk = Arc::new(disk.after_kill());
            let reopened = reopen_with(disk, options, Some(mark)).unwrap();
            assert!(reopened.recovered.known_mark_matches, "{mark:?}");
            assert_records(&reopened.records, mark.sequence.get() + 1, 60);
        }
    }
}

/// Reading less at the start must not make less readable.
#[test]
fn a_start_that_reads_above_the_watermark_only_can_still_read_everything() {
    let (disk, journal) = journal_with(&[]);
    (1..=200).for_each(|last| extend(&journal, last - 1, &[last]));
    let mark = journal.durable_mark();
    drop(journal);
    let options = Options { extent: Extent::AboveWatermark, ..small() };
    let reopened = reopen_with(Arc::new(disk.clone()), options, Some(mark)).unwrap();
    let journal = reopened.recovered.journal;
    extend(&journal, 200, &[201]);
    for from in [0, 1, 50, 120, 199, 201] {
        let mut records = Vec::new();
        let read = journal.read(Sequence::new(from), &mut |sequence, payload| {
            records.push((sequence.get(), payload.to_vec()));
            ControlFlow::Continue(())
        });
        read.unwrap();
        assert_records(&records, from.max(1), 201);
    }
}

#[test]
fn segments_prepared_before_a_crash_are_used_after_it() {
    let options = Options { prepared_segments: 4, ..small() };
    let disk = MemoryDisk::new();
    for epoch in 1..4 {
        let shared = Arc::new(disk.clone());
        let reopened = reopen_with(shared, options.clone(), None).unwrap();
        assert_eq!(reopened.recovered.epoch, epoch);
        while !image(&disk).contains_key(&segment(epoch + 4)) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn prepared_segments_of_another_length_are_made_anew() {
    let (disk, journal) = journal_with(&[3]);
    drop(journal);
    let options = Options { segment_bytes: 16 << 10, ..small() };
    let journal = reopen_with(Arc::new(disk.clone()), options, None).unwrap().recovered.journal;
    extend(&journal, 3, &[5]);
    assert_eq!(image(&disk)[&segment(2)].len(), 16 << 10);
    drop(journal);
    reopen_holding(&disk, 5);
}

#[test]
fn what_was_left_unfinished_is_removed_and_strange_files_are_left_alone() {
    let (disk, journal) = journal_with(&[3]);
    drop(journal);
    let mut files = image(&disk);
    files.insert(format!("{}.unfinished", segment(9)), vec![1; 100]);
    files.insert("notes.txt".to_owned(), b"mine".to_vec());
    files.insert("7.segment".to_owned(), b"not ours".to_vec());
    let disk = MemoryDisk::from_files(files);
    let _journal = reopen_holding(&disk, 3);
    let files = image(&disk);
    assert!(!files.contains_key(&format!("{}.unfinished", segment(9))));
    assert!(files.contains_key("notes.txt") && files.contains_key("7.segment"));
}

#[test]
fn a_record_that_its_owner_cannot_take_ends_the_start() {
    let (disk, journal) = journal_with(&[1, 4]);
    drop(journal);
    let mut refuse = |sequence: Sequence, _: &[u8]| match sequence.get() {
        3 => Err("line item 9 is not known".to_owned()),
        _ => Ok(()),
    };
    let known = farebox::journal::Known::default();
    let shared = Arc::new(disk.clone());
    let opened = farebox::journal::Journal::open(shared, small(), known, &mut refuse);
    let Err(error) = opened else { panic!("it opened") };
    assert_eq!(error.code(), "journal-replay");
    assert_eq!(error.to_string(), "record 3 cannot be replayed: line item 9 is not known");
    reopen_holding(&disk, 4);
}

#[test]
fn a_walk_beside_a_running_journal_reads_what_is_durable_and_changes_nothing() {
    let (disk, journal) = journal_with(&[1, 4, 9]);
    let before = image(&disk)[&segment(1)].clone();
    assert_records(&walked(&disk), 1, 9);
    assert!(image(&disk)[&segment(1)] == before);
    let report = walk(&disk, Sequence::new(3), &mut |sequence, _| {
        if sequence.get() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(report.unwrap().records, 5);
    let report = walk(&disk, Sequence::new(1), &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.segments, report.batches, report.records), (1, 3, 9));
    assert_eq!((report.last, report.torn_tail), (Some(journal.durable_mark()), None));
    assert_eq!(report.journal, Some(JOURNAL_ID));
}

#[test]
fn a_walk_reports_a_torn_tail_and_cuts_nothing() {
    let (disk, journal) = journal_with(&[1, 4]);
    let before = image(&disk);
    extend(&journal, 4, &[9]);
    let (start, end) = extent(&before, &image(&disk), &segment(1));
    let disk = with(&image(&disk), &segment(1), |bytes| bytes[end - 16..].fill(0));
    let before = image(&disk);
    let report = walk(&disk, Sequence::new(1), &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.records, report.torn_tail.unwrap().offset), (4, start as u64));
    assert!(image(&disk) == before);
    let nothing = walk(&MemoryDisk::new(), Sequence::new(1), &mut |_, _| unreachable!());
    assert_eq!(nothing.unwrap().last, None);
}
