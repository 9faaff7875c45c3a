//! Several paths for one prefix (RFC 7911), both ways.

use std::collections::BTreeSet;

use dunlin_net::{Afi, PeerId, PerFamily, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::batch::{NextHop, RouteBatch};
use crate::policy::PeerType::{External, Internal};
use crate::policy::RejectReason;
use crate::rib::{GroupKey, MAX_PATHS_OF_SOURCE, MAX_PATHS_TOLD, SourceId};

const NET: u8 = 1;

fn several(key: GroupKey) -> GroupKey {
    let mut key = key;
    key.encoding.add_path = PerFamily { v4: true, v6: true };
    key
}

fn client_key() -> GroupKey {
    several(key(1, Internal, true))
}

impl Fixture {
    fn announce_path(&mut self, source: SourceId, path_id: u32, variant: u8, hop: u8) {
        let mut batch = RouteBatch::default();
        let net = V4::test_net(NET);
        announce::<V4>(&mut batch, &attrs(variant), V4::test_hop(hop), &[net]);
        identify::<V4>(&mut batch, path_id);
        self.rib.apply(&self.facts, source, &batch);
    }

    fn withdraw_path(&mut self, source: SourceId, path_id: u32) {
        let mut batch = RouteBatch::default();
        withdraw::<V4>(&mut batch, &[V4::test_net(NET)]);
        identify::<V4>(&mut batch, path_id);
        self.rib.apply(&self.facts, source, &batch);
    }

    /// The identifiers and next hops a peer knows of the prefix.
    fn paths(&self, peer: u32) -> BTreeSet<(u32, NextHop)> {
        let told = self.far(peer).told.iter();
        let of_net = told.filter(|((net, _), _)| *net == V4::test_net(NET).into());
        of_net
            .filter_map(|((_, id), (_, hop))| Some(((*id)?, *hop)))
            .collect()
    }

    fn hops(&self, peer: u32) -> Vec<NextHop> {
        self.paths(peer)
            .into_iter()
            .map(|path| path.1)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn received(&self, source: SourceId) -> Vec<Option<u32>> {
        let view = self.rib.lookup::<V4>(V4::test_net(NET));
        let mut ids: Vec<_> = view
            .iter()
            .flat_map(|view| &view.paths)
            .filter(|path| path.source == source)
            .map(|path| path.path_id)
            .collect();
        ids.sort_unstable();
        ids
    }
}

fn fixture() -> Fixture {
    Fixture::with(|config| config.resolve = false)
}

fn hops(numbers: &[u8]) -> Vec<NextHop> {
    numbers.iter().map(|&number| V4::test_hop(number)).collect()
}

#[test]
fn an_identifier_is_part_of_the_key() {
    let mut fixture = fixture();
    let source = fixture.source(3, Internal);
    fixture.announce_path(source, 7, 0, 1);
    fixture.announce_path(source, 0, 0, 2);
    assert_eq!(fixture.received(source), [Some(0), Some(7)]);
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).received, 2);
    // The same identifier replaces; one never heard of is withdrawn in vain.
    fixture.announce_path(source, 7, 1, 1);
    fixture.withdraw_path(source, 8);
    assert_eq!(fixture.received(source), [Some(0), Some(7)]);
    fixture.withdraw_path(source, 0);
    assert_eq!(fixture.received(source), [Some(7)]);
    // Without an identifier it is another path still.
    fixture.announce(source, &attrs(0), V4::test_hop(3), &[NET]);
    assert_eq!(fixture.received(source), [None, Some(7)]);
}

#[test]
fn paths_of_one_peer_share_the_traffic() {
    let mut fixture = fixture();
    let source = fixture.source(3, Internal);
    fixture.announce_path(source, 1, 0, 1);
    fixture.announce_path(source, 2, 0, 2);
    let view = fixture.rib.lookup::<V4>(V4::test_net(NET)).unwrap();
    let lost: Vec<_> = view
        .paths
        .iter()
        .map(|path| (path.path_id, path.lost))
        .collect();
    let step = crate::rib::DecisionStep::PathIdentifier;
    assert_eq!(lost, [(Some(1), None), (Some(2), Some(step))]);
    assert!(view.paths.iter().all(|path| path.forwarding));
}

#[test]
fn a_prefix_takes_so_many_paths_of_one_peer_and_no_more() {
    let mut fixture = fixture();
    let (source, other) = (fixture.source(3, Internal), fixture.source(4, Internal));
    let most = MAX_PATHS_OF_SOURCE as u32;
    for id in 0..most + 2 {
        fixture.announce_path(source, id, 0, 1);
    }
    let counts = fixture.rib.source_counts(source, Afi::Ipv4);
    assert_eq!((counts.received, counts.refused), (most, 2));
    // Others are not concerned, and one that goes makes room.
    fixture.announce_path(other, 99, 0, 2);
    assert_eq!(fixture.received(other), [Some(99)]);
    fixture.announce_path(source, 1, 1, 1);
    fixture.withdraw_path(source, 0);
    fixture.announce_path(source, most, 0, 1);
    let ids: Vec<_> = (1..=most).map(Some).collect();
    assert_eq!(fixture.received(source), ids);
    // After a restart identifiers may be others: what is stale takes no room, and goes.
    fixture
        .rib
        .mark_stale(source, dunlin_net::PerFamily::default());
    for id in 100..100 + most {
        fixture.announce_path(source, id, 0, 1);
    }
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).refused, 2);
    fixture.rib.sweep_stale(source, Afi::Ipv4);
    let ids: Vec<_> = (100..100 + most).map(Some).collect();
    assert_eq!(fixture.received(source), ids);
}

#[test]
fn a_client_is_told_all_paths_and_each_goes_by_itself() {
    let mut fixture = fixture();
    let sources = [1, 2, 3].map(|number| fixture.source(number, External));
    fixture.join(11, None, &client_key(), 100_000);
    fixture.join(12, Some(sources[0]), &client_key(), 100_000);
    fixture.join(13, None, &key(1, Internal, true), 100_000);
    for (number, source) in (1..).zip(sources) {
        fixture.announce(source, &attrs(0), V4::test_hop(number), &[NET]);
    }
    fixture.flush();
    assert_eq!(fixture.hops(11), hops(&[1, 2, 3]));
    assert_eq!(fixture.hops(12), hops(&[2, 3]), "not its own");
    assert_eq!(fixture.knows(13), [NET]);
    let before = fixture.paths(11);
    assert_eq!(before.len(), 3, "each has an identifier of its own");
    // One goes, one changes: the third is not said again, and identifiers stay.
    let messages = fixture.far(11).messages;
    fixture.withdraw(sources[0], &[NET]);
    fixture.announce(sources[1], &attrs(1), V4::test_hop(2), &[NET]);
    fixture.flush();
    let after = fixture.paths(11);
    assert_eq!(after.len(), 2);
    assert!(after.is_subset(&before));
    assert_eq!(fixture.far(11).messages, messages + 2);
    assert_eq!(fixture.rib.advertised(PeerId(11), Afi::Ipv4), 2);
}

#[test]
fn more_paths_than_are_told_are_cut_behind_the_best() {
    let mut fixture = fixture();
    let count = MAX_PATHS_TOLD as u8 + 2;
    for number in 1..=count {
        let source = fixture.source(number, External);
        // The later, the better.
        fixture.announce(source, &attrs(1), V4::test_hop(number), &[NET]);
    }
    let best = fixture.source(100, External);
    fixture.announce(best, &attrs(0), V4::test_hop(100), &[NET]);
    fixture.join(11, None, &client_key(), 100_000);
    fixture.flush();
    let expected: Vec<u8> = (1..MAX_PATHS_TOLD as u8).chain([100]).collect();
    assert_eq!(fixture.hops(11), hops(&expected));
}

#[test]
fn of_paths_that_lead_the_same_way_the_best_is_told() {
    let mut fixture = fixture();
    let reflectors = [3, 4].map(|number| fixture.source(number, Internal));
    // Variant 12 was originated by 9 and reflected; the same route comes by both reflectors.
    for source in reflectors {
        fixture.announce_path(source, 1, 12, 9);
    }
    fixture.announce_path(reflectors[0], 2, 12, 8);
    fixture.join(11, None, &client_key(), 100_000);
    fixture.flush();
    assert_eq!(fixture.hops(11), hops(&[8, 9]));
    assert_eq!(fixture.paths(11).len(), 2);
}

#[test]
fn each_path_told_is_shown_with_its_identifier() {
    let mut fixture = fixture();
    let sources = [1, 2].map(|number| fixture.source(number, External));
    fixture.join(11, None, &client_key(), 100_000);
    fixture.join(12, Some(sources[0]), &client_key(), 100_000);
    fixture.announce(sources[0], &attrs(0), V4::test_hop(1), &[NET]);
    fixture.flush();
    fixture.announce(sources[1], &attrs(1), V4::test_hop(2), &[NET]);
    let facts = fixture.facts.clone();
    let shown = |fixture: &mut Fixture, peer| {
        let show = |view: Result<crate::rib::ExportView<'_>, RejectReason>| {
            view.map(|view| (view.path_id, view.next_hop, view.told))
        };
        let net = V4::test_net(NET);
        fixture
            .rib
            .exported::<V4, _, _>(&facts, PeerId(peer), net, show)
    };
    let before = shown(&mut fixture, 11);
    let told: Vec<_> = before.iter().map(|view| view.unwrap().2).collect();
    assert_eq!(told, [true, false]);
    fixture.flush();
    let after: BTreeSet<_> = shown(&mut fixture, 11)
        .into_iter()
        .map(|view| {
            let (id, hop, told) = view.unwrap();
            assert!(told);
            (id.unwrap(), hop)
        })
        .collect();
    assert_eq!(after, fixture.paths(11));
    assert_eq!(shown(&mut fixture, 12).len(), 1);
    fixture.withdraw(sources[1], &[NET]);
    assert_eq!(shown(&mut fixture, 12), [Err(RejectReason::SplitHorizon)]);
}

#[test]
fn an_entry_that_waits_to_be_told_again_is_not_given_to_another_path() {
    let mut fixture = fixture();
    let source = fixture.source(3, Internal);
    fixture.join(11, None, &client_key(), 100_000);
    fixture.join(12, None, &client_key(), 60);
    fixture.eager = false;
    for number in 0..12 {
        // Many prefixes: the slow one falls behind in the midst of them.
        fixture.announce(source, &attrs(0), V4::test_hop(1), &[number]);
    }
    fixture.flush();
    for round in 0..40u8 {
        fixture.withdraw(source, &[round % 12]);
        let _ = fixture.rib.poll_output(&fixture.facts, 1).map(|output| {
            for peer in output.members() {
                let (kind, far) = fixture.far.get_mut(&peer).unwrap();
                far.receive(*kind, &output.bytes, |_, _| {});
            }
        });
        fixture.announce(
            source,
            &attrs(round % 3),
            V4::test_hop(1),
            &[round % 12, (round + 5) % 12],
        );
        fixture.rib.on_credit(PeerId(12), 20);
        fixture.rib.on_credit(PeerId(11), 200);
    }
    fixture.eager = true;
    fixture.rib.on_credit(PeerId(12), 100_000);
    fixture.rib.on_credit(PeerId(11), 100_000);
    fixture.flush();
    assert_eq!(fixture.far(11).told, fixture.far(12).told);
    assert_eq!(fixture.far(11).told.len(), 12);
}
