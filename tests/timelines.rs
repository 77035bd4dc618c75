//! Random histories of sessions and one-off requests that share line items, played twice: with
//! everything that falls due run at the next tick, and with nothing run before somebody calls, over
//! kills and clean stops. Both must come to the same end, and each must be, record by record, what
//! the independent model says (promises P6, P7, P12). `FAREBOX_SEED` repeats a run.

mod common;

use std::sync::Arc;

use common::crowd::{self, MINUTE_MS, START_MS};
use common::dice::{self, Dice};
use common::env::{self, ManualClock, SeededIds};
use common::model::{Item, OnDeny, RateTable, Setting, Terms};
use common::product;
use common::replay::{Counts, Replay};
use farebox::broker::{Broker, Options, Reach, Storage};
use farebox::domain::ids::{InstanceId, SessionId};
use farebox::domain::refusal::Refusal;
use farebox::error::BrokerError;
use farebox::journal::{MemoryDisk, MemorySnapshots};
use tokio::runtime::Builder;

/// Instances of a world: each is a history of its own, but for the price lists.
const HISTORIES: u64 = 3;
const STEPS: u64 = 60;
const TICK_MS: u64 = 5 * MINUTE_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const ACTIVATIONS: [[&str; 4]; 3] =
    [["A", "B", "C", "X"], ["D", "E", "F", "Y"], ["G", "H", "K", "Z"]];

/// What happens next. Sessions are counted in order of creation.
#[derive(Clone, Debug)]
enum Act {
    Access(usize, Vec<Item>),
    Open(usize),
    Put(usize, Vec<Item>, OnDeny),
    /// Of this session and all later ones.
    Beat(usize),
    Close(usize),
    Map(usize, String, Terms),
    Delete(usize, String),
    Publish(RateTable),
    Set(Setting),
    Kill,
    Stop,
}

/// A story: what happens when.
fn story(seed: u64) -> Vec<(u64, Act)> {
    let (mut dice, mut at, mut sessions) = (Dice::new(seed), START_MS, 0);
    let period = (1 + dice.below(4)) * 10 * MINUTE_MS;
    let mut acts = vec![(at, Act::Set(Setting::ChargePeriod(period)))];
    for _ in 0..STEPS {
        at += match dice.below(10) {
            0..=2 => 0,
            3..=8 => dice.below(15 * MINUTE_MS),
            _ => dice.below(9) * 10 * MINUTE_MS, // Exactly on somebody's deadline, often.
        };
        let instance = usize::try_from(dice.below(HISTORIES)).expect("small");
        let session = |dice: &mut Dice| {
            let recent = sessions - dice.below(sessions.min(6)) - 1;
            usize::try_from(recent).expect("small")
        };
        let activations = ACTIVATIONS.get(instance).expect("one row for each");
        let activation = |dice: &mut Dice| (*dice.pick(activations)).to_owned();
        let act = match dice.below(100) {
            0..=9 => Act::Access(instance, crowd::any_items(&mut dice)),
            10..=19 => Act::Open(instance),
            20..=39 if sessions > 0 => {
                let mut items = crowd::any_items(&mut dice);
                items.truncate(usize::try_from(dice.below(9).div_ceil(4)).expect("small")); // 0 halts.
                let on_deny = if dice.chance(70) { OnDeny::RollBack } else { OnDeny::Terminate };
                Act::Put(session(&mut dice), items, on_deny)
            }
            40..=71 if sessions > 0 => Act::Beat(session(&mut dice)),
            72..=75 if sessions > 0 => Act::Close(session(&mut dice)),
            76..=84 => {
                let mut terms = crowd::any_terms(&mut dice, at);
                if dice.chance(70) {
                    terms.quantity *= 10;
                    terms.end += 6 * HOUR_MS;
                }
                Act::Map(instance, activation(&mut dice), terms)
            }
            85..=86 => Act::Delete(instance, activation(&mut dice)),
            87..=90 => Act::Publish(crowd::any_table(&mut dice, at)),
            91 => Act::Set(Setting::TimezoneTolerant(dice.chance(50))),
            92..=93 => Act::Set(Setting::ChargePeriod((1 + dice.below(9)) * 10 * MINUTE_MS)),
            94 => Act::Kill,
            95 => Act::Stop,
            _ => Act::Access(instance, crowd::any_items(&mut dice)),
        };
        sessions += u64::from(matches!(act, Act::Open(_)));
        acts.push((at, act));
    }
    acts
}

/// Who runs what falls due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    OnTime,
    Late,
}

/// What a telling came to, as far as both must agree.
#[derive(Debug, PartialEq, Eq)]
struct End {
    answers: Vec<String>,
    line_items: Vec<(String, String)>,
    sessions: Vec<String>,
}

struct World {
    clock: Arc<ManualClock>,
    disk: MemoryDisk,
    snapshots: Arc<MemorySnapshots>,
    seed: u64,
    broker: Broker,
    instances: Vec<InstanceId>,
    sessions: Vec<SessionId>,
}

async fn open(
    disk: &MemoryDisk,
    snapshots: &Arc<MemorySnapshots>,
    clock: &Arc<ManualClock>,
    seed: u64,
) -> Broker {
    let options = Options {
        storage: Storage::Custom(Arc::new(disk.clone()), Arc::clone(snapshots) as _),
        settings: env::settings(),
        clock: Arc::clone(clock) as _,
        ids: Arc::new(SeededIds::new(seed)),
    };
    Broker::open(options).await.expect("it opens").broker
}

fn code(error: &BrokerError) -> String {
    assert!(matches!(error, BrokerError::Refused(..)), "{error}");
    error.code().to_owned()
}

impl World {
    async fn new(seed: u64) -> World {
        let clock = Arc::new(ManualClock::at(START_MS));
        let (disk, snapshots) = (MemoryDisk::new(), Arc::new(MemorySnapshots::new()));
        let broker = open(&disk, &snapshots, &clock, seed).await;
        let instances = crowd::prepare(&broker, &mut Dice::new(seed)).await;
        World { clock, disk, snapshots, seed, broker, instances, sessions: Vec::new() }
    }

    /// Lets time come; on time means that what falls due has run before anybody calls.
    async fn until(&self, at: u64, due: Due) {
        while due == Due::OnTime && self.clock.ms() < at {
            self.clock.set((self.clock.ms() + TICK_MS).min(at));
            self.broker.catch_up().await.expect("what is due can be run");
        }
        self.clock.set(at);
    }

    fn session(&self, index: usize) -> String {
        self.sessions.get(index).expect("it was created").to_string()
    }

    async fn again(&mut self) {
        self.disk = self.disk.after_kill();
        self.seed = dice::mixed(self.seed);
        self.broker = open(&self.disk, &self.snapshots, &self.clock, self.seed).await;
    }

    /// Does it, and shows the answer.
    async fn act(&mut self, act: Act) -> String {
        let scope =
            |index: usize| product::scope(*self.instances.get(index).expect("it was created"));
        match act {
            Act::Access(instance, items) => {
                let request = product::request("user", &items).expect("valid counts");
                let told = self.broker.access(scope(instance), request).await;
                told.map(|told| format!("{:?}", product::answered_items(&told.value)))
            }
            Act::Open(instance) => {
                let created = self.broker.create_session(scope(instance)).await;
                created.map(|created| {
                    self.sessions.push(created.value);
                    String::new()
                })
            }
            Act::Put(session, items, on_deny) => {
                let request = product::request("user", &items).expect("valid counts");
                let (id, on_deny) = (self.session(session), product::on_deny(on_deny));
                let put = self.broker.session_access(Reach::Everywhere, &id, request, on_deny);
                put.await.map(|told| format!("{:?}", product::answered_items(&told.value)))
            }
            Act::Beat(session) => {
                let mut told = String::new();
                for session in self.sessions.iter().skip(session) {
                    let session = session.to_string();
                    told += &match self.broker.heartbeat(Reach::Everywhere, &session).await {
                        Ok(told) => format!("{:?}", told.value),
                        Err(error) => code(&error),
                    };
                }
                Ok(told)
            }
            Act::Close(session) => {
                let id = self.session(session);
                let closed = self.broker.close_session(Reach::Everywhere, &id).await;
                closed.map(|told| format!("{:?}", told.value))
            }
            Act::Map(instance, id, terms) => {
                let terms = product::new_terms(&id, &terms, "");
                let mapped = self.broker.map_line_item(scope(instance), terms).await;
                mapped.map(|told| told.value.balance.used.to_string())
            }
            Act::Delete(instance, id) => {
                let deleted = self.broker.delete_line_item(scope(instance), &id).await;
                deleted.map(|_| String::new())
            }
            Act::Publish(table) => {
                let published = self.broker.publish_rate_table(product::new_table(&table)).await;
                published.map(|_| String::new())
            }
            Act::Set(setting) => {
                let settings = vec![product::setting(setting)];
                let changed = self.broker.configure(settings, product::text("key")).await;
                changed.map(|_| String::new())
            }
            Act::Kill => {
                self.again().await;
                Ok(String::new())
            }
            Act::Stop => {
                self.broker.close().await.expect("a clean stop");
                self.again().await;
                Ok(String::new())
            }
        }
        .unwrap_or_else(|error| code(&error))
    }

    async fn end(&self, answers: Vec<String>) -> End {
        self.broker.catch_up().await.expect("what is due can be run");
        let (mut line_items, mut sessions) = (Vec::new(), Vec::new());
        for instance in &self.instances {
            let told = self.broker.line_items(product::scope(*instance)).await.expect("listed");
            for view in told.value {
                let id = view.line_item.terms.activation_id.to_string();
                line_items.push((id, view.balance.used.to_string()));
            }
        }
        for session in &self.sessions {
            let told = self.broker.session(Reach::Everywhere, &session.to_string()).await;
            sessions.push(match told {
                Ok(told) => format!("{} {:?}", told.value.session.state_name(), told.value.pacing),
                Err(BrokerError::Refused(Refusal::UnknownSession, _)) => "forgotten".to_owned(),
                Err(error) => panic!("{error}"),
            });
        }
        End { answers, line_items, sessions }
    }
}

async fn tell(seed: u64, due: Due) -> (End, Counts) {
    let mut world = World::new(seed).await;
    let mut answers = Vec::new();
    for (at, act) in story(seed) {
        world.until(at, due).await;
        answers.push(world.act(act).await);
    }
    let end = world.end(answers).await;
    let mut replay = Replay::default();
    replay.play_from(world.broker.journal());
    replay.check_all(&world.broker).await;
    world.broker.close().await.expect("a clean stop");
    (end, replay.counts)
}

/// Names the first difference: the whole of two ends is too long to read.
fn check_same(seed: u64, late: &End, on_time: &End) {
    for (step, answers) in story(seed).iter().zip(late.answers.iter().zip(&on_time.answers)) {
        assert_eq!(answers.0, answers.1, "{}={seed}, {step:?}", dice::SEED);
    }
    assert_eq!(late, on_time, "{}={seed}", dice::SEED);
}

#[test]
fn late_or_on_time_a_history_comes_to_the_end_that_the_model_gives_it() {
    let worlds = if dice::is_long() { 33_400 } else { 1_670 };
    let first = dice::seed(1);
    let threads = 2;
    let told: Vec<_> = (0..threads)
        .map(|thread| {
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_time().build().expect("runs");
                let mut counts = Counts::default();
                for number in (thread..worlds).step_by(threads) {
                    let seed = first.wrapping_add(u64::try_from(number).expect("small"));
                    let (late, _) = runtime.block_on(tell(seed, Due::Late));
                    let (on_time, of_it) = runtime.block_on(tell(seed, Due::OnTime));
                    check_same(seed, &late, &on_time);
                    counts += of_it;
                }
                counts
            })
        })
        .collect();
    let mut counts = Counts::default();
    for told in told {
        counts += told.join().expect("no difference");
    }
    let histories = u64::try_from(worlds).expect("small") * HISTORIES * 2;
    println!("{histories} histories, half of them late, difference 0: {counts:?}");
    let enough = u64::try_from(worlds).expect("small");
    assert!(counts.automatic_charges > enough && counts.expired > enough, "too tame");
    assert!(counts.heartbeats > enough / 4 && counts.refunds > enough, "too tame");
}
