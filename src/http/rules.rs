//! Rules of access: conditions and actions (spec 2.4, 2.5).

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::instances::cursor;
use super::problem::Problem;
use super::wire::rules;
use crate::broker::ActionsChange;
use crate::domain::ids::{ConditionId, Sequence};
use crate::domain::refusal::Refusal;
use crate::error::BrokerError;

/// `POST /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn create_actions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    change_actions(&call, ActionsChange::Create(rules::read_actions(&body)?)).await
}

/// `PUT /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn replace_actions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    change_actions(&call, ActionsChange::Replace(rules::read_actions(&body)?)).await
}

async fn change_actions(call: &Call<'_>, change: ActionsChange) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let changed = call.broker().change_actions(scope, &call.param("lineItemId"), change).await?;
    Ok(Answer::json(StatusCode::OK, &changed, rules::write_actions(&changed.value)))
}

/// `DELETE /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn delete_actions(call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let change = ActionsChange::Replace(Vec::new());
    let deleted = call.broker().change_actions(scope, &call.param("lineItemId"), change).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT, &deleted))
}

/// `GET /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn read_actions(call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let read = call.broker().line_item(scope, &call.param("lineItemId")).await?;
    Ok(Answer::json(StatusCode::OK, &read, rules::write_actions(&read.value)))
}

/// `GET /instances/{instanceId}/line-items/actions`
pub(super) async fn list_actions(call: Call<'_>) -> Result<Answer, Problem> {
    let listed = call.broker().actions(call.claims.scope(None)?, cursor(&call)?).await?;
    let (views, next) = &listed.value;
    let json = rules::write_actions_page(views, next.map_or(0, Sequence::get));
    Ok(Answer::json(StatusCode::OK, &listed, json))
}

/// `GET /instances/{instanceId}/conditions`
pub(super) async fn list_conditions(call: Call<'_>) -> Result<Answer, Problem> {
    let listed = call.broker().conditions(call.claims.scope(None)?).await?;
    Ok(Answer::json(StatusCode::OK, &listed, rules::write_conditions(&listed.value)))
}

/// `POST` and `PATCH /instances/{instanceId}/conditions`
pub(super) async fn change_conditions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let conditions = rules::read_conditions(&body)?;
    let changed = call.broker().set_conditions(call.claims.scope(None)?, conditions).await?;
    Ok(Answer::json(StatusCode::OK, &changed, rules::write_conditions(&changed.value)))
}

/// `DELETE /instances/{instanceId}/conditions`
pub(super) async fn delete_conditions(call: Call<'_>) -> Result<Answer, Problem> {
    let deleted = call.broker().delete_conditions(call.claims.scope(None)?, None).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT, &deleted))
}

/// `DELETE /instances/{instanceId}/conditions/{conditionId}`
pub(super) async fn delete_condition(call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let id = call.param("conditionId");
    let id = ConditionId::parse(&id);
    let id = id.ok_or_else(|| BrokerError::from(Refusal::UnknownCondition))?;
    let deleted = call.broker().delete_conditions(scope, Some(id)).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT, &deleted))
}
