//! A lab as an ordinary user.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dunlin_lab::process::{self, ProcessId};
use support::{Scratch, is_root, unique};

const NOBODY: u32 = 65534;

/// The lab's program, where an ordinary user can reach it, with a runtime directory of theirs.
struct Ordinary {
    scratch: Scratch,
    name: String,
}

impl Ordinary {
    fn new(name: &str) -> Option<Ordinary> {
        // Root, to become an ordinary user; the test is about what that user can do.
        if !is_root() {
            return None;
        }
        let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
        if limit.trim() == "0" {
            support::say("skipped: needs user namespaces (user.max_user_namespaces is 0)");
            return None;
        }
        let scratch = Scratch::new(name);
        let program = scratch.0.join("dunlin-lab");
        support::copy_program(env!("CARGO_BIN_EXE_dunlin-lab"), &program);
        support::idle_agent(&scratch.0);
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).expect("mode");
        let home = scratch.0.join("run");
        fs::create_dir(&home).expect("runtime directory");
        std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("owner");
        Some(Ordinary {
            scratch,
            name: unique(name),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.scratch.0.join("dunlin-lab"));
        command.arg("lab").args(args).args(["--name", &self.name]);
        command
            .env("XDG_RUNTIME_DIR", self.scratch.0.join("run"))
            .current_dir("/");
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the lab's program")
    }

    fn up(&self) -> Output {
        // No routes are awaited from one node without a router.
        let agent = self.scratch.0.join("idle-agent");
        let agent = agent.to_str().expect("a plain path");
        self.run(&[
            "up",
            "--nodes",
            "1",
            "--router",
            "none",
            "--pod-network",
            "veth",
            "--agent",
            agent,
        ])
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn an_ordinary_user_brings_a_lab_up_enters_it_and_takes_it_down() {
    let Some(user) = Ordinary::new("user") else {
        return;
    };
    let up = user.up();
    assert!(up.status.success(), "{}", text(&up));
    assert!(
        !Path::new("/run/netns")
            .join(format!("{}-n1", user.name))
            .exists()
    );
    let again = user.up();
    assert!(
        !again.status.success() && text(&again).contains("is up already"),
        "{}",
        text(&again)
    );
    let ip = Command::new("sh")
        .args(["-c", "command -v ip"])
        .output()
        .expect("sh");
    let ip = String::from_utf8_lossy(&ip.stdout).trim().to_owned();
    let shown = user
        .command(&["exec", "n1p1"])
        .args(["--", &ip, "-o", "addr", "show", "dev", "eth0"])
        .output()
        .expect("the lab's program");
    assert!(text(&shown).contains("10.244.1.2/32"), "{}", text(&shown));
    let down = user.run(&["down"]);
    assert!(down.status.success(), "{}", text(&down));
    assert_eq!(process::marked(&user.name), []);
    let gone = user.run(&["status"]);
    assert!(!gone.status.success(), "{}", text(&gone));
}

#[test]
fn nothing_survives_when_the_holder_is_killed() {
    let Some(user) = Ordinary::new("holder") else {
        return;
    };
    let up = user.up();
    assert!(up.status.success(), "{}", text(&up));
    let note = user.scratch.0.join("run/dunlin-lab").join(&user.name);
    let holder: ProcessId =
        serde_json::from_slice(&fs::read(note).expect("the note")).expect("a process");
    let daemons = process::marked(&user.name);
    assert_eq!(daemons.len(), 1, "the node's daemon");
    assert!(process::kill(holder));
    for daemon in daemons {
        let deadline = Instant::now() + Duration::from_secs(30);
        assert!(
            process::wait_until_ended(daemon, deadline),
            "it ends with its holder"
        );
    }
    let up = user.up();
    assert!(up.status.success(), "the name is free again: {}", text(&up));
    assert!(user.run(&["down"]).status.success());
}
