//! Counting answers. Handles are registered once, so that counting one costs no look-up.

use std::time::Duration;

use hyper::Response;
use hyper::header::RETRY_AFTER;
use metrics::{Counter, Histogram, counter, histogram};

use super::operation::Operation;
use crate::metrics::{HTTP_REQUEST_SECONDS, HTTP_REQUESTS_TOTAL};

/// The label of calls that belong to no route.
const NO_ROUTE: &str = "none";

/// What became of a call, by its status. Who is overloaded asks to come back: more clients do not
/// fit. Who is unavailable cannot help it, whoever asks: it stops, or has no disk or no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    Overloaded,
    Unavailable,
    Failed,
}

impl Outcome {
    const ALL: [Outcome; 9] = [
        Outcome::Ok,
        Outcome::BadRequest,
        Outcome::Unauthorized,
        Outcome::Forbidden,
        Outcome::NotFound,
        Outcome::Conflict,
        Outcome::Overloaded,
        Outcome::Unavailable,
        Outcome::Failed,
    ];

    fn of<T>(response: &Response<T>) -> Outcome {
        let asks_to_come_back = response.headers().contains_key(RETRY_AFTER);
        match response.status().as_u16() {
            ..400 => Outcome::Ok,
            401 => Outcome::Unauthorized,
            403 => Outcome::Forbidden,
            404 => Outcome::NotFound,
            409 => Outcome::Conflict,
            429 => Outcome::Overloaded,
            503 if asks_to_come_back => Outcome::Overloaded,
            503 | 507 => Outcome::Unavailable,
            400..500 => Outcome::BadRequest,
            500.. => Outcome::Failed,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::BadRequest => "bad-request",
            Outcome::Unauthorized => "unauthorized",
            Outcome::Forbidden => "forbidden",
            Outcome::NotFound => "not-found",
            Outcome::Conflict => "conflict",
            Outcome::Overloaded => "overloaded",
            Outcome::Unavailable => "unavailable",
            Outcome::Failed => "failed",
        }
    }
}

/// The counters of every route.
pub(super) struct Meters {
    rows: Vec<(Operation, Row)>,
    no_route: Row,
}

struct Row {
    outcomes: Vec<(Outcome, Counter)>,
    seconds: Histogram,
}

impl Row {
    fn register(route: &'static str) -> Row {
        let counter = |outcome: Outcome| {
            (outcome, counter!(HTTP_REQUESTS_TOTAL, "route" => route, "outcome" => outcome.label()))
        };
        let outcomes = Outcome::ALL.into_iter().map(counter).collect();
        Row { outcomes, seconds: histogram!(HTTP_REQUEST_SECONDS, "route" => route) }
    }
}

impl Meters {
    /// Registers with the recorder that is installed by now.
    pub(super) fn register() -> Meters {
        let mut rows: Vec<(Operation, Row)> = Vec::new();
        for operation in Operation::all() {
            if rows.iter().all(|(other, _)| *other != operation) {
                rows.push((operation, Row::register(operation.name())));
            }
        }
        Meters { rows, no_route: Row::register(NO_ROUTE) }
    }

    /// Counts an answer.
    pub(super) fn count<T>(
        &self,
        operation: Option<Operation>,
        response: &Response<T>,
        took: Duration,
    ) {
        let row = self.rows.iter().find(|(other, _)| Some(*other) == operation);
        let row = row.map_or(&self.no_route, |(_, row)| row);
        let outcome = Outcome::of(response);
        if let Some((_, counter)) = row.outcomes.iter().find(|(other, _)| *other == outcome) {
            counter.increment(1);
        }
        row.seconds.record(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_an_outcome() {
        for (status, label) in [
            (200, "ok"),
            (204, "ok"),
            (400, "bad-request"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "not-found"),
            (405, "bad-request"),
            (409, "conflict"),
            (413, "bad-request"),
            (429, "overloaded"),
            (431, "bad-request"),
            (500, "failed"),
            (501, "failed"),
            (503, "unavailable"),
            (507, "unavailable"),
        ] {
            let response = Response::builder().status(status).body(()).unwrap();
            assert_eq!(Outcome::of(&response).label(), label, "{status}");
        }
        let busy = Response::builder().status(503).header(RETRY_AFTER, "1").body(()).unwrap();
        assert_eq!(Outcome::of(&busy).label(), "overloaded");
    }
}
