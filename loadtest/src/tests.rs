//! Every profile, small, against the library and against a server in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use farebox::auth::{Role, TokenRequest, Verifier, generate_key_pair, sign};
use farebox::broker::{Broker, Options};
use farebox::domain::keys::{KeyClass, NewKey};
use farebox::env::{Clock, SystemClock, TestClock};
use farebox::http::{Limits, Server, serve};
use indicatif::ProgressBar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::Arguments;
use crate::audit::Audit;
use crate::driver::{Arrival, Lasting, Load};
use crate::measure::{Charged, Measured};
use crate::noop;
use crate::profile::Profile;
use crate::run::audited;
use crate::target::{Outcome, Target};
use crate::workload::{Odds, Workload};

const REQUESTS: u64 = 400;
const CONNECTIONS: usize = 8;

/// The profile, with fewer of everything.
fn small(name: &str) -> Profile {
    let mut profile = Profile::load(name).expect("a profile");
    profile.world.instances = profile.world.instances.min(10);
    profile.sessions = profile.sessions.min(40);
    profile
}

fn run(runtime: &Runtime, target: &Target, profile: &Profile) -> (Measured, Audit) {
    let load = Load {
        arrival: match profile.per_second {
            Some(_) => Arrival::Open { per_second: u32::MAX }, // All of it is due at once.
            None => Arrival::Closed,
        },
        connections: CONNECTIONS,
        threads: 2,
        warm_up: Duration::ZERO,
        lasting: Lasting::Requests(REQUESTS),
        seed: 7,
    };
    drive(runtime, target, profile, &load)
}

fn drive(runtime: &Runtime, target: &Target, profile: &Profile, load: &Load) -> (Measured, Audit) {
    let bar = ProgressBar::hidden();
    audited(runtime.handle(), target, profile, load, &bar).expect("it can be run")
}

fn check(runtime: &Runtime, target: &Target, profile: &Profile) {
    let (measured, audit) = run(runtime, target, profile);
    let name = &profile.name;
    assert!(audit.agrees, "{name}: {audit}");
    let others = (measured.overloaded, measured.unknown, measured.failed);
    assert_eq!(others, (0, 0, 0), "{name}");
    let expected = match name.as_str() {
        "refusals" => (0, REQUESTS),
        "storm" => (measured.answered(), 0),
        _ => (REQUESTS, 0),
    };
    assert_eq!((measured.granted, measured.refused), expected, "{name}");
    if profile.has_only_one_offs() {
        let expected = i128::from(measured.granted) * profile.world.cost();
        assert_eq!(audit.answers, Charged::exactly(expected), "{name}");
    }
}

#[test]
fn an_open_loop_is_over_when_its_time_is_not_with_its_last_answer() {
    let (runtime, time) = (runtime(), Duration::from_millis(100));
    let load = Load {
        arrival: Arrival::Open { per_second: 1 },
        connections: 1,
        threads: 1,
        warm_up: Duration::ZERO,
        lasting: Lasting::Time(time),
        seed: 7,
    };
    let (measured, _) = drive(&runtime, &Target::Embedded, &small("canonical"), &load);
    assert_eq!(measured.granted, 1);
    assert!(measured.lasted >= time, "{:?}", measured.lasted);
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// farebox on a loopback port; under a clock that is moved by hand, if there is to be a storm.
async fn server(storm: bool) -> Target {
    let clock = Arc::new(SystemClock::new());
    let standing = Arc::new(TestClock::new(clock.system()));
    let mut options = Options::memory();
    if storm {
        options.clock = Arc::clone(&standing) as _;
    }
    let broker = Broker::open(options).await.expect("a broker in memory").broker;
    let pair = generate_key_pair().expect("a key pair");
    let id = "administration".parse().expect("an id");
    let key = NewKey { id, class: KeyClass::Administration, pem: pair.public_pem.clone() };
    broker.register_keys(vec![key]).await.expect("a good key");
    let request = TokenRequest {
        role: Role::Administration,
        instances: Vec::new(),
        expires_in: Duration::from_secs(86_400),
        issuer: "farebox".to_owned(),
        now: clock.system(),
        key_id: "administration".to_owned(),
    };
    let token = sign(&pair.private_pem, &request).expect("a token");
    let verifier = Arc::new(Verifier::new(None, clock));
    broker.supply_keys(&verifier).expect("good keys");
    let server = Server::new(broker, verifier, Arc::new(String::new), Limits::default());
    let server = if storm { server.with_test_clock(standing) } else { server };
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, Arc::new(server), std::future::pending()));
    Target::new(&format!("http://{address}"), Some(token)).expect("a target")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn every_profile_runs_in_the_library() {
    let runtime = runtime();
    for name in Profile::names().filter(|name| *name != "keyed") {
        check(&runtime, &Target::Embedded, &small(name));
    }
}

#[test]
fn every_profile_runs_over_http() {
    let runtime = runtime();
    let [ordinary, storm] = [false, true].map(|storm| runtime.block_on(server(storm)));
    for name in Profile::names() {
        let profile = small(name);
        let target = if profile.world.storm { &storm } else { &ordinary };
        check(&runtime, target, &profile);
    }
}

#[test]
fn the_no_op_server_grants_everything_and_nobody_counts() {
    let runtime = runtime();
    let (listener, address) = runtime.block_on(listener());
    runtime.spawn(noop::serve(listener));
    let target = Target::new(&format!("noop://{address}"), None).expect("a target");
    let (measured, audit) = run(&runtime, &target, &small("canonical"));
    assert_eq!((measured.granted, audit.used), (REQUESTS, None));
    assert_eq!(measured.charged, Charged::exactly(44_000_000 * i128::from(REQUESTS)));
}

#[test]
fn what_the_warm_up_charges_is_audited_and_not_measured() {
    let runtime = runtime();
    let load = Load {
        arrival: Arrival::Closed,
        connections: CONNECTIONS,
        threads: 2,
        warm_up: Duration::from_secs(3_600), // The requests are asked long before.
        lasting: Lasting::Requests(REQUESTS),
        seed: 7,
    };
    let profile = small("canonical");
    let target = runtime.block_on(server(false));
    let (measured, audit) = drive(&runtime, &target, &profile, &load);
    assert_eq!((measured.answered(), measured.latency.len()), (0, 0));
    assert_eq!(audit.used, Some(44_000_000 * i128::from(REQUESTS)));
    assert!(audit.agrees, "{audit}");
}

#[test]
fn nothing_is_measured_by_nobody_or_in_no_time() {
    for line in [
        "run hot embedded --connections 0",
        "run hot embedded --threads 0",
        "run hot embedded --per-second 0",
        "run hot embedded --seconds 0",
        "run hot embedded --requests 0",
        "compare --connections 0",
        "compare --connections 16,0",
        "compare --seconds 0",
        "compare --rounds 0",
        "scale --largest 0",
        "scale --callers 0",
        "scale --seconds 0",
        "scale --seconds NaN",
        "scale --seconds=-1",
        "cycles --requests 0",
        "timing --pairs 0",
        "timing --objects 0",
    ] {
        let refused = Arguments::try_parse_from(["it"].into_iter().chain(line.split(' ')));
        let refused = refused.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ValueValidation), "{line}");
    }
}

#[test]
fn a_storm_needs_a_clock_that_can_be_moved_and_says_so_before_anything_is_made() {
    let runtime = runtime();
    let (target, bar) = (runtime.block_on(server(false)), ProgressBar::hidden());
    let prepared = runtime.block_on(target.prepare(&small("storm"), &bar));
    let refused = prepared.err().expect("time goes by itself there").to_string();
    assert!(refused.contains("`farebox serve --test-clock`"), "{refused}");
    assert_eq!((bar.length(), bar.position()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let (_silent, address) = listener().await; // Connections are made, and never accepted.
    for (target, whom, place) in [
        (format!("http://{address}"), "farebox", address.to_string()),
        (format!("redis://{address}"), "Redis", address.to_string()),
        (format!("postgres://me@{address}/db"), "PostgreSQL", format!("{address}/db")),
    ] {
        let target = Target::new(&target, Some("a token".to_owned())).expect("a target");
        let prepared = target.prepare(&small("canonical"), &ProgressBar::hidden()).await;
        let said = prepared.err().expect("nobody answers").to_string();
        assert_eq!(said, format!("{whom} at {place}: no answer within 60 s"));
    }
}

/// Says this to whoever comes, and hangs up.
async fn chatter(listener: TcpListener, says: &'static str) {
    while let Ok((mut client, _)) = listener.accept().await {
        let _ = client.read(&mut [0; 1_024]).await;
        let _ = client.write_all(says.as_bytes()).await;
    }
}

#[tokio::test]
async fn who_is_somebody_else_is_told_apart_from_who_is_not_there() {
    let web = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for (kind, says, whom) in [
        ("http", "-ERR unknown command\r\n", "farebox"),
        ("redis", web, "Redis"),
        ("postgres", web, "PostgreSQL"),
        ("postgres", "-ERR unknown command\r\n", "PostgreSQL"),
    ] {
        let (listener, address) = listener().await;
        let target = format!("{kind}://{address}");
        let target = Target::new(&target, Some("a token".to_owned())).expect("a target");
        let (profile, hidden) = (small("canonical"), ProgressBar::hidden());
        let chatter = tokio::spawn(chatter(listener, says));
        let mistaken = target.prepare(&profile, &hidden).await.err().expect("it is another");
        chatter.abort();
        let _ = chatter.await; // Now nobody listens.
        let absent = target.prepare(&profile, &hidden).await.err().expect("nobody is there");
        let [mistaken, absent] = [mistaken, absent].map(|error| error.to_string());
        let begins = format!("{whom} at {address}: ");
        assert!(mistaken.starts_with(&begins) && !mistaken.contains('\n'), "{mistaken}");
        assert!(absent.starts_with(&begins) && absent.contains("refused"), "{absent}");
        assert!(!mistaken.contains("refused"), "{mistaken}");
    }
}

/// Passes everything on, with this put in the place of that in the answers.
async fn lie(listener: TcpListener, truth: SocketAddr, (that, this): (&'static str, &'static str)) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(truth).await?;
            let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    biased;
                    read = server.read(&mut answered) => {
                        let text = String::from_utf8_lossy(&answered[..read?]);
                        let text = text.replace(that, this);
                        client.write_all(text.as_bytes()).await?;
                    }
                    read = client.read(&mut asked) => match read? {
                        0 => return Ok::<_, std::io::Error>(()),
                        read => server.write_all(&asked[..read]).await?,
                    },
                }
            }
        });
    }
}

/// farebox, with its answers changed on their way.
fn liar(runtime: &Runtime, change: (&'static str, &'static str)) -> Target {
    let Target::Http(mut http) = runtime.block_on(server(false)) else { panic!("a server") };
    let (listener, address) = runtime.block_on(listener());
    runtime.spawn(lie(listener, http.address, change));
    http.address = address;
    Target::Http(http)
}

#[test]
fn the_audit_fails_when_the_answers_lie() {
    let runtime = runtime();
    let target = liar(&runtime, ("Charged\":30,", "Charged\":31,"));
    for name in ["canonical", "sessions"] {
        let (measured, audit) = run(&runtime, &target, &small(name));
        assert_eq!(measured.unknown, 0, "{name}");
        assert!(!audit.agrees, "{name}: {audit}");
    }
}

#[test]
fn the_audit_fails_when_more_is_used_than_there_was() {
    let runtime = runtime();
    let target = liar(&runtime, ("quantity\":9000000000000,", "quantity\":            1,"));
    let (_, audit) = run(&runtime, &target, &small("canonical"));
    assert_eq!((audit.agrees, audit.differing, audit.oversold), (false, 0, 10), "{audit}");
    assert!(audit.first_oversold.is_some_and(|name| name.ends_with("-0-0")));
}

#[test]
fn a_success_that_does_not_say_what_it_charged_is_a_failure() {
    let runtime = runtime();
    let target = liar(&runtime, ("\"totalTokensCharged\":", "\"totalTokensChanged\":"));
    let (measured, audit) = run(&runtime, &target, &small("canonical"));
    assert_eq!((measured.failed, measured.answered()), (REQUESTS, REQUESTS), "{audit}");
    assert_eq!(measured.latency.len() + measured.refusal_latency.len(), 0);
}

#[test]
fn the_same_seed_asks_the_same() {
    for name in Profile::names() {
        let profile = small(name);
        let asked = |seed: u64, connection: u64| {
            let odds = Odds::new(&profile).expect("good weights");
            let mut workload = Workload::new(odds, seed, connection, 5);
            let granted = Outcome::Granted(Charged::default());
            let mut asked = Vec::new();
            while let Some(operation) = workload.opening() {
                workload.learn(operation, &granted);
                asked.push(operation);
            }
            for _ in 0..200 {
                let operation = workload.next();
                workload.learn(operation, &granted);
                asked.push(operation);
            }
            asked
        };
        assert_eq!(asked(1, 2), asked(1, 2), "{name}");
        if name != "hot" {
            assert_ne!(asked(1, 2), asked(2, 2), "{name}");
            assert_ne!(asked(1, 2), asked(1, 3), "{name}");
        }
    }
}
