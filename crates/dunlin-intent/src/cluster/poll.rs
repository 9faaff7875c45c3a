//! What has changed since it was last told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_net::IpNet;

use super::Cluster;
use crate::intent::{Change, LocalIntent, Origination, PeerIntent, PeerKey};

/// What has to be judged again, and what may have to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    // To judge again.
    /// What concerns this node as a whole.
    pub(super) local: bool,
    /// The configuration's problems.
    pub(super) mesh: bool,
    /// Every `BGPPeer` by itself.
    pub(super) selection: bool,
    pub(super) nodes: BTreeSet<Arc<str>>,
    pub(super) configured: BTreeSet<Arc<str>>,
    // To tell.
    pub(super) originations: BTreeSet<IpNet>,
    pub(super) owners: BTreeSet<IpNet>,
    pub(super) protection: BTreeSet<IpNet>,
    pub(super) egress: BTreeSet<IpNet>,
    pub(super) gone_peers: BTreeSet<PeerKey>,
    pub(super) peers: BTreeSet<PeerKey>,
    pub(super) problems: bool,
}

/// What was told last.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) local: Option<Arc<LocalIntent>>,
    pub(super) originations: BTreeMap<IpNet, Origination>,
    pub(super) peers: BTreeMap<PeerKey, Arc<PeerIntent>>,
    synced: bool,
}

impl Cluster {
    /// The next thing that is no longer as it was last told, or `None` when all has been told. What is told first is
    /// what later changes build on: this node, what it originates, who owns what, then peers that go, then peers that
    /// come.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.settle();
        if self.told.local != self.local {
            self.told.local.clone_from(&self.local);
            return Some(Change::LocalChanged(self.local.clone()));
        }
        if let Some(change) = self.next_origination() {
            return Some(change);
        }
        if let Some(net) = self.dirty.owners.pop_first() {
            return Some(Change::OwnerChanged(net));
        }
        if let Some(net) = self.dirty.protection.pop_first() {
            return Some(Change::ProtectionChanged(net));
        }
        if let Some(net) = self.dirty.egress.pop_first() {
            return Some(Change::EgressExclusionChanged(net));
        }
        if std::mem::take(&mut self.ranges.changed) {
            return Some(Change::ServiceRangesChanged);
        }
        if let Some(change) = self.next_peer() {
            return Some(change);
        }
        if std::mem::take(&mut self.dirty.problems) {
            return Some(Change::ProblemsChanged);
        }
        if self.is_synced() && !self.told.synced {
            self.told.synced = true;
            return Some(Change::Synced);
        }
        None
    }

    /// Judges again what has to be.
    pub(super) fn settle(&mut self) {
        let displaced = self.router_ids.settle();
        self.dirty.local |= displaced.contains(&self.own);
        for name in &displaced {
            // What is reflected of a Node's subnets names its router id.
            let subnets = self.nodes.get(name).map(|node| node.subnets.clone());
            self.dirty.owners.extend(subnets.into_iter().flatten());
        }
        self.dirty.nodes.extend(displaced);
        if std::mem::take(&mut self.dirty.local) {
            self.evaluate_local();
        }
        self.settle_topology();
        if !self.dirty.nodes.is_empty() {
            self.settle_told_nodes();
        }
        while let Some(name) = self.dirty.nodes.pop_first() {
            self.evaluate_node(&name);
        }
        self.settle_services();
        if std::mem::take(&mut self.dirty.selection) {
            self.admit_all();
        }
        while let Some(name) = self.dirty.configured.pop_first() {
            self.evaluate_configured(&name);
        }
        if std::mem::take(&mut self.dirty.mesh) {
            self.evaluate_configuration();
        }
    }

    fn next_origination(&mut self) -> Option<Change> {
        while let Some(net) = self.dirty.originations.pop_first() {
            let wanted = self.originations.get(&net);
            if wanted == self.told.originations.get(&net) {
                continue;
            }
            return Some(match wanted {
                Some(origination) => {
                    self.told.originations.insert(net, origination.clone());
                    Change::Originate(net, origination.clone())
                }
                None => {
                    self.told.originations.remove(&net);
                    Change::OriginateGone(net)
                }
            });
        }
        None
    }

    /// Peers that go come first, so that an address is free before another peer takes it.
    fn next_peer(&mut self) -> Option<Change> {
        while let Some(key) = self.dirty.gone_peers.pop_first() {
            if !self.peers.contains_key(&key) && self.told.peers.remove(&key).is_some() {
                return Some(Change::PeerGone(key));
            }
        }
        while let Some(key) = self.dirty.peers.pop_first() {
            let Some(intent) = self.peers.get(&key) else {
                continue;
            };
            if self.told.peers.get(&key) != Some(intent) {
                self.told.peers.insert(key.clone(), intent.clone());
                return Some(Change::PeerWanted(key, intent.clone()));
            }
        }
        None
    }
}
