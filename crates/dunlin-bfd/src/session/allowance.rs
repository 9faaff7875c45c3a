use std::time::Duration;

use dunlin_net::Instant;

/// How many packets may be sent out of turn: eight at once, then one each [`Allowance::EACH`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// When all eight are there again.
    full_at: Instant,
}

impl Allowance {
    pub(super) const EACH: Duration = Duration::from_millis(10);
    pub(super) const BURST: u32 = 8;

    pub(super) fn full(now: Instant) -> Allowance {
        Allowance { full_at: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.next() > now {
            return false;
        }
        self.full_at = self.full_at.max(now) + Allowance::EACH;
        true
    }

    /// When there is one.
    pub(super) fn next(&self) -> Instant {
        let ahead = Allowance::EACH * (Allowance::BURST - 1);
        let micros = u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(self.full_at.as_micros().saturating_sub(micros))
    }
}
