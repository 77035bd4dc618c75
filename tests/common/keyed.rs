//! Calls of the crowd under idempotency keys, over a socket. Some repeat a former one to the byte,
//! some ask something else under its key. What they are told is held against the model of keys, and
//! the first answer against the record that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use farebox::domain::event::{Event, Record};
use farebox::domain::ids::{InstanceId, Sequence};
use farebox::error::BrokerError;

use super::crowd::{Attempt, Call, Outcome, Told, tagged_who};
use super::dice::Dice;
use super::http_client::{Client, bytes_of};
use super::judge::Tally;
use super::model::SessionState;
use super::model::keys::{Expected, Keys};
use super::replay::Replay;
use super::server::TestServer;
use super::{http_access, http_rules, product};

/// Callers mostly repeat what was asked lately.
const RECENT: usize = 8;

/// A call under a key.
#[derive(Clone, Debug)]
pub struct Ask {
    key: String,
    /// Stands in its record.
    tag: String,
    call: Call,
    address: SocketAddr,
    head: String,
    body: String,
}

/// An answer, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    status: u16,
    code: String,
    body: String,
    /// Where it rests; an error that was not decided names none.
    sequence: Option<Sequence>,
    pacing: Vec<Option<String>>,
}

/// Where calls under keys are made, and what was asked there first.
pub struct Door {
    address: SocketAddr,
    token: String,
    firsts: Mutex<Vec<Ask>>,
}

impl Door {
    pub fn of(server: &TestServer) -> Door {
        let (address, token) = (server.address, server.admin_token.clone());
        Door { address, token, firsts: Mutex::new(Vec::new()) }
    }

    /// The call under a key of its own, if it is one that may have one; or a former one again,
    /// or something else under the key of that.
    pub fn keyed(&self, call: Call, tag: &str, instances: &[InstanceId], dice: &mut Dice) -> Call {
        let mut firsts = self.firsts.lock().expect("nobody panics with it");
        let recent = firsts.get(firsts.len().saturating_sub(RECENT)..).unwrap_or_default();
        if !recent.is_empty() && dice.chance(50) {
            let former: &Ask = dice.pick(recent);
            let elsewhere = *dice.pick(instances);
            return Call::Under(Box::new(match dice.below(4) {
                0 => self.ask(&former.key, tag, former.call.clone(), None),
                1 => self.ask(&former.key, &former.tag, former.call.clone(), Some(elsewhere)),
                _ => former.clone(),
            }));
        }
        if !matches!(call, Call::Access(..) | Call::PutSession(..) | Call::CloseSession(_)) {
            return call;
        }
        let ask = self.ask(tag, tag, call, None);
        firsts.push(ask.clone());
        Call::Under(Box::new(ask))
    }

    /// `elsewhere` is an instance that the call names instead of its own, or besides its session.
    fn ask(&self, key: &str, tag: &str, call: Call, elsewhere: Option<InstanceId>) -> Ask {
        let who = tagged_who(tag);
        let (target, body) = match (&call, elsewhere) {
            (Call::Access(instance, items), elsewhere) => {
                let instance = elsewhere.unwrap_or(*instance);
                let target = format!("POST /api/v1.1/instances/{instance}/access-request");
                (target, http_rules::asking_as(tag, items, &who, ""))
            }
            (Call::PutSession(id, items, on_deny), _) => {
                let rollback = http_access::rollback(*on_deny);
                let body = http_rules::asking_as(tag, items, &who, rollback);
                (format!("PUT /api/v1.1/sessions/{id}"), body)
            }
            (Call::CloseSession(id), _) => {
                (format!("DELETE /api/v1.1/sessions/{id}"), String::new())
            }
            (_, _) => panic!("it never comes under a key: {call:?}"),
        };
        let query = if body.is_empty() { "" } else { "?balances=true" };
        let header = match elsewhere {
            Some(instance) if !matches!(call, Call::Access(..)) => {
                format!("\nx-instance-id: {instance}")
            }
            Some(_) | None => String::new(),
        };
        let head = format!(
            "{target}{query}\nauthorization: Bearer {}\nidempotency-key: {key}\n\
             content-type: application/json{header}",
            self.token
        );
        let (key, tag) = (key.to_owned(), tag.to_owned());
        Ask { key, tag, call, address: self.address, head, body }
    }
}

impl Ask {
    /// What the server answers. It may have died of it.
    pub async fn send(&self) -> Result<(Told, Sequence), BrokerError> {
        let mut client = Client::connect(self.address).await;
        let request = bytes_of(&self.head, &self.body);
        let Some(answer) = client.try_send(request.as_bytes()).await else {
            return Err(BrokerError::NoAnswer { waited: Duration::ZERO });
        };
        let header = |name| answer.header(name).map(str::to_owned);
        let number = |text: String| Sequence::new(text.parse().expect("a number"));
        let sequence = header("x-sequence").map(number);
        let ((status, code), body) = (answer.outcome(), answer.body.clone());
        let names = ["content-type", "x-charged-until", "x-heartbeat-from", "x-heartbeat-due-by"];
        let sent = Sent { status, code, body, sequence, pacing: names.map(header).to_vec() };
        Ok((Told::Sent(sent), sequence.unwrap_or(Sequence::ZERO)))
    }

    fn asked(&self) -> (String, String) {
        (self.head.clone(), self.body.clone())
    }
}

/// The first answers, by the records that they name.
pub type Firsts<'a> = BTreeMap<Sequence, (&'a Ask, &'a Sent)>;

/// Holds the attempts under keys against the model, and says which answers are to be held against
/// their records; and which tags can be in none.
pub fn judge<'a>(
    attempts: &'a [Attempt],
    may_stop: bool,
    tally: &mut Tally,
) -> (Firsts<'a>, BTreeSet<&'a str>) {
    let mut by_key = BTreeMap::<&str, Vec<(&Attempt, &Ask, Option<&Sent>)>>::new();
    for attempt in attempts {
        let Call::Under(ask) = &attempt.call else { continue };
        let sent = match &attempt.outcome {
            Outcome::Answered(Told::Sent(sent), _) => Some(sent),
            Outcome::Answered(..) | Outcome::Failed(_) | Outcome::Vanished => None,
        };
        tally.vanished += u64::from(sent.is_none());
        by_key.entry(&ask.key).or_default().push((attempt, ask, sent));
    }
    let (mut keys, mut firsts, mut nowhere) = (Keys::default(), Firsts::new(), BTreeSet::new());
    for (key, all) in &by_key {
        let is_decided = |sent: &&Sent| sent.sequence.is_some();
        let decided =
            all.iter().filter_map(|(a, ask, sent)| Some((*a, *ask, sent.filter(is_decided)?)));
        let first = decided.min_by_key(|(attempt, ..)| attempt.ended);
        let known = first.map_or(u64::MAX, |(attempt, ..)| attempt.ended);
        if let Some((attempt, ask, sent)) = first {
            let sequence = sent.sequence.expect("it was decided");
            let earliest = all.iter().map(|(attempt, ..)| attempt.durable_before).min();
            assert!(earliest.is_some_and(|earliest| earliest < sequence), "{attempt:?}");
            assert!(firsts.insert(sequence, (ask, sent)).is_none(), "of two keys: {attempt:?}");
            keys.decided(key, ask.asked(), sent.clone());
        }
        for (attempt, ask, sent) in all {
            let Some(sent) = sent else { continue };
            let expected = keys.expected(key, &ask.asked());
            let others = all.iter().filter(|(_, other, _)| other.asked() != ask.asked());
            let in_the_way = others.filter(|(other, ..)| other.began < attempt.ended).count();
            match (sent.sequence, sent.code.as_str()) {
                (Some(_), _) => {
                    assert_eq!(expected, Expected::Again((*sent).clone()), "{attempt:?}");
                    tally.again += u64::from(attempt.began > known);
                }
                (None, "key-reused") => {
                    assert_eq!(sent.status, 422, "{attempt:?}");
                    let is_right = expected == Expected::Reused || attempt.began < known;
                    assert!(is_right && in_the_way > 0, "the key is its own: {attempt:?}");
                    tally.reused += 1;
                    if expected == Expected::Reused
                        && first.is_some_and(|(_, f, _)| f.tag != ask.tag)
                    {
                        nowhere.insert(ask.tag.as_str());
                    }
                }
                (None, "in-progress" | "session-busy") => tally.faults += 1,
                (None, "no-answer" | "internal-error") => tally.unknown += 1,
                (None, "stopping") if may_stop => tally.faults += 1,
                // A session that is not in the instance that was named besides.
                (None, "unknown-session") if ask.head.contains("x-instance-id") => {
                    let was_taken = attempt.began > known;
                    assert!(!was_taken, "it is not decided under another's key: {attempt:?}");
                }
                (None, _) => panic!("nobody may be told so: {attempt:?}"),
            }
        }
    }
    (firsts, nowhere)
}

/// Checks a first answer at its record, which the model has just played. Whether it is the record
/// of what was asked.
pub fn check_first(replay: &Replay, record: &Record, (ask, sent): (&Ask, &Sent)) -> bool {
    let activation = |number| replay.activation(number);
    let (request, verdicts, correlation) = match (&ask.call, &record.event) {
        (Call::Access(..), Event::Access(access)) => {
            (&access.request, &access.verdicts, access.correlation)
        }
        (Call::PutSession(..), Event::SessionAccess(access)) => {
            (&access.request, &access.verdicts, access.correlation)
        }
        (Call::CloseSession(id), Event::SessionClosed(closed)) => {
            assert_eq!(replay.sessions.get(&closed.session), Some(id), "{ask:?}");
            assert_eq!((sent.status, sent.body.as_str()), (200, ""), "{ask:?}");
            return false; // Its record has no room for a tag.
        }
        (Call::PutSession(id, ..) | Call::CloseSession(id), Event::Answered)
            if sent.code == "session-terminated" =>
        {
            let view = replay.model.session_view(&id.to_string()).expect("it exists");
            let is_live = matches!(view.state, SessionState::Idle | SessionState::Active);
            assert!(!is_live, "{ask:?} was told {sent:?}");
            return false;
        }
        (Call::Access(..) | Call::PutSession(..), Event::Answered) => {
            assert_eq!(sent.code, "formula-failed", "{ask:?}");
            return false;
        }
        (_, _) => panic!("{ask:?} was told {sent:?} by {record:?}"),
    };
    assert_eq!(sent.status, 200, "{ask:?}");
    assert_eq!(request.requester.value.as_str(), ask.tag, "{ask:?}");
    let told = http_access::outline(&sent.body);
    assert_eq!(told.correlation_id, correlation.to_string(), "{ask:?}");
    let expected = product::item_answers(request, verdicts, activation);
    let expected: Vec<_> = expected.into_iter().map(|item| (item.status, item.total)).collect();
    assert_eq!(told.items, expected, "{ask:?}");
    assert_eq!(told.standings, replay.model.standings(), "{ask:?}");
    true
}
