//! Path attributes in one canonical encoding.
//!
//! The canonical bytes of a route's attributes are their TLVs (RFC 4271 4.3) sorted by type code, each at most once, with
//! flags normalised (extended length only above 255 octets) and four-octet AS numbers (AS4_PATH and AS4_AGGREGATOR merged,
//! RFC 6793 4.2.3). NEXT_HOP, MP_REACH_NLRI and MP_UNREACH_NLRI are not among them: the next hop travels beside them.
//! Two routes have equal attributes exactly if these bytes and their next hops are equal.
//!
//! [`Attrs`] reads them, [`Digest`] is what the decision process needs of them, [`AttrBuilder`] and [`apply_edits`]
//! make them. Reading never panics, whatever the bytes; what does not parse reads as absent.

mod as_path;
mod build;
mod digest;
mod view;

use std::hash::{BuildHasher, Hash, Hasher};

use crate::batch::NextHop;

pub use as_path::{AsPath, Segment, SegmentKind};
pub use build::{AttrBuilder, apply_edits};
pub use digest::{Digest, WellKnown};
pub use view::{Aggregator, Attr, Attrs, Origin, Tlvs};

pub(crate) use as_path::prepend;
pub(crate) use build::{put_attr, put_head};

/// Hashes canonical attribute bytes and a next hop. The seed is an input of the process, the same for all sessions.
pub fn hash(seed: u64, bytes: &[u8], next_hop: &NextHop) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    next_hop.hash(&mut hasher);
    hasher.finish()
}

/// Attribute type codes.
pub mod code {
    /// ORIGIN (RFC 4271 5.1.1).
    pub const ORIGIN: u8 = 1;
    /// AS_PATH (RFC 4271 5.1.2).
    pub const AS_PATH: u8 = 2;
    /// NEXT_HOP (RFC 4271 5.1.3).
    pub const NEXT_HOP: u8 = 3;
    /// MULTI_EXIT_DISC (RFC 4271 5.1.4).
    pub const MED: u8 = 4;
    /// LOCAL_PREF (RFC 4271 5.1.5).
    pub const LOCAL_PREF: u8 = 5;
    /// ATOMIC_AGGREGATE (RFC 4271 5.1.6).
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// AGGREGATOR (RFC 4271 5.1.7).
    pub const AGGREGATOR: u8 = 7;
    /// COMMUNITIES (RFC 1997).
    pub const COMMUNITIES: u8 = 8;
    /// ORIGINATOR_ID (RFC 4456).
    pub const ORIGINATOR_ID: u8 = 9;
    /// CLUSTER_LIST (RFC 4456).
    pub const CLUSTER_LIST: u8 = 10;
    /// MP_REACH_NLRI (RFC 4760).
    pub const MP_REACH_NLRI: u8 = 14;
    /// MP_UNREACH_NLRI (RFC 4760).
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// AS4_PATH (RFC 6793).
    pub const AS4_PATH: u8 = 17;
    /// AS4_AGGREGATOR (RFC 6793).
    pub const AS4_AGGREGATOR: u8 = 18;
    /// LARGE_COMMUNITY (RFC 8092).
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// ONLY_TO_CUSTOMER (RFC 9234).
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Attribute flags (RFC 4271 4.3).
pub mod flag {
    /// Optional, else well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// Transitive.
    pub const TRANSITIVE: u8 = 0x40;
    /// Partial: a speaker on the way did not know the attribute.
    pub const PARTIAL: u8 = 0x20;
    /// The length takes two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// The Optional and Transitive flags an attribute must have; `None` for one this speaker does not know.
pub fn known_flags(code: u8) -> Option<u8> {
    Some(match code {
        code::ORIGIN
        | code::AS_PATH
        | code::NEXT_HOP
        | code::LOCAL_PREF
        | code::ATOMIC_AGGREGATE => flag::TRANSITIVE,
        code::MED
        | code::ORIGINATOR_ID
        | code::CLUSTER_LIST
        | code::MP_REACH_NLRI
        | code::MP_UNREACH_NLRI => flag::OPTIONAL,
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::LARGE_COMMUNITIES
        | code::ONLY_TO_CUSTOMER => flag::OPTIONAL | flag::TRANSITIVE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
