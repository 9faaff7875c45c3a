//! What is known already of what people leave out when they write a Service.

use super::Services;
use crate::fact::{IngressFact, Key, ServiceAddressKind, ServiceFact, ServiceType};

impl Services {
    /// Whether the Service, EndpointSlice or Namespace is known.
    pub(in crate::cluster) fn knows(&self, key: &Key) -> bool {
        match key {
            Key::Service(name) => self.services.contains_key(name),
            Key::EndpointSlice(name) => self.endpoints.knows(name),
            Key::Namespace(name) => self.namespaces.contains_key(name.as_str()),
            _ => false,
        }
    }

    /// The fact with the addresses that the cluster gave the Service, where it says nothing of them.
    pub(in crate::cluster) fn completed(&self, mut fact: ServiceFact) -> ServiceFact {
        let Some(known) = self.services.get(&fact.name) else {
            return fact;
        };
        let of = |kind| known.spec.addresses.iter().filter(move |a| a.kind == kind);
        fact.created = fact.created.or(known.spec.created);
        if fact.cluster_ips.is_empty() {
            let addresses = of(ServiceAddressKind::ClusterIp).map(|address| address.addr);
            fact.cluster_ips = addresses.collect();
        }
        // A Service that is no load balancer any more loses them.
        if fact.ingress.is_empty() && fact.service_type == ServiceType::LoadBalancer {
            let addresses = of(ServiceAddressKind::LoadBalancerIp);
            let ingress = addresses.map(|address| IngressFact {
                ip: Some(address.addr),
                vip: address.vip,
            });
            fact.ingress = ingress.collect();
        }
        fact
    }
}
