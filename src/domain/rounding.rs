//! The one place in the program that rounds (spec 3.7).

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::time::Period;
use super::tokens::{Count, Rate, Tokens, UNITS_PER_TOKEN};

/// What is given back of `charged` when `left_ms` of `period` were not used.
///
/// Rounded down to a millionth of a token, so that no sequence of closes or replacements can earn
/// a fraction. Never more than `charged`; divided first, so that no charge is too large to refund.
pub(crate) fn refund(charged: Tokens, left_ms: u64, period: Period) -> Tokens {
    let period_ms = period.as_ms().get();
    let left = i128::from(left_ms.min(period_ms));
    let (units, period) = (charged.units(), i128::from(period_ms));
    let exact = (units / period) * left + (units % period) * left / period;
    let refund = Tokens::from_units(exact - exact % Tokens::MILLIONTH).unwrap_or(Tokens::ZERO);
    assert!(refund <= charged, "a refund never passes the charge it reverses");
    refund
}

/// The tokens still missing at `rate`, when `missing` of them were missing at `previous`: the
/// count that is left over, rounded up to nine decimals, at the next rate (spec 3.4, ceil9).
///
/// At equal rates nothing is converted. `previous` is not zero: at a rate of 0 nothing is missing.
pub(crate) fn convert(missing: Tokens, previous: Rate, rate: Rate) -> Tokens {
    if previous == rate {
        return missing;
    }
    let per_count = i128::from(previous.units());
    assert!(per_count > 0, "at a rate of 0 nothing is missing");
    let count = missing.units() / per_count + i128::from(missing.units() % per_count != 0);
    let tokens = count.checked_mul(i128::from(rate.units())).and_then(Tokens::from_units);
    tokens.unwrap_or(Tokens::MAX) // More than any line item holds: the item is denied (306).
}

/// `digits` × 10^-`scale`, in units of 10^-9, half to even: how a count with too many decimals is
/// read (spec 3.7).
pub(super) fn nine_decimals_half_even(digits: u128, scale: u32) -> Option<u64> {
    let Some(surplus) = scale.checked_sub(9) else {
        let factor = 10u128.checked_pow(9 - scale)?;
        return u64::try_from(digits.checked_mul(factor)?).ok();
    };
    let Some(divisor) = 10u128.checked_pow(surplus) else {
        return Some(0); // Fewer than 39 digits under so many decimals: less than half a unit.
    };
    let (whole, rest) = (digits / divisor, digits % divisor);
    let up = match (rest * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole % 2,
        std::cmp::Ordering::Greater => 1,
    };
    u64::try_from(whole + up).ok()
}

/// `value` in units of 10^-`decimals`, half to even: a formula's result, and its powers (spec 2.6).
pub(super) fn half_even(value: &RBig, decimals: usize) -> IBig {
    let scaled = value * RBig::from(UBig::from(10u8).pow(decimals));
    let (whole, rest) = (scaled.floor(), scaled.clone() - RBig::from(scaled.floor()));
    let up = match (rest * RBig::from(2)).cmp(&RBig::ONE) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => &whole % IBig::from(2) != IBig::ZERO,
        std::cmp::Ordering::Greater => true,
    };
    whole + IBig::from(u8::from(up))
}

/// The whole number next to `value`, from the middle away from zero: a formula's ROUND (spec 2.6).
pub(super) fn half_away(value: &RBig) -> IBig {
    value.round()
}

/// The least number of whole tokens that is no less: how much of a quantity an amount takes.
pub(super) fn whole_up(tokens: Tokens) -> u64 {
    let (whole, rest) = (tokens.units() / UNITS_PER_TOKEN, tokens.units() % UNITS_PER_TOKEN);
    u64::try_from(whole + i128::from(rest != 0)).unwrap_or(u64::MAX)
}

/// `count` × `rate`: exact, there is nothing to round (spec 3.7).
pub(crate) fn charge(count: Count, rate: Rate) -> Tokens {
    let units = i128::from(count.units()) * i128::from(rate.units());
    Tokens::from_units(units).unwrap_or(Tokens::MAX) // Limits.rs proves that it fits.
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Tokens {
        Tokens::parse(text).unwrap()
    }

    #[test]
    fn refunds_match_the_worked_examples() {
        let minute = 60_000;
        // charged, minutes left, minutes of the period, refund (spec 11: X7, X13, X20, X22)
        for (charged, left, period, expected) in [
            ("30", 40, 60, "20"),
            ("10", 15, 60, "2.5"),
            ("34", 15, 60, "8.5"),
            ("30", 8, 10, "24"),
            ("7", 40, 60, "4.666666"),
            ("30", 60, 60, "30"),
            ("30", 0, 60, "0"),
        ] {
            let period = Period::from_ms(period * minute).unwrap();
            assert_eq!(refund(tokens(charged), left * minute, period), tokens(expected));
        }
    }

    #[test]
    fn a_count_is_rounded_half_to_even() {
        for (digits, scale, units) in [
            (30_000_000_000_000_004, 17, 300_000_000),
            (123_456_789_512_345_678, 18, 123_456_790),
            (5, 10, 0),
            (15, 10, 2),
            (25, 10, 2),
            (251, 11, 3),
            (1, 400, 0),
            (7, 0, 7_000_000_000),
        ] {
            assert_eq!(nine_decimals_half_even(digits, scale), Some(units), "{digits}e-{scale}");
        }
    }

    #[test]
    fn part_of_a_token_takes_a_whole_one() {
        for (amount, whole) in [("0", 0), ("0.000000000000000001", 1), ("4", 4), ("4.5", 5)] {
            assert_eq!(whole_up(tokens(amount)), whole, "{amount}");
        }
        assert!(whole_up(Tokens::MAX) > i64::MAX.unsigned_abs());
    }

    proptest! {
        #[test]
        fn a_refund_never_passes_the_charge(
            charged in 0..Tokens::MAX.units(), period in 1..86_400_000u64, left in 0..100_000_000u64,
        ) {
            let charged = Tokens::from_units(charged).unwrap();
            prop_assert!(refund(charged, left, Period::from_ms(period).unwrap()) <= charged);
        }

        #[test]
        fn a_conversion_never_loses_a_count(
            missing in 1..1_000_000_000_000_000_000_000i128, from in 1..1_000_000_000u64, to in 1..1_000_000_000u64,
        ) {
            let (from, to) = (Rate::from_units(from).unwrap(), Rate::from_units(to).unwrap());
            let converted = convert(Tokens::from_units(missing).unwrap(), from, to).units();
            // Never less than the exact value, and less than one unit of count above it.
            prop_assert!(converted * i128::from(from.units()) >= missing * i128::from(to.units()));
            if from != to {
                let bound = missing * i128::from(to.units())
                    + i128::from(from.units()) * i128::from(to.units());
                prop_assert!(converted * i128::from(from.units()) < bound);
            }
        }
    }
}
