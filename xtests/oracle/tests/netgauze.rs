//! What we write, netgauze reads; what netgauze writes of it, we read as the same.

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::wire::{
    AddPathFamily, AddPathMode, AfiSafi, Capability, DecodeContext, ExportEncoding,
    ExtendedNextHopFamily, GracefulRestart, KEEPALIVE, Limits, Notification, Open, RefreshSubtype,
    RestartFamily, RouteRefresh, UpdateWriter, cease, code, frame, header, update_message,
};
use dunlin_net::{Afi, Asn, RouterId, V4, V6};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{reflected, v4_prefix, v6_prefix};
use wire_support::*;

const LIMITS: Limits = Limits {
    extended_message: true,
    enhanced_refresh: false,
};

/// Extended communities of lower types have a meaning (RFC 7153), of which netgauze writes back only what it knows.
const FIRST_WITHOUT_MEANING: u8 = 0x10;
const TYPE_BITS: u8 = 0x3f;

/// Reads every message of a stream with netgauze and writes it again.
#[track_caller]
fn through(mut stream: &[u8], four_octet_as: bool) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(message) = frame(stream, LIMITS).expect("the header is right") {
        let (bytes, rest) = stream.split_at(message.wire_len());
        stream = rest;
        let mut ctx = if four_octet_as {
            BgpParsingContext::default()
        } else {
            BgpParsingContext::asn2_default()
        };
        let read = BgpMessage::parse(&mut SliceReader::new(bytes), &mut ctx)
            .unwrap_or_else(|error| panic!("{error}: {bytes:x?}"));
        read.write(&mut out).expect("netgauze writes what it read");
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn updates(
        attrs in reflected().prop_filter("netgauze writes back a reading of its own", |attrs| {
            let mut extended = Attrs::new(attrs).extended_communities();
            extended.all(|community| community[0] & TYPE_BITS >= FIRST_WITHOUT_MEANING)
        }),
        v4 in vec(v4_prefix(), 1..100),
        v6 in vec(v6_prefix(), 1..100),
        four_octet_as: bool,
    ) {
        let encoding = ExportEncoding { extended_message: true, four_octet_as, ..to_internal() };
        let ctx = DecodeContext { four_octet_as, ..internal() };
        let mut stream = announce::<V4>(&outgoing(&attrs, next_hop_v4()), &encoding, &v4);
        stream.extend(announce::<V6>(&outgoing(&attrs, next_hop_v6(true)), &encoding, &v6));
        let ours = decode_stream(&ctx, &stream, LIMITS);
        let theirs = decode_stream(&ctx, &through(&stream, four_octet_as), LIMITS);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn withdrawals(v4 in vec(v4_prefix(), 1..100), v6 in vec(v6_prefix(), 1..100)) {
        let writer = UpdateWriter::with_limits(LIMITS);
        let mut stream = Vec::new();
        writer.withdraw::<V4>(v4, &mut stream);
        writer.withdraw::<V6>(v6, &mut stream);
        let ours = decode_stream(&internal(), &stream, LIMITS);
        prop_assert_eq!(ours, decode_stream(&internal(), &through(&stream, true), LIMITS));
    }
}

/// An OPEN with the capabilities both know.
fn open(asn: Asn, hold_time_secs: u16) -> Open {
    let mut open = Open::new(asn, hold_time_secs, RouterId([192, 0, 2, 1].into()));
    let families = Afi::ALL.map(AfiSafi::unicast);
    open.capabilities = vec![
        Capability::Multiprotocol(families[0]),
        Capability::Multiprotocol(families[1]),
        Capability::RouteRefresh,
        Capability::ExtendedNextHop(vec![ExtendedNextHopFamily {
            nlri: families[0],
            next_hop_afi: 2,
        }]),
        Capability::ExtendedMessage,
        Capability::FourOctetAs(asn),
        Capability::AddPath(vec![AddPathFamily {
            family: families[1],
            mode: AddPathMode::Both,
        }]),
        Capability::EnhancedRouteRefresh,
        Capability::GracefulRestart(GracefulRestart {
            restarting: true,
            notification: false,
            restart_time_secs: 120,
            families: families
                .map(|family| RestartFamily {
                    family,
                    forwarding: true,
                })
                .to_vec(),
        }),
    ];
    open
}

#[test]
fn the_small_messages() {
    for asn in [1, 65_535, 65_536, u32::MAX].map(Asn) {
        let ours = open(asn, 90);
        let mut stream = Vec::new();
        ours.encode(&mut stream);
        let theirs = through(&stream, true);
        assert_eq!(Open::parse(&theirs[19..]), Ok(ours));
    }
    let text = Notification::cease_with_text(cease::ADMIN_SHUTDOWN, "back soon");
    for notification in [
        Notification::new(code::HOLD_TIMER, 0),
        Notification::with_data(code::HEADER, header::BAD_LENGTH, &[0, 18]),
        Notification::with_data(
            code::UPDATE,
            update_message::INVALID_ORIGIN,
            &[0x40, 1, 1, 9],
        ),
        Notification::hard_reset(&text),
        text,
    ] {
        let mut stream = Vec::new();
        notification.encode(&mut stream);
        let theirs = through(&stream, true);
        assert_eq!(Notification::parse(&theirs[19..]), Ok(notification));
    }
    for subtype in [
        RefreshSubtype::Request,
        RefreshSubtype::Begin,
        RefreshSubtype::End,
    ] {
        let refresh = RouteRefresh {
            family: AfiSafi::unicast(Afi::Ipv6),
            subtype,
        };
        let mut stream = Vec::new();
        refresh.encode(&mut stream);
        let theirs = through(&stream, true);
        assert_eq!(RouteRefresh::parse(&theirs[19..], true), Ok(refresh));
    }
    assert_eq!(through(&KEEPALIVE, true), KEEPALIVE);
    for afi in Afi::ALL {
        let mut stream = Vec::new();
        UpdateWriter::end_of_rib(afi, &mut stream);
        let said = decode_stream(&internal(), &through(&stream, true), LIMITS);
        assert_eq!(said, [Said::EndOfRib(afi)]);
    }
}
