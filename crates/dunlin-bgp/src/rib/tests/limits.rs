//! No more prefixes of a source than it may have.

use dunlin_net::{Afi, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::batch::RouteBatch;
use crate::policy::PeerType;

/// Announces these prefixes; gives the family of which it is one too many.
fn announces(fixture: &mut Fixture, source: crate::rib::SourceId, nets: &[u8]) -> Option<Afi> {
    let mut batch = RouteBatch::default();
    let nets: Vec<_> = nets.iter().map(|&number| V4::test_net(number)).collect();
    announce::<V4>(&mut batch, &attrs(1), V4::test_hop(1), &nets);
    fixture.rib.apply(&fixture.facts, source, &batch).over_limit
}

#[test]
fn what_is_one_too_many_is_not_taken_and_neither_is_what_follows() {
    let mut fixture = Fixture::new();
    let source = fixture.source(1, PeerType::External);
    fixture.rib.set_limit(source, Some(2));
    let received = |fixture: &Fixture| fixture.rib.source_counts(source, Afi::Ipv4).received;
    assert_eq!(announces(&mut fixture, source, &[1, 2, 1, 2]), None);
    let over = announces(&mut fixture, source, &[1, 3, 4]);
    assert_eq!(over, Some(Afi::Ipv4));
    assert_eq!(received(&fixture), 2);
    assert_eq!(fixture.rib.counts().prefixes.v4, 2, "nothing is left of it");
    fixture.withdraw(source, &[1]);
    assert_eq!(announces(&mut fixture, source, &[3]), None);
    // Stale ones are not of this session, and come again one by one.
    fixture
        .rib
        .mark_stale(source, dunlin_net::PerFamily::default());
    assert_eq!(announces(&mut fixture, source, &[4, 5]), None);
    assert_eq!(received(&fixture), 4);
    assert_eq!(announces(&mut fixture, source, &[2]), Some(Afi::Ipv4));
    fixture.rib.sweep_stale(source, Afi::Ipv4);
    fixture.rib.poll_work(&fixture.facts, usize::MAX);
    assert_eq!(received(&fixture), 2);
    assert_eq!(announces(&mut fixture, source, &[4, 5]), None);
    fixture.rib.set_limit(source, None);
    assert_eq!(announces(&mut fixture, source, &[6, 7, 8]), None);
    assert_eq!(received(&fixture), 5);
}
