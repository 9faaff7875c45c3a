use dunlin_net::{Asn, RouterId};

use super::*;
use crate::policy::{AttrEdits, CommunityValue};

fn asns(range: std::ops::RangeInclusive<u32>) -> Vec<Asn> {
    range.map(Asn).collect()
}

#[test]
fn prepending_fills_the_leading_sequence_before_it_opens_another() {
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path(&asns(1..=254))
        .prepend(Asn(9), 3)
        .build();
    let path = Attrs::new(&bytes).as_path();
    let counts: Vec<_> = path
        .segments()
        .map(|segment| segment.asns().len())
        .collect();
    assert_eq!(counts, [2, 255]);
    assert_eq!(path.path_len(), 257);
    assert_eq!(path.neighbour(), Some(Asn(9)));
    assert_eq!(path.origin(), Some(Asn(254)));
    assert_eq!(path.count(Asn(9)), 4);
}

#[test]
fn prepending_to_nothing_or_to_a_set_opens_a_sequence() {
    let empty = AttrBuilder::originated(Origin::Igp);
    let bytes = empty.clone().prepend(Asn(9), 1).build();
    assert_eq!(Attrs::new(&bytes).as_path().to_string(), "9");
    let bytes = empty.clone().prepend(Asn(9), 0).build();
    assert!(Attrs::new(&bytes).as_path().is_empty());
    let bytes = empty
        .as_path_segments(&[(SegmentKind::Set, &asns(1..=2))])
        .prepend(Asn(9), 2)
        .build();
    assert_eq!(Attrs::new(&bytes).as_path().to_string(), "9 9 {1,2}");
}

#[test]
fn a_set_counts_one_and_has_no_neighbour() {
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path_segments(&[
            (SegmentKind::Set, &asns(1..=3)),
            (SegmentKind::Sequence, &asns(4..=5)),
        ])
        .build();
    let path = Attrs::new(&bytes).as_path();
    assert_eq!(path.path_len(), 3);
    assert_eq!(path.neighbour(), None);
    assert_eq!(path.origin(), Some(Asn(5)));
    assert!(path.contains(Asn(2)));
    assert!(!path.starts_with(&[Asn(1)]));
    assert!(path.starts_with(&[]));
}

#[test]
fn a_path_begins_with_its_nearest_across_segments() {
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path_segments(&[
            (SegmentKind::Sequence, &asns(1..=2)),
            (SegmentKind::Sequence, &asns(3..=4)),
        ])
        .build();
    let path = Attrs::new(&bytes).as_path();
    assert!(path.starts_with(&asns(1..=3)));
    assert!(!path.starts_with(&asns(2..=3)));
    assert!(!path.starts_with(&asns(1..=5)));
}

#[test]
fn a_digest_says_what_the_view_says() {
    let bytes = AttrBuilder::originated(Origin::Egp)
        .as_path(&asns(7..=9))
        .med(3)
        .local_pref(150)
        .communities(&[0xffff_ff01, 0xffff_0000, 5])
        .originator_id(RouterId([1, 2, 3, 4].into()))
        .cluster_list(&[RouterId([5, 6, 7, 8].into()), RouterId([5, 6, 7, 9].into())])
        .build();
    let digest = Digest::of(Attrs::new(&bytes));
    let expected = Digest {
        local_pref: Some(150),
        med: Some(3),
        neighbour_as: Some(Asn(7)),
        originator_id: Some(RouterId([1, 2, 3, 4].into())),
        as_path_len: 3,
        cluster_list_len: 2,
        origin: Origin::Egp,
        well_known: WellKnown::NO_EXPORT | WellKnown::GRACEFUL_SHUTDOWN,
    };
    assert_eq!(digest, expected);
    assert!(digest.well_known.contains(WellKnown::NO_EXPORT));
    assert!(!digest.well_known.contains(WellKnown::NO_ADVERTISE));
    assert_eq!(Digest::of(Attrs::default()), Digest::default());
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let before = AttrBuilder::originated(Origin::Igp)
        .as_path(&asns(1..=2))
        .communities(&[1])
        .unknown(99, &[1, 2, 3])
        .build();
    let attrs = Attrs::new(&before);
    assert_eq!(apply_edits(attrs, &AttrEdits::default()), before);
    let edits = AttrEdits {
        local_pref: Some(300),
        med: Some(4),
        prepend: Some((Asn(9), 2)),
        add_communities: vec![
            CommunityValue::Standard(1),
            CommunityValue::Standard(2),
            CommunityValue::Large(1, 2, 3),
        ],
    };
    let after = apply_edits(attrs, &edits);
    let expected = AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(9), Asn(9), Asn(1), Asn(2)])
        .med(4)
        .local_pref(300)
        .communities(&[1, 2])
        .large_communities(&[[1, 2, 3]])
        .unknown(99, &[1, 2, 3])
        .build();
    assert_eq!(after, expected);
    assert_eq!(
        apply_edits(Attrs::new(&after), &edits).len(),
        after.len() + 8
    );
}

#[test]
fn built_attributes_are_sorted_and_long_ones_have_long_lengths() {
    let many: Vec<u32> = (0..100).collect();
    let bytes = AttrBuilder::default()
        .large_communities(&[[1, 2, 3]])
        .communities(&many)
        .origin(Origin::Incomplete)
        .as_path(&[])
        .build();
    let heads: Vec<_> = Attrs::new(&bytes)
        .iter()
        .map(|attr| (attr.flags, attr.code))
        .collect();
    assert_eq!(heads, [(0x40, 1), (0x40, 2), (0xd0, 8), (0xc0, 32)]);
    assert!(Attrs::new(&bytes).communities().eq(many));
}

#[test]
fn an_attribute_no_message_could_carry_is_not_made() {
    let many: Vec<u32> = (0..20_000).collect();
    let bytes = AttrBuilder::originated(Origin::Igp)
        .communities(&many)
        .unknown(99, &vec![0; 65_536])
        .build();
    let attrs = Attrs::new(&bytes);
    assert_eq!(attrs.communities().len(), 65_535 / 4);
    assert!(attrs.get(99).is_none());
}

#[test]
fn equal_attributes_with_unequal_next_hops_hash_apart() {
    let bytes = AttrBuilder::originated(Origin::Igp).build();
    let one = NextHop::new([192, 0, 2, 1].into());
    let two = NextHop::new([192, 0, 2, 2].into());
    assert_eq!(hash(1, &bytes, &one), hash(1, &bytes, &one));
    assert_ne!(hash(1, &bytes, &one), hash(1, &bytes, &two));
    assert_ne!(hash(1, &bytes, &one), hash(2, &bytes, &one));
}
