//! Intervals, how they change, and poll sequences (RFC 5880 6.5, 6.8.2 to 6.8.4, 6.8.7).

use std::time::Duration;

use dunlin_net::Instant;

use super::Session;
use crate::State;

/// bfd.DesiredMinTxInterval of a session that is not up, at the least (RFC 5880 6.8.3).
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// No answer to a poll is under way for longer; nor for longer than the peer waits for us.
const LATE_ANSWER: Duration = Duration::from_secs(1);

/// As the wire has it.
pub(super) fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

/// A poll sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    /// None is under way. A change of intervals begins the next from this time on.
    Idle(Instant),
    /// To be begun by the next packet in turn.
    Wanted,
    /// Packets with P have been sent, and none with F has come.
    Asked,
}

impl Poll {
    pub(super) fn after(at: Instant) -> Poll {
        Poll::Idle(at)
    }

    pub(super) fn is_idle(self) -> bool {
        matches!(self, Poll::Idle(_))
    }

    /// Whether a packet that is sent now carries P.
    pub(super) fn ask(&mut self) -> bool {
        if !self.is_idle() {
            *self = Poll::Asked;
        }
        !self.is_idle()
    }
}

/// Repeats AdminDown at the pace of before, until the peer must have heard it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    pub(super) pace: Duration,
    pub(super) until: Instant,
}

impl Farewell {
    /// For a session that is about to be kept down; none if the peer has nothing to be told.
    pub(super) fn begin(session: &Session, now: Instant) -> Option<Farewell> {
        let counts_on_us = matches!(session.state, State::Init | State::Up);
        let pace = session.transmit_interval();
        counts_on_us.then(|| Farewell {
            pace,
            until: now + pace * u32::from(session.config.detect_mult),
        })
    }
}

impl Session {
    /// What the peer and we agreed that we send: never less is between packets in turn, but for jitter.
    pub(super) fn transmit_interval(&self) -> Duration {
        let ours = self
            .farewell
            .map_or(self.tx_in_force, |farewell| farewell.pace);
        ours.max(self.remote.min_rx)
    }

    /// RFC 5880 6.8.4; none while nothing is heard.
    pub(super) fn detection_time(&self) -> Option<Duration> {
        self.heard?;
        let interval = self.rx_in_force.max(self.remote.desired_tx);
        Some(interval * u32::from(self.remote.detect_mult))
    }

    pub(super) fn detection_deadline(&self) -> Option<Instant> {
        Some(self.heard? + self.detection_time()?)
    }

    /// Makes known what the configuration and the state ask for, when the time has come (RFC 5880 6.8.3).
    pub(super) fn advertise(&mut self, now: Instant) {
        let (tx, rx) = self.wanted_intervals();
        if (tx, rx) == (self.desired_tx, self.required_rx) {
            return;
        }
        let up = self.state == State::Up;
        if up && !matches!(self.poll, Poll::Idle(from) if from <= now) {
            return;
        }
        (self.desired_tx, self.required_rx) = (tx, rx);
        // Up, the peer must know first of what could make either end believe that the other is gone.
        if !up || tx < self.tx_in_force {
            self.tx_in_force = tx;
        }
        if !up || rx > self.rx_in_force {
            self.rx_in_force = rx;
        }
        // In AdminDown no answer is awaited.
        self.poll = match self.state {
            State::AdminDown => Poll::after(now),
            _ => {
                self.stats.polls += 1;
                Poll::Wanted
            }
        };
    }

    fn wanted_intervals(&self) -> (Duration, Duration) {
        let tx = self.config.desired_min_tx;
        let tx = if self.state == State::Up {
            tx
        } else {
            tx.max(SLOW)
        };
        (tx, self.config.required_min_rx)
    }

    /// A packet with F has come.
    pub(super) fn end_poll(&mut self, now: Instant) {
        if self.poll == Poll::Asked {
            self.tx_in_force = self.desired_tx;
            self.rx_in_force = self.required_rx;
            let silence = self.transmit_interval() * u32::from(self.config.detect_mult);
            self.poll = Poll::after(now + silence.min(LATE_ANSWER));
        }
    }

    /// Plans the next packet in turn, or none (RFC 5880 6.8.7).
    pub(super) fn pace(&mut self, now: Instant) {
        if !self.sends_in_turn() {
            self.next_transmit = None;
            return;
        }
        let interval = self.transmit_interval();
        if self.next_transmit.is_some() && self.paced == interval {
            return;
        }
        // A shorter interval counts from the last packet, which may be longer ago; a longer one as well.
        self.paced = interval;
        let by = if self.config.detect_mult == 1 {
            100..=250
        } else {
            0..=250
        };
        self.next_transmit = Some(match self.last_transmit {
            Some(last) => (last + self.chance.shortened(interval, by)).max(now),
            None => now,
        });
    }

    fn sends_in_turn(&self) -> bool {
        let remote = &self.remote;
        let demanded = remote.demand
            && self.state == State::Up
            && remote.state == State::Up
            && self.poll.is_idle();
        let over = self.leaving && self.farewell.is_none();
        !self.is_mute() && !remote.min_rx.is_zero() && !demanded && !over
    }

    /// When to call [`Session::on_deadline`] at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let out_of_turn = (self.final_due || self.change_due).then(|| self.allowance.next());
        let next_poll = match self.poll {
            Poll::Idle(from) if self.wanted_intervals() != (self.desired_tx, self.required_rx) => {
                Some(from)
            }
            _ => None,
        };
        [
            self.next_transmit,
            self.detection_deadline(),
            self.farewell.map(|farewell| farewell.until),
            out_of_turn,
            next_poll,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
