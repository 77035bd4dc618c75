//! A journal's directory in memory: for tests and for embedding without a disk.
//!
//! It also answers the question that tests ask of a disk: what would be left after a power cut
//! now? Only what was synced, and, where asked for, the first bytes of what was not.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::layout::in_memory;

/// A directory in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Names {
    live: BTreeMap<String, Arc<MemoryFile>>,
    durable: BTreeMap<String, Arc<MemoryFile>>,
}

#[derive(Default)]
struct MemoryFile {
    content: Mutex<Content>,
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What a power cut would lose, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl MemoryDisk {
    /// An empty directory.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// A copy as a power cut would leave it now: what was synced, and of what was not the first
    /// `torn` bytes, in the order of writing.
    pub fn after_power_cut(&self, torn: usize) -> MemoryDisk {
        let names = lock(&self.names);
        let left = names.durable.iter().map(|(name, file)| {
            let content = lock(&file.content);
            let mut bytes = content.durable.clone();
            let mut torn = torn;
            for change in &content.unsynced {
                if let Change::Write { offset, bytes: written } = change {
                    let part = written.get(..torn.min(written.len())).unwrap_or_default();
                    put(&mut bytes, *offset, part);
                    torn -= part.len();
                }
            }
            (name.clone(), bytes)
        });
        MemoryDisk::from_files(left)
    }

    /// A copy as a killed process would leave it now: everything written, synced or not.
    pub fn after_kill(&self) -> MemoryDisk {
        MemoryDisk::from_files(self.files())
    }

    /// What the system does with a file whose sync failed: what was written stays readable, but no
    /// later sync will write it (fsyncgate).
    pub fn forget_unsynced(&self, name: &str) {
        if let Some(file) = lock(&self.names).live.get(name) {
            lock(&file.content).unsynced.clear();
        }
    }

    /// A directory that holds these files, durably.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> MemoryDisk {
        let files: BTreeMap<_, _> = files
            .into_iter()
            .map(|(name, bytes)| {
                let content = Content { live: bytes.clone(), durable: bytes, unsynced: Vec::new() };
                (name, Arc::new(MemoryFile { content: Mutex::new(content) }))
            })
            .collect();
        MemoryDisk { names: Arc::new(Mutex::new(Names { live: files.clone(), durable: files })) }
    }

    /// Every file as a reader sees it now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = lock(&self.names);
        let content = |file: &MemoryFile| lock(&file.content).live.clone();
        names.live.iter().map(|(name, file)| (name.clone(), content(file))).collect()
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.names).live.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let names = lock(&self.names);
        let file = names.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn DiskFile>)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(MemoryFile::default());
        lock(&self.names).live.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = lock(&self.names);
        let file = names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.live.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let gone = lock(&self.names).live.remove(name);
        gone.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut names = lock(&self.names);
        names.durable = names.live.clone();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.content).live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let there = content.live.get(in_memory(offset)..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer.split_at_mut(count).0.copy_from_slice(there.split_at(count).0);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = lock(&self.content);
        put(&mut content.live, in_memory(offset), bytes);
        let change = Change::Write { offset: in_memory(offset), bytes: bytes.to_vec() };
        content.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = lock(&self.content);
        for change in std::mem::take(&mut content.unsynced) {
            match change {
                Change::Write { offset, bytes } => put(&mut content.durable, offset, &bytes),
                Change::Length(length) => content.durable.resize(length, 0),
            }
        }
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut content = lock(&self.content);
        content.live.resize(in_memory(length), 0);
        content.unsynced.push(Change::Length(in_memory(length)));
        Ok(())
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end && !bytes.is_empty() {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

/// Nothing here is left half done by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
