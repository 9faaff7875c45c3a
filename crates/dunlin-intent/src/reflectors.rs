//! Which nodes reflect routes for all others (RFC 4456): a pure function of the Nodes.
//!
//! Every agent computes the same set from the same list, without asking anybody. A Node's place in the order of its zone is
//! a fixed hash of its name, and zones take turns: the first of each zone, then the second of each. A change of one Node
//! moves at most one reflector, and a Node that comes or goes anywhere else moves none.
//!
//! A Node that is not Ready is taken only when there are not enough of the others. So a zone that fails is left at
//! once, while an API server that loses sight of all Nodes, and calls each of them not Ready in turn, ends with the set it
//! began with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fixed_hash::fixed_hash;

/// The label of a Node that says its zone.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// How many reflectors there are unless said otherwise: one may be away for an upgrade while another fails.
pub(crate) const DEFAULT_REFLECTORS: u32 = 3;

/// The most reflectors: each of them tells every node every route.
pub(crate) const MAX_REFLECTORS: u32 = 32;

/// How fit a Node is, the fittest first. The less fit are taken only where the fitter do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// Ready, and to stay.
    Fit,
    /// Cordoned or being drained: about to go.
    Leaving,
    /// Not Ready: its agent may not run.
    NotReady,
}

/// A Node that may become a reflector, beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// [`place`] of its name.
    pub(crate) place: u64,
    /// Its zone; all Nodes without one share one.
    pub(crate) zone: String,
    pub(crate) fitness: Fitness,
}

/// Where a Node of this name stands among those of its zone: lower is first.
pub(crate) fn place(name: &str) -> u64 {
    fixed_hash(name, 0)
}

/// The candidates of a zone that are alike fit, by place.
type Zone = BTreeSet<(u64, Arc<str>)>;

/// The candidates in their order. To choose costs the zones, however many Nodes there are: one that changes is moved, and
/// nobody else is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranking {
    /// By fitness, then zone.
    zones: BTreeMap<Fitness, BTreeMap<String, Zone>>,
}

impl Ranking {
    pub(crate) fn insert(&mut self, name: &Arc<str>, candidate: Candidate) {
        let zones = self.zones.entry(candidate.fitness).or_default();
        let zone = zones.entry(candidate.zone).or_default();
        zone.insert((candidate.place, name.clone()));
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>, candidate: &Candidate) {
        let Some(zones) = self.zones.get_mut(&candidate.fitness) else {
            return;
        };
        if let Some(zone) = zones.get_mut(&candidate.zone) {
            zone.remove(&(candidate.place, name.clone()));
            if zone.is_empty() {
                zones.remove(&candidate.zone);
            }
        }
    }

    /// The reflectors among the candidates: so many, or all if there are no more.
    pub(crate) fn choose(&self, count: u32) -> BTreeSet<Arc<str>> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut chosen = BTreeSet::new();
        for zones in self.zones.values() {
            let left = count - chosen.len();
            if left == 0 {
                break;
            }
            // Of each zone no more than all that are left can be needed.
            let first = zones.values().flat_map(|zone| {
                let turns = zone.iter().take(left).enumerate();
                turns.map(|(turn, (place, name))| (turn, *place, name))
            });
            let mut order: Vec<(usize, u64, &Arc<str>)> = first.collect();
            order.sort_unstable();
            let taken = order.into_iter().take(left);
            chosen.extend(taken.map(|(.., name)| name.clone()));
        }
        chosen
    }
}

#[cfg(test)]
mod tests;
