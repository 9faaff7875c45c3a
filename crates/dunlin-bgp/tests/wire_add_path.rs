//! Path identifiers in UPDATEs (RFC 7911 3): what is encoded is what the peer decodes, and one that is cut off is refused as
//! the prefix it belongs to would be.

mod wire_support;

use dunlin_bgp::attrs::{AttrBuilder, Origin};
use dunlin_bgp::batch::{BatchFamily, NextHop, RouteBatch};
use dunlin_bgp::wire::{DecodeContext, Limits, UpdateWriter, decode_update, encode_attrs, frame};
use dunlin_net::{PerFamily, V4, V6};
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{v4_prefix, v6_prefix};
use wire_support::*;

const BOTH: PerFamily<bool> = PerFamily { v4: true, v6: true };

fn several() -> DecodeContext {
    DecodeContext {
        add_path: BOTH,
        extended_next_hop: true,
        ..internal()
    }
}

/// Decodes a stream of good UPDATEs; the prefixes of the family with their identifiers, and how many messages.
fn paths<F: BatchFamily>(mut stream: &[u8], announced: bool) -> (Vec<(u32, F::Net)>, usize) {
    let mut batch = RouteBatch::default();
    let mut messages = 0;
    while let Some(message) = frame(stream, Limits::default()).expect("the header is right") {
        let judgement = decode_update(&several(), message.body, &mut batch).expect("it is good");
        assert_eq!(judgement.findings.as_slice(), []);
        assert_eq!(judgement.announced > 0, announced);
        stream = &stream[message.wire_len()..];
        messages += 1;
    }
    let ids = batch.path_ids.get(F::AFI);
    assert_eq!(ids.len(), F::nlri(&batch).len());
    (
        ids.iter()
            .copied()
            .zip(F::nlri(&batch).iter().copied())
            .collect(),
        messages,
    )
}

fn announced<F: BatchFamily>(next_hop: NextHop, told: &[(u32, F::Net)]) -> Vec<u8> {
    let attrs = base_attrs();
    let mut encoded = Vec::new();
    encode_attrs::<F>(&outgoing(&attrs, next_hop), &to_internal(), &mut encoded);
    let mut stream = Vec::new();
    UpdateWriter::new(&to_internal())
        .announce_paths::<F>(&encoded, &next_hop, told.iter().copied(), &mut stream)
        .expect("there is room");
    stream
}

fn round_trip<F: BatchFamily>(
    next_hop: NextHop,
    told: &[(u32, F::Net)],
) -> Result<(), TestCaseError> {
    let stream = announced::<F>(next_hop, told);
    prop_assert_eq!(paths::<F>(&stream, true).0, told);
    let mut withdrawn = Vec::new();
    let messages =
        UpdateWriter::new(&to_internal()).withdraw_paths::<F>(told.iter().copied(), &mut withdrawn);
    prop_assert_eq!(paths::<F>(&withdrawn, false), (told.to_vec(), messages));
    // No message but the last of its kind has room for the longest path.
    for stream in [stream, withdrawn] {
        let mut rest = stream.as_slice();
        while let Some(message) = frame(rest, Limits::default()).expect("the header is right") {
            rest = &rest[message.wire_len()..];
            let longest = 4 + 1 + usize::from(F::BITS / 8);
            prop_assert!(rest.is_empty() || message.wire_len() + longest > 4096);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn paths_arrive_with_their_identifiers_in_order(
        v4 in vec((any::<u32>(), v4_prefix()), 0..1500),
        v6 in vec((any::<u32>(), v6_prefix()), 0..500),
        link_local: bool,
    ) {
        round_trip::<V4>(next_hop_v4(), &v4)?;
        round_trip::<V4>(next_hop_v6(link_local), &v4)?;
        round_trip::<V6>(next_hop_v6(link_local), &v6)?;
    }

    #[test]
    fn one_that_is_cut_off_resets_the_session_and_leaves_nothing(
        told in vec((any::<u32>(), v4_prefix()), 1..5),
        cut in 1..9usize,
    ) {
        let mut nlri = Vec::new();
        for (id, net) in &told {
            nlri.extend_from_slice(&id.to_be_bytes());
            let octets = usize::from(net.prefix_len().div_ceil(8));
            nlri.push(net.prefix_len());
            nlri.extend_from_slice(&net.addr().octets()[..octets]);
        }
        let last = 5 + usize::from(told[told.len() - 1].1.prefix_len().div_ceil(8));
        let cut = 1 + cut % (last - 1).max(1);
        nlri.truncate(nlri.len() - cut.min(last - 1));
        let mut batch = RouteBatch::default();
        for body in [
            update(&nlri, &[], &[]),
            update(&[], &[origin(), as_path(), next_hop()], &nlri),
        ] {
            let fault = decode_update(&several(), &body, &mut batch).expect_err("it is cut off");
            prop_assert_eq!((fault.notification.code, fault.notification.subcode), (3, 10));
            prop_assert_eq!(&batch, &RouteBatch::default());
        }
    }
}

#[test]
fn a_prefix_that_is_ignored_takes_its_identifier_with_it() {
    // 224.0.0.0/8 with 7, 10.0.0.0/8 with 8.
    let nlri = [0, 0, 0, 7, 8, 224, 0, 0, 0, 8, 8, 10];
    let body = update(&[], &[origin(), as_path(), next_hop()], &nlri);
    let (judgement, said, batch) = decode(&several(), &body).expect("it is good");
    assert_eq!((judgement.ignored, judgement.announced), (1, 1));
    assert_eq!(
        said,
        [Said::Announce(
            net("10.0.0.0/8"),
            next_hop_v4(),
            base_attrs()
        )]
    );
    assert_eq!(batch.path_ids.v4, [8]);
}

#[test]
fn each_family_is_read_as_it_was_negotiated() {
    let ctx = DecodeContext {
        add_path: PerFamily {
            v4: true,
            v6: false,
        },
        ..internal()
    };
    let nlri = [0, 0, 0, 9, 8, 10];
    let body = update(&[], &[mp_reach(), origin(), as_path(), next_hop()], &nlri);
    let (_, _, batch) = decode(&ctx, &body).expect("it is good");
    assert_eq!((batch.nlri.v4.len(), batch.nlri.v6.len()), (1, 1));
    assert_eq!(
        batch.path_ids,
        PerFamily {
            v4: vec![9],
            v6: vec![]
        }
    );
}

#[test]
fn end_of_rib_is_what_it_was() {
    let mut stream = Vec::new();
    UpdateWriter::end_of_rib(dunlin_net::Afi::Ipv4, &mut stream);
    UpdateWriter::end_of_rib(dunlin_net::Afi::Ipv6, &mut stream);
    let said = decode_stream(&several(), &stream, Limits::default());
    let afis = dunlin_net::Afi::ALL.map(Said::EndOfRib);
    assert_eq!(said, afis);
}

#[test]
fn attributes_that_leave_room_for_a_prefix_but_not_for_its_identifier_are_too_long() {
    let fits = |communities: u32, several: bool| {
        let list: Vec<u32> = (0..communities).collect();
        let attrs = AttrBuilder::originated(Origin::Igp)
            .communities(&list)
            .build();
        let mut encoded = Vec::new();
        encode_attrs::<V4>(
            &outgoing(&attrs, next_hop_v4()),
            &to_internal(),
            &mut encoded,
        );
        let writer = UpdateWriter::new(&to_internal());
        let told = match several {
            false => writer.announce::<V4>(&encoded, &next_hop_v4(), None, &mut Vec::new()),
            true => writer.announce_paths::<V4>(&encoded, &next_hop_v4(), None, &mut Vec::new()),
        };
        told.is_ok()
    };
    let most = |several| (0..1200).rev().find(|&count| fits(count, several));
    assert_eq!(most(false), most(true).map(|count| count + 1));
}
