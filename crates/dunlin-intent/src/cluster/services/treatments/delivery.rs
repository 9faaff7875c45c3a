//! What a Service asks the service proxy for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use dunlin_net::service::{Frontend, Treatment};
use dunlin_net::{Afi, IpNet, PerFamily};

use crate::cluster::services::Spec;
use crate::fact::{
    Choice, ServiceAddressKind, ServiceFact, ServicePortFact, ServiceType, TrafficPolicy,
};

/// What is kept of a Service that connections are delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::services) struct Delivery {
    pub(super) ports: Box<[ServicePortFact]>,
    pub(super) choice: Choice,
    pub(super) affinity_secs: Option<u32>,
    /// Who may come to load-balancer addresses, where that is said.
    pub(super) sources: PerFamily<Option<Arc<[IpNet]>>>,
    /// The Service is of a type that has node ports.
    node_ports: bool,
    pub(super) health_check_port: Option<u16>,
}

impl Delivery {
    /// None for a Service that nothing is delivered to by us.
    pub(in crate::cluster::services) fn new(fact: &mut ServiceFact) -> Option<Box<Delivery>> {
        let balanced = fact.service_type == ServiceType::LoadBalancer;
        match fact.service_type {
            ServiceType::ExternalName | ServiceType::Unknown => return None,
            ServiceType::ClusterIp | ServiceType::NodePort | ServiceType::LoadBalancer => {}
        }
        if fact.cluster_ips.is_empty() || fact.foreign_proxy {
            return None;
        }
        let asked = balanced && fact.external_traffic_policy == TrafficPolicy::Local;
        Some(Box::new(Delivery {
            choice: fact.choice,
            affinity_secs: fact.session_affinity_secs,
            sources: PerFamily {
                v4: sources(fact, Afi::Ipv4),
                v6: sources(fact, Afi::Ipv6),
            },
            node_ports: balanced || fact.service_type == ServiceType::NodePort,
            health_check_port: fact.health_check_node_port.filter(|_| asked),
            ports: std::mem::take(&mut fact.ports).into(),
        }))
    }
}

/// The ranges of a family, ascending and without overlap. None of the family means all of it, unless some range could not be
/// read: what was to be guarded is not thrown open by a mistype.
fn sources(fact: &ServiceFact, family: Afi) -> Option<Arc<[IpNet]>> {
    let ranges = fact.load_balancer_source_ranges.iter().copied();
    let ranges: Vec<IpNet> = ranges.filter(|net| Afi::of_net(*net) == family).collect();
    let mut malformed = fact.malformed.iter();
    let unread = malformed.any(|m| m.field.starts_with(ServiceFact::SOURCE_RANGES));
    let guarded = unread || !ranges.is_empty();
    guarded.then(|| {
        let mut ranges = IpNet::aggregate(&ranges);
        ranges.sort_unstable();
        ranges.into()
    })
}

/// A frontend that a Service asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// At the unspecified address of the family for a node port: on whatever addresses the node has.
    pub(super) frontend: Frontend,
    /// Which of the Service's ports.
    pub(super) port: usize,
    /// None for a node port.
    pub(super) kind: Option<ServiceAddressKind>,
}

/// What becomes of connections to one port of a Service, in one family.
pub(super) struct Outcome {
    /// By the policy Cluster.
    pub(super) cluster: Treatment,
    /// By the policy Local.
    pub(super) local: Treatment,
    /// See [`dunlin_net::service::FrontendRule::serving`].
    pub(super) serving: Option<Arc<[SocketAddr]>>,
}

impl Spec {
    /// The families that the Service has a cluster IP of: it is delivered in no other.
    pub(super) fn is_of(&self, family: Afi) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|a| a.kind == ServiceAddressKind::ClusterIp && Afi::of(a.addr) == family)
    }

    /// All frontends that the Service asks for, each once.
    pub(super) fn offers(&self) -> Vec<Offer> {
        use ServiceAddressKind as K;
        let mut offers = Vec::new();
        let Some(delivery) = &self.delivery else {
            return offers;
        };
        let served = PerFamily {
            v4: self.is_of(Afi::Ipv4),
            v6: self.is_of(Afi::Ipv6),
        };
        let mut seen = BTreeSet::new();
        for (at, port) in delivery.ports.iter().enumerate() {
            let mut offer = |addr: IpAddr, number: u16, kind| {
                let frontend = Frontend {
                    addr,
                    protocol: port.protocol,
                    port: number,
                };
                if *served.get(frontend.afi()) && seen.insert(frontend) {
                    offers.push(Offer {
                        frontend,
                        port: at,
                        kind,
                    });
                }
            };
            // An address that is of two kinds is treated as the one that comes first: what is guarded stays it.
            for kind in [K::ClusterIp, K::LoadBalancerIp, K::ExternalIp] {
                let of_kind = self.addresses.iter().filter(|a| a.kind == kind && a.vip);
                // Which stands for a node port's addresses.
                let of_kind = of_kind.filter(|a| !a.addr.is_unspecified());
                of_kind.for_each(|a| offer(a.addr, port.port, Some(kind)));
            }
            if let Some(number) = port.node_port.filter(|_| delivery.node_ports) {
                offer(Ipv4Addr::UNSPECIFIED.into(), number, None);
                offer(Ipv6Addr::UNSPECIFIED.into(), number, None);
            }
        }
        offers
    }

    /// The same, as frontends.
    pub(in crate::cluster::services) fn claims(&self) -> BTreeSet<Frontend> {
        self.offers().iter().map(|offer| offer.frontend).collect()
    }

    /// What the views get of an outcome.
    pub(super) fn views(
        &self,
        kind: Option<ServiceAddressKind>,
        of: &Outcome,
    ) -> (Treatment, Option<Treatment>) {
        let internal = kind == Some(ServiceAddressKind::ClusterIp);
        match (internal, self.internal, self.external) {
            (true, TrafficPolicy::Local, _) => (of.local.clone(), None),
            (false, _, TrafficPolicy::Local) if of.local != of.cluster => {
                (of.cluster.clone(), Some(of.local.clone()))
            }
            _ => (of.cluster.clone(), None),
        }
    }
}
