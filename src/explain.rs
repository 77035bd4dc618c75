//! `explain`: why a decision came out as it did (spec 2.13), from the journal alone. It finds the
//! record, rebuilds what was so just before it, and asks the domain again; what the record says is
//! what is shown, and where the two disagree that is shown too.

mod again;
mod text;

use std::ops::ControlFlow;
use std::path::Path;

use self::again::Before;
use crate::actors::recovery::State;
use crate::broker::OpenError;
use crate::domain::balance::LineItemBalance;
use crate::domain::charge::Verdict;
use crate::domain::charge::explain::ItemExplained;
use crate::domain::event::{Event, Next};
use crate::domain::ids::{
    ActionId, CorrelationId, InstanceId, InstanceNumber, Requester, Sequence, SessionId, Text,
};
use crate::domain::request::RequestedItem;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::journal::code::Coded as _;
use crate::journal::{self, Directory, Journal, ReadError, format};

/// A decision, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When it was decided, in broker time.
    pub at: Timestamp,
    /// What it was.
    pub kind: Kind,
    /// Its id.
    pub correlation: CorrelationId,
    /// The id of the refund that went with a session's request.
    pub refund_correlation: Option<CorrelationId>,
    /// Where.
    pub instance: InstanceId,
    /// Whose instance that is.
    pub account: Text,
    /// Of which session.
    pub session: Option<SessionId>,
    /// What the session did from then on.
    pub next: Option<Next>,
    /// Who asked; of a session that uses nothing, nobody is known.
    pub requester: Option<Requester>,
    /// What became of each item, and why.
    pub items: Vec<Decided>,
    /// What was given back, before anything was charged.
    pub refunds: Vec<GivenBack>,
    /// What would have been given back, had it been granted: the decision counted with it.
    pub refunds_counted: Vec<GivenBack>,
    /// The balances from then on of the line items that it touched.
    pub balances: Vec<LineItemBalance>,
    /// Whether deciding it again comes to what its record says.
    pub consistent: bool,
}

/// What kind of decision it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A one-off request.
    OneOff,
    /// An access request of a session.
    Session,
    /// The charge of a session's next period.
    AutomaticCharge,
    /// A session that was closed.
    Close,
    /// A session that ended because no heartbeat had come.
    MissedHeartbeat,
    /// A session that ended because it had used nothing for too long.
    IdleLimit,
}

impl Kind {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::OneOff => "ONE_OFF",
            Kind::Session => "SESSION",
            Kind::AutomaticCharge => "AUTOMATIC_CHARGE",
            Kind::Close => "CLOSE",
            Kind::MissedHeartbeat => "MISSED_HEARTBEAT",
            Kind::IdleLimit => "IDLE_LIMIT",
        }
    }
}

/// One item of a decision.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What was asked.
    pub item: RequestedItem,
    /// What the record says became of it.
    pub verdict: Verdict,
    /// Whether it was denied for the number of line items that its set would have named.
    pub too_many_line_items: bool,
    /// How that came about.
    pub why: ItemExplained,
}

/// A refund of one charge line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// Who was credited.
    pub activation_id: Text,
    /// Name and version of the item that had been charged.
    pub item: Option<(Text, Text)>,
    /// How much; may be nothing.
    pub tokens: Tokens,
    /// Through which action it had been charged.
    pub action: Option<ActionId>,
}

/// Why there is no explanation, although there may be such a decision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The directory cannot be read, or what is in it.
    #[error(transparent)]
    Unusable(#[from] OpenError),
    /// The journal of a running broker cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// A record cannot be read.
    #[error("record {0} cannot be read: {1}")]
    Record(Sequence, String),
}

/// Explains a decision of a data directory. It takes no lock and changes nothing: a broker may be
/// running. Nothing where no record has this id.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain_directory(
    path: &Path,
    correlation: CorrelationId,
) -> Result<Option<Explanation>, ExplainError> {
    let missing = |source| OpenError::Directory { path: path.to_owned(), source };
    let disk = Directory::read_only(path.join("journal")).map_err(missing)?;
    explain_with(correlation, |each| {
        let walked = journal::walk(&disk, Sequence::new(1), each);
        walked.map(drop).map_err(|error| OpenError::Journal(error).into())
    })
}

/// The same of a running broker, from what is durable by now. It reads on this thread, and stops
/// with nothing as soon as nobody is `wanted` any more.
///
/// # Errors
/// See [`ExplainError`].
pub fn explain(
    journal: &Journal,
    correlation: CorrelationId,
    wanted: impl Fn() -> bool,
) -> Result<Option<Explanation>, ExplainError> {
    explain_with(correlation, |each| {
        let mut each = |sequence, payload: &[u8]| match wanted() {
            true => each(sequence, payload),
            false => ControlFlow::Break(()),
        };
        Ok(journal.read(Sequence::new(1), &mut each)?)
    })
}

type Each<'a> = dyn FnMut(Sequence, &[u8]) -> ControlFlow<()> + 'a;

/// First the record, by the bytes of its id; then, once its instance is known, what was so before
/// it. What other instances did is passed over, so that it needs no memory.
fn explain_with(
    correlation: CorrelationId,
    walk: impl Fn(&mut Each<'_>) -> Result<(), ExplainError>,
) -> Result<Option<Explanation>, ExplainError> {
    let mut id = Vec::new();
    correlation.put(&mut id);
    let mut found: Option<(Sequence, InstanceNumber)> = None;
    let mut wrong = None;
    let mut decoded = |sequence, payload: &[u8]| match format::decode(payload) {
        Ok(record) => Some(record),
        Err(error) => {
            wrong = Some(ExplainError::Record(sequence, error.to_string()));
            None
        }
    };
    walk(&mut |sequence, payload| {
        if !payload.windows(id.len()).any(|window| window == id) {
            return ControlFlow::Continue(());
        }
        let Some(record) = decoded(sequence, payload) else { return ControlFlow::Break(()) };
        found = record.event.instance().map(|instance| (sequence, instance));
        found = found.filter(|_| is_decision(&record.event, correlation));
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut state = State::default();
    let mut decision = None;
    if let Some((place, instance)) = found {
        walk(&mut |sequence, payload| {
            let Some(record) = decoded(sequence, payload) else { return ControlFlow::Break(()) };
            if sequence == place {
                decision = Some(record);
                return ControlFlow::Break(());
            }
            if record.event.instance().is_none_or(|other| other == instance) {
                state.apply(sequence, &record);
            }
            ControlFlow::Continue(())
        })?;
    }
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let (Some((sequence, instance)), Some(record)) = (found, decision) else { return Ok(None) };
    let Some(catalogue) = state.catalogues.get(&instance) else { return Ok(None) };
    let before = Before { state: &state, instance, catalogue, sequence, record: &record };
    Ok(before.explained())
}

/// Whether it is the decision of this id, or its refund.
fn is_decision(event: &Event, id: CorrelationId) -> bool {
    let is_refund = matches!(event, Event::SessionAccess(told) if told.refund_correlation == id);
    is_refund || event.correlation() == Some(id)
}
