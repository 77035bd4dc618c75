//! What a signal leaves behind: nothing. All temporary files lie in one directory, which goes with the
//! program, and so do the servers that it started, even those that stand still.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, exit};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::servers::signal as send;
use crate::{Anything, machine};

/// Removes the directory that it is given, and ends as a program ends that SIGINT has ended. What was
/// killed may be about to write a last time, so it tries more than once.
const SWEEP: &str = r#"
trap '' INT TERM
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if rm -rf -- "$1"; then
        echo "interrupted: nothing is left behind, and nothing was written" >&2
        break
    fi
done
exit 130
"#;
/// As [`SWEEP`] ends.
const INTERRUPTED: i32 = 130;

/// Makes the directory that all temporary files go to from here on, and has signals end the program
/// without leaving anything behind. To be dropped at the end.
///
/// # Errors
/// If the directory cannot be made, or signals cannot be heard.
pub fn prepare() -> Result<TempDir, Anything> {
    // Heard from here on: before there is anything to be left behind.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let home = tempfile::Builder::new().prefix("farebox-loadtest-").tempdir()?;
    // PostgreSQL is somebody else and passes through here.
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711))?;
    tempfile::env::override_temp_dir(home.path())
        .map_err(|former| format!("temporary files go to `{}` already", former.display()))?;
    let directory = home.path().to_owned();
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        end(directory);
    });
    Ok(home)
}

/// Ends every process that this one has started, those that stand still too, and itself.
fn end(directory: PathBuf) -> ! {
    let own = std::process::id();
    let started = machine::family(own).unwrap_or_default().into_iter().filter(|id| *id != own);
    for process in started {
        let _ = send(process, Signal::KILL); // It may have ended by itself.
    }
    // Threads of this process still write. To become another program ends them all at once.
    let error = Command::new("sh").args(["-c", SWEEP, "sh"]).arg(&directory).exec();
    eprintln!("interrupted: `{}` could not be removed: {error}", directory.display());
    exit(INTERRUPTED)
}
