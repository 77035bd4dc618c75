//! Snapshots in sled. The only file that names it.
//!
//! sled 0.34 drops keys silently when a bit flips, and its `flush` is no barrier
//! against a power cut on Linux; so a fingerprint over all entries rides in every batch, and its
//! file is synced by our own handle.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::layout::{Fields, Mark, append_checksum, checked, sha256};
use super::store::{
    Entry, KEY_BYTES_MAX, SnapshotError, Snapshots, VALUE_BYTES_MAX, damaged, last_of_each,
};

/// Pages above 128 KiB go to files that sled never syncs; measured, 8 KB values cause none.
const CHUNK_BYTES: usize = 8_000;
const CACHE_BYTES: u64 = 64 << 20;
/// Two seconds in all: sled's threads end within milliseconds.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

const _: () = assert!(VALUE_BYTES_MAX.div_ceil(CHUNK_BYTES) < u16::MAX as usize);
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

const WATERMARK: &[u8] = b"watermark";
const FINGERPRINT: &[u8] = b"fingerprint";
/// No entry's key in sled begins like the two above: it begins with the length of the key, whose
/// first byte is 0 or 1.
const _: () = assert!(KEY_BYTES_MAX < (b'a' as usize) << 8);

/// What all entries add up to, kept in the same batch as the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    entries: u64,
    /// The wrapping sum of a hash of every entry, so that it can be kept up as entries change.
    sum: u64,
    /// Calls of `write` so far: shows that the store has not fallen back behind its watermark.
    writes: u64,
}

impl Fingerprint {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(entry_hash(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(entry_hash(key, value));
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.entries, self.sum, self.writes].map(u64::to_le_bytes).concat();
        bytes.extend([0; 4]);
        append_checksum(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Fingerprint> {
        let mut fields = Fields(checked(bytes)?);
        let (entries, sum) = (fields.u64()?, fields.u64()?);
        Some(Fingerprint { entries, sum, writes: fields.u64()? })
    }
}

fn entry_hash(key: &[u8], value: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let hash = sha256(&[&length, key, value]);
    Fields(&hash).u64().expect("a hash is longer than 8 bytes")
}

/// A step of ending a pass, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The values have left sled's buffers.
    ValuesFlushed,
    /// The values are durable.
    ValuesSynced,
    /// The watermark is in sled's buffers.
    MarkWritten,
    /// The watermark has left sled's buffers.
    MarkFlushed,
    /// The watermark is durable.
    MarkSynced,
}

/// Snapshots in a sled tree.
///
/// A value of more than 8,000 bytes is kept in chunks, so that sled's `blobs/`, which it never
/// syncs, stays empty. In sled: key = length of the key (2 bytes, big-endian), key, chunk number (2
/// bytes, big-endian); the first chunk begins with the length of the value (4 bytes).
pub struct SledSnapshots {
    path: PathBuf,
    db: sled::Db,
    /// Our own handle on sled's file: its `flush` ends in `sync_file_range`, which is no barrier.
    file: File,
    fingerprint: Mutex<Fingerprint>,
    after_step: Box<dyn Fn(Step) + Send + Sync>,
}

impl SledSnapshots {
    /// Opens or creates the store. What is in it is judged by [`Snapshots::load`].
    ///
    /// # Errors
    /// If sled cannot open it.
    pub fn open(path: &Path) -> Result<SledSnapshots, SnapshotError> {
        SledSnapshots::observed(path, Box::new(|_| {}))
    }

    /// Like [`SledSnapshots::open`]; `after_step` is called after each step of a pass's end, so
    /// that a test can see what a crash there would leave.
    ///
    /// # Errors
    /// If sled cannot open it.
    pub fn observed(
        path: &Path,
        after_step: Box<dyn Fn(Step) + Send + Sync>,
    ) -> Result<SledSnapshots, SnapshotError> {
        let failed = |reason: String| SnapshotError::Store { path: path.to_owned(), reason };
        let config =
            sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        // sled leaves its files' modes to the umask: its directory keeps others out at any moment.
        if !path.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| failed(error.to_string()))?;
        }
        wait_until_free(path)?;
        // sled panics on some damaged files.
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| failed("sled panicked".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let file = File::open(path.join("db")).map_err(|error| failed(error.to_string()))?;
        make_private(path).map_err(|error| failed(error.to_string()))?;
        let fingerprint = Mutex::new(Fingerprint::default());
        let path = path.to_owned();
        let snapshots = SledSnapshots { path, db, file, fingerprint, after_step };
        // A bad one is found again, and reported, by `load`.
        let stored = snapshots.stored_fingerprint().ok().flatten().unwrap_or_default();
        *snapshots.lock() = stored;
        Ok(snapshots)
    }

    /// Opens the store; one that cannot be opened is removed and begun anew, and the reason is
    /// returned for a warning.
    ///
    /// # Errors
    /// If it is in use (then nothing is removed), or a new one cannot be made either.
    pub fn open_or_reset(
        path: &Path,
    ) -> Result<(SledSnapshots, Option<SnapshotError>), SnapshotError> {
        let refused = match SledSnapshots::open(path) {
            Ok(snapshots) => return Ok((snapshots, None)),
            Err(refused @ SnapshotError::InUse { .. }) => return Err(refused),
            Err(refused) => refused,
        };
        if path.exists() {
            std::fs::remove_dir_all(path).map_err(|error| SnapshotError::Store {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        }
        Ok((SledSnapshots::open(path)?, Some(refused)))
    }

    fn store(&self) -> impl Fn(sled::Error) -> SnapshotError + '_ {
        |error| SnapshotError::Store { path: self.path.clone(), reason: error.to_string() }
    }

    fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, SnapshotError> {
        self.db.get(key).map_err(self.store())
    }

    fn stored_fingerprint(&self) -> Result<Option<Fingerprint>, SnapshotError> {
        let Some(bytes) = self.get(FINGERPRINT)? else { return Ok(None) };
        Fingerprint::decode(&bytes).map(Some).ok_or_else(|| damaged("the fingerprint is bad"))
    }

    /// The watermark, and how many writes there were when it was made.
    fn stored_watermark(&self) -> Result<Option<(Mark, u64)>, SnapshotError> {
        let Some(bytes) = self.get(WATERMARK)? else { return Ok(None) };
        let decode = |bytes| {
            let mut fields = Fields(checked(bytes)?);
            let writes = fields.u64()?;
            Some((Mark::decode(fields.0)?, writes))
        };
        decode(&bytes).map(Some).ok_or_else(|| damaged("the watermark is bad"))
    }

    /// A value and the number of its chunks.
    fn value(&self, key: &[u8]) -> Result<Option<(Vec<u8>, usize)>, SnapshotError> {
        let Some(first) = self.get(&chunk_key(key, 0))? else { return Ok(None) };
        let mut value = Value::begin(&first).ok_or_else(|| damaged("a chunk is too short"))?;
        let mut chunks = 1;
        while !value.is_whole() {
            let chunk = self.get(&chunk_key(key, chunks))?;
            value.bytes.extend_from_slice(&chunk.ok_or_else(|| damaged("a chunk is missing"))?);
            chunks += 1;
        }
        Ok(Some((value.bytes, chunks)))
    }

    /// One pass over everything in sled; entries are put together from their chunks.
    fn load_checked(
        &self,
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<Option<Mark>, SnapshotError> {
        let mut found = Fingerprint::default();
        let mut open: Option<(Vec<u8>, u16, Value)> = None;
        for item in self.db.iter() {
            let (stored_key, chunk) = item.map_err(self.store())?;
            if [WATERMARK, FINGERPRINT].contains(&stored_key.as_ref()) {
                continue;
            }
            let (key, number) =
                split_key(&stored_key).ok_or_else(|| damaged("a key is not one of ours"))?;
            let (key, number, value) = match open.take() {
                None if number == 0 => {
                    let value = Value::begin(&chunk);
                    (key, 0, value.ok_or_else(|| damaged("a chunk is too short"))?)
                }
                Some((begun, before, mut value)) if begun == key && before + 1 == number => {
                    value.bytes.extend_from_slice(&chunk);
                    (key, number, value)
                }
                None | Some(_) => return Err(damaged("a chunk is missing")),
            };
            if value.is_whole() {
                found.add(&key, &value.bytes);
                each(&key, &value.bytes);
            } else {
                open = Some((key, number, value));
            }
        }
        if open.is_some() {
            return Err(damaged("a chunk is missing"));
        }
        self.judge(found)
    }

    /// Whether what was found is what was written, and complete up to the watermark.
    fn judge(&self, found: Fingerprint) -> Result<Option<Mark>, SnapshotError> {
        let stored = self.stored_fingerprint()?.unwrap_or_default();
        if (found.entries, found.sum) != (stored.entries, stored.sum) {
            return Err(damaged(format!(
                "{} entries were found, {} written, or they differ",
                found.entries, stored.entries
            )));
        }
        *self.lock() = stored;
        match self.stored_watermark()? {
            Some((_, writes)) if writes > stored.writes => {
                Err(damaged("the entries are older than the watermark"))
            }
            Some((mark, _)) => Ok(Some(mark)),
            None if stored == Fingerprint::default() => Ok(None),
            None => Err(damaged("the first pass, or a clearing, was interrupted")),
        }
    }

    fn flush_and_sync(&self, flushed: Step, synced: Step) -> Result<(), SnapshotError> {
        self.db.flush().map_err(self.store())?;
        (self.after_step)(flushed);
        self.file
            .sync_data()
            .map_err(|error| SnapshotError::Store {
                path: self.path.join("db"),
                reason: error.to_string(),
            })
            .inspect(|()| (self.after_step)(synced))
    }

    fn lock(&self) -> MutexGuard<'_, Fingerprint> {
        self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshots for SledSnapshots {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError> {
        catch_unwind(AssertUnwindSafe(|| self.load_checked(each)))
            .unwrap_or_else(|_| Err(damaged("sled panicked")))
    }

    fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        let mut kept = self.lock();
        let mut fingerprint = *kept;
        let mut batch = sled::Batch::default();
        for (key, value) in last_of_each(entries) {
            let chunks_before = match self.value(key)? {
                Some((before, chunks)) => {
                    fingerprint.remove(key, &before);
                    chunks
                }
                None => 0,
            };
            let chunks = value.map_or(Vec::new(), chunks_of);
            if let Some(value) = value {
                fingerprint.add(key, value);
            }
            for number in chunks.len()..chunks_before {
                batch.remove(chunk_key(key, number));
            }
            for (number, chunk) in chunks.into_iter().enumerate() {
                batch.insert(chunk_key(key, number), chunk);
            }
        }
        fingerprint.writes += 1;
        batch.insert(FINGERPRINT, fingerprint.encode());
        self.db.apply_batch(batch).map_err(self.store())?;
        *kept = fingerprint;
        Ok(())
    }

    fn finish(&self, mark: Mark) -> Result<(), SnapshotError> {
        let writes = self.lock().writes;
        self.flush_and_sync(Step::ValuesFlushed, Step::ValuesSynced)?;
        let mut bytes = writes.to_le_bytes().to_vec();
        bytes.extend(mark.encode());
        bytes.extend([0; 4]);
        self.db.insert(WATERMARK, append_checksum(bytes)).map_err(self.store())?;
        (self.after_step)(Step::MarkWritten);
        self.flush_and_sync(Step::MarkFlushed, Step::MarkSynced)?;
        make_private(&self.path).map_err(|error| self.store()(error.into()))
    }

    /// The watermark goes first: entries without one are never loaded.
    fn clear(&self) -> Result<(), SnapshotError> {
        let mut kept = self.lock();
        self.db.remove(WATERMARK).map_err(self.store())?;
        self.flush_and_sync(Step::MarkFlushed, Step::MarkSynced)?;
        self.db.clear().map_err(self.store())?;
        self.flush_and_sync(Step::ValuesFlushed, Step::ValuesSynced)?;
        *kept = Fingerprint::default();
        Ok(())
    }
}

/// sled lets go of its file in the background: a store that was dropped a moment ago may still
/// hold it, which must not be taken for damage.
fn wait_until_free(path: &Path) -> Result<(), SnapshotError> {
    let Ok(file) = File::open(path.join("db")) else { return Ok(()) }; // There is none yet.
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()), // sled will say what is wrong.
        }
    }
    Err(SnapshotError::InUse { path: path.to_owned() })
}

/// Files 0600 and directories 0700, as everywhere in a data directory.
fn make_private(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let made = entry.file_type().and_then(|kind| {
            let mode = if kind.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode))
        });
        match made {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {} // sled removes files of its own when it likes.
        }
    }
    Ok(())
}

/// A value that is being put together.
struct Value {
    bytes: Vec<u8>,
    length: usize,
}

impl Value {
    fn begin(first_chunk: &[u8]) -> Option<Value> {
        let mut fields = Fields(first_chunk);
        let length = usize::try_from(u32::from_be_bytes(fields.take()?)).ok()?;
        Some(Value { bytes: fields.0.to_vec(), length })
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() >= self.length
    }
}

fn chunks_of(value: &[u8]) -> Vec<Vec<u8>> {
    let length = u32::try_from(value.len()).expect("bounded by VALUE_BYTES_MAX");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(value);
    bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect()
}

fn chunk_key(key: &[u8], number: usize) -> Vec<u8> {
    let [length, number] =
        [key.len(), number].map(|field| u16::try_from(field).expect("bounded above"));
    [&length.to_be_bytes(), key, &number.to_be_bytes()].concat()
}

fn split_key(stored: &[u8]) -> Option<(Vec<u8>, u16)> {
    let mut fields = Fields(stored);
    let length = usize::from(u16::from_be_bytes(fields.take()?));
    let (key, number) = fields.0.split_last_chunk::<2>()?;
    (key.len() == length).then(|| (key.to_vec(), u16::from_be_bytes(*number)))
}
