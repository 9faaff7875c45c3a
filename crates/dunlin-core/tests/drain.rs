//! A node that is drained (RFC 8326): what a router outside is told, in which order and when.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_api::{Answer, DrainStatus, Query, ServiceFilter};
use dunlin_intent::{
    AdvertisementFact, ConfigurationFact, Fact, NodeFact, ServiceAddressKind, ServicesFact,
};
use dunlin_net::{Instant, Ipv4Net};
use support::*;

const GRACEFUL_SHUTDOWN: u32 = 0xFFFF_0000;

fn secs(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn pods() -> Ipv4Net {
    "10.244.1.0/24".parse().unwrap()
}

fn drained() -> NodeFact {
    let mut node = node();
    node.drain = true;
    node
}

/// Pods and a Service are announced to the router.
fn announcing(bench: &mut Bench) {
    bench.apply(Fact::Advertisement(AdvertisementFact {
        name: "all".into(),
        pod_cidrs: true,
        services: Some(ServicesFact {
            addresses: vec![ServiceAddressKind::LoadBalancerIp],
            ..ServicesFact::default()
        }),
        ..AdvertisementFact::default()
    }));
    bench.apply(service("web", "gold", 1));
    bench.apply(slice("web", 1));
    bench.sync();
    bench.up();
}

fn drain_status(bench: &mut Bench) -> Option<DrainStatus> {
    bench.status().drain
}

fn sorted(mut nets: Vec<Ipv4Net>) -> Vec<Ipv4Net> {
    nets.sort();
    nets
}

#[test]
fn routes_become_the_last_choice_then_service_addresses_go_and_all_comes_back() {
    let mut bench = Bench::new();
    announcing(&mut bench);
    let told = bench.told();
    assert_eq!(sorted(told.announced), [pods(), address(1)]);
    assert!(told.communities.is_empty());
    let commands = bench.peer_commands;

    bench.until(secs(60));
    bench.apply(Fact::Node(drained()));
    let told = bench.told();
    assert_eq!(sorted(told.announced), [pods(), address(1)]);
    assert!(told.withdrawn.is_empty(), "peers need the time to move");
    assert!(!told.communities.is_empty());
    assert!(told.communities.iter().all(|c| *c == GRACEFUL_SHUTDOWN));
    let status = drain_status(&mut bench).unwrap();
    assert_eq!((status.drained, status.remaining_secs), (false, Some(10)));

    bench.until(Instant::from_micros(69_999_999));
    assert_eq!(bench.told(), Told::default());
    bench.until(secs(70));
    let told = bench.told();
    assert_eq!(told.withdrawn, [address(1)]);
    assert!(told.announced.is_empty(), "pods may still run");
    let status = drain_status(&mut bench).unwrap();
    assert_eq!((status.drained, status.remaining_secs), (true, None));
    let Answer::Services(services) = bench.ask(&Query::Services(ServiceFilter::default())) else {
        panic!("Services were asked for");
    };
    let reasons = services.items.iter().flat_map(|s| &s.addresses);
    let reasons: Vec<_> = reasons.filter_map(|a| a.reason.as_deref()).collect();
    assert!(reasons.contains(&"Draining"), "{reasons:?}");

    bench.apply(Fact::Node(node()));
    let told = bench.told();
    assert_eq!(sorted(told.announced), [pods(), address(1)]);
    assert!(told.communities.is_empty() && told.withdrawn.is_empty());
    assert_eq!(drain_status(&mut bench), None);
    assert_eq!(bench.peer_commands, commands, "no session was touched");
}

#[test]
fn an_agent_that_starts_on_a_drained_node_announces_no_service_address() {
    let mut bench = Bench::on(drained());
    announcing(&mut bench);
    let told = bench.told();
    assert_eq!(told.announced, [pods()]);
    assert_eq!(told.communities, [GRACEFUL_SHUTDOWN]);
    assert!(drain_status(&mut bench).unwrap().drained);
    bench.apply(Fact::Node(node()));
    let told = bench.told();
    assert_eq!(sorted(told.announced), [pods(), address(1)]);
    assert!(told.communities.is_empty());
}

#[test]
fn whoever_changes_their_mind_in_time_withdraws_nothing() {
    let mut bench = Bench::new();
    announcing(&mut bench);
    bench.apply(Fact::Node(drained()));
    bench.until(secs(9));
    bench.apply(Fact::Node(node()));
    bench.until(secs(30));
    assert!(bench.told().withdrawn.is_empty());
    // The next time, peers have all of their time again.
    bench.apply(Fact::Node(drained()));
    bench.until(secs(39));
    assert!(bench.told().withdrawn.is_empty());
    bench.until(secs(40));
    assert_eq!(bench.told().withdrawn, [address(1)]);
}

#[test]
fn a_cordoned_node_is_drained_only_where_that_is_asked_for() {
    let mut bench = Bench::new();
    announcing(&mut bench);
    bench.told();
    let cordoned = NodeFact {
        unschedulable: true,
        ..node()
    };
    bench.apply(Fact::Node(cordoned));
    assert_eq!(bench.told(), Told::default());
    bench.apply(Fact::Configuration(ConfigurationFact {
        name: "default".into(),
        drain_on_cordon: Some(true),
        ..ConfigurationFact::default()
    }));
    assert!(bench.told().communities.contains(&GRACEFUL_SHUTDOWN));
    let cause = drain_status(&mut bench).unwrap().cause;
    assert_eq!(cause, "cordoned, and drainOnCordon is set");
    bench.until(secs(10));
    assert_eq!(bench.told().withdrawn, [address(1)]);
}
