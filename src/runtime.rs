//! The running server: logs, metrics, signals, the drain and its deadline.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farebox::auth::Verifier;
use farebox::broker::{Broker, Opened, Options};
use farebox::config::{Idempotency, Sessions};
use farebox::domain::time::Timestamp;
use farebox::env::{Clock as _, SystemClock, TestClock};
use farebox::http;
use farebox::journal::SEGMENT_SUFFIX;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cli::{Ending, Serve, say};
use crate::keys;

/// How long a stop waits for the broker once no connection is left.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// Open files that no connection may take: the journal must always be able to begin a segment.
const FILES_RESERVED: u64 = 256;
/// Buckets of every histogram of seconds: an answer takes a tenth of a millisecond upwards.
#[expect(clippy::disallowed_types, reason = "metric")]
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Buckets of the batch sizes, in records.
#[expect(clippy::disallowed_types, reason = "metric")]
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0];

/// Serves until a signal or a failure.
pub(crate) fn serve(arguments: Serve) -> Result<Ending, String> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false) // It would panic where stderr is closed.
        .init();
    let metrics = install_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(run(arguments, metrics))
}

fn install_metrics() -> Result<PrometheusHandle, String> {
    use metrics_exporter_prometheus::Matcher;
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), RECORDS)
        });
    let handle = builder.and_then(PrometheusBuilder::install_recorder);
    farebox::metrics::describe();
    handle.map_err(|error| format!("metrics cannot be recorded: {error}"))
}

async fn run(arguments: Serve, metrics: PrometheusHandle) -> Result<Ending, String> {
    let mut limits = http::Limits::default();
    limits.connections = connections_that_fit(limits.connections)?;
    let mut options = Options::directory(&arguments.data);
    options.settings.idempotency = Idempotency {
        keep: arguments.idempotency_keep,
        keys_max: arguments.idempotency_keys,
        keys_max_per_instance: arguments.idempotency_keys_per_instance()?,
    };
    options.settings.sessions =
        Sessions { max: arguments.sessions, per_instance_max: arguments.sessions_per_instance()? };
    let given = keys::read(&arguments.administration_keys, &arguments.client_keys)?;
    let Serve { listen, data, issuer, test_clock, .. } = arguments;
    let test_clock = test_clock.then(|| test_clock_for(&data));
    if let Some(clock) = &test_clock {
        options.clock = Arc::clone(clock) as _;
    }
    let opened = Broker::open(options).await;
    let Opened { broker, last, replayed, cut } = opened.map_err(|error| error.to_string())?;
    if let Some(tail) = cut {
        tracing::warn!(
            file = tail.file,
            offset = tail.offset,
            bytes = tail.bytes,
            "cut an unfinished write off the journal: it was never acknowledged"
        );
    }
    tracing::info!(%last, replayed, "the journal is read back");
    keys::ensure(&broker, &data, given).await?;
    let verifier = Arc::new(Verifier::new(issuer, Arc::new(SystemClock::new())));
    broker.supply_keys(&verifier).map_err(|error| error.to_string())?;

    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let render = Arc::new(move || metrics.render());
    let server = http::Server::new(broker.clone(), verifier, render, limits);
    let server = Arc::new(match test_clock {
        None => server,
        Some(clock) => server.with_test_clock(clock),
    });
    let mut failure = broker.failure();
    let stop = stop_signal(failure.clone())?;
    let _ = say(&format!("farebox listening on http://{address}")); // Its reader may have gone.
    tracing::info!(%address, "listening");
    if !is_near(address.ip()) {
        tracing::warn!(
            %address,
            "tokens come in clear, and this address may be reached from outside: listen on a \
             loopback or private one, with a proxy that does TLS in front"
        );
    }
    let left = http::serve(listener, server, stop).await;
    if let Some(why) = failure.borrow_and_update().clone() {
        return Err(format!("stopped after a failure: {why}; a restart replays the journal"));
    }
    let closed = tokio::time::timeout(CLOSE_WITHIN, broker.close()).await;
    match closed {
        Ok(Ok(())) if left == 0 => {
            tracing::info!("stopped");
            Ok(Ending::Fine)
        }
        Ok(Ok(())) => Ok(Ending::Wrong(format!("{left} connections did not end within the drain"))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Ok(Ending::Wrong("requests did not end within the drain".to_owned())),
    }
}

/// How many connections there are files for, once the system allows as many files as it will.
fn connections_that_fit(wanted: u32) -> Result<u32, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(files) = (if raised.is_ok() { maximum } else { current }) else {
        return Ok(wanted); // There is no limit.
    };
    let needed = FILES_RESERVED + u64::from(wanted);
    let left = files.saturating_sub(FILES_RESERVED).min(u64::from(wanted));
    if left == 0 {
        return Err(format!(
            "this process may open {files} files, too few for a journal and one connection: raise \
             the hard limit (`ulimit -Hn`, `LimitNOFILE=`), to {needed} if you can"
        ));
    }
    if files < needed {
        tracing::warn!(
            files,
            connections = left,
            "there are files for fewer connections than {wanted}, and {FILES_RESERVED} are kept \
             for the journal: raise the hard limit of open files to {needed}"
        );
    }
    Ok(u32::try_from(left).unwrap_or(wanted))
}

/// Whether only this machine or a private network reaches an address.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// A new directory starts now, any other where it has got to.
fn test_clock_for(data: &Path) -> Arc<TestClock> {
    let mut files = std::fs::read_dir(data.join("journal")).into_iter().flatten().flatten();
    let is_new = !files.any(|file| file.file_name().to_string_lossy().ends_with(SEGMENT_SUFFIX));
    let start = if is_new { SystemClock::new().system() } else { Timestamp::default() };
    Arc::new(TestClock::new(start))
}

/// Ends with SIGTERM, SIGINT or the failure of the broker.
fn stop_signal(
    mut failure: watch::Receiver<Option<String>>,
) -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be heard: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            biased;
            failed = failure.wait_for(Option::is_some) => {
                if let Ok(why) = failed {
                    tracing::error!(why = why.as_deref(), "the broker has failed: stopping");
                }
            }
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_no_stranger_reaches() {
        for (address, near) in [
            ("127.0.0.1", true),
            ("127.8.0.1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("192.168.1.1", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("172.32.0.1", false),
            ("203.0.113.7", false),
            ("2001:db8::1", false),
            ("::ffff:203.0.113.7", false),
        ] {
            assert_eq!(is_near(address.parse().expect("an address")), near, "{address}");
        }
    }
}
