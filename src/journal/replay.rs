//! Reading back: order, gaps, the chain, and the one judgement that matters: is a bad place
//! *damage* (something durable is gone) or the *tail* (a write that never finished)?

use std::ops::ControlFlow;
use std::thread;

use super::ahead::{Ahead, Segment};
use super::disk::Disk;
use super::error::OpenError;
use super::layout::{
    ALIGNMENT, BATCH_HEADER_BYTES, Batch, Mark, PAGE_BYTES, RECORD_PREFIX_BYTES, Seal,
    SegmentHeader, is_zero,
};
use super::survey::{Survey, segment_name, survey};
use crate::domain::ids::Sequence;

/// The end of a journal that was being written when the process stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment.
    pub file: String,
    /// Where the unfinished write began: everything before it is intact.
    pub offset: u64,
    /// How far it had come.
    pub bytes: u64,
}

/// What a read-only walk found. See [`walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkReport {
    /// The journal's id; `None` for an empty directory.
    pub journal: Option<u128>,
    /// Segments in use.
    pub segments: u64,
    /// Intact batches.
    pub batches: u64,
    /// Intact records.
    pub records: u64,
    /// The end of the last intact batch; `None` for an empty directory.
    pub last: Option<Mark>,
    /// What the next start would cut.
    pub torn_tail: Option<TornTail>,
    /// Where the walk ended: at the record at which `each` stopped it, else behind the last batch.
    pub end: FilePlace,
}

/// A place in the journal's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The segment.
    pub file: String,
    /// The byte in it.
    pub offset: u64,
}

impl FilePlace {
    fn new(segment: u64, offset: u64) -> FilePlace {
        FilePlace { file: segment_name(segment), offset }
    }
}

/// Reads a journal without opening it for writing: for `verify`, and beside a running broker.
///
/// Everything is checked from the first segment on; `each` sees the records from `from` on and may
/// stop the walk, which then reports what it had seen. Beside a running broker the last batch may
/// be found half written: it is reported as torn, and the next walk finds it whole.
///
/// # Errors
/// Like [`super::Journal::open`]; nothing is ever changed.
pub fn walk(
    disk: &dyn Disk,
    from: Sequence,
    each: &mut dyn FnMut(Sequence, &[u8]) -> ControlFlow<()>,
) -> Result<WalkReport, OpenError> {
    let found = survey(disk)?;
    let mut report = WalkReport {
        journal: found.journal(),
        segments: found.used.len() as u64,
        batches: 0,
        records: 0,
        last: None,
        torn_tail: None,
        end: FilePlace::new(1, 0),
    };
    let scanned = scan(disk, &found, &found.used, &mut |visit| {
        report.batches += 1;
        let mut offset = visit.offset + BATCH_HEADER_BYTES as u64;
        for (sequence, payload) in visit.batch.records() {
            report.records += 1;
            if sequence >= from && each(sequence, payload).is_break() {
                report.end = FilePlace::new(visit.header.index, offset);
                return Ok(ControlFlow::Break(()));
            }
            offset += (RECORD_PREFIX_BYTES + payload.len()) as u64;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if !scanned.stopped {
        scanned.reaches(found.end.map(|end| end.mark), "the last clean stop")?;
        report.end = FilePlace::new(scanned.segment, scanned.offset);
    }
    report.last = found.journal().map(|_| scanned.mark);
    report.torn_tail = scanned.tail;
    Ok(report)
}

/// One batch on the way, and where it is.
pub(super) struct Visit<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) mark: Mark,
    pub(super) header: &'a SegmentHeader,
    pub(super) offset: u64,
}

pub(super) type Visitor<'a> = dyn FnMut(&Visit<'_>) -> Result<ControlFlow<()>, OpenError> + 'a;

/// Where the reading ended.
pub(super) struct Scanned {
    /// The last intact batch.
    pub(super) mark: Mark,
    /// The segment reached, and the end of its last batch.
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Where the last batch of that segment begins, if it has one.
    pub(super) last_batch: Option<u64>,
    pub(super) tail: Option<TornTail>,
    /// The visitor had seen enough.
    pub(super) stopped: bool,
}

impl Scanned {
    /// Refuses a journal that ends before a place which was durable.
    pub(super) fn reaches(&self, known: Option<Mark>, whose: &str) -> Result<(), OpenError> {
        match known {
            Some(mark) if mark.sequence > self.mark.sequence => {
                let reason = format!(
                    "{whose} knows of records up to {}, the journal ends at {}",
                    mark.sequence, self.mark.sequence
                );
                Err(OpenError::damaged(&segment_name(self.segment), self.offset, reason))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Reads `used` (a run of `found.used`), checks every batch, and shows each to `visitor`.
pub(super) fn scan(
    disk: &dyn Disk,
    found: &Survey,
    used: &[SegmentHeader],
    visitor: &mut Visitor<'_>,
) -> Result<Scanned, OpenError> {
    let mark = match used.first() {
        Some(first) if first.index > 1 => before(first),
        Some(_) | None => Mark::beginning(found.journal().unwrap_or_default()),
    };
    let offset = PAGE_BYTES as u64;
    let mut scanned =
        Scanned { mark, segment: 1, offset, last_batch: None, tail: None, stopped: false };
    thread::scope(|scope| {
        let (mut ahead, mut spare) = (Ahead::new(scope, disk, used), Vec::new());
        while let Some((header, segment)) = ahead.next(spare) {
            scanned.joins(header)?;
            (scanned.segment, scanned.offset) = (header.index, PAGE_BYTES as u64);
            scanned.last_batch = None;
            let followed = found.torn.is_some()
                || found.used.last().is_some_and(|last| last.index > header.index);
            let mut segment = segment?;
            scanned.segment(&mut segment, header, followed, visitor)?;
            if scanned.stopped {
                break;
            }
            spare = segment.bytes;
        }
        Ok(())
    })?;
    if !scanned.stopped
        && let Some(torn) = found.torn
    {
        let (file, bytes) = (segment_name(torn), PAGE_BYTES as u64);
        scanned.tail = Some(TornTail { file, offset: 0, bytes });
    }
    Ok(scanned)
}

impl Scanned {
    /// A segment begins where the one before ended; if not, the one before has lost its end.
    fn joins(&self, header: &SegmentHeader) -> Result<(), OpenError> {
        if header.first == self.mark.sequence.next() && header.hash == self.mark.hash {
            return Ok(());
        }
        let file = segment_name(header.index);
        if header.index == 1 {
            return Err(OpenError::damaged(&file, 0, "the first segment does not begin a journal"));
        }
        let reason = format!(
            "it ends with record {}, `{file}` goes on with record {} or another history",
            self.mark.sequence, header.first
        );
        Err(OpenError::damaged(&segment_name(self.segment), self.offset, reason))
    }

    fn segment(
        &mut self,
        segment: &mut Segment,
        header: &SegmentHeader,
        followed: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), OpenError> {
        let name = segment_name(header.index);
        let (seal, mut offset, mut looked_again) = (header.seal(), PAGE_BYTES, false);
        loop {
            let rest = segment.bytes.get(offset..).unwrap_or_default();
            let found = match segment.found.pop_front() {
                Some(found) => Ok(found),
                None => Batch::decode(rest, seal).map(|batch| batch.found()),
            };
            match found {
                Ok(found) => {
                    let (batch, mark) = (Batch::again(&found, rest), found.mark());
                    let (place, length) = (offset as u64, batch.length());
                    self.continues(&batch, header)
                        .map_err(|reason| OpenError::damaged(&name, place, reason))?;
                    (self.mark, self.last_batch) = (mark, Some(place));
                    let visit = Visit { batch, mark, header, offset: place };
                    self.stopped = visitor(&visit)?.is_break();
                    (offset, looked_again) = (offset + length, false);
                    self.offset = offset as u64;
                    if self.stopped {
                        return Ok(());
                    }
                }
                Err(_) if is_zero(rest) => return Ok(()),
                Err(reason) => match evidence(rest, offset, seal, self.mark.sequence, followed) {
                    None => {
                        let bytes = written(rest);
                        self.tail = Some(TornTail { file: name, offset: offset as u64, bytes });
                        return Ok(());
                    }
                    // Beside a running broker the bytes may be older than the evidence, which says
                    // that they are durable by now: a second look must find them.
                    Some(_) if !looked_again => {
                        looked_again = true;
                        segment.load_again().map_err(OpenError::io(&name))?;
                    }
                    Some(evidence) => {
                        let reason = format!("{reason}, but {evidence}");
                        return Err(OpenError::damaged(&name, offset as u64, reason));
                    }
                },
            }
        }
    }

    /// A batch that is whole but does not continue what is before it was never torn: it is in the
    /// wrong place.
    fn continues(&self, batch: &Batch<'_>, segment: &SegmentHeader) -> Result<(), String> {
        let header = &batch.header;
        if header.first != self.mark.sequence.next() {
            return Err(format!("record {} follows record {}", header.first, self.mark.sequence));
        }
        if header.epoch != segment.epoch {
            return Err(format!("epoch {} in a segment of epoch {}", header.epoch, segment.epoch));
        }
        if header.previous != self.mark.hash {
            return Err(format!("record {} continues another history", header.first));
        }
        if header.durable >= header.first {
            return Err(format!("record {} was durable before it was written", header.first));
        }
        Ok(())
    }
}

/// The mark before a segment, as its header says. The epoch is not in it and not asked for.
fn before(header: &SegmentHeader) -> Mark {
    let sequence = Sequence::new(header.first.get().saturating_sub(1));
    Mark { sequence, epoch: 0, hash: header.hash }
}

/// Why the bad place that `rest` begins with was once durable; `None` if nothing says so.
fn evidence(
    rest: &[u8],
    offset: usize,
    seal: Seal,
    last: Sequence,
    followed: bool,
) -> Option<String> {
    if followed {
        return Some("a later segment is in use".to_owned());
    }
    let places = (0..rest.len()).step_by(ALIGNMENT).skip(1);
    for place in places {
        let candidate = rest.get(place..).unwrap_or_default();
        if !candidate.starts_with(&seal) {
            continue;
        }
        if let Ok(batch) = Batch::decode(candidate, seal)
            && batch.header.first > last
        {
            return Some(format!("an intact batch follows at byte {}", offset + place));
        }
    }
    None
}

/// The bytes of `rest` up to the last that is not zero.
fn written(rest: &[u8]) -> u64 {
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}
