//! farebox, an access broker: producers publish **rate tables** (item and version to tokens), their
//! customers hold **line items** (pools of tokens) in **instances**, and fleets of clients ask for
//! access: one-off requests and sessions. It never oversells a line item, never loses what it
//! acknowledged, and charges exactly.
//!
//! The program `farebox` serves this over HTTP; the library is the same broker inside a process:
//!
//! ```
//! use std::sync::Arc;
//! use farebox::auth::Principal;
//! use farebox::broker::{Broker, Options};
//! use farebox::domain::ids::Requester;
//! use farebox::domain::line_item::Terms;
//! use farebox::domain::rates::{NewRateTable, RatedItem};
//! use farebox::domain::rules::Dictionary;
//! use farebox::domain::request::{AccessRequest, RequestedItem};
//! use farebox::domain::time::Timestamp;
//! use farebox::domain::variables::Variables;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::open(Options::memory()).await?.broker; // Or Options::directory(path).
//!
//! let (name, version, rate) = ("PhotoPrint".parse()?, "1.0".parse()?, "3".parse()?);
//! let items = vec![RatedItem { name, version, rate }];
//! let (series, version) = ("".parse()?, "1".parse()?);
//! let effective_from = Timestamp::from_ms(1_698_849_852_000);
//! let table = NewRateTable { series, version, effective_from, items };
//! broker.publish_rate_table(table).await?;
//!
//! let instance = broker.create_instance("ACME-def-inst".parse()?, "ACME".parse()?).await?.value;
//! let scope = Principal::administration().scope(instance.id)?;
//! let (start, end) = (broker.now(), broker.now().plus_ms(86_400_000));
//! broker.map_line_item(scope, Terms::new("ACT01-Elastic".parse()?, 1000, start, end)).await?;
//!
//! let (kind, value) = ("user".parse()?, "LisaBarry".parse()?);
//! let requester = Requester { kind, value, dictionary: Dictionary::default() };
//! let (name, version, count) = ("PhotoPrint".parse()?, "1.0".parse()?, "10".parse()?);
//! let (metadata, variables) = (None, Variables::default());
//! let items = vec![RequestedItem { name, version, count, metadata, variables }];
//! let request = Arc::new(AccessRequest { requester, items });
//! let answer = broker.access(scope, request).await?; // Durable when it is here.
//! assert_eq!(answer.value.verdicts()[0].total().to_string(), "30");
//! broker.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! ARCHITECTURE.md says how it is built, docs/specification/ what it does to the field and the
//! millisecond.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod actors;
pub mod auth;
#[doc(hidden)]
pub mod benching;
pub mod broker;
pub mod config;
pub mod domain;
pub mod env;
pub mod error;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod journal;
mod json;
pub mod metrics;
pub mod usage;
pub mod verify;
