//! Hop sets: interned, counted by who wants and who holds them, freed with the last.

use std::hash::BuildHasher;

use super::{HOLE_SET, NO_SET, Nexthops, Set, SetId};
use crate::fib::types::{Hop, Hops, Wanted};

impl Nexthops {
    pub(in crate::fib) fn intern_wanted(&mut self, wanted: Option<&Wanted>) -> SetId {
        match wanted {
            None => NO_SET,
            Some(Wanted::Blackhole) => HOLE_SET,
            Some(Wanted::Via(hops)) if hops.is_empty() => NO_SET,
            Some(Wanted::Via(hops)) if hops.is_sorted_by(|a, b| a < b) => self.intern(hops),
            Some(Wanted::Via(hops)) => {
                let mut hops = hops.clone();
                hops.sort_unstable();
                hops.dedup();
                self.intern(&hops)
            }
        }
    }

    /// The set of exactly these hops.
    pub(in crate::fib) fn find(&self, hops: &[Hop]) -> Option<SetId> {
        let hash = self.hasher.hash_one(hops);
        self.set_index
            .find(hash, |&set| *self.sets[set as usize].hops == *hops)
            .copied()
    }

    /// `hops` are sorted, without repetition, not empty.
    pub(in crate::fib) fn intern(&mut self, hops: &[Hop]) -> SetId {
        if let Some(set) = self.find(hops) {
            return set;
        }
        let hash = self.hasher.hash_one(hops);
        let fresh = Set {
            hops: Hops::from_slice(hops),
            wanted: 0,
            held: 0,
            object: 0,
        };
        let set = match self.free_sets.pop() {
            Some(set) => {
                self.sets[set as usize] = fresh;
                set
            }
            None => {
                self.sets.push(fresh);
                u32::try_from(self.sets.len() - 1).expect("2^32 sets exceed any memory")
            }
        };
        let (sets, hasher) = (&self.sets, &self.hasher);
        self.set_index
            .insert_unique(hash, set, |&set| hasher.hash_one(&*sets[set as usize].hops));
        self.unclaimed.push(set);
        set
    }

    pub(in crate::fib) fn union(&mut self, a: SetId, b: SetId) -> SetId {
        let mut hops = self.set(a).hops.clone();
        hops.extend_from_slice(&self.sets[b as usize].hops);
        hops.sort_unstable();
        hops.dedup();
        self.intern(&hops)
    }

    pub(in crate::fib) fn is_subset(&self, part: SetId, whole: SetId) -> bool {
        let whole = &self.set(whole).hops;
        self.set(part)
            .hops
            .iter()
            .all(|hop| whole.binary_search(hop).is_ok())
    }

    pub(in crate::fib) fn has_v4_hop(&self, set: SetId) -> bool {
        self.set(set).hops.iter().any(|hop| hop.gateway.is_ipv4())
    }

    /// A slot wants `to` instead of `from`.
    pub(in crate::fib) fn rewant(&mut self, from: SetId, to: SetId) {
        self.sets[to as usize].wanted += 1;
        let old = &mut self.sets[from as usize];
        // NO_SET is wanted by slots that come into being without being counted.
        old.wanted = old.wanted.saturating_sub(1);
        if old.wanted == 0 {
            let object = old.object;
            if object != 0 {
                self.idle.push(object);
            }
            self.free_set_if_unused(from);
        }
    }

    pub(in crate::fib) fn hold_set(&mut self, set: SetId) {
        self.sets[set as usize].held += 1;
    }

    pub(in crate::fib) fn unhold_set(&mut self, set: SetId) {
        if set > HOLE_SET {
            self.sets[set as usize].held -= 1;
            self.free_set_if_unused(set);
        }
    }

    fn free_set_if_unused(&mut self, id: SetId) {
        let Some(set) = self.sets.get_mut(id as usize) else {
            return;
        };
        if id <= HOLE_SET || set.wanted > 0 || set.held > 0 || set.hops.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(&*set.hops);
        if let Ok(entry) = self.set_index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        set.hops = Hops::new();
        set.object = 0;
        self.free_sets.push(id);
    }

    /// Forgets the sets that were interned and came to nothing.
    pub(in crate::fib) fn sweep_sets(&mut self) {
        while let Some(set) = self.unclaimed.pop() {
            self.free_set_if_unused(set);
        }
    }
}
