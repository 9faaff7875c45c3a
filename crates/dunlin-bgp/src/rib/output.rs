//! From dirty prefixes to blocks of UPDATEs, each encoded once for all members that are told the same.

use std::collections::VecDeque;
use std::sync::Arc;

use dunlin_net::{Afi, PeerId, V4, V6};

use super::export::{ExportPolicy, LastExport};
use super::group::{Change, Group, GroupId, GroupKey, UNTOLD, set_of};
use super::source::SourceId;
use super::table::{NetId, RibFamily, Table};
use super::{Rib, Store};
use crate::policy::RejectReason;
use crate::wire::UpdateWriter;

/// Dirty prefixes looked at together, so that those with equal attributes meet in one UPDATE.
const CHUNK: usize = if cfg!(test) { 5 } else { 32 * 1024 };
/// The same for one lagging member.
const LAG_CHUNK: usize = if cfg!(test) { 3 } else { 8 * 1024 };

/// Whole UPDATE messages and whom they go to. Outputs that name a peer go to it in the order they were polled.
#[derive(Clone, Debug)]
pub struct Output {
    /// The messages.
    pub bytes: Arc<[u8]>,
    /// The peers, ascending; see [`Output::members`].
    pub to: Arc<[PeerId]>,
    /// One of them that these are not for, since it is the source of the routes.
    pub except: Option<PeerId>,
}

impl Output {
    /// The peers to send the messages to.
    pub fn members(&self) -> impl Iterator<Item = PeerId> + '_ {
        let except = self.except;
        self.to
            .iter()
            .copied()
            .filter(move |&peer| Some(peer) != except)
    }
}

impl Rib {
    /// Puts a peer into the export group of `key`. `source` is what the peer is as a source: its routes are not told
    /// back to it. `credit`: octets it can take before [`Rib::on_credit`] says more. It is told everything, then
    /// End-of-RIB. A peer that is in a group leaves that one first.
    pub fn join(
        &mut self,
        peer: PeerId,
        source: Option<SourceId>,
        key: &GroupKey,
        credit: usize,
    ) -> GroupId {
        self.leave(peer);
        let credit = i64::try_from(credit).unwrap_or(i64::MAX);
        let (id, made) = self.groups.join(peer, source, key, credit);
        if made && let Some(group) = self.groups.get_mut(id) {
            for net in self.tables.v4.ids_from(0).filter(|_| key.families.v4) {
                group.out.v4.dirty.insert(net);
            }
            for net in self.tables.v6.ids_from(0).filter(|_| key.families.v6) {
                group.out.v6.dirty.insert(net);
            }
        }
        id
    }

    /// Takes a peer out of its group: its session is gone.
    pub fn leave(&mut self, peer: PeerId) {
        let Some(id) = self.groups.of_peer.remove(&peer) else {
            return;
        };
        let Some(slot) = self.groups.slots.get_mut(id.0 as usize) else {
            return;
        };
        let Some(group) = slot else { return };
        let Ok(at) = group.members.binary_search_by_key(&peer, |m| m.peer) else {
            return;
        };
        // What was encoded and not polled is not for a next session of the same peer.
        self.groups.outbox.retain_mut(|output| {
            if output.to.binary_search(&peer).is_ok() {
                output.to = output.members().filter(|&to| to != peer).collect();
            }
            !output.to.is_empty()
        });
        let member = group.members.remove(at);
        if let Some(source) = member.source {
            group.by_source.remove(&source);
        }
        group.membership_changed();
        let mut loose = (Vec::new(), Vec::new());
        if group.members.is_empty()
            && let Some(group) = slot.take()
        {
            loose = self.store.release_group(&group);
        }
        if let Some(lag) = member.lag {
            loose.0.extend(lag.v4.ids());
            loose.1.extend(lag.v6.ids());
        }
        self.forget_unused::<V4>(loose.0);
        self.forget_unused::<V6>(loose.1);
    }

    pub(super) fn forget_unused<F: RibFamily>(&mut self, ids: Vec<NetId>) {
        let editor = self.editor::<F>();
        for id in ids {
            editor.groups.forget_if_unused(editor.table, id);
        }
    }

    /// The peer can take this many octets more.
    pub fn on_credit(&mut self, peer: PeerId, octets: usize) {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        if let Some(member) = self.groups.of_mut(peer).and_then(|g| g.member_mut(peer)) {
            member.credit = member.credit.saturating_add(octets);
        }
    }

    /// Tells a peer everything of a family again: it asked for a refresh (RFC 2918).
    pub fn refresh(&mut self, peer: PeerId, afi: Afi) {
        let Some(group) = self.groups.of_mut(peer) else {
            return;
        };
        let out = group.out.get(afi);
        let told: Vec<(NetId, u32)> = out.iter().collect();
        let attrs = &self.store.attrs;
        let Some(member) = group.member_mut(peer) else {
            return;
        };
        let own = member.source;
        let lag = member.lag().get_mut(afi);
        for (id, out) in told {
            let source = attrs.get(set_of(out)).source;
            if own != Some(source) {
                lag.changed(id, true);
            }
        }
        group.membership_changed();
    }

    /// The export policy of a group, or facts it depends on, changed: all is looked at again.
    pub fn reexport(&mut self, group: GroupId) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        for id in self.tables.v4.ids_from(0).filter(|_| group.key.families.v4) {
            group.out.v4.dirty.insert(id);
        }
        for id in self.tables.v6.ids_from(0).filter(|_| group.key.families.v6) {
            group.out.v6.dirty.insert(id);
        }
    }

    /// Facts about these prefixes that export policies depend on changed.
    pub fn reexport_prefixes<F: RibFamily>(&mut self, nets: impl IntoIterator<Item = F::Net>) {
        let editor = self.editor::<F>();
        for net in nets {
            if let Some(id) = editor.table.find(net) {
                editor.groups.mark(F::AFI, id);
            }
        }
    }

    /// The restart gate: while held, announcements go at once; withdrawals, and End-of-RIB, wait. It is shut at the start
    /// or not at all: shutting it later does not call back what is on its way.
    pub fn set_gate(&mut self, hold_withdrawals: bool, hold_end_of_rib: bool) {
        self.groups.hold_end_of_rib = hold_end_of_rib;
        let opens = self.groups.hold_withdrawals && !hold_withdrawals;
        self.groups.hold_withdrawals = hold_withdrawals;
        if !opens {
            return;
        }
        for group in self.groups.iter_mut() {
            for afi in Afi::ALL {
                let out = group.out.get_mut(afi);
                for id in out.held.take().iter() {
                    out.dirty.insert(id);
                }
                for member in &mut group.members {
                    if let Some(lag) = &mut member.lag {
                        lag.get_mut(afi).release_held();
                    }
                }
            }
        }
    }

    /// The next block of UPDATEs, of about `budget` octets (at most one message more). `None` when nothing is to be
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
            self.catch_up(&mut group);
            self.end_of_rib(&mut group);
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
        let waits = |member: &super::group::Member| {
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
            group,
            scratch: Vec::new(),
        };
        step.encode_lagging(at, budget);
        true
    }

    /// Members that were told all that the group was keep its pace again.
    fn catch_up(&mut self, group: &mut Group) {
        let mut changed = false;
        for member in &mut group.members {
            let over =
                |lag: &dunlin_net::PerFamily<super::lag::Lag>| lag.v4.is_over() && lag.v6.is_over();
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
            if !group.out.get(afi).is_quiet() {
                continue;
            }
            let due = |m: &super::group::Member| m.lag.is_none() && *m.end_of_rib.get(afi);
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
            self.groups.outbox.push_back(Output {
                bytes: bytes.into(),
                to,
                except: None,
            });
        }
    }
}

impl Store {
    /// Lets go of all that a group holds; the prefixes nobody may hold any more.
    fn release_group(&mut self, group: &Group) -> (Vec<NetId>, Vec<NetId>) {
        let mut release = |out: &super::group::Out| {
            for (_, told) in out.iter() {
                self.attrs.release(&mut self.hops, set_of(told));
            }
            for change in out.changes.iter().filter(|change| !change.withdrawn) {
                self.attrs.release(&mut self.hops, set_of(change.out));
            }
            let told = out.iter().map(|(id, _)| id);
            told.chain(out.dirty.iter())
                .chain(out.held.iter())
                .collect()
        };
        (release(&group.out.v4), release(&group.out.v6))
    }
}

/// One step of one group in one family.
struct Step<'a, F: RibFamily> {
    table: &'a Table<F>,
    store: &'a mut Store,
    group: &'a mut Group,
    outbox: &'a mut VecDeque<Output>,
    hold: bool,
    /// Prefixes that may have lost their last holder.
    loose: &'a mut Vec<NetId>,
    scratch: Vec<u8>,
}

impl<F: RibFamily> Step<'_, F> {
    fn source_of(&self, out: u32) -> Option<SourceId> {
        (out != UNTOLD).then(|| self.store.attrs.get(set_of(out)).source)
    }

    /// Takes a chunk of dirty prefixes and puts what changed in the order of encoding.
    fn take_changes<P: ExportPolicy>(&mut self, policy: &P) {
        let mut changes = Vec::new();
        let mut last: LastExport<'_> = None;
        let mut from = 0;
        for _ in 0..CHUNK {
            let out = self.group.out.get_mut(F::AFI);
            let Some(id) = out.dirty.next(from) else {
                break;
            };
            out.dirty.remove(id);
            from = id;
            let old = out.get(id);
            let key = &self.group.key;
            let told: Result<Option<u32>, RejectReason> = self
                .store
                .export::<F, P>(policy, key, self.table, id, &mut last);
            match told {
                Ok(Some(new)) if new == old => {
                    self.store.attrs.release(&mut self.store.hops, set_of(new));
                }
                Ok(Some(new)) => changes.push(Change {
                    withdrawn: false,
                    source: self.store.attrs.get(set_of(new)).source,
                    out: new,
                    id,
                }),
                Ok(None) | Err(_) => match self.source_of(old) {
                    None => self.loose.push(id),
                    Some(_) if self.hold => {
                        self.group.out.get_mut(F::AFI).held.insert(id);
                    }
                    Some(source) => changes.push(Change {
                        withdrawn: true,
                        source,
                        out: UNTOLD,
                        id,
                    }),
                },
            }
        }
        changes.sort_unstable();
        self.group.out.get_mut(F::AFI).changes = changes.into();
    }

    /// Encodes taken changes up to `budget` octets or to where the members they go to change.
    fn encode(&mut self, budget: usize) {
        let mut bytes = Vec::new();
        let mut back = Vec::new();
        let except_of = |step: &Self, source| step.group.by_source.get(&source).copied();
        let mut except = None;
        while let Some(&first) = self.group.out.get(F::AFI).changes.front() {
            let to = except_of(self, first.source);
            if bytes.is_empty() {
                except = to;
            } else if bytes.len() >= budget || except != to {
                break;
            }
            let run = self.take_run(first);
            self.encode_run(first, run, &mut bytes, &mut back);
        }
        if !bytes.is_empty() {
            let to = self.group.in_sync();
            self.send(bytes, to, except);
        }
        self.withdraw_back(&back);
    }

    /// Takes the changes that go into one run of UPDATEs.
    fn take_run(&mut self, first: Change) -> Vec<Change> {
        let changes = &mut self.group.out.get_mut(F::AFI).changes;
        let same = |change: &&Change| {
            change.withdrawn == first.withdrawn
                && change.out == first.out
                && change.source == first.source
        };
        let count = changes.iter().take_while(same).count();
        changes.drain(..count).collect()
    }

    fn encode_run(
        &mut self,
        first: Change,
        run: Vec<Change>,
        bytes: &mut Vec<u8>,
        back: &mut Vec<(PeerId, NetId)>,
    ) {
        let ids = run.iter().map(|change| change.id);
        let key = &self.group.key;
        let mut untellable = false;
        if first.withdrawn {
            Store::withdraw(key, self.table, ids, bytes);
        } else {
            let (out, scratch) = (first.out, &mut self.scratch);
            untellable = !self
                .store
                .announce(key, out, self.table, ids, scratch, bytes);
        }
        for change in run {
            if untellable {
                self.give_up(change);
            } else {
                self.settle(change, back);
            }
        }
    }

    /// The attributes fit no message: what was told before is withdrawn.
    fn give_up(&mut self, change: Change) {
        self.store
            .attrs
            .release(&mut self.store.hops, set_of(change.out));
        let old = self.group.out.get(F::AFI).get(change.id);
        let Some(source) = self.source_of(old) else {
            self.loose.push(change.id);
            return;
        };
        let out = self.group.out.get_mut(F::AFI);
        if self.hold {
            out.held.insert(change.id);
        } else {
            out.changes.push_back(Change {
                withdrawn: true,
                source,
                out: UNTOLD,
                id: change.id,
            });
        }
    }

    /// Notes what was told.
    fn settle(&mut self, change: Change, back: &mut Vec<(PeerId, NetId)>) {
        let out = self.group.out.get_mut(F::AFI);
        let old = out.get(change.id);
        let old_source = (old != UNTOLD).then(|| self.store.attrs.get(set_of(old)).source);
        let new_source = (!change.withdrawn).then_some(change.source);
        out.set(change.id, change.out);
        if old_source != new_source {
            if let Some(source) = old_source {
                out.count(source, false);
            }
            if let Some(source) = new_source {
                out.count(source, true);
            }
        }
        if old_source.is_some() {
            self.store.attrs.release(&mut self.store.hops, set_of(old));
        }
        if change.withdrawn {
            self.loose.push(change.id);
        }
        for member in &mut self.group.members {
            let Some(lag) = &mut member.lag else { continue };
            let saw = Group::sees(member.source, old_source);
            lag.get_mut(F::AFI).changed(change.id, saw);
        }
        // The peer whose path became the best one was told another's until now.
        if let Some(source) = new_source
            && old_source.is_some_and(|old| old != source)
            && let Some(&peer) = self.group.by_source.get(&source)
            && self.group.member(peer).is_some_and(|m| m.lag.is_none())
        {
            back.push((peer, change.id));
        }
    }

    fn withdraw_back(&mut self, back: &[(PeerId, NetId)]) {
        for run in back.chunk_by(|a, b| a.0 == b.0) {
            let mut bytes = Vec::new();
            let ids = run.iter().map(|&(_, id)| id);
            Store::withdraw(&self.group.key, self.table, ids, &mut bytes);
            self.send(bytes, Arc::from([run[0].0]), None);
        }
    }

    fn send(&mut self, bytes: Vec<u8>, to: Arc<[PeerId]>, except: Option<PeerId>) {
        let octets = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let output = Output {
            bytes: bytes.into(),
            to,
            except,
        };
        let mut members = self.group.members.iter_mut();
        let mut sent = false;
        for peer in output.members() {
            // Both ascend by peer.
            if let Some(member) = members.find(|member| member.peer == peer) {
                member.credit = member.credit.saturating_sub(octets);
                sent = true;
            }
        }
        if sent {
            self.outbox.push_back(output);
        }
    }

    /// Tells one lagging member a chunk of what it misses.
    fn encode_lagging(&mut self, at: usize, budget: usize) {
        let (source, peer) = (self.group.members[at].source, self.group.members[at].peer);
        let (mut tell, mut forget) = (Vec::new(), Vec::new());
        let mut from = 0;
        for _ in 0..LAG_CHUNK {
            let lag = self.group.members[at].lag().get_mut(F::AFI);
            let Some((id, told)) = lag.take(from) else {
                break;
            };
            from = id;
            let out = self.group.out.get(F::AFI).get(id);
            if Group::sees(source, self.source_of(out)) {
                tell.push((out, id, told));
            } else if told && self.hold {
                self.group.members[at].lag().get_mut(F::AFI).hold(id);
            } else {
                self.loose.push(id);
                if told {
                    forget.push(id);
                }
            }
        }
        let mut bytes = Vec::new();
        Store::withdraw(&self.group.key, self.table, forget.into_iter(), &mut bytes);
        tell.sort_unstable();
        for run in tell.chunk_by(|a, b| a.0 == b.0) {
            if bytes.len() >= budget {
                let lag = self.group.members[at].lag().get_mut(F::AFI);
                for &(_, id, told) in run {
                    lag.put_back(id, told);
                }
                continue;
            }
            let ids = run.iter().map(|&(_, id, _)| id);
            let (key, scratch) = (&self.group.key, &mut self.scratch);
            self.store
                .announce(key, run[0].0, self.table, ids, scratch, &mut bytes);
        }
        if !bytes.is_empty() {
            self.send(bytes, Arc::from([peer]), None);
        }
    }
}

/// What a group may see of the key it was made with.
impl Rib {
    /// The key of a group.
    pub fn group_key(&self, group: GroupId) -> Option<&GroupKey> {
        Some(&self.groups.get(group)?.key)
    }

    /// The group a peer is in.
    pub fn group_of(&self, peer: PeerId) -> Option<GroupId> {
        self.groups.of_peer.get(&peer).copied()
    }

    /// How many prefixes of a family a peer is told.
    pub fn advertised(&self, peer: PeerId, afi: Afi) -> u32 {
        let Some(group) = self.groups.of(peer) else {
            return 0;
        };
        let out = group.out.get(afi);
        let source = group.member(peer).and_then(|member| member.source);
        let own = source.and_then(|source| out.told_by_source.get(usize::from(source.0)));
        out.told - own.copied().unwrap_or(0)
    }

    /// Whether a peer was told all there is to tell of a family, End-of-RIB included.
    pub fn is_told_all(&self, peer: PeerId, afi: Afi) -> bool {
        let Some(group) = self.groups.of(peer) else {
            return false;
        };
        let quiet = |out: &super::group::Out| out.is_quiet() && out.held.is_empty();
        let pace = |m: &super::group::Member| m.lag.is_none() && !*m.end_of_rib.get(afi);
        quiet(group.out.get(afi)) && group.member(peer).is_some_and(pace)
    }
}
