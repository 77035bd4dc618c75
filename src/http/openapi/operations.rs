//! What every operation is for. An operation without a description does not compile.

use super::super::operation::Operation;
use super::{components, licensing};

/// The body of an answer that is none of the errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// None.
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
    /// Lines of JSON, each of this schema.
    Lines(&'static str),
    /// Something else, of this media type.
    Media(&'static str),
}

/// What is said of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
    /// The schema of its body, if it has one.
    pub(super) body: Option<&'static str>,
    pub(super) status: u16,
    pub(super) answer: Shape,
    /// Whether the answer says when the session's client is to be heard of.
    pub(super) paced: bool,
    /// The codes of its own: those that its route shows come by themselves.
    pub(super) codes: &'static [&'static str],
}

pub(super) const fn about(group: &'static str, summary: &'static str, text: &'static str) -> About {
    let (answer, codes) = (Shape::Nothing, &[]);
    About { group, summary, text, body: None, status: 204, answer, paced: false, codes }
}

impl About {
    pub(super) const fn body(self, schema: &'static str) -> About {
        About { body: Some(schema), ..self }
    }

    pub(super) const fn answers(self, status: u16, answer: Shape) -> About {
        About { status, answer, ..self }
    }

    pub(super) const fn paced(self) -> About {
        About { paced: true, ..self }
    }

    pub(super) const fn codes(self, codes: &'static [&'static str]) -> About {
        About { codes, ..self }
    }
}

use Shape::{Json, Lines, Media, Nothing};

const RATE_TABLES: &str = "Rate tables";
const INSTANCES: &str = "Instances";
const LINE_ITEMS: &str = "Line items";
const RULES: &str = "Rules of access";
const ACCESS: &str = "Access";
const SESSIONS: &str = "Sessions";
const PRODUCER: &str = "Configuration";
const RECORDS: &str = "Usage and decisions";
const KEYS: &str = "Keys";
const OPERATION: &str = "Running the broker";

const BAD_KEYS: &[&str] = &["bad-key", "too-many-keys", "no-items", "too-many-items"];

/// What is said of an operation.
pub(super) const fn of(operation: Operation) -> About {
    match operation {
        Operation::SaveAdministrationKeys => about(
            KEYS,
            "Save administration keys",
            "Tokens signed by the private half of one may do everything. A key of an id that is \
             registered replaces it. It counts from the next request on. The key of the example \
             is for trying only: take it as public, its private half too, and send your own.",
        )
        .body("NewKeys")
        .answers(200, Nothing)
        .codes(BAD_KEYS),
        Operation::SaveClientKeys => about(
            KEYS,
            "Save client keys",
            "Tokens signed by the private half of one reach the instances that they name. A key \
             of an id that is registered replaces it. It counts from the next request on.",
        )
        .body("NewKeys")
        .answers(200, Nothing)
        .codes(BAD_KEYS),
        Operation::DeleteAdministrationKey => about(
            KEYS,
            "Delete an administration key",
            "Its tokens are refused from the next request on. The last one stays.",
        )
        .answers(200, Nothing)
        .codes(&["last-key"]),
        Operation::DeleteClientKey => {
            about(KEYS, "Delete a client key", "Its tokens are refused from the next request on.")
                .answers(200, Nothing)
        }
        Operation::ListPublicKeys => {
            about(KEYS, "List the public keys by page", "Of both kinds, in order of creation.")
                .answers(200, Json("PublicKeys"))
        }
        Operation::PublishRateTable => about(
            RATE_TABLES,
            "Publish a rate table",
            "Prices items in tokens. A table is never changed: the next one of its series takes \
             over from its `effectiveFrom` on.",
        )
        .body("NewRateTable")
        .answers(201, Json("Saved"))
        .codes(&[
            "bad-rate",
            "too-precise",
            "too-large",
            "bad-time",
            "no-items",
            "too-many-items",
            "priced-twice",
            "bad-formula",
            "conflicting-fields",
            "rate-table-exists",
            "record-too-long",
        ]),
        Operation::ListRateTables => about(
            RATE_TABLES,
            "List all rate tables",
            "Those in effect, those before them, and those to come.",
        )
        .answers(200, Json("RateTables")),
        Operation::DeleteRateTable => about(
            RATE_TABLES,
            "Delete a rate table that is not in effect yet",
            "One that has taken effect stays. Without `series` only a table without one is meant.",
        )
        .codes(&["unknown-rate-table", "rate-table-in-effect"]),
        Operation::CreateInstance => about(
            INSTANCES,
            "Create an instance",
            "A container for line items of one account. The first of an account is its default.",
        )
        .body("NewInstance")
        .answers(200, Json("Instance")),
        Operation::ListInstances => about(
            INSTANCES,
            "List instances by page, or find an account's default one",
            "Either `next` and `size`, or `accountId` together with `default=true`.",
        )
        .answers(200, Json("Instances")),
        Operation::MapLineItem => about(
            LINE_ITEMS,
            "Map a line item, or replace its terms",
            "Creates the line item in the instance; if it exists, all its terms are replaced and \
             what has been used of it stays.",
        )
        .body("NewLineItem")
        .answers(200, Json("LineItem"))
        .codes(&["line-item-invalid", "mapped-elsewhere", "removal-pending"]),
        Operation::ListLineItems => about(
            LINE_ITEMS,
            "List the line items of an instance",
            "In the order in which they are charged. Not to be polled: access requests tell \
             balances.",
        )
        .answers(200, Json("LineItems")),
        Operation::ReadLineItem => {
            about(LINE_ITEMS, "Read a line item", "Its terms, and what has been used of it.")
                .answers(200, Json("LineItem"))
        }
        Operation::DeleteLineItem => about(
            LINE_ITEMS,
            "Delete an OBSOLETE line item",
            "Its rows in the usage stay. While a session's paid period still rests on it, its id \
             cannot be mapped again.",
        )
        .codes(&["not-obsolete"]),
        Operation::CreateActions => about(
            RULES,
            "Give a line item its first list of actions",
            "They decide who may use the line item, and how much of it. Without any it is open \
             to all.",
        )
        .body("NewActions")
        .answers(200, Json("Actions"))
        .codes(&["bad-action", "bad-id", "too-many-items", "actions-exist"]),
        Operation::ReadActions => {
            about(RULES, "Read a line item's actions", "In the order in which they decide.")
                .answers(200, Json("Actions"))
        }
        Operation::ReplaceActions => about(
            RULES,
            "Replace a line item's actions",
            "Entries with an `id` keep their counter; those without are added; an action that is \
             left out is gone, with its counter.",
        )
        .body("NewActions")
        .answers(200, Json("Actions"))
        .codes(&["bad-action", "bad-id", "too-many-items"]),
        Operation::DeleteActions => {
            about(RULES, "Delete all actions of a line item", "It is open to all again.")
        }
        Operation::ListActions => about(
            RULES,
            "List the actions of all line items",
            "By page, in the order in which the line items were mapped.",
        )
        .answers(200, Json("ActionsPage")),
        Operation::ListConditions => {
            about(RULES, "List the conditions of an instance", "In the order of their creation.")
                .answers(200, Json("Conditions"))
        }
        Operation::ChangeConditions => about(
            RULES,
            "Add or change conditions",
            "A condition asks after the requester's `dictionary`. All of them are taken or none. \
             POST and PATCH are the same.",
        )
        .body("NewConditions")
        .answers(200, Json("Conditions"))
        .codes(&[
            "bad-condition",
            "bad-id",
            "no-items",
            "too-many-items",
            "conflicting-fields",
            "record-too-long",
        ]),
        Operation::DeleteConditions => {
            about(RULES, "Delete all conditions", "Only if no action refers to any of them.")
                .codes(&["condition-in-use"])
        }
        Operation::DeleteCondition => {
            about(RULES, "Delete a condition", "Only if no action refers to it.")
                .codes(&["condition-in-use"])
        }
        Operation::OneOffAccess => about(
            ACCESS,
            "Ask for access once",
            "Each item is granted or denied by itself, and charged at once; there is no refund. \
             The answer is 200 whatever becomes of the items: each has its own status.",
        )
        .body("AccessRequest")
        .answers(200, Json("AccessAnswer"))
        .codes(&[
            "bad-count",
            "too-large",
            "no-items",
            "too-many-items",
            "conflicting-fields",
            "bad-variable",
            "too-many-variables",
            "formula-failed",
            "record-too-long",
        ]),
        Operation::CreateSession => about(
            SESSIONS,
            "Create a session",
            "It is IDLE and costs nothing until it is given a set of items.",
        )
        .body("NewSession")
        .answers(200, Json("SessionCreated"))
        .paced()
        .codes(&["unknown-instance", "instance-mismatch", "session-quota"]),
        Operation::ListSessions => about(
            SESSIONS,
            "List the live sessions of an instance",
            "IDLE and ACTIVE ones, the newest first, 100 at most.",
        )
        .answers(200, Json("Sessions"))
        .codes(&["unknown-instance", "instance-mismatch"]),
        Operation::ReadSession => {
            about(SESSIONS, "Read a session", "Its state, and what it uses while it is ACTIVE.")
                .answers(200, Json("Session"))
                .paced()
        }
        Operation::SessionAccess => about(
            SESSIONS,
            "Give a session the set of items that it uses from now on",
            "The rest of the paid period is refunded and a new one begins: charged now, and again \
             every interval. All items are granted or none. The answer is 200 also where the set \
             is denied: each item has its own status.",
        )
        .body("SessionAccessRequest")
        .answers(200, Json("AccessAnswer"))
        .paced()
        .codes(&[
            "bad-count",
            "too-large",
            "too-many-items",
            "conflicting-fields",
            "bad-variable",
            "too-many-variables",
            "formula-failed",
            "record-too-long",
            "too-many-line-items",
            "session-busy",
            "session-terminated",
            "session-failed",
        ]),
        Operation::Heartbeat => about(
            SESSIONS,
            "Show that the client is still there",
            "Wanted after each automatic charge, from `x-heartbeat-from` to `x-heartbeat-due-by`. \
             204 means go on. GET and POST are the same.",
        )
        .paced()
        .codes(&["session-busy", "session-terminated", "session-failed"]),
        Operation::CloseSession => {
            about(SESSIONS, "End a session", "The rest of the paid period is refunded.")
                .answers(200, Nothing)
                .paced()
                .codes(&["session-busy", "session-terminated", "session-failed"])
        }
        Operation::ReadConfiguration => {
            about(PRODUCER, "Read the settings", "v1.0 does not list `session.charge.period`.")
                .answers(200, Json("Settings"))
        }
        Operation::ChangeConfiguration => {
            about(PRODUCER, "Change settings", "All of them are taken or none.")
                .body("NewSettings")
                .answers(200, Json("Settings"))
                .codes(&[
                    "unknown-setting",
                    "bad-setting",
                    "bad-interval",
                    "no-items",
                    "too-many-items",
                ])
        }
        Operation::ReadUsage => about(
            RECORDS,
            "Read usage rows",
            "A line for each item and line item charged or refunded, and for each denied item, in \
             the order of the journal. Go on after the `sequence` of the last row; where there was \
             none, after `x-sequence`.",
        )
        .answers(200, Lines("UsageRow"))
        .codes(&["unknown-instance", "journal-busy"]),
        Operation::ExplainDecision => about(
            RECORDS,
            "Explain a decision",
            "Why a request, an automatic charge or an end came out as it did, and what would have \
             had to be otherwise. Read from the journal, one at a time.",
        )
        .answers(200, Json("Decision"))
        .codes(&["unknown-decision", "journal-busy"]),
        Operation::Licensing(operation) => licensing::about_it(operation),
        Operation::Component(method) => components::about_it(method),
        Operation::ReadTestClock => {
            about(OPERATION, "Read the test clock", "Only under `serve --test-clock`.")
                .answers(200, Json("Clock"))
        }
        Operation::MoveTestClock => about(
            OPERATION,
            "Move the test clock",
            "Only under `serve --test-clock`. Whatever falls due until then has happened when this \
             is answered. The one change that knows no `Idempotency-Key` and refuses it: a `set` \
             may be repeated.",
        )
        .body("ClockMove")
        .answers(200, Json("Clock"))
        .codes(&["bad-time", "conflicting-fields", "bad-idempotency-key"]),
        Operation::Liveness => {
            about(OPERATION, "Whether the process answers", "").answers(200, Json("Health"))
        }
        Operation::Readiness => about(
            OPERATION,
            "Whether requests can be served",
            "503 with the reason if they cannot.",
        )
        .answers(200, Json("Health")),
        Operation::Metrics => about(OPERATION, "Figures", "In Prometheus' text format.")
            .answers(200, Media("text/plain")),
        Operation::ReadDescription => about(OPERATION, "This description", "OpenAPI 3.1, as JSON.")
            .answers(200, Media("application/json")),
        Operation::ReadPage => {
            let text = "One page, without scripts. Also at `/docs/errors`, where `type` of an error leads.";
            about(OPERATION, "This description, to be read", text).answers(200, Media("text/html"))
        }
    }
}
