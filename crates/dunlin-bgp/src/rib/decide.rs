//! The decision process (RFC 4271 9.1.2.2 with RFC 4456 9): which path of a prefix is the best, and which share its traffic.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;

use dunlin_net::{Afi, Family};
use smallvec::SmallVec;

use super::Store;
use super::attrset::DecisionKey;
use super::source::{SourceId, SourceInfo};
use super::table::{NetId, Path, Table};
use crate::policy::{PeerType, RejectReason};

/// The step of the decision process at which a path lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecisionStep {
    /// Another path is originated here.
    LocalOrigin,
    /// It is long-lived stale, and another is not (RFC 9494 4.3).
    LongLivedStale,
    /// Another has a higher LOCAL_PREF (RFC 4271 9.1.1).
    LocalPref,
    /// Another has a shorter AS path (9.1.2.2 a).
    AsPathLength,
    /// Another has a lower ORIGIN (9.1.2.2 b).
    Origin,
    /// Another through the same neighbouring AS has a lower MULTI_EXIT_DISC (9.1.2.2 c).
    Med,
    /// Another was learned from an external peer (9.1.2.2 d).
    ExternalOverInternal,
    /// Another's next hop is nearer (9.1.2.2 e).
    IgpMetric,
    /// Another comes from a lower BGP identifier or ORIGINATOR_ID (9.1.2.2 f, RFC 4456 9).
    RouterId,
    /// Another was reflected fewer times (RFC 4456 9).
    ClusterListLength,
    /// Another comes from a lower peer address (9.1.2.2 g).
    PeerAddress,
    /// Another of the same peer has a lower path identifier (RFC 7911).
    PathIdentifier,
}

/// What is compared of an eligible path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) number: u32,
    pub(super) hop: u32,
    key: DecisionKey,
    local: bool,
    /// Long-lived stale, here or where it came from.
    least: bool,
    external: bool,
    igp_metric: u32,
    router_id: u32,
    peer_addr: IpAddr,
    source: SourceId,
    path_id: u32,
}

impl Candidate {
    /// Whose route it is and where it leads: of paths that agree in both, the first is as good as all.
    pub(super) fn way(&self) -> (u32, u32) {
        (self.router_id, self.hop)
    }

    /// Notes that the path is long-lived stale, if it is.
    pub(super) fn linger(&mut self, long_lived: bool) {
        self.least |= long_lived;
    }
}

pub(super) type Candidates = SmallVec<[Candidate; 4]>;

type Step = (Ordering, DecisionStep);

fn first(steps: &[Step]) -> Option<Step> {
    steps.iter().find(|step| step.0.is_ne()).copied()
}

/// The steps before MULTI_EXIT_DISC; less is better.
fn before_med(a: &Candidate, b: &Candidate) -> Option<Step> {
    let (x, y) = (&a.key, &b.key);
    first(&[
        (b.local.cmp(&a.local), DecisionStep::LocalOrigin),
        (a.least.cmp(&b.least), DecisionStep::LongLivedStale),
        (y.local_pref.cmp(&x.local_pref), DecisionStep::LocalPref),
        (x.path_len.cmp(&y.path_len), DecisionStep::AsPathLength),
        (x.origin.cmp(&y.origin), DecisionStep::Origin),
    ])
}

fn to_igp_metric(a: &Candidate, b: &Candidate) -> Option<Step> {
    first(&[
        (
            b.external.cmp(&a.external),
            DecisionStep::ExternalOverInternal,
        ),
        (a.igp_metric.cmp(&b.igp_metric), DecisionStep::IgpMetric),
    ])
}

fn tie_break(a: &Candidate, b: &Candidate) -> Step {
    let (x, y) = (&a.key, &b.key);
    let address = a.peer_addr.cmp(&b.peer_addr).then(a.source.cmp(&b.source));
    first(&[
        (a.router_id.cmp(&b.router_id), DecisionStep::RouterId),
        (
            x.cluster_len.cmp(&y.cluster_len),
            DecisionStep::ClusterListLength,
        ),
        (address, DecisionStep::PeerAddress),
    ])
    .unwrap_or((a.path_id.cmp(&b.path_id), DecisionStep::PathIdentifier))
}

fn after_med(a: &Candidate, b: &Candidate) -> Step {
    to_igp_metric(a, b).unwrap_or_else(|| tie_break(a, b))
}

/// Whether `a` beats `b` where no path has a MULTI_EXIT_DISC, so that the order is total.
fn beats_without_med(a: &Candidate, b: &Candidate) -> bool {
    before_med(a, b)
        .unwrap_or_else(|| after_med(a, b))
        .0
        .is_lt()
}

/// What became of each candidate: in order of `candidates`, `None` for the best one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranking {
    pub(super) best: Option<usize>,
    /// Where each of the others lost.
    pub(super) lost: SmallVec<[Option<DecisionStep>; 4]>,
}

/// Runs all steps. The result does not depend on the order of the candidates.
pub(super) fn rank(candidates: &[Candidate]) -> Ranking {
    let mut lost = SmallVec::from_elem(None, candidates.len());
    let Some(lead) = candidates.iter().reduce(|a, b| {
        if before_med(b, a).is_some_and(|s| s.0.is_lt()) {
            b
        } else {
            a
        }
    }) else {
        return Ranking { best: None, lost };
    };
    for (at, candidate) in candidates.iter().enumerate() {
        lost[at] = before_med(lead, candidate).map(|step| step.1);
    }
    lose_by_med(candidates, &mut lost);
    let rest: SmallVec<[usize; 4]> = (0..candidates.len())
        .filter(|&at| lost[at].is_none())
        .collect();
    let best = rest.iter().copied().reduce(|a, b| {
        if after_med(&candidates[b], &candidates[a]).0.is_lt() {
            b
        } else {
            a
        }
    });
    if let Some(best) = best {
        for at in rest {
            if at != best {
                lost[at] = Some(after_med(&candidates[best], &candidates[at]).1);
            }
        }
    }
    Ranking { best, lost }
}

/// Takes those out of the race that have a rival through the same neighbouring AS with a lower MULTI_EXIT_DISC.
fn lose_by_med(candidates: &[Candidate], lost: &mut [Option<DecisionStep>]) {
    let mut least: SmallVec<[(u32, u32); 4]> = candidates
        .iter()
        .zip(lost.iter())
        .filter(|(_, lost)| lost.is_none())
        .map(|(candidate, _)| (candidate.key.neighbor_asn, candidate.key.med))
        .collect();
    least.sort_unstable();
    least.dedup_by_key(|entry| entry.0);
    for (candidate, lost) in candidates.iter().zip(lost) {
        let rival = least.binary_search_by_key(&candidate.key.neighbor_asn, |entry| entry.0);
        if lost.is_none() && rival.is_ok_and(|at| least[at].1 < candidate.key.med) {
            *lost = Some(DecisionStep::Med);
        }
    }
}

/// All candidates, the best one first: those that share its traffic next, then those that lost later before those that
/// lost earlier. The order does not depend on that of the candidates.
pub(super) fn by_preference(candidates: &[Candidate]) -> SmallVec<[usize; 4]> {
    let lost = rank(candidates).lost;
    let mut order: SmallVec<[usize; 4]> = (0..candidates.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        // Up to the interior cost all that share the traffic are equal.
        let place = |at: usize| {
            let step = lost[at].map(|step| step.min(DecisionStep::RouterId));
            (step.is_some(), Reverse(step))
        };
        let (x, y) = (&candidates[a], &candidates[b]);
        let step = || before_med(x, y).unwrap_or_else(|| after_med(x, y)).0;
        place(a).cmp(&place(b)).then_with(step)
    });
    order
}

/// Which candidates share the traffic: those that lost to the best one only after the interior cost.
pub(super) fn shares_traffic(lost: Option<DecisionStep>) -> bool {
    lost.is_none_or(|step| step >= DecisionStep::RouterId)
}

impl Store {
    /// Why a path takes no part in the decision.
    pub(super) fn ineligible(&self, path: &Path) -> Option<RejectReason> {
        let set = match path.verdict() {
            Ok(id) => self.attrs.get(id),
            Err(reason) => return Some(reason),
        };
        let local = self.sources.get(path.source).info.is_local();
        (!local && !self.hops.get(set.hop).resolution.reachable)
            .then_some(RejectReason::NextHopUnresolved)
    }

    /// Whether a path takes part in the decision.
    #[inline]
    fn is_eligible(&self, afi: Afi, path: &Path) -> bool {
        let source = self.sources.get(path.source);
        path.used().is_some_and(|used| {
            !self.is_dead(afi, path)
                && (source.info.is_local()
                    || self.hops.get(self.attrs.get(used).hop).resolution.reachable)
        })
    }

    /// Whether a path is long-lived stale and says that it must not be (NO_LLGR, RFC 9494 4.2).
    #[inline]
    pub(super) fn is_not_to_linger(&self, afi: Afi, path: &Path) -> bool {
        self.sources.get(path.source).is_long_lived(afi, path.epoch)
            && self.attrs.get(path.attrs).key.flags & DecisionKey::NO_LLGR != 0
    }

    /// Whether a path is only waiting to be removed.
    #[inline]
    pub(super) fn is_dead(&self, afi: Afi, path: &Path) -> bool {
        self.sources.get(path.source).is_dead(afi, path.epoch) || self.is_not_to_linger(afi, path)
    }

    /// The path as a candidate, if it is eligible.
    #[inline]
    pub(super) fn candidate<F: Family>(
        &self,
        table: &Table<F>,
        number: u32,
        path: &Path,
    ) -> Option<Candidate> {
        if !self.is_eligible(F::AFI, path) {
            return None;
        }
        let set = self.attrs.get(path.used()?);
        let source = self.sources.get(path.source);
        let path_id = table.path_id(number, path);
        let route = (set.hop, set.key, path_id);
        let mut candidate = self.compared(number, (path.source, &source.info), route);
        candidate.linger(source.is_long_lived(F::AFI, path.epoch));
        Some(candidate)
    }

    /// What is compared of a path with these attributes from a source that this is known of.
    #[inline]
    pub(super) fn compared(
        &self,
        number: u32,
        (source, info): (SourceId, &SourceInfo),
        (hop, key, path_id): (u32, DecisionKey, Option<u32>),
    ) -> Candidate {
        let local = info.is_local();
        let resolution = &self.hops.get(hop).resolution;
        Candidate {
            number,
            hop,
            key,
            local,
            least: key.flags & DecisionKey::LLGR_STALE != 0,
            external: !local && info.peer_type == PeerType::External,
            igp_metric: if local { 0 } else { resolution.igp_metric },
            router_id: match key.originator {
                0 => u32::from(info.router_id.0),
                originator => originator,
            },
            peer_addr: info.remote_addr,
            source,
            path_id: path_id.unwrap_or(0),
        }
    }

    pub(super) fn candidates<F: Family>(&self, table: &Table<F>, id: NetId) -> Candidates {
        table
            .paths(id)
            .filter_map(|(number, path)| self.candidate(table, number, path))
            .collect()
    }

    /// The number of the best path, all considered.
    pub(super) fn decide<F: Family>(&self, table: &Table<F>, id: NetId) -> Option<u32> {
        if self.attrs.uses_med() {
            let candidates = self.candidates(table, id);
            return rank(&candidates).best.map(|at| candidates[at].number);
        }
        let mut best: Option<Candidate> = None;
        for (number, path) in table.paths(id) {
            if let Some(candidate) = self.candidate(table, number, path) {
                match &best {
                    Some(lead) if !beats_without_med(&candidate, lead) => {}
                    _ => best = Some(candidate),
                }
            }
        }
        best.map(|lead| lead.number)
    }

    /// The number of the best path after path `number`, not the best one before, was added or changed.
    pub(super) fn decide_about<F: Family>(
        &self,
        table: &Table<F>,
        id: NetId,
        number: u32,
        lead: Option<u32>,
    ) -> Option<u32> {
        if self.attrs.uses_med() {
            return self.decide(table, id);
        }
        if lead.is_none() {
            // No other was eligible.
            let eligible = self.is_eligible(F::AFI, table.path(number));
            return eligible.then_some(number);
        }
        let lead_path = lead.and_then(|lead| self.candidate(table, lead, table.path(lead)));
        match (self.candidate(table, number, table.path(number)), lead_path) {
            (Some(new), Some(lead)) if !beats_without_med(&new, &lead) => Some(lead.number),
            (Some(new), Some(_)) => Some(new.number),
            // A best path that stopped being eligible is found by the sweep that goes on; others may be next.
            (_, None) => self.decide(table, id),
            (None, Some(lead)) => Some(lead.number),
        }
    }
}
