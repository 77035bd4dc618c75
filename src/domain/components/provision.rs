//! What producers and registrations write of component licensing, and where it stands in the
//! catalogues (components 2.1a, 2.1b).

use std::sync::Arc;

use super::super::ids::{InstanceNumber, LineItemNumber, Sequence, Text};
use super::super::limits::{
    COMPONENTS_MAX, ENTITLEMENTS_MAX, INSTALLATIONS_MAX, LICENSES_MAX, PRODUCTS_MAX, USERS_MAX,
};
use super::super::refusal::Refusal;
use super::{
    Component, Entitlement, Installation, License, LicenseTerms, Pool, PoolName, Product, User,
};

/// A change of what is licensed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provision {
    /// A product was created or renamed.
    ProductSaved {
        /// Which.
        guid: Text,
        /// Its name from now on.
        name: Text,
    },
    /// A product without components was deleted.
    ProductDeleted {
        /// Which.
        guid: Text,
    },
    /// A component of a product was created or replaced.
    ComponentSaved {
        /// Of which product.
        product: Text,
        /// What it is from now on.
        component: Component,
    },
    /// A component was deleted.
    ComponentDeleted {
        /// Of which product.
        product: Text,
        /// Which.
        name: Text,
    },
    /// A licence was created, or its terms were replaced.
    LicenseSaved {
        /// Where.
        instance: InstanceNumber,
        /// Which; `None` for a new one, which takes the number of this record.
        number: Option<LineItemNumber>,
        /// Its key.
        key: Text,
        /// Its terms from now on.
        terms: LicenseTerms,
    },
    /// A licence without entitlements was deleted, and with it its registrations.
    LicenseDeleted {
        /// Where.
        instance: InstanceNumber,
        /// Which.
        number: LineItemNumber,
        /// Its key.
        key: Text,
    },
    /// An entitlement of a licence was created or replaced.
    EntitlementSaved {
        /// Where.
        instance: InstanceNumber,
        /// Of which licence.
        license: PoolName,
        /// Which; `None` for a new one, which takes the number of this record.
        number: Option<LineItemNumber>,
        /// Its name.
        id: Text,
        /// Which components draw on it.
        components: Vec<Text>,
        /// What they draw on.
        pool: Pool,
    },
    /// An entitlement was deleted.
    EntitlementDeleted {
        /// Where.
        instance: InstanceNumber,
        /// Of which licence.
        license: PoolName,
        /// Which.
        number: LineItemNumber,
        /// Its name.
        id: Text,
    },
    /// A program was registered: what of it was not known before.
    Registered {
        /// Where.
        instance: InstanceNumber,
        /// With which licence.
        license: PoolName,
        /// The installation.
        installation: Option<Installation>,
        /// The user.
        user: Option<User>,
    },
}

impl Provision {
    /// The instance whose licences it changes; none where it is about products.
    pub const fn instance(&self) -> Option<InstanceNumber> {
        match self {
            Provision::ProductSaved { .. }
            | Provision::ProductDeleted { .. }
            | Provision::ComponentSaved { .. }
            | Provision::ComponentDeleted { .. } => None,
            Provision::LicenseSaved { instance, .. }
            | Provision::LicenseDeleted { instance, .. }
            | Provision::EntitlementSaved { instance, .. }
            | Provision::EntitlementDeleted { instance, .. }
            | Provision::Registered { instance, .. } => Some(*instance),
        }
    }

    /// The pool that its record creates, if it creates one.
    pub fn new_pool(&self, record: Sequence) -> Option<LineItemNumber> {
        match self {
            Provision::LicenseSaved { number: None, .. }
            | Provision::EntitlementSaved { number: None, .. } => Some(LineItemNumber::new(record)),
            Provision::LicenseSaved { number: Some(_), .. }
            | Provision::EntitlementSaved { number: Some(_), .. }
            | Provision::ProductSaved { .. }
            | Provision::ProductDeleted { .. }
            | Provision::ComponentSaved { .. }
            | Provision::ComponentDeleted { .. }
            | Provision::LicenseDeleted { .. }
            | Provision::EntitlementDeleted { .. }
            | Provision::Registered { .. } => None,
        }
    }
}

/// The products of the producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Products(imbl::OrdMap<Text, Arc<Product>>);

impl Products {
    /// The product of this guid.
    pub fn find(&self, guid: &str) -> Option<&Arc<Product>> {
        self.0.get(guid)
    }

    /// All of them, by guid.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Product>> {
        self.0.values()
    }

    /// Checks a product that is to be created or renamed.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub fn decide_product(&self, guid: Text, name: Text) -> Result<Provision, Refusal> {
        if self.find(guid.as_str()).is_none() && self.0.len() >= PRODUCTS_MAX {
            return Err(Refusal::TooMany { what: "products", limit: PRODUCTS_MAX });
        }
        Ok(Provision::ProductSaved { guid, name })
    }

    /// Checks a component that is to be created or replaced; it gets its place.
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`], [`Refusal::TooMany`].
    pub fn decide_component(
        &self,
        product: Text,
        component: Component,
    ) -> Result<Provision, Refusal> {
        let found = self.find(product.as_str()).ok_or(Refusal::UnknownProduct)?;
        let name = component.name.as_str();
        if found.component(name).is_none() && found.components.len() >= COMPONENTS_MAX {
            let what = "components of one product";
            return Err(Refusal::TooMany { what, limit: COMPONENTS_MAX });
        }
        let place = found.place_of(name);
        Ok(Provision::ComponentSaved { product, component: Component { place, ..component } })
    }

    /// Takes over what changes here. Says whether it is about products.
    pub fn apply(&mut self, provision: &Provision) -> bool {
        match provision {
            Provision::ProductSaved { guid, name } => {
                let fresh = || Arc::new(Product::new(guid.clone(), name.clone()));
                let mut product = self.0.get(guid).map_or_else(fresh, Arc::clone);
                Arc::make_mut(&mut product).name = name.clone();
                self.0.insert(guid.clone(), product);
            }
            Provision::ProductDeleted { guid } => drop(self.0.remove(guid)),
            Provision::ComponentSaved { product, component } => {
                self.change(product, |product| product.insert(component.clone()));
            }
            Provision::ComponentDeleted { product, name } => {
                self.change(product, |product| drop(product.components.remove(name)));
            }
            Provision::LicenseSaved { .. }
            | Provision::LicenseDeleted { .. }
            | Provision::EntitlementSaved { .. }
            | Provision::EntitlementDeleted { .. }
            | Provision::Registered { .. } => return false,
        }
        true
    }

    /// Entries of snapshots come in no order: a component may come before its product.
    fn change(&mut self, guid: &Text, change: impl FnOnce(&mut Product)) {
        let fresh = || Arc::new(Product::new(guid.clone(), Text::empty()));
        let mut product = self.0.get(guid).map_or_else(fresh, Arc::clone);
        change(Arc::make_mut(&mut product));
        self.0.insert(guid.clone(), product);
    }
}

/// What a registration comes to (components 2.1a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The installation, new or known.
    pub installation: Arc<Installation>,
    /// The user, new or known.
    pub user: Arc<User>,
    /// What of it is to be recorded; nothing where both are known.
    pub news: Option<Provision>,
}

/// The licences of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Licenses(imbl::OrdMap<Text, Arc<License>>);

impl Licenses {
    /// The licence of this key.
    pub fn find(&self, key: &str) -> Option<&Arc<License>> {
        self.0.get(key)
    }

    /// All of them, by key.
    pub fn all(&self) -> impl Iterator<Item = &Arc<License>> {
        self.0.values()
    }

    /// Checks a licence that is to be created, or whose terms are to be replaced: its product
    /// stays.
    ///
    /// # Errors
    /// [`Refusal::LicenseFixed`], [`Refusal::TooMany`].
    pub fn decide_license(
        &self,
        instance: InstanceNumber,
        key: Text,
        terms: LicenseTerms,
    ) -> Result<Provision, Refusal> {
        let found = self.find(key.as_str());
        if found.is_some_and(|found| found.terms.product != terms.product) {
            return Err(Refusal::LicenseFixed);
        }
        if found.is_none() && self.0.len() >= LICENSES_MAX {
            let what = "licenses of one instance";
            return Err(Refusal::TooMany { what, limit: LICENSES_MAX });
        }
        let number = found.map(|found| found.number);
        Ok(Provision::LicenseSaved { instance, number, key, terms })
    }

    /// Checks an entitlement that is to be created or replaced.
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`], [`Refusal::TooMany`].
    pub fn decide_entitlement(
        &self,
        instance: InstanceNumber,
        license: &Text,
        (id, components, pool): (Text, Vec<Text>, Pool),
    ) -> Result<Provision, Refusal> {
        let found = self.find(license.as_str()).ok_or(Refusal::UnknownLicense)?;
        let former = found.entitlement(id.as_str());
        if former.is_none() && found.entitlements.len() >= ENTITLEMENTS_MAX {
            let what = "entitlements of one license";
            return Err(Refusal::TooMany { what, limit: ENTITLEMENTS_MAX });
        }
        let number = former.map(|former| former.number);
        let license = found.name();
        Ok(Provision::EntitlementSaved { instance, license, number, id, components, pool })
    }

    /// Who is registered: `new` if neither is known (components 2.1a).
    ///
    /// # Errors
    /// [`Refusal::UnknownLicense`], [`Refusal::TooMany`].
    pub fn decide_registration(
        &self,
        instance: InstanceNumber,
        license: &Text,
        new: (Installation, User),
    ) -> Result<Recognised, Refusal> {
        let found = self.find(license.as_str()).ok_or(Refusal::UnknownLicense)?;
        let (mut installation, user) = new;
        let known = found.recognised(&installation.identity);
        let known_user = match known {
            // Without an identity it is the user that the installation was registered for.
            Some(known) if user.identity.is_empty() => found.user(known.user),
            Some(_) | None if user.identity.is_empty() => None,
            Some(_) | None => found.user_of(&user.identity),
        };
        if let Some(known_user) = known_user {
            installation.user = known_user.id;
        }
        if known.is_none() && found.installations() >= INSTALLATIONS_MAX {
            let what = "installations of one license";
            return Err(Refusal::TooMany { what, limit: INSTALLATIONS_MAX });
        }
        if known_user.is_none() && found.users() >= USERS_MAX {
            return Err(Refusal::TooMany { what: "users of one license", limit: USERS_MAX });
        }
        let provision = Provision::Registered {
            instance,
            license: found.name(),
            installation: known.is_none().then(|| installation.clone()),
            user: known_user.is_none().then(|| user.clone()),
        };
        let is_news = known.is_none() || known_user.is_none();
        let installation = known.map_or_else(|| Arc::new(installation), Arc::clone);
        let user = known_user.map_or_else(|| Arc::new(user), Arc::clone);
        Ok(Recognised { installation, user, news: is_news.then_some(provision) })
    }

    /// Takes over what changes here. Says whether it is about licences.
    pub fn apply(&mut self, sequence: Sequence, provision: &Provision) -> bool {
        match provision {
            Provision::LicenseSaved { number, key, terms, .. } => {
                let number = LineItemNumber::mapped(*number, sequence);
                let fresh = || Arc::new(License::new(number, key.clone(), terms.clone()));
                let former = self.0.get(key).filter(|former| former.number == number);
                let mut license = former.map_or_else(fresh, Arc::clone);
                Arc::make_mut(&mut license).terms = terms.clone();
                self.0.insert(key.clone(), license);
            }
            Provision::LicenseDeleted { key, .. } => drop(self.0.remove(key)),
            Provision::EntitlementSaved { license, number, id, components, pool, .. } => {
                let number = LineItemNumber::mapped(*number, sequence);
                let (id, components, pool) = (id.clone(), components.clone(), pool.clone());
                let entitlement = Entitlement { number, id, components, pool };
                self.change(license, |license| license.insert_entitlement(entitlement));
            }
            Provision::EntitlementDeleted { license, id, .. } => {
                self.change(license, |license| drop(license.entitlements.remove(id)));
            }
            Provision::Registered { license, installation, user, .. } => {
                self.change(license, |license| {
                    if let Some(new) = installation {
                        license.insert_installation(new.clone());
                    }
                    if let Some(new) = user {
                        license.insert_user(new.clone());
                    }
                });
            }
            Provision::ProductSaved { .. }
            | Provision::ProductDeleted { .. }
            | Provision::ComponentSaved { .. }
            | Provision::ComponentDeleted { .. } => return false,
        }
        true
    }

    fn change(&mut self, of: &PoolName, change: impl FnOnce(&mut License)) {
        if let Some(license) = self.0.get(&of.name) {
            let mut license = Arc::clone(license);
            change(Arc::make_mut(&mut license));
            self.0.insert(of.name.clone(), license);
        }
    }
}
