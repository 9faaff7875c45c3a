//! `BGPPeer`s, advertisements and filters.

use super::*;
use crate::fact::{
    AdvertisementFact, Attributes, FilterFact, FilterRuleFact, PeerAsn, PeerFact, Prepend,
    SecretFact, ServicesFact,
};
use crate::intent::{Auth, ExportFilter, ImportPolicy, NextHopMode, OriginKind};
use crate::selector::{Operator, Requirement, Selector};
use dunlin_bgp::policy::{AttrEdits, CommunityValue, RejectReason};

const ROUTER: &str = "192.0.2.254";

fn router(change: impl FnOnce(&mut PeerFact)) -> Fact {
    let mut fact = PeerFact {
        name: "router".to_owned(),
        labels: [("role".to_owned(), "tor".to_owned())].into(),
        peer_address: Some(addr(ROUTER)),
        peer_asn: Some(PeerAsn::Number(Asn(65010))),
        ..PeerFact::default()
    };
    change(&mut fact);
    Fact::Peer(fact)
}

fn advertisement(name: &str, change: impl FnOnce(&mut AdvertisementFact)) -> Fact {
    let mut fact = AdvertisementFact {
        name: name.to_owned(),
        pod_cidrs: true,
        ..AdvertisementFact::default()
    };
    change(&mut fact);
    Fact::Advertisement(fact)
}

fn filter(name: &str, rules: Vec<FilterRuleFact>) -> Fact {
    Fact::Filter(FilterFact {
        name: name.to_owned(),
        rules,
        ..FilterFact::default()
    })
}

fn labelled(key: &str, value: &str) -> Option<Selector> {
    Some(Selector {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..Selector::default()
    })
}

fn with(facts: impl IntoIterator<Item = Fact>) -> Cluster {
    let own = node("n1", &["192.0.2.1"], &["10.244.1.0/24"]).with_label("rack", "r1");
    cluster([Fact::Node(own)].into_iter().chain(facts))
}

fn told<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a PeerIntent> {
    peer(cluster, &PeerKey::Configured(name.into()))
}

fn advertised(cluster: &Cluster) -> Option<AttrEdits> {
    told(cluster, "router")?
        .policy
        .export
        .originated
        .get(&OriginKind::PodSubnet)
        .cloned()
}

#[test]
fn nothing_passes_to_or_from_a_router_unless_objects_say_so() {
    let cluster = with([router(|_| {})]);
    let policy = &told(&cluster, "router").unwrap().policy;
    assert_eq!(
        policy.import,
        ImportPolicy::Nothing(RejectReason::NoImportFilter)
    );
    assert!(policy.export.originated.is_empty());
    assert_eq!(policy.export.filter, ExportFilter::None);
    assert_eq!(policy.export.next_hop, NextHopMode::SelfAddress);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn a_peer_is_had_by_the_nodes_it_selects_as_their_labels_change() {
    let mut cluster = with([router(|f| f.node_selector = labelled("rack", "r1"))]);
    assert!(told(&cluster, "router").is_some());
    let moved = node("n1", &["192.0.2.1"], &["10.244.1.0/24"]).with_label("rack", "r2");
    cluster.apply(Fact::Node(moved));
    assert_eq!(
        changes(&mut cluster),
        [
            Change::ProtectionChanged(net("192.0.2.254/32")),
            Change::PeerGone(PeerKey::Configured("router".into())),
        ]
    );
    cluster.apply(router(|f| f.node_selector = labelled("rack", "r2")));
    changes(&mut cluster);
    assert!(told(&cluster, "router").is_some());
}

#[test]
fn an_advertisement_announces_where_both_its_selectors_say() {
    let mut cluster = with([router(|_| {})]);
    for (nodes, peers, announced) in [
        (None, None, true),
        (labelled("rack", "r1"), labelled("role", "tor"), true),
        (labelled("rack", "r2"), None, false),
        (None, labelled("role", "spine"), false),
    ] {
        cluster.apply(advertisement("pods", |a| {
            a.node_selector = nodes.clone();
            a.peer_selector = peers.clone();
        }));
        changes(&mut cluster);
        assert_eq!(
            advertised(&cluster).is_some(),
            announced,
            "{nodes:?} {peers:?}"
        );
    }
    cluster.apply(advertisement("pods", |_| {}));
    changes(&mut cluster);
    let session = told(&cluster, "router").unwrap().session.clone();
    cluster.remove(&Key::Advertisement("pods".to_owned()));
    changes(&mut cluster);
    assert_eq!(advertised(&cluster), None);
    assert_eq!(
        told(&cluster, "router").unwrap().session,
        session,
        "no session resets for it"
    );
}

#[test]
fn advertisements_that_meet_at_a_peer_are_merged() {
    let community = CommunityValue::Standard;
    let cluster = with([
        router(|_| {}),
        advertisement("a", |a| {
            a.attributes = Attributes {
                local_preference: Some(200),
                communities: vec![community(2)],
                ..Attributes::default()
            }
        }),
        advertisement("b", |a| {
            a.attributes = Attributes {
                prepend: Some(Prepend {
                    asn: None,
                    count: 2,
                }),
                communities: vec![community(1), community(2)],
                ..Attributes::default()
            }
        }),
    ]);
    assert_eq!(
        advertised(&cluster),
        Some(AttrEdits {
            local_pref: Some(200),
            med: None,
            prepend: Some((Asn(64512), 2)),
            add_communities: vec![community(1), community(2)],
        })
    );
}

fn external() -> Option<ServicesFact> {
    Some(ServicesFact {
        addresses: vec![crate::ServiceAddressKind::ExternalIp],
        ..ServicesFact::default()
    })
}

#[test]
fn an_advertisement_that_cannot_be_followed_in_full_announces_nothing() {
    type Change = fn(&mut AdvertisementFact);
    let table: [Change; 8] = [
        |a| a.services = Some(ServicesFact::default()),
        |a| a.aggregation_length_ipv4 = Some(24),
        |a| {
            a.services = external();
            a.aggregation_length_ipv4 = Some(33);
        },
        |a| {
            a.services = external();
            a.aggregation_length_ipv6 = Some(129);
        },
        |a| {
            a.services = external();
            let selector = Selector {
                match_expressions: vec![Requirement {
                    key: "a".to_owned(),
                    operator: Operator::In,
                    values: Vec::new(),
                }],
                ..Selector::default()
            };
            if let Some(services) = &mut a.services {
                services.namespace_selector = Some(selector);
            }
        },
        |a| a.pod_cidrs = false,
        |a| {
            a.attributes.prepend = Some(Prepend {
                asn: None,
                count: 0,
            })
        },
        |a| {
            a.malformed
                .push(crate::Malformed::new("spec.attributes", "x"))
        },
    ];
    for change in table {
        let cluster = with([router(|_| {}), advertisement("pods", change)]);
        let expected = [problem("BGPAdvertisement/pods", Reason::Invalid)];
        assert_eq!(reasons(&cluster), expected);
        assert_eq!(advertised(&cluster), None);
    }
}

#[test]
fn filters_are_found_by_name_and_a_missing_one_lets_nothing_through() {
    let named = |f: &mut PeerFact| {
        f.import_filter = Some("in".to_owned());
        f.export_filter = Some("out".to_owned());
    };
    let mut cluster = with([router(named), advertisement("pods", |_| {})]);
    let policy = |cluster: &Cluster| told(cluster, "router").unwrap().policy.clone();
    assert_eq!(
        policy(&cluster).import,
        ImportPolicy::Nothing(RejectReason::NoImportFilter)
    );
    assert_eq!(policy(&cluster).export.filter, ExportFilter::Missing);
    assert_eq!(
        reasons(&cluster),
        vec![problem("BGPPeer/router", Reason::FilterMissing); 2]
    );

    cluster.apply(filter("in", vec![FilterRuleFact::accept_all()]));
    cluster.apply(filter("out", vec![FilterRuleFact::accept_all()]));
    let told_now = changes(&mut cluster);
    assert!(matches!(policy(&cluster).import, ImportPolicy::Filter(f) if f.name == "in"));
    assert!(matches!(policy(&cluster).export.filter, ExportFilter::Filter(f) if f.name == "out"));
    assert_eq!(
        told_now
            .iter()
            .filter(|c| matches!(c, Change::PeerWanted(..)))
            .count(),
        1
    );
    assert_eq!(reasons(&cluster), []);

    // A filter that is refused counts as missing, and the session is not touched by any of this.
    let session = told(&cluster, "router").unwrap().session.clone();
    let mut refused = FilterRuleFact::accept_all();
    refused.matches.length_max = Some(200);
    cluster.apply(filter("out", vec![refused]));
    changes(&mut cluster);
    assert_eq!(policy(&cluster).export.filter, ExportFilter::Missing);
    assert_eq!(
        reasons(&cluster),
        [
            problem("BGPPeer/router", Reason::FilterMissing),
            problem("BGPFilter/out", Reason::Invalid),
        ]
    );
    assert_eq!(told(&cluster, "router").unwrap().session, session);
}

#[test]
fn what_is_only_not_told_yet_is_no_problem_yet() {
    let mut cluster = Cluster::new("n1");
    cluster.apply(Fact::Node(node("n1", &["192.0.2.1"], &[])));
    cluster.apply(router(|f| {
        f.import_filter = Some("in".to_owned());
        f.password = Some(SecretRef::new("kube-system", "s"));
    }));
    cluster.synced(Kind::Configuration);
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
    assert_eq!(
        told(&cluster, "router").unwrap().session.auth,
        Auth::Missing,
        "and nothing goes without it"
    );
    cluster.synced(Kind::Filter);
    changes(&mut cluster);
    assert_eq!(
        reasons(&cluster),
        [problem("BGPPeer/router", Reason::FilterMissing)]
    );
    cluster.synced(Kind::Secret);
    changes(&mut cluster);
    assert_eq!(reasons(&cluster).len(), 2);
    let at = SecretRef::new("kube-system", "s");
    cluster.apply(Fact::Secret(SecretFact {
        at,
        password: Some(Secret::new(*b"x")),
    }));
    changes(&mut cluster);
    assert!(matches!(
        told(&cluster, "router").unwrap().session.auth,
        Auth::Password(_)
    ));
}

#[test]
fn one_address_is_one_peer() {
    let second = |f: &mut PeerFact| f.name = "second".to_owned();
    let mut two = with([router(second), router(|_| {})]);
    assert!(told(&two, "router").is_some() && told(&two, "second").is_none());
    assert_eq!(
        reasons(&two),
        [problem("BGPPeer/second", Reason::DuplicateAddress)]
    );
    // On a node that only the second selects there is nothing to dispute.
    two.apply(router(|f| f.node_selector = labelled("rack", "r2")));
    let told_now = changes(&mut two);
    assert!(told(&two, "second").is_some() && told(&two, "router").is_none());
    let of_peers: Vec<_> = told_now
        .iter()
        .filter(|c| matches!(c, Change::PeerGone(_) | Change::PeerWanted(..)))
        .collect();
    assert!(
        matches!(
            of_peers.as_slice(),
            [Change::PeerGone(_), Change::PeerWanted(..)]
        ),
        "{of_peers:?}"
    );
    assert_eq!(reasons(&two), []);
}

#[test]
fn a_node_is_no_router() {
    let mut facts = vec![Fact::Node(node("n2", &[ROUTER], &[])), router(|_| {})];
    let mut meshed = with(facts.clone());
    assert!(told(&meshed, "router").is_none() && peer(&meshed, &key("n2")).is_some());
    assert_eq!(
        reasons(&meshed),
        [problem("BGPPeer/router", Reason::DuplicateAddress)]
    );
    meshed.remove(&Key::Node("n2".to_owned()));
    changes(&mut meshed);
    assert!(told(&meshed, "router").is_some());
    // Without a mesh it is how nodes peer.
    facts.push(configuration(|c| c.topology = Some(TopologyMode::None)));
    assert!(told(&with(facts), "router").is_some());
    let own = with([router(|f| f.peer_address = Some(addr("192.0.2.1")))]);
    assert_eq!(reasons(&own), [problem("BGPPeer/router", Reason::Invalid)]);
}

#[test]
fn a_refused_peer_is_not_had_and_stops_no_other() {
    let cluster = with([
        router(|f| f.ttl_security_hops = Some(0)),
        router(|f| {
            f.name = "other".to_owned();
            f.peer_address = Some(addr("192.0.2.253"));
        }),
    ]);
    assert!(told(&cluster, "router").is_none() && told(&cluster, "other").is_some());
    assert_eq!(
        reasons(&cluster),
        [problem("BGPPeer/router", Reason::Invalid)]
    );
}

#[test]
fn our_own_as_number_reaches_peers_and_filters() {
    let prepend = FilterRuleFact {
        attributes: Attributes {
            prepend: Some(Prepend {
                asn: None,
                count: 1,
            }),
            ..Attributes::default()
        },
        ..FilterRuleFact::accept_all()
    };
    let mut cluster = with([
        router(|f| {
            f.peer_asn = Some(PeerAsn::Internal);
            f.export_filter = Some("out".to_owned());
        }),
        filter("out", vec![prepend]),
    ]);
    cluster.apply(configuration(|c| c.asn = Some(Asn(65001))));
    changes(&mut cluster);
    let intent = told(&cluster, "router").unwrap();
    assert_eq!(
        intent.session.remote_asn,
        crate::RemoteAsn::Exactly(Asn(65001))
    );
    let ExportFilter::Filter(filter) = &intent.policy.export.filter else {
        panic!()
    };
    assert_eq!(filter.rules[0].edits.prepend, Some((Asn(65001), 1)));
}
