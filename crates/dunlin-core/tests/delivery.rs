//! Announcing and delivering in step: what is announced is programmed, and what was withdrawn is delivered a while longer.

#[expect(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dunlin_api::{Action, Answer, Explanation, FrontendState, Query, ServiceFilter};
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

/// What is shown of the Service `shop/web`.
fn shown(bench: &mut Bench) -> dunlin_api::Service {
    let filter = ServiceFilter {
        name: Some("web".into()),
        frontends: true,
        ..ServiceFilter::default()
    };
    match bench.ask(&Query::Services(filter)) {
        Answer::Services(view) => view.items.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn explained(bench: &mut Bench, name: &str) -> Explanation {
    let (namespace, name) = ("shop".into(), name.into());
    match bench.ask(&Query::ExplainService { namespace, name }) {
        Answer::Explanation(explanation) => explanation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_frontend_is_shown_with_its_endpoints_down_to_the_elements() {
    let mut bench = ready(BTreeSet::new());
    bench.apply(service("web", TrafficPolicy::Local));
    let Fact::EndpointSlice(mut fact) = slice("web", &[("10.244.9.1", "n9"), ("10.244.1.7", "n1")])
    else {
        unreachable!("a slice was made");
    };
    fact.endpoints[0].ready = false;
    fact.endpoints[0].terminating = true;
    let mut idle = fact.endpoints[1].clone();
    (idle.address, idle.ready, idle.serving) = (Some("10.244.1.8".parse().unwrap()), false, false);
    fact.endpoints.push(idle);
    bench.apply(Fact::EndpointSlice(fact.clone()));
    let frontends = shown(&mut bench).frontends.unwrap();
    let states: Vec<_> = frontends
        .iter()
        .map(|f| (f.kind.as_str(), f.policy.as_str(), f.state))
        .collect();
    assert_eq!(
        states,
        [
            ("ClusterIP", "Cluster", FrontendState::Programmed),
            ("LoadBalancerIP", "Local", FrontendState::Programmed)
        ]
    );
    let endpoints: Vec<_> = frontends[1]
        .endpoints
        .iter()
        .map(|e| {
            (
                e.address.to_string(),
                e.state.as_str(),
                e.here,
                e.inside,
                e.outside,
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [
            ("10.244.1.7".into(), "Ready", true, true, true),
            ("10.244.1.8".into(), "NotReady", true, false, false),
            ("10.244.9.1".into(), "Terminating", false, false, false),
        ]
    );
    let explanation = explained(&mut bench, "web");
    let lines: Vec<&String> = explanation.steps.iter().flat_map(|s| &s.lines).collect();
    for element in &bench.elements {
        if !matches!(element, Element::Near(_) | Element::Hairpin(_)) {
            let text = element.to_string();
            assert!(lines.contains(&&text), "{text}: {lines:#?}");
        }
    }
    assert!(
        explanation.summary.ends_with("2 frontends programmed"),
        "{explanation:?}"
    );

    // The last endpoint of this node goes, and with it what comes from outside; then all.
    bench.until(secs(60));
    fact.endpoints.remove(1);
    fact.endpoints[0].ready = true;
    bench.apply(Fact::EndpointSlice(fact.clone()));
    bench.until(secs(120));
    let outside = shown(&mut bench)
        .frontends
        .unwrap()
        .remove(1)
        .outside
        .unwrap();
    assert_eq!(outside.action, Action::Drop);
    assert!(
        outside.why.contains("externalTrafficPolicy Local"),
        "{outside:?}"
    );
    fact.endpoints.clear();
    bench.apply(Fact::EndpointSlice(fact));
    bench.until(secs(180));
    let explanation = explained(&mut bench, "web");
    assert!(!explanation.ok);
    assert!(
        explanation.summary.contains("2 to refuse connections"),
        "{explanation:?}"
    );
}

#[test]
fn what_the_kernel_refuses_is_shown_wherever_one_looks() {
    let mut bench = ready(BTreeSet::new());
    assert_eq!(bench.status().proxy.unwrap().frontends, 0);
    bench.proxy_waits = Some(Vec::new());
    bench.apply(service("web", TrafficPolicy::Cluster));
    bench.apply(service("xtra", TrafficPolicy::Cluster));
    bench.apply(slice("web", &[("10.244.9.1", "n9")]));
    let frontends = shown(&mut bench).frontends.unwrap();
    assert_eq!(frontends[0].state, FrontendState::Pending, "{frontends:?}");
    let refusal = KernelError {
        errno: 12,
        message: "no memory".into(),
    };
    // It is found by halving which of them the kernel refuses.
    for second in 1..5 {
        bench.let_proxy_go(&Err(refusal.clone()));
        bench.until(secs(second));
    }
    let frontends = shown(&mut bench).frontends.unwrap();
    assert_eq!(frontends[0].state, FrontendState::Failed, "{frontends:?}");
    let seen = bench.status();
    let problem = seen
        .problems
        .iter()
        .find(|p| p.object == "Service/shop/web");
    assert!(
        problem.is_some_and(|p| p.message.contains("no memory")),
        "{:?}",
        seen.problems
    );
    assert_eq!(seen.proxy.unwrap().failed, 2);
    let explanation = explained(&mut bench, "web");
    assert!(
        explanation.summary.contains("was refused by the kernel"),
        "{explanation:?}"
    );
    // The other Service, which has the same address, is told whose it is.
    let other = explained(&mut bench, "xtra");
    assert!(
        other.summary.contains("0 of 2 frontends programmed"),
        "{other:?}"
    );

    bench.until(secs(60));
    bench.let_proxy_go(&Ok(()));
    bench.until(secs(120));
    bench.let_proxy_go(&Ok(()));
    let proxy = bench.status().proxy.unwrap();
    assert_eq!((proxy.failed, proxy.pending), (0, 0));
    let frontend = shown(&mut bench).frontends.unwrap().remove(0).frontend;
    let Answer::Frontends(owners) = bench.ask(&Query::Frontends(vec![frontend])) else {
        panic!("another answer");
    };
    assert_eq!(owners[0].service.as_deref(), Some("shop/web"));
    assert_eq!(owners[0].state, FrontendState::Programmed);
    let Answer::Metrics(metrics) = bench.ask(&Query::Metrics) else {
        panic!("another answer");
    };
    let counts = metrics.service_program.unwrap().counts;
    assert!(counts.iter().sum::<u64>() > 0);
}
