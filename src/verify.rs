//! `verify`: walks a stopped broker's journal and checks that it says what it should. It recomputes
//! balances from charges and refunds alone and compares them with what the records claim, and the
//! snapshots with both. How long idempotency keys are kept it need not know: the snapshots say up to
//! when they have forgotten some.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use crate::actors::Versioned;
use crate::actors::recovery::State;
use crate::broker::{OpenError, lock_journal};
use crate::domain::charge::Verdict;
use crate::domain::components::{Hold, HoldKind, LeaseChange, LeaseEvent, Taken};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{LineItemNumber, Sequence, SessionId};
use crate::domain::line_item::Balance;
use crate::domain::session::State as SessionState;
use crate::domain::tokens::Tokens;
use crate::domain::usage::Reconciler;
use crate::journal::{
    self, FilePlace, Mark, SledSnapshots, Snapshots, TornTail, WalkReport, format,
};

/// What was read and found right.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the walk of the journal saw.
    pub walk: WalkReport,
    /// Line items whose balances were recomputed.
    pub line_items: usize,
    /// Sessions, live or ended.
    pub sessions: usize,
    /// Charges less refunds, over all line items.
    pub used: Tokens,
    /// Usage rows: for each line item they add up to what is used, to the last fraction.
    pub usage_rows: u64,
    /// The snapshots' watermark, if there are snapshots.
    pub watermark: Option<Sequence>,
    /// Why the snapshots are of no use, if they are not: a start rebuilds them.
    pub snapshots_unusable: Option<String>,
}

/// Why a directory could not be verified, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It could not be looked at: exit status 2.
    #[error(transparent)]
    Unusable(OpenError),
    /// It is not in order: exit status 1.
    #[error("{0}")]
    Wrong(String),
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { walk, line_items, sessions, used, usage_rows, watermark, .. } = self;
        let last = walk.last.map_or(Sequence::ZERO, |mark| mark.sequence);
        let WalkReport { segments, batches, records, .. } = walk;
        writeln!(
            formatter,
            "journal    {records} records in {batches} batches in {segments} segments, chain intact, \
             last record {last}"
        )?;
        if let Some(tail) = &walk.torn_tail {
            let TornTail { file, offset, bytes } = tail;
            writeln!(
                formatter,
                "           an unfinished write of {bytes} bytes at {file}:{offset}, never \
                 acknowledged: the next start cuts it"
            )?;
        }
        writeln!(formatter, "line items {line_items}, charges - refunds = used on each of them")?;
        writeln!(formatter, "used       {used} tokens in all")?;
        writeln!(formatter, "usage      {usage_rows} rows, which make up what is used: residue 0")?;
        writeln!(formatter, "sessions   {sessions}, those that are forgotten too")?;
        match (watermark, &self.snapshots_unusable) {
            (_, Some(why)) => {
                write!(formatter, "snapshots  unusable, a start rebuilds them: {why}")
            }
            (Some(watermark), None) => {
                write!(formatter, "snapshots  agree with the journal, watermark {watermark}")
            }
            (None, None) => write!(formatter, "snapshots  none yet"),
        }
    }
}

/// Checks a data directory, which no broker may be using.
///
/// # Errors
/// See [`VerifyError`]; what is wrong names its place.
pub fn verify(path: &Path) -> Result<Report, VerifyError> {
    let missing = |source| OpenError::Directory { path: path.to_owned(), source };
    std::fs::read_dir(path.join("journal")).map_err(missing).map_err(VerifyError::Unusable)?;
    let disk = lock_journal(path).map_err(VerifyError::Unusable)?;
    journal::check_version(&disk).map_err(judged)?; // Opening the snapshots changes their files.
    let mut snapshot = State::keeping(Duration::MAX); // It is to say what it has.
    let (watermark, snapshots_unusable) = match load_snapshots(path, &mut snapshot) {
        Ok(watermark) => (watermark, None),
        Err(why) => (None, Some(why)),
    };
    let state = State::beside(&snapshot);
    let mut check = Check { state, snapshot, watermark, ..Check::default() };
    let mut wrong = None;
    let walked = journal::walk(&disk, Sequence::new(1), &mut |sequence, payload| {
        wrong = check.record(sequence, payload).err();
        if wrong.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let walk = walked.map_err(judged)?;
    if let Some(wrong) = wrong {
        return Err(at(&walk.end, &wrong));
    }
    let found = match check.holders() {
        Ok(()) if snapshots_unusable.is_none() => check.snapshots(&walk),
        found => found,
    };
    if let Err((record, wrong)) = found {
        let stop = &mut |_, _: &[u8]| ControlFlow::Break(());
        let there = journal::walk(&disk, record, stop).map_err(judged)?;
        return Err(at(&there.end, &wrong));
    }
    Ok(Report {
        line_items: check.recomputed.len(),
        sessions: check.state.sessions.len(),
        used: check.recomputed.values().fold(Tokens::ZERO, |sum, balance| {
            sum.checked_add(balance.used).unwrap_or(Tokens::MAX)
        }),
        usage_rows: check.usage.rows(),
        watermark: watermark.map(|mark| mark.sequence),
        snapshots_unusable,
        walk,
    })
}

/// A journal that cannot be read at all is not wrong.
fn judged(error: journal::OpenError) -> VerifyError {
    match error.is_wrong() {
        true => VerifyError::Wrong(error.to_string()),
        false => VerifyError::Unusable(OpenError::Journal(error)),
    }
}

fn at(place: &FilePlace, wrong: &str) -> VerifyError {
    let FilePlace { file, offset } = place;
    VerifyError::Wrong(format!("`{file}` is wrong at byte {offset}: {wrong}"))
}

fn load_snapshots(path: &Path, state: &mut State) -> Result<Option<Mark>, String> {
    let path = path.join("snapshots");
    if !path.exists() {
        return Ok(None);
    }
    let snapshots = SledSnapshots::open(&path).map_err(|error| error.to_string())?;
    let mut unreadable = Ok(());
    let watermark = snapshots.load(&mut |_, value| {
        if unreadable.is_ok() {
            unreadable = state.load(value);
        }
    });
    unreadable?;
    state.loaded();
    watermark.map_err(|error| error.to_string())
}

/// What the walk gathers.
#[derive(Default)]
struct Check {
    /// What the records claim.
    state: State,
    /// What their charges and refunds add up to.
    recomputed: BTreeMap<LineItemNumber, Balance>,
    /// What their usage rows add up to.
    usage: Reconciler,
    /// What the snapshots say.
    snapshot: State,
    /// How far they go.
    watermark: Option<Mark>,
}

impl Check {
    fn record(&mut self, sequence: Sequence, payload: &[u8]) -> Result<(), String> {
        let (record, keyed) = format::decode_keyed(payload)
            .map_err(|error| format!("record {sequence} cannot be read: {error}"))?;
        self.conservation(sequence, &record)?;
        let reconciled = self.usage.record(&record);
        reconciled.map_err(|residue| format!("record {sequence}: {residue}"))?;
        let newer = self.watermark.is_some_and(|mark| sequence > mark.sequence);
        let states = [Some(&mut self.state), newer.then_some(&mut self.snapshot)]; // As a start does.
        for state in states.into_iter().flatten() {
            state.apply(sequence, &record);
            if let Some(keyed) = keyed.as_ref().filter(|_| self.watermark.is_some()) {
                state.keep(sequence, record.at, &keyed.call);
            }
        }
        Ok(())
    }

    /// Every balance a record claims is the former one with its charges and refunds.
    fn conservation(&mut self, sequence: Sequence, record: &Record) -> Result<(), String> {
        let (verdicts, refunds, opens): (&[Verdict], &[_], u64) = match &record.event {
            Event::Access(access) => (&access.verdicts, &[], 0),
            Event::SessionAccess(access) => (&access.verdicts, &access.refunds, 1),
            Event::SessionClosed(closed) | Event::SessionExpired(closed) => {
                (&[], &closed.refunds, 0)
            }
            Event::AutomaticCharge(charge) => (&charge.verdicts, &charge.refunds, 1),
            Event::ActionsSet { .. } | Event::Lease(_) => (&[], &[], 0),
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::SessionCreated { .. }
            | Event::Heartbeat { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_) => return Ok(()),
        };
        let mut touched: BTreeMap<LineItemNumber, Balance> = BTreeMap::new();
        let wrong = |what: &str| format!("record {sequence}: {what}");
        for refund in refunds {
            let balance = self.touch(&mut touched, refund.line_item);
            balance.used = balance
                .used
                .checked_sub(refund.tokens)
                .ok_or_else(|| wrong("a refund passes what was charged"))?;
            balance.open_lines = balance
                .open_lines
                .checked_sub(1)
                .ok_or_else(|| wrong("a refund of a charge line that is not open"))?;
            if let Some(action) = refund.action {
                let refunded = balance.counters.refund(action, refund.tokens);
                refunded.ok_or_else(|| wrong("a refund passes what its action gave"))?;
            }
        }
        for verdict in verdicts {
            let Verdict::Granted(takes) = verdict else { continue };
            for take in takes {
                let balance = self.touch(&mut touched, take.line_item);
                balance.used = balance
                    .used
                    .checked_add(take.tokens)
                    .ok_or_else(|| wrong("a charge passes every limit"))?;
                balance.open_lines += opens;
                if let Some(action) = take.action {
                    let used = balance.counters.used(action).checked_add(take.tokens);
                    let used = used.ok_or_else(|| wrong("an action's charges pass every limit"))?;
                    balance.counters.set(action, used);
                }
            }
        }
        if let Event::ActionsSet { number, actions, posting: Some(_), .. } = &record.event {
            let balance = self.touch(&mut touched, *number);
            balance.counters = balance.counters.only(actions);
        }
        if let Event::Lease(event) = &record.event {
            self.leased(&mut touched, event).map_err(wrong)?;
        }
        let postings = record.event.postings();
        for posting in postings {
            let sum = touched.remove(&posting.line_item);
            let mut claimed = self.recomputed.get(&posting.line_item).cloned().unwrap_or_default();
            claimed.take_over(&posting.after);
            if sum.as_ref() != Some(&claimed) {
                return Err(wrong(&format!(
                    "`{}` is said to have {} used, its charges and refunds make {}",
                    posting.activation_id,
                    posting.after.used,
                    sum.unwrap_or_default().used
                )));
            }
            self.recomputed.insert(posting.line_item, claimed);
        }
        match touched.keys().next() {
            Some(number) => Err(wrong(&format!("line item {number} changes without a posting"))),
            None => Ok(()),
        }
    }

    /// What a lease takes and gives back. Seats are counted at the end: whether one is new, or
    /// free, is a matter of all that a session holds.
    fn leased(
        &self,
        touched: &mut BTreeMap<LineItemNumber, Balance>,
        event: &LeaseEvent,
    ) -> Result<(), &'static str> {
        for posting in &event.postings {
            self.touch(touched, posting.line_item).seats = posting.after.seats;
        }
        let add = |sum: &mut Tokens, tokens| {
            *sum = sum.checked_add(tokens).ok_or("a checkout passes every limit")?;
            Ok::<(), &'static str>(())
        };
        match &event.change {
            LeaseChange::CheckedOut(taken) => {
                for (_, taken) in taken {
                    let Some(pool) = taken.pool() else { continue };
                    let balance = self.touch(touched, pool.number);
                    match taken {
                        Taken::Nothing | Taken::Held(HoldKind::Trial | HoldKind::Seat { .. }) => {}
                        Taken::Held(HoldKind::Tokens { .. }) => {
                            add(&mut balance.held, taken.tokens())?;
                        }
                        Taken::Spent { .. } => add(&mut balance.used, taken.tokens())?,
                    }
                }
            }
            LeaseChange::CheckedIn(released) | LeaseChange::Ended((_, released)) => {
                for Hold { kind, .. } in released {
                    let Some(pool) = kind.pool() else { continue };
                    let balance = self.touch(touched, pool.number);
                    let left = balance.held.checked_sub(kind.tokens());
                    balance.held = left.ok_or("more is given back than is held")?;
                }
            }
            LeaseChange::Begun(_) | LeaseChange::Extended(_) | LeaseChange::Denied(_) => {}
        }
        Ok(())
    }

    /// What is held of every pool is what the running sessions hold, seats and all.
    fn holders(&self) -> Result<(), (Sequence, String)> {
        let mut held: BTreeMap<LineItemNumber, (Tokens, u64)> = BTreeMap::new();
        let leases = || {
            self.state.sessions.values().filter_map(|session| match &session.state.state {
                SessionState::Leased(lease) => Some((session.state.id, lease)),
                SessionState::Idle { .. }
                | SessionState::Active(_)
                | SessionState::Ended { .. } => None,
            })
        };
        let running: BTreeSet<SessionId> = leases().map(|(id, _)| id).collect();
        for (_, lease) in leases() {
            let partner = lease.offline.as_ref().and_then(|offline| offline.seat_of);
            if !partner.is_some_and(|partner| running.contains(&partner)) {
                held.entry(lease.license.number).or_default().1 += 1;
            }
            let mut seats = BTreeSet::new();
            for Hold { kind, .. } in &lease.holds {
                let Some(pool) = kind.pool() else { continue };
                let (tokens, taken) = held.entry(pool.number).or_default();
                *tokens = tokens.checked_add(kind.tokens()).unwrap_or(Tokens::MAX);
                if kind.is_seat_in(pool.number) && seats.insert(pool.number) {
                    *taken += 1;
                }
            }
        }
        for (number, balance) in &self.state.balances {
            let (tokens, seats) = held.remove(number).unwrap_or_default();
            let Versioned { state: Balance { held, seats: taken, .. }, last } = balance;
            if (*held, *taken) != (tokens, seats) {
                let wrong = format!(
                    "pool {number} is said to have {held} tokens and {taken} seats held, running \
                     sessions hold {tokens} and {seats}"
                );
                return Err((*last, wrong));
            }
        }
        Ok(())
    }

    fn touch<'a>(
        &self,
        touched: &'a mut BTreeMap<LineItemNumber, Balance>,
        number: LineItemNumber,
    ) -> &'a mut Balance {
        let former = self.recomputed.get(&number).cloned().unwrap_or_default();
        touched.entry(number).or_insert(former)
    }

    /// The snapshots, brought up to the journal's end as a start does, say what the journal says.
    /// If not: the record in question, and what is wrong.
    fn snapshots(&self, walk: &WalkReport) -> Result<(), (Sequence, String)> {
        let Some(watermark) = self.watermark else { return Ok(()) };
        let end = walk.last.map_or(Sequence::ZERO, |mark| mark.sequence);
        if watermark.sequence > end {
            let known = watermark.sequence;
            let wrong = format!("the snapshots know record {known}, the journal ends with {end}");
            return Err((known, wrong));
        }
        match self.state.difference(&self.snapshot) {
            None => Ok(()),
            Some((record, what)) => {
                let wrong = format!(
                    "the snapshots do not have {what} as the journal does: remove `snapshots`, the \
                     next start rebuilds it"
                );
                Err((record.unwrap_or(watermark.sequence), wrong))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::charge::Refund;
    use crate::domain::event::SessionClosed;
    use crate::domain::ids::{ActionId, CorrelationId, InstanceNumber, SessionId, SessionNumber};
    use crate::domain::rules::Counters;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_refund_that_passes_what_its_action_gave_is_said_and_no_panic() {
        let (line_item, action) = (LineItemNumber::default(), ActionId::from_u128(1));
        let counters = Counters::new(vec![(action, Tokens::whole(1))]);
        let balance =
            Balance { used: Tokens::whole(9), open_lines: 1, counters, ..Balance::default() };
        let mut check = Check::default();
        check.recomputed.insert(line_item, balance);
        let refund = Refund {
            line_item,
            activation_id: "A".parse().unwrap(),
            item: 0,
            rate: "1".parse().unwrap(),
            tokens: Tokens::whole(2),
            action: Some(action),
        };
        let closed = SessionClosed {
            session: SessionNumber::default(),
            session_id: SessionId::from_u128(1),
            instance: InstanceNumber::default(),
            correlation: CorrelationId::from_u128(1),
            ended: None,
            refunds: vec![refund],
            postings: Vec::new(),
        };
        let event = Event::SessionClosed(Arc::new(closed));
        let record = Record { at: Timestamp::default(), event };
        let wrong = check.conservation(Sequence::new(1), &record).unwrap_err();
        assert_eq!(wrong, "record 1: a refund passes what its action gave");
    }
}
