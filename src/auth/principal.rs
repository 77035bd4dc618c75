//! What a caller may do: the only place that answers it. How the caller was recognised is not
//! known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::ids::InstanceId;
use crate::domain::keys::KeyClass;

/// What a caller is: the class of the registered key, never what a token says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The producer's own people and programs: every operation, every instance.
    Administration,
    /// Client software: the operations of clients, on the instances its token names.
    Client,
}

impl Role {
    /// How a token writes it in `cnf.jwk.kty` (spec 9).
    pub const fn kty(self) -> &'static str {
        match self {
            Role::Administration => "ADMIN",
            Role::Client => "CLIENT",
        }
    }

    /// `None` for anything but the exact spelling.
    pub(super) fn from_kty(kty: &str) -> Option<Role> {
        [Role::Administration, Role::Client].into_iter().find(|role| role.kty() == kty)
    }
}

impl From<KeyClass> for Role {
    fn from(class: KeyClass) -> Role {
        match class {
            KeyClass::Administration => Role::Administration,
            KeyClass::Client => Role::Client,
        }
    }
}

/// Who calls: what a verified token says, with the role of the *registered* key.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The registered key that signed the token. Administration and client keys are named apart,
    /// so only role and id together say who it was. Empty for the process itself, which no
    /// registered key can be.
    pub key_id: Arc<str>,
    /// What the key was registered as.
    pub role: Role,
    /// Sorted. Nothing for administration, which is not limited to any.
    instances: Arc<[InstanceId]>,
    /// Calls that are under way of everybody whose token this key signed.
    under_way: Arc<AtomicUsize>,
}

/// The same caller: whose calls are under way does not matter.
impl PartialEq for Principal {
    fn eq(&self, other: &Principal) -> bool {
        let who = |principal: &Principal| {
            (Arc::clone(&principal.key_id), principal.role, Arc::clone(&principal.instances))
        };
        who(self) == who(other)
    }
}

impl Eq for Principal {}

/// A call under way; dropped, it is over.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Principal {
    /// The process itself, where the broker is embedded: there is no token to check.
    pub fn administration() -> Principal {
        Principal::verified(Arc::from(""), Role::Administration, Vec::new(), Arc::default())
    }

    /// Whoever holds `key_id`, limited to `instances` if a client.
    pub(super) fn verified(
        key_id: Arc<str>,
        role: Role,
        mut instances: Vec<InstanceId>,
        under_way: Arc<AtomicUsize>,
    ) -> Principal {
        instances.sort_unstable();
        instances.dedup();
        Principal { key_id, role, instances: Arc::from(instances), under_way }
    }

    /// THE authorization function: what lets a call touch an instance.
    ///
    /// Does not ask whether the instance exists, so that a foreign one and an unknown one are
    /// refused in the same words and in the same time.
    ///
    /// ```
    /// use farebox::{auth::Principal, domain::ids::InstanceId};
    ///
    /// let instance = InstanceId::from_u128(7);
    /// let scope = Principal::administration().scope(instance)?;
    /// assert_eq!(scope.instance(), instance);
    /// # Ok::<(), farebox::auth::Forbidden>(())
    /// ```
    pub fn scope(&self, instance: InstanceId) -> Result<Scope, Forbidden> {
        let allowed = match self.role {
            Role::Administration => true,
            Role::Client => self.instances.binary_search(&instance).is_ok(),
        };
        if allowed { Ok(Scope(instance)) } else { Err(Forbidden::Instance) }
    }

    /// Whether the operations that spec 9 keeps for administration are open to this caller.
    pub fn may_administer(&self) -> Result<(), Forbidden> {
        match self.role {
            Role::Administration => Ok(()),
            Role::Client => Err(Forbidden::Administration),
        }
    }

    /// A place among the calls of its key that are under way, `limit` at most.
    pub(crate) fn begin_call(&self, limit: usize) -> Option<UnderWay> {
        let place = UnderWay(Arc::clone(&self.under_way));
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        (before < limit).then_some(place) // One too many goes at once: the place is dropped.
    }

    /// The instances that it is limited to, sorted; `None` for administration, which is not.
    pub fn reach(&self) -> Option<&[InstanceId]> {
        match self.role {
            Role::Administration => None,
            Role::Client => Some(&self.instances),
        }
    }

    /// How many instances a client's token names: what remembering it costs.
    pub(super) fn instances_len(&self) -> usize {
        self.instances.len()
    }
}

/// The right to touch one instance. Only [`Principal::scope`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(InstanceId);

impl Scope {
    /// For a caller that may touch every instance and named none: the one it came upon.
    pub(crate) const fn everywhere(instance: InstanceId) -> Scope {
        Scope(instance)
    }

    /// The instance that may be touched.
    pub const fn instance(self) -> InstanceId {
        self.0
    }
}

/// Why a known caller was turned away. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// An operation of administration, asked for by a client.
    #[error("this operation needs a token signed by an administration key")]
    Administration,
    /// Names no instance: the answer must not tell a foreign one from one that does not exist.
    #[error("the token's `aud` does not name this instance")]
    Instance,
}

impl Forbidden {
    /// The stable name callers branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            Forbidden::Administration | Forbidden::Instance => "forbidden",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_key_have_so_many_places_and_give_them_back() {
        let one = Principal::administration();
        let other = one.clone(); // Another token of the same key shares its count.
        let first = one.begin_call(2);
        let second = other.begin_call(2);
        assert!(first.is_some() && second.is_some());
        assert!(one.begin_call(2).is_none() && other.begin_call(2).is_none());
        drop(second);
        assert!(one.begin_call(2).is_some(), "who is refused keeps no place");
        assert!(Principal::administration().begin_call(1).is_some(), "another key has its own");
    }
}
