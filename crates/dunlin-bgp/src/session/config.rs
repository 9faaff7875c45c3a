//! What a peer is told to be.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_net::{Afi, Asn, IpNet, PeerId, PerFamily, RouterId};

use crate::policy::{PeerType, Role};

/// One peer, or one range of peers. Applying a changed configuration resets a session only if something that its OPEN
/// carried has changed; transport settings and the other timers change in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// What people call the peer: the node's or the object's name.
    pub name: String,
    /// Whom to speak with.
    pub remote: Remote,
    /// The address to dial from and to be dialled at; any of the machine's if absent.
    pub local_address: Option<IpAddr>,
    /// The AS the peer must be of.
    pub remote_asn: RemoteAsn,
    /// Our AS toward this peer.
    pub local_asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Timers.
    pub timers: Timers,
    /// Never dial, only accept. Ranges never dial.
    pub passive: bool,
    /// Families to offer; at least one.
    pub families: PerFamily<bool>,
    /// Graceful restart (RFC 4724), if offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Which other capabilities to offer.
    pub capabilities: Offer,
    /// Several paths for one prefix (RFC 7911), to be offered in each of the families.
    pub add_path: PerFamily<AddPath>,
    /// Whether the paths of an external peer must begin with its AS (RFC 4271 6.3); not so from a route server. Changes in
    /// place.
    pub enforce_first_as: bool,
    /// What we are to an external peer (RFC 9234), if that is to be told.
    pub role: Option<Role>,
    /// With a role: a peer that tells none is refused.
    pub strict_role: bool,
    /// How the TCP connections are made.
    pub transport: Transport,
}

impl PeerConfig {
    /// A configuration with the defaults of the house: both families, 90 s hold time, everything offered, no graceful
    /// restart, no password, the kernel's TTL.
    pub fn new(name: &str, remote: Remote, local_asn: Asn, router_id: RouterId) -> PeerConfig {
        PeerConfig {
            name: name.to_owned(),
            remote,
            local_address: None,
            remote_asn: RemoteAsn::Internal,
            local_asn,
            router_id,
            timers: Timers::default(),
            passive: false,
            families: PerFamily { v4: true, v6: true },
            graceful_restart: None,
            capabilities: Offer::default(),
            add_path: PerFamily::default(),
            enforce_first_as: true,
            role: None,
            strict_role: false,
            transport: Transport::default(),
        }
    }

    /// What is wrong with the configuration, if anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        if matches!(self.timers.hold_time_secs, 1 | 2) {
            return Err(ConfigError::HoldTime(self.timers.hold_time_secs));
        }
        if self.timers.connect_retry_secs == 0 {
            return Err(ConfigError::ConnectRetry);
        }
        if !self.families.v4 && !self.families.v6 {
            return Err(ConfigError::NoFamily);
        }
        if self.router_id.0.is_unspecified() {
            return Err(ConfigError::RouterId);
        }
        if self.local_asn.0 == 0 || self.remote_asn == RemoteAsn::Exact(Asn(0)) {
            return Err(ConfigError::AsZero);
        }
        let restart_time = self.graceful_restart.map_or(0, |gr| gr.restart_time_secs);
        if restart_time > GracefulRestart::MAX_RESTART_TIME_SECS {
            return Err(ConfigError::RestartTime(restart_time));
        }
        let stale_time = self
            .graceful_restart
            .map_or(0, |gr| gr.long_lived_stale_secs);
        if stale_time > GracefulRestart::MAX_STALE_TIME_SECS {
            return Err(ConfigError::StaleTime(stale_time));
        }
        if let (Remote::Address(remote), Some(local)) = (self.remote, self.local_address)
            && Afi::of(remote.ip().to_canonical()) != Afi::of(local.to_canonical())
        {
            return Err(ConfigError::FamiliesDiffer {
                local,
                remote: remote.ip(),
            });
        }
        Ok(())
    }
}

/// Whom to speak with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A peer at this address; the port is the one to dial.
    Address(SocketAddr),
    /// Whoever dials from this prefix. Each becomes a peer of its own ([`super::SessionEvent::DynamicPeer`]).
    Range {
        /// The prefix to accept from. An exact address of another peer, and a longer range, come first.
        prefix: IpNet,
        /// At most this many peers at a time; more are refused and counted.
        max_peers: u32,
    },
}

/// The AS a peer must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAsn {
    /// This one.
    Exact(Asn),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

impl RemoteAsn {
    /// Whether a peer of this AS is the one meant.
    pub fn accepts(self, local: Asn, remote: Asn) -> bool {
        match self {
            RemoteAsn::Exact(asn) => asn == remote,
            RemoteAsn::Internal => local == remote,
            RemoteAsn::External => local != remote,
        }
    }

    /// What kind of session it will be, known before the peer has spoken.
    pub fn peer_type(self, local: Asn) -> PeerType {
        match self {
            RemoteAsn::Exact(asn) if asn == local => PeerType::Internal,
            RemoteAsn::Internal => PeerType::Internal,
            RemoteAsn::Exact(_) | RemoteAsn::External => PeerType::External,
        }
    }
}

impl fmt::Display for RemoteAsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAsn::Exact(asn) => asn.fmt(f),
            RemoteAsn::Internal => f.write_str("internal"),
            RemoteAsn::External => f.write_str("external"),
        }
    }
}

/// Timers, in whole seconds (RFC 4271 10). All are jittered by up to a quarter downward, except the hold time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The hold time to offer; 0 means none, 1 and 2 are not allowed. Changing it resets the session.
    pub hold_time_secs: u16,
    /// The longest time between KEEPALIVEs; never more than a third of the hold time in use.
    pub keepalive_time_secs: u16,
    /// The longest pause between dials: the first is a second, the next are twice the one before.
    pub connect_retry_secs: u16,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            hold_time_secs: 90,
            keepalive_time_secs: 30,
            connect_retry_secs: 5,
        }
    }
}

/// Our side of graceful restart (RFC 4724, RFC 8538). Only the times and the N bit reset a session when changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the peer should wait for us to come back: at most [`GracefulRestart::MAX_RESTART_TIME_SECS`].
    pub restart_time_secs: u16,
    /// The N bit: also a NOTIFICATION keeps the routes, unless it is a Hard Reset (RFC 8538).
    pub notification: bool,
    /// The R bit of the next OPENs: we have just restarted and the peer need not wait for our End-of-RIB.
    pub restarting: bool,
    /// The F bit of each family in the next OPENs: our forwarding state survived.
    pub forwarding: PerFamily<bool>,
    /// How long the peer may keep our routes beyond the restart time, and we the peer's, in seconds: at most
    /// [`GracefulRestart::MAX_STALE_TIME_SECS`]. 0 offers no long-lived graceful restart (RFC 9494). Resets when changed.
    pub long_lived_stale_secs: u32,
    /// With the N bit negotiated, whether the peer's silence still ends everything at once (Cease/Hard Reset) rather than
    /// keeping its routes (RFC 8538 3). Changes in place.
    pub hard_reset_on_hold_expiry: bool,
}

impl GracefulRestart {
    /// The longest restart time that its 12 bits can carry.
    pub const MAX_RESTART_TIME_SECS: u16 = 4095;
    /// The longest stale time that its 24 bits can carry.
    pub const MAX_STALE_TIME_SECS: u32 = (1 << 24) - 1;
}

impl Default for GracefulRestart {
    fn default() -> GracefulRestart {
        GracefulRestart {
            restart_time_secs: 120,
            notification: false,
            restarting: false,
            forwarding: PerFamily::default(),
            long_lived_stale_secs: 0,
            hard_reset_on_hold_expiry: true,
        }
    }
}

/// Which capabilities to offer besides families and graceful restart. By default all but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Multiprotocol extensions (RFC 4760). Without it the session carries IPv4 alone, in the old form.
    pub multiprotocol: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Marks around everything that is told again (RFC 7313). Not without route refresh.
    pub enhanced_route_refresh: bool,
    /// Messages up to 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// IPv4 prefixes with IPv6 next hops (RFC 8950): for sessions over IPv6 that carry IPv4. Not by default.
    pub extended_next_hop: bool,
}

impl Default for Offer {
    fn default() -> Offer {
        Offer {
            multiprotocol: true,
            four_octet_as: true,
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            extended_next_hop: false,
        }
    }
}

/// In which directions a family carries several paths for one prefix (RFC 7911 4), as we see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddPath {
    /// From us to the peer.
    pub send: bool,
    /// From the peer to us.
    pub receive: bool,
}

/// How the TCP connections of a peer are made. Changes in place, on living connections too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// What is done with the TTL (hop limit).
    pub ttl: Ttl,
    /// The TCP MD5 key (RFC 2385), if any.
    pub password: Option<Password>,
}

/// What is done with the TTL of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// The kernel's default.
    #[default]
    System,
    /// Packets live this many hops: 1 for an external peer on the link.
    Hops(u8),
    /// GTSM (RFC 5082): sent with 255, and dropped if they come from further than this many hops.
    Security {
        /// How many hops away the peer may be, from 1.
        hops: u8,
    },
}

/// A TCP MD5 key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<[u8]>);

impl Password {
    /// A key of 1 to 80 octets; `None` for any other length, which the kernel would refuse.
    pub fn new(key: &[u8]) -> Option<Password> {
        (1..=80).contains(&key.len()).then(|| Password(key.into()))
    }

    /// The key itself, for the one who gives it to the kernel.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// Why a configuration is not used. The peer keeps the one it had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// RFC 4271 4.2 allows 0 and from 3 on.
    #[error("hold time of {0} s: use 0 (none) or at least 3")]
    HoldTime(u16),
    /// There would be no pause between dials.
    #[error("connect retry time of 0 s: use at least 1")]
    ConnectRetry,
    /// It does not fit its 12 bits.
    #[error("graceful restart time of {0} s: use at most 4095")]
    RestartTime(u16),
    /// It does not fit its 24 bits.
    #[error("long-lived stale time of {0} s: use at most 16777215")]
    StaleTime(u32),
    /// Nothing to exchange.
    #[error("no address family: name at least one of ipv4 and ipv6")]
    NoFamily,
    /// RFC 6286.
    #[error("the router id is 0.0.0.0: use any other")]
    RouterId,
    /// RFC 7607.
    #[error("AS 0 cannot be used")]
    AsZero,
    /// Only peers from ranges have such ids.
    #[error("{0} is an id for peers that come from a range")]
    ReservedId(PeerId),
    /// A connection has one family.
    #[error("source address {local} and peer address {remote} are not of the same family")]
    FamiliesDiffer {
        /// The source address.
        local: IpAddr,
        /// The peer's address.
        remote: IpAddr,
    },
    /// An incoming connection could not be told apart.
    #[error("{address} is already the address of peer {name}")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        name: String,
    },
    /// An incoming connection could not be told apart.
    #[error("{prefix} is already the range of {name}")]
    RangeTaken {
        /// The prefix.
        prefix: IpNet,
        /// Who has it.
        name: String,
    },
}
