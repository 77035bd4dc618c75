//! Usage rows as lines of JSON (spec 7), written while they are read.

use std::ops::ControlFlow;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::answer::{Answer, Piece};
use super::call::Call;
use super::problem::Problem;
use crate::broker::{UsagePage, UsageQuery};
use crate::domain::ids::{InstanceId, Sequence};
use crate::domain::refusal::Refusal;
use crate::error::BrokerError;

const LIMIT_DEFAULT: u64 = 1_000;
const LIMIT_MAX: u64 = 10_000;
/// So many records are looked through for one answer.
const RECORDS_MAX: u64 = 100_000;
/// So many pages are read at once: each takes a thread and its share of the disk.
pub(super) const READERS_MAX: usize = 4;
/// Rows go out in pieces of about this length,
const PIECE_BYTES: usize = 64 * 1024;
/// and so many of them wait for the client.
const PIECES_MAX: usize = 2;

/// `GET /usage?after=&limit=&instance=`
pub(super) async fn read(call: Call<'_>) -> Result<Answer, Problem> {
    let bad_query = |detail: String| Problem::bad_request("bad-query", detail);
    let after = call.query.number("after").map_err(bad_query)?.unwrap_or(0);
    let last = call.broker().journal().durable().get();
    if after > last {
        return Err(bad_query(format!("`after` is {after}, and the last record is {last}")));
    }
    let limit = match call.query.number("limit").map_err(bad_query)?.unwrap_or(LIMIT_DEFAULT) {
        0 => return Err(bad_query("`limit` must be at least 1".to_owned())),
        limit => usize::try_from(limit.min(LIMIT_MAX)).unwrap_or(usize::MAX),
    };
    let instance = call
        .query
        .get("instance")
        .map(|id| InstanceId::parse(id).ok_or_else(|| Problem::from(Refusal::UnknownInstance)));
    let (after, instance) = (Sequence::new(after), instance.transpose()?);
    let query = UsageQuery { after, limit, records: RECORDS_MAX, instance };
    let page = call.broker().usage(query)?;
    let place = call.usage_readers().try_acquire_owned();
    let place = place.map_err(|_| BrokerError::JournalBusy { limit: READERS_MAX })?;
    let (pieces, rows) = mpsc::channel(PIECES_MAX);
    let through = page.through();
    tokio::task::spawn_blocking(move || {
        send(&page, &pieces);
        drop(place);
    });
    Ok(Answer::stream(through, "application/x-ndjson", rows))
}

/// Reads the rows as fast as the client takes them, until it goes away.
fn send(page: &UsagePage, pieces: &mpsc::Sender<Piece>) {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let read = page.read(|| !pieces.is_closed(), &mut |line| {
        piece.extend_from_slice(&line.to_json());
        if piece.len() < PIECE_BYTES {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
        match pieces.blocking_send(Piece::Some(Bytes::from(full))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    // Whoever asked may have gone. Without `End` the connection ends in the middle of the answer:
    // its status has been sent.
    match read {
        Ok(()) => {
            let _ = pieces.blocking_send(Piece::Some(Bytes::from(piece)));
            let _ = pieces.blocking_send(Piece::End);
        }
        Err(error) => tracing::error!(%error, "usage rows cannot be read"),
    }
}
