//! What a peer announces, as a session hands it over.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dunlin_bgp::attrs::{self, AttrBuilder, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_net::{Afi, Ipv4Net};

/// One UPDATE with these prefixes; an internal peer adds LOCAL_PREF. `seed` is that of the core.
pub(crate) fn announce(
    seed: u64,
    nets: Vec<Ipv4Net>,
    next_hop: Ipv4Addr,
    local_pref: Option<u32>,
) -> RouteBatch {
    let mut builder = AttrBuilder::originated(Origin::Igp);
    if let Some(local_pref) = local_pref {
        builder = builder.local_pref(local_pref);
    }
    let bytes = builder.build();
    let next_hop = NextHop::new(IpAddr::V4(next_hop));
    let mut batch = RouteBatch::default();
    batch.items.push(BatchItem::Announce {
        afi: Afi::Ipv4,
        attrs: 0..u32::try_from(bytes.len()).unwrap(),
        hash: attrs::hash(seed, &bytes, &next_hop),
        next_hop,
        nlri: 0..u32::try_from(nets.len()).unwrap(),
    });
    batch.attr_bytes = bytes;
    batch.nlri.v4 = nets;
    batch
}

/// The IPv4 prefixes of a field.
pub(super) fn nets(mut octets: &[u8]) -> Vec<Ipv4Net> {
    let mut nets = Vec::new();
    while let Some((&length, rest)) = octets.split_first() {
        let (bytes, rest) = rest.split_at(usize::from(length).div_ceil(8));
        let mut addr = [0; 4];
        addr[..bytes.len()].copy_from_slice(bytes);
        nets.push(Ipv4Net::new(addr.into(), length).unwrap());
        octets = rest;
    }
    nets
}

/// The path attributes by type.
pub(super) fn attributes(mut octets: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut found = BTreeMap::new();
    while let [flags, kind, rest @ ..] = octets {
        let (length, rest) = if flags & 0x10 != 0 {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            (length, &rest[2..])
        } else {
            (usize::from(rest[0]), &rest[1..])
        };
        let (value, rest) = rest.split_at(length);
        found.insert(*kind, value.to_vec());
        octets = rest;
    }
    found
}
