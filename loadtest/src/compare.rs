//! `compare`: the same work for farebox and for what one would write otherwise, on one machine, in
//! turn. Every round starts all servers anew and asks them one after the other; what is said in the
//! end are medians over the rounds.

mod figures;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use self::figures::{Case, Figures, Place, Results};
use self::tables::{CALLERS, GROUP_COMMIT, SYNC};
use crate::audit::Audit;
use crate::document::Document;
use crate::driver::{self, Arrival, Lasting, Load};
use crate::machine::{self, Machine};
use crate::measure::Measured;
use crate::profile::Profile;
use crate::servers::{Counters, Kind, Server};
use crate::target::{Prepared, Target};
use crate::{Anything, chart};

/// What every place is asked.
const SHARED: [&str; 3] = ["canonical", "hot", "spill"];
/// What only farebox is asked, with so many connections.
const OWN: [&str; 3] = ["keyed", "split5", "puts"];
const OWN_CONNECTIONS: usize = 64;
/// Shares of the saturation at which latency is measured, in percent.
const LOADS_PERCENT: [u32; 11] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110];
const KINDS: [Kind; 5] = [Kind::Noop, Kind::Farebox, Kind::Unsynced, Kind::Redis, Kind::Postgres];
const WARM_UP: Duration = Duration::from_millis(500);
/// What a run takes besides, and what the servers of a round take to start and stop.
const RUN_OVERHEAD: Duration = Duration::from_millis(500);
const ROUND_OVERHEAD: Duration = Duration::from_secs(15);
const SEED: u64 = 1;
const LOAD_CHART: &str = "offered-load.svg";
const LOAD_TITLE: &str = "Latency of a durable one-off against offered load";
/// The parts of the document.
const PARTS: [&str; 3] = ["targets", "comparison", "offered-load"];

/// The same work for farebox, a no-op server, Redis and PostgreSQL, in turn, as one table.
#[derive(Args)]
pub struct Compare {
    /// How long each run is measured.
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    seconds: u64,
    /// How often everything is run; what counts are medians.
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    rounds: u64,
    /// How many connections ask at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256", value_name = "NUMBERS")]
    connections: Vec<usize>,
    /// The document whose generated parts are written anew; charts go to a directory of its name.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Compare {
    /// Measures everything, and says what came of it.
    ///
    /// # Errors
    /// If something is not installed, a server does not start, or answers and balances disagree.
    pub fn run(self) -> Result<ExitCode, Anything> {
        let document = self.output.as_deref().map(|path| Document::open(path, &PARTS));
        let document = document.transpose()?;
        KINDS.into_iter().try_for_each(Kind::check)?;
        let machine = Machine::here(&std::env::temp_dir())?;
        if !machine.has_disk() {
            return Err(
                "temporary files are in memory here: set TMPDIR to a directory on a disk".into()
            );
        }
        let cases = self.cases();
        let runs = cases.len() * usize::try_from(self.rounds)?;
        let each = Duration::from_secs(self.seconds) + WARM_UP + RUN_OVERHEAD;
        let minutes = (each * u32::try_from(runs)? + ROUND_OVERHEAD * u32::try_from(self.rounds)?)
            .as_secs()
            .div_ceil(60);
        println!("{machine}");
        println!("{runs} runs in {} rounds: about {minutes} minutes", self.rounds);
        let mut results = Results::default();
        for round in 0..self.rounds {
            let mut under_way = Round::start(self.seconds, self.saturated())?;
            for (position, case) in cases.iter().enumerate() {
                let figures = under_way.measure(*case, &results)?;
                results.add(*case, figures);
                let run = usize::try_from(round)? * cases.len() + position + 1;
                println!("{}", progress(run, runs, *case, &figures));
            }
        }
        self.report(&machine, &results, document)
    }

    /// What is run in every round, in this order: whoever is compared stands side by side.
    fn cases(&self) -> Vec<Case> {
        let places = [
            Place::Noop,
            Place::Farebox,
            Place::Unsynced,
            Place::Redis,
            Place::Statement,
            Place::Procedure,
        ];
        let mut cases = vec![Case::closed(SYNC, 1, Place::File)];
        for profile in SHARED {
            for connections in &self.connections {
                // To the no-op all of them are the same.
                let asked =
                    places.iter().filter(|place| **place != Place::Noop || profile == "canonical");
                cases.extend(asked.map(|place| Case::closed(profile, *connections, *place)));
            }
        }
        cases.extend(OWN.map(|profile| Case::closed(profile, OWN_CONNECTIONS, Place::Farebox)));
        cases.push(Case::closed("canonical", CALLERS, Place::Embedded));
        cases.push(Case::closed(GROUP_COMMIT, CALLERS, Place::File));
        let saturated = self.saturated();
        for percent in LOADS_PERCENT {
            let load_percent = Some(percent);
            let at = |place| Case { load_percent, place, ..saturated };
            cases.extend([at(Place::Farebox), at(Place::Noop)]);
        }
        cases
    }

    /// What the open loop is a share of.
    fn saturated(&self) -> Case {
        let connections = self.connections.iter().copied().max().unwrap_or(OWN_CONNECTIONS);
        Case::closed("canonical", connections, Place::Farebox)
    }

    fn report(
        &self,
        machine: &Machine,
        results: &Results,
        document: Option<Document>,
    ) -> Result<ExitCode, Anything> {
        let (seconds, rounds) = (self.seconds, self.rounds);
        let measured = format!("{machine}. Medians of {rounds} rounds, {seconds} s a run.");
        let [targets, comparison, offered_load] =
            [tables::targets, tables::comparison, tables::offered_load]
                .map(|table| format!("{measured}\n\n{}", table(results)));
        println!("\n{comparison}\n{offered_load}\n{targets}");
        if let (Some(mut document), Some(path)) = (document, &self.output) {
            let charts = path.with_extension("");
            let name = charts.file_name().unwrap_or_default().display();
            let offered_load = format!("{offered_load}\n![{LOAD_TITLE}]({name}/{LOAD_CHART})");
            let parts = PARTS.into_iter().zip([targets, comparison, offered_load]);
            for (part, generated) in parts {
                document.replace(part, &generated)?;
            }
            document.save()?;
            let lines = tables::offered_load_chart(results);
            let (x, y) = ("offered load, % of saturation", "latency, ms");
            chart::write(&charts.join(LOAD_CHART), LOAD_TITLE, x, y, true, &lines)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All servers, new, and the worlds that were made there.
struct Round {
    runtime: Runtime,
    servers: BTreeMap<Kind, Server>,
    worlds: BTreeMap<(&'static str, Place), Arc<Prepared>>,
    lasting: Duration,
    /// What farebox over HTTP did with the most connections.
    saturated: Case,
}

impl Round {
    fn start(seconds: u64, saturated: Case) -> Result<Round, Anything> {
        let servers = KINDS.into_iter().map(|kind| Ok((kind, kind.start()?)));
        Ok(Round {
            runtime: Runtime::new()?,
            servers: servers.collect::<Result<_, Anything>>()?,
            worlds: BTreeMap::new(),
            lasting: Duration::from_secs(seconds),
            saturated,
        })
    }

    fn measure(&mut self, case: Case, results: &Results) -> Result<Figures, Anything> {
        let home = std::env::temp_dir();
        match case.profile {
            SYNC => {
                let latency = machine::sync_latency(&home, self.lasting)?;
                let per_second = latency.len() as f64 / self.lasting.as_secs_f64();
                Ok(Figures { per_second, ..Figures::latency(&latency) })
            }
            GROUP_COMMIT => {
                let over_http = results.latest(self.saturated).ok_or("farebox comes first")?;
                let bytes = format!("{:.0}", over_http.journal_bytes).parse()?;
                let per_second =
                    machine::group_commit(&home, case.connections, bytes, self.lasting)?;
                Ok(Figures { per_second, ..Figures::default() })
            }
            _ => self.ask(case, results),
        }
    }

    /// Lets a profile loose on a place, and holds what the answers charged against the balances.
    fn ask(&mut self, case: Case, results: &Results) -> Result<Figures, Anything> {
        let profile = Profile::load(case.profile)?;
        let prepared = self.world(case, &profile)?;
        let load = Load {
            arrival: arrival(case, results)?,
            connections: case.connections,
            threads: std::thread::available_parallelism()?.get(),
            warm_up: WARM_UP,
            lasting: Lasting::Time(self.lasting),
            seed: SEED,
        };
        let handle = self.runtime.handle().clone();
        let used = self.runtime.block_on(prepared.used())?;
        let before = self.counters(case.place)?;
        let measured = driver::run(&handle, &prepared, &profile, &load, &ProgressBar::hidden())?;
        // What sessions charge does not say how many requests it took.
        let counted = profile.has_only_one_offs();
        let after = if counted { self.counters(case.place)? } else { before };
        let used = used.zip(self.runtime.block_on(prepared.used())?);
        if case.place == Place::Embedded {
            self.worlds.remove(&(case.profile, case.place));
            self.runtime.block_on(prepared.close())?;
        }
        let audit = Audit::new(used, &measured, profile.world.cost(), None);
        if !audit.agrees || measured.answered() > measured.granted {
            return Err(failed(case, &measured, audit).into());
        }
        Ok(Figures::of(&measured, profile.world.cost(), before, after))
    }

    /// The world of a profile there, made if it is not there yet.
    fn world(&mut self, case: Case, profile: &Profile) -> Result<Arc<Prepared>, Anything> {
        let key = (case.profile, case.place);
        if let Some(prepared) = self.worlds.get(&key) {
            return Ok(Arc::clone(prepared));
        }
        let target = self.target(case.place)?;
        let prepared = self.runtime.block_on(target.prepare(profile, &ProgressBar::hidden()))?;
        let prepared = Arc::new(prepared);
        self.worlds.insert(key, Arc::clone(&prepared));
        Ok(prepared)
    }

    fn target(&self, place: Place) -> Result<Target, Anything> {
        match self.server(place) {
            None => Ok(Target::Embedded),
            Some(server) if place == Place::Procedure => {
                Target::new(&format!("{}?procedure", server.url()), None)
            }
            Some(server) => Target::new(&server.url(), server.token()?),
        }
    }

    fn server(&self, place: Place) -> Option<&Server> {
        self.servers.get(&place.server()?)
    }

    /// What a place has done until now; of what has no server of its own, nothing is known.
    fn counters(&self, place: Place) -> Result<Counters, Anything> {
        self.server(place).map_or(Ok(Counters::default()), Server::counters)
    }
}

/// In the open loop a share of what farebox came to in the closed one of this round, for others too.
fn arrival(case: Case, results: &Results) -> Result<Arrival, Anything> {
    let Some(percent) = case.load_percent else { return Ok(Arrival::Closed) };
    let closed = Case { load_percent: None, place: Place::Farebox, ..case };
    let closed = results.latest(closed);
    let closed = closed.ok_or("the closed loop comes first")?.per_second;
    let per_second = format!("{:.0}", closed * f64::from(percent) / 100.0).parse()?;
    Ok(Arrival::Open { per_second })
}

/// Why a run is worth nothing.
fn failed(case: Case, measured: &Measured, audit: Audit) -> String {
    let Case { profile, connections, place, .. } = case;
    let Measured { granted, refused, overloaded, unknown, failed, .. } = measured;
    format!(
        "{profile}, {connections} callers, {}: {granted} granted, {refused} refused, {overloaded} \
         told to come back, {unknown} unknown, {failed} failed; {audit}",
        place.name()
    )
}

/// A run in one line.
fn progress(run: usize, runs: usize, case: Case, figures: &Figures) -> String {
    let Case { profile, connections, load_percent, place } = case;
    let load = load_percent.map_or(String::new(), |percent| format!(" at {percent} %"));
    let Figures { per_second, p50_ms, p99_ms, .. } = figures;
    let rate = tables::grouped(&format!("{per_second:.0}"));
    format!(
        "[{run}/{runs}] {profile}{load}, {connections} callers, {}: {rate}/s, \
         p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms",
        place.name()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        compare: Compare,
    }

    #[test]
    fn whoever_is_compared_stands_side_by_side() {
        let Line { compare } = Line::parse_from(["", "--connections", "64"]);
        let places = |profile: &str| -> Vec<&str> {
            let cases = compare.cases().into_iter();
            cases
                .filter(|case| case.profile == profile && case.connections == 64)
                .filter(|case| case.load_percent.is_none())
                .map(|case| case.place.name())
                .collect()
        };
        let peers = ["farebox", "farebox, not synced", "Redis"];
        let postgres = ["PostgreSQL, statement", "PostgreSQL, procedure"];
        assert_eq!(places("hot"), [&peers[..], &postgres].concat());
        assert_eq!(places("canonical"), [&["no-op"], &peers[..], &postgres].concat());
        assert_eq!(places("puts"), ["farebox"]);
        assert_eq!(compare.cases().len(), 1 + 6 + 5 + 5 + 3 + 2 + 22);
    }

    #[test]
    fn the_open_loop_is_a_share_of_the_closed_one() {
        let closed = Case::closed("canonical", 64, Place::Farebox);
        let half = Case { load_percent: Some(50), ..closed };
        let mut results = Results::default();
        assert!(arrival(half, &results).is_err());
        results.add(closed, Figures { per_second: 1_001.0, ..Figures::default() });
        assert_eq!(arrival(closed, &results).unwrap(), Arrival::Closed);
        assert!(matches!(
            arrival(half, &results).unwrap(),
            Arrival::Open { per_second: 500 | 501 }
        ));
    }
}
