//! `scale`: whether a request costs the same however much there is, what a line item and a session
//! take of memory, how long a start takes, and what a charge takes of the disk. In process, on a
//! durable directory that is removed again; small worlds first.

mod cost;
mod start;
mod table;
mod world;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use self::table::Table;
use crate::Anything;
use crate::document::Document;
use crate::goals;
use crate::machine::Machine;

/// The part of the document.
const PART: &str = "scale";
/// A table that the journal can hold, though not one that is sent over HTTP, has so many items.
const RATED_ITEMS_MAX: usize = 100_000;
/// Often, so that the cost of the passes is in that of the requests at every point.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);

/// Cost per request, memory, start-up time and disk space by how much there is, as plotted series.
#[derive(Args)]
pub struct Scale {
    /// The most line items, and live sessions; five times and ten times as many records in the
    /// longest journals. The default takes about half an hour; 1000, at half a second each, a
    /// minute.
    #[arg(long, default_value = "1000000", value_name = "NUMBER")]
    largest: NonZero<usize>,
    /// Callers who each wait for their answer before they ask again.
    #[arg(long, default_value = "64", value_name = "NUMBER")]
    callers: NonZero<usize>,
    /// How long the cost of a request is measured at each point.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = some_time)]
    seconds: f64,
    /// The document whose generated part is written anew; charts go to a directory of its name.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How each series is measured.
#[derive(Clone)]
struct Plan {
    largest: usize,
    callers: usize,
    lasting: Duration,
    /// Where a pass is not what is measured.
    snapshot_every: Duration,
    progress: ProgressBar,
}

impl Plan {
    /// 1, 10, 100 and so on, and the largest itself.
    fn sizes(&self, most: usize) -> Vec<usize> {
        let most = most.min(self.largest).max(1);
        let mut sizes: Vec<usize> =
            (0..).map(|power| 10_usize.pow(power)).take_while(|size| *size < most).collect();
        sizes.push(most);
        sizes
    }

    /// Shows how far something is that is done so many times.
    fn begin(&self, what: &str, many: usize) -> Result<(), Anything> {
        self.progress.reset();
        self.progress.set_length(u64::try_from(many)?);
        self.progress.set_message(what.to_owned());
        Ok(())
    }
}

/// Seconds, some at least.
fn some_time(text: &str) -> Result<f64, Anything> {
    let seconds = text.parse()?;
    match Duration::try_from_secs_f64(seconds)?.is_zero() {
        true => Err("nothing is measured in no time".into()),
        false => Ok(seconds),
    }
}

impl Scale {
    /// Measures every series, and writes the tables and charts.
    ///
    /// # Errors
    /// If a broker fails, or answers anything but yes.
    pub fn run(self) -> Result<ExitCode, Anything> {
        let document = self.output.as_deref().map(|path| Document::open(path, &[PART]));
        let document = document.transpose()?;
        let machine = Machine::here(&std::env::temp_dir())?;
        machine.check_disk()?;
        println!("{machine}");
        let style = ProgressStyle::with_template("{msg}: {human_pos} of {human_len}, {eta} left")?;
        let plan = Plan {
            largest: self.largest.get(),
            callers: self.callers.get(),
            lasting: Duration::try_from_secs_f64(self.seconds)?,
            snapshot_every: SNAPSHOT_EVERY,
            progress: ProgressBar::new(0).with_style(style),
        };
        let tables = Runtime::new()?.block_on(series(&plan))?;
        plan.progress.finish_and_clear();
        let verdicts: Vec<_> = tables.iter().flat_map(Table::goals).collect();
        let verdicts = goals::table(&verdicts);
        println!("\n{verdicts}");
        if let (Some(mut document), Some(path)) = (document, &self.output) {
            let charts = path.with_extension("");
            let name = charts.file_name().unwrap_or_default().to_string_lossy();
            let Scale { callers, seconds, .. } = &self;
            let stolen = machine.stolen()?;
            let how = format!("{machine}. {callers} callers, {seconds} s a point; {stolen}.");
            let parts = tables.iter().map(|table| table.markdown(&name));
            let generated: Vec<String> = [how, verdicts].into_iter().chain(parts).collect();
            document.replace(PART, &generated.join("\n\n"))?;
            document.save()?;
            tables.iter().try_for_each(|table| table.draw(&charts))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All of them. Memory first: nothing has been given back to the allocator yet.
async fn series(plan: &Plan) -> Result<Vec<Table>, Anything> {
    let [line_items, sessions, memory] = cost::of_a_growing_world(plan).await?;
    Ok(vec![
        line_items,
        sessions,
        memory,
        cost::by_line_items("one-instance", "all in one instance", usize::MAX, plan).await?,
        cost::by_line_items("one-each", "each in an instance of its own", 1, plan).await?,
        cost::by_rated_items(RATED_ITEMS_MAX, plan).await?,
        start::by_journal(plan).await?,
        start::by_snapshot(plan).await?,
        start::disk_bytes(plan).await?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(largest: usize) -> Plan {
        let [lasting, snapshot_every] = [5, 20].map(Duration::from_millis);
        Plan { largest, callers: 4, lasting, snapshot_every, progress: ProgressBar::hidden() }
    }

    #[test]
    fn sizes_are_powers_of_ten_up_to_the_largest() {
        assert_eq!(plan(1).sizes(100), [1]);
        assert_eq!(plan(100).sizes(100_000), [1, 10, 100]);
        assert_eq!(plan(250).sizes(100_000), [1, 10, 100, 250]);
        assert_eq!(plan(1_000).sizes(30), [1, 10, 30]);
    }

    #[test]
    fn every_series_in_miniature() {
        let tables = Runtime::new().unwrap().block_on(series(&plan(20))).unwrap();
        let rows: Vec<usize> = tables.iter().map(Table::rows).collect();
        let goals: Vec<usize> = tables.iter().map(|table| table.goals().len()).collect();
        assert_eq!(goals, [2, 4, 0, 2, 2, 2, 2, 0, 0]);
        assert_eq!(rows, [3, 4, 1, 3, 3, 3, 3, 3, 5]);
        let home = tempfile::tempdir().unwrap();
        for table in &tables {
            table.draw(home.path()).unwrap();
            assert!(table.markdown("charts").contains("(charts/scale-"), "it is linked");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), tables.len());
    }
}
