use std::fmt;
use std::net::IpAddr;

use dunlin_net::Instant;

use crate::{CONTROL_LEN, Diagnostic, Discriminator, Hops, SessionId, State};

/// Why a session changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The ends hear each other.
    Handshake,
    /// Nothing was heard for the detection time.
    DetectionTimeExpired,
    /// The peer says Down: it does not hear us, or was told by its own side that the path is gone.
    RemoteDown,
    /// The peer has begun anew, with another discriminator, before we missed a packet: its BFD was restarted, its path works.
    RemoteRestarted,
    /// The peer keeps its session down on purpose.
    RemoteAdminDown,
    /// We do.
    Disabled,
    /// We no longer do.
    Enabled,
}

impl Cause {
    /// Whether a session that left Up for this shows that the path has failed. RFC 5882 3.2: a session that somebody has
    /// switched off is none that has failed, and says nothing about the path.
    pub fn is_failure(self) -> bool {
        matches!(self, Cause::DetectionTimeExpired | Cause::RemoteDown)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cause::Handshake => "both ends hear each other",
            Cause::DetectionTimeExpired => "nothing heard for the detection time",
            Cause::RemoteDown => "the peer says Down",
            Cause::RemoteRestarted => "the peer has begun anew",
            Cause::RemoteAdminDown => "the peer is administratively down",
            Cause::Disabled => "administratively down",
            Cause::Enabled => "no longer administratively down",
        })
    }
}

/// A session has changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Of its owner.
    pub session: SessionId,
    /// When.
    pub at: Instant,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// What we tell the peer.
    pub local_diagnostic: Diagnostic,
    /// What the peer last told us.
    pub remote_diagnostic: Diagnostic,
    /// Whether the peer said that its BFD does not share fate with its control plane (RFC 5882 4.3).
    pub remote_control_plane_independent: bool,
    /// The last packet taken before.
    pub last_received: Option<Instant>,
    /// Failures so far ([`crate::SessionStats::failures`]): who missed a change still sees that there was one.
    pub failures: u64,
}

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The session; all its packets come from one source port that no other session has (RFC 5881 4).
    pub session: Discriminator,
    /// To whom, at [`Hops::port`].
    pub peer: IpAddr,
    /// From where, if that matters.
    pub local: Option<IpAddr>,
    /// By which interface, if that matters.
    pub interface: Option<u32>,
    /// Which encapsulation. The TTL is 255 in both.
    pub hops: Hops,
    /// The payload.
    pub octets: [u8; CONTROL_LEN],
}

/// What is to be done for a [`crate::Sessions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send it now.
    Transmit(Transmit),
    /// Tell the owner.
    Changed(StateChange),
    /// Nothing more will be sent for it.
    Closed(Discriminator),
}
