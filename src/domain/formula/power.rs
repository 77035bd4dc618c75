//! Powers (spec 2.6): exact for whole exponents up to 64, else correctly rounded to 18 decimals.

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use dashu_int::ops::{BitTest, UnsignedAbs};
use dashu_int::{IBig, Sign, UBig};
use dashu_ratio::RBig;

use super::Reason;
use crate::domain::limits::{FORMULA_BITS_MAX, FORMULA_EXPONENT_MAX};
use crate::domain::rounding;

/// How many decimals a power has that is not exact.
const DECIMALS: usize = 18;
/// The first try has so many correct bits, more than 40 digits; each further one twice as many.
const BITS_FIRST: usize = 160;
const BITS_LAST: usize = 5120;
/// e^720 has more bits than a value may have, and e^-60 is 0 in 18 decimals.
const LOGARITHM_MAX: i32 = 720;
const LOGARITHM_MIN: i32 = -60;

/// A number of so many correct bits.
type Float = FBig<HalfEven, 2>;

/// `base` to the power of `exponent`.
pub(super) fn power(base: &RBig, exponent: &RBig) -> Result<RBig, Reason> {
    if base.is_zero() {
        return match (exponent.is_zero(), exponent.sign()) {
            (true, _) => Err(Reason::ZeroToZero),
            (false, Sign::Negative) => Err(Reason::DivisionByZero),
            (false, Sign::Positive) => Ok(RBig::ZERO),
        };
    }
    if let Some(exponent) = small_whole(exponent) {
        return exact(base, exponent);
    }
    match (base.sign(), exponent.is_int()) {
        (Sign::Positive, _) => rounded(base, exponent),
        (Sign::Negative, false) => Err(Reason::RootOfNegative),
        (Sign::Negative, true) => {
            let magnitude = rounded(&-base.clone(), exponent)?;
            Ok(if exponent.numerator().bit(0) { -magnitude } else { magnitude })
        }
    }
}

/// The exponent, if it is whole and small enough for an exact power.
fn small_whole(exponent: &RBig) -> Option<isize> {
    let whole = isize::try_from(exponent.numerator()).ok().filter(|_| exponent.is_int())?;
    (whole.unsigned_abs() <= FORMULA_EXPONENT_MAX).then_some(whole)
}

/// Refuses what would have too many bits before it is worked out.
fn exact(base: &RBig, exponent: isize) -> Result<RBig, Reason> {
    let bits = base.numerator().bit_len().max(base.denominator().bit_len());
    if (bits - 1) * exponent.unsigned_abs() >= FORMULA_BITS_MAX {
        return Err(Reason::TooManyBits);
    }
    Ok(base.pow(exponent))
}

/// A power of what is above 0, rounded half to even to 18 decimals.
fn rounded(base: &RBig, exponent: &RBig) -> Result<RBig, Reason> {
    if base.is_one() {
        return Ok(RBig::ONE);
    }
    // Only a power that is rational can lie in the middle of two decimals. Those are exact.
    if let Some(root) = exact_root(base, exponent) {
        let whole = RBig::from(exponent.numerator().clone());
        if let Some(whole) = small_whole(&whole) {
            return Ok(to_decimals(rounding::half_even(&exact(&root, whole)?, DECIMALS)));
        }
    }
    let mut bits = BITS_FIRST;
    while bits <= BITS_LAST {
        let logarithm = logarithm(base, exponent, bits);
        if logarithm > Float::from(LOGARITHM_MAX) {
            return Err(Reason::TooManyBits);
        }
        if logarithm < Float::from(LOGARITHM_MIN) {
            return Ok(RBig::ZERO);
        }
        let power = to_rational(logarithm.exp());
        let error = &power / RBig::from(IBig::ONE << bits);
        let least = rounding::half_even(&(&power - &error), DECIMALS);
        if least == rounding::half_even(&(power + error), DECIMALS) {
            return Ok(to_decimals(least));
        }
        bits *= 2;
    }
    Err(Reason::TooClose)
}

/// The root that a broken exponent asks for, if it is rational.
fn exact_root(base: &RBig, exponent: &RBig) -> Option<RBig> {
    let degree = usize::try_from(exponent.denominator()).ok()?;
    if !(2..=FORMULA_BITS_MAX).contains(&degree) {
        return None;
    }
    let root = |number: &UBig| {
        let root = number.nth_root(degree);
        (root.pow(degree) == *number).then_some(root)
    };
    let numerator = root(&base.numerator().unsigned_abs())?;
    Some(RBig::from_parts(IBig::from(numerator), root(base.denominator())?))
}

/// The natural logarithm of the power, so exact that the power has `bits` correct bits.
fn logarithm(base: &RBig, exponent: &RBig, bits: usize) -> Float {
    // What is wrong with the base's logarithm, by rounding the base, grows with the exponent.
    let exponent_bits = exponent.numerator().bit_len();
    let growth = exponent_bits.saturating_sub(exponent.denominator().bit_len()) + 1;
    let precision = bits + growth + 32;
    let float = |number: IBig| Float::from(number).with_precision(precision).value();
    let quotient = |number: &RBig| {
        float(number.numerator().clone()) / float(IBig::from(number.denominator().clone()))
    };
    quotient(base).ln() * quotient(exponent)
}

fn to_rational(float: Float) -> RBig {
    let (significand, exponent) = float.into_repr().into_parts();
    let shift = exponent.unsigned_abs();
    match exponent < 0 {
        true => RBig::from_parts(significand, UBig::ONE << shift),
        false => RBig::from(significand << shift),
    }
}

fn to_decimals(units: IBig) -> RBig {
    RBig::from_parts(units, UBig::from(10u8).pow(DECIMALS))
}
