//! Many heartbeats of one session, and those that have to wait for their turn: H7, and the rule
//! that a heartbeat counts by when it was received (spec 4.4).

use farebox::domain::event::Event;
use farebox::error::{BrokerError, Effect};

use crate::common::crowd::MINUTE_MS;
use crate::common::model::whole;
use crate::house::{HOUR_MS, House, begin, code, kinds, many_threads, one_thread};

/// A session with an automatic charge just behind it: the end of its window.
async fn owing(house: &House) -> (String, u64) {
    let session = house.session().await;
    house.put(&session, "10xPhotoPrint").await.expect("it is granted");
    let charged = house.clock.ms() + HOUR_MS;
    house.at(charged).await;
    (session, charged + HOUR_MS / 2)
}

#[test]
fn h7_of_ten_thousand_heartbeats_in_a_row_the_first_of_each_window_is_a_record() {
    one_thread().block_on(async {
        let house = House::open().await;
        let session = house.session().await;
        house.put(&session, "10xPhotoPrint").await.expect("it is granted");
        let (start, last) = (house.clock.ms(), house.last());
        for number in 0..10_000 {
            // So many in each interval; those of the second half come too late, and do no harm.
            house.clock.set(start + HOUR_MS + number * 4 * HOUR_MS / 10_000);
            house.beat(&session).await.expect("it is alive");
        }
        let records = house.since(last);
        assert_eq!(kinds(&records), ["charge", "heartbeat"].repeat(4));
        for (number, record) in (1..).zip(records.chunks(2)) {
            let charged = start + number * HOUR_MS;
            assert_eq!([record[0].at.as_ms(), record[1].at.as_ms()], [charged, charged]);
        }
        let view = house.broker.sessions(house.scope).await.expect("listed").value;
        let heard = view[0].session.last_heartbeat.expect("it was heard").as_ms();
        assert_eq!(heard, house.clock.ms(), "every one moves lastHeartBeat");
    });
}

#[test]
fn h7_of_ten_thousand_heartbeats_at_once_four_wait_and_the_rest_is_told_to_come_back() {
    one_thread().block_on(async {
        let house = House::open().await;
        let (session, _) = owing(&house).await;
        let last = house.last();
        let (mut waiting, mut refused) = (Vec::new(), 0);
        for _ in 0..10_000 {
            let mut beat = Box::pin(house.beat(&session));
            match begin(&mut beat).await {
                None => waiting.push(beat),
                Some(answer) => {
                    let error = answer.expect_err("it does not wait for the others");
                    assert!(matches!(error, BrokerError::SessionBusy { limit: 4 }), "{error}");
                    assert_eq!((error.code(), error.effect()), ("session-busy", Effect::None));
                    refused += 1;
                }
            }
        }
        assert_eq!((waiting.len(), refused), (4, 9_996));
        for beat in waiting {
            beat.await.expect("it was let in");
        }
        assert_eq!(kinds(&house.since(last)), ["heartbeat"]);
        house.beat(&session).await.expect("there is room again");
        assert_eq!(kinds(&house.since(last)), ["heartbeat"]);
    });
}

#[test]
fn h7_ten_thousand_heartbeats_from_many_threads_leave_one_record() {
    many_threads().block_on(async {
        let house = House::open().await;
        let (session, _) = owing(&house).await;
        let last = house.last();
        let beating: Vec<_> = (0..10_000)
            .map(|_| {
                let (house, session) = (house.clone(), session.clone());
                tokio::spawn(async move { code(&house.beat(&session).await) })
            })
            .collect();
        let (mut heard, mut busy) = (0, 0);
        for beat in beating {
            match beat.await.expect("no panic") {
                "ok" => heard += 1,
                "session-busy" => busy += 1,
                other => panic!("{other}"),
            }
        }
        println!("{heard} heartbeats were answered, {busy} were told to come back");
        assert!(heard >= 4, "{heard}");
        assert_eq!(kinds(&house.since(last)), ["heartbeat"]);
        assert_eq!(house.state(&session).await, "ACTIVE");
    });
}

/// Once an answered call kept its place for a moment: four callers who each wait for their answers
/// were told that they are too many.
#[test]
fn h7_four_callers_who_wait_for_their_answers_are_never_too_many() {
    many_threads().block_on(async {
        let house = House::open().await;
        let (session, _) = owing(&house).await;
        let calling: Vec<_> = (0..4)
            .map(|number| {
                let (house, session) = (house.clone(), session.clone());
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let answer = match number {
                            0 => code(&house.put(&session, "1xUnknown").await),
                            _ => code(&house.beat(&session).await),
                        };
                        assert_eq!(answer, "ok", "caller {number}");
                    }
                })
            })
            .collect();
        for calls in calling {
            calls.await.expect("there is room for four");
        }
    });
}

/// Heartbeats received so many milliseconds after the deadline, who comes before them, and whether
/// the session lives on. Once the last of several was the only one that counted.
const RECEIVED: &[(&[i64], &str, bool)] = &[
    (&[0], "a PUT of another session", true),
    (&[0], "somebody who looks when the deadline is over", true),
    (&[-1], "somebody who looks when the deadline is over", true),
    (&[1], "a PUT of another session", false),
    (&[1], "somebody who looks when the deadline is over", false),
    (&[0, 1], "a PUT of another session", true),
    (&[0, 1], "somebody who looks when the deadline is over", true),
    (&[-1, 0, 1], "somebody who looks when the deadline is over", true),
    (&[1, 2], "somebody who looks when the deadline is over", false),
];

#[test]
fn a_heartbeat_received_by_the_deadline_counts_however_long_it_waits_and_whoever_follows() {
    for (late, first, lives) in RECEIVED {
        one_thread().block_on(async {
            let house = House::open().await;
            let other = house.session().await;
            let (session, deadline) = owing(&house).await;
            let received = late.iter().map(|late| deadline.checked_add_signed(*late));
            let received: Vec<_> = received.map(|at| at.expect("a time")).collect();
            house.clock.set(received[0].min(deadline)); // Nothing is due yet, so a PUT is let in.
            let (before, last) = (house.used("L").await, house.last());
            // The turn of the instance is in this call's message, until this task rests.
            let mut holding = Box::pin(house.put(&other, "1xPhotoPrint"));
            assert!(begin(&mut holding).await.is_none());
            let mut looking = Box::pin(house.state(&session));
            if first.starts_with("somebody") {
                assert!(begin(&mut looking).await.is_none());
            }
            let mut beats = Vec::new();
            for at in &received {
                house.clock.set(*at);
                let mut beat = Box::pin(house.beat(&session));
                assert!(begin(&mut beat).await.is_none());
                beats.push(beat);
            }
            house.clock.set(deadline + 10 * MINUTE_MS);
            let beating = async {
                let mut answers = Vec::new();
                for beat in beats {
                    answers.push(code(&beat.await));
                }
                answers
            };
            let (held, state, answers) = tokio::join!(holding, looking, beating);

            let shown = format!("received {late:?} ms after the deadline, behind {first}");
            held.expect("it is granted");
            let (expected, answer, record, cost) = if *lives {
                ("ACTIVE", "ok", "heartbeat", 0)
            } else {
                ("TERMINATED", "session-terminated", "expired", -30)
            };
            assert_eq!(state, expected, "{shown}");
            assert_eq!(answers, vec![answer; late.len()], "{shown}");
            let records = house.since(last);
            let charged = house.used("L").await - before - whole(3);
            assert_eq!(kinds(&records), ["put", record], "{shown}");
            if let Event::Heartbeat { heard, .. } = records[1].event {
                assert_eq!(heard.as_ms(), received[0], "{shown}");
            }
            assert_eq!(charged, whole(cost), "{shown}");
            assert_eq!(house.state(&session).await, expected, "{shown}");
        });
    }
}

#[test]
fn a_heartbeat_that_was_told_to_come_back_is_no_sign_of_life() {
    one_thread().block_on(async {
        let house = House::open().await;
        let (session, deadline) = owing(&house).await;
        house.clock.set(deadline);
        let last = house.last();
        let mut asking: Vec<_> =
            (0..4).map(|_| Box::pin(house.put(&session, "1xUnknown"))).collect();
        for put in &mut asking {
            assert!(begin(put).await.is_none());
        }
        let mut beat = Box::pin(house.beat(&session));
        let refused = begin(&mut beat).await.expect("it does not wait");
        assert_eq!(code(&refused), "session-busy");
        house.clock.set(deadline + 1);
        for (number, put) in asking.into_iter().enumerate() {
            // The first one had its turn when nothing was due.
            let expected = if number == 0 { "ok" } else { "session-terminated" };
            assert_eq!(code(&put.await), expected, "PUT {number}");
        }
        let records = house.since(last);
        assert_eq!(kinds(&records), ["put", "expired"]);
        assert_eq!(house.state(&session).await, "TERMINATED");
    });
}
