//! The tail: whatever is left of a write that had not finished is cut, and nothing else.

use crate::support::{self, *};

/// The images before and after the last batch, and where that batch lies.
struct Torn {
    before: Files,
    after: Files,
    file: String,
    start: usize,
    end: usize,
    kept: u64,
}

fn torn(segment: u64, batches: &[u64], last: u64) -> Torn {
    let (disk, journal) = journal_in(segment, batches);
    let before = image(&disk);
    let kept = journal.last().get();
    extend(&journal, kept, &[last]);
    let (after, file) = (image(&disk), support::segment(segment));
    let (start, end) = extent(&before, &after, &file);
    Torn { before, after, file, start, end, kept }
}

/// In which segment, batches before, and the last record of the torn one: batches of one and of many
/// records, and a torn first batch. The first segment is checked as it is read, others ahead.
const CASES: [(u64, &[u64], u64); 7] = [
    (1, &[1, 4], 5),
    (1, &[1, 4], 12),
    (1, &[], 1),
    (1, &[], 9),
    (2, &[1, 4], 5),
    (2, &[1, 4], 12),
    (2, &[], 9),
];

#[test]
fn a_journal_cut_at_any_byte_of_its_last_batch_holds_exactly_the_batches_before() {
    for (segment, batches, last) in CASES {
        let torn = torn(segment, batches, last);
        let whole = torn.after[&torn.file].iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for cut in torn.start..torn.end {
            let disk = with(&torn.after, &torn.file, |bytes| bytes[cut..].fill(0));
            let kept = if cut >= whole { last } else { torn.kept };
            let reopened = reopen_holding(&disk, kept);
            let reported = reopened.recovered.cut;
            if kept == torn.kept && cut > torn.start {
                let tail = reported.expect("a torn tail is reported");
                assert_eq!((tail.file, tail.offset), (torn.file.clone(), torn.start as u64));
                assert!(tail.bytes <= (cut - torn.start) as u64, "cut={cut}");
            } else {
                assert_eq!(reported, None, "cut={cut}");
            }
        }
    }
}

#[test]
fn a_journal_truncated_at_any_byte_of_its_last_batch_holds_exactly_the_batches_before() {
    for (segment, batches, last) in CASES {
        let torn = torn(segment, batches, last);
        for cut in torn.start..torn.end {
            let disk = with(&torn.after, &torn.file, |bytes| bytes.truncate(cut));
            let reopened = reopen_holding(&disk, torn.kept);
            assert_eq!(reopened.recovered.cut.is_some(), cut > torn.start, "cut={cut}");
        }
    }
}

#[test]
fn a_batch_whose_beginning_never_reached_the_disk_is_cut_too() {
    for (segment, batches, last) in CASES {
        let torn = torn(segment, batches, last);
        for hole in torn.start + 1..torn.end - 8 {
            let start = torn.start;
            let disk = with(&torn.after, &torn.file, |bytes| bytes[start..hole].fill(0));
            let reopened = reopen_holding(&disk, torn.kept);
            let tail = reopened.recovered.cut.expect("a torn tail is reported");
            assert_eq!(tail.offset, start as u64, "hole={hole}");
        }
    }
}

#[test]
fn a_last_batch_with_any_bit_flipped_cannot_be_told_from_a_torn_one() {
    let torn = torn(1, &[1, 4], 6);
    for place in torn.start..torn.end {
        let disk = with(&torn.after, &torn.file, |bytes| flip(bytes, place));
        assert!(reopen_holding(&disk, torn.kept).recovered.cut.is_some(), "place={place}");
    }
}

#[test]
fn garbage_behind_the_last_batch_is_cut() {
    let torn = torn(1, &[1, 4], 6);
    let disk = with(&torn.after, &torn.file, |bytes| bytes[torn.end..].fill(0x5a));
    let tail = reopen_holding(&disk, 6).recovered.cut.expect("reported");
    assert_eq!(tail.offset, torn.end as u64);
    assert_eq!(tail.bytes, (torn.after[&torn.file].len() - torn.end) as u64);
}

#[test]
fn after_a_cut_the_journal_goes_on_and_is_whole() {
    let torn = torn(1, &[1, 4], 9);
    let disk = with(&torn.after, &torn.file, |bytes| bytes[torn.end - 20..].fill(0));
    let first = reopen_holding(&disk, 4);
    assert_eq!(first.recovered.epoch, 2);
    extend(&first.recovered.journal, 4, &[5, 11]);
    let second = reopen_holding(&disk.after_power_cut(0), 11);
    assert_eq!((second.recovered.epoch, second.recovered.cut), (3, None));
}

/// The cut must be durable: a second start must not find the torn bytes again, then followed by a
/// segment in use, and refuse.
#[test]
fn a_power_cut_right_after_a_cut_changes_nothing() {
    let torn = torn(1, &[1, 4], 9);
    let disk = with(&torn.after, &torn.file, |bytes| bytes[torn.end - 20..].fill(0));
    let first = reopen_holding(&disk, 4);
    let second = reopen_holding(&disk.after_power_cut(0), 4);
    assert!(first.recovered.cut.is_some() && second.recovered.cut.is_none());
}

/// A client chooses what is in its records. If that could pass for a batch, a crash at the wrong
/// moment would make an ordinary torn tail look like damage, and the broker would not start.
#[test]
fn a_torn_batch_whose_records_look_like_batches_is_still_a_tail() {
    let foreign = torn(1, &[1, 4], 5);
    let batch = foreign.after[&foreign.file][foreign.start..foreign.end].to_vec();

    let options = farebox::journal::Options { journal: 99, ..small() };
    let disk = farebox::journal::MemoryDisk::new();
    let shared = std::sync::Arc::new(disk.clone());
    let journal = reopen_with(shared, options, None).unwrap().recovered.journal;
    extend(&journal, 0, &[4]);
    let before = image(&disk);
    let answers = Answers::new();
    let mut queue = journal.queue().unwrap();
    let record = [vec![1], batch].concat();
    for _ in 0..8 {
        queue.append(&record, answers.waiter(0)); // Each at another alignment.
    }
    drop(queue);
    (0..8).for_each(|_| assert!(answers.next().1.is_ok()));

    let after = image(&disk);
    let (start, _) = extent(&before, &after, &segment(1));
    let disk = with(&after, &segment(1), |bytes| flip(bytes, start + 50));
    assert_eq!(reopen_holding(&disk, 4).recovered.cut.unwrap().offset, start as u64);
}

/// The first page of a segment is synced before its first batch is written, so a torn one holds
/// nothing that was acknowledged.
#[test]
fn a_first_page_torn_at_any_byte_is_begun_again() {
    let (disk, journal) = journal_with(&[2]);
    drop(journal);
    let before = image(&disk);
    let second = reopen_holding(&disk, 2);
    let after = image(&disk);
    drop(second);
    let page = after[&segment(2)][..PAGE].to_vec();
    assert_ne!(page, before[&segment(2)][..PAGE]);
    for cut in (1..90).chain(PAGE - 4..PAGE) {
        let disk = with(&after, &segment(2), |bytes| bytes[cut..PAGE].fill(0));
        let reopened = reopen_holding(&disk, 2);
        let tail = reopened.recovered.cut.expect("reported");
        assert_eq!((tail.file, tail.offset), (segment(2), 0), "cut={cut}");
        extend(&reopened.recovered.journal, 2, &[3]);
        reopen_holding(&disk.after_power_cut(0), 3);
    }
}

#[test]
fn a_start_that_finds_nothing_torn_reports_nothing() {
    let torn = torn(1, &[1, 4], 9);
    for files in [torn.before, torn.after] {
        let disk = farebox::journal::MemoryDisk::from_files(files);
        assert_eq!(reopen(&disk, None).unwrap().recovered.cut, None);
    }
}
