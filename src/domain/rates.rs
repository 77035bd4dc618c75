//! Rate tables and their series: which table holds at an instant, and what an item costs (spec 3.1).

use std::sync::Arc;

use super::ids::{RateTableNumber, Text};
use super::price::Price;
use super::time::Timestamp;

/// One line of a price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedItem {
    /// What can be used.
    pub name: Text,
    /// Which version of it; empty where it has none.
    pub version: Text,
    /// Tokens for one count.
    pub rate: Price,
}

/// A price list as its producer published it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateTable {
    /// The record that published it.
    pub number: RateTableNumber,
    /// The sequence of tables it belongs to; empty for those without a series.
    pub series: Text,
    /// Names it within its series. Plays no part in choosing (spec 3.1).
    pub version: Text,
    /// It holds from this millisecond on, until a later one of the series does.
    pub effective_from: Timestamp,
    /// When it was published.
    pub created: Timestamp,
    /// The prices in the order they were posted in.
    items: Vec<RatedItem>,
    /// Indices of `items` sorted by name and version.
    sorted: Vec<u32>,
}

/// Two lines of one table for the same item and version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("item `{name}` version `{version}` is priced twice")]
pub struct PricedTwice {
    /// The item.
    pub name: Text,
    /// Its version.
    pub version: Text,
}

/// What a producer posts: a [`RateTable`] before it has a number (spec 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRateTable {
    /// See [`RateTable::series`].
    pub series: Text,
    /// See [`RateTable::version`].
    pub version: Text,
    /// See [`RateTable::effective_from`].
    pub effective_from: Timestamp,
    /// The prices.
    pub items: Vec<RatedItem>,
}

impl RateTable {
    /// Refuses a table that prices one item and version twice.
    pub fn new(
        number: RateTableNumber,
        created: Timestamp,
        table: NewRateTable,
    ) -> Result<RateTable, PricedTwice> {
        let NewRateTable { series, version, effective_from, items } = table;
        let mut sorted: Vec<u32> = (0..).take(items.len()).collect();
        sorted.sort_by(|left, right| key_at(&items, *left).cmp(&key_at(&items, *right)));
        let twice = sorted.windows(2).find_map(|pair| match pair {
            [left, right] if key_at(&items, *left) == key_at(&items, *right) => Some(*left),
            _ => None,
        });
        if let Some(item) = twice.and_then(|index| item_at(&items, index)) {
            return Err(PricedTwice { name: item.name.clone(), version: item.version.clone() });
        }
        Ok(RateTable { number, series, version, effective_from, created, items, sorted })
    }

    /// The prices in the order they were posted in.
    pub fn items(&self) -> &[RatedItem] {
        &self.items
    }

    /// What one count costs: by name and exact version, case and all (spec 3.1).
    pub fn price(&self, name: &Text, version: &Text) -> Option<&Price> {
        let wanted = Some((name.as_str(), version.as_str()));
        let found = self
            .sorted
            .binary_search_by(|index| key_at(&self.items, *index).cmp(&wanted))
            .ok()
            .and_then(|position| self.sorted.get(position))?;
        item_at(&self.items, *found).map(|item| &item.rate)
    }
}

fn item_at(items: &[RatedItem], index: u32) -> Option<&RatedItem> {
    items.get(usize::try_from(index).ok()?)
}

fn key_at(items: &[RatedItem], index: u32) -> Option<(&str, &str)> {
    item_at(items, index).map(|item| (item.name.as_str(), item.version.as_str()))
}

/// All rate tables of a producer, by series. Cloning shares all of them.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Per series, in the order in which they take effect; of equals the later created is last.
    series: imbl::OrdMap<Text, Arc<Vec<Arc<RateTable>>>>,
}

impl Rates {
    /// Adds a table, or replaces the one with its number.
    pub fn insert(&mut self, table: Arc<RateTable>) {
        let mut tables = self.tables(&table.series).to_vec();
        tables.retain(|other| other.number != table.number);
        let order = |table: &RateTable| (table.effective_from, table.number);
        let position = tables.partition_point(|other| order(other) < order(&table));
        let series = table.series.clone();
        tables.insert(position, table);
        self.series.insert(series, Arc::new(tables));
    }

    /// Removes the table with this number; says nothing where there is none.
    pub fn remove(&mut self, series: &Text, number: RateTableNumber) {
        let mut tables = self.tables(series).to_vec();
        tables.retain(|table| table.number != number);
        if tables.is_empty() {
            self.series.remove(series);
        } else {
            self.series.insert(series.clone(), Arc::new(tables));
        }
    }

    /// The table of a series that holds at `now`: the most recently effective of those published at
    /// or before `published` (spec 3.1). So what falls due late is priced as it would have been on
    /// time.
    pub fn effective(
        &self,
        series: &Text,
        now: Timestamp,
        published: Timestamp,
    ) -> Option<&RateTable> {
        let tables = self.series.get(series)?;
        let taken_effect = tables.partition_point(|table| table.effective_from <= now);
        let mut newest_first = tables.get(..taken_effect)?.iter().rev();
        newest_first.find(|table| table.created <= published).map(Arc::as_ref)
    }

    /// The table of this version in this series.
    pub fn find(&self, series: &Text, version: &Text) -> Option<&Arc<RateTable>> {
        self.tables(series).iter().find(|table| table.version == *version)
    }

    /// Every table, in the order of publication.
    pub fn all(&self) -> Vec<Arc<RateTable>> {
        let mut all: Vec<_> = self.series.values().flat_map(|tables| tables.iter()).collect();
        all.sort_by_key(|table| table.number);
        all.into_iter().map(Arc::clone).collect()
    }

    fn tables(&self, series: &Text) -> &[Arc<RateTable>] {
        self.series.get(series).map_or(&[], |tables| tables.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Sequence;
    use crate::domain::tokens::Rate;
    use crate::domain::variables::Variables;

    fn text(text: &str) -> Text {
        Text::new(text).unwrap()
    }

    fn table(number: u64, series: &str, from: u64, items: &[(&str, &str, u64)]) -> RateTable {
        let items = items
            .iter()
            .map(|(name, version, rate)| RatedItem {
                name: text(name),
                version: text(version),
                rate: Rate::from_units(rate * 1_000_000_000).unwrap().into(),
            })
            .collect();
        let number = RateTableNumber::new(Sequence::new(number));
        let effective_from = Timestamp::from_ms(from);
        let version = text(&format!("v{number}"));
        let new = NewRateTable { series: text(series), version, effective_from, items };
        RateTable::new(number, Timestamp::default(), new).unwrap()
    }

    #[test]
    fn the_most_recently_effective_table_of_the_series_holds_alone() {
        let mut rates = Rates::default();
        rates.insert(Arc::new(table(1, "P", 100, &[("Photo", "1.0", 3), ("CAD", "2.0", 7)])));
        rates.insert(Arc::new(table(2, "P", 200, &[("Photo", "1.0", 5)])));
        rates.insert(Arc::new(table(3, "P", 200, &[("Photo", "1.0", 6)])));
        rates.insert(Arc::new(table(4, "", 0, &[("Photo", "1.0", 9)])));
        let price = |series: &str, now: u64, name: &str, version: &str| {
            rates
                .effective(&text(series), Timestamp::from_ms(now), Timestamp::default())
                .and_then(|table| table.price(&text(name), &text(version)))
                .map(|price| price.rate(&Variables::default()).unwrap().to_string())
        };
        for (series, now, name, version, expected) in [
            ("P", 99, "Photo", "1.0", None),
            ("P", 100, "Photo", "1.0", Some("3")),
            ("P", 199, "CAD", "2.0", Some("7")),
            ("P", 200, "Photo", "1.0", Some("6")), // Of two from one instant the later created.
            ("P", 200, "CAD", "2.0", None),        // Not looked up in an older table.
            ("P", 200, "Photo", "", None),
            ("P", 200, "photo", "1.0", None),
            ("", 300, "Photo", "1.0", Some("9")),
            ("Q", 300, "Photo", "1.0", None),
        ] {
            let found = price(series, now, name, version);
            assert_eq!(found.as_deref(), expected, "{series} {now} {name} {version}");
        }
        rates.remove(&text("P"), RateTableNumber::new(Sequence::new(3)));
        assert_eq!(rates.all().len(), 3);
    }

    #[test]
    fn one_item_is_priced_once_in_a_table() {
        let twice = table(1, "P", 0, &[("A", "1", 1)]).items().first().cloned().unwrap();
        let new = NewRateTable {
            series: Text::empty(),
            version: text("1"),
            effective_from: Timestamp::default(),
            items: vec![twice.clone(), twice],
        };
        let refused =
            RateTable::new(RateTableNumber::default(), Timestamp::default(), new).unwrap_err();
        assert_eq!(refused.to_string(), "item `A` version `1` is priced twice");
    }
}
