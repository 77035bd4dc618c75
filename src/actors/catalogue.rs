//! The catalogue actor: sole writer of what producers write. Each change is a record, and becomes
//! visible to decisions under the same lock that orders it in the journal.

use std::cell::RefCell;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::Core;
use super::directory::Versioned;
use super::ledger::{Left, Nobody};
use super::licensing::{LicenseChange, ProductChange, Registered, Registration};
use super::reply::Reply;
use super::rules::ActionsChange;
use super::snapshot;
use super::turn::{ExclusiveTurn, Instance};
use crate::domain::catalogue::{InstanceCatalogue, InstanceEntry, Registry, Tenant, check_terms};
use crate::domain::components::Provision;
use crate::domain::configuration::{Configuration, Setting};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{ConditionId, InstanceId, InstanceNumber, LineItemNumber, Sequence, Text};
use crate::domain::keys::{KeyClass, NewKey};
use crate::domain::line_item::{Balance, LineItem, LineItemState, Terms};
use crate::domain::rates::{NewRateTable, RateTable};
use crate::domain::refusal::Refusal;
use crate::domain::rules::{Condition, NewCondition};
use crate::domain::session_time::Outage;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::Entry;

/// A line item with its balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItemView {
    /// Where it is mapped.
    pub instance: InstanceId,
    /// Its identity and terms.
    pub line_item: Arc<LineItem>,
    /// What has been used of it.
    pub balance: Balance,
}

/// One page of a list of instances, in order of creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePage {
    /// The entries.
    pub entries: Vec<Arc<InstanceEntry>>,
    /// Where the next page begins: after this. `None` at the end.
    pub next: Option<Sequence>,
}

/// What one can say to the catalogue.
pub(crate) enum CatalogueMessage {
    RegisterKeys(Vec<NewKey>, Reply<()>),
    DeleteKey {
        class: KeyClass,
        id: Text,
        reply: Reply<()>,
    },
    PublishRateTable(NewRateTable, Reply<()>),
    RateTables(Reply<Vec<Arc<RateTable>>>),
    DeleteRateTable {
        series: Text,
        version: Text,
        reply: Reply<()>,
    },
    CreateInstance {
        short_name: Text,
        account_id: Text,
        reply: Reply<Arc<InstanceEntry>>,
    },
    Instances {
        after: Sequence,
        size: usize,
        reply: Reply<InstancePage>,
    },
    DefaultInstance {
        account_id: Text,
        reply: Reply<Option<Arc<InstanceEntry>>>,
    },
    Configure {
        settings: Vec<Setting>,
        by: Text,
        reply: Reply<Configuration>,
    },
    /// The broker was not there until `to`.
    Outage {
        to: Timestamp,
        done: oneshot::Sender<Result<Outage, BrokerError>>,
    },
    MapLineItem(Placed<Terms, LineItemView>),
    DeleteLineItem(Placed<String, ()>),
    SetConditions(Placed<Vec<NewCondition>, Vec<Arc<Condition>>>),
    /// This one, or all.
    DeleteConditions(Placed<Option<ConditionId>, ()>),
    /// Of the line item of this name.
    ChangeActions(Placed<(String, ActionsChange), LineItemView>),
    /// Products and their components.
    ChangeProducts(ProductChange, Reply<()>),
    /// Licences and their entitlements.
    ChangeLicenses(Placed<LicenseChange, ()>),
    /// An installation of a program.
    Register(Placed<Registration, Registered>),
    /// Everything that changed since this was last asked, for a snapshot.
    TakeDirty(oneshot::Sender<Vec<Entry>>),
    /// What could not be written after all.
    StillDirty(Vec<Entry>),
}

/// A change of one instance, with the exclusive turn that it needs.
pub(crate) struct Placed<V, T> {
    pub(crate) instance: Arc<Instance>,
    pub(crate) turn: ExclusiveTurn,
    /// The moment up to which nothing is open in it.
    pub(crate) now: Timestamp,
    pub(crate) value: V,
    pub(crate) reply: Reply<T>,
}

/// The catalogue after a record, ready to be published.
pub(super) struct Next {
    registry: Registry,
    tenant: Option<Arc<Tenant>>,
    pub(super) catalogue: Option<Arc<InstanceCatalogue>>,
    created: Option<Arc<Instance>>,
    mapped: Option<LineItemNumber>,
    provision: Option<Arc<Provision>>,
}

/// The sole writer of the catalogue.
pub(crate) struct CatalogueActor {
    pub(crate) core: Arc<Core>,
}

/// What it owns: the registry, and what of the catalogue no snapshot has yet.
pub(crate) struct CatalogueState {
    registry: Registry,
    dirty: Vec<Entry>,
}

impl CatalogueState {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl CatalogueActor {
    /// Decides and records an event, takes it over everywhere and answers with what `answer` makes
    /// of it. Says which record it is, if it is one.
    pub(super) fn record<T: Send + 'static>(
        &self,
        owned: &mut CatalogueState,
        instance: Option<&Arc<Instance>>,
        decide: impl FnOnce(&Registry, &Tenant, Timestamp) -> Result<Record, Refusal>,
        reply: Reply<T>,
        answer: impl FnOnce(Sequence, &Next) -> T,
    ) -> Option<Sequence> {
        let reply = RefCell::new(Some(reply)); // Both steps below need it, one after the other.
        let recorded = self.core.ledger.append_and_publish(
            instance,
            |now| decide(&owned.registry, &self.core.ledger.tenant(), now),
            |sequence, record| {
                let next = self.next(&owned.registry, instance, sequence, record);
                let answer = answer(sequence, &next);
                let mut reply = reply.borrow_mut();
                let reply = reply.as_mut().expect("a record is prepared before it is answered");
                let kept = reply.keep(Ok(&answer))?;
                Ok(((next, Some(answer)), kept))
            },
            |(_, answer)| {
                let (reply, answer) = (reply.take(), answer.take());
                let (reply, answer) = reply.zip(answer).expect("a record is answered once");
                reply.with(Ok(answer))
            },
            |(next, _)| self.publish(instance, next),
        );
        match (recorded, reply.take()) {
            (Ok((sequence, record, (next, _))), _) => {
                owned.registry = next.registry;
                owned.dirty.extend(snapshot::changes(sequence, &record));
                return Some(sequence);
            }
            (Err(error @ BrokerError::Refused(..)), Some(reply)) => {
                self.core.ledger.answer(reply, Err(error));
            }
            (Err(error), Some(reply)) => reply.now(error),
            (Err(_), None) => {}
        }
        None
    }

    /// What the catalogue is after a record.
    fn next(
        &self,
        registry: &Registry,
        instance: Option<&Arc<Instance>>,
        sequence: Sequence,
        record: &Record,
    ) -> Next {
        let mut registry = registry.clone();
        registry.apply(sequence, record);
        let mut tenant = self.core.ledger.tenant().as_ref().clone();
        let tenant = tenant.apply(sequence, record).then(|| Arc::new(tenant));
        let catalogue = instance.map(|instance| {
            let mut catalogue = instance.catalogue().as_ref().clone();
            catalogue.apply(sequence, &record.event);
            Arc::new(catalogue)
        });
        let created = registry.instance(InstanceNumber::new(sequence)).map(|entry| {
            let shares = self.core.gate.shares();
            let catalogue = InstanceCatalogue::default();
            let nobody = (&self.core.quota, &[][..]);
            Arc::new(Instance::new(entry, shares, catalogue, &self.core.alarm, nobody))
        });
        let is_new = matches!(record.event, Event::LineItemMapped { number: None, .. });
        let provision = record.event.provision().cloned();
        let pool = provision.as_ref().and_then(|provision| provision.new_pool(sequence));
        let mapped = is_new.then(|| LineItemNumber::new(sequence)).or(pool);
        Next { registry, tenant, catalogue, created, mapped, provision }
    }

    /// Makes it visible to decisions. Runs under the journal's lock: nothing may wait or fail here.
    /// Says what is left over, to be dropped behind the lock.
    fn publish(&self, instance: Option<&Arc<Instance>>, next: &Next) -> Left {
        let tenant = next.tenant.as_ref();
        let left = tenant.map(|tenant| self.core.ledger.publish_tenant(Arc::clone(tenant)));
        if let Some((instance, catalogue)) = instance.zip(next.catalogue.as_ref()) {
            instance.publish(Arc::clone(catalogue));
        }
        if let Some(created) = &next.created {
            self.core.directory.add_instance(Arc::clone(created));
        }
        if let Some(number) = next.mapped {
            let balance = Versioned { state: Balance::default(), last: number.created() };
            self.core.directory.add_line_item(number, balance);
        }
        if let Some((instance, provision)) = instance.zip(next.provision.as_ref()) {
            self.core.directory.provide(instance.entry.id, provision);
        }
        left.unwrap_or_default()
    }

    /// An answer without a record, that waits for what it rests on.
    pub(super) fn answer<T: Send + 'static>(&self, reply: Reply<T>, answer: Result<T, Refusal>) {
        self.core.ledger.answer(reply, answer.map_err(BrokerError::from));
    }

    /// Makes an outage known to every decision from here on. Whatever was decided without it and
    /// is not appended yet has read an older catalogue, and is decided again.
    fn record_outage(
        &self,
        owned: &mut CatalogueState,
        to: Timestamp,
    ) -> Result<Outage, BrokerError> {
        let mut outage = Outage { from: to, to };
        let (sequence, record, _) = self.core.ledger.append_and_publish(
            None,
            |_| {
                outage.from = self.core.ledger.last_seen().min(to);
                Ok(Record { at: to, event: Event::Outage(outage) })
            },
            |sequence, record| Ok((self.next(&owned.registry, None, sequence, record), None)),
            |_| Box::new(Nobody),
            |next| self.publish(None, next),
        )?;
        owned.dirty.extend(snapshot::changes(sequence, &record));
        Ok(outage)
    }

    /// Nobody else changes the keys, so what is known already needs no record.
    fn register_keys(&self, keys: Vec<NewKey>, reply: Reply<()>, owned: &mut CatalogueState) {
        let known = self.core.ledger.tenant().keys.decide(keys.clone(), self.core.ledger.now());
        if known.as_ref().is_ok_and(Vec::is_empty) {
            return self.answer(reply, Ok(()));
        }
        let decide = |_: &_, tenant: &Tenant, at| {
            let event = Event::KeysRegistered(tenant.keys.decide(keys, at)?);
            Ok(Record { at, event })
        };
        self.record(owned, None, decide, reply, |_, _| ());
    }

    async fn map_line_item(&self, placed: Placed<Terms, LineItemView>, owned: &mut CatalogueState) {
        let Placed { instance, turn, now, value: terms, reply } = placed;
        let current = instance.catalogue().find(terms.activation_id.as_str()).cloned();
        if let Err(refusal) = check_terms(&terms, current.as_deref()) {
            return self.answer(reply, Err(refusal));
        }
        let balance = match self.balance_before(&instance, &terms, &current, owned).await {
            Ok(Ok(balance)) => balance,
            Ok(Err(refusal)) => return self.answer(reply, Err(refusal)),
            Err(error) => return reply.now(error),
        };
        let actions = current.as_ref().map_or_else(Vec::new, |former| former.actions.clone());
        let number = current.map(|line_item| line_item.number);
        let event =
            Event::LineItemMapped { instance: instance.entry.number, number, terms: terms.clone() };
        let id = instance.entry.id;
        self.record(
            owned,
            Some(&instance),
            |_, _, _| Ok(Record { at: now, event }),
            reply,
            |sequence, _| {
                let number = LineItemNumber::mapped(number, sequence);
                let line_item = Arc::new(LineItem { number, terms, actions });
                LineItemView { instance: id, line_item, balance }
            },
        );
        drop(turn); // Only now: whoever decides next finds the new terms.
    }

    /// The balance that a mapping begins with: what was used stays (spec 2.3); a deleted line item
    /// must have left every session before its id is free (spec 6).
    async fn balance_before(
        &self,
        instance: &Arc<Instance>,
        terms: &Terms,
        current: &Option<Arc<LineItem>>,
        owned: &CatalogueState,
    ) -> Result<Result<Balance, Refusal>, BrokerError> {
        let Some(mapping) = owned.registry.mapping(&terms.activation_id).cloned() else {
            return Ok(Ok(Balance::default()));
        };
        if !mapping.deleted && mapping.instance != instance.entry.number {
            return Ok(Err(Refusal::MappedElsewhere));
        }
        if let Some(current) = current {
            return self.core.balance(instance, current.number).await.map(Ok);
        }
        // Deleted, here or elsewhere: its owner still knows whether a session uses it. Without the
        // turn of its instance a dead owner cannot be rebuilt, and counts as in use until it is.
        let balance = self.core.overheard_line_item(mapping.number).await?;
        let in_use =
            |balance: Versioned<Balance>| balance.state.open_lines > 0 || balance.state.is_held();
        let in_use = balance.is_none_or(in_use);
        Ok(if in_use { Err(Refusal::RemovalPending) } else { Ok(Balance::default()) })
    }

    fn delete_line_item(&self, placed: Placed<String, ()>, owned: &mut CatalogueState) {
        let Placed { instance, turn, now, value: activation_id, reply } = placed;
        let found = instance.catalogue().find(&activation_id).cloned();
        let refusal = match found.as_deref() {
            None => Some(Refusal::UnknownLineItem),
            Some(LineItem { terms, .. }) if terms.state != LineItemState::Obsolete => {
                Some(Refusal::NotObsolete { state: terms.state.as_str() })
            }
            Some(_) => None,
        };
        match (refusal, found) {
            (None, Some(line_item)) => {
                let event = Event::LineItemDeleted {
                    instance: instance.entry.number,
                    number: line_item.number,
                    activation_id: line_item.terms.activation_id.clone(),
                };
                let decide = |_: &_, _: &_, _| Ok(Record { at: now, event });
                self.record(owned, Some(&instance), decide, reply, |_, _| ());
            }
            (refusal, _) => {
                self.answer(reply, Err(refusal.unwrap_or(Refusal::UnknownLineItem)));
            }
        }
        drop(turn);
    }
}

impl Actor for CatalogueActor {
    type Msg = CatalogueMessage;
    type State = CatalogueState;
    type Arguments = (Registry, Vec<Entry>);

    async fn pre_start(
        &self,
        _: ActorRef<CatalogueMessage>,
        (registry, dirty): (Registry, Vec<Entry>),
    ) -> Result<CatalogueState, ActorProcessingErr> {
        Ok(CatalogueState { registry, dirty })
    }

    async fn handle(
        &self,
        _: ActorRef<CatalogueMessage>,
        message: CatalogueMessage,
        owned: &mut CatalogueState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CatalogueMessage::RegisterKeys(keys, reply) => self.register_keys(keys, reply, owned),
            CatalogueMessage::DeleteKey { class, id, reply } => {
                let decide = |_: &_, tenant: &Tenant, at| {
                    tenant.keys.decide_deletion(class, &id)?;
                    Ok(Record { at, event: Event::KeyDeleted { class, id } })
                };
                self.record(owned, None, decide, reply, |_, _| ());
            }
            CatalogueMessage::PublishRateTable(table, reply) => {
                let decide = |_: &_, tenant: &Tenant, at| {
                    tenant.decide_publication(table).map(|event| Record { at, event })
                };
                self.record(owned, None, decide, reply, |_, _| ());
            }
            CatalogueMessage::DeleteRateTable { series, version, reply } => {
                let decide = |_: &_, tenant: &Tenant, at| {
                    let decided = tenant.decide_deletion(&series, &version, at);
                    decided.map(|event| Record { at, event })
                };
                self.record(owned, None, decide, reply, |_, _| ());
            }
            CatalogueMessage::RateTables(reply) => {
                self.answer(reply, Ok(self.core.ledger.tenant().rates.all()));
            }
            CatalogueMessage::CreateInstance { short_name, account_id, reply } => {
                let id = InstanceId::from_u128(self.core.ledger.fresh_id());
                let decide = |registry: &Registry, _: &_, at| {
                    let event = registry.decide_instance(id, short_name, account_id);
                    Ok(Record { at, event })
                };
                self.record(owned, None, decide, reply, |sequence, next| {
                    let entry = next.registry.instance(InstanceNumber::new(sequence));
                    entry.expect("the registry has taken it over")
                });
            }
            CatalogueMessage::Instances { after, size, reply } => {
                let (entries, more) = owned.registry.page(after, size);
                let last = entries.last().map(|entry| entry.number.created());
                let next = if more { last } else { None };
                self.answer(reply, Ok(InstancePage { entries, next }));
            }
            CatalogueMessage::DefaultInstance { account_id, reply } => {
                self.answer(reply, Ok(owned.registry.default_of(&account_id)));
            }
            CatalogueMessage::MapLineItem(placed) => self.map_line_item(placed, owned).await,
            CatalogueMessage::DeleteLineItem(placed) => self.delete_line_item(placed, owned),
            CatalogueMessage::SetConditions(placed) => self.set_conditions(placed, owned),
            CatalogueMessage::DeleteConditions(placed) => self.delete_conditions(placed, owned),
            CatalogueMessage::ChangeActions(placed) => self.change_actions(placed, owned).await,
            CatalogueMessage::Configure { settings, by, reply } => {
                let decide =
                    |_: &_, _: &_, at| Ok(Record { at, event: Event::Configured { by, settings } });
                self.record(owned, None, decide, reply, |_, next| {
                    let tenant = next.tenant.as_ref().expect("settings are the tenant's");
                    tenant.configuration.latest().clone()
                });
            }
            CatalogueMessage::ChangeProducts(change, reply) => {
                self.change_products(change, reply, owned);
            }
            CatalogueMessage::ChangeLicenses(placed) => self.change_licenses(placed, owned).await,
            CatalogueMessage::Register(placed) => self.register(placed, owned),
            CatalogueMessage::Outage { to, done } => {
                let _ = done.send(self.record_outage(owned, to)); // Who asked may have gone.
            }
            CatalogueMessage::TakeDirty(reply) => {
                // Who asked may have gone: then everything is still to be written.
                owned.dirty =
                    reply.send(std::mem::take(&mut owned.dirty)).err().unwrap_or_default();
            }
            CatalogueMessage::StillDirty(mut entries) => {
                entries.append(&mut owned.dirty); // The older first: a later change holds.
                owned.dirty = entries;
            }
        }
        Ok(()) // Whatever the caller was told: to ractor, `Err` means that this actor is broken.
    }
}
