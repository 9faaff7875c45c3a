use std::net::Ipv4Addr;

use dunlin_net::{Asn, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::{AttrBuilder, Origin};
use crate::policy::PeerType::{self, External, Internal};
use crate::policy::RejectReason;
use crate::rib::{DecisionStep, FibRoute, Resolution, SourceId, SourceInfo};

#[derive(Clone)]
struct Contender {
    info: SourceInfo,
    attrs: AttrBuilder,
    metric: u32,
}

/// Equal to another one of the same kind but for the number.
fn contender(number: u8, kind: PeerType) -> Contender {
    Contender {
        info: peer(number, kind),
        attrs: AttrBuilder::originated(Origin::Egp).as_path(&[Asn(65001), Asn(9)]),
        metric: 10,
    }
}

/// Lets contenders meet in the order given; returns the place of the winner and where the others lost.
fn contest(contenders: &[Contender], order: &[usize]) -> (usize, Vec<Option<DecisionStep>>) {
    let mut fixture = Fixture::new();
    let ids: Vec<SourceId> = contenders
        .iter()
        .map(|c| fixture.register(c.info.clone()))
        .collect();
    for &at in order {
        let contender = &contenders[at];
        let bytes = contender.attrs.build();
        if contender.info.is_local() {
            let net = V4::test_net(0);
            assert!(fixture.rib.originate::<V4>(ids[at], net, &bytes));
        } else {
            let hop = at as u8;
            fixture.announce(ids[at], &bytes, V4::test_hop(hop), &[0]);
            fixture.reachable(hop, contender.metric);
        }
    }
    let best = fixture.best(0).expect("all can be used");
    let view = fixture.rib.lookup::<V4>(V4::test_net(0)).unwrap();
    let lost = ids
        .iter()
        .map(|&id| view.paths.iter().find(|p| p.source == id).unwrap().lost)
        .collect();
    (ids.iter().position(|&id| id == best).unwrap(), lost)
}

fn beats(winner: &Contender, loser: &Contender, step: DecisionStep) {
    for order in [[0, 1], [1, 0]] {
        let result = contest(&[winner.clone(), loser.clone()], &order);
        assert_eq!(
            result,
            (0, vec![None, Some(step)]),
            "{step:?} in order {order:?}"
        );
    }
}

#[test]
fn each_step_decides_before_those_after_it() {
    // The loser is better in every later step that can be told apart from this one.
    let strong = |c: &mut Contender| {
        c.attrs = c.attrs.clone().origin(Origin::Igp);
        c.metric = 1;
    };
    let mut win = contender(9, External);
    let mut lose = contender(1, External);
    strong(&mut lose);

    let local = Contender {
        info: SourceInfo::local(router_id(254), US),
        ..contender(9, Internal)
    };
    beats(&local, &lose, DecisionStep::LocalOrigin);

    win.attrs = contender(9, External).attrs.local_pref(101);
    beats(&win, &lose, DecisionStep::LocalPref);

    win.attrs = contender(9, External).attrs.as_path(&[Asn(65001)]);
    beats(&win, &lose, DecisionStep::AsPathLength);

    win.attrs = contender(9, External).attrs.origin(Origin::Igp);
    lose.attrs = contender(1, External).attrs.origin(Origin::Incomplete);
    beats(&win, &lose, DecisionStep::Origin);

    win.attrs = contender(9, External).attrs.med(4);
    lose.attrs = contender(1, External).attrs.med(5);
    beats(&win, &lose, DecisionStep::Med);

    let lose = Contender {
        metric: 1,
        ..contender(1, Internal)
    };
    beats(
        &contender(9, External),
        &lose,
        DecisionStep::ExternalOverInternal,
    );

    let win = Contender {
        metric: 9,
        ..contender(9, Internal)
    };
    beats(&win, &contender(1, Internal), DecisionStep::IgpMetric);

    let mut far = contender(3, Internal);
    far.info.router_id = router_id(200);
    beats(&contender(4, Internal), &far, DecisionStep::RouterId);

    let reflected = |number, clusters: &[u8]| {
        let mut c = contender(number, Internal);
        let clusters: Vec<_> = clusters.iter().map(|&id| router_id(id)).collect();
        c.attrs = c.attrs.originator_id(router_id(77)).cluster_list(&clusters);
        c
    };
    beats(
        &reflected(9, &[1]),
        &reflected(1, &[2, 3]),
        DecisionStep::ClusterListLength,
    );

    let twin = |last| {
        let mut c = contender(5, External);
        c.info.remote_addr = Ipv4Addr::new(10, 0, 0, last).into();
        c
    };
    beats(&twin(7), &twin(8), DecisionStep::PeerAddress);
}

#[test]
fn an_originator_id_stands_in_for_the_router_id() {
    let mut reflected = contender(9, Internal);
    reflected.attrs = reflected.attrs.originator_id(router_id(1));
    beats(&reflected, &contender(5, Internal), DecisionStep::RouterId);
}

#[test]
fn a_path_without_local_pref_or_med_counts_as_100_and_0() {
    let mut low = contender(1, External);
    low.attrs = low.attrs.local_pref(99);
    beats(&contender(9, External), &low, DecisionStep::LocalPref);
    let mut high = contender(1, External);
    high.attrs = high.attrs.med(1);
    beats(&contender(9, External), &high, DecisionStep::Med);
}

#[test]
fn a_set_in_the_path_counts_once() {
    let mut long = contender(1, External);
    long.attrs = long.attrs.as_path(&[Asn(65001), Asn(5), Asn(6)]);
    let mut set = contender(9, External);
    set.attrs = set.attrs.as_path_segments(&[
        (crate::attrs::SegmentKind::Sequence, &[Asn(65001)]),
        (crate::attrs::SegmentKind::Set, &[Asn(5), Asn(6), Asn(7)]),
    ]);
    beats(&set, &long, DecisionStep::AsPathLength);
}

#[test]
fn med_is_compared_within_a_neighbouring_as_whatever_the_order_of_arrival() {
    // a loses to c by MED, c to b by router id; without c, a would beat b. Pairwise comparison would go in circles.
    let path = |asn, med| {
        let base = AttrBuilder::originated(Origin::Egp);
        base.as_path(&[Asn(asn), Asn(9)]).med(med)
    };
    let a = Contender {
        attrs: path(65001, 20),
        ..contender(1, External)
    };
    let b = Contender {
        attrs: path(65002, 0),
        ..contender(2, External)
    };
    let c = Contender {
        attrs: path(65001, 10),
        ..contender(3, External)
    };
    let all = [a, b, c];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let result = contest(&all, &order);
        let lost = vec![Some(DecisionStep::Med), None, Some(DecisionStep::RouterId)];
        assert_eq!(result, (1, lost), "{order:?}");
    }
}

#[test]
fn a_path_beaten_by_med_comes_back_when_that_one_goes() {
    let mut fixture = Fixture::new();
    let sources: Vec<_> = (1..=3).map(|n| fixture.source(n, External)).collect();
    fixture.announce(sources[0], &attrs(4), V4::test_hop(0), &[0]);
    fixture.announce(sources[1], &attrs(6), V4::test_hop(0), &[0]);
    fixture.announce(sources[2], &attrs(3), V4::test_hop(0), &[0]);
    fixture.reachable(0, 0);
    assert_eq!(fixture.best(0), Some(sources[1]));
    fixture.withdraw(sources[2], &[0]);
    assert_eq!(fixture.best(0), Some(sources[0]));
}

fn via(fixture: &mut Fixture) -> Option<Vec<u8>> {
    let mut last = None;
    while let Some((net, route)) = fixture.rib.poll_fib::<V4>() {
        assert_eq!(net, V4::test_net(0));
        last = Some(route);
    }
    let Some(FibRoute::Via(hops, _)) = last.expect("something changed") else {
        return None;
    };
    let number =
        |hop: &crate::rib::FibNextHop| (0..255).find(|&n| V4::test_hop(n) == hop.next_hop).unwrap();
    Some(hops.iter().map(number).collect())
}

#[test]
fn equal_paths_share_the_traffic_up_to_the_bound_and_the_best_is_among_them() {
    let mut fixture = Fixture::with(|config| config.max_ecmp = 3);
    // The best path, of the lowest router id, has the highest next hop.
    for (number, hop) in [(1, 9), (2, 3), (3, 2), (4, 1)] {
        let source = fixture.source(number, External);
        fixture.announce(source, &attrs(0), V4::test_hop(hop), &[0]);
        fixture.reachable(hop, 10);
    }
    assert_eq!(via(&mut fixture), Some(vec![1, 2, 9]));
    fixture.reachable(2, 11);
    assert_eq!(via(&mut fixture), Some(vec![1, 3, 9]));
    fixture
        .rib
        .set_next_hops([(V4::test_hop(9), Resolution::default())]);
    assert_eq!(via(&mut fixture), Some(vec![1, 3]));
}

#[test]
fn internal_paths_share_too_but_not_with_external_ones() {
    let mut fixture = Fixture::new();
    for number in [1, 2] {
        let source = fixture.source(number, Internal);
        fixture.announce(source, &attrs(0), V4::test_hop(number), &[0]);
        fixture.reachable(number, 10);
    }
    assert_eq!(via(&mut fixture), Some(vec![1, 2]));
    let external = fixture.source(3, External);
    fixture.announce(external, &attrs(0), V4::test_hop(3), &[0]);
    fixture.reachable(3, 10);
    assert_eq!(via(&mut fixture), Some(vec![3]));
}

#[test]
fn two_paths_by_one_next_hop_are_one_way() {
    let mut fixture = Fixture::new();
    for number in [1, 2] {
        let source = fixture.source(number, External);
        fixture.announce(source, &attrs(0), V4::test_hop(7), &[0]);
    }
    fixture.reachable(7, 0);
    assert_eq!(via(&mut fixture), Some(vec![7]));
}

#[test]
fn a_path_waits_for_its_next_hop_and_says_so() {
    let mut fixture = Fixture::new();
    let source = fixture.source(1, External);
    fixture.announce(source, &attrs(0), V4::test_hop(7), &[0]);
    let view = fixture.rib.lookup::<V4>(V4::test_net(0)).unwrap();
    assert_eq!(view.paths[0].used, Err(RejectReason::NextHopUnresolved));
    assert_eq!(view.route, None);
    fixture.reachable(7, 0);
    assert_eq!(fixture.best(0), Some(source));
    fixture
        .rib
        .set_next_hops([(V4::test_hop(7), Resolution::default())]);
    assert_eq!(fixture.best(0), None);
    assert_eq!(via(&mut fixture), None);
}

#[test]
fn without_resolving_every_next_hop_will_do() {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, External);
    fixture.announce(source, &attrs(0), V4::test_hop(7), &[0]);
    assert_eq!(fixture.best(0), Some(source));
}
