//! The variables of a requested item: what a formula is worked out with (spec 2.6, 2.7).

use std::fmt;

use super::ids::Text;
use super::limits::{COUNT_MAX, VARIABLE_CHARS_MAX, VARIABLES_MAX};
use super::rounding;
use super::tokens::{AmountError, Decimal, UNITS_PER_COUNT, write_decimal};

const UNITS_MAX: u64 = COUNT_MAX * UNITS_PER_COUNT;

/// A number of a client's: from -10^9 to 10^9, in units of 10^-9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(i64);

impl Number {
    /// `None` below -10^9 and above 10^9.
    pub const fn from_units(units: i64) -> Option<Number> {
        if units.unsigned_abs() <= UNITS_MAX { Some(Number(units)) } else { None }
    }

    /// The number in units of 10^-9.
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Reads the digits of a JSON number. More than nine decimals are rounded half to even, as a
    /// count's are; 0 and what is below it are numbers like others (spec 2.7).
    pub fn parse(number: &Decimal) -> Result<Number, AmountError> {
        let units = rounding::nine_decimals_half_even(number.digits, number.scale)
            .filter(|units| *units <= UNITS_MAX)
            .and_then(|units| i64::try_from(units).ok())
            .ok_or(AmountError::TooLarge)?;
        Ok(Number(if number.negative { -units } else { units }))
    }
}

impl std::str::FromStr for Number {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Number, AmountError> {
        Number::parse(&Decimal::parse(text).ok_or(AmountError::NotANumber)?)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            formatter.write_str("-")?;
        }
        write_decimal(formatter, self.0.unsigned_abs().into(), UNITS_PER_COUNT.into(), 9)
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Begins with a letter or `_`; letters, digits and `_` follow.
    pub name: Text,
    /// Its value.
    pub value: Number,
}

/// The variables of one requested item, as they were sent; mostly there are none. No two names
/// differ only in case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<Variable>);

/// Why variables are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariablesError {
    /// There are too many.
    #[error("must have at most {VARIABLES_MAX} variables")]
    TooMany,
    /// This is no name.
    #[error(
        "is no name of a variable: a letter or `_`, then letters, digits and `_`, at most \
         {VARIABLE_CHARS_MAX} characters"
    )]
    BadName(Text),
    /// This name is there twice.
    #[error("is there twice: names of variables do not differ by case")]
    Twice(Text),
}

impl Variables {
    /// Checks the names.
    pub fn new(variables: Vec<Variable>) -> Result<Variables, VariablesError> {
        if variables.len() > VARIABLES_MAX {
            return Err(VariablesError::TooMany);
        }
        for (index, Variable { name, .. }) in variables.iter().enumerate() {
            if !is_name(name.as_str()) || name.as_str().len() > VARIABLE_CHARS_MAX {
                return Err(VariablesError::BadName(name.clone()));
            }
            let mut earlier = variables.iter().take(index);
            if earlier.any(|other| other.name.as_str().eq_ignore_ascii_case(name.as_str())) {
                return Err(VariablesError::Twice(name.clone()));
            }
        }
        Ok(Variables(variables))
    }

    /// What a name stands for, in whatever case it is written.
    pub fn get(&self, name: &str) -> Option<Number> {
        let same = |other: &&Variable| other.name.as_str().eq_ignore_ascii_case(name);
        self.0.iter().find(same).map(|variable| variable.value)
    }

    /// All of them, in the order that they were sent in.
    pub fn all(&self) -> &[Variable] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether this may be the name of a variable, were it not for its length.
pub(super) fn is_name(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| is_letter(&first))
        && bytes.all(|byte| is_letter(&byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(names: &[&str]) -> Result<Variables, VariablesError> {
        let value = "1".parse::<Number>().unwrap();
        let one = |name: &&str| Variable { name: name.parse().unwrap(), value };
        Variables::new(names.iter().map(one).collect())
    }

    #[test]
    fn numbers_are_read_from_their_digits() {
        for (text, expected) in [
            ("-0", Ok("0")),
            ("-2.5", Ok("-2.5")),
            ("0.30000000000000004", Ok("0.3")),
            ("-0.0000000005", Ok("0")),
            ("-0.0000000015", Ok("-0.000000002")),
            ("-1e9", Ok("-1000000000")),
            ("1000000000.000000001", Err(AmountError::TooLarge)),
            ("x", Err(AmountError::NotANumber)),
        ] {
            let read = text.parse::<Number>().map(|number| number.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn names_are_names_and_differ_by_more_than_case() {
        assert_eq!(variables(&["a", "_b2", "B_2"]).unwrap().all().len(), 3);
        assert_eq!(variables(&["Price"]).unwrap().get("pRICE").unwrap().to_string(), "1");
        assert_eq!(
            variables(&["a", "b", "A"]).unwrap_err(),
            VariablesError::Twice("A".parse().unwrap())
        );
        for name in ["", "2a", "a.b", "a b", "ä", "-a", &"a".repeat(65)] {
            let expected = VariablesError::BadName(name.parse().unwrap());
            assert_eq!(variables(&[name]).unwrap_err(), expected);
        }
        let many: Vec<String> = (0..33).map(|number| format!("a{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(variables(&many).unwrap_err(), VariablesError::TooMany);
    }
}
