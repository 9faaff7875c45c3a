//! The command line.

mod get;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dunlin_agent::config::{
    ClusterSource, DEFAULT_CNI_CONF_DIR, DEFAULT_METRICS_ADDR, DEFAULT_NAMESPACE,
    DEFAULT_PROTOCOL_NAMES, DEFAULT_SECRETS_DIR, DEFAULT_STATE_DIR, ServiceProxy,
};
use dunlin_api::DEFAULT_SOCKET;
use dunlin_net::service::NodePorts;
use dunlin_net::{Afi, IpNet};

use crate::all_nodes::StatusOptions;
use crate::api_args::ApiOptions;
use crate::drain::{DrainOptions, UndrainOptions};
use crate::install_cni::InstallCniOptions;
use crate::manifests::ManifestOptions;
use crate::migrate::Migrate;
use crate::nft::NftOptions;
use crate::reference::ManOptions;

pub(crate) use get::{
    Get, NeighborOptions, NodeOptions, PoolOptions, RouteOptions, ServiceOptions,
};

/// Plain routing for Kubernetes: one agent a node, BGP between them, the kernel's own routes.
#[derive(Debug, Parser)]
#[command(
    name = "dunlin",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "Exit codes: 0 fine, 1 a problem was found, 2 usage.

Examples:
  dunlin status                            how this node stands
  dunlin get routes --prefix 10.244.0.0/16
  dunlin explain 10.244.2.0/24             where a prefix comes from, where it goes, or where it stops
  dunlin explain tor-1                     why a session is up or down
  dunlin explain shop/web                  how a Service's addresses are announced and delivered, or why not
  dunlin agent --cluster dir:/etc/dunlin/cluster")]
pub(crate) struct Cli {
    /// The agent's admin socket.
    #[arg(long, global = true, env = "DUNLIN_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Whether to colour the output; `auto` colours on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node's agent.
    Agent(AgentOptions),
    /// Show on one screen how this node stands, problems first.
    Status(StatusOptions),
    /// List neighbors, routes, advertisements, services or nodes.
    #[command(subcommand)]
    Get(Get),
    /// Show the whole chain of a prefix, a service or a neighbor, with reasons, or where and why it stops.
    Explain(ExplainOptions),
    /// Show what the kernel's tables of services hold on this node, read from the kernel itself.
    Nft(NftOptions),
    /// Write a table of routes as an MRT dump.
    Mrt(crate::mrt::MrtOptions),
    /// Show what a change of objects would come to on this node, before it is made.
    Plan(crate::plan::PlanOptions),
    /// Take a node out of the routers' choice, for maintenance.
    Drain(DrainOptions),
    /// Bring a drained node back.
    Undrain(UndrainOptions),
    /// Look for what could keep this machine from being a node, and say what to do about it.
    Check(CheckOptions),
    /// Remove what the agent made on this machine, and nothing else.
    Cleanup(CleanupOptions),
    /// Print the objects that put an agent on every node of a Kubernetes cluster.
    Manifests(ManifestOptions),
    /// Print the definitions of our kinds for an API server.
    Crds(crate::crds::CrdsOptions),
    /// Put the CNI plugins that pods need where the container runtime looks for them.
    InstallCni(InstallCniOptions),
    /// Tell another network plugin's configuration as Dunlin's objects.
    #[command(subcommand)]
    Migrate(Migrate),
    /// Write a man page for each command.
    Man(ManOptions),
    /// Write the generated pages of docs/reference.
    #[command(hide = true)]
    Reference {
        /// The directory to write them to.
        directory: PathBuf,
    },
    /// Do nothing until asked to end.
    #[command(hide = true)]
    Pause,
    /// A virtual cluster on this machine, in network namespaces.
    Lab(dunlin_lab::LabArgs),
    /// Print completions for a shell.
    #[command(after_help = "Example:
  dunlin completions bash > /etc/bash_completion.d/dunlin")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table of at most 100 columns.
    Table,
    /// A table with everything in it.
    Wide,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// How to print.
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing. Run it as root: an ordinary user sees less. Exit code 1 if something fails."
)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// The directory for the CNI configuration.
    #[arg(long, env = "DUNLIN_CNI_CONF_DIR", value_name = "PATH", default_value = DEFAULT_CNI_CONF_DIR)]
    pub(crate) cni_conf_dir: PathBuf,
    /// The source of objects: a directory's files are read and judged as the agent would; of the Kubernetes API it is tried
    /// whether it answers and lets us read.
    #[arg(long, env = "DUNLIN_CLUSTER", value_name = "SOURCE")]
    pub(crate) cluster: Option<ClusterSource>,
    #[command(flatten)]
    pub(crate) api: ApiOptions,
    /// The Node object this machine's agent stands for; the host name if not given.
    #[arg(long, env = "DUNLIN_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Removes our routes, nexthop objects, nf_tables table, route protocol name, CNI configuration and
state. Sysctls stay as they are, and so do the leases of pods that still run. The agent must not run."
)]
pub(crate) struct CleanupOptions {
    /// Do it; without this, only say what would be removed.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only say what would be removed, as without --yes.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do it although an agent runs, or with --kube-proxy another service proxy, which will put everything back.
    #[arg(long)]
    pub(crate) force: bool,
    /// Remove what another service proxy (kube-proxy in any mode, or kube-router) left in the kernel, instead of what the
    /// agent made. An agent may run, and should: then no connection is lost.
    #[arg(long, conflicts_with_all = ["cni_bin_dir", "leases"])]
    pub(crate) kube_proxy: bool,
    /// The directory for the CNI configuration.
    #[arg(long, env = "DUNLIN_CNI_CONF_DIR", value_name = "PATH", default_value = DEFAULT_CNI_CONF_DIR)]
    pub(crate) cni_conf_dir: PathBuf,
    /// The directory for the name of our route protocol.
    #[arg(long, hide = true, env = "DUNLIN_PROTOCOL_NAMES", value_name = "PATH", default_value = DEFAULT_PROTOCOL_NAMES)]
    pub(crate) protocol_names: PathBuf,
    /// The directory for what must outlive the process.
    #[arg(long, env = "DUNLIN_STATE_DIR", value_name = "PATH", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// The directory for passwords that a restart without the API server needs.
    #[arg(long, env = "DUNLIN_SECRETS_DIR", value_name = "PATH", default_value = DEFAULT_SECRETS_DIR)]
    pub(crate) secrets_dir: PathBuf,
    /// The directory that `dunlin install-cni` put plugins into: remove those that are still as it left them.
    #[arg(long, value_name = "PATH")]
    pub(crate) cni_bin_dir: Option<PathBuf>,
    /// Forget the addresses of pods that still run, too; such pods must be made anew by another network plugin.
    #[arg(long)]
    pub(crate) leases: bool,
}

/// A family, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FamilyName {
    #[value(alias = "4")]
    Ipv4,
    #[value(alias = "6")]
    Ipv6,
}

impl From<FamilyName> for Afi {
    fn from(name: FamilyName) -> Afi {
        match name {
            FamilyName::Ipv4 => Afi::Ipv4,
            FamilyName::Ipv6 => Afi::Ipv6,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dunlin explain 10.244.2.0/24
  dunlin explain 192.0.2.1
  dunlin explain node-3
  dunlin explain shop/web")]
pub(crate) struct ExplainOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// A prefix, a Service as namespace/name or by an address, or a neighbor's address or name.
    #[arg(value_name = "PREFIX|SERVICE|NEIGHBOR")]
    pub(crate) subject: Subject,
}

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Prefix(IpNet),
    /// A neighbor's address; if there is none of it, the address as a prefix of full length.
    Address(IpAddr),
    Name(String),
    Service {
        namespace: String,
        name: String,
    },
}

/// `namespace/name`, if it can be one: a namespace has no dots, so that no mistyped prefix is taken for a Service.
fn service(text: &str) -> Option<Subject> {
    let text = text.strip_prefix("Service/").unwrap_or(text);
    let (namespace, name) = text.split_once('/')?;
    let label = |part: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.len() <= 63 && part.chars().all(allowed)
    };
    (label(namespace) && label(name)).then(|| Subject::Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        if let Ok(address) = text.parse() {
            return Ok(Subject::Address(address));
        }
        if text.contains('/') {
            let prefix = text
                .parse()
                .map(|prefix: IpNet| Subject::Prefix(prefix.trunc()));
            return prefix.ok().or_else(|| service(text)).ok_or_else(|| {
                "neither a prefix (as 10.244.2.0/24), a Service (as shop/web) nor a neighbor"
                    .to_owned()
            });
        }
        if text.is_empty() {
            return Err("give a prefix, a Service, or a neighbor's address or name".into());
        }
        Ok(Subject::Name(text.to_owned()))
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "The agent runs in the foreground and logs to standard error. SIGTERM and SIGINT end it: kernel
routes stay, and peers are asked to keep theirs; a second signal ends it at once.

Examples:
  dunlin agent --node-name n1 --cluster dir:/etc/dunlin/cluster
  dunlin agent --node-name n1 --cluster kube --api-server 192.0.2.1:6443 --api-server 192.0.2.2:6443"
)]
pub(crate) struct AgentOptions {
    /// The Node object this agent stands for; this machine's host name if not given.
    #[arg(long, env = "DUNLIN_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where the objects come from: `kube`, the Kubernetes API, or `dir:PATH`, a directory of YAML files that is watched.
    #[arg(
        long,
        env = "DUNLIN_CLUSTER",
        value_name = "SOURCE",
        default_value = "kube"
    )]
    pub(crate) cluster: ClusterSource,
    #[command(flatten)]
    pub(crate) api: ApiOptions,
    /// The directory for passwords that a restart without the API server needs: on a tmpfs, or they are not kept.
    #[arg(long, env = "DUNLIN_SECRETS_DIR", value_name = "PATH", default_value = DEFAULT_SECRETS_DIR)]
    pub(crate) secrets_dir: PathBuf,
    /// Where to serve /metrics, /healthz and /readyz: an address and port, or `off`.
    #[arg(long, env = "DUNLIN_METRICS_ADDR", value_name = "ADDR:PORT", default_value = DEFAULT_METRICS_ADDR)]
    pub(crate) metrics_addr: MetricsAddr,
    /// The directory for the CNI configuration.
    #[arg(long, env = "DUNLIN_CNI_CONF_DIR", value_name = "PATH", default_value = DEFAULT_CNI_CONF_DIR)]
    pub(crate) cni_conf_dir: PathBuf,
    /// The directory for the name of our route protocol.
    #[arg(long, hide = true, env = "DUNLIN_PROTOCOL_NAMES", value_name = "PATH", default_value = DEFAULT_PROTOCOL_NAMES)]
    pub(crate) protocol_names: PathBuf,
    /// The directory for what must outlive the process.
    #[arg(long, env = "DUNLIN_STATE_DIR", value_name = "PATH", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Whether to deliver what is sent to services: load-balance it over their endpoints, in place of kube-proxy. `on` refuses
    /// to start beside another service proxy; `take-over` programs all services beside it and removes what it has in the
    /// kernel once it has ended. Where it is off, tables that an agent with it on left are removed.
    #[arg(
        long,
        env = "DUNLIN_SERVICE_PROXY",
        value_enum,
        value_name = "ON|OFF|TAKE-OVER",
        default_value = "off"
    )]
    pub(crate) service_proxy: ServiceProxyMode,
    /// Whether services see the node's address in place of every client's: for networks where answers would take another way.
    /// A Local policy keeps the client's all the same.
    #[arg(
        long,
        env = "DUNLIN_MASQUERADE_ALL",
        value_enum,
        value_name = "ON|OFF",
        default_value = "off"
    )]
    pub(crate) masquerade_all: Switch,
    /// At which addresses of the node node ports are: `internal`, all InternalIPs of its Node; `primary`, the first of each
    /// family; or networks, as 192.0.2.0/24,2001:db8::/64: all addresses that the machine has within them.
    #[arg(
        long,
        env = "DUNLIN_NODE_PORT_ADDRESSES",
        value_name = "internal|primary|CIDR,...",
        default_value = "internal"
    )]
    pub(crate) node_port_addresses: NodePortAddresses,
    /// Whether the kernel counts the connections to each address and port of the services that are delivered: one more look for
    /// each new connection, and a metric with a series for each, up to 5,000.
    #[arg(
        long,
        env = "DUNLIN_SERVICE_COUNTERS",
        value_enum,
        value_name = "ON|OFF",
        default_value = "off"
    )]
    pub(crate) service_counters: Switch,
    /// Whether to give load-balancer addresses to services without a loadBalancerClass, as well as to those of class
    /// dunlin.dev/bgp. The same on all nodes.
    #[arg(
        long,
        env = "DUNLIN_DEFAULT_LOAD_BALANCER_CLASS",
        value_enum,
        value_name = "ON|OFF",
        default_value = "on"
    )]
    pub(crate) default_load_balancer_class: Switch,
    /// The namespace the agents run in: there lies the Lease of the one that gives out load-balancer addresses.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,
    /// What to log: a level, or levels by module, as `info,dunlin_speaker=debug`.
    #[arg(
        long,
        env = "DUNLIN_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub(crate) log: String,
    /// How to log.
    #[arg(
        long,
        env = "DUNLIN_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormatName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Whether to deliver what is sent to services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceProxyMode {
    // As YAML has it where it is not in quotes.
    #[value(alias = "true")]
    On,
    #[value(alias = "false")]
    Off,
    TakeOver,
}

impl From<ServiceProxyMode> for ServiceProxy {
    fn from(mode: ServiceProxyMode) -> ServiceProxy {
        match mode {
            ServiceProxyMode::On => ServiceProxy::On,
            ServiceProxyMode::Off => ServiceProxy::Off,
            ServiceProxyMode::TakeOver => ServiceProxy::TakeOver,
        }
    }
}

/// Where node ports are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodePortAddresses(pub(crate) NodePorts);

impl FromStr for NodePortAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<NodePortAddresses, String> {
        let net = |text: &str| {
            let net = text.trim().parse::<IpNet>();
            net.map(|net| net.trunc()).map_err(|_| {
                format!("{text:?} is neither `internal`, `primary` nor a network as 192.0.2.0/24")
            })
        };
        Ok(NodePortAddresses(match text {
            "internal" => NodePorts::Internal,
            "primary" => NodePorts::Primary,
            nets => NodePorts::Within(nets.split(',').map(net).collect::<Result<_, _>>()?),
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormatName {
    Text,
    Json,
}

/// Where to serve metrics, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricsAddr(pub(crate) Option<SocketAddr>);

impl FromStr for MetricsAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<MetricsAddr, String> {
        if text == "off" {
            return Ok(MetricsAddr(None));
        }
        match text.parse() {
            Ok(addr) => Ok(MetricsAddr(Some(addr))),
            Err(_) => Err(format!(
                "give an address and port, as {DEFAULT_METRICS_ADDR} or [::]:9179, or `off`"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
