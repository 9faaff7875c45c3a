//! The fields of an UPDATE.

use super::Told;
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

impl Told {
    pub(super) fn read(&mut self, message: &[u8]) {
        // The marks around what is told again say nothing of routes.
        if message[18] == 5 {
            return;
        }
        assert_eq!(message[18], 2, "an UPDATE");
        let body = &message[19..];
        let number = |at: &[u8]| usize::from(u16::from_be_bytes([at[0], at[1]]));
        let (withdrawn, body) = body[2..].split_at(number(body));
        let (attrs, nlri) = body[2..].split_at(number(body));
        let (withdrawn, announced) = (nets(withdrawn), nets(nlri));
        let by_type = attributes(attrs);
        if let Some(med) = by_type.get(&4) {
            self.meds
                .push(u32::from_be_bytes(med[..].try_into().unwrap()));
        }
        let communities = by_type.get(&8).into_iter().flat_map(|all| all.chunks(4));
        let numbers = communities.map(|one| u32::from_be_bytes(one.try_into().unwrap()));
        self.communities.extend(numbers);
        let other_family = by_type.get(&15).is_some_and(|unreach| unreach.len() > 3);
        if withdrawn.is_empty() && announced.is_empty() && !other_family {
            self.ends += 1;
            return;
        }
        self.updates += 1;
        self.withdrawn.extend(withdrawn);
        self.announced.extend(announced);
    }
}
