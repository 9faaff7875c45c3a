//! Convergence: a node with two uplinks, to a router each, and packets to what both announce. One path dies; how long is it
//! from the last packet by the dead path to the first by the other?
//!
//! The node sends a packet a millisecond to each of some destinations, spread over the prefixes, with the time of sending in
//! it; the routers' side notes which arrived where. So the figure depends on no clock but the sender's, and not on when the
//! receivers were scheduled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::kernel::routes_in_kernel;
use crate::daemon::{Daemon, Kind};
use crate::interrupt;
use crate::netns::Netns;
use crate::process::{Processes, Scratch};
use crate::report::{Bar, Column, Report};
use crate::wire;

mod config;

use config::{FIRST, SECOND};

/// Destinations, a packet to each in every [`TICK`].
const TARGETS: u32 = 20;
const TICK: Duration = Duration::from_millis(1);
const PORT: u16 = 7777;
/// From the routes in the kernel until the cut: BFD comes up, and what is held back is told.
const SETTLE: Duration = Duration::from_secs(4);
/// After the cut packets are sent for so long at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// Packets on their way when sending ends.
const LATE: Duration = Duration::from_millis(300);

const COLUMNS: &[Column] = &[Column::new("median", "ms"), Column::new("worst", "ms")];

/// How the two paths stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    /// Both carry traffic.
    Equal,
    /// The second's AS path is longer.
    Backup,
}

/// What happens to the first path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The router drops all it gets and sends nothing; the link stays up.
    Silent,
    /// The link loses its carrier.
    Carrier,
}

/// What is done, in words, how, to how many prefixes.
const CASES: &[(&str, Paths, Death, u32)] = &[
    (
        "backup, silent, 10 prefixes",
        Paths::Backup,
        Death::Silent,
        10,
    ),
    (
        "backup, silent, 10,000 prefixes",
        Paths::Backup,
        Death::Silent,
        10_000,
    ),
    ("ECMP, silent, 10 prefixes", Paths::Equal, Death::Silent, 10),
    (
        "ECMP, silent, 10,000 prefixes",
        Paths::Equal,
        Death::Silent,
        10_000,
    ),
    (
        "backup, carrier lost, 10,000 prefixes",
        Paths::Backup,
        Death::Carrier,
        10_000,
    ),
    (
        "ECMP, carrier lost, 10,000 prefixes",
        Paths::Equal,
        Death::Carrier,
        10_000,
    ),
];

/// One report for each case.
pub(crate) fn run(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    for &(name, paths, death, prefixes) in CASES {
        let title = format!("convergence: {name}, BFD 50 ms × 3");
        let mut report = Report::new(title, COLUMNS, "Dunlin");
        report.require("worst", Bar::Below(200.0));
        let skip = |kind: Kind| (!kind.installs_routes()).then_some("has no BFD of its own");
        for _ in 0..options.runs {
            options.take_turns(&mut report, skip, |daemon| {
                measure(daemon, paths, death, prefixes, options)
            })?;
        }
        show(report);
    }
    Ok(())
}

/// The node and its two routers.
struct Bed {
    node: Netns,
    routers: [Netns; 2],
}

impl Bed {
    fn new() -> Result<Bed> {
        let bed = Bed {
            node: Netns::new()?,
            routers: [Netns::new()?, Netns::new()?],
        };
        for (router, uplink) in bed.routers.iter().zip([FIRST, SECOND]) {
            bed.node.ip(&format!(
                "link add {} type veth peer name inner netns /proc/{}/fd/{}",
                uplink.link,
                std::process::id(),
                router.fd()
            ))?;
            bed.node.ip_batch(&format!(
                "addr add {}/24 dev {link}\nlink set {link} up\n",
                uplink.node,
                link = uplink.link
            ))?;
            // Every destination is the router itself.
            router.ip_batch(&format!(
                "addr add {}/24 dev inner\nlink set inner up\nroute add local default dev lo table main\n",
                uplink.router
            ))?;
        }
        Ok(bed)
    }

    fn kill_first(&self, death: Death) -> Result<()> {
        if death == Death::Carrier {
            return self.routers[0].ip("link set inner down");
        }
        let rules = "table inet cut {\n\
             chain in { type filter hook prerouting priority -500; policy drop; }\n\
             chain out { type filter hook output priority -500; policy drop; }\n}\n";
        let mut nft = self.routers[0]
            .command("nft")
            .args(["-f", "-"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .context("cannot run nft")?;
        let mut stdin = nft.stdin.take().context("nft's input")?;
        std::io::Write::write_all(&mut stdin, rules.as_bytes())?;
        drop(stdin);
        ensure!(nft.wait()?.success(), "nft failed");
        Ok(())
    }
}

fn measure(
    daemon: &Daemon,
    paths: Paths,
    death: Death,
    prefixes: u32,
    options: &Options,
) -> Result<Vec<f64>> {
    let bed = Bed::new()?;
    let scratches = [Scratch::new()?, Scratch::new()?, Scratch::new()?];
    let mut routers = Vec::new();
    for (at, uplink) in [FIRST, SECOND].into_iter().enumerate() {
        let longer = paths == Paths::Backup && at == 1;
        let text = config::router(uplink, prefixes, longer);
        let mut processes = Processes::default();
        config::start_bird(&text, &bed.routers[at], &scratches[at], &mut processes)?;
        routers.push(processes);
    }
    let mut node = Processes::default();
    config::start_node(daemon, &bed.node, &scratches[2], &mut node)?;
    let pid = node.first_pid()?;
    let look = Duration::from_millis(50);
    interrupt::wait_for(options.deadline(), look, "the routes in the kernel", || {
        node.check_alive()?;
        Ok(routes_in_kernel(pid)? >= prefixes)
    })
    .with_context(|| node.logs())?;
    interrupt::pause(SETTLE)?;
    let figures = cut(&bed, paths, death, prefixes);
    figures.with_context(|| node.logs())
}

/// Times of sending, in nanoseconds since the start, by destination.
type Arrivals = BTreeMap<u32, Vec<u64>>;

/// Sends, cuts, and says what the gap was.
fn cut(bed: &Bed, paths: Paths, death: Death, prefixes: u32) -> Result<Vec<f64>> {
    let ended = &AtomicBool::new(false);
    let heard = [Mutex::new(Arrivals::new()), Mutex::new(Arrivals::new())];
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT));
    let sockets = [bed.routers[0].run(bind)??, bed.routers[1].run(bind)??];
    let sender = bed
        .node
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        for (socket, heard) in sockets.iter().zip(&heard) {
            scope.spawn(move || listen(socket, heard, ended));
        }
        scope.spawn(|| send(&sender, prefixes, start, ended));
        let outcome = watch(bed, paths, death, &heard, start);
        ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    let [first, second] =
        heard.map(|heard| heard.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut gaps: Vec<f64> = Vec::new();
    for (target, before) in &first {
        let last = before.iter().max().copied().unwrap_or(0);
        let after = second.get(target).into_iter().flatten();
        let next = after.filter(|&&at| at > last).min();
        let next = next.with_context(|| format!("nothing to destination {target} came through"))?;
        gaps.push((next - last) as f64 / 1e6);
    }
    ensure!(!gaps.is_empty(), "no packet went by the first path");
    gaps.sort_by(f64::total_cmp);
    Ok(vec![gaps[gaps.len() / 2], gaps[gaps.len() - 1]])
}

/// Waits for packets on the path, kills it, and waits until all go by the other.
fn watch(
    bed: &Bed,
    paths: Paths,
    death: Death,
    heard: &[Mutex<Arrivals>; 2],
    start: Instant,
) -> Result<()> {
    let targets = |at: usize| -> Vec<u32> { lock(&heard[at]).keys().copied().collect() };
    let look = Duration::from_millis(20);
    let deadline = Instant::now() + PATIENCE;
    interrupt::wait_for(deadline, look, "packets by the paths", || {
        let used = |at| !targets(at).is_empty();
        Ok(used(0) && (used(1) || paths == Paths::Backup))
    })?;
    interrupt::pause(Duration::from_millis(500))?;
    bed.kill_first(death)?;
    let killed = u64::try_from(start.elapsed().as_nanos())?;
    let moved = targets(0);
    let deadline = Instant::now() + PATIENCE;
    interrupt::wait_for(
        deadline,
        look,
        "all packets to go by the other path",
        || {
            let heard = lock(&heard[1]);
            let late = |at: &Vec<u64>| at.last().is_some_and(|&at| at > killed);
            Ok(moved
                .iter()
                .all(|target| heard.get(target).is_some_and(late)))
        },
    )?;
    interrupt::pause(LATE)
}

fn lock(heard: &Mutex<Arrivals>) -> std::sync::MutexGuard<'_, Arrivals> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(socket: &UdpSocket, heard: &Mutex<Arrivals>, ended: &AtomicBool) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
    let mut packet = [0; 12];
    while !ended.load(Ordering::Relaxed) {
        if !matches!(socket.recv(&mut packet), Ok(12)) {
            continue;
        }
        let [a, b, c, d, sent @ ..] = packet;
        let target = u32::from_be_bytes([a, b, c, d]);
        let sent = u64::from_be_bytes(sent);
        lock(heard).entry(target).or_default().push(sent);
    }
}

fn send(socket: &UdpSocket, prefixes: u32, start: Instant, ended: &AtomicBool) {
    let targets = TARGETS.min(prefixes);
    let mut next = start;
    while !ended.load(Ordering::Relaxed) {
        for target in 0..targets {
            let network = wire::network(spread(target, targets, prefixes));
            let address = Ipv4Addr::from(u32::from(network) + 1);
            let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let mut packet = [0; 12];
            packet[..4].copy_from_slice(&target.to_be_bytes());
            packet[4..].copy_from_slice(&now.to_be_bytes());
            // While there is no route there is no packet.
            let _ = socket.send_to(&packet, (address, PORT));
        }
        next += TICK;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The prefix of a destination: they are spread from the first to the last.
fn spread(target: u32, targets: u32, prefixes: u32) -> u32 {
    target * (prefixes - 1) / (targets - 1).max(1)
}

/// The prefixes as lines.
fn lines(prefixes: u32, line: impl Fn(Ipv4Addr) -> String) -> String {
    (0..prefixes).fold(String::new(), |mut lines, index| {
        let _ = writeln!(lines, "{}", line(wire::network(index)));
        lines
    })
}
