//! `demo`: the main job, shown. The same program as a child process on a free loopback port, the
//! tutorial's calls over real HTTP, a kill -9 in the middle, and a check of every figure.

/// Prints a line. Whoever reads it may have gone: the demo ends in order all the same.
macro_rules! show {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod server;

use std::process::ExitStatus;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::server::Server;
use crate::cli::{Demo, Ending};

/// 2036-01-01T00:00:00Z: the tutorial's own end, 2026-09-26, has passed.
const END_MS: u64 = 2_082_758_400_000;
const START_MS: u64 = 1_695_772_800_000;

/// Runs it. The exit status says whether every figure was right.
pub(crate) fn run(arguments: &Demo) -> Result<Ending, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        let mut tour = Tour { server: Server::start().await?, wrong: Vec::new(), finished: false };
        let run = tokio::select! {
            biased;
            () = stop => Ok(()),
            run = tour.run(arguments.keep) => run,
        };
        tour.server.end().await; // Whatever happened: no process and no directory stays behind.
        run?;
        if !tour.finished {
            return Ok(Ending::Wrong("stopped before its end".to_owned()));
        }
        if tour.wrong.is_empty() {
            show!("\nEvery figure was right.");
            return Ok(Ending::Fine);
        }
        Ok(Ending::Wrong(format!("wrong figures: {}", tour.wrong.join("; "))))
    })
}

/// The calls in their order, and what was not as it should be.
struct Tour {
    server: Server,
    wrong: Vec<String>,
    finished: bool,
}

impl Tour {
    async fn run(&mut self, keep: bool) -> Result<(), String> {
        self.show().await?;
        self.finished = true;
        if keep {
            self.server.say_how_to_call();
            std::future::pending().await // Until the user has enough.
        }
        Ok(())
    }

    async fn show(&mut self) -> Result<(), String> {
        say("1. The producer publishes a rate table: what an item costs in tokens.");
        let table = r#"{ "effectiveFrom": 1698849852000, "series": "PublicationApps", "version": "1",
       "items": [ { "name": "PhotoPrint", "version": "1.0", "rate": 3 },
                  { "name": "SignPrint", "version": "1.0", "rate": 4 },
                  { "name": "CADPrint", "version": "2.0", "rate": 7 } ] }"#;
        let answer = self.server.admin("POST", "/provisioning/api/v1.0/rate-tables", table).await?;
        self.check("status of the rate table", &json!(answer.status), &json!(201));

        say("2. A customer, ACME, gets an instance, and in it a line item of 1000 tokens.");
        let instance = r#"{ "shortName": "ACME-def-inst", "accountId": "ACME" }"#;
        let answer =
            self.server.admin("POST", "/provisioning/api/v1.0/instances", instance).await?;
        let id = text(&answer.body, "/id")?;
        let line_item = format!(
            r#"{{ "activationId": "ACT01-Elastic", "state": "DEPLOYED", "quantity": 1000,
       "start": {START_MS}, "end": {END_MS},
       "attributes": {{ "elastic": true, "rateTableSeries": "PublicationApps" }} }}"#
        );
        let line_items = format!("/provisioning/api/v1.0/instances/{id}/line-items");
        self.server.admin("PUT", &line_items, &line_item).await?;
        self.server.use_instance(&id)?;
        self.used(&id, "before anything is charged", &json!(0)).await?;

        say(
            "3. LisaBarry uses 10 x PhotoPrint and 2 x CADPrint, once: 10 x 3 + 2 x 7 = 44 tokens.",
        );
        let request = |more: &str| {
            format!(
                r#"{{ "requester": {{ "type": "user", "value": "LisaBarry" }},{more}
       "requestedItems": [ {{ "item": "PhotoPrint", "version": "1.0", "count": 10 }},
                           {{ "item": "CADPrint", "version": "2.0", "count": 2 }} ] }}"#
            )
        };
        let access = format!("/elastic/api/v1.0/instances/{id}/access-request");
        let answer = self.server.client("POST", &access, &request("")).await?;
        self.check_charge(&answer.body);
        self.used(&id, "after the one-off request", &json!(44)).await?;

        say(
            "4. The same items in a session: paid for an hour in advance, refunded to the millisecond.",
        );
        let body = format!(r#"{{ "instanceId": "{id}" }}"#);
        let answer = self.server.client("POST", "/api/v1.0/sessions", &body).await?;
        let session = format!("/api/v1.0/sessions/{}", text(&answer.body, "/sessionId")?);
        let whole_set = request(r#" "rollbackOnDeny": true,"#);
        let answer = self.server.client("PUT", &session, &whole_set).await?;
        self.check_charge(&answer.body);
        self.used(&id, "while the session is active", &json!(88)).await?;
        let answer = self.server.client("DELETE", &session, "").await?;
        self.check("status of the close", &json!(answer.status), &json!(200));
        let after_close = self.server.used(&id).await?;
        let consumed = millionths(&after_close).and_then(|used| used.checked_sub(44_000_000));
        // A token of the 44 pays for 81.8 seconds; the tour takes far less than one minute.
        let fair = consumed.is_some_and(|consumed| consumed < 44_000_000 / 60);
        show!("   used after the close: {after_close} (44 and the milliseconds of the session)");
        if !fair {
            self.wrong.push(format!("used after the close is {after_close}"));
        }

        say("5. kill -9, and a new start on the same directory: nothing acknowledged is lost.");
        let status: ExitStatus = self.server.kill().await?;
        show!("   the server is gone: {status}");
        self.server.restart().await?;
        self.used(&id, "after the restart", &after_close).await
    }

    /// The answer to a request for the tutorial's two items.
    fn check_charge(&mut self, body: &Value) {
        for (pointer, expected) in [
            ("/requestedItems/0/status/code", json!("101")),
            ("/requestedItems/0/totalTokensCharged", json!(30)),
            ("/requestedItems/1/status/code", json!("101")),
            ("/requestedItems/1/totalTokensCharged", json!(14)),
        ] {
            self.check(pointer, body.pointer(pointer).unwrap_or(&Value::Null), &expected);
        }
    }

    async fn used(&mut self, id: &str, when: &str, expected: &Value) -> Result<(), String> {
        let used = self.server.used(id).await?;
        show!("   used {when}: {used}");
        self.check(&format!("used {when}"), &used, expected);
        Ok(())
    }

    fn check(&mut self, what: &str, found: &Value, expected: &Value) {
        if found != expected {
            self.wrong.push(format!("{what} is {found}, not {expected}"));
        }
    }
}

/// Ends with SIGTERM, SIGINT or SIGHUP.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be heard: {error}"));
    let (mut terminate, mut interrupt, mut hang_up) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
        listen(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            biased;
            _ = hang_up.recv() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn say(sentence: &str) {
    show!("\n{sentence}");
}

fn text(body: &Value, pointer: &str) -> Result<String, String> {
    let found = body.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("the answer has no {pointer}: {body}"))
}

/// An amount of at most six decimals as a whole number of millionths: no floating point.
fn millionths(amount: &Value) -> Option<u64> {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let padded = format!("{whole}{fraction:0<6}");
    if fraction.len() > 6 { None } else { padded.parse().ok() }
}
