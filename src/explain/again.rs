//! A recorded decision once more: decided again over what was so just before it, held against the
//! record, and explained.

use std::sync::Arc;

use super::{Decided, Explanation, GivenBack, Kind};
use crate::actors::recovery::State;
use crate::domain::balance::Seen;
use crate::domain::catalogue::InstanceCatalogue;
use crate::domain::charge::explain::Asked;
use crate::domain::charge::{self, Balances, Candidates, Known, Refund, Verdict};
use crate::domain::event::{
    Access, AutomaticCharge, Decision, Event, Next, Record, SessionAccess, SessionClosed,
};
use crate::domain::ids::{
    ActionId, CorrelationId, InstanceNumber, LineItemNumber, Requester, Sequence, SessionNumber,
};
use crate::domain::line_item::{Balance, Posting};
use crate::domain::request::{AccessRequest, RequestedItem};
use crate::domain::session::{AccessCommand, OnDeny, Session, State as Doing};
use crate::domain::session_time::SessionTime;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

/// So many line items are listed for each item, unless more gave something.
const LISTED_MAX: usize = 100;

/// A record, and what was so just before it.
pub(super) struct Before<'a> {
    pub(super) state: &'a State,
    pub(super) instance: InstanceNumber,
    pub(super) catalogue: &'a InstanceCatalogue,
    pub(super) sequence: Sequence,
    pub(super) record: &'a Record,
}

/// All balances are known.
impl Balances for State {
    fn known(&self, line_item: LineItemNumber) -> Known {
        let kept = self.balances.get(&line_item).map(|kept| kept.state.clone());
        Known::Balance(kept.unwrap_or_default())
    }
}

/// What a decision comes to: what the record says of it, or what deciding it again does.
#[derive(PartialEq)]
struct Outcome {
    verdicts: Vec<Verdict>,
    refunds: Vec<(LineItemNumber, usize, Tokens, Option<ActionId>)>,
    balances: Vec<(LineItemNumber, Balance)>,
    next: Option<Next>,
}

impl Outcome {
    fn new(
        verdicts: &[Verdict],
        refunds: &[Refund],
        postings: &[Posting],
        next: Option<Next>,
    ) -> Outcome {
        let refund = |told: &Refund| (told.line_item, told.item, told.tokens, told.action);
        let refunds = refunds.iter().map(refund).collect();
        let balance = |posting: &Posting| (posting.line_item, posting.after.clone());
        let balances = postings.iter().map(balance).collect();
        Outcome { verdicts: verdicts.to_vec(), refunds, balances, next }
    }

    fn of_session(access: &SessionAccess) -> Outcome {
        let SessionAccess { verdicts, refunds, postings, next, .. } = access;
        Outcome::new(verdicts, refunds, postings, Some(*next))
    }

    fn of_charge(charge: &AutomaticCharge) -> Outcome {
        let AutomaticCharge { verdicts, refunds, postings, next, .. } = charge;
        Outcome::new(verdicts, refunds, postings, Some(*next))
    }

    fn of_end(closed: &SessionClosed) -> Outcome {
        Outcome::new(&[], &closed.refunds, &closed.postings, Some(Next::Terminated))
    }
}

impl Before<'_> {
    /// Nothing for a record that is no decision.
    pub(super) fn explained(&self) -> Option<Explanation> {
        match self.record.event.decision()? {
            Decision::OneOff(access) => self.one_off(access),
            Decision::Session(access) => self.of_session(access),
            Decision::AutomaticCharge(charge) => self.automatic(charge),
            Decision::Close(closed) => {
                let again = self.session(closed.session)?.decide_close(
                    closed.correlation,
                    self.clock(),
                    self.catalogue,
                    self.state,
                );
                self.end(Kind::Close, closed, again.ok().and_then(Result::ok))
            }
            Decision::Expiry(closed) => {
                let session = self.session(closed.session)?;
                let again = session.decide_expiry(closed.correlation, self.catalogue, self.state);
                let kind = match used(session) {
                    Some(_) => Kind::MissedHeartbeat,
                    None => Kind::IdleLimit,
                };
                self.end(kind, closed, again.ok())
            }
        }
    }

    fn one_off(&self, access: &Access) -> Option<Explanation> {
        let AccessRequest { requester, items } = access.request.as_ref();
        let candidates = self.candidates(self.record.at, requester);
        let again = charge::one_off(items, candidates, self.state).ok().and_then(Result::ok);
        let again = again.map(|again| Outcome::new(&again.verdicts, &[], &again.postings, None));
        let told = Outcome::new(&access.verdicts, &[], &access.postings, None);
        Some(Explanation {
            requester: Some(requester.clone()),
            items: self.items(items, &[], candidates, &access.verdicts)?,
            consistent: again == Some(told),
            ..self.shell(Kind::OneOff, access.correlation)?
        })
    }

    fn of_session(&self, access: &SessionAccess) -> Option<Explanation> {
        let session = self.session(access.session)?;
        let AccessRequest { requester, items } = access.request.as_ref();
        let candidates = self.candidates(self.record.at, requester);
        let command = AccessCommand {
            request: Arc::clone(&access.request),
            // Whether a denial was to end the session shows in whether it did.
            on_deny: match access.next {
                Next::Terminated => OnDeny::Terminate,
                Next::Unchanged | Next::Charged(_) | Next::Halted => OnDeny::Rollback,
            },
            correlation: access.correlation,
            refund_correlation: access.refund_correlation,
        };
        let period = self.state.tenant.configuration.at(self.record.at).charge_period;
        let again = session.decide_access(&command, period, self.clock(), candidates, self.state);
        let again = again.ok().and_then(Result::ok).map(|again| Outcome::of_session(&again));
        let refunded = (!access.refunds.is_empty()).then_some(access.refund_correlation);
        let credited = session.refunds_at(self.clock());
        let counted = if access.refunds.is_empty() { credited.as_slice() } else { &[] };
        Some(Explanation {
            refund_correlation: refunded,
            session: Some(session.id),
            next: Some(access.next),
            requester: Some(requester.clone()),
            items: self.items(items, &credited, candidates, &access.verdicts)?,
            refunds: given_back(&access.refunds, used(session)),
            refunds_counted: given_back(counted, used(session)),
            consistent: again == Some(Outcome::of_session(access)),
            ..self.shell(Kind::Session, access.correlation)?
        })
    }

    fn automatic(&self, charge: &AutomaticCharge) -> Option<Explanation> {
        let session = self.session(charge.session)?;
        let AccessRequest { requester, items } = used(session)?;
        // A change of its own millisecond comes after it (spec 4.2).
        let known = self.record.at.minus_ms(1);
        let candidates = self.candidates(known, requester);
        let period = self.state.tenant.configuration.at(known).charge_period;
        let id = charge.correlation;
        let again = session.decide_automatic_charge(id, period, candidates, self.state);
        let consistent =
            again.ok().map(|again| Outcome::of_charge(&again)) == Some(Outcome::of_charge(charge));
        let mut items = self.items(items, &charge.refunds, candidates, &charge.verdicts)?;
        // Nothing else denies what there are tokens for (spec 4.3).
        let denied = |verdict: &Verdict| matches!(verdict, Verdict::Denied(_));
        let too_many = consistent
            && items.iter().all(|item| denied(&item.verdict) && !denied(&item.why.verdict));
        items.iter_mut().for_each(|item| item.too_many_line_items = too_many);
        let mut refunds = given_back(&charge.refunds, used(session));
        refunds.retain(|refund| refund.tokens > Tokens::ZERO); // The period that is over: none.
        Some(Explanation {
            session: Some(session.id),
            next: Some(charge.next),
            requester: Some(requester.clone()),
            items,
            refunds,
            consistent,
            ..self.shell(Kind::AutomaticCharge, charge.correlation)?
        })
    }

    fn end(
        &self,
        kind: Kind,
        closed: &SessionClosed,
        again: Option<SessionClosed>,
    ) -> Option<Explanation> {
        let session = self.session(closed.session)?;
        Some(Explanation {
            session: Some(session.id),
            next: Some(Next::Terminated),
            requester: used(session).map(|request| request.requester.clone()),
            refunds: given_back(&closed.refunds, used(session)),
            consistent: again.map(|again| Outcome::of_end(&again)) == Some(Outcome::of_end(closed)),
            ..self.shell(kind, closed.correlation)?
        })
    }

    /// What every explanation has.
    fn shell(&self, kind: Kind, correlation: CorrelationId) -> Option<Explanation> {
        let entry = self.state.registry.instance(self.instance)?;
        let tolerant = self.state.tenant.configuration.at(self.record.at).timezone_tolerant;
        let seen = Seen::new(Arc::new(self.catalogue.clone()), self.record.at, tolerant);
        let postings = self.record.event.postings();
        Some(Explanation {
            sequence: self.sequence,
            at: self.record.at,
            kind,
            correlation,
            refund_correlation: None,
            instance: entry.id,
            account: entry.account_id.clone(),
            session: None,
            next: None,
            requester: None,
            items: Vec::new(),
            refunds: Vec::new(),
            refunds_counted: Vec::new(),
            balances: postings.iter().map(|posting| seen.standing(posting)).collect(),
            consistent: false,
        })
    }

    /// The line items as they were at the record's moment, as far as the producer had set things up
    /// by `known`.
    fn candidates<'a>(&'a self, known: Timestamp, requester: &'a Requester) -> Candidates<'a> {
        let tenant = &self.state.tenant;
        let tolerant = tenant.configuration.at(known).timezone_tolerant;
        let (at, rates) = (self.record.at, &tenant.rates);
        Candidates::at(at, known, self.catalogue, rates, tolerant, requester)
    }

    fn clock(&self) -> SessionTime {
        self.state.tenant.outages.session_time(self.record.at)
    }

    fn session(&self, number: SessionNumber) -> Option<&Session> {
        self.state.sessions.get(&number).map(|kept| &kept.state)
    }

    /// Each item with what the record says became of it.
    fn items(
        &self,
        items: &[RequestedItem],
        refunds: &[Refund],
        candidates: Candidates<'_>,
        verdicts: &[Verdict],
    ) -> Option<Vec<Decided>> {
        let best_effort = matches!(self.record.event, Event::Access(_));
        let asked = Asked { items, refunds, best_effort, candidates, balances: self.state };
        let explained = asked.explain(LISTED_MAX).ok()?;
        let each = items.iter().zip(verdicts).zip(explained);
        let decided = each.map(|((item, verdict), why)| {
            let (item, verdict) = (item.clone(), verdict.clone());
            Decided { item, verdict, too_many_line_items: false, why }
        });
        Some(decided.collect())
    }
}

/// What a session uses, if it does.
fn used(session: &Session) -> Option<&AccessRequest> {
    match &session.state {
        Doing::Active(usage) => Some(&usage.request),
        Doing::Idle { .. } | Doing::Leased(_) | Doing::Ended { .. } => None,
    }
}

fn given_back(refunds: &[Refund], used: Option<&AccessRequest>) -> Vec<GivenBack> {
    let named = |refund: &Refund| {
        let item = used.and_then(|request| request.items.get(refund.item));
        let item = item.map(|item| (item.name.clone(), item.version.clone()));
        let (activation_id, tokens) = (refund.activation_id.clone(), refund.tokens);
        GivenBack { activation_id, item, tokens, action: refund.action }
    };
    refunds.iter().map(named).collect()
}
