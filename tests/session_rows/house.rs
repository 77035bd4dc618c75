//! A broker with one instance and sessions in it, under a clock that only the test moves.

use std::future::ready;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use farebox::auth::Scope;
use farebox::broker::{AccessAnswer, Answer, Broker, Options, Reach, Storage};
use farebox::config::Settings;
use farebox::domain::charge::Refund;
use farebox::domain::event::{Decision, Event, Record};
use farebox::domain::ids::Sequence;
use farebox::domain::session::{OnDeny, Pacing};
use farebox::error::BrokerError;
use farebox::journal::format;
use tokio::runtime::{Builder, Runtime};

use crate::common::crowd::{MINUTE_MS, START_MS};
use crate::common::env::{self, ManualClock, SeededIds};
use crate::common::model::amount::floor_6;
use crate::common::model::{Amount, Item, RateTable, whole};
use crate::common::{product, script};

/// The automatic charge interval where nobody has changed it.
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const THIRTY_DAYS_MS: u64 = 30 * 24 * HOUR_MS;

pub(crate) fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime")
}

pub(crate) fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Segments long enough for many calls in a short time: with none ready, charges are refused.
pub(crate) fn settings() -> Settings {
    Settings { segment_bytes: 1 << 20, ..env::settings() }
}

/// Lets a future come as far as it gets at once: what it answers, if it does not have to wait.
pub(crate) async fn begin<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> Option<T> {
    tokio::select! {
        biased;
        answer = future => Some(answer),
        () = ready(()) => None,
    }
}

/// A broker, and an instance priced by table P: PhotoPrint = 3, CADPrint = 7.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) scope: Scope,
}

impl House {
    /// In memory, with line item L of a million tokens.
    pub(crate) async fn open() -> House {
        let house = House::with(Storage::Memory, START_MS, settings()).await;
        house.line_item("L", &["quantity=1000000"]).await;
        house
    }

    /// Without a line item.
    pub(crate) async fn with(storage: Storage, now: u64, settings: Settings) -> House {
        let (broker, clock) = opened(storage, now, settings).await;
        let created = broker.create_instance(product::text("short"), product::text("Acme")).await;
        let scope = product::scope(created.expect("it is created").value.id);
        let house = House { broker, clock, scope };
        house.publish("1", now, "PhotoPrint=3 CADPrint=7").await;
        house
    }

    /// What a start makes of what is left at this time.
    pub(crate) async fn again(&self, storage: Storage) -> House {
        let (broker, clock) = opened(storage, self.clock.ms(), settings()).await;
        House { broker, clock, scope: self.scope }
    }

    pub(crate) async fn publish(&self, version: &str, effective_from: u64, prices: &str) {
        let items = prices.split(' ').map(script::rated).collect();
        let (series, version) = ("P".to_owned(), version.to_owned());
        let table = RateTable { series, version, effective_from, items };
        self.broker.publish_rate_table(product::new_table(&table)).await.expect("it is published");
    }

    /// Terms as in the worked examples; valid at any time unless said.
    pub(crate) async fn line_item(&self, activation: &str, words: &[&str]) {
        let mut terms = script::terms(words);
        terms.start = 0;
        let terms = product::new_terms(activation, &terms, "");
        self.broker.map_line_item(self.scope, terms).await.expect("it is mapped");
    }

    pub(crate) async fn session(&self) -> String {
        self.broker.create_session(self.scope).await.expect("it is created").value.to_string()
    }

    /// Items as in the worked examples, such as `10xPhotoPrint`; none halts. A denial changes
    /// nothing.
    pub(crate) async fn put(&self, session: &str, items: &str) -> Answer<AccessAnswer> {
        let items: Vec<Item> = items.split_whitespace().map(script::item).collect();
        let request = product::request("somebody", &items).expect("valid counts");
        self.broker.session_access(Reach::Everywhere, session, request, OnDeny::Rollback).await
    }

    pub(crate) async fn beat(&self, session: &str) -> Answer<Pacing> {
        self.broker.heartbeat(Reach::Everywhere, session).await
    }

    pub(crate) async fn close(&self, session: &str) -> Answer<Pacing> {
        self.broker.close_session(Reach::Everywhere, session).await
    }

    /// Its state, or the code of the refusal to show it.
    pub(crate) async fn state(&self, session: &str) -> &'static str {
        match self.broker.session(Reach::Everywhere, session).await {
            Ok(view) => view.value.session.state_name(),
            Err(error) => error.code(),
        }
    }

    pub(crate) async fn used(&self, activation: &str) -> Amount {
        let view = self.broker.line_item(self.scope, activation).await.expect("it is there");
        product::amount(view.value.balance.used)
    }

    /// Moves the clock, and runs what falls due until then.
    pub(crate) async fn at(&self, now: u64) {
        self.clock.set(now);
        self.broker.catch_up().await.expect("what is due can be run");
    }

    pub(crate) fn last(&self) -> Sequence {
        self.broker.journal().last()
    }

    /// Every durable record after that one, but for those that only say what time it is.
    pub(crate) fn since(&self, last: Sequence) -> Vec<Record> {
        let mut records = Vec::new();
        let read = self.broker.journal().read(last.next(), &mut |_, payload| {
            records.push(format::decode(payload).expect("a record can be read"));
            ControlFlow::Continue(())
        });
        read.expect("the journal can be read");
        records.retain(|record| record.event != Event::Time);
        records
    }
}

/// A broker, and the clock that moves it.
async fn opened(storage: Storage, now: u64, settings: Settings) -> (Broker, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(now));
    let (ids, shared) = (Arc::new(SeededIds::new(now)), Arc::clone(&clock));
    let options = Options { storage, settings, clock: shared, ids };
    (Broker::open(options).await.expect("it opens").broker, clock)
}

/// What is given back of a charge for an hour that began at `from`, if it ends at `at` (spec 4.8).
pub(crate) fn refund(charge: u32, from: u64, at: u64) -> Amount {
    let left = from + HOUR_MS - at;
    floor_6(&(whole(charge) * whole(left) / whole(HOUR_MS)))
}

/// The refunds of a record.
pub(crate) fn refunds(record: &Record) -> &[Refund] {
    match record.event.decision() {
        Some(Decision::Session(access)) => &access.refunds,
        Some(Decision::AutomaticCharge(charge)) => &charge.refunds,
        Some(Decision::Close(closed) | Decision::Expiry(closed)) => &closed.refunds,
        Some(Decision::OneOff(_)) | None => &[],
    }
}

/// The same, in all.
pub(crate) fn refunded(records: &[Record]) -> Amount {
    records.iter().flat_map(refunds).map(|refund| product::amount(refund.tokens)).sum()
}

/// What the record is, in one word, of those that a session can have.
pub(crate) fn kind(record: &Record) -> &'static str {
    match &record.event {
        Event::SessionAccess(_) => "put",
        Event::SessionClosed(_) => "close",
        Event::AutomaticCharge(_) => "charge",
        Event::SessionExpired(_) => "expired",
        Event::Heartbeat { .. } => "heartbeat",
        Event::KeysRegistered(_)
        | Event::KeyDeleted { .. }
        | Event::RateTablePublished(_)
        | Event::RateTableDeleted { .. }
        | Event::InstanceCreated { .. }
        | Event::LineItemMapped { .. }
        | Event::LineItemDeleted { .. }
        | Event::ConditionsSet { .. }
        | Event::ConditionsDeleted { .. }
        | Event::ActionsSet { .. }
        | Event::Access(_)
        | Event::SessionCreated { .. }
        | Event::Outage(_)
        | Event::Time
        | Event::Configured { .. }
        | Event::TestClock
        | Event::Answered
        | Event::Provisioned(_)
        | Event::Lease(_) => panic!("not of a session: {record:?}"),
    }
}

pub(crate) fn kinds(records: &[Record]) -> Vec<&'static str> {
    records.iter().map(kind).collect()
}

/// The code of an answer that has to be a refusal that changed nothing, or `ok`.
pub(crate) fn code<T>(answer: &Answer<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(error) => {
            let known = matches!(error, BrokerError::Refused(..) | BrokerError::SessionBusy { .. });
            assert!(known, "{error}");
            error.code()
        }
    }
}
