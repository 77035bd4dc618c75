//! Who calls, and what a call may touch. The one place where a principal and the instances that a
//! call names become a [`Scope`] or a [`Reach`]: handlers only get those (promises T4).

use std::borrow::Cow;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::problem::{Header, Problem};
use crate::auth::{Forbidden, Principal, Role, Scope, Unauthorized, Verifier};
use crate::broker::Reach;
use crate::domain::ids::{InstanceId, Text};
use crate::domain::refusal::Refusal;

/// Names the instance that a session call is about (spec 2.8).
pub(super) const INSTANCE_HEADER: &str = "x-instance-id";

/// Who sent these headers.
pub(super) fn authenticate(
    verifier: &Verifier,
    headers: &HeaderMap,
) -> Result<Arc<Principal>, Problem> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let first = sent.next();
    if sent.next().is_some() {
        return Err(duplicate_header("authorization"));
    }
    let missing = || {
        let detail = "send the header `Authorization: Bearer <token>`";
        unauthorized("missing-token", detail.to_owned(), "Bearer")
    };
    let (scheme, token) = first
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    verifier.verify(token.trim_start_matches(' ')).map_err(|error: Unauthorized| {
        unauthorized(error.code(), error.to_string(), "Bearer error=\"invalid_token\"")
    })
}

fn unauthorized(code: &'static str, detail: String, challenge: &'static str) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    problem.with_header(Header::Authenticate(challenge))
}

fn duplicate_header(name: &str) -> Problem {
    Problem::bad_request("duplicate-header", format!("send `{name}` once, with one value"))
}

/// The instance that the headers name.
pub(super) fn instance_header(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut sent = headers.get_all(INSTANCE_HEADER).iter();
    let Some(first) = sent.next() else { return Ok(None) };
    // What is not even text names nothing, like any other text that is no id.
    let name = first.to_str().unwrap_or_default();
    if sent.next().is_some() || name.contains(',') {
        return Err(duplicate_header(INSTANCE_HEADER));
    }
    Ok(Some(name))
}

/// The instances that a call names, none of them out of the caller's reach.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    principal: Arc<Principal>,
    path: Option<Cow<'a, str>>,
    header: Option<&'a str>,
    query: Option<String>,
}

impl<'a> Claims<'a> {
    /// Refuses a client an instance that its token does not name, whether it exists or not.
    pub(super) fn new(
        principal: Arc<Principal>,
        path: Option<Cow<'a, str>>,
        header: Option<&'a str>,
        query: Option<String>,
    ) -> Result<Claims<'a>, Problem> {
        let claims = Claims { principal, path, header, query };
        for name in claims.names() {
            claims.check(name)?;
        }
        Ok(claims)
    }

    /// Who calls.
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The same, for as long as the call goes on.
    pub(super) fn shared_principal(&self) -> Arc<Principal> {
        Arc::clone(&self.principal)
    }

    /// The instance that the call names outside its body.
    pub(super) fn named(&self) -> Option<&str> {
        self.names().next()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [self.path.as_deref(), self.header, self.query.as_deref()].into_iter().flatten()
    }

    fn check(&self, name: &str) -> Result<(), Problem> {
        match self.principal.role {
            Role::Administration => Ok(()),
            Role::Client => {
                // The words for a foreign instance, an unknown one and what is no id are the same.
                let id = InstanceId::parse(name).ok_or(Forbidden::Instance)?;
                Ok(self.principal.scope(id).map(drop)?)
            }
        }
    }

    /// The one instance that the call is about; `body` is the name in the body, if it has one.
    pub(super) fn scope(&self, body: Option<&str>) -> Result<Scope, Problem> {
        body.map_or(Ok(()), |name| self.check(name))?;
        let mut names = self.names().chain(body);
        let name = names.next().ok_or(Refusal::UnknownInstance)?;
        if names.any(|other| other != name) {
            return Err(Refusal::InstanceMismatch.into());
        }
        let id = InstanceId::parse(name).ok_or(Refusal::UnknownInstance)?;
        Ok(self.principal.scope(id)?)
    }

    /// The registered key that the caller's token was signed with.
    pub(super) fn key_id(&self) -> Text {
        Text::new(&self.principal.key_id).unwrap_or_else(|_| Text::empty()) // A key id is a text.
    }

    /// The sessions that the call may see: all only for administration without a header.
    pub(super) fn reach(&self) -> Result<Reach, Problem> {
        match (self.header, self.principal.role) {
            (None, Role::Administration) => Ok(Reach::Everywhere),
            (Some(name), _) if InstanceId::parse(name).is_none() => {
                Err(Refusal::UnknownSession.into())
            }
            (Some(_), _) | (None, Role::Client) => self.scope(None).map(Reach::Instance),
        }
    }
}
