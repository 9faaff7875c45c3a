//! What an operator chooses about a lab.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::plan::{MAX_NODES, MAX_PODS, Plan};

/// What speaks BGP on the router outside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RouterKind {
    /// A Dunlin agent.
    Dunlin,
    /// FRR: zebra and bgpd.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP. It installs no kernel routes; the lab copies its table.
    Gobgp,
    /// Nothing: the router only forwards.
    None,
}

/// How pods are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PodNetwork {
    /// With the CNI plugins where they are installed, else by hand.
    Auto,
    /// With the CNI plugins, through the list that the agent wrote.
    Cni,
    /// By hand: a veth pair and host routes, as the ptp plugin would.
    Veth,
}

/// What runs on the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NodeDaemon {
    /// A Dunlin agent.
    Dunlin,
    /// BIRD in a static mesh: a yardstick, and the proof that the lab itself works.
    Bird,
}

/// The options of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabConfig {
    /// Its name: part of the names of its namespaces.
    pub name: String,
    /// How many of what, and which families.
    pub plan: Plan,
    /// The router's daemon.
    pub router: RouterKind,
    /// How pods are attached.
    pub pod_network: PodNetwork,
    /// The nodes' daemon.
    pub node_daemon: NodeDaemon,
    /// The program that has the `agent` command.
    pub agent: PathBuf,
    /// Hold time of all sessions of the nodes, in seconds, where it is not the default.
    pub hold_time_secs: Option<u16>,
    /// Whether the nodes' agents deliver what is sent to services.
    pub service_proxy: bool,
    /// Whether the daemons end with this process, whatever ends it.
    pub daemons_die_with_us: bool,
}

impl LabConfig {
    /// # Errors
    /// If the name or a number is outside of what the names and addresses can hold.
    pub fn validate(&self) -> Result<()> {
        validate_name(&self.name)?;
        if !(1..=MAX_NODES).contains(&self.plan.nodes) {
            bail!("--nodes {}: from 1 to {MAX_NODES}", self.plan.nodes);
        }
        if self.plan.pods_per_node > MAX_PODS {
            bail!("--pods {}: at most {MAX_PODS}", self.plan.pods_per_node);
        }
        Ok(())
    }
}

/// # Errors
/// If `name` could not be part of a file name and of an interface name.
pub fn validate_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 24 || !name.chars().all(allowed) {
        bail!("lab name `{name}`: 1 to 24 of a-z, 0-9 and `-`");
    }
    Ok(())
}
