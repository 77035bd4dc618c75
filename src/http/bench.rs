//! What `crate::benching` does with the JSON of this module.

use super::wire::Version;
use super::wire::access::{self, Extras};
use crate::broker::AccessAnswer;
use crate::domain::request::AccessRequest;

/// The one-off request of a body, if it is one.
pub(crate) fn read_request(body: &[u8]) -> Option<AccessRequest> {
    access::read_one_off(body, Version::V1_1.dialect()).ok().map(|asked| asked.request)
}

/// What writes the answers to the one-off request of a body.
pub(crate) fn answer_writer(body: &[u8]) -> Option<impl Fn(&AccessAnswer) -> Vec<u8>> {
    let dialect = Version::V1_1.dialect();
    let echo = access::read_one_off(body, dialect).ok()?.echo;
    Some(move |answer: &AccessAnswer| access::write(dialect, &echo, answer, Extras::default()))
}
