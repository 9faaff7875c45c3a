//! Peers come and go, and so do their sessions.

use std::sync::Arc;
use std::time::Duration;

use dunlin_bgp::bmp::PeerDown;
use dunlin_bgp::session::{
    Command, ConnId, DownReason, FsmState, Negotiated, SessionEvent, StaleInfo, Stop,
};
use dunlin_intent::{PeerIntent, PeerKey};
use dunlin_net::{Instant, PeerId, PerFamily};

use crate::core::Core;
use crate::established::{group_key, source_info};
use crate::kept::Kept;
use crate::peer_config::peer_config;
use crate::peers::{Peer, Refused, Up};
use crate::refreshed::{Asked, Refreshing};

/// The most octets of UPDATEs that wait in a session to be written.
const CREDIT_BYTES: usize = 1 << 20;

/// How long a peer is waited for that has not negotiated graceful restart and so need not send End-of-RIB.
const WITHOUT_END_OF_RIB: Duration = Duration::from_secs(5);

impl Core {
    pub(crate) fn on_peer_wanted(&mut self, now: Instant, key: PeerKey, intent: Arc<PeerIntent>) {
        let returns = self.peers.is_gone(&key);
        let (id, before) = self.peers.want(intent.clone(), now);
        self.bfd.dirty = true;
        let names_link = |intent: &PeerIntent| intent.session.remote.interface().is_some();
        self.unnumbered.dirty |= names_link(&intent) || before.as_deref().is_some_and(names_link);
        if let Some(routing) = &mut self.routing {
            routing.set_export(&key, &intent.policy.export, &self.peers);
        }
        let Some(before) = before else {
            self.waiting.insert(key);
            return;
        };
        let members = if key.is_node() {
            Vec::new()
        } else {
            self.peers.of_range(&key)
        };
        for &member in &members {
            self.take_over_intent(member, &intent);
        }
        for id in std::iter::once(id).chain(members.iter().copied()) {
            self.on_tie(now, id, &intent);
        }
        if before.policy.allow_own_as != intent.policy.allow_own_as {
            self.know_otherwise(id);
            for &member in &members {
                self.know_otherwise(member);
            }
        }
        if before.policy.import != intent.policy.import {
            self.rejudge_peer(id);
            for &member in &members {
                self.rejudge_peer(member);
            }
        }
        if before.max_prefixes != intent.max_prefixes {
            for &id in std::iter::once(&id).chain(&members) {
                self.on_limit_changed(now, id);
            }
        }
        if before.session.graceful_restart != intent.session.graceful_restart {
            for &id in std::iter::once(&id).chain(&members) {
                self.on_kept_time_changed(now, id);
            }
        }
        if returns {
            self.waiting.insert(key);
        } else if before.session.remote != intent.session.remote {
            // Another peer may still have the new address and be about to leave it: this one starts when all are told.
            self.command(Command::RemovePeer { peer: id });
            self.waiting.insert(key);
        } else if (&before.session, before.initiative) != (&intent.session, intent.initiative) {
            self.configure(id);
        }
    }

    fn take_over_intent(&mut self, id: PeerId, intent: &Arc<PeerIntent>) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.intent = intent.clone();
        }
    }

    /// The peer has become a client of ours or is one no longer (RFC 4456), or our AS may stand in its paths: nothing its OPEN
    /// said has changed, but which of its routes are taken, who is told of them, and what it is told.
    pub(crate) fn know_otherwise(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        if let (Some(routing), Some(source), Some(up)) = (&mut self.routing, peer.source, &peer.up)
        {
            let info = source_info(peer, &up.negotiated);
            routing.rib.update_source(source, info);
            self.regroup_due = true;
        }
    }

    fn rejudge_peer(&mut self, id: PeerId) {
        let source = self.peers.get(id).and_then(|peer| peer.source);
        if let (Some(routing), Some(source)) = (&mut self.routing, source) {
            routing.rib.rejudge_source(source);
        }
    }

    /// Peers start once the kernel has been read back: only then is it known what to say of our forwarding state.
    pub(crate) fn start_waiting_peers(&mut self, now: Instant) {
        if !self.read_back || self.local.is_none() {
            return;
        }
        for key in std::mem::take(&mut self.waiting) {
            if let Some(id) = self.peers.id_of(&key) {
                self.configure(id);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.since = now;
                }
            }
        }
    }

    /// Tells the sessions what a peer is to be.
    pub(crate) fn configure(&mut self, id: PeerId) {
        self.bfd.dirty = true;
        let (Some(peer), Some(local)) = (self.peers.get_mut(id), &self.local) else {
            return;
        };
        if self.waiting.contains(peer.key()) {
            return;
        }
        let mut restart = self.config.restart;
        restart.forwarding_preserved &= self.adopted;
        if self.gate.is_open() {
            // From here on a new session does not mean a new process.
            restart.restarting = false;
            restart.forwarding_preserved = true;
        }
        let remote = &peer.intent.session.remote;
        peer.place = self.unnumbered.place(&self.links, remote);
        let command = match peer_config(&peer.intent, peer.place, local.router_id, restart) {
            Ok(config) => {
                peer.refused = None;
                Command::SetPeer {
                    peer: id,
                    config: Arc::new(config),
                }
            }
            Err(why) => {
                peer.refused = Some(Refused::NotTried(why));
                Command::RemovePeer { peer: id }
            }
        };
        self.command(command);
    }

    /// Ends a peer's session and starts it anew, with everything it told forgotten.
    pub(crate) fn restart_peer(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.source = None;
        if peer.up.take().is_some() {
            peer.turned = now;
        }
        peer.kept = Kept::default();
        peer.refreshing = Refreshing::default();
        peer.asked = Asked::default();
        peer.state = FsmState::Idle;
        peer.since = now;
        if peer.dynamic.is_some() {
            return;
        }
        let (key, export) = (peer.key().clone(), peer.policy().export.clone());
        if let Some(routing) = &mut self.routing {
            routing.exports.set(&key, &export);
        }
        // The peer keeps our routes while we come back as somebody else.
        let stop = Stop::GracefulRestart;
        self.command(Command::Stop { peer: id, stop });
        self.configure(id);
        self.command(Command::Start { peer: id });
    }

    pub(crate) fn on_peer_gone(&mut self, now: Instant, key: &PeerKey) {
        self.waiting.remove(key);
        let Some(id) = self.peers.id_of(key) else {
            return;
        };
        for member in self.peers.of_range(key) {
            self.forget_peer(member);
        }
        let relayed = self.peers.get(id).is_some_and(Peer::is_reflector);
        if key.is_node() && (self.local.is_none() || relayed) {
            // Our Node or a reflector's is gone: another node keeps what we tell it of others until it has that elsewhere too, and
            // knows by the Nodes what is nobody's any more. A router outside does not, and forgets it all.
            let stop = Stop::GracefulRestart;
            self.command(Command::Stop { peer: id, stop });
        }
        self.command(Command::RemovePeer { peer: id });
        if !self.keeps_relayed(now, id) {
            self.forget_peer(id);
        }
        if let Some(routing) = &mut self.routing {
            routing.exports.forget(key);
        }
        self.on_peer_complete(id, key);
    }

    pub(crate) fn forget_peer(&mut self, id: PeerId) {
        self.bfd.dirty = true;
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        self.unnumbered.dirty |= peer.interface().is_some();
        // Its session ends with this; it is not waited for.
        self.report_stopped(id, Stop::PeerRemoved);
        if let Some(routing) = &mut self.routing {
            routing.rib.leave(id);
            if let Some(source) = peer.source {
                routing.rib.unregister(source);
            }
        }
    }

    /// Tells stations of a session that ends by our will.
    pub(crate) fn report_stopped(&mut self, id: PeerId, stop: Stop) {
        let reason = DownReason::Stopped(stop);
        let why = PeerDown::new(&reason, reason.notification().as_ref());
        self.bmp.on_down(id, &why);
    }

    /// From the sessions.
    pub(crate) fn on_session(&mut self, now: Instant, event: SessionEvent) {
        match event {
            SessionEvent::DynamicPeer {
                peer,
                range,
                remote,
            } => {
                self.peers.add_dynamic(peer, range, remote, now);
                self.bfd.dirty = true;
            }
            SessionEvent::DynamicPeerGone { peer } => self.forget_peer(peer),
            SessionEvent::Up {
                peer,
                conn,
                negotiated,
            } => self.on_up(now, peer, conn, negotiated),
            SessionEvent::Routes { peer, conn, batch } => self.on_routes(now, peer, conn, &batch),
            SessionEvent::RefreshRequested { peer, conn, afi } => {
                self.on_refresh_requested(now, peer, conn, afi);
            }
            SessionEvent::RefreshBegins { peer, conn, afi } => {
                self.on_refresh_begins(now, peer, conn, afi);
            }
            SessionEvent::RefreshEnds { peer, conn, afi } => self.on_refresh_ends(peer, conn, afi),
            SessionEvent::Drained { peer, conn, bytes } => {
                self.announcing
                    .on_written(now, &mut self.peers, peer, conn, bytes);
                if self.peers.established(peer, conn).is_some()
                    && let Some(routing) = &mut self.routing
                {
                    routing.rib.on_credit(peer, bytes);
                }
            }
            SessionEvent::Down {
                peer,
                conn,
                reason,
                sent,
                stale,
            } => {
                let why = PeerDown::new(&reason, sent.as_ref());
                if self.peers.established(peer, conn).is_some() {
                    self.bmp.on_down(peer, &why);
                }
                self.on_down(now, peer, conn, reason, stale);
            }
            SessionEvent::State {
                peer,
                state,
                reason,
            } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    if peer.state != state {
                        peer.state = state;
                        peer.since = now;
                    }
                    peer.reason = reason.or(peer.reason.take());
                }
            }
            SessionEvent::ConfigRefused { peer, error } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.refused = Some(Refused::Config(error));
                    self.bfd.dirty = true;
                }
            }
        }
    }

    fn on_up(&mut self, now: Instant, id: PeerId, conn: ConnId, negotiated: Arc<Negotiated>) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        peer.state = FsmState::Established;
        peer.refreshing = Refreshing::default();
        peer.asked = Asked::default();
        peer.since = now;
        peer.turned = now;
        peer.up = Some(Up {
            conn,
            negotiated: negotiated.clone(),
            end_of_rib: PerFamily::default(),
            sent: 0,
            written: 0,
        });
        peer.client = peer.intent.reflector_client;
        let info = source_info(peer, &negotiated);
        let source = match peer.source {
            Some(source) => {
                routing.rib.update_source(source, info);
                Some(source)
            }
            None => routing.rib.register(info),
        };
        peer.source = source;
        let restart = negotiated.graceful_restart;
        peer.complete_at = None;
        self.bfd.dirty |= peer.intent.bfd.is_some();
        // Who need not send End-of-RIB, or waits for ours, is not waited for (RFC 4724 4.1).
        if restart.is_none_or(|restart| restart.restarting) {
            let at = now + WITHOUT_END_OF_RIB;
            peer.complete_at = Some(at);
            self.timers.insert((at, id));
        }
        if let Some(policy) = routing.exports.number(&peer.intent.key) {
            let key = group_key(
                policy,
                &negotiated,
                (&peer.intent, peer.client),
                routing.next_hops,
            );
            routing.rib.join(id, source, &key, CREDIT_BYTES);
        }
        self.begin_counting(id);
        self.on_kept_back(now, id, restart);
        self.bmp.on_up(id);
        self.on_node_up(now, id);
    }

    /// What we name as next hop has changed: sessions that live on are told everything anew with it, once they have been
    /// told all that was due with the old one.
    pub(crate) fn settle_regrouping(&mut self) {
        let Some(routing) = self.routing.as_mut().filter(|_| self.regroup_due) else {
            return;
        };
        self.regroup_due = false;
        for peer in self.peers.sorted() {
            let Some(up) = &peer.up else { continue };
            let Some(policy) = routing.exports.number(&peer.intent.key) else {
                continue;
            };
            let key = group_key(
                policy,
                &up.negotiated,
                (&peer.intent, peer.client),
                routing.next_hops,
            );
            let group = routing.rib.group_of(peer.id);
            if group.and_then(|group| routing.rib.group_key(group)) == Some(&key) {
                continue;
            }
            if routing.has_told_all(peer.id, up) {
                routing
                    .rib
                    .change_group(peer.id, peer.source, &key, CREDIT_BYTES);
            } else {
                self.regroup_due = true;
            }
        }
    }

    fn on_down(
        &mut self,
        now: Instant,
        id: PeerId,
        conn: ConnId,
        reason: DownReason,
        stale: Option<StaleInfo>,
    ) {
        if stale.is_none() && self.peers.established(id, conn).is_some() {
            self.fail_over(id, conn);
        }
        let Some(peer) = self.peers.established(id, conn) else {
            return;
        };
        peer.up = None;
        peer.announced.near = PerFamily::default();
        self.bfd.dirty |= peer.intent.bfd.is_some();
        self.announcing.on_down(id);
        peer.complete_at = None;
        peer.reason = Some(reason);
        peer.since = now;
        peer.turned = now;
        peer.state = FsmState::Idle;
        if let Some(routing) = &mut self.routing {
            routing.rib.leave(id);
        }
        self.keep_routes(now, id, stale);
        self.on_node_down(now, id);
    }

    pub(crate) fn on_peer_timers(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.on_peer_timer(now, at, id);
        }
    }

    fn on_peer_timer(&mut self, now: Instant, at: Instant, id: PeerId) {
        let kept = self.peers.get(id).filter(|peer| peer.gone);
        if kept.is_some_and(|peer| peer.kept.ends_at(at)) {
            return self.forget_peer(id);
        }
        self.on_kept_timer(at, id);
        self.on_refresh_timer(now, at, id);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let key = peer.key().clone();
        if peer.complete_at == Some(at) {
            peer.complete_at = None;
            self.on_peer_complete(id, &key);
        }
    }

    /// What waits for the gate besides kernel routes: End-of-RIB, and what OPENs say of our restart.
    pub(crate) fn on_gate_moved(&mut self) {
        let open = self.gate.is_open();
        let relays = self.peers.iter().any(Peer::is_told_learned_routes);
        if let Some(routing) = &mut self.routing {
            // Where only our own prefixes are told, all of them are known with the sources.
            let synced = self.gate.is_synced();
            let all_known = if relays { open } else { synced };
            routing.rib.set_gate(!synced, !all_known);
        }
        if open && !self.told_open {
            self.told_open = true;
            self.config.restart.restarting = false;
            for id in self.peers.told() {
                self.configure(id);
            }
        }
    }
}
