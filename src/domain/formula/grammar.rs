//! Reads formulas (spec 2.6). Unary minus binds tighter than `^`, and `^` from left to right, as in
//! a spreadsheet:
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = power { ("*" | "/") power }
//! power   = signed { "^" signed }
//! signed  = "-" signed | value
//! value   = digits [ "." digits ] | name | function "(" sum { "," sum } ")" | "(" sum ")"
//! ```

use dashu_int::UBig;
use dashu_ratio::RBig;

use super::{Action, FormulaError, Operation, Reason, Step, bounded};
use crate::domain::ids::Text;
use crate::domain::limits::{
    FORMULA_CHARS_MAX, FORMULA_DEPTH_MAX, FORMULA_OPERATIONS_MAX, FORMULA_POWERS_MAX,
    VARIABLE_CHARS_MAX,
};
use crate::domain::variables::is_name;

/// The functions, by their names in whatever case.
const FUNCTIONS: [(&str, Operation); 9] = [
    ("FLOOR.MATH", Operation::Floor),
    ("CEILING.MATH", Operation::Ceiling),
    ("POWER", Operation::Power),
    ("PRODUCT", Operation::Multiply),
    ("SUM", Operation::Add),
    ("ABS", Operation::Absolute),
    ("MIN", Operation::Least),
    ("MAX", Operation::Greatest),
    ("ROUND", Operation::Round),
];

/// The steps that work a formula out.
pub(super) fn read(text: &str) -> Result<Vec<Step>, FormulaError> {
    if text.chars().count() > FORMULA_CHARS_MAX {
        let position = FORMULA_CHARS_MAX + 1;
        return Err(FormulaError { position, reason: Reason::TooLong });
    }
    let mut parser = Parser { text, rest: text, depth: 0, steps: Vec::new() };
    parser.sum()?;
    match parser.peek() {
        None => Ok(parser.steps),
        Some(_) => Err(parser.fail(Reason::OperatorExpected)),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// What is still to be read.
    rest: &'a str,
    /// How many parentheses, functions and signs are open.
    depth: usize,
    steps: Vec<Step>,
}

impl<'a> Parser<'a> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest.chars().next()
    }

    fn position(&self) -> usize {
        let before = self.text.strip_suffix(self.rest).unwrap_or_default();
        before.chars().count() + 1
    }

    fn fail(&self, reason: Reason) -> FormulaError {
        FormulaError { position: self.position(), reason }
    }

    /// Takes one of these characters, if it comes next; says where it stood.
    fn take(&mut self, wanted: &[char]) -> Option<(char, usize)> {
        let next = self.peek().filter(|next| wanted.contains(next))?;
        let position = self.position();
        self.rest = self.rest.strip_prefix(next).unwrap_or_default();
        Some((next, position))
    }

    fn expect(&mut self, wanted: char) -> Result<(), FormulaError> {
        match self.take(&[wanted]) {
            Some(_) => Ok(()),
            None => Err(self.fail(Reason::Expected(wanted))),
        }
    }

    /// Takes the characters of a kind that come next.
    fn run(&mut self, is_wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|next| !is_wanted(next)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        run
    }

    fn operation(&mut self, operation: Operation, position: usize) -> Result<(), FormulaError> {
        let fail = |reason| Err(FormulaError { position, reason });
        let many = |wanted: fn(Operation) -> bool| {
            let of_kind = |step: &&Step| matches!(step.action, Action::Operation(o) if wanted(o));
            self.steps.iter().filter(of_kind).count()
        };
        if many(|_| true) == FORMULA_OPERATIONS_MAX {
            return fail(Reason::TooManyOperations);
        }
        if operation == Operation::Power
            && many(|operation| operation == Operation::Power) == FORMULA_POWERS_MAX
        {
            return fail(Reason::TooManyPowers);
        }
        self.steps.push(Step { position, action: Action::Operation(operation) });
        Ok(())
    }

    /// Reads something one level deeper, which begins at `position`.
    fn nested(
        &mut self,
        position: usize,
        read: impl FnOnce(&mut Parser<'a>) -> Result<(), FormulaError>,
    ) -> Result<(), FormulaError> {
        if self.depth == FORMULA_DEPTH_MAX {
            return Err(FormulaError { position, reason: Reason::TooDeep });
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn sum(&mut self) -> Result<(), FormulaError> {
        self.product()?;
        while let Some((operator, position)) = self.take(&['+', '-']) {
            self.product()?;
            let is_sum = operator == '+';
            let operation = if is_sum { Operation::Add } else { Operation::Subtract };
            self.operation(operation, position)?;
        }
        Ok(())
    }

    fn product(&mut self) -> Result<(), FormulaError> {
        self.power()?;
        while let Some((operator, position)) = self.take(&['*', '/']) {
            self.power()?;
            let is_product = operator == '*';
            let operation = if is_product { Operation::Multiply } else { Operation::Divide };
            self.operation(operation, position)?;
        }
        Ok(())
    }

    fn power(&mut self) -> Result<(), FormulaError> {
        self.signed()?;
        while let Some((_, position)) = self.take(&['^']) {
            self.signed()?;
            self.operation(Operation::Power, position)?;
        }
        Ok(())
    }

    fn signed(&mut self) -> Result<(), FormulaError> {
        let Some((_, position)) = self.take(&['-']) else { return self.value() };
        self.nested(position, Parser::signed)?;
        self.operation(Operation::Negate, position)
    }

    fn value(&mut self) -> Result<(), FormulaError> {
        match self.peek() {
            Some('0'..='9' | '.') => self.number(),
            Some('a'..='z' | 'A'..='Z' | '_') => self.name(),
            Some('(') => {
                let (_, position) = self.take(&['(']).expect("it comes next");
                self.nested(position, Parser::sum)?;
                self.expect(')')
            }
            Some(_) | None => Err(self.fail(Reason::ValueExpected)),
        }
    }

    fn number(&mut self) -> Result<(), FormulaError> {
        let position = self.position();
        let fail = |reason| FormulaError { position, reason };
        let literal = self.run(|next| next.is_ascii_digit() || next == '.');
        let (whole, decimals) = literal.split_once('.').unwrap_or((literal, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.contains('.') {
            return Err(fail(Reason::BadNumber));
        }
        let digits = format!("{whole}{decimals}").parse::<UBig>();
        let digits = digits.map_err(|_| fail(Reason::BadNumber))?;
        let one = UBig::from(10u8).pow(decimals.len());
        let number = bounded(RBig::from_parts(digits.into(), one)).map_err(fail)?;
        self.steps.push(Step { position, action: Action::Number(number) });
        Ok(())
    }

    fn name(&mut self) -> Result<(), FormulaError> {
        let position = self.position();
        let fail = |reason| Err(FormulaError { position, reason });
        let name = self.run(|next| next.is_ascii_alphanumeric() || next == '_' || next == '.');
        let shown: String = name.chars().take(VARIABLE_CHARS_MAX).collect();
        let text = Text::new(&shown).expect("it is short and has no control character");
        if self.peek() != Some('(') {
            if !is_name(name) || name.len() > VARIABLE_CHARS_MAX {
                return fail(Reason::BadName(text));
            }
            self.steps.push(Step { position, action: Action::Variable(text) });
            return Ok(());
        }
        let same = |(known, _): &&(&str, Operation)| known.eq_ignore_ascii_case(name);
        let Some(&(name, operation)) = FUNCTIONS.iter().find(same) else {
            return fail(Reason::UnknownFunction(text));
        };
        self.nested(position, |parser| parser.arguments(name, operation.arguments(), position))?;
        self.operation(operation, position)
    }

    fn arguments(
        &mut self,
        name: &'static str,
        wanted: usize,
        position: usize,
    ) -> Result<(), FormulaError> {
        self.expect('(')?;
        let mut found = 0;
        if self.peek() != Some(')') {
            self.sum()?;
            found += 1;
            while self.take(&[',']).is_some() {
                self.sum()?;
                found += 1;
            }
        }
        self.expect(')')?;
        if found != wanted {
            let reason = Reason::WrongArguments { name, arguments: wanted };
            return Err(FormulaError { position, reason });
        }
        Ok(())
    }
}
