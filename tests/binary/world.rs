//! A small world to charge in, clients that charge it until the server is gone, and what they were
//! told: afterwards it must all be there.

use std::sync::{Arc, Mutex};

use farebox::domain::tokens::Tokens;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::process::{Answer, Caller, Served, string};

/// Instances for one-off requests; one more is for sessions, whose refunds make used amounts less
/// predictable.
const ONE_OFF: usize = 3;
const INSTANCES: usize = ONE_OFF + 1;
const ONE_OFF_CLIENTS: u64 = 16;
const SESSION_CLIENTS: u64 = 6;

/// The instances, each with a line item that is soon used up and one that never is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) instances: Vec<String>,
    token: String,
}

impl World {
    pub(crate) async fn create(served: &Served) -> World {
        let mut admin = served.administration().await;
        let table = json!({
            "effectiveFrom": 1_698_849_852_000_u64, "series": "P", "version": "1", "items": [
                {"name": "PhotoPrint", "version": "1.0", "rate": 3},
                {"name": "CADPrint", "version": "2.0", "rate": 7},
            ],
        });
        admin.call("POST /api/v1.0/rate-tables", None, &table.to_string()).await;
        let mut instances = Vec::new();
        for account in 0..INSTANCES {
            let body = json!({"shortName": format!("i{account}"), "accountId": "ACME"});
            let answer = admin.call("POST /api/v1.0/instances", None, &body.to_string()).await;
            let instance = string(&answer, "/id");
            for (end, quantity) in [(1, 500), (2, 1_000_000_000_u64)] {
                let body = json!({
                    "activationId": format!("ACT-{account}-{end}"), "state": "DEPLOYED",
                    "quantity": quantity, "start": 0, "end": 253_402_300_000_000_u64 + end,
                    "attributes": {"elastic": true, "rateTableSeries": "P"},
                });
                let target = format!("PUT /api/v1.0/instances/{instance}/line-items");
                admin.call(&target, None, &body.to_string()).await;
            }
            instances.push(instance);
        }
        let mut arguments = vec!["--role", "client"];
        instances.iter().for_each(|id| arguments.extend(["--instance", id]));
        let token = served.token(&arguments).await;
        World { instances, token }
    }

    pub(crate) fn client(&self, served: &Served) -> Caller {
        served.caller(self.token.clone())
    }

    /// What is used of each instance.
    pub(crate) async fn used(&self, served: &Served) -> Vec<Tokens> {
        let mut client = self.client(served);
        let mut used = Vec::new();
        for instance in &self.instances {
            let target = format!("GET /api/v1.0/instances/{instance}/line-items");
            let listed = client.call(&target, None, "").await;
            let listed = listed.as_array().expect("a list");
            assert_eq!(listed.len(), 2, "no line item is lost");
            let amount = |item: &Value| item.pointer("/used").expect("a figure").to_string();
            let amounts = listed.iter().map(|item| tokens(&amount(item)));
            used.push(amounts.fold(Tokens::ZERO, plus));
        }
        used
    }

    /// One one-off request of so many tokens times 3.
    pub(crate) async fn charge(&self, client: &mut Caller, threes: u64) -> Value {
        let instance = self.instances.first().expect("there is one");
        let target = format!("POST /api/v1.0/instances/{instance}/access-request");
        client.call(&target, None, &asking(threes, 0, "")).await
    }

    /// Clients that charge until the server is gone. `moment` sees how many answers were
    /// acknowledged and ends the server.
    pub(crate) async fn load(
        &self,
        served: &mut Served,
        dice: &Dice,
        moment: impl AsyncFnOnce(&mut Served, watch::Receiver<u64>),
    ) -> Told {
        let told = Arc::new(Mutex::new(Told::default()));
        let (count, counted) = watch::channel(0);
        let mut clients = JoinSet::new();
        for number in 0..ONE_OFF_CLIENTS + SESSION_CLIENTS {
            let client = Client {
                caller: self.client(served),
                world: self.clone(),
                dice: dice.fork(number),
                told: Arc::clone(&told),
                count: count.clone(),
                refused: false,
            };
            if number < ONE_OFF_CLIENTS {
                clients.spawn(client.one_off_requests());
            } else {
                clients.spawn(client.sessions());
            }
        }
        moment(served, counted).await;
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client that fails has found something wrong");
        }
        let told = Arc::into_inner(told).expect("the clients are gone");
        told.into_inner().expect("no client panicked")
    }

    /// What clients were told is there, and nothing that nobody sent.
    pub(crate) async fn check(&self, served: &Served, before: &[Tokens], told: &Told) {
        let used = self.used(served).await;
        for ((now, before), charged) in used.iter().zip(before).zip(&told.charged) {
            let [least, most] =
                [charged.acknowledged, charged.sent].map(|more| plus(*before, Tokens::whole(more)));
            assert!(least <= *now, "lost: {least} was acknowledged, {now} is used; {charged:?}");
            assert!(*now <= most, "doubled: {most} was sent, {now} is used; {charged:?}");
        }
        let mut client = self.client(served);
        for session in &told.sessions {
            let target = format!("GET /api/v1.0/sessions/{}", session.id);
            let instance = self.instances.last().map(String::as_str);
            let state = string(&client.call(&target, instance, "").await, "/state");
            let possible: &[&str] = match (session.charge, session.close) {
                (Step::Unsent, _) => &["IDLE"],
                (Step::Unknown, _) => &["IDLE", "ACTIVE"],
                (Step::Answered, Step::Unsent) => &["ACTIVE"],
                (Step::Answered, Step::Unknown) => &["ACTIVE", "TERMINATED"],
                (Step::Answered, Step::Answered) => &["TERMINATED"],
            };
            assert!(possible.contains(&state.as_str()), "{state}: {session:?}");
        }
    }
}

/// What clients sent and what they were told in one run of the server.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) charged: [Charged; INSTANCES],
    pub(crate) sessions: Vec<Session>,
    pub(crate) charges: Vec<Charge>,
    /// The last place in the journal that any answer rests on.
    pub(crate) last: u64,
}

impl Told {
    fn of(&mut self, instance: usize) -> &mut Charged {
        self.charged.get_mut(instance).expect("one of the instances")
    }
}

/// Whole tokens of one instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charged {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
}

/// An acknowledged charge.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) sequence: u64,
    pub(crate) correlation: String,
    pub(crate) tokens: u64,
}

/// An acknowledged session and how far its client got.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    charge: Step,
    close: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Unsent,
    Unknown,
    Answered,
}

struct Client {
    caller: Caller,
    world: World,
    dice: Dice,
    told: Arc<Mutex<Told>>,
    count: watch::Sender<u64>,
    refused: bool,
}

impl Client {
    async fn one_off_requests(mut self) {
        loop {
            let number = usize::try_from(self.dice.below(ONE_OFF as u64)).expect("small");
            let instance = self.world.instances.get(number).expect("small").clone();
            let target = format!("POST /api/v1.0/instances/{instance}/access-request");
            let (photos, drawings) = (1 + self.dice.below(5), self.dice.below(2));
            let tokens = photos * 3 + drawings * 7;
            let body = asking(photos, drawings, "");
            if !self.charge(number, tokens, &target, None, &body).await {
                return;
            }
        }
    }

    async fn sessions(mut self) {
        let instance = self.world.instances.last().expect("there is one").clone();
        let creation = json!({"instanceId": instance}).to_string();
        loop {
            let created = self.told("POST /api/v1.0/sessions", Some(&instance), &creation).await;
            let Some(created) = created else { return };
            let id = string(&created.body, "/sessionId");
            let place = self.note(|told| {
                let session = Session { id: id.clone(), charge: Step::Unsent, close: Step::Unsent };
                told.sessions.push(session);
                told.sessions.len() - 1
            });
            let step = |told: &mut Told, part: fn(&mut Session) -> &mut Step, step| {
                *part(told.sessions.get_mut(place).expect("noted")) = step;
            };
            let photos = 1 + self.dice.below(5);
            let body = asking(photos, 0, r#""rollbackOnDeny":true,"#);
            let target = format!("PUT /api/v1.0/sessions/{id}");
            self.note(|told| step(told, |session| &mut session.charge, Step::Unknown));
            if !self.charge(ONE_OFF, photos * 3, &target, Some(&instance), &body).await {
                return;
            }
            self.note(|told| step(told, |session| &mut session.charge, Step::Answered));
            if self.dice.chance(50) {
                continue;
            }
            // What was charged may come back as soon as this is sent.
            self.note(|told| {
                step(told, |session| &mut session.close, Step::Unknown);
                told.of(ONE_OFF).acknowledged -= photos * 3;
            });
            let target = format!("DELETE /api/v1.0/sessions/{id}");
            if self.told(&target, Some(&instance), "").await.is_none() {
                return;
            }
            self.note(|told| step(told, |session| &mut session.close, Step::Answered));
        }
    }

    /// Sends a charge and keeps the books; false if the server is gone.
    async fn charge(
        &mut self,
        number: usize,
        tokens: u64,
        target: &str,
        instance: Option<&str>,
        body: &str,
    ) -> bool {
        self.note(|told| told.of(number).sent += tokens);
        let Some(answer) = self.told(target, instance, body).await else {
            if self.refused {
                self.note(|told| told.of(number).sent -= tokens);
            }
            return false;
        };
        let items = answer.body.pointer("/requestedItems").and_then(Value::as_array);
        for item in items.expect("items") {
            assert_eq!(string(item, "/status/code"), "101", "{answer:?}");
        }
        let correlation = string(&answer.body, "/correlationId");
        let sequence = answer.sequence.expect("every answer says what it rests on");
        self.note(|told| {
            told.of(number).acknowledged += tokens;
            told.charges.push(Charge { sequence, correlation, tokens });
        });
        true
    }

    /// An acknowledged answer; `None` if the server is gone.
    async fn told(&mut self, target: &str, instance: Option<&str>, body: &str) -> Option<Answer> {
        let answer = self.caller.attempt(target, instance, body).await?;
        if answer.status == 503 {
            assert_eq!(string(&answer.body, "/effect"), "none", "{answer:?}");
            self.refused = true; // It is stopping, and has changed nothing.
            return None;
        }
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let sequence = answer.sequence.expect("every answer says what it rests on");
        self.note(|told| told.last = told.last.max(sequence));
        self.count.send_modify(|count| *count += 1);
        Some(answer)
    }

    fn note<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.told.lock().expect("no client panicked"))
    }
}

pub(crate) fn asking(photos: u64, drawings: u64, more: &str) -> String {
    let mut items = format!(r#"{{"item":"PhotoPrint","version":"1.0","count":{photos}}}"#);
    if drawings > 0 {
        items += &format!(r#",{{"item":"CADPrint","version":"2.0","count":{drawings}}}"#);
    }
    format!(
        r#"{{{more}"requester":{{"type":"user","value":"LisaBarry"}},"requestedItems":[{items}]}}"#
    )
}

pub(crate) fn tokens(text: &str) -> Tokens {
    Tokens::parse(text).unwrap_or_else(|| panic!("`{text}` is no amount"))
}

fn plus(sum: Tokens, more: Tokens) -> Tokens {
    sum.checked_add(more).expect("small amounts")
}
