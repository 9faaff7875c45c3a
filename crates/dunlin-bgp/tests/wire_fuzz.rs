//! Any octets into every decoder: no panic, bounded output, and what is read can be written and read again.
//!
//! The functions without `#[test]` are the bodies of the fuzz targets under `fuzz/`, too.

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Digest, Tlvs, apply_edits, code};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::{AttrEdits, CommunityValue, PeerType};
use dunlin_bgp::wire::{
    DecodeContext, Disposition, ExportEncoding, Fault, Limits, MessageType, Notification, Open,
    Outgoing, Reflection, RouteRefresh, UpdateJudgement, UpdateWriter, decode_update, encode_attrs,
    frame,
};
use dunlin_net::{Afi, Asn, PerFamily, RouterId, V4, V6};

fn context(four_octet_as: bool, peer_type: PeerType, add_path: bool) -> DecodeContext {
    DecodeContext {
        peer_type,
        four_octet_as,
        families: PerFamily { v4: true, v6: true },
        add_path: PerFamily {
            v4: add_path,
            v6: add_path,
        },
        extended_next_hop: true,
        enforce_first_as: None,
        interface: 0,
        hash_seed: 1,
    }
}

fn encoding(four_octet_as: bool, peer_type: PeerType) -> ExportEncoding {
    ExportEncoding {
        peer_type,
        local_asn: Asn(4_200_000_000),
        prepend_local_asn: peer_type == PeerType::External,
        four_octet_as,
        extended_message: true,
        add_path: PerFamily::default(),
        extended_next_hop: false,
    }
}

fn next_hop() -> NextHop {
    NextHop::new([192, 0, 2, 1].into())
}

/// A fault's NOTIFICATION is a message the peer can read, and can be shown.
fn check_fault(fault: &Fault) {
    assert!(matches!(fault.notification.code, 1..=3 | 7), "{fault}");
    assert!(!fault.to_string().is_empty());
    let mut out = Vec::new();
    fault.notification.encode(&mut out);
    let message = frame(&out, Limits::default())
        .expect("our header is right")
        .expect("our message is whole");
    let read = Notification::parse(message.body).expect("our body is right");
    assert_eq!(read, fault.notification);
}

/// A stream as a session reads it: frame after frame, each into its decoder.
pub fn fuzz_stream(mut data: &[u8]) {
    let limits = Limits {
        extended_message: true,
        enhanced_refresh: true,
    };
    loop {
        let message = match frame(data, limits) {
            Ok(Some(message)) => message,
            Ok(None) => return assert!(data.len() < 65_535),
            Err(fault) => return check_fault(&fault),
        };
        match message.kind {
            MessageType::Open => fuzz_open(message.body),
            MessageType::Update => fuzz_update(message.body),
            MessageType::Notification => fuzz_notification(message.body),
            MessageType::RouteRefresh => match RouteRefresh::parse(message.body, true) {
                Ok(refresh) => {
                    let mut out = Vec::new();
                    refresh.encode(&mut out);
                    assert_eq!(out[19..], *message.body);
                }
                Err(fault) => return check_fault(&fault),
            },
            MessageType::Keepalive => assert!(message.body.is_empty()),
        }
        data = &data[message.wire_len()..];
    }
}

/// The body of an OPEN.
pub fn fuzz_open(body: &[u8]) {
    match Open::parse(body) {
        Ok(open) => {
            let mut out = Vec::new();
            open.encode(&mut out);
            assert!(out.len() <= 4096);
            let again = Open::parse(&out[19..]).expect("our OPEN is right");
            assert_eq!(again.asn, open.asn);
            // Only a message fuller than ours can be drops capabilities.
            if body.len() < 4000 {
                assert_eq!(again, open);
            }
            open.families();
            open.graceful_restart();
        }
        Err(fault) => check_fault(&fault),
    }
}

/// The body of a NOTIFICATION.
pub fn fuzz_notification(body: &[u8]) {
    if let Ok(notification) = Notification::parse(body) {
        assert!(!notification.to_string().contains(char::is_control));
        notification.shutdown_text();
        notification.inner();
        let mut out = Vec::new();
        notification.encode(&mut out);
        let kept = (out.len() - 19).min(body.len());
        assert_eq!(out[19..], body[..kept]);
    }
}

/// The body of an UPDATE, from peers of every kind.
pub fn fuzz_update(body: &[u8]) {
    for (four_octet_as, add_path) in [(true, false), (false, true), (true, true)] {
        for peer_type in [PeerType::Internal, PeerType::External] {
            let ctx = context(four_octet_as, peer_type, add_path);
            let mut batch = RouteBatch::default();
            match decode_update(&ctx, body, &mut batch) {
                Ok(judgement) => check_batch(&ctx, body, &judgement, &batch),
                Err(fault) => {
                    assert_eq!(batch, RouteBatch::default());
                    check_fault(&fault);
                }
            }
        }
    }
}

fn check_batch(ctx: &DecodeContext, body: &[u8], judgement: &UpdateJudgement, batch: &RouteBatch) {
    let told = batch.nlri.v4.len() + batch.nlri.v6.len();
    assert_eq!(told as u32, judgement.announced + judgement.withdrawn);
    let ids = batch.path_ids.v4.len() + batch.path_ids.v6.len();
    assert_eq!(ids, if ctx.add_path.v4 { told } else { 0 });
    assert!(told <= body.len() && batch.items.len() <= 4);
    assert!(batch.attr_bytes.len() <= 2 * body.len() + 16);
    let worst = judgement.findings.iter().map(|it| it.disposition).max();
    if judgement.findings.len() < UpdateJudgement::MAX_FINDINGS {
        assert_eq!(judgement.disposition, worst.unwrap_or(Disposition::Ok));
    }
    for item in &batch.items {
        let (afi, nlri) = match item {
            BatchItem::Announce {
                afi, attrs, nlri, ..
            } => {
                let bytes = &batch.attr_bytes[attrs.start as usize..attrs.end as usize];
                check_canonical(ctx, bytes);
                (afi, nlri)
            }
            BatchItem::Withdraw { afi, nlri } => (afi, nlri),
            BatchItem::EndOfRib(_) => continue,
        };
        let len = match afi {
            Afi::Ipv4 => batch.nlri.v4.len(),
            Afi::Ipv6 => batch.nlri.v6.len(),
        };
        assert!(nlri.start < nlri.end && nlri.end as usize <= len);
    }
}

/// Canonical bytes are whole, sorted, and survive being told to a peer and read back.
fn check_canonical(ctx: &DecodeContext, bytes: &[u8]) {
    let attrs = Attrs::new(bytes);
    let codes: Vec<u8> = attrs.iter().map(|attr| attr.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    for gone in [
        code::NEXT_HOP,
        code::MP_REACH_NLRI,
        code::MP_UNREACH_NLRI,
        code::AS4_PATH,
        code::AS4_AGGREGATOR,
    ] {
        assert!(!codes.contains(&gone));
    }
    assert_eq!(AttrBuilder::from_attrs(attrs).build(), bytes);
    assert!(attrs.origin().is_some() && attrs.get(code::AS_PATH).is_some());
    let encoding = encoding(ctx.four_octet_as, PeerType::Internal);
    let route = Outgoing {
        attrs,
        next_hop: next_hop(),
        keep_med: true,
        reflection: None,
    };
    let mut encoded = Vec::new();
    encode_attrs::<V4>(&route, &encoding, &mut encoded);
    let mut stream = Vec::new();
    let net = "10.0.0.0/8".parse().expect("a prefix");
    let writer = UpdateWriter::new(&encoding);
    if writer
        .announce::<V4>(&encoded, &next_hop(), [net], &mut stream)
        .is_err()
    {
        return;
    }
    let ctx = context(ctx.four_octet_as, PeerType::Internal, false);
    let mut batch = RouteBatch::default();
    let judgement = decode_update(&ctx, &stream[19..], &mut batch).expect("ours is good");
    assert_eq!(judgement.findings.as_slice(), []);
    // All the same but for the LOCAL_PREF that internal peers always get and the partial flag.
    let plain = |bytes: &[u8]| -> Vec<(u8, u8, Vec<u8>)> {
        Tlvs::new(bytes)
            .filter(|attr| attr.code != code::LOCAL_PREF)
            .map(|attr| (attr.flags | 0x20, attr.code, attr.value.to_vec()))
            .collect()
    };
    assert_eq!(plain(&batch.attr_bytes), plain(bytes));
}

/// Any octets taken for canonical attributes.
pub fn fuzz_attrs(bytes: &[u8]) {
    let attrs = Attrs::new(bytes);
    let digest = Digest::of(attrs);
    if attrs
        .iter()
        .map(|attr| attr.code)
        .is_sorted_by(|a, b| a < b)
    {
        assert_eq!(digest.med, attrs.med());
        assert_eq!(digest.local_pref, attrs.local_pref());
        assert_eq!(digest.as_path_len, attrs.as_path().path_len());
        assert_eq!(digest.neighbour_as, attrs.as_path().neighbour());
    }
    let path = attrs.as_path();
    let first = path.asns().next().unwrap_or(Asn(1));
    assert_eq!(path.contains(first), path.asns().next().is_some());
    assert!(path.starts_with(&[]));
    let _ = (path.origin(), path.is_empty(), path.to_string());
    let _ = (
        attrs.aggregator(),
        attrs.atomic_aggregate(),
        attrs.originator_id(),
    );
    let _ = format!("{attrs:?}");
    let listed = attrs.communities().len() * 4
        + attrs.extended_communities().len() * 8
        + attrs.large_communities().map(|_| 12).sum::<usize>()
        + attrs.cluster_list().len() * 4
        + attrs.unknown().map(|attr| attr.value.len()).sum::<usize>();
    assert!(listed <= bytes.len());
    let edits = AttrEdits {
        local_pref: Some(1),
        med: Some(2),
        prepend: Some((Asn(3), 255)),
        add_communities: vec![CommunityValue::Standard(4), CommunityValue::Large(5, 6, 7)],
    };
    let edited = apply_edits(attrs, &edits);
    assert_eq!(Attrs::new(&edited).local_pref(), Some(1));
    assert_eq!(Attrs::new(&edited).med(), Some(2));
    for four_octet_as in [true, false] {
        for peer_type in [PeerType::Internal, PeerType::External] {
            let route = Outgoing {
                attrs,
                next_hop: next_hop(),
                keep_med: false,
                reflection: Some(Reflection {
                    originator_id: RouterId([1, 1, 1, 1].into()),
                    cluster_id: RouterId([2, 2, 2, 2].into()),
                }),
            };
            let encoding = encoding(four_octet_as, peer_type);
            let mut out = Vec::new();
            encode_attrs::<V4>(&route, &encoding, &mut out);
            encode_attrs::<V6>(&route, &encoding, &mut out);
        }
    }
}

/// Good messages for mutations to start from.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    let mut add = |message: &[u8]| corpus.push(message.to_vec());
    add(&dunlin_bgp::wire::KEEPALIVE);
    let mut out = Vec::new();
    Notification::hard_reset(&Notification::cease_with_text(2, "good bye")).encode(&mut out);
    add(&out);
    out = message(5, &[0, 2, 0, 1]);
    add(&out);
    // AS 65001 with capabilities 1, 2, 5, 6, 9, 64, 65, 69, 70, 71 and one unknown, in both formats.
    let capabilities = [
        &[
            1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 5, 6, 0, 1, 0, 1, 0, 2, 6, 0, 9, 1, 3,
        ][..],
        &[
            64, 10, 0x40, 120, 0, 1, 1, 0x80, 0, 2, 1, 0, 65, 4, 0, 0, 0xfd, 0xe9,
        ],
        &[
            69, 4, 0, 1, 1, 3, 70, 0, 71, 7, 0, 1, 1, 0x80, 0, 14, 16, 73, 2, 1, b'a',
        ],
    ]
    .concat();
    let len = capabilities.len() as u8;
    let fixed = [4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1];
    add(&message(
        1,
        &[&fixed[..], &[len + 2, 2, len], &capabilities].concat(),
    ));
    let extended = [
        &fixed[..],
        &[255, 255, 0, len + 3, 2, 0, len],
        &capabilities,
    ]
    .concat();
    add(&message(1, &extended));

    let attrs = AttrBuilder::originated(dunlin_bgp::attrs::Origin::Igp)
        .as_path(&[Asn(65_001), Asn(70_000), Asn(65_003)])
        .prepend(Asn(9), 2)
        .med(5)
        .local_pref(200)
        .atomic_aggregate()
        .communities(&[0xffff_ff01, 0xfde9_0001])
        .extended_communities(&[[0, 2, 0xfd, 0xe9, 0, 0, 0, 1]])
        .large_communities(&[[1, 2, 3], [4, 5, 6]])
        .originator_id(RouterId([1, 2, 3, 4].into()))
        .cluster_list(&[RouterId([5, 6, 7, 8].into())])
        .unknown(99, &[1, 2, 3])
        .build();
    let v6 = NextHop {
        addr: "2001:db8::1".parse().expect("an address"),
        link_local: Some("fe80::1".parse().expect("an address")),
        interface: 0,
    };
    let v4_nets = ["10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/0"].map(|it| it.parse().expect("a net"));
    let v6_nets = ["2001:db8::/32", "::/0", "fd00::1/128"].map(|it| it.parse().expect("a net"));
    for four_octet_as in [true, false] {
        let encoding = encoding(four_octet_as, PeerType::Internal);
        let writer = UpdateWriter::new(&encoding);
        for next_hop in [next_hop(), v6] {
            let route = Outgoing {
                attrs: Attrs::new(&attrs),
                next_hop,
                keep_med: true,
                reflection: None,
            };
            let (mut encoded, mut out) = (Vec::new(), Vec::new());
            encode_attrs::<V4>(&route, &encoding, &mut encoded);
            let told = writer.announce::<V4>(&encoded, &next_hop, v4_nets, &mut out);
            assert_eq!(told, Ok(1));
            add(&out);
            out = Vec::new();
            let paths = (1..).zip(v4_nets);
            let told = writer.announce_paths::<V4>(&encoded, &next_hop, paths, &mut out);
            assert_eq!(told, Ok(1));
            add(&out);
            (encoded, out) = (Vec::new(), Vec::new());
            encode_attrs::<V6>(&route, &encoding, &mut encoded);
            let told = writer.announce::<V6>(&encoded, &v6, v6_nets, &mut out);
            assert_eq!(told, Ok(1));
            writer.withdraw::<V6>(v6_nets, &mut out);
            writer.withdraw::<V4>(v4_nets, &mut out);
            UpdateWriter::end_of_rib(Afi::Ipv6, &mut out);
            add(&out);
            out = Vec::new();
            writer.withdraw_paths::<V6>((1..).zip(v6_nets), &mut out);
            add(&out);
        }
    }
    corpus
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// A small generator of its own, so that a failure can be run again by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Changes a few octets behind the header; lengths in the message are kept or mended at random.
fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    const BODY: usize = 19;
    for _ in 0..=random.below(4) {
        let at = BODY + random.below(message.len() - BODY);
        match random.below(6) {
            _ if at >= message.len() => message.push(random.below(256) as u8),
            0 => message[at] ^= 1 << random.below(8),
            1 => message[at] = [0, 1, 4, 0x10, 0x7f, 0x80, 0xff][random.below(7)],
            2 => message[at] = random.below(256) as u8,
            3 => message.insert(at, random.below(256) as u8),
            4 => drop(message.remove(at)),
            _ => {
                let end = (at + 1 + random.below(16)).min(message.len());
                let copy = message[at..end].to_vec();
                let to = BODY + random.below(message.len() - BODY);
                message.splice(to..to, copy);
            }
        }
    }
    if random.below(8) > 0 {
        let len = message.len() as u16;
        message[16..18].copy_from_slice(&len.to_be_bytes());
    }
}

#[test]
fn the_corpus_itself_is_good() {
    for message in corpus() {
        let first = frame(&message, Limits::default())
            .expect("the header is right")
            .expect("it is whole");
        let good = match first.kind {
            MessageType::Open => Open::parse(first.body).is_ok(),
            MessageType::Update => [(true, false), (false, false), (true, true)]
                .into_iter()
                .any(|(four_octet_as, add_path)| {
                    let ctx = context(four_octet_as, PeerType::Internal, add_path);
                    decode_update(&ctx, first.body, &mut RouteBatch::default())
                        .is_ok_and(|judgement| judgement.findings.is_empty())
                }),
            _ => true,
        };
        assert!(good, "{message:x?}");
        fuzz_stream(&message);
    }
}

#[test]
fn mutated_messages_hurt_nothing() {
    let corpus = corpus();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..40_000 {
        let mut message = corpus[random.below(corpus.len())].clone();
        mutate(&mut message, &mut random);
        fuzz_stream(&message);
        if message.len() > 19 {
            // Without the header's checks, and as attributes.
            fuzz_open(&message[19..]);
            fuzz_notification(&message[19..]);
            fuzz_attrs(message.get(23..).unwrap_or(&[]));
        }
    }
}

#[test]
fn cut_messages_hurt_nothing() {
    for message in corpus() {
        for len in 0..message.len() {
            fuzz_stream(&message[..len]);
            if let Some(body) = message[..len].get(19..) {
                fuzz_open(body);
                fuzz_update(body);
                fuzz_notification(body);
                fuzz_attrs(body);
            }
        }
    }
}
