//! One call from its head to its answer, in the order of checks of spec 9.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version as HttpVersion};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{self, Answer, AnswerBody, Content};
use super::keyed::{self, Under};
use super::operation::Operation;
use super::path::{self, Query};
use super::problem::{Asked, Problem};
use super::routes::{self, Caller, Found};
use super::scope::{self, Claims};
use super::wire::{Dialect, Version};
use super::{
    Server, access, body, configuration, decisions, instances, keys, leases, licensing, line_items,
    ops, rate_tables, rules, sessions, test_clock, usage,
};
use crate::auth::{Role, UnderWay};
use crate::broker::{self, Broker, Key};
use crate::domain::idempotency::KeyedCall;
use crate::domain::ids::InstanceId;
use crate::domain::keys::KeyClass;
use crate::error::BrokerError;

/// Header fields of one request. hyper counts them as well, but above 100, and with a limit of its
/// own it would allocate for every request.
const HEADERS_MAX: usize = 64;

/// A call that may be made: who calls and where are settled.
pub(super) struct Call<'a> {
    server: &'a Server,
    head: &'a Parts,
    body: Incoming,
    found: Found<'a, 'a>,
    /// The parameters of its query.
    pub(super) query: Query<'a>,
    /// The instances that it names.
    pub(super) claims: Claims<'a>,
    /// The idempotency key that it comes under.
    pub(super) under: Option<Under>,
    /// Its body, once it has been read.
    read: Option<Bytes>,
    /// Its place among the calls of its key.
    place: Option<UnderWay>,
}

impl Call<'_> {
    /// What the call is for.
    pub(super) fn broker(&self) -> &Broker {
        &self.server.broker
    }

    /// The places of those who read usage rows.
    pub(super) fn usage_readers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.server.usage_readers)
    }

    /// The right to explain a decision, which one call has at a time.
    pub(super) fn explaining(&self) -> &Arc<Semaphore> {
        &self.server.explaining
    }

    /// What its version does differently.
    pub(super) fn dialect(&self) -> &'static Dialect {
        self.found.version.dialect()
    }

    /// The version that its path names.
    pub(super) fn version(&self) -> Version {
        self.found.version
    }

    /// An id in its path, decoded; empty, which names nothing, where the route has none.
    pub(super) fn param(&self, name: &str) -> Cow<'_, str> {
        self.found.param(name).map_or(Cow::Borrowed(""), path::segment)
    }

    /// Its body, which must be JSON.
    pub(super) async fn body(&mut self) -> Result<Bytes, Problem> {
        match self.read.take() {
            Some(read) => Ok(read),
            None => body::read(&self.head.headers, &mut self.body, self.server.limits.body).await,
        }
    }

    /// Asks for a change, under the call's idempotency key if it has one.
    pub(super) async fn change<T: Send + 'static>(
        &mut self,
        content: impl Fn(&T) -> Content + Send + Sync + 'static,
        ask: impl AsyncFnOnce(&Broker) -> broker::Answer<T>,
    ) -> Result<Answer, Problem> {
        self.change_or(move |answer| answer.ok().map(&content), ask).await
    }

    /// The same where some refusal is as good as done: `content` has something to say of it.
    pub(super) async fn change_or<T: Send + 'static>(
        &mut self,
        content: impl Fn(Result<&T, &BrokerError>) -> Option<Content> + Send + Sync + 'static,
        ask: impl AsyncFnOnce(&Broker) -> broker::Answer<T>,
    ) -> Result<Answer, Problem> {
        if let Some(under) = self.under.take() {
            return under.ask_or(self.broker(), content, ask).await;
        }
        let answer = ask(self.broker()).await;
        let said = content(answer.as_ref().map(|receipt| &receipt.value));
        let sequence = match &answer {
            Ok(receipt) => Some(receipt.sequence),
            Err(BrokerError::Refused(_, sequence)) => *sequence,
            Err(_) => None,
        };
        match (said, answer) {
            (Some(said), _) => Ok(Answer::resting_on(sequence.unwrap_or_default(), said)),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => Err(BrokerError::Fault.into()), // Of what is done there is much to say.
        }
    }

    /// The same of what is only to be gone.
    pub(super) async fn delete<T: Send + 'static>(
        &mut self,
        ask: impl AsyncFnOnce(&Broker) -> broker::Answer<T>,
    ) -> Result<Answer, Problem> {
        self.change(|_| Content::empty(StatusCode::NO_CONTENT), ask).await
    }

    /// A place among the calls of the caller's key. Heartbeats and closes need none.
    async fn take_place(&mut self) -> Result<Option<UnderWay>, Problem> {
        // A heartbeat may be posted without one.
        let is_bare =
            self.found.route.operation == Operation::Heartbeat && self.body.is_end_stream();
        if self.found.route.has_body() && !is_bare {
            self.read = Some(self.body().await?); // Before: a slow client keeps nobody's place.
        }
        let operation = self.found.route.operation;
        let gives_back = matches!(operation, Operation::Component(method) if method.gives_back());
        if gives_back || matches!(operation, Operation::Heartbeat | Operation::CloseSession) {
            return Ok(None);
        }
        let limit = self.server.limits.calls_per_key;
        let place = self.claims.principal().begin_call(limit);
        place.map(Some).ok_or_else(|| BrokerError::Overloaded { limit }.into())
    }

    /// It may wait long for others: its key's calls are not fewer for that.
    pub(super) fn wait(&mut self) {
        self.place = None;
    }

    /// Takes the idempotency key that the call was sent with, if it is one that knows keys; or
    /// finds the answer that it had the first time.
    async fn take_key(&mut self) -> Result<Option<Answer>, Problem> {
        let operation = self.found.route.operation;
        if operation == Operation::MoveTestClock {
            return keyed::refuse(&self.head.headers).map(|()| None);
        }
        if !operation.is_change() || self.query.get("dryRun") == Some("true") {
            return Ok(None);
        }
        let Some(sent) = keyed::sent(&self.head.headers)? else { return Ok(None) };
        let body = self.read.clone().unwrap_or_default();
        let (path, query) = (self.head.uri.path(), self.head.uri.query().unwrap_or_default());
        let (version, rest) = path::fold(path).map_or((self.found.version, path), |found| found);
        let instance = self.claims.named().unwrap_or_default();
        let parts = [operation.name(), version.name(), rest, query, instance].map(str::as_bytes);
        let fingerprint = keyed::fingerprint(&[&parts[..], &[body.as_ref()]].concat());
        let caller = self.claims.principal();
        let named = InstanceId::parse(instance);
        let key = keyed::key_of(caller, named, sent);
        // Where none is named, the first that the caller reaches: its share of the keys is bounded.
        let instance = named.or_else(|| caller.reach()?.first().copied());
        let call = KeyedCall { key, instance, fingerprint };
        match self.broker().reserve(call, caller).await? {
            Key::Answered(sequence, first) => {
                Ok(Some(Answer::kept(sequence, &first, self.dialect())))
            }
            Key::First(reservation) => {
                let (dialect, path) = (self.dialect(), path.to_owned());
                let correlation = self.broker().correlation();
                self.under = Some(Under { reservation, dialect, path, correlation });
                Ok(None)
            }
        }
    }
}

/// Answers a request, whatever it is, and counts it.
pub(super) async fn answer(server: &Server, request: Request<Incoming>) -> Response<AnswerBody> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let found = check_head(&head).and_then(|()| server.router.find(&head.method, head.uri.path()));
    let (operation, version, result) = match found {
        Ok(found) => {
            let (operation, version) = (found.route.operation, found.version);
            (Some(operation), version, run(server, &head, body, found).await)
        }
        Err(problem) => (None, Version::V1_1, Err(problem)),
    };
    let response = match result {
        Ok(answer) => answer.into_response(),
        Err(problem) => {
            let correlation = server.broker.correlation();
            if problem.is_fault() {
                tracing::error!(%correlation, code = problem.code(), "answered with a fault");
            }
            let (dialect, path, now) = (version.dialect(), head.uri.path(), server.broker.now());
            answer::of_problem(&problem, Asked { dialect, path, correlation, now })
        }
    };
    server.meters.count(operation, &response, started.elapsed());
    response
}

/// What hyper lets pass and we do not (promises B13, E5, E10, E17).
fn check_head(head: &Parts) -> Result<(), Problem> {
    let headers = &head.headers;
    if headers.len() > HEADERS_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let detail = format!("a request has at most {HEADERS_MAX} header fields");
        return Err(Problem::new(status, "too-many-headers", detail));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_other = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(is_other) || codings.next().is_some() {
        let detail = "the only transfer coding is `chunked`, once";
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED, "unsupported-coding", detail);
        return Err(problem.closing());
    }
    let mut expectations = headers.get_all(EXPECT).iter();
    if expectations.any(|wanted| !wanted.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let detail = "the only expectation is `100-continue`";
        return Err(Problem::new(StatusCode::EXPECTATION_FAILED, "bad-expectation", detail));
    }
    if head.method == Method::CONNECT {
        // Its target is a host and no path: nothing could be found for it.
        return Err(routes::method_not_allowed("GET, POST, PUT, DELETE".to_owned()));
    }
    let hosts = headers.get_all(HOST).iter().count();
    let host_missing = hosts == 0 && head.version != HttpVersion::HTTP_10;
    if head.uri.authority().is_some() || host_missing || hosts > 1 {
        let detail = "send the path alone in the request line, and one `Host`";
        return Err(Problem::bad_request("bad-host", detail));
    }
    Ok(())
}

async fn run(
    server: &Server,
    head: &Parts,
    body: Incoming,
    found: Found<'_, '_>,
) -> Result<Answer, Problem> {
    let (caller, operation) = (found.route.caller, found.route.operation);
    if caller == Caller::Anyone {
        return Ok(ops::answer(operation, server));
    }
    let principal = scope::authenticate(&server.verifier, &head.headers)?;
    if caller == Caller::Administration {
        principal.may_administer()?;
    }
    let is_client = principal.role == Role::Client;
    let header = scope::instance_header(&head.headers)?;
    if is_client && caller == Caller::ClientOfInstanceOrAdministration && header.is_none() {
        let detail = format!("a client sends `{}` with this call", scope::INSTANCE_HEADER);
        return Err(Problem::bad_request("missing-header", detail));
    }
    let query = Query::parse(head.uri.query().unwrap_or_default(), found.route.parameters)
        .map_err(|detail| Problem::bad_request("bad-query", detail))?;
    let in_path = found.param("instanceId").map(path::segment);
    let in_query = query.get("instanceId").map(str::to_owned);
    let claims = Claims::new(principal, in_path, header, in_query)?;
    let mut call =
        Call { server, head, body, found, query, claims, under: None, read: None, place: None };
    call.place = call.take_place().await?;
    match call.take_key().await? {
        Some(first) => Ok(first),
        None => dispatch(call).await,
    }
}

async fn dispatch(call: Call<'_>) -> Result<Answer, Problem> {
    match call.found.route.operation {
        Operation::OneOffAccess => access::one_off(call).await,
        Operation::SessionAccess => access::of_session(call).await,
        Operation::SaveAdministrationKeys => keys::save(call, KeyClass::Administration).await,
        Operation::DeleteAdministrationKey => keys::delete(call, KeyClass::Administration).await,
        Operation::SaveClientKeys => keys::save(call, KeyClass::Client).await,
        Operation::DeleteClientKey => keys::delete(call, KeyClass::Client).await,
        Operation::ListPublicKeys => keys::list(call).await,
        Operation::PublishRateTable => rate_tables::publish(call).await,
        Operation::ListRateTables => rate_tables::list(call).await,
        Operation::DeleteRateTable => rate_tables::delete(call).await,
        Operation::CreateInstance => instances::create(call).await,
        Operation::ListInstances => instances::list(call).await,
        Operation::MapLineItem => line_items::map(call).await,
        Operation::ListLineItems => line_items::list(call).await,
        Operation::ReadLineItem => line_items::read(call).await,
        Operation::DeleteLineItem => line_items::delete(call).await,
        Operation::CreateActions => rules::create_actions(call).await,
        Operation::ReadActions => rules::read_actions(call).await,
        Operation::ReplaceActions => rules::replace_actions(call).await,
        Operation::DeleteActions => rules::delete_actions(call).await,
        Operation::ListActions => rules::list_actions(call).await,
        Operation::ListConditions => rules::list_conditions(call).await,
        Operation::ChangeConditions => rules::change_conditions(call).await,
        Operation::DeleteConditions => rules::delete_conditions(call).await,
        Operation::DeleteCondition => rules::delete_condition(call).await,
        Operation::CreateSession => sessions::create(call).await,
        Operation::ListSessions => sessions::list(call).await,
        Operation::ReadSession => sessions::read(call).await,
        Operation::Heartbeat => sessions::heartbeat(call).await,
        Operation::CloseSession => sessions::close(call).await,
        Operation::ReadConfiguration => configuration::read(call).await,
        Operation::ChangeConfiguration => configuration::change(call).await,
        Operation::ReadUsage => usage::read(call).await,
        Operation::ExplainDecision => decisions::explain(call).await,
        Operation::Licensing(operation) => licensing::answer(call, operation).await,
        Operation::Component(method) => leases::answer(call, method).await,
        Operation::ReadTestClock => Ok(test_clock::read(call.broker())),
        Operation::MoveTestClock => match &call.server.mover {
            Some(mover) => test_clock::change(call, mover).await,
            None => Err(routes::unknown_path()),
        },
        operation @ (Operation::Liveness
        | Operation::Readiness
        | Operation::Metrics
        | Operation::ReadDescription
        | Operation::ReadPage) => Ok(ops::answer(operation, call.server)),
    }
}
