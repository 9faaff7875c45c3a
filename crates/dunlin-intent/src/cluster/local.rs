//! What concerns this node as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_net::{Afi, IpNet};

use super::Cluster;
use crate::claims::Standing;
use crate::intent::{LocalIntent, OriginKind, Origination, PodEgress};
use crate::settings::graceful_restart;

impl Cluster {
    /// Works out again what concerns this node as a whole, and what it originates.
    pub(super) fn evaluate_local(&mut self) {
        let local = self.wanted_local();
        let subnets = local.iter().flat_map(|l| l.pod_subnets.iter().copied());
        let subnets: BTreeSet<IpNet> = subnets.collect();
        let before = self.origin.set_own_pod_subnets(subnets.clone());
        let changed = before.symmetric_difference(&subnets).copied();
        self.dirty.protection.extend(changed);
        self.originations = local.iter().flat_map(originations).collect();
        let told = self.told.originations.keys().copied();
        self.dirty.originations.extend(told);
        self.dirty
            .originations
            .extend(self.originations.keys().copied());
        self.local = local.map(Arc::new);
    }

    fn wanted_local(&self) -> Option<LocalIntent> {
        let settings = self.settings.as_ref()?;
        let own = self.nodes.get(&self.own)?;
        let owned = own
            .subnets
            .iter()
            .filter(|net| self.claims.standing(**net, &own.age) == Some(Standing::Owned));
        let pod_subnets: Vec<IpNet> = owned.copied().collect();
        Some(LocalIntent {
            asn: settings.asn,
            router_id: self.router_ids.get(&self.own)?,
            listen_port: settings.listen_port,
            addresses: own.addresses.clone(),
            next_hops: own.next_hops,
            pod_egress: PodEgress {
                masquerade: settings.masquerade,
                sources: pod_subnets.clone(),
            },
            pod_subnets,
            route_installation: settings.route_installation,
            graceful_restart: graceful_restart(settings.restart_secs, true),
            timers: settings.timers,
        })
    }
}

fn originations(local: &LocalIntent) -> BTreeMap<IpNet, Origination> {
    local
        .pod_subnets
        .iter()
        .filter_map(|net| {
            let next_hop = (*local.next_hops.get(Afi::of_net(*net)))?;
            let kind = OriginKind::PodSubnet;
            Some((*net, Origination { kind, next_hop }))
        })
        .collect()
}
