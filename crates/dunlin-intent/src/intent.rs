//! What this node should do, as values.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_bgp::policy::{AttrEdits, Filter, PeerType, RejectReason, Role};
use dunlin_net::{Afi, Asn, InterfaceName, IpNet, PerFamily, RouterId};

use crate::fact::Secret;

/// Something that is no longer as [`crate::Cluster::poll_change`] last said. Changes are states, not edits: taking
/// one in twice does no harm, and several edits of a thing may come out as one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What concerns this node as a whole. `None` until the own Node and the configuration are known.
    LocalChanged(Option<Arc<LocalIntent>>),
    /// This node originates the prefix.
    Originate(IpNet, Origination),
    /// This node originates the prefix no longer.
    OriginateGone(IpNet),
    /// This peer is wanted, as said here. If only [`PeerIntent::policy`] or [`PeerIntent::bfd`] differ from before, no session resets.
    PeerWanted(PeerKey, Arc<PeerIntent>),
    /// This peer is wanted no longer.
    PeerGone(PeerKey),
    /// [`crate::OriginValidation::owner_of`] this pod subnet changed: judge again what is equal to it or within it.
    OwnerChanged(IpNet),
    /// What is protected changed: judge again the routes that cover this prefix or lie within it.
    ProtectionChanged(IpNet),
    /// Whether this destination is kept from masquerade changed; ask [`crate::Cluster::egress_excluded`].
    EgressExclusionChanged(IpNet),
    /// [`crate::Cluster::service_ranges`] changed.
    ServiceRangesChanged,
    /// [`crate::Cluster::problems`] changed.
    ProblemsChanged,
    /// Every kind of fact has been told in full once. Comes after all other changes of that moment, and once.
    Synced,
}

/// What concerns this node as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIntent {
    /// Our AS number.
    pub asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The TCP port we listen on.
    pub listen_port: u16,
    /// All our InternalIPs, in the Node's order.
    pub addresses: Vec<IpAddr>,
    /// The next hop we announce, per family: the first InternalIP of that family.
    pub next_hops: PerFamily<Option<IpAddr>>,
    /// Our pod subnets, without those that another Node owns.
    pub pod_subnets: Vec<IpNet>,
    /// Whether routes go into the kernel.
    pub route_installation: RouteInstallation,
    /// Graceful restart unless a peer says otherwise.
    pub graceful_restart: Option<GracefulRestart>,
    /// Timers unless a peer says otherwise.
    pub timers: Timers,
    /// Monitoring stations.
    pub bmp: Vec<BmpStation>,
    /// Masquerade of pods' traffic that leaves the cluster.
    pub pod_egress: PodEgress,
    /// Why this node is to be drained, if it is: [`ExportPolicy::originated`] says so to every peer already, and whoever
    /// reads this calls [`crate::Cluster::set_withdrawn`] once peers have moved.
    pub draining: Option<DrainCause>,
}

/// The most monitoring stations of a node.
pub const BMP_STATIONS: usize = 4;

/// A station that is told what the node learns (BMP, RFC 7854).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BmpStation {
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Whether it is told what peers told, before import policy.
    pub adj_rib_in: bool,
    /// Whether it is told of the paths chosen (RFC 9069).
    pub loc_rib: bool,
    /// How often it is told how many routes there are, in seconds; 0 for never.
    pub statistics_secs: u16,
}

/// Why a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DrainCause {
    /// Its annotation `dunlin.dev/drain`.
    Annotation,
    /// It is cordoned, and `drainOnCordon` of the configuration asks for it.
    Cordon,
}

impl DrainCause {
    /// The cause as people are told.
    pub fn as_str(self) -> &'static str {
        match self {
            DrainCause::Annotation => "annotation dunlin.dev/drain",
            DrainCause::Cordon => "cordoned, and drainOnCordon is set",
        }
    }
}

/// Masquerade of pods' traffic that leaves the cluster. The destinations that are kept from it are many, and told
/// one by one: [`Change::EgressExclusionChanged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEgress {
    /// Whether it is done.
    pub masquerade: bool,
    /// The sources: our pod subnets.
    pub sources: Vec<IpNet>,
}

/// `routeInstallation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteInstallation {
    /// Routes go into the kernel.
    #[default]
    Kernel,
    /// Routes are learned and told, not installed.
    None,
}

/// A prefix that this node originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origination {
    /// What it is, by which peers' [`ExportPolicy::originated`] decides.
    pub kind: OriginKind,
    /// The next hop it is announced with.
    pub next_hop: IpAddr,
}

/// What an originated prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OriginKind {
    /// A pod subnet of this node.
    PodSubnet,
    /// A Service's address, or an aggregate of such, by the advertisements that announce it.
    Service(ServiceClass),
}

/// A set of `BGPAdvertisement`s that announce the same service addresses: what tells one address from another where
/// export is decided. The number stands for the same set for as long as anything is originated in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceClass(pub u32);

/// Which peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerKey {
    /// Another node of the cluster, by name.
    Node(Arc<str>),
    /// A `BGPPeer`, by name.
    Configured(Arc<str>),
}

impl PeerKey {
    /// The name of the Node or the `BGPPeer`.
    pub fn name(&self) -> &str {
        match self {
            PeerKey::Node(name) | PeerKey::Configured(name) => name,
        }
    }

    /// Whether this is another node of the cluster.
    pub fn is_node(&self) -> bool {
        matches!(self, PeerKey::Node(_))
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerKey::Node(name) => write!(f, "Node/{name}"),
            PeerKey::Configured(name) => write!(f, "BGPPeer/{name}"),
        }
    }
}

/// A peer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIntent {
    /// Which one.
    pub key: PeerKey,
    /// The transport and what is negotiated at OPEN: a change resets the session.
    pub session: SessionIntent,
    /// What is learned and told: a change does not reset the session.
    pub policy: PolicyIntent,
    /// The BFD session beside it, if there is to be one: a change does not reset the BGP session.
    pub bfd: Option<BfdIntent>,
    /// We reflect routes between it and other internal peers (RFC 4456): a change does not reset the session.
    pub reflector_client: bool,
    /// How many prefixes it may announce: a change resets the session only if it announces more already.
    pub max_prefixes: Option<MaxPrefixes>,
    /// The peer reflects routes for us: a change does not reset the session.
    pub reflector: bool,
    /// Who wants the session: a change does not reset it.
    pub initiative: Initiative,
}

/// How many prefixes a peer may announce, in each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPrefixes {
    /// How many: at least 1.
    pub limit: u32,
    /// From so many on it is a problem: at least 1, at most the limit.
    pub warning: u32,
    /// For how long the session is held down after the peer has announced more. None: it stays up.
    pub restart_after: Option<Duration>,
}

/// Who wants a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiative {
    /// We do: we dial.
    Ours,
    /// We do not. If the other node does, which may see the cluster otherwise for a moment, its session is accepted; one
    /// that is there ends once its routes come by other sessions.
    Theirs,
}

/// How fast the failure of a peer is noticed (RFC 5880).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BfdIntent {
    /// bfd.DesiredMinTxInterval: 10 ms to 60 s.
    pub transmit_interval: Duration,
    /// bfd.RequiredMinRxInterval: 10 ms to 60 s.
    pub receive_interval: Duration,
    /// bfd.DetectMult: at least 1.
    pub detect_multiplier: u8,
    /// The peer must speak first.
    pub passive: bool,
    /// The least TTL of packets from a peer behind routers, at least 1; none means any.
    pub minimum_ttl: Option<u8>,
}

/// The transport and what is negotiated at OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionIntent {
    /// Where the peer is.
    pub remote: Remote,
    /// The address we dial from and accept on; none means the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// Our AS number.
    pub local_asn: Asn,
    /// What the peer's OPEN must say.
    pub remote_asn: RemoteAsn,
    /// The families offered (RFC 4760), without repeats, IPv4 first.
    pub families: Vec<Afi>,
    /// Timers.
    pub timers: Timers,
    /// Graceful restart (RFC 4724), if it is negotiated.
    pub graceful_restart: Option<GracefulRestart>,
    /// TCP MD5 (RFC 2385).
    pub auth: Auth,
    /// The TTL toward an external peer that is not on a link of ours; none means 1 for external peers.
    pub ebgp_multihop: Option<u8>,
    /// Several paths for one prefix (RFC 7911), in every family.
    pub add_path: AddPath,
    /// GTSM (RFC 5082): packets of the peer that come from further than this many hops are dropped; at least 1. Not together
    /// with `ebgp_multihop`.
    pub ttl_security_hops: Option<u8>,
    /// What we are to an external peer (RFC 9234).
    pub role: Option<Role>,
    /// A peer that does not say what it is to us is refused.
    pub strict_role: bool,
}

impl SessionIntent {
    /// Whether the session is within our AS.
    pub fn peer_type(&self) -> PeerType {
        match self.remote_asn {
            RemoteAsn::Exactly(asn) if asn == self.local_asn => PeerType::Internal,
            RemoteAsn::Exactly(_) | RemoteAsn::External => PeerType::External,
        }
    }
}

/// In which directions several paths for one prefix are offered (RFC 7911 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddPath {
    /// We can send them.
    pub send: bool,
    /// We can receive them.
    pub receive: bool,
}

impl AddPath {
    /// Both ways: between a reflector and whoever speaks with it.
    pub const BOTH: AddPath = AddPath {
        send: true,
        receive: true,
    };
}

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// At this address; both sides dial.
    Address(IpAddr, u16),
    /// Whoever dials from here, each as a session of its own; we do not dial.
    Range(IpNet),
    /// The router at the other end of this link, found by router advertisements, at its link-local address and this port;
    /// both sides dial.
    Interface(InterfaceName, u16),
}

impl Remote {
    /// The link that it is at the other end of, for one without an address.
    pub fn interface(&self) -> Option<InterfaceName> {
        match self {
            Remote::Interface(name, _) => Some(*name),
            Remote::Address(..) | Remote::Range(_) => None,
        }
    }
}

/// What a peer's OPEN must say of its AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAsn {
    /// This number.
    Exactly(Asn),
    /// Any but ours.
    External,
}

/// Timers of a session, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The hold time offered: 0 or at least 3.
    pub hold_time_secs: u16,
    /// The keepalive interval; the session uses a third of the negotiated hold time if that is less.
    pub keepalive_secs: u16,
    /// What the waiting time between attempts to connect grows to.
    pub connect_retry_secs: u16,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            hold_time_secs: 90,
            keepalive_secs: 30,
            connect_retry_secs: 5,
        }
    }
}

/// Graceful restart as it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The restart time (RFC 4724 section 3), at most 4095 seconds.
    pub restart_secs: u16,
    /// Whether the N bit is set (RFC 8538).
    pub notification: bool,
    /// How long routes may stay beyond the restart time (RFC 9494 section 3.1), at most 16,777,215 seconds; 0 is not at all.
    pub long_lived_secs: u32,
}

/// TCP MD5 of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// With this password.
    Password(Secret),
    /// A password is asked for and not there: neither dial nor accept.
    Missing,
}

/// What is learned from a peer and told to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyIntent {
    /// What is learned.
    pub import: ImportPolicy,
    /// How often our AS may stand in the path of what is learned.
    pub allow_own_as: u8,
    /// What is told.
    pub export: ExportPolicy,
}

/// What is learned from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportPolicy {
    /// From another node: what [`crate::OriginValidation::judge`] lets through.
    OriginValidation,
    /// What this filter accepts and [`crate::OriginValidation::judge`] lets through.
    Filter(Arc<Filter>),
    /// From a router of the fabric: what this filter accepts, or other nodes' pod subnets where there is none, and
    /// [`crate::OriginValidation::judge`] lets through. Pod subnets come by that router.
    Fabric(Option<Arc<Filter>>),
    /// Nothing, for this reason.
    Nothing(RejectReason),
}

impl ImportPolicy {
    /// The filter of a router outside.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        match self {
            ImportPolicy::Filter(filter) => Some(filter),
            ImportPolicy::Fabric(filter) => filter.as_ref(),
            ImportPolicy::OriginValidation | ImportPolicy::Nothing(_) => None,
        }
    }
}

/// What is told to a peer.
///
/// A route that this node originates needs an entry for its kind here, whose edits apply, and then the filter's
/// consent if there is one. A learned route needs a filter that accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPolicy {
    /// The kinds of originated prefixes that are told, with the attributes they get.
    pub originated: Arc<BTreeMap<OriginKind, AttrEdits>>,
    /// The filter.
    pub filter: ExportFilter,
    /// The next hop of what is told.
    pub next_hop: NextHopMode,
}

/// The filter of what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportFilter {
    /// None: originated prefixes go out, learned routes do not.
    None,
    /// All that goes out must be accepted by this; learned routes that it accepts go out too.
    Filter(Arc<Filter>),
    /// One is asked for and not there: nothing goes out.
    Missing,
}

/// `nextHop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NextHopMode {
    /// Our own address.
    #[default]
    SelfAddress,
    /// The one the route was learned with; for originated prefixes our own.
    Unchanged,
}
