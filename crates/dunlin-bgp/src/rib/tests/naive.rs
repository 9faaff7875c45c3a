//! The same rules as the RIB's, written the plain way: maps of everything, recomputed from nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_net::{IpNet, RouterId};

use super::world::{Facts, US, router_id};
use crate::attrs::{Attrs, Digest, WellKnown, apply_edits};
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::rib::{GroupKey, MAX_PATHS_OF_SOURCE, MAX_PATHS_TOLD, Resolution, SourceId, SourceInfo};
use crate::wire::{Outgoing, Reflection};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) bytes: Vec<u8>,
    pub(super) next_hop: NextHop,
    pub(super) stale: bool,
}

pub(super) type RouteKey = (IpNet, SourceId, Option<u32>);

#[derive(Debug, Default, Clone)]
pub(super) struct Naive {
    pub(super) sources: BTreeMap<SourceId, SourceInfo>,
    /// By prefix, source, and the path identifier of those that have one.
    pub(super) routes: BTreeMap<RouteKey, Route>,
    pub(super) hops: BTreeMap<NextHop, Resolution>,
}

#[derive(Debug, Clone)]
pub(super) struct Best {
    pub(super) source: SourceId,
    pub(super) path_id: Option<u32>,
    pub(super) bytes: Vec<u8>,
    pub(super) next_hop: NextHop,
    pub(super) ecmp: BTreeSet<NextHop>,
    /// Whose it is: ORIGINATOR_ID or the router id of the peer.
    pub(super) originator: RouterId,
}

/// A path that can be used.
struct Entry<'a> {
    source: SourceId,
    path_id: Option<u32>,
    info: &'a SourceInfo,
    digest: Digest,
    bytes: Vec<u8>,
    next_hop: NextHop,
    metric: u32,
    /// After so many steps it was still in the race.
    left_for: u8,
}

impl Entry<'_> {
    /// What is compared up to the interior cost, without MULTI_EXIT_DISC; less is better.
    fn key(&self) -> (bool, Reverse<u32>, u16, u8, bool, u32) {
        (
            !self.info.is_local(),
            Reverse(self.digest.local_pref.unwrap_or(100)),
            self.digest.as_path_len,
            self.digest.origin as u8,
            self.info.is_local() || self.info.peer_type == PeerType::Internal,
            self.metric,
        )
    }

    /// What breaks ties.
    fn tie(&self) -> (RouterId, u16, IpAddr, SourceId, Option<u32>) {
        let digest = &self.digest;
        let (reflected, addr) = (digest.cluster_list_len, self.info.remote_addr);
        (
            self.originator(),
            reflected,
            addr,
            self.source,
            self.path_id,
        )
    }

    fn originator(&self) -> RouterId {
        self.digest.originator_id.unwrap_or(self.info.router_id)
    }
}

impl Best {
    fn way(&self) -> (RouterId, NextHop) {
        (self.originator, self.next_hop)
    }
}

impl Naive {
    /// Takes a route, unless the source has as many paths of the prefix as are taken.
    pub(super) fn announce(&mut self, key: RouteKey, route: Route) {
        let fresh = |key: &RouteKey| self.routes.get(key).is_some_and(|route| !route.stale);
        let others = self.routes.keys().filter(|k| (k.0, k.1) == (key.0, key.1));
        let full = others.filter(|k| fresh(k)).count() >= MAX_PATHS_OF_SOURCE;
        if key.2.is_none() || fresh(&key) || !full {
            self.routes.insert(key, route);
        }
    }

    /// The attributes import makes of a route.
    pub(super) fn accepted(&self, facts: &Facts, key: RouteKey) -> Option<Vec<u8>> {
        let (net, source, _) = key;
        let route = &self.routes[&key];
        let info = &self.sources[&source];
        let attrs = Attrs::new(&route.bytes);
        if info.is_local() {
            return Some(route.bytes.clone());
        }
        if attrs.as_path().contains(US) {
            return None;
        }
        if info.peer_type == PeerType::Internal
            && (attrs.originator_id() == Some(router_id(254))
                || attrs.cluster_list().any(|id| id == router_id(254)))
        {
            return None;
        }
        if facts.import_rejects.contains(&net) {
            return None;
        }
        Some(if facts.import_edits.contains(&net) {
            apply_edits(attrs, &facts.prefer)
        } else {
            route.bytes.clone()
        })
    }

    pub(super) fn best(&self, facts: &Facts, net: IpNet) -> Option<Best> {
        self.best_without(facts, net, None)
    }

    /// The best one if this next hop were gone.
    pub(super) fn best_without(
        &self,
        facts: &Facts,
        net: IpNet,
        gone: Option<NextHop>,
    ) -> Option<Best> {
        self.ranked_without(facts, net, gone).into_iter().next()
    }

    /// All paths that can be used: those first that were left longer when paths were struck out step by step, and of those
    /// that went together the ones that are better by all steps but MULTI_EXIT_DISC.
    fn ranked(&self, facts: &Facts, net: IpNet) -> Vec<Best> {
        self.ranked_without(facts, net, None)
    }

    fn ranked_without(&self, facts: &Facts, net: IpNet, gone: Option<NextHop>) -> Vec<Best> {
        let all = (net, SourceId(0), None)..=(net, SourceId(u16::MAX), Some(u32::MAX));
        let entries = self.routes.range(all).filter_map(|(&key, route)| {
            let bytes = self.accepted(facts, key)?;
            let info = &self.sources[&key.1];
            let hop = self.hops.get(&route.next_hop).copied().unwrap_or_default();
            let digest = Digest::of(Attrs::new(&bytes));
            let usable = hop.reachable && gone != Some(route.next_hop);
            (info.is_local() || usable).then(|| Entry {
                source: key.1,
                path_id: key.2,
                info,
                digest,
                bytes,
                next_hop: route.next_hop,
                metric: if info.is_local() { 0 } else { hop.igp_metric },
                left_for: 0,
            })
        });
        let mut entries: Vec<Entry<'_>> = entries.collect();
        let mut keep = |still: &dyn Fn(&Entry<'_>, &Entry<'_>) -> bool| {
            let left = entries.iter().map(|e| e.left_for).max();
            let in_race: Vec<usize> = (0..entries.len())
                .filter(|&at| Some(entries[at].left_for) == left)
                .collect();
            let stays = |&at: &usize| {
                in_race
                    .iter()
                    .all(|&other| still(&entries[at], &entries[other]))
            };
            let staying: Vec<usize> = in_race.iter().copied().filter(stays).collect();
            for at in staying {
                entries[at].left_for += 1;
            }
        };
        keep(&|a, b| a.key().0 <= b.key().0);
        keep(&|a, b| a.key().1 <= b.key().1);
        keep(&|a, b| a.key().2 <= b.key().2);
        keep(&|a, b| a.key().3 <= b.key().3);
        keep(&|a, b| {
            let med = |e: &Entry<'_>| e.digest.med.unwrap_or(0);
            a.digest.neighbour_as != b.digest.neighbour_as || med(a) <= med(b)
        });
        keep(&|a, b| a.key().4 <= b.key().4);
        keep(&|a, b| a.key().5 <= b.key().5);
        entries.sort_by_key(|e| (Reverse(e.left_for), e.key(), e.tie()));
        let ecmp: BTreeSet<NextHop> = entries
            .iter()
            .filter(|e| e.left_for == entries[0].left_for)
            .map(|e| e.next_hop)
            .collect();
        let best = |e: Entry<'_>| Best {
            source: e.source,
            path_id: e.path_id,
            originator: e.originator(),
            bytes: e.bytes,
            next_hop: e.next_hop,
            ecmp: ecmp.clone(),
        };
        entries.into_iter().map(best).collect()
    }

    /// What a member of a group with `key` is told of a prefix; `own` is what it is as a source.
    pub(super) fn told(
        &self,
        facts: &Facts,
        key: &GroupKey,
        own: Option<SourceId>,
        net: IpNet,
        encode: impl FnOnce(&Outgoing<'_>) -> (Vec<u8>, NextHop),
    ) -> Option<(Vec<u8>, NextHop)> {
        let best = self.best(facts, net)?;
        self.told_path(facts, key, own, (net, &best), encode)
    }

    /// What a member of a group that is told several paths is told of a prefix. The plain way to rank paths: the best, then
    /// the best of what is left.
    pub(super) fn told_paths(
        &self,
        facts: &Facts,
        key: &GroupKey,
        own: Option<SourceId>,
        net: IpNet,
        encode: impl Fn(&Outgoing<'_>) -> (Vec<u8>, NextHop),
    ) -> Vec<(Vec<u8>, NextHop)> {
        let mut told = Vec::new();
        let mut counted = 0;
        let mut ways = BTreeSet::new();
        for best in self.ranked(facts, net) {
            // What the group is told counts for all its members.
            let to_all = self.told_path(facts, key, None, (net, &best), &encode);
            if to_all.is_none() || counted == MAX_PATHS_TOLD || ways.contains(&best.way()) {
                continue;
            }
            ways.insert(best.way());
            counted += 1;
            told.extend(self.told_path(facts, key, own, (net, &best), &encode));
        }
        told.sort();
        told
    }

    fn told_path(
        &self,
        facts: &Facts,
        key: &GroupKey,
        own: Option<SourceId>,
        (net, best): (IpNet, &Best),
        encode: impl FnOnce(&Outgoing<'_>) -> (Vec<u8>, NextHop),
    ) -> Option<(Vec<u8>, NextHop)> {
        let info = &self.sources[&best.source];
        if own == Some(best.source) {
            return None;
        }
        let external = key.encoding.peer_type == PeerType::External;
        let reflected = !external && !info.is_local() && info.peer_type == PeerType::Internal;
        if reflected && !info.reflector_client && !key.reflector_client {
            return None;
        }
        let known = Digest::of(Attrs::new(&best.bytes)).well_known;
        if !info.is_local()
            && (known.contains(WellKnown::NO_ADVERTISE)
                || external && known.contains(WellKnown::NO_EXPORT))
        {
            return None;
        }
        if key.policy == 0 && facts.export_rejects.contains(&net) {
            return None;
        }
        let edited = facts.export_edits.contains(&net);
        let bytes = if edited {
            apply_edits(Attrs::new(&best.bytes), &facts.with_med)
        } else {
            best.bytes.clone()
        };
        let own_hop = match net {
            IpNet::V4(_) => key.own_next_hop.v4,
            IpNet::V6(_) => key.own_next_hop.v6,
        };
        let route = Outgoing {
            attrs: Attrs::new(&bytes),
            next_hop: if external || info.is_local() {
                own_hop?
            } else {
                best.next_hop
            },
            keep_med: edited || info.is_local(),
            reflection: reflected.then_some(Reflection {
                originator_id: info.router_id,
                cluster_id: router_id(254),
            }),
        };
        Some(encode(&route))
    }
}
