//! `farebox usage`: beside a server that is being charged, after its kill, into closed pipes, and on
//! what is no journal. Which rows there are is told by tests/usage.rs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use farebox::domain::tokens::Tokens;
use serde_json::Value;

use crate::dice::Dice;
use crate::files::{FIRST, PAGE, flip, history, tree};
use crate::process::{HANG, check_fails, ran, run, serve, text, through_shell};
use crate::world::World;

/// The rows after a record.
async fn rows(data: &Path, after: u64) -> Vec<String> {
    let after = after.to_string();
    let arguments = ["usage", "--data", text(data), "--format", "ndjson", "--after", &after];
    let ran = ran(&arguments).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

fn member<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().expect("a text")
}

#[tokio::test]
async fn rows_are_read_beside_a_server_that_is_being_charged_and_none_is_missing_after_its_kill() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    let (mut followed, mut after) = (Vec::new(), 0);
    let told = world
        .load(&mut served, &Dice::new(1), async |served, mut counted| {
            for answers in [50, 150, 300] {
                let enough = counted.wait_for(|count| *count >= answers);
                tokio::time::timeout(HANG, enough).await.expect("they get on").expect("they live");
                followed.extend(rows(&data, after).await);
                let last: Value = serde_json::from_str(followed.last().expect("some")).unwrap();
                after = last["sequence"].as_u64().expect("a number");
            }
            served.process.kill().await;
        })
        .await;
    followed.extend(rows(&data, after).await);
    assert_eq!(followed, rows(&data, 0).await, "read in parts or at once: the same rows");
    // A charge that a line item gives its last to is two rows, neither of which need be whole.
    let mut charged = BTreeMap::<String, i128>::new();
    for row in &followed {
        let row: Value = serde_json::from_str(row).expect("a row is JSON");
        if member(&row, "eventType") == "ACCESS" {
            let tokens = Tokens::parse(&row["tokens"].to_string()).expect("an amount");
            *charged.entry(member(&row, "correlationId").to_owned()).or_default() += tokens.units();
        }
    }
    for charge in &told.charges {
        let tokens = Tokens::whole(charge.tokens).units();
        assert_eq!(charged.get(&charge.correlation), Some(&tokens), "{charge:?}");
    }
    let verified = ran(&["verify", "--data", text(&data)]).await;
    let words = format!("usage      {} rows, which make up what is used", followed.len());
    assert!(verified.stdout.contains(&words), "{verified:?}");
    let csv = ran(&["usage", "--data", text(&data), "--format", "csv"]).await.stdout;
    assert_eq!(csv.lines().count(), followed.len() + 1, "names, and the same rows");
    assert!(csv.starts_with("SEQUENCE,CORRELATION_ID,TENANT_ID,USAGE_TIME,"), "{csv}");
}

#[tokio::test]
async fn reading_rows_needs_no_lock_and_changes_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    history(&data).await;
    let before = tree(&data);
    assert!(rows(&data, 0).await.len() >= 10);
    assert!(tree(&data) == before, "nothing was touched");
    // Whoever has seen enough goes; that is no error.
    let arguments = ["usage", "--data", text(&data), "--format", "csv"];
    let gone = r#"{ "$@"; echo "status $?" >&2; } | true"#;
    let ran = run(through_shell(gone, &arguments)).await;
    assert_eq!(ran.stderr.trim(), "status 0", "{ran:?}");
}

#[tokio::test]
async fn what_is_no_journal_or_a_damaged_one_is_said() {
    let home = tempfile::tempdir().expect("a directory");
    let (nowhere, data) = (home.path().join("nowhere"), home.path().join("data"));
    let usage = |data| ["usage", "--format", "ndjson", "--data", data];
    let words = [text(&nowhere), "has no journal that can be read"];
    check_fails(&usage(text(&nowhere)), 2, &words).await;
    assert!(!nowhere.exists(), "nothing is made");
    history(&data).await;
    flip(&data, FIRST, PAGE + 40);
    let words = ["`0000000001.segment` is damaged at byte 4096:"];
    check_fails(&usage(text(&data)), 1, &words).await;
    fs::remove_dir_all(data.join("journal")).expect("it is there");
    check_fails(&usage(text(&data)), 2, &["has no journal that can be read"]).await;
}
