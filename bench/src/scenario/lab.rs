//! Whole virtual clusters made by `dunlin lab`, looked at from outside: the kernel's tables and
//! /proc, not what the agents say.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use crate::daemon::{Daemon, Kind};
use crate::interrupt;
use crate::process::{Scratch, all_pids, started_secs, usage};
use crate::report::{Column, Report};

const CONVERGE: &[Column] = &[
    Column::new("converged", "s"),
    Column::new("CPU of all", "s"),
    Column::new("RSS of one", "MB"),
];

const FOOTPRINT: &[Column] = &[
    Column::new("RSS", "MB"),
    Column::new("switches", "/s"),
    Column::new("idle CPU", "ms/s"),
];

/// The agents are looked at so long after convergence, the second half of it as an interval.
const SETTLED: Duration = Duration::from_secs(60);

/// From the last agent's start until every node's kernel holds every other node's subnet.
pub(crate) fn converge(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    const NODES: usize = 100;
    for family in [Family::Ipv4, Family::Dual] {
        let title = format!("lab: {NODES} nodes, {}", family.argument());
        let mut report = Report::new(title, CONVERGE, "Dunlin");
        each(options, &mut report, options.runs, |daemon| {
            let lab = Lab::up(options, daemon, NODES, family)?;
            let used = usage(&lab.agents())?;
            Ok(vec![
                lab.converged_secs,
                used.cpu_secs,
                used.resident_mb / NODES as f64,
            ])
        })?;
        show(report);
    }
    Ok(())
}

/// What the hungriest agent of three costs when nothing happens.
pub(crate) fn footprint(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    const NODES: usize = 3;
    let title = format!(
        "footprint: {NODES} nodes, {} s after convergence",
        SETTLED.as_secs()
    );
    let mut report = Report::new(title, FOOTPRINT, "Dunlin");
    // A minute each, and the figures hardly move.
    each(options, &mut report, options.runs.min(1), |daemon| {
        let lab = Lab::up(options, daemon, NODES, Family::Dual)?;
        lab.idle(SETTLED / 2)?;
        let agents = lab.agents();
        let look = || {
            agents
                .iter()
                .map(|pid| usage(&[*pid]))
                .collect::<Result<Vec<_>>>()
        };
        let before = look()?;
        lab.idle(SETTLED / 2)?;
        let mut worst = vec![0.0_f64; FOOTPRINT.len()];
        for (before, after) in before.iter().zip(look()?) {
            let secs = SETTLED.as_secs_f64() / 2.0;
            let switches = after.voluntary_switches - before.voluntary_switches;
            let cpu_ms = (after.cpu_secs - before.cpu_secs) * 1000.0;
            let values = [after.resident_mb, switches as f64 / secs, cpu_ms / secs];
            for (worst, value) in worst.iter_mut().zip(values) {
                *worst = worst.max(value);
            }
        }
        Ok(worst)
    })?;
    show(report);
    Ok(())
}

/// Runs a lab's measurement with each daemon that can be on its nodes, in turns.
fn each(
    options: &Options,
    report: &mut Report,
    runs: u32,
    measure: impl Fn(&Daemon) -> Result<Vec<f64>>,
) -> Result<()> {
    let skip = |kind| {
        let possible = matches!(kind, Kind::Dunlin | Kind::Bird);
        (!possible).then_some("not asked: the lab's nodes cannot run it")
    };
    for _ in 0..runs {
        options.take_turns(report, skip, &measure)?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Dual,
}

impl Family {
    fn argument(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dual => "dual",
        }
    }
}

/// A lab that has converged; dropping it takes it down.
#[derive(Debug)]
struct Lab {
    program: PathBuf,
    name: String,
    /// The process of each node, by its network namespace.
    agents: BTreeMap<u64, u32>,
    converged_secs: f64,
}

impl Lab {
    fn up(options: &Options, daemon: &Daemon, nodes: usize, family: Family) -> Result<Self> {
        let mut lab = Self {
            program: options.dunlin.clone(),
            name: format!("bench{}", std::process::id()),
            agents: BTreeMap::new(),
            converged_secs: f64::NAN,
        };
        let scratch = Scratch::new()?;
        let log = scratch.path().join("lab");
        let mut command = lab.command("up");
        let (nodes_text, family_text) = (nodes.to_string(), family.argument());
        command.args(["--nodes", &nodes_text, "--pods", "0", "--router", "none"]);
        command.args(["--family", family_text, "--keep"]);
        if daemon.kind == Kind::Bird {
            command.args(["--node-daemon", "bird"]);
        }
        let file = fs::File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot run {}", lab.program.display()))?;
        let outcome = lab.watch(Up(child), nodes, family, options.patience);
        outcome.with_context(|| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(5)..].join("\n")
        })?;
        Ok(lab)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["lab", verb, "--name", &self.name])
            .stdin(Stdio::null());
        command
    }

    fn agents(&self) -> Vec<u32> {
        self.agents.values().copied().collect()
    }

    fn idle(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let slack = Duration::from_secs(10);
        interrupt::wait_for(end + slack, Duration::from_millis(100), "idle time", || {
            Ok(Instant::now() >= end)
        })?;
        Ok(())
    }

    /// Follows `lab up` until every node knows all others.
    fn watch(
        &mut self,
        mut up: Up,
        nodes: usize,
        family: Family,
        patience: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        let every = Duration::from_millis(10);
        interrupt::wait_for(deadline, every, "all agents to be started", || {
            up.check()?;
            self.find_agents(nodes);
            Ok(self.agents.len() == nodes)
        })?;
        let mut waiting = self.agents();
        interrupt::wait_for(
            deadline,
            every,
            "every node to hold all other subnets",
            || {
                up.check()?;
                waiting.retain(|pid| !knows(*pid, nodes - 1, family));
                Ok(waiting.is_empty())
            },
        )
        .with_context(|| format!("{} of {nodes} nodes do not yet", waiting.len()))?;
        let converged = since_boot_secs();
        let last_start = self
            .agents()
            .into_iter()
            .filter_map(started_secs)
            .fold(0.0, f64::max);
        self.converged_secs = converged - last_start;
        interrupt::wait_for(deadline, every, "`lab up` to end", || up.ended())?;
        let all = self
            .agents()
            .into_iter()
            .all(|pid| knows(pid, nodes - 1, family));
        ensure!(all, "a node has lost a subnet again after all were known");
        Ok(())
    }

    /// The lab's daemons carry its name in their environment, and each node is one namespace.
    fn find_agents(&mut self, nodes: usize) {
        let namespace = |node| {
            let path = format!("/run/netns/{}-n{node}", self.name);
            fs::metadata(path).map(|metadata| metadata.ino())
        };
        let wanted: Vec<u64> = (1..=nodes)
            .filter_map(|node| namespace(node).ok())
            .collect();
        let mark = format!("DUNLIN_LAB={}", self.name);
        for pid in all_pids() {
            let Ok(inside) = fs::metadata(format!("/proc/{pid}/ns/net")) else {
                continue;
            };
            if wanted.contains(&inside.ino()) && environment_has(pid, &mark) {
                self.agents.insert(inside.ino(), pid);
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self
            .command("down")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!(
                "lab {0} may still be up: dunlin lab down --name {0}",
                self.name
            );
        }
    }
}

/// `dunlin lab up` while it runs; ended when dropped.
struct Up(Child);

impl Up {
    fn ended(&mut self) -> Result<bool> {
        let Some(status) = self.0.try_wait()? else {
            return Ok(false);
        };
        ensure!(status.success(), "`lab up` ended with {status}");
        Ok(true)
    }

    fn check(&mut self) -> Result<()> {
        self.ended().map(|_| ())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the kernel of a process's namespace has routes to so many subnets of other nodes.
fn knows(pid: u32, subnets: usize, family: Family) -> bool {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let ipv4 = read("route")
        .lines()
        .filter(|line| is_learned_ipv4(line))
        .count();
    let ipv6 = || {
        read("ipv6_route")
            .lines()
            .filter(|line| is_learned_ipv6(line))
            .count()
    };
    ipv4 >= subnets && (family == Family::Ipv4 || ipv6() >= subnets)
}

/// A line of /proc/net/route with a gateway that is not a default route.
fn is_learned_ipv4(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    matches!(fields[..], [_, destination, gateway, ..]
        if destination != "Destination" && destination != "00000000" && gateway != "00000000")
}

/// The same for /proc/net/ipv6_route.
fn is_learned_ipv6(line: &str) -> bool {
    let zeros = "0".repeat(32);
    let fields: Vec<&str> = line.split_whitespace().collect();
    matches!(fields[..], [destination, _, _, _, gateway, ..] if destination != zeros && gateway != zeros)
}

fn environment_has(pid: u32, mark: &str) -> bool {
    let environment = fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
    environment.is_ok_and(|all| {
        all.split(|byte| *byte == 0)
            .any(|one| one == mark.as_bytes())
    })
}

fn since_boot_secs() -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
