//! The rules of ARCHITECTURE.md that a machine can check.

use std::{fs, path::Path};

/// Each module may import itself and those listed (`*`: all): nothing else, and nothing upward.
const MAY_IMPORT: &[(&str, &str)] = &[
    ("domain", ""),
    ("json", ""),
    ("env", "domain"),
    ("metrics", "domain"),
    ("config", "domain"),
    ("journal", "domain env metrics config"),
    ("error", "domain env metrics config journal"),
    ("actors", "domain env metrics config journal error"),
    ("auth", "domain env metrics"),
    ("usage", "domain json journal"),
    ("broker", "domain env metrics config journal error actors auth usage"),
    ("verify", "domain journal actors broker"),
    ("explain", "domain journal actors broker"),
    ("http", "domain json env metrics config journal error actors auth broker usage explain"),
    ("benching", "domain broker http"),
    ("fuzzing", "domain auth http journal"),
    ("keys", "*"),
    ("runtime", "*"),
    ("demo", "*"),
    ("export", "*"),
    ("cli", "*"),
    ("main", "*"),
];

/// Every text file under the folders and files named, by its path from the root.
fn texts(names: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<_> = names.iter().map(|name| root.join(name)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if let Ok(folder) = fs::read_dir(&path) {
            open.extend(folder.map(|entry| entry.expect("an entry").path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path.strip_prefix(root).expect("below").display().to_string(), text));
        }
    }
    assert!(!found.is_empty(), "there is nothing in {names:?}");
    found
}

/// Every Rust file there, without its comments.
fn code(names: &[&str]) -> Vec<(String, String)> {
    let files = texts(names).into_iter().filter(|(name, _)| name.ends_with(".rs"));
    let bare = |line: &str| line.split("//").next().unwrap_or("").to_owned() + "\n";
    files.map(|(name, text)| (name, text.lines().map(bare).collect())).collect()
}

/// Where `word` stands for itself, not inside a longer name: the line, and what follows there.
fn places<'a>(text: &'a str, word: &str) -> Vec<(usize, &'a str)> {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| (&text[..at], &text[at + word.len()..]))
        .filter(|(before, _)| !before.ends_with(in_name))
        .filter(|(_, after)| word.ends_with(':') || !after.starts_with(in_name))
        .map(|(before, after)| (before.matches('\n').count() + 1, after))
        .collect()
}

/// The first names of the paths that follow a place: one, or one per entry of a `{group}`.
fn heads((line, rest): (usize, &str)) -> Vec<(usize, &str)> {
    let ends = |c: char| !c.is_alphanumeric() && c != '_' && c != '*';
    let head = |path: &str| path.find(ends).unwrap_or(path.len());
    let Some(group) = rest.strip_prefix('{') else { return vec![(line, &rest[..head(rest)])] };
    let (mut names, mut depth, mut entry_begins) = (Vec::new(), 1, true);
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        if entry_begins && !c.is_whitespace() {
            names.push((line, &group[at..at + head(&group[at..])]));
        }
        entry_begins = entry_begins && c.is_whitespace() || depth == 1 && c == ',';
    }
    names
}

/// What a file imports from the root of the crate, with the line: by `crate::`, by the crate's
/// name, or by so many `super::` (in an inner module they stop short: there only modules count).
fn imports<'a>(name: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let upward = "super::".repeat(name.trim_end_matches("/mod.rs").matches('/').count());
    let named = [places(code, "crate::"), places(code, "farebox::")].concat();
    let climbed = places(code, &upward).into_iter().flat_map(heads);
    let climbed = climbed.filter(|(_, name)| MAY_IMPORT.iter().any(|(module, _)| module == name));
    named.into_iter().flat_map(heads).chain(climbed).collect()
}

#[test]
fn imports_point_inward() {
    for (name, code) in code(&["src"]).iter().filter(|(name, _)| name != "src/lib.rs") {
        let module = name["src/".len()..].split(['/', '.']).next().expect("a first part");
        let listed = MAY_IMPORT.iter().find(|(known, _)| *known == module);
        let (_, allowed) = listed.unwrap_or_else(|| panic!("say what src/{module} may import"));
        for (line, target) in imports(name, code) {
            let fine = target == module || allowed.split(' ').any(|a| a == target || a == "*");
            assert!(fine, "{name}:{line}: `{module}` may not import `{target}`");
        }
    }
}

#[test]
fn every_way_to_import_is_seen() {
    let source = "use crate::{\n    journal::{A, B}, env as e,\n};\nlet x = crate::http::f();\n\
                  use super::super::broker;\nuse super::session;\nuse crate::*;\nmy_crate::cli::x();\n";
    let expected = [(1, "journal"), (1, "env"), (4, "http"), (7, "*"), (5, "broker")];
    assert_eq!(imports("src/actors/turn.rs", source), expected);
}

/// Fails where one of the words stands in one of the files.
fn check_absent(files: Vec<(String, String)>, words: &str, why: &str) {
    for (name, text) in files {
        for word in words.split_whitespace() {
            let found = places(&text, word).first().map(|(line, _)| *line);
            assert!(found.is_none(), "{name}:{}: `{word}` {why}", found.unwrap_or(0));
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let words = "tokio async std::time std::fs std::io std::net serde serde_json rand f64 f32";
    check_absent(code(&["src/domain"]), words, "has no place in the domain");
}

#[test]
fn sled_and_dashmap_are_named_in_one_file_each() {
    for (word, home) in [("sled", "src/journal/snapshots"), ("dashmap", "src/actors/directory")] {
        let mut files = code(&["src"]);
        files.retain(|(name, _)| !name.starts_with(home));
        check_absent(files, word, &format!("is named outside {home}.rs"));
    }
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let files = texts(&["src", "tests", "benches", "loadtest/src"]).into_iter();
    for (name, text) in files.filter(|(name, _)| name.ends_with(".rs")) {
        assert!(text.lines().count() <= 500, "{name} passes 500 lines: split it");
        assert!(text.starts_with("//!"), "{name} does not open with `//!`: what it owns");
    }
}

#[test]
fn nothing_names_a_path_of_some_machine() {
    let names = "src tests benches loadtest docs .ci justfile deny.toml Cargo.toml CHANGELOG.md \
                 README.md ARCHITECTURE.md";
    let files = texts(&names.split_whitespace().collect::<Vec<_>>());
    let paths = concat!("/wo", "rk /sha", "red /ro", "ot /ho", "me"); // This file names none.
    check_absent(files, paths, "is a path of some machine");
}
