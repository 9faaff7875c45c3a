//! Peers that come from a range.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::{Afi, Instant, IpNet, PeerId, ScopedAddr};

use super::{
    Action, ConfigError, DYNAMIC_PEERS, DownReason, FsmState, PeerConfig, PeerSnapshot, PeerStats,
    Refusal, RefusedWhy, Remote, SessionEvent, Sessions, Stop,
};

/// How long a peer that was up is remembered after its session has ended for good.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Where a peer came from, for one that came from a range.
pub(super) struct Origin {
    pub(super) range: PeerId,
    address: std::net::IpAddr,
    /// Whether the core knows of it: from its first `Up` on.
    pub(super) told: bool,
    pub(super) linger: Linger,
    /// When it is forgotten, while it has no connection.
    pub(super) forget_at: Option<Instant>,
}

/// How long a peer without connections is kept.
#[derive(Clone, Copy)]
pub(super) struct Linger(Duration);

impl Linger {
    pub(super) fn after(self, now: Instant) -> Instant {
        now + self.0
    }
}

impl Origin {
    fn new(range: PeerId, address: std::net::IpAddr) -> Origin {
        Origin {
            range,
            address,
            told: false,
            linger: Linger(Duration::ZERO),
            forget_at: None,
        }
    }

    /// Passes an action on. The core hears of the peer when it is up for the first time, and before that nothing.
    pub(super) fn pass(
        &mut self,
        peer: PeerId,
        action: Action,
        actions: &mut VecDeque<(PeerId, Action)>,
    ) {
        match &action {
            Action::Event(SessionEvent::Up { .. }) if !self.told => {
                self.told = true;
                let event = SessionEvent::DynamicPeer {
                    peer,
                    range: self.range,
                    remote: self.address,
                };
                actions.push_back((peer, Action::Event(event)));
            }
            Action::Event(SessionEvent::Down { stale, .. }) => {
                let kept_secs = stale.map_or(0, |stale| stale.longest_secs());
                self.linger = Linger(REMEMBERED.max(Duration::from_secs(kept_secs.into())));
            }
            Action::Event(SessionEvent::State { .. }) if !self.told => return,
            _ => {}
        }
        actions.push_back((peer, action));
    }
}

/// Ids for peers from ranges, above those that the core gives.
pub(super) struct DynamicIds {
    next: u32,
    step: u32,
    /// Ids that the core never heard of.
    free: Vec<PeerId>,
}

impl DynamicIds {
    pub(super) fn new(index: u32, shards: u32) -> DynamicIds {
        DynamicIds {
            next: DYNAMIC_PEERS.saturating_add(index),
            step: shards.max(1),
            free: Vec::new(),
        }
    }

    /// `None` once two thousand million peers have come and gone.
    fn take(&mut self) -> Option<PeerId> {
        self.free.pop().or_else(|| {
            let id = PeerId(self.next);
            self.next = self.next.checked_add(self.step)?;
            Some(id)
        })
    }

    pub(super) fn give_back(&mut self, peer: PeerId) {
        self.free.push(peer);
    }
}

struct Range {
    prefix: IpNet,
    config: Arc<PeerConfig>,
    peers: u32,
    stopped: Option<Stop>,
}

/// The ranges.
#[derive(Default)]
pub(super) struct Ranges {
    ranges: BTreeMap<PeerId, Range>,
    /// By length, longest first, for the search.
    by_length: Vec<(IpNet, PeerId)>,
}

impl Ranges {
    pub(super) fn config(&self, range: PeerId) -> Option<&Arc<PeerConfig>> {
        self.ranges.get(&range).map(|range| &range.config)
    }

    pub(super) fn check_free(&self, range: PeerId, prefix: IpNet) -> Result<(), ConfigError> {
        let prefix = prefix.trunc();
        let taken = self
            .by_length
            .iter()
            .find(|(other, id)| *other == prefix && *id != range);
        match taken.and_then(|(_, id)| self.ranges.get(id)) {
            Some(owner) => Err(ConfigError::RangeTaken {
                prefix,
                name: owner.config.name.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn set(&mut self, id: PeerId, prefix: IpNet, config: Arc<PeerConfig>) {
        let prefix = prefix.trunc();
        let range = self.ranges.entry(id).or_insert_with(|| Range {
            prefix,
            config: Arc::clone(&config),
            peers: 0,
            stopped: None,
        });
        range.prefix = prefix;
        range.config = config;
        self.sort();
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, range: PeerId) -> bool {
        let removed = self.ranges.remove(&range).is_some();
        if removed {
            self.sort();
        }
        removed
    }

    fn sort(&mut self) {
        self.by_length = self
            .ranges
            .iter()
            .map(|(id, range)| (range.prefix, *id))
            .collect();
        self.by_length
            .sort_by_key(|(prefix, id)| (std::cmp::Reverse(prefix.prefix_len()), *id));
    }

    pub(super) fn child_gone(&mut self, range: PeerId) {
        if let Some(range) = self.ranges.get_mut(&range) {
            range.peers = range.peers.saturating_sub(1);
        }
    }

    pub(super) fn stop(&mut self, stop: Stop) {
        for range in self.ranges.values_mut() {
            range.stopped = Some(stop.clone());
        }
    }

    pub(super) fn stop_one(&mut self, range: PeerId, stop: Option<Stop>) {
        if let Some(range) = self.ranges.get_mut(&range) {
            range.stopped = stop;
        }
    }

    /// A range waits to be dialled, unless it is stopped.
    pub(super) fn state(&self, range: PeerId) -> FsmState {
        match self.ranges.get(&range) {
            Some(range) if range.stopped.is_none() => FsmState::Active,
            _ => FsmState::Idle,
        }
    }

    pub(super) fn snapshots(&self) -> impl Iterator<Item = PeerSnapshot> {
        self.ranges.iter().map(|(id, range)| PeerSnapshot {
            peer: *id,
            name: range.config.name.clone(),
            range: None,
            remote: None,
            state: self.state(*id),
            since: Instant::ZERO,
            conn: None,
            negotiated: None,
            stats: PeerStats {
                last_error: range
                    .stopped
                    .clone()
                    .map(|stop| (Instant::ZERO, DownReason::Stopped(stop))),
                ..PeerStats::default()
            },
            output_queue_bytes: 0,
            attempts: Vec::new(),
            dial_at: None,
            held_until: None,
            passive: true,
        })
    }
}

impl Sessions {
    /// The peer that a connection from `remote` is for; one is made if it comes from a range.
    pub(super) fn admit(&mut self, now: Instant, remote: SocketAddr) -> Result<PeerId, Refusal> {
        let place = ScopedAddr::from(remote);
        let address = place.addr;
        if let Some(peer) = self.by_address.get(&place) {
            return Ok(*peer);
        }
        let mut holding = self.ranges.by_length.iter();
        let id = holding
            .find(|(prefix, _)| prefix.contains(&address))
            .map(|(_, id)| *id);
        let found = id.and_then(|id| Some((id, self.ranges.ranges.get_mut(&id)?)));
        let Some((id, range)) = found else {
            return Err(Refusal::new(RefusedWhy::UnknownSource));
        };
        if range.stopped.is_some() {
            return Err(Refusal::new(RefusedWhy::Stopped));
        }
        let Remote::Range { max_peers, .. } = range.config.remote else {
            return Err(Refusal::new(RefusedWhy::UnknownSource));
        };
        let peer = if range.peers < max_peers {
            self.ids.take()
        } else {
            None
        };
        let peer = peer.ok_or_else(|| Refusal::new(RefusedWhy::RangeFull))?;
        range.peers += 1;
        let mut from = remote;
        if from.ip() != address {
            from.set_ip(address);
        }
        let config = child_config(&range.config, from);
        self.by_address.insert(place, peer);
        // Hosted without a look at its connections, of which there is none until the caller adds it.
        let hosted = super::Hosted {
            peer: super::Peer::after(now, peer, config, self.seeds, self.last_conn),
            scheduled: None,
            origin: Some(Origin::new(id, address)),
        };
        self.peers.insert(peer, Box::new(hosted));
        Ok(peer)
    }

    /// The peers that came from a range.
    pub(super) fn children(&self, range: PeerId) -> Vec<PeerId> {
        self.ids_in_order(|hosted| hosted.origin.as_ref().is_some_and(|o| o.range == range))
    }

    /// Applies a changed range to the peers that came from it; those outside of it now are removed.
    pub(super) fn configure_children(
        &mut self,
        now: Instant,
        range: PeerId,
        prefix: IpNet,
        config: &PeerConfig,
    ) {
        for child in self.children(range) {
            let Some(Remote::Address(remote)) = self.config(child).map(|config| config.remote)
            else {
                continue;
            };
            if prefix.contains(&remote.ip()) {
                let config = child_config(config, remote);
                self.on(now, child, super::Input::Configure(config));
            } else {
                self.remove(now, child, &Stop::PeerRemoved);
            }
        }
    }
}

/// A peer from a range is the range's configuration with an address; it never dials.
fn child_config(range: &PeerConfig, remote: SocketAddr) -> Arc<PeerConfig> {
    let mut config = range.clone();
    config.remote = Remote::Address(remote);
    config.passive = true;
    if config
        .local_address
        .is_some_and(|local| Afi::of(local) != Afi::of(remote.ip()))
    {
        config.local_address = None;
    }
    Arc::new(config)
}
