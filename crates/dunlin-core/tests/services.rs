//! Services through the whole core: what is told to a router outside, when, and what is not.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_api::{Answer, Query, RouteFilter, RouteState, ServiceFilter};
use dunlin_intent::{
    AddressRange, AdvertisementFact, Attributes, Fact, FilterFact, FilterRuleFact, Key, Kind,
    NamespacedName, PoolFact, ServiceAddressKind, ServiceCidrFact, ServiceFact, ServicesFact,
    SourceEvent,
};
use dunlin_net::{Afi, Instant};
use support::*;

fn advertisement(name: &str, med: Option<u32>) -> Fact {
    Fact::Advertisement(AdvertisementFact {
        name: name.into(),
        services: Some(ServicesFact {
            addresses: vec![ServiceAddressKind::LoadBalancerIp],
            selector: Some(label("tier", name)),
            namespace_selector: None,
        }),
        attributes: Attributes {
            med,
            ..Attributes::default()
        },
        ..AdvertisementFact::default()
    })
}

fn ready(bench: &mut Bench) {
    bench.apply(advertisement("gold", Some(10)));
    bench.apply(advertisement("silver", Some(20)));
    bench.sync();
    bench.up();
    bench.told();
}

#[test]
fn a_service_is_told_in_one_update_and_withdrawn_in_one() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("web", "gold", 1));
    assert_eq!(bench.told(), Told::default(), "nobody would answer yet");
    bench.apply(slice("web", 1));
    let told = bench.told();
    assert_eq!(told.announced, [address(1)]);
    assert_eq!(told.updates, 1);
    assert_eq!(told.meds, [10]);
    // What is told already is not told again.
    bench.apply(slice("web", 2));
    assert_eq!(bench.told(), Told::default());
    bench.apply(slice("web", 0));
    let told = bench.told();
    assert_eq!(told.withdrawn, [address(1)]);
    assert_eq!(told.updates, 1);
}

#[test]
fn a_service_of_another_class_is_told_anew_and_nothing_else_is() {
    let mut bench = Bench::new();
    ready(&mut bench);
    for number in 1..=200 {
        bench.apply(service(&format!("s{number}"), "gold", number));
        bench.apply(slice(&format!("s{number}"), 1));
    }
    assert_eq!(bench.told().announced.len(), 200);
    bench.apply(service("s7", "silver", 7));
    let told = bench.told();
    assert_eq!((told.announced, told.meds), (vec![address(7)], vec![20]));
    assert!(told.withdrawn.is_empty());
    // A class that nobody was in until now.
    bench.apply(advertisement("bronze", None));
    assert_eq!(bench.told(), Told::default());
    bench.apply(service("s8", "bronze", 8));
    let told = bench.told();
    assert_eq!((told.announced, told.meds), (vec![address(8)], vec![]));
    // Attributes of a class change: exactly its prefixes are told.
    bench.apply(advertisement("silver", Some(21)));
    let told = bench.told();
    assert_eq!((told.announced, told.meds), (vec![address(7)], vec![21]));
    // And a class that goes takes its own along.
    bench.remove(Key::Advertisement("silver".into()));
    assert_eq!(bench.told().withdrawn, [address(7)]);
}

#[test]
fn changes_of_endpoints_nobody_announces_cost_no_update_and_no_measurement() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("hidden", "none", 1));
    for round in 0..10_000u32 {
        bench.apply(slice("hidden", (round % 3) as u8));
    }
    assert_eq!(bench.told(), Told::default());
    assert_eq!(bench.announce_count(), (0, 0.0));
}

#[test]
fn from_the_word_of_a_service_to_the_written_update_is_measured() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("web", "gold", 1));
    bench.at(Instant::from_micros(5_000_000));
    bench.apply(slice("web", 1));
    assert_eq!(bench.announce_count().0, 0, "nothing is written yet");
    bench.at(Instant::from_micros(5_002_000));
    bench.written(20);
    assert_eq!(bench.announce_count().0, 0, "not all of it is");
    bench.at(Instant::from_micros(5_004_000));
    bench.written(usize::MAX);
    let (count, sum) = bench.announce_count();
    assert_eq!(count, 1);
    assert!((sum - 0.004).abs() < 1e-9, "{sum}");
    // A peer that is gone is not waited for.
    bench.apply(slice("web", 0));
    bench.down();
    assert_eq!(bench.announce_count().0, 1);
}

#[test]
fn end_of_rib_and_withdrawals_wait_for_services_and_their_endpoints() {
    let mut bench = Bench::new();
    bench.apply(advertisement("gold", None));
    bench.apply(service("web", "gold", 1));
    let late = [Kind::Service, Kind::EndpointSlice];
    for kind in Kind::ALL.into_iter().filter(|kind| !late.contains(kind)) {
        bench.source(SourceEvent::Synced(kind));
    }
    bench.up();
    bench.source(SourceEvent::Synced(Kind::Service));
    assert_eq!(bench.told().ends, 0);
    bench.apply(slice("web", 1));
    let told = bench.told();
    assert_eq!(told.announced, [address(1)], "additions go at once");
    bench.apply(slice("web", 0));
    let told = bench.told();
    assert_eq!((told.withdrawn, told.ends), (vec![], 0));
    bench.source(SourceEvent::Synced(Kind::EndpointSlice));
    let told = bench.told();
    assert_eq!(told.withdrawn, [address(1)]);
    assert_eq!(told.ends, 2);
}

#[test]
fn service_ranges_are_dropped_in_forward_but_for_what_is_a_nodes_or_a_peers() {
    let mut bench = Bench::new();
    ready(&mut bench);
    let cidr = |net: &str| {
        Fact::ServiceCidr(ServiceCidrFact {
            name: "kubernetes".into(),
            cidrs: vec![net.parse().unwrap()],
            malformed: Vec::new(),
        })
    };
    bench.apply(cidr("10.96.0.0/12"));
    let rules = bench.rules.clone().unwrap();
    assert!(rules.services.v4.contains(0x0A60_0001));
    // The router's address lies in the range: packets to it go on.
    bench.apply(cidr("10.0.0.128/25"));
    let rules = bench.rules.clone().unwrap();
    assert!(!rules.services.v4.contains(0x0A60_0001));
    assert!(rules.services.v4.contains(0x0A00_0081));
    assert!(!rules.services.v4.contains(0x0A00_00C9));
    // An address outside all ranges, while an advertisement selects it.
    bench.apply(service("web", "gold", 1));
    bench.apply(slice("web", 1));
    let at = u128::from(address(1).network().to_bits());
    assert!(bench.rules.as_ref().unwrap().services.v4.contains(at));
    // Withheld for want of endpoints it is still a Service's, and nobody else's.
    bench.apply(slice("web", 0));
    assert!(bench.rules.as_ref().unwrap().services.v4.contains(at));
    bench.remove(Key::Service(NamespacedName::new("shop", "web")));
    assert!(!bench.rules.as_ref().unwrap().services.v4.contains(at));
}

#[test]
fn what_a_router_says_of_service_addresses_is_not_believed() {
    let mut bench = Bench::new();
    bench.import_all = true;
    bench.apply(Fact::Filter(FilterFact {
        name: "all".into(),
        rules: vec![FilterRuleFact::accept_all()],
        malformed: Vec::new(),
    }));
    ready(&mut bench);
    let nets = ["198.51.100.1/32", "198.51.100.0/24", "203.0.113.0/24"];
    bench.learns(&nets);
    let installed = |bench: &mut Bench| -> Vec<String> {
        bench
            .routes()
            .into_iter()
            .filter(|route| route.kernel == RouteState::Installed)
            .map(|route| route.prefix.to_string())
            .collect()
    };
    let all = ["198.51.100.0/24", "198.51.100.1/32", "203.0.113.0/24"];
    assert_eq!(installed(&mut bench)[1..], all);
    bench.apply(Fact::ServiceCidr(ServiceCidrFact {
        name: "kubernetes".into(),
        cidrs: vec!["198.51.100.0/24".parse().unwrap()],
        malformed: Vec::new(),
    }));
    assert_eq!(installed(&mut bench)[1..], ["203.0.113.0/24"]);
    let rejected = bench.routes();
    let path = rejected
        .iter()
        .find(|route| route.prefix.to_string() == "198.51.100.1/32")
        .map(|route| route.paths[0].reason.clone().unwrap());
    assert!(path.unwrap().contains("only Services"));
    bench.remove(Key::ServiceCidr("kubernetes".into()));
    assert_eq!(installed(&mut bench)[1..], all);
}

#[test]
fn a_service_address_has_no_route_and_says_whose_it_is() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("web", "gold", 1));
    bench.apply(slice("web", 1));
    let net = dunlin_net::IpNet::V4(address(1));
    let routes = bench.routes();
    let route = routes.iter().find(|route| route.prefix == net).unwrap();
    assert_eq!(route.kernel, RouteState::NotWanted);
    let query = Query::Advertisements(RouteFilter::default());
    let Answer::Advertisements(view) = bench.ask(&query) else {
        panic!("advertisements were asked for");
    };
    let shown = view.items.iter().find(|one| one.prefix == net).unwrap();
    assert_eq!(shown.origin, "Service/shop/web");
    assert_eq!(shown.advertisements, ["gold"]);
    assert!(shown.to.iter().any(|to| to.name == "tor" && to.advertised));
}

#[test]
fn a_service_is_explained_from_its_object_to_the_router_or_to_where_it_stops() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("web", "gold", 1));
    let explain = |bench: &mut Bench| match bench.ask(&Query::ExplainService {
        namespace: "shop".into(),
        name: "web".into(),
    }) {
        Answer::Explanation(explanation) => explanation,
        other => panic!("an explanation was asked for: {other:?}"),
    };
    let stopped = explain(&mut bench);
    assert!(!stopped.ok, "{stopped:?}");
    assert!(
        stopped.summary.contains("no endpoint is ready"),
        "{stopped:?}"
    );
    bench.apply(slice("web", 1));
    let announced = explain(&mut bench);
    assert!(announced.ok, "{announced:?}");
    let texts: Vec<&str> = announced.steps.iter().map(|s| s.text.as_str()).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("by BGPAdvertisement/gold"))
    );
    assert!(
        texts.iter().any(|text| text.contains("told to tor")),
        "{texts:?}"
    );
    // The same by its address.
    let by_address = bench.ask(&Query::ExplainPrefix(address(1).into()));
    assert!(matches!(by_address, Answer::Explanation(e) if e.ok && e.subject == "203.0.113.1"));
    let missing = bench.ask(&Query::ExplainService {
        namespace: "shop".into(),
        name: "none".into(),
    });
    assert!(matches!(missing, Answer::NotFound(_)));
    bench.down();
    let down = explain(&mut bench);
    assert!(
        !down.ok && down.summary.contains("not everybody"),
        "{down:?}"
    );
}

#[test]
fn services_are_listed_with_why_their_addresses_stay_at_home() {
    let mut bench = Bench::new();
    ready(&mut bench);
    bench.apply(service("a", "gold", 1));
    bench.apply(slice("a", 1));
    bench.apply(service("b", "none", 2));
    let list = |bench: &mut Bench, filter: ServiceFilter| match bench.ask(&Query::Services(filter))
    {
        Answer::Services(view) => view,
        other => panic!("services were asked for: {other:?}"),
    };
    let view = list(&mut bench, ServiceFilter::default());
    assert_eq!(view.items.len(), 2);
    assert_eq!(view.items[0].endpoints.ready, 1);
    assert_eq!(
        view.items[0].addresses[1].announced[0].advertisements,
        ["gold"]
    );
    let reason = view.items[1].addresses[1].reason.as_deref();
    assert_eq!(reason, Some("NotSelected"));
    let announced = ServiceFilter {
        announced: true,
        ..ServiceFilter::default()
    };
    assert_eq!(list(&mut bench, announced).items.len(), 1);
    let one = ServiceFilter {
        limit: Some(1),
        ..ServiceFilter::default()
    };
    assert!(list(&mut bench, one).truncated);
    let Answer::Status(status) = bench.ask(&Query::Status) else {
        panic!("a status was asked for");
    };
    assert_eq!((status.services.known, status.services.announced), (2, 1));
    assert_eq!(status.services.withheld["NotSelected"], 3);
}

#[test]
fn one_service_among_ten_thousand_is_told_alone() {
    let mut bench = Bench::new();
    ready(&mut bench);
    for number in 1..=10_000 {
        bench.take(service(&format!("s{number}"), "gold", number));
        bench.take(slice(&format!("s{number}"), 1));
    }
    bench.settle();
    assert_eq!(bench.told().announced.len(), 10_000);
    for round in 0..100 {
        bench.apply(slice("s77", round % 2));
    }
    let told = bench.told();
    assert_eq!(told.updates, 100);
    assert_eq!((told.announced.len(), told.withdrawn.len()), (50, 50));
    bench.remove(Key::Service(NamespacedName::new("shop", "s77")));
    let told = bench.told();
    assert_eq!((told.updates, told.withdrawn), (1, vec![address(77)]));
}

#[test]
fn pools_are_shown_with_what_services_have_of_them() {
    let mut bench = Bench::new();
    ready(&mut bench);
    let range = |first: &str, last: &str, is_cidr| AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        is_cidr,
    };
    bench.apply(Fact::Pool(PoolFact {
        name: "public".into(),
        addresses: vec![
            range("203.0.113.0", "203.0.113.7", true),
            range("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", true),
            // Again, as a range: each address counts once.
            range("203.0.113.6", "203.0.113.9", false),
        ],
        auto_assign: true,
        ..PoolFact::default()
    }));
    bench.apply(service("web", "gold", 1));
    // Shared: one address.
    bench.apply(service("mail", "gold", 1));
    bench.apply(service("outside", "gold", 77));
    let mut external = ServiceFact::new("shop", "external");
    external.external_ips = vec!["203.0.113.9".parse().unwrap()];
    bench.apply(Fact::Service(external));
    let pools = |bench: &mut Bench| match bench.ask(&Query::Pools) {
        Answer::Pools(pools) => pools,
        other => panic!("{other:?}"),
    };
    let found = pools(&mut bench);
    assert_eq!(found.len(), 1);
    let pool = &found[0];
    assert_eq!((pool.name.as_str(), pool.auto_assign), ("public", true));
    assert_eq!(
        pool.addresses,
        ["203.0.113.0/29", "2001:db8::/64", "203.0.113.6-203.0.113.9"]
    );
    let counts = pool.families.iter();
    let counts: Vec<_> = counts
        .map(|c| (c.family, c.total, c.used, c.free))
        .collect();
    let many = u64::MAX;
    assert_eq!(counts, [(Afi::Ipv4, 10, 2, 8), (Afi::Ipv6, many, 0, many)]);
    assert_eq!(pool.problems.len(), 1, "{pool:?}");
    assert!(
        pool.problems[0].starts_with("spec.addresses[2]: "),
        "{pool:?}"
    );
    bench.remove(Key::Pool("public".into()));
    assert_eq!(pools(&mut bench), []);
}
