//! UPDATEs: what is encoded for a peer is what the peer decodes, in as few messages as fit.

mod wire_support;

use dunlin_bgp::attrs::{Aggregator, AttrBuilder, Attrs, Origin, SegmentKind, Tlvs};
use dunlin_bgp::batch::BatchFamily;
use dunlin_bgp::wire::{
    DecodeContext, ExportEncoding, Limits, Outgoing, UpdateWriter, encode_attrs, frame,
};
use dunlin_net::{Asn, Family, RouterId, V4, V6};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire_support::*;

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65_535_u32, 1..=u32::MAX].prop_map(Asn)
}

fn router_id() -> impl Strategy<Value = RouterId> {
    any::<u32>().prop_map(|id| RouterId(id.into()))
}

fn segment() -> impl Strategy<Value = (SegmentKind, Vec<Asn>)> {
    let kind = prop_oneof![
        4 => Just(SegmentKind::Sequence),
        1 => Just(SegmentKind::Set)
    ];
    let few = vec(asn(), 1..5);
    let many = vec(asn(), 250..=255);
    (kind, prop_oneof![8 => few, 1 => many])
}

prop_compose! {
    fn builder()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        path in vec(segment(), 0..4),
        med in option::of(any::<u32>()),
        local_pref in any::<u32>(),
        atomic in any::<bool>(),
        aggregator in option::of((asn(), router_id())),
        communities in vec(any::<u32>(), 0..100),
        extended in vec(any::<[u8; 8]>(), 0..5),
        large in vec(any::<[u32; 3]>(), 0..30),
        unknown in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..3),
    ) -> AttrBuilder {
        let path: Vec<_> = path.iter().map(|(kind, asns)| (*kind, asns.as_slice())).collect();
        let mut builder = AttrBuilder::originated(origin)
            .as_path_segments(&path)
            .local_pref(local_pref)
            .communities(&communities)
            .extended_communities(&extended)
            .large_communities(&large);
        if let Some(med) = med {
            builder = builder.med(med);
        }
        if atomic {
            builder = builder.atomic_aggregate();
        }
        if let Some((asn, router_id)) = aggregator {
            builder = builder.aggregator(Aggregator { asn, router_id });
        }
        for (code, value) in unknown {
            builder = builder.unknown(code, &value);
        }
        builder
    }
}

prop_compose! {
    fn reflected()(
        builder in builder(),
        ids in option::of((router_id(), vec(router_id(), 1..80))),
    ) -> Vec<u8> {
        match ids {
            Some((originator, clusters)) => {
                builder.originator_id(originator).cluster_list(&clusters).build()
            }
            None => builder.build(),
        }
    }
}

/// What the attributes become on their way: unknown ones get the partial flag.
fn partial(bytes: &[u8]) -> Vec<u8> {
    let unknown: Vec<_> = Attrs::new(bytes).unknown().map(|attr| attr.code).collect();
    Tlvs::new(bytes)
        .flat_map(|it| {
            let partial = if unknown.contains(&it.code) { 0x20 } else { 0 };
            attr(it.flags | partial, it.code, it.value)
        })
        .collect()
}

fn v4_prefix() -> impl Strategy<Value = dunlin_net::Ipv4Net> {
    (any::<u32>(), 0..=32_u8)
        .prop_map(|(addr, len)| V4::net(addr.into(), len).expect("a length"))
        .prop_filter("multicast", |net| !net.addr().is_multicast())
}

fn v6_prefix() -> impl Strategy<Value = dunlin_net::Ipv6Net> {
    (any::<u128>(), 0..=128_u8)
        .prop_map(|(addr, len)| V6::net(addr.into(), len).expect("a length"))
        .prop_filter("multicast", |net| !net.addr().is_multicast())
}

/// All messages that tell the prefixes.
fn announce<F: Family>(
    route: &Outgoing<'_>,
    encoding: &ExportEncoding,
    nets: &[F::Net],
) -> Vec<u8> {
    let mut attrs = Vec::new();
    encode_attrs::<F>(route, encoding, &mut attrs);
    let mut out = Vec::new();
    UpdateWriter::new(encoding)
        .announce::<F>(&attrs, &route.next_hop, nets.iter().copied(), &mut out)
        .expect("the attributes leave room");
    out
}

fn limits(encoding: &ExportEncoding) -> Limits {
    Limits {
        extended_message: encoding.extended_message,
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
        let limits = Limits { extended_message };
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
