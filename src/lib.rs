//! farebox
pub mod domain;
