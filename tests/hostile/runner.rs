//! Reads the files of cases and plays them. A case is a line of exchanges: what is sent on a new
//! connection, what must be answered, whether the connection then still serves, and what may have
//! changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farebox::domain::tokens::Tokens;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::http_client::{Answer, Client, bytes_of};
use crate::server::text;
use crate::text::bytes;
use crate::world::{Limited, World};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    /// What is small in its world.
    #[serde(default)]
    world: Limited,
    /// Where bodies are sent, method and path, unless a case says something else.
    #[serde(default)]
    send: String,
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The rows of the tables that it tells, with spaces between.
    row: String,
    name: String,
    /// Why the product does something else than the table wanted.
    #[serde(default)]
    instead: String,
    /// `=`: nothing has changed; `+3`: so many tokens more are used, and there is a record of it;
    /// `changed`: something is recorded. Of the whole case.
    #[serde(default = "same")]
    state: String,
    /// Bodies, or calls (method and path), or the bytes of whole requests; each on a connection of
    /// its own, and with the answers that it must have.
    #[serde(default)]
    bodies: Vec<[String; 2]>,
    #[serde(default)]
    calls: Vec<[String; 2]>,
    #[serde(default)]
    raws: Vec<[String; 2]>,
    /// What they have in common.
    #[serde(default)]
    all: Step,
    /// What follows them, where more is to be said of it.
    #[serde(default)]
    step: Vec<Step>,
}

impl Case {
    /// Everything that it sends, in order.
    fn steps(&self, send: &str) -> Vec<Step> {
        let all = &self.all;
        let target = if all.send.is_empty() { send } else { &all.send };
        let bodies = self.bodies.iter().map(|[body, expect]| {
            let (send, body) = (target.to_owned(), body.clone());
            Step { send, body, expect: expect.clone(), ..all.clone() }
        });
        let calls = self.calls.iter().map(|[send, expect]| Step {
            send: send.clone(),
            expect: expect.clone(),
            ..all.clone()
        });
        let raws = self.raws.iter().map(|[raw, expect]| Step {
            raw: raw.clone(),
            expect: expect.clone(),
            ..all.clone()
        });
        let further = self.step.iter().map(|step| {
            let plain = step.send.is_empty() && step.raw.is_empty();
            let send = if plain { target.to_owned() } else { step.send.clone() };
            Step { send, ..step.clone() }
        });
        bodies.chain(calls).chain(raws).chain(further).collect()
    }
}

fn same() -> String {
    "=".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    /// Method and path: `Host`, a token and the length are added.
    send: String,
    /// Further headers, one a line.
    headers: String,
    /// `$ADMIN` unless said; empty for none.
    token: String,
    body: String,
    /// What it says that its body is; empty to say nothing.
    #[serde(rename = "type")]
    media_type: String,
    /// Instead of all that: the bytes themselves.
    raw: String,
    /// How the client ends what it sends: `fin` or `rst`. Else it goes on listening.
    end: String,
    /// The answers: `200`, `400 bad-json`, `3 * 200, 400`; `none` for an end without one.
    expect: String,
    /// Words that the last answer has, in its head or its body.
    says: Vec<String>,
    /// What is taken from the answer's body: a name for later steps, and where it stands.
    learn: Vec<[String; 2]>,
    /// Whether the server ends the connection. If not, it must go on to serve.
    closes: bool,
    /// After how many seconds it does so. Time then passes as soon as everybody waits.
    after: Option<u64>,
}

impl Default for Step {
    fn default() -> Step {
        Step {
            send: String::new(),
            headers: String::new(),
            token: "$ADMIN".to_owned(),
            body: String::new(),
            media_type: "application/json".to_owned(),
            raw: String::new(),
            end: String::new(),
            expect: String::new(),
            says: Vec::new(),
            learn: Vec::new(),
            closes: false,
            after: None,
        }
    }
}

/// What a file has told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) rows: BTreeSet<String>,
    pub(crate) cases: usize,
    /// Requests, or what is meant for one.
    pub(crate) sent: usize,
}

/// The folder of the cases.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/hostile")
}

/// The rows that a file has cases for, unplayed.
pub(crate) fn rows_of(file: &str) -> Told {
    let cases = read(file).case;
    let rows = cases.iter().flat_map(|case| case.row.split(' ')).map(str::to_owned);
    let sent = cases.iter().map(|case| case.steps("").len()).sum();
    Told { rows: rows.collect(), cases: cases.len(), sent }
}

fn read(file: &str) -> Cases {
    let text = fs::read_to_string(folder().join(file)).expect("a file of cases");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Plays a file to a world of its own. All its cases are told of before it fails.
pub(crate) async fn play(file: &str) {
    let Cases { world, send, case } = read(file);
    let mut world = World::new(world).await;
    let mut failures = Vec::new();
    let mut before = world.picture().await;
    for case in &case {
        let shown = format!("{} {}", case.row, case.name);
        for (number, step) in case.steps(&send).iter().enumerate() {
            if let Err(why) = play_step(&mut world, step).await {
                failures.push(format!("{shown}, step {}: {why}", number + 1));
            }
        }
        let after = world.picture().await;
        let fine = match case.state.strip_prefix('+') {
            Some(more) => {
                let more = Tokens::parse(more).expect("an amount");
                before.used.checked_add(more) == Some(after.used) && after != before
            }
            None if case.state == "=" => after == before,
            None => after != before && case.state == "changed",
        };
        if !fine {
            let difference = before.difference(&after);
            let used = format!("{} used, then {}", before.used, after.used);
            failures.push(format!("{shown}: `{}` is wrong: {used}, {difference}", case.state));
        }
        before = after;
    }
    let Told { rows, sent, .. } = rows_of(file);
    let instead = case.iter().filter(|case| !case.instead.is_empty()).count();
    let (cases, rows) = (case.len(), rows.len());
    println!("{file}: {cases} cases of {rows} rows, {sent} inputs; {instead} unlike the table");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

async fn play_step(world: &mut World, step: &Step) -> Result<(), String> {
    let mut client = world.server.connect().await;
    let sent = sent(world, step);
    let began = Instant::now();
    if step.after.is_some() {
        tokio::time::pause(); // From here on time passes when everybody waits.
    }
    // Of what the server refused unread, not everything can be sent.
    let whole = client.stream.write_all(&sent).await.is_ok();
    match step.end.as_str() {
        "" => {}
        "fin" => client.stream.shutdown().await.expect("it can be ended"),
        "rst" => client.stream.set_zero_linger().expect("a reset instead of an end"),
        other => return Err(format!("`{other}` is no end")),
    }
    if step.end == "rst" {
        return Ok(()); // It falls here, and nobody is left to be answered.
    }
    let played = answers(world, step, &mut client, whole).await;
    if let Some(seconds) = step.after {
        let (took, expected) = (began.elapsed(), Duration::from_secs(seconds));
        tokio::time::resume();
        if took < expected || took > expected * 5 / 4 {
            return Err(format!("it was let go after {took:?}, not after {expected:?}"));
        }
    }
    played
}

fn sent(world: &World, step: &Step) -> Vec<u8> {
    if !step.raw.is_empty() {
        return bytes(&world.filled(&step.raw));
    }
    let mut head = step.send.clone();
    if !step.token.is_empty() {
        head += &format!("\nauthorization: Bearer {}", step.token);
    }
    if !step.media_type.is_empty() {
        head += &format!("\ncontent-type: {}", step.media_type);
    }
    if !step.headers.is_empty() {
        head += &format!("\n{}", step.headers.trim_end());
    }
    bytes_of(&world.filled(&head), &world.filled(&step.body)).into_bytes()
}

async fn answers(
    world: &mut World,
    step: &Step,
    client: &mut Client,
    whole: bool,
) -> Result<(), String> {
    let mut last: Option<Answer> = None;
    for expected in expected(&step.expect) {
        let answer = client.try_answer().await;
        let found = answer.as_ref().map_or_else(|| "none".to_owned(), outcome);
        if found != expected {
            return Err(format!("`{found}` instead of `{expected}`: {answer:?}"));
        }
        last = answer;
    }
    if let Some(answer) = &last {
        for words in &step.says {
            let words = world.filled(words);
            if !answer.head.contains(&words) && !answer.body.contains(&words) {
                return Err(format!("it does not say `{words}`: {answer:?}"));
            }
        }
        for [name, pointer] in &step.learn {
            world.name(name, text(&answer.json(), pointer));
        }
    }
    if step.closes || last.is_none() || !step.end.is_empty() {
        return match client.try_answer().await {
            None => Ok(()),
            Some(further) => Err(format!("the connection goes on: {further:?}")),
        };
    }
    if !whole {
        return Err("the server ended the connection".to_owned());
    }
    // Whatever it was: the connection is still in step.
    let _ = client.stream.write_all(bytes_of("GET /livez", "").as_bytes()).await;
    match client.try_answer().await {
        Some(answer) if answer.status == 200 && answer.body == r#"{"status":"live"}"# => Ok(()),
        other => Err(format!("the connection serves no further request: {other:?}")),
    }
}

fn outcome(answer: &Answer) -> String {
    match answer.outcome() {
        (status, code) if code == "ok" => status.to_string(),
        (status, code) => format!("{status} {code}"),
    }
}

/// `2 * 200, 400 bad-json` is `200`, `200`, `400 bad-json`; `nothing` is no answer expected at all.
fn expected(text: &str) -> Vec<String> {
    let parts = text.split(", ").map(|part| part.split_once(" * ").unwrap_or(("1", part)));
    let times =
        |(times, one): (&str, &str)| vec![one.to_owned(); times.parse().expect("how many times")];
    parts.flat_map(times).collect()
}
