//! What `crate::fuzzing` does with the readers of this module. Checksums keep random bytes out, and
//! are put right here: behind them no byte may do harm either.

use super::format;
use super::layout::{ALIGNMENT, Batch, End, PAGE_BYTES, Page, Seal, append_checksum};

const SEAL: Seal = *b"of fuzz.";

/// Reads a piece of a journal, of the kind that the first byte says; says whether it was one.
pub(crate) fn piece(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((b'r', record)) => is_record(record),
        Some((b'p', page)) => is_page(page),
        Some((b'b', batch)) => is_batch(batch),
        Some((b'e', end)) => is_end(end),
        Some(_) | None => false,
    }
}

fn is_record(bytes: &[u8]) -> bool {
    let mut changes = Vec::new();
    let charged = format::read_charged(bytes, |_, line_item, after| {
        changes.push((line_item, after));
    });
    let Ok((record, keyed)) = format::decode_keyed(bytes) else { return false };
    if let Some(charged) = charged.expect("the short reading finds no error of its own") {
        assert_eq!(
            (charged.at, charged.keyed),
            (record.at, keyed.as_ref().map(|keyed| keyed.call))
        );
        let postings = record.event.postings().iter();
        let whole: Vec<_> =
            postings.map(|posted| (posted.line_item, posted.after.clone())).collect();
        assert_eq!(changes, whole, "the same balances");
    }
    let mut written = Vec::new();
    format::encode_keyed(&record, keyed.as_ref(), &mut written);
    assert_eq!(format::decode_keyed(&written), Ok((record, keyed)), "as it was written");
    true
}

fn is_page(bytes: &[u8]) -> bool {
    let mut page = bytes.to_vec();
    page.resize(PAGE_BYTES, 0);
    match Page::decode(&append_checksum(page)) {
        Page::Used(header) => {
            assert_eq!(Page::decode(&header.encode()), Page::Used(header));
            true
        }
        Page::Unused | Page::Other(_) | Page::Bad(_) => false,
    }
}

/// Everything of a batch but its seal, its checksum and its length.
fn is_batch(bytes: &[u8]) -> bool {
    let before = size_of::<Seal>() + 2 * size_of::<u32>();
    let length = (before + bytes.len()).next_multiple_of(ALIGNMENT);
    let mut rest = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    rest.extend_from_slice(bytes);
    rest.resize(length - size_of::<Seal>() - size_of::<u32>(), 0);
    let checksum = crc32c::crc32c(&rest).to_le_bytes();
    let whole = [&SEAL[..], &checksum[..], &rest[..]].concat();
    let Ok(batch) = Batch::decode(&whole, SEAL) else { return false };
    assert_eq!(batch.length(), whole.len());
    let mut last = None;
    for (sequence, payload) in batch.records() {
        last = Some(sequence);
        is_record(payload);
    }
    assert_eq!(last, Some(batch.header.last), "as many records as it says");
    true
}

fn is_end(bytes: &[u8]) -> bool {
    let Ok(end) = End::decode(&append_checksum([bytes, &[0; 4]].concat())) else { return false };
    let again = End::decode(&end.encode()).map(|end| (end.journal, end.mark));
    assert_eq!(again, Ok((end.journal, end.mark)));
    true
}
