use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Instant;

/// Deadlines of many machines: the earliest is known at once, and one that is put off costs nothing.
///
/// A heap of the times at which machines are to be looked at. One is looked at no later than its deadline; it may be looked
/// at earlier, when its deadline was put off since (each message puts off a hold timer). At most one entry a machine counts:
/// that of the time which [`Deadlines::schedule`] gave back last. Others are dropped when they come up.
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines {
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// The deadline of `key` is `at` now, and an entry for `scheduled` is in the heap. Gives back what is scheduled now.
    pub fn schedule(
        &mut self,
        key: K,
        scheduled: Option<Instant>,
        at: Option<Instant>,
    ) -> Option<Instant> {
        match (scheduled, at) {
            (scheduled, None) => scheduled,
            (Some(scheduled), Some(at)) if scheduled <= at => Some(scheduled),
            (_, Some(at)) => {
                self.heap.push(Reverse((at, key)));
                Some(at)
            }
        }
    }

    /// The earliest time in the heap.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the earliest entry if its time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Whether there are far more entries than `machines` need: deadlines that were drawn nearer leave entries that do not
    /// count. Then [`Deadlines::rebuild`] is worth its cost.
    pub fn is_overgrown(&self, machines: usize) -> bool {
        self.heap.len() > machines.saturating_mul(4).saturating_add(64)
    }

    /// Keeps these entries alone: what is scheduled for each machine.
    pub fn rebuild(&mut self, scheduled: impl Iterator<Item = (Instant, K)>) {
        self.heap = scheduled.map(Reverse).collect();
    }
}
