//! Broker time (spec 4.2): the monotonic clock from an origin on, never beyond a horizon that a tick
//! raises each second. What a tick finds missing is an outage, recorded before anybody can see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::catalogue::CatalogueMessage;
use super::{Core, answered};
use crate::domain::time::Timestamp;
use crate::env::Clock;
use crate::error::BrokerError;
use crate::metrics::{CLOCK_BEHIND_SECONDS, OUTAGE_SECONDS_TOTAL};

/// How often a running broker looks at its clocks.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How far beyond the last tick something may be stamped.
const HORIZON_MS: u64 = 3_000;
/// What may be missing between two ticks before it counts as an outage.
const OUTAGE_MIN_MS: u64 = 5_000;

/// The time of a broker.
pub(crate) struct BrokerTime {
    clock: Arc<dyn Clock>,
    /// What the monotonic clock's zero is in broker time, in milliseconds.
    origin_ms: AtomicU64,
    /// Whether the journal was empty at the start.
    is_new: bool,
    /// Nothing is stamped later than this, in milliseconds.
    horizon_ms: AtomicU64,
    last_tick: Mutex<Tick>,
}

/// What the clocks showed.
#[derive(Clone, Copy, Debug)]
struct Tick {
    broker: Timestamp,
    system: Timestamp,
}

impl BrokerTime {
    /// Stands at `mark`, the highest stamp of any durable record, until the first tick has said
    /// how long nobody was there. On a new journal there is none.
    pub(crate) fn new(clock: Arc<dyn Clock>, mark: Timestamp) -> BrokerTime {
        let is_new = mark == Timestamp::default();
        let system = clock.system();
        let now = if clock.is_test_clock() || is_new { system.max(mark) } else { mark };
        let horizon = if clock.is_test_clock() { u64::MAX } else { now.as_ms() };
        let elapsed = elapsed_ms(clock.as_ref());
        BrokerTime {
            origin_ms: AtomicU64::new(now.as_ms().saturating_sub(elapsed)),
            is_new,
            horizon_ms: AtomicU64::new(horizon),
            last_tick: Mutex::new(Tick { broker: now, system }),
            clock,
        }
    }

    /// Whether it only moves when somebody moves it.
    pub(crate) fn is_by_hand(&self) -> bool {
        self.clock.is_test_clock()
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        let horizon = Timestamp::from_ms(self.horizon_ms.load(Ordering::SeqCst));
        self.unbounded().min(horizon)
    }

    fn unbounded(&self) -> Timestamp {
        let elapsed = elapsed_ms(self.clock.as_ref());
        Timestamp::from_ms(self.origin_ms.load(Ordering::SeqCst)).plus_ms(elapsed)
    }

    /// The last instant at which somebody is known to have been there.
    pub(crate) fn last_tick(&self) -> Timestamp {
        self.last_tick.lock().unwrap_or_else(PoisonError::into_inner).broker
    }

    /// Looks at the clocks. Where nothing is missing the horizon rises; else the outage's end is
    /// told, and the horizon stays until it is recorded.
    fn tick(&self) -> Option<Timestamp> {
        let (broker, system) = (self.unbounded(), self.clock.system());
        let last = *self.last_tick.lock().unwrap_or_else(PoisonError::into_inner);
        let behind_ms = broker.ms_since(system);
        gauge!(CLOCK_BEHIND_SECONDS).set(Duration::from_millis(behind_ms));
        if behind_ms > OUTAGE_MIN_MS && last.broker.ms_since(last.system) <= OUTAGE_MIN_MS {
            tracing::warn!(behind_ms, "the system's clock fell behind: broker time goes on");
        }
        // How far the system's clock has gone since says nothing: it may have been put right.
        let is_missed = broker.ms_since(last.broker) > OUTAGE_MIN_MS;
        if is_missed || system.ms_since(broker) > OUTAGE_MIN_MS {
            return Some(broker.max(system));
        }
        self.resume(broker, Some(system));
        None
    }

    /// Goes on at `now`.
    fn resume(&self, now: Timestamp, system: Option<Timestamp>) {
        let system = system.unwrap_or_else(|| self.clock.system());
        *self.last_tick.lock().unwrap_or_else(PoisonError::into_inner) =
            Tick { broker: now, system };
        let late = now.ms_since(self.unbounded());
        self.origin_ms.fetch_add(late, Ordering::SeqCst);
        self.horizon_ms.store(now.plus_ms(HORIZON_MS).as_ms(), Ordering::SeqCst);
    }
}

fn elapsed_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

impl Core {
    /// The first tick of a start: all that has passed since the journal's last stamp is an outage.
    pub(crate) async fn start_clock(&self) -> Result<(), BrokerError> {
        if self.ledger.time().is_by_hand() {
            return Ok(());
        }
        let time = self.ledger.time();
        let lost_ms = self.ledger.tenant().outages.lost_ms();
        counter!(OUTAGE_SECONDS_TOTAL).absolute(lost_ms / 1_000); // Shows from the start.
        let (now, system) = (time.now(), time.clock.system());
        if system > now && !time.is_new {
            self.record_outage(system).await?;
        } else {
            time.resume(now, Some(system));
            if now > system {
                let behind_ms = now.ms_since(system);
                tracing::warn!(behind_ms, "the system's clock is behind the journal's stamps");
            }
        }
        Ok(())
    }

    async fn record_outage(&self, to: Timestamp) -> Result<(), BrokerError> {
        let (done, recorded) = oneshot::channel();
        self.send_catalogue(CatalogueMessage::Outage { to, done });
        let outage = answered(recorded).await?.ok_or(BrokerError::Stopping)??;
        let out_ms = outage.to.ms_since(outage.from);
        let lost_ms = self.ledger.tenant().outages.lost_ms();
        counter!(OUTAGE_SECONDS_TOTAL).absolute(lost_ms / 1_000);
        tracing::info!(from = %outage.from, to = %outage.to, out_ms, "an outage: session time stood still");
        self.ledger.time().resume(to, None);
        Ok(())
    }
}

/// Ticks for ever, and leaves a stamp in an idle journal. The broker ends it.
pub(crate) async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let ticked = match core.ledger.time().tick() {
            None => core.ledger.leave_mark().map(drop),
            Some(to) => core.record_outage(to).await,
        };
        if let Err(error) = ticked {
            tracing::warn!(%error, "a tick of the clock failed: time stands still until one does not");
        }
    }
}
