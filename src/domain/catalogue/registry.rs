//! Which instances exist, and which activation id and which licence is where: what only changes of
//! the catalogue itself read.

use std::sync::Arc;

use super::super::components::Provision;
use super::super::event::{Event, Record};
use super::super::ids::{InstanceId, InstanceNumber, LineItemNumber, Sequence, Text};
use super::super::time::Timestamp;

/// An instance as its producer knows it (spec 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceEntry {
    /// Its place in every list: creation order.
    pub number: InstanceNumber,
    /// Its id.
    pub id: InstanceId,
    /// Its short name.
    pub short_name: Text,
    /// Its account.
    pub account_id: Text,
    /// Whether it is the account's default.
    pub default: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl InstanceEntry {
    /// The instance that a record creates, if it creates one.
    pub fn created_by(sequence: Sequence, record: &Record) -> Option<InstanceEntry> {
        let Event::InstanceCreated { id, short_name, account_id, default } = &record.event else {
            return None;
        };
        Some(InstanceEntry {
            number: InstanceNumber::new(sequence),
            id: *id,
            short_name: short_name.clone(),
            account_id: account_id.clone(),
            default: *default,
            created: record.at,
        })
    }
}

/// Where an activation id is mapped. Stays when the line item is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// In which instance.
    pub instance: InstanceNumber,
    /// To which line item.
    pub number: LineItemNumber,
    /// Whether that is deleted: then the id is free once no session uses it (spec 6).
    pub deleted: bool,
}

/// Where a licence is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensePlace {
    /// In which instance.
    pub instance: InstanceNumber,
    /// Of which product.
    pub product: Text,
}

/// Which instances exist, and which activation id and which licence is where.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    instances: imbl::OrdMap<InstanceNumber, Arc<InstanceEntry>>,
    defaults: imbl::OrdMap<Text, InstanceNumber>,
    mappings: imbl::OrdMap<Text, Mapping>,
    licenses: imbl::OrdMap<Text, LicensePlace>,
}

impl Registry {
    /// A new instance: the account's first is its default (spec 2.2).
    pub fn decide_instance(&self, id: InstanceId, short_name: Text, account_id: Text) -> Event {
        let default = !self.defaults.contains_key(&account_id);
        Event::InstanceCreated { id, short_name, account_id, default }
    }

    /// The instance of this number.
    pub fn instance(&self, number: InstanceNumber) -> Option<Arc<InstanceEntry>> {
        self.instances.get(&number).map(Arc::clone)
    }

    /// The mapping of an activation id, now or until its deletion.
    pub fn mapping(&self, activation_id: &Text) -> Option<&Mapping> {
        self.mappings.get(activation_id)
    }

    /// The default instance of an account.
    pub fn default_of(&self, account_id: &Text) -> Option<Arc<InstanceEntry>> {
        let number = self.defaults.get(account_id)?;
        self.instances.get(number).map(Arc::clone)
    }

    /// Up to `size` instances created after `after`, in order of creation, and whether there are
    /// more.
    pub fn page(&self, after: Sequence, size: usize) -> (Vec<Arc<InstanceEntry>>, bool) {
        let first = InstanceNumber::new(after.next());
        let mut rest = self.instances.range(first..).map(|(_, entry)| Arc::clone(entry));
        let page: Vec<_> = rest.by_ref().take(size).collect();
        (page, rest.next().is_some())
    }

    /// Every instance.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<InstanceEntry>> {
        self.instances.values()
    }

    /// Every mapping, deleted ones too.
    pub fn mappings(&self) -> impl Iterator<Item = (&Text, &Mapping)> {
        self.mappings.iter()
    }

    /// Where a licence is.
    pub fn license(&self, key: &str) -> Option<&LicensePlace> {
        self.licenses.get(key)
    }

    /// All licences, by key.
    pub fn licenses(&self) -> impl Iterator<Item = (&Text, &LicensePlace)> {
        self.licenses.iter()
    }

    /// Sets where a licence is.
    pub fn insert_license(&mut self, key: Text, place: LicensePlace) {
        self.licenses.insert(key, place);
    }

    /// Adds an instance, or replaces the one of its number.
    pub fn insert_instance(&mut self, entry: InstanceEntry) {
        if entry.default {
            self.defaults.insert(entry.account_id.clone(), entry.number);
        }
        self.instances.insert(entry.number, Arc::new(entry));
    }

    /// Sets where an activation id is mapped. Says where it was.
    pub fn insert_mapping(&mut self, activation_id: Text, mapping: Mapping) -> Option<Mapping> {
        self.mappings.insert(activation_id, mapping)
    }

    /// Takes over what a record changes here.
    pub fn apply(&mut self, sequence: Sequence, record: &Record) {
        match &record.event {
            Event::InstanceCreated { .. } => {
                let created = InstanceEntry::created_by(sequence, record);
                created.into_iter().for_each(|entry| self.insert_instance(entry));
            }
            Event::LineItemMapped { instance, number, terms } => {
                let number = LineItemNumber::mapped(*number, sequence);
                let mapping = Mapping { instance: *instance, number, deleted: false };
                self.insert_mapping(terms.activation_id.clone(), mapping);
            }
            Event::Provisioned(provision) => match provision.as_ref() {
                Provision::LicenseSaved { instance, key, terms, .. } => {
                    let (instance, product) = (*instance, terms.product.clone());
                    self.insert_license(key.clone(), LicensePlace { instance, product });
                }
                Provision::LicenseDeleted { key, .. } => drop(self.licenses.remove(key)),
                Provision::ProductSaved { .. }
                | Provision::ProductDeleted { .. }
                | Provision::ComponentSaved { .. }
                | Provision::ComponentDeleted { .. }
                | Provision::EntitlementSaved { .. }
                | Provision::EntitlementDeleted { .. }
                | Provision::Registered { .. } => {}
            },
            Event::LineItemDeleted { instance, number, activation_id } => {
                let mapping = Mapping { instance: *instance, number: *number, deleted: true };
                self.insert_mapping(activation_id.clone(), mapping);
            }
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
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
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Lease(_) => {}
        }
    }
}
