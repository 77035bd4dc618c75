//! The two stages on which stories are played: the model, and the library in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use farebox::broker::{AccessAnswer, ActionsChange, Broker, LineItemView, Options, Reach};
use farebox::domain::event::{Event, Next, Record};
use farebox::domain::ids::{ActionId, ConditionId, InstanceId, Sequence, SessionId};
use farebox::domain::line_item::Overdraft;
use farebox::domain::rules::{Effect, NewAction, NewCondition};
use farebox::domain::tokens::Tokens;
use farebox::journal::format;
use tokio::runtime::{Builder, Runtime};

use super::env::{self, ManualClock, SeededIds};
use super::model::{
    Action, Amount, Answer, Available, Item, ItemAnswer, Model, OnDeny, RateTable, Refused, Rule,
    SessionAnswer, SessionState, Setting, Terms, Who, text,
};
use super::product;
use super::script::Stage;

impl Stage for Model {
    fn publish_rate_table(&mut self, at: u64, table: RateTable) -> Answer {
        Model::publish_rate_table(self, at, table)
    }

    fn delete_rate_table(&mut self, at: u64, series: &str, version: &str) -> Answer {
        Model::delete_rate_table(self, at, series, version)
    }

    fn create_instance(&mut self, at: u64, id: &str, account: &str) -> bool {
        Model::create_instance(self, at, id, account).default
    }

    fn instances(&mut self, at: u64) -> Vec<String> {
        self.advance(at);
        let all = Model::instances(self, None, None).expect("all may be listed");
        all.into_iter().map(|instance| instance.id).collect()
    }

    fn default_instance(&mut self, at: u64, account: &str) -> Vec<String> {
        self.advance(at);
        let found = Model::instances(self, Some(account), Some(true)).expect("both are given");
        found.into_iter().map(|instance| instance.id).collect()
    }

    fn put_line_item(&mut self, at: u64, instance: &str, id: &str, terms: Terms) -> Answer {
        Model::put_line_item(self, at, instance, id, terms)
    }

    fn delete_line_item(&mut self, at: u64, instance: &str, id: &str) -> Answer {
        Model::delete_line_item(self, at, instance, id)
    }

    fn access(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        Model::access(self, at, instance, items)
    }

    fn create_session(&mut self, at: u64, id: &str, instance: &str) -> Answer {
        Model::create_session(self, at, id, instance)
    }

    fn put_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        Model::put_session(self, at, id, items, on_deny)
    }

    fn heartbeat(&mut self, at: u64, id: &str) -> Answer {
        Model::heartbeat(self, at, id)
    }

    fn close_session(&mut self, at: u64, id: &str) -> Answer<SessionAnswer> {
        Model::close_session(self, at, id)
    }

    fn session(&mut self, at: u64, id: &str) -> Answer<(SessionState, u64)> {
        self.advance(at);
        self.session_view(id).map(|view| (view.state, view.charged_until))
    }

    fn used(&mut self, at: u64, instance: &str, id: &str) -> Answer<Amount> {
        self.advance(at);
        Model::used(self, instance, id)
    }

    fn available(&mut self, at: u64, instance: &str, id: &str) -> Answer<Available> {
        self.advance(at);
        Model::available(self, instance, id)
    }

    fn configure(&mut self, at: u64, setting: Setting) -> Answer {
        Model::configure(self, at, setting)
    }

    fn ask_as(&mut self, who: Who) {
        Model::ask_as(self, who);
    }

    fn set_condition(&mut self, at: u64, instance: &str, name: &str, rule: Rule) -> Answer {
        Model::set_condition(self, at, instance, name, rule)
    }

    fn delete_condition(&mut self, at: u64, instance: &str, name: &str) -> Answer {
        Model::delete_condition(self, at, instance, name)
    }

    fn set_actions(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        actions: Vec<Action>,
    ) -> Answer {
        Model::set_actions(self, at, instance, activation, actions)
    }

    fn counters(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
    ) -> Answer<Vec<(String, Amount)>> {
        self.advance(at);
        Model::counters(self, instance, activation)
    }

    fn line_items(&mut self, at: u64, instance: &str) -> Vec<String> {
        self.advance(at);
        let lines = Model::line_items(self, instance).expect("it exists");
        lines.into_iter().map(|line| line.activation).collect()
    }
}

/// The library, embedded and in memory, under a clock that moves with the story.
pub struct Library {
    runtime: Runtime,
    broker: Broker,
    clock: Arc<ManualClock>,
    instances: BTreeMap<String, InstanceId>,
    sessions: BTreeMap<String, SessionId>,
    conditions: BTreeMap<String, ConditionId>,
    actions: BTreeMap<String, ActionId>,
    who: Who,
}

impl Library {
    pub fn open(at: u64) -> Library {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let clock = Arc::new(ManualClock::at(at));
        let (ids, shared) = (Arc::new(SeededIds::new(at)), Arc::clone(&clock));
        let options =
            Options { clock: shared, ids, settings: env::settings(), ..Options::memory() };
        let broker = runtime.block_on(Broker::open(options)).expect("it opens").broker;
        let (instances, sessions) = (BTreeMap::new(), BTreeMap::new());
        let (conditions, actions, who) = (BTreeMap::new(), BTreeMap::new(), Who::new());
        Library { runtime, broker, clock, instances, sessions, conditions, actions, who }
    }

    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    fn instance(&self, name: &str) -> InstanceId {
        self.instances.get(name).copied().unwrap_or(InstanceId::from_u128(404))
    }

    fn name(&self, id: InstanceId) -> String {
        let found = self.instances.iter().find(|(_, known)| **known == id);
        found.expect("the story made it").0.clone()
    }

    fn session_id(&self, name: &str) -> String {
        let found = self.sessions.get(name).copied();
        found.unwrap_or(SessionId::from_u128(404)).to_string()
    }

    fn line_item(&self, instance: &str, id: &str) -> Answer<LineItemView> {
        let scope = product::scope(self.instance(instance));
        let answer = self.runtime.block_on(self.broker.line_item(scope, id));
        answer.map(|receipt| receipt.value).map_err(|error| product::refused(&error))
    }

    fn state(&self, id: &str) -> (SessionState, u64) {
        let asked = self.broker.session(Reach::Everywhere, id);
        let view = self.runtime.block_on(asked).expect("it exists").value;
        (product::session_state(&view.session), view.pacing.charged_until.as_ms())
    }

    /// What became of each item, actions by the names that the story has for them.
    fn answered(&self, answer: &AccessAnswer) -> Vec<ItemAnswer> {
        let mut items = product::answered_items(answer);
        for line in items.iter_mut().flat_map(|item| &mut item.lines) {
            line.action = line.action.take().map(|id| self.action_name(&id));
        }
        items
    }

    fn action_name(&self, id: &str) -> String {
        let found = self.actions.iter().find(|(_, known)| known.to_string() == id);
        found.expect("the story made it").0.clone()
    }

    /// The record that an answer rests on: what it refunded stands there only.
    fn record(&self, sequence: Sequence) -> Record {
        let mut found = None;
        let read = self.broker.journal().read(sequence, &mut |_, payload| {
            found = Some(format::decode(payload).expect("a record"));
            ControlFlow::Break(())
        });
        read.expect("the journal can be read");
        found.expect("an answer's record is durable")
    }
}

impl Stage for Library {
    fn publish_rate_table(&mut self, at: u64, table: RateTable) -> Answer {
        self.clock.set(at);
        let table = product::try_new_table(&table).map_err(|_| Refused::Invalid)?;
        let answer = self.runtime.block_on(self.broker.publish_rate_table(table));
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn delete_rate_table(&mut self, at: u64, series: &str, version: &str) -> Answer {
        self.clock.set(at);
        let (series, version) = (product::text(series), product::text(version));
        let answer = self.runtime.block_on(self.broker.delete_rate_table(series, version));
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn create_instance(&mut self, at: u64, id: &str, account: &str) -> bool {
        self.clock.set(at);
        let (name, account) = (product::text(id), product::text(account));
        let answer = self.runtime.block_on(self.broker.create_instance(name, account));
        let entry = answer.expect("it is created").value;
        self.instances.insert(id.to_owned(), entry.id);
        entry.default
    }

    fn instances(&mut self, at: u64) -> Vec<String> {
        self.clock.set(at);
        let page = self.runtime.block_on(self.broker.instances(Sequence::ZERO, 100));
        let entries = page.expect("they are listed").value.entries;
        entries.iter().map(|entry| self.name(entry.id)).collect()
    }

    fn default_instance(&mut self, at: u64, account: &str) -> Vec<String> {
        self.clock.set(at);
        let account = product::text(account);
        let found = self.runtime.block_on(self.broker.default_instance(&account));
        let found = found.expect("it is looked up").value;
        found.iter().map(|entry| self.name(entry.id)).collect()
    }

    fn put_line_item(&mut self, at: u64, instance: &str, id: &str, terms: Terms) -> Answer {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let terms = product::new_terms(id, &terms, "");
        let answer = self.runtime.block_on(self.broker.map_line_item(scope, terms));
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn delete_line_item(&mut self, at: u64, instance: &str, id: &str) -> Answer {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let answer = self.runtime.block_on(self.broker.delete_line_item(scope, id));
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn access(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        self.clock.set(at);
        let request = product::request_of("somebody", &self.who, items);
        let request = request.map_err(|_| Refused::Invalid)?;
        let scope = product::scope(self.instance(instance));
        let answer = self.runtime.block_on(self.broker.access(scope, request));
        let answer = answer.map_err(|error| product::refused(&error))?.value;
        Ok(self.answered(&answer))
    }

    fn create_session(&mut self, at: u64, id: &str, instance: &str) -> Answer {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let answer = self.runtime.block_on(self.broker.create_session(scope));
        let session = answer.map_err(|error| product::refused(&error))?.value;
        self.sessions.insert(id.to_owned(), session);
        Ok(())
    }

    fn put_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        self.clock.set(at);
        let id = self.session_id(id);
        let request = product::request_of("somebody", &self.who, items);
        let request = request.map_err(|_| Refused::Invalid)?;
        let on_deny = product::on_deny(on_deny);
        let asked = self.broker.session_access(Reach::Everywhere, &id, request, on_deny);
        let answer = self.runtime.block_on(asked).map_err(|error| product::refused(&error))?.value;
        let AccessAnswer::Session(access, _) = &answer else { panic!("a session's answer") };
        let (state, charged_until) = self.state(&id);
        if let Next::Charged(period) = access.next {
            assert_eq!(charged_until, at + period.as_ms().get(), "what was paid for is kept");
        }
        let (items, refund) = (self.answered(&answer), product::refunds(&access.refunds));
        Ok(SessionAnswer { items, refund, state, charged_until })
    }

    fn heartbeat(&mut self, at: u64, id: &str) -> Answer {
        self.clock.set(at);
        let id = self.session_id(id);
        let answer = self.runtime.block_on(self.broker.heartbeat(Reach::Everywhere, &id));
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn close_session(&mut self, at: u64, id: &str) -> Answer<SessionAnswer> {
        self.clock.set(at);
        let id = self.session_id(id);
        let answer = self.runtime.block_on(self.broker.close_session(Reach::Everywhere, &id));
        let sequence = answer.map_err(|error| product::refused(&error))?.sequence;
        let Event::SessionClosed(closed) = self.record(sequence).event else {
            panic!("the answer to a close rests on its record")
        };
        let (state, charged_until) = self.state(&id);
        let refund = product::refunds(&closed.refunds);
        Ok(SessionAnswer { items: Vec::new(), refund, state, charged_until })
    }

    fn session(&mut self, at: u64, id: &str) -> Answer<(SessionState, u64)> {
        self.clock.set(at);
        Ok(self.state(&self.session_id(id)))
    }

    fn used(&mut self, at: u64, instance: &str, id: &str) -> Answer<Amount> {
        self.clock.set(at);
        self.line_item(instance, id).map(|view| product::amount(view.balance.used))
    }

    fn available(&mut self, at: u64, instance: &str, id: &str) -> Answer<Available> {
        self.clock.set(at);
        let LineItemView { line_item, balance, .. } = self.line_item(instance, id)?;
        Ok(match line_item.terms.overdraft {
            Overdraft::Unlimited => Available::Unbounded,
            Overdraft::None | Overdraft::Number(_) => {
                Available::Tokens(product::amount(line_item.available(balance.used)))
            }
        })
    }

    fn configure(&mut self, at: u64, setting: Setting) -> Answer {
        self.clock.set(at);
        let setting = product::setting(setting);
        let changed = self.broker.configure(vec![setting], product::text("key"));
        let answer = self.runtime.block_on(changed);
        answer.map(|_| ()).map_err(|error| product::refused(&error))
    }

    fn line_items(&mut self, at: u64, instance: &str) -> Vec<String> {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let views = self.runtime.block_on(self.broker.line_items(scope)).expect("it exists");
        let name = |view: &LineItemView| view.line_item.terms.activation_id.to_string();
        views.value.iter().map(name).collect()
    }

    fn ask_as(&mut self, who: Who) {
        self.who = who;
    }

    fn set_condition(&mut self, at: u64, instance: &str, name: &str, rule: Rule) -> Answer {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let id = self.conditions.get(name).copied();
        let new = NewCondition { id, name: product::text(name), rule: product::rule(&rule) };
        let told = self.runtime.block_on(self.broker.set_conditions(scope, vec![new]));
        let all = told.map_err(|error| product::refused(&error))?.value;
        let own = all.iter().find(|condition| condition.name.as_str() == name);
        self.conditions.insert(name.to_owned(), own.expect("it is listed").id);
        Ok(())
    }

    fn delete_condition(&mut self, at: u64, instance: &str, name: &str) -> Answer {
        self.clock.set(at);
        let scope = product::scope(self.instance(instance));
        let id = self.conditions.get(name).copied().unwrap_or(ConditionId::from_u128(404));
        let told = self.runtime.block_on(self.broker.delete_conditions(scope, Some(id)));
        told.map(drop).map_err(|error| product::refused(&error))
    }

    fn set_actions(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        actions: Vec<Action>,
    ) -> Answer {
        self.clock.set(at);
        let current = self.line_item(instance, activation)?.line_item;
        let new = |action: &Action| {
            let id = self.actions.get(&action.id).copied();
            let id = id.filter(|id| current.actions.iter().any(|current| current.id == *id));
            let unknown = ConditionId::from_u128(404);
            let condition = action.condition.as_ref();
            let condition =
                condition.map(|name| self.conditions.get(name).copied().unwrap_or(unknown));
            let tokens = |amount: &Amount| Tokens::parse(&text(amount)).expect("an amount");
            let allocation = action.allocation.as_ref().map(tokens);
            let effect = if action.allow { Effect::Allow(allocation) } else { Effect::Deny };
            NewAction { id, name: product::text(&action.id), condition, effect }
        };
        let change = ActionsChange::Replace(actions.iter().map(new).collect());
        let scope = product::scope(self.instance(instance));
        let told = self.runtime.block_on(self.broker.change_actions(scope, activation, change));
        let view = told.map_err(|error| product::refused(&error))?.value;
        for action in &view.line_item.actions {
            self.actions.insert(action.name.to_string(), action.id);
        }
        Ok(())
    }

    fn counters(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
    ) -> Answer<Vec<(String, Amount)>> {
        self.clock.set(at);
        let view = self.line_item(instance, activation)?;
        let used = |id| product::amount(view.balance.counters.used(id));
        let actions = view.line_item.actions.iter();
        Ok(actions.map(|action| (action.name.to_string(), used(action.id))).collect())
    }
}
