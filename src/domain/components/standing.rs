//! How things stand for a session: all components that its licence has, and all its entitlements
//! (components 1, 2.1).

use std::sync::Arc;

use super::super::charge::{Balances, Missing};
use super::super::time::Timestamp;
use super::super::tokens::Tokens;
use super::checkout::Licensed;
use super::lease::Lease;
use super::{Component, Entitlement, LicenseModel, Pool};
use crate::domain::ids::Text;

/// How things stand for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When: prices hold for that moment.
    pub at: Timestamp,
    /// What the licence switches on.
    pub features: Vec<Text>,
    /// The components that can be checked out, in order of creation.
    pub components: Vec<Arc<Component>>,
    /// The entitlements of the licence, in order of creation.
    pub entitlements: Vec<EntitlementStanding>,
}

/// How an entitlement stands for a session. `None` is without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementStanding {
    /// The entitlement.
    pub entitlement: Arc<Entitlement>,
    /// The size of its pool.
    pub tokens_entitled: Option<Tokens>,
    /// What is not available now: held or spent, by whomever.
    pub tokens_in_use: Tokens,
    /// What of it this session holds or has spent.
    pub tokens_in_use_by_session: Tokens,
    /// Its seats.
    pub sessions_entitled: Option<u64>,
    /// Sessions that have one.
    pub sessions_in_use: u64,
    /// Whether this session is one of them.
    pub in_use_by_session: bool,
}

impl Licensed<'_> {
    /// How things stand for a session.
    ///
    /// # Errors
    /// Where a balance cannot be seen.
    pub fn standing(&self, lease: &Lease, balances: &impl Balances) -> Result<Standing, Missing> {
        let entitlements = self.license.in_order();
        let is_listed = |component: &Component| {
            component.model == LicenseModel::None
                || component.is_on_trial(self.now)
                || entitlements.iter().any(|all| all.components.contains(&component.name))
        };
        let components = self.product.in_order().into_iter().map(Arc::clone);
        let standings = entitlements
            .iter()
            .map(|entitlement| self.entitlement_standing(entitlement, lease, balances));
        Ok(Standing {
            at: self.now,
            features: self.license.terms.features.clone(),
            components: components.filter(|component| is_listed(component)).collect(),
            entitlements: standings.collect::<Result<_, _>>()?,
        })
    }

    /// The same without components and pools.
    pub fn bare_standing(&self) -> Standing {
        Standing {
            at: self.now,
            features: self.license.terms.features.clone(),
            components: Vec::new(),
            entitlements: Vec::new(),
        }
    }

    fn entitlement_standing(
        &self,
        entitlement: &Arc<Entitlement>,
        lease: &Lease,
        balances: &impl Balances,
    ) -> Result<EntitlementStanding, Missing> {
        let (tokens_entitled, sessions_entitled) = match &entitlement.pool {
            Pool::Own { tokens, sessions } => (tokens.map(Tokens::whole), *sessions),
            Pool::LineItem { activation_id } => {
                let line_item = self.catalogue.find(activation_id.as_str());
                let quantity = line_item.map_or(0, |line_item| line_item.terms.quantity);
                (Some(Tokens::whole(quantity)), Some(0))
            }
        };
        let mut standing = EntitlementStanding {
            entitlement: Arc::clone(entitlement),
            tokens_entitled,
            tokens_in_use: Tokens::ZERO,
            tokens_in_use_by_session: Tokens::ZERO,
            sessions_entitled,
            sessions_in_use: 0,
            in_use_by_session: false,
        };
        if let Some(pool) = self.pool(entitlement) {
            let balance = balances.balance(pool.number)?;
            standing.tokens_in_use = balance.taken();
            standing.tokens_in_use_by_session = lease.tokens_in_use(pool.number);
            standing.sessions_in_use = balance.seats;
            standing.in_use_by_session = lease.has_seat(pool.number);
        }
        Ok(standing)
    }
}
