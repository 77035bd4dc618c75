//! The grammar of formulas and what they come to, as tables.

use super::*;
use crate::domain::variables::{Number, Variable};

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let variable = |(name, value): &(&str, &str)| Variable {
        name: name.parse().unwrap(),
        value: value.parse::<Number>().unwrap(),
    };
    Variables::new(pairs.iter().map(variable).collect()).unwrap()
}

/// The rate, or what is wrong.
fn worked_out(formula: &str, variables: &Variables) -> String {
    let rate = Formula::parse(formula).and_then(|formula| formula.rate(variables));
    rate.map_or_else(|error| error.to_string(), |rate| rate.to_string())
}

#[test]
fn what_formulas_come_to() {
    let given = variables(&[
        ("basePrice", "2.6"),
        ("extra", "0.5"),
        ("quantity", "3"),
        ("price", "2.5"),
        ("surcharge", "0.4"),
        ("discount", "0.9"),
        ("minus", "-2"),
        ("MIN", "7"),
    ]);
    for (formula, expected) in [
        // The specification's, and the documents'.
        ("CEILING.MATH(basePrice * 1.2) + Extra", "4.5"),
        ("POWER(3, 9.57) + quantity", "36820.170409503"),
        ("price * quantity", "7.5"),
        ("(basePrice + surcharge) * discount", "2.7"),
        // Numbers and names.
        ("0", "0"),
        ("007.50", "7.5"),
        ("PRICE+pRiCe", "5"),
        (" \t\r\n1\n", "1"),
        ("min", "7"),
        // Precedence, from left to right.
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("10-4-3", "3"),
        ("24/4/2", "3"),
        ("24/4*2", "12"),
        ("2*3^2", "18"),
        ("2^3^2", "64"),
        ("2^(3^2)", "512"),
        ("18/3^2", "2"),
        // Unary minus binds tighter than everything.
        ("-2^2", "4"),
        ("0-2^2+5", "1"),
        ("2^-2", "0.25"),
        ("2--3", "5"),
        ("2*-3+7", "1"),
        ("---2+3", "1"),
        ("-minus", "2"),
        ("-(1-3)", "2"),
        // Functions.
        ("FLOOR.MATH(2.9)", "2"),
        ("FLOOR.MATH(-2.1)+4", "1"),
        ("FLOOR.MATH(3)", "3"),
        ("CEILING.MATH(2.1)", "3"),
        ("CEILING.MATH(-2.9)+4", "2"),
        ("ceiling.Math(3)", "3"),
        ("POWER(2,10)", "1024"),
        ("POWER(2,-1)", "0.5"),
        ("PRODUCT(2,3.5)", "7"),
        ("SUM(2,3.5)", "5.5"),
        ("ABS(-2.5)+ABS(2.5)", "5"),
        ("MIN(2,3)+MIN(3,2)+MIN(-1,0)", "3"),
        ("MAX(2,3)+MAX(3,2)+MAX(-1,0)", "6"),
        ("MAX (1, MIN ( 5 , 3 ) )", "3"),
        ("ROUND(2.345,2)", "2.35"),
        ("ROUND(2.5,0)", "3"),
        ("ROUND(-2.5,0)+4", "1"),
        ("ROUND(1/3,9)", "0.333333333"),
        ("ROUND(1250,-2)", "1300"),
        ("ROUND(5,-1)", "10"),
        ("ROUND(499999999,-9)", "0"),
        ("ROUND(500000000,-9)", "1000000000"),
        // Fractions are exact, and only the result is rounded: half to even.
        ("1/3*3", "1"),
        ("1/3", "0.333333333"),
        ("2/3", "0.666666667"),
        ("0.0000000005", "0"),
        ("0.0000000015", "0.000000002"),
        ("0.0000000025", "0.000000002"),
        ("1000000000.0000000005", "1000000000"),
        // Powers: whole exponents to 64 are exact, all others have 18 decimals.
        ("(1/3)^64*3^64", "1"),
        ("(1/3)^-64/3^64", "1"),
        ("minus^3+9", "1"),
        ("minus^-2", "0.25"),
        ("0^0.5+0^2", "0"),
        ("4^0.5", "2"),
        ("(4/9)^1.5*10^9", "296296296.296296296"),
        ("((4/9)^0.5*3-2)*10^18", "1"),
        ("2^0.5*10^8", "141421356.237309505"),
        ("(1/2)^65*10^18", "0"),
        ("(1/2)^65*10^19", "0"),
        ("(-1)^65+2", "1"),
        ("(-1)^66", "1"),
        ("1^(1/3)", "1"),
        ("(1+1/10^12)^(10^12)", "2.718281828"),
        ("(1+1/10^18)^(10^18)*10^8", "271828182.845904523"),
        ("0.5^0.5*2^0.5*10^9", "1000000000"),
        ("10^(-18.5)*10^18", "0"),
        ("10^(-17.9)*10^18", "1"),
        ("10^(-1000.5)", "0"),
        // Half of the last of 18 decimals goes to the even one: the root is exactly in the middle.
        ("((1+5/10^19)^2)^0.5*10^18-10^18", "0"),
        ("((1+15/10^19)^2)^0.5*10^18-10^18", "2"),
    ] {
        assert_eq!(worked_out(formula, &given), expected, "{formula}");
    }
}

#[test]
fn what_is_no_formula_is_refused_where_it_is_wrong() {
    for (formula, expected) in [
        ("", "character 1: a number, a variable, a function or `(` is expected"),
        ("  ", "character 3: a number, a variable, a function or `(` is expected"),
        ("1+", "character 3: a number, a variable, a function or `(` is expected"),
        ("+1", "character 1: a number, a variable, a function or `(` is expected"),
        ("1 + * 2", "character 5: a number, a variable, a function or `(` is expected"),
        ("()", "character 2: a number, a variable, a function or `(` is expected"),
        ("2 3", "character 3: an operator is expected, or the end"),
        ("2x", "character 2: an operator is expected, or the end"),
        ("1e5", "character 2: an operator is expected, or the end"),
        ("a%2", "character 2: an operator is expected, or the end"),
        ("(1))", "character 4: an operator is expected, or the end"),
        ("1,2", "character 2: an operator is expected, or the end"),
        ("2(3)", "character 2: an operator is expected, or the end"),
        ("ä+1", "character 1: a number, a variable, a function or `(` is expected"),
        ("1+ä", "character 3: a number, a variable, a function or `(` is expected"),
        ("a ä", "character 3: an operator is expected, or the end"),
        ("=1", "character 1: a number, a variable, a function or `(` is expected"),
        ("1\u{a0}", "character 2: an operator is expected, or the end"),
        ("(1", "character 3: `)` is expected"),
        ("(1 2)", "character 4: `)` is expected"),
        ("ABS(1", "character 6: `)` is expected"),
        ("1.", "character 1: a point stands between digits"),
        (".5", "character 1: a point stands between digits"),
        ("1.2.3", "character 1: a point stands between digits"),
        ("2+SQRT(4)", "character 3: there is no function `SQRT`"),
        ("FLOOR(1)", "character 1: there is no function `FLOOR`"),
        ("1+FLOOR.MATH", "character 3: `FLOOR.MATH` is no name of a variable"),
        ("a.b", "character 1: `a.b` is no name of a variable"),
        ("ABS()", "character 1: `ABS` has 1 arguments"),
        ("abs(1,2)", "character 1: `ABS` has 1 arguments"),
        ("1+SUM(1)", "character 3: `SUM` has 2 arguments"),
        ("SUM(1,2,3)", "character 1: `SUM` has 2 arguments"),
        ("ROUND(1.5)", "character 1: `ROUND` has 2 arguments"),
        ("SUM(1,)", "character 7: a number, a variable, a function or `(` is expected"),
    ] {
        let found = Formula::parse(formula).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_owned()), "{formula}");
    }
}

#[test]
fn what_cannot_be_worked_out_is_refused_where_it_fails() {
    let given = variables(&[("a", "1"), ("zero", "0")]);
    let bits = "a number gets too long: 1024 bits at most, above and below the line";
    let precision = "a precision is whole, from -9 to 9";
    for (formula, expected) in [
        ("a + Bee", "character 5: variable `Bee` is missing".to_owned()),
        ("1/zero", "character 2: division by zero".to_owned()),
        ("1 / (a-1)", "character 3: division by zero".to_owned()),
        ("zero^-1", "character 5: division by zero".to_owned()),
        ("POWER(zero,-0.5)", "character 1: division by zero".to_owned()),
        ("zero^zero", "character 5: 0 to the power of 0".to_owned()),
        ("POWER(0,0)", "character 1: 0 to the power of 0".to_owned()),
        ("(0-a)^0.5", "character 6: a root of a negative number".to_owned()),
        ("-8^(1/3)", "character 3: a root of a negative number".to_owned()),
        ("ROUND(a,0.5)", format!("character 1: {precision}")),
        ("ROUND(a,10)", format!("character 1: {precision}")),
        ("ROUND(a,-10)", format!("character 1: {precision}")),
        ("ROUND(a,10^30)", format!("character 1: {precision}")),
        ("2^64^16", format!("character 5: {bits}")),
        ("(2^64)^15*2^63*2", format!("character 15: {bits}")),
        ("1/2^64^15/2^63/2", format!("character 15: {bits}")),
        ("10^64^64", format!("character 6: {bits}")),
        ("(1/10^64)^65", "0".to_owned()),
        ("10^400.5", format!("character 3: {bits}")),
        ("10^64^4.9", format!("character 6: {bits}")),
        ("9^9^9^9^9", format!("character 6: {bits}")),
        ("a-2", "character 2: the result is negative".to_owned()),
        ("-0.0000000000001", "character 1: the result is negative".to_owned()),
        ("1000000000.000000001", "character 1: the result is above 1000000000".to_owned()),
        ("10^64", "character 3: the result is above 1000000000".to_owned()),
    ] {
        assert_eq!(worked_out(formula, &given), expected, "{formula}");
    }
}

#[test]
fn a_formula_has_its_limits() {
    let none = Variables::default();
    let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    let functions = |levels: usize| format!("{}1{}", "ABS(".repeat(levels), ")".repeat(levels));
    let signs = |levels: usize| format!("{}1", "-".repeat(levels));
    for (formula, expected) in [
        (nested(32), "1"),
        (nested(33), "character 33: nested too deep, 32 levels at most"),
        (functions(32), "1"),
        (functions(33), "character 129: nested too deep, 32 levels at most"),
        (signs(32), "1"),
        (signs(33), "character 33: nested too deep, 32 levels at most"),
        (format!("1{}", "+1".repeat(200)), "201"),
        (format!("1{}", "+1".repeat(201)), "character 402: too many operations, 200 at most"),
        (format!("1{}", "^1".repeat(16)), "1"),
        (format!("1{}", "^1".repeat(17)), "character 34: too many powers, 16 at most"),
        (format!("1{}", " ".repeat(999)), "1"),
        (
            format!("1{}", " ".repeat(1_000)),
            "character 1001: a formula has at most 1000 characters",
        ),
        (format!("0{}", "9".repeat(8)), "99999999"),
        (
            "9".repeat(309),
            "character 1: a number gets too long: 1024 bits at most, above and below the line",
        ),
        ("9".repeat(308), "character 1: the result is above 1000000000"),
        (
            format!("0.{}1", "0".repeat(308)),
            "character 1: a number gets too long: 1024 bits at most, above and below the line",
        ),
        (
            format!("{}(1)", "a".repeat(80)),
            "character 1: there is no function `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`",
        ),
        (
            "a".repeat(65),
            "character 1: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is no name of a variable",
        ),
    ] {
        assert_eq!(worked_out(&formula, &none), expected, "{formula}");
    }
}
