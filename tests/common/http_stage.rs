//! A third stage for the stories: the product behind its HTTP edge, under a test clock that is moved
//! over HTTP as well. Every amount is read from its digits. What HTTP does not show, which is what
//! was refunded, is read from the record that the answer names in `x-sequence`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use farebox::domain::event::{Event, Record};
use farebox::domain::ids::Sequence;
use farebox::domain::time::Timestamp;
use farebox::journal::format;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::http_access;
use super::http_client::{self, Client};
use super::http_rules::{self, Names};
use super::model::{
    self, Action, Amount, Answer, Available, Item, ItemAnswer, LineItemState, OnDeny, Overdraft,
    Price, RateTable, Refused, Rule, SessionAnswer, SessionState, Setting, Standing, Status, Terms,
    Who, decimal, whole,
};
use super::product;
use super::script::Stage;
use super::server::{self, TestServer};

/// Which of the two APIs (spec 2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1_0,
    V1_1,
}

impl Version {
    /// Its segment of every path, and with what status it says that a session is over.
    fn words(self) -> (&'static str, u16) {
        match self {
            Version::V1_0 => ("v1.0", 403),
            Version::V1_1 => ("v1.1", 409),
        }
    }

    /// The status that an item's code stands for: three digits in v1.0, four in v1.1.
    pub(super) fn status(self, code: &str) -> Status {
        match (self, code) {
            (Version::V1_0, "101") | (Version::V1_1, "1001") => Status::CheckedOut,
            (Version::V1_0, "102") | (Version::V1_1, "1002") => Status::NoStatus,
            (Version::V1_0, "201") | (Version::V1_1, "2001") => Status::ItemNotFound,
            (Version::V1_0, "301") | (Version::V1_1, "3001") => Status::NoActiveLineItem,
            (Version::V1_0, "306") | (Version::V1_1, "3006") => Status::Insufficient,
            (version, code) => panic!("{version:?} has no code {code}"),
        }
    }
}

/// A server of its own for each story, and one connection to it.
pub struct OverHttp {
    pub(super) runtime: Runtime,
    pub(super) server: TestServer,
    client: Client,
    pub(super) version: Version,
    now: u64,
    instances: BTreeMap<String, String>,
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) rules: Names,
    pub(super) standings: Vec<Standing>,
}

/// Of a line item what the stories ask for (spec 2.3).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineItem<'a> {
    activation_id: String,
    quantity: i64,
    #[serde(borrow)]
    used: &'a RawValue,
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    overdraft_type: Option<String>,
    overdraft_limit: Option<i64>,
}

pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a str) -> T {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

pub(super) fn digits(number: &RawValue) -> Amount {
    decimal(number.get())
}

/// The three pacing headers (spec 2.8).
pub(super) fn pacing(answer: &http_client::Answer) -> [u64; 3] {
    ["x-charged-until", "x-heartbeat-from", "x-heartbeat-due-by"].map(|name| {
        let value = answer.header(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {name}: {answer:?}"))
    })
}

impl OverHttp {
    pub fn open(at: u64, version: Version) -> OverHttp {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (server, client) = runtime.block_on(async {
            let server = server::start_with_test_clock(Timestamp::from_ms(at)).await;
            let client = server.connect().await;
            (server, client)
        });
        let (instances, sessions) = (BTreeMap::new(), BTreeMap::new());
        let (rules, standings) = (Names::default(), Vec::new());
        OverHttp {
            runtime,
            server,
            client,
            version,
            now: at,
            instances,
            sessions,
            rules,
            standings,
        }
    }

    /// A request of administration, outside the prefixes.
    fn send(&mut self, target: &str, body: &str) -> http_client::Answer {
        let head = format!(
            "{target}\nauthorization: Bearer {}\ncontent-type: application/json",
            self.server.admin_token
        );
        self.runtime.block_on(self.client.request(&head, body))
    }

    /// The same at a moment of the story, to which time has to come first; `target` has no prefix.
    /// An answer that is none says why the call was refused.
    pub(super) fn call(
        &mut self,
        at: u64,
        target: &str,
        body: &str,
        status: u16,
    ) -> Answer<http_client::Answer> {
        if at != self.now {
            let moved = self.send("POST /test/clock", &json!({"set": at}).to_string());
            assert_eq!((moved.status, moved.body), (200, format!(r#"{{"now":{at}}}"#)));
            self.now = at;
        }
        let (method, path) = target.split_once(' ').expect("method and path");
        let (segment, _) = self.version.words();
        let answer = self.send(&format!("{method} /api/{segment}{path}"), body);
        if answer.status == status {
            assert!(answer.header("x-sequence").is_some(), "{target}: {answer:?}");
            return Ok(answer);
        }
        Err(self.refused(target, &answer))
    }

    fn refused(&self, target: &str, answer: &http_client::Answer) -> Refused {
        let (_, session_ended) = self.version.words();
        let (status, code) = answer.outcome();
        match (status, code.as_str()) {
            (status, "session-terminated") if status == session_ended => {
                let message = server::text(&answer.json(), "/message");
                assert_eq!(message, "Session is TERMINATED", "{target}");
                assert_eq!(pacing(answer), [0, 0, 0], "{target}: {answer:?}");
                Refused::SessionDead(SessionState::Terminated)
            }
            (400, code) if code != "ok" => Refused::Invalid,
            (404, code) if code.starts_with("unknown-") && code != "unknown-path" => {
                Refused::NotFound
            }
            (409, code) if code != "ok" && !code.starts_with("session-") => Refused::Conflict,
            _ => panic!("{target}: neither an answer nor a refusal: {answer:?}"),
        }
    }

    /// The id of an instance; of one that the story never made, one that nobody has.
    pub(super) fn instance(&self, name: &str) -> &str {
        let unknown = "00000000-0000-4000-8000-000000000404";
        self.instances.get(name).map_or(unknown, String::as_str)
    }

    pub(super) fn session_path(&self, name: &str) -> String {
        format!("/sessions/{}", self.sessions.get(name).expect("the story made it"))
    }

    fn read_line_item(&mut self, at: u64, instance: &str, id: &str) -> Answer<http_client::Answer> {
        let target = format!("GET /instances/{}/line-items/{id}", self.instance(instance));
        self.call(at, &target, "", 200)
    }

    /// State and pacing as the details show them, which say no less than the list.
    pub(super) fn details(&mut self, at: u64, name: &str) -> (SessionState, [u64; 3]) {
        let path = self.session_path(name);
        let answer = self.call(at, &format!("GET {path}"), "", 200);
        let answer = answer.expect("it can be read");
        let state = match server::text(&answer.json(), "/state").as_str() {
            "IDLE" => SessionState::Idle,
            "ACTIVE" => SessionState::Active,
            "TERMINATED" => SessionState::Terminated,
            state => panic!("no such state: {state}"),
        };
        let pacing = pacing(&answer);
        let [charged_until, from, due_by] = pacing;
        let is_active = state == SessionState::Active;
        let has_time = at < charged_until && from <= charged_until && at <= due_by;
        assert!(if is_active { has_time } else { pacing == [0, 0, 0] }, "{answer:?}");
        (state, pacing)
    }

    /// The same right after an answer about the session, which has told the same of its pacing.
    pub(super) fn state_after(
        &mut self,
        at: u64,
        name: &str,
        answer: &http_client::Answer,
    ) -> (SessionState, u64) {
        let (state, told) = self.details(at, name);
        assert_eq!(pacing(answer), told, "{answer:?}");
        let [charged_until, ..] = told;
        (state, charged_until)
    }

    /// The instances of a page, which is the last.
    fn instance_names(&self, page: &http_client::Answer) -> Vec<String> {
        let page = page.json();
        assert_eq!(page.pointer("/next"), Some(&json!(0)), "few instances are one page");
        let name = |id: &String| {
            let found = self.instances.iter().find(|(_, known)| *known == id);
            found.expect("the story made it").0.clone()
        };
        ids(page.pointer("/content").expect("a list"), "/id").iter().map(name).collect()
    }

    /// The record that an answer rests on.
    pub(super) fn record(&self, answer: &http_client::Answer) -> Record {
        let sequence = answer.header("x-sequence").and_then(|value| value.parse().ok());
        let sequence = Sequence::new(sequence.expect("a number"));
        let mut found = None;
        let read = self.server.broker.journal().read(sequence, &mut |_, payload| {
            found = Some(format::decode(payload).expect("a record"));
            ControlFlow::Break(())
        });
        read.expect("the journal can be read");
        found.expect("an answer's record is durable")
    }
}

/// Ids of a list of objects.
fn ids(list: &Value, pointer: &str) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|entry| server::text(entry, pointer)).collect()
}

impl Stage for OverHttp {
    fn publish_rate_table(&mut self, at: u64, table: RateTable) -> Answer {
        let RateTable { series, version, effective_from, items } = table;
        let item = |item: &model::RatedItem| {
            let price = match &item.price {
                Price::Rate(rate) => format!(r#""rate":{}"#, model::text(rate)),
                Price::Formula(formula) => format!(r#""formula":{}"#, json!(formula)),
            };
            let (name, version) = (json!(item.name), json!(item.version));
            format!(r#"{{"name":{name},"version":{version},{price}}}"#)
        };
        let items: Vec<String> = items.iter().map(item).collect();
        let body = format!(
            r#"{{"effectiveFrom":{effective_from},"series":{},"version":{},"items":[{}]}}"#,
            json!(series),
            json!(version),
            items.join(",")
        );
        let answer = self.call(at, "POST /rate-tables", &body, 201)?;
        assert_eq!(answer.body, r#"{"message":"Rate table successfully saved"}"#);
        Ok(())
    }

    fn delete_rate_table(&mut self, at: u64, series: &str, version: &str) -> Answer {
        let series = match series {
            "" => String::new(),
            series => format!("&series={series}"),
        };
        let target = format!("DELETE /rate-tables?version={version}{series}");
        let answer = self.call(at, &target, "", 204)?;
        assert_eq!(answer.body, "");
        Ok(())
    }

    fn create_instance(&mut self, at: u64, id: &str, account: &str) -> bool {
        let body = json!({"shortName": id, "accountId": account}).to_string();
        let answer = self.call(at, "POST /instances", &body, 200).expect("it is created").json();
        assert_eq!(answer.pointer("/created"), Some(&json!(at)), "it is stamped with now");
        self.instances.insert(id.to_owned(), server::text(&answer, "/id"));
        answer.pointer("/defaultInstance").and_then(Value::as_bool).expect("it is said")
    }

    fn instances(&mut self, at: u64) -> Vec<String> {
        let answer = self.call(at, "GET /instances?size=500", "", 200).expect("they are listed");
        self.instance_names(&answer)
    }

    fn default_instance(&mut self, at: u64, account: &str) -> Vec<String> {
        let target = format!("GET /instances?accountId={account}&default=true");
        let answer = self.call(at, &target, "", 200).expect("it is looked up");
        self.instance_names(&answer)
    }

    fn put_line_item(&mut self, at: u64, instance: &str, id: &str, terms: Terms) -> Answer {
        let state = match terms.state {
            LineItemState::Deployed => "DEPLOYED",
            LineItemState::Inactive => "INACTIVE",
            LineItemState::Obsolete => "OBSOLETE",
        };
        let mut attributes = json!({"elastic": terms.elastic, "rateTableSeries": terms.series});
        let overdraft = match terms.overdraft {
            Overdraft::None => json!({}),
            Overdraft::Number(limit) => json!({"overdraftType": "Number", "overdraftLimit": limit}),
            Overdraft::Unlimited => json!({"overdraftType": "Unlimited"}),
        };
        let members = attributes.as_object_mut().expect("an object");
        members.extend(overdraft.as_object().expect("an object").clone());
        let body = json!({
            "activationId": id, "state": state, "quantity": terms.quantity,
            "start": terms.start, "end": terms.end, "attributes": attributes,
        });
        let target = format!("PUT /instances/{}/line-items", self.instance(instance));
        let answer = self.call(at, &target, &body.to_string(), 200)?;
        assert_eq!(read::<LineItem<'_>>(&answer.body).activation_id, id);
        Ok(())
    }

    fn delete_line_item(&mut self, at: u64, instance: &str, id: &str) -> Answer {
        let target = format!("DELETE /instances/{}/line-items/{id}", self.instance(instance));
        self.call(at, &target, "", 204).map(drop)
    }

    fn access(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        http_access::one_off(self, at, instance, items)
    }

    fn quote(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>> {
        http_access::quote(self, at, instance, items)
    }

    fn quote_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        http_access::quote_session(self, at, id, items, on_deny)
    }

    fn standings(&mut self) -> Vec<Standing> {
        self.standings.clone()
    }

    fn create_session(&mut self, at: u64, id: &str, instance: &str) -> Answer {
        let body = json!({"instanceId": self.instance(instance)}).to_string();
        let answer = self.call(at, "POST /sessions", &body, 200)?;
        assert_eq!(pacing(&answer), [0, 0, 0], "{answer:?}");
        self.sessions.insert(id.to_owned(), server::text(&answer.json(), "/sessionId"));
        Ok(())
    }

    fn put_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer> {
        http_access::of_session(self, at, id, items, on_deny)
    }

    fn heartbeat(&mut self, at: u64, id: &str) -> Answer {
        let target = format!("GET {}/heartbeat", self.session_path(id));
        let answer = self.call(at, &target, "", 204)?;
        assert_eq!(answer.body, "");
        self.state_after(at, id, &answer);
        Ok(())
    }

    fn close_session(&mut self, at: u64, id: &str) -> Answer<SessionAnswer> {
        let target = format!("DELETE {}", self.session_path(id));
        let answer = self.call(at, &target, "", 200)?;
        let Event::SessionClosed(closed) = self.record(&answer).event else {
            panic!("the answer to a DELETE rests on its record")
        };
        let refund = product::refunds(&closed.refunds);
        let (state, charged_until) = self.state_after(at, id, &answer);
        Ok(SessionAnswer { items: Vec::new(), refund, state, charged_until })
    }

    fn session(&mut self, at: u64, id: &str) -> Answer<(SessionState, u64)> {
        let (state, [charged_until, ..]) = self.details(at, id);
        Ok((state, charged_until))
    }

    fn used(&mut self, at: u64, instance: &str, id: &str) -> Answer<Amount> {
        let answer = self.read_line_item(at, instance, id)?;
        Ok(digits(read::<LineItem<'_>>(&answer.body).used))
    }

    fn available(&mut self, at: u64, instance: &str, id: &str) -> Answer<Available> {
        let answer = self.read_line_item(at, instance, id)?;
        let LineItem { quantity, used, attributes, .. } = read(&answer.body);
        let Attributes { overdraft_type, overdraft_limit } = attributes;
        if overdraft_type.as_deref() == Some("Unlimited") {
            return Ok(Available::Unbounded);
        }
        let left = whole(quantity) + whole(overdraft_limit.unwrap_or(0)) - digits(used);
        Ok(Available::Tokens(left.max(whole(0))))
    }

    fn configure(&mut self, at: u64, setting: Setting) -> Answer {
        let (name, value) = match setting {
            Setting::TimezoneTolerant(tolerant) => ("timezone.tolerant", tolerant.to_string()),
            Setting::ChargePeriod(ms) => ("session.charge.period", format!("PT{}M", ms / 60_000)),
        };
        let body = json!({"name": name, "value": value}).to_string();
        self.call(at, "PATCH /configuration", &body, 200).map(drop)
    }

    fn line_items(&mut self, at: u64, instance: &str) -> Vec<String> {
        let target = format!("GET /instances/{}/line-items", self.instance(instance));
        let answer = self.call(at, &target, "", 200).expect("it exists");
        ids(&answer.json(), "/activationId")
    }

    fn ask_as(&mut self, who: Who) {
        self.rules.who = who;
    }

    fn set_condition(&mut self, at: u64, instance: &str, name: &str, rule: Rule) -> Answer {
        http_rules::set_condition(self, at, instance, name, &rule)
    }

    fn delete_condition(&mut self, at: u64, instance: &str, name: &str) -> Answer {
        http_rules::delete_condition(self, at, instance, name)
    }

    fn set_actions(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        actions: Vec<Action>,
    ) -> Answer {
        http_rules::set_actions(self, at, instance, activation, &actions)
    }

    fn counters(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
    ) -> Answer<Vec<(String, Amount)>> {
        http_rules::counters(self, at, instance, activation)
    }
}
