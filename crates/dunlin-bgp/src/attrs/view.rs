use std::fmt;
use std::net::Ipv4Addr;

use dunlin_net::{Asn, RouterId};

use super::{AsPath, code, flag, known_flags};

/// ORIGIN (RFC 4271 5.1.1); the lower is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Origin {
    /// Interior to the originating AS.
    Igp = 0,
    /// Learned by EGP.
    Egp = 1,
    /// Learned some other way.
    #[default]
    Incomplete = 2,
}

impl Origin {
    /// The origin a value octet stands for.
    pub fn from_octet(octet: u8) -> Option<Origin> {
        match octet {
            0 => Some(Origin::Igp),
            1 => Some(Origin::Egp),
            2 => Some(Origin::Incomplete),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

/// AGGREGATOR: who aggregated the route (RFC 4271 5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its router id.
    pub router_id: RouterId,
}

/// One attribute as it stands in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// The flags octet.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: &'a [u8],
}

/// The attributes of an encoding in order; ends where it does not parse any more.
#[derive(Clone, Copy, Debug)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    /// Over encoded attributes.
    pub fn new(bytes: &'a [u8]) -> Tlvs<'a> {
        Tlvs(bytes)
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Attr<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attr<'a>> {
        let (flags, code, len, tail) = match *self.0 {
            [flags, code, high, low, ref tail @ ..] if flags & flag::EXTENDED_LENGTH != 0 => (
                flags,
                code,
                usize::from(u16::from_be_bytes([high, low])),
                tail,
            ),
            [flags, code, len, ref tail @ ..] if flags & flag::EXTENDED_LENGTH == 0 => {
                (flags, code, usize::from(len), tail)
            }
            _ => return None,
        };
        let (value, rest) = tail.split_at_checked(len)?;
        self.0 = rest;
        Some(Attr { flags, code, value })
    }
}

/// A view of canonical attribute bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attrs<'a>(&'a [u8]);

impl<'a> Attrs<'a> {
    /// Over canonical bytes, as [`crate::batch::RouteBatch`] holds them.
    pub fn new(bytes: &'a [u8]) -> Attrs<'a> {
        Attrs(bytes)
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// All attributes in order.
    pub fn iter(&self) -> Tlvs<'a> {
        Tlvs(self.0)
    }

    /// The attribute of this type.
    pub fn get(&self, code: u8) -> Option<Attr<'a>> {
        self.iter().find(|attr| attr.code == code)
    }

    fn u32(&self, code: u8) -> Option<u32> {
        let octets = <[u8; 4]>::try_from(self.get(code)?.value).ok()?;
        Some(u32::from_be_bytes(octets))
    }

    fn records<const N: usize>(&self, code: u8) -> &'a [[u8; N]] {
        self.get(code).map_or(&[], |attr| attr.value.as_chunks().0)
    }

    /// ORIGIN.
    pub fn origin(&self) -> Option<Origin> {
        let (&octet, _) = self.get(code::ORIGIN)?.value.split_first()?;
        Origin::from_octet(octet)
    }

    /// AS_PATH; empty if absent.
    pub fn as_path(&self) -> AsPath<'a> {
        AsPath::new(self.get(code::AS_PATH).map_or(&[], |attr| attr.value))
    }

    /// MULTI_EXIT_DISC.
    pub fn med(&self) -> Option<u32> {
        self.u32(code::MED)
    }

    /// ONLY_TO_CUSTOMER (RFC 9234): the AS since which it goes to customers alone.
    pub fn only_to_customer(&self) -> Option<Asn> {
        self.u32(code::ONLY_TO_CUSTOMER).map(Asn)
    }

    /// LOCAL_PREF.
    pub fn local_pref(&self) -> Option<u32> {
        self.u32(code::LOCAL_PREF)
    }

    /// Whether ATOMIC_AGGREGATE is there.
    pub fn atomic_aggregate(&self) -> bool {
        self.get(code::ATOMIC_AGGREGATE).is_some()
    }

    /// AGGREGATOR.
    pub fn aggregator(&self) -> Option<Aggregator> {
        match *self.get(code::AGGREGATOR)?.value {
            [a, b, c, d, e, f, g, h] => Some(Aggregator {
                asn: Asn(u32::from_be_bytes([a, b, c, d])),
                router_id: RouterId(Ipv4Addr::new(e, f, g, h)),
            }),
            _ => None,
        }
    }

    /// Communities (RFC 1997), AS number in the high half.
    pub fn communities(&self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.records(code::COMMUNITIES)
            .iter()
            .map(|octets| u32::from_be_bytes(*octets))
    }

    /// Extended communities (RFC 4360).
    pub fn extended_communities(&self) -> impl ExactSizeIterator<Item = [u8; 8]> + Clone + use<'a> {
        self.records(code::EXTENDED_COMMUNITIES).iter().copied()
    }

    /// Large communities (RFC 8092): global administrator, two local parts.
    pub fn large_communities(&self) -> impl ExactSizeIterator<Item = [u32; 3]> + Clone + use<'a> {
        self.records::<12>(code::LARGE_COMMUNITIES)
            .iter()
            .map(large_community)
    }

    /// ORIGINATOR_ID (RFC 4456).
    pub fn originator_id(&self) -> Option<RouterId> {
        self.u32(code::ORIGINATOR_ID)
            .map(|id| RouterId(Ipv4Addr::from(id)))
    }

    /// CLUSTER_LIST (RFC 4456), nearest first.
    pub fn cluster_list(&self) -> impl ExactSizeIterator<Item = RouterId> + Clone + use<'a> {
        self.records::<4>(code::CLUSTER_LIST)
            .iter()
            .map(|octets| RouterId(Ipv4Addr::from(*octets)))
    }

    /// Attributes this speaker does not know and passes on.
    pub fn unknown(&self) -> impl Iterator<Item = Attr<'a>> + use<'a> {
        self.iter().filter(|attr| known_flags(attr.code).is_none())
    }
}

impl fmt::Debug for Attrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn large_community(octets: &[u8; 12]) -> [u32; 3] {
    let mut parts = [0; 3];
    for (part, octets) in parts.iter_mut().zip(octets.as_chunks().0) {
        *part = u32::from_be_bytes(*octets);
    }
    parts
}
