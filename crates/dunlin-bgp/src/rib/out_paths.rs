//! Adj-RIB-Out of a group that is told several paths of a prefix (RFC 7911): which path of which prefix each entry is.
//!
//! Where one path is told, the number of the prefix is the number of the entry and none of this is there.

use dunlin_net::Family;

use super::segvec::SegVec;
use super::table::{NONE, NetId, Table};

/// An entry: 16 octets.
#[derive(Debug, Clone, Copy)]
struct Entry {
    net: NetId,
    path_id: u32,
    /// The next entry of the prefix, or the next free one.
    next: u32,
    /// Taken into a change that is not encoded yet.
    pending: bool,
}

/// The entries of one family.
#[derive(Debug)]
pub(super) struct OutPaths {
    entries: SegVec<Entry>,
    /// The first entry of each prefix.
    heads: SegVec<u32>,
    free: u32,
}

impl Default for OutPaths {
    fn default() -> OutPaths {
        OutPaths {
            entries: SegVec::default(),
            heads: SegVec::default(),
            free: NONE,
        }
    }
}

impl OutPaths {
    fn head(&self, net: NetId) -> u32 {
        if net < self.heads.len() {
            *self.heads.get(net)
        } else {
            NONE
        }
    }

    /// The entries of a prefix with their path identifiers, in no order.
    pub(super) fn of(&self, net: NetId) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = self.head(net);
        std::iter::from_fn(move || {
            let id = (at != NONE).then_some(at)?;
            let entry = self.entries.get(id);
            at = entry.next;
            Some((id, entry.path_id))
        })
    }

    /// Whether a prefix has no entry.
    pub(super) fn is_bare(&self, net: NetId) -> bool {
        self.head(net) == NONE
    }

    /// Adds an entry that is not there.
    pub(super) fn add(&mut self, net: NetId, path_id: u32) -> u32 {
        self.heads.grow_to(net + 1, NONE);
        let entry = Entry {
            net,
            path_id,
            next: *self.heads.get(net),
            pending: false,
        };
        let id = if self.free == NONE {
            self.entries.push(entry)
        } else {
            let id = self.free;
            self.free = self.entries.get(id).next;
            *self.entries.get_mut(id) = entry;
            id
        };
        *self.heads.get_mut(net) = id;
        id
    }

    /// Gives back an entry that nobody holds; the prefix it was of.
    pub(super) fn remove(&mut self, id: u32) -> NetId {
        let Entry { net, next, .. } = *self.entries.get(id);
        if *self.heads.get(net) == id {
            *self.heads.get_mut(net) = next;
        } else {
            let mut at = *self.heads.get(net);
            while at != NONE {
                let entry = self.entries.get_mut(at);
                at = entry.next;
                if at == id {
                    entry.next = next;
                    break;
                }
            }
        }
        let entry = self.entries.get_mut(id);
        // No entry in use is of this prefix: giving it back twice does nothing.
        (entry.net, entry.next) = (NONE, self.free);
        self.free = id;
        net
    }

    /// Whether an entry stands for a path, and no change about it waits.
    pub(super) fn is_settled(&self, id: u32) -> bool {
        let entry = self.entries.get(id);
        entry.net != NONE && !entry.pending
    }

    pub(super) fn set_pending(&mut self, id: u32, pending: bool) {
        self.entries.get_mut(id).pending = pending;
    }

    /// What an entry says in an UPDATE.
    pub(super) fn told<F: Family>(&self, id: u32, table: &Table<F>) -> (u32, F::Net) {
        let entry = self.entries.get(id);
        (entry.path_id, table.net(entry.net))
    }

    /// The path identifier of an entry in use.
    pub(super) fn path_id(&self, id: u32) -> u32 {
        self.entries.get(id).path_id
    }

    /// The prefix of an entry in use.
    pub(super) fn net(&self, id: u32) -> NetId {
        self.entries.get(id).net
    }

    /// The prefixes that have entries.
    pub(super) fn nets(&self) -> impl Iterator<Item = NetId> + '_ {
        (0..self.heads.len()).filter(|&net| *self.heads.get(net) != NONE)
    }
}
