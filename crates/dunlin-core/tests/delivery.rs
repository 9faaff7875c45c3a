//! Announcing and delivering in step: what is announced is programmed, and what was withdrawn is delivered a while longer.

#[expect(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dunlin_dataplane::KernelError;
use dunlin_dataplane::proxy::Element;
use dunlin_intent::{
    AdvertisementFact, EndpointFact, EndpointPortFact, EndpointSliceFact, Fact, IngressFact, Key,
    NamespacedName, Protocol, ServiceAddressKind, ServiceFact, ServicePortFact, ServiceType,
    ServicesFact, TrafficPolicy,
};
use dunlin_net::service::View;
use dunlin_net::{Afi, Instant};
use support::{Bench, Told, address, node};

/// As `address(1)`.
const AT: &str = "203.0.113.1:80";

fn advertisement() -> Fact {
    Fact::Advertisement(AdvertisementFact {
        name: "all".into(),
        services: Some(ServicesFact {
            addresses: vec![ServiceAddressKind::LoadBalancerIp],
            ..ServicesFact::default()
        }),
        ..AdvertisementFact::default()
    })
}

/// A Service with the load-balancer address 1, and port 80.
fn service(name: &str, external: TrafficPolicy) -> Fact {
    let mut fact = ServiceFact::new("shop", name);
    fact.service_type = ServiceType::LoadBalancer;
    fact.ingress = vec![IngressFact {
        ip: Some(IpAddr::V4(address(1).addr())),
        vip: true,
    }];
    fact.cluster_ips = vec!["10.96.0.1".parse().unwrap()];
    fact.external_traffic_policy = external;
    fact.health_check_node_port = (external == TrafficPolicy::Local).then_some(32_000);
    fact.ports = vec![ServicePortFact {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
    }];
    Fact::Service(fact)
}

/// Its slice: port 8080 of these addresses on these nodes.
fn slice(service: &str, endpoints: &[(&str, &str)]) -> Fact {
    let endpoint = |(address, node): &(&str, &str)| EndpointFact {
        address: Some(address.parse().unwrap()),
        node: Some((*node).into()),
        ready: true,
        serving: true,
        ..EndpointFact::default()
    };
    Fact::EndpointSlice(EndpointSliceFact {
        name: NamespacedName::new("shop", format!("{service}-1")),
        service: Some(service.into()),
        address_type: Some(Afi::Ipv4),
        ports: vec![EndpointPortFact {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: endpoints.iter().map(endpoint).collect(),
        malformed: Vec::new(),
    })
}

fn ready(elements: BTreeSet<Element>) -> Bench {
    let mut bench = Bench::delivering(elements);
    bench.apply(advertisement());
    bench.sync();
    bench.up();
    bench.told();
    bench
}

fn secs(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn removed(bench: &mut Bench, name: &str) {
    bench.remove(Key::Service(NamespacedName::new("shop", name)));
}

#[test]
fn an_address_is_announced_once_it_is_programmed() {
    let mut bench = ready(BTreeSet::new());
    bench.proxy_waits = Some(Vec::new());
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    assert_eq!(bench.told(), Told::default(), "nothing is programmed");
    let refusal = KernelError {
        errno: 12,
        message: "no memory".into(),
    };
    bench.let_proxy_go(&Err(refusal));
    assert_eq!(bench.told(), Told::default(), "it was refused");
    bench.until(secs(30));
    bench.let_proxy_go(&Ok(()));
    assert_eq!(
        bench.slots(AT, View::Inside),
        ["10.244.9.1:8080".parse().unwrap()]
    );
    assert_eq!(bench.told().announced, [address(1)]);
    // A change of its endpoints does not take it back meanwhile.
    bench.apply(slice("web", &[("10.244.9.2", "n9")]));
    assert_eq!(bench.told(), Told::default());
}

#[test]
fn what_another_service_proxy_delivers_is_announced_by_readiness_alone() {
    let mut bench = ready(BTreeSet::new());
    bench.proxy_waits = Some(Vec::new());
    let Fact::Service(mut fact) = service("web", TrafficPolicy::Cluster) else {
        unreachable!("a Service was made");
    };
    fact.foreign_proxy = true;
    bench.apply(Fact::Service(fact));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    assert_eq!(bench.told().announced, [address(1)]);
    assert_eq!(bench.slots(AT, View::Inside), []);
}

#[test]
fn an_aggregate_waits_for_the_first_programming_and_not_for_ever() {
    let mut bench = Bench::delivering(BTreeSet::new());
    let Fact::Advertisement(advertisement) = advertisement() else {
        unreachable!("an advertisement was made");
    };
    bench.apply(Fact::Advertisement(AdvertisementFact {
        aggregation_length_ipv4: Some(24),
        ..advertisement
    }));
    bench.proxy_waits = Some(Vec::new());
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    bench.sync();
    bench.up();
    bench.until(secs(19));
    assert_eq!(bench.told(), Told::default());
    bench.until(secs(21));
    bench.settle();
    let told = bench.told();
    assert_eq!(told.announced, ["203.0.113.0/24".parse().unwrap()]);
    assert!(told.ends > 0);
}

#[test]
fn what_was_withdrawn_is_delivered_a_while_longer() {
    let mut bench = ready(BTreeSet::new());
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    assert_eq!(bench.told().announced, [address(1)]);
    removed(&mut bench, "web");
    assert_eq!(bench.told().withdrawn, [address(1)]);
    assert_eq!(bench.slots(AT, View::Inside).len(), 1);
    assert_eq!(
        bench.slots("10.96.0.1:80", View::Inside).len(),
        0,
        "nobody outside knew it"
    );
    bench.until(secs(4));
    assert_eq!(bench.slots(AT, View::Inside).len(), 1);
    bench.until(secs(6));
    assert_eq!(bench.slots(AT, View::Inside).len(), 0);
}

#[test]
fn an_address_that_another_service_has_now_does_not_linger() {
    let mut bench = ready(BTreeSet::new());
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    removed(&mut bench, "web");
    bench.apply(slice("shop", &[("10.244.9.7", "n9")]));
    bench.apply(service("shop", TrafficPolicy::Cluster));
    assert_eq!(
        bench.slots(AT, View::Inside),
        ["10.244.9.7:8080".parse().unwrap()]
    );
    bench.until(secs(20));
    assert_eq!(
        bench.slots(AT, View::Inside),
        ["10.244.9.7:8080".parse().unwrap()]
    );
}

#[test]
fn without_a_local_endpoint_others_help_until_routers_have_heard() {
    let mut bench = ready(BTreeSet::new());
    bench.apply(service("web", TrafficPolicy::Local));
    let both = [("10.244.1.5", "n1"), ("10.244.9.1", "n9")];
    bench.apply(slice("web", &both));
    assert_eq!(bench.told().announced, [address(1)]);
    assert_eq!(
        bench.slots(AT, View::Outside),
        ["10.244.1.5:8080".parse().unwrap()]
    );
    assert_eq!(bench.health_ports[&32_000].local_endpoints, 1);
    assert!(bench.health_ports[&32_000].delivered);
    bench.apply(slice("web", &both[1..]));
    assert_eq!(bench.told().withdrawn, [address(1)]);
    assert_eq!(bench.health_ports[&32_000].local_endpoints, 0);
    let dropped = |bench: &Bench| {
        bench.elements.iter().any(|element| {
            let set = dunlin_dataplane::proxy::FrontendSet::Dropped {
                view: View::Outside,
            };
            matches!(element, Element::Member { set: of, .. } if *of == set)
        })
    };
    assert!(!dropped(&bench), "packets still come");
    assert_eq!(
        bench.slots(AT, View::Inside),
        ["10.244.9.1:8080".parse().unwrap()]
    );
    bench.until(secs(6));
    assert!(dropped(&bench));
    removed(&mut bench, "web");
    assert!(bench.health_ports.is_empty());
}

#[test]
fn a_restart_changes_nothing_and_ends_no_rib_before_it_has_told_all() {
    let mut before = ready(BTreeSet::new());
    before.apply(service("web", TrafficPolicy::Cluster));
    before.apply(slice("web", &[("10.244.9.1", "n9"), ("10.244.9.2", "n9")]));
    let elements = before.elements.clone();
    assert!(!elements.is_empty());

    let start = |held: BTreeSet<Element>| {
        let mut bench = Bench::delivering(held);
        bench.proxy_waits = Some(Vec::new());
        bench.apply(advertisement());
        bench.apply(service("web", TrafficPolicy::Cluster));
        bench.apply(slice("web", &[("10.244.9.1", "n9"), ("10.244.9.2", "n9")]));
        bench.sync();
        bench.up();
        bench
    };
    let mut bench = start(elements.clone());
    let nothing = bench.proxy_waits.as_ref().is_some_and(Vec::is_empty);
    assert!(nothing, "the kernel has it all");
    let told = bench.told();
    assert_eq!(told.announced, [address(1)]);
    assert!(told.ends > 0);

    // What an endpoint that is gone by now had is still to go.
    let mut before = ready(elements.clone());
    before.apply(service("web", TrafficPolicy::Cluster));
    before.apply(slice("web", &[("10.244.9.1", "n9"), ("10.244.9.3", "n9")]));
    let mut bench = start(before.elements.clone());
    let told = bench.told();
    assert_eq!(
        told.announced,
        [address(1)],
        "the kernel delivers to those it has"
    );
    assert_eq!(told.ends, 0, "peers would forget what is not told yet");
    bench.let_proxy_go(&Ok(()));
    assert!(bench.told().ends > 0);
    assert_eq!(bench.elements, elements);
}

#[test]
fn without_the_service_proxy_what_an_earlier_one_left_is_removed() {
    let mut before = ready(BTreeSet::new());
    before.apply(service("web", TrafficPolicy::Cluster));
    before.apply(slice("web", &[("10.244.9.1", "n9")]));
    assert!(!before.elements.is_empty());
    let mut bench = Bench::with(node(), false, before.elements.clone());
    assert!(bench.elements.is_empty());
    bench.apply(advertisement());
    bench.sync();
    bench.up();
    bench.told();
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    assert_eq!(
        bench.told().announced,
        [address(1)],
        "announcing follows readiness alone"
    );
}
