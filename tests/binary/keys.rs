//! Keys of the program: those that `serve` is given and those that it makes, what a kill leaves of
//! them, and the alarm about forged roles (spec 2.1; C14, C24 of the promises).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farebox::auth::{KeyPair, Role, TokenRequest, generate_key_pair, sign};
use farebox::env::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::process::{Caller, Served, check_fails, farebox, ran, serve, string, text};

const ANY: &str = "127.0.0.1:0";

fn pair() -> KeyPair {
    generate_key_pair().expect("a key pair")
}

/// A key pair with its public half in a file.
fn pair_in(home: &Path, name: &str) -> (KeyPair, PathBuf) {
    let (pair, path) = (pair(), home.join(name));
    fs::write(&path, &pair.public_pem).expect("it can be written");
    (pair, path)
}

fn token(private_pem: &str, key_id: &str, role: Role) -> String {
    let instances = match role {
        Role::Administration => Vec::new(),
        Role::Client => vec!["any".to_owned()],
    };
    let request = TokenRequest {
        role,
        instances,
        expires_in: Duration::from_secs(3_600),
        issuer: "farebox".to_owned(),
        now: SystemClock::new().system(),
        key_id: key_id.to_owned(),
    };
    sign(private_pem, &request).expect("a token")
}

/// Serves a directory with these keys, given as flags.
async fn serve_with(data: &Path, keys: &[(&str, &str, &Path)]) -> Served {
    let mut arguments = vec!["serve".to_owned(), "--listen".to_owned(), ANY.to_owned()];
    arguments.extend(["--data".to_owned(), text(data).to_owned()]);
    for (flag, id, path) in keys {
        arguments.extend([(*flag).to_owned(), format!("{id}={}", path.display())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Served::from(farebox(&arguments), data).await
}

async fn status(caller: &mut Caller, target: &str, body: &str) -> u16 {
    caller.attempt(target, None, body).await.expect("an answer").status
}

/// Type and id of each key.
async fn listed(caller: &mut Caller) -> Vec<(String, String)> {
    let list = caller.call("GET /api/v1.1/public-keys", None, "").await;
    let keys = list.pointer("/keys").and_then(Value::as_array).expect("a list");
    keys.iter().map(|key| (string(key, "/type"), string(key, "/id"))).collect()
}

fn named(keys: &[(&str, &str)]) -> Vec<(String, String)> {
    keys.iter().map(|(class, id)| ((*class).to_owned(), (*id).to_owned())).collect()
}

#[tokio::test]
async fn keys_that_serve_is_given_hold_and_are_registered_once() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (ops, ops_file) = pair_in(home.path(), "ops.pem");
    let (shop, shop_file) = pair_in(home.path(), "shop.pem");
    let flags: &[(&str, &str, &Path)] = &[
        ("--administration-key", "ops", &ops_file),
        ("--client-key", "shop-1", &shop_file),
        ("--client-key", "shop-2", &shop_file),
    ];
    let expected =
        named(&[("administration-key", "ops"), ("client-key", "shop-1"), ("client-key", "shop-2")]);
    for start in 0..2 {
        let served = serve_with(&data, flags).await;
        let mut admin = served.caller(token(&ops.private_pem, "ops", Role::Administration));
        assert_eq!(listed(&mut admin).await, expected);
        let mut client = served.caller(token(&shop.private_pem, "shop-2", Role::Client));
        assert_eq!(status(&mut client, "GET /api/v1.0/instances", "").await, 403, "a client");
        let log = served.process.stderr.borrow().clone();
        for id in ["ops", "shop-1", "shop-2"] {
            let said = format!("a key is registered id={id}");
            assert_eq!(log.contains(&said), start == 0, "{log}");
        }
        let digits = ops.public_pem.lines().nth(1).expect("digits");
        assert!(!log.contains(digits) && !log.contains("PUBLIC"), "by id only: {log}");
        served.stop().await;
    }
    assert!(!data.join("keys").exists(), "no pair of its own");
}

/// What is registered is more than what a flag says, or a key that was rotated away would come
/// back at every start.
#[tokio::test]
async fn a_flag_does_not_bring_back_a_key_that_was_replaced_under_its_id() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (first, file) = pair_in(home.path(), "ops.pem");
    let second = pair();
    let flags: &[(&str, &str, &Path)] = &[("--administration-key", "ops", &file)];
    let served = serve_with(&data, flags).await;
    let mut admin = served.caller(token(&first.private_pem, "ops", Role::Administration));
    let keys = json!([{"id": "ops", "publicKey": second.public_pem}]).to_string();
    assert_eq!(status(&mut admin, "PUT /api/v1.0/administration-keys", &keys).await, 200);
    served.stop().await;

    let served = serve_with(&data, flags).await;
    let list = "GET /api/v1.0/public-keys";
    let mut former = served.caller(token(&first.private_pem, "ops", Role::Administration));
    assert_eq!(status(&mut former, list, "").await, 401);
    let mut admin = served.caller(token(&second.private_pem, "ops", Role::Administration));
    assert_eq!(status(&mut admin, list, "").await, 200);
    let log = served.process.stderr.borrow().clone();
    for words in ["another key is registered under this id and stays", "PUT", "id=ops"] {
        assert!(log.contains(words), "{log}");
    }
    assert!(!log.contains("a key is registered id=ops"), "{log}");
    served.stop().await;
}

#[tokio::test]
async fn a_class_that_is_given_no_key_gets_a_pair() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (_, shop_file) = pair_in(home.path(), "shop.pem");
    let served = serve_with(&data, &[("--client-key", "shop", &shop_file)]).await;
    let expected = named(&[("client-key", "shop"), ("administration-key", "administration-1")]);
    assert_eq!(listed(&mut served.administration().await).await, expected);
    assert!(!data.join("keys/client-1.pem").exists());
    served.stop().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_given_is_named_with_its_flag_and_file() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (good, file) = pair_in(home.path(), "good.pem");
    let private = home.path().join("private.pem");
    fs::write(&private, &good.private_pem).unwrap();
    let missing = home.path().join("missing.pem");
    let secret = good.private_pem.lines().nth(1).expect("digits");
    let long = "x".repeat(129);
    for (flag, id, path, why) in [
        ("--administration-key", "k", &missing, "No such file"),
        ("--client-key", "k", &private, "holds a private key"),
        ("--client-key", &long, &file, "1 to 128 characters"),
        ("--client-key", "..", &file, "1 to 128 characters"),
    ] {
        let key = format!("{id}={}", path.display());
        let arguments = ["serve", "--listen", ANY, "--data", text(&data), flag, &key];
        check_fails(&arguments, 2, &[&format!("{flag} {key}: "), why]).await;
        assert!(!ran(&arguments).await.stderr.contains(secret));
    }
    let key = format!("k={}", file.display());
    let twice = ["--client-key", &key, "--client-key", &key];
    let serve = ["serve", "--listen", ANY, "--data", text(&data)];
    check_fails(&[&serve[..], &twice].concat(), 2, &["--client-key k=", "there twice"]).await;
    check_fails(&[&serve[..], &["--client-key", "k"]].concat(), 2, &["say ID=FILE"]).await;
    assert!(!data.exists(), "everything is read before anything is made");
}

/// After a rotation the directory's own pair is dead; tokens are then signed by the new key.
#[tokio::test]
async fn a_token_can_be_signed_by_a_key_that_was_registered_later() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (shop, private) = (pair(), home.path().join("shop-2.pem"));
    fs::write(&private, &shop.private_pem).unwrap();
    let served = serve(&data).await;
    let mut admin = served.administration().await;
    let keys = json!([{"id": "shop-2", "publicKey": shop.public_pem}]).to_string();
    assert_eq!(status(&mut admin, "PUT /api/v1.1/client-keys", &keys).await, 200);
    assert_eq!(status(&mut admin, "DELETE /api/v1.1/client-keys/client-1", "").await, 200);
    let instance = "0f2d1a30-5f2b-4d43-8e6a-27d0f3f4c111";
    let client = ["token", "--role", "client", "--instance", instance];
    for (arguments, expected) in [
        (["--data", text(&data), "--expires", "1h"], 401),
        (["--key", text(&private), "--kid", "shop-2"], 403),
    ] {
        let token = ran(&[&client[..], &arguments].concat()).await;
        assert_eq!(token.code, Some(0), "{token:?}");
        let mut client = served.caller(token.stdout.trim_end().to_owned());
        let list = "GET /api/v1.1/public-keys";
        assert_eq!(status(&mut client, list, "").await, expected, "{arguments:?}");
    }
    served.stop().await;

    fs::remove_file(data.join("keys/client-1.pem")).unwrap();
    let missing = home.path().join("missing");
    for (arguments, words) in [
        (["--data", text(&data)], "client-1.pem`: No such file"),
        (["--data", text(&data)], "sign with --key FILE --kid ID"),
        (["--data", text(&missing)], "there is no such data directory"),
    ] {
        check_fails(&[&client[..], &arguments].concat(), 2, &[words]).await;
    }
    let key = ["--key", text(&missing), "--kid", "shop-2"];
    check_fails(&[&client[..], &key].concat(), 2, &["missing`: No such file"]).await;
    assert!(!missing.exists());
}

#[tokio::test]
async fn what_was_answered_about_keys_outlives_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut expected = named(&[("administration-key", "administration-1")]);
    let mut served = serve(&data).await;
    let mut admin = served.administration().await;
    // The pair that the start made is gone for good: no later start brings it back.
    assert_eq!(status(&mut admin, "DELETE /api/v1.0/client-keys/client-1", "").await, 200);
    served.process.kill().await;
    served = serve(&data).await;
    admin = served.administration().await;
    assert_eq!(listed(&mut admin).await, expected);
    for round in 0..4 {
        let [kept, gone] = ["kept", "gone"].map(|name| format!("{name}-{round}"));
        let keys = json!([
            {"id": kept, "publicKey": pair().public_pem},
            {"id": gone, "publicKey": pair().public_pem},
        ]);
        let saved = status(&mut admin, "PUT /api/v1.0/client-keys", &keys.to_string()).await;
        assert_eq!(saved, 200);
        let target = format!("DELETE /api/v1.0/client-keys/{gone}");
        assert_eq!(status(&mut admin, &target, "").await, 200);
        expected.push(("client-key".to_owned(), kept));
        if round % 2 == 0 {
            served.process.kill().await;
        } else {
            served.stop().await; // With a last snapshot.
        }
        served = serve(&data).await;
        admin = served.administration().await;
        assert_eq!(listed(&mut admin).await, expected);
    }
    served.stop().await;
    let verified = ran(&["verify", "--data", text(&data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn a_client_key_that_claims_administration_raises_the_alarm() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = serve(&data).await;
    let private_pem = fs::read_to_string(data.join("keys/client-1.pem")).unwrap();
    let mut forger = served.caller(token(&private_pem, "client-1", Role::Administration));
    for forged in 0..3 {
        assert_eq!(alarm(&served).await, forged, "C14");
        assert_eq!(status(&mut forger, "GET /api/v1.0/instances", "").await, 401, "C14");
    }
    let log = served.process.stderr.borrow().clone();
    assert!(log.contains("a token of a forged role key=client-1"), "{log}");
    served.stop().await;
}

/// What `/metrics` says of forged roles.
async fn alarm(served: &Served) -> u64 {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::TokioIo;
    let stream = tokio::net::TcpStream::connect(&served.address).await.expect("it listens");
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.expect("HTTP");
    tokio::spawn(connection);
    let request = hyper::Request::get("/metrics").header("host", "farebox");
    let request = request.body(Empty::<hyper::body::Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("a text");
    let line =
        text.lines().find_map(|line| line.strip_prefix("farebox_auth_role_forgeries_total "));
    line.expect("the counter is there from the start").parse().expect("a number")
}
