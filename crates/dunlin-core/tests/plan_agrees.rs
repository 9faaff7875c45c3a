//! Whatever changes: what a plan said of it is what comes of it.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_api::{Answer, Listed, Plan, PlannedPrefix, PlannedPrefixes, Query, SessionEffect};
use dunlin_bgp::policy::{FilterAction, Match, Role};
use dunlin_core::PlanStep;
use dunlin_intent::{
    AdvertisementFact, Attributes, ConfigurationFact, Fact, FilterFact, FilterRuleFact, Key,
    NamespacedName, PeerAsn, PodEgressFact, RouteInstallation, Secret, SecretFact, SecretRef,
    ServiceAddressKind, ServiceCidrFact, ServicesFact, TopologyMode,
};
use dunlin_net::{Asn, Instant, IpNet};
use proptest::option;
use proptest::prelude::*;
use support::many::*;
use support::*;

type Told = BTreeMap<String, BTreeSet<IpNet>>;

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

fn a_filter_name() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![4 => Just("all"), 2 => Just("some"), 1 => Just("nosuch")])
        .prop_map(|name| name.map(str::to_owned))
}

fn a_peer() -> impl Strategy<Value = Fact> {
    let identity = (
        1u8..4,
        option::weighted(0.2, 1u8..4),
        prop_oneof![3 => Just(65001), 1 => Just(65002), 1 => Just(64512)],
    );
    let filters = (a_filter_name(), a_filter_name());
    let rest = (
        option::weighted(0.3, Just("a")),
        option::weighted(0.2, Just(())),
        option::weighted(0.3, 10u16..12),
        option::weighted(0.4, prop::sample::select(&Role::ALL)),
    );
    (identity, filters, rest).prop_map(|((number, place, asn), (import, export), rest)| {
        let mut fact = router(number);
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

fn a_filter() -> impl Strategy<Value = Fact> {
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

fn a_fact() -> impl Strategy<Value = Fact> {
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

fn a_step() -> impl Strategy<Value = PlanStep> {
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

/// A node among others that heard something from everybody, with these facts besides.
fn world(facts: Vec<Fact>) -> Bench {
    let mut bench = Bench::new();
    let base = [
        Fact::Node(other_node(2)),
        Fact::Node(other_node(3)),
        Fact::Filter(all()),
        Fact::Peer(router(1)),
        service("web", "front", 1),
        slice("web", 1),
    ];
    for fact in base.into_iter().chain(facts) {
        bench.apply(fact);
    }
    bench.sync();
    for name in bench.peers().into_keys() {
        bench.comes_up(&name);
        announce(&mut bench, &name);
    }
    bench
}

const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "10.244.3.0/24"];

const OF_ROUTERS: [&str; 2] = ["198.51.100.0/24", "203.0.113.1/32"];

/// What a peer of this name always announces.
fn announce(bench: &mut Bench, name: &str) {
    match name {
        "n2" => bench.hears(name, &["10.244.2.0/24", "10.244.3.0/24"]),
        "n3" => bench.hears(name, &["10.244.3.0/24", "10.245.3.0/24"]),
        "n4" => bench.hears(name, &["10.244.4.0/24"]),
        // Who says what it is to us marks what it tells.
        SAYS_ROLE => bench.hears_marked(name, &[EVERYWHERE, OF_ROUTERS].concat(), None),
        _ => {
            bench.hears(name, &EVERYWHERE);
            match name {
                "tor-1" => bench.hears(name, &OF_ROUTERS),
                // They are for customers since somebody far away.
                _ => bench.hears_marked(name, &OF_ROUTERS, Some(Asn(65009))),
            }
        }
    }
}

fn nets(listed: &Listed<PlannedPrefix>) -> BTreeSet<IpNet> {
    assert_eq!(listed.more, 0);
    listed.items.iter().map(|one| one.prefix).collect()
}

/// What becomes of the prefixes by the plan: those that come were not there, those that go were, as those that change.
fn with(before: &BTreeSet<IpNet>, planned: &PlannedPrefixes, what: &str) -> BTreeSet<IpNet> {
    let (appear, go) = (nets(&planned.appear), nets(&planned.go));
    assert!(appear.is_disjoint(before), "{what}: {appear:?} are there");
    assert!(go.is_subset(before), "{what}: {go:?} are not there");
    let change = nets(&planned.change);
    assert!(change.is_subset(before), "{what}: {change:?} are not there");
    before.difference(&go).chain(&appear).copied().collect()
}

fn named(plan: &Plan, wanted: SessionEffect) -> BTreeSet<String> {
    let groups = plan.sessions.items.iter();
    let groups = groups.filter(|group| {
        let tried = group.not_tried.is_none() || group.effect == SessionEffect::Ends;
        group.effect == wanted && tried
    });
    groups
        .flat_map(|group| group.peers.items.iter().map(|peer| peer.name.clone()))
        .collect()
}

fn names<T>(peers: &BTreeMap<String, T>) -> BTreeSet<String> {
    peers.keys().cloned().collect()
}

fn problems(bench: &mut Bench) -> BTreeSet<(String, String)> {
    let Answer::Status(status) = bench.ask(&Query::Status) else {
        panic!("the status was asked for");
    };
    // That a session is down is no problem of an object.
    let problems = status.problems.into_iter();
    let of_objects = problems.filter(|problem| problem.reason != "SessionDown");
    of_objects
        .map(|problem| (problem.object, problem.reason))
        .collect()
}

/// The plan's sessions against the core's commands.
fn sessions_agree(
    plan: &Plan,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
    reset: &BTreeSet<String>,
) {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> BTreeSet<String> {
        a.difference(b).cloned().collect()
    };
    assert_eq!(named(plan, SessionEffect::Starts), only(after, before));
    // What was not tried before has no session to end.
    let ends: BTreeSet<String> = named(plan, SessionEffect::Ends);
    let ended: BTreeSet<String> = ends.intersection(before).cloned().collect();
    assert_eq!(ended, only(before, after));
    assert_eq!(&named(plan, SessionEffect::Resets), reset);
}

fn exports_agree(plan: &Plan, before: &Told, after: &Told) {
    let nobody = BTreeSet::new();
    let idle = PlannedPrefixes::default();
    for peer in names(before).union(&names(after)) {
        let told = |told: &Told| told.get(peer).unwrap_or(&nobody).clone();
        let mut groups = plan.exports.items.iter();
        let group = groups.find(|group| group.peers.items.contains(peer));
        let planned = group.map_or(&idle, |group| &group.prefixes);
        let expected = with(&told(before), planned, peer);
        assert_eq!(expected, told(after), "told to {peer}");
    }
}

fn imports_agree(plan: &Plan, before: &Told, after: &Told) {
    let nobody = BTreeSet::new();
    let idle = PlannedPrefixes::default();
    for peer in names(before).union(&names(after)) {
        let used = |used: &Told| used.get(peer).unwrap_or(&nobody).clone();
        let mut planned = plan.imports.items.iter();
        let planned = planned.find(|one| one.peer == *peer);
        let planned = planned.map_or(&idle, |one| &one.prefixes);
        let expected = with(&used(before), planned, peer);
        assert_eq!(expected, used(after), "learned from {peer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_was_planned_comes(
        facts in prop::collection::vec(a_fact(), 0..6),
        steps in prop::collection::vec(a_step(), 1..5),
    ) {
        let mut bench = world(facts);
        bench.until(Instant::from_micros(60_000_000));
        let (told, used, wrong) = (bench.told_to(), bench.used(), problems(&mut bench));
        let before = names(&bench.peers());
        let held = bench.held();
        let plan = bench.plan(steps.clone());
        prop_assert_eq!(held, bench.held());

        let reset = bench.undergoes(steps);
        for name in &reset {
            announce(&mut bench, name);
        }
        bench.until(Instant::from_micros(120_000_000));
        sessions_agree(&plan, &before, &names(&bench.peers()), &reset);
        exports_agree(&plan, &told, &bench.told_to());
        imports_agree(&plan, &used, &bench.used());
        let of = |listed: &Listed<dunlin_api::ObjectProblem>| -> BTreeSet<(String, String)> {
            let problems = listed.items.iter();
            let real = problems.filter(|problem| problem.reason != "NotFound");
            real.map(|p| (format!("{}/{}", p.kind, p.name), p.reason.clone())).collect()
        };
        let now = problems(&mut bench);
        prop_assert!(of(&plan.problems).is_subset(&now), "{:?} of {now:?}", plan.problems);
        let left: BTreeSet<_> = wrong.difference(&of(&plan.solved)).cloned().collect();
        let expected: BTreeSet<_> = left.union(&of(&plan.problems)).cloned().collect();
        prop_assert!(now.is_subset(&expected.union(&wrong).cloned().collect()), "{now:?}");
        prop_assert!(left.is_subset(&now), "{left:?} of {now:?}");
    }
}
