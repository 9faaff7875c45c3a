//! Whatever happened before, what is announced of Services depends on the facts alone, and is what the rules say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_bgp::policy::AttrEdits;
use dunlin_intent::*;
use dunlin_net::{Afi, Asn, IpNet};
use proptest::prelude::*;

const OWN: &str = "n0";
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The advertisements that announce each prefix, and the next hop.
type Announced = BTreeMap<IpNet, (Vec<String>, IpAddr)>;

/// What is told to each `BGPPeer`, by the advertisements of a class.
type Policies = BTreeMap<String, BTreeMap<Vec<String>, AttrEdits>>;

/// What a consumer holds that followed the changes.
#[derive(Debug, Default, PartialEq)]
struct Followed {
    announced: Announced,
    policies: Policies,
    ranges: BTreeSet<IpNet>,
    egress: BTreeSet<IpNet>,
    problems: Vec<Problem>,
}

impl Followed {
    fn follow(&mut self, cluster: &mut Cluster) {
        let mut originated: BTreeMap<IpNet, Origination> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        let mut peers = BTreeMap::new();
        while let Some(change) = cluster.poll_change() {
            match change {
                Change::Originate(net, what) => {
                    originated.insert(net, what);
                }
                Change::OriginateGone(net) => {
                    assert!(self.announced.contains_key(&net), "{net} was not there");
                    gone.insert(net);
                }
                Change::PeerWanted(key, intent) => {
                    peers.insert(key, Some(intent));
                }
                Change::PeerGone(key) => {
                    peers.insert(key, None);
                }
                Change::EgressExclusionChanged(net) => {
                    match cluster.egress_excluded(net) {
                        true => self.egress.insert(net),
                        false => self.egress.remove(&net),
                    };
                }
                Change::ServiceRangesChanged => self.ranges = cluster.service_ranges().collect(),
                Change::ProblemsChanged => {
                    self.problems = cluster.problems().into_iter().cloned().collect();
                }
                Change::LocalChanged(_)
                | Change::OwnerChanged(_)
                | Change::ProtectionChanged(_)
                | Change::Synced => {}
            }
        }
        self.announced.retain(|net, _| !gone.contains(net));
        for (net, what) in originated {
            self.announced
                .insert(net, (names(cluster, what.kind), what.next_hop));
        }
        for (key, intent) in peers {
            let Some(intent) = intent else {
                self.policies.remove(key.name());
                continue;
            };
            let told = intent.policy.export.originated.iter();
            let told = told.map(|(kind, edits)| (names(cluster, *kind), edits.clone()));
            self.policies.insert(key.name().to_owned(), told.collect());
        }
    }
}

/// The number of a class says nothing by itself.
fn names(cluster: &Cluster, kind: OriginKind) -> Vec<String> {
    match kind {
        OriginKind::Service(class) => {
            let names = cluster.class_advertisements(class);
            assert!(!names.is_empty(), "{class:?} is in use");
            names.iter().map(ToString::to_string).collect()
        }
        _ => vec!["pods".to_owned()],
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => (0u8..3, 1u8..4).prop_map(|(net, n)| IpAddr::from([203, 0, net, n])),
        4 => (1u16..4).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
        // Those of nodes, of pods, and of nobody.
        1 => (1u8..4).prop_map(|n| IpAddr::from([192, 0, 2, n])),
        1 => (0u8..3).prop_map(|n| IpAddr::from([10, 0, n, 9])),
        1 => Just(IpAddr::from([127, 0, 0, 1])),
    ]
}

fn rack(n: u8) -> Selector {
    Selector {
        match_labels: [("rack".to_owned(), n.to_string())].into(),
        ..Selector::default()
    }
}

fn labels(rack: Option<u8>) -> Labels {
    rack.map(|r| ("rack".to_owned(), r.to_string()))
        .into_iter()
        .collect()
}

fn selector() -> impl Strategy<Value = Option<Selector>> {
    prop_oneof![
        4 => Just(None),
        2 => (0u8..2).prop_map(|n| Some(rack(n))),
        1 => Just(Some(Selector {
            match_expressions: vec![Requirement {
                key: "rack".to_owned(),
                operator: Operator::DoesNotExist,
                values: Vec::new(),
            }],
            ..Selector::default()
        })),
    ]
}

fn node() -> impl Strategy<Value = Fact> {
    let addresses = prop::collection::btree_set(address(), 0..3);
    let subnet = (0u8..3, prop_oneof![Just(24u8), Just(30)])
        .prop_map(|(n, len)| IpNet::new_assert(IpAddr::from([10, 0, n, 0]), len));
    let taking = (0u8..3).prop_map(|n| IpNet::new_assert(IpAddr::from([203, 0, n, 0]), 24));
    let subnets = prop::collection::vec(prop_oneof![5 => subnet, 1 => taking], 0..2);
    let label = proptest::option::of(0u8..2);
    let excluded = prop::bool::weighted(0.2);
    let own = prop_oneof![Just(0u8), 0u8..3];
    (own, addresses, subnets, label, excluded).prop_map(
        |(n, addresses, pod_cidrs, rack, excluded)| {
            let mut labels = labels(rack);
            labels.extend(excluded.then(|| (EXCLUDE.to_owned(), String::new())));
            let own = [IpAddr::from([192, 0, 2, 100 + n])];
            Fact::Node(NodeFact {
                labels,
                internal_ips: own.into_iter().chain(addresses).collect(),
                pod_cidrs,
                ..NodeFact::new(format!("n{n}"))
            })
        },
    )
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

fn service() -> impl Strategy<Value = Fact> {
    let place = (0u8..2, 0u8..4);
    let addresses = || prop::collection::vec(address(), 0..3);
    let service_type = prop_oneof![
        2 => Just(ServiceType::ClusterIp),
        4 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
        1 => Just(ServiceType::Unknown),
    ];
    let flags = (
        policy(),
        policy(),
        prop::bool::weighted(0.2),
        any::<bool>(),
        0i64..3,
    );
    let all = [addresses(), addresses(), addresses()];
    (
        place,
        service_type,
        all,
        flags,
        proptest::option::of(0u8..2),
    )
        .prop_map(
            |((space, n), service_type, [cluster_ips, external_ips, ingress], flags, rack)| {
                let (internal, external, publish, vip, created) = flags;
                let ingress = ingress.into_iter().map(|ip| IngressFact {
                    ip: Some(ip),
                    vip: vip || ip.is_ipv6(),
                });
                Fact::Service(ServiceFact {
                    created: Some(Timestamp::from_unix_secs(created)),
                    labels: labels(rack),
                    service_type,
                    cluster_ips,
                    external_ips,
                    ingress: ingress.collect(),
                    internal_traffic_policy: internal,
                    external_traffic_policy: external,
                    publish_not_ready_addresses: publish,
                    ..ServiceFact::new(&format!("ns{space}"), &format!("s{n}"))
                })
            },
        )
}

fn slice() -> impl Strategy<Value = Fact> {
    let endpoint = (
        address(),
        proptest::option::weighted(0.7, 0u8..3),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let endpoint = endpoint.prop_map(
        |(address, node, ready, serving, terminating)| EndpointFact {
            address: Some(address),
            node: node.map(|n| format!("n{n}").into()),
            ready,
            serving,
            terminating,
        },
    );
    let family = prop_oneof![
        4 => Just(Some(Afi::Ipv4)),
        2 => Just(Some(Afi::Ipv6)),
        1 => Just(None),
    ];
    let service = proptest::option::weighted(0.9, 0u8..4);
    let endpoints = prop::collection::vec(endpoint, 0..4);
    ((0u8..2, 0u8..6), service, family, endpoints).prop_map(
        |((space, n), service, address_type, endpoints)| {
            Fact::EndpointSlice(EndpointSliceFact {
                name: NamespacedName::new(format!("ns{space}"), format!("e{n}")),
                service: service.map(|n| format!("s{n}").into()),
                address_type,
                endpoints,
                malformed: Vec::new(),
            })
        },
    )
}

fn advertisement() -> impl Strategy<Value = Fact> {
    use ServiceAddressKind as K;
    let kinds = [K::ClusterIp, K::ExternalIp, K::LoadBalancerIp];
    let kinds = prop::sample::subsequence(kinds.to_vec(), 0..=3);
    let services = proptest::option::weighted(0.9, (kinds, selector(), selector()));
    let length =
        |values: [u8; 4]| proptest::option::weighted(0.4, prop::sample::select(values.to_vec()));
    (
        0u8..4,
        any::<bool>(),
        services,
        (selector(), selector()),
        (length([0, 24, 30, 32]), length([48, 126, 128, 200])),
        0u32..3,
    )
        .prop_map(|(n, pod_cidrs, services, (nodes, peers), lengths, med)| {
            Fact::Advertisement(AdvertisementFact {
                name: format!("a{n}"),
                pod_cidrs,
                services: services.map(|(addresses, selector, namespace_selector)| ServicesFact {
                    addresses,
                    selector,
                    namespace_selector,
                }),
                node_selector: nodes,
                peer_selector: peers,
                attributes: Attributes {
                    med: Some(med),
                    ..Attributes::default()
                },
                aggregation_length_ipv4: lengths.0,
                aggregation_length_ipv6: lengths.1,
                malformed: Vec::new(),
            })
        })
}

fn other() -> impl Strategy<Value = Fact> {
    let range = (address(), 0u8..5).prop_map(|(first, more)| {
        let last = match first {
            IpAddr::V4(addr) => {
                IpAddr::V4((u32::from(addr).saturating_add(u32::from(more))).into())
            }
            IpAddr::V6(addr) => {
                IpAddr::V6((u128::from(addr).saturating_add(u128::from(more))).into())
            }
        };
        AddressRange {
            first,
            last,
            is_cidr: false,
        }
    });
    let pool = (0u8..3, 0i64..2, prop::collection::vec(range, 0..3));
    let cidr = (
        0u8..2,
        address(),
        prop_oneof![Just(24u8), Just(30), Just(32)],
    );
    prop_oneof![
        (0u8..2, proptest::option::of(0u8..2)).prop_map(|(n, rack)| {
            Fact::Namespace(NamespaceFact {
                name: format!("ns{n}"),
                labels: labels(rack),
            })
        }),
        (0u8..2, proptest::option::of(0u8..2)).prop_map(|(n, rack)| {
            Fact::Peer(PeerFact {
                name: format!("p{n}"),
                labels: labels(rack),
                peer_address: Some(IpAddr::from([198, 51, 100, n])),
                peer_asn: Some(PeerAsn::Number(Asn(65010))),
                ..PeerFact::default()
            })
        }),
        pool.prop_map(|(n, created, addresses)| {
            Fact::Pool(PoolFact {
                name: format!("l{n}"),
                created: Some(Timestamp::from_unix_secs(created)),
                addresses,
                ..PoolFact::default()
            })
        }),
        cidr.prop_map(|(n, addr, len)| {
            let cidr = IpNet::new_assert(addr, len).trunc();
            Fact::ServiceCidr(ServiceCidrFact {
                name: format!("c{n}"),
                cidrs: vec![cidr],
                malformed: Vec::new(),
            })
        }),
    ]
}

#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Step {
    Apply(Fact),
    Remove(Key),
    Synced(Kind),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let fact = prop_oneof![
        4 => node(),
        6 => service(),
        6 => slice(),
        3 => advertisement(),
        2 => other(),
    ];
    let removed = fact.clone().prop_map(|fact| Step::Remove(fact.key()));
    prop_oneof![
        8 => fact.prop_map(Step::Apply),
        2 => removed,
        4 => Just(Step::Poll),
        1 => prop::sample::select(&Kind::ALL[..]).prop_map(Step::Synced),
    ]
}

/// The node, and advertisements of everything as it is and by aggregates: most random steps then concern something.
fn start() -> Vec<Step> {
    use ServiceAddressKind as K;
    let own = NodeFact::new(OWN)
        .with_internal_ip(IpAddr::from([192, 0, 2, 100]))
        .with_internal_ip(IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]));
    let advertisement = |name: &str, length| {
        Step::Apply(Fact::Advertisement(AdvertisementFact {
            name: name.to_owned(),
            services: Some(ServicesFact {
                addresses: vec![K::ClusterIp, K::ExternalIp, K::LoadBalancerIp],
                ..ServicesFact::default()
            }),
            aggregation_length_ipv4: length,
            ..AdvertisementFact::default()
        }))
    };
    vec![
        Step::Apply(Fact::Node(own)),
        advertisement("a0", None),
        advertisement("a1", Some(24)),
    ]
}

/// All facts, looked at as a whole.
struct Rules<'a> {
    facts: &'a BTreeMap<Key, Fact>,
    namespaces_synced: bool,
    cluster: &'a Cluster,
}

impl Rules<'_> {
    fn own(&self) -> Option<&NodeFact> {
        match self.facts.get(&Key::Node(OWN.to_owned())) {
            Some(Fact::Node(node)) => Some(node),
            _ => None,
        }
    }

    fn node_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.facts
            .values()
            .flat_map(|fact| match fact {
                Fact::Node(node) => node.internal_ips.clone(),
                _ => Vec::new(),
            })
            .filter(|addr| !addr.is_loopback())
    }

    /// Who owns what is tested elsewhere.
    fn pod_subnets(&self) -> impl Iterator<Item = IpNet> {
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

    fn is_here(&self, endpoint: &EndpointFact, own: &NodeFact) -> bool {
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
        let slices: Vec<&EndpointSliceFact> = self
            .facts
            .values()
            .filter_map(|fact| match fact {
                Fact::EndpointSlice(slice) => Some(slice),
                _ => None,
            })
            .filter(|slice| slice.name.namespace == service.name.namespace)
            .filter(|slice| slice.service.as_deref() == Some(&*service.name.name))
            .filter(|slice| slice.address_type.is_some())
            .collect();
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

    fn announced(&self) -> Announced {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_told_step_by_step_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::new(OWN);
        let mut followed = Followed::default();
        let mut facts = BTreeMap::new();
        let mut synced = BTreeSet::from([Kind::Configuration]);
        cluster.synced(Kind::Configuration);
        for step in start().into_iter().chain(steps) {
            match step {
                Step::Apply(fact) => {
                    facts.insert(fact.key(), fact.clone());
                    cluster.apply(fact);
                }
                Step::Remove(key) => {
                    facts.remove(&key);
                    cluster.remove(&key);
                }
                Step::Synced(kind) => {
                    synced.insert(kind);
                    cluster.synced(kind);
                }
                Step::Poll => followed.follow(&mut cluster),
            }
        }
        followed.follow(&mut cluster);
        let mut scratch = Cluster::new(OWN);
        facts.values().cloned().for_each(|fact| scratch.apply(fact));
        synced.iter().for_each(|kind| scratch.synced(*kind));
        let mut wanted = Followed::default();
        wanted.follow(&mut scratch);
        let rules = Rules {
            facts: &facts,
            namespaces_synced: synced.contains(&Kind::Namespace),
            cluster: &scratch,
        };
        prop_assert_eq!(&wanted.announced, &rules.announced());
        prop_assert_eq!(&followed, &wanted);
        prop_assert_eq!(cluster.services().collect::<Vec<_>>(), scratch.services().collect::<Vec<_>>());
        let now: BTreeSet<IpNet> = cluster.service_ranges().collect();
        prop_assert_eq!(&followed.ranges, &now);
        for (net, (by, _)) in followed.announced.iter().filter(|(_, (by, _))| *by != ["pods"]) {
            prop_assert!(now.iter().any(|range| range.contains(net)), "{} of {:?} is in no range", net, by);
            prop_assert!(!cluster.services_within(*net).is_empty());
        }
        for range in &now {
            prop_assert!(!cluster.origin().owners().any(|(pods, _)| range.contains(&pods)), "{}", range);
        }
    }
}
