use dunlin_net::{Asn, PeerId, V4, V6};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::{AttrBuilder, Origin};
use crate::batch::NextHop;
use crate::policy::PeerType::{External, Internal};
use crate::policy::RejectReason;
use crate::rib::{ExportView, Resolution, SourceId};

/// One external source that offers prefix 0 to 9.
fn offering() -> (Fixture, SourceId) {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, External);
    fixture.announce(
        source,
        &attrs(0),
        V4::test_hop(1),
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    (fixture, source)
}

const ALL: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

fn reason(fixture: &mut Fixture, peer: u32, net: u8) -> Option<Result<bool, RejectReason>> {
    let facts = fixture.facts.clone();
    let show = |view: Result<ExportView<'_>, RejectReason>| view.map(|view| view.told);
    fixture
        .rib
        .exported::<V4, _, _>(&facts, PeerId(peer), V4::test_net(net), show)
        .pop()
}

#[test]
fn peers_with_equal_keys_share_every_octet() {
    let (mut fixture, _) = offering();
    for peer in [11, 12, 13] {
        fixture.join(peer, None, &key(0, External, false), 10_000);
    }
    let mut shared = 0;
    while let Some(output) = fixture.rib.poll_output(&fixture.facts, 4_000) {
        let to: Vec<_> = output.members().collect();
        assert_eq!(to, [PeerId(11), PeerId(12), PeerId(13)]);
        shared += 1;
    }
    assert!(shared > 0);
    assert_eq!(
        fixture.rib.advertised(PeerId(12), dunlin_net::Afi::Ipv4),
        10
    );
}

#[test]
fn a_peer_is_not_told_its_own_routes_and_forgets_another_s_that_it_beats() {
    let (mut fixture, first) = offering();
    let second = fixture.source(2, External);
    fixture.join(1, Some(first), &key(0, External, false), 10_000);
    fixture.join(2, Some(second), &key(0, External, false), 10_000);
    fixture.flush();
    assert_eq!(fixture.knows(1), []);
    assert_eq!(fixture.knows(2), ALL);
    assert_eq!(
        reason(&mut fixture, 1, 0),
        Some(Err(RejectReason::SplitHorizon))
    );
    // The second peer's path is shorter: now the first one is told, the second one forgets.
    let short = AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65002)])
        .build();
    fixture.announce(second, &short, V4::test_hop(2), &[3]);
    fixture.flush();
    assert_eq!(fixture.knows(1), [3]);
    assert_eq!(fixture.knows(2), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    fixture.withdraw(second, &[3]);
    fixture.flush();
    assert_eq!(fixture.knows(1), []);
    assert_eq!(fixture.knows(2), ALL);
}

#[test]
fn a_peer_that_hangs_holds_nobody_up_and_is_told_only_the_outcome() {
    let (mut fixture, source) = offering();
    fixture.join(11, None, &key(0, External, false), 600);
    fixture.join(12, None, &key(0, External, false), 600);
    fixture.flush();
    fixture.eager = false;
    let live = PeerId(12);
    let mut taken = fixture.far(12).messages;
    for round in 0..200u8 {
        fixture.announce(source, &attrs((round + 1) % 3), V4::test_hop(1), &ALL);
        fixture.flush();
        // One peer takes all it is sent, the other nothing.
        fixture.rib.on_credit(live, 600);
        fixture.flush();
        assert!(fixture.far(12).messages > taken, "round {round}");
        taken = fixture.far(12).messages;
        fixture.rib.on_credit(live, 600);
    }
    assert!(fixture.far(11).messages < 50);
    fixture.eager = true;
    fixture.rib.on_credit(PeerId(11), 10_000);
    fixture.flush();
    assert_eq!(fixture.far(11).told, fixture.far(12).told);
    assert!(
        fixture.far(11).messages < 60,
        "{}",
        fixture.far(11).messages
    );
}

#[test]
fn a_lone_peer_that_is_slow_gets_nothing_encoded_ahead() {
    let (mut fixture, _) = offering();
    fixture.eager = false;
    fixture.join(11, None, &key(0, External, false), 1);
    fixture.flush();
    fixture.flush();
    let told = fixture.knows(11).len();
    assert!(
        (1..10).contains(&told),
        "the last octet of credit buys one block"
    );
    fixture.rib.on_credit(PeerId(11), 100_000);
    fixture.flush();
    assert_eq!(fixture.knows(11), ALL);
}

#[test]
fn a_newcomer_is_told_everything_and_the_others_nothing_again() {
    let (mut fixture, _) = offering();
    fixture.join(11, None, &key(0, External, false), 10_000);
    fixture.flush();
    let messages = fixture.far(11).messages;
    fixture.join(12, None, &key(0, External, false), 10_000);
    fixture.flush();
    assert_eq!(fixture.knows(12), ALL);
    assert_eq!(fixture.far(12).end_of_rib.v4, 1);
    assert_eq!(fixture.far(11).messages, messages);
}

#[test]
fn a_refresh_repeats_everything_to_the_one_that_asked() {
    let (mut fixture, _) = offering();
    fixture.join(11, None, &key(0, External, false), 10_000);
    fixture.join(12, None, &key(0, External, false), 10_000);
    fixture.flush();
    let (first, second) = (fixture.far(11).messages, fixture.far(12).messages);
    fixture.far.get_mut(&PeerId(11)).unwrap().1.told.clear();
    fixture
        .rib
        .refresh(PeerId(11), dunlin_net::Afi::Ipv4, false);
    fixture.flush();
    assert_eq!(fixture.knows(11), ALL);
    assert!(fixture.far(11).messages > first);
    assert_eq!(fixture.far(12).messages, second);
    assert_eq!(fixture.far(11).withdrawals, 0);
}

#[test]
fn while_the_gate_is_shut_announcements_go_and_withdrawals_and_end_of_rib_wait() {
    let (mut fixture, source) = offering();
    fixture.rib.set_gate(true, true);
    fixture.join(11, None, &key(0, External, false), 10_000);
    fixture.flush();
    fixture.withdraw(source, &[4, 5]);
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[20]);
    fixture.flush();
    let far = fixture.far(11);
    assert_eq!((far.withdrawals, far.end_of_rib.v4), (0, 0));
    assert!(fixture.knows(11).contains(&20));
    fixture.announce(source, &attrs(0), V4::test_hop(1), &[5]);
    fixture.rib.set_gate(false, true);
    fixture.flush();
    let far = fixture.far(11);
    assert_eq!((far.withdrawals, far.end_of_rib.v4), (1, 0));
    assert_eq!(fixture.knows(11), [0, 1, 2, 3, 5, 6, 7, 8, 9, 20]);
    fixture.rib.set_gate(false, false);
    fixture.flush();
    assert_eq!(fixture.far(11).end_of_rib.v4, 1);
}

#[test]
fn every_reason_not_to_tell_is_named() {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let external = fixture.source(1, External);
    let internal = fixture.source(3, Internal);
    let local = fixture.register(crate::rib::SourceInfo::local(router_id(254), US));
    fixture.announce(external, &attrs(8), V4::test_hop(1), &[0]);
    fixture.announce(external, &attrs(9), V4::test_hop(1), &[1]);
    fixture.announce(internal, &attrs(0), V4::test_hop(1), &[2]);
    fixture.announce(external, &attrs(0), V4::test_hop(1), &[3]);
    assert!(
        fixture
            .rib
            .originate::<V4>(local, V4::test_net(4), &attrs(8))
    );
    fixture.facts.export_rejects.insert(V4::test_net(3).into());
    let mut homeless = key(0, External, false);
    homeless.own_next_hop.v4 = None;
    let mut other_family = key(0, External, false);
    other_family.families.v4 = false;
    fixture.join(11, None, &key(0, External, false), 10_000);
    fixture.join(12, None, &key(1, Internal, false), 10_000);
    fixture.join(13, None, &key(1, Internal, true), 10_000);
    fixture.join(14, None, &homeless, 10_000);
    fixture.join(15, None, &other_family, 10_000);
    fixture.flush();
    let well_known = Some(Err(RejectReason::WellKnownCommunity));
    let told = Some(Ok(true));
    let table = [
        (11, 0, well_known),
        (12, 0, told),
        (11, 1, well_known),
        (12, 1, well_known),
        (11, 2, told),
        (12, 2, Some(Err(RejectReason::InternalToInternal))),
        (13, 2, told),
        (11, 3, Some(Err(RejectReason::NotAdvertised))),
        (12, 3, told),
        // A community of ours is for the peer to obey.
        (11, 4, told),
        (14, 2, Some(Err(RejectReason::NoNextHop))),
        (15, 2, Some(Err(RejectReason::FamilyNotNegotiated))),
        (11, 99, None),
    ];
    for (peer, net, expected) in table {
        assert_eq!(
            reason(&mut fixture, peer, net),
            expected,
            "prefix {net} to {peer}"
        );
    }
    assert_eq!(fixture.knows(11), [2, 4]);
    assert_eq!(fixture.knows(12), [0, 3, 4]);
    assert_eq!(fixture.knows(13), [0, 2, 3, 4]);
    assert_eq!(fixture.knows(14), []);
}

#[test]
fn attributes_that_fit_no_message_are_not_told_and_end_what_was() {
    let (mut fixture, source) = offering();
    let mut extended = key(0, External, false);
    extended.encoding.extended_message = true;
    fixture.join(11, None, &key(0, External, false), 100_000);
    fixture.join(12, None, &extended, 100_000);
    fixture.flush();
    let many: Vec<u32> = (0..1_020).collect();
    let long = AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65001)])
        .communities(&many)
        .build();
    fixture.announce(source, &long, V4::test_hop(1), &[3]);
    let blocks: Vec<_> =
        std::iter::from_fn(|| fixture.rib.poll_output(&fixture.facts, 4_000)).collect();
    let to = |peer| {
        blocks
            .iter()
            .filter(move |b| b.members().any(|to| to == PeerId(peer)))
    };
    for block in to(11) {
        let far = &mut fixture.far.get_mut(&PeerId(11)).unwrap().1;
        far.receive((External, Default::default()), &block.bytes, |_, _| {});
    }
    assert_eq!(fixture.knows(11), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        reason(&mut fixture, 11, 3),
        Some(Err(RejectReason::AttrsTooLong))
    );
    assert_eq!(
        to(12)
            .map(|block| block.bytes.len())
            .filter(|&len| len > 4_096)
            .count(),
        1
    );
    assert_eq!(reason(&mut fixture, 12, 3), Some(Ok(true)));
}

#[test]
fn a_neighbour_s_med_stays_with_us_and_one_of_ours_goes_out() {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, External);
    fixture.announce(source, &attrs(3), V4::test_hop(1), &[0, 1]);
    fixture.facts.export_edits.insert(V4::test_net(1).into());
    fixture.join(11, None, &key(0, External, false), 10_000);
    fixture.flush();
    let med = |number| {
        let (bytes, _) = &fixture.far(11).told[&(V4::test_net(number).into(), None)];
        crate::attrs::Attrs::new(bytes).med()
    };
    assert_eq!(med(0), None);
    assert_eq!(med(1), Some(77));
}

#[test]
fn an_ipv4_route_by_an_ipv6_next_hop_is_told_to_whoever_agreed_to_such() {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, External);
    fixture.announce(source, &attrs(0), V6::test_hop(1), &[0]);
    let plain = key(1, Internal, false);
    let mut extended = plain.clone();
    extended.encoding.extended_next_hop = true;
    fixture.join(11, None, &plain, 100_000);
    fixture.join(12, None, &extended, 100_000);
    fixture.flush();
    let told = reason(&mut fixture, 11, 0);
    assert_eq!(told, Some(Err(RejectReason::NoNextHop)));
    assert_eq!(reason(&mut fixture, 12, 0), Some(Ok(true)));
}

#[test]
fn a_next_hop_on_a_link_is_told_to_nobody_and_two_links_may_have_the_same() {
    let mut fixture = Fixture::with(|config| config.resolve = true);
    let far = "fe80::2".parse().expect("an address");
    for link in [5, 6] {
        let source = fixture.source(link, External);
        let hop = NextHop::on_interface(far, link.into());
        fixture.announce(source, &attrs(0), hop, &[0]);
        let resolution = Resolution {
            reachable: true,
            igp_metric: 0,
            ifindex: link.into(),
        };
        fixture.rib.set_next_hops([(hop, resolution)]);
    }
    let mut extended = key(1, Internal, false);
    extended.encoding.extended_next_hop = true;
    fixture.join(12, None, &extended, 100_000);
    fixture.flush();
    assert_eq!(
        reason(&mut fixture, 12, 0),
        Some(Err(RejectReason::NoNextHop))
    );
    let known: Vec<_> = fixture
        .rib
        .next_hops()
        .into_iter()
        .map(|(hop, at)| (hop.interface, at.ifindex))
        .collect();
    assert_eq!(known.len(), 2);
    assert!(
        known.iter().all(|(interface, at)| interface == at),
        "{known:?}"
    );
}
