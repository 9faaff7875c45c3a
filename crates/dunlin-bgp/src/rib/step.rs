//! One step of one export group: a chunk of dirty prefixes taken, put in the order of encoding, encoded, noted as told.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_net::PeerId;
use smallvec::SmallVec;

use super::Store;
use super::export::{ExportPolicy, LastExport};
use super::group::{Change, Group, UNTOLD, set_of, told_with};
use super::output::Output;
use super::source::SourceId;
use super::table::{NetId, RibFamily, Table};
use crate::policy::RejectReason;

/// Dirty prefixes looked at together, so that those with equal attributes meet in one UPDATE. Small in tests, so that
/// few prefixes make many chunks.
const CHUNK: usize = if cfg!(test) { 5 } else { 32 * 1024 };
/// The same for one lagging member.
const LAG_CHUNK: usize = if cfg!(test) { 3 } else { 8 * 1024 };

/// UPDATEs of one step, for all members that keep pace.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// Which octets are of routes of a member, in order.
    own: Vec<(PeerId, Range<usize>)>,
}

impl Block {
    /// What was added from `start` on is of this member's routes.
    fn note(&mut self, from: Option<PeerId>, start: usize) {
        let end = self.bytes.len();
        let Some(peer) = from.filter(|_| start < end) else {
            return;
        };
        match self.own.last_mut() {
            Some((last, own)) if *last == peer && own.end == start => own.end = end,
            _ => self.own.push((peer, start..end)),
        }
    }
}

/// To be kept until all have read it: without room for more.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    bytes.shrink_to_fit();
    bytes.into()
}

/// What is left of a block without these octets, which ascend. It shares the block's, unless it would keep much more of it
/// in memory than there is to send.
fn without(block: &Bytes, own: &[(PeerId, Range<usize>)]) -> SmallVec<[Bytes; 2]> {
    let starts = std::iter::once(0).chain(own.iter().map(|own| own.1.end));
    let ends = own.iter().map(|own| own.1.start);
    let rests = starts.zip(ends.chain([block.len()]));
    let rests = rests.filter(|(start, end)| start < end);
    let left: usize = rests.clone().map(|(start, end)| end - start).sum();
    if 2 * left >= block.len() {
        return rests.map(|(start, end)| block.slice(start..end)).collect();
    }
    let copy: Vec<u8> = rests
        .flat_map(|(start, end)| &block[start..end])
        .copied()
        .collect();
    let copy = (!copy.is_empty()).then(|| Bytes::from(copy));
    copy.into_iter().collect()
}

/// One step of one group in one family.
pub(super) struct Step<'a, F: RibFamily> {
    pub(super) table: &'a Table<F>,
    pub(super) store: &'a mut Store,
    pub(super) group: &'a mut Group,
    pub(super) outbox: &'a mut VecDeque<Output>,
    pub(super) hold: bool,
    /// Prefixes that may have lost their last holder.
    pub(super) loose: &'a mut Vec<NetId>,
    /// The same for entries of Adj-RIB-Out.
    pub(super) loose_entries: Vec<u32>,
    pub(super) scratch: Vec<u8>,
}

impl<F: RibFamily> Step<'_, F> {
    fn source_of(&self, out: u32) -> Option<SourceId> {
        (out != UNTOLD).then(|| self.store.attrs.get(set_of(out)).source)
    }

    /// Takes a chunk of dirty prefixes and puts what changed in the order of encoding.
    pub(super) fn take_changes<P: ExportPolicy>(&mut self, policy: &P) {
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
            if out.paths.is_some() {
                self.take_paths(policy, id, &mut last, &mut changes);
                continue;
            }
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

    /// The same for one prefix whose paths are all told: what is to be told is held against the entries there are.
    fn take_paths<'p, P: ExportPolicy>(
        &mut self,
        policy: &'p P,
        net: NetId,
        last: &mut LastExport<'p>,
        changes: &mut Vec<Change>,
    ) {
        let key = &self.group.key;
        let mut wanted = self.store.export_paths(policy, key, self.table, net, last);
        wanted.sort_unstable();
        let out = self.group.out.get_mut(F::AFI);
        let Some(paths) = &mut out.paths else { return };
        let mut entries: Vec<(u32, u32)> = paths.of(net).map(|(at, id)| (id, at)).collect();
        entries.sort_unstable();
        if wanted.is_empty() && entries.is_empty() {
            self.loose.push(net);
        }
        for &(path_id, new) in &wanted {
            let known = entries.binary_search_by_key(&path_id, |entry| entry.0);
            let id = match known {
                Ok(at) => entries[at].1,
                Err(_) => paths.add(net, path_id),
            };
            let old = told_with(&out.ids, id);
            if old == new {
                self.store.attrs.release(&mut self.store.hops, set_of(new));
                continue;
            }
            paths.set_pending(id, true);
            changes.push(Change {
                withdrawn: false,
                source: self.store.attrs.get(set_of(new)).source,
                out: new,
                id,
            });
        }
        let unwanted = |path_id| {
            wanted
                .binary_search_by_key(&path_id, |path| path.0)
                .is_err()
        };
        for (_, id) in entries.into_iter().filter(|entry| unwanted(entry.0)) {
            let old = told_with(&out.ids, id);
            if old == UNTOLD {
                self.loose_entries.push(id);
            } else if self.hold {
                out.held.insert(net);
            } else {
                paths.set_pending(id, true);
                changes.push(Change {
                    withdrawn: true,
                    source: self.store.attrs.get(set_of(old)).source,
                    out: UNTOLD,
                    id,
                });
            }
        }
    }

    /// An entry may have lost its last holder.
    fn let_go(&mut self, id: u32) {
        match self.group.out.get(F::AFI).paths {
            None => self.loose.push(id),
            Some(_) => self.loose_entries.push(id),
        }
    }

    /// Gives back entries that nobody holds any more.
    pub(super) fn finish(self) {
        let nets = self.group.let_go(F::AFI, self.loose_entries);
        self.loose.extend(nets);
    }

    /// A change was encoded, or came to nothing.
    fn done(&mut self, id: u32) {
        if let Some(paths) = &mut self.group.out.get_mut(F::AFI).paths {
            paths.set_pending(id, false);
        }
    }

    /// How many of the longest prefixes fill so many octets; never none.
    fn prefixes_in(octets: usize) -> usize {
        (octets / (1 + usize::from(F::BITS / 8))).max(1)
    }

    /// Encodes taken changes up to `budget` octets.
    pub(super) fn encode(&mut self, budget: usize) {
        let mut block = Block::default();
        let mut back = Vec::new();
        while block.bytes.len() < budget
            && let Some(&first) = self.group.out.get(F::AFI).changes.front()
        {
            let from = self.group.by_source.get(&first.source).copied();
            let run = self.take_run(first, budget);
            let start = block.bytes.len();
            self.encode_run(first, run, &mut block.bytes, &mut back);
            block.note(from, start);
        }
        self.send_block(block);
        self.withdraw_back(&back);
    }

    /// To all members that keep pace; to those whose routes are in it, what is left without them.
    fn send_block(&mut self, block: Block) {
        let Block { bytes, mut own } = block;
        let bytes = sealed(bytes);
        own.sort_by_key(|own| own.0);
        let to = self.group.in_sync();
        let of_members = own.chunk_by(|a, b| a.0 == b.0);
        let except = of_members.clone().map(|own| own[0].0).collect();
        self.send(bytes.clone(), to.clone(), except);
        for own in of_members.filter(|own| to.binary_search(&own[0].0).is_ok()) {
            for rest in without(&bytes, own) {
                self.send_to(own[0].0, rest);
            }
        }
    }

    /// Takes the changes that go into one run of UPDATEs, not much more of them than the budget allows.
    fn take_run(&mut self, first: Change, budget: usize) -> Vec<Change> {
        let changes = &mut self.group.out.get_mut(F::AFI).changes;
        let same = |change: &&Change| {
            change.withdrawn == first.withdrawn
                && change.out == first.out
                && change.source == first.source
        };
        let most = Self::prefixes_in(budget);
        let count = changes.iter().take(most).take_while(same).count();
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
        let group = &*self.group;
        let mut untellable = false;
        if first.withdrawn {
            Store::withdraw(group, self.table, ids, bytes);
        } else {
            let buffers = (&mut self.scratch, bytes);
            untellable = !self
                .store
                .announce(group, first.out, self.table, ids, buffers);
        }
        for change in run {
            self.done(change.id);
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
            self.let_go(change.id);
            return;
        };
        let out = self.group.out.get_mut(F::AFI);
        if self.hold {
            let net = out.paths.as_ref().map(|paths| paths.net(change.id));
            out.held.insert(net.unwrap_or(change.id));
        } else {
            if let Some(paths) = &mut out.paths {
                paths.set_pending(change.id, true);
            }
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
            self.let_go(change.id);
        }
        if self.group.lagging > 0 {
            for member in &mut self.group.members {
                let Some(lag) = &mut member.lag else { continue };
                let saw = Group::sees(member.source, old_source);
                lag.get_mut(F::AFI).changed(change.id, saw);
            }
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
            Store::withdraw(self.group, self.table, ids, &mut bytes);
            self.send_to(run[0].0, sealed(bytes));
        }
    }

    fn send_to(&mut self, peer: PeerId, bytes: Bytes) {
        self.send(bytes, Arc::from([peer]), SmallVec::new());
    }

    fn send(&mut self, bytes: Bytes, to: Arc<[PeerId]>, except: SmallVec<[PeerId; 1]>) {
        if bytes.is_empty() {
            return;
        }
        let octets = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let output = Output { bytes, to, except };
        let mut sent = false;
        let mut from = 0;
        for peer in output.members() {
            // Both ascend by peer.
            let rest = &mut self.group.members[from..];
            let at = rest.binary_search_by_key(&peer, |member| member.peer);
            let (Ok(skip) | Err(skip)) = at;
            from += skip;
            if at.is_ok() {
                let member = &mut rest[skip];
                member.credit = member.credit.saturating_sub(octets);
                sent = true;
            }
        }
        if sent {
            self.outbox.push_back(output);
        }
    }

    /// Tells one lagging member a chunk of what it misses.
    pub(super) fn encode_lagging(&mut self, at: usize, budget: usize) {
        let (source, peer) = (self.group.members[at].source, self.group.members[at].peer);
        let (mut tell, mut forget) = (Vec::new(), Vec::new());
        let mut from = 0;
        for _ in 0..LAG_CHUNK.min(Self::prefixes_in(budget)) {
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
                self.let_go(id);
                if told {
                    forget.push(id);
                }
            }
        }
        let mut bytes = Vec::new();
        let group = &*self.group;
        Store::withdraw(group, self.table, forget.into_iter(), &mut bytes);
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
            let buffers = (&mut self.scratch, &mut bytes);
            let group = &*self.group;
            self.store
                .announce(group, run[0].0, self.table, ids, buffers);
        }
        self.send_to(peer, sealed(bytes));
    }
}

#[cfg(test)]
mod tests;
