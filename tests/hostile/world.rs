//! What the cases are played to: a server whose time stands still, two customers with line items,
//! rules and sessions in every state; and a picture of everything that anybody can see of it.

use std::sync::Arc;

use farebox::config::{Idempotency, Sessions, Settings};
use farebox::domain::time::Timestamp;
use farebox::domain::tokens::Tokens;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::http_client::{Client, bytes_of};
use crate::server::{TestServer, start_like, text};
use crate::text::{Names, filled};

/// 2023-11-26, when every sample is in effect.
const START: u64 = 1_701_000_000_000;

/// What the bodies of most cases have in common.
const SHORTHANDS: [(&str, &str); 3] = [
    ("REQUESTER", r#""requester":{"type":"user","value":"LisaBarry"}"#),
    ("PHOTO", r#""item":"PhotoPrint","version":"1.0""#),
    (
        "ASK",
        r#"{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#,
    ),
];

/// What is small in a world, where something is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limited {
    pub(crate) sessions: Option<usize>,
    pub(crate) sessions_per_instance: Option<usize>,
    pub(crate) idempotency_keys: Option<usize>,
    pub(crate) idempotency_keys_per_instance: Option<usize>,
}

impl Limited {
    fn settings(self) -> Settings {
        let (sessions, keys) = (Sessions::default(), Idempotency::default());
        Settings {
            sessions: Sessions {
                max: self.sessions.unwrap_or(sessions.max),
                per_instance_max: self.sessions_per_instance.unwrap_or(sessions.per_instance_max),
            },
            idempotency: Idempotency {
                keys_max: self.idempotency_keys.unwrap_or(keys.keys_max),
                keys_max_per_instance: self
                    .idempotency_keys_per_instance
                    .unwrap_or(keys.keys_max_per_instance),
                ..keys
            },
            ..Settings::default()
        }
    }
}

/// The server, and the names that the cases have for what is in it.
pub(crate) struct World {
    pub(crate) server: TestServer,
    pub(crate) names: Names,
    looking: Option<Client>,
}

/// Everything that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    shown: Vec<String>,
    /// What is used of the line items of `$ACME`, together.
    pub(crate) used: Tokens,
    /// The last record of the journal.
    last: u64,
}

impl World {
    pub(crate) async fn new(limited: Limited) -> World {
        let start = Timestamp::from_ms(START);
        let server =
            start_like(limited.settings(), Arc::new(|| "x".repeat(256 << 10)), start).await;
        let mut names = Names::from([("ADMIN".to_owned(), server.admin_token.clone())]);
        names.extend(SHORTHANDS.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let length = filled("$ASK", &names).len().to_string();
        names.insert("ASK_LENGTH".to_owned(), length);
        let mut world = World { server, names, looking: None };
        world.furnish().await;
        world
    }

    async fn furnish(&mut self) {
        self.server.publish_p().await;
        for (name, line_items) in [("ACME", ["ACT01", "ACT02"]), ("OTHER", ["ACT11", "ACT12"])] {
            let instance = self.server.instance(name).await;
            for line_item in line_items {
                self.server.line_item_named(&instance, line_item).await;
            }
            self.name(name, instance);
        }
        let condition = r#"{"conditions":[{"name":"c","condition":{"key":"k","operator":"IN","values":["v"]}}]}"#;
        let made = self.done("POST /api/v1.1/instances/$OTHER/conditions", condition).await;
        let action = json!([{
            "name": "some", "conditionId": text(&made, "/0/id"), "action": "ALLOW", "allocation": 100,
        }, {"name": "all", "action": "ALLOW"}]);
        let actions = "POST /api/v1.1/instances/$OTHER/line-items/ACT11/actions";
        self.done(actions, &action.to_string()).await;
        let (acme, other) = (self.filled("$ACME"), self.filled("$OTHER"));
        self.name("CLIENT", self.server.client_token(&[&acme]));
        self.name("BOTH", self.server.client_token(&[&acme, &other]));
        for (name, instance) in
            [("IDLE", "$ACME"), ("ACTIVE", "$ACME"), ("ENDED", "$ACME"), ("FOREIGN", "$OTHER")]
        {
            let body = format!(r#"{{"instanceId":"{instance}"}}"#);
            let made = self.done("POST /api/v1.1/sessions", &body).await;
            self.name(name, text(&made, "/sessionId"));
        }
        let set = r#"{"rollbackOnDeny":true,"requester":{"type":"user","value":"LisaBarry","dictionary":{"k":"v"}},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#;
        self.done("PUT /api/v1.1/sessions/$ACTIVE", set).await;
        self.done("PUT /api/v1.1/sessions/$FOREIGN", set).await;
        self.server.admin(&self.filled("DELETE /api/v1.1/sessions/$ENDED"), "").await;
        let close = self.filled("DELETE /api/v1.1/sessions/$ACTIVE\nauthorization: Bearer $ADMIN");
        let close = bytes_of(&close, "");
        self.name("CLOSE_LENGTH", close.len().to_string());
        self.name("CLOSE", close);
    }

    pub(crate) fn name(&mut self, name: &str, id: String) {
        self.names.insert(format!("{name}_IN_CAPITALS"), id.to_uppercase());
        self.names.insert(name.to_owned(), id);
    }

    pub(crate) fn filled(&self, text: &str) -> String {
        filled(text, &self.names)
    }

    async fn done(&self, target: &str, body: &str) -> Value {
        let answer = self.server.admin(&self.filled(target), &self.filled(body)).await;
        assert!(answer.status < 300, "{target}: {answer:?}");
        answer.json()
    }

    async fn look(&mut self, path: &str) -> String {
        let head = self.filled(&format!("GET /api/v1.1{path}\nauthorization: Bearer $ADMIN"));
        let mut client = match self.looking.take() {
            Some(client) => client,
            None => self.server.connect().await,
        };
        let _ = client.stream.write_all(bytes_of(&head, "").as_bytes()).await;
        let answer = match client.try_answer().await {
            Some(answer) => answer,
            None => {
                // It was idle for too long.
                client = self.server.connect().await;
                client.request(&head, "").await
            }
        };
        // A session may have been forgotten: that is a state too.
        assert!([200, 404].contains(&answer.status), "{path}: {answer:?}");
        self.looking = Some(client);
        if answer.status == 200 { answer.body } else { answer.outcome().1 }
    }

    /// Looks at everything. Of a session it is no change that it was heard of.
    pub(crate) async fn picture(&mut self) -> Picture {
        let mut shown = Vec::new();
        let mut used = Tokens::ZERO;
        for path in ["/instances", "/rate-tables", "/configuration"] {
            shown.push(self.look(path).await);
        }
        for instance in ["$ACME", "$OTHER"] {
            let line_items = self.look(&format!("/instances/{instance}/line-items")).await;
            if instance == "$ACME" {
                used = used_of(&line_items);
            }
            shown.push(line_items);
            for rules in ["line-items/actions", "conditions"] {
                shown.push(self.look(&format!("/instances/{instance}/{rules}")).await);
            }
            let sessions = self.look(&format!("/sessions?instanceId={instance}")).await;
            let mut sessions: Value = serde_json::from_str(&sessions).expect("a list");
            for session in sessions.as_array_mut().expect("a list") {
                session["lastHeartBeat"].take();
                session["lastAccessRequest"].take();
            }
            shown.push(sessions.to_string());
        }
        for session in ["$IDLE", "$ACTIVE", "$ENDED", "$FOREIGN"] {
            shown.push(self.look(&format!("/sessions/{session}")).await);
        }
        Picture { shown, used, last: self.server.broker.journal().last().get() }
    }

    /// The last record, for who waits for another one.
    pub(crate) fn last(&self) -> u64 {
        self.server.broker.journal().last().get()
    }

    /// Waits until something has been recorded after `last`.
    pub(crate) async fn recorded_after(&self, last: u64) {
        while self.last() == last {
            tokio::task::yield_now().await;
        }
    }
}

impl Picture {
    /// The first difference, for people.
    pub(crate) fn difference(&self, other: &Picture) -> String {
        let pairs = self.shown.iter().zip(&other.shown);
        let shown = pairs.filter(|(a, b)| a != b).map(|(a, b)| format!("{a}\nbecame\n{b}")).next();
        format!("record {} to {}: {}", self.last, other.last, shown.unwrap_or_default())
    }
}

/// What is used of all line items of a list, to the last digit.
fn used_of(line_items: &str) -> Tokens {
    let figures = line_items.split("\"used\":").skip(1).map(|rest| {
        let end = rest.find([',', '}']).expect("a figure ends");
        Tokens::parse(&rest[..end]).expect("an amount")
    });
    figures.fold(Tokens::ZERO, |sum, used| sum.checked_add(used).expect("a sum"))
}
