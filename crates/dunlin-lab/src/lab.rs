//! One lab: up, changed while it runs, down.

mod daemons;
mod teardown;

pub use teardown::{Removed, down};

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::config::{LabConfig, NodeDaemon, PodNetwork, RouterKind};
use crate::netns::{self, Netns};
use crate::plan::{Plan, PodName};
use crate::process::ProcessId;
use crate::report::{Report, list};
use crate::routes::PROTOCOL_DUNLIN;
use crate::state::{self, DaemonRecord, LabDir, PodRecord, State, boot_id};
use crate::{files, names, pods, topology};

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
        Lab::up_with(config, report, false, |_| Ok(()))
    }

    /// As [`Lab::up`]; with `keep`, what was made stays after a failure, to be looked at. `before_pods` is called once
    /// the daemons run.
    ///
    /// # Errors
    /// As [`Lab::up`], or what `before_pods` says.
    pub fn up_with(
        config: LabConfig,
        report: &Report,
        keep: bool,
        before_pods: impl FnOnce(&Lab) -> Result<()>,
    ) -> Result<Lab> {
        config.validate()?;
        let dir = LabDir::lock(&config.name, Duration::ZERO)?;
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
            teardown::take_down(&dir, &old)?;
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
        match lab.build(report, before_pods) {
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
        let dir = LabDir::lock(name, Duration::ZERO)?;
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
            let others = state::names();
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

    /// The lab's copy of `/etc/iproute2`.
    pub fn names_dir(&self) -> PathBuf {
        self.dir.path().join("iproute2")
    }

    /// The log of a daemon.
    pub fn log_file(&self, daemon: &DaemonRecord) -> PathBuf {
        self.host_dir(&daemon.host)
            .join(format!("{}.log", daemons::log_name(daemon)))
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

    fn build(
        &mut self,
        report: &Report,
        before_pods: impl FnOnce(&Lab) -> Result<()>,
    ) -> Result<()> {
        let began = Instant::now();
        for host in self.plan().node_numbers().map(Plan::node_name) {
            fs::create_dir_all(self.host_dir(&host).join("cni"))?;
            fs::create_dir_all(self.host_dir(&host).join("state"))?;
        }
        fs::create_dir_all(self.host_dir(topology::ROUTER))?;
        names::copy_to(&self.names_dir())?;
        topology::build(&self.state)?;
        let text = format!(
            "{} network namespaces, a bridge in one of its own",
            self.state.hosts.len()
        );
        report.done("underlay", &text, began.elapsed());
        crate::signals::check()?;
        self.start_daemons(report)?;
        before_pods(self)?;
        self.attach_pods(report)?;
        self.state.complete = true;
        self.dir.save(&self.state)
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

    /// Takes everything down: processes, namespaces, files. Says what there was.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn down(self) -> Result<Removed> {
        let removed = teardown::take_down(&self.dir, &self.state)?;
        self.dir.remove()?;
        Ok(removed)
    }
}
