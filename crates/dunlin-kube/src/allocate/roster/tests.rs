use dunlin_intent::PoolFact;

use super::*;

fn roster(nodes: usize) -> Roster {
    let mut roster = Roster::default();
    for n in 0..nodes {
        let node = NodeFact::new(format!("node-{n}"));
        assert!(roster.note(&SourceEvent::Apply(Fact::Node(node))));
    }
    roster
}

fn watchful(roster: &Roster, nodes: usize) -> Vec<String> {
    let names = (0..nodes).map(|n| format!("node-{n}"));
    names.filter(|name| roster.pace(name).1).collect()
}

#[test]
fn a_few_are_watchful_and_the_rest_rarely_look() {
    for (nodes, most_per_second) in [(1, 1.0), (3, 3.0), (100, 7.0), (5000, 7.1)] {
        let roster = roster(nodes);
        assert_eq!(watchful(&roster, nodes).len(), nodes.min(3));
        let per_second: f64 = (0..nodes)
            .map(|n| 1.0 / roster.pace(&format!("node-{n}")).0.as_secs_f64())
            .sum();
        assert!(per_second <= most_per_second, "{nodes}: {per_second}");
        // A Node nobody knows of is not one of them.
        assert!(!roster.pace("stranger").1);
    }
}

#[test]
fn nodes_that_are_not_ready_come_last() {
    let mut roster = roster(10);
    let before = watchful(&roster, 10);
    let mut node = NodeFact::new(before[0].clone());
    node.ready = Some(false);
    assert!(roster.note(&SourceEvent::Apply(Fact::Node(node.clone()))));
    assert!(
        !roster.note(&SourceEvent::Apply(Fact::Node(node))),
        "nothing new"
    );
    let after = watchful(&roster, 10);
    assert_eq!(after.len(), 3);
    assert!(!after.contains(&before[0]));
    assert!(after.contains(&before[1]) && after.contains(&before[2]));
}

#[test]
fn without_pools_nobody_looks() {
    let mut roster = roster(3);
    roster.note(&SourceEvent::Synced(Kind::Node));
    assert!(!roster.in_use());
    let pool = PoolFact {
        name: "p".to_owned(),
        ..PoolFact::default()
    };
    assert!(roster.note(&SourceEvent::Apply(Fact::Pool(pool))));
    assert!(roster.in_use());
    assert!(roster.note(&SourceEvent::Remove(Key::Pool("p".to_owned()))));
    assert!(!roster.in_use());
}

#[test]
fn what_peers_and_api_servers_use_is_told_on_and_taken_back() {
    let mut roster = roster(1);
    let peer = |address: Option<&str>| {
        SourceEvent::Apply(Fact::Peer(PeerFact {
            name: "tor".to_owned(),
            peer_address: address.map(|text| text.parse().unwrap()),
            ..PeerFact::default()
        }))
    };
    let servers = SourceEvent::ApiServers(vec!["192.0.2.9".parse().unwrap()]);
    assert!(roster.note(&servers));
    assert!(!roster.note(&servers), "nothing new");
    assert!(roster.note(&peer(Some("192.0.2.1"))));
    assert!(!roster.note(&peer(Some("192.0.2.1"))), "nothing new");
    let key = Key::Peer("tor".to_owned());
    assert!(roster.keys().contains(&key));
    let told: Vec<SourceEvent> = roster.events().collect();
    assert!(
        told.contains(&servers) && told.contains(&peer(Some("192.0.2.1"))),
        "{told:?}"
    );
    // One of a range has no address of its own.
    assert!(roster.note(&peer(None)));
    assert!(!roster.keys().contains(&key));
    assert!(!roster.note(&SourceEvent::Remove(key)));
}
