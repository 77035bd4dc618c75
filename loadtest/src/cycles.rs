//! `cycles`: where the instructions of a durable one-off go, counted by callgrind, which no other load
//! disturbs. What the kernel does is not in it, nor what waiting for memory costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::Anything;
use crate::document::Document;
use crate::driver::{Arrival, Lasting, Load};
use crate::machine::Machine;
use crate::profile::Profile;
use crate::run::{self, audited};
use crate::servers::{beside, farebox, said, signal, token};
use crate::target::Target;

/// The part of the document.
const PART: &str = "cycles";
/// What is asked: in its world there is next to nothing to be made, which would be counted too.
const PROFILE: &str = "hot";
const CALLERS: usize = 16;
/// Before anything is counted, so that everything that is done once has been done.
const WARM_UP_REQUESTS: u64 = 4_000;

/// Counts the instructions of a durable one-off, by stage. Needs Debian's valgrind.
#[derive(Args)]
pub struct Cycles {
    /// How many requests are counted.
    #[arg(long, default_value = "10000", value_name = "NUMBER")]
    requests: NonZero<u64>,
    /// The document whose generated part is written anew.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A part of what is done for a request: what these functions do with all that they call, but for
/// what those others do.
struct Stage {
    name: &'static str,
    of: &'static [&'static str],
    without: &'static [&'static str],
}

const CONNECTION: &str = "farebox::http::connection::run";
const CALL: &str = "farebox::http::call::run";
const ROUTE: &str = "farebox::http::routes::Router::find";
const RESPONSE: &str = "farebox::http::answer::Answer::into_response";
const BODY: &str = "farebox::http::call::Call::body";
const READ: &str = "farebox::http::wire::access::read_one_off";
const WRITE: &str = "farebox::http::access::content";
const BROKER: &str = "farebox::broker::Broker::access";
const ACTOR: &str = "ractor::actor::ActorRuntime<TActor>::processing_loop";
const DECIDE: &str = "farebox::actors::access::Job::decide_and_append";
const CHARGE: &str = "farebox::domain::charge::allocate";
const ENCODE: &str = "farebox::journal::format::encode_keyed";
const JOURNAL: &str = "farebox::journal::commit::Committer::commit_all";
const ALL: &str = "PROGRAM TOTALS";

const STAGES: [Stage; 13] = [
    Stage {
        name: "hyper: head in, answer out, the socket",
        of: &[CONNECTION],
        without: &[CALL, ROUTE, RESPONSE],
    },
    Stage { name: "route, response head", of: &[ROUTE, RESPONSE], without: &[] },
    Stage {
        name: "authorization and the other checks of a head",
        of: &[CALL],
        without: &[BODY, READ, WRITE, BROKER],
    },
    Stage { name: "body: waiting for it", of: &[BODY], without: &[] },
    Stage { name: "body: JSON read", of: &[READ], without: &[] },
    Stage {
        name: "permit, turn, choice of the line item, hop to its actor",
        of: &[BROKER],
        without: &[],
    },
    Stage { name: "actor: mailbox", of: &[ACTOR], without: &[DECIDE] },
    Stage { name: "actor: what the request costs", of: &[CHARGE], without: &[] },
    Stage { name: "actor: record encoded", of: &[ENCODE], without: &[] },
    Stage {
        name: "actor: the rest of deciding, append",
        of: &[DECIDE],
        without: &[CHARGE, ENCODE],
    },
    Stage { name: "journal: batch hashed, answers handed back", of: &[JOURNAL], without: &[] },
    Stage { name: "answer: JSON written", of: &[WRITE], without: &[] },
    Stage { name: "scheduling and the rest", of: &[ALL], without: &[CONNECTION, ACTOR, JOURNAL] },
];

impl Cycles {
    /// Counts, and prints a table.
    ///
    /// # Errors
    /// If valgrind is missing, the audit fails, or a function of a stage has no name in the binary.
    pub fn run(self) -> Result<ExitCode, Anything> {
        let document = self.output.as_deref().map(|path| Document::open(path, &[PART]));
        let document = document.transpose()?;
        let home = tempfile::tempdir()?;
        let machine = Machine::here(home.path())?;
        let mut counted = Counted::start(home.path())?;
        let asked = counted.ask(self.requests.get());
        let stopped = counted.stop();
        let annotated = asked.and(stopped)?;
        let table = table(&annotated, self.requests.get())?;
        println!("{table}");
        if let Some(mut document) = document {
            let head = format!("{machine}. {} requests by {CALLERS} callers.", self.requests);
            document.replace(PART, &format!("{head}\n\n{table}"))?;
            document.save()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// farebox under callgrind, which counts nothing until it is told to.
struct Counted {
    server: Child,
    url: String,
    token: String,
    calls: PathBuf,
    home: PathBuf,
}

impl Counted {
    fn start(home: &Path) -> Result<Counted, Anything> {
        let (data, calls) = (home.join("data"), home.join("calls"));
        let mut counted = Command::new("valgrind");
        counted.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
        counted.arg(format!("--callgrind-out-file={}", calls.display()));
        counted.env("TMPDIR", home); // Where it is told what to do.
        counted.arg(beside("farebox")?);
        let (server, address) = farebox(counted, &data)?;
        let (url, token, home) = (format!("http://{address}"), token(&data)?, home.to_owned());
        Ok(Counted { server, url, token, calls, home })
    }

    fn ask(&self, requests: u64) -> Result<(), Anything> {
        self.drive(WARM_UP_REQUESTS)?;
        self.count("on")?;
        self.drive(requests)?;
        self.count("off")
    }

    fn drive(&self, requests: u64) -> Result<(), Anything> {
        let load = Load {
            arrival: Arrival::Closed,
            connections: CALLERS,
            threads: 1,
            warm_up: Duration::ZERO,
            lasting: Lasting::Requests(requests),
            seed: 1,
        };
        let runtime = Runtime::new()?;
        let (profile, target) =
            (Profile::load(PROFILE)?, Target::new(&self.url, Some(self.token.clone()))?);
        let (_, audit) = audited(runtime.handle(), &target, &profile, &load, &run::bar()?)?;
        if audit.agrees { Ok(()) } else { Err(audit.to_string().into()) }
    }

    fn count(&self, whether: &str) -> Result<(), Anything> {
        let mut control = Command::new("callgrind_control");
        control.arg(format!("--instr={whether}")).arg(self.server.id().to_string());
        said(control.env("TMPDIR", &self.home)).map(drop)
    }

    /// What every function did with all that it called, as callgrind's own tool tells it.
    fn stop(&mut self) -> Result<String, Anything> {
        signal(self.server.id(), Signal::TERM)?;
        self.server.wait()?;
        let mut annotate = Command::new("callgrind_annotate");
        said(annotate.args(["--inclusive=yes", "--threshold=99.99", "--auto=no"]).arg(&self.calls))
    }
}

fn table(annotated: &str, requests: u64) -> Result<String, Anything> {
    let counts = counts(annotated);
    let sum = |names: &[&str]| -> Result<f64, Anything> {
        names.iter().try_fold(0.0, |sum, name| {
            let count = counts.get(name).ok_or_else(|| {
                format!("callgrind saw nothing of `{name}`: it was inlined away or has a new name")
            });
            Ok(sum + count? / requests as f64)
        })
    };
    let all = sum(&[ALL])?;
    let mut table =
        "| of one request | thousand instructions | share |\n|---|--:|--:|\n".to_owned();
    let mut row = |name: &str, count: f64| {
        let _ =
            writeln!(table, "| {name} | {:.1} | {:.0} % |", count / 1_000.0, 100.0 * count / all);
    };
    for Stage { name, of, without } in STAGES {
        row(name, sum(of)? - sum(without)?);
    }
    row("**all**", all);
    Ok(table)
}

/// The functions of the stages. One is listed once for each file of which something was inlined into
/// it, and its own entry has the most.
fn counts(annotated: &str) -> BTreeMap<&'static str, f64> {
    let names = STAGES.iter().flat_map(|stage| stage.of.iter().chain(stage.without)).copied();
    let names: Vec<&str> = names.collect();
    let mut counts = BTreeMap::new();
    for line in annotated.lines() {
        let Some((count, _)) = line.trim_start().split_once(' ') else { continue };
        let Ok(count) = count.replace(',', "").parse::<f64>() else { continue };
        for name in names.iter().filter(|name| line.contains(**name)) {
            let most = counts.entry(*name).or_insert(0.0);
            *most = f64::max(*most, count);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_what_its_functions_do_but_for_what_others_do() {
        let names = STAGES.iter().flat_map(|stage| stage.of.iter().chain(stage.without));
        let mut annotated: String = names
            .map(|name| format!("1,000 ( 1.00%)  src/file.rs:{name}::{{closure}}\n"))
            .collect();
        annotated
            .push_str("40,000 (40.0%)  src/http/connection.rs:farebox::http::connection::run\n");
        annotated.push_str("200,000 (100.0%)  PROGRAM TOTALS\n");
        let table = table(&annotated, 10).unwrap();
        for line in [
            "| hyper: head in, answer out, the socket | 3.7 | 18 % |",
            "| route, response head | 0.2 | 1 % |",
            "| scheduling and the rest | 15.8 | 79 % |",
            "| **all** | 20.0 | 100 % |",
        ] {
            assert!(table.contains(line), "no `{line}` in\n{table}");
        }
    }

    #[test]
    fn a_function_that_is_not_there_is_missed() {
        let error = table("200,000 (100.0%)  PROGRAM TOTALS\n", 10).unwrap_err();
        assert!(error.to_string().contains("inlined away"), "{error}");
    }
}
