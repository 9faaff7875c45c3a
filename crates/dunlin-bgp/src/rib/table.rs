//! The prefixes of one family and their paths.

use dunlin_net::{AsOctets, Family, PerFamily, V4, V6};
use hashbrown::HashTable;

use super::attrset::AttrId;
use super::dirty::IdSet;
use super::segvec::SegVec;
use super::source::SourceId;
use super::watch::Watches;
use crate::batch::BatchFamily;
use crate::policy::RejectReason;

/// The dense number of a prefix while something is known of it.
pub(super) type NetId = u32;

/// No path, no id.
pub(super) const NONE: u32 = u32::MAX;

/// In a free slot, the list head says so and names the next free slot.
const FREE: u32 = 1 << 31;
/// Path numbers stay below [`FREE`].
const END: u32 = FREE - 1;

/// In [`Path::used`]: not an attribute id but a reason.
const REJECTED: u32 = 1 << 31;

/// Small in tests, so that few prefixes make many blocks.
const BLOCK_BITS: u32 = if cfg!(test) { 2 } else { 10 };

/// Background work goes over prefixes in blocks of this many ids.
pub(super) const BLOCK: u32 = 1 << BLOCK_BITS;

#[inline]
pub(super) fn block_of(id: NetId) -> u32 {
    id >> BLOCK_BITS
}

/// One route in Adj-RIB-In and what import policy made of it: 16 octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    next: u32,
    /// As received.
    pub(super) attrs: AttrId,
    /// After import policy, or the reason of its rejection.
    used: u32,
    pub(super) source: SourceId,
    pub(super) epoch: u8,
    flags: u8,
}

impl Path {
    /// It is the best one of its prefix.
    const BEST: u8 = 1;
    /// It came with a path identifier, which [`Table::path_id`] knows.
    const IDENTIFIED: u8 = 2;

    pub(super) fn new(
        source: SourceId,
        epoch: u8,
        attrs: AttrId,
        used: Result<AttrId, RejectReason>,
    ) -> Path {
        let mut path = Path {
            next: END,
            attrs,
            used: 0,
            source,
            epoch,
            flags: 0,
        };
        path.set_used(used);
        path
    }

    #[inline]
    pub(super) fn is_best(&self) -> bool {
        self.flags & Self::BEST != 0
    }

    fn set_best(&mut self, best: bool) {
        self.flags = self.flags & !Self::BEST | if best { Self::BEST } else { 0 };
    }

    /// The attributes after import policy.
    #[inline]
    pub(super) fn used(&self) -> Option<AttrId> {
        (self.used & REJECTED == 0).then_some(self.used)
    }

    /// The attributes after import policy, or why there are none.
    pub(super) fn verdict(&self) -> Result<AttrId, RejectReason> {
        match self.used() {
            Some(id) => Ok(id),
            None => Err(RejectReason::from_code(self.used & !REJECTED)),
        }
    }

    pub(super) fn set_used(&mut self, used: Result<AttrId, RejectReason>) {
        self.used = match used {
            Ok(id) => id,
            Err(reason) => REJECTED | reason.code(),
        };
    }
}

/// The prefixes of one family.
#[derive(Debug, Clone)]
pub(super) struct Table<F: Family> {
    seed: u64,
    index: HashTable<NetId>,
    nets: SegVec<F::Net>,
    heads: SegVec<u32>,
    free_net: u32,
    paths: SegVec<Path>,
    /// The identifiers of paths that came with one (RFC 7911), by number; as long as the last such needs.
    path_ids: SegVec<u32>,
    free_path: u32,
    path_count: u32,
    /// How many prefixes there are of each length.
    lengths: Vec<u32>,
    /// Prefixes whose Loc-RIB entry the FIB was not told.
    pub(super) fib_dirty: IdSet,
    /// Blocks to decide again, removing dead paths.
    pub(super) recheck: IdSet,
    /// Blocks to judge again and decide.
    pub(super) rejudge: IdSet,
    /// What those who watch the table have to be told.
    pub(super) watches: Watches<F>,
}

/// A family that has a table.
pub trait RibFamily: BatchFamily + private::Tabled {}

impl RibFamily for V4 {}
impl RibFamily for V6 {}

pub(super) mod private {
    use super::*;

    /// Both tables.
    pub(in crate::rib) type Tables = PerFamily<Table<V4>, Table<V6>>;

    /// Finds the family's table.
    #[expect(private_interfaces, reason = "the tables are the RIB's own")]
    pub trait Tabled: Family + Sized {
        fn table(tables: &Tables) -> &Table<Self>;
        fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
    }

    #[expect(private_interfaces, reason = "the tables are the RIB's own")]
    impl Tabled for V4 {
        fn table(tables: &Tables) -> &Table<V4> {
            &tables.v4
        }

        fn table_mut(tables: &mut Tables) -> &mut Table<V4> {
            &mut tables.v4
        }
    }

    #[expect(private_interfaces, reason = "the tables are the RIB's own")]
    impl Tabled for V6 {
        fn table(tables: &Tables) -> &Table<V6> {
            &tables.v6
        }

        fn table_mut(tables: &mut Tables) -> &mut Table<V6> {
            &mut tables.v6
        }
    }
}

/// Hashes a prefix so that up to 16 neighbours (equal length, equal but for the last four bits) have their places side by
/// side: prefixes that come together are mostly neighbours, and a table of a million entries costs a cache miss for each
/// place. More neighbours than that never meet, so no choice of prefixes fills one region.
#[inline]
fn hash<F: Family>(seed: u64, net: F::Net) -> u64 {
    const NEIGHBOURS: u128 = 15;
    let len = F::len(net);
    let mut octets = [0; 16];
    F::addr(net).octets_into(&mut octets);
    // The bits of the prefix alone, at the low end.
    let bits = u128::from_be_bytes(octets)
        .checked_shr(128 - u32::from(len))
        .unwrap_or(0);
    let place = (bits & NEIGHBOURS) as u64;
    let upper = bits & !NEIGHBOURS;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ (product >> 64) as u64
    };
    let high = fold((upper >> 64) as u64 ^ seed, 0x9E37_79B9_7F4A_7C15);
    let low = upper as u64 ^ u64::from(len).rotate_right(8);
    let region = fold(high ^ low ^ seed.rotate_left(32), 0xD6E8_FEB8_6659_FD93);
    // The low bits choose the place; the high ones, which the table compares first, tell neighbours apart.
    region.wrapping_add(place) ^ (place << 60)
}

impl<F: Family> Table<F> {
    pub(super) fn new(seed: u64) -> Table<F> {
        Table {
            seed: seed | 1,
            index: HashTable::new(),
            nets: SegVec::default(),
            heads: SegVec::default(),
            free_net: END,
            paths: SegVec::default(),
            path_ids: SegVec::default(),
            free_path: END,
            path_count: 0,
            lengths: vec![0; usize::from(F::BITS) + 1],
            fib_dirty: IdSet::default(),
            recheck: IdSet::default(),
            rejudge: IdSet::default(),
            watches: Watches::default(),
        }
    }

    /// One more than the greatest id ever given.
    pub(super) fn limit(&self) -> NetId {
        self.nets.len()
    }

    /// One more than the greatest number ever given to a path.
    pub(super) fn path_limit(&self) -> u32 {
        self.paths.len()
    }

    /// How many prefixes something is known of.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn path_count(&self) -> u32 {
        self.path_count
    }

    pub(super) fn net(&self, id: NetId) -> F::Net {
        *self.nets.get(id)
    }

    /// Whether an id below [`Table::limit`] stands for a prefix.
    #[inline]
    pub(super) fn is_live(&self, id: NetId) -> bool {
        self.heads.get(id) & FREE == 0
    }

    pub(super) fn has_length(&self, len: u8) -> bool {
        self.lengths[usize::from(len)] > 0
    }

    #[inline]
    pub(super) fn find(&self, net: F::Net) -> Option<NetId> {
        self.index
            .find(hash::<F>(self.seed, net), |&id| *self.nets.get(id) == net)
            .copied()
    }

    #[inline]
    pub(super) fn find_or_add(&mut self, net: F::Net) -> NetId {
        match self.find(net) {
            Some(id) => id,
            None => self.add(net),
        }
    }

    fn add(&mut self, net: F::Net) -> NetId {
        let id = if self.free_net == END {
            self.heads.push(END);
            self.nets.push(net)
        } else {
            let id = self.free_net;
            self.free_net = *self.heads.get(id) & !FREE;
            *self.heads.get_mut(id) = END;
            *self.nets.get_mut(id) = net;
            id
        };
        self.lengths[usize::from(F::len(net))] += 1;
        let (nets, seed) = (&self.nets, self.seed);
        self.index
            .insert_unique(hash::<F>(seed, net), id, |&other| {
                hash::<F>(seed, *nets.get(other))
            });
        id
    }

    /// Gives the id of a prefix without paths back. The caller knows that nobody else holds it.
    pub(super) fn forget(&mut self, id: NetId) {
        debug_assert_eq!(*self.heads.get(id), END, "only a prefix without paths goes");
        let net = *self.nets.get(id);
        self.lengths[usize::from(F::len(net))] -= 1;
        if let Ok(entry) = self
            .index
            .find_entry(hash::<F>(self.seed, net), |&other| other == id)
        {
            entry.remove();
        }
        *self.heads.get_mut(id) = FREE | self.free_net;
        self.free_net = id;
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
    }

    /// Whether a prefix has no paths.
    #[inline]
    pub(super) fn is_bare(&self, id: NetId) -> bool {
        *self.heads.get(id) == END
    }

    /// The prefix's paths with their numbers; the best one first if there is one.
    #[inline]
    pub(super) fn paths(&self, id: NetId) -> Paths<'_> {
        let head = *self.heads.get(id);
        Paths {
            paths: &self.paths,
            next: if head & FREE == 0 { head } else { END },
        }
    }

    /// The best path.
    #[inline]
    pub(super) fn best(&self, id: NetId) -> Option<&Path> {
        let head = *self.heads.get(id);
        if head >= END {
            return None;
        }
        Some(self.paths.get(head)).filter(|path| path.is_best())
    }

    /// The number of the best path.
    #[inline]
    pub(super) fn best_number(&self, id: NetId) -> Option<u32> {
        self.best(id).map(|_| *self.heads.get(id))
    }

    /// Changes what a path says, not where it stands.
    pub(super) fn replace_path(&mut self, number: u32, mut path: Path) {
        let old = self.paths.get_mut(number);
        (path.next, path.flags) = (old.next, old.flags);
        *old = path;
    }

    pub(super) fn path(&self, number: u32) -> &Path {
        self.paths.get(number)
    }

    pub(super) fn path_mut(&mut self, number: u32) -> &mut Path {
        self.paths.get_mut(number)
    }

    /// The path of a source with this identifier, or with none.
    #[inline]
    pub(super) fn path_of(&self, id: NetId, source: SourceId, path_id: Option<u32>) -> Option<u32> {
        let same = |(number, path): &(u32, &Path)| {
            path.source == source && self.path_id(*number, path) == path_id
        };
        self.paths(id).find(same).map(|(number, _)| number)
    }

    /// Whether a source has any path.
    pub(super) fn has_path_of(&self, id: NetId, source: SourceId) -> bool {
        self.paths(id).any(|(_, path)| path.source == source)
    }

    /// The identifier a path came with.
    #[inline]
    pub(super) fn path_id(&self, number: u32, path: &Path) -> Option<u32> {
        (path.flags & Path::IDENTIFIED != 0).then(|| *self.path_ids.get(number))
    }

    /// Adds a path behind the best one.
    pub(super) fn add_path(&mut self, id: NetId, mut path: Path, path_id: Option<u32>) -> u32 {
        path.flags = if path_id.is_some() {
            Path::IDENTIFIED
        } else {
            0
        };
        let head = *self.heads.get(id);
        let behind = head != END && self.paths.get(head).is_best();
        path.next = if behind {
            self.paths.get(head).next
        } else {
            head
        };
        let number = if self.free_path == END {
            self.paths.push(path)
        } else {
            let number = self.free_path;
            self.free_path = self.paths.get(number).next;
            *self.paths.get_mut(number) = path;
            number
        };
        if let Some(path_id) = path_id {
            self.path_ids.grow_to(number + 1, 0);
            *self.path_ids.get_mut(number) = path_id;
        }
        if behind {
            self.paths.get_mut(head).next = number;
        } else {
            *self.heads.get_mut(id) = number;
        }
        self.path_count += 1;
        number
    }

    fn unlink(&mut self, id: NetId, number: u32) {
        let next = self.paths.get(number).next;
        let head = *self.heads.get(id);
        if head == number {
            *self.heads.get_mut(id) = next;
            return;
        }
        let mut at = head;
        while at != END {
            let path = self.paths.get_mut(at);
            if path.next == number {
                path.next = next;
                return;
            }
            at = path.next;
        }
    }

    /// Removes a path and returns what it was.
    pub(super) fn remove_path(&mut self, id: NetId, number: u32) -> Path {
        self.unlink(id, number);
        let path = *self.paths.get(number);
        self.paths.get_mut(number).next = self.free_path;
        self.free_path = number;
        self.path_count -= 1;
        path
    }

    /// Makes a path the best one, or none.
    pub(super) fn set_best(&mut self, id: NetId, best: Option<u32>) {
        let head = *self.heads.get(id);
        if head != END {
            self.paths.get_mut(head).set_best(false);
        }
        if let Some(number) = best {
            if number != head {
                self.unlink(id, number);
                let head = *self.heads.get(id);
                self.paths.get_mut(number).next = head;
                *self.heads.get_mut(id) = number;
            }
            self.paths.get_mut(number).set_best(true);
        }
    }

    /// The live ids of a block.
    pub(super) fn block(&self, block: u32) -> impl Iterator<Item = NetId> + '_ {
        let start = (block << BLOCK_BITS).min(self.limit());
        let end = (start + BLOCK).min(self.limit());
        (start..end).filter(|&id| self.is_live(id))
    }

    /// Live ids from `from` on.
    pub(super) fn ids_from(&self, from: NetId) -> impl Iterator<Item = NetId> + '_ {
        (from..self.limit()).filter(|&id| self.is_live(id))
    }
}

/// See [`Table::paths`].
pub(super) struct Paths<'a> {
    paths: &'a SegVec<Path>,
    next: u32,
}

impl<'a> Iterator for Paths<'a> {
    type Item = (u32, &'a Path);

    #[inline]
    fn next(&mut self) -> Option<(u32, &'a Path)> {
        if self.next == END {
            return None;
        }
        let number = self.next;
        let path = self.paths.get(number);
        self.next = path.next;
        Some((number, path))
    }
}
