//! From a result or a problem to the HTTP response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::problem::{Asked, Header, Problem};
use super::wire::Dialect;
use crate::broker::Receipt;
use crate::domain::idempotency::FirstAnswer;
use crate::domain::ids::Sequence;
use crate::domain::session::Pacing;

/// The journal's place that an answer rests on (spec 2.10).
static SEQUENCE_HEADER: HeaderName = HeaderName::from_static("x-sequence");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The body of a response: there from the beginning, or made while it is sent.
pub(super) type AnswerBody = Either<Full<Bytes>, Pieces>;

/// A part of a body that comes in pieces.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some bytes, or none.
    Some(Bytes),
    /// There is no more. A body that ends without it ends the connection in the middle of it.
    End,
}

/// A body that comes in pieces.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    /// Falls with the body.
    under_way: Option<Box<dyn Send + Sync>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.pieces.poll_recv(context)) {
            Some(Piece::Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(io::Error::other("the answer ends early"))),
        })
    }
}

/// Has something fall when the body of a response has been sent: at once, if it is all there.
pub(super) fn under_way(response: &mut Response<AnswerBody>, guard: impl Send + Sync + 'static) {
    if let Either::Right(pieces) = response.body_mut() {
        pieces.under_way = Some(Box::new(guard));
    }
}

#[derive(Debug)]
enum Payload {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Piece>),
}

/// What a handler says, whatever record it rests on.
#[derive(Debug)]
pub(super) struct Content {
    status: StatusCode,
    pacing: Option<Pacing>,
    body: Vec<u8>,
}

impl Content {
    /// JSON.
    pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Content {
        Content { status, pacing: None, body }
    }

    /// Done, and nothing to say.
    pub(super) fn empty(status: StatusCode) -> Content {
        Content::json(status, Vec::new())
    }

    /// The same, about a session whose client should be heard of again then.
    pub(super) fn paced(self, pacing: Pacing) -> Content {
        Content { pacing: Some(pacing), ..self }
    }

    /// As it is kept under an idempotency key.
    pub(super) fn kept(self) -> FirstAnswer {
        let Content { status, pacing, body } = self;
        FirstAnswer { status: status.as_u16(), pacing, body }
    }
}

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    sequence: Option<Sequence>,
    pacing: Option<Pacing>,
    policy: Option<HeaderValue>,
    body: Payload,
}

impl Answer {
    /// JSON that rests on the journal.
    pub(super) fn json<T>(status: StatusCode, receipt: &Receipt<T>, body: Vec<u8>) -> Answer {
        Answer::resting_on(receipt.sequence, Content::json(status, body))
    }

    /// What a handler says, resting on this record.
    pub(super) fn resting_on(sequence: Sequence, content: Content) -> Answer {
        let Content { status, pacing, body } = content;
        let (sequence, body) = (Some(sequence), Payload::Whole(body.into()));
        Answer { status, content_type: JSON, sequence, pacing, policy: None, body }
    }

    /// The answer that was kept under an idempotency key, as it was sent the first time.
    pub(super) fn kept(sequence: Sequence, first: &FirstAnswer, dialect: &Dialect) -> Answer {
        let status = StatusCode::from_u16(first.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR); // It was one.
        Answer {
            status,
            content_type: if first.status < 400 || dialect.failures { JSON } else { PROBLEM_JSON },
            sequence: Some(sequence),
            pacing: first.pacing,
            policy: None,
            body: Payload::Whole(first.body.clone().into()),
        }
    }

    /// Something that rests on nothing.
    pub(super) fn plain(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Answer {
        Answer {
            status,
            content_type: HeaderValue::from_static(content_type),
            sequence: None,
            pacing: None,
            policy: None,
            body: Payload::Whole(body.into()),
        }
    }

    /// A page for people, and what it may load.
    pub(super) fn page(body: Bytes, policy: HeaderValue) -> Answer {
        let page = Answer::plain(StatusCode::OK, "text/html; charset=utf-8", body);
        Answer { policy: Some(policy), ..page }
    }

    /// 200, and pieces as they come, of the records up to `sequence`.
    pub(super) fn stream(
        sequence: Sequence,
        content_type: &'static str,
        pieces: mpsc::Receiver<Piece>,
    ) -> Answer {
        Answer {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static(content_type),
            sequence: Some(sequence),
            pacing: None,
            policy: None,
            body: Payload::Pieces(pieces),
        }
    }

    /// The response.
    pub(super) fn into_response(self) -> Response<AnswerBody> {
        let (is_empty, body) = match self.body {
            Payload::Whole(body) => (body.is_empty(), whole(body)),
            Payload::Pieces(pieces) => (false, Either::Right(Pieces { pieces, under_way: None })),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !is_empty {
            headers.insert(CONTENT_TYPE, self.content_type);
        }
        if let Some(sequence) = self.sequence {
            headers.insert(&SEQUENCE_HEADER, HeaderValue::from(sequence.get()));
        }
        if let Some(pacing) = self.pacing {
            pace(headers, pacing);
        }
        if let Some(policy) = self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        response
    }
}

fn whole(body: impl Into<Bytes>) -> AnswerBody {
    Either::Left(Full::new(body.into()))
}

/// Tells when a session's client should be heard of again (spec 4.4).
fn pace(headers: &mut HeaderMap, pacing: Pacing) {
    let Pacing { charged_until, heartbeat_from, heartbeat_due_by } = pacing;
    for (name, at) in [
        ("x-charged-until", charged_until),
        ("x-heartbeat-from", heartbeat_from),
        ("x-heartbeat-due-by", heartbeat_due_by),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(at.as_ms()));
    }
}

/// The response to a call that has no result.
pub(super) fn of_problem(problem: &Problem, asked: Asked<'_>) -> Response<AnswerBody> {
    let mut response = Response::new(whole(problem.write(asked)));
    *response.status_mut() = problem.status(asked.dialect);
    let headers = response.headers_mut();
    let is_problem = problem.is_problem(asked.dialect);
    headers.insert(CONTENT_TYPE, if is_problem { PROBLEM_JSON } else { JSON });
    if let Some(sequence) = problem.sequence() {
        headers.insert(&SEQUENCE_HEADER, HeaderValue::from(sequence.get()));
    }
    if let Some(pacing) = problem.pacing() {
        pace(headers, pacing);
    }
    if problem.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match problem.header() {
        None => {}
        Some(Header::Allow(methods)) => {
            if let Ok(value) = HeaderValue::from_str(methods) {
                headers.insert(ALLOW, value);
            }
        }
        Some(Header::RetryAfter(seconds)) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(*seconds));
        }
        Some(Header::Authenticate(challenge)) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
    response
}
