//! Gives addresses of `LoadBalancerPool`s to Services of type LoadBalancer: by one agent of the cluster, which holds a Lease.
//!
//! ```text
//!  source's facts ─► Roster ─► Election ──────────────► Lease
//!   (every agent)      │          │ holds it until …
//!                      └─► Term: list + watch ─► Pools ─► patches of services/status, Events
//! ```
//!
//! No address is given twice. The holder begins no write that could still be done when another may hold the Lease: it ends
//! them a second before that, by a clock that goes on while the machine sleeps, and the server is told the same deadline.
//! Whoever comes after it lists Services and pools as they are then. Each write names the version of the Service that was
//! decided upon, so even one that comes late, out of a process that was stopped in mid-write, meets a Service that was changed.
//!
//! Cost to the API server: without any `LoadBalancerPool`, none. With one: the holder writes the Lease each 4 s and has three
//! watches; two or three nodes read the Lease each 1.5 s; all others together at most 5 times a second, each at most twice a minute.

mod feed;
mod refusals;
mod roster;
mod status;
mod term;

use std::time::Duration;

use dunlin_intent::pools::PoolView;
use dunlin_net::Instant;
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use http::Method;
use kube::Client;
use tokio::sync::watch;

use crate::ask::{Said, Text, ask, wall_clock_micros};
use crate::events::Notices;
use crate::lease::{
    Election, LeaseAnswer, LeaseRecord, LeaseRequest, LeaseTimes, LeaseWrite, boot_time, plus,
};
use refusals::Refusals;
use term::{Counts, Term};

pub use roster::Roster;
pub use status::CONDITION;

/// The name of the Lease.
pub const LEASE: &str = "dunlin-load-balancer";

/// How often the pools are counted while anything changes, and how often what Nodes use is read again.
const COUNT_PACE: Duration = Duration::from_secs(2);

/// The longest sleep: the clock that counts goes on while the machine sleeps, timers do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How an agent takes part.
#[derive(Clone, Debug)]
pub struct AllocateOptions {
    /// The node's name.
    pub node: String,
    /// Where the Lease lies.
    pub namespace: String,
    /// Whether Services without a class are ours.
    pub default_class: bool,
    /// The times of the election.
    pub times: LeaseTimes,
    /// A random number, another for each process.
    pub seed: u64,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocateReport {
    /// This agent looks after the Lease closely.
    pub watchful: bool,
    /// This agent gives out the addresses.
    pub leading: bool,
    /// Who does, by the Lease; empty if nobody is known to.
    pub holder: String,
    /// The pools, as this agent counts them while it leads.
    pub pools: Vec<PoolView>,
    /// Services that lack addresses, while it leads.
    pub short: usize,
    /// Addresses this agent has given since it started.
    pub given: u64,
    /// Its writes that did not succeed.
    pub failures: u64,
    /// Requests about the Lease that were refused.
    pub refused: u64,
}

impl AllocateReport {
    /// The node whose agent gives out the addresses, by the Lease.
    pub fn allocator(&self) -> Option<&str> {
        let (node, _) = self.holder.rsplit_once('_')?;
        Some(node)
    }
}

/// What came of a request about the Lease, and with which code and words it was refused, if it was.
type Asked = (LeaseAnswer, Option<(u16, String)>);

/// Takes part until `stop` is over, and then gives the Lease up, within two requests' time.
pub async fn run(
    client: Client,
    options: AllocateOptions,
    roster: watch::Receiver<Roster>,
    notices: Notices,
    report: watch::Sender<AllocateReport>,
    stop: impl Future<Output = ()>,
) {
    let mut allocator = Allocator {
        identity: format!("{}_{:016x}", options.node, options.seed),
        client,
        options,
        roster,
        notices,
        report,
        election: None,
        asking: Fuse::terminated(),
        refusals: Refusals::default(),
        term: None,
        past: Counts::default(),
        counted: Instant::default(),
        roster_new: false,
        not_before: Instant::default(),
    };
    tokio::pin!(stop);
    loop {
        let wake = allocator.step(boot_time());
        tokio::select! {
            () = &mut stop => break,
            () = allocator.happens(wake) => {}
        }
    }
    allocator.end().await;
}

struct Allocator {
    client: Client,
    options: AllocateOptions,
    identity: String,
    roster: watch::Receiver<Roster>,
    notices: Notices,
    report: watch::Sender<AllocateReport>,
    election: Option<Election>,
    /// The request about the Lease that is under way.
    asking: Fuse<BoxFuture<'static, Asked>>,
    refusals: Refusals,
    term: Option<Term>,
    /// What former terms counted.
    past: Counts,
    /// When the pools were last counted.
    counted: Instant,
    /// What the roster says is not known to the term yet.
    roster_new: bool,
    /// Until then, writes of a term that was given up may be done yet.
    not_before: Instant,
}

impl Allocator {
    /// Waits for anything to happen, until `wake` at the latest, and takes it in.
    async fn happens(&mut self, wake: Instant) {
        let pause = wake.since(boot_time()).min(LONGEST_SLEEP);
        let idle = self.election.is_none();
        tokio::select! {
            changed = self.roster.changed() => match changed {
                Ok(()) => self.see_roster(boot_time()),
                // The source has ended, and the agent ends as well.
                Err(_) => std::future::pending().await,
            },
            (answer, refused) = &mut self.asking => {
                if let Some((code, words)) = refused {
                    self.refused(boot_time(), code, &words);
                }
                if let Some(election) = &mut self.election {
                    election.answer(boot_time(), answer);
                }
            }
            () = next_of(&mut self.term) => {}
            () = tokio::time::sleep(pause), if !idle => {}
        }
    }

    /// We may not do with the Lease what we asked for.
    fn refused(&mut self, now: Instant, code: u16, words: &str) {
        if self.refusals.note(now, code) {
            let namespace = &self.options.namespace;
            tracing::warn!(code, %words, namespace, lease = LEASE, "the Lease for load-balancer addresses is refused");
        }
        let count = self.refusals.count;
        self.report.send_modify(|report| report.refused = count);
    }

    /// The cluster's nodes or pools changed.
    fn see_roster(&mut self, now: Instant) {
        let roster = self.roster.borrow_and_update();
        self.roster_new = true;
        let (pace, watchful) = roster.pace(&self.options.node);
        let in_use = roster.in_use();
        drop(roster);
        self.report.send_if_modified(|report| {
            std::mem::replace(&mut report.watchful, watchful && in_use) != report.watchful
        });
        match (&mut self.election, in_use) {
            (Some(election), _) => election.set_pace(now, pace),
            (None, true) => {
                // The watchful look at once; the others some time within their pace.
                let wait = match watchful {
                    true => Duration::ZERO,
                    false => pace.mul_f64((self.options.seed % 1000) as f64 / 1000.0),
                };
                self.election = Some(Election::new(
                    self.identity.clone(),
                    self.options.times,
                    pace,
                    plus(now, wait).max(self.not_before),
                    self.options.seed,
                ));
            }
            (None, false) => {}
        }
    }

    /// Does what can be done now. Says when to do it again at the latest.
    fn step(&mut self, now: Instant) -> Instant {
        let in_use = self.roster.borrow().in_use();
        if !in_use {
            self.retire(now);
        }
        let Some(election) = &mut self.election else {
            return plus(now, LONGEST_SLEEP);
        };
        if let Some(request) = election.poll(now) {
            self.asking = lease_request(self.client.clone(), self.options.clone(), request)
                .boxed()
                .fuse();
        }
        let mut wake = election.deadline().unwrap_or(plus(now, LONGEST_SLEEP));
        let until = election.holds_until(now);
        let number = election.term();
        if self.term.is_some() && (until.is_none() || self.term_number() != Some(number)) {
            tracing::warn!(
                "the Lease for load-balancer addresses was lost: another agent gives them out"
            );
            self.end_term();
        }
        if let Some(until) = until {
            wake = wake.min(self.lead(now, until, number));
        }
        self.tell_holder(now);
        wake
    }

    fn lead(&mut self, now: Instant, until: Instant, number: u64) -> Instant {
        if self.term.is_none() {
            tracing::info!("this agent gives out load-balancer addresses");
            self.roster_new = true;
            self.counted = now;
        }
        let term = self.term.get_or_insert_with(|| {
            Term::new(
                number,
                self.client.clone(),
                &self.options,
                self.notices.clone(),
            )
        });
        let count = now >= plus(self.counted, COUNT_PACE) || self.counted == now;
        if count {
            self.counted = now;
            if std::mem::take(&mut self.roster_new) {
                term.see_roster(&self.roster.borrow());
            }
        }
        let next = term.step(now, until);
        if count {
            let views = term.count(now, until);
            let (short, counts) = (term.short(), term.counts);
            let past = self.past;
            self.report.send_if_modified(|report| {
                let before = report.clone();
                report.pools = views.unwrap_or(std::mem::take(&mut report.pools));
                report.short = short;
                report.given = past.given + counts.given;
                report.failures = past.failures + counts.failures;
                before != *report
            });
        }
        next.unwrap_or(until)
            .min(until)
            .min(plus(self.counted, COUNT_PACE))
    }

    fn term_number(&self) -> Option<u64> {
        self.term.as_ref().map(|term| term.number)
    }

    fn end_term(&mut self) {
        if let Some(term) = self.term.take() {
            self.past.given += term.counts.given;
            self.past.failures += term.counts.failures;
        }
        self.report.send_modify(|report| {
            report.pools = Vec::new();
            report.short = 0;
        });
    }

    fn tell_holder(&mut self, now: Instant) {
        let Some(election) = &self.election else {
            return;
        };
        let leading = election.holds_until(now).is_some();
        let holder = election.seen().map_or("", |record| &*record.holder);
        self.report.send_if_modified(|report| {
            if report.leading == leading && report.holder == holder {
                return false;
            }
            report.leading = leading;
            report.holder = holder.to_owned();
            true
        });
    }

    /// There is nothing to give out any more: whoever holds the Lease lets it run out.
    fn retire(&mut self, now: Instant) {
        if self.election.take().is_none() {
            return;
        }
        if self.term.as_ref().is_some_and(Term::is_writing) {
            self.not_before = plus(now, self.options.times.request + self.options.times.margin);
        }
        self.end_term();
        self.asking = Fuse::terminated();
        self.report.send_modify(|report| {
            report.leading = false;
            report.watchful = false;
            report.holder = String::new();
        });
    }

    /// Gives the Lease up, once nothing is under way that was begun in its name.
    async fn end(mut self) {
        if let Some(mut election) = self.election.take() {
            let asking = std::mem::replace(&mut self.asking, Fuse::terminated());
            if election.deadline().is_none() {
                election.answer(boot_time(), asking.await.0);
            }
            // What may be done yet must be over before another begins: if there is such, the Lease runs out by itself.
            let over = match &mut self.term {
                Some(term) => term.end(boot_time).await,
                None => true,
            };
            if over && let Some(release) = election.resign(boot_time()) {
                let request = LeaseRequest::Write(release);
                lease_request(self.client.clone(), self.options.clone(), request).await;
            }
        }
    }
}

/// The next that happens in a term; waits for ever if there is none.
async fn next_of(term: &mut Option<Term>) {
    match term {
        Some(term) => term.next(boot_time).await,
        None => std::future::pending().await,
    }
}

async fn lease_request(client: Client, options: AllocateOptions, request: LeaseRequest) -> Asked {
    let (namespace, timeout) = (options.namespace, options.times.request);
    let all = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let this = format!("{all}/{LEASE}");
    let object = |write: &LeaseWrite| {
        Some(Text::object(&write.object(
            &namespace,
            LEASE,
            &wall_clock_micros(),
        )))
    };
    let said = match &request {
        LeaseRequest::Read => ask(&client, timeout, Method::GET, &this, None).await,
        LeaseRequest::Write(write) if write.version.is_none() => {
            ask(&client, timeout, Method::POST, &all, object(write)).await
        }
        LeaseRequest::Write(write) => {
            ask(&client, timeout, Method::PUT, &this, object(write)).await
        }
    };
    let answer = match said {
        Said::Done(octets) => match LeaseRecord::parse(&octets) {
            Some(record) => LeaseAnswer::Is(record),
            None => LeaseAnswer::Failed,
        },
        Said::Missing => LeaseAnswer::Missing,
        Said::Conflict => LeaseAnswer::Conflict,
        Said::Refused(code, words) => return (LeaseAnswer::Failed, Some((code, words))),
        Said::Unknown(words) => {
            tracing::debug!(%words, "no answer about the Lease for load-balancer addresses");
            LeaseAnswer::Failed
        }
    };
    (answer, None)
}
