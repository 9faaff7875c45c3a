//! Router ids: a pure function of the Nodes.
//!
//! A Node's id is its first IPv4 InternalIP, else a fixed hash of its name. Of several Nodes with the same id the first by
//! name keeps it; each other takes, in order of name, the first hash of its name and a counter that is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use dunlin_net::RouterId;

use crate::few::Few;
use crate::fixed_hash::fixed_hash;

#[derive(Clone, Debug, Default)]
pub(crate) struct RouterIds {
    of: BTreeMap<Arc<str>, RouterId>,
    holders: BTreeMap<RouterId, Few<Arc<str>>>,
    /// Ids that more than one Node has by itself.
    crowded: BTreeSet<RouterId>,
    /// The ids of Nodes that had to give way.
    displaced: BTreeMap<Arc<str>, RouterId>,
    stale: bool,
}

impl RouterIds {
    /// Says a Node's first IPv4 InternalIP; `None` for the outer option means that the Node is gone.
    pub(crate) fn set(&mut self, name: &Arc<str>, node: Option<Option<Ipv4Addr>>) {
        let own = node.map(|addr| addr.map_or_else(|| hashed(name, 0), RouterId));
        if self.of.get(name).copied() == own {
            return;
        }
        if let Some(before) = self.of.remove(name)
            && let Some(holders) = self.holders.get_mut(&before)
        {
            holders.remove(name);
            if holders.len() < 2 {
                self.crowded.remove(&before);
            }
            if holders.is_empty() {
                self.holders.remove(&before);
            }
        }
        if let Some(own) = own {
            self.of.insert(name.clone(), own);
            let holders = self.holders.entry(own).or_default();
            holders.insert(name.clone(), ());
            if holders.len() > 1 {
                self.crowded.insert(own);
            }
        }
        self.stale = true;
    }

    /// Settles collisions; returns the Nodes whose id was or is another than their own.
    pub(crate) fn settle(&mut self) -> BTreeSet<Arc<str>> {
        if !std::mem::take(&mut self.stale)
            || (self.crowded.is_empty() && self.displaced.is_empty())
        {
            return BTreeSet::new();
        }
        let giving_way: BTreeSet<Arc<str>> = self
            .crowded
            .iter()
            .filter_map(|id| self.holders.get(id))
            .flat_map(|holders| holders.keys().skip(1).cloned())
            .collect();
        let mut taken = BTreeSet::new();
        let mut displaced = BTreeMap::new();
        for name in giving_way {
            let free = (1..=u32::MAX)
                .map(|attempt| hashed(&name, attempt))
                .find(|id| !self.holders.contains_key(id) && !taken.contains(id));
            if let Some(id) = free {
                taken.insert(id);
                displaced.insert(name, id);
            }
        }
        let before = std::mem::replace(&mut self.displaced, displaced);
        before
            .into_keys()
            .chain(self.displaced.keys().cloned())
            .collect()
    }

    /// A Node's router id. Settle first.
    pub(crate) fn get(&self, name: &str) -> Option<RouterId> {
        self.displaced
            .get(name)
            .or_else(|| self.of.get(name))
            .copied()
    }

    /// The Node that keeps the id which this Node would have, and that id, if it had to give way.
    pub(crate) fn collision(&self, name: &str) -> Option<(RouterId, &Arc<str>)> {
        if !self.displaced.contains_key(name) {
            return None;
        }
        let own = self.of.get(name)?;
        Some((*own, self.holders.get(own)?.first()?))
    }
}

/// The [`fixed_hash`] cut to 30 bits, within 128.0.0.0/2: some speakers refuse identifiers that are no unicast address.
fn hashed(name: &str, attempt: u32) -> RouterId {
    let [a, b, c, d, ..] = fixed_hash(name, attempt).to_be_bytes();
    RouterId(Ipv4Addr::new(0x80 | (a & 0x3f), b, c, d))
}

#[cfg(test)]
mod tests;
