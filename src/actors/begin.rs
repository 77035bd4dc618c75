//! How a session of components begins, and how a licence is taken out (components 2.1, 2.7).

use std::sync::Arc;

use super::Core;
use super::directory::Versioned;
use super::lease::{LeaseAnswer, answer, licensed};
use super::ledger::{Basis, Draft, NotAppended, Owner, guarded, out_of_order};
use super::reply::Reply;
use super::turn::{ExclusiveTurn, Instance, View};
use crate::domain::charge::Missing;
use crate::domain::components::{Begin, BeginSession, ComponentRefusal, LeaseChange, LeaseEvent};
use crate::domain::event::{Event, Record};
use crate::domain::ids::{CorrelationId, SessionId, Text};
use crate::domain::refusal::Refusal;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// A session that is about to begin, in the exclusive turn.
pub(crate) struct Beginning {
    pub(crate) instance: Arc<Instance>,
    pub(crate) turn: ExclusiveTurn,
    pub(crate) now: Timestamp,
    pub(crate) license: Text,
    pub(crate) begin: BeginSession,
    /// Set to take the licence out; with the session whose seat it shall be.
    pub(crate) offline: Option<Option<SessionId>>,
}

impl Core {
    /// Begins a session of components, or takes a licence out.
    pub(crate) async fn begin_lease(
        self: Arc<Core>,
        beginning: Beginning,
        mut reply: Reply<LeaseAnswer>,
    ) {
        let Beginning { instance, mut turn, now, license, begin, offline } = beginning;
        let offline = match self.seat_of(&instance, &turn, &license, offline).await {
            Ok(offline) => offline,
            Err(error @ BrokerError::Refused(..)) => return self.ledger.answer(reply, Err(error)),
            Err(error) => return reply.now(error),
        };
        let room = match self.quota.try_take(turn.live()) {
            Ok(room) => room,
            Err(error) => return reply.now(error),
        };
        let asked = &begin;
        let begin = Begin {
            session_id: SessionId::from_u128(self.ledger.fresh_id()),
            instance: instance.entry.number,
            correlation: CorrelationId::from_u128(self.ledger.fresh_id()),
            asked,
            offline,
        };
        let mut view = match self.pools_of(&instance, Some(&license)).await {
            Ok(view) => view,
            Err(error) => return reply.now(error),
        };
        loop {
            let basis = self.ledger.basis(&instance, now);
            let decided = match guarded(|| decide_begin(&basis, &license, begin, &view)) {
                Ok(decided) => decided,
                Err(fault) => return reply.now(fault),
            };
            let (event, told) = match decided {
                Ok(Ok(decided)) => decided,
                Ok(Err(refusal)) => {
                    return self.ledger.answer(reply, Err(Refusal::from(refusal).into()));
                }
                Err(Missing(number)) => {
                    drop(basis);
                    match self.balance(&instance, number).await {
                        Ok(balance) => view.add(number, balance),
                        Err(error) => return reply.now(error),
                    }
                    continue;
                }
            };
            let owners = [Owner::Session(event.session_id)];
            let owners: Vec<_> = Owner::of_postings(&event.postings).chain(owners).collect();
            let record = Record { at: now, event: Event::Lease(Arc::new(event)) };
            let kept = match reply.keep(Ok(&told)) {
                Ok(kept) => kept,
                Err(fault) => return reply.now(fault),
            };
            let settling = |reply: Reply<LeaseAnswer>| reply.with(Ok(told));
            let draft = Draft { record: &record, keyed: kept.as_deref() };
            match self.ledger.append(&instance, &basis, draft, owners, reply, settling) {
                Ok(sequence) => {
                    let _aftermath = self.aftermath();
                    let session = Session::begun_by(sequence, &record, basis.session_time());
                    let session = session.expect("the record begins one");
                    turn.admit(&session, room);
                    let session = Versioned { state: session, last: sequence };
                    self.directory.add_session(Arc::clone(&instance), session);
                    self.post(&instance, sequence, record.event.postings());
                    return;
                }
                Err((NotAppended::Moved, returned)) => reply = returned,
                Err((NotAppended::Late, reply)) => return reply.now(out_of_order()),
                Err((NotAppended::Refused(error), reply)) => return reply.now(error),
            }
        }
    }

    /// The session whose seat is to be taken out: it must run on the same licence. One whose seat
    /// is taken out already is as good as none: another seat is taken.
    async fn seat_of(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        turn: &ExclusiveTurn,
        license: &Text,
        offline: Option<Option<SessionId>>,
    ) -> Result<Option<Option<SessionId>>, BrokerError> {
        let Some(Some(id)) = offline else { return Ok(offline) };
        let session = self.session_state(instance, id).await?.state;
        let lease = session.lease().map_err(Refusal::from)?;
        if lease.offline.is_some() || lease.license.name != *license {
            return Err(Refusal::from(ComponentRefusal::UnknownSession).into());
        }
        Ok(Some((!turn.shares_seat(id)).then_some(id)))
    }
}

type Begun = (LeaseEvent, LeaseAnswer);

fn decide_begin(
    basis: &Basis,
    license: &Text,
    begin: Begin<'_>,
    view: &View,
) -> Result<Result<Begun, ComponentRefusal>, Missing> {
    let Some(licensed) = licensed(basis, license) else {
        return Ok(Err(ComponentRefusal::UnknownInstance));
    };
    let event = match licensed.decide_begin(begin, basis.session_time(), view)? {
        Ok(event) => event,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let LeaseChange::Begun(lease) = &event.change else {
        unreachable!("what begins is decided as a beginning");
    };
    let lease = Arc::new(lease.clone());
    let answer = answer(basis, event.session_id, Some(&event), &lease, view)?;
    Ok(Ok((event, answer)))
}
