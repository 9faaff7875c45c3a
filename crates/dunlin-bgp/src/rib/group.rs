//! Export groups: peers that are told the same, with one Adj-RIB-Out between them (RFC 4271 3.2).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use dunlin_net::{Afi, Family, PeerId, PerFamily};

use super::attrset::{AttrId, AttrTable};
use super::dirty::IdSet;
use super::export::Toward;
use super::lag::Lag;
use super::out_paths::OutPaths;
use super::output::Output;
use super::refresh::Retelling;
use super::segvec::SegVec;
use super::source::SourceId;
use super::table::{NetId, Table};
use crate::batch::NextHop;
use crate::policy::Role;
use crate::wire::ExportEncoding;

/// A group inside one [`Rib`](super::Rib), reused after its last member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// All that what a peer is told depends on. Peers with equal keys share one encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKey {
    /// The core's number of the export policy.
    pub policy: u32,
    /// How UPDATEs are written.
    pub encoding: ExportEncoding,
    /// The peers are clients of ours (RFC 4456).
    pub reflector_client: bool,
    /// What we are to the peers (RFC 9234), if they are external and that is configured.
    pub role: Option<Role>,
    /// The families that were negotiated.
    pub families: PerFamily<bool>,
    /// The peers may be told what is long-lived stale: they have offered to treat it so (RFC 9494 4.3).
    pub long_lived: bool,
    /// What we name as next hop where it is us.
    pub own_next_hop: PerFamily<Option<NextHop>>,
}

impl GroupKey {
    /// What the rules of BGP ask of the peers.
    pub fn toward(&self) -> Toward {
        Toward {
            peer_type: self.encoding.peer_type,
            reflector_client: self.reflector_client,
            role: self.role,
            families: self.families,
            long_lived: self.long_lived,
        }
    }
}

/// In [`Out::ids`]: told nothing.
pub(super) const UNTOLD: u32 = u32::MAX;
/// In [`Out::ids`]: with our own next hop, not the set's.
pub(super) const OWN_NEXT_HOP: u32 = 1 << 30;

/// In [`Out::ids`]: with MULTI_EXIT_DISC toward external peers too.
pub(super) const KEEP_MED: u32 = 1 << 29;

/// The attribute set of what was told.
#[inline]
pub(super) fn set_of(out: u32) -> AttrId {
    out & (AttrTable::LIMIT - 1)
}

/// What an entry was told with.
#[inline]
pub(super) fn told_with(ids: &SegVec<u32>, id: u32) -> u32 {
    if id < ids.len() { *ids.get(id) } else { UNTOLD }
}

/// A change taken from the dirty set, in order of encoding: announcements first, by source, then by attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) withdrawn: bool,
    /// Whose path is told now, or was told where it is withdrawn.
    pub(super) source: SourceId,
    pub(super) out: u32,
    /// The entry in Adj-RIB-Out.
    pub(super) id: u32,
}

/// Adj-RIB-Out of one family.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// What each entry was told with: an attribute set with [`OWN_NEXT_HOP`], or [`UNTOLD`]. An entry is a prefix, or
    /// with `paths` a path of a prefix.
    pub(super) ids: SegVec<u32>,
    /// Where several paths of a prefix are told: which each entry is.
    pub(super) paths: Option<OutPaths>,
    /// Prefixes whose telling may be out of date.
    pub(super) dirty: IdSet,
    /// Prefixes to withdraw once the restart gate opens.
    pub(super) held: IdSet,
    /// Changes taken from `dirty` and not encoded yet: at most one chunk.
    pub(super) changes: VecDeque<Change>,
    pub(super) told: u32,
    pub(super) told_by_source: Vec<u32>,
}

impl Out {
    #[inline]
    pub(super) fn get(&self, id: u32) -> u32 {
        told_with(&self.ids, id)
    }

    #[inline]
    pub(super) fn set(&mut self, id: u32, out: u32) {
        self.ids.grow_to(id + 1, UNTOLD);
        *self.ids.get_mut(id) = out;
    }

    pub(super) fn count(&mut self, source: SourceId, told: bool) {
        let slot = usize::from(source.0);
        if slot >= self.told_by_source.len() {
            self.told_by_source.resize(slot + 1, 0);
        }
        if told {
            self.told += 1;
            self.told_by_source[slot] += 1;
        } else {
            self.told -= 1;
            self.told_by_source[slot] -= 1;
        }
    }

    /// All that was told, by entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.ids.len())
            .map(|id| (id, *self.ids.get(id)))
            .filter(|&(_, out)| out != UNTOLD)
    }

    fn holds(&self, id: NetId) -> bool {
        let told = match &self.paths {
            None => self.get(id) != UNTOLD,
            Some(paths) => !paths.is_bare(id),
        };
        told || self.dirty.contains(id) || self.held.contains(id)
    }

    /// Whether all that is to be told now was encoded.
    pub(super) fn is_quiet(&self) -> bool {
        self.dirty.is_empty() && self.changes.is_empty()
    }
}

/// A peer in a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    /// Its routes are not told back to it.
    pub(super) source: Option<SourceId>,
    /// Octets it can still take.
    pub(super) credit: i64,
    /// Its credit when all was taken.
    window: i64,
    /// What it was not told that the group was, while it is behind.
    pub(super) lag: Option<Box<PerFamily<Lag>>>,
    /// End-of-RIB is owed.
    pub(super) end_of_rib: PerFamily<bool>,
    /// It is told everything again, between marks.
    pub(super) retelling: PerFamily<Retelling>,
}

impl Member {
    pub(super) fn is_blocked(&self) -> bool {
        self.credit <= 0
    }

    /// Almost all it was sent is taken.
    pub(super) fn is_idle(&self) -> bool {
        self.credit >= self.window - self.window / 8
    }

    /// The member's lag, made if it kept pace until now.
    pub(super) fn lag(&mut self) -> &mut PerFamily<Lag> {
        self.lag.get_or_insert_default()
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) out: PerFamily<Out>,
    /// By peer id.
    pub(super) members: Vec<Member>,
    /// Which members are sources.
    pub(super) by_source: BTreeMap<SourceId, PeerId>,
    /// The members that keep pace; made anew when that changes.
    in_sync: Option<Arc<[PeerId]>>,
    /// How many members do not.
    pub(super) lagging: usize,
    /// How many members are told everything again, between marks.
    pub(super) retelling: usize,
    /// How many members are owed End-of-RIB.
    pub(super) owed_end_of_rib: PerFamily<usize>,
    /// Whose turn it is among those that lag.
    pub(super) turn: usize,
    /// Whether those that lag come before the others this time.
    pub(super) lagging_first: bool,
}

impl Group {
    fn new(key: GroupKey) -> Group {
        let mut out: PerFamily<Out> = PerFamily::default();
        for afi in Afi::ALL {
            out.get_mut(afi).paths = key.encoding.add_path.get(afi).then(OutPaths::default);
        }
        Group {
            key,
            out,
            members: Vec::new(),
            by_source: BTreeMap::new(),
            in_sync: None,
            lagging: 0,
            retelling: 0,
            owed_end_of_rib: PerFamily::default(),
            turn: 0,
            lagging_first: false,
        }
    }

    pub(super) fn member_mut(&mut self, peer: PeerId) -> Option<&mut Member> {
        let at = self.members.binary_search_by_key(&peer, |m| m.peer).ok()?;
        self.members.get_mut(at)
    }

    pub(super) fn member(&self, peer: PeerId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&peer, |m| m.peer).ok()?;
        self.members.get(at)
    }

    /// The members that keep pace.
    pub(super) fn in_sync(&mut self) -> Arc<[PeerId]> {
        let members = &self.members;
        let keeping_pace = || members.iter().filter(|m| m.lag.is_none()).map(|m| m.peer);
        self.in_sync
            .get_or_insert_with(|| keeping_pace().collect())
            .clone()
    }

    /// A member came, went, fell behind or caught up.
    pub(super) fn membership_changed(&mut self) {
        self.in_sync = None;
        self.lagging = self.members.iter().filter(|m| m.lag.is_some()).count();
        let none = PerFamily::default();
        self.retelling = self.members.iter().filter(|m| m.retelling != none).count();
        for afi in Afi::ALL {
            let owed = self.members.iter().filter(|m| *m.end_of_rib.get(afi));
            *self.owed_end_of_rib.get_mut(afi) = owed.count();
        }
    }

    /// Nothing was told to anybody yet.
    fn is_fresh(&self) -> bool {
        let fresh = |out: &Out| out.told == 0 && out.changes.is_empty();
        Afi::ALL.iter().all(|&afi| fresh(self.out.get(afi)))
    }

    /// Gives back entries that nobody holds any more; the prefixes that nobody may hold either.
    pub(super) fn let_go(&mut self, afi: Afi, ids: Vec<u32>) -> Vec<NetId> {
        let out = self.out.get_mut(afi);
        let Some(paths) = &mut out.paths else {
            return ids;
        };
        let members = &self.members;
        let lags = |id: u32| {
            let mut lags = members.iter().filter_map(|member| member.lag.as_ref());
            lags.any(|lag| lag.get(afi).holds(id))
        };
        let mut nets = Vec::new();
        for id in ids {
            if paths.is_settled(id) && told_with(&out.ids, id) == UNTOLD && !lags(id) {
                nets.push(paths.remove(id));
            }
        }
        nets
    }

    fn holds(&self, afi: Afi, id: NetId) -> bool {
        if self.out.get(afi).paths.is_some() {
            // Whatever a member misses is an entry.
            return self.out.get(afi).holds(id);
        }
        let lags = |member: &Member| {
            let lag = member.lag.as_ref();
            lag.is_some_and(|lag| lag.get(afi).holds(id))
        };
        self.out.get(afi).holds(id) || self.members.iter().any(lags)
    }

    /// What the member would be told of a prefix in pace with the group.
    pub(super) fn sees(member_source: Option<SourceId>, source: Option<SourceId>) -> bool {
        source.is_some() && source != member_source
    }

    /// Lets members go their own way that are out of credit while another one has nothing left to do. While all are
    /// busy the group waits, so that members of about equal pace share all encoding. Whether the group may go on.
    pub(super) fn may_encode(&mut self) -> bool {
        let pace = |m: &&Member| m.lag.is_none();
        if !self.members.iter().filter(pace).any(Member::is_blocked) {
            return true;
        }
        if !self.members.iter().filter(pace).any(Member::is_idle) {
            return false;
        }
        for member in &mut self.members {
            if member.lag.is_none() && member.is_blocked() {
                member.lag();
            }
        }
        self.membership_changed();
        true
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) slots: Vec<Option<Group>>,
    pub(super) of_peer: BTreeMap<PeerId, GroupId>,
    /// Encoded and not polled: what one step of one group made.
    pub(super) outbox: VecDeque<Output>,
    pub(super) turn: usize,
    /// Groups that are told several paths of a prefix.
    several: PerFamily<u32>,
    pub(super) hold_withdrawals: bool,
    pub(super) hold_end_of_rib: bool,
}

impl Groups {
    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn of(&self, peer: PeerId) -> Option<&Group> {
        self.get(*self.of_peer.get(&peer)?)
    }

    pub(super) fn of_mut(&mut self, peer: PeerId) -> Option<&mut Group> {
        self.get_mut(*self.of_peer.get(&peer)?)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.slots.iter_mut().flatten()
    }

    /// The best path of a prefix changed.
    #[inline]
    pub(super) fn mark(&mut self, afi: Afi, id: NetId) {
        for group in self.slots.iter_mut().flatten() {
            if *group.key.families.get(afi) {
                group.out.get_mut(afi).dirty.insert(id);
            }
        }
    }

    /// A path of a prefix changed that was not and is not the best one.
    #[inline]
    pub(super) fn mark_several(&mut self, afi: Afi, id: NetId) {
        if *self.several.get(afi) == 0 {
            return;
        }
        for group in self.slots.iter_mut().flatten() {
            if group.out.get(afi).paths.is_some() {
                group.out.get_mut(afi).dirty.insert(id);
            }
        }
    }

    /// Gives the id of a prefix without paths back unless somebody still has to be told.
    pub(super) fn forget_if_unused<F: Family>(&self, table: &mut Table<F>, id: NetId) {
        if !table.is_live(id) || !table.is_bare(id) || table.fib_dirty.contains(id) {
            return;
        }
        let mut groups = self.slots.iter().flatten();
        if !groups.any(|group| group.holds(F::AFI, id)) {
            table.forget(id);
        }
    }

    /// Finds the group of a key or makes it; whether it was made.
    fn find_or_add(&mut self, key: &GroupKey) -> (GroupId, bool) {
        let same = |slot: &Option<Group>| slot.as_ref().is_some_and(|group| group.key == *key);
        let (at, made) = match self.slots.iter().position(same) {
            Some(at) => (at, false),
            None => {
                let at = match self.slots.iter().position(Option::is_none) {
                    Some(at) => at,
                    None => {
                        self.slots.push(None);
                        self.slots.len() - 1
                    }
                };
                self.slots[at] = Some(Group::new(key.clone()));
                self.count_several(key, 1);
                (at, true)
            }
        };
        (GroupId(at as u32), made)
    }

    /// A group with this key came or went.
    pub(super) fn count_several(&mut self, key: &GroupKey, change: i32) {
        for afi in Afi::ALL {
            let several = self.several.get_mut(afi);
            if *key.encoding.add_path.get(afi) {
                *several = several.saturating_add_signed(change);
            }
        }
    }

    /// Adds a member; whether its group is new and has to look at all prefixes.
    pub(super) fn join(
        &mut self,
        peer: PeerId,
        source: Option<SourceId>,
        key: &GroupKey,
        credit: i64,
    ) -> (GroupId, bool) {
        let (id, made) = self.find_or_add(key);
        self.of_peer.insert(peer, id);
        let group = self.slots[id.0 as usize]
            .as_mut()
            .expect("found or made above");
        let mut member = Member {
            peer,
            source,
            credit,
            window: credit.max(1),
            lag: None,
            end_of_rib: key.families,
            retelling: PerFamily::default(),
        };
        if !group.is_fresh() {
            let lag = member.lag();
            for afi in Afi::ALL {
                let lag = lag.get_mut(afi);
                for (prefix, _) in group.out.get(afi).iter() {
                    lag.untold(prefix);
                }
            }
        }
        let at = group.members.partition_point(|m| m.peer < peer);
        group.members.insert(at, member);
        if let Some(source) = source {
            group.by_source.insert(source, peer);
        }
        group.membership_changed();
        (id, made)
    }
}
