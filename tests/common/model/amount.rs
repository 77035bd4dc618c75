//! Amounts as exact fractions, and the only places where one is rounded (spec 3.7).

use num_bigint::BigInt;
use num_rational::BigRational;

/// Tokens, a rate or a count: exact.
pub type Amount = BigRational;

/// A whole number.
pub fn whole(number: impl Into<BigInt>) -> Amount {
    Amount::from_integer(number.into())
}

/// Reads a plain decimal such as `10`, `-0.5` or `4.666666`; panics at anything else.
pub fn decimal(text: &str) -> Amount {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let plain =
        !before.is_empty() && before.chars().chain(after.chars()).all(|c| c.is_ascii_digit());
    assert!(plain, "not a plain decimal: `{text}`");
    let number: BigInt = format!("{before}{after}").parse().expect("only digits");
    let places = i32::try_from(after.len()).expect("a short number");
    let value = whole(number) / whole(10).pow(places);
    if negative { -value } else { value }
}

/// Writes a decimal without trailing zeros; panics where 18 places are not enough.
pub fn text(amount: &Amount) -> String {
    let units = amount * whole(10).pow(18);
    assert!(units.is_integer(), "not a whole multiple of 10^-18: {amount}");
    let sign = if *amount < whole(0) { "-" } else { "" };
    let digits = format!("{:0>19}", units.numer().magnitude().to_string());
    let (before, after) = digits.split_at(digits.len() - 18);
    format!("{sign}{before}.{after}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether `amount` needs no more than nine places.
pub fn has_nine_places(amount: &Amount) -> bool {
    (amount * whole(10).pow(9)).is_integer()
}

/// A count as it arrives, to nine places: to the nearest, from the middle to the even one.
pub fn half_even_9(count: &Amount) -> Amount {
    half_even(count, 9)
}

/// To so many places: to the nearest, from the middle to the even one.
pub fn half_even(count: &Amount, places: i32) -> Amount {
    let scale = whole(10).pow(places);
    let scaled = count * &scale;
    let (below, half) = (scaled.floor(), Amount::new(1.into(), 2.into()));
    let part = &scaled - &below;
    let odd = !(&below / whole(2)).is_integer();
    let up = part > half || (part == half && odd);
    (if up { below + whole(1) } else { below }) / scale
}

/// The count still missing at a change of rate, up to nine places.
pub fn ceil_9(count: &Amount) -> Amount {
    let scale = whole(10).pow(9);
    (count * &scale).ceil() / scale
}

/// A refund, down to six places.
pub fn floor_6(tokens: &Amount) -> Amount {
    let scale = whole(10).pow(6);
    (tokens * &scale).floor() / scale
}
