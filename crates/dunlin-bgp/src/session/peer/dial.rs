//! When the peer is dialled, and the state that is shown.

use std::net::IpAddr;
use std::time::Duration;

use dunlin_net::Instant;

use super::conn::{Conn, Direction};
use super::{DIAL_PATIENCE, Peer};
use crate::session::pace::{Backoff, Damping, jittered};
use crate::session::{Action, DownReason, FsmState, Remote, SessionEvent, TransportError};

impl Peer {
    /// Whether a dial belongs to the plan at all.
    pub(super) fn wants_dial(&self) -> bool {
        self.stopped.is_none()
            && !self.config.passive
            && matches!(self.config.remote, Remote::Address(_))
            && !self
                .conns
                .iter()
                .any(|conn| conn.direction == Direction::Outgoing || conn.is_open())
    }

    /// A dial or a session has ended: when is the next dial?
    pub(super) fn plan_dial(&mut self, now: Instant, reason: &DownReason) {
        self.dial_at = match reason {
            // The try itself took its time.
            DownReason::Transport(TransportError::TimedOut)
            | DownReason::ConfigChanged
            | DownReason::Moved { .. } => now,
            // The neighbour may be there again any moment, and no one is bothered by trying.
            DownReason::Transport(TransportError::Unreachable | TransportError::NoRoute) => {
                now + jittered(&mut self.chance, DIAL_PATIENCE)
            }
            _ => {
                let longest = Duration::from_secs(self.config.timers.connect_retry_secs.into());
                let pause = self.backoff.pause(longest);
                now + jittered(&mut self.chance, pause)
            }
        };
    }

    /// Forgets all penalties and dials now.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.damping = Damping::default();
        self.backoff = Backoff::new();
        self.dial_at = now;
    }

    /// Dials if it is time, and tells the state if it has changed.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.dial_at <= now && self.wants_dial() && !self.damping.is_holding(now) {
            self.dial(now);
        }
        let furthest = self.conns.iter().map(Conn::state).max();
        let state = furthest.unwrap_or_else(|| {
            if self.stopped.is_some() || self.damping.is_holding(now) {
                FsmState::Idle
            } else {
                FsmState::Active
            }
        });
        if state != self.shown {
            self.shown = state;
            self.shown_since = now;
        }
        self.tell_state();
    }

    fn dial(&mut self, now: Instant) {
        let Remote::Address(remote) = self.config.remote else {
            return;
        };
        let conn = self.add(now, Direction::Outgoing);
        self.stats.dials += 1;
        self.actions.push_back(Action::Dial {
            conn,
            remote,
            local: self
                .config
                .local_address
                .map(|local| IpAddr::to_canonical(&local)),
        });
    }

    fn tell_state(&mut self) {
        // A peer that is dialled over and over goes to and fro between these two: that is one state to the core.
        let state = match self.shown {
            FsmState::Active if !self.config.passive => FsmState::Connect,
            state => state,
        };
        let reason = match &self.stopped {
            Some(stop) => Some(DownReason::Stopped(stop.clone())),
            None if state == FsmState::Established => None,
            None => self
                .stats
                .last_error
                .as_ref()
                .map(|(_, reason)| reason.clone()),
        };
        let now_told = Some((state, reason));
        if self.told != now_told {
            self.told = now_told;
            if let Some((state, reason)) = self.told.clone() {
                self.actions.push_back(Action::Event(SessionEvent::State {
                    peer: self.id,
                    state,
                    reason,
                }));
            }
        }
    }
}
