//! The description of the administration of component licensing (components 2.1b).

use serde_json::{Value, json};

use super::super::operation::Licensing;
use super::super::wire::licensing::{KEY_CHARS_MAX, POOL_MAX, SECONDS_MAX};
use super::answers::{NEXT, amount, list, object, text, time, whole, whole_number};
use super::examples::{Examples, HOUR, INSTANCE, LATER, LINE_ITEM, NOW};
use super::operations::{About, Shape, about};
use super::requests::{self, Named, closed, id, name, nullable, path_text, put, reference};
use crate::domain::limits::{COUNT_MAX, LICENSE_LISTS_MAX, TERM_MAX_MS};

pub(super) const PRODUCT: &str = "MeshStudio";
pub(super) const COMPONENT: &str = "Mesher";
pub(super) const LICENSE: &str = "ACME_2030";
pub(super) const ENTITLEMENT: &str = "E1";
/// The session that is revoked.
pub(super) const REVOKED: &str = "5b0e7f64-93c2-4d1a-8b7e-2c4f6a9d1e35";

const GROUP: &str = "Component licensing: administration";

/// What is said of an operation.
pub(super) const fn about_it(operation: Licensing) -> About {
    use Shape::Json;
    match operation {
        Licensing::SaveProduct => about(
            GROUP,
            "Create or rename a product",
            "One piece of software. Its components and licenses stay.",
        )
        .body("NewProduct")
        .answers(200, Json("Product"))
        .codes(&["too-many"]),
        Licensing::ReadProduct => {
            about(GROUP, "Read a product", "").answers(200, Json("Product"))
        }
        Licensing::DeleteProduct => {
            about(GROUP, "Delete a product", "Only one without components and licenses.")
                .codes(&["in-use"])
        }
        Licensing::ListProducts => {
            about(GROUP, "List the products by page", "By guid.").answers(200, Json("Products"))
        }
        Licensing::SaveComponent => about(
            GROUP,
            "Create or replace a component",
            "A separately licensed part of the product. What is checked out keeps the price of its \
             checkout.",
        )
        .body("NewComponent")
        .answers(200, Json("Component"))
        .codes(&["bad-license-model", "bad-rate", "too-precise", "too-large", "bad-time", "too-many"]),
        Licensing::ReadComponent => {
            about(GROUP, "Read a component", "").answers(200, Json("Component"))
        }
        Licensing::DeleteComponent => {
            about(GROUP, "Delete a component", "Only one that no entitlement lists.")
                .codes(&["in-use"])
        }
        Licensing::ListComponents => {
            about(GROUP, "List the components of a product by page", "In order of creation.")
                .answers(200, Json("Components"))
        }
        Licensing::SaveLicense => about(
            GROUP,
            "Create a license, or replace its terms",
            "It stays in its instance and with its product. Limits may be lowered below what is in \
             use: nobody is thrown out, and nobody new comes in.",
        )
        .body("NewLicense")
        .answers(200, Json("License"))
        .codes(&[
            "bad-time",
            "bad-number",
            "too-many-items",
            "unknown-product",
            "unknown-instance",
            "instance-mismatch",
            "license-fixed",
            "too-many",
            "record-too-long",
        ]),
        Licensing::ReadLicense => {
            about(GROUP, "Read a license", "").answers(200, Json("License"))
        }
        Licensing::DeleteLicense => about(
            GROUP,
            "Delete a license",
            "Only one without entitlements and running sessions. Its registrations go with it.",
        )
        .codes(&["in-use"]),
        Licensing::ListLicenses => about(
            GROUP,
            "List the licenses of an instance by page",
            "In order of creation.",
        )
        .answers(200, Json("Licenses"))
        .codes(&["unknown-instance", "instance-mismatch"]),
        Licensing::SaveEntitlement => about(
            GROUP,
            "Create or replace an entitlement",
            "A pool that its components draw on: of its own, or a line item of the instance, whose \
             tokens are then shared with access requests.",
        )
        .body("NewEntitlement")
        .answers(200, Json("Entitlement"))
        .codes(&[
            "bad-number",
            "too-many-items",
            "conflicting-fields",
            "unknown-component",
            "unknown-line-item",
            "in-use",
            "too-many",
            "record-too-long",
        ]),
        Licensing::ReadEntitlement => {
            about(GROUP, "Read an entitlement", "").answers(200, Json("Entitlement"))
        }
        Licensing::DeleteEntitlement => {
            about(GROUP, "Delete an entitlement", "Only one of whose pool nothing is held.")
                .codes(&["in-use"])
        }
        Licensing::ListEntitlements => about(
            GROUP,
            "List the entitlements of a license by page",
            "In order of creation, in which components choose among them.",
        )
        .answers(200, Json("Entitlements")),
        Licensing::ListHolders => about(
            GROUP,
            "List who holds what of a license, by page",
            "Its running sessions and the licenses that are taken out, in order of their beginning.",
        )
        .answers(200, Json("Holders")),
        Licensing::ListWaiters => about(
            GROUP,
            "List who waits in line for a license, by page",
            "In the order in which they come in.",
        )
        .answers(200, Json("Waiters")),
        Licensing::RevokeSession => about(
            GROUP,
            "Take a session, or a license that is taken out, back",
            "What it holds is free in the same instant. What it has consumed stays consumed.",
        )
        .codes(&["session-busy", "session-closed", "session-lapsed", "session-revoked"]),
    }
}

/// The schemas of bodies and answers.
pub(super) fn schemas() -> Vec<Named> {
    let page = |member: &str, one: &str| {
        let mut page = whole(json!({ "next": whole_number(NEXT) }));
        put(&mut page, &format!("/properties/{member}"), list(reference(one)));
        put(&mut page, "required", json!([member, "next"]));
        page
    };
    vec![
        ("NewProduct", closed(&["name"], json!({ "name": name("For people.") }))),
        ("NewComponent", new_component()),
        ("NewLicense", new_license()),
        ("NewEntitlement", new_entitlement()),
        (
            "Product",
            whole(json!({
                "productGuid": text("What clients name it by."), "name": text("For people."),
            })),
        ),
        ("Products", page("products", "Product")),
        (
            "Component",
            whole(json!({
                "name": text("What clients name it by."),
                "licenseModel": models(),
                "tokensRequired": amount("What a checkout costs outside a trial."),
                "freeTrialExpiration": nullable(time("Until when it is free; null: no trial.")),
            })),
        ),
        ("Components", page("components", "Component")),
        ("License", license()),
        ("Licenses", page("licenses", "License")),
        (
            "Entitlement",
            object(
                &["entitlementId", "components"],
                json!({
                    "entitlementId": text("Its name in the license."),
                    "components": list(text("A component that draws on it.")),
                    "tokens": nullable(whole_number("Tokens of its own pool; null: no limit.")),
                    "sessions": nullable(whole_number("Seats of its own pool; null: no limit.")),
                    "activationId": text("Instead: the line item that is its pool."),
                }),
            ),
        ),
        ("Entitlements", page("entitlements", "Entitlement")),
        ("Holder", holder()),
        ("Holders", page("holders", "Holder")),
        (
            "Waiter",
            whole(json!({
                "sessionKey": id("Whose session."),
                "component": text("What is waited for."),
                "pool": text("The entitlement or line item that is short."),
                "tokens": nullable(amount("So many tokens; null: a seat.")),
                "since": time("Since when."),
                "until": time("Until when."),
            })),
        ),
        ("Waiters", page("waiters", "Waiter")),
    ]
}

fn models() -> Value {
    json!({
        "enum": ["session", "token", "consumable token", "none"],
        "description": "A seat for as long as the session runs; tokens that come back with its \
                        end; tokens that are spent; nothing.",
    })
}

fn new_component() -> Value {
    let trial = requests::time(0, TERM_MAX_MS, "Until when it is free; null: no trial.");
    closed(
        &["licenseModel", "tokensRequired", "freeTrialExpiration"],
        json!({
            "licenseModel": models(),
            "tokensRequired": {
                "type": "number", "minimum": 0, "maximum": COUNT_MAX,
                "description": "What a checkout costs, where the model costs tokens. At most 9 \
                                decimals.",
            },
            "freeTrialExpiration": nullable(trial),
        }),
    )
}

fn seconds(least: u64, description: &str) -> Value {
    json!({
        "type": "integer", "format": "int64", "minimum": least, "maximum": SECONDS_MAX,
        "description": description,
    })
}

/// Where a limit may be `null`.
fn limit(description: &str) -> Value {
    json!({
        "type": ["integer", "null"], "format": "int64", "minimum": 0, "maximum": POOL_MAX,
        "description": description,
    })
}

fn new_license() -> Value {
    let term = closed(
        &["start", "end"],
        json!({
            "start": requests::time(0, TERM_MAX_MS, "The first instant."),
            "end": requests::time(0, TERM_MAX_MS, "The last instant, not before `start`."),
        }),
    );
    closed(
        &[
            "productGuid",
            "instanceId",
            "terms",
            "concurrentSessions",
            "features",
            "sessionDuration",
            "gracePeriod",
        ],
        json!({
            "productGuid": requests::text("Of which product; it never changes."),
            "instanceId": {
                "type": "string", "format": "uuid",
                "description": "Whose clients may use it; it never changes.",
            },
            "terms": {
                "type": "array", "maxItems": LICENSE_LISTS_MAX, "items": term,
                "description": "When it may be used. Outside of all of them everything is denied.",
            },
            "concurrentSessions": limit("How many sessions may run at once; null: no limit."),
            "features": {
                "type": "array", "maxItems": LICENSE_LISTS_MAX,
                "items": requests::text("Told to clients."),
            },
            "sessionDuration": seconds(1, "The longest that a session lasts unless extended, in seconds."),
            "gracePeriod": seconds(0, "How long a client may go on when it cannot validate, in \
                                       seconds: only told to it."),
        }),
    )
}

fn license() -> Value {
    whole(json!({
        "licenseKey": text("What clients register with."),
        "productGuid": text("Of which product."),
        "instanceId": id("Whose clients may use it."),
        "terms": list(whole(json!({
            "start": time("The first instant."), "end": time("The last instant."),
        }))),
        "concurrentSessions": nullable(whole_number("How many at once; null: no limit.")),
        "features": list(text("Told to clients.")),
        "sessionDuration": whole_number("In seconds."),
        "gracePeriod": whole_number("In seconds."),
    }))
}

fn new_entitlement() -> Value {
    let components = || {
        json!({
            "type": "array", "maxItems": LICENSE_LISTS_MAX,
            "items": requests::text("A component of the product."),
            "description": "Which components draw on it.",
        })
    };
    json!({ "oneOf": [
        closed(&["components", "tokens", "sessions"], json!({
            "components": components(),
            "tokens": limit("Tokens of its pool; null: no limit."),
            "sessions": limit("Seats of its pool; null: no limit."),
        })),
        closed(&["components", "activationId"], json!({
            "components": components(),
            "activationId": requests::text("The line item of the instance that is its pool."),
        })),
    ]})
}

fn holder() -> Value {
    let hold = whole(json!({
        "component": text("What is checked out."),
        "pool": nullable(text("The entitlement or line item; null: it was free, on trial.")),
        "tokens": nullable(amount("Tokens that are held; null: a seat.")),
        "since": time("When it was checked out."),
    }));
    whole(json!({
        "sessionKey": id("The session, or the checkout of a license that is taken out."),
        "instanceGuid": id("The installation."),
        "userGuid": id("The user."),
        "version": text("Of the program."),
        "offline": { "type": "boolean", "description": "Whether it is a license that is taken out." },
        "since": time("When it began."),
        "until": time("When it lapses."),
        "holds": list(hold),
    }))
}

/// An id of a path: its schema and an example.
pub(super) fn path_id(parameter: &str) -> Option<(Value, &'static str)> {
    let short = |description| {
        let mut id = path_text(description);
        put(&mut id, "maxLength", json!(KEY_CHARS_MAX));
        id
    };
    Some(match parameter {
        "productGuid" => (path_text("A product."), PRODUCT),
        "name" => (path_text("A component."), COMPONENT),
        "licenseKey" => (short("A license."), LICENSE),
        "entitlementId" => (short("An entitlement."), ENTITLEMENT),
        "sessionKey" => (path_text("A session, or a checkout of a license."), REVOKED),
        _ => return None,
    })
}

/// What can be sent to an operation.
pub(super) fn bodies(operation: Licensing) -> Examples {
    match operation {
        Licensing::SaveProduct => vec![("product", json!({ "name": "Mesh Studio" }))],
        Licensing::SaveComponent => vec![("token", sent_component())],
        Licensing::SaveLicense => vec![("concurrent", sent_license())],
        Licensing::SaveEntitlement => vec![
            ("pool", json!({ "components": [COMPONENT], "tokens": 100, "sessions": 0 })),
            ("lineItem", json!({ "components": [COMPONENT], "activationId": LINE_ITEM })),
        ],
        Licensing::ReadProduct
        | Licensing::DeleteProduct
        | Licensing::ListProducts
        | Licensing::ReadComponent
        | Licensing::DeleteComponent
        | Licensing::ListComponents
        | Licensing::ReadLicense
        | Licensing::DeleteLicense
        | Licensing::ListLicenses
        | Licensing::ReadEntitlement
        | Licensing::DeleteEntitlement
        | Licensing::ListEntitlements
        | Licensing::ListHolders
        | Licensing::ListWaiters
        | Licensing::RevokeSession => Vec::new(),
    }
}

fn sent_component() -> Value {
    json!({ "licenseModel": "token", "tokensRequired": 30, "freeTrialExpiration": null })
}

fn sent_license() -> Value {
    json!({
        "productGuid": PRODUCT, "instanceId": INSTANCE,
        "terms": [{ "start": 0, "end": LATER }], "concurrentSessions": 10,
        "features": ["Batch"], "sessionDuration": 3600, "gracePeriod": 86400,
    })
}

fn with(mut body: Value, member: &str, value: &str) -> Value {
    put(&mut body, member, json!(value));
    body
}

/// What an operation answers when all goes well; nothing where it answers nothing.
pub(super) fn answer(operation: Licensing) -> Option<Value> {
    let product = || json!({ "productGuid": PRODUCT, "name": "Mesh Studio" });
    let component = || with(sent_component(), "name", COMPONENT);
    let license = || with(sent_license(), "licenseKey", LICENSE);
    let entitlement = || {
        json!({
            "entitlementId": ENTITLEMENT, "components": [COMPONENT], "tokens": 100, "sessions": 0,
        })
    };
    Some(match operation {
        Licensing::SaveProduct | Licensing::ReadProduct => product(),
        Licensing::ListProducts => json!({ "products": [product()], "next": 0 }),
        Licensing::SaveComponent | Licensing::ReadComponent => component(),
        Licensing::ListComponents => json!({ "components": [component()], "next": 0 }),
        Licensing::SaveLicense | Licensing::ReadLicense => license(),
        Licensing::ListLicenses => json!({ "licenses": [license()], "next": 0 }),
        Licensing::SaveEntitlement | Licensing::ReadEntitlement => entitlement(),
        Licensing::ListEntitlements => json!({ "entitlements": [entitlement()], "next": 0 }),
        Licensing::ListHolders => json!({
            "holders": [{
                "sessionKey": super::component_examples::SESSION,
                "instanceGuid": super::component_examples::INSTALLATION,
                "userGuid": super::component_examples::USER,
                "version": "4.2", "offline": false, "since": NOW, "until": NOW + HOUR,
                "holds": [{
                    "component": COMPONENT, "pool": format!("{LICENSE}/{ENTITLEMENT}"), "tokens": 30, "since": NOW,
                }],
            }],
            "next": 0,
        }),
        Licensing::ListWaiters => json!({
            "waiters": [{
                "sessionKey": super::component_examples::SESSION, "component": COMPONENT,
                "pool": format!("{LICENSE}/{ENTITLEMENT}"), "tokens": 30, "since": NOW, "until": NOW + 60_000,
            }],
            "next": 0,
        }),
        Licensing::DeleteProduct
        | Licensing::DeleteComponent
        | Licensing::DeleteLicense
        | Licensing::DeleteEntitlement
        | Licensing::RevokeSession => return None,
    })
}
