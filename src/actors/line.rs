//! Waiting in line (components 2.4): checkouts that found a pool short and wait until it has enough,
//! first come, first served in each pool. They are data in the roster of their instance: they hold
//! no permit, no turn, no mailbox. One is served when nobody ahead of it waits for a pool of its own
//! and everything fits; an attendant sees to that after each change of the instance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::directory::Found;
use super::lease::LeaseAnswer;
use super::reply::Reply;
use super::session::SessionMessage;
use super::turn::{ExclusiveTurn, Instance};
use super::{Core, answered};
use crate::domain::components::Wanted;
use crate::domain::ids::{LineItemNumber, SessionId, SessionNumber, Text};
use crate::domain::limits::{
    WAITING_PER_INSTANCE_MAX, WAITING_PER_POOL_MAX, WAITING_PER_SESSION_MAX,
};
use crate::domain::session::{Due, DueKind};
use crate::domain::session_time::SessionTime;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;

/// A place in the line: lower ones are ahead.
pub(crate) type Ticket = u64;

/// A checkout that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) session: SessionNumber,
    pub(crate) session_id: SessionId,
    pub(crate) components: Vec<Text>,
    /// What it wants of which pools.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) since: Timestamp,
    pub(crate) until: SessionTime,
    pub(crate) reply: Reply<LeaseAnswer>,
}

impl Waiter {
    pub(crate) fn pools(&self) -> BTreeSet<LineItemNumber> {
        self.wanted.iter().map(|wanted| wanted.pool.number).collect()
    }

    fn due(&self) -> Due {
        Due { at: self.until, kind: DueKind::WaitOver, session: self.session }
    }
}

/// Those who wait in an instance.
#[derive(Debug, Default)]
pub(crate) struct Line {
    last: Ticket,
    waiting: BTreeMap<Ticket, Waiter>,
    /// Whether somebody attends to it.
    is_attended: bool,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those who wait, in order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.values()
    }

    /// The pools that somebody waits for ahead of this place; of a newcomer, all.
    pub(crate) fn ahead_of(&self, ticket: Option<Ticket>) -> BTreeSet<LineItemNumber> {
        let ahead = self.waiting.range(..ticket.unwrap_or(Ticket::MAX));
        ahead.flat_map(|(_, waiter)| waiter.pools()).collect()
    }

    fn check_room(&self, waiter: &Waiter) -> Result<(), BrokerError> {
        let too_many = |limit| Err(BrokerError::LineFull { limit });
        if self.waiting.len() >= WAITING_PER_INSTANCE_MAX {
            return too_many(WAITING_PER_INSTANCE_MAX);
        }
        let of_session = self.waiting().filter(|other| other.session == waiter.session).count();
        if of_session >= WAITING_PER_SESSION_MAX {
            return too_many(WAITING_PER_SESSION_MAX);
        }
        for pool in waiter.pools() {
            let of_pool = self.waiting().filter(|other| other.pools().contains(&pool)).count();
            if of_pool >= WAITING_PER_POOL_MAX {
                return too_many(WAITING_PER_POOL_MAX);
            }
        }
        Ok(())
    }

    /// Takes the last place.
    fn join(&mut self, waiter: Waiter) {
        self.last += 1;
        self.waiting.insert(self.last, waiter);
    }

    fn take(&mut self, ticket: Ticket) -> Option<(Waiter, Option<Due>)> {
        let waiter = self.waiting.remove(&ticket)?;
        let due = waiter.due();
        let is_shared = self.waiting().any(|other| other.due() == due);
        Some((waiter, (!is_shared).then_some(due)))
    }

    /// Those of a session whose time is over at this moment.
    fn over(&self, due: &Due) -> Vec<Ticket> {
        let over = |waiter: &Waiter| waiter.session == due.session && waiter.until <= due.at;
        self.waiting.iter().filter(|(_, waiter)| over(waiter)).map(|(ticket, _)| *ticket).collect()
    }
}

impl super::turn::Roster {
    /// A checkout goes and waits; else it is told that the line is too long.
    pub(super) fn wait(&mut self, core: &Arc<Core>, instance: &Arc<Instance>, waiter: Waiter) {
        if waiter.reply.is_abandoned() {
            return; // It went before it came: nobody would notice it go.
        }
        if core.lines_closed.load(Ordering::SeqCst) {
            return waiter.reply.now(BrokerError::Stopping);
        }
        if let Err(error) = self.line.check_room(&waiter) {
            return waiter.reply.now(error);
        }
        self.reschedule(None, Some(waiter.due()));
        self.line.join(waiter);
        if !std::mem::replace(&mut self.line.is_attended, true) {
            core.spawn(Arc::clone(core).attend(Arc::clone(instance)));
        }
    }

    /// It goes back to the place that it had.
    pub(super) fn wait_on(&mut self, ticket: Ticket, waiter: Waiter) {
        self.reschedule(None, Some(waiter.due()));
        self.line.waiting.insert(ticket, waiter);
    }

    /// Takes somebody out of the line.
    pub(super) fn leave_line(&mut self, ticket: Ticket) -> Option<Waiter> {
        let (waiter, due) = self.line.take(ticket)?;
        self.reschedule(due, None);
        Some(waiter)
    }

    /// The session is over: its time to wait does not come any more. Who attends to the line tells
    /// those who wait so.
    pub(super) fn dismiss(&mut self, session: SessionNumber) {
        let dues: Vec<Due> = self.line.waiting().map(Waiter::due).collect();
        for due in dues.into_iter().filter(|due| due.session == session) {
            self.reschedule(Some(due), None);
        }
    }

    /// Those whose waiting ends with this event.
    pub(super) fn waiting_over(&self, due: &Due) -> Vec<Ticket> {
        self.line.over(due)
    }
}

impl Core {
    /// Serves the line of an instance for as long as somebody waits there.
    async fn attend(self: Arc<Core>, instance: Arc<Instance>) {
        loop {
            let turn = instance.exclude().await;
            let mut turn = match self.catch_up(&instance, turn).await {
                Ok((turn, _)) => turn,
                Err(BrokerError::Stopping) => return,
                // What cannot be run stays due: the alarm comes back to it, and stirs the line.
                Err(_) => {
                    instance.stirred().await;
                    continue;
                }
            };
            if turn.line.is_empty() {
                turn.line.is_attended = false;
                return;
            }
            drop(turn);
            instance.stirred().await;
        }
    }

    /// Lets everybody try who has nobody ahead, in order. Who cannot be served keeps those behind
    /// from the same pools. Without the turn if it fell with an actor.
    pub(super) async fn serve(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        mut turn: ExclusiveTurn,
        now: Timestamp,
    ) -> Option<ExclusiveTurn> {
        let mut ahead = BTreeSet::new();
        let tickets: Vec<Ticket> = turn.line.waiting.keys().copied().collect();
        for ticket in tickets {
            let Some(waiter) = turn.line.waiting.get(&ticket) else { continue };
            let (number, session) = (waiter.session, waiter.session_id);
            let pools = waiter.pools();
            if waiter.reply.is_abandoned() {
                turn.leave_line(ticket);
            } else if pools.is_disjoint(&ahead) || !turn.is_live(number) {
                // Whose session is over hears so at once, whoever is ahead.
                turn = self.let_try(instance, turn, ticket, session, now).await?;
            }
            if turn.line.waiting.contains_key(&ticket) {
                ahead.extend(pools);
            }
        }
        Some(turn)
    }

    /// Has a session decide a checkout that waits, once more.
    async fn let_try(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        mut turn: ExclusiveTurn,
        ticket: Ticket,
        session: SessionId,
        now: Timestamp,
    ) -> Option<ExclusiveTurn> {
        let actor = match self.directory.session(self, session) {
            Ok(Found::Alive(actor)) => actor,
            Ok(Found::Dead) => {
                // It is rebuilt, and looked at once more.
                if self.session_state(instance, session).await.is_ok() {
                    instance.stir();
                }
                return Some(turn);
            }
            Ok(Found::Absent) | Err(_) => {
                turn.leave_line(ticket); // Its caller learns that there is no answer.
                return Some(turn);
            }
        };
        let (back, turn_again) = oneshot::channel();
        let _ = actor.send_message(SessionMessage::Try { ticket, now, turn, back });
        answered(turn_again).await.ok().flatten()
    }

    /// Turns everybody away who waits, and whoever would: the broker stops.
    pub(crate) async fn dismiss_lines(&self) {
        self.lines_closed.store(true, Ordering::SeqCst);
        for instance in self.directory.instances() {
            let mut turn = instance.exclude().await;
            let tickets: Vec<Ticket> = turn.line.waiting.keys().copied().collect();
            for ticket in tickets {
                if let Some(waiter) = turn.leave_line(ticket) {
                    waiter.reply.now(BrokerError::Stopping);
                }
            }
        }
    }
}
