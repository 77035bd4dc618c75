//! What is kept of products, licences and registrations: each as it was saved last.

use std::sync::Arc;

use super::Kept;
use crate::domain::components::{Component, Provision};
use crate::domain::ids::{LineItemNumber, Sequence};
use crate::journal::Entry;
use crate::journal::code::Coded;

/// The key of what a provision saves or deletes; of a registration, which is kept in halves, that
/// of the half which it has.
pub(super) fn key_of(provision: &Provision) -> Vec<u8> {
    let (kind, mut name) = (16, Vec::new());
    match provision {
        Provision::ProductSaved { guid, .. } | Provision::ProductDeleted { guid } => {
            name.push(1);
            guid.put(&mut name);
        }
        Provision::ComponentSaved { product, component: Component { name: component, .. } }
        | Provision::ComponentDeleted { product, name: component } => {
            name.push(2);
            product.put(&mut name);
            component.put(&mut name);
        }
        Provision::LicenseSaved { key, .. } | Provision::LicenseDeleted { key, .. } => {
            name.push(3);
            key.put(&mut name);
        }
        Provision::EntitlementSaved { license, id, .. }
        | Provision::EntitlementDeleted { license, id, .. } => {
            name.push(4);
            license.number.put(&mut name);
            id.put(&mut name);
        }
        Provision::Registered { installation: Some(installation), .. } => {
            name.push(5);
            installation.id.put(&mut name);
        }
        Provision::Registered { installation: None, user, .. } => {
            name.push(6);
            user.iter().for_each(|user| user.id.put(&mut name));
        }
    }
    name.insert(0, kind);
    name
}

/// What a provision changes in the snapshot.
pub(super) fn changes(sequence: Sequence, provision: &Provision) -> Vec<Entry> {
    let mut saved = provision.clone();
    match &mut saved {
        Provision::ProductDeleted { .. }
        | Provision::ComponentDeleted { .. }
        | Provision::LicenseDeleted { .. }
        | Provision::EntitlementDeleted { .. } => return vec![(key_of(provision), None)],
        Provision::LicenseSaved { number, .. } | Provision::EntitlementSaved { number, .. } => {
            *number = Some(LineItemNumber::mapped(*number, sequence));
        }
        Provision::Registered { instance, license, installation, user } => {
            let half = |installation, user| {
                let (instance, license) = (*instance, license.clone());
                let half = Provision::Registered { instance, license, installation, user };
                Kept::Provisioned(Arc::new(half)).entry()
            };
            let installation =
                installation.take().map(|installation| half(Some(installation), None));
            let user = user.take().map(|user| half(None, Some(user)));
            return installation.into_iter().chain(user).collect();
        }
        Provision::ProductSaved { .. } | Provision::ComponentSaved { .. } => {}
    }
    vec![Kept::Provisioned(Arc::new(saved)).entry()]
}

/// What takes a registration out of the snapshot whose licence is gone.
pub(in crate::actors) fn forgotten(provision: &Provision) -> Entry {
    (key_of(provision), None)
}
