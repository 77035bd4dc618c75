//! The journal, played again on the model: every record must be what the model would have decided
//! at that place, and every balance what the model has booked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, ControlFlow};

use farebox::broker::{Broker, LineItemView, Reach, SessionView};
use farebox::domain::charge::Verdict;
use farebox::domain::configuration::Setting;
use farebox::domain::event::{
    Access, AutomaticCharge, Event, Next, Record, SessionAccess, SessionClosed,
};
use farebox::domain::ids::{
    InstanceId, InstanceNumber, LineItemNumber, Sequence, SessionId, SessionNumber,
};
use farebox::domain::line_item::{self, Overdraft, Posting};
use farebox::domain::session::State;
use farebox::domain::time::Timestamp;
use farebox::domain::tokens::Tokens;
use farebox::journal::{Journal, format};

use super::key_book::KeyBook;
use super::model::{
    self, Amount, Item, LineItemView as ModelLineItem, Model, OnDeny, SessionAnswer, SessionState,
    whole,
};
use super::product;

/// Every durable record, in order.
pub fn records(journal: &Journal) -> Vec<(Sequence, Record)> {
    let mut records = Vec::new();
    let read = journal.read(Sequence::new(1), &mut |sequence, payload| {
        records.push((sequence, format::decode(payload).expect("a record can be read")));
        ControlFlow::Continue(())
    });
    read.expect("the journal can be read");
    for (number, (sequence, _)) in (1..).zip(&records) {
        assert_eq!(sequence.get(), number, "records have no gaps");
    }
    records
}

/// The model, and how the journal names what is in it.
pub struct Replay {
    pub model: Model,
    pub instances: BTreeMap<InstanceNumber, InstanceId>,
    pub sessions: BTreeMap<SessionNumber, SessionId>,
    /// Rate tables that exist, by series and version, with the instant they take effect.
    pub tables: BTreeMap<(String, String), u64>,
    /// Versions of rate tables, by the record that published them.
    versions: BTreeMap<Sequence, String>,
    /// By line item: which mapping it is in the model, its terms, and what is used of it.
    line_items: BTreeMap<LineItemNumber, Mapped>,
    by_mapping: Vec<LineItemNumber>,
    /// How many of the model's movements have been taken over.
    booked: usize,
    stamps: BTreeMap<InstanceNumber, Timestamp>,
    keys: KeyBook,
    /// The last record that was played.
    pub last: Sequence,
    pub counts: Counts,
}

struct Mapped {
    terms: line_item::Terms,
    used: Tokens,
    booked: Amount,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub records: u64,
    pub granted: u64,
    pub denied: u64,
    pub splits: u64,
    pub denied_sets: u64,
    pub refunds: u64,
    pub automatic_charges: u64,
    pub expired: u64,
    pub heartbeats: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.records += other.records;
        self.granted += other.granted;
        self.denied += other.denied;
        self.splits += other.splits;
        self.denied_sets += other.denied_sets;
        self.refunds += other.refunds;
        self.automatic_charges += other.automatic_charges;
        self.expired += other.expired;
        self.heartbeats += other.heartbeats;
    }
}

impl Default for Replay {
    fn default() -> Replay {
        Replay {
            model: {
                let mut model = Model::default();
                model.automatic = false; // What falls due has records, and its place among others.
                model
            },
            last: Sequence::ZERO,
            instances: BTreeMap::new(),
            sessions: BTreeMap::new(),
            tables: BTreeMap::new(),
            versions: BTreeMap::new(),
            line_items: BTreeMap::new(),
            by_mapping: Vec::new(),
            booked: 0,
            stamps: BTreeMap::new(),
            keys: KeyBook::default(),
            counts: Counts::default(),
        }
    }
}

impl Replay {
    /// Plays what has come since.
    pub fn play_from(&mut self, journal: &Journal) {
        let last = self.last;
        for (sequence, record) in records(journal).into_iter().filter(|(new, _)| *new > last) {
            self.record(sequence, &record);
        }
    }

    /// Has the model do what a record says was done, and compares.
    pub fn record(&mut self, sequence: Sequence, record: &Record) {
        let at = record.at.as_ms();
        self.counts.records += 1;
        if let Some(instance) = self.place(&record.event) {
            let last = self.stamps.entry(instance).or_default();
            assert!(*last <= record.at, "stamps of an instance never run backwards");
            *last = record.at;
            self.check_time_gate(instance, record);
        }
        self.last = sequence;
        match &record.event {
            Event::KeysRegistered(_) | Event::KeyDeleted { .. } => self.keys.record(record),
            Event::RateTablePublished(table) => {
                let table = product::model_table(table);
                let (series, version) = (table.series.clone(), table.version.clone());
                self.versions.insert(sequence, version.clone());
                self.tables.insert((series, version), table.effective_from);
                assert_eq!(self.model.publish_rate_table(at, table), Ok(()));
            }
            Event::RateTableDeleted { series, number } => {
                let version = self.versions.remove(&number.created()).expect("it was published");
                let series = series.to_string();
                assert_eq!(self.model.delete_rate_table(at, &series, &version), Ok(()));
                self.tables.remove(&(series, version));
            }
            Event::InstanceCreated { id, account_id, default, .. } => {
                let created = self.model.create_instance(at, &id.to_string(), account_id.as_str());
                assert_eq!(created.default, *default);
                self.instances.insert(InstanceNumber::new(sequence), *id);
            }
            Event::LineItemMapped { instance, number, terms } => {
                self.map_line_item(at, sequence, *instance, *number, terms);
            }
            Event::LineItemDeleted { instance, activation_id, .. } => {
                let instance = self.instance(*instance);
                let told = self.model.delete_line_item(at, &instance, activation_id.as_str());
                assert_eq!(told, Ok(()));
            }
            Event::ConditionsSet { instance, conditions } => {
                let instance = self.instance(*instance);
                for condition in conditions {
                    let (id, rule) =
                        (condition.id.to_string(), product::model_rule(&condition.rule));
                    assert_eq!(self.model.set_condition(at, &instance, &id, rule), Ok(()));
                }
            }
            Event::ConditionsDeleted { instance, conditions } => {
                let instance = self.instance(*instance);
                for id in conditions {
                    let told = self.model.delete_condition(at, &instance, &id.to_string());
                    assert_eq!(told, Ok(()));
                }
            }
            Event::ActionsSet { instance, activation_id, actions, .. } => {
                let instance = self.instance(*instance);
                let actions = actions.iter().map(product::model_action).collect();
                let told = self.model.set_actions(at, &instance, activation_id.as_str(), actions);
                assert_eq!(told, Ok(()));
            }
            Event::Access(access) => self.access(at, access),
            Event::SessionCreated { id, instance } => {
                let instance = self.instance(*instance);
                assert_eq!(self.model.create_session(at, &id.to_string(), &instance), Ok(()));
                self.sessions.insert(SessionNumber::new(sequence), *id);
            }
            Event::SessionAccess(access) => self.session_access(at, access),
            Event::SessionClosed(closed) => self.session_closed(at, closed),
            Event::AutomaticCharge(charge) => self.automatic_charge(at, charge),
            Event::SessionExpired(closed) => self.session_expired(closed),
            Event::Heartbeat { session, heard, .. } => {
                let id = self.session(*session);
                assert_eq!(self.model.heartbeat(heard.as_ms(), &id), Ok(()));
                self.counts.heartbeats += 1;
            }
            Event::Configured { settings, .. } => {
                for setting in settings {
                    let setting = match setting {
                        Setting::TimezoneTolerant(on) => model::Setting::TimezoneTolerant(*on),
                        Setting::ChargePeriod(period) => {
                            model::Setting::ChargePeriod(period.as_ms().get())
                        }
                    };
                    assert_eq!(self.model.configure(at, setting), Ok(()));
                }
            }
            Event::Time | Event::TestClock | Event::Answered => {}
            Event::Provisioned(_) | Event::Lease(_) => panic!("nobody asked for components"),
            Event::Outage(_) => panic!("a clock that is moved by hand has no outages"),
        }
        self.compare_balances(record.event.postings());
    }

    /// Nothing in an instance is decided while something is due there; what falls due is decided
    /// in its order (spec 4.2).
    fn check_time_gate(&self, instance: InstanceNumber, record: &Record) {
        let due = self.model.first_due(&self.instance(instance));
        if matches!(record.event, Event::AutomaticCharge(_) | Event::SessionExpired(_)) {
            let (_, first) = due.expect("it is due");
            let session = record.event.session().expect("it is of a session");
            assert_eq!(first, self.session(session), "out of order: {record:?}");
        } else {
            let open = due.filter(|(due, _)| *due <= record.at.as_ms());
            assert_eq!(open, None, "something is due before {record:?}");
        }
    }

    fn automatic_charge(&mut self, at: u64, charge: &AutomaticCharge) {
        let instance = self.instance(charge.instance);
        assert_eq!(self.model.first_due(&instance).map(|(due, _)| due), Some(at), "at its time");
        let expected = self.model.let_happen(&instance);
        let items: Vec<Item> = expected.items.iter().map(|answer| answer.item.clone()).collect();
        let name = |number| self.activation(number);
        let told = SessionAnswer {
            items: product::verdicts(items, &charge.verdicts, name),
            refund: product::refunds(&charge.refunds),
            state: match charge.next {
                Next::Charged(_) => SessionState::Active,
                Next::Terminated => SessionState::Terminated,
                Next::Unchanged | Next::Halted => panic!("charged or over: {charge:?}"),
            },
            charged_until: match charge.next {
                Next::Charged(period) => at + period.as_ms().get(),
                Next::Unchanged | Next::Halted | Next::Terminated => 0,
            },
        };
        assert_eq!(told, expected, "{charge:?}");
        self.counts.automatic_charges += 1;
        self.count(&charge.verdicts);
    }

    fn session_expired(&mut self, closed: &SessionClosed) {
        let instance = self.instance(closed.instance);
        let expected = self.model.let_happen(&instance);
        assert_eq!(product::refunds(&closed.refunds), expected.refund, "{closed:?}");
        assert_eq!(expected.state, SessionState::Terminated);
        self.counts.expired += 1;
    }

    fn place(&self, event: &Event) -> Option<InstanceNumber> {
        match event {
            Event::LineItemMapped { instance, .. }
            | Event::LineItemDeleted { instance, .. }
            | Event::ConditionsSet { instance, .. }
            | Event::ConditionsDeleted { instance, .. }
            | Event::ActionsSet { instance, .. }
            | Event::SessionCreated { instance, .. } => Some(*instance),
            Event::Access(access) => Some(access.instance),
            Event::SessionAccess(access) => Some(access.instance),
            Event::SessionClosed(closed) | Event::SessionExpired(closed) => Some(closed.instance),
            Event::AutomaticCharge(charge) => Some(charge.instance),
            Event::Heartbeat { instance, .. } => Some(*instance),
            Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_)
            | Event::Lease(_) => None,
        }
    }

    fn instance(&self, number: InstanceNumber) -> String {
        self.instances.get(&number).expect("it was created").to_string()
    }

    fn session(&self, number: SessionNumber) -> String {
        self.sessions.get(&number).expect("it was created").to_string()
    }

    pub fn activation(&self, number: LineItemNumber) -> String {
        self.line_items.get(&number).expect("it was mapped").terms.activation_id.to_string()
    }

    fn map_line_item(
        &mut self,
        at: u64,
        sequence: Sequence,
        instance: InstanceNumber,
        number: Option<LineItemNumber>,
        terms: &line_item::Terms,
    ) {
        let (instance, id) = (self.instance(instance), terms.activation_id.as_str());
        let known = self.model.used(&instance, id).is_ok();
        assert_eq!(known, number.is_some(), "only what is not there is mapped anew");
        let told = self.model.put_line_item(at, &instance, id, product::model_terms(terms));
        assert_eq!(told, Ok(()));
        let number = number.unwrap_or(LineItemNumber::new(sequence));
        let fresh = || Mapped { terms: terms.clone(), used: Tokens::ZERO, booked: whole(0) };
        if !known {
            self.by_mapping.push(number);
        }
        self.line_items.entry(number).or_insert_with(fresh).terms = terms.clone();
    }

    fn access(&mut self, at: u64, access: &Access) {
        let items = product::asked(&access.request);
        let instance = self.instance(access.instance);
        self.model.ask_as(product::who(&access.request));
        let expected = self.model.access(at, &instance, &items).expect("it was decided");
        let name = |number| self.activation(number);
        let told = product::item_answers(&access.request, &access.verdicts, name);
        assert_eq!(told, expected, "{access:?}");
        self.count(&access.verdicts);
    }

    fn session_access(&mut self, at: u64, access: &SessionAccess) {
        let items = product::asked(&access.request);
        let id = self.session(access.session);
        let denied = access.verdicts.iter().any(|v| matches!(v, Verdict::Denied(_)));
        let on_deny = match access.next {
            Next::Terminated => OnDeny::Terminate,
            Next::Unchanged | Next::Charged(_) | Next::Halted => OnDeny::RollBack,
        };
        let before = self.model.session_view(&id).expect("it exists");
        self.model.ask_as(product::who(&access.request));
        let expected = self.model.put_session(at, &id, &items, on_deny).expect("it was decided");
        let name = |number| self.activation(number);
        let told = SessionAnswer {
            items: product::item_answers(&access.request, &access.verdicts, name),
            refund: product::refunds(&access.refunds),
            state: match access.next {
                Next::Unchanged => before.state,
                Next::Charged(_) => SessionState::Active,
                Next::Halted => SessionState::Idle,
                Next::Terminated => SessionState::Terminated,
            },
            charged_until: match access.next {
                Next::Unchanged => before.charged_until,
                Next::Charged(period) => at + period.as_ms().get(),
                Next::Halted | Next::Terminated => 0,
            },
        };
        assert_eq!(told, expected, "{access:?}");
        if denied && access.next == Next::Unchanged {
            self.counts.denied_sets += 1;
            assert!(access.postings.is_empty(), "a denied set touches no balance: {access:?}");
            assert!(access.refunds.is_empty(), "a denied set gives nothing back: {access:?}");
            let after = self.model.session_view(&id).expect("it exists");
            assert_eq!(after.items, before.items, "a denied set leaves the set as it was");
        }
        self.counts.refunds += access.refunds.len() as u64;
        self.count(&access.verdicts);
    }

    fn session_closed(&mut self, at: u64, closed: &SessionClosed) {
        let id = self.session(closed.session);
        let expected = self.model.close_session(at, &id).expect("it was live");
        assert_eq!(product::refunds(&closed.refunds), expected.refund, "{closed:?}");
        self.counts.refunds += closed.refunds.len() as u64;
    }

    fn count(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            match verdict {
                Verdict::Granted(takes) => {
                    self.counts.granted += 1;
                    self.counts.splits += u64::from(takes.len() > 1);
                }
                Verdict::Denied(_) => self.counts.denied += 1,
            }
        }
    }

    /// What the record says is used of each line item is what the model has booked on it, and
    /// nothing was booked on any other. Nobody is charged beyond what there is.
    fn compare_balances(&mut self, postings: &[Posting]) {
        let mut moved = BTreeSet::new();
        for movement in self.model.ledger().iter().skip(self.booked) {
            let number = *self.by_mapping.get(movement.mapping).expect("it was mapped");
            self.line_items.get_mut(&number).expect("it was mapped").booked += &movement.tokens;
            moved.insert(number);
        }
        self.booked = self.model.ledger().len();
        for posting in postings {
            let mapped = self.line_items.get_mut(&posting.line_item).expect("it was mapped");
            let (before, after) = (mapped.used, posting.after.used);
            assert_eq!(product::amount(after), mapped.booked, "{posting:?}");
            if after > before {
                let quantity = Tokens::whole(mapped.terms.quantity);
                let limit = match mapped.terms.overdraft {
                    Overdraft::None => Some(quantity),
                    Overdraft::Number(limit) => quantity.checked_add(Tokens::whole(limit)),
                    Overdraft::Unlimited => None,
                };
                assert!(limit.is_none_or(|limit| after <= limit), "oversold: {posting:?}");
            }
            mapped.used = after;
            moved.remove(&posting.line_item);
        }
        for number in moved {
            let mapped = self.line_items.get(&number).expect("it was mapped");
            assert_eq!(product::amount(mapped.used), mapped.booked, "{number} is not posted");
        }
    }
}

/// What readers are told, against the model as it stands.
impl Replay {
    pub fn check_line_items(&self, instance: InstanceId, told: &[LineItemView]) {
        let told_line_items: Vec<ModelLineItem> = told
            .iter()
            .map(|view| ModelLineItem {
                activation: view.line_item.terms.activation_id.to_string(),
                terms: product::model_terms(&view.line_item.terms),
                used: product::amount(view.balance.used),
            })
            .collect();
        let expected = self.model.line_items(&instance.to_string()).expect("it exists");
        assert_eq!(told_line_items, expected, "line items of {instance}");
        for view in told {
            let id = view.line_item.terms.activation_id.as_str();
            let expected = self.model.counters(&instance.to_string(), id).expect("it exists");
            let told = view.line_item.actions.iter().map(|action| {
                (action.id.to_string(), product::amount(view.balance.counters.used(action.id)))
            });
            assert_eq!(told.collect::<Vec<_>>(), expected, "the actions of {id}");
        }
    }

    pub fn check_session(&self, told: &SessionView) {
        let session = &told.session;
        let expected = self.model.session_view(&session.id.to_string()).expect("it exists");
        let items: Vec<Item> = match &session.state {
            State::Active(usage) => product::asked(&usage.request),
            State::Idle { .. } | State::Leased(_) | State::Ended { .. } => Vec::new(),
        };
        let ms = |time: Option<Timestamp>| time.map_or(0, |time| time.as_ms());
        assert_eq!(product::session_state(session), expected.state, "session {}", session.id);
        let charged_until = told.pacing.charged_until.as_ms();
        assert_eq!(charged_until, expected.charged_until, "session {}", session.id);
        assert_eq!(items, expected.items, "session {}", session.id);
        let last = ms(session.last_access_request);
        assert_eq!(last, expected.last_access_request, "session {}", session.id);
    }

    /// Everything that can be read of a broker is as the model has it, once what is due by now has
    /// been run and played too.
    pub async fn check_all(&mut self, broker: &Broker) {
        broker.catch_up().await.expect("what is due can be run");
        self.play_from(broker.journal());
        for instance in self.instances.values() {
            let scope = product::scope(*instance);
            let told = broker.line_items(scope).await.expect("they can be listed");
            self.check_line_items(*instance, &told.value);
        }
        for session in self.sessions.values() {
            let told = broker.session(Reach::Everywhere, &session.to_string()).await;
            self.check_session(&told.expect("it can be read").value);
        }
        let page = broker.instances(Sequence::ZERO, 1_000).await.expect("they can be listed");
        let told: Vec<_> =
            page.value.entries.iter().map(|entry| (entry.id.to_string(), entry.default)).collect();
        let expected = self.model.instances(None, None).expect("all may be listed");
        let expected: Vec<_> = expected.into_iter().map(|i| (i.id, i.default)).collect();
        assert_eq!(told, expected);
        let tables = broker.rate_tables().await.expect("they can be listed").value;
        let name = |series: &str, version: &str| (series.to_owned(), version.to_owned());
        let told: BTreeMap<_, _> = tables
            .iter()
            .map(|t| (name(t.series.as_str(), t.version.as_str()), t.effective_from.as_ms()))
            .collect();
        assert_eq!(told, self.tables);
        self.keys.check(broker);
    }
}
