//! farebox, an access broker.

mod actors;
pub mod auth;
pub mod broker;
pub mod config;
pub mod domain;
pub mod env;
pub mod error;
pub mod journal;
pub mod metrics;
