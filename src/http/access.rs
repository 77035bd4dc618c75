//! Access requests, one-off and of sessions (spec 2.7, 2.8).

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::path::Query;
use super::problem::Problem;
use super::wire::access::{Asked, Echo, Extras};
use super::wire::{self, Dialect};
use crate::broker::{AccessAnswer, Broker};

/// `POST /instances/{instanceId}/access-request`
pub(super) async fn one_off(mut call: Call<'_>) -> Result<Answer, Problem> {
    let (extras, dialect) = (extras(&call.query)?, call.dialect());
    let body = call.body().await?;
    let Asked { request, echo } = wire::access::read_one_off(&body, dialect)?;
    let (scope, request) = (call.claims.scope(None)?, Arc::new(request));
    if let Some(under) = call.under.take() {
        let sent = body.clone();
        let again = move |answer: &AccessAnswer| {
            let asked = wire::access::read_one_off(&sent, dialect).expect("it was read before");
            content(dialect, &asked.echo, answer, extras)
        };
        let ask = async |broker: &Broker| broker.access(scope, request).await;
        return under.ask(call.broker(), again, ask).await;
    }
    let receipt = match extras.dry_run {
        true => call.broker().quote(scope, request).await?,
        false => call.broker().access(scope, request).await?,
    };
    let content = content(dialect, &echo, &receipt.value, extras);
    Ok(Answer::resting_on(receipt.sequence, content))
}

/// `PUT /sessions/{sessionId}`
pub(super) async fn of_session(mut call: Call<'_>) -> Result<Answer, Problem> {
    let (extras, dialect) = (extras(&call.query)?, call.dialect());
    let body = call.body().await?;
    let (asked, on_deny) = wire::access::read_of_session(&body, dialect)?;
    let Asked { request, echo } = asked;
    let (reach, request) = (call.claims.reach()?, Arc::new(request));
    let id = call.param("sessionId").into_owned();
    if let Some(under) = call.under.take() {
        let sent = body.clone();
        let again = move |answer: &AccessAnswer| {
            let asked = wire::access::read_of_session(&sent, dialect).expect("it was read before");
            content(dialect, &asked.0.echo, answer, extras)
        };
        let ask = async |broker: &Broker| broker.session_access(reach, &id, request, on_deny).await;
        return under.ask(call.broker(), again, ask).await;
    }
    let receipt = match extras.dry_run {
        true => call.broker().quote_session(reach, &id, request, on_deny).await?,
        false => call.broker().session_access(reach, &id, request, on_deny).await?,
    };
    let content = content(dialect, &echo, &receipt.value, extras);
    Ok(Answer::resting_on(receipt.sequence, content))
}

fn content(dialect: &Dialect, echo: &Echo<'_>, answer: &AccessAnswer, extras: Extras) -> Content {
    let json = wire::access::write(dialect, echo, answer, extras);
    let content = Content::json(StatusCode::OK, json);
    match answer {
        AccessAnswer::OneOff(..) => content,
        AccessAnswer::Session(_, pacing, _) => content.paced(*pacing),
    }
}

fn extras(query: &Query<'_>) -> Result<Extras, Problem> {
    let flag = |name| query.flag(name).map_err(|detail| Problem::bad_request("bad-query", detail));
    Ok(Extras { dry_run: flag("dryRun")?, balances: flag("balances")? })
}
