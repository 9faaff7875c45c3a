//! Looking into the RIB: what is known of a prefix, what became of it, and why.

use std::collections::BTreeMap;

use dunlin_net::{Afi, Family, IpNet, PerFamily};

use super::Rib;
use super::decide::{DecisionStep, rank, shares_traffic};
use super::fib::FibRoute;
use super::hops::Resolution;
use super::source::{SourceId, SourceInfo};
use super::table::{NetId, Path, RibFamily};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::RejectReason;

/// One prefix and its paths.
#[derive(Clone, Debug)]
pub struct PrefixView<'a, F: Family> {
    /// The prefix.
    pub net: F::Net,
    /// Its paths: the best one first, the others by source and identifier.
    pub paths: Vec<PathView<'a>>,
    /// How it is forwarded.
    pub route: Option<FibRoute>,
}

/// One path of a prefix.
#[derive(Clone, Debug)]
pub struct PathView<'a> {
    /// Where it came from.
    pub source: SourceId,
    /// What is known of that.
    pub info: &'a SourceInfo,
    /// The identifier it came with (RFC 7911), if its session carries them.
    pub path_id: Option<u32>,
    /// The attributes as they came.
    pub received: Attrs<'a>,
    /// The attributes after import policy, or why it is not used.
    pub used: Result<Attrs<'a>, RejectReason>,
    /// The next hop.
    pub next_hop: NextHop,
    /// Kept while its source restarts (RFC 4724).
    pub stale: bool,
    /// Kept beyond the restart time (RFC 9494), and preferred least.
    pub long_lived: bool,
    /// The best path.
    pub best: bool,
    /// Packets are sent this way: the best path, and those that share the traffic with it.
    pub forwarding: bool,
    /// Where the decision process put it behind another; `None` for the best path and those that took no part.
    pub lost: Option<DecisionStep>,
}

/// Sizes of a RIB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RibCounts {
    /// Prefixes something is known of.
    pub prefixes: PerFamily<usize>,
    /// Paths in Adj-RIB-In.
    pub paths: PerFamily<u32>,
    /// Distinct attribute sets.
    pub attribute_sets: usize,
    /// Distinct next hops.
    pub next_hops: usize,
}

impl Rib {
    /// How much it holds.
    pub fn counts(&self) -> RibCounts {
        let (v4, v6) = (&self.tables.v4, &self.tables.v6);
        RibCounts {
            prefixes: PerFamily {
                v4: v4.len(),
                v6: v6.len(),
            },
            paths: PerFamily {
                v4: v4.path_count(),
                v6: v6.path_count(),
            },
            attribute_sets: self.store.attrs.len(),
            next_hops: self.store.hops.used(),
        }
    }

    /// The next hops in use and what is known of them, ascending.
    pub fn next_hops(&self) -> Vec<(NextHop, Resolution)> {
        let mut hops: Vec<_> = self.store.hops.iter().collect();
        hops.sort_unstable_by_key(|hop| hop.0);
        hops
    }

    /// The next hops that only paths of this source name: without it nothing leads to them.
    pub fn next_hops_only_of(&self, source: SourceId) -> impl Iterator<Item = NextHop> + '_ {
        self.store.hops.only_of(source)
    }

    /// What is known of exactly this prefix.
    pub fn lookup<F: RibFamily>(&self, net: F::Net) -> Option<PrefixView<'_, F>> {
        let id = F::table(&self.tables).find(net)?;
        self.known::<F>(id)
    }

    /// What is known of the longest prefix with a path that holds an address.
    pub fn longest_match<F: RibFamily>(&self, addr: F::Addr) -> Option<PrefixView<'_, F>> {
        let table = F::table(&self.tables);
        (0..=F::BITS)
            .rev()
            .filter(|&len| table.has_length(len))
            .filter_map(|len| table.find(F::net(addr, len)?))
            .find_map(|id| self.known::<F>(id))
    }

    /// Prefixes within `net`, it among them, in order, at most `limit`.
    pub fn covered<F: RibFamily>(&self, net: F::Net, limit: usize) -> Vec<PrefixView<'_, F>> {
        let table = F::table(&self.tables);
        let within = |id: &NetId| {
            let other = table.net(*id);
            F::len(other) >= F::len(net) && F::net(F::addr(other), F::len(net)) == Some(net)
        };
        let mut ids: Vec<NetId> = table.ids_from(0).filter(within).collect();
        ids.sort_unstable_by_key(|&id| table.net(id));
        ids.truncate(limit);
        ids.into_iter()
            .filter_map(|id| self.known::<F>(id))
            .collect()
    }

    /// Up to `limit` prefixes from a cursor on, 0 first, in no order of prefixes; and the cursor to go on with. What
    /// changes between calls may be seen or not.
    pub fn scan<F: RibFamily>(
        &self,
        cursor: u32,
        limit: usize,
    ) -> (Vec<PrefixView<'_, F>>, Option<u32>) {
        let table = F::table(&self.tables);
        let mut ids = table.ids_from(cursor);
        let views: Vec<_> = ids
            .by_ref()
            .filter_map(|id| self.known::<F>(id))
            .take(limit)
            .collect();
        let next = views
            .last()
            .filter(|_| views.len() == limit)
            .and_then(|view| table.find(view.net))
            .map(|id| id + 1);
        (views, next)
    }

    /// How many paths of a source import policy rejected, by reason, in order of reasons. Goes over the source's part of
    /// the table.
    pub fn rejected(&self, source: SourceId, afi: Afi) -> Vec<(RejectReason, u32)> {
        match afi {
            Afi::Ipv4 => self.rejected_of::<dunlin_net::V4>(source),
            Afi::Ipv6 => self.rejected_of::<dunlin_net::V6>(source),
        }
    }

    fn rejected_of<F: RibFamily>(&self, source: SourceId) -> Vec<(RejectReason, u32)> {
        let mut counts = BTreeMap::new();
        let table = F::table(&self.tables);
        let Some(slot) = self.store.sources.find(source) else {
            return Vec::new();
        };
        for block in slot.blocks(F::AFI) {
            for id in table.block(block) {
                let paths = table.paths(id).filter(|(_, path)| path.source == source);
                for reason in paths.filter_map(|(_, path)| path.verdict().err()) {
                    *counts.entry(reason).or_insert(0) += 1;
                }
            }
        }
        counts.into_iter().collect()
    }

    /// Whether each usable route of a source has also come, fresh and usable, from another source that `stays` for it, but for
    /// those that need not have (`exempt`). Goes over the source's part of the table.
    pub fn is_covered(
        &self,
        source: SourceId,
        stays: impl Fn(SourceId, IpNet) -> bool,
        exempt: impl Fn(IpNet) -> bool,
    ) -> bool {
        self.is_covered_of::<dunlin_net::V4>(source, &stays, &exempt)
            && self.is_covered_of::<dunlin_net::V6>(source, &stays, &exempt)
    }

    fn is_covered_of<F: RibFamily>(
        &self,
        source: SourceId,
        stays: &impl Fn(SourceId, IpNet) -> bool,
        exempt: &impl Fn(IpNet) -> bool,
    ) -> bool {
        let table = F::table(&self.tables);
        let Some(slot) = self.store.sources.find(source) else {
            return true;
        };
        let usable = |path: &Path| {
            !self.store.is_dead(F::AFI, path) && self.store.ineligible(path).is_none()
        };
        let fresh = |path: &Path| {
            let source = self.store.sources.get(path.source);
            path.epoch == *source.epoch.get(F::AFI)
        };
        let mut ids = slot.blocks(F::AFI).flat_map(|block| table.block(block));
        ids.all(|id| {
            let mut own = table.paths(id).map(|(_, path)| path);
            if !own.any(|path| path.source == source && usable(path)) {
                return true;
            }
            let net = table.net(id).into();
            let mut others = table.paths(id).map(|(_, path)| path);
            others.any(|path| {
                let stays = path.source != source && stays(path.source, net);
                stays && fresh(path) && usable(path)
            }) || exempt(net)
        })
    }

    fn known<F: RibFamily>(&self, id: NetId) -> Option<PrefixView<'_, F>> {
        let table = F::table(&self.tables);
        if table.is_bare(id) {
            return None;
        }
        let candidates = self.store.candidates(table, id);
        let ranking = rank(&candidates);
        let at: BTreeMap<u32, usize> = (0..candidates.len())
            .map(|at| (candidates[at].number, at))
            .collect();
        let mut paths: Vec<PathView<'_>> = Vec::new();
        for (number, path) in table.paths(id) {
            let source = self.store.sources.get(path.source);
            if self.store.is_dead(F::AFI, path) {
                continue;
            }
            let place = at.get(&number).copied();
            let lost = place.and_then(|at| ranking.lost[at]);
            let hop = self.store.attrs.get(path.used().unwrap_or(path.attrs)).hop;
            paths.push(PathView {
                source: path.source,
                info: &source.info,
                path_id: table.path_id(number, path),
                received: self.store.attrs.attrs(path.attrs),
                used: match self.store.ineligible(path) {
                    None => Ok(self.store.attrs.attrs(path.used().unwrap_or(path.attrs))),
                    Some(reason) => Err(reason),
                },
                next_hop: self.store.hops.get(hop).next_hop,
                stale: path.epoch != *source.epoch.get(F::AFI),
                long_lived: source.is_long_lived(F::AFI, path.epoch),
                best: path.is_best(),
                forwarding: place.is_some_and(|at| shares_traffic(ranking.lost[at])),
                lost,
            });
        }
        paths.sort_by_key(|path| (!path.best, path.source, path.path_id));
        Some(PrefixView {
            net: table.net(id),
            paths,
            route: self.fib_route::<F>(id),
        })
    }
}
