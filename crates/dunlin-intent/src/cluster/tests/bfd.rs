use std::time::Duration;

use super::*;
use crate::fact::{PeerAsn, PeerFact};
use crate::intent::BfdIntent;

fn profile(transmit_interval_millis: u32) -> Fact {
    Fact::BfdProfile(BfdProfileFact {
        name: "fast".to_owned(),
        transmit_interval_millis: Some(transmit_interval_millis),
        ..BfdProfileFact::default()
    })
}

fn configuration(bfd_profile: Option<&str>) -> Fact {
    Fact::Configuration(ConfigurationFact {
        name: "default".to_owned(),
        bfd_profile: bfd_profile.map(str::to_owned),
        ..ConfigurationFact::default()
    })
}

fn router(bfd_profile: Option<&str>) -> Fact {
    Fact::Peer(PeerFact {
        name: "router".to_owned(),
        peer_address: Some(addr("192.0.2.254")),
        peer_asn: Some(PeerAsn::External),
        bfd_profile: bfd_profile.map(str::to_owned),
        ..PeerFact::default()
    })
}

/// Two nodes and a router.
fn world(between_nodes: Option<&str>, with_router: Option<&str>) -> Cluster {
    let mut cluster = cluster([
        Fact::Node(node("n1", &["192.0.2.1"], &[])),
        Fact::Node(node("n2", &["192.0.2.2"], &[])),
        configuration(between_nodes),
        router(with_router),
    ]);
    changes(&mut cluster);
    cluster
}

/// The BFD of the session with the node, then of that with the router.
fn bfd(cluster: &mut Cluster) -> [Option<BfdIntent>; 2] {
    changes(cluster);
    let of = |name| {
        let peer = cluster.peers().find(|peer| peer.key.name() == name);
        peer.expect("both are wanted").bfd
    };
    [of("n2"), of("router")]
}

fn asked(transmit_interval_millis: u64) -> Option<BfdIntent> {
    Some(BfdIntent {
        transmit_interval: Duration::from_millis(transmit_interval_millis),
        receive_interval: Duration::from_millis(300),
        detect_multiplier: 3,
        passive: false,
        minimum_ttl: None,
    })
}

#[test]
fn who_names_a_profile_has_bfd_and_nobody_else() {
    for (nodes, router) in [(None, None), (Some("fast"), None), (None, Some("fast"))] {
        let mut cluster = world(nodes, router);
        cluster.apply(profile(50));
        let expected = [nodes, router].map(|given| given.and_then(|_| asked(50)));
        assert_eq!(bfd(&mut cluster), expected, "{nodes:?} {router:?}");
        assert_eq!(reasons(&cluster), []);
    }
}

#[test]
fn a_changed_profile_changes_bfd_and_no_session() {
    let mut cluster = world(Some("fast"), Some("fast"));
    cluster.apply(profile(50));
    assert_eq!(bfd(&mut cluster), [asked(50), asked(50)]);
    let sessions = |cluster: &Cluster| -> Vec<_> {
        let peers = cluster.peers();
        peers.map(|peer| peer.session.clone()).collect()
    };
    let before = sessions(&cluster);
    cluster.apply(profile(100));
    assert_eq!(bfd(&mut cluster), [asked(100), asked(100)]);
    assert_eq!(sessions(&cluster), before);
}

#[test]
fn a_profile_that_is_missing_or_refused_leaves_the_session_without_bfd() {
    let mut cluster = world(Some("fast"), Some("fast"));
    let both = [
        problem("BGPConfiguration/default", Reason::BfdProfileMissing),
        problem("BGPPeer/router", Reason::BfdProfileMissing),
    ];
    assert_eq!(bfd(&mut cluster), [None, None]);
    assert_eq!(reasons(&cluster), both);
    cluster.apply(profile(9));
    assert_eq!(bfd(&mut cluster), [None, None]);
    let [configuration, router] = both.clone();
    let refused = problem("BFDProfile/fast", Reason::Invalid);
    assert_eq!(reasons(&cluster), [configuration, router, refused]);
    cluster.apply(profile(50));
    assert_eq!(bfd(&mut cluster), [asked(50), asked(50)]);
    assert_eq!(reasons(&cluster), []);
    cluster.remove(&Key::BfdProfile("fast".to_owned()));
    assert_eq!(bfd(&mut cluster), [None, None]);
    assert_eq!(reasons(&cluster), both);
}

#[test]
fn a_profile_that_is_only_not_told_yet_is_no_problem_yet() {
    let mut cluster = Cluster::new("n1");
    cluster.apply(Fact::Node(node("n1", &["192.0.2.1"], &[])));
    cluster.apply(router(Some("fast")));
    cluster.apply(configuration(Some("fast")));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
    cluster.synced(Kind::BfdProfile);
    changes(&mut cluster);
    assert_eq!(reasons(&cluster).len(), 2);
}

#[test]
fn each_field_of_a_profile_has_its_bounds() {
    type Change = fn(&mut BfdProfileFact);
    let refused: [(Change, &str); 5] = [
        (
            |f| f.transmit_interval_millis = Some(9),
            "spec.transmitIntervalMillis",
        ),
        (
            |f| f.receive_interval_millis = Some(60_001),
            "spec.receiveIntervalMillis",
        ),
        (
            |f| f.receive_interval_millis = Some(0),
            "spec.receiveIntervalMillis",
        ),
        (|f| f.detect_multiplier = Some(0), "spec.detectMultiplier"),
        (|f| f.minimum_ttl = Some(0), "spec.minimumTTL"),
    ];
    for (change, field) in refused {
        let mut fact = BfdProfileFact::default();
        change(&mut fact);
        let problems = crate::bfd::profile(&fact).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|p| p.field.as_deref()).collect();
        assert_eq!(fields, [Some(field)]);
    }
    let fact = BfdProfileFact {
        transmit_interval_millis: Some(10),
        receive_interval_millis: Some(60_000),
        detect_multiplier: Some(255),
        passive: Some(true),
        minimum_ttl: Some(255),
        ..BfdProfileFact::default()
    };
    let intent = crate::bfd::profile(&fact).unwrap();
    assert_eq!(intent.transmit_interval, Duration::from_millis(10));
    assert_eq!(intent.receive_interval, Duration::from_secs(60));
    assert_eq!((intent.detect_multiplier, intent.passive), (255, true));
    assert_eq!(intent.minimum_ttl, Some(255));
}
