//! Rules of access (spec 5): who may be charged on which line item, and how much of it. Owns
//! conditions, actions, and the counters of what was charged through an action.

use std::sync::Arc;

use super::ids::{ActionId, ConditionId, Text};
use super::refusal::Refusal;
use super::tokens::Tokens;

/// What is said of a requester (spec 5.2): pairs of a key and one of its values, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary(Vec<(Text, Text)>);

impl Dictionary {
    /// Takes the pairs in any order.
    pub fn new(mut pairs: Vec<(Text, Text)>) -> Dictionary {
        pairs.sort();
        pairs.dedup();
        Dictionary(pairs)
    }

    /// The pairs, sorted.
    pub fn pairs(&self) -> &[(Text, Text)] {
        &self.0
    }

    fn has(&self, key: &Text, value: &Text) -> bool {
        let wanted = (key.as_str(), value.as_str());
        self.0.binary_search_by(|(key, value)| (key.as_str(), value.as_str()).cmp(&wanted)).is_ok()
    }
}

/// A question about a requester, to be used by the actions of an instance (spec 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its id.
    pub id: ConditionId,
    /// Its place in lists: conditions are listed in order of creation.
    pub place: u64,
    /// A label; need not be the only one of its name.
    pub name: Text,
    /// What holds.
    pub rule: Rule,
}

/// What a condition asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One thing.
    Simple(Clause),
    /// All of several things.
    And(Vec<Clause>),
    /// At least one of several things.
    Or(Vec<Clause>),
}

/// A question about one key of the dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The key.
    pub key: Text,
    /// What is asked of its values.
    pub operator: Operator,
    /// The values asked after.
    pub values: Vec<Text>,
}

/// What a clause asks of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// That one of them is among those asked after.
    In,
    /// That none is; so it is where there is no such key.
    Not,
}

impl Rule {
    /// Whether it holds for a requester.
    pub fn holds(&self, dictionary: &Dictionary) -> bool {
        match self {
            Rule::Simple(clause) => clause.holds(dictionary),
            Rule::And(clauses) => clauses.iter().all(|clause| clause.holds(dictionary)),
            Rule::Or(clauses) => clauses.iter().any(|clause| clause.holds(dictionary)),
        }
    }
}

impl Condition {
    /// What it counts for among [`CONDITIONS_BYTES_MAX`](super::limits::CONDITIONS_BYTES_MAX).
    pub fn bytes(&self) -> usize {
        let clauses = match &self.rule {
            Rule::Simple(clause) => std::slice::from_ref(clause),
            Rule::And(clauses) | Rule::Or(clauses) => clauses,
        };
        let texts = clauses.iter().flat_map(|clause| clause.values.iter().chain([&clause.key]));
        texts.chain([&self.name]).map(|text| text.as_str().len() + 4).sum()
    }
}

impl Clause {
    fn holds(&self, dictionary: &Dictionary) -> bool {
        let found = self.values.iter().any(|value| dictionary.has(&self.key, value));
        match self.operator {
            Operator::In => found,
            Operator::Not => !found,
        }
    }
}

/// One entry of a line item's ordered list (spec 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its id.
    pub id: ActionId,
    /// A label.
    pub name: Text,
    /// When it decides; without one it is the default, which decides where no other does.
    pub condition: Option<ConditionId>,
    /// What it decides.
    pub effect: Effect,
}

/// What an action decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The line item may be charged, through this action up to an allocation if it has one.
    Allow(Option<Tokens>),
    /// It may not.
    Deny,
}

/// What the rules say of one line item for one requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// As far as the line item itself goes.
    Unrestricted,
    /// Up to the allocation of an action, counted by it.
    Allocated {
        /// Which action.
        action: ActionId,
        /// Its allocation.
        allocation: Tokens,
    },
    /// Not at all.
    Denied,
}

/// The action that decides for a requester: the first whose condition holds, else the default
/// (spec 5.3).
pub fn deciding<'a, 'b>(
    actions: &'b [Action],
    condition: impl Fn(ConditionId) -> Option<&'a Condition>,
    dictionary: &Dictionary,
) -> Option<&'b Action> {
    let holds = |id| condition(id).is_some_and(|condition| condition.rule.holds(dictionary));
    let deciding = actions.iter().find(|action| action.condition.is_some_and(&holds));
    deciding.or_else(|| actions.iter().find(|action| action.condition.is_none()))
}

/// What the deciding action says; where none does, nobody may. Without actions everybody may.
pub fn permission<'a>(
    actions: &[Action],
    condition: impl Fn(ConditionId) -> Option<&'a Condition>,
    dictionary: &Dictionary,
) -> Permission {
    let deciding = deciding(actions, condition, dictionary);
    match deciding.map(|action| (action.id, action.effect)) {
        Some((action, Effect::Allow(Some(allocation)))) => {
            Permission::Allocated { action, allocation }
        }
        Some((_, Effect::Allow(None))) => Permission::Unrestricted,
        Some((_, Effect::Deny)) => Permission::Denied,
        None if actions.is_empty() => Permission::Unrestricted,
        None => Permission::Denied,
    }
}

/// What was charged through each action of a line item and not refunded (spec 5.4), by action. In
/// the balance of a line item nothing is left out but what is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Option<Arc<Vec<(ActionId, Tokens)>>>);

impl Counters {
    /// Takes one amount for each action.
    pub fn new(mut counters: Vec<(ActionId, Tokens)>) -> Counters {
        counters.sort();
        Counters((!counters.is_empty()).then(|| Arc::new(counters)))
    }

    /// All of them.
    pub fn all(&self) -> &[(ActionId, Tokens)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// What was charged through an action.
    pub fn used(&self, action: ActionId) -> Tokens {
        let own = self.all().iter().find(|(id, _)| *id == action);
        own.map_or(Tokens::ZERO, |(_, used)| *used)
    }

    /// Sets what was charged through an action.
    pub fn set(&mut self, action: ActionId, used: Tokens) {
        let others = self.all().iter().filter(|(id, _)| *id != action).copied();
        let own = Some((action, used)).filter(|(_, used)| *used != Tokens::ZERO);
        *self = Counters::new(others.chain(own).collect());
    }

    /// Takes back what was charged through an action, if it is still counted: whoever removes an
    /// action loses its counter. `None` where that is more than was charged.
    #[must_use]
    pub fn refund(&mut self, action: ActionId, tokens: Tokens) -> Option<()> {
        if self.used(action) != Tokens::ZERO {
            let left = self.used(action).checked_sub(tokens)?;
            self.set(action, left);
        }
        Some(())
    }

    /// The counters that are not as they were `before`; nothing where one is gone.
    pub fn changed_since(&self, before: &Counters) -> Counters {
        let gone = before.all().iter().filter(|(id, _)| self.used(*id) == Tokens::ZERO);
        let gone = gone.map(|(id, _)| (*id, Tokens::ZERO));
        let changed = self.all().iter().filter(|(id, used)| before.used(*id) != *used).copied();
        Counters::new(changed.chain(gone).collect())
    }

    /// Takes over counters that have changed.
    pub fn take_over(&mut self, changed: &Counters) {
        changed.all().iter().for_each(|(id, used)| self.set(*id, *used));
    }

    /// What is left once there are only these actions.
    pub fn only(&self, actions: &[Action]) -> Counters {
        let stays = |(id, _): &&(ActionId, Tokens)| actions.iter().any(|action| action.id == *id);
        Counters::new(self.all().iter().filter(stays).copied().collect())
    }
}

/// An action as it is sent: with an id it is one that exists (spec 2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    /// Which one, if it exists.
    pub id: Option<ActionId>,
    /// See [`Action::name`].
    pub name: Text,
    /// See [`Action::condition`].
    pub condition: Option<ConditionId>,
    /// See [`Action::effect`].
    pub effect: Effect,
}

/// A condition as it is sent: with an id it is one that exists (spec 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// Which one, if it exists.
    pub id: Option<ConditionId>,
    /// See [`Condition::name`].
    pub name: Text,
    /// See [`Condition::rule`].
    pub rule: Rule,
}

/// Checks a list of actions over those that the line item has now, and names the new ones
/// (spec 2.4).
pub fn decide_actions(
    sent: Vec<NewAction>,
    current: &[Action],
    exists: impl Fn(ConditionId) -> bool,
    mut fresh_id: impl FnMut() -> u128,
) -> Result<Vec<Action>, Refusal> {
    let mut actions: Vec<Action> = Vec::with_capacity(sent.len());
    for NewAction { id, name, condition, effect } in sent {
        let fault = match (condition, effect) {
            (Some(id), _) if !exists(id) => Some("the instance has no such `conditionId`"),
            (Some(_), Effect::Allow(None)) => Some("ALLOW with a condition needs an `allocation`"),
            (None, _) if actions.iter().any(|action| action.condition.is_none()) => {
                Some("only one action may be without `conditionId`: it is the default")
            }
            (Some(_) | None, Effect::Allow(_) | Effect::Deny) => None,
        };
        let known = |id: &ActionId| {
            let is_sent_twice = actions.iter().any(|action| action.id == *id);
            !is_sent_twice && current.iter().any(|action| action.id == *id)
        };
        let fault = fault.or(match id {
            Some(id) if !known(&id) => Some("`id` names no other action of the line item"),
            Some(_) | None => None,
        });
        if let Some(fault) = fault {
            return Err(Refusal::BadAction { position: actions.len(), fault });
        }
        let id = id.unwrap_or_else(|| ActionId::from_u128(fresh_id()));
        actions.push(Action { id, name, condition, effect });
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::new(text).unwrap()
    }

    fn clause(key: &str, operator: Operator, values: &[&str]) -> Clause {
        let values = values.iter().map(|value| text(value)).collect();
        Clause { key: text(key), operator, values }
    }

    #[test]
    fn conditions_ask_after_values_as_text_and_a_missing_key_satisfies_not() {
        let dictionary = Dictionary::new(
            [("department", "Engineering"), ("region", "EU"), ("region", "APAC"), ("level", "3")]
                .map(|(key, value)| (text(key), text(value)))
                .to_vec(),
        );
        let engineering = clause("department", Operator::In, &["Sales", "Engineering"]);
        let not_in_the_us = clause("region", Operator::Not, &["US"]);
        let not_in_the_eu = clause("region", Operator::Not, &["US", "EU"]);
        let rows = [
            (Rule::Simple(engineering.clone()), true),
            (Rule::Simple(clause("department", Operator::In, &["engineering"])), false),
            (Rule::Simple(clause("Department", Operator::In, &["Engineering"])), false),
            (Rule::Simple(clause("level", Operator::In, &["3"])), true),
            (Rule::Simple(clause("level", Operator::In, &["3.0"])), false),
            (Rule::Simple(not_in_the_us.clone()), true),
            (Rule::Simple(not_in_the_eu.clone()), false),
            (Rule::Simple(clause("team", Operator::Not, &["A"])), true),
            (Rule::Simple(clause("team", Operator::In, &["A"])), false),
            (Rule::And(vec![engineering.clone(), not_in_the_us.clone()]), true),
            (Rule::And(vec![engineering.clone(), not_in_the_eu.clone()]), false),
            (Rule::Or(vec![not_in_the_eu.clone(), engineering]), true),
            (Rule::Or(vec![not_in_the_eu]), false),
        ];
        for (rule, expected) in rows {
            assert_eq!(rule.holds(&dictionary), expected, "{rule:?}");
        }
    }

    #[test]
    fn the_first_action_whose_condition_holds_decides_and_the_default_comes_last() {
        let id = ConditionId::from_u128;
        let holds = |bits: u128, values: &[&str]| Condition {
            id: id(bits),
            place: 0,
            name: text("C"),
            rule: Rule::Simple(clause("d", Operator::In, values)),
        };
        let conditions = [holds(1, &["E"]), holds(2, &["E", "P"])];
        let action = |bits: u128, condition: Option<u128>, effect| Action {
            id: ActionId::from_u128(bits),
            name: text("A"),
            condition: condition.map(id),
            effect,
        };
        let some = |tokens| Effect::Allow(Some(Tokens::whole(tokens)));
        let allocated = |bits, tokens| Permission::Allocated {
            action: ActionId::from_u128(bits),
            allocation: Tokens::whole(tokens),
        };
        let default_first = [
            action(9, None, Effect::Deny),
            action(1, Some(1), some(150)),
            action(2, Some(2), some(5)),
        ];
        let open = [action(1, Some(1), Effect::Deny), action(9, None, Effect::Allow(None))];
        let capped = [action(9, None, some(7))];
        for (actions, value, expected) in [
            (&default_first[..], "E", allocated(1, 150)),
            (&default_first[..], "P", allocated(2, 5)),
            (&default_first[..], "S", Permission::Denied),
            (&default_first[1..], "S", Permission::Denied),
            (&open[..], "E", Permission::Denied),
            (&open[..], "P", Permission::Unrestricted),
            (&capped[..], "E", allocated(9, 7)),
            (&[], "E", Permission::Unrestricted),
        ] {
            let dictionary = Dictionary::new(vec![(text("d"), text(value))]);
            let find = |wanted| conditions.iter().find(|condition| condition.id == wanted);
            assert_eq!(permission(actions, find, &dictionary), expected, "{actions:?} {value}");
        }
    }
}
