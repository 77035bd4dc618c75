//! Rate tables (spec 2.6).

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::problem::Problem;
use super::wire;
use crate::domain::ids::Text;

/// `POST /rate-tables`
pub(super) async fn publish(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let table = wire::rate_tables::read(&body, call.dialect())?;
    call.change(
        |()| Content::json(StatusCode::CREATED, wire::rate_tables::write_saved()),
        async |broker| broker.publish_rate_table(table).await,
    )
    .await
}

/// `GET /rate-tables`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().rate_tables().await?;
    let json = wire::rate_tables::write(call.dialect(), &receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `DELETE /rate-tables?series=&version=`
pub(super) async fn delete(mut call: Call<'_>) -> Result<Answer, Problem> {
    let text = |name: &str| {
        let text = Text::new(call.query.get(name).unwrap_or_default());
        text.map_err(|error| Problem::bad_request("bad-query", format!("`{name}` {error}")))
    };
    let (series, version) = (text("series")?, text("version")?);
    if version.is_empty() {
        return Err(Problem::bad_request("bad-query", "`version` is required"));
    }
    call.delete(async |broker| broker.delete_rate_table(series, version).await).await
}
