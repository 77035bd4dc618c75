//! farebox over HTTP; and the no-op server, which is asked the same and remembers nothing.

mod client;
mod prepare;
mod read;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use memchr::memmem::{self, Finder};
use tokio::time::Instant;

use self::client::Client;
use super::Outcome;
use super::paid::Paid;
use crate::measure::Charged;
use crate::workload::Operation;

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where a server is, and who asks.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// A token of administration; the no-op server needs none, and no world either.
    pub token: Option<String>,
}

/// A world that a server holds, and every request that does not depend on an answer.
pub struct Prepared {
    http: Http,
    headers: HeaderMap,
    /// What keys begin with, if every request has one.
    keys: Option<String>,
    instances: Vec<Instance>,
    one_off: Bytes,
    put: Bytes,
    create: Uri,
    begin: Uri,
    check_out: Uri,
    check_in: Uri,
    end: Uri,
    /// Charges that a set may consist of.
    parts: usize,
    total: Finder<'static>,
    in_use: Finder<'static>,
}

struct Instance {
    id: String,
    access: Uri,
    create: Bytes,
    /// How a session of components begins, if the profile has any.
    begin: Bytes,
}

/// A session of a connection.
struct Session {
    uri: Uri,
    heartbeat: Uri,
    paid: Paid,
    /// When its set was put by the server's time, and by ours between when and when.
    put_ms: u64,
    put: (Instant, Instant),
}

/// A session of components.
struct Lease {
    end: Bytes,
    check_out: Bytes,
    check_in: Bytes,
    /// What it holds and has spent, in millionths.
    in_use: i128,
}

/// One caller.
pub struct Connection {
    prepared: Arc<Prepared>,
    client: Client,
    sessions: Vec<Option<Session>>,
    lease: Option<Lease>,
    number: u64,
    keyed: u64,
}

impl Prepared {
    /// A caller with so many slots for sessions; the number tells it from the others.
    pub fn connect(self: &Arc<Prepared>, number: u64, sessions: usize) -> Connection {
        Connection {
            prepared: Arc::clone(self),
            client: Client::new(self.http.address),
            sessions: std::iter::repeat_with(|| None).take(sessions).collect(),
            lease: None,
            number,
            keyed: 0,
        }
    }

    fn request(&self, method: Method, uri: &Uri, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Connection {
    /// See [`super::Connection::ask`].
    pub async fn ask(&mut self, operation: Operation) -> Outcome {
        let Some(mut request) = self.request(operation) else { return Outcome::Failed };
        if let Some(keys) = &self.prepared.keys {
            self.keyed += 1;
            let key = format!("{keys}-{}-{}", self.number, self.keyed);
            if let Ok(key) = HeaderValue::from_str(&key) {
                request.headers_mut().insert(IDEMPOTENCY_KEY.clone(), key);
            }
        }
        if self.client.reach().await.is_err() {
            return Outcome::Unreached;
        }
        let sent = Instant::now();
        match self.client.call(request).await {
            Ok((head, body)) if head.status.is_success() => {
                self.granted(operation, &head, &body, sent).unwrap_or(Outcome::Failed)
            }
            Ok((head, body)) => failed(head.status, &body),
            Err(_) => Outcome::Unknown,
        }
    }

    fn request(&self, operation: Operation) -> Option<Request<Full<Bytes>>> {
        let (prepared, nothing) = (&self.prepared, Bytes::new());
        let instance = |at: usize| prepared.instances.get(at);
        let session = |slot: usize| self.sessions.get(slot).and_then(Option::as_ref);
        let (method, uri, body) = match operation {
            Operation::OneOff { instance: at } => {
                (Method::POST, &instance(at)?.access, &prepared.one_off)
            }
            Operation::Create { instance: at, .. } => {
                (Method::POST, &prepared.create, &instance(at)?.create)
            }
            Operation::Put { slot } => (Method::PUT, &session(slot)?.uri, &prepared.put),
            Operation::Heartbeat { slot } => (Method::POST, &session(slot)?.heartbeat, &nothing),
            Operation::Close { slot } => (Method::DELETE, &session(slot)?.uri, &nothing),
            Operation::Begin { instance: at } => {
                (Method::POST, &prepared.begin, &instance(at)?.begin)
            }
            Operation::CheckOut => {
                (Method::POST, &prepared.check_out, &self.lease.as_ref()?.check_out)
            }
            Operation::CheckIn => {
                (Method::POST, &prepared.check_in, &self.lease.as_ref()?.check_in)
            }
            Operation::End => (Method::POST, &prepared.end, &self.lease.as_ref()?.end),
        };
        Some(prepared.request(method, uri, body))
    }

    /// What an answer of success says; nothing where it does not say what it should.
    fn granted(
        &mut self,
        operation: Operation,
        head: &Parts,
        body: &[u8],
        sent: Instant,
    ) -> Option<Outcome> {
        let until = || read::charged_until(&head.headers);
        let charged = match operation {
            Operation::OneOff { .. } => match self.total(body)? {
                0 => return Some(Outcome::Refused),
                total => Charged::exactly(total),
            },
            Operation::Put { slot } => match self.total(body)? {
                0 => return Some(Outcome::Refused),
                total => {
                    let parts = self.prepared.parts;
                    self.session(slot)?.put(total, parts, until(), sent)
                }
            },
            Operation::Create { slot, .. } => {
                let created = Session::new(read::text(body, "\"sessionId\":\"")?, sent)?;
                *self.sessions.get_mut(slot)? = Some(created);
                Charged::default()
            }
            Operation::Heartbeat { slot } => self.session(slot)?.paid.prolong(until()),
            Operation::Close { slot } => self.sessions.get_mut(slot)?.take()?.close(sent),
            Operation::Begin { .. } | Operation::CheckOut | Operation::CheckIn | Operation::End => {
                return self.granted_components(operation, body);
            }
        };
        Some(Outcome::Granted(charged))
    }

    /// What an answer says that its items cost; nothing where it says so of none.
    fn total(&self, body: &[u8]) -> Option<i128> {
        self.prepared.total.find(body)?;
        read::sum(body, &self.prepared.total)
    }

    fn session(&mut self, slot: usize) -> Option<&mut Session> {
        self.sessions.get_mut(slot)?.as_mut()
    }

    fn granted_components(&mut self, operation: Operation, body: &[u8]) -> Option<Outcome> {
        if memmem::find(body, b"\"status\":0,").is_none() {
            let short = memmem::find(body, b"\"code\":\"TOKENS_SHORT\"");
            return short.map(|_| Outcome::Refused);
        }
        if matches!(operation, Operation::Begin { .. }) {
            self.lease = Some(Lease::new(read::text(body, "\"session_key\":\"")?));
        }
        if matches!(operation, Operation::End) {
            self.lease = None; // Everything has come back that comes back.
            return Some(Outcome::Granted(Charged::default()));
        }
        let (in_use, lease) = (read::sum(body, &self.prepared.in_use)?, self.lease.as_mut()?);
        let before = std::mem::replace(&mut lease.in_use, in_use);
        Some(Outcome::Granted(Charged::exactly(in_use - before)))
    }
}

/// What an answer says that is none of success. A denial is told in one of success.
fn failed(status: StatusCode, body: &[u8]) -> Outcome {
    if memmem::find(body, b"\"effect\":\"unknown\"").is_some() {
        return Outcome::Unknown;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Overloaded,
        _ => Outcome::Failed,
    }
}

impl Session {
    fn new(id: &str, sent: Instant) -> Option<Session> {
        let uri = Uri::try_from(format!("/api/v1.0/sessions/{id}")).ok()?;
        let heartbeat = Uri::try_from(format!("/api/v1.0/sessions/{id}/heartbeat")).ok()?;
        Some(Session { uri, heartbeat, paid: Paid::default(), put_ms: 0, put: (sent, sent) })
    }

    fn put(&mut self, cost: i128, parts: usize, until_ms: u64, sent: Instant) -> Charged {
        self.put_ms = until_ms.saturating_sub(super::paid::CHARGE_PERIOD_MS);
        self.put = (sent, Instant::now());
        self.paid.put(cost, parts, until_ms)
    }

    /// The answer to a close does not say when it was: some time between these, by the time that
    /// has passed since the set was put.
    fn close(mut self, sent: Instant) -> Charged {
        let (put_sent, put_answered) = self.put;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let earliest = self.put_ms + ms(sent.saturating_duration_since(put_answered));
        let latest = self.put_ms + ms(put_sent.elapsed()) + 2; // Both ends are rounded down.
        self.paid.close(earliest, latest)
    }
}

impl Lease {
    fn new(key: &str) -> Lease {
        let with = |rest: &str| Bytes::from(format!("{{\"session_key\":\"{key}\"{rest}}}"));
        Lease {
            end: with(""),
            check_out: with(",\"components\":[\"Mesher\",\"Solver\"]"),
            check_in: with(",\"components\":[\"Mesher\"]"),
            in_use: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_decides_nothing_about_tokens_is_no_refusal() {
        let unknown = br#"{"effect":"unknown"}"#.as_slice();
        for (status, body, expected) in [
            (400, b"{}".as_slice(), Outcome::Failed),
            (401, b"{}", Outcome::Failed),
            (403, b"{}", Outcome::Failed),
            (404, b"{}", Outcome::Failed),
            (409, b"{}", Outcome::Failed),
            (500, b"", Outcome::Failed),
            (429, b"{}", Outcome::Overloaded),
            (503, b"{}", Outcome::Overloaded),
            (503, unknown, Outcome::Unknown),
            (500, unknown, Outcome::Unknown),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(failed(status, body), expected, "{status}");
        }
    }
}
