//! What producers write, as immutable, numbered snapshots that share structure between versions.
//!
//! [`Tenant`] and [`InstanceCatalogue`] are what decisions read; [`Registry`] is what only changes
//! of the catalogue itself read. All three are rebuilt by applying records, and applying one twice
//! does no harm.

mod registry;

use std::sync::Arc;

pub use self::registry::{InstanceEntry, LicensePlace, Mapping, Registry};

use super::components::{Licenses, Products};
use super::configuration::{ConfigurationChange, ConfigurationHistory};
use super::event::{Event, Record};
use super::ids::{ConditionId, LineItemNumber, RateTableNumber, Sequence, Text};
use super::keys::Keys;
use super::limits::{CONDITIONS_BYTES_MAX, CONDITIONS_MAX};
use super::line_item::{InChargingOrder, LineItem, LineItemState, Terms};
use super::rates::{NewRateTable, RateTable, Rates};
use super::refusal::Refusal;
use super::rules::{self, Action, Condition, Dictionary, NewCondition, Permission};
use super::session_time::Outages;
use super::time::Timestamp;

/// What holds for all instances of the producer.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// The record that made this version.
    pub number: Sequence,
    /// The price lists.
    pub rates: Rates,
    /// The registered keys.
    pub keys: Keys,
    /// The settings, through time.
    pub configuration: ConfigurationHistory,
    /// When the broker was not there.
    pub outages: Outages,
    /// What is licensed by component (components 2.1b).
    pub products: Products,
}

impl Tenant {
    /// Checks a table that is to be published (spec 2.6).
    pub fn decide_publication(&self, table: NewRateTable) -> Result<Event, Refusal> {
        let NewRateTable { series, version, .. } = &table;
        if self.rates.find(series, version).is_some() {
            let (series, version) = (series.clone(), version.clone());
            return Err(Refusal::RateTableExists { series, version });
        }
        // Only to see whether it can be built: the record brings the real number.
        RateTable::new(RateTableNumber::default(), Timestamp::default(), table.clone())?;
        Ok(Event::RateTablePublished(table))
    }

    /// Checks a deletion: a table that has taken effect stays (spec 2.6).
    pub fn decide_deletion(
        &self,
        series: &Text,
        version: &Text,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        let table = self.rates.find(series, version).ok_or(Refusal::UnknownRateTable)?;
        if table.effective_from <= now {
            return Err(Refusal::RateTableInEffect);
        }
        Ok(Event::RateTableDeleted { series: series.clone(), number: table.number })
    }

    /// Takes over what a record changes here. Says whether it changed anything.
    pub fn apply(&mut self, sequence: Sequence, record: &Record) -> bool {
        match &record.event {
            Event::KeysRegistered(keys) => {
                keys.iter().for_each(|key| self.keys.insert(key.clone()));
            }
            Event::KeyDeleted { class, id } => self.keys.remove(*class, id),
            Event::RateTablePublished(table) => {
                let number = RateTableNumber::new(sequence);
                let table = RateTable::new(number, record.at, table.clone());
                self.rates.insert(Arc::new(table.expect("checked before it was recorded")));
            }
            Event::RateTableDeleted { series, number } => self.rates.remove(series, *number),
            Event::Outage(outage) => self.outages.insert(*outage),
            Event::Provisioned(provision) => {
                if !self.products.apply(provision) {
                    return false;
                }
            }
            Event::Configured { .. } => {
                let change = ConfigurationChange::of(record);
                change.into_iter().for_each(|change| self.configuration.insert(sequence, change));
            }
            Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::LineItemDeleted { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::ActionsSet { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. }
            | Event::SessionAccess(_)
            | Event::SessionClosed(_)
            | Event::AutomaticCharge(_)
            | Event::SessionExpired(_)
            | Event::Heartbeat { .. }
            | Event::Time
            | Event::TestClock
            | Event::Answered
            | Event::Lease(_) => return false,
        }
        self.number = sequence;
        true
    }
}

/// The line items of one instance.
#[derive(Clone, Debug, Default)]
pub struct InstanceCatalogue {
    /// The record that made this version.
    pub number: Sequence,
    ordered: imbl::OrdSet<InChargingOrder>,
    by_activation_id: imbl::OrdMap<Text, Arc<LineItem>>,
    conditions: imbl::OrdMap<ConditionId, Arc<Condition>>,
    /// Its licences (components 2.1b).
    pub licenses: Licenses,
}

impl InstanceCatalogue {
    /// All of them in the order in which they are charged (spec 3.2).
    pub fn in_charging_order(&self) -> impl Iterator<Item = &Arc<LineItem>> {
        self.ordered.iter().map(|InChargingOrder(line_item)| line_item)
    }

    /// The one of this name.
    pub fn find(&self, activation_id: &str) -> Option<&Arc<LineItem>> {
        self.by_activation_id.get(activation_id)
    }

    /// The whole tokens that a line item maps, unless it is deleted.
    pub fn quantity(&self, number: LineItemNumber, activation_id: &Text) -> Option<u64> {
        let found = self.find(activation_id.as_str())?;
        (found.number == number).then_some(found.terms.quantity)
    }

    /// The condition of this id.
    pub fn condition(&self, id: ConditionId) -> Option<&Condition> {
        self.conditions.get(&id).map(Arc::as_ref)
    }

    /// All conditions, in order of creation.
    pub fn conditions(&self) -> Vec<Arc<Condition>> {
        let mut all: Vec<_> = self.conditions.values().map(Arc::clone).collect();
        all.sort_by_key(|condition| condition.place);
        all
    }

    /// What the rules say of a line item of this instance (spec 5.3).
    pub fn permission(&self, line_item: &LineItem, dictionary: &Dictionary) -> Permission {
        rules::permission(&line_item.actions, |id| self.condition(id), dictionary)
    }

    /// The action that says it, if any does.
    pub fn deciding<'a>(
        &self,
        line_item: &'a LineItem,
        dictionary: &Dictionary,
    ) -> Option<&'a Action> {
        rules::deciding(&line_item.actions, |id| self.condition(id), dictionary)
    }

    /// Checks conditions that are to be added or changed, and names the new ones (spec 2.5).
    pub fn decide_conditions(
        &self,
        sent: Vec<NewCondition>,
        mut fresh_id: impl FnMut() -> u128,
    ) -> Result<Vec<Condition>, Refusal> {
        let places = self.conditions.values().map(|condition| condition.place + 1);
        let mut place = places.max().unwrap_or(0);
        let mut decided: Vec<Condition> = Vec::with_capacity(sent.len());
        for (position, NewCondition { id, name, rule }) in sent.into_iter().enumerate() {
            let former = id.map(|id| {
                self.condition(id).filter(|_| decided.iter().all(|condition| condition.id != id))
            });
            let (id, own) = match former {
                Some(None) => {
                    let fault = "`id` names no other condition of the instance";
                    return Err(Refusal::BadCondition { position, fault });
                }
                Some(Some(former)) => (former.id, former.place),
                None => {
                    place += 1;
                    (ConditionId::from_u128(fresh_id()), place - 1)
                }
            };
            decided.push(Condition { id, place: own, name, rule });
        }
        let new = decided.iter().filter(|condition| self.condition(condition.id).is_none());
        if self.conditions.len() + new.count() > CONDITIONS_MAX {
            let fault = "an instance has at most 1000 conditions";
            return Err(Refusal::BadCondition { position: CONDITIONS_MAX, fault });
        }
        let former = decided.iter().filter_map(|condition| self.condition(condition.id));
        let replaced: usize = former.map(Condition::bytes).sum();
        let all = self.conditions.values().map(|condition| condition.bytes());
        let bytes = all.chain(decided.iter().map(Condition::bytes)).sum::<usize>() - replaced;
        if bytes > CONDITIONS_BYTES_MAX {
            let fault = "the conditions of an instance have at most 1 MiB of text together";
            return Err(Refusal::BadCondition { position: decided.len().saturating_sub(1), fault });
        }
        Ok(decided)
    }

    /// Checks that no action refers to any of these (spec 2.5).
    pub fn decide_condition_deletion(&self, ids: &[ConditionId]) -> Result<(), Refusal> {
        if ids.iter().any(|id| self.condition(*id).is_none()) {
            return Err(Refusal::UnknownCondition);
        }
        let actions = self.in_charging_order().flat_map(|line_item| &line_item.actions);
        let is_meant = |id: ConditionId| ids.contains(&id);
        let in_use = actions.filter_map(|action| action.condition).any(is_meant);
        if in_use { Err(Refusal::ConditionInUse) } else { Ok(()) }
    }

    /// Adds a condition, or replaces the one of its id.
    pub fn insert_condition(&mut self, condition: Condition) {
        self.conditions.insert(condition.id, Arc::new(condition));
    }

    /// Replaces all actions of a line item; says nothing where there is none.
    pub fn set_actions(&mut self, activation_id: &Text, actions: Vec<Action>) {
        if let Some(former) = self.by_activation_id.get(activation_id).cloned() {
            let LineItem { number, terms, .. } = former.as_ref();
            let (number, terms) = (*number, terms.clone());
            self.insert(Arc::new(LineItem { number, terms, actions }));
        }
    }

    /// Adds a line item, or replaces its terms: actions stay.
    pub fn insert_terms(&mut self, number: LineItemNumber, terms: Terms) {
        let former = self.by_activation_id.get(&terms.activation_id);
        let former = former.filter(|former| former.number == number);
        let actions = former.map_or_else(Vec::new, |former| former.actions.clone());
        self.insert(Arc::new(LineItem { number, terms, actions }));
    }

    /// Adds a line item, or replaces the one of its name.
    fn insert(&mut self, line_item: Arc<LineItem>) {
        let name = line_item.terms.activation_id.clone();
        if let Some(former) = self.by_activation_id.insert(name, Arc::clone(&line_item)) {
            self.ordered.remove(&InChargingOrder(former));
        }
        self.ordered.insert(InChargingOrder(line_item));
    }

    /// Takes the line item of this name out; says nothing where there is none.
    pub fn remove(&mut self, activation_id: &Text) {
        if let Some(former) = self.by_activation_id.remove(activation_id) {
            self.ordered.remove(&InChargingOrder(former));
        }
    }

    /// Takes over what a record of this instance changes here.
    pub fn apply(&mut self, sequence: Sequence, event: &Event) {
        match event {
            Event::LineItemMapped { number, terms, .. } => {
                let number = LineItemNumber::mapped(*number, sequence);
                self.insert_terms(number, terms.clone());
            }
            Event::LineItemDeleted { activation_id, .. } => self.remove(activation_id),
            Event::ConditionsSet { conditions, .. } => {
                conditions.iter().for_each(|condition| self.insert_condition(condition.clone()));
            }
            Event::ConditionsDeleted { conditions, .. } => {
                conditions.iter().for_each(|id| drop(self.conditions.remove(id)));
            }
            Event::ActionsSet { activation_id, actions, .. } => {
                self.set_actions(activation_id, actions.clone());
            }
            Event::Provisioned(provision) => {
                if !self.licenses.apply(sequence, provision) {
                    return;
                }
            }
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::Access(_)
            | Event::SessionCreated { .. }
            | Event::SessionAccess(_)
            | Event::SessionClosed(_)
            | Event::AutomaticCharge(_)
            | Event::SessionExpired(_)
            | Event::Heartbeat { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Lease(_) => return,
        }
        self.number = sequence;
    }
}

/// Checks terms that a producer sends for a line item (spec 2.3), over those it has now.
pub fn check_terms(terms: &Terms, current: Option<&LineItem>) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if terms.end < terms.start {
        faults.push("$.end: must not be before $.start".to_owned());
    }
    if terms.quantity < 1 {
        faults.push("$.quantity: must have a minimum value of 1".to_owned());
    }
    match current.map(|line_item| line_item.terms.state) {
        None if terms.state != LineItemState::Deployed => {
            faults.push(format!("$.state: a new line item must be DEPLOYED, not {}", terms.state));
        }
        Some(LineItemState::Obsolete) if terms.state != LineItemState::Obsolete => {
            faults.push(format!("$.state: an OBSOLETE line item cannot become {}", terms.state));
        }
        None | Some(_) => {}
    }
    if faults.is_empty() { Ok(()) } else { Err(Refusal::LineItemInvalid(faults)) }
}
