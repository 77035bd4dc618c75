//! A broker in process, on a durable directory, whose world grows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farebox::auth::{Principal, Scope};
use farebox::broker::{Broker, OpenError, Options, Reach, Storage};
use farebox::config::Sessions;
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::AccessRequest;
use farebox::domain::session::OnDeny;
use farebox::domain::time::Timestamp;
use farebox::journal::{Directory, SledSnapshots, Step};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::Anything;
use crate::target::embedded;

/// So many are made at once.
const MAKERS: usize = 256;
/// Prices are valid from here on.
const EFFECTIVE_FROM: Timestamp = Timestamp::from_ms(1_698_849_852_000);
/// The tasks of a broker that was stopped may have its directory for a moment longer.
const LINGERING: Duration = Duration::from_millis(5);
/// A pass has come to its end.
const PASS_ENDED: Step = Step::MarkSynced;

/// A broker, and what was made in it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) broker: Broker,
    /// The instances.
    pub(super) scopes: Arc<Vec<Scope>>,
    /// The ids of the sessions, all of them in use.
    pub(super) sessions: Arc<Vec<String>>,
    line_items: usize,
    /// Changes with each snapshot pass that ends.
    passes: watch::Receiver<()>,
}

impl World {
    /// An empty one, with the tutorial's prices; a snapshot pass begins so long after the last.
    pub(super) async fn new(home: &Path, snapshot_every: Duration) -> Result<World, Anything> {
        let (sender, passes) = watch::channel(());
        let noted = move |step| {
            if step == PASS_ENDED {
                sender.send_replace(());
            }
        };
        let snapshots = SledSnapshots::observed(&home.join("snapshots"), Box::new(noted))?;
        let disk = Directory::open(home.join("journal"))?;
        let mut options = Options::new(Storage::Custom(Arc::new(disk), Arc::new(snapshots)));
        options.settings.snapshot_every = snapshot_every;
        options.settings.sessions = Sessions { max: usize::MAX, per_instance_max: usize::MAX };
        let broker = Broker::open(options).await?.broker;
        let (scopes, sessions) = (Arc::default(), Arc::default());
        let world = World { broker, scopes, sessions, line_items: 0, passes };
        world.publish("", 0).await?;
        Ok(world)
    }

    /// That of a directory, and how long the start took; passes as those of a new one.
    pub(super) async fn start(
        home: &Path,
        scopes: Arc<Vec<Scope>>,
        snapshot_every: Duration,
    ) -> Result<(World, Duration), Anything> {
        let (began, broker) = loop {
            let mut options = Options::directory(home);
            options.settings.snapshot_every = snapshot_every;
            let began = Instant::now();
            match Broker::open(options).await {
                Ok(opened) => break (began, opened.broker),
                Err(OpenError::InUse { .. }) => sleep(LINGERING).await,
                Err(error) => return Err(error.into()),
            }
        };
        let took = began.elapsed();
        let (sessions, passes) = (Arc::default(), watch::channel(()).1);
        let line_items = scopes.len();
        Ok((World { broker, scopes, sessions, line_items, passes }, took))
    }

    /// Stops the broker. Says which instances it had.
    pub(super) async fn stop(self) -> Result<Arc<Vec<Scope>>, Anything> {
        self.broker.close().await?;
        Ok(self.scopes)
    }

    /// A price list of at least so many items, those of [`request`] in the middle of it.
    pub(super) async fn publish(&self, series: &str, rated_items: usize) -> Result<(), Anything> {
        let item = |name: &str, version: &str, rate: &str| -> Result<RatedItem, Anything> {
            Ok(RatedItem { name: name.parse()?, version: version.parse()?, rate: rate.parse()? })
        };
        let mut items = vec![item("PhotoPrint", "1.0", "3")?, item("CADPrint", "2.0", "7")?];
        for number in items.len()..rated_items {
            let first = if number % 2 == 0 { "A" } else { "Z" };
            items.push(item(&format!("{first}{number}"), "1.0", "4")?);
        }
        let (series, version, effective_from) = (series.parse()?, "1".parse()?, EFFECTIVE_FROM);
        let table = NewRateTable { series, version, effective_from, items };
        self.broker.publish_rate_table(table).await?;
        Ok(())
    }

    /// Makes instances until there are so many.
    pub(super) async fn add_instances(&mut self, upto: usize, plan: &Plan) -> Result<(), Anything> {
        let missing = upto.saturating_sub(self.scopes.len());
        let made = self
            .each("instances", missing, plan, |world, _| async move {
                let (name, account) = ("load".parse()?, "ACME".parse()?);
                let created = world.broker.create_instance(name, account).await?;
                Ok(Principal::administration().scope(created.value.id)?)
            })
            .await?;
        Arc::make_mut(&mut self.scopes).extend(made);
        Ok(())
    }

    /// Maps line items, so many to an instance, until there are `upto`.
    pub(super) async fn add_line_items(
        &mut self,
        upto: usize,
        per_instance: usize,
        plan: &Plan,
    ) -> Result<(), Anything> {
        self.add_instances(upto.div_ceil(per_instance), plan).await?;
        let (already, missing) = (self.line_items, upto.saturating_sub(self.line_items));
        self.each("line items", missing, plan, move |world, number| async move {
            let number = already + number;
            let scope = world.scopes.get(number / per_instance).ok_or("no instance")?;
            world.map(*scope, &format!("L{number}"), "").await
        })
        .await?;
        self.line_items = self.line_items.max(upto);
        Ok(())
    }

    /// Maps a plentiful line item.
    pub(super) async fn map(&self, scope: Scope, id: &str, series: &str) -> Result<(), Anything> {
        let end = self.broker.now().plus_ms(365 * 86_400_000);
        let terms = Terms::new(id.parse()?, 9_000_000_000_000_000_000, Timestamp::default(), end);
        self.broker.map_line_item(scope, Terms { series: series.parse()?, ..terms }).await?;
        Ok(())
    }

    /// Takes sessions into use, dealt out over the instances, until there are so many.
    pub(super) async fn add_sessions(&mut self, upto: usize, plan: &Plan) -> Result<(), Anything> {
        let missing = upto.saturating_sub(self.sessions.len());
        let made = self
            .each("sessions", missing, plan, |world, number| async move {
                let scope = world.scopes.get(number % world.scopes.len()).ok_or("no instance")?;
                let id = world.broker.create_session(*scope).await?.value.to_string();
                world.put(&id, request()?).await?;
                Ok(id)
            })
            .await?;
        Arc::make_mut(&mut self.sessions).extend(made);
        Ok(())
    }

    /// Tells a session its set.
    pub(super) async fn put(&self, id: &str, set: Arc<AccessRequest>) -> Result<(), Anything> {
        let reach = Reach::Everywhere;
        self.broker.session_access(reach, id, set, OnDeny::Rollback).await?;
        Ok(())
    }

    /// Waits until the snapshots have everything that there is now: what is on its way to them
    /// takes memory and time that belong to none of the requests that are measured next.
    pub(super) async fn settle(&mut self) -> Result<(), Anything> {
        let scope = *self.scopes.first().ok_or("no instance")?;
        for _ in 0..2 {
            self.passes.mark_unchanged();
            self.broker.access(scope, request()?).await?; // Else there may be nothing to write.
            self.passes.changed().await?; // The first one may have begun earlier.
        }
        Ok(())
    }

    /// Does something so many times, 256 at once, and shows how far it is.
    pub(super) async fn each<T: Send + 'static, F>(
        &self,
        what: &str,
        many: usize,
        plan: &Plan,
        make: impl Fn(World, usize) -> F + Clone + Send + 'static,
    ) -> Result<Vec<T>, Anything>
    where
        F: Future<Output = Result<T, Anything>> + Send,
    {
        plan.begin(what, many)?;
        let mut makers = JoinSet::new();
        for first in 0..MAKERS.min(many) {
            let (world, make, progress) = (self.clone(), make.clone(), plan.progress.clone());
            makers.spawn(async move {
                let mut made = Vec::new();
                for number in (first..many).step_by(MAKERS) {
                    made.push(make(world.clone(), number).await?);
                    progress.inc(1);
                }
                Ok::<_, Anything>(made)
            });
        }
        let mut all = Vec::with_capacity(many);
        while let Some(made) = makers.join_next().await {
            all.extend(made??);
        }
        Ok(all)
    }
}

/// The tutorial's: two items for 44 tokens.
pub(super) fn request() -> Result<Arc<AccessRequest>, Anything> {
    embedded::request(vec![
        embedded::requested_item("PhotoPrint", "1.0", 10)?,
        embedded::requested_item("CADPrint", "2.0", 2)?,
    ])
}
