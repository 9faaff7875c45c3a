//! Services, a router outside that hears of their addresses, and what that router must know once a cluster is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dunlin_intent::{
    AdvertisementFact, ConfigurationFact, EndpointFact, EndpointSliceFact, Fact, FilterFact,
    FilterRuleFact, IngressFact, Key, NamespacedName, NodeFact, PeerAsn, PeerFact,
    ServiceAddressKind, ServiceFact, ServiceType, ServicesFact, TrafficPolicy,
};
use dunlin_net::{Afi, Asn, IpNet};

use crate::host::Host;
use crate::kernel::SimKernel;
use crate::places::{host_addr, underlay};
use crate::world::World;

const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 250, 1));
const ROUTER_ASN: Asn = Asn(65001);
const CLUSTER_ASN: Asn = Asn(64512);

/// The load-balancer address of a Service. Services 6 and above share those of the ones below.
pub fn load_balancer_ip(number: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, number % 6])
}

/// The cluster IP of a Service.
pub fn cluster_ip(number: u8) -> IpAddr {
    IpAddr::from([10, 96, 0, number])
}

fn name(number: u8) -> NamespacedName {
    NamespacedName::new("default", format!("s{number}"))
}

/// The router announces what differs from the rules in one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misrouted {
    /// The prefix.
    pub net: IpNet,
    /// The Nodes that should announce it.
    pub wanted: BTreeSet<IpAddr>,
    /// The next hops that the router has.
    pub has: BTreeSet<IpAddr>,
}

impl fmt::Display for Misrouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misrouted { net, wanted, has } = self;
        write!(f, "{net} is by {has:?} and should be by {wanted:?}")
    }
}

impl World {
    /// An object goes.
    pub fn remove(&mut self, key: Key) {
        self.objects.remove(&key);
        self.tell(Vec::new(), vec![key]);
    }

    /// The number of the router outside.
    pub fn router(&self) -> Option<usize> {
        self.config.router.then(|| usize::from(self.config.hosts))
    }

    pub(crate) fn add_router(&mut self) {
        let seed = self.draw_seed();
        let kernel = SimKernel::new([(ROUTER, underlay())]);
        let name: Arc<str> = "tor".into();
        self.hosts.push(Host::new(name, ROUTER, kernel, seed));
        let peer = Fact::Peer(PeerFact {
            name: "tor".into(),
            peer_address: Some(ROUTER),
            peer_asn: Some(PeerAsn::Number(ROUTER_ASN)),
            ..PeerFact::default()
        });
        let advertisement = Fact::Advertisement(AdvertisementFact {
            name: "services".into(),
            services: Some(ServicesFact {
                addresses: vec![
                    ServiceAddressKind::ClusterIp,
                    ServiceAddressKind::LoadBalancerIp,
                ],
                selector: None,
                namespace_selector: None,
            }),
            ..AdvertisementFact::default()
        });
        for fact in [peer, advertisement] {
            self.objects.insert(fact.key(), fact);
        }
    }

    /// The router runs the same program with a configuration of its own: every Node is a peer outside, all of whose routes
    /// it takes.
    pub(crate) fn router_facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            Fact::Node(NodeFact::new("tor").with_internal_ip(ROUTER)),
            Fact::Configuration(ConfigurationFact {
                name: "default".into(),
                asn: Some(ROUTER_ASN),
                ..ConfigurationFact::default()
            }),
            Fact::Filter(FilterFact {
                name: "all".into(),
                rules: vec![FilterRuleFact::accept_all()],
                malformed: Vec::new(),
            }),
        ];
        let nodes = self.hosts.len().saturating_sub(1);
        facts.extend((0..nodes).map(|node| {
            let number = u16::try_from(node).unwrap_or_default();
            Fact::Peer(PeerFact {
                name: format!("n{node}"),
                peer_address: Some(host_addr(number)),
                peer_asn: Some(PeerAsn::Number(CLUSTER_ASN)),
                import_filter: Some("all".into()),
                ..PeerFact::default()
            })
        }));
        facts
    }

    /// A Service with a cluster IP and a load-balancer address is there, or changed.
    pub fn put_service(&mut self, number: u8, external: TrafficPolicy) {
        let mut fact = ServiceFact::new("default", &format!("s{number}"));
        fact.service_type = ServiceType::LoadBalancer;
        fact.cluster_ips = vec![cluster_ip(number)];
        fact.external_traffic_policy = external;
        fact.ingress = vec![IngressFact {
            ip: Some(load_balancer_ip(number)),
            vip: true,
        }];
        self.put(Fact::Service(fact));
    }

    /// A Service has ready endpoints on these hosts, and one that is not ready on each of the others.
    pub fn put_endpoints(&mut self, number: u8, on: &[usize]) {
        let nodes = self.hosts.len().saturating_sub(1);
        let endpoint = |node: usize| EndpointFact {
            address: Some(IpAddr::from([10, 64, node as u8, number + 2])),
            node: Some(format!("n{node}").into()),
            ready: on.contains(&node),
            serving: on.contains(&node),
            ..EndpointFact::default()
        };
        self.put(Fact::EndpointSlice(EndpointSliceFact {
            name: name(number),
            service: Some(name(number).name),
            address_type: Some(Afi::Ipv4),
            endpoints: (0..nodes).map(endpoint).collect(),
            ports: Vec::new(),
            malformed: Vec::new(),
        }));
    }

    /// A Service goes; its endpoints stay.
    pub fn remove_service(&mut self, number: u8) {
        self.remove(Key::Service(name(number)));
    }

    /// A Service's endpoints go.
    pub fn remove_endpoints(&mut self, number: u8) {
        self.remove(Key::EndpointSlice(name(number)));
    }

    /// What the rules give, worked out from the objects alone: which Nodes announce which address.
    fn wanted_at_router(&self) -> BTreeMap<IpNet, BTreeSet<IpAddr>> {
        let mut wanted: BTreeMap<IpNet, BTreeSet<IpAddr>> = BTreeMap::new();
        let router = self.hosts.len().saturating_sub(1);
        for (at, host) in self.hosts.iter().enumerate().take(router) {
            let has_node = self.objects.contains_key(&Key::Node(host.name.to_string()));
            if !host.is_running() || !has_node || self.net.is_cut(at, router) {
                continue;
            }
            for fact in self.objects.values() {
                let Fact::Service(service) = fact else {
                    continue;
                };
                let ready_on = self.ready_on(&service.name);
                let delivers = match service.external_traffic_policy {
                    TrafficPolicy::Cluster => !ready_on.is_empty(),
                    TrafficPolicy::Local => ready_on.contains(&host.name),
                };
                let external = service.ingress.iter().filter_map(|ingress| ingress.ip);
                let external = external.filter(|_| delivers);
                for addr in service.cluster_ips.iter().copied().chain(external) {
                    wanted.entry(addr.into()).or_default().insert(host.addr);
                }
            }
        }
        wanted
    }

    fn ready_on(&self, service: &NamespacedName) -> BTreeSet<Arc<str>> {
        let Some(Fact::EndpointSlice(slice)) =
            self.objects.get(&Key::EndpointSlice(service.clone()))
        else {
            return BTreeSet::new();
        };
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
        ready.filter_map(|endpoint| endpoint.node.clone()).collect()
    }

    /// Where the router's table differs from the rules. Only of a cluster at rest, with the router running, it must not.
    pub fn misrouted(&self) -> Vec<Misrouted> {
        let Some(router) = self.router().and_then(|at| self.hosts.get(at)) else {
            return Vec::new();
        };
        let wanted = self.wanted_at_router();
        let nets: BTreeSet<IpNet> = wanted
            .keys()
            .copied()
            .chain(router.kernel.our_routes())
            .collect();
        let hops = |net| {
            let hops = router.kernel.gateways(net).unwrap_or_default();
            hops.into_iter().map(|hop| hop.gateway).collect()
        };
        nets.into_iter()
            .map(|net| Misrouted {
                net,
                wanted: wanted.get(&net).cloned().unwrap_or_default(),
                has: hops(net),
            })
            .filter(|one| one.wanted != one.has)
            .collect()
    }
}
