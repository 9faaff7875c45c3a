//! What is shown of the machine.

use std::borrow::Cow;
use std::sync::Arc;

use dunlin_net::Instant;
use dunlin_net::service::{Frontend, FrontendRule};

use super::element::Element;
use super::frontends::Entry;
use super::programmed::target;
use super::{Failure, Outstanding, Proxy, common};
use crate::KernelError;

/// How far a frontend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontendState {
    /// All is as wanted.
    Current,
    /// Connections are treated as wanted until lately; what is wanted now is on its way.
    Behind,
    /// The kernel does not treat connections as wanted yet.
    Pending,
    /// The kernel refused.
    Failed(Failure),
    /// Another service holds the frontend.
    Conflict {
        /// Which.
        holder: Arc<str>,
    },
    /// Nobody wants it, and it is to go.
    Stale,
}

/// What there is to tell of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendView {
    /// Where clients come to.
    pub frontend: Frontend,
    /// How far it is.
    pub state: FrontendState,
    /// How many elements the kernel has of it alone. [`Proxy::elements_of`] names them.
    pub elements: usize,
}

/// Totals. All but the counts of what happened are of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Services with a frontend.
    pub services: usize,
    /// Frontends wanted.
    pub frontends: usize,
    /// Slots filled in the kernel; an endpoint counts for each frontend it serves.
    pub endpoints: usize,
    /// Elements in the kernel, all together.
    pub elements: usize,
    /// Frontends that are not as wanted or may not be, without those that failed.
    pub pending: usize,
    /// Frontends that the kernel refused.
    pub failed: usize,
    /// Rules that wait for a frontend that another service holds.
    pub conflicts: usize,
    /// Batches given out.
    pub batches: u64,
    /// Batches that were refused, or ended nobody knows how.
    pub refused: u64,
    /// Batches after which something that should be forgotten was not.
    pub unforgotten: u64,
    /// Operations done.
    pub ops_done: u64,
    /// Operations of the last batch that was done.
    pub last_batch_ops: usize,
    /// Read-backs.
    pub reads: u64,
    /// Read-backs that found that somebody else had changed what was there.
    pub repairs: u64,
}

impl Proxy {
    /// The names of all services that have frontends, in no particular (but repeatable) order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.frontends.names()
    }

    /// A service's frontends, in the order its rules had.
    pub fn service(&self, name: &str) -> Vec<FrontendView> {
        let view = |(at, holds)| {
            let entry = self.frontends.entry(at);
            if holds {
                return self.view(at, entry);
            }
            let holder = self.frontends.service_name(entry).cloned();
            FrontendView {
                frontend: entry.frontend,
                state: FrontendState::Conflict {
                    holder: holder.unwrap_or_else(|| Arc::from("")),
                },
                elements: 0,
            }
        };
        self.frontends.of_service(name).map(view).collect()
    }

    /// How many frontends a service has, and how many of them are programmed ([`Proxy::is_programmed`]): cheaper than
    /// looking at each.
    pub fn service_counts(&self, name: &str) -> (usize, usize) {
        let (mut all, mut programmed) = (0, 0);
        for (at, holds) in self.frontends.of_service(name) {
            all += 1;
            programmed += usize::from(holds && self.frontends.entry(at).is_programmed());
        }
        (all, programmed)
    }

    /// All frontends that are wanted or there, in no particular (but repeatable) order.
    pub fn frontends(&self) -> impl Iterator<Item = FrontendView> + '_ {
        let view = |at| self.view(at, self.frontends.entry(at));
        self.frontends.all().map(view)
    }

    /// One frontend.
    pub fn frontend(&self, frontend: &Frontend) -> Option<FrontendView> {
        let at = self.frontends.find(frontend)?;
        Some(self.view(at, self.frontends.entry(at)))
    }

    /// What is wanted of a frontend, and by whom.
    pub fn wanted(&self, frontend: &Frontend) -> Option<(&Arc<str>, Cow<'_, FrontendRule>)> {
        let entry = self.frontends.entry(self.frontends.find(frontend)?);
        Some((self.frontends.service_name(entry)?, entry.wanted()?))
    }

    /// The elements that the kernel has of a frontend, first the one of its block of addresses, which it shares.
    pub fn elements_of(&self, frontend: &Frontend) -> Vec<Element> {
        let at = self.frontends.find(frontend);
        let entry = at.map(|at| self.frontends.entry(at));
        entry.map_or_else(Vec::new, |entry| {
            let own = entry.believed.elements(entry.frontend);
            self.common
                .served(frontend)
                .into_iter()
                .chain(own)
                .collect()
        })
    }

    /// All elements that the kernel has, in no particular (but repeatable) order.
    pub fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        let of = |at| {
            let entry = self.frontends.entry(at);
            entry.believed.elements(entry.frontend)
        };
        self.common
            .elements()
            .chain(self.frontends.all().flat_map(of))
    }

    /// Whether the kernel holds all that is wanted and nothing else, as far as is known: nothing is in flight, waits or
    /// failed.
    pub fn is_settled(&self) -> bool {
        let quiet = matches!(self.outstanding, Outstanding::Nothing);
        quiet
            && match self.enabled {
                None => true,
                Some(false) => self.removed(),
                Some(true) => {
                    self.tables == super::Tables::Made
                        && self.read_at.is_none()
                        && self.frontends.queue.is_empty()
                        && self.retries.len() == 0
                        && self.owed.is_empty()
                        && self.common.is_settled()
                }
            }
    }

    /// What the kernel said last, if it has done nothing since.
    pub fn last_error(&self) -> Option<&KernelError> {
        self.last_error.as_deref()
    }

    /// When somebody else's changes were last found; they are repaired at once.
    pub fn last_repair(&self) -> Option<Instant> {
        self.last_repair
    }

    /// Why what is of no frontend (what is near) is not there.
    pub fn common_failure(&self) -> Option<&Failure> {
        self.retries.get(common::UNIT)
    }

    /// Totals. It costs what waits to be programmed, and a look at each service.
    pub fn counters(&self) -> Counters {
        Counters {
            services: self.frontends.names().count(),
            frontends: self.frontends.wanted(),
            endpoints: self.tally.endpoints,
            elements: self.tally.elements + self.common.elements().count(),
            pending: self.pending(),
            failed: self.retries.len(),
            conflicts: self.frontends.conflicts(),
            batches: self.tally.batches,
            refused: self.tally.refused,
            unforgotten: self.tally.unforgotten,
            ops_done: self.tally.ops_done,
            last_batch_ops: self.tally.last_batch_ops,
            reads: self.tally.reads,
            repairs: self.tally.repairs,
        }
    }

    /// How many frontends wait for a batch or its end, without those that failed.
    fn pending(&self) -> usize {
        let queue = self.frontends.queue.iter().copied();
        let sent = match &self.outstanding {
            Outstanding::Batch(sent) => Some(sent.units()),
            _ => None,
        };
        let again = |at: &u32| self.frontends.entry(*at).queued;
        let sent = sent.into_iter().flatten().filter(|at| !again(at));
        let fails = |at: &u32| self.retries.get(*at).is_some();
        queue.chain(sent).filter(|at| !fails(at)).count()
    }

    /// How many frontends the kernel refused.
    pub fn failed(&self) -> usize {
        self.retries.len()
    }

    /// Octets held, by capacity, without what rules share.
    pub fn memory(&self) -> usize {
        self.frontends.memory()
    }

    fn view(&self, at: u32, entry: &Entry) -> FrontendView {
        FrontendView {
            frontend: entry.frontend,
            state: self.state(at, entry),
            elements: entry.believed.len(entry.frontend.afi()),
        }
    }

    fn state(&self, at: u32, entry: &Entry) -> FrontendState {
        if let Some(failure) = self.retries.get(at) {
            return FrontendState::Failed(failure.clone());
        }
        match entry.wanted() {
            None => FrontendState::Stale,
            Some(_) if !entry.is_programmed() => FrontendState::Pending,
            Some(rule) if target(&rule, &entry.believed, self.counting) == entry.believed => {
                FrontendState::Current
            }
            Some(_) => FrontendState::Behind,
        }
    }
}
