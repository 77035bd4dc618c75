//! One entry for each piece of the hot path that `benches/` measures by itself and that is private
//! otherwise: what amounts are reckoned with, and the JSON of an access request.
//!
//! A bench is another crate, so it needs some door; this one is hidden from the documentation and
//! promises nothing.

use crate::broker::AccessAnswer;
use crate::domain::request::AccessRequest;
use crate::domain::rounding;
use crate::domain::time::Period;
use crate::domain::tokens::{Count, Rate, Tokens};
use crate::http;

/// What so many cost.
pub fn charge(count: Count, rate: Rate) -> Tokens {
    rounding::charge(count, rate)
}

/// What is still missing at another rate.
pub fn convert(missing: Tokens, previous: Rate, rate: Rate) -> Tokens {
    rounding::convert(missing, previous, rate)
}

/// What is given back of a charge when so much of its period was not used.
pub fn refund(charged: Tokens, left_ms: u64, period: Period) -> Tokens {
    rounding::refund(charged, left_ms, period)
}

/// The one-off request of a body, if it is one.
pub fn read_request(body: &[u8]) -> Option<AccessRequest> {
    http::bench::read_request(body)
}

/// What writes the answers to the one-off request of a body.
pub fn answer_writer(body: &[u8]) -> Option<impl Fn(&AccessAnswer) -> Vec<u8>> {
    http::bench::answer_writer(body)
}
