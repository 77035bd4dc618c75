//! For those who run the broker or write to it: alive, ready, figures, and what there is. No token.

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::operation::Operation;
use super::wire::{Bracket, Json};
use super::{Server, openapi};
use crate::broker::Broker;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Gives the text of `/metrics`: whoever installed the recorder knows how.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The answer to one of those that need no token.
pub(super) fn answer(operation: Operation, server: &Server) -> Answer {
    if operation == Operation::Readiness {
        readiness(&server.broker)
    } else if operation == Operation::Metrics {
        Answer::plain(StatusCode::OK, PROMETHEUS, (server.metrics_text)().into_bytes())
    } else if operation == Operation::ReadDescription {
        let described = openapi::described(server.mover.is_some());
        Answer::plain(StatusCode::OK, JSON, described.json.clone())
    } else if operation == Operation::ReadPage {
        let described = openapi::described(server.mover.is_some());
        Answer::page(described.page.clone(), described.policy.clone())
    } else {
        liveness()
    }
}

/// The process answers: that is all it says.
fn liveness() -> Answer {
    Answer::plain(StatusCode::OK, JSON, br#"{"status":"live"}"#.to_vec())
}

/// Whether requests can be served, else why not.
fn readiness(broker: &Broker) -> Answer {
    let readiness = broker.readiness();
    let mut json = Json::with_capacity(64);
    json.open(Bracket::Object);
    let status = match &readiness {
        Ok(()) => {
            json.text("status", "ready");
            StatusCode::OK
        }
        Err(reason) => {
            json.text("status", "not-ready");
            json.text("reason", reason);
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    json.close(Bracket::Object);
    Answer::plain(status, JSON, json.into_bytes())
}
