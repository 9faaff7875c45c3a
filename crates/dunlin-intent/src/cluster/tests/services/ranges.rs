//! The ranges of Services: what is dropped untranslated and kept from masquerade.

use super::*;
use crate::fact::{AddressRange, PoolFact, ServiceCidrFact};

fn cidr(nets: &[&str]) -> Fact {
    Fact::ServiceCidr(ServiceCidrFact {
        name: "kubernetes".to_owned(),
        cidrs: nets.iter().map(|n| net(n)).collect(),
        malformed: Vec::new(),
    })
}

/// A pool of ranges, each written as both its ends.
fn pool(name: &str, created: i64, ranges: &[(&str, &str)]) -> Fact {
    let range = |(first, last): &(&str, &str)| AddressRange {
        first: addr(first),
        last: addr(last),
        is_cidr: false,
    };
    Fact::Pool(PoolFact {
        name: name.to_owned(),
        created: Some(crate::Timestamp::from_unix_secs(created)),
        addresses: ranges.iter().map(range).collect(),
        ..PoolFact::default()
    })
}

fn ranges(cluster: &Cluster) -> Vec<String> {
    cluster.service_ranges().map(|n| n.to_string()).collect()
}

fn external(name: &str, address: &str) -> [Fact; 2] {
    let fact = service(name, |s| {
        s.cluster_ips = vec![addr("10.96.0.1")];
        s.external_ips = vec![addr(address)];
    });
    let backing = slice(name, vec![ready("n2")]);
    [Fact::Service(fact), Fact::EndpointSlice(backing)]
}

#[test]
fn ranges_are_what_is_declared_and_what_is_announced_outside() {
    let facts = [
        cidr(&["10.96.0.0/16", "fd00:96::/112"]),
        pool("a", 1, &[("198.51.100.6", "198.51.100.11")]),
    ];
    let facts = facts
        .into_iter()
        .chain(external("in", "198.51.100.8"))
        .chain(external("out", "203.0.113.1"));
    let mut cluster = announcing(&ALL_KINDS, facts);
    let declared = [
        "10.96.0.0/16",
        "198.51.100.6/31",
        "198.51.100.8/30",
        "203.0.113.1/32",
        "fd00:96::/112",
    ];
    assert_eq!(ranges(&cluster), declared);
    // One more within a range adds none.
    external("in-2", "198.51.100.9")
        .into_iter()
        .for_each(|fact| cluster.apply(fact));
    let told = changes(&mut cluster);
    assert!(!told.contains(&Change::ServiceRangesChanged), "{told:?}");
    // An aggregate takes the place of the addresses in it, also of other advertisements.
    cluster.apply(announce("wide", &[ExternalIp], |a| {
        a.aggregation_length_ipv4 = Some(24);
    }));
    let told = changes(&mut cluster);
    assert!(told.contains(&Change::ServiceRangesChanged), "{told:?}");
    assert_eq!(
        ranges(&cluster),
        [
            "10.96.0.0/16",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "fd00:96::/112"
        ]
    );
    cluster.remove(&Key::Advertisement("wide".to_owned()));
    changes(&mut cluster);
    assert_eq!(ranges(&cluster), declared);
    // Whether it is announced at the moment does not matter.
    cluster.apply(Fact::EndpointSlice(slice("out", vec![])));
    changes(&mut cluster);
    assert_eq!(announced(&cluster).len(), 3);
    assert_eq!(ranges(&cluster), declared);
    // Without the pool its address is outside.
    cluster.remove(&Key::Pool("a".to_owned()));
    changes(&mut cluster);
    assert!(ranges(&cluster).contains(&"198.51.100.8/32".to_owned()));
}

#[test]
fn declared_ranges_are_kept_from_masquerade() {
    let facts = [
        cidr(&["10.96.0.0/16"]),
        pool("a", 1, &[("198.51.100.0", "198.51.100.255")]),
    ];
    let facts = facts.into_iter().chain(external("out", "203.0.113.1"));
    let mut cluster = announcing(&ALL_KINDS, facts);
    let kept = |cluster: &Cluster| {
        ["10.96.0.0/16", "198.51.100.0/24", "203.0.113.1/32"]
            .map(|n| cluster.egress_excluded(net(n)))
    };
    assert_eq!(kept(&cluster), [true, true, false]);
    cluster.remove(&Key::Pool("a".to_owned()));
    cluster.apply(cidr(&["10.97.0.0/16"]));
    let told = changes(&mut cluster);
    assert_eq!(kept(&cluster), [false, false, false]);
    for changed in ["10.96.0.0/16", "10.97.0.0/16", "198.51.100.0/24"] {
        assert!(told.contains(&Change::EgressExclusionChanged(net(changed))));
    }
}

#[test]
fn a_range_that_overlaps_the_cluster_is_refused_by_itself() {
    let table = [
        // Pods', from within and from without.
        ("10.244.1.7", "10.244.1.9"),
        ("10.244.0.0", "10.244.255.255"),
        // A node's address.
        ("192.0.2.0", "192.0.2.15"),
        // Cluster IPs.
        ("10.96.7.0", "10.96.7.255"),
        ("fd00:96::5", "fd00:96::5"),
    ];
    for (first, last) in table {
        let good = ("198.51.100.4", "198.51.100.7");
        let cidrs = cidr(&["10.96.0.0/16", "fd00:96::/112"]);
        let facts = [cidrs, pool("a", 1, &[good, (first, last)])];
        let cluster = announcing(&[], facts);
        let expected = [problem("LoadBalancerPool/a", Reason::OverlappingRange)];
        assert_eq!(reasons(&cluster), expected, "{first}");
        let found = &cluster.problems()[0];
        assert_eq!(found.field.as_deref(), Some("spec.addresses[1]"));
        assert_eq!(
            ranges(&cluster),
            ["10.96.0.0/16", "198.51.100.4/30", "fd00:96::/112"]
        );
    }
}

#[test]
fn a_service_cidr_that_overlaps_pods_is_refused_until_they_are_gone() {
    let cidrs = cidr(&["10.244.0.0/16", "10.96.0.0/16", "10.97.0.1/16"]);
    let mut cluster = announcing(&[], [cidrs]);
    let of_cidr = |reason| problem("ServiceCIDR/kubernetes", reason);
    assert_eq!(
        reasons(&cluster),
        [of_cidr(Reason::OverlappingRange), of_cidr(Reason::Invalid)]
    );
    assert_eq!(ranges(&cluster), ["10.96.0.0/16"]);
    for name in ["n1", "n2"] {
        cluster.remove(&Key::Node(name.to_owned()));
    }
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), [of_cidr(Reason::Invalid)]);
    assert_eq!(ranges(&cluster), ["10.96.0.0/16", "10.244.0.0/16"]);
    cluster.remove(&Key::ServiceCidr("kubernetes".to_owned()));
    changes(&mut cluster);
    assert_eq!((reasons(&cluster), ranges(&cluster)), (vec![], vec![]));
}

#[test]
fn of_two_pools_with_the_same_addresses_the_younger_is_told() {
    let facts = [
        pool("a", 2, &[("198.51.100.0", "198.51.100.15")]),
        pool("b", 1, &[("198.51.100.8", "198.51.100.8")]),
        pool(
            "c",
            3,
            &[
                ("203.0.113.0", "203.0.113.1"),
                ("203.0.113.1", "203.0.113.1"),
            ],
        ),
    ];
    let cluster = announcing(&[], facts);
    let expected = [
        problem("LoadBalancerPool/a", Reason::OverlappingRange),
        problem("LoadBalancerPool/c", Reason::OverlappingRange),
    ];
    assert_eq!(reasons(&cluster), expected);
    assert!(cluster.problems()[0].message.contains("LoadBalancerPool b"));
    assert_eq!(ranges(&cluster), ["198.51.100.0/28", "203.0.113.0/31"]);
}

#[test]
fn a_pool_with_the_address_of_a_peer_or_an_api_server_is_told_so_and_used() {
    let facts = [pool("a", 1, &[("198.51.100.6", "198.51.100.11")])];
    let mut cluster = announcing(&ALL_KINDS, facts);
    let before = ranges(&cluster);
    let said = |cluster: &Cluster| -> Vec<String> {
        let problems = cluster.problems();
        problems
            .iter()
            .map(|p| format!("{} {}", p.object, p.message))
            .collect()
    };
    assert_eq!(said(&cluster), [""; 0]);
    cluster.apply(Fact::Peer(PeerFact {
        name: "tor".to_owned(),
        peer_address: Some(addr("198.51.100.10")),
        peer_asn: Some(PeerAsn::Number(Asn(65010))),
        ..PeerFact::default()
    }));
    changes(&mut cluster);
    let found = said(&cluster);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("LoadBalancerPool/a 198.51.100.6-198.51.100.11 contains 198.51.100.10, the address of the BGPPeer tor,"), "{found:?}");
    assert_eq!(ranges(&cluster), before);
    cluster.remove(&Key::Peer("tor".to_owned()));
    cluster.set_api_servers([addr("198.51.100.11")]);
    changes(&mut cluster);
    let found = said(&cluster);
    assert!(
        found[0].contains("198.51.100.11, the address of an API server"),
        "{found:?}"
    );
    cluster.set_api_servers([]);
    changes(&mut cluster);
    assert_eq!(said(&cluster), [""; 0]);
}
