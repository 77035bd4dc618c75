//! Examples of the component API. A test sends them in order to a real server.

use serde_json::{Value, json};

use super::super::operation::Method;
use super::examples::Examples;
use super::licensing::{COMPONENT, LICENSE, PRODUCT};
use super::requests::put;

/// The ids that the examples name.
pub(super) const INSTALLATION: &str = "e1f3a5c7-2b4d-4f60-8a9c-0d2e4f6a8b1c";
pub(super) const USER: &str = "7c5e3a19-8d6f-4b2a-9e0c-4a6c8e0f2b3d";
pub(super) const SESSION: &str = "2f9b4d7a-6c1e-4e83-b5a0-9d3f7b1c5e68";
const CHECKOUT: &str = "d4b2f0e8-1a3c-4d5e-8f70-6b8d0f2a4c9e";
const AT: &str = "2030-01-10T09:00:00Z";

/// What can be sent to a method.
pub(super) fn bodies(method: Method) -> Examples {
    let key = json!({ "session_key": SESSION });
    let begin = json!({
        "product_guid": PRODUCT, "instance_guid": INSTALLATION, "user_guid": USER,
        "version": "4.2",
    });
    match method {
        Method::RegisterInstance => vec![(
            "installation",
            json!({
                "product_guid": PRODUCT, "license_key": LICENSE,
                "instance_identity": {
                    "_max_mismatch_count": 1,
                    "host": "pc17", "disk": "S3Z9", "mac": { "value": ["0a:1b"], "_weight": 2 },
                },
                "user_identity": { "login": "lisa" },
            }),
        )],
        Method::BeginAppSession | Method::BeginUserSession => vec![("session", begin)],
        Method::ExtendSession => {
            let extension = json!({ "session_key": SESSION, "duration": 1800 });
            let enveloped = json!({ "key": "", "data": extension.to_string() });
            vec![("extension", extension), ("enveloped", enveloped)]
        }
        Method::EndSession | Method::ComponentsStatus => vec![("session", key)],
        Method::CheckOutComponents => vec![
            ("one", json!({ "session_key": SESSION, "components": COMPONENT })),
            (
                "waiting",
                json!({ "session_key": SESSION, "components": [COMPONENT], "wait_seconds": 5 }),
            ),
        ],
        Method::CheckInComponents => {
            vec![("components", json!({ "session_key": SESSION, "components": [COMPONENT] }))]
        }
        Method::CheckOutLicense => {
            let mut begin = begin;
            put(&mut begin, "duration", json!(86_400));
            vec![("license", begin)]
        }
        Method::CheckInLicense => vec![("checkout", json!({ "checkout_key": CHECKOUT }))],
    }
}

/// What a method answers when all goes well.
pub(super) fn answer(method: Method) -> Value {
    let standing = json!({
        "components": [{
            "name": COMPONENT, "license_model": "token", "tokens_required": 30,
            "free_trial": false, "original_tokens_required": 30,
        }],
        "component_entitlements": [{
            "components": [COMPONENT], "tokens_entitled": 100, "tokens_in_use": 30,
            "tokens_in_use_by_session": 30, "sessions_entitled": 0, "sessions_in_use": 0,
            "in_use_by_session": false,
        }],
    });
    let succeeded = |more: Value| {
        let mut whole = json!({ "status": 0, "time": AT });
        for (name, value) in more.as_object().into_iter().flatten() {
            put(&mut whole, name, value.clone());
        }
        whole
    };
    match method {
        Method::RegisterInstance => {
            succeeded(json!({ "instance_guid": INSTALLATION, "user_guid": USER }))
        }
        Method::BeginAppSession | Method::BeginUserSession => {
            let mut begun = succeeded(standing);
            put(&mut begun, "session_key", json!(SESSION));
            put(&mut begun, "features", json!(["Batch"]));
            put(&mut begun, "session_duration", json!(3600));
            put(&mut begun, "grace_period_for_validation_failures", json!(86_400));
            begun
        }
        Method::ExtendSession => succeeded(json!({
            "features": ["Batch"], "session_duration": 1800,
            "grace_period_for_validation_failures": 86400,
        })),
        Method::EndSession => succeeded(json!({ "success": true })),
        Method::CheckOutComponents | Method::CheckInComponents => succeeded(standing),
        Method::ComponentsStatus => standing,
        Method::CheckOutLicense => succeeded(json!({
            "checkout_key": CHECKOUT, "expiration_time": "2030-01-11T09:00:00Z",
            "features": ["Batch"],
        })),
        Method::CheckInLicense => succeeded(json!({})),
    }
}
