//! Everything that is answered instead of a result: status, code, sentence and whether anything may
//! have happened, as `application/problem+json` (spec 2.10).

use hyper::StatusCode;

use super::wire::failure::Failure;
use super::wire::{Bracket, Dialect, Fault, Json};
use crate::auth::Forbidden;
use crate::domain::components::ComponentRefusal;
use crate::domain::idempotency::FirstAnswer;
use crate::domain::ids::{CorrelationId, Sequence};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::session::{Ended, Pacing};
use crate::domain::time::Timestamp;
use crate::error::{BrokerError, Effect};

/// Where the codes are explained: `routes` has the page there too.
const TYPE_BASE: &str = "/docs/errors#";

/// Why a call has no result.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: Status,
    code: &'static str,
    detail: String,
    effect: Option<Effect>,
    documented: Documented,
    header: Option<Header>,
    /// The last record that the answer rests on, if it rests on any.
    sequence: Option<Sequence>,
    closes: bool,
    /// How the component API tells it, where it has a form for it; boxed, so that a problem stays
    /// small enough to be returned.
    failure: Option<Box<(StatusCode, Failure)>>,
}

/// What an error body says of its call, and in which form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// What the version does differently.
    pub(super) dialect: &'a Dialect,
    /// What was called.
    pub(super) path: &'a str,
    /// The name of the answer.
    pub(super) correlation: CorrelationId,
    /// The time of the answer.
    pub(super) now: Timestamp,
}

/// A status, or one that the version of the API decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Fixed(StatusCode),
    SessionEnded,
}

/// What the documents of the original API want to see in an error body (spec 2.10).
#[derive(Clone, Debug)]
enum Documented {
    Nothing,
    /// The faults of a line item, under the member that the version names.
    LineItemFaults(Vec<String>),
    /// The sentence once more, as `error`.
    Error,
}

/// A header that goes with a problem.
#[derive(Clone, Debug)]
pub(super) enum Header {
    /// The methods of the path.
    Allow(String),
    /// In how many seconds to come back.
    RetryAfter(u64),
    /// What authorization is wanted.
    Authenticate(&'static str),
}

impl Problem {
    /// A problem with nothing special about it.
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            status: Status::Fixed(status),
            code,
            detail: detail.into(),
            effect: None,
            documented: Documented::Nothing,
            header: None,
            sequence: None,
            closes: false,
            failure: None,
        }
    }

    /// 400 with this code.
    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The same, with a header.
    pub(super) fn with_header(self, header: Header) -> Problem {
        Problem { header: Some(header), ..self }
    }

    /// The same, and the connection ends: where the next request begins is not certain.
    pub(super) fn closing(self) -> Problem {
        Problem { closes: true, ..self }
    }

    /// A line item that is refused, with all its faults.
    pub(super) fn line_item_invalid(faults: Vec<String>) -> Problem {
        let problem = Problem::bad_request("line-item-invalid", faults.join("; "));
        Problem { documented: Documented::LineItemFaults(faults), ..problem }
    }

    /// The same for a call whose failures are no results: 400 instead of 200 (components 2.5).
    pub(super) fn never_ok(self) -> Problem {
        let mut problem = self;
        if let Some(failure) = &mut problem.failure
            && failure.0 == StatusCode::OK
        {
            failure.0 = StatusCode::BAD_REQUEST;
        }
        problem
    }

    /// What the component API tells instead, if this is told there.
    fn failure(&self, dialect: &Dialect) -> Option<(StatusCode, Failure)> {
        self.failure.as_deref().copied().filter(|_| dialect.failures)
    }

    /// Whether it has the form of a problem in this version of the API.
    pub(super) fn is_problem(&self, dialect: &Dialect) -> bool {
        self.failure(dialect).is_none()
    }

    /// The status in this version of the API.
    pub(super) fn status(&self, dialect: &Dialect) -> StatusCode {
        if let Some((status, _)) = self.failure(dialect) {
            return status;
        }
        match self.status {
            Status::Fixed(status) => status,
            Status::SessionEnded => dialect.session_ended,
        }
    }

    /// The header that goes with it.
    pub(super) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The last record that it rests on, if it rests on any.
    pub(super) fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// When a session's client should be heard of again: never, where the session has ended.
    pub(super) fn pacing(&self) -> Option<Pacing> {
        (self.status == Status::SessionEnded).then(Pacing::default)
    }

    /// Whether the connection ends with it.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// Whether a person should look into it.
    pub(super) fn is_fault(&self) -> bool {
        self.status == Status::Fixed(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable name.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// As it is kept under an idempotency key.
    pub(super) fn kept(&self, asked: Asked<'_>) -> FirstAnswer {
        let (status, pacing) = (self.status(asked.dialect).as_u16(), self.pacing());
        FirstAnswer { status, pacing, body: self.write(asked) }
    }

    /// Writes the body.
    pub(super) fn write(&self, asked: Asked<'_>) -> Vec<u8> {
        let Asked { dialect, path, correlation, now } = asked;
        if let Some((_, failure)) = self.failure(dialect) {
            return failure.write(now, &self.detail, self.effect);
        }
        let status = self.status(dialect);
        let mut json = Json::with_capacity(384 + 2 * self.detail.len() + path.len());
        json.open(Bracket::Object);
        json.id("type", format_args!("{TYPE_BASE}{}", self.code));
        json.text("title", status.canonical_reason().unwrap_or("Error"));
        json.plain("status", status.as_u16());
        json.text("detail", &self.detail);
        json.text("instance", path);
        json.text("code", self.code);
        json.id("correlationId", correlation);
        let mut has_message = false;
        match &self.documented {
            Documented::Nothing => {}
            Documented::Error => json.text("error", &self.detail),
            Documented::LineItemFaults(faults) => {
                json.texts(dialect.line_item_faults, faults.iter().map(String::as_str));
                has_message = dialect.line_item_faults == "message";
            }
        }
        if !has_message {
            json.text("message", &self.detail);
        }
        if let Some(effect) = self.effect {
            json.text("effect", effect.as_str());
        }
        json.close(Bracket::Object);
        json.into_bytes()
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        let failure = Some(Box::new((StatusCode::BAD_REQUEST, Failure::INVALID)));
        Problem { failure, ..Problem::bad_request(fault.code, fault.detail) }
    }
}

impl From<Forbidden> for Problem {
    fn from(forbidden: Forbidden) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, forbidden.code(), forbidden.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (detail, failure) = (refusal.to_string(), Failure::of_any(&refusal));
        let refusal = as_administration_is_told(refusal);
        let (code, kind) = (refusal.code(), refusal.kind());
        let status = match kind {
            RefusalKind::Invalid | RefusalKind::Component => Status::Fixed(StatusCode::BAD_REQUEST),
            RefusalKind::Forbidden => Status::Fixed(StatusCode::FORBIDDEN),
            RefusalKind::NotFound => Status::Fixed(StatusCode::NOT_FOUND),
            RefusalKind::Conflict => Status::Fixed(StatusCode::CONFLICT),
            RefusalKind::SessionEnded => Status::SessionEnded,
        };
        let documented = if let Refusal::LineItemInvalid(faults) = refusal {
            Documented::LineItemFaults(faults)
        } else if code == "rate-table-exists" || code == "rate-table-in-effect" {
            Documented::Error
        } else {
            Documented::Nothing
        };
        let failed_as = match (failure == Failure::INVALID, kind) {
            (true, _) => Some(StatusCode::BAD_REQUEST),
            (false, RefusalKind::Forbidden) => None, // Of a token that does not reach so far.
            (false, _) => Some(StatusCode::OK),
        };
        let failure = failed_as.map(|status| Box::new((status, failure)));
        Problem { status, documented, failure, ..Problem::bad_request(code, detail) }
    }
}

/// The refusal of the component API in the words of the first one: whoever administrates meets
/// sessions alone.
fn as_administration_is_told(refusal: Refusal) -> Refusal {
    let Refusal::Component(component) = &refusal else { return refusal };
    match component {
        ComponentRefusal::UnknownSession => Refusal::UnknownSession,
        ComponentRefusal::SessionClosed => Refusal::SessionEnded(Ended::Closed),
        ComponentRefusal::SessionLapsed => Refusal::SessionEnded(Ended::Lapsed),
        ComponentRefusal::SessionRevoked => Refusal::SessionEnded(Ended::Revoked),
        ComponentRefusal::InvalidRequest(_)
        | ComponentRefusal::UnknownProduct
        | ComponentRefusal::UnknownLicense
        | ComponentRefusal::UnknownInstance
        | ComponentRefusal::InstanceMismatch
        | ComponentRefusal::UnknownUser
        | ComponentRefusal::TermClosed
        | ComponentRefusal::LicenseFull { .. }
        | ComponentRefusal::LicenseNotConcurrent
        | ComponentRefusal::Denied(_)
        | ComponentRefusal::NotCheckedOut(_) => refusal,
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Problem {
        let (code, effect, detail) = (error.code(), error.effect(), error.to_string());
        let ours = |status, header| {
            let failure = Some(Box::new((status, Failure::INTERNAL)));
            Problem { effect: Some(effect), header, failure, ..Problem::new(status, code, &detail) }
        };
        let theirs = |status| {
            let failure = Some(Box::new((status, Failure::INVALID)));
            Problem { failure, ..Problem::new(status, code, &detail) }
        };
        match error {
            BrokerError::Refused(refusal, sequence) => {
                Problem { sequence, ..Problem::from(refusal) }
            }
            BrokerError::Overloaded { .. } | BrokerError::Busy => {
                ours(StatusCode::SERVICE_UNAVAILABLE, Some(Header::RetryAfter(1)))
            }
            BrokerError::SessionBusy { .. }
            | BrokerError::LineFull { .. }
            | BrokerError::JournalBusy { .. } => {
                ours(StatusCode::TOO_MANY_REQUESTS, Some(Header::RetryAfter(1)))
            }
            BrokerError::KeyQuota { retry_after, .. } => {
                ours(StatusCode::TOO_MANY_REQUESTS, Some(Header::RetryAfter(retry_after)))
            }
            // A session that nobody uses ends by itself, but not within seconds.
            BrokerError::SessionQuota { .. } => {
                ours(StatusCode::TOO_MANY_REQUESTS, Some(Header::RetryAfter(60)))
            }
            BrokerError::KeyInProgress => {
                let waiting = ours(StatusCode::CONFLICT, Some(Header::RetryAfter(1)));
                Problem { effect: None, ..waiting } // The first request may have any.
            }
            BrokerError::KeyReused => theirs(StatusCode::UNPROCESSABLE_ENTITY),
            BrokerError::RecordTooLong { .. } => theirs(StatusCode::BAD_REQUEST),
            BrokerError::StorageFull => ours(StatusCode::INSUFFICIENT_STORAGE, None),
            BrokerError::Fault => ours(StatusCode::INTERNAL_SERVER_ERROR, None),
            BrokerError::Stopping
            | BrokerError::NoAnswer { .. }
            | BrokerError::FirstAnswerUnread
            | BrokerError::JournalDown(_) => ours(StatusCode::SERVICE_UNAVAILABLE, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::wire::Version;
    use super::*;
    use crate::domain::ids::Text;
    use crate::domain::session::Ended;

    fn written(problem: &Problem, version: Version) -> String {
        let correlation = CorrelationId::from_u128(1);
        let (dialect, now) = (version.dialect(), Timestamp::from_ms(0));
        let body = problem.write(Asked { dialect, path: "/api/v1.0/x", correlation, now });
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn errors_have_the_status_that_the_specification_gives_them() {
        let waited = Duration::from_secs(5);
        let cases = [
            (Refusal::Forbidden.into(), 403, 403),
            (Refusal::UnknownSession.into(), 404, 404),
            (Refusal::RemovalPending.into(), 409, 409),
            (Refusal::SessionEnded(Ended::Terminated).into(), 403, 409),
            (Refusal::SessionEnded(Ended::Failed).into(), 403, 409),
            (BrokerError::Overloaded { limit: 1 }, 503, 503),
            (BrokerError::RecordTooLong { bytes: 2, limit: 1 }, 400, 400),
            (BrokerError::Busy, 503, 503),
            (BrokerError::SessionBusy { limit: 4 }, 429, 429),
            (BrokerError::SessionQuota { limit: 1, whose: "the broker" }, 429, 429),
            (BrokerError::JournalBusy { limit: 1 }, 429, 429),
            (BrokerError::StorageFull, 507, 507),
            (BrokerError::Stopping, 503, 503),
            (BrokerError::Fault, 500, 500),
            (BrokerError::NoAnswer { waited }, 503, 503),
            (BrokerError::FirstAnswerUnread, 503, 503),
        ];
        for (error, v1_0, v1_1) in cases {
            let shown = format!("{error}");
            let ours = v1_0 >= 500 || v1_0 == 429;
            let problem = Problem::from(error);
            let status = |version: Version| problem.status(version.dialect()).as_u16();
            assert_eq!((status(Version::V1_0), status(Version::V1_1)), (v1_0, v1_1), "{shown}");
            let body = written(&problem, Version::V1_0);
            assert_eq!(body.contains("\"effect\":"), ours, "{body}");
        }
    }

    #[test]
    fn bodies_have_the_documented_members() {
        let faults = vec!["$.end: must not be before $.start".to_owned()];
        let invalid = Problem::from(Refusal::LineItemInvalid(faults));
        let list = r#":["$.end: must not be before $.start"]"#;
        let (v1_0, v1_1) = (written(&invalid, Version::V1_0), written(&invalid, Version::V1_1));
        assert!(v1_0.contains(&format!("\"errors\"{list}")), "{v1_0}");
        assert!(v1_0.contains(r#""message":"$.end: must not be before $.start""#), "{v1_0}");
        assert!(v1_1.contains(&format!("\"message\"{list}")), "{v1_1}");
        assert_eq!(v1_1.matches("\"message\"").count(), 1, "{v1_1}");

        let text = |text| Text::new(text).unwrap();
        let (series, version) = (text("S"), text("1"));
        let exists = Problem::from(Refusal::RateTableExists { series, version });
        assert_eq!(
            written(&exists, Version::V1_0),
            concat!(
                r#"{"type":"/docs/errors#rate-table-exists","title":"Conflict","status":409,"#,
                r#""detail":"series `S` already has version `1`: publish the next one","#,
                r#""instance":"/api/v1.0/x","code":"rate-table-exists","#,
                r#""correlationId":"00000000-0000-0000-0000-000000000001","#,
                r#""error":"series `S` already has version `1`: publish the next one","#,
                r#""message":"series `S` already has version `1`: publish the next one"}"#,
            )
        );
    }
}
