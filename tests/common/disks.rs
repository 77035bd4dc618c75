//! Disks that fail, that block, and that keep pictures of what a power cut would leave.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use farebox::journal::{
    Disk, DiskFile, Mark, MemoryDisk, MemorySnapshots, SnapshotError, Snapshots,
};
use tokio::sync::watch;

/// What becomes of a call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it happens; the next call works again.
    Once,
    /// Nothing happens, now and ever after.
    ForEver,
    /// The disk is full, once.
    Full,
    /// A write leaves its first half.
    Torn,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Once | Fault::ForEver | Fault::Torn => io::Error::other("injected"),
            Fault::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

/// A picture of the disk, and the highest place that had been acknowledged before it was taken.
pub struct Picture {
    pub left: MemoryDisk,
    pub acknowledged: u64,
}

/// A disk in memory with a mind of its own. Everything in it is off until it is turned on.
#[derive(Clone)]
pub struct MoodyDisk {
    pub inner: MemoryDisk,
    mood: Arc<Mood>,
}

#[derive(Default)]
pub struct Mood {
    /// Calls that write, sync, create or rename, since it was armed.
    calls: AtomicU64,
    fault: Mutex<Option<(u64, Fault)>>,
    struck: AtomicBool,
    /// The file whose sync failed: it must not be touched again.
    lost: Mutex<Option<String>>,
    touched_after: AtomicU64,
    /// Bytes of the unfinished write that each picture keeps; `None`: no pictures.
    torn: Mutex<Option<usize>>,
    pictures: Mutex<Vec<Picture>>,
    acknowledged: AtomicU64,
    blocked: Mutex<bool>,
    freed: Condvar,
    full: AtomicBool,
}

struct MoodyFile {
    name: String,
    inner: Arc<dyn DiskFile>,
    disk: MoodyDisk,
}

impl MoodyDisk {
    pub fn new(inner: MemoryDisk) -> MoodyDisk {
        MoodyDisk { inner, mood: Arc::default() }
    }

    /// From now on the `number`th call fails, counted from 1.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.mood.calls.store(0, Ordering::SeqCst);
        *self.mood.fault.lock().expect("unpoisoned") = Some((number, fault));
    }

    /// Whether the call that was to fail has come.
    pub fn has_struck(&self) -> bool {
        self.mood.struck.load(Ordering::SeqCst)
    }

    /// Writes and syncs of a file after a sync of it had failed.
    pub fn touched_after_failed_sync(&self) -> u64 {
        self.mood.touched_after.load(Ordering::SeqCst)
    }

    /// From now on every sync begins with a picture that keeps the first `torn` unsynced bytes.
    pub fn take_pictures(&self, torn: usize) {
        *self.mood.torn.lock().expect("unpoisoned") = Some(torn);
    }

    /// Tells the disk, for its pictures, what callers have been told.
    pub fn acknowledge(&self, sequence: u64) {
        self.mood.acknowledged.fetch_max(sequence, Ordering::SeqCst);
    }

    pub fn pictures(&self) -> Vec<Picture> {
        std::mem::take(&mut self.mood.pictures.lock().expect("unpoisoned"))
    }

    /// While the guard lives no sync returns.
    #[must_use]
    pub fn block(&self) -> Blocked {
        *self.mood.blocked.lock().expect("unpoisoned") = true;
        Blocked(Arc::clone(&self.mood))
    }

    /// From now on nothing new fits; what is there can be overwritten.
    pub fn fill_up(&self) {
        self.mood.full.store(true, Ordering::SeqCst);
    }

    /// From now on everything fits again.
    pub fn make_room(&self) {
        self.mood.full.store(false, Ordering::SeqCst);
    }

    fn next_fault(&self) -> Option<Fault> {
        let call = self.mood.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let (number, fault) = (*self.mood.fault.lock().expect("unpoisoned"))?;
        let strikes = call == number || (call > number && fault == Fault::ForEver);
        if strikes {
            self.mood.struck.store(true, Ordering::SeqCst);
        }
        strikes.then_some(fault)
    }

    fn step(&self) -> io::Result<()> {
        self.next_fault().map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn note_touch(&self, name: &str) {
        if self.mood.lost.lock().expect("unpoisoned").as_deref() == Some(name) {
            self.mood.touched_after.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn file(&self, name: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MoodyFile { name: name.to_owned(), inner, disk: self.clone() })
    }
}

/// Holds all syncs up; dropping it lets them go on, also where a test has failed.
pub struct Blocked(Arc<Mood>);

impl Drop for Blocked {
    fn drop(&mut self) {
        *self.0.blocked.lock().expect("unpoisoned") = false;
        self.0.freed.notify_all();
    }
}

impl Disk for MoodyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if self.mood.full.load(Ordering::SeqCst) {
            return Err(Fault::Full.error());
        }
        self.step()?;
        Ok(self.file(name, self.inner.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.step()?;
        self.inner.sync_dir()
    }
}

impl DiskFile for MoodyFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.note_touch(&self.name);
        let Some(fault) = self.disk.next_fault() else { return self.inner.write_at(bytes, offset) };
        if fault == Fault::Torn {
            self.inner.write_at(bytes.split_at(bytes.len() / 2).0, offset)?;
        }
        Err(fault.error())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mood = &self.disk.mood;
        self.disk.note_touch(&self.name);
        if let Some(torn) = *mood.torn.lock().expect("unpoisoned") {
            let acknowledged = mood.acknowledged.load(Ordering::SeqCst); // Before the picture.
            let left = self.disk.inner.after_power_cut(torn);
            let mut pictures = mood.pictures.lock().expect("unpoisoned");
            pictures.push(Picture { left, acknowledged });
        }
        let blocked = mood.blocked.lock().expect("unpoisoned");
        drop(mood.freed.wait_while(blocked, |blocked| *blocked).expect("unpoisoned"));
        if let Some(fault) = self.disk.next_fault() {
            self.disk.inner.forget_unsynced(&self.name); // A second sync would succeed.
            *mood.lost.lock().expect("unpoisoned") = Some(self.name.clone());
            return Err(fault.error());
        }
        self.inner.sync_data()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.step()?;
        self.inner.set_length(length)
    }
}

/// Snapshots that say when a pass has ended.
pub struct Watched<S> {
    pub inner: S,
    pub passes: watch::Sender<u64>,
}

impl<S> Watched<S> {
    pub fn new(inner: S) -> Watched<S> {
        Watched { inner, passes: watch::Sender::new(0) }
    }

    /// Lets the time of the next pass come and waits until it has ended; where only the test moves
    /// the clock. The broker begins to wait for it a little after the end of the pass before, which
    /// may be after the clock was moved: then it is moved again.
    pub async fn next_pass(&self, every: Duration) {
        let before = *self.passes.borrow();
        while *self.passes.borrow() == before {
            tokio::time::advance(every + Duration::from_millis(1)).await;
            for _ in 0..200 {
                tokio::task::yield_now().await; // Whoever has something to do does it.
            }
        }
    }
}

impl<S: Snapshots> Snapshots for Watched<S> {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError> {
        self.inner.load(each)
    }

    fn write(&self, entries: &[farebox::journal::Entry]) -> Result<(), SnapshotError> {
        self.inner.write(entries)
    }

    fn finish(&self, mark: Mark) -> Result<(), SnapshotError> {
        let finished = self.inner.finish(mark);
        self.passes.send_modify(|passes| *passes += 1);
        finished
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        self.inner.clear()
    }
}

/// A copy of what is kept, as a start would load it; `damage` may change each value.
pub fn copy_of(snapshots: &dyn Snapshots, damage: impl Fn(&mut Vec<u8>)) -> MemorySnapshots {
    let copy = MemorySnapshots::new();
    let mark = snapshots.load(&mut |key, value| {
        let mut value = value.to_vec();
        damage(&mut value);
        copy.write(&[(key.to_vec(), Some(value))]).expect("memory takes it");
    });
    if let Some(mark) = mark.expect("they can be read") {
        copy.finish(mark).expect("memory takes it");
    }
    copy
}
