//! Instances (spec 2.2).

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::problem::Problem;
use super::wire;
use crate::domain::ids::{Sequence, Text};
use crate::domain::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// `POST /instances`
pub(super) async fn create(mut call: Call<'_>) -> Result<Answer, Problem> {
    let new = wire::instances::read(&call.body().await?)?;
    call.change(
        |entry: &Arc<_>| Content::json(StatusCode::OK, wire::instances::write(entry)),
        async |broker| broker.create_instance(new.short_name, new.account_id).await,
    )
    .await
}

/// `GET /instances?next=&size=` or `GET /instances?accountId=&default=true`
pub(super) async fn list(call: Call<'_>) -> Result<Answer, Problem> {
    let bad_query = |detail: String| Problem::bad_request("bad-query", detail);
    let after = cursor(&call)?;
    let size = page_size(&call)?;
    let account_id = match (call.query.get("accountId"), call.query.get("default")) {
        (None, None) => {
            let receipt = call.broker().instances(after, size).await?;
            let page = wire::instances::write_page(&receipt.value.entries, receipt.value.next);
            return Ok(Answer::json(StatusCode::OK, &receipt, page));
        }
        (Some(account_id), Some("true")) => Text::new(account_id),
        (Some(_) | None, _) => {
            let detail = "`accountId` and `default=true` go together, to find a default instance";
            return Err(bad_query(detail.to_owned()));
        }
    };
    let account_id = account_id.map_err(|error| bad_query(format!("`accountId` {error}")))?;
    let receipt = call.broker().default_instance(&account_id).await?;
    let page = wire::instances::write_page(receipt.value.as_slice(), None);
    Ok(Answer::json(StatusCode::OK, &receipt, page))
}

/// Where a page begins: after what `next` of the page before says, which is a record's number.
pub(super) fn cursor(call: &Call<'_>) -> Result<Sequence, Problem> {
    let bad_query = |detail: String| Problem::bad_request("bad-query", detail);
    let next = call.query.number("next").map_err(bad_query)?.unwrap_or(0);
    if next == u64::MAX {
        // It stands for all that do not fit; no record has it, and none could come after it.
        return Err(bad_query("`next` is no cursor: send that of the page before".to_owned()));
    }
    Ok(Sequence::new(next))
}

/// How many entries a page has at most.
pub(super) fn page_size(call: &Call<'_>) -> Result<usize, Problem> {
    let bad_query = |detail: String| Problem::bad_request("bad-query", detail);
    match call.query.number("size").map_err(bad_query)? {
        None => Ok(PAGE_SIZE_DEFAULT),
        Some(0) => Err(Problem::bad_request("bad-query", "`size` must be at least 1")),
        Some(wanted) => Ok(usize::try_from(wanted).unwrap_or(PAGE_SIZE_MAX).min(PAGE_SIZE_MAX)),
    }
}
