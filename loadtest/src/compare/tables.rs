//! What a comparison says: tables in Markdown, which read well enough on a terminal, and a chart.

use std::fmt::Write as _;

use super::figures::{Case, Figures, Place, Results};
use crate::chart::Series;
use crate::goals::{self, Goal};

/// Every target, what was measured, and whether that meets it.
pub fn targets(results: &Results) -> String {
    goals::table(&goals(results))
}

fn goals(results: &Results) -> Vec<Goal> {
    let farebox = |profile, connections| Case::closed(profile, connections, Place::Farebox);
    let rate = |one, other| results.ratio(one, other, |figures| figures.per_second);
    let against = |profile, connections, place| {
        rate(farebox(profile, connections), Case::closed(profile, connections, place))
    };
    // The faster one of the two is what we are held against.
    let postgres = |profile| {
        let ratios = [Place::Statement, Place::Procedure].map(|place| against(profile, 64, place));
        ratios.into_iter().flatten().min_by(f64::total_cmp)
    };
    let cpu = |connections| {
        let noop = Case::closed("canonical", connections, Place::Noop);
        results.ratio(farebox("canonical", connections), noop, |figures| figures.cpu_us)
    };
    let embedded = Case::closed("canonical", CALLERS, Place::Embedded);
    let group_commit = Case::closed(GROUP_COMMIT, CALLERS, Place::File);
    let half = loads(results, Place::Farebox).find(|(percent, _)| *percent == 50);
    let at_half = |sync: Option<Case>| {
        let ((_, half), sync) = half.zip(sync)?;
        results.ratio(half, sync, |figures| figures.p99_ms)
    };
    let (alone, beside) = (Case::closed(SYNC, 1, Place::File), sync_beside(results));
    let (at_least, at_most) = (Goal::at_least, Goal::at_most);
    let canonical = |profile, connections| {
        rate(farebox(profile, connections), farebox("canonical", connections))
    };
    vec![
        at_least("one-off against the no-op, 64", 0.7, against("canonical", 64, Place::Noop)),
        at_least("one-off against the no-op, 256", 0.88, against("canonical", 256, Place::Noop)),
        at_least("against Redis, 64", 2.0, against("canonical", 64, Place::Redis)),
        at_least("against Redis, 256", 1.6, against("canonical", 256, Place::Redis)),
        at_least("against a hot row of PostgreSQL, 64", 45.0, postgres("hot")),
        at_least("against PostgreSQL over 1,000 rows, 64", 4.5, postgres("canonical")),
        at_most("server CPU a request against the no-op's, 64", 1.35, cpu(64)),
        at_most("server CPU a request against the no-op's, 256", 1.35, cpu(256)),
        at_least("`hot` against `canonical`, 64", 0.95, canonical("hot", 64)),
        at_least("`hot` against `canonical`, 256", 0.95, canonical("hot", 256)),
        at_least("`spill` against `canonical`, 64", 0.95, canonical("spill", 64)),
        at_least("`spill` against `canonical`, 256", 0.95, canonical("spill", 256)),
        at_least("`split5` against `canonical`, 64", 0.75, canonical("split5", 64)),
        at_least("`puts` against `hot`, 64", 0.7, rate(farebox("puts", 64), farebox("hot", 64))),
        at_least("embedded against a file's group commit", 0.6, rate(embedded, group_commit)),
        at_most("p99 at half the saturation against a sync's p99", 3.0, at_half(Some(alone))),
        at_most("the same against a sync's beside the no-op at that load", 3.0, at_half(beside)),
    ]
}

/// Callers in this process, and of the file that they are held against.
pub const CALLERS: usize = 1_000;
/// What is done with a file: one block is written and synced, again and again.
pub const SYNC: &str = "write and sync";
/// What is done with a file while the no-op is asked: one block is written and synced every
/// millisecond.
pub const SYNC_BESIDE: &str = "sync beside it";
/// What is done with a file: records of farebox's size are appended in group commits.
pub const GROUP_COMMIT: &str = "group commit";

/// Every case of the closed loop: medians, and how many times as fast farebox was.
pub fn comparison(results: &Results) -> String {
    let mut table = "| profile | callers | | requests/s | farebox is | p50 ms | p99 ms | p99.9 ms \
                     | server CPU µs | syncs/s | generator cores |\n\
                     |---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let closed = || results.cases().filter(|case| case.load_percent.is_none());
    let mut cases: Vec<_> = closed().collect();
    // By profile: they were run by connections, since what runs close together compares best.
    cases.sort_by_key(|case| closed().position(|first| first.profile == case.profile));
    for case in cases {
        let show = |digits: usize, figure: fn(&Figures) -> f64| {
            let median = results.median(case, figure).filter(|median| *median > 0.0);
            median.map_or(String::new(), |median| grouped(&format!("{median:.digits$}")))
        };
        let farebox = Case { place: Place::Farebox, ..case };
        let times = results.ratio(farebox, case, |figures| figures.per_second);
        let times = times.filter(|times| case != farebox && times.is_finite());
        let Case { profile, connections, place, .. } = case;
        let _ = writeln!(
            table,
            "| {profile} | {connections} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            place.name(),
            show(0, |figures| figures.per_second),
            times.map_or(String::new(), |times| format!("{times:.2} x")),
            show(2, |figures| figures.p50_ms),
            show(2, |figures| figures.p99_ms),
            show(2, |figures| figures.p999_ms),
            show(1, |figures| figures.cpu_us),
            show(0, |figures| figures.syncs_per_second),
            show(2, |figures| figures.generator_cores),
        );
    }
    table
}

/// The open loop: latency at each share of the saturation.
pub fn offered_load(results: &Results) -> String {
    let mut table = "| load | offered/s | requests/s | unsent | p50 ms | p99 ms | p99.9 ms \
                     | no-op unsent | p50 ms | p99 ms | p99.9 ms |\n\
                     |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (percent, case) in loads(results, Place::Farebox) {
        let show = |place: Place, digits: usize, figure: fn(&Figures) -> f64| {
            let median = results.median(Case { place, ..case }, figure);
            median.map_or(String::new(), |median| grouped(&format!("{median:.digits$}")))
        };
        let latency = |place: Place| {
            let figures: [fn(&Figures) -> f64; 3] =
                [|figures| figures.p50_ms, |figures| figures.p99_ms, |figures| figures.p999_ms];
            figures.map(|figure| show(place, 2, figure)).join(" | ")
        };
        let _ = writeln!(
            table,
            "| {percent} % | {} | {} | {} | {} | {} | {} |",
            show(Place::Farebox, 0, |figures| figures.offered_per_second),
            show(Place::Farebox, 0, |figures| figures.per_second),
            show(Place::Farebox, 0, |figures| figures.unsent),
            latency(Place::Farebox),
            show(Place::Noop, 0, |figures| figures.unsent),
            latency(Place::Noop),
        );
    }
    for case in results.cases().filter(|case| case.is_long) {
        let (Some(figures), Some(percent)) = (results.latest(case), case.load_percent) else {
            continue;
        };
        let Figures { p99_ms, p999_ms, max_ms, .. } = figures;
        let _ = writeln!(
            table,
            "\nOnce more at {percent} %, for long enough that passes of the snapshots and changes \
             of the segment show: p99 {p99_ms:.2} ms, p99.9 {p999_ms:.2} ms, \
             at most {max_ms:.2} ms."
        );
    }
    let sync = |case: Case| results.median(case, |figures| figures.p99_ms);
    let alone = sync(Case::closed(SYNC, 1, Place::File));
    if let Some((alone, beside)) = alone.zip(sync_beside(results).and_then(sync)) {
        let _ = writeln!(
            table,
            "\nA block written to a file and synced in the same rounds: p99 {alone:.3} ms, again \
             and again and nothing else; {beside:.3} ms, once a millisecond beside the no-op that \
             was asked as often as at 50 %."
        );
    }
    table
}

/// The same as lines of a chart.
pub fn offered_load_chart(results: &Results) -> Vec<Series> {
    let line = |name: &str, place: Place, figure: fn(&Figures) -> f64| Series {
        name: name.to_owned(),
        points: loads(results, place)
            .filter_map(|(percent, case)| Some((f64::from(percent), results.median(case, figure)?)))
            .collect(),
    };
    let sync = results.median(Case::closed(SYNC, 1, Place::File), |figures| figures.p99_ms);
    let sync = sync.map(|sync| Series {
        name: "p99 of a sync of a file".to_owned(),
        points: loads(results, Place::Farebox)
            .map(|(percent, _)| (f64::from(percent), sync))
            .collect(),
    });
    let lines = [
        line("p50", Place::Farebox, |figures| figures.p50_ms),
        line("p99", Place::Farebox, |figures| figures.p99_ms),
        line("p99.9", Place::Farebox, |figures| figures.p999_ms),
        line("p99 of the no-op", Place::Noop, |figures| figures.p99_ms),
    ];
    lines.into_iter().chain(sync).collect()
}

/// The run in which a file was synced beside the no-op.
fn sync_beside(results: &Results) -> Option<Case> {
    results.cases().find(|case| case.profile == SYNC_BESIDE)
}

fn loads(results: &Results, place: Place) -> impl Iterator<Item = (u32, Case)> {
    let is_asked =
        move |case: &Case| case.place == place && case.profile != SYNC_BESIDE && !case.is_long;
    let cases = results.cases().filter(is_asked);
    cases.filter_map(|case| Some((case.load_percent?, case)))
}

/// Whole thousands apart: `1,234,567.8`.
pub fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let cases = [("7", "7"), ("999", "999"), ("1000", "1,000"), ("1234567.8", "1,234,567.8")];
        for (number, expected) in cases {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let mut results = Results::default();
        let rate = |per_second| Figures { per_second, p99_ms: 1.0, ..Figures::default() };
        let at = |profile, place| Case::closed(profile, 64, place);
        results.add(at("canonical", Place::Noop), rate(100.0));
        results.add(at("canonical", Place::Farebox), rate(63.0));
        results.add(at("canonical", Place::Redis), rate(30.0));
        let half = Case { load_percent: Some(50), ..at("canonical", Place::Farebox) };
        results.add(half, Figures { p99_ms: 4.0, ..Figures::default() });
        let long = Case { is_long: true, ..half };
        results.add(long, Figures { p99_ms: 2.0, max_ms: 70.0, ..Figures::default() });
        results.add(Case::closed(SYNC, 1, Place::File), rate(0.0));
        let beside = Case { profile: SYNC_BESIDE, place: Place::Noop, ..half };
        results.add(beside, Figures { p99_ms: 2.0, ..Figures::default() });
        let table = targets(&results);
        for line in [
            "| one-off against the no-op, 64 | at least 0.7 | 0.63 | **missed** by 10.0 % |",
            "| against Redis, 64 | at least 2 | 2.10 | met |",
            "| against Redis, 256 | at least 1.6 | not measured |  |",
            "| p99 at half the saturation against a sync's p99 | at most 3 | 4.00 | **missed** by 33.3 % |",
            "| the same against a sync's beside the no-op at that load | at most 3 | 2.00 | met |",
        ] {
            assert!(table.contains(line), "no `{line}` in\n{table}");
        }
        let compared = comparison(&results);
        assert!(compared.contains("| canonical | 64 | Redis | 30 | 2.10 x |"), "{compared}");
        let offered = offered_load(&results);
        assert_eq!(offered.matches("| 50 % |").count(), 1, "{offered}");
        assert!(offered.contains("p99 2.00 ms, p99.9 0.00 ms, at most 70.00 ms."), "{offered}");
        assert!(offered.contains("p99 1.000 ms, again and again and nothing else; 2.000 ms, once"));
        let chart = offered_load_chart(&results);
        assert_eq!(chart.len(), 5);
        assert!(chart.iter().any(|line| line.name == "p99 of the no-op" && line.points.is_empty()));
    }
}
