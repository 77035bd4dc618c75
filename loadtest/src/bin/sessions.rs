//! Sessions by the thousand and by the million, in process and durable: what falls due at once, how
//! many PUTs a second, and what a live session and a line item take of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use farebox::auth::{Principal, Scope};
use farebox::broker::{Broker, Options, Reach};
use farebox::config::Sessions;
use farebox::domain::ids::{Requester, SessionId};
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::session::OnDeny;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;
use farebox::env::{Clock, SystemClock};
use farebox::error::BrokerError;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // As in the program.

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// How long a charge pays for, in milliseconds.
const INTERVAL_MS: u64 = 3_600_000;

#[derive(Parser)]
#[command(about = "Measures sessions, in process, on a durable directory that is removed again")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sessions whose automatic charges fall due in the same millisecond, with heartbeats meanwhile.
    Burst {
        /// How many sessions.
        #[arg(long, default_value_t = 10_000)]
        sessions: usize,
        /// How many instances they are spread over.
        #[arg(long, default_value_t = 100)]
        instances: usize,
    },
    /// Session PUTs per second.
    Puts {
        /// How many sessions.
        #[arg(long, default_value_t = 1_000)]
        sessions: usize,
        /// How many instances they are spread over.
        #[arg(long, default_value_t = 1_000)]
        instances: usize,
        /// Callers who each wait for their answer before they ask again.
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// How long it is measured, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Resident memory of live sessions and line items, and the latency of one caller meanwhile.
    Memory {
        /// How many ACTIVE sessions.
        #[arg(long, default_value_t = 1_000_000)]
        sessions: usize,
        /// How many line items.
        #[arg(long, default_value_t = 1_000_000)]
        line_items: usize,
        /// How many instances they are spread over.
        #[arg(long, default_value_t = 1_000)]
        instances: usize,
        /// Seconds between two snapshot passes.
        #[arg(long, default_value_t = 10)]
        snapshot_every: u64,
        /// How long one caller is measured at the end, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

/// A clock that stands still: moving it is no outage, and whoever moved it calls `catch_up`.
struct StandingClock {
    now_ms: AtomicU64,
}

impl Clock for StandingClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn system(&self) -> Timestamp {
        Timestamp::from_ms(self.now_ms.load(Ordering::SeqCst))
    }

    fn is_test_clock(&self) -> bool {
        true
    }
}

fn main() -> Result<(), Anything> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let home = tempfile::tempdir()?;
    let mut options = Options::directory(home.path());
    options.settings.sessions = Sessions { max: usize::MAX, per_instance_max: usize::MAX };
    match arguments.what {
        What::Burst { sessions, instances } => {
            runtime.block_on(burst(options, sessions, instances))
        }
        What::Puts { sessions, instances, callers, seconds } => {
            let lasting = Duration::from_secs(seconds);
            runtime.block_on(puts(options, sessions, instances, callers, lasting))
        }
        What::Memory { sessions, line_items, instances, snapshot_every, seconds } => {
            options.settings.snapshot_every = Duration::from_secs(snapshot_every);
            let lasting = Duration::from_secs(seconds);
            runtime.block_on(memory(options, sessions, line_items, instances, lasting))
        }
    }
}

/// A broker with instances that have one plentiful line item each.
struct World {
    broker: Broker,
    scopes: Vec<Scope>,
}

impl World {
    async fn new(options: Options, instances: usize) -> Result<World, Anything> {
        let broker = Broker::open(options).await?.broker;
        let (name, version, rate) = ("PhotoPrint".parse()?, "1.0".parse()?, "3".parse()?);
        let table = NewRateTable {
            series: "".parse()?,
            version: "1".parse()?,
            effective_from: Timestamp::from_ms(1_698_849_852_000),
            items: vec![RatedItem { name, version, rate }],
        };
        broker.publish_rate_table(table).await?;
        let mut scopes = Vec::new();
        for number in 0..instances {
            let instance = broker.create_instance("load".parse()?, "ACME".parse()?).await?.value;
            let scope = Principal::administration().scope(instance.id)?;
            broker.map_line_item(scope, terms(&broker, &format!("first-{number}"))?).await?;
            scopes.push(scope);
        }
        Ok(World { broker, scopes })
    }

    /// So many ACTIVE sessions, dealt out over the instances.
    async fn sessions(&self, many: usize) -> Result<Vec<SessionId>, Anything> {
        self.each("sessions", many, |broker, scope, _| async move {
            let id = broker.create_session(scope).await?.value;
            put(&broker, &id).await?;
            Ok(id)
        })
        .await
    }

    /// Does something so many times, 256 at once, and says how far it is.
    async fn each<T: Send + 'static, F>(
        &self,
        name: &str,
        many: usize,
        what: impl Fn(Broker, Scope, usize) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Vec<T>, Anything>
    where
        F: Future<Output = Result<T, Anything>> + Send,
    {
        let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut workers = JoinSet::new();
        for _ in 0..256.min(many) {
            let (broker, scopes, next) =
                (self.broker.clone(), self.scopes.clone(), Arc::clone(&next));
            let what = what.clone();
            workers.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= many {
                        return Ok::<_, Anything>(done);
                    }
                    let scope = scopes.get(number % scopes.len()).ok_or("no instance")?;
                    done.push(what(broker.clone(), *scope, number).await?);
                }
            });
        }
        let mut done = Vec::with_capacity(many);
        let mut progress = tokio::time::interval(Duration::from_secs(5));
        progress.tick().await;
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    Some(ended) => done.extend(ended??),
                    None => break,
                },
                _ = progress.tick() => {
                    eprintln!("{name}: {} of {many}", next.load(Ordering::Relaxed).min(many));
                }
            }
        }
        if many > 0 {
            println!("{many} {name} made, {} a second", per_second(many, started.elapsed()));
        }
        Ok(done)
    }

    /// Tokens used of all first line items, in whole tokens.
    async fn used(&self) -> Result<u64, Anything> {
        let mut used = 0;
        for scope in &self.scopes {
            for view in self.broker.line_items(*scope).await?.value {
                used += view.balance.used.to_string().parse::<u64>()?;
            }
        }
        Ok(used)
    }
}

fn terms(broker: &Broker, activation_id: &str) -> Result<Terms, Anything> {
    let (start, end) = (Timestamp::default(), broker.now().plus_ms(365 * 86_400_000));
    Ok(Terms::new(activation_id.parse()?, 9_000_000_000_000_000_000, start, end))
}

/// One item for 30 tokens.
fn request() -> Result<Arc<AccessRequest>, Anything> {
    let (name, version, count) = ("PhotoPrint".parse()?, "1.0".parse()?, "10".parse()?);
    let items = vec![RequestedItem {
        name,
        version,
        count,
        metadata: None,
        variables: Variables::default(),
    }];
    let (kind, value) = ("user".parse()?, "LisaBarry".parse()?);
    let requester = Requester { kind, value, dictionary: Dictionary::default() };
    Ok(Arc::new(AccessRequest { requester, items }))
}

async fn put(broker: &Broker, id: &SessionId) -> Result<(), Anything> {
    let (id, request) = (id.to_string(), request()?);
    broker.session_access(Reach::Everywhere, &id, request, OnDeny::Rollback).await?;
    Ok(())
}

/// Waits as long as everything takes that falls due at once, beside clients that are alive.
async fn burst(mut options: Options, sessions: usize, instances: usize) -> Result<(), Anything> {
    let system = SystemClock::new();
    let clock = Arc::new(StandingClock { now_ms: AtomicU64::new(system.system().as_ms()) });
    options.clock = Arc::clone(&clock) as _;
    let world = World::new(options, instances).await?;
    let ids = Arc::new(world.sessions(sessions).await?);
    let before = world.used().await?;

    clock.now_ms.fetch_add(INTERVAL_MS, Ordering::SeqCst);
    let (started, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let (broker, ids, over) = (world.broker.clone(), Arc::clone(&ids), Arc::clone(&over));
        clients.spawn(async move {
            let (mut latencies, mut position) = (Vec::new(), client * 7_919);
            while !over.load(Ordering::Relaxed) {
                position = (position + 104_729) % ids.len();
                let Some(id) = ids.get(position) else { continue };
                let asked = Instant::now();
                broker.heartbeat(Reach::Everywhere, &id.to_string()).await?;
                latencies.push(asked.elapsed());
            }
            Ok::<_, BrokerError>(latencies)
        });
    }
    world.broker.catch_up().await?; // Answered once everything that fell due is durable.
    let took = started.elapsed();
    over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(ended) = clients.join_next().await {
        latencies.extend(ended??);
    }
    let charges = (world.used().await? - before) / 30;
    println!("{sessions} sessions in {instances} instances due at once: {charges} charges");
    if charges != u64::try_from(sessions)? {
        return Err("not each session was charged exactly once".into());
    }
    println!("the last was durable {took:.1?} late");
    println!("heartbeats meanwhile, 16 clients: {}", shown(latencies));
    world.broker.close().await?;
    Ok(())
}

async fn puts(
    options: Options,
    sessions: usize,
    instances: usize,
    callers: usize,
    lasting: Duration,
) -> Result<(), Anything> {
    let world = World::new(options, instances).await?;
    let ids = Arc::new(world.sessions(sessions).await?);
    let until = Instant::now() + lasting;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (broker, ids) = (world.broker.clone(), Arc::clone(&ids));
        tasks.spawn(async move {
            let (mut latencies, mut position) = (Vec::new(), caller);
            while Instant::now() < until {
                let asked = Instant::now();
                put(&broker, ids.get(position % ids.len()).ok_or("no session")?).await?;
                latencies.push(asked.elapsed());
                position += callers; // No two callers ever meet in one session.
            }
            Ok::<_, Anything>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let rate = per_second(latencies.len(), lasting);
    println!("PUTs in {instances} instances by {callers} callers: {rate} a second");
    println!("latency: {}", shown(latencies));
    world.broker.close().await?;
    Ok(())
}

async fn memory(
    options: Options,
    sessions: usize,
    line_items: usize,
    instances: usize,
    lasting: Duration,
) -> Result<(), Anything> {
    let world = World::new(options, instances).await?;
    let empty = resident_bytes()?;
    let over = Arc::new(AtomicBool::new(false));
    let meanwhile =
        tokio::spawn(one_caller(world.broker.clone(), world.scopes.clone(), Arc::clone(&over)));
    let map = |broker: Broker, scope, number| async move {
        broker.map_line_item(scope, terms(&broker, &format!("L{number}"))?).await?;
        Ok(())
    };
    world.each("line items", line_items, map).await?;
    world.sessions(sessions).await?;
    over.store(true, Ordering::Relaxed);
    println!("one caller while they were made: {}", shown(meanwhile.await??));
    report(empty, sessions + line_items)?;

    let over = Arc::new(AtomicBool::new(false));
    let meanwhile =
        tokio::spawn(one_caller(world.broker.clone(), world.scopes.clone(), Arc::clone(&over)));
    tokio::time::sleep(lasting).await;
    over.store(true, Ordering::Relaxed);
    println!("one caller afterwards, for {} s: {}", lasting.as_secs(), shown(meanwhile.await??));
    report(empty, sessions + line_items)?;
    world.broker.close().await?;
    Ok(())
}

/// One-off requests, a millisecond apart, until it is over.
async fn one_caller(
    broker: Broker,
    scopes: Vec<Scope>,
    over: Arc<AtomicBool>,
) -> Result<Vec<Duration>, Anything> {
    let (request, mut latencies) = (request()?, Vec::new());
    for scope in scopes.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        broker.access(*scope, Arc::clone(&request)).await?;
        latencies.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(latencies)
}

fn report(empty: usize, objects: usize) -> Result<(), Anything> {
    let now = resident_bytes()?;
    let each = now.saturating_sub(empty) / objects.max(1);
    println!("resident {} MiB, before them {} MiB: {each} bytes each", now >> 20, empty >> 20);
    Ok(())
}

fn resident_bytes() -> Result<usize, Anything> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}

fn per_second(many: usize, time: Duration) -> u128 {
    u128::try_from(many).unwrap_or(0) * 1_000_000 / time.as_micros().max(1)
}

fn shown(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |thousandth: usize| {
        let position = latencies.len().saturating_sub(1) * thousandth / 1_000;
        latencies.get(position).copied().unwrap_or_default()
    };
    let many = latencies.len();
    let [p50, p99, p999, most] = [at(500), at(990), at(999), at(1_000)];
    format!("{many} calls, p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}, max {most:.2?}")
}
