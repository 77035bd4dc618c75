//! The seeds of the fuzz targets (`fuzz/corpus-seeds`), through the same doors as `just fuzz`: each as
//! it is, cut at every byte, and with every byte changed. An input that fuzzing finds is put there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use farebox::fuzzing::{TARGETS, Target};

/// What every byte is changed into, besides its neighbours.
const OTHERS: [u8; 6] = [0, b'"', b'%', b'9', 0x7f, 0xff];

#[test]
fn every_seed_is_read_as_its_name_says_and_nothing_near_it_does_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-seeds");
    let names = |path: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a text");
        entries.map(|entry| name(entry.expect("an entry"))).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder), targets, "left: folders of seeds, right: targets");
    let (mut seeds, mut inputs, mut wrong) = (0, 0, Vec::new());
    for (target, read) in TARGETS {
        let files = names(&folder.join(target));
        let kinds: BTreeSet<bool> = files.iter().map(|name| name.starts_with("good-")).collect();
        assert_eq!(kinds.len(), 2, "{target} has good seeds and bad ones");
        for name in files {
            let seed = fs::read(folder.join(target).join(&name)).expect("a seed");
            assert!(name.starts_with("good-") || name.starts_with("bad-"), "{target}/{name}");
            if read(&seed) != name.starts_with("good-") {
                wrong.push(format!("{target}/{name}"));
            }
            inputs += neighbours(read, &seed);
            seeds += 1;
        }
    }
    assert!(wrong.is_empty(), "these are not read as their names say: {wrong:?}");
    println!("{seeds} seeds of {} targets, {inputs} inputs", TARGETS.len());
}

/// Reads everything that one cut or one changed byte makes of a seed.
fn neighbours(read: Target, seed: &[u8]) -> usize {
    let mut inputs = 0;
    for end in 0..seed.len() {
        let (before, after) = seed.split_at(end);
        read(before);
        read(after);
        let mut changed = seed.to_vec();
        let byte = changed.get_mut(end).expect("below the end");
        let former = *byte;
        for other in OTHERS.into_iter().chain([former.wrapping_add(1), former ^ 0x80]) {
            *changed.get_mut(end).expect("below the end") = other;
            read(&changed);
        }
        inputs += 2 + OTHERS.len() + 2;
    }
    inputs
}
