//! What the producer configures (spec 2.9, 8).

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::problem::Problem;
use super::wire;
use crate::domain::configuration::Setting;

/// `GET /configuration`
pub(super) async fn read(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().configuration().await?;
    let json = wire::configuration::write(call.dialect(), &receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `PATCH /configuration`
pub(super) async fn change(mut call: Call<'_>) -> Result<Answer, Problem> {
    let body = call.body().await?;
    let named = wire::configuration::read(&body)?;
    let settings = named.iter().map(|named| Setting::parse(&named.name, &named.value));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let by = call.claims.key_id();
    let dialect = call.dialect();
    call.change(
        |all| Content::json(StatusCode::OK, wire::configuration::write(dialect, all)),
        async |broker| broker.configure(settings, by).await,
    )
    .await
}
