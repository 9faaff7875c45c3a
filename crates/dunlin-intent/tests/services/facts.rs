//! Random facts that bear on Services, close enough together to meet.

use std::net::IpAddr;
use std::sync::Arc;

use dunlin_intent::*;
use dunlin_net::{Afi, Asn, IpNet};
use proptest::prelude::*;

use crate::steps::{OWN, Step};
use crate::{EXCLUDE, ZONE};

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
            labels.extend(rack.map(|rack| (ZONE.to_owned(), rack.to_string())));
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

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![6 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)]
}

fn port_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just("p")]
}

/// What bears on delivery alone.
fn delivery() -> impl Strategy<Value = ServiceFact> {
    let port = (
        port_name(),
        protocol(),
        80u16..82,
        proptest::option::of(30_000u16..30_002),
    );
    let port = port.prop_map(|(name, protocol, port, node_port)| ServicePortFact {
        name: name.into(),
        protocol,
        port,
        node_port,
    });
    let ranges: [IpNet; 3] =
        ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"].map(|text| text.parse().expect("a prefix"));
    (
        prop::collection::vec(port, 0..4),
        proptest::option::of(1u32..3),
        proptest::option::of(Just(32_000u16)),
        prop::sample::subsequence(ranges.to_vec(), 0..=3),
        prop_oneof![Just(Choice::Random), Just(Choice::Maglev { slots: 251 })],
        prop::bool::weighted(0.05),
    )
        .prop_map(
            |(ports, affinity, health_check, ranges, choice, foreign)| ServiceFact {
                ports,
                session_affinity_secs: affinity,
                health_check_node_port: health_check,
                load_balancer_source_ranges: ranges,
                choice,
                foreign_proxy: foreign,
                ..ServiceFact::new("", "")
            },
        )
}

fn service() -> impl Strategy<Value = Fact> {
    let place = (0u8..2, 0u8..4);
    let addresses = || prop::collection::vec(address(), 0..3);
    let service_type = prop_oneof![
        2 => Just(ServiceType::ClusterIp),
        1 => Just(ServiceType::NodePort),
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
        (proptest::option::of(0u8..2), delivery()),
    )
        .prop_map(
            |((space, n), service_type, [cluster_ips, external_ips, ingress], flags, others)| {
                let (rack, delivery) = others;
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
                    name: NamespacedName::new(format!("ns{space}"), format!("s{n}")),
                    ..delivery
                })
            },
        )
}

/// The address, or one of the family that corresponds to it.
fn of_family(addr: IpAddr, family: Option<Afi>) -> IpAddr {
    match (addr, family) {
        (IpAddr::V4(addr), Some(Afi::Ipv6)) => {
            let [_, _, net, n] = addr.octets();
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, net.into(), n.into()])
        }
        (IpAddr::V6(addr), Some(Afi::Ipv4)) => IpAddr::from([203, 0, 0, addr.octets()[15]]),
        _ => addr,
    }
}

/// So often some, as they only bear where all have them.
fn hints(names: [&'static str; 3], some_of_ten: u32) -> impl Strategy<Value = Vec<Arc<str>>> {
    let some = prop::sample::subsequence(names.to_vec(), 1..=3);
    let some = some.prop_map(|names| names.into_iter().map(Into::into).collect());
    prop_oneof![some_of_ten => some, 10 - some_of_ten => Just(Vec::new())]
}

fn slice() -> impl Strategy<Value = Fact> {
    let endpoint = (
        address(),
        proptest::option::weighted(0.7, 0u8..3),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        hints(["n0", "n1", "n2"], 4),
        hints(["0", "1", "2"], 9),
    );
    let endpoint = endpoint.prop_map(
        |(address, node, (ready, serving, terminating), node_hints, zone_hints)| EndpointFact {
            address: Some(address),
            node: node.map(|n| format!("n{n}").into()),
            ready,
            serving,
            terminating,
            zone_hints,
            node_hints,
        },
    );
    let port = (port_name(), protocol(), 8_080u16..8_082);
    let port = port.prop_map(|(name, protocol, port)| EndpointPortFact {
        name: name.into(),
        protocol,
        port,
    });
    let ports = prop::collection::vec(port, 0..4);
    let family = prop_oneof![
        4 => Just(Some(Afi::Ipv4)),
        2 => Just(Some(Afi::Ipv6)),
        1 => Just(None),
    ];
    let service = proptest::option::weighted(0.9, 0u8..4);
    let endpoints = prop::collection::vec(endpoint, 0..6);
    ((0u8..2, 0u8..6), service, family, endpoints, ports).prop_map(
        |((space, n), service, address_type, mut endpoints, ports)| {
            // As whoever reads slices makes sure.
            for endpoint in &mut endpoints {
                endpoint.address = endpoint.address.map(|addr| of_family(addr, address_type));
            }
            Fact::EndpointSlice(EndpointSliceFact {
                name: NamespacedName::new(format!("ns{space}"), format!("e{n}")),
                service: service.map(|n| format!("s{n}").into()),
                address_type,
                ports,
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
                // One of them at what Services have, too.
                peer_address: Some(match n {
                    0 => IpAddr::from([203, 0, 0, 1]),
                    _ => IpAddr::from([198, 51, 100, n]),
                }),
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

pub(crate) fn step() -> impl Strategy<Value = Step> {
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
pub(crate) fn start() -> Vec<Step> {
    use ServiceAddressKind as K;
    let own = NodeFact::new(OWN)
        .with_label(ZONE, "0")
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
