//! How many live sessions there may be: in all, and in each instance. It counts; who creates a
//! session asks it in the exclusive turn of its instance, before the record of the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Sessions;
use crate::error::BrokerError;

/// The live sessions of the whole broker.
#[derive(Debug)]
pub(crate) struct Quota {
    limits: Sessions,
    live: AtomicUsize,
}

impl Quota {
    pub(crate) fn new(limits: Sessions) -> Arc<Quota> {
        Arc::new(Quota { limits, live: AtomicUsize::new(0) })
    }

    /// A place for one more session of an instance that has so many.
    pub(crate) fn try_take(self: &Arc<Quota>, in_instance: usize) -> Result<Room, BrokerError> {
        if in_instance >= self.limits.per_instance_max {
            let (limit, whose) = (self.limits.per_instance_max, "this instance");
            return Err(BrokerError::SessionQuota { limit, whose });
        }
        let one_more = |live| (live < self.limits.max).then_some(live + 1);
        let taken = self.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        match taken {
            Ok(_) => Ok(Room(Arc::clone(self))),
            Err(_) => {
                Err(BrokerError::SessionQuota { limit: self.limits.max, whose: "the broker" })
            }
        }
    }

    /// The place of a session that is there already: it stays, however many they are.
    pub(crate) fn take(self: &Arc<Quota>) -> Room {
        self.live.fetch_add(1, Ordering::SeqCst);
        Room(Arc::clone(self))
    }
}

/// The place of one live session: free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Room(Arc<Quota>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_too_many_is_refused_and_one_that_was_given_back_is_free() {
        let quota = Quota::new(Sessions { max: 2, per_instance_max: 1 });
        let refused = |in_instance| match quota.try_take(in_instance) {
            Err(BrokerError::SessionQuota { limit, whose }) => Some((limit, whose)),
            Err(_) | Ok(_) => None,
        };
        let first = quota.try_take(0).unwrap();
        assert_eq!(refused(1), Some((1, "this instance")));
        let second = quota.try_take(0).unwrap();
        assert_eq!(refused(0), Some((2, "the broker")));
        drop(first);
        let third = quota.try_take(0).unwrap();
        // What is there at a start is counted, however many they are.
        let fourth = quota.take();
        drop((second, third));
        assert_eq!(refused(0), None);
        drop(fourth);
    }
}
