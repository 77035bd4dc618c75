//! Public keys (spec 2.1). Private halves are neither kept nor repeated, wherever they turn up.

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::instances;
use super::problem::Problem;
use super::wire;
use crate::domain::keys::KeyClass;

/// `PUT /administration-keys`, `PUT /client-keys`
pub(super) async fn save(mut call: Call<'_>, class: KeyClass) -> Result<Answer, Problem> {
    let keys = wire::keys::read(&call.body().await?, class)?;
    let receipt = call.broker().register_keys(keys).await?;
    Ok(Answer::empty(StatusCode::OK, &receipt))
}

/// `DELETE /administration-keys/{keyId}`, `DELETE /client-keys/{keyId}`
pub(super) async fn delete(call: Call<'_>, class: KeyClass) -> Result<Answer, Problem> {
    let receipt = call.broker().delete_key(class, &call.param("keyId")).await?;
    Ok(Answer::empty(StatusCode::OK, &receipt))
}

/// `GET /public-keys?next=&size=`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    let (after, size) = (instances::cursor(&call)?, instances::page_size(&call)?);
    let receipt = call.broker().public_keys(after.get(), size).await?;
    Ok(Answer::json(StatusCode::OK, &receipt, wire::keys::write(&receipt.value)))
}
