use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::{Afi, Asn, IpNet, RouterId};

use crate::NeighborBfd;

/// A BGP session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Neighbor {
    /// The node's or the `BGPPeer`'s name.
    pub name: String,
    /// `node`, `external`, or `range` for one accepted from a `peerRange`.
    pub kind: String,
    /// The address peered with.
    pub address: Option<IpAddr>,
    /// For an unnumbered peer: the interface that it is at the other end of. Its address is that of the router found there.
    pub interface: Option<String>,
    /// The port, when not 179.
    pub port: Option<u16>,
    /// The peer's AS; absent until known.
    pub asn: Option<Asn>,
    /// The local AS toward it.
    pub local_asn: Option<Asn>,
    /// The peer's router id, once up.
    pub router_id: Option<RouterId>,
    /// FSM state (RFC 4271 8.2.2): `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established`.
    pub state: String,
    /// Seconds in this state.
    pub since_secs: u64,
    /// Families in use.
    pub families: Vec<Afi>,
    /// Hold time in use, seconds.
    pub hold_time_secs: u16,
    /// Keepalive interval in use, seconds.
    pub keepalive_secs: u16,
    /// Capabilities in use on the session, by name.
    pub capabilities: Vec<String>,
    /// Per family, what was received and told.
    pub routes: Vec<FamilyCounts>,
    /// Whether the routes are kept as stale while the peer restarts.
    pub stale: bool,
    /// Whether any of them are kept beyond the restart time (RFC 9494).
    pub long_lived_stale: bool,
    /// Seconds until the last of what is kept goes, should the peer not come back.
    pub stale_ends_secs: Option<u64>,
    /// Why the session is down, or was last: what, which side, what to do.
    pub last_error: Option<String>,
    /// More of it, while it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<NeighborDown>,
    /// Seconds since `last_error`.
    pub last_error_secs: Option<u64>,
    /// The last NOTIFICATION sent.
    pub notification_sent: Option<NotificationSeen>,
    /// The last NOTIFICATION received.
    pub notification_received: Option<NotificationSeen>,
    /// Times the session left Established.
    pub flaps: u64,
    /// Messages.
    pub counters: NeighborCounters,
    /// The local end of the connection.
    pub local_address: Option<IpAddr>,
    /// Octets that wait to be written.
    pub output_queue_bytes: u64,
    /// What a node is to this one: `mesh`, `reflector`, `client`, or `leaving` where the session, or what is kept of it, is wanted
    /// no longer and goes once every route has come elsewhere. Absent for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<String>,
    /// The BFD session beside it, if there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<NeighborBfd>,
    /// How many prefixes it may announce, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<NeighborLimit>,
}

/// Why a session is not up, and what comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NeighborDown {
    /// Who ended the last connection or attempt: `us`, `the peer`, `the network` (nobody answered).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// What to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Why it was up no longer, where what came after has another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_session: Option<String>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_session_secs: Option<u64>,
    /// The TCP connections, and how far each has come.
    pub tcp: Vec<String>,
    /// Seconds until it is dialled again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_secs: Option<u64>,
    /// Seconds for which, after failures, it is not dialled and its connections are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_secs: Option<u64>,
    /// It has to dial us.
    pub passive: bool,
    /// Times it was dialled.
    pub dials: u64,
    /// Its connections that were refused.
    pub refused: u64,
}

/// How many prefixes a peer may announce, of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NeighborLimit {
    /// How many.
    pub limit: u32,
    /// From so many on it is a problem.
    pub warning: u32,
    /// How long the session is held down once it has announced more; absent where that ends no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_after_seconds: Option<u64>,
    /// The families in which it announces as many as are a problem.
    pub near: Vec<Afi>,
    /// How often the session was ended for it.
    pub exceeded: u64,
    /// How much longer the session is held down for it, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_down_seconds: Option<u64>,
}

/// A NOTIFICATION as shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NotificationSeen {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// The names of both, with the shutdown text if any.
    pub text: String,
    /// Seconds ago.
    pub age_secs: u64,
}

/// Messages of a session, by type, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NeighborCounters {
    /// All messages received.
    pub messages_received: u64,
    /// All messages sent.
    pub messages_sent: u64,
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent.
    pub updates_sent: u64,
    /// NOTIFICATIONs received.
    pub notifications_received: u64,
    /// NOTIFICATIONs sent: each ended a connection, Established or not.
    pub notifications_sent: u64,
    /// UPDATEs in which something was treated as withdrawn (RFC 7606).
    pub treated_as_withdraw: u64,
    /// Attributes discarded (RFC 7606).
    pub attributes_discarded: u64,
}

/// One family on one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyCounts {
    /// Which family.
    pub family: Afi,
    /// Paths received: as many as prefixes, but where the session carries several of one (RFC 7911).
    pub received: u64,
    /// Of those, accepted.
    pub accepted: u64,
    /// Paths told to the peer.
    pub advertised: u64,
    /// Of those received, not told anew yet since the session broke (RFC 4724) or a refresh began (RFC 7313).
    #[serde(default)]
    pub stale: u64,
    /// Of those stale, kept for long (RFC 9494).
    #[serde(default)]
    pub long_lived_stale: u64,
    /// Paths not taken, in all, since a prefix had as many as are taken from one peer.
    #[serde(default)]
    pub refused: u64,
    /// Whether End-of-RIB has come.
    pub end_of_rib_received: bool,
}

/// A route: a prefix, its paths, and what the kernel says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The prefix.
    pub prefix: IpNet,
    /// All paths, best first.
    pub paths: Vec<Path>,
    /// What became of it in the kernel.
    pub kernel: RouteState,
}

/// What became of a route in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum RouteState {
    /// It is not to be installed: no usable path, a local one, or `routeInstallation: None`.
    #[default]
    NotWanted,
    /// Asked for, not yet acknowledged.
    Pending,
    /// Acknowledged.
    Installed,
    /// Refused; tried again.
    Failed {
        /// The kernel's error and its text.
        error: String,
        /// Seconds until the next try.
        retry_secs: u64,
    },
    /// Somebody else's route stands there with our metric.
    Conflict,
    /// No longer wanted, kept until the restart gate opens.
    Stale,
}

/// One path of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Path {
    /// Whom it came from: a neighbor's name, or `local`.
    pub from: String,
    /// The neighbor's address.
    pub address: Option<IpAddr>,
    /// The path identifier it came with (RFC 7911), where the session carries them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// The next hop.
    pub next_hop: Option<IpAddr>,
    /// The interface it resolves to.
    pub interface: Option<String>,
    /// The AS path, as text.
    pub as_path: String,
    /// ORIGIN: `igp`, `egp`, `incomplete`.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities of every kind, as text.
    pub communities: Vec<String>,
    /// Only to Customer (RFC 9234): the AS that says that it goes down from there, to customers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_to_customer: Option<u32>,
    /// Whether it is the best path.
    pub best: bool,
    /// Whether it is in the ECMP set.
    pub multipath: bool,
    /// Whether it is kept as stale.
    pub stale: bool,
    /// Whether it is kept beyond the restart time (RFC 9494), and preferred least.
    pub long_lived_stale: bool,
    /// Why it is not used, or why it lost; absent for the best path.
    pub reason: Option<String>,
}

/// A prefix that is announced, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advertisement {
    /// The prefix.
    pub prefix: IpNet,
    /// Where it comes from: `Node/n1`, `Service/ns/name` (and how many more), or the neighbor it was learned from.
    pub origin: String,
    /// The `BGPAdvertisement`s that announce a service address, by name.
    #[serde(default)]
    pub advertisements: Vec<String>,
    /// Each neighbor it concerns.
    pub to: Vec<AdvertisedTo>,
}

/// Where an announcement to one neighbor stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AdvertisedTo {
    /// The neighbor's name.
    pub name: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Whether it has been told.
    pub advertised: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The next hop told; of several paths, that of the best.
    pub next_hop: Option<IpAddr>,
    /// The paths told, best first, where the session carries several of a prefix (RFC 7911).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<ToldPath>,
}

/// One of several paths of a prefix that are told to a neighbor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToldPath {
    /// The path identifier.
    pub id: u32,
    /// The next hop told.
    pub next_hop: Option<IpAddr>,
    /// Whether it has been told.
    pub advertised: bool,
}

/// A node of the cluster, as this agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// The name.
    pub name: String,
    /// Whether it is this node.
    pub local: bool,
    /// What it is to the others, by this agent's reckoning: `Mesh`, `Reflector`, `Client` or `None`.
    #[serde(default)]
    pub role: String,
    /// InternalIP addresses.
    pub addresses: Vec<IpAddr>,
    /// Pod subnets it owns.
    pub pod_cidrs: Vec<IpNet>,
    /// The session's state; absent for this node.
    pub session: Option<String>,
    /// Seconds in that state.
    pub since_secs: u64,
    /// Of its pod subnets, how many the kernel has acknowledged.
    pub installed: u32,
    /// Whether it is drained or about to be.
    pub draining: bool,
    /// What is wrong with it.
    pub problems: Vec<String>,
}
