//! Who of many does what only one may do: leader election by a Lease (coordination.k8s.io/v1).
//!
//! [`Election`] is a machine: it is fed `(now, answer)`, says what to ask the API server, and until when what this process does
//! in the name of the Lease must be over. `now` has to go on while the machine sleeps, or a process that slept believes in a
//! Lease that ran out: [`boot_time`] does. Clocks of others are never compared with; a Lease ran out if it has not changed
//! for its duration while we looked.

mod record;

use std::time::Duration;

use dunlin_net::Instant;

pub use record::{LeaseRecord, LeaseWrite};

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// `spec.leaseDurationSeconds`: others wait this long after the last change they saw.
    pub duration: Duration,
    /// How often the holder renews it.
    pub renew: Duration,
    /// The pause after a request that failed.
    pub retry: Duration,
    /// How long a request may take, both about the Lease and in its name.
    pub request: Duration,
    /// By how much earlier than others may take over everything is over here: clocks that run at unequal speed, and what the
    /// API server does after its deadline.
    pub margin: Duration,
}

impl Default for LeaseTimes {
    fn default() -> LeaseTimes {
        LeaseTimes {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(4),
            retry: Duration::from_secs(2),
            request: crate::ask::TIMEOUT,
            margin: Duration::from_secs(1),
        }
    }
}

/// What to ask the API server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRequest {
    /// The Lease as it is.
    Read,
    /// To write it: to create it, or to replace the version named.
    Write(LeaseWrite),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The Lease as it is now.
    Is(LeaseRecord),
    /// There is none.
    Missing,
    /// Somebody else wrote in between.
    Conflict,
    /// Nobody knows: it may have been done or not, or may be done yet.
    Failed,
}

/// One who may come to hold a Lease.
#[derive(Debug)]
pub struct Election {
    identity: String,
    times: LeaseTimes,
    /// How often it is read by one who does not hold it.
    pace: Duration,
    random: u64,
    /// The Lease as it was last seen, and since when it has been so.
    seen: Option<(LeaseRecord, Instant)>,
    /// When the request was sent whose answer made or kept us its holder.
    held_since: Option<Instant>,
    /// When to ask next.
    next: Instant,
    /// What was asked, and when.
    asked: Option<(Instant, Plan)>,
    /// What to ask next.
    plan: Plan,
    /// How often we came to hold it.
    term: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Look,
    Write,
}

impl Election {
    /// Begins to look at `first`, and at each `pace` from then on. `identity` must be another for each process.
    pub fn new(
        identity: String,
        times: LeaseTimes,
        pace: Duration,
        first: Instant,
        seed: u64,
    ) -> Election {
        Election {
            identity,
            times,
            pace,
            random: seed | 1,
            seen: None,
            held_since: None,
            next: first,
            asked: None,
            plan: Plan::Look,
            term: 0,
        }
    }

    /// How often to look from now on.
    pub fn set_pace(&mut self, now: Instant, pace: Duration) {
        if pace != self.pace {
            self.pace = pace;
            if self.held_since.is_none() && self.asked.is_none() {
                self.next = self.next.min(self.in_about(now, pace));
            }
        }
    }

    /// When [`Election::poll`] has something to do; none while an answer is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.is_none().then_some(self.next)
    }

    /// What to ask for now. The answer goes to [`Election::answer`], also if there is none.
    pub fn poll(&mut self, now: Instant) -> Option<LeaseRequest> {
        if self.asked.is_some() || now < self.next {
            return None;
        }
        if self.held_since.is_some() && self.holds_until(now).is_none() {
            // It ran out before we could renew it: perhaps another has it.
            self.held_since = None;
            self.plan = Plan::Look;
        }
        self.asked = Some((now, self.plan));
        let seen = self.seen.as_ref().map(|(record, _)| record);
        Some(match self.plan {
            Plan::Look => LeaseRequest::Read,
            Plan::Write => {
                let write = LeaseWrite::take(seen, &self.identity, self.times.duration);
                LeaseRequest::Write(write)
            }
        })
    }

    /// Takes in what came of the last request.
    pub fn answer(&mut self, now: Instant, answer: LeaseAnswer) {
        let Some((sent, asked)) = self.asked.take() else {
            return;
        };
        match (asked, answer) {
            (Plan::Write, LeaseAnswer::Is(record)) if record.holder == self.identity => {
                if self.held_since.replace(sent).is_none() {
                    self.term += 1;
                }
                self.see(now, record);
                self.next = self.in_about(sent, self.times.renew).max(now);
            }
            (_, LeaseAnswer::Is(record)) => self.look(now, record),
            (Plan::Look, LeaseAnswer::Missing) => self.missing(now),
            // It went, or somebody wrote: by ourselves, in a request whose answer was lost, or another. Reading tells.
            (Plan::Write, LeaseAnswer::Missing | LeaseAnswer::Conflict) => {
                self.plan = Plan::Look;
                self.next = now;
            }
            (_, LeaseAnswer::Failed | LeaseAnswer::Conflict) => {
                if self.held_since.is_none() {
                    self.plan = Plan::Look;
                }
                // Who looks rarely does so with a server in trouble as well, or thousands would ask it every other second.
                let pause = match asked {
                    Plan::Look => self.times.retry.max(self.pace),
                    Plan::Write => self.times.retry,
                };
                self.next = self.in_about(now, pause);
            }
        }
    }

    /// There is no Lease. If there was one, its holder may not know yet, and its time is waited out.
    fn missing(&mut self, now: Instant) {
        self.held_since = None;
        let wait = match self.seen.take() {
            Some((record, _)) if !record.holder.is_empty() => record.duration.min(MAX_DURATION),
            _ => Duration::ZERO,
        };
        self.plan = match wait.is_zero() {
            true => Plan::Write,
            false => Plan::Look,
        };
        self.next = plus(now, wait);
    }

    /// Until when all that is done in the name of the Lease must be over; none if we do not hold it.
    pub fn holds_until(&self, now: Instant) -> Option<Instant> {
        self.until().filter(|until| now < *until)
    }

    /// How often we came to hold it: another number means that others may have held it in between.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Gives the Lease up. What is to be written for it, so that another need not wait; nothing if we do not hold it.
    pub fn resign(&mut self, now: Instant) -> Option<LeaseWrite> {
        let holds = self.holds_until(now).is_some();
        self.held_since = None;
        self.plan = Plan::Look;
        let (record, _) = self.seen.as_ref()?;
        holds.then(|| LeaseWrite::release(record))
    }

    /// The Lease as it was last seen.
    pub fn seen(&self) -> Option<&LeaseRecord> {
        self.seen.as_ref().map(|(record, _)| record)
    }

    fn until(&self) -> Option<Instant> {
        let lasts = self.times.duration.saturating_sub(self.times.margin);
        Some(plus(self.held_since?, lasts))
    }

    fn look(&mut self, now: Instant, record: LeaseRecord) {
        let ours = record.holder == self.identity;
        if !ours {
            self.held_since = None;
        }
        let duration = record.duration.min(MAX_DURATION);
        self.see(now, record);
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let free = self.seen.as_ref().is_some_and(|(r, _)| r.holder.is_empty());
        if ours || free || now >= plus(since, duration) {
            self.plan = Plan::Write;
            self.next = now;
            return;
        }
        self.plan = Plan::Look;
        // Whoever looks often looks again the moment it would run out.
        let by_pace = self.in_about(now, self.pace);
        self.next = match self.pace < duration {
            true => by_pace.min(plus(since, duration)),
            false => by_pace,
        };
    }

    fn see(&mut self, now: Instant, record: LeaseRecord) {
        match &self.seen {
            Some((seen, _)) if *seen == record => {}
            _ => self.seen = Some((record, now)),
        }
    }

    /// Up to an eighth sooner or later, so that many do not ask at once.
    fn in_about(&mut self, from: Instant, pause: Duration) -> Instant {
        // xorshift64: which numbers come is of no importance.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let eighth = pause / 8;
        let spread = u64::try_from(eighth.as_micros() * 2).unwrap_or(u64::MAX);
        let more = Duration::from_micros(self.random % spread.max(1));
        plus(from, pause - eighth + more)
    }
}

/// The longest that a Lease is believed to last, whatever it says.
const MAX_DURATION: Duration = Duration::from_secs(120);

/// A moment after another.
pub(crate) fn plus(at: Instant, later: Duration) -> Instant {
    let later = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(at.as_micros().saturating_add(later))
}

/// Now, by a clock that goes on while the machine sleeps and that nobody sets.
pub fn boot_time() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
    Instant::from_micros(secs.saturating_mul(1_000_000).saturating_add(micros))
}

#[cfg(test)]
mod tests;
