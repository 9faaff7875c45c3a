//! Next hops in use and what the core knows of them.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::source::SourceId;
use crate::batch::NextHop;

/// What the core found out about a next hop (RFC 4271 9.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Paths by this next hop may be used.
    pub reachable: bool,
    /// The interior cost to it.
    pub igp_metric: u32,
    /// The interface it is on, 0 if that does not matter.
    pub ifindex: u32,
}

impl Resolution {
    /// Reachable at no cost.
    pub const DIRECT: Resolution = Resolution {
        reachable: true,
        igp_metric: 0,
        ifindex: 0,
    };
}

/// What the core has to do about a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopEvent {
    /// Paths name it: resolve it and tell the RIB by [`set_next_hops`](super::Rib::set_next_hops), now and when that changes.
    Wanted(NextHop),
    /// No path names it any more.
    Unused(NextHop),
}

/// One next hop.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) next_hop: NextHop,
    pub(super) resolution: Resolution,
    /// Attribute sets with this next hop, per source.
    users: SmallVec<[(SourceId, u32); 1]>,
    told: bool,
    queued: bool,
}

/// All next hops: as many as distinct ones among attribute sets, and those whose end was not polled yet.
#[derive(Debug, Clone)]
pub(super) struct Hops {
    seed: u64,
    index: HashTable<u32>,
    slots: Vec<Option<Hop>>,
    free: Vec<u32>,
    changed: Vec<u32>,
    initial: Resolution,
}

fn hash(seed: u64, next_hop: &NextHop) -> u64 {
    foldhash::fast::FixedState::with_seed(seed).hash_one(next_hop)
}

impl Hops {
    /// `resolve`: next hops are unreachable until the core says otherwise.
    pub(super) fn new(seed: u64, resolve: bool) -> Hops {
        Hops {
            seed,
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            changed: Vec::new(),
            initial: if resolve {
                Resolution::default()
            } else {
                Resolution::DIRECT
            },
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &Hop {
        self.slots[id as usize]
            .as_ref()
            .expect("an attribute set's next hop is kept while the set is")
    }

    fn slot(&mut self, id: u32) -> &mut Hop {
        self.slots[id as usize]
            .as_mut()
            .expect("an attribute set's next hop is kept while the set is")
    }

    fn find(&self, next_hop: &NextHop) -> Option<u32> {
        let slots = &self.slots;
        self.index
            .find(hash(self.seed, next_hop), |&id| {
                slots[id as usize]
                    .as_ref()
                    .is_some_and(|hop| hop.next_hop == *next_hop)
            })
            .copied()
    }

    /// One attribute set of `source` more names this next hop.
    pub(super) fn acquire(&mut self, next_hop: &NextHop, source: SourceId) -> u32 {
        let id = self.find(next_hop).unwrap_or_else(|| self.add(*next_hop));
        let hop = self.slot(id);
        match hop.users.iter_mut().find(|user| user.0 == source) {
            Some(user) => user.1 += 1,
            None => hop.users.push((source, 1)),
        }
        self.enqueue(id);
        id
    }

    fn add(&mut self, next_hop: NextHop) -> u32 {
        let hop = Some(Hop {
            next_hop,
            resolution: self.initial,
            users: SmallVec::new(),
            told: false,
            queued: false,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = hop;
                id
            }
            None => {
                self.slots.push(hop);
                (self.slots.len() - 1) as u32
            }
        };
        let (seed, slots) = (self.seed, &self.slots);
        self.index.insert_unique(hash(seed, &next_hop), id, |&id| {
            slots[id as usize]
                .as_ref()
                .map_or(0, |hop| hash(seed, &hop.next_hop))
        });
        id
    }

    /// One attribute set of `source` less names it.
    pub(super) fn release(&mut self, id: u32, source: SourceId) {
        let hop = self.slot(id);
        if let Some(at) = hop.users.iter().position(|user| user.0 == source) {
            hop.users[at].1 -= 1;
            if hop.users[at].1 == 0 {
                hop.users.swap_remove(at);
            }
        }
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: u32) {
        let hop = self.slot(id);
        if !hop.queued && hop.told == hop.users.is_empty() {
            hop.queued = true;
            self.changed.push(id);
        }
    }

    /// The next thing the core has to do; at most one for each next hop waits.
    pub(super) fn poll(&mut self) -> Option<NextHopEvent> {
        while let Some(id) = self.changed.pop() {
            let hop = self.slot(id);
            hop.queued = false;
            let (used, told, next_hop) = (!hop.users.is_empty(), hop.told, hop.next_hop);
            hop.told = used;
            if !used {
                self.forget(id);
            }
            match (told, used) {
                (false, true) => return Some(NextHopEvent::Wanted(next_hop)),
                (true, false) => return Some(NextHopEvent::Unused(next_hop)),
                (false, false) | (true, true) => {}
            }
        }
        None
    }

    fn forget(&mut self, id: u32) {
        let hash = hash(self.seed, &self.slot(id).next_hop);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.slots[id as usize] = None;
        self.free.push(id);
    }

    /// Notes a resolution; the next hop and the sources whose paths it concerns, if it is news.
    pub(super) fn set(
        &mut self,
        next_hop: &NextHop,
        resolution: Resolution,
    ) -> Option<(u32, impl Iterator<Item = SourceId> + use<'_>)> {
        let id = self.find(next_hop)?;
        let hop = self.slot(id);
        if hop.resolution == resolution {
            return None;
        }
        hop.resolution = resolution;
        Some((id, hop.users.iter().map(|user| user.0)))
    }

    /// Next hops that only attribute sets of this source name.
    pub(super) fn only_of(&self, source: SourceId) -> impl Iterator<Item = NextHop> + '_ {
        let hops = self.slots.iter().flatten();
        let only = move |hop: &&Hop| matches!(&*hop.users, [(user, _)] if *user == source);
        hops.filter(only).map(|hop| hop.next_hop)
    }

    /// Next hops some attribute set names.
    pub(super) fn used(&self) -> usize {
        let used = |slot: &&Option<Hop>| slot.as_ref().is_some_and(|hop| !hop.users.is_empty());
        self.slots.iter().filter(used).count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NextHop, Resolution)> + '_ {
        self.slots
            .iter()
            .flatten()
            .filter(|hop| !hop.users.is_empty())
            .map(|hop| (hop.next_hop, hop.resolution))
    }
}
