//! What must cost nothing.

use super::*;

/// A service of many with both addresses and one endpoint elsewhere.
fn many(count: u16) -> impl Iterator<Item = Fact> {
    (0..count).flat_map(|n| {
        let [high, low] = n.to_be_bytes();
        let name = format!("s{n}");
        let fact = service(&name, |s| {
            s.cluster_ips = vec![IpAddr::from([10, 96, high, low])];
            s.external_ips = vec![IpAddr::from([198, 18, high, low])];
        });
        let backing = slice(&name, vec![ready("n2")]);
        [Fact::Service(fact), Fact::EndpointSlice(backing)]
    })
}

/// 4.10-13: a storm of endpoints of Services that nobody announces.
#[test]
fn case_4_10_13_endpoints_of_services_that_are_not_announced_change_nothing() {
    let nobody = announce("all", &ALL_KINDS, |a| {
        a.services.as_mut().unwrap().selector = Some(labelled("public", "yes"));
    });
    let mut cluster = announcing(&[], many(100).chain([nobody]));
    assert!(announced(&cluster).is_empty());
    for round in 0..100u16 {
        for n in 0..100u16 {
            let endpoints = match round % 4 {
                0 => vec![],
                1 => vec![ready("n1"), ready("n2")],
                2 => vec![unready("n1")],
                _ => vec![draining("n1"), ready("n2")],
            };
            cluster.apply(Fact::EndpointSlice(slice(&format!("s{n}"), endpoints)));
            assert_eq!(cluster.poll_change(), None, "round {round}, service {n}");
        }
    }
}

#[test]
fn endpoints_that_change_no_standing_change_nothing() {
    let mut cluster = announcing(&ALL_KINDS, many(10));
    assert_eq!(announced(&cluster).len(), 20);
    for count in (1..200).chain((1..200).rev()) {
        let on = if count % 2 == 0 { "n1" } else { "n2" };
        let endpoints = vec![ready(on); count];
        cluster.apply(Fact::EndpointSlice(slice("s3", endpoints)));
        assert_eq!(cluster.poll_change(), None, "{count} endpoints");
    }
}

#[test]
fn a_service_told_again_as_it_was_changes_nothing() {
    let mut cluster = announcing(&ALL_KINDS, many(10));
    many(10).for_each(|fact| cluster.apply(fact));
    assert_eq!(cluster.poll_change(), None);
}

#[test]
fn readiness_that_flips_leaves_the_peers_policies_alone() {
    let router = Fact::Peer(PeerFact {
        name: "router".to_owned(),
        peer_address: Some(addr("192.0.2.254")),
        peer_asn: Some(PeerAsn::Number(Asn(65010))),
        ..PeerFact::default()
    });
    let mut cluster = announcing(&[ExternalIp], many(1).chain([router]));
    for endpoints in [vec![], vec![ready("n2")], vec![]] {
        cluster.apply(Fact::EndpointSlice(slice("s0", endpoints)));
        let told = changes(&mut cluster);
        let [Change::Originate(..) | Change::OriginateGone(_)] = told[..] else {
            panic!("{told:?}")
        };
    }
}
