use dunlin_net::{Afi, Ipv4Net, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::batch::RouteBatch;
use crate::policy::PeerType::External;
use crate::rib::RibConfig;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn with_nets(nets: &[&str]) -> Fixture {
    let mut fixture = Fixture::with(|config: &mut RibConfig| config.resolve = false);
    let source = fixture.source(1, External);
    let nets: Vec<_> = nets.iter().map(|text| net(text)).collect();
    let mut batch = RouteBatch::default();
    announce::<V4>(&mut batch, &attrs(0), V4::test_hop(1), &nets);
    fixture.rib.apply(&fixture.facts, source, &batch);
    fixture
}

#[test]
fn the_longest_match_is_found_at_every_length() {
    let fixture = with_nets(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"]);
    let found = |addr: &str| {
        let view = fixture.rib.longest_match::<V4>(addr.parse().unwrap());
        view.map(|view| view.net.to_string())
    };
    assert_eq!(found("10.1.2.3").as_deref(), Some("10.1.2.3/32"));
    assert_eq!(found("10.1.2.4").as_deref(), Some("10.1.0.0/16"));
    assert_eq!(found("10.2.0.0").as_deref(), Some("10.0.0.0/8"));
    assert_eq!(found("11.0.0.0").as_deref(), Some("0.0.0.0/0"));
}

#[test]
fn covered_prefixes_come_in_order_and_bounded() {
    let fixture = with_nets(&[
        "10.2.0.0/16",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "11.0.0.0/8",
        "0.0.0.0/0",
    ]);
    let covered = |within: &str, limit| -> Vec<String> {
        let views = fixture.rib.covered::<V4>(net(within), limit);
        views.iter().map(|view| view.net.to_string()).collect()
    };
    assert_eq!(
        covered("10.0.0.0/8", 9),
        ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]
    );
    assert_eq!(covered("10.0.0.0/8", 2), ["10.0.0.0/8", "10.1.0.0/16"]);
    assert_eq!(covered("10.1.0.0/17", 9), Vec::<String>::new());
}

#[test]
fn a_scan_in_pages_sees_each_prefix_once() {
    let mut fixture = with_nets(&[]);
    let source = fixture.source(2, External);
    let nets: Vec<u8> = (0..100).collect();
    fixture.announce(source, &attrs(0), V4::test_hop(1), &nets);
    fixture.withdraw(source, &[3, 50]);
    while fixture.rib.poll_fib::<V4>().is_some() {}
    for page in [1, 7, 98, 1_000] {
        let (mut seen, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let (views, next) = fixture.rib.scan::<V4>(from, page);
            assert!(views.len() <= page);
            seen.extend(views.iter().map(|view| view.net));
            cursor = next;
        }
        seen.sort();
        let expected: Vec<_> = (0..100u8)
            .filter(|number| ![3, 50].contains(number))
            .map(V4::test_net)
            .collect();
        assert_eq!(seen, expected, "pages of {page}");
    }
    assert_eq!(fixture.rib.counts().prefixes.v4, 98);
    assert_eq!(fixture.rib.source_counts(source, Afi::Ipv4).best, 98);
}

#[test]
fn next_hops_in_use_are_listed() {
    let mut fixture = with_nets(&["10.0.0.0/8"]);
    let source = fixture.source(2, External);
    fixture.announce(source, &attrs(0), V4::test_hop(0), &[1]);
    let hops: Vec<_> = fixture
        .rib
        .next_hops()
        .into_iter()
        .map(|hop| hop.0)
        .collect();
    assert_eq!(hops, [V4::test_hop(0), V4::test_hop(1)]);
}
