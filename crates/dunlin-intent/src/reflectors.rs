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

/// A Node that may become a reflector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a Arc<str>,
    /// [`place`] of its name.
    pub(crate) place: u64,
    /// Its zone; all Nodes without one share one.
    pub(crate) zone: &'a str,
    pub(crate) fitness: Fitness,
}

/// The first of a zone, by place.
type First<'a> = BTreeSet<(u64, &'a Arc<str>)>;

/// Where a Node of this name stands among those of its zone: lower is first.
pub(crate) fn place(name: &str) -> u64 {
    fixed_hash(name, 0)
}

/// The reflectors among the candidates, at most `count`. One pass over the candidates.
pub(crate) fn choose<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    count: u32,
) -> BTreeSet<Arc<str>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut zones: BTreeMap<(Fitness, &str), First<'_>> = BTreeMap::new();
    for candidate in candidates {
        let key = (candidate.fitness, candidate.zone);
        let first = zones.entry(key).or_default();
        let place = (candidate.place, candidate.name);
        // Of each zone no more than all reflectors can be needed.
        if first.len() < count || first.last().is_some_and(|last| place < *last) {
            first.insert(place);
            if first.len() > count {
                first.pop_last();
            }
        }
    }
    let mut order: Vec<(Fitness, usize, u64, &Arc<str>)> = zones
        .iter()
        .flat_map(|((fitness, _), first)| {
            let turns = first.iter().enumerate();
            turns.map(|(turn, (place, name))| (*fitness, turn, *place, *name))
        })
        .collect();
    order.sort_unstable();
    let chosen = order.into_iter().take(count);
    chosen.map(|(.., name)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
