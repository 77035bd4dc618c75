//! Taking and giving back, on a scratch copy of the balances (components 3, step 4).

use std::sync::Arc;

use super::super::charge::{Balances, Missing};
use super::super::line_item::{Balance, Posting};
use super::super::postings::Postings;
use super::super::request::RequestedItem;
use super::super::tokens::Tokens;
use super::checkout::Licensed;
use super::lease::{Hold, HoldKind, Lease, PoolName, Taken};
use super::refusal::Shortage;
use super::{Component, Entitlement, LicenseModel, Pool, tokens_of};

/// What a decision takes of the pools of a licence, and gives back to them.
pub(super) struct Draw<'a, 'b, B> {
    licensed: Licensed<'a>,
    postings: Postings<'b, B>,
}

impl<'a, 'b, B: Balances> Draw<'a, 'b, B> {
    /// Nothing taken yet.
    pub(super) fn new(licensed: Licensed<'a>, balances: &'b B) -> Draw<'a, 'b, B> {
        Draw { licensed, postings: Postings::over(balances) }
    }

    /// What has come of it.
    pub(super) fn close(self) -> Vec<Posting> {
        self.postings.close()
    }

    /// The balance of a pool, as far as it has got.
    pub(super) fn balance(&self, pool: &PoolName) -> Result<Balance, Missing> {
        self.postings.balance(pool.number)
    }

    /// The balance of a pool, to be changed.
    pub(super) fn change(&mut self, pool: &PoolName) -> Result<&mut Balance, Missing> {
        self.postings.change(pool.number, &pool.name, self.licensed.quantity(pool))
    }

    /// What is left of the tokens of an entitlement, and its pool.
    fn left(&self, entitlement: &Entitlement) -> Result<Option<(PoolName, Tokens)>, Missing> {
        let Some(pool) = self.licensed.pool(entitlement) else { return Ok(None) };
        let (size, _) = self.licensed.size(entitlement);
        let left = size.saturating_sub(self.balance(&pool)?.taken());
        let is_waited_for = self.licensed.ahead.contains(&pool.number);
        Ok(Some((pool, if is_waited_for { Tokens::ZERO } else { left })))
    }

    /// The first of these entitlements that has so many tokens left; else the most that one has.
    fn find_tokens(
        &self,
        entitlements: &[&Arc<Entitlement>],
        needed: Tokens,
    ) -> Result<Result<PoolName, Tokens>, Missing> {
        let mut most = Tokens::ZERO;
        for entitlement in entitlements {
            let Some((pool, left)) = self.left(entitlement)? else { continue };
            if left >= needed {
                return Ok(Ok(pool));
            }
            most = most.max(left);
        }
        Ok(Err(most))
    }

    /// The first of these entitlements that this session has a seat in, or that has one free; and
    /// whether it is a new one.
    fn find_seat(
        &self,
        entitlements: &[&Arc<Entitlement>],
        has_seat: impl Fn(&PoolName) -> bool,
    ) -> Result<Option<(PoolName, bool)>, Missing> {
        let pools = || entitlements.iter().filter_map(|all| Some((all, self.licensed.pool(all)?)));
        if let Some((_, pool)) = pools().find(|(_, pool)| has_seat(pool)) {
            return Ok(Some((pool, false)));
        }
        for (entitlement, pool) in pools() {
            let limit = match &entitlement.pool {
                Pool::Own { sessions, .. } => *sessions,
                Pool::LineItem { .. } => Some(0),
            };
            let seats = self.balance(&pool)?.seats;
            let is_waited_for = self.licensed.ahead.contains(&pool.number);
            if !is_waited_for && limit.is_none_or(|limit| seats < limit) {
                return Ok(Some((pool, true)));
            }
        }
        Ok(None)
    }

    /// Takes one component for a session that has `taken` so far in this call.
    pub(super) fn take(
        &mut self,
        component: &Component,
        lease: &Lease,
        taken: &[(RequestedItem, Taken)],
    ) -> Result<Result<Taken, Shortage>, Missing> {
        let price = component.price_at(self.licensed.now);
        match component.model {
            LicenseModel::None => return Ok(Ok(Taken::Nothing)),
            LicenseModel::Session | LicenseModel::Token => {
                if lease.hold(component.name.as_str()).is_some() {
                    return Ok(Ok(Taken::Nothing));
                }
            }
            LicenseModel::Consumable => {}
        }
        if component.is_on_trial(self.licensed.now) {
            return Ok(Ok(match component.model {
                LicenseModel::Consumable | LicenseModel::None => Taken::Nothing,
                LicenseModel::Session | LicenseModel::Token => Taken::Held(HoldKind::Trial),
            }));
        }
        let mut entitlements = self.licensed.license.in_order();
        entitlements.retain(|entitlement| entitlement.components.contains(&component.name));
        let name = component.name.clone();
        if entitlements.is_empty() {
            return Ok(Err(Shortage::NoEntitlement(name)));
        }
        if component.model == LicenseModel::Session {
            let has_seat = |pool: &PoolName| {
                let is_here = |taken: &Taken| matches!(taken, Taken::Held(kind) if kind.is_seat_in(pool.number));
                lease.has_seat(pool.number) || taken.iter().any(|(_, taken)| is_here(taken))
            };
            let Some((pool, is_new)) = self.find_seat(&entitlements, has_seat)? else {
                return Ok(Err(Shortage::Seats { component: name }));
            };
            self.change(&pool)?.seats += u64::from(is_new);
            return Ok(Ok(Taken::Held(HoldKind::Seat { pool })));
        }
        let needed = tokens_of(price);
        let pool = match self.find_tokens(&entitlements, needed)? {
            Ok(pool) => pool,
            Err(available) => {
                let (component, required) = (name, needed);
                return Ok(Err(Shortage::Tokens { component, required, available }));
            }
        };
        let after = self.change(&pool)?;
        let add = |sum: Tokens| sum.checked_add(needed).expect("the pool has so many left");
        if component.model == LicenseModel::Consumable {
            after.used = add(after.used);
            return Ok(Ok(Taken::Spent { pool, price }));
        }
        after.held = add(after.held);
        Ok(Ok(Taken::Held(HoldKind::Tokens { pool, price })))
    }

    /// Gives holds back; `kept` are those that the session goes on with.
    pub(super) fn release(&mut self, released: &[Hold], kept: &[Hold]) -> Result<(), Missing> {
        let mut seats = Vec::new(); // One in each pool, however many components it is for.
        for hold in released {
            let Some(pool) = hold.kind.pool() else { continue };
            let after = self.change(pool)?;
            let left = after.held.checked_sub(hold.kind.tokens());
            after.held = left.expect("what is released was held before");
            let is_seat = hold.kind.is_seat_in(pool.number) && !seats.contains(&pool.number);
            if is_seat && !kept.iter().any(|kept| kept.kind.is_seat_in(pool.number)) {
                let left = after.seats.checked_sub(1);
                after.seats = left.expect("a seat that is given back was taken before");
                seats.push(pool.number);
            }
        }
        Ok(())
    }
}
