//! When to try again.

use std::time::Duration;

/// The first pause, at most; doubled with each failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest that a server's own wish is honoured.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// Pauses that grow and are never the same for two who fail together.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    chance: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff {
            failures: 0,
            chance: seed,
        }
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now, at least as long as the server asks for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // The first time anywhere between nothing and all, since everybody fails at once; later the upper half.
        let least = if self.failures == 1 { 0.0 } else { 0.5 };
        let pause = most.mul_f64(least + (1.0 - least) * self.chance());
        let spread = asked.map_or(Duration::ZERO, |asked| {
            asked.min(LONGEST_WISH).mul_f64(1.0 + self.chance() / 4.0)
        });
        pause.max(spread)
    }

    /// A number from 0 to 1 (SplitMix64).
    pub(super) fn chance(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
