//! A line item: what its producer granted, and what has been used of it (spec 3.2, 3.3, 6).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::ids::{LineItemNumber, Text};
use super::limits::{TOLERANCE_MS, USED_MAX};
use super::rules::{Action, Counters};
use super::time::Timestamp;
use super::tokens::Tokens;

/// Whether a line item may be consumed from (spec 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineItemState {
    /// It may.
    Deployed,
    /// Not now; it can come back.
    Inactive,
    /// Never again.
    Obsolete,
}

impl LineItemState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LineItemState::Deployed => "DEPLOYED",
            LineItemState::Inactive => "INACTIVE",
            LineItemState::Obsolete => "OBSOLETE",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<LineItemState> {
        [LineItemState::Deployed, LineItemState::Inactive, LineItemState::Obsolete]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl fmt::Display for LineItemState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

/// What may be used beyond the quantity (spec 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdraft {
    /// Nothing.
    None,
    /// So many whole tokens.
    Number(u64),
    /// Without bound.
    Unlimited,
}

/// What the producer wrote: everything of a line item that requests do not change (spec 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The line item id.
    pub activation_id: Text,
    /// Whether it may be consumed from.
    pub state: LineItemState,
    /// Whole tokens mapped; at least 1.
    pub quantity: u64,
    /// First valid millisecond.
    pub start: Timestamp,
    /// Last valid millisecond.
    pub end: Timestamp,
    /// Only elastic line items are charged by access requests (spec 1).
    pub elastic: bool,
    /// The series of rate tables it is priced by.
    pub series: Text,
    /// What may be used beyond the quantity.
    pub overdraft: Overdraft,
    /// Stored and returned, without behaviour (spec 10, no. 20).
    pub reset_frequency: Option<Text>,
}

impl Terms {
    /// A line item that is DEPLOYED and elastic, priced by the tables without a series, without
    /// overdraft. Whoever wants it otherwise sets the field.
    pub fn new(activation_id: Text, quantity: u64, start: Timestamp, end: Timestamp) -> Terms {
        Terms {
            activation_id,
            state: LineItemState::Deployed,
            quantity,
            start,
            end,
            elastic: true,
            series: Text::empty(),
            overdraft: Overdraft::None,
            reset_frequency: None,
        }
    }
}

/// A line item of the catalogue: its identity and its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItem {
    /// Which mapping of the activation id this is.
    pub number: LineItemNumber,
    /// What the producer wrote last.
    pub terms: Terms,
    /// Who may consume from it, in the order that counts (spec 5); none: everybody.
    pub actions: Vec<Action>,
}

/// A line item in its place among those of its instance: earliest end first; equal end: earliest
/// start first; still equal: by activation id (spec 3.2).
#[derive(Clone, Debug)]
pub struct InChargingOrder(pub Arc<LineItem>);

impl InChargingOrder {
    fn place(&self) -> (Timestamp, Timestamp, &Text) {
        let Terms { end, start, activation_id, .. } = &self.0.terms;
        (*end, *start, activation_id)
    }
}

impl PartialEq for InChargingOrder {
    fn eq(&self, other: &InChargingOrder) -> bool {
        self.place() == other.place()
    }
}

impl Eq for InChargingOrder {}

impl PartialOrd for InChargingOrder {
    fn partial_cmp(&self, other: &InChargingOrder) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InChargingOrder {
    fn cmp(&self, other: &InChargingOrder) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl LineItem {
    /// A line item that everybody may consume from.
    pub fn new(number: LineItemNumber, terms: Terms) -> LineItem {
        LineItem { number, terms, actions: Vec::new() }
    }

    /// Whether an access request at `now` may consume from it at all (spec 3.2): elastic, deployed
    /// and inside its window, which a tolerant time zone widens by 12 hours on each side.
    pub fn is_candidate(&self, now: Timestamp, tolerant: bool) -> bool {
        self.obstacle(now, tolerant).is_none()
    }

    /// The first thing that keeps every access request at `now` from it.
    pub fn obstacle(&self, now: Timestamp, tolerant: bool) -> Option<Obstacle> {
        let Terms { elastic, state, start, end, .. } = &self.terms;
        let slack = if tolerant { TOLERANCE_MS } else { 0 };
        if !*elastic {
            Some(Obstacle::NotElastic)
        } else if *state != LineItemState::Deployed {
            Some(Obstacle::NotDeployed(*state))
        } else if now < start.minus_ms(slack) {
            Some(Obstacle::NotStarted(*start))
        } else if now > end.plus_ms(slack) {
            Some(Obstacle::Ended(*end))
        } else {
            None
        }
    }

    /// What is left of the quantity when so much is taken (spec 3.3, first pass).
    pub fn entitled(&self, taken: Tokens) -> Tokens {
        Tokens::whole(self.terms.quantity).saturating_sub(taken)
    }

    /// What may still be charged in all when so much is taken (spec 3.3, second pass).
    pub fn available(&self, taken: Tokens) -> Tokens {
        let quantity = Tokens::whole(self.terms.quantity);
        let limit = match self.terms.overdraft {
            Overdraft::None => Some(quantity),
            Overdraft::Number(limit) => quantity.checked_add(Tokens::whole(limit)),
            Overdraft::Unlimited => Some(USED_MAX),
        };
        limit.unwrap_or(USED_MAX).saturating_sub(taken)
    }

    /// What an access request at `now` could charge in all when so much is taken (spec 2.7): nothing
    /// of what is no candidate then; `None` where the overdraft has no bound.
    pub fn chargeable(&self, taken: Tokens, now: Timestamp, tolerant: bool) -> Option<Tokens> {
        if !self.is_candidate(now, tolerant) {
            return Some(Tokens::ZERO);
        }
        match self.terms.overdraft {
            Overdraft::Unlimited => None,
            Overdraft::None | Overdraft::Number(_) => Some(self.available(taken)),
        }
    }
}

/// What keeps every access request from a line item, whoever asks and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Access requests never charge it.
    NotElastic,
    /// It is in another state.
    NotDeployed(LineItemState),
    /// It can be used from then on.
    NotStarted(Timestamp),
    /// It could be used until then.
    Ended(Timestamp),
}

/// What requests change of a line item; owned by its actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Tokens charged and not refunded.
    pub used: Tokens,
    /// Charge lines on it in the current periods of active sessions: a deleted line item is really
    /// removed once there are none (spec 6).
    pub open_lines: u64,
    /// What of it was charged through which action.
    pub counters: Counters,
    /// Tokens that sessions of components hold: they come back (components 7.2).
    pub held: Tokens,
    /// Seats that are taken (components 1).
    pub seats: u64,
}

/// What a record makes of one balance. It says the result, not the difference, so that replaying
/// it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose balance.
    pub line_item: LineItemNumber,
    /// Its name, so that the journal reads on its own.
    pub activation_id: Text,
    /// The whole tokens that its producer maps; none where it is deleted.
    pub quantity: Option<u64>,
    /// The balance from this record on; of the counters those that it changes.
    pub after: Balance,
}

impl Balance {
    /// What nobody else can have: charged or held. Pools bound both, so the sum is an amount.
    pub fn taken(&self) -> Tokens {
        self.used.checked_add(self.held).unwrap_or(Tokens::MAX)
    }

    /// Whether somebody holds tokens or a seat of it.
    pub fn is_held(&self) -> bool {
        self.held != Tokens::ZERO || self.seats > 0
    }

    /// Takes over what a record makes of it.
    pub fn take_over(&mut self, after: &Balance) {
        (self.used, self.open_lines) = (after.used, after.open_lines);
        (self.held, self.seats) = (after.held, after.seats);
        self.counters.take_over(&after.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_item(quantity: u64, overdraft: Overdraft) -> LineItem {
        let (start, end) = (Timestamp::from_ms(1_000), Timestamp::from_ms(2_000));
        let terms = Terms::new(Text::new("ACT01").unwrap(), quantity, start, end);
        LineItem::new(LineItemNumber::default(), Terms { overdraft, ..terms })
    }

    #[test]
    fn the_window_is_inclusive_to_the_millisecond() {
        let item = line_item(1, Overdraft::None);
        for (now, inside) in [(999, false), (1_000, true), (2_000, true), (2_001, false)] {
            assert_eq!(item.is_candidate(Timestamp::from_ms(now), false), inside, "{now}");
        }
        let late = Timestamp::from_ms(2_000 + TOLERANCE_MS);
        assert!(item.is_candidate(late, true));
        assert!(!item.is_candidate(late.plus_ms(1), true));
    }

    #[test]
    fn capacity_counts_the_overdraft_and_never_falls_below_nothing() {
        let used = Tokens::whole(9);
        for (overdraft, entitled, available) in
            [(Overdraft::None, 1, 1), (Overdraft::Number(5), 1, 6)]
        {
            let item = line_item(10, overdraft);
            assert_eq!(item.entitled(used), Tokens::whole(entitled));
            assert_eq!(item.available(used), Tokens::whole(available));
            assert_eq!(item.entitled(Tokens::whole(11)), Tokens::ZERO);
            assert_eq!(item.available(Tokens::whole(16)), Tokens::ZERO);
        }
        let endless = line_item(10, Overdraft::Unlimited);
        assert_eq!(endless.available(USED_MAX), Tokens::ZERO);
        assert!(endless.available(used) > Tokens::whole(u64::MAX));
    }

    #[test]
    fn only_what_may_be_charged_now_can_give_anything() {
        let (used, inside) = (Tokens::whole(9), Timestamp::from_ms(1_500));
        let left = |line_item: &LineItem, at| line_item.chargeable(used, at, false);
        let nothing = Some(Tokens::ZERO);
        for (overdraft, now) in [
            (Overdraft::None, Some(Tokens::whole(1))),
            (Overdraft::Number(5), Some(Tokens::whole(6))),
            (Overdraft::Unlimited, None),
        ] {
            let item = line_item(10, overdraft);
            assert_eq!(left(&item, inside), now);
            assert_eq!(left(&item, Timestamp::from_ms(2_001)), nothing, "it is over");
            assert_eq!(item.chargeable(used, Timestamp::from_ms(2_001), true), now, "tolerated");
            let inelastic = Terms { elastic: false, ..item.terms.clone() };
            assert_eq!(left(&LineItem::new(item.number, inelastic), inside), nothing);
            for state in [LineItemState::Inactive, LineItemState::Obsolete] {
                let terms = Terms { state, ..item.terms.clone() };
                assert_eq!(left(&LineItem::new(item.number, terms), inside), nothing, "{state}");
            }
        }
    }
}
