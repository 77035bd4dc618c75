//! The journal's directory on a real file system. Owns modes, the lock and the completion of
//! interrupted calls; knows nothing of what is in the files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};

/// The name of the file whose lock says that the directory is in use. Its content means nothing.
const LOCK_FILE: &str = "lock";
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A directory on a file system.
///
/// Files are readable by their owner only (0600, the directory 0700), whatever the umask.
pub struct Directory {
    path: PathBuf,
    lock: Option<File>,
}

impl Directory {
    /// Opens the directory for one journal, makes it where it is missing, and locks it.
    ///
    /// # Errors
    /// `ResourceBusy` when another process (or another `Directory`) holds it: two brokers on one
    /// journal would destroy it. Else what the system says about making or opening it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Directory> {
        let path = path.into();
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&path)?;
            sync_directory(path.parent().unwrap_or(Path::new("/")))?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path, lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("`{}` is in use by another broker: stop that one first", path.display()),
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Opens the directory for reading only: no lock, so it may be read beside a running broker.
    /// Everything that would write is refused.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    pub fn read_only(path: impl Into<PathBuf>) -> io::Result<Directory> {
        let path = path.into();
        std::fs::read_dir(&path)?;
        Ok(Directory { path, lock: None })
    }

    fn writable(&self) -> io::Result<()> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "this journal is open for reading only",
            )),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing would do, were it not for a child process that is just being started: until it
        // has become another program it holds the file too, and the lock with it.
        if let Some(lock) = &self.lock {
            let _ = lock.unlock(); // It falls with the process anyhow.
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(self.lock.is_some()).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.writable()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.writable()?;
        sync_directory(&self.path)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            match FileExt::read_at(self, buffer, offset) {
                Ok(0) => break,
                Ok(count) => {
                    buffer = buffer.split_at_mut(count).1;
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset) // Completes short writes, repeats EINTR.
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}
