//! The real program: kill -9, signals, exit statuses and messages, `verify`, `token`, `demo`.
//! Promises P3 and P14 and the cases J6, J7 and J10 to J12 of the table of bad inputs.
//!
//! Nothing is slept for, but by the one test that stops the program for 6 s: a test waits for a
//! line, an answer, a file or an end, and only a hang takes [`process::HANG`].
//! `FAREBOX_LONG=1` kills 500 times instead of 20.
//!
//! Do they bite? Each line below was broken once, and the tests named were seen red (among
//! others):
//!
//! * `commit.rs`, answers released right before the write: `what_was_acknowledged_is_there_…`, at
//!   the second kill
//! * `recovery.rs`, what was replayed not marked for the next snapshot: the same
//! * `open.rs`, no last snapshot: `sigterm_and_sigint_end_well_…`
//! * `runtime.rs`, SIGTERM not heard: the same, and `a_request_under_way_…`
//! * `runtime.rs`, `println!`, or internal errors of the log: `a_server_that_nobody_listens_to_…`
//! * `file.rs`, no lock: `a_second_process_is_refused_…`
//! * `snapshots.rs`, modes left to the umask: `everything_is_for_its_owner_only_…`
//! * `keys.rs`, keys written under their own names: `a_first_start_that_is_killed_anywhere_…`
//! * `open.rs` and `verify.rs`, snapshots opened before the version is checked:
//!   `a_directory_of_another_format_…`
//! * `verify.rs`, sums not compared; `replay.rs`, offset of a record off by some bytes:
//!   `verify_names_the_place_of_a_record_that_lies`
//! * `demo.rs`, signals not heard; directory not removed: `a_demo_that_is_stopped_…`
//! * `explain.rs`, the journal locked; `text.rs`, another figure in the sentence:
//!   `decisions_are_explained_…`
//! * `broker_time.rs`, a tick that finds no outage; time that jumps without a record, in a tick:
//!   `a_server_that_was_stopped_…`; at a start: `a_server_that_starts_after_three_days_…`

#[path = "binary/commands.rs"]
mod commands;
#[path = "binary/damage.rs"]
mod damage;
#[path = "common/dice.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses a part of it")]
mod dice;
#[path = "binary/directory.rs"]
mod directory;
#[path = "binary/explain.rs"]
mod explain;
#[path = "binary/files.rs"]
mod files;
#[path = "binary/keys.rs"]
mod keys;
#[path = "binary/kill.rs"]
mod kill;
#[path = "binary/outages.rs"]
mod outages;
#[path = "common/process.rs"]
mod process;
#[path = "binary/retries.rs"]
mod retries;
#[path = "binary/signals.rs"]
mod signals;
#[path = "binary/test_clock.rs"]
mod test_clock;
#[path = "binary/usage.rs"]
mod usage;
#[path = "binary/world.rs"]
mod world;
