//! Component licensing (components 1): products and their components, licences with their terms and
//! entitlements, and where they are installed. Who may use what of it now is decided in `checkout`;
//! what a session holds is in `lease`; how an installation is recognised in `identity`.

mod checkout;
mod draw;
mod identity;
mod lease;
mod provision;
mod recognition;
mod refusal;
mod standing;

use std::sync::Arc;

pub use self::checkout::{Begin, BeginSession, Licensed, Wanted, Who};
pub use self::identity::{Identity, IdentityValue};
pub use self::lease::{Hold, HoldKind, Lease, LeaseChange, LeaseEvent, Offline, PoolName, Taken};
pub use self::provision::{Licenses, Products, Provision, Recognised};
use self::recognition::Recognition;
pub use self::refusal::{ComponentRefusal, Shortage};
pub use self::standing::{EntitlementStanding, Standing};
use super::ids::{InstallationId, LineItemNumber, Text, UserId};
use super::time::Timestamp;
use super::tokens::{Count, Rate, Tokens};

/// How a checkout of a component is charged (components 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenseModel {
    /// A seat of its pool, one for all components of the pool that a session uses.
    Session,
    /// Tokens that come back when the session ends.
    Token,
    /// Tokens that are spent.
    Consumable,
    /// Nothing.
    None,
}

impl LicenseModel {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LicenseModel::Session => "session",
            LicenseModel::Token => "token",
            LicenseModel::Consumable => "consumable token",
            LicenseModel::None => "none",
        }
    }

    /// The model of this name.
    pub fn parse(name: &str) -> Option<LicenseModel> {
        let all = [
            LicenseModel::Session,
            LicenseModel::Token,
            LicenseModel::Consumable,
            LicenseModel::None,
        ];
        all.into_iter().find(|model| model.as_str() == name)
    }

    /// Whether a checkout costs tokens.
    const fn is_priced(self) -> bool {
        match self {
            LicenseModel::Token | LicenseModel::Consumable => true,
            LicenseModel::Session | LicenseModel::None => false,
        }
    }
}

/// A separately licensed part of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name in requests and entitlements.
    pub name: Text,
    /// Its place among those of the product: order of creation.
    pub place: u64,
    /// How a checkout is charged.
    pub model: LicenseModel,
    /// What a checkout costs outside a trial, where the model costs tokens.
    pub price: Rate,
    /// Until when checkouts are free.
    pub trial_until: Option<Timestamp>,
}

impl Component {
    /// Whether checkouts are free at `now` (components 6, U-10).
    pub fn is_on_trial(&self, now: Timestamp) -> bool {
        self.trial_until.is_some_and(|until| now < until)
    }

    /// `original_tokens_required`.
    pub fn full_price(&self) -> Rate {
        if self.model.is_priced() { self.price } else { Rate::default() }
    }

    /// `tokens_required`: what a checkout costs at `now`.
    pub fn price_at(&self, now: Timestamp) -> Rate {
        if self.is_on_trial(now) { Rate::default() } else { self.full_price() }
    }
}

/// One piece of software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// What clients name it by.
    pub guid: Text,
    /// For people.
    pub name: Text,
    components: imbl::OrdMap<Text, Arc<Component>>,
}

impl Product {
    /// A product without components.
    pub fn new(guid: Text, name: Text) -> Product {
        Product { guid, name, components: imbl::OrdMap::new() }
    }

    /// Whether it has no component.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// The component of this name.
    pub fn component(&self, name: &str) -> Option<&Arc<Component>> {
        self.components.get(name)
    }

    /// All of them, in order of creation (components 6, U-15).
    pub fn in_order(&self) -> Vec<&Arc<Component>> {
        let mut all: Vec<_> = self.components.values().collect();
        all.sort_by_key(|component| component.place);
        all
    }

    /// The place of a component that is to be saved: its own, or behind all others.
    pub fn place_of(&self, name: &str) -> u64 {
        let behind = || self.components.values().map(|other| other.place + 1).max().unwrap_or(0);
        self.component(name).map_or_else(behind, |component| component.place)
    }

    fn insert(&mut self, component: Component) {
        self.components.insert(component.name.clone(), Arc::new(component));
    }
}

/// A stretch of time in which a licence may be used: its first and its last millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// First valid millisecond.
    pub start: Timestamp,
    /// Last valid millisecond.
    pub end: Timestamp,
}

impl Term {
    /// Whether `now` is inside.
    pub fn contains(&self, now: Timestamp) -> bool {
        (self.start..=self.end).contains(&now)
    }
}

/// What the producer wrote of a licence (components 2.1b).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseTerms {
    /// Of which product.
    pub product: Text,
    /// When it may be used.
    pub terms: Vec<Term>,
    /// How many sessions may run at once; `None` without limit.
    pub concurrent_sessions: Option<u64>,
    /// Names of what it switches on.
    pub features: Vec<Text>,
    /// The longest that a session lasts without being extended.
    pub session_duration_s: u64,
    /// How long a client may go on when it cannot validate: only told to it.
    pub grace_period_s: u64,
}

/// A licence: sold to a customer, used by installations of the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    /// Its pool of concurrent sessions.
    pub number: LineItemNumber,
    /// What clients register with.
    pub key: Text,
    /// What its producer wrote last.
    pub terms: LicenseTerms,
    entitlements: imbl::OrdMap<Text, Arc<Entitlement>>,
    installations: imbl::OrdMap<InstallationId, Arc<Installation>>,
    recognition: Recognition,
    users: imbl::OrdMap<UserId, Arc<User>>,
    users_by_identity: imbl::OrdMap<Vec<(Text, Text)>, UserId>,
}

impl License {
    /// A licence without entitlements that is installed nowhere.
    pub fn new(number: LineItemNumber, key: Text, terms: LicenseTerms) -> License {
        License {
            number,
            key,
            terms,
            entitlements: imbl::OrdMap::new(),
            installations: imbl::OrdMap::new(),
            recognition: Recognition::default(),
            users: imbl::OrdMap::new(),
            users_by_identity: imbl::OrdMap::new(),
        }
    }

    /// Its pool of sessions, by number and key.
    pub fn name(&self) -> PoolName {
        PoolName { number: self.number, name: self.key.clone() }
    }

    /// How usage rows name the pool of an entitlement: with the licence that it is of.
    pub fn pool_name(&self, entitlement: &Entitlement) -> Text {
        let name = format!("{}/{}", self.key, entitlement.id);
        Text::new(&name).unwrap_or_else(|_| entitlement.id.clone()) // Longer ones only embedders make.
    }

    /// The term that `now` is in; of several the one that ends last.
    pub fn term_at(&self, now: Timestamp) -> Option<&Term> {
        let terms = self.terms.terms.iter().filter(|term| term.contains(now));
        terms.max_by_key(|term| term.end)
    }

    /// The entitlement of this id.
    pub fn entitlement(&self, id: &str) -> Option<&Arc<Entitlement>> {
        self.entitlements.get(id)
    }

    /// All of them, in order of creation (components 6, U-9, U-15).
    pub fn in_order(&self) -> Vec<&Arc<Entitlement>> {
        let mut all: Vec<_> = self.entitlements.values().collect();
        all.sort_by_key(|entitlement| entitlement.number);
        all
    }

    /// Whether an entitlement lists this component.
    pub fn lists(&self, component: &Text) -> bool {
        self.entitlements.values().any(|all| all.components.contains(component))
    }

    /// The installation of this id.
    pub fn installation(&self, id: InstallationId) -> Option<&Arc<Installation>> {
        self.installations.get(&id)
    }

    /// The installation that `identity` is recognised as (components 2.0): of several the one that
    /// it differs least from.
    pub fn recognised(&self, identity: &Identity) -> Option<&Arc<Installation>> {
        let distance = |id: &InstallationId| {
            let known = self.installations.get(id)?;
            Some((known.identity.distance(identity)?, known))
        };
        let candidates = self.recognition.candidates(identity).filter_map(distance);
        candidates.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
    }

    fn insert_user(&mut self, user: User) {
        if !user.identity.is_empty() {
            self.users_by_identity.insert(user.identity.clone(), user.id);
        }
        self.users.insert(user.id, Arc::new(user));
    }

    fn insert_installation(&mut self, installation: Installation) {
        let id = installation.id;
        self.recognition.insert(id, &installation.identity);
        self.installations.insert(id, Arc::new(installation));
    }

    /// All installations.
    pub fn all_installations(&self) -> impl Iterator<Item = &Arc<Installation>> {
        self.installations.values()
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// How many installations there are.
    pub fn installations(&self) -> usize {
        self.installations.len()
    }

    /// The user of this id.
    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    /// The user of exactly this identity.
    pub fn user_of(&self, identity: &[(Text, Text)]) -> Option<&Arc<User>> {
        self.user(*self.users_by_identity.get(identity)?)
    }

    fn insert_entitlement(&mut self, entitlement: Entitlement) {
        self.entitlements.insert(entitlement.id.clone(), Arc::new(entitlement));
    }
}

/// Where tokens and seats of an entitlement come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pool {
    /// A pool of its own; `None` is without limit (components 6, U-1).
    Own {
        /// Whole tokens.
        tokens: Option<u64>,
        /// Seats.
        sessions: Option<u64>,
    },
    /// A line item of the instance: what is held and consumed comes out of its quantity, together
    /// with the charges of access requests (components 7.4). No seats.
    LineItem {
        /// Its name.
        activation_id: Text,
    },
}

/// A pool that some components of the product draw on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Its pool, if it has one of its own, and its place among those of the licence.
    pub number: LineItemNumber,
    /// Its name within the licence.
    pub id: Text,
    /// Which components draw on it.
    pub components: Vec<Text>,
    /// What they draw on.
    pub pool: Pool,
}

/// One installation of a client's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// `instance_guid`.
    pub id: InstallationId,
    /// What it is recognised by.
    pub identity: Identity,
    /// Who registered it without saying who: used where a session names no other.
    pub user: UserId,
}

/// Somebody who uses the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `user_guid`.
    pub id: UserId,
    /// What they are known by, sorted; nothing where an installation was registered without.
    pub identity: Vec<(Text, Text)>,
}

/// One of a component, as tokens at this price.
pub(super) fn tokens_of(price: Rate) -> Tokens {
    let tokens = Tokens::from_units(i128::from(price.units()) * i128::from(Count::ONE.units()));
    tokens.expect("the greatest rate is an amount")
}
