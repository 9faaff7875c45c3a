//! Interned attribute sets: canonical bytes, next hop and source under one `u32`, counted, with what the decision
//! process compares already taken out of the bytes.

use dunlin_net::{Asn, RouterId};
use hashbrown::HashTable;

use super::hops::Hops;
use super::segvec::SegVec;
use super::source::{SourceId, SourceInfo};
use crate::attrs::{Attrs, Digest, WellKnown};
use crate::batch::NextHop;
use crate::policy::{PeerType, RejectReason, Role};

/// The number of an attribute set; below [`AttrTable::LIMIT`].
pub(super) type AttrId = u32;

/// LOCAL_PREF of a route that carries none (RFC 4271 9.1.1 leaves the value to us).
const DEFAULT_LOCAL_PREF: u32 = 100;

/// What the decision process asks of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecisionKey {
    pub(super) local_pref: u32,
    pub(super) med: u32,
    /// The neighbouring AS that sent the route to our AS; 0 if the path is empty.
    pub(super) neighbor_asn: u32,
    /// ORIGINATOR_ID, 0 if absent.
    pub(super) originator: u32,
    pub(super) path_len: u16,
    pub(super) cluster_len: u16,
    pub(super) origin: u8,
    pub(super) flags: u16,
}

impl DecisionKey {
    pub(super) const AS_LOOP: u16 = 1;
    pub(super) const REFLECTION_LOOP: u16 = 2;
    pub(super) const NO_EXPORT: u16 = 4;
    pub(super) const NO_ADVERTISE: u16 = 8;
    pub(super) const OWN_ORIGINATOR: u16 = 16;
    pub(super) const LLGR_STALE: u16 = 32;
    pub(super) const NO_LLGR: u16 = 64;
    /// GRACEFUL_SHUTDOWN, from an external peer.
    pub(super) const SHUT_DOWN: u16 = 128;
    /// It has ONLY_TO_CUSTOMER (RFC 9234).
    pub(super) const ONLY_TO_CUSTOMER: u16 = 256;
    /// And the peer was not to tell it.
    pub(super) const LEAK: u16 = 512;

    /// Why a route with these flags is not used wherever it leads (RFC 4271 9.1.2, RFC 4456 8).
    #[inline]
    pub(super) fn refusal(&self) -> Option<RejectReason> {
        const LOOPS: [(u16, RejectReason); 4] = [
            (DecisionKey::AS_LOOP, RejectReason::AsLoop),
            (DecisionKey::OWN_ORIGINATOR, RejectReason::OwnOriginator),
            (DecisionKey::REFLECTION_LOOP, RejectReason::ReflectionLoop),
            (DecisionKey::LEAK, RejectReason::RouteLeak),
        ];
        let (_, reason) = LOOPS.iter().find(|(flag, _)| self.flags & flag != 0)?;
        Some(*reason)
    }

    /// Whether an external peer is about to take a route away (RFC 8326 4.2).
    pub(super) fn is_shut_down(attrs: Attrs<'_>, source: &SourceInfo) -> bool {
        let external = source.peer_type == PeerType::External;
        external && Self::shuts_down(&Digest::of(attrs), source)
    }

    fn shuts_down(digest: &Digest, source: &SourceInfo) -> bool {
        let external = !source.is_local() && source.peer_type == PeerType::External;
        external && digest.well_known.contains(WellKnown::GRACEFUL_SHUTDOWN)
    }

    pub(super) fn new(attrs: Attrs<'_>, source: &SourceInfo, us: &Identity) -> DecisionKey {
        let digest = Digest::of(attrs);
        let well_known = |community| digest.well_known.contains(community);
        let mut flags = 0;
        if well_known(WellKnown::NO_EXPORT) || well_known(WellKnown::NO_EXPORT_SUBCONFED) {
            flags |= Self::NO_EXPORT;
        }
        if well_known(WellKnown::NO_ADVERTISE) {
            flags |= Self::NO_ADVERTISE;
        }
        if Self::shuts_down(&digest, source) {
            flags |= Self::SHUT_DOWN;
        }
        if well_known(WellKnown::LLGR_STALE) {
            flags |= Self::LLGR_STALE;
        }
        if well_known(WellKnown::NO_LLGR) {
            flags |= Self::NO_LLGR;
        }
        if let Some(mark) = attrs.only_to_customer() {
            flags |= Self::ONLY_TO_CUSTOMER;
            let leaks = |role: Role| role.is_leak(mark.0, source.remote_asn.0);
            if source.role.is_some_and(leaks) {
                flags |= Self::LEAK;
            }
        }
        if !source.is_local() {
            let mut own = attrs.as_path().count(source.local_asn);
            if us.asn != source.local_asn {
                own += attrs.as_path().count(us.asn);
            }
            if own > usize::from(source.allow_own_as) {
                flags |= Self::AS_LOOP;
            }
            if source.peer_type == PeerType::Internal {
                if digest.originator_id == Some(us.router_id) {
                    flags |= Self::OWN_ORIGINATOR;
                }
                if attrs.cluster_list().any(|id| id == us.cluster_id) {
                    flags |= Self::REFLECTION_LOOP;
                }
            }
        }
        DecisionKey {
            local_pref: digest.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            med: digest.med.unwrap_or(0),
            neighbor_asn: digest.neighbour_as.map_or(0, |asn| asn.0),
            originator: digest.originator_id.map_or(0, |id| u32::from(id.0)),
            path_len: digest.as_path_len,
            cluster_len: digest.cluster_list_len,
            origin: digest.origin as u8,
            flags,
        }
    }
}

/// Who we are, for loop checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) asn: Asn,
    pub(super) router_id: RouterId,
    pub(super) cluster_id: RouterId,
}

#[derive(Debug, Clone)]
pub(super) struct AttrSet {
    pub(super) bytes: Box<[u8]>,
    hash: u64,
    pub(super) key: DecisionKey,
    pub(super) hop: u32,
    refs: u32,
    pub(super) source: SourceId,
}

/// The interner.
#[derive(Debug, Clone)]
pub(super) struct AttrTable {
    index: HashTable<AttrId>,
    sets: SegVec<AttrSet>,
    free: Vec<AttrId>,
    pub(super) us: Identity,
    /// Sets with a MULTI_EXIT_DISC above zero: without any, paths have a total order.
    with_med: u32,
    /// Sets of each source.
    by_source: Vec<u32>,
}

impl AttrTable {
    /// Ids stay below this: the bits above are the tables' own.
    pub(super) const LIMIT: u32 = 1 << 29;

    pub(super) fn new(us: Identity) -> AttrTable {
        AttrTable {
            index: HashTable::new(),
            sets: SegVec::default(),
            free: Vec::new(),
            us,
            with_med: 0,
            by_source: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn get(&self, id: AttrId) -> &AttrSet {
        self.sets.get(id)
    }

    pub(super) fn attrs(&self, id: AttrId) -> Attrs<'_> {
        Attrs::new(&self.get(id).bytes)
    }

    /// How many sets are in use.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether a set of the source is in use.
    pub(super) fn names(&self, source: SourceId) -> bool {
        let sets = self.by_source.get(usize::from(source.0));
        sets.is_some_and(|&sets| sets > 0)
    }

    pub(super) fn uses_med(&self) -> bool {
        self.with_med > 0
    }

    /// The set with these attributes, made if it is new, with one use counted. `hash` is
    /// [`attrs::hash`](crate::attrs::hash) of `bytes` and `next_hop`.
    pub(super) fn acquire(
        &mut self,
        hops: &mut Hops,
        source: (SourceId, &SourceInfo),
        bytes: &[u8],
        hash: u64,
        next_hop: &NextHop,
    ) -> AttrId {
        let sets = &self.sets;
        let same = |&id: &AttrId| {
            let set = sets.get(id);
            set.hash == hash
                && set.source == source.0
                && *set.bytes == *bytes
                && hops.get(set.hop).next_hop == *next_hop
        };
        if let Some(&id) = self.index.find(hash, same) {
            self.sets.get_mut(id).refs += 1;
            return id;
        }
        let key = DecisionKey::new(Attrs::new(bytes), source.1, &self.us);
        self.with_med += u32::from(key.med > 0);
        let slot = usize::from(source.0.0);
        if slot >= self.by_source.len() {
            self.by_source.resize(slot + 1, 0);
        }
        self.by_source[slot] += 1;
        let set = AttrSet {
            bytes: bytes.into(),
            hash,
            key,
            hop: hops.acquire(next_hop, source.0),
            refs: 1,
            source: source.0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                *self.sets.get_mut(id) = set;
                id
            }
            None => self.sets.push(set),
        };
        debug_assert!(id < Self::LIMIT, "memory ends long before 2^29 sets");
        let sets = &self.sets;
        self.index
            .insert_unique(hash, id, |&other| sets.get(other).hash);
        id
    }

    /// One use more of a set in use.
    #[inline]
    pub(super) fn retain(&mut self, id: AttrId) {
        self.sets.get_mut(id).refs += 1;
    }

    /// One use less; the last one frees the set.
    #[inline]
    pub(super) fn release(&mut self, hops: &mut Hops, id: AttrId) {
        let set = self.sets.get_mut(id);
        set.refs -= 1;
        if set.refs == 0 {
            self.free(hops, id);
        }
    }

    fn free(&mut self, hops: &mut Hops, id: AttrId) {
        let set = self.sets.get_mut(id);
        set.bytes = Box::default();
        let (hash, hop, source) = (set.hash, set.hop, set.source);
        self.with_med -= u32::from(set.key.med > 0);
        self.by_source[usize::from(source.0)] -= 1;
        hops.release(hop, source);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
    }

    /// Takes the keys of a source's sets out of their bytes again, after what is known of the source changed.
    pub(super) fn rekey(&mut self, source: SourceId, info: &SourceInfo) {
        for id in 0..self.sets.len() {
            let set = self.sets.get_mut(id);
            if set.refs > 0 && set.source == source {
                set.key = DecisionKey::new(Attrs::new(&set.bytes), info, &self.us);
            }
        }
    }
}
