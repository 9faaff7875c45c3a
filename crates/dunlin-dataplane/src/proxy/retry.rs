//! What the kernel refused, and when it is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::Instant;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::KernelError;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Why the kernel does not hold what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the kernel said.
    pub error: Arc<KernelError>,
    /// How often it has, in a row.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Instant,
}

/// How long to wait after so many failures in a row.
pub(super) fn delay(attempts: u32) -> Duration {
    FIRST_DELAY
        .saturating_mul(1 << attempts.saturating_sub(1).min(16))
        .min(MAX_DELAY)
}

/// Bounded by the number of frontends.
#[derive(Debug)]
pub(super) struct Retries {
    failures: HashMap<u32, Failure, FixedState>,
    deadlines: BTreeSet<(Instant, u32)>,
}

impl Retries {
    pub(super) fn new(hasher: &FixedState) -> Retries {
        Retries {
            failures: HashMap::with_hasher(hasher.clone()),
            deadlines: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, unit: u32) -> Option<&Failure> {
        self.failures.get(&unit)
    }

    pub(super) fn len(&self) -> usize {
        self.failures.len()
    }

    /// Whether `unit` failed and its time has not come.
    pub(super) fn waits(&self, unit: u32, now: Instant) -> bool {
        !self.failures.is_empty() && self.get(unit).is_some_and(|failure| failure.retry_at > now)
    }

    pub(super) fn fail(&mut self, now: Instant, unit: u32, error: Arc<KernelError>) {
        let attempts = self.clear(unit).map_or(0, |failure| failure.attempts);
        let attempts = attempts.saturating_add(1);
        let retry_at = now + delay(attempts);
        self.deadlines.insert((retry_at, unit));
        let failure = Failure {
            error,
            attempts,
            retry_at,
        };
        self.failures.insert(unit, failure);
    }

    pub(super) fn clear(&mut self, unit: u32) -> Option<Failure> {
        if self.failures.is_empty() {
            return None;
        }
        let failure = self.failures.remove(&unit)?;
        self.deadlines.remove(&(failure.retry_at, unit));
        Some(failure)
    }

    /// Takes a unit whose time has come. Its failure stays known until it is cleared or fails again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (retry_at, unit) = *self.deadlines.first()?;
        if retry_at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(unit)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}
