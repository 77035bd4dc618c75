//! Data directories with a history, as files: copied, compared, damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use farebox::domain::tokens::Tokens;

use crate::process::serve;
use crate::world::World;

/// Longer files are segments that hold nothing yet.
pub(crate) const PREPARED_BYTES: usize = 1 << 20;
/// The first page of a segment; the first batch follows.
pub(crate) const PAGE: usize = 4096;
pub(crate) const FIRST: &str = "journal/0000000001.segment";
pub(crate) const SECOND: &str = "journal/0000000002.segment";

/// A directory after two runs that stopped cleanly, each with charges; and what is used by then.
pub(crate) async fn history(data: &Path) -> (World, Vec<Tokens>) {
    let served = serve(data).await;
    let world = World::create(&served).await;
    let mut client = world.client(&served);
    for threes in 1..=5 {
        world.charge(&mut client, threes).await;
    }
    served.stop().await;
    let served = serve(data).await;
    let mut client = world.client(&served);
    for threes in 1..=5 {
        world.charge(&mut client, threes).await;
    }
    let used = world.used(&served).await;
    served.stop().await;
    (world, used)
}

/// Every file below, by its path.
pub(crate) fn tree(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut open, mut files) = (vec![data.to_owned()], BTreeMap::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("it can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let name = path.strip_prefix(data).expect("below").display().to_string();
            files.insert(name, fs::read(&path).expect("it can be read"));
        }
    }
    files
}

/// Copies a directory but for segments that hold nothing yet: a start makes new ones.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("an entry").path();
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else if entry.metadata().expect("it is there").len() < PREPARED_BYTES as u64 {
            fs::copy(&entry, &target).expect("it can be copied");
        }
    }
}

/// Changes the bytes of one file.
pub(crate) fn change(data: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = data.join(file);
    let mut bytes = fs::read(&path).expect("it can be read");
    change(&mut bytes);
    fs::write(&path, bytes).expect("it can be written");
}

/// Flips a bit.
pub(crate) fn flip(data: &Path, file: &str, place: usize) {
    change(data, file, |bytes| *bytes.get_mut(place).expect("inside the file") ^= 4);
}
