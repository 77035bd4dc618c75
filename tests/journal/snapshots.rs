//! Snapshots: what is loaded is what was written, or nothing is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use farebox::domain::ids::Sequence;
use farebox::journal::{Mark, MemorySnapshots, SledSnapshots, SnapshotError, Snapshots, Step};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn mark(sequence: u64) -> Mark {
    Mark { sequence: Sequence::new(sequence), epoch: 3, hash: [9; 32] }
}

fn load(snapshots: &dyn Snapshots) -> Result<(Option<Mark>, Entries), SnapshotError> {
    let mut entries = Entries::new();
    let watermark = snapshots.load(&mut |key, value| {
        let twice = entries.insert(key.to_vec(), value.to_vec());
        assert_eq!(twice, None, "every key comes once");
    })?;
    Ok((watermark, entries))
}

fn put(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), Some(value.to_vec()))
}

/// The directory as a kill would leave it now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory can be made");
    for entry in from.read_dir().expect("it is there") {
        let entry = entry.expect("it can be read").path();
        let target = to.join(entry.file_name().expect("it has a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            // sled removes old files meanwhile.
            let _ = std::fs::copy(&entry, &target);
        }
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn both_stores_give_back_what_was_written_last() {
    let home = tempfile::tempdir().unwrap();
    let sled = SledSnapshots::open(&home.path().join("snapshots")).unwrap();
    let stores: [&dyn Snapshots; 2] = [&sled, &MemorySnapshots::new()];
    for snapshots in stores {
        assert_eq!(load(snapshots).unwrap(), (None, Entries::new()));
        let entries =
            [put(b"a", b"1"), put(b"b", b"2"), put(b"a", b"3"), put(b"c", b""), put(b"", b"4")];
        snapshots.write(&entries).unwrap();
        snapshots.write(&[(b"b".to_vec(), None), (b"never".to_vec(), None)]).unwrap();
        snapshots.finish(mark(7)).unwrap();
        let expected =
            [(vec![], b"4".to_vec()), (b"a".to_vec(), b"3".to_vec()), (b"c".to_vec(), vec![])];
        assert_eq!(load(snapshots).unwrap(), (Some(mark(7)), Entries::from(expected)));
        snapshots.clear().unwrap();
        assert_eq!(load(snapshots).unwrap(), (None, Entries::new()));
    }
}

#[test]
fn sled_agrees_with_a_plain_map_over_many_random_passes_and_restarts() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let mut model = Entries::new();
    let mut seed = 42;
    for pass in 1..=12 {
        let snapshots = SledSnapshots::open(&path).unwrap();
        for _ in 0..5 {
            let mut entries = Vec::new();
            for _ in 0..60 {
                let key = format!("{}", random(&mut seed) % 150).repeat(3).into_bytes();
                let length = match random(&mut seed) % 10 {
                    0 => 30_000,
                    1 => 7_996,
                    2 => 7_997,
                    _ => 80,
                };
                let byte = u8::try_from(random(&mut seed) % 256).unwrap();
                let value = (!random(&mut seed).is_multiple_of(4)).then(|| vec![byte; length]);
                match &value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(&key),
                };
                entries.push((key, value));
            }
            snapshots.write(&entries).unwrap();
        }
        snapshots.finish(mark(pass)).unwrap();
        assert!(load(&snapshots).unwrap() == (Some(mark(pass)), model.clone()), "pass={pass}");
    }
    let blobs = path.join("blobs").read_dir().unwrap().count();
    assert_eq!(blobs, 0, "sled never syncs its blobs");
}

#[test]
fn keys_that_look_like_chunks_of_others_do_not_collide() {
    let home = tempfile::tempdir().unwrap();
    let snapshots = SledSnapshots::open(&home.path().join("snapshots")).unwrap();
    let keys: [&[u8]; 9] = [
        b"a",
        b"a\0\0",
        b"a\0\x01",
        b"a\0\0\0\0",
        b"\0",
        b"\0\x01",
        b"watermark",
        b"fingerprint",
        b"",
    ];
    let expected: Entries =
        keys.iter().map(|key| (key.to_vec(), [*key, &[7; 20_000]].concat())).collect();
    let entries: Vec<_> = expected.iter().map(|(key, value)| put(key, value)).collect();
    snapshots.write(&entries).unwrap();
    snapshots.finish(mark(1)).unwrap();
    assert!(load(&snapshots).unwrap().1 == expected);
}

/// J9: a pass that is interrupted after any step leaves the old or the new watermark, and values
/// at least as new as it says.
#[test]
fn a_pass_interrupted_after_any_step_leaves_the_old_or_the_new_watermark() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let copies: Arc<Mutex<Vec<(Step, PathBuf)>>> = Arc::default();
    let observer = {
        let (path, home, copies) = (path.clone(), home.path().to_owned(), Arc::clone(&copies));
        Box::new(move |step| {
            let mut copies = copies.lock().expect("test lock");
            let target = home.join(format!("copy-{}", copies.len()));
            copy(&path, &target);
            copies.push((step, target));
        })
    };
    let snapshots = SledSnapshots::observed(&path, observer).unwrap();
    let all =
        |byte: u8| (0..200_u32).map(|n| put(&n.to_be_bytes(), &[byte; 100])).collect::<Vec<_>>();
    for pass in 1..=4_u8 {
        snapshots.write(&all(pass)).unwrap();
        copies.lock().unwrap().clear();
        snapshots.finish(mark(u64::from(pass))).unwrap();
        let taken = std::mem::take(&mut *copies.lock().unwrap());
        assert_eq!(taken.len(), 5);
        for (step, copy) in taken {
            let (old, new) = (pass - 1, pass);
            let loaded = load(&SledSnapshots::open(&copy).unwrap());
            std::fs::remove_dir_all(&copy).unwrap();
            let (watermark, entries) = match loaded {
                Ok(loaded) => loaded,
                Err(SnapshotError::Damaged { .. }) if pass == 1 => continue, // Rebuilt.
                Err(error) => panic!("pass {pass}, {step:?}: {error}"),
            };
            let watermark = watermark.map_or(0, |mark| mark.sequence.get());
            assert!([u64::from(old), u64::from(new)].contains(&watermark), "{pass} {step:?}");
            if step >= Step::MarkFlushed {
                assert_eq!(watermark, u64::from(new), "{step:?}");
            }
            let newest = entries.values().map(|value| u64::from(value[0])).min().unwrap_or(0);
            assert!(newest >= watermark, "{pass} {step:?}: values older than the watermark");
        }
    }
}

#[test]
fn an_interrupted_clearing_leaves_nothing_that_would_be_believed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let copies: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let observer = {
        let (path, home, copies) = (path.clone(), home.path().to_owned(), Arc::clone(&copies));
        Box::new(move |_| {
            let mut copies = copies.lock().expect("test lock");
            let target = home.join(format!("copy-{}", copies.len()));
            copy(&path, &target);
            copies.push(target);
        })
    };
    let snapshots = SledSnapshots::observed(&path, observer).unwrap();
    let entries: Vec<_> = (0..500_u32).map(|n| put(&n.to_be_bytes(), &[1; 100])).collect();
    snapshots.write(&entries).unwrap();
    snapshots.finish(mark(1)).unwrap();
    let passed = copies.lock().unwrap().len();
    snapshots.clear().unwrap();
    for copy in copies.lock().unwrap().iter().skip(passed) {
        let snapshots = SledSnapshots::open(copy).unwrap();
        match load(&snapshots) {
            Ok(loaded) => assert_eq!(loaded, (None, Entries::new())),
            Err(error) => assert_eq!(error.code(), "snapshots-damaged"),
        }
        snapshots.clear().unwrap();
        snapshots.write(&[put(b"new", b"1")]).unwrap();
        snapshots.finish(mark(2)).unwrap();
        assert_eq!(load(&snapshots).unwrap().1.len(), 1);
    }
}

/// After damage sled goes back to what it had before, silently: an older state is fine, since the
/// replay begins at the watermark found with it. A mixture must be noticed.
#[test]
fn a_flipped_bit_in_sleds_file_gives_an_older_state_or_an_error() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let snapshots = SledSnapshots::open(&path).unwrap();
    for pass in 1..=5_u8 {
        let entries: Vec<_> = (0..300_u32).map(|n| put(&n.to_be_bytes(), &[pass; 50])).collect();
        snapshots.write(&entries).unwrap();
        snapshots.finish(mark(u64::from(pass))).unwrap();
    }
    drop(snapshots);
    let used = std::fs::read(path.join("db")).unwrap();
    let used = used.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut older, mut errors, mut seed) = (0, 0, 42);
    for round in 0..40 {
        let target = home.path().join(format!("flipped-{round}"));
        copy(&path, &target);
        let mut bytes = std::fs::read(target.join("db")).unwrap();
        let place = usize::try_from(random(&mut seed)).unwrap() % used;
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(target.join("db"), bytes).unwrap();
        match SledSnapshots::open(&target).and_then(|snapshots| load(&snapshots)) {
            Ok((None, entries)) => assert!(entries.is_empty(), "place={place}"),
            Ok((Some(watermark), entries)) => {
                older += u32::from(watermark.sequence.get() < 5);
                assert_eq!(entries.len(), 300, "place={place}");
                let oldest = entries.values().map(|value| u64::from(value[0])).min();
                assert!(oldest >= Some(watermark.sequence.get()), "place={place}");
            }
            Err(_) => errors += 1,
        }
        let (reset, _) = SledSnapshots::open_or_reset(&target).unwrap();
        reset.clear().unwrap();
        assert_eq!(load(&reset).unwrap(), (None, Entries::new()), "place={place}");
    }
    println!("seed 42: {older} of 40 flips gave an older state, {errors} an error");
}

/// What sled could do to us, done by hand.
#[test]
fn an_entry_that_sled_lost_changed_or_took_from_another_time_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let snapshots = SledSnapshots::open(&path).unwrap();
    let write = |byte| {
        let entries: Vec<_> = (0..50_u32).map(|n| put(&n.to_be_bytes(), &[byte; 9_000])).collect();
        snapshots.write(&entries).unwrap();
        snapshots.finish(mark(u64::from(byte))).unwrap();
    };
    let raw = |path: &Path| {
        // sled lets go of its lock in the background; opening through us waits for it.
        drop(SledSnapshots::open(path).unwrap());
        loop {
            match sled::open(path) {
                Ok(db) => return db,
                Err(_) => std::thread::yield_now(),
            }
        }
    };
    write(1);
    let old = home.path().join("old");
    copy(&path, &old);
    write(2);
    let old = raw(&old);
    let keys: Vec<_> = old.iter().keys().map(Result::unwrap).collect();
    assert_eq!(keys.len(), 50 * 2 + 2);
    for (round, key) in keys.iter().enumerate().step_by(7) {
        for change in ["lost", "changed", "old"] {
            let target = home.path().join(format!("{round}-{change}"));
            copy(&path, &target);
            let db = raw(&target);
            match change {
                "lost" => db.remove(key).unwrap(),
                "changed" => db.insert(key, vec![3; 40]).unwrap(),
                _ => db.insert(key, old.get(key).unwrap().unwrap()).unwrap(),
            };
            db.flush().unwrap();
            drop(db);
            let loaded = load(&SledSnapshots::open(&target).unwrap());
            let code = loaded.map(|_| ()).unwrap_err().code();
            assert_eq!(code, "snapshots-damaged", "{change} {key:?}");
        }
    }
    // Everything but the watermark from an older time.
    let watermark = raw(&path.parent().unwrap().join("0-lost")).get(b"watermark").unwrap();
    old.insert(b"watermark", watermark.unwrap()).unwrap();
    old.flush().unwrap();
    drop(old);
    let loaded = load(&SledSnapshots::open(&home.path().join("old")).unwrap());
    assert_eq!(
        loaded.unwrap_err().to_string(),
        "the snapshots are damaged: the entries are older \
        than the watermark; they are rebuilt from the journal"
    );
}

#[test]
fn a_store_in_use_is_neither_opened_nor_removed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let snapshots = SledSnapshots::open(&path).unwrap();
    snapshots.write(&[put(b"a", b"1")]).unwrap();
    snapshots.finish(mark(1)).unwrap();
    let Err(error) = SledSnapshots::open_or_reset(&path) else { panic!("opened twice") };
    assert_eq!(error.code(), "snapshots-in-use");
    drop(snapshots);
    assert_eq!(load(&SledSnapshots::open(&path).unwrap()).unwrap().1.len(), 1);
}

#[test]
fn entries_without_a_watermark_are_not_believed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    let snapshots = SledSnapshots::open(&path).unwrap();
    snapshots.write(&[put(b"a", b"1")]).unwrap();
    assert_eq!(load(&snapshots).unwrap_err().code(), "snapshots-damaged");
    let memory = MemorySnapshots::new();
    memory.write(&[put(b"a", b"1")]).unwrap();
    assert_eq!(load(&memory).unwrap_err().code(), "snapshots-damaged");
}

#[test]
fn a_store_that_cannot_be_opened_is_begun_anew_with_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("snapshots");
    std::fs::create_dir_all(path.join("db")).unwrap(); // Where sled wants a file.
    let (snapshots, warning) = SledSnapshots::open_or_reset(&path).unwrap();
    assert_eq!(warning.expect("said").code(), "snapshots-store");
    assert_eq!(load(&snapshots).unwrap(), (None, Entries::new()));
}
