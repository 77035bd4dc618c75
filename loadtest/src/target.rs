//! What can be asked, and what comes of it. An enum over the targets: nothing on the way of a
//! request is behind a pointer.

pub mod embedded;
pub mod http;
pub mod paid;
mod peers;
#[cfg(test)]
mod peers_tests;
mod postgres;
mod redis;
mod setting;

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::Anything;
use crate::audit::Taken;
use crate::journal::Used;
use crate::measure::Charged;
use crate::profile::Profile;
use crate::workload::Operation;
use http::Http;

/// Who has no answer by then is not going to get one.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long nobody is asked who could not be reached: again at once would take a core for nothing.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Who has taken no connection by then is not reached: that is told long before a request is given up,
/// of which nobody knows.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted, and so much was charged.
    Granted(Charged),
    /// Decided, and nothing was charged: a denial.
    Refused,
    /// Told to come back later: nothing was charged.
    Overloaded,
    /// Nobody listened: there was no connection to send it on, and nothing was charged.
    Unreached,
    /// Nobody knows whether it happened: no answer, or one that says so.
    Unknown,
    /// Answered otherwise than a decision about tokens is, or so that its charge cannot be read:
    /// no load is meant to meet that.
    Failed,
}

/// A place where worlds can be made.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server; also the no-op server.
    Http(Http),
    /// A broker in this process.
    Embedded,
    /// A Redis of this URL.
    Redis(String),
    /// A PostgreSQL of this URL.
    Postgres(String),
}

/// A world that was made there.
pub enum Prepared {
    /// In a server.
    Http(Arc<http::Prepared>),
    /// In this process.
    Embedded(Arc<embedded::Prepared>),
    /// In Redis.
    Redis(Arc<redis::Prepared>),
    /// In PostgreSQL.
    Postgres(Arc<postgres::Prepared>),
}

/// One caller in it, with one request at a time.
pub enum Connection {
    /// To a server.
    Http(http::Connection),
    /// To a broker in this process.
    Embedded(embedded::Connection),
    /// To Redis.
    Redis(redis::Connection),
    /// To PostgreSQL.
    Postgres(postgres::Connection),
}

impl Target {
    /// The target of an address; `token` is for farebox over HTTP.
    ///
    /// # Errors
    /// If there is no such kind of target, or the token is wanting.
    pub fn new(address: &str, token: Option<String>) -> Result<Target, Anything> {
        match address.split_once("://") {
            None if address == "embedded" => Ok(Target::Embedded),
            Some(("http", place)) => {
                let token = token.ok_or("farebox wants a token of administration")?;
                Ok(Target::Http(Http { address: resolved(place)?, token: Some(token) }))
            }
            Some(("noop", place)) => {
                Ok(Target::Http(Http { address: resolved(place)?, token: None }))
            }
            Some(("redis", _)) => Ok(Target::Redis(address.to_owned())),
            Some(("postgres", _)) => Ok(Target::Postgres(address.to_owned())),
            _ => Err(format!("`{address}` is no target: {TARGETS}").into()),
        }
    }

    /// Makes the world of a profile.
    ///
    /// # Errors
    /// If it cannot be made there, and why.
    pub async fn prepare(
        &self,
        profile: &Profile,
        progress: &ProgressBar,
    ) -> Result<Prepared, Anything> {
        progress.set_message(format!("{}: preparing", profile.name));
        Ok(match self {
            Target::Http(http) => Prepared::Http(Arc::new(http.prepare(profile, progress).await?)),
            Target::Embedded => {
                Prepared::Embedded(Arc::new(embedded::prepare(profile, progress).await?))
            }
            Target::Redis(url) => Prepared::Redis(Arc::new(redis::prepare(url, profile).await?)),
            Target::Postgres(url) => {
                Prepared::Postgres(Arc::new(postgres::prepare(url, profile).await?))
            }
        })
    }
}

/// What addresses there are.
pub const TARGETS: &str = "http://HOST:PORT, noop://HOST:PORT, embedded, redis://HOST:PORT, \
                           postgres://USER@HOST:PORT/DATABASE[?procedure]";

/// Waits for what a server is asked before a load and after it, and says whose answer is none.
async fn answered<T, E: Into<Anything>>(
    whom: &str,
    place: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Anything> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| named(whom, place, error)),
        Err(_) => {
            let seconds = ANSWER_WITHIN.as_secs();
            Err(format!("{whom} at {place}: no answer within {seconds} s").into())
        }
    }
}

fn named(whom: &str, place: &str, error: impl Into<Anything>) -> Anything {
    format!("{whom} at {place}: {}", with_causes(&*error.into())).into()
}

/// A connection that is made in time.
async fn reached<T>(connecting: impl Future<Output = Result<T, Anything>>) -> Result<T, Anything> {
    timeout(REACHED_WITHIN, connecting).await?
}

/// An error and what caused it, in one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes = causes.map(|error| error.to_string().trim().replace('\n', ", "));
    let mut causes: Vec<_> = causes.collect();
    causes.dedup(); // Some say what caused them themselves.
    causes.join(": ")
}

fn resolved(place: &str) -> Result<std::net::SocketAddr, Anything> {
    let place = place.trim_end_matches('/');
    let found = place.to_socket_addrs();
    let mut found = found.map_err(|error| format!("`{place}` is not HOST:PORT: {error}"))?;
    found.next().ok_or_else(|| format!("`{place}` has no address").into())
}

impl Prepared {
    /// A connection with so many slots for sessions, made in the runtime that uses it; the number
    /// tells it from the others.
    ///
    /// # Errors
    /// If there is none to be had.
    pub async fn connect(&self, number: u64, sessions: usize) -> Result<Connection, Anything> {
        Ok(match self {
            Prepared::Http(http) => Connection::Http(http.connect(number, sessions)),
            Prepared::Embedded(embedded) => Connection::Embedded(embedded.connect(sessions)),
            Prepared::Redis(redis) => Connection::Redis(redis.connect().await?),
            Prepared::Postgres(postgres) => Connection::Postgres(postgres.connect().await?),
        })
    }

    /// The runtime that callers run in, where it is not theirs to choose.
    pub fn runtime(&self) -> Option<&Handle> {
        match self {
            Prepared::Http(_) | Prepared::Redis(_) | Prepared::Postgres(_) => None,
            Prepared::Embedded(embedded) => Some(embedded.runtime()),
        }
    }

    /// What all line items have used and hold; `None` where nobody counts.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub async fn used(&self) -> Result<Option<Taken>, Anything> {
        match self {
            Prepared::Http(http) => http.used().await,
            Prepared::Embedded(embedded) => embedded.used().await.map(Some),
            Prepared::Redis(redis) => redis.used().await.map(Some),
            Prepared::Postgres(postgres) => postgres.used().await.map(Some),
        }
    }

    /// Moves time on, and waits until everything that falls due is durable.
    ///
    /// # Errors
    /// If time is not ours to move.
    pub async fn advance(&self, ms: u64) -> Result<(), Anything> {
        match self {
            Prepared::Http(http) => http.advance(ms).await,
            Prepared::Embedded(embedded) => embedded.advance(ms).await,
            Prepared::Redis(_) | Prepared::Postgres(_) => Err("a peer's time is not ours".into()),
        }
    }

    /// What its journal has of the disk; nothing where none is in reach.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal(&self) -> Result<Option<Used>, Anything> {
        match self {
            Prepared::Http(_) | Prepared::Redis(_) | Prepared::Postgres(_) => Ok(None),
            Prepared::Embedded(embedded) => embedded.journal().map(Some),
        }
    }

    /// Ends what was begun for it.
    ///
    /// # Errors
    /// If it ends badly.
    pub async fn close(&self) -> Result<(), Anything> {
        match self {
            Prepared::Http(_) | Prepared::Redis(_) | Prepared::Postgres(_) => Ok(()),
            Prepared::Embedded(embedded) => embedded.close().await,
        }
    }
}

impl Connection {
    /// Asks, and waits for what comes of it. A connection that broke is made again by the next.
    pub async fn ask(&mut self, operation: Operation) -> Outcome {
        let outcome = match self {
            Connection::Http(http) => http.ask(operation).await,
            Connection::Embedded(embedded) => embedded.ask(operation).await,
            Connection::Redis(redis) => redis.ask(operation).await,
            Connection::Postgres(postgres) => postgres.ask(operation).await,
        };
        if outcome == Outcome::Unreached {
            sleep(AGAIN_AFTER).await;
        }
        outcome
    }
}
