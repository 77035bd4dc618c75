//! A stage on which stories are played: the model.

use super::model::{
    Action, Amount, Answer, Available, Item, ItemAnswer, Model, OnDeny, RateTable, Rule,
    SessionAnswer, SessionState, Setting, Standing, Terms, Who,
};
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

    fn quote(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        Model::quote(self, at, instance, items)
    }

    fn quote_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        Model::quote_session(self, at, id, items, on_deny)
    }

    fn standings(&mut self) -> Vec<Standing> {
        Model::standings(self).to_vec()
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
