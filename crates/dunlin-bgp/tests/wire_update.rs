//! UPDATEs: what is encoded for a peer is what the peer decodes, in as few messages as fit.

mod wire_support;

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin, Tlvs};
use dunlin_bgp::batch::BatchFamily;
use dunlin_bgp::wire::{DecodeContext, ExportEncoding, Limits, Outgoing, UpdateWriter, frame};
use dunlin_net::{V4, V6};
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{asn, reflected, v4_prefix, v6_prefix};
use wire_support::*;

fn limits(encoding: &ExportEncoding) -> Limits {
    Limits {
        extended_message: encoding.extended_message,
        ..Limits::default()
    }
}

/// Encodes, decodes, and expects the prefixes in order with these attributes.
fn round_trip<F: BatchFamily>(
    route: &Outgoing<'_>,
    encoding: &ExportEncoding,
    ctx: &DecodeContext,
    nets: &[F::Net],
    expected: &[u8],
) -> Result<(), TestCaseError> {
    let stream = announce::<F>(route, encoding, nets);
    let said = decode_stream(ctx, &stream, limits(encoding));
    prop_assert_eq!(said.len(), nets.len());
    for (said, net) in said.into_iter().zip(nets) {
        let hop = route.next_hop;
        prop_assert_eq!(said, Said::Announce((*net).into(), hop, expected.to_vec()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn routes_reach_an_internal_peer_unchanged(
        attrs in reflected(),
        v4 in vec(v4_prefix(), 0..300),
        v6 in vec(v6_prefix(), 0..300),
        extended_message: bool,
        four_octet_as: bool,
        link_local: bool,
    ) {
        let encoding = ExportEncoding { extended_message: true, four_octet_as, ..to_internal() };
        let ctx = DecodeContext { four_octet_as, ..internal() };
        let expected = partial(&attrs);
        let small = ExportEncoding { extended_message, ..encoding };
        // Long AS paths need extended messages.
        let encoding = if attrs.len() > 2000 { encoding } else { small };
        round_trip::<V4>(&outgoing(&attrs, next_hop_v4()), &encoding, &ctx, &v4, &expected)?;
        round_trip::<V6>(&outgoing(&attrs, next_hop_v6(link_local)), &encoding, &ctx, &v6, &expected)?;
        let ctx = DecodeContext { extended_next_hop: true, ..ctx };
        round_trip::<V4>(&outgoing(&attrs, next_hop_v6(link_local)), &encoding, &ctx, &v4, &expected)?;
    }

    #[test]
    fn external_peers_see_the_local_as_first_and_nothing_of_the_own_as(
        attrs in reflected(),
        nets in vec(v4_prefix(), 1..50),
        four_octet_as: bool,
        keep_med: bool,
        local_asn in asn(),
    ) {
        let encoding = ExportEncoding { extended_message: true, four_octet_as, local_asn, ..to_external() };
        let ctx = DecodeContext { four_octet_as, enforce_first_as: Some(local_asn), ..external() };
        let route = Outgoing { keep_med, ..outgoing(&attrs, next_hop_v4()) };
        let prepended = AttrBuilder::from_attrs(Attrs::new(&attrs)).prepend(local_asn, 1).build();
        let expected: Vec<u8> = Tlvs::new(&partial(&prepended))
            .filter(|it| ![5, 9, 10].contains(&it.code) && (keep_med || it.code != 4))
            .flat_map(|it| attr(it.flags, it.code, it.value))
            .collect();
        round_trip::<V4>(&route, &encoding, &ctx, &nets, &expected)?;
    }

    #[test]
    fn the_order_and_the_length_encoding_of_attributes_do_not_matter(
        attrs in reflected(),
        order in any::<u64>(),
        extended in any::<u32>(),
    ) {
        let mut list: Vec<_> = Tlvs::new(&attrs)
            .map(|it| {
                let long = extended >> (it.code & 31) & 1 != 0;
                attr(it.flags | if long { 0x10 } else { 0 }, it.code, it.value)
            })
            .collect();
        list.push(next_hop());
        list.sort_by_key(|it| (u64::from(it[1]) + 1).wrapping_mul(order | 1));
        let (judgement, said, _) = decode(&internal(), &update(&[], &list, &[8, 10])).unwrap();
        prop_assert_eq!(judgement.findings.as_slice(), []);
        prop_assert_eq!(said, [Said::Announce(net("10.0.0.0/8"), next_hop_v4(), attrs)]);
    }

    #[test]
    fn withdrawals_arrive_in_order(v4 in vec(v4_prefix(), 0..3000), v6 in vec(v6_prefix(), 0..1000), extended_message: bool) {
        let limits = Limits { extended_message, ..Limits::default() };
        let writer = UpdateWriter::with_limits(limits);
        let mut out = Vec::new();
        let messages = writer.withdraw::<V4>(v4.iter().copied(), &mut out)
            + writer.withdraw::<V6>(v6.iter().copied(), &mut out);
        prop_assert_eq!(count_messages(&out, limits), messages);
        let said = decode_stream(&external(), &out, limits);
        let expected: Vec<_> = v4.into_iter().map(Into::into)
            .chain(v6.into_iter().map(Into::into))
            .map(Said::Withdraw)
            .collect();
        prop_assert_eq!(said, expected);
    }

    #[test]
    fn no_message_has_room_for_the_next_prefix(nets in vec(v4_prefix(), 1..3000), communities in vec(any::<u32>(), 0..900)) {
        let attrs = AttrBuilder::originated(Origin::Igp).communities(&communities).build();
        for next_hop in [next_hop_v4(), next_hop_v6(false)] {
            let stream = announce::<V4>(&outgoing(&attrs, next_hop), &to_internal(), &nets);
            let ctx = DecodeContext { extended_next_hop: true, ..internal() };
            let mut rest = stream.as_slice();
            let mut told = 0;
            while let Some(message) = frame(rest, Limits::default()).unwrap() {
                let (judgement, ..) = decode(&ctx, message.body).unwrap();
                told += judgement.announced as usize;
                if let Some(next) = nets.get(told) {
                    let octets = 1 + usize::from(next.prefix_len().div_ceil(8));
                    prop_assert!(message.wire_len() + octets > 4096);
                }
                rest = &rest[message.wire_len()..];
            }
            prop_assert_eq!(told, nets.len());
        }
    }
}

fn count_messages(mut stream: &[u8], limits: Limits) -> usize {
    let mut count = 0;
    while let Some(message) = frame(stream, limits).expect("the header is right") {
        count += 1;
        stream = &stream[message.wire_len()..];
    }
    count
}
