//! Waits to within microseconds, where the runtime's own timer has steps of a millisecond.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the kernel's.
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// One that belongs to the runtime it is made in.
    ///
    /// # Errors
    /// If the kernel has none.
    #[expect(deprecated, reason = "unsound for what does not own its descriptor; this does")]
    pub fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Alarm(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Waits until then; not at all if that was earlier.
    ///
    /// # Errors
    /// If the kernel fails.
    pub async fn wait_until(&self, due: Instant) -> io::Result<()> {
        let ahead = due.saturating_duration_since(Instant::now());
        if ahead.is_zero() {
            return Ok(());
        }
        let tv_sec = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
        let it_value = Timespec { tv_sec, tv_nsec: ahead.subsec_nanos().into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 }; // Once.
        let timer = Itimerspec { it_interval, it_value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &timer)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut rings = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut rings)?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }
}
