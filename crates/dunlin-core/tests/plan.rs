//! What a plan says of each kind of change, and that nothing changes by it.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;

use dunlin_api::{ObjectChange, SessionEffect};
use dunlin_bgp::policy::{FilterAction, Match};
use dunlin_intent::{
    Attributes, BmpStationFact, ConfigurationFact, Fact, FilterFact, FilterRuleFact, Key,
    MonitoredTable, NodeFact, PeerAsn, PeerFact, PodEgressFact, RouteInstallation, Secret,
    SecretFact, SecretRef, ServiceFact, TopologyMode,
};
use dunlin_net::{Asn, IpNet};
use support::many::*;
use support::plans::*;
use support::*;

#[test]
fn what_is_there_already_changes_nothing() {
    let bench = world();
    let plan = plan(
        &bench,
        vec![
            applies(Fact::Peer(router(1))),
            applies(Fact::Advertisement(services())),
            applies(service("web", "front", 1)),
            applies(Fact::Node(node())),
        ],
    );
    assert!(plan.is_idle(), "{plan:?}");
    assert!(!plan.has_problems());
    assert_eq!(plan.node, "n1");
    let changes: BTreeSet<&str> = plan
        .objects
        .items
        .iter()
        .map(|object| match object.change {
            ObjectChange::Replaced => object.object.as_str(),
            _ => panic!("{object:?}"),
        })
        .collect();
    let expected = [
        "BGPPeer/tor-1",
        "BGPAdvertisement/services",
        "Service/shop/web",
        "Node/n1",
    ];
    assert_eq!(changes, expected.into_iter().collect());
}

#[test]
fn a_new_router_starts_a_session_and_is_told_everything() {
    let plan = plan(&world(), vec![applies(Fact::Peer(router(3)))]);
    assert_eq!(
        fates(&plan),
        [(SessionEffect::Starts, vec![], strings(["tor-3"]))]
    );
    let address = plan.sessions.items[0].peers.items[0].address;
    assert_eq!(address, Some(IpAddr::from([10, 0, 0, 103])));
    let told = strings(["10.244.1.0/24", "203.0.113.1/32"]);
    assert_eq!(exports(&plan), [(strings(["tor-3"]), told, vec![], vec![])]);
    let origin = |at: usize| {
        plan.exports.items[0].prefixes.appear.items[at]
            .origin
            .clone()
    };
    assert_eq!(origin(0).as_deref(), Some("Node/n1"));
    assert_eq!(origin(1).as_deref(), Some("Service/shop/web"));
    assert!(plan.imports.is_empty());
}

#[test]
fn a_router_that_goes_ends_its_session_and_takes_its_routes() {
    let plan = plan(&world(), vec![deletes(Key::Peer("tor-1".into()))]);
    assert_eq!(
        fates(&plan),
        [(SessionEffect::Ends, vec![], strings(["tor-1"]))]
    );
    assert_eq!(plan.sessions.items[0].established, 1);
    let gone = strings(["10.244.1.0/24", "203.0.113.1/32"]);
    assert_eq!(exports(&plan), [(strings(["tor-1"]), vec![], gone, vec![])]);
    let lost = strings(["0.0.0.0/0", "198.51.100.0/24"]);
    assert_eq!(imports(&plan), [("tor-1".into(), vec![], lost.clone())]);
    assert_eq!(nets(&plan.routes.go), lost);
}

#[test]
fn what_open_says_resets_a_session_and_what_it_does_not_say_does_not() {
    let bench = world();
    let changed = |change: fn(&mut PeerFact)| {
        let mut fact = router(1);
        change(&mut fact);
        let fates = fates(&plan(&bench, vec![applies(Fact::Peer(fact))]));
        let [(effect, reasons, peers)] = fates.as_slice() else {
            panic!("{fates:?}");
        };
        assert_eq!(peers, &strings(["tor-1"]));
        (*effect, reasons.clone())
    };
    assert_eq!(
        changed(|fact| fact.peer_asn = Some(PeerAsn::Number(Asn(65002)))),
        (SessionEffect::Resets, strings(["peerASN: 65001 to 65002"]))
    );
    assert_eq!(
        changed(|fact| fact.timers.hold_time_secs = Some(30)),
        (
            SessionEffect::Resets,
            strings(["holdTimeSeconds: 90 to 30", "keepaliveSeconds: 30 to 10"])
        )
    );
    assert_eq!(
        changed(|fact| fact.timers.connect_retry_secs = Some(9)),
        (
            SessionEffect::Changes,
            strings(["connectRetrySeconds: 5 to 9"])
        )
    );
    assert_eq!(
        changed(|fact| fact.peer_address = Some(IpAddr::from([10, 0, 0, 111]))),
        (
            SessionEffect::Resets,
            strings(["peerAddress: 10.0.0.101 to 10.0.0.111"])
        )
    );
    assert_eq!(
        changed(|fact| fact.import_filter = None),
        (
            SessionEffect::Policy,
            strings(["importFilter: all (1 rule) to -"])
        )
    );
    assert_eq!(
        changed(|fact| {
            fact.fabric = Some(true);
            fact.allow_own_as = Some(2);
        }),
        (
            SessionEffect::Policy,
            strings(["fabric: false to true", "allowOwnAS: 0 to 2"])
        )
    );
}

#[test]
fn a_password_changes_in_place_and_a_missing_one_ends_the_session() {
    let bench = world();
    let at = SecretRef::new("kube-system", "bgp");
    let peer = || {
        let mut fact = router(1);
        fact.password = Some(at.clone());
        applies(Fact::Peer(fact))
    };
    let secret = applies(Fact::Secret(SecretFact {
        at: at.clone(),
        password: Some(Secret::new(b"hush".as_slice())),
    }));
    let given = plan(&bench, vec![secret, peer()]);
    let to = "passwordSecretRef: - to a password";
    assert_eq!(
        fates(&given),
        [(SessionEffect::Changes, strings([to]), strings(["tor-1"]))]
    );
    assert!(!format!("{given:?}").contains("hush"));
    let missing = plan(&bench, vec![peer()]);
    assert_eq!(fates(&missing)[0].0, SessionEffect::Ends);
    let why = missing.sessions.items[0].not_tried.as_deref();
    assert!(why.is_some_and(|why| why.contains("Secret")), "{why:?}");
    assert_eq!(missing.problems.items[0].reason, "SecretMissing");
    assert!(missing.has_problems());
}

#[test]
fn a_filter_that_changes_changes_what_is_learned_without_a_reset() {
    let reject = FilterRuleFact {
        matches: Match {
            cidr: Some("198.51.100.0/24".parse().unwrap()),
            ..Match::default()
        },
        action: FilterAction::Reject,
        attributes: Attributes::default(),
    };
    let filter = FilterFact {
        rules: vec![reject, FilterRuleFact::accept_all()],
        ..all()
    };
    let plan = plan(&world(), vec![applies(Fact::Filter(filter))]);
    let reason = strings(["importFilter: all (1 rule) to all (2 rules)"]);
    assert_eq!(
        fates(&plan),
        [(SessionEffect::Policy, reason, strings(["tor-1", "tor-2"]))]
    );
    let lost = strings(["198.51.100.0/24"]);
    assert_eq!(imports(&plan), [("tor-1".into(), vec![], lost.clone())]);
    let why = &plan.imports.items[0].prefixes.go.items[0].reason;
    assert!(
        why.as_ref().is_some_and(|why| why.contains("rule")),
        "{why:?}"
    );
    assert_eq!(nets(&plan.routes.go), lost);
    assert!(plan.exports.is_empty());
}

#[test]
fn an_advertisement_that_goes_takes_its_prefixes_from_routers_alone() {
    let bench = world();
    let key = || deletes(Key::Advertisement("services".into()));
    let gone = plan(&bench, vec![key()]);
    let routers = strings(["tor-1", "tor-2"]);
    let prefix = strings(["203.0.113.1/32"]);
    assert_eq!(
        exports(&gone),
        [(routers.clone(), vec![], prefix.clone(), vec![])]
    );
    let mut with_med = services();
    with_med.attributes.med = Some(10);
    let changed = plan(&bench, vec![applies(Fact::Advertisement(with_med.clone()))]);
    assert_eq!(
        exports(&changed),
        [(routers.clone(), vec![], vec![], prefix.clone())]
    );
    let changes = &changed.exports.items[0].prefixes.change.items[0].changes;
    assert_eq!(reason(&changes[0]), "MULTI_EXIT_DISC: - to 10");
    // Another object that says the same takes its place: the number of the class may be the same and nothing changes.
    let mut again = services();
    again.name = "again".into();
    let swapped = plan(&bench, vec![key(), applies(Fact::Advertisement(again))]);
    assert_eq!(exports(&swapped), []);
    with_med.name = "again".into();
    let swapped = plan(&bench, vec![key(), applies(Fact::Advertisement(with_med))]);
    assert_eq!(exports(&swapped), [(routers, vec![], vec![], prefix)]);
}

#[test]
fn a_nodes_label_decides_on_peers_and_what_is_not_said_of_a_node_stays() {
    let mut bench = world();
    let mut racked = router(2);
    racked.node_selector = Some(label("rack", "a"));
    bench.apply(Fact::Node(node().with_label("rack", "a")));
    bench.apply(Fact::Peer(racked));
    // As people write it: neither addresses nor pod subnets.
    let moved = plan(
        &bench,
        vec![applies(Fact::Node(
            NodeFact::new("n1").with_label("rack", "b"),
        ))],
    );
    assert_eq!(
        fates(&moved),
        [(SessionEffect::Ends, vec![], strings(["tor-2"]))]
    );
    assert_eq!(moved.node_changes, []);
}

#[test]
fn without_a_mesh_sessions_between_nodes_end() {
    let none = ConfigurationFact {
        name: "default".into(),
        topology: Some(TopologyMode::None),
        ..ConfigurationFact::default()
    };
    let plan = plan(&world(), vec![applies(Fact::Configuration(none))]);
    assert_eq!(
        fates(&plan),
        [(SessionEffect::Ends, vec![], strings(["n2", "n3"]))]
    );
    assert_eq!(
        nets(&plan.routes.go),
        strings(["10.244.2.0/24", "10.244.3.0/24"])
    );
    let pods = strings(["10.244.1.0/24"]);
    assert_eq!(
        exports(&plan),
        [(strings(["n2", "n3"]), vec![], pods, vec![])]
    );
}

#[test]
fn another_as_starts_everything_anew_and_masquerade_goes_off() {
    let configuration = ConfigurationFact {
        name: "default".into(),
        asn: Some(Asn(64513)),
        pod_egress: PodEgressFact {
            masquerade: Some(false),
            exclude: Vec::new(),
        },
        ..ConfigurationFact::default()
    };
    let changed = plan(&world(), vec![applies(Fact::Configuration(configuration))]);
    assert!(
        fates(&changed)
            .iter()
            .all(|fate| fate.0 == SessionEffect::Resets),
        "{:?}",
        changed.sessions
    );
    let names: BTreeSet<String> = fates(&changed)
        .into_iter()
        .flat_map(|fate| fate.2)
        .collect();
    let everyone = ["n2", "n3", "tor-1", "tor-2"].map(str::to_owned);
    assert_eq!(names, everyone.into_iter().collect());
    let node: Vec<String> = changed.node_changes.iter().map(reason).collect();
    assert_eq!(
        node,
        ["asn: 64512 to 64513", "masquerade: of 10.244.1.0/24 to off"]
    );
    assert!(changed.notes.iter().any(|note| note.contains("start anew")));
    let watched = ConfigurationFact {
        name: "default".into(),
        bmp: vec![BmpStationFact {
            address: Some("2001:db8::9".parse().unwrap()),
            monitor: vec![MonitoredTable::LocRib],
            ..BmpStationFact::default()
        }],
        ..ConfigurationFact::default()
    };
    let watched = plan(&world(), vec![applies(Fact::Configuration(watched))]);
    let node: Vec<String> = watched.node_changes.iter().map(reason).collect();
    let station = "bmp: - to [2001:db8::9]:11019 (LocRIB, statistics each 60 s)";
    assert_eq!(node, [station]);
    assert!(watched.sessions.items.is_empty(), "{:?}", watched.sessions);
    let none = ConfigurationFact {
        name: "default".into(),
        route_installation: Some(RouteInstallation::None),
        ..ConfigurationFact::default()
    };
    let uninstalled = plan(&world(), vec![applies(Fact::Configuration(none))]);
    assert_eq!(uninstalled.routes.go.count(), 4);
    assert!(uninstalled.imports.is_empty(), "{:?}", uninstalled.imports);
}

#[test]
fn a_bad_object_is_a_problem_and_a_good_one_solves_it() {
    let mut bench = world();
    let mut bad = router(3);
    bad.import_filter = Some("nosuch".into());
    let planned = plan(&bench, vec![applies(Fact::Peer(bad.clone()))]);
    assert!(planned.has_problems());
    let [problem] = planned.problems.items.as_slice() else {
        panic!("{:?}", planned.problems);
    };
    assert_eq!(
        (problem.kind.as_str(), problem.name.as_str()),
        ("BGPPeer", "tor-3")
    );
    assert_eq!(problem.field.as_deref(), Some("spec.importFilter"));
    bench.apply(Fact::Peer(bad));
    let nosuch = FilterFact {
        name: "nosuch".into(),
        ..all()
    };
    let solved = plan(&bench, vec![applies(Fact::Filter(nosuch))]);
    assert!(!solved.has_problems());
    assert_eq!(solved.solved.items, planned.problems.items);
}

#[test]
fn what_is_to_be_deleted_and_not_there_is_a_problem() {
    let plan = plan(&world(), vec![deletes(Key::Peer("tor-9".into()))]);
    assert_eq!(plan.objects.items[0].change, ObjectChange::NotFound);
    assert_eq!(plan.problems.items[0].reason, "NotFound");
    assert!(plan.has_problems() && plan.is_idle());
}

#[test]
fn a_drained_node_is_planned_to_its_end() {
    let mut drained = node();
    drained.drain = true;
    let plan = plan(&world(), vec![applies(Fact::Node(drained))]);
    let changed = strings(["10.244.1.0/24"]);
    assert_eq!(
        exports(&plan),
        [
            (strings(["n2", "n3"]), vec![], vec![], changed.clone()),
            (
                strings(["tor-1", "tor-2"]),
                vec![],
                strings(["203.0.113.1/32"]),
                changed
            )
        ]
    );
    assert!(plan.notes.iter().any(|note| note.contains("10 s")));
}

#[test]
fn a_service_as_people_write_it_keeps_the_addresses_it_was_given() {
    let bench = world();
    let mut written = ServiceFact::new("shop", "web");
    written.service_type = dunlin_intent::ServiceType::LoadBalancer;
    written.labels.insert("tier".into(), "front".into());
    let same = plan(&bench, vec![applies(Fact::Service(written.clone()))]);
    assert!(same.is_idle(), "{same:?}");
    written.service_type = dunlin_intent::ServiceType::ClusterIp;
    let lost = plan(&bench, vec![applies(Fact::Service(written))]);
    assert_eq!(exports(&lost)[0].2, strings(["203.0.113.1/32"]));
}

#[test]
fn what_is_passed_on_follows_the_export_filter() {
    let mut bench = world();
    let mut relay = router(2);
    relay.export_filter = Some("all".into());
    let opened = plan(&bench, vec![applies(Fact::Peer(relay.clone()))]);
    let appear = strings([
        "0.0.0.0/0",
        "10.244.2.0/24",
        "10.244.3.0/24",
        "198.51.100.0/24",
    ]);
    assert_eq!(
        exports(&opened),
        [(strings(["tor-2"]), appear, vec![], vec![])]
    );
    let from = &opened.exports.items[0].prefixes.appear.items[0].origin;
    assert_eq!(from.as_deref(), Some("tor-1"));
    bench.apply(Fact::Peer(relay));
    let gone = plan(&bench, vec![deletes(Key::Peer("tor-1".into()))]);
    let relayed = strings(["0.0.0.0/0", "198.51.100.0/24"]);
    let own = strings(["10.244.1.0/24", "203.0.113.1/32"]);
    assert_eq!(
        exports(&gone),
        [
            (strings(["tor-1"]), vec![], own, vec![]),
            (strings(["tor-2"]), vec![], relayed, vec![])
        ]
    );
}

#[test]
fn lists_keep_the_first_and_count_the_rest() {
    let mut bench = world();
    let many: Vec<String> = (1..50).rev().map(|n| format!("192.0.{n}.0/24")).collect();
    bench.hears(
        "tor-1",
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let mut closed = router(1);
    closed.import_filter = None;
    let all = bench.plan(vec![applies(Fact::Peer(closed))]);
    let all = &all.imports.items[0].prefixes.go;
    assert_eq!(all.items.len(), 51);
    let mut closed = router(1);
    closed.import_filter = None;
    let few = bench.plan_within(vec![applies(Fact::Peer(closed))], 3);
    let few = &few.imports.items[0].prefixes.go;
    assert_eq!((few.items.as_slice(), few.more), (&all.items[..3], 48));
    let nets: Vec<IpNet> = all.items.iter().map(|one| one.prefix).collect();
    assert!(nets.is_sorted(), "{nets:?}");
}
