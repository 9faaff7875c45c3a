//! Nodes: sessions, next hops, ownership, and how little a change touches.

use super::*;
use crate::Timestamp;
use crate::fact::{Malformed, Secret, SecretFact};
use crate::intent::{Auth, ImportPolicy, OriginKind, Remote, RemoteAsn};

fn originated(cluster: &Cluster) -> Vec<(String, String)> {
    cluster
        .originations()
        .map(|(net, what)| (net.to_string(), what.next_hop.to_string()))
        .collect()
}

fn born(mut fact: NodeFact, secs: i64) -> Fact {
    fact.created = Some(Timestamp::from_unix_secs(secs));
    Fact::Node(fact)
}

#[test]
fn two_nodes_peer_once_over_ipv4_with_both_families() {
    let cluster = cluster(pair());
    let intent = peer(&cluster, &key("n2")).unwrap();
    let session = &intent.session;
    assert_eq!(session.remote, Remote::Address(addr("192.0.2.2"), 179));
    assert_eq!(session.local_address, Some(addr("192.0.2.1")));
    assert_eq!(session.families.len(), 2);
    assert_eq!(session.remote_asn, RemoteAsn::Exactly(Asn(64512)));
    assert!(
        session.graceful_restart.unwrap().notification,
        "the N bit is set between nodes"
    );
    assert_eq!(session.auth, Auth::None);
    assert_eq!(intent.policy.import, ImportPolicy::OriginValidation);
    assert!(
        intent
            .policy
            .export
            .originated
            .contains_key(&OriginKind::PodSubnet)
    );
    assert_eq!(cluster.peers().count(), 1);
}

#[test]
fn each_family_has_the_first_address_of_its_own_as_next_hop() {
    let first = node(
        "n1",
        &["2001:db8::1", "192.0.2.1", "192.0.2.9", "2001:db8::9"],
        &["10.244.1.0/24", "fd00:1::/64"],
    );
    let cluster = cluster([Fact::Node(first)]);
    let local = cluster.local().unwrap();
    assert_eq!(local.next_hops.v4, Some(addr("192.0.2.1")));
    assert_eq!(local.next_hops.v6, Some(addr("2001:db8::1")));
    assert_eq!(local.addresses.len(), 4);
    assert_eq!(local.router_id.to_string(), "192.0.2.1");
    assert_eq!(
        originated(&cluster),
        [
            ("10.244.1.0/24".to_owned(), "192.0.2.1".to_owned()),
            ("fd00:1::/64".to_owned(), "2001:db8::1".to_owned()),
        ]
    );
}

#[test]
fn nodes_that_share_only_ipv6_peer_over_it_and_those_that_share_nothing_say_so() {
    let mut facts = pair();
    facts.push(Fact::Node(node("n3", &["2001:db8::3"], &["fd00:3::/64"])));
    let both = cluster(facts);
    assert_eq!(
        peer(&both, &key("n3")).unwrap().session.remote,
        Remote::Address(addr("2001:db8::3"), 179)
    );
    assert_eq!(
        peer(&both, &key("n3")).unwrap().session.local_address,
        Some(addr("2001:db8::1"))
    );
    let apart = cluster([
        Fact::Node(node("n1", &["192.0.2.1"], &[])),
        Fact::Node(node("n3", &["2001:db8::3"], &[])),
    ]);
    assert_eq!(apart.peers().count(), 0);
    assert_eq!(
        reasons(&apart),
        [problem("Node/n3", Reason::NoCommonFamily)]
    );
}

#[test]
fn what_is_wrong_with_a_node_is_its_own_problem_and_nobody_elses() {
    let mut malformed = node("bad", &["192.0.2.9"], &["10.244.9.0/24"]);
    malformed
        .malformed
        .push(Malformed::new("spec.podCIDRs[1]", "x"));
    for (bad, reason, peers) in [
        (node("bad", &[], &["10.244.9.0/24"]), Reason::NoAddress, 1),
        (node("bad", &["0.0.0.0"], &[]), Reason::Invalid, 1),
        (malformed, Reason::Invalid, 2),
        (
            node("bad", &["192.0.2.9"], &["10.244.9.1/24"]),
            Reason::Invalid,
            2,
        ),
        (
            node("bad", &["192.0.2.9"], &["0.0.0.0/0"]),
            Reason::Invalid,
            2,
        ),
        (
            node("bad", &["192.0.2.9"], &["fd00:9::/64"]),
            Reason::NoNextHop,
            2,
        ),
        (
            node("bad", &["192.0.2.9"], &["192.0.2.0/24"]),
            Reason::CoversNodeAddress,
            2,
        ),
        (
            node("bad", &["192.0.2.9"], &["10.244.2.128/25"]),
            Reason::OverlappingPodSubnet,
            2,
        ),
        (
            node("x-bad", &["192.0.2.2"], &[]),
            Reason::DuplicateAddress,
            1,
        ),
    ] {
        let mut cluster = cluster(pair().into_iter().map(|fact| match fact {
            Fact::Node(fact) => born(fact, 1),
            other => other,
        }));
        let name = bad.name.clone();
        cluster.apply(Fact::Node(bad));
        changes(&mut cluster);
        let told = reasons(&cluster);
        assert!(
            told.iter()
                .all(|(object, _)| *object == format!("Node/{name}")),
            "{told:?}"
        );
        assert!(
            told.iter().any(|(_, told)| *told == reason),
            "{reason}: {told:?}"
        );
        assert_eq!(cluster.peers().count(), peers, "{reason}");
        assert!(peer(&cluster, &key("n2")).is_some());
        assert_eq!(
            cluster
                .origin()
                .owner_of(net("10.244.2.0/24"))
                .unwrap()
                .node,
            "n2"
        );
        cluster.remove(&Key::Node(name));
        changes(&mut cluster);
        assert_eq!(reasons(&cluster), []);
    }
}

#[test]
fn an_own_subnet_that_an_older_node_has_is_not_announced_until_it_is_free() {
    let mut cluster = cluster([
        born(
            node("n1", &["192.0.2.1"], &["10.244.1.0/24", "10.244.7.0/24"]),
            2,
        ),
        born(node("n2", &["192.0.2.2"], &["10.244.1.0/24"]), 1),
    ]);
    assert_eq!(originated(&cluster).len(), 1);
    assert_eq!(cluster.local().unwrap().pod_subnets, [net("10.244.7.0/24")]);
    assert_eq!(
        reasons(&cluster),
        [problem("Node/n1", Reason::OverlappingPodSubnet)]
    );
    cluster.remove(&Key::Node("n2".to_owned()));
    let told = changes(&mut cluster);
    assert!(
        told.iter()
            .any(|c| matches!(c, Change::Originate(n, _) if *n == net("10.244.1.0/24"))),
        "{told:?}"
    );
    assert!(told.contains(&Change::OwnerChanged(net("10.244.1.0/24"))));
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn a_node_that_moves_is_reached_where_it_is_now() {
    let mut cluster = cluster(pair());
    cluster.apply(Fact::Node(node(
        "n2",
        &["192.0.2.22", "2001:db8::2"],
        &["10.244.2.0/24", "fd00:2::/64"],
    )));
    let told = changes(&mut cluster);
    assert_eq!(
        peer(&cluster, &key("n2")).unwrap().session.remote,
        Remote::Address(addr("192.0.2.22"), 179)
    );
    assert!(
        told.contains(&Change::OwnerChanged(net("10.244.2.0/24"))),
        "the next hop to be believed is another"
    );
    assert_eq!(
        cluster
            .origin()
            .owner_of(net("10.244.2.0/24"))
            .unwrap()
            .next_hops
            .v4,
        Some(addr("192.0.2.22"))
    );
    for gone in ["192.0.2.2/32", "192.0.2.22/32"] {
        assert!(
            told.contains(&Change::ProtectionChanged(net(gone))),
            "{gone}"
        );
    }
    assert!(
        !told
            .iter()
            .any(|c| matches!(c, Change::LocalChanged(_) | Change::Originate(..))),
        "{told:?}"
    );
}

#[test]
fn our_own_change_of_address_moves_every_session() {
    let mut cluster = cluster(pair());
    cluster.apply(Fact::Node(node(
        "n1",
        &["192.0.2.11", "2001:db8::1"],
        &["10.244.1.0/24", "fd00:1::/64"],
    )));
    let told = changes(&mut cluster);
    assert_eq!(
        peer(&cluster, &key("n2")).unwrap().session.local_address,
        Some(addr("192.0.2.11"))
    );
    assert!(
        told.iter()
            .any(|c| matches!(c, Change::Originate(_, o) if o.next_hop == addr("192.0.2.11")))
    );
    assert_eq!(cluster.local().unwrap().router_id.to_string(), "192.0.2.11");
}

#[test]
fn heartbeats_and_labels_of_others_tell_nothing() {
    let mut cluster = cluster(pair());
    let mut fact = node(
        "n2",
        &["192.0.2.2", "2001:db8::2"],
        &["10.244.2.0/24", "fd00:2::/64"],
    );
    fact.ready = Some(false);
    fact.unschedulable = true;
    let fact = fact.with_label("rack", "r9");
    cluster.apply(Fact::Node(fact.clone()));
    assert_eq!(changes(&mut cluster), []);
    assert_eq!(cluster.node("n2").unwrap().fact, &fact, "but it is shown");
}

#[test]
fn a_node_that_joins_is_told_in_the_same_few_changes_however_many_there_are() {
    let mut facts = pair();
    facts.push(configuration(|c| c.topology = Some(TopologyMode::Mesh)));
    let mut cluster = cluster(facts);
    let mut told = Vec::new();
    for n in 0..3000u32 {
        let [.., a, b] = n.to_be_bytes();
        let fact = node(&format!("m{n:04}"), &[], &[])
            .with_internal_ip(IpAddr::from([172, 16, a, b]))
            .with_pod_cidr(IpNet::new_assert(IpAddr::from([10, a, b, 0]), 24));
        cluster.apply(Fact::Node(fact));
        told.push(
            changes(&mut cluster)
                .iter()
                .filter(|c| **c != Change::ProblemsChanged)
                .count(),
        );
    }
    // The peer, the owner of its subnet, its address to protect, and both kept from masquerade.
    assert!(told.iter().all(|count| *count == 5), "{told:?}");
    assert_eq!(cluster.peers().count(), 3001);
}

#[test]
fn a_router_id_that_two_have_is_given_by_name_and_told() {
    let facts = |own: &str| {
        let mut cluster = Cluster::new(own);
        cluster.apply(Fact::Node(node("n1", &["192.0.2.1"], &[])));
        cluster.apply(Fact::Node(node("n0", &["192.0.2.1"], &[])));
        Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
        changes(&mut cluster);
        cluster
    };
    let (first, second) = (facts("n0"), facts("n1"));
    assert_eq!(first.local().unwrap().router_id.to_string(), "192.0.2.1");
    assert_ne!(second.local().unwrap().router_id.to_string(), "192.0.2.1");
    for view in [&first, &second] {
        assert!(reasons(view).contains(&problem("Node/n1", Reason::RouterIdCollision)));
        assert_eq!(view.peers().count(), 0, "nobody peers with its own address");
        assert_eq!(view.router_id("n1"), second.router_id("n1"));
    }
}

#[test]
fn the_password_between_nodes_is_waited_for_never_empty() {
    let mut facts = pair();
    let at = SecretRef::new("kube-system", "mesh");
    facts.push(configuration(|c| c.password = Some(at.clone())));
    let mut cluster = cluster(facts);
    let auth = |cluster: &Cluster| peer(cluster, &key("n2")).unwrap().session.auth.clone();
    let object = "BGPConfiguration/default";
    assert_eq!(auth(&cluster), Auth::Missing);
    assert_eq!(reasons(&cluster), [problem(object, Reason::SecretMissing)]);
    let long = "x".repeat(81);
    for (password, good) in [
        (None, false),
        (Some(""), false),
        (Some(long.as_str()), false),
        (Some("s3cret"), true),
    ] {
        let password = password.map(|p| Secret::new(p.as_bytes()));
        cluster.apply(Fact::Secret(SecretFact {
            at: at.clone(),
            password: password.clone(),
        }));
        changes(&mut cluster);
        match password {
            Some(password) if good => assert_eq!(auth(&cluster), Auth::Password(password)),
            _ => assert_eq!(auth(&cluster), Auth::Missing),
        }
        assert_eq!(reasons(&cluster).is_empty(), good);
    }
    assert!(!format!("{cluster:?}").contains("s3cret"));
    cluster.remove(&Key::Secret(at));
    changes(&mut cluster);
    assert_eq!(auth(&cluster), Auth::Missing);
}

#[test]
fn an_address_that_passes_from_one_node_to_another_is_freed_first() {
    let mut cluster = cluster(pair());
    cluster.remove(&Key::Node("n2".to_owned()));
    cluster.apply(Fact::Node(node(
        "a-new-n2",
        &["192.0.2.2"],
        &["10.244.2.0/24"],
    )));
    let told = changes(&mut cluster);
    let position = |wanted: &dyn Fn(&Change) -> bool| told.iter().position(wanted).unwrap();
    let gone = position(&|c| *c == Change::PeerGone(key("n2")));
    let wanted = position(&|c| matches!(c, Change::PeerWanted(..)));
    assert!(gone < wanted, "{told:?}");
}
