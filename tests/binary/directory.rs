//! The data directory: one process at a time (J7), modes and places that cannot be used (J11), and
//! a first start that is killed anywhere.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::{
    HANG, Process, Served, check_fails, ran, serve, serving, text, through_shell,
};
use crate::world::World;

const ANY: &str = "127.0.0.1:0";

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_goes_on_unharmed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = serve(&data).await;
    let world = World::create(&served).await;
    let mut client = world.client(&served);
    world.charge(&mut client, 1).await;
    let in_use = [text(&data), "is in use by another process: stop it first"];
    for _ in 0..3 {
        check_fails(&["serve", "--listen", ANY, "--data", text(&data)], 2, &in_use).await;
        check_fails(&["verify", "--data", text(&data)], 2, &in_use).await;
        world.charge(&mut client, 1).await;
    }
    assert_eq!(world.used(&served).await[0].to_string(), "12");
    served.stop().await;
    let verified = ran(&["verify", "--data", text(&data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("used       12 tokens in all"), "{verified:?}");
}

#[tokio::test]
async fn a_port_in_use_is_said_and_costs_the_directory_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let taken = TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = [&format!("cannot listen on {address}: Address already in use")[..]];
    check_fails(&["serve", "--listen", &address, "--data", text(&data)], 2, &words).await;
    serve(&data).await.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_data_directory_is_refused_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "somebody's words").unwrap();
    let below_file = file.join("data");
    let mut cases = vec![file.clone(), below_file, "/proc/farebox".into(), "/dev/null".into()];
    for part in ["journal", "snapshots", "keys"] {
        let data = home.path().join(part);
        fs::create_dir(&data).unwrap();
        fs::write(data.join(part), "somebody's words").unwrap();
        cases.push(data);
    }
    let cannot = " cannot be "; // Used, read, made: what the system says follows.
    for data in &cases {
        let arguments = ["serve", "--listen", ANY, "--data", text(data)];
        let words = if data.ends_with("keys") { "the key pair" } else { cannot };
        check_fails(&arguments, 2, &["farebox: ", words]).await;
        let words = fs::read_to_string(data.join(data.file_name().unwrap()));
        assert!(words.is_err() || words.unwrap() == "somebody's words", "{}", data.display());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's words");
    for data in [&file, Path::new("/proc/farebox"), &home.path().join("nothing")] {
        check_fails(&["verify", "--data", text(data)], 2, &[text(data), cannot]).await;
        check_fails(
            &["token", "--role", "administration", "--data", text(data)],
            2,
            &[text(data), "there is no such data directory: `farebox serve` makes one"],
        )
        .await;
        assert!(!data.is_dir(), "looking makes nothing");
    }
}

#[tokio::test]
async fn everything_is_for_its_owner_only_whatever_the_umask() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let arguments = ["serve", "--listen", ANY, "--data", text(&data)];
    for start in 0..2 {
        let command = through_shell(r#"umask 000; exec "$@""#, &arguments);
        let served = Served::from(command, &data).await;
        if start == 0 {
            World::create(&served).await;
        }
        check_modes(&data);
        served.stop().await;
        check_modes(&data);
    }
}

fn check_modes(data: &Path) {
    let mut open = vec![data.to_owned()];
    let mut files = 0;
    while let Some(path) = open.pop() {
        let mode = path.metadata().expect("it is there").permissions().mode() & 0o7777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} has {mode:o}", path.display());
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("it can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            files += 1;
        }
    }
    assert!(files > 8, "{files} files: journal, snapshots and keys");
}

/// The moments are files that appear one after the other.
#[tokio::test]
async fn a_first_start_that_is_killed_anywhere_is_finished_by_the_next() {
    let moments = [
        "journal/lock",
        "snapshots/db",
        "journal/0000000001.segment.unfinished",
        "journal/0000000002.segment",
        "keys",
        "keys/administration-1.unfinished",
        "keys/administration-1.pem",
        "keys/administration-1.public.pem",
        "keys/client-1.public.pem",
    ];
    for moment in moments {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let mut process = Process::spawn(serving(&data));
        let appears = async {
            while !data.join(moment).exists() && process.stdout.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANG, appears).await.expect(moment);
        process.kill().await;

        let served = serve(&data).await;
        World::create(&served).await; // Its keys are good for everything.
        served.stop().await;
        let verified = ran(&["verify", "--data", text(&data)]).await;
        assert_eq!(verified.code, Some(0), "{moment}: {verified:?}");
    }
}

/// What a kill between making a key's file and writing it once left behind.
#[tokio::test]
async fn half_a_key_is_never_registered() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir_all(data.join("keys")).unwrap();
    for name in ["administration-1", "administration-1.public", "client-1", "client-1.public"] {
        fs::write(data.join("keys").join(format!("{name}.unfinished")), "half a k").unwrap();
    }
    let served = serve(&data).await;
    World::create(&served).await;
    let left = fs::read_dir(data.join("keys")).unwrap().count();
    assert_eq!(left, 4, "two pairs, and nothing unfinished");
    served.stop().await;
}
