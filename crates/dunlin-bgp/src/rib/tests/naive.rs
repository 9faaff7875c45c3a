//! The same rules as the RIB's, written the plain way: maps of everything, recomputed from nothing.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_net::IpNet;

use super::world::{Facts, US, router_id};
use crate::attrs::{Attrs, Digest, WellKnown, apply_edits};
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::rib::{GroupKey, Resolution, SourceId, SourceInfo};
use crate::wire::{Outgoing, Reflection};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) bytes: Vec<u8>,
    pub(super) next_hop: NextHop,
    pub(super) stale: bool,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Naive {
    pub(super) sources: BTreeMap<SourceId, SourceInfo>,
    pub(super) routes: BTreeMap<(IpNet, SourceId), Route>,
    pub(super) hops: BTreeMap<NextHop, Resolution>,
}

#[derive(Debug, Clone)]
pub(super) struct Best {
    pub(super) source: SourceId,
    pub(super) bytes: Vec<u8>,
    pub(super) next_hop: NextHop,
    pub(super) ecmp: BTreeSet<NextHop>,
}

impl Naive {
    /// The attributes import makes of a route.
    pub(super) fn accepted(&self, facts: &Facts, net: IpNet, source: SourceId) -> Option<Vec<u8>> {
        let route = &self.routes[&(net, source)];
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
        struct Entry<'a> {
            source: SourceId,
            info: &'a SourceInfo,
            digest: Digest,
            bytes: Vec<u8>,
            next_hop: NextHop,
            metric: u32,
        }
        let mut left: Vec<Entry<'_>> = Vec::new();
        for (&(_, source), route) in self
            .routes
            .range((net, SourceId(0))..=(net, SourceId(u16::MAX)))
        {
            let Some(bytes) = self.accepted(facts, net, source) else {
                continue;
            };
            let info = &self.sources[&source];
            let hop = self.hops.get(&route.next_hop).copied().unwrap_or_default();
            if !info.is_local() && !hop.reachable {
                continue;
            }
            left.push(Entry {
                source,
                info,
                digest: Digest::of(Attrs::new(&bytes)),
                bytes,
                next_hop: route.next_hop,
                metric: if info.is_local() { 0 } else { hop.igp_metric },
            });
        }
        fn keep<'a, K: Ord>(left: &mut Vec<Entry<'a>>, key: impl Fn(&Entry<'a>) -> K) {
            if let Some(least) = left.iter().map(&key).min() {
                left.retain(|entry| key(entry) == least);
            }
        }
        keep(&mut left, |e| !e.info.is_local());
        keep(&mut left, |e| {
            std::cmp::Reverse(e.digest.local_pref.unwrap_or(100))
        });
        keep(&mut left, |e| e.digest.as_path_len);
        keep(&mut left, |e| e.digest.origin);
        let meds: Vec<_> = left
            .iter()
            .map(|e| (e.digest.neighbour_as, e.digest.med.unwrap_or(0)))
            .collect();
        left.retain(|e| {
            let med = e.digest.med.unwrap_or(0);
            !meds
                .iter()
                .any(|m| m.0 == e.digest.neighbour_as && m.1 < med)
        });
        keep(&mut left, |e| {
            e.info.is_local() || e.info.peer_type == PeerType::Internal
        });
        keep(&mut left, |e| e.metric);
        let ecmp = left.iter().map(|e| e.next_hop).collect();
        keep(&mut left, |e| {
            e.digest.originator_id.unwrap_or(e.info.router_id)
        });
        keep(&mut left, |e| e.digest.cluster_list_len);
        keep(&mut left, |e| e.info.remote_addr);
        keep(&mut left, |e| e.source);
        let best = left.pop()?;
        Some(Best {
            source: best.source,
            bytes: best.bytes,
            next_hop: best.next_hop,
            ecmp,
        })
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
