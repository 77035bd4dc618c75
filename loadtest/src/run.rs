//! `run`: one profile against one target, measured and audited.

use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::{Handle, Runtime};

use crate::Anything;
use crate::audit::Audit;
use crate::driver::{self, Arrival, Lasting, Load};
use crate::machine::Machine;
use crate::measure::Measured;
use crate::profile::Profile;
use crate::report::{Asked, Report};
use crate::target::{TARGETS, Target};

/// What is run, where, and how.
#[derive(Args)]
pub struct Run {
    /// The name of a profile, or the path of its TOML file.
    profile: String,
    /// Where it is asked.
    #[arg(help = format!("Where it is asked: {TARGETS}"))]
    target: String,
    /// Callers, with one request at a time each; as many as the profile says, unless said.
    #[arg(long)]
    connections: Option<NonZero<usize>>,
    /// Threads of the generator.
    #[arg(long, default_value = "2")]
    threads: NonZero<usize>,
    /// Requests a second, whether or not those before them were answered (open loop); as the
    /// profile says, unless said.
    #[arg(long)]
    per_second: Option<NonZero<u32>>,
    /// What is asked in the first seconds is not measured.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    warm_up: u64,
    /// How long is measured.
    #[arg(long, default_value = "10")]
    seconds: NonZero<u64>,
    /// Ends after so many requests instead, those of the warm-up among them.
    #[arg(long, conflicts_with = "seconds")]
    requests: Option<NonZero<u64>>,
    /// Repeats what every connection asks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A file with a token of administration, for farebox over HTTP. It is taken, if there is one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself.
    #[arg(long, env = "FAREBOX_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Also writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Run {
    /// Prints the report. Exit status 1 if the audit or a request failed, 2 if nobody tells what was
    /// used.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn run(self) -> Result<ExitCode, Anything> {
        let profile = Profile::load(&self.profile)?;
        let named = |file: &PathBuf, error| format!("`{}`: {error}", file.display());
        let token = match &self.token_file {
            Some(file) => {
                let token = std::fs::read_to_string(file).map_err(|error| named(file, error))?;
                Some(token.trim().to_owned())
            }
            None => self.token.clone(),
        };
        let target = Target::new(&self.target, token)?;
        let load = Load {
            arrival: match self.per_second.or(profile.per_second) {
                Some(per_second) => Arrival::Open { per_second: per_second.get() },
                None => Arrival::Closed,
            },
            connections: self.connections.unwrap_or(profile.connections).get(),
            threads: self.threads.get(),
            warm_up: Duration::from_secs(self.warm_up),
            lasting: match self.requests {
                Some(many) => Lasting::Requests(many.get()),
                None => Lasting::Time(Duration::from_secs(self.seconds.get())),
            },
            seed: self.seed,
        };
        // What cannot be written is told now, and not after the load. Until then it stays as it is.
        let json = self.json.as_ref().map(|file| {
            let opened = File::options().write(true).create(true).truncate(false).open(file);
            Ok::<_, Anything>((opened.map_err(|error| named(file, error))?, file))
        });
        let json = json.transpose()?;
        let machine = Machine::here(&std::env::temp_dir())?;
        let runtime = Runtime::new()?;
        let progress = bar()?;
        let (measured, audit) = audited(runtime.handle(), &target, &profile, &load, &progress)?;
        progress.finish_and_clear();
        if measured.answered() == 0 && !profile.world.storm {
            let all = "nothing was measured: all of it was within the warm-up (`--warm-up`)";
            return Err(all.into());
        }
        if measured.unreached > 0 && measured.unreached == measured.answered() {
            return Err(format!("nobody was reached at {}", self.target).into());
        }
        let asked = Asked { profile: &profile, target: &self.target, load: &load };
        let report = Report::new(&asked, &machine, &measured, audit)?;
        println!("{report}");
        if let Some((mut opened, file)) = json {
            let report = serde_json::to_string_pretty(&report)?;
            let written = opened.set_len(0).and_then(|()| opened.write_all(report.as_bytes()));
            written.map_err(|error| named(file, error))?;
        }
        Ok(match &report.audit.untold {
            Some(_) => ExitCode::from(2),
            None if report.is_good() => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        })
    }
}

/// Makes a world, drives a load in it, and holds the answers against what was used.
///
/// # Errors
/// If any of it cannot be done. An audit that fails, or is not possible any more, is no error.
pub fn audited(
    runtime: &Handle,
    target: &Target,
    profile: &Profile,
    load: &Load,
    progress: &ProgressBar,
) -> Result<(Measured, Audit), Anything> {
    let prepared = Arc::new(runtime.block_on(target.prepare(profile, progress))?);
    let before = runtime.block_on(prepared.used())?;
    let measured = driver::run(runtime, &prepared, profile, load, progress)?;
    let after = match runtime.block_on(prepared.used()) {
        Ok(after) => after,
        Err(why) => {
            let audit = Audit::untold(&measured, &why);
            return Ok((measured, audit));
        }
    };
    runtime.block_on(prepared.close())?;
    let stormed = profile.world.storm.then_some(profile.sessions);
    let stormed = stormed.map(u64::try_from).transpose()?;
    let audit = Audit::new(before.zip(after), &measured, profile.world.cost(), stormed);
    Ok((measured, audit))
}

/// A bar that shows how much was prepared, then how many requests were sent.
///
/// # Errors
/// None that could happen: its template is a constant.
pub fn bar() -> Result<ProgressBar, Anything> {
    let style = ProgressStyle::with_template("{elapsed_precise} {msg}: {human_pos}")?;
    Ok(ProgressBar::new_spinner().with_style(style))
}
