//! Rows that no single exchange tells: clients that leave before their answer, or never read it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
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

/// A byte a second is as good as silence: the limits count from the first byte.
#[tokio::test]
async fn e12_e13_who_sends_a_byte_a_second_has_no_more_time_than_who_sends_nothing() {
    let world = World::new(Limited::default()).await;
    let head = world.filled(
        "POST /api/v1.1/instances/$ACME/access-request\nauthorization: Bearer $ADMIN\n\
         content-type: application/json\ncontent-length: 1000",
    );
    let last = world.last();
    for (first, limit) in [("GET /livez HTTP/1.1\r\nx: ".to_owned(), 5), (bytes_of(&head, ""), 10)]
    {
        let mut client = world.server.connect().await;
        tokio::time::pause(); // From here on time passes when everybody waits.
        let began = Instant::now();
        client.send(first.as_bytes()).await;
        let second = Duration::from_secs(1);
        let limit = second * limit;
        loop {
            // Whatever comes, an answer or the end, the server has had enough.
            let mut byte = [0];
            match tokio::time::timeout(second, client.stream.peek(&mut byte)).await {
                Err(_) => client.send(b"y").await,
                Ok(_) => break,
            }
        }
        let took = began.elapsed();
        tokio::time::resume();
        assert!(limit <= took && took <= limit * 3 / 2, "it was let go after {took:?}");
    }
    assert_eq!(world.last(), last, "nothing was asked");
}

/// Many ask at once for the last places: as many get one as there are.
#[tokio::test]
async fn g2_of_many_who_create_sessions_at_once_as_many_succeed_as_there_is_room() {
    let limited =
        Limited { sessions: Some(20), sessions_per_instance: Some(12), ..Limited::default() };
    let world = World::new(limited).await; // Two live sessions in `$ACME`, one in `$OTHER`.
    let mut callers = JoinSet::new();
    for number in 0..64 {
        let instance = if number % 2 == 0 { "$ACME" } else { "$OTHER" };
        let body = world.filled(&format!(r#"{{"instanceId":"{instance}"}}"#));
        let head = world.filled(
            "POST /api/v1.1/sessions\nauthorization: Bearer $ADMIN\ncontent-type: application/json",
        );
        let mut client = world.server.connect().await;
        callers.spawn(async move { (number % 2, client.request(&head, &body).await.outcome()) });
    }
    let mut created = [0, 0];
    while let Some(ended) = callers.join_next().await {
        let (whose, (status, code)) = ended.expect("a caller comes to its end");
        match (status, code.as_str()) {
            (200, "ok") => *created.get_mut(whose).expect("one of two") += 1,
            (429, "session-quota") => {}
            other => panic!("{other:?}"),
        }
    }
    let [acme, other] = created;
    assert_eq!(acme + other, 17, "{created:?}");
    assert!(acme <= 10 && other <= 11, "{created:?}");
}
