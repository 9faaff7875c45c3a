//! Peers that have died: their next hops are told to the FIB before the RIB decides about each prefix.
//!
//! A next hop that only the dead peer's paths name is one that nothing will lead to once the RIB has drawn its conclusions. The
//! FIB leads past such hops at once, and is told that they are settled when nothing of the peer is left to be decided.

use std::collections::BTreeMap;

use dunlin_bgp::session::ConnId;
use dunlin_net::{Instant, PeerId};

use crate::core::Core;

/// Peers whose next hops are told dead, each with the session that ends. As many as there are peers.
#[derive(Debug, Default)]
pub(crate) struct Failover {
    ending: BTreeMap<PeerId, ConnId>,
}

impl Core {
    /// The session ends and none of the peer's routes stay.
    pub(crate) fn fail_over(&mut self, id: PeerId, conn: ConnId) {
        let installs = self.installs();
        let source = self.peers.get(id).and_then(|peer| peer.source);
        let (Some(routing), Some(source)) = (&self.routing, source) else {
            return;
        };
        if !installs {
            return;
        }
        let gateways = routing.rib.next_hops_only_of(source);
        self.fib.on_dead(gateways.map(|hop| hop.scoped()));
        self.failover.ending.insert(id, conn);
    }

    /// Leads past what was told dead since, before anything else. Whether there was anything to do.
    pub(crate) fn begin_failover(&mut self, now: Instant) -> bool {
        let due = self.fib.has_failover();
        if due {
            self.settle_fib(now);
        }
        // A batch or a read-back may be under way: then it is the next one.
        due && !self.fib.has_failover()
    }

    /// `more`: the RIB has not drawn all its conclusions.
    pub(crate) fn end_failover(&mut self, more: bool) {
        if more || self.failover.ending.is_empty() {
            return;
        }
        let peers = &mut self.peers;
        let ends = |id: &PeerId, conn: &mut ConnId| peers.established(*id, *conn).is_some();
        self.failover.ending.retain(ends);
        if self.failover.ending.is_empty() {
            self.fib.on_dead_settled();
        }
    }
}
