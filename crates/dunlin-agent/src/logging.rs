//! Structured logs on standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging, and sends panics there too.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("--log {filter:?} is no filter: try `info` or `info,dunlin_speaker=debug`")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        // A log that cannot be written (its reader died, the disk is full) is lost: told on the same standard error, that
        // would be a panic in the middle of anything.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            thread = std::thread::current().name().unwrap_or("?"),
            "panicked: {panic}"
        );
    }));
    Ok(())
}

/// Standard error as long as somebody takes what is written there. While nobody does, lines are lost and counted: a reader
/// that hangs must not hold a thread up, for every thread logs.
struct Stderr;

/// Lines lost since that was last told.
static LOST: AtomicU64 = AtomicU64::new(0);

/// What a pipe that is ready takes at once without waiting (`PIPE_BUF`), octets.
const AT_ONCE: usize = 4096;

impl Write for Stderr {
    /// Takes a whole line, or loses what is left of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // No other thread may fill the pipe between asking and writing.
        let mut stderr = io::stderr().lock();
        if LOST.load(Ordering::Relaxed) > 0 && is_ready(&stderr) {
            let lost = LOST.swap(0, Ordering::Relaxed);
            writeln!(
                stderr,
                "{lost} lines of this log were lost: nobody took them"
            )?;
        }
        for part in line.chunks(AT_ONCE) {
            if !is_ready(&stderr) {
                LOST.fetch_add(1, Ordering::Relaxed);
                break;
            }
            stderr.write_all(part)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a write would not wait. What cannot be asked is taken for ready.
fn is_ready(stderr: &io::StderrLock<'_>) -> bool {
    let mut asked = [PollFd::new(stderr, PollFlags::OUT)];
    !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0))
}
