//! Section 5: conditions, actions, and what was charged through each action.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::{Amount, whole};
use super::{Answer, Model, Refused};

/// What is said of a requester: the values of each key.
pub type Who = BTreeMap<String, BTreeSet<String>>;

/// Clauses that are joined; one alone is joined by nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether one of them is enough.
    pub any: bool,
    pub clauses: Vec<Clause>,
}

/// Whether some value of the key is among these (IN), or none is (NOT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    pub key: String,
    pub is_in: bool,
    pub values: Vec<String>,
}

/// An entry of a line item's ordered list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub id: String,
    pub condition: Option<String>,
    pub allow: bool,
    pub allocation: Option<Amount>,
}

/// What the rules let a requester have of a line item.
pub(super) enum Permitted {
    Everything,
    UpTo(Amount, String),
    Nothing,
}

/// A condition of an instance.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    instance: String,
    id: String,
    rule: Rule,
}

impl Model {
    /// Who asks from now on.
    pub fn ask_as(&mut self, who: Who) {
        self.who = who;
    }

    /// POST and PATCH of conditions, one of them (spec 2.5).
    pub fn set_condition(&mut self, at: u64, instance: &str, id: &str, rule: Rule) -> Answer {
        self.advance(at);
        self.known_instance(instance)?;
        self.conditions.retain(|condition| condition.id != id);
        let (instance, id) = (instance.to_owned(), id.to_owned());
        self.conditions.push(Condition { instance, id, rule });
        Ok(())
    }

    /// DELETE of a condition: only if no action refers to it.
    pub fn delete_condition(&mut self, at: u64, instance: &str, id: &str) -> Answer {
        self.advance(at);
        let of_it = |c: &Condition| c.id == id && c.instance == instance;
        if !self.conditions.iter().any(of_it) {
            return Err(Refused::NotFound);
        }
        let listed = self.in_charging_order(instance);
        let mut actions = listed.iter().flat_map(|index| &self.mapping(*index).actions);
        if actions.any(|action| action.condition.as_deref() == Some(id)) {
            return Err(Refused::Conflict);
        }
        self.conditions.retain(|condition| condition.id != id);
        Ok(())
    }

    /// POST, PUT and DELETE of actions: the whole list (spec 2.4). New ones have new ids.
    pub fn set_actions(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        actions: Vec<Action>,
    ) -> Answer {
        self.advance(at);
        let index = self.listed(instance, activation).ok_or(Refused::NotFound)?;
        let known = |id: &String| self.conditions.iter().any(|condition| condition.id == *id);
        let fine = |action: &Action| match &action.condition {
            Some(id) => known(id) && (!action.allow || action.allocation.is_some()),
            None => true,
        };
        let defaults = actions.iter().filter(|action| action.condition.is_none()).count();
        if defaults > 1 || !actions.iter().all(fine) {
            return Err(Refused::Invalid);
        }
        self.mappings.get_mut(index).expect("just found").actions = actions;
        Ok(())
    }

    /// Whether some action refers to a condition.
    pub fn has_conditions_in_use(&self, instance: &str) -> bool {
        let listed = self.in_charging_order(instance);
        let mut actions = listed.iter().flat_map(|index| &self.mapping(*index).actions);
        actions.any(|action| action.condition.is_some())
    }

    /// What was charged through an action and not refunded.
    pub fn action_used(&self, action: &str) -> Amount {
        let of_it = |movement: &&super::Movement| movement.action.as_deref() == Some(action);
        self.ledger.iter().filter(of_it).map(|movement| movement.tokens.clone()).sum()
    }

    /// The actions of a listed line item, each with what was charged through it.
    pub fn counters(&self, instance: &str, activation: &str) -> Answer<Vec<(String, Amount)>> {
        let index = self.listed(instance, activation).ok_or(Refused::NotFound)?;
        let actions = self.mapping(index).actions.iter();
        Ok(actions.map(|action| (action.id.clone(), self.action_used(&action.id))).collect())
    }

    /// Spec 5.3: the first action whose condition holds, else the default, else nothing.
    pub(super) fn permitted(&self, mapping: usize, who: &Who) -> Permitted {
        let actions = &self.mapping(mapping).actions;
        let holds = |action: &&Action| {
            let Some(id) = &action.condition else { return false };
            let condition = self.conditions.iter().find(|condition| condition.id == *id);
            condition.expect("refused without it").rule.holds(who)
        };
        let default = || actions.iter().find(|action| action.condition.is_none());
        match actions.iter().find(holds).or_else(default) {
            None if actions.is_empty() => Permitted::Everything,
            Some(Action { allow: true, allocation: None, .. }) => Permitted::Everything,
            Some(Action { allow: true, allocation: Some(most), id, .. }) => {
                Permitted::UpTo(most.clone(), id.clone())
            }
            Some(_) | None => Permitted::Nothing,
        }
    }

    /// What an action still allows, less what is pending on it.
    pub(super) fn allowed(&self, most: &Amount, action: &str, pending: &Amount) -> Amount {
        (most - self.action_used(action) - pending).max(whole(0))
    }
}

impl Rule {
    fn holds(&self, who: &Who) -> bool {
        let mut hold = self.clauses.iter().map(|clause| {
            let found = who.get(&clause.key).into_iter().flatten();
            let among = found.clone().any(|value| clause.values.contains(value));
            among == clause.is_in
        });
        if self.any { hold.any(|holds| holds) } else { hold.all(|holds| holds) }
    }
}
