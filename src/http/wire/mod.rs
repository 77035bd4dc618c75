//! The JSON of the API, requests in and answers out, and what its versions do differently.
//!
//! Everything behind this module is typed. Reading ([`read`]) and writing ([`Json`]) are general;
//! the other files are one operation's bodies each. No rule about tokens stands here.

pub(super) mod access;
pub(super) mod configuration;
mod cursor;
pub(super) mod decisions;
mod document;
mod envelope;
pub(super) mod failure;
mod formulas;
mod identity;
pub(super) mod instances;
pub(super) mod keys;
pub(super) mod lease_answers;
pub(super) mod leases;
pub(super) mod licensed;
pub(super) mod licensing;
pub(super) mod line_items;
mod list;
mod members;
pub(super) mod rate_tables;
mod read;
pub(super) mod rules;
mod scalar;
pub(super) mod sessions;
pub(super) mod test_clock;
mod time;
mod v1_0;
mod v1_1;
mod v3;

use hyper::StatusCode;

pub(super) use read::Fault;

pub(super) use crate::json::{Bracket, Json};

/// Everything that differs between the versions (spec 2.11).
#[derive(Debug)]
pub(super) struct Dialect {
    /// The status code of an item, from that of version 1.0.
    status_code: fn(&'static str) -> &'static str,
    /// The member that a refused line item lists its faults in.
    pub(super) line_item_faults: &'static str,
    /// What a call on an ended session is answered with.
    pub(super) session_ended: StatusCode,
    /// Whether line items have `attributes.resetFrequency`.
    reset_frequency: bool,
    /// Whether rated items have a `formula` and requested ones `variables`.
    formulas: bool,
    /// Whether `session.charge.period` is listed among the settings.
    charge_period: bool,
    /// Whether what goes wrong is told in the form of the component API (components 5).
    pub(super) failures: bool,
}

/// The version of the API that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// v1.0
    V1_0,
    /// v1.1
    V1_1,
    /// v3.0, of the component API.
    V3_0,
    /// v3.1
    V3_1,
    /// v3.2
    V3_2,
}

impl Version {
    /// Those of the component API.
    pub(super) const COMPONENTS: [Version; 3] = [Version::V3_0, Version::V3_1, Version::V3_2];

    /// The version of the first API of this path segment.
    pub(super) fn parse(segment: &str) -> Option<Version> {
        match segment {
            "v1.0" => Some(Version::V1_0),
            "v1.1" => Some(Version::V1_1),
            _ => None,
        }
    }

    /// The path segment.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Version::V1_0 => "v1.0",
            Version::V1_1 => "v1.1",
            Version::V3_0 => "v3.0",
            Version::V3_1 => "v3.1",
            Version::V3_2 => "v3.2",
        }
    }

    /// What it does differently.
    pub(super) const fn dialect(self) -> &'static Dialect {
        match self {
            Version::V1_0 => &v1_0::DIALECT,
            Version::V1_1 => &v1_1::DIALECT,
            Version::V3_0 | Version::V3_1 | Version::V3_2 => &v3::DIALECT,
        }
    }
}
