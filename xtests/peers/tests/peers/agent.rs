//! `dunlin agent` as a process, asked through its admin socket.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dunlin_api::{Answer, Client, Neighbor, Query, Route, RouteFilter, Status};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::{ProcessId, start_daemon};

use crate::bed::AGENT;
use crate::support;

/// The agent of a node.
pub(crate) struct Agent {
    node: u16,
    netns: Netns,
    directory: PathBuf,
    program: PathBuf,
}

impl Agent {
    /// Prepares the directories of that of node 1.
    pub(crate) fn new(netns: Netns, directory: PathBuf) -> Result<Agent> {
        Agent::of(AGENT, netns, directory)
    }

    /// Prepares its directories.
    pub(crate) fn of(node: u16, netns: Netns, directory: PathBuf) -> Result<Agent> {
        for name in ["manifests", "state", "cni", "protocols"] {
            fs::create_dir_all(directory.join(name))?;
        }
        Ok(Agent {
            node,
            netns,
            directory,
            program: support::dunlin(),
        })
    }

    /// Where its objects are.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// Gives it an object's file. It never reads half of one.
    pub(crate) fn put(&self, file: &str, text: &str) -> Result<()> {
        let hidden = self.manifests().join(".coming");
        fs::write(&hidden, text)?;
        fs::rename(hidden, self.manifests().join(file)).context(file.to_owned())
    }

    /// Its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<ProcessId> {
        let mut command = self.netns.command(&self.program);
        // The flags' environment variables are meant for an agent of this machine, not for this one.
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"DUNLIN_") {
                command.env_remove(key);
            }
        }
        command.args(["agent", "--node-name", &Plan::node_name(self.node)]);
        command
            .arg("--cluster")
            .arg(format!("dir:{}", self.manifests().display()));
        let place = |name: &str| self.directory.join(name);
        command.arg("--socket").arg(place("agent.sock"));
        command.arg("--state-dir").arg(place("state"));
        command.arg("--cni-conf-dir").arg(place("cni"));
        command.arg("--protocol-names").arg(place("protocols"));
        command.args(["--metrics-addr", "off", "--log", "debug"]);
        start_daemon(&mut command, &self.log(), true)
    }

    /// Runs a command of the same program against it; gives what it writes to standard output.
    pub(crate) fn dunlin(&self, args: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.netns.command(&self.program);
        command
            .arg("--socket")
            .arg(self.directory.join("agent.sock"));
        let output = command.args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "dunlin {args:?}: {said}");
        Ok(output.stdout)
    }

    /// A place for files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn ask(&self, query: &Query) -> Result<Answer> {
        let client =
            Client::new(self.directory.join("agent.sock")).with_timeout(Duration::from_secs(20));
        Ok(client.ask_blocking(query)?)
    }

    /// The session with the daemon at this address; of a `peerRange`, the one accepted.
    pub(crate) fn neighbor(&self, address: IpAddr) -> Result<Neighbor> {
        let mut all = self.neighbors()?.into_iter();
        all.find(|neighbor| neighbor.address == Some(address))
            .context("the agent has no neighbor")
    }

    /// Every step of what it explains of the session with this address, one a line.
    pub(crate) fn explained(&self, address: IpAddr) -> Result<String> {
        match self.ask(&Query::ExplainNeighbor(address.to_string()))? {
            Answer::Explanation(explanation) => {
                let steps = explanation.steps.into_iter().map(|step| step.text);
                Ok(steps.collect::<Vec<_>>().join("\n"))
            }
            other => bail!("{other:?}"),
        }
    }

    /// All sessions.
    pub(crate) fn neighbors(&self) -> Result<Vec<Neighbor>> {
        match self.ask(&Query::Neighbors)? {
            Answer::Neighbors(all) => Ok(all),
            other => bail!("{other:?}"),
        }
    }

    /// What it knows of prefixes.
    pub(crate) fn routes(&self) -> Result<Vec<Route>> {
        match self.ask(&Query::Routes(RouteFilter::default()))? {
            Answer::Routes(view) => Ok(view.items),
            other => bail!("{other:?}"),
        }
    }

    /// Its status.
    pub(crate) fn status(&self) -> Result<Status> {
        match self.ask(&Query::Status)? {
            Answer::Status(status) => Ok(*status),
            other => bail!("{other:?}"),
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n    ")
}
