//! What a Service has it keeps.

use super::*;

#[test]
fn what_the_status_shows_is_taken_over() {
    let services = vec![
        with_status(service("b"), &["192.0.2.0"]),
        service("a"),
        with_status(service("c"), &["192.0.2.9"]),
    ];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/28"])], services));
    assert_eq!(world.has("b"), ips(&["192.0.2.0"]));
    assert_eq!(world.has("c"), ips(&["192.0.2.9"]));
    assert_eq!(world.has("a"), ips(&["192.0.2.1"]));
    assert_eq!(world.wrote.keys().collect::<Vec<_>>(), ["a"]);
    // The status was emptied by somebody: the same address is written again.
    world.apply(service("b"));
    assert_eq!(world.wrote["b"], ips(&["192.0.2.0"]));
    // Or changed to another's.
    world.apply(with_status(service("b"), &["192.0.2.9"]));
    assert_eq!(world.wrote["b"], ips(&["192.0.2.0"]));
    assert_eq!(world.has("c"), ips(&["192.0.2.9"]));
}

#[test]
fn pools_may_go_and_addresses_stay() {
    let services = vec![service("a"), service("b")];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/31"])], services));
    let before = (world.has("a"), world.has("b"));
    world.apply(pool("p", &["198.51.100.0/31"]));
    assert_eq!((world.has("a"), world.has("b")), before);
    assert_eq!(
        world.outcome("a").remarks,
        [Remark::KeptOutsidePools(ip("192.0.2.0"))]
    );
    assert!(world.outcome("a").complete());
    world.apply(PoolFact {
        service_selector: selector("app", "web"),
        ..pool("p", &["192.0.2.0/31"])
    });
    let remark = Remark::KeptNotSelected(ip("192.0.2.0"), "p".into());
    assert_eq!(world.outcome("a").remarks, [remark]);
    world.remove(Key::Pool("p".to_owned()));
    assert_eq!((world.has("a"), world.has("b")), before);
    // Also whoever begins anew finds them so.
    let services = vec![with_status(service("a"), &["192.0.2.0"]), service("c")];
    let world = World::new(facts(Vec::new(), services));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    assert_eq!(world.lacks("c"), Shortfall::NoPool);
}

#[test]
fn of_two_with_one_address_the_older_keeps_it() {
    let at = |name: &str, secs| ServiceFact {
        created: Some(Timestamp::from_unix_secs(secs)),
        ..with_status(service(name), &["192.0.2.0"])
    };
    let services = vec![at("a", 20), at("b", 10)];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/31"])], services.clone()));
    assert_eq!(world.has("b"), ips(&["192.0.2.0"]));
    assert_eq!(world.has("a"), ips(&["192.0.2.1"]));
    assert_eq!(world.wrote.keys().collect::<Vec<_>>(), ["a"]);
    // Without another, it has none.
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/32"])], services));
    assert_eq!(world.has("a"), ips(&[]));
    assert_eq!(world.wrote["a"], ips(&[]));
}

#[test]
fn another_address_is_had_before_the_first_is_let_go() {
    let asking = |address: &str| ServiceFact {
        requested_ips: ips(&[address]),
        ..with_status(service("a"), &["192.0.2.0"])
    };
    let mut world = World::new(facts(
        vec![pool("p", &["192.0.2.0/31"])],
        vec![with_status(service("a"), &["192.0.2.0"]), service("b")],
    ));
    world.apply(asking("192.0.2.1"));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    assert_eq!(world.lacks("a").reason(), "RequestedTaken");
    world.remove_service("b");
    assert_eq!(world.has("a"), ips(&["192.0.2.1"]));
    assert_eq!(world.wrote["a"], ips(&["192.0.2.1"]));
    world.apply(service("c"));
    assert_eq!(world.has("c"), ips(&["192.0.2.0"]));
}

#[test]
fn what_the_status_still_shows_is_not_given() {
    let mut pools = World::new(facts(
        vec![pool("p", &["192.0.2.0/31"])],
        vec![with_status(service("a"), &["192.0.2.0"])],
    ))
    .pools;
    let asking = ServiceFact {
        requested_ips: ips(&["192.0.2.1"]),
        ..with_status(service("a"), &["192.0.2.0"])
    };
    pools.handle(SourceEvent::Apply(Fact::Service(asking)));
    pools.handle(SourceEvent::Apply(Fact::Service(service("b"))));
    let decisions: Vec<Decision> = std::iter::from_fn(|| pools.poll_decision()).collect();
    assert_eq!(decisions[0].outcome.addresses, ips(&["192.0.2.1"]));
    assert_eq!(decisions[1].outcome.addresses, ips(&[]), "not written yet");
    let first = &decisions[0];
    pools.written(&first.service, first.uid.as_deref(), &ips(&["192.0.2.1"]));
    let decision = pools.poll_decision().unwrap();
    assert_eq!(decision.outcome.addresses, ips(&["192.0.2.0"]));
}

#[test]
fn another_pool_asked_for() {
    let fact = |pool: Option<&str>| ServiceFact {
        requested_pool: pool.map(str::to_owned),
        ..with_status(service("a"), &["192.0.2.0"])
    };
    let pools = vec![
        pool("p", &["192.0.2.0/31"]),
        pool("q", &["198.51.100.1/32"]),
    ];
    let holder = with_status(service("z"), &["198.51.100.1"]);
    let mut world = World::new(facts(pools, vec![fact(None), holder]));
    world.apply(fact(Some("q")));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    assert_eq!(world.lacks("a").reason(), "Exhausted");
    world.remove_service("z");
    assert_eq!(world.has("a"), ips(&["198.51.100.1"]));
}

#[test]
fn a_family_that_goes_takes_its_address_along() {
    let pools = vec![pool("p", &["192.0.2.0/31", "2001:db8::/64"])];
    let fact = dual("a", IpFamilyPolicy::PreferDualStack);
    let mut world = World::new(facts(pools, vec![fact]));
    world.apply(with_status(service("a"), &["192.0.2.0", "2001:db8::"]));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    assert_eq!(world.wrote["a"], ips(&["192.0.2.0"]));
}

#[test]
fn a_service_that_is_being_deleted_keeps_and_gets_nothing() {
    let dying = |name: &str, addresses: &[&str]| ServiceFact {
        deleting: true,
        ..with_status(service(name), addresses)
    };
    let services = vec![dying("a", &["192.0.2.0"]), dying("b", &[]), service("c")];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/31"])], services));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    assert_eq!(world.has("b"), ips(&[]));
    assert_eq!(world.has("c"), ips(&["192.0.2.1"]));
}

#[test]
fn an_address_that_another_controller_gave_too_is_kept_and_said() {
    let other = ServiceFact {
        load_balancer_class: Some("example.com/lb".to_owned()),
        ..with_status(service("other"), &["192.0.2.0"])
    };
    let services = vec![other, with_status(service("a"), &["192.0.2.0"])];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/31"])], services));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    let remark = Remark::AlsoHeldBy(ip("192.0.2.0"), NamespacedName::new("ns", "other"));
    assert_eq!(world.outcome("a").remarks, [remark]);
}
