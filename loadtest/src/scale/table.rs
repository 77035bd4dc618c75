//! A series as a table that says each row as it comes, and as a chart.

use std::path::Path;

use indicatif::{HumanFloatCount, ProgressBar};

use crate::Anything;
use crate::chart::{self, Axis, Series};
use crate::goals::Goal;

/// The series of journals, and how its columns end that are held against a raw read.
pub(super) const JOURNAL: &str = "journal";
const AGAINST_RAW: &str = " / raw";
/// A start takes at most so many times as long as reading its journal.
const RAW_MOST: f64 = 4.0;
/// What costs of requests are measured in. Where most is there, they are at most so many times
/// those where least is.
pub(super) const COST_UNIT: &str = "µs";
const COST_MOST: f64 = 1.1;

/// A series: how it is called, and what is measured at each point.
pub(super) struct Table {
    /// Names its chart.
    name: &'static str,
    title: String,
    /// The first is what grows; those after it, up to `drawn`, are the lines of the chart.
    columns: &'static [&'static str],
    drawn: usize,
    /// What the lines are measured in.
    unit: &'static str,
    rows: Vec<Vec<f64>>,
    progress: ProgressBar,
}

impl Table {
    /// Without rows yet. The first column grows by powers of ten.
    pub(super) fn new(
        name: &'static str,
        title: String,
        columns: &'static [&'static str],
        (drawn, unit): (usize, &'static str),
        progress: &ProgressBar,
    ) -> Table {
        let table = Table {
            name,
            title,
            columns,
            drawn,
            unit,
            rows: Vec::new(),
            progress: progress.clone(),
        };
        table.say(&format!("\n{}\n{}", table.title, columns.join(" | ")));
        table
    }

    /// Adds a row, and says it.
    pub(super) fn add(&mut self, row: Vec<f64>) {
        self.say(&shown(&row));
        self.rows.push(row);
    }

    fn say(&self, line: &str) {
        self.progress.suspend(|| println!("{line}"));
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The table, and its chart in this directory.
    pub(super) fn markdown(&self, charts: &str) -> String {
        let Table { name, title, columns, .. } = self;
        let rule = vec!["---:"; columns.len()].join(" | ");
        let rows: String = self.rows.iter().map(|row| format!("| {} |\n", shown(row))).collect();
        let header = columns.join(" | ");
        format!(
            "### {title}\n\n| {header} |\n| {rule} |\n{rows}\n![{title}]({charts}/scale-{name}.svg)"
        )
    }

    /// What it is held against: what a request costs stays the same however much there is; a start
    /// that applies all of the longest journal takes little more than reading it.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let last = |column: usize| Some(*self.rows.last()?.get(column)?);
        let columns = self.columns.iter().enumerate().skip(1);
        if self.name == JOURNAL {
            let ratios = columns.filter(|(_, name)| name.ends_with(AGAINST_RAW));
            let goal = |(column, name): (usize, &&str)| {
                Goal::at_most(&format!("longest journal: {name}"), RAW_MOST, last(column))
            };
            return ratios.map(goal).collect();
        }
        let costs = columns.take(self.drawn).filter(|_| self.unit == COST_UNIT);
        let goal = |(column, name): (usize, &&str)| {
            let mut known = self.rows.iter().filter_map(|row| row.get(column));
            let smallest = known.find(|cost| cost.is_finite());
            let ratio = last(column).zip(smallest).map(|(largest, smallest)| largest / smallest);
            let (title, ratio) = (&self.title, ratio.filter(|ratio| ratio.is_finite()));
            Goal::at_most(&format!("{title}: {name}, largest / smallest"), COST_MOST, ratio)
        };
        costs.map(goal).collect()
    }

    /// Writes the chart into this directory.
    pub(super) fn draw(&self, charts: &Path) -> Result<(), Anything> {
        let lines = self.columns.iter().enumerate().skip(1).take(self.drawn);
        let points = |column: usize| {
            let points = self.rows.iter().filter_map(move |row| {
                let (across, up) = (row.first()?, row.get(column)?);
                Some((across.max(1.0).log10(), *up))
            });
            points.filter(|(_, up)| up.is_finite()).collect()
        };
        let series: Vec<Series> = lines
            .map(|(column, name)| Series { name: (*name).to_owned(), points: points(column) })
            .collect();
        let path = charts.join(format!("scale-{}.svg", self.name));
        let across = format!("{}, as a power of ten", self.columns.first().unwrap_or(&""));
        chart::write(&path, &self.title, &across, (self.unit, Axis::Linear), &series)
    }
}

fn shown(row: &[f64]) -> String {
    let figures: Vec<String> = row.iter().map(|value| figure(*value)).collect();
    figures.join(" | ")
}

/// Three digits, and all of whole numbers; nothing where nothing was measured.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size.is_nan() => return String::new(),
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{:.digits$}", HumanFloatCount(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals;

    #[test]
    fn the_largest_is_held_against_the_smallest_that_was_measured() {
        let hidden = ProgressBar::hidden();
        let make = |name, unit| {
            let columns = &["size", "a", "b / raw"];
            let mut table = Table::new(name, "T".to_owned(), columns, (2, unit), &hidden);
            table.add(vec![1.0, f64::NAN, 10.0]);
            table.add(vec![10.0, 4.0, 99.0]);
            table.add(vec![100.0, 5.0, 9.0]);
            goals::table(&table.goals())
        };
        let costs = make("cost", COST_UNIT);
        for line in [
            "| T: a, largest / smallest | at most 1.1 | 1.25 | **missed** by 13.6 % |",
            "| T: b / raw, largest / smallest | at most 1.1 | 0.90 | met |",
        ] {
            assert!(costs.contains(line), "no `{line}` in\n{costs}");
        }
        let journal = make(JOURNAL, "s");
        let line = "| longest journal: b / raw | at most 4 | 9.00 | **missed** by 125.0 % |\n";
        assert!(journal.ends_with(&format!("|---|\n{line}")), "{journal}");
        assert!(!make("other", "bytes").contains("at most"));
    }

    #[test]
    fn figures_have_three_digits() {
        let row = [1_000_000.0, 123.4, 12.34, 1.234, 0.1234, 0.0, f64::NAN];
        assert_eq!(shown(&row), "1,000,000 | 123 | 12.3 | 1.23 | 0.123 | 0 | ");
    }
}
