//! Usage reconciles with the ledger to the last fraction (P10 of promises.md): a consumer follows
//! the usage rows of a broker that is killed again and again, breaks off in the middle of its own
//! reading, and goes on where it was. In the end its rows, read as the text that they are, make up
//! what is used of every line item; no row is missing, and none is there twice.
//! `FAREBOX_SEED` repeats a run, `FAREBOX_LONG` makes it ten times as long.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use common::crowd::{MINUTE_MS, START_MS, any_items, any_who, prepare, set_actions};
use common::dice::{self, Dice};
use common::env::{self, ManualClock, SeededIds};
use common::model::{Amount, LineItemState, Overdraft, Terms, decimal};
use common::product;
use common::replay::records;
use farebox::broker::{Broker, Options, Reach, Storage, UsageQuery};
use farebox::config::Settings;
use farebox::domain::event::{Event, Record};
use farebox::domain::ids::{InstanceId, LineItemNumber, Sequence};
use farebox::domain::session::OnDeny;
use farebox::domain::usage::Reconciler;
use farebox::journal::{MemoryDisk, MemorySnapshots};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

const CALLERS: usize = 16;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// A row as a consumer reads it, numbers as their digits.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    sequence: u64,
    correlation_id: String,
    consumer_id: String,
    activation_id: String,
    item: String,
    item_version: String,
    item_count: Box<RawValue>,
    rate: Option<Box<RawValue>>,
    tokens: Box<RawValue>,
    event_type: String,
    session_id: Option<String>,
    action_id: Option<String>,
}

impl Row {
    fn tokens(&self) -> Amount {
        match self.tokens.get().strip_prefix('-') {
            Some(tokens) => -decimal(tokens),
            None => decimal(self.tokens.get()),
        }
    }

    /// What a refund has in common with the charge that it undoes.
    fn mirrored(&self) -> [&str; 7] {
        let rate = self.rate.as_ref().map_or("", |rate| rate.get());
        let action = self.action_id.as_deref().unwrap_or_default();
        let (version, count) = (&self.item_version, self.item_count.get());
        [&self.item, version, count, rate, &self.activation_id, action, &self.consumer_id]
    }
}

/// Who follows the rows. It may break off at any row.
#[derive(Default)]
struct Consumer {
    lines: Vec<Vec<u8>>,
    /// How many of the lines are of records that are certainly whole, and the last of those.
    whole: usize,
    after: u64,
    broken_off: u64,
}

impl Consumer {
    /// Reads on until it has all that there is; some pages break off at a random row.
    fn follow(&mut self, broker: &Broker, dice: &mut Dice) {
        loop {
            let limit = 1 + usize::try_from(dice.below(2_000)).expect("it fits");
            let patience = if dice.chance(30) { dice.below(1_000) } else { u64::MAX };
            let query = UsageQuery {
                after: Sequence::new(self.after),
                limit,
                records: 1 + dice.below(5_000),
                instance: None,
            };
            let page = broker.usage(query).expect("it can be asked");
            let (mut rows, mut last) = (0, None);
            let read = page.read(|| true, &mut |line| {
                if rows == patience {
                    return ControlFlow::Break(());
                }
                rows += 1;
                if last != Some(line.sequence.get()) {
                    self.whole = self.lines.len(); // Another record: the one before is whole.
                    self.after = last.unwrap_or(self.after);
                }
                last = Some(line.sequence.get());
                self.lines.push(line.to_json());
                ControlFlow::Continue(())
            });
            read.expect("the journal can be read");
            if rows == patience {
                self.lines.truncate(self.whole); // What it had of the last record is lost with it.
                self.broken_off += 1;
            } else if let Some(last) = last {
                (self.whole, self.after) = (self.lines.len(), last);
            } else if page.through().get() > self.after {
                self.after = page.through().get(); // Records without rows.
            } else {
                return; // Nothing after what it has.
            }
        }
    }
}

/// One life of the broker: callers, and a kill in the middle of what they do.
struct Life {
    runtime: Runtime,
    broker: Broker,
    clock: Arc<ManualClock>,
}

impl Life {
    fn begin(disk: MemoryDisk, seed: u64, hours: u64) -> Life {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let clock = Arc::new(ManualClock::at(START_MS));
        clock.advance(hours * HOUR_MS);
        let options = Options {
            storage: Storage::Custom(Arc::new(disk), Arc::new(MemorySnapshots::new())),
            settings: Settings { segment_bytes: 1 << 20, awake: 64, ..env::settings() },
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SeededIds::new(seed)),
        };
        let broker = runtime.block_on(Broker::open(options)).expect("it opens").broker;
        Life { runtime, broker, clock }
    }

    /// Tokens that last for some of this life; of every third line item, rules say who may use them.
    fn enrich(&self, instances: &[InstanceId], life: u64, dice: &mut Dice) {
        let now = self.clock.ms();
        for (number, instance) in instances.iter().enumerate() {
            for (series, overdraft) in
                [("", Overdraft::None), ("P", Overdraft::Number(7)), ("X", Overdraft::None)]
            {
                let terms = Terms {
                    state: LineItemState::Deployed,
                    quantity: 10_000,
                    start: now,
                    end: now + 1_000 * HOUR_MS + dice.below(HOUR_MS),
                    elastic: true,
                    series: series.to_owned(),
                    overdraft,
                };
                let name = format!("Rich-{life}-{number}-{series}");
                let terms = product::new_terms(&name, &terms, "");
                let mapped = self.broker.map_line_item(product::scope(*instance), terms);
                self.runtime.block_on(mapped).expect("it is mapped");
                if series == "X" {
                    let actions = set_actions(&self.broker, *instance, &name, dice);
                    self.runtime.block_on(actions).expect("they are set");
                }
            }
        }
    }

    /// Lets callers loose until so many records are there, and says what a kill then leaves.
    fn end(
        self,
        instances: &[InstanceId],
        dice: &mut Dice,
        until: u64,
        disk: &MemoryDisk,
    ) -> MemoryDisk {
        let Life { runtime, broker, clock } = self;
        let enough = Arc::new(Notify::new());
        for name in 0..CALLERS {
            let caller = Caller {
                broker: broker.clone(),
                clock: Arc::clone(&clock),
                instance: *instances.get(name % instances.len()).expect("there are some"),
                until,
                enough: Arc::clone(&enough),
            };
            runtime.spawn(caller.call(dice.fork(name as u64)));
        }
        runtime.block_on(enough.notified());
        let left = disk.after_kill();
        runtime.shutdown_background();
        left
    }
}

/// A client with one session after the other. What it is told is nobody's concern here.
struct Caller {
    broker: Broker,
    clock: Arc<ManualClock>,
    instance: InstanceId,
    /// It says so when so many records are there, and goes on.
    until: u64,
    enough: Arc<Notify>,
}

impl Caller {
    async fn call(self, mut dice: Dice) {
        let scope = product::scope(self.instance);
        while let Ok(created) = self.broker.create_session(scope).await {
            let session = created.value.to_string();
            for _ in 0..1 + dice.below(12) {
                self.clock.advance(dice.below(MINUTE_MS) * u64::from(dice.chance(60)));
                self.call_once(&session, &mut dice).await;
            }
            if dice.chance(60) {
                drop(self.broker.close_session(Reach::Everywhere, &session).await);
            }
            if self.broker.journal().durable().get() >= self.until {
                self.enough.notify_one();
            }
        }
    }

    async fn call_once(&self, session: &str, dice: &mut Dice) {
        let request = product::request_of("somebody", &any_who(dice), &any_items(dice));
        let request = request.expect("valid counts");
        match dice.below(10) {
            0..=4 => drop(self.broker.access(product::scope(self.instance), request).await),
            5 => drop(self.broker.heartbeat(Reach::Everywhere, session).await),
            end => {
                let end = if end == 6 { OnDeny::Terminate } else { OnDeny::Rollback };
                drop(self.broker.session_access(Reach::Everywhere, session, request, end).await);
            }
        }
    }
}

/// What the records say that is used of every mapping in the end, and where each mapping begins.
fn ledger(records: &[(Sequence, Record)]) -> BTreeMap<String, BTreeMap<u64, Amount>> {
    let mut used: BTreeMap<LineItemNumber, (String, Amount)> = BTreeMap::new();
    for (sequence, record) in records {
        if let Event::LineItemMapped { number: None, terms, .. } = &record.event {
            let fresh = (terms.activation_id.to_string(), Amount::default());
            used.insert(LineItemNumber::new(*sequence), fresh);
        }
        for posting in record.event.postings() {
            let mapping = used.get_mut(&posting.line_item).expect("it was mapped");
            mapping.1 = decimal(&posting.after.used.to_string());
        }
    }
    let mut ledger: BTreeMap<String, BTreeMap<u64, Amount>> = BTreeMap::new();
    for (number, (activation, amount)) in used {
        ledger.entry(activation).or_default().insert(number.created().get(), amount);
    }
    ledger
}

/// Adds up the rows of each mapping and holds the sums against the ledger.
fn reconcile(lines: &[Vec<u8>], ledger: &BTreeMap<String, BTreeMap<u64, Amount>>) -> usize {
    let mut sums: BTreeMap<(&str, u64), Amount> = BTreeMap::new();
    let mut charged: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let (mut last, mut refunds) = ((0, String::new()), 0);
    for line in lines {
        let row: Row = serde_json::from_slice(line).expect("a row is JSON");
        assert!(last.0 <= row.sequence, "rows come in the order of their records");
        if row.event_type == "DENIED" {
            assert_eq!((row.tokens.get(), row.activation_id.as_str()), ("0", ""), "{row:?}");
            continue;
        }
        let mappings = ledger.get_key_value(&row.activation_id).expect("it was mapped");
        let mapping = mappings.1.range(..row.sequence).next_back().expect("it was mapped before");
        let sum = sums.entry((mappings.0, *mapping.0)).or_default();
        *sum += row.tokens();
        if row.event_type == "REFUND" {
            refunds += 1;
            let session = row.session_id.as_ref().expect("only sessions refund");
            let charge = charged.get(session).into_iter().flatten();
            let undone = charge.filter(|charge| charge.mirrored() == row.mirrored());
            assert!(
                undone.into_iter().any(|charge| charge.tokens() >= -row.tokens()),
                "a refund mirrors a charge of its session: {row:?}"
            );
        }
        let is_new = last != (row.sequence, row.correlation_id.clone());
        last = (row.sequence, row.correlation_id.clone());
        if let (Some(session), "ACCESS" | "AUTOMATIC_CHARGE") =
            (&row.session_id, row.event_type.as_str())
        {
            let charges = charged.entry(session.clone()).or_default();
            if is_new {
                charges.clear();
            }
            charges.push(row);
        }
    }
    for (activation, mappings) in ledger {
        for (mapping, used) in mappings {
            let sum = sums.remove(&(activation.as_str(), *mapping)).unwrap_or_default();
            assert_eq!(sum, *used, "`{activation}` of record {mapping}");
        }
    }
    assert!(sums.is_empty(), "rows of no line item: {sums:?}");
    refunds
}

#[test]
fn rows_make_up_what_is_used_to_the_last_fraction_over_crashes_of_both_sides() {
    let (lives, records_each) = if dice::is_long() { (100, 10_000) } else { (10, 10_000) };
    let seed = dice::seed(1);
    println!("{}={seed}", dice::SEED);
    let mut dice = Dice::new(seed);
    let mut disk = MemoryDisk::new();
    let mut consumer = Consumer::default();
    let mut instances = Vec::new();
    for life in 0..lives {
        let begun = Life::begin(disk.clone(), seed ^ life, life);
        if instances.is_empty() {
            instances = begun.runtime.block_on(prepare(&begun.broker, &mut dice));
        }
        begun.enrich(&instances, life, &mut dice);
        consumer.follow(&begun.broker, &mut dice);
        disk = begun.end(&instances, &mut dice, (life + 1) * records_each, &disk);
    }
    let last = Life::begin(disk, seed ^ lives, lives);
    last.runtime.block_on(last.broker.catch_up()).expect("what is due is run");
    consumer.follow(&last.broker, &mut dice);
    let records = records(last.broker.journal());
    let mut reconciler = Reconciler::default();
    for (sequence, record) in &records {
        let reconciled = reconciler.record(record);
        reconciled.unwrap_or_else(|residue| panic!("record {sequence}: {residue}"));
    }
    assert_eq!(reconciler.rows(), consumer.lines.len() as u64, "every row came, and came once");
    let refunds = reconcile(&consumer.lines, &ledger(&records));
    println!(
        "{} records, {lives} crashes of the broker, {} of the consumer, {} rows, {refunds} of them \
         refunds: residue 0",
        records.len(),
        consumer.broken_off,
        consumer.lines.len(),
    );
    assert!(records.len() as u64 >= lives * records_each, "they are there");
    assert!(consumer.broken_off > lives / 2 && refunds > 1_000, "too tame");
}
