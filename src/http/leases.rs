//! The component API (components 2): registration, sessions, checkouts.

use hyper::StatusCode;

use super::answer::{Answer, Content};
use super::call::Call;
use super::operation::Method;
use super::problem::Problem;
use super::wire::{lease_answers, leases};
use crate::broker::{LeaseAnswer, Registration};
use crate::domain::components::{ComponentRefusal, Installation, User};
use crate::domain::ids::{InstallationId, UserId};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// Answers a method.
pub(super) async fn answer(call: Call<'_>, method: Method) -> Result<Answer, Problem> {
    match method {
        Method::RegisterInstance => register(call).await,
        Method::BeginAppSession => begin(call, false).await,
        Method::BeginUserSession => begin(call, true).await,
        Method::ExtendSession => extend(call).await,
        Method::EndSession => end(call).await,
        Method::CheckOutComponents => check_out(call).await,
        Method::ComponentsStatus => status(call).await.map_err(Problem::never_ok),
        Method::CheckInComponents => check_in(call).await,
        Method::CheckOutLicense => check_out_license(call).await,
        Method::CheckInLicense => check_in_license(call).await,
    }
}

/// What a method answers by this writer.
fn written<T: 'static>(write: fn(&T) -> Vec<u8>) -> impl Fn(&T) -> Content + Send + Sync + 'static {
    move |answer| Content::json(StatusCode::OK, write(answer))
}

/// `POST /auth/register_instance`
async fn register(mut call: Call<'_>) -> Result<Answer, Problem> {
    let new = leases::read_registration(&call.body().await?)?;
    let fresh = || call.broker().correlation().as_u128();
    let user = User { id: UserId::from_u128(fresh()), identity: new.user };
    let id = InstallationId::from_u128(fresh());
    let installation = Installation { id, identity: new.identity, user: user.id };
    let registration = Registration { license: new.license, installation, user };
    let (caller, clock) = (call.claims.shared_principal(), call.broker().clone());
    let registered = move |known: &_| {
        Content::json(StatusCode::OK, lease_answers::write_registered(clock.now(), known))
    };
    call.change(registered, async |broker| {
        broker.register_installation(&caller, &new.product, registration).await
    })
    .await
}

/// `POST /auth/begin_app_session`, `POST /auth/begin_user_session`
async fn begin(mut call: Call<'_>, is_of_user: bool) -> Result<Answer, Problem> {
    let begin = leases::read_begin(&call.body().await?, call.version(), is_of_user)?;
    let caller = call.claims.shared_principal();
    let begun = written(lease_answers::write_begun);
    call.change(begun, async |broker| broker.begin_session(&caller, begin).await).await
}

/// `POST /auth/extend_session`
async fn extend(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_on_session(&call.body().await?)?;
    let caller = call.claims.shared_principal();
    call.change(written(lease_answers::write_extended), async |broker| {
        broker.extend_session(&caller, &asked.key, asked.duration_s).await
    })
    .await
}

/// `POST /auth/end_session`. Who has ended it before hears the same again.
async fn end(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_on_session(&call.body().await?)?;
    over(call, &asked.key, false, lease_answers::write_ended).await
}

/// Ends a session or gives a licence back; one that is over by the client's own doing is over
/// again.
async fn over(
    mut call: Call<'_>,
    key: &str,
    is_offline: bool,
    write: fn(Timestamp) -> Vec<u8>,
) -> Result<Answer, Problem> {
    let (caller, clock) = (call.claims.shared_principal(), call.broker().clone());
    let ended = move |answer: Result<&LeaseAnswer, &BrokerError>| {
        let at = match answer {
            Ok(answer) => answer.at,
            Err(BrokerError::Refused(Refusal::Component(ComponentRefusal::SessionClosed), _)) => {
                clock.now()
            }
            Err(_) => return None,
        };
        Some(Content::json(StatusCode::OK, write(at)))
    };
    call.change_or(ended, async |broker| broker.end_session(&caller, key, is_offline).await).await
}

/// `POST /auth/check_out_components`
async fn check_out(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_components(&call.body().await?)?;
    if asked.wait_s > 0 {
        call.wait(); // In line: there it is counted.
    }
    let caller = call.claims.shared_principal();
    call.change(written(lease_answers::write_changed), async |broker| {
        broker.check_out(&caller, &asked.key, asked.names, asked.wait_s).await
    })
    .await
}

/// `POST /auth/components_status`
async fn status(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_on_session(&call.body().await?)?;
    let caller = call.claims.shared_principal();
    let receipt = call.broker().components_status(&caller, &asked.key).await?;
    let json = lease_answers::write_status(&receipt.value);
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// `POST /auth/check_in_components`
async fn check_in(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_components(&call.body().await?)?;
    let caller = call.claims.shared_principal();
    call.change(written(lease_answers::write_changed), async |broker| {
        broker.check_in(&caller, &asked.key, asked.names).await
    })
    .await
}

/// `POST /auth/check_out_license`
async fn check_out_license(mut call: Call<'_>) -> Result<Answer, Problem> {
    let (begin, session) = leases::read_check_out_license(&call.body().await?)?;
    let caller = call.claims.shared_principal();
    call.change(written(lease_answers::write_license), async |broker| {
        broker.check_out_license(&caller, begin, session.as_deref()).await
    })
    .await
}

/// `POST /auth/check_in_license`
async fn check_in_license(mut call: Call<'_>) -> Result<Answer, Problem> {
    let asked = leases::read_check_in_license(&call.body().await?)?;
    over(call, &asked.key, true, lease_answers::write_returned).await
}
