//! What administration sends about component licensing (components 2.1b).

use std::borrow::Cow;

use super::members::{nullable, whole};
use super::read::{self, Fault, Flaw, Shape, Value, required, required_name};
use super::scalar::time_ms;
use crate::domain::components::{Component, LicenseModel, LicenseTerms, Pool, Term};
use crate::domain::ids::Text;
use crate::domain::limits::{LICENSE_LISTS_MAX, TERM_MAX_MS};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Rate;

/// The most tokens and seats of a pool, and sessions of a licence.
pub(crate) const POOL_MAX: u64 = i64::MAX.unsigned_abs();
/// The longest session and grace period, in seconds: as long as there are dates.
pub(crate) const SECONDS_MAX: u64 = TERM_MAX_MS / 1_000;
/// Characters of a licence's key and of an entitlement's id.
pub(crate) const KEY_CHARS_MAX: usize = 100;

/// A name that a path gives to what is to be saved; `characters` are the most that it may have.
pub(crate) fn name(sent: &str, characters: usize) -> Result<Text, Fault> {
    let too_long = || {
        let detail = format!("the id in the path must have at most {characters} characters");
        Fault { code: "too-long", detail }
    };
    if sent.chars().count() > characters {
        return Err(too_long());
    }
    Text::new(sent).map_err(|_| too_long()) // A path has no control characters.
}

/// Reads a product: its name.
pub(crate) fn read_product(body: &[u8]) -> Result<Text, Fault> {
    read::object::<Product>(body)
}

#[derive(Default)]
struct Product(Option<Text>);

impl<'a> Shape<'a> for Product {
    type Whole = Text;
    const MEMBERS: &'static [&'static str] = &["name"];

    fn set(&mut self, _member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        self.0 = Some(value.text()?);
        Ok(())
    }

    fn finish(self) -> Result<Text, Flaw> {
        required_name(self.0, "name")
    }
}

/// Reads a component, which the path names.
pub(crate) fn read_component(body: &[u8], name: Text) -> Result<Component, Fault> {
    let (model, price, trial_until) = read::object::<Priced>(body)?;
    Ok(Component { name, place: 0, model, price, trial_until })
}

#[derive(Default)]
struct Priced {
    model: Option<LicenseModel>,
    price: Option<Rate>,
    trial_until: Option<Option<Timestamp>>,
}

impl<'a> Shape<'a> for Priced {
    type Whole = (LicenseModel, Rate, Option<Timestamp>);
    const MEMBERS: &'static [&'static str] =
        &["licenseModel", "tokensRequired", "freeTrialExpiration"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "licenseModel" => self.model = Some(value.parsed(model)?),
            "tokensRequired" => self.price = Some(value.rate()?),
            _ => {
                let time = |raw| time_ms(raw, 0, TERM_MAX_MS).map(Timestamp::from_ms);
                self.trial_until = Some(value.parsed(|raw| nullable(raw, time))?);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let model = required(self.model, "licenseModel")?;
        let price = required(self.price, "tokensRequired")?;
        Ok((model, price, required(self.trial_until, "freeTrialExpiration")?))
    }
}

fn model(raw: &str) -> Result<LicenseModel, Flaw> {
    let wanted = "must be `session`, `token`, `consumable token` or `none`";
    LicenseModel::parse(&read::string(raw)?).ok_or_else(|| Flaw::new("bad-license-model", wanted))
}

/// Reads a licence: the instance that it names, and its terms.
pub(crate) fn read_license(body: &[u8]) -> Result<(Cow<'_, str>, LicenseTerms), Fault> {
    read::object::<License<'_>>(body)
}

#[derive(Default)]
struct License<'a> {
    product: Option<Text>,
    instance: Option<Cow<'a, str>>,
    terms: Option<Vec<Term>>,
    concurrent_sessions: Option<Option<u64>>,
    features: Option<Vec<Text>>,
    session_duration_s: Option<u64>,
    grace_period_s: Option<u64>,
}

impl<'a> Shape<'a> for License<'a> {
    type Whole = (Cow<'a, str>, LicenseTerms);
    const MEMBERS: &'static [&'static str] = &[
        "productGuid",
        "instanceId",
        "terms",
        "concurrentSessions",
        "features",
        "sessionDuration",
        "gracePeriod",
    ];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "productGuid" => self.product = Some(value.text()?),
            "instanceId" => self.instance = Some(value.string()?),
            "terms" => self.terms = Some(value.list::<Stretch>(LICENSE_LISTS_MAX)?),
            "concurrentSessions" => {
                self.concurrent_sessions = Some(value.nullable_whole(0, POOL_MAX)?);
            }
            "features" => self.features = Some(value.texts(LICENSE_LISTS_MAX)?),
            "sessionDuration" => self.session_duration_s = Some(value.whole(1, SECONDS_MAX)?),
            _ => self.grace_period_s = Some(value.whole(0, SECONDS_MAX)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let terms = LicenseTerms {
            product: required(self.product, "productGuid")?,
            terms: required(self.terms, "terms")?,
            concurrent_sessions: required(self.concurrent_sessions, "concurrentSessions")?,
            features: required(self.features, "features")?,
            session_duration_s: required(self.session_duration_s, "sessionDuration")?,
            grace_period_s: required(self.grace_period_s, "gracePeriod")?,
        };
        Ok((required(self.instance, "instanceId")?, terms))
    }
}

#[derive(Default)]
struct Stretch {
    start: Option<u64>,
    end: Option<u64>,
}

impl<'a> Shape<'a> for Stretch {
    type Whole = Term;
    const MEMBERS: &'static [&'static str] = &["start", "end"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        let ms = Some(value.time_ms(0, TERM_MAX_MS)?);
        match member {
            "start" => self.start = ms,
            _ => self.end = ms,
        }
        Ok(())
    }

    fn finish(self) -> Result<Term, Flaw> {
        let (start, end) = (required(self.start, "start")?, required(self.end, "end")?);
        if end < start {
            return Err(Flaw::of("end", "bad-time", "must not be before `start`"));
        }
        Ok(Term { start: Timestamp::from_ms(start), end: Timestamp::from_ms(end) })
    }
}

/// Reads an entitlement: its components, and what they draw on.
pub(crate) fn read_entitlement(body: &[u8]) -> Result<(Vec<Text>, Pool), Fault> {
    read::object::<Entitlement>(body)
}

#[derive(Default)]
struct Entitlement {
    components: Option<Vec<Text>>,
    tokens: Option<Option<u64>>,
    sessions: Option<Option<u64>>,
    line_item: Option<Text>,
}

impl<'a> Shape<'a> for Entitlement {
    type Whole = (Vec<Text>, Pool);
    const MEMBERS: &'static [&'static str] = &["components", "tokens", "sessions", "activationId"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        let amount = |raw| nullable(raw, |raw| whole(raw, 0, POOL_MAX));
        match member {
            "components" => self.components = Some(value.texts(LICENSE_LISTS_MAX)?),
            "tokens" => self.tokens = Some(value.parsed(amount)?),
            "sessions" => self.sessions = Some(value.parsed(amount)?),
            _ => self.line_item = Some(value.text()?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let components = required(self.components, "components")?;
        let pool = match (self.tokens, self.sessions, self.line_item) {
            (None, None, Some(activation_id)) => Pool::LineItem { activation_id },
            (_, _, Some(_)) => {
                let sentence = "stands beside `tokens` or `sessions`: a line item has its own";
                return Err(Flaw::of("activationId", "conflicting-fields", sentence));
            }
            (tokens, sessions, None) => Pool::Own {
                tokens: required(tokens, "tokens")?,
                sessions: required(sessions, "sessions")?,
            },
        };
        Ok((components, pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(read: Result<T, Fault>) -> &'static str {
        read.map_or_else(|fault| fault.code, |_| "ok")
    }

    #[test]
    fn a_component_has_a_model_a_price_and_perhaps_a_trial() {
        let sent = |model: &str, price: &str, trial: &str| {
            format!(
                r#"{{"licenseModel":{model},"tokensRequired":{price},"freeTrialExpiration":{trial}}}"#
            )
        };
        let component = Text::new("Mesher").unwrap();
        for (body, expected) in [
            (sent(r#""token""#, "30.5", "null"), "ok"),
            (sent(r#""consumable token""#, "0", "1893456000000"), "ok"),
            (sent(r#""Token""#, "30", "null"), "bad-license-model"),
            (sent("null", "30", "null"), "bad-type"),
            (sent(r#""token""#, "-1", "null"), "bad-rate"),
            (sent(r#""token""#, "0.1234567891", "null"), "too-precise"),
            (sent(r#""token""#, "null", "null"), "bad-type"),
            (sent(r#""token""#, "1", "-1"), "bad-time"),
            (sent(r#""token""#, "1", r#""2030""#), "bad-type"),
            (sent(r#""token""#, "1", r#"null,"name":"x""#), "unknown-field"),
            (r#"{"licenseModel":"none","tokensRequired":0}"#.to_owned(), "missing-field"),
        ] {
            assert_eq!(
                code(read_component(body.as_bytes(), component.clone())),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn a_license_has_everything_that_is_listed() {
        let whole = concat!(
            r#"{"productGuid":"P","instanceId":"I","terms":[{"start":1,"end":1}],"#,
            r#""concurrentSessions":null,"features":["A"],"sessionDuration":600,"gracePeriod":0}"#
        );
        for (from, to, expected) in [
            ("null", "null", "ok"),
            ("null", "0", "ok"),
            ("null", "-1", "bad-number"),
            ("null", "1.5", "bad-number"),
            ("null", "9223372036854775808", "bad-number"),
            (r#"{"start":1,"end":1}"#, "", "ok"),
            (r#""end":1"#, r#""end":0"#, "bad-time"),
            (r#""end":1"#, r#""end":null"#, "bad-type"),
            (r#","end":1"#, "", "missing-field"),
            (r#""sessionDuration":600"#, r#""sessionDuration":0"#, "bad-number"),
            (r#","gracePeriod":0"#, "", "missing-field"),
            (r#"["A"]"#, r#"[1]"#, "bad-type"),
            (r#"["A"]"#, r#""A""#, "bad-type"),
        ] {
            let body = whole.replace(from, to);
            assert_eq!(code(read_license(body.as_bytes())), expected, "{body}");
        }
        let many = whole.replace(r#"["A"]"#, &format!("[{}]", [r#""A""#; 101].join(",")));
        assert_eq!(code(read_license(many.as_bytes())), "too-many-items");
    }

    #[test]
    fn an_entitlement_has_a_pool_of_its_own_or_a_line_item() {
        for (rest, expected) in [
            (r#""tokens":100,"sessions":0"#, "ok"),
            (r#""tokens":null,"sessions":null"#, "ok"),
            (r#""activationId":"ACT01""#, "ok"),
            (r#""tokens":100"#, "missing-field"),
            (r#""sessions":100"#, "missing-field"),
            (r#""tokens":100,"sessions":0,"activationId":"ACT01""#, "conflicting-fields"),
            (r#""tokens":null,"activationId":"ACT01""#, "conflicting-fields"),
            (r#""activationId":null"#, "bad-type"),
            (r#""tokens":0.5,"sessions":0"#, "bad-number"),
            (r#""tokens":"1","sessions":0"#, "bad-type"),
            (r#""tokens":1,"sessions":0,"id":1"#, "unknown-field"),
        ] {
            let body = format!(r#"{{"components":["A"],{rest}}}"#);
            assert_eq!(code(read_entitlement(body.as_bytes())), expected, "{body}");
        }
        assert_eq!(code(read_entitlement(br#"{"tokens":1,"sessions":1}"#)), "missing-field");
    }

    #[test]
    fn ids_in_paths_are_short() {
        assert_eq!(code(name(&"k".repeat(100), 100)), "ok");
        assert_eq!(code(name(&"\u{e9}".repeat(101), 100)), "too-long");
        assert_eq!(code(name(&"k".repeat(256), 255)), "too-long");
    }
}
