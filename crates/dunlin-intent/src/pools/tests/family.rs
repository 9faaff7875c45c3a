//! Which families a Service gets addresses of.

use super::*;

#[test]
fn families() {
    use IpFamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
    let v4 = || pool("four", &["192.0.2.0/31"]);
    let v6 = || pool("six", &["2001:db8::/64"]);
    let case =
        |pools: Vec<PoolFact>, fact: ServiceFact| World::new(facts(pools, vec![fact])).outcome("a");
    let both = ips(&["192.0.2.0", "2001:db8::"]);
    for policy in [PreferDualStack, RequireDualStack] {
        let outcome = case(vec![v4(), v6()], dual("a", policy));
        assert_eq!((outcome.addresses, outcome.shortfall), (both.clone(), None));
    }
    // In the order of the Service.
    let mut fact = dual("a", PreferDualStack);
    fact.ip_families.reverse();
    let outcome = case(vec![v4(), v6()], fact);
    assert_eq!(outcome.addresses, ips(&["2001:db8::", "192.0.2.0"]));
    // One family of two.
    let outcome = case(vec![v4()], dual("a", PreferDualStack));
    assert_eq!(outcome.addresses, ips(&["192.0.2.0"]));
    assert_eq!(outcome.shortfall, Some(Shortfall::NoFamily(Afi::Ipv6)));
    let outcome = case(vec![v4()], dual("a", RequireDualStack));
    assert_eq!(outcome.addresses, ips(&[]));
    assert_eq!(outcome.shortfall, Some(Shortfall::NoFamily(Afi::Ipv6)));
    let mut fact = dual("a", RequireDualStack);
    fact.ip_families.pop();
    let outcome = case(vec![v4(), v6()], fact);
    assert_eq!(outcome.addresses, ips(&[]));
    assert_eq!(outcome.shortfall, Some(Shortfall::OneFamilyOnly));
    // Only the first counts.
    let outcome = case(vec![v4(), v6()], dual("a", SingleStack));
    assert_eq!(outcome.addresses, ips(&["192.0.2.0"]));
}

#[test]
fn what_requires_both_families_takes_no_half() {
    use IpFamilyPolicy::RequireDualStack;
    let pools = vec![pool(
        "p",
        &["192.0.2.1-192.0.2.1", "2001:db8::1-2001:db8::1"],
    )];
    let six = ServiceFact {
        ip_families: vec![Afi::Ipv6],
        ..service("six")
    };
    let mut world = World::new(facts(pools, vec![six]));
    world.apply(dual("a", RequireDualStack));
    assert_eq!(
        world.lacks("a"),
        Shortfall::Exhausted(Afi::Ipv6, vec!["p".into()])
    );
    // The IPv4 address was not taken for nothing.
    world.apply(service("four"));
    assert_eq!(world.has("four"), ips(&["192.0.2.1"]));
    world.remove_service("six");
    assert_eq!(
        world.lacks("a"),
        Shortfall::Exhausted(Afi::Ipv4, vec!["p".into()])
    );
    world.remove_service("four");
    assert_eq!(world.has("a"), ips(&["192.0.2.1", "2001:db8::1"]));
}

#[test]
fn the_second_family_comes_later() {
    use IpFamilyPolicy::PreferDualStack;
    let fact = with_status(dual("a", PreferDualStack), &["192.0.2.0"]);
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/31"])], vec![fact]));
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    world.apply(pool("six", &["2001:db8::/64"]));
    assert_eq!(world.has("a"), ips(&["192.0.2.0", "2001:db8::"]));
}
