//! What a decision costs: the charging algorithm over one plentiful line item, and over line items
//! that are nearly used up.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use farebox::domain::catalogue::InstanceCatalogue;
use farebox::domain::charge::{Balances, Candidates, Known, one_off};
use farebox::domain::ids::{LineItemNumber, RateTableNumber, Sequence, Text};
use farebox::domain::line_item::{Balance, LineItem, Terms};
use farebox::domain::rates::{NewRateTable, RateTable, RatedItem, Rates};
use farebox::domain::request::RequestedItem;
use farebox::domain::time::Timestamp;
use farebox::domain::tokens::Tokens;
use farebox::domain::variables::Variables;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// Every line item has used the same.
struct Alike(Tokens);

impl Balances for Alike {
    fn known(&self, _: LineItemNumber) -> Known {
        Known::Balance(Balance { used: self.0, open_lines: 0 })
    }
}

fn text(text: &str) -> Text {
    Text::new(text).expect("a text")
}

fn rates() -> Rates {
    let priced = [("PhotoPrint", "1.0", "3"), ("SignPrint", "1.0", "4"), ("CADPrint", "2.0", "7")];
    let items = priced.map(|(name, version, rate)| RatedItem {
        name: text(name),
        version: text(version),
        rate: rate.parse().expect("a rate"),
    });
    let (series, version) = (Text::empty(), text("1"));
    let effective_from = Timestamp::default();
    let table = NewRateTable { series, version, effective_from, items: items.to_vec() };
    let table = RateTable::new(RateTableNumber::default(), NOW, table).expect("priced once");
    let mut rates = Rates::default();
    rates.insert(Arc::new(table));
    rates
}

fn instance(line_items: u64) -> InstanceCatalogue {
    let mut instance = InstanceCatalogue::default();
    for number in 1..=line_items {
        let terms = Terms::new(text(&format!("ACT{number:03}")), 1000, NOW, NOW.plus_ms(number));
        let number = LineItemNumber::new(Sequence::new(number));
        instance.insert(Arc::new(LineItem { number, terms }));
    }
    instance
}

fn decide(criterion: &mut Criterion) {
    let rates = rates();
    let item = |name: &str, version: &str, count: &str| RequestedItem {
        name: text(name),
        version: text(version),
        count: count.parse().expect("a count"),
        metadata: None,
        variables: Variables::default(),
    };
    let items = [item("PhotoPrint", "1.0", "10"), item("CADPrint", "2.0", "2")];
    for (name, line_items, used) in
        [("one plentiful line item", 1, 0), ("split over 5", 5, 990), ("split over 20", 20, 997)]
    {
        let (instance, balances) = (instance(line_items), Alike(Tokens::whole(used)));
        criterion.bench_function(&format!("decide: {name}"), |bencher| {
            bencher.iter(|| {
                let candidates = Candidates::at(NOW, NOW, &instance, &rates, false);
                one_off(black_box(&items), candidates, &balances)
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
