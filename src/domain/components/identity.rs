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

impl Identity {
    /// What must be in every identity that it recognises; nothing where anything may differ.
    pub(super) fn required(&self) -> impl Iterator<Item = (Text, Text)> {
        let strict = self.pairs.iter().filter(|(_, value)| {
            let kept = value.case_sensitive && value.removed_max == 0 && value.weight > 0;
            kept && self.mismatches_max == 0
        });
        strict
            .flat_map(|(key, value)| value.values.iter().map(|value| (key.clone(), value.clone())))
    }

    /// Everything that it has.
    pub(super) fn values(&self) -> impl Iterator<Item = (Text, Text)> {
        let all = self.pairs.iter();
        all.flat_map(|(key, value)| value.values.iter().map(|value| (key.clone(), value.clone())))
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
    use super::super::super::ids::InstallationId;
    use super::super::recognition::Recognition;
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
            let presented = identity(&presented);
            assert_eq!(registered.recognises(&presented), same, "{shown}");
            let mut known = Recognition::default();
            known.insert(InstallationId::from_u128(1), &registered);
            let found = known.candidates(&presented).next().is_some();
            assert!(found || !same, "whoever is recognised is looked at: {shown}");
        }
        let later = Identity { version: 2, ..identity(std::slice::from_ref(&host)) };
        assert!(!identity(&[host]).recognises(&later));
    }
}
