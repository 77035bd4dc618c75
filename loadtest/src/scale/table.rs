//! A series as a table that says each row as it comes, and as a chart.

use std::path::Path;

use indicatif::{HumanFloatCount, ProgressBar};

use crate::Anything;
use crate::chart::{self, Series};

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
        chart::write(&path, &self.title, &across, self.unit, false, &series)
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

    #[test]
    fn figures_have_three_digits() {
        let row = [1_000_000.0, 123.4, 12.34, 1.234, 0.1234, 0.0, f64::NAN];
        assert_eq!(shown(&row), "1,000,000 | 123 | 12.3 | 1.23 | 0.123 | 0 | ");
    }
}
