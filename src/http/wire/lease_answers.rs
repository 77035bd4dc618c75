//! What the component API answers (components 2).

use super::failure::Failure;
use super::time::Rfc3339;
use super::{Bracket, Json};
use crate::broker::{LeaseAnswer, Registered};
use crate::domain::components::{Component, EntitlementStanding};
use crate::domain::ids::Text;
use crate::domain::time::Timestamp;

/// Writes how an installation and its user are known.
pub(crate) fn write_registered(now: Timestamp, registered: &Registered) -> Vec<u8> {
    let mut json = success(now);
    json.id("instance_guid", registered.installation);
    json.id("user_guid", registered.user);
    done(json)
}

/// Writes that a session has begun.
pub(crate) fn write_begun(answer: &LeaseAnswer) -> Vec<u8> {
    let mut json = success(answer.at);
    json.id("session_key", answer.session_id);
    write_terms(&mut json, answer);
    write_standing(&mut json, answer);
    done(json)
}

/// Writes for how long a session goes on.
pub(crate) fn write_extended(answer: &LeaseAnswer) -> Vec<u8> {
    let mut json = success(answer.at);
    write_terms(&mut json, answer);
    done(json)
}

/// Writes that a session is over.
pub(crate) fn write_ended(now: Timestamp) -> Vec<u8> {
    let mut json = Json::with_capacity(64);
    json.open(Bracket::Object);
    json.plain("status", 0);
    json.plain("success", true);
    json.id("time", Rfc3339(now));
    done(json)
}

/// Writes how a session stands after components were checked out or came back; or why none were.
pub(crate) fn write_changed(answer: &LeaseAnswer) -> Vec<u8> {
    if let Some(denied) = &answer.denied {
        return Failure::of(denied).write(answer.at, &denied.to_string(), None);
    }
    let mut json = success(answer.at);
    write_standing(&mut json, answer);
    done(json)
}

/// Writes how a session stands.
pub(crate) fn write_status(answer: &LeaseAnswer) -> Vec<u8> {
    let mut json = Json::with_capacity(room(answer));
    json.open(Bracket::Object);
    write_standing(&mut json, answer);
    done(json)
}

/// Writes that a licence was taken out.
pub(crate) fn write_license(answer: &LeaseAnswer) -> Vec<u8> {
    let mut json = success(answer.at);
    json.id("checkout_key", answer.session_id);
    let expires = answer.lease.offline.as_ref().map(|offline| offline.expires);
    json.id("expiration_time", Rfc3339(expires.unwrap_or(answer.at)));
    write_features(&mut json, &answer.standing.features);
    done(json)
}

/// Writes that it has come back.
pub(crate) fn write_returned(now: Timestamp) -> Vec<u8> {
    done(success(now))
}

fn success(now: Timestamp) -> Json {
    let mut json = Json::with_capacity(1024);
    json.open(Bracket::Object);
    json.plain("status", 0);
    json.id("time", Rfc3339(now));
    json
}

fn done(mut json: Json) -> Vec<u8> {
    json.close(Bracket::Object);
    json.into_bytes()
}

fn room(answer: &LeaseAnswer) -> usize {
    64 + 192 * (answer.standing.components.len() + answer.standing.entitlements.len())
}

fn write_terms(json: &mut Json, answer: &LeaseAnswer) {
    write_features(json, &answer.standing.features);
    json.plain("session_duration", answer.lasts_ms / 1_000);
    json.plain("grace_period_for_validation_failures", answer.grace_period_s);
}

fn write_features(json: &mut Json, features: &[Text]) {
    json.texts("features", features.iter().map(Text::as_str));
}

fn write_standing(json: &mut Json, answer: &LeaseAnswer) {
    json.open_member("components", Bracket::Array);
    for component in &answer.standing.components {
        write_component(json, component, answer.standing.at);
    }
    json.close(Bracket::Array);
    json.open_member("component_entitlements", Bracket::Array);
    answer.standing.entitlements.iter().for_each(|standing| write_entitlement(json, standing));
    json.close(Bracket::Array);
}

fn write_component(json: &mut Json, component: &Component, now: Timestamp) {
    json.open(Bracket::Object);
    json.text("name", component.name.as_str());
    json.text("license_model", component.model.as_str());
    json.plain("tokens_required", component.price_at(now));
    let trial = component.trial_until.filter(|_| component.is_on_trial(now));
    json.plain("free_trial", trial.is_some());
    if let Some(until) = trial {
        json.id("free_trial_expiration", Rfc3339(until));
    }
    json.plain("original_tokens_required", component.full_price());
    json.close(Bracket::Object);
}

fn write_entitlement(json: &mut Json, standing: &EntitlementStanding) {
    json.open(Bracket::Object);
    json.texts("components", standing.entitlement.components.iter().map(Text::as_str));
    json.plain_or_null("tokens_entitled", standing.tokens_entitled);
    json.plain("tokens_in_use", standing.tokens_in_use);
    json.plain("tokens_in_use_by_session", standing.tokens_in_use_by_session);
    json.plain_or_null("sessions_entitled", standing.sessions_entitled);
    json.plain("sessions_in_use", standing.sessions_in_use);
    json.plain("in_use_by_session", standing.in_use_by_session);
    json.close(Bracket::Object);
}
