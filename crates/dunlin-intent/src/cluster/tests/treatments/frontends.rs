//! Which frontends there are, whose they are, and what goes with them.

use super::*;
use crate::fact::{Choice, Malformed, Timestamp};
use crate::problem::Reason;
use std::sync::Arc;

fn problems(cluster: &Cluster) -> Vec<(String, Reason)> {
    let problems = cluster.problems().into_iter();
    problems
        .map(|p| (p.object.name.clone(), p.reason))
        .collect()
}

fn aged(of: &str, secs: i64, change: impl FnOnce(&mut ServiceFact)) -> Fact {
    service(|s| {
        s.name = name(of);
        s.created = Some(Timestamp::from_unix_secs(secs));
        change(s);
    })
}

#[test]
fn a_service_has_its_addresses_at_its_ports_and_node_ports_at_the_nodes() {
    let dual = service(|s| {
        s.service_type = ServiceType::LoadBalancer;
        s.cluster_ips = vec![addr("10.96.0.1"), addr("fd00:96::1")];
        s.external_ips = vec![addr("198.51.100.1"), addr("2001:db8:e::1")];
        let ingress = [("203.0.113.1", true), ("203.0.113.2", false)];
        s.ingress = ingress
            .map(|(ip, vip)| IngressFact {
                ip: Some(addr(ip)),
                vip,
            })
            .to_vec();
        s.ports[0].name = "web".into();
        s.ports.push(ServicePortFact {
            name: "dns".into(),
            protocol: Protocol::Udp,
            port: 53,
            node_port: None,
        });
    });
    let ports = vec![
        to("web", Protocol::Tcp, 8080),
        to("dns", Protocol::Udp, 5353),
    ];
    let ipv4 = EndpointSliceFact {
        ports: ports.clone(),
        ..slice("a-4", "1:r")
    };
    let ipv6 = EndpointSliceFact {
        address_type: Some(Afi::Ipv6),
        ports,
        endpoints: vec![EndpointFact {
            address: Some(addr("fd00:1::7")),
            ..endpoint("0:r")
        }],
        ..slice("a-6", "")
    };
    let cluster = proxied([dual, Fact::EndpointSlice(ipv4), Fact::EndpointSlice(ipv6)]);
    let found: Vec<(String, String)> = rules(&cluster)
        .iter()
        .map(|rule| match &rule.inside {
            Treatment::Balance(b) => (rule.frontend.to_string(), b.endpoints[0].to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    let want = [
        ("10.96.0.1:80/TCP", "10.244.1.1:8080"),
        ("10.96.0.1:53/UDP", "10.244.1.1:5353"),
        ("192.0.2.1:30080/TCP", "10.244.1.1:8080"),
        ("198.51.100.1:80/TCP", "10.244.1.1:8080"),
        ("198.51.100.1:53/UDP", "10.244.1.1:5353"),
        ("203.0.113.1:80/TCP", "10.244.1.1:8080"),
        ("203.0.113.1:53/UDP", "10.244.1.1:5353"),
        ("[2001:db8::1]:30080/TCP", "[fd00:1::7]:8080"),
        ("[2001:db8:e::1]:80/TCP", "[fd00:1::7]:8080"),
        ("[2001:db8:e::1]:53/UDP", "[fd00:1::7]:5353"),
        ("[fd00:96::1]:80/TCP", "[fd00:1::7]:8080"),
        ("[fd00:96::1]:53/UDP", "[fd00:1::7]:5353"),
    ];
    let want = want.map(|(frontend, to)| (frontend.to_owned(), to.to_owned()));
    assert_eq!(found, want);
    assert!(problems(&cluster).is_empty());
}

#[test]
fn a_port_that_no_slice_has_is_refused_at_once() {
    let mut cluster = proxied([service(|_| {}), endpoints("1:r")]);
    assert_eq!(at(&cluster, INTERNAL, View::Inside), "1");
    for ports in [
        vec![],
        vec![to("other", Protocol::Tcp, 8080)],
        vec![to("", Protocol::Udp, 8080)],
    ] {
        let without = EndpointSliceFact {
            ports,
            ..slice("a-1", "1:r")
        };
        assert_eq!(told_by(&mut cluster, Fact::EndpointSlice(without)), ["a"]);
        assert_eq!(at(&cluster, INTERNAL, View::Inside), "reject");
        assert_eq!(at(&cluster, NODE_PORT, View::Outside), "reject");
    }
}

#[test]
fn some_services_are_not_ours_to_deliver_to() {
    for change in [
        (|s| s.cluster_ips.clear()) as fn(&mut ServiceFact),
        |s| s.service_type = ServiceType::ExternalName,
        |s| s.service_type = ServiceType::Unknown,
        |s| s.foreign_proxy = true,
    ] {
        let mut cluster = proxied([service(|_| {}), endpoints("1:r")]);
        assert_eq!(frontends(&cluster), [INTERNAL, NODE_PORT]);
        assert_eq!(told_by(&mut cluster, service(change)), ["a"]);
        assert!(frontends(&cluster).is_empty());
        assert!(told_by(&mut cluster, endpoints("2:r")).is_empty());
        assert_eq!(told_by(&mut cluster, service(|_| {})), ["a"]);
        assert_eq!(at(&cluster, INTERNAL, View::Inside), "2");
        cluster.remove(&Key::Service(name("a")));
        assert_eq!(told(&mut cluster), ["a"]);
        assert!(frontends(&cluster).is_empty());
    }
    // Of a type without node ports, and what a Service had when it was of another type.
    let internal = service(|s| {
        s.service_type = ServiceType::ClusterIp;
        s.ingress = vec![IngressFact {
            ip: Some(addr("203.0.113.1")),
            vip: true,
        }];
    });
    assert_eq!(frontends(&proxied([internal])), [INTERNAL]);
}

#[test]
fn without_the_service_proxy_nothing_is_kept() {
    let mut off = cluster(
        pair()
            .into_iter()
            .chain([service(|_| {}), endpoints("1:r")]),
    );
    assert_eq!(off.poll_treatment_change(), None);
    assert!(off.treatment(&name("a")).is_empty());
    assert_eq!(off.health_checks().count(), 0);
}

#[test]
fn the_older_service_has_a_frontend_that_two_claim() {
    let same = |of: &str, secs| aged(of, secs, |s| s.ports = vec![port(80, None)]);
    let mut cluster = proxied([same("a", 2), same("b", 1)]);
    assert!(frontends(&cluster).is_empty());
    assert_eq!(cluster.treatment(&name("b")).len(), 1);
    let complaint = |of: &str| (format!("web/{of}"), Reason::DuplicateAddress);
    assert_eq!(problems(&cluster), [complaint("a")]);
    // The younger takes over, and hands back.
    cluster.remove(&Key::Service(name("b")));
    assert_eq!(told(&mut cluster), ["a", "b"]);
    assert_eq!(frontends(&cluster), [INTERNAL]);
    assert!(problems(&cluster).is_empty());
    assert_eq!(told_by(&mut cluster, same("b", 1)), ["a", "b"]);
    assert!(frontends(&cluster).is_empty());
    // Of the same age, the name decides; and one without an age is the youngest.
    assert_eq!(told_by(&mut cluster, same("b", 2)), ["a", "b"]);
    assert_eq!(frontends(&cluster), [INTERNAL]);
    assert_eq!(problems(&cluster), [complaint("b")]);
    // Another port or protocol is another frontend.
    let other = aged("b", 1, |s| s.ports = vec![port(81, None)]);
    told_by(&mut cluster, other);
    assert!(problems(&cluster).is_empty());
    // Node ports are of all addresses of the node.
    let elsewhere = aged("b", 1, |s| s.cluster_ips = vec![addr("10.96.0.2")]);
    told_by(&mut cluster, elsewhere);
    told_by(&mut cluster, aged("a", 2, |_| {}));
    assert_eq!(frontends(&cluster), [INTERNAL]);
    assert_eq!(problems(&cluster), [complaint("a")]);
}

#[test]
fn what_is_of_a_node_a_pod_or_a_peer_is_no_frontend() {
    let external = |text: &'static str| service(move |s| s.external_ips = vec![addr(text)]);
    let peer = Fact::Peer(crate::fact::PeerFact {
        name: "router".to_owned(),
        peer_address: Some(addr("192.0.2.254")),
        peer_asn: Some(crate::fact::PeerAsn::Number(Asn(65010))),
        ..Default::default()
    });
    for (text, reason) in [
        ("192.0.2.1", Reason::ServiceAddressInUse),
        ("192.0.2.2", Reason::ServiceAddressInUse),
        ("10.244.2.9", Reason::ServiceAddressInUse),
        ("192.0.2.254", Reason::ServiceAddressInUse),
        ("127.0.0.1", Reason::Invalid),
        // The Service has no cluster IP of the family.
        ("2001:db8:e::1", Reason::Invalid),
    ] {
        let cluster = proxied([peer.clone(), external(text), endpoints("1:r")]);
        assert_eq!(frontends(&cluster), [INTERNAL, NODE_PORT], "{text}");
        assert_eq!(problems(&cluster), [("web/a".to_owned(), reason)], "{text}");
    }
    // What an advertisement complained of is not complained of again.
    let advertisement = Fact::Advertisement(crate::fact::AdvertisementFact {
        name: "all".to_owned(),
        services: Some(crate::fact::ServicesFact {
            addresses: vec![crate::fact::ServiceAddressKind::ExternalIp],
            ..Default::default()
        }),
        ..Default::default()
    });
    let cluster = proxied([external("192.0.2.2"), advertisement]);
    assert_eq!(problems(&cluster).len(), 1);
    // As Nodes and peers come and go.
    let mut cluster = proxied([external("192.0.2.3")]);
    assert_eq!(frontends(&cluster).len(), 3);
    let third = node("n3", &["192.0.2.3"], &[]);
    assert_eq!(told_by(&mut cluster, Fact::Node(third)), ["a"]);
    assert_eq!(frontends(&cluster).len(), 2);
    cluster.remove(&Key::Node("n3".to_owned()));
    assert_eq!(told(&mut cluster), ["a"]);
    assert_eq!(frontends(&cluster).len(), 3);
    assert!(problems(&cluster).is_empty());
    let mut cluster = proxied([external("192.0.2.254")]);
    cluster.apply(peer);
    changes(&mut cluster);
    assert_eq!(told(&mut cluster), ["a"]);
    assert_eq!(frontends(&cluster).len(), 2);
    assert_eq!(problems(&cluster).len(), 1);
}

#[test]
fn source_ranges_guard_the_load_balancers_addresses_alone() {
    let guarded = |ranges: &'static [&'static str], malformed: bool| {
        service(move |s| {
            s.service_type = ServiceType::LoadBalancer;
            s.cluster_ips.push(addr("fd00:96::1"));
            // Also an external IP: it stays guarded.
            s.external_ips = vec![addr("198.51.100.1"), addr("203.0.113.1")];
            s.ingress = ["203.0.113.1", "2001:db8:e::1"]
                .map(|ip| IngressFact {
                    ip: Some(addr(ip)),
                    vip: true,
                })
                .to_vec();
            s.load_balancer_source_ranges = ranges.iter().map(|text| net(text)).collect();
            s.malformed.extend(
                malformed.then(|| Malformed::new("spec.loadBalancerSourceRanges[9]", "bad")),
            );
        })
    };
    let sources = |fact: Fact| -> Vec<(String, String)> {
        let rules = rules(&proxied([fact, endpoints("1:r")]));
        let sources = rules.iter().filter_map(|rule| {
            let sources = rule.sources.as_ref()?;
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            Some((rule.frontend.to_string(), sources.join(" ")))
        });
        sources.collect()
    };
    let (v4, v6) = ("203.0.113.1:80/TCP", "[2001:db8:e::1]:80/TCP");
    let want = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        let list = list.iter();
        list.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    assert!(sources(guarded(&[], false)).is_empty());
    assert_eq!(
        sources(guarded(
            &[
                "198.51.100.128/25",
                "10.0.0.0/8",
                "10.1.0.0/16",
                "198.51.100.0/25"
            ],
            false
        )),
        want(&[(v4, "10.0.0.0/8 198.51.100.0/24")])
    );
    assert_eq!(
        sources(guarded(&["10.0.0.0/8", "2001:db8::/32"], false)),
        want(&[(v4, "10.0.0.0/8"), (v6, "2001:db8::/32")])
    );
    // What could not be read throws nothing open.
    assert_eq!(
        sources(guarded(&["10.0.0.0/8"], true)),
        want(&[(v4, "10.0.0.0/8"), (v6, "")])
    );
}

#[test]
fn frontends_of_a_port_share_their_balance() {
    let fact = service(|s| {
        s.choice = Choice::Maglev { slots: 251 };
        s.session_affinity_secs = Some(600);
        s.external_traffic_policy = TrafficPolicy::Local;
        s.external_ips = vec![addr("198.51.100.1")];
    });
    let cluster = proxied([fact, endpoints("1:rL 2:r")]);
    let balance = |treatment: &Treatment| match treatment {
        Treatment::Balance(balance) => {
            assert_eq!(balance.choice, Choice::Maglev { slots: 251 });
            assert_eq!(balance.affinity_secs, Some(600));
            balance.clone()
        }
        other => panic!("{other:?}"),
    };
    let rules = rules(&cluster);
    let [a, b, c] = rules.as_slice() else {
        panic!("{rules:?}")
    };
    for (a, b) in [
        (&a.inside, &b.inside),
        (&a.inside, &c.inside),
        (b.treatment(View::Outside), c.treatment(View::Outside)),
    ] {
        assert!(Arc::ptr_eq(&balance(a), &balance(b)));
    }
}

#[test]
fn a_burst_is_told_once_and_what_changes_nothing_is_not_told() {
    let mut cluster = proxied([service(|_| {}), endpoints("1:r")]);
    for round in 0..100 {
        cluster.apply(endpoints(&format!("{}:r", round + 2)));
    }
    assert_eq!(told(&mut cluster), ["a"]);
    assert!(told(&mut cluster).is_empty());
    assert!(told_by(&mut cluster, endpoints("101:r")).is_empty());
    assert!(told_by(&mut cluster, endpoints("101:r 3:u")).is_empty());
    assert!(told_by(&mut cluster, service(|_| {})).is_empty());
    assert!(told_by(&mut cluster, n1(None)).is_empty());
    assert_eq!(told_by(&mut cluster, n1(Some("a"))), ["a"]);
    let other = node("n2", &["192.0.2.2"], &["10.244.2.0/24"]);
    assert!(told_by(&mut cluster, Fact::Node(other.with_label("x", "y"))).is_empty());
    let moved = node("n1", &["192.0.2.9"], &["10.244.1.0/24"]);
    assert_eq!(told_by(&mut cluster, Fact::Node(moved)), ["a"]);
    assert_eq!(frontends(&cluster), [INTERNAL, "192.0.2.9:30080/TCP"]);
}

fn node_ports(cluster: &Cluster) -> Vec<String> {
    let rules = rules(cluster).into_iter();
    let node_ports = rules.filter(|rule| rule.frontend.port == 30_080);
    node_ports
        .map(|rule| rule.frontend.addr.to_string())
        .collect()
}

#[test]
fn node_ports_are_at_the_addresses_that_are_asked_for() {
    let facts = || {
        let of = service(|s| s.service_type = ServiceType::NodePort);
        [of, endpoints("1:r 2:r")]
    };
    let by = |node_ports| ProxyOptions {
        node_ports,
        ..ProxyOptions::default()
    };
    let machine = [
        "127.0.0.1",
        "192.0.2.1",
        "192.0.2.129",
        "10.0.0.7",
        "2001:db8::1",
    ]
    .map(addr);
    let mut internal = proxied_by(by(NodePorts::Internal), facts());
    internal.set_machine_addresses(machine);
    assert!(told(&mut internal).is_empty(), "they do not matter");
    assert_eq!(node_ports(&internal), ["192.0.2.1"]);
    let primary = proxied_by(by(NodePorts::Primary), facts());
    assert_eq!(node_ports(&primary), ["192.0.2.1"]);
    let nets = ["127.0.0.0/8", "192.0.2.128/25", "10.0.0.0/8"];
    let nets = nets.map(|net| net.parse().unwrap()).to_vec();
    let mut within = proxied_by(by(NodePorts::Within(nets)), facts());
    assert_eq!(node_ports(&within), Vec::<String>::new());
    within.set_machine_addresses(machine);
    assert_eq!(told(&mut within).len(), 1);
    assert_eq!(node_ports(&within), ["10.0.0.7", "192.0.2.129"]);
    within.set_machine_addresses(machine);
    assert!(told(&mut within).is_empty(), "nothing is another");
    within.set_machine_addresses(machine[..3].to_vec());
    assert_eq!(told(&mut within).len(), 1);
    assert_eq!(node_ports(&within), ["192.0.2.129"]);
}

#[test]
fn sources_are_rewritten_but_where_a_policy_keeps_them() {
    let options = ProxyOptions {
        masquerade_all: true,
        ..ProxyOptions::default()
    };
    let masqueraded = |policy| {
        let of = service(|s| {
            s.service_type = ServiceType::NodePort;
            s.external_traffic_policy = policy;
        });
        let cluster = proxied_by(options.clone(), [of, endpoints("1:r 2:r")]);
        let rules = rules(&cluster).into_iter();
        let told = rules.map(|rule| (rule.frontend.port, rule.masquerade));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        masqueraded(TrafficPolicy::Cluster),
        [(80, true), (30_080, true)]
    );
    assert_eq!(
        masqueraded(TrafficPolicy::Local),
        [(80, true), (30_080, false)]
    );
    let plain = proxied([service(|_| {}), endpoints("1:r")]);
    assert!(rules(&plain).iter().all(|rule| !rule.masquerade));
}
