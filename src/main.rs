//! The program: arguments to a run to an exit status, and nothing else.
//!
//! Exit status: 0 fine, 1 something was found wrong, 2 it could not run.

mod cli;
mod demo;
mod export;
mod keys;
mod runtime;

use std::process::ExitCode;

/// Cheaper per request than the system's: docs/adr/0005 has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
