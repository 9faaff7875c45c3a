//! Endpoints by slot, without a word too many: a node may hold a million of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dunlin_net::Afi;

/// Slots above are not ours.
pub(super) const MAX_SLOTS: u32 = 1 << 17;

/// Endpoints of one family by slot: address, then port. Port 0 is a hole. The family is told with each call, as it is
/// the frontend's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(Vec<u8>);

/// Whether packets can be sent there from a frontend of a family.
pub(super) fn is_usable(afi: Afi, endpoint: &SocketAddr) -> bool {
    Afi::of(endpoint.ip()) == afi && endpoint.port() != 0
}

fn octets(afi: Afi) -> usize {
    usize::from(afi.bits()) / 8 + 2
}

impl Slots {
    pub(super) const NONE: Slots = Slots(Vec::new());

    pub(super) fn with_capacity(afi: Afi, slots: usize) -> Slots {
        Slots(Vec::with_capacity(slots.saturating_mul(octets(afi))))
    }

    /// One more than the last slot that may be filled.
    pub(super) fn len(&self, afi: Afi) -> usize {
        self.0.len() / octets(afi)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, afi: Afi, slot: usize) -> Option<SocketAddr> {
        let octets = octets(afi);
        let from = slot.checked_mul(octets)?;
        unpack(self.0.get(from..from.checked_add(octets)?)?)
    }

    /// Fills the next slot; `endpoint` is usable in the family.
    pub(super) fn push(&mut self, endpoint: &SocketAddr) {
        match endpoint.ip() {
            IpAddr::V4(addr) => self.0.extend_from_slice(&addr.octets()),
            IpAddr::V6(addr) => self.0.extend_from_slice(&addr.octets()),
        }
        self.0.extend_from_slice(&endpoint.port().to_be_bytes());
    }

    /// Fills any slot below [`MAX_SLOTS`]. False if it was filled before, or cannot be.
    pub(super) fn fill(&mut self, afi: Afi, slot: u32, endpoint: &SocketAddr) -> bool {
        let at = slot as usize;
        if slot >= MAX_SLOTS || !is_usable(afi, endpoint) || self.get(afi, at).is_some() {
            return false;
        }
        let octets = octets(afi);
        if at >= self.len(afi) {
            self.0.resize(at * octets, 0);
            self.push(endpoint);
            return true;
        }
        let mut one = Slots::default();
        one.push(endpoint);
        self.0[at * octets..(at + 1) * octets].copy_from_slice(&one.0);
        true
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Slots that are filled, ascending.
    pub(super) fn iter(&self, afi: Afi) -> impl Iterator<Item = (u32, SocketAddr)> + '_ {
        (0..)
            .zip(self.0.chunks_exact(octets(afi)))
            .filter_map(|(slot, packed)| Some((slot, unpack(packed)?)))
    }

    /// How many slots are filled.
    pub(super) fn filled(&self, afi: Afi) -> usize {
        self.iter(afi).count()
    }

    /// Octets held, by capacity.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity()
    }
}

fn unpack(packed: &[u8]) -> Option<SocketAddr> {
    let (addr, port) = packed.split_last_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    if port == 0 {
        return None;
    }
    let addr = match <[u8; 4]>::try_from(addr) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(addr).ok()?)),
    };
    Some(SocketAddr::new(addr, port))
}
