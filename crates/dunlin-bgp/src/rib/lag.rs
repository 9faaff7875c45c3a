//! Members of an export group that do not keep its pace: newcomers, slow ones, ones that asked for a refresh. Each has
//! its own dirty set over the entries of the group's Adj-RIB-Out, two bits each, until it has caught up.

use super::dirty::IdSet;

/// What one member was not told of one family.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Prefixes about which it has to be told.
    dirty: IdSet,
    /// Of these and the held ones, those it was told of before and may have to be told to forget.
    told: IdSet,
    /// Prefixes to withdraw once the restart gate opens.
    held: IdSet,
}

impl Lag {
    /// A prefix the member never heard of.
    pub(super) fn untold(&mut self, id: u32) {
        self.dirty.insert(id);
    }

    /// The group was told something else about a prefix; `saw` is whether the member was told of it until now if it was
    /// in pace about this prefix.
    pub(super) fn changed(&mut self, id: u32, saw: bool) {
        let was_held = self.held.remove(id);
        if self.dirty.insert(id) && !was_held && saw {
            self.told.insert(id);
        }
    }

    /// Takes the next prefix from `from` on; and whether the member was told of it before.
    pub(super) fn take(&mut self, from: u32) -> Option<(u32, bool)> {
        let id = self.dirty.next(from)?;
        self.dirty.remove(id);
        Some((id, self.told.remove(id)))
    }

    /// A prefix taken is not told yet after all.
    pub(super) fn put_back(&mut self, id: u32, told: bool) {
        self.dirty.insert(id);
        if told {
            self.told.insert(id);
        }
    }

    /// A prefix taken is to be withdrawn once the gate opens.
    pub(super) fn hold(&mut self, id: u32) {
        self.held.insert(id);
        self.told.insert(id);
    }

    /// The member comes from another group and was told of it there: it has to be told to forget it once the group
    /// has looked at it and not told it.
    pub(super) fn told_before(&mut self, id: u32) {
        if !self.dirty.contains(id) {
            self.held.insert(id);
        }
        self.told.insert(id);
    }

    /// Whether the member was told of it, if it is told nothing of it now.
    pub(super) fn was_told(&self, id: u32) -> bool {
        self.told.contains(id)
    }

    /// Whether something waits for what is not to be told at once.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// The gate opened.
    pub(super) fn release_held(&mut self) {
        for id in self.held.take().iter() {
            self.dirty.insert(id);
        }
    }

    pub(super) fn holds(&self, id: u32) -> bool {
        self.dirty.contains(id) || self.held.contains(id)
    }

    /// Whether nothing can be told now.
    pub(super) fn is_quiet(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Whether the member has caught up.
    pub(super) fn is_over(&self) -> bool {
        self.dirty.is_empty() && self.held.is_empty()
    }

    /// All prefixes it holds.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.dirty.iter().chain(self.held.iter())
    }
}
