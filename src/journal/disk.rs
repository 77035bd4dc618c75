//! The seam under the journal: what it asks of a directory and of a file, and nothing more.
//!
//! `file.rs` answers with the operating system, `memory.rs` with memory; the tests put failing
//! disks here. Names are plain file names inside one directory, never paths.

use std::io;
use std::sync::Arc;

/// One directory that holds one journal.
pub trait Disk: Send + Sync {
    /// The names of all regular files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file; one of that name is emptied first.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing a file that has it. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file. Reads and writes name their offset, so that it can be shared between threads.
pub trait DiskFile: Send + Sync {
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` and answers how much there was: less only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable. After an error this file is not to be trusted any
    /// more: a second call may succeed without having written anything (fsyncgate).
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends (with zeros) the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
}
