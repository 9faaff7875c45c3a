//! What the kernel's tables of services consist of.
//!
//! Each family has a table of its own, with the same few sets, maps and rules; a service is elements, never rules. A packet
//! that begins a connection meets them in this order: `served`, `guarded` and `allowed`, `dropped`, `affinity`, then the set
//! that has its frontend among those with so many slots, and by a random number or a hash one of the slots. A slot that is
//! empty means another throw: a frontend with n endpoints stands in the set of the next power of two, so that
//! half of all throws hit at least, and each endpoint has the same chance.

use std::net::{IpAddr, SocketAddr};

use dunlin_net::service::{Frontend, View};
use dunlin_net::{Afi, IpNet};

/// One thing that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// A frontend in a set.
    Member {
        /// The set.
        set: FrontendSet,
        /// The frontend.
        frontend: Frontend,
    },
    /// Where connections to a frontend go that throw this slot. Its key is all but `to`.
    Slot {
        /// For whom.
        view: View,
        /// The frontend.
        frontend: Frontend,
        /// From 0.
        slot: u32,
        /// The endpoint.
        to: SocketAddr,
    },
    /// Sources that may come to a frontend in [`FrontendSet::Guarded`].
    Allowed {
        /// The frontend.
        frontend: Frontend,
        /// The sources. Of one frontend they do not overlap.
        source: IpNet,
    },
    /// A pod of this node that is an endpoint: where it reaches itself by a service, its source is rewritten, else it
    /// would answer itself past the translation.
    Hairpin(IpAddr),
    /// Addresses of this node and of its pods: what comes from there is inside, and answers from there come back this way.
    /// They do not overlap.
    Near(IpNet),
    /// A block of addresses ([`block`]) with a frontend in it: packets to elsewhere are looked at no further.
    Served(IpNet),
}

/// A set of frontends, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontendSet {
    /// Those that choose at random out of so many slots.
    Random {
        /// For whom.
        view: View,
        /// As [`random_slots`] gives it.
        slots: u32,
    },
    /// Those that choose by hash out of a full table.
    Hashed {
        /// For whom.
        view: View,
        /// The table's size.
        slots: u32,
    },
    /// Those whose clients come back to the endpoint they had.
    Sticky {
        /// For so long after the last new connection.
        secs: u32,
    },
    /// Those that are refused, whoever asks.
    Refused,
    /// Those whose connections are dropped.
    Dropped {
        /// For whom.
        view: View,
    },
    /// Those that only some sources may come to.
    Guarded,
    /// Those whose connections get the node's source, wherever they come from.
    Masqueraded,
    /// Those whose new connections the kernel counts, whatever becomes of them.
    Counted,
}

/// A frontend has at most so many endpoints.
pub const MAX_ENDPOINTS: usize = 1 << 14;

/// Out of how many slots to choose at random where there are so many endpoints: the next power of two. With more sizes fewer
/// slots would be empty, and a frontend would be looked for in more sets.
pub fn random_slots(endpoints: usize) -> u32 {
    let endpoints = endpoints.clamp(1, MAX_ENDPOINTS);
    u32::try_from(endpoints.next_power_of_two()).unwrap_or(u32::MAX)
}

/// The block that an address is in: those that differ in their last 12 bits only. That is coarse enough for all services of
/// a cluster to be in a few hundred blocks, and fine enough that little else is in them.
pub fn block(addr: IpAddr) -> IpNet {
    let prefix_len = Afi::of(addr).bits() - BLOCK_BITS;
    IpNet::new(addr, prefix_len).map_or(IpNet::from(addr), |net| net.trunc())
}

const BLOCK_BITS: u8 = 12;

impl FrontendSet {
    /// Whether it says where connections go, or that they go nowhere. A frontend that is in none of these is left alone.
    pub fn decides(self) -> bool {
        match self {
            FrontendSet::Random { .. }
            | FrontendSet::Hashed { .. }
            | FrontendSet::Refused
            | FrontendSet::Dropped { .. } => true,
            FrontendSet::Sticky { .. }
            | FrontendSet::Guarded
            | FrontendSet::Masqueraded
            | FrontendSet::Counted => false,
        }
    }
}

impl Element {
    /// The family whose table it stands in.
    pub fn afi(&self) -> Afi {
        match self {
            Element::Member { frontend, .. }
            | Element::Slot { frontend, .. }
            | Element::Allowed { frontend, .. } => frontend.afi(),
            Element::Hairpin(addr) => Afi::of(*addr),
            Element::Near(net) | Element::Served(net) => Afi::of_net(*net),
        }
    }
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Where the key is there with another value, [`Op::Remove`] of that one goes before.
    Add(Element),
    /// It is there as it stands here.
    Remove(Element),
}

/// Applied whole or not at all, unless [`BatchDone::unsure`] says otherwise, in order; and then, if it was, what must be
/// forgotten. Sets for sizes and times that no element had before are made, with their rule, as elements name them; those
/// that are empty stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Counts batches.
    pub number: u64,
    /// Both tables are made anew first, empty, whatever is there.
    pub rebuild: bool,
    /// In order.
    pub ops: Vec<Op>,
    /// What conntrack and the affinity map remember, and would go on with.
    pub forget: Vec<Forget>,
}

/// What is no longer true for packets of flows that go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forget {
    /// UDP flows from a frontend to an endpoint that is gone: entries whose original destination is the frontend and
    /// whose answers come from the endpoint.
    Flows {
        /// The frontend.
        frontend: Frontend,
        /// The endpoint.
        endpoint: SocketAddr,
    },
    /// UDP flows to a frontend that began when it was not translated.
    Untranslated {
        /// The frontend.
        frontend: Frontend,
    },
    /// Clients of a frontend that were to come back to an endpoint.
    Clients {
        /// The frontend.
        frontend: Frontend,
        /// The endpoint.
        endpoint: SocketAddr,
    },
}

/// How a [`Batch`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDone {
    /// The batch's.
    pub number: u64,
    /// `Err`: nothing of its operations was done, unless `unsure`.
    pub result: Result<(), crate::KernelError>,
    /// After an error: how much of it was done is not known, since it took more than one transaction or the answer was
    /// lost. Next must come a read-back, or a batch with `rebuild`.
    pub unsure: bool,
    /// `Err`: its operations may well be done, but some of what was to be forgotten is still remembered.
    pub forgotten: Result<(), crate::KernelError>,
}

/// What a read-back found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// All elements, in any order. Empty where `intact` is false.
    pub elements: Vec<Element>,
    /// Both tables are there, with exactly the chains, rules and sets that this version makes.
    pub intact: bool,
    /// Something of ours is there, intact or not.
    pub present: bool,
    /// Where UDP flows go to: their first destination and who answers, of those that are translated or are to a frontend that
    /// was found; each once. The first read-back after a start tells them, at most [`super::MAX_FLOWS`]; no other.
    pub flows: Vec<(Frontend, SocketAddr)>,
}
