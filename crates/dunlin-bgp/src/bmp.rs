//! The BGP Monitoring Protocol (RFC 7854, RFC 9069 for the Loc-RIB), the router's side: messages to a station.
//!
//! A station only listens, so all here encodes. Routes are told as they stand in the table: attributes that a session sorted
//! out are not among them, and AS numbers always have four octets.

mod down;
mod route;
mod station;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dunlin_net::{Afi, Asn, PerFamily, RouterId};

use crate::wire::{AfiSafi, Capability, Open};

pub use down::PeerDown;
pub use route::{Routes, end_of_rib};
pub use station::{StationCommand, StationEvent, StationId};

/// The TCP port of stations, as registered.
pub const PORT: u16 = 11019;

const VERSION: u8 = 3;

/// Message types (RFC 7854 4.1).
mod kind {
    pub(super) const ROUTE_MONITORING: u8 = 0;
    pub(super) const STATISTICS_REPORT: u8 = 1;
    pub(super) const PEER_DOWN: u8 = 2;
    pub(super) const PEER_UP: u8 = 3;
    pub(super) const INITIATION: u8 = 4;
    pub(super) const TERMINATION: u8 = 5;
}

/// The name of the one table we have, in TLVs of type 3 (RFC 9069 5.2.1).
const TABLE_NAME: &str = "global";
const TABLE_NAME_TLV: u16 = 3;

/// Which table a message speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// What a peer told, before import policy (RFC 7854).
    AdjRibIn,
    /// The paths chosen (RFC 9069).
    LocRib,
}

/// The per-peer header (RFC 7854 4.2, RFC 9069 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// Which table.
    pub table: Table,
    /// The peer's address; of no meaning for the Loc-RIB.
    pub addr: IpAddr,
    /// The peer's AS, for the Loc-RIB ours.
    pub asn: Asn,
    /// The peer's BGP identifier, for the Loc-RIB ours.
    pub router_id: RouterId,
    /// When it happened, since 1970; `None` where that is not known.
    pub at: Option<Duration>,
}

impl PeerHeader {
    /// Of the Loc-RIB of a router.
    pub fn loc_rib(asn: Asn, router_id: RouterId) -> PeerHeader {
        PeerHeader {
            table: Table::LocRib,
            addr: Ipv6Addr::UNSPECIFIED.into(),
            asn,
            router_id,
            at: None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        const IPV6: u8 = 0x80;
        let addr = self.addr.to_canonical();
        let (kind, flags) = match self.table {
            Table::AdjRibIn => (0, if addr.is_ipv6() { IPV6 } else { 0 }),
            Table::LocRib => (3, 0),
        };
        out.extend_from_slice(&[kind, flags]);
        // No distinguisher: there is one table.
        out.extend_from_slice(&[0; 8]);
        match self.table {
            Table::AdjRibIn => put_addr(addr, out),
            Table::LocRib => out.extend_from_slice(&[0; 16]),
        }
        out.extend_from_slice(&self.asn.0.to_be_bytes());
        out.extend_from_slice(&self.router_id.0.octets());
        let at = self.at.unwrap_or_default();
        let secs = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        out.extend_from_slice(&secs.to_be_bytes());
        out.extend_from_slice(&at.subsec_micros().to_be_bytes());
    }
}

/// An address in 16 octets, IPv4 at their end.
fn put_addr(addr: IpAddr, out: &mut Vec<u8>) {
    match addr {
        IpAddr::V4(addr) => {
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(&addr.octets());
        }
        IpAddr::V6(addr) => out.extend_from_slice(&addr.octets()),
    }
}

/// Begins a message; returns where, for [`finish`].
fn begin(kind: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, kind]);
    start
}

fn begin_of_peer(kind: u8, peer: &PeerHeader, out: &mut Vec<u8>) -> usize {
    let start = begin(kind, out);
    peer.encode(out);
    start
}

/// Sets the length of a message that ends at the buffer's end. None is longer than a BGP message and 200 octets.
fn finish(start: usize, out: &mut [u8]) {
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start + 1..start + 5) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a TLV; text beyond 65,535 octets is cut.
fn put_tlv(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes()); // cut above
    out.extend_from_slice(value);
}

/// Appends an Initiation: who speaks (RFC 7854 4.3).
pub fn initiation(name: &str, description: &str, out: &mut Vec<u8>) {
    let start = begin(kind::INITIATION, out);
    put_tlv(1, description.as_bytes(), out);
    put_tlv(2, name.as_bytes(), out);
    finish(start, out);
}

/// Why we stop speaking to a station (RFC 7854 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationReason {
    /// The configuration names it no longer, or the agent ends.
    AdministrativelyClosed = 0,
}

/// Appends a Termination.
pub fn termination(reason: TerminationReason, out: &mut Vec<u8>) {
    let start = begin(kind::TERMINATION, out);
    put_tlv(1, &(reason as u16).to_be_bytes(), out);
    finish(start, out);
}

/// A session that came up.
#[derive(Clone, Copy, Debug)]
pub struct PeerUp<'a> {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Our OPEN, the whole message as it was sent.
    pub sent: &'a [u8],
    /// The peer's OPEN, the whole message as it came.
    pub received: &'a [u8],
}

/// Appends a Peer Up (RFC 7854 4.10).
pub fn peer_up(peer: &PeerHeader, up: &PeerUp<'_>, out: &mut Vec<u8>) {
    let start = begin_of_peer(kind::PEER_UP, peer, out);
    put_addr(up.local.ip().to_canonical(), out);
    out.extend_from_slice(&up.local.port().to_be_bytes());
    out.extend_from_slice(&up.remote.port().to_be_bytes());
    out.extend_from_slice(up.sent);
    out.extend_from_slice(up.received);
    finish(start, out);
}

/// Appends the Peer Up of the Loc-RIB: both OPENs are made up (RFC 9069 4.4, 5.2).
pub fn loc_rib_up(peer: &PeerHeader, out: &mut Vec<u8>) {
    let mut open = Open::new(peer.asn, 0, peer.router_id);
    for afi in Afi::ALL {
        let family = Capability::Multiprotocol(AfiSafi::unicast(afi));
        open.capabilities.push(family);
    }
    open.capabilities.push(Capability::FourOctetAs(peer.asn));
    let mut octets = Vec::new();
    open.encode(&mut octets);
    let start = begin_of_peer(kind::PEER_UP, peer, out);
    // No address, no ports.
    out.extend_from_slice(&[0; 20]);
    out.extend_from_slice(&octets);
    out.extend_from_slice(&octets);
    put_tlv(TABLE_NAME_TLV, TABLE_NAME.as_bytes(), out);
    finish(start, out);
}

/// Appends a Statistics Report (RFC 7854 4.8): how many routes a table holds, in all and by family.
pub fn statistics(peer: &PeerHeader, routes: PerFamily<u64>, out: &mut Vec<u8>) {
    let (total, by_family) = match peer.table {
        Table::AdjRibIn => (7, 9),
        Table::LocRib => (8, 10),
    };
    let start = begin_of_peer(kind::STATISTICS_REPORT, peer, out);
    let count = 1 + Afi::ALL.len() as u32; // two families
    out.extend_from_slice(&count.to_be_bytes());
    put_tlv(total, &(routes.v4 + routes.v6).to_be_bytes(), out);
    for afi in Afi::ALL {
        let family = AfiSafi::unicast(afi);
        let mut value = family.afi.to_be_bytes().to_vec();
        value.push(family.safi);
        value.extend_from_slice(&routes.get(afi).to_be_bytes());
        put_tlv(by_family, &value, out);
    }
    finish(start, out);
}
