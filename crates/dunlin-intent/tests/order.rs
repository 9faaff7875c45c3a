//! Whatever happened before, what is wanted depends on the facts alone.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_bgp::policy::{CommunityValue, FilterAction};
use dunlin_intent::*;
use dunlin_net::{Afi, Asn, IpNet};
use proptest::prelude::*;
use steps::{Facts, OWN, Step};

/// Everything that the cluster wants, as built up from the changes it told, with what it answers when asked.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    local: Option<Arc<LocalIntent>>,
    originations: BTreeMap<IpNet, Origination>,
    peers: BTreeMap<PeerKey, Arc<PeerIntent>>,
    owners: BTreeMap<IpNet, Owner>,
    egress: BTreeSet<IpNet>,
    problems: Vec<Problem>,
    synced: bool,
}

impl Wanted {
    /// Without what depends on the past by intent: for whom a former reflector goes on.
    fn without_memory(&self) -> Wanted {
        let mut wanted = self.clone();
        for intent in wanted.peers.values_mut() {
            if intent.initiative == Initiative::Theirs {
                Arc::make_mut(intent).reflector_client = false;
            }
        }
        wanted
    }

    /// Takes changes in as a consumer would, asking only about what it is told of.
    fn follow(&mut self, cluster: &mut Cluster) {
        while let Some(change) = cluster.poll_change() {
            match change {
                Change::LocalChanged(local) => self.local = local,
                Change::Originate(net, what) => {
                    let before = self.originations.insert(net, what.clone());
                    assert_ne!(before, Some(what), "told without change: {net}");
                }
                Change::OriginateGone(net) => {
                    assert!(
                        self.originations.remove(&net).is_some(),
                        "{net} was not there"
                    );
                }
                Change::PeerWanted(key, intent) => {
                    let before = self.peers.insert(key.clone(), intent.clone());
                    assert_ne!(before, Some(intent), "told without change: {key}");
                }
                Change::PeerGone(key) => {
                    assert!(self.peers.remove(&key).is_some(), "{key} was not there");
                }
                Change::OwnerChanged(net) => {
                    match cluster.origin().owner_of(net) {
                        Some(owner) => self.owners.insert(net, owner.clone()),
                        None => self.owners.remove(&net),
                    };
                }
                Change::EgressExclusionChanged(net) => {
                    match cluster.egress_excluded(net) {
                        true => self.egress.insert(net),
                        false => self.egress.remove(&net),
                    };
                }
                Change::ProblemsChanged | Change::ServiceRangesChanged => {
                    self.problems = cluster.problems().into_iter().cloned().collect();
                }
                Change::ProtectionChanged(_) => {}
                Change::Synced => {
                    assert!(!self.synced, "synced twice");
                    self.synced = true;
                }
            }
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1u8..8).prop_map(|n| IpAddr::from([192, 0, 2, n])),
        (1u8..8).prop_map(|n| IpAddr::from([10, 0, n, 1])),
        (1u16..6).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
        Just(IpAddr::from([0, 0, 0, 0])),
    ]
}

fn subnet() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        4 => (0u8..6).prop_map(|n| IpNet::new_assert(IpAddr::from([10, 0, n, 0]), 24)),
        1 => (0u8..4).prop_map(|n| IpNet::new_assert(IpAddr::from([10, 0, n * 2, 0]), 23)),
        1 => Just(IpNet::new_assert(IpAddr::from([10, 0, 0, 0]), 16)),
        1 => Just(IpNet::new_assert(IpAddr::from([10, 0, 0, 7]), 24)),
        2 => (0u16..4).prop_map(|n| IpNet::new_assert(IpAddr::from([0xfd00, n, 0, 0, 0, 0, 0, 0]), 64)),
    ]
}

fn node() -> impl Strategy<Value = NodeFact> {
    (
        0u8..6,
        proptest::option::of(0i64..3),
        prop::collection::vec(address(), 0..3),
        prop::collection::vec(subnet(), 0..3),
        proptest::option::of(0u8..2),
    )
        .prop_map(|(n, created, internal_ips, pod_cidrs, rack)| NodeFact {
            created: created.map(Timestamp::from_unix_secs),
            labels: rack
                .map(|r| ("rack".to_owned(), r.to_string()))
                .into_iter()
                .collect(),
            internal_ips,
            pod_cidrs,
            ..NodeFact::new(format!("n{n}"))
        })
}

fn rack(n: u8) -> Selector {
    Selector {
        match_labels: [("rack".to_owned(), n.to_string())].into(),
        ..Selector::default()
    }
}

fn password() -> impl Strategy<Value = Option<SecretRef>> {
    proptest::option::weighted(0.3, Just(SecretRef::new("kube-system", "s")))
}

fn configuration() -> impl Strategy<Value = Fact> {
    (
        prop_oneof![Just("default"), Just("other")],
        proptest::option::of(prop_oneof![Just(65001), Just(0)]),
        proptest::option::of(prop_oneof![
            Just(TopologyMode::Mesh),
            Just(TopologyMode::None),
            Just(TopologyMode::Reflectors)
        ]),
        // Where sessions beside those with reflectors are kept or not: never among so few Nodes.
        proptest::option::of(prop_oneof![Just(0), Just(100)]),
        password(),
        prop::collection::vec(subnet(), 0..2),
    )
        .prop_map(|(name, asn, topology, mesh_limit, password, exclude)| {
            Fact::Configuration(ConfigurationFact {
                name: name.to_owned(),
                asn: asn.map(Asn),
                topology,
                mesh_limit,
                password,
                pod_egress: PodEgressFact {
                    masquerade: None,
                    exclude,
                },
                ..ConfigurationFact::default()
            })
        })
}

fn peer() -> impl Strategy<Value = Fact> {
    (
        0u8..3,
        address(),
        proptest::option::of(0u8..2),
        proptest::option::of(0u8..2),
        password(),
        proptest::option::of(0u8..2),
        any::<bool>(),
    )
        .prop_map(
            |(n, address, node_rack, label, password, filter, unbuilt)| {
                Fact::Peer(PeerFact {
                    name: format!("p{n}"),
                    labels: label
                        .map(|r| ("rack".to_owned(), r.to_string()))
                        .into_iter()
                        .collect(),
                    node_selector: node_rack.map(rack),
                    peer_address: Some(address),
                    peer_asn: Some(PeerAsn::Number(Asn(65010))),
                    password,
                    import_filter: filter.map(|n| format!("f{n}")),
                    export_filter: filter.map(|n| format!("f{n}")),
                    ttl_security_hops: (unbuilt && n == 2).then_some(1),
                    fabric: (n == 1).then_some(true),
                    ..PeerFact::default()
                })
            },
        )
}

fn other() -> impl Strategy<Value = Fact> {
    let advertisement = (
        0u8..3,
        proptest::option::of(0u8..2),
        proptest::option::of(0u8..2),
        0u32..3,
    );
    let filter = (0u8..2, 0u8..3);
    let secret = proptest::option::of(prop_oneof![Just(""), Just("a"), Just("b")]);
    prop_oneof![
        advertisement.prop_map(
            |(n, nodes, peers, med)| Fact::Advertisement(AdvertisementFact {
                name: format!("a{n}"),
                pod_cidrs: true,
                node_selector: nodes.map(rack),
                peer_selector: peers.map(rack),
                attributes: Attributes {
                    med: Some(med),
                    communities: vec![CommunityValue::Standard(u32::from(n))],
                    prepend: Some(Prepend {
                        asn: None,
                        count: n + 1
                    }),
                    ..Attributes::default()
                },
                ..AdvertisementFact::default()
            })
        ),
        filter.prop_map(|(n, kind)| Fact::Filter(FilterFact {
            name: format!("f{n}"),
            rules: (0..kind)
                .map(|k| FilterRuleFact {
                    // The second rule of a filter is one that is refused.
                    action: if k == 0 {
                        FilterAction::Accept
                    } else {
                        FilterAction::Reject
                    },
                    attributes: Attributes {
                        prepend: Some(Prepend {
                            asn: None,
                            count: 1
                        }),
                        ..Attributes::default()
                    },
                    ..FilterRuleFact::accept_all()
                })
                .collect(),
            ..FilterFact::default()
        })),
        secret.prop_map(|password| Fact::Secret(SecretFact {
            at: SecretRef::new("kube-system", "s"),
            password: password.map(|p| Secret::new(p.as_bytes())),
        })),
        prop_oneof![Just(None), Just(Some(0)), Just(Some(5))].prop_map(|multiplier| {
            Fact::BfdProfile(BfdProfileFact {
                name: "b".to_owned(),
                detect_multiplier: multiplier,
                ..BfdProfileFact::default()
            })
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let fact = prop_oneof![
        5 => node().prop_map(Fact::Node),
        1 => configuration(),
        3 => peer(),
        3 => other(),
    ];
    let removed = fact.clone().prop_map(|fact| Step::Remove(fact.key()));
    prop_oneof![
        6 => fact.prop_map(Step::Apply),
        2 => removed,
        2 => Just(Step::Poll),
        1 => prop::sample::select(&Kind::ALL[..]).prop_map(Step::Synced),
    ]
}

/// Who owns what, by the rule itself: in order of age each Node takes what overlaps nothing that is taken.
fn owners_by_the_rule(facts: &BTreeMap<Key, Fact>) -> BTreeMap<IpNet, String> {
    let mut nodes: Vec<&NodeFact> = facts
        .values()
        .filter_map(|fact| match fact {
            Fact::Node(node) => Some(node),
            _ => None,
        })
        .collect();
    nodes.sort_by_key(|n| (n.created.is_none(), n.created, n.name.clone()));
    let addresses: Vec<IpAddr> = nodes
        .iter()
        .flat_map(|n| n.internal_ips.iter().copied())
        .filter(|addr| !addr.is_unspecified())
        .collect();
    let mut owners: BTreeMap<IpNet, String> = BTreeMap::new();
    for node in nodes {
        for net in &node.pod_cidrs {
            let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
            let free = owners
                .iter()
                .all(|(other, by)| *by == node.name || !overlaps(other));
            if *net == net.trunc() && free && !addresses.iter().any(|a| net.contains(a)) {
                owners.insert(*net, node.name.clone());
            }
        }
    }
    owners
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_told_step_by_step_equals_what_the_facts_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::new(OWN);
        let mut followed = Wanted::default();
        let mut told = Facts::default();
        told.play(&mut cluster, steps, |cluster| followed.follow(cluster));
        let mut scratch = told.cluster();
        let mut wanted = Wanted::default();
        wanted.follow(&mut scratch);
        prop_assert_eq!(followed.without_memory(), wanted.without_memory());
        prop_assert_eq!(cluster.origin(), scratch.origin());
        prop_assert_eq!(cluster.nodes().collect::<Vec<_>>(), scratch.nodes().collect::<Vec<_>>());
        let owners: BTreeMap<IpNet, String> =
            followed.owners.iter().map(|(net, owner)| (*net, owner.node.clone())).collect();
        prop_assert_eq!(owners, owners_by_the_rule(&told.facts));
        let excluded: BTreeSet<IpNet> = cluster.egress_exclusions().collect();
        prop_assert_eq!(&followed.egress, &excluded);
    }

    #[test]
    fn two_nodes_agree_on_the_session_between_them(a in node(), b in node(), c in node()) {
        let facts: BTreeMap<String, NodeFact> =
            [a, b, c].into_iter().map(|n| (n.name.clone(), n)).collect();
        let see = |own: &str| {
            let mut cluster = Cluster::new(own);
            facts.values().cloned().for_each(|n| cluster.apply(Fact::Node(n)));
            cluster.synced(Kind::Configuration);
            let mut wanted = Wanted::default();
            wanted.follow(&mut cluster);
            wanted
        };
        let views: BTreeMap<&String, Wanted> = facts.keys().map(|name| (name, see(name))).collect();
        for (name, view) in &views {
            for (key, intent) in &view.peers {
                let SessionIntent { remote: Remote::Address(remote, port), local_address: Some(local), .. } = intent.session
                    else { panic!("{intent:?}") };
                prop_assert_eq!(port, 179);
                prop_assert_eq!(Afi::of(remote), Afi::of(local));
                // The other may see no session where an address is another's too; if it sees one, it is this one.
                let back = views[&key.name().to_owned()].peers.get(&PeerKey::Node(name.as_str().into()));
                if let Some(back) = back {
                    prop_assert_eq!(back.session.remote, Remote::Address(local, 179));
                    prop_assert_eq!(back.session.local_address, Some(remote));
                }
            }
        }
        let ids: BTreeSet<_> = views.values().filter_map(|v| v.local.as_ref()).map(|l| l.router_id).collect();
        prop_assert_eq!(ids.len(), views.len(), "router ids differ from node to node");
    }
}
