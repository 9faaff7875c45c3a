//! One connection of a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_net::Instant;

use crate::session::{ConnId, FsmState, Negotiated};

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Outgoing,
    Incoming,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// How far a connection has come. Each state holds what exists only there.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The dial has not succeeded yet.
    Dialing,
    /// Our OPEN is sent, theirs has not come.
    OpenSent(Ends),
    /// Their OPEN was good; a KEEPALIVE will confirm ours.
    OpenConfirm(Arc<Negotiated>),
    /// Routes flow, since then.
    Established(Arc<Negotiated>, Instant),
}

/// One connection of a peer.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) direction: Direction,
    pub(super) stage: Stage,
    /// When it was accepted, or the dial succeeded; before that, when the dial began.
    pub(super) since: Instant,
    /// The end of the wait for the dial, the OPEN, or any message (hold timer).
    pub(super) patience_ends: Option<Instant>,
    /// When the next KEEPALIVE is due.
    pub(super) keepalive_at: Option<Instant>,
    /// The end of the wait for the peer to read (RFC 9687).
    pub(super) send_hold_ends: Option<Instant>,
    /// The transport does not read, so silence means nothing.
    pub(super) read_paused: bool,
    /// Our OPEN as it was sent.
    pub(super) open: Bytes,
    /// The beginning of a message whose end has not come: less than one message.
    pub(super) partial: Vec<u8>,
}

impl Conn {
    pub(super) fn state(&self) -> FsmState {
        match self.stage {
            Stage::Dialing => FsmState::Connect,
            Stage::OpenSent(_) => FsmState::OpenSent,
            Stage::OpenConfirm(_) => FsmState::OpenConfirm,
            Stage::Established(..) => FsmState::Established,
        }
    }

    pub(super) fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match &self.stage {
            Stage::Dialing | Stage::OpenSent(_) => None,
            Stage::OpenConfirm(negotiated) | Stage::Established(negotiated, _) => Some(negotiated),
        }
    }

    pub(super) fn negotiated_mut(&mut self) -> Option<&mut Arc<Negotiated>> {
        match &mut self.stage {
            Stage::Dialing | Stage::OpenSent(_) => None,
            Stage::OpenConfirm(negotiated) | Stage::Established(negotiated, _) => Some(negotiated),
        }
    }

    pub(super) fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established(..))
    }

    /// Whether the peer's OPEN was good.
    pub(super) fn is_open(&self) -> bool {
        self.negotiated().is_some()
    }

    /// Something was heard: the hold timer starts again.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(negotiated) = self.negotiated() {
            let hold = Duration::from_secs(negotiated.hold_time_secs.into());
            self.patience_ends = (!hold.is_zero()).then(|| now + hold);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let patience_ends = self.patience_ends.filter(|_| !self.read_paused);
        [patience_ends, self.keepalive_at, self.send_hold_ends]
            .into_iter()
            .flatten()
            .min()
    }
}
