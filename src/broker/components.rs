//! Component licensing: the broker's methods about products, licences, and sessions of components
//! (docs/specification/component-licensing.md).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::calls::Turn;
use super::{Answer, Broker};
use crate::actors::{
    Beginning, CatalogueMessage, Instance, Lane, LeaseAnswer, LeaseCommand, LicenseChange,
    ProductChange, Registered, Registration, SessionMessage,
};
use crate::auth::{Principal, Scope};
use crate::domain::components::{BeginSession, ComponentRefusal, Hold, Lease, License, Product};
use crate::domain::ids::{InstanceId, SessionId, Text};
use crate::domain::limits::WAIT_MAX_S;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::error::BrokerError;

/// A running session of a licence, or a licence that is taken out, and what it holds (components
/// 2.1b).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// `session_key`, or `checkout_key`.
    pub session_id: SessionId,
    /// What it holds, and for whom.
    pub lease: Arc<Lease>,
    /// When it began.
    pub since: Timestamp,
    /// When it lapses, unless it is extended.
    pub until: Timestamp,
}

impl HolderView {
    /// What it has checked out.
    pub fn holds(&self) -> &[Hold] {
        &self.lease.holds
    }
}

/// Somebody who waits in line for a pool (components 2.1b).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Whose.
    pub session_id: SessionId,
    /// For which component.
    pub component: Text,
    /// Of which pool.
    pub pool: Text,
    /// For so many tokens; for a seat where there are none.
    pub tokens: Option<Tokens>,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Broker {
    /// Saves or deletes a product or a component (components 2.1b).
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`], [`Refusal::UnknownComponent`], [`Refusal::InUse`],
    /// [`Refusal::TooMany`].
    pub async fn change_product(&self, change: ProductChange) -> Answer<()> {
        self.check_room().await?;
        self.ask_catalogue(|reply| CatalogueMessage::ChangeProducts(change, reply)).await
    }

    /// Every product, by guid.
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn products(&self) -> Answer<Vec<Arc<Product>>> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        let products = self.core().ledger.tenant().products.all().cloned().collect();
        self.core().ledger.after_all(reply.with(Ok(products)));
        self.wait(answer, deadline).await
    }

    /// Saves or deletes a licence of an instance, or an entitlement (components 2.1b).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`], [`Refusal::UnknownProduct`], [`Refusal::UnknownLicense`],
    /// [`Refusal::UnknownEntitlement`], [`Refusal::UnknownComponent`], [`Refusal::LicenseFixed`],
    /// [`Refusal::InUse`], [`Refusal::TooMany`].
    pub async fn change_license(&self, scope: Scope, change: LicenseChange) -> Answer<()> {
        self.check_room().await?;
        self.place(scope, change, CatalogueMessage::ChangeLicenses).await
    }

    /// Where a licence is, for whoever may administrate.
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`].
    pub fn find_license(&self, key: &str) -> Result<Scope, BrokerError> {
        let found = self.core().directory.instance_of_license(key);
        found.map(Scope::everywhere).ok_or(Refusal::UnknownLicense.into())
    }

    /// The licences of an instance, by key.
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn licenses(&self, scope: Scope) -> Answer<Vec<Arc<License>>> {
        self.read(scope, |_, instance, _, _| async move {
            Ok(instance.catalogue().licenses.all().cloned().collect())
        })
        .await
    }

    /// Who holds what of a licence, in order of their beginning (components 2.1b).
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`].
    pub async fn holders(&self, key: &str) -> Answer<Vec<HolderView>> {
        let (scope, key) = (self.find_license(key)?, key.to_owned());
        self.read(scope, move |core, instance, turn, _| async move {
            let number = instance.catalogue().licenses.find(&key).map(|license| license.number);
            let mut holders = Vec::new();
            for session_id in turn.of_license(number.ok_or(Refusal::UnknownLicense)?) {
                let session = core.session_state(&instance, session_id).await?.state;
                let Ok(lease) = session.lease() else { continue };
                let until = core.ledger.tenant().outages.broker_time(lease.until);
                let (lease, since) = (Arc::clone(lease), session.created);
                holders.push(HolderView { session_id, lease, since, until });
            }
            Ok(holders)
        })
        .await
    }

    /// Who waits in line for pools of a licence, in order (components 2.1b).
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`].
    pub async fn waiters(&self, key: &str) -> Answer<Vec<WaiterView>> {
        let (scope, key) = (self.find_license(key)?, key.to_owned());
        self.read(scope, move |core, instance, turn, _| async move {
            let catalogue = Arc::clone(&instance.catalogue());
            let license = catalogue.licenses.find(&key).ok_or(Refusal::UnknownLicense)?;
            let outages = core.ledger.tenant().outages.clone();
            let views = turn.waiting_of(license.number).flat_map(|waiter| {
                let until = outages.broker_time(waiter.until);
                waiter.wanted.iter().map(move |wanted| WaiterView {
                    session_id: waiter.session_id,
                    component: wanted.component.clone(),
                    pool: wanted.pool.name.clone(),
                    tokens: wanted.tokens,
                    since: waiter.since,
                    until,
                })
            });
            Ok(views.collect())
        })
        .await
    }

    /// Turns away everybody who waits in line, and whoever would from now on: the broker is about to
    /// stop.
    pub(crate) async fn dismiss_waiting(&self) {
        self.core().dismiss_lines().await;
    }

    /// Takes a session, or a licence that is taken out, back: what it holds is free in the same
    /// instant (components 2.1b).
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`]; [`Refusal::Component`] where it runs no more.
    pub async fn revoke_session(&self, key: &str, session: &str) -> Answer<LeaseAnswer> {
        let scope = self.find_license(key)?;
        let (id, scope) = self.find_lease(session, |instance| instance == scope.instance())?;
        let command = LeaseCommand::Revoke { license: Text::new(key).unwrap_or(Text::empty()) };
        self.tell_lease(id, scope, Lane::Priority, command).await
    }

    /// Registers an installation of a program, and its user (components 2.1a). Fresh ids are in
    /// `registration`; who is known already keeps theirs.
    ///
    /// # Errors
    /// [`Refusal::Component`], [`Refusal::TooMany`].
    pub async fn register_installation(
        &self,
        caller: &Principal,
        product: &Text,
        registration: Registration,
    ) -> Answer<Registered> {
        let tenant = self.core().ledger.tenant().products.clone();
        tenant.find(product.as_str()).ok_or(ComponentRefusal::UnknownProduct).map_err(refused)?;
        let unknown = || refused(ComponentRefusal::UnknownLicense);
        let key = registration.license.as_str();
        let found = self.core().directory.instance_of_license(key).ok_or_else(unknown)?;
        let scope = caller.scope(found).map_err(|_| unknown())?;
        let catalogue = Arc::clone(&self.instance(scope)?.catalogue());
        let license = catalogue.licenses.find(key).ok_or_else(unknown)?;
        if license.terms.product != *product {
            return Err(unknown());
        }
        self.check_room().await?;
        self.place(scope, registration, CatalogueMessage::Register).await
    }

    /// Begins a session of components (components 2.1).
    ///
    /// # Errors
    /// [`Refusal::Component`]; [`BrokerError::SessionQuota`] where too many are live.
    pub async fn begin_session(
        &self,
        caller: &Principal,
        begin: BeginSession,
    ) -> Answer<LeaseAnswer> {
        self.begin(caller, begin, None).await
    }

    /// Takes a licence out for a time; with the session whose seat is to be taken, if one is named
    /// (components 2.7).
    ///
    /// # Errors
    /// [`Refusal::Component`]; [`BrokerError::SessionQuota`] where too many are live.
    pub async fn check_out_license(
        &self,
        caller: &Principal,
        begin: BeginSession,
        session: Option<&str>,
    ) -> Answer<LeaseAnswer> {
        self.begin(caller, begin, Some(session)).await
    }

    /// A checkout: all of these components or none (components 2.4). A denial is an answer. Where
    /// a pool is short it waits in line for so many seconds, at most 60.
    ///
    /// # Errors
    /// [`Refusal::Component`].
    pub async fn check_out(
        &self,
        caller: &Principal,
        session: &str,
        components: Vec<Text>,
        wait_s: u64,
    ) -> Answer<LeaseAnswer> {
        let (id, scope) = self.find_lease_of(caller, session)?;
        self.check_room().await?;
        let wait_ms = wait_s.min(WAIT_MAX_S) * 1_000;
        let instance = self.instance(scope)?;
        let entered = self.enter_session(id, scope, Lane::Ordinary)?;
        // Whoever goes away stirs the line: who waits behind may be served.
        let _leaving = Leaving { instance, is_waiting: wait_ms > 0 };
        let answer_within = self.inner.settings.limits.answer_within;
        let longest = answer_within + Duration::from_millis(wait_ms);
        let message = |call| SessionMessage::CheckOut { components, wait_ms, call };
        self.tell_within(id, entered, longest, message).await
    }

    /// Gives components back (components 2.6).
    ///
    /// # Errors
    /// [`Refusal::Component`].
    pub async fn check_in(
        &self,
        caller: &Principal,
        session: &str,
        components: Vec<Text>,
    ) -> Answer<LeaseAnswer> {
        let (id, instance) = self.find_lease_of(caller, session)?;
        self.tell_lease(id, instance, Lane::Priority, LeaseCommand::CheckIn(components)).await
    }

    /// A later deadline for a session (components 2.2).
    ///
    /// # Errors
    /// [`Refusal::Component`].
    pub async fn extend_session(
        &self,
        caller: &Principal,
        session: &str,
        duration_s: Option<u64>,
    ) -> Answer<LeaseAnswer> {
        let (id, instance) = self.find_lease_of(caller, session)?;
        self.tell_lease(id, instance, Lane::Priority, LeaseCommand::Extend(duration_s)).await
    }

    /// Ends a session, or gives a licence back that was taken out (components 2.3, 2.7).
    ///
    /// # Errors
    /// [`Refusal::Component`].
    pub async fn end_session(
        &self,
        caller: &Principal,
        session: &str,
        is_offline: bool,
    ) -> Answer<LeaseAnswer> {
        let (id, instance) = self.find_lease_of(caller, session)?;
        let command = LeaseCommand::End { is_offline };
        self.tell_lease(id, instance, Lane::Priority, command).await
    }

    /// How a session stands (components 2.5). Does not extend it.
    ///
    /// # Errors
    /// [`Refusal::Component`].
    pub async fn components_status(
        &self,
        caller: &Principal,
        session: &str,
    ) -> Answer<LeaseAnswer> {
        let (id, scope) = self.find_lease_of(caller, session)?;
        self.read(scope, move |core, instance, _, now| async move {
            core.lease_standing(&instance, id, now).await
        })
        .await
    }

    /// A session of components that the caller may see.
    fn find_lease_of(
        &self,
        caller: &Principal,
        key: &str,
    ) -> Result<(SessionId, Scope), BrokerError> {
        self.find_lease(key, |instance| caller.scope(instance).is_ok())
    }

    fn find_lease(
        &self,
        key: &str,
        is_in_reach: impl FnOnce(InstanceId) -> bool,
    ) -> Result<(SessionId, Scope), BrokerError> {
        let unknown = || refused(ComponentRefusal::UnknownSession);
        let id = SessionId::parse(key).ok_or_else(unknown)?;
        let instance = self.core().directory.instance_of_lease(id).ok_or_else(unknown)?;
        if is_in_reach(instance.entry.id) {
            Ok((id, Scope::everywhere(instance.entry.id)))
        } else {
            Err(unknown())
        }
    }

    async fn tell_lease(
        &self,
        id: SessionId,
        scope: Scope,
        lane: Lane,
        command: LeaseCommand,
    ) -> Answer<LeaseAnswer> {
        let entered = self.enter_session(id, scope, lane)?;
        self.tell(id, entered, |call| SessionMessage::Lease(command, call)).await
    }

    async fn begin(
        &self,
        caller: &Principal,
        begin: BeginSession,
        offline: Option<Option<&str>>,
    ) -> Answer<LeaseAnswer> {
        let products = self.core().ledger.tenant().products.clone();
        if products.find(begin.product.as_str()).is_none() {
            return Err(refused(ComponentRefusal::UnknownProduct));
        }
        let unknown = || refused(ComponentRefusal::UnknownInstance);
        let found = self.core().directory.license_of(begin.installation);
        let (instance, license) = found.ok_or_else(unknown)?;
        let scope = caller.scope(instance).map_err(|_| unknown())?;
        // Only a session of the same instance: who holds this turn must not speak to others.
        let session_of = |key| match self.find_lease(key, |here| here == instance) {
            Ok((session, _)) => Ok(Some(session)),
            Err(unknown) => Err(unknown),
        };
        let offline = match offline {
            Some(Some(key)) => Some(session_of(key)?),
            Some(None) => Some(None),
            None => None,
        };
        self.check_room().await?;
        let Turn { instance, permit, turn, now, deadline } =
            self.turn(scope, Lane::Ordinary).await?;
        let (reply, answer) = self.reply(permit, deadline);
        let core = Arc::clone(self.core());
        let beginning = Beginning { instance, turn, now, license, begin, offline };
        // In a task of its own: a dead owner may have to be rebuilt in the turn.
        let beginning = self.core().spawn(async move { core.begin_lease(beginning, reply).await });
        let answer = self.wait(answer, deadline).await;
        // The journal may be quicker than the task: whoever hears of the session finds it there.
        let _ = timeout_at(deadline, beginning).await;
        answer
    }
}

/// A caller that may be waiting in line, until it goes.
struct Leaving {
    instance: Arc<Instance>,
    is_waiting: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if self.is_waiting {
            self.instance.stir();
        }
    }
}

fn refused(refusal: ComponentRefusal) -> BrokerError {
    Refusal::from(refusal).into()
}
