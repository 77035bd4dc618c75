//! Arguments and what the commands say: `token`, `demo`, `--help`.

use std::fs;
use std::path::Path;

use crate::process::{Process, Served, check_fails, farebox, ran, run, serve, text, through_shell};

#[tokio::test]
async fn a_token_is_one_line_and_needs_no_lock() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = serve(&data).await; // It holds the lock.
    let data = text(&data);
    let [a, b] = ["0f2d1a30-5f2b-4d43-8e6a-27d0f3f4c111", "0f2d1a30-5f2b-4d43-8e6a-27d0f3f4c222"];
    let client = ["--role", "client", "--instance", a, "--instance", b, "--expires", "90s"];
    for arguments in [&["--role", "administration"][..], &client] {
        let ran = ran(&[&["token", "--data", data], arguments].concat()).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let line = ran.stdout.strip_suffix('\n').expect("a line");
        let in_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(line.chars().all(in_token) && line.matches('.').count() == 2, "{ran:?}");
    }
    for (arguments, words) in [
        (&["--role", "client"][..], "--instance"),
        (&["--role", "emperor"], "emperor"),
        (&["--role", "client", "--instance", "notauuid"], "`GET /instances` lists them"),
        (&["--role", "administration", "--key", "k.pem"], "--kid"),
        (&["--role", "administration", "--expires", "soon"], "such as `90s`"),
        (&[], "--role"),
    ] {
        check_fails(&[&["token", "--data", data], arguments].concat(), 2, &[words]).await;
    }
    served.stop().await;
}

/// Before anything is made: a limit that lets nobody in, or that another one makes meaningless.
#[tokio::test]
async fn limits_that_make_no_sense_are_refused_and_an_address_for_strangers_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serving = ["serve", "--data", text(&data), "--listen", "0.0.0.0:0"];
    for (flags, words) in [
        (&["--sessions", "0"][..], "say a whole number from 1"),
        (&["--idempotency-keys", "abc"], "say a whole number from 1"),
        (
            &["--sessions", "2", "--sessions-per-instance", "3"],
            "--sessions-per-instance 3 is more than --sessions 2",
        ),
    ] {
        check_fails(&[&serving[..], flags].concat(), 2, &[words]).await;
    }
    assert!(!data.exists(), "everything is looked at before anything is made");
    let mut served = Served::from(farebox(&serving), &data).await;
    served.process.logs("tokens come in clear").await;
    served.stop().await;
    let said = serve(&data).await.stop().await;
    assert!(!said.contains("tokens come in clear"), "{said}");
}

#[tokio::test]
async fn a_command_whose_reader_has_gone_says_so_with_its_status_alone() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    serve(&data).await.stop().await;
    let data = text(&data);
    for arguments in [
        &["token", "--role", "administration", "--data", data][..],
        &["verify", "--data", data],
        &["usage", "--format", "csv", "--data", data],
    ] {
        for closed in [r#"exec "$@" >/dev/full"#, r#"exec "$@" >/dev/full 2>/dev/full"#] {
            let ran = run(through_shell(closed, arguments)).await;
            assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
            assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn every_command_explains_every_flag() {
    for (command, flags) in [
        (
            &["serve"][..],
            &[
                "--listen <ADDR>",
                "--data <DIR>",
                "--issuer <S>",
                "--test-clock",
                "--administration-key <ID=FILE>",
                "--client-key <ID=FILE>",
                "--idempotency-keep <TIME>",
                "--idempotency-keys <NUMBER>",
                "--idempotency-keys-per-instance <NUMBER>",
                "--sessions <NUMBER>",
                "--sessions-per-instance <NUMBER>",
            ][..],
        ),
        (&["explain"], &["--data <DIR>", "--format <FORMAT>", "<CORRELATION_ID>"]),
        (
            &["token"],
            &[
                "--data <DIR>",
                "--key <FILE>",
                "--kid <ID>",
                "--role <ROLE>",
                "--instance <ID>",
                "--expires <TIME>",
                "--issuer <S>",
            ],
        ),
        (&["demo"], &["--keep"]),
        (&["verify"], &["--data <DIR>"]),
        (&["usage"], &["--data <DIR>", "--format <FORMAT>", "--after <SEQUENCE>"]),
        (&[], &["serve", "token", "demo", "verify", "usage", "--version"]),
    ] {
        for help in ["--help", "-h"] {
            let ran = ran(&[command, &[help]].concat()).await;
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            for flag in flags {
                let line = ran.stdout.lines().find(|line| line.contains(flag));
                assert!(line.is_some(), "{command:?} {help} does not name {flag}: {}", ran.stdout);
            }
            for line in ran.stdout.lines().filter(|line| line.trim_start().starts_with("--")) {
                let known = flags.iter().any(|flag| line.contains(flag));
                assert!(known, "{command:?}: say in this test what `{line}` is");
            }
        }
    }
    let version = ran(&["--version"]).await;
    assert_eq!(version.stdout, format!("farebox {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn arguments_that_mean_nothing_are_refused() {
    for (arguments, words) in [
        (&[][..], "Usage: farebox"),
        (&["rule"], "unrecognized subcommand"),
        (&["serve"], "--data"),
        (&["serve", "--data", "d", "--listen", "everywhere"], "everywhere"),
        (&["serve", "--data", "d", "--port", "1"], "--port"),
        (&["verify"], "--data"),
        (&["demo", "--data", "d"], "--data"),
    ] {
        check_fails(arguments, 2, &[words]).await;
    }
}

/// The ids of processes whose arguments hold these words.
fn processes(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.contains(words) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

fn check_nothing_left(home: &Path) {
    let left: Vec<_> = fs::read_dir(home).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(processes(text(home)), Vec::<String>::new(), "its server still runs");
}

#[tokio::test]
async fn the_demo_is_right_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut command = farebox(&["demo"]);
    command.env("TMPDIR", home.path());
    let ran = run(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    for words in ["used after the one-off request: 44\n", "Every figure was right.\n"] {
        assert!(ran.stdout.contains(words), "{ran:?}");
    }
    check_nothing_left(home.path());
}

#[tokio::test]
async fn a_demo_that_is_stopped_takes_its_server_and_its_directory_along() {
    // The words after which the signal comes, and the exit status.
    for (arguments, moment, signal, code) in [
        (&["demo", "--keep"][..], "stays up until Ctrl-C", "INT", 0),
        (&["demo", "--keep"], "stays up until Ctrl-C", "TERM", 0),
        (&["demo"], "2. A customer", "INT", 1),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut command = farebox(arguments);
        command.env("TMPDIR", home.path());
        let mut demo = Process::spawn(command);
        demo.says(moment).await;
        assert_eq!(processes(text(home.path())).len(), 1, "a server runs");
        demo.signal(signal).await;
        assert_eq!(demo.end().await.code(), Some(code), "{moment}: {}", demo.said());
        check_nothing_left(home.path());
    }
}
