//! Objects as people may write them, and changes of them, at random.

use std::net::IpAddr;

use dunlin_bgp::policy::{FilterAction, Match, Role};
use dunlin_core::PlanStep;
use dunlin_intent::{
    AddPathFact, AdvertisementFact, Attributes, ConfigurationFact, Fact, FilterFact,
    FilterRuleFact, Key, NamespacedName, NextHopMode, PeerAsn, PeerFact, PodEgressFact,
    RouteInstallation, Secret, SecretFact, SecretRef, ServiceAddressKind, ServiceCidrFact,
    ServicesFact, TopologyMode,
};
use dunlin_net::{Asn, IpNet};
use proptest::option;
use proptest::prelude::*;

use crate::support::many::*;
use crate::support::*;

fn at() -> SecretRef {
    SecretRef::new("kube-system", "bgp")
}

fn a_node() -> impl Strategy<Value = Fact> {
    let own = (any::<bool>(), any::<bool>()).prop_map(|(racked, drain)| {
        let mut fact = match racked {
            true => node().with_label("rack", "a"),
            false => node(),
        };
        fact.drain = drain;
        fact
    });
    let other = (2u8..5, any::<bool>()).prop_map(|(number, moved)| {
        let mut fact = other_node(number);
        if moved {
            fact.pod_cidrs = vec![IpNet::new_assert(IpAddr::from([10, 245, number, 0]), 24)];
        }
        fact
    });
    prop_oneof![1 => own, 2 => other].prop_map(Fact::Node)
}

fn a_configuration() -> impl Strategy<Value = Fact> {
    let asn = option::weighted(0.2, Just(Asn(64513)));
    let topology = option::of(prop_oneof![
        Just(TopologyMode::Mesh),
        Just(TopologyMode::None)
    ]);
    let installation = option::weighted(0.2, Just(RouteInstallation::None));
    let rest = (any::<bool>(), option::of(Just(30u16)), any::<bool>());
    (asn, topology, installation, rest).prop_map(
        |(asn, topology, route_installation, (masquerade, hold, secret))| {
            let mut fact = ConfigurationFact {
                name: "default".into(),
                asn,
                topology,
                route_installation,
                password: secret.then(at),
                pod_egress: PodEgressFact {
                    masquerade: Some(masquerade),
                    exclude: Vec::new(),
                },
                ..ConfigurationFact::default()
            };
            fact.timers.hold_time_secs = hold;
            Fact::Configuration(fact)
        },
    )
}

/// The AS of the cluster unless it is said otherwise.
const OWN_ASN: u32 = 64512;

fn a_filter_name() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![4 => Just("all"), 2 => Just("some"), 1 => Just("nosuch")])
        .prop_map(|name| name.map(str::to_owned))
}

fn a_peer() -> impl Strategy<Value = Fact> {
    let identity = (
        1u8..4,
        option::weighted(0.2, 1u8..4),
        prop_oneof![3 => Just(65001), 1 => Just(65002), 3 => Just(OWN_ASN)],
    );
    let paths = (
        option::weighted(0.4, any::<bool>()),
        option::weighted(0.4, any::<bool>()),
        option::weighted(0.5, any::<bool>()),
    );
    let filters = (a_filter_name(), a_filter_name());
    let rest = (
        option::weighted(0.3, Just("a")),
        option::weighted(0.2, Just(())),
        option::weighted(0.3, 10u16..12),
        option::weighted(0.4, prop::sample::select(&Role::ALL)),
    );
    (identity, filters, paths, rest).prop_map(|(identity, (import, export), paths, rest)| {
        let (number, place, asn) = identity;
        let mut fact = router(number);
        fact.add_path = AddPathFact {
            send: paths.0,
            receive: paths.1,
        };
        fact.reflector_client = paths.2.filter(|_| asn == OWN_ASN);
        if let Some(place) = place {
            fact.peer_address = router(place).peer_address;
        }
        fact.peer_asn = Some(PeerAsn::Number(Asn(asn)));
        fact.import_filter = import;
        fact.export_filter = export;
        fact.node_selector = rest.0.map(|rack| label("rack", rack));
        fact.password = rest.1.map(|()| at());
        fact.timers.connect_retry_secs = rest.2;
        fact.role = rest.3;
        Fact::Peer(fact)
    })
}

/// A router with this number at its place that may be told, and tell, what others do.
pub(crate) fn a_relay(number: u8) -> impl Strategy<Value = PeerFact> {
    let asn = prop_oneof![2 => Just(65001), 3 => Just(OWN_ASN)];
    let filters = (
        option::weighted(0.9, Just("all".to_owned())),
        option::weighted(
            0.3,
            prop_oneof![Just("all".to_owned()), Just("some".to_owned())],
        ),
    );
    let paths = (
        option::weighted(0.6, any::<bool>()),
        option::weighted(0.6, any::<bool>()),
        option::weighted(0.7, Just(true)),
    );
    let next_hop = option::weighted(0.3, Just(NextHopMode::Unchanged));
    (asn, filters, paths, next_hop).prop_map(move |(asn, (import, export), paths, next_hop)| {
        PeerFact {
            peer_asn: Some(PeerAsn::Number(Asn(asn))),
            import_filter: import,
            export_filter: export,
            add_path: AddPathFact {
                send: paths.0,
                receive: paths.1,
            },
            reflector_client: paths.2.filter(|_| asn == OWN_ASN),
            next_hop,
            ..router(number)
        }
    })
}

/// Something that changes who is told what others tell.
pub(crate) fn a_turn() -> impl Strategy<Value = PlanStep> {
    let relay = (1u8..4).prop_flat_map(a_relay).prop_map(Fact::Peer);
    prop_oneof![
        5 => relay.prop_map(applies),
        2 => a_filter().prop_map(applies),
        1 => (1u8..4).prop_map(|number| deletes(Key::Peer(format!("tor-{number}")))),
        1 => (2u8..4).prop_map(|number| deletes(Key::Node(format!("n{number}")))),
        1 => a_step(),
    ]
}

/// A filter of one of two names.
pub(crate) fn a_filter() -> impl Strategy<Value = Fact> {
    let cidr = prop_oneof![
        Just("198.51.100.0/24"),
        Just("10.244.0.0/16"),
        Just("203.0.113.0/24")
    ];
    let rule = (option::of(cidr), any::<bool>(), option::of(100u32..102));
    let rules = prop::collection::vec(rule, 0..3);
    (prop_oneof![Just("all"), Just("some")], rules).prop_map(|(name, rules)| {
        let rule = |(cidr, accept, med): (Option<&str>, bool, Option<u32>)| FilterRuleFact {
            matches: Match {
                cidr: cidr.map(|cidr| cidr.parse().unwrap()),
                ..Match::default()
            },
            action: match accept {
                true => FilterAction::Accept,
                false => FilterAction::Reject,
            },
            attributes: Attributes {
                med: med.filter(|_| accept),
                ..Attributes::default()
            },
        };
        Fact::Filter(FilterFact {
            name: name.into(),
            rules: rules.into_iter().map(rule).collect(),
            malformed: Vec::new(),
        })
    })
}

fn an_advertisement() -> impl Strategy<Value = Fact> {
    let tier = option::of(prop_oneof![Just("front"), Just("back")]);
    let rest = (
        any::<bool>(),
        option::of(0u32..3),
        option::weighted(0.3, Just("a")),
    );
    let length = option::weighted(0.2, Just(28u8));
    (
        prop_oneof![Just("pods"), Just("services")],
        tier,
        rest,
        length,
    )
        .prop_map(|(name, tier, (announces, med, rack), length)| {
            let services = (name == "services").then(|| ServicesFact {
                addresses: vec![ServiceAddressKind::LoadBalancerIp],
                selector: tier.map(|tier| label("tier", tier)),
                namespace_selector: None,
            });
            let mut fact = AdvertisementFact {
                name: name.into(),
                pod_cidrs: name == "pods" && announces,
                aggregation_length_ipv4: length.filter(|_| services.is_some()),
                services,
                node_selector: rack.map(|rack| label("rack", rack)),
                ..AdvertisementFact::default()
            };
            fact.attributes.med = med;
            Fact::Advertisement(fact)
        })
}

fn a_service() -> impl Strategy<Value = Fact> {
    let tier = prop_oneof![Just("front"), Just("back")];
    let name = prop_oneof![Just(("web", 1)), Just(("mail", 2))];
    let range = Just(Fact::ServiceCidr(ServiceCidrFact {
        name: "lb".into(),
        cidrs: vec!["198.51.100.0/24".parse().unwrap()],
        ..ServiceCidrFact::default()
    }));
    prop_oneof![
        4 => (name.clone(), tier, 1u32..4)
            .prop_map(|((name, _), tier, number)| service(name, tier, number)),
        3 => (name, 0u8..2).prop_map(|((name, _), ready)| slice(name, ready)),
        1 => range,
    ]
}

/// Any object.
pub(crate) fn a_fact() -> impl Strategy<Value = Fact> {
    let secret = Just(Fact::Secret(SecretFact {
        at: at(),
        password: Some(Secret::new(b"hush".as_slice())),
    }));
    prop_oneof![
        2 => a_node(),
        1 => a_configuration(),
        4 => a_peer(),
        2 => a_filter(),
        2 => an_advertisement(),
        2 => a_service(),
        1 => secret,
    ]
}

/// An object that comes, changes or goes.
pub(crate) fn a_step() -> impl Strategy<Value = PlanStep> {
    let gone = prop_oneof![
        (2u8..5).prop_map(|number| Key::Node(format!("n{number}"))),
        (1u8..4).prop_map(|number| Key::Peer(format!("tor-{number}"))),
        prop_oneof![Just("pods"), Just("services")].prop_map(|n| Key::Advertisement(n.into())),
        prop_oneof![Just("all"), Just("some")].prop_map(|name| Key::Filter(name.into())),
        Just(Key::Configuration("default".into())),
        Just(Key::Secret(at())),
        Just(Key::Service(NamespacedName::new("shop", "web"))),
        Just(Key::ServiceCidr("lb".into())),
    ];
    prop_oneof![3 => a_fact().prop_map(applies), 1 => gone.prop_map(deletes)]
}
