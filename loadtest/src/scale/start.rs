//! How long a start takes, by what there is to be read, and what a charge takes of the disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::table::{JOURNAL, Table};
use super::world::{World, request};
use super::{Plan, cost};
use crate::Anything;
use crate::journal::{Used, segments, used};
use crate::measure::median;

/// No pass is to come in between.
const NEVER: Duration = Duration::from_secs(86_400);
/// Charges of a journal are spread over so many instances.
const INSTANCES: usize = 1_000;
/// Line items of an instance in a snapshot.
const PER_INSTANCE: usize = 1_000;
/// What a reading or a start takes is the median of so many: the files are in the system's cache.
const READINGS: usize = 3;
const MIB: f64 = 1_048_576.0;

/// By records: after a clean stop, with snapshots, and without any, so that all of it is applied;
/// beside reading the same files and doing nothing.
pub(super) async fn by_journal(plan: &Plan) -> Result<Table, Anything> {
    let title = "Start-up by length of the journal".to_owned();
    let columns = &[
        "records",
        "raw read s",
        "start s",
        "start without snapshots s",
        "start / raw",
        "without snapshots / raw",
        "MiB",
    ];
    let mut table = Table::new(JOURNAL, title, columns, (3, "s"), &plan.progress);
    let home = tempfile::tempdir()?;
    let mut world = World::new(home.path(), NEVER).await?;
    world.add_line_items(INSTANCES.min(plan.largest), 1, plan).await?;
    for times in [1, 5, 10] {
        let wanted = plan.largest * times;
        let already = usize::try_from(world.broker.journal().last().get())?;
        charge(&world, wanted.saturating_sub(already), plan).await?;
        let mut scopes = world.stop().await?;
        let Used { bytes, records } = used(home.path())?;
        let raw = (0..READINGS).map(|_| read_raw(home.path(), bytes));
        let raw = raw.collect::<Result<Vec<_>, _>>()?;
        let (mut starts, mut replays) = (Vec::new(), Vec::new());
        for _ in 0..READINGS {
            let (again, start) = World::start(home.path(), scopes, NEVER).await?;
            scopes = again.stop().await?;
            std::fs::remove_dir_all(home.path().join("snapshots"))?;
            let (again, replay) = World::start(home.path(), scopes, NEVER).await?;
            scopes = again.stop().await?; // Takes the snapshots that the next one starts from.
            starts.push(start);
            replays.push(replay);
        }
        world = World::start(home.path(), scopes, NEVER).await?.0;
        let [raw, start, replay] = [raw, starts, replays].map(|times| {
            median(times.iter().map(Duration::as_secs_f64).collect()).unwrap_or_default()
        });
        let megabytes = bytes as f64 / MIB;
        let row = [records as f64, raw, start, replay, start / raw, replay / raw, megabytes];
        table.add(row.to_vec());
    }
    world.stop().await?;
    Ok(table)
}

/// By line items: how long a snapshot of all of them takes, and a start from it.
pub(super) async fn by_snapshot(plan: &Plan) -> Result<Table, Anything> {
    let title = "Snapshot of line items, and start-up from it".to_owned();
    let columns = &["line items", "snapshot s", "start s", "snapshot MiB", "MiB of the journal"];
    let mut table = Table::new("snapshot", title, columns, (2, "s"), &plan.progress);
    for size in plan.sizes(plan.largest) {
        let home = tempfile::tempdir()?;
        let mut world = World::new(home.path(), NEVER).await?;
        world.add_line_items(size, PER_INSTANCE, plan).await?;
        let began = Instant::now();
        let scopes = world.stop().await?; // Takes the only snapshot.
        let snapshot = began.elapsed();
        let bytes = bytes_below(&home.path().join("snapshots"))?;
        let journal = used(home.path())?.bytes;
        let (world, start) = World::start(home.path(), scopes, NEVER).await?;
        world.stop().await?;
        let [snapshot, start] = [snapshot, start].map(|time| time.as_secs_f64());
        let [bytes, journal] = [bytes, journal].map(|bytes| bytes as f64 / MIB);
        table.add(vec![size as f64, snapshot, start, bytes, journal]);
    }
    Ok(table)
}

/// By callers: the more records share a batch, the less of it is padding.
pub(super) async fn disk_bytes(plan: &Plan) -> Result<Table, Anything> {
    let title = "What a charge takes of the disk, by callers at once".to_owned();
    let columns = &["callers", "bytes a charge", "wall µs a charge", "CPU µs a charge", "p99 µs"];
    let mut table = Table::new("disk", title, columns, (1, "bytes"), &plan.progress);
    let home = tempfile::tempdir()?;
    let mut world = World::new(home.path(), NEVER).await?;
    world.add_line_items(1, 1, plan).await?;
    for callers in [1, 16, 64, 256, 1_000] {
        let before = used(home.path())?;
        let cost = cost::one_offs(&world, &Plan { callers, ..plan.clone() }).await?;
        let after = used(home.path())?;
        let bytes = (after.bytes - before.bytes) as f64 / (after.records - before.records) as f64;
        let mut row = cost.row(callers);
        row.insert(1, bytes);
        table.add(row);
    }
    world.stop().await?;
    Ok(table)
}

/// Makes so many one-off requests, in all instances in turn.
async fn charge(world: &World, many: usize, plan: &Plan) -> Result<(), Anything> {
    let asked = request()?;
    world
        .each("charges", many, plan, move |world, number| {
            let asked = asked.clone();
            async move {
                let scope = world.scopes.get(number % world.scopes.len()).ok_or("no instance")?;
                world.broker.access(*scope, asked).await?;
                Ok(())
            }
        })
        .await?;
    Ok(())
}

/// How long it takes to read so many bytes of the segments, in order.
fn read_raw(home: &Path, bytes: u64) -> Result<Duration, Anything> {
    let journal = home.join("journal");
    let (began, mut left) = (Instant::now(), bytes);
    let mut buffer = vec![0; 1 << 20];
    for segment in segments(&journal)? {
        let mut file = File::open(journal.join(segment))?.take(left);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => left -= u64::try_from(count)?,
            }
        }
    }
    Ok(began.elapsed())
}

/// The length of all files in a directory and below.
fn bytes_below(directory: &Path) -> Result<u64, Anything> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
