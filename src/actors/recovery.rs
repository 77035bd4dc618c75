//! What the journal and the snapshots say is so: the state that a start begins with, that
//! `verify` compares, and that `explain` decides over once more. Plain data; decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use super::directory::{Directory, Versioned};
use super::gate::Gate;
use super::idempotency::{self, Remembered};
use super::ledger::Owner;
use super::quota::Quota;
use super::snapshot::{
    self, Kept, KeptActions, KeptAnswer, KeptBalance, KeptCondition, KeptConfiguration,
    KeptLineItem, KeptSession,
};
use super::turn::Instance;
use crate::domain::catalogue::{InstanceCatalogue, Mapping, Registry, Tenant};
use crate::domain::components::Provision;
use crate::domain::configuration::{Changed, ConfigurationChange};
use crate::domain::event::{Event, Record};
use crate::domain::idempotency::KeyedCall;
use crate::domain::ids::{InstanceNumber, LineItemNumber, Sequence, SessionNumber, Text};
use crate::domain::line_item::Balance;
use crate::domain::rates::RateTable;
use crate::domain::rules::Action;
use crate::domain::session::Session;
use crate::domain::session_time::SessionTime;
use crate::domain::time::Timestamp;
use crate::journal::format::Charged;
use crate::journal::{Entry, Replay, format};

/// Everything that is so after some record.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tenant: Tenant,
    pub(crate) registry: Registry,
    pub(crate) catalogues: BTreeMap<InstanceNumber, InstanceCatalogue>,
    pub(crate) balances: BTreeMap<LineItemNumber, Versioned<Balance>>,
    pub(crate) sessions: BTreeMap<SessionNumber, Versioned<Session>>,
    /// Where the answers to calls under idempotency keys are.
    keys: Remembered,
    /// The snapshots have everything up to this record.
    after: Sequence,
    /// No balance of theirs is of a later record than this.
    saved: Sequence,
    /// Actions that were loaded before their line item.
    early_actions: BTreeMap<LineItemNumber, (Text, Vec<Action>)>,
    /// What was loaded of component licensing, in no order.
    early_provisions: Vec<Arc<Provision>>,
    /// Whether broker time is moved by hand.
    pub(crate) test_clock: bool,
    /// The highest stamp of any record.
    pub(crate) mark: Timestamp,
    /// What was replayed and is in no snapshot yet.
    unsaved: Unsaved,
}

/// What the next snapshot pass has to write, although nobody changes it any more.
#[derive(Default)]
struct Unsaved {
    catalogue: Vec<Entry>,
    owners: BTreeMap<InstanceNumber, BTreeSet<Owner>>,
}

/// What the actors start from, once every owner is in its place.
pub(crate) struct Settled {
    pub(crate) tenant: Tenant,
    pub(crate) registry: Registry,
    pub(crate) keys: Remembered,
    /// Entries of the catalogue, and keys, that no snapshot has.
    pub(crate) catalogue: Vec<Entry>,
    /// Owners whose state no snapshot has.
    pub(crate) owners: Vec<(Arc<Instance>, BTreeSet<Owner>)>,
}

impl State {
    /// Nothing yet; idempotency keys are kept for so long.
    pub(crate) fn keeping(keep: Duration) -> State {
        State { keys: Remembered::new(keep), ..State::default() }
    }

    /// Nothing yet; to be held against a snapshot, once the whole journal is applied.
    pub(crate) fn beside(snapshot: &State) -> State {
        State { keys: Remembered::beside(&snapshot.keys), ..State::default() }
    }

    /// Takes over one entry of a snapshot.
    pub(crate) fn load(&mut self, value: &[u8]) -> Result<(), String> {
        match Kept::read(value).map_err(|error| error.to_string())? {
            Kept::Key(key) => self.tenant.keys.insert(key),
            Kept::RateTable(kept) => {
                let table = RateTable::new(kept.number, kept.created, kept.table);
                let table = table.map_err(|error| error.to_string())?;
                self.tenant.rates.insert(Arc::new(table));
            }
            Kept::Instance(entry) => {
                self.catalogues.entry(entry.number).or_default();
                self.registry.insert_instance(entry);
            }
            Kept::LineItem(kept) => self.load_line_item(kept),
            Kept::Balance(kept) => {
                let KeptBalance { number, last, balance } = kept;
                self.saved = self.saved.max(last);
                self.balances.insert(number, Versioned { state: balance, last });
            }
            Kept::Session(kept) => {
                let KeptSession { last, session } = kept;
                self.sessions.insert(session.number, Versioned { state: session, last });
            }
            Kept::Outage(outage) => self.tenant.outages.insert(outage),
            Kept::Configured(KeptConfiguration { record, at, by, settings }) => {
                let change = ConfigurationChange { changed: Changed { at, by }, settings };
                self.tenant.configuration.insert(record, change);
            }
            Kept::Actions(KeptActions { number, instance, activation_id, actions }) => {
                let catalogue = self.catalogues.entry(instance).or_default();
                let found = catalogue.find(activation_id.as_str());
                if found.is_some_and(|line_item| line_item.number == number) {
                    catalogue.set_actions(&activation_id, actions);
                } else {
                    self.early_actions.insert(number, (activation_id, actions));
                }
            }
            Kept::Condition(KeptCondition { instance, condition }) => {
                self.catalogues.entry(instance).or_default().insert_condition(condition);
            }
            Kept::Answered(KeptAnswer { key, instance, place }) => {
                self.keys.load((key, instance), place);
            }
            Kept::Provisioned(provision) => self.early_provisions.push(provision),
            Kept::KeysForgotten(at) => self.keys.load_forgotten(at),
            Kept::TestClock => self.test_clock = true,
            Kept::Clock(mark) => self.mark = self.mark.max(mark),
        }
        Ok(())
    }

    /// Puts together what was loaded in no order: licences before what belongs to them. What is
    /// licensed is applied as records are, as it was saved last.
    pub(crate) fn loaded(&mut self) {
        let mut provisions = std::mem::take(&mut self.early_provisions);
        provisions.sort_by_key(|provision| !matches!(**provision, Provision::LicenseSaved { .. }));
        for provision in provisions {
            if let Provision::EntitlementSaved { license, .. }
            | Provision::Registered { license, .. } = provision.as_ref()
            {
                let found = provision.instance().and_then(|number| self.catalogues.get(&number));
                let found = found.and_then(|all| all.licenses.find(license.name.as_str()));
                if found.is_none_or(|found| found.number != license.number) {
                    let forgotten = snapshot::provisions::forgotten(&provision);
                    self.unsaved.catalogue.push(forgotten);
                    continue;
                }
            }
            let (at, event) = (Timestamp::default(), Event::Provisioned(provision));
            self.apply(Sequence::ZERO, &Record { at, event });
        }
    }

    /// Takes over the catalogue of licences, and the balances of pools that come and go.
    fn provide(&mut self, sequence: Sequence, event: &Event, provision: &Provision) {
        if let Some(instance) = provision.instance() {
            self.catalogues.entry(instance).or_default().apply(sequence, event);
        }
        let pool = match provision {
            Provision::LicenseSaved { number, .. } | Provision::EntitlementSaved { number, .. } => {
                LineItemNumber::mapped(*number, sequence)
            }
            Provision::LicenseDeleted { number, .. }
            | Provision::EntitlementDeleted { number, .. } => {
                // Of a pool that nobody ever drew on no snapshot has a balance.
                let untouched = |balance: &Versioned<Balance>| balance.last == number.created();
                if self.balances.get(number).is_some_and(untouched) {
                    self.balances.remove(number);
                }
                return;
            }
            Provision::ProductSaved { .. }
            | Provision::ProductDeleted { .. }
            | Provision::ComponentSaved { .. }
            | Provision::ComponentDeleted { .. }
            | Provision::Registered { .. } => return,
        };
        let fresh = || Versioned { state: Balance::default(), last: pool.created() };
        self.balances.entry(pool).or_insert_with(fresh);
    }

    /// Of several line items of one activation id the latest says where the id is mapped: entries
    /// come in no particular order.
    fn load_line_item(&mut self, kept: KeptLineItem) {
        let KeptLineItem { number, instance, activation_id, terms } = kept;
        let fresh = || Versioned { state: Balance::default(), last: number.created() };
        self.balances.entry(number).or_insert_with(fresh);
        let mapping = Mapping { instance, number, deleted: terms.is_none() };
        let former = self.registry.insert_mapping(activation_id.clone(), mapping);
        if let Some(later) = former.filter(|former| former.number > number) {
            self.registry.insert_mapping(activation_id, later);
        }
        if let Some(terms) = terms {
            let catalogue = self.catalogues.entry(instance).or_default();
            catalogue.insert_terms(number, terms);
            if let Some((name, actions)) = self.early_actions.remove(&number) {
                catalogue.set_actions(&name, actions);
            }
        }
    }

    /// Takes over what a record keeps of the key that its call came under.
    pub(crate) fn keep(&mut self, sequence: Sequence, at: Timestamp, call: &KeyedCall) {
        let KeyedCall { key, instance, fingerprint } = *call;
        let at = self.tenant.outages.session_time(at);
        let place = idempotency::Place { fingerprint, sequence, at };
        self.keys.add((key, instance), place);
    }

    /// Takes over one record. What a snapshot already has is left alone.
    pub(crate) fn apply(&mut self, sequence: Sequence, record: &Record) {
        self.mark = self.mark.max(record.at);
        self.test_clock |= record.event == Event::TestClock;
        self.tenant.apply(sequence, record);
        self.registry.apply(sequence, record);
        match &record.event {
            Event::InstanceCreated { .. } => {
                self.catalogues.entry(InstanceNumber::new(sequence)).or_default();
            }
            Event::LineItemMapped { instance, number, .. } => {
                self.catalogues.entry(*instance).or_default().apply(sequence, &record.event);
                if number.is_none() {
                    let fresh = || Versioned { state: Balance::default(), last: sequence };
                    let number = LineItemNumber::new(sequence);
                    self.balances.entry(number).or_insert_with(fresh);
                }
            }
            Event::LineItemDeleted { instance, .. }
            | Event::ConditionsSet { instance, .. }
            | Event::ConditionsDeleted { instance, .. }
            | Event::ActionsSet { instance, .. } => {
                self.catalogues.entry(*instance).or_default().apply(sequence, &record.event);
            }
            Event::Provisioned(provision) => self.provide(sequence, &record.event, provision),
            Event::SessionCreated { .. } | Event::Lease(_) => {
                let at = self.tenant.outages.session_time(record.at);
                if let Some(session) = Session::begun_by(sequence, record, at) {
                    let number = session.number;
                    let fresh = || Versioned { state: session, last: sequence };
                    self.sessions.entry(number).or_insert_with(fresh);
                }
            }
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::Access(_)
            | Event::SessionAccess(_)
            | Event::SessionClosed(_)
            | Event::AutomaticCharge(_)
            | Event::SessionExpired(_)
            | Event::Heartbeat { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered => {}
        }
        for posting in record.event.postings() {
            post(&mut self.balances, sequence, posting.line_item, &posting.after);
        }
        if let Some(session) =
            record.event.session().and_then(|number| self.sessions.get_mut(&number))
            && session.last < sequence
        {
            session.state.apply(record, self.tenant.outages.session_time(record.at));
            session.last = sequence;
        }
    }

    /// The first thing that `other` has otherwise, if any: the record that this state has it from,
    /// where one record can be named, and what it is. When a session was last heard of is not
    /// compared: no record says it.
    pub(crate) fn difference(&self, other: &State) -> Option<(Option<Sequence>, String)> {
        let tables = |state: &State| state.tenant.rates.all();
        if self.tenant.keys != other.tenant.keys || tables(self) != tables(other) {
            return Some((None, "the keys and rate tables".to_owned()));
        }
        if self.tenant.products != other.tenant.products {
            return Some((None, "the products".to_owned()));
        }
        let settings = |state: &State| (state.tenant.configuration.clone(), state.test_clock);
        if self.tenant.outages != other.tenant.outages || settings(self) != settings(other) {
            return Some((None, "the outages and settings".to_owned()));
        }
        let instances = |state: &State| state.registry.instances().cloned().collect::<Vec<_>>();
        let mappings = |state: &State| -> Vec<_> {
            state.registry.mappings().map(|(id, mapping)| (id.clone(), mapping.clone())).collect()
        };
        if instances(self) != instances(other) || mappings(self) != mappings(other) {
            return Some((None, "the instances and their line items".to_owned()));
        }
        for (instance, catalogue) in &self.catalogues {
            let terms = |catalogue: &InstanceCatalogue| {
                let line_items: Vec<_> = catalogue.in_charging_order().cloned().collect();
                (line_items, catalogue.conditions(), catalogue.licenses.clone())
            };
            if other.catalogues.get(instance).map(terms) != Some(terms(catalogue)) {
                return Some((None, format!("the line items of instance {instance}")));
            }
        }
        for (number, balance) in &self.balances {
            let same = |kept: &Versioned<Balance>| {
                (&kept.state, kept.last) == (&balance.state, balance.last)
            };
            if !other.balances.get(number).is_some_and(same) {
                return Some((Some(balance.last), format!("the balance of line item {number}")));
            }
        }
        if let Some(record) = self.keys.difference(&other.keys) {
            return Some((Some(record), "the idempotency keys".to_owned()));
        }
        // A session that ended long ago is forgotten, earlier or later.
        let remembered = |session: &&Versioned<Session>| {
            session.state.forgotten_at().is_none_or(|at| at > self.mark)
        };
        for session in self.sessions.values().filter(remembered) {
            let kept = other.sessions.get(&session.state.number);
            let same = |kept: &Versioned<Session>| {
                (&kept.state.state, kept.last) == (&session.state.state, session.last)
            };
            if !kept.is_some_and(same) {
                return Some((Some(session.last), format!("session `{}`", session.state.id)));
            }
        }
        None
    }

    /// Puts every owner in its place, asleep.
    pub(crate) fn settle(
        self,
        directory: &Directory,
        (gate, quota): (&Gate, &Arc<Quota>),
        alarm: &Arc<Alarm>,
    ) -> Settled {
        let State { tenant, registry, mut catalogues, balances, sessions, .. } = self;
        let State { keys, after, unsaved, .. } = self;
        let mut by_instance: BTreeMap<InstanceNumber, Vec<Session>> = BTreeMap::new();
        for session in sessions.values() {
            by_instance.entry(session.state.instance).or_default().push(session.state.clone());
        }
        let mut instances = BTreeMap::new();
        for entry in registry.instances() {
            let catalogue = catalogues.remove(&entry.number).unwrap_or_default();
            directory.add_licenses(entry.id, &catalogue.licenses);
            let sessions = by_instance.remove(&entry.number).unwrap_or_default();
            let entry = Arc::clone(entry);
            let number = entry.number;
            let instance =
                Instance::new(entry, gate.shares(), catalogue, alarm, (quota, &sessions));
            let instance = Arc::new(instance);
            directory.add_instance(Arc::clone(&instance));
            instances.insert(number, instance);
        }
        for (number, balance) in balances {
            directory.add_line_item(number, balance);
        }
        for (_, session) in sessions {
            if let Some(instance) = instances.get(&session.state.instance) {
                directory.add_session(Arc::clone(instance), session);
            }
        }
        let placed = |(number, owners)| Some((Arc::clone(instances.get(&number)?), owners));
        let owners = unsaved.owners.into_iter().filter_map(placed).collect();
        let mut catalogue = unsaved.catalogue;
        let newer = keys.after(after);
        catalogue.extend(newer.map(|(name, place)| snapshot::answer_entry(name, Some(*place))));
        Settled { tenant, registry, keys, catalogue, owners }
    }

    fn note_unsaved(&mut self, sequence: Sequence, record: &Record) {
        self.unsaved.catalogue.extend(snapshot::changes(sequence, record));
        let Some(instance) = record.event.instance() else { return };
        let owners = self.unsaved.owners.entry(instance).or_default();
        owners.extend(Owner::of_postings(record.event.postings()));
        if let Some(begun) = Session::begun_by(sequence, record, SessionTime::default()) {
            owners.insert(Owner::Session(begun.id));
        }
        let session = record.event.session().and_then(|number| self.sessions.get(&number));
        owners.extend(session.map(|session| Owner::Session(session.state.id)));
    }
}

/// The balance after a record, which a snapshot may have already. Says which record it was changed
/// by before, if one has.
fn post(
    balances: &mut BTreeMap<LineItemNumber, Versioned<Balance>>,
    sequence: Sequence,
    number: LineItemNumber,
    after: &Balance,
) -> Option<Sequence> {
    let fresh = || Versioned { state: Balance::default(), last: Sequence::ZERO };
    let balance = balances.entry(number).or_insert_with(fresh);
    let before = balance.last;
    if before < sequence {
        balance.state.take_over(after);
        balance.last = sequence;
    }
    (before > number.created()).then_some(before)
}

/// The state of a snapshot, brought up to the journal's end.
impl Replay for State {
    fn begin(&mut self, after: Sequence) {
        if after == Sequence::ZERO {
            // The journal does not know the snapshot: forget it.
            *self = State::keeping(self.keys.keep());
        }
        self.loaded();
        self.after = after;
    }

    fn record(&mut self, sequence: Sequence, payload: &[u8]) -> Result<(), String> {
        let State { balances, unsaved, saved, .. } = self;
        let charged = format::read_charged(payload, |instance, number, after| {
            // Whatever has changed it behind the snapshots has been noted with that record.
            if post(balances, sequence, number, &after).is_none_or(|before| before <= *saved) {
                unsaved.owners.entry(instance).or_default().insert(Owner::LineItem(number));
            }
        });
        if let Some(Charged { at, keyed }) = charged.map_err(|error| error.to_string())? {
            self.mark = self.mark.max(at);
            if let Some(call) = &keyed {
                self.keep(sequence, at, call);
            }
            return Ok(());
        }
        let (record, keyed) = format::decode_keyed(payload).map_err(|error| error.to_string())?;
        self.apply(sequence, &record);
        self.note_unsaved(sequence, &record);
        if let Some(keyed) = &keyed {
            self.keep(sequence, record.at, &keyed.call);
        }
        Ok(())
    }
}
