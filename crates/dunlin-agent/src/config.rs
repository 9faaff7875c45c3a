//! What `dunlin agent` was told on its command line or by its environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
pub use dunlin_kube::api::{ApiConfig, ApiServer};
use dunlin_net::service::ProxyOptions;

/// Where the agent's directories and files are unless it was told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/dunlin";
/// Where CNI configurations are looked for by container runtimes.
pub const DEFAULT_CNI_CONF_DIR: &str = "/etc/cni/net.d";
/// Where metrics and health are served: this host only, until somebody says otherwise.
pub const DEFAULT_METRICS_ADDR: &str = "127.0.0.1:9179";

/// Where passwords are kept for a restart without the API server: a tmpfs.
pub const DEFAULT_SECRETS_DIR: &str = "/run/dunlin/secrets";

/// The namespace that the agents run in unless it is said.
pub const DEFAULT_NAMESPACE: &str = "kube-system";

/// Where iproute2 looks for the names of route protocols.
pub const DEFAULT_PROTOCOL_NAMES: &str = dunlin_kernel::protocol_name::DEFAULT_DIR;

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The Node object this agent stands for.
    pub node_name: String,
    /// Where the objects come from.
    pub cluster: ClusterSource,
    /// What the Kubernetes API as a source needs.
    pub kube: KubeOptions,
    /// The admin socket.
    pub socket: PathBuf,
    /// Where metrics and health are served; `None` for nowhere.
    pub metrics_addr: Option<SocketAddr>,
    /// Where the CNI configuration goes.
    pub cni_conf_dir: PathBuf,
    /// Where iproute2 looks for the names of route protocols; ours is put there.
    pub protocol_names: PathBuf,
    /// What must outlive the process: boot id, lock, pod address leases.
    pub state_dir: PathBuf,
    /// Whether to load-balance services on the node.
    pub service_proxy: ServiceProxy,
    /// How, if they are.
    pub proxy_options: ProxyOptions,
    /// What to log, as `tracing`'s filters say it: `info`, `info,dunlin_speaker=debug`.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
}

/// Where the objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterSource {
    /// The Kubernetes API.
    Kube,
    /// A directory of YAML files.
    Dir(PathBuf),
}

/// What the Kubernetes API as a source needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeOptions {
    /// Where it is, and who we are there.
    pub api: ApiConfig,
    /// The directory for passwords, on a tmpfs.
    pub secrets_dir: PathBuf,
    /// The namespace that the agents run in, for the Lease of the one that gives out load-balancer addresses.
    pub namespace: String,
    /// Whether Services of type LoadBalancer without a class are ours.
    pub default_class: bool,
}

impl Default for KubeOptions {
    fn default() -> KubeOptions {
        KubeOptions {
            api: ApiConfig::default(),
            secrets_dir: DEFAULT_SECRETS_DIR.into(),
            namespace: DEFAULT_NAMESPACE.into(),
            default_class: true,
        }
    }
}

impl std::str::FromStr for ClusterSource {
    type Err = String;

    fn from_str(text: &str) -> Result<ClusterSource, String> {
        match text.split_once(':') {
            None if text == "kube" => Ok(ClusterSource::Kube),
            Some(("dir", path)) if !path.is_empty() => Ok(ClusterSource::Dir(path.into())),
            _ => Err("give `kube`, or `dir:PATH` for a directory of YAML files".into()),
        }
    }
}

/// Whether services are load-balanced on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceProxy {
    /// By another, or not at all.
    #[default]
    Off,
    /// By us alone: refuses to start beside another.
    On,
    /// By us, beside another until it ends; then what it left is removed.
    TakeOver,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text an event.
    #[default]
    Text,
    /// A JSON object an event.
    Json,
}

impl AgentConfig {
    /// Refuses what cannot work, before anything is touched.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn validate(&self) -> Result<()> {
        validate_node_name(&self.node_name)?;
        match &self.cluster {
            ClusterSource::Kube => {}
            ClusterSource::Dir(path) if !path.is_dir() => bail!(
                "--cluster dir:{}: no such directory: create it, and put the Node objects there as YAML files",
                path.display()
            ),
            ClusterSource::Dir(_) => {}
        }
        Ok(())
    }
}

/// A Node's name is a DNS subdomain (RFC 1123): that is what the API server takes.
fn validate_node_name(name: &str) -> Result<()> {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() {
        bail!(
            "no node name: give --node-name or DUNLIN_NODE_NAME, the name of this machine's Node object"
        );
    }
    if name.len() > 253 || !name.split('.').all(label) {
        bail!(
            "{name:?} is no node name: it takes lower-case letters, digits, '-' and '.', at most 253 octets: \
             give --node-name as `kubectl get nodes` shows it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
