//! Many peers under one roof: who is meant by an incoming connection, and whose deadline is next.

mod ranges;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::{Deadlines, Instant, PeerId, ScopedAddr};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use self::ranges::{DynamicIds, Origin, Ranges};
use super::{
    Action, Command, ConfigError, ConnId, DYNAMIC_PEERS, DownReason, FsmState, Input, Peer,
    PeerConfig, PeerSnapshot, PeerStats, Refusal, RefusedWhy, Remote, SessionEvent, Stop,
};
use crate::wire::{Notification, cease, code};

/// Seeds of a process, the same for all its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// For jitter.
    pub chance: u64,
    /// For [`crate::attrs::hash`].
    pub attr_hash: u64,
}

/// Incoming connections refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// [`RefusedWhy::UnknownSource`].
    pub unknown_source: u64,
    /// [`RefusedWhy::Stopped`].
    pub stopped: u64,
    /// [`RefusedWhy::HeldBack`].
    pub held_back: u64,
    /// [`RefusedWhy::TooManyConnections`].
    pub too_many_connections: u64,
    /// [`RefusedWhy::RangeFull`].
    pub range_full: u64,
}

impl RefusalCounts {
    fn count(&mut self, why: RefusedWhy) {
        *match why {
            RefusedWhy::UnknownSource => &mut self.unknown_source,
            RefusedWhy::Stopped => &mut self.stopped,
            RefusedWhy::HeldBack => &mut self.held_back,
            RefusedWhy::TooManyConnections => &mut self.too_many_connections,
            RefusedWhy::RangeFull => &mut self.range_full,
        } += 1;
    }
}

struct Hosted {
    peer: Peer,
    /// What is in the heap for it.
    scheduled: Option<Instant>,
    /// For a peer that came from a range.
    origin: Option<Origin>,
}

/// Hosts peers. A pure machine with the contract of [`Peer`]: say what happened, poll actions until there are none, come
/// back at the deadline.
///
/// Bounds: as many peers as were set, and of each range as many as it allows; what each [`Peer`] is bounded by.
pub struct Sessions {
    seeds: Seeds,
    /// Boxed: half of a table is room.
    peers: HashMap<PeerId, Box<Hosted>, FixedState>,
    by_address: HashMap<ScopedAddr, PeerId, FixedState>,
    ranges: Ranges,
    ids: DynamicIds,
    deadlines: Deadlines<PeerId>,
    actions: VecDeque<(PeerId, Action)>,
    refused: RefusalCounts,
    /// No peer that is gone had a connection of a higher name: one that takes its id cannot be taken for it.
    last_conn: ConnId,
}

impl Sessions {
    /// No peers yet.
    pub fn new(seeds: Seeds) -> Sessions {
        Sessions::shard(seeds, 0, 1)
    }

    /// No peers yet; one of `shards` hosts that share the peers of a process: the ids that it gives to peers from ranges
    /// are none that another gives.
    pub fn shard(seeds: Seeds, index: u32, shards: u32) -> Sessions {
        let hasher = FixedState::with_seed(seeds.attr_hash);
        Sessions {
            seeds,
            peers: HashMap::with_hasher(hasher.clone()),
            by_address: HashMap::with_hasher(hasher),
            ranges: Ranges::default(),
            ids: DynamicIds::new(index, shards),
            deadlines: Deadlines::default(),
            actions: VecDeque::new(),
            refused: RefusalCounts::default(),
            last_conn: ConnId(0),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<(PeerId, Action)> {
        self.actions.pop_front()
    }

    /// When to call [`Sessions::on_deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The configuration of a peer, also of one that came from a range.
    pub fn config(&self, peer: PeerId) -> Option<&Arc<PeerConfig>> {
        match self.peers.get(&peer) {
            Some(hosted) => Some(hosted.peer.config()),
            None => self.ranges.config(peer),
        }
    }

    /// Incoming connections refused so far.
    pub fn refused(&self) -> RefusalCounts {
        self.refused
    }

    /// All peers and ranges as they are now, by id. Peers from ranges that were never up are not among them.
    pub fn snapshots(&self) -> Vec<PeerSnapshot> {
        let peers = self.peers.iter().filter_map(|(id, hosted)| {
            let told = hosted.origin.as_ref().is_none_or(|origin| origin.told);
            told.then(|| snapshot(*id, hosted))
        });
        let mut all: Vec<PeerSnapshot> = peers.chain(self.ranges.snapshots()).collect();
        all.sort_unstable_by_key(|snapshot| snapshot.peer);
        all
    }

    /// The core wants something.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::SetPeer { peer, config } => {
                if let Err(error) = self.set_peer(now, peer, config) {
                    let event = SessionEvent::ConfigRefused { peer, error };
                    self.actions.push_back((peer, Action::Event(event)));
                }
            }
            Command::RemovePeer { peer } => self.remove(now, peer, &Stop::PeerRemoved),
            Command::Stop { peer, stop } => self.on(now, peer, Input::Stop(stop)),
            Command::Start { peer } => self.on(now, peer, Input::Start),
            Command::PathDown {
                peer,
                conn,
                idle_hold,
            } => {
                let down = Notification::new(code::CEASE, cease::BFD_DOWN);
                let input = Input::Reset {
                    conn,
                    notification: Notification::hard_reset(&down),
                    idle_hold,
                };
                self.on(now, peer, input);
            }
            Command::Reset {
                peer,
                conn,
                notification,
                idle_hold,
            } => {
                let input = Input::Reset {
                    conn,
                    notification,
                    idle_hold,
                };
                self.on(now, peer, input);
            }
            Command::Send {
                peer,
                conn,
                bytes,
                messages,
            } => {
                let input = Input::Send {
                    conn,
                    bytes,
                    messages,
                };
                self.on(now, peer, input);
            }
            Command::RequestRefresh { peer, conn, afi } => {
                self.on(now, peer, Input::RequestRefresh { conn, afi });
            }
        }
    }

    /// Ends all sessions and keeps them down.
    pub fn stop_all(&mut self, now: Instant, stop: &Stop) {
        for peer in self.ids_in_order(|_| true) {
            self.on(now, peer, Input::Stop(stop.clone()));
        }
        self.ranges.stop(stop.clone());
    }

    /// Someone has dialled `local` from `remote`: whose connection is it? An exact address comes first, then the longest
    /// range. A refused connection is to be closed at once.
    pub fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(PeerId, ConnId), Refusal> {
        let accepted = self.admit(now, remote).and_then(|peer| {
            let hosted = self.peers.get_mut(&peer);
            let hosted = hosted.ok_or_else(|| Refusal::new(RefusedWhy::UnknownSource))?;
            let conn = hosted.peer.accept(now, local, remote)?;
            self.collect(now, peer);
            Ok((peer, conn))
        });
        if let Err(refusal) = &accepted {
            self.refused.count(refusal.why);
        }
        accepted
    }

    /// Something happened to a peer. An input for a peer that is no more does nothing.
    pub fn on(&mut self, now: Instant, peer: PeerId, input: Input<'_>) {
        if let Some(hosted) = self.peers.get_mut(&peer) {
            hosted.peer.on(now, input);
            self.collect(now, peer);
        } else if let Input::Stop(stop) = input {
            self.ranges.stop_one(peer, Some(stop.clone()));
            for child in self.children(peer) {
                self.on(now, child, Input::Stop(stop.clone()));
            }
        } else if let Input::Start = input {
            self.ranges.stop_one(peer, None);
            for child in self.children(peer) {
                self.on(now, child, Input::Start);
            }
        }
    }

    /// Deadlines may have passed.
    pub fn on_deadline(&mut self, now: Instant) {
        while let Some((at, peer)) = self.deadlines.pop_due(now) {
            let Some(hosted) = self.peers.get_mut(&peer) else {
                continue;
            };
            if hosted.scheduled != Some(at) {
                continue;
            }
            hosted.scheduled = None;
            hosted.peer.on(now, Input::Deadline);
            self.collect(now, peer);
        }
    }

    fn set_peer(
        &mut self,
        now: Instant,
        peer: PeerId,
        config: Arc<PeerConfig>,
    ) -> Result<(), ConfigError> {
        config.check()?;
        if peer.0 >= DYNAMIC_PEERS {
            return Err(ConfigError::ReservedId(peer));
        }
        match config.remote {
            Remote::Range { prefix, .. } => {
                self.ranges.check_free(peer, prefix)?;
                if self.peers.contains_key(&peer) {
                    self.remove(now, peer, &Stop::PeerRemoved);
                }
                self.ranges.set(peer, prefix, Arc::clone(&config));
                self.configure_children(now, peer, prefix, &config);
                let event = SessionEvent::State {
                    peer,
                    state: self.ranges.state(peer),
                    reason: None,
                };
                self.actions.push_back((peer, Action::Event(event)));
            }
            Remote::Address(remote) => {
                self.take_address(now, peer, remote.into())?;
                if self.ranges.config(peer).is_some() {
                    self.remove(now, peer, &Stop::PeerRemoved);
                }
                if self.peers.contains_key(&peer) {
                    self.on(now, peer, Input::Configure(config));
                } else {
                    self.host(now, peer, config, None);
                }
            }
        }
        Ok(())
    }

    /// Makes `address` that of `peer`, and gives up the one it had.
    fn take_address(
        &mut self,
        now: Instant,
        peer: PeerId,
        address: ScopedAddr,
    ) -> Result<(), ConfigError> {
        match self.by_address.get(&address).copied() {
            Some(owner) if owner == peer => return Ok(()),
            // A peer from a range makes room for one that is named.
            Some(owner) if owner.0 >= DYNAMIC_PEERS => self.remove(now, owner, &Stop::PeerRemoved),
            Some(owner) => {
                let name = self
                    .config(owner)
                    .map_or_else(String::new, |c| c.name.clone());
                let address = address.addr;
                return Err(ConfigError::AddressTaken { address, name });
            }
            None => {}
        }
        self.release_address(peer);
        self.by_address.insert(address, peer);
        Ok(())
    }

    fn release_address(&mut self, peer: PeerId) {
        if let Some(Remote::Address(old)) = self.peers.get(&peer).map(|h| h.peer.config().remote) {
            let old = ScopedAddr::from(old);
            if self.by_address.get(&old) == Some(&peer) {
                self.by_address.remove(&old);
            }
        }
    }

    fn host(
        &mut self,
        now: Instant,
        peer: PeerId,
        config: Arc<PeerConfig>,
        origin: Option<Origin>,
    ) {
        let hosted = Hosted {
            peer: Peer::after(now, peer, config, self.seeds, self.last_conn),
            scheduled: None,
            origin,
        };
        self.peers.insert(peer, Box::new(hosted));
        self.collect(now, peer);
    }

    /// Ends a peer or a range for good.
    fn remove(&mut self, now: Instant, peer: PeerId, stop: &Stop) {
        if self.ranges.remove(peer) {
            for child in self.children(peer) {
                self.remove(now, child, stop);
            }
        }
        if let Some(hosted) = self.peers.get_mut(&peer) {
            hosted.peer.on(now, Input::Stop(stop.clone()));
            self.collect(now, peer);
            self.forget(peer);
        }
    }

    /// Drops what is left of a peer whose connections have ended.
    fn forget(&mut self, peer: PeerId) {
        self.release_address(peer);
        let Some(hosted) = self.peers.remove(&peer) else {
            return;
        };
        self.last_conn = self.last_conn.max(hosted.peer.last_conn());
        let Some(origin) = hosted.origin else {
            return;
        };
        self.ranges.child_gone(origin.range);
        if origin.told {
            let event = SessionEvent::DynamicPeerGone { peer };
            self.actions.push_back((peer, Action::Event(event)));
        } else {
            self.ids.give_back(peer);
        }
    }

    /// Takes the actions of a peer and looks at its deadline.
    fn collect(&mut self, now: Instant, peer: PeerId) {
        let Some(hosted) = self.peers.get_mut(&peer) else {
            return;
        };
        while let Some(action) = hosted.peer.poll_action() {
            match &mut hosted.origin {
                Some(origin) => origin.pass(peer, action, &mut self.actions),
                None => self.actions.push_back((peer, action)),
            }
        }
        let mut deadline = hosted.peer.next_deadline();
        if let Some(origin) = &mut hosted.origin {
            if hosted.peer.has_connections() {
                origin.forget_at = None;
            } else {
                let held = hosted.peer.held_until().filter(|_| origin.told);
                let linger = origin.linger;
                let at = origin.forget_at.get_or_insert_with(|| linger.after(now));
                // As long as it is held back it is known: else it would come anew.
                *at = (*at).max(held.unwrap_or(*at));
                let at = *at;
                if at <= now {
                    self.forget(peer);
                    return;
                }
                deadline = Some(deadline.map_or(at, |deadline| deadline.min(at)));
            }
        }
        hosted.scheduled = self.deadlines.schedule(peer, hosted.scheduled, deadline);
    }

    fn ids_in_order(&self, wanted: impl Fn(&Hosted) -> bool) -> Vec<PeerId> {
        let matching = self.peers.iter().filter(|(_, hosted)| wanted(hosted));
        let mut ids: Vec<PeerId> = matching.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

fn snapshot(id: PeerId, hosted: &Hosted) -> PeerSnapshot {
    let config = hosted.peer.config();
    let (state, since) = hosted.peer.state();
    let established = hosted.peer.established();
    PeerSnapshot {
        peer: id,
        name: config.name.clone(),
        range: hosted.origin.as_ref().map(|origin| origin.range),
        remote: match config.remote {
            Remote::Address(remote) => Some(remote),
            Remote::Range { .. } => None,
        },
        state,
        since,
        conn: established.map(|(conn, _)| conn),
        negotiated: established.map(|(_, negotiated)| Arc::clone(negotiated)),
        stats: hosted.peer.stats().clone(),
        output_queue_bytes: 0,
        attempts: hosted.peer.attempts(),
        dial_at: hosted.peer.dial_at(),
        held_until: hosted.peer.held_until(),
        passive: config.passive,
    }
}

#[cfg(test)]
mod tests;
