//! What the process uses, from `/proc/self`.

use std::time::Duration;

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) threads: u64,
    pub(crate) open_files: u64,
}

/// Reads it; what cannot be read is zero.
pub(crate) fn usage() -> Usage {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second();
    let mut usage = parse(
        &read("/proc/self/statm"),
        &read("/proc/self/stat"),
        page,
        ticks,
    );
    // The directory handle that does the counting is one of them.
    usage.open_files =
        std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count().saturating_sub(1) as u64);
    usage
}

fn parse(statm: &str, stat: &str, page_bytes: u64, ticks_per_second: u64) -> Usage {
    // proc_pid_stat(5): the command, in parentheses, may hold anything; fields are counted from behind it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |number: usize| -> u64 {
        after
            .split_ascii_whitespace()
            .nth(number - 3)
            .and_then(|f| f.parse().ok())
            .unwrap_or(0)
    };
    let pages: u64 = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|f| f.parse().ok())
        .unwrap_or(0);
    let ticks = field(14).saturating_add(field(15));
    Usage {
        resident_bytes: pages.saturating_mul(page_bytes),
        cpu: Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1)),
        threads: field(20),
        open_files: 0,
    }
}

#[cfg(test)]
mod tests;
