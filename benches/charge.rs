//! What a decision costs: reckoning with amounts, and the charging algorithm over one plentiful
//! line item, and over line items that are nearly used up.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use farebox::benching;
use farebox::domain::catalogue::InstanceCatalogue;
use farebox::domain::charge::{Balances, Candidates, Known, one_off};
use farebox::domain::formula::Formula;
use farebox::domain::ids::{
    ActionId, ConditionId, LineItemNumber, RateTableNumber, Requester, Sequence, Text,
};
use farebox::domain::line_item::{Balance, Terms};
use farebox::domain::rates::{NewRateTable, RateTable, RatedItem, Rates};
use farebox::domain::request::RequestedItem;
use farebox::domain::rules::{Action, Clause, Condition, Dictionary, Effect, Operator, Rule};
use farebox::domain::time::{Period, Timestamp};
use farebox::domain::tokens::{Count, Decimal, Rate, Tokens};
use farebox::domain::variables::{Variable, Variables};

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// Every line item has used the same.
struct Alike(Tokens);

impl Balances for Alike {
    fn known(&self, _: LineItemNumber) -> Known {
        Known::Balance(Balance { used: self.0, ..Balance::default() })
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

/// With rules, each line item permits everybody of EMEA up to an allocation, in its last action.
fn instance(line_items: u64, rules: bool) -> InstanceCatalogue {
    let mut instance = InstanceCatalogue::default();
    let regions = ["APAC", "LATAM", "EMEA"];
    for (place, region) in (0..).zip(regions) {
        let id = ConditionId::from_u128(u128::from(place));
        let (key, operator, values) = (text("region"), Operator::In, vec![text(region)]);
        let rule = Rule::Simple(Clause { key, operator, values });
        instance.insert_condition(Condition { id, place, name: text(region), rule });
    }
    for number in 1..=line_items {
        let terms = Terms::new(text(&format!("ACT{number:03}")), 1000, NOW, NOW.plus_ms(number));
        let activation_id = terms.activation_id.clone();
        instance.insert_terms(LineItemNumber::new(Sequence::new(number)), terms);
        let action = |place: u128| Action {
            id: ActionId::from_u128(place),
            name: text("action"),
            condition: Some(ConditionId::from_u128(place)),
            effect: Effect::Allow(Some(Tokens::whole(1000))),
        };
        if rules {
            instance.set_actions(&activation_id, (0..3).map(action).collect());
        }
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
    let dictionary = [("department", "Engineering"), ("region", "EMEA")];
    let dictionary = dictionary.map(|(key, value)| (text(key), text(value))).to_vec();
    let dictionary = Dictionary::new(dictionary);
    let requester = Requester { kind: text("user"), value: text("LisaBarry"), dictionary };
    for (name, line_items, used, rules) in [
        ("one plentiful line item", 1, 0, false),
        ("one plentiful line item, with rules", 1, 0, true),
        ("split over 5", 5, 990, false),
        ("split over 5, with rules", 5, 990, true),
        ("split over 20", 20, 997, false),
        ("one of 1,000 plentiful line items", 1_000, 0, false),
    ] {
        let (instance, balances) = (instance(line_items, rules), Alike(Tokens::whole(used)));
        criterion.bench_function(&format!("decide: {name}"), |bencher| {
            bencher.iter(|| {
                let candidates = Candidates::at(NOW, NOW, &instance, &rates, false, &requester);
                one_off(black_box(&items), candidates, &balances)
            });
        });
    }
}

fn reckon(criterion: &mut Criterion) {
    let decimal = |text: &str| Decimal::parse(text).expect("a number");
    let count = Count::parse(&decimal("2.5")).expect("a count");
    let [rate, other] = ["3.75", "0.125"].map(|text| Rate::parse(&decimal(text)).expect("a rate"));
    let (charged, period) = (Tokens::whole(30), Period::from_ms(3_600_000).expect("a period"));
    let formula = Formula::parse("CEILING.MATH(basePrice * 1.2) + Extra").expect("a formula");
    let variables = [("basePrice", "2.6"), ("extra", "0.5")].map(|(name, value)| Variable {
        name: text(name),
        value: value.parse().expect("a number"),
    });
    let variables = Variables::new(variables.to_vec()).expect("two variables");
    let mut group = criterion.benchmark_group("reckon");
    group.bench_function("a charge", |bencher| {
        bencher.iter(|| benching::charge(black_box(count), black_box(rate)));
    });
    group.bench_function("what is missing at another rate", |bencher| {
        bencher.iter(|| benching::convert(black_box(charged), black_box(rate), black_box(other)));
    });
    group.bench_function("a refund", |bencher| {
        bencher.iter(|| benching::refund(black_box(charged), black_box(2_400_001), period));
    });
    group.bench_function("a formula", |bencher| {
        bencher.iter(|| formula.rate(black_box(&variables)));
    });
    group.finish();
}

criterion_group!(benches, reckon, decide);
criterion_main!(benches);
