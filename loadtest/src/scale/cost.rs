//! What a request costs, and what there is takes of memory, by how much there is.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::ClockId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Plan;
use super::table::{COST_UNIT, Table};
use super::world::{World, request};
use crate::Anything;
use crate::machine::own_cpu_time;

/// Line items of an instance where nothing else is said.
const PER_INSTANCE: usize = 1_000;
/// What fewer take cannot be told from what the allocator keeps ready.
const WEIGHED_FROM: usize = 10_000;
const COLUMNS: [&str; 4] = ["line items", "wall µs a request", "CPU µs a request", "p99 µs"];

/// What requests took.
pub(super) struct Cost {
    wall_us: f64,
    cpu_us: f64,
    p99_us: f64,
}

/// By line items, 1,000 to an instance, and then, in the same world, by live sessions; and what
/// each takes of memory: in one world, so that it is not taken from what another left to the
/// allocator.
pub(super) async fn of_a_growing_world(plan: &Plan) -> Result<[Table; 3], Anything> {
    let home = tempfile::tempdir()?;
    let mut world = World::new(home.path(), plan.snapshot_every).await?;
    let title = "One-off requests by line items, 1,000 to an instance".to_owned();
    let mut by_line_items =
        Table::new("line-items", title, &COLUMNS, (2, COST_UNIT), &plan.progress);
    let (empty, mut of_line_items) = (resident_bytes()?, Vec::new());
    for size in plan.sizes(plan.largest) {
        world.add_line_items(size, PER_INSTANCE, plan).await?;
        world.settle().await?;
        of_line_items.push((size, resident_bytes()?.saturating_sub(empty)));
        by_line_items.add(one_offs(&world, plan).await?.row(size));
    }

    let title = "One-off requests and session PUTs by live sessions, beside all of them".to_owned();
    let columns = &[
        "live sessions",
        "wall µs a request",
        "CPU µs a request",
        "wall µs a PUT",
        "CPU µs a PUT",
        "p99 µs of requests",
        "p99 µs of PUTs",
    ];
    let mut by_sessions = Table::new("sessions", title, columns, (4, COST_UNIT), &plan.progress);
    by_sessions.add(one_offs(&world, plan).await?.beside(&Cost::UNKNOWN, 0));
    let (empty, mut of_sessions) = (resident_bytes()?, Vec::new());
    for size in plan.sizes(plan.largest) {
        world.add_sessions(size, plan).await?;
        world.settle().await?;
        of_sessions.push(resident_bytes()?.saturating_sub(empty));
        let requests = one_offs(&world, plan).await?;
        let puts = match size < plan.callers {
            true => Cost::UNKNOWN, // Two callers would wait for each other in one session.
            false => puts(&world, plan).await?,
        };
        by_sessions.add(requests.beside(&puts, size));
    }
    world.stop().await?;

    let title = "Resident memory, by how many there are".to_owned();
    let columns = &["line items, and sessions", "bytes a line item", "bytes a session"];
    let mut memory = Table::new("memory", title, columns, (2, "bytes"), &plan.progress);
    for ((size, line_items), sessions) in of_line_items.into_iter().zip(of_sessions) {
        if size >= WEIGHED_FROM.min(plan.largest) {
            let size = size as f64;
            memory.add(vec![size, line_items as f64 / size, sessions as f64 / size]);
        }
    }
    Ok([by_line_items, by_sessions, memory])
}

/// By line items, so many to an instance.
pub(super) async fn by_line_items(
    name: &'static str,
    how: &str,
    per_instance: usize,
    plan: &Plan,
) -> Result<Table, Anything> {
    let home = tempfile::tempdir()?;
    let mut world = World::new(home.path(), plan.snapshot_every).await?;
    let title = format!("One-off requests by line items, {how}");
    let mut table = Table::new(name, title, &COLUMNS, (2, COST_UNIT), &plan.progress);
    for size in plan.sizes(plan.largest) {
        world.add_line_items(size, per_instance, plan).await?;
        world.settle().await?;
        table.add(one_offs(&world, plan).await?.row(size));
    }
    world.stop().await?;
    Ok(table)
}

/// By items in the rate table: each size has an instance and a series of its own.
pub(super) async fn by_rated_items(most: usize, plan: &Plan) -> Result<Table, Anything> {
    let title = "One-off requests by items in the rate table".to_owned();
    let columns = &["rated items", "wall µs a request", "CPU µs a request", "p99 µs"];
    let mut table = Table::new("rated-items", title, columns, (2, COST_UNIT), &plan.progress);
    for size in plan.sizes(most) {
        let home = tempfile::tempdir()?;
        let mut world = World::new(home.path(), plan.snapshot_every).await?;
        world.publish("rated", size).await?;
        world.add_instances(1, plan).await?;
        let scope = *world.scopes.first().ok_or("no instance")?;
        world.map(scope, "L", "rated").await?;
        world.settle().await?;
        table.add(one_offs(&world, plan).await?.row(size));
        world.stop().await?;
    }
    Ok(table)
}

impl Cost {
    const UNKNOWN: Cost = Cost { wall_us: f64::NAN, cpu_us: f64::NAN, p99_us: f64::NAN };

    /// Behind how much there was.
    pub(super) fn row(&self, size: usize) -> Vec<f64> {
        vec![size as f64, self.wall_us, self.cpu_us, self.p99_us]
    }

    /// The same with the cost of something else.
    fn beside(&self, other: &Cost, size: usize) -> Vec<f64> {
        let [own, others] = [self, other].map(|cost| [cost.wall_us, cost.cpu_us]);
        [&[size as f64], &own[..], &others[..], &[self.p99_us, other.p99_us]].concat()
    }
}

/// One-off requests, in all instances in turn.
pub(super) async fn one_offs(world: &World, plan: &Plan) -> Result<Cost, Anything> {
    let asked = request()?;
    measure(world, plan, move |world, turn| {
        let asked = Arc::clone(&asked);
        async move {
            let scope = world.scopes.get(turn % world.scopes.len()).ok_or("no instance")?;
            world.broker.access(*scope, asked).await?;
            Ok(())
        }
    })
    .await
}

/// All sessions in turn are told the set again that they have. Each caller keeps to his own, so
/// that no two meet in one.
async fn puts(world: &World, plan: &Plan) -> Result<Cost, Anything> {
    let (set, callers) = (request()?, plan.callers);
    measure(world, plan, move |world, turn| {
        let set = Arc::clone(&set);
        async move {
            let (round, caller) = (turn / callers, turn % callers);
            let position = round % (world.sessions.len() / callers) * callers + caller;
            let id = world.sessions.get(position).ok_or("no session")?;
            world.put(id, set).await
        }
    })
    .await
}

/// What callers ask one after the other, who take turns: after a warm-up of a quarter of the time.
async fn measure<F>(
    world: &World,
    plan: &Plan,
    ask: impl Fn(World, usize) -> F + Clone + Send + 'static,
) -> Result<Cost, Anything>
where
    F: Future<Output = Result<(), Anything>> + Send,
{
    let mut turn = 0;
    let mut run = async |lasting: Duration| {
        let (began, mut callers) = (Instant::now(), JoinSet::new());
        for caller in turn..turn + plan.callers {
            let (world, ask, all) = (world.clone(), ask.clone(), plan.callers);
            callers.spawn(async move {
                let mut latency = Histogram::<u64>::new(3)?;
                let mut turn = caller;
                while began.elapsed() < lasting {
                    let asked = Instant::now();
                    ask(world.clone(), turn).await?;
                    latency.record(u64::try_from(asked.elapsed().as_nanos())?)?;
                    turn += all;
                }
                Ok::<_, Anything>((latency, turn))
            });
        }
        let mut latency = Histogram::<u64>::new(3)?;
        while let Some(ended) = callers.join_next().await {
            let (of_caller, reached) = ended??;
            latency.add(of_caller)?;
            turn = turn.max(reached.next_multiple_of(plan.callers));
        }
        Ok::<_, Anything>((latency, began.elapsed()))
    };
    run(plan.lasting / 4).await?;
    let before = own_cpu_time(ClockId::ProcessCPUTime);
    let (latency, wall) = run(plan.lasting).await?;
    let cpu = own_cpu_time(ClockId::ProcessCPUTime).saturating_sub(before);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / latency.len().max(1) as f64;
    let p99_us = latency.value_at_quantile(0.99) as f64 / 1e3;
    Ok(Cost { wall_us: each(wall), cpu_us: each(cpu), p99_us })
}

/// Memory that this process has.
fn resident_bytes() -> Result<u64, Anything> {
    let pages = procfs::process::Process::myself()?.statm()?.resident;
    Ok(pages * procfs::page_size())
}
