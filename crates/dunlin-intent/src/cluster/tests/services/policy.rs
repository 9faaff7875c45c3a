//! Classes of service addresses, what peers are told of them, and aggregates.

use super::*;
use crate::fact::Attributes;
use dunlin_bgp::policy::{AttrEdits, CommunityValue};
use std::collections::BTreeMap;

const E: &str = "203.0.113.1/32";

fn router(name: &str, role: &str) -> Fact {
    let last = u8::try_from(name.len()).unwrap();
    Fact::Peer(PeerFact {
        name: name.to_owned(),
        labels: [("role".to_owned(), role.to_owned())].into(),
        peer_address: Some(IpAddr::from([192, 0, 2, 240 + last])),
        peer_asn: Some(PeerAsn::Number(Asn(65010))),
        ..PeerFact::default()
    })
}

fn external(name: &str, addresses: &[&str], label: &str) -> [Fact; 2] {
    let fact = service(name, |s| {
        s.labels.insert("tier".to_owned(), label.to_owned());
        s.cluster_ips = vec![addr("10.0.0.1")];
        s.external_ips = addresses.iter().map(|a| addr(a)).collect();
    });
    let backing = slice(name, vec![ready("n2")]);
    [Fact::Service(fact), Fact::EndpointSlice(backing)]
}

fn community(n: u32) -> Attributes {
    Attributes {
        communities: vec![CommunityValue::Standard(n)],
        ..Attributes::default()
    }
}

/// What a `BGPPeer` is told, by advertisements, with the communities.
fn told(cluster: &Cluster, name: &str) -> BTreeMap<Vec<String>, Vec<CommunityValue>> {
    let key = PeerKey::Configured(name.into());
    let policy = &peer(cluster, &key).unwrap().policy.export;
    let of_services = policy.originated.iter().filter_map(|(kind, edits)| {
        let OriginKind::Service(class) = kind else {
            return None;
        };
        let names = cluster.class_advertisements(*class).iter();
        let names = names.map(ToString::to_string).collect();
        Some((names, edits.add_communities.clone()))
    });
    of_services.collect()
}

/// What is announced of Services, with the advertisements that announce it.
fn classes(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let of_services = cluster.originations().filter_map(|(net, o)| {
        let OriginKind::Service(class) = o.kind else {
            return None;
        };
        let names = cluster.class_advertisements(class).iter();
        Some((net.to_string(), names.map(ToString::to_string).collect()))
    });
    of_services.collect()
}

fn by(net: &str, names: &[&str]) -> (String, Vec<String>) {
    let names = names.iter().map(ToString::to_string).collect();
    (net.to_owned(), names)
}

#[test]
fn each_peer_is_told_what_its_advertisements_announce_with_their_attributes() {
    let gold = announce("gold", &[ExternalIp], |a| {
        a.services.as_mut().unwrap().selector = Some(labelled("tier", "gold"));
        a.peer_selector = Some(labelled("role", "edge"));
        a.attributes = community(2);
    });
    let all = announce("all", &[ExternalIp], |a| a.attributes = community(1));
    let facts = [router("edge", "edge"), router("tor", "tor"), gold, all]
        .into_iter()
        .chain(external("a", &["203.0.113.1"], "gold"))
        .chain(external("b", &["203.0.113.2"], "tin"));
    let mut cluster = announcing(&[], facts);
    assert_eq!(
        classes(&cluster),
        [by(E, &["all", "gold"]), by("203.0.113.2/32", &["all"])]
    );
    let entry = |names: &[&str], communities: &[u32]| {
        let communities = communities.iter().map(|n| CommunityValue::Standard(*n));
        (by("", names).1, communities.collect::<Vec<_>>())
    };
    let at_edge = [
        entry(&["all"], &[1]),
        entry(&["all", "gold"], &[1, 2]),
        entry(&["gold"], &[2]),
    ];
    assert_eq!(told(&cluster, "edge"), at_edge.into());
    let at_tor = [entry(&["all"], &[1]), entry(&["all", "gold"], &[1])];
    assert_eq!(told(&cluster, "tor"), at_tor.into());
    // Without the other, the address is for the edge alone: the ToR's policy has nothing for its class.
    cluster.remove(&Key::Advertisement("all".to_owned()));
    changes(&mut cluster);
    assert_eq!(classes(&cluster), [by(E, &["gold"])]);
    assert_eq!(told(&cluster, "edge"), [entry(&["gold"], &[2])].into());
    assert_eq!(told(&cluster, "tor"), [].into());
}

/// 4.10-18 again: attributes.
#[test]
fn attributes_change_the_policy_and_neither_the_origination_nor_the_session() {
    let with = |n| announce("all", &[ExternalIp], |a| a.attributes = community(n));
    let facts = [router("tor", "tor"), with(1)];
    let facts = facts
        .into_iter()
        .chain(external("a", &["203.0.113.1"], "x"));
    let mut cluster = announcing(&[], facts);
    let key = PeerKey::Configured("tor".into());
    let before = peer(&cluster, &key).unwrap().clone();
    cluster.apply(with(2));
    let changes = changes(&mut cluster);
    let [Change::PeerWanted(changed, now)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((changed, &now.session), (&key, &before.session));
    assert_ne!(now.policy, before.policy);
}

#[test]
fn nodes_are_not_told_service_addresses() {
    let cluster = announcing(&ALL_KINDS, external("a", &["203.0.113.1"], "x"));
    let told = &peer(&cluster, &key("n2")).unwrap().policy.export.originated;
    let pods = [(OriginKind::PodSubnet, AttrEdits::default())];
    assert_eq!(**told, pods.into());
}

#[test]
fn an_advertisement_of_other_nodes_announces_nothing_here() {
    let elsewhere = announce("all", &[ExternalIp], |a| {
        a.node_selector = Some(labelled("rack", "2"));
    });
    let facts = [router("tor", "tor"), elsewhere];
    let facts = facts
        .into_iter()
        .chain(external("a", &["203.0.113.1"], "x"));
    let mut cluster = announcing(&[], facts);
    assert_eq!(classes(&cluster), []);
    assert_eq!(told(&cluster, "tor"), [].into());
    let own = node("n1", &["192.0.2.1"], &[]).with_label("rack", "2");
    cluster.apply(Fact::Node(own));
    changes(&mut cluster);
    assert_eq!(classes(&cluster), [by(E, &["all"])]);
    assert_eq!(told(&cluster, "tor").len(), 1);
}

#[test]
fn the_class_of_an_address_of_two_services_has_the_advertisements_of_both() {
    let of_tier = |name: &str| {
        announce(name, &[ExternalIp], |a| {
            a.services.as_mut().unwrap().selector = Some(labelled("tier", name));
        })
    };
    let facts = [of_tier("gold"), of_tier("tin")];
    let facts = facts
        .into_iter()
        .chain(external("a", &["203.0.113.1"], "gold"))
        .chain(external("b", &["203.0.113.1"], "tin"));
    let mut cluster = announcing(&[], facts);
    assert_eq!(classes(&cluster), [by(E, &["gold", "tin"])]);
    cluster.remove(&Key::Service(NamespacedName::new("web", "b")));
    let told = changes(&mut cluster);
    assert_eq!(classes(&cluster), [by(E, &["gold"])]);
    assert!(
        matches!(told[..], [Change::Originate(..)]),
        "no withdrawal between: {told:?}"
    );
}

fn aggregated(name: &str, length: u8) -> Fact {
    announce(name, &[ExternalIp], |a| {
        a.aggregation_length_ipv4 = Some(length);
        a.aggregation_length_ipv6 = Some(64);
    })
}

#[test]
fn an_aggregate_is_announced_while_any_address_in_it_is() {
    let facts = external("a", &["203.0.113.1", "2001:db8:1::1"], "x")
        .into_iter()
        .chain(external("b", &["203.0.113.2", "198.51.100.1"], "x"));
    let facts = facts.chain([aggregated("wide", 24)]);
    let mut cluster = announcing(&[], facts);
    let expected = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/64"];
    assert_eq!(announced(&cluster), expected);
    cluster.apply(Fact::EndpointSlice(slice("b", vec![])));
    assert_eq!(announced_now(&mut cluster), expected[1..]);
    // Beside it another advertisement may announce the addresses themselves.
    cluster.apply(announce("each", &[ExternalIp], |_| {}));
    changes(&mut cluster);
    assert_eq!(
        classes(&cluster),
        [
            by("203.0.113.0/24", &["wide"]),
            by(E, &["each"]),
            by("2001:db8:1::/64", &["wide"]),
            by("2001:db8:1::1/128", &["each"]),
        ]
    );
    cluster.remove(&Key::Service(NamespacedName::new("web", "a")));
    assert!(announced_now(&mut cluster).is_empty());
    // What is left are the addresses of the other Service, which has no endpoints.
    let left: Vec<IpNet> = cluster.service_ranges().collect();
    assert_eq!(left, ["198.51.100.1/32", "203.0.113.2/32"].map(net));
}

#[test]
fn an_aggregate_of_full_length_is_the_address() {
    let facts = external("a", &["203.0.113.1"], "x").into_iter();
    let facts = facts.chain([
        aggregated("wide", 32),
        announce("each", &[ExternalIp], |_| {}),
    ]);
    assert_eq!(classes(&announcing(&[], facts)), [by(E, &["each", "wide"])]);
}

#[test]
fn an_aggregate_that_would_cover_the_cluster_gives_way_to_its_addresses() {
    let facts = external("a", &["192.0.2.200", "10.244.77.1", "203.0.113.1"], "x");
    let facts = facts.into_iter().chain([aggregated("wide", 24)]);
    let mut cluster = announcing(&[], facts);
    let of_nodes = "192.0.2.200/32";
    assert_eq!(
        announced(&cluster),
        ["10.244.77.0/24", of_nodes, "203.0.113.0/24"]
    );
    let refused = problem("BGPAdvertisement/wide", Reason::AggregateRefused);
    assert_eq!(reasons(&cluster), std::slice::from_ref(&refused));
    let message = cluster.problems()[0].message.clone();
    for part in ["192.0.2.0/24", "192.0.2.1"] {
        assert!(message.contains(part), "{message}");
    }
    cluster.apply(aggregated("wide", 16));
    assert_eq!(
        announced_now(&mut cluster),
        ["10.244.77.1/32", of_nodes, "203.0.0.0/16"]
    );
    assert_eq!(reasons(&cluster), [refused.clone(), refused]);
    // A node that comes and goes breaks an aggregate up and gives it back.
    cluster.apply(Fact::Node(node("n3", &["203.0.1.1"], &[])));
    assert_eq!(announced_now(&mut cluster), ["10.244.77.1/32", of_nodes, E]);
    assert_eq!(reasons(&cluster).len(), 3);
    cluster.remove(&Key::Node("n3".to_owned()));
    assert_eq!(
        announced_now(&mut cluster),
        ["10.244.77.1/32", of_nodes, "203.0.0.0/16"]
    );
    cluster.remove(&Key::Service(NamespacedName::new("web", "a")));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn many_refused_aggregates_are_counted_rather_than_listed() {
    let addresses: Vec<String> = (0..30).map(|n| format!("192.{n}.2.9")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let nodes =
        (0..30).map(|n: u8| Fact::Node(node(&format!("m{n}"), &[&format!("192.{n}.2.7")], &[])));
    let facts = external("a", &addresses, "x").into_iter();
    let facts = facts.chain(nodes).chain([aggregated("wide", 24)]);
    let cluster = announcing(&[], facts);
    let problems = cluster.problems();
    assert_eq!(problems.len(), 8);
    assert!(
        problems
            .iter()
            .any(|p| p.message.ends_with("and 22 more aggregates"))
    );
}
