//! Many callers at once (components 7.3): as many succeed as there is room for, and whoever waits in
//! line is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farebox::auth::{Principal, Scope};
use farebox::broker::{Answer, BeginSession, Broker, LeaseAnswer, LicenseChange, Options, Storage};
use farebox::domain::components::{EntitlementStanding, Pool, Who};
use farebox::domain::ids::{InstallationId, UserId};
use farebox::error::Effect;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

use crate::common::env::{Faults, ManualClock, SeededIds};
use crate::common::product::text;
use crate::desk::{LICENSE, PRODUCT, options, set_up};
use crate::script::{self, term};

fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime")
}

/// A broker with the usual licence, whose E1 has so many tokens and E3 so many seats.
async fn opened(tokens: u64, seats: u64) -> (Broker, (InstallationId, UserId)) {
    let clock = Arc::new(ManualClock::at(term().0));
    let opened = Broker::open(options(Storage::Memory, &clock, 1)).await;
    let broker = opened.expect("it opens").broker;
    let (_, program) = stocked(&broker, tokens, seats).await;
    (broker, program)
}

/// The usual licence, whose E1 has so many tokens and E3 so many seats.
async fn stocked(broker: &Broker, tokens: u64, seats: u64) -> (Scope, (InstallationId, UserId)) {
    let (scope, program) = set_up(broker, &script::LICENSE).await;
    for (id, tokens, sessions, components) in
        [("E1", tokens, 0, vec!["Mesher"]), ("E3", 0, seats, vec!["Viewer", "Editor"])]
    {
        let change = LicenseChange::SaveEntitlement {
            license: text(LICENSE),
            id: text(id),
            components: components.into_iter().map(text).collect(),
            pool: Pool::Own { tokens: Some(tokens), sessions: Some(sessions) },
        };
        broker.change_license(scope, change).await.expect("it is saved");
    }
    (scope, program)
}

async fn begun(broker: &Broker, program: (InstallationId, UserId)) -> String {
    let begin = BeginSession {
        product: text(PRODUCT),
        installation: program.0,
        identity: None,
        who: Who::Id(program.1),
        version: text("1.0"),
        duration_s: None,
    };
    let answer = broker.begin_session(&Principal::administration(), begin).await;
    answer.expect("it begins").value.session_id.to_string()
}

async fn check_out(broker: &Broker, key: &str, name: &str, wait_s: u64) -> Answer<LeaseAnswer> {
    broker.check_out(&Principal::administration(), key, vec![text(name)], wait_s).await
}

#[test]
fn of_n_parallel_checkouts_as_many_succeed_as_there_is_room_for() {
    const CALLERS: u64 = 40;
    many_threads().block_on(async {
        for room in [0, 1, 7, 39, 40] {
            let (broker, program) = opened(room * 30, room).await;
            let mut callers = JoinSet::new();
            for number in 0..CALLERS {
                let key = begun(&broker, program).await;
                let broker = broker.clone();
                callers.spawn(async move {
                    let name = if number % 2 == 0 { "Viewer" } else { "Editor" };
                    let seat = check_out(&broker, &key, name, 0).await;
                    let tokens = check_out(&broker, &key, "Mesher", 0).await;
                    let granted = |answer: Answer<LeaseAnswer>| {
                        answer.expect("it is answered").value.denied.is_none()
                    };
                    (u64::from(granted(seat)), u64::from(granted(tokens)))
                });
            }
            let all = callers.join_all().await;
            let sum = |of: fn(&(u64, u64)) -> u64| all.iter().map(of).sum::<u64>();
            assert_eq!((sum(|one| one.0), sum(|one| one.1)), (room, room));
        }
    });
}

/// No seat is given twice, none stays free while somebody waits, and everybody has a turn.
#[test]
fn everybody_in_a_line_is_served_one_after_the_other() {
    const CALLERS: u64 = 60;
    const SEATS: u64 = 3;
    many_threads().block_on(async {
        let (broker, program) = opened(0, SEATS).await;
        let (sitting, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let key = begun(&broker, program).await;
            let (broker, sitting, most) = (broker.clone(), Arc::clone(&sitting), Arc::clone(&most));
            callers.spawn(async move {
                let answer = check_out(&broker, &key, "Viewer", 60).await.expect("it is answered");
                assert_eq!(answer.value.denied, None, "nobody's time has passed");
                let seats = |all: &EntitlementStanding| all.sessions_in_use;
                let taken = answer.value.standing.entitlements.iter().map(seats).max();
                assert!(taken <= Some(SEATS), "a seat was given twice: {taken:?}");
                let now = sitting.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                for _ in 0..number % 5 {
                    yield_now().await;
                }
                sitting.fetch_sub(1, Ordering::SeqCst);
                let caller = Principal::administration();
                let back = broker.check_in(&caller, &key, vec![text("Viewer")]).await;
                back.expect("it is given back");
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.expect("it comes to its end");
        }
        assert!(most.load(Ordering::SeqCst) <= SEATS, "a seat was given twice");
        assert!(broker.waiters(LICENSE).await.expect("it is answered").value.is_empty());
    });
}

/// What the session and its pools hold is read back from the journal, and whoever waits is served
/// all the same.
#[test]
fn a_session_whose_actor_dies_comes_back_with_all_that_it_holds() {
    many_threads().block_on(async {
        let faults = Faults::new(1);
        let clock = Arc::new(ManualClock::at(term().0));
        let ids = Arc::new(SeededIds::with_faults(1, &faults));
        let options = Options { ids, ..options(Storage::Memory, &clock, 1) };
        let broker = Broker::open(options).await.expect("it opens").broker;
        let (_, program) = stocked(&broker, 30, 1).await;
        let [holder, other] = [begun(&broker, program).await, begun(&broker, program).await];
        for name in ["Mesher", "Viewer"] {
            let answer = check_out(&broker, &holder, name, 0).await.expect("it is answered");
            assert_eq!(answer.value.denied, None);
        }
        let waiting = tokio::spawn({
            let (broker, other) = (broker.clone(), other.clone());
            async move { check_out(&broker, &other, "Editor", 60).await }
        });
        while broker.waiters(LICENSE).await.expect("it is answered").value.is_empty() {
            yield_now().await;
        }
        faults.begin(1);
        let dead = check_out(&broker, &holder, "Editor", 0).await;
        faults.end();
        assert_eq!(dead.expect_err("nobody answers").effect(), Effect::Unknown);
        assert!(faults.thrown() > 0);
        let caller = Principal::administration();
        let status = broker.components_status(&caller, &holder).await.expect("it is answered");
        assert_eq!(status.value.lease.holds.len(), 2, "{:?}", status.value.lease);
        assert!(!waiting.is_finished(), "the seat is taken");
        broker.end_session(&caller, &holder, false).await.expect("it ends");
        let served = waiting.await.expect("it comes to its end").expect("it is answered");
        assert_eq!(served.value.denied, None);
    });
}
