//! Public keys that callers' tokens are verified against: who registered what, without cryptography.

use std::sync::Arc;

use super::ids::Text;
use super::limits::KEYS_MAX;
use super::refusal::Refusal;
use super::time::Timestamp;

/// What a key's tokens may do: the role of a caller is the class of the registered key (spec 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyClass {
    /// Signs tokens of the producer's own people and programs: every operation.
    Administration,
    /// Signs tokens of client software: only the instances its tokens name.
    Client,
}

impl KeyClass {
    /// The name in answers (spec 2.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyClass::Administration => "administration-key",
            KeyClass::Client => "client-key",
        }
    }
}

/// A public key that is to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The name that tokens call it by in `cnf.jwk.kid`.
    pub id: Text,
    /// What its tokens may do.
    pub class: KeyClass,
    /// The key itself: SPKI in PEM.
    pub pem: String,
}

/// A registered public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredKey {
    /// The name that tokens call it by in `cnf.jwk.kid`.
    pub id: Text,
    /// What its tokens may do.
    pub class: KeyClass,
    /// The key itself: SPKI in PEM.
    pub pem: String,
    /// When its id was first registered.
    pub created: Timestamp,
    /// When the key under that id was last another one.
    pub modified: Timestamp,
    /// Its place among all keys in the order of creation, from 1.
    pub place: u64,
}

/// One page of the registered keys, in order of creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<Arc<RegisteredKey>>,
    /// The place that the next page begins after. `None` at the end.
    pub next: Option<u64>,
}

/// The registered keys. Administration and client keys are named apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(imbl::OrdMap<(KeyClass, Text), Arc<RegisteredKey>>);

impl Keys {
    /// Whether these are the very same, unchanged; `false` may only mean that nobody knows.
    pub fn is_unchanged_from(&self, former: &Keys) -> bool {
        self.0.ptr_eq(&former.0)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RegisteredKey>> {
        self.0.values()
    }

    /// Up to `size` of them behind this place, in order of creation.
    pub fn page(&self, after: u64, size: usize) -> KeyPage {
        let mut keys: Vec<_> = self.all().filter(|key| key.place > after).cloned().collect();
        keys.sort_by_key(|key| key.place);
        let more = keys.len() > size;
        keys.truncate(size);
        let next = keys.last().filter(|_| more).map(|key| key.place);
        KeyPage { keys, next }
    }

    /// What becomes of keys that are sent: each is new, or takes the place of the one of its class
    /// and id (spec 2.1). What is registered already is left out.
    pub fn decide(&self, sent: Vec<NewKey>, now: Timestamp) -> Result<Vec<RegisteredKey>, Refusal> {
        let last = self.all().map(|key| key.place).max().unwrap_or(0);
        let mut places = last + 1..;
        let mut decided: Vec<RegisteredKey> = Vec::with_capacity(sent.len());
        let mut named = Vec::with_capacity(sent.len());
        for (position, NewKey { id, class, pem }) in sent.into_iter().enumerate() {
            let name = (class, id.clone());
            if named.contains(&name) {
                return Err(Refusal::BadKey(format!("at {position}: the id is there twice")));
            }
            let former = self.0.get(&name);
            named.push(name);
            if former.is_some_and(|former| former.pem == pem) {
                continue;
            }
            let created = former.map_or(now, |former| former.created);
            let place = former.map(|former| former.place).or_else(|| places.next()).unwrap_or(0);
            decided.push(RegisteredKey { id, class, pem, created, modified: now, place });
        }
        for class in [KeyClass::Administration, KeyClass::Client] {
            let is_new = |name: &&(KeyClass, Text)| name.0 == class && !self.0.contains_key(*name);
            if self.count(class) + named.iter().filter(is_new).count() > KEYS_MAX {
                return Err(Refusal::TooManyKeys);
            }
        }
        Ok(decided)
    }

    /// Checks a deletion: somebody must be able to administrate afterwards (spec 2.1).
    pub fn decide_deletion(&self, class: KeyClass, id: &Text) -> Result<(), Refusal> {
        if !self.0.contains_key(&(class, id.clone())) {
            return Err(Refusal::UnknownKey);
        }
        if class == KeyClass::Administration && self.count(class) == 1 {
            return Err(Refusal::LastKey);
        }
        Ok(())
    }

    /// Adds a key, or replaces the one of its class and id.
    pub fn insert(&mut self, key: RegisteredKey) {
        self.0.insert((key.class, key.id.clone()), Arc::new(key));
    }

    /// Takes a key out; says nothing where there is none.
    pub fn remove(&mut self, class: KeyClass, id: &Text) {
        self.0.remove(&(class, id.clone()));
    }

    fn count(&self, class: KeyClass) -> usize {
        self.all().filter(|key| key.class == class).count()
    }
}

#[cfg(test)]
mod tests {
    use super::KeyClass::{Administration, Client};
    use super::*;

    fn new(class: KeyClass, id: &str, pem: &str) -> NewKey {
        NewKey { id: Text::new(id).unwrap(), class, pem: pem.to_owned() }
    }

    fn register(keys: &mut Keys, at_ms: u64, sent: Vec<NewKey>) -> usize {
        let decided = keys.decide(sent, Timestamp::from_ms(at_ms)).unwrap();
        let changed = decided.len();
        decided.into_iter().for_each(|key| keys.insert(key));
        changed
    }

    /// Id, key, `created` and `modified` of each, in the order of the list.
    fn shown(keys: &Keys) -> Vec<(String, String, u64, u64)> {
        let listed = keys.page(0, 1_000).keys;
        let times = |key: &RegisteredKey| (key.created.as_ms(), key.modified.as_ms());
        let one = |key: &Arc<RegisteredKey>| {
            (key.id.to_string(), key.pem.clone(), times(key).0, times(key).1)
        };
        listed.iter().map(one).collect()
    }

    #[test]
    fn a_key_that_is_sent_again_keeps_its_times_and_another_one_its_creation() {
        let mut keys = Keys::default();
        let both = vec![new(Administration, "b", "1"), new(Client, "a", "1")];
        assert_eq!(register(&mut keys, 10, both.clone()), 2);
        assert_eq!(register(&mut keys, 20, both), 0);
        assert_eq!(register(&mut keys, 30, vec![new(Client, "a", "2"), new(Client, "c", "1")]), 2);
        let row = |id: &str, pem: &str, created, modified| {
            (id.to_owned(), pem.to_owned(), created, modified)
        };
        let expected = [row("b", "1", 10, 10), row("a", "2", 10, 30), row("c", "1", 30, 30)];
        assert_eq!(shown(&keys), expected);
    }

    #[test]
    fn a_list_of_keys_is_taken_whole_or_not_at_all() {
        let mut keys = Keys::default();
        let many = |from: usize, to: usize| -> Vec<NewKey> {
            (from..to).map(|number| new(Client, &number.to_string(), "1")).collect()
        };
        assert_eq!(register(&mut keys, 1, many(0, KEYS_MAX - 1)), KEYS_MAX - 1);
        let now = Timestamp::from_ms(2);
        let decide = |sent| keys.decide(sent, now).map(|decided| decided.len());
        assert_eq!(decide(many(0, KEYS_MAX)), Ok(1));
        assert_eq!(decide(many(0, KEYS_MAX + 1)), Err(Refusal::TooManyKeys));
        assert_eq!(decide(vec![new(Administration, "0", "1")]), Ok(1), "a class of its own");
        let twice = decide(vec![new(Client, "x", "1"), new(Client, "x", "1")]);
        assert_eq!(twice, Err(Refusal::BadKey("at 1: the id is there twice".to_owned())));
        let apart = vec![new(Client, "x", "1"), new(Administration, "x", "1")];
        assert_eq!(decide(apart), Ok(2));
    }

    #[test]
    fn the_last_administration_key_stays() {
        let mut keys = Keys::default();
        let sent = vec![new(Administration, "a", "1"), new(Client, "c", "1")];
        register(&mut keys, 1, sent);
        let id = |id: &str| Text::new(id).unwrap();
        assert_eq!(keys.decide_deletion(Administration, &id("c")), Err(Refusal::UnknownKey));
        assert_eq!(keys.decide_deletion(Administration, &id("a")), Err(Refusal::LastKey));
        assert_eq!(keys.decide_deletion(Client, &id("c")), Ok(()));
        register(&mut keys, 2, vec![new(Administration, "b", "1")]);
        assert_eq!(keys.decide_deletion(Administration, &id("a")), Ok(()));
    }

    #[test]
    fn pages_follow_each_other_while_keys_come_and_go() {
        let mut keys = Keys::default();
        register(&mut keys, 1, ["d", "c", "b", "a"].map(|id| new(Client, id, "1")).into());
        let ids =
            |page: &KeyPage| page.keys.iter().map(|key| key.id.to_string()).collect::<String>();
        let first = keys.page(0, 2);
        assert_eq!((ids(&first), first.next), ("dc".to_owned(), Some(2)));
        keys.remove(Client, &Text::new("c").unwrap());
        register(&mut keys, 2, vec![new(Client, "0", "1")]);
        let rest = keys.page(2, 3);
        assert_eq!((ids(&rest), rest.next), ("ba0".to_owned(), None));
        assert_eq!(keys.page(9, 1), KeyPage { keys: Vec::new(), next: None });
    }
}
