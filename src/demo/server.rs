//! The demo's server: a child process of the same program, and the calls on it, shown.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use farebox::env::{IdSource, SystemIds};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A server that only the demo knows of.
pub(super) struct Server {
    child: Child, // Dropped, and killed by that, before its directory is.
    home: Home,
    address: String,
    admin_token: String,
    client_token: String,
    instance: String,
}

/// A new temporary directory, removed whatever happens.
struct Home(PathBuf);

impl Home {
    fn create() -> Result<Home, String> {
        let path = std::env::temp_dir().join(format!("farebox-demo-{:032x}", SystemIds.fresh()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("`{}` cannot be made: {error}", path.display()))?;
        Ok(Home(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let path = self.0.display();
            let _ = writeln!(io::stderr(), "farebox: `{path}` could not be removed: {error}");
        }
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    text: String,
}

impl Server {
    /// Starts it on a new temporary directory.
    pub(super) async fn start() -> Result<Server, String> {
        let home = Home::create()?;
        let (child, address) = spawn(&home.0).await?;
        show!("farebox serves {} on {address}", home.0.display());
        let mut server = Server {
            child,
            home,
            address,
            admin_token: String::new(),
            client_token: String::new(),
            instance: String::new(),
        };
        server.admin_token = server.token(&["--role", "administration"])?;
        Ok(server)
    }

    /// Takes a client's token for this instance.
    pub(super) fn use_instance(&mut self, id: &str) -> Result<(), String> {
        id.clone_into(&mut self.instance);
        self.client_token = self.token(&["--role", "client", "--instance", id])?;
        Ok(())
    }

    fn token(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = std::process::Command::new(program()?);
        command.arg("token").arg("--data").arg(&self.home.0).args(arguments);
        let output = command.output().map_err(|error| format!("farebox token: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A call of administration, shown.
    pub(super) async fn admin(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, String> {
        self.shown(&self.admin_token, method, path, body).await
    }

    /// A call of client software, shown.
    pub(super) async fn client(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, String> {
        self.shown(&self.client_token, method, path, body).await
    }

    async fn shown(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, String> {
        show_request(method, path, body);
        let answer = self.call(token, method, path, body).await?;
        show_answer(&answer);
        Ok(answer)
    }

    /// What has been used of the line item.
    pub(super) async fn used(&self, id: &str) -> Result<Value, String> {
        let path = format!("/provisioning/api/v1.0/instances/{id}/line-items/ACT01-Elastic");
        let answer = self.call(&self.client_token, "GET", &path, "").await?;
        Ok(answer.body.pointer("/used").cloned().unwrap_or(Value::Null))
    }

    async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, String> {
        let failed = |error: String| format!("{method} {path}: {error}");
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {token}"));
        if !self.instance.is_empty() {
            request = request.header("x-instance-id", &self.instance);
        }
        let request = request
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|error| failed(error.to_string()))?;
        let response: Response<_> =
            sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        let collected = response.into_body().collect().await;
        let bytes = collected.map_err(|error| failed(error.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status >= 400 {
            return Err(failed(format!("{status} {text}")));
        }
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body, text })
    }

    /// kill -9.
    pub(super) async fn kill(&mut self) -> Result<ExitStatus, String> {
        self.child.start_kill().map_err(|error| format!("kill: {error}"))?;
        self.child.wait().await.map_err(|error| format!("kill: {error}"))
    }

    /// Starts again on the same directory.
    pub(super) async fn restart(&mut self) -> Result<(), String> {
        (self.child, self.address) = spawn(&self.home.0).await?;
        show!("   farebox serves the same directory again on {}", self.address);
        Ok(())
    }

    /// Ends the server; its directory goes with the value.
    pub(super) async fn end(&mut self) {
        let _ = self.kill().await; // It may have ended by itself.
    }

    /// How to go on by hand.
    pub(super) fn say_how_to_call(&self) {
        let Server { address, home: Home(data), instance, client_token, .. } = self;
        show!("\nThe server stays up until Ctrl-C. Its data: {}", data.display());
        show!("Used by ACME:\n");
        show!("  curl -s -H 'Authorization: Bearer {client_token}' \\");
        show!("    http://{address}/provisioning/api/v1.0/instances/{instance}/line-items\n");
        show!("10 x PhotoPrint more, 30 tokens:\n");
        show!("  curl -s -H 'Authorization: Bearer {client_token}' \\");
        show!("    -H 'Content-Type: application/json' \\");
        show!(
            "    -d '{{\"requester\":{{\"type\":\"user\",\"value\":\"LisaBarry\"}},\
             \"requestedItems\":[{{\"item\":\"PhotoPrint\",\"version\":\"1.0\",\"count\":10}}]}}' \\"
        );
        show!("    http://{address}/elastic/api/v1.0/instances/{instance}/access-request\n");
        show!("A token for everything, for one hour:\n");
        show!("  farebox token --data {} --role administration", data.display());
    }
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("where this program is: {error}"))
}

/// Starts a server and waits for the line that says where it listens.
async fn spawn(data: &std::path::Path) -> Result<(Child, String), String> {
    let mut child = Command::new(program()?)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0) // Ctrl-C is for the demo, which ends its server itself.
        .spawn()
        .map_err(|error| format!("the server cannot start: {error}"))?;
    let stdout = child.stdout.take().ok_or("the server has no stdout")?;
    let mut line = String::new();
    let read = BufReader::new(stdout).read_line(&mut line).await;
    read.map_err(|error| format!("the server says nothing: {error}"))?;
    let address = line.trim().strip_prefix("farebox listening on http://");
    let address = address.ok_or_else(|| format!("the server did not start: `{}`", line.trim()))?;
    Ok((child, address.to_owned()))
}

fn show_request(method: &str, path: &str, body: &str) {
    show!("   > {method} {path}");
    if !body.is_empty() {
        show!("   > {}", body.replace("\n       ", "\n   >   "));
    }
}

fn show_answer(answer: &Answer) {
    show!("   < {} {}", answer.status, answer.text);
}
