//! Filters: ordered rules, first match wins, no match rejects.

mod eval;
mod role;
#[cfg(test)]
mod tests;

use std::fmt;

use dunlin_net::{Asn, IpNet};

pub use eval::Verdict;
pub use role::Role;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterAction {
    /// The route passes.
    Accept,
    /// The route stops here.
    Reject,
}

/// Conditions of a rule; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    /// Our own cluster is in its CLUSTER_LIST (RFC 4456 8).
    ReflectionLoop,
    /// Our own router id is its ORIGINATOR_ID (RFC 4456 8).
    OwnOriginator,
    /// Reflected, and its ORIGINATOR_ID is not the router id of the node that owns the prefix.
    OriginatorNotOwner,
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
    /// From a router outside, and it is or lies within a range that only Services have addresses in.
    WithinServiceRange,
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
    /// It leaked: its Only to Customer says that the peer should not have told us (RFC 9234 5).
    RouteLeak,
    /// Its Only to Customer says that the peer is not to be told (RFC 9234 5).
    OnlyToCustomer,
    /// Too many prefixes from the peer.
    MaxPrefixes,
    /// We have no address of the family to name as next hop, or the one it was learned with says nothing to the peer.
    NoNextHop,
    /// Its attributes leave no room for a prefix in a message the peer takes.
    AttrsTooLong,
    /// Long-lived stale, and the peer has not offered to treat it so (RFC 9494 4.3).
    LongLivedStale,
}

impl RejectReason {
    /// In 24 bits, for tables that hold a reason in the place of an attribute id.
    pub(crate) fn code(self) -> u32 {
        match self {
            RejectReason::FilterRule(rule) => u32::from(rule),
            RejectReason::AsLoop => 1 << 16,
            RejectReason::ReflectionLoop => 2 << 16,
            RejectReason::FilterNoMatch => 3 << 16,
            RejectReason::NoImportFilter => 4 << 16,
            RejectReason::NotAdvertised => 5 << 16,
            RejectReason::NotAPodSubnet => 6 << 16,
            RejectReason::NextHopNotOwner => 7 << 16,
            RejectReason::ServiceAddress => 8 << 16,
            RejectReason::CoversNodeAddress => 9 << 16,
            RejectReason::CoversApiServer => 10 << 16,
            RejectReason::CoversSession => 11 << 16,
            RejectReason::WithinOwnPodSubnet => 12 << 16,
            RejectReason::NextHopUnresolved => 13 << 16,
            RejectReason::NextHopIsSelf => 14 << 16,
            RejectReason::InternalToInternal => 15 << 16,
            RejectReason::SplitHorizon => 16 << 16,
            RejectReason::WellKnownCommunity => 17 << 16,
            RejectReason::FamilyNotNegotiated => 18 << 16,
            RejectReason::MaxPrefixes => 19 << 16,
            RejectReason::NoNextHop => 20 << 16,
            RejectReason::AttrsTooLong => 21 << 16,
            RejectReason::WithinServiceRange => 22 << 16,
            RejectReason::LongLivedStale => 25 << 16,
            RejectReason::OwnOriginator => 23 << 16,
            RejectReason::OriginatorNotOwner => 24 << 16,
            RejectReason::RouteLeak => 26 << 16,
            RejectReason::OnlyToCustomer => 27 << 16,
        }
    }

    /// The reason of a [`RejectReason::code`].
    pub(crate) fn from_code(code: u32) -> RejectReason {
        match code >> 16 {
            0 => RejectReason::FilterRule(code as u16),
            1 => RejectReason::AsLoop,
            2 => RejectReason::ReflectionLoop,
            3 => RejectReason::FilterNoMatch,
            4 => RejectReason::NoImportFilter,
            5 => RejectReason::NotAdvertised,
            6 => RejectReason::NotAPodSubnet,
            7 => RejectReason::NextHopNotOwner,
            8 => RejectReason::ServiceAddress,
            9 => RejectReason::CoversNodeAddress,
            10 => RejectReason::CoversApiServer,
            11 => RejectReason::CoversSession,
            12 => RejectReason::WithinOwnPodSubnet,
            13 => RejectReason::NextHopUnresolved,
            14 => RejectReason::NextHopIsSelf,
            15 => RejectReason::InternalToInternal,
            16 => RejectReason::SplitHorizon,
            17 => RejectReason::WellKnownCommunity,
            18 => RejectReason::FamilyNotNegotiated,
            19 => RejectReason::MaxPrefixes,
            20 => RejectReason::NoNextHop,
            22 => RejectReason::WithinServiceRange,
            25 => RejectReason::LongLivedStale,
            23 => RejectReason::OwnOriginator,
            24 => RejectReason::OriginatorNotOwner,
            26 => RejectReason::RouteLeak,
            27 => RejectReason::OnlyToCustomer,
            _ => RejectReason::AttrsTooLong,
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            RejectReason::FilterRule(rule) => {
                return write!(f, "rejected by rule {rule} of the filter");
            }
            RejectReason::AsLoop => "our AS is in its path",
            RejectReason::ReflectionLoop => {
                "we reflected it before: our cluster is in its CLUSTER_LIST"
            }
            RejectReason::OwnOriginator => {
                "it is our own route come back: we are its ORIGINATOR_ID"
            }
            RejectReason::OriginatorNotOwner => {
                "its ORIGINATOR_ID is not the router id of the node that owns the prefix"
            }
            RejectReason::FilterNoMatch => "no rule of the filter matches",
            RejectReason::NoImportFilter => "no import filter lets anything in from this peer",
            RejectReason::NotAdvertised => "no advertisement or export filter names it",
            RejectReason::NotAPodSubnet => "not a pod subnet of any node",
            RejectReason::NextHopNotOwner => "its next hop is not the node that owns the prefix",
            RejectReason::ServiceAddress => "a service address: relayed, not installed",
            RejectReason::WithinServiceRange => {
                "within a range that only Services have addresses in: this node knows those by itself"
            }
            RejectReason::CoversNodeAddress => "covers the address of a node",
            RejectReason::CoversApiServer => "covers the address of the API server",
            RejectReason::CoversSession => "covers the next hop of a session",
            RejectReason::WithinOwnPodSubnet => "lies within our own pod subnet",
            RejectReason::NextHopUnresolved => "its next hop is not reachable over a link",
            RejectReason::NextHopIsSelf => "its next hop is our own address",
            RejectReason::InternalToInternal => {
                "learned from an internal peer, not told to another"
            }
            RejectReason::SplitHorizon => "it came from this peer",
            RejectReason::WellKnownCommunity => "a well-known community forbids telling it",
            RejectReason::FamilyNotNegotiated => "the peer does not carry this address family",
            RejectReason::RouteLeak => {
                "a route leak: its Only to Customer attribute says that the peer was not to tell us (RFC 9234)"
            }
            RejectReason::OnlyToCustomer => {
                "its Only to Customer attribute lets it go to customers alone, which the peer is not (RFC 9234)"
            }
            RejectReason::MaxPrefixes => "too many prefixes from the peer",
            RejectReason::LongLivedStale => {
                "long-lived stale, and the peer has not offered long-lived graceful restart"
            }
            RejectReason::AttrsTooLong => "its attributes do not fit a message the peer takes",
            RejectReason::NoNextHop => "there is no next hop to name that the peer could use",
        };
        f.write_str(text)
    }
}

impl AttrEdits {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.local_pref.is_none()
            && self.med.is_none()
            && self.prepend.is_none_or(|(_, count)| count == 0)
            && self.add_communities.is_empty()
    }
}
