//! What becomes of a key, told as small stories.

use super::*;

const KEEP: Duration = Duration::from_millis(100);

fn call(key: u128, instance: Option<u128>, fingerprint: u128) -> KeyedCall {
    KeyedCall {
        key: IdempotencyKey::from_u128(key),
        instance: instance.map(InstanceId::from_u128),
        fingerprint: Fingerprint::from_u128(fingerprint),
    }
}

fn at(ms: u64) -> SessionTime {
    SessionTime::from_ms(ms)
}

fn of(
    keys_max: usize,
    keys_max_per_instance: usize,
    known: impl IntoIterator<Item = (Name, Place)>,
) -> Arc<KeyIndex> {
    let settings = Idempotency { keep: KEEP, keys_max, keys_max_per_instance };
    let mut remembered = Remembered::new(KEEP);
    known.into_iter().for_each(|(name, place)| remembered.load(name, place));
    Arc::new(KeyIndex::new(settings, remembered))
}

fn keys(max: usize) -> Arc<KeyIndex> {
    of(max, max, [])
}

/// Reserves as one who may touch everything.
fn reserve(keys: &Arc<KeyIndex>, call: KeyedCall, ms: u64) -> Reserved {
    keys.reserve(call, at(ms), None)
}

fn first(keys: &Arc<KeyIndex>, call: KeyedCall, ms: u64) -> Reservation {
    let Reserved::First(reservation) = reserve(keys, call, ms) else { panic!("it is the first") };
    reservation
}

/// What happens to a call, in a word.
fn word(reserved: &Reserved) -> String {
    match reserved {
        Reserved::First(_) => "first".to_owned(),
        Reserved::Answered(sequence) => format!("answered by {sequence}"),
        Reserved::Wait(_) => "wait".to_owned(),
        Reserved::TooManyWaiting => "too many".to_owned(),
        Reserved::Reused => "reused".to_owned(),
        Reserved::Full { limit, in_ms } => format!("{limit} for {in_ms} ms"),
    }
}

#[test]
fn sixteen_wait_for_a_call_in_flight_and_no_more() {
    let (keys, asked) = (keys(9), call(1, None, 7));
    let flight = first(&keys, asked, 0);
    let mut waiting: Vec<_> = (0..16).map(|_| reserve(&keys, asked, 0)).collect();
    assert!(waiting.iter().all(|reserved| word(reserved) == "wait"));
    assert_eq!(word(&reserve(&keys, asked, 0)), "too many");
    waiting.pop();
    assert_eq!(word(&reserve(&keys, asked, 0)), "wait", "one place is free again");
    keys.place(&asked, Sequence::new(5), at(0));
    assert_eq!(word(&reserve(&keys, asked, 0)), "wait", "it is not durable yet");
    drop(flight);
    assert_eq!(word(&reserve(&keys, asked, 0)), "answered by 5");
    assert_eq!(word(&reserve(&keys, call(1, None, 8), 0)), "reused");
}

#[test]
fn a_call_that_comes_to_nothing_frees_its_key_and_wakes_who_waits() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (keys, asked) = (keys(1), call(1, None, 7));
    let flight = first(&keys, asked, 0);
    let Reserved::Wait(waiting) = reserve(&keys, asked, 0) else { panic!("it waits") };
    drop(flight);
    runtime.block_on(waiting.done());
    let again = first(&keys, asked, 0);
    assert_eq!(word(&reserve(&keys, call(2, None, 7), 0)), "1 for 0 ms");
    drop(again);
    assert_eq!(word(&reserve(&keys, call(2, None, 7), 0)), "first");
    assert!(keys.take_unsaved().is_empty(), "nothing of it is to be saved");
}

#[test]
fn a_key_is_forgotten_when_it_is_old_enough_and_the_snapshots_are_told() {
    let (keys, asked) = (keys(1), call(1, Some(3), 7));
    drop(first(&keys, asked, 0));
    let flight = first(&keys, asked, 10);
    keys.place(&asked, Sequence::new(5), at(10));
    drop(flight);
    let name = (asked.key, asked.instance);
    assert_eq!(keys.take_unsaved().get(&name).map(Option::is_some), Some(true));
    assert_eq!(word(&reserve(&keys, asked, 109)), "answered by 5");
    let other = word(&reserve(&keys, call(2, None, 1), 109));
    assert_eq!(other, "1 for 1 ms", "never dropped early");
    assert_eq!(keys.forgotten(), None);
    assert_eq!(word(&reserve(&keys, call(2, None, 1), 110)), "first");
    assert_eq!(keys.take_unsaved().get(&name), Some(&None));
    assert_eq!(keys.forgotten(), Some(at(10)));
}

#[test]
fn whoever_may_not_touch_an_instance_does_not_meet_its_keys() {
    let (keys, a, b) = (keys(9), call(1, Some(10), 7), call(1, Some(20), 8));
    let _flight = first(&keys, a, 0);
    let reach = |id: u128| [InstanceId::from_u128(id)];
    assert_eq!(word(&keys.reserve(b, at(0), Some(&reach(10)))), "reused");
    let Reserved::First(_other) = keys.reserve(b, at(0), Some(&reach(20))) else {
        panic!("it does not meet the key of the other")
    };
    assert_eq!(word(&reserve(&keys, a, 0)), "wait", "each meets its own call");
    assert_eq!(word(&reserve(&keys, b, 0)), "wait");
}

#[test]
fn what_is_known_from_a_former_run_is_answered_and_grows_old() {
    let name = (IdempotencyKey::from_u128(1), None);
    let fingerprint = Fingerprint::from_u128(7);
    let place = Place { fingerprint, sequence: Sequence::new(5), at: at(10) };
    let keys = of(9, 9, [(name, place)]);
    assert_eq!(word(&reserve(&keys, call(1, None, 7), 20)), "answered by 5");
    assert_eq!(word(&reserve(&keys, call(1, None, 7), 110)), "first");
}

#[test]
fn one_instance_does_not_take_the_room_of_all() {
    let keys = of(3, 1, []);
    let _one = first(&keys, call(1, Some(10), 7), 0);
    assert_eq!(word(&reserve(&keys, call(2, Some(10), 7), 0)), "1 for 0 ms");
    let _two = first(&keys, call(2, Some(20), 7), 0);
    let three = first(&keys, call(3, None, 7), 0);
    assert_eq!(word(&reserve(&keys, call(4, Some(30), 7), 0)), "3 for 0 ms");
    drop(three);
    assert_eq!(word(&reserve(&keys, call(4, Some(30), 7), 0)), "first");
}

#[test]
fn what_is_in_flight_is_not_old_however_long_it_takes() {
    let (keys, asked) = (keys(9), call(1, None, 7));
    let flight = first(&keys, asked, 0);
    keys.place(&asked, Sequence::new(5), at(0));
    assert_eq!(word(&reserve(&keys, asked, 1_000)), "wait");
    drop(flight);
    assert_eq!(word(&reserve(&keys, asked, 1_000)), "first");
}

/// So many keys of an instance, all answered at one time.
fn answered(keys: &Arc<KeyIndex>, numbers: std::ops::Range<u128>, instance: u128, ms: u64) {
    for key in numbers {
        let asked = call(key, Some(instance), 7);
        let flight = first(keys, asked, ms);
        keys.place(&asked, Sequence::new(5), at(ms));
        drop(flight);
    }
}

#[test]
fn an_old_key_is_new_again_though_many_older_ones_are_not_forgotten_yet() {
    let keys = keys(1_000);
    answered(&keys, 0..500, 10, 0);
    let again = call(400, Some(10), 8);
    let flight = first(&keys, again, 150);
    assert_eq!(word(&reserve(&keys, again, 150)), "wait", "the old answer is not given");
    keys.place(&again, Sequence::new(9), at(150));
    drop(flight);
    for key in 600..620 {
        assert_eq!(word(&reserve(&keys, call(key, None, 7), 160)), "first");
    }
    assert_eq!(word(&reserve(&keys, again, 160)), "answered by 9", "what is younger stays");
    let unsaved = keys.take_unsaved();
    assert_eq!(unsaved.get(&(again.key, again.instance)).map(Option::is_some), Some(true));
    assert_eq!(unsaved.values().filter(|place| place.is_none()).count(), 499);
}

#[test]
fn old_keys_take_no_room_however_many_are_before_them() {
    let keys = of(1_000, 5, []);
    for instance in 0..100 {
        answered(&keys, 10 * instance..10 * instance + 5, 100 + instance, 0);
    }
    answered(&keys, 2_000..2_005, 10, 20);
    assert_eq!(word(&reserve(&keys, call(3_000, Some(10), 7), 20)), "5 for 100 ms");
    assert_eq!(word(&reserve(&keys, call(3_000, Some(10), 7), 120)), "first");
}

#[test]
fn an_instance_is_told_when_the_oldest_of_its_own_keys_is_forgotten() {
    let keys = of(9, 1, []);
    answered(&keys, 1..2, 10, 0);
    answered(&keys, 2..3, 20, 60);
    assert_eq!(word(&reserve(&keys, call(3, Some(10), 7), 80)), "1 for 20 ms");
    assert_eq!(word(&reserve(&keys, call(3, Some(20), 7), 80)), "1 for 80 ms");
}

#[test]
fn calls_that_name_no_instance_have_no_share() {
    let keys = of(3, 1, []);
    let _both = [first(&keys, call(1, None, 7), 0), first(&keys, call(2, None, 7), 0)];
    let _third = first(&keys, call(3, None, 7), 0);
    assert_eq!(word(&reserve(&keys, call(4, None, 7), 0)), "3 for 0 ms");
}

/// Keys 0 to 9, each placed at ten times its number by the record after it.
fn ten(mut remembered: Remembered) -> Remembered {
    for number in 0..10_u64 {
        let sequence = Sequence::new(number + 1);
        let fingerprint = Fingerprint::from_u128(7);
        let place = Place { fingerprint, sequence, at: at(10 * number) };
        remembered.add((IdempotencyKey::from_u128(number.into()), None), place);
    }
    remembered
}

#[test]
fn a_key_that_the_snapshots_have_lost_is_missed_and_one_that_they_forgot_is_not() {
    let keep = Duration::from_millis(50);
    for lost in 0..10_u64 {
        let mut kept = ten(Remembered::new(keep));
        assert_eq!(ten(Remembered::beside(&kept)).difference(&kept), None);
        let there = kept.places.remove(&(IdempotencyKey::from_u128(lost.into()), None));
        let missed = there.map(|place| place.sequence);
        assert_eq!(missed.is_some(), lost > 4, "those of 0 to 40 are 50 old, or older, by 90");
        assert_eq!(ten(Remembered::beside(&kept)).difference(&kept), missed);
    }
    let mut kept = ten(Remembered::new(keep));
    kept.places.clear();
    let missed = ten(Remembered::beside(&kept)).difference(&kept);
    assert_eq!(missed, Some(Sequence::new(6)), "all of them lost are missed too");
    assert_eq!(ten(Remembered::new(keep)).forgotten, Some(at(40)));
    let index = KeyIndex::new(Idempotency::default(), ten(Remembered::new(keep)));
    assert_eq!(index.forgotten(), Some(at(40)), "what a start forgets is said too");
}
