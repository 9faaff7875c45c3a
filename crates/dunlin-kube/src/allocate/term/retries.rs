//! When a write is tried again, and how often one is repeated that somebody undoes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_intent::NamespacedName;
use dunlin_net::Instant;

use crate::lease::plus;

/// The first pause; each next is twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A Service whose status was right for this long begins anew.
const CALM: Duration = Duration::from_secs(120);
/// So many writes in a row are not held up: a Service may be changed and changed again.
const AT_ONCE: u32 = 5;

/// The Services with which something went wrong, or which were written a short while ago. As many as there are Services at most.
#[derive(Debug, Default)]
pub(super) struct Retries {
    troubled: BTreeMap<NamespacedName, Trouble>,
    later: BTreeSet<(Instant, NamespacedName)>,
}

#[derive(Debug)]
struct Trouble {
    attempts: u32,
    /// The last attempt.
    last: Instant,
    /// When it may be tried again.
    not_before: Instant,
}

impl Retries {
    /// A write failed. `conflict` if only because our view was old, which mends itself.
    pub(super) fn failed(&mut self, now: Instant, name: &NamespacedName, conflict: bool) {
        let attempts = self.attempt(now, name);
        let pause = match conflict {
            true => FIRST,
            false => pause(attempts),
        };
        self.put_off(name, plus(now, pause));
    }

    /// A write succeeded; should it have to be repeated soon and often, somebody undoes it.
    pub(super) fn succeeded(&mut self, now: Instant, name: &NamespacedName) {
        let attempts = self.attempt(now, name);
        let not_before = match attempts.checked_sub(AT_ONCE) {
            Some(more) => plus(now, pause(more + 2)),
            None => now,
        };
        if let Some(trouble) = self.troubled.get_mut(name) {
            trouble.not_before = not_before;
        }
    }

    /// Whether it may be written now; if not, it comes up when it may.
    pub(super) fn may_write(&mut self, now: Instant, name: &NamespacedName) -> bool {
        match self.troubled.get(name) {
            Some(trouble) if now < trouble.not_before => {
                let at = trouble.not_before;
                self.put_off(name, at);
                false
            }
            _ => true,
        }
    }

    /// Something new is known of it: if it failed, it may be tried again at once, though not without end.
    pub(super) fn hasten(&mut self, name: &NamespacedName) {
        if let Some(trouble) = self.troubled.get_mut(name)
            && trouble.attempts < AT_ONCE
        {
            let at = std::mem::replace(&mut trouble.not_before, trouble.last);
            self.later.remove(&(at, name.clone()));
        }
    }

    /// Those whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<NamespacedName> {
        let mut due = Vec::new();
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            due.extend(self.later.pop_first().map(|(_, name)| name));
        }
        due
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The Service is gone.
    pub(super) fn forget(&mut self, name: &NamespacedName) {
        if let Some(trouble) = self.troubled.remove(name) {
            self.later.remove(&(trouble.not_before, name.clone()));
        }
    }

    fn attempt(&mut self, now: Instant, name: &NamespacedName) -> u32 {
        let trouble = self.troubled.entry(name.clone()).or_insert(Trouble {
            attempts: 0,
            last: now,
            not_before: now,
        });
        if now >= plus(trouble.last, CALM) {
            trouble.attempts = 0;
        }
        trouble.attempts = trouble.attempts.saturating_add(1);
        trouble.last = now;
        trouble.attempts
    }

    fn put_off(&mut self, name: &NamespacedName, at: Instant) {
        if let Some(trouble) = self.troubled.get_mut(name) {
            let before = std::mem::replace(&mut trouble.not_before, at);
            self.later.remove(&(before, name.clone()));
            self.later.insert((at, name.clone()));
        }
    }
}

fn pause(attempts: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests;
