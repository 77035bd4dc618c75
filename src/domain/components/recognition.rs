//! Finding the installation that an identity is recognised as without comparing it with all of them.
//!
//! One that was registered strictly is recognised only where nothing of it is gone, so whatever
//! it has is in what is presented: it is kept under one of its values, the rarest so far.

use super::super::ids::{InstallationId, Text};
use super::identity::Identity;

/// Where to look for installations.
#[derive(Clone, Debug, Default)]
pub(super) struct Recognition {
    anchored: imbl::OrdMap<(Text, Text), imbl::OrdSet<InstallationId>>,
    /// Those that may differ in anything: each is to be compared.
    loose: imbl::OrdSet<InstallationId>,
}

/// It follows from the installations, but for the order in which they came.
impl PartialEq for Recognition {
    fn eq(&self, _: &Recognition) -> bool {
        true
    }
}

impl Eq for Recognition {}

impl Recognition {
    /// Takes an installation in.
    pub(super) fn insert(&mut self, id: InstallationId, identity: &Identity) {
        let sharing =
            |anchor: &(Text, Text)| self.anchored.get(anchor).map_or(0, imbl::OrdSet::len);
        match identity.required().min_by_key(sharing) {
            Some(anchor) => drop(self.anchored.entry(anchor).or_default().insert(id)),
            None => drop(self.loose.insert(id)),
        }
    }

    /// Those that may recognise it.
    pub(super) fn candidates<'a>(
        &'a self,
        presented: &'a Identity,
    ) -> impl Iterator<Item = &'a InstallationId> {
        let anchored = presented.values().filter_map(|value| self.anchored.get(&value));
        anchored.flatten().chain(&self.loose)
    }
}
