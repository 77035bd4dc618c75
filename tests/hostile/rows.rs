//! Which rows there are, and that each of them is told somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::runner::{Told, folder, rows_of};

/// The tables, by the letter and the last number of their rows.
const TABLES: [(char, std::ops::RangeInclusive<u32>); 6] =
    [('A', 1..=44), ('B', 1..=17), ('E', 1..=22), ('F', 8..=8), ('G', 1..=9), ('H', 1..=28)];
/// Fairness between instances and a storm of retries are measured, not told.
const MEASURED: [&str; 2] = ["G5", "G8"];

/// The files that are played.
const FILES: [&str; 6] =
    ["framing.toml", "json.toml", "numbers.toml", "paths.toml", "quotas.toml", "silence.toml"];

#[test]
fn every_row_has_a_case_or_a_test_elsewhere() {
    let rows = TABLES
        .into_iter()
        .flat_map(|(letter, numbers)| numbers.map(move |n| format!("{letter}{n}")));
    let mut rows: BTreeSet<String> = rows.collect();
    rows.retain(|row| !MEASURED.contains(&row.as_str()));
    let in_folder = fs::read_dir(folder()).expect("the folder of the cases");
    let in_folder = in_folder.map(|entry| entry.expect("an entry").file_name());
    let in_folder: BTreeSet<_> = in_folder.map(|name| name.into_string().expect("text")).collect();
    let known = FILES.iter().copied().chain(["elsewhere.toml"]).map(str::to_owned).collect();
    assert_eq!(in_folder, known, "left: the folder, right: what is played");

    let (mut told, mut cases, mut inputs) = (BTreeSet::new(), 0, 0);
    for file in FILES {
        let Told { rows: more, cases: played, sent } = rows_of(file);
        told.extend(more);
        cases += played;
        inputs += sent;
    }
    let elsewhere = elsewhere();
    println!(
        "{cases} cases of {} rows, {inputs} inputs; {} rows are told elsewhere; {} rows in all",
        told.len(),
        elsewhere.difference(&told).count(),
        rows.len()
    );
    let missing: Vec<_> = rows.iter().filter(|row| !told.contains(*row)).collect();
    let missing: Vec<_> = missing.into_iter().filter(|row| !elsewhere.contains(*row)).collect();
    assert!(missing.is_empty(), "nobody tells these rows: {missing:?}");
    let strange: Vec<_> = told.union(&elsewhere).filter(|row| !rows.contains(*row)).collect();
    assert!(strange.is_empty(), "these are no rows: {strange:?}");
}

/// The rows that other tests tell. Each test must be where the table says.
fn elsewhere() -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join("elsewhere.toml")).expect("it is there");
    let table: BTreeMap<String, Vec<String>> = toml::from_str(&text).expect("it can be read");
    for (row, tests) in &table {
        assert!(!tests.is_empty(), "{row} names no test");
        for test in tests {
            let (file, name) = test.split_once(' ').expect("a file and a name");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let source = fs::read_to_string(path).unwrap_or_else(|_| panic!("{row}: no {file}"));
            assert!(source.contains(name), "{row}: there is no `{name}` in {file}");
        }
    }
    table.into_keys().collect()
}

/// One test a file, so that they are played side by side.
macro_rules! plays {
    ($($name:ident $file:literal)*) => {
        $(#[tokio::test]
        async fn $name() {
            crate::runner::play($file).await;
        })*

        #[test]
        fn every_file_is_played() {
            assert_eq!([$($file),*], FILES);
        }
    };
}

plays! {
    what_is_no_request_is_refused_and_the_connection_stays_in_step_or_ends "framing.toml"
    what_is_no_json_of_ours_changes_nothing "json.toml"
    numbers_and_names_are_exact_or_refused "numbers.toml"
    ids_and_paths_name_one_thing_or_nothing "paths.toml"
    what_would_be_too_much_is_refused_in_time "quotas.toml"
    whoever_keeps_silent_is_let_go "silence.toml"
}
