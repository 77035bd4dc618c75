//! Ids to owners: the live actor, or the state of one that is not awake. dashmap lives here only,
//! and no guard of it is ever held over an await.

use std::sync::Arc;

use dashmap::mapref::entry::Entry as Slot;
use dashmap::{DashMap, DashSet};
use ractor::{Actor, ActorId, ActorRef, ActorRuntime, ActorStatus};

use super::Core;
use super::ledger::Owner;
use super::line_item::{LineItemActor, LineItemMessage};
use super::session::{SessionActor, SessionMessage};
use super::snapshot::KeptSession;
use super::turn::Instance;
use crate::domain::components::{Licenses, Provision};
use crate::domain::ids::{
    InstallationId, InstanceId, InstanceNumber, LineItemNumber, Sequence, SessionId, SessionNumber,
    Text,
};
use crate::domain::limits::SESSION_CALLS_MAX;
use crate::domain::line_item::Balance;
use crate::domain::refusal::Refusal;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::code::{Coded, Reader};

/// A state and the record that it was last changed by.
#[derive(Clone, Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) state: T,
    pub(crate) last: Sequence,
}

/// A session that sleeps, in as many bytes as a snapshot takes for it.
struct Packed(Box<[u8]>);

impl Packed {
    fn pack(session: Versioned<Session>) -> Packed {
        let Versioned { state, last } = session;
        let mut bytes = Vec::new();
        KeptSession { last, session: state }.put(&mut bytes);
        Packed(bytes.into_boxed_slice())
    }

    fn unpack(&self) -> Versioned<Session> {
        let kept = KeptSession::take(&mut Reader::new(&self.0));
        let KeptSession { last, session } = kept.expect("packed above");
        Versioned { state: session, last }
    }
}

/// Where an owner is.
enum Entry<T, M> {
    /// Plain data: nobody has needed it lately.
    Asleep(T),
    /// An actor, alive or just dead.
    Awake(ActorRef<M>),
    /// Its actor has died. Nothing of it is kept: a message that slipped into its mailbox at the
    /// last moment, and a turn in that message, end with the last reference to it.
    Dead,
}

/// What a look-up finds.
pub(crate) enum Found<M> {
    /// Its mailbox.
    Alive(ActorRef<M>),
    /// It panicked: to be rebuilt under the exclusive turn.
    Dead,
    /// There is none.
    Absent,
}

/// A session, and where it runs.
struct SessionEntry {
    number: SessionNumber,
    /// Whether it is a session of components.
    is_lease: bool,
    /// When the heartbeats that wait to be decided were received.
    heard: Vec<Timestamp>,
    /// Calls that are under way.
    calls: u8,
    instance: Arc<Instance>,
    entry: Entry<Packed, SessionMessage>,
}

/// Where everything is.
#[derive(Default)]
pub(crate) struct Directory {
    instances: DashMap<InstanceId, Arc<Instance>>,
    numbers: DashMap<InstanceNumber, InstanceId>,
    line_items: DashMap<LineItemNumber, Entry<Versioned<Balance>, LineItemMessage>>,
    sessions: DashMap<SessionId, SessionEntry>,
    licenses: DashMap<Text, InstanceId>,
    /// Where an installation is, and with which licence.
    installations: DashMap<InstallationId, (InstanceId, Text)>,
    /// Each session under the instance that it runs in. Whoever may touch one instance is looked up
    /// here: a foreign session and an unknown one are missed alike, while the entry of a foreign
    /// one would take time to be read and refused.
    sessions_of: DashSet<(InstanceId, SessionId)>,
}

impl Directory {
    pub(crate) fn instance(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.instances.get(&id).map(|instance| Arc::clone(&instance))
    }

    /// The instance that a record names.
    pub(crate) fn instance_numbered(&self, number: InstanceNumber) -> Option<Arc<Instance>> {
        let id = *self.numbers.get(&number)?;
        self.instance(id)
    }

    pub(crate) fn add_instance(&self, instance: Arc<Instance>) {
        self.numbers.insert(instance.entry.number, instance.entry.id);
        self.instances.insert(instance.entry.id, instance);
    }

    /// Adds a line item, or puts a rebuilt one in the place of its dead actor.
    pub(crate) fn add_line_item(&self, number: LineItemNumber, balance: Versioned<Balance>) {
        self.line_items.insert(number, Entry::Asleep(balance));
    }

    /// Adds a session, or puts a rebuilt one in the place of its dead actor.
    pub(crate) fn add_session(&self, instance: Arc<Instance>, session: Versioned<Session>) {
        let (id, number) = (session.state.id, session.state.number);
        let is_lease = session.state.is_lease();
        let entry = Entry::Asleep(Packed::pack(session));
        if !is_lease {
            self.sessions_of.insert((instance.entry.id, id));
        }
        match self.sessions.entry(id) {
            Slot::Occupied(mut slot) => slot.get_mut().entry = entry,
            Slot::Vacant(slot) => {
                let heard = Vec::new();
                slot.insert(SessionEntry { number, is_lease, heard, calls: 0, instance, entry });
            }
        }
    }

    /// Forgets an ended session. Its actor, if one is awake, ends.
    pub(crate) fn remove_session(&self, id: SessionId) {
        let Some((_, SessionEntry { entry, instance, .. })) = self.sessions.remove(&id) else {
            return;
        };
        self.sessions_of.remove(&(instance.entry.id, id));
        if let Entry::Awake(actor) = entry {
            actor.stop(None);
        }
    }

    /// Takes a place among the calls of a session, unless they are too many.
    pub(crate) fn enter_session(
        self: &Arc<Directory>,
        id: SessionId,
    ) -> Result<SessionPlace, BrokerError> {
        let found = self.sessions.get_mut(&id);
        let mut found = found.ok_or(BrokerError::from(Refusal::UnknownSession))?;
        if found.calls >= SESSION_CALLS_MAX {
            return Err(BrokerError::SessionBusy { limit: SESSION_CALLS_MAX });
        }
        found.calls += 1;
        Ok(SessionPlace { directory: Arc::clone(self), id, heard: None })
    }

    /// All instances.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.instances.iter().map(|instance| Arc::clone(&instance)).collect()
    }

    /// When the heartbeats of a session that wait to be decided were received.
    pub(crate) fn heard(&self, id: SessionId) -> Vec<Timestamp> {
        self.sessions.get(&id).map_or_else(Vec::new, |found| found.heard.clone())
    }

    /// The line item's actor, if it is awake.
    pub(super) fn awake_line_item(&self, number: LineItemNumber) -> Option<Found<LineItemMessage>> {
        self.line_items.get(&number).and_then(|entry| awake(&entry))
    }

    /// The session's actor, if it is awake.
    pub(super) fn awake_session(&self, id: SessionId) -> Option<Found<SessionMessage>> {
        self.sessions.get(&id).and_then(|found| awake(&found.entry))
    }

    /// The instance that a session of access requests runs in.
    pub(crate) fn instance_of(&self, session: SessionId) -> Option<Arc<Instance>> {
        let found = self.sessions.get(&session)?;
        (!found.is_lease).then(|| Arc::clone(&found.instance))
    }

    /// The instance that a session of components runs in.
    pub(crate) fn instance_of_lease(&self, session: SessionId) -> Option<Arc<Instance>> {
        let found = self.sessions.get(&session)?;
        found.is_lease.then(|| Arc::clone(&found.instance))
    }

    /// The instance of a licence.
    pub(crate) fn instance_of_license(&self, key: &str) -> Option<InstanceId> {
        self.licenses.get(key).map(|found| *found)
    }

    /// The instance of an installation, and the key of its licence.
    pub(crate) fn license_of(&self, installation: InstallationId) -> Option<(InstanceId, Text)> {
        self.installations.get(&installation).map(|found| found.clone())
    }

    /// Takes over where licences and installations are. Those of a licence that is gone lead to
    /// nothing.
    pub(crate) fn provide(&self, instance: InstanceId, provision: &Provision) {
        match provision {
            Provision::LicenseSaved { key, .. } => {
                self.licenses.insert(key.clone(), instance);
            }
            Provision::LicenseDeleted { key, .. } => drop(self.licenses.remove(key)),
            Provision::Registered { license, installation: Some(installation), .. } => {
                self.add_installation(installation.id, instance, license.name.clone());
            }
            Provision::Registered { installation: None, .. }
            | Provision::ProductSaved { .. }
            | Provision::ProductDeleted { .. }
            | Provision::ComponentSaved { .. }
            | Provision::ComponentDeleted { .. }
            | Provision::EntitlementSaved { .. }
            | Provision::EntitlementDeleted { .. } => {}
        }
    }

    fn add_installation(&self, id: InstallationId, instance: InstanceId, license: Text) {
        self.installations.insert(id, (instance, license));
    }

    /// Takes over where the licences of an instance are, and their installations.
    pub(crate) fn add_licenses(&self, instance: InstanceId, licenses: &Licenses) {
        for license in licenses.all() {
            self.licenses.insert(license.key.clone(), instance);
            for installation in license.all_installations() {
                self.add_installation(installation.id, instance, license.key.clone());
            }
        }
    }

    /// Whether a session runs in this instance: as fast where it runs in another as where there is
    /// none.
    pub(crate) fn has_session(&self, instance: InstanceId, session: SessionId) -> bool {
        self.sessions_of.contains(&(instance, session))
    }

    /// Which record created a session.
    pub(crate) fn session_number(&self, session: SessionId) -> Option<SessionNumber> {
        self.sessions.get(&session).map(|found| found.number)
    }

    /// A line item's balance without waking it; `None` where its actor has to be asked.
    pub(crate) fn sleeping_line_item(&self, number: LineItemNumber) -> Option<Versioned<Balance>> {
        self.line_items.get(&number).and_then(|entry| match &*entry {
            Entry::Asleep(balance) => Some(balance.clone()),
            Entry::Awake(_) | Entry::Dead => None,
        })
    }

    /// A session's state without waking it; `None` where its actor has to be asked.
    pub(crate) fn sleeping_session(&self, id: SessionId) -> Option<Versioned<Session>> {
        self.sessions.get(&id).and_then(|found| match &found.entry {
            Entry::Asleep(session) => Some(session.unpack()),
            Entry::Awake(_) | Entry::Dead => None,
        })
    }

    /// Lets go of a dead actor: its owner is to be rebuilt.
    pub(crate) fn bury(&self, dead: ActorId) {
        for mut entry in self.line_items.iter_mut() {
            entry.bury(dead);
        }
        for mut found in self.sessions.iter_mut() {
            found.entry.bury(dead);
        }
    }

    /// The line item's actor, woken if need be.
    pub(crate) fn line_item(
        &self,
        core: &Arc<Core>,
        instance: &Arc<Instance>,
        number: LineItemNumber,
    ) -> Result<Found<LineItemMessage>, BrokerError> {
        if let Some(found) = self.line_items.get(&number).and_then(|entry| awake(&entry)) {
            return Ok(found);
        }
        let Slot::Occupied(mut slot) = self.line_items.entry(number) else {
            return Ok(Found::Absent);
        };
        if let Entry::Asleep(balance) = slot.get() {
            let actor = LineItemActor::new(instance, number);
            slot.insert(Entry::Awake(spawn(actor, balance.clone(), core)?));
            core.awake.note(instance, Owner::LineItem(number));
        }
        Ok(awake(slot.get()).unwrap_or(Found::Dead))
    }

    /// The session's actor, woken if need be.
    pub(crate) fn session(
        &self,
        core: &Arc<Core>,
        id: SessionId,
    ) -> Result<Found<SessionMessage>, BrokerError> {
        if let Some(found) = self.sessions.get(&id).and_then(|found| awake(&found.entry)) {
            return Ok(found);
        }
        let Slot::Occupied(mut slot) = self.sessions.entry(id) else {
            return Ok(Found::Absent);
        };
        let SessionEntry { instance, entry, .. } = slot.get_mut();
        if let Entry::Asleep(session) = entry {
            let actor = SessionActor::new(core, instance);
            *entry = Entry::Awake(spawn(actor, session.unpack(), core)?);
            core.awake.note(instance, Owner::Session(id));
        }
        Ok(awake(entry).unwrap_or(Found::Dead))
    }
}

/// A place among the calls of a session. Dropping it, anywhere, frees it.
pub(crate) struct SessionPlace {
    directory: Arc<Directory>,
    id: SessionId,
    /// When the heartbeat was received that it is for.
    heard: Option<Timestamp>,
}

impl SessionPlace {
    /// Notes that a heartbeat was received, until it is decided.
    pub(crate) fn hear(&mut self, at: Timestamp) {
        self.heard = Some(at);
        if let Some(mut found) = self.directory.sessions.get_mut(&self.id) {
            found.heard.push(at);
        }
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        if let Some(mut found) = self.directory.sessions.get_mut(&self.id) {
            found.calls = found.calls.saturating_sub(1);
            let noted = found.heard.iter().position(|noted| Some(*noted) == self.heard);
            if let Some(noted) = noted {
                found.heard.swap_remove(noted);
            }
            if found.heard.is_empty() {
                found.heard = Vec::new(); // Gives its memory back.
            }
        }
    }
}

impl<T, M: ractor::Message> Entry<T, M> {
    fn bury(&mut self, dead: ActorId) {
        if matches!(self, Entry::Awake(actor) if actor.get_id() == dead) {
            *self = Entry::Dead;
        }
    }
}

fn awake<T, M>(entry: &Entry<T, M>) -> Option<Found<M>>
where
    M: ractor::Message,
{
    let actor = match entry {
        Entry::Asleep(_) => return None,
        Entry::Dead => return Some(Found::Dead),
        Entry::Awake(actor) => actor,
    };
    Some(match actor.get_status() {
        ActorStatus::Stopping | ActorStatus::Stopped => Found::Dead,
        ActorStatus::Unstarted
        | ActorStatus::Starting
        | ActorStatus::Running
        | ActorStatus::Upgrading
        | ActorStatus::Draining => Found::Alive(actor.clone()),
    })
}

/// Starts an actor without a name: ractor's registry is one for the whole process, and two brokers
/// in one process must not meet.
fn spawn<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    core: &Core,
) -> Result<ActorRef<A::Msg>, BrokerError> {
    let _home = core.at_home();
    let spawned = ActorRuntime::spawn_linked_instant(None, actor, arguments, core.supervisor());
    spawned.map(|(actor, _)| actor).map_err(|error| {
        tracing::error!(%error, "an actor could not be started");
        BrokerError::Stopping
    })
}
