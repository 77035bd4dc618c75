//! How an installation of a client's program is recognised: pairs that may differ a little
//! (components 2.0, and 6 U-4).

use std::collections::BTreeMap;

use super::super::ids::Text;

/// What one pair is compared by. Only those that were registered steer the comparison: else a
/// client could say how little it has to resemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityValue {
    /// One, or several in any order.
    pub values: Vec<Text>,
    /// By how much a difference here counts; 1 unless said.
    pub weight: u64,
    /// Whether upper and lower case differ; they do unless said.
    pub case_sensitive: bool,
    /// How many of several values may be gone; none unless said.
    pub removed_max: u64,
}

impl IdentityValue {
    /// Compared as is usual.
    pub fn new(values: Vec<Text>) -> IdentityValue {
        IdentityValue { values, weight: 1, case_sensitive: true, removed_max: 0 }
    }

    /// Whether `presented` passes for it: nothing is gone of it but what may be. What is new, a
    /// second network card, say, does not matter.
    fn resembles(&self, presented: &IdentityValue) -> bool {
        let folded = |value: &Text| {
            let value = value.as_str();
            if self.case_sensitive { value.to_owned() } else { value.to_lowercase() }
        };
        let there: Vec<String> = presented.values.iter().map(folded).collect();
        let gone = self.values.iter().filter(|value| !there.contains(&folded(value))).count();
        let any_left = self.values.is_empty() == there.is_empty();
        any_left && gone as u64 <= self.removed_max
    }
}

/// What an installation says of the machine that it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The version of how it is gathered; different ones are never the same.
    pub version: u64,
    /// How much may differ in all; nothing unless said.
    pub mismatches_max: u64,
    /// Its pairs.
    pub pairs: BTreeMap<Text, IdentityValue>,
}

/// A version, and pairs of one value each: two that are equal are the same installation.
pub type ExactPairs = (u64, Vec<(Text, Text)>);

impl Identity {
    /// Its version and its pairs, if each has one value.
    pub fn exact_pairs(&self) -> Option<ExactPairs> {
        let pairs = self.pairs.iter().map(|(key, value)| match value.values.as_slice() {
            [value] => Some((key.clone(), value.clone())),
            [] | [_, _, ..] => None,
        });
        Some((self.version, pairs.collect::<Option<_>>()?))
    }

    /// Whether nothing but the same pairs passes for it, as far as single values go.
    pub fn is_strict(&self) -> bool {
        let plain = |value: &IdentityValue| {
            value.case_sensitive && value.removed_max == 0 && value.weight > 0
        };
        self.mismatches_max == 0 && self.pairs.values().all(plain)
    }

    /// Whether this, which was registered, is still the one that is `presented`.
    pub fn recognises(&self, presented: &Identity) -> bool {
        self.distance(presented).is_some()
    }

    /// How much differs between this, which was registered, and the one that is `presented`; none
    /// where it is too much.
    pub fn distance(&self, presented: &Identity) -> Option<u64> {
        if self.version != presented.version {
            return None;
        }
        let registered = self.pairs.iter().map(|(key, value)| {
            let same = presented.pairs.get(key).is_some_and(|other| value.resembles(other));
            if same { 0 } else { value.weight }
        });
        let new = presented.pairs.keys().filter(|key| !self.pairs.contains_key(*key)).count();
        let differing = registered.fold(new as u64, u64::saturating_add);
        (differing <= self.mismatches_max).then_some(differing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pairs: &[(&str, IdentityValue)]) -> Identity {
        let pairs = pairs.iter().map(|(key, value)| (Text::new(key).unwrap(), value.clone()));
        Identity { version: 1, mismatches_max: 0, pairs: pairs.collect() }
    }

    fn value(values: &[&str]) -> IdentityValue {
        IdentityValue::new(values.iter().map(|value| Text::new(value).unwrap()).collect())
    }

    #[test]
    fn an_identity_is_recognised_within_what_was_registered() {
        let loose = |value: IdentityValue| IdentityValue { case_sensitive: false, ..value };
        let one_gone = |value: IdentityValue| IdentityValue { removed_max: 1, ..value };
        let host = ("host", value(&["pc"]));
        // What was registered, how much may differ, what is presented, and whether it is the same.
        let rows = [
            (vec![host.clone()], 0, vec![host.clone()], true),
            (vec![host.clone()], 0, vec![("host", value(&["PC"]))], false),
            (vec![("host", loose(value(&["pc"])))], 0, vec![("host", value(&["PC"]))], true),
            (vec![host.clone()], 0, vec![("host", loose(value(&["PC"])))], false), // Not its to say.
            (vec![host.clone()], 1, vec![("host", value(&["other"]))], true),
            (vec![host.clone()], 0, vec![], false),
            (vec![host.clone()], 1, vec![host.clone(), ("new", value(&["x"]))], true),
            (vec![host.clone()], 0, vec![host.clone(), ("new", value(&["x"]))], false),
            (
                vec![("host", IdentityValue { weight: 2, ..value(&["pc"]) })],
                1,
                vec![("host", value(&["other"]))],
                false,
            ),
            (vec![("mac", value(&["a", "b"]))], 0, vec![("mac", value(&["b", "a", "c"]))], true),
            (vec![("mac", value(&["a", "b"]))], 0, vec![("mac", value(&["a"]))], false),
            (vec![("mac", one_gone(value(&["a", "b"])))], 0, vec![("mac", value(&["a"]))], true),
            (vec![("mac", one_gone(value(&["a"])))], 0, vec![("mac", value(&[]))], false),
        ];
        for (registered, mismatches_max, presented, same) in rows {
            let shown = format!("{registered:?} {mismatches_max} {presented:?}");
            let registered = Identity { mismatches_max, ..identity(&registered) };
            assert_eq!(registered.recognises(&identity(&presented)), same, "{shown}");
        }
        let later = Identity { version: 2, ..identity(std::slice::from_ref(&host)) };
        assert!(!identity(&[host]).recognises(&later));
    }
}
