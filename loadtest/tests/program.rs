//! The program itself. That it is tested has it built before the tests of the servers begin, one of
//! which it is.

use std::process::Command;

#[test]
fn it_says_what_it_can_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_farebox-loadtest")).arg("--help").output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("compare"), "{said}");
}
