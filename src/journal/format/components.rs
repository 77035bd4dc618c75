//! The bytes of what component licensing records.

use std::collections::BTreeMap;

use super::super::code::{CodeError, Coded, Reader, coded_enum, coded_struct};
use crate::domain::components::{
    Component, Hold, HoldKind, Identity, IdentityValue, Installation, Lease, LeaseChange,
    LeaseEvent, LicenseModel, LicenseTerms, Offline, Pool, PoolName, Provision, Shortage, Taken,
    Term, User,
};
use crate::domain::session::Ended;

coded_struct! {
    Component { name, place, model, price, trial_until }
    Term { start, end }
    LicenseTerms {
        product, terms, concurrent_sessions, features, session_duration_s, grace_period_s,
    }
    IdentityValue { values, weight, case_sensitive, removed_max }
    Installation { id, identity, user }
    User { id, identity }
    PoolName { number, name }
    Offline { expires, seat_of }
    Hold { item, kind, since }
    Lease { license, installation, user, version, until, offline, holds, spent }
    LeaseEvent { session, session_id, instance, correlation, requester, change, postings }
}

impl Coded for Identity {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.version.put(bytes);
        self.mismatches_max.put(bytes);
        let pairs = self.pairs.iter().map(|(key, value)| (key.clone(), value.clone()));
        pairs.collect::<Vec<_>>().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Identity, CodeError> {
        let (version, mismatches_max) = (Coded::take(reader)?, Coded::take(reader)?);
        let pairs: BTreeMap<_, _> = Vec::take(reader)?.into_iter().collect();
        Ok(Identity { version, mismatches_max, pairs })
    }
}

coded_enum!(LicenseModel {
    1 => Session,
    2 => Token,
    3 => Consumable,
    4 => None,
});

coded_enum!(Pool {
    1 => Own { tokens, sessions },
    2 => LineItem { activation_id },
});

coded_enum!(Provision {
    1 => ProductSaved { guid, name },
    2 => ProductDeleted { guid },
    3 => ComponentSaved { product, component },
    4 => ComponentDeleted { product, name },
    5 => LicenseSaved { instance, number, key, terms },
    6 => LicenseDeleted { instance, number, key },
    7 => EntitlementSaved { instance, license, number, id, components, pool },
    8 => EntitlementDeleted { instance, license, number, id },
    9 => Registered { instance, license, installation, user },
});

coded_enum!(HoldKind {
    1 => Trial,
    2 => Tokens { pool, price },
    3 => Seat { pool },
});

coded_enum!(Taken {
    1 => Nothing,
    2 => Held(kind),
    3 => Spent { pool, price },
});

coded_enum!(Shortage {
    1 => UnknownComponent(component),
    2 => NoEntitlement(component),
    3 => Tokens { component, required, available },
    4 => Seats { component },
});

coded_enum!(Ended {
    1 => Terminated,
    2 => Failed,
    3 => Closed,
    4 => Lapsed,
    5 => Revoked,
});

coded_enum!(LeaseChange {
    1 => Begun(lease),
    2 => Extended(until),
    3 => CheckedOut(taken),
    4 => Denied(denial),
    5 => CheckedIn(released),
    6 => Ended(end),
});
