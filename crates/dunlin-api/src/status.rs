use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::{Asn, IpNet, RouterId};

use crate::{BmpStation, ProxyStatus, ServiceCounts};

/// One screen about a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// Seconds since the agent started.
    pub uptime_secs: u64,
    /// Whether the node is ready to carry pods: own subnets known, sysctls set, masquerade acknowledged, CNI written.
    pub ready: bool,
    /// What is still awaited, where it is not ready.
    pub not_ready: Vec<String>,
    /// The local AS, once known.
    pub asn: Option<Asn>,
    /// The router id, once known.
    pub router_id: Option<RouterId>,
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// The node's own pod subnets.
    pub pod_cidrs: Vec<IpNet>,
    /// How nodes peer with each other; none until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyStatus>,
    /// How many sessions are up, of those expected.
    pub sessions: SessionCounts,
    /// Routes, over both families.
    pub routes: RouteCounts,
    /// Services and their addresses.
    pub services: ServiceCounts,
    /// What the service proxy has programmed; none where it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyStatus>,
    /// What the kernel side is doing.
    pub dataplane: DataplaneStatus,
    /// The restart gate: whether deletes and withdrawals still wait, and for what.
    pub gate: GateStatus,
    /// How far the node is drained, if it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Monitoring stations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bmp: Vec<BmpStation>,
    /// Whether the source of objects has delivered everything once.
    pub source_synced: bool,
    /// Seconds since the source last delivered anything.
    pub source_age_secs: Option<u64>,
    /// The CNI configuration file, written once everything else is ready.
    pub cni: CniStatus,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
}

/// How far a node is drained. Its routes carry GRACEFUL_SHUTDOWN (RFC 8326) from the first moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DrainStatus {
    /// Why.
    pub cause: String,
    /// Whether its service addresses are withdrawn.
    pub drained: bool,
    /// Seconds until they are; none once they are.
    pub remaining_secs: Option<u64>,
}

/// How nodes peer with each other, and the node's part in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopologyStatus {
    /// `Mesh`, `Reflector`, `Client`, or `None`.
    pub role: String,
    /// Why nodes peer so.
    pub reason: String,
    /// Why the node reflects or does not; absent where nobody is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// The Nodes that reflect, by name.
    pub reflectors: Vec<String>,
    /// Established sessions that the node reflects on.
    pub clients: u32,
    /// Sessions wanted no longer, or their routes: they go once every route has come elsewhere.
    pub leaving: u32,
}

/// Sessions up of those expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionCounts {
    /// Node peers in Established.
    pub nodes_up: u32,
    /// Node peers wanted.
    pub nodes_expected: u32,
    /// External peers in Established.
    pub external_up: u32,
    /// External peers wanted (a peer range expects none).
    pub external_expected: u32,
    /// BFD sessions that are up.
    pub bfd_up: u32,
    /// BFD sessions wanted.
    pub bfd_expected: u32,
}

/// Routes, over both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteCounts {
    /// Paths in all Adj-RIBs-In.
    pub received: u64,
    /// Of those, rejected by policy or unusable.
    pub rejected: u64,
    /// Of those received, not told anew yet since the session broke (RFC 4724) or a refresh began (RFC 7313).
    pub received_stale: u64,
    /// Of those stale, kept for long (RFC 9494).
    pub received_long_lived_stale: u64,
    /// Prefixes in the Loc-RIB.
    pub best: u64,
    /// Wanted in the kernel.
    pub wanted: u64,
    /// Acknowledged by the kernel.
    pub installed: u64,
    /// Refused by the kernel, to be tried again.
    pub failed: u64,
    /// Not installed because somebody else's route stands there.
    pub conflicts: u64,
    /// Kept although not wanted: the restart gate holds deletes.
    pub stale: u64,
    /// Prefixes this node originates.
    pub originated: u64,
}

/// What the kernel side is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataplaneStatus {
    /// Whether routes are installed at all (`routeInstallation`).
    pub route_installation: bool,
    /// Whether the read-back at start is complete.
    pub read_back: bool,
    /// Seconds since the kernel last acknowledged everything that was asked of it.
    pub synced_age_secs: Option<u64>,
    /// Operations acknowledged since start.
    pub operations: u64,
    /// Operations refused since start.
    pub failures: u64,
    /// Times a notification was lost and everything was read again.
    pub overruns: u64,
    /// Routes repaired after somebody else altered or deleted them.
    pub repairs: u64,
    /// Whether pod egress masquerade is programmed; `None` if it is not wanted.
    pub masquerade: Option<bool>,
}

/// The restart gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GateStatus {
    /// Whether deletes and withdrawals may go.
    pub open: bool,
    /// What is awaited: sources, End-of-RIB of which peers.
    pub waiting_for: Vec<String>,
    /// Seconds until the gate opens whatever is missing.
    pub deadline_secs: Option<u64>,
}

/// The CNI configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CniStatus {
    /// How it stands.
    pub state: CniState,
    /// The file, once written; the directory before.
    pub path: Option<String>,
    /// Why it could not be written.
    pub error: Option<String>,
}

/// How the CNI configuration file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CniState {
    /// The node is not ready to carry pods yet.
    #[default]
    Waiting,
    /// It says what it should.
    Written,
    /// It could not be written; tried again.
    Failed,
}

/// Something wrong, tied to what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it is about: `Node/n2`, `BGPPeer/tor`, `File/nodes.yaml:12`, `Route/10.1.0.0/16`.
    pub object: String,
    /// A word for it, as in a Kubernetes condition: `PodCIDROverlap`.
    pub reason: String,
    /// What, where, and what to do.
    pub message: String,
}
