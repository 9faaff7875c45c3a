use std::net::IpAddr;

use dunlin_bgp::policy::{CommunityValue, FilterAction, Match, Role};
use dunlin_net::{Afi, Asn, IpNet};

use super::{Malformed, SecretRef};
use crate::intent::{NextHopMode, RouteInstallation};
use crate::selector::{Labels, Selector};

/// A `BGPConfiguration`. Only the one named `default` has an effect. A field left out takes its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfigurationFact {
    /// `metadata.name`.
    pub name: String,
    /// The AS number of all nodes.
    pub asn: Option<Asn>,
    /// How nodes peer with each other.
    pub topology: Option<TopologyMode>,
    /// The most nodes that `Auto` builds a mesh of.
    pub mesh_limit: Option<u32>,
    /// `topology.reflectors`.
    pub reflectors: Option<ReflectorsFact>,
    /// The TCP port that agents listen on and dial each other on.
    pub listen_port: Option<u16>,
    /// Timers of all sessions that do not set their own.
    pub timers: TimersFact,
    /// Graceful restart of all sessions that do not set their own.
    pub graceful_restart: GracefulRestartFact,
    /// The password of the sessions between nodes.
    pub password: Option<SecretRef>,
    /// The `BFDProfile` of the sessions between nodes. None given means that they have no BFD.
    pub bfd_profile: Option<String>,
    /// What happens to pods' traffic that leaves the cluster.
    pub pod_egress: PodEgressFact,
    /// Whether routes go into the kernel.
    pub route_installation: Option<RouteInstallation>,
    /// Whether a cordoned Node is drained.
    pub drain_on_cordon: Option<bool>,
    /// Monitoring stations.
    pub bmp: Vec<BmpStationFact>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// One of `bmp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BmpStationFact {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its TCP port.
    pub port: Option<u16>,
    /// Which tables it is told of; none given means all.
    pub monitor: Vec<MonitoredTable>,
    /// `statisticsSeconds`: 0 for never.
    pub statistics_secs: Option<u16>,
}

/// One of `bmp.monitor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MonitoredTable {
    /// What peers told, before import policy.
    AdjRibIn,
    /// The paths chosen.
    LocRib,
}

/// `topology.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TopologyMode {
    /// A mesh up to `meshLimit` nodes, reflectors above.
    #[default]
    Auto,
    /// Every node with every other.
    Mesh,
    /// Some nodes reflect for all others.
    Reflectors,
    /// No sessions between nodes.
    None,
}

/// `topology.reflectors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReflectorsFact {
    /// How many.
    pub count: Option<u32>,
    /// Which nodes may be one.
    pub node_selector: Option<Selector>,
}

/// `timers`, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimersFact {
    /// `holdTimeSeconds`: 0 (no keepalives) or at least 3.
    pub hold_time_secs: Option<u16>,
    /// `keepaliveSeconds`.
    pub keepalive_secs: Option<u16>,
    /// `connectRetrySeconds`: what the waiting time between attempts grows to.
    pub connect_retry_secs: Option<u16>,
}

/// `gracefulRestart`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestartFact {
    /// Whether it is negotiated.
    pub enabled: Option<bool>,
    /// `restartSeconds`: at most 4095.
    pub restart_secs: Option<u16>,
    /// `longLivedStaleSeconds`: at most 16,777,215; 0 is off.
    pub long_lived_stale_secs: Option<u32>,
}

/// `podEgress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodEgressFact {
    /// Whether pods' packets to outside the cluster leave with the node's address.
    pub masquerade: Option<bool>,
    /// Destinations that are never masqueraded.
    pub exclude: Vec<IpNet>,
}

/// A `BGPPeer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerFact {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`, which advertisements select by.
    pub labels: Labels,
    /// The nodes that have this peer; none given means all.
    pub node_selector: Option<Selector>,
    /// The peer's address.
    pub peer_address: Option<IpAddr>,
    /// Whoever dials from here is this peer; the agent itself does not dial.
    pub peer_range: Option<IpNet>,
    /// The interface of an unnumbered peer.
    pub interface: Option<String>,
    /// The peer's AS. Required.
    pub peer_asn: Option<PeerAsn>,
    /// Another AS number of ours toward this peer.
    pub local_asn: Option<Asn>,
    /// The address we dial from.
    pub source_address: Option<IpAddr>,
    /// The peer's TCP port.
    pub port: Option<u16>,
    /// The TTL of packets to an external peer that is not on a link of ours.
    pub ebgp_multihop: Option<u8>,
    /// `tcpAO` is given; not built yet.
    pub tcp_ao: bool,
    /// `ttlSecurity.hops`: how far the peer's packets may come from.
    pub ttl_security_hops: Option<u8>,
    /// Timers of this peer.
    pub timers: TimersFact,
    /// The session's password.
    pub password: Option<SecretRef>,
    /// The `BFDProfile` of the session. None given means no BFD.
    pub bfd_profile: Option<String>,
    /// Graceful restart with this peer.
    pub graceful_restart: GracefulRestartFact,
    /// The families offered; none given means both.
    pub address_families: Option<Vec<Afi>>,
    /// The `BGPFilter` of what is learned. None given means nothing is.
    pub import_filter: Option<String>,
    /// The `BGPFilter` of what is told.
    pub export_filter: Option<String>,
    /// What we are to the peer.
    pub role: Option<Role>,
    /// Whether a peer that does not say what it is to us is refused.
    pub strict_role: Option<bool>,
    /// How many prefixes the peer may announce.
    pub max_prefixes: Option<MaxPrefixesFact>,
    /// The next hop of what is told.
    pub next_hop: Option<NextHopMode>,
    /// `addPath`.
    pub add_path: AddPathFact,
    /// Whether it is a client of ours as a route reflector.
    pub reflector_client: Option<bool>,
    /// A router of an L3 fabric: other nodes' pod subnets may come by it.
    pub fabric: Option<bool>,
    /// How often our own AS may be in a path; not built yet.
    pub allow_own_as: Option<u8>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// `addPath` of a `BGPPeer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddPathFact {
    /// Whether the peer is told several paths of a prefix.
    pub send: Option<bool>,
    /// Whether the peer may announce several.
    pub receive: Option<bool>,
}

/// A `BFDProfile`. A field left out takes its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BfdProfileFact {
    /// `metadata.name`.
    pub name: String,
    /// `transmitIntervalMillis`: how often we would send.
    pub transmit_interval_millis: Option<u32>,
    /// `receiveIntervalMillis`: how often the peer may send.
    pub receive_interval_millis: Option<u32>,
    /// `detectMultiplier`: how many of our packets the peer may miss.
    pub detect_multiplier: Option<u8>,
    /// `passive`: the peer must speak first.
    pub passive: Option<bool>,
    /// `minimumTTL`: the least TTL of packets from a peer behind routers.
    pub minimum_ttl: Option<u8>,
}

/// `maxPrefixes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MaxPrefixesFact {
    /// How many, in each family.
    pub limit: Option<u32>,
    /// `warningPercent`: from which share of the limit on the number is a problem.
    pub warning_percent: Option<u8>,
    /// What happens beyond.
    pub action: Option<MaxPrefixesAction>,
    /// `restartAfterSeconds`: how long the session is held down.
    pub restart_after_secs: Option<u32>,
}

/// `maxPrefixes.action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MaxPrefixesAction {
    /// The session ends, and is held down for a while.
    #[default]
    Reset,
    /// It is a problem and no more.
    Warn,
}

/// `peerASN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAsn {
    /// This very number.
    Number(Asn),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

/// A `BGPAdvertisement`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AdvertisementFact {
    /// `metadata.name`.
    pub name: String,
    /// Whether the node's pod subnets are announced.
    pub pod_cidrs: bool,
    /// The Services whose addresses are announced.
    pub services: Option<ServicesFact>,
    /// The nodes that announce; none given means all.
    pub node_selector: Option<Selector>,
    /// The `BGPPeer`s, by their labels, that are told; none given means all.
    pub peer_selector: Option<Selector>,
    /// What the announcement carries.
    pub attributes: Attributes,
    /// `aggregationLengthIPv4`: the length of the prefix that service addresses are announced as.
    pub aggregation_length_ipv4: Option<u8>,
    /// `aggregationLengthIPv6`: the same for IPv6.
    pub aggregation_length_ipv6: Option<u8>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// `services` of a `BGPAdvertisement`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServicesFact {
    /// The kinds of addresses that are announced, without repeats.
    pub addresses: Vec<ServiceAddressKind>,
    /// The Services, by their labels; none given means all.
    pub selector: Option<Selector>,
    /// The Namespaces, by their labels; none given means all.
    pub namespace_selector: Option<Selector>,
}

/// What an address of a Service is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceAddressKind {
    /// One of `spec.clusterIPs`.
    ClusterIp,
    /// One of `spec.externalIPs`.
    ExternalIp,
    /// One of `status.loadBalancer.ingress`.
    LoadBalancerIp,
}

impl ServiceAddressKind {
    /// The kind as a `BGPAdvertisement` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceAddressKind::ClusterIp => "ClusterIP",
            ServiceAddressKind::ExternalIp => "ExternalIP",
            ServiceAddressKind::LoadBalancerIp => "LoadBalancerIP",
        }
    }
}

/// Attributes that an advertisement or a filter's rule sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// LOCAL_PREF.
    pub local_preference: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// AS numbers put before the path.
    pub prepend: Option<Prepend>,
    /// Communities added.
    pub communities: Vec<CommunityValue>,
}

/// `prepend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prepend {
    /// The number; none given means ours.
    pub asn: Option<Asn>,
    /// How many times.
    pub count: u8,
}

/// A `BGPFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilterFact {
    /// `metadata.name`.
    pub name: String,
    /// Rules in order.
    pub rules: Vec<FilterRuleFact>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// One rule of a `BGPFilter`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilterRuleFact {
    /// What must hold.
    pub matches: Match,
    /// What then.
    pub action: FilterAction,
    /// What an accepted route is changed to.
    pub attributes: Attributes,
}

impl FilterRuleFact {
    /// The rule that accepts everything as it is.
    pub fn accept_all() -> FilterRuleFact {
        FilterRuleFact {
            matches: Match::default(),
            action: FilterAction::Accept,
            attributes: Attributes::default(),
        }
    }
}
