//! Load against farebox and its peers. Each command is a file of this crate; this one reads the
//! arguments.

#![allow(clippy::disallowed_types, reason = "figures, none of them an amount")]

mod alarm;
mod audit;
mod chart;
mod compare;
mod cycles;
mod document;
mod driver;
mod ending;
mod goals;
mod journal;
mod machine;
mod measure;
mod noop;
mod profile;
mod report;
mod run;
mod scale;
mod servers;
mod target;
#[cfg(test)]
mod tests;
mod timing;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // As in farebox itself.

/// What a command fails with.
pub type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Load against farebox and its peers: seeded, audited, open or closed loop.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a profile against a target, and holds the answers against what was used.
    Run(run::Run),
    /// Measures farebox beside a no-op server, Redis and PostgreSQL, in turn, and writes it down.
    Compare(compare::Compare),
    /// Measures cost per request, memory, start-up and disk space by how much there is.
    Scale(scale::Scale),
    /// Counts the instructions of a one-off request, by stage, under callgrind.
    Cycles(cycles::Cycles),
    /// Serves the ceiling: parses a JSON body, and answers a fixed 200 of an access answer's size.
    Noop(noop::Noop),
    /// Tells foreign objects from unknown ones by the time of their answers, or fails to.
    Timing(timing::Timing),
}

impl Command {
    fn run(self) -> Result<ExitCode, Anything> {
        match self {
            Command::Run(run) => run.run(),
            Command::Compare(compare) => compare.run(),
            Command::Scale(scale) => scale.run(),
            Command::Cycles(cycles) => cycles.run(),
            Command::Noop(noop) => noop.run(),
            Command::Timing(timing) => timing.run(),
        }
    }
}

/// A command ends with 0 if all was well, 1 if something was found wrong, 2 if it could not run.
fn main() -> ExitCode {
    allow_open_files();
    let command = Arguments::parse().command;
    let is_noop = matches!(command, Command::Noop(_)); // It starts nothing, and signals just end it.
    let home = if is_noop { Ok(None) } else { ending::prepare().map(Some) };
    let ended = home.and_then(|_home| command.run());
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// Every connection is a file, and some thousand are more than the soft limit mostly lets be open.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("warning: only {:?} files may be open: {error}", limit.current);
    }
}
