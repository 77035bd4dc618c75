//! When requests are due, and which are measured: by a time that is reckoned, for the open loop's
//! alarm is the kernel's.

use super::*;
use crate::measure::Charged;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const LOAD: Load = Load {
    arrival: Arrival::Open { per_second: 1_000 },
    connections: 1,
    threads: 1,
    warm_up: Duration::ZERO,
    lasting: Lasting::Time(ms(1_000)),
    seed: 1,
};

#[test]
fn arrivals_are_evenly_spaced() {
    for (number, per_second, nanoseconds) in [
        (0, 1, 0),
        (3, 1, 3_000_000_000),
        (1, 1_000, 1_000_000),
        (2_500, 1_000, 2_500_000_000),
        (1, 3, 333_333_333),
        (2, 3, 666_666_666),
        (3, 3, 1_000_000_000),
        (4, 3, 1_333_333_333),
        (7, 0, 7_000_000_000),
        (u64::from(u32::MAX), u32::MAX, 1_000_000_000),
    ] {
        let expected = Duration::from_nanos(nanoseconds);
        assert_eq!(due_after(number, per_second), expected, "{number} at {per_second}/s");
    }
}

#[test]
fn what_is_unsent_was_due_and_not_sent() {
    let open = |per_second| Arrival::Open { per_second };
    let time = Lasting::Time;
    for (arrival, lasting, warm_up, sent, expected) in [
        (open(1_000), time(ms(1_000)), ms(0), 1_000, 0),
        (open(1_000), time(ms(1_000)), ms(0), 999, 1),
        (open(1_000), time(ms(1_000)), ms(500), 1_200, 300),
        (open(3), time(ms(500)), ms(0), 2, 0), // Due after 0 and 333 ms.
        (open(3), time(ms(500)), ms(0), 0, 2),
        (open(1_000), time(ms(1_000)), ms(0), 1_001, 0),
        (open(1_000), Lasting::Requests(10), ms(0), 5, 0),
        (Arrival::Closed, time(ms(1_000)), ms(0), 0, 0),
    ] {
        let load = Load { arrival, lasting, warm_up, ..LOAD };
        assert_eq!(load.unsent(sent), expected, "{load:?}, {sent} sent");
    }
}

/// One connection, a target that takes so long for each request, and how many were sent.
fn reckoned(load: Load, takes: impl Fn(u64) -> Duration) -> (Measured, u64) {
    let mut measured = Measured::new(0).expect("good bounds");
    let (mut now, mut number) = (Duration::ZERO, 0);
    while let Some(due) = load.due(number, now) {
        let sent = now.max(due);
        now = sent + takes(number);
        if load.is_measured(sent) {
            measured.count(Outcome::Granted(Charged::default()), now - due);
        }
        number += 1;
    }
    (measured, number)
}

#[test]
fn a_stall_shows_in_every_request_of_the_open_loop_that_it_delayed() {
    let stalls_once = |number| if number == 100 { ms(200) } else { Duration::from_micros(500) };
    let (open, sent) = reckoned(LOAD, stalls_once);
    assert_eq!((open.granted, sent, LOAD.unsent(sent)), (1_000, 1_000, 0));
    // 200 are due meanwhile, and in the time in which two are asked one more comes.
    let delayed = open.latency.len() - open.latency.count_between(0, 600_000);
    assert!((395..=400).contains(&delayed), "{delayed} delayed");
    assert!(open.latency.value_at_quantile(0.8) >= 90_000_000);
    let (closed, _) = reckoned(Load { arrival: Arrival::Closed, ..LOAD }, stalls_once);
    assert_eq!(closed.latency.len() - closed.latency.count_between(0, 600_000), 1);
}

#[test]
fn a_target_that_is_too_slow_leaves_requests_unsent() {
    let (measured, sent) = reckoned(LOAD, |_| ms(4));
    assert_eq!((measured.granted, sent, LOAD.unsent(sent)), (250, 250, 750));
}

#[test]
fn what_is_sent_in_the_warm_up_is_not_measured() {
    let load = Load { warm_up: ms(200), ..LOAD };
    for arrival in [load.arrival, Arrival::Closed] {
        let (measured, sent) = reckoned(Load { arrival, ..load }, |_| ms(1));
        assert_eq!((measured.granted, sent), (1_000, 1_200), "{arrival:?}");
    }
}

#[test]
fn a_one_off_request_that_was_charged_another_price_has_failed() {
    let (one_off, put) = (Operation::OneOff { instance: 0 }, Operation::Put { slot: 0 });
    let granted = |tokens| Outcome::Granted(Charged::exactly(tokens));
    for (operation, outcome, expected) in [
        (one_off, granted(44), granted(44)),
        (one_off, granted(43), Outcome::Failed),
        (one_off, granted(88), Outcome::Failed),
        (one_off, Outcome::Refused, Outcome::Refused),
        (put, granted(0), granted(0)),
    ] {
        assert_eq!(judge(operation, outcome, 44), expected, "{operation:?} {outcome:?}");
    }
}
