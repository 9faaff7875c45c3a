//! Adj-RIB-In, decision process, Loc-RIB, Adj-RIB-Out (RFC 4271 3.2, 9).
//!
//! A [`Rib`] is fed batches from [sources](SourceInfo), answers of the core's [policies](ImportPolicy) and
//! [resolved next hops](Resolution); what follows from them is polled, never pushed:
//!
//! * [`Rib::poll_next_hop`]: which next hops the core has to resolve;
//! * [`Rib::poll_fib`]: prefixes whose forwarding may have changed, and how they are to be forwarded now;
//! * [`Rib::poll_output`]: encoded UPDATEs and the peers each goes to;
//! * [`Rib::poll_watch`]: what changed in the tables, for those who [watch](Rib::watch) them;
//! * [`Rib::poll_work`]: work too large for one call (a peer with a million routes went), done in slices.
//!
//! Everything behind is level-triggered: sets of dirty prefixes and "what should it be now".
//!
//! Prefixes, paths and attribute sets have dense `u32` numbers. A prefix costs about 55 octets with one path and one
//! export group, of which its share of ten in an attribute set is 15.

mod attrset;
mod decide;
mod dirty;
mod encode;
mod export;
mod fib;
mod foresight;
mod foretold;
mod group;
mod hops;
mod input;
mod lag;
mod members;
mod out_paths;
mod output;
mod refresh;
mod roles;
mod segvec;
mod source;
mod step;
mod table;
mod telling;
#[cfg(test)]
mod tests;
mod view;
mod watch;
mod work;

use dunlin_net::{Asn, PerFamily, RouterId};

use attrset::{AttrTable, Identity};
use group::Groups;
use hops::Hops;
use source::Sources;
use table::Table;
use table::private::Tables;

pub use decide::DecisionStep;
pub use export::{ExportAction, ExportNextHop, ExportPolicy, ExportView, MAX_PATHS_TOLD, Toward};
pub use fib::{FibNextHop, FibRoute};
pub use foresight::{Chosen, ForeseenPath, Foresight, Moment, OtherPolicy};
pub use foretold::{Said, Told};
pub use group::{GroupId, GroupKey};
pub use hops::{NextHopEvent, Resolution};
pub use input::{Applied, ImportPolicy, MAX_PATHS_OF_SOURCE};
pub use output::Output;
pub use source::{SourceCounts, SourceId, SourceInfo};
pub use table::RibFamily;
pub use view::{PathView, PrefixView, RibCounts};
pub use watch::{Seen, SeenRoute, Watch, WatchId, Watched};

/// What a RIB is made with.
#[derive(Clone, Debug)]
pub struct RibConfig {
    /// Seed of all hashes; the one sessions hash attributes with ([`crate::attrs::hash`]).
    pub seed: u64,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Our cluster as a route reflector (RFC 4456 7), usually the router id.
    pub cluster_id: RouterId,
    /// Our AS.
    pub local_asn: Asn,
    /// Paths may be used only once the core resolved their next hop. `false` where routes are not installed.
    pub resolve: bool,
    /// [`Rib::poll_fib`] is used.
    pub fib: bool,
    /// At most so many next hops for one prefix.
    pub max_ecmp: u16,
}

impl RibConfig {
    /// Resolves next hops, feeds a FIB, up to 64 next hops a prefix.
    pub fn new(seed: u64, router_id: RouterId, local_asn: Asn) -> RibConfig {
        RibConfig {
            seed,
            router_id,
            cluster_id: router_id,
            local_asn,
            resolve: true,
            fib: true,
            max_ecmp: 64,
        }
    }
}

/// All routes of one agent. See the [module](self).
#[derive(Debug)]
pub struct Rib {
    store: Store,
    tables: Tables,
    groups: Groups,
    /// The name of the next watch.
    next_watch: u32,
}

/// What paths refer to.
#[derive(Debug)]
struct Store {
    config: RibConfig,
    attrs: AttrTable,
    hops: Hops,
    sources: Sources,
}

impl Rib {
    /// An empty RIB.
    pub fn new(config: RibConfig) -> Rib {
        let us = Identity {
            asn: config.local_asn,
            router_id: config.router_id,
            cluster_id: config.cluster_id,
        };
        Rib {
            tables: PerFamily {
                v4: Table::new(config.seed),
                v6: Table::new(config.seed),
            },
            store: Store {
                attrs: AttrTable::new(us),
                hops: Hops::new(config.seed, config.resolve),
                sources: Sources::default(),
                config,
            },
            groups: Groups::default(),
            next_watch: 0,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &RibConfig {
        &self.store.config
    }

    /// The next thing to do about a next hop. At most one for each distinct next hop waits.
    pub fn poll_next_hop(&mut self) -> Option<NextHopEvent> {
        self.store.hops.poll()
    }
}
