//! Route reflection (RFC 4456): who is told what, and with which attributes.

use dunlin_net::{Afi, PeerId, RouterId, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::Attrs;
use crate::policy::PeerType::{self, External, Internal};
use crate::policy::RejectReason;
use crate::rib::SourceId;

/// Peer 11 is external, 12 a client, 13 and 14 are not; 22 is another client. Prefix n comes from peer n.
fn reflector() -> (Fixture, [SourceId; 5]) {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let kinds = [
        (11, External, false),
        (12, Internal, true),
        (13, Internal, false),
        (14, Internal, false),
        (22, Internal, true),
    ];
    let sources = kinds.map(|(number, kind, client)| {
        let mut info = peer(number, kind);
        info.reflector_client = client;
        let source = fixture.register(info);
        let key = key(1, kind, client);
        fixture.join(number.into(), Some(source), &key, 100_000);
        fixture.announce(source, &attrs(0), V4::test_hop(number), &[number]);
        source
    });
    fixture.flush();
    (fixture, sources)
}

fn told(fixture: &Fixture, peer: u32, net: u8) -> Option<(Option<RouterId>, Vec<RouterId>)> {
    let path = (V4::test_net(net).into(), None);
    let (bytes, _) = fixture.far(peer).told.get(&path)?;
    let attrs = Attrs::new(bytes);
    Some((attrs.originator_id(), attrs.cluster_list().collect()))
}

#[test]
fn a_client_s_route_goes_to_all_and_another_s_to_clients_alone() {
    let (fixture, _) = reflector();
    // What came from an external peer goes to all; nothing goes back to where it came from.
    assert_eq!(fixture.knows(11), [12, 13, 14, 22]);
    assert_eq!(fixture.knows(12), [11, 13, 14, 22]);
    assert_eq!(fixture.knows(22), [11, 12, 13, 14]);
    assert_eq!(fixture.knows(13), [11, 12, 22]);
    assert_eq!(fixture.knows(14), [11, 12, 22]);
}

#[test]
fn what_is_reflected_names_its_originator_and_our_cluster_and_nothing_of_that_leaves_the_as() {
    let (mut fixture, sources) = reflector();
    let first = (Some(router_id(12)), vec![router_id(254)]);
    assert_eq!(told(&fixture, 22, 12), Some(first.clone()));
    assert_eq!(told(&fixture, 13, 12), Some(first));
    assert_eq!(told(&fixture, 11, 12), Some((None, vec![])));
    // What an external peer told us is not reflected.
    assert_eq!(told(&fixture, 12, 11), Some((None, vec![])));
    // Reflected before: the originator stays, our cluster comes before the other.
    fixture.announce(sources[1], &attrs(12), V4::test_hop(12), &[12]);
    fixture.flush();
    let again = (Some(router_id(9)), vec![router_id(254), router_id(250)]);
    assert_eq!(told(&fixture, 22, 12), Some(again));
    assert_eq!(told(&fixture, 11, 12), Some((None, vec![])));
    // All else is as it came.
    let path = (V4::test_net(13).into(), None);
    let (bytes, hop) = &fixture.far(12).told[&path];
    let (came, went) = (attrs(0), Attrs::new(bytes));
    let came = Attrs::new(&came);
    assert_eq!(*hop, V4::test_hop(13));
    assert_eq!(went.as_path().as_bytes(), came.as_path().as_bytes());
    assert_eq!((went.origin(), went.med()), (came.origin(), came.med()));
}

#[test]
fn a_route_of_ours_that_comes_back_and_one_we_reflected_before_are_refused_by_name() {
    let (mut fixture, sources) = reflector();
    let own = attrs(11);
    let us = crate::attrs::AttrBuilder::from_attrs(Attrs::new(&own))
        .originator_id(router_id(254))
        .build();
    fixture.announce(sources[1], &us, V4::test_hop(12), &[30]);
    fixture.announce(sources[1], &attrs(13), V4::test_hop(12), &[31]);
    let refused = |net| {
        let view = fixture.rib.lookup::<V4>(V4::test_net(net)).unwrap();
        view.paths[0].used.map(|_| ())
    };
    assert_eq!(refused(30), Err(RejectReason::OwnOriginator));
    assert_eq!(refused(31), Err(RejectReason::ReflectionLoop));
    fixture.flush();
    assert!(!fixture.knows(22).contains(&30) && !fixture.knows(22).contains(&31));
}

#[test]
fn a_peer_that_becomes_a_client_is_told_of_and_told_at_once() {
    let (mut fixture, sources) = reflector();
    let client = |number, kind: PeerType, client| {
        let mut info = peer(number, kind);
        info.reflector_client = client;
        info
    };
    fixture
        .rib
        .update_source(sources[2], client(13, Internal, true));
    fixture.flush();
    assert_eq!(fixture.knows(14), [11, 12, 13, 22]);
    fixture
        .rib
        .update_source(sources[2], client(13, Internal, false));
    fixture.flush();
    assert_eq!(fixture.knows(14), [11, 12, 22]);
}

#[test]
fn a_client_with_another_router_id_is_told_of_anew() {
    let (mut fixture, sources) = reflector();
    let mut info = peer(12, Internal);
    info.reflector_client = true;
    info.router_id = router_id(99);
    fixture.rib.update_source(sources[1], info);
    fixture.flush();
    for other in [22, 13, 14] {
        let told = told(&fixture, other, 12).map(|told| told.0);
        assert_eq!(told, Some(Some(router_id(99))), "{other}");
    }
    assert_eq!(fixture.knows(12), [11, 13, 14, 22]);
}

#[test]
fn who_is_a_client_no_longer_forgets_what_it_is_told_no_longer_and_nothing_else_for_a_moment() {
    for several in [false, true] {
        let (mut fixture, sources) = reflector();
        let key = |client| {
            let mut key = key(1, Internal, client);
            key.encoding.add_path.v4 = several;
            key
        };
        // A non-client among the members, or the group of non-clients is made for the one that changes.
        for others in [false, true] {
            fixture.join(12, Some(sources[1]), &key(true), 100_000);
            fixture.join(22, Some(sources[4]), &key(true), 100_000);
            if others {
                fixture.join(14, Some(sources[3]), &key(false), 100_000);
            } else {
                fixture.rib.leave(PeerId(13));
                fixture.rib.leave(PeerId(14));
            }
            fixture.flush();
            assert_eq!(fixture.knows(12), [11, 13, 14, 22]);
            let mut info = peer(12, Internal);
            info.reflector_client = false;
            fixture.rib.update_source(sources[1], info.clone());
            // The session goes on, and with it what the far end knows.
            fixture
                .rib
                .change_group(PeerId(12), Some(sources[1]), &key(false), 100_000);
            while let Some(output) = fixture.rib.poll_output(&fixture.facts, 20) {
                for to in output.members() {
                    let (kind, far) = fixture.far.get_mut(&to).unwrap();
                    far.receive(*kind, &output.bytes, |_, _| {});
                }
                let knows = fixture.knows(12);
                let kept = [11, 22].iter().all(|net| knows.contains(net));
                assert!(kept, "{several} {others}: {knows:?}");
            }
            assert_eq!(fixture.knows(12), [11, 22], "{several} {others}");
            assert!(fixture.rib.is_told_all(PeerId(12), Afi::Ipv4));
            // And back.
            info.reflector_client = true;
            fixture.rib.update_source(sources[1], info);
            let client = key(true);
            fixture
                .rib
                .change_group(PeerId(12), Some(sources[1]), &client, 100_000);
            fixture.flush();
            assert_eq!(fixture.knows(12), [11, 13, 14, 22], "{several} {others}");
            fixture.withdraw(sources[4], &[22]);
            fixture.flush();
            assert_eq!(fixture.knows(12), [11, 13, 14], "{several} {others}");
            fixture.announce(sources[4], &attrs(0), V4::test_hop(22), &[22]);
            fixture.flush();
        }
    }
}
