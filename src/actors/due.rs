//! The time gate (spec 4.2): nothing in an instance is decided at `now` while something is due
//! there. Whoever takes the exclusive turn runs the queue first, each event at its own time.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::directory::Found;
use super::ledger::Owner;
use super::session::SessionMessage;
use super::turn::{ExclusiveTurn, Instance};
use super::{Core, answered};
use crate::domain::ids::SessionId;
use crate::domain::session::Due;
use crate::domain::time::Timestamp;
use crate::error::BrokerError;
use crate::journal::Room;

/// After so many events the journal may catch up too: what is due takes no permit, so nothing else
/// bounds what is queued.
const EVENTS_UNSETTLED_MAX: usize = 1_000;

impl Core {
    /// What is to be decided next in an instance, or the moment up to which nothing is open.
    fn next_due(&self, turn: &ExclusiveTurn) -> Result<(Due, SessionId), Timestamp> {
        // First the clock, then the catalogue: an outage is published before time shows it.
        let now = self.ledger.now();
        let session_time = self.ledger.tenant().outages.session_time(now);
        turn.first_due(session_time).ok_or(now)
    }

    /// The moment up to which nothing is open, if nothing has to be run and nobody to be served
    /// before.
    pub(crate) fn open_moment(
        &self,
        instance: &Arc<Instance>,
        turn: &mut ExclusiveTurn,
    ) -> Option<Timestamp> {
        let now = self.next_due(turn).err()?;
        if instance.is_stirred(turn) && self.may_serve() {
            return None;
        }
        self.forget_ended(instance, turn, now);
        Some(now)
    }

    /// Whether those in line may be served: the last of the room is for what gives back.
    fn may_serve(&self) -> bool {
        self.ledger.journal().room() != Room::Short
    }

    /// Runs what is due in an instance, in its order, and then serves who waits in line. Gives the
    /// turn back with the moment up to which nothing is open: what is decided in the turn is
    /// decided at that moment.
    ///
    /// # Errors
    /// What went wrong with an event is nothing to the caller, of whose request nothing has been
    /// decided: it is in the log.
    pub(crate) async fn catch_up(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        mut turn: ExclusiveTurn,
    ) -> Result<(ExclusiveTurn, Timestamp), BrokerError> {
        let mut events = 0;
        loop {
            let (due, id) = match self.next_due(&turn) {
                Ok(next) => next,
                Err(now) if instance.is_stirred(&turn) && self.may_serve() => {
                    // Who waits in line comes before whoever calls now.
                    instance.settle_down();
                    turn = match self.serve(instance, turn, now).await {
                        Some(turn) => turn,
                        None => {
                            instance.stir(); // The turn fell with an actor: the others try again.
                            instance.exclude().await
                        }
                    };
                    continue;
                }
                Err(now) => {
                    self.forget_ended(instance, &mut turn, now);
                    return Ok((turn, now));
                }
            };
            turn = match self.run_due(instance, turn, due, id).await {
                Ok(turn) => turn,
                Err(BrokerError::Stopping) => return Err(BrokerError::Stopping),
                Err(error) => {
                    let instance = instance.entry.id;
                    tracing::error!(%instance, session = %id, ?due, %error, "an event failed");
                    return Err(BrokerError::Fault);
                }
            };
            self.back_to_sleep(instance, Owner::Session(id)).await?;
            events += 1;
            if events % EVENTS_UNSETTLED_MAX == 0 {
                self.ledger.settled().await?;
            }
        }
    }

    /// Has a session decide what falls due in it.
    async fn run_due(
        self: &Arc<Core>,
        instance: &Arc<Instance>,
        turn: ExclusiveTurn,
        due: Due,
        id: SessionId,
    ) -> Result<ExclusiveTurn, BrokerError> {
        let actor = match self.directory.session(self, id)? {
            Found::Alive(actor) => actor,
            Found::Dead => {
                self.session_state(instance, id).await?;
                return Ok(turn); // Asleep again: the next look wakes it.
            }
            Found::Absent => return Err(BrokerError::Fault), // The roster names what exists.
        };
        let (back, turn_again) = oneshot::channel();
        let _ = actor.send_message(SessionMessage::Due { due, turn, back }); // Dead: no answer.
        match answered(turn_again).await? {
            Some(ran) => ran,
            None => Ok(instance.exclude().await), // The turn fell with the actor.
        }
    }

    /// Ended sessions stay readable for 30 days (spec 4.1).
    pub(super) fn forget_ended(
        &self,
        instance: &Arc<Instance>,
        turn: &mut ExclusiveTurn,
        now: Timestamp,
    ) {
        let forgotten = turn.take_forgotten(now);
        for (number, id) in &forgotten {
            self.directory.remove_session(*id);
            self.ledger.forget(instance, *number, *id);
        }
    }
}
