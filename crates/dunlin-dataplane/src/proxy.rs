//! The service proxy: what becomes of connections to service addresses, as elements of constant nf_tables maps. Wanted
//! against believed, and the least operations between.
//!
//! How to drive it: feed what is wanted, read-backs and acknowledgements, then take [`Proxy::next`] until it gives
//! nothing, and come back at [`Proxy::deadline`]. One thing is outstanding at a time. A batch is one transaction, so what
//! is believed changes whole batches at a time; where it is not certain that one was done, a read-back decides.
//!
//! All of one frontend goes in one batch: at no time has a frontend that had endpoints and will have some none. Random
//! slots keep their endpoints for as long as these are wanted, over restarts too: what is found is adopted. Until
//! [`Proxy::synced`] nothing that was found is removed: a frontend whose change would take something away stays as it is.

mod batch;
mod common;
mod element;
mod flows;
mod frontends;
mod kept;
mod maglev;
pub mod names;
mod notes;
mod programmed;
mod read;
mod retry;
mod slots;
#[cfg(test)]
mod tests;
mod uses;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::service::{Frontend, FrontendRule};
use dunlin_net::{Instant, IpNet};
use foldhash::fast::FixedState;

use crate::KernelError;
use batch::Sent;
use common::Common;
pub use element::{
    Batch, BatchDone, Element, Forget, Found, FrontendSet, MAX_ENDPOINTS, Op, block, random_slots,
};
use flows::Flows;
pub use flows::MAX_FLOWS;
use frontends::Frontends;
pub use maglev::{DEFAULT_TABLE_SLOTS, MAX_TABLE_SLOTS, table_slots};
pub use notes::{Note, notes};
use programmed::Programmed;
pub use retry::Failure;
use retry::Retries;
pub use view::{Counters, FrontendState, FrontendView};

/// A batch is closed when it holds this many operations; a frontend is never divided.
pub const MAX_OPS: usize = 20_000;

/// After one read-back the next waits so long, and twice as long each time they follow each other closely.
const READ_GAP: Duration = Duration::from_millis(50);
const MAX_READ_GAP: Duration = Duration::from_millis(400);
/// Read-backs further apart than this do not follow each other closely.
const READ_CALM: Duration = Duration::from_secs(5);
/// So many refusals in a row, and it is not this or that frontend that is refused.
const REFUSALS: u32 = 40;

/// What cannot be forgotten and is more than this stays remembered until the kernel's own timeouts.
const MAX_OWED: usize = 20_000;

/// So many read-backs in a row may find a frontend changed before it is planned again; of more, flows stay remembered.
const MAX_LOST: usize = 8;

/// What to ask of the kernel. One at a time; each is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read both tables; answered by [`Proxy::on_found`].
    Read,
    /// Do a batch; answered by [`Proxy::on_done`].
    Submit(Batch),
    /// Remove both tables, if they are there; answered by [`Proxy::on_found`] with what is there then.
    Remove,
}

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Proxy {
    frontends: Frontends,
    common: Common,
    retries: Retries,
    outstanding: Outstanding,
    /// `None` until somebody says.
    enabled: Option<bool>,
    /// New connections are counted.
    counting: bool,
    synced: bool,
    tables: Tables,
    /// When to read; `None` if what is believed is not in doubt.
    read_at: Option<Instant>,
    read_gap: Duration,
    last_read: Option<Instant>,
    /// Somebody else changed the tables since they were last read.
    meddled: bool,
    /// A read-back found frontends, it may be in blocks that it did not find.
    adopted: bool,
    last_repair: Option<Instant>,
    /// Nothing is submitted before.
    pause_until: Option<Instant>,
    /// In a row.
    refusals: u32,
    last_error: Option<Arc<KernelError>>,
    /// At most so many frontends in a batch.
    most: usize,
    /// What frontends had that read-backs did not find, until what flows remember of it is forgotten.
    lost: BTreeMap<u32, Vec<Programmed>>,
    flows: Flows,
    /// Goes with the next batch: of batches with an unknown end, and of those whose forgetting failed. At most
    /// [`MAX_OWED`].
    owed: Vec<Forget>,
    /// How often forgetting failed in a row, and when it is tried again.
    unforgotten: u32,
    owed_at: Option<Instant>,
    tally: Tally,
}

/// What is counted as it happens.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    batches: u64,
    ops_done: u64,
    refused: u64,
    unforgotten: u64,
    reads: u64,
    last_batch_ops: usize,
    /// What all frontends have, together.
    elements: usize,
    /// Slots of theirs that are filled.
    endpoints: usize,
    repairs: u64,
}

/// What is known of the tables themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// Nothing is known, or they are gone.
    Unread,
    /// They must be made; `present` if that removes something.
    ToMake { present: bool },
    /// They are as they should be.
    Made,
}

#[derive(Debug)]
enum Outstanding {
    Nothing,
    /// `again`: they were changed since it was asked for.
    Read {
        again: bool,
    },
    Batch(Sent),
    Remove,
}

impl Proxy {
    /// Wants nothing, knows nothing, and does nothing until [`Proxy::set_enabled`]. `seed` keys the hash tables.
    pub fn new(seed: u64) -> Proxy {
        let hasher = FixedState::with_seed(seed);
        Proxy {
            frontends: Frontends::new(&hasher),
            common: Common::default(),
            retries: Retries::new(&hasher),
            outstanding: Outstanding::Nothing,
            enabled: None,
            counting: false,
            synced: false,
            tables: Tables::Unread,
            read_at: None,
            read_gap: READ_GAP,
            last_read: None,
            meddled: false,
            adopted: false,
            last_repair: None,
            pause_until: None,
            refusals: 0,
            last_error: None,
            most: usize::MAX,
            lost: BTreeMap::new(),
            flows: Flows::default(),
            owed: Vec::new(),
            unforgotten: 0,
            owed_at: None,
            tally: Tally::default(),
        }
    }

    /// Says what a service's frontends are from now on; none: it is gone. `service` is its `namespace/name`. Saying the
    /// same again costs little and changes nothing. A frontend that another service holds stays with that one, and comes
    /// to this one when it is let go ([`Proxy::conflict`]). Of two rules for one frontend the first counts.
    pub fn set(&mut self, service: &Arc<str>, rules: Vec<FrontendRule>) {
        let (frontends, common) = (&mut self.frontends, &mut self.common);
        frontends.set(service, rules, |at, old, new| {
            if let Some(rule) = new {
                common.count_frontend(&rule.frontend, true);
                common.count_endpoints(rule, true);
            }
            if let Some(rule) = old {
                common.count_frontend(&rule.frontend, false);
                common.count_endpoints(rule, false);
            }
            self.retries.clear(at);
        });
    }

    /// The same, with the kernel counting new connections to each frontend if asked: one more look for each.
    #[must_use]
    pub fn counting(self, counting: bool) -> Proxy {
        Proxy { counting, ..self }
    }

    /// Says what is near: the pod subnets of this node, and its addresses.
    pub fn set_near(&mut self, pods: &[IpNet], nodes: &[IpAddr]) {
        if self.common.set_near(pods, nodes) {
            for rule in self.frontends.rules() {
                self.common.count_endpoints(&rule, true);
            }
            self.common.recounted();
            self.retries.clear(common::UNIT);
        }
    }

    /// Whether there are to be any tables. Where not, they are removed.
    pub fn set_enabled(&mut self, enabled: bool) {
        if self.enabled == Some(enabled) {
            return;
        }
        self.enabled = Some(enabled);
        self.tables = Tables::Unread;
        self.read_at = enabled.then_some(Instant::ZERO);
        self.pause_until = None;
        self.refusals = 0;
    }

    /// All that there is has been said: what was found and is not wanted may go.
    pub fn synced(&mut self) {
        if !self.synced {
            self.synced = true;
            self.frontends.requeue_all();
        }
    }

    /// Somebody else changed the tables, or notifications were lost: they are read back.
    pub fn on_meddled(&mut self, now: Instant) {
        if self.enabled != Some(true) {
            return;
        }
        self.meddled = true;
        match &mut self.outstanding {
            Outstanding::Read { again } => *again = true,
            _ => self.want_read(now),
        }
    }

    fn want_read(&mut self, now: Instant) {
        if self.read_at.is_some() {
            return;
        }
        let close = |last: &Instant| now.since(*last) < READ_CALM;
        self.read_at = Some(match self.last_read.filter(close) {
            None => {
                self.read_gap = READ_GAP;
                now
            }
            Some(last) => {
                let at = last + self.read_gap;
                self.read_gap = self.read_gap.saturating_mul(2).min(MAX_READ_GAP);
                at.max(now)
            }
        });
    }

    /// What to do now, if anything. Call again after every input until it gives `None`.
    pub fn next(&mut self, now: Instant) -> Option<Command> {
        if !matches!(self.outstanding, Outstanding::Nothing) {
            return None;
        }
        let due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        match self.enabled? {
            false if self.removed() || !due(self.pause_until) => None,
            false => {
                self.outstanding = Outstanding::Remove;
                Some(Command::Remove)
            }
            true => match self.read_at {
                Some(at) if at <= now => {
                    self.read_at = None;
                    self.outstanding = Outstanding::Read { again: false };
                    Some(Command::Read)
                }
                Some(_) => None,
                None if self.is_held() || !due(self.pause_until) => None,
                None => self.plan(now).map(Command::Submit),
            },
        }
    }

    /// When to call [`Proxy::next`] though nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if !matches!(self.outstanding, Outstanding::Nothing) {
            return None;
        }
        match (self.enabled?, self.read_at) {
            (false, _) if self.removed() => None,
            (false, _) => self.pause_until.or(Some(Instant::ZERO)),
            (true, Some(at)) => Some(at),
            (true, None) if self.is_held() => None,
            (true, None) => self.pause_until.or_else(|| {
                let retry = self.retries.next_deadline();
                retry.into_iter().chain(self.owed_at).min()
            }),
        }
    }

    /// The tables are there and would have to be made anew: that takes away what was found.
    fn is_held(&self) -> bool {
        !self.synced && self.tables == Tables::ToMake { present: true }
    }

    fn removed(&self) -> bool {
        self.tables == Tables::ToMake { present: false }
    }

    /// The kernel refused for no reason that has to do with one frontend.
    fn pause(&mut self, now: Instant, error: Arc<KernelError>) {
        let attempts = self.refusals.saturating_sub(REFUSALS);
        self.pause_until = Some(now + retry::delay(attempts));
        self.last_error = Some(error);
    }

    /// Services of which something else is true now: one of their frontends came to be programmed or is no longer
    /// ([`Proxy::is_programmed`]), or a conflict began or ended. Take them after each input and each [`Proxy::next`].
    pub fn take_changed(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.frontends.changed)
    }

    /// Whether connections to a frontend are treated as its service wants, be it with endpoints as they were until
    /// lately. Only then is it good to announce.
    pub fn is_programmed(&self, frontend: &Frontend) -> bool {
        self.frontends.is_programmed(frontend)
    }
}
