//! Whether time tells a stranger's object from one that does not exist: a server in this process,
//! a client of one instance, and pairs of calls on the two kinds in a random order. The two samples
//! of each call are held against each other by Mann and Whitney's test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use farebox::auth::{Principal, Role, TokenRequest, Verifier, generate_key_pair, sign};
use farebox::broker::{Broker, Options};
use farebox::domain::ids::InstanceId;
use farebox::domain::keys::{KeyClass, NewKey};
use farebox::env::{Clock, IdSource, SystemClock, SystemIds};
use farebox::http::{Limits, Server, serve};
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant};

use crate::Anything;

/// Below this the two kinds are told apart.
const SIGNIFICANT: f64 = 0.001;
/// Pairs that nobody counts, at the beginning of each call.
const WARM_UP: usize = 500;
const KEY_ID: &str = "client";

const ONE_OFF: &str = r#"{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#;
const OF_SESSION: &str = r#"{"rollbackOnDeny":true,"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]}"#;

/// Pairs of calls on what is foreign and on what is unknown, held against each other.
#[derive(Args)]
pub struct Timing {
    /// Pairs of each call.
    #[arg(long, default_value = "10000")]
    pairs: NonZero<usize>,
    /// Foreign instances, and foreign sessions: each is asked for in turn, and as many unknown ones.
    #[arg(long, default_value = "100")]
    objects: NonZero<usize>,
    /// Repeats the order of the pairs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A call that names an object.
struct Case {
    name: &'static str,
    /// `{}` stands for the object.
    target: &'static str,
    body: &'static str,
    /// Whether the object is a session, and the caller names its own instance in a header.
    of_session: bool,
    status: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        name: "line items of an instance",
        target: "GET /api/v1.1/instances/{}/line-items",
        body: "",
        of_session: false,
        status: "403",
    },
    Case {
        name: "access request in an instance",
        target: "POST /api/v1.1/instances/{}/access-request",
        body: ONE_OFF,
        of_session: false,
        status: "403",
    },
    Case {
        name: "a session",
        target: "GET /api/v1.1/sessions/{}",
        body: "",
        of_session: true,
        status: "404",
    },
    Case {
        name: "access request of a session",
        target: "PUT /api/v1.1/sessions/{}",
        body: OF_SESSION,
        of_session: true,
        status: "404",
    },
    Case {
        name: "heartbeat of a session",
        target: "POST /api/v1.1/sessions/{}/heartbeat",
        body: "",
        of_session: true,
        status: "404",
    },
    Case {
        name: "close of a session",
        target: "DELETE /api/v1.1/sessions/{}",
        body: "",
        of_session: true,
        status: "404",
    },
];

/// A server, and a caller who may touch one instance of it.
struct World {
    address: SocketAddr,
    token: String,
    own: String,
    foreign_instances: Vec<String>,
    foreign_sessions: Vec<String>,
}

impl Timing {
    /// Says of every call whether its answers are told apart: exit status 1 if any are.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub fn run(self) -> Result<ExitCode, Anything> {
        measure(self)
    }
}

fn measure(Timing { pairs, objects, seed }: Timing) -> Result<ExitCode, Anything> {
    let (pairs, objects) = (pairs.get(), objects.get());
    let home = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let world = runtime.block_on(World::new(Options::directory(home.path()), objects))?;
    let ids = SystemIds;
    let unknown: Vec<String> =
        (0..objects).map(|_| InstanceId::from_u128(ids.fresh()).to_string()).collect();
    let (mut client, mut dice) = (Client::connect(world.address)?, Dice(seed));
    let mut told_apart = 0;
    println!("{pairs} pairs of each call, seed {seed}; told apart if p < {SIGNIFICANT}");
    println!("{:<30} {:>12} {:>12} {:>10}  verdict", "", "foreign us", "unknown us", "p");
    for case in &CASES {
        let foreign =
            if case.of_session { &world.foreign_sessions } else { &world.foreign_instances };
        let of = |objects: &[String]| -> Vec<String> {
            objects.iter().map(|object| world.request(case, object)).collect()
        };
        let kinds = [of(foreign), of(&unknown)];
        let mut samples = [Vec::with_capacity(pairs), Vec::with_capacity(pairs)];
        for number in 0..WARM_UP + pairs {
            let first = dice.coin();
            for kind in [first, 1 - first] {
                let object = dice.below(objects);
                let (Some(requests), Some(sample)) = (kinds.get(kind), samples.get_mut(kind))
                else {
                    return Err("there are two kinds".into());
                };
                let request = requests.get(object).ok_or("there is one for each object")?;
                let nanoseconds = client.time(request, case.status)?;
                if number >= WARM_UP {
                    sample.push(nanoseconds);
                }
            }
        }
        let [foreign, unknown] = &mut samples;
        let p = p_value(foreign, unknown);
        let verdict = if p < SIGNIFICANT { "TOLD APART" } else { "alike" };
        told_apart += usize::from(p < SIGNIFICANT);
        let (foreign, unknown) = (median_us(foreign), median_us(unknown));
        println!("{:<30} {foreign:>12.2} {unknown:>12.2} {p:>10.2e}  {verdict}", case.name);
    }
    runtime.shutdown_background();
    Ok(if told_apart == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl World {
    async fn new(options: Options, objects: usize) -> Result<World, Anything> {
        let broker = Broker::open(options).await?.broker;
        let pair = generate_key_pair()?;
        let pem = pair.public_pem.clone();
        let key = NewKey { id: KEY_ID.parse()?, class: KeyClass::Client, pem };
        broker.register_keys(vec![key]).await?;
        let instance = async || -> Result<InstanceId, Anything> {
            Ok(broker.create_instance("timing".parse()?, "ACME".parse()?).await?.value.id)
        };
        let own = instance().await?.to_string();
        let (mut foreign_instances, mut foreign_sessions) = (Vec::new(), Vec::new());
        for _ in 0..objects {
            let foreign = instance().await?;
            let scope = Principal::administration().scope(foreign)?;
            foreign_instances.push(foreign.to_string());
            foreign_sessions.push(broker.create_session(scope).await?.value.to_string());
        }
        let clock = Arc::new(SystemClock::new());
        let request = TokenRequest {
            role: Role::Client,
            instances: vec![own.clone()],
            expires_in: Duration::from_secs(86_400),
            issuer: "farebox".to_owned(),
            now: clock.system(),
            key_id: KEY_ID.to_owned(),
        };
        let token = sign(&pair.private_pem, &request)?;
        let verifier = Arc::new(Verifier::new(None, clock));
        broker.supply_keys(&verifier)?;
        let server = Server::new(broker, verifier, Arc::new(String::new), Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, Arc::new(server), std::future::pending()));
        Ok(World { address, token, own, foreign_instances, foreign_sessions })
    }

    /// The bytes that ask for this object.
    fn request(&self, case: &Case, object: &str) -> String {
        let Case { target, body, of_session, .. } = case;
        let target = target.replace("{}", object);
        let own =
            if *of_session { format!("x-instance-id: {}\r\n", self.own) } else { String::new() };
        let (token, length) = (&self.token, body.len());
        format!(
            "{target} HTTP/1.1\r\nhost: farebox\r\nauthorization: Bearer {token}\r\n{own}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

/// One connection, on which calls are made one after the other.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Client, Anything> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, received: vec![0; 64 * 1024] })
    }

    /// How long the answer takes, which must have this status, in nanoseconds.
    fn time(&mut self, request: &str, status: &str) -> Result<u128, Anything> {
        let begun = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let room = self.received.get_mut(length..).unwrap_or_default();
            let more = self.stream.read(room)?;
            let taken = begun.elapsed().as_nanos();
            if more == 0 {
                return Err("the server hung up in the middle of an answer".into());
            }
            length += more;
            let answer = std::str::from_utf8(self.received.get(..length).unwrap_or_default())?;
            if is_whole(answer) {
                let said = answer.split(' ').nth(1);
                let as_expected = said == Some(status);
                return as_expected.then_some(taken).ok_or_else(|| answer.to_owned().into());
            }
        }
    }
}

/// Whether everything of an answer has come.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    length.is_none_or(|length: usize| body.len() >= length)
}

/// Numbers that a seed repeats (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).unwrap_or_default()
    }

    fn coin(&mut self) -> usize {
        self.below(2)
    }
}

fn median_us(sample: &mut [u128]) -> f64 {
    sample.sort_unstable();
    sample.get(sample.len() / 2).map_or(0.0, |median| *median as f64 / 1_000.0)
}

/// How likely two samples of one kind differ in their ranks by this much or more (Mann and Whitney,
/// two-sided, by the normal approximation, ties counted).
fn p_value(one: &[u128], other: &[u128]) -> f64 {
    let mut all: Vec<(u128, bool)> = one.iter().map(|value| (*value, true)).collect();
    all.extend(other.iter().map(|value| (*value, false)));
    all.sort_unstable();
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for equals in all.chunk_by(|(a, _), (b, _)| a == b) {
        let many = equals.len() as f64;
        let of_one = equals.iter().filter(|(_, is_of_one)| *is_of_one).count() as f64;
        rank_sum += of_one * (before + (many + 1.0) / 2.0);
        ties += many * many * many - many;
        before += many;
    }
    let (n, m) = (one.len() as f64, other.len() as f64);
    let larger = rank_sum - n * (n + 1.0) / 2.0;
    let variance = n * m / 12.0 * ((n + m + 1.0) - ties / ((n + m) * (n + m - 1.0)));
    if variance <= 0.0 {
        return 1.0; // All are equal.
    }
    let deviations = (larger - n * m / 2.0).abs() / variance.sqrt();
    beyond(deviations / std::f64::consts::SQRT_2)
}

/// The complementary error function of what is not negative, to a ten-millionth of its value
/// (Press and others, Numerical Recipes, 6.2).
fn beyond(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let t = 1.0 / (1.0 + x / 2.0);
    let polynomial = COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * t + coefficient);
    t * (polynomial - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_knows_the_textbook() {
        // From the help of R's `wilcox.test`: W = 35, here without its correction for continuity.
        let one = [80, 83, 189, 104, 145, 138, 191, 164, 73, 146];
        let other = [115, 88, 90, 74, 121];
        assert!((p_value(&one, &other) - 0.220_671).abs() < 0.000_01, "{}", p_value(&one, &other));
        assert!((beyond(0.0) - 1.0).abs() < 1e-6);
        assert!((beyond(2.326_753_8) / 0.001 - 1.0).abs() < 0.001, "{}", beyond(2.326_753_8));
    }

    #[test]
    fn a_shift_by_a_twentieth_of_the_spread_is_found_and_none_is_not() {
        let mut dice = Dice(1);
        let mut sample = |shift: u128| -> Vec<u128> {
            (0..10_000).map(|_| u128::from(dice.next() % 1_000) + shift).collect()
        };
        let (one, alike, shifted) = (sample(0), sample(0), sample(50));
        assert!(p_value(&one, &alike) > SIGNIFICANT, "{}", p_value(&one, &alike));
        assert!(p_value(&one, &shifted) < SIGNIFICANT, "{}", p_value(&one, &shifted));
        assert!((p_value(&one, &one) - 1.0).abs() < 1e-6);
        assert!((p_value(&[7, 7], &[7, 7]) - 1.0).abs() < 1e-6);
    }
}
