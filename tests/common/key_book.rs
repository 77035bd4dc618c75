//! The registered keys as the specification has them (2.1), beside those of the product.

use std::collections::BTreeMap;

use farebox::broker::Broker;
use farebox::domain::event::{Event, Record};
use farebox::domain::keys::RegisteredKey;

/// Class, id: key, `created`, `modified`.
#[derive(Default)]
pub struct KeyBook(BTreeMap<(String, String), (String, u64, u64)>);

fn name(key: &RegisteredKey) -> (String, String) {
    (key.class.as_str().to_owned(), key.id.to_string())
}

fn entry(key: &RegisteredKey) -> (String, u64, u64) {
    (key.pem.clone(), key.created.as_ms(), key.modified.as_ms())
}

impl KeyBook {
    /// Does what a record says was done, and checks that it could be.
    pub fn record(&mut self, record: &Record) {
        let at = record.at.as_ms();
        if let Event::KeysRegistered(keys) = &record.event {
            assert!(!keys.is_empty(), "a record without a change");
            for key in keys {
                let former = self.0.get(&name(key));
                assert_ne!(former.map(|(pem, ..)| pem), Some(&key.pem), "the same key again");
                let created = former.map_or(at, |(_, created, _)| *created);
                assert_eq!(entry(key), (key.pem.clone(), created, at), "{key:?}");
                self.0.insert(name(key), entry(key));
            }
        }
        if let Event::KeyDeleted { class, id } = &record.event {
            let name = (class.as_str().to_owned(), id.to_string());
            assert!(self.0.remove(&name).is_some(), "{name:?} was not there");
            let left = self.0.keys().any(|(class, _)| class == "administration-key");
            assert!(left || name.0 == "client-key", "nobody can administrate any more");
        }
    }

    /// The product has the same.
    pub fn check(&self, broker: &Broker) {
        let told: BTreeMap<_, _> =
            broker.keys().iter().map(|key| (name(key), entry(key))).collect();
        assert_eq!(told, self.0);
    }
}
