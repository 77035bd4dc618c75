//! The oracle: a crowd of callers does everything at once, some hang up, actors are killed by
//! panics; afterwards the journal, played in its order on the independent model, must give every
//! answer and every balance again. `FAREBOX_SEED` repeats a run, `FAREBOX_LONG` makes it long.

mod common;

use std::fmt::Write as _;
use std::sync::Arc;

use common::crowd::{Crowd, START_MS, prepare};
use common::dice::{self, Dice};
use common::env::{self, Faults, ManualClock, SeededIds};
use common::explained::explained;
use common::judge::{Tally, judge};
use common::keyed::Door;
use common::product;
use common::replay::{Counts, Replay, records};
use common::server::start_over;
use farebox::broker::{Broker, Options, Reach, Storage};
use farebox::config::Settings;
use farebox::domain::event::Record;
use farebox::domain::ids::{InstanceId, Sequence};
use farebox::error::BrokerError;
use farebox::journal::{MemoryDisk, MemorySnapshots};
use tokio::runtime::Builder;

const CALLERS: usize = 64;
/// So many decisions of a round are explained.
const EXPLAINED: usize = 10;

/// What a round is made of.
#[derive(Clone, Copy)]
struct Round {
    calls_each: usize,
    /// One question to clock or ids in so many ends in a panic; 0: none does.
    panic_one_in: u64,
}

/// What a round came to.
struct Report {
    tally: Tally,
    counts: Counts,
    panics: u64,
    stopped: bool,
}

/// One broker, from empty to closed, with a crowd in between.
fn play(seed: u64, round: Round) -> Report {
    let mut dice = Dice::new(seed);
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let faults = Faults::new(seed);
    let clock = Arc::new(ManualClock::with_faults(START_MS, &faults));
    let disk = MemoryDisk::new();
    let options = |disk: MemoryDisk| Options {
        storage: Storage::Custom(Arc::new(disk), Arc::new(MemorySnapshots::new())),
        settings: Settings { segment_bytes: 1 << 20, ..env::settings() },
        clock: Arc::clone(&clock) as _,
        ids: Arc::new(SeededIds::with_faults(seed, &faults)),
    };
    let broker = runtime.block_on(Broker::open(options(disk.clone()))).expect("it opens").broker;
    faults.learn();
    let instances = runtime.block_on(prepare(&broker, &mut dice));
    let mut server = runtime.block_on(start_over(broker.clone()));
    let mut crowd = Crowd::new(broker.clone(), Arc::clone(&clock), instances);
    crowd.door = Some(Door::of(&server));
    let crowd = Arc::new(crowd);
    faults.begin(round.panic_one_in);
    faults.dawdle();
    runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|name| {
                let dice = dice.fork(name as u64);
                tokio::spawn(Arc::clone(&crowd).caller(dice, name, round.calls_each))
            })
            .collect();
        for caller in callers {
            caller.await.expect("a caller comes to its end");
        }
    });
    faults.end();
    server.stop();
    runtime.block_on(server.served()); // What was asked over a socket has come to its end.

    // A second death at the same record stops a broker by design; what it said before holds.
    let stopped = runtime.block_on(settle(&broker, &crowd.instances));
    let _ = runtime.block_on(broker.catch_up()); // A broker that has given up runs nothing more.
    let mut replay = Replay::default();
    let records_now = records(broker.journal());
    let may_fail = |error: &BrokerError| {
        let unlucky = matches!(
            error,
            BrokerError::NoAnswer { .. } | BrokerError::Fault | BrokerError::SessionBusy { .. }
        );
        unlucky || (stopped.is_some() && matches!(error, BrokerError::Stopping))
    };
    let tally = judge(&mut replay, &records_now, &crowd.attempts(), may_fail);
    // Looking wakes the dead: the second death of an owner may only be found now.
    for session in replay.sessions.values() {
        let _ = runtime.block_on(broker.session(Reach::Everywhere, &session.to_string()));
    }
    let stopped = broker.failure().borrow().clone();
    if stopped.is_none() {
        runtime.block_on(replay.check_all(&broker));
    }
    runtime.block_on(broker.close()).expect("it closes");
    let played = replay.last.get();
    assert_eq!(records(broker.journal()).len() as u64, played, "nothing came after the end");
    explain_some(&broker, &records_now, &mut dice);
    let again = runtime.block_on(Broker::open(options(disk.after_kill()))).expect("it opens");
    runtime.block_on(replay.check_all(&again.broker));
    let (counts, panics) = (replay.counts, faults.thrown());
    runtime.shutdown_background();
    Report { tally, counts, panics, stopped: stopped.is_some() }
}

/// Some of the decisions, explained from the journal alone, come to what their records say.
fn explain_some(broker: &Broker, records: &[(Sequence, Record)], dice: &mut Dice) {
    let ids = records.iter().filter_map(|(_, record)| record.event.correlation());
    let ids: Vec<_> = ids.collect();
    for _ in 0..EXPLAINED {
        let id = *dice.pick(&ids);
        let explanation = explained(broker, id);
        assert!(explanation.consistent, "{explanation}");
    }
}

/// Waits until what hung-up callers asked for is done too: it goes on without them. Says whether
/// the broker has given up.
async fn settle(broker: &Broker, instances: &[InstanceId]) -> Option<String> {
    for _ in 0..2 {
        for instance in instances {
            let _ = broker.line_items(product::scope(*instance)).await; // Behind every turn.
        }
        let _ = broker.instances(Sequence::ZERO, 1).await; // Behind every change.
    }
    broker.failure().borrow().clone()
}

/// Plays rounds and prints what they proved.
fn play_all(rounds: u64, round: Round) {
    let first = dice::seed(1);
    let (mut line, mut panics, mut stopped) = (String::new(), 0, 0);
    let (mut tally, mut counts) = (Tally::default(), Counts::default());
    for number in 0..rounds {
        let seed = first.wrapping_add(number);
        println!("round with {}={seed}", dice::SEED); // Shown when the test fails.
        let report = play(seed, round);
        tally += report.tally;
        counts += report.counts;
        panics += report.panics;
        stopped += u64::from(report.stopped);
    }
    let _ = write!(line, "{rounds} rounds of {CALLERS} callers, {panics} panics in actors; ");
    println!("{line}{stopped} brokers gave up\n{tally:?}\n{counts:?}");
    assert!(counts.denied_sets > 0 && counts.splits > 0 && counts.refunds > 0, "too tame");
    assert!(tally.vanished > 0 && tally.unheard > 0 && tally.refusals > 0, "too tame");
    assert!(tally.no_price > 0, "no formula failed");
    assert!(tally.quotes > 0, "nobody asked for a quote");
    assert!(tally.again > 0 && tally.reused > 0, "too tame");
    assert!(
        tally.unknown == 0 || round.panic_one_in > 0,
        "nothing died, and an outcome is unknown"
    );
    assert!(panics > 0 || round.panic_one_in == 0, "no panic was thrown");
    assert!(stopped * 2 <= rounds, "too many brokers gave up");
}

fn rounds(usual: u64) -> u64 {
    if dice::is_long() { usual * 100 } else { usual }
}

#[test]
fn the_journal_played_on_the_model_gives_every_answer_again() {
    play_all(rounds(20), Round { calls_each: 12, panic_one_in: 0 });
}

#[test]
fn panics_in_actors_change_no_answer_and_no_balance() {
    play_all(rounds(20), Round { calls_each: 12, panic_one_in: 300 });
}
