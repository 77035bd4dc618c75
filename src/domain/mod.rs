//! Layer 0: the rules about tokens, time and states. Pure: no runtime, no I/O, no clock, no
//! randomness, no serialisation, no floating point. Reads like docs/specification/.

pub mod balance;
pub mod catalogue;
pub mod charge;
pub mod components;
pub mod configuration;
pub mod event;
pub mod formula;
pub mod idempotency;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod line_item;
mod postings;
pub mod price;
pub mod rates;
pub mod refusal;
pub mod request;
pub(crate) mod rounding;
pub mod rules;
pub mod session;
pub mod session_time;
pub mod status;
pub mod time;
pub mod tokens;
pub mod usage;
pub mod variables;
