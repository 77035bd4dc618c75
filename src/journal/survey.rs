//! What lies in a journal's directory: which segments are used, prepared, torn or missing. Reads
//! first pages only (and that unused ones are empty); changes nothing.

use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::layout::{END_FILE, End, PAGE_BYTES, Page, SegmentHeader, VERSION, in_memory, is_zero};

/// What the name of every segment ends with.
pub const SEGMENT_SUFFIX: &str = ".segment";
/// A file under this suffix is not finished: whatever it is, it may be removed.
pub(super) const UNFINISHED_SUFFIX: &str = ".unfinished";

/// The directory, sorted out.
pub(super) struct Survey {
    /// In order, without a gap, from the first.
    pub(super) used: Vec<SegmentHeader>,
    /// The segment after those, if its first page was being written when the process stopped.
    pub(super) torn: Option<u64>,
    /// Segments ahead that hold zeros only, with their lengths, in order.
    pub(super) prepared: Vec<(u64, u64)>,
    /// Files that nobody finished.
    pub(super) unfinished: Vec<String>,
    /// The mark of the last clean stop.
    pub(super) end: Option<End>,
}

/// The file name of a segment.
pub(super) fn segment_name(index: u64) -> String {
    format!("{index:010}{SEGMENT_SUFFIX}")
}

/// Refuses a journal of another format, before anything around it is touched. Opening it asks this
/// too, but whoever keeps something beside the journal should not open that first.
///
/// # Errors
/// [`OpenError::OtherFormat`]; and what forbids to look.
pub fn check_version(disk: &dyn Disk) -> Result<(), OpenError> {
    let names = disk.list().map_err(OpenError::io("."))?;
    for index in names.iter().filter_map(|name| segment_index(name)) {
        if let (Page::Other(version), _) = first_page(disk, index)? {
            return Err(other_format(&segment_name(index), version));
        }
    }
    read_end(disk, &names).map(|_| ())
}

/// How many records there are, but for those of the last segment in use.
///
/// # Errors
/// Like [`super::walk`].
pub fn records_about(disk: &dyn Disk) -> Result<u64, OpenError> {
    let last = survey(disk)?.used.pop();
    Ok(last.map_or(0, |header| header.first.get().saturating_sub(1)))
}

/// Looks at every file. Another format is reported before anything else is judged.
pub(super) fn survey(disk: &dyn Disk) -> Result<Survey, OpenError> {
    check_version(disk)?;
    let mut names = disk.list().map_err(OpenError::io("."))?;
    names.sort_unstable();
    let indexes: Vec<u64> = names.iter().filter_map(|name| segment_index(name)).collect();
    let pages = indexes
        .iter()
        .map(|index| first_page(disk, *index))
        .collect::<Result<Vec<_>, OpenError>>()?;
    let end = read_end(disk, &names)?;
    for (expected, index) in (1..).zip(&indexes) {
        if *index != expected {
            let reason = format!("`{}` is there", segment_name(*index));
            return Err(OpenError::MissingSegment { file: segment_name(expected), reason });
        }
    }
    names.retain(|name| name.ends_with(UNFINISHED_SUFFIX));
    let mut found =
        Survey { used: Vec::new(), torn: None, prepared: Vec::new(), unfinished: names, end };
    for (index, (page, length)) in indexes.into_iter().zip(pages) {
        found.place(disk, index, page, length)?;
    }
    if let Some(end) = &found.end {
        found.belongs(END_FILE, end.journal)?;
    }
    Ok(found)
}

impl Survey {
    /// The journal that the directory holds; `None` while nothing says.
    pub(super) fn journal(&self) -> Option<u128> {
        let of_segments = self.used.first().map(|header| header.journal);
        of_segments.or(self.end.map(|end| end.journal))
    }

    /// Refuses a file of another journal: the first segment says which one this is.
    fn belongs(&self, file: &str, found: u128) -> Result<(), OpenError> {
        match self.used.first().map(|header| header.journal) {
            Some(expected) if expected != found => {
                Err(OpenError::OtherJournal { file: file.to_owned(), found, expected })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Used segments come first, then at most one torn, then prepared ones: a first page is
    /// written and synced before the first batch, and only after everything before is durable.
    fn place(
        &mut self,
        disk: &dyn Disk,
        index: u64,
        page: Page,
        length: u64,
    ) -> Result<(), OpenError> {
        let file = segment_name(index);
        match page {
            Page::Used(header) => {
                let before = self.torn.or(self.prepared.first().map(|(index, _)| *index));
                if let Some(before) = before {
                    let reason = format!("its first page is not valid, but `{file}` is in use");
                    return Err(OpenError::damaged(&segment_name(before), 0, reason));
                }
                self.accept(&file, index, header)
            }
            Page::Unused => {
                if holds_data(disk, index)? {
                    let reason = "its first page is empty, but data follows";
                    return Err(OpenError::damaged(&file, 0, reason));
                }
                self.prepared.push((index, length));
                Ok(())
            }
            Page::Bad(reason) => {
                let in_place = self.torn.is_none() && self.prepared.is_empty();
                let torn = in_place && in_memory(length) >= PAGE_BYTES && !holds_data(disk, index)?;
                if !torn {
                    return Err(OpenError::damaged(&file, 0, reason));
                }
                self.torn = Some(index);
                Ok(())
            }
            Page::Other(version) => Err(other_format(&file, version)),
        }
    }

    fn accept(&mut self, file: &str, index: u64, header: SegmentHeader) -> Result<(), OpenError> {
        self.belongs(file, header.journal)?;
        if header.index != index {
            let reason = format!("it is a copy of `{}`", segment_name(header.index));
            return Err(OpenError::damaged(file, 0, reason));
        }
        if let Some(before) = self.used.last()
            && (before.epoch > header.epoch || before.first > header.first)
        {
            let reason = format!(
                "it begins at epoch {} and sequence {}, the segment before at {} and {}",
                header.epoch, header.first, before.epoch, before.first
            );
            return Err(OpenError::damaged(file, 0, reason));
        }
        self.used.push(header);
        Ok(())
    }
}

/// Reads the whole file.
pub(super) fn load(file: &dyn DiskFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    load_into(&mut bytes, file)?;
    Ok(bytes)
}

/// The same into a buffer that may have held another file: then its memory is there already.
pub(super) fn load_into(bytes: &mut Vec<u8>, file: &dyn DiskFile) -> std::io::Result<()> {
    bytes.resize(in_memory(file.length()?), 0);
    let count = file.read_at(bytes, 0)?;
    bytes.truncate(count);
    Ok(())
}

/// Opens a segment.
pub(super) fn open(disk: &dyn Disk, index: u64) -> Result<Arc<dyn DiskFile>, OpenError> {
    let name = segment_name(index);
    disk.open(&name).map_err(OpenError::io(&name))
}

fn first_page(disk: &dyn Disk, index: u64) -> Result<(Page, u64), OpenError> {
    let (name, file) = (segment_name(index), open(disk, index)?);
    let mut page = vec![0; PAGE_BYTES];
    let length = file.length().map_err(OpenError::io(&name))?;
    let count = file.read_at(&mut page, 0).map_err(OpenError::io(&name))?;
    page.truncate(count);
    Ok((Page::decode(&page), length))
}

/// Whether anything but zeros follows the first page. A running broker may have begun to use the
/// segment since its first page was read: then it is not judged.
fn holds_data(disk: &dyn Disk, index: u64) -> Result<bool, OpenError> {
    let bytes = load(open(disk, index)?.as_ref()).map_err(OpenError::io(&segment_name(index)))?;
    let used = matches!(first_page(disk, index)?.0, Page::Used(_));
    Ok(!used && !is_zero(bytes.get(PAGE_BYTES..).unwrap_or_default()))
}

fn read_end(disk: &dyn Disk, names: &[String]) -> Result<Option<End>, OpenError> {
    if !names.iter().any(|name| name == END_FILE) {
        return Ok(None);
    }
    let file = disk.open(END_FILE).map_err(OpenError::io(END_FILE))?;
    let bytes = load(file.as_ref()).map_err(OpenError::io(END_FILE))?;
    End::decode(&bytes).map(Some).map_err(|version| match version {
        Some(version) => other_format(END_FILE, version),
        None => OpenError::damaged(END_FILE, 0, "the mark of the last clean stop does not hold"),
    })
}

fn other_format(file: &str, version: u32) -> OpenError {
    OpenError::OtherFormat { file: file.to_owned(), version, known: VERSION }
}

fn segment_index(name: &str) -> Option<u64> {
    let index = name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()?;
    (segment_name(index) == name).then_some(index)
}
