use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::{Asn, IpNet};

use crate::Status;

/// What a node tells the cluster of itself. Times are microseconds of the agent's own clock, so that what has not changed
/// reads the same each time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeReport {
    /// The same as anybody is told of the node.
    pub status: Status,
    /// When this was answered.
    pub now_micros: u64,
    /// When the agent started.
    pub started_micros: u64,
    /// `metadata.uid` of the Node.
    pub node_uid: Option<String>,
    /// How many Nodes there are.
    pub nodes: u32,
    /// How many of them come before this one, by name.
    pub rank: u32,
    /// `Mesh` or `None`: what the node is to the other nodes.
    pub role: String,
    /// All sessions, by kind, then name.
    pub sessions: Vec<SessionReport>,
    /// What the node announces of itself, pod subnets first; at most [`NodeReport::MAX_ORIGINATIONS`].
    pub originations: Vec<OriginationReport>,
}

impl NodeReport {
    /// The most originations in a report.
    pub const MAX_ORIGINATIONS: usize = 256;
}

/// A session in a [`NodeReport`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionReport {
    /// The Node's or the `BGPPeer`'s name, with the address after a slash for one who came from a `peerRange`.
    pub peer: String,
    /// Whether it is a node of the cluster.
    pub is_node: bool,
    /// The address peered with.
    pub address: Option<IpAddr>,
    /// The peer's AS, once known.
    pub asn: Option<Asn>,
    /// FSM state (RFC 4271 8.2.2).
    pub state: String,
    /// Whether that is Established.
    pub established: bool,
    /// Since when it is established, or not.
    pub since_micros: u64,
    /// Why it is down, or was last.
    pub last_error: Option<String>,
    /// Hold time in use, seconds.
    pub hold_time_secs: u16,
    /// Keepalive interval in use, seconds.
    pub keepalive_secs: u16,
    /// Prefixes received, over the families.
    pub received: u64,
    /// Of those, accepted.
    pub accepted: u64,
    /// Prefixes told to the peer.
    pub advertised: u64,
}

/// A prefix that the node announces of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginationReport {
    /// The prefix.
    pub prefix: IpNet,
    /// The object it is of: `Node/n1`, `Service/shop/web`, `Service/shop/web and 3 more`.
    pub object: String,
    /// How many peers have been told.
    pub advertised: u32,
    /// How many peers are to be told.
    pub wanted: u32,
    /// Why it is not told, or not to all.
    pub reason: Option<String>,
}

/// How the objects of our kinds stand, for the agent that writes their conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectReport {
    /// The Node whose agent writes them: the oldest that is Ready, has an address and a pod subnet, and has had a session
    /// with us of late, if there is to be one.
    pub writer: Option<String>,
    /// In how many seconds that may have changed by itself.
    pub again_secs: Option<u32>,
    /// Whether that is us.
    pub is_us: bool,
    /// Whether our own Node says that it has no network, though it can carry pods.
    pub clear_network_unavailable: bool,
    /// What is wrong with which object; empty unless we are the one to write it.
    pub problems: Vec<ObjectProblem>,
}

/// Something wrong with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectProblem {
    /// Its kind: `BGPPeer`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// A word for it, as in a condition.
    pub reason: String,
    /// The field, where one is to blame.
    pub field: Option<String>,
    /// What, where and what to do.
    pub message: String,
}
