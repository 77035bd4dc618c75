//! What clients send to the component API (components 2). Members that are not known are passed
//! over: clients of later versions may send more.

use std::collections::BTreeSet;

use super::Version;
use super::envelope::{Clear, Envelope};
use super::members::texts;
use super::read::{self, Fault, Flaw, Shape, Value, required};
use super::scalar::text;
use crate::broker::BeginSession;
use crate::domain::components::{Identity, Who};
use crate::domain::ids::{InstallationId, Text, UserId};
use crate::domain::limits::{ITEMS_MAX, WAIT_MAX_S};

/// Names in one request, equal ones too.
const NAMES_MAX: usize = 10_000;
const SECONDS_MAX: u64 = i64::MAX.unsigned_abs();

fn data<S, W>(body: &[u8]) -> Result<W, Fault>
where
    S: for<'a> Shape<'a, Whole = W>,
{
    read::object::<S>(&Clear::open(body)?)
}

/// What an installation registers with.
#[derive(Debug)]
pub(crate) struct NewInstallation {
    /// `product_guid`
    pub(crate) product: Text,
    /// `license_key`
    pub(crate) license: Text,
    /// `instance_identity`
    pub(crate) identity: Identity,
    /// `user_identity`; nothing where it is left out.
    pub(crate) user: Vec<(Text, Text)>,
}

/// Reads a registration.
pub(crate) fn read_registration(body: &[u8]) -> Result<NewInstallation, Fault> {
    data::<Registering, _>(body)
}

#[derive(Default)]
struct Registering {
    product: Option<Text>,
    license: Option<Text>,
    identity: Option<Identity>,
    user: Option<Vec<(Text, Text)>>,
}

impl<'a> Shape<'a> for Registering {
    type Whole = NewInstallation;
    const MEMBERS: &'static [&'static str] =
        &["product_guid", "license_key", "instance_identity", "user_identity"];
    const IS_OPEN: bool = true;

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "product_guid" => self.product = Some(value.text()?),
            "license_key" => self.license = Some(value.text()?),
            "instance_identity" => self.identity = value.nullable_identity()?,
            _ => self.user = value.nullable_user()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<NewInstallation, Flaw> {
        Ok(NewInstallation {
            product: required(self.product, "product_guid")?,
            license: required(self.license, "license_key")?,
            identity: required(self.identity, "instance_identity")?,
            user: self.user.unwrap_or_default(),
        })
    }
}

/// Reads what a session begins with. Below v3.2 user sessions knew no `version` (components 2.8).
pub(crate) fn read_begin(
    body: &[u8],
    version: Version,
    is_of_user: bool,
) -> Result<BeginSession, Fault> {
    match is_of_user && version < Version::V3_2 {
        true => data::<Beginning<false>, _>(body).map(|(begin, _)| begin),
        false => data::<Beginning<true>, _>(body).map(|(begin, _)| begin),
    }
}

/// Reads what a licence is taken out with, and the session whose seat is meant.
pub(crate) fn read_check_out_license(body: &[u8]) -> Result<(BeginSession, Option<String>), Fault> {
    let (begin, session) = data::<Beginning<true>, _>(body)?;
    if begin.duration_s.is_none() {
        let detail = "`/duration`: is required".to_owned();
        return Err(Fault { code: "missing-field", detail });
    }
    Ok((begin, session))
}

#[derive(Default)]
struct Beginning<const VERSIONED: bool> {
    product: Option<Text>,
    installation: Option<String>,
    identity: Option<Identity>,
    user_id: Option<String>,
    user: Option<Vec<(Text, Text)>>,
    version: Option<Text>,
    duration_s: Option<u64>,
    session: Option<String>,
}

impl<'a, const VERSIONED: bool> Shape<'a> for Beginning<VERSIONED> {
    /// And `session_key`.
    type Whole = (BeginSession, Option<String>);
    const MEMBERS: &'static [&'static str] = &[
        "product_guid",
        "instance_guid",
        "instance_identity",
        "user_guid",
        "user_identity",
        "version",
        "duration",
        "session_key",
    ];
    const IS_OPEN: bool = true;

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "product_guid" => self.product = Some(value.text()?),
            "instance_guid" => self.installation = Some(value.string()?.into_owned()),
            "instance_identity" => self.identity = value.nullable_identity()?,
            "user_guid" => self.user_id = value.nullable_string()?,
            "user_identity" => self.user = value.nullable_user()?,
            "version" => self.version = value.nullable_text()?.map(|(version, _)| version),
            "duration" => self.duration_s = value.nullable_whole(1, SECONDS_MAX)?,
            _ => self.session = value.nullable_string()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let product = required(self.product, "product_guid")?;
        let installation = required(self.installation, "instance_guid")?;
        let version = match self.version {
            None if VERSIONED => return Err(Flaw::of("version", "missing-field", "is required")),
            version => version.unwrap_or_else(Text::empty),
        };
        // What is no id names nobody, as an id that nobody has.
        let installation = InstallationId::parse(&installation);
        let installation = installation.unwrap_or(InstallationId::from_u128(0));
        let who = match (self.user_id, self.user) {
            (Some(id), _) => Who::Id(UserId::parse(&id).unwrap_or(UserId::from_u128(0))),
            (None, Some(user)) => Who::Identity(user),
            (None, None) => {
                let sentence = "or `user_identity` is required";
                return Err(Flaw::of("user_guid", "missing-field", sentence));
            }
        };
        let (identity, duration_s) = (self.identity, self.duration_s);
        let begin = BeginSession { product, installation, identity, who, version, duration_s };
        Ok((begin, self.session))
    }
}

/// A call on a session.
#[derive(Debug)]
pub(crate) struct OnSession {
    /// `session_key`, or `checkout_key`.
    pub(crate) key: String,
    /// `duration`: how long it shall last.
    pub(crate) duration_s: Option<u64>,
}

/// Reads a call that is about a session, and perhaps about how long it shall last.
pub(crate) fn read_on_session(body: &[u8]) -> Result<OnSession, Fault> {
    data::<Naming<false>, _>(body)
}

/// Reads the return of a licence that was taken out.
pub(crate) fn read_check_in_license(body: &[u8]) -> Result<OnSession, Fault> {
    data::<Naming<true>, _>(body)
}

#[derive(Default)]
struct Naming<const CHECKOUT: bool> {
    key: Option<String>,
    duration_s: Option<u64>,
}

impl<'a, const CHECKOUT: bool> Shape<'a> for Naming<CHECKOUT> {
    type Whole = OnSession;
    const MEMBERS: &'static [&'static str] = match CHECKOUT {
        true => &["checkout_key"],
        false => &["session_key", "duration"],
    };
    const IS_OPEN: bool = true;

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "duration" => self.duration_s = value.nullable_whole(1, SECONDS_MAX)?,
            _ => self.key = Some(value.string()?.into_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<OnSession, Flaw> {
        let member = if CHECKOUT { "checkout_key" } else { "session_key" };
        Ok(OnSession { key: required(self.key, member)?, duration_s: self.duration_s })
    }
}

/// Components that are checked out or come back.
#[derive(Debug)]
pub(crate) struct Components {
    /// `session_key`
    pub(crate) key: String,
    /// `components`, each once, in order.
    pub(crate) names: Vec<Text>,
    /// `wait_seconds`
    pub(crate) wait_s: u64,
}

/// Reads the components of a checkout, or of their return.
pub(crate) fn read_components(body: &[u8]) -> Result<Components, Fault> {
    data::<Listing, _>(body)
}

#[derive(Default)]
struct Listing {
    key: Option<String>,
    names: Option<Vec<Text>>,
    wait_s: u64,
}

impl<'a> Shape<'a> for Listing {
    type Whole = Components;
    const MEMBERS: &'static [&'static str] = &["session_key", "components", "wait_seconds"];
    const IS_OPEN: bool = true;

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "session_key" => self.key = Some(value.string()?.into_owned()),
            "components" => self.names = Some(value.parsed(names)?),
            _ => self.wait_s = value.nullable_whole(0, WAIT_MAX_S)?.unwrap_or(0),
        }
        Ok(())
    }

    fn finish(self) -> Result<Components, Flaw> {
        let key = required(self.key, "session_key")?;
        let names = required(self.names, "components")?;
        Ok(Components { key, names, wait_s: self.wait_s })
    }
}

/// A text alone is a list of one. Of equal names the first counts: they are a set.
fn names(raw: &str) -> Result<Vec<Text>, Flaw> {
    let mut names = match raw.as_bytes().first() {
        Some(b'[') => texts(raw, NAMES_MAX)?,
        Some(_) | None => vec![text(raw)?],
    };
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    match names.len() {
        0 => Err(Flaw::new("no-items", "must name at least one component")),
        1..=ITEMS_MAX => Ok(names),
        _ => {
            let sentence = format!("must name at most {ITEMS_MAX} components");
            Err(Flaw::new("too-many-items", sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(read: Result<T, Fault>) -> &'static str {
        read.map_or_else(|fault| fault.code, |_| "ok")
    }

    #[test]
    fn components_are_a_text_or_a_set_of_texts() {
        let many = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("\"{n}\"")).collect();
            format!(r#"{{"session_key":"s","components":[{}]}}"#, names.join(","))
        };
        let with = |components: &str, more: &str| {
            format!(r#"{{"session_key":"s","components":{components}{more}}}"#)
        };
        for (body, expected) in [
            (with("\"A\"", ""), "ok"),
            (with(r#"["A","B"]"#, r#","wait_seconds":60,"later":{"a":1,"a":2}"#), "ok"),
            (format!(r#"{{"key":"k","data":{}}}"#, with("\"A\"", "")), "ok"),
            (with("[]", ""), "no-items"),
            (with("[1]", ""), "bad-type"),
            (with("1", ""), "bad-type"),
            (with("\"A\"", r#","wait_seconds":61"#), "bad-number"),
            (with("\"A\"", r#","wait_seconds":-1"#), "bad-number"),
            (with("\"A\"", r#","wait_seconds":null"#), "ok"),
            (with("\"A\"", r#","components":"B""#), "duplicate-field"),
            (many(100), "ok"),
            (many(101), "too-many-items"),
            (r#"{"components":"A"}"#.to_owned(), "missing-field"),
            (r#"{"session_key":"s"}"#.to_owned(), "missing-field"),
            ("[]".to_owned(), "bad-json"),
            (r#"{"data":"[]"}"#.to_owned(), "bad-json"),
        ] {
            assert_eq!(code(read_components(body.as_bytes())), expected, "{body:.80}");
        }
        let twice = read_components(with(r#"["B","A","B"]"#, "").as_bytes()).unwrap();
        let names: Vec<&str> = twice.names.iter().map(Text::as_str).collect();
        assert_eq!(names, ["B", "A"]);
    }

    #[test]
    fn a_session_begins_with_what_its_version_requires() {
        let whole = r#"{"product_guid":"P","instance_guid":"I","user_guid":"U","version":"1"}"#;
        let without = |member: &str| {
            let members = ["product_guid", "instance_guid", "user_guid", "version"];
            let members = members.iter().filter(|other| **other != member);
            let members: Vec<String> = members.map(|name| format!("\"{name}\":\"x\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        for version in Version::COMPONENTS {
            for (body, of_app, of_user) in [
                (whole.to_owned(), "ok", "ok"),
                (without("product_guid"), "missing-field", "missing-field"),
                (without("instance_guid"), "missing-field", "missing-field"),
                (without("user_guid"), "missing-field", "missing-field"),
                (
                    without("version"),
                    "missing-field",
                    match version {
                        Version::V3_2 => "missing-field",
                        Version::V1_0 | Version::V1_1 | Version::V3_0 | Version::V3_1 => "ok",
                    },
                ),
                (whole.replace("\"U\"", r#""U","duration":0"#), "bad-number", "bad-number"),
                (whole.replace("\"U\"", r#""U","duration":null"#), "ok", "ok"),
            ] {
                let read = |is_of_user| read_begin(body.as_bytes(), version, is_of_user);
                assert_eq!((code(read(false)), code(read(true))), (of_app, of_user), "{body}");
            }
        }
        assert_eq!(code(read_check_out_license(whole.as_bytes())), "missing-field");
        let timed = whole.replace("\"U\"", r#""U","duration":5,"session_key":"s""#);
        let (begin, session) = read_check_out_license(timed.as_bytes()).unwrap();
        assert_eq!((begin.duration_s, session.as_deref()), (Some(5), Some("s")));
    }
}
