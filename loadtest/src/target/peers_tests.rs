//! The peers do what farebox does with a one-off request, on real servers: they charge, once under
//! a key, split what one line item does not have, and deny what is not there. And every server that
//! is compared starts, counts, and stands still. Skipped, with a word, where a server is not
//! installed; unless the variable `FAREBOX_PEERS` is set, which says that all are.

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::{Outcome, Target, postgres, redis};
use crate::Anything;
use crate::audit::Taken;
use crate::profile::Profile;
use crate::servers::{Kind, Server};
use crate::workload::Operation;

/// Where every request costs 44 tokens, and an instance has 150 in three line items.
fn profile() -> Profile {
    let mut profile = Profile::load("spill").expect("it is built in");
    profile.world.instances = 2;
    profile.world.line_items = vec![0, 50, 100];
    profile
}

fn server(kind: Kind) -> Option<Server> {
    match kind.check() {
        Ok(()) => Some(kind.start().expect("what is installed starts")),
        Err(missing) => {
            assert!(std::env::var_os("FAREBOX_PEERS").is_none(), "{missing}");
            eprintln!("skipped: {missing}");
            None
        }
    }
}

/// So many requests were charged to each instance, and nothing is oversold.
fn taken(requests: [i128; 2]) -> Taken {
    let by_instance = requests.map(|many| many * 44_000_000).to_vec();
    Taken { by_instance, ..Taken::default() }
}

/// The last line item, and no other, has given more than its 100 tokens.
fn assert_oversold(taken: &Taken) {
    assert_eq!((taken.oversold, taken.first_oversold.as_deref()), (1, Some("L1-2")));
}

/// Charges with these keys, one after the other, and looks at the answers.
async fn check(
    mut charge: impl AsyncFnMut(usize, Option<Uuid>) -> Result<String, Anything>,
    expected: [(Option<u128>, &str); 6],
) {
    for (position, (key, answer)) in expected.into_iter().enumerate() {
        let said = charge(0, key.map(Uuid::from_u128)).await.expect("it answers");
        assert_eq!(said, answer, "request {position}");
    }
}

/// With splitting: the second request takes the first line item's rest.
const SPLIT: [(Option<u128>, &str); 6] = [
    (None, "L0-1=44"),
    (Some(1), "L0-1=6 L0-2=38"),
    (Some(1), "L0-1=6 L0-2=38"),
    (None, "L0-2=44"),
    (Some(2), ""),
    (Some(2), ""),
];
/// Without: what is left of a line item stays there.
const WHOLE: [(Option<u128>, &str); 6] = [
    (None, "L0-1=44"),
    (Some(1), "L0-2=44"),
    (Some(1), "L0-2=44"),
    (None, "L0-2=44"),
    (Some(2), ""),
    (Some(2), ""),
];

#[tokio::test]
async fn redis_charges_once_splits_and_runs_dry() {
    let Some(server) = server(Kind::Redis) else { return };
    let prepared = Arc::new(redis::prepare(&server.url(), &profile()).await.unwrap());
    let mut connection = prepared.connect().await.unwrap();
    check(async |instance, key| connection.charge(instance, key).await, SPLIT).await;
    assert_eq!(prepared.used().await.unwrap(), taken([3, 0]));

    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let mut connection = prepared.connect().await.unwrap();
        callers.spawn(async move { connection.charge(1, None).await.unwrap() });
    }
    let granted = callers.join_all().await.iter().filter(|answer| !answer.is_empty()).count();
    assert_eq!(granted, 3);
    assert_eq!(prepared.used().await.unwrap(), taken([3, 3]));

    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut oversell = ::redis::cmd("HSET");
    oversell.arg("world:1:left:1").arg("L1-2").arg(-1);
    let _: i64 = oversell.query_async(&mut connection).await.unwrap();
    assert_oversold(&prepared.used().await.unwrap());
}

#[tokio::test]
async fn postgresql_charges_once_splits_and_runs_dry() {
    let Some(server) = server(Kind::Postgres) else { return };
    for (world, ending, expected) in [(1, "", WHOLE), (2, "?procedure", SPLIT)] {
        let url = server.url() + ending;
        let prepared = Arc::new(postgres::prepare(&url, &profile()).await.unwrap());
        let mut connection = prepared.connect().await.unwrap();
        check(async |instance, key| connection.charge(instance, key).await, expected).await;
        assert_eq!(prepared.used().await.unwrap(), taken([3, 0]), "{url}");

        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let mut connection = prepared.connect().await.unwrap();
            callers.spawn(async move { connection.charge(1, None).await.unwrap() });
        }
        let granted = callers.join_all().await.iter().filter(|answer| !answer.is_empty()).count();
        assert_eq!(granted, 3, "{url}");
        assert_eq!(prepared.used().await.unwrap(), taken([3, 3]), "{url}");

        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let oversell = format!("UPDATE world_{world}.line_item SET used = 101 WHERE id = 'L1-2'");
        client.batch_execute(&oversell).await.unwrap();
        assert_oversold(&prepared.used().await.unwrap());
    }
}

#[tokio::test]
async fn who_has_died_is_unreached_once_the_connection_is_known_to_be_broken() {
    for server in [Kind::Redis, Kind::Postgres].into_iter().filter_map(server) {
        let url = server.url();
        let target = Target::new(&url, None).unwrap();
        let prepared = target.prepare(&profile(), &ProgressBar::hidden()).await.unwrap();
        let mut connection = prepared.connect(0, 0).await.unwrap();
        drop(server);
        let mut asked = async || connection.ask(Operation::OneOff { instance: 0 }).await;
        assert_eq!(asked().await, Outcome::Unknown, "{url}: it may have arrived");
        assert_eq!(asked().await, Outcome::Unreached, "{url}");
    }
}

/// PostgreSQL tells of its syncs about once a second, and CPU time is counted in steps of 10 ms.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn every_server_starts_and_counts_what_it_does() {
    let kinds = [Kind::Noop, Kind::Farebox, Kind::Unsynced, Kind::Redis, Kind::Postgres];
    let (profile, hidden) = (profile(), ProgressBar::hidden());
    for server in kinds.into_iter().filter_map(server) {
        let url = server.url();
        let target = Target::new(&url, server.token().unwrap()).unwrap();
        let prepared = target.prepare(&profile, &hidden).await.unwrap();
        let mut connection = prepared.connect(0, 0).await.unwrap();
        server.pause().unwrap();
        let asked = connection.ask(Operation::OneOff { instance: 0 });
        let paused = tokio::time::timeout(Duration::from_millis(100), asked).await;
        assert!(paused.is_err(), "{url} stands still, and answered {paused:?}");
        server.resume().unwrap();

        let mut connection = prepared.connect(1, 0).await.unwrap();
        let (before, began) = (server.counters().unwrap(), Instant::now());
        for _ in 0..2 {
            let answer = connection.ask(Operation::OneOff { instance: 1 }).await;
            assert!(matches!(answer, Outcome::Granted(_)), "{url}: {answer:?}");
        }
        // farebox counts its syncs also where they are taken away.
        let (has_syncs, has_journal) = (!url.starts_with("noop"), url.starts_with("http"));
        loop {
            let after = server.counters().unwrap();
            let counted = after.cpu > before.cpu
                && (after.syncs > before.syncs) == has_syncs
                && (after.appended_bytes > before.appended_bytes) == has_journal;
            if counted {
                break;
            }
            assert!(began.elapsed() < TOLD_WITHIN, "{url}: {before:?} to {after:?}");
            let _ = connection.ask(Operation::OneOff { instance: 1 }).await;
            sleep(Duration::from_millis(2)).await;
        }
    }
}
