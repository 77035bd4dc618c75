//! Signals and closed pipes (J10, P14): what is under way is finished, nothing is lost.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::dice::Dice;
use crate::process::{HANG, Process, Served, serve, serving};
use crate::world::World;

/// Ends a loaded server with a signal. How many records its next start replays.
async fn replayed_after(signal: &str, code: Option<i32>) -> u64 {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    let before = world.used(&served).await;
    let told = world
        .load(&mut served, &Dice::new(1), async |served: &mut Served, mut counted| {
            counted.wait_for(|count| *count >= 100).await.expect("the clients get on");
            served.process.signal(signal).await;
            let status = served.process.end().await;
            assert_eq!(status.code(), code, "{signal}: {}", served.process.said());
        })
        .await;
    let served = serve(&data).await;
    assert!(told.last <= served.logged("last"), "{signal}");
    world.check(&served, &before, &told).await;
    served.logged("replayed")
}

#[tokio::test]
async fn sigterm_and_sigint_end_well_under_load_and_leave_nothing_to_replay() {
    for signal in ["TERM", "INT"] {
        assert_eq!(replayed_after(signal, Some(0)).await, 0, "{signal}");
    }
}

#[tokio::test]
async fn sighup_ends_the_server_at_once_and_nothing_acknowledged_is_lost() {
    assert!(replayed_after("HUP", None).await > 0);
}

/// The server waits for the body of a request when the stop comes, twice: it is answered.
#[tokio::test]
async fn a_request_under_way_is_answered_though_the_stop_comes_twice() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    let token = served.token(&["--role", "administration"]).await;
    let instance = &world.instances[0];
    let body = r#"{"requester":{"type":"user","value":"u"},
        "requestedItems":[{"item":"PhotoPrint","version":"1.0","count":10}]}"#;
    let head = format!(
        "POST /api/v1.0/instances/{instance}/access-request HTTP/1.1\r\nhost: farebox\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = BufReader::new(TcpStream::connect(&served.address).await.unwrap());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "it is being read: {line}");

    served.process.signal("TERM").await;
    served.process.logs("draining").await;
    served.process.signal("TERM").await;
    served.process.signal("INT").await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(HANG, stream.read_to_string(&mut answer)).await;
    read.expect("the server closes").expect("it closes well");
    assert!(answer.contains("HTTP/1.1 200") && answer.contains(r#""totalTokensCharged":30"#));
    assert_eq!(served.process.end().await.code(), Some(0), "{}", served.process.said());

    let served = serve(&data).await;
    assert_eq!(served.logged("replayed"), 0);
    assert_eq!(world.used(&served).await[0].to_string(), "30");
}

/// SIGPIPE, in other words: whoever read its logs and its ready line has gone.
#[tokio::test]
async fn a_server_that_nobody_listens_to_goes_on_and_stops_well() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut served = serve(&data).await;
    let world = World::create(&served).await;
    served.process.stop_listening().await;
    let mut client = world.client(&served);
    world.charge(&mut client, 10).await;
    served.process.signal("TERM").await; // It logs that.
    assert_eq!(served.process.end().await.code(), Some(0));

    let served = serve(&data).await;
    assert_eq!(served.logged("replayed"), 0, "it was a clean stop");
    assert_eq!(world.used(&served).await[0].to_string(), "30");
    served.stop().await;

    // Nobody has ever read its stdout: the ready line is lost, the server is not.
    let mut command = serving(&data);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer);
    let mut process = Process::spawn(command);
    process.logs("listening").await;
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0), "{}", process.said());
}

#[tokio::test]
async fn a_server_is_ready_when_it_says_so() {
    let home = tempfile::tempdir().unwrap();
    let served = serve(&home.path().join("data")).await;
    for path in ["GET /readyz", "GET /livez", "GET /metrics"] {
        let answer = served.caller(String::new()).attempt(path, None, "").await;
        assert_eq!(answer.map(|answer| answer.status), Some(200), "{path}");
    }
    let said = served.process.stdout.borrow().clone();
    assert_eq!(said, format!("farebox listening on http://{}\n", served.address), "one line");
    assert_eq!(served.stop().await.matches("farebox listening").count(), 1);
}
