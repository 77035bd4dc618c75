//! PostgreSQL as a target: one prepared statement, or one call of a procedure, does what farebox
//! does with a one-off request.

use std::sync::Arc;

use tokio_postgres::{Client, Config, NoTls, Statement};
use uuid::Uuid;

use crate::Anything;
use crate::audit::Taken;
use crate::profile::{Profile, World};
use crate::target::peers::{self, Request};
use crate::target::{Outcome, answered, reached};
use crate::workload::Operation;

/// The tables of a world and the procedure.
const SCHEMA: &str = include_str!("postgres.sql");
/// Charges the first line item that has enough.
const STATEMENT: &str = include_str!("postgres_statement.sql");
/// Charges over as many line items as it takes.
const PROCEDURE: &str = "SELECT charge($1, $2, $3, $4)";
/// What a URL ends with that wants the procedure.
const WANTS_PROCEDURE: &str = "?procedure";

const FILL: &str = "
    INSERT INTO line_item (instance, place, id, available)
    SELECT instance, place, 'L' || instance || '-' || place - 1, available
    FROM generate_series(0, $1 - 1) AS instance,
        unnest($2::bigint[]) WITH ORDINALITY AS line_item (available, place)";

/// A world that was made there.
pub struct Prepared {
    server: Server,
    /// Where its tables are found.
    schema: String,
    charge: &'static str,
    request: Request,
    /// What the line items of each instance had at first.
    line_items: Vec<u64>,
}

/// Where it is.
struct Server {
    config: Config,
    /// Host, port and database, for people.
    place: String,
}

/// One caller.
pub struct Connection {
    prepared: Arc<Prepared>,
    client: Option<(Client, Statement)>,
}

/// Makes the world of a profile beside those that are there.
///
/// # Errors
/// If PostgreSQL is not there, or the profile asks for what it cannot do.
pub async fn prepare(url: &str, profile: &Profile) -> Result<Prepared, Anything> {
    let request = Request::of(profile)?;
    let (url, charge) = match url.strip_suffix(WANTS_PROCEDURE) {
        Some(url) => (url, PROCEDURE),
        None => (url, STATEMENT),
    };
    let place = url.rsplit_once('@').or(url.split_once("://")).map_or(url, |(_, place)| place);
    let server = Server { config: url.parse()?, place: place.to_owned() };
    let client = server.open().await?;
    let schema = make(&client, place, &profile.world).await?;
    let line_items = profile.world.line_items.clone();
    Ok(Prepared { server, schema, charge, request, line_items })
}

/// Makes the tables of a world, and says in which schema.
async fn make(client: &Client, place: &str, world: &World) -> Result<String, Anything> {
    let whom = "PostgreSQL";
    let sequence = client.batch_execute("CREATE SEQUENCE IF NOT EXISTS world");
    answered(whom, place, sequence).await?;
    let number = client.query_one("SELECT nextval('world')", &[]);
    let number: i64 = answered(whom, place, number).await?.try_get(0)?;
    let schema = format!("world_{number}");
    let make = format!("CREATE SCHEMA {schema}; SET search_path TO {schema}; {SCHEMA}");
    answered(whom, place, client.batch_execute(&make)).await?;
    let instances = i32::try_from(world.instances)?;
    let line_items = world.line_items.iter().map(|left| i64::try_from(*left));
    let line_items = line_items.collect::<Result<Vec<_>, _>>()?;
    answered(whom, place, client.execute(FILL, &[&instances, &line_items])).await?;
    answered(whom, place, client.batch_execute("ANALYZE line_item")).await?;
    Ok(schema)
}

impl Prepared {
    /// A caller in it.
    ///
    /// # Errors
    /// If PostgreSQL takes no connection.
    pub async fn connect(self: &Arc<Prepared>) -> Result<Connection, Anything> {
        Ok(Connection { prepared: Arc::clone(self), client: Some(self.open().await?) })
    }

    async fn open(&self) -> Result<(Client, Statement), Anything> {
        let client = self.server.open().await?;
        let statement = answered("PostgreSQL", &self.server.place, async {
            client.batch_execute(&format!("SET search_path TO {}", self.schema)).await?;
            client.prepare(self.charge).await
        });
        let statement = statement.await?;
        Ok((client, statement))
    }

    /// See [`crate::target::Prepared::used`].
    ///
    /// # Errors
    /// If PostgreSQL does not say.
    pub async fn used(&self) -> Result<Taken, Anything> {
        let (client, schema) = (self.server.open().await?, &self.schema);
        let used = format!("SELECT id, used FROM {schema}.line_item ORDER BY instance, place");
        let rows = answered("PostgreSQL", &self.server.place, client.query(&used, &[])).await?;
        let mut taken = Taken::default();
        for instance in rows.chunks(self.line_items.len()) {
            let mut line_items = Vec::with_capacity(instance.len());
            for (row, had) in instance.iter().zip(&self.line_items) {
                let used: i64 = row.try_get(1)?;
                line_items.push((row.try_get(0)?, *had, i128::from(used) * 1_000_000));
            }
            taken.add(line_items);
        }
        Ok(taken)
    }
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
        if self.client.is_none() {
            self.client = Some(reached(self.prepared.open()).await?);
        }
        Ok(())
    }

    /// Charges an instance once, under a key if there is one, and says what was taken from which
    /// line item.
    pub async fn charge(&mut self, instance: usize, key: Option<Uuid>) -> Result<String, Anything> {
        self.reach().await?;
        let (client, statement) = self.client.take().ok_or("no connection")?;
        let (instance, request) = (i32::try_from(instance)?, &self.prepared.request);
        let Request { cost_tokens, logged, .. } = request;
        let answer = client.query_one(&statement, &[&instance, cost_tokens, logged, &key]).await?;
        self.client = Some((client, statement)); // Only if it still works.
        Ok(answer.try_get(0)?)
    }
}

impl Server {
    /// A client, with its connection served by a task of this runtime.
    async fn open(&self) -> Result<Client, Anything> {
        let connected = self.config.connect(NoTls);
        let (client, connection) = answered("PostgreSQL", &self.place, connected).await?;
        tokio::spawn(connection); // What ends it, its client is told.
        Ok(client)
    }
}
