//! Elements that are there as long as something uses them.

use std::collections::{BTreeMap, BTreeSet};

/// By what they are of.
#[derive(Debug)]
pub(super) struct Uses<K> {
    of: BTreeMap<K, Use>,
    /// Those whose element may not be as it should.
    stirred: BTreeSet<K>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    uses: u32,
    has: bool,
}

impl<K> Default for Uses<K> {
    fn default() -> Uses<K> {
        Uses {
            of: BTreeMap::new(),
            stirred: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Uses<K> {
    /// One use more, or one less.
    pub(super) fn count(&mut self, key: K, more: bool) {
        let one = self.of.entry(key).or_default();
        one.uses = match more {
            true => one.uses.saturating_add(1),
            false => one.uses.saturating_sub(1),
        };
        self.settle(key);
    }

    /// The kernel has its element, or not.
    pub(super) fn set(&mut self, key: K, has: bool) {
        self.of.entry(key).or_default().has = has;
        self.settle(key);
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.of.get(key).is_some_and(|one| one.has)
    }

    /// The kernel has none of them.
    pub(super) fn has_nothing(&mut self) {
        for one in self.of.values_mut() {
            one.has = false;
        }
        self.settle_all();
    }

    /// All uses will be counted again, and then [`Uses::settle_all`].
    pub(super) fn count_anew(&mut self) {
        for one in self.of.values_mut() {
            one.uses = 0;
        }
    }

    pub(super) fn settle_all(&mut self) {
        self.of.retain(|_, one| one.uses > 0 || one.has);
        let stirred = self.of.iter().filter(|(_, one)| one.is_stirred());
        self.stirred = stirred.map(|(key, _)| *key).collect();
    }

    fn settle(&mut self, key: K) {
        let one = self.of.get(&key).copied().unwrap_or_default();
        if one.is_stirred() {
            self.stirred.insert(key);
        } else {
            self.stirred.remove(&key);
        }
        if one.uses == 0 && !one.has {
            self.of.remove(&key);
        }
    }

    /// Used, and not there.
    pub(super) fn lacking(&self) -> impl Iterator<Item = K> + '_ {
        self.stirred.iter().copied().filter(|key| !self.has(key))
    }

    /// There, and not used.
    pub(super) fn idle(&self) -> impl Iterator<Item = K> + '_ {
        self.stirred.iter().copied().filter(|key| self.has(key))
    }

    /// Those that are there.
    pub(super) fn all(&self) -> impl Iterator<Item = K> + '_ {
        self.of
            .iter()
            .filter(|(_, one)| one.has)
            .map(|(key, _)| *key)
    }

    /// Whether those are there that are used, and no others.
    pub(super) fn is_settled(&self) -> bool {
        self.stirred.is_empty()
    }
}

impl Use {
    fn is_stirred(self) -> bool {
        (self.uses > 0) != self.has
    }
}
