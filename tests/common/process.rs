//! The program as a child process: started, called over HTTP, told to stop or killed, and what it
//! said. Waits for events only (a line, an answer, an end); a hang fails after [`HANG`].

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Only a hang takes so long.
pub(crate) const HANG: Duration = Duration::from_secs(40);

/// The program with these arguments, and nothing of the environment that it listens to.
pub(crate) fn farebox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.args(arguments);
    prepared(command)
}

/// The program under a shell that says or sets something first: `exec "$@"` runs it.
pub(crate) fn through_shell(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_farebox")]).args(arguments);
    prepared(command)
}

fn prepared(mut command: Command) -> Command {
    for name in [
        "FAREBOX_LISTEN",
        "FAREBOX_DATA",
        "FAREBOX_ISSUER",
        "FAREBOX_TEST_CLOCK",
        "FAREBOX_IDEMPOTENCY_KEEP",
        "FAREBOX_IDEMPOTENCY_KEYS",
        "FAREBOX_IDEMPOTENCY_KEYS_PER_INSTANCE",
        "FAREBOX_SESSIONS",
        "FAREBOX_SESSIONS_PER_INSTANCE",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit status; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ran {
    let output = timeout(HANG, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("it hangs: {command:?}")).expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it says text");
    let code = output.status.code();
    Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program to its end.
pub(crate) async fn ran(arguments: &[&str]) -> Ran {
    run(farebox(arguments)).await
}

/// Runs the program, which must say this sentence on stderr, nothing on stdout, and end so.
pub(crate) async fn check_fails(arguments: &[&str], code: i32, sentences: &[&str]) {
    let ran = ran(arguments).await;
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{arguments:?}: {ran:?}");
    for sentence in sentences {
        assert!(ran.stderr.contains(sentence), "{arguments:?} does not say `{sentence}`: {ran:?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {ran:?}");
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A child process whose words are gathered as they come.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: watch::Receiver<String>,
    pub(crate) stderr: watch::Receiver<String>,
    readers: JoinSet<()>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Process {
        let mut child = command.spawn().expect("it starts");
        let mut readers = JoinSet::new();
        let stdout = child.stdout.take().map_or_else(silence, |pipe| gathered(pipe, &mut readers));
        let stderr = child.stderr.take().map_or_else(silence, |pipe| gathered(pipe, &mut readers));
        Process { child, stdout, stderr, readers }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Sends a signal by name: TERM, INT, HUP.
    pub(crate) async fn signal(&self, name: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("kill -{name} {}", self.id())]);
        let ran = run(prepared(command)).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.start_kill().expect("it runs");
        self.end().await;
    }

    pub(crate) async fn end(&mut self) -> ExitStatus {
        let ended = timeout(HANG, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.said()));
        ended.expect("it can be waited for")
    }

    /// Waits until stderr holds these words.
    pub(crate) async fn logs(&mut self, words: &str) {
        let said = self.stderr.wait_for(|log| log.contains(words));
        let fine = matches!(timeout(HANG, said).await, Ok(Ok(_)));
        assert!(fine, "it does not log `{words}`: {}", self.said());
    }

    /// Waits until stdout holds these words.
    pub(crate) async fn says(&mut self, words: &str) {
        let said = self.stdout.wait_for(|said| said.contains(words));
        let fine = matches!(timeout(HANG, said).await, Ok(Ok(_)));
        assert!(fine, "it does not say `{words}`: {}", self.said());
    }

    /// Closes the reading ends of its stdout and stderr.
    pub(crate) async fn stop_listening(&mut self) {
        for said in [&mut self.stdout, &mut self.stderr] {
            *said = silence();
        }
        while self.readers.join_next().await.is_some() {}
    }

    /// Everything it said, for messages of failure.
    pub(crate) fn said(&self) -> String {
        format!("stdout: {}\nstderr: {}", *self.stdout.borrow(), *self.stderr.borrow())
    }
}

/// The lines of a pipe as they come, until nobody wants them.
fn gathered(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    readers: &mut JoinSet<()>,
) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    readers.spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => sender.send_modify(|said| *said += &(line + "\n")),
                    Ok(None) | Err(_) => return,
                },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

fn silence() -> watch::Receiver<String> {
    watch::channel(String::new()).1
}

/// A running server.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: String,
    pub(crate) data: PathBuf,
}

const READY: &str = "farebox listening on http://";

/// The command that serves a directory on a free loopback port.
pub(crate) fn serving(data: &Path) -> Command {
    farebox(&["serve", "--listen", "127.0.0.1:0", "--data", text(data)])
}

/// Serves a directory; returns once it is ready.
pub(crate) async fn serve(data: &Path) -> Served {
    Served::from(serving(data), data).await
}

impl Served {
    pub(crate) async fn from(command: Command, data: &Path) -> Served {
        let mut process = Process::spawn(command);
        let ready = |said: &String| said.starts_with(READY) && said.ends_with('\n');
        let fine = matches!(timeout(HANG, process.stdout.wait_for(ready)).await, Ok(Ok(_)));
        assert!(fine, "it does not get ready: {}", process.said());
        let line = process.stdout.borrow().clone();
        let address = line.trim_end().strip_prefix(READY).expect("waited for").to_owned();
        Served { process, address, data: data.to_owned() }
    }

    /// A token of this directory.
    pub(crate) async fn token(&self, arguments: &[&str]) -> String {
        let fixed = ["token", "--expires", "1d", "--data", text(&self.data)];
        let ran = ran(&[&fixed[..], arguments].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    pub(crate) async fn administration(&self) -> Caller {
        self.caller(self.token(&["--role", "administration"]).await)
    }

    pub(crate) fn caller(&self, token: String) -> Caller {
        Caller { address: self.address.clone(), token, connection: None, key: None }
    }

    /// SIGTERM; the program must end well.
    pub(crate) async fn stop(mut self) -> String {
        self.process.signal("TERM").await;
        assert_eq!(self.process.end().await.code(), Some(0), "{}", self.process.said());
        self.process.said()
    }

    /// A number that its log names: `last` or `replayed`.
    pub(crate) fn logged(&self, field: &str) -> u64 {
        let log = self.process.stderr.borrow().clone();
        let value = log.split_once(&format!("{field}=")).map(|(_, rest)| rest);
        let digits = value.and_then(|value| value.split([' ', '\n']).next());
        let number = digits.and_then(|digits| digits.parse().ok());
        number.unwrap_or_else(|| panic!("no {field}= in {log}"))
    }
}

/// Somebody with a token and a connection that is kept.
pub(crate) struct Caller {
    address: String,
    token: String,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// The idempotency key that the next requests come under.
    pub(crate) key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The journal's place that it rests on.
    pub(crate) sequence: Option<u64>,
    pub(crate) body: Value,
    pub(crate) bytes: Bytes,
}

impl Caller {
    /// Sends a request; `None` if the connection ends before the answer is complete.
    pub(crate) async fn attempt(
        &mut self,
        target: &str,
        instance: Option<&str>,
        body: &str,
    ) -> Option<Answer> {
        let (method, path) = target.split_once(' ').expect("method and path");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        if let Some(instance) = instance {
            request = request.header("x-instance-id", instance);
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("it is one");
        let answered = timeout(HANG, async {
            let response = self.connection().await?.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            let sequence = response.headers().get("x-sequence");
            let sequence = sequence.map(|value| value.to_str().expect("digits").parse());
            let bytes = response.into_body().collect().await.ok()?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let sequence = sequence.map(|n| n.expect("a number"));
            Some(Answer { status, sequence, body, bytes })
        });
        answered.await.unwrap_or_else(|_| panic!("no answer to {target}"))
    }

    async fn connection(&mut self) -> Option<&mut SendRequest<Full<Bytes>>> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(&self.address).await.ok()?;
            let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = opened.ok()?;
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let connection = self.connection.as_mut()?;
        connection.ready().await.ok()?;
        Some(connection)
    }

    /// Sends a request that must go well.
    pub(crate) async fn call(&mut self, target: &str, instance: Option<&str>, body: &str) -> Value {
        let answer = self.attempt(target, instance, body).await.expect("an answer");
        assert!(answer.status < 300, "{target}: {answer:?}");
        answer.body
    }
}

/// A string in a JSON value.
pub(crate) fn string(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}
