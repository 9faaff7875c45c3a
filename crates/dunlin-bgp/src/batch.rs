//! What sessions hand to the RIB: routes of several judged UPDATEs in flat buffers, so that a hand-over costs a few
//! allocations whatever it carries.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use dunlin_net::{Afi, Family, Ipv4Net, Ipv6Net, PerFamily, ScopedAddr};

use crate::attrs::Attrs;

/// Where a route's packets go next (RFC 4271 5.1.3, RFC 4760 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The address, of either family (RFC 8950 allows IPv6 for IPv4 routes).
    pub addr: IpAddr,
    /// The link-local address that may come beside a global IPv6 one (RFC 2545 3).
    pub link_local: Option<Ipv6Addr>,
    /// The index of the interface that `addr` is on, where it is link-local and the session is one over that interface; else
    /// 0. Never told to anybody.
    pub interface: u32,
}

impl NextHop {
    /// A next hop of one address.
    pub fn new(addr: IpAddr) -> NextHop {
        NextHop {
            addr,
            link_local: None,
            interface: 0,
        }
    }

    /// A link-local next hop, which says something only together with its interface.
    pub fn on_interface(addr: Ipv6Addr, interface: u32) -> NextHop {
        NextHop {
            interface,
            ..NextHop::new(addr.into())
        }
    }

    /// The address with the interface it is on.
    pub fn scoped(&self) -> ScopedAddr {
        ScopedAddr {
            addr: self.addr,
            interface: self.interface,
        }
    }
}

/// One statement of a batch. Ranges index [`RouteBatch::attr_bytes`] and the prefixes of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchItem {
    /// These prefixes have these attributes now.
    Announce {
        /// Which of the batch's prefix lists `nlri` indexes.
        afi: Afi,
        /// The canonical attribute bytes ([`crate::attrs`]).
        attrs: Range<u32>,
        /// The hash of the attribute bytes and the next hop ([`crate::attrs::hash`]).
        hash: u64,
        /// The next hop, kept apart from the attributes.
        next_hop: NextHop,
        /// The prefixes.
        nlri: Range<u32>,
    },
    /// These prefixes are withdrawn.
    Withdraw {
        /// Which of the batch's prefix lists `nlri` indexes.
        afi: Afi,
        /// The prefixes.
        nlri: Range<u32>,
    },
    /// End-of-RIB (RFC 4724 2) stands here in the stream.
    EndOfRib(Afi),
}

/// Routes from one session, in the order they arrived. A session closes a batch when it [is full](RouteBatch::is_full)
/// or when it has nothing more to read. One UPDATE adds less than 128 KiB after that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteBatch {
    /// Canonical attribute encodings, one after the other.
    pub attr_bytes: Vec<u8>,
    /// What is said of which prefixes.
    pub items: Vec<BatchItem>,
    /// The prefixes that items of each family index.
    pub nlri: PerFamily<Vec<Ipv4Net>, Vec<Ipv6Net>>,
    /// The path identifier of each prefix (RFC 7911 3), where the session carries them; else empty.
    pub path_ids: PerFamily<Vec<u32>>,
}

impl RouteBatch {
    /// A batch with this many prefixes is handed over.
    pub const FULL_PREFIXES: usize = 16 * 1024;

    /// A batch with this many octets of attributes is handed over.
    pub const FULL_ATTR_OCTETS: usize = 1024 * 1024;

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it should be handed over before more is added.
    pub fn is_full(&self) -> bool {
        // Items are bounded too: End-of-RIB comes without prefixes.
        self.nlri.v4.len() + self.nlri.v6.len() >= Self::FULL_PREFIXES
            || self.items.len() >= Self::FULL_PREFIXES
            || self.attr_bytes.len() >= Self::FULL_ATTR_OCTETS
    }

    /// Whether a route in it was reflected on its way (RFC 4456 8).
    pub fn is_reflected(&self) -> bool {
        self.items.iter().any(|item| match item {
            BatchItem::Announce { attrs, .. } => {
                let range = attrs.start as usize..attrs.end as usize;
                let bytes = self.attr_bytes.get(range);
                bytes.is_some_and(|bytes| Attrs::new(bytes).originator_id().is_some())
            }
            BatchItem::Withdraw { .. } | BatchItem::EndOfRib(_) => false,
        })
    }

    /// Forgets everything, keeping the buffers.
    pub fn clear(&mut self) {
        self.attr_bytes.clear();
        self.items.clear();
        self.nlri.v4.clear();
        self.nlri.v6.clear();
        self.path_ids.v4.clear();
        self.path_ids.v6.clear();
    }
}

/// The prefixes of one family out of a batch's buffers.
pub trait BatchFamily: Family {
    /// The family's prefixes.
    fn nlri(batch: &RouteBatch) -> &Vec<Self::Net>;
    /// The family's prefixes, to add to.
    fn nlri_mut(batch: &mut RouteBatch) -> &mut Vec<Self::Net>;
}

impl BatchFamily for dunlin_net::V4 {
    fn nlri(batch: &RouteBatch) -> &Vec<Ipv4Net> {
        &batch.nlri.v4
    }

    fn nlri_mut(batch: &mut RouteBatch) -> &mut Vec<Ipv4Net> {
        &mut batch.nlri.v4
    }
}

impl BatchFamily for dunlin_net::V6 {
    fn nlri(batch: &RouteBatch) -> &Vec<Ipv6Net> {
        &batch.nlri.v6
    }

    fn nlri_mut(batch: &mut RouteBatch) -> &mut Vec<Ipv6Net> {
        &mut batch.nlri.v6
    }
}
