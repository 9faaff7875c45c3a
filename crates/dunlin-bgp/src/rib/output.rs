//! From dirty prefixes to blocks of UPDATEs, each encoded once for all members that are told the same.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_net::{Afi, PeerId, PerFamily, V4, V6};
use smallvec::SmallVec;

use super::Rib;
use super::export::ExportPolicy;
use super::group::{Group, Member};
use super::lag::Lag;
use super::step::Step;
use super::table::{NetId, RibFamily};
use crate::wire::UpdateWriter;

/// Whole UPDATE messages and whom they go to. Outputs that name a peer go to it in the order they were polled.
#[derive(Clone, Debug)]
pub struct Output {
    /// The messages, often a part of what others are told.
    pub bytes: Bytes,
    /// The peers, ascending; see [`Output::members`].
    pub to: Arc<[PeerId]>,
    /// Those of them that these are not for, ascending: sources of some of the routes. What else they are to be told comes by
    /// itself.
    pub except: SmallVec<[PeerId; 1]>,
}

impl Output {
    /// The peers to send the messages to.
    pub fn members(&self) -> impl Iterator<Item = PeerId> + '_ {
        let except = |peer: &PeerId| self.except.binary_search(peer).is_ok();
        self.to.iter().copied().filter(move |peer| !except(peer))
    }
}

impl Rib {
    /// The next block of UPDATEs, of about `budget` octets. `None` when nothing is to be
    /// told, or nobody who has to be told can take it.
    pub fn poll_output<P: ExportPolicy>(&mut self, policy: &P, budget: usize) -> Option<Output> {
        let groups = self.groups.slots.len();
        for _ in 0..groups {
            if let Some(output) = self.groups.outbox.pop_front() {
                return Some(output);
            }
            let at = self.groups.turn % groups;
            self.groups.turn = at + 1;
            let Some(mut group) = self.groups.slots[at].take() else {
                continue;
            };
            let mut loose = (Vec::new(), Vec::new());
            self.begin_retelling(&mut group);
            group.lagging_first = !group.lagging_first;
            if group.lagging_first {
                self.step_all_lagging(&mut group, budget, &mut loose);
            }
            if self.groups.outbox.is_empty() {
                self.step::<V4, P>(policy, &mut group, budget, &mut loose.0);
                self.step::<V6, P>(policy, &mut group, budget, &mut loose.1);
            }
            // The group's own step may have left lagging members more to do.
            self.step_all_lagging(&mut group, budget, &mut loose);
            while self.let_forget(&mut group) {
                self.step_all_lagging(&mut group, budget, &mut loose);
            }
            self.catch_up(&mut group);
            self.end_of_rib(&mut group);
            self.end_retelling(&mut group);
            self.groups.slots[at] = Some(group);
            self.forget_unused::<V4>(loose.0);
            self.forget_unused::<V6>(loose.1);
        }
        self.groups.outbox.pop_front()
    }

    fn step<F: RibFamily, P: ExportPolicy>(
        &mut self,
        policy: &P,
        group: &mut Group,
        budget: usize,
        loose: &mut Vec<NetId>,
    ) {
        let mut step = Step {
            table: F::table(&self.tables),
            store: &mut self.store,
            outbox: &mut self.groups.outbox,
            hold: self.groups.hold_withdrawals,
            loose,
            loose_entries: Vec::new(),
            group,
            scratch: Vec::new(),
        };
        let before = step.outbox.len();
        while !step.group.out.get(F::AFI).is_quiet()
            && step.outbox.len() == before
            && step.group.may_encode()
        {
            if step.group.out.get(F::AFI).changes.is_empty() {
                step.take_changes(policy);
            }
            step.encode(budget);
        }
        step.finish();
    }

    /// Lets lagging members take their turns until there is output.
    fn step_all_lagging(
        &mut self,
        group: &mut Group,
        budget: usize,
        loose: &mut (Vec<NetId>, Vec<NetId>),
    ) {
        while self.groups.outbox.is_empty()
            && (self.step_lagging::<V4>(group, budget, &mut loose.0)
                || self.step_lagging::<V6>(group, budget, &mut loose.1))
        {}
    }

    /// Tells one lagging member something; whether there was one that can take it.
    fn step_lagging<F: RibFamily>(
        &mut self,
        group: &mut Group,
        budget: usize,
        loose: &mut Vec<NetId>,
    ) -> bool {
        if group.lagging == 0 {
            return false;
        }
        let waits = |member: &Member| {
            let lag = member.lag.as_ref();
            !member.is_blocked() && lag.is_some_and(|lag| !lag.get(F::AFI).is_quiet())
        };
        let count = group.members.len();
        let turn = (group.turn + 1..=group.turn + count).map(|at| at % count.max(1));
        let Some(at) = turn.into_iter().find(|&at| waits(&group.members[at])) else {
            return false;
        };
        group.turn = at;
        let mut step = Step {
            table: F::table(&self.tables),
            store: &mut self.store,
            outbox: &mut self.groups.outbox,
            hold: self.groups.hold_withdrawals,
            loose,
            loose_entries: Vec::new(),
            group,
            scratch: Vec::new(),
        };
        step.encode_lagging(at, budget);
        step.finish();
        true
    }

    /// Members that were told all there is to tell are told what to forget of another group's. Whether there are such.
    fn let_forget(&self, group: &mut Group) -> bool {
        if group.lagging == 0 || self.groups.hold_withdrawals {
            return false;
        }
        let mut any = false;
        for afi in Afi::ALL {
            if !group.out.get(afi).is_quiet() {
                continue;
            }
            for member in &mut group.members {
                let lag = member.lag.as_mut().map(|lag| lag.get_mut(afi));
                if let Some(lag) = lag.filter(|lag| lag.is_quiet() && lag.is_holding()) {
                    lag.release_held();
                    any = true;
                }
            }
        }
        any
    }

    /// Members that were told all that the group was keep its pace again.
    fn catch_up(&mut self, group: &mut Group) {
        if group.lagging == 0 {
            return;
        }
        let mut changed = false;
        for member in &mut group.members {
            let over = |lag: &PerFamily<Lag>| lag.v4.is_over() && lag.v6.is_over();
            if member.lag.as_deref().is_some_and(over) {
                member.lag = None;
                changed = true;
            }
        }
        if changed {
            group.membership_changed();
        }
    }

    fn end_of_rib(&mut self, group: &mut Group) {
        if self.groups.hold_end_of_rib {
            return;
        }
        for afi in Afi::ALL {
            if *group.owed_end_of_rib.get(afi) == 0 || !group.out.get(afi).is_quiet() {
                continue;
            }
            let due = |m: &Member| m.lag.is_none() && *m.end_of_rib.get(afi);
            let to: Arc<[PeerId]> = group
                .members
                .iter()
                .filter(|m| due(m))
                .map(|m| m.peer)
                .collect();
            if to.is_empty() {
                continue;
            }
            let mut bytes = Vec::new();
            UpdateWriter::end_of_rib(afi, &mut bytes);
            for member in &mut group.members {
                if to.binary_search(&member.peer).is_ok() {
                    *member.end_of_rib.get_mut(afi) = false;
                    member.credit -= bytes.len() as i64;
                }
            }
            *group.owed_end_of_rib.get_mut(afi) -= to.len();
            self.groups.outbox.push_back(Output {
                bytes: bytes.into(),
                to,
                except: SmallVec::new(),
            });
        }
    }
}
