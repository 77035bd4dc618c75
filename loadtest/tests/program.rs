//! The program itself. That it is tested has it built before the tests of the servers begin, one of
//! which it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn it_says_what_it_can_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_farebox-loadtest")).arg("--help").output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("compare"), "{said}");
}

#[test]
fn what_cannot_be_measured_or_written_is_an_error() {
    let nobody = ["run", "canonical", "noop://127.0.0.1:1", "--requests", "3", "--warm-up", "0"];
    let nowhere = ["run", "hot", "embedded", "--json", "/nowhere/report.json"];
    let no_place = ["run", "hot", "noop://127.0.0.1"];
    for (arguments, expected) in [
        (&nobody[..], "error: nobody was reached at noop://127.0.0.1:1\n"),
        (&nowhere, "error: `/nowhere/report.json`: No such file"),
        (&no_place, "error: `127.0.0.1` is not HOST:PORT: "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_farebox-loadtest")).args(arguments).output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.starts_with(expected), "{said}");
        assert!(output.stdout.is_empty(), "no report");
    }
}

#[test]
fn a_report_takes_the_place_of_another_only_when_there_is_one() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("report.json");
    let before = "x".repeat(10_000);
    std::fs::write(&file, &before).expect("it is written");
    let run = |target: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox-loadtest"));
        command.args(["run", "hot", target, "--requests", "3", "--warm-up", "0", "--json"]);
        let status = command.arg(&file).output().expect("it starts").status;
        (status.code(), std::fs::read_to_string(&file).expect("it is there"))
    };
    assert!(run("noop://127.0.0.1:1") == (Some(2), before), "nobody was reached");
    let (code, report) = run("embedded");
    assert!(code == Some(0) && report.starts_with("{\n") && report.ends_with("\n}"), "{report}");
}

#[test]
fn a_signal_ends_it_and_nothing_is_left_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox-loadtest"));
        command.args(["run", "hot", "embedded", "--seconds", "600"]).env("TMPDIR", home.path());
        let mut program =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        while !entries(home.path()).iter().any(|of_program| !entries(of_program).is_empty()) {
            std::thread::yield_now(); // Until a broker is in its directory.
        }
        kill_process(Pid::from_child(&program), signal).expect("it runs");
        let status = program.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{signal:?}");
        assert!(entries(home.path()).is_empty(), "{signal:?} left {:?}", entries(home.path()));
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
