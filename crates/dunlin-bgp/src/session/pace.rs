//! How fast a peer is tried: jitter, pauses between dials, and holding back a peer that fails over and over.

use std::time::Duration;

use dunlin_net::{Chance, Instant};

/// Three quarters of `duration` up to all of it (RFC 4271 10).
pub(super) fn jittered(chance: &mut Chance, duration: Duration) -> Duration {
    chance.shortened(duration, 0..=250)
}

/// The pause before the next dial: a second first, then twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Backoff {
        Backoff { next: Self::FIRST }
    }

    /// The pause now, never above `longest`.
    pub(super) fn pause(&mut self, longest: Duration) -> Duration {
        let pause = self.next.min(longest);
        self.next = (pause * 2).min(longest);
        pause
    }
}

/// Holds back a peer that fails over and over (RFC 4271 8.1.1, DampPeerOscillations): its connections are refused and it
/// is not dialled for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    /// Short sessions, less what long ones took off.
    short_sessions: u32,
    /// OPENs refused by either side, one after the other.
    refusals: u32,
    until: Option<Instant>,
}

impl Damping {
    /// A session shorter than this counts against the peer; each such span of a longer one counts in its favour.
    const SHORT: Duration = Duration::from_secs(10);
    /// So many short sessions are forgiven: a peer may be restarted a few times in a row.
    const FORGIVEN: u32 = 5;
    const LONGEST_AFTER_FLAPS: Duration = Duration::from_secs(30);
    const LONGEST_AFTER_REFUSALS: Duration = Duration::from_secs(60);

    /// A session that had been Established so long has ended, not by our will.
    pub(super) fn on_flap(&mut self, now: Instant, lived: Duration) {
        if lived < Self::SHORT {
            self.short_sessions = self.short_sessions.saturating_add(1);
        } else {
            let spans = lived.as_secs() / Self::SHORT.as_secs();
            let spans = u32::try_from(spans).unwrap_or(u32::MAX);
            self.short_sessions = self.short_sessions.saturating_sub(spans);
        }
        if let Some(excess @ 1..) = self.short_sessions.checked_sub(Self::FORGIVEN) {
            self.hold(now, excess - 1, Self::LONGEST_AFTER_FLAPS);
        }
    }

    /// One side refused the other's OPEN. Several connections refused at once count once.
    pub(super) fn on_refusal(&mut self, now: Instant) {
        if !self.is_holding(now) {
            self.refusals = self.refusals.saturating_add(1);
            self.hold(now, self.refusals - 1, Self::LONGEST_AFTER_REFUSALS);
        }
    }

    /// The OPENs of both sides were good.
    pub(super) fn on_accepted(&mut self) {
        self.refusals = 0;
    }

    fn hold(&mut self, now: Instant, doublings: u32, longest: Duration) {
        let hold = Duration::from_secs(1 << doublings.min(16)).min(longest);
        self.hold_for(now, hold);
    }

    /// Holds back at least so long from now.
    pub(super) fn hold_for(&mut self, now: Instant, hold: Duration) {
        if !hold.is_zero() {
            self.until = self.until.max(Some(now + hold));
        }
    }

    pub(super) fn is_holding(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When the peer is let in again; cleared by [`Damping::release`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the time is over just now.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}
