//! A crowd of callers who do everything at once: charge, change, delete, look, hang up. Everything
//! they were told is kept, with what the journal and the clock said before and after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use farebox::broker::{AccessAnswer, ActionsChange, Broker, LineItemView, Reach, SessionView};
use farebox::domain::ids::{InstanceId, Sequence, SessionId};
use farebox::domain::request::AccessRequest;
use farebox::domain::rules::{Effect, NewAction, NewCondition};
use farebox::domain::tokens::Tokens;
use farebox::error::BrokerError;

use super::dice::Dice;
use super::env::ManualClock;
use super::keyed::{Ask, Door, Sent};
use super::model::formula::Variables;
use super::model::{
    self, Item, LineItemState, OnDeny, Overdraft, Price, RateTable, RatedItem, Terms, Who, decimal,
};
use super::product;

/// When every broker here is opened.
pub const START_MS: u64 = 1_700_000_000_000;
pub const MINUTE_MS: u64 = 60_000;
const SERIES: [&str; 3] = ["", "P", "X"];
const NAMES: [(&str, &str); 5] =
    [("Draw", ""), ("Draw", "2"), ("Cut", "1.0"), ("Gift", ""), ("Rare", "")];
const RATES: [&str; 8] = ["0", "0.3", "1", "2", "3", "7", "1.000000001", "0.000000001"];
/// What some items cost instead: with `a` and `b` from below, mostly a small rate.
const FORMULAS: [&str; 7] = [
    "a",
    "CEILING.MATH(A * 1.2) + b",
    "MAX(a, 2) ^ 0.5",
    "a / b",
    "ROUND(7 / (a + 1), 2)",
    "POWER(b, 2) + 0.25",
    "1 / 3",
];
const VALUES: [&str; 12] =
    ["0", "0.5", "1", "2", "2.5", "3", "0.000000001", "-1", "4", "1.5", "1", "2"];
const COUNTS: [&str; 8] = ["1", "2", "3", "0.5", "2.5", "10", "0.333333333", "7"];
const ACTIVATIONS: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "K", "L"];

const KEYS: [&str; 2] = ["department", "region"];
const SAID: [&str; 3] = ["A", "B", "C"];

/// Callers mostly use the newest sessions: older ones have ended.
const RECENT: usize = 10;

/// What a caller asks.
#[derive(Clone, Debug)]
pub enum Call {
    Access(InstanceId, Vec<Item>),
    CreateSession(InstanceId),
    PutSession(SessionId, Vec<Item>, OnDeny),
    Quote(InstanceId, Vec<Item>),
    QuoteSession(SessionId, Vec<Item>, OnDeny),
    CloseSession(SessionId),
    Heartbeat(SessionId),
    MapLineItem(InstanceId, String, Terms),
    DeleteLineItem(InstanceId, String),
    Publish(RateTable),
    DeleteTable(String, String),
    /// Another condition, or another rule for one; by dice of this seed.
    Condition(InstanceId, u64),
    DeleteConditions(InstanceId),
    /// Other actions; by dice of this seed.
    Actions(InstanceId, String, u64),
    LineItems(InstanceId),
    Session(SessionId),
    Under(Box<Ask>),
}

impl Call {
    /// The same as a quote, if it is an access request.
    fn quoted(&self) -> Option<Call> {
        if let Call::Access(instance, items) = self {
            return Some(Call::Quote(*instance, items.clone()));
        }
        let Call::PutSession(id, items, on_deny) = self else { return None };
        Some(Call::QuoteSession(*id, items.clone(), *on_deny))
    }
}

/// What a caller is told.
#[derive(Clone, Debug)]
pub enum Told {
    Access(AccessAnswer),
    Created(SessionId),
    Done,
    LineItem(LineItemView),
    LineItems(Vec<LineItemView>),
    Session(SessionView),
    Sent(Sent),
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered(Told, Sequence),
    Failed(BrokerError),
    /// The caller hung up, or its own task met a panic.
    Vanished,
}

/// One call, from beginning to end.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Stands in its record, where a record has room for it.
    pub tag: String,
    pub call: Call,
    pub outcome: Outcome,
    /// Places in one order of all beginnings and endings.
    pub began: u64,
    pub ended: u64,
    /// What was durable at the beginning, and appended at the end.
    pub durable_before: Sequence,
    pub last_after: Sequence,
    pub clock_after: u64,
}

/// What all callers share.
pub struct Crowd {
    pub broker: Broker,
    pub clock: Arc<ManualClock>,
    pub instances: Vec<InstanceId>,
    /// Where there is one, some calls come under keys.
    pub door: Option<Door>,
    sessions: Mutex<Vec<SessionId>>,
    moments: AtomicU64,
    attempts: Mutex<Vec<Attempt>>,
}

impl Crowd {
    pub fn new(broker: Broker, clock: Arc<ManualClock>, instances: Vec<InstanceId>) -> Crowd {
        let (sessions, attempts) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let moments = AtomicU64::new(0);
        Crowd { broker, clock, instances, door: None, sessions, moments, attempts }
    }

    /// Tells it of sessions that exist already.
    pub fn remember(&self, sessions: impl IntoIterator<Item = SessionId>) {
        self.sessions.lock().expect("nobody panics with it").extend(sessions);
    }

    /// Everything that was attempted; the callers must have come to their ends.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("nobody panics with it").clone()
    }

    /// One caller: so many calls, one after the other; some are dropped half-way.
    pub async fn caller(self: Arc<Crowd>, mut dice: Dice, name: usize, calls: usize) {
        for number in 0..calls {
            if dice.chance(30) {
                self.clock.advance(dice.below(3 * MINUTE_MS));
            }
            let tag = format!("{name}.{number}");
            let call = self.any_call(&mut dice);
            if let Some(quote) = call.quoted()
                && dice.chance(20)
            {
                self.attempt(format!("{tag}.quote"), quote, None).await;
            }
            let call = match &self.door {
                Some(door) if dice.chance(25) => door.keyed(call, &tag, &self.instances, &mut dice),
                Some(_) | None => call,
            };
            let patience = if dice.chance(10) { Some(dice.below(8)) } else { None };
            self.attempt(tag, call, patience).await;
        }
    }

    /// Makes a call; with `patience`, hangs up after so many turns of the runtime.
    pub async fn attempt(self: &Arc<Crowd>, tag: String, call: Call, patience: Option<u64>) {
        let durable_before = self.broker.journal().durable();
        let began = self.moments.fetch_add(1, Ordering::SeqCst);
        let performing = tokio::spawn(perform(self.broker.clone(), call.clone(), tag.clone()));
        if let Some(turns) = patience {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            performing.abort();
        }
        let outcome = match performing.await {
            Ok(Ok((told, sequence))) => Outcome::Answered(told, sequence),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Vanished,
        };
        let ended = self.moments.fetch_add(1, Ordering::SeqCst);
        let (last_after, clock_after) = (self.broker.journal().last(), self.clock.ms());
        if let Outcome::Answered(Told::Created(id), _) = outcome {
            self.sessions.lock().expect("nobody panics with it").push(id);
        }
        let attempt =
            Attempt { tag, call, outcome, began, ended, durable_before, last_after, clock_after };
        self.attempts.lock().expect("nobody panics with it").push(attempt);
    }

    pub fn any_call(&self, dice: &mut Dice) -> Call {
        let instance = *dice.pick(&self.instances);
        let session = self.any_session(dice);
        match (dice.below(100), session) {
            (0..=39, _) => Call::Access(instance, any_items(dice)),
            (40..=59, Some(session)) => {
                let on_deny = *dice.pick(&[OnDeny::RollBack, OnDeny::RollBack, OnDeny::Terminate]);
                let items = if dice.chance(15) { Vec::new() } else { any_items(dice) };
                Call::PutSession(session, items, on_deny)
            }
            (60..=64, Some(session)) => Call::CloseSession(session),
            (65..=67, Some(session)) => Call::Heartbeat(session),
            (40..=67, None) | (68..=74, _) => Call::CreateSession(instance),
            (75..=85, _) => {
                let activation = (*dice.pick(&ACTIVATIONS)).to_owned();
                Call::MapLineItem(instance, activation, any_terms(dice, self.clock.ms()))
            }
            (86..=88, _) => Call::DeleteLineItem(instance, (*dice.pick(&ACTIVATIONS)).to_owned()),
            (89..=91, _) => Call::Publish(any_table(dice, self.clock.ms())),
            (92, _) => {
                Call::DeleteTable((*dice.pick(&SERIES)).to_owned(), dice.below(6).to_string())
            }
            (93, _) => Call::Condition(instance, dice.below(u64::MAX)),
            (94, _) if dice.chance(20) => Call::DeleteConditions(instance),
            (94..=95, _) => {
                let activation = (*dice.pick(&ACTIVATIONS)).to_owned();
                Call::Actions(instance, activation, dice.below(u64::MAX))
            }
            (96, Some(session)) => Call::Session(session),
            (_, _) => Call::LineItems(instance),
        }
    }

    fn any_session(&self, dice: &mut Dice) -> Option<SessionId> {
        let sessions = self.sessions.lock().expect("nobody panics with it");
        let recent = sessions.get(sessions.len().saturating_sub(RECENT)..).unwrap_or_default();
        if recent.is_empty() { None } else { Some(*dice.pick(recent)) }
    }
}

/// A broker with three instances, some price lists and few tokens.
pub async fn prepare(broker: &Broker, dice: &mut Dice) -> Vec<InstanceId> {
    let mut instances = Vec::new();
    for account in ["Acme", "Acme", "Other"] {
        let name = product::text("short");
        let created = broker.create_instance(name, product::text(account)).await;
        instances.push(created.expect("it is created").value.id);
    }
    for series in ["", "P", "X"] {
        let (series, version) = (series.to_owned(), "first".to_owned());
        let effective_from = START_MS - MINUTE_MS;
        let table = RateTable { series, version, effective_from, ..any_table(dice, START_MS) };
        broker.publish_rate_table(product::new_table(&table)).await.expect("it is published");
    }
    let activations = [["A", "B", "C"], ["D", "E", "F"], ["G", "H", "K"]];
    for (instance, activations) in instances.iter().zip(activations) {
        for activation in activations {
            let state = LineItemState::Deployed;
            let terms = Terms { state, ..any_terms(dice, START_MS) };
            let terms = product::new_terms(activation, &terms, "");
            broker.map_line_item(product::scope(*instance), terms).await.expect("it is mapped");
        }
    }
    instances
}

async fn perform(broker: Broker, call: Call, tag: String) -> Result<(Told, Sequence), BrokerError> {
    let everywhere = Reach::Everywhere;
    Ok(match call {
        Call::Under(ask) => ask.send().await?,
        Call::Access(instance, items) => {
            let answer = broker.access(product::scope(instance), request(&tag, &items)).await?;
            (Told::Access(answer.value), answer.sequence)
        }
        Call::Quote(instance, items) => {
            let answer = broker.quote(product::scope(instance), request(&tag, &items)).await?;
            (Told::Access(answer.value), answer.sequence)
        }
        Call::CreateSession(instance) => {
            let answer = broker.create_session(product::scope(instance)).await?;
            (Told::Created(answer.value), answer.sequence)
        }
        Call::PutSession(session, items, on_deny) => {
            let (id, on_deny) = (session.to_string(), product::on_deny(on_deny));
            let request = request(&tag, &items);
            let answer = broker.session_access(everywhere, &id, request, on_deny).await?;
            (Told::Access(answer.value), answer.sequence)
        }
        Call::QuoteSession(session, items, on_deny) => {
            let (id, on_deny) = (session.to_string(), product::on_deny(on_deny));
            let request = request(&tag, &items);
            let answer = broker.quote_session(everywhere, &id, request, on_deny).await?;
            (Told::Access(answer.value), answer.sequence)
        }
        Call::CloseSession(session) => {
            let answer = broker.close_session(everywhere, &session.to_string()).await?;
            (Told::Done, answer.sequence)
        }
        Call::Heartbeat(session) => {
            let answer = broker.heartbeat(everywhere, &session.to_string()).await?;
            (Told::Done, answer.sequence)
        }
        Call::MapLineItem(instance, activation, terms) => {
            let terms = product::new_terms(&activation, &terms, &tag);
            let answer = broker.map_line_item(product::scope(instance), terms).await?;
            (Told::LineItem(answer.value), answer.sequence)
        }
        Call::DeleteLineItem(instance, activation) => {
            let answer = broker.delete_line_item(product::scope(instance), &activation).await?;
            (Told::Done, answer.sequence)
        }
        Call::Publish(table) => {
            let answer = broker.publish_rate_table(product::new_table(&table)).await?;
            (Told::Done, answer.sequence)
        }
        Call::DeleteTable(series, version) => {
            let (series, version) = (product::text(&series), product::text(&version));
            let answer = broker.delete_rate_table(series, version).await?;
            (Told::Done, answer.sequence)
        }
        Call::Condition(instance, seed) => {
            let told = set_condition(&broker, instance, &mut Dice::new(seed)).await?;
            (Told::Done, told)
        }
        Call::DeleteConditions(instance) => {
            let answer = broker.delete_conditions(product::scope(instance), None).await?;
            (Told::Done, answer.sequence)
        }
        Call::Actions(instance, activation, seed) => {
            let told = set_actions(&broker, instance, &activation, &mut Dice::new(seed)).await?;
            (Told::Done, told)
        }
        Call::LineItems(instance) => {
            let answer = broker.line_items(product::scope(instance)).await?;
            (Told::LineItems(answer.value), answer.sequence)
        }
        Call::Session(session) => {
            let answer = broker.session(everywhere, &session.to_string()).await?;
            (Told::Session(answer.value), answer.sequence)
        }
    })
}

fn request(tag: &str, items: &[Item]) -> Arc<AccessRequest> {
    product::request_of(tag, &tagged_who(tag), items).expect("valid counts")
}

/// The same tag is always the same requester.
pub fn tagged_who(tag: &str) -> Who {
    let seed = tag.bytes().fold(7, |seed, byte| super::dice::mixed(seed ^ u64::from(byte)));
    any_who(&mut Dice::new(seed))
}

/// Somebody, or nobody in particular.
pub fn any_who(dice: &mut Dice) -> Who {
    let mut who = Who::new();
    for key in KEYS {
        for value in SAID {
            if dice.chance(30) {
                who.entry(key.to_owned()).or_default().insert(value.to_owned());
            }
        }
    }
    who
}

/// Adds a condition or changes the rule of one.
pub async fn set_condition(
    broker: &Broker,
    instance: InstanceId,
    dice: &mut Dice,
) -> Result<Sequence, BrokerError> {
    let clause = |dice: &mut Dice| model::Clause {
        key: (*dice.pick(&KEYS)).to_owned(),
        is_in: dice.chance(60),
        values: SAID.iter().filter(|_| dice.chance(40)).map(|v| (*v).to_owned()).collect(),
    };
    let clauses = (0..=dice.below(3)).map(|_| clause(dice)).collect();
    let rule = product::rule(&model::Rule { any: dice.chance(50), clauses });
    let known = broker.conditions(product::scope(instance)).await?.value;
    let changes = known.len() > 3 || (!known.is_empty() && dice.chance(50));
    let id = changes.then(|| dice.pick(&known).id);
    let new = NewCondition { id, name: product::text("condition"), rule };
    let told = broker.set_conditions(product::scope(instance), vec![new]).await?;
    Ok(told.sequence)
}

/// Replaces the actions of a line item: some stay, in another order, some are new.
pub async fn set_actions(
    broker: &Broker,
    instance: InstanceId,
    activation: &str,
    dice: &mut Dice,
) -> Result<Sequence, BrokerError> {
    let scope = product::scope(instance);
    let conditions = broker.conditions(scope).await?.value;
    let current = broker.line_item(scope, activation).await?.value.line_item;
    let mut ids: Vec<_> = current.actions.iter().map(|action| Some(action.id)).collect();
    ids.retain(|_| dice.chance(70));
    ids.extend((0..dice.below(3)).map(|_| None));
    if dice.chance(50) {
        ids.reverse();
    }
    let mut actions: Vec<NewAction> = Vec::new();
    for id in ids {
        let has_default = actions.iter().any(|action| action.condition.is_none());
        let is_default = !has_default && (conditions.is_empty() || dice.chance(40));
        let condition = match is_default {
            true => None,
            false if conditions.is_empty() => continue,
            false => Some(dice.pick(&conditions).id),
        };
        let allocation = Tokens::whole(dice.below(60));
        let effect = match dice.below(10) {
            0 | 1 => Effect::Deny,
            2..=5 if is_default => Effect::Allow(None),
            _ => Effect::Allow(Some(allocation)),
        };
        actions.push(NewAction { id, name: product::text("action"), condition, effect });
    }
    let told = broker.change_actions(scope, activation, ActionsChange::Replace(actions)).await?;
    Ok(told.sequence)
}

/// One to four items, of which some exist nowhere and some cost nothing.
pub fn any_items(dice: &mut Dice) -> Vec<Item> {
    let many = 1 + dice.below(4).min(dice.below(4));
    let item = |dice: &mut Dice| {
        let (name, version): (&str, &str) = *dice.pick(&NAMES);
        let count: &&str = dice.pick(&COUNTS);
        Item { variables: any_variables(dice), ..Item::new(name, version, count) }
    };
    (0..many).map(|_| item(dice)).collect()
}

/// Mostly what every formula needs.
fn any_variables(dice: &mut Dice) -> Variables {
    let names = [("A", "b"), ("a", "B"), ("a", "b"), ("b", "a")];
    let (one, other) = *dice.pick(&names);
    let value = |dice: &mut Dice| {
        let value: &&str = dice.pick(&VALUES);
        decimal(value)
    };
    let mut all = vec![(one.to_owned(), value(dice)), (other.to_owned(), value(dice))];
    if dice.chance(4) {
        all.truncate(dice.below(2).try_into().expect("small"));
    }
    all
}

/// Few tokens, so that they run out; some with an overdraft, some outside their window.
pub fn any_terms(dice: &mut Dice, now: u64) -> Terms {
    let state = match dice.below(10) {
        0 => LineItemState::Inactive,
        1 | 2 => LineItemState::Obsolete,
        _ => LineItemState::Deployed,
    };
    let overdraft = match dice.below(8) {
        0 | 1 => Overdraft::Number(i64::try_from(dice.below(12)).expect("small")),
        2 => Overdraft::Unlimited,
        _ => Overdraft::None,
    };
    let minutes = |number: u64| number * MINUTE_MS;
    Terms {
        state,
        quantity: i64::try_from(1 + dice.below(80)).expect("small"),
        start: now + minutes(30) - minutes(30 + dice.below(4) * 15) + minutes(dice.below(12) / 11),
        end: now + minutes(60 * (1 + dice.below(6))),
        elastic: !dice.chance(4),
        series: (*dice.pick(&SERIES)).to_owned(),
        overdraft,
    }
}

/// A new price list for one of the series; its version may exist already.
pub fn any_table(dice: &mut Dice, now: u64) -> RateTable {
    let mut items = Vec::new();
    for (name, version) in NAMES.iter().take(4) {
        if dice.chance(95) {
            let (name, version) = ((*name).to_owned(), (*version).to_owned());
            let (rate, formula): (&&str, &&str) = (dice.pick(&RATES), dice.pick(&FORMULAS));
            let price = match dice.chance(25) {
                true => Price::Formula((*formula).to_owned()),
                false => Price::Rate(decimal(rate)),
            };
            items.push(RatedItem { name, version, price });
        }
    }
    if items.is_empty() {
        let name = "Draw".to_owned();
        items.push(RatedItem { name, version: String::new(), price: Price::Rate(decimal("1")) });
    }
    RateTable {
        series: (*dice.pick(&SERIES)).to_owned(),
        version: dice.below(6).to_string(),
        effective_from: now + dice.below(40) * MINUTE_MS - 25 * MINUTE_MS,
        items,
    }
}
