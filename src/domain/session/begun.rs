//! How a session begins: as the record of its creation says.

use std::sync::Arc;

use super::super::components::LeaseChange;
use super::super::event::{Event, Record};
use super::super::ids::{Sequence, SessionNumber};
use super::super::session_time::SessionTime;
use super::{Session, State};

impl Session {
    /// The session that a record begins, if it begins one.
    pub fn begun_by(sequence: Sequence, record: &Record, at: SessionTime) -> Option<Session> {
        let number = SessionNumber::new(sequence);
        match &record.event {
            Event::SessionCreated { id, instance } => {
                Some(Session::new(number, *id, *instance, record.at, at))
            }
            Event::Lease(event) => {
                let LeaseChange::Begun(lease) = &event.change else { return None };
                let session = Session::new(number, event.session_id, event.instance, record.at, at);
                Some(Session { state: State::Leased(Arc::new(lease.clone())), ..session })
            }
            Event::SessionAccess(_)
            | Event::SessionClosed(_)
            | Event::SessionExpired(_)
            | Event::AutomaticCharge(_)
            | Event::Heartbeat { .. }
            | Event::KeysRegistered(_)
            | Event::KeyDeleted { .. }
            | Event::RateTablePublished(_)
            | Event::RateTableDeleted { .. }
            | Event::InstanceCreated { .. }
            | Event::LineItemMapped { .. }
            | Event::ConditionsSet { .. }
            | Event::ConditionsDeleted { .. }
            | Event::ActionsSet { .. }
            | Event::LineItemDeleted { .. }
            | Event::Access(_)
            | Event::Outage(_)
            | Event::Time
            | Event::Configured { .. }
            | Event::TestClock
            | Event::Answered
            | Event::Provisioned(_) => None,
        }
    }
}
