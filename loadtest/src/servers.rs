//! The servers that are compared: each started on a free port of loopback with a private directory,
//! stopped with SIGINT, and its directory removed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{Anything, machine};

/// How long a server may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian keeps the programs of each version of PostgreSQL.
const POSTGRES_HOME: &str = "/usr/lib/postgresql";
/// Who runs PostgreSQL where we are root, which it refuses to be.
const POSTGRES_USER: &str = "postgres";

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The ceiling: this program's `noop`.
    Noop,
    /// `farebox serve`, from beside this program.
    Farebox,
    /// The same, with its syncs taken away by Debian's `eatmydata`.
    Unsynced,
    /// Redis that syncs after every turn of its event loop.
    Redis,
    /// PostgreSQL that syncs before every answer to a commit.
    Postgres,
}

/// A server of ours. Dropping it stops it.
pub struct Server {
    kind: Kind,
    child: Child,
    address: String,
    home: TempDir,
}

/// What a server has done since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// CPU time, of its children too.
    pub cpu: Duration,
    /// Syncs of its log. Redis does not count them: they are its writes that were no answers, since
    /// there is one before each.
    pub syncs: u64,
    /// Bytes in farebox's journal.
    pub appended_bytes: u64,
}

impl Kind {
    /// Whether what it needs is installed, or what is missing.
    pub fn check(self) -> Result<(), Anything> {
        let (program, argument) = match self {
            Kind::Noop => return beside(env!("CARGO_PKG_NAME")).map(|_| ()),
            Kind::Farebox => return beside("farebox").map(|_| ()),
            Kind::Unsynced => ("eatmydata".into(), "true"),
            Kind::Redis => ("redis-server".into(), "--version"),
            Kind::Postgres => (postgres_program("postgres")?, "--version"),
        };
        said(Command::new(&program).arg(argument)).map_err(|error| {
            let program = program.display();
            format!(
                "`{program}`, which Debian's redis-server, postgresql and eatmydata have: {error}"
            )
        })?;
        Ok(())
    }

    /// Starts one, and waits until it takes connections.
    pub fn start(self) -> Result<Server, Anything> {
        let home = tempfile::Builder::new().prefix("farebox-loadtest-").tempdir()?;
        let started = match self {
            Kind::Noop => {
                let mut noop = Command::new(beside(env!("CARGO_PKG_NAME"))?);
                announced(noop.args(["noop", "--listen", "127.0.0.1:0"]))
            }
            Kind::Farebox => farebox(Command::new(beside("farebox")?), home.path()),
            Kind::Unsynced => {
                let mut unsynced = Command::new("eatmydata");
                unsynced.arg(beside("farebox")?);
                farebox(unsynced, home.path())
            }
            Kind::Redis => redis(home.path()),
            Kind::Postgres => postgres(home.path()),
        };
        let (child, address) =
            started.map_err(|error| format!("{self:?} does not start: {error}"))?;
        let server = Server { kind: self, child, address, home };
        server.check_syncs()?;
        Ok(server)
    }
}

impl Server {
    /// Its address as that of a target.
    pub fn url(&self) -> String {
        let address = &self.address;
        match self.kind {
            Kind::Noop => format!("noop://{address}"),
            Kind::Farebox | Kind::Unsynced => format!("http://{address}"),
            Kind::Redis => format!("redis://{address}"),
            Kind::Postgres => format!("postgres://postgres@{address}/postgres"),
        }
    }

    /// A token for everything, if it is farebox.
    pub fn token(&self) -> Result<Option<String>, Anything> {
        if !matches!(self.kind, Kind::Farebox | Kind::Unsynced) {
            return Ok(None);
        }
        token(self.home.path()).map(Some)
    }

    /// What it has done until now.
    pub fn counters(&self) -> Result<Counters, Anything> {
        let (mut syncs, mut appended_bytes) = (0, 0);
        match self.kind {
            Kind::Noop => {}
            Kind::Farebox | Kind::Unsynced => {
                let metrics = self.metrics()?;
                syncs = metric(&metrics, "farebox_journal_sync_seconds_count");
                appended_bytes = metric(&metrics, "farebox_journal_appended_bytes_total");
            }
            Kind::Redis => {
                let process = procfs::process::Process::new(i32::try_from(self.child.id())?)?;
                let answers = calls(&self.redis_statistics()?, "evalsha");
                syncs = process.io()?.syscw.saturating_sub(answers);
            }
            Kind::Postgres => {
                let mut ask = Command::new(postgres_program("psql")?);
                ask.args(["-qAt", "-c", "SELECT wal_sync FROM pg_stat_wal"]);
                syncs = said(ask.arg(self.url()))?.parse()?;
            }
        }
        Ok(Counters { cpu: machine::cpu_time(self.child.id())?, syncs, appended_bytes })
    }

    /// Lets it and its children stand still: they write nothing and take no time of a core.
    pub fn pause(&self) -> Result<(), Anything> {
        let process = self.child.id();
        signal(process, Signal::STOP)?; // It has no more children from here on.
        machine::family(process)?.into_iter().try_for_each(|member| signal(member, Signal::STOP))
    }

    /// Lets it and its children go on.
    pub fn resume(&self) -> Result<(), Anything> {
        let family = machine::family(self.child.id())?;
        family.into_iter().try_for_each(|member| signal(member, Signal::CONT))
    }

    /// Whether what is said of its syncs is so.
    fn check_syncs(&self) -> Result<(), Anything> {
        let loaded = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?;
        let is_unsynced = loaded.contains("libeatmydata");
        if is_unsynced != (self.kind == Kind::Unsynced) {
            return Err(format!("{:?}: `eatmydata` is loaded: {is_unsynced}", self.kind).into());
        }
        Ok(())
    }

    fn redis_statistics(&self) -> Result<String, Anything> {
        said(Command::new("redis-cli").args(["-u", &self.url(), "info", "commandstats"]))
    }

    fn metrics(&self) -> Result<String, Anything> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics)?;
        Ok(metrics)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.resume(); // It would not hear anything.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT); // It may have ended.
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("{:?} does not stop and is killed", self.kind);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal, unless it has ended meanwhile.
pub fn signal(process: u32, signal: Signal) -> Result<(), Anything> {
    let process = Pid::from_raw(i32::try_from(process)?).ok_or("no process has that id")?;
    match kill_process(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A program that was built with this one, or this one itself. Tests are a directory further down.
pub fn beside(name: &str) -> Result<PathBuf, Anything> {
    let mut program = std::env::current_exe()?.with_file_name(name);
    if let Some(home) = program.parent().filter(|directory| directory.ends_with("deps")) {
        program = home.with_file_name(name);
    }
    if !program.is_file() {
        let path = program.display();
        return Err(format!("`{path}` is missing: build the workspace, not this alone").into());
    }
    Ok(program)
}

/// A token for everything in the broker of a directory.
pub fn token(data: &Path) -> Result<String, Anything> {
    let mut command = Command::new(beside("farebox")?);
    command.args(["token", "--role", "administration", "--expires", "1d", "--data"]);
    said(command.arg(data))
}

/// Starts what says in its first line where it listens.
fn announced(command: &mut Command) -> Result<(Child, String), Anything> {
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("it has no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    match line.trim().split_once("listening on http://") {
        Some((_, address)) => Ok((child, address.to_owned())),
        None => {
            child.kill()?;
            Err(format!("it says `{}`", line.trim()).into())
        }
    }
}

/// Starts farebox, by a command that ends with its program.
pub fn farebox(mut command: Command, home: &Path) -> Result<(Child, String), Anything> {
    command.env("RUST_LOG", "warn").args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(home);
    // Keys are kept for a day: those of all runs together are more than there usually is room for.
    let keys = ["--idempotency-keys", "--idempotency-keys-per-instance"];
    announced(command.args(keys.into_iter().flat_map(|limit| [limit, "100000000"])))
}

fn redis(home: &Path) -> Result<(Child, String), Anything> {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port, "--loglevel", "warning", "--dir"]);
    command.arg(home).args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    // A log that is written anew in the middle of a run would be held against it.
    let mut child =
        spawn(command.args(["--auto-aof-rewrite-percentage", "0"]).stdout(Stdio::null()))?;
    let address = format!("127.0.0.1:{port}");
    until_ready(&mut child, || Ok(TcpStream::connect(&address).is_ok()))?;
    Ok((child, address))
}

fn postgres(home: &Path) -> Result<(Child, String), Anything> {
    if geteuid().is_root() {
        said(Command::new("chown").arg(POSTGRES_USER).arg(home))?;
    }
    let (port, data) = (free_port()?, home.join("data"));
    let mut init = as_postgres("initdb")?;
    init.args(["--username", "postgres", "--auth", "trust", "--no-sync", "--pgdata"]);
    said(init.arg(&data))?;
    let mut command = as_postgres("postgres")?;
    // What differs from Debian's defaults: the buffers, and room for as many connections.
    let settings = ["shared_buffers=256MB", "max_connections=1100", "synchronous_commit=on"];
    command.args(settings.into_iter().flat_map(|setting| ["-c", setting]));
    command.args(["-c", "log_min_messages=panic", "-k", "", "-h", "127.0.0.1", "-p", &port, "-D"]);
    let mut child = spawn(command.arg(&data).stdout(Stdio::null()))?;
    let is_ready = postgres_program("pg_isready")?;
    until_ready(&mut child, || {
        let mut command = Command::new(&is_ready);
        Ok(command
            .args(["-q", "-U", "postgres", "-h", "127.0.0.1", "-p", &port])
            .status()?
            .success())
    })?;
    Ok((child, format!("127.0.0.1:{port}")))
}

/// A program of PostgreSQL, as somebody it accepts.
fn as_postgres(name: &str) -> Result<Command, Anything> {
    let program = postgres_program(name)?;
    if !geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", POSTGRES_USER, "--regid", POSTGRES_USER, "--init-groups"]);
    command.arg(program).current_dir("/"); // Ours may be closed to it.
    Ok(command)
}

/// A program of the newest PostgreSQL that Debian has installed.
fn postgres_program(name: &str) -> Result<PathBuf, Anything> {
    let homes = std::fs::read_dir(POSTGRES_HOME);
    let homes = homes.map_err(|error| format!("`{POSTGRES_HOME}`, is it installed? {error}"))?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = homes.flatten().map(|home| home.path()).max_by_key(version);
    Ok(newest.ok_or("no version of it is installed")?.join("bin").join(name))
}

/// Starts a program, naming it if that fails.
fn spawn(command: &mut Command) -> Result<Child, Anything> {
    let child = command.stdin(Stdio::null()).spawn();
    child.map_err(|error| format!("{}: {error}", command.get_program().display()).into())
}

/// What a program says that ends well, without the last line's end.
pub fn said(command: &mut Command) -> Result<String, Anything> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    if !status.success() {
        let (name, stderr) = (command.get_program().display(), String::from_utf8_lossy(&stderr));
        return Err(format!("{name}: {status}: {}", stderr.trim()).into());
    }
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

fn until_ready(
    child: &mut Child,
    is_ready: impl Fn() -> Result<bool, Anything>,
) -> Result<(), Anything> {
    let asked = Instant::now();
    while !is_ready()? {
        if let Some(status) = child.try_wait()? {
            return Err(format!("it ended: {status}").into());
        }
        if asked.elapsed() > PATIENCE {
            child.kill()?;
            return Err(format!("it takes no connection within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port that nobody listens on; somebody else may take it first, and the start then fails.
fn free_port() -> Result<String, Anything> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}

/// A number of the exposition format; 0 before it was first counted.
fn metric(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// How often Redis was asked for a command, by its statistics.
fn calls(statistics: &str, command: &str) -> u64 {
    let start = format!("cmdstat_{command}:calls=");
    let calls = statistics.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_others() {
        let metrics = "# TYPE a_count counter\na_count 7\na_count_more 8\n";
        assert_eq!((metric(metrics, "a_count"), metric(metrics, "b_count")), (7, 0));
        let statistics = "# Commandstats\r\ncmdstat_evalsha:calls=42,usec=7\r\n";
        assert_eq!((calls(statistics, "evalsha"), calls(statistics, "eval")), (42, 0));
    }
}
