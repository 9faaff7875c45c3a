//! Elements as the kernel has them: keys and values of parts that are padded to four octets each.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use dunlin_dataplane::proxy::{Element, block};
use dunlin_net::service::{Frontend, Protocol, View};
use dunlin_net::{Afi, IpNet};

use super::shape;
use crate::nft::set::ElementRef;

/// Of the longest key: two IPv6 addresses, a protocol and a port.
const LONGEST: usize = 40;

/// A key or a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octets {
    buf: [u8; LONGEST],
    len: usize,
}

impl Octets {
    const EMPTY: Octets = Octets {
        buf: [0; LONGEST],
        len: 0,
    };

    /// Padded to four octets.
    fn put(mut self, part: &[u8]) -> Octets {
        let end = self.len + part.len().next_multiple_of(4);
        debug_assert!(end <= LONGEST, "no key has that many parts");
        if let Some(place) = self.buf.get_mut(self.len..self.len + part.len()) {
            place.copy_from_slice(part);
        }
        self.len = end.min(LONGEST);
        self
    }

    fn address(self, addr: IpAddr) -> Octets {
        match addr {
            IpAddr::V4(addr) => self.put(&addr.octets()),
            IpAddr::V6(addr) => self.put(&addr.octets()),
        }
    }

    pub(super) fn frontend(frontend: Frontend) -> Octets {
        Octets::EMPTY
            .address(frontend.addr)
            .put(&[frontend.protocol.number()])
            .put(&frontend.port.to_be_bytes())
    }

    /// Of a frontend's slot.
    pub(super) fn slot(self, slot: u32) -> Octets {
        self.put(&slot.to_ne_bytes())
    }

    pub(super) fn endpoint(to: SocketAddr) -> Octets {
        Octets::EMPTY.address(to.ip()).put(&to.port().to_be_bytes())
    }

    /// A key as the kernel told it.
    pub(super) fn of(octets: &[u8]) -> Octets {
        Octets::EMPTY.put(octets.get(..LONGEST).unwrap_or(octets))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Octets {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// An element, or the two that make a range where concatenations do not.
pub(super) struct Encoded {
    pub key: Octets,
    pub key_end: Option<Octets>,
    pub data: Option<Octets>,
    /// The first key beyond.
    pub beyond: Option<Octets>,
}

impl Encoded {
    fn key(key: Octets) -> Encoded {
        Encoded {
            key,
            key_end: None,
            data: None,
            beyond: None,
        }
    }

    pub(super) fn of(element: &Element) -> Encoded {
        match *element {
            Element::Member { frontend, .. } => Encoded::key(Octets::frontend(frontend)),
            Element::Slot {
                frontend, slot, to, ..
            } => Encoded {
                data: Some(Octets::endpoint(to)),
                ..Encoded::key(Octets::frontend(frontend).slot(slot))
            },
            Element::Allowed { frontend, source } => {
                let (first, last) = ends(source);
                let key = Octets::frontend(frontend);
                Encoded {
                    key_end: Some(key.address(last)),
                    ..Encoded::key(key.address(first))
                }
            }
            Element::Hairpin(addr) => Encoded::key(Octets::EMPTY.address(addr).address(addr)),
            Element::Served(block) => Encoded::key(Octets::EMPTY.address(block.network())),
            Element::Near(net) => {
                let (first, last) = ends(net);
                Encoded {
                    beyond: next(last).map(|addr| Octets::EMPTY.address(addr)),
                    ..Encoded::key(Octets::EMPTY.address(first))
                }
            }
        }
    }

    /// As one or two elements.
    pub(super) fn each(&self, mut put: impl FnMut(&ElementRef<'_>)) {
        put(&ElementRef {
            key: self.key.as_slice(),
            key_end: self.key_end.as_ref().map(Octets::as_slice),
            data: self.data.as_ref().map(Octets::as_slice),
            end: false,
            packets: None,
        });
        if let Some(beyond) = &self.beyond {
            put(&ElementRef {
                key: beyond.as_slice(),
                end: true,
                ..ElementRef::default()
            });
        }
    }
}

/// The first and the last address of a network.
fn ends(net: IpNet) -> (IpAddr, IpAddr) {
    (net.network(), net.broadcast())
}

fn next(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => addr
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(addr) => addr
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V6(bits.into())),
    }
}

/// Takes the parts of a key or value off, one by one. `None`: there is no such part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    afi: Afi,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn new(afi: Afi, octets: &'a [u8]) -> Parts<'a> {
        Parts { afi, rest: octets }
    }

    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (part, _) = self.rest.split_first_chunk::<LEN>()?;
        self.rest = self.rest.get(LEN.next_multiple_of(4)..)?;
        Some(*part)
    }

    pub(super) fn address(&mut self) -> Option<IpAddr> {
        match self.afi {
            Afi::Ipv4 => self.take::<4>().map(IpAddr::from),
            Afi::Ipv6 => self
                .take::<16>()
                .map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        }
    }

    fn port(&mut self) -> Option<u16> {
        // The last part of a value may come without its padding.
        let (part, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest.get(2..).unwrap_or_default();
        Some(u16::from_be_bytes(*part))
    }

    pub(super) fn frontend(&mut self) -> Option<Frontend> {
        let addr = self.address()?;
        let [protocol] = self.take()?;
        Some(Frontend {
            addr,
            protocol: Protocol::of_number(protocol)?,
            port: self.port()?,
        })
    }

    pub(super) fn endpoint(&mut self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address()?, self.port()?))
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.rest.is_empty().then_some(value)
    }
}

/// An element of a set of frontends.
pub(super) fn member(afi: Afi, element: &ElementRef<'_>) -> Option<Frontend> {
    let mut key = Parts::new(afi, element.key);
    let frontend = key.frontend()?;
    key.end(frontend)
}

/// An element of the blocks: the first address of one.
pub(super) fn served(afi: Afi, element: &ElementRef<'_>) -> Option<Element> {
    let mut key = Parts::new(afi, element.key);
    let first = key.address()?;
    let block = block(first);
    key.end((block.network() == first).then_some(Element::Served(block)))?
}

/// An element of the slots.
pub(super) fn slot(afi: Afi, view: View, element: &ElementRef<'_>) -> Option<Element> {
    let mut key = Parts::new(afi, element.key);
    let frontend = key.frontend()?;
    let slot = u32::from_ne_bytes(key.take()?);
    let mut data = Parts::new(afi, element.data?);
    key.end(Element::Slot {
        view,
        frontend,
        slot,
        to: data.endpoint()?,
    })
}

/// An element of the allowed sources.
pub(super) fn allowed(afi: Afi, element: &ElementRef<'_>) -> Option<Element> {
    let mut key = Parts::new(afi, element.key);
    let mut key_end = Parts::new(afi, element.key_end?);
    let frontend = key.frontend()?;
    if key_end.frontend()? != frontend {
        return None;
    }
    let source = net(key.address()?, key_end.address()?)?;
    key.end(Element::Allowed { frontend, source })
}

/// An element of the endpoints that reach themselves.
pub(super) fn hairpin(afi: Afi, element: &ElementRef<'_>) -> Option<Element> {
    let mut key = Parts::new(afi, element.key);
    let (source, destination) = (key.address()?, key.address()?);
    (source == destination)
        .then_some(Element::Hairpin(source))
        .and_then(|hairpin| key.end(hairpin))
}

/// The networks that the marks of a set of ranges make: where each begins, and the first address beyond. `None` if they
/// make something else.
pub(super) fn near(mut marks: Vec<(IpAddr, bool)>) -> Option<Vec<Element>> {
    // At the same place, one ends before the next begins.
    marks.sort_unstable_by_key(|(addr, end)| (*addr, !*end));
    let (mut found, mut open) = (Vec::new(), None);
    for (addr, end) in marks {
        match (end, open.take()) {
            (false, None) => open = Some(addr),
            (true, Some(first)) => found.push(Element::Near(net_before(first, addr)?)),
            // Some kernels and `nft` mark the start of the gap before the first range.
            (true, None) if found.is_empty() => {}
            _ => return None,
        }
    }
    if let Some(first) = open {
        let afi = Afi::of(first);
        let last = shape::last_address(afi);
        found.push(Element::Near(net(first, last)?));
    }
    Some(found)
}

fn net_before(first: IpAddr, beyond: IpAddr) -> Option<IpNet> {
    let last = match beyond {
        IpAddr::V4(addr) => IpAddr::V4(addr.to_bits().checked_sub(1)?.into()),
        IpAddr::V6(addr) => IpAddr::V6(addr.to_bits().checked_sub(1)?.into()),
    };
    net(first, last)
}

/// The network from its first to its last address.
fn net(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let differ = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            32 - (first.to_bits() ^ last.to_bits()).leading_zeros()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            128 - (first.to_bits() ^ last.to_bits()).leading_zeros()
        }
        _ => return None,
    };
    let bits = u32::from(Afi::of(first).bits());
    let net = IpNet::new(first, u8::try_from(bits - differ).ok()?).ok()?;
    (ends(net) == (first, last)).then_some(net)
}

#[cfg(test)]
mod tests;
