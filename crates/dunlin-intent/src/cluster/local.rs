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
        self.originate_pods(local.iter().flat_map(originations).collect());
        let hops = |local: Option<&LocalIntent>| local.map(|local| local.next_hops);
        self.services.dirty.all |= hops(self.local.as_deref()) != hops(local.as_ref());
        self.services.dirty.places = true;
        let draining = |local: Option<&LocalIntent>| local.is_some_and(|l| l.draining.is_some());
        if draining(self.local.as_deref()) != draining(local.as_ref()) {
            self.mark_all_nodes();
            self.mark_all_configured();
        }
        self.local = local.map(Arc::new);
    }

    fn originate_pods(&mut self, wanted: BTreeMap<IpNet, Origination>) {
        let is_pods = |o: &Origination| o.kind == OriginKind::PodSubnet;
        let before = self.originations.iter().filter(|(_, o)| is_pods(o));
        let gone: Vec<IpNet> = before
            .map(|(net, _)| *net)
            .filter(|net| !wanted.contains_key(net))
            .collect();
        for net in gone {
            self.originations.remove(&net);
            self.dirty.originations.insert(net);
            self.services.dirty.prefixes.insert(net);
        }
        for (net, origination) in wanted {
            self.originations.insert(net, origination);
            self.dirty.originations.insert(net);
        }
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
            graceful_restart: graceful_restart(
                settings.restart_secs,
                settings.long_lived_secs,
                true,
            ),
            timers: settings.timers,
            bmp: settings.bmp.clone(),
            draining: self.drain_cause(&own.fact),
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
