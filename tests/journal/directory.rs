//! The journal on a real file system: modes, the lock, and a walk beside a running broker.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use farebox::journal::{Directory, Disk, Options};

use crate::support::*;

#[test]
fn a_journal_on_a_file_system_survives_clean_and_unclean_stops() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("data").join("journal");
    let mut last = 0;
    for start in 0..6 {
        let disk = Arc::new(Directory::open(&path).unwrap());
        let reopened = reopen_with(disk, small(), None).unwrap();
        assert_records(&reopened.records, 1, last);
        let journal = reopened.recovered.journal;
        extend(&journal, last, &[last + 1, last + 60, last + 80]);
        last += 80;
        if start % 2 == 0 {
            journal.close().unwrap();
        }
    }
    assert_records(&walked(&Directory::read_only(&path).unwrap()), 1, last);
}

#[test]
fn files_and_directory_are_for_their_owner_only() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    let disk = Arc::new(Directory::open(&path).unwrap());
    let journal = reopen_with(disk, small(), None).unwrap().recovered.journal;
    extend(&journal, 0, &[1]);
    journal.close().unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in path.read_dir().unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
}

#[test]
fn a_directory_in_use_is_refused_but_may_be_read() {
    let home = tempfile::tempdir().unwrap();
    let disk = Arc::new(Directory::open(home.path()).unwrap());
    let journal = reopen_with(disk, small(), None).unwrap().recovered.journal;
    extend(&journal, 0, &[3]);
    let Err(error) = Directory::open(home.path()) else { panic!("two brokers on one journal") };
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("in use by another broker"), "{error}");

    let reader = Directory::read_only(home.path()).unwrap();
    assert_records(&walked(&reader), 1, 3);
    assert!(reader.create("new").is_err() && reader.remove(&segment(1)).is_err());
    assert!(reader.open(&segment(1)).unwrap().write_at(&[1], 0).is_err());
    drop(journal);
    Directory::open(home.path()).unwrap();
}

#[test]
fn a_journal_with_default_options_opens_closes_and_is_trimmed() {
    let home = tempfile::tempdir().unwrap();
    let disk = Arc::new(Directory::open(home.path()).unwrap());
    let journal = reopen_with(disk, Options::new(1), None).unwrap().recovered.journal;
    extend(&journal, 0, &[1, 500]);
    journal.close().unwrap();
    let length = home.path().join(segment(1)).metadata().unwrap().len();
    assert!(length < 32 << 10, "{length} bytes");
}

#[test]
fn a_walk_while_others_append_always_finds_a_prefix() {
    let home = tempfile::tempdir().unwrap();
    let disk = Arc::new(Directory::open(home.path()).unwrap());
    let journal = reopen_with(disk, small(), None).unwrap().recovered.journal;
    let appender = std::thread::spawn(move || {
        (1..=300).for_each(|last| extend(&journal, last - 1, &[last]));
    });
    let reader = Directory::read_only(home.path()).unwrap();
    let mut longest = 0;
    while !appender.is_finished() {
        let records = walked(&reader);
        let last = records.len() as u64;
        assert!(last >= longest, "a walk found less than the one before");
        longest = last;
        assert_records(&records, 1, last);
    }
    appender.join().unwrap();
    assert_records(&walked(&reader), 1, 300);
}
