//! Sessions (spec 2.8), except for their access requests.

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::problem::Problem;
use super::wire;
use crate::domain::ids::SessionId;
use crate::domain::session::Pacing;

/// `POST /sessions`
pub(super) async fn create(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let instance = wire::sessions::read_creation(&body)?;
    let scope = call.claims.scope(Some(&instance))?;
    let created = |id: &SessionId| {
        let json = wire::sessions::write_created(*id);
        Content::json(StatusCode::OK, json).paced(Pacing::default())
    };
    call.change(created, async |broker| broker.create_session(scope).await).await
}

/// `GET /sessions?instanceId=`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    if call.query.get("instanceId").is_none() {
        return Err(Problem::bad_request("bad-query", "`instanceId` is required"));
    }
    let receipt = call.broker().sessions(call.claims.scope(None)?).await?;
    let json = wire::sessions::write_list(&receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /sessions/{sessionId}`
pub(super) async fn read(call: Call<'_>) -> Result<Answer, Problem> {
    let reach = call.claims.reach()?;
    let receipt = call.broker().session(reach, &call.param("sessionId")).await?;
    let json = wire::sessions::write_details(&receipt.value);
    let content = Content::json(StatusCode::OK, json).paced(receipt.value.pacing);
    Ok(Answer::resting_on(receipt.sequence, content))
}

/// `GET` or `POST /sessions/{sessionId}/heartbeat`
pub(super) async fn heartbeat(call: Call<'_>) -> Result<Answer, Problem> {
    let reach = call.claims.reach()?;
    let receipt = call.broker().heartbeat(reach, &call.param("sessionId")).await?;
    let content = Content::empty(StatusCode::NO_CONTENT).paced(receipt.value);
    Ok(Answer::resting_on(receipt.sequence, content))
}

/// `DELETE /sessions/{sessionId}`
pub(super) async fn close(mut call: Call<'_>) -> Result<Answer, Problem> {
    let reach = call.claims.reach()?;
    let id = call.param("sessionId").into_owned();
    call.change(
        |pacing| Content::empty(StatusCode::OK).paced(*pacing),
        async |broker| broker.close_session(reach, &id).await,
    )
    .await
}
