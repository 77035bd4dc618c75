//! Damage: what was durable and has changed or is gone is never passed over. Each case names the
//! place, and the files stay as they were.

use std::ops::ControlFlow;

use farebox::domain::ids::Sequence;
use farebox::journal::{MemoryDisk, Options, walk};

use crate::support::*;

const DAMAGED: &str = "journal-damaged";

#[test]
fn a_flipped_bit_anywhere_in_a_batch_that_a_later_one_follows_is_refused() {
    for index in [1, 2] {
        let (disk, journal) = journal_in(index, &[1]);
        let before = image(&disk);
        extend(&journal, 1, &[4]);
        let (start, end) = extent(&before, &image(&disk), &segment(index));
        extend(&journal, 4, &[5]);
        for place in start..end {
            let disk = with(&image(&disk), &segment(index), |bytes| flip(bytes, place));
            let expected = (DAMAGED, segment(index), start as u64);
            assert_eq!(refusal(&disk, None), expected, "place={place}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_of_a_segment_that_another_follows_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    let before = image(&disk);
    extend(&journal, 1, &[2]);
    let (start, end) = extent(&before, &image(&disk), &segment(1));
    drop(journal);
    let _second = reopen_holding(&disk, 2); // Begins segment 2, with no batch in it.
    for place in start..end {
        let disk = with(&image(&disk), &segment(1), |bytes| flip(bytes, place));
        assert_eq!(refusal(&disk, None), (DAMAGED, segment(1), start as u64), "place={place}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_segments_first_page_is_refused() {
    let (disk, journal) = journal_with(&[1, 3]);
    let files = image(&disk);
    drop(journal);
    for place in 0..PAGE {
        let disk = with(&files, &segment(1), |bytes| flip(bytes, place));
        assert_eq!(refusal(&disk, None), (DAMAGED, segment(1), 0), "place={place}");
    }
}

#[test]
fn an_erased_first_page_or_batch_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    let before = image(&disk);
    extend(&journal, 1, &[4]);
    let (start, end) = extent(&before, &image(&disk), &segment(1));
    extend(&journal, 4, &[5]);
    let files = image(&disk);
    let page = with(&files, &segment(1), |bytes| bytes[..PAGE].fill(0));
    assert_eq!(refusal(&page, None), (DAMAGED, segment(1), 0));
    let batch = with(&files, &segment(1), |bytes| bytes[start..end].fill(0));
    assert_eq!(refusal(&batch, None), (DAMAGED, segment(1), start as u64));
}

#[test]
fn a_cut_below_the_snapshots_watermark_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    let before = image(&disk);
    extend(&journal, 1, &[4]);
    let (start, end) = extent(&before, &image(&disk), &segment(1));
    let watermark = Some(journal.durable_mark());
    for cut in start..end - 8 {
        let disk = with(&image(&disk), &segment(1), |bytes| bytes[cut..].fill(0));
        assert_eq!(refusal(&disk, watermark), (DAMAGED, segment(1), start as u64), "cut={cut}");
    }
    let empty = MemoryDisk::new();
    assert_eq!(refusal(&empty, watermark).0, DAMAGED);
}

#[test]
fn a_cut_below_the_last_clean_stop_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    let before = image(&disk);
    extend(&journal, 1, &[4]);
    let (start, _) = extent(&before, &image(&disk), &segment(1));
    journal.close().unwrap();
    let files = image(&disk);
    let length = files[&segment(1)].len();
    for cut in start..length {
        let disk = with(&files, &segment(1), |bytes| bytes.truncate(cut));
        assert_eq!(refusal(&disk, None), (DAMAGED, segment(1), start as u64), "cut={cut}");
    }
    reopen_holding(&disk, 4);
}

/// Three segments with two batches each, the last one stopped cleanly or not.
fn three_segments() -> (MemoryDisk, farebox::journal::Mark) {
    let (disk, journal) = journal_with(&[1, 3]);
    drop(journal);
    let journal = reopen_holding(&disk, 3).recovered.journal;
    extend(&journal, 3, &[4, 6]);
    drop(journal);
    let journal = reopen_holding(&disk, 6).recovered.journal;
    extend(&journal, 6, &[7, 9]);
    let mark = journal.durable_mark();
    (disk, mark)
}

#[test]
fn what_stands_before_a_flipped_bit_is_shown_in_whichever_segment_it_is() {
    let (disk, _) = three_segments();
    let files = image(&disk);
    for (index, records) in [(1, 0), (2, 3), (3, 6)] {
        // The first batch: another of the same segment follows.
        let disk = with(&files, &segment(index), |bytes| flip(bytes, PAGE + 9));
        let mut shown = Vec::new();
        let refused = walk(&disk, Sequence::ZERO, &mut |sequence, _| {
            shown.push(sequence.get());
            ControlFlow::Continue(())
        });
        assert_eq!(refused.unwrap_err().code(), DAMAGED);
        assert_eq!(shown, (1..=records).collect::<Vec<_>>());
        assert_eq!(refusal(&disk, None), (DAMAGED, segment(index), PAGE as u64));
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let (disk, mark) = three_segments();
    let files = image(&disk);
    for index in [1, 2] {
        let mut files = files.clone();
        files.remove(&segment(index));
        let disk = MemoryDisk::from_files(files);
        assert_eq!(refusal(&disk, None), ("journal-segment-missing", segment(index), 0));
    }
    // Of the last one only somebody else can know, if nothing was prepared after it.
    let left = [1, 2].map(|index| (segment(index), files[&segment(index)].clone()));
    let disk = MemoryDisk::from_files(left);
    let (code, file, _) = refusal(&disk, Some(mark));
    assert_eq!((code, file), (DAMAGED, segment(2)));
}

#[test]
fn a_segment_that_lost_its_end_is_refused_where_it_ends() {
    let (disk, _) = three_segments();
    let files = image(&disk);
    // What an earlier start trimmed ends with its last batch.
    let whole = files[&segment(2)].len();
    for length in [PAGE, whole - 8] {
        let disk = with(&files, &segment(2), |bytes| bytes.truncate(length));
        let (code, file, offset) = refusal(&disk, None);
        assert_eq!((code, file), (DAMAGED, segment(2)));
        assert!(offset >= PAGE as u64 && offset <= length as u64, "offset={offset}");
    }
    let disk = with(&files, &segment(2), |bytes| bytes.truncate(100));
    assert_eq!(refusal(&disk, None), (DAMAGED, segment(2), 0));
}

#[test]
fn a_segment_under_another_index_is_refused() {
    let (disk, _) = three_segments();
    let files = image(&disk);
    for (from, to) in [(1, 2), (2, 1), (2, 3), (1, 3), (3, 1)] {
        let copy = files[&segment(from)].clone();
        let disk = with(&files, &segment(to), |bytes| *bytes = copy);
        assert_eq!(refusal(&disk, None), (DAMAGED, segment(to), 0), "{from} as {to}");
    }
}

#[test]
fn a_segment_of_another_journal_is_refused() {
    let (disk, _) = three_segments();
    let other = MemoryDisk::new();
    let options = Options { journal: 7, ..small() };
    let shared = std::sync::Arc::new(other.clone());
    let journal = reopen_with(shared, options, None).unwrap().recovered.journal;
    extend(&journal, 0, &[1, 3]);
    journal.close().unwrap();
    let other = image(&other);

    let foreign = other[&segment(1)].clone();
    let files = image(&disk);
    let swapped = with(&files, &segment(1), |bytes| *bytes = foreign);
    assert_eq!(refusal(&swapped, None).0, "journal-mixed");
    let mut files = files;
    files.insert("end".to_owned(), other["end"].clone());
    let disk = MemoryDisk::from_files(files);
    assert_eq!(refusal(&disk, None), ("journal-mixed", "end".to_owned(), 0));
}

#[test]
fn a_segment_of_the_same_journals_other_history_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    drop(journal);
    let [one, two] = [vec![4, 6], vec![2, 5, 6]].map(|batches| {
        let disk = disk.after_kill();
        let journal = reopen_holding(&disk, 1).recovered.journal;
        extend(&journal, 1, &batches);
        drop(journal);
        let journal = reopen_holding(&disk, 6).recovered.journal;
        extend(&journal, 6, &[8]);
        image(&disk)
    });
    let foreign = two[&segment(2)].clone();
    let disk = with(&one, &segment(2), |bytes| *bytes = foreign);
    let (code, file, _) = refusal(&disk, None);
    assert_eq!((code, file), (DAMAGED, segment(2)));
}

#[test]
fn a_journal_of_another_format_is_refused_and_not_touched() {
    let (disk, _) = three_segments();
    let files = image(&disk);
    for (index, version) in [(1, 1), (1, 2), (1, 4), (3, 4)] {
        let disk = with(&files, &segment(index), |bytes| {
            bytes[8] = version;
            let checksum = crc32c::crc32c(&bytes[..PAGE - 4]);
            bytes[PAGE - 4..PAGE].copy_from_slice(&checksum.to_le_bytes());
        });
        assert_eq!(refusal(&disk, None), ("journal-format-other", segment(index), 0));
    }
}

#[test]
fn a_flipped_bit_in_the_mark_of_the_clean_stop_is_refused() {
    let (disk, journal) = journal_with(&[1, 3]);
    journal.close().unwrap();
    let files = image(&disk);
    for place in 0..files["end"].len() {
        let disk = with(&files, "end", |bytes| flip(bytes, place));
        assert_eq!(refusal(&disk, None), (DAMAGED, "end".to_owned(), 0), "place={place}");
    }
}

/// The end of one run of the same journal, put beside another run that went elsewhere.
#[test]
fn a_clean_stop_that_the_history_does_not_know_is_refused() {
    let (disk, journal) = journal_with(&[1]);
    drop(journal);
    let [one, two] = [vec![4, 6], vec![2, 6]].map(|batches| {
        let disk = disk.after_kill();
        let journal = reopen_holding(&disk, 1).recovered.journal;
        extend(&journal, 1, &batches);
        journal.close().unwrap();
        image(&disk)
    });
    let foreign = two["end"].clone();
    let disk = with(&one, "end", |bytes| *bytes = foreign);
    assert_eq!(refusal(&disk, None).0, DAMAGED);
}

#[test]
fn refusals_say_what_to_do() {
    let (disk, journal) = journal_with(&[1, 3]);
    drop(journal);
    let disk = with(&image(&disk), &segment(1), |bytes| flip(bytes, 20));
    let Err(error) = reopen(&disk, None) else { panic!("damage was passed over") };
    assert_eq!(
        error.to_string(),
        "`0000000001.segment` is damaged at byte 0: the checksum of the segment's first page does \
         not hold; restore this file from a copy: farebox refuses to guess"
    );
}
