//! Failures that are remembered, and when each is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::Instant;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::types::{Class, Failure, Reason};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const FIRST_CONFLICT_DELAY: Duration = Duration::from_secs(5);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Different texts kept; the kernel has few for routes, and further ones are dropped.
const MAX_MESSAGES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Object(u32),
    Route(Class, u32),
}

/// Bounded by the number of routes and nexthop objects.
#[derive(Debug)]
pub(super) struct Retries {
    failures: HashMap<Key, Failure, FixedState>,
    deadlines: BTreeSet<(Instant, Key)>,
    messages: Vec<Arc<str>>,
}

impl Retries {
    pub(super) fn new(hasher: &FixedState) -> Retries {
        Retries {
            failures: HashMap::with_hasher(hasher.clone()),
            deadlines: BTreeSet::new(),
            messages: Vec::new(),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Failure> {
        self.failures.get(&key)
    }

    /// Whether `key` failed and its time has not come.
    pub(super) fn waits(&self, key: Key, now: Instant) -> bool {
        self.failures
            .get(&key)
            .is_some_and(|failure| failure.retry_at.is_none_or(|retry_at| retry_at > now))
    }

    pub(super) fn fail(
        &mut self,
        now: Instant,
        key: Key,
        reason: Reason,
        errno: i32,
        message: Option<&str>,
    ) {
        let message = message.and_then(|message| self.intern(message));
        let attempts = self
            .clear(key)
            .map_or(0, |failure| failure.attempts)
            .saturating_add(1);
        let first = match reason {
            Reason::FamilyMismatch => None,
            Reason::Conflict => Some(FIRST_CONFLICT_DELAY),
            _ => Some(FIRST_DELAY),
        };
        let retry_at = first.map(|first| {
            now + first
                .saturating_mul(1 << (attempts - 1).min(16))
                .min(MAX_DELAY)
        });
        if let Some(retry_at) = retry_at {
            self.deadlines.insert((retry_at, key));
        }
        self.failures.insert(
            key,
            Failure {
                reason,
                errno,
                message,
                retry_at,
                attempts,
            },
        );
    }

    pub(super) fn clear(&mut self, key: Key) -> Option<Failure> {
        let failure = self.failures.remove(&key)?;
        if let Some(retry_at) = failure.retry_at {
            self.deadlines.remove(&(retry_at, key));
        }
        Some(failure)
    }

    /// Takes a key whose time has come. Its failure stays known until it is cleared or fails again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let (retry_at, key) = *self.deadlines.first()?;
        if retry_at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(key)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Makes everything but conflicts due now.
    pub(super) fn hasten(&mut self, now: Instant) {
        for (key, failure) in &mut self.failures {
            let Some(at) = failure.retry_at else { continue };
            if at > now && failure.reason != Reason::Conflict {
                self.deadlines.remove(&(at, *key));
                self.deadlines.insert((now, *key));
                failure.retry_at = Some(now);
            }
        }
    }

    fn intern(&mut self, message: &str) -> Option<Arc<str>> {
        if let Some(known) = self.messages.iter().find(|known| &***known == message) {
            return Some(known.clone());
        }
        if self.messages.len() >= MAX_MESSAGES {
            return None;
        }
        let message: Arc<str> = Arc::from(message);
        self.messages.push(message.clone());
        Some(message)
    }
}
