//! Settings (spec 2.9, 8): always names and values as texts.

use super::list::{begins, list};
use super::read::{self, Fault, Flaw, Shape, Value, required};
use super::{Bracket, Dialect, Json};
use crate::domain::configuration::{Configuration, SettingName};

/// More than there are settings: somebody may name one twice.
const SETTINGS_MAX: usize = 100;

/// A setting as it was sent.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// Reads what is to be changed: a list of settings, or a single one.
pub(crate) fn read(body: &[u8]) -> Result<Vec<Named>, Fault> {
    if begins(body, b'{') {
        return read::object::<Pair>(body).map(|named| vec![named]);
    }
    let named = list::<Pair, _, SETTINGS_MAX>(body)?;
    if named.is_empty() {
        let detail = "must name at least one setting".to_owned();
        return Err(Fault { code: "no-items", detail });
    }
    Ok(named)
}

#[derive(Default)]
struct Pair {
    name: Option<String>,
    value: Option<String>,
}

impl<'a> Shape<'a> for Pair {
    type Whole = Named;
    const MEMBERS: &'static [&'static str] = &["name", "value"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "name" => self.name = Some(value.string()?.into_owned()),
            _ => self.value = Some(value.string()?.into_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Named, Flaw> {
        let name = required(self.name, "name")?;
        Ok(Named { name, value: required(self.value, "value")? })
    }
}

/// Writes all settings; who changed one and when, where it is not at its default.
pub(crate) fn write(dialect: &Dialect, configuration: &Configuration) -> Vec<u8> {
    let mut json = Json::with_capacity(256);
    json.open(Bracket::Array);
    for (setting, changed) in configuration.settings() {
        if setting.name() == SettingName::ChargePeriod && !dialect.charge_period {
            continue;
        }
        json.open(Bracket::Object);
        json.text("name", setting.name().as_str());
        json.text("value", &setting.value());
        if let Some(changed) = changed {
            json.plain("modified", changed.at);
            json.text("updatedBy", changed.by.as_str());
        }
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_list_or_a_single_setting() {
        for (body, expected) in [
            (r#"{"name":"a","value":"b"}"#, "ok 1"),
            (r#"[{"name":"a","value":"b"}]"#, "ok 1"),
            (r#" [ {"name":"a","value":"b"}, {"name":"c","value":"d"} ] "#, "ok 2"),
            ("[]", "no-items"),
            ("[1]", "bad-type"),
            (r#"{"name":"a","value":true}"#, "bad-type"),
            (r#"[{"name":"a"}]"#, "missing-field"),
            (r#"[{"name":"a","value":"b","modified":1}]"#, "unknown-field"),
            (r#"[{"name":"a","value":"b"}"#, "bad-json"),
            ("", "bad-json"),
        ] {
            let found = read(body.as_bytes());
            let found =
                found.map_or_else(|fault| fault.code.to_owned(), |n| format!("ok {}", n.len()));
            assert_eq!(found, expected, "{body}");
        }
        let fault = read(br#"[{"name":"a","value":1}]"#).unwrap_err();
        assert!(fault.detail.starts_with("`/0/value`"), "{}", fault.detail);
    }
}
