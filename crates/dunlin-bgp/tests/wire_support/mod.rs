//! Messages built octet by octet, and batches read back as lists.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part")]

pub mod strategies;

use std::net::Ipv4Addr;

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin, Tlvs};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::wire::{
    DecodeContext, ExportEncoding, Fault, Limits, MessageType, Outgoing, UpdateJudgement,
    UpdateWriter, decode_update, encode_attrs, frame,
};
use dunlin_net::{Afi, Asn, Family, IpNet, PerFamily};

/// A session with a four-octet internal peer, both families.
pub fn internal() -> DecodeContext {
    DecodeContext {
        peer_type: PeerType::Internal,
        four_octet_as: true,
        families: PerFamily { v4: true, v6: true },
        add_path: PerFamily::default(),
        extended_next_hop: false,
        enforce_first_as: None,
        interface: 0,
        hash_seed: 7,
    }
}

/// The same with an external peer.
pub fn external() -> DecodeContext {
    DecodeContext {
        peer_type: PeerType::External,
        ..internal()
    }
}

/// Toward four-octet internal peers.
pub fn to_internal() -> ExportEncoding {
    ExportEncoding {
        peer_type: PeerType::Internal,
        local_asn: Asn(65_000),
        prepend_local_asn: false,
        four_octet_as: true,
        extended_message: false,
        add_path: PerFamily::default(),
        extended_next_hop: false,
    }
}

/// Toward four-octet external peers.
pub fn to_external() -> ExportEncoding {
    ExportEncoding {
        peer_type: PeerType::External,
        prepend_local_asn: true,
        ..to_internal()
    }
}

/// One attribute; two octets of length if the flags say so.
pub fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![flags, code];
    if flags & 0x10 == 0 {
        out.push(u8::try_from(value.len()).expect("the value is short"));
    } else {
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(value);
    out
}

/// The body of an UPDATE.
pub fn update(withdrawn: &[u8], attrs: &[Vec<u8>], nlri: &[u8]) -> Vec<u8> {
    let attrs = attrs.concat();
    let mut out = (withdrawn.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(withdrawn);
    out.extend_from_slice(&(attrs.len() as u16).to_be_bytes());
    out.extend_from_slice(&attrs);
    out.extend_from_slice(nlri);
    out
}

/// A message of any type and length.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

pub fn origin() -> Vec<u8> {
    attr(0x40, 1, &[0])
}

/// The AS path 65001 65002.
pub fn as_path() -> Vec<u8> {
    attr(0x40, 2, &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea])
}

pub fn next_hop() -> Vec<u8> {
    attr(0x40, 3, &[192, 0, 2, 1])
}

/// The canonical form of [`origin`] and [`as_path`].
pub fn base_attrs() -> Vec<u8> {
    AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65_001), Asn(65_002)])
        .build()
}

/// 10.1.0.0/16 and 10.2.3.0/24.
pub const NLRI: &[u8] = &[16, 10, 1, 24, 10, 2, 3];

/// MP_REACH_NLRI of 2001:db8::/32 by 2001:db8::1.
pub fn mp_reach() -> Vec<u8> {
    let mut value = vec![0, 2, 1, 16, 0x20, 0x01, 0x0d, 0xb8];
    value.extend_from_slice(&[0; 11]);
    value.extend_from_slice(&[1, 0, 32, 0x20, 0x01, 0x0d, 0xb8]);
    attr(0x80, 14, &value)
}

/// What a batch says, spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Announce(IpNet, NextHop, Vec<u8>),
    Withdraw(IpNet),
    EndOfRib(Afi),
}

pub fn said(batch: &RouteBatch) -> Vec<Said> {
    let nets = |afi: Afi, range: &std::ops::Range<u32>| -> Vec<IpNet> {
        let range = range.start as usize..range.end as usize;
        match afi {
            Afi::Ipv4 => batch.nlri.v4[range].iter().map(|n| (*n).into()).collect(),
            Afi::Ipv6 => batch.nlri.v6[range].iter().map(|n| (*n).into()).collect(),
        }
    };
    let mut out = Vec::new();
    for item in &batch.items {
        match item {
            BatchItem::Announce {
                afi,
                attrs,
                hash,
                next_hop,
                nlri,
            } => {
                let bytes = &batch.attr_bytes[attrs.start as usize..attrs.end as usize];
                assert_eq!(*hash, dunlin_bgp::attrs::hash(7, bytes, next_hop));
                for net in nets(*afi, nlri) {
                    out.push(Said::Announce(net, *next_hop, bytes.to_vec()));
                }
            }
            BatchItem::Withdraw { afi, nlri } => {
                out.extend(nets(*afi, nlri).into_iter().map(Said::Withdraw));
            }
            BatchItem::EndOfRib(afi) => out.push(Said::EndOfRib(*afi)),
        }
    }
    out
}

/// Decodes one UPDATE body into an empty batch.
pub fn decode(
    ctx: &DecodeContext,
    body: &[u8],
) -> Result<(UpdateJudgement, Vec<Said>, RouteBatch), Fault> {
    let mut batch = RouteBatch::default();
    let judgement = decode_update(ctx, body, &mut batch)?;
    Ok((judgement, said(&batch), batch))
}

/// Decodes a stream of whole UPDATEs, each good.
pub fn decode_stream(ctx: &DecodeContext, mut stream: &[u8], limits: Limits) -> Vec<Said> {
    let mut batch = RouteBatch::default();
    while let Some(message) = frame(stream, limits).expect("the header is right") {
        assert_eq!(message.kind, MessageType::Update);
        let judgement = decode_update(ctx, message.body, &mut batch).expect("the UPDATE is good");
        assert_eq!(judgement.findings.as_slice(), [], "{:x?}", message.body);
        stream = &stream[message.wire_len()..];
    }
    assert!(stream.is_empty(), "half a message is left");
    said(&batch)
}

/// The type codes of encoded attributes.
pub fn codes(bytes: &[u8]) -> Vec<u8> {
    Tlvs::new(bytes).map(|attr| attr.code).collect()
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("the test names a prefix")
}

pub fn next_hop_v4() -> NextHop {
    NextHop::new(Ipv4Addr::new(192, 0, 2, 1).into())
}

pub fn next_hop_v6(link_local: bool) -> NextHop {
    NextHop {
        addr: "2001:db8::1".parse().expect("an address"),
        link_local: link_local.then(|| "fe80::1".parse().expect("an address")),
        interface: 0,
    }
}

pub fn outgoing(attrs: &[u8], next_hop: NextHop) -> Outgoing<'_> {
    Outgoing {
        attrs: Attrs::new(attrs),
        next_hop,
        keep_med: true,
        reflection: None,
    }
}

/// What the attributes become on their way: unknown ones get the partial flag.
pub fn partial(bytes: &[u8]) -> Vec<u8> {
    let unknown: Vec<_> = Attrs::new(bytes).unknown().map(|attr| attr.code).collect();
    Tlvs::new(bytes)
        .flat_map(|it| {
            let partial = if unknown.contains(&it.code) { 0x20 } else { 0 };
            attr(it.flags | partial, it.code, it.value)
        })
        .collect()
}

/// All messages that tell the prefixes.
pub fn announce<F: Family>(
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
