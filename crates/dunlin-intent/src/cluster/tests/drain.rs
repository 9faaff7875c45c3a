//! A node that is drained: only what is told changes, and of Services nothing is left in the end.

use super::*;
use crate::fact::{
    AdvertisementFact, PeerAsn, PeerFact, ServiceAddressKind, ServiceFact, ServicesFact,
};
use crate::intent::{DrainCause, OriginKind};
use dunlin_bgp::policy::{AttrEdits, CommunityValue};

const GRACEFUL_SHUTDOWN: CommunityValue = CommunityValue::Standard(65_535 << 16);

fn own(change: impl FnOnce(&mut NodeFact)) -> Fact {
    let Some(Fact::Node(mut fact)) = pair().into_iter().next() else {
        panic!("the first of the pair is the own Node");
    };
    change(&mut fact);
    Fact::Node(fact)
}

fn router(name: &str, address: &str, asn: PeerAsn) -> Fact {
    Fact::Peer(PeerFact {
        name: name.to_owned(),
        peer_address: Some(addr(address)),
        peer_asn: Some(asn),
        ..PeerFact::default()
    })
}

/// The pair with a router within the AS, one outside, and a Service announced to both.
fn busy() -> Cluster {
    let mut service = ServiceFact::new("web", "shop");
    service.cluster_ips = vec![addr("10.96.0.10")];
    let advertisement = AdvertisementFact {
        name: "all".to_owned(),
        pod_cidrs: true,
        services: Some(ServicesFact {
            addresses: vec![ServiceAddressKind::ClusterIp],
            ..ServicesFact::default()
        }),
        ..AdvertisementFact::default()
    };
    cluster(pair().into_iter().chain([
        router("outside", "192.0.2.201", PeerAsn::Number(Asn(65001))),
        router("inside", "192.0.2.202", PeerAsn::Internal),
        Fact::Advertisement(advertisement),
        Fact::Service(service),
    ]))
}

fn edits(cluster: &Cluster) -> Vec<(String, bool, AttrEdits)> {
    let peers = cluster.peers().flat_map(|peer| {
        let originated = peer.policy.export.originated.iter();
        originated.map(|(kind, edits)| {
            let is_pods = *kind == OriginKind::PodSubnet;
            (peer.key.to_string(), is_pods, edits.clone())
        })
    });
    peers.collect()
}

#[test]
fn all_that_is_originated_becomes_the_last_choice_of_every_peer_and_no_session_resets() {
    let mut cluster = busy();
    let before: Vec<_> = cluster.peers().cloned().collect();
    let plain = edits(&cluster);
    assert_eq!(plain.len(), 5, "pods to all three, services to two of them");
    cluster.apply(own(|n| n.drain = true));
    let told = changes(&mut cluster);
    assert!(
        matches!(&told[0], Change::LocalChanged(Some(l)) if l.draining == Some(DrainCause::Annotation))
    );
    assert!(
        told[1..]
            .iter()
            .all(|c| matches!(c, Change::PeerWanted(..))),
        "{told:?}"
    );
    for (before, after) in before.iter().zip(cluster.peers()) {
        assert_eq!(before.session, after.session);
        assert_eq!(before.policy.import, after.policy.import);
    }
    let drained = edits(&cluster);
    assert_eq!(drained.len(), plain.len());
    for (peer, _, edits) in &drained {
        let internal = peer != "BGPPeer/outside";
        assert_eq!(edits.local_pref, internal.then_some(0), "{peer}");
        assert_eq!(edits.add_communities, [GRACEFUL_SHUTDOWN], "{peer}");
    }
    cluster.apply(own(|_| {}));
    changes(&mut cluster);
    assert_eq!(edits(&cluster), plain);
}

#[test]
fn service_addresses_are_withheld_when_told_so_and_keep_their_class() {
    let mut cluster = busy();
    cluster.apply(own(|n| n.drain = true));
    changes(&mut cluster);
    let policies = edits(&cluster);
    cluster.set_withdrawn(true);
    assert_eq!(
        changes(&mut cluster),
        [Change::OriginateGone(net("10.96.0.10/32"))]
    );
    let withheld = cluster.service_counts().withheld;
    assert_eq!(withheld.get(&WithheldReason::Draining), Some(&1));
    // Packets that still come are dropped where nobody translates them, as before.
    assert!(
        cluster
            .service_ranges()
            .any(|range| range == net("10.96.0.10/32"))
    );
    assert_eq!(edits(&cluster), policies);
    cluster.set_withdrawn(false);
    let told = changes(&mut cluster);
    assert!(matches!(told[..], [Change::Originate(..)]), "{told:?}");
}

#[test]
fn a_cordon_drains_only_where_the_configuration_says_so() {
    let mut cluster = busy();
    let plain = edits(&cluster);
    cluster.apply(own(|n| n.unschedulable = true));
    changes(&mut cluster);
    assert_eq!(edits(&cluster), plain);
    cluster.apply(configuration(|c| c.drain_on_cordon = Some(true)));
    changes(&mut cluster);
    assert_ne!(edits(&cluster), plain);
    let node = cluster.node("n1").unwrap();
    assert_eq!(node.draining, Some(DrainCause::Cordon));
    assert_eq!(cluster.node("n2").unwrap().draining, None);
    cluster.apply(configuration(|c| c.drain_on_cordon = Some(false)));
    changes(&mut cluster);
    assert_eq!(edits(&cluster), plain);
}

#[test]
fn the_drain_of_another_node_is_its_own_affair() {
    let mut cluster = busy();
    let plain = edits(&cluster);
    let Some(Fact::Node(mut other)) = pair().into_iter().nth(1) else {
        panic!("the second of the pair is a Node");
    };
    other.drain = true;
    cluster.apply(Fact::Node(other));
    changes(&mut cluster);
    assert_eq!(edits(&cluster), plain);
}
