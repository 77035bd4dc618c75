//! What a call can be for: one handler each.

/// What a call does: one handler each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Liveness,
    Readiness,
    Metrics,
    ReadDescription,
    ReadPage,
    ReadTestClock,
    MoveTestClock,
    SaveAdministrationKeys,
    DeleteAdministrationKey,
    SaveClientKeys,
    DeleteClientKey,
    ListPublicKeys,
    PublishRateTable,
    ListRateTables,
    DeleteRateTable,
    CreateInstance,
    ListInstances,
    MapLineItem,
    ListLineItems,
    ReadLineItem,
    DeleteLineItem,
    CreateActions,
    ReadActions,
    ReplaceActions,
    DeleteActions,
    ListActions,
    ListConditions,
    ChangeConditions,
    DeleteConditions,
    DeleteCondition,
    OneOffAccess,
    CreateSession,
    ListSessions,
    ReadSession,
    SessionAccess,
    Heartbeat,
    CloseSession,
    ReadConfiguration,
    ChangeConfiguration,
    ReadUsage,
    ExplainDecision,
    /// Administration of component licensing.
    Licensing(Licensing),
    /// A method of the component API.
    Component(Method),
}

/// What administration does about component licensing (components 2.1b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Licensing {
    SaveProduct,
    ReadProduct,
    DeleteProduct,
    ListProducts,
    SaveComponent,
    ReadComponent,
    DeleteComponent,
    ListComponents,
    SaveLicense,
    ReadLicense,
    DeleteLicense,
    ListLicenses,
    SaveEntitlement,
    ReadEntitlement,
    DeleteEntitlement,
    ListEntitlements,
    ListHolders,
    ListWaiters,
    RevokeSession,
}

/// A method of the component API (components 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    RegisterInstance,
    BeginAppSession,
    BeginUserSession,
    ExtendSession,
    EndSession,
    CheckOutComponents,
    ComponentsStatus,
    CheckInComponents,
    CheckOutLicense,
    CheckInLicense,
}

impl Operation {
    /// Whether it changes something, and so may come under an idempotency key. A heartbeat may come
    /// as often as it likes.
    pub(super) const fn is_change(self) -> bool {
        match self {
            Operation::PublishRateTable
            | Operation::DeleteRateTable
            | Operation::CreateInstance
            | Operation::MapLineItem
            | Operation::DeleteLineItem
            | Operation::CreateActions
            | Operation::ReplaceActions
            | Operation::DeleteActions
            | Operation::ChangeConditions
            | Operation::DeleteConditions
            | Operation::DeleteCondition
            | Operation::OneOffAccess
            | Operation::CreateSession
            | Operation::SessionAccess
            | Operation::CloseSession
            | Operation::ChangeConfiguration
            | Operation::SaveAdministrationKeys
            | Operation::DeleteAdministrationKey
            | Operation::SaveClientKeys
            | Operation::DeleteClientKey => true,
            Operation::Licensing(operation) => operation.is_change(),
            Operation::Component(method) => method.is_change(),
            Operation::Liveness
            | Operation::Readiness
            | Operation::Metrics
            | Operation::ReadDescription
            | Operation::ReadPage
            | Operation::ReadTestClock
            | Operation::MoveTestClock
            | Operation::ListRateTables
            | Operation::ListInstances
            | Operation::ListLineItems
            | Operation::ReadLineItem
            | Operation::ReadActions
            | Operation::ListActions
            | Operation::ListConditions
            | Operation::ListSessions
            | Operation::ReadSession
            | Operation::Heartbeat
            | Operation::ReadConfiguration
            | Operation::ReadUsage
            | Operation::ExplainDecision
            | Operation::ListPublicKeys => false,
        }
    }

    /// The label in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Operation::Liveness => "liveness",
            Operation::Readiness => "readiness",
            Operation::Metrics => "metrics",
            Operation::ReadDescription => "read-description",
            Operation::ReadPage => "read-page",
            Operation::ReadTestClock => "read-test-clock",
            Operation::MoveTestClock => "move-test-clock",
            Operation::SaveAdministrationKeys => "save-administration-keys",
            Operation::DeleteAdministrationKey => "delete-administration-key",
            Operation::SaveClientKeys => "save-client-keys",
            Operation::DeleteClientKey => "delete-client-key",
            Operation::ListPublicKeys => "list-public-keys",
            Operation::PublishRateTable => "publish-rate-table",
            Operation::ListRateTables => "list-rate-tables",
            Operation::DeleteRateTable => "delete-rate-table",
            Operation::CreateInstance => "create-instance",
            Operation::ListInstances => "list-instances",
            Operation::MapLineItem => "map-line-item",
            Operation::ListLineItems => "list-line-items",
            Operation::ReadLineItem => "read-line-item",
            Operation::DeleteLineItem => "delete-line-item",
            Operation::CreateActions => "create-actions",
            Operation::ReadActions => "read-actions",
            Operation::ReplaceActions => "replace-actions",
            Operation::DeleteActions => "delete-actions",
            Operation::ListActions => "list-actions",
            Operation::ListConditions => "list-conditions",
            Operation::ChangeConditions => "change-conditions",
            Operation::DeleteConditions => "delete-conditions",
            Operation::DeleteCondition => "delete-condition",
            Operation::OneOffAccess => "access-request",
            Operation::CreateSession => "create-session",
            Operation::ListSessions => "list-sessions",
            Operation::ReadSession => "read-session",
            Operation::SessionAccess => "session-access",
            Operation::Heartbeat => "heartbeat",
            Operation::CloseSession => "close-session",
            Operation::ReadConfiguration => "read-configuration",
            Operation::ChangeConfiguration => "change-configuration",
            Operation::ReadUsage => "read-usage",
            Operation::ExplainDecision => "explain-decision",
            Operation::Licensing(operation) => operation.name(),
            Operation::Component(method) => method.name(),
        }
    }
}

impl Licensing {
    const fn is_change(self) -> bool {
        match self {
            Licensing::SaveProduct
            | Licensing::DeleteProduct
            | Licensing::SaveComponent
            | Licensing::DeleteComponent
            | Licensing::SaveLicense
            | Licensing::DeleteLicense
            | Licensing::SaveEntitlement
            | Licensing::DeleteEntitlement
            | Licensing::RevokeSession => true,
            Licensing::ReadProduct
            | Licensing::ListProducts
            | Licensing::ReadComponent
            | Licensing::ListComponents
            | Licensing::ReadLicense
            | Licensing::ListLicenses
            | Licensing::ReadEntitlement
            | Licensing::ListEntitlements
            | Licensing::ListHolders
            | Licensing::ListWaiters => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Licensing::SaveProduct => "save-product",
            Licensing::ReadProduct => "read-product",
            Licensing::DeleteProduct => "delete-product",
            Licensing::ListProducts => "list-products",
            Licensing::SaveComponent => "save-component",
            Licensing::ReadComponent => "read-component",
            Licensing::DeleteComponent => "delete-component",
            Licensing::ListComponents => "list-components",
            Licensing::SaveLicense => "save-license",
            Licensing::ReadLicense => "read-license",
            Licensing::DeleteLicense => "delete-license",
            Licensing::ListLicenses => "list-licenses",
            Licensing::SaveEntitlement => "save-entitlement",
            Licensing::ReadEntitlement => "read-entitlement",
            Licensing::DeleteEntitlement => "delete-entitlement",
            Licensing::ListEntitlements => "list-entitlements",
            Licensing::ListHolders => "list-holders",
            Licensing::ListWaiters => "list-waiters",
            Licensing::RevokeSession => "revoke-session",
        }
    }
}

impl Method {
    const fn is_change(self) -> bool {
        match self {
            Method::ComponentsStatus => false,
            Method::RegisterInstance
            | Method::BeginAppSession
            | Method::BeginUserSession
            | Method::ExtendSession
            | Method::EndSession
            | Method::CheckOutComponents
            | Method::CheckInComponents
            | Method::CheckOutLicense
            | Method::CheckInLicense => true,
        }
    }

    /// Whether it only goes on, or gives back: such calls always find a place.
    pub(super) const fn gives_back(self) -> bool {
        match self {
            Method::ExtendSession
            | Method::EndSession
            | Method::CheckInComponents
            | Method::CheckInLicense => true,
            Method::RegisterInstance
            | Method::BeginAppSession
            | Method::BeginUserSession
            | Method::CheckOutComponents
            | Method::ComponentsStatus
            | Method::CheckOutLicense => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Method::RegisterInstance => "register-instance",
            Method::BeginAppSession => "begin-app-session",
            Method::BeginUserSession => "begin-user-session",
            Method::ExtendSession => "extend-session",
            Method::EndSession => "end-session",
            Method::CheckOutComponents => "check-out-components",
            Method::ComponentsStatus => "components-status",
            Method::CheckInComponents => "check-in-components",
            Method::CheckOutLicense => "check-out-license",
            Method::CheckInLicense => "check-in-license",
        }
    }
}
