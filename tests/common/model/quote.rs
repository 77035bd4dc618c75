//! Access requests from outside (2.7, 2.8): done or only quoted, and how what they touched stands.

use super::charge::{Item, ItemAnswer, Pass};
use super::session::{OnDeny, SessionAnswer};
use super::{Amount, Answer, Available, Model, Moment, whole};

/// How a line item stands after the request that touched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub activation: String,
    pub used: Amount,
    /// What could be charged at that moment.
    pub available: Available,
}

impl Model {
    /// POST `/access-request`.
    pub fn access(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        self.advance(at);
        let before = self.ledger.len();
        let told = self.charge_once(at, instance, items)?;
        self.standings = self.standings_since(before, at, instance);
        Ok(told)
    }

    /// PUT `/sessions/{id}`.
    pub fn put_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        self.advance(at);
        let before = self.ledger.len();
        let told = self.use_from_now_on(at, id, items, on_deny)?;
        self.standings = self.standings_since(before, at, &self.place_of(id));
        Ok(told)
    }

    /// What [`Model::access`] would answer; nothing happens but time.
    pub fn quote(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        self.advance(at);
        let mut other_world = self.clone();
        let told = other_world.access(at, instance, items)?;
        self.standings = other_world.standings;
        Ok(told)
    }

    /// What [`Model::put_session`] would answer, in the state that the session keeps.
    pub fn quote_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        self.advance(at);
        let mut other_world = self.clone();
        let told = other_world.put_session(at, id, items, on_deny)?;
        self.standings = other_world.standings;
        let view = self.session_view(id)?;
        Ok(SessionAnswer { state: view.state, charged_until: view.charged_until, ..told })
    }

    /// `balances` of the last request or quote that was answered.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    fn standings_since(&self, before: usize, at: u64, instance: &str) -> Vec<Standing> {
        let mut touched = Vec::new();
        for movement in self.ledger.iter().skip(before) {
            if !touched.contains(&movement.mapping) {
                touched.push(movement.mapping);
            }
        }
        let usable = self.candidates(instance, Moment::of_a_call(at));
        let standing = |mapping: usize| {
            let (activation, used) =
                (self.mapping(mapping).activation.clone(), self.used_of(mapping));
            let available = match usable.contains(&mapping) {
                false => Available::Tokens(whole(0)),
                true => self
                    .capacity(mapping, Pass::Overdraft, &used)
                    .map_or(Available::Unbounded, Available::Tokens),
            };
            Standing { activation, used, available }
        };
        touched.into_iter().map(standing).collect()
    }
}
