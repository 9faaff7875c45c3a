//! What passes between the core and the sessions, and between a session and its transport.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_net::{Afi, PeerId};

use super::{ConfigError, DownReason, Negotiated, PeerConfig};
use crate::batch::RouteBatch;
use crate::wire::Notification;

/// One TCP connection of one peer, never used for another connection of that peer. A peer can have several while a
/// collision lasts; inputs and actions that name a dead one mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u32);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// The state of a peer as shown: that of its connection that has come furthest (RFC 4271 8.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FsmState {
    /// Stopped, or held back after a failure: connections are refused.
    #[default]
    Idle,
    /// Waits for the time to dial, or only for the peer to dial.
    Active,
    /// Dials.
    Connect,
    /// Our OPEN is sent.
    OpenSent,
    /// The peer's OPEN was good.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl FsmState {
    /// The name of RFC 4271.
    pub fn name(self) -> &'static str {
        match self {
            FsmState::Idle => "Idle",
            FsmState::Active => "Active",
            FsmState::Connect => "Connect",
            FsmState::OpenSent => "OpenSent",
            FsmState::OpenConfirm => "OpenConfirm",
            FsmState::Established => "Established",
        }
    }
}

impl fmt::Display for FsmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From the core to the sessions.
#[derive(Clone, Debug)]
pub enum Command {
    /// There is this peer, or its configuration is this now. A refused one is told by [`SessionEvent::ConfigRefused`].
    SetPeer {
        /// Below [`super::DYNAMIC_PEERS`].
        peer: PeerId,
        /// What it is to be.
        config: Arc<PeerConfig>,
    },
    /// The peer is no more: Cease/Peer De-configured, as a Hard Reset if the N bit was negotiated. Removing a range removes
    /// the peers that came from it.
    RemovePeer {
        /// Which.
        peer: PeerId,
    },
    /// Ends the session and keeps it down until [`Command::Start`].
    Stop {
        /// Which.
        peer: PeerId,
        /// How.
        stop: Stop,
    },
    /// Takes back a [`Command::Stop`], and the penalty of a peer held back after failures.
    Start {
        /// Which.
        peer: PeerId,
    },
    /// BFD has found the peer, or the path to it, dead: Cease/BFD Down (RFC 9384) as a Hard Reset, so that neither side keeps
    /// routes. If TCP has told of the connection's end already, even if that is not read yet, the peer restarts and this means
    /// nothing: whoever holds the connection looks and leaves the command out.
    PathDown {
        /// Which.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Stay Idle so long before the next try.
        idle_hold: Duration,
    },
    /// Ends one session with this NOTIFICATION, for causes that only the core knows: too many prefixes.
    Reset {
        /// Which.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// What to say.
        notification: Notification,
        /// Stay Idle so long before the next try.
        idle_hold: Duration,
    },
    /// Whole encoded UPDATEs to write, if the connection is still Established. Give no more than the credit allows:
    /// [`SessionEvent::Drained`] says what has been written.
    Send {
        /// To whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Whole messages, shared by all members of an export group.
        bytes: Bytes,
        /// How many messages, for the counters.
        messages: u32,
    },
    /// Asks the peer for all its routes of a family again (RFC 2918), if it can.
    RequestRefresh {
        /// Whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Which family.
        afi: Afi,
    },
}

/// How a session is ended on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Cease/Administrative Shutdown with a text for the other side's operator (RFC 9003), as a Hard Reset if the N bit was
    /// negotiated: the peer drops our routes.
    Administrative {
        /// At most 255 octets reach the peer.
        text: String,
    },
    /// Cease/Peer De-configured, as a Hard Reset if the N bit was negotiated.
    PeerRemoved,
    /// We come back: the peer shall keep our routes. With the N bit negotiated Cease/Administrative Reset, with graceful
    /// restart alone a silent close. A peer without graceful restart gets Cease/Administrative Reset.
    GracefulRestart,
}

/// From the sessions to the core. Of one connection: `Up`, then any of the others that name it, then `Down`, then nothing.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// A peer came from a range; `peer` names it from now on.
    DynamicPeer {
        /// At or above [`super::DYNAMIC_PEERS`].
        peer: PeerId,
        /// The range it came from.
        range: PeerId,
        /// Its address.
        remote: IpAddr,
    },
    /// A peer from a range is forgotten: it did not come back within its restart time, or the range is gone.
    DynamicPeerGone {
        /// Which.
        peer: PeerId,
    },
    /// The session is Established.
    Up {
        /// Of whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// What both sides agreed on.
        negotiated: Arc<Negotiated>,
    },
    /// Routes, in the order the peer said them.
    Routes {
        /// From whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// The routes.
        batch: RouteBatch,
    },
    /// The peer asks for all our routes of a family again.
    RefreshRequested {
        /// Who.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Which family.
        afi: Afi,
    },
    /// The peer begins to tell all its routes of a family again (RFC 7313, BoRR).
    RefreshBegins {
        /// Who.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Which family.
        afi: Afi,
    },
    /// The peer has told all its routes of a family again (RFC 7313, EoRR).
    RefreshEnds {
        /// Who.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Which family.
        afi: Afi,
    },
    /// So many octets of [`Command::Send`] have gone to the kernel: credit to send as many more.
    Drained {
        /// To whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// How many octets.
        bytes: usize,
    },
    /// The session is over.
    Down {
        /// Of whom.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// Why.
        reason: DownReason,
        /// What the peer was told of it.
        sent: Option<Notification>,
        /// Keep the peer's routes as stale (RFC 4724 4.2); `None` means drop them now.
        stale: Option<StaleInfo>,
    },
    /// The state as shown has changed, or the reason for not being up. Dialling over and over is told once.
    State {
        /// Of whom.
        peer: PeerId,
        /// The state now.
        state: FsmState,
        /// Why the last connection or attempt ended.
        reason: Option<DownReason>,
    },
    /// The configuration cannot be used; the one before stays.
    ConfigRefused {
        /// Of whom.
        peer: PeerId,
        /// Why.
        error: ConfigError,
    },
}

impl SessionEvent {
    /// About how much memory it holds, in octets: what bounds of queues are counted in.
    pub fn weight(&self) -> usize {
        let held = match self {
            SessionEvent::Routes { batch, .. } => {
                batch.attr_bytes.len()
                    + size_of_val(batch.items.as_slice())
                    + size_of_val(batch.nlri.v4.as_slice())
                    + size_of_val(batch.nlri.v6.as_slice())
                    + size_of_val(batch.path_ids.v4.as_slice())
                    + size_of_val(batch.path_ids.v6.as_slice())
            }
            _ => 0,
        };
        size_of::<SessionEvent>() + held
    }
}

/// What a helper keeps of a restarting peer (RFC 4724 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaleInfo {
    /// How long to wait for the peer's session to come back, seconds: the peer's own restart time.
    pub restart_time_secs: u16,
    /// The families whose routes are kept for that time; those of the others are dropped now, unless they are kept longer.
    pub families: dunlin_net::PerFamily<bool>,
    /// How long each family's routes are kept beyond that, or from now on where the family is not in `families`, in seconds
    /// (RFC 9494 4.2).
    pub long_lived_stale_secs: dunlin_net::PerFamily<u32>,
}

impl StaleInfo {
    /// The longest time that anything is kept, in seconds.
    pub fn longest_secs(&self) -> u32 {
        let long = self.long_lived_stale_secs;
        long.v4
            .max(long.v6)
            .saturating_add(self.restart_time_secs.into())
    }
}

/// What a session wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Make a connection, and say [`Input::Connected`] or [`Input::DialFailed`].
    Dial {
        /// Its name.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
        /// Where from, if not just anywhere.
        local: Option<IpAddr>,
    },
    /// Write this after everything given before. All of a connection's bytes come this way, whole messages each.
    Write {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: Bytes,
        /// Whether it is of [`Command::Send`], to be told by [`SessionEvent::Drained`] once written.
        credited: bool,
    },
    /// End the connection or the attempt. With a NOTIFICATION: finish the message being written, drop the rest, write this,
    /// and linger until the peer has it.
    Close {
        /// Which; it is dead from here on.
        conn: ConnId,
        /// An encoded NOTIFICATION.
        notification: Option<Vec<u8>>,
    },
    /// Apply the transport settings of the peer's configuration, which have changed, to this living connection.
    Retune {
        /// Which.
        conn: ConnId,
    },
    /// Tell the core.
    Event(SessionEvent),
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A dial succeeded.
    Connected {
        /// Which.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        conn: ConnId,
        /// How.
        error: TransportError,
    },
    /// Bytes came, in any portions.
    Bytes {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: &'a [u8],
    },
    /// The connection ended without our doing.
    Closed {
        /// Which.
        conn: ConnId,
        /// How.
        error: TransportError,
    },
    /// The transport has stopped reading because the core is behind, or reads again. The hold timer waits meanwhile.
    ReadPaused {
        /// Where.
        conn: ConnId,
        /// Whether it is stopped now.
        paused: bool,
    },
    /// Something was written, or had to wait: the send hold timer (RFC 9687) runs while octets wait.
    Written {
        /// Where.
        conn: ConnId,
        /// Whether octets still wait.
        pending: bool,
    },
    /// [`Command::Send`].
    Send {
        /// Where.
        conn: ConnId,
        /// Whole messages.
        bytes: Bytes,
        /// How many.
        messages: u32,
    },
    /// [`Command::RequestRefresh`].
    RequestRefresh {
        /// Where.
        conn: ConnId,
        /// Which family.
        afi: Afi,
    },
    /// [`Command::Reset`].
    Reset {
        /// Which.
        conn: ConnId,
        /// What to say.
        notification: Notification,
        /// Stay Idle so long.
        idle_hold: Duration,
    },
    /// [`Command::Start`].
    Start,
    /// [`Command::Stop`].
    Stop(Stop),
    /// A changed configuration, already checked.
    Configure(Arc<PeerConfig>),
    /// A deadline may have passed.
    Deadline,
}

/// How a connection or an attempt at one failed below BGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TransportError {
    /// The peer closed it in order.
    #[error("the peer closed the connection")]
    Eof,
    /// RST.
    #[error("the peer reset the connection")]
    Reset,
    /// Nothing listens there.
    #[error(
        "connection refused: does the peer's BGP daemon run and listen on this address and port?"
    )]
    Refused,
    /// No answer.
    #[error("no answer: is the peer up, is the port open in its firewall, are passwords the same?")]
    TimedOut,
    /// Our kernel has no route to it.
    #[error("there is no route to the peer's address")]
    NoRoute,
    /// No neighbour, or a router on the way says so.
    #[error("the peer's address is unreachable")]
    Unreachable,
    /// The local address is not ours.
    #[error("the source address is none of this machine's")]
    SourceAddress,
    /// TTL, TCP MD5 or another setting could not be applied; the connection was never used.
    #[error("the transport settings could not be applied (os error {0})")]
    Settings(i32),
    /// The kernel takes no more TCP MD5 keys for a socket; the connection was never used.
    #[error(
        "the kernel holds no more TCP MD5 keys for the listening socket, so that a connection from the peer may be anybody's: \
         raise net.core.optmem_max on the node, or let peers with one password share a peerRange; meanwhile we dial the peer"
    )]
    NoRoomForKey,
    /// The peer dialled from further away than ttlSecurity allows (RFC 5082); the connection was never used.
    #[error(
        "a connection came from more than {hops} links away, which ttlSecurity forbids: does the peer send with TTL 255, and is it so near?"
    )]
    TooFar {
        /// How far away it may be.
        hops: u8,
    },
    /// It is not known how far the peer dialled from, so ttlSecurity forbids the connection, which was never used.
    #[error(
        "how far a connection came from is not known, and ttlSecurity has to know: is the node under a SYN flood?"
    )]
    DistanceUnknown,
    /// Anything else, with the system's error number.
    #[error("os error {0}")]
    Os(i32),
}
