//! Usage rows on their way out (spec 7): their columns, as lines of JSON and as CSV, and reading
//! them from a data directory, also beside the broker that runs on it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::domain::catalogue::InstanceEntry;
use crate::domain::ids::{Document, InstanceNumber, Sequence, Text};
use crate::domain::tokens::Tokens;
use crate::domain::usage::{Outcome, UsageRow, rows};
use crate::journal::{self, Directory, ReadError, TornTail, format};
use crate::json::{Bracket, Json};

/// farebox has one producer.
const TENANT: &str = "default";

/// A row, with what it needs beyond its record.
#[derive(Clone, Copy, Debug)]
pub struct UsageLine<'a> {
    /// The record that it is of.
    pub sequence: Sequence,
    /// Where it happened.
    pub instance: &'a InstanceEntry,
    /// The row.
    pub row: &'a UsageRow<'a>,
}

/// What stands in a column.
#[derive(Clone, Debug)]
enum Cell<'a> {
    /// Nothing.
    Null,
    /// Text that somebody else wrote.
    Text(&'a Text),
    /// A word or an id of ours.
    Word(Cow<'a, str>),
    Number(String),
    Json(String),
}

impl<'a> Cell<'a> {
    fn word(word: &'static str) -> Cell<'a> {
        Cell::Word(Cow::Borrowed(word))
    }

    fn id(id: impl ToString) -> Cell<'a> {
        Cell::Word(Cow::Owned(id.to_string()))
    }

    fn number(number: impl ToString) -> Cell<'a> {
        Cell::Number(number.to_string())
    }

    fn or_null<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Cell<'a> {
        value.map_or(Cell::Null, cell)
    }
}

/// The names of the columns in JSON, in order.
const COLUMNS: [&str; 23] = [
    "sequence",
    "correlationId",
    "tenantId",
    "usageTime",
    "writeTime",
    "consumerId",
    "consumerType",
    "accountId",
    "instanceId",
    "activationId",
    "mappedEntitledCount",
    "used",
    "item",
    "itemVersion",
    "itemCount",
    "rate",
    "tokens",
    "eventType",
    "statusCode",
    "statusDescription",
    "sessionId",
    "actionId",
    "metaData",
];

impl<'a> UsageLine<'a> {
    /// What stands in the [`COLUMNS`].
    fn cells(&self) -> [Cell<'a>; COLUMNS.len()] {
        let UsageRow { at, correlation, session, requester, item, outcome, .. } = self.row;
        let (movement, status) = (outcome.movement(), outcome.status());
        let posting = movement.map(|movement| movement.posting);
        let tokens = match (outcome, movement) {
            (_, None) => "0".to_owned(),
            (Outcome::Refunded(_) | Outcome::CheckedIn(_), Some(movement))
                if movement.tokens != Tokens::ZERO =>
            {
                format!("-{}", movement.tokens)
            }
            (_, Some(movement)) => movement.tokens.to_string(),
        };
        [
            Cell::number(self.sequence),
            Cell::id(correlation),
            Cell::word(TENANT),
            Cell::number(at.as_ms()),
            Cell::number(at.as_ms()),
            Cell::Text(&requester.value),
            Cell::Text(&requester.kind),
            Cell::Text(&self.instance.account_id),
            Cell::id(self.instance.id),
            posting.map_or(Cell::word(""), |posting| Cell::Text(&posting.activation_id)),
            Cell::or_null(posting.and_then(|posting| posting.quantity), Cell::number),
            Cell::or_null(posting.map(|posting| posting.after.used), Cell::number),
            Cell::Text(&item.name),
            Cell::Text(&item.version),
            Cell::number(item.count),
            Cell::or_null(movement.map(|movement| movement.rate), Cell::number),
            Cell::Number(tokens),
            Cell::word(outcome.event_type()),
            Cell::or_null(status.map(|status| status.code), Cell::word),
            Cell::or_null(status.map(|status| status.description), Cell::word),
            Cell::or_null(*session, Cell::id),
            Cell::or_null(movement.and_then(|movement| movement.action), Cell::id),
            Cell::or_null(item.metadata.as_ref(), |metadata| Cell::Json(on_one_line(metadata))),
        ]
    }

    /// The row as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::with_capacity(600);
        json.open(Bracket::Object);
        for (name, cell) in COLUMNS.into_iter().zip(self.cells()) {
            match cell {
                Cell::Null => json.null(name),
                Cell::Text(text) => json.text(name, text.as_str()),
                Cell::Word(word) => json.text(name, &word),
                Cell::Number(number) => json.plain(name, number),
                Cell::Json(text) => json.raw(name, &text),
            }
        }
        json.close(Bracket::Object);
        let mut line = json.into_bytes();
        line.push(b'\n');
        line
    }
}

/// A row is a line. In a JSON text line ends stand between its parts only, never in its strings.
fn on_one_line(document: &Document) -> String {
    document.as_str().replace(['\n', '\r'], " ")
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line of JSON each.
    Ndjson,
    /// Comma-separated values, after a line with the names of the columns.
    Csv,
}

/// Where rows are written to.
pub enum Writer<W: Write> {
    /// See [`Format::Ndjson`].
    Ndjson(W),
    /// See [`Format::Csv`].
    Csv {
        /// What knows commas and quotes.
        writer: Box<csv::Writer<W>>,
        /// Whether the names of the columns are written.
        is_begun: bool,
    },
}

impl<W: Write> Writer<W> {
    /// Nothing is written before there is a row, or it is known that there is none.
    pub fn new(format: Format, out: W) -> Writer<W> {
        match format {
            Format::Ndjson => Writer::Ndjson(out),
            Format::Csv => {
                let mut builder = csv::WriterBuilder::new();
                let writer = builder.terminator(csv::Terminator::CRLF).from_writer(out);
                Writer::Csv { writer: Box::new(writer), is_begun: false }
            }
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// What writing says.
    pub fn row(&mut self, line: &UsageLine<'_>) -> io::Result<()> {
        match self {
            Writer::Ndjson(out) => out.write_all(&line.to_json()),
            Writer::Csv { writer, is_begun } => {
                begin(writer, is_begun)?;
                let cells = line.cells();
                Ok(writer.write_record(cells.iter().map(|cell| csv_text(cell).into_owned()))?)
            }
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Writer::Ndjson(mut out) => out.flush(),
            Writer::Csv { mut writer, mut is_begun } => {
                begin(&mut writer, &mut is_begun)?;
                writer.flush()
            }
        }
    }
}

/// The names of the columns come first.
fn begin<W: Write>(writer: &mut csv::Writer<W>, is_begun: &mut bool) -> io::Result<()> {
    if !std::mem::replace(is_begun, true) {
        writer.write_record(COLUMNS.map(upper_case))?;
    }
    Ok(())
}

/// `activationId` is `ACTIVATION_ID` in the reference, and in CSV.
fn upper_case(name: &str) -> String {
    let mut upper = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

/// A spreadsheet takes text that begins like this for a formula and runs it; the last four are wide
/// forms of the first.
const FORMULA_STARTS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Somebody else's text is never a formula: an apostrophe says so.
fn csv_text<'a>(cell: &'a Cell<'_>) -> Cow<'a, str> {
    match cell {
        Cell::Null => Cow::Borrowed(""),
        Cell::Text(text) if text.as_str().starts_with(FORMULA_STARTS) => {
            Cow::Owned(format!("'{}", text.as_str()))
        }
        Cell::Text(text) => Cow::Borrowed(text.as_str()),
        Cell::Word(word) => Cow::Borrowed(word),
        Cell::Number(text) | Cell::Json(text) => Cow::Borrowed(text),
    }
}

/// What was read of a data directory.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Rows written.
    pub rows: u64,
    /// The last record that was read: go on after it.
    pub last: Sequence,
    /// The end of the journal, if it was just being written, or was when the broker stopped.
    pub unfinished: Option<TornTail>,
}

/// Why rows could not be read, or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// There is no journal.
    #[error("`{path}` has no journal that can be read: {source}")]
    Directory {
        /// Where it was looked for.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The journal is not in order.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The journal of the running broker cannot be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record means nothing to this farebox.
    #[error("record {sequence} cannot be read: {reason}")]
    Record {
        /// Which.
        sequence: Sequence,
        /// Why.
        reason: String,
    },
    /// There is no such record to go on after.
    #[error("there is no record {after}: the last one is {last}")]
    Beyond {
        /// After which rows were wanted.
        after: Sequence,
        /// The last record.
        last: Sequence,
    },
    /// The rows could not be written.
    #[error("writing the rows: {0}")]
    Write(#[from] io::Error),
}

impl UsageError {
    /// Whether what was found is wrong; else it could not be looked at, or not be written.
    pub fn is_wrong(&self) -> bool {
        match self {
            UsageError::Journal(error) => error.is_wrong(),
            UsageError::Read(ReadError::Damaged { .. })
            | UsageError::Record { .. }
            | UsageError::Beyond { .. } => true,
            UsageError::Read(ReadError::Io { .. })
            | UsageError::Directory { .. }
            | UsageError::Write(_) => false,
        }
    }
}

/// About how many records a data directory has: all but those of the last segment. To show
/// progress with; 0 where nothing can be said.
pub fn records_about(path: &Path) -> u64 {
    let disk = Directory::read_only(path.join("journal"));
    disk.ok().and_then(|disk| journal::records_about(&disk).ok()).unwrap_or(0)
}

/// Shows `each` the usage rows of all records after `after`, and `read` every record on the way,
/// up to the last complete one. Reads only, without a lock: a broker may be running.
///
/// # Errors
/// See [`UsageError`]; some rows may have been shown by then.
pub fn export(
    path: &Path,
    after: Sequence,
    each: &mut dyn FnMut(&UsageLine<'_>) -> io::Result<()>,
    read: &mut dyn FnMut(Sequence),
) -> Result<Exported, UsageError> {
    let journal = path.join("journal");
    let disk = Directory::read_only(&journal)
        .map_err(|source| UsageError::Directory { path: path.display().to_string(), source })?;
    let mut instances: BTreeMap<InstanceNumber, InstanceEntry> = BTreeMap::new();
    let (mut exported, mut failed) = (0, None);
    let report = journal::walk(&disk, Sequence::new(1), &mut |sequence, payload| {
        let outcome = (|| {
            let unreadable = |reason: String| UsageError::Record { sequence, reason };
            let record = format::decode(payload).map_err(|error| unreadable(error.to_string()))?;
            if let Some(created) = InstanceEntry::created_by(sequence, &record) {
                instances.insert(created.number, created);
            }
            let rows = if sequence > after { rows(&record) } else { Vec::new() };
            for row in &rows {
                let instance = instances.get(&row.instance);
                let instance =
                    instance.ok_or_else(|| unreadable("an unknown instance".to_owned()))?;
                each(&UsageLine { sequence, instance, row })?;
                exported += 1;
            }
            read(sequence);
            Ok(())
        })();
        failed = outcome.err();
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let last = report.last.map_or(Sequence::ZERO, |mark| mark.sequence);
    if after > last {
        return Err(UsageError::Beyond { after, last });
    }
    Ok(Exported { rows: exported, last, unfinished: report.torn_tail })
}

#[cfg(test)]
mod tests;
