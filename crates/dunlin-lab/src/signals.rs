//! Ctrl-C and SIGTERM: noted, so that the lab is taken down in order.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use rustix::event::{EventfdFlags, eventfd};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static EVENT: OnceLock<OwnedFd> = OnceLock::new();

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    if let Some(fd) = EVENT.get() {
        let one = 1u64.to_ne_bytes();
        // SAFETY: write is async-signal-safe, the buffer is 8 bytes long and lives through the call.
        unsafe {
            libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len());
        }
    }
}

/// From now on Ctrl-C, SIGTERM and SIGHUP no longer end the process at once; [`check`] tells.
///
/// # Errors
/// If the kernel refuses an eventfd.
pub fn catch() -> Result<()> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .context("cannot create an eventfd")?;
    if EVENT.set(fd).is_err() {
        return Ok(());
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler: extern "C" fn(libc::c_int) = note;
        // SAFETY: the handler does nothing but an atomic store and one write.
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
    Ok(())
}

/// From now on Ctrl-C does nothing to this process: another in its group acts on it.
pub fn ignore_interrupts() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
}

/// Readable once the process was asked to end. `None` if [`catch`] was not called.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    EVENT.get().map(AsFd::as_fd)
}

/// # Errors
/// If the process was asked to end.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// The next interrupt counts anew: taking down must not itself be stopped by the first.
pub fn clear() {
    INTERRUPTED.store(false, Ordering::Relaxed);
    if let Some(fd) = EVENT.get() {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(fd, &mut count);
    }
}

/// Waits until the process is asked to end.
///
/// # Errors
/// If [`catch`] was not called.
pub fn wait() -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let fd = descriptor().context("nothing catches signals")?;
    while !INTERRUPTED.load(Ordering::Relaxed) {
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait"),
        }
    }
    Ok(())
}
