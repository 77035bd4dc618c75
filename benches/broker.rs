//! The broker in process, end to end and durable: one-off requests by so many callers at a time, on
//! a directory and in memory.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use farebox::auth::Scope;
use farebox::broker::{Broker, Options};
use farebox::domain::request::AccessRequest;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[path = "common/broker.rs"]
mod prepared;
use prepared::prepare;

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
