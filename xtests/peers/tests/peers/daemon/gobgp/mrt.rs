//! Many routes at once: a dump of a table as GoBGP reads it (RFC 6396, TABLE_DUMP_V2).

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use dunlin_net::Afi;
use ipnet::IpNet;

use crate::daemon::Daemon;
use crate::scenario::Announce;

const TABLE_DUMP_V2: u16 = 13;
const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;

/// IPv4 routes that say no more than their prefix.
pub(super) fn dump(routes: &[&Announce]) -> Result<Vec<u8>> {
    let IpAddr::V4(hop) = Daemon::own(Afi::Ipv4) else {
        bail!("the next hop is IPv4");
    };
    let mut file = Vec::new();
    // No name; one peer, with a number of four octets and an IPv4 address, both nothing.
    let mut peers = hop.octets().to_vec();
    peers.extend([0, 0, 0, 1, 2]);
    peers.extend([Ipv4Addr::UNSPECIFIED.octets(); 3].concat());
    record(&mut file, PEER_INDEX_TABLE, &peers)?;
    // ORIGIN igp, an empty AS_PATH, NEXT_HOP.
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
    attributes.extend(hop.octets());
    for (sequence, route) in (0u32..).zip(routes) {
        let IpNet::V4(net) = route.prefix else {
            bail!("{} is not IPv4", route.prefix);
        };
        let octets = usize::from(net.prefix_len()).div_ceil(8);
        let mut body = sequence.to_be_bytes().to_vec();
        body.push(net.prefix_len());
        body.extend(&net.network().octets()[..octets]);
        // One entry, of peer 0, at time 0.
        body.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        body.extend(u16::try_from(attributes.len())?.to_be_bytes());
        body.extend(&attributes);
        record(&mut file, RIB_IPV4_UNICAST, &body)?;
    }
    Ok(file)
}

fn record(file: &mut Vec<u8>, subtype: u16, body: &[u8]) -> Result<()> {
    file.extend([0; 4]);
    file.extend(TABLE_DUMP_V2.to_be_bytes());
    file.extend(subtype.to_be_bytes());
    file.extend(u32::try_from(body.len())?.to_be_bytes());
    file.extend(body);
    Ok(())
}
