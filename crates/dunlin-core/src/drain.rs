//! Graceful shutdown of this node (RFC 8326), in time: what it originates is the last choice of all peers at once; its
//! service addresses go when peers have had the time to move.

use std::time::Duration;

use dunlin_intent::LocalIntent;
use dunlin_net::Instant;

use crate::core::Core;

/// How far the node is drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It is not to be.
    #[default]
    No,
    /// Peers are given until then to move.
    Lingering(Instant),
    /// Service addresses are withdrawn.
    Withdrawn,
}

impl Drain {
    /// How long peers are given to move: to run their decision process and to tell others.
    pub(crate) const LINGER: Duration = Duration::from_secs(10);

    /// When to call [`Core::on_time`].
    pub(crate) fn next_deadline(self) -> Option<Instant> {
        match self {
            Drain::Lingering(until) => Some(until),
            Drain::No | Drain::Withdrawn => None,
        }
    }
}

impl Core {
    /// Takes in whether this node is to be drained. One that is so when its Node becomes known has no peers that would have
    /// to move: an agent that starts on a drained node announces no service address even for a moment.
    pub(crate) fn on_drain(&mut self, now: Instant, known_before: bool, local: &LocalIntent) {
        if local.draining.is_none() {
            self.drain = Drain::No;
        } else if !known_before {
            self.drain = Drain::Withdrawn;
        } else if self.drain == Drain::No {
            self.drain = Drain::Lingering(now + Drain::LINGER);
        }
        self.cluster.set_withdrawn(self.drain == Drain::Withdrawn);
    }

    /// Peers may have had their time.
    pub(crate) fn on_drain_time(&mut self, now: Instant) {
        if self.drain.next_deadline().is_some_and(|until| until <= now) {
            self.drain = Drain::Withdrawn;
            self.revisions.changes += 1;
            self.cluster.set_withdrawn(true);
        }
    }
}
