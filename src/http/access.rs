//! Access requests, one-off and of sessions (spec 2.7, 2.8).

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::path::Query;
use super::problem::Problem;
use super::wire;
use super::wire::access::Extras;
use crate::broker::AccessAnswer;

/// `POST /instances/{instanceId}/access-request`
pub(super) async fn one_off(mut call: Call<'_>) -> Result<Answer, Problem> {
    let extras = extras(&call.query)?;
    let body = call.body().await?;
    let asked = wire::access::read_one_off(&body, call.dialect())?;
    let scope = call.claims.scope(None)?;
    let (broker, request) = (call.broker(), Arc::new(asked.request));
    let receipt = match extras.dry_run {
        true => broker.quote(scope, request).await?,
        false => broker.access(scope, request).await?,
    };
    let json = wire::access::write(call.dialect(), &asked.echo, &receipt.value, extras);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `PUT /sessions/{sessionId}`
pub(super) async fn of_session(mut call: Call<'_>) -> Result<Answer, Problem> {
    let extras = extras(&call.query)?;
    let body = call.body().await?;
    let (asked, on_deny) = wire::access::read_of_session(&body, call.dialect())?;
    let reach = call.claims.reach()?;
    let (id, request) = (call.param("sessionId"), Arc::new(asked.request));
    let broker = call.broker();
    let receipt = match extras.dry_run {
        true => broker.quote_session(reach, &id, request, on_deny).await?,
        false => broker.session_access(reach, &id, request, on_deny).await?,
    };
    let json = wire::access::write(call.dialect(), &asked.echo, &receipt.value, extras);
    let answer = Answer::json(StatusCode::OK, &receipt, json);
    Ok(match &receipt.value {
        AccessAnswer::OneOff(..) => answer,
        AccessAnswer::Session(_, pacing, _) => answer.paced(*pacing),
    })
}

fn extras(query: &Query<'_>) -> Result<Extras, Problem> {
    let flag = |name| query.flag(name).map_err(|detail| Problem::bad_request("bad-query", detail));
    Ok(Extras { dry_run: flag("dryRun")?, balances: flag("balances")? })
}
