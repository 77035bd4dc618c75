//! What a broker that was stopped finds again, through the library.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farebox::auth::Principal;
use farebox::broker::{Broker, Options, Storage};
use farebox::domain::ids::Requester;
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;
use farebox::journal::{
    ENTRIES_MAX, Entry, Mark, MemoryDisk, MemorySnapshots, SnapshotError, Snapshots,
};
use tokio::task::yield_now;

/// Only a hang takes so long.
const HANG: Duration = Duration::from_secs(20);

/// Snapshots that say when a write begins, and wait until they may go on.
struct Gated {
    kept: MemorySnapshots,
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl Snapshots for Gated {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Option<Mark>, SnapshotError> {
        self.kept.load(each)
    }

    fn write(&self, entries: &[Entry]) -> Result<(), SnapshotError> {
        let _ = self.begun.send(());
        let _ = self.go.lock().expect("no write panics").recv(); // Open once nobody can send.
        self.kept.write(entries)
    }

    fn finish(&self, mark: Mark) -> Result<(), SnapshotError> {
        self.kept.finish(mark)
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        self.kept.clear()
    }
}

fn options(disk: &MemoryDisk, snapshots: &Arc<Gated>) -> Options {
    let snapshots = Arc::clone(snapshots);
    let mut options = Options::new(Storage::Custom(Arc::new(disk.clone()), snapshots));
    options.settings.snapshot_every = Duration::from_millis(1);
    options
}

async fn begun_again(begins: &Arc<Mutex<Receiver<()>>>) {
    let begins = Arc::clone(begins);
    let waiting = move || begins.lock().expect("nobody panics").recv_timeout(HANG);
    let begun = tokio::task::spawn_blocking(waiting).await;
    begun.expect("it does not panic").expect("a pass begins");
}

/// A stop once gave the pass that was under way up: what that pass had taken to write was in no
/// snapshot, the last pass moved the watermark over it, and the next start had lost it.
#[tokio::test]
async fn a_stop_in_the_middle_of_a_snapshot_pass_loses_nothing() {
    let (begun, begins) = channel();
    let (open, go) = channel();
    let kept = MemorySnapshots::new();
    let snapshots = Arc::new(Gated { kept, begun, go: Mutex::new(go) });
    let disk = MemoryDisk::new();
    let broker = Broker::open(options(&disk, &snapshots)).await.unwrap().broker;

    let rated = RatedItem {
        name: "PhotoPrint".parse().unwrap(),
        version: "1.0".parse().unwrap(),
        rate: "3".parse().unwrap(),
    };
    let table = NewRateTable {
        series: "".parse().unwrap(),
        version: "1".parse().unwrap(),
        effective_from: Timestamp::from_ms(0),
        items: vec![rated],
    };
    broker.publish_rate_table(table).await.unwrap();
    let begins = Arc::new(Mutex::new(begins));
    begun_again(&begins).await; // The first pass: it has the table only, and stays where it is.
    let mut created = Vec::new();
    for _ in 0..ENTRIES_MAX {
        let entry = broker.create_instance("i".parse().unwrap(), "ACME".parse().unwrap()).await;
        created.push(entry.unwrap().value.id);
    }
    let scope = Principal::administration().scope(created[0]).unwrap();
    let end = Timestamp::from_ms(253_402_300_000_000);
    let terms = Terms::new("ACT01".parse().unwrap(), 1000, Timestamp::from_ms(0), end);
    broker.map_line_item(scope, terms).await.unwrap();
    let asked = RequestedItem {
        name: "PhotoPrint".parse().unwrap(),
        version: "1.0".parse().unwrap(),
        count: "10".parse().unwrap(),
        metadata: None,
        variables: Variables::default(),
    };
    let requester = Requester {
        kind: "user".parse().unwrap(),
        value: "LisaBarry".parse().unwrap(),
        dictionary: Dictionary::default(),
    };
    let request = Arc::new(AccessRequest { requester, items: vec![asked] });
    broker.access(scope, request).await.unwrap();

    open.send(()).unwrap();
    // The second pass has taken everything else, and writes the first half of it.
    begun_again(&begins).await;
    let closing = broker.clone();
    let closing = tokio::spawn(async move { closing.close().await });
    for _ in 0..100 {
        yield_now().await; // The stop comes as far as it can while the pass is held.
    }
    assert!(!closing.is_finished());
    drop(open);
    closing.await.unwrap().unwrap();

    let opened = Broker::open(options(&disk, &snapshots)).await.unwrap();
    assert_eq!(opened.replayed, 0, "the snapshots have everything");
    let line_item = opened.broker.line_item(scope, "ACT01").await.unwrap().value;
    assert_eq!(line_item.balance.used.to_string(), "30");
    opened.broker.close().await.unwrap();
}
