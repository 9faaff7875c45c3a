use dunlin_net::{Afi, PerFamily, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::policy::PeerType::{External, Internal};
use crate::policy::RejectReason;
use crate::rib::{NextHopEvent, RibCounts, SourceId};

fn plain() -> (Fixture, SourceId) {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, External);
    (fixture, source)
}

fn stale(fixture: &Fixture, net: u8) -> Option<bool> {
    let view = fixture.rib.lookup::<V4>(V4::test_net(net))?;
    view.paths.first().map(|path| path.stale)
}

#[test]
fn stale_routes_stay_in_use_until_the_sweep_and_fresh_ones_after_it() {
    let (mut fixture, source) = plain();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[0, 1, 2]);
    fixture.rib.mark_stale(source, PerFamily::default());
    assert_eq!([0, 1, 2].map(|net| stale(&fixture, net)), [Some(true); 3]);
    assert_eq!(fixture.best(1), Some(source));
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[1]);
    fixture.rib.sweep_stale(source, Afi::Ipv6);
    assert_eq!(stale(&fixture, 0), Some(true));
    fixture.rib.sweep_stale(source, Afi::Ipv4);
    assert_eq!(
        [0, 1, 2].map(|net| stale(&fixture, net)),
        [None, Some(false), None]
    );
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).received, 1);
}

#[test]
fn routes_still_stale_at_the_next_break_go() {
    let (mut fixture, source) = plain();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[0, 1]);
    fixture.rib.mark_stale(source, PerFamily::default());
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[1]);
    fixture.rib.mark_stale(source, PerFamily::default());
    assert_eq!([0, 1].map(|net| stale(&fixture, net)), [None, Some(true)]);
}

#[test]
fn a_large_source_goes_in_slices_and_counts_for_nothing_at_once() {
    let (mut fixture, source) = plain();
    let nets: Vec<u8> = (0..=200).collect();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &nets);
    fixture.rib.drop_source(source);
    assert!(fixture.rib.has_work());
    assert!(
        fixture
            .rib
            .lookup::<V4>(V4::test_net(7))
            .is_none_or(|view| view.paths.is_empty())
    );
    let mut slices = 1;
    while fixture.rib.poll_work(&fixture.facts, 1) {
        slices += 1;
    }
    assert!(slices > 20, "{slices}");
    while fixture.rib.poll_fib::<V4>().is_some() {}
    assert_eq!(fixture.rib.counts(), RibCounts::default());
}

#[test]
fn routes_announced_while_old_ones_are_removed_stay() {
    let (mut fixture, source) = plain();
    let nets: Vec<u8> = (0..=200).collect();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &nets);
    fixture.rib.drop_source(source);
    fixture.announce(source, &attrs(1), V4::test_hop(1), &[50, 190]);
    while fixture.rib.poll_work(&fixture.facts, 1) {}
    assert_eq!(fixture.best(50), Some(source));
    assert_eq!(fixture.best(190), Some(source));
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).received, 2);
}

#[test]
fn sessions_that_break_more_often_than_generations_are_numbered_confuse_nothing() {
    let (mut fixture, source) = plain();
    let nets: Vec<u8> = (0..=200).collect();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &nets);
    for round in 0..1_000u32 {
        fixture.rib.mark_stale(source, PerFamily::default());
        fixture.announce(source, &attrs(0), V4::test_hop(1), &[(round % 100) as u8]);
    }
    while fixture.rib.poll_work(&fixture.facts, 1_000) {}
    // The last one was announced since the last break, the one before it since the break before.
    assert_eq!(
        [99, 98, 97].map(|net| stale(&fixture, net)),
        [Some(false), Some(true), None]
    );
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).received, 2);
}

#[test]
fn loops_are_rejected_unless_our_as_is_allowed_in_the_path() {
    let (mut fixture, source) = plain();
    let mut fabric = peer(2, External);
    fabric.allow_own_as = 1;
    let fabric = fixture.register(fabric);
    let internal = fixture.source(3, Internal);
    fixture.announce(source, &attrs(7), V4::test_hop(1), &[0]);
    fixture.announce(fabric, &attrs(7), V4::test_hop(1), &[1]);
    fixture.announce(internal, &attrs(13), V4::test_hop(1), &[2]);
    fixture.announce(internal, &attrs(12), V4::test_hop(1), &[3]);
    assert_eq!(
        fixture.rib.rejected(source, Afi::Ipv4),
        [(RejectReason::AsLoop, 1)]
    );
    assert_eq!(fixture.best(1), Some(fabric));
    let loops = [(RejectReason::ReflectionLoop, 1)];
    assert_eq!(fixture.rib.rejected(internal, Afi::Ipv4), loops);
    assert_eq!(fixture.best(3), Some(internal));
}

#[test]
fn a_source_that_turns_out_to_be_different_is_judged_as_that() {
    let (mut fixture, source) = plain();
    fixture.announce(source, &attrs(7), V4::test_hop(1), &[0]);
    assert_eq!(fixture.best(0), None);
    let mut info = peer(1, External);
    info.allow_own_as = 1;
    fixture.rib.update_source(source, info);
    while fixture.rib.poll_work(&fixture.facts, 1) {}
    assert_eq!(fixture.best(0), Some(source));
}

#[test]
fn a_rejected_route_is_kept_and_used_when_the_facts_change() {
    let (mut fixture, source) = plain();
    let net = V4::test_net(0);
    fixture.facts.import_rejects.insert(net.into());
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[0]);
    let view = fixture.rib.lookup::<V4>(net).unwrap();
    assert_eq!(view.paths[0].used, Err(RejectReason::NotAPodSubnet));
    assert_eq!(
        fixture.rib.poll_fib::<V4>(),
        None,
        "nothing about it concerns the FIB"
    );
    fixture.facts.import_rejects.clear();
    fixture.rib.rejudge_prefixes::<V4, _>(&fixture.facts, [net]);
    assert_eq!(fixture.best(0), Some(source));
}

#[test]
fn facts_about_a_prefix_concern_what_covers_it_and_what_lies_within() {
    let (mut fixture, source) = plain();
    let net = |text: &str| text.parse::<dunlin_net::Ipv4Net>().unwrap();
    let nets = [
        "0.0.0.0/0",
        "20.0.0.0/8",
        "20.7.0.0/16",
        "20.7.1.0/24",
        "20.8.0.0/16",
        "21.0.0.0/8",
    ];
    let nets = nets.map(net);
    fixture.facts.import_rejects = nets.iter().map(|&net| net.into()).collect();
    let mut batch = crate::batch::RouteBatch::default();
    announce::<V4>(&mut batch, &attrs(0), V4::test_hop(1), &nets);
    fixture.rib.apply(&fixture.facts, source, &batch);
    fixture.facts.import_rejects.clear();
    fixture
        .rib
        .rejudge_related::<V4, _>(&fixture.facts, [net("20.7.0.0/16")]);
    let used = nets.map(|net| fixture.rib.lookup::<V4>(net).unwrap().paths[0].used.is_ok());
    assert_eq!(used, [true, true, true, true, false, false]);
}

#[test]
fn next_hops_are_asked_for_once_and_given_back() {
    let mut fixture = Fixture::new();
    let first = fixture.source(1, External);
    let second = fixture.source(2, External);
    let hop = V4::test_hop(1);
    fixture.announce(first, &attrs(0), hop, &[0, 1]);
    fixture.announce(second, &attrs(0), hop, &[0]);
    assert_eq!(fixture.rib.poll_next_hop(), Some(NextHopEvent::Wanted(hop)));
    assert_eq!(fixture.rib.poll_next_hop(), None);
    fixture.withdraw(first, &[0, 1]);
    assert_eq!(fixture.rib.poll_next_hop(), None);
    fixture.withdraw(second, &[0]);
    assert_eq!(fixture.rib.poll_next_hop(), Some(NextHopEvent::Unused(hop)));
    // Here and gone between two polls is nothing to speak of.
    fixture.announce(first, &attrs(0), hop, &[0]);
    fixture.withdraw(first, &[0]);
    assert_eq!(fixture.rib.poll_next_hop(), None);
}

#[test]
fn nothing_is_taken_from_a_source_that_left_or_never_was() {
    let (mut fixture, source) = plain();
    fixture.rib.unregister(source);
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[0]);
    fixture.announce(SourceId(999), &attrs(0), V4::test_hop(1), &[0]);
    assert!(
        !fixture
            .rib
            .originate::<V4>(source, V4::test_net(0), &attrs(0))
    );
    assert_eq!(fixture.rib.counts(), RibCounts::default());
}

#[test]
fn ranges_beyond_a_batch_s_buffers_say_nothing() {
    use crate::batch::{BatchItem, RouteBatch};
    let (mut fixture, source) = plain();
    let mut batch = RouteBatch::default();
    let backwards = std::ops::Range { start: 3, end: 2 };
    announce::<V4>(&mut batch, &attrs(0), V4::test_hop(1), &[V4::test_net(0)]);
    batch.items.push(BatchItem::Withdraw {
        afi: Afi::Ipv4,
        nlri: 0..9,
    });
    batch.items.push(BatchItem::Withdraw {
        afi: Afi::Ipv6,
        nlri: backwards,
    });
    fixture.rib.apply(&fixture.facts, source, &batch);
    assert_eq!(fixture.best(0), Some(source));
}
