//! The daemons of a lab: started, signalled, asked.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dunlin_api::{Answer, Client, Query, Status};
use rustix::process::Signal;

use super::{Lab, METRICS_ADDRESS, START_DEADLINE};
use crate::config::{NodeDaemon, RouterKind};
use crate::netns::Netns;
use crate::plan::Plan;
use crate::process::{self, LAB_VARIABLE, ProcessId, start_daemon};
use crate::report::{Report, list};
use crate::router::{self, gobgp};
use crate::state::DaemonRecord;
use crate::{files, manifests, names, topology};

/// How long a daemon may take to end: a killed one first gets what it waits for in the kernel.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How long an agent may take to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

impl Lab {
    pub(super) fn start_daemons(&mut self, report: &Report) -> Result<()> {
        let began = Instant::now();
        manifests::write_cluster(&self.manifest_dir(), self.config())?;
        self.start_router()?;
        let family = manifests::session_family(self.plan());
        let address = Plan::router_address(family);
        let text = match self.config().router {
            RouterKind::Dunlin => {
                format!("a dunlin agent outside the cluster, AS 65000, {address}")
            }
            RouterKind::Frr => format!("FRR, AS 65000, {address}"),
            RouterKind::Bird => format!("BIRD, AS 65000, {address}"),
            RouterKind::Gobgp => {
                format!("GoBGP, AS 65000, {address}; the lab copies its table into the kernel")
            }
            RouterKind::None => format!("{address}, without BGP"),
        };
        report.done("router", &text, began.elapsed());
        let began = Instant::now();
        for node in self.plan().node_numbers() {
            crate::signals::check()?;
            self.launch_node(node)?;
        }
        self.started = Instant::now();
        self.dir.save(&self.state)?;
        let names: Vec<_> = self.plan().node_numbers().map(Plan::node_name).collect();
        let what = match self.config().node_daemon {
            NodeDaemon::Dunlin => "one `dunlin agent` each",
            NodeDaemon::Bird => "one BIRD each",
        };
        let text = format!("{}: AS 64512, {what}", list(&names));
        report.done("nodes", &text, began.elapsed());
        Ok(())
    }

    fn start_router(&mut self) -> Result<()> {
        let host = topology::ROUTER;
        let (netns, directory) = (self.netns(host)?, self.host_dir(host));
        let config = self.state.config.clone();
        match config.router {
            RouterKind::Dunlin => {
                let manifests = self.router_manifest_dir();
                manifests::write_router(&manifests, &config)?;
                for directory in ["cni", "state"] {
                    fs::create_dir_all(self.host_dir(host).join(directory))?;
                }
                let mut command = self.agent_command(&netns, host, &manifests);
                self.launch(host, host, &mut command)
            }
            RouterKind::Bird => {
                let mut command = router::bird_router(&netns, &directory, &config)?;
                self.launch("bird", host, &mut command)
            }
            RouterKind::Frr => {
                let mut frr = router::frr_router(&netns, &directory, &config)?;
                self.launch("zebra", host, &mut frr.zebra)?;
                let deadline = Instant::now() + START_DEADLINE;
                files::wait_for(&frr.run_dir, "zebra's socket", deadline, || {
                    frr.zebra_socket.exists().then_some(())
                })?;
                self.launch("bgpd", host, &mut frr.bgpd)
            }
            RouterKind::Gobgp => {
                let mut command = gobgp::router(&netns, &directory, &config)?;
                self.launch("gobgpd", host, &mut command)?;
                let mut command = gobgp::follower(&netns, &config.agent, &config.name);
                self.launch("gobgp-to-kernel", host, &mut command)
            }
            RouterKind::None => Ok(()),
        }
    }

    fn agent_command(&self, netns: &Netns, host: &str, manifests: &std::path::Path) -> Command {
        let directory = self.host_dir(host);
        let mut command = netns.command(&self.config().agent);
        // The flags' environment variables are meant for an agent of this machine, not for these.
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"DUNLIN_") {
                command.env_remove(key);
            }
        }
        names::show_to(&mut command, &self.names_dir());
        command.args(["agent", "--node-name", host]);
        command
            .arg("--cluster")
            .arg(format!("dir:{}", manifests.display()));
        command.arg("--socket").arg(directory.join("agent.sock"));
        command.arg("--state-dir").arg(directory.join("state"));
        command.arg("--cni-conf-dir").arg(directory.join("cni"));
        command.args(["--metrics-addr", METRICS_ADDRESS, "--log", "info"]);
        command
    }

    /// Starts the daemon of a node, without writing the state down.
    fn launch_node(&mut self, node: u16) -> Result<()> {
        let host = Plan::node_name(node);
        let netns = self.netns(&host)?;
        let mut command = match self.config().node_daemon {
            NodeDaemon::Dunlin => {
                let mut command = self.agent_command(&netns, &host, &self.manifest_dir());
                if self.config().service_proxy {
                    command.args(["--service-proxy", "on"]);
                }
                command
            }
            NodeDaemon::Bird => {
                // An agent would do this.
                netns.sysctls(&[
                    ("net/ipv4/ip_forward", "1"),
                    ("net/ipv6/conf/all/forwarding", "1"),
                ])?;
                router::bird_node(&netns, &self.host_dir(&host), self.config(), node)?
            }
        };
        self.launch(&host, &host, &mut command)
    }

    fn launch(&mut self, role: &str, host: &str, command: &mut Command) -> Result<()> {
        command.env(LAB_VARIABLE, &self.state.config.name);
        // A daemon that is this program again must not make another `/run` over ours.
        command.env_remove(crate::unprivileged::INSIDE);
        let mut record = DaemonRecord {
            role: role.to_owned(),
            host: host.to_owned(),
            process: ProcessId {
                pid: 0,
                start_ticks: 0,
            },
        };
        let log = self.log_file(&record);
        record.process = start_daemon(command, &log, self.state.config.daemons_die_with_us)?;
        self.state.daemons.retain(|daemon| daemon.role != role);
        self.state.daemons.push(record);
        Ok(())
    }

    /// The last lines of a daemon's log, for an error message.
    pub fn last_words(&self, role: &str) -> String {
        let Some(daemon) = self.state.daemon(role) else {
            return format!("{role} was not started");
        };
        let alive = if daemon.process.is_alive() {
            "runs"
        } else {
            "has ended"
        };
        let log = self.log_file(daemon);
        format!(
            "{role} {alive}; {} ends: {}",
            log.display(),
            process::tail(&log)
        )
    }

    /// Asks the agent of a host how it is.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn agent_status(&self, host: &str) -> Result<Status> {
        let client =
            Client::new(self.host_dir(host).join("agent.sock")).with_timeout(STATUS_PATIENCE);
        match client.ask_blocking(&Query::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => bail!("the agent of {host} answered something else"),
        }
    }

    /// Ends the daemon `role` by a signal, and waits until it has ended.
    ///
    /// # Errors
    /// If it does not run or does not end.
    pub fn stop_daemon(&self, role: &str, signal: Signal) -> Result<()> {
        let daemon = self.state.daemon(role);
        let process = daemon.with_context(|| format!("no daemon {role}"))?.process;
        if !process.signal(signal) {
            bail!("{role} does not run");
        }
        if !process::wait_until_ended(process, Instant::now() + END_PATIENCE) {
            bail!("{role} did not end");
        }
        Ok(())
    }

    /// Sends a signal to the daemon `role`, and does not wait.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal_daemon(&self, role: &str, signal: Signal) -> Result<()> {
        let daemon = self.state.daemon(role);
        let process = daemon.with_context(|| format!("no daemon {role}"))?.process;
        if !process.signal(signal) {
            bail!("{role} does not run");
        }
        Ok(())
    }

    /// Starts the daemon of a node again.
    ///
    /// # Errors
    /// If it runs, or cannot be started.
    pub fn start_node(&mut self, node: u16) -> Result<()> {
        let name = Plan::node_name(node);
        if self
            .state
            .daemon(&name)
            .is_some_and(|d| d.process.is_alive())
        {
            bail!("{name} runs");
        }
        self.launch_node(node)?;
        self.started = Instant::now();
        self.dir.save(&self.state)
    }
}

pub(super) fn log_name(daemon: &DaemonRecord) -> &str {
    if daemon.role == daemon.host {
        "agent"
    } else {
        &daemon.role
    }
}
