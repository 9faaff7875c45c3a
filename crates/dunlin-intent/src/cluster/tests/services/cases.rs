//! kube-router's cases, A1 to A7.

use super::*;
use crate::fact::{FilterFact, FilterRuleFact};
use crate::intent::ExportFilter;
use dunlin_bgp::policy::{FilterAction, Match};
use dunlin_net::{Ipv4Net, V4};

pub(super) const C: &str = "10.0.0.1/32";
pub(super) const E: &str = "1.1.1.1/32";
pub(super) const L1: &str = "10.0.255.1/32";
pub(super) const L2: &str = "10.0.255.2/32";

const TYPES: [ServiceType; 3] = [
    ServiceType::ClusterIp,
    ServiceType::NodePort,
    ServiceType::LoadBalancer,
];

fn with_cluster_ip(name: &str, service_type: ServiceType, addresses: &[&str]) -> Fact {
    Fact::Service(service(name, |s| {
        s.service_type = service_type;
        s.cluster_ips = addresses.iter().map(|a| addr(a)).collect();
    }))
}

pub(super) fn backed(name: &str) -> Fact {
    Fact::EndpointSlice(slice(name, vec![ready("n1")]))
}

#[test]
fn a1_cluster_ips_of_all_types_but_unknown_and_headless_ones() {
    use ServiceType as T;
    let first = || with_cluster_ip("a", T::ClusterIp, &["10.0.0.1"]);
    let table: [(Vec<Fact>, &[&str]); 5] = [
        (vec![first()], &["10.0.0.1/32"]),
        (
            vec![
                first(),
                with_cluster_ip("b", T::LoadBalancer, &["10.0.0.2"]),
                with_cluster_ip("c", T::NodePort, &["10.0.0.3"]),
            ],
            &["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"],
        ),
        (
            vec![first(), with_cluster_ip("b", T::Unknown, &["10.0.0.2"])],
            &["10.0.0.1/32"],
        ),
        // `None` and an empty string are no address in our facts.
        (
            vec![first(), with_cluster_ip("b", T::ClusterIp, &[])],
            &["10.0.0.1/32"],
        ),
        (
            vec![
                first(),
                with_cluster_ip("b", T::ExternalName, &["10.0.0.2"]),
            ],
            &["10.0.0.1/32"],
        ),
    ];
    for (services, expected) in table {
        let backing = ["a", "b", "c"].map(backed);
        let cluster = announcing(&[ClusterIp], services.into_iter().chain(backing));
        assert_eq!(announced(&cluster), expected);
    }
}

#[test]
fn a2_external_ips_of_all_types_but_unknown_and_headless_ones() {
    use ServiceType as T;
    let both: &[&str] = &["1.1.1.1/32", "2.2.2.2/32"];
    for (service_type, cluster_ip, expected) in [
        (T::ClusterIp, true, both),
        (T::LoadBalancer, true, both),
        (T::NodePort, true, both),
        (T::Unknown, true, &[]),
        (T::ExternalName, true, &[]),
        (T::ClusterIp, false, &[]),
    ] {
        let fact = service("a", |s| {
            s.service_type = service_type;
            s.cluster_ips.extend(cluster_ip.then(|| addr("10.0.0.1")));
            s.external_ips = vec![addr("1.1.1.1"), addr("2.2.2.2")];
        });
        let cluster = announcing(&[ExternalIp], [Fact::Service(fact), backed("a")]);
        assert_eq!(announced(&cluster), expected, "{service_type:?}");
    }
}

#[test]
fn a2_load_balancer_addresses_but_no_host_names() {
    let hostname = IngressFact {
        ip: None,
        vip: true,
    };
    for (ingress, expected) in [
        (vec![hostname.clone()], &[][..]),
        (vec![vip("10.0.255.1"), vip("10.0.255.2")], &[L1, L2]),
        (vec![hostname, vip("10.0.255.2")], &[L2]),
        (vec![], &[]),
    ] {
        let fact = service("a", |s| {
            s.service_type = ServiceType::LoadBalancer;
            s.cluster_ips = vec![addr("10.0.0.1")];
            s.ingress = ingress;
        });
        let cluster = announcing(&[LoadBalancerIp], [Fact::Service(fact), backed("a")]);
        assert_eq!(announced(&cluster), expected);
    }
}

/// `service.skiplbips` is an advertisement that leaves labelled Services out.
#[test]
fn a2_services_whose_load_balancer_addresses_are_to_be_skipped() {
    let not_skipped = announce("all", &[LoadBalancerIp], |a| {
        a.services.as_mut().unwrap().selector = Some(crate::Selector {
            match_expressions: vec![crate::Requirement {
                key: "skip-lb-ips".to_owned(),
                operator: crate::Operator::DoesNotExist,
                values: Vec::new(),
            }],
            ..crate::Selector::default()
        });
    });
    for (label, expected) in [(None, &[L1, L2][..]), (Some("skip-lb-ips"), &[])] {
        let fact = of_type(ServiceType::LoadBalancer, |s| {
            s.labels
                .extend(label.map(|key| (key.to_owned(), String::new())));
        });
        let facts = [not_skipped.clone(), Fact::Service(fact), backed("svc")];
        let cluster = announcing(&[], facts);
        assert_eq!(announced(&cluster), expected);
    }
}

#[test]
fn a3_a_service_opts_out_of_or_in_to_what_is_announced() {
    let labelled_services = |value: &str| {
        announce("all", &ALL_KINDS, |a| {
            a.services.as_mut().unwrap().selector = Some(labelled("advertise", value));
        })
    };
    let services = |value: &'static str| {
        (0u8..3).zip(TYPES).flat_map(move |(n, service_type)| {
            let name = format!("s{n}");
            let fact = service(&name, |s| {
                s.service_type = service_type;
                s.labels.insert("advertise".to_owned(), value.to_owned());
                s.cluster_ips = vec![IpAddr::from([10, 0, 0, n])];
                s.external_ips = vec![IpAddr::from([1, 1, 1, n])];
                s.ingress = ["10.0.255.1", "10.0.255.2", "10.0.255.3"].map(vip).into();
            });
            [Fact::Service(fact), backed(&name)]
        })
    };
    let of = |value: &'static str| {
        let facts = [labelled_services("true")]
            .into_iter()
            .chain(services(value));
        announced(&announcing(&[], facts))
    };
    assert!(of("false").is_empty());
    // Three cluster IPs, three external ones, and the three of the one LoadBalancer.
    assert_eq!(of("true").len(), 9);
}

pub(super) fn of_type(
    service_type: ServiceType,
    change: impl FnOnce(&mut ServiceFact),
) -> ServiceFact {
    service("svc", |s| {
        s.service_type = service_type;
        s.cluster_ips = vec![addr("10.0.0.1")];
        if service_type != ServiceType::ClusterIp {
            s.external_ips = vec![addr("1.1.1.1")];
        }
        if service_type == ServiceType::LoadBalancer {
            s.ingress = vec![vip("10.0.255.1"), vip("10.0.255.2")];
        }
        change(s);
    })
}

/// The four kinds of Services of A4: without and with an external address, NodePort, LoadBalancer.
fn a4(
    kinds: &[ServiceAddressKind],
    endpoint: EndpointSliceFact,
    change: impl Fn(&mut ServiceFact),
) -> [Vec<String>; 4] {
    let external = |s: &mut ServiceFact| s.external_ips = vec![addr("1.1.1.1")];
    let of = |fact| {
        let facts = [Fact::Service(fact), Fact::EndpointSlice(endpoint.clone())];
        announced(&announcing(kinds, facts))
    };
    [
        of(of_type(ServiceType::ClusterIp, &change)),
        of(of_type(ServiceType::ClusterIp, |s| {
            external(s);
            change(s);
        })),
        of(of_type(ServiceType::NodePort, &change)),
        of(of_type(ServiceType::LoadBalancer, &change)),
    ]
}

/// Addresses sort as numbers: E, C, then L.
fn all_of(c: bool, e: bool, l: bool) -> [Vec<&'static str>; 4] {
    let of = |has_e: bool, has_l: bool| {
        let parts = [(e && has_e, E), (c, C), (l && has_l, L1), (l && has_l, L2)];
        let parts = parts.into_iter().filter(|(given, _)| *given);
        parts.map(|(_, net)| net).collect()
    };
    [
        of(false, false),
        of(true, false),
        of(true, false),
        of(true, true),
    ]
}

fn local() -> EndpointSliceFact {
    slice("svc", vec![ready("n1"), ready("n2")])
}

fn local_ipv6() -> EndpointSliceFact {
    EndpointSliceFact {
        address_type: Some(Afi::Ipv6),
        ..local()
    }
}

fn remote() -> EndpointSliceFact {
    slice("svc", vec![ready("n2")])
}

#[test]
fn a4_which_kinds_are_announced() {
    let table: [(&[ServiceAddressKind], _); 5] = [
        (&ALL_KINDS, all_of(true, true, true)),
        (&[], all_of(false, false, false)),
        (&[ClusterIp], all_of(true, false, false)),
        (&[ExternalIp], all_of(false, true, false)),
        (&[LoadBalancerIp], all_of(false, false, true)),
    ];
    for (kinds, expected) in table {
        assert_eq!(a4(kinds, remote(), |_| {}), expected, "{kinds:?}");
    }
}

/// `service.local=true` of kube-router is `externalTrafficPolicy: Local`.
#[test]
fn a4_traffic_policies_with_and_without_a_local_endpoint() {
    use TrafficPolicy::Local;
    let external = |s: &mut ServiceFact| s.external_traffic_policy = Local;
    let internal = |s: &mut ServiceFact| s.internal_traffic_policy = Local;
    for endpoint in [local(), local_ipv6()] {
        let expected = all_of(true, true, true);
        assert_eq!(a4(&ALL_KINDS, endpoint.clone(), external), expected);
        assert_eq!(a4(&ALL_KINDS, endpoint, internal), expected);
    }
    assert_eq!(
        a4(&ALL_KINDS, remote(), external),
        all_of(true, false, false)
    );
    assert_eq!(
        a4(&ALL_KINDS, remote(), internal),
        all_of(false, true, true)
    );
}

#[test]
fn a4_ip_mode_proxy_is_left_out_address_by_address() {
    for (modes, expected) in [
        ([false, false], vec![E, C]),
        ([false, true], vec![E, C, L2]),
        ([true, true], vec![E, C, L1, L2]),
    ] {
        let fact = of_type(ServiceType::LoadBalancer, |s| {
            for (ingress, vip) in s.ingress.iter_mut().zip(modes) {
                ingress.vip = vip;
            }
        });
        let facts = [Fact::Service(fact), Fact::EndpointSlice(local())];
        let cluster = announcing(&ALL_KINDS, facts);
        assert_eq!(announced(&cluster), expected);
    }
}

/// kube-router's strict ranges are rules of the `exportFilter`, and a filter without a rule lets nothing through.
/// Whatever the filter, addresses of nodes and pods are never announced: see `what_would_capture_the_cluster`.
#[test]
fn a5_external_addresses_outside_the_allowed_ranges_are_not_told() {
    let rule = |action, range: &str| FilterRuleFact {
        action,
        matches: Match {
            cidr: Some(net(range)),
            length_max: Some(32),
            ..Match::default()
        },
        ..FilterRuleFact::accept_all()
    };
    let accept = |range| rule(FilterAction::Accept, range);
    let reject = |range| rule(FilterAction::Reject, range);
    let table: [(Option<Vec<FilterRuleFact>>, &str, bool); 8] = [
        (None, "1.1.1.1", true),
        (Some(vec![accept("1.1.1.0/24")]), "1.1.1.1", true),
        (Some(vec![accept("2.2.2.0/24")]), "1.1.1.1", false),
        (Some(vec![]), "1.1.1.1", false),
        (Some(vec![FilterRuleFact::accept_all()]), "1.1.1.1", true),
        // Within the cluster range, which is refused before the wider range is allowed.
        (
            Some(vec![reject("10.0.0.0/24"), accept("10.0.0.0/8")]),
            "10.0.0.50",
            false,
        ),
        (Some(vec![accept("10.0.255.0/24")]), "10.0.255.1", true),
        (Some(vec![accept("10.0.255.0/24")]), "10.0.254.1", false),
    ];
    for (rules, external_ip, expected) in table {
        let filter = rules.clone().map(|rules| {
            Fact::Filter(FilterFact {
                name: "ranges".to_owned(),
                rules,
                ..FilterFact::default()
            })
        });
        let router = Fact::Peer(PeerFact {
            name: "router".to_owned(),
            peer_address: Some(addr("192.0.2.254")),
            peer_asn: Some(PeerAsn::Number(Asn(65010))),
            export_filter: filter.is_some().then(|| "ranges".to_owned()),
            ..PeerFact::default()
        });
        let fact = service("svc", |s| {
            s.cluster_ips = vec![addr("10.0.0.1")];
            s.external_ips = vec![addr(external_ip)];
        });
        let facts = [router, Fact::Service(fact), backed("svc")];
        let cluster = announcing(&[ExternalIp], facts.into_iter().chain(filter));
        let key = PeerKey::Configured("router".into());
        let policy = &peer(&cluster, &key).unwrap().policy.export;
        let told: Ipv4Net = format!("{external_ip}/32").parse().unwrap();
        let passes = match &policy.filter {
            ExportFilter::None => true,
            ExportFilter::Filter(filter) => filter.may_accept::<V4>(told),
            ExportFilter::Missing => false,
        };
        assert_eq!(passes, expected, "{external_ip} {rules:?}");
        assert_eq!(announced(&cluster), [told.to_string()]);
    }
}

#[test]
fn a6_an_endpoint_is_local_by_its_node_name() {
    let fact = || {
        Fact::Service(of_type(ServiceType::ClusterIp, |s| {
            s.internal_traffic_policy = TrafficPolicy::Local;
        }))
    };
    for (endpoints, expected) in [
        (vec![ready("n1")], &[C][..]),
        (vec![ready("n2"), ready("n1")], &[C]),
        (vec![ready("n2"), ready("n3")], &[]),
    ] {
        let facts = [fact(), Fact::EndpointSlice(slice("svc", endpoints))];
        assert_eq!(announced(&announcing(&[ClusterIp], facts)), expected);
    }
}

#[test]
fn a7_pod_subnets_of_both_families_have_the_nodes_address_of_the_family_as_next_hop() {
    let cluster = announcing(&[], []);
    let originations: Vec<_> = cluster
        .originations()
        .map(|(net, o)| (net.to_string(), o.next_hop.to_string()))
        .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        originations,
        [
            pair("10.244.1.0/24", "192.0.2.1"),
            pair("fd00:1::/64", "2001:db8::1")
        ]
    );
}
