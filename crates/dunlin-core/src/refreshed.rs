//! A peer tells everything of a family again between two marks (RFC 7313): what it does not tell in between is no more.

use std::time::Duration;

use dunlin_bgp::session::ConnId;
use dunlin_net::{Afi, Instant, PeerId};

use crate::core::Core;
use crate::peers::Peer;

/// How long the second mark is waited for. What has not been told again by then goes, as if it had come.
const END_PATIENCE: Duration = Duration::from_secs(360);

impl Core {
    /// The peer asks for everything of a family again, which it may do to have us stop reflecting.
    pub(crate) fn on_refresh_requested(&mut self, id: PeerId, conn: ConnId, afi: Afi) {
        if self.peers.established(id, conn).is_none() || self.stops_reflecting(id) {
            return;
        }
        let up = self.peers.get(id).and_then(|peer| peer.up.as_ref());
        if let (Some(routing), Some(up)) = (&mut self.routing, up) {
            let marks = up.negotiated.enhanced_route_refresh;
            routing.rib.refresh(id, afi, marks);
        }
    }

    /// The first mark. Before End-of-RIB it means nothing where the peer promised one (RFC 7313 4).
    pub(crate) fn on_refresh_begins(&mut self, now: Instant, id: PeerId, conn: ConnId, afi: Afi) {
        let (Some(peer), Some(routing)) = (self.peers.established(id, conn), &mut self.routing)
        else {
            return;
        };
        let awaited = peer
            .up
            .as_ref()
            .is_some_and(|up| up.negotiated.graceful_restart.is_some() && !*up.end_of_rib.get(afi));
        let Some(source) = peer.source.filter(|_| !awaited) else {
            return;
        };
        routing.rib.begin_refresh(source, afi);
        let until = now + END_PATIENCE;
        *peer.refreshing.get_mut(afi) = Some(until);
        self.timers.insert((until, id));
    }

    /// The second mark. Without a first one it means nothing.
    pub(crate) fn on_refresh_ends(&mut self, id: PeerId, conn: ConnId, afi: Afi) {
        if self.peers.established(id, conn).is_some() {
            self.end_refresh(id, afi);
        }
    }

    /// A deadline of a peer may be one of these.
    pub(crate) fn on_refresh_timer(&mut self, at: Instant, id: PeerId) {
        for afi in Afi::ALL {
            let peer = self.peers.get(id);
            let due = |peer: &Peer| peer.up.is_some() && *peer.refreshing.get(afi) == Some(at);
            if peer.is_some_and(due) {
                self.end_refresh(id, afi);
            }
        }
    }

    fn end_refresh(&mut self, id: PeerId, afi: Afi) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        if peer.refreshing.get_mut(afi).take().is_some()
            && let Some(source) = peer.source
        {
            routing.rib.sweep_stale(source, afi);
        }
    }
}
