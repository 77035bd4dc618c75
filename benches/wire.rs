//! What JSON costs: an access request in, and its answer out.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use farebox::benching::{answer_writer, read_request};
use farebox::broker::Options;
use tokio::runtime::Runtime;

#[path = "common/broker.rs"]
mod prepared;
use prepared::prepare;

/// The tutorial's request, the same as [`prepare`] makes.
const BODY: &[u8] = br#"{
    "requester": { "type": "user", "value": "LisaBarry" },
    "requestedItems": [ { "item": "PhotoPrint", "version": "1.0", "count": 10 },
                        { "item": "CADPrint", "version": "2.0", "count": 2 } ] }"#;

fn json(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (broker, scope, request) =
        runtime.block_on(prepare(Options::memory(), 1)).expect("a broker");
    assert_eq!(read_request(BODY).as_ref(), Some(request.as_ref()));
    let answer = runtime.block_on(broker.access(scope, request)).expect("charged").value;
    runtime.block_on(broker.close()).expect("closed");
    let write = answer_writer(BODY).expect("a request");

    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    group.bench_function("a request in", |bencher| {
        bencher.iter(|| read_request(black_box(BODY)));
    });
    group.throughput(Throughput::Bytes(write(&answer).len() as u64));
    group.bench_function("its answer out", |bencher| bencher.iter(|| write(black_box(&answer))));
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
