//! Formulas, by section 2.6 alone: a tree of fractions, walked. Powers that are not rational come
//! from integer series with at least 100 correct digits.

use std::cell::RefCell;
use std::collections::HashMap;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::amount::{Amount, half_even, half_even_9, whole};
use super::charge::rate_max;

/// Named values of a requested item.
pub type Variables = Vec<(String, Amount)>;

/// Why there is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The text is no formula.
    Unreadable,
    /// A variable is missing.
    Missing,
    /// It has no result.
    Undefined,
    /// A numerator or denominator has more than 1,024 bits.
    TooLong,
    /// The result is no rate.
    NoRate,
}

#[derive(Clone, Debug)]
enum Tree {
    Value(Amount),
    Name(String),
    Call(&'static str, Vec<Tree>),
}

/// Whether the text is a formula.
pub fn is_formula(text: &str) -> bool {
    read(text).is_ok()
}

thread_local! {
    /// What formulas came to: histories ask the same over and over, and powers take long.
    static KNOWN: RefCell<HashMap<(String, Variables), Result<Amount, Failure>>> = RefCell::default();
}

/// What one count costs.
pub fn rate(text: &str, variables: &[(String, Amount)]) -> Result<Amount, Failure> {
    let key = (text.to_owned(), variables.to_vec());
    let known = KNOWN.with_borrow(|known| known.get(&key).cloned());
    known.unwrap_or_else(|| {
        let rate = worked_out(text, variables);
        KNOWN.with_borrow_mut(|known| known.insert(key, rate.clone()));
        rate
    })
}

fn worked_out(text: &str, variables: &[(String, Amount)]) -> Result<Amount, Failure> {
    let result = walk(&read(text)?, variables)?;
    let rate = half_even_9(&result);
    if result.is_negative() || rate > rate_max() { Err(Failure::NoRate) } else { Ok(rate) }
}

/// `[A-Za-z_][A-Za-z0-9_]*`, at most 64 characters.
pub fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.len() <= 64
        && text.starts_with(letter)
        && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

// ---- reading -------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Amount),
    Word(String),
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\r' | '\n' => 0,
            '0'..='9' => rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()),
            'a'..='z' | 'A'..='Z' | '_' => rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
                .unwrap_or(rest.len()),
            '+' | '-' | '*' | '/' | '^' | '(' | ')' | ',' => 1,
            _ => return Err(Failure::Unreadable),
        };
        let (word, behind) = rest.split_at(length.max(1));
        rest = behind;
        match first {
            '0'..='9' => {
                let parts: Vec<&str> = word.split('.').collect();
                if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
                    return Err(Failure::Unreadable);
                }
                let decimals = parts.get(1).map_or(0, |part| part.len());
                let digits: BigInt = parts.concat().parse().expect("only digits");
                let value = Amount::new(digits, Pow::pow(BigInt::from(10), decimals));
                tokens.push(Token::Number(short(value).map_err(|_| Failure::Unreadable)?));
            }
            _ if length == 0 => {}
            _ if length == 1 && !is_name(word) => tokens.push(Token::Sign(first)),
            _ => tokens.push(Token::Word(word.to_owned())),
        }
    }
    Ok(tokens)
}

struct Reading {
    /// The next one is last.
    tokens: Vec<Token>,
    depth: usize,
    operations: usize,
    powers: usize,
}

fn read(text: &str) -> Result<Tree, Failure> {
    if text.chars().count() > 1_000 {
        return Err(Failure::Unreadable);
    }
    let mut tokens = tokens(text)?;
    tokens.reverse();
    let mut reading = Reading { tokens, depth: 0, operations: 0, powers: 0 };
    let tree = reading.operators(1)?;
    let is_all = reading.tokens.is_empty();
    let fits = reading.operations <= 200 && reading.powers <= 16;
    if is_all && fits { Ok(tree) } else { Err(Failure::Unreadable) }
}

impl Reading {
    fn call(&mut self, name: &'static str, arguments: Vec<Tree>) -> Tree {
        self.operations += 1;
        self.powers += usize::from(name == "POWER");
        Tree::Call(name, arguments)
    }

    /// Operators that bind at least so tightly, from left to right.
    fn operators(&mut self, least: u8) -> Result<Tree, Failure> {
        let mut left = self.operand()?;
        loop {
            let (name, binding) = match self.tokens.last() {
                Some(Token::Sign('+')) => ("SUM", 1),
                Some(Token::Sign('-')) => ("DIFFERENCE", 1),
                Some(Token::Sign('*')) => ("PRODUCT", 2),
                Some(Token::Sign('/')) => ("QUOTIENT", 2),
                Some(Token::Sign('^')) => ("POWER", 3),
                _ => return Ok(left),
            };
            if binding < least {
                return Ok(left);
            }
            self.tokens.pop();
            let right = self.operators(binding + 1)?;
            left = self.call(name, vec![left, right]);
        }
    }

    fn deeper(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth > 32 { Err(Failure::Unreadable) } else { Ok(()) }
    }

    fn sign(&mut self, sign: char) -> Result<(), Failure> {
        match self.tokens.pop() {
            Some(token) if token == Token::Sign(sign) => Ok(()),
            _ => Err(Failure::Unreadable),
        }
    }

    fn operand(&mut self) -> Result<Tree, Failure> {
        match self.tokens.pop() {
            Some(Token::Number(value)) => Ok(Tree::Value(value)),
            Some(Token::Sign('-')) => {
                self.deeper()?;
                let value = self.operand()?;
                self.depth -= 1;
                Ok(self.call("NEGATIVE", vec![value]))
            }
            Some(Token::Sign('(')) => {
                self.deeper()?;
                let tree = self.operators(1)?;
                self.depth -= 1;
                self.sign(')')?;
                Ok(tree)
            }
            Some(Token::Word(word)) if self.tokens.last() != Some(&Token::Sign('(')) => {
                if is_name(&word) { Ok(Tree::Name(word)) } else { Err(Failure::Unreadable) }
            }
            Some(Token::Word(word)) => {
                let known = [
                    ("FLOOR.MATH", 1),
                    ("CEILING.MATH", 1),
                    ("ABS", 1),
                    ("POWER", 2),
                    ("PRODUCT", 2),
                    ("SUM", 2),
                    ("MIN", 2),
                    ("MAX", 2),
                    ("ROUND", 2),
                ];
                let word = word.to_uppercase();
                let found = known.into_iter().find(|(name, _)| *name == word);
                let (name, count) = found.ok_or(Failure::Unreadable)?;
                self.deeper()?;
                self.sign('(')?;
                let mut arguments = vec![self.operators(1)?];
                for _ in 1..count {
                    self.sign(',')?;
                    arguments.push(self.operators(1)?);
                }
                self.sign(')')?;
                self.depth -= 1;
                Ok(self.call(name, arguments))
            }
            Some(Token::Sign(_)) | None => Err(Failure::Unreadable),
        }
    }
}

// ---- working out ---------------------------------------------------------------------------

fn short(value: Amount) -> Result<Amount, Failure> {
    let fits = value.numer().bits() <= 1_024 && value.denom().bits() <= 1_024;
    if fits { Ok(value) } else { Err(Failure::TooLong) }
}

fn walk(tree: &Tree, variables: &[(String, Amount)]) -> Result<Amount, Failure> {
    let (name, arguments) = match tree {
        Tree::Value(value) => return Ok(value.clone()),
        Tree::Name(name) => {
            let mut all = variables.iter();
            let found = all.find(|(known, _)| known.to_lowercase() == name.to_lowercase());
            return found.map(|(_, value)| value.clone()).ok_or(Failure::Missing);
        }
        Tree::Call(name, arguments) => (*name, arguments),
    };
    let values = arguments.iter().map(|argument| walk(argument, variables));
    let values = values.collect::<Result<Vec<Amount>, Failure>>()?;
    let (x, y) = match values.as_slice() {
        [x] => (x, &whole(0)),
        [x, y] => (x, y),
        _ => panic!("one or two arguments"),
    };
    short(match name {
        "NEGATIVE" => -x,
        "FLOOR.MATH" => x.floor(),
        "CEILING.MATH" => x.ceil(),
        "ABS" => x.abs(),
        "SUM" => x + y,
        "DIFFERENCE" => x - y,
        "PRODUCT" => x * y,
        "QUOTIENT" if y.is_zero() => return Err(Failure::Undefined),
        "QUOTIENT" => x / y,
        "MIN" => x.min(y).clone(),
        "MAX" => x.max(y).clone(),
        "ROUND" => {
            let places = y.to_i32().filter(|places| y.is_integer() && places.abs() <= 9);
            let scale = Pow::pow(whole(10), places.ok_or(Failure::Undefined)?);
            let half = Amount::new(1.into(), 2.into());
            let away = (x.abs() * &scale + half).floor() / scale;
            if x.is_negative() { -away } else { away }
        }
        "POWER" => power(x, y)?,
        name => panic!("no function {name}"),
    })
}

fn power(x: &Amount, y: &Amount) -> Result<Amount, Failure> {
    if x.is_zero() {
        return if y.is_positive() { Ok(whole(0)) } else { Err(Failure::Undefined) };
    }
    if y.is_integer() && y.abs() <= whole(64) {
        let times = y.to_integer().to_i32().expect("small");
        let bits = (x.numer().bits().max(x.denom().bits()) - 1) * u64::from(times.unsigned_abs());
        return if bits > 2_048 { Err(Failure::TooLong) } else { Ok(Pow::pow(x.clone(), times)) };
    }
    if x.is_negative() {
        if !y.is_integer() {
            return Err(Failure::Undefined);
        }
        let odd = !(y.to_integer() % BigInt::from(2)).is_zero();
        let magnitude = power_of_positive(&-x, y)?;
        return Ok(if odd { -magnitude } else { magnitude });
    }
    power_of_positive(x, y)
}

/// To 18 decimals, half to even.
fn power_of_positive(x: &Amount, y: &Amount) -> Result<Amount, Failure> {
    // The exponent multiplies what is wrong with the logarithm, and the result what is wrong in all.
    let growth = y.numer().bits().saturating_sub(y.denom().bits());
    let most = y.abs() * whole(x.numer().bits().max(x.denom().bits()));
    let places = 464 + growth + most.to_integer().to_u64().map_or(1_100, |bits| bits.min(1_100));
    let logarithm = logarithm(x, places) * y.numer() / y.denom();
    let two = logarithm_of_two(places);
    let twos = floor_divided(&logarithm, &two);
    let Some(twos) = twos.to_i64().filter(|twos| *twos < 1_100) else {
        return if twos.is_positive() { Err(Failure::TooLong) } else { Ok(whole(0)) };
    };
    if twos < -100 {
        return Ok(whole(0));
    }
    let fraction = exponential(&(logarithm - two * twos), places);
    let scaled = if twos < 0 { fraction >> twos.unsigned_abs() } else { fraction << twos };
    let value = Amount::new(scaled, BigInt::one() << places);
    // In the middle of two decimals, if it looks so for more digits than can be by chance.
    let halves_of_one: Amount = whole(2) * Amount::from_integer(BigInt::from(10).pow(18u32));
    let halves: Amount = &value * &halves_of_one;
    let nearest = halves.round();
    let is_there = (&halves - &nearest).abs() < Amount::new(1.into(), BigInt::one() << 300);
    let value = if is_there { nearest / halves_of_one } else { value };
    Ok(half_even(&value, 18))
}

fn floor_divided(left: &BigInt, right: &BigInt) -> BigInt {
    BigRational::new(left.clone(), right.clone()).floor().to_integer()
}

/// The logarithm of a number above 0, times 2^`places`.
fn logarithm(x: &Amount, places: u64) -> BigInt {
    let mut twos = i64::try_from(x.numer().bits()).expect("small")
        - i64::try_from(x.denom().bits()).expect("small");
    let halved = |twos: i64| x / Pow::pow(whole(2), i32::try_from(twos).expect("small"));
    if halved(twos) < Amount::new(3.into(), 4.into()) {
        twos -= 1;
    } else if halved(twos) > Amount::new(3.into(), 2.into()) {
        twos += 1;
    }
    let near_one = halved(twos);
    artanh_twice(&((&near_one - whole(1)) / (near_one + whole(1))), places)
        + logarithm_of_two(places) * twos
}

fn logarithm_of_two(places: u64) -> BigInt {
    artanh_twice(&Amount::new(1.into(), 3.into()), places)
}

/// 2 (z + z^3/3 + z^5/5 + ...), times 2^`places`.
fn artanh_twice(z: &Amount, places: u64) -> BigInt {
    let z = (z.numer() << (places + 1)) / z.denom();
    let square: BigInt = (&z * &z) >> (places + 2);
    let (mut term, mut sum, mut odd) = (z.clone(), z, 1u32);
    while !term.is_zero() && term != BigInt::from(-1) {
        term = (term * &square) >> places;
        odd += 2;
        sum += &term / odd;
    }
    sum
}

/// The exponential of a number from 0 to 1, both times 2^`places`: a series for a 2^16th of it,
/// squared sixteen times.
fn exponential(x: &BigInt, places: u64) -> BigInt {
    let places_inside = places + 64;
    let x = (x << 64) >> 16;
    let one = BigInt::one() << places_inside;
    let (mut term, mut sum, mut number) = (one.clone(), one, 0u32);
    while !term.is_zero() {
        number += 1;
        term = ((term * &x) >> places_inside) / number;
        sum += &term;
    }
    for _ in 0..16 {
        sum = (&sum * &sum) >> places_inside;
    }
    sum >> 64
}
