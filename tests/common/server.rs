//! A server on a loopback port in front of a broker in memory, with keys and tokens; its time is the
//! machine's, or stands still until a test moves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farebox::auth::{KeyPair, Role, TokenRequest, Verifier, generate_key_pair, sign};
use farebox::broker::{Broker, Options};
use farebox::config::Settings;
use farebox::domain::ids::Text;
use farebox::domain::keys::{KeyClass, NewKey};
use farebox::domain::time::Timestamp;
use farebox::env::{Clock, SystemClock, TestClock};
use farebox::http::{Limits, MetricsText, Server, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http_client::{Answer, Client};

/// So few that owners go to sleep and wake all the time, where time is moved.
const AWAKE: usize = 3;

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    /// What it serves, for what HTTP does not show.
    pub(crate) broker: Broker,
    pub(crate) admin_token: String,
    /// Registered as `client-key`.
    pub(crate) client_key: KeyPair,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<usize>,
}

/// A server with the usual limits.
pub(crate) async fn start() -> TestServer {
    start_with(Limits::default()).await
}

/// A server with these limits.
pub(crate) async fn start_with(limits: Limits) -> TestServer {
    start_showing(limits, Arc::new(|| "# figures\n".to_owned())).await
}

/// A server with these limits and this text for `/metrics`.
pub(crate) async fn start_showing(limits: Limits, metrics_text: MetricsText) -> TestServer {
    let broker = Broker::open(Options::memory()).await.expect("a broker in memory").broker;
    listening(broker, metrics_text, limits, |server| server).await
}

/// A server in front of this broker.
pub(crate) async fn start_over(broker: Broker) -> TestServer {
    listening(broker, Arc::new(String::new), Limits::default(), |server| server).await
}

/// A server whose broker's time begins at `start` and is moved by `POST /test/clock` alone.
pub(crate) async fn start_with_test_clock(start: Timestamp) -> TestServer {
    let metrics_text: MetricsText = Arc::new(|| "# figures\n".to_owned());
    start_like(Settings::default(), metrics_text, start).await
}

/// The same with these settings and this text for `/metrics`.
pub(crate) async fn start_like(
    settings: Settings,
    metrics_text: MetricsText,
    start: Timestamp,
) -> TestServer {
    let clock = Arc::new(TestClock::new(start));
    let settings = Settings { awake: AWAKE, segment_bytes: 64 << 10, ..settings };
    let options = Options { settings, clock: Arc::clone(&clock) as _, ..Options::memory() };
    let broker = Broker::open(options).await.expect("a broker in memory").broker;
    listening(broker, metrics_text, Limits::default(), |server| server.with_test_clock(clock)).await
}

/// A server over a broker of these settings.
pub(crate) async fn start_with_settings(settings: Settings) -> TestServer {
    let options = Options { settings, ..Options::memory() };
    let broker = Broker::open(options).await.expect("a broker in memory").broker;
    listening(broker, Arc::new(String::new), Limits::default(), |server| server).await
}

/// A server whose time stands still, that judges tokens by this issuer and this clock.
pub(crate) async fn start_judging(issuer: &str, clock: Arc<dyn Clock>) -> TestServer {
    let time = Arc::new(TestClock::new(clock.system()));
    let broker = Broker::open(Options { clock: time, ..Options::memory() }).await;
    let broker = broker.expect("a broker in memory").broker;
    let verifier = Verifier::new(Some(issuer.to_owned()), clock);
    serving(broker, verifier, Arc::new(String::new), Limits::default(), |server| server).await
}

async fn listening(
    broker: Broker,
    metrics_text: MetricsText,
    limits: Limits,
    equipped: impl FnOnce(Server) -> Server,
) -> TestServer {
    let verifier = Verifier::new(None, Arc::new(SystemClock::new()));
    serving(broker, verifier, metrics_text, limits, equipped).await
}

async fn serving(
    broker: Broker,
    verifier: Verifier,
    metrics_text: MetricsText,
    limits: Limits,
    equipped: impl FnOnce(Server) -> Server,
) -> TestServer {
    let verifier = Arc::new(verifier);
    let pair = || generate_key_pair().expect("a key pair");
    let (admin_key, client_key) = (pair(), pair());
    let keys =
        [new_key(KeyClass::Administration, &admin_key), new_key(KeyClass::Client, &client_key)];
    broker.register_keys(keys.into()).await.expect("good keys");
    broker.supply_keys(&verifier).expect("good keys");
    let server = equipped(Server::new(broker.clone(), verifier, metrics_text, limits));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let served = tokio::spawn(async move { serve(listener, Arc::new(server), shutdown).await });
    let admin_token = token(&admin_key, Role::Administration, &[]);
    TestServer { address, broker, admin_token, client_key, stop: Some(stop), served }
}

impl TestServer {
    /// A token for these instances.
    pub(crate) fn client_token(&self, instances: &[&str]) -> String {
        token(&self.client_key, Role::Client, instances)
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A JSON request of administration on a connection of its own. `target` is method and path.
    pub(crate) async fn admin(&self, target: &str, body: &str) -> Answer {
        self.call(&self.admin_token, target, body).await
    }

    /// The same with any token and further headers, one a line.
    pub(crate) async fn call(&self, token: &str, target: &str, body: &str) -> Answer {
        let (line, headers) = target.split_once('\n').unwrap_or((target, ""));
        let head = format!(
            "{line}\nauthorization: Bearer {token}\ncontent-type: application/json\n{headers}"
        );
        self.connect().await.request(&head, body).await
    }

    /// Moves its test clock to `at`, in milliseconds since 1970.
    pub(crate) async fn move_to(&self, at: u64) {
        let answer = self.admin("POST /test/clock", &json!({"set": at}).to_string()).await;
        let expected = (200, json!({"now": at}).to_string());
        assert_eq!((answer.status, answer.body), expected, "the clock moves to {at}");
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// How many connections were left when it had stopped.
    pub(crate) async fn served(self) -> usize {
        self.served.await.expect("the server does not panic")
    }

    /// A new instance; its id.
    pub(crate) async fn instance(&self, account_id: &str) -> String {
        let body = json!({"shortName": format!("{account_id}-def-inst"), "accountId": account_id});
        let answer = self.admin("POST /api/v1.0/instances", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json(), "/id")
    }

    /// Table P of the worked examples.
    pub(crate) async fn publish_p(&self) {
        let item = |name, version, rate| json!({"name": name, "version": version, "rate": rate});
        let table = json!({
            "effectiveFrom": 1_698_849_852_000_u64, "series": "P", "version": "1",
            "items": [item("PhotoPrint", "1.0", 3), item("SignPrint", "1.0", 4), item("CADPrint", "2.0", 7)],
        });
        let answer = self.admin("POST /api/v1.0/rate-tables", &table.to_string()).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (201, r#"{"message":"Rate table successfully saved"}"#)
        );
    }

    /// A line item priced by P; later numbers end later.
    pub(crate) async fn line_item(&self, instance: &str, number: u64, quantity: u64) {
        let body = line_item(number, quantity);
        let target = format!("PUT /api/v1.0/instances/{instance}/line-items");
        let answer = self.admin(&target, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A line item of another name, 1000 tokens priced by P.
    pub(crate) async fn line_item_named(&self, instance: &str, name: &str) {
        let mut body = line_item(9, 1000);
        *body.pointer_mut("/activationId").expect("it has one") = json!(name);
        let target = format!("PUT /api/v1.0/instances/{instance}/line-items");
        let answer = self.admin(&target, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What is used of a line item, as it is written.
    pub(crate) async fn used(&self, instance: &str, number: u64) -> String {
        let target = format!("GET /api/v1.0/instances/{instance}/line-items/ACT0{number}");
        self.admin(&target, "").await.json().pointer("/used").expect("a figure").to_string()
    }
}

/// The body of a line item.
pub(crate) fn line_item(number: u64, quantity: u64) -> Value {
    json!({
        "activationId": format!("ACT0{number}"), "state": "DEPLOYED", "quantity": quantity,
        "start": 0, "end": 253_402_300_000_000_u64 + number,
        "attributes": {"elastic": true, "rateTableSeries": "P"},
    })
}

/// A string in a JSON value.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

/// A key by the name of its class.
fn new_key(class: KeyClass, pair: &KeyPair) -> NewKey {
    let id = Text::new(class.as_str()).expect("a short id");
    NewKey { id, class, pem: pair.public_pem.clone() }
}

fn token(pair: &KeyPair, role: Role, instances: &[&str]) -> String {
    let class = match role {
        Role::Administration => KeyClass::Administration,
        Role::Client => KeyClass::Client,
    };
    signed(pair, class.as_str(), role, instances)
}

/// A token of an hour that says these things, true or not.
pub(crate) fn signed(pair: &KeyPair, key_id: &str, role: Role, instances: &[&str]) -> String {
    signed_at(SystemClock::new().system(), pair, key_id, role, instances)
}

/// The same, signed at another time.
pub(crate) fn signed_at(
    now: Timestamp,
    pair: &KeyPair,
    key_id: &str,
    role: Role,
    instances: &[&str],
) -> String {
    let request = TokenRequest {
        role,
        instances: instances.iter().map(|id| (*id).to_owned()).collect(),
        expires_in: Duration::from_secs(3_600),
        issuer: "farebox".to_owned(),
        now,
        key_id: key_id.to_owned(),
    };
    sign(&pair.private_pem, &request).expect("a token")
}
