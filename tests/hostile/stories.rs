//! Rows that no single exchange tells: clients that leave before their answer, or never read it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::http_client::{Client, bytes_of};
use crate::world::{Limited, World};

/// A charge of three tokens under a key.
fn charge(world: &World, key: &str) -> String {
    let head = world.filled(&format!(
        "POST /api/v1.1/instances/$ACME/access-request\nauthorization: Bearer $ADMIN\n\
         content-type: application/json\nidempotency-key: {key}"
    ));
    bytes_of(&head, &world.filled("$ASK"))
}

/// The client is gone when the answer comes, or before. Whichever it was: the call has happened once
/// when its repetition has been answered.
#[tokio::test]
async fn e16_who_leaves_before_the_answer_finds_it_under_the_key() {
    const ROUNDS: u32 = 60;
    let mut world = World::new(Limited::default()).await;
    let before = world.picture().await.used;
    let mut answered = 0;
    for round in 0..ROUNDS {
        let request = charge(&world, &format!("round-{round}"));
        let last = world.last();
        let mut client = world.server.connect().await;
        client.send(request.as_bytes()).await;
        if round % 2 == 0 {
            world.recorded_after(last).await; // It is charged, and nobody hears of it.
            answered += 1;
        }
        drop(client);
        let mut again = world.server.connect().await;
        again.send(request.as_bytes()).await;
        let answer = again.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if round % 2 == 0 {
            assert_eq!(world.last(), last + 1, "the second call has no record of its own");
        }
    }
    assert_eq!(answered, ROUNDS / 2);
    let used = world.picture().await.used;
    let whole = farebox::domain::tokens::Tokens::whole(u64::from(3 * ROUNDS));
    assert_eq!(before.checked_add(whole), Some(used), "each was charged once");
}

/// A client asks for a charge and for far more text than fits anywhere on the way, and reads nothing.
#[tokio::test]
async fn e22_a_client_that_reads_nothing_is_charged_once_and_let_go() {
    let mut world = World::new(Limited::default()).await;
    let before = world.picture().await.used;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small window");
    let mut stream = socket.connect(world.server.address).await.expect("the server listens");
    let last = world.last();
    stream.write_all(charge(&world, "once").as_bytes()).await.expect("it is read");
    world.recorded_after(last).await;
    // 100 answers of 256 KiB each.
    let more = bytes_of("GET /metrics", "").repeat(100);
    stream.write_all(more.as_bytes()).await.expect("it fits the buffers");
    tokio::time::pause(); // From here on time passes when everybody waits.
    let began = Instant::now();
    // Nothing else tells who does not read: what it sends is not taken either, and then refused.
    while stream.write_all(more.as_bytes()).await.is_ok() {}
    let took = began.elapsed();
    tokio::time::resume();
    let limit = Duration::from_secs(10);
    assert!(limit <= took && took <= limit * 3 / 2, "it was let go after {took:?}");
    let mut client = Client::connect(world.server.address).await;
    client.send(charge(&world, "once").as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    let three = farebox::domain::tokens::Tokens::whole(3);
    assert_eq!(before.checked_add(three), Some(world.picture().await.used));
}
