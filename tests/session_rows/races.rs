//! Calls on one session that are made at once, and calls that race what falls due: H1, H2, H6, H8
//! and H27.

use std::sync::Arc;

use farebox::domain::event::{Event, Record};
use tokio::task::{JoinHandle, yield_now};

use crate::common::crowd::MINUTE_MS;
use crate::common::dice::{self, Dice};
use crate::common::model::whole;
use crate::house::{HOUR_MS, House, code, kind, kinds, many_threads, refund, refunded};

/// Does something in a task of its own, a little later or not.
fn soon<T: Send + 'static>(
    dice: &mut Dice,
    doing: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let (turns, threads) = (dice.below(3), dice.below(4));
    tokio::spawn(async move {
        for _ in 0..turns {
            yield_now().await;
        }
        for _ in 0..threads {
            std::thread::yield_now();
        }
        doing.await
    })
}

impl House {
    /// A session that has just been charged 30 tokens, and when.
    async fn active(&self) -> (String, u64) {
        let session = self.session().await;
        self.put(&session, "10xPhotoPrint").await.expect("it is granted");
        (session, self.clock.ms())
    }

    fn soon_put(&self, dice: &mut Dice, session: &str, items: &'static str) -> JoinHandle<String> {
        let (house, session) = (self.clone(), session.to_owned());
        soon(dice, async move { code(&house.put(&session, items).await).to_owned() })
    }

    fn soon_close(&self, dice: &mut Dice, session: &str) -> JoinHandle<String> {
        let (house, session) = (self.clone(), session.to_owned());
        soon(dice, async move { code(&house.close(&session).await).to_owned() })
    }

    fn soon_beat(&self, dice: &mut Dice, session: &str) -> JoinHandle<String> {
        let (house, session) = (self.clone(), session.to_owned());
        soon(dice, async move { code(&house.beat(&session).await).to_owned() })
    }

    fn soon_catch_up(&self, dice: &mut Dice) -> JoinHandle<()> {
        let broker = self.broker.clone();
        soon(dice, async move {
            broker.catch_up().await.expect("what is due can be run");
        })
    }

    fn soon_pass(&self, dice: &mut Dice, ms: u64) -> JoinHandle<()> {
        let clock = Arc::clone(&self.clock);
        soon(dice, async move { clock.advance(ms) })
    }
}

async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.expect("no panic"));
    }
    answers
}

async fn one<T>(task: JoinHandle<T>) -> T {
    task.await.expect("no panic")
}

#[test]
fn h1_a_put_and_a_close_at_once_cost_what_the_order_that_won_costs() {
    let mut dice = Dice::new(dice::seed(1));
    many_threads().block_on(async {
        let house = House::open().await;
        let (mut put_won, mut close_won) = (0, 0);
        for round in 0..1_000 {
            let (session, paid) = house.active().await;
            house.clock.advance(dice.below(59 * MINUTE_MS));
            let (before, last) = (house.used("L").await, house.last());
            let (put, passed, closed);
            if dice.chance(50) {
                put = house.soon_put(&mut dice, &session, "5xCADPrint 1xPhotoPrint");
                passed = house.soon_pass(&mut dice, 7);
                closed = house.soon_close(&mut dice, &session);
            } else {
                closed = house.soon_close(&mut dice, &session);
                passed = house.soon_pass(&mut dice, 7);
                put = house.soon_put(&mut dice, &session, "5xCADPrint 1xPhotoPrint");
            }
            one(passed).await;
            let (put, closed) = (one(put).await, one(closed).await);
            assert_eq!(closed, "ok", "round {round}");
            let records = house.since(last);
            let expected = match records.as_slice() {
                [put_record, close_record] => {
                    assert_eq!((kind(put_record), kind(close_record)), ("put", "close"));
                    assert_eq!(put, "ok", "round {round}");
                    put_won += 1;
                    let (put_at, end) = (put_record.at.as_ms(), close_record.at.as_ms());
                    let charged = whole(35) - refund(35, put_at, end) + whole(3);
                    charged - refund(3, put_at, end) - refund(30, paid, put_at)
                }
                [close_record] => {
                    assert_eq!(kind(close_record), "close");
                    assert_eq!(put, "session-terminated", "round {round}: the late one is refused");
                    close_won += 1;
                    -refund(30, paid, close_record.at.as_ms())
                }
                _ => panic!("round {round}: {records:?}"),
            };
            assert_eq!(house.used("L").await - before, expected, "round {round}: {records:?}");
            assert_eq!(house.state(&session).await, "TERMINATED", "round {round}");
        }
        println!("the PUT won {put_won} of 1000 rounds, the DELETE {close_won}");
        assert!(put_won > 50 && close_won > 50, "{put_won} and {close_won}: too tame");
    });
}

#[test]
fn h2_of_four_closes_at_once_one_is_done_and_gives_back_once() {
    let mut dice = Dice::new(dice::seed(2));
    many_threads().block_on(async {
        let house = House::open().await;
        for round in 0..300 {
            let (session, paid) = house.active().await;
            house.clock.advance(dice.below(59 * MINUTE_MS));
            let (before, last) = (house.used("L").await, house.last());
            let closing = (0..4).map(|_| house.soon_close(&mut dice, &session)).collect();
            let mut answers = all(closing).await;
            answers.push(code(&house.close(&session).await).to_owned()); // And later.
            answers.sort_unstable();
            let [done, refused @ ..] = answers.as_slice() else { panic!("five answers") };
            assert_eq!(done, "ok", "round {round}");
            assert!(refused.iter().all(|code| code == "session-terminated"), "{refused:?}");
            let records = house.since(last);
            assert_eq!(kinds(&records), ["close"], "round {round}");
            let back = refund(30, paid, house.clock.ms());
            assert_eq!(refunded(&records), back, "round {round}");
            assert_eq!(before - house.used("L").await, back, "round {round}: one refund");
        }
    });
}

#[test]
fn h6_a_heartbeat_that_was_answered_has_saved_its_session_whoever_raced_it() {
    let mut dice = Dice::new(dice::seed(3));
    many_threads().block_on(async {
        let house = House::open().await;
        let (mut saved, mut lost) = (0, 0);
        for round in 0..600 {
            let (session, paid) = house.active().await;
            house.at(paid + HOUR_MS).await; // The automatic charge.
            let deadline = paid + HOUR_MS + HOUR_MS / 2;
            house.at(deadline).await;
            let (before, last) = (house.used("L").await, house.last());
            let (mut beats, mut others) = (Vec::new(), Vec::new());
            let mut calls = [0, 0, 0, 1, 1, 2]; // Heartbeats, catching up, and time that passes.
            for place in (1..calls.len()).rev() {
                let with = usize::try_from(dice.below(place as u64 + 1)).expect("small");
                calls.swap(place, with);
            }
            for call in calls {
                match call {
                    0 => beats.push(house.soon_beat(&mut dice, &session)),
                    1 => others.push(house.soon_catch_up(&mut dice)),
                    _ => others.push(house.soon_pass(&mut dice, 1)),
                }
            }
            let (beats, _) = (all(beats).await, all(others).await);
            house.at(deadline + 1).await;
            let records = house.since(last);
            let charged = house.used("L").await - before;
            let state = house.state(&session).await;
            if beats.iter().any(|answer| answer == "ok") {
                saved += 1;
                assert!(beats.iter().all(|answer| answer == "ok"), "round {round}: {beats:?}");
                assert_eq!((state, charged), ("ACTIVE", whole(0)), "round {round}: {records:?}");
                assert_eq!(kinds(&records), ["heartbeat"], "round {round}");
                assert_eq!(heard(&records), [deadline], "round {round}");
                house.close(&session).await.expect("it is alive");
            } else {
                lost += 1;
                assert!(beats.iter().all(|answer| answer == "session-terminated"), "{beats:?}");
                assert_eq!((state, charged), ("TERMINATED", whole(-30)), "round {round}");
                assert_eq!(kinds(&records), ["expired"], "round {round}");
            }
        }
        println!("{saved} of 600 sessions were saved, {lost} were lost");
        assert!(saved > 20 && lost > 20, "{saved} and {lost}: too tame");
    });
}

fn heard(records: &[Record]) -> Vec<u64> {
    let heard = records.iter().filter_map(|record| {
        if let Event::Heartbeat { heard, .. } = record.event { Some(heard.as_ms()) } else { None }
    });
    heard.collect()
}

/// How many of the races were decided before the tick, and how many at it.
#[derive(Debug, Default)]
struct Ticks {
    before: u32,
    at: u32,
}

/// Two PUTs of these items at once, racing the tick of the automatic charge, which time may just be
/// coming to. All of it must cost what the moments of the PUTs say, the tick first at its own.
async fn race_the_tick(dice: &mut Dice, items: &'static str, price: u32, state: &str) {
    let house = House::open().await;
    let mut ticks = Ticks::default();
    for round in 0..300 {
        let (session, paid) = house.active().await;
        let (before, last) = (house.used("L").await, house.last());
        let (tick, early) = (paid + HOUR_MS, dice.below(2));
        house.clock.set(tick - early);
        let mut others = vec![house.soon_catch_up(dice)];
        let mut puts = vec![house.soon_put(dice, &session, items)];
        others.push(house.soon_pass(dice, early));
        puts.push(house.soon_put(dice, &session, items));
        others.push(house.soon_catch_up(dice));
        assert_eq!(all(puts).await, ["ok", "ok"], "round {round}");
        all(others).await;
        house.at(tick).await;

        let records = house.since(last);
        let shown = format!("round {round}: {records:?}");
        let (charges, puts) = records.split_at(records.len() - 2);
        assert_eq!(kinds(puts), ["put", "put"], "{shown}");
        let [first, second] = puts else { panic!("{shown}") };
        let (first, second) = (first.at.as_ms(), second.at.as_ms());
        let (charged, from) = if first == tick {
            ticks.at += 1;
            assert_eq!(kinds(charges), ["charge"], "{shown}");
            (whole(30), tick)
        } else {
            ticks.before += 1;
            assert_eq!(kinds(charges), [""; 0], "{shown}");
            (whole(0), paid)
        };
        let replaced = refund(30, from, first);
        let cost = charged - replaced + whole(2 * price) - refund(price, first, second);
        assert_eq!(house.used("L").await - before, cost, "{shown}");
        assert_eq!(house.state(&session).await, state, "{shown}");
        house.close(&session).await.expect("it is alive");
    }
    println!("{ticks:?}");
    assert!(ticks.before > 20 && ticks.at > 20, "{ticks:?}: too tame");
}

#[test]
fn h8_a_set_replaced_at_the_very_tick_pays_no_stretch_of_time_twice() {
    let mut dice = Dice::new(dice::seed(4));
    many_threads().block_on(race_the_tick(&mut dice, "20xPhotoPrint", 60, "ACTIVE"));
}

#[test]
fn h27_two_halts_that_race_the_tick_give_the_rest_back_once() {
    let mut dice = Dice::new(dice::seed(5));
    many_threads().block_on(race_the_tick(&mut dice, "", 0, "IDLE"));
}

/// Once an answer could overtake what it meant for the alarm: whoever moved the clock right after a
/// PUT was told that nothing was due.
#[test]
fn what_was_answered_falls_due_at_the_very_next_look() {
    many_threads().block_on(async {
        let house = House::open().await;
        for round in 0..1_000 {
            let last = house.last();
            let (session, paid) = house.active().await;
            house.at(paid + HOUR_MS).await;
            let records = house.since(last);
            let happened: Vec<_> = records.iter().skip(1).map(kind).collect(); // It was created.
            assert_eq!(happened, ["put", "charge"], "round {round}");
            house.close(&session).await.expect("it is alive");
        }
    });
}
