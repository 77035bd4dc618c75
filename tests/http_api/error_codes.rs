//! docs/errors.md has an entry for every code in the source, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where codes stand besides `src/http`.
const FILES: &[&str] = &[
    "src/error.rs",
    "src/domain/refusal.rs",
    "src/domain/session.rs",
    "src/auth/principal.rs",
    "src/auth/verifier.rs",
];
/// Labels of metrics look like codes.
const WITHOUT_CODES: &str = "meters.rs";
const NO_CODES: &[&str] = &[
    "date-time",
    "idempotency-key",
    "not-ready",
    "x-charged-until",
    "x-heartbeat-due-by",
    "x-heartbeat-from",
    "x-instance-id",
    "x-sequence",
];
/// Codes of a single word cannot be told from other words.
const SINGLE_WORDS: &[&str] = &["forbidden", "overloaded", "stopping"];

#[test]
fn every_error_code_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    collect(&root.join("src/http"), &mut files);
    let mut in_source: BTreeSet<String> =
        SINGLE_WORDS.iter().map(|&word| word.to_owned()).collect();
    for file in files {
        in_source.extend(codes(&read(&file)));
    }
    let explained: BTreeSet<String> = read(&root.join("docs/errors.md"))
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect();
    assert!(in_source.len() > 50, "codes are found in the source: {in_source:?}");
    assert_eq!(in_source, explained, "left: the source, right: docs/errors.md");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if path.is_dir() {
            collect(&path, files);
        } else if name != WITHOUT_CODES && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
}

/// The literals before the tests that have the form of a code.
fn codes(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let lines = code.lines().map(str::trim).filter(|line| {
        // The names of operations are labels of metrics.
        let names = ["//", "Operation::", "Licensing::", "Method::"];
        !names.iter().any(|name| line.starts_with(name))
    });
    let literals = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_code = |literal: &&str| {
        let mut words = literal.split('-');
        literal.contains('-')
            && words.all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
    };
    literals.filter(is_code).filter(|code| !NO_CODES.contains(code)).map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
