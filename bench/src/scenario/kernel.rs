//! Kernel: routes from one BGP sender through a daemon into the kernel's table, beside `ip -batch`
//! adding the same routes; then the sender closes and they must all be gone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Options;
use crate::daemon::{Daemon, Router};
use crate::fleet::{Fleet, Identity};
use crate::interrupt;
use crate::netns::{Bed, DAEMON_LINK, driver_address};
use crate::process::{Processes, Scratch};
use crate::report::{Column, Report};
use crate::wire;

const PER_SET: u32 = 10;
/// The least time between two looks at the kernel's count. A look walks the whole table, so they
/// are also kept to a tenth of the time.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const COLUMNS: &[Column] = &[
    Column::new("wall", "s"),
    Column::new("CPU", "s"),
    Column::new("peak", "MB"),
    Column::new("removal", "s"),
];

/// One report for each number of routes.
pub(crate) fn run(options: &Options, sizes: &[u32], mut show: impl FnMut(Report)) -> Result<()> {
    for &routes in sizes {
        let title = format!("kernel: {routes} routes into the table");
        let mut report = Report::new(title, COLUMNS, "Dunlin");
        for _ in 0..options.runs {
            for daemon in options
                .daemons
                .iter()
                .filter(|daemon| daemon.kind.installs_routes())
            {
                if report.has_note(&daemon.name) {
                    continue;
                }
                match measure(routes, daemon, options) {
                    Ok(values) => report.add(&daemon.name, values),
                    Err(error) if interrupt::asked() => return Err(error),
                    Err(error) => report.note(&daemon.name, format!("failed: {error:#}")),
                }
            }
            report.add("ip -batch", ip_batch(routes)?);
        }
        show(report);
    }
    Ok(())
}

fn ip_batch(routes: u32) -> Result<Vec<f64>> {
    let bed = Bed::new(1)?;
    let lines = |verb: &str| {
        (0..routes).fold(String::new(), |mut lines, index| {
            let network = wire::network(index);
            let via = driver_address(0);
            let _ = writeln!(
                lines,
                "route {verb} {network}/24 via {via} dev {DAEMON_LINK}"
            );
            lines
        })
    };
    let timed = |lines: &str| {
        let started = Instant::now();
        bed.daemon
            .ip_batch(lines)
            .map(|()| started.elapsed().as_secs_f64())
    };
    Ok(vec![
        timed(&lines("add"))?,
        f64::NAN,
        f64::NAN,
        timed(&lines("del"))?,
    ])
}

fn measure(routes: u32, daemon: &Daemon, options: &Options) -> Result<Vec<f64>> {
    let sender = Identity {
        address: driver_address(0),
        asn: 65_101,
    };
    let bed = Bed::new(1)?;
    let scratch = Scratch::new()?;
    let router = Router {
        peers: vec![sender],
        install: true,
    };
    let mut processes = daemon.start(&router, &bed.daemon, &scratch)?;
    let outcome = bed
        .driver
        .run(|| drive(routes, sender, &processes, options))?;
    outcome.or_else(|error| {
        processes.check_alive()?;
        Err(error.context(processes.logs()))
    })
}

fn drive(
    routes: u32,
    sender: Identity,
    processes: &Processes,
    options: &Options,
) -> Result<Vec<f64>> {
    let mut out = Vec::new();
    for first in (0..routes).step_by(PER_SET as usize) {
        let set = first..routes.min(first + PER_SET);
        wire::put_update(&mut out, sender.asn, sender.address, first / PER_SET, set);
    }
    wire::put_end_of_rib(&mut out);
    let deadline = || Instant::now() + options.patience;
    let pid = processes.first_pid()?;

    let mut fleet = Fleet::new([(sender, None)])?;
    fleet.establish(deadline())?;
    let before = (processes.usage()?, routes_in_kernel(pid)?);
    let started = Instant::now();
    fleet.send(0, Arc::from(out));
    let mut looks = Looks::new(pid);
    let installed = fleet.run_until(deadline(), "all routes to be in the kernel", |_| {
        looks.count() >= before.1 + routes
    });
    let installed = installed
        .with_context(|| format!("{} of {routes} are", looks.last.saturating_sub(before.1)))?;
    let after = processes.usage()?;

    let closing = Instant::now();
    fleet.close(0);
    let removed = fleet.run_until(deadline(), "all routes to leave the kernel", |_| {
        looks.count() <= before.1
    });
    let removed = removed
        .with_context(|| format!("{} are still there", looks.last.saturating_sub(before.1)))?;
    Ok(vec![
        (installed - started).as_secs_f64(),
        after.cpu_secs - before.0.cpu_secs,
        processes.usage()?.peak_mb,
        (removed - closing).as_secs_f64(),
    ])
}

/// Looks at the kernel's count now and then.
struct Looks {
    pid: u32,
    next: Instant,
    last: u32,
}

impl Looks {
    fn new(pid: u32) -> Self {
        Self {
            pid,
            next: Instant::now(),
            last: 0,
        }
    }

    /// The count at the last look. If the process is gone, the count stays and the wait runs out.
    fn count(&mut self) -> u32 {
        let now = Instant::now();
        if now >= self.next {
            self.last = routes_in_kernel(self.pid).unwrap_or(self.last);
            self.next = now + LOOK_EVERY.max(now.elapsed() * 10);
        }
        self.last
    }
}

/// IPv4 routes, all tables, in the network namespace of a process.
fn routes_in_kernel(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/net/fib_triestat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let counts = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Prefixes:"));
    Ok(counts
        .filter_map(|count| count.trim().parse::<u32>().ok())
        .sum())
}
