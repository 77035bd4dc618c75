//! Who wakes the committer, and what shares a batch.

use std::ops::ControlFlow;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::*;
use crate::journal::{Journal, Known, MemoryDisk, Options, walk};

struct Done(oneshot::Sender<()>);

impl OnDurable for Done {
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>) {
        outcome.unwrap();
        self.0.send(()).unwrap();
    }
}

/// A journal whose committer has nothing to do and sleeps.
fn asleep(disk: &Arc<MemoryDisk>) -> Journal {
    let (shared, replay) = (Arc::clone(disk) as _, &mut |_: Sequence, _: &[u8]| Ok(()));
    let recovered = Journal::open(shared, Options::new(7), Known::default(), replay);
    let journal = recovered.unwrap().journal;
    while !journal.inner.line.lock().sleeping {
        std::thread::yield_now();
    }
    journal
}

fn append(journal: &Journal, payload: u8) -> oneshot::Receiver<()> {
    let (sender, durable) = oneshot::channel();
    journal.queue().unwrap().append(&[payload], Box::new(Done(sender)));
    durable
}

#[tokio::test]
async fn what_the_runtime_has_ready_shares_the_batch_of_the_first() {
    let disk = Arc::new(MemoryDisk::new());
    let journal = asleep(&disk);
    let tasks = (0..10).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let durable = append(&journal, number);
            // A committer that was awake would take what is there.
            (0..1_000).for_each(|_| std::thread::yield_now());
            durable.await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    journal.close().unwrap();
    let each = &mut |_: Sequence, _: &[u8]| ControlFlow::Continue(());
    let report = walk(disk.as_ref(), Sequence::new(1), each).unwrap();
    assert_eq!((report.batches, report.records), (1, 10));
}

#[test]
fn a_record_is_committed_although_the_runtime_ends_that_was_to_see_to_it() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let disk = Arc::new(MemoryDisk::new());
    let mut durable = None;
    let journal = runtime.block_on(async {
        let journal = asleep(&disk);
        durable = Some(append(&journal, 1));
        journal
    });
    drop(runtime);
    durable.unwrap().blocking_recv().unwrap();
    journal.close().unwrap();
}

#[test]
fn a_record_is_committed_although_the_runtime_of_a_visitor_stands_still() {
    let home = Builder::new_current_thread().build().unwrap();
    let disk = Arc::new(MemoryDisk::new());
    let journal = home.block_on(async { asleep(&disk) });
    let visitor = Builder::new_current_thread().build().unwrap();
    let mut durable = None;
    visitor.block_on(async { durable = Some(append(&journal, 1)) });
    durable.unwrap().blocking_recv().unwrap();
    journal.close().unwrap();
}
