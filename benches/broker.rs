//! The broker in process, end to end and durable: one-off requests by so many callers at a time, on
//! a directory and in memory. One caller by himself, in memory: to an actor and back, with a record
//! and without (a quote), and in the exclusive turn over several line items.

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
        let (broker, scope, request) = runtime.block_on(prepare(options, 1)).expect("a broker");
        let mut group = criterion.benchmark_group(format!("access: {store}"));
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
        for callers in [1, 16, 64, 256, 1_000] {
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

fn one_caller(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("one caller");
    for line_items in [1, 2, 5, 20] {
        let prepared = runtime.block_on(prepare(Options::memory(), line_items));
        let (broker, scope, request) = prepared.expect("a broker");
        let answer = runtime.block_on(broker.quote(scope, Arc::clone(&request))).expect("quoted");
        assert_eq!(answer.value.postings().len(), line_items, "charged to all of them");
        group.bench_function(BenchmarkId::new("quote", line_items), |bencher| {
            let quote = || broker.quote(scope, Arc::clone(&request));
            bencher.to_async(&runtime).iter(quote);
        });
        group.bench_function(BenchmarkId::new("access", line_items), |bencher| {
            let access = || broker.access(scope, Arc::clone(&request));
            bencher.to_async(&runtime).iter(access);
        });
        runtime.block_on(broker.close()).expect("closed");
    }
    group.finish();
}

criterion_group!(benches, access, one_caller);
criterion_main!(benches);
