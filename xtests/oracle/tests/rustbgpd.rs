//! What we write, rustbgpd reads and writes the same; malformed attributes get the same class (RFC 7606).

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use dunlin_bgp::attrs::{Attrs, SegmentKind, code};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::wire::{DecodeContext, Disposition, ExportEncoding, Limits, frame};
use dunlin_net::{V4, V6};
use proptest::collection::vec;
use proptest::prelude::*;
use rustbgpd_wire::update::{Ipv4UnicastMode, UpdateMessage};
use rustbgpd_wire::validate::{ErrorDisposition, validate_update_attributes};
use rustbgpd_wire::{Message, decode_message, encode_message_with_limit};
use wire_support::strategies::{reflected, v4_prefix, v6_prefix};
use wire_support::*;

const LIMITS: Limits = Limits {
    extended_message: true,
    enhanced_refresh: false,
};

/// Reads every UPDATE of a stream with rustbgpd and writes it again from the values read.
fn through(mut stream: &[u8], four_octet_as: bool) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(message) = frame(stream, LIMITS).expect("the header is right") {
        let (bytes, rest) = stream.split_at(message.wire_len());
        stream = rest;
        let mut buf = bytes.to_vec().into();
        let read = decode_message(&mut buf, u16::MAX).expect("rustbgpd reads it");
        let Message::Update(update) = read else {
            panic!("not an UPDATE: {bytes:x?}");
        };
        let parsed = update
            .parse(four_octet_as, false, &[])
            .expect("rustbgpd parses it");
        let mode = Ipv4UnicastMode::Body;
        let again = UpdateMessage::try_build(
            &parsed.announced,
            &parsed.withdrawn,
            &parsed.attributes,
            four_octet_as,
            false,
            mode,
        )
        .expect("rustbgpd builds what it parsed");
        let written = encode_message_with_limit(&Message::Update(again), u16::MAX);
        out.extend_from_slice(&written.expect("rustbgpd writes what it built"));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn updates(
        attrs in reflected(),
        v4 in vec(v4_prefix(), 1..100),
        v6 in vec(v6_prefix(), 1..100),
    ) {
        // It refuses AS_SET (RFC 9774), which we still take.
        let mut segments = Attrs::new(&attrs).as_path().segments();
        prop_assume!(segments.all(|it| it.kind == SegmentKind::Sequence));
        let encoding = ExportEncoding { extended_message: true, ..to_internal() };
        let mut stream = announce::<V4>(&outgoing(&attrs, next_hop_v4()), &encoding, &v4);
        stream.extend(announce::<V6>(&outgoing(&attrs, next_hop_v6(true)), &encoding, &v6));
        let ours = decode_stream(&internal(), &stream, LIMITS);
        let theirs = decode_stream(&internal(), &through(&stream, true), LIMITS);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn withdrawals(v4 in vec(v4_prefix(), 1..100), v6 in vec(v6_prefix(), 1..100)) {
        let writer = dunlin_bgp::wire::UpdateWriter::with_limits(LIMITS);
        let mut stream = Vec::new();
        writer.withdraw::<V4>(v4, &mut stream);
        writer.withdraw::<V6>(v6, &mut stream);
        let ours = decode_stream(&internal(), &stream, LIMITS);
        prop_assert_eq!(ours, decode_stream(&internal(), &through(&stream, true), LIMITS));
    }
}

/// Ours: `None` for a session reset.
fn ours(ctx: &DecodeContext, body: &[u8]) -> Option<Disposition> {
    let judged = decode(ctx, body).map(|(judgement, ..)| judgement.disposition);
    judged.ok()
}

/// Theirs, of parsing and of validating.
fn theirs(ctx: &DecodeContext, body: &[u8]) -> Option<Disposition> {
    let internal = ctx.peer_type == PeerType::Internal;
    let update = UpdateMessage::decode(&mut &*body, body.len()).ok()?;
    let parsed = update.parse_revised(true, internal, false, &[]).ok()?;
    let mut worst = parsed.malformed.iter().map(|it| it.disposition).max();
    // What is missing after a malformed attribute was left out is no error of its own.
    if worst < Some(ErrorDisposition::TreatAsWithdraw) {
        let announced = !parsed.update.announced.is_empty();
        let attrs = &parsed.update.attributes;
        if let Err(error) = validate_update_attributes(attrs, announced, announced, !internal) {
            worst = worst.max(Some(error.disposition));
        }
    }
    match worst {
        None => Some(Disposition::Ok),
        Some(ErrorDisposition::AttributeDiscard) => Some(Disposition::AttributeDiscard),
        Some(ErrorDisposition::TreatAsWithdraw) => Some(Disposition::TreatAsWithdraw),
        Some(ErrorDisposition::SessionReset) => None,
    }
}

/// Where the two differ by intent.
fn differs_by_intent(ctx: &DecodeContext, code: u8, variant: &[u8]) -> bool {
    let external = ctx.peer_type == PeerType::External;
    match code {
        // It leaves these to the session when they come from outside.
        code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST => external,
        // It treats AS_SET as withdrawal (RFC 9774); we still take it.
        code::AS_PATH => variant.get(3) == Some(&(SegmentKind::Set as u8)),
        // It asks for NEXT_HOP from external peers alone; RFC 4271 5.1.3 makes it mandatory.
        code::NEXT_HOP => variant.is_empty() && !external,
        _ => false,
    }
}

#[test]
fn malformed_attributes_get_the_same_class() {
    let good: &[(u8, u8, &[u8])] = &[
        (0x40, 1, &[0]),
        (0x40, 2, &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea]),
        (0x40, 3, &[192, 0, 2, 1]),
        (0x80, 4, &[0, 0, 0, 7]),
        (0x40, 5, &[0, 0, 0, 200]),
        (0x40, 6, &[]),
        (0xc0, 7, &[0, 0, 0xfd, 0xe9, 192, 0, 2, 9]),
        (0xc0, 8, &[0xfd, 0xe9, 0, 1]),
        (0x80, 9, &[192, 0, 2, 9]),
        (0x80, 10, &[192, 0, 2, 9]),
        (0xc0, 16, &[0, 2, 0xfd, 0xe9, 0, 0, 0, 1]),
        (0xc0, 32, &[0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2]),
    ];
    let mut differ = Vec::new();
    let mut cases = 0;
    for ctx in [internal(), external()] {
        for (flags, code, value) in good {
            let mut variants = Vec::new();
            for flip in [0, 0x40, 0x80, 0xc0] {
                variants.push(attr(flags ^ flip, *code, value));
            }
            for len in 0..=value.len() + 4 {
                let mut value = value.to_vec();
                value.resize(len, 0);
                variants.push(attr(*flags, *code, &value));
            }
            for at in 0..value.len() {
                for octet in [0, 1, 2, 3, 127, 224, 255] {
                    let mut value = value.to_vec();
                    value[at] = octet;
                    variants.push(attr(*flags, *code, &value));
                }
            }
            variants.push(Vec::new());
            let first = attr(*flags, *code, value);
            variants.push([first.clone(), first].concat());
            for variant in variants {
                let mut attrs = vec![origin(), as_path(), next_hop()];
                if ctx.peer_type == PeerType::Internal {
                    attrs.push(attr(0x40, 5, &[0, 0, 0, 100]));
                }
                attrs.retain(|it| it[1] != *code);
                attrs.push(variant.clone());
                let body = update(&[], &attrs, NLRI);
                cases += 1;
                let (ours, theirs) = (ours(&ctx, &body), theirs(&ctx, &body));
                if ours != theirs && !differs_by_intent(&ctx, *code, &variant) {
                    differ.push((ctx.peer_type, variant, ours, theirs));
                }
            }
        }
    }
    assert!(cases > 500);
    assert!(
        differ.is_empty(),
        "{} of {cases} differ: {differ:x?}",
        differ.len()
    );
}
