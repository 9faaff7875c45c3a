//! When a node writes what it tells of itself through the API server, so that the whole cluster is never a burden to it.
//!
//! Each node has a slot of 10 ms of its own, by its place among the Nodes' names, in a round of as many slots as there are
//! Nodes; the slots lie on the wall clock, which nodes agree on. A node writes in its slots alone, and then at most once
//! each `max(10 s, nodes / 100 s)`. So all nodes together write at most 100 times a second whatever the size of the cluster
//! and however many of them see the same change at once. Where clocks differ the slots do too, which spreads the writes no
//! less in the mean.

use std::time::Duration;

use dunlin_net::Instant;

/// How many writes a second all nodes of a cluster do at most.
pub const CLUSTER_WRITES_PER_SEC: u32 = 100;
/// A node's slot.
const SLOT: Duration = Duration::from_micros(1_000_000 / CLUSTER_WRITES_PER_SEC as u64);
/// A node writes at most once in this time.
pub const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// How long after a change it is looked at: changes come in company.
pub const DEBOUNCE: Duration = Duration::from_millis(500);
/// Changes of nothing but figures wait for so many intervals.
pub const FIGURES_INTERVALS: u32 = 6;
/// The pause after a first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and the one after a failure that time alone will not mend.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The time on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The one that never jumps: intervals are measured by it.
    pub now: Instant,
    /// Microseconds since 1970: slots lie on it.
    pub wall_micros: u64,
}

/// How a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may go better in a moment.
    Soon,
    /// Somebody has to do something first: the definitions are of another version.
    Slow,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct StatusPlan {
    rank: u32,
    nodes: u32,
    /// Since when something is to be told.
    changed: Option<Instant>,
    /// Since when figures are.
    figures: Option<Instant>,
    /// The slot of the last write.
    written: Option<Instant>,
    /// The slot that was last used to look.
    looked: Instant,
    not_before: Instant,
    failures: Failures,
}

impl Default for StatusPlan {
    fn default() -> StatusPlan {
        StatusPlan::new()
    }
}

impl StatusPlan {
    /// Nothing has changed and nothing was written.
    pub fn new() -> StatusPlan {
        StatusPlan {
            rank: 0,
            nodes: 1,
            changed: None,
            figures: None,
            written: None,
            looked: Instant::ZERO,
            not_before: Instant::ZERO,
            failures: Failures::default(),
        }
    }

    /// Says how many Nodes there are, and how many of them come before this one.
    pub fn set_place(&mut self, rank: u32, nodes: u32) {
        self.nodes = nodes.max(1);
        self.rank = rank.min(self.nodes - 1);
    }

    /// A round of slots.
    pub fn round(&self) -> Duration {
        SLOT * self.nodes
    }

    /// The least time between two writes.
    pub fn interval(&self) -> Duration {
        self.round().max(MIN_INTERVAL)
    }

    /// Something changed.
    pub fn changed(&mut self, now: Instant) {
        self.changed.get_or_insert(now);
    }

    /// Figures changed.
    pub fn figures_changed(&mut self, now: Instant) {
        self.figures.get_or_insert(now);
    }

    /// When to look at what there is to tell; none if nothing changed.
    pub fn due(&self, clocks: Clocks) -> Option<Instant> {
        let after = |since: Option<Instant>, pause: Duration| {
            since.map(|at| {
                let earliest = self
                    .written
                    .map_or(Instant::ZERO, |written| written + pause);
                earliest.max(at + DEBOUNCE).max(self.not_before)
            })
        };
        let changed = after(self.changed, self.interval());
        let figures = after(self.figures, self.interval() * FIGURES_INTERVALS);
        let ready = changed.into_iter().chain(figures).min()?;
        Some(self.slot(clocks, ready))
    }

    /// Whether to look now. What changes from here on is to be told anew.
    pub fn look(&mut self, clocks: Clocks) -> bool {
        match self.due(clocks) {
            Some(due) if due <= clocks.now => {
                self.looked = due;
                self.changed = None;
                self.figures = None;
                true
            }
            _ => false,
        }
    }

    /// Whether figures alone are worth a write in the slot that was just looked in.
    pub fn figures_due(&self) -> bool {
        let pause = self.interval() * FIGURES_INTERVALS;
        self.written
            .is_none_or(|written| self.looked + SLOT >= written + pause)
    }

    /// What there was to tell has been written.
    pub fn written(&mut self) {
        self.written = Some(self.looked);
        self.failures = Failures::default();
    }

    /// It could not be written. `chance` is any number, to spread those who fail together.
    pub fn failed(&mut self, now: Instant, failure: Failure, chance: u64) {
        self.changed(now);
        self.not_before = now + self.failures.pause(failure, chance);
    }

    /// The first of our slots that does not begin before `ready`, but for half a slot: clocks are read one after the other.
    fn slot(&self, clocks: Clocks, ready: Instant) -> Instant {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let round = micros(self.round());
        let begin = u64::from(self.rank) * micros(SLOT);
        let ready = ready.as_micros().saturating_sub(micros(SLOT) / 2);
        // Where `ready` is on the wall clock, modulo the round.
        let wall = i128::from(clocks.wall_micros) - i128::from(clocks.now.as_micros());
        let at = (wall + i128::from(ready)).rem_euclid(i128::from(round));
        let wait = (i128::from(begin) - at).rem_euclid(i128::from(round));
        let wait = u64::try_from(wait).unwrap_or(0);
        Instant::from_micros(ready.saturating_add(wait))
    }
}

/// How often in a row something failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures(u32);

impl Failures {
    /// One more: how long to wait. `chance` is any number.
    pub fn pause(&mut self, failure: Failure, chance: u64) -> Duration {
        let pause = match failure {
            Failure::Slow => LONGEST_PAUSE,
            Failure::Soon => (FIRST_PAUSE * (1 << self.0.min(16))).min(LONGEST_PAUSE),
        };
        self.0 = self.0.saturating_add(1);
        // Three quarters to five quarters of it.
        let spread = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX);
        pause * 3 / 4 + Duration::from_micros(chance % spread.max(1))
    }
}

/// Lets so many through each second.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// When it was last filled up.
    at: Instant,
    /// What is in it, in the time that it takes to come in.
    level: Duration,
    each: Duration,
    depth: Duration,
}

impl TokenBucket {
    /// Full: `per_sec` in the long run, and `burst` at once.
    pub fn new(now: Instant, per_sec: u32, burst: u32) -> TokenBucket {
        let each = Duration::from_secs(1) / per_sec.max(1);
        let depth = each * burst.max(1);
        TokenBucket {
            at: now,
            level: depth,
            each,
            depth,
        }
    }

    /// Takes one, or says when there will be one.
    ///
    /// # Errors
    /// The time to come again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let come_in = now.since(self.at);
        self.level = self.level.saturating_add(come_in).min(self.depth);
        self.at = now.max(self.at);
        match self.level.checked_sub(self.each) {
            Some(left) => {
                self.level = left;
                Ok(())
            }
            None => Err(now + (self.each - self.level)),
        }
    }
}

#[cfg(test)]
mod tests;
