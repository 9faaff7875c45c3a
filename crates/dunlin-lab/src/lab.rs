//! One lab: up, changed while it runs, down.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dunlin_api::{Answer, Client, Query, Status};
use rustix::process::Signal;

use crate::config::{LabConfig, NodeDaemon, PodNetwork, RouterKind};
use crate::netns::{self, Netns};
use crate::plan::{Plan, PodName};
use crate::process::{self, LAB_VARIABLE, ProcessId, start_daemon};
use crate::report::{Report, list};
use crate::router::{self, gobgp};
use crate::routes::PROTOCOL_DUNLIN;
use crate::state::{DaemonRecord, LabDir, PodRecord, State, boot_id, names};
use crate::{files, manifests, pods, topology};

/// How long a daemon may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an agent may take to write its CNI list, or a daemon its socket.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Where the agents serve metrics, inside their namespaces.
pub const METRICS_ADDRESS: &str = "127.0.0.1:9469";

/// A lab that exists. Dropping the value leaves it up.
#[derive(Debug)]
pub struct Lab {
    dir: LabDir,
    state: State,
    /// When the last daemon was started, by this process.
    started: Instant,
}

impl Lab {
    /// Builds a lab and starts its daemons and pods. When something fails, what was made is taken away again.
    ///
    /// # Errors
    /// If a lab of that name is up, or something cannot be made.
    pub fn up(config: LabConfig, report: &Report) -> Result<Lab> {
        Lab::up_with(config, report, false)
    }

    /// As [`Lab::up`]; with `keep`, what was made stays after a failure, to be looked at.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up_with(config: LabConfig, report: &Report, keep: bool) -> Result<Lab> {
        config.validate()?;
        let dir = LabDir::lock(&config.name)?;
        if let Some(old) = dir.load()? {
            if old.complete && old.boot_id == boot_id() {
                bail!(
                    "lab `{0}` is up already: `dunlin lab check --name {0}` tries it, `dunlin lab down --name {0}` ends it",
                    config.name
                );
            }
            report.note(
                "rest",
                "an earlier lab was not taken down: removing what it left",
            );
            take_down(&old)?;
        }
        let state = State {
            boot_id: boot_id(),
            owner: ProcessId::own()?,
            complete: false,
            hosts: topology::hosts(&config.plan),
            daemons: Vec::new(),
            pods: Vec::new(),
            config,
        };
        if let Some(taken) = state
            .hosts
            .iter()
            .map(|h| state.namespace(h))
            .find(|n| netns::exists(n))
        {
            bail!(
                "a network namespace {taken} exists, and no lab says it is its own: `ip netns delete {taken}`, or choose another --name"
            );
        }
        dir.save(&state)?;
        let mut lab = Lab {
            dir,
            state,
            started: Instant::now(),
        };
        match lab.build(report) {
            Ok(()) => Ok(lab),
            Err(error) if keep => Err(error.context("the lab stays as it is (--keep)")),
            Err(error) => {
                crate::signals::clear();
                match lab.down() {
                    Ok(_) => Err(error),
                    Err(second) => {
                        Err(error.context(format!("taking it down failed too: {second:#}")))
                    }
                }
            }
        }
    }

    /// Opens a lab that is up, to change it.
    ///
    /// # Errors
    /// If there is none of that name, or another command works on it.
    pub fn open(name: &str) -> Result<Lab> {
        // Look before locking: locking makes the directory.
        Lab::view(name)?;
        let dir = LabDir::lock(name)?;
        Lab::with(dir, name)
    }

    /// Opens a lab that is up, to look at it.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn view(name: &str) -> Result<Lab> {
        Lab::with(LabDir::of(name)?, name)
    }

    fn with(dir: LabDir, name: &str) -> Result<Lab> {
        let state = dir.load()?.with_context(|| {
            let others = names();
            if others.is_empty() {
                format!("no lab `{name}` is up: `dunlin lab up` makes one")
            } else {
                format!("no lab `{name}` is up; there is: {}", list(&others))
            }
        })?;
        Ok(Lab {
            dir,
            state,
            started: Instant::now(),
        })
    }

    /// The options it was made with.
    pub fn config(&self) -> &LabConfig {
        &self.state.config
    }

    /// Its names and addresses.
    pub fn plan(&self) -> &Plan {
        &self.state.config.plan
    }

    /// What is known of it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When this process started the last daemon, or opened the lab.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The namespace of a host: `n1`, `n1p1`, `router`, `client`, `underlay`.
    ///
    /// # Errors
    /// If the lab has no such host.
    pub fn netns(&self, host: &str) -> Result<Netns> {
        if !self.state.hosts.iter().any(|known| known == host) {
            bail!(
                "lab `{}` has no `{host}`; it has {}",
                self.state.config.name,
                self.state.hosts.join(" ")
            );
        }
        Netns::open(&self.state.namespace(host))
    }

    /// The directory of a host's files: socket, log, state.
    pub fn host_dir(&self, host: &str) -> PathBuf {
        self.dir.path().join(host)
    }

    /// The directory of the objects that the nodes' agents read.
    pub fn manifest_dir(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// The directory of the objects that a Dunlin router reads.
    pub fn router_manifest_dir(&self) -> PathBuf {
        self.host_dir(topology::ROUTER).join("manifests")
    }

    /// The log of a daemon.
    pub fn log_file(&self, daemon: &DaemonRecord) -> PathBuf {
        self.host_dir(&daemon.host)
            .join(format!("{}.log", log_name(daemon)))
    }

    /// The route protocol that the nodes' routes carry.
    pub fn node_protocol(&self) -> u8 {
        match self.state.config.node_daemon {
            NodeDaemon::Dunlin => PROTOCOL_DUNLIN,
            NodeDaemon::Bird => 12,
        }
    }

    /// The route protocol that the router's routes carry; `None` where it learns none.
    pub fn router_protocol(&self) -> Option<u8> {
        match self.state.config.router {
            RouterKind::Dunlin => Some(PROTOCOL_DUNLIN),
            RouterKind::Bird => Some(12),
            RouterKind::Frr | RouterKind::Gobgp => Some(186),
            RouterKind::None => None,
        }
    }

    fn build(&mut self, report: &Report) -> Result<()> {
        let began = Instant::now();
        for host in self.plan().node_numbers().map(Plan::node_name) {
            fs::create_dir_all(self.host_dir(&host).join("cni"))?;
            fs::create_dir_all(self.host_dir(&host).join("state"))?;
        }
        fs::create_dir_all(self.host_dir(topology::ROUTER))?;
        write_protocol_names(&self.dir.path().join("rt_protos"));
        topology::build(&self.state)?;
        let text = format!(
            "{} network namespaces, a bridge in one of its own",
            self.state.hosts.len()
        );
        report.done("underlay", &text, began.elapsed());
        crate::signals::check()?;
        self.start_daemons(report)?;
        self.attach_pods(report)?;
        self.state.complete = true;
        self.dir.save(&self.state)
    }

    fn start_daemons(&mut self, report: &Report) -> Result<()> {
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
            NodeDaemon::Dunlin => self.agent_command(&netns, &host, &self.manifest_dir()),
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

    fn attach_pods(&mut self, report: &Report) -> Result<()> {
        let all = self.plan().pods();
        if all.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let attached = std::sync::Mutex::new(Vec::new());
        let by_cni = self.pods_by_cni(report)?;
        topology::in_parallel(all, |pod| {
            let record = self.attach(pod, by_cni)?;
            if let Ok(mut attached) = attached.lock() {
                attached.push((pod, record));
            }
            Ok(())
        })?;
        let mut records = attached.into_inner().unwrap_or_default();
        records.sort_by_key(|(pod, _)| *pod);
        self.state.pods = records.into_iter().map(|(_, record)| record).collect();
        let names: Vec<_> = self.state.pods.iter().map(|pod| pod.name.clone()).collect();
        let how = if by_cni {
            format!(
                "by the agent's CNI list: {}",
                self.chain(1)?.plugins().join(", ")
            )
        } else {
            "a veth pair each".to_owned()
        };
        report.done("pods", &format!("{}: {how}", list(&names)), began.elapsed());
        Ok(())
    }

    fn attach(&self, pod: PodName, by_cni: bool) -> Result<PodRecord> {
        if by_cni {
            pods::attach_by_cni(&self.state, &self.chain(pod.node)?, pod)
        } else {
            pods::attach_by_hand(&self.state, pod)
        }
    }

    /// The plugin list that the agent of a node wrote; waits until it is there.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn chain(&self, node: u16) -> Result<crate::cni::Chain> {
        let directory = self.host_dir(&Plan::node_name(node)).join("cni");
        let mut broken = Ok(());
        let deadline = Instant::now() + START_DEADLINE;
        let what = "the agent's CNI list";
        let chain = files::wait_for(&directory, what, deadline, || {
            match pods::chain_in(&directory) {
                Ok(chain) => chain.map(Some),
                Err(error) => {
                    broken = Err(error);
                    Some(None)
                }
            }
        })
        .with_context(|| self.last_words(&Plan::node_name(node)))?;
        broken?;
        chain.context("no CNI list")
    }

    /// Decides whether plugins attach the pods, and says why not.
    fn pods_by_cni(&self, report: &Report) -> Result<bool> {
        let config = self.config();
        if config.pod_network == PodNetwork::Veth || config.node_daemon != NodeDaemon::Dunlin {
            return Ok(false);
        }
        let chain = self.chain(1)?;
        let missing = chain.missing();
        if missing.is_empty() || config.pod_network == PodNetwork::Cni {
            return Ok(true);
        }
        let text = format!(
            "not installed: {} (containernetworking-plugins); plain veth pairs instead",
            missing.join(", ")
        );
        report.note("cni", &text);
        Ok(false)
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
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(3).collect();
        let tail: Vec<_> = lines.into_iter().rev().collect();
        format!(
            "{role} {alive}; {} ends: {}",
            log.display(),
            tail.join(" | ")
        )
    }

    /// Asks the agent of a host how it is.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn agent_status(&self, host: &str) -> Result<Status> {
        let client = Client::new(self.host_dir(host).join("agent.sock"))
            .with_timeout(Duration::from_secs(2));
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
        if !process::wait_until_ended(process, Instant::now() + Duration::from_secs(10)) {
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

    /// Takes everything down: processes, namespaces, files. Says what there was.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn down(self) -> Result<Removed> {
        let removed = take_down(&self.state)?;
        self.dir.remove()?;
        Ok(removed)
    }
}

fn log_name(daemon: &DaemonRecord) -> &str {
    if daemon.role == daemon.host {
        "agent"
    } else {
        &daemon.role
    }
}

/// What [`Lab::down`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Processes that were running.
    pub processes: usize,
    /// Namespaces.
    pub namespaces: usize,
}

/// Takes down whatever there is of a lab, complete or not. Without a state there is only a directory.
///
/// # Errors
/// If something cannot be removed.
pub fn down(name: &str) -> Result<Option<Removed>> {
    if !names().iter().any(|known| known == name) {
        return Ok(None);
    }
    let dir = LabDir::lock(name)?;
    let removed = match dir.load()? {
        Some(state) => take_down(&state)?,
        None => Removed::default(),
    };
    dir.remove()?;
    Ok(Some(removed))
}

fn take_down(state: &State) -> Result<Removed> {
    let mut removed = Removed::default();
    // After a reboot the numbers mean other processes; the start times differ, but why rely on it.
    if state.boot_id == boot_id() {
        let recorded = state
            .daemons
            .iter()
            .map(|daemon| daemon.process)
            .collect::<Vec<_>>();
        removed.processes += process::stop_all(&recorded, PATIENCE);
        // What was started and not yet written down when the lab's process died.
        let unrecorded = process::marked(&state.config.name);
        removed.processes += process::stop_all(&unrecorded, PATIENCE);
    }
    for host in &state.hosts {
        removed.namespaces += usize::from(netns::delete(&state.namespace(host))?);
    }
    let frr = router::frr_run_dir(&state.config.name);
    match fs::remove_dir_all(&frr) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", frr.display()))
        }
        _ => Ok(removed),
    }
}

/// The machine's names of route protocols, and ours: shown in place of the machine's by `lab exec`.
fn write_protocol_names(path: &std::path::Path) {
    let known =
        crate::cli::exec::protocol_names_file().and_then(|path| fs::read_to_string(path).ok());
    let text = format!("{}\n{PROTOCOL_DUNLIN}\tdunlin\n", known.unwrap_or_default());
    // Only names are at stake: without the file, numbers are shown.
    let _ = fs::write(path, text);
}
