//! What `crate::fuzzing` does with the parsers of this module.

use super::path;
use super::wire::{self, Version};
use crate::domain::ids::Text;
use crate::domain::keys::KeyClass;
use crate::domain::limits::{IDENTITY_PAIRS_MAX, ITEMS_MAX, KEYS_SENT_MAX};

/// Reads a body as every operation of both versions does; says whether it suited one.
pub(crate) fn request(body: &[u8]) -> bool {
    let mut fine = false;
    for version in [Version::V1_0, Version::V1_1] {
        let dialect = version.dialect();
        if let Ok(asked) = wire::access::read_one_off(body, dialect) {
            assert!((1..=ITEMS_MAX).contains(&asked.request.items.len()));
            fine = true;
        }
        if let Ok((asked, _)) = wire::access::read_of_session(body, dialect) {
            assert!(asked.request.items.len() <= ITEMS_MAX);
            fine = true;
        }
        fine |= wire::line_items::read(body, dialect).is_ok();
        fine |= wire::rate_tables::read(body, dialect).is_ok();
    }
    if let Ok(keys) = wire::keys::read(body, KeyClass::Client) {
        assert!((1..=KEYS_SENT_MAX).contains(&keys.len()));
        fine = true;
    }
    fine |= wire::instances::read(body).is_ok();
    fine |= wire::sessions::read_creation(body).is_ok();
    fine |= wire::configuration::read(body).is_ok();
    fine |= wire::rules::read_conditions(body).is_ok();
    fine |= wire::rules::read_actions(body).is_ok();
    fine |= licensing(body);
    fine | wire::test_clock::read(body).is_ok()
}

/// The same of component licensing.
fn licensing(body: &[u8]) -> bool {
    let mut fine = wire::licensing::read_product(body).is_ok();
    fine |= wire::licensing::read_component(body, Text::empty()).is_ok();
    fine |= wire::licensing::read_license(body).is_ok();
    fine |= wire::licensing::read_entitlement(body).is_ok();
    if let Ok(new) = wire::leases::read_registration(body) {
        assert!((1..=IDENTITY_PAIRS_MAX).contains(&new.identity.pairs.len()));
        fine = true;
    }
    for version in Version::COMPONENTS {
        fine |= wire::leases::read_begin(body, version, true).is_ok();
    }
    fine |= wire::leases::read_check_out_license(body).is_ok();
    fine |= wire::leases::read_on_session(body).is_ok();
    fine |= wire::leases::read_check_in_license(body).is_ok();
    if let Ok(asked) = wire::leases::read_components(body) {
        assert!((1..=ITEMS_MAX).contains(&asked.names.len()));
        fine = true;
    }
    fine
}

/// Reads a path and the query after its `?`; says whether both are some.
pub(crate) fn path(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = path::Query::parse(query, &["next", "size", "instanceId"]);
    let counted = query.as_ref().map(|query| query.number("size"));
    if path::check(path).is_err() {
        return false;
    }
    for sent in path.split('/') {
        let id = path::segment(sent);
        assert!(path::check_decoded(&id).is_ok(), "{path}: a path's ids can be named by one");
    }
    if let Some((_, rest)) = path::fold(path) {
        assert!(path.ends_with(rest) && rest.starts_with('/'), "{path}: {rest}");
    }
    matches!(counted, Ok(Ok(_)))
}
