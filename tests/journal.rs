//! The journal layer, through its public surface. Promises P3, P4 and P14 and the cases J1 to J9
//! and J12 of the table of bad inputs, as far as they concern bytes.
//!
//! Durations: none is slept, and no test asks a clock; a hang is a failure after 20 seconds.
//!
//! Do they bite? Each line below was broken once, and the tests named were seen red (among
//! others):
//!
//! * `commit.rs`, no `sync_data`: `no_answer_is_released_before_its_sync`
//! * `commit.rs`, `sync_data` tried twice: `after_one_failed_sync_everything_is_refused_…`
//! * `commit.rs`, settled before committed: `no_answer_is_released_before_its_sync`
//! * `commit.rs`, goes on after a failure: `whatever_call_fails_…`
//! * `commit.rs`, `after_all` settles at once: `an_answer_without_a_record_waits_…`
//! * `layout.rs`, checksum of a batch not compared: `a_journal_cut_at_any_byte_…`
//! * `layout.rs`, seal without the journal's id: `a_torn_batch_whose_records_look_like_…`
//! * `replay.rs`, `evidence` finds nothing: `a_flipped_bit_anywhere_in_a_batch_…`
//! * `replay.rs`, `joins` compares no hash: `a_segment_of_the_same_journals_other_history_…`
//! * `replay.rs`, `reaches` never refuses: `a_cut_below_the_snapshots_watermark_is_refused`
//! * `recover.rs`, last batch not written again: `what_a_restart_reads_after_a_failed_sync_…`
//! * `recover.rs`, tail not cut: `a_power_cut_right_after_a_cut_changes_nothing`
//! * `snapshots.rs`, fingerprint, or number of writes, not compared: `an_entry_that_sled_lost_…`
//! * `snapshots.rs`, values not flushed before the watermark: `a_pass_interrupted_after_…`

#[path = "journal/cuts.rs"]
mod cuts;
#[path = "journal/damage.rs"]
mod damage;
#[path = "journal/directory.rs"]
mod directory;
#[path = "journal/faults.rs"]
mod faults;
#[path = "journal/running.rs"]
mod running;
#[path = "journal/snapshots.rs"]
mod snapshots;
#[path = "journal/starts.rs"]
mod starts;
#[path = "journal/support.rs"]
mod support;
