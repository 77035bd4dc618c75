//! The broker in process, end to end and durable: one-off requests by so many callers at a time, on
//! a directory and in memory.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use farebox::auth::{Principal, Scope};
use farebox::broker::{Broker, Options};
use farebox::domain::ids::Requester;
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

type Anything = Box<dyn std::error::Error>;

async fn prepare(options: Options) -> Result<(Broker, Scope, Arc<AccessRequest>), Anything> {
    let broker = Broker::open(options).await?.broker;
    let item = |name: &str, version: &str, rate: &str| -> Result<RatedItem, Anything> {
        Ok(RatedItem { name: name.parse()?, version: version.parse()?, rate: rate.parse()? })
    };
    let items = vec![item("PhotoPrint", "1.0", "3")?, item("CADPrint", "2.0", "7")?];
    let (series, version) = ("".parse()?, "1".parse()?);
    let effective_from = Timestamp::from_ms(1_698_849_852_000);
    broker.publish_rate_table(NewRateTable { series, version, effective_from, items }).await?;
    let instance = broker.create_instance("ACME".parse()?, "ACME".parse()?).await?.value;
    let scope = Principal::administration().scope(instance.id)?;
    let end = broker.now().plus_ms(86_400_000);
    let quantity = 9_000_000_000_000_000_000;
    let terms = Terms::new("ACT01".parse()?, quantity, Timestamp::default(), end);
    broker.map_line_item(scope, terms).await?;
    let item = |name: &str, version: &str, count: &str| -> Result<RequestedItem, Anything> {
        let (name, version, count) = (name.parse()?, version.parse()?, count.parse()?);
        Ok(RequestedItem { name, version, count, metadata: None, variables: Variables::default() })
    };
    let items = vec![item("PhotoPrint", "1.0", "10")?, item("CADPrint", "2.0", "2")?];
    let requester = Requester {
        kind: "user".parse()?,
        value: "LisaBarry".parse()?,
        dictionary: Dictionary::default(),
    };
    Ok((broker, scope, Arc::new(AccessRequest { requester, items })))
}

/// `count` requests, by `callers` callers who each wait for their answer before they ask again.
async fn charge(
    broker: &Broker,
    scope: Scope,
    request: &Arc<AccessRequest>,
    callers: u64,
    count: u64,
) {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (broker, request) = (broker.clone(), Arc::clone(request));
        let own = count / callers + u64::from(caller < count % callers);
        tasks.spawn(async move {
            for _ in 0..own {
                broker.access(scope, Arc::clone(&request)).await.expect("charged");
            }
        });
    }
    tasks.join_all().await;
}

fn access(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let stores =
        [("memory", Options::memory()), ("directory", Options::directory(directory.path()))];
    for (store, options) in stores {
        let (broker, scope, request) = runtime.block_on(prepare(options)).expect("a broker");
        let mut group = criterion.benchmark_group(format!("access: {store}"));
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
        for callers in [1, 16, 64, 256] {
            group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
                bencher.to_async(&runtime).iter_custom(|count| {
                    let (broker, request) = (broker.clone(), Arc::clone(&request));
                    async move {
                        let started = tokio::time::Instant::now();
                        charge(&broker, scope, &request, callers, count).await;
                        started.elapsed()
                    }
                });
            });
        }
        group.finish();
        runtime.block_on(broker.close()).expect("closed");
    }
}

criterion_group!(benches, access);
criterion_main!(benches);
