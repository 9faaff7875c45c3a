//! What `dunlin get` gets.

use clap::{Args, Subcommand};
use dunlin_api::{RouteFilter, ServiceFilter};
use dunlin_net::{Afi, IpNet};

use super::{FamilyName, Format, OutputOptions};
use crate::all_nodes::AllNodes;

#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// BGP sessions.
    #[command(visible_alias = "neighbor")]
    Neighbors(NeighborOptions),
    /// Routes, their paths, and what the kernel says of them.
    #[command(visible_alias = "route")]
    #[command(after_help = "Marks before a path: * best, = in the multipath set, s stale.")]
    Routes(RouteOptions),
    /// What is announced, to whom, and why not.
    #[command(visible_alias = "advertisement")]
    Advertisements(RouteOptions),
    /// Services, where their addresses stand, and why; with -o wide what the service proxy does at each port.
    #[command(visible_alias = "service", visible_alias = "svc")]
    #[command(
        after_help = "READY is of all nodes, HERE of this one. PROGRAMMED is there with --service-proxy on: addresses with a
protocol and port that the kernel delivers to, of all that the service has."
    )]
    Services(ServiceOptions),
    /// Pools of load-balancer addresses, what is used of them, and whose agent gives them out.
    #[command(visible_alias = "pool")]
    #[command(
        after_help = "Used is what Services show in their status or have among their externalIPs."
    )]
    Pools(PoolOptions),
    /// The cluster's nodes as this agent sees them.
    #[command(visible_alias = "node")]
    Nodes(NodeOptions),
}

#[derive(Debug, Args)]
pub(crate) struct NeighborOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this one: its address or name.
    #[arg(long, value_name = "ADDRESS|NAME")]
    pub(crate) peer: Option<String>,
    /// Only those with this family in use.
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyName>,
    /// Only the session with this node.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}

#[derive(Debug, Args)]
pub(crate) struct RouteOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this prefix and what lies within it.
    #[arg(long)]
    pub(crate) prefix: Option<IpNet>,
    /// Only what comes from, or goes to, this neighbor: its address or name.
    #[arg(long, value_name = "ADDRESS|NAME")]
    pub(crate) peer: Option<String>,
    /// Only what this node owns or announces.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Only this family.
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyName>,
    /// At most so many prefixes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

impl RouteOptions {
    pub(crate) fn filter(&self) -> RouteFilter {
        RouteFilter {
            prefix: self.prefix,
            family: self.family.map(Afi::from),
            peer: self.peer.clone(),
            node: self.node.clone(),
            limit: Some(self.limit),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServiceOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this one.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only those of this namespace.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Only those with an address that this node announces.
    #[arg(long)]
    pub(crate) announced: bool,
    /// At most so many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

impl ServiceOptions {
    pub(crate) fn filter(&self) -> ServiceFilter {
        ServiceFilter {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            announced: self.announced,
            frontends: self.output.output != Format::Table,
            limit: Some(self.limit),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PoolOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this one.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this one.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}
