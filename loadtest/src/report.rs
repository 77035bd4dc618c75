//! What a load came to, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::audit::Audit;
use crate::driver::{Arrival, Load};
use crate::measure::Measured;
use crate::profile::Profile;

/// One measured load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The profile's name.
    pub profile: String,
    /// Where it was asked.
    pub target: String,
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
    /// Denied or refused.
    pub refused: u64,
    /// Told to come back.
    pub overloaded: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Due, and never sent.
    pub unsent: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Of every answer, in microseconds.
    pub latency: Latency,
    /// CPU time of the generator for one request, in microseconds.
    pub generator_cpu_us: f64,
    /// What the line items say to it.
    pub audit: Audit,
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
    pub fn new(
        profile: &Profile,
        target: &str,
        load: &Load,
        measured: &Measured,
        audit: Audit,
    ) -> Report {
        let seconds = measured.lasted.as_secs_f64();
        let quantile = |q: f64| measured.latency.value_at_quantile(q) as f64 / 1_000.0;
        Report {
            profile: profile.name.clone(),
            target: target.to_owned(),
            seed: load.seed,
            connections: load.connections,
            threads: load.threads,
            offered_per_second: match load.arrival {
                Arrival::Closed => None,
                Arrival::Open { per_second } => Some(per_second),
            },
            granted_per_second: measured.granted as f64 / seconds.max(f64::EPSILON),
            granted: measured.granted,
            refused: measured.refused,
            overloaded: measured.overloaded,
            unknown: measured.unknown,
            unsent: measured.unsent,
            seconds,
            latency: Latency {
                p50_us: quantile(0.5),
                p99_us: quantile(0.99),
                p999_us: quantile(0.999),
                max_us: quantile(1.0),
            },
            generator_cpu_us: measured.generator_cpu.as_secs_f64() * 1e6
                / measured.latency.len().max(1) as f64,
            audit,
        }
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
        writeln!(formatter, "load       {arrival}, {connections} connections, {threads} threads")?;
        let per_second = self.granted_per_second;
        writeln!(formatter, "granted    {} in {seconds:.2} s: {per_second:.0}/s", self.granted)?;
        for (name, many) in [
            ("refused", self.refused),
            ("overloaded", self.overloaded),
            ("unknown", self.unknown),
            ("unsent", self.unsent),
        ] {
            if many > 0 {
                writeln!(formatter, "{name:<10} {many}")?;
            }
        }
        let Latency { p50_us, p99_us, p999_us, max_us } = self.latency;
        writeln!(
            formatter,
            "latency    p50 {p50_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us, \
             max {max_us:.0} us"
        )?;
        writeln!(formatter, "generator  {:.1} us of CPU a request", self.generator_cpu_us)?;
        write!(formatter, "audit      {}", self.audit)
    }
}
