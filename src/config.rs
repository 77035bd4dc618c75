//! The broker's own settings: units, defaults, meaning. What the producer configures is in the
//! catalogue, not here.

use std::time::Duration;

/// How much is let in at once, and how long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight in the whole broker: 4,096 unless said. Heartbeats and closes have as
    /// many places again of their own.
    pub in_flight: usize,
    /// Requests in flight in one instance: 1,024 unless said.
    pub in_flight_per_instance: usize,
    /// From the parsed request to the answer: 5 s unless said.
    pub answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            in_flight: 4096,
            in_flight_per_instance: 1024,
            answer_within: Duration::from_secs(5),
        }
    }
}

/// How long idempotency keys are kept, and how many (spec 2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// 24 hours unless said: how long after its answer a call can be repeated under its key.
    pub keep: Duration,
    /// 1,000,000 unless said, at some 200 bytes each. What is kept is never dropped early: one key
    /// more is refused.
    pub keys_max: usize,
    /// 250,000 unless said: what one instance may have of them.
    pub keys_max_per_instance: usize,
}

impl Default for Idempotency {
    fn default() -> Idempotency {
        Idempotency {
            keep: Duration::from_secs(86_400),
            keys_max: 1_000_000,
            keys_max_per_instance: 250_000,
        }
    }
}

/// How many sessions may be live, IDLE or ACTIVE, at once (spec 2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// In the whole broker: 1,000,000 unless said, at about 1 KB each. One more is refused;
    /// those that are there at a start all stay.
    pub max: usize,
    /// In one instance: 100,000 unless said, so that no customer takes all the places.
    pub per_instance_max: usize,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { max: 1_000_000, per_instance_max: 100_000 }
    }
}

/// Everything that can be set on a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// See [`Limits`].
    pub limits: Limits,
    /// How long after one snapshot pass the next begins: 10 s unless said. A pass only costs a
    /// restart less replay.
    pub snapshot_every: Duration,
    /// Line items and sessions whose actors stay awake: 16,384 unless said. One takes about 8 KB;
    /// asleep it takes a few hundred bytes and is woken by the next call.
    pub awake: usize,
    /// Bytes of a journal segment: 16 MiB unless said; 8 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// See [`Idempotency`].
    pub idempotency: Idempotency,
    /// See [`Sessions`].
    pub sessions: Sessions,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            snapshot_every: Duration::from_secs(10),
            awake: 16_384,
            segment_bytes: 16 << 20,
            idempotency: Idempotency::default(),
            sessions: Sessions::default(),
        }
    }
}
