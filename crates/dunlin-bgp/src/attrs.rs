//! Path attributes in one canonical encoding.
//!
//! The canonical bytes of a route's attributes are their TLVs (RFC 4271 4.3) sorted by type code, each at most once, with
//! flags normalised (extended length only above 255 octets) and four-octet AS numbers (AS4_PATH and AS4_AGGREGATOR merged,
//! RFC 6793 4.2.3). NEXT_HOP, MP_REACH_NLRI and MP_UNREACH_NLRI are not among them: the next hop travels beside them.
//! Two routes have equal attributes exactly if these bytes and their next hops are equal.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::batch::NextHop;

/// Hashes canonical attribute bytes and a next hop. The seed is an input of the process, the same for all sessions.
pub fn hash(seed: u64, bytes: &[u8], next_hop: &NextHop) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    next_hop.hash(&mut hasher);
    hasher.finish()
}
