//! Deadlines of many peers: the earliest is known at once, and a peer that puts its deadline off costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dunlin_net::{Instant, PeerId};

/// A heap of the times at which peers are to be looked at. A peer is looked at no later than its deadline; it may be looked
/// at earlier, when its deadline was put off since (each message puts off the hold timer). At most one entry a peer counts;
/// others are dropped when they come up.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, PeerId)>>,
}

impl Deadlines {
    /// The peer's deadline is `at` now, and an entry for `scheduled` is in the heap. Gives back what is scheduled now.
    pub(super) fn schedule(
        &mut self,
        peer: PeerId,
        scheduled: Option<Instant>,
        at: Option<Instant>,
    ) -> Option<Instant> {
        match (scheduled, at) {
            (scheduled, None) => scheduled,
            (Some(scheduled), Some(at)) if scheduled <= at => Some(scheduled),
            (_, Some(at)) => {
                self.heap.push(Reverse((at, peer)));
                Some(at)
            }
        }
    }

    /// The earliest time in the heap.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the earliest entry if its time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, PeerId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
