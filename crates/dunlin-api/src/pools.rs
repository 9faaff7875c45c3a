use serde::{Deserialize, Serialize};

use dunlin_net::Afi;

/// A `LoadBalancerPool` as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pool {
    /// `metadata.name`.
    pub name: String,
    /// `spec.addresses`, as far as they are understood: prefixes and ranges.
    pub addresses: Vec<String>,
    /// Whether Services get an address of it without asking.
    pub auto_assign: bool,
    /// The families that it has addresses of.
    pub families: Vec<PoolCounts>,
    /// The node whose agent gives the addresses out, as far as this agent knows.
    pub allocator: Option<String>,
    /// What is wrong with it: the field, what, and what to do.
    pub problems: Vec<String>,
}

/// The addresses of one family in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolCounts {
    /// Which family.
    pub family: Afi,
    /// How many there are; more than can be counted count as 18446744073709551615.
    pub total: u64,
    /// How many of them are in the status or among the external addresses of a Service.
    pub used: u64,
    /// How many are left: what Nodes, pods, BGP peers and API servers use, and cluster IPs are taken from, is not.
    pub free: u64,
}
