//! What goes to the kernel, and how it ended.

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::Instant;
use dunlin_net::service::{Frontend, Protocol};

use super::common::{self, CommonSent};
use super::element::{Batch, BatchDone, Forget, Op};
use super::frontends::Entry;
use super::programmed::{Programmed, difference, forgets, target};
use super::{MAX_OPS, MAX_OWED, Outstanding, Proxy, REFUSALS, Tables, retry};
use crate::KernelError;

/// A batch that was given out.
#[derive(Debug)]
pub(super) struct Sent {
    number: u64,
    rebuild: bool,
    common: CommonSent,
    /// What each frontend has when it is done.
    units: Vec<(u32, Programmed)>,
    /// Where flows may go to then besides.
    flows: Vec<(Frontend, Vec<SocketAddr>)>,
    forget: Vec<Forget>,
    /// So many of them, the first, were owed from before.
    owed: usize,
    ops: usize,
}

impl Sent {
    /// The frontends of the batch.
    pub(super) fn units(&self) -> impl Iterator<Item = u32> {
        self.units.iter().map(|(at, _)| *at)
    }
}

/// `EEXIST`.
const EXISTS: i32 = 17;
/// `ENOENT`.
const ABSENT: i32 = 2;

impl Proxy {
    pub(super) fn plan(&mut self, now: Instant) -> Option<Batch> {
        self.pause_until = None;
        while let Some(unit) = self.retries.pop_due(now) {
            if unit != common::UNIT {
                self.frontends.enqueue(unit);
            }
        }
        let rebuild = matches!(self.tables, Tables::ToMake { .. });
        // What is made anew where something was is made whole: nobody should meet half of it.
        let limit = match self.tables {
            Tables::ToMake { present: true } => usize::MAX,
            _ => MAX_OPS,
        };
        let mut ops = Vec::new();
        let mut sent = Sent {
            number: self.tally.batches + 1,
            rebuild,
            common: CommonSent::default(),
            units: Vec::new(),
            flows: Vec::new(),
            forget: Vec::new(),
            owed: 0,
            ops: 0,
        };
        if self.owed_at.is_none_or(|at| at <= now) {
            self.owed_at = None;
            sent.forget = std::mem::take(&mut self.owed);
            sent.owed = sent.forget.len();
        }
        let common_waits = self.retries.waits(common::UNIT, now);
        if !common_waits {
            sent.common = self.common.plan(self.synced, &mut ops);
        }
        while ops.len() < limit
            && sent.units.len() + usize::from(!sent.common.is_empty()) < self.most
        {
            let Some(at) = self.frontends.queue.pop_front() else {
                break;
            };
            self.frontends.entry_mut(at).queued = false;
            if !self.retries.waits(at, now) {
                self.plan_frontend(at, &mut ops, &mut sent);
            }
        }
        self.forget_unserved(&mut sent);
        let room = !sent.common.is_empty() || sent.units.len() < self.most;
        if self.synced && !common_waits && room && self.frontends.queue.is_empty() {
            self.common.plan_last(&mut sent.common, &mut ops);
        }
        if !common_waits && sent.common.is_empty() {
            self.retries.clear(common::UNIT);
        }
        if self.synced && self.frontends.queue.is_empty() {
            let frontends = &self.frontends;
            self.flows.gone_through(|at| frontends.find(at).is_some());
        }
        if ops.is_empty() && !rebuild && sent.forget.is_empty() {
            return None;
        }
        self.tally.batches = sent.number;
        sent.ops = ops.len();
        let batch = Batch {
            number: sent.number,
            rebuild,
            ops,
            forget: sent.forget.clone(),
        };
        self.outstanding = Outstanding::Batch(sent);
        Some(batch)
    }

    /// Flows to frontends that are there, in a block that was not served, go past the translation.
    fn forget_unserved(&self, sent: &mut Sent) {
        if !self.adopted || !sent.common.serves_more() {
            return;
        }
        let mut untranslated = Vec::new();
        for at in self.frontends.all() {
            let Entry {
                frontend, believed, ..
            } = self.frontends.entry(at);
            let afi = frontend.afi();
            if frontend.protocol == Protocol::Udp
                && sent.common.serves(frontend)
                && !believed.reach_of_all(afi).is_empty()
            {
                let frontend = *frontend;
                untranslated.push(Forget::Untranslated { frontend });
            }
        }
        sent.forget.extend(untranslated);
    }

    fn plan_frontend(&mut self, at: u32, ops: &mut Vec<Op>, sent: &mut Sent) {
        let entry = self.frontends.entry(at);
        let target = entry
            .wanted()
            .map(|rule| target(&rule, &entry.believed, self.counting))
            .unwrap_or_default();
        let from = ops.len();
        difference(entry.frontend, &entry.believed, &target, ops);
        let removes = |op: &Op| matches!(op, Op::Remove(_));
        if !self.synced && entry.found && ops[from..].iter().any(removes) {
            // It comes again once that is allowed.
            ops.truncate(from);
            return;
        }
        // Whoever lacks its block brings it, or waits for the one who does.
        let lacking = self.common.served(&entry.frontend).err();
        let lacking = lacking.filter(|_| entry.is_wanted());
        if let Some(block) = lacking
            && sent.common.serve(&entry.frontend)
        {
            ops.push(Op::Add(block));
        }
        let (frontend, known) = (entry.frontend, sent.forget.len());
        let serving = entry.serving();
        forgets(
            frontend,
            &entry.believed,
            &target,
            serving,
            &mut sent.forget,
        );
        if let Some(lost) = self.lost.get(&at) {
            let mut also = Vec::new();
            for lost in lost {
                forgets(frontend, lost, &target, serving, &mut also);
            }
            also.sort_unstable();
            also.dedup();
            also.retain(|forget| {
                let told = sent.forget.get(known..).unwrap_or_default();
                !matches!(forget, Forget::Untranslated { .. }) && !told.contains(forget)
            });
            sent.forget.extend(also);
        }
        let flows = self.plan_flows(at, &target, &mut sent.forget);
        if ops.len() == from && sent.forget.len() == known && lacking.is_none() {
            // Nothing to do: a failure is over.
            if let Some(others) = flows {
                self.flows.set(frontend, others);
            }
            self.retries.clear(at);
            self.lost.remove(&at);
            self.frontends.entry_mut(at).served = self.common.served(&frontend).is_ok();
            self.frontends.refresh(at);
            return;
        }
        sent.flows.extend(flows.map(|others| (frontend, others)));
        sent.units.push((at, target));
        self.frontends.entry_mut(at).sent = true;
    }

    /// How a batch ended. One that nobody waits for is passed over.
    pub fn on_done(&mut self, now: Instant, done: BatchDone) {
        match &self.outstanding {
            Outstanding::Batch(sent) if sent.number == done.number => {}
            _ => return,
        }
        let outstanding = std::mem::replace(&mut self.outstanding, Outstanding::Nothing);
        let Outstanding::Batch(sent) = outstanding else {
            return;
        };
        for (at, _) in &sent.units {
            self.frontends.entry_mut(*at).sent = false;
        }
        match done.result {
            Ok(()) => {
                self.forgotten(now, &sent, done.forgotten);
                self.batch_applied(sent);
            }
            Err(error) if done.unsure => {
                self.tally.refused += 1;
                self.last_error = Some(Arc::new(error));
                self.requeue(&sent.units);
                self.owe_all(sent.forget);
                self.want_read(now);
            }
            Err(error) => self.batch_refused(now, sent, Arc::new(error)),
        }
    }

    fn forgotten(&mut self, now: Instant, sent: &Sent, result: Result<(), KernelError>) {
        match result {
            Ok(()) => self.unforgotten = 0,
            Err(_) => {
                self.tally.unforgotten += 1;
                self.unforgotten = self.unforgotten.saturating_add(1);
                self.owed_at = Some(now + retry::delay(self.unforgotten));
                self.owe_all(sent.forget.iter().copied());
            }
        }
    }

    pub(super) fn owe_all(&mut self, forget: impl IntoIterator<Item = Forget>) {
        let room = MAX_OWED.saturating_sub(self.owed.len());
        self.owed.extend(forget.into_iter().take(room));
    }

    fn batch_applied(&mut self, sent: Sent) {
        self.refusals = 0;
        self.last_error = None;
        self.most = self.most.saturating_mul(2);
        self.tally.ops_done += sent.ops as u64;
        self.tally.last_batch_ops = sent.ops;
        if sent.rebuild && self.tables != Tables::Unread {
            self.tables = Tables::Made;
        }
        if !sent.common.is_empty() {
            self.retries.clear(common::UNIT);
        }
        self.common.done(sent.common);
        for (frontend, others) in sent.flows {
            self.flows.set(frontend, others);
        }
        for (at, has) in sent.units {
            self.retries.clear(at);
            self.lost.remove(&at);
            let entry = self.frontends.entry_mut(at);
            let afi = entry.frontend.afi();
            let believed = &entry.believed;
            let (elements, endpoints) = (believed.len(afi), believed.filled(afi));
            let tally = &mut self.tally;
            tally.elements = (tally.elements + has.len(afi)).saturating_sub(elements);
            tally.endpoints = (tally.endpoints + has.filled(afi)).saturating_sub(endpoints);
            entry.believed = has;
            entry.served = true;
            self.frontends.refresh(at);
        }
    }

    /// Nothing of it was done. The one that is at fault is found by halving.
    fn batch_refused(&mut self, now: Instant, sent: Sent, error: Arc<KernelError>) {
        self.tally.refused += 1;
        self.refusals = self.refusals.saturating_add(1);
        self.last_error = Some(error.clone());
        self.owe_all(sent.forget.into_iter().take(sent.owed));
        if matches!(error.errno, EXISTS | ABSENT) {
            // What it was made of is not so.
            self.want_read(now);
        }
        let units = sent.units.len() + usize::from(!sent.common.is_empty());
        if units > 1 {
            self.most = units / 2;
            self.requeue(&sent.units);
        } else if sent.rebuild || units == 0 {
            self.requeue(&sent.units);
            self.pause(now, error.clone());
        } else {
            let unit = sent.units.first().map_or(common::UNIT, |(at, _)| *at);
            // If something else is wanted of it now, that was not refused.
            if unit == common::UNIT || !self.frontends.entry(unit).queued {
                self.retries.fail(now, unit, error.clone());
            }
        }
        if self.refusals > REFUSALS {
            self.pause(now, error);
        }
    }

    fn requeue(&mut self, units: &[(u32, Programmed)]) {
        for (at, _) in units.iter().rev() {
            self.frontends.enqueue_first(*at);
        }
    }
}
