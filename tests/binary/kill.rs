//! kill -9 at random moments under load, again and again on one directory (P3, J10), with clean
//! stops in between so that snapshots take part, and with kills while a stop is under way.
//!
//! `FAREBOX_LONG=1` kills 500 times instead of 20, in ten directories; `FAREBOX_SEED=n` repeats the
//! choices of a run (not the scheduling: that is the machine's).

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::path::Path;

use farebox::domain::charge::Verdict;
use farebox::domain::event::Event;
use farebox::domain::ids::Sequence;
use farebox::domain::tokens::Tokens;
use farebox::journal::{Directory, format, walk};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::dice::{self, Dice};
use crate::process::{HANG, Served, ran, serve, text};
use crate::world::{Charge, World};

/// How a run of the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    /// SIGTERM, and the server ends by itself.
    Clean,
    /// SIGTERM, and SIGKILL while it finishes requests, writes the last snapshots, or closes.
    KillWhileStopping,
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9_at_random_moments_under_load() {
    let seed = dice::seed(RandomState::new().build_hasher().finish());
    let dice = Dice::new(seed);
    // A cycle takes longer the longer the journal is: it is read whole, twice.
    let (directories, kills) = if dice::is_long() { (10, 50) } else { (1, 20) };
    for directory in 0..directories {
        let place = format!("FAREBOX_SEED={seed} directory={directory}");
        kill_again_and_again(&place, dice.fork(directory), kills).await;
    }
}

async fn kill_again_and_again(directory: &str, mut dice: Dice, kills: u32) {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    let (mut used, mut charges, mut killed) = (world.used(&served).await, Vec::new(), 0);
    let (mut from_both, mut cycles) = (0, 0);
    while killed < kills {
        cycles += 1;
        let end = match cycles % 6 {
            3 => End::Clean,
            5 => End::KillWhileStopping,
            _ => End::Kill,
        };
        killed += u32::from(end != End::Clean);
        let place = format!("{directory} cycle={cycles} {end:?}");
        println!("{place}");
        let (answers, breaths) = (1 + dice.below(400), dice.below(100));
        let told = world
            .load(&mut served, &dice.fork(cycles), async |served: &mut Served, counted| {
                wait_for(counted, answers, breaths).await;
                stop(served, end, breaths * 5).await;
            })
            .await;

        let last = verified(&data).await;
        assert!(told.last <= last, "{place}: {} was acknowledged, {last} is there", told.last);
        served = serve(&data).await;
        assert_eq!(served.logged("last"), last, "{place}");
        let replayed = served.logged("replayed");
        match end {
            End::Clean => assert_eq!(replayed, 0, "{place}: a clean stop leaves nothing to replay"),
            End::Kill | End::KillWhileStopping => {
                from_both += u32::from(0 < replayed && replayed < last);
            }
        }
        world.check(&served, &used, &told).await;
        used = world.used(&served).await;
        charges.extend(told.charges);
    }
    served.stop().await;
    assert!(from_both > 0, "{directory}: no start used a snapshot and the journal after it");
    let count = charges.len();
    audit(&data, charges);
    println!("{killed} kills, {count} acknowledged charges, {from_both} starts with snapshots");
}

/// Waits until so many answers were acknowledged, and then a moment that is not one of an answer.
async fn wait_for(mut counted: watch::Receiver<u64>, answers: u64, breaths: u64) {
    let enough = tokio::time::timeout(HANG, counted.wait_for(|count| *count >= answers)).await;
    enough.expect("the clients get on").expect("the clients are there");
    for _ in 0..breaths {
        yield_now().await;
    }
}

async fn stop(served: &mut Served, end: End, breaths: u64) {
    if end != End::Kill {
        served.process.signal("TERM").await;
    }
    match end {
        End::Kill => served.process.kill().await,
        End::Clean => {
            let status = served.process.end().await;
            assert_eq!(status.code(), Some(0), "{}", served.process.said());
        }
        End::KillWhileStopping => {
            served.process.logs("draining").await;
            for _ in 0..breaths {
                let _ = TcpStream::connect(&served.address).await; // Refused: as good as a pause.
            }
            served.process.kill().await;
        }
    }
}

/// `farebox verify` finds everything in order; the last record that it saw.
async fn verified(data: &Path) -> u64 {
    let verified = ran(&["verify", "--data", text(data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let last = verified.stdout.split_once("last record ").map(|(_, rest)| rest);
    let last = last.and_then(|rest| rest.split_whitespace().next());
    last.and_then(|last| last.parse().ok()).unwrap_or_else(|| panic!("{verified:?}"))
}

/// Every acknowledged charge is the record that its answer named.
fn audit(data: &Path, charges: Vec<Charge>) {
    let count = charges.len();
    let mut charges: BTreeMap<u64, Charge> =
        charges.into_iter().map(|charge| (charge.sequence, charge)).collect();
    assert_eq!(charges.len(), count, "no two answers name one record");
    let disk = Directory::read_only(data.join("journal")).expect("the journal is there");
    let walked = walk(&disk, Sequence::new(1), &mut |sequence, payload| {
        let Some(charge) = charges.remove(&sequence.get()) else {
            return ControlFlow::Continue(());
        };
        let record = format::decode(payload).expect("a record");
        let (correlation, verdicts) = if let Event::Access(access) = &record.event {
            (access.correlation, &access.verdicts)
        } else if let Event::SessionAccess(access) = &record.event {
            (access.correlation, &access.verdicts)
        } else {
            panic!("{charge:?} is another record: {record:?}")
        };
        let takes = verdicts.iter().flat_map(|verdict| match verdict {
            Verdict::Granted(takes) => takes.as_slice(),
            Verdict::Denied(_) => &[],
        });
        let total = takes
            .fold(Tokens::ZERO, |sum, take| sum.checked_add(take.tokens).expect("small amounts"));
        assert_eq!(correlation.to_string(), charge.correlation, "{charge:?}");
        assert_eq!(total, Tokens::whole(charge.tokens), "{charge:?}");
        ControlFlow::Continue(())
    });
    walked.expect("the journal is in order");
    assert!(charges.is_empty(), "acknowledged and not in the journal: {charges:?}");
}
