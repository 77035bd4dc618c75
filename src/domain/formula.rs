//! Rate formulas (spec 2.6): read by a small grammar, worked out exactly in fractions.
//!
//! A formula is read once, when its table is published, into steps for a stack; working it out is a
//! loop over them. `grammar` reads, `power` is the one operation that cannot always be exact.

mod grammar;
mod power;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use dashu_int::UBig;
use dashu_int::ops::{Abs, BitTest};
use dashu_ratio::RBig;

use super::ids::Text;
use super::limits::{
    COUNT_MAX, FORMULA_BITS_MAX, FORMULA_CHARS_MAX, FORMULA_DEPTH_MAX, FORMULA_OPERATIONS_MAX,
    FORMULA_POWERS_MAX, FORMULA_PRECISION_MAX,
};
use super::rounding;
use super::tokens::{Rate, UNITS_PER_COUNT};
use super::variables::Variables;

/// What one count costs, as a formula of the requested item's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    text: Arc<str>,
    steps: Vec<Step>,
}

/// What is wrong with a formula, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("character {position}: {reason}")]
pub struct FormulaError {
    /// Which character of the formula, from 1.
    pub position: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a formula: first what can be seen when it is read, then what only shows when
/// it is worked out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It has too many characters.
    #[error("a formula has at most {FORMULA_CHARS_MAX} characters")]
    TooLong,
    /// Parentheses, functions and signs are nested too deep.
    #[error("nested too deep, {FORMULA_DEPTH_MAX} levels at most")]
    TooDeep,
    /// There are too many operators, signs and functions.
    #[error("too many operations, {FORMULA_OPERATIONS_MAX} at most")]
    TooManyOperations,
    /// There are too many powers, which cost more than anything else.
    #[error("too many powers, {FORMULA_POWERS_MAX} at most")]
    TooManyPowers,
    /// Something else stands where a value has to be.
    #[error("a number, a variable, a function or `(` is expected")]
    ValueExpected,
    /// Something stands behind a value that does not go on from it.
    #[error("an operator is expected, or the end")]
    OperatorExpected,
    /// A parenthesis is not closed, or not there.
    #[error("`{0}` is expected")]
    Expected(char),
    /// A point with no digit on one of its sides.
    #[error("a point stands between digits")]
    BadNumber,
    /// No such function.
    #[error("there is no function `{0}`")]
    UnknownFunction(Text),
    /// A name that no variable can have.
    #[error("`{0}` is no name of a variable")]
    BadName(Text),
    /// A function has another number of arguments.
    #[error("`{name}` has {arguments} arguments")]
    WrongArguments {
        /// Its name.
        name: &'static str,
        /// How many it takes.
        arguments: usize,
    },
    /// The item was requested without this variable.
    #[error("variable `{0}` is missing")]
    MissingVariable(Text),
    /// A division by zero; 0 to a power below 0 too.
    #[error("division by zero")]
    DivisionByZero,
    /// 0 to the power of 0.
    #[error("0 to the power of 0")]
    ZeroToZero,
    /// A broken power of what is below 0.
    #[error("a root of a negative number")]
    RootOfNegative,
    /// The second argument of ROUND.
    #[error("a precision is whole, from -{FORMULA_PRECISION_MAX} to {FORMULA_PRECISION_MAX}")]
    BadPrecision,
    /// A numerator or a denominator has too many bits.
    #[error("a number gets too long: {FORMULA_BITS_MAX} bits at most, above and below the line")]
    TooManyBits,
    /// A power lies so close to the middle of two decimals that it cannot be rounded.
    #[error("a power is too close to the middle of two decimals to be rounded")]
    TooClose,
    /// The rate would be below 0.
    #[error("the result is negative")]
    Negative,
    /// The rate would be above 1,000,000,000.
    #[error("the result is above {COUNT_MAX}")]
    TooLarge,
}

/// One step of working a formula out, and which character it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    position: usize,
    action: Action,
}

/// What a step does with the stack of values.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Puts a number on it.
    Number(RBig),
    /// Puts a variable's value on it.
    Variable(Text),
    /// Takes its arguments from it and puts its result there.
    Operation(Operation),
}

/// What can be done with values, whether it is written as an operator or as a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Floor,
    Ceiling,
    Absolute,
    Least,
    Greatest,
    Round,
}

impl Operation {
    const fn arguments(self) -> usize {
        match self {
            Operation::Negate | Operation::Floor | Operation::Ceiling | Operation::Absolute => 1,
            Operation::Add
            | Operation::Subtract
            | Operation::Multiply
            | Operation::Divide
            | Operation::Power
            | Operation::Least
            | Operation::Greatest
            | Operation::Round => 2,
        }
    }

    fn apply(self, stack: &mut Vec<RBig>) -> Result<RBig, Reason> {
        let mut argument = || stack.pop().expect("the grammar counts the arguments");
        let last = argument();
        Ok(match self {
            Operation::Negate => -last,
            Operation::Floor => last.floor().into(),
            Operation::Ceiling => last.ceil().into(),
            Operation::Absolute => last.abs(),
            Operation::Add => argument() + last,
            Operation::Subtract => argument() - last,
            Operation::Multiply => argument() * last,
            Operation::Divide if last.is_zero() => return Err(Reason::DivisionByZero),
            Operation::Divide => argument() / last,
            Operation::Power => power::power(&argument(), &last)?,
            Operation::Least => argument().min(last),
            Operation::Greatest => argument().max(last),
            Operation::Round => round(&argument(), &last)?,
        })
    }
}

/// ROUND: half away from zero, at a place before or behind the point.
fn round(value: &RBig, precision: &RBig) -> Result<RBig, Reason> {
    let whole = isize::try_from(precision.numerator()).ok().filter(|_| precision.is_int());
    let whole = whole.filter(|whole| whole.unsigned_abs() <= FORMULA_PRECISION_MAX);
    let unit = RBig::from(UBig::from(10u8)).pow(-whole.ok_or(Reason::BadPrecision)?);
    Ok(RBig::from(rounding::half_away(&(value / &unit))) * unit)
}

/// Numerator and denominator have a limit, so that no formula takes long.
fn bounded(value: RBig) -> Result<RBig, Reason> {
    let bits = value.numerator().bit_len().max(value.denominator().bit_len());
    if bits > FORMULA_BITS_MAX { Err(Reason::TooManyBits) } else { Ok(value) }
}

impl Formula {
    /// Reads a formula.
    pub fn parse(text: &str) -> Result<Formula, FormulaError> {
        Ok(Formula { text: Arc::from(text), steps: grammar::read(text)? })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What one count costs with these variables: half to even to nine decimals (spec 3.7).
    pub fn rate(&self, variables: &Variables) -> Result<Rate, FormulaError> {
        let mut stack: Vec<RBig> = Vec::new();
        for step in &self.steps {
            let value = step.value(variables, &mut stack).and_then(bounded);
            stack.push(value.map_err(|reason| step.fail(reason))?);
        }
        let (Some(result), Some(last)) = (stack.pop(), self.steps.last()) else {
            unreachable!("the grammar refuses what has no value");
        };
        rate(&result).map_err(|reason| last.fail(reason))
    }
}

impl Step {
    fn value(&self, variables: &Variables, stack: &mut Vec<RBig>) -> Result<RBig, Reason> {
        match &self.action {
            Action::Number(number) => Ok(number.clone()),
            Action::Variable(name) => {
                let value = variables.get(name.as_str());
                let value = value.ok_or_else(|| Reason::MissingVariable(name.clone()))?;
                Ok(RBig::from_parts(value.units().into(), UNITS_PER_COUNT.into()))
            }
            Action::Operation(operation) => operation.apply(stack),
        }
    }

    fn fail(&self, reason: Reason) -> FormulaError {
        FormulaError { position: self.position, reason }
    }
}

/// A result below 0 is refused however little it is; one above the limit once it is rounded.
fn rate(result: &RBig) -> Result<Rate, Reason> {
    if *result < RBig::ZERO {
        return Err(Reason::Negative);
    }
    let units = u64::try_from(rounding::half_even(result, 9));
    units.ok().and_then(Rate::from_units).ok_or(Reason::TooLarge)
}

impl std::str::FromStr for Formula {
    type Err = FormulaError;

    fn from_str(text: &str) -> Result<Formula, FormulaError> {
        Formula::parse(text)
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(formatter)
    }
}
