//! Public keys (spec 2.1). Private halves are neither kept nor repeated, wherever they turn up.

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::instances;
use super::problem::Problem;
use super::wire;
use crate::domain::keys::KeyClass;

/// `PUT /administration-keys`, `PUT /client-keys`
pub(super) async fn save(mut call: Call<'_>, class: KeyClass) -> Result<Answer, Problem> {
    let keys = wire::keys::read(&call.body().await?, class)?;
    let done = |_: &_| Content::empty(StatusCode::OK);
    call.change(done, async |broker| broker.register_keys(keys).await).await
}

/// `DELETE /administration-keys/{keyId}`, `DELETE /client-keys/{keyId}`
pub(super) async fn delete(mut call: Call<'_>, class: KeyClass) -> Result<Answer, Problem> {
    let id = call.param("keyId").into_owned();
    let done = |_: &_| Content::empty(StatusCode::OK);
    call.change(done, async |broker| broker.delete_key(class, &id).await).await
}

/// `GET /public-keys?next=&size=`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    let (after, size) = (instances::cursor(&call)?, instances::page_size(&call)?);
    let receipt = call.broker().public_keys(after.get(), size).await?;
    Ok(Answer::json(StatusCode::OK, &receipt, wire::keys::write(&receipt.value)))
}
