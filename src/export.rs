//! The command `usage`: rows from a data directory to stdout, with a progress bar on a terminal.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use farebox::domain::ids::Sequence;
use farebox::usage::{self, Exported, UsageError, Writer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Ending, Usage};

/// The bar moves after so many records.
const RECORDS_A_STEP: u64 = 4_096;

/// Writes the rows. Whoever reads them may have had enough before the end.
pub(crate) fn run(wanted: &Usage) -> Result<Ending, String> {
    let bar = bar(usage::records_about(&wanted.data));
    let written = write(wanted, &bar);
    bar.finish_and_clear();
    match written {
        Ok(Exported { rows, last, unfinished }) => {
            let mut summary = format!("{rows} rows; the last record read is {last}");
            if unfinished.is_some() {
                summary += "; one more was just being written";
            }
            if io::stderr().is_terminal() {
                let _ = writeln!(io::stderr(), "{summary}"); // The rows are what counts.
            }
            Ok(Ending::Fine)
        }
        Err(UsageError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ending::Fine)
        }
        Err(error) if error.is_wrong() => Ok(Ending::Wrong(error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

fn write(wanted: &Usage, bar: &ProgressBar) -> Result<Exported, UsageError> {
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut writer = Writer::new(wanted.format.into(), out);
    let exported = usage::export(
        &wanted.data,
        Sequence::new(wanted.after),
        &mut |line| writer.row(line),
        &mut |sequence| {
            if sequence.get() % RECORDS_A_STEP == 0 {
                bar.set_position(sequence.get());
            }
        },
    )?;
    writer.finish()?;
    Ok(exported)
}

/// On stderr, and only where that is a terminal. How many records there are is known but for those
/// of the last segment.
fn bar(records: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} records, {eta} left");
    let bar = ProgressBar::new(records);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
