//! Opening a broker and stopping its parts: lock, snapshots, journal, actors.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{Broker, Inner};
use crate::actors::recovery::{Settled, State};
use crate::actors::{
    self, Alarm, Awake, Core, Gate, KeyIndex, Ledger, Quota, alarm, broker_time, sleep,
};
use crate::config::Settings;
use crate::domain::event::Event;
use crate::domain::ids::Sequence;
use crate::env::{Clock, IdSource, SystemClock, SystemIds};
use crate::journal::{
    self, Directory, Disk, Extent, Journal, Known, MemoryDisk, MemorySnapshots, SledSnapshots,
    Snapshots, TornTail,
};

/// Where a broker remembers.
#[derive(Clone)]
pub enum Storage {
    /// A directory of its own: journal, snapshots, lock.
    Directory(PathBuf),
    /// Nowhere: everything ends with the process.
    Memory,
    /// Disk and snapshots of the caller's making: how the tests make them fail.
    Custom(Arc<dyn Disk>, Arc<dyn Snapshots>),
}

/// What a broker is opened with.
#[derive(Clone)]
pub struct Options {
    /// Where it remembers.
    pub storage: Storage,
    /// Its settings.
    pub settings: Settings,
    /// Its clocks.
    pub clock: Arc<dyn Clock>,
    /// Its source of fresh ids.
    pub ids: Arc<dyn IdSource>,
}

impl Options {
    /// The machine's clocks and randomness, and default settings.
    pub fn new(storage: Storage) -> Options {
        Options {
            storage,
            settings: Settings::default(),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds),
        }
    }

    /// A broker that remembers in a directory; created if need be.
    pub fn directory(path: impl Into<PathBuf>) -> Options {
        Options::new(Storage::Directory(path.into()))
    }

    /// A broker that forgets everything with the process.
    pub fn memory() -> Options {
        Options::new(Storage::Memory)
    }
}

/// A broker that was opened, and what was found.
pub struct Opened {
    /// The broker.
    pub broker: Broker,
    /// The last record that was there.
    pub last: Sequence,
    /// Records read back because no snapshot had them.
    pub replayed: u64,
    /// The unfinished write of a crash, if there was one: never acknowledged, now cut off.
    pub cut: Option<TornTail>,
}

/// Why a broker cannot be opened. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory.
    #[error("`{}` is in use by another process: stop it first, or use another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be used.
    #[error("`{}` cannot be used: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal cannot be read back or written.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The directory's time is moved by hand, or is not, and it was to be opened the other way.
    #[error(
        "the directory is driven by {}: {}",
        if *test_clock { "a test clock" } else { "the system's clocks" },
        if *test_clock { "serve it with --test-clock" } else { "serve it without --test-clock" }
    )]
    OtherClock {
        /// Which clock the directory has.
        test_clock: bool,
    },
    /// The actors could not be started.
    #[error("the actors could not be started: {0}")]
    Actors(String),
}

impl Broker {
    /// Opens a broker: reads the snapshots, replays the journal after them, starts the actors.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: Options) -> Result<Opened, OpenError> {
        let storage = options.storage.clone();
        let (journal_id, segment_bytes) = (options.ids.fresh(), options.settings.segment_bytes);
        let keep = options.settings.idempotency.keep;
        let read = move || read_back(storage, journal_id, segment_bytes, keep);
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|error| OpenError::Actors(error.to_string()))??;
        let ReadBack { snapshots, watermark, recovered, state } = read;
        let gate = Gate::new(options.settings.limits);
        let quota = Quota::new(options.settings.sessions);
        let directory = Arc::new(actors::Directory::default());
        let alarm = Arc::new(Alarm::default());
        let (mark, test_clock) = (state.mark, options.clock.is_test_clock());
        let is_new = recovered.last == Sequence::ZERO;
        if !is_new && state.test_clock != test_clock {
            return Err(OpenError::OtherClock { test_clock: state.test_clock });
        }
        let settled = state.settle(&directory, (&gate, &quota), &alarm);
        let Settled { tenant, registry, keys, catalogue, owners } = settled;
        let journal = recovered.journal;
        let mut journal_failure = journal.failure();
        let keys = KeyIndex::new(options.settings.idempotency, keys);
        let ledger = Ledger::new(journal, tenant, mark, options.clock, options.ids, keys);
        let awake = Awake::new(options.settings.awake);
        let core = Core::new(ledger, directory, alarm, awake, (gate, quota), snapshots, watermark);
        let core = Arc::new(core);
        for (instance, owners) in owners {
            core.ledger.still_dirty(&instance, owners);
        }
        let mut catalogue = catalogue;
        if is_new && test_clock {
            let noted = core.ledger.note(Event::TestClock);
            noted.map_err(|error| OpenError::Actors(error.to_string()))?;
            catalogue.push(actors::test_clock_entry());
        }
        let started = actors::start(&core, registry, catalogue).await;
        started.map_err(|error| OpenError::Actors(error.to_string()))?;
        let started = core.start_clock().await;
        started.map_err(|error| OpenError::Actors(error.to_string()))?;
        let failing = Arc::downgrade(&core); // The journal lives in it: it must be able to end.
        tokio::spawn(async move {
            if let Ok(down) = journal_failure.wait_for(Option::is_some).await
                && let Some(failing) = failing.upgrade()
            {
                failing.fail(down.as_ref().map(ToString::to_string).unwrap_or_default());
            }
        });
        let every = options.settings.snapshot_every;
        let snapshotting = Arc::clone(&core);
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            // A pass is never given up half way: what it had taken to write would be forgotten.
            while timeout(every, &mut stopped).await.is_err() {
                take_snapshot(&snapshotting).await;
            }
        });
        let mut watchers = JoinSet::new();
        watchers.spawn(sleep::run(Arc::clone(&core)));
        if !test_clock {
            watchers.spawn(alarm::run(Arc::clone(&core)));
            watchers.spawn(alarm::sweep(Arc::clone(&core)));
            watchers.spawn(broker_time::run(Arc::clone(&core)));
        }
        let passes = Mutex::new(Some(Passes { stop, task, watchers }));
        let inner = Inner { core, settings: options.settings, passes };
        Ok(Opened {
            broker: Broker { inner: Arc::new(inner), keyed: None },
            last: recovered.last,
            replayed: recovered.replayed,
            cut: recovered.cut,
        })
    }
}

async fn take_snapshot(core: &Arc<Core>) {
    if let Err(error) = actors::snapshot_pass(core).await {
        tracing::warn!(%error, "a snapshot pass failed: a restart replays more, nothing is lost");
    }
}

/// The background passes.
pub(super) struct Passes {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// What watches the clock and the number of those awake. Ends when it is dropped.
    watchers: JoinSet<()>,
}

/// Ends the background passes and takes the last one.
pub(super) async fn stop_snapshots(inner: &Inner) {
    let passes = inner.passes.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Passes { stop, task, watchers }) = passes {
        drop(watchers);
        drop(stop);
        let _ = task.await; // If it panicked, a restart replays more.
        take_snapshot(&inner.core).await;
    }
}

/// Ends the actors, once the journal is closed.
pub(super) async fn stop_actors(inner: &Inner) {
    actors::stop(&inner.core).await;
}

/// What the disk says.
struct ReadBack {
    snapshots: Arc<dyn Snapshots>,
    watermark: Sequence,
    recovered: journal::Recovered,
    state: State,
}

fn read_back(
    storage: Storage,
    journal_id: u128,
    segment_bytes: u64,
    keep: Duration,
) -> Result<ReadBack, OpenError> {
    let mut lost = false;
    let (disk, snapshots) = match storage {
        Storage::Memory => {
            let snapshots: Arc<dyn Snapshots> = Arc::new(MemorySnapshots::default());
            (Arc::new(MemoryDisk::new()) as Arc<dyn Disk>, snapshots)
        }
        Storage::Custom(disk, snapshots) => (disk, snapshots),
        Storage::Directory(path) => {
            let unusable = |source| OpenError::Directory { path: path.clone(), source };
            create_private(&path).map_err(unusable)?;
            let disk = lock_journal(&path)?;
            journal::check_version(&disk)?; // Opening the snapshots changes their files.
            lost = !path.join("snapshots").exists();
            let opened = SledSnapshots::open_or_reset(&path.join("snapshots"));
            let (snapshots, warning) =
                opened.map_err(|error| unusable(io::Error::other(error.to_string())))?;
            if let Some(warning) = warning {
                tracing::warn!(%warning, "the snapshots were thrown away");
            }
            (Arc::new(disk) as Arc<dyn Disk>, Arc::new(snapshots) as _)
        }
    };
    let mut state = State::keeping(keep);
    let watermark = match load(snapshots.as_ref(), &mut state) {
        Ok(watermark) => watermark,
        Err(warning) => {
            tracing::warn!(warning, "the snapshots are rebuilt from the journal");
            state = State::keeping(keep);
            None
        }
    };
    let options = journal::Options {
        segment_bytes,
        extent: Extent::Everything,
        ..journal::Options::new(journal_id)
    };
    let recovered = Journal::open(disk, options, Known { watermark }, &mut state)?;
    let known = watermark.filter(|_| recovered.known_mark_matches);
    if known.is_none() {
        let expected = lost || watermark.is_some(); // Else a crash came before the first pass.
        if expected && recovered.last > Sequence::ZERO {
            tracing::warn!("no snapshots of this journal: all of it was replayed");
        }
        let cleared = snapshots.clear();
        cleared.map_err(|error| OpenError::Actors(error.to_string()))?;
    }
    let watermark = known.map_or(Sequence::ZERO, |mark| mark.sequence);
    Ok(ReadBack { snapshots, watermark, recovered, state })
}

fn load(snapshots: &dyn Snapshots, state: &mut State) -> Result<Option<journal::Mark>, String> {
    let mut unreadable = None;
    let watermark = snapshots.load(&mut |_, value| {
        if let Err(why) = state.load(value) {
            unreadable = Some(why);
        }
    });
    match (watermark, unreadable) {
        (Ok(watermark), None) => Ok(watermark),
        (Ok(_), Some(why)) => Err(why),
        (Err(error), _) => Err(error.to_string()),
    }
}

/// The journal's directory, locked for this process alone: the lock falls with the process, however
/// it ends.
pub(crate) fn lock_journal(path: &Path) -> Result<Directory, OpenError> {
    Directory::open(path.join("journal")).map_err(|source| {
        let path = path.to_owned();
        let in_use = source.kind() == io::ErrorKind::ResourceBusy;
        if in_use { OpenError::InUse { path } } else { OpenError::Directory { path, source } }
    })
}

fn create_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
