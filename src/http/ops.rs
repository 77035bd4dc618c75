//! For those who run the broker: alive, ready, and figures. No token.

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::routes::Operation;
use super::wire::{Bracket, Json};
use crate::broker::Broker;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Gives the text of `/metrics`: whoever installed the recorder knows how.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The answer to one of the three.
pub(super) fn answer(operation: Operation, broker: &Broker, text: &MetricsText) -> Answer {
    if operation == Operation::Readiness {
        readiness(broker)
    } else if operation == Operation::Metrics {
        Answer::plain(StatusCode::OK, PROMETHEUS, text().into_bytes())
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
