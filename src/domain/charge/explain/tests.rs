//! Small worlds at random: whoever is denied and does what the explanation names gets through.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::InstanceCatalogue;
use crate::domain::charge::{Decision, one_off, whole_set};
use crate::domain::formula::Formula;
use crate::domain::ids::{RateTableNumber, Requester, Sequence};
use crate::domain::limits::USED_MAX;
use crate::domain::line_item::{Balance, LineItemState, Posting, Terms};
use crate::domain::price::Price;
use crate::domain::rates::{NewRateTable, RatedItem, Rates};
use crate::domain::rules::{Clause, Condition, Counters, Dictionary, Operator, Rule as Asks};
use crate::domain::tokens::Count;
use crate::domain::variables::Variables;

const NOW: Timestamp = Timestamp::from_ms(1_000_000);

impl Balances for BTreeMap<LineItemNumber, Balance> {
    fn known(&self, line_item: LineItemNumber) -> Known {
        Known::Balance(self.get(&line_item).cloned().unwrap_or_default())
    }
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn number(place: usize) -> LineItemNumber {
    LineItemNumber::new(Sequence::new(place as u64))
}

fn action(bits: u128, condition: Option<u128>, effect: Effect) -> Action {
    let (id, name) = (ActionId::from_u128(bits), text(&format!("A{bits}")));
    Action { id, name, condition: condition.map(ConditionId::from_u128), effect }
}

fn allocation(tokens: u64) -> Effect {
    Effect::Allow(Some(Tokens::whole(tokens)))
}

/// An instance, prices, balances and somebody who asks.
#[derive(Clone, Debug)]
struct World {
    instance: InstanceCatalogue,
    rates: Rates,
    tables: u64,
    balances: BTreeMap<LineItemNumber, Balance>,
    requester: Requester,
    refunds: Vec<Refund>,
}

impl World {
    fn new(department: &str) -> World {
        let mut instance = InstanceCatalogue::default();
        for (bits, value) in [(1, "E"), (2, "P")] {
            let values = vec![text(value)];
            let clause = Clause { key: text("d"), operator: Operator::In, values };
            let (id, name) = (ConditionId::from_u128(bits), text(value));
            let rule = Asks::Simple(clause);
            instance.insert_condition(Condition { id, place: 0, name, rule });
        }
        let dictionary = Dictionary::new(vec![(text("d"), text(department))]);
        let requester = Requester { kind: text("user"), value: text("x"), dictionary };
        let (rates, balances, refunds) = (Rates::default(), BTreeMap::new(), Vec::new());
        World { instance, rates, tables: 0, balances, requester, refunds }
    }

    /// The next table of a series: what the last one had, and this.
    fn publish(&mut self, series: &str, prices: &[(&str, Price)]) {
        let price = |(name, rate): &(&str, Price)| RatedItem {
            name: text(name),
            version: Text::empty(),
            rate: rate.clone(),
        };
        let former = self.rates.effective(&text(series), NOW, NOW);
        let former = former.map_or(&[][..], RateTable::items).iter().cloned();
        let items = former.chain(prices.iter().map(price)).collect();
        self.tables += 1;
        let table = RateTable::new(
            RateTableNumber::new(Sequence::new(self.tables)),
            Timestamp::default(),
            NewRateTable {
                series: text(series),
                version: text(&self.tables.to_string()),
                effective_from: Timestamp::from_ms(self.tables),
                items,
            },
        );
        self.rates.insert(Arc::new(table.unwrap()));
    }

    fn map(&mut self, place: usize, terms: impl FnOnce(&mut Terms)) -> LineItemNumber {
        let end = NOW.plus_ms(1_000 + place as u64);
        let mut new = Terms::new(text(&format!("L{place:03}")), 10, Timestamp::default(), end);
        terms(&mut new);
        self.instance.insert_terms(number(place), new);
        number(place)
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates::at(NOW, NOW, &self.instance, &self.rates, false, &self.requester)
    }

    fn explain(&self, items: &[RequestedItem], listed_max: usize) -> Vec<ItemExplained> {
        let (candidates, balances) = (self.candidates(), &self.balances);
        let (refunds, best_effort) = (&self.refunds, false);
        let asked = Asked { items, refunds, best_effort, candidates, balances };
        asked.explain(listed_max).unwrap()
    }

    /// As a one-off request, which is charged as far as it goes.
    fn charge(&mut self, items: &[RequestedItem]) -> Vec<ItemExplained> {
        let (candidates, balances) = (self.candidates(), &self.balances);
        let asked = Asked { items, refunds: &[], best_effort: true, candidates, balances };
        let explained = asked.explain(100).unwrap();
        let decided = one_off(items, self.candidates(), &self.balances).unwrap().unwrap();
        for Posting { line_item, after, .. } in decided.postings {
            self.balances.entry(line_item).or_default().take_over(&after);
        }
        explained
    }

    fn line_item(&self, name: &Text) -> LineItem {
        self.instance.find(name.as_str()).unwrap().as_ref().clone()
    }

    fn change(&mut self, name: &Text, change: impl FnOnce(&mut Terms, &mut Vec<Action>)) {
        let LineItem { number, mut terms, mut actions } = self.line_item(name);
        change(&mut terms, &mut actions);
        self.instance.insert_terms(number, terms);
        self.instance.set_actions(name, actions);
    }

    fn raise(&mut self, raise: &Raise) {
        self.change(&raise.activation_id, |terms, actions| {
            assert_eq!(terms.quantity, raise.quantity_now);
            terms.quantity += raise.quantity;
            let Some(raised) = &raise.allocation else { return };
            let meant = actions.iter_mut().find(|action| action.id == raised.action).unwrap();
            assert_eq!(meant.effect, Effect::Allow(Some(raised.now)));
            let now = raised.now.checked_add(Tokens::whole(raised.tokens));
            meant.effect = Effect::Allow(now);
        });
    }

    /// Does what the standing names, and nothing else.
    fn cure(&mut self, explained: &LineItemExplained, item: &RequestedItem) {
        let name = &explained.activation_id;
        let price = (item.name.as_str(), Price::Rate("2".parse().unwrap()));
        match &explained.standing {
            Standing::Unusable(obstacle) => self.change(name, |terms, _| match obstacle {
                Obstacle::NotElastic => terms.elastic = true,
                Obstacle::NotDeployed(_) => terms.state = LineItemState::Deployed,
                Obstacle::NotStarted(start) => {
                    assert_eq!(terms.start, *start);
                    terms.start = NOW;
                }
                Obstacle::Ended(end) => {
                    assert_eq!(terms.end, *end);
                    terms.end = NOW;
                }
            }),
            Standing::NoTable { series } => self.publish(series.as_str(), &[price]),
            Standing::NotPriced(table) => self.publish(table.series.as_str(), &[price]),
            Standing::Denied { rule: None, .. } => self.change(name, |_, actions| {
                actions.push(action(9, None, Effect::Allow(None)));
            }),
            Standing::Denied { rule: Some(rule), .. } => self.change(name, |_, actions| {
                let meant = actions.iter_mut().find(|action| action.id == rule.action).unwrap();
                meant.effect = allocation(1_000);
            }),
            Standing::FormulaFails { .. } | Standing::Usable(_) => {
                panic!("nothing keeps {name} from {item:?}: {explained:?}")
            }
        }
    }
}

fn item(name: &str, count: &str) -> RequestedItem {
    let (name, version, count) = (text(name), Text::empty(), count.parse().unwrap());
    RequestedItem { name, version, count, metadata: None, variables: Variables::default() }
}

fn rate(digits: &str) -> Price {
    Price::Rate(digits.parse().unwrap())
}

fn a_line_item() -> impl Strategy<Value = (Terms, Vec<Action>, Balance)> {
    let state = prop_oneof![
        4 => Just(LineItemState::Deployed),
        1 => Just(LineItemState::Inactive),
    ];
    let window = prop_oneof![6 => Just((0, 9)), 1 => Just((1, 9)), 1 => Just((0, 0))];
    let series = prop_oneof![Just(""), Just("P"), Just("Q"), Just("R")];
    let overdraft = prop_oneof![
        5 => Just(Overdraft::None),
        3 => (0..6u64).prop_map(Overdraft::Number),
        1 => Just(Overdraft::Unlimited),
    ];
    let effect = prop_oneof![2 => (0..12u64).prop_map(allocation), 1 => Just(Effect::Deny)];
    let with_condition = (1..4u128, effect.clone());
    let default = prop_oneof![Just(Effect::Allow(None)), effect];
    let actions = prop_oneof![
        1 => Just((Vec::new(), None)),
        1 => (prop::collection::vec(with_condition, 0..3), prop::option::of(default)),
    ];
    let terms = (prop::bool::weighted(0.85), state, window, series, 1..15u64, overdraft);
    let used = (0..20_000_000_000u64, prop::collection::vec(0..8_000_000_000u64, 4));
    (terms, actions, used, 0..3u64).prop_map(|(terms, (rules, default), (used, counted), end)| {
        let (elastic, state, (from, to), series, quantity, overdraft) = terms;
        // Windows that are over, not begun, or wide; some end alike.
        let start = Timestamp::from_ms(from * (NOW.as_ms() + 7));
        let end = match to {
            0 => NOW.minus_ms(1 + end),
            _ => NOW.plus_ms(100 + end),
        };
        let start = if from == 1 { start.min(end) } else { start };
        let terms = Terms::new(text("L"), quantity, start, end);
        let terms = Terms { elastic, state, series: text(series), overdraft, ..terms };
        let rules = (1..).zip(rules);
        let mut actions: Vec<_> =
            rules.map(|(bits, (asks, effect))| action(bits, Some(asks), effect)).collect();
        actions.extend(default.map(|effect| action(4, None, effect)));
        let tokens = |units: u64| Tokens::from_units(i128::from(units) * 1_000_000_000).unwrap();
        let counters =
            (1..).zip(counted).map(|(bits, units)| (ActionId::from_u128(bits), tokens(units)));
        let known = |(id, _): &(ActionId, Tokens)| actions.iter().any(|action| action.id == *id);
        let counters = Counters::new(counters.filter(known).collect());
        let balance = Balance { used: tokens(used), open_lines: 1, counters, ..Balance::default() };
        (terms, actions, balance)
    })
}

fn a_world() -> impl Strategy<Value = World> {
    let line_items = prop::collection::vec(a_line_item(), 1..5);
    let department = prop_oneof![Just("E"), Just("P"), Just("S")];
    (line_items, department, prop::bool::ANY).prop_map(|(line_items, department, refunded)| {
        let mut world = World::new(department);
        let odd = [("A", rate("5")), ("B", rate("0.000000007")), ("C", rate("7"))];
        world.publish("", &[("A", rate("2")), ("B", rate("0.3"))]);
        world.publish("P", &odd);
        world.publish("R", &[("A", rate("3")), ("B", rate("987654321")), ("C", rate("0.7"))]);
        for (place, (terms, actions, balance)) in (1..).zip(line_items) {
            let name = text(&format!("L{place:03}"));
            let number = number(place);
            if refunded && place == 1 {
                let tokens = Tokens::from_units(balance.used.units() / 2).unwrap();
                let (activation_id, item, action) = (name.clone(), 0, None);
                let (line_item, rate) = (number, "1".parse().unwrap());
                let refund = Refund { line_item, activation_id, item, rate, tokens, action };
                world.refunds.push(refund);
            }
            world.balances.insert(number, balance);
            world.instance.insert_terms(number, Terms { activation_id: name.clone(), ..terms });
            world.instance.set_actions(&name, actions);
        }
        world
    })
}

fn a_request() -> impl Strategy<Value = Vec<RequestedItem>> {
    let name = prop_oneof![4 => Just("A"), 3 => Just("B"), 3 => Just("C"), 1 => Just("D")];
    let count = prop_oneof![1..8_000_000_000u64, (1..9u64).prop_map(|whole| whole * 1_000_000_000)];
    let item = (name, count).prop_map(|(name, count)| RequestedItem {
        count: Count::from_units(count).unwrap(),
        ..item(name, "1")
    });
    prop::collection::vec(item, 1..5)
}

fn is_granted(explained: &ItemExplained) -> bool {
    matches!(explained.verdict, Verdict::Granted(_))
}

fn usable(line: &LineItemExplained) -> Option<(LineItemNumber, &Usable)> {
    if let Standing::Usable(usable) = &line.standing {
        Some((line.line_item, usable))
    } else {
        None
    }
}

/// Every line item stands as the algorithm takes it.
fn check_standings(world: &World, items: &[RequestedItem], explained: &[ItemExplained]) {
    for (item, explained) in items.iter().zip(explained) {
        let prices = Prices::of(item);
        let candidates = world.candidates().permitted(&prices);
        let permitted: Vec<_> = candidates.map(|(line, rate, _)| (line.number, rate)).collect();
        let usable: Vec<_> = explained.line_items.iter().filter_map(usable).collect();
        let rates = usable.iter().map(|(number, usable)| (*number, Ok(usable.rate)));
        assert_eq!(rates.collect::<Vec<_>>(), permitted);
        let taken = usable.iter().map(|(_, usable)| usable.taken);
        assert_eq!(taken.fold(Tokens::ZERO, sum), explained.verdict.total());
        let short = matches!(explained.verdict, Verdict::Denied(Denial::Insufficient));
        assert_eq!(explained.shortfall.is_some(), short);
    }
}

/// Follows the explanations until nothing is denied; `pick` says which obstacle is cured first.
fn follow(mut world: World, items: &[RequestedItem], pick: usize) -> Result<(), TestCaseError> {
    for step in 0..400 {
        let explained = world.explain(items, 100);
        check_standings(&world, items, &explained);
        let Some(denied) = explained.iter().position(|explained| !is_granted(explained)) else {
            let set = whole_set(items, &world.refunds, world.candidates(), &world.balances);
            prop_assert!(matches!(set, Ok(Ok(Decision { .. }))), "all are granted together");
            return Ok(());
        };
        let (why, item) = (&explained[denied], &items[denied]);
        match (&why.verdict, &why.shortfall) {
            (Verdict::Denied(Denial::Insufficient), Some(Shortfall::Raise(raise))) => {
                let raise = raise.clone();
                let mut alone = world.clone();
                alone.raise(&raise);
                let alone = alone.explain(std::slice::from_ref(item), 100);
                prop_assert!(is_granted(&alone[0]), "alone, after {raise:?}");
                world.raise(&raise);
                let again = world.explain(items, 100);
                prop_assert!(is_granted(&again[denied]), "in its request, after {raise:?}");
            }
            (Verdict::Denied(Denial::NoLineItem | Denial::UnknownItem), None) => {
                let standings = &why.line_items;
                let chosen = standings[(pick + step) % standings.len()].clone();
                world.cure(&chosen, item);
            }
            other => prop_assert!(false, "nothing to follow: {other:?}"),
        }
    }
    prop_assert!(false, "it never gets through");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn a_short_item_of_a_one_off_request_is_granted_alone_once_what_it_lacks_is_there(
        world in a_world(), items in a_request(),
    ) {
        let mut world = World { refunds: Vec::new(), ..world };
        let fails = one_off(&items, world.candidates(), &world.balances).unwrap().is_err();
        prop_assume!(!fails);
        let explained = world.charge(&items);
        for (item, why) in items.iter().zip(&explained) {
            let Some(Shortfall::Raise(raise)) = &why.shortfall else { continue };
            let mut raised = world.clone();
            raised.raise(raise);
            let alone = raised.explain(std::slice::from_ref(item), 100);
            prop_assert!(is_granted(&alone[0]), "{item:?} after {raise:?}");
        }
    }

    #[test]
    fn who_follows_the_explanations_gets_through(
        world in a_world(), items in a_request(), pick in 0..5usize,
    ) {
        follow(world, &items, pick)?;
    }

    #[test]
    fn what_is_explained_is_what_is_decided(world in a_world(), items in a_request()) {
        let mut world = world;
        world.refunds.clear();
        let explained = world.explain(&items, 100);
        let verdicts: Vec<_> = explained.into_iter().map(|explained| explained.verdict).collect();
        let decided = one_off(&items, world.candidates(), &world.balances).unwrap().unwrap();
        prop_assert_eq!(decided.verdicts, verdicts);
    }

    #[test]
    fn no_more_is_named_than_is_needed(world in a_world(), items in a_request()) {
        let item = items.first().unwrap();
        let items = std::slice::from_ref(item);
        let explained = world.explain(items, 100);
        if let Some(Shortfall::Raise(raise)) = &explained[0].shortfall {
            let less = |quantity: u64, allocation: u64| {
                let mut world = world.clone();
                let fewer = raise.allocation.clone().map(|raised| RaisedAllocation {
                    tokens: raised.tokens.saturating_sub(allocation), ..raised
                });
                let quantity = raise.quantity.saturating_sub(quantity);
                world.raise(&Raise { quantity, allocation: fewer, ..raise.clone() });
                is_granted(&world.explain(items, 100)[0])
            };
            prop_assert!(raise.quantity == 0 || !less(1, 0), "{:?}", raise);
            prop_assert!(raise.allocation.is_none() || !less(0, 1), "{:?}", raise);
        }
    }
}

/// What the only item of a request is told.
fn one(world: &World, name: &str, count: &str) -> ItemExplained {
    world.explain(&[item(name, count)], 100).remove(0)
}

#[test]
fn what_cannot_be_raised_says_so() {
    let mut world = World::new("E");
    world.publish("", &[("A", rate("2"))]);
    let first = world.map(1, |terms| terms.overdraft = Overdraft::Unlimited);
    let nearly = USED_MAX.checked_sub(Tokens::whole(1)).unwrap();
    world.balances.insert(first, Balance { used: nearly, ..Balance::default() });
    assert_eq!(one(&world, "A", "1").shortfall, Some(Shortfall::Ceiling));

    // A quantity goes up to 2^63 - 1.
    world.change(&text("L001"), |terms, _| terms.overdraft = Overdraft::Number(5));
    assert_eq!(one(&world, "A", "1").shortfall, Some(Shortfall::Ceiling));
    world.change(&text("L001"), |terms, _| terms.overdraft = Overdraft::None);
    let used = Tokens::whole(i64::MAX.unsigned_abs());
    world.balances.insert(first, Balance { used, ..Balance::default() });
    assert_eq!(one(&world, "A", "1").shortfall, Some(Shortfall::Ceiling));
    // Another one that can be raised is named instead.
    world.map(0, |terms| terms.quantity = 1);
    let Some(Shortfall::Raise(raise)) = one(&world, "A", "1").shortfall else { panic!("L000") };
    assert_eq!((raise.activation_id, raise.quantity), (text("L000"), 1));
}

#[test]
fn a_request_of_many_short_items_is_told_of_the_first() {
    let mut world = World::new("E");
    world.publish("", &[("A", rate("2"))]);
    world.map(1, |_| {});
    let items: Vec<_> = (0..12).map(|_| item("A", "6")).collect();
    let explained = world.explain(&items, 100);
    for (place, explained) in (1..).zip(&explained) {
        match &explained.shortfall {
            Some(Shortfall::Raise(raise)) if place <= 10 => {
                // Those before it would be granted as well.
                assert_eq!(raise.quantity, place * 12 - 10);
            }
            Some(Shortfall::Later) if place > 10 => {}
            other => panic!("item {place}: {other:?}"),
        }
    }
}

#[test]
fn what_is_raised_is_enough_for_those_before_it_too() {
    // L001 gives B from its overdraft, since L002 has nothing; more for C on L002 goes to B first.
    let mut world = World::new("E");
    world.publish("", &[("B", rate("1"))]);
    world.publish("P", &[("B", rate("1")), ("C", rate("1"))]);
    let first = world.map(1, |terms| terms.overdraft = Overdraft::Number(100));
    let second = world.map(2, |terms| terms.series = text("P"));
    for number in [first, second] {
        world.balances.insert(number, Balance { used: Tokens::whole(10), ..Balance::default() });
    }
    let items = [item("B", "50"), item("C", "1")];
    let explained = world.explain(&items, 100);
    let Some(Shortfall::Raise(raise)) = &explained[1].shortfall else { panic!("C is short") };
    assert_eq!((raise.activation_id.as_str(), raise.quantity), ("L002", 51));
    world.raise(raise);
    assert!(world.explain(&items, 100).iter().all(is_granted));
}

#[test]
fn a_formula_that_fails_is_named_with_its_reason() {
    let mut world = World::new("E");
    let formula: Formula = Formula::parse("2 / pages").unwrap();
    world.publish("", &[("A", Price::from(formula))]);
    world.map(1, |_| {});
    let explained = one(&world, "A", "1");
    assert_eq!(explained.verdict, Verdict::Denied(Denial::UnknownItem));
    let Standing::FormulaFails { formula, error, .. } = &explained.line_items[0].standing else {
        panic!("{explained:?}")
    };
    let told = (formula.as_str(), error.to_string());
    assert_eq!(told, ("2 / pages", "character 5: variable `pages` is missing".to_owned()));
}

#[test]
fn long_lists_keep_who_gave_who_is_short_and_who_came_close() {
    let mut world = World::new("E");
    world.publish("", &[("A", rate("1"))]);
    for place in 1..=8 {
        world.map(place, |terms| {
            terms.state = if place < 4 { LineItemState::Inactive } else { LineItemState::Deployed };
            terms.series = if place == 5 { text("none") } else { Text::empty() };
        });
    }
    let names = |explained: &ItemExplained| {
        let all = explained.line_items.iter();
        all.map(|line| line.activation_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    for (count, listed_max, names_listed, more) in [
        ("1", 100, "L001 L002 L003 L004 L005 L006 L007 L008", 0),
        ("1", 1, "L004", 7),
        ("35", 1, "L004 L006 L007 L008", 4), // Those that gave are never left out.
        ("1", 5, "L004 L005 L006 L007 L008", 3),
        ("100", 2, "L004 L008", 6), // L008 should be raised.
    ] {
        let explained = world.explain(&[item("A", count)], listed_max).remove(0);
        assert_eq!((names(&explained).as_str(), explained.more), (names_listed, more), "{count}");
    }
}
