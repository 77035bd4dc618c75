//! Every metric's name, unit, labels and meaning. The library only reports; the program decides
//! where to.

/// Tokens that were signed by a registered client key and claim administration. No labels. Never
/// anything but 0 in peace: whoever holds that key is trying to pass for more than it is. Raise an
/// alarm on any growth; the log names the key.
pub const AUTH_ROLE_FORGERIES_TOTAL: &str = "farebox_auth_role_forgeries_total";

/// Broker time in which nobody was there: sessions were neither charged nor ended, and clients used
/// for nothing what they had running (counter, seconds). Grows at every start, and where the process
/// was stopped or the system's clock jumped ahead.
pub const OUTAGE_SECONDS_TOTAL: &str = "farebox_outage_seconds_total";

/// How far the system's clock is behind broker time (gauge, seconds). Not 0: the system's clock was
/// set back; broker time goes on by the monotonic clock.
pub const CLOCK_BEHIND_SECONDS: &str = "farebox_clock_behind_seconds";

/// Actors that died of a panic. No labels. Each is rebuilt from the journal when next needed; more
/// than none is a bug of ours to report.
pub const ACTOR_PANICS_TOTAL: &str = "farebox_actor_panics_total";

/// Records in one committed batch (histogram, records). 1 at rest; it grows with the load, since
/// whatever is queued during one sync shares the next. Growth with a flat rate: the disk is slower.
pub const JOURNAL_BATCH_RECORDS: &str = "farebox_journal_batch_records";

/// Time of one `fdatasync` of a batch (histogram, seconds). About 0.0001 on a good disk; every
/// answer waits for at least one, so its p99 is the floor of the answer's p99.
pub const JOURNAL_SYNC_SECONDS: &str = "farebox_journal_sync_seconds";

/// Bytes of batches written, headers and padding included (counter, bytes). Its rate is what the
/// history costs in space: nothing is ever removed.
pub const JOURNAL_APPENDED_BYTES_TOTAL: &str = "farebox_journal_appended_bytes_total";

/// Records handed to the replay at start (counter, records). Large after a start means that the
/// snapshots lag or were thrown away.
pub const JOURNAL_REPLAYED_RECORDS_TOTAL: &str = "farebox_journal_replayed_records_total";

/// Time from opening the journal until it takes records (histogram, seconds): one value a start.
pub const JOURNAL_REPLAY_SECONDS: &str = "farebox_journal_replay_seconds";

/// Answered HTTP requests. Labels: `route`, the name of an operation, and `outcome`: what its status
/// means, where `overloaded` (come back) is told apart from `unavailable` (503 and 507 otherwise). A
/// charge that is denied within a 200 is `ok` here: the call worked.
pub const HTTP_REQUESTS_TOTAL: &str = "farebox_http_requests_total";

/// From the end of a request's head to its answer, before it is written (histogram, seconds).
/// Label: `route`. Includes the wait for a slow client's body and for the journal.
pub const HTTP_REQUEST_SECONDS: &str = "farebox_http_request_seconds";

/// Tells the recorder every metric's unit and meaning. To be called once, after installing it: and
/// before a broker is opened, since metrics are registered with the recorder that is there then.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(HTTP_REQUESTS_TOTAL, Unit::Count, "answered HTTP requests");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "time from head to answer");
    describe_counter!(ACTOR_PANICS_TOTAL, Unit::Count, "actors that died of a panic");
    describe_counter!(
        AUTH_ROLE_FORGERIES_TOTAL,
        Unit::Count,
        "tokens of client keys that claim administration"
    );
    describe_histogram!(JOURNAL_BATCH_RECORDS, Unit::Count, "records in one committed batch");
    describe_histogram!(JOURNAL_SYNC_SECONDS, Unit::Seconds, "time of one sync of a batch");
    describe_counter!(JOURNAL_APPENDED_BYTES_TOTAL, Unit::Bytes, "bytes of batches written");
    describe_counter!(
        JOURNAL_REPLAYED_RECORDS_TOTAL,
        Unit::Count,
        "records read back at start that no snapshot had"
    );
    describe_counter!(
        OUTAGE_SECONDS_TOTAL,
        Unit::Seconds,
        "broker time in which nobody was there and sessions stood still"
    );
    describe_gauge!(
        CLOCK_BEHIND_SECONDS,
        Unit::Seconds,
        "how far the system's clock is behind broker time"
    );
    describe_histogram!(
        JOURNAL_REPLAY_SECONDS,
        Unit::Seconds,
        "time from opening the journal until it takes records"
    );
}
