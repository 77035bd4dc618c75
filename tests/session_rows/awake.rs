//! How many owners are awake while much falls due at the same time.

use farebox::broker::Storage;
use farebox::config::Settings;

use crate::common::crowd::START_MS;
use crate::house::{HOUR_MS, House, THIRTY_DAYS_MS, begin, kinds, one_thread, settings};

/// Sessions that have something due at once.
const SESSIONS: usize = 5_000;
/// How many owners may stay awake.
const AWAKE: usize = 5;
/// Who is being woken, and who has said good night but is not gone yet.
const IN_BETWEEN: usize = 10;

/// What the sessions use, when it falls due, and what that is.
const DUE: &[(&str, u64, &str)] =
    &[("", THIRTY_DAYS_MS, "expired"), ("1xPhotoPrint", HOUR_MS, "charge")];

/// Tasks of the runtime: each awake owner is one.
fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Once all of them stayed awake until the last event: who puts owners to sleep waited for the turn
/// that ran them.
#[test]
fn an_instance_that_catches_up_with_many_sessions_keeps_few_of_them_awake() {
    for (items, after, what) in DUE {
        one_thread().block_on(async {
            let settings = Settings { awake: AWAKE, ..settings() };
            let house = House::with(Storage::Memory, START_MS, settings).await;
            house.line_item("L", &["quantity=1000000"]).await;
            let none_awake = alive();
            for _ in 0..SESSIONS {
                let session = house.session().await;
                if !items.is_empty() {
                    house.put(&session, items).await.expect("it is granted");
                }
            }
            let last = house.last();
            let mut catching_up = Box::pin(house.at(START_MS + after));
            let mut most = 0;
            while begin(&mut catching_up).await.is_none() {
                most = most.max(alive());
                tokio::task::yield_now().await;
            }
            assert_eq!(kinds(&house.since(last)), vec![*what; SESSIONS]);
            assert!(most <= none_awake + AWAKE + IN_BETWEEN, "{what}: {most}, from {none_awake}");
        });
    }
}
