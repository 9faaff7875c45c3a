use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Address family, as BGP and netlink name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Afi {
    /// IPv4.
    #[serde(rename = "ipv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    Ipv6,
}

impl Afi {
    /// Both families, in the order everything is shown in.
    pub const ALL: [Afi; 2] = [Afi::Ipv4, Afi::Ipv6];

    /// The family of an address.
    pub fn of(addr: IpAddr) -> Afi {
        if addr.is_ipv4() { Afi::Ipv4 } else { Afi::Ipv6 }
    }

    /// The family of a prefix.
    pub fn of_net(net: IpNet) -> Afi {
        Afi::of(net.addr())
    }

    /// The IANA address family number (RFC 4760).
    pub fn number(self) -> u16 {
        match self {
            Afi::Ipv4 => 1,
            Afi::Ipv6 => 2,
        }
    }

    /// The length of an address, in bits.
    pub fn bits(self) -> u8 {
        match self {
            Afi::Ipv4 => 32,
            Afi::Ipv6 => 128,
        }
    }
}

impl Display for Afi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Afi::Ipv4 => "ipv4",
            Afi::Ipv6 => "ipv6",
        })
    }
}

/// An address family as a type parameter, so tables hold dense keys and no code is written twice.
pub trait Family:
    Copy + Clone + Debug + Default + PartialEq + Eq + Hash + Send + Sync + 'static
{
    /// An address.
    type Addr: Copy
        + Eq
        + Ord
        + Hash
        + Debug
        + Display
        + Into<IpAddr>
        + AsOctets
        + Send
        + Sync
        + 'static;
    /// A prefix with its host bits zero. Build one with [`Family::net`].
    type Net: Copy + Eq + Ord + Hash + Debug + Display + Into<IpNet> + Send + Sync + 'static;
    /// Which family this is.
    const AFI: Afi;
    /// The length of an address, in bits.
    const BITS: u8;

    /// The prefix of `addr` with `len` bits; host bits are cleared. `None` if `len` exceeds [`Family::BITS`].
    fn net(addr: Self::Addr, len: u8) -> Option<Self::Net>;
    /// The network address of a prefix.
    fn addr(net: Self::Net) -> Self::Addr;
    /// The length of a prefix, in bits.
    fn len(net: Self::Net) -> u8;
    /// An address from exactly `BITS / 8` octets.
    fn from_octets(octets: &[u8]) -> Option<Self::Addr>;
    /// The address, if it is of this family.
    fn from_ip(addr: IpAddr) -> Option<Self::Addr>;
    /// The prefix with its host bits cleared, if it is of this family.
    fn from_net(net: IpNet) -> Option<Self::Net>;
}

/// A value for each family; the two types may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<A, B = A> {
    /// The IPv4 half.
    pub v4: A,
    /// The IPv6 half.
    pub v6: B,
}

impl<A> PerFamily<A, A> {
    /// This family's half.
    pub fn get(&self, afi: Afi) -> &A {
        match afi {
            Afi::Ipv4 => &self.v4,
            Afi::Ipv6 => &self.v6,
        }
    }

    /// This family's half.
    pub fn get_mut(&mut self, afi: Afi) -> &mut A {
        match afi {
            Afi::Ipv4 => &mut self.v4,
            Afi::Ipv6 => &mut self.v6,
        }
    }
}

/// An address as its octets in network order.
pub trait AsOctets {
    /// Writes the octets to `out` and returns how many there are (4 or 16).
    fn octets_into(&self, out: &mut [u8; 16]) -> usize;
}

impl AsOctets for Ipv4Addr {
    #[inline]
    fn octets_into(&self, out: &mut [u8; 16]) -> usize {
        out[..4].copy_from_slice(&self.octets());
        4
    }
}

impl AsOctets for Ipv6Addr {
    #[inline]
    fn octets_into(&self, out: &mut [u8; 16]) -> usize {
        *out = self.octets();
        16
    }
}

/// IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V6;

impl Family for V4 {
    type Addr = Ipv4Addr;
    type Net = Ipv4Net;
    const AFI: Afi = Afi::Ipv4;
    const BITS: u8 = 32;

    #[inline]
    fn net(addr: Ipv4Addr, len: u8) -> Option<Ipv4Net> {
        Ipv4Net::new(addr, len).ok().map(|net| net.trunc())
    }

    #[inline]
    fn addr(net: Ipv4Net) -> Ipv4Addr {
        net.addr()
    }

    #[inline]
    fn len(net: Ipv4Net) -> u8 {
        net.prefix_len()
    }

    #[inline]
    fn from_octets(octets: &[u8]) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
    }

    #[inline]
    fn from_ip(addr: IpAddr) -> Option<Ipv4Addr> {
        match addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn from_net(net: IpNet) -> Option<Ipv4Net> {
        match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        }
    }
}

impl Family for V6 {
    type Addr = Ipv6Addr;
    type Net = Ipv6Net;
    const AFI: Afi = Afi::Ipv6;
    const BITS: u8 = 128;

    #[inline]
    fn net(addr: Ipv6Addr, len: u8) -> Option<Ipv6Net> {
        Ipv6Net::new(addr, len).ok().map(|net| net.trunc())
    }

    #[inline]
    fn addr(net: Ipv6Net) -> Ipv6Addr {
        net.addr()
    }

    #[inline]
    fn len(net: Ipv6Net) -> u8 {
        net.prefix_len()
    }

    #[inline]
    fn from_octets(octets: &[u8]) -> Option<Ipv6Addr> {
        <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from)
    }

    #[inline]
    fn from_ip(addr: IpAddr) -> Option<Ipv6Addr> {
        match addr {
            IpAddr::V4(_) => None,
            IpAddr::V6(addr) => Some(addr),
        }
    }

    #[inline]
    fn from_net(net: IpNet) -> Option<Ipv6Net> {
        match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(net.trunc()),
        }
    }
}
