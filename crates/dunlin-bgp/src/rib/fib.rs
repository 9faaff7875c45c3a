//! Loc-RIB as the FIB wants it: what became dirty, and what it should be now.

use smallvec::SmallVec;

use super::Rib;
use super::decide::{Candidate, Candidates, rank, shares_traffic};
use super::source::SourceId;
use super::table::{NetId, RibFamily};
use crate::batch::NextHop;

/// A next hop of a route to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FibNextHop {
    /// The address.
    pub next_hop: NextHop,
    /// The interface the core resolved it to; 0 if that does not matter.
    pub ifindex: u32,
}

/// How a prefix is to be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibRoute {
    /// The best path is originated by this source of ours.
    Local(SourceId),
    /// Over these next hops, ascending; never empty. If it is one, and another path has another, that of the best such path:
    /// where packets go once the one is gone.
    Via(SmallVec<[FibNextHop; 1]>, Option<FibNextHop>),
}

impl Rib {
    /// The next prefix whose forwarding may have changed and how it is to be forwarded now; `None` for a prefix with no
    /// usable path. The answer may equal the one before.
    pub fn poll_fib<F: RibFamily>(&mut self) -> Option<(F::Net, Option<FibRoute>)> {
        let editor = self.editor::<F>();
        let id = editor.table.fib_dirty.pop_first()?;
        let net = editor.table.net(id);
        let route = self.fib_route::<F>(id);
        let editor = self.editor::<F>();
        editor.groups.forget_if_unused(editor.table, id);
        Some((net, route))
    }

    /// Whether [`Rib::poll_fib`] has something to tell.
    pub fn has_fib_changes<F: RibFamily>(&self) -> bool {
        !F::table(&self.tables).fib_dirty.is_empty()
    }

    /// Marks everything for [`Rib::poll_fib`], for a FIB that starts anew.
    pub fn refresh_fib<F: RibFamily>(&mut self) {
        let table = F::table_mut(&mut self.tables);
        let ids: Vec<NetId> = table.ids_from(0).collect();
        for id in ids {
            table.fib_dirty.insert(id);
        }
    }

    pub(super) fn fib_route<F: RibFamily>(&self, id: NetId) -> Option<FibRoute> {
        let table = F::table(&self.tables);
        let best = table.best(id)?;
        if self.store.sources.get(best.source).info.is_local() {
            return Some(FibRoute::Local(best.source));
        }
        let candidates = self.store.candidates(table, id);
        let ranking = rank(&candidates);
        ranking.best?;
        let hops = |candidate: &Candidate| {
            let hop = self.store.hops.get(candidate.hop);
            FibNextHop {
                next_hop: hop.next_hop,
                ifindex: hop.resolution.ifindex,
            }
        };
        let mut order: SmallVec<[usize; 4]> = (0..candidates.len())
            .filter(|&at| shares_traffic(ranking.lost[at]))
            .collect();
        // Where there are more than may be used, the best path is among them whatever the order of arrival.
        order.sort_by_key(|&at| (ranking.lost[at].is_some(), hops(&candidates[at])));
        let mut via: SmallVec<[FibNextHop; 1]> = SmallVec::new();
        for at in order {
            let hop = hops(&candidates[at]);
            if !via.contains(&hop) && via.len() < usize::from(self.store.config.max_ecmp).max(1) {
                via.push(hop);
            }
        }
        via.sort();
        let backup = match &*via {
            [only] if candidates.len() > 1 => {
                let others = candidates.iter().filter(|at| hops(at) != *only);
                let others: Candidates = others.copied().collect();
                rank(&others).best.map(|at| hops(&others[at]))
            }
            _ => None,
        };
        Some(FibRoute::Via(via, backup))
    }
}
