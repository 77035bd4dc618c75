//! Access requests, one-off and of sessions (spec 2.7, 2.8).

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::problem::Problem;
use super::wire;
use crate::broker::AccessAnswer;

/// `POST /instances/{instanceId}/access-request`
pub(super) async fn one_off(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let asked = wire::access::read_one_off(&body, call.dialect())?;
    let scope = call.claims.scope(None)?;
    let receipt = call.broker().access(scope, Arc::new(asked.request)).await?;
    let json = wire::access::write(call.dialect(), &asked.echo, &receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `PUT /sessions/{sessionId}`
pub(super) async fn of_session(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let (asked, on_deny) = wire::access::read_of_session(&body, call.dialect())?;
    let reach = call.claims.reach()?;
    let (id, request) = (call.param("sessionId"), Arc::new(asked.request));
    let receipt = call.broker().session_access(reach, &id, request, on_deny).await?;
    let json = wire::access::write(call.dialect(), &asked.echo, &receipt.value);
    let answer = Answer::json(StatusCode::OK, &receipt, json);
    Ok(match &receipt.value {
        AccessAnswer::OneOff(_) => answer,
        AccessAnswer::Session(_, pacing) => answer.paced(*pacing),
    })
}
