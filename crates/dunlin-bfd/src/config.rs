use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// A session as its owner names it: never used for another session while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bfd-{}", self.0)
    }
}

/// A session as the packets name it (bfd.LocalDiscr): not zero, and not to be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Discriminator(pub NonZeroU32);

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The two encapsulations, which never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hops {
    /// The peer is a neighbour (RFC 5881).
    Single,
    /// There may be routers between (RFC 5883).
    Multi,
}

impl Hops {
    /// Both.
    pub const ALL: [Hops; 2] = [Hops::Single, Hops::Multi];

    /// The UDP port that packets are sent to.
    pub fn port(self) -> u16 {
        match self {
            Hops::Single => 3784,
            Hops::Multi => 4784,
        }
    }
}

/// Who begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends from the start.
    #[default]
    Active,
    /// Sends nothing until the peer is heard.
    Passive,
}

/// What a session is told to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The other end.
    pub peer: IpAddr,
    /// Our address, if packets are to come from it and go to it alone.
    pub local: Option<IpAddr>,
    /// The index of the interface that packets must come in by, and go out by.
    pub interface: Option<u32>,
    /// Whether the peer is a neighbour.
    pub hops: Hops,
    /// The least TTL or hop limit of a packet that is taken; 255 without effect on [`Hops::Single`], which always demands
    /// 255 (RFC 5881 5).
    pub min_ttl: u8,
    /// bfd.DesiredMinTxInterval of a session that is up: 10 ms to 60 s.
    pub desired_min_tx: Duration,
    /// bfd.RequiredMinRxInterval: 10 ms to 60 s.
    pub required_min_rx: Duration,
    /// bfd.DetectMult: how many of our packets the peer may miss, at least 1.
    pub detect_mult: u8,
    /// Who begins.
    pub role: Role,
    /// Off: kept in AdminDown, which the peer is told.
    pub enabled: bool,
}

impl SessionConfig {
    /// The least and the most that an interval may be.
    pub const INTERVALS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(60)];

    /// A session with a neighbour: 300 ms × 3, active.
    pub fn single_hop(peer: IpAddr) -> SessionConfig {
        SessionConfig {
            peer,
            local: None,
            interface: None,
            hops: Hops::Single,
            min_ttl: 255,
            desired_min_tx: Duration::from_millis(300),
            required_min_rx: Duration::from_millis(300),
            detect_mult: 3,
            role: Role::Active,
            enabled: true,
        }
    }

    /// A session with a peer behind routers, of any distance.
    pub fn multi_hop(peer: IpAddr, local: IpAddr) -> SessionConfig {
        SessionConfig {
            local: Some(local),
            hops: Hops::Multi,
            min_ttl: 1,
            ..SessionConfig::single_hop(peer)
        }
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let peer = self.peer;
        if peer.is_unspecified() || peer.is_multicast() {
            return Err(ConfigError::Peer(peer));
        }
        if let Some(local) = self.local
            && local.to_canonical().is_ipv4() != peer.to_canonical().is_ipv4()
        {
            return Err(ConfigError::Families { peer, local });
        }
        if is_link_local(peer) && (self.interface.is_none() || self.hops == Hops::Multi) {
            return Err(ConfigError::LinkLocal(peer));
        }
        let [least, most] = SessionConfig::INTERVALS;
        for interval in [self.desired_min_tx, self.required_min_rx] {
            if !(least..=most).contains(&interval) {
                return Err(ConfigError::Interval(interval));
            }
        }
        if self.detect_mult == 0 {
            return Err(ConfigError::DetectMult);
        }
        Ok(())
    }

    /// The least TTL of a packet that is taken.
    pub(crate) fn least_ttl(&self) -> u8 {
        match self.hops {
            Hops::Single => 255,
            Hops::Multi => self.min_ttl,
        }
    }

    pub(crate) fn path(&self) -> PathKey {
        PathKey {
            hops: self.hops,
            peer: self.peer.to_canonical(),
            interface: self.interface,
            local: self.local.map(|local| local.to_canonical()),
        }
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// What finds a session for a packet that does not know our discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathKey {
    pub(crate) hops: Hops,
    pub(crate) peer: IpAddr,
    pub(crate) interface: Option<u32>,
    pub(crate) local: Option<IpAddr>,
}

impl PathKey {
    /// Whether a packet of this path, of which all is known, may be of the session of that path.
    pub(crate) fn admits(&self, packet: &PathKey) -> bool {
        self.hops == packet.hops
            && self.peer == packet.peer
            && (self.interface.is_none() || self.interface == packet.interface)
            && (self.local.is_none() || self.local == packet.local)
    }

    /// The paths of sessions that a packet of this path may be of, the most exact first.
    pub(crate) fn candidates(self) -> [PathKey; 4] {
        let any_local = PathKey {
            local: None,
            ..self
        };
        let any_interface = PathKey {
            interface: None,
            ..self
        };
        let any = PathKey {
            interface: None,
            ..any_local
        };
        [self, any_local, any_interface, any]
    }
}

/// Why a session cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the address of one host.
    #[error("{0} cannot be the peer of a BFD session: give the address of one host")]
    Peer(IpAddr),
    /// Two families.
    #[error("the peer {peer} and the local address {local} are of different families")]
    Families {
        /// The peer.
        peer: IpAddr,
        /// Our address.
        local: IpAddr,
    },
    /// A link-local address means nothing without its link.
    #[error("the link-local peer {0} needs an interface and a single-hop session")]
    LinkLocal(IpAddr),
    /// An interval out of range.
    #[error("an interval of {0:?} is out of range: give 10 ms to 60 s")]
    Interval(Duration),
    /// No multiplier.
    #[error("the detection multiplier is 0: give 1 to 255")]
    DetectMult,
    /// Packets of the two could not be told apart.
    #[error("the session {owner} has the same peer, interface and local address")]
    PathTaken {
        /// The other session.
        owner: SessionId,
    },
    /// The table's bound.
    #[error("there are {0} BFD sessions already, and no more are allowed")]
    TooMany(usize),
}
