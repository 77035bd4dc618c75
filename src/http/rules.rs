//! Rules of access: conditions and actions (spec 2.4, 2.5).

use hyper::StatusCode;

use super::answer::{Answer, Content};
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
    change_actions(call, ActionsChange::Create(rules::read_actions(&body)?)).await
}

/// `PUT /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn replace_actions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    change_actions(call, ActionsChange::Replace(rules::read_actions(&body)?)).await
}

async fn change_actions(mut call: Call<'_>, change: ActionsChange) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let id = call.param("lineItemId").into_owned();
    call.change(
        |view| Content::json(StatusCode::OK, rules::write_actions(view)),
        async |broker| broker.change_actions(scope, &id, change).await,
    )
    .await
}

/// `DELETE /instances/{instanceId}/line-items/{lineItemId}/actions`
pub(super) async fn delete_actions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let id = call.param("lineItemId").into_owned();
    let change = ActionsChange::Replace(Vec::new());
    call.delete(async |broker| broker.change_actions(scope, &id, change).await).await
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
    let scope = call.claims.scope(None)?;
    call.change(
        |all: &Vec<_>| Content::json(StatusCode::OK, rules::write_conditions(all)),
        async |broker| broker.set_conditions(scope, conditions).await,
    )
    .await
}

/// `DELETE /instances/{instanceId}/conditions`
pub(super) async fn delete_conditions(mut call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    call.delete(async |broker| broker.delete_conditions(scope, None).await).await
}

/// `DELETE /instances/{instanceId}/conditions/{conditionId}`
pub(super) async fn delete_condition(mut call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let id = ConditionId::parse(&call.param("conditionId"));
    let id = id.ok_or_else(|| BrokerError::from(Refusal::UnknownCondition))?;
    call.delete(async |broker| broker.delete_conditions(scope, Some(id)).await).await
}
