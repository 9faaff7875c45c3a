//! Filters: ordered rules, first match wins, no match rejects.

use dunlin_net::{Asn, IpNet};

/// What kind of session a route came by or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerType {
    /// The same AS.
    Internal,
    /// Another AS.
    External,
}

/// A `BGPFilter`: first match wins, no match rejects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The object's name, for reasons shown to people.
    pub name: String,
    /// Rules in order.
    pub rules: Vec<FilterRule>,
}

/// One rule of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// Everything here must hold; empty matches all.
    pub matches: Match,
    /// What then.
    pub action: FilterAction,
    /// Changes to the attributes of what is accepted.
    pub edits: AttrEdits,
}

/// What a rule does with a route that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// The route passes.
    Accept,
    /// The route stops here.
    Reject,
}

/// Conditions of a rule; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The route's prefix lies within this one (equal counts).
    pub cidr: Option<IpNet>,
    /// The route's prefix has at least this many bits.
    pub length_min: Option<u8>,
    /// The route's prefix has at most this many bits.
    pub length_max: Option<u8>,
    /// The route carries all of these.
    pub communities: Vec<CommunityValue>,
    /// The AS path begins with these AS numbers, nearest first.
    pub as_path_prefix: Vec<Asn>,
    /// The kind of session the route was learned by (import) or goes to (export).
    pub peer_type: Option<PeerType>,
}

/// A community of any of the kinds filters can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommunityValue {
    /// RFC 1997, as `asn:value`.
    Standard(u32),
    /// RFC 8092, as `global:local1:local2`.
    Large(u32, u32, u32),
}

/// Changes to path attributes; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttrEdits {
    /// Sets LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Sets MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Prepends this AS number so many times.
    pub prepend: Option<(Asn, u8)>,
    /// Adds these communities.
    pub add_communities: Vec<CommunityValue>,
}

/// Why a route is not used, or not told to a peer. Every rejection has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectReason {
    /// Our own AS is in its path (RFC 4271 9.1.2).
    AsLoop,
    /// Our own router id is its ORIGINATOR_ID, or our cluster is in its CLUSTER_LIST (RFC 4456 8).
    ReflectionLoop,
    /// A filter's rule rejected it: the rule's number, from 0.
    FilterRule(u16),
    /// No rule of the filter matched.
    FilterNoMatch,
    /// External peers import nothing without an import filter.
    NoImportFilter,
    /// External peers are told nothing that no advertisement or export filter names.
    NotAdvertised,
    /// From a node peer, and the prefix is no node's pod subnet.
    NotAPodSubnet,
    /// From a node peer, and the next hop is not the node that owns the prefix.
    NextHopNotOwner,
    /// A service address: relayed, never installed on a node.
    ServiceAddress,
    /// It covers a node address more specifically than allowed (`mechanics.md`, What is accepted).
    CoversNodeAddress,
    /// It covers the API server's address.
    CoversApiServer,
    /// It covers a session's next hop.
    CoversSession,
    /// It lies within our own pod subnet.
    WithinOwnPodSubnet,
    /// The next hop is not reachable over a link.
    NextHopUnresolved,
    /// The next hop is one of our own addresses.
    NextHopIsSelf,
    /// Learned from an internal peer and not to be told to another (RFC 4271 9.2).
    InternalToInternal,
    /// It came from this very peer.
    SplitHorizon,
    /// NO_EXPORT, NO_ADVERTISE or NO_EXPORT_SUBCONFED (RFC 1997).
    WellKnownCommunity,
    /// The peer has not negotiated the family.
    FamilyNotNegotiated,
    /// Too many prefixes from the peer.
    MaxPrefixes,
}
