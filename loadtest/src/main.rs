//! The load-test harness's place in the workspace. The harness itself is a later release: nothing
//! here pretends to measure.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("farebox-loadtest: not built yet; use wrk against `farebox demo --keep` meanwhile");
    ExitCode::from(2)
}
