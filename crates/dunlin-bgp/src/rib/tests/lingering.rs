//! Long-lived stale routes (RFC 9494).

use dunlin_net::{Afi, Asn, PerFamily, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::{AttrBuilder, Attrs, Origin};
use crate::policy::PeerType::{External, Internal};
use crate::rib::table::Path;
use crate::rib::{DecisionStep, FibRoute, GroupKey, PathView, SourceId};

const LLGR_STALE: u32 = 0xffff_0006;
const NO_LLGR: u32 = 0xffff_0007;
const KEEP: PerFamily<bool> = PerFamily { v4: true, v6: true };

fn with(communities: &[u32]) -> Vec<u8> {
    AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65001)])
        .communities(communities)
        .build()
}

/// Two sources: the first one's routes are the better ones.
fn two() -> (Fixture, SourceId, SourceId) {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let better = fixture.source(1, External);
    let worse = fixture.source(2, Internal);
    (fixture, better, worse)
}

fn long(long_lived: bool) -> GroupKey {
    GroupKey {
        long_lived,
        ..key(0, External, false)
    }
}

fn break_for_long(fixture: &mut Fixture, source: SourceId) {
    fixture.rib.mark_stale(source, PerFamily::default());
    fixture.rib.begin_long_lived(source, Afi::Ipv4);
    while fixture.rib.poll_work(&fixture.facts, 1) {}
}

fn paths(fixture: &Fixture, net: u8) -> Vec<PathView<'_>> {
    let view = fixture.rib.lookup::<V4>(V4::test_net(net));
    view.map_or_else(Vec::new, |view| view.paths)
}

/// The communities a far end was told a prefix with.
fn told(fixture: &Fixture, number: u32, net: u8) -> Option<Vec<u32>> {
    let (bytes, _) = fixture
        .far(number)
        .told
        .get(&(V4::test_net(net).into(), None))?;
    Some(Attrs::new(bytes).communities().collect())
}

#[test]
fn what_is_long_lived_stale_is_preferred_least_and_fresh_again_when_it_is_told_anew() {
    let (mut fixture, better, worse) = two();
    let best = AttrBuilder::originated(Origin::Igp)
        .local_pref(4_000)
        .build();
    fixture.announce(better, &best, V4::test_hop(1), &[0, 1]);
    fixture.announce(worse, &attrs(1), V4::test_hop(2), &[0]);
    fixture.rib.mark_stale(better, PerFamily::default());
    assert_eq!(fixture.best(0), Some(better), "stale is as good as fresh");
    fixture.rib.begin_long_lived(better, Afi::Ipv6);
    assert_eq!(fixture.best(0), Some(better), "the other family is meant");
    fixture.rib.begin_long_lived(better, Afi::Ipv4);
    assert_eq!(
        [0, 1].map(|net| fixture.best(net)),
        [Some(worse), Some(better)]
    );
    let lost = paths(&fixture, 0)[1].clone();
    assert_eq!((lost.stale, lost.long_lived), (true, true));
    assert_eq!(lost.lost, Some(DecisionStep::LongLivedStale));
    assert!(!lost.forwarding);
    fixture.announce(better, &best, V4::test_hop(1), &[0]);
    assert_eq!(fixture.best(0), Some(better));
    let fresh = paths(&fixture, 0)[0].clone();
    assert_eq!((fresh.stale, fresh.long_lived), (false, false));
}

#[test]
fn all_paths_long_lived_stale_are_compared_as_ever() {
    let (mut fixture, better, worse) = two();
    fixture.announce(better, &attrs(0), V4::test_hop(1), &[0]);
    fixture.announce(worse, &attrs(1), V4::test_hop(2), &[0]);
    break_for_long(&mut fixture, better);
    assert_eq!(fixture.best(0), Some(worse));
    break_for_long(&mut fixture, worse);
    assert_eq!(fixture.best(0), Some(better));
    // The multi-exit discriminator takes another way through the decision.
    fixture.announce(worse, &attrs(3), V4::test_hop(2), &[1]);
    assert_eq!(fixture.best(0), Some(better));
}

#[test]
fn it_is_forwarded_to_as_before() {
    let (mut fixture, better, _) = two();
    fixture.announce(better, &attrs(0), V4::test_hop(1), &[0]);
    let forwarded = |fixture: &mut Fixture| -> Vec<Option<FibRoute>> {
        std::iter::from_fn(|| fixture.rib.poll_fib::<V4>())
            .map(|(_, route)| route)
            .collect()
    };
    let before = forwarded(&mut fixture);
    break_for_long(&mut fixture, better);
    assert!(forwarded(&mut fixture).iter().all(|now| *now == before[0]));
    fixture.announce(better, &attrs(0), V4::test_hop(1), &[0]);
    assert!(forwarded(&mut fixture).iter().all(|now| *now == before[0]));
}

#[test]
fn it_is_told_marked_to_those_who_offered_to_treat_it_so_and_withdrawn_from_others() {
    let (mut fixture, better, _) = two();
    fixture.announce(better, &with(&[7]), V4::test_hop(1), &[0]);
    fixture.join(11, None, &long(true), 1 << 20);
    fixture.join(12, None, &long(false), 1 << 20);
    fixture.flush();
    assert_eq!(told(&fixture, 11, 0), Some(vec![7]));
    assert_eq!(told(&fixture, 12, 0), Some(vec![7]));
    fixture.rib.mark_stale(better, PerFamily::default());
    fixture.flush();
    assert_eq!(told(&fixture, 11, 0), Some(vec![7]), "not long-lived yet");
    fixture.rib.begin_long_lived(better, Afi::Ipv4);
    fixture.flush();
    assert_eq!(told(&fixture, 11, 0), Some(vec![7, LLGR_STALE]));
    assert_eq!(told(&fixture, 12, 0), None);
    assert_eq!(fixture.far(11).withdrawals, 0);
    // A peer that comes only now is told the same.
    fixture.join(13, None, &long(true), 1 << 20);
    fixture.flush();
    assert_eq!(told(&fixture, 13, 0), Some(vec![7, LLGR_STALE]));
    fixture.announce(better, &with(&[7]), V4::test_hop(1), &[0]);
    fixture.flush();
    for number in [11, 12, 13] {
        assert_eq!(told(&fixture, number, 0), Some(vec![7]), "{number}");
    }
}

#[test]
fn what_comes_marked_is_preferred_least_too_and_goes_on_marked_once() {
    let (mut fixture, better, worse) = two();
    fixture.announce(better, &with(&[LLGR_STALE]), V4::test_hop(1), &[0, 1]);
    fixture.announce(worse, &attrs(1), V4::test_hop(2), &[0]);
    assert_eq!(fixture.best(0), Some(worse));
    assert_eq!(
        paths(&fixture, 0)[1].lost,
        Some(DecisionStep::LongLivedStale)
    );
    fixture.join(11, None, &long(true), 1 << 20);
    fixture.join(12, None, &long(false), 1 << 20);
    fixture.flush();
    assert_eq!(told(&fixture, 11, 1), Some(vec![LLGR_STALE]));
    assert_eq!(told(&fixture, 12, 1), None);
    break_for_long(&mut fixture, better);
    fixture.flush();
    assert_eq!(told(&fixture, 11, 1), Some(vec![LLGR_STALE]));
}

#[test]
fn what_must_not_linger_goes_when_the_restart_time_is_over() {
    let (mut fixture, better, worse) = two();
    let nets: Vec<u8> = (0..=200).collect();
    fixture.announce(better, &with(&[NO_LLGR]), V4::test_hop(1), &nets);
    fixture.announce(better, &with(&[]), V4::test_hop(1), &[3]);
    fixture.announce(worse, &attrs(1), V4::test_hop(2), &[4]);
    fixture.join(11, None, &long(true), 1 << 20);
    fixture.flush();
    fixture.rib.mark_stale(better, PerFamily::default());
    assert_eq!(fixture.best(9), Some(better));
    fixture.rib.begin_long_lived(better, Afi::Ipv4);
    assert!(fixture.rib.has_work(), "so many go in slices");
    assert_eq!(paths(&fixture, 9).len(), 0, "and count for nothing at once");
    fixture.flush();
    let told = fixture.far(11).withdrawals;
    assert_eq!(told, 0, "another may take their place");
    while fixture.rib.poll_work(&fixture.facts, 1) {}
    fixture.flush();
    assert_eq!(fixture.knows(11), [3, 4]);
    assert_eq!(fixture.far(11).withdrawals, 199);
    assert_eq!(
        [3, 4, 9].map(|net| fixture.best(net)),
        [Some(better), Some(worse), None]
    );
    assert_eq!(fixture.rib.source_counts(better, Afi::Ipv4).received, 1);
}

#[test]
fn a_break_before_all_is_told_keeps_what_lingers_and_the_sweep_takes_all_that_is_stale() {
    let (mut fixture, source, _) = two();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[0, 1, 2]);
    break_for_long(&mut fixture, source);
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[1]);
    fixture.rib.mark_stale(source, KEEP);
    let state = |fixture: &Fixture, net| {
        let paths = paths(fixture, net);
        paths.first().map(|path| (path.stale, path.long_lived))
    };
    let long_lived = Some((true, true));
    assert_eq!(
        [0, 1, 2].map(|net| state(&fixture, net)),
        [long_lived, Some((true, false)), long_lived],
        "the restart time of what was told anew begins again"
    );
    let counted = |fixture: &Fixture| {
        let counts = fixture.rib.source_counts(source, Afi::Ipv4);
        (counts.fresh, counts.stale, counts.long_lived)
    };
    assert_eq!(counted(&fixture), (0, 3, 2));
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[2]);
    fixture.rib.begin_long_lived(source, Afi::Ipv4);
    assert_eq!(
        [0, 1, 2].map(|net| state(&fixture, net)),
        [long_lived, long_lived, Some((false, false))]
    );
    assert_eq!(counted(&fixture), (1, 2, 2));
    fixture.rib.sweep_stale(source, Afi::Ipv4);
    assert_eq!(
        [0, 1, 2].map(|net| state(&fixture, net)),
        [None, None, Some((false, false))]
    );
    assert_eq!(counted(&fixture), (1, 0, 0));
}

#[test]
fn breaks_without_end_that_keep_what_lingers_confuse_nothing() {
    let (mut fixture, source, _) = two();
    let nets: Vec<u8> = (0..=200).collect();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &nets);
    break_for_long(&mut fixture, source);
    for round in 0..1_000u32 {
        fixture.rib.mark_stale(source, KEEP);
        fixture.announce(source, &attrs(0), V4::test_hop(1), &[(round % 50) as u8]);
    }
    while fixture.rib.poll_work(&fixture.facts, 1_000) {}
    let stale = |net| paths(&fixture, net).first().map(|path| path.stale);
    assert_eq!([49, 48].map(stale), [Some(false), Some(true)]);
    assert_eq!(stale(180), None, "not told in two hundred sessions");
    let counts = fixture.rib.source_counts(source, Afi::Ipv4);
    assert_eq!((counts.received, counts.fresh, counts.stale), (50, 1, 49));
}

#[test]
fn a_path_takes_no_more_room_for_it() {
    assert_eq!(size_of::<Path>(), 16);
}
