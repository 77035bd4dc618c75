//! Formulas, worked out by the product and by the independent model, which shares no code with it
//! and not even the library of numbers: they agree to the last digit, and on what fails.

mod common;

use common::model::formula::{self, Variables as ModelVariables};
use common::model::{Amount, decimal, text};
use common::product;
use farebox::domain::formula::{Formula, FormulaError};
use farebox::domain::variables::{Variable, Variables};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// The given values, for both.
fn given(pairs: &[(&str, &str)]) -> (Variables, ModelVariables) {
    let variable = |(name, value): &(&str, &str)| Variable {
        name: product::text(name),
        value: value.parse().expect("a number"),
    };
    let variables = Variables::new(pairs.iter().map(variable).collect()).expect("names");
    let of_model = pairs.iter().map(|(name, value)| ((*name).to_owned(), decimal(value)));
    (variables, of_model.collect())
}

/// Works it out twice; whether there was a result.
fn check(formula: &str, variables: &Variables, of_model: &ModelVariables) -> bool {
    let told = Formula::parse(formula).and_then(|formula| formula.rate(variables));
    let told = told.map(product::amount);
    let expected = formula::rate(formula, of_model);
    let shown = |amount: &Amount| text(amount);
    match (&told, &expected) {
        (Ok(told), Ok(expected)) => {
            assert_eq!(shown(told), shown(expected), "{formula} with {variables:?}");
        }
        (Err(_), Err(_)) => {}
        (_, _) => panic!("{formula} with {variables:?}: told {told:?}, expected {expected:?}"),
    }
    let readable = Formula::parse(formula).is_ok();
    assert_eq!(readable, formula::is_formula(formula), "{formula}");
    told.is_ok()
}

/// Numbers, names, and what is made of them, with all the spaces and parentheses that may be there.
fn expression() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (0..100u32).prop_map(|number| number.to_string()),
        (0..1_000u32, 0..1_000u32).prop_map(|(whole, part)| format!("{whole}.{part:03}")),
        prop_oneof![Just("0.5"), Just("0.25"), Just("0.000000001"), Just("0.333")]
            .prop_map(str::to_owned),
    ];
    let name =
        prop_oneof![Just("a"), Just("B"), Just("b"), Just("small"), Just("Minus"), Just("c_9")];
    let leaf = prop_oneof![3 => number, 3 => name.prop_map(str::to_owned)];
    leaf.prop_recursive(5, 24, 2, |inner| {
        let operator = prop_oneof![Just("+"), Just("-"), Just(" * "), Just("/"), Just(" ^ ")];
        let one = prop_oneof![Just("FLOOR.MATH"), Just("ceiling.math"), Just("Abs"), Just("-"), Just("")];
        let two = prop_oneof![
            Just("POWER"),
            Just("product"),
            Just("SUM"),
            Just("MIN"),
            Just("max"),
            Just("ROUND"),
        ];
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("{left}{operator}{right}")),
            2 => (one, inner.clone()).prop_map(|(name, x)| format!("{name}({x})")),
            2 => (two, inner.clone(), inner.clone()).prop_map(|(name, x, y)| format!("{name}({x}, {y})")),
            1 => (inner.clone(), -9..=9i32)
                .prop_map(|(x, places)| format!("ROUND({x},{places})")),
            1 => (inner, 0..=70i32).prop_map(|(x, exponent)| format!("({x})^{}", exponent - 5)),
        ]
    })
}

fn values() -> impl Strategy<Value = Vec<String>> {
    let value = prop_oneof![
        (-20..20i64).prop_map(|number| number.to_string()),
        (-1_000_000_000..1_000_000_000i64)
            .prop_map(|units| text(&(decimal(&units.to_string()) / decimal("1000000")))),
        Just("0.000000001".to_owned()),
        Just("1000000000".to_owned()),
    ];
    proptest::collection::vec(value, 5)
}

fn config(usual: u32) -> Config {
    let cases = if common::dice::is_long() { usual * 100 } else { usual };
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn both_work_out_the_same(expression in expression(), values in values()) {
        let names = ["A", "b", "SMALL", "minus", "C_9"];
        let pairs: Vec<(&str, &str)> =
            names.into_iter().zip(values.iter().map(String::as_str)).collect();
        let (variables, of_model) = given(&pairs);
        check(&expression, &variables, &of_model);
    }

    #[test]
    fn both_refuse_the_same_texts(
        text in "([0-9a-bA-B_.]{0,3}|[ ()+*/^,-]|SUM\\(|MIN\\(|ABS\\(|ROUND\\()([0-9a-b._ ]{1,3}|[(),+*/^-]){0,12}"
    ) {
        let (variables, of_model) = given(&[("a", "2"), ("b", "0.5")]);
        check(&text, &variables, &of_model);
    }
}

proptest! {
    #![proptest_config(config(80))]

    /// Roots, exact ones and others, and exponents of any size: what no fraction comes to.
    #[test]
    fn both_raise_to_the_same_powers(
        base in 1..2_000_000u64, scale in 0..10u32, exponent in -4_000..4_000i64, over in 1..400u32,
    ) {
        let (variables, of_model) = given(&[("base", &base.to_string()), ("e", &exponent.to_string())]);
        for formula in [
            format!("(base / 10^{scale}) ^ (e / {over})"),
            format!("(base / 10^{scale}) ^ (e / 100000) * 10^9"),
            format!("(base * base / 10^{scale}) ^ 0.5"),
            "((1 + base / 10^18) ^ 3) ^ (1 / 3) * 10^8".to_owned(),
            "(1 + base / 10^30) ^ (e * 10^24) * 1000".to_owned(),
            format!("(0 - base) ^ (65 + {over}) / base ^ (64 + {over}) + 10^8"),
        ] {
            check(&formula, &variables, &of_model);
        }
    }
}

#[test]
fn powers_in_the_middle_of_two_decimals_go_to_the_even_one() {
    let (variables, of_model) = given(&[]);
    for units in [1u64, 3, 5, 7, 999_999_999, 123_456_789_012_345_675] {
        let middle = format!("({units}5/10^19 + 1)");
        assert!(check(&format!("({middle}^2)^0.5 * 10^8"), &variables, &of_model));
        assert!(check(&format!("(({middle}^2)^0.5 - 1) * 10^9"), &variables, &of_model));
        assert!(check(&format!("(({middle}^3)^(2/6) - 1) * 10^9"), &variables, &of_model));
        // A little beside the middle, for more digits than a first try has.
        for beside in ["+ 1/10^60", "- 1/10^60", "+ 1/10^100", "- 1/10^100"] {
            let formula = format!("((({middle}^2 {beside})^0.5 - 1) * 10^18) / 10^9");
            assert!(check(&formula, &variables, &of_model), "{formula}");
        }
    }
}

#[test]
fn expressions_often_have_a_result() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (variables, of_model) = given(&[
        ("a", "3"),
        ("b", "0.5"),
        ("small", "0.000000001"),
        ("minus", "-2"),
        ("c_9", "7.25"),
    ]);
    let mut results = 0;
    for _ in 0..500 {
        let tree = expression().new_tree(&mut runner).expect("an expression");
        results += u32::from(check(&tree.current(), &variables, &of_model));
    }
    assert!(results > 150, "only {results} of 500 had a result");
}

#[test]
fn an_error_has_a_place_and_words() {
    let refused: FormulaError = Formula::parse("1 +").unwrap_err();
    assert_eq!(refused.position, 4);
}
