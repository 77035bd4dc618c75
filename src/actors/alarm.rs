//! One timer for the earliest due event of all instances. It decides nothing: it only sees to it
//! that somebody takes the turn of an instance when something falls due there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::Core;
use crate::domain::ids::InstanceId;
use crate::domain::session_time::SessionTime;
use crate::error::BrokerError;

/// Instances that are caught up at once.
const AT_ONCE: usize = 64;
/// The longest sleep: time can come by in other ways than by passing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often ended sessions are looked for that nobody asks after.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// When each instance has something coming.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    earliest: Mutex<BTreeSet<(SessionTime, InstanceId)>>,
    moved: Notify,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(SessionTime, InstanceId)>> {
        self.earliest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance had its earliest event at `before`, and has it at `after` now.
    pub(super) fn set(
        &self,
        instance: InstanceId,
        before: Option<SessionTime>,
        after: Option<SessionTime>,
    ) {
        let mut earliest = self.lock();
        let first = earliest.first().copied();
        if let Some(before) = before {
            earliest.remove(&(before, instance));
        }
        earliest.extend(after.map(|after| (after, instance)));
        if earliest.first().copied() < first || first.is_none() {
            self.moved.notify_one();
        }
    }

    fn first(&self) -> Option<SessionTime> {
        self.lock().first().map(|(at, _)| *at)
    }

    fn due(&self, now: SessionTime) -> Vec<InstanceId> {
        let earliest = self.lock();
        let due = earliest.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, instance)| *instance).collect()
    }
}

/// Sleeps until something is due, runs it, for ever. The broker ends it.
pub(crate) async fn run(core: Arc<Core>) {
    let mut swept = Instant::now();
    loop {
        if swept.elapsed() >= SWEEP_EVERY {
            forget_everywhere(&core).await;
            swept = Instant::now();
        }
        match catch_up_all(&core).await {
            Ok(()) => {
                let wait = core.alarm.first().map_or(LOOK_AGAIN, |first| {
                    let due = core.ledger.tenant().outages.broker_time(first);
                    Duration::from_millis(due.ms_since(core.ledger.now()))
                });
                let _ = timeout(wait.min(LOOK_AGAIN), core.alarm.moved.notified()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "what is due could not be run: trying again");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// Runs everything that is due now, in all instances. One that fails does not keep the others.
pub(crate) async fn catch_up_all(core: &Arc<Core>) -> Result<(), BrokerError> {
    loop {
        let now = core.ledger.now();
        let due = core.alarm.due(core.ledger.tenant().outages.session_time(now));
        if due.is_empty() {
            return Ok(());
        }
        let (mut running, mut failed) = (JoinSet::new(), Ok(()));
        let mut take_up = |ended: Result<Result<(), BrokerError>, JoinError>| {
            if failed.is_ok() {
                failed = ended.unwrap_or(Err(BrokerError::Fault));
            }
        };
        for id in due {
            let Some(instance) = core.directory.instance(id) else { continue };
            if running.len() >= AT_ONCE
                && let Some(ended) = running.join_next().await
            {
                take_up(ended);
            }
            let core = Arc::clone(core);
            running.spawn(async move {
                let turn = instance.exclude().await;
                core.catch_up(&instance, turn).await.map(drop)
            });
        }
        while let Some(ended) = running.join_next().await {
            take_up(ended);
        }
        failed?;
    }
}

/// Forgets what ended long ago, also where nobody calls any more.
async fn forget_everywhere(core: &Arc<Core>) {
    for instance in core.directory.instances() {
        let mut turn = instance.exclude().await;
        core.forget_ended(&instance, &mut turn, core.ledger.now());
    }
}
