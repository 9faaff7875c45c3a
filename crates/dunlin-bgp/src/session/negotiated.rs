//! What both sides of a session agreed on.

use std::net::SocketAddr;

use bytes::Bytes;
use dunlin_net::{Afi, Asn, PerFamily, RouterId};

use super::config::AddPath;
use crate::policy::PeerType;
use crate::wire::{AddPathMode, AfiSafi, Capability};

/// What both sides agreed on, fixed for the life of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's AS.
    pub remote_asn: Asn,
    /// Our AS toward it.
    pub local_asn: Asn,
    /// The peer's BGP identifier.
    pub remote_router_id: RouterId,
    /// Our BGP identifier.
    pub local_router_id: RouterId,
    /// Internal or external.
    pub peer_type: PeerType,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The peer's end of the connection.
    pub remote: SocketAddr,
    /// Families both offer.
    pub families: PerFamily<bool>,
    /// Whether AS numbers have four octets in both directions (RFC 6793).
    pub four_octet_as: bool,
    /// Whether messages may have up to 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Whether IPv4 prefixes may have IPv6 next hops in both directions (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether either side may ask for routes again (RFC 2918).
    pub route_refresh: bool,
    /// Whether what is told again is marked at its beginning and end (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Families that carry several paths for one prefix, and in which directions (RFC 7911 5).
    pub add_path: PerFamily<AddPath>,
    /// The lesser of both hold times; 0 means none.
    pub hold_time_secs: u16,
    /// How often a KEEPALIVE goes out at the latest; 0 means never.
    pub keepalive_time_secs: u16,
    /// The peer's graceful restart, if both sides offered it.
    pub graceful_restart: Option<PeerRestart>,
    /// All capabilities of the peer's OPEN, in its order.
    pub capabilities: Vec<Capability>,
    /// Both OPENs.
    pub opens: Opens,
}

/// The OPENs of a session as they went over the wire, for those who are told of it (RFC 7854 4.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// Ours, the whole message.
    pub sent: Bytes,
    /// The peer's, the whole message.
    pub received: Bytes,
}

impl Negotiated {
    /// Families whose prefixes go out with path identifiers.
    pub fn sends_paths(&self) -> PerFamily<bool> {
        PerFamily {
            v4: self.add_path.v4.send,
            v6: self.add_path.v6.send,
        }
    }

    /// Families that the peer has said it takes several paths of, whether or not we offer to send them.
    pub fn takes_paths(&self) -> PerFamily<bool> {
        let takes = |afi| {
            let offer = Capability::add_path(&self.capabilities, AfiSafi::unicast(afi));
            offer.is_some_and(AddPathMode::receives)
        };
        PerFamily {
            v4: takes(Afi::Ipv4),
            v6: takes(Afi::Ipv6),
        }
    }

    /// Families whose prefixes come with path identifiers.
    pub fn receives_paths(&self) -> PerFamily<bool> {
        PerFamily {
            v4: self.add_path.v4.receive,
            v6: self.add_path.v6.receive,
        }
    }
}

/// The graceful restart capability of a peer (RFC 4724 3), of use only if we offered it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRestart {
    /// How long its routes may be kept while it restarts.
    pub restart_time_secs: u16,
    /// The R bit: it has just restarted and does not wait for our End-of-RIB.
    pub restarting: bool,
    /// The N bit of both sides (RFC 8538).
    pub notification: bool,
    /// Families it names, of those negotiated: their routes are kept while it restarts.
    pub families: PerFamily<bool>,
    /// The F bit of each: its forwarding state survived. Routes of a family without it are dropped on its return.
    pub forwarding: PerFamily<bool>,
    /// How long routes of each family may stay beyond the restart time, in seconds: the lesser of what both sides offered,
    /// 0 where one of them offered nothing (RFC 9494).
    pub long_lived_stale_secs: PerFamily<u32>,
    /// The F bit of each in the long-lived capability.
    pub long_lived_forwarding: PerFamily<bool>,
}

impl Negotiated {
    /// Whether the peer may be told routes that are long-lived stale (RFC 9494 4.3): it has offered to treat them so. The
    /// capability counts for nothing without that of graceful restart (RFC 9494 3.1).
    pub fn takes_long_lived_stale(&self) -> bool {
        let offers = |wanted: fn(&Capability) -> bool| self.capabilities.iter().any(wanted);
        offers(|it| matches!(it, Capability::LongLivedGracefulRestart(_)))
            && offers(|it| matches!(it, Capability::GracefulRestart(_)))
    }
}
