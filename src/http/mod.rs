//! Layer 6: the edge. HTTP/1.1 on bare hyper in front of the broker.
//!
//! It parses, asks who calls and what for, and writes answers; it decides nothing about tokens.
//! [`serve`] accepts connections, `connection` watches over one of them, `call` takes one request
//! through the checks in their order, `routes` has the table, and `wire` the JSON. There is no TLS
//! and no HTTP/2 here: a proxy in front does the one, and nobody needs the other.

mod access;
mod answer;
pub(crate) mod bench;
mod body;
mod call;
mod configuration;
mod connection;
mod decisions;
pub(crate) mod fuzz;
mod instances;
mod keyed;
mod keys;
mod leases;
mod licensing;
mod line_items;
mod meters;
mod openapi;
mod operation;
mod ops;
mod path;
mod problem;
mod rate_tables;
mod routes;
mod rules;
mod scope;
mod sessions;
mod test_clock;
mod usage;
mod wire;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::connection::Phase;
pub use self::decisions::explanation_json;
use self::meters::Meters;
pub use self::ops::MetricsText;
use self::routes::Router;
pub use self::routes::{component_routes, routes};
use self::test_clock::Mover;
use crate::auth::Verifier;
use crate::broker::Broker;
use crate::env::TestClock;

/// How long to wait after an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections, and how long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. One more waits in the kernel's queue.
    pub connections: u32,
    /// Calls under way of one registered key, from the whole request to its answer, heartbeats and
    /// closes apart: fewer than the broker has places, so that a fleet does not shut others out.
    pub calls_per_key: usize,
    /// From the first byte of a head, or from connecting, to the head's end.
    pub head: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
    /// From the end of a head to the end of its body.
    pub body: Duration,
    /// While the client takes nothing of an answer.
    pub write: Duration,
    /// From the wish to stop to giving up on those who do not finish.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            calls_per_key: 3_072,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            body: Duration::from_secs(10),
            write: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// No limit of a connection is shorter.
    fn shortest(&self) -> Duration {
        self.head.min(self.idle).min(self.write)
    }
}

/// What every connection serves from.
pub struct Server {
    broker: Broker,
    verifier: Arc<Verifier>,
    metrics_text: MetricsText,
    limits: Limits,
    router: Router,
    meters: Meters,
    mover: Option<Mover>,
    usage_readers: Arc<Semaphore>,
    explaining: Arc<Semaphore>,
}

impl Server {
    /// A server in front of a broker. Registers its metrics with the recorder that is installed by
    /// now; `metrics_text` gives the text of `/metrics`.
    pub fn new(
        broker: Broker,
        verifier: Arc<Verifier>,
        metrics_text: MetricsText,
        limits: Limits,
    ) -> Server {
        let (router, meters) = (Router::new(false), Meters::register());
        let usage_readers = Arc::new(Semaphore::new(usage::READERS_MAX));
        Server {
            broker,
            verifier,
            metrics_text,
            limits,
            router,
            meters,
            mover: None,
            usage_readers,
            explaining: Arc::new(Semaphore::new(1)),
        }
    }

    /// The same, and whoever administrates moves this clock, which the broker was opened with.
    pub fn with_test_clock(self, clock: Arc<TestClock>) -> Server {
        Server { router: Router::new(true), mover: Some(Mover::new(clock)), ..self }
    }
}

/// Serves until `shutdown` is done, then lets what is under way finish. Says how many connections
/// had to be dropped because they did not finish in time: 0 is a clean end.
pub async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let permits = Arc::new(Semaphore::new(widened(server.limits.connections)));
    let phase = watch::Sender::new(Phase::Open);
    let (mut shutdown, mut fails) = (pin!(shutdown), false);
    loop {
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            (stream, permit) = accept(&listener, &permits, &mut fails) => {
                let (server, phase) = (Arc::clone(&server), phase.subscribe());
                tokio::spawn(async move {
                    // A panic ends this task alone, and gives the permit back all the same.
                    let _permit = permit;
                    connection::run(server, stream, phase).await;
                });
            }
        }
    }
    drop(listener);
    phase.send_replace(Phase::Draining);
    // Who waits in line would wait longer than the drain.
    server.broker.dismiss_waiting().await;
    let all = permits.acquire_many(server.limits.connections);
    let drained = tokio::time::timeout(server.limits.drain, all).await;
    let left = match drained {
        Ok(_) => 0,
        Err(_) => widened(server.limits.connections).saturating_sub(permits.available_permits()),
    };
    phase.send_replace(Phase::Over);
    left
}

fn widened(connections: u32) -> usize {
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// The next connection. The permit comes first, so that what we cannot serve stays in the queue.
/// What keeps failing is said once, until it works again.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    fails: &mut bool,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                if std::mem::take(fails) {
                    tracing::info!("connections are accepted again");
                }
                // Answers are small and wait for nothing; without it they would be slower, not wrong.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return (stream, permit);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(fails, true) {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}
