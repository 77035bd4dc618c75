//! Events of component licensing, any that can be.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{number, postings, rate, request, text, time, tokens};
use crate::domain::components::{
    Component, Hold, HoldKind, Identity, IdentityValue, Installation, Lease, LeaseChange,
    LeaseEvent, LicenseModel, LicenseTerms, Offline, Pool, PoolName, Provision, Shortage, Taken,
    Term, User,
};
use crate::domain::event::Event;
use crate::domain::ids::{
    CorrelationId, InstallationId, InstanceNumber, LineItemNumber, SessionId, SessionNumber, UserId,
};
use crate::domain::session::Ended;
use crate::domain::session_time::SessionTime;

fn pool() -> impl Strategy<Value = PoolName> {
    (number(LineItemNumber::new), text()).prop_map(|(number, name)| PoolName { number, name })
}

fn hold_kind() -> impl Strategy<Value = HoldKind> {
    prop_oneof![
        Just(HoldKind::Trial),
        (pool(), rate()).prop_map(|(pool, price)| HoldKind::Tokens { pool, price }),
        pool().prop_map(|pool| HoldKind::Seat { pool }),
    ]
}

pub(super) fn lease_event() -> impl Strategy<Value = Event> {
    let items = || request().prop_map(|request| request.items.clone());
    let holds = || {
        (items(), hold_kind(), time()).prop_map(|(items, kind, since)| -> Vec<Hold> {
            let hold = |item| Hold { item, kind: kind.clone(), since };
            items.into_iter().map(hold).collect()
        })
    };
    let offline = proptest::option::of((time(), proptest::option::of(any::<u128>())).prop_map(
        |(expires, seat_of)| Offline { expires, seat_of: seat_of.map(SessionId::from_u128) },
    ));
    let spent = vec((number(LineItemNumber::new), tokens()), 0..3);
    let lease = (pool(), any::<[u128; 2]>(), text(), any::<u64>(), offline, holds(), spent)
        .prop_map(|(license, [installation, user], version, until, offline, holds, spent)| Lease {
            license,
            installation: InstallationId::from_u128(installation),
            user: UserId::from_u128(user),
            version,
            until: SessionTime::from_ms(until),
            offline,
            holds,
            spent,
        });
    let taken = prop_oneof![
        Just(Taken::Nothing),
        hold_kind().prop_map(Taken::Held),
        (pool(), rate()).prop_map(|(pool, price)| Taken::Spent { pool, price }),
    ];
    let all_taken = (items(), taken)
        .prop_map(|(items, taken)| items.into_iter().map(|item| (item, taken.clone())).collect());
    let shortage = prop_oneof![
        text().prop_map(Shortage::UnknownComponent),
        text().prop_map(Shortage::NoEntitlement),
        (text(), tokens(), tokens()).prop_map(|(component, required, available)| {
            Shortage::Tokens { component, required, available }
        }),
        text().prop_map(|component| Shortage::Seats { component }),
    ];
    let how = prop_oneof![Just(Ended::Closed), Just(Ended::Lapsed), Just(Ended::Revoked)];
    let change = prop_oneof![
        lease.prop_map(LeaseChange::Begun),
        any::<u64>().prop_map(|until| LeaseChange::Extended(SessionTime::from_ms(until))),
        all_taken.prop_map(LeaseChange::CheckedOut),
        (items(), shortage).prop_map(LeaseChange::Denied),
        holds().prop_map(LeaseChange::CheckedIn),
        (how, holds()).prop_map(LeaseChange::Ended),
    ];
    let session = proptest::option::of(number(SessionNumber::new));
    let requester = request().prop_map(|request| request.requester.clone());
    (session, number(InstanceNumber::new), any::<[u128; 2]>(), requester, change, postings())
        .prop_map(|(session, instance, [id, correlation], requester, change, postings)| {
            Event::Lease(Arc::new(LeaseEvent {
                session,
                session_id: SessionId::from_u128(id),
                instance,
                correlation: CorrelationId::from_u128(correlation),
                requester,
                change,
                postings,
            }))
        })
}

pub(super) fn provision_event() -> impl Strategy<Value = Event> {
    let model = prop_oneof![
        Just(LicenseModel::Session),
        Just(LicenseModel::Token),
        Just(LicenseModel::Consumable),
        Just(LicenseModel::None),
    ];
    let component = (text(), any::<u64>(), model, rate(), proptest::option::of(time())).prop_map(
        |(name, place, model, price, trial_until)| Component {
            name,
            place,
            model,
            price,
            trial_until,
        },
    );
    let limit = || proptest::option::of(any::<u64>());
    let term = (time(), time()).prop_map(|(start, end)| Term { start, end });
    let terms = (text(), vec(term, 0..3), limit(), vec(text(), 0..3), any::<[u64; 2]>()).prop_map(
        |(product, terms, concurrent_sessions, features, [duration, grace])| LicenseTerms {
            product,
            terms,
            concurrent_sessions,
            features,
            session_duration_s: duration,
            grace_period_s: grace,
        },
    );
    let drawn = prop_oneof![
        (limit(), limit()).prop_map(|(tokens, sessions)| Pool::Own { tokens, sessions }),
        text().prop_map(|activation_id| Pool::LineItem { activation_id }),
    ];
    let value = (vec(text(), 0..3), any::<[u64; 2]>(), any::<bool>()).prop_map(
        |(values, [weight, removed_max], case_sensitive)| IdentityValue {
            values,
            weight,
            case_sensitive,
            removed_max,
        },
    );
    let identity = (any::<[u64; 2]>(), proptest::collection::btree_map(text(), value, 0..3))
        .prop_map(|([version, mismatches_max], pairs)| Identity { version, mismatches_max, pairs });
    let installation = (any::<[u128; 2]>(), identity).prop_map(|([id, user], identity)| {
        let (id, user) = (InstallationId::from_u128(id), UserId::from_u128(user));
        Installation { id, identity, user }
    });
    let user = (any::<u128>(), vec((text(), text()), 0..3))
        .prop_map(|(id, identity)| User { id: UserId::from_u128(id), identity });
    let here = || number(InstanceNumber::new);
    let named = || proptest::option::of(number(LineItemNumber::new));
    prop_oneof![
        (text(), text()).prop_map(|(guid, name)| Provision::ProductSaved { guid, name }),
        text().prop_map(|guid| Provision::ProductDeleted { guid }),
        (text(), component)
            .prop_map(|(product, component)| Provision::ComponentSaved { product, component }),
        (text(), text()).prop_map(|(product, name)| Provision::ComponentDeleted { product, name }),
        (here(), named(), text(), terms).prop_map(|(instance, number, key, terms)| {
            Provision::LicenseSaved { instance, number, key, terms }
        }),
        (here(), number(LineItemNumber::new), text()).prop_map(|(instance, number, key)| {
            Provision::LicenseDeleted { instance, number, key }
        }),
        (here(), pool(), named(), text(), vec(text(), 0..3), drawn).prop_map(
            |(instance, license, number, id, components, pool)| Provision::EntitlementSaved {
                instance,
                license,
                number,
                id,
                components,
                pool,
            }
        ),
        (here(), pool(), number(LineItemNumber::new), text()).prop_map(
            |(instance, license, number, id)| Provision::EntitlementDeleted {
                instance,
                license,
                number,
                id,
            }
        ),
        (here(), pool(), proptest::option::of(installation), proptest::option::of(user)).prop_map(
            |(instance, license, installation, user)| Provision::Registered {
                instance,
                license,
                installation,
                user,
            }
        ),
    ]
    .prop_map(|provision| Event::Provisioned(Arc::new(provision)))
}
