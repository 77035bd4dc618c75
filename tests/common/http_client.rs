//! A small HTTP/1.1 client over a socket: it sends exactly the bytes that a test wants sent.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to the server under test.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as JSON. Only for tests: its numbers are doubles.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code: of a problem its `code`, else `ok`.
    pub(crate) fn outcome(&self) -> (u16, String) {
        let is_problem = self.header("content-type") == Some("application/problem+json");
        let code =
            is_problem.then(|| self.json().get("code").and_then(Value::as_str).map(str::to_owned));
        (self.status, code.flatten().unwrap_or_else(|| "ok".to_owned()))
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Client { stream, received: Vec::new() }
    }

    /// Sends these bytes and nothing else.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// Sends these bytes as far as the server takes them, and says what it answers, if it does
    /// before the connection ends.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> Option<Answer> {
        let _ = self.stream.write_all(bytes).await; // It may have heard enough.
        self.try_answer().await
    }

    /// Sends a request whose head is complete but for `Host` and `Content-Length`.
    pub(crate) async fn request(&mut self, head: &str, body: &str) -> Answer {
        self.send(bytes_of(head, body).as_bytes()).await;
        self.answer().await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer")
    }

    /// The next answer; `None` if the server ends the connection instead.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let end = loop {
            let found = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            match found {
                Some(position) => break position + 4,
                None if self.receive().await == 0 => return None,
                None => {}
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).expect("an ASCII head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.expect("a status"), head, body: String::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await?;
            return Some(answer);
        }
        let length =
            answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.received.len() < length {
            assert_ne!(self.receive().await, 0, "the body is complete");
        }
        let body = self.received.drain(..length).collect();
        answer.body = String::from_utf8(body).expect("a text body");
        Some(answer)
    }

    /// A body in pieces; `None` if the connection ends in the middle of it.
    async fn chunks(&mut self) -> Option<String> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match self.received.windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break self.received.drain(..end + 2).collect::<Vec<_>>(),
                    None if self.receive().await == 0 => return None,
                    None => {}
                }
            };
            let digits = std::str::from_utf8(&line).expect("a line of hex digits").trim_end();
            let length = usize::from_str_radix(digits, 16).expect("the length of a piece");
            while self.received.len() < length + 2 {
                if self.receive().await == 0 {
                    return None;
                }
            }
            body.extend(self.received.drain(..length));
            self.received.drain(..2);
            if length == 0 {
                return Some(String::from_utf8(body).expect("a text body"));
            }
        }
    }

    async fn receive(&mut self) -> usize {
        // A reset is an end like any other: the server had bytes left that it did not want.
        self.stream.read_buf(&mut self.received).await.unwrap_or(0)
    }
}

/// A request with a `Host`, and a `Content-Length` where it has a body.
pub(crate) fn bytes_of(head: &str, body: &str) -> String {
    let head = head.trim_end().replace('\n', "\r\n");
    let length = match body {
        "" => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let headers = if headers.is_empty() { String::new() } else { format!("{headers}\r\n") };
    format!("{line} HTTP/1.1\r\nhost: farebox\r\n{headers}{length}\r\n{body}")
}
