//! Reading durable records while the journal runs. Owns the index of places, which finds a record
//! without reading its whole segment.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::error::ReadError;
use super::layout::{BATCH_HEADER_BYTES, Batch, Seal};
use super::survey::segment_name;
use crate::domain::ids::Sequence;

/// One place is kept per so many bytes of a segment: 32 bytes of memory for each.
const SPACING_BYTES: u64 = 64 * 1024;

/// Where a batch begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) first: Sequence,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) seal: Seal,
}

/// The index: some batches of every segment, among them its first, in order.
#[derive(Default)]
pub(super) struct Places {
    list: Mutex<Vec<Place>>,
}

impl Places {
    /// Keeps a batch's place, if it is far enough from the one before.
    pub(super) fn note(&self, place: Place) {
        let mut list = self.lock();
        if let Some(last) = list.last() {
            assert!(last.first <= place.first, "places are noted in order");
            if last.first == place.first {
                list.pop(); // A segment without a batch.
            } else if last.segment == place.segment && place.offset - last.offset < SPACING_BYTES {
                return;
            }
        }
        list.push(place);
    }

    fn at_or_before(&self, sequence: Sequence) -> Option<Place> {
        let list = self.lock();
        let after = list.partition_point(|place| place.first <= sequence);
        list.get(after.checked_sub(1)?).copied()
    }

    fn exactly(&self, sequence: Sequence) -> Option<Place> {
        self.at_or_before(sequence).filter(|place| place.first == sequence)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows `each` the records from `from` to `durable`, in order.
pub(super) fn read(
    disk: &dyn Disk,
    places: &Places,
    from: Sequence,
    durable: Sequence,
    each: &mut dyn FnMut(Sequence, &[u8]) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let from = from.max(Sequence::new(1));
    if from > durable {
        return Ok(());
    }
    let mut place = places.at_or_before(from).expect("the first durable batch has its place");
    let mut opened: Option<(u64, Arc<dyn DiskFile>)> = None;
    let mut bytes = Vec::new();
    loop {
        let file = match opened.take() {
            Some((segment, file)) if segment == place.segment => file,
            Some(_) | None => open(disk, place.segment)?,
        };
        let reached = take(file.as_ref(), place, from, &mut bytes)?;
        opened = Some((place.segment, file));
        if let Some(batch) = reached.batch {
            let wanted = batch.records().filter(|(sequence, _)| *sequence >= from);
            for (sequence, payload) in wanted {
                if each(sequence, payload).is_break() {
                    return Ok(());
                }
            }
        }
        if reached.last >= durable {
            return Ok(());
        }
        let first = reached.last.next();
        let offset = place.offset + reached.length;
        place = places.exactly(first).unwrap_or(Place { first, offset, ..place });
    }
}

struct Reached<'a> {
    /// The last record of the batch, and the batch's length.
    last: Sequence,
    length: u64,
    /// `None` if it lies before what is wanted: passed over, unchecked.
    batch: Option<Batch<'a>>,
}

fn take<'a>(
    file: &dyn DiskFile,
    place: Place,
    from: Sequence,
    bytes: &'a mut Vec<u8>,
) -> Result<Reached<'a>, ReadError> {
    let io = |source| ReadError::Io { file: segment_name(place.segment), source };
    let damaged = |reason: &str| ReadError::Damaged {
        file: segment_name(place.segment),
        offset: place.offset,
        reason: reason.to_owned(),
    };
    bytes.resize(BATCH_HEADER_BYTES, 0);
    let count = file.read_at(bytes, place.offset).map_err(io)?;
    bytes.truncate(count);
    let length = Batch::length_of(bytes, place.seal).map_err(damaged)?;
    let last = Batch::claimed_last(bytes).ok_or_else(|| damaged("the file ends in a batch"))?;
    if last < place.first {
        return Err(damaged("a batch ends before it begins"));
    }
    if last < from {
        return Ok(Reached { last, length: length as u64, batch: None });
    }
    bytes.resize(length, 0);
    let count = file.read_at(bytes, place.offset).map_err(io)?;
    bytes.truncate(count);
    let batch = Batch::decode(bytes, place.seal).map_err(damaged)?;
    if batch.header.first != place.first {
        return Err(damaged("another batch was expected here"));
    }
    Ok(Reached { last: batch.header.last, length: length as u64, batch: Some(batch) })
}

fn open(disk: &dyn Disk, segment: u64) -> Result<Arc<dyn DiskFile>, ReadError> {
    let file = segment_name(segment);
    disk.open(&file).map_err(|source| ReadError::Io { file, source })
}
