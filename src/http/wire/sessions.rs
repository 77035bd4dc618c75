//! Sessions (spec 2.8), except for their access requests, which are those of `access`.

use std::borrow::Cow;

use super::read::{self, Fault, Flaw, Shape, Value, required};
use super::{Bracket, Json};
use crate::broker::SessionView;
use crate::domain::ids::SessionId;
use crate::domain::session::State;
use crate::domain::time::Timestamp;

/// Reads the body of a creation: the instance, as it was named.
pub(crate) fn read_creation(body: &[u8]) -> Result<Cow<'_, str>, Fault> {
    read::object::<Creation<'_>>(body)
}

#[derive(Default)]
struct Creation<'a> {
    instance_id: Option<Cow<'a, str>>,
}

impl<'a> Shape<'a> for Creation<'a> {
    type Whole = Cow<'a, str>;
    const MEMBERS: &'static [&'static str] = &["instanceId"];

    fn set(&mut self, _member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        self.instance_id = Some(value.string()?);
        Ok(())
    }

    fn finish(self) -> Result<Cow<'a, str>, Flaw> {
        required(self.instance_id, "instanceId")
    }

    fn unknown(member: &str) -> &'static str {
        match member {
            "sessionId" => "the broker chooses the id of a session: leave it out",
            _ => "is not a member of this object: leave it out",
        }
    }
}

/// Writes the id of a new session.
pub(crate) fn write_created(id: SessionId) -> Vec<u8> {
    let mut json = Json::with_capacity(64);
    json.open(Bracket::Object);
    json.id("sessionId", id);
    json.close(Bracket::Object);
    json.into_bytes()
}

/// Writes the live sessions of an instance.
pub(crate) fn write_list(sessions: &[SessionView]) -> Vec<u8> {
    let never = Timestamp::from_ms(0);
    let mut json = Json::with_capacity(16 + 256 * sessions.len());
    json.open(Bracket::Array);
    for SessionView { instance, session, pacing } in sessions {
        json.open(Bracket::Object);
        json.id("sessionId", session.id);
        json.id("instanceId", instance);
        json.text("state", session.state_name());
        json.plain("chargedUntil", pacing.charged_until);
        json.plain("lastHeartBeat", session.last_heartbeat.unwrap_or(never));
        json.plain("lastAccessRequest", session.last_access_request.unwrap_or(never));
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.into_bytes()
}

/// Writes one session and what it uses.
pub(crate) fn write_details(SessionView { instance, session, .. }: &SessionView) -> Vec<u8> {
    let mut json = Json::with_capacity(512);
    json.open(Bracket::Object);
    json.id("sessionId", session.id);
    json.id("instanceId", instance);
    json.text("state", session.state_name());
    json.open_member("items", Bracket::Array);
    if let State::Active(usage) = &session.state {
        for item in &usage.request.items {
            json.open(Bracket::Object);
            json.text("item", item.name.as_str());
            json.text("version", item.version.as_str());
            json.plain("count", item.count);
            json.close(Bracket::Object);
        }
    }
    json.close(Bracket::Array);
    json.close(Bracket::Object);
    json.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_names_one_instance_and_nothing_else() {
        for (body, expected) in [
            (r#"{"instanceId":"64d2028c-ae87-4069-a624-66089d957ef9"}"#, "ok"),
            (r#"{"instanceId":"no uuid"}"#, "ok"), // Names nothing: a matter of 403 and 404.
            (r#"{"instanceId":7}"#, "bad-type"),
            (r#"{}"#, "missing-field"),
            (r#"{"instanceId":"a","sessionId":"b"}"#, "unknown-field"),
            (r#"{"instanceId":"a","instanceId":"a"}"#, "duplicate-field"),
        ] {
            let found = read_creation(body.as_bytes()).map_or_else(|fault| fault.code, |_| "ok");
            assert_eq!(found, expected, "{body}");
        }
    }
}
