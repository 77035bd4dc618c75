//! What the integration tests share: the independent model and how it is compared with the
//! product, the script language, a server, clocks, ids, disks and dice. Each test uses a part of it.

#![allow(clippy::enum_variant_names, reason = "the model has the names of the specification")]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test compiles all of it and uses a part"
)]

pub mod crowd;
pub mod dice;
pub mod disks;
pub mod env;
pub mod explained;
mod http_access;
pub mod http_client;
mod http_rules;
pub mod http_stage;
pub mod judge;
pub mod key_book;
pub mod keyed;
pub mod model;
mod model_stage;
pub mod product;
pub mod replay;
pub mod rig;
pub mod script;
pub mod server;
pub mod stage;
