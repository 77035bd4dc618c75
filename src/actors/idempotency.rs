//! Which calls came under which idempotency keys: those in flight, and where the journal has the
//! answers to the others (spec 2.12). The answers themselves stay in the journal.
//!
//! A key is reserved before its call takes a turn, and takes its place in the step that appends the
//! record. Whoever repeats the call meanwhile waits until the answer is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::idempotency::{Fingerprint, IdempotencyKey, KeyedCall};
use crate::domain::ids::{InstanceId, Sequence};
use crate::domain::session_time::SessionTime;

/// Repetitions of one call that wait for its answer at once.
const WAITING_MAX: usize = 16;

/// Where the answer to a call is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) fingerprint: Fingerprint,
    /// The record that has it.
    pub(crate) sequence: Sequence,
    /// Its age counts from here.
    pub(crate) at: SessionTime,
}

/// A key as one who may touch its instance meets it.
pub(crate) type Name = (IdempotencyKey, Option<InstanceId>);

/// What becomes of a call under a key.
pub(crate) enum Reserved {
    /// It is the first: it goes on, and brings this along.
    First(Reservation),
    /// It was answered: in this record.
    Answered(Sequence),
    /// It is being answered: ask again when this says so, or ends.
    Wait(Waiting),
    /// Too many wait already.
    TooManyWaiting,
    /// Something else was asked under this key.
    Reused,
    /// There is no room for another key.
    Full,
}

/// A repetition that waits.
pub(crate) struct Waiting {
    done: watch::Receiver<()>,
    flight: Arc<Flight>,
}

impl Waiting {
    /// Until the first call has an answer, or has come to nothing.
    pub(crate) async fn done(mut self) {
        let _ = self.done.changed().await; // An error is the end of the first call, too.
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *lock(&self.flight.waiting) -= 1;
    }
}

/// A call in flight, as those who repeat it see it.
struct Flight {
    waiting: Mutex<usize>,
    done: watch::Sender<()>,
}

/// A key that was reserved: in flight, or placed, or, until its answer is durable, both.
struct Entry {
    fingerprint: Fingerprint,
    flight: Option<Arc<Flight>>,
    place: Option<Place>,
}

/// All keys that are kept.
pub(crate) struct Keys {
    keep: Duration,
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Name, Entry>,
    /// Those that are placed, oldest first.
    by_age: VecDeque<(SessionTime, Name)>,
    /// What the snapshots do not have yet; `None` is gone.
    unsaved: BTreeMap<Name, Option<Place>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step below leaves it half done: a panic in one comes before its first change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// Keeps each key for `keep` and at most `max` of them; `known` are there from a former run.
    pub(crate) fn new(
        keep: Duration,
        max: usize,
        known: impl IntoIterator<Item = (Name, Place)>,
    ) -> Keys {
        let mut state = State::default();
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_by_key(|(_, place)| place.sequence);
        for (name, place) in known {
            state.by_age.push_back((place.at, name));
            let fingerprint = place.fingerprint;
            state.entries.insert(name, Entry { fingerprint, flight: None, place: Some(place) });
        }
        Keys { keep, max, state: Mutex::new(state) }
    }

    /// How many keys are kept at most.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Reserves the key of a call, unless it is there: `may_touch` says which instances' keys the
    /// caller may meet.
    pub(crate) fn reserve(
        self: &Arc<Keys>,
        call: KeyedCall,
        now: SessionTime,
        may_touch: impl Fn(InstanceId) -> bool,
    ) -> Reserved {
        let mut state = lock(&self.state);
        state.forget(now, self.keep);
        let all = (call.key, None)..=(call.key, Some(InstanceId::from_u128(u128::MAX)));
        let met = state.entries.range(all);
        let met = met.filter(|((_, instance), _)| instance.is_none_or(&may_touch));
        let met = met.map(|(_, entry)| entry).max_by_key(|entry| entry.is_of(&call));
        if let Some(entry) = met {
            return entry.meet(&call);
        }
        if state.entries.len() >= self.max {
            return Reserved::Full;
        }
        let flight = Arc::new(Flight { waiting: Mutex::new(0), done: watch::Sender::new(()) });
        let name = (call.key, call.instance);
        let fingerprint = call.fingerprint;
        let entry = Entry { fingerprint, flight: Some(flight), place: None };
        state.entries.insert(name, entry);
        Reserved::First(Reservation { call, keys: Arc::clone(self) })
    }

    /// The call was answered by this record. Under the lock that orders the journal, before it is
    /// appended: the next pass of the snapshots must not miss it.
    pub(crate) fn place(&self, call: &KeyedCall, sequence: Sequence, at: SessionTime) {
        let mut state = lock(&self.state);
        let (name, fingerprint) = ((call.key, call.instance), call.fingerprint);
        let place = Place { fingerprint, sequence, at };
        if let Some(entry) = state.entries.get_mut(&name) {
            entry.place = Some(place);
        }
        state.by_age.push_back((at, name));
        state.unsaved.insert(name, Some(place));
    }

    /// What has changed since this was last asked.
    pub(crate) fn take_unsaved(&self) -> BTreeMap<Name, Option<Place>> {
        std::mem::take(&mut lock(&self.state).unsaved)
    }

    /// What could not be saved after all.
    pub(crate) fn still_unsaved(&self, unsaved: BTreeMap<Name, Option<Place>>) {
        let mut state = lock(&self.state);
        let newer = std::mem::replace(&mut state.unsaved, unsaved);
        state.unsaved.extend(newer);
    }

    /// The reservation has come to its end: with an answer that is durable, or without any.
    fn end(&self, call: &KeyedCall) {
        let mut state = lock(&self.state);
        let name = (call.key, call.instance);
        let Some(entry) = state.entries.get_mut(&name) else { return };
        let flight = entry.flight.take();
        if entry.place.is_none() {
            state.entries.remove(&name);
        }
        drop(state);
        if let Some(flight) = flight {
            flight.done.send_replace(());
        }
    }
}

impl Entry {
    /// Whether it stands for this very call.
    fn is_of(&self, call: &KeyedCall) -> bool {
        self.fingerprint == call.fingerprint
    }

    /// What becomes of one who asks this under its key.
    fn meet(&self, call: &KeyedCall) -> Reserved {
        if !self.is_of(call) {
            return Reserved::Reused;
        }
        let Some(flight) = &self.flight else {
            let place = self.place.expect("what is not in flight was answered");
            return Reserved::Answered(place.sequence);
        };
        let mut waiting = lock(&flight.waiting);
        if *waiting >= WAITING_MAX {
            return Reserved::TooManyWaiting;
        }
        *waiting += 1;
        Reserved::Wait(Waiting { done: flight.done.subscribe(), flight: Arc::clone(flight) })
    }
}

impl State {
    /// Forgets what is old enough.
    fn forget(&mut self, now: SessionTime, keep: Duration) {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        while let Some((at, name)) = self.by_age.front().copied() {
            if now.ms_since(at) < keep {
                return;
            }
            self.by_age.pop_front();
            self.entries.remove(&name);
            self.unsaved.insert(name, None);
        }
    }
}

/// The right to answer a call under its key. It goes where the call goes, and when it falls the
/// call is over.
pub(crate) struct Reservation {
    call: KeyedCall,
    keys: Arc<Keys>,
}

impl Reservation {
    /// The call.
    pub(crate) fn call(&self) -> KeyedCall {
        self.call
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.keys.end(&self.call);
    }
}

#[cfg(test)]
mod tests {
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

    fn keys(max: usize) -> Arc<Keys> {
        Arc::new(Keys::new(KEEP, max, []))
    }

    /// Reserves as one who may touch everything.
    fn reserve(keys: &Arc<Keys>, call: KeyedCall, ms: u64) -> Reserved {
        keys.reserve(call, at(ms), |_| true)
    }

    fn first(keys: &Arc<Keys>, call: KeyedCall, ms: u64) -> Reservation {
        let Reserved::First(reservation) = reserve(keys, call, ms) else {
            panic!("it is the first")
        };
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
            Reserved::Full => "full".to_owned(),
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
        assert_eq!(word(&reserve(&keys, call(2, None, 7), 0)), "full");
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
        assert_eq!(word(&reserve(&keys, call(2, None, 1), 109)), "full", "never dropped early");
        assert_eq!(word(&reserve(&keys, call(2, None, 1), 110)), "first");
        assert_eq!(keys.take_unsaved().get(&name), Some(&None));
    }

    #[test]
    fn whoever_may_not_touch_an_instance_does_not_meet_its_keys() {
        let (keys, a, b) = (keys(9), call(1, Some(10), 7), call(1, Some(20), 8));
        let _flight = first(&keys, a, 0);
        let only = |id: u128| move |instance| instance == InstanceId::from_u128(id);
        assert_eq!(word(&keys.reserve(b, at(0), only(10))), "reused");
        let Reserved::First(_other) = keys.reserve(b, at(0), only(20)) else {
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
        let keys = Arc::new(Keys::new(KEEP, 9, [(name, place)]));
        assert_eq!(word(&reserve(&keys, call(1, None, 7), 20)), "answered by 5");
        assert_eq!(word(&reserve(&keys, call(1, None, 7), 110)), "first");
    }
}
