//! What the session actor does for a session of components (components 3, 4).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use super::access::Intent;
use super::directory::{SessionPlace, Versioned};
use super::ledger::Basis;
use super::line::{Ticket, Waiter};
use super::reply::Reply;
use super::session::{Decided, Moment, SessionActor, SessionCall};
use super::turn::{ExclusiveTurn, Instance, View};
use crate::domain::charge::Missing;
use crate::domain::components::{
    ComponentRefusal, Lease, LeaseChange, LeaseEvent, Licensed, Pool, Standing, Wanted,
};
use crate::domain::event::Event;
use crate::domain::ids::{CorrelationId, LineItemNumber, SessionId, Text};
use crate::domain::refusal::Refusal;
use crate::domain::session::{Ended, Session};
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::Room;

/// Where it does not matter who waits.
static NOBODY: BTreeSet<LineItemNumber> = BTreeSet::new();

/// What is asked of a session of components.
#[derive(Clone, Debug)]
pub(crate) enum LeaseCommand {
    /// These components are given back.
    CheckIn(Vec<Text>),
    /// It goes on for so many seconds, or as long as the licence says.
    Extend(Option<u64>),
    /// It is over: a session, or a licence that is given back.
    End {
        /// Which of the two.
        is_offline: bool,
    },
    /// It is taken back.
    Revoke {
        /// It must be of this licence.
        license: Text,
    },
}

/// How a session of components stands after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// `session_key`, or `checkout_key`.
    pub session_id: SessionId,
    /// The moment of the decision.
    pub at: Timestamp,
    /// The lease as it is from then on; as it was before where the call ended it.
    pub lease: Arc<Lease>,
    /// For how long it lasts, in milliseconds; 0 where the call ended it.
    pub lasts_ms: u64,
    /// How long the client may go on when it cannot validate.
    pub grace_period_s: u64,
    /// What can be used, and how much of it is; of one that was extended or has ended only the
    /// features.
    pub standing: Standing,
    /// Why a checkout was denied: the record says so, and nothing has changed.
    pub denied: Option<ComponentRefusal>,
}

/// What the basis of a decision says about the licence of this key, if there is one.
pub(super) fn licensed<'a>(basis: &'a Basis, key: &Text) -> Option<Licensed<'a>> {
    let license = basis.instance.licenses.find(key.as_str())?;
    let product = basis.tenant.products.find(license.terms.product.as_str())?;
    let (catalogue, now) = (basis.instance.as_ref(), basis.now);
    Some(Licensed { license, product, catalogue, now, ahead: &NOBODY })
}

/// The lease of a session, and its licence, which is there while its sessions run.
fn leased<'a>(
    session: &'a Session,
    basis: &'a Basis,
) -> Result<(&'a Arc<Lease>, Licensed<'a>), ComponentRefusal> {
    let lease = session.lease()?;
    let licensed = licensed(basis, &lease.license.name);
    Ok((lease, licensed.ok_or(ComponentRefusal::UnknownLicense)?))
}

/// The answer to what was decided about a lease.
pub(super) fn answer(
    basis: &Basis,
    session_id: SessionId,
    event: Option<&LeaseEvent>,
    lease: &Arc<Lease>,
    view: &View,
) -> Result<LeaseAnswer, Missing> {
    let licensed =
        licensed(basis, &lease.license.name).expect("what was decided on is still there");
    let postings = event.map_or(&[][..], |event| &event.postings);
    let (mut is_over, mut denied, mut shows_pools) = (false, None, true);
    match event.map(|event| &event.change) {
        Some(LeaseChange::Denied((_, shortage))) => denied = Some(shortage.clone().into()),
        Some(LeaseChange::Ended(_)) => (is_over, shows_pools) = (true, false),
        Some(LeaseChange::Extended(_)) => shows_pools = false,
        Some(LeaseChange::Begun(_) | LeaseChange::CheckedOut(_) | LeaseChange::CheckedIn(_))
        | None => {}
    }
    Ok(LeaseAnswer {
        session_id,
        at: basis.now,
        lease: Arc::clone(lease),
        lasts_ms: if is_over { 0 } else { lease.until.ms_since(basis.session_time()) },
        grace_period_s: licensed.license.terms.grace_period_s,
        standing: if shows_pools {
            licensed.standing(lease, &view.after(postings))?
        } else {
            licensed.bare_standing()
        },
        denied,
    })
}

impl Core {
    /// How a session of components stands. The caller holds the exclusive turn.
    pub(crate) async fn lease_standing(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        id: SessionId,
        now: Timestamp,
    ) -> Result<LeaseAnswer, BrokerError> {
        let session = self.session_state(instance, id).await?.state;
        let lease = session.working().map_err(Refusal::from)?;
        let mut view = self.pools_of(instance, Some(&lease.license.name)).await?;
        loop {
            let basis = self.ledger.basis(instance, now);
            leased(&session, &basis).map_err(Refusal::from)?;
            match answer(&basis, id, None, lease, &view) {
                Ok(answer) => return Ok(answer),
                Err(Missing(number)) => {
                    drop(basis);
                    view.add(number, self.balance(instance, number).await?);
                }
            }
        }
    }

    /// What a licence's pools hold, asked once and before anything is decided: an answer shows them
    /// all, and a decision that misses one is made anew.
    pub(super) async fn pools_of(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        license: Option<&Text>,
    ) -> Result<View, BrokerError> {
        let mut view = instance.view(Vec::new());
        let catalogue = Arc::clone(&instance.catalogue());
        let license = license.and_then(|key| catalogue.licenses.find(key.as_str()));
        let Some(license) = license else { return Ok(view) };
        let pools = license.in_order().into_iter().filter_map(|all| match &all.pool {
            Pool::Own { .. } => Some(all.number),
            Pool::LineItem { activation_id } => {
                Some(catalogue.find(activation_id.as_str())?.number)
            }
        });
        for number in pools.chain([license.number]).collect::<BTreeSet<_>>() {
            view.add(number, self.balance(instance, number).await?);
        }
        Ok(view)
    }
}

impl SessionActor {
    pub(super) async fn lease(
        &self,
        command: LeaseCommand,
        call: SessionCall<LeaseAnswer>,
        owned: &mut Versioned<Session>,
    ) {
        let correlation = CorrelationId::from_u128(self.fresh_id());
        let seat_is_shared = call.turn.shares_seat(owned.state.id);
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let refused = |refusal: ComponentRefusal| Ok(Err(Refusal::from(refusal)));
            let (lease, licensed) = match leased(session, basis) {
                Ok(leased) => leased,
                Err(refusal) => return refused(refusal),
            };
            let decided = match &command {
                LeaseCommand::CheckIn(names) => {
                    session.decide_check_in(names, correlation, &licensed, view)?
                }
                LeaseCommand::Extend(duration_s) => {
                    let at = basis.session_time();
                    session.decide_extend(*duration_s, correlation, &licensed, at)
                }
                LeaseCommand::End { is_offline } if *is_offline != lease.offline.is_some() => {
                    return refused(ComponentRefusal::UnknownSession);
                }
                LeaseCommand::Revoke { license } if *license != lease.license.name => {
                    return refused(ComponentRefusal::UnknownSession);
                }
                LeaseCommand::End { .. } => {
                    let how = Ended::Closed;
                    session.decide_end(how, seat_is_shared, correlation, &licensed, view)?
                }
                LeaseCommand::Revoke { .. } => {
                    let how = Ended::Revoked;
                    session.decide_end(how, seat_is_shared, correlation, &licensed, view)?
                }
            };
            if matches!(command, LeaseCommand::CheckIn(_)) {
                licensed.standing(lease, view)?; // The answer shows every pool: all have to be seen.
            }
            Ok(decided.map(|event| Event::Lease(Arc::new(event))).map_err(Refusal::from))
        };
        let before = owned.state.lease().ok().cloned();
        let answer = |decided: &Decided, view: &View| {
            let after = decided.after.lease().ok().cloned();
            let lease = after.or(before.clone()).expect("who has no lease is refused");
            told_of(decided, &lease, view)
        };
        self.transact(Intent::Act, decide, answer, call, owned).await;
    }

    /// A checkout; where a pool is short it waits in line for `wait_ms`, unless that is 0.
    pub(super) async fn check_out(
        &self,
        components: Vec<Text>,
        wait_ms: u64,
        call: SessionCall<LeaseAnswer>,
        owned: &mut Versioned<Session>,
    ) {
        let SessionCall { mut turn, now, reply, place } = call;
        if reply.is_too_late() {
            return; // Nobody waits any more, and nothing has been decided.
        }
        let ahead = turn.line.ahead_of(None);
        let deal = Deal { now, place: Some(place), may_wait: wait_ms > 0 };
        let left = self.try_check_out(&components, &ahead, deal, reply, &mut turn, owned).await;
        let Some((reply, wanted)) = left else { return };
        let outages = self.core.ledger.tenant().outages.clone();
        let waiter = Waiter {
            session: owned.state.number,
            session_id: owned.state.id,
            components,
            wanted,
            since: now,
            until: outages.session_time(now).plus_ms(wait_ms),
            reply: reply.parked(),
        };
        turn.wait(&self.core, &self.instance, waiter);
    }

    /// One that waits in line tries again; unless it is served it goes on waiting, or is denied as
    /// its time `is_over`.
    pub(super) async fn try_again(
        &self,
        ticket: Ticket,
        now: Timestamp,
        is_over: bool,
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) {
        let ahead = turn.line.ahead_of(Some(ticket));
        let Some(mut waiter) = turn.leave_line(ticket) else { return };
        if waiter.reply.is_abandoned() {
            return; // Whoever has gone away never gets anything.
        }
        if is_over && self.core.ledger.journal().room() == Room::Short {
            return waiter.reply.now(BrokerError::StorageFull);
        }
        let deal = Deal { now, place: None, may_wait: !is_over };
        let left =
            self.try_check_out(&waiter.components, &ahead, deal, waiter.reply, turn, owned).await;
        if let Some((reply, wanted)) = left {
            (waiter.reply, waiter.wanted) = (reply, wanted);
            turn.wait_on(ticket, waiter);
        }
    }

    /// Decides a checkout with `ahead` waited for by others. One that is short and may wait is not
    /// denied: its reply comes back, and what it wants of which pools.
    async fn try_check_out(
        &self,
        components: &[Text],
        ahead: &BTreeSet<LineItemNumber>,
        deal: Deal,
        reply: Reply<LeaseAnswer>,
        turn: &mut ExclusiveTurn,
        owned: &mut Versioned<Session>,
    ) -> Option<(Reply<LeaseAnswer>, Vec<Wanted>)> {
        let license = owned.state.lease().map(|lease| lease.license.name.clone());
        let view = match self.core.pools_of(&self.instance, license.ok().as_ref()).await {
            Ok(view) => view,
            Err(error) => {
                reply.now(error);
                return None;
            }
        };
        let correlation = CorrelationId::from_u128(self.fresh_id());
        let decide = |session: &Session, basis: &Basis, view: &View| {
            let (lease, licensed) = match leased(session, basis) {
                Ok(leased) => leased,
                Err(refusal) => return Ok(Err(Refusal::from(refusal))),
            };
            let licensed = Licensed { ahead, ..licensed };
            let decided = session.decide_check_out(components, correlation, &licensed, view)?;
            licensed.standing(lease, view)?; // The answer shows every pool: all have to be seen.
            Ok(decided.map(|event| Event::Lease(Arc::new(event))).map_err(Refusal::from))
        };
        let answer = |decided: &Decided, view: &View| {
            let lease = decided.after.lease().expect("a checkout does not end a session");
            told_of(decided, lease, view)
        };
        let mut wanted = Vec::new();
        let is_short = |decided: &Decided| {
            let Event::Lease(event) = &decided.record.event else { return false };
            let LeaseChange::Denied((_, shortage)) = &event.change else { return false };
            if !deal.may_wait || !shortage.is_for_want_of_capacity() {
                return false;
            }
            let leased = leased(&decided.after, &decided.basis);
            wanted =
                leased.map_or(Vec::new(), |(lease, licensed)| licensed.wanted(components, lease));
            // What no pool can ever give is not waited for.
            wanted.iter().any(|wanted| wanted.component == *shortage.component())
        };
        let Deal { now, place, .. } = deal;
        let moment = Moment { now, place };
        let left = self
            .transact_in(
                Intent::Act,
                (decide, answer, is_short),
                moment,
                (reply, view),
                turn,
                owned,
            )
            .await;
        left.map(|reply| (reply, wanted))
    }
}

/// How a checkout is tried.
struct Deal {
    now: Timestamp,
    place: Option<SessionPlace>,
    may_wait: bool,
}

/// The answer to what was decided about the lease of a session.
fn told_of(decided: &Decided, lease: &Arc<Lease>, view: &View) -> LeaseAnswer {
    let Event::Lease(event) = &decided.record.event else {
        unreachable!("a call on a lease is decided as one");
    };
    let told = answer(&decided.basis, event.session_id, Some(event), lease, view);
    told.expect("every pool was seen")
}
