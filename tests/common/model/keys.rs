//! Idempotency keys of one caller (2.12), as far as one day goes: nothing is forgotten here.

use std::collections::BTreeMap;

/// What was first asked, and told, under each key.
#[derive(Debug)]
pub struct Keys<A, T>(BTreeMap<String, (A, T)>);

/// What becomes of a call under a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected<T> {
    /// It is decided.
    First,
    /// It has no effect, and is told what the first was.
    Again(T),
    /// 422: the key stands for something else.
    Reused,
}

impl<A, T> Default for Keys<A, T> {
    fn default() -> Keys<A, T> {
        Keys(BTreeMap::new())
    }
}

impl<A: PartialEq, T: Clone> Keys<A, T> {
    pub fn expected(&self, key: &str, asked: &A) -> Expected<T> {
        match self.0.get(key) {
            None => Expected::First,
            Some((first, told)) if first == asked => Expected::Again(told.clone()),
            Some(_) => Expected::Reused,
        }
    }

    /// A call was decided.
    pub fn decided(&mut self, key: &str, asked: A, told: T) {
        assert!(!self.0.contains_key(key), "`{key}` was decided before");
        self.0.insert(key.to_owned(), (asked, told));
    }
}
