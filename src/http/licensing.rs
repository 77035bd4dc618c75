//! Administration of component licensing (components 2.1b).

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::instances::{cursor, page_size};
use super::operation::Licensing;
use super::problem::Problem;
use super::wire::Json;
use super::wire::licensing::KEY_CHARS_MAX;
use super::wire::{licensed, licensing};
use crate::broker::{LicenseChange, ProductChange, Receipt};
use crate::domain::components::{License, Product};
use crate::domain::ids::{InstanceId, Text};
use crate::domain::limits::TEXT_CHARS_MAX;
use crate::domain::refusal::Refusal;

/// Answers an operation.
pub(super) async fn answer(call: Call<'_>, operation: Licensing) -> Result<Answer, Problem> {
    match operation {
        Licensing::SaveProduct => save_product(call).await,
        Licensing::ReadProduct => read_product(call).await,
        Licensing::DeleteProduct => {
            let guid = named(&call, "productGuid", Refusal::UnknownProduct)?;
            delete_of_product(call, ProductChange::Delete { guid }).await
        }
        Licensing::ListProducts => list_products(call).await,
        Licensing::SaveComponent => save_component(call).await,
        Licensing::ReadComponent => read_component(call).await,
        Licensing::DeleteComponent => {
            let product = named(&call, "productGuid", Refusal::UnknownProduct)?;
            let name = named(&call, "name", Refusal::UnknownComponent)?;
            delete_of_product(call, ProductChange::DeleteComponent { product, name }).await
        }
        Licensing::ListComponents => list_components(call).await,
        Licensing::SaveLicense => save_license(call).await,
        Licensing::ReadLicense => read_license(call).await,
        Licensing::DeleteLicense => {
            let key = named(&call, "licenseKey", Refusal::UnknownLicense)?;
            delete_of_license(call, LicenseChange::Delete { key }).await
        }
        Licensing::ListLicenses => list_licenses(call).await,
        Licensing::SaveEntitlement => save_entitlement(call).await,
        Licensing::ReadEntitlement => read_entitlement(call).await,
        Licensing::DeleteEntitlement => {
            let license = named(&call, "licenseKey", Refusal::UnknownLicense)?;
            let id = named(&call, "entitlementId", Refusal::UnknownEntitlement)?;
            delete_of_license(call, LicenseChange::DeleteEntitlement { license, id }).await
        }
        Licensing::ListEntitlements => list_entitlements(call).await,
        Licensing::ListHolders => list_holders(call).await,
        Licensing::ListWaiters => list_waiters(call).await,
        Licensing::RevokeSession => revoke(call).await,
    }
}

/// An id in the path; what is no text names nothing.
fn named(call: &Call<'_>, parameter: &str, unknown: Refusal) -> Result<Text, Problem> {
    Text::new(&call.param(parameter)).map_err(|_| unknown.into())
}

/// An id in the path of what is to be saved.
fn new_name(call: &Call<'_>, parameter: &str, characters: usize) -> Result<Text, Problem> {
    Ok(licensing::name(&call.param(parameter), characters)?)
}

/// What was saved, as it is shown from then on.
fn saved(write: impl FnOnce(&mut Json)) -> impl Fn(&()) -> Content + Send + Sync + 'static {
    let body = licensed::one(write);
    move |()| Content::json(StatusCode::OK, body.clone())
}

/// A page of `all`, which come with their places: what comes after that of `next`.
fn page<T, R>(
    call: &Call<'_>,
    receipt: &Receipt<R>,
    name: &'static str,
    all: impl Iterator<Item = (u64, T)>,
    write: impl Fn(&mut Json, &T),
) -> Result<Answer, Problem> {
    let (after, size) = (cursor(call)?.get(), page_size(call)?);
    let mut rest = all.skip_while(|(place, _)| *place <= after);
    let (places, things): (Vec<u64>, Vec<T>) = rest.by_ref().take(size).unzip();
    let next = if rest.next().is_some() { places.last().copied() } else { None };
    let json = licensed::page(name, &things, next.unwrap_or(0), write);
    Ok(Answer::json(StatusCode::OK, receipt, json))
}

/// By their position where they have no other place.
fn in_position<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = (u64, T)> {
    (1..).zip(all)
}

async fn delete_of_product(mut call: Call<'_>, change: ProductChange) -> Result<Answer, Problem> {
    call.delete(async |broker| broker.change_product(change).await).await
}

async fn delete_of_license(mut call: Call<'_>, change: LicenseChange) -> Result<Answer, Problem> {
    let key = call.param("licenseKey").into_owned();
    call.delete(async |broker| broker.change_license(broker.find_license(&key)?, change).await)
        .await
}

/// `PUT /products/{productGuid}`
async fn save_product(mut call: Call<'_>) -> Result<Answer, Problem> {
    let guid = new_name(&call, "productGuid", TEXT_CHARS_MAX)?;
    let name = licensing::read_product(&call.body().await?)?;
    let content = saved(|json| licensed::product(json, &guid, &name));
    let change = ProductChange::Save { guid, name };
    call.change(content, async |broker| broker.change_product(change).await).await
}

/// The product that the path names.
async fn product(call: &Call<'_>) -> Result<Receipt<Arc<Product>>, Problem> {
    let receipt = call.broker().products().await?;
    let guid = call.param("productGuid");
    let found = receipt.value.into_iter().find(|product| product.guid.as_str() == guid);
    let value = found.ok_or(Refusal::UnknownProduct)?;
    Ok(Receipt { value, sequence: receipt.sequence })
}

/// `GET /products/{productGuid}`
async fn read_product(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = product(&call).await?;
    let Product { guid, name, .. } = receipt.value.as_ref();
    let json = licensed::one(|json| licensed::product(json, guid, name));
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /products?next=&size=`
async fn list_products(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().products().await?;
    page(&call, &receipt, "products", in_position(&receipt.value), |json, product| {
        licensed::product(json, &product.guid, &product.name);
    })
}

/// `PUT /products/{productGuid}/components/{name}`
async fn save_component(mut call: Call<'_>) -> Result<Answer, Problem> {
    let product = named(&call, "productGuid", Refusal::UnknownProduct)?;
    let name = new_name(&call, "name", TEXT_CHARS_MAX)?;
    let component = licensing::read_component(&call.body().await?, name)?;
    let content = saved(|json| licensed::component(json, &component));
    let change = ProductChange::SaveComponent { product, component };
    call.change(content, async |broker| broker.change_product(change).await).await
}

/// `GET /products/{productGuid}/components/{name}`
async fn read_component(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = product(&call).await?;
    let found = receipt.value.component(&call.param("name")).ok_or(Refusal::UnknownComponent)?;
    let json = licensed::one(|json| licensed::component(json, found));
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /products/{productGuid}/components?next=&size=`
async fn list_components(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = product(&call).await?;
    let all = receipt.value.in_order().into_iter();
    let all = all.map(|component| (component.place.saturating_add(1), component));
    page(&call, &receipt, "components", all, |json, component| licensed::component(json, component))
}

/// `PUT /licenses/{licenseKey}`
async fn save_license(mut call: Call<'_>) -> Result<Answer, Problem> {
    let key = new_name(&call, "licenseKey", KEY_CHARS_MAX)?;
    let body = call.body().await?;
    let (instance, terms) = licensing::read_license(&body)?;
    let scope = call.claims.scope(Some(&instance))?;
    let content = saved(|json| licensed::license(json, &key, scope.instance(), &terms));
    let change = LicenseChange::Save { key, terms };
    call.change(content, async |broker| broker.change_license(scope, change).await).await
}

/// The licence that the path names, and where it is.
async fn license(call: &Call<'_>) -> Result<(InstanceId, Receipt<Arc<License>>), Problem> {
    let key = call.param("licenseKey");
    let scope = call.broker().find_license(&key)?;
    let receipt = call.broker().licenses(scope).await?;
    let found = receipt.value.into_iter().find(|license| license.key.as_str() == key);
    let value = found.ok_or(Refusal::UnknownLicense)?;
    Ok((scope.instance(), Receipt { value, sequence: receipt.sequence }))
}

/// `GET /licenses/{licenseKey}`
async fn read_license(call: Call<'_>) -> Result<Answer, Problem> {
    let (instance, receipt) = license(&call).await?;
    let License { key, terms, .. } = receipt.value.as_ref();
    let json = licensed::one(|json| licensed::license(json, key, instance, terms));
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /licenses?instanceId=&next=&size=`
async fn list_licenses(call: Call<'_>) -> Result<Answer, Problem> {
    if call.query.get("instanceId").is_none() {
        return Err(Problem::bad_request("bad-query", "`instanceId` is required"));
    }
    let scope = call.claims.scope(None)?;
    let receipt = call.broker().licenses(scope).await?;
    let mut all: Vec<&Arc<License>> = receipt.value.iter().collect();
    all.sort_by_key(|license| license.number);
    let all = all.into_iter().map(|license| (license.number.created().get(), license));
    page(&call, &receipt, "licenses", all, |json, license| {
        licensed::license(json, &license.key, scope.instance(), &license.terms);
    })
}

/// `PUT /licenses/{licenseKey}/entitlements/{entitlementId}`
async fn save_entitlement(mut call: Call<'_>) -> Result<Answer, Problem> {
    let license = named(&call, "licenseKey", Refusal::UnknownLicense)?;
    let id = new_name(&call, "entitlementId", KEY_CHARS_MAX)?;
    let (components, pool) = licensing::read_entitlement(&call.body().await?)?;
    let content = saved(|json| licensed::entitlement(json, &id, &components, &pool));
    let key = license.clone();
    let change = LicenseChange::SaveEntitlement { license, id, components, pool };
    call.change(content, async |broker| {
        broker.change_license(broker.find_license(key.as_str())?, change).await
    })
    .await
}

/// `GET /licenses/{licenseKey}/entitlements/{entitlementId}`
async fn read_entitlement(call: Call<'_>) -> Result<Answer, Problem> {
    let (_, receipt) = license(&call).await?;
    let found = receipt.value.entitlement(&call.param("entitlementId"));
    let found = found.ok_or(Refusal::UnknownEntitlement)?;
    let json = licensed::one(|json| {
        licensed::entitlement(json, &found.id, &found.components, &found.pool);
    });
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `GET /licenses/{licenseKey}/entitlements?next=&size=`
async fn list_entitlements(call: Call<'_>) -> Result<Answer, Problem> {
    let (_, receipt) = license(&call).await?;
    let all = receipt.value.in_order().into_iter();
    let all = all.map(|entitlement| (entitlement.number.created().get(), entitlement));
    page(&call, &receipt, "entitlements", all, |json, all| {
        licensed::entitlement(json, &all.id, &all.components, &all.pool);
    })
}

/// `GET /licenses/{licenseKey}/holders?next=&size=`
async fn list_holders(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().holders(&call.param("licenseKey")).await?;
    page(&call, &receipt, "holders", in_position(&receipt.value), |json, holder| {
        licensed::holder(json, holder);
    })
}

/// `GET /licenses/{licenseKey}/waiters?next=&size=`
async fn list_waiters(call: Call<'_>) -> Result<Answer, Problem> {
    let receipt = call.broker().waiters(&call.param("licenseKey")).await?;
    page(&call, &receipt, "waiters", in_position(&receipt.value), |json, waiter| {
        licensed::waiter(json, waiter);
    })
}

/// `DELETE /licenses/{licenseKey}/sessions/{sessionKey}`
async fn revoke(mut call: Call<'_>) -> Result<Answer, Problem> {
    let key = call.param("licenseKey").into_owned();
    let session = call.param("sessionKey").into_owned();
    call.delete(async |broker| broker.revoke_session(&key, &session).await).await
}
