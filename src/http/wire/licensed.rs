//! What administration is shown of component licensing (components 2.1b).

use super::{Bracket, Json};
use crate::broker::{HolderView, WaiterView};
use crate::domain::components::{Component, HoldKind, LicenseTerms, Pool};
use crate::domain::ids::{InstanceId, Text};

/// One thing, as it is listed.
pub(crate) fn one(write: impl FnOnce(&mut Json)) -> Vec<u8> {
    let mut json = Json::with_capacity(512);
    write(&mut json);
    json.into_bytes()
}

/// A page of things; the cursor is 0 at the end.
pub(crate) fn page<T>(
    name: &'static str,
    things: &[T],
    next: u64,
    write: impl Fn(&mut Json, &T),
) -> Vec<u8> {
    let mut json = Json::with_capacity(64 + 256 * things.len());
    json.open(Bracket::Object);
    json.open_member(name, Bracket::Array);
    things.iter().for_each(|thing| write(&mut json, thing));
    json.close(Bracket::Array);
    json.plain("next", next);
    json.close(Bracket::Object);
    json.into_bytes()
}

/// A product.
pub(crate) fn product(json: &mut Json, guid: &Text, name: &Text) {
    json.open(Bracket::Object);
    json.text("productGuid", guid.as_str());
    json.text("name", name.as_str());
    json.close(Bracket::Object);
}

/// A component of a product.
pub(crate) fn component(json: &mut Json, component: &Component) {
    json.open(Bracket::Object);
    json.text("name", component.name.as_str());
    json.text("licenseModel", component.model.as_str());
    json.plain("tokensRequired", component.price);
    json.plain_or_null("freeTrialExpiration", component.trial_until);
    json.close(Bracket::Object);
}

/// A licence.
pub(crate) fn license(json: &mut Json, key: &Text, instance: InstanceId, terms: &LicenseTerms) {
    json.open(Bracket::Object);
    json.text("licenseKey", key.as_str());
    json.text("productGuid", terms.product.as_str());
    json.id("instanceId", instance);
    json.open_member("terms", Bracket::Array);
    for term in &terms.terms {
        json.open(Bracket::Object);
        json.plain("start", term.start);
        json.plain("end", term.end);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.plain_or_null("concurrentSessions", terms.concurrent_sessions);
    json.texts("features", terms.features.iter().map(Text::as_str));
    json.plain("sessionDuration", terms.session_duration_s);
    json.plain("gracePeriod", terms.grace_period_s);
    json.close(Bracket::Object);
}

/// An entitlement of a licence.
pub(crate) fn entitlement(json: &mut Json, id: &Text, components: &[Text], pool: &Pool) {
    json.open(Bracket::Object);
    json.text("entitlementId", id.as_str());
    json.texts("components", components.iter().map(Text::as_str));
    match pool {
        Pool::Own { tokens, sessions } => {
            json.plain_or_null("tokens", *tokens);
            json.plain_or_null("sessions", *sessions);
        }
        Pool::LineItem { activation_id } => json.text("activationId", activation_id.as_str()),
    }
    json.close(Bracket::Object);
}

/// A session of a licence, or a licence that is taken out, and what it holds.
pub(crate) fn holder(json: &mut Json, holder: &HolderView) {
    let lease = &holder.lease;
    json.open(Bracket::Object);
    json.id("sessionKey", holder.session_id);
    json.id("instanceGuid", lease.installation);
    json.id("userGuid", lease.user);
    json.text("version", lease.version.as_str());
    json.plain("offline", lease.offline.is_some());
    json.plain("since", holder.since);
    json.plain("until", holder.until);
    json.open_member("holds", Bracket::Array);
    for hold in holder.holds() {
        json.open(Bracket::Object);
        json.text("component", hold.item.name.as_str());
        match hold.kind.pool() {
            Some(pool) => json.text("pool", pool.name.as_str()),
            None => json.null("pool"),
        }
        match &hold.kind {
            HoldKind::Seat { .. } => json.null("tokens"),
            HoldKind::Trial | HoldKind::Tokens { .. } => json.plain("tokens", hold.kind.tokens()),
        }
        json.plain("since", hold.since);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
    json.close(Bracket::Object);
}

/// Somebody who waits in line.
pub(crate) fn waiter(json: &mut Json, waiter: &WaiterView) {
    json.open(Bracket::Object);
    json.id("sessionKey", waiter.session_id);
    json.text("component", waiter.component.as_str());
    json.text("pool", waiter.pool.as_str());
    json.plain_or_null("tokens", waiter.tokens);
    json.plain("since", waiter.since);
    json.plain("until", waiter.until);
    json.close(Bracket::Object);
}
