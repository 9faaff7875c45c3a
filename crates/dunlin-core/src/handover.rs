//! From one set of sessions between nodes to another, without a route missing: make before break.
//!
//! New sessions start at once. One that is wanted no longer ends when every route it brought has come by another that
//! stays, and after the reflectors have told all they have. It ends as a restart would, so that the other side keeps our
//! routes until it has them elsewhere too; a route that never comes elsewhere keeps its session for good, which costs
//! little, while closing it would cost the route.
//!
//! A reflector that is one no longer goes on reflecting on the sessions it has. Its clients leave when they can; those
//! that still want a session with it, now for itself, ask for a route refresh, and with that it stops. One that sees the Nodes
//! otherwise does not stop, and is asked again, more and more seldom, until it does.
//!
//! Looking again is a matter of deadlines that grow while nothing moves, and costs the routes of the sessions that part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::rib::SourceId;
use dunlin_bgp::session::{Command, FsmState, Stop};
use dunlin_intent::{Initiative, PeerIntent, PeerKey};
use dunlin_net::{Afi, Instant, IpNet, PeerId};

use crate::core::Core;
use crate::kept::Kept;
use crate::peers::{Peer, Up};
use crate::routes::Routing;

/// How long all agents are given to see the Nodes alike, before a session that seems to be wanted no longer ends.
const SETTLE: Duration = Duration::from_secs(10);

/// How long all reflectors are waited for before one that is up suffices.
const ALL_REFLECTORS: Duration = Duration::from_secs(60);

/// How long a former reflector leaves it to its clients to leave.
const CLIENTS_LEAVE: Duration = Duration::from_secs(300);

/// When a session that only the other side wanted when it began is looked at again: it may have changed its mind.
const ASKED_FOR: Duration = Duration::from_secs(600);

/// How long a reflector's routes are kept when its Node is gone and they have not come by another.
const KEEP_RELAYED: Duration = Duration::from_secs(120);

/// The pause before looking again, while nothing moves: from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How many sessions end at a time, and the pause after them: a mesh of thousands goes little by little.
const AT_A_TIME: (usize, Duration) = (256, Duration::from_millis(100));

/// That a session, or what is left of it, is to end or to change its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    kind: Kind,
    /// Not before.
    due: Instant,
    /// When a reflector that was asked to stop and did not is asked again.
    again: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is wanted no longer, or only its routes are left.
    Leave,
    /// It is wanted, and the peer need not reflect on it any more.
    Release,
}

/// The sessions that part.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    parting: BTreeSet<PeerId>,
    next: Option<Instant>,
    pause: Duration,
}

impl Handover {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn look_at(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        self.pause = PAUSE.0;
    }
}

impl Core {
    /// The Nodes that reflect, by name.
    pub fn reflectors(&self) -> impl Iterator<Item = &str> {
        self.cluster.reflectors().map(|name| &**name)
    }

    /// How many established sessions we reflect on.
    pub fn reflector_clients(&self) -> usize {
        let reflects = |peer: &&Peer| peer.is_established() && peer.client;
        self.peers.iter().filter(reflects).count()
    }

    /// What a peer is to us may have changed. We reflect for a node until it says that we need not any more.
    pub(crate) fn on_tie(&mut self, now: Instant, id: PeerId, intent: &PeerIntent) {
        let reflects = intent.reflector_client && intent.initiative == Initiative::Ours;
        if let Some(peer) = self.peers.get_mut(id)
            && peer.client != reflects
            && (reflects || !peer.key().is_node())
        {
            peer.client = reflects;
            self.know_otherwise(id);
        }
        self.review_parting(now, id);
    }

    /// Notes whether a node's session parts: call it when what is wanted of the peer changed, or its session came or went.
    pub(crate) fn review_parting(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.key().is_node()) else {
            return;
        };
        peer.relays |= peer.intent.reflector && peer.is_established();
        let ours = peer.intent.initiative == Initiative::Ours;
        let kind = if !ours && peer.source.is_some() {
            Some(Kind::Leave)
        } else if ours && peer.relays && !peer.intent.reflector && peer.is_established() {
            Some(Kind::Release)
        } else {
            None
        };
        let Some(kind) = kind else {
            peer.parting = None;
            self.handover.parting.remove(&id);
            return;
        };
        if peer.parting.is_some_and(|parting| parting.kind == kind) {
            return;
        }
        let wait = match kind {
            Kind::Leave if peer.is_established() && peer.client => CLIENTS_LEAVE,
            _ => SETTLE,
        };
        let due = now + wait;
        peer.parting = Some(Parting {
            kind,
            due,
            again: SETTLE,
        });
        self.handover.parting.insert(id);
        self.handover.look_at(due);
    }

    /// A node's session came up, which may be one that only the other side wants.
    pub(crate) fn on_node_up(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.relays = false;
            peer.parting = None;
        }
        self.review_parting(now, id);
        if let Some(peer) = self.peers.get_mut(id)
            && let Some(parting) = &mut peer.parting
        {
            parting.due = now + ASKED_FOR;
        }
    }

    /// A node that is no reflector to us may reflect all the same: it sees the Nodes otherwise, or did when the session began.
    pub(crate) fn note_reflected(&mut self, now: Instant, id: PeerId, batch: &RouteBatch) {
        if let Some(peer) = self.peers.get_mut(id)
            && peer.key().is_node()
            && !peer.is_reflector()
            && batch.is_reflected()
        {
            peer.relays = true;
            self.review_parting(now, id);
        }
    }

    /// A node's session ended; its routes may be kept.
    pub(crate) fn on_node_down(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.relays = false;
            peer.parting = None;
        }
        self.review_parting(now, id);
    }

    /// A refresh was asked for by somebody we reflect for though we need not: it has its routes elsewhere, and we stop. Says
    /// whether that is so.
    pub(crate) fn stops_reflecting(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let stops = peer.client && !peer.intent.reflector_client;
        if stops {
            peer.client = false;
            self.know_otherwise(id);
        }
        stops
    }

    /// The Node of a reflector is gone, and with it the session. What it alone told of others is kept for a while. Says
    /// whether that is so.
    pub(crate) fn keeps_relayed(&mut self, now: Instant, id: PeerId) -> bool {
        let role = self.cluster.role(&self.config.node_name);
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let Some(source) = peer.source else {
            return false;
        };
        if !peer.is_reflector() || self.local.is_none() || role == dunlin_intent::NodeRole::None {
            return false;
        }
        peer.intent = std::sync::Arc::new(PeerIntent {
            initiative: Initiative::Theirs,
            ..PeerIntent::clone(&peer.intent)
        });
        peer.gone = true;
        let was_up = peer.up.take().is_some();
        peer.state = FsmState::Idle;
        (peer.since, peer.turned) = (now, now);
        let until = now + KEEP_RELAYED;
        self.timers.insert((until, id));
        self.bfd.dirty = true;
        self.announcing.on_down(id);
        if let Some(routing) = &mut self.routing {
            routing.rib.leave(id);
            peer.kept
                .keep_until(until, &mut routing.rib, source, was_up);
        }
        if was_up {
            self.report_stopped(id, Stop::GracefulRestart);
        }
        self.on_node_down(now, id);
        true
    }

    /// Lets go of the sessions that are due and bring nothing that others do not.
    pub(crate) fn on_handover_time(&mut self, now: Instant) {
        if self.handover.next.is_none_or(|at| at > now) {
            return;
        }
        let staying = self.staying();
        let reflectors = self.reflectors_up();
        let parting: Vec<PeerId> = self.handover.parting.iter().copied().collect();
        let (mut acted, mut waits, mut next) = (0, false, None::<Instant>);
        for id in parting {
            let Some((peer, parting)) = self.peers.get(id).and_then(|p| Some((p, p.parting?)))
            else {
                self.handover.parting.remove(&id);
                continue;
            };
            if parting.due > now {
                next = Some(next.map_or(parting.due, |at| at.min(parting.due)));
                continue;
            }
            let ready = match parting.kind {
                Kind::Leave if peer.is_established() => {
                    reflectors.suffice(now.since(parting.due) >= ALL_REFLECTORS)
                }
                _ => true,
            };
            if acted == AT_A_TIME.0 || !ready || !self.is_covered(peer, parting.kind, &staying) {
                waits = true;
                continue;
            }
            acted += 1;
            let tells_own_alone = parting.kind == Kind::Release
                && self.is_covered(peer, parting.kind, &BTreeMap::new());
            match parting.kind {
                Kind::Leave => self.leave(now, id),
                Kind::Release if tells_own_alone => self.end_parting(id),
                Kind::Release => {
                    let due = self.release_reflector(now, id);
                    next = [next, due].into_iter().flatten().min();
                }
            }
        }
        let again = if acted == AT_A_TIME.0 {
            Some(now + AT_A_TIME.1)
        } else if waits {
            let pause = self.handover.pause;
            self.handover.pause = (pause * 2).min(PAUSE.1);
            Some(now + pause)
        } else {
            None
        };
        self.handover.next = [again, next].into_iter().flatten().min();
    }

    /// The sources of routes that stay, and of those that stay for what they tell of themselves alone, whose.
    fn staying(&self) -> BTreeMap<SourceId, Option<PeerKey>> {
        let ours =
            |peer: &&Peer| peer.is_established() && peer.intent.initiative == Initiative::Ours;
        let own = self.routing.as_ref().and_then(|routing| routing.own);
        let peers = self.peers.iter().filter(ours);
        let sources = peers.filter_map(|peer| {
            let alone = peer.parting.is_some().then(|| peer.key().clone());
            Some((peer.source?, alone))
        });
        sources.chain(own.map(|own| (own, None))).collect()
    }

    fn reflectors_up(&self) -> ReflectorsUp {
        let mut count = ReflectorsUp::default();
        let routing = self.routing.as_ref();
        let wanted =
            |peer: &&Peer| peer.intent.reflector && peer.intent.initiative == Initiative::Ours;
        for peer in self.peers.iter().filter(wanted) {
            count.wanted += 1;
            let told = match (routing, &peer.up) {
                (Some(routing), Some(up)) => routing.has_told_all(peer.id, up),
                _ => false,
            };
            count.up += usize::from(told && peer.is_complete());
        }
        count
    }

    /// Whether each route of a session has come by another that stays. What a former reflector tells of itself comes by
    /// the session that goes on.
    fn is_covered(
        &self,
        peer: &Peer,
        kind: Kind,
        staying: &BTreeMap<SourceId, Option<PeerKey>>,
    ) -> bool {
        let (Some(routing), Some(source)) = (&self.routing, peer.source) else {
            return true;
        };
        let origin = self.cluster.origin();
        let owns = |key: &PeerKey, net: IpNet| {
            let owner = origin.owner_of(net);
            owner.is_some_and(|owner| owner.node == key.name())
        };
        let stays = |other: SourceId, net: IpNet| match staying.get(&other) {
            None => false,
            Some(None) => true,
            Some(Some(alone)) => owns(alone, net),
        };
        let remains = |net: IpNet| kind == Kind::Release && owns(peer.key(), net);
        routing.rib.is_covered(source, stays, remains)
    }

    /// Ends a session as a restart would, and takes the other side's if it wants one again.
    fn leave(&mut self, now: Instant, id: PeerId) {
        self.handover.parting.remove(&id);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.gone {
            return self.forget_peer(id);
        }
        let was_up = peer.up.take().is_some();
        peer.parting = None;
        (peer.client, peer.relays) = (false, false);
        peer.kept = Kept::default();
        peer.complete_at = None;
        if was_up {
            peer.state = FsmState::Idle;
            peer.reason = None;
            (peer.since, peer.turned) = (now, now);
        }
        let source = peer.source.take();
        let stop = Stop::GracefulRestart;
        if was_up {
            self.report_stopped(id, stop.clone());
        }
        if let (Some(routing), Some(source)) = (&mut self.routing, source) {
            routing.rib.leave(id);
            routing.rib.unregister(source);
        }
        if was_up {
            self.bfd.dirty = true;
            self.announcing.on_down(id);
            self.command(Command::Stop { peer: id, stop });
            self.command(Command::Start { peer: id });
        }
    }

    /// The session goes on as it is.
    fn end_parting(&mut self, id: PeerId) {
        self.handover.parting.remove(&id);
        if let Some(peer) = self.peers.get_mut(id) {
            (peer.parting, peer.relays) = (None, false);
        }
    }

    /// Tells a former reflector that we need it no longer as one: by a refresh of one family, which asks for nothing new. Says
    /// when to look whether it has stopped.
    fn release_reflector(&mut self, now: Instant, id: PeerId) -> Option<Instant> {
        let peer = self.peers.get_mut(id)?;
        let parting = peer.parting.as_mut()?;
        let up = peer.up.as_ref()?;
        let due = now + parting.again;
        parting.due = due;
        parting.again = (parting.again * 2).min(ASKED_FOR);
        let families = up.negotiated.families;
        if let Some(afi) = Afi::ALL.into_iter().find(|afi| *families.get(*afi)) {
            let conn = up.conn;
            self.command(Command::RequestRefresh {
                peer: id,
                conn,
                afi,
            });
        }
        Some(due)
    }
}

/// How many reflectors are wanted, and how many have told all and were told all.
#[derive(Clone, Copy, Debug, Default)]
struct ReflectorsUp {
    wanted: usize,
    up: usize,
}

impl ReflectorsUp {
    fn suffice(self, waited: bool) -> bool {
        self.up == self.wanted || (waited && self.up > 0)
    }
}

impl Routing {
    /// Whether a session was told all there is, of each family that it carries.
    pub(crate) fn has_told_all(&self, peer: PeerId, up: &Up) -> bool {
        let carries = |afi: &Afi| *up.negotiated.families.get(*afi);
        let mut families = Afi::ALL.into_iter().filter(carries);
        families.all(|afi| self.rib.is_told_all(peer, afi))
    }
}
