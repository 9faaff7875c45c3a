//! Where routes come from: peer sessions and what we originate ourselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_net::{Afi, Asn, PeerId, PerFamily, RouterId};
use smallvec::SmallVec;

use super::table::block_of;
use crate::batch::NextHop;
use crate::policy::{PeerType, Role};

/// A source of routes inside one [`Rib`](super::Rib). Reused after [`unregister`](super::Rib::unregister).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u16);

/// What the decision process and policies know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// The peer, or `None` for what we originate.
    pub peer: Option<PeerId>,
    /// The kind of session.
    pub peer_type: PeerType,
    /// The peer's BGP identifier (RFC 4271 9.1.2.2 f).
    pub router_id: RouterId,
    /// The peer's address (RFC 4271 9.1.2.2 g).
    pub remote_addr: IpAddr,
    /// The peer's AS.
    pub remote_asn: Asn,
    /// Our AS toward the peer; its presence in a path is a loop, as is that of our AS itself.
    pub local_asn: Asn,
    /// How often our AS may stand in a path all the same (fabrics where racks share one AS).
    pub allow_own_as: u8,
    /// The peer is a client of ours (RFC 4456).
    pub reflector_client: bool,
    /// What we are to it (RFC 9234), if it is an external peer and that is configured.
    pub role: Option<Role>,
}

impl SourceInfo {
    /// What we originate, with our router id.
    pub fn local(router_id: RouterId, local_asn: Asn) -> SourceInfo {
        SourceInfo {
            peer: None,
            peer_type: PeerType::Internal,
            router_id,
            remote_addr: IpAddr::V4(router_id.0),
            remote_asn: local_asn,
            local_asn,
            allow_own_as: 0,
            reflector_client: false,
            role: None,
        }
    }

    /// The next hop as those who watch the table are told it: none for what we originate.
    pub fn told_next_hop(&self, afi: Afi, next_hop: NextHop) -> NextHop {
        if !self.is_local() {
            return next_hop;
        }
        NextHop::new(match afi {
            Afi::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Afi::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        })
    }

    /// Whether we originate these routes ourselves.
    pub fn is_local(&self) -> bool {
        self.peer.is_none()
    }
}

/// How many routes of a source and family there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Paths in Adj-RIB-In.
    pub received: u32,
    /// Of these, accepted by import policy.
    pub accepted: u32,
    /// Of these, best path of their prefix.
    pub best: u32,
    /// Of those received, announced by the present session: what a limit is about.
    pub fresh: u32,
    /// Of those received, not told anew yet: since the session broke (RFC 4724), or a refresh began (RFC 7313).
    pub stale: u32,
    /// Of those, kept for long (RFC 9494).
    pub long_lived: u32,
    /// Paths not taken, in all, since their prefix had [`MAX_PATHS_OF_SOURCE`](super::MAX_PATHS_OF_SOURCE) of the source.
    pub refused: u32,
}

/// How many refreshes (RFC 7313) of one source may begin before one ends, each with an epoch of its own.
const REFRESHES: u8 = 8;

/// A source and where its paths are.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) info: SourceInfo,
    /// Paths of another epoch are stale.
    pub(super) epoch: PerFamily<u8>,
    /// The oldest epoch a path may still have, per family.
    pub(super) oldest: PerFamily<u8>,
    /// Paths of epochs in `oldest..live` are to be removed and count for nothing already.
    pub(super) live: PerFamily<u8>,
    /// Paths of epochs in `live..lingers` are long-lived stale (RFC 9494).
    pub(super) lingers: PerFamily<u8>,
    pub(super) counts: PerFamily<SourceCounts>,
    /// The first epoch of the present session. Those after it began with a refresh (RFC 7313), and it ends with that.
    since: PerFamily<u8>,
    /// How many paths each epoch has.
    epochs: PerFamily<Epochs>,
    /// The most paths of the present session that are taken.
    pub(super) limit: u32,
    /// Paths per block of prefix ids: four octets for a thousand prefixes of the table, so that work over a source
    /// with few prefixes does not scan the table.
    pub(super) blocks: PerFamily<Vec<u32>>,
    /// Unregistered, waiting for its last path to go.
    pub(super) leaving: bool,
}

impl Source {
    pub(super) fn new(info: SourceInfo) -> Source {
        Source {
            info,
            epoch: PerFamily::default(),
            oldest: PerFamily::default(),
            live: PerFamily::default(),
            lingers: PerFamily::default(),
            counts: PerFamily::default(),
            since: PerFamily::default(),
            epochs: PerFamily::default(),
            limit: u32::MAX,
            blocks: PerFamily::default(),
            leaving: false,
        }
    }

    /// Paths there are now belong to the past: what comes from here on counts anew.
    pub(super) fn begin_epoch(&mut self) {
        for afi in Afi::ALL {
            let epoch = self.epoch.get_mut(afi);
            *epoch = epoch.wrapping_add(1);
        }
        self.since = self.epoch;
    }

    /// Paths of a family there are now are to be told again. So many times over as [`REFRESHES`] allows; then what was told
    /// since the last time stays fresh.
    pub(super) fn begin_refresh(&mut self, afi: Afi) {
        let epoch = self.epoch.get_mut(afi);
        if epoch.wrapping_sub(*self.since.get(afi)) < REFRESHES {
            *epoch = epoch.wrapping_add(1);
        }
    }

    /// What is stale of a family counts for nothing any more, whatever made it stale.
    pub(super) fn retire_stale(&mut self, afi: Afi) {
        let epoch = *self.epoch.get(afi);
        *self.since.get_mut(afi) = epoch;
        self.retire(afi, epoch);
    }

    /// Whether a path of `epoch` was announced in the present session, and counts.
    #[inline]
    fn is_of_session(&self, afi: Afi, epoch: u8) -> bool {
        let since = *self.since.get(afi);
        epoch.wrapping_sub(since) <= self.epoch.get(afi).wrapping_sub(since)
    }

    /// Counts a path that is announced now, and was of epoch `known` until now. False if it is one too many, and not counted.
    #[inline]
    pub(super) fn take(&mut self, afi: Afi, known: Option<u8>) -> bool {
        let epoch = *self.epoch.get(afi);
        if known == Some(epoch) {
            return true;
        }
        let again = known.is_some_and(|known| self.is_of_session(afi, known));
        if !again && self.fresh(afi) >= self.limit {
            return false;
        }
        let epochs = self.epochs.get_mut(afi);
        if let Some(known) = known {
            epochs.leave(known);
        }
        epochs.enter(epoch);
        true
    }

    /// How many paths were announced in the present session, and count.
    #[inline]
    fn fresh(&self, afi: Afi) -> u32 {
        let epochs = self.epochs.get(afi).0.iter();
        let of_session = epochs.filter(|(epoch, _)| self.is_of_session(afi, *epoch));
        of_session.map(|(_, paths)| paths).sum()
    }

    pub(super) fn counts(&self, afi: Afi) -> SourceCounts {
        let mut counts = SourceCounts {
            fresh: self.fresh(afi),
            ..*self.counts.get(afi)
        };
        for &(epoch, paths) in &self.epochs.get(afi).0 {
            if epoch != *self.epoch.get(afi) && !self.is_dead(afi, epoch) {
                counts.stale += paths;
                counts.long_lived += paths * u32::from(self.is_long_lived(afi, epoch));
            }
        }
        counts
    }

    /// Whether a path of `epoch` is only waiting to be removed.
    #[inline]
    pub(super) fn is_dead(&self, afi: Afi, epoch: u8) -> bool {
        let oldest = *self.oldest.get(afi);
        let live = *self.live.get(afi);
        oldest != live && epoch.wrapping_sub(oldest) < live.wrapping_sub(oldest)
    }

    /// Whether a path of `epoch` is long-lived stale.
    #[inline]
    pub(super) fn is_long_lived(&self, afi: Afi, epoch: u8) -> bool {
        let live = *self.live.get(afi);
        let lingers = *self.lingers.get(afi);
        live != lingers && epoch.wrapping_sub(live) < lingers.wrapping_sub(live)
    }

    /// Lets paths of epochs before `to` count for nothing any more.
    pub(super) fn retire(&mut self, afi: Afi, to: u8) {
        let live = self.live.get_mut(afi);
        let lingers = self.lingers.get_mut(afi);
        if lingers.wrapping_sub(*live) < to.wrapping_sub(*live) {
            *lingers = to;
        }
        *live = to;
    }

    pub(super) fn count_in(&mut self, afi: Afi, id: u32) {
        self.counts.get_mut(afi).received += 1;
        let blocks = self.blocks.get_mut(afi);
        let block = block_of(id) as usize;
        if block >= blocks.len() {
            blocks.resize(block + 1, 0);
        }
        blocks[block] += 1;
    }

    pub(super) fn count_out(&mut self, afi: Afi, id: u32, epoch: u8) {
        self.epochs.get_mut(afi).leave(epoch);
        let counts = self.counts.get_mut(afi);
        counts.received -= 1;
        if counts.received == 0 {
            // Nothing of any epoch is left: what was due to be removed is.
            *self.oldest.get_mut(afi) = *self.live.get(afi);
        }
        self.blocks.get_mut(afi)[block_of(id) as usize] -= 1;
    }

    /// The blocks that hold paths of the source, ascending.
    pub(super) fn blocks(&self, afi: Afi) -> impl Iterator<Item = u32> + '_ {
        let blocks = self.blocks.get(afi);
        (0u32..)
            .zip(blocks)
            .filter(|&(_, &count)| count > 0)
            .map(|(block, _)| block)
    }
}

/// How many paths each epoch has, those without any left out: mostly one, at most 256.
#[derive(Debug, Default, Clone)]
struct Epochs(SmallVec<[(u8, u32); 2]>);

impl Epochs {
    #[inline]
    fn enter(&mut self, epoch: u8) {
        match self.0.iter_mut().find(|(of, _)| *of == epoch) {
            Some((_, paths)) => *paths += 1,
            None => self.0.push((epoch, 1)),
        }
    }

    #[inline]
    fn leave(&mut self, epoch: u8) {
        if let Some(at) = self.0.iter().position(|(of, _)| *of == epoch) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.swap_remove(at);
            }
        }
    }
}

/// All sources.
#[derive(Debug, Default, Clone)]
pub(super) struct Sources {
    slots: Vec<Option<Source>>,
}

impl Sources {
    /// Takes the lowest free id; `None` when 65,535 sources are there.
    pub(super) fn insert(&mut self, info: SourceInfo) -> Option<SourceId> {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.slots.len() < usize::from(u16::MAX) => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.slots[slot] = Some(Source::new(info));
        u16::try_from(slot).ok().map(SourceId)
    }

    pub(super) fn remove(&mut self, id: SourceId) {
        if let Some(slot) = self.slots.get_mut(usize::from(id.0)) {
            *slot = None;
        }
    }

    pub(super) fn find(&self, id: SourceId) -> Option<&Source> {
        self.slots.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn find_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    /// The source of a path in the table.
    #[inline]
    pub(super) fn get(&self, id: SourceId) -> &Source {
        self.find(id)
            .expect("a path's source is kept while the path is")
    }

    /// The source of a path in the table.
    #[inline]
    pub(super) fn get_mut(&mut self, id: SourceId) -> &mut Source {
        self.find_mut(id)
            .expect("a path's source is kept while the path is")
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.slots.iter_mut().flatten()
    }

    /// Sources that were unregistered and are not gone yet.
    pub(super) fn leaving(&self) -> impl Iterator<Item = SourceId> + '_ {
        self.iter()
            .filter(|(_, source)| source.leaving)
            .map(|(id, _)| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0u16..)
            .zip(&self.slots)
            .filter_map(|(id, slot)| Some((SourceId(id), slot.as_ref()?)))
    }
}
