//! What the HTTP stage does about access requests: asked with `balances`, done or only quoted.

use farebox::broker::{AccessAnswer, Reach};
use farebox::domain::event::Event;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::http_client;
use super::http_rules::{self, Take};
use super::http_stage::{OverHttp, Version, digits, pacing, read};
use super::model::amount::half_even_9;
use super::model::{
    Amount, Answer, Available, Item, ItemAnswer, OnDeny, SessionAnswer, Standing, Status,
};
use super::product;

/// The answer to an access request (spec 2.7), and no member more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Granted<'a> {
    #[serde(borrow)]
    requested_items: Vec<GrantedItem<'a>>,
    requester: Value,
    correlation_id: String,
    dry_run: Option<bool>,
    balances: Vec<Balance<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantedItem<'a> {
    item: String,
    version: Option<String>,
    #[serde(borrow)]
    count: &'a RawValue,
    total_tokens_charged: &'a RawValue,
    line_items: Vec<Take<'a>>,
    status: CodeAndWords,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeAndWords {
    code: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Balance<'a> {
    activation_id: String,
    #[serde(borrow)]
    used: &'a RawValue,
    available: &'a RawValue,
}

impl Balance<'_> {
    fn standing(&self) -> Standing {
        let available = match self.available.get() {
            "null" => Available::Unbounded,
            _ => Available::Tokens(digits(self.available)),
        };
        let (activation, used) = (self.activation_id.clone(), digits(self.used));
        Standing { activation, used, available }
    }
}

/// What became of these items; the answer repeats them, counts as they were rounded (spec 3.7).
fn granted(stage: &mut OverHttp, asked: &[Item], answer: &Granted<'_>) -> Vec<ItemAnswer> {
    stage.standings = answer.balances.iter().map(Balance::standing).collect();
    assert_eq!(answer.requester, http_rules::requester(&stage.rules.who));
    assert_eq!(asked.len(), answer.requested_items.len(), "every item is answered");
    let one = |(asked, told): (&Item, &GrantedItem<'_>)| {
        let version = told.version.clone().unwrap_or_default();
        let (name, variables) = (told.item.clone(), asked.variables.clone()); // Not echoed.
        let item = Item { name, version, count: digits(told.count), variables };
        assert_eq!(item, Item { count: half_even_9(&asked.count), ..asked.clone() });
        assert!(!told.status.description.is_empty(), "a status has words");
        let line = |take: &Take<'_>| take.line(&stage.rules);
        let status = stage.version.status(&told.status.code);
        let total = digits(told.total_tokens_charged);
        ItemAnswer { item, status, total, lines: told.line_items.iter().map(line).collect() }
    };
    asked.iter().zip(&answer.requested_items).map(one).collect()
}

/// An answer without its words.
pub(super) struct Outline {
    pub(super) correlation_id: String,
    pub(super) items: Vec<(Status, Amount)>,
    pub(super) standings: Vec<Standing>,
}

/// What an answer of v1.1 says.
pub(super) fn outline(body: &str) -> Outline {
    let told: Granted<'_> = read(body);
    let item = |item: &GrantedItem<'_>| {
        (Version::V1_1.status(&item.status.code), digits(item.total_tokens_charged))
    };
    let items = told.requested_items.iter().map(item).collect();
    let standings = told.balances.iter().map(Balance::standing).collect();
    Outline { correlation_id: told.correlation_id, items, standings }
}

pub(super) fn rollback(on_deny: OnDeny) -> &'static str {
    match on_deny {
        OnDeny::RollBack => r#""rollbackOnDeny":true,"#,
        OnDeny::Terminate => r#""rollbackOnDeny":false,"#,
    }
}

pub(super) fn one_off(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    items: &[Item],
) -> Answer<Vec<ItemAnswer>> {
    let path = format!("/instances/{}/access-request", stage.instance(instance));
    let target = format!("POST {path}?balances=true&dryRun=false");
    let body = http_rules::asking(items, &stage.rules.who, "");
    let answer = stage.call(at, &target, &body, 200)?;
    let told: Granted<'_> = read(&answer.body);
    assert_eq!(told.dry_run, None);
    Ok(granted(stage, items, &told))
}

pub(super) fn of_session(
    stage: &mut OverHttp,
    at: u64,
    id: &str,
    items: &[Item],
    on_deny: OnDeny,
) -> Answer<SessionAnswer> {
    let target = format!("PUT {}?balances=true", stage.session_path(id));
    let body = http_rules::asking(items, &stage.rules.who, rollback(on_deny));
    let answer = stage.call(at, &target, &body, 200)?;
    let told: Granted<'_> = read(&answer.body);
    let Event::SessionAccess(access) = stage.record(&answer).event else {
        panic!("the answer to a PUT rests on its record")
    };
    assert_eq!(told.dry_run, None);
    assert_eq!(told.correlation_id, access.correlation.to_string());
    let (items, refund) = (granted(stage, items, &told), product::refunds(&access.refunds));
    let (state, charged_until) = stage.state_after(at, id, &answer);
    Ok(SessionAnswer { items, refund, state, charged_until })
}

pub(super) fn quote(
    stage: &mut OverHttp,
    at: u64,
    instance: &str,
    items: &[Item],
) -> Answer<Vec<ItemAnswer>> {
    let path = format!("/instances/{}/access-request", stage.instance(instance));
    let target = format!("POST {path}?dryRun=true&balances=true");
    let body = http_rules::asking(items, &stage.rules.who, "");
    let answer = quoted(stage, at, &target, &body)?;
    Ok(granted(stage, items, &read(&answer.body)))
}

pub(super) fn quote_session(
    stage: &mut OverHttp,
    at: u64,
    id: &str,
    items: &[Item],
    on_deny: OnDeny,
) -> Answer<SessionAnswer> {
    let target = format!("PUT {}?balances=true&dryRun=true", stage.session_path(id));
    let body = http_rules::asking(items, &stage.rules.who, rollback(on_deny));
    let answer = quoted(stage, at, &target, &body)?;
    // There is no record that would tell the refund; the library tells it.
    let request = product::request_of("somebody", &stage.rules.who, items).expect("it was read");
    let (session, on_deny) =
        (stage.sessions.get(id).expect("the story made it"), product::on_deny(on_deny));
    let asked = stage.server.broker.quote_session(Reach::Everywhere, session, request, on_deny);
    let told = stage.runtime.block_on(asked).expect("as over HTTP").value;
    let AccessAnswer::Session(access, ..) = &told else { panic!("a session's answer") };
    let refund = product::refunds(&access.refunds);
    let items = granted(stage, items, &read(&answer.body));
    assert_eq!(stage.standings, product::standings(&told));
    let (state, charged_until) = stage.state_after(at, id, &answer);
    Ok(SessionAnswer { items, refund, state, charged_until })
}

/// Asks for a quote, which changes nothing that can be seen, and no record names it.
fn quoted(stage: &mut OverHttp, at: u64, target: &str, body: &str) -> Answer<http_client::Answer> {
    let before = everything(stage, at);
    let told = stage.call(at, target, body, 200);
    assert_eq!(everything(stage, at), before, "a quote changes nothing");
    let answer = told?;
    let rests_on = answer.header("x-sequence").map(str::to_owned);
    assert!(before.iter().all(|(_, sequence, _)| *sequence == rests_on), "{answer:?}");
    assert_eq!(read::<Granted<'_>>(&answer.body).dry_run, Some(true));
    Ok(answer)
}

/// All that is shown of instance I, with the place in the journal that it rests on, and of sessions
/// when they want to be heard of.
fn everything(stage: &mut OverHttp, at: u64) -> Vec<(String, Option<String>, Option<[u64; 3]>)> {
    let instance = stage.instance("I").to_owned();
    let sessions: Vec<String> = stage.sessions.keys().cloned().collect();
    let mut targets = vec![
        format!("GET /instances/{instance}/line-items"),
        format!("GET /instances/{instance}/line-items/actions"),
        format!("GET /sessions?instanceId={instance}"),
    ];
    targets.extend(sessions.iter().map(|id| format!("GET {}", stage.session_path(id))));
    let mut shown = |target: String| {
        let answer = stage.call(at, &target, "", 200).expect("it can be read");
        let paces = answer.header("x-charged-until").is_some().then(|| pacing(&answer));
        (answer.body.clone(), answer.header("x-sequence").map(str::to_owned), paces)
    };
    targets.into_iter().map(&mut shown).collect()
}
