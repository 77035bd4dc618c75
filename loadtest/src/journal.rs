//! What a journal of ours takes of the disk.

use std::ops::ControlFlow;
use std::path::Path;

use farebox::domain::ids::Sequence;
use farebox::journal::{Directory, walk};

use crate::Anything;

/// What a journal has of the disk, up to the end of its last batch.
pub struct Used {
    /// Bytes, with the headers and the padding of the batches.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

/// What the journal of a broker with this directory has. Reads all of it.
///
/// # Errors
/// If it cannot be read.
pub fn used(home: &Path) -> Result<Used, Anything> {
    let journal = home.join("journal");
    let disk = Directory::read_only(&journal)?;
    let report = walk(&disk, Sequence::ZERO, &mut |_, _| ControlFlow::Continue(()))?;
    let mut bytes = report.end.offset;
    for segment in segments(&journal)?.iter().take_while(|name| **name < report.end.file) {
        bytes += journal.join(segment).metadata()?.len();
    }
    Ok(Used { bytes, records: report.records })
}

/// The names of a journal's segments, in order.
///
/// # Errors
/// If the directory cannot be read.
pub fn segments(journal: &Path) -> Result<Vec<String>, Anything> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(journal)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(farebox::journal::SEGMENT_SUFFIX) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
