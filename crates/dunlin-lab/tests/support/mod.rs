//! What the lab's tests share.
// Each test program uses its own part of it; a skipped test says why on standard error.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::print_stderr)]

pub mod cluster;

use std::fs;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use dunlin_built::dunlin;

use dunlin_lab::config::{LabConfig, NodeDaemon, PodNetwork, RouterKind};
use dunlin_lab::iproute::Batch;
use dunlin_lab::lab;
use dunlin_lab::netns::{self, Netns};
use dunlin_lab::plan::{Families, Plan};
use dunlin_lab::probe::icmp;
use dunlin_lab::report::Report;
use dunlin_lab::{Lab, unprivileged};

/// Whether this test can run; says why not.
pub fn is_root() -> bool {
    let root = unprivileged::is_root();
    if !root {
        eprintln!("skipped: needs root, to make network namespaces");
    }
    root
}

/// Prints on standard error.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Whether a program that this test needs is installed; says so if not.
pub fn installed(program: &str, package: &str) -> bool {
    let there = Path::new(program).exists();
    if !there {
        eprintln!("skipped: needs {program} (package {package})");
    }
    there
}

/// A lab name no other test and no other run uses.
pub fn unique(name: &str) -> String {
    format!("t{}-{name}", std::process::id())
}

/// A lab of agents, dual stack, with a Dunlin router.
pub fn config(name: &str, nodes: u16, agent: PathBuf) -> LabConfig {
    LabConfig {
        name: unique(name),
        plan: Plan {
            nodes,
            pods_per_node: 1,
            families: Families::Dual,
        },
        router: RouterKind::Dunlin,
        pod_network: PodNetwork::Auto,
        node_daemon: NodeDaemon::Dunlin,
        agent,
        hold_time_secs: None,
        service_proxy: false,
        daemons_die_with_us: false,
    }
}

/// A lab that is taken down when the test ends, however it ends.
pub struct TestLab(Option<Lab>);

impl TestLab {
    pub fn up(config: LabConfig) -> TestLab {
        let name = config.name.clone();
        match Lab::up(config, &Report::quiet()) {
            Ok(lab) => TestLab(Some(lab)),
            Err(error) => panic!("lab {name} does not come up: {error:#}"),
        }
    }

    pub fn ns(&self, host: &str) -> Netns {
        self.netns(host).expect("a host of the lab")
    }

    pub fn down(mut self) -> lab::Removed {
        let lab = self.0.take().expect("up until now");
        lab.down().expect("taking down works")
    }
}

impl Deref for TestLab {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        self.0.as_ref().expect("up")
    }
}

impl DerefMut for TestLab {
    fn deref_mut(&mut self) -> &mut Lab {
        self.0.as_mut().expect("up")
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if let Some(lab) = self.0.take() {
            if std::thread::panicking() {
                for daemon in lab.state().daemons.clone() {
                    eprintln!("{}", lab.last_words(&daemon.role));
                }
            }
            if let Err(error) = lab.down() {
                eprintln!("taking the lab down failed: {error:#}");
            }
        }
    }
}

/// Namespaces without a lab, deleted at the end.
pub struct Spaces(Vec<Netns>);

impl Spaces {
    pub fn new(prefix: &str, count: usize) -> Spaces {
        let names: Vec<_> = (0..count)
            .map(|i| format!("{}-{i}", unique(prefix)))
            .collect();
        netns::create(&names).expect("namespaces");
        let open = |name: &String| Netns::open(name).expect("just made");
        let spaces = Spaces(names.iter().map(open).collect());
        for space in &spaces.0 {
            // Else every IPv6 address waits a second for duplicates.
            let off = [
                "net/ipv6/conf/all/accept_dad",
                "net/ipv6/conf/default/accept_dad",
            ];
            space.sysctls(&off.map(|key| (key, "0"))).expect("sysctls");
        }
        spaces
    }

    /// Runs `ip` commands in the `index`-th.
    pub fn ip(&self, index: usize, lines: &[&str]) {
        let mut batch = Batch::new();
        lines.iter().for_each(|line| batch.push(line));
        batch.run(&self.0[index]).expect("ip");
    }
}

impl Deref for Spaces {
    type Target = [Netns];
    fn deref(&self) -> &[Netns] {
        &self.0
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in &self.0 {
            let _ = netns::delete(space.name());
        }
    }
}

/// Waits until an echo is answered. What is sent over a link before the kernel's work queue has seen its carrier is lost.
pub fn await_reply(from: &Netns, to: IpAddr) {
    cluster::wait_until(&format!("{to} answers"), Duration::from_secs(60), || {
        let reply = icmp::ping(from, to, Duration::from_secs(1));
        reply.map(drop).map_err(|error| format!("{error:#}"))
    });
}

/// A program that takes an agent's options and does nothing, for tests of the lab itself.
pub fn idle_agent(directory: &Path) -> PathBuf {
    let path = directory.join("idle-agent");
    write_program(&path, "#!/bin/sh\nexec sleep 600\n");
    path
}

/// Writes a script that can be run at once. Another process writes it: what this one has open for writing, a child that another
/// test starts just then has open too, and the kernel runs no such file (ETXTBSY).
pub fn write_program(path: &Path, text: &str) {
    run_on(path, "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"", text);
}

/// Copies a program so that it can be run at once, as [`write_program`] does.
pub fn copy_program(from: &str, path: &Path) {
    run_on(path, "cp \"$1\" \"$0\" && chmod 755 \"$0\"", from);
}

fn run_on(path: &Path, script: &str, with: &str) {
    let mut shell = Command::new("sh");
    let status = shell.args(["-c", script]).arg(path).arg(with).status();
    assert!(status.expect("sh").success(), "{}", path.display());
}

/// A directory that goes away with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(unique(name));
        fs::create_dir_all(&path).expect("scratch directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names in `/run/netns` that begin like those of the lab.
pub fn namespaces_of(lab: &str) -> Vec<String> {
    let entries = fs::read_dir(netns::NETNS_DIR)
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(&format!("{lab}-")))
        .collect()
}
