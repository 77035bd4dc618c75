//! Segments, loaded in order and checked ahead of whoever reads them: each says how its batches are
//! sealed, so that several are checked side by side, on as many cores.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::slice;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::layout::{Batch, Found, PAGE_BYTES, Seal, SegmentHeader};
use super::survey::{load_into, open, segment_name};

/// So many at most are in memory besides the one that is read: more would only wait for that.
const AHEAD_MAX: usize = 4;

/// A segment in memory.
pub(super) struct Segment {
    file: Arc<dyn DiskFile>,
    pub(super) bytes: Vec<u8>,
    /// The batches that were checked already, from the first on.
    pub(super) found: VecDeque<Found>,
}

impl Segment {
    /// Loads it, into memory that may have held another.
    fn load(disk: &dyn Disk, header: &SegmentHeader, bytes: Vec<u8>) -> Result<Segment, OpenError> {
        let file = open(disk, header.index)?;
        let mut segment = Segment { file, bytes, found: VecDeque::new() };
        segment.load_again().map_err(OpenError::io(&segment_name(header.index)))?;
        Ok(segment)
    }

    /// Loads what it holds now. Nothing of it is checked.
    pub(super) fn load_again(&mut self) -> io::Result<()> {
        self.found.clear();
        load_into(&mut self.bytes, self.file.as_ref())
    }

    fn check(mut self, seal: Seal) -> Segment {
        let mut offset = PAGE_BYTES;
        while let Ok(batch) = Batch::decode(self.bytes.get(offset..).unwrap_or_default(), seal) {
            offset += batch.length();
            self.found.push_back(batch.found());
        }
        self
    }
}

/// A run of segments, one after the other.
pub(super) struct Ahead<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    disk: &'env dyn Disk,
    rest: slice::Iter<'env, SegmentHeader>,
    /// Who looks for one batch reads no further than the first: it is checked as it is read.
    first: Option<&'env SegmentHeader>,
    checks: VecDeque<(&'env SegmentHeader, Check<'scope>)>,
}

/// A segment that is being checked, or could not be loaded.
type Check<'scope> = Result<ScopedJoinHandle<'scope, Segment>, OpenError>;

impl<'scope, 'env> Ahead<'scope, 'env> {
    /// Begins to check the first of them.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        disk: &'env dyn Disk,
        segments: &'env [SegmentHeader],
    ) -> Ahead<'scope, 'env> {
        let mut rest = segments.iter();
        let mut ahead = Ahead { scope, disk, first: rest.next(), rest, checks: VecDeque::new() };
        let cores = available_parallelism().map_or(1, NonZero::get);
        (0..cores.min(AHEAD_MAX)).for_each(|_| ahead.begin(Vec::new()));
        ahead
    }

    /// The next one, in exchange for the memory of one that was read. A failure to load it is told
    /// in its turn.
    pub(super) fn next(
        &mut self,
        spare: Vec<u8>,
    ) -> Option<(&'env SegmentHeader, Result<Segment, OpenError>)> {
        if let Some(first) = self.first.take() {
            return Some((first, Segment::load(self.disk, first, spare)));
        }
        let (header, check) = self.checks.pop_front()?;
        self.begin(spare);
        let ended = check.map(ScopedJoinHandle::join);
        Some((header, ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)))))
    }

    fn begin(&mut self, bytes: Vec<u8>) {
        let Some(header) = self.rest.next() else { return };
        let (loaded, seal) = (Segment::load(self.disk, header, bytes), header.seal());
        let check = loaded.map(|segment| self.scope.spawn(move || segment.check(seal)));
        self.checks.push_back((header, check));
    }
}
