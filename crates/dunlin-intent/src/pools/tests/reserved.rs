//! Addresses that somebody else uses.

use super::*;

#[test]
fn what_the_cluster_uses_otherwise_is_not_given() {
    let node = NodeFact::new("n")
        .with_internal_ip(ip("192.0.2.0"))
        .with_pod_cidr("192.0.2.2/31".parse().unwrap());
    let cidr = ServiceCidrFact {
        name: "kubernetes".to_owned(),
        cidrs: vec!["192.0.2.4/31".parse().unwrap()],
        malformed: Vec::new(),
    };
    let asking = ServiceFact {
        requested_ips: ips(&["192.0.2.3"]),
        ..service("b")
    };
    let mut all = facts(
        vec![pool("p", &["192.0.2.0-192.0.2.6"])],
        vec![service("a"), asking, service("c"), service("d")],
    );
    all.extend([Fact::Node(node), Fact::ServiceCidr(cidr)]);
    let mut world = World::new(all);
    assert_eq!(world.has("a"), ips(&["192.0.2.1"]));
    assert_eq!(
        world.lacks("b"),
        Shortfall::RequestedReserved(ip("192.0.2.3"), Key::Node("n".to_owned()).into())
    );
    assert_eq!(world.has("c"), ips(&["192.0.2.6"]));
    assert_eq!(world.lacks("d").reason(), "Exhausted");
    assert_eq!(
        world.pools.pools()[0].defects,
        [PoolDefect::Reserved(
            ip("192.0.2.0"),
            Key::Node("n".to_owned()).into()
        )]
    );
    world.remove(Key::Node("n".to_owned()));
    // It asked for one that is free now; the other takes the lowest.
    assert_eq!(world.has("b"), ips(&["192.0.2.3"]));
    assert_eq!(world.has("d"), ips(&["192.0.2.0"]));
}

#[test]
fn what_a_peer_or_an_api_server_has_is_not_given() {
    let peer = |address: &str| {
        Told(Fact::Peer(PeerFact {
            name: "tor".to_owned(),
            peer_address: Some(ip(address)),
            ..PeerFact::default()
        }))
    };
    let asking = ServiceFact {
        requested_ips: ips(&["192.0.2.0"]),
        ..service("asks")
    };
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.0/30"])], vec![]));
    world.apply(peer("192.0.2.0"));
    let servers = |addresses: &[&str]| SourceEvent::ApiServers(ips(addresses));
    world.pools.handle(servers(&["192.0.2.1"]));
    world.apply(asking);
    world.apply(service("a"));
    world.apply(service("b"));
    assert_eq!(world.has("a"), ips(&["192.0.2.2"]));
    assert_eq!(world.has("b"), ips(&["192.0.2.3"]));
    let told = world.outcome("asks").to_string();
    assert!(told.contains("192.0.2.0, which BGPPeer/tor uses"), "{told}");
    let defect = world.pools.pools()[0].defects[0].to_string();
    assert!(
        defect.contains("192.0.2.0, which BGPPeer/tor uses"),
        "{defect}"
    );
    // The peer moves, which is what was waited for; the API server is next to be told of.
    world.apply(peer("198.51.100.1"));
    assert_eq!(world.has("asks"), ips(&["192.0.2.0"]));
    let defect = world.pools.pools()[0].defects[0].to_string();
    assert!(
        defect.contains("192.0.2.1, which an API server uses"),
        "{defect}"
    );
    world.pools.handle(servers(&[]));
    assert_eq!(world.pools.pools()[0].defects, []);
    // What a Service has it keeps.
    world.apply(peer("192.0.2.2"));
    assert_eq!(world.has("a"), ips(&["192.0.2.2"]));
}

#[test]
fn the_external_addresses_of_any_service_are_given_to_no_other() {
    let external = |name: &str, service_type, addresses: &[&str]| ServiceFact {
        service_type,
        external_ips: ips(addresses),
        ..service(name)
    };
    let pools = vec![pool("p", &["192.0.2.0/30"])];
    // Shown by status before, as by one who gave them out without knowing.
    let before = with_status(service("before"), &["192.0.2.3"]);
    let mut world = World::new(facts(
        pools,
        vec![
            external("c", ServiceType::ClusterIp, &["192.0.2.0", "192.0.2.3"]),
            external("lb", ServiceType::LoadBalancer, &["192.0.2.1"]),
            before,
        ],
    ));
    // One's own is not in one's way, nor what one asks for.
    assert_eq!(world.has("lb"), ips(&["192.0.2.2"]));
    let mut asking = external("lb", ServiceType::LoadBalancer, &["192.0.2.1"]);
    asking.requested_ips = ips(&["192.0.2.1"]);
    world.apply(asking);
    assert_eq!(world.has("lb"), ips(&["192.0.2.1"]));
    assert_eq!(world.has("before"), ips(&["192.0.2.3"]));
    assert_eq!(world.outcome("before").reason(), "AlsoHeldBy");
    let asking = ServiceFact {
        requested_ips: ips(&["192.0.2.0"]),
        ..service("late")
    };
    world.apply(asking);
    let other = NamespacedName::new("ns", "c");
    assert_eq!(
        world.lacks("late"),
        Shortfall::RequestedTaken(ip("192.0.2.0"), other)
    );
    assert_eq!(*world.pools.pools()[0].used.get(Afi::Ipv4), 3);
    // Given up, it is for whoever waits for it.
    world.apply(external("c", ServiceType::ClusterIp, &[]));
    assert_eq!(world.has("late"), ips(&["192.0.2.0"]));
    let alias = external("alias", ServiceType::ExternalName, &["192.0.2.2"]);
    world.apply(alias);
    world.apply(service("last"));
    assert_eq!(world.has("last"), ips(&["192.0.2.2"]));
}
