//! THE checkout algorithm (components 3), and how sessions begin and end (components 4).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::catalogue::InstanceCatalogue;
use super::super::charge::{Balances, Missing};
use super::super::ids::{
    CorrelationId, InstallationId, InstanceNumber, LineItemNumber, Requester, SessionId, Text,
    UserId,
};
use super::super::limits::{ITEMS_MAX, USED_MAX};
use super::super::line_item::{Obstacle, Posting};
use super::super::request::RequestedItem;
use super::super::rules::Dictionary;
use super::super::session::{Ended, Session, State};
use super::super::session_time::SessionTime;
use super::super::time::Timestamp;
use super::super::tokens::{Count, Tokens};
use super::super::variables::Variables;
use super::draw::Draw;
use super::identity::Identity;
use super::lease::{Lease, LeaseChange, LeaseEvent, Offline, PoolName, Taken};
use super::refusal::{ComponentRefusal, Shortage};
use super::{Entitlement, License, LicenseModel, Pool, Product, tokens_of};

/// A licence at a moment, with everything that decides what may be used of it.
#[derive(Clone, Copy, Debug)]
pub struct Licensed<'a> {
    /// The licence.
    pub license: &'a License,
    /// Its product.
    pub product: &'a Product,
    /// The line items of its instance: an entitlement may draw on one.
    pub catalogue: &'a InstanceCatalogue,
    /// The moment.
    pub now: Timestamp,
    /// Pools that others wait for, ahead of whoever asks: they have nothing for it.
    pub ahead: &'a BTreeSet<LineItemNumber>,
}

/// What a checkout wants of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For which component.
    pub component: Text,
    /// Of which pool.
    pub pool: PoolName,
    /// So many tokens; a seat where there are none.
    pub tokens: Option<Tokens>,
}

/// Who uses the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user of this id.
    Id(UserId),
    /// The user of this identity, sorted.
    Identity(Vec<(Text, Text)>),
}

/// What a session of components, or a licence that is taken out, is asked to begin with (components
/// 2.1, 2.7).
#[derive(Clone, Debug)]
pub struct BeginSession {
    /// `product_guid`.
    pub product: Text,
    /// `instance_guid`.
    pub installation: InstallationId,
    /// `instance_identity`, where it is sent.
    pub identity: Option<Identity>,
    /// `user_guid` or `user_identity`.
    pub who: Who,
    /// The version of the program.
    pub version: Text,
    /// How long it shall last, in seconds; as long as the licence says unless said.
    pub duration_s: Option<u64>,
}

/// A session that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// Its id.
    pub session_id: SessionId,
    /// Where.
    pub instance: InstanceNumber,
    /// The id of the record.
    pub correlation: CorrelationId,
    /// What is asked for.
    pub asked: &'a BeginSession,
    /// Set to take the licence out; with the session whose seat is to be taken, if one is named.
    pub offline: Option<Option<SessionId>>,
}

impl<'a> Licensed<'a> {
    /// A session that begins, or a licence that is taken out: both take a seat of the licence.
    ///
    /// # Errors
    /// Where the licence's balance cannot be seen.
    pub fn decide_begin(
        &self,
        begin: Begin<'_>,
        at: SessionTime,
        balances: &impl Balances,
    ) -> Result<Result<LeaseEvent, ComponentRefusal>, Missing> {
        let asked = begin.asked;
        let installation = self.license.installation(asked.installation);
        let is_of_it = self.license.terms.product == asked.product;
        let Some(installation) = installation.filter(|_| is_of_it) else {
            return Ok(Err(ComponentRefusal::UnknownInstance));
        };
        let is_other = |identity: &Identity| !installation.identity.recognises(identity);
        if asked.identity.as_ref().is_some_and(is_other) {
            return Ok(Err(ComponentRefusal::InstanceMismatch));
        }
        let user = match &asked.who {
            Who::Id(id) => self.license.user(*id),
            Who::Identity(identity) => self.license.user_of(identity),
        };
        let Some(user) = user else { return Ok(Err(ComponentRefusal::UnknownUser)) };
        let Some(term) = self.license.term_at(self.now) else {
            return Ok(Err(ComponentRefusal::TermClosed));
        };
        let limit = self.license.terms.concurrent_sessions;
        let license = self.license.name();
        let shares_seat = begin.offline.as_ref().is_some_and(Option::is_some);
        let mut draw = Draw::new(*self, balances);
        if !shares_seat {
            let balance = draw.balance(&license)?;
            if let Some(limit) = limit.filter(|limit| balance.seats >= *limit) {
                return Ok(Err(ComponentRefusal::LicenseFull { limit }));
            }
        }
        if begin.offline.is_some() && limit.is_none() {
            return Ok(Err(ComponentRefusal::LicenseNotConcurrent));
        }
        if !shares_seat {
            draw.change(&license)?.seats += 1;
        }
        // Never past the term: its last millisecond is the last of every session.
        let left_ms = term.end.ms_since(self.now).saturating_add(1);
        let duration_ms = asked.duration_s.map(|seconds| seconds.saturating_mul(1000));
        let longest_ms = self.license.terms.session_duration_s.saturating_mul(1000);
        let longest_ms = if begin.offline.is_some() { u64::MAX } else { longest_ms };
        let lasts_ms = duration_ms.unwrap_or(longest_ms).min(longest_ms).min(left_ms);
        let offline = begin.offline.map(|seat_of| {
            let expires = self.now.plus_ms(lasts_ms).min(term.end);
            Offline { expires, seat_of }
        });
        let lease = Lease {
            license,
            installation: asked.installation,
            user: user.id,
            version: asked.version.clone(),
            until: at.plus_ms(lasts_ms),
            offline,
            holds: Vec::new(),
            spent: Vec::new(),
        };
        Ok(Ok(LeaseEvent {
            session: None,
            session_id: begin.session_id,
            instance: begin.instance,
            correlation: begin.correlation,
            requester: requester(user.id),
            change: LeaseChange::Begun(lease),
            postings: draw.close(),
        }))
    }

    /// What these components would take of which pools: of every one that is large enough to give
    /// it one day.
    pub fn wanted(&self, names: &[Text], lease: &Lease) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let is_repeated = names.iter().take(place).any(|before| before == name);
            let component = self.product.component(name.as_str()).filter(|_| !is_repeated);
            let Some(component) = component else { continue };
            let tokens = match component.model {
                LicenseModel::None => continue,
                LicenseModel::Session => None,
                LicenseModel::Token | LicenseModel::Consumable => {
                    Some(tokens_of(component.price_at(self.now)))
                }
            };
            let is_held =
                component.model != LicenseModel::Consumable && lease.hold(name.as_str()).is_some();
            if is_held || component.is_on_trial(self.now) {
                continue;
            }
            for entitlement in self.license.in_order() {
                let lists = entitlement.components.contains(name);
                let may_give = lists && self.may_give(entitlement, tokens);
                if let Some(pool) = self.pool(entitlement).filter(|_| may_give) {
                    let component = name.clone();
                    wanted.push(Wanted { component, pool, tokens });
                }
            }
        }
        wanted
    }

    /// Whether an entitlement would give so many tokens, or a seat, if nobody had any of it.
    fn may_give(&self, entitlement: &Entitlement, tokens: Option<Tokens>) -> bool {
        match (tokens, &entitlement.pool) {
            (Some(tokens), _) => self.size(entitlement).0 >= tokens,
            (None, Pool::Own { sessions, .. }) => *sessions != Some(0),
            (None, Pool::LineItem { .. }) => false,
        }
    }

    /// The pool of an entitlement; none where its line item is gone.
    pub(super) fn pool(&self, entitlement: &Entitlement) -> Option<PoolName> {
        match &entitlement.pool {
            Pool::Own { .. } => Some(PoolName {
                number: entitlement.number,
                name: self.license.pool_name(entitlement),
            }),
            Pool::LineItem { activation_id } => {
                let found = self.catalogue.find(activation_id.as_str())?;
                Some(PoolName { number: found.number, name: activation_id.clone() })
            }
        }
    }

    /// All tokens that a pool may give at this moment, and its whole tokens as its records say.
    pub(super) fn size(&self, entitlement: &Entitlement) -> (Tokens, Option<u64>) {
        match &entitlement.pool {
            Pool::Own { tokens, .. } => (tokens.map_or(USED_MAX, Tokens::whole), *tokens),
            Pool::LineItem { activation_id } => {
                let Some(line_item) = self.catalogue.find(activation_id.as_str()) else {
                    return (Tokens::ZERO, None);
                };
                let quantity = line_item.terms.quantity;
                let size = match line_item.obstacle(self.now, false) {
                    None | Some(Obstacle::NotElastic) => Tokens::whole(quantity),
                    Some(
                        Obstacle::NotDeployed(_) | Obstacle::NotStarted(_) | Obstacle::Ended(_),
                    ) => Tokens::ZERO,
                };
                (size, Some(quantity))
            }
        }
    }

    /// The whole tokens of a pool, as its records say; none where it is gone or without limit.
    pub(super) fn quantity(&self, pool: &PoolName) -> Option<u64> {
        if pool.number == self.license.number {
            return self.license.terms.concurrent_sessions;
        }
        let own = self.license.in_order().into_iter().find(|own| own.number == pool.number);
        match own.map(|own| &own.pool) {
            Some(Pool::Own { tokens, .. }) => *tokens,
            Some(Pool::LineItem { .. }) | None => self.catalogue.quantity(pool.number, &pool.name),
        }
    }
}

/// Who asks, as usage rows say it.
fn requester(user: UserId) -> Requester {
    let text = |text: &str| Text::new(text).expect("ids are texts");
    let dictionary = Dictionary::new(Vec::new());
    Requester { kind: text("user"), value: text(&user.to_string()), dictionary }
}

impl Session {
    /// The lease that runs in it.
    ///
    /// # Errors
    /// Why there is none: it is over, or it is a session of access requests.
    pub fn lease(&self) -> Result<&Arc<Lease>, ComponentRefusal> {
        match &self.state {
            State::Leased(lease) => Ok(lease),
            State::Ended { how: Ended::Closed, .. } => Err(ComponentRefusal::SessionClosed),
            State::Ended { how: Ended::Lapsed, .. } => Err(ComponentRefusal::SessionLapsed),
            State::Ended { how: Ended::Revoked, .. } => Err(ComponentRefusal::SessionRevoked),
            State::Idle { .. }
            | State::Active(_)
            | State::Ended { how: Ended::Terminated | Ended::Failed, .. } => {
                Err(ComponentRefusal::UnknownSession)
            }
        }
    }

    /// The lease of a session that a client works in: not that of a licence that is taken out.
    ///
    /// # Errors
    /// Why there is none.
    pub fn working(&self) -> Result<&Arc<Lease>, ComponentRefusal> {
        let lease = self.lease()?;
        if lease.offline.is_some() { Err(ComponentRefusal::UnknownSession) } else { Ok(lease) }
    }

    fn lease_event(
        &self,
        lease: &Lease,
        correlation: CorrelationId,
        change: LeaseChange,
        postings: Vec<Posting>,
    ) -> LeaseEvent {
        LeaseEvent {
            session: Some(self.number),
            session_id: self.id,
            instance: self.instance,
            correlation,
            requester: requester(lease.user),
            change,
            postings,
        }
    }

    /// A checkout: all of these components or none. A denial is an event too.
    ///
    /// # Errors
    /// Where a balance cannot be seen.
    pub fn decide_check_out(
        &self,
        names: &[Text],
        correlation: CorrelationId,
        licensed: &Licensed<'_>,
        balances: &impl Balances,
    ) -> Result<Result<LeaseEvent, ComponentRefusal>, Missing> {
        let lease = match self.working() {
            Ok(lease) => lease,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if licensed.license.term_at(licensed.now).is_none() {
            return Ok(Err(ComponentRefusal::TermClosed));
        }
        let items = match items(names, &lease.version) {
            Ok(items) => items,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let denied = |shortage| {
            let change = LeaseChange::Denied((items.clone(), shortage));
            Ok(Ok(self.lease_event(lease, correlation, change, Vec::new())))
        };
        let mut components = Vec::with_capacity(items.len());
        for item in &items {
            match licensed.product.component(item.name.as_str()) {
                Some(component) => components.push(component),
                None => return denied(Shortage::UnknownComponent(item.name.clone())),
            }
        }
        let mut draw = Draw::new(*licensed, balances);
        let mut taken = Vec::with_capacity(items.len());
        for (item, component) in items.iter().zip(components) {
            match draw.take(component, lease, &taken)? {
                Ok(took) => taken.push((item.clone(), took)),
                Err(shortage) => return denied(shortage),
            }
        }
        let held = taken.iter().filter(|(_, taken)| matches!(taken, Taken::Held(_))).count();
        if lease.holds.len() + held > ITEMS_MAX {
            let detail = format!("a session holds at most {ITEMS_MAX} components");
            return Ok(Err(ComponentRefusal::InvalidRequest(detail)));
        }
        let change = LeaseChange::CheckedOut(taken);
        Ok(Ok(self.lease_event(lease, correlation, change, draw.close())))
    }

    /// Gives components back: all of them or none (components 2.6). What costs nothing, or is
    /// spent, is passed over.
    ///
    /// # Errors
    /// Where a balance cannot be seen.
    pub fn decide_check_in(
        &self,
        names: &[Text],
        correlation: CorrelationId,
        licensed: &Licensed<'_>,
        balances: &impl Balances,
    ) -> Result<Result<LeaseEvent, ComponentRefusal>, Missing> {
        let lease = match self.working() {
            Ok(lease) => lease,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let items = match items(names, &lease.version) {
            Ok(items) => items,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut released = Vec::new();
        for item in items {
            let component = licensed.product.component(item.name.as_str());
            match (lease.hold(item.name.as_str()), component.map(|component| component.model)) {
                (Some(hold), _) => released.push(hold.clone()),
                (None, Some(LicenseModel::Consumable | LicenseModel::None)) => {}
                (None, Some(LicenseModel::Session | LicenseModel::Token) | None) => {
                    return Ok(Err(ComponentRefusal::NotCheckedOut(item.name)));
                }
            }
        }
        let mut kept = lease.holds.clone();
        kept.retain(|hold| !released.contains(hold));
        let mut draw = Draw::new(*licensed, balances);
        draw.release(&released, &kept)?;
        let change = LeaseChange::CheckedIn(released);
        Ok(Ok(self.lease_event(lease, correlation, change, draw.close())))
    }

    /// A later deadline: from now on for as long as is asked, or as long as the licence says.
    pub fn decide_extend(
        &self,
        duration_s: Option<u64>,
        correlation: CorrelationId,
        licensed: &Licensed<'_>,
        at: SessionTime,
    ) -> Result<LeaseEvent, ComponentRefusal> {
        let lease = self.working()?;
        let term = licensed.license.term_at(licensed.now).ok_or(ComponentRefusal::TermClosed)?;
        let longest_s = licensed.license.terms.session_duration_s;
        let lasts_s = duration_s.unwrap_or(longest_s).min(longest_s);
        let left_ms = term.end.ms_since(licensed.now).saturating_add(1);
        let until = at.plus_ms(lasts_s.saturating_mul(1000).min(left_ms));
        let change = LeaseChange::Extended(until);
        Ok(self.lease_event(lease, correlation, change, Vec::new()))
    }

    /// The end of a session, or of a licence that was taken out, however it comes: all that it
    /// holds is free in the same instant, what it spent stays spent, and its seat of the licence
    /// is free unless `seat_is_shared` with one that goes on (components 4).
    ///
    /// # Errors
    /// Where a balance cannot be seen.
    pub fn decide_end(
        &self,
        how: Ended,
        seat_is_shared: bool,
        correlation: CorrelationId,
        licensed: &Licensed<'_>,
        balances: &impl Balances,
    ) -> Result<Result<LeaseEvent, ComponentRefusal>, Missing> {
        let lease = match self.lease() {
            Ok(lease) => lease,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut draw = Draw::new(*licensed, balances);
        draw.release(&lease.holds, &[])?;
        if !seat_is_shared {
            let after = draw.change(&lease.license)?;
            after.seats = after.seats.checked_sub(1).expect("the session has a seat until it ends");
        }
        let change = LeaseChange::Ended((how, lease.holds.clone()));
        Ok(Ok(self.lease_event(lease, correlation, change, draw.close())))
    }
}

/// One of each component, the first of those that are named twice (components 3, step 2).
fn items(names: &[Text], version: &Text) -> Result<Vec<RequestedItem>, ComponentRefusal> {
    let mut items: Vec<RequestedItem> = Vec::with_capacity(names.len());
    for name in names {
        if items.iter().all(|item| item.name != *name) {
            let (name, version) = (name.clone(), version.clone());
            let variables = Variables::default();
            items.push(RequestedItem {
                name,
                version,
                count: Count::ONE,
                metadata: None,
                variables,
            });
        }
    }
    if items.is_empty() || items.len() > ITEMS_MAX {
        let detail = format!("components must name 1 to {ITEMS_MAX} components");
        return Err(ComponentRefusal::InvalidRequest(detail));
    }
    Ok(items)
}
