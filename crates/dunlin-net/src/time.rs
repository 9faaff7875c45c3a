use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a monotonic clock, in microseconds since some fixed start. Machines are given it; they never read a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Instant = Instant(0);

    /// From microseconds since the start of the clock.
    pub fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Microseconds since the start of the clock.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if it is not earlier.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of the clock.
    fn add(self, duration: Duration) -> Instant {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(micros))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}
