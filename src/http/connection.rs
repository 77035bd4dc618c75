//! One connection: hyper on a socket, watched so that no client can hold it in silence.
//!
//! hyper's own limit for a head would also end connections that merely wait for their next request,
//! and it arms a timer for each request. Here one timer a connection looks now and then at what the
//! client has done since, and request handling only notes moments.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Limits, Server, answer, call};

/// The most bytes of a request's head; body pieces are at most as long.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where the server is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serves.
    Open,
    /// Finishes what is under way.
    Draining,
    /// Waits for nothing any more.
    Over,
}

/// Serves one connection until either side ends it.
pub(super) async fn run(server: Arc<Server>, stream: TcpStream, mut phase: watch::Receiver<Phase>) {
    let limits = server.limits;
    let progress = Progress::shared(Instant::now());
    let io = Watched { io: TokioIo::new(stream), progress: Arc::clone(&progress) };
    let service = service_fn(|request| {
        lock(&progress).begin();
        let (server, progress) = (Arc::clone(&server), Arc::clone(&progress));
        async move {
            let in_flight = InFlight(progress);
            let mut response = call::answer(&server, request).await;
            answer::under_way(&mut response, in_flight);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service)
    );
    if *phase.borrow_and_update() != Phase::Open {
        return;
    }
    let mut alarm = pin!(sleep_until(Instant::now() + limits.head));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = alarm.as_mut() => {
                let now = Instant::now();
                let Some(next) = lock(&progress).look_again_at(now, &limits) else { return };
                alarm.as_mut().reset(next);
            }
            changed = phase.changed() => match *phase.borrow() {
                Phase::Draining if changed.is_ok() => connection.as_mut().graceful_shutdown(),
                Phase::Open | Phase::Draining | Phase::Over => return,
            },
        }
    }
}

/// What the client of a connection has done when.
#[derive(Debug)]
struct Progress {
    /// Since when the head that is being read has been under way.
    head_since: Option<Instant>,
    /// When an answer was last written.
    idle_since: Instant,
    /// Since when the client has taken nothing of what is to be written.
    blocked_since: Option<Instant>,
    /// Whether a request is being handled: then the broker's limits hold, not these.
    in_flight: bool,
}

/// A request is being handled, until this falls.
struct InFlight(Arc<Mutex<Progress>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0).in_flight = false;
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    // Moments do no harm, even if whoever noted them panicked.
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    fn shared(now: Instant) -> Arc<Mutex<Progress>> {
        // A connection is made to be used: its first head is under way from the beginning.
        Arc::new(Mutex::new(Progress {
            head_since: Some(now),
            idle_since: now,
            blocked_since: None,
            in_flight: false,
        }))
    }

    fn begin(&mut self) {
        (self.head_since, self.in_flight) = (None, true);
    }

    fn was_read(&mut self) {
        if !self.in_flight && self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
    }

    fn was_written(&mut self, poll: &Poll<io::Result<usize>>) {
        if poll.is_pending() {
            self.blocked_since.get_or_insert_with(Instant::now);
        } else {
            self.blocked_since = None;
            self.idle_since = Instant::now();
        }
    }

    /// When patience can end at the earliest; `None` if it has ended.
    fn look_again_at(&self, now: Instant, limits: &Limits) -> Option<Instant> {
        let end = match (self.blocked_since, self.head_since) {
            (Some(blocked), _) => blocked + limits.write,
            (None, _) if self.in_flight => return Some(now + limits.shortest()),
            (None, Some(head)) => head + limits.head,
            (None, None) => self.idle_since + limits.idle,
        };
        // Whatever begins from now on may last at least the shortest limit.
        (end > now).then(|| end.min(now + limits.shortest()))
    }
}

/// A socket that notes when bytes went through it.
struct Watched {
    io: TokioIo<TcpStream>,
    progress: Arc<Mutex<Progress>>,
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_read(context, buffer);
        if poll.is_ready() {
            lock(&self.progress).was_read();
        }
        poll
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(context, bytes);
        lock(&self.progress).was_written(&poll);
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        lock(&self.progress).was_written(&poll);
        poll
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn patience_ends_when_the_limit_of_what_goes_on_is_reached() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let limits = Limits::default();
        let shared = Progress::shared(start);
        let mut progress = lock(&shared);
        // Connected, and nothing sent: 5 s.
        assert_eq!(progress.look_again_at(at(4_999), &limits), Some(at(5_000)));
        assert_eq!(progress.look_again_at(at(5_000), &limits), None);
        // Being handled: as long as it takes.
        progress.begin();
        assert_eq!(progress.look_again_at(at(60_000), &limits), Some(at(65_000)));
        // Answered and idle: 30 s, looked at every 5 s because a head may begin.
        (progress.in_flight, progress.idle_since) = (false, at(60_000));
        assert_eq!(progress.look_again_at(at(61_000), &limits), Some(at(66_000)));
        assert_eq!(progress.look_again_at(at(89_000), &limits), Some(at(90_000)));
        assert_eq!(progress.look_again_at(at(90_000), &limits), None);
        // A head that began and does not end: 5 s.
        progress.head_since = Some(at(70_000));
        assert_eq!(progress.look_again_at(at(75_000), &limits), None);
        // An answer that nobody takes: 10 s.
        (progress.in_flight, progress.blocked_since) = (true, Some(at(70_000)));
        assert_eq!(progress.look_again_at(at(79_999), &limits), Some(at(80_000)));
        assert_eq!(progress.look_again_at(at(80_000), &limits), None);
    }
}
