//! What a session of components holds, and what can happen to it (components 4). An offline
//! checkout of a licence is a lease too, one that holds nothing but its seat.

use super::super::ids::{
    CorrelationId, InstallationId, InstanceNumber, LineItemNumber, Requester, SessionId,
    SessionNumber, Text, UserId,
};
use super::super::line_item::Posting;
use super::super::request::RequestedItem;
use super::super::session::Ended;
use super::super::session_time::SessionTime;
use super::super::time::Timestamp;
use super::super::tokens::{Rate, Tokens};
use super::refusal::Shortage;
use super::tokens_of;

/// A running session of components, or a licence that is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The licence's pool of concurrent sessions, and the licence's key.
    pub license: PoolName,
    /// Where the program runs.
    pub installation: InstallationId,
    /// Who uses it.
    pub user: UserId,
    /// The version of the program.
    pub version: Text,
    /// It lapses at this instant unless it is extended.
    pub until: SessionTime,
    /// Set where it is no session but a licence that is taken out.
    pub offline: Option<Offline>,
    /// What is checked out, in that order.
    pub holds: Vec<Hold>,
    /// What was spent, by pool.
    pub spent: Vec<(LineItemNumber, Tokens)>,
}

/// A licence that is taken out (components 2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offline {
    /// `expiration_time`: what the program itself goes by.
    pub expires: Timestamp,
    /// The session whose seat it is. They share it: it is free when both have ended.
    pub seat_of: Option<SessionId>,
}

/// A pool, and its name so that the journal reads on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolName {
    /// Whose balance it is.
    pub number: LineItemNumber,
    /// Its name.
    pub name: Text,
}

/// A component that is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The component and the program's version; one of it.
    pub item: RequestedItem,
    /// What is held for it.
    pub kind: HoldKind,
    /// Since when.
    pub since: Timestamp,
}

/// What is held for a component. Its price is that of its checkout (components 6, U-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// Nothing: it was on trial.
    Trial,
    /// Tokens of a pool.
    Tokens {
        /// Whose.
        pool: PoolName,
        /// So many.
        price: Rate,
    },
    /// The session's seat in a pool, one for all its components there.
    Seat {
        /// Whose.
        pool: PoolName,
    },
}

impl HoldKind {
    /// What it draws on.
    pub const fn pool(&self) -> Option<&PoolName> {
        match self {
            HoldKind::Trial => None,
            HoldKind::Tokens { pool, .. } | HoldKind::Seat { pool } => Some(pool),
        }
    }

    /// What it cost, in tokens.
    pub fn price(&self) -> Rate {
        match self {
            HoldKind::Tokens { price, .. } => *price,
            HoldKind::Trial | HoldKind::Seat { .. } => Rate::default(),
        }
    }

    /// The tokens that it keeps from others.
    pub fn tokens(&self) -> Tokens {
        tokens_of(self.price())
    }

    /// Whether it is a seat in this pool.
    pub fn is_seat_in(&self, number: LineItemNumber) -> bool {
        matches!(self, HoldKind::Seat { pool } if pool.number == number)
    }
}

/// What a checkout took for one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: it costs nothing, or the session has it already.
    Nothing,
    /// It is held from now on.
    Held(HoldKind),
    /// Its tokens are spent.
    Spent {
        /// Whose.
        pool: PoolName,
        /// So many.
        price: Rate,
    },
}

impl Taken {
    /// What it came from.
    pub const fn pool(&self) -> Option<&PoolName> {
        match self {
            Taken::Nothing => None,
            Taken::Held(kind) => kind.pool(),
            Taken::Spent { pool, .. } => Some(pool),
        }
    }

    /// How many tokens.
    pub fn tokens(&self) -> Tokens {
        match self {
            Taken::Nothing => Tokens::ZERO,
            Taken::Held(kind) => kind.tokens(),
            Taken::Spent { price, .. } => tokens_of(*price),
        }
    }
}

/// Something that happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEvent {
    /// Whose; none for one that begins, which takes the number of this record.
    pub session: Option<SessionNumber>,
    /// `session_key`, or `checkout_key`.
    pub session_id: SessionId,
    /// Where.
    pub instance: InstanceNumber,
    /// Ties usage rows to this record.
    pub correlation: CorrelationId,
    /// The user, as usage rows name who asked.
    pub requester: Requester,
    /// What happened.
    pub change: LeaseChange,
    /// The balances from here on.
    pub postings: Vec<Posting>,
}

/// What happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It began.
    Begun(Lease),
    /// It lasts until then.
    Extended(SessionTime),
    /// All of these components were checked out.
    CheckedOut(Vec<(RequestedItem, Taken)>),
    /// None of these components was: a denial changes nothing.
    Denied((Vec<RequestedItem>, Shortage)),
    /// These components were given back.
    CheckedIn(Vec<Hold>),
    /// It is over, and with it all that it held.
    Ended((Ended, Vec<Hold>)),
}

impl Lease {
    /// The hold on this component.
    pub fn hold(&self, component: &str) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.item.name.as_str() == component)
    }

    /// What it keeps of the tokens of a pool: held and spent.
    pub fn tokens_in_use(&self, pool: LineItemNumber) -> Tokens {
        let held = self.holds.iter().filter_map(|hold| {
            let here = hold.kind.pool().is_some_and(|held| held.number == pool);
            here.then(|| hold.kind.tokens())
        });
        let spent = self.spent.iter().filter(|(of, _)| *of == pool).map(|(_, tokens)| *tokens);
        let sum = |sum: Tokens, tokens| sum.checked_add(tokens).expect("pools bound what is taken");
        held.chain(spent).fold(Tokens::ZERO, sum)
    }

    /// Whether it has a seat in a pool.
    pub fn has_seat(&self, pool: LineItemNumber) -> bool {
        self.holds.iter().any(|hold| hold.kind.is_seat_in(pool))
    }

    /// Makes what happened so; not its end.
    pub(in crate::domain) fn apply(&mut self, change: &LeaseChange, at: Timestamp) {
        match change {
            LeaseChange::Extended(until) => self.until = *until,
            LeaseChange::CheckedOut(taken) => {
                for (item, taken) in taken {
                    match taken {
                        Taken::Nothing => {}
                        Taken::Held(kind) => {
                            let (item, kind) = (item.clone(), kind.clone());
                            self.holds.push(Hold { item, kind, since: at });
                        }
                        Taken::Spent { pool, price } => self.spend(pool.number, tokens_of(*price)),
                    }
                }
            }
            LeaseChange::CheckedIn(released) => {
                self.holds.retain(|hold| !released.contains(hold));
            }
            LeaseChange::Begun(_) | LeaseChange::Denied(_) | LeaseChange::Ended(_) => {}
        }
    }

    fn spend(&mut self, pool: LineItemNumber, tokens: Tokens) {
        match self.spent.iter_mut().find(|(of, _)| *of == pool) {
            Some((_, spent)) => {
                let sum = spent.checked_add(tokens);
                *spent = sum.expect("pools bound what is taken");
            }
            None => self.spent.push((pool, tokens)),
        }
    }
}
