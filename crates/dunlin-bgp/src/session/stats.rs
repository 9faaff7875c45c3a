//! What is counted and remembered of a peer.

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::{Instant, PeerId};

use super::{ConnId, DownReason, FsmState, Negotiated};
use crate::wire::Notification;

/// Messages of one direction, by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// OPENs.
    pub opens: u64,
    /// UPDATEs.
    pub updates: u64,
    /// NOTIFICATIONs.
    pub notifications: u64,
    /// KEEPALIVEs.
    pub keepalives: u64,
    /// ROUTE-REFRESHes.
    pub refreshes: u64,
    /// Octets.
    pub bytes: u64,
}

impl MessageCounts {
    /// All messages.
    pub fn total(&self) -> u64 {
        self.opens + self.updates + self.notifications + self.keepalives + self.refreshes
    }
}

/// What is counted and remembered of a peer since it was configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// What came.
    pub received: MessageCounts,
    /// What was given to the transport.
    pub sent: MessageCounts,
    /// UPDATEs in which prefixes were treated as withdrawn (RFC 7606).
    pub treated_as_withdraw: u64,
    /// Attributes discarded (RFC 7606).
    pub attributes_discarded: u64,
    /// Times the session became Established.
    pub ups: u64,
    /// Times it left Established.
    pub flaps: u64,
    /// Dials begun.
    pub dials: u64,
    /// Incoming connections refused: stopped, held back, or too many at a time.
    pub refused: u64,
    /// Inputs for connections that were dead already.
    pub late_inputs: u64,
    /// The last NOTIFICATION sent.
    pub last_sent: Option<(Instant, Notification)>,
    /// The last NOTIFICATION received.
    pub last_received: Option<(Instant, Notification)>,
    /// Why the last connection or attempt ended.
    pub last_error: Option<(Instant, DownReason)>,
    /// Why the session was left last, whatever attempts have come to since.
    pub last_down: Option<(Instant, DownReason)>,
}

/// A TCP connection that is no session yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The peer dialled.
    pub incoming: bool,
    /// How far it has come.
    pub state: FsmState,
    /// When it was accepted, or the dial succeeded; before that, when the dial began.
    pub since: Instant,
}

/// A peer as it is now, for people and metrics.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// Which.
    pub peer: PeerId,
    /// What people call it.
    pub name: String,
    /// The range it came from, if any.
    pub range: Option<PeerId>,
    /// Its address; absent for a range itself.
    pub remote: Option<SocketAddr>,
    /// The state as shown.
    pub state: FsmState,
    /// Since when.
    pub since: Instant,
    /// The Established connection.
    pub conn: Option<ConnId>,
    /// What the Established connection agreed on.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Counters.
    pub stats: PeerStats,
    /// Octets that wait to be written, if the one who asks knows.
    pub output_queue_bytes: usize,
    /// Connections beside the Established one, oldest first.
    pub attempts: Vec<Attempt>,
    /// When the peer is dialled next, if it is to be.
    pub dial_at: Option<Instant>,
    /// Until when it is held back after failures, or by the core.
    pub held_until: Option<Instant>,
    /// It has to dial us.
    pub passive: bool,
}
