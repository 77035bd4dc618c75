//! PostgreSQL as a target: one prepared statement, or one call of a procedure, does what farebox
//! does with a one-off request.

use std::sync::Arc;

use tokio_postgres::{Client, Config, NoTls, Statement};
use uuid::Uuid;

use crate::Anything;
use crate::audit::Taken;
use crate::profile::Profile;
use crate::target::Outcome;
use crate::target::peers::{self, Request};
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
    config: Config,
    /// Where its tables are found.
    schema: String,
    charge: &'static str,
    request: Request,
    /// What the line items of each instance had at first.
    line_items: Vec<u64>,
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
    let config: Config = url.parse()?;
    let client = open(&config).await?;
    client.batch_execute("CREATE SEQUENCE IF NOT EXISTS world").await?;
    let number: i64 = client.query_one("SELECT nextval('world')", &[]).await?.try_get(0)?;
    let schema = format!("world_{number}");
    let make = format!("CREATE SCHEMA {schema}; SET search_path TO {schema}; {SCHEMA}");
    client.batch_execute(&make).await?;
    let instances = i32::try_from(profile.world.instances)?;
    let line_items = profile.world.line_items.clone();
    let left = line_items.iter().map(|left| i64::try_from(*left)).collect::<Result<Vec<_>, _>>()?;
    client.execute(FILL, &[&instances, &left]).await?;
    client.batch_execute("ANALYZE line_item").await?;
    Ok(Prepared { config, schema, charge, request, line_items })
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
        let client = open(&self.config).await?;
        client.batch_execute(&format!("SET search_path TO {}", self.schema)).await?;
        let statement = client.prepare(self.charge).await?;
        Ok((client, statement))
    }

    /// See [`crate::target::Prepared::used`].
    ///
    /// # Errors
    /// If PostgreSQL does not say.
    pub async fn used(&self) -> Result<Taken, Anything> {
        let client = open(&self.config).await?;
        let schema = &self.schema;
        let used = format!("SELECT id, used FROM {schema}.line_item ORDER BY instance, place");
        let (rows, mut taken) = (client.query(&used, &[]).await?, Taken::default());
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
        let key = self.prepared.request.key();
        peers::outcome(self.charge(instance, key).await)
    }

    /// Charges an instance once, under a key if there is one, and says what was taken from which
    /// line item.
    pub async fn charge(&mut self, instance: usize, key: Option<Uuid>) -> Result<String, Anything> {
        let (client, statement) = match self.client.take() {
            Some(client) => client,
            None => self.prepared.open().await?,
        };
        let (instance, request) = (i32::try_from(instance)?, &self.prepared.request);
        let Request { cost_tokens, logged, .. } = request;
        let answer = client.query_one(&statement, &[&instance, cost_tokens, logged, &key]).await?;
        self.client = Some((client, statement)); // Only if it still works.
        Ok(answer.try_get(0)?)
    }
}

/// A client, with its connection served by a task of this runtime.
async fn open(config: &Config) -> Result<Client, Anything> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection); // What ends it, its client is told.
    Ok(client)
}
