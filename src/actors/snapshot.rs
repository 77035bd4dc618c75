//! Snapshots: what of which owner is kept under which key, and the background pass that writes it.
//!
//! A snapshot may lag and may be missing; the journal has everything. Each entry stands alone, and
//! loading them all and replaying the journal after the watermark gives the state of the journal's
//! end.

pub(super) mod provisions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Core;
use super::catalogue::CatalogueMessage;
use super::idempotency;
use super::ledger::Owner;
use super::turn::Instance;
use crate::domain::catalogue::InstanceEntry;
use crate::domain::components::Provision;
use crate::domain::configuration::Setting;
use crate::domain::event::{Event, Record};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::ids::{
    InstanceId, InstanceNumber, LineItemNumber, RateTableNumber, Sequence, SessionNumber, Text,
};
use crate::domain::keys::{KeyClass, RegisteredKey};
use crate::domain::line_item::{Balance, Terms};
use crate::domain::rates::NewRateTable;
use crate::domain::rules::{Action, Condition};
use crate::domain::session::{ChargeLine, Need, PaidPeriod, Session, State, Use};
use crate::domain::session_time::{Outage, SessionTime};
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::code::{CodeError, Coded, Reader, coded_enum, coded_struct};
use crate::journal::{ENTRIES_MAX, Entry, Mark, SnapshotError, Snapshots};

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Key(RegisteredKey),
    RateTable(KeptRateTable),
    Instance(InstanceEntry),
    LineItem(KeptLineItem),
    Balance(KeptBalance),
    Session(KeptSession),
    Outage(Outage),
    Configured(KeptConfiguration),
    /// Broker time is moved by hand here.
    TestClock,
    Actions(KeptActions),
    Condition(KeptCondition),
    Answered(KeptAnswer),
    /// A product, component, licence, entitlement or registration, as it was saved last.
    Provisioned(Arc<Provision>),
    /// No idempotency key that was placed later has been taken out of the snapshots, so `verify`
    /// misses one that is lost. How long keys were to be kept would not do: each start may say
    /// otherwise, and keys are only forgotten when others come.
    KeysForgotten(SessionTime),
    /// No record up to the watermark has a later stamp.
    Clock(Timestamp),
}

/// Where the answer to a call under an idempotency key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptAnswer {
    pub(crate) key: IdempotencyKey,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) place: idempotency::Place,
}

/// The actions of a line item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptActions {
    pub(crate) number: LineItemNumber,
    pub(crate) instance: InstanceNumber,
    pub(crate) activation_id: Text,
    pub(crate) actions: Vec<Action>,
}

/// A condition of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptCondition {
    pub(crate) instance: InstanceNumber,
    pub(crate) condition: Condition,
}

/// A published rate table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptRateTable {
    pub(crate) number: RateTableNumber,
    pub(crate) created: Timestamp,
    pub(crate) table: NewRateTable,
}

/// A line item of the catalogue. Without terms it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptLineItem {
    pub(crate) number: LineItemNumber,
    pub(crate) instance: InstanceNumber,
    pub(crate) activation_id: Text,
    pub(crate) terms: Option<Terms>,
}

/// A balance and the record that changed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptBalance {
    pub(crate) number: LineItemNumber,
    pub(crate) last: Sequence,
    pub(crate) balance: Balance,
}

/// A change of the producer's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptConfiguration {
    pub(crate) record: Sequence,
    pub(crate) at: Timestamp,
    pub(crate) by: Text,
    pub(crate) settings: Vec<Setting>,
}

/// A session and the record that changed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptSession {
    pub(crate) last: Sequence,
    pub(crate) session: Session,
}

coded_struct! {
    InstanceEntry { number, id, short_name, account_id, default, created }
    KeptRateTable { number, created, table }
    KeptLineItem { number, instance, activation_id, terms }
    KeptBalance { number, last, balance }
    KeptActions { number, instance, activation_id, actions }
    KeptCondition { instance, condition }
    KeptSession { last, session }
    Session { number, id, instance, created, state, last_heartbeat, last_access_request }
    Use { request, period, charges }
    PaidPeriod { from, length, heartbeat }
    ChargeLine { item, line_item, activation_id, rate, tokens, action }
    KeptConfiguration { record, at, by, settings }
    KeptAnswer { key, instance, place }
}

impl Coded for idempotency::Place {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.fingerprint.put(bytes);
        self.sequence.put(bytes);
        self.at.put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<idempotency::Place, CodeError> {
        let (fingerprint, sequence) = (Coded::take(reader)?, Coded::take(reader)?);
        Ok(idempotency::Place { fingerprint, sequence, at: Coded::take(reader)? })
    }
}

coded_enum!(Kept {
    1 => Key(key),
    2 => RateTable(table),
    3 => Instance(instance),
    4 => LineItem(line_item),
    5 => Balance(balance),
    7 => Clock(mark),
    8 => Session(session),
    9 => Outage(outage),
    10 => Configured(change),
    11 => TestClock,
    12 => Actions(actions),
    13 => Condition(condition),
    14 => Answered(answer),
    15 => KeysForgotten(at),
    16 => Provisioned(provision),
});

coded_enum!(Need {
    1 => None,
    2 => Open,
    3 => Met,
});

coded_enum!(State {
    1 => Idle { since },
    2 => Active(usage),
    3 => Ended { how, at },
    4 => Leased(lease),
});

/// The key of a kind of thing and its name or number.
fn key(kind: u8, name: &impl Coded) -> Vec<u8> {
    let mut key = vec![kind];
    name.put(&mut key);
    key
}

fn key_of_key(class: KeyClass, id: &Text) -> Vec<u8> {
    let mut key = key(1, &class);
    id.put(&mut key);
    key
}

impl Kept {
    fn key(&self) -> Vec<u8> {
        match self {
            Kept::Key(kept) => key_of_key(kept.class, &kept.id),
            Kept::RateTable(kept) => key(2, &kept.number),
            Kept::Instance(kept) => key(3, &kept.number),
            Kept::LineItem(kept) => key(4, &kept.number),
            Kept::Balance(kept) => key(5, &kept.number),
            Kept::Session(kept) => key(6, &kept.session.number),
            Kept::Outage(outage) => key(9, &outage.from),
            Kept::Configured(kept) => key(10, &kept.record),
            Kept::TestClock => vec![11],
            Kept::Actions(kept) => key(12, &kept.number),
            Kept::Condition(kept) => key(13, &kept.condition.id),
            Kept::Answered(kept) => key(14, &(kept.key, kept.instance)),
            Kept::Provisioned(kept) => provisions::key_of(kept),
            Kept::KeysForgotten(_) => vec![15],
            Kept::Clock(_) => vec![7],
        }
    }

    pub(super) fn entry(&self) -> Entry {
        let mut value = Vec::new();
        self.put(&mut value);
        (self.key(), Some(value))
    }

    /// Reads what an entry's value holds.
    pub(crate) fn read(value: &[u8]) -> Result<Kept, CodeError> {
        let mut reader = Reader::new(value);
        let kept = Kept::take(&mut reader)?;
        reader.finish()?;
        Ok(kept)
    }
}

/// What a record of the catalogue changes in the snapshot.
pub(crate) fn changes(sequence: Sequence, record: &Record) -> Vec<Entry> {
    let kept = match &record.event {
        Event::KeysRegistered(keys) => {
            return keys.iter().map(|key| Kept::Key(key.clone()).entry()).collect();
        }
        Event::KeyDeleted { class, id } => return vec![(key_of_key(*class, id), None)],
        Event::RateTablePublished(table) => Kept::RateTable(KeptRateTable {
            number: RateTableNumber::new(sequence),
            created: record.at,
            table: table.clone(),
        }),
        Event::RateTableDeleted { number, .. } => return vec![(key(2, number), None)],
        Event::InstanceCreated { .. } => {
            let created = InstanceEntry::created_by(sequence, record);
            Kept::Instance(created.expect("the event creates one"))
        }
        Event::LineItemMapped { instance, number, terms } => Kept::LineItem(KeptLineItem {
            number: LineItemNumber::mapped(*number, sequence),
            instance: *instance,
            activation_id: terms.activation_id.clone(),
            terms: Some(terms.clone()),
        }),
        Event::LineItemDeleted { instance, number, activation_id } => {
            let (number, instance) = (*number, *instance);
            let activation_id = activation_id.clone();
            let kept = KeptLineItem { number, instance, activation_id, terms: None };
            return vec![Kept::LineItem(kept).entry(), (key(12, &number), None)];
        }
        Event::ConditionsSet { instance, conditions } => {
            let kept = |condition: &Condition| {
                let (instance, condition) = (*instance, condition.clone());
                Kept::Condition(KeptCondition { instance, condition }).entry()
            };
            return conditions.iter().map(kept).collect();
        }
        Event::ConditionsDeleted { conditions, .. } => {
            return conditions.iter().map(|id| (key(13, id), None)).collect();
        }
        Event::ActionsSet { instance, number, activation_id, actions, .. } => {
            Kept::Actions(KeptActions {
                number: *number,
                instance: *instance,
                activation_id: activation_id.clone(),
                actions: actions.clone(),
            })
        }
        Event::Outage(outage) => Kept::Outage(*outage),
        Event::Configured { by, settings } => Kept::Configured(KeptConfiguration {
            record: sequence,
            at: record.at,
            by: by.clone(),
            settings: settings.clone(),
        }),
        Event::TestClock => Kept::TestClock,
        Event::Provisioned(provision) => return provisions::changes(sequence, provision),
        Event::Access(_)
        | Event::SessionCreated { .. }
        | Event::SessionAccess(_)
        | Event::SessionClosed(_)
        | Event::AutomaticCharge(_)
        | Event::SessionExpired(_)
        | Event::Heartbeat { .. }
        | Event::Answered
        | Event::Lease(_)
        | Event::Time => return Vec::new(),
    };
    vec![kept.entry()]
}

/// What says that broker time is moved by hand.
pub(crate) fn test_clock_entry() -> Entry {
    Kept::TestClock.entry()
}

/// Where the answer under a key is, or that the key is forgotten.
pub(super) fn answer_entry(name: &idempotency::Name, place: Option<idempotency::Place>) -> Entry {
    let (key_of, instance) = *name;
    match place {
        Some(place) => Kept::Answered(KeptAnswer { key: key_of, instance, place }).entry(),
        None => (key(14, name), None),
    }
}

/// What takes a forgotten session out of the snapshot.
pub(super) fn forgotten_session(number: SessionNumber) -> Entry {
    (key(6, &number), None)
}

/// A pass that did not come to its end. Nothing is lost: the next one begins where it did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// The snapshots could not be written.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The broker could not say what there is to write.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Writes everything that has changed since the last pass, then moves the watermark.
///
/// The watermark is a durable end from before the pass looks for changes: every record up to it
/// has marked its owners by then, and each copy is taken in a turn of its instance, behind every
/// posting of those records.
pub(crate) async fn pass(core: &Arc<Core>) -> Result<(), PassError> {
    let mark = core.ledger.journal().durable_mark();
    if core.watermark.load(Ordering::Relaxed) == mark.sequence.get() {
        return Ok(()); // Nothing has become true since.
    }
    let keys = core.ledger.keys().take_unsaved();
    let mut taken = Taken { core, catalogue: Vec::new(), owners: Vec::new(), keys };
    taken.catalogue = core.take_dirty_catalogue().await?;
    for instance in core.ledger.take_dirty() {
        let owners = instance.cell().take_dirty();
        taken.owners.push((instance, owners));
    }
    write(core, &taken, mark).await?;
    core.watermark.store(mark.sequence.get(), Ordering::Relaxed);
    taken.forget();
    Ok(())
}

/// What a pass has taken to write. Dropped before it is written, it goes back: else the next
/// watermark would pass over it.
struct Taken<'a> {
    core: &'a Arc<Core>,
    catalogue: Vec<Entry>,
    owners: Vec<(Arc<Instance>, BTreeSet<Owner>)>,
    keys: BTreeMap<idempotency::Name, Option<idempotency::Place>>,
}

impl Taken<'_> {
    /// It is written.
    fn forget(mut self) {
        self.catalogue.clear();
        self.keys.clear();
        for (instance, owners) in self.owners.drain(..) {
            instance.cell().gone(&owners);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.catalogue.is_empty() {
            let entries = std::mem::take(&mut self.catalogue);
            self.core.send_catalogue(CatalogueMessage::StillDirty(entries));
        }
        for (instance, owners) in self.owners.drain(..) {
            self.core.ledger.still_dirty(&instance, owners);
        }
        self.core.ledger.keys().still_unsaved(std::mem::take(&mut self.keys));
    }
}

async fn write(core: &Arc<Core>, taken: &Taken<'_>, mark: Mark) -> Result<(), PassError> {
    let mut batch = Batch { core, entries: vec![Kept::Clock(core.ledger.highest()).entry()] };
    // Before any key is taken out: a pass may end half way.
    batch.entries.extend(core.ledger.keys().forgotten().map(|at| Kept::KeysForgotten(at).entry()));
    for entry in &taken.catalogue {
        batch.add(entry.clone()).await?;
    }
    for (name, place) in &taken.keys {
        batch.add(answer_entry(name, *place)).await?;
    }
    for (instance, owners) in &taken.owners {
        for owner in owners {
            batch.add(core.copy(instance, *owner).await?).await?;
        }
    }
    batch.flush().await?;
    blocking(core, move |snapshots| snapshots.finish(mark)).await
}

/// Entries on their way to the store.
struct Batch<'a> {
    core: &'a Arc<Core>,
    entries: Vec<Entry>,
}

impl Batch<'_> {
    async fn add(&mut self, entry: Entry) -> Result<(), PassError> {
        self.entries.push(entry);
        if self.entries.len() >= ENTRIES_MAX { self.flush().await } else { Ok(()) }
    }

    /// Writes what has gathered, once it is durable: a snapshot is never ahead of the journal.
    async fn flush(&mut self) -> Result<(), PassError> {
        let entries = std::mem::take(&mut self.entries);
        self.core.ledger.settled().await?;
        blocking(self.core, move |snapshots| snapshots.write(&entries)).await
    }
}

async fn blocking(
    core: &Arc<Core>,
    work: impl FnOnce(&dyn Snapshots) -> Result<(), SnapshotError> + Send + 'static,
) -> Result<(), PassError> {
    let snapshots = Arc::clone(&core.snapshots);
    match tokio::task::spawn_blocking(move || work(snapshots.as_ref())).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(BrokerError::Stopping.into()),
    }
}
