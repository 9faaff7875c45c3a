//! The restart gate: what may not happen merely because the agent started.
//!
//! Additions go at once. What was in the kernel before us and is not wanted (yet) stays until whoever could still want it
//! has spoken: the sources of objects, then the End-of-RIB of the peer that would announce it, or the deadline
//! (RFC 4724 4.1). One dead peer delays only what it alone could announce.

use std::collections::BTreeSet;
use std::time::Duration;

use dunlin_net::{Instant, PeerId};

#[cfg(test)]
mod tests;

/// Who could still announce a prefix that the kernel holds and nobody has wanted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimant {
    /// The Node that owns it, by this peer.
    Peer(PeerId),
    /// The Node that owns it, by whichever reflector.
    Reflectors,
    /// No Node owns it: only a router outside could announce it.
    Outside,
    /// Nobody: it is this node's own, or its Node has no session.
    Nobody,
}

/// A peer that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub(crate) peer: PeerId,
    /// It may announce what no Node owns.
    pub(crate) outside: bool,
    /// It reflects for us: it may announce what other Nodes own.
    pub(crate) reflector: bool,
    /// It is a range: it never completes.
    pub(crate) range: bool,
}

/// The gate. Closed at start; once open it stays open.
#[derive(Debug)]
pub(crate) struct Gate {
    synced: bool,
    /// From when on peers are waited for no longer. Counted from when it is known who they are: an agent whose sources
    /// were silent for an hour still gives them their time.
    deadline: Option<Instant>,
    /// Peers whose End-of-RIB is awaited; filled when the sources have synced.
    awaited: BTreeSet<PeerId>,
    /// Those of `awaited` that may announce what no Node owns.
    outside: BTreeSet<PeerId>,
    /// Those of `awaited` that reflect for us.
    reflectors: BTreeSet<PeerId>,
}

impl Gate {
    /// How long peers are waited for (RFC 4724 4.1, Selection_Deferral_Timer).
    pub(crate) const DEFERRAL: Duration = Duration::from_secs(120);

    pub(crate) fn new() -> Gate {
        Gate {
            synced: false,
            deadline: None,
            awaited: BTreeSet::new(),
            outside: BTreeSet::new(),
            reflectors: BTreeSet::new(),
        }
    }

    /// The sources have told everything once. `peers` are those wanted now and not yet heard to
    /// the end.
    pub(crate) fn on_synced(&mut self, now: Instant, peers: impl IntoIterator<Item = Awaited>) {
        self.synced = true;
        self.deadline = Some(now + Gate::DEFERRAL);
        for peer in peers {
            if !peer.range {
                self.awaited.insert(peer.peer);
            }
            if peer.outside {
                self.outside.insert(peer.peer);
            }
            if peer.reflector {
                self.reflectors.insert(peer.peer);
            }
        }
    }

    /// The peer has told all it has, or is wanted no longer. Says whether it had been awaited.
    pub(crate) fn on_complete(&mut self, peer: PeerId) -> bool {
        self.outside.remove(&peer);
        self.reflectors.remove(&peer);
        self.awaited.remove(&peer)
    }

    /// Says whether the deadline has just passed.
    pub(crate) fn on_time(&mut self, now: Instant) -> bool {
        let waits = !self.awaited.is_empty() || !self.outside.is_empty();
        if !waits || self.deadline.is_none_or(|at| now < at) {
            return false;
        }
        self.awaited.clear();
        self.outside.clear();
        self.reflectors.clear();
        true
    }

    /// Whether nothing is awaited any more, but for those who may still come from a range.
    pub(crate) fn is_open(&self) -> bool {
        self.synced && self.awaited.is_empty()
    }

    /// Whether the sources have told everything once.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether a route that the kernel holds and nobody wants may go.
    pub(crate) fn releases(&self, claimant: Claimant) -> bool {
        self.synced
            && match claimant {
                Claimant::Peer(peer) => !self.awaited.contains(&peer),
                Claimant::Reflectors => self.reflectors.is_empty(),
                Claimant::Outside => self.outside.is_empty(),
                Claimant::Nobody => true,
            }
    }

    /// Whether everything may go.
    pub(crate) fn releases_all(&self) -> bool {
        self.is_open() && self.outside.is_empty()
    }

    /// The routers outside that are still awaited, ranges among them.
    pub(crate) fn outside(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.outside.iter().copied()
    }

    /// The peers awaited.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.awaited.iter().copied()
    }

    /// When to call [`Gate::on_time`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
            .filter(|_| !self.releases_all() && self.synced)
    }
}
