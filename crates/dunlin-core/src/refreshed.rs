//! A peer tells everything of a family again between two marks (RFC 7313): what it does not tell in between is no more. And
//! one that asks us for that (RFC 2918) is answered, but not as often as it likes: each answer costs a walk of all it was told.

use std::time::Duration;

use dunlin_bgp::session::ConnId;
use dunlin_net::{Afi, Instant, PeerId, PerFamily};

use crate::core::Core;

/// How long the second mark is waited for. What has not been told again by then goes, as if it had come.
const END_PATIENCE: Duration = Duration::from_secs(360);

/// How far apart answers to one peer about one family begin. Whoever asks sooner waits, and is answered once for all that was
/// asked meanwhile.
const ANSWERS_APART: Duration = Duration::from_secs(5);

/// What a peer has asked for in its present session.
#[derive(Debug, Default)]
pub(crate) struct Asked(PerFamily<Option<Answer>>);

/// The last answer about a family.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// When the next may begin.
    next: Instant,
    /// It was asked for already.
    is_due: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// It is answered.
    Now,
    /// It is answered then.
    At(Instant),
    /// It is one with another that waits.
    Melts,
}

impl Asked {
    fn ask(&mut self, now: Instant, afi: Afi) -> Ask {
        match self.0.get_mut(afi) {
            Some(Answer { is_due: true, .. }) => Ask::Melts,
            Some(last) if now < last.next => {
                last.is_due = true;
                Ask::At(last.next)
            }
            last => {
                let (next, is_due) = (now + ANSWERS_APART, false);
                *last = Some(Answer { next, is_due });
                Ask::Now
            }
        }
    }

    /// The families to answer about now, if this is the deadline.
    fn due(&mut self, now: Instant, at: Instant) -> Vec<Afi> {
        let mut due = Vec::new();
        for afi in Afi::ALL {
            let waiting = self.0.get_mut(afi).as_mut();
            if let Some(last) = waiting.filter(|last| last.is_due && last.next <= at) {
                let (next, is_due) = (now + ANSWERS_APART, false);
                *last = Answer { next, is_due };
                due.push(afi);
            }
        }
        due
    }
}

/// What a peer tells again in its present session.
#[derive(Debug, Default)]
pub(crate) struct Refreshing {
    /// By when all of a family is to have been told.
    until: PerFamily<Option<Instant>>,
    /// When that is looked at: one deadline, however often the peer begins anew.
    look_at: Option<Instant>,
}

impl Refreshing {
    /// Whether the second mark of a family is awaited.
    pub(crate) fn is_of(&self, afi: Afi) -> bool {
        self.until.get(afi).is_some()
    }

    /// The first mark came. Gives a deadline that is new.
    fn begin(&mut self, afi: Afi, until: Instant) -> Option<Instant> {
        *self.until.get_mut(afi) = Some(until);
        self.look_again()
    }

    /// The families whose time is over, if this is the deadline.
    fn overdue(&mut self, at: Instant) -> Vec<Afi> {
        if self.look_at != Some(at) {
            return Vec::new();
        }
        self.look_at = None;
        let due = |afi: &Afi| self.until.get(*afi).is_some_and(|until| until <= at);
        Afi::ALL.into_iter().filter(due).collect()
    }

    /// Later marks only put it off, so a deadline that stands is never too late.
    fn look_again(&mut self) -> Option<Instant> {
        if self.look_at.is_some() {
            return None;
        }
        let [v4, v6] = [self.until.v4, self.until.v6];
        self.look_at = v4.into_iter().chain(v6).min();
        self.look_at
    }
}

impl Core {
    /// The peer asks for everything of a family again, which it may do to have us stop reflecting.
    pub(crate) fn on_refresh_requested(
        &mut self,
        now: Instant,
        id: PeerId,
        conn: ConnId,
        afi: Afi,
    ) {
        if self.peers.established(id, conn).is_none() || self.stops_reflecting(id) {
            return;
        }
        let asked = self.peers.get_mut(id).map(|peer| peer.asked.ask(now, afi));
        match asked {
            Some(Ask::Now) => self.answer_refresh(id, afi),
            Some(Ask::At(at)) => _ = self.timers.insert((at, id)),
            Some(Ask::Melts) => self.melted_refreshes += 1,
            None => {}
        }
    }

    fn answer_refresh(&mut self, id: PeerId, afi: Afi) {
        let up = self.peers.get(id).and_then(|peer| peer.up.as_ref());
        if let (Some(routing), Some(up)) = (&mut self.routing, up) {
            let marks = up.negotiated.enhanced_route_refresh;
            routing.rib.refresh(id, afi, marks);
        }
    }

    /// The first mark. Before End-of-RIB it means nothing where the peer promised one (RFC 7313 4).
    pub(crate) fn on_refresh_begins(&mut self, now: Instant, id: PeerId, conn: ConnId, afi: Afi) {
        let (Some(peer), Some(routing)) = (self.peers.established(id, conn), &mut self.routing)
        else {
            return;
        };
        let awaited = peer
            .up
            .as_ref()
            .is_some_and(|up| up.negotiated.graceful_restart.is_some() && !*up.end_of_rib.get(afi));
        let Some(source) = peer.source.filter(|_| !awaited) else {
            return;
        };
        routing.rib.begin_refresh(source, afi);
        let deadline = peer.refreshing.begin(afi, now + END_PATIENCE);
        self.timers.extend(deadline.map(|at| (at, id)));
    }

    /// The second mark. Without a first one it means nothing.
    pub(crate) fn on_refresh_ends(&mut self, id: PeerId, conn: ConnId, afi: Afi) {
        if self.peers.established(id, conn).is_some() {
            self.end_refresh(id, afi);
        }
    }

    /// A deadline of a peer may be one of these.
    pub(crate) fn on_refresh_timer(&mut self, now: Instant, at: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        for afi in peer.asked.due(now, at) {
            self.answer_refresh(id, afi);
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        for afi in peer.refreshing.overdue(at) {
            self.end_refresh(id, afi);
        }
        let peer = self.peers.get_mut(id);
        let deadline = peer.and_then(|peer| peer.refreshing.look_again());
        self.timers.extend(deadline.map(|at| (at, id)));
    }

    fn end_refresh(&mut self, id: PeerId, afi: Afi) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        if peer.refreshing.until.get_mut(afi).take().is_some()
            && let Some(source) = peer.source
        {
            routing.rib.sweep_stale(source, afi);
        }
    }
}

#[cfg(test)]
mod tests;
