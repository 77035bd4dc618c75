//! Which calls came under which idempotency keys: those in flight, and where the journal has the
//! answers to the others (spec 2.12). The answers themselves stay in the journal.
//!
//! A key is reserved before its call takes a turn, and takes its place in the step that appends the
//! record. Whoever repeats the call meanwhile waits until the answer is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Idempotency;
use crate::domain::idempotency::{Fingerprint, IdempotencyKey, KeyedCall};
use crate::domain::ids::{InstanceId, Sequence};
use crate::domain::session_time::SessionTime;

/// Repetitions of one call that wait for its answer at once.
const WAITING_MAX: usize = 16;
/// Old keys that each call forgets: it brings one at most, so that this keeps up.
const FORGOTTEN_MAX: usize = 64;

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
    /// It is being answered: ask again after this.
    Wait(Waiting),
    /// Too many wait already.
    TooManyWaiting,
    /// Something else was asked under this key.
    Reused,
    /// There is no room for another key.
    Full {
        /// For how many there is.
        limit: usize,
        /// When the oldest of them is forgotten; 0 if all are in flight.
        in_ms: u64,
    },
}

/// A repetition that waits: one of so many.
pub(crate) struct Waiting {
    done: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// Until the first call has an answer, or has come to nothing.
    pub(crate) async fn done(mut self) {
        let _ = self.done.changed().await; // It only ever ends, with the flight.
    }
}

/// A call in flight, as those who repeat it see it. When it falls, they wake.
struct Flight {
    done: watch::Sender<()>,
    places: Arc<Semaphore>,
}

impl Flight {
    fn new() -> Flight {
        let places = Arc::new(Semaphore::new(WAITING_MAX));
        Flight { done: watch::Sender::new(()), places }
    }
}

/// A key that was reserved: in flight, or placed, or, until its answer is durable, both.
struct Entry {
    fingerprint: Fingerprint,
    flight: Option<Flight>,
    place: Option<Place>,
}

impl Entry {
    /// Whether it stands for this very call.
    fn is_of(&self, call: &KeyedCall) -> bool {
        self.fingerprint == call.fingerprint
    }

    /// Whether it has been kept for as long as it is to be.
    fn is_over(&self, now: SessionTime, keep_ms: u64) -> bool {
        let passed = |place: Place| now.ms_since(place.at) >= keep_ms;
        self.flight.is_none() && self.place.is_some_and(passed)
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
        match Arc::clone(&flight.places).try_acquire_owned() {
            Ok(place) => Reserved::Wait(Waiting { done: flight.done.subscribe(), _place: place }),
            Err(_) => Reserved::TooManyWaiting,
        }
    }
}

/// All keys that are kept.
pub(crate) struct KeyIndex {
    keep_ms: u64,
    max: usize,
    /// What one instance may have of them.
    share: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Name, Entry>,
    shares: BTreeMap<Option<InstanceId>, Share>,
    /// Those that were placed, oldest first; one that is over may have come again since.
    by_age: VecDeque<(SessionTime, Name)>,
    /// What the snapshots do not have yet; `None` is gone.
    unsaved: BTreeMap<Name, Option<Place>>,
    /// No key that was placed later was ever forgotten.
    forgotten: Option<SessionTime>,
}

/// What an instance has of them.
#[derive(Default)]
struct Share {
    count: usize,
    /// As in all of them.
    by_age: VecDeque<SessionTime>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step below leaves it half done: a panic in one comes before its first change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A duration in whole milliseconds.
pub(crate) fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl KeyIndex {
    /// No more than the settings say; `known` are there from a former run.
    pub(crate) fn new(
        Idempotency { keep, keys_max, keys_max_per_instance }: Idempotency,
        known: Remembered,
    ) -> KeyIndex {
        let mut state = State { forgotten: known.forgotten, ..State::default() };
        let mut known: Vec<_> = known.places.into_iter().collect();
        known.sort_by_key(|(_, place)| place.sequence);
        for (name, place) in known {
            state.age(name, place.at);
            let fingerprint = place.fingerprint;
            state.insert(name, Entry { fingerprint, flight: None, place: Some(place) });
        }
        let (keep_ms, share) = (in_ms(keep), keys_max_per_instance);
        KeyIndex { keep_ms, max: keys_max, share, state: Mutex::new(state) }
    }

    /// Reserves the key of a call, unless it is there: the caller meets the keys of calls on the
    /// instances in its `reach`, or all of its own.
    pub(crate) fn reserve(
        self: &Arc<KeyIndex>,
        call: KeyedCall,
        now: SessionTime,
        reach: Option<&[InstanceId]>,
    ) -> Reserved {
        let mut state = lock(&self.state);
        for _ in 0..FORGOTTEN_MAX {
            if !state.forget_one(now, self.keep_ms) {
                break;
            }
        }
        let is_over = |entry: &Entry| entry.is_over(now, self.keep_ms);
        if let Some(entry) = state.met(&call, reach, is_over) {
            return entry.meet(&call);
        }
        let name = (call.key, call.instance);
        state.remove(&name); // If there is one, it is over.
        while let Some((limit, oldest)) = self.full(&state, call.instance) {
            if !state.forget_one(now, self.keep_ms) {
                let left = |at| self.keep_ms.saturating_sub(now.ms_since(at));
                return Reserved::Full { limit, in_ms: oldest.map_or(0, left) };
            }
        }
        let (fingerprint, flight) = (call.fingerprint, Some(Flight::new()));
        state.insert(name, Entry { fingerprint, flight, place: None });
        Reserved::First(Reservation { call, keys: Arc::clone(self) })
    }

    /// The limit that stands in the way of one more key, and since when the oldest below it is kept.
    fn full(
        &self,
        state: &State,
        instance: Option<InstanceId>,
    ) -> Option<(usize, Option<SessionTime>)> {
        if state.entries.len() >= self.max {
            return Some((self.max, state.by_age.front().map(|(at, _)| *at)));
        }
        let share = state.shares.get(&instance).filter(|_| instance.is_some())?;
        (share.count >= self.share).then(|| (self.share, share.by_age.front().copied()))
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
        state.age(name, at);
        state.unsaved.insert(name, Some(place));
    }

    /// What has changed since this was last asked.
    pub(crate) fn take_unsaved(&self) -> BTreeMap<Name, Option<Place>> {
        std::mem::take(&mut lock(&self.state).unsaved)
    }

    /// No key that was placed later was ever forgotten. To be saved no later than what was: asked
    /// after [`KeyIndex::take_unsaved`], it says enough.
    pub(crate) fn forgotten(&self) -> Option<SessionTime> {
        lock(&self.state).forgotten
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
        let _flight = entry.flight.take(); // Falls with the lock, and whoever waits wakes.
        if entry.place.is_none() {
            state.remove(&name);
        }
    }
}

impl State {
    fn insert(&mut self, name: Name, entry: Entry) {
        if self.entries.insert(name, entry).is_none() {
            self.shares.entry(name.1).or_default().count += 1;
        }
    }

    /// Takes a key out; the snapshots are told, if they may have it.
    fn remove(&mut self, name: &Name) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.of_share(name.1, |share| share.count -= 1);
        if let Some(place) = entry.place {
            self.unsaved.insert(*name, None);
            self.forgotten = self.forgotten.max(Some(place.at));
        }
    }

    /// A key was placed.
    fn age(&mut self, name: Name, at: SessionTime) {
        self.by_age.push_back((at, name));
        self.shares.entry(name.1).or_default().by_age.push_back(at);
    }

    /// Changes a share, and drops it when nothing is left of it.
    fn of_share(&mut self, instance: Option<InstanceId>, change: impl FnOnce(&mut Share)) {
        if let Some(share) = self.shares.get_mut(&instance) {
            change(share);
            if share.count == 0 && share.by_age.is_empty() {
                self.shares.remove(&instance);
            }
        }
    }

    /// The entry that stands for this very call, else any that the caller meets under its key.
    /// Those that are over do not count.
    fn met(
        &self,
        call: &KeyedCall,
        reach: Option<&[InstanceId]>,
        is_over: impl Fn(&Entry) -> bool,
    ) -> Option<&Entry> {
        let exactly =
            |instance| self.entries.get(&(call.key, instance)).filter(|entry| !is_over(entry));
        if let Some(entry) = exactly(call.instance) {
            return Some(entry);
        }
        match reach {
            Some(instances) => instances.iter().find_map(|id| exactly(Some(*id))),
            None => {
                let last = Some(InstanceId::from_u128(u128::MAX));
                let mut all = self.entries.range((call.key, None)..=(call.key, last));
                all.find_map(|(_, entry)| (!is_over(entry)).then_some(entry))
            }
        }
    }

    /// Forgets the oldest, if it is old enough. What is in flight is not old.
    fn forget_one(&mut self, now: SessionTime, keep_ms: u64) -> bool {
        let Some((at, name)) = self.by_age.front().copied() else { return false };
        if now.ms_since(at) < keep_ms {
            return false;
        }
        let placed_then = |entry: &&Entry| entry.place.is_some_and(|place| place.at == at);
        if let Some(entry) = self.entries.get(&name).filter(placed_then) {
            if entry.flight.is_some() {
                return false;
            }
            self.remove(&name);
        }
        self.by_age.pop_front();
        self.of_share(name.1, |share| _ = share.by_age.pop_front());
        true
    }
}

/// The keys that a journal and its snapshots remember: what a start reads, and `verify` compares.
pub(crate) struct Remembered {
    keep_ms: u64,
    places: BTreeMap<Name, Place>,
    by_age: VecDeque<(SessionTime, Name)>,
    /// The youngest that was added.
    latest: SessionTime,
    /// No key that was placed later was ever forgotten.
    forgotten: Option<SessionTime>,
    /// Those that were placed up to here are not taken over.
    passed_over: Option<SessionTime>,
}

impl Remembered {
    /// No key is older than this, once younger ones are added.
    pub(crate) fn new(keep: Duration) -> Remembered {
        let (places, by_age) = (BTreeMap::new(), VecDeque::new());
        let (latest, keep_ms) = (SessionTime::default(), in_ms(keep));
        Remembered { keep_ms, places, by_age, latest, forgotten: None, passed_over: None }
    }

    /// Those that snapshots with `kept` in them must have, however long keys were to be kept.
    pub(crate) fn beside(kept: &Remembered) -> Remembered {
        Remembered { passed_over: kept.forgotten, ..Remembered::new(Duration::MAX) }
    }

    /// How long they are kept.
    pub(crate) fn keep(&self) -> Duration {
        Duration::from_millis(self.keep_ms)
    }

    /// Takes over one entry of a snapshot, which come in no particular order.
    pub(crate) fn load(&mut self, name: Name, place: Place) {
        self.places.insert(name, place);
        self.latest = self.latest.max(place.at);
    }

    /// Takes over what a snapshot says of those that it has no more.
    pub(crate) fn load_forgotten(&mut self, at: SessionTime) {
        self.forgotten = self.forgotten.max(Some(at));
    }

    /// Takes over what a record keeps, and forgets what is too old by now. Those of a snapshot grow
    /// old in [`KeyIndex`].
    pub(crate) fn add(&mut self, name: Name, place: Place) {
        if Some(place.at) <= self.passed_over {
            return;
        }
        self.load(name, place);
        self.by_age.push_back((place.at, name));
        while let Some((at, name)) = self.by_age.front().copied() {
            if self.latest.ms_since(at) < self.keep_ms {
                return;
            }
            self.by_age.pop_front();
            if self.places.get(&name).is_some_and(|place| place.at == at) {
                self.places.remove(&name);
                self.load_forgotten(at);
            }
        }
    }

    /// Whether the snapshots say the same of every key that was placed after all that they have
    /// forgotten; of the others they may have some or none. If not, the record in question. Only
    /// of those [`Remembered::beside`] them.
    pub(crate) fn difference(&self, kept: &Remembered) -> Option<Sequence> {
        let wrong = kept.places.iter().find(|(name, place)| match self.places.get(name) {
            Some(known) => known != *place,
            None => Some(place.at) > kept.forgotten,
        });
        let lost = self.places.iter().find(|(name, _)| !kept.places.contains_key(name));
        wrong.or(lost).map(|(_, place)| place.sequence)
    }

    /// Those of the records after this one.
    pub(crate) fn after(&self, record: Sequence) -> impl Iterator<Item = (&Name, &Place)> {
        self.places.iter().filter(move |(_, place)| place.sequence > record)
    }
}

/// As long as a broker keeps them unless it is told otherwise.
impl Default for Remembered {
    fn default() -> Remembered {
        Remembered::new(Idempotency::default().keep)
    }
}

/// The right to answer a call under its key. It goes where the call goes, and when it falls the
/// call is over.
pub(crate) struct Reservation {
    call: KeyedCall,
    keys: Arc<KeyIndex>,
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
mod tests;
