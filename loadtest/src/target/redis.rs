//! Redis as a target: one script does what farebox does with a one-off request.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ValueCodec, cmd, from_redis_value};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;
use uuid::Uuid;

use crate::Anything;
use crate::audit::Taken;
use crate::profile::Profile;
use crate::target::peers::{self, Request};
use crate::target::{Outcome, answered, reached};
use crate::workload::Operation;

const SCRIPT: &str = include_str!("redis.lua");
/// How long an answer is kept under its key, as in farebox.
const KEPT_SECONDS: u64 = 86_400;

/// A world that was made there.
pub struct Prepared {
    client: Client,
    /// `host:port`.
    address: String,
    /// What the keys of this world begin with.
    prefix: String,
    script_sha: String,
    request: Request,
    /// The commands without an idempotency key, one for each instance, as they are sent.
    packed: Vec<Vec<u8>>,
    /// What the line items of each instance had at first.
    line_items: Vec<u64>,
}

/// One caller. It speaks the protocol itself: the client's task and channel would cost the cores
/// that Redis needs.
pub struct Connection {
    prepared: Arc<Prepared>,
    framed: Option<Framed<TcpStream, ValueCodec>>,
}

/// Makes the world of a profile beside those that are there.
///
/// # Errors
/// If Redis is not there, or the profile asks for what it cannot do.
pub async fn prepare(url: &str, profile: &Profile) -> Result<Prepared, Anything> {
    let request = Request::of(profile)?;
    let client = Client::open(url)?;
    let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr() else {
        return Err(format!("`{url}` is not redis://HOST:PORT").into());
    };
    let address = format!("{host}:{port}");
    let mut connection = administration(&client, &address).await?;
    let mut begin = redis::pipe();
    begin.cmd("INCR").arg("worlds").cmd("SCRIPT").arg("LOAD").arg(SCRIPT);
    let begun = answered("Redis", &address, begin.query_async(&mut connection));
    let (number, script_sha): (u64, String) = begun.await?;
    let (prefix, packed) = (format!("world:{number}"), Vec::new());
    let line_items = profile.world.line_items.clone();
    let mut world = Prepared { client, address, prefix, script_sha, request, packed, line_items };
    for instance in 0..profile.world.instances {
        world.make_instance(&mut connection, instance).await?;
    }
    Ok(world)
}

impl Prepared {
    /// A caller in it.
    ///
    /// # Errors
    /// If Redis takes no connection.
    pub async fn connect(self: &Arc<Prepared>) -> Result<Connection, Anything> {
        Ok(Connection { prepared: Arc::clone(self), framed: Some(self.open().await?) })
    }

    /// See [`crate::target::Prepared::used`].
    ///
    /// # Errors
    /// If Redis does not say.
    pub async fn used(&self) -> Result<Taken, Anything> {
        let mut connection = administration(&self.client, &self.address).await?;
        let mut taken = Taken::default();
        for instance in 0..self.packed.len() {
            let places = 0..self.line_items.len();
            let names: Vec<_> = places.map(|place| name(instance, place)).collect();
            let mut asked = cmd("HMGET");
            asked.arg(self.key("left", instance)).arg(&names);
            let left = answered("Redis", &self.address, asked.query_async(&mut connection));
            let left: Vec<i64> = left.await?;
            let line_items = names.into_iter().zip(&self.line_items).zip(left);
            taken.add(line_items.map(|((name, had), left)| {
                (name, *had, (i128::from(*had) - i128::from(left)) * 1_000_000)
            }));
        }
        Ok(taken)
    }

    async fn open(&self) -> Result<Framed<TcpStream, ValueCodec>, Anything> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Framed::new(stream, ValueCodec::default()))
    }

    async fn make_instance(
        &mut self,
        connection: &mut MultiplexedConnection,
        instance: usize,
    ) -> Result<(), Anything> {
        let mut pipe = redis::pipe();
        for (place, tokens) in self.line_items.iter().enumerate() {
            let id = name(instance, place);
            pipe.cmd("RPUSH").arg(self.key("order", instance)).arg(&id);
            pipe.cmd("HSET").arg(self.key("left", instance)).arg(&id).arg(*tokens);
        }
        answered("Redis", &self.address, pipe.exec_async(connection)).await?;
        self.packed.push(self.command(instance, None));
        Ok(())
    }

    fn key(&self, what: &str, instance: usize) -> String {
        format!("{}:{what}:{instance}", self.prefix)
    }

    /// The command that charges, as it is sent.
    fn command(&self, instance: usize, key: Option<Uuid>) -> Vec<u8> {
        let Prepared { prefix, script_sha, request, .. } = self;
        let mut command = cmd("EVALSHA");
        command.arg(script_sha).arg(3 + usize::from(key.is_some()));
        command.arg(self.key("order", instance)).arg(self.key("left", instance));
        command.arg(format!("{prefix}:log"));
        if let Some(key) = key {
            command.arg(format!("{prefix}:answer:{key}"));
        }
        command.arg(request.cost_tokens).arg(&request.logged).arg(KEPT_SECONDS);
        command.get_packed_command()
    }
}

/// A connection for what is asked before a load and after it. It waits for as long as we do.
async fn administration(client: &Client, address: &str) -> Result<MultiplexedConnection, Anything> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let config = config.set_connection_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    answered("Redis", address, connection).await
}

/// What a line item is called.
fn name(instance: usize, place: usize) -> String {
    format!("L{instance}-{place}")
}

impl Connection {
    /// See [`crate::target::Connection::ask`].
    pub async fn ask(&mut self, operation: Operation) -> Outcome {
        let Operation::OneOff { instance } = operation else {
            return Outcome::Failed; // No profile that was prepared has any other.
        };
        if self.reach().await.is_err() {
            return Outcome::Unreached;
        }
        let key = self.prepared.request.key();
        peers::outcome(self.charge(instance, key).await)
    }

    /// Makes a connection where there is none.
    async fn reach(&mut self) -> Result<(), Anything> {
        if self.framed.is_none() {
            self.framed = Some(reached(self.prepared.open()).await?);
        }
        Ok(())
    }

    /// Charges an instance once, under a key if there is one, and says what the script answers.
    pub async fn charge(&mut self, instance: usize, key: Option<Uuid>) -> Result<String, Anything> {
        let command = match (key, self.prepared.packed.get(instance)) {
            (None, Some(packed)) => packed.clone(),
            (key, _) => self.prepared.command(instance, key),
        };
        self.reach().await?;
        let mut framed = self.framed.take().ok_or("no connection")?;
        framed.send(command).await?;
        let answer = framed.next().await.ok_or("Redis hung up")??.extract_error()?;
        self.framed = Some(framed); // Only if it still works.
        Ok(from_redis_value(answer)?)
    }
}
