//! Communities with a meaning of their own (RFC 1997, RFC 8326).

use dunlin_net::{Afi, Asn, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::{AttrBuilder, Attrs, Origin};
use crate::policy::PeerType::{self, External, Internal};
use crate::rib::{DecisionStep, PathView};

const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
const BLACKHOLE: u32 = 0xffff_029a;
const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
const NOPEER: u32 = 0xffff_ff04;

fn with(communities: &[u32]) -> Vec<u8> {
    AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65001)])
        .communities(communities)
        .build()
}

fn fixture() -> Fixture {
    Fixture::with(|config| config.resolve = false)
}

fn used(fixture: &Fixture, net: u8) -> Vec<PathView<'_>> {
    let view = fixture.rib.lookup::<V4>(V4::test_net(net));
    view.map_or_else(Vec::new, |view| view.paths)
}

#[test]
fn what_an_external_peer_is_about_to_take_away_is_the_last_choice() {
    let mut fixture = fixture();
    let leaving = fixture.source(1, External);
    let other = fixture.source(2, External);
    fixture.announce(leaving, &with(&[]), V4::test_hop(1), &[0, 1]);
    fixture.announce(other, &attrs(1), V4::test_hop(2), &[0]);
    assert_eq!(fixture.best(0), Some(leaving), "the shorter path");
    fixture.announce(
        leaving,
        &with(&[7, GRACEFUL_SHUTDOWN]),
        V4::test_hop(1),
        &[0, 1],
    );
    assert_eq!(fixture.best(0), Some(other));
    assert_eq!(
        fixture.best(1),
        Some(leaving),
        "better than none: nothing is lost"
    );
    let path = used(&fixture, 0)[1].clone();
    assert_eq!(path.lost, Some(DecisionStep::LocalPref));
    assert_eq!(path.used.unwrap().local_pref(), Some(0));
    assert_eq!(path.received.local_pref(), None, "it is kept as it came");
    let sets = fixture.rib.counts().attribute_sets;
    fixture.announce(leaving, &with(&[]), V4::test_hop(1), &[0, 1]);
    assert_eq!(fixture.best(0), Some(leaving), "it stays after all");
    assert!(fixture.rib.counts().attribute_sets < sets);
}

#[test]
fn no_filter_prefers_what_is_about_to_go() {
    let mut fixture = fixture();
    let leaving = fixture.source(1, External);
    fixture.facts.import_edits = [0, 1].map(|net| V4::test_net(net).into()).into();
    fixture.announce(
        leaving,
        &with(&[GRACEFUL_SHUTDOWN]),
        V4::test_hop(1),
        &[0, 1, 2],
    );
    for net in [0, 1, 2] {
        let path = used(&fixture, net)[0].clone();
        assert_eq!(path.used.unwrap().local_pref(), Some(0), "{net}");
    }
    fixture.withdraw(leaving, &[0, 1, 2]);
    while fixture.rib.poll_fib::<V4>().is_some() {}
    assert_eq!(fixture.rib.counts().attribute_sets, 0, "none is left over");
}

#[test]
fn an_internal_peer_says_itself_what_it_prefers() {
    let mut fixture = fixture();
    let internal = fixture.source(1, Internal);
    let attrs = AttrBuilder::originated(Origin::Igp)
        .local_pref(50)
        .communities(&[GRACEFUL_SHUTDOWN])
        .build();
    fixture.announce(internal, &attrs, V4::test_hop(1), &[0]);
    let path = used(&fixture, 0)[0].clone();
    assert_eq!(path.used.unwrap().local_pref(), Some(50));
}

#[test]
fn each_community_is_passed_on_to_whom_it_may_be() {
    // What it says, and whether peers outside and peers within our AS are told.
    let table: [(u32, [bool; 2]); 6] = [
        (NO_EXPORT, [false, true]),
        (NO_EXPORT_SUBCONFED, [false, true]),
        (NO_ADVERTISE, [false, false]),
        (NOPEER, [true, true]),
        (BLACKHOLE, [true, true]),
        (GRACEFUL_SHUTDOWN, [true, true]),
    ];
    for (community, want) in table {
        let mut fixture = fixture();
        let source = fixture.source(1, External);
        fixture.announce(source, &with(&[community]), V4::test_hop(1), &[0]);
        for (number, kind) in [(11, External), (12, Internal)] {
            fixture.join(number, None, &key(0, kind, false), 1 << 20);
        }
        fixture.flush();
        let told = |number: u32| !fixture.knows(number).is_empty();
        assert_eq!([told(11), told(12)], want, "{community:#x}");
        assert_eq!(fixture.best(0), Some(source), "it is used all the same");
        for number in [11, 12].into_iter().filter(|&number| told(number)) {
            let known = &fixture.far(number).told[&(V4::test_net(0).into(), None)];
            let communities: Vec<u32> = Attrs::new(&known.0).communities().collect();
            assert_eq!(communities, [community], "it is passed on");
        }
    }
}

#[test]
fn what_we_originate_with_one_goes_to_every_peer_it_is_announced_to() {
    let mut fixture = fixture();
    let own = fixture.register(crate::rib::SourceInfo::local(router_id(254), US));
    let bytes = with(&[NO_EXPORT]);
    fixture.rib.originate::<V4>(own, V4::test_net(0), &bytes);
    let kinds: [PeerType; 2] = [External, Internal];
    for (number, kind) in (11..).zip(kinds) {
        fixture.join(number, None, &key(0, kind, false), 1 << 20);
    }
    fixture.flush();
    assert_eq!([11, 12].map(|number| fixture.knows(number)), [[0], [0]]);
    assert_eq!(fixture.rib.source_counts(own, Afi::Ipv4).best, 1);
}
