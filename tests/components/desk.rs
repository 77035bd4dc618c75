//! A stage for the stories: the library, on one thread, with time that stands still unless moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use farebox::auth::{Principal, Scope};
use farebox::broker::{
    Answer, BeginSession, Broker, LeaseAnswer, LicenseChange, Options, ProductChange, Reach,
    Registration, Storage, WaiterView,
};
use farebox::config::Settings;
use farebox::domain::charge::Verdict;
use farebox::domain::components::{
    self, Component, Identity, IdentityValue, Installation, LicenseModel, LicenseTerms, Term, User,
    Who,
};
use farebox::domain::ids::{InstallationId, SessionId, Text, UserId};
use farebox::domain::line_item::{LineItemState, Terms};
use farebox::domain::refusal::Refusal;
use farebox::domain::session::OnDeny;
use farebox::domain::time::Timestamp;
use farebox::error::BrokerError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};

use crate::common::env::{ManualClock, SeededIds, settings};
use crate::common::model::{Item, RateTable};
use crate::common::product::{self, text};
use crate::common::script::rated;
use crate::script::{COMPONENTS, Command, Pool, Stage, entitlements, moment, ms, term};

pub(crate) const PRODUCT: &str = "product";
pub(crate) const LICENSE: &str = "LICENSE-1";

/// The library, set for a story.
pub(crate) struct Desk {
    pub(crate) runtime: Runtime,
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) scope: Scope,
    pub(crate) client: Principal,
    pub(crate) program: (InstallationId, UserId),
    sessions: BTreeMap<String, SessionId>,
    waiting: BTreeMap<String, JoinHandle<Answer<LeaseAnswer>>>,
}

/// Segments long enough for many calls in a short time: with none ready, charges are refused.
pub(crate) fn roomy() -> Settings {
    Settings { segment_bytes: 1 << 20, ..settings() }
}

pub(crate) fn options(storage: Storage, clock: &Arc<ManualClock>, seed: u64) -> Options {
    let clock = Arc::clone(clock) as _;
    Options { storage, settings: roomy(), clock, ids: Arc::new(SeededIds::new(seed)) }
}

impl Desk {
    /// A broker in memory, with the licence of a story.
    pub(crate) fn open(license: &Command) -> Desk {
        Desk::open_on(Storage::Memory, license)
    }

    pub(crate) fn open_on(storage: Storage, license: &Command) -> Desk {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let clock = Arc::new(ManualClock::at(term().0));
        let opened = runtime.block_on(Broker::open(options(storage, &clock, 1)));
        let broker = opened.expect("it opens").broker;
        let (scope, program) = runtime.block_on(set_up(&broker, license));
        let desk = Desk {
            runtime,
            broker,
            clock,
            scope,
            client: Principal::administration(),
            program,
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        entitlements().iter().for_each(|entitlement| {
            assert_eq!(desk.entitle(entitlement), "ok");
        });
        desk
    }

    pub(crate) fn key(&self, name: &str) -> String {
        self.sessions.get(name).map_or(name.to_owned(), SessionId::to_string)
    }

    fn entitle(&self, command: &Command) -> String {
        let Command::Entitle { id, pool, components } = command else {
            panic!("not an entitlement: {command:?}")
        };
        let pool = match pool {
            Pool::Own { tokens, seats } => {
                components::Pool::Own { tokens: *tokens, sessions: *seats }
            }
            Pool::Line(line) => components::Pool::LineItem { activation_id: text(line) },
        };
        let change = LicenseChange::SaveEntitlement {
            license: text(LICENSE),
            id: text(id),
            components: texts(components),
            pool,
        };
        told(&self.runtime.block_on(self.broker.change_license(self.scope, change)))
    }

    /// What a session begins with.
    pub(crate) fn beginning(&self, duration_s: Option<u64>) -> BeginSession {
        BeginSession {
            product: text(PRODUCT),
            installation: self.program.0,
            identity: None,
            who: Who::Id(self.program.1),
            version: text("1.0"),
            duration_s,
        }
    }

    fn begun(&mut self, name: &str, answer: Answer<LeaseAnswer>) -> Result<LeaseAnswer, String> {
        match answer {
            Ok(receipt) => {
                self.sessions.insert(name.to_owned(), receipt.value.session_id);
                Ok(receipt.value)
            }
            Err(error) => Err(refused(&error)),
        }
    }

    fn status(&self, name: &str) -> Result<LeaseAnswer, String> {
        let key = self.key(name);
        let answer = self.runtime.block_on(self.broker.components_status(&self.client, &key));
        answer.map(|receipt| receipt.value).map_err(|error| refused(&error))
    }

    /// Lets everything happen that happens by itself at this moment: until everybody who has no
    /// answer yet stands in line.
    fn settle(&self) {
        self.runtime.block_on(async {
            for _ in 0..50_000 {
                let _ = self.broker.catch_up().await; // Of one that has stopped, nothing comes.
                let waiters = self.broker.waiters(LICENSE).await;
                let waiters = waiters.map_or(Vec::new(), |receipt| receipt.value);
                let unanswered = self.waiting.values().filter(|waiting| !waiting.is_finished());
                if unanswered.count() == in_line(&waiters) {
                    return;
                }
                yield_now().await;
            }
            panic!("somebody has no answer and does not stand in line");
        });
    }

    fn told(&mut self, ticket: &str) -> String {
        self.settle();
        let waiting = self.waiting.get(ticket).expect("it waits");
        if !waiting.is_finished() {
            return "waiting".to_owned();
        }
        let waiting = self.waiting.remove(ticket).expect("it waits");
        match self.runtime.block_on(waiting).expect("it comes to its end") {
            Err(error @ (BrokerError::Stopping | BrokerError::LineFull { .. })) => {
                error.code().to_owned()
            }
            answer => lease(answer),
        }
    }

    fn line(&self, id: &str, quantity: u64, state: &str) -> String {
        let (start, end) = term();
        let (start, end) = (Timestamp::from_ms(start), Timestamp::from_ms(end));
        let state = LineItemState::parse(state).expect("a state");
        let terms = Terms { state, ..Terms::new(text(id), quantity, start, end) };
        told(&self.runtime.block_on(self.broker.map_line_item(self.scope, terms)))
    }
}

impl Stage for Desk {
    fn at(&mut self, ms: u64) {
        self.clock.set(ms);
    }

    fn run(&mut self, command: &Command) -> String {
        let (broker, client) = (self.broker.clone(), self.client.clone());
        match command {
            Command::License { .. } => unreachable!("a story begins with it"),
            Command::Begin { name, duration_s } => {
                let begin = self.beginning(*duration_s);
                let answer = self.runtime.block_on(broker.begin_session(&client, begin));
                self.begun(name, answer).map_or_else(|refused| refused, |_| "ok".to_owned())
            }
            Command::Away { name, duration_s, of } => {
                let begin = self.beginning(Some(*duration_s));
                let of = of.as_ref().map(|of| self.key(of));
                let call = broker.check_out_license(&client, begin, of.as_deref());
                let answer = self.runtime.block_on(call);
                self.begun(name, answer).map_or_else(
                    |refused| refused,
                    |answer| {
                        let offline = answer.lease.offline.as_ref().expect("it is taken out");
                        format!("until {}", moment(offline.expires.as_ms()))
                    },
                )
            }
            Command::Extend { name, duration_s } => {
                let key = self.key(name);
                lease(self.runtime.block_on(broker.extend_session(&client, &key, *duration_s)))
            }
            Command::End { name } => {
                let key = self.key(name);
                lease(self.runtime.block_on(broker.end_session(&client, &key, false)))
            }
            Command::Back { name } => {
                let key = self.key(name);
                lease(self.runtime.block_on(broker.end_session(&client, &key, true)))
            }
            Command::Revoke { name } => {
                let key = self.key(name);
                lease(self.runtime.block_on(broker.revoke_session(LICENSE, &key)))
            }
            Command::Out { name, components } => {
                let (key, components) = (self.key(name), texts(components));
                lease(self.runtime.block_on(broker.check_out(&client, &key, components, 0)))
            }
            Command::Wait { ticket, name, seconds, components } => {
                let (key, components) = (self.key(name), texts(components));
                let seconds = *seconds;
                let waiting = self.runtime.spawn(async move {
                    broker.check_out(&client, &key, components, seconds).await
                });
                self.waiting.insert(ticket.clone(), waiting);
                self.told(ticket)
            }
            Command::Told { ticket } => self.told(ticket),
            Command::Leave { ticket } => {
                self.waiting.remove(ticket).expect("it waits").abort();
                self.settle();
                "ok".to_owned()
            }
            Command::Waiters => {
                let waiters = self.runtime.block_on(broker.waiters(LICENSE));
                let names = self.sessions.iter().map(|(name, id)| (*id, name.clone()));
                let names: BTreeMap<SessionId, String> = names.collect();
                let shown = waiters.expect("it is answered").value.into_iter().map(|waiter| {
                    let name = names.get(&waiter.session_id).expect("it has a name");
                    let amount = waiter.tokens.map_or("seat".to_owned(), |all| all.to_string());
                    let pool = waiter.pool.as_str();
                    let pool = pool.strip_prefix("LICENSE-1/").unwrap_or(pool);
                    format!("{name} {} {pool} {amount}", waiter.component)
                });
                let shown = shown.collect::<Vec<_>>().join(", ");
                if shown.is_empty() { "nobody".to_owned() } else { shown }
            }
            Command::Stop => {
                self.runtime.block_on(broker.close()).expect("it stops");
                "ok".to_owned()
            }
            Command::In { name, components } => {
                let (key, components) = (self.key(name), texts(components));
                lease(self.runtime.block_on(broker.check_in(&client, &key, components)))
            }
            Command::See { name, entitlement } => self
                .status(name)
                .map_or_else(|refused| refused, |answer| seen(&answer, entitlement)),
            Command::Size { name, entitlement } => self.status(name).map_or_else(
                |refused| refused,
                |answer| {
                    let found = found(&answer, entitlement);
                    let shown = |limit: Option<String>| limit.unwrap_or("null".to_owned());
                    let tokens = shown(found.tokens_entitled.map(|tokens| tokens.to_string()));
                    let seats = shown(found.sessions_entitled.map(|seats| seats.to_string()));
                    format!("{tokens} {seats}")
                },
            ),
            Command::List { name } => {
                self.status(name).map_or_else(|refused| refused, |answer| listed(&answer))
            }
            Command::Entitle { .. } => self.entitle(command),
            Command::Line { id, quantity, state } => self.line(id, *quantity, state),
            Command::Access { count } => {
                let answer = self.runtime.block_on(broker.access(self.scope, draw(*count)));
                granted(answer.expect("it is answered").value.verdicts())
            }
            Command::Session { name, count } => {
                let created = self.runtime.block_on(broker.create_session(self.scope));
                let id = created.expect("it is created").value;
                self.sessions.insert(name.clone(), id);
                let id = id.to_string();
                let call =
                    broker.session_access(Reach::Everywhere, &id, draw(*count), OnDeny::Rollback);
                granted(self.runtime.block_on(call).expect("it is answered").value.verdicts())
            }
            Command::Close { name } => {
                let key = self.key(name);
                told(&self.runtime.block_on(broker.close_session(Reach::Everywhere, &key)))
            }
            Command::Balance { id } => {
                let view = self.runtime.block_on(broker.line_item(self.scope, id));
                let balance = view.expect("it is there").value.balance;
                format!("{} {}", balance.used, balance.held)
            }
        }
    }
}

/// An instance, table P, the product, the licence, and an installation with its user.
pub(crate) async fn set_up(
    broker: &Broker,
    license: &Command,
) -> (Scope, (InstallationId, UserId)) {
    let created = broker.create_instance(text("short"), text("Acme")).await;
    let scope = product::scope(created.expect("it is created").value.id);
    let table = RateTable {
        series: String::new(),
        version: "1".to_owned(),
        effective_from: term().0,
        items: vec![rated("Draw=1")],
    };
    broker.publish_rate_table(product::new_table(&table)).await.expect("it is published");
    let save = ProductChange::Save { guid: text(PRODUCT), name: text("A program") };
    broker.change_product(save).await.expect("it is saved");
    for (name, model, price, trial) in COMPONENTS {
        let component = Component {
            name: text(name),
            place: 0,
            model: LicenseModel::parse(model).expect("a model"),
            price: price.to_string().parse().expect("a rate"),
            trial_until: trial.map(|until| Timestamp::from_ms(ms(until))),
        };
        let save = ProductChange::SaveComponent { product: text(PRODUCT), component };
        broker.change_product(save).await.expect("it is saved");
    }
    let Command::License { sessions, duration_s } = license else {
        panic!("not a licence: {license:?}")
    };
    let (start, end) = term();
    let terms = LicenseTerms {
        product: text(PRODUCT),
        terms: vec![Term { start: Timestamp::from_ms(start), end: Timestamp::from_ms(end) }],
        concurrent_sessions: *sessions,
        features: vec![text("dark mode")],
        session_duration_s: *duration_s,
        grace_period_s: 3_600,
    };
    let save = LicenseChange::Save { key: text(LICENSE), terms };
    broker.change_license(scope, save).await.expect("it is saved");
    let registered = register(broker, "host", 1).await;
    (scope, registered)
}

/// Registers an installation on this machine, with a user of its own.
pub(crate) async fn register(
    broker: &Broker,
    host: &str,
    number: u128,
) -> (InstallationId, UserId) {
    let user = User {
        id: UserId::from_u128(number),
        identity: vec![(text("login"), text(&format!("user of {host}")))],
    };
    let pairs = [(text("host"), IdentityValue::new(vec![text(host)]))].into();
    let installation = Installation {
        id: InstallationId::from_u128(number),
        identity: Identity { version: 1, mismatches_max: 0, pairs },
        user: user.id,
    };
    let registration = Registration { license: text(LICENSE), installation, user };
    let caller = Principal::administration();
    let product = text(PRODUCT);
    let registered = broker.register_installation(&caller, &product, registration).await;
    let registered = registered.expect("it is registered").value;
    (registered.installation, registered.user)
}

/// How many wait in line: each is shown once for every pool that it wants something of.
fn in_line(waiters: &[WaiterView]) -> usize {
    let mut shown: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
    for WaiterView { session_id, since, component, pool, .. } in waiters {
        let of_one = shown.entry((session_id, since)).or_default();
        *of_one.entry((component.as_str(), pool.as_str())).or_default() += 1;
    }
    shown.values().filter_map(|of_one| of_one.values().max()).sum()
}

pub(crate) fn texts(names: &[String]) -> Vec<Text> {
    names.iter().map(|name| text(name)).collect()
}

fn draw(count: u64) -> Arc<farebox::domain::request::AccessRequest> {
    let item = Item::new("Draw", "", &count.to_string());
    product::request("story", &[item]).expect("a good request")
}

fn granted(verdicts: &[Verdict]) -> String {
    let all = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Granted(_)));
    if all { "granted".to_owned() } else { "denied".to_owned() }
}

/// What a refusal says.
pub(crate) fn refused(error: &BrokerError) -> String {
    let BrokerError::Refused(refusal, _) = error else { panic!("not a refusal: {error}") };
    format!("{} {refusal}", Refusal::code(refusal))
}

fn told<T>(answer: &Answer<T>) -> String {
    answer.as_ref().map_or_else(refused, |_| "ok".to_owned())
}

/// What an answer comes to: a denial is one too.
pub(crate) fn lease(answer: Answer<LeaseAnswer>) -> String {
    match answer {
        Ok(receipt) => match receipt.value.denied {
            None => "ok".to_owned(),
            Some(denied) => format!("{} {denied}", denied.symbol()),
        },
        Err(error) => refused(&error),
    }
}

fn found<'a>(answer: &'a LeaseAnswer, id: &str) -> &'a components::EntitlementStanding {
    let mut all = answer.standing.entitlements.iter();
    all.find(|all| all.entitlement.id.as_str() == id).expect("it is there")
}

fn seen(answer: &LeaseAnswer, id: &str) -> String {
    let found = found(answer, id);
    let here = if found.in_use_by_session { "yes" } else { "no" };
    let (all, own) = (found.tokens_in_use, found.tokens_in_use_by_session);
    format!("{all} {own} {} {here}", found.sessions_in_use)
}

fn listed(answer: &LeaseAnswer) -> String {
    let shown = |component: &Arc<Component>| {
        let (now, full) = (component.price_at(answer.at), component.full_price());
        let trial = if component.is_on_trial(answer.at) { " trial" } else { "" };
        format!("{} {now}/{full}{trial}", component.name)
    };
    answer.standing.components.iter().map(shown).collect::<Vec<_>>().join(", ")
}
