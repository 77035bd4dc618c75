//! What the catalogue actor does about products, licences and registrations (components 2.1a,
//! 2.1b).

use std::sync::Arc;

use super::catalogue::{CatalogueActor, CatalogueState, Placed};
use super::reply::Reply;
use super::turn::Instance;
use crate::domain::catalogue::{LicensePlace, Registry, Tenant};
use crate::domain::components::{
    Component, Entitlement, Installation, LicenseTerms, Pool, Provision, Recognised, User,
};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{InstallationId, LineItemNumber, Text, UserId};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// What is to become of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductChange {
    /// It has this name.
    Save {
        /// Which.
        guid: Text,
        /// Its name.
        name: Text,
    },
    /// It goes, if nothing refers to it.
    Delete {
        /// Which.
        guid: Text,
    },
    /// It has this component; the place of the component is not looked at.
    SaveComponent {
        /// Which product.
        product: Text,
        /// The component.
        component: Component,
    },
    /// It has no such component any more, if nothing refers to it.
    DeleteComponent {
        /// Which product.
        product: Text,
        /// Which component.
        name: Text,
    },
}

/// What is to become of a licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LicenseChange {
    /// It has these terms.
    Save {
        /// Which.
        key: Text,
        /// Its terms.
        terms: LicenseTerms,
    },
    /// It goes, if nothing refers to it.
    Delete {
        /// Which.
        key: Text,
    },
    /// It has this entitlement.
    SaveEntitlement {
        /// Which licence.
        license: Text,
        /// The entitlement's name.
        id: Text,
        /// Which components draw on it.
        components: Vec<Text>,
        /// What they draw on.
        pool: Pool,
    },
    /// It has no such entitlement any more, if nothing of it is held.
    DeleteEntitlement {
        /// Which licence.
        license: Text,
        /// Which entitlement.
        id: Text,
    },
}

/// Who is registered, and with which licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The licence.
    pub license: Text,
    /// The installation, as it is if it is not known yet.
    pub installation: Installation,
    /// The user, likewise.
    pub user: User,
}

/// How an installation and its user are known from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// `instance_guid`.
    pub installation: InstallationId,
    /// `user_guid`.
    pub user: UserId,
}

const RUNNING: &str = "sessions of the license are running";
const HELD: &str = "something of its pool is held";

fn provisioned(at: Timestamp, provision: Provision) -> Record {
    Record { at, event: Event::Provisioned(Arc::new(provision)) }
}

impl CatalogueActor {
    pub(super) fn change_products(
        &self,
        change: ProductChange,
        reply: Reply<()>,
        owned: &mut CatalogueState,
    ) {
        // Before the journal is locked: nobody else writes what this reads.
        let tenant = Arc::clone(&self.core.ledger.tenant());
        let provision = match self.decide_products(change, owned.registry(), &tenant) {
            Ok(provision) => provision,
            Err(refusal) => return self.answer(reply, Err(refusal)),
        };
        let decide = |_: &_, _: &_, at| Ok(provisioned(at, provision));
        if self.record(owned, None, decide, reply, |_, _| ()).is_some() {
            // Whoever waits in line may be served at the new price.
            self.core.directory.instances().iter().for_each(|instance| instance.stir());
        }
    }

    fn decide_products(
        &self,
        change: ProductChange,
        registry: &Registry,
        tenant: &Tenant,
    ) -> Result<Provision, Refusal> {
        let products = &tenant.products;
        match change {
            ProductChange::Save { guid, name } => products.decide_product(guid, name),
            ProductChange::SaveComponent { product, component } => {
                products.decide_component(product, component)
            }
            ProductChange::Delete { guid } => {
                let found = products.find(guid.as_str()).ok_or(Refusal::UnknownProduct)?;
                if !found.is_empty() {
                    return Err(Refusal::InUse { by: "the product has components" });
                }
                if registry.licenses().any(|(_, place)| place.product == guid) {
                    return Err(Refusal::InUse { by: "there are licenses of the product" });
                }
                Ok(Provision::ProductDeleted { guid })
            }
            ProductChange::DeleteComponent { product, name } => {
                let found = products.find(product.as_str()).ok_or(Refusal::UnknownProduct)?;
                found.component(name.as_str()).ok_or(Refusal::UnknownComponent)?;
                let licenses = registry.licenses().filter(|(_, place)| place.product == product);
                let is_entitled = |(key, place): (&Text, &LicensePlace)| {
                    let instance = self.core.directory.instance_numbered(place.instance);
                    let catalogue = instance.map(|instance| Arc::clone(&instance.catalogue()));
                    let found = catalogue.as_ref().and_then(|all| all.licenses.find(key.as_str()));
                    found.is_some_and(|license| license.lists(&name))
                };
                if licenses.into_iter().any(is_entitled) {
                    return Err(Refusal::InUse { by: "entitlements list the component" });
                }
                Ok(Provision::ComponentDeleted { product, name })
            }
        }
    }

    pub(super) async fn change_licenses(
        &self,
        placed: Placed<LicenseChange, ()>,
        owned: &mut CatalogueState,
    ) {
        let Placed { instance, turn, now, value: change, reply } = placed;
        match self.decide_licenses(change, &instance, owned.registry()).await {
            Ok(Ok(provision)) => {
                let decide = |_: &_, _: &_, _| Ok(provisioned(now, provision));
                self.record(owned, Some(&instance), decide, reply, |_, _| ());
            }
            Ok(Err(refusal)) => self.answer(reply, Err(refusal)),
            Err(error) => reply.now(error),
        }
        drop(turn); // Only now: whoever decides next finds the new limits.
    }

    async fn decide_licenses(
        &self,
        change: LicenseChange,
        instance: &Arc<Instance>,
        registry: &Registry,
    ) -> Result<Result<Provision, Refusal>, BrokerError> {
        let (here, tenant) = (instance.entry.number, self.core.ledger.tenant().products.clone());
        let catalogue = Arc::clone(&instance.catalogue());
        let licenses = &catalogue.licenses;
        match change {
            LicenseChange::Save { key, terms } => {
                if tenant.find(terms.product.as_str()).is_none() {
                    return Ok(Err(Refusal::UnknownProduct));
                }
                let place = registry.license(key.as_str());
                if place.is_some_and(|place| place.instance != here) {
                    return Ok(Err(Refusal::LicenseFixed));
                }
                Ok(licenses.decide_license(here, key, terms))
            }
            LicenseChange::Delete { key } => {
                let Some(found) = licenses.find(key.as_str()) else {
                    return Ok(Err(Refusal::UnknownLicense));
                };
                if !found.in_order().is_empty() {
                    return Ok(Err(Refusal::InUse { by: "the license has entitlements" }));
                }
                if self.is_held(instance, found.number).await? {
                    return Ok(Err(Refusal::InUse { by: RUNNING }));
                }
                Ok(Ok(Provision::LicenseDeleted { instance: here, number: found.number, key }))
            }
            LicenseChange::SaveEntitlement { license, id, components, pool } => {
                let Some(found) = licenses.find(license.as_str()) else {
                    return Ok(Err(Refusal::UnknownLicense));
                };
                let product = tenant.find(found.terms.product.as_str());
                let exists = |name: &Text| {
                    product.is_some_and(|product| product.component(name.as_str()).is_some())
                };
                if !components.iter().all(exists) {
                    return Ok(Err(Refusal::UnknownComponent));
                }
                if let Pool::LineItem { activation_id } = &pool
                    && catalogue.find(activation_id.as_str()).is_none()
                {
                    return Ok(Err(Refusal::UnknownLineItem));
                }
                if let Some(former) = found.entitlement(id.as_str())
                    && draws_elsewhere(&former.pool, &pool)
                    && self.is_drawn_on(instance, former).await?
                {
                    return Ok(Err(Refusal::InUse { by: HELD }));
                }
                Ok(licenses.decide_entitlement(here, &license, (id, components, pool)))
            }
            LicenseChange::DeleteEntitlement { license, id } => {
                let Some(found) = licenses.find(license.as_str()) else {
                    return Ok(Err(Refusal::UnknownLicense));
                };
                let Some(former) = found.entitlement(id.as_str()) else {
                    return Ok(Err(Refusal::UnknownEntitlement));
                };
                if self.is_drawn_on(instance, former).await? {
                    return Ok(Err(Refusal::InUse { by: HELD }));
                }
                let (license, number) = (found.name(), former.number);
                Ok(Ok(Provision::EntitlementDeleted { instance: here, license, number, id }))
            }
        }
    }

    /// Whether anything of an entitlement's pool is held; of a line item, by whatever entitlement.
    async fn is_drawn_on(
        &self,
        instance: &Arc<Instance>,
        entitlement: &Entitlement,
    ) -> Result<bool, BrokerError> {
        let number = match &entitlement.pool {
            Pool::Own { .. } => entitlement.number,
            Pool::LineItem { activation_id } => {
                match instance.catalogue().find(activation_id.as_str()) {
                    Some(line_item) => line_item.number,
                    None => return Ok(false),
                }
            }
        };
        self.is_held(instance, number).await
    }

    async fn is_held(
        &self,
        instance: &Arc<Instance>,
        pool: LineItemNumber,
    ) -> Result<bool, BrokerError> {
        Ok(self.core.balance(instance, pool).await?.is_held())
    }

    pub(super) fn register(
        &self,
        placed: Placed<Registration, Registered>,
        owned: &mut CatalogueState,
    ) {
        let Placed { instance, turn, now, value, reply } = placed;
        let Registration { license, installation, user } = value;
        let catalogue = Arc::clone(&instance.catalogue());
        let decided = catalogue.licenses.decide_registration(
            instance.entry.number,
            &license,
            (installation, user),
        );
        match decided {
            Ok(Recognised { installation, user, news: provision }) => {
                let registered = Registered { installation: installation.id, user: user.id };
                match provision {
                    None => self.answer(reply, Ok(registered)),
                    Some(provision) => {
                        let decide = |_: &_, _: &_, _| Ok(provisioned(now, provision));
                        self.record(owned, Some(&instance), decide, reply, |_, _| registered);
                    }
                }
            }
            Err(refusal) => self.answer(reply, Err(refusal)),
        }
        drop(turn);
    }
}

/// Whether what is held of one pool is not held of the other.
fn draws_elsewhere(former: &Pool, next: &Pool) -> bool {
    match (former, next) {
        (Pool::Own { .. }, Pool::Own { .. }) => false,
        (Pool::LineItem { activation_id }, Pool::LineItem { activation_id: next }) => {
            activation_id != next
        }
        (Pool::Own { .. }, Pool::LineItem { .. }) | (Pool::LineItem { .. }, Pool::Own { .. }) => {
            true
        }
    }
}
