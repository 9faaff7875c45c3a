//! When an address is announced, beyond kube-router's cases.

use super::*;

const C: &str = "10.0.0.1/32";
const E: &str = "203.0.113.1/32";

/// A Service with a cluster IP and an external address.
fn external(change: impl FnOnce(&mut ServiceFact)) -> Fact {
    Fact::Service(service("svc", |s| {
        s.cluster_ips = vec![addr("10.0.0.1")];
        s.external_ips = vec![addr("203.0.113.1")];
        change(s);
    }))
}

fn local(s: &mut ServiceFact) {
    s.external_traffic_policy = TrafficPolicy::Local;
    s.internal_traffic_policy = TrafficPolicy::Local;
}

fn endpoints(endpoints: Vec<EndpointFact>) -> Fact {
    Fact::EndpointSlice(slice("svc", endpoints))
}

fn by_endpoints(policy: fn(&mut ServiceFact), given: Vec<EndpointFact>) -> Vec<String> {
    announced(&announcing(
        &ALL_KINDS,
        [external(policy), endpoints(given)],
    ))
}

#[test]
fn readiness_decides_and_terminating_endpoints_count_only_where_none_is_ready() {
    let cluster: fn(&mut ServiceFact) = |_| {};
    let published: fn(&mut ServiceFact) = |s| {
        local(s);
        s.publish_not_ready_addresses = true;
    };
    let serving = EndpointFact {
        serving: true,
        ..unready("n1")
    };
    let dead = EndpointFact {
        terminating: true,
        ..unready("n1")
    };
    type Case = (
        fn(&mut ServiceFact),
        Vec<EndpointFact>,
        &'static [&'static str],
    );
    let table: [Case; 16] = [
        (cluster, vec![], &[C]),
        (cluster, vec![unready("n1")], &[C]),
        (cluster, vec![unready("n1"), ready("n2")], &[C, E]),
        (cluster, vec![draining("n2")], &[C, E]),
        (cluster, vec![dead.clone()], &[C]),
        (local, vec![], &[]),
        (local, vec![ready("n2")], &[]),
        (local, vec![unready("n1"), ready("n2")], &[]),
        (local, vec![ready("n1"), ready("n2")], &[C, E]),
        (local, vec![draining("n1"), ready("n2")], &[]),
        (local, vec![draining("n1"), unready("n2")], &[C, E]),
        (local, vec![draining("n2")], &[]),
        (local, vec![dead], &[]),
        // Serving, but neither ready nor on its way out.
        (local, vec![serving], &[]),
        (published, vec![unready("n1")], &[C, E]),
        (published, vec![unready("n2")], &[]),
    ];
    for (n, (policy, given, expected)) in table.into_iter().enumerate() {
        assert_eq!(by_endpoints(policy, given), expected, "case {n}");
    }
}

#[test]
fn the_reason_says_what_is_missing() {
    use WithheldReason::{NoReadyEndpoint, NoReadyLocalEndpoint};
    let reasons = |policy: fn(&mut ServiceFact), given| {
        let facts = [external(policy), endpoints(given)];
        withheld(&announcing(&ALL_KINDS, facts), "svc")
    };
    assert_eq!(reasons(|_| {}, vec![]), [None, Some(NoReadyEndpoint)]);
    assert_eq!(reasons(local, vec![]), [Some(NoReadyEndpoint); 2]);
    assert_eq!(
        reasons(local, vec![ready("n2")]),
        [Some(NoReadyLocalEndpoint); 2]
    );
    let nothing = announcing(&[LoadBalancerIp], [external(|_| {})]);
    assert_eq!(
        withheld(&nothing, "svc"),
        [Some(WithheldReason::NotSelected); 2]
    );
}

#[test]
fn each_family_goes_by_its_own_endpoints() {
    let dual = external(|s| {
        local(s);
        s.cluster_ips.push(addr("fd00:10::1"));
    });
    let of_family = |n: u8, family, on| {
        Fact::EndpointSlice(EndpointSliceFact {
            name: NamespacedName::new("web", format!("svc-{n}")),
            address_type: family,
            ..slice("svc", vec![ready(on)])
        })
    };
    let announced_with = |slices: Vec<Fact>| {
        let facts = [dual.clone()].into_iter().chain(slices);
        announced(&announcing(&[ClusterIp], facts))
    };
    let v6 = "fd00:10::1/128";
    let (ipv4, ipv6) = (Some(Afi::Ipv4), Some(Afi::Ipv6));
    assert_eq!(
        announced_with(vec![of_family(1, ipv4, "n1"), of_family(2, ipv6, "n1")]),
        [C, v6]
    );
    assert_eq!(
        announced_with(vec![of_family(1, ipv4, "n1"), of_family(2, ipv6, "n2")]),
        [C]
    );
    // With slices of one family only, they speak for both.
    assert_eq!(announced_with(vec![of_family(1, ipv6, "n1")]), [C, v6]);
    // A slice of host names says nothing of addresses.
    assert!(announced_with(vec![of_family(1, None, "n1")]).is_empty());
}

#[test]
fn slices_add_up_and_are_taken_back_one_by_one() {
    let second = |endpoints| {
        Fact::EndpointSlice(EndpointSliceFact {
            name: NamespacedName::new("web", "svc-2"),
            ..slice("svc", endpoints)
        })
    };
    let facts = [
        external(local),
        endpoints(vec![ready("n1")]),
        second(vec![ready("n1"), ready("n2")]),
    ];
    let mut cluster = announcing(&ALL_KINDS, facts);
    let counts = |cluster: &Cluster| {
        let view = cluster.service(&NamespacedName::new("web", "svc"));
        let counts = view.unwrap().endpoint_counts();
        (counts.total, counts.ready, counts.local_ready)
    };
    assert_eq!(counts(&cluster), (3, 3, 2));
    cluster.apply(endpoints(vec![]));
    assert!(changes(&mut cluster).is_empty());
    assert_eq!(counts(&cluster), (2, 2, 1));
    cluster.apply(second(vec![ready("n2")]));
    assert!(announced_now(&mut cluster).is_empty());
    assert_eq!(counts(&cluster), (1, 1, 0));
}

#[test]
fn an_endpoint_without_node_name_is_where_its_address_is() {
    let at = |address: &str| EndpointFact {
        address: Some(addr(address)),
        node: None,
        ..ready("")
    };
    for (address, expected) in [
        ("192.0.2.1", &[C, E][..]),
        ("10.244.1.9", &[C, E]),
        ("192.0.2.2", &[]),
        ("10.244.2.9", &[]),
    ] {
        assert_eq!(
            by_endpoints(local, vec![at(address)]),
            expected,
            "{address}"
        );
    }
    // What is on this node may be known later, and may change.
    let facts = [external(local), endpoints(vec![at("192.0.2.7")])];
    let mut cluster = announcing(&ALL_KINDS, facts);
    assert!(announced(&cluster).is_empty());
    cluster.apply(Fact::Node(node("n1", &["192.0.2.1", "192.0.2.7"], &[])));
    assert_eq!(announced_now(&mut cluster), [C, E]);
    cluster.apply(Fact::Node(node("n1", &["192.0.2.1"], &["192.0.2.0/29"])));
    assert!(
        announced_now(&mut cluster).is_empty(),
        "a subnet with node addresses is nobody's"
    );
}

#[test]
fn an_excluded_node_announces_cluster_ips_only() {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    let own = |value: Option<&str>| {
        let fact = node("n1", &["192.0.2.1"], &[]);
        Fact::Node(match value {
            Some(value) => fact.with_label(label, value),
            None => fact,
        })
    };
    let facts = [external(|_| {}), endpoints(vec![ready("n1")])];
    let mut cluster = announcing(&ALL_KINDS, facts);
    // The label's value does not matter, as for the cloud controllers.
    for value in ["", "true", "false"] {
        cluster.apply(own(Some(value)));
        assert_eq!(announced_now(&mut cluster), [C]);
        assert_eq!(
            withheld(&cluster, "svc"),
            [None, Some(WithheldReason::NodeExcluded)]
        );
        cluster.apply(own(None));
        assert_eq!(announced_now(&mut cluster), [C, E]);
    }
}

#[test]
fn a_service_being_deleted_is_announced_until_it_is_gone() {
    let facts = [external(|_| {}), endpoints(vec![ready("n2")])];
    let mut cluster = announcing(&ALL_KINDS, facts);
    cluster.apply(external(|s| s.deleting = true));
    assert!(changes(&mut cluster).is_empty());
    assert_eq!(announced(&cluster), [C, E]);
    cluster.remove(&Key::Service(NamespacedName::new("web", "svc")));
    assert!(announced_now(&mut cluster).is_empty());
}

#[test]
fn an_address_of_several_services_stays_while_one_of_them_wants_it() {
    let sharing = |name: &str, created| {
        Fact::Service(service(name, |s| {
            s.created = Some(crate::Timestamp::from_unix_secs(created));
            s.cluster_ips = vec![addr("10.0.0.1")];
            s.external_ips = vec![addr("203.0.113.1")];
        }))
    };
    let backing = |name: &str, endpoints| Fact::EndpointSlice(slice(name, endpoints));
    let mut cluster = announcing(
        &[ExternalIp],
        [
            sharing("a", 7),
            sharing("b", 3),
            backing("a", vec![ready("n2")]),
            backing("b", vec![ready("n2")]),
        ],
    );
    assert_eq!(announced(&cluster), [E]);
    let name = |name| NamespacedName::new("web", name);
    let shared_by = |cluster: &Cluster| -> Vec<String> {
        let view = cluster.service(&name("a")).unwrap();
        let of_external = view.addresses.into_iter().next_back().unwrap();
        of_external
            .shared_by
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(shared_by(&cluster), ["web/b", "web/a"], "oldest first");
    cluster.apply(backing("b", vec![]));
    assert!(changes(&mut cluster).is_empty());
    cluster.remove(&Key::Service(name("b")));
    assert!(changes(&mut cluster).is_empty());
    assert!(shared_by(&cluster).is_empty());
    let within = cluster.services_within(net("203.0.113.0/24"));
    assert_eq!(within, [(addr("203.0.113.1"), &name("a"))]);
    cluster.apply(backing("a", vec![unready("n1")]));
    assert_eq!(changes(&mut cluster), [Change::OriginateGone(net(E))]);
}

#[test]
fn an_address_moves_from_one_service_to_another_without_a_gap() {
    let with = |name: &str, addresses: &[&str]| {
        Fact::Service(service(name, |s| {
            s.cluster_ips = addresses.iter().map(|a| addr(a)).collect();
        }))
    };
    let facts = [with("a", &["10.0.0.1"]), with("b", &["10.0.0.2"])];
    let mut cluster = announcing(&[ClusterIp], facts);
    cluster.apply(with("a", &["10.0.0.3"]));
    cluster.apply(with("b", &["10.0.0.1"]));
    let told = changes(&mut cluster);
    assert_eq!(announced(&cluster), [C, "10.0.0.3/32"]);
    assert!(!told.contains(&Change::OriginateGone(net(C))), "{told:?}");
}

#[test]
fn what_would_capture_the_cluster_is_never_announced() {
    use WithheldReason as W;
    let table = [
        ("192.0.2.2", W::NodeAddress, Reason::ServiceAddressInUse),
        ("192.0.2.1", W::NodeAddress, Reason::ServiceAddressInUse),
        (
            "10.244.2.77",
            W::WithinPodSubnet,
            Reason::ServiceAddressInUse,
        ),
        ("fd00:1::9", W::WithinPodSubnet, Reason::ServiceAddressInUse),
        ("127.0.0.1", W::NotUnicast, Reason::Invalid),
        ("224.0.0.1", W::NotUnicast, Reason::Invalid),
        ("fe80::1", W::NotUnicast, Reason::Invalid),
    ];
    for (address, why, reason) in table {
        let fact = || external(|s| s.external_ips = vec![addr(address), addr("203.0.113.1")]);
        let facts = [fact(), endpoints(vec![ready("n1")])];
        let cluster = announcing(&ALL_KINDS, facts.clone());
        assert_eq!(announced(&cluster), [C, E]);
        assert_eq!(withheld(&cluster, "svc"), [None, Some(why), None]);
        assert_eq!(reasons(&cluster), [problem("Service/web/svc", reason)]);
        let found = cluster.problems();
        assert_eq!(found[0].field.as_deref(), Some("spec.externalIPs"));
        assert!(found[0].message.contains(address), "{}", found[0]);
        // Where nobody asks for it to be announced, it is nobody's problem.
        let cluster = announcing(&[ClusterIp], facts);
        assert_eq!(reasons(&cluster), []);
    }
}

#[test]
fn a_node_that_comes_later_takes_its_addresses_back() {
    let facts = [
        external(|s| s.external_ips.push(addr("203.0.113.129"))),
        endpoints(vec![ready("n1")]),
    ];
    let mut cluster = announcing(&[ExternalIp], facts);
    let both = [E, "203.0.113.129/32"];
    assert_eq!(announced(&cluster), both);
    let third = |addresses: &[&str], subnets: &[&str]| Fact::Node(node("n3", addresses, subnets));
    for taking in [
        third(&["203.0.113.129"], &[]),
        third(&["192.0.2.3"], &["203.0.113.128/25"]),
    ] {
        cluster.apply(taking);
        assert_eq!(announced_now(&mut cluster), [E]);
        assert_eq!(
            reasons(&cluster),
            [problem("Service/web/svc", Reason::ServiceAddressInUse)]
        );
        cluster.remove(&Key::Node("n3".to_owned()));
        assert_eq!(announced_now(&mut cluster), both);
        assert_eq!(reasons(&cluster), []);
    }
}

#[test]
fn what_a_peer_or_an_api_server_has_no_service_is_announced_at() {
    let fact = external(|s| {
        s.cluster_ips = vec![addr("10.0.0.1")];
        s.external_ips = vec![addr("203.0.113.1")];
    });
    let mut cluster = announcing(&ALL_KINDS, [fact, endpoints(vec![ready("n1")])]);
    assert_eq!(announced(&cluster), ["10.0.0.1/32", "203.0.113.1/32"]);
    let said = |cluster: &Cluster| -> Vec<String> {
        let problems = cluster.problems().into_iter();
        let about = problems.filter(|p| p.object.to_string() == "Service/web/svc");
        about.map(|p| p.message.clone()).collect()
    };
    // Also if it is a peer of other nodes alone, or of none.
    let peer = |name: &str| {
        Fact::Peer(PeerFact {
            name: name.to_owned(),
            peer_address: Some(addr("203.0.113.1")),
            peer_asn: Some(PeerAsn::Number(Asn(65010))),
            node_selector: Some(labelled("rack", "elsewhere")),
            ..PeerFact::default()
        })
    };
    cluster.apply(peer("tor"));
    assert_eq!(announced_now(&mut cluster), ["10.0.0.1/32"]);
    let why = [None, Some(WithheldReason::PeerAddress)];
    assert_eq!(withheld(&cluster, "svc"), why);
    assert_eq!(said(&cluster).len(), 1);
    assert!(said(&cluster)[0].starts_with("203.0.113.1 is the address of the BGPPeer tor "));
    cluster.apply(peer("spine"));
    changes(&mut cluster);
    assert!(said(&cluster)[0].contains(" the BGPPeer spine "));
    for name in ["spine", "tor"] {
        cluster.remove(&Key::Peer(name.to_owned()));
    }
    assert_eq!(announced_now(&mut cluster).len(), 2);
    assert_eq!(said(&cluster), [""; 0]);
    // We may reach the API server by its cluster IP, and that is its own.
    cluster.set_api_servers([addr("203.0.113.1"), addr("10.0.0.1")]);
    assert_eq!(announced_now(&mut cluster), ["10.0.0.1/32"]);
    let why = [None, Some(WithheldReason::ApiServerAddress)];
    assert_eq!(withheld(&cluster, "svc"), why);
    assert!(said(&cluster)[0].contains(" an API server "));
    cluster.set_api_servers([]);
    assert_eq!(announced_now(&mut cluster).len(), 2);
    // The Node that is named is the oldest that has it.
    cluster.apply(Fact::Node(node("n4", &["203.0.113.1"], &[])));
    changes(&mut cluster);
    assert!(said(&cluster)[0].contains(" the Node n4 "));
    cluster.apply(Fact::Node(node("n3", &["203.0.113.1"], &[])));
    changes(&mut cluster);
    assert!(said(&cluster)[0].contains(" the Node n3 "));
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let advertisement = |selector: crate::Selector| {
        announce("all", &[ClusterIp], |a| {
            a.services.as_mut().unwrap().namespace_selector = Some(selector);
        })
    };
    let namespace = |team: &str| {
        Fact::Namespace(NamespaceFact {
            name: "web".to_owned(),
            labels: [("team".to_owned(), team.to_owned())].into(),
        })
    };
    let facts = [external(|_| {}), advertisement(labelled("team", "a"))];
    let mut cluster = announcing(&[], facts);
    assert!(announced(&cluster).is_empty());
    cluster.apply(namespace("a"));
    assert_eq!(announced_now(&mut cluster), [C]);
    cluster.apply(namespace("b"));
    assert!(announced_now(&mut cluster).is_empty());
    cluster.remove(&Key::Namespace("web".to_owned()));
    cluster.apply(advertisement(labelled(
        "kubernetes.io/metadata.name",
        "web",
    )));
    assert_eq!(announced_now(&mut cluster), [C], "a name needs no object");
}

#[test]
fn a_namespace_not_told_yet_is_selected_by_nothing() {
    let not_internal = crate::Selector {
        match_expressions: vec![crate::Requirement {
            key: "internal".to_owned(),
            operator: crate::Operator::DoesNotExist,
            values: Vec::new(),
        }],
        ..crate::Selector::default()
    };
    let mut cluster = Cluster::new("n1");
    pair().into_iter().for_each(|fact| cluster.apply(fact));
    cluster.synced(Kind::Configuration);
    cluster.apply(external(|_| {}));
    cluster.apply(announce("all", &[ClusterIp], |a| {
        a.services.as_mut().unwrap().namespace_selector = Some(not_internal);
    }));
    assert!(announced_now(&mut cluster).is_empty());
    cluster.synced(Kind::Namespace);
    assert_eq!(announced_now(&mut cluster), [C]);
}

#[test]
fn a_malformed_field_is_a_problem_of_its_object_and_the_rest_goes_on() {
    let malformed = |field: &str| vec![crate::Malformed::new(field, "\"x\" is no address")];
    let broken = |faulty: bool| {
        let fact = external(|s| {
            s.malformed = match faulty {
                true => malformed("spec.externalIPs[1]"),
                false => Vec::new(),
            };
        });
        let mut slice = slice("svc", vec![ready("n1")]);
        if faulty {
            slice.malformed = malformed("endpoints[3].addresses[0]");
        }
        [fact, Fact::EndpointSlice(slice)]
    };
    let mut cluster = announcing(&ALL_KINDS, broken(true));
    assert_eq!(announced(&cluster), [C, E]);
    let both = [
        problem("Service/web/svc", Reason::Invalid),
        problem("EndpointSlice/web/svc-1", Reason::Invalid),
    ];
    assert_eq!(reasons(&cluster), both);
    broken(false).into_iter().for_each(|f| cluster.apply(f));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
    broken(true).into_iter().for_each(|f| cluster.apply(f));
    changes(&mut cluster);
    cluster.remove(&Key::Service(NamespacedName::new("web", "svc")));
    cluster.remove(&Key::EndpointSlice(NamespacedName::new("web", "svc-1")));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn the_problem_names_the_node_that_owns_the_subnet_now() {
    let mut cluster = announcing(
        &[ClusterIp],
        [
            Fact::Node(node("n4", &["192.0.2.4"], &["10.0.0.0/24"])),
            external(|_| {}),
        ],
    );
    let owner = |cluster: &Cluster, name: &str| cluster.problems()[0].message.contains(name);
    assert!(owner(&cluster, "n4"));
    cluster.apply(Fact::Node(node("n3", &["192.0.2.3"], &["10.0.0.0/24"])));
    changes(&mut cluster);
    let of_service = cluster
        .problems()
        .into_iter()
        .find(|p| p.object.kind == ObjectKind::Service);
    assert!(of_service.unwrap().message.contains("n3"));
}
