//! What the catalogue actor does about rules of access: conditions and actions (spec 2.4, 2.5).

use std::sync::Arc;

use super::catalogue::{CatalogueActor, CatalogueState, LineItemView, Placed};
use crate::domain::event::{Event, Record};
use crate::domain::ids::ConditionId;
use crate::domain::line_item::{Balance, LineItem, Posting};
use crate::domain::refusal::Refusal;
use crate::domain::rules::{self, Condition, NewAction, NewCondition};

/// What is to become of a line item's actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionsChange {
    /// These, if there are none yet.
    Create(Vec<NewAction>),
    /// These, in this order, in place of those there are; those with an id keep their counter.
    Replace(Vec<NewAction>),
}

impl CatalogueActor {
    pub(super) fn set_conditions(
        &self,
        placed: Placed<Vec<NewCondition>, Vec<Arc<Condition>>>,
        owned: &mut CatalogueState,
    ) {
        let Placed { instance, turn, now, value: sent, reply } = placed;
        let fresh_id = || self.core.ledger.fresh_id();
        match instance.catalogue().decide_conditions(sent, fresh_id) {
            Ok(conditions) => {
                let event = Event::ConditionsSet { instance: instance.entry.number, conditions };
                let decide = |_: &_, _: &_, _| Ok(Record { at: now, event });
                self.record(owned, Some(&instance), decide, reply, |_, next| {
                    let catalogue = next.catalogue.as_ref().expect("it is the instance's");
                    catalogue.conditions()
                });
            }
            Err(refusal) => self.answer(reply, Err(refusal)),
        }
        drop(turn);
    }

    pub(super) fn delete_conditions(
        &self,
        placed: Placed<Option<ConditionId>, ()>,
        owned: &mut CatalogueState,
    ) {
        let Placed { instance, turn, now, value: id, reply } = placed;
        let catalogue = instance.catalogue();
        let all = || catalogue.conditions().iter().map(|condition| condition.id).collect();
        let conditions = id.map_or_else(all, |id| vec![id]);
        match catalogue.decide_condition_deletion(&conditions) {
            Ok(()) if conditions.is_empty() => self.answer(reply, Ok(())),
            Ok(()) => {
                let instance_number = instance.entry.number;
                let event = Event::ConditionsDeleted { instance: instance_number, conditions };
                let decide = |_: &_, _: &_, _| Ok(Record { at: now, event });
                self.record(owned, Some(&instance), decide, reply, |_, _| ());
            }
            Err(refusal) => self.answer(reply, Err(refusal)),
        }
        drop(turn);
    }

    /// Replaces a line item's actions. With an action its counter goes, which only its owner has:
    /// it is asked first, and hears of it afterwards, in the same turn.
    pub(super) async fn change_actions(
        &self,
        placed: Placed<(String, ActionsChange), LineItemView>,
        owned: &mut CatalogueState,
    ) {
        let Placed { instance, turn, now, value: (activation_id, change), reply } = placed;
        let Some(found) = instance.catalogue().find(&activation_id).cloned() else {
            return self.answer(reply, Err(Refusal::UnknownLineItem));
        };
        let sent = match change {
            ActionsChange::Create(_) if !found.actions.is_empty() => {
                return self.answer(reply, Err(Refusal::ActionsExist));
            }
            ActionsChange::Create(sent) | ActionsChange::Replace(sent) => sent,
        };
        let exists = |id| instance.catalogue().condition(id).is_some();
        let fresh_id = || self.core.ledger.fresh_id();
        let actions = match rules::decide_actions(sent, &found.actions, exists, fresh_id) {
            Ok(actions) => actions,
            Err(refusal) => return self.answer(reply, Err(refusal)),
        };
        let before = match self.core.balance(&instance, found.number).await {
            Ok(balance) => balance,
            Err(error) => return reply.now(error),
        };
        let LineItem { number, terms, .. } = found.as_ref();
        let counters = before.counters.only(&actions);
        let balance = Balance { counters, ..before.clone() };
        let gone = balance.counters.changed_since(&before.counters);
        let posting = (!gone.all().is_empty()).then(|| Posting {
            line_item: *number,
            activation_id: terms.activation_id.clone(),
            quantity: Some(terms.quantity),
            after: Balance { counters: gone, ..before },
        });
        let event = Event::ActionsSet {
            instance: instance.entry.number,
            number: *number,
            activation_id: terms.activation_id.clone(),
            actions: actions.clone(),
            posting: posting.clone(),
        };
        let line_item = Arc::new(LineItem { number: *number, terms: terms.clone(), actions });
        let view = LineItemView { instance: instance.entry.id, line_item, balance };
        let decide = |_: &_, _: &_, _| Ok(Record { at: now, event });
        let recorded = self.record(owned, Some(&instance), decide, reply, |_, _| view);
        if let Some(sequence) = recorded {
            self.core.post(&instance, sequence, posting.as_slice());
        }
        drop(turn); // Only now: whoever decides next finds the new rules and the counters.
    }
}
