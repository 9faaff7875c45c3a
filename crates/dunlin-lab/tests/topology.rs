//! Building and removing labs, without any agent.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dunlin_lab::config::{PodNetwork, RouterKind};
use dunlin_lab::lab;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::{self, ProcessId};
use dunlin_net::Afi;
use rustix::process::Signal;
use support::{Scratch, TestLab, await_reply, config, idle_agent, is_root, namespaces_of};

fn idle_config(name: &str, nodes: u16, scratch: &Scratch) -> dunlin_lab::LabConfig {
    let mut config = config(name, nodes, idle_agent(&scratch.0));
    config.router = RouterKind::None;
    config.pod_network = PodNetwork::Veth;
    config
}

fn assert_nothing_left(name: &str) {
    assert_eq!(namespaces_of(name), Vec::<String>::new());
    assert_eq!(process::marked(name), []);
    assert!(!Path::new("/run/dunlin-lab").join(name).exists());
}

#[test]
fn every_node_reaches_every_other_and_its_pods_and_nothing_stays_behind() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("plain");
    let lab = TestLab::up(idle_config("plain", 3, &scratch));
    let name = lab.config().name.clone();
    for afi in Afi::ALL {
        for from in 1..=3 {
            let netns = lab.ns(&Plan::node_name(from));
            for to in 1..=3 {
                await_reply(&netns, Plan::node_address(to, afi));
            }
            await_reply(&netns, Plan::router_address(afi));
            await_reply(&netns, Plan::outside_address(2, afi));
            let pod = lab
                .state()
                .pods
                .iter()
                .find(|pod| pod.node == Plan::node_name(from));
            for address in &pod.expect("its pod").addresses {
                await_reply(&netns, *address);
            }
        }
    }
    let removed = lab.down();
    assert_eq!((removed.processes, removed.namespaces), (3, 9));
    assert_nothing_left(&name);
}

#[test]
fn three_hundred_namespaces_are_built_and_removed_in_seconds() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("many");
    let mut config = idle_config("many", 99, &scratch);
    config.plan.pods_per_node = 2;
    let name = config.name.clone();
    let began = Instant::now();
    let lab = TestLab::up(config);
    let took = began.elapsed();
    assert_eq!(namespaces_of(&name).len(), 300);
    // The far ends see each other, past the machine's limit on learned neighbours.
    let last = lab.ns("n99");
    await_reply(&last, Plan::node_address(1, Afi::Ipv6));
    let began = Instant::now();
    lab.down();
    let removed = began.elapsed();
    assert_nothing_left(&name);
    // A fifth of a second each is what a slow and busy machine may take; one after the other, it would be a second each.
    assert!(took < Duration::from_secs(60), "building took {took:?}");
    assert!(
        removed < Duration::from_secs(30),
        "removing took {removed:?}"
    );
}

/// Kills the lab's process after it has printed `lines` lines.
fn killed_after(lines: usize, nodes: &str) {
    let scratch = Scratch::new(&format!("kill{lines}"));
    let name = support::unique(&format!("kill{lines}"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin-lab"))
        .args([
            "lab", "up", "--name", &name, "--nodes", nodes, "--pods", "2",
        ])
        .args(["--router", "none", "--pod-network", "veth", "--agent"])
        .arg(idle_agent(&scratch.0))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab's program");
    let mut reader = BufReader::new(child.stdout.take().expect("its output"));
    for _ in 0..lines {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "it ended early");
    }
    child.kill().expect("kill -9");
    child.wait().expect("its end");
    assert!(!namespaces_of(&name).is_empty(), "something was built");
    lab::down(&name)
        .expect("down works")
        .expect("there was a lab");
    assert_nothing_left(&name);
}

#[test]
fn what_a_killed_lab_leaves_is_removed_by_down() {
    if !is_root() {
        return;
    }
    // After the namespaces, the router, the nodes' daemons: those wait for routes that nobody installs.
    (2..=4).for_each(|lines| killed_after(lines, "5"));
    // A single node awaits no routes. After the routes, and the pods.
    (5..=6).for_each(|lines| killed_after(lines, "1"));
}

/// A child whose exec waits until the value goes: the state in which a killed lab leaves what it was just starting.
struct BeforeExec {
    go: Option<OwnedFd>,
    started: JoinHandle<std::io::Result<Child>>,
}

impl BeforeExec {
    fn new(mut command: Command) -> BeforeExec {
        let (forked, in_child) = rustix::pipe::pipe().expect("a pipe");
        let (gate, go) = rustix::pipe::pipe().expect("a pipe");
        let word = go.as_raw_fd();
        // SAFETY: the closure runs between fork and exec; it does system calls and allocates nothing. The descriptor
        // is the child's own copy.
        unsafe {
            command.pre_exec(move || {
                rustix::io::write(&in_child, b"1")?;
                rustix::io::close(word);
                rustix::io::read(&gate, &mut [0])?;
                Ok(())
            });
        }
        let started = thread::spawn(move || command.spawn());
        let mut word = [0];
        assert_eq!(rustix::io::read(&forked, &mut word), Ok(1), "it is forked");
        BeforeExec {
            go: Some(go),
            started,
        }
    }

    fn go_on(mut self) -> Child {
        rustix::io::write(self.go.take().expect("not yet"), b"1").expect("it waits");
        let child = self.started.join().expect("no panic");
        child.expect("it starts")
    }
}

#[test]
fn down_waits_for_the_exec_of_what_a_killed_lab_had_just_forked() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("forked");
    let config = idle_config("forked", 1, &scratch);
    let name = config.name.clone();
    let report = dunlin_lab::report::Report::quiet();
    let lab = dunlin_lab::Lab::up(config, &report).expect("it comes up");
    let mut command = lab.netns("n1").expect("a node").command("sleep");
    command.arg("600").env(process::LAB_VARIABLE, &name);
    let before = BeforeExec::new(command);
    // As if the command had died: its lock is free, and nobody has written down what it forked.
    drop(lab);
    let (said, result) = mpsc::channel();
    let down = {
        let name = name.clone();
        thread::spawn(move || said.send(lab::down(&name)).expect("somebody listens"))
    };
    let early = result.recv_timeout(Duration::from_millis(500));
    let child = before.go_on();
    if early.is_ok() {
        process::stop_all(&process::marked(&name), Duration::from_secs(5));
    }
    assert!(early.is_err(), "down did not wait: {early:?}");
    let removed = result.recv_timeout(Duration::from_secs(60));
    down.join().expect("no panic");
    let removed = removed.expect("it ends").expect("down works");
    assert_eq!(removed.expect("there was a lab").processes, 2);
    // This process is its parent, so `down` has reaped it.
    drop(child);
    assert_nothing_left(&name);
}

#[test]
fn a_process_of_a_lab_is_found_in_the_middle_of_an_exec_too() {
    let scratch = Scratch::new("execs");
    let script = scratch.0.join("again");
    support::write_program(&script, "#!/bin/sh\nexec \"$0\"\n");
    let name = support::unique("execs");
    let mut child = Command::new(&script)
        .env(process::LAB_VARIABLE, &name)
        .spawn()
        .expect("it starts");
    let pid = child.id().cast_signed();
    let missed = (0..300)
        .filter(|_| process::marked(&name).iter().all(|found| found.pid != pid))
        .count();
    child.kill().expect("it is ours to end");
    child.wait().expect("its end");
    assert_eq!(missed, 0, "looks that did not find it");
}

#[test]
fn an_interrupted_lab_takes_itself_down() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("term");
    let name = support::unique("term");
    let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin-lab"))
        .args(["lab", "demo", "--name", &name, "--router", "none"])
        .args(["--pod-network", "veth", "--agent"])
        .arg(idle_agent(&scratch.0))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the lab's program");
    // It waits for routes that nobody installs.
    let mut reader = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.contains("one `dunlin agent` each") {
        line.clear();
        assert!(
            reader.read_line(&mut line).expect("a line") > 0,
            "it ended early"
        );
    }
    let process = ProcessId::of(child.id().cast_signed()).expect("it runs");
    assert!(process.signal(Signal::TERM));
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(1));
    assert_nothing_left(&name);
}

#[test]
fn down_spares_processes_that_are_not_the_labs() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("foreign");
    let lab = TestLab::up(idle_config("foreign", 1, &scratch));
    let mut foreign = lab
        .ns("n1")
        .command("sleep")
        .arg("600")
        .spawn()
        .expect("sleep");
    let process = ProcessId::of(foreign.id().cast_signed()).expect("it runs");
    // Its number, with another start time, stands for a process that has ended.
    let stale = ProcessId {
        start_ticks: process.start_ticks - 1,
        ..process
    };
    assert!(!stale.signal(Signal::KILL));
    assert_eq!(process::stop_all(&[stale], Duration::from_secs(1)), 0);
    lab.down();
    let survived = process.is_alive();
    foreign.kill().expect("it is ours to end");
    foreign.wait().expect("its end");
    assert!(survived);
}

#[test]
fn a_second_lab_of_the_same_name_is_refused_and_the_first_stays() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("twice");
    let config = idle_config("twice", 1, &scratch);
    let lab = TestLab::up(config.clone());
    let before = namespaces_of(&config.name);
    let report = dunlin_lab::report::Report::quiet();
    dunlin_lab::Lab::up(config.clone(), &report).expect_err("refused");
    assert_eq!(namespaces_of(&config.name), before);
    assert!(lab.state().daemons[0].process.is_alive());
}

#[test]
fn a_failed_start_takes_away_what_was_made() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("fails");
    let mut config = idle_config("fails", 2, &scratch);
    config.agent = scratch.0.join("no-such-program");
    let name = config.name.clone();
    let error = dunlin_lab::Lab::up(config, &dunlin_lab::report::Report::quiet())
        .expect_err("there is no agent");
    assert!(
        format!("{error:#}").contains("no-such-program"),
        "{error:#}"
    );
    assert_nothing_left(&name);
}

#[test]
fn the_machines_own_interfaces_routes_and_rules_stay_as_they_are() {
    if !is_root() {
        return;
    }
    let look = || {
        let ip = |args: &[&str]| {
            let output = Command::new("ip").args(args).output().expect("ip");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("sysctl");
        (
            ip(&["-o", "link"]),
            ip(&["route", "show", "table", "all"]),
            forwarding,
        )
    };
    let before = look();
    let scratch = Scratch::new("apart");
    let lab = TestLab::up(idle_config("apart", 2, &scratch));
    let during = look();
    lab.down();
    assert_eq!(before, during);
    assert_eq!(before, look());
}
