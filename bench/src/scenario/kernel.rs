//! Kernel: routes from one BGP sender through a daemon into the kernel's table, beside `ip -batch`
//! adding the same routes; then the sender closes and they must all be gone. And routes that move
//! to another next hop when the first one's session ends.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::{Options, on_bed};
use crate::bare;
use crate::daemon::{Kind, Router};
use crate::fleet::{Fleet, Identity};
use crate::netns::{Bed, DAEMON_LINK, driver_address};
use crate::process::Processes;
use crate::report::{Bar, Column, Report};
use crate::wire::{self, Announcer};

const PER_SET: u32 = 10;
/// Prefixes that lose their next hop.
const MOVING: u32 = 10_000;
/// The writer of the same routes that does nothing else.
const BARE: &str = "bare netlink";
/// Until nothing is held back any more.
const SETTLE: Duration = Duration::from_secs(2);
/// The least time between two looks at the kernel's count. A look walks the whole table, so they
/// are also kept to a tenth of the time.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const COLUMNS: &[Column] = &[
    Column::new("wall", "s"),
    Column::new("CPU", "s"),
    Column::new("peak", "MB"),
    Column::new("removal", "s"),
];

const MOVE_COLUMNS: &[Column] = &[Column::new("moved", "s"), Column::new("CPU", "s")];

/// One report for each number of routes, and one for routes that change their next hop.
pub(crate) fn run(options: &Options, sizes: &[u32], mut show: impl FnMut(Report)) -> Result<()> {
    for &routes in sizes {
        let title = format!("kernel: {routes} routes into the table");
        let mut report = Report::new(title, COLUMNS, "Dunlin");
        report.require("wall", Bar::Of(1.15, BARE));
        for _ in 0..options.runs {
            options.take_turns(&mut report, skip, |daemon| {
                let router = router(1);
                on_bed(daemon, &router, |processes| {
                    install(routes, router.peers[0], processes, options)
                })
            })?;
            report.add("ip -batch", ip_batch(routes)?);
            let [added, removed] = bare::write(&Bed::new(1)?.daemon, routes)?;
            let [added, removed] = [added, removed].map(|time| time.as_secs_f64());
            report.add(BARE, vec![added, f64::NAN, f64::NAN, removed]);
        }
        show(report);
    }
    let title = format!("kernel: {MOVING} prefixes move from a dead next hop to a live one");
    let mut report = Report::new(title, MOVE_COLUMNS, "Dunlin");
    for _ in 0..options.runs {
        options.take_turns(&mut report, skip, |daemon| {
            let router = router(2);
            on_bed(daemon, &router, |processes| {
                change_next_hop(&router.peers, processes, options)
            })
        })?;
    }
    show(report);
    Ok(())
}

fn skip(kind: Kind) -> Option<&'static str> {
    (!kind.installs_routes()).then_some("not asked: it installs no routes by itself")
}

fn router(senders: u32) -> Router {
    let identity = |n| Identity {
        address: driver_address(n),
        asn: 65_101 + n,
    };
    Router {
        peers: (0..senders).map(identity).collect(),
        install: true,
    }
}

fn encode(routes: u32, announcer: Announcer) -> Arc<[u8]> {
    let mut out = Vec::new();
    for first in (0..routes).step_by(PER_SET as usize) {
        let set = first..routes.min(first + PER_SET);
        wire::put_update(&mut out, announcer, first / PER_SET, set);
    }
    wire::put_end_of_rib(&mut out);
    out.into()
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

fn install(
    routes: u32,
    sender: Identity,
    processes: &Processes,
    options: &Options,
) -> Result<Vec<f64>> {
    let encoded = encode(routes, sender.announcer());
    let pid = processes.first_pid()?;
    let mut fleet = Fleet::new([(sender, None)])?;
    fleet.establish(options.deadline())?;
    let (before, others) = (processes.usage()?, routes_in_kernel(pid)?);
    let mut looks = Looks::new(|| routes_in_kernel(pid));
    let started = Instant::now();
    fleet.send(0, encoded);
    let installed = looks.wait(&mut fleet, options, |count| count >= others + routes)?;
    let after = processes.usage()?;

    let closing = Instant::now();
    fleet.close(0);
    let removed = looks.wait(&mut fleet, options, |count| count <= others)?;
    Ok(vec![
        (installed - started).as_secs_f64(),
        after.cpu_secs - before.cpu_secs,
        processes.usage()?.peak_mb,
        (removed - closing).as_secs_f64(),
    ])
}

/// Two senders announce the same prefixes; the preferred one's session ends.
fn change_next_hop(
    senders: &[Identity],
    processes: &Processes,
    options: &Options,
) -> Result<Vec<f64>> {
    let [first, second] = senders else {
        bail!("two senders are needed")
    };
    let backup = Announcer {
        second_choice: true,
        ..second.announcer()
    };
    let pid = processes.first_pid()?;
    let mut fleet = Fleet::new([(*first, None), (*second, None)])?;
    fleet.establish(options.deadline())?;
    fleet.send(0, encode(MOVING, first.announcer()));
    fleet.send(1, encode(MOVING, backup));
    let mut looks = Looks::new(|| routes_by_way_of(pid, first.address));
    looks.wait(&mut fleet, options, |count| count == MOVING)?;
    fleet.idle(SETTLE)?;

    let before = processes.usage()?;
    let closing = Instant::now();
    fleet.close(0);
    let mut looks = Looks::new(|| routes_by_way_of(pid, second.address));
    let moved = looks.wait(&mut fleet, options, |count| count == MOVING)?;
    Ok(vec![
        (moved - closing).as_secs_f64(),
        processes.usage()?.cpu_secs - before.cpu_secs,
    ])
}

/// Looks at the kernel now and then while the sessions run.
struct Looks<F> {
    look: F,
    next: Instant,
    last: Result<u32>,
}

impl<F: FnMut() -> Result<u32>> Looks<F> {
    fn new(look: F) -> Self {
        Self {
            look,
            next: Instant::now(),
            last: Ok(0),
        }
    }

    /// When the count was first seen to be as wanted.
    fn wait(
        &mut self,
        fleet: &mut Fleet,
        options: &Options,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<Instant> {
        let what = "the kernel's table to be as the routes say";
        self.next = Instant::now();
        let waited = fleet.run_until(options.deadline(), what, |_| {
            let now = Instant::now();
            if now >= self.next {
                self.last = (self.look)();
                self.next = now + LOOK_EVERY.max(now.elapsed() * 10);
            }
            self.last.as_ref().map_or(true, |count| wanted(*count))
        });
        let count = *self.last.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        waited.with_context(|| format!("at the last look there were {count}"))
    }
}

/// IPv4 routes, all tables, in the network namespace of a process.
pub(super) fn routes_in_kernel(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/net/fib_triestat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let counts = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Prefixes:"));
    Ok(counts
        .filter_map(|count| count.trim().parse::<u32>().ok())
        .sum())
}

/// IPv4 routes with this gateway, in the main table.
fn routes_by_way_of(pid: u32, gateway: Ipv4Addr) -> Result<u32> {
    let path = format!("/proc/{pid}/net/route");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The kernel prints the address in the machine's byte order.
    let gateway = format!("{:08X}", u32::from_ne_bytes(gateway.octets()));
    let learned = text
        .lines()
        .filter(|line| line.split_whitespace().nth(2) == Some(&gateway))
        .filter(|line| line.split_whitespace().nth(1) != Some("00000000"));
    Ok(u32::try_from(learned.count())?)
}
