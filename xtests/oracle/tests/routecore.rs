//! What we write, routecore reads: attribute by attribute.

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use dunlin_bgp::attrs::{Attrs, SegmentKind};
use dunlin_bgp::wire::{ExportEncoding, Limits, frame};
use dunlin_net::{Asn, V4, V6};
use proptest::collection::vec;
use proptest::prelude::*;
use routecore::bgp::message::SessionConfig;
use routecore::bgp::message::update::UpdateMessage;
use wire_support::strategies::{reflected, v4_prefix, v6_prefix};
use wire_support::*;

/// Expects routecore to read of one message what the attributes and prefixes are.
fn check(message: &[u8], attrs: Attrs<'_>, nets: &[String]) -> Result<(), TestCaseError> {
    let update =
        UpdateMessage::from_octets(message, &SessionConfig::modern()).expect("routecore reads it");
    let announced: Vec<_> = update
        .announcements_vec()
        .expect("routecore reads the prefixes")
        .iter()
        .map(ToString::to_string)
        .collect();
    prop_assert_eq!(announced, nets);
    let origin = update.origin().unwrap().map(u8::from);
    prop_assert_eq!(origin, attrs.origin().map(|it| it as u8));
    prop_assert_eq!(
        update.multi_exit_disc().unwrap().map(|it| it.0),
        attrs.med()
    );
    prop_assert_eq!(
        update.local_pref().unwrap().map(|it| it.0),
        attrs.local_pref()
    );
    prop_assert_eq!(
        update.is_atomic_aggregate().unwrap(),
        attrs.atomic_aggregate()
    );
    let aggregator = update.aggregator().unwrap();
    prop_assert_eq!(
        aggregator.map(|it| (it.asn().into_u32(), it.address())),
        attrs.aggregator().map(|it| (it.asn.0, it.router_id.0))
    );
    let communities: Vec<u32> = update
        .communities()
        .unwrap()
        .into_iter()
        .flatten()
        .map(|it| it.to_u32())
        .collect();
    prop_assert_eq!(communities, attrs.communities().collect::<Vec<_>>());
    let extended: Vec<[u8; 8]> = update
        .ext_communities()
        .unwrap()
        .into_iter()
        .flatten()
        .map(|it| it.to_raw())
        .collect();
    prop_assert_eq!(extended, attrs.extended_communities().collect::<Vec<_>>());
    let path = update.aspath().unwrap().expect("there is an AS_PATH");
    let mut asns = Vec::new();
    for segment in path.segments() {
        asns.extend(segment.asns().map(|it| Asn(it.into_u32())));
    }
    prop_assert_eq!(asns, attrs.as_path().asns().collect::<Vec<_>>());
    let kinds = |kind| {
        attrs
            .as_path()
            .segments()
            .filter(move |it| it.kind == kind)
            .count()
    };
    let shown: Vec<_> = path.segments().map(|it| it.to_string()).collect();
    let sets = shown.iter().filter(|it| it.starts_with("AS_SET")).count();
    prop_assert_eq!(sets, kinds(SegmentKind::Set), "{:?}", shown);
    prop_assert_eq!(
        shown.len() - sets,
        kinds(SegmentKind::Sequence),
        "{:?}",
        shown
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn updates(
        attrs in reflected(),
        v4 in vec(v4_prefix(), 1..100),
        v6 in vec(v6_prefix(), 1..100),
    ) {
        let encoding = ExportEncoding { extended_message: true, ..to_internal() };
        let stream = announce::<V4>(&outgoing(&attrs, next_hop_v4()), &encoding, &v4);
        let limits = Limits { extended_message: true, ..Limits::default() };
        prop_assert_eq!(frame(&stream, limits).unwrap().unwrap().wire_len(), stream.len());
        let v4 = v4.iter().map(ToString::to_string).collect::<Vec<_>>();
        check(&stream, Attrs::new(&attrs), &v4)?;
        let stream = announce::<V6>(&outgoing(&attrs, next_hop_v6(true)), &encoding, &v6);
        let v6 = v6.iter().map(ToString::to_string).collect::<Vec<_>>();
        check(&stream, Attrs::new(&attrs), &v6)?;
    }
}
