//! `/test/clock` (spec 4.2): time in the hands of whoever tests. Only under `serve --test-clock`.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::Mutex;

use super::answer::Answer;
use super::call::Call;
use super::problem::Problem;
use super::wire::{self, Bracket, Json};
use crate::broker::Broker;
use crate::domain::time::Timestamp;
use crate::env::TestClock;

/// Moves the clock, one call after the other.
pub(super) struct Mover(Mutex<Arc<TestClock>>);

impl Mover {
    pub(super) fn new(clock: Arc<TestClock>) -> Mover {
        Mover(Mutex::new(clock))
    }
}

/// `GET /test/clock`
pub(super) fn read(broker: &Broker) -> Answer {
    Answer::plain(StatusCode::OK, "application/json", now(broker.now()))
}

/// `POST /test/clock`
pub(super) async fn change(mut call: Call<'_>, mover: &Mover) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let wanted = wire::test_clock::read(&body)?;
    let clock = mover.0.lock().await;
    let before = call.broker().now();
    let after = match wanted {
        wire::test_clock::Move::Set(at) => at,
        wire::test_clock::Move::Advance(ms) => before.plus_ms(ms),
    };
    if after < before || after > wire::test_clock::LATEST {
        let detail = format!("the clock shows {before} and goes forward only, to 2200 at most");
        return Err(Problem::bad_request("bad-time", detail));
    }
    clock.advance(after.ms_since(before));
    let receipt = call.broker().catch_up().await?;
    Ok(Answer::json(StatusCode::OK, &receipt, now(receipt.value)))
}

fn now(at: Timestamp) -> Vec<u8> {
    let mut json = Json::with_capacity(32);
    json.open(Bracket::Object);
    json.plain("now", at);
    json.close(Bracket::Object);
    json.into_bytes()
}
