//! Ctrl-C and the ends of waiting: every wait in this program has a deadline and looks here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Turns SIGINT and SIGTERM into an orderly end: guards run, daemons are ended.
pub(crate) fn install() {
    let handler = on_signal as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// An error if the user asked to stop or the deadline has passed; `what` names what was awaited.
pub(crate) fn check(deadline: Instant, what: &str) -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    if Instant::now() >= deadline {
        bail!("gave up waiting for {what}");
    }
    Ok(())
}

/// Whether the user asked to stop.
pub(crate) fn asked() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Sleeps, unless the user asks to stop.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        check(end + time, "a pause to end")?;
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
    Ok(())
}

/// Waits until `done` holds, asking every `every`.
pub(crate) fn wait_for(
    deadline: Instant,
    every: Duration,
    what: &str,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<Instant> {
    loop {
        if done()? {
            return Ok(Instant::now());
        }
        check(deadline, what)?;
        std::thread::sleep(every);
    }
}
