//! Services that have one address together.

use super::*;

fn sharing(name: &str, key: &str, number: u16) -> ServiceFact {
    ServiceFact {
        sharing_key: Some(key.to_owned()),
        ports: vec![port(number)],
        ..service(name)
    }
}

#[test]
fn with_one_key_and_distinct_ports() {
    let elsewhere = ServiceFact {
        name: NamespacedName::new("other", "e"),
        ..sharing("e", "k", 83)
    };
    let udp = ServiceFact {
        ports: vec![ServicePortFact {
            protocol: Protocol::Udp,
            ..port(80)
        }],
        ..sharing("u", "k", 80)
    };
    let services = vec![
        sharing("a", "k", 80),
        sharing("b", "k", 81),
        sharing("same-port", "k", 81),
        sharing("other-key", "l", 82),
        service("alone"),
        udp,
        elsewhere,
    ];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/29"])], services));
    for name in ["a", "b", "u"] {
        assert_eq!(world.has(name), ips(&["192.0.2.0"]), "{name}");
    }
    assert_eq!(world.has("alone"), ips(&["192.0.2.1"]));
    assert_eq!(world.has("other-key"), ips(&["192.0.2.2"]));
    assert_eq!(world.has("same-port"), ips(&["192.0.2.3"]));
    let holders: BTreeMap<IpAddr, Vec<NamespacedName>> = world.pools.holders().collect();
    assert_eq!(holders[&ip("192.0.2.0")].len(), 4, "{holders:?}");
    let there = world.pools.decision(&NamespacedName::new("other", "e"));
    assert_eq!(there.unwrap().outcome.addresses, ips(&["192.0.2.0"]));
}

#[test]
fn not_under_local_policy() {
    let local = ServiceFact {
        external_traffic_policy: TrafficPolicy::Local,
        ..sharing("b", "k", 81)
    };
    let services = vec![sharing("a", "k", 80), local];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/29"])], services));
    assert_ne!(world.has("a"), world.has("b"));
}

#[test]
fn one_that_is_asked_for() {
    let asking = |name: &str, number| ServiceFact {
        requested_ips: ips(&["192.0.2.5"]),
        ..sharing(name, "k", number)
    };
    let services = vec![asking("a", 80), asking("b", 81), asking("c", 80)];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/29"])], services));
    assert_eq!(world.has("a"), ips(&["192.0.2.5"]));
    assert_eq!(world.has("b"), ips(&["192.0.2.5"]));
    assert_eq!(world.lacks("c").reason(), "RequestedTaken");
    // Another port helps, on either side.
    world.apply(asking("a", 90));
    assert_eq!(world.has("c"), ips(&["192.0.2.5"]));
}

#[test]
fn a_change_is_at_the_cost_of_who_changed() {
    let services = vec![sharing("a", "k", 80), sharing("b", "k", 81)];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/29"])], services));
    let shared = world.has("a");
    assert_eq!(world.has("b"), shared);
    world
        .pools
        .handle(SourceEvent::Apply(Fact::Service(sharing("b", "k", 80))));
    // Even if the other is decided upon first.
    let mut labelled = sharing("a", "k", 80);
    labelled.labels.insert("x".into(), "y".into());
    world.apply(labelled);
    assert_eq!(world.has("a"), shared);
    assert_eq!(world.has("b"), ips(&["192.0.2.1"]));
}

#[test]
fn whoever_waits_shares_when_that_becomes_possible() {
    let services = vec![sharing("a", "k", 80), sharing("b", "k", 80)];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/32"])], services));
    assert_eq!(world.lacks("b").reason(), "Exhausted");
    world.apply(sharing("a", "k", 81));
    assert_eq!(world.has("b"), world.has("a"));
    // The last to go frees it.
    world.apply(service("c"));
    world.remove_service("a");
    assert_eq!(world.lacks("c").reason(), "Exhausted");
    world.remove_service("b");
    assert_eq!(world.has("c"), ips(&["192.0.2.0"]));
}

#[test]
fn what_was_shared_stays_so_for_whoever_begins_anew() {
    let services = vec![
        with_status(sharing("a", "k", 80), &["192.0.2.3"]),
        with_status(sharing("b", "k", 81), &["192.0.2.3"]),
    ];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/29"])], services));
    assert_eq!(world.has("a"), ips(&["192.0.2.3"]));
    assert_eq!(world.has("b"), ips(&["192.0.2.3"]));
    assert!(world.wrote.is_empty());
}
