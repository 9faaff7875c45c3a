//! Routes from peers, and when they are too many (RFC 4271 6.7, RFC 4486 4).

use std::fmt;
use std::time::Duration;

use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::session::{Command, ConnId};
use dunlin_bgp::wire::{AfiSafi, Notification, cease, code};
use dunlin_intent::MaxPrefixes;
use dunlin_net::{Afi, Instant, PeerId, PerFamily};

use crate::core::Core;
use crate::peers::Peer;
use crate::policy::Import;

/// How a peer stands to what it may announce.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Announced {
    /// It was ended for announcing too much, and nothing has been heard of it since.
    pub(crate) excess: Option<Excess>,
    /// How often that happened.
    pub(crate) exceeded: u64,
    /// The families in which it has come near its limit, or beyond where that ends no session.
    pub(crate) near: PerFamily<bool>,
}

/// What a peer announced too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    afi: Afi,
    limit: u32,
    restart_after: Duration,
    /// Until then it is neither dialled nor let in.
    pub(crate) until: Instant,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer announced more than {} {} prefixes, which is all that maxPrefixes allows: closed with Cease/Maximum Number \
             of Prefixes Reached and held down for {} s; have it announce less, or raise maxPrefixes.limit",
            self.limit,
            self.afi,
            self.restart_after.as_secs()
        )
    }
}

/// Cease/Maximum Number of Prefixes Reached with the family and the limit (RFC 4486 4), for good.
fn too_many(afi: Afi, limit: u32) -> Notification {
    let mut data = Vec::new();
    data.extend(AfiSafi::unicast(afi).afi.to_be_bytes());
    data.push(AfiSafi::unicast(afi).safi);
    data.extend(limit.to_be_bytes());
    let inner = Notification::with_data(code::CEASE, cease::MAX_PREFIXES, &data);
    Notification::hard_reset(&inner)
}

/// The limit that the RIB holds to: with action Warn all is taken.
fn taken(max: Option<MaxPrefixes>) -> Option<u32> {
    max.filter(|max| max.restart_after.is_some())
        .map(|max| max.limit)
}

impl Core {
    pub(crate) fn on_routes(&mut self, now: Instant, id: PeerId, conn: ConnId, batch: &RouteBatch) {
        let installs = self.installs();
        let source = match self.peers.established(id, conn) {
            // What still comes from one whose session was told to end is nobody's.
            Some(peer) if peer.announced.excess.is_none() => peer.source,
            _ => return,
        };
        let (Some(routing), Some(source)) = (&mut self.routing, source) else {
            return;
        };
        let import = Import {
            cluster: &self.cluster,
            peers: &self.peers,
            installs,
        };
        let applied = routing.rib.apply(&import, source, batch);
        self.note_reflected(now, id, batch);
        if let Some(afi) = applied.over_limit {
            return self.on_too_many(now, id, afi);
        }
        self.note_near(id);
        for afi in Afi::ALL {
            if *applied.end_of_rib.get(afi) {
                self.on_end_of_rib(id, afi);
            }
        }
    }

    fn on_end_of_rib(&mut self, id: PeerId, afi: Afi) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let Some(up) = &mut peer.up else { return };
        *up.end_of_rib.get_mut(afi) = true;
        self.bmp.on_end_of_rib(id, afi);
        let complete = up.is_complete();
        let key = peer.key().clone();
        if complete {
            peer.complete_at = None;
        }
        self.on_kept_told(id, afi);
        if complete {
            self.on_peer_complete(id, &key);
        }
    }

    /// A session begins, and what its peer announces counts from here.
    pub(crate) fn begin_counting(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.announced.excess = None;
        if let (Some(routing), Some(source)) = (&mut self.routing, peer.source) {
            let limit = taken(peer.intent.max_prefixes);
            routing.rib.set_limit(source, limit);
        }
    }

    /// A peer may announce more, or less, than before.
    pub(crate) fn on_limit_changed(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.announced.excess.take().is_some() {
            // Whoever changed the limit does not want to wait.
            self.command(Command::Start { peer: id });
        }
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        if let (Some(routing), Some(source)) = (&mut self.routing, peer.source) {
            let limit = taken(peer.intent.max_prefixes);
            routing.rib.set_limit(source, limit);
        }
        if let Some(afi) = self.family_in_excess(peer, peer.intent.max_prefixes) {
            self.on_too_many(now, id, afi);
        }
        self.note_near(id);
    }

    /// The family of which a peer that is up announces more than this, where that ends its session.
    pub(crate) fn family_in_excess(&self, peer: &Peer, max: Option<MaxPrefixes>) -> Option<Afi> {
        let limit = taken(max)?;
        Afi::ALL
            .into_iter()
            .find(|afi| self.announced_by(peer, *afi) > limit)
    }

    /// How many prefixes of a family the peer's session has announced.
    pub(crate) fn announced_by(&self, peer: &Peer, afi: Afi) -> u32 {
        match (&self.routing, peer.source, &peer.up) {
            (Some(routing), Some(source), Some(_)) => routing.rib.source_counts(source, afi).fresh,
            _ => 0,
        }
    }

    /// Its routes go now; the session ends as soon as whoever holds it hears of it.
    fn on_too_many(&mut self, now: Instant, id: PeerId, afi: Afi) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let (Some(max), Some(up)) = (peer.intent.max_prefixes, &peer.up) else {
            return;
        };
        let Some(restart_after) = max.restart_after else {
            return;
        };
        peer.announced.exceeded += 1;
        peer.announced.excess = Some(Excess {
            afi,
            limit: max.limit,
            restart_after,
            until: now + restart_after,
        });
        let conn = up.conn;
        if let (Some(routing), Some(source)) = (&mut self.routing, peer.source) {
            routing.rib.drop_source(source);
        }
        self.command(Command::Reset {
            peer: id,
            conn,
            notification: too_many(afi, max.limit),
            idle_hold: restart_after,
        });
        self.note_near(id);
    }

    /// Notes whether a peer has come near its limit, which is told at once.
    pub(crate) fn note_near(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        let near = |afi| {
            let warning = peer.intent.max_prefixes.map(|max| max.warning);
            warning.is_some_and(|warning| self.announced_by(peer, afi) >= warning)
        };
        let near = PerFamily {
            v4: near(Afi::Ipv4),
            v6: near(Afi::Ipv6),
        };
        if near != peer.announced.near {
            self.revisions.changes += 1;
            if let Some(peer) = self.peers.get_mut(id) {
                peer.announced.near = near;
            }
        }
    }
}
