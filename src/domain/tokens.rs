//! Exact amounts: tokens, counts and rates. Digits in, digits out; no floating point (spec 3.7).

use std::fmt;

use super::limits::COUNT_MAX;
use super::rounding;

/// How many units one token has: 10^18.
pub const UNITS_PER_TOKEN: i128 = 1_000_000_000_000_000_000;
/// How many units a count or a rate of 1 has: 10^9.
pub const UNITS_PER_COUNT: u64 = 1_000_000_000;
const UNITS_MAX: u64 = COUNT_MAX * UNITS_PER_COUNT;

/// An amount of tokens, never negative, in units of 10^-18.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(i128);

impl Tokens {
    /// Nothing.
    pub const ZERO: Tokens = Tokens(0);
    /// Leaves headroom: the sum of any two amounts still fits the raw integer.
    pub const MAX: Tokens = Tokens(i128::MAX / 2);
    /// A millionth of a token in units, the step that refunds are rounded to.
    pub const MILLIONTH: i128 = 1_000_000_000_000;

    /// `None` below zero or above [`Tokens::MAX`].
    pub const fn from_units(units: i128) -> Option<Tokens> {
        if 0 <= units && units <= Self::MAX.0 { Some(Tokens(units)) } else { None }
    }

    /// So many whole tokens: every quantity of a line item fits.
    pub const fn whole(tokens: u64) -> Tokens {
        Tokens(tokens as i128 * UNITS_PER_TOKEN)
    }

    /// The amount in units of 10^-18.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// `None` where the sum would pass [`Tokens::MAX`].
    pub const fn checked_add(self, other: Tokens) -> Option<Tokens> {
        Tokens::from_units(self.0 + other.0)
    }

    /// `None` where the difference would be negative.
    pub const fn checked_sub(self, other: Tokens) -> Option<Tokens> {
        Tokens::from_units(self.0 - other.0)
    }

    /// The difference, or nothing where it would be negative.
    pub const fn saturating_sub(self, other: Tokens) -> Tokens {
        match self.checked_sub(other) {
            Some(difference) => difference,
            None => Tokens::ZERO,
        }
    }

    /// Reads a decimal such as `22.5`: what [`Tokens`] prints. At most 18 decimals.
    pub fn parse(text: &str) -> Option<Tokens> {
        let number = Decimal::parse(text)?;
        let missing = 18u32.checked_sub(number.scale)?;
        let units = number.digits.checked_mul(10u128.checked_pow(missing)?)?;
        if number.negative { None } else { Tokens::from_units(i128::try_from(units).ok()?) }
    }
}

const _: () = assert!(Tokens::MAX.0.checked_add(Tokens::MAX.0).is_some());

impl fmt::Display for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(formatter, self.0.unsigned_abs(), UNITS_PER_TOKEN.unsigned_abs(), 18)
    }
}

/// Why a number is no count or no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not written as JSON writes a number.
    #[error("must be a number such as 2.5")]
    NotANumber,
    /// Not greater than 0, where it has to be; or below 0.
    #[error("must be greater than 0")]
    NotPositive,
    /// Below zero; minus zero too.
    #[error("must not be negative")]
    Negative,
    /// Above 1,000,000,000.
    #[error("must be at most 1000000000")]
    TooLarge,
    /// A rate with more than nine decimals.
    #[error("must have at most 9 decimals")]
    TooPrecise,
}

/// How many of an item are asked for: above 0, at most 10^9, in units of 10^-9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u64);

impl Count {
    /// One of something.
    pub const ONE: Count = Count(UNITS_PER_COUNT);

    /// `None` for 0 and above 10^9.
    pub const fn from_units(units: u64) -> Option<Count> {
        if 0 < units && units <= UNITS_MAX { Some(Count(units)) } else { None }
    }

    /// The count in units of 10^-9.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Reads the digits of a JSON number. More than nine decimals are rounded half to even; what
    /// is then 0, and what has a minus sign, is no count (spec 3.7).
    pub fn parse(number: &Decimal) -> Result<Count, AmountError> {
        if number.negative {
            return Err(AmountError::NotPositive);
        }
        let units = rounding::nine_decimals_half_even(number.digits, number.scale)
            .filter(|units| *units <= UNITS_MAX)
            .ok_or(AmountError::TooLarge)?;
        Count::from_units(units).ok_or(AmountError::NotPositive)
    }
}

impl std::str::FromStr for Count {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Count, AmountError> {
        Count::parse(&Decimal::parse(text).ok_or(AmountError::NotANumber)?)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(formatter, u128::from(self.0), u128::from(UNITS_PER_COUNT), 9)
    }
}

/// The price of one count in tokens: 0 to 10^9, in units of 10^-9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// `None` above 10^9.
    pub const fn from_units(units: u64) -> Option<Rate> {
        if units <= UNITS_MAX { Some(Rate(units)) } else { None }
    }

    /// The rate in units of 10^-9.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Whether the item costs nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reads the digits of a JSON number. Nothing is rounded: a tenth decimal is refused.
    pub fn parse(number: &Decimal) -> Result<Rate, AmountError> {
        if number.negative {
            return Err(AmountError::Negative);
        }
        let missing = 9u32.checked_sub(number.scale).ok_or(AmountError::TooPrecise)?;
        10u128
            .checked_pow(missing)
            .and_then(|factor| number.digits.checked_mul(factor))
            .and_then(|units| u64::try_from(units).ok())
            .and_then(Rate::from_units)
            .ok_or(AmountError::TooLarge)
    }
}

impl std::str::FromStr for Rate {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Rate, AmountError> {
        Rate::parse(&Decimal::parse(text).ok_or(AmountError::NotANumber)?)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(formatter, u128::from(self.0), u128::from(UNITS_PER_COUNT), 9)
    }
}

/// The digits of a JSON number, before anybody decides what it means: ±`digits` × 10^-`scale`,
/// without trailing zeros behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Whether there is a minus sign; `-0` has one.
    pub negative: bool,
    /// All digits as one whole number. Saturates: past 38 digits it is only known to be huge.
    pub digits: u128,
    /// How many of the digits stand behind the point. Saturates as well.
    pub scale: u32,
}

impl Decimal {
    /// Reads a number as JSON writes it. `None` where it is none.
    pub fn parse(text: &str) -> Option<Decimal> {
        // Most numbers are a few digits.
        if let [b'1'..=b'9', ..] = text.as_bytes()
            && let Ok(digits) = text.parse::<u64>()
        {
            return Some(Decimal { negative: false, digits: u128::from(digits), scale: 0 });
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        Some(Decimal::from_parts(negative, whole, fraction, exponent))
    }

    fn from_parts(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Decimal {
        let fraction = if exponent < 0 { fraction } else { fraction.trim_end_matches('0') };
        let mut digits: u128 = 0;
        let (mut dropped, mut rest): (i64, u8) = (0, 0);
        for digit in whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0') {
            match digits.checked_mul(10).and_then(|tens| tens.checked_add(u128::from(digit))) {
                Some(more) if dropped == 0 => digits = more,
                Some(_) | None => (dropped, rest) = (dropped + 1, rest | digit),
            }
        }
        // Beyond 38 digits it only matters that there is more, so that a half is not taken for one.
        digits |= u128::from(rest != 0);
        let behind = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let mut scale = behind.saturating_sub(dropped).saturating_sub(exponent);
        if digits == 0 {
            return Decimal { negative, digits: 0, scale: 0 };
        }
        while scale > 0 && digits.is_multiple_of(10) {
            (digits, scale) = (digits / 10, scale - 1);
        }
        if scale < 0 {
            let power = u32::try_from(-scale).unwrap_or(u32::MAX);
            let factor = 10u128.checked_pow(power).unwrap_or(u128::MAX);
            return Decimal { negative, digits: digits.saturating_mul(factor), scale: 0 };
        }
        Decimal { negative, digits, scale: u32::try_from(scale).unwrap_or(u32::MAX) }
    }

    /// The whole number this is, or `None` where it has decimals or does not fit.
    pub fn as_integer(&self) -> Option<i64> {
        if self.scale != 0 {
            return None;
        }
        let magnitude = i128::try_from(self.digits).ok()?;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }
}

/// An exponent of any length; one too large to matter saturates.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, text.get(1..)?),
        [b'+', ..] => (false, text.get(1..)?),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if negative { -magnitude } else { magnitude })
}

/// Writes so many units without trailing zeros.
pub(super) fn write_decimal(
    formatter: &mut fmt::Formatter<'_>,
    units: u128,
    one: u128,
    decimals: usize,
) -> fmt::Result {
    let whole = units / one;
    let mut fraction = units - whole * one; // Dividing so wide a number once is dear enough.
    if fraction == 0 {
        return formatter.write_str(itoa::Buffer::new().format(whole));
    }
    let mut width = decimals;
    while fraction.is_multiple_of(10) {
        (fraction, width) = (fraction / 10, width - 1);
    }
    write!(formatter, "{whole}.{fraction:0width$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(text: &str) -> Result<String, AmountError> {
        Count::parse(&Decimal::parse(text).unwrap()).map(|count| count.to_string())
    }

    fn rate(text: &str) -> Result<String, AmountError> {
        Rate::parse(&Decimal::parse(text).unwrap()).map(|rate| rate.to_string())
    }

    #[test]
    fn counts_are_read_from_their_digits() {
        use AmountError::{NotPositive, TooLarge};
        for (text, read) in [
            ("10", Ok("10")),
            ("2.5", Ok("2.5")),
            ("1E2", Ok("100")),
            ("1e+2", Ok("100")),
            ("100.000", Ok("100")),
            ("0.30000000000000004", Ok("0.3")),
            ("0.123456789512345678", Ok("0.12345679")),
            ("0.000000001", Ok("0.000000001")),
            ("1000000000", Ok("1000000000")),
            ("1000000000.0000000001", Ok("1000000000")),
            ("0.00000000250000000000000000000000000000000000000001", Ok("0.000000003")),
            ("0.00000000250000000000000000000000000000000000000000", Ok("0.000000002")),
            ("0.0000000005", Err(NotPositive)),
            ("0", Err(NotPositive)),
            ("-0", Err(NotPositive)),
            ("-0.0", Err(NotPositive)),
            ("-1", Err(NotPositive)),
            ("1e-400", Err(NotPositive)),
            ("1e-99999999999999999999", Err(NotPositive)),
            ("1e400", Err(TooLarge)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("1.7976931348623157e308", Err(TooLarge)),
            ("9007199254740993", Err(TooLarge)),
            ("1000000001", Err(TooLarge)),
            ("0e99999", Err(NotPositive)),
        ] {
            assert_eq!(count(text), read.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_rate_is_never_rounded() {
        assert_eq!(rate("0.3"), Ok("0.3".to_owned()));
        assert_eq!(rate("0"), Ok("0".to_owned()));
        assert_eq!(rate("0.1234567890"), Ok("0.123456789".to_owned()));
        assert_eq!(rate("0.1234567891"), Err(AmountError::TooPrecise));
        assert_eq!(rate("-1"), Err(AmountError::Negative));
        assert_eq!(rate("1000000001"), Err(AmountError::TooLarge));
    }

    #[test]
    fn what_is_no_json_number_is_no_number() {
        for text in ["", "-", "01", ".5", "1.", "+1", "0x10", "1e", "1e+", "NaN", "1 ", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tenth_three_times_is_three_tenths() {
        let tenth = Tokens::parse("0.1").unwrap();
        let sum = tenth.checked_add(tenth).and_then(|two| two.checked_add(tenth)).unwrap();
        assert_eq!(sum.to_string(), "0.3");
        assert_eq!(Tokens::parse("9007199254740993").unwrap().to_string(), "9007199254740993");
    }

    #[test]
    fn the_smallest_charge_is_exact() {
        let count = Count::from_units(1).unwrap();
        let rate = Rate::from_units(1).unwrap();
        assert_eq!(rounding::charge(count, rate).to_string(), "0.000000000000000001");
    }

    #[test]
    fn a_million_digits_are_read_in_one_pass() {
        let long = format!("0.{}", "1".repeat(1_000_000));
        assert_eq!(count(&long), Ok("0.111111111".to_owned()));
        let wide = "9".repeat(1_000_000);
        assert_eq!(count(&wide), Err(AmountError::TooLarge));
    }

    proptest! {
        #[test]
        fn an_amount_reads_back_what_it_prints(units in 0..Tokens::MAX.units()) {
            let tokens = Tokens::from_units(units).unwrap();
            prop_assert_eq!(Tokens::parse(&tokens.to_string()), Some(tokens));
        }

        #[test]
        fn a_count_reads_back_what_it_prints(units in 1..=UNITS_MAX) {
            let value = Count::from_units(units).unwrap();
            prop_assert_eq!(Count::parse(&Decimal::parse(&value.to_string()).unwrap()), Ok(value));
        }
    }
}
