//! Clients that repeat their requests under idempotency keys while the server is killed again and
//! again (P5): every request happens once, and every answer to it is the same, before and after.
//!
//! `FAREBOX_LONG=1` repeats 100,000 requests over 100 kills instead of 10,000 over 10.

use farebox::domain::tokens::Tokens;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::{self, Dice};
use crate::process::{Answer, Caller, HANG, Served, ran, serve, string, text};
use crate::world::{World, asking};

const ONE_OFF_CLIENTS: u64 = 12;
const SESSION_CLIENTS: u64 = 4;

/// A request and, once there is one, its answer.
struct Asked {
    key: String,
    target: String,
    body: String,
    /// What it is charged, if it is granted.
    tokens: u64,
    answer: Option<(u16, Option<u64>, Vec<u8>)>,
}

/// Somebody who never gives a request up.
struct Client {
    number: u64,
    dice: Dice,
    asked: Vec<Asked>,
    repeated: u64,
}

impl Client {
    /// Sends a request, and says whether there was an answer. One that had an answer has the same
    /// again.
    async fn send(&mut self, caller: &mut Caller, instance: &str, place: usize) -> bool {
        let asked = self.asked.get_mut(place).expect("it was asked");
        caller.key = Some(asked.key.clone());
        loop {
            let answer = caller.attempt(&asked.target, Some(instance), &asked.body).await;
            let Some(Answer { status, sequence, bytes, .. }) = answer else { return false };
            if status == 409 && bytes.windows(11).any(|bytes| bytes == b"in-progress") {
                continue; // The connection died, and what it asked is still being done.
            }
            let told = (status, sequence, bytes.to_vec());
            let first = asked.answer.get_or_insert_with(|| told.clone());
            assert_eq!(told, *first, "`{}` to {}", asked.key, asked.target);
            assert!(status < 300, "{}", String::from_utf8_lossy(&told.2));
            return true;
        }
    }

    /// A new request under a new key; its place.
    fn ask(&mut self, target: String, body: String, tokens: u64) -> usize {
        let key = format!("client {} request {}", self.number, self.asked.len());
        self.asked.push(Asked { key, target, body, tokens, answer: None });
        self.asked.len() - 1
    }

    /// Sends a new request, and mostly repeats it, or an older one.
    async fn insist(&mut self, caller: &mut Caller, instance: &str, place: usize) -> Option<()> {
        let mut places = vec![place];
        if self.dice.chance(80) {
            places.push(place);
        }
        if self.dice.chance(20) {
            let all = self.asked.len() as u64;
            let older = all - 1 - self.dice.below(all.min(200));
            places.push(usize::try_from(older).expect("it fits"));
        }
        for place in places {
            let again = self.asked.get(place).is_some_and(|asked| asked.answer.is_some());
            self.repeated += u64::from(again);
            self.send(caller, instance, place).await.then_some(())?;
        }
        Some(())
    }

    /// What has no answer yet. Says whether the server stayed.
    async fn catch_up(&mut self, caller: &mut Caller, instance: &str) -> bool {
        for place in 0..self.asked.len() {
            if self.asked.get(place).is_some_and(|asked| asked.answer.is_none()) {
                self.repeated += 1;
                if !self.send(caller, instance, place).await {
                    return false;
                }
            }
        }
        true
    }

    /// The instance that it uses.
    fn instance(&self, world: &World) -> String {
        let one_off = world.instances.len() as u64 - 1;
        let place = if self.number < ONE_OFF_CLIENTS { self.number % one_off } else { one_off };
        let place = usize::try_from(place).expect("small");
        world.instances.get(place).expect("one of them").clone()
    }

    /// First what has no answer yet, then more, until the server is gone.
    async fn live(
        mut self,
        mut caller: Caller,
        instance: String,
        repeated: watch::Sender<u64>,
    ) -> Client {
        if !self.catch_up(&mut caller, &instance).await {
            return self;
        }
        loop {
            let before = self.repeated;
            let went_well = if self.number < ONE_OFF_CLIENTS {
                let photos = 1 + self.dice.below(5);
                let target = format!("POST /api/v1.0/instances/{instance}/access-request");
                let place = self.ask(target, asking(photos, 0, ""), photos * 3);
                self.insist(&mut caller, &instance, place).await
            } else {
                self.session(&mut caller, &instance).await
            };
            repeated.send_modify(|all| *all += self.repeated - before);
            if went_well.is_none() {
                return self;
            }
        }
    }

    async fn session(&mut self, caller: &mut Caller, instance: &str) -> Option<()> {
        let creation = json!({"instanceId": instance}).to_string();
        let place = self.ask("POST /api/v1.0/sessions".to_owned(), creation, 0);
        self.insist(caller, instance, place).await?;
        let (_, _, bytes) = self.asked.get(place)?.answer.clone()?;
        let created: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let path = format!("/api/v1.0/sessions/{}", string(&created, "/sessionId"));
        let set = asking(1 + self.dice.below(5), 0, r#""rollbackOnDeny":true,"#);
        let place = self.ask(format!("PUT {path}"), set, 0);
        self.insist(caller, instance, place).await?;
        let place = self.ask(format!("DELETE {path}"), String::new(), 0);
        self.insist(caller, instance, place).await
    }
}

/// How a life of the server ends. After a clean one the keys come back from the snapshots.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Clean,
}

/// Lets the clients loose until so many requests were repeated, and ends the server.
async fn live(
    served: &mut Served,
    world: &World,
    clients: Vec<Client>,
    enough: u64,
    end: End,
) -> Vec<Client> {
    let (repeated, mut counted) = watch::channel(0);
    let mut living = JoinSet::new();
    for client in clients {
        let instance = client.instance(world);
        living.spawn(client.live(world.client(served), instance, repeated.clone()));
    }
    let waited = tokio::time::timeout(HANG, counted.wait_for(|all| *all >= enough)).await;
    waited.expect("they get on").expect("they live");
    match end {
        End::Kill => served.process.kill().await,
        End::Clean => {
            served.process.signal("TERM").await;
            served.process.end().await;
        }
    }
    let mut clients = Vec::new();
    while let Some(ended) = living.join_next().await {
        clients.push(ended.expect("a client that fails has found something wrong"));
    }
    clients
}

#[tokio::test]
async fn a_repeated_request_happens_once_and_has_one_answer_whenever_the_server_is_killed() {
    let (kills, repeated_each) = if dice::is_long() { (100, 1_000) } else { (10, 1_000) };
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    let dice = Dice::new(dice::seed(1));
    let mut clients: Vec<Client> = (0..ONE_OFF_CLIENTS + SESSION_CLIENTS)
        .map(|number| {
            let dice = dice.fork(number);
            Client { number, dice, asked: Vec::new(), repeated: 0 }
        })
        .collect();
    for kill in 0..kills {
        clients = live(&mut served, &world, clients, repeated_each, End::Kill).await;
        served = serve(&data).await;
        if kill % 3 == 0 {
            clients = live(&mut served, &world, clients, 50, End::Clean).await;
            served = serve(&data).await;
        }
    }
    clients = live(&mut served, &world, clients, 1, End::Kill).await;
    let verified = ran(&["verify", "--data", text(&data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    served = serve(&data).await;
    let (mut charged, mut repeated) = (0, 0);
    for client in &mut clients {
        let (mut caller, instance) = (world.client(&served), client.instance(&world));
        assert!(client.catch_up(&mut caller, &instance).await, "nobody kills it any more");
        repeated += client.repeated;
        if client.number < ONE_OFF_CLIENTS {
            charged += client.asked.iter().map(|asked| asked.tokens).sum::<u64>();
        }
    }
    let used = world.used(&served).await;
    let used = used
        .iter()
        .take(world.instances.len() - 1)
        .fold(Tokens::ZERO, |sum, used| sum.checked_add(*used).expect("small amounts"));
    assert_eq!(used, Tokens::whole(charged), "every request was charged, and once");
    let requests: usize = clients.iter().map(|client| client.asked.len()).sum();
    println!("{repeated} repetitions of {requests} requests over {kills} kills: 0 doubles");
    served.stop().await;
}
