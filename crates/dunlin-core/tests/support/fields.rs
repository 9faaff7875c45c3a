//! The fields of an UPDATE.

use std::collections::BTreeMap;

use dunlin_net::Ipv4Net;

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
