use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, Instant, IpNet};
use smallvec::SmallVec;

/// A next hop: a gateway on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// The neighbour packets are handed to.
    pub gateway: IpAddr,
    /// The link that leads to it.
    pub ifindex: u32,
}

/// The hops of an ECMP set.
pub type Hops = SmallVec<[Hop; 1]>;

/// What a prefix should lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Through these hops, equally. Order and repetition do not matter; an empty set wants nothing.
    Via(Hops),
    /// Nowhere, unless a better route exists: the node's own pod subnet, at [`crate::mark::BLACKHOLE_METRIC`].
    Blackhole,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read everything back. Nothing else is given out until it has been.
    Dump,
    /// Execute these operations; nothing else is given out until they are acknowledged.
    Batch(Batch),
}

/// Names a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Operations to execute in order. One that fails does not stop the others.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// At most a little over [`MAX_OPS`].
    pub ops: Vec<Op>,
}

/// A batch is closed when it holds this many operations.
pub const MAX_OPS: usize = 16_384;

/// One kernel operation. All carry our protocol number; routes live in the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `RTM_NEWNEXTHOP`. New: `CREATE|EXCL`; otherwise `REPLACE` without `CREATE`.
    Nexthop {
        /// Its id.
        id: u32,
        /// What it holds.
        content: NexthopContent,
        /// Replace the one of this id.
        replace: bool,
    },
    /// `RTM_DELNEXTHOP`.
    NexthopDelete {
        /// Its id.
        id: u32,
    },
    /// `RTM_NEWROUTE`. New: `CREATE|EXCL`; otherwise `REPLACE` without `CREATE`.
    Route {
        /// The prefix.
        net: IpNet,
        /// The metric, which is part of the route's key.
        metric: u32,
        /// Where it leads.
        target: Target,
        /// Replace the one of this prefix and metric.
        replace: bool,
    },
    /// `RTM_DELROUTE`, matching prefix, metric and our protocol.
    RouteDelete {
        /// The prefix.
        net: IpNet,
        /// The metric.
        metric: u32,
    },
}

/// What a nexthop object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopContent {
    /// One hop.
    Single(Hop),
    /// A group of nexthops of ours.
    Group(SmallVec<[u32; 4]>),
    /// Something we never write.
    Other,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A nexthop object.
    Nexthop(u32),
    /// Nowhere (`RTN_BLACKHOLE`).
    Blackhole,
    /// Something we never write.
    Other,
}

/// How a batch went. Operations that are not listed were done.
#[derive(Clone, Debug)]
pub struct BatchDone {
    /// Which batch.
    pub id: BatchId,
    /// The operations the kernel refused, by ascending index.
    pub errors: Vec<OpError>,
    /// Some answers were lost: what was done is unknown until a read-back.
    pub lost: bool,
}

/// The kernel's refusal of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// The operation's index in the batch.
    pub index: u32,
    /// The positive error number.
    pub errno: i32,
    /// The kernel's own words, if it gave any.
    pub message: Option<Box<str>>,
}

/// A piece of a read-back. All nexthops precede all routes. Foreign ones may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpItem {
    /// A nexthop.
    Nexthop {
        /// Its id.
        id: u32,
        /// Who made it (`nh_protocol`).
        protocol: u8,
        /// What it holds.
        content: NexthopContent,
    },
    /// A route of the main table.
    Route {
        /// The prefix.
        net: IpNet,
        /// The metric.
        metric: u32,
        /// Who made it (`rtm_protocol`).
        protocol: u8,
        /// Where it leads.
        target: Target,
    },
}

/// Somebody else changed a route of the main table that is ours, or that has a metric of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEvent {
    /// The prefix.
    pub net: IpNet,
    /// The metric.
    pub metric: u32,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// What happened.
    pub change: RouteChange,
}

/// What happened to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// It is there and leads to this. `replaced`: it took the place of one with the same prefix and metric.
    New {
        /// Where it leads.
        target: Target,
        /// `NLM_F_REPLACE`.
        replaced: bool,
    },
    /// It is gone.
    Deleted,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Somebody else's route has this prefix and metric. It is never overwritten.
    Conflict,
    /// An IPv6 route cannot use an IPv4 next hop.
    FamilyMismatch,
    /// The kernel refused a next hop the route needs.
    NexthopRefused,
    /// The kernel refused the route.
    RouteRefused,
    /// The kernel refused to delete it.
    DeleteRefused,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Conflict => "another owner's route has the same prefix and metric",
            Reason::FamilyMismatch => "an IPv6 route cannot use an IPv4 next hop",
            Reason::NexthopRefused => "the kernel refused a next hop",
            Reason::RouteRefused => "the kernel refused the route",
            Reason::DeleteRefused => "the kernel refused to delete the route",
        })
    }
}

/// A remembered failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The positive error number; 0 if the kernel was not asked.
    pub errno: i32,
    /// The kernel's own words, if it gave any.
    pub message: Option<Arc<str>>,
    /// When it is tried again; `None` if only a change can help.
    pub retry_at: Option<Instant>,
    /// How often it failed in a row.
    pub attempts: u32,
}

/// How a route stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// The kernel holds what is wanted.
    Installed,
    /// Not yet written, or written and not acknowledged.
    Pending,
    /// The kernel refused; it is tried again. A conflict has [`Reason::Conflict`].
    Failed(Failure),
    /// The kernel holds it and nobody wants it; deletes are held.
    Stale,
}

/// One route as `get routes` shows it.
#[derive(Clone, Debug)]
pub struct RouteView<'a> {
    /// The prefix.
    pub net: IpNet,
    /// The metric.
    pub metric: u32,
    /// How it stands.
    pub state: RouteState,
    /// The hops wanted; what the kernel holds if nothing is wanted. Empty for a blackhole.
    pub hops: &'a [Hop],
    /// A blackhole.
    pub blackhole: bool,
}

/// How many routes stand how, and what happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Routes wanted.
    pub wanted: usize,
    /// Routes wanted that the kernel holds.
    pub installed: usize,
    /// Routes wanted and not yet written.
    pub pending: usize,
    /// Routes the kernel refused, conflicts included.
    pub failed: usize,
    /// Routes that somebody else's route keeps out.
    pub conflicts: usize,
    /// Routes the kernel holds that nobody wants.
    pub stale: usize,
    /// Nexthop objects (groups included) the kernel holds for us.
    pub nexthops: usize,
    /// Routes found in the kernel by the first read-back.
    pub adopted: usize,
    /// Operations acknowledged since the start.
    pub ops_done: u64,
    /// Operations refused since the start.
    pub ops_failed: u64,
    /// Read-backs completed since the start.
    pub dumps: u64,
}

/// Which table a prefix lives in: the metric is part of a route's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Class {
    pub(super) afi: Afi,
    pub(super) blackhole: bool,
}

impl Class {
    pub(super) const ALL: [Class; 4] = [
        Class {
            afi: Afi::Ipv4,
            blackhole: false,
        },
        Class {
            afi: Afi::Ipv6,
            blackhole: false,
        },
        Class {
            afi: Afi::Ipv4,
            blackhole: true,
        },
        Class {
            afi: Afi::Ipv6,
            blackhole: true,
        },
    ];

    pub(super) fn metric(self) -> u32 {
        if self.blackhole {
            crate::mark::BLACKHOLE_METRIC
        } else {
            crate::mark::ROUTE_METRIC
        }
    }
}
