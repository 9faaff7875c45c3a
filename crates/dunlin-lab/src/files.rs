//! Waits for files to appear.

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// Waits until `found` finds what it looks for; asks it again whenever something in `directory` changes.
///
/// # Errors
/// If the deadline comes first, or the program was asked to end.
pub fn wait_for<T>(
    directory: &Path,
    what: &str,
    deadline: Instant,
    mut found: impl FnMut() -> Option<T>,
) -> Result<T> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .context("cannot watch files")?;
    let events = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&watch, directory, events)
        .with_context(|| format!("cannot watch {}", directory.display()))?;
    loop {
        crate::signals::check()?;
        if let Some(value) = found() {
            return Ok(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("{what} did not appear in {} in time", directory.display());
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut polled = vec![PollFd::new(&watch, PollFlags::IN)];
        if let Some(fd) = crate::signals::descriptor() {
            polled.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for files"),
        }
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        while rustix::io::read(&watch, &mut buffer).is_ok_and(|(read, _)| !read.is_empty()) {}
    }
}
