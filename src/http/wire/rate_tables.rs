//! Rate tables (spec 2.6).

use std::sync::Arc;

use super::read::{self, Fault, Flaw, Shape, Value, required, required_name};
use super::{Bracket, Dialect, Json};
use crate::domain::formula::Formula;
use crate::domain::ids::Text;
use crate::domain::limits::{EFFECTIVE_FROM_MAX_MS, EFFECTIVE_FROM_MIN_MS, RATE_TABLE_ITEMS_MAX};
use crate::domain::price::Price;
use crate::domain::rates::{NewRateTable, RateTable, RatedItem};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Rate;

/// Reads a table that is to be published.
pub(crate) fn read(body: &[u8], dialect: &Dialect) -> Result<NewRateTable, Fault> {
    match dialect.formulas {
        true => read::object::<Table<true>>(body),
        false => read::object::<Table<false>>(body),
    }
}

#[derive(Default)]
struct Table<const FORMULAS: bool> {
    effective_from: Option<u64>,
    series: Option<Text>,
    version: Option<Text>,
    items: Option<Vec<RatedItem>>,
}

impl<'a, const FORMULAS: bool> Shape<'a> for Table<FORMULAS> {
    type Whole = NewRateTable;
    const MEMBERS: &'static [&'static str] = &["effectiveFrom", "series", "version", "items"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "effectiveFrom" => {
                let ms = value.time_ms(EFFECTIVE_FROM_MIN_MS, EFFECTIVE_FROM_MAX_MS)?;
                self.effective_from = Some(ms);
            }
            "series" => self.series = value.nullable_text()?.map(|(series, _)| series),
            "version" => self.version = Some(value.text()?),
            _ => self.items = Some(value.list::<Item<FORMULAS>>(RATE_TABLE_ITEMS_MAX)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<NewRateTable, Flaw> {
        let effective_from = Timestamp::from_ms(required(self.effective_from, "effectiveFrom")?);
        let version = required_name(self.version, "version")?;
        let items = required(self.items, "items")?;
        if items.is_empty() {
            return Err(Flaw::of("items", "no-items", "must price at least one item"));
        }
        let series = self.series.unwrap_or_else(Text::empty);
        Ok(NewRateTable { series, version, effective_from, items })
    }
}

#[derive(Default)]
struct Item<const FORMULAS: bool> {
    name: Option<Text>,
    version: Option<Text>,
    rate: Option<Rate>,
    formula: Option<Formula>,
}

impl<'a, const FORMULAS: bool> Shape<'a> for Item<FORMULAS> {
    type Whole = RatedItem;
    const MEMBERS: &'static [&'static str] = match FORMULAS {
        true => &["name", "version", "rate", "formula"],
        false => &["name", "version", "rate"],
    };

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "name" => self.name = Some(value.text()?),
            "version" => self.version = value.nullable_text()?.map(|(version, _)| version),
            "rate" if FORMULAS => self.rate = value.nullable_rate()?,
            "rate" => self.rate = Some(value.rate()?),
            _ => self.formula = value.nullable_formula()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<RatedItem, Flaw> {
        let name = required_name(self.name, "name")?;
        let rate = match (self.rate, self.formula) {
            (Some(_), Some(_)) => {
                let sentence = "stands beside `rate`: give the item one of the two";
                return Err(Flaw::of("formula", "conflicting-fields", sentence));
            }
            (Some(rate), None) => Price::Rate(rate),
            (None, Some(formula)) => Price::from(formula),
            (None, None) => {
                let sentence = if FORMULAS { "or `formula` is required" } else { "is required" };
                return Err(Flaw::of("rate", "missing-field", sentence));
            }
        };
        Ok(RatedItem { name, version: self.version.unwrap_or_else(Text::empty), rate })
    }

    fn unknown(member: &str) -> &'static str {
        match member {
            "formula" => "formulas belong to version 1.1 of the API: give the item a `rate`",
            _ => "is not a member of a priced item: leave it out",
        }
    }
}

/// Writes that a table was published.
pub(crate) fn write_saved() -> Vec<u8> {
    br#"{"message":"Rate table successfully saved"}"#.to_vec()
}

/// Writes all tables. To v1.0, which knows no formulas, an item that has one shows no price.
pub(crate) fn write(dialect: &Dialect, tables: &[Arc<RateTable>]) -> Vec<u8> {
    let items: usize = tables.iter().map(|table| table.items().len()).sum();
    let mut json = Json::with_capacity(16 + 128 * tables.len() + 64 * items);
    json.open(Bracket::Array);
    for table in tables {
        json.open(Bracket::Object);
        json.plain("effectiveFrom", table.effective_from);
        if !table.series.is_empty() {
            json.text("series", table.series.as_str());
        }
        json.text("version", table.version.as_str());
        json.open_member("items", Bracket::Array);
        for item in table.items() {
            json.open(Bracket::Object);
            json.text("name", item.name.as_str());
            if !item.version.is_empty() {
                json.text("version", item.version.as_str());
            }
            match &item.rate {
                Price::Rate(rate) => json.plain("rate", rate),
                Price::Formula(formula) if dialect.formulas => {
                    json.text("formula", formula.as_str());
                }
                Price::Formula(_) => {}
            }
            json.close(Bracket::Object);
        }
        json.close(Bracket::Array);
        json.plain("created", table.created);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;
    use crate::domain::ids::RateTableNumber;

    #[test]
    fn a_table_is_read_or_refused_with_a_code() {
        let table = |items: &str| {
            format!(
                r#"{{"effectiveFrom":1698849852000,"series":"S","version":"1","items":{items}}}"#
            )
        };
        let rate = |rate: &str| table(&format!(r#"[{{"name":"A","rate":{rate}}}]"#));
        let cases = [
            (rate("0.3"), "ok"),
            (rate("0"), "ok"),
            (rate("-1"), "bad-rate"),
            (rate("-0"), "bad-rate"),
            (rate("0.1234567891"), "too-precise"),
            (rate("1e400"), "too-large"),
            (rate("\"3\""), "bad-type"),
            (table("[]"), "no-items"),
            (table("{}"), "bad-type"),
            (table(r#"[{"name":"A"}]"#), "missing-field"),
            (table(r#"[{"rate":1}]"#), "missing-field"),
            (table(r#"[{"name":"","rate":1}]"#), "missing-field"),
            (table(r#"[{"name":"A","formula":"1+1"}]"#), "unknown-field"),
            (table(r#"[{"name":"A","version":null,"rate":1}]"#), "ok"),
            (rate("0.3").replace(r#""S""#, "null"), "ok"),
            (r#"{"effectiveFrom":1698849852,"version":"1","items":[]}"#.to_owned(), "bad-time"),
            (r#"{"effectiveFrom":-1,"version":"1","items":[]}"#.to_owned(), "bad-time"),
            (r#"{"effectiveFrom":1698849852000.5,"version":"1"}"#.to_owned(), "bad-time"),
            (r#"{"effectiveFrom":"x","version":"1"}"#.to_owned(), "bad-type"),
            (r#"{"version":"1","items":[]}"#.to_owned(), "missing-field"),
            (r#"{"effectiveFrom":1698849852000,"items":[]}"#.to_owned(), "missing-field"),
        ];
        for (body, expected) in cases {
            let read = |version: Version| read(body.as_bytes(), version.dialect());
            let found = read(Version::V1_0).map_or_else(|fault| fault.code, |_| "ok");
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn a_price_is_a_rate_or_in_v1_1_a_formula() {
        for (price, expected) in [
            (r#""formula":"CEILING.MATH(basePrice * 1.2) + Extra""#, "ok"),
            (r#""formula":"1","rate":null"#, "ok"),
            (r#""rate":1,"formula":null"#, "ok"),
            (
                r#""rate":1,"formula":"1""#,
                "`/items/0/formula`: stands beside `rate`: give the item one of the two",
            ),
            (r#""rate":null,"formula":null"#, "`/items/0/rate`: or `formula` is required"),
            (r#""formula":1"#, "`/items/0/formula`: string expected, integer found"),
            (
                r#""formula":"a + \u00e4""#,
                "`/items/0/formula`: character 5: a number, a variable, a function or `(` is expected",
            ),
        ] {
            let body = format!(
                r#"{{"effectiveFrom":1698849852000,"version":"1","items":[{{"name":"A",{price}}}]}}"#
            );
            let found = read(body.as_bytes(), Version::V1_1.dialect());
            let found = found.map_or_else(|fault| fault.detail, |_| "ok".to_owned());
            assert_eq!(found, expected, "{price}");
        }
    }

    #[test]
    fn a_formula_is_shown_as_posted_and_to_v1_0_not_at_all() {
        let body = r#"{"effectiveFrom":1698849852000,"version":"1","items":[
            {"name":"A","formula":"1 +\ta"},{"name":"B","rate":2}]}"#;
        let new = read(body.as_bytes(), Version::V1_1.dialect()).unwrap();
        let number = RateTableNumber::default();
        let table = RateTable::new(number, Timestamp::from_ms(7), new).unwrap();
        let tables = [Arc::new(table)];
        let shown =
            |version: Version| String::from_utf8(write(version.dialect(), &tables)).unwrap();
        let rest = r#""},{"name":"B","rate":2}],"created":7}]"#;
        let start = r#"[{"effectiveFrom":1698849852000,"version":"1","items":[{"name":"A"#;
        assert_eq!(shown(Version::V1_1), format!(r#"{start}","formula":"1 +\ta{rest}"#));
        assert_eq!(shown(Version::V1_0), format!("{start}{rest}"));
    }
}
