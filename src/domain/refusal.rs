//! Every way of saying no before a request is decided on tokens, with its stable code.
//!
//! A refusal is an answer, not a fault: nothing is broken and nothing has changed. Denials of single
//! items are not refusals but verdicts ([`Denial`](super::charge::Denial)): those requests succeed.

use super::components::ComponentRefusal;
use super::ids::Text;
use super::limits::{KEYS_MAX, LINE_ITEMS_CHARGED_MAX};
use super::price::NoPrice;
use super::rates::PricedTwice;
use super::session::Ended;

/// What kind of no it is: the edge makes a status of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request cannot be right, whatever the state.
    Invalid,
    /// The caller may not.
    Forbidden,
    /// What it names does not exist.
    NotFound,
    /// It does not go with what exists.
    Conflict,
    /// The session has ended (spec 2.8): 403 or 409, by version.
    SessionEnded,
    /// A failure of component licensing: told in a body of its own form (components 5).
    Component,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The caller's token does not reach what it asks for.
    #[error("this token does not permit the call")]
    Forbidden,
    /// Without it nobody could administrate any more.
    #[error("it is the last administration key: save another one first")]
    LastKey,
    /// Path, query, header and body name different instances.
    #[error("path, query, `x-instance-id` and body name different instances")]
    InstanceMismatch,
    /// One item and version twice in a table.
    #[error("{0}: name it once")]
    PricedTwice(#[from] PricedTwice),
    /// The keys of one class would be too many.
    #[error(
        "there would be more than {KEYS_MAX} keys of this kind: delete those that are not used"
    )]
    TooManyKeys,
    /// A public key that cannot be registered; says why.
    #[error("{0}")]
    BadKey(String),
    /// A session would be charged to more line items than its end could name in one record.
    #[error(
        "the set would be charged to more than {LINE_ITEMS_CHARGED_MAX} line items: ask for less"
    )]
    TooManyLineItems,
    /// The formula of a requested item fails: a variable is missing, or it has no result that is a
    /// rate (spec 3.1).
    #[error("{0}")]
    FormulaFailed(#[from] NoPrice),
    /// No setting has this name.
    #[error("there is no such setting: they are `timezone.tolerant` and `session.charge.period`")]
    UnknownSetting,
    /// A setting cannot have this value.
    #[error("`timezone.tolerant` is `true` or `false`, as a text")]
    BadSetting,
    /// Not an automatic charge interval (spec 8).
    #[error(
        "`session.charge.period` is `PTnH`, `PTnM` or `PTnHnM`, from 10 minutes to 24 hours, such \
         as `PT1H30M`"
    )]
    BadInterval,
    /// A condition that does not exist, or too many of them.
    #[error("at {position}: {fault}")]
    BadCondition {
        /// Its place in the list sent, from 0.
        position: usize,
        /// What is wrong.
        fault: &'static str,
    },
    /// An action that cannot be.
    #[error("at {position}: {fault}")]
    BadAction {
        /// Its place in the list sent, from 0.
        position: usize,
        /// What is wrong.
        fault: &'static str,
    },
    /// A line item's terms are not valid; one sentence per fault, `path: reason`.
    #[error("{}", .0.join("; "))]
    LineItemInvalid(Vec<String>),
    /// No such instance.
    #[error("there is no such instance: GET /instances lists those that exist")]
    UnknownInstance,
    /// No such line item in the instance.
    #[error("the instance has no such line item")]
    UnknownLineItem,
    /// No such session, or not one that this call may see.
    #[error("there is no such session in the instance: POST /sessions creates one")]
    UnknownSession,
    /// No such condition in the instance.
    #[error("the instance has no such condition")]
    UnknownCondition,
    /// No record has this correlation id.
    #[error(
        "no record has this correlation id: a request that was refused leaves none, nor does one \
         that only asks what it would cost"
    )]
    UnknownDecision,
    /// No such key of this class.
    #[error("there is no such key: GET /public-keys lists those that exist")]
    UnknownKey,
    /// No such product.
    #[error("there is no such product: GET /products lists those that exist")]
    UnknownProduct,
    /// No such component of the product.
    #[error("the product has no such component")]
    UnknownComponent,
    /// No such licence.
    #[error("there is no such license: GET /licenses lists those that exist")]
    UnknownLicense,
    /// No such entitlement of the licence.
    #[error("the license has no such entitlement")]
    UnknownEntitlement,
    /// No such rate table.
    #[error("there is no rate table of this version in this series")]
    UnknownRateTable,
    /// The series already has a table of this version.
    #[error("series `{series}` already has version `{version}`: publish the next one")]
    RateTableExists {
        /// The series.
        series: Text,
        /// The version.
        version: Text,
    },
    /// A table that has taken effect stays.
    #[error("the rate table is in effect: publish a newer version instead of deleting it")]
    RateTableInEffect,
    /// The activation id is mapped to another instance.
    #[error("the activation id is mapped to another instance: use another id")]
    MappedElsewhere,
    /// Some action refers to the condition.
    #[error("actions refer to the condition: change them first")]
    ConditionInUse,
    /// The line item has actions already.
    #[error("the line item has actions: change them with PUT, or delete them first")]
    ActionsExist,
    /// A deleted line item is still used by a session (spec 6).
    #[error("a deleted line item of this id is still in use by a session: try again later")]
    RemovalPending,
    /// Only an OBSOLETE line item can be deleted.
    #[error("the line item is {state}: make it OBSOLETE first")]
    NotObsolete {
        /// Its state.
        state: &'static str,
    },
    /// A licence stays where it is.
    #[error("a license stays in its instance and with its product: use another key")]
    LicenseFixed,
    /// Something refers to it.
    #[error("{by}: change that first")]
    InUse {
        /// What refers to it, as a sentence.
        by: &'static str,
    },
    /// There are as many as there may be.
    #[error("there would be more than {limit} {what}: delete those that are not used")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// What a call of component licensing is refused with (components 5).
    #[error(transparent)]
    Component(#[from] ComponentRefusal),
    /// The session cannot be used again.
    #[error("Session is {}", .0.as_str())]
    SessionEnded(Ended),
}

impl Refusal {
    /// The stable name callers branch on. Never renamed; the wording above may improve.
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::Forbidden => "forbidden",
            Refusal::InstanceMismatch => "instance-mismatch",
            Refusal::PricedTwice(_) => "priced-twice",
            Refusal::BadKey(_) => "bad-key",
            Refusal::TooManyKeys => "too-many-keys",
            Refusal::LastKey => "last-key",
            Refusal::TooManyLineItems => "too-many-line-items",
            Refusal::FormulaFailed(_) => "formula-failed",
            Refusal::UnknownSetting => "unknown-setting",
            Refusal::BadSetting => "bad-setting",
            Refusal::BadInterval => "bad-interval",
            Refusal::BadCondition { .. } => "bad-condition",
            Refusal::BadAction { .. } => "bad-action",
            Refusal::LineItemInvalid(_) => "line-item-invalid",
            Refusal::UnknownInstance => "unknown-instance",
            Refusal::UnknownLineItem => "unknown-line-item",
            Refusal::UnknownSession => "unknown-session",
            Refusal::UnknownCondition => "unknown-condition",
            Refusal::UnknownDecision => "unknown-decision",
            Refusal::UnknownKey => "unknown-key",
            Refusal::UnknownRateTable => "unknown-rate-table",
            Refusal::UnknownProduct => "unknown-product",
            Refusal::UnknownComponent => "unknown-component",
            Refusal::UnknownLicense => "unknown-license",
            Refusal::UnknownEntitlement => "unknown-entitlement",
            Refusal::LicenseFixed => "license-fixed",
            Refusal::InUse { .. } => "in-use",
            Refusal::TooMany { .. } => "too-many",
            Refusal::Component(refusal) => refusal.symbol(),
            Refusal::RateTableExists { .. } => "rate-table-exists",
            Refusal::RateTableInEffect => "rate-table-in-effect",
            Refusal::MappedElsewhere => "mapped-elsewhere",
            Refusal::ConditionInUse => "condition-in-use",
            Refusal::ActionsExist => "actions-exist",
            Refusal::RemovalPending => "removal-pending",
            Refusal::NotObsolete { .. } => "not-obsolete",
            Refusal::SessionEnded(ended) => ended.code(),
        }
    }

    /// What kind of no this is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Refusal::Forbidden | Refusal::LastKey | Refusal::InstanceMismatch => {
                RefusalKind::Forbidden
            }
            Refusal::PricedTwice(_)
            | Refusal::BadKey(_)
            | Refusal::TooManyKeys
            | Refusal::TooManyLineItems
            | Refusal::TooMany { .. }
            | Refusal::FormulaFailed(_)
            | Refusal::UnknownSetting
            | Refusal::BadSetting
            | Refusal::BadInterval
            | Refusal::BadCondition { .. }
            | Refusal::BadAction { .. }
            | Refusal::LineItemInvalid(_) => RefusalKind::Invalid,
            Refusal::UnknownInstance
            | Refusal::UnknownLineItem
            | Refusal::UnknownSession
            | Refusal::UnknownCondition
            | Refusal::UnknownDecision
            | Refusal::UnknownKey
            | Refusal::UnknownProduct
            | Refusal::UnknownComponent
            | Refusal::UnknownLicense
            | Refusal::UnknownEntitlement
            | Refusal::UnknownRateTable => RefusalKind::NotFound,
            Refusal::RateTableExists { .. }
            | Refusal::RateTableInEffect
            | Refusal::MappedElsewhere
            | Refusal::ConditionInUse
            | Refusal::ActionsExist
            | Refusal::RemovalPending
            | Refusal::NotObsolete { .. }
            | Refusal::LicenseFixed
            | Refusal::InUse { .. } => RefusalKind::Conflict,
            Refusal::Component(_) => RefusalKind::Component,
            Refusal::SessionEnded(_) => RefusalKind::SessionEnded,
        }
    }
}
