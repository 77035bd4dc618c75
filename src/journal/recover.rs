//! From a directory to a journal that takes records: read back, judge, secure what is kept, cut
//! what never became durable, and begin a new segment in a new epoch.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tracing::warn;

use super::commit::Current;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::layout::{END_FILE, End, Mark, PAGE_BYTES, SegmentHeader, in_memory};
use super::prepare::{Prepared, prepare};
use super::read::{Place, Places};
use super::replay::{Scanned, TornTail, Visit, scan};
use super::survey::{Survey, UNFINISHED_SUFFIX, open, segment_name, survey};
use super::{Extent, Known, Options, Replay};
use crate::domain::ids::Sequence;

/// A journal ready to be run.
pub(super) struct Ready {
    pub(super) mark: Mark,
    pub(super) epoch: u64,
    pub(super) places: Places,
    pub(super) current: Current,
    pub(super) ahead: VecDeque<Prepared>,
    pub(super) cut: Option<TornTail>,
    pub(super) known_mark_matches: bool,
    pub(super) replayed: u64,
}

pub(super) fn recover(
    disk: &dyn Disk,
    options: &Options,
    known: Known,
    replay: &mut dyn Replay,
) -> Result<Ready, OpenError> {
    let found = survey(disk)?;
    let journal = found.journal().unwrap_or(options.journal);
    let watermark = known.watermark.unwrap_or(Mark::beginning(journal));
    let position = holding(&found, watermark.sequence);
    let known_mark_matches = recognises(disk, &found, position, journal, &watermark)?;
    let after = if known_mark_matches { watermark.sequence } else { Sequence::new(0) };
    replay.begin(after);

    let skip = match options.extent {
        Extent::AboveWatermark if known_mark_matches => position.unwrap_or_default(),
        Extent::AboveWatermark | Extent::Everything => 0,
    };
    let (skipped, read) = found.used.split_at(skip);
    let places = Places::default();
    skipped.iter().for_each(|header| places.note(beginning_of(header)));
    let mut replayed = 0;
    let mut scanned = scan(disk, &found, read, &mut |visit| {
        agrees(found.end, visit)?;
        let (header, offset) = (visit.header, visit.offset);
        let first = visit.batch.header.first;
        places.note(Place { first, segment: header.index, offset, seal: header.seal() });
        for (sequence, payload) in visit.batch.records().filter(|(place, _)| *place > after) {
            replay
                .record(sequence, payload)
                .map_err(|reason| OpenError::Replay { sequence, reason })?;
            replayed += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if found.used.is_empty() {
        scanned.mark = Mark::beginning(journal);
    }
    scanned.reaches(found.end.map(|end| end.mark), "the last clean stop")?;
    scanned.reaches(known.watermark, "the snapshots' watermark")?;

    secure(disk, &found, &scanned)?;
    let epoch = found.used.iter().map(|header| header.epoch).max().unwrap_or(0) + 1;
    let mut ahead = segments_ahead(disk, options, &found)?;
    let prepared = ahead.pop_front().expect("one more than the committer needs was made");
    let name = segment_name(prepared.index);
    let current =
        Current::begin(prepared, journal, epoch, &scanned.mark).map_err(OpenError::io(&name))?;
    let (mark, cut) = (scanned.mark, scanned.tail);
    Ok(Ready { mark, epoch, places, current, ahead, cut, known_mark_matches, replayed })
}

/// The position in `used` of the segment that holds this record: the last to begin at or below.
fn holding(found: &Survey, sequence: Sequence) -> Option<usize> {
    found.used.partition_point(|header| header.first <= sequence).checked_sub(1)
}

/// Whether the journal has a batch that ends at this mark, in this epoch and with this history.
/// Looked up before the replay, so that whoever keeps snapshots knows where it begins.
fn recognises(
    disk: &dyn Disk,
    found: &Survey,
    position: Option<usize>,
    journal: u128,
    mark: &Mark,
) -> Result<bool, OpenError> {
    if mark.sequence.get() == 0 {
        return Ok(*mark == Mark::beginning(journal));
    }
    let Some(segment) = position.and_then(|position| found.used.get(position..=position)) else {
        return Ok(false);
    };
    let mut matches = false;
    scan(disk, found, segment, &mut |visit| {
        matches = visit.mark == *mark;
        let passed = visit.mark.sequence >= mark.sequence;
        Ok(if passed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(matches)
}

/// The journal's own clean stop must be in its history, at the end of a batch.
fn agrees(end: Option<End>, visit: &Visit<'_>) -> Result<(), OpenError> {
    let Some(End { mark, .. }) = end else { return Ok(()) };
    let header = &visit.batch.header;
    if (header.first..=header.last).contains(&mark.sequence) && visit.mark != mark {
        let reason = format!(
            "record {} is not the one that `{END_FILE}`, the last clean stop, knows",
            mark.sequence
        );
        return Err(OpenError::damaged(&segment_name(visit.header.index), visit.offset, reason));
    }
    Ok(())
}

/// Makes what was kept durable, and cuts what is behind it, before anything rests on it.
///
/// First page and last batch of the last segment are written again before the sync: after a sync
/// that failed, the system may show pages as clean that never reached the disk, and another sync
/// would leave them there. Everything before was synced before what follows it was written.
fn secure(disk: &dyn Disk, found: &Survey, scanned: &Scanned) -> Result<(), OpenError> {
    if let Some(tail) = &scanned.tail {
        let TornTail { file, offset, bytes } = tail;
        warn!(file, offset, bytes, "cut the tail: a write that had not finished");
    }
    if let Some(header) = found.used.last() {
        let name = segment_name(header.index);
        let file = open(disk, header.index)?;
        settle(file.as_ref(), header, scanned).map_err(OpenError::io(&name))?;
    }
    if let Some(torn) = found.torn {
        let name = segment_name(torn);
        let file = open(disk, torn)?;
        file.write_at(&[0; PAGE_BYTES], 0).map_err(OpenError::io(&name))?;
        file.sync_data().map_err(OpenError::io(&name))?;
    }
    for name in &found.unfinished {
        disk.remove(name).map_err(OpenError::io(name))?;
    }
    disk.sync_dir().map_err(OpenError::io("."))
}

fn settle(file: &dyn DiskFile, header: &SegmentHeader, scanned: &Scanned) -> io::Result<()> {
    file.write_at(&header.encode(), 0)?;
    if let Some(offset) = scanned.last_batch {
        let mut batch = vec![0; in_memory(scanned.offset - offset)];
        let count = file.read_at(&mut batch, offset)?;
        batch.truncate(count);
        file.write_at(&batch, offset)?;
    }
    if file.length()? > scanned.offset {
        file.set_length(scanned.offset)?;
    }
    file.sync_data()
}

/// At least two segments of zeros: one to begin with, one ahead. Those of the last run are used
/// again if they have the length that is asked for now.
fn segments_ahead(
    disk: &dyn Disk,
    options: &Options,
    found: &Survey,
) -> Result<VecDeque<Prepared>, OpenError> {
    let mut there: Vec<(u64, u64)> = Vec::new();
    if let Some(torn) = found.torn {
        let length = open(disk, torn)?.length().map_err(OpenError::io(&segment_name(torn)))?;
        there.push((torn, length));
    }
    there.extend(&found.prepared);
    let fitting = there.iter().take_while(|(_, length)| *length == options.segment_bytes).count();
    // From the end and one by one, so that a crash in between leaves no gap.
    for (index, _) in there.drain(fitting..).rev() {
        let name = segment_name(index);
        disk.remove(&name).map_err(OpenError::io(&name))?;
        disk.sync_dir().map_err(OpenError::io("."))?;
    }
    let mut ahead = VecDeque::new();
    for (index, length) in there {
        ahead.push_back(Prepared { index, file: open(disk, index)?, length });
    }
    while ahead.len() < 2 {
        let index = (found.used.len() + ahead.len()) as u64 + 1;
        let prepared = prepare(disk, index, options.segment_bytes)
            .map_err(|source| no_room(segment_name(index), options.segment_bytes, source))?;
        ahead.push_back(prepared);
    }
    Ok(ahead)
}

fn no_room(file: String, bytes: u64, source: io::Error) -> OpenError {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(source.kind(), StorageFull | QuotaExceeded) {
        return OpenError::NoRoom { file, bytes, source };
    }
    OpenError::Io { file, source }
}

fn beginning_of(header: &SegmentHeader) -> Place {
    let (first, segment) = (header.first, header.index);
    Place { first, segment, offset: PAGE_BYTES as u64, seal: header.seal() }
}

/// What a clean stop does last: nothing is left behind the last batch, and `end` says where it is.
pub(super) fn finish(disk: &Arc<dyn Disk>, current: &Current, mark: Mark) -> io::Result<()> {
    current.file.set_length(current.offset)?;
    current.file.sync_data()?;
    let unfinished = format!("{END_FILE}{UNFINISHED_SUFFIX}");
    let file = disk.create(&unfinished)?;
    file.write_at(&End { journal: current.header.journal, mark }.encode(), 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, END_FILE)?;
    disk.sync_dir()
}
