//! What a machine is and can do: its description, CPU time of a server there, and what its disk
//! takes for a sync, alone and as a group commit. Durable figures mean nothing without those.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use farebox::env::{Clock, SystemClock};
use hdrhistogram::Histogram;
use procfs::{Current, CurrentSI};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::Anything;

/// What a sync is measured with: one block, as a small batch is.
const BLOCK_BYTES: u64 = 4_096;
/// Written ahead, so that no sync has to make a file longer, as in farebox's journal.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What is measured on, and when.
pub struct Machine {
    date: String,
    commit: String,
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    file_system: String,
    /// What its cores had done when it was looked at.
    before: Cores,
}

/// What all cores have done since the system started, in ticks.
#[derive(Clone, Copy)]
struct Cores {
    all: u64,
    /// What other machines had of it, as far as the hypervisor tells.
    stolen: u64,
}

impl Cores {
    fn now() -> Result<Cores, Anything> {
        let time = procfs::KernelStats::current()?.total;
        let stolen = time.steal.unwrap_or(0);
        let waiting = time.idle + time.iowait.unwrap_or(0);
        let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
        Ok(Cores {
            all: time.user + time.nice + time.system + waiting + interrupts + stolen,
            stolen,
        })
    }

    /// How much of the time between `before` and this was stolen, in percent.
    fn stolen_percent(self, before: Cores) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        100.0 * self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

impl Machine {
    /// This one, with the file system that a directory is on.
    pub fn here(directory: &Path) -> Result<Machine, Anything> {
        let now = SystemClock::new().system().date_time();
        let cpus = procfs::CpuInfo::current()?;
        let memory = procfs::Meminfo::current()?;
        let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output()?;
        Ok(Machine {
            date: format!("{}-{:02}-{:02}", now.year, now.month, now.day),
            commit: match String::from_utf8(commit.stdout)?.trim() {
                "" => "unknown".to_owned(),
                commit => commit.to_owned(),
            },
            cpu: cpus.model_name(0).unwrap_or("an unnamed processor").trim().to_owned(),
            cores: cpus.num_cores(),
            memory_gib: memory.mem_total.div_ceil(1 << 30),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(directory)?,
            before: Cores::now()?,
        })
    }

    /// How much of the time of its cores the hypervisor has given to other machines since it was
    /// looked at, in percent: of what was measured meanwhile, so much is theirs.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn stolen_percent(&self) -> Result<f64, Anything> {
        Ok(Cores::now()?.stolen_percent(self.before))
    }

    /// The same as the end of a sentence about what was measured.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn stolen(&self) -> Result<String, Anything> {
        let percent = self.stolen_percent()?;
        Ok(format!("other machines had {percent:.1} % of the cores' time meanwhile"))
    }

    /// The type of the directory's file system.
    pub fn file_system(&self) -> &str {
        &self.file_system
    }

    /// Whether the directory is on a disk at all: in memory every sync is free.
    ///
    /// # Errors
    /// If it is not: what is durable cannot be measured there.
    pub fn check_disk(&self) -> Result<(), Anything> {
        match self.file_system.as_str() {
            "tmpfs" | "ramfs" => {
                Err("temporary files are in memory here: set TMPDIR to a directory on a disk"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { date, commit, cpu, cores, memory_gib, kernel, file_system, .. } = self;
        write!(
            f,
            "{date}, commit {commit}: {cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}, \
             {file_system}"
        )
    }
}

/// The type of the file system that is mounted nearest above a directory.
fn file_system(directory: &Path) -> Result<String, Anything> {
    let directory = directory.canonicalize()?;
    let mounts = procfs::process::Process::myself()?.mountinfo()?;
    let above = mounts.into_iter().filter(|mount| directory.starts_with(&mount.mount_point));
    let nearest = above.max_by_key(|mount| mount.mount_point.components().count());
    Ok(nearest.ok_or("nothing is mounted at `/`")?.fs_type)
}

/// A process, its children and theirs.
pub fn family(process: u32) -> Result<Vec<u32>, Anything> {
    let members = relatives(process)?.into_iter();
    members.map(|member| Ok(u32::try_from(member.pid)?)).collect()
}

/// CPU time by one of the clocks of this process or thread.
pub fn own_cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap_or(0));
    seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or(0))
}

/// CPU time that a process, its children and theirs have taken, with those that have ended.
pub fn cpu_time(process: u32) -> Result<Duration, Anything> {
    // Whoever ends between the list and the look at it is counted by its parent.
    let ticks = relatives(process)?.into_iter().map(|stat| {
        let of_ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
        stat.utime + stat.stime + of_ended
    });
    Ok(Duration::from_millis(ticks.sum::<u64>() * 1_000 / procfs::ticks_per_second()))
}

/// What the system knows of a process, its children and theirs.
fn relatives(process: u32) -> Result<Vec<procfs::process::Stat>, Anything> {
    let process = i32::try_from(process)?;
    let mut stats: Vec<_> =
        procfs::process::all_processes()?.flatten().filter_map(|one| one.stat().ok()).collect();
    let mut family = HashSet::from([process]);
    loop {
        let known = family.len();
        let children = stats.iter().filter(|stat| family.contains(&stat.ppid));
        let children: Vec<i32> = children.map(|stat| stat.pid).collect();
        family.extend(children);
        if family.len() == known {
            break;
        }
    }
    stats.retain(|stat| family.contains(&stat.pid));
    Ok(stats)
}

/// How long `fdatasync` takes after one block, in nanoseconds. One block follows the other, or comes
/// so long after it as is said; those of the warm-up do not count.
pub fn sync_latency(
    directory: &Path,
    every: Duration,
    warm_up: Duration,
    lasting: Duration,
) -> Result<Histogram<u64>, Anything> {
    let file = written_ahead(directory)?;
    let block = vec![1; usize::try_from(BLOCK_BYTES)?];
    let mut latency = Histogram::new(3)?;
    let (began, mut offset) = (Instant::now(), 0);
    while began.elapsed() < warm_up + lasting {
        let asked = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        let took = asked.elapsed();
        if asked - began >= warm_up {
            latency.record(u64::try_from(took.as_nanos())?)?;
        }
        offset = (offset + BLOCK_BYTES) % FILE_BYTES;
        std::thread::sleep(every.saturating_sub(took));
    }
    Ok(latency)
}

/// Records a second that so many callers append to a file in group commits, each waiting until its
/// own is synced: what queues up during one sync shares the next, and nothing else is done at all.
/// What is appended during the warm-up does not count.
pub fn group_commit(
    directory: &Path,
    callers: usize,
    record_bytes: usize,
    warm_up: Duration,
    lasting: Duration,
) -> Result<f64, Anything> {
    let file = written_ahead(directory)?;
    let (append, mut queue) = mpsc::channel::<oneshot::Sender<()>>(callers);
    let records = vec![1; callers * record_bytes];
    let committer = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut batch, mut offset) = (Vec::with_capacity(callers), 0);
        loop {
            let waiting = queue.blocking_recv_many(&mut batch, callers);
            let Some(bytes) = records.get(..waiting * record_bytes) else { break };
            if waiting == 0 {
                break; // All callers have gone.
            }
            let length = bytes.len() as u64;
            offset = if offset + length > FILE_BYTES { 0 } else { offset };
            file.write_all_at(bytes, offset)?;
            file.sync_data()?;
            offset += length;
            for caller in batch.drain(..) {
                let _ = caller.send(()); // It waits for this.
            }
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let (begins, mut tasks) = (Instant::now() + warm_up, tokio::task::JoinSet::new());
    for _ in 0..callers {
        let append = append.clone();
        tasks.spawn_on(
            async move {
                let mut appended = 0_u64;
                while begins.elapsed() < lasting {
                    let is_measured = Instant::now() >= begins;
                    let (synced, until) = oneshot::channel();
                    if append.send(synced).await.is_err() || until.await.is_err() {
                        break; // The committer says why.
                    }
                    appended += u64::from(is_measured);
                }
                appended
            },
            runtime.handle(),
        );
    }
    drop(append);
    let appended: u64 = runtime.block_on(tasks.join_all()).into_iter().sum();
    let lasted = begins.elapsed();
    committer.join().map_err(|_| "the committer panicked")??;
    Ok(appended as f64 / lasted.as_secs_f64())
}

/// A new file without a name, its bytes on the disk.
fn written_ahead(directory: &Path) -> Result<File, Anything> {
    let file = tempfile::tempfile_in(directory)?;
    file.write_all_at(&vec![0; usize::try_from(FILE_BYTES)?], 0)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_it_is() {
        let machine = Machine::here(&std::env::temp_dir()).unwrap();
        let said = machine.to_string();
        assert!(said.contains(" cores, ") && said.contains("Linux "), "{said}");
        assert!(!machine.file_system.is_empty());
        assert_eq!(file_system(Path::new("/proc")).unwrap(), "proc");
        assert!((0.0..=100.0).contains(&machine.stolen_percent().unwrap()));
    }

    #[test]
    fn what_is_stolen_is_a_part_of_the_time_that_has_passed() {
        let at = |all, stolen| Cores { all, stolen };
        for (before, after, percent) in [
            (at(1_000, 10), at(1_200, 20), 5.0),
            (at(1_000, 10), at(1_200, 10), 0.0),
            (at(1_000, 10), at(1_000, 10), 0.0),
        ] {
            assert_eq!(after.stolen_percent(before), percent);
        }
    }

    #[test]
    fn the_time_of_children_counts_while_they_live_and_when_they_are_gone() {
        let before = cpu_time(std::process::id()).unwrap();
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let ended = Command::new("sh").args(["-c", busy]).status().unwrap();
        assert!(ended.success());
        let after = cpu_time(std::process::id()).unwrap();
        assert!(after > before, "{before:?} to {after:?}");
    }

    #[test]
    fn a_disk_syncs_and_commits_in_groups() {
        let home = tempfile::tempdir().unwrap();
        let moment = Duration::from_millis(20);
        let latency = sync_latency(home.path(), Duration::ZERO, Duration::ZERO, moment).unwrap();
        assert!(latency.value_at_quantile(0.5) > 1_000, "a sync within a microsecond is none");
        assert!(group_commit(home.path(), 10, 150, moment, moment).unwrap() > 0.0);
    }
}
