//! What becomes of connections to Services, as the rules say of all facts at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_intent::*;
use dunlin_net::service::{Balance, Frontend, FrontendRule, Protocol, Treatment};
use dunlin_net::{Afi, IpNet};

use crate::ZONE;
use crate::rules::Rules;
use crate::steps::OWN;

/// What is known of an endpoint of a port.
#[derive(Default)]
struct Known {
    ready: bool,
    local: bool,
    nodes: BTreeSet<Arc<str>>,
    zones: BTreeSet<Arc<str>>,
}

/// A frontend that a Service asks for, and what its treatment goes by.
struct Asked<'a> {
    frontend: Frontend,
    node_port: bool,
    kind: Option<ServiceAddressKind>,
    port: &'a ServicePortFact,
}

impl Rules<'_> {
    fn services(&self) -> impl Iterator<Item = &ServiceFact> {
        self.facts.values().filter_map(|fact| match fact {
            Fact::Service(service) => Some(service),
            _ => None,
        })
    }

    fn own_addresses(&self) -> BTreeSet<IpAddr> {
        let own = self.own().into_iter();
        let addresses = own.flat_map(|own| own.internal_ips.iter().copied());
        addresses.filter(|addr| !addr.is_loopback()).collect()
    }

    /// All that a Service asks for, whether it may have it or not.
    fn asked<'a>(&self, service: &'a ServiceFact) -> Vec<Asked<'a>> {
        use ServiceAddressKind as K;
        let mut asked: Vec<Asked<'a>> = Vec::new();
        let of_type = match service.service_type {
            ServiceType::ExternalName | ServiceType::Unknown => return asked,
            ServiceType::ClusterIp => (false, false),
            ServiceType::NodePort => (true, false),
            ServiceType::LoadBalancer => (true, true),
        };
        if service.foreign_proxy {
            return asked;
        }
        let (node_ports, balanced) = of_type;
        let families: BTreeSet<Afi> = service.cluster_ips.iter().map(|a| Afi::of(*a)).collect();
        let mut addresses: Vec<(IpAddr, K)> = Vec::new();
        addresses.extend(service.cluster_ips.iter().map(|a| (*a, K::ClusterIp)));
        let ingress = service.ingress.iter().filter(|i| i.vip && balanced);
        addresses.extend(ingress.filter_map(|i| Some((i.ip?, K::LoadBalancerIp))));
        addresses.extend(service.external_ips.iter().map(|a| (*a, K::ExternalIp)));
        for port in &service.ports {
            let at = |addr, number| Frontend {
                addr,
                protocol: port.protocol,
                port: number,
            };
            let frontends = addresses
                .iter()
                .map(|(addr, kind)| (at(*addr, port.port), Some(*kind)));
            let number = port.node_port.filter(|_| node_ports);
            let at_node = number.into_iter().flat_map(|number| {
                let own = self.own_addresses().into_iter();
                own.map(move |addr| (at(addr, number), None))
            });
            for (frontend, kind) in frontends.chain(at_node) {
                let first = asked
                    .iter()
                    .all(|a| (a.frontend, a.node_port) != (frontend, kind.is_none()));
                if families.contains(&frontend.afi()) && first {
                    asked.push(Asked {
                        frontend,
                        node_port: kind.is_none(),
                        kind,
                        port,
                    });
                }
            }
        }
        asked
    }

    /// Whether an address may be a Service's at all.
    fn fits(&self, addr: IpAddr) -> bool {
        !addr.is_loopback()
            && !self.node_addresses().any(|node| node == addr)
            && !self.pod_subnets().any(|net| net.contains(&addr))
            && !self.is_peer(addr)
    }

    fn known(
        &self,
        service: &ServiceFact,
        port: &ServicePortFact,
        family: Afi,
    ) -> BTreeMap<SocketAddr, Known> {
        let mut known: BTreeMap<SocketAddr, Known> = BTreeMap::new();
        for slice in self.slices_of(service) {
            for to in &slice.ports {
                if *to.name != *port.name || to.protocol != port.protocol {
                    continue;
                }
                for endpoint in &slice.endpoints {
                    let addr = endpoint.address.unwrap();
                    let serves = endpoint.ready || (endpoint.serving && endpoint.terminating);
                    let of_family = slice.address_type == Some(family) && Afi::of(addr) == family;
                    if !serves || !of_family {
                        continue;
                    }
                    let known = known.entry(SocketAddr::new(addr, to.port)).or_default();
                    known.ready |= endpoint.ready;
                    known.local |= self.is_local(endpoint);
                    known.nodes.extend(endpoint.node_hints.iter().cloned());
                    known.zones.extend(endpoint.zone_hints.iter().cloned());
                }
            }
        }
        known
    }

    fn is_local(&self, endpoint: &EndpointFact) -> bool {
        match &endpoint.node {
            Some(node) => **node == *OWN,
            None => self.own().is_some_and(|own| self.is_here(endpoint, own)),
        }
    }

    /// What the policies Cluster and Local come to.
    fn outcomes(
        &self,
        service: &ServiceFact,
        known: &BTreeMap<SocketAddr, Known>,
    ) -> [Treatment; 2] {
        let of = |rule: &dyn Fn(&Known) -> bool| -> Vec<SocketAddr> {
            let found = known.iter().filter(|(_, known)| rule(known));
            found.map(|(addr, _)| *addr).collect()
        };
        let balance = |endpoints: Vec<SocketAddr>, none: Treatment| match endpoints.is_empty() {
            true => none,
            false => Treatment::Balance(Arc::new(Balance {
                endpoints: endpoints.into(),
                choice: service.choice,
                affinity_secs: service.session_affinity_secs,
            })),
        };
        if known.is_empty() {
            return [Treatment::Reject, Treatment::Reject];
        }
        let zone = self.own().and_then(|own| own.labels.get(ZONE));
        let zone = zone.map(String::as_str);
        let for_node = |k: &Known| k.nodes.contains(OWN);
        let for_zone = |k: &Known| zone.is_some_and(|zone| k.zones.contains(zone));
        let ready = of(&|k| k.ready);
        let without_node = of(&|k| k.ready && k.nodes.is_empty());
        let without_zone = of(&|k| k.ready && k.zones.is_empty());
        let at_node = of(&|k| k.ready && for_node(k));
        let in_zone = of(&|k| k.ready && for_zone(k));
        let cluster = if ready.is_empty() {
            of(&|_| true)
        } else if without_node.is_empty() && !at_node.is_empty() {
            at_node
        } else if without_zone.is_empty() && !in_zone.is_empty() {
            in_zone
        } else {
            ready
        };
        let mut local = of(&|k| k.local && k.ready);
        if local.is_empty() {
            local = of(&|k| k.local);
        }
        [
            balance(cluster, Treatment::Reject),
            balance(local, Treatment::Drop),
        ]
    }

    fn is_older(&self, other: &ServiceFact, service: &ServiceFact) -> bool {
        let age = |s: &ServiceFact| (s.created.is_none(), s.created, s.name.to_string());
        age(other) < age(service)
    }

    pub(crate) fn treatment(&self, service: &ServiceFact) -> Vec<FrontendRule> {
        let mut rules = Vec::new();
        for asked in self.asked(service) {
            let Frontend { addr, .. } = asked.frontend;
            let others = self
                .services()
                .filter(|other| self.is_older(other, service));
            let taken = others.flat_map(|other| self.asked(other)).any(|other| {
                (other.frontend, other.node_port) == (asked.frontend, asked.node_port)
            });
            if taken || !(asked.node_port || self.fits(addr)) {
                continue;
            }
            let known = self.known(service, asked.port, asked.frontend.afi());
            let [cluster, local] = self.outcomes(service, &known);
            let all: BTreeSet<SocketAddr> = known.keys().copied().collect();
            let chosen = |of: &Treatment| match of {
                Treatment::Balance(balance) => balance.endpoints.iter().copied().collect(),
                _ => BTreeSet::new(),
            };
            let only_local = service.internal_traffic_policy == TrafficPolicy::Local;
            let some = chosen(&cluster) != all || (only_local && chosen(&local) != all);
            let udp = asked.frontend.protocol == Protocol::Udp;
            let internal = asked.kind == Some(ServiceAddressKind::ClusterIp);
            let policy = match internal {
                true => service.internal_traffic_policy,
                false => service.external_traffic_policy,
            };
            let (inside, outside) = match (internal, policy) {
                (_, TrafficPolicy::Cluster) => (cluster, None),
                (true, TrafficPolicy::Local) => (local, None),
                (false, TrafficPolicy::Local) => {
                    let differs = cluster != local;
                    (cluster, differs.then_some(local))
                }
            };
            let sources = service.load_balancer_source_ranges.iter();
            let sources = sources.filter(|net| Afi::of_net(**net) == asked.frontend.afi());
            let sources: BTreeSet<IpNet> = sources.copied().collect();
            let guarded = asked.kind == Some(ServiceAddressKind::LoadBalancerIp);
            rules.push(FrontendRule {
                frontend: asked.frontend,
                inside,
                outside,
                masquerade: false,
                sources: (guarded && !sources.is_empty()).then(|| sources.into_iter().collect()),
                serving: (udp && some).then(|| all.into_iter().collect()),
            });
        }
        rules.sort_by_key(|rule| rule.frontend);
        rules
    }

    pub(crate) fn health_check(&self, service: &ServiceFact) -> Option<HealthCheck> {
        let asks = service.service_type == ServiceType::LoadBalancer
            && service.external_traffic_policy == TrafficPolicy::Local
            && !service.cluster_ips.is_empty()
            && !service.foreign_proxy;
        let ready = |family| -> BTreeSet<IpAddr> {
            let slices = self.slices_of(service).into_iter();
            let slices = slices.filter(|s| s.address_type == Some(family) && !s.ports.is_empty());
            let endpoints = slices.flat_map(|slice| &slice.endpoints);
            let ready = endpoints.filter(|e| e.ready && self.is_local(e));
            let addresses = ready.filter_map(|e| e.address);
            addresses.filter(|addr| Afi::of(*addr) == family).collect()
        };
        Some(HealthCheck {
            service: service.name.clone(),
            node_port: service.health_check_node_port.filter(|_| asks)?,
            local_ready: u32::try_from(ready(Afi::Ipv4).len().max(ready(Afi::Ipv6).len())).unwrap(),
        })
    }
}
