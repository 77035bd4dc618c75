//! Every way in which a call of component licensing is refused, with its symbol and its number, in
//! the order in which they are checked (components 5).

use super::super::charge::Denial;
use super::super::ids::Text;
use super::super::tokens::Tokens;

/// Why a call was refused. Nothing but perhaps the record of a denied checkout follows from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentRefusal {
    /// A member is missing or of the wrong type, or the list of components is empty.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such product.
    #[error("there is no such product: check product_guid")]
    UnknownProduct,
    /// No such licence, or not one that this caller may see.
    #[error("there is no such license: check license_key and product_guid")]
    UnknownLicense,
    /// No such installation, or not one that this caller may see.
    #[error("there is no such installation: call register_instance first")]
    UnknownInstance,
    /// The installation is not what was registered.
    #[error("instance_identity is not that of the registered installation: register it again")]
    InstanceMismatch,
    /// No such user of the licence.
    #[error("there is no such user: name one in register_instance")]
    UnknownUser,
    /// The licence has no term now.
    #[error("the license has no active term now")]
    TermClosed,
    /// As many sessions run as may.
    #[error("{limit} sessions of the license are running, the limit")]
    LicenseFull {
        /// The limit.
        limit: u64,
    },
    /// Only a licence with a limit of sessions can be taken out.
    #[error("the license has no limit of concurrent sessions: there is nothing to take out")]
    LicenseNotConcurrent,
    /// No such session, or not one that this caller may see.
    #[error("there is no such session: begin one")]
    UnknownSession,
    /// The session was ended by its client.
    #[error("the session has ended: begin a new one")]
    SessionClosed,
    /// The session was not extended in time.
    #[error("the session has lapsed: begin a new one, and extend it in time")]
    SessionLapsed,
    /// The session was revoked by the producer.
    #[error("the session was revoked")]
    SessionRevoked,
    /// A checkout was denied.
    #[error(transparent)]
    Denied(#[from] Shortage),
    /// The component is not checked out by this session.
    #[error("component {0} is not checked out by this session")]
    NotCheckedOut(Text),
}

/// Why a checkout was denied: the first component that could not be had. It is recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// The product has no such component.
    #[error("the product has no component {0}")]
    UnknownComponent(Text),
    /// The component is in no entitlement of the licence, and on no trial.
    #[error("the license has no entitlement for component {0}")]
    NoEntitlement(Text),
    /// Too few tokens.
    #[error(
        "insufficient tokens for component {component}: {required} required, {available} available"
    )]
    Tokens {
        /// Of which component.
        component: Text,
        /// What it costs.
        required: Tokens,
        /// The most that one of its pools has left.
        available: Tokens,
    },
    /// No seat.
    #[error("insufficient seats for component {component}: 1 required, 0 available")]
    Seats {
        /// Of which component.
        component: Text,
    },
}

impl Shortage {
    /// The component that could not be had.
    pub const fn component(&self) -> &Text {
        match self {
            Shortage::UnknownComponent(component)
            | Shortage::NoEntitlement(component)
            | Shortage::Tokens { component, .. }
            | Shortage::Seats { component } => component,
        }
    }

    /// Whether waiting may help.
    pub const fn is_for_want_of_capacity(&self) -> bool {
        match self {
            Shortage::Tokens { .. } | Shortage::Seats { .. } => true,
            Shortage::UnknownComponent(_) | Shortage::NoEntitlement(_) => false,
        }
    }

    /// The denial that a usage row shows (components 7.2).
    pub const fn denial(&self) -> Denial {
        match self {
            Shortage::UnknownComponent(_) => Denial::UnknownItem,
            Shortage::NoEntitlement(_) => Denial::NoLineItem,
            Shortage::Tokens { .. } | Shortage::Seats { .. } => Denial::Insufficient,
        }
    }
}

impl ComponentRefusal {
    /// The symbol, `code` on the wire.
    pub const fn symbol(&self) -> &'static str {
        self.symbol_and_status().0
    }

    /// The number, `status` on the wire: placeholders of ours, for the vendor's are not published
    /// (components 6, U-6).
    pub const fn status(&self) -> u64 {
        self.symbol_and_status().1
    }

    const fn symbol_and_status(&self) -> (&'static str, u64) {
        match self {
            ComponentRefusal::InvalidRequest(_) => ("INVALID_REQUEST", 1000),
            ComponentRefusal::UnknownProduct => ("UNKNOWN_PRODUCT", 1001),
            ComponentRefusal::UnknownLicense => ("UNKNOWN_LICENSE", 1002),
            ComponentRefusal::UnknownInstance => ("UNKNOWN_INSTANCE", 1010),
            ComponentRefusal::InstanceMismatch => ("INSTANCE_MISMATCH", 1012),
            ComponentRefusal::UnknownUser => ("UNKNOWN_USER", 1020),
            ComponentRefusal::TermClosed => ("TERM_CLOSED", 1030),
            ComponentRefusal::LicenseFull { .. } => ("LICENSE_FULL", 1031),
            ComponentRefusal::LicenseNotConcurrent => ("LICENSE_NOT_CONCURRENT", 1032),
            ComponentRefusal::UnknownSession => ("UNKNOWN_SESSION", 1040),
            ComponentRefusal::SessionClosed => ("SESSION_CLOSED", 1041),
            ComponentRefusal::SessionLapsed => ("SESSION_LAPSED", 1042),
            ComponentRefusal::SessionRevoked => ("SESSION_REVOKED", 1043),
            ComponentRefusal::Denied(Shortage::UnknownComponent(_)) => ("UNKNOWN_COMPONENT", 1050),
            ComponentRefusal::Denied(Shortage::NoEntitlement(_)) => ("NO_ENTITLEMENT", 1051),
            ComponentRefusal::Denied(Shortage::Tokens { .. }) => ("TOKENS_SHORT", 1052),
            ComponentRefusal::Denied(Shortage::Seats { .. }) => ("SEATS_SHORT", 1053),
            ComponentRefusal::NotCheckedOut(_) => ("NOT_CHECKED_OUT", 1054),
        }
    }
}
