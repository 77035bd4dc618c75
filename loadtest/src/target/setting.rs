//! A world in farebox's terms: what its rate tables, line items and components are called, and what
//! is in them. HTTP and the library are told the same.

use farebox::env::{IdSource, SystemIds};

use crate::profile::World;

/// The rate tables' version, and from when on they hold.
pub const TABLE_VERSION: &str = "1";
/// See [`TABLE_VERSION`].
pub const EFFECTIVE_FROM_MS: u64 = 1_698_849_852_000;
/// The first line item of an instance ends then, each further one a second later.
const FIRST_END_MS: u64 = 4_000_000_000_000;
/// What fills rate tables up, at a token each; and what line items are used up with.
pub const FILLER: &str = "Filler0";
/// A component that gives its tokens back, and one that spends them, at this many each.
pub const COMPONENTS: [(&str, &str); 2] = [("Mesher", "token"), ("Solver", "consumable token")];
/// See [`COMPONENTS`].
pub const COMPONENT_TOKENS: u64 = 30;
/// How long a session of components lasts, in seconds: longer than any load.
pub const LEASE_S: u64 = 86_400;

/// A world, under names that no other world in the same broker has.
pub struct Setting {
    world: World,
    tag: String,
}

/// A rate table.
pub struct Table {
    /// Its series.
    pub series: String,
    /// Name, version and rate of its items.
    pub items: Vec<(String, String, u64)>,
}

/// A line item.
pub struct LineItem {
    /// Its name.
    pub activation_id: String,
    /// Whole tokens.
    pub quantity: u64,
    /// When it ends: this decides about the order of charging.
    pub end_ms: u64,
    /// By which series it prices.
    pub series: String,
}

impl Setting {
    /// The world, under fresh names.
    pub fn new(world: &World) -> Setting {
        let tag = format!("{:08x}", SystemIds.fresh() & 0xffff_ffff);
        Setting { world: world.clone(), tag }
    }

    /// What only this world is called by.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The rate tables: one for all line items, and one for each that prices items of its own.
    pub fn tables(&self) -> Vec<Table> {
        let bound = (0..self.world.line_items.len()).map(Some).filter(|at| self.is_bound(*at));
        std::iter::once(None).chain(bound).map(|at| self.table(at)).collect()
    }

    fn is_bound(&self, line_item: Option<usize>) -> bool {
        self.world.requested.iter().any(|item| item.line_item == line_item)
    }

    fn table(&self, line_item: Option<usize>) -> Table {
        let requested = self.world.requested.iter().filter(|item| item.line_item == line_item);
        let mut items: Vec<_> =
            requested.map(|item| (item.item.clone(), item.version.clone(), item.rate)).collect();
        let fillers = self.world.rated_items.saturating_sub(items.len()).max(1);
        items.extend((0..fillers).map(|at| (format!("Filler{at}"), String::new(), 1)));
        Table { series: self.series(line_item), items }
    }

    fn series(&self, line_item: Option<usize>) -> String {
        match line_item {
            Some(at) => format!("{}-{at}", self.tag),
            None => self.tag.clone(),
        }
    }

    /// The line items of an instance, in charging order.
    pub fn line_items(&self, instance: usize) -> impl Iterator<Item = LineItem> {
        (0..).zip(&self.world.line_items).zip(0..).map(move |((at, left), seconds)| LineItem {
            activation_id: format!("{}-{instance}-{at}", self.tag),
            quantity: (*left).max(1),
            end_ms: FIRST_END_MS + seconds * 1_000,
            series: self.series(Some(at).filter(|at| self.is_bound(Some(*at)))),
        })
    }

    /// How many [`FILLER`]s have to be asked for until those line items have nothing left that
    /// shall have nothing left: they come first, with a token each.
    pub fn spent(&self) -> usize {
        self.world.line_items.iter().filter(|left| **left == 0).count()
    }

    /// What the licence of an instance is called.
    pub fn license(&self, instance: usize) -> String {
        format!("{}-{instance}", self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn an_item_that_is_bound_to_a_line_item_is_priced_by_that_one_alone() {
        let profile = Profile::load("split5").expect("a profile");
        let setting = Setting::new(&profile.world);
        let (tables, tag) = (setting.tables(), setting.tag());
        for (at, line_item) in setting.line_items(7).enumerate() {
            assert_eq!(line_item.activation_id, format!("{tag}-7-{at}"));
            let table = tables.iter().find(|table| table.series == line_item.series);
            let names = table.expect("its table").items.iter().map(|(name, ..)| name.as_str());
            assert_eq!(names.collect::<Vec<_>>(), [format!("Part{at}").as_str(), FILLER]);
        }
    }
}
