//! What version 1.1 adds to prices and requests: formulas, and the variables for them (spec 2.6, 2.7).

use std::borrow::Cow;

use super::members::members;
use super::read::{Flaw, Value, amount, decimal, string};
use crate::domain::formula::Formula;
use crate::domain::ids::Text;
use crate::domain::limits::{COUNT_MAX, VARIABLES_MAX};
use crate::domain::tokens::{AmountError, Rate};
use crate::domain::variables::{Number, Variable, Variables, VariablesError};

impl<'a> Value<'_, 'a> {
    /// A rate (spec 3.7).
    pub(super) fn rate(self) -> Result<Rate, Flaw> {
        self.parsed(rate)
    }

    /// A rate; `None` for null, where a formula may stand instead.
    pub(super) fn nullable_rate(self) -> Result<Option<Rate>, Flaw> {
        self.parsed(|raw| if raw == "null" { Ok(None) } else { rate(raw).map(Some) })
    }

    /// A formula; `None` for null.
    pub(super) fn nullable_formula(self) -> Result<Option<Formula>, Flaw> {
        self.parsed(|raw| match raw {
            "null" => Ok(None),
            _ => match Formula::parse(&string(raw)?) {
                Ok(formula) => Ok(Some(formula)),
                Err(error) => Err(Flaw::new("bad-formula", error.to_string())),
            },
        })
    }

    /// An object of numbers; none for null.
    pub(super) fn nullable_variables(self) -> Result<Variables, Flaw> {
        self.parsed(|raw| match raw.as_bytes().first() {
            Some(b'{') => variables(raw),
            _ if raw == "null" => Ok(Variables::default()),
            _ => Err(Flaw::wrong_type("object", raw)),
        })
    }
}

fn rate(raw: &str) -> Result<Rate, Flaw> {
    Rate::parse(&decimal(raw)?).map_err(|error| amount("bad-rate", error))
}

fn variables(raw: &str) -> Result<Variables, Flaw> {
    let members = members(raw, VARIABLES_MAX)?;
    let bad_name = |name: &str, sentence: String| Flaw::of(name, "bad-variable", sentence);
    let variable = |(name, raw): (Cow<'_, str>, &str)| {
        let flaw = |flaw: Flaw| flaw.within(&name);
        let text = Text::new(&name).map_err(|error| bad_name(&name, error.to_string()))?;
        let value = Number::parse(&decimal(raw).map_err(flaw)?);
        let value = value.map_err(|error| match error {
            AmountError::TooLarge => {
                let detail = format!("must be from -{COUNT_MAX} to {COUNT_MAX}");
                flaw(Flaw::new("too-large", detail))
            }
            AmountError::NotANumber
            | AmountError::NotPositive
            | AmountError::Negative
            | AmountError::TooPrecise => flaw(amount("bad-variable", error)),
        })?;
        Ok(Variable { name: text, value })
    };
    let variables = members.into_iter().map(variable).collect::<Result<_, Flaw>>()?;
    Variables::new(variables).map_err(|error| match &error {
        VariablesError::TooMany => Flaw::new("too-many-variables", error.to_string()),
        VariablesError::BadName(name) => bad_name(name.as_str(), error.to_string()),
        VariablesError::Twice(name) => {
            Flaw::of(name.as_str(), "duplicate-field", error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_numbers_under_names() {
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"a{n}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        for (raw, expected) in [
            ("{}".to_owned(), "ok"),
            (r#"{"basePrice":2.6,"extra":-0.5,"zero":0,"none":-0}"#.to_owned(), "ok"),
            (r#"{"a":0.30000000000000004,"b":1e-400}"#.to_owned(), "ok"),
            (r#"{"a":1000000000,"b":-1e9}"#.to_owned(), "ok"),
            (r#"{"a":1000000000.1}"#.to_owned(), "too-large"),
            (r#"{"a":-1e10}"#.to_owned(), "too-large"),
            (r#"{"a":"1"}"#.to_owned(), "bad-type"),
            (r#"{"a":null}"#.to_owned(), "bad-type"),
            (r#"{"a":{}}"#.to_owned(), "bad-type"),
            (r#"{"a":1,"a":1}"#.to_owned(), "duplicate-field"),
            (r#"{"a":1,"A":1}"#.to_owned(), "duplicate-field"),
            (r#"{"a":1,"\u0041":1}"#.to_owned(), "duplicate-field"),
            (r#"{"":1}"#.to_owned(), "bad-variable"),
            (r#"{"1a":1}"#.to_owned(), "bad-variable"),
            (r#"{"a\nb":1}"#.to_owned(), "bad-variable"),
            (r#"{"\ud800":1}"#.to_owned(), "bad-json"),
            (many(32), "ok"),
            (many(33), "too-many-variables"),
            (many(100_000), "too-many-variables"),
        ] {
            let found = variables(&raw).map_or_else(|flaw| flaw.code(), |_| "ok");
            let shown: String = raw.chars().take(60).collect();
            assert_eq!(found, expected, "{shown}");
        }
    }
}
