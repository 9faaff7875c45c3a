//! What the rules say of all facts at once, worked out without any haste.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_intent::*;
use dunlin_net::{Afi, IpNet};

use crate::steps::OWN;
use crate::{Announced, EXCLUDE};

/// All facts, looked at as a whole.
pub(crate) struct Rules<'a> {
    pub(crate) facts: &'a BTreeMap<Key, Fact>,
    pub(crate) namespaces_synced: bool,
    pub(crate) cluster: &'a Cluster,
}

impl Rules<'_> {
    pub(crate) fn own(&self) -> Option<&NodeFact> {
        match self.facts.get(&Key::Node(OWN.to_owned())) {
            Some(Fact::Node(node)) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn node_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.facts
            .values()
            .flat_map(|fact| match fact {
                Fact::Node(node) => node.internal_ips.clone(),
                _ => Vec::new(),
            })
            .filter(|addr| !addr.is_loopback())
    }

    pub(crate) fn is_peer(&self, addr: IpAddr) -> bool {
        self.facts.values().any(|fact| match fact {
            Fact::Peer(peer) => peer.peer_address == Some(addr),
            _ => false,
        })
    }

    /// Who owns what is tested elsewhere.
    pub(crate) fn pod_subnets(&self) -> impl Iterator<Item = IpNet> {
        self.cluster.origin().owners().map(|(net, _)| net)
    }

    fn heeded(&self) -> Vec<&AdvertisementFact> {
        let Some(own) = self.own() else {
            return Vec::new();
        };
        let advertisements = self.facts.values().filter_map(|fact| match fact {
            Fact::Advertisement(advertisement) => Some(advertisement),
            _ => None,
        });
        let usable = advertisements.filter(|a| {
            let services = a.services.as_ref();
            services.is_some_and(|s| !s.addresses.is_empty())
                && a.aggregation_length_ipv4.is_none_or(|n| n <= 32)
                && a.aggregation_length_ipv6.is_none_or(|n| n <= 128)
        });
        usable
            .filter(|a| {
                a.node_selector
                    .as_ref()
                    .is_none_or(|s| s.matches(&own.labels))
            })
            .collect()
    }

    fn selects(
        &self,
        by: &AdvertisementFact,
        service: &ServiceFact,
        kind: ServiceAddressKind,
    ) -> bool {
        let Some(services) = &by.services else {
            return false;
        };
        let namespace = Key::Namespace(service.name.namespace.to_string());
        let labels = match self.facts.get(&namespace) {
            Some(Fact::Namespace(namespace)) => Some(namespace.labels.clone()),
            _ => self.namespaces_synced.then(Labels::default),
        };
        services.addresses.contains(&kind)
            && services
                .selector
                .as_ref()
                .is_none_or(|s| s.matches(&service.labels))
            && services
                .namespace_selector
                .as_ref()
                .is_none_or(|s| labels.is_some_and(|labels| s.matches(&labels)))
    }

    pub(crate) fn is_here(&self, endpoint: &EndpointFact, own: &NodeFact) -> bool {
        let addr = endpoint.address.unwrap();
        match &endpoint.node {
            Some(node) => **node == *own.name,
            None => {
                let mine = own.pod_cidrs.iter().filter(|net| {
                    let owner = self.cluster.origin().owner_of(**net);
                    owner.is_some_and(|owner| owner.node == own.name)
                });
                (own.internal_ips.contains(&addr) && !addr.is_loopback())
                    || mine.into_iter().any(|net| net.contains(&addr))
            }
        }
    }

    /// The slices of addresses of a Service.
    pub(crate) fn slices_of(&self, service: &ServiceFact) -> Vec<&EndpointSliceFact> {
        let slices = self.facts.values().filter_map(|fact| match fact {
            Fact::EndpointSlice(slice) => Some(slice),
            _ => None,
        });
        slices
            .filter(|slice| slice.name.namespace == service.name.namespace)
            .filter(|slice| slice.service.as_deref() == Some(&*service.name.name))
            .filter(|slice| slice.address_type.is_some())
            .collect()
    }

    fn has_endpoints(
        &self,
        service: &ServiceFact,
        addr: IpAddr,
        kind: ServiceAddressKind,
        own: &NodeFact,
    ) -> bool {
        let policy = match kind {
            ServiceAddressKind::ClusterIp => service.internal_traffic_policy,
            _ => service.external_traffic_policy,
        };
        let slices = self.slices_of(service);
        let mine = |slice: &&&EndpointSliceFact| slice.address_type == Some(Afi::of(addr));
        let any_of_family = slices.iter().any(|slice| mine(&slice));
        let endpoints: Vec<&EndpointFact> = slices
            .iter()
            .filter(|slice| !any_of_family || mine(slice))
            .flat_map(|slice| &slice.endpoints)
            .collect();
        let is_ready = |e: &&&EndpointFact| e.ready || service.publish_not_ready_addresses;
        let is_last = |e: &&&EndpointFact| !e.ready && e.serving && e.terminating;
        let mut able: Vec<&&EndpointFact> = endpoints.iter().filter(is_ready).collect();
        if able.is_empty() {
            able = endpoints.iter().filter(is_last).collect();
        }
        match (kind, policy) {
            (ServiceAddressKind::ClusterIp, TrafficPolicy::Cluster) => true,
            (_, TrafficPolicy::Cluster) => !able.is_empty(),
            (_, TrafficPolicy::Local) => able.iter().any(|e| self.is_here(e, own)),
        }
    }

    pub(crate) fn announced(&self) -> Announced {
        let mut prefixes: BTreeMap<IpNet, BTreeSet<String>> = BTreeMap::new();
        let local = self.cluster.local().zip(self.own());
        for (fact, (local, own)) in self
            .facts
            .values()
            .zip(std::iter::repeat(local))
            .filter_map(|(f, l)| Some((f, l?)))
        {
            for net in local
                .pod_subnets
                .iter()
                .filter(|net| local.next_hops.get(Afi::of_net(**net)).is_some())
            {
                prefixes.entry(*net).or_default().insert("pods".to_owned());
            }
            let Fact::Service(service) = fact else {
                continue;
            };
            if service.cluster_ips.is_empty()
                || matches!(
                    service.service_type,
                    ServiceType::ExternalName | ServiceType::Unknown
                )
            {
                continue;
            }
            use ServiceAddressKind as K;
            let balanced = service.service_type == ServiceType::LoadBalancer;
            let ingress = service.ingress.iter().filter(|i| i.vip && balanced);
            let addresses = service.cluster_ips.iter().map(|a| (*a, K::ClusterIp));
            let addresses =
                addresses.chain(service.external_ips.iter().map(|a| (*a, K::ExternalIp)));
            let addresses = addresses.chain(ingress.map(|i| (i.ip.unwrap(), K::LoadBalancerIp)));
            for (addr, kind) in addresses {
                let excluded = kind != K::ClusterIp && own.labels.contains_key(EXCLUDE);
                if excluded
                    || addr.is_loopback()
                    || local.next_hops.get(Afi::of(addr)).is_none()
                    || self.node_addresses().any(|node| node == addr)
                    || self.is_peer(addr)
                    || self.pod_subnets().any(|net| net.contains(&addr))
                    || !self.has_endpoints(service, addr, kind, own)
                {
                    continue;
                }
                for by in self
                    .heeded()
                    .into_iter()
                    .filter(|a| self.selects(a, service, kind))
                {
                    let net = self.prefix(addr, by);
                    prefixes.entry(net).or_default().insert(by.name.clone());
                }
            }
        }
        let next_hop = |net| *self.cluster.local()?.next_hops.get(Afi::of_net(net));
        prefixes
            .into_iter()
            .map(|(net, by)| (net, (by.into_iter().collect(), next_hop(net).unwrap())))
            .collect()
    }

    fn prefix(&self, addr: IpAddr, by: &AdvertisementFact) -> IpNet {
        let length = match addr {
            IpAddr::V4(_) => by.aggregation_length_ipv4,
            IpAddr::V6(_) => by.aggregation_length_ipv6,
        };
        let host = IpNet::from(addr);
        let net = length.map_or(host, |len| IpNet::new_assert(addr, len).trunc());
        let covers = self.node_addresses().any(|node| net.contains(&node))
            || self.pod_subnets().any(|pods| net.contains(&pods));
        if covers { host } else { net }
    }
}
