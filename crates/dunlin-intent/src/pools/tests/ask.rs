//! Pools and addresses that Services ask for.

use super::*;

#[test]
fn requests() {
    let asking = |name: &str, addresses: &[&str]| ServiceFact {
        requested_ips: ips(addresses),
        ..service(name)
    };
    let blue = PoolFact {
        namespace_selector: selector("team", "blue"),
        ..pool("blue", &["203.0.113.0/28"])
    };
    let hidden = PoolFact {
        auto_assign: false,
        ..pool("hidden", &["198.51.100.0/28"])
    };
    let pools = vec![pool("p", &["192.0.2.0/28"]), blue, hidden];
    let mut invalid = service("invalid");
    let field = "metadata.annotations[dunlin.dev/load-balancer-ips]";
    invalid.malformed = vec![Malformed::new(field, "is no address")];
    let services = vec![
        asking("a", &["192.0.2.5"]),
        asking("b", &["192.0.2.5"]),
        asking("hidden", &["198.51.100.3"]),
        asking("outside", &["10.0.0.1"]),
        asking("not-for", &["203.0.113.1"]),
        asking("family", &["2001:db8::1"]),
        asking("two", &["192.0.2.9", "192.0.2.8"]),
        asking("half", &["192.0.2.7", "192.0.2.5"]),
        invalid,
    ];
    let mut world = World::new(facts(pools, services));
    assert_eq!(world.has("a"), ips(&["192.0.2.5"]));
    let taken = Shortfall::RequestedTaken(ip("192.0.2.5"), NamespacedName::new("ns", "a"));
    assert_eq!(world.lacks("b"), taken);
    assert_eq!(world.lacks("half"), taken);
    assert_eq!(world.has("half"), ips(&[]));
    assert_eq!(world.has("hidden"), ips(&["198.51.100.3"]));
    assert_eq!(
        world.lacks("outside"),
        Shortfall::RequestedOutsidePools(ip("10.0.0.1"))
    );
    let not_for = Shortfall::RequestedNotForService(ip("203.0.113.1"), "blue".into());
    assert_eq!(world.lacks("not-for"), not_for);
    assert_eq!(
        world.lacks("family"),
        Shortfall::RequestedFamily(ip("2001:db8::1"))
    );
    assert_eq!(world.has("two"), ips(&["192.0.2.9", "192.0.2.8"]));
    assert_eq!(world.lacks("invalid"), Shortfall::RequestInvalid);
    // Whoever waits for an address gets it.
    world.remove_service("a");
    assert_eq!(world.has("b"), ips(&["192.0.2.5"]));
    let many: Vec<String> = (0..17).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.apply(asking("many", &many));
    assert_eq!(world.lacks("many"), Shortfall::RequestTooLong);
}

#[test]
fn one_family_asked_for_and_the_other_found() {
    let pools = vec![pool("p", &["192.0.2.0/28", "2001:db8::/64"])];
    let fact = ServiceFact {
        requested_ips: ips(&["2001:db8::77"]),
        ..dual("a", IpFamilyPolicy::RequireDualStack)
    };
    let world = World::new(facts(pools, vec![fact]));
    assert_eq!(world.has("a"), ips(&["192.0.2.0", "2001:db8::77"]));
}

#[test]
fn which_pool() {
    let plain = pool("a-plain", &["192.0.2.0/28"]);
    let narrow = PoolFact {
        service_selector: selector("app", "web"),
        ..pool("b-narrow", &["198.51.100.0/28"])
    };
    let narrowest = PoolFact {
        service_selector: selector("app", "web"),
        namespace_selector: selector("team", "red"),
        ..pool("c-narrowest", &["203.0.113.0/28"])
    };
    let asked_only = PoolFact {
        auto_assign: false,
        ..pool("d-asked", &["10.9.0.0/28"])
    };
    let pools = vec![plain, narrow, narrowest, asked_only];
    let mut web = service("web");
    web.labels.insert("app".into(), "web".into());
    let asking = |name: &str, pool: &str| ServiceFact {
        requested_pool: Some(pool.to_owned()),
        ..service(name)
    };
    let elsewhere = ServiceFact {
        name: NamespacedName::new("unknown", "web"),
        ..web.clone()
    };
    let services = vec![
        service("plain"),
        web,
        asking("asked", "d-asked"),
        asking("missing", "nowhere"),
        asking("refused", "b-narrow"),
        elsewhere,
    ];
    let world = World::new(facts(pools, services));
    assert_eq!(world.has("plain"), ips(&["192.0.2.0"]));
    assert_eq!(world.has("web"), ips(&["203.0.113.0"]));
    assert_eq!(world.has("asked"), ips(&["10.9.0.0"]));
    assert_eq!(
        world.lacks("missing"),
        Shortfall::PoolMissing("nowhere".into())
    );
    assert_eq!(
        world.lacks("refused"),
        Shortfall::PoolNotForService("b-narrow".into())
    );
    // A Namespace nothing is known of satisfies no selector.
    let there = world.pools.decision(&NamespacedName::new("unknown", "web"));
    assert_eq!(there.unwrap().outcome.addresses, ips(&["198.51.100.0"]));
}

#[test]
fn a_namespace_that_changes_its_labels() {
    let blue = PoolFact {
        namespace_selector: selector("team", "blue"),
        ..pool("blue", &["192.0.2.0/28"])
    };
    let mut world = World::new(facts(vec![blue], vec![service("a")]));
    assert_eq!(world.lacks("a"), Shortfall::NoPool);
    let namespace = NamespaceFact {
        name: "ns".to_owned(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
    };
    world.apply(Told(Fact::Namespace(namespace)));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
}
