//! What the journal costs: so many records appended, written and synced as one batch, on a
//! directory and in memory.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use farebox::domain::ids::Sequence;
use farebox::journal::{
    Directory, Disk, Journal, JournalDown, Known, MemoryDisk, OnDurable, Options,
};
use tokio::time::Instant;

/// About as long as the record of a one-off request of two items.
const RECORD: [u8; 200] = [7; 200];

/// Says when its record is durable, if somebody asked.
struct Durable(Option<Sender<Result<Sequence, JournalDown>>>);

impl OnDurable for Durable {
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>) {
        if let Some(sender) = self.0 {
            let _ = sender.send(outcome); // Somebody waits.
        }
    }
}

/// How long so many batches take, one after the other: while the queue is held the committer takes
/// none of it.
fn commit(disk: Arc<dyn Disk>, records: u64, batches: u64) -> Duration {
    let mut nothing = |_: Sequence, _: &[u8]| Ok(());
    let opened = Journal::open(disk, Options::new(1), Known::default(), &mut nothing);
    let journal = opened.expect("a new journal").journal;
    let (sender, durable) = channel();
    let started = Instant::now();
    for _ in 0..batches {
        let mut queue = journal.queue().expect("it is open");
        for left in (0..records).rev() {
            let last = (left == 0).then(|| sender.clone());
            queue.append(&RECORD, Box::new(Durable(last)));
        }
        drop(queue);
        durable.recv().expect("an answer").expect("durable");
    }
    let took = started.elapsed();
    journal.close().expect("closed");
    took
}

fn append(criterion: &mut Criterion) {
    for store in ["memory", "directory"] {
        let mut group = criterion.benchmark_group(format!("append: {store}"));
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        for records in [1, 16, 128, 1_024] {
            group.throughput(Throughput::Elements(records));
            group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
                bencher.iter_custom(|batches| {
                    if store == "memory" {
                        return commit(Arc::new(MemoryDisk::new()), records, batches);
                    }
                    let home = tempfile::tempdir().expect("a directory");
                    let disk = Directory::open(home.path().join("journal")).expect("a directory");
                    commit(Arc::new(disk), records, batches)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
