//! What it costs to read and to write an UPDATE of a hundred prefixes, beside the other codecs of crates.io that may be
//! linked here: `cargo bench -p dunlin-oracle`.
//!
//! Each codec reads the same octets, into whatever it makes of them, down to the last prefix and attribute; and writes from
//! what it made. routecore reads where one looks, so that everything is looked at; what it writes it takes from messages, so
//! that is left out. In rounds, every codec once a round; the median round counts.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use std::hint::black_box;
use std::time::Instant;

use bgpkit_parser::models::{AsnLength, BgpMessage as KitMessage};
use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
use bytes::Bytes;
use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::wire::{Limits, UpdateWriter, decode_update, encode_attrs, frame};
use dunlin_net::{Asn, V4};
use ipnet::Ipv4Net;
use netgauze_bgp_pkt::BgpMessage as GauzeMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use routecore::bgp::message::SessionConfig;
use routecore::bgp::message::update::UpdateMessage;
use rustbgpd_wire::update::{Ipv4UnicastMode, UpdateMessage as RustbgpdUpdate};
use rustbgpd_wire::{Message, decode_message, encode_message_with_limit};
use wire_support::{announce, internal, next_hop_v4, outgoing, to_internal};
use zettabgp::message::update::BgpUpdateMessage;
use zettabgp::prelude::{
    BgpCapability, BgpMessage as _, BgpMessageType, BgpSessionParams, BgpTransportMode,
};

const PREFIXES: usize = 100;
const ROUNDS: usize = 21;
/// Messages of one codec in a round.
const MESSAGES: u32 = 5_000;
const LIMITS: Limits = Limits {
    extended_message: false,
    enhanced_refresh: false,
};
const HEADER_OCTETS: usize = 19;

/// One thing that one codec does with one message.
struct Case<'a> {
    codec: &'static str,
    does: &'static str,
    once: Box<dyn FnMut() + 'a>,
    rounds_ns: Vec<f64>,
}

fn case<'a>(codec: &'static str, does: &'static str, once: impl FnMut() + 'a) -> Case<'a> {
    Case {
        codec,
        does,
        once: Box::new(once),
        rounds_ns: Vec::new(),
    }
}

fn attributes() -> Vec<u8> {
    AttrBuilder::originated(Origin::Igp)
        .as_path(&[64_512, 65_001, 4_200_000_001, 65_003, 65_004].map(Asn))
        .local_pref(100)
        .communities(&[65_001 << 16 | 7, 65_001 << 16 | 9])
        .build()
}

fn prefixes() -> Vec<Ipv4Net> {
    let net = |at: usize| format!("10.{}.{}.0/24", at / 256, at % 256);
    let parse = |at| net(at).parse().expect("a prefix");
    (0..PREFIXES).map(parse).collect()
}

fn dunlin<'a>(message: &'a [u8], attrs: &'a [u8], nets: &'a [Ipv4Net]) -> [Case<'a>; 2] {
    let ctx = internal();
    let mut batch = RouteBatch::default();
    let decode = move || {
        batch.clear();
        let read = frame(black_box(message), LIMITS)
            .expect("a header")
            .expect("whole");
        decode_update(&ctx, read.body, &mut batch).expect("an UPDATE");
        assert_eq!(black_box(&batch).nlri.v4.len(), PREFIXES);
    };
    let encoding = to_internal();
    let writer = UpdateWriter::new(&encoding);
    let (mut told, mut out) = (Vec::new(), Vec::new());
    let encode = move || {
        told.clear();
        out.clear();
        let route = outgoing(black_box(attrs), next_hop_v4());
        encode_attrs::<V4>(&route, &encoding, &mut told);
        let nets = black_box(nets).iter().copied();
        let written = writer.announce::<V4>(&told, &route.next_hop, nets, &mut out);
        assert_eq!(written, Ok(1));
        assert_eq!(black_box(&out).len(), message.len());
    };
    [
        case("Dunlin", "decode", decode),
        case("Dunlin", "encode", encode),
    ]
}

fn rustbgpd(message: &[u8]) -> [Case<'_>; 2] {
    let shared = Bytes::copy_from_slice(message);
    let read = move || {
        let Ok(Message::Update(update)) = decode_message(&mut shared.clone(), 4096) else {
            panic!("not an UPDATE");
        };
        let parsed = update.parse(true, false, &[]).expect("an UPDATE");
        assert_eq!(parsed.announced.len(), PREFIXES);
        parsed
    };
    let parsed = read();
    let encode = move || {
        let parsed = black_box(&parsed);
        let (announced, withdrawn) = (&parsed.announced, &parsed.withdrawn);
        let mode = Ipv4UnicastMode::Body;
        let built =
            RustbgpdUpdate::try_build(announced, withdrawn, &parsed.attributes, true, false, mode);
        let built = Message::Update(built.expect("it builds what it read"));
        let written = encode_message_with_limit(&built, 4096).expect("it writes what it built");
        assert_eq!(black_box(written).len(), message.len());
    };
    let decode = move || {
        black_box(read());
    };
    [
        case("rustbgpd-wire", "decode", decode),
        case("rustbgpd-wire", "encode", encode),
    ]
}

fn netgauze(message: &[u8]) -> [Case<'_>; 2] {
    let read = move || {
        let mut ctx = BgpParsingContext::default();
        GauzeMessage::parse(&mut SliceReader::new(black_box(message)), &mut ctx).expect("an UPDATE")
    };
    let GauzeMessage::Update(update) = read() else {
        panic!("not an UPDATE");
    };
    assert_eq!(update.nlri().len(), PREFIXES);
    let parsed = GauzeMessage::Update(update);
    let mut out = Vec::new();
    let encode = move || {
        out.clear();
        black_box(&parsed)
            .write(&mut out)
            .expect("it writes what it read");
        assert_eq!(black_box(&out).len(), message.len());
    };
    let decode = move || {
        black_box(read());
    };
    [
        case("netgauze-bgp-pkt", "decode", decode),
        case("netgauze-bgp-pkt", "encode", encode),
    ]
}

fn bgpkit(message: &[u8]) -> [Case<'_>; 2] {
    let shared = Bytes::copy_from_slice(message);
    let read = move || {
        parse_bgp_message(&mut shared.clone(), false, &AsnLength::Bits32).expect("an UPDATE")
    };
    let parsed = read();
    let KitMessage::Update(update) = &parsed else {
        panic!("not an UPDATE");
    };
    assert_eq!(update.announced_prefixes.len(), PREFIXES);
    let encode = move || {
        let written = black_box(&parsed).encode(AsnLength::Bits32);
        assert_eq!(
            black_box(written).expect("it writes what it read").len(),
            message.len()
        );
    };
    let decode = move || {
        black_box(read());
    };
    [
        case("bgpkit-parser", "decode", decode),
        case("bgpkit-parser", "encode", encode),
    ]
}

fn zettabgp(message: &[u8]) -> [Case<'_>; 2] {
    let params = || {
        let capabilities = vec![BgpCapability::SafiIPv4u, BgpCapability::CapASN32(64_512)];
        let id = std::net::Ipv4Addr::new(192, 0, 2, 1);
        let mut params =
            BgpSessionParams::new(64_512, 180, BgpTransportMode::IPv4, id, capabilities);
        params.has_as32bit = true;
        params
    };
    let (reading, writing) = (params(), params());
    let read = move || {
        let (kind, octets) = reading
            .decode_message_head(black_box(message))
            .expect("a header");
        assert!(kind == BgpMessageType::Update);
        let mut update = BgpUpdateMessage::new();
        let body = &message[HEADER_OCTETS..HEADER_OCTETS + octets];
        update.decode_from(&reading, body).expect("an UPDATE");
        update
    };
    let parsed = read();
    let mut out = vec![0; 4096];
    let encode = move || {
        let octets = black_box(&parsed).encode_to(&writing, &mut out[HEADER_OCTETS..]);
        let octets = octets.expect("it writes what it read");
        let whole = writing.prepare_message_buf(&mut out, BgpMessageType::Update, octets);
        // It writes some attributes longer than need be.
        assert!(whole.expect("it has room") >= message.len());
    };
    let decode = move || {
        black_box(read());
    };
    [
        case("zettabgp", "decode", decode),
        case("zettabgp", "encode", encode),
    ]
}

fn routecore(message: &[u8]) -> Case<'_> {
    let config = SessionConfig::modern();
    case("routecore", "decode", move || {
        let update = UpdateMessage::from_octets(black_box(message), &config).expect("an UPDATE");
        let attributes = update.path_attributes().expect("attributes");
        assert_eq!(attributes.into_iter().filter(Result::is_ok).count(), 5);
        let nets = update.announcements().expect("prefixes");
        assert_eq!(black_box(nets.filter(Result::is_ok).count()), PREFIXES);
    })
}

fn main() {
    let (attrs, nets) = (attributes(), prefixes());
    let route = outgoing(&attrs, next_hop_v4());
    assert_eq!(Attrs::new(&attrs).as_path().asns().count(), 5);
    let message = announce::<V4>(&route, &to_internal(), &nets);
    let mut cases: Vec<Case<'_>> = Vec::new();
    cases.extend(dunlin(&message, &attrs, &nets));
    cases.extend(rustbgpd(&message));
    cases.extend(netgauze(&message));
    cases.extend(bgpkit(&message));
    cases.extend(zettabgp(&message));
    cases.push(routecore(&message));
    for _ in 0..ROUNDS {
        for case in &mut cases {
            let begun = Instant::now();
            for _ in 0..MESSAGES {
                (case.once)();
            }
            let took = begun.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES);
            case.rounds_ns.push(took);
        }
    }
    println!(
        "An UPDATE of {PREFIXES} prefixes, {} octets: µs a message, median of {ROUNDS} rounds of {MESSAGES}\n",
        message.len()
    );
    for does in ["decode", "encode"] {
        let mut ours = None;
        for case in cases.iter_mut().filter(|case| case.does == does) {
            case.rounds_ns.sort_by(f64::total_cmp);
            let median_us = case.rounds_ns[ROUNDS / 2] / 1e3;
            let of_ours = median_us / *ours.get_or_insert(median_us);
            println!("{does}  {:<18}{median_us:>8.2}{of_ours:>8.1} ×", case.codec);
        }
    }
}
