//! A node's agent, with the credentials of its service account.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub use dunlin_built::dunlin;

use dunlin_api::{Answer, Client, Query, Status};
use dunlin_lab::netns::Netns;
use dunlin_lab::process::{self, ProcessId, start_daemon};
use rustix::process::Signal;

use crate::{PATIENCE, wait_for};

/// The namespace that Dunlin is installed in.
pub const NAMESPACE: &str = "kube-system";

/// How an agent is started, and where its files are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// Where it runs.
    pub netns: Netns,
    /// Holds everything of this agent.
    pub home: PathBuf,
    /// The program.
    pub dunlin: PathBuf,
    /// What the DaemonSet gives its container as arguments: `agent` and flags.
    pub args: Vec<String>,
    /// Who it is to the API server.
    pub kubeconfig: PathBuf,
    /// Where the API server is.
    pub api_server: String,
}

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    place: Place,
    process: ProcessId,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// `dunlin` on the node, without the settings of this process's environment.
    pub fn command(&self) -> Command {
        self.clean(self.netns.command(&self.dunlin))
    }

    fn clean(&self, mut command: Command) -> Command {
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"DUNLIN_") {
                command.env_remove(key);
            }
        }
        command
    }

    /// The agent's file of what outlives it.
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    fn agent_command(&self) -> Command {
        // As root without root's powers, as in its container.
        let mut command = self.clean(self.netns.command("setpriv"));
        command.args([
            "--bounding-set=-all,+net_admin,+net_raw,+net_bind_service",
            "--no-new-privs",
            "--",
        ]);
        command.arg(&self.dunlin);
        command.env("POD_NAMESPACE", NAMESPACE);
        command.env("POD_NAME", format!("dunlin-{}", self.node));
        command.args(&self.args);
        command.env("DUNLIN_NODE_NAME", &self.node);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--api-server").arg(&self.api_server);
        command.arg("--socket").arg(self.path("agent.sock"));
        command.arg("--state-dir").arg(self.state_dir());
        command.arg("--secrets-dir").arg(self.path("secrets"));
        command.arg("--cni-conf-dir").arg(self.path("cni"));
        command.arg("--protocol-names").arg(self.path("protocols"));
        command
    }

    /// Starts the agent; waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self) -> Agent {
        for directory in ["state", "cni", "protocols"] {
            fs::create_dir_all(self.path(directory)).expect("a directory");
        }
        let log = self.path("log");
        let process = start_daemon(&mut self.agent_command(), &log, true).expect("dunlin starts");
        Agent {
            place: self.clone(),
            process,
        }
    }

    /// All that this place's agents have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Agent {
    /// How it was started.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.process.is_alive()
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self) -> Result<Status, String> {
        let client =
            Client::new(self.place.path("agent.sock")).with_timeout(Duration::from_secs(5));
        match client.ask_blocking(&Query::Status) {
            Ok(Answer::Status(status)) => Ok(*status),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(format!("{error}; {}", self.last_words())),
        }
    }

    /// Waits until its status is as wanted.
    ///
    /// # Panics
    /// If it does not become so, or the agent has ended.
    #[track_caller]
    pub fn await_status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let what = format!("{} on {}", what, self.place.node);
        wait_for(&what, PATIENCE, || {
            assert!(self.is_running(), "{what}: {}", self.last_words());
            let status = self.status()?;
            match wanted(&status) {
                true => Ok(status),
                false => Err(format!("{status:#?}; {}", self.last_words())),
            }
        })
    }

    /// Runs a `dunlin` command against it; its exit code and all it printed.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn dunlin(&self, args: &[&str]) -> (i32, String) {
        let mut command = self.place.command();
        command.arg("--socket").arg(self.place.path("agent.sock"));
        let output = command.args(args).output().expect("dunlin runs");
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap_or(-1);
        (code, String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks it to end, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn terminate(&self) {
        self.end(Signal::TERM);
    }

    /// Ends it by a signal, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn end(&self, signal: Signal) {
        assert!(self.process.signal(signal), "{}", self.last_words());
        let ended = process::wait_until_ended(self.process, Instant::now() + PATIENCE);
        assert!(ended, "{} does not end", self.place.node);
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = self.place.log();
        let mut lines: Vec<&str> = log.lines().rev().take(12).collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        process::kill(self.process);
    }
}
