//! What a load came to, for people and for programs.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Anything;
use crate::audit::Audit;
use crate::driver::{Arrival, Load};
use crate::machine::Machine;
use crate::measure::Measured;
use crate::profile::Profile;

/// What is stolen below this is not worth a line.
const STOLEN_SHOWN_PERCENT: f64 = 1.0;

/// What was asked, where and how.
pub struct Asked<'a> {
    /// What it consists of.
    pub profile: &'a Profile,
    /// Where it was asked.
    pub target: &'a str,
    /// How it was driven.
    pub load: &'a Load,
}

/// One measured load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The profile's name.
    pub profile: String,
    /// Where it was asked.
    pub target: String,
    /// When, of which commit and on which machine: that of the generator.
    pub machine: String,
    /// What the hypervisor gave to other machines of the time of its cores, world and audit
    /// included, in percent.
    pub stolen_percent: f64,
    /// What keeps the tokens, and what is known of where.
    pub store: String,
    /// What repeats it.
    pub seed: u64,
    /// Callers, with one request at a time each.
    pub connections: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Requests a second that were offered in the open loop.
    pub offered_per_second: Option<u32>,
    /// Requests of both loops that came to an end with a grant, by the second.
    pub granted_per_second: f64,
    /// Granted.
    pub granted: u64,
    /// Denied.
    pub refused: u64,
    /// Told to come back.
    pub overloaded: u64,
    /// No connection could be made.
    pub unreached: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Answered otherwise than a decision about tokens is.
    pub failed: u64,
    /// Due, and never sent.
    pub unsent: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// What fell due at one blow, if that was what it was about.
    pub storm: Option<Storm>,
    /// Of what was granted; nothing where nothing was.
    pub latency: Option<Latency>,
    /// Of what was refused.
    pub refusal_latency: Option<Latency>,
    /// How long after they were due requests of the open loop were sent, which is part of their
    /// latency: until a connection was free, and the generator had its turn.
    pub lateness: Option<Latency>,
    /// CPU time of the generator for one request, in microseconds; 0 where it is not apart.
    pub generator_cpu_us: f64,
    /// How much of the time of its threads that was: near 1 the generator is what was measured.
    pub generator_busy: f64,
    /// What the line items say to it.
    pub audit: Audit,
}

/// What a storm came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Storm {
    /// Automatic charges: one of each session that was charged exactly once.
    pub charges: u64,
    /// How many in a second, until the last of them was durable.
    pub charges_per_second: f64,
}

/// Quantiles, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half of the answers took no longer.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// All.
    pub max_us: f64,
}

impl Report {
    /// Puts it together.
    ///
    /// # Errors
    /// If the system does not tell what its cores did.
    pub fn new(
        asked: &Asked,
        machine: &Machine,
        measured: &Measured,
        audit: Audit,
    ) -> Result<Report, Anything> {
        let Asked { profile, target, load } = *asked;
        let seconds = measured.lasted.as_secs_f64();
        Ok(Report {
            profile: profile.name.clone(),
            target: target.to_owned(),
            machine: machine.to_string(),
            stolen_percent: machine.stolen_percent()?,
            store: store(target, machine),
            seed: load.seed,
            connections: load.connections,
            threads: load.busy_threads(),
            offered_per_second: match load.arrival {
                Arrival::Closed => None,
                Arrival::Open { per_second } => Some(per_second),
            },
            granted_per_second: measured.granted as f64 / seconds.max(f64::EPSILON),
            granted: measured.granted,
            refused: measured.refused,
            overloaded: measured.overloaded,
            unreached: measured.unreached,
            unknown: measured.unknown,
            failed: measured.failed,
            unsent: measured.unsent,
            seconds,
            storm: profile.world.storm.then(|| Storm {
                charges: measured.charged_once,
                charges_per_second: measured.charged_once as f64 / seconds.max(f64::EPSILON),
            }),
            latency: Latency::of(&measured.latency),
            refusal_latency: Latency::of(&measured.refusal_latency),
            lateness: Latency::of(&measured.lateness),
            generator_busy: measured.generator_cpu.as_secs_f64()
                / (seconds * load.busy_threads() as f64).max(f64::EPSILON),
            generator_cpu_us: measured.generator_cpu.as_secs_f64() * 1e6
                / measured.answered().max(1) as f64,
            audit,
        })
    }

    /// Whether the audit agrees, and no answer was one that no load is meant to meet.
    pub fn is_good(&self) -> bool {
        self.audit.agrees && self.failed == 0
    }
}

/// What keeps the tokens of a target.
fn store(target: &str, machine: &Machine) -> String {
    let kind = match target.split_once("://") {
        None => return format!("farebox in this process, on {}", machine.file_system()),
        Some(("http", _)) => "farebox",
        Some(("noop", _)) => return "none".to_owned(),
        Some(("redis", _)) => "Redis",
        Some(("postgres", _)) => "PostgreSQL",
        Some(_) => "unknown",
    };
    format!("{kind}, where its server keeps it")
}

impl Latency {
    /// Of a histogram in nanoseconds, unless it is empty.
    fn of(nanoseconds: &Histogram<u64>) -> Option<Latency> {
        let quantile = |q: f64| nanoseconds.value_at_quantile(q) as f64 / 1_000.0;
        (!nanoseconds.is_empty()).then(|| Latency {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: quantile(1.0),
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p99_us, p999_us, max_us } = self;
        write!(
            formatter,
            "p50 {p50_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us, max {max_us:.0} us"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { profile, target, seed, connections, threads, seconds, .. } = self;
        let arrival = match self.offered_per_second {
            Some(per_second) => format!("open loop, {per_second} a second"),
            None => "closed loop".to_owned(),
        };
        writeln!(formatter, "profile    {profile}, seed {seed}")?;
        writeln!(formatter, "target     {target}")?;
        writeln!(formatter, "store      {}", self.store)?;
        writeln!(formatter, "machine    {}", self.machine)?;
        if self.stolen_percent >= STOLEN_SHOWN_PERCENT {
            let percent = self.stolen_percent;
            writeln!(formatter, "stolen     {percent:.0} % of the cores' time, by other machines")?;
        }
        writeln!(formatter, "load       {arrival}, {connections} connections, {threads} threads")?;
        if let Some(Storm { charges, charges_per_second }) = self.storm {
            write!(formatter, "storm      {charges} charges in {seconds:.2} s: ")?;
            writeln!(formatter, "{charges_per_second:.0}/s")?;
        }
        let per_second = self.granted_per_second;
        writeln!(formatter, "granted    {} in {seconds:.2} s: {per_second:.0}/s", self.granted)?;
        for (name, many) in [
            ("refused", self.refused),
            ("overloaded", self.overloaded),
            ("unreached", self.unreached),
            ("unknown", self.unknown),
            ("failed", self.failed),
            ("unsent", self.unsent),
        ] {
            if many > 0 {
                writeln!(formatter, "{name:<10} {many}")?;
            }
        }
        if let Some(latency) = self.latency {
            writeln!(formatter, "latency    {latency}")?;
        }
        if let Some(latency) = self.refusal_latency {
            writeln!(formatter, "refusals   {latency}")?;
        }
        if let Some(lateness) = self.lateness {
            writeln!(formatter, "sent late  {lateness}")?;
        }
        if self.generator_cpu_us > 0.0 {
            let (cpu_us, busy) = (self.generator_cpu_us, self.generator_busy * 100.0);
            writeln!(formatter, "generator  {cpu_us:.1} us of CPU a request, {busy:.0} % busy")?;
        }
        write!(formatter, "audit      {}", self.audit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::Lasting;
    use crate::measure::Charged;
    use crate::target::Outcome;

    #[test]
    fn a_storm_tells_how_many_charges_it_was_and_how_long_they_took() {
        let lasted = Duration::from_secs(2);
        let measured =
            Measured { charged_once: 100_000, lasted, ..Measured::new(1).expect("good bounds") };
        let report = report_of("storm", &measured);
        let line = "\nstorm      100000 charges in 2.00 s: 50000/s\n";
        assert!(report.to_string().contains(line), "{report}");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["storm"]["charges"], 100_000);
        assert_eq!(json["storm"]["charges_per_second"], 50_000.0);
        assert!(!report_of("canonical", &measured).to_string().contains("storm"));
    }

    fn report(outcomes: &[Outcome]) -> Report {
        let mut measured = Measured::new(1).expect("good bounds");
        for outcome in outcomes {
            measured.count(*outcome, Duration::from_millis(1));
        }
        report_of("canonical", &measured)
    }

    fn report_of(profile: &str, measured: &Measured) -> Report {
        let load = Load {
            arrival: Arrival::Closed,
            connections: 1,
            threads: 1,
            warm_up: Duration::ZERO,
            lasting: Lasting::Requests(1),
            seed: 1,
        };
        let profile = Profile::load(profile).expect("a profile");
        let machine = Machine::here(&std::env::temp_dir()).expect("a machine");
        let asked = Asked { profile: &profile, target: "redis://there", load: &load };
        let audit = Audit::new(None, measured, profile.world.cost(), None);
        Report::new(&asked, &machine, measured, audit).expect("a report")
    }

    #[test]
    fn a_report_says_where_it_was_measured_and_each_kind_of_latency_that_there_is() {
        let granted = Outcome::Granted(Charged::default());
        for (outcomes, latency, refusals) in [
            (&[granted][..], true, false),
            (&[Outcome::Refused], false, true),
            (&[granted, Outcome::Refused], true, true),
            (&[Outcome::Overloaded, Outcome::Unknown], false, false),
        ] {
            let report = report(outcomes);
            let said = report.to_string();
            assert_eq!(said.contains("latency "), latency, "{said}");
            assert_eq!(said.contains("refusals "), refusals, "{said}");
            assert!(said.contains("store      Redis, ") && said.contains(", commit "), "{said}");
            let json = serde_json::to_string(&report).expect("JSON");
            assert!(json.contains("\"machine\":\"") && json.contains("\"store\":\"Redis"));
            assert!(report.is_good(), "{said}");
        }
    }

    #[test]
    fn what_the_open_loop_sent_late_is_told_apart() {
        assert!(!report(&[]).to_string().contains("sent late"));
        let mut measured = Measured::new(1).expect("good bounds");
        measured.note_sent(Duration::from_millis(3));
        let report = report_of("canonical", &measured);
        let lateness = report.lateness.expect("one was");
        assert!((2_990.0..3_010.0).contains(&lateness.p50_us), "{lateness}");
        assert!(report.to_string().contains("sent late  p50 "), "{report}");
    }

    #[test]
    fn what_other_machines_took_is_told_where_it_matters() {
        for (stolen_percent, told) in [(0.9, false), (9.4, true)] {
            let said = Report { stolen_percent, ..report(&[]) }.to_string();
            let line = "stolen     9 % of the cores' time, by other machines\n";
            assert_eq!(said.contains(line), told, "{said}");
        }
    }

    #[test]
    fn one_request_that_failed_spoils_a_report() {
        let report = report(&[Outcome::Granted(Charged::default()), Outcome::Failed]);
        assert!(report.audit.agrees && !report.is_good());
        assert!(report.to_string().contains("failed     1\n"), "{report}");
    }
}
