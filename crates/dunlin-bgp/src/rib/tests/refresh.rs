//! Marks around what is told again (RFC 7313), sent and heard.

use dunlin_net::{Afi, PeerId, PerFamily, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::policy::PeerType::{External, Internal};
use crate::rib::SourceId;

const ALL: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn offering() -> (Fixture, SourceId) {
    let mut fixture = Fixture::with(|config| config.resolve = false);
    let source = fixture.source(1, Internal);
    fixture.announce(source, &attrs(1), V4::test_hop(1), &ALL);
    fixture.rib.set_gate(false, false);
    (fixture, source)
}

fn marks(fixture: &Fixture) -> (u32, u32) {
    fixture.far(11).marks.v4
}

#[test]
fn what_is_asked_for_comes_between_marks() {
    let (mut fixture, _) = offering();
    fixture.join(11, None, &key(0, External, false), 100_000);
    fixture.flush();
    let before = fixture.far(11).messages;
    fixture.rib.refresh(PeerId(11), Afi::Ipv4, true);
    assert!(!fixture.rib.is_told_all(PeerId(11), Afi::Ipv4));
    fixture.flush();
    // The far end forgets at the second mark what was not told again.
    assert_eq!((fixture.knows(11), marks(&fixture)), (ALL.to_vec(), (1, 1)));
    assert!(fixture.far(11).messages > before + 2);
    assert!(fixture.rib.is_told_all(PeerId(11), Afi::Ipv4));
    // A family in which nothing is told is told so.
    fixture.rib.refresh(PeerId(11), Afi::Ipv6, true);
    fixture.flush();
    assert_eq!(
        fixture.far(11).marks,
        PerFamily {
            v4: (1, 1),
            v6: (1, 1)
        }
    );
}

#[test]
fn asked_again_meanwhile_there_is_one_pair_of_marks() {
    let (mut fixture, source) = offering();
    fixture.eager = false;
    fixture.join(11, None, &key(0, External, false), 1_000);
    fixture.flush();
    fixture.rib.on_credit(PeerId(11), 1_000);
    fixture.rib.refresh(PeerId(11), Afi::Ipv4, true);
    let output = fixture.rib.poll_output(&fixture.facts, 50);
    assert!(output.is_some_and(|output| output.bytes.get(18) == Some(&5)));
    fixture.rib.refresh(PeerId(11), Afi::Ipv4, true);
    fixture.withdraw(source, &[12]);
    fixture.rib.on_credit(PeerId(11), 10_000);
    fixture.flush();
    // The first mark was taken above.
    assert_eq!(
        (fixture.knows(11), marks(&fixture)),
        (ALL[..11].to_vec(), (0, 1))
    );
}

#[test]
fn no_mark_comes_before_end_of_rib() {
    let (mut fixture, _) = offering();
    fixture.rib.set_gate(false, true);
    fixture.join(11, None, &key(0, External, false), 100_000);
    fixture.rib.refresh(PeerId(11), Afi::Ipv4, true);
    fixture.flush();
    assert_eq!((fixture.knows(11), marks(&fixture)), (ALL.to_vec(), (0, 0)));
    fixture.rib.set_gate(false, false);
    fixture.flush();
    // The far end of the tests takes no mark before End-of-RIB.
    assert_eq!(fixture.far(11).end_of_rib.v4, 1);
    assert_eq!((fixture.knows(11), marks(&fixture)), (ALL.to_vec(), (1, 1)));
}

fn sweep(fixture: &mut Fixture, source: SourceId, afi: Afi) {
    fixture.rib.sweep_stale(source, afi);
    fixture.rib.poll_work(&fixture.facts, usize::MAX);
}

fn fresh(fixture: &Fixture, source: SourceId) -> (u32, u32) {
    let counts = fixture.rib.source_counts(source, Afi::Ipv4);
    (counts.received, counts.fresh)
}

#[test]
fn what_is_not_heard_again_goes_with_the_second_mark_and_not_before() {
    let (mut fixture, source) = offering();
    fixture.rib.begin_refresh(source, Afi::Ipv4);
    for number in ALL {
        assert_eq!(fixture.best(number), Some(source), "stale routes are used");
    }
    assert_eq!(fresh(&fixture, source), (12, 12));
    fixture.announce(source, &attrs(1), V4::test_hop(1), &[1, 2]);
    fixture.announce(source, &attrs(2), V4::test_hop(1), &[3]);
    fixture.withdraw(source, &[4]);
    assert_eq!(fresh(&fixture, source), (11, 11));
    sweep(&mut fixture, source, Afi::Ipv6);
    assert_eq!(fresh(&fixture, source), (11, 11), "the other family's mark");
    sweep(&mut fixture, source, Afi::Ipv4);
    assert_eq!(fresh(&fixture, source), (3, 3));
    assert_eq!((fixture.best(3), fixture.best(5)), (Some(source), None));
    // And once more, with nothing told again.
    fixture.rib.begin_refresh(source, Afi::Ipv4);
    sweep(&mut fixture, source, Afi::Ipv4);
    assert_eq!(fresh(&fixture, source), (0, 0));
}

#[test]
fn a_refresh_without_end_lets_nobody_past_a_limit() {
    let (mut fixture, source) = offering();
    fixture.rib.set_limit(source, Some(14));
    for round in 0..100u8 {
        fixture.rib.begin_refresh(source, Afi::Ipv4);
        fixture.announce(source, &attrs(1), V4::test_hop(1), &ALL[..6]);
        fixture.announce(source, &attrs(1), V4::test_hop(1), &[100 + round]);
    }
    // Twelve there were, and two more fit.
    assert_eq!(fresh(&fixture, source), (14, 14));
    sweep(&mut fixture, source, Afi::Ipv4);
    let (received, counted) = fresh(&fixture, source);
    assert_eq!(received, counted);
    assert!(counted <= 14);
    fixture.rib.mark_stale(source, PerFamily::default());
    assert_eq!(fresh(&fixture, source), (received, 0));
    fixture.rib.begin_refresh(source, Afi::Ipv4);
    fixture.announce(source, &attrs(1), V4::test_hop(1), &[1]);
    assert_eq!(fresh(&fixture, source).1, 1);
}

#[test]
fn breaks_between_marks_without_end_confuse_nothing() {
    let (mut fixture, source) = offering();
    let keep = PerFamily { v4: true, v6: true };
    for round in 0..300u32 {
        // Each session has more epochs than one.
        for _ in 0..10 {
            fixture.rib.begin_refresh(source, Afi::Ipv4);
        }
        fixture.announce(
            source,
            &attrs(1),
            V4::test_hop(1),
            &[20 + (round % 5) as u8],
        );
        fixture.rib.mark_stale(source, keep);
    }
    while fixture.rib.poll_work(&fixture.facts, 1_000) {}
    // What was told long ago is gone, before its epoch comes round.
    assert_eq!(fresh(&fixture, source), (5, 0));
    fixture.announce(source, &attrs(1), V4::test_hop(1), &[1]);
    assert_eq!(fresh(&fixture, source), (6, 1));
}
