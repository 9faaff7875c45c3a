//! How long a prefix takes through the codec: 1,000,000 prefixes, ten to an attribute set of a four-AS path and two
//! communities. Run with `cargo run --profile bench-fast -p dunlin-bgp --example decode_rate`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Digest, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::wire::{
    DecodeContext, ExportEncoding, Limits, Outgoing, UpdateWriter, decode_update, encode_attrs,
    frame,
};
use dunlin_net::{Asn, Family, PerFamily, V4, V6};

const SETS: u32 = 100_000;
const PREFIXES_PER_SET: u32 = 10;
const ROUNDS: usize = 9;

/// A family's prefixes and next hop for the run.
trait Sample: Family {
    const NEXT_HOP: NextHop;
    fn prefix(index: u32) -> Self::Net;
}

impl Sample for V4 {
    const NEXT_HOP: NextHop = NextHop {
        addr: std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        link_local: None,
        interface: 0,
    };

    fn prefix(index: u32) -> Self::Net {
        V4::net(Ipv4Addr::from(0x1000_0000 + index * 256), 24).expect("24 is a length")
    }
}

impl Sample for V6 {
    const NEXT_HOP: NextHop = NextHop {
        addr: std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        link_local: None,
        interface: 0,
    };

    fn prefix(index: u32) -> Self::Net {
        let bits = (0x2a00_u128 << 112) | (u128::from(index) << 80);
        V6::net(Ipv6Addr::from(bits), 48).expect("48 is a length")
    }
}

fn main() {
    run::<V4>();
    run::<V6>();
}

fn run<F: Sample + dunlin_bgp::batch::BatchFamily>() {
    let sets: Vec<Vec<u8>> = (0..SETS)
        .map(|index| {
            AttrBuilder::originated(Origin::Igp)
                .as_path(&[Asn(65_001), Asn(65_002), Asn(1_000_000 + index)])
                .communities(&[65_001 << 16 | index & 0xffff, 65_001 << 16 | index >> 16])
                .build()
        })
        .collect();
    let (encode, stream) = best(|| encode::<F>(&sets));
    let (decode, decoded) = best(|| decode(&stream));
    assert_eq!(decoded, SETS * PREFIXES_PER_SET);
    let (digest, _) = best(|| digests(&sets));
    let per_prefix = |time: Duration| time.as_nanos() / u128::from(SETS * PREFIXES_PER_SET);
    println!(
        "{}: decode {} ns, encode {} ns, digest {} ns per prefix; {} octets",
        F::AFI,
        per_prefix(decode),
        per_prefix(encode),
        per_prefix(digest),
        stream.len()
    );
}

/// The shortest of some rounds, and what the work gave.
fn best<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best = Duration::MAX;
    let mut last = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let value = black_box(work());
        best = best.min(start.elapsed());
        last = Some(value);
    }
    (best, last.expect("there is at least one round"))
}

fn encode<F: Sample>(sets: &[Vec<u8>]) -> Vec<u8> {
    let encoding = ExportEncoding {
        peer_type: PeerType::External,
        local_asn: Asn(65_000),
        prepend_local_asn: true,
        four_octet_as: true,
        extended_message: false,
        add_path: PerFamily::default(),
        extended_next_hop: false,
    };
    let writer = UpdateWriter::new(&encoding);
    let mut out = Vec::with_capacity(32 << 20);
    let mut attrs = Vec::new();
    for (set, index) in sets.iter().zip(0..) {
        attrs.clear();
        let route = Outgoing {
            attrs: Attrs::new(set),
            next_hop: F::NEXT_HOP,
            keep_med: false,
            reflection: None,
        };
        encode_attrs::<F>(&route, &encoding, &mut attrs);
        let first = index * PREFIXES_PER_SET;
        let prefixes = (first..first + PREFIXES_PER_SET).map(F::prefix);
        writer
            .announce::<F>(&attrs, &F::NEXT_HOP, prefixes, &mut out)
            .expect("short attributes fit");
    }
    out
}

fn decode(mut stream: &[u8]) -> u32 {
    let ctx = DecodeContext {
        peer_type: PeerType::External,
        four_octet_as: true,
        families: PerFamily { v4: true, v6: true },
        add_path: PerFamily::default(),
        extended_next_hop: false,
        enforce_first_as: Some(Asn(65_000)),
        interface: 0,
        hash_seed: 1,
    };
    let mut batch = RouteBatch::default();
    let mut announced = 0;
    while let Ok(Some(message)) = frame(stream, Limits::default()) {
        let judged = decode_update(&ctx, message.body, &mut batch).expect("the stream is good");
        announced += judged.announced;
        stream = &stream[message.wire_len()..];
        if batch.is_full() {
            black_box(&batch);
            batch.clear();
        }
    }
    assert!(matches!(
        batch.items.last(),
        None | Some(BatchItem::Announce { .. })
    ));
    announced
}

fn digests(sets: &[Vec<u8>]) -> u32 {
    sets.iter()
        .map(|set| u32::from(black_box(Digest::of(Attrs::new(set))).as_path_len))
        .sum()
}
