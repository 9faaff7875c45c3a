//! Network namespaces with links between them.
#![allow(clippy::print_stderr, reason = "says why it is skipped")]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};

/// Runs a test in a fresh network namespace, on a thread of its own, if these programs are there.
pub(crate) fn in_netns(needs: &[&str], test: impl FnOnce() + Send + 'static) {
    for program in needs {
        if !Path::new(program).exists() {
            eprintln!("skipped: needs {program} (packages bird2, frr)");
            return;
        }
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; only this thread moves.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("skipped: needs root, to make network namespaces");
            return;
        }
        run("ip link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn split(line: &str) -> Program {
    let mut words = line.split_whitespace();
    let mut program = Program::new(words.next().expect("a command"));
    program.args(words);
    program
}

/// What a command says; it must succeed.
pub(crate) fn output(mut program: Program) -> String {
    let output = program.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The same for words with spaces between, in this namespace.
pub(crate) fn run(line: &str) -> String {
    output(split(line))
}

/// Another network namespace. It ends with this value.
pub(crate) struct Netns {
    holder: Child,
}

impl Netns {
    pub(crate) fn new() -> Netns {
        let mut holder = Program::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut ready = [0; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut ready)
            .expect("it is in its namespace");
        let netns = Netns { holder };
        netns.run("ip link set lo up");
        netns
    }

    /// Beside this namespace: its link `theirs` is the other end of our `ours`.
    pub(crate) fn beside() -> Netns {
        let netns = Netns::new();
        netns.link("ours", "theirs");
        netns
    }

    /// A link from this namespace.
    pub(crate) fn link(&self, here: &str, there: &str) {
        let pid = self.pid();
        run(&format!(
            "ip link add {here} type veth peer name {there} netns {pid}"
        ));
        run(&format!("ip link set {here} up"));
        self.run(&format!("ip link set {there} up"));
    }

    /// A link from there to another.
    pub(crate) fn link_to(&self, other: &Netns, here: &str, there: &str) {
        let pid = other.pid();
        self.run(&format!(
            "ip link add {here} type veth peer name {there} netns {pid}"
        ));
        self.run(&format!("ip link set {here} up"));
        other.run(&format!("ip link set {there} up"));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A program in there. `nsenter` replaces itself by it: it is our child.
    pub(crate) fn command(&self, program: &str) -> Program {
        let mut command = Program::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net", program]);
        command
    }

    pub(crate) fn run(&self, line: &str) -> String {
        run(&format!("nsenter --target {} --net {line}", self.pid()))
    }

    /// Runs something on a thread in there.
    pub(crate) fn enter<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = File::open(format!("/proc/{}/ns/net", self.pid())).expect("it lives");
        let thread = std::thread::spawn(move || {
            // SAFETY: an open descriptor; only this thread moves.
            let moved = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "it can be entered");
            act()
        });
        thread.join().expect("no panic")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(mut input) = self.holder.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
