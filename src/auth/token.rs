//! The text of a token, taken apart without believing any of it: the compact form of JWS and the
//! claims of spec 9 in strict types. Keys, signatures and the time are not known here.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, Unexpected, Visitor,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::keys::Algorithm;
use super::principal::Role;

/// The longest token that is looked at. One instance takes some 52 bytes of it.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The last second of the year 9999: a later time is a mistake of units, or an attempt to overflow.
pub(super) const SECONDS_MAX: u64 = 253_402_300_799;

/// A token in parts. Nothing in it is proved.
pub(super) struct Parsed<'a> {
    pub(super) algorithm: &'static Algorithm,
    pub(super) claims: Claims,
    /// What was signed: header and payload as they were sent.
    pub(super) message: &'a str,
    /// In base64url, known to be canonical.
    pub(super) signature: &'a str,
    pub(super) signature_bytes: Vec<u8>,
}

/// Takes a token apart; the error says what is wrong with its form.
pub(super) fn parse(token: &str) -> Result<Parsed<'_>, &'static str> {
    let parts = token.rsplit_once('.').and_then(|(message, signature)| {
        let (header, payload) = message.split_once('.')?;
        Some((message, header, payload, signature)) // Further dots, in `payload`, are no base64url.
    });
    let (message, header, payload, signature) =
        parts.ok_or("it must have three parts with dots between")?;
    let (Some(header), Some(payload), Some(signature_bytes)) =
        (decode(header), decode(payload), decode(signature))
    else {
        return Err("its parts must be base64url without padding, in the canonical form");
    };
    // Also in what is not read: there `serde_json` would let it pass.
    let (Ok(header), Ok(payload)) = (str::from_utf8(&header), str::from_utf8(&payload)) else {
        return Err("its header and payload must be UTF-8");
    };
    let header: Header = object(header).ok_or("its header must be an object with an `alg`")?;
    if header.crit.or(header.zip).or(header.b64).is_some() {
        return Err("its header must do without `crit`, `zip` and `b64`");
    }
    let algorithm = Algorithm::named(&header.alg)
        .ok_or("its `alg` must be one of RS256, RS384, RS512, PS256, ES256, ES384, EdDSA")?;
    let claims: Claims = object(payload).ok_or_else(|| flaw(payload))?;
    Ok(Parsed { algorithm, claims, message, signature, signature_bytes })
}

/// Refuses padding, white space and stray last bits: one token has one spelling.
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

fn object<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok().map(|Object(value)| value)
}

/// Which rule a payload breaks that could not be read: all of them hold whatever keys there are.
fn flaw(payload: &str) -> &'static str {
    let Ok(payload) = serde_json::from_str::<Value>(payload) else {
        return "its payload must be JSON";
    };
    let Some(claims) = payload.as_object() else { return "its payload must be an object" };
    let is_time = |time: &Value| time.as_u64().is_some_and(|seconds| seconds <= SECONDS_MAX);
    let is_list =
        |list: &Value| list.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    let jwk = claims.get("cnf").and_then(|cnf| cnf.get("jwk")).and_then(Value::as_object);
    let in_jwk = |name| jwk.and_then(|jwk| jwk.get(name)).and_then(Value::as_str);
    let rules = [
        (
            claims.get("exp").is_some_and(is_time),
            "its `exp` must be there, in whole seconds since 1970",
        ),
        (
            claims.get("iat").is_some_and(is_time),
            "its `iat` must be there, in whole seconds since 1970",
        ),
        (claims.get("nbf").is_none_or(is_time), "its `nbf` must be in whole seconds since 1970"),
        (claims.get("iss").is_some_and(Value::is_string), "its `iss` must be a string"),
        (claims.get("aud").is_none_or(is_list), "its `aud` must be a list of strings"),
        (jwk.is_some(), "its `cnf.jwk` must be an object"),
        (in_jwk("kid").is_some(), "its `cnf.jwk.kid` must be a string, the id of a key"),
        (
            in_jwk("kty").and_then(Role::from_kty).is_some(),
            "its `cnf.jwk.kty` must be ADMIN or CLIENT",
        ),
    ];
    let broken = rules.into_iter().find(|(holds, _)| !holds);
    broken.map_or("its payload must not have a member twice", |(_, rule)| rule)
}

/// The header, as far as it is read: `kid`, `jwk`, `jku`, `x5u` and `x5c` offer keys, and the only
/// keys are the registered ones.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
}

/// What a token claims (spec 9). Claims not named here are ignored, as JWT prescribes.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) iat: Seconds,
    pub(super) exp: Seconds,
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<Seconds>,
    #[serde(default, deserialize_with = "present")]
    pub(super) aud: Option<Vec<String>>,
    #[serde(rename = "cnf")]
    confirmation: Object<Confirmation>,
}

impl Claims {
    /// The key that the token says signed it. Good for nothing but an exact look-up.
    pub(super) fn key_id(&self) -> &str {
        &self.confirmation.0.jwk.0.kid
    }

    /// The role that the token gives itself. Grants nothing: the registered key's class does.
    pub(super) fn claimed_role(&self) -> Role {
        self.confirmation.0.jwk.0.role
    }
}

#[derive(Deserialize)]
struct Confirmation {
    jwk: Object<KeyReference>,
}

#[derive(Deserialize)]
struct KeyReference {
    kid: String,
    #[serde(rename = "kty", deserialize_with = "role")]
    role: Role,
}

/// Whole seconds since the epoch, in this side of the year 10000.
pub(super) struct Seconds(u64);

impl Seconds {
    /// Cannot overflow: the year 9999 has fifteen digits.
    pub(super) const fn as_ms(&self) -> u64 {
        self.0 * 1000
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        if seconds > SECONDS_MAX {
            return Err(D::Error::custom("a time after the year 9999"));
        }
        Ok(Seconds(seconds))
    }
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Role, D::Error> {
    // As a string first: an enum of serde would take `{"ADMIN": null}` too.
    let kty = String::deserialize(deserializer)?;
    Role::from_kty(&kty)
        .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&kty), &"ADMIN or CLIENT"))
}

/// For members that may be missing but not null, which `Option` alone would take for missing.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A JSON object without a repeated member. A struct of serde alone would also be read from a
/// list, and would overlook a repeated member that it does not know.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        let members = UniqueMembers { members, seen: BTreeSet::new() };
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

struct UniqueMembers<A> {
    members: A,
    seen: BTreeSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for UniqueMembers<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.members.next_key::<String>()? else {
            return Ok(None);
        };
        if !self.seen.insert(name.clone()) {
            return Err(A::Error::custom("a member is there twice"));
        }
        seed.deserialize(StringDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}
