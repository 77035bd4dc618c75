//! Segments, loaded in order and checked ahead of whoever reads them: each says how its batches are
//! sealed, so that several are checked side by side, on as many cores.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::slice;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism};

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::layout::{Batch, Found, PAGE_BYTES, Seal, SegmentHeader};
use super::survey::{load_into, open, segment_name};

/// Segments are loaded ahead until there are so many bytes of them, and at least one.
const AHEAD_BYTES: usize = 64 << 20;

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
    /// Who looks for one batch reads no further than the first: nothing is loaded ahead of it, and
    /// it is checked as it is read.
    first: Option<&'env SegmentHeader>,
    rest: slice::Iter<'env, SegmentHeader>,
    checks: VecDeque<(&'env SegmentHeader, Result<Check<'scope>, OpenError>)>,
    most: usize,
}

/// A segment that is being checked.
struct Check<'scope> {
    bytes: usize,
    thread: ScopedJoinHandle<'scope, Segment>,
}

impl<'scope, 'env> Ahead<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        disk: &'env dyn Disk,
        segments: &'env [SegmentHeader],
    ) -> Ahead<'scope, 'env> {
        let mut rest = segments.iter();
        // One is waited for while the others keep the cores busy.
        let most = available_parallelism().map_or(1, NonZero::get) + 1;
        Ahead { scope, disk, first: rest.next(), rest, checks: VecDeque::new(), most }
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
        self.begin(spare);
        let (header, check) = self.checks.pop_front()?;
        let ended = check.map(|check| check.thread.join());
        Some((header, ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)))))
    }

    fn begin(&mut self, mut spare: Vec<u8>) {
        let bytes =
            |(_, check): &(_, Result<Check<'_>, _>)| check.as_ref().map_or(0, |it| it.bytes);
        while self.checks.len() < self.most
            && self.checks.iter().map(bytes).sum::<usize>() < AHEAD_BYTES
        {
            let Some(header) = self.rest.next() else { return };
            let check = self.check(header, std::mem::take(&mut spare));
            self.checks.push_back((header, check));
        }
    }

    fn check(&self, header: &SegmentHeader, spare: Vec<u8>) -> Result<Check<'scope>, OpenError> {
        let segment = Segment::load(self.disk, header, spare)?;
        let (bytes, seal) = (segment.bytes.len(), header.seal());
        let thread = Builder::new().name("journal-check".to_owned());
        let thread = thread.spawn_scoped(self.scope, move || segment.check(seal));
        let thread = thread.map_err(OpenError::io(&segment_name(header.index)))?;
        Ok(Check { bytes, thread })
    }
}
