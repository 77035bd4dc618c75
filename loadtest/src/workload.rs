//! What a connection asks next: drawn from the mix by a seed, the same each time as long as the
//! answers are. It knows which of the connection's sessions are there; their ids are the
//! connection's business.

use std::sync::Arc;

use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Anything;
use crate::measure::Charged;
use crate::profile::{Profile, Skew};
use crate::target::Outcome;

/// How often the components of a session are checked out and in before it ends.
const CHECKOUTS: u8 = 4;
/// What a checkout costs at most: what comes back, and what is spent.
pub const CHECKOUT_MICRO_TOKENS: i128 = 60_000_000;

/// What one connection asks once. Sessions go by their slot in the connection; it has one session
/// of components at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A one-off request.
    OneOff {
        /// In this instance.
        instance: usize,
    },
    /// A session is created.
    Create {
        /// In this instance.
        instance: usize,
        /// Its slot from then on.
        slot: usize,
    },
    /// A session is told its complete set.
    Put {
        /// Its slot.
        slot: usize,
    },
    /// A session is heard of.
    Heartbeat {
        /// Its slot.
        slot: usize,
    },
    /// A session is closed.
    Close {
        /// Its slot.
        slot: usize,
    },
    /// A session of components begins.
    Begin {
        /// In this instance.
        instance: usize,
    },
    /// Components are checked out to it: one that gives its tokens back, and one that spends them.
    CheckOut,
    /// The one comes back.
    CheckIn,
    /// It ends.
    End,
}

impl Operation {
    /// What it may have charged or refunded if nobody knows what became of it, where a request
    /// costs so much.
    pub fn unsure(self, cost: i128) -> Charged {
        match self {
            Operation::OneOff { .. } => Charged { least: 0, most: cost },
            Operation::Put { .. } => Charged { least: -cost, most: cost },
            Operation::Close { .. } => Charged { least: -cost, most: 0 },
            Operation::CheckOut => Charged { least: 0, most: CHECKOUT_MICRO_TOKENS },
            Operation::CheckIn | Operation::End => {
                Charged { least: -CHECKOUT_MICRO_TOKENS, most: 0 }
            }
            Operation::Create { .. } | Operation::Heartbeat { .. } | Operation::Begin { .. } => {
                Charged::default()
            }
        }
    }
}

/// A kind of operation, as the mix weighs it.
#[derive(Clone, Copy)]
enum Kind {
    OneOff,
    Put,
    Heartbeat,
    Close,
    Components,
}

const KINDS: [Kind; 5] = [Kind::OneOff, Kind::Put, Kind::Heartbeat, Kind::Close, Kind::Components];

/// What is drawn from, shared by all connections.
pub struct Odds {
    mix: WeightedIndex<u64>,
    instances: usize,
    zipf: Option<WeightedIndex<f64>>,
}

impl Odds {
    /// Those of a profile.
    ///
    /// # Errors
    /// If its weights are none.
    pub fn new(profile: &Profile) -> Result<Arc<Odds>, Anything> {
        let (mix, instances) = (&profile.mix, profile.world.instances);
        let weights = KINDS.map(|kind| match kind {
            Kind::OneOff => mix.one_off,
            Kind::Put => mix.put,
            Kind::Heartbeat => mix.heartbeat,
            Kind::Close => mix.close,
            Kind::Components => mix.components,
        });
        let weights = weights.map(u64::from); // Any sum of them fits.
        let zipf = match profile.skew {
            Skew::Even => None,
            Skew::Zipf => {
                let ranks = (0..instances).scan(0.0, |rank, _| {
                    *rank += 1.0;
                    Some(1.0 / *rank)
                });
                Some(WeightedIndex::new(ranks)?)
            }
        };
        Ok(Arc::new(Odds { mix: WeightedIndex::new(weights)?, instances, zipf }))
    }
}

/// How a session stands, for all that the workload knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Empty,
    Created,
    Used,
}

/// How the session of components stands.
enum Lease {
    None,
    /// So many checkouts are to come.
    Begun(u8),
    /// Something is checked out; so many checkouts are to come after it.
    Out(u8),
}

/// What one connection asks.
pub struct Workload {
    odds: Arc<Odds>,
    dice: SmallRng,
    slots: Vec<Slot>,
    /// The instance of each slot's session.
    homes: Vec<usize>,
    /// The slots before it are open.
    opened: usize,
    lease: Lease,
    /// The instance of the session of components.
    lease_home: usize,
}

impl Workload {
    /// That of one connection, with its share of the sessions.
    pub fn new(odds: Arc<Odds>, seed: u64, connection: u64, sessions: usize) -> Workload {
        let mut dice = SmallRng::seed_from_u64(seed);
        let own: u64 = dice.random();
        dice = SmallRng::seed_from_u64(own ^ connection);
        let (slots, homes) = (vec![Slot::Empty; sessions], vec![0; sessions]);
        Workload { odds, dice, slots, homes, opened: 0, lease: Lease::None, lease_home: 0 }
    }

    /// What is asked before anything is measured: every session is created and used.
    pub fn opening(&mut self) -> Option<Operation> {
        if self.slots.get(self.opened) == Some(&Slot::Used) {
            self.opened += 1;
        }
        let slot = self.opened;
        Some(match self.slots.get(slot)? {
            Slot::Created => Operation::Put { slot },
            Slot::Empty | Slot::Used => Operation::Create { instance: self.instance(), slot },
        })
    }

    /// A heartbeat of every session.
    pub fn roll_call(&self) -> impl Iterator<Item = Operation> + use<> {
        (0..self.slots.len()).map(|slot| Operation::Heartbeat { slot })
    }

    /// What is asked next.
    pub fn next(&mut self) -> Operation {
        let drawn = self.odds.mix.sample(&mut self.dice);
        let kind = KINDS.get(drawn).copied().unwrap_or(Kind::OneOff);
        let of_session: fn(usize) -> Operation = match kind {
            Kind::OneOff => return Operation::OneOff { instance: self.instance() },
            Kind::Components => return self.next_of_components(),
            Kind::Put => |slot| Operation::Put { slot },
            Kind::Heartbeat => |slot| Operation::Heartbeat { slot },
            Kind::Close => |slot| Operation::Close { slot },
        };
        let slot = self.dice.random_range(0..self.slots.len());
        match self.slots.get(slot) {
            Some(Slot::Created | Slot::Used) => of_session(slot),
            Some(Slot::Empty) | None => Operation::Create { instance: self.instance(), slot },
        }
    }

    fn next_of_components(&mut self) -> Operation {
        match self.lease {
            Lease::None => Operation::Begin { instance: self.instance() },
            Lease::Begun(0) => Operation::End,
            Lease::Begun(_) => Operation::CheckOut,
            Lease::Out(_) => Operation::CheckIn,
        }
    }

    fn instance(&mut self) -> usize {
        match &self.odds.zipf {
            Some(zipf) => zipf.sample(&mut self.dice),
            None => self.dice.random_range(0..self.odds.instances),
        }
    }

    /// The instance that an operation charges, also after it was learned what became of it.
    pub fn instance_of(&self, operation: Operation) -> usize {
        match operation {
            Operation::OneOff { instance }
            | Operation::Create { instance, .. }
            | Operation::Begin { instance } => instance,
            Operation::Put { slot } | Operation::Heartbeat { slot } | Operation::Close { slot } => {
                self.homes.get(slot).copied().unwrap_or_default()
            }
            Operation::CheckOut | Operation::CheckIn | Operation::End => self.lease_home,
        }
    }

    /// Takes note of what became of an operation. Who was told to come back asks the same again
    /// some time; a session that refused, or of which nobody knows how it stands, is given up.
    pub fn learn(&mut self, operation: Operation, outcome: &Outcome) {
        let granted = match outcome {
            Outcome::Overloaded | Outcome::Unreached => return,
            Outcome::Granted(_) => true,
            Outcome::Refused | Outcome::Unknown | Outcome::Failed => false,
        };
        match operation {
            Operation::OneOff { .. } => {}
            Operation::Create { instance, slot } => {
                self.set(slot, granted, Slot::Created);
                if let Some(home) = self.homes.get_mut(slot) {
                    *home = instance;
                }
            }
            Operation::Put { slot } => self.set(slot, granted, Slot::Used),
            Operation::Heartbeat { slot } if !granted => self.set(slot, false, Slot::Empty),
            Operation::Heartbeat { .. } => {}
            Operation::Close { slot } => self.set(slot, true, Slot::Empty),
            Operation::Begin { .. } | Operation::CheckOut | Operation::CheckIn | Operation::End => {
                self.lease_home = self.instance_of(operation);
                self.lease = match (operation, &self.lease) {
                    (Operation::Begin { .. }, _) if granted => Lease::Begun(CHECKOUTS),
                    (Operation::CheckOut, Lease::Begun(left)) if granted => {
                        Lease::Out(left.saturating_sub(1))
                    }
                    (Operation::CheckIn, Lease::Out(left)) if granted => Lease::Begun(*left),
                    _ => Lease::None,
                };
            }
        }
    }

    fn set(&mut self, slot: usize, granted: bool, then: Slot) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = if granted { then } else { Slot::Empty };
        }
    }
}
