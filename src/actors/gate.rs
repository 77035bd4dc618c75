//! Admission. A ractor mailbox has no bound of its own, so nothing reaches one without a permit:
//! one for the whole broker and one for the instance, taken at once or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::error::BrokerError;

/// Which permits a call draws on: what keeps clients alive and gives tokens back has its own, so
/// that a flood of charges cannot starve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Charges, lists, administration.
    Ordinary,
    /// Heartbeats and closes.
    Priority,
}

/// The right to be in flight. Travels with the request; dropping it, anywhere, frees the place.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
    _share: Option<OwnedSemaphorePermit>,
}

/// Permits, each lane its own.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    ordinary: Arc<Semaphore>,
    priority: Arc<Semaphore>,
    limit: usize,
}

impl Places {
    fn new(limit: usize) -> Places {
        let places = || Arc::new(Semaphore::new(limit));
        Places { ordinary: places(), priority: places(), limit }
    }

    fn try_take(&self, lane: Lane) -> Result<OwnedSemaphorePermit, BrokerError> {
        let places = match lane {
            Lane::Ordinary => &self.ordinary,
            Lane::Priority => &self.priority,
        };
        let full = |_| BrokerError::Overloaded { limit: self.limit };
        Arc::clone(places).try_acquire_owned().map_err(full)
    }
}

/// The door of the broker.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Places,
    limits: Limits,
    closed: AtomicBool,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Gate {
        Gate { places: Places::new(limits.in_flight), limits, closed: AtomicBool::new(false) }
    }

    /// The places of a new instance.
    pub(crate) fn shares(&self) -> Places {
        Places::new(self.limits.in_flight_per_instance)
    }

    /// Never waits: a full house answers at once, and the caller decides whether to come back.
    pub(crate) fn try_enter(
        &self,
        lane: Lane,
        instance: Option<&Places>,
    ) -> Result<Permit, BrokerError> {
        self.check_open()?;
        let place = self.places.try_take(lane)?;
        let share = instance.map(|shares| shares.try_take(lane)).transpose()?;
        self.check_open()?; // Again: whoever closes waits only for places taken before.
        Ok(Permit { _place: place, _share: share })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::SeqCst) { Err(BrokerError::Stopping) } else { Ok(()) }
    }

    /// Lets nobody in any more.
    pub(crate) fn shut(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Lets nobody in any more and waits until everybody is out.
    pub(crate) async fn close(&self) {
        self.shut();
        let all = u32::try_from(self.limits.in_flight).unwrap_or(u32::MAX);
        for places in [&self.places.ordinary, &self.places.priority] {
            let _ = places.acquire_many(all).await; // Nobody closes them, so this only waits.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_house_answers_at_once_and_a_dropped_permit_frees_its_place() {
        let gate =
            Gate::new(Limits { in_flight: 2, in_flight_per_instance: 1, ..Limits::default() });
        let instance = gate.shares();
        let first = gate.try_enter(Lane::Ordinary, Some(&instance)).unwrap();
        let refused = gate.try_enter(Lane::Ordinary, Some(&instance)).unwrap_err();
        assert!(matches!(refused, BrokerError::Overloaded { limit: 1 }));
        let _elsewhere = gate.try_enter(Lane::Ordinary, None).unwrap();
        let refused = gate.try_enter(Lane::Ordinary, None).unwrap_err();
        assert!(matches!(refused, BrokerError::Overloaded { limit: 2 }));
        let _heartbeat = gate.try_enter(Lane::Priority, Some(&instance)).unwrap();
        drop(first);
        assert!(gate.try_enter(Lane::Ordinary, Some(&instance)).is_ok());
    }

    #[tokio::test]
    async fn closing_waits_for_those_inside_and_admits_nobody() {
        let gate = Arc::new(Gate::new(Limits { in_flight: 2, ..Limits::default() }));
        let inside = gate.try_enter(Lane::Ordinary, None).unwrap();
        let closing = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.close().await }
        });
        tokio::task::yield_now().await;
        assert!(!closing.is_finished());
        assert!(matches!(gate.try_enter(Lane::Ordinary, None), Err(BrokerError::Stopping)));
        drop(inside);
        closing.await.unwrap();
    }
}
