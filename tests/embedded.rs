//! The embedded broker as its callers meet it: full, in panic, contended, stopping, hung up on.

mod common;

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::crowd::START_MS;
use common::disks::MoodyDisk;
use common::env::{Faults, ManualClock, SeededIds, settings};
use common::model::{Item, RateTable};
use common::replay::records;
use common::rig::{Still, at_once, in_memory};
use common::script::{rated, terms};
use common::server::start_over;
use common::{dice, product};
use farebox::auth::Scope;
use farebox::broker::{Broker, Options, Reach, Storage};
use farebox::config::{Limits, Settings};
use farebox::domain::charge::Verdict;
use farebox::domain::event::Event;
use farebox::domain::request::AccessRequest;
use farebox::domain::session::OnDeny;
use farebox::error::{BrokerError, Effect};
use farebox::journal::{MemoryDisk, MemorySnapshots};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

fn options(storage: Storage, faults: &Arc<Faults>, settings: Settings) -> Options {
    Options {
        storage,
        settings,
        clock: Arc::new(ManualClock::at(START_MS)),
        ids: Arc::new(SeededIds::with_faults(1, faults)),
    }
}

/// A broker with one instance, Draw = 1, and line items of so many tokens, in this order.
async fn open(options: Options, quantities: &[(&str, u32)]) -> (Broker, Scope) {
    let broker = Broker::open(options).await.expect("it opens").broker;
    let created = broker.create_instance(product::text("short"), product::text("Acme")).await;
    let scope = product::scope(created.expect("it is created").value.id);
    let table = RateTable {
        series: "P".to_owned(),
        version: "1".to_owned(),
        effective_from: START_MS,
        items: vec![rated("Draw=1")],
    };
    broker.publish_rate_table(product::new_table(&table)).await.expect("it is published");
    for (place, (activation, quantity)) in (9_000..).zip(quantities) {
        let words = [format!("quantity={quantity}"), format!("end={place}")];
        let [quantity, end] = [words[0].as_str(), words[1].as_str()];
        let terms = product::new_terms(activation, &terms(&[quantity, end]), "");
        broker.map_line_item(scope, terms).await.expect("it is mapped");
    }
    (broker, scope)
}

fn draw(count: u32) -> Arc<AccessRequest> {
    let item = Item::new("Draw", "", &count.to_string());
    product::request("somebody", &[item]).expect("a valid count")
}

async fn used(broker: &Broker, scope: Scope, activation: &str) -> String {
    let view = broker.line_item(scope, activation).await.expect("it can be read");
    view.value.balance.used.to_string()
}

/// H15.
#[test]
fn of_a_thousand_requests_for_the_last_token_exactly_one_is_granted() {
    let runtime = many_threads();
    let rounds = if dice::is_long() { 200 } else { 5 };
    for _ in 0..rounds {
        runtime.block_on(async {
            let options = options(Storage::Memory, &Faults::new(1), settings());
            let (broker, scope) = open(options, &[("L", 3)]).await;
            broker.access(scope, draw(2)).await.expect("two of three");
            let asking: Vec<_> = (0..1_000)
                .map(|_| {
                    let broker = broker.clone();
                    tokio::spawn(async move { broker.access(scope, draw(1)).await })
                })
                .collect();
            let mut granted = 0;
            for answer in asking {
                let answer = answer.await.expect("no panic").expect("an answer").value;
                granted += answer.verdicts().iter().filter(|verdict| is_granted(verdict)).count();
            }
            assert_eq!(granted, 1);
            assert_eq!(used(&broker, scope, "L").await, "3");
        });
    }
}

fn is_granted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Granted(_))
}

/// H16: with fewer tokens than that each, five line items pay together, in one record.
#[test]
fn a_request_spilled_over_five_line_items_is_one_record() {
    let still = Still::new();
    still.runtime.block_on(async {
        let five = [("A", 1), ("B", 2), ("C", 3), ("D", 4), ("E", 5)];
        let disk = MemoryDisk::new();
        let storage = in_memory(disk.clone(), MemorySnapshots::new());
        let (broker, scope) = open(options(storage, &Faults::new(1), settings()), &five).await;
        let before = broker.journal().last();
        let answer = broker.access(scope, draw(14)).await.expect("there is enough");
        assert_eq!(answer.sequence, before.next());
        assert_eq!(broker.journal().last(), before.next(), "one request, one record");
        assert_eq!(answer.value.postings().len(), 5);
        // A crash right after it: all of it or nothing of it, whichever record is the last.
        for left in [disk.after_kill(), disk.after_power_cut(0), disk.after_power_cut(40)] {
            let storage = in_memory(left, MemorySnapshots::new());
            let options = options(storage, &Faults::new(1), settings());
            let again = Broker::open(options).await.expect("it opens").broker;
            let mut told = Vec::new();
            for (activation, _) in five {
                told.push(used(&again, scope, activation).await);
            }
            assert_eq!(told, ["1", "2", "3", "4", "4"]);
        }
    });
}

#[test]
fn a_full_house_refuses_at_once_and_still_lets_heartbeats_and_closes_in() {
    let still = Still::new();
    let disk = MoodyDisk::new(MemoryDisk::new());
    let limits = Limits { in_flight: 3, in_flight_per_instance: 2, ..settings().limits };
    let settings = Settings { limits, ..settings() };
    still.runtime.block_on(async {
        let storage = in_memory(disk.clone(), MemorySnapshots::new());
        let (broker, scope) = open(options(storage, &Faults::new(1), settings), &[("L", 9)]).await;
        let session = broker.create_session(scope).await.expect("it is created").value.to_string();
        let blocked = disk.block(); // Answers wait, with their places.
        let ask = || {
            let broker = broker.clone();
            tokio::spawn(async move { broker.access(scope, draw(1)).await })
        };
        let waiting = [ask(), ask()];
        for _ in 0..50 {
            yield_now().await;
        }
        let refused = at_once(broker.access(scope, draw(1))).await;
        let refused = refused.expect_err("the instance is full");
        assert!(matches!(refused, BrokerError::Overloaded { limit: 2 }), "{refused}");
        assert_eq!(refused.effect(), Effect::None);
        let elsewhere = tokio::spawn({
            let broker = broker.clone();
            async move { broker.rate_tables().await }
        });
        yield_now().await;
        let refused = at_once(broker.rate_tables()).await.expect_err("the house is full");
        assert!(matches!(refused, BrokerError::Overloaded { limit: 3 }), "{refused}");
        let closing = tokio::spawn({
            let broker = broker.clone();
            async move { broker.close_session(Reach::Everywhere, &session).await }
        });
        yield_now().await;
        drop(blocked);
        for answer in waiting {
            answer.await.expect("no panic").expect("it was inside");
        }
        elsewhere.await.expect("no panic").expect("it was inside");
        closing.await.expect("no panic").expect("closes have places of their own");
        assert_eq!(used(&broker, scope, "L").await, "2");
    });
}

/// H25. Each panic kills an owner, or the task of a request; nobody else notices.
#[test]
fn a_panic_costs_its_request_an_answer_and_nothing_else() {
    let still = Still::new();
    let faults = Faults::new(1);
    still.runtime.block_on(async {
        let five = [("A", 2), ("B", 100)];
        let (broker, scope) = open(options(Storage::Memory, &faults, settings()), &five).await;
        let session = broker.create_session(scope).await.expect("it is created").value.to_string();
        let (mut charged, mut panics) = (0_u32, 0);
        for _ in 0..3 {
            faults.begin(1); // Over both line items: decided in the exclusive turn.
            let error = broker.access(scope, draw(3)).await.expect_err("its maker died");
            faults.end();
            assert!(matches!(error, BrokerError::NoAnswer { .. }), "{error}");
            assert!(broker.readiness().is_ok(), "nothing was appended, so nothing is in doubt");
            panics += 1;
        }
        for round in 0..24 {
            faults.begin(1); // The next question for an id is answered with a panic.
            let failed = match round % 3 {
                0 => broker.access(scope, draw(1)).await.map(|_| ()),
                1 => {
                    let put = OnDeny::Rollback;
                    let asked = broker.session_access(Reach::Everywhere, &session, draw(1), put);
                    asked.await.map(|_| ())
                }
                _ => broker.access(scope, draw(3)).await.map(|_| ()), // Over both, at first.
            };
            faults.end();
            let error = failed.expect_err("its maker died");
            let fine = matches!(error, BrokerError::NoAnswer { .. } | BrokerError::Fault);
            assert!(fine, "{error}");
            panics += 1;
            // The next one works, with the right balance; it also gives every owner a new record,
            // since two deaths at one record would stop the broker.
            let asked =
                broker.session_access(Reach::Everywhere, &session, draw(1), OnDeny::Rollback);
            asked.await.expect("it is rebuilt");
            let answer = broker.access(scope, draw(1)).await.expect("it is rebuilt").value;
            assert!(answer.verdicts().iter().all(is_granted), "{answer:?}");
            charged += 1;
            // The session was charged once, and each new set gave back what the last had taken.
            let total: u32 =
                sum(&[used(&broker, scope, "A").await, used(&broker, scope, "B").await]);
            assert_eq!(total, charged + 1, "round {round}");
        }
        assert_eq!(faults.thrown(), panics);
        assert!(broker.readiness().is_ok());
        assert!(broker.failure().borrow().is_none());
    });
}

fn sum(tokens: &[String]) -> u32 {
    tokens.iter().map(|tokens| tokens.parse::<u32>().expect("whole tokens")).sum()
}

/// Lets a future come as far as it gets at once; it has to wait then.
async fn begin<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    tokio::select! {
        biased;
        _ = future => panic!("it does not wait"),
        () = ready(()) => {}
    }
}

#[test]
fn closing_waits_for_those_inside_and_turns_everybody_else_away() {
    let still = Still::new();
    still.runtime.block_on(async {
        let options = options(Storage::Memory, &Faults::new(1), settings());
        let (broker, scope) = open(options, &[("L", 1_000)]).await;
        let mut inside: Vec<_> = (0..20).map(|_| Box::pin(broker.access(scope, draw(1)))).collect();
        for asked in &mut inside {
            begin(asked).await; // Let in; nothing is decided before this task rests.
        }
        let mut last = Box::pin(broker.create_session(scope));
        begin(&mut last).await; // Let in as well, and behind the others.
        let mut closing = Box::pin(broker.close());
        for _ in 0..2_000 {
            begin(&mut closing).await; // However long the last one takes.
            yield_now().await;
        }
        let error = at_once(broker.access(scope, draw(1))).await;
        let error = error.expect_err("the door is shut");
        assert!(matches!(error, BrokerError::Stopping), "{error}");
        let served = async {
            for asked in inside {
                asked.await.expect("those inside are served");
            }
        };
        let (closed, (), created) = tokio::join!(closing, served, last);
        closed.expect("a clean stop");
        created.expect("the last is served too");
        let error = broker.line_items(scope).await.expect_err("it is closed");
        assert_eq!((error.code(), error.effect()), ("stopping", Effect::None));
        let noted = 1; // That the clock is moved by hand.
        assert_eq!(records(broker.journal()).len(), noted + 3 + 20 + 1);
    });
}

/// Whoever hangs up has asked once or not at all, and every token is accounted for.
#[test]
fn a_request_whose_caller_hung_up_is_done_whole_or_not_at_all() {
    let runtime = many_threads();
    let hung_up = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let two = [("A", 400), ("B", 10_000)];
        let options = options(Storage::Memory, &Faults::new(1), settings());
        let (broker, scope) = open(options, &two).await;
        let callers: Vec<_> = (0..64)
            .map(|name| {
                let (broker, hung_up) = (broker.clone(), Arc::clone(&hung_up));
                let mut dice = dice::Dice::new(name);
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let broker = broker.clone();
                        let asked =
                            tokio::spawn(async move { broker.access(scope, draw(3)).await });
                        for _ in 0..dice.below(4) {
                            yield_now().await;
                        }
                        asked.abort();
                        hung_up.fetch_add(u64::from(asked.await.is_err()), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("a caller comes to its end");
        }
        broker.close().await.expect("a clean stop");
        let mut charged = 0;
        for (_, record) in records(broker.journal()) {
            if let Event::Access(access) = record.event {
                let taken = product::amount(access.verdicts[0].total());
                assert_eq!(taken, common::model::whole(3), "all of it: {access:?}");
                charged += 1;
            }
        }
        let gone = hung_up.load(Ordering::SeqCst);
        println!("{gone} of 1280 callers hung up, {charged} requests were done");
        assert!(gone > 100 && charged + gone >= 1_280, "{gone} {charged}");
    });
}

/// What a call wakes lived on in the runtime of its caller once, and stood still with it.
#[test]
fn what_a_call_has_woken_goes_on_when_the_runtime_of_its_caller_stands_still() {
    let home = many_threads();
    let quantities = [("FIRST", 6), ("SECOND", 100)];
    let (broker, scope) =
        home.block_on(open(options(Storage::Memory, &Faults::new(1), settings()), &quantities));
    let visitor = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let session = visitor.block_on(async {
        broker.access(scope, draw(5)).await.expect("one line item is woken");
        broker.access(scope, draw(5)).await.expect("both are, in the exclusive turn");
        broker.create_session(scope).await.expect("a session").value.to_string()
    });
    visitor
        .block_on(broker.session_access(Reach::Everywhere, &session, draw(1), OnDeny::Rollback))
        .expect("it is woken");
    home.block_on(async {
        broker.access(scope, draw(5)).await.expect("nobody stands still");
        broker.heartbeat(Reach::Everywhere, &session).await.expect("the session neither");
        assert_eq!(used(&broker, scope, "SECOND").await, "10");
        broker.close().await.expect("closed");
    });
}

#[test]
fn a_quote_needs_no_room_on_the_disk() {
    many_threads().block_on(async {
        let disk = MoodyDisk::new(MemoryDisk::new());
        let storage = in_memory(disk.clone(), MemorySnapshots::new());
        let (broker, scope) =
            open(options(storage, &Faults::new(1), settings()), &[("L", 100_000)]).await;
        let session = broker.create_session(scope).await.expect("it is created").value.to_string();
        disk.fill_up();
        let mut granted = 0;
        let refused = loop {
            match broker.access(scope, draw(1)).await {
                Ok(_) => granted += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, BrokerError::StorageFull), "{refused}");
        let (everywhere, on_deny) = (Reach::Everywhere, OnDeny::Rollback);
        let refused = broker.session_access(everywhere, &session, draw(1), on_deny).await;
        assert!(matches!(refused, Err(BrokerError::StorageFull)), "{refused:?}");

        let quote = broker.quote(scope, draw(1)).await.expect("it is only told");
        assert!(quote.value.verdicts().iter().all(is_granted));
        let quote = broker.quote_session(everywhere, &session, draw(1), on_deny).await;
        let quote = quote.expect("it is only told");
        assert!(quote.value.verdicts().iter().all(is_granted));
        assert_eq!(quote.sequence, broker.journal().last());
        assert_eq!(used(&broker, scope, "L").await, granted.to_string());
    });
}

/// What is not decided for want of room keeps nothing under its key: neither a charge nor a refusal.
#[test]
fn a_call_under_a_key_that_finds_the_disk_full_is_decided_once_when_there_is_room() {
    many_threads().block_on(async {
        let disk = MoodyDisk::new(MemoryDisk::new());
        let storage = in_memory(disk.clone(), MemorySnapshots::new());
        let (broker, scope) =
            open(options(storage, &Faults::new(1), settings()), &[("L", 100_000)]).await;
        let session = broker.create_session(scope).await.expect("it is created").value.to_string();
        let server = start_over(broker.clone()).await;
        let path = format!("/api/v1.1/instances/{}", scope.instance());
        let charge = format!("POST {path}/access-request\nidempotency-key: charge");
        let item = r#"{"item":"Draw","count":1}"#;
        let one =
            format!(r#"{{"requester":{{"type":"user","value":"u"}},"requestedItems":[{item}]}}"#);
        let delete = format!("DELETE {path}/line-items/L\nidempotency-key: delete");
        disk.fill_up();
        while broker.access(scope, draw(1)).await.is_ok() {}
        let before = sum(&[used(&broker, scope, "L").await]);
        let full = (507, "storage-full".to_owned());
        for (target, body) in [(&charge, one.as_str()), (&delete, ""), (&charge, &one)] {
            let answer = server.admin(target, body).await;
            assert_eq!(answer.outcome(), full, "{target}");
            assert_eq!(answer.json()["effect"], "none");
        }
        disk.make_room();
        // Whether there is room is seen when the committer wants it: what gives tokens back may
        // use the last of what there was.
        let first = loop {
            let answer = server.admin(&charge, &one).await;
            if answer.status != 507 {
                break answer;
            }
            let halt = product::request("somebody", &[]).expect("it asks for nothing");
            let halted = broker.session_access(Reach::Everywhere, &session, halt, OnDeny::Rollback);
            halted.await.expect("a halt is let in");
        };
        assert_eq!(first.outcome(), (200, "ok".to_owned()), "{first:?}");
        let refused = server.admin(&delete, "").await;
        assert_eq!(refused.outcome(), (409, "not-obsolete".to_owned()));
        let last = broker.journal().last();
        for (target, body, told) in [(&charge, one.as_str(), &first), (&delete, "", &refused)] {
            let again = server.admin(target, body).await;
            assert_eq!((again.status, &again.body), (told.status, &told.body));
            assert_eq!(again.header("x-sequence"), told.header("x-sequence"));
        }
        assert_eq!(broker.journal().last(), last, "nothing was decided again");
        assert_eq!(sum(&[used(&broker, scope, "L").await]), before + 1);
    });
}
