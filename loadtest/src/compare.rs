//! `compare`: the same work for farebox and for what one would write otherwise, on one machine, in
//! turn. Every round starts all servers anew and asks them one after the other, each round
//! beginning with another, while those that are not asked stand still; what is said in the end are
//! medians over the rounds.

mod figures;
mod tables;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use tokio::runtime::Runtime;

use self::figures::{Case, Figures, Place, Results};
use self::tables::{CALLERS, GROUP_COMMIT, SYNC, SYNC_BESIDE};
use crate::Anything;
use crate::audit::Audit;
use crate::chart::{self, Axis};
use crate::document::Document;
use crate::driver::{self, Arrival, Lasting, Load};
use crate::machine::{self, Machine};
use crate::measure::Measured;
use crate::profile::Profile;
use crate::servers::{Counters, Kind, Server};
use crate::target::{Prepared, Target};

/// What every place is asked.
const SHARED: [&str; 3] = ["canonical", "hot", "spill"];
/// What only farebox is asked, where so many connections ask.
const OWN: [&str; 3] = ["keyed", "split5", "puts"];
const OWN_CONNECTIONS: usize = 64;
/// Shares of the saturation at which latency is measured, in percent.
const LOADS_PERCENT: [u32; 11] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110];
const KINDS: [Kind; 5] = [Kind::Noop, Kind::Farebox, Kind::Unsynced, Kind::Redis, Kind::Postgres];
/// The load that has a target. In the last round it is asked once more, for longer: snapshot passes
/// come every 10 s.
const HALF_PERCENT: u32 = 50;
const LONG: Duration = Duration::from_secs(30);
/// Up to this share of the saturation what is due is sent: nearer to it a machine that is slower for a
/// moment has a backlog, which the table shows.
const SENT_PERCENT: u32 = 50;
/// So much of what is due may be on its way at the end of a run, in percent.
const UNSENT_MAX_PERCENT: f64 = 1.0;
/// A server that stood still notices within this time that it did.
const AWAKENING: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_millis(500);
/// What a run takes besides, and what the servers of a round take to start and stop.
const RUN_OVERHEAD: Duration = Duration::from_millis(500);
const ROUND_OVERHEAD: Duration = Duration::from_secs(15);
/// Beside a load a file is synced about as often as farebox syncs under it.
const SYNC_EVERY: Duration = Duration::from_millis(1);
const SEED: u64 = 1;
const LOAD_CHART: &str = "offered-load.svg";
const LOAD_TITLE: &str = "Latency of a durable one-off against offered load";
/// The parts of the document.
const PARTS: [&str; 3] = ["targets", "comparison", "offered-load"];

/// The same work for farebox, a no-op server, Redis and PostgreSQL, in turn, as one table.
#[derive(Args)]
pub struct Compare {
    /// How long each run is measured.
    #[arg(long, default_value = "3", value_name = "SECONDS")]
    seconds: NonZero<u64>,
    /// How often everything is run; what counts are medians.
    #[arg(long, default_value = "3", value_name = "NUMBER")]
    rounds: NonZero<u64>,
    /// How many connections ask at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256", value_name = "NUMBERS")]
    connections: Vec<NonZero<usize>>,
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
        machine.check_disk()?;
        let rounds: Vec<Vec<Case>> =
            (0..self.rounds.get()).map(|round| self.cases(round)).collect();
        let runs = rounds.iter().map(Vec::len).sum();
        let each = Duration::from_secs(self.seconds.get()) + WARM_UP + RUN_OVERHEAD;
        let overhead = ROUND_OVERHEAD * u32::try_from(self.rounds.get())? + LONG;
        let minutes = (each * u32::try_from(runs)? + overhead).as_secs().div_ceil(60);
        println!("{machine}");
        println!("{runs} runs in {} rounds: about {minutes} minutes", self.rounds);
        let (mut results, mut run) = (Results::default(), 0);
        for cases in rounds {
            let mut under_way = Round::start(self.seconds.get())?;
            for case in cases {
                let figures = under_way.measure(case, &results)?;
                results.add(case, figures);
                run += 1;
                println!("{}", progress(run, runs, case, &figures));
            }
        }
        self.report(&machine, &results, document)
    }

    /// What is run in a round, in this order: whoever is compared stands side by side, and whoever
    /// was first in one round is last in the next.
    fn cases(&self, round: u64) -> Vec<Case> {
        let mut places = [
            Place::Noop,
            Place::Farebox,
            Place::Unsynced,
            Place::Redis,
            Place::Statement,
            Place::Procedure,
        ];
        rotate(&mut places, round);
        let mut cases = vec![Case::closed(SYNC, 1, Place::File)];
        for connections in self.connections.iter().map(|many| many.get()) {
            for profile in SHARED {
                // To the no-op all of them are the same.
                let asked =
                    places.iter().filter(|place| **place != Place::Noop || profile == "canonical");
                cases.extend(asked.map(|place| Case::closed(profile, connections, *place)));
            }
            if connections == OWN_CONNECTIONS {
                cases.extend(OWN.map(|profile| Case::closed(profile, connections, Place::Farebox)));
            }
        }
        cases.push(Case::closed("canonical", CALLERS, Place::Embedded));
        cases.push(Case::closed(GROUP_COMMIT, CALLERS, Place::File));
        let saturated = self.saturated();
        for percent in LOADS_PERCENT {
            let load_percent = Some(percent);
            let mut places = [Place::Farebox, Place::Noop];
            rotate(&mut places, round);
            cases.extend(places.map(|place| Case { load_percent, place, ..saturated }));
        }
        let (load_percent, place) = (Some(HALF_PERCENT), Place::Noop);
        cases.push(Case { profile: SYNC_BESIDE, load_percent, place, ..saturated });
        if round + 1 == self.rounds.get() {
            cases.push(Case { load_percent: Some(HALF_PERCENT), is_long: true, ..saturated });
        }
        cases
    }

    /// What the open loop is a share of.
    fn saturated(&self) -> Case {
        let connections =
            self.connections.iter().map(|many| many.get()).max().unwrap_or(OWN_CONNECTIONS);
        Case::closed("canonical", connections, Place::Farebox)
    }

    fn report(
        &self,
        machine: &Machine,
        results: &Results,
        document: Option<Document>,
    ) -> Result<ExitCode, Anything> {
        let (seconds, rounds) = (self.seconds, self.rounds);
        let stolen = machine.stolen()?;
        let measured =
            format!("{machine}. Medians of {rounds} rounds, {seconds} s a run; {stolen}.");
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
            let lines = tables::offered_load_chart(results);
            let (x, y) = ("offered load, % of saturation", "latency, ms");
            chart::write(&charts.join(LOAD_CHART), LOAD_TITLE, x, (y, Axis::Logarithmic), &lines)?;
            document.save()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Each round begins one place further on than the one before.
fn rotate(places: &mut [Place], round: u64) {
    let first = usize::try_from(round).unwrap_or_default().checked_rem(places.len());
    places.rotate_left(first.unwrap_or_default());
}

/// All servers, new, and the worlds that were made there.
struct Round {
    runtime: Runtime,
    servers: BTreeMap<Kind, Server>,
    worlds: BTreeMap<(&'static str, Place), Arc<Prepared>>,
    lasting: Duration,
    /// The one server that is not standing still, if there is one; before the first run all are.
    awake: Option<Option<Kind>>,
}

impl Round {
    fn start(seconds: u64) -> Result<Round, Anything> {
        let servers = KINDS.into_iter().map(|kind| Ok((kind, kind.start()?)));
        Ok(Round {
            runtime: Runtime::new()?,
            servers: servers.collect::<Result<_, Anything>>()?,
            worlds: BTreeMap::new(),
            lasting: Duration::from_secs(seconds),
            awake: None,
        })
    }

    fn measure(&mut self, case: Case, results: &Results) -> Result<Figures, Anything> {
        let home = std::env::temp_dir();
        self.awaken(case.place.server())?;
        rustix::fs::sync(); // What others wrote is not to be written in the time of this one.
        match case.profile {
            SYNC => {
                let latency =
                    machine::sync_latency(&home, Duration::ZERO, Duration::ZERO, self.lasting)?;
                Ok(Figures::of_syncs(&latency, self.lasting))
            }
            SYNC_BESIDE => {
                let lasting = self.lasting;
                let latency = thread::scope(|scope| {
                    let synced =
                        scope.spawn(|| machine::sync_latency(&home, SYNC_EVERY, WARM_UP, lasting));
                    let asked = self.ask(Case { profile: "canonical", ..case }, results);
                    let synced = synced.join().map_err(|_| "who syncs a file panicked")?;
                    asked.and(synced)
                })?;
                Ok(Figures::of_syncs(&latency, lasting))
            }
            GROUP_COMMIT => {
                // Bytes of a record with its share of what a batch has besides.
                let embedded = Case::closed("canonical", CALLERS, Place::Embedded);
                let embedded = results.latest(embedded).ok_or("farebox comes first")?;
                let bytes = format!("{:.0}", embedded.journal_bytes).parse()?;
                let callers = case.connections;
                let per_second =
                    machine::group_commit(&home, callers, bytes, WARM_UP, self.lasting)?;
                Ok(Figures { per_second, ..Figures::default() })
            }
            _ => self.ask(case, results),
        }
    }

    /// Lets a server go on, and all the others stand still.
    fn awaken(&mut self, asked: Option<Kind>) -> Result<(), Anything> {
        if self.awake == Some(asked) {
            return Ok(());
        }
        for (kind, server) in &self.servers {
            match asked == Some(*kind) {
                true => server.resume()?,
                false => server.pause()?,
            }
        }
        self.awake = Some(asked);
        thread::sleep(AWAKENING);
        Ok(())
    }

    /// Lets a profile loose on a place, and holds what the answers charged against the balances.
    fn ask(&mut self, case: Case, results: &Results) -> Result<Figures, Anything> {
        let profile = Profile::load(case.profile)?;
        let prepared = self.world(case, &profile)?;
        rustix::fs::sync(); // The world may have been made just now.
        let lasting = if case.is_long { self.lasting.max(LONG) } else { self.lasting };
        let load = Load {
            arrival: arrival(case, results)?,
            connections: case.connections,
            threads: thread::available_parallelism()?.get(),
            warm_up: WARM_UP,
            lasting: Lasting::Time(lasting),
            seed: SEED,
        };
        let handle = self.runtime.handle().clone();
        let used = self.runtime.block_on(prepared.used())?;
        let (before, journal_before) = (self.counters(case.place)?, prepared.journal()?);
        let measured = driver::run(&handle, &prepared, &profile, &load, &ProgressBar::hidden())?;
        // What sessions charge does not say how many requests it took.
        let counted = profile.has_only_one_offs();
        let after = if counted { self.counters(case.place)? } else { before };
        let used = used.zip(self.runtime.block_on(prepared.used())?);
        let mut journal_bytes = None;
        if case.place == Place::Embedded {
            self.worlds.remove(&(case.profile, case.place));
            self.runtime.block_on(prepared.close())?;
            journal_bytes = journal_before.zip(prepared.journal()?).map(|(before, after)| {
                (after.bytes - before.bytes) as f64 / (after.records - before.records) as f64
            });
        }
        let audit = Audit::new(used, &measured, profile.world.cost(), None);
        if !audit.agrees || measured.answered() > measured.granted {
            return Err(failed(case, &measured, audit).into());
        }
        let offered_per_second = offered(&load, case, &measured)?;
        let figures = Figures::of(&measured, profile.world.cost(), before, after);
        let journal_bytes = journal_bytes.unwrap_or(figures.journal_bytes);
        Ok(Figures { offered_per_second, journal_bytes, ..figures })
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
    let closed = Case { load_percent: None, place: Place::Farebox, is_long: false, ..case };
    let closed = results.latest(closed);
    let closed = closed.ok_or("the closed loop comes first")?.per_second;
    let per_second = format!("{:.0}", closed * f64::from(percent) / 100.0).parse()?;
    Ok(Arrival::Open { per_second })
}

/// What was offered in the open loop, a second. Below the saturation nearly all of it is sent:
/// else the latencies are those of the requests that were lucky.
fn offered(load: &Load, case: Case, measured: &Measured) -> Result<f64, Anything> {
    let (Arrival::Open { per_second }, Lasting::Time(time)) = (load.arrival, load.lasting) else {
        return Ok(0.0);
    };
    let due = f64::from(per_second) * (load.warm_up + time).as_secs_f64();
    let unsent_percent = measured.unsent as f64 * 100.0 / due.max(1.0);
    if case.load_percent.is_some_and(|load| load <= SENT_PERCENT)
        && unsent_percent > UNSENT_MAX_PERCENT
    {
        let (Case { place, .. }, unsent) = (case, measured.unsent);
        let (place, load) = (place.name(), case.load_percent.unwrap_or_default());
        return Err(format!(
            "{place} at {load} %: {unsent} of {due:.0} requests were due and not sent"
        )
        .into());
    }
    Ok(f64::from(per_second))
}

/// Why a run is worth nothing.
fn failed(case: Case, measured: &Measured, audit: Audit) -> String {
    let Case { profile, connections, place, .. } = case;
    let Measured { granted, refused, overloaded, unreached, unknown, failed, .. } = measured;
    format!(
        "{profile}, {connections} callers, {}: {granted} granted, {refused} refused, {overloaded} \
         told to come back, {unreached} unreached, {unknown} unknown, {failed} failed; {audit}",
        place.name()
    )
}

/// A run in one line.
fn progress(run: usize, runs: usize, case: Case, figures: &Figures) -> String {
    let Case { profile, connections, load_percent, place, is_long } = case;
    let load = load_percent.map_or(String::new(), |percent| format!(" at {percent} %"));
    let longer = if is_long { ", longer" } else { "" };
    let Figures { per_second, p50_ms, p99_ms, .. } = figures;
    let rate = tables::grouped(&format!("{per_second:.0}"));
    format!(
        "[{run}/{runs}] {profile}{load}{longer}, {connections} callers, {}: {rate}/s, \
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
            let cases = compare.cases(0).into_iter();
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
        assert_eq!(compare.cases(0).len(), 1 + 6 + 5 + 5 + 3 + 2 + 22 + 1);
        assert_eq!(compare.cases(2).len(), 1 + 6 + 5 + 5 + 3 + 2 + 22 + 1 + 1, "one is longer");
    }

    #[test]
    fn whoever_was_first_in_one_round_is_last_in_the_next() {
        let Line { compare } = Line::parse_from(["", "--connections", "64"]);
        let first = |round: u64, percent: Option<u32>| {
            let cases = compare.cases(round).into_iter();
            let mut cases = cases.filter(|case| case.load_percent == percent);
            cases.find(|case| case.place != Place::File).map(|case| case.place)
        };
        let begin = [0, 1, 2, 6].map(|round| first(round, None));
        let expected = [Place::Noop, Place::Farebox, Place::Unsynced, Place::Noop];
        assert_eq!(begin, expected.map(Some));
        let begin = [0, 1, 2].map(|round| first(round, Some(50)));
        assert_eq!(begin, [Place::Farebox, Place::Noop, Place::Farebox].map(Some));
    }

    #[test]
    fn what_is_due_is_sent_below_the_saturation() {
        let load = Load {
            arrival: Arrival::Open { per_second: 1_000 },
            connections: 64,
            threads: 1,
            warm_up: Duration::from_secs(1),
            lasting: Lasting::Time(Duration::from_secs(3)),
            seed: SEED,
        };
        let closed = Case::closed("canonical", 64, Place::Farebox);
        for (percent, unsent, expected) in
            [(50, 0, true), (50, 40, true), (50, 41, false), (60, 41, true), (110, 400, true)]
        {
            let case = Case { load_percent: Some(percent), ..closed };
            let measured = Measured { unsent, ..Measured::new(0).unwrap() };
            let offered = offered(&load, case, &measured);
            assert_eq!(offered.is_ok(), expected, "{unsent} at {percent} %");
        }
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
