//! The prefixes of one family at one metric: dense slots, found by hash.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use dunlin_net::Family;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::backups::{BackupId, NO_BACKUP};
use super::nexthops::{ABSENT, FOREIGN, ObjectId, SetId};
use super::types::Class;

/// In the dirty queue.
pub(super) const DIRTY: u8 = 1;
/// An operation on it is not yet acknowledged.
pub(super) const IN_FLIGHT: u8 = 2;
/// Met by the read-back under way.
pub(super) const SEEN: u8 = 4;
/// Deletes of it need not wait for the gate.
pub(super) const RELEASED: u8 = 8;
/// What is believed rests on a notification, which may be older than our own last write.
pub(super) const EVENTED: u8 = 16;
/// Has an entry among the failures.
pub(super) const FAILED: u8 = 32;
/// Holds no prefix.
pub(super) const FREE: u8 = 64;
/// Leads where it should, and is to move to the object that has its backup.
pub(super) const REGROUP: u8 = 128;

/// 16 octets for IPv4, 28 for IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<F: Family> {
    pub(super) net: F::Net,
    pub(super) wanted: SetId,
    pub(super) believed: ObjectId,
    pub(super) flags: u8,
    /// Only with a single hop wanted.
    pub(super) backup: BackupId,
}

impl<F: Family> Slot<F> {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the kernel holds a route of ours for it, as far as we know.
    pub(super) fn is_ours(&self) -> bool {
        self.believed != ABSENT && self.believed != FOREIGN
    }
}

#[derive(Debug)]
pub(super) struct Routes<F: Family> {
    pub(super) class: Class,
    pub(super) slots: Vec<Slot<F>>,
    index: HashTable<u32>,
    free: Vec<u32>,
    /// Slots to look at. Each at most once, by [`DIRTY`].
    dirty: VecDeque<u32>,
    hasher: FixedState,
}

impl<F: Family> Routes<F> {
    pub(super) fn new(blackhole: bool, hasher: &FixedState) -> Routes<F> {
        Routes {
            class: Class {
                afi: F::AFI,
                blackhole,
            },
            slots: Vec::new(),
            index: HashTable::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
            hasher: hasher.clone(),
        }
    }

    pub(super) fn find(&self, net: F::Net) -> Option<u32> {
        let hash = self.hasher.hash_one(net);
        self.index
            .find(hash, |&at| self.slots[at as usize].net == net)
            .copied()
    }

    /// The slot of `net`, made if there is none.
    pub(super) fn ensure(&mut self, net: F::Net) -> u32 {
        if let Some(at) = self.find(net) {
            return at;
        }
        let slot = Slot {
            net,
            wanted: 0,
            believed: ABSENT,
            flags: 0,
            backup: NO_BACKUP,
        };
        let at = match self.free.pop() {
            Some(at) => {
                // A freed slot may still stand in the dirty queue.
                let dirty = self.slots[at as usize].flags & DIRTY;
                self.slots[at as usize] = Slot {
                    flags: dirty,
                    ..slot
                };
                at
            }
            None => {
                let at = u32::try_from(self.slots.len()).expect("2^32 slots exceed any memory");
                self.slots.push(slot);
                at
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |&at: &u32| hasher.hash_one(slots[at as usize].net);
        self.index.insert_unique(hasher.hash_one(net), at, rehash);
        at
    }

    /// Forgets a slot that nobody wants and the kernel does not hold.
    pub(super) fn free(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        let hash = self.hasher.hash_one(slot.net);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        slot.flags = FREE | (slot.flags & DIRTY);
        self.free.push(at);
    }

    pub(super) fn mark_dirty(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if !slot.has(DIRTY) {
            slot.flags |= DIRTY;
            self.dirty.push_back(at);
        }
    }

    /// The next slot to look at. It may be a free one.
    pub(super) fn pop_dirty(&mut self) -> Option<u32> {
        let at = self.dirty.pop_front()?;
        self.slots[at as usize].flags &= !DIRTY;
        if self.dirty.is_empty() && self.dirty.capacity() > 65_536 {
            self.dirty = VecDeque::new();
        }
        Some(at)
    }

    pub(super) fn dirty(&self) -> impl Iterator<Item = &Slot<F>> {
        self.dirty
            .iter()
            .map(|&at| &self.slots[at as usize])
            .filter(|slot| !slot.has(FREE))
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// All slots that hold a prefix.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot<F>)> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| !slot.has(FREE))
    }

    /// Octets held, by capacity.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<F>>()
            + self.index.allocation_size()
            + (self.free.capacity() + self.dirty.capacity()) * size_of::<u32>()
    }
}
