//! THE route table: method, path, who may call, which operation. And finding the entry of a call.

use hyper::{Method, StatusCode};
use matchit::Params;

use super::operation::Method as M;
use super::operation::{Licensing as L, Operation};
use super::path;
use super::problem::{Header, Problem};
use super::wire::Version;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Anybody, without a token.
    Anyone,
    /// An administration token.
    Administration,
    /// Either kind of token.
    ClientOrAdministration,
    /// Either; a client has to send `x-instance-id` as well.
    ClientOfInstanceOrAdministration,
}

/// One entry of the table.
#[derive(Debug)]
pub(super) struct Route {
    method: Method,
    path: &'static str,
    /// Who may call.
    pub(super) caller: Caller,
    /// The query parameters that it knows.
    pub(super) parameters: &'static [&'static str],
    /// What it does.
    pub(super) operation: Operation,
}

impl Route {
    /// The method of its calls.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Its path, with `{…}` for ids.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// Whether its calls bring a body.
    pub(super) fn has_body(&self) -> bool {
        self.method != Method::GET && self.method != Method::DELETE
    }
}

const fn route(
    method: Method,
    path: &'static str,
    caller: Caller,
    parameters: &'static [&'static str],
    operation: Operation,
) -> Route {
    Route { method, path, caller, parameters, operation }
}

use Caller::{Administration, Anyone, ClientOfInstanceOrAdministration, ClientOrAdministration};

const LINE_ITEMS: &str = "/instances/{instanceId}/line-items";
const LINE_ITEM: &str = "/instances/{instanceId}/line-items/{lineItemId}";
const ACTIONS: &str = "/instances/{instanceId}/line-items/{lineItemId}/actions";
const ALL_ACTIONS: &str = "/instances/{instanceId}/line-items/actions";
const CONDITIONS: &str = "/instances/{instanceId}/conditions";
const CONDITION: &str = "/instances/{instanceId}/conditions/{conditionId}";
const SESSION: &str = "/sessions/{sessionId}";
const HEARTBEAT: &str = "/sessions/{sessionId}/heartbeat";
const ACCESS: &str = "/instances/{instanceId}/access-request";
const ACCESS_PARAMETERS: &[&str] = &["dryRun", "balances"];
const PRODUCT: &str = "/products/{productGuid}";
const PARTS: &str = "/products/{productGuid}/components";
const PART: &str = "/products/{productGuid}/components/{name}";
const LICENSE: &str = "/licenses/{licenseKey}";
const ENTITLEMENTS: &str = "/licenses/{licenseKey}/entitlements";
const ENTITLEMENT: &str = "/licenses/{licenseKey}/entitlements/{entitlementId}";
const HOLDERS: &str = "/licenses/{licenseKey}/holders";
const WAITERS: &str = "/licenses/{licenseKey}/waiters";
const REVOKED: &str = "/licenses/{licenseKey}/sessions/{sessionKey}";
const PAGE: &[&str] = &["next", "size"];

/// Below `…/api/{version}`, once per operation for both versions (spec 2).
#[rustfmt::skip]
static ROUTES: &[Route] = &[
    route(Method::PUT, "/administration-keys", Administration, &[], Operation::SaveAdministrationKeys),
    route(Method::DELETE, "/administration-keys/{keyId}", Administration, &[], Operation::DeleteAdministrationKey),
    route(Method::PUT, "/client-keys", Administration, &[], Operation::SaveClientKeys),
    route(Method::DELETE, "/client-keys/{keyId}", Administration, &[], Operation::DeleteClientKey),
    route(Method::GET, "/public-keys", Administration, &["next", "size"], Operation::ListPublicKeys),
    route(Method::POST, "/rate-tables", Administration, &[], Operation::PublishRateTable),
    route(Method::GET, "/rate-tables", Administration, &[], Operation::ListRateTables),
    route(Method::DELETE, "/rate-tables", Administration, &["series", "version"], Operation::DeleteRateTable),
    route(Method::POST, "/instances", Administration, &[], Operation::CreateInstance),
    route(Method::GET, "/instances", Administration, &["next", "size", "accountId", "default"], Operation::ListInstances),
    route(Method::PUT, LINE_ITEMS, Administration, &[], Operation::MapLineItem),
    route(Method::GET, LINE_ITEMS, ClientOrAdministration, &[], Operation::ListLineItems),
    route(Method::GET, LINE_ITEM, ClientOrAdministration, &[], Operation::ReadLineItem),
    route(Method::DELETE, LINE_ITEM, Administration, &[], Operation::DeleteLineItem),
    route(Method::GET, ALL_ACTIONS, ClientOrAdministration, &["next"], Operation::ListActions),
    route(Method::POST, ACTIONS, ClientOrAdministration, &[], Operation::CreateActions),
    route(Method::GET, ACTIONS, ClientOrAdministration, &[], Operation::ReadActions),
    route(Method::PUT, ACTIONS, ClientOrAdministration, &[], Operation::ReplaceActions),
    route(Method::DELETE, ACTIONS, ClientOrAdministration, &[], Operation::DeleteActions),
    route(Method::GET, CONDITIONS, ClientOrAdministration, &[], Operation::ListConditions),
    route(Method::POST, CONDITIONS, ClientOrAdministration, &[], Operation::ChangeConditions),
    route(Method::PATCH, CONDITIONS, ClientOrAdministration, &[], Operation::ChangeConditions),
    route(Method::DELETE, CONDITIONS, ClientOrAdministration, &[], Operation::DeleteConditions),
    route(Method::DELETE, CONDITION, ClientOrAdministration, &[], Operation::DeleteCondition),
    route(Method::POST, ACCESS, ClientOrAdministration, ACCESS_PARAMETERS, Operation::OneOffAccess),
    route(Method::POST, "/sessions", ClientOfInstanceOrAdministration, &[], Operation::CreateSession),
    route(Method::GET, "/sessions", ClientOrAdministration, &["instanceId"], Operation::ListSessions),
    route(Method::GET, SESSION, ClientOfInstanceOrAdministration, &[], Operation::ReadSession),
    route(Method::PUT, SESSION, ClientOfInstanceOrAdministration, ACCESS_PARAMETERS, Operation::SessionAccess),
    route(Method::DELETE, SESSION, ClientOfInstanceOrAdministration, &[], Operation::CloseSession),
    route(Method::GET, HEARTBEAT, ClientOfInstanceOrAdministration, &[], Operation::Heartbeat),
    route(Method::POST, HEARTBEAT, ClientOfInstanceOrAdministration, &[], Operation::Heartbeat),
    route(Method::GET, "/configuration", Administration, &[], Operation::ReadConfiguration),
    route(Method::PATCH, "/configuration", Administration, &[], Operation::ChangeConfiguration),
    route(Method::GET, "/usage", Administration, &["after", "limit", "instance"], Operation::ReadUsage),
    route(Method::GET, "/decisions/{correlationId}", Administration, &[], Operation::ExplainDecision),
    route(Method::GET, "/products", Administration, PAGE, Operation::Licensing(L::ListProducts)),
    route(Method::PUT, PRODUCT, Administration, &[], Operation::Licensing(L::SaveProduct)),
    route(Method::GET, PRODUCT, Administration, &[], Operation::Licensing(L::ReadProduct)),
    route(Method::DELETE, PRODUCT, Administration, &[], Operation::Licensing(L::DeleteProduct)),
    route(Method::GET, PARTS, Administration, PAGE, Operation::Licensing(L::ListComponents)),
    route(Method::PUT, PART, Administration, &[], Operation::Licensing(L::SaveComponent)),
    route(Method::GET, PART, Administration, &[], Operation::Licensing(L::ReadComponent)),
    route(Method::DELETE, PART, Administration, &[], Operation::Licensing(L::DeleteComponent)),
    route(Method::GET, "/licenses", Administration, &["instanceId", "next", "size"], Operation::Licensing(L::ListLicenses)),
    route(Method::PUT, LICENSE, Administration, &[], Operation::Licensing(L::SaveLicense)),
    route(Method::GET, LICENSE, Administration, &[], Operation::Licensing(L::ReadLicense)),
    route(Method::DELETE, LICENSE, Administration, &[], Operation::Licensing(L::DeleteLicense)),
    route(Method::GET, ENTITLEMENTS, Administration, PAGE, Operation::Licensing(L::ListEntitlements)),
    route(Method::PUT, ENTITLEMENT, Administration, &[], Operation::Licensing(L::SaveEntitlement)),
    route(Method::GET, ENTITLEMENT, Administration, &[], Operation::Licensing(L::ReadEntitlement)),
    route(Method::DELETE, ENTITLEMENT, Administration, &[], Operation::Licensing(L::DeleteEntitlement)),
    route(Method::GET, HOLDERS, Administration, PAGE, Operation::Licensing(L::ListHolders)),
    route(Method::GET, WAITERS, Administration, PAGE, Operation::Licensing(L::ListWaiters)),
    route(Method::DELETE, REVOKED, Administration, &[], Operation::Licensing(L::RevokeSession)),
];

const fn method(path: &'static str, method: M) -> Route {
    route(Method::POST, path, ClientOrAdministration, &[], Operation::Component(method))
}

/// Below `/api/{version}`, from this version on: each is a superset of those before it
/// (components 2.0). The names are in one place, so that they can be changed in one.
#[rustfmt::skip]
static COMPONENTS: &[(Version, Route)] = &[
    (Version::V3_0, method("/auth/register_instance", M::RegisterInstance)),
    (Version::V3_0, method("/auth/begin_app_session", M::BeginAppSession)),
    (Version::V3_0, method("/auth/begin_user_session", M::BeginUserSession)),
    (Version::V3_0, method("/auth/extend_session", M::ExtendSession)),
    (Version::V3_0, method("/auth/end_session", M::EndSession)),
    (Version::V3_1, method("/auth/check_out_components", M::CheckOutComponents)),
    (Version::V3_1, method("/auth/components_status", M::ComponentsStatus)),
    (Version::V3_2, method("/auth/check_in_components", M::CheckInComponents)),
    (Version::V3_2, method("/auth/check_out_license", M::CheckOutLicense)),
    (Version::V3_2, method("/auth/check_in_license", M::CheckInLicense)),
];

/// Method and path of every entry below the prefixes, with `{…}` for ids: for those who describe or
/// test the API.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method.as_str(), route.path))
}

/// Version, method and path of every method of the component API, once for each version.
pub fn component_routes() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let all = Version::COMPONENTS.into_iter();
    all.flat_map(|version| components(version).map(move |route| (version, route)))
        .map(|(version, route)| (version.name(), route.method.as_str(), route.path))
}

/// The methods of a version of the component API.
pub(super) fn components(version: Version) -> impl Iterator<Item = &'static Route> + Clone {
    let known = COMPONENTS.iter().filter(move |(since, _)| *since <= version);
    known.map(|(_, route)| route)
}

/// The entries below the prefixes.
pub(super) fn below() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter()
}

/// The entries outside the prefixes.
pub(super) fn outside(has_test_clock: bool) -> impl Iterator<Item = &'static Route> + Clone {
    OUTSIDE.iter().chain(if has_test_clock { TEST_CLOCK } else { &[] })
}

/// Outside the prefixes, for those who run the broker.
static OUTSIDE: &[Route] = &[
    route(Method::GET, "/livez", Anyone, &[], Operation::Liveness),
    route(Method::GET, "/readyz", Anyone, &[], Operation::Readiness),
    route(Method::GET, "/metrics", Anyone, &[], Operation::Metrics),
    route(Method::GET, "/openapi.json", Anyone, &[], Operation::ReadDescription),
    route(Method::GET, "/docs", Anyone, &[], Operation::ReadPage),
];

/// Where the `type` of a problem leads: today to a part of the page, some day perhaps to a page of
/// its own. What callers have kept goes on leading there.
const ERRORS_PAGE: &str = "/docs/errors";

/// The same, where time is moved by hand; elsewhere these paths do not exist.
static TEST_CLOCK: &[Route] = &[
    route(Method::GET, "/test/clock", Administration, &[], Operation::ReadTestClock),
    route(Method::POST, "/test/clock", Administration, &[], Operation::MoveTestClock),
];

impl Operation {
    /// All of them: metrics have a row for each.
    pub(super) fn all() -> impl Iterator<Item = Operation> {
        let below = ROUTES.iter().chain(OUTSIDE).chain(TEST_CLOCK);
        below.chain(COMPONENTS.iter().map(|(_, route)| route)).map(|route| route.operation)
    }
}

/// The entry that a call belongs to.
#[derive(Debug)]
pub(super) struct Found<'r, 'p> {
    /// The entry.
    pub(super) route: &'static Route,
    /// The version that the path names; v1.1 outside the prefixes.
    pub(super) version: Version,
    params: Option<Params<'r, 'p>>,
}

impl<'p> Found<'_, 'p> {
    /// An id in the path, as it was sent.
    pub(super) fn param(&self, name: &str) -> Option<&'p str> {
        self.params.as_ref()?.get(name)
    }
}

/// Finds the entry of a call. Built once.
pub(super) struct Router {
    below: matchit::Router<Vec<&'static Route>>,
    has_test_clock: bool,
}

impl Router {
    /// The router over [`ROUTES`].
    pub(super) fn new(has_test_clock: bool) -> Router {
        let mut router = matchit::Router::<Vec<&'static Route>>::new();
        for route in ROUTES {
            match router.at_mut(route.path) {
                Ok(same_path) if same_path.value.iter().any(|other| other.path == route.path) => {
                    same_path.value.push(route);
                }
                Ok(_) | Err(_) => {
                    router.insert(route.path, vec![route]).expect("the table has no conflicts");
                }
            }
        }
        Router { below: router, has_test_clock }
    }

    /// The entry for a method and a path: 404 where there is no such path, 405 where it has other
    /// methods, 400 where it is no path at all.
    pub(super) fn find<'p>(
        &self,
        method: &Method,
        path: &'p str,
    ) -> Result<Found<'_, 'p>, Problem> {
        path::check(path).map_err(|bad| Problem::bad_request("bad-path", bad.0))?;
        let path = if path == ERRORS_PAGE { "/docs" } else { path };
        if let Some((version, rest)) = path::fold(path) {
            let Ok(matched) = self.below.at(rest) else { return Err(unknown_path()) };
            let route = by_method(matched.value.iter().copied(), method)?;
            return Ok(Found { route, version, params: Some(matched.params) });
        }
        if let Some((version, rest)) = path::fold_components(path) {
            let same_path = components(version).filter(|route| route.path == rest);
            let route = by_method(same_path, method)?;
            return Ok(Found { route, version, params: None });
        }
        let same_path = outside(self.has_test_clock).filter(|route| route.path == path);
        let route = by_method(same_path, method)?;
        Ok(Found { route, version: Version::V1_1, params: None })
    }
}

fn by_method(
    mut same_path: impl Iterator<Item = &'static Route> + Clone,
    method: &Method,
) -> Result<&'static Route, Problem> {
    let all = same_path.clone();
    if let Some(route) = same_path.find(|route| route.method == *method) {
        return Ok(route);
    }
    let methods: Vec<&str> = all.map(|route| route.method.as_str()).collect();
    if methods.is_empty() {
        return Err(unknown_path());
    }
    Err(method_not_allowed(methods.join(", ")))
}

/// 405, with the methods that are allowed.
pub(super) fn method_not_allowed(allow: String) -> Problem {
    let detail = format!("this path answers to {allow}");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    problem.with_header(Header::Allow(allow))
}

/// 404 for what is no path of ours.
pub(super) fn unknown_path() -> Problem {
    let detail = "there is no such path: it is `/api/v1.0/…` or `/api/v1.1/…`, without a trailing \
                  slash; methods of components are `/api/v3.2/auth/…`; `/test/clock` only with \
                  `serve --test-clock`";
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_method_and_path() {
        let router = Router::new(false);
        for route in ROUTES {
            let path = route.path.replace(['{', '}'], "");
            for version in ["v1.0", "v1.1"] {
                let path = format!("/dynamicmonetization/elastic/api/{version}{path}");
                let found = router.find(&route.method, &path).unwrap();
                assert_eq!(found.route.operation, route.operation, "{path}");
                assert_eq!(Some(found.version), Version::parse(version));
            }
        }
        let found = router.find(&Method::GET, "/api/v1.0/instances/a%20b/line-items/c").unwrap();
        assert_eq!(found.param("instanceId"), Some("a%20b"));
        assert_eq!(found.param("lineItemId"), Some("c"));
    }

    #[test]
    fn what_is_not_in_the_table_is_told_so() {
        let router = Router::new(false);
        let foo = Method::from_bytes(b"FOO").unwrap();
        let cases = [
            (&Method::GET, "/livez", "ok"),
            (&Method::POST, "/livez", "method-not-allowed"),
            (&Method::GET, "/api/v1.0/livez", "unknown-path"),
            (&Method::GET, "/", "unknown-path"),
            (&Method::GET, "/sessions", "unknown-path"),
            (&Method::GET, "/api/v1.0/sessions/", "unknown-path"),
            (&Method::GET, "/api/v1.0//sessions//x", "unknown-path"),
            (&Method::GET, "/api/v1.0/sessions//heartbeat", "unknown-path"),
            (&Method::GET, "/api/v1.0/sessions/x/heartbeat/", "unknown-path"),
            (&Method::GET, "/api/v1.0/sessions/../admin", "bad-path"),
            (&Method::GET, "/api/v1.0/sessions/%zz", "bad-path"),
            (&Method::PATCH, "/api/v1.0/sessions/x", "method-not-allowed"),
            (&Method::TRACE, "/api/v1.0/rate-tables", "method-not-allowed"),
            (&foo, "/api/v1.0/rate-tables", "method-not-allowed"),
            (&foo, "/api/v1.0/nothing", "unknown-path"),
        ];
        for (method, path, expected) in cases {
            let found = router.find(method, path);
            let code = found.as_ref().map_or_else(Problem::code, |_| "ok");
            assert_eq!(code, expected, "{method} {path}");
        }
        let refused = router.find(&Method::PATCH, "/api/v1.0/sessions/x").unwrap_err();
        let Some(Header::Allow(allow)) = refused.header() else {
            panic!("405 says what is allowed")
        };
        assert_eq!(allow, "GET, PUT, DELETE");
    }
}
