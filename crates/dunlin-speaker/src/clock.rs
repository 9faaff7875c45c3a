use std::time;

use dunlin_net::Instant;

/// A monotonic clock whose readings the machines are fed. Copies of one clock agree; the core must use that of its speaker.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock {
            origin: time::Instant::now(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        let micros = self.origin.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// What it read at a time; zero before it was started.
    pub fn reading(&self, at: time::Instant) -> Instant {
        let micros = at.saturating_duration_since(self.origin).as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How long from now until `at`; zero if it has passed.
    pub fn until(&self, at: Instant) -> time::Duration {
        at.since(self.now())
    }
}
