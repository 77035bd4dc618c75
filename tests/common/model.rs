//! What farebox should answer: a plain, slow, single-threaded model of charging.
//!
//! Written from spec/elastic-access.md alone (sections 1-4, 6, 8, 10), of which it shares no code
//! or type with the product. Balances are summed from the list of all movements at every question.
//! Not here: wire formats, tokens, rules of access (5), component
//! holds, outages and session time (4.2). Idempotency keys stand apart, in `keys`. Ids are chosen by the caller, who knows the product's.

#![allow(missing_docs, reason = "fields carry the names of the specification")]

pub mod amount;
mod charge;
pub mod formula;
pub mod keys;
mod quote;
mod rules;
mod session;

pub use amount::{Amount, decimal, text, whole};
pub use charge::{Item, ItemAnswer, LineAnswer, Status};
pub use quote::Standing;
pub use rules::{Action, Clause, Rule, Who};
pub use session::{OnDeny, SessionAnswer, SessionState, SessionView};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Why a command was refused; nothing has changed but the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 400.
    Invalid,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 403 in v1.0, 409 in v1.1 (spec 2.8), with the state that the message names.
    SessionDead(SessionState),
}

/// What every command answers.
pub type Answer<T = ()> = Result<T, Refused>;

/// A price list (spec 2.6); of two with one `effective_from`, the later published one counts.
#[derive(Clone, Debug)]
pub struct RateTable {
    /// `""` for none.
    pub series: String,
    /// A label only: it plays no part in choosing a table.
    pub version: String,
    /// Milliseconds, inclusive.
    pub effective_from: u64,
    /// Each (name, version) at most once.
    pub items: Vec<RatedItem>,
}

/// One price of a table.
#[derive(Clone, Debug)]
pub struct RatedItem {
    /// Matched byte for byte.
    pub name: String,
    /// Matched byte for byte; `""` is a version of its own.
    pub version: String,
    pub price: Price,
}

/// What one count of an item costs (spec 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// Tokens per count, at most nine decimals.
    Rate(Amount),
    /// Worked out with the variables of the requested item.
    Formula(String),
}

/// The state a line item is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineItemState {
    Deployed,
    Inactive,
    Obsolete,
}

/// How far a line item may be used beyond its quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdraft {
    None,
    Number(i64),
    Unlimited,
}

/// What a PUT of a line item sets, all of it each time (spec 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub state: LineItemState,
    pub quantity: i64,
    pub start: u64,
    /// The last valid millisecond.
    pub end: u64,
    pub elastic: bool,
    /// `rateTableSeries`; `""` for the tables without a series.
    pub series: String,
    pub overdraft: Overdraft,
}

/// What is left of a line item, overdraft included (spec 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    Tokens(Amount),
    Unbounded,
}

/// A line item as a GET shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItemView {
    pub activation: String,
    pub terms: Terms,
    pub used: Amount,
}

/// A change of the configuration (spec 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `timezone.tolerant`.
    TimezoneTolerant(bool),
    /// `session.charge.period`, in milliseconds.
    ChargePeriod(u64),
}

/// Where tokens live: one customer's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub account: String,
    pub default: bool,
}

/// Why tokens moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Access,
    AutomaticCharge,
    Refund,
}

/// One line of the ledger: a charge is positive, a refund negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub at: u64,
    /// Which mapping of the activation id, counted over the model's life.
    pub mapping: usize,
    pub activation: String,
    pub session: Option<String>,
    pub cause: Cause,
    pub tokens: Amount,
    /// Through which action's allocation.
    pub action: Option<String>,
}

/// When something is charged, and up to when what the producer set up counts for it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: u64,
    known: u64,
}

impl Moment {
    /// What somebody asks comes after all that was set up by then.
    fn of_a_call(at: u64) -> Moment {
        Moment { at, known: at }
    }

    /// What falls due comes before all that is set up in its own millisecond (spec 4.2).
    fn of_an_event(at: u64) -> Moment {
        Moment { at, known: at - 1 }
    }
}

/// Whether a mapping still shows (spec 6: deferred removal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Listed,
    /// Deleted, but charged in the current period of an ACTIVE session.
    Leaving,
    Removed,
}

#[derive(Clone, Debug)]
struct Mapping {
    instance: String,
    activation: String,
    terms: Terms,
    presence: Presence,
    actions: Vec<rules::Action>,
}

/// The broker, as a list of everything that ever happened to it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Whether automatic charges, heartbeat deadlines and the idle limit fall due. Without them
    /// a paid period just ends, and nothing is left of it to refund.
    pub automatic: bool,
    now: u64,
    /// What was configured, each with its instant.
    settings: Vec<(u64, Setting)>,
    /// Each with the instant at which it was published: nobody knew it before.
    tables: Vec<(u64, RateTable)>,
    instances: Vec<Instance>,
    mappings: Vec<Mapping>,
    sessions: Vec<session::Session>,
    ledger: Vec<Movement>,
    conditions: Vec<rules::Condition>,
    /// Who asks.
    who: rules::Who,
    /// What the last request touched.
    standings: Vec<Standing>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            automatic: true,
            now: 0,
            settings: Vec::new(),
            tables: Vec::new(),
            instances: Vec::new(),
            mappings: Vec::new(),
            sessions: Vec::new(),
            ledger: Vec::new(),
            conditions: Vec::new(),
            who: rules::Who::new(),
            standings: Vec::new(),
        }
    }
}

/// Administration: every command first lets happen what is due at or before `at` (spec 4.2).
impl Model {
    /// POST `/rate-tables` (spec 2.6).
    pub fn publish_rate_table(&mut self, at: u64, table: RateTable) -> Answer {
        self.advance(at);
        let well_formed = |(index, item): (usize, &RatedItem)| {
            let earlier = table.items.iter().take(index);
            !item.name.is_empty()
                && match &item.price {
                    Price::Rate(rate) => {
                        whole(0) <= *rate
                            && *rate <= charge::rate_max()
                            && amount::has_nine_places(rate)
                    }
                    Price::Formula(text) => formula::is_formula(text),
                }
                && earlier.clone().all(|e| (&e.name, &e.version) != (&item.name, &item.version))
        };
        if table.version.is_empty()
            || table.items.is_empty()
            || !table.items.iter().enumerate().all(well_formed)
        {
            return Err(Refused::Invalid);
        }
        if self.table_position(&table.series, &table.version).is_some() {
            return Err(Refused::Conflict);
        }
        self.tables.push((at, table));
        Ok(())
    }

    /// DELETE `/rate-tables`: only one that is not yet in effect (spec 2.6); no series is `""`.
    pub fn delete_rate_table(&mut self, at: u64, series: &str, version: &str) -> Answer {
        self.advance(at);
        let position = self.table_position(series, version).ok_or(Refused::NotFound)?;
        if self.tables.get(position).is_some_and(|(_, table)| table.effective_from <= at) {
            return Err(Refused::Conflict);
        }
        self.tables.remove(position);
        Ok(())
    }

    /// POST `/instances` (spec 2.2): the first of an account is its default.
    pub fn create_instance(&mut self, at: u64, id: &str, account: &str) -> Instance {
        self.advance(at);
        assert!(self.known_instance(id).is_err(), "instance `{id}` exists: the ids are yours");
        let default = self.instances.iter().all(|instance| instance.account != account);
        let instance = Instance { id: id.to_owned(), account: account.to_owned(), default };
        self.instances.push(instance.clone());
        instance
    }

    /// PUT `/configuration`, one value (spec 8): 10 minutes to 24 hours, in whole minutes.
    pub fn configure(&mut self, at: u64, setting: Setting) -> Answer {
        self.advance(at);
        if let Setting::ChargePeriod(period) = setting {
            let in_range = (10 * MINUTE_MS..=24 * HOUR_MS).contains(&period);
            if !in_range || !period.is_multiple_of(MINUTE_MS) {
                return Err(Refused::Invalid);
            }
        }
        self.settings.push((at, setting));
        Ok(())
    }

    /// PUT of a line item: maps it, or replaces its terms and keeps what is used (spec 2.3, 6).
    pub fn put_line_item(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        terms: Terms,
    ) -> Answer {
        self.advance(at);
        let bad_overdraft = matches!(terms.overdraft, Overdraft::Number(limit) if limit < 0);
        if terms.quantity < 1 || terms.end < terms.start || bad_overdraft {
            return Err(Refused::Invalid);
        }
        self.known_instance(instance)?;
        let same_id =
            |m: &&mut Mapping| m.activation == activation && m.presence != Presence::Removed;
        let Some(mapping) = self.mappings.iter_mut().find(same_id) else {
            if terms.state != LineItemState::Deployed {
                return Err(Refused::Invalid);
            }
            let (instance, activation) = (instance.to_owned(), activation.to_owned());
            let presence = Presence::Listed;
            let actions = Vec::new();
            self.mappings.push(Mapping { instance, activation, terms, presence, actions });
            return Ok(());
        };
        if mapping.instance != instance || mapping.presence == Presence::Leaving {
            return Err(Refused::Conflict);
        }
        let obsolete = LineItemState::Obsolete;
        if mapping.terms.state == obsolete && terms.state != obsolete {
            return Err(Refused::Invalid);
        }
        mapping.terms = terms;
        Ok(())
    }

    /// DELETE of a line item: gone from the lists at once, really removed when unused (spec 6).
    pub fn delete_line_item(&mut self, at: u64, instance: &str, activation: &str) -> Answer {
        self.advance(at);
        let index = self.listed(instance, activation).ok_or(Refused::NotFound)?;
        let mapping = self.mappings.get_mut(index).expect("just found");
        if mapping.terms.state != LineItemState::Obsolete {
            return Err(Refused::Conflict);
        }
        mapping.presence = Presence::Leaving;
        self.remove_unused();
        Ok(())
    }
}

/// Questions, answered as of the last command or [`Model::advance`].
impl Model {
    /// GET `/instances` (spec 2.2), oldest first; account and `default=true` only together.
    pub fn instances(&self, account: Option<&str>, default: Option<bool>) -> Answer<Vec<Instance>> {
        match (account, default) {
            (None, None) => Ok(self.instances.clone()),
            (Some(account), Some(true)) => {
                let wanted = |i: &&Instance| i.account == account && i.default;
                Ok(self.instances.iter().filter(wanted).cloned().collect())
            }
            (Some(_), None | Some(false)) | (None, Some(_)) => Err(Refused::Invalid),
        }
    }

    /// The line items that a GET shows, in charging order (spec 2.3, 3.2).
    pub fn line_items(&self, instance: &str) -> Answer<Vec<LineItemView>> {
        self.known_instance(instance)?;
        let view = |index| {
            let mapping = self.mapping(index);
            let (activation, terms) = (mapping.activation.clone(), mapping.terms.clone());
            LineItemView { activation, terms, used: self.used_of(index) }
        };
        Ok(self.in_charging_order(instance).into_iter().map(view).collect())
    }

    /// Tokens used from a listed line item: all charges less all refunds of this mapping.
    pub fn used(&self, instance: &str, activation: &str) -> Answer<Amount> {
        self.listed(instance, activation).map(|index| self.used_of(index)).ok_or(Refused::NotFound)
    }

    /// What a listed line item could still give, whatever its state and dates (spec 3.3).
    pub fn available(&self, instance: &str, activation: &str) -> Answer<Available> {
        let index = self.listed(instance, activation).ok_or(Refused::NotFound)?;
        let capacity = self.capacity(index, charge::Pass::Overdraft, &self.used_of(index));
        Ok(capacity.map_or(Available::Unbounded, Available::Tokens))
    }

    /// Every movement ever, in order.
    pub fn ledger(&self) -> &[Movement] {
        &self.ledger
    }

    /// From now to then, the instants between which no table takes effect and no line item begins
    /// or ends: what is so at some instant is so at one of these.
    pub fn instants_until(&self, then: u64) -> Vec<u64> {
        let from_tables = self.tables.iter().map(|(_, table)| table.effective_from);
        let terms = self.mappings.iter().map(|mapping| &mapping.terms);
        let turns = from_tables.chain(terms.flat_map(|terms| [terms.start, terms.end + 1]));
        let within = turns.filter(|at| (self.now + 1..=then).contains(at));
        let ends = [self.now, then.max(self.now)].into_iter();
        ends.chain(within.flat_map(|at| [at - 1, at])).collect()
    }

    /// The time of the last command.
    pub fn now(&self) -> u64 {
        self.now
    }
}

impl Model {
    fn known_instance(&self, id: &str) -> Answer {
        let known = self.instances.iter().any(|instance| instance.id == id);
        if known { Ok(()) } else { Err(Refused::NotFound) }
    }

    fn charge_period(&self, when: Moment) -> u64 {
        let by_then = self.settings.iter().filter(|(at, _)| *at <= when.known);
        let periods = by_then.filter_map(|(_, setting)| match setting {
            Setting::ChargePeriod(period) => Some(*period),
            Setting::TimezoneTolerant(_) => None,
        });
        periods.fold(HOUR_MS, |_, period| period)
    }

    fn timezone_tolerant(&self, when: Moment) -> bool {
        let by_then = self.settings.iter().filter(|(at, _)| *at <= when.known);
        let tolerant = by_then.filter_map(|(_, setting)| match setting {
            Setting::TimezoneTolerant(tolerant) => Some(*tolerant),
            Setting::ChargePeriod(_) => None,
        });
        tolerant.fold(false, |_, tolerant| tolerant)
    }

    fn table_position(&self, series: &str, version: &str) -> Option<usize> {
        self.tables.iter().position(|(_, table)| table.series == series && table.version == version)
    }

    fn mapping(&self, index: usize) -> &Mapping {
        self.mappings.get(index).expect("mappings are never forgotten")
    }

    fn listed(&self, instance: &str, activation: &str) -> Option<usize> {
        self.mappings.iter().position(|mapping| {
            let shown = mapping.presence == Presence::Listed;
            shown && mapping.instance == instance && mapping.activation == activation
        })
    }

    fn used_of(&self, mapping: usize) -> Amount {
        let own = self.ledger.iter().filter(|movement| movement.mapping == mapping);
        own.map(|movement| movement.tokens.clone()).sum()
    }

    /// Spec 6: a deleted line item goes once no ACTIVE session's current period is charged to it.
    fn remove_unused(&mut self) {
        for index in 0..self.mappings.len() {
            let in_use = self.sessions.iter().any(|session| session.is_charged_to(index));
            let mapping = self.mappings.get_mut(index).expect("within the length");
            if mapping.presence == Presence::Leaving && !in_use {
                mapping.presence = Presence::Removed;
            }
        }
    }
}
