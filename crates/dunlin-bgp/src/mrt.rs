//! Routing tables as MRT dumps (RFC 6396, TABLE_DUMP_V2; RFC 8050 for paths with identifiers).
//!
//! As all here that others read: routes as they stand in the table, AS numbers in four octets.

use std::net::IpAddr;
use std::time::Duration;

use dunlin_net::{Afi, AsOctets, Asn, Family, RouterId};

use crate::attrs::{Attrs, code};
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::wire::{ExportEncoding, Outgoing, encode_attrs, is_classic};

/// The type of all records here.
const TABLE_DUMP_V2: u16 = 13;

/// Its subtypes (RFC 6396 4.3, RFC 8050 4).
mod subtype {
    pub(super) const PEER_INDEX_TABLE: u16 = 1;
    pub(super) const RIB_IPV4_UNICAST: u16 = 2;
    pub(super) const RIB_IPV6_UNICAST: u16 = 4;
    pub(super) const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
    pub(super) const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;
}

/// Most peers of one dump: their places have 16 bits.
pub const PEERS_MAX: usize = u16::MAX as usize;

/// Someone whose routes are in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The address.
    pub addr: IpAddr,
    /// The BGP identifier.
    pub router_id: RouterId,
    /// The AS.
    pub asn: Asn,
}

/// A path of a prefix.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The place of its peer in the dump's table of peers.
    pub peer: u16,
    /// The identifier it came with (RFC 7911), if its session carries them.
    pub path_id: Option<u32>,
    /// The kind of session: what only internal peers tell is left out of what external ones told.
    pub peer_type: PeerType,
    /// The attributes.
    pub attrs: Attrs<'a>,
    /// The next hop.
    pub next_hop: NextHop,
}

/// Writes the records of one dump, all with the time of the dump: when a route came is not known.
#[derive(Clone, Debug)]
pub struct Records {
    at: u32,
    sequence: u32,
    attrs: Vec<u8>,
}

impl Records {
    /// Begins a dump at this time since 1970 with the table of peers (RFC 6396 4.3.1), of which no more than [`PEERS_MAX`] are
    /// written. `view` names the table.
    pub fn begin(
        at: Duration,
        collector: RouterId,
        view: &str,
        peers: &[Peer],
        out: &mut Vec<u8>,
    ) -> Records {
        let records = Records {
            at: u32::try_from(at.as_secs()).unwrap_or(u32::MAX),
            sequence: 0,
            attrs: Vec::new(),
        };
        let peers = peers.get(..PEERS_MAX).unwrap_or(peers);
        let view = view.get(..usize::from(u16::MAX)).unwrap_or(view);
        let start = records.record(subtype::PEER_INDEX_TABLE, out);
        out.extend_from_slice(&collector.0.octets());
        out.extend_from_slice(&(view.len() as u16).to_be_bytes()); // cut above
        out.extend_from_slice(view.as_bytes());
        out.extend_from_slice(&(peers.len() as u16).to_be_bytes()); // cut above
        for peer in peers {
            const IPV6: u8 = 1;
            const FOUR_OCTET_AS: u8 = 2;
            let addr = peer.addr.to_canonical();
            let family = if addr.is_ipv6() { IPV6 } else { 0 };
            out.push(FOUR_OCTET_AS | family);
            out.extend_from_slice(&peer.router_id.0.octets());
            put_addr(addr, out);
            out.extend_from_slice(&peer.asn.0.to_be_bytes());
        }
        finish(start, out);
        records
    }

    /// Appends a prefix (RFC 6396 4.3.2): a record of the paths without identifiers, and one of those with (RFC 8050 4.1). A path
    /// whose attributes are longer than any message is left out.
    pub fn prefix<F: Family>(&mut self, net: F::Net, entries: &[Entry<'_>], out: &mut Vec<u8>) {
        let plain = entries.iter().filter(|entry| entry.path_id.is_none());
        let with_ids = entries.iter().filter(|entry| entry.path_id.is_some());
        let (subtype, subtype_with_ids) = match F::AFI {
            Afi::Ipv4 => (subtype::RIB_IPV4_UNICAST, subtype::RIB_IPV4_UNICAST_ADDPATH),
            Afi::Ipv6 => (subtype::RIB_IPV6_UNICAST, subtype::RIB_IPV6_UNICAST_ADDPATH),
        };
        self.rib::<F>(subtype, net, plain, out);
        self.rib::<F>(subtype_with_ids, net, with_ids, out);
    }

    fn rib<'e, F: Family>(
        &mut self,
        subtype: u16,
        net: F::Net,
        entries: impl Iterator<Item = &'e Entry<'e>>,
        out: &mut Vec<u8>,
    ) {
        let start = self.record(subtype, out);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        let len = F::len(net);
        let mut octets = [0; 16];
        F::addr(net).octets_into(&mut octets);
        out.push(len);
        out.extend_from_slice(&octets[..usize::from(len).div_ceil(8)]);
        let count_at = out.len();
        out.extend_from_slice(&[0; 2]);
        let mut count = 0u16;
        for entry in entries {
            if count < u16::MAX && self.entry::<F>(entry, out) {
                count += 1;
            }
        }
        if count == 0 {
            out.truncate(start);
            return;
        }
        out[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        finish(start, out);
    }

    /// Appends a RIB entry (RFC 6396 4.3.4); whether it fits.
    fn entry<F: Family>(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> bool {
        let route = Outgoing {
            attrs: entry.attrs,
            next_hop: entry.next_hop,
            keep_med: true,
            reflection: None,
        };
        self.attrs.clear();
        encode_attrs::<F>(
            &route,
            &ExportEncoding::as_held(entry.peer_type),
            &mut self.attrs,
        );
        if !is_classic::<F>(&entry.next_hop) {
            put_next_hop(&entry.next_hop, &mut self.attrs);
        }
        let Ok(len) = u16::try_from(self.attrs.len()) else {
            return false;
        };
        out.extend_from_slice(&entry.peer.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        if let Some(id) = entry.path_id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.attrs);
        true
    }

    /// Begins a record (RFC 6396 2); returns where, for [`finish`].
    fn record(&self, subtype: u16, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&TABLE_DUMP_V2.to_be_bytes());
        out.extend_from_slice(&subtype.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        start
    }
}

/// Sets the length of a record that ends at the buffer's end: that of what follows its 12 octets of header.
fn finish(start: usize, out: &mut [u8]) {
    let len = u32::try_from(out.len() - start - 12).unwrap_or(u32::MAX);
    out[start + 8..start + 12].copy_from_slice(&len.to_be_bytes());
}

fn put_addr(addr: IpAddr, out: &mut Vec<u8>) {
    match addr {
        IpAddr::V4(addr) => out.extend_from_slice(&addr.octets()),
        IpAddr::V6(addr) => out.extend_from_slice(&addr.octets()),
    }
}

/// MP_REACH_NLRI with nothing but the next hop (RFC 6396 4.3.4): the record says the rest.
fn put_next_hop(next_hop: &NextHop, out: &mut Vec<u8>) {
    const OPTIONAL: u8 = 0x80;
    let mut value = Vec::with_capacity(32);
    match next_hop.addr {
        IpAddr::V4(addr) => put_addr(addr.to_ipv6_mapped().into(), &mut value),
        addr => put_addr(addr, &mut value),
    }
    if let Some(addr) = next_hop.link_local {
        put_addr(addr.into(), &mut value);
    }
    let len = value.len() as u8; // 16 or 32
    out.extend_from_slice(&[OPTIONAL, code::MP_REACH_NLRI, len + 1, len]);
    out.extend_from_slice(&value);
}
