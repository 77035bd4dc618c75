//! Damage on disk, seen by the real program: what was durable is never passed over, and the place
//! is named (J6, J7, J12, P14); snapshots are rebuilt.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use farebox::domain::event::{Access, Event, Record};
use farebox::domain::ids::Sequence;
use farebox::domain::tokens::Tokens;
use farebox::journal::{
    Directory, Entry, Journal, JournalDown, Known, OnDurable, Options, SledSnapshots, Snapshots,
    format, walk,
};

use crate::files::{FIRST, PAGE, PREPARED_BYTES, SECOND, change, copy, flip, history, tree};
use crate::process::{check_fails, ran, serve, text};

/// `verify` says with status 1, and `serve` with 2, these words; the journal stays as it is.
async fn check_refused(data: &Path, words: &[&str]) {
    let journal = tree(&data.join("journal"));
    check_fails(&["verify", "--data", text(data)], 1, words).await;
    check_fails(&["serve", "--listen", "127.0.0.1:0", "--data", text(data)], 2, words).await;
    assert!(tree(&data.join("journal")) == journal, "{words:?}: a refusal changes nothing");
}

#[tokio::test]
async fn damage_to_what_was_durable_is_refused_with_file_and_offset() {
    type Damage = fn(&Path);
    let cases: [(Damage, &[&str]); 8] = [
        (|data| flip(data, FIRST, PAGE + 40), &["`0000000001.segment` is damaged at byte 4096:"]),
        (|data| flip(data, SECOND, PAGE + 40), &["`0000000002.segment` is damaged at byte 4096:"]),
        (|data| flip(data, FIRST, 20), &["`0000000001.segment` is damaged at byte 0:"]),
        (|data| flip(data, "journal/end", 40), &["`end` is damaged at byte 0:"]),
        (
            |data| fs::remove_file(data.join(FIRST)).expect("it is there"),
            &["`0000000001.segment` is missing"],
        ),
        (
            |data| fs::remove_file(data.join(SECOND)).expect("it is there"),
            &["`0000000001.segment` is damaged at byte ", "the last clean stop knows of records"],
        ),
        (
            |data| change(data, SECOND, |bytes| bytes.truncate(bytes.len() - 8)),
            &["`0000000002.segment` is damaged at byte ", "the last clean stop knows of records"],
        ),
        (
            |data| {
                fs::copy(data.join(FIRST), data.join(SECOND)).expect("a copy");
            },
            &["`0000000002.segment` is damaged at byte 0: it is a copy of `0000000001.segment`"],
        ),
    ];
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    history(&whole).await;
    for (number, (damage, words)) in cases.iter().enumerate() {
        let data = home.path().join(number.to_string());
        copy(&whole, &data);
        damage(&data);
        check_refused(&data, words).await;
    }
}

#[tokio::test]
async fn a_directory_of_another_format_is_refused_and_not_touched() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    history(&whole).await;
    for file in [SECOND, "journal/end"] {
        let data = home.path().join(file.replace('/', "-"));
        copy(&whole, &data);
        change(&data, file, |bytes| {
            let page = bytes.len().min(PAGE);
            bytes[8] = 4;
            let checksum = crc32c::crc32c(&bytes[..page - 4]);
            bytes[page - 4..page].copy_from_slice(&checksum.to_le_bytes());
        });
        let before = tree(&data);
        let words = ["has format version 4, this farebox reads 3: start the farebox that wrote it"];
        check_fails(&["verify", "--data", text(&data)], 2, &words).await;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data)];
        check_fails(&serve, 2, &words).await;
        assert!(tree(&data) == before, "{file}: it was touched");
    }
}

#[tokio::test]
async fn snapshots_that_are_damaged_or_gone_are_rebuilt_with_a_warning_and_the_same_state() {
    type Damage = fn(&Path);
    fn garbage(data: &Path, file: &str, from: usize) {
        change(data, file, |bytes| bytes.iter_mut().skip(from).for_each(|byte| *byte = 0xa5));
    }
    let cases: [(&str, Damage); 6] = [
        ("removed", |data| fs::remove_dir_all(data.join("snapshots")).expect("it is there")),
        ("db is garbage", |data| garbage(data, "snapshots/db", 0)),
        ("db is garbage from its middle on", |data| garbage(data, "snapshots/db", 700)),
        ("db is empty", |data| change(data, "snapshots/db", Vec::clear)),
        ("db lost its end", |data| change(data, "snapshots/db", |bytes| bytes.truncate(900))),
        ("conf is garbage", |data| garbage(data, "snapshots/conf", 0)),
    ];
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let (world, used) = history(&whole).await;
    for (number, (what, damage)) in cases.iter().enumerate() {
        let data = home.path().join(number.to_string());
        copy(&whole, &data);
        damage(&data);
        let verified = ran(&["verify", "--data", text(&data)]).await;
        assert_eq!(verified.code, Some(0), "{what}: a start mends it: {verified:?}");

        let mut served = serve(&data).await;
        served.process.logs("listening").await;
        let log = served.process.said();
        assert!(log.contains("WARN") && log.contains("snapshots"), "{what}: no warning in {log}");
        assert_eq!(served.logged("replayed"), served.logged("last"), "{what}");
        assert_eq!(world.used(&served).await, used, "{what}");
        served.stop().await;

        let served = serve(&data).await;
        assert_eq!(served.logged("replayed"), 0, "{what}: it was rebuilt");
        assert_eq!(world.used(&served).await, used, "{what}");
        served.stop().await;
        let verified = ran(&["verify", "--data", text(&data)]).await;
        assert!(verified.stdout.contains("agree with the journal"), "{what}: {verified:?}");
    }
}

struct Nobody;

impl OnDurable for Nobody {
    fn settle(self: Box<Self>, outcome: Result<Sequence, JournalDown>) {
        outcome.expect("the disk does not fail");
    }
}

/// Appends a record to the journal of a stopped broker, as only the library can: in one batch with
/// the first record again, which changes nothing. Where it lies.
fn append(data: &Path, payload: &[u8]) -> (String, usize) {
    let disk = Arc::new(Directory::open(data.join("journal")).expect("nobody has it"));
    let known = Known::default();
    let mut first = Vec::new();
    let mut replay = |sequence: Sequence, payload: &[u8]| {
        if sequence == Sequence::new(1) {
            first = payload.to_vec();
        }
        Ok(())
    };
    let opened = Journal::open(disk, Options::new(1), known, &mut replay).expect("it opens");
    let mut queue = opened.journal.queue().expect("it runs");
    queue.append(&first, Box::new(Nobody));
    queue.append(payload, Box::new(Nobody));
    drop(queue);
    opened.journal.close().expect("the disk does not fail");
    let files = tree(&data.join("journal")).into_iter().rev();
    for (file, bytes) in files.filter(|(_, bytes)| bytes.len() < PREPARED_BYTES) {
        if let Some(place) = bytes.windows(payload.len()).rposition(|window| window == payload) {
            return (file, place - 4); // Its length comes first.
        }
    }
    panic!("it was written")
}

/// The last one-off request of the history.
fn last_access(data: &Path) -> (Record, Access) {
    let disk = Directory::read_only(data.join("journal")).expect("it is there");
    let mut last = None;
    let walked = walk(&disk, Sequence::new(1), &mut |_, payload| {
        let record = format::decode(payload).expect("a record");
        if let Event::Access(access) = &record.event {
            last = Some((record.clone(), access.as_ref().clone()));
        }
        ControlFlow::Continue(())
    });
    walked.expect("it is in order");
    last.expect("there is one")
}

/// A record that is whole and says what cannot be: no checksum shows it, the sums do.
#[tokio::test]
async fn verify_names_the_place_of_a_record_that_lies() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    history(&whole).await;
    let (record, access) = last_access(&whole);
    let encoded = |change: fn(&mut Access)| {
        let mut lie = access.clone();
        change(&mut lie);
        let mut bytes = Vec::new();
        let event = Event::Access(Arc::new(lie));
        format::encode(&Record { at: record.at, event }, &mut bytes);
        bytes
    };
    let cases = [
        (encoded(|lie| lie.postings[0].after.used = Tokens::whole(7)), "is said to have 7 used"),
        // The same again: its charge is a second one, its balance is not.
        (encoded(|_| {}), "is said to have 90 used, its charges and refunds make 105"),
        (encoded(|lie| lie.postings.clear()), "changes without a posting"),
        (encoded(|lie| lie.verdicts.clear()), "is said to have 90 used"),
        (b"\x07 no record at all".to_vec(), "cannot be read"),
    ];
    for (number, (payload, words)) in cases.iter().enumerate() {
        let data = home.path().join(number.to_string());
        copy(&whole, &data);
        let (file, offset) = append(&data, payload);
        let place = format!("`{file}` is wrong at byte {offset}: record ");
        check_fails(&["verify", "--data", text(&data)], 1, &[&place, words]).await;
    }
}

/// Snapshots that open well and are not what the journal says.
#[tokio::test]
async fn verify_names_the_place_where_the_snapshots_disagree() {
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    history(&whole).await;
    let (_, access) = last_access(&whole);
    let line_item = access.postings.first().expect("it charges").line_item;
    // An entry's key begins with its kind; 5 is a balance.
    let number = u8::try_from(line_item.created().get()).expect("a short history");
    let balance = vec![5, number];
    // A key is its kind and its number: kinds 1 to 4 are of the catalogue.
    for (kind, words) in [
        (1, "the keys and rate tables"),
        (2, "the keys and rate tables"),
        (3, "the instances and their line items"),
        (4, "the instances and their line items"),
        (5, "the balance of line item"),
    ] {
        let data = home.path().join(kind.to_string());
        copy(&whole, &data);
        change_snapshots(&data, |key, _| {
            (key[0] == kind && (kind != 5 || key == balance)).then_some(None)
        });
        let place = "`0000000002.segment` is wrong at byte ";
        check_fails(&["verify", "--data", text(&data)], 1, &[place, words]).await;
    }
    let data = home.path().join("changed");
    copy(&whole, &data);
    change_snapshots(&data, |key, value| {
        // No open lines, no counters, nothing held, no seats.
        let (rest, _) = value.split_last_chunk::<4>()?;
        (key == balance).then(|| Some([rest, &[1, 0, 0, 0]].concat()))
    });
    let place = "`0000000002.segment` is wrong at byte ";
    check_fails(&["verify", "--data", text(&data)], 1, &[place, "the balance of line item"]).await;
}

/// Changes or removes entries of the snapshots and leaves everything else as it should be.
fn change_snapshots(data: &Path, change: impl Fn(&[u8], &[u8]) -> Option<Option<Vec<u8>>>) {
    let snapshots = SledSnapshots::open(&data.join("snapshots")).expect("it opens");
    let mut entries: Vec<Entry> = Vec::new();
    let mark = snapshots.load(&mut |key, value| {
        entries.extend(change(key, value).map(|changed| (key.to_vec(), changed)));
    });
    assert!(!entries.is_empty(), "there is something to change");
    snapshots.write(&entries).expect("it is written");
    snapshots.finish(mark.expect("whole").expect("there is one")).expect("it is written");
}
