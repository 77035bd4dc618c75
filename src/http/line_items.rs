//! Line items (spec 2.3).

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::problem::Problem;
use super::wire;
use super::wire::line_items::Refused;

/// `PUT /instances/{instanceId}/line-items`
pub(super) async fn map(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let terms = wire::line_items::read(&body, call.dialect()).map_err(|refused| match refused {
        Refused::Malformed(fault) => Problem::from(fault),
        Refused::Invalid(faults) => Problem::line_item_invalid(faults),
    })?;
    let (scope, dialect) = (call.claims.scope(None)?, call.dialect());
    call.change(
        |view| Content::json(StatusCode::OK, wire::line_items::write(dialect, view)),
        async |broker| broker.map_line_item(scope, terms).await,
    )
    .await
}

/// `GET /instances/{instanceId}/line-items`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().line_items(call.claims.scope(None)?).await?;
    let json = wire::line_items::write_list(call.dialect(), &receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /instances/{instanceId}/line-items/{lineItemId}`
pub(super) async fn read(call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let receipt = call.broker().line_item(scope, &call.param("lineItemId")).await?;
    let json = wire::line_items::write(call.dialect(), &receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `DELETE /instances/{instanceId}/line-items/{lineItemId}`
pub(super) async fn delete(mut call: Call<'_>) -> Result<Answer, Problem> {
    let scope = call.claims.scope(None)?;
    let id = call.param("lineItemId").into_owned();
    call.delete(async |broker| broker.delete_line_item(scope, &id).await).await
}
