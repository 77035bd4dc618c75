//! Usage rows (spec 7): what a record says to those who bill. A record has all that its rows say;
//! they are worked out from it each time and never kept. And adding them up.

use std::collections::BTreeMap;

use super::charge::{Denial, Refund, Verdict};
use super::components::{Hold, HoldKind, LeaseChange, LeaseEvent, Taken};
use super::event::{Decision, Event, Record};
use super::ids::{ActionId, CorrelationId, InstanceNumber, LineItemNumber, Requester, SessionId};
use super::line_item::Posting;
use super::request::{AccessRequest, RequestedItem};
use super::status::ItemStatus;
use super::time::Timestamp;
use super::tokens::{Rate, Tokens};

/// One row: one item on one line item, or one item that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow<'a> {
    /// When it happened.
    pub at: Timestamp,
    /// Ties it to a request, an automatic charge or a refund.
    pub correlation: CorrelationId,
    /// Where.
    pub instance: InstanceNumber,
    /// In which session; none for a one-off request.
    pub session: Option<SessionId>,
    /// Who asked.
    pub requester: &'a Requester,
    /// For what.
    pub item: &'a RequestedItem,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What a row tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A client's request was charged (ACCESS).
    Charged(Movement<'a>),
    /// A session's next period was charged (AUTOMATIC_CHARGE).
    ChargedAutomatically(Movement<'a>),
    /// What was charged for the rest of a period came back (REFUND).
    Refunded(Movement<'a>),
    /// Nothing was charged, and why (DENIED).
    Denied(Denial),
    /// A component was checked out (CHECKOUT): what is held for it, of a pool if of any.
    CheckedOut(Option<Movement<'a>>),
    /// A component came back (RELEASE): what was held for it.
    CheckedIn(Option<Movement<'a>>),
    /// A component was checked out whose tokens are spent (CONSUMPTION).
    Consumed(Movement<'a>),
}

/// Tokens that went to or came from a line item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement<'a> {
    /// The line item, and its balance after the whole record.
    pub posting: &'a Posting,
    /// The price of one count that it was charged at.
    pub rate: Rate,
    /// How many; of a refund, how many came back.
    pub tokens: Tokens,
    /// Through which action.
    pub action: Option<ActionId>,
}

impl<'a> Outcome<'a> {
    /// The EVENT_TYPE column.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Outcome::Charged(_) => "ACCESS",
            Outcome::ChargedAutomatically(_) => "AUTOMATIC_CHARGE",
            Outcome::Refunded(_) => "REFUND",
            Outcome::Denied(_) => "DENIED",
            Outcome::CheckedOut(_) => "CHECKOUT",
            Outcome::CheckedIn(_) => "RELEASE",
            Outcome::Consumed(_) => "CONSUMPTION",
        }
    }

    /// The status of its item. A refund has none.
    pub const fn status(&self) -> Option<ItemStatus> {
        match self {
            Outcome::Charged(_)
            | Outcome::ChargedAutomatically(_)
            | Outcome::CheckedOut(_)
            | Outcome::Consumed(_) => Some(ItemStatus::GRANTED),
            Outcome::Denied(denial) => Some(ItemStatus::of_denial(*denial)),
            Outcome::Refunded(_) | Outcome::CheckedIn(_) => None,
        }
    }

    /// What moved, if anything did.
    pub const fn movement(&self) -> Option<&Movement<'a>> {
        match self {
            Outcome::Charged(movement)
            | Outcome::ChargedAutomatically(movement)
            | Outcome::Refunded(movement)
            | Outcome::Consumed(movement) => Some(movement),
            Outcome::CheckedOut(movement) | Outcome::CheckedIn(movement) => movement.as_ref(),
            Outcome::Denied(_) => None,
        }
    }
}

/// The rows of a record: its refunds, then its charges and denials, in the order of the request.
/// A charge line that ends without anything left of it has no refund, and no row.
pub fn rows(record: &Record) -> Vec<UsageRow<'_>> {
    if let Event::Lease(event) = &record.event {
        return rows_of_lease(record.at, event);
    }
    let Some(decision) = record.event.decision() else { return Vec::new() };
    let (instance, session) = (decision.instance(), decision.session());
    let operation =
        Operation { at: record.at, instance, session, postings: record.event.postings() };
    match decision {
        Decision::OneOff(access) => operation.charges(
            access.correlation,
            &access.request,
            &access.verdicts,
            Outcome::Charged,
        ),
        Decision::Session(access) => {
            let ended = access.ended.as_deref();
            let mut rows = operation.refunds(access.refund_correlation, ended, &access.refunds);
            rows.extend(operation.charges(
                access.correlation,
                &access.request,
                &access.verdicts,
                Outcome::Charged,
            ));
            rows
        }
        Decision::AutomaticCharge(charge) => {
            let charged = Outcome::ChargedAutomatically;
            operation.charges(charge.correlation, &charge.request, &charge.verdicts, charged)
        }
        Decision::Close(closed) | Decision::Expiry(closed) => {
            operation.refunds(closed.correlation, closed.ended.as_deref(), &closed.refunds)
        }
    }
}

/// The rows of what happened to a session of components (components 7.1).
fn rows_of_lease(at: Timestamp, event: &LeaseEvent) -> Vec<UsageRow<'_>> {
    let (instance, session) = (event.instance, Some(event.session_id));
    let operation = Operation { at, instance, session, postings: &event.postings };
    let row = |item, outcome| UsageRow {
        at,
        correlation: event.correlation,
        instance,
        session,
        requester: &event.requester,
        item,
        outcome,
    };
    let held = |kind: &HoldKind| {
        let pool = kind.pool()?;
        let posting = operation.posting(pool.number);
        let (rate, tokens) = (kind.price(), kind.tokens());
        Some(Movement { posting, rate, tokens, action: None })
    };
    match &event.change {
        LeaseChange::CheckedOut(taken) => {
            let outcome = |taken: &Taken| match taken {
                Taken::Nothing => Outcome::CheckedOut(None),
                Taken::Held(kind) => Outcome::CheckedOut(held(kind)),
                Taken::Spent { pool, price } => {
                    let posting = operation.posting(pool.number);
                    let (rate, tokens) = (*price, taken.tokens());
                    Outcome::Consumed(Movement { posting, rate, tokens, action: None })
                }
            };
            taken.iter().map(|(item, taken)| row(item, outcome(taken))).collect()
        }
        LeaseChange::Denied((items, shortage)) => {
            let denial = |item: &RequestedItem| {
                let is_it = item.name == *shortage.component();
                if is_it { shortage.denial() } else { Denial::NoStatus }
            };
            items.iter().map(|item| row(item, Outcome::Denied(denial(item)))).collect()
        }
        LeaseChange::CheckedIn(released) | LeaseChange::Ended((_, released)) => {
            let outcome = |hold: &Hold| Outcome::CheckedIn(held(&hold.kind));
            released.iter().map(|hold| row(&hold.item, outcome(hold))).collect()
        }
        LeaseChange::Begun(_) | LeaseChange::Extended(_) => Vec::new(),
    }
}

/// What all rows of a record share.
struct Operation<'a> {
    at: Timestamp,
    instance: InstanceNumber,
    session: Option<SessionId>,
    postings: &'a [Posting],
}

impl<'a> Operation<'a> {
    fn charges(
        &self,
        correlation: CorrelationId,
        request: &'a AccessRequest,
        verdicts: &'a [Verdict],
        charged: fn(Movement<'a>) -> Outcome<'a>,
    ) -> Vec<UsageRow<'a>> {
        let mut rows = Vec::new();
        for (item, verdict) in request.items.iter().zip(verdicts) {
            let mut add = |outcome| rows.push(self.row(correlation, request, item, outcome));
            match verdict {
                Verdict::Denied(denial) => add(Outcome::Denied(*denial)),
                Verdict::Granted(takes) => takes.iter().for_each(|take| {
                    let posting = self.posting(take.line_item);
                    let (rate, tokens, action) = (take.rate, take.tokens, take.action);
                    add(charged(Movement { posting, rate, tokens, action }));
                }),
            }
        }
        rows
    }

    /// Rows that mirror those of the charge which they undo.
    fn refunds(
        &self,
        correlation: CorrelationId,
        ended: Option<&'a AccessRequest>,
        refunds: &'a [Refund],
    ) -> Vec<UsageRow<'a>> {
        let refunds = refunds.iter().filter(|refund| refund.tokens != Tokens::ZERO);
        let row = |refund: &'a Refund| {
            let ended = ended.expect("what is given back was charged for a request");
            let item = ended.items.get(refund.item).expect("a refund names an item of its request");
            let posting = self.posting(refund.line_item);
            let Refund { rate, tokens, action, .. } = *refund;
            let refunded = Outcome::Refunded(Movement { posting, rate, tokens, action });
            self.row(correlation, ended, item, refunded)
        };
        refunds.map(row).collect()
    }

    fn posting(&self, line_item: LineItemNumber) -> &'a Posting {
        let found = self.postings.iter().find(|posting| posting.line_item == line_item);
        found.expect("a record posts every line item that it charges or refunds")
    }

    fn row(
        &self,
        correlation: CorrelationId,
        request: &'a AccessRequest,
        item: &'a RequestedItem,
        outcome: Outcome<'a>,
    ) -> UsageRow<'a> {
        let Operation { at, instance, session, .. } = *self;
        let requester = &request.requester;
        UsageRow { at, correlation, instance, session, requester, item, outcome }
    }
}

/// Adds up the rows of a whole journal, and compares each balance with its sum.
#[derive(Debug, Default)]
pub struct Reconciler {
    rows: u64,
    sums: BTreeMap<LineItemNumber, Tokens>,
}

/// A balance that is not what its usage rows add up to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{activation_id}` is said to have {used} used, its usage rows make {sum}")]
pub struct Residue {
    /// Whose balance.
    pub activation_id: String,
    /// What the record says.
    pub used: Tokens,
    /// What the rows say.
    pub sum: Tokens,
}

impl Reconciler {
    /// Takes the next record. Every balance that it states must be the sum of all rows so far.
    ///
    /// # Errors
    /// [`Residue`].
    pub fn record(&mut self, record: &Record) -> Result<(), Residue> {
        for row in rows(record) {
            self.rows += 1;
            let Some(movement) = row.outcome.movement() else { continue };
            let (line_item, tokens) = (movement.posting.line_item, movement.tokens);
            let sum = self.sums.entry(line_item).or_default();
            let after = match row.outcome {
                Outcome::Refunded(_) => sum.checked_sub(tokens),
                Outcome::Charged(_) | Outcome::ChargedAutomatically(_) | Outcome::Consumed(_) => {
                    sum.checked_add(tokens)
                }
                // What is held comes back: it is never used.
                Outcome::CheckedOut(_) | Outcome::CheckedIn(_) | Outcome::Denied(_) => Some(*sum),
            };
            *sum = after.ok_or_else(|| Residue {
                activation_id: movement.posting.activation_id.as_str().to_owned(),
                used: movement.posting.after.used,
                sum: *sum,
            })?;
        }
        for posting in record.event.postings() {
            let (used, sum) = (posting.after.used, self.sums.get(&posting.line_item).copied());
            let sum = sum.unwrap_or_default();
            if used != sum {
                let activation_id = posting.activation_id.as_str().to_owned();
                return Err(Residue { activation_id, used, sum });
            }
        }
        Ok(())
    }

    /// How many rows there were.
    pub const fn rows(&self) -> u64 {
        self.rows
    }
}
