//! Sources that come and go, facts that change, and the work that follows, in slices.

use std::collections::BTreeSet;

use dunlin_net::{Afi, PerFamily, V4, V6};

use super::Rib;
use super::hops::Resolution;
use super::input::ImportPolicy;
use super::source::{SourceCounts, SourceId, SourceInfo};
use super::table::{BLOCK, Path, RibFamily};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::{AttrEdits, RejectReason};

/// A source whose paths lie in no more blocks than this is worked on at once.
const AT_ONCE_BLOCKS: usize = if cfg!(test) { 1 } else { 4 };

/// Generations of stale paths that may wait to be swept; then they are swept at once.
const EPOCHS: u8 = 200;

impl Rib {
    /// Makes a source known. `None` if 65,535 are there.
    pub fn register(&mut self, info: SourceInfo) -> Option<SourceId> {
        let leaving: Vec<SourceId> = self.store.sources.leaving().collect();
        for source in leaving {
            self.reap(source);
        }
        self.store.sources.insert(info)
    }

    /// What is known of a source.
    pub fn source(&self, source: SourceId) -> Option<&SourceInfo> {
        Some(&self.store.sources.find(source)?.info)
    }

    /// How many routes of a source there are.
    pub fn source_counts(&self, source: SourceId, afi: Afi) -> SourceCounts {
        let source = self.store.sources.find(source);
        source.map_or_else(SourceCounts::default, |source| source.counts(afi))
    }

    /// Takes no more than so many prefixes of each family from a source in one session; what it has of them stays.
    pub fn set_limit(&mut self, source: SourceId, limit: Option<u32>) {
        if let Some(slot) = self.store.sources.find_mut(source) {
            slot.limit = limit.unwrap_or(u32::MAX);
        }
    }

    /// Notes what a new session found out about a source. Its paths are decided again, and judged again by
    /// [`Rib::poll_work`].
    pub fn update_source(&mut self, source: SourceId, info: SourceInfo) {
        let Some(slot) = self.store.sources.find_mut(source) else {
            return;
        };
        if slot.info != info {
            let who = |info: &SourceInfo| (info.peer_type, info.reflector_client, info.router_id);
            let told_otherwise = who(&slot.info) != who(&info);
            let renamed = slot.info.router_id != info.router_id;
            slot.info = info.clone();
            self.store.attrs.rekey(source, &info);
            self.rejudge_source(source);
            if told_otherwise {
                self.reexport_source::<V4>(source);
                self.reexport_source::<V6>(source);
            }
            if renamed {
                self.retell_source(source);
            }
        }
    }

    /// Who may be told of a source's routes, or what is told of where they came from, has changed.
    fn reexport_source<F: RibFamily>(&mut self, source: SourceId) {
        let editor = self.editor::<F>();
        let Some(slot) = editor.store.sources.find(source) else {
            return;
        };
        for block in slot.blocks(F::AFI) {
            for id in editor.table.block(block) {
                if editor.table.has_path_of(id, source) {
                    editor.groups.mark(F::AFI, id);
                }
            }
        }
    }

    /// Removes a source and its paths. The id is given to another one when the last path is gone.
    pub fn unregister(&mut self, source: SourceId) {
        self.drop_source(source);
        if let Some(slot) = self.store.sources.find_mut(source) {
            slot.leaving = true;
        }
        self.reap(source);
    }

    fn reap(&mut self, source: SourceId) {
        let sources = &mut self.store.sources;
        let gone = sources.find(source).is_some_and(|slot| {
            slot.leaving
                && Afi::ALL
                    .iter()
                    .all(|&afi| slot.counts.get(afi).received == 0)
        });
        // Export groups may still hold attribute sets that name the source: they let go before it does.
        if gone && !self.store.attrs.names(source) {
            self.store.sources.remove(source);
        }
    }

    /// The session broke and graceful restart keeps its routes (RFC 4724 4.2): all are stale until announced again.
    /// Those that were stale before go, unless they are to be kept.
    pub fn mark_stale(&mut self, source: SourceId, keep: PerFamily<bool>) {
        let Some(slot) = self.store.sources.find_mut(source) else {
            return;
        };
        let epochs = slot.epoch;
        slot.begin_epoch();
        for afi in Afi::ALL {
            let (epoch, live) = (*epochs.get(afi), *slot.live.get(afi));
            if !keep.get(afi) {
                slot.retire(afi, epoch);
            } else if epoch.wrapping_sub(live) >= EPOCHS {
                // Epochs come round: what has not been told anew for so many of them goes. A session may have had several.
                slot.retire(afi, epoch.wrapping_sub(EPOCHS - 1));
            }
        }
        self.remove_dead(source);
    }

    /// What is stale of one family is long-lived stale from now on (RFC 9494 4.2): preferred least, told with LLGR_STALE,
    /// and gone where NO_LLGR forbids it.
    pub fn begin_long_lived(&mut self, source: SourceId, afi: Afi) {
        if let Some(slot) = self.store.sources.find_mut(source) {
            *slot.lingers.get_mut(afi) = *slot.epoch.get(afi);
            match afi {
                Afi::Ipv4 => self.linger::<V4>(source),
                Afi::Ipv6 => self.linger::<V6>(source),
            }
        }
    }

    fn linger<F: RibFamily>(&mut self, source: SourceId) {
        let Some(slot) = self.store.sources.find(source) else {
            return;
        };
        let blocks: Vec<u32> = slot.blocks(F::AFI).collect();
        let table = F::table_mut(&mut self.tables);
        // What is told of them changes even where the decision does not.
        for id in blocks.iter().flat_map(|&block| table.block(block)) {
            let stays = |(_, path): (u32, &Path)| {
                path.source == source && !self.store.is_dead(F::AFI, path)
            };
            if table.paths(id).any(stays) {
                self.groups.mark(F::AFI, id);
            }
        }
        if blocks.len() <= AT_ONCE_BLOCKS {
            for block in blocks {
                self.work_on::<F, AcceptAll>(None, block);
            }
        } else {
            for block in blocks {
                table.recheck.insert(block);
            }
        }
    }

    /// Removes what is still stale of one family: End-of-RIB came, or the deadline.
    pub fn sweep_stale(&mut self, source: SourceId, afi: Afi) {
        if let Some(slot) = self.store.sources.find_mut(source) {
            slot.retire_stale(afi);
            self.remove_dead(source);
        }
    }

    /// Removes all paths of a source: the session is gone.
    pub fn drop_source(&mut self, source: SourceId) {
        let Some(slot) = self.store.sources.find_mut(source) else {
            return;
        };
        slot.begin_epoch();
        for afi in Afi::ALL {
            slot.retire(afi, *slot.epoch.get(afi));
        }
        self.remove_dead(source);
    }

    /// Whether [`Rib::poll_work`] has something to do.
    pub fn has_work(&self) -> bool {
        let (v4, v6) = (&self.tables.v4, &self.tables.v6);
        let waiting = [&v4.recheck, &v4.rejudge, &v6.recheck, &v6.rejudge];
        waiting.iter().any(|blocks| !blocks.is_empty())
    }

    fn remove_dead(&mut self, source: SourceId) {
        self.remove_dead_of::<V4>(source);
        self.remove_dead_of::<V6>(source);
    }

    fn remove_dead_of<F: RibFamily>(&mut self, source: SourceId) {
        let Some(slot) = self.store.sources.find(source) else {
            return;
        };
        let (oldest, live) = (*slot.oldest.get(F::AFI), *slot.live.get(F::AFI));
        if slot.counts.get(F::AFI).received == 0 {
            self.nothing_dead::<F>(source);
            return;
        }
        if oldest == live {
            return;
        }
        let blocks: Vec<u32> = slot.blocks(F::AFI).collect();
        let waited = slot.epoch.get(F::AFI).wrapping_sub(oldest);
        if blocks.len() <= AT_ONCE_BLOCKS || waited > EPOCHS {
            for block in blocks {
                self.work_on::<F, AcceptAll>(None, block);
            }
            self.nothing_dead::<F>(source);
        } else {
            let table = F::table_mut(&mut self.tables);
            for block in blocks {
                table.recheck.insert(block);
            }
        }
    }

    fn nothing_dead<F: RibFamily>(&mut self, source: SourceId) {
        if let Some(slot) = self.store.sources.find_mut(source) {
            *slot.oldest.get_mut(F::AFI) = *slot.live.get(F::AFI);
        }
    }

    /// Facts about a source's routes changed: judges them again in [`Rib::poll_work`].
    pub fn rejudge_source(&mut self, source: SourceId) {
        if let Some(slot) = self.store.sources.find(source) {
            for block in slot.blocks(Afi::Ipv4) {
                self.tables.v4.rejudge.insert(block);
            }
            for block in slot.blocks(Afi::Ipv6) {
                self.tables.v6.rejudge.insert(block);
            }
        }
    }

    /// Facts changed: judges everything again in [`Rib::poll_work`].
    pub fn rejudge_all(&mut self) {
        for block in 0..self.tables.v4.limit().div_ceil(BLOCK) {
            self.tables.v4.rejudge.insert(block);
        }
        for block in 0..self.tables.v6.limit().div_ceil(BLOCK) {
            self.tables.v6.rejudge.insert(block);
        }
    }

    /// Facts about these prefixes changed: judges them again now.
    pub fn rejudge_prefixes<F: RibFamily, P: ImportPolicy>(
        &mut self,
        policy: &P,
        nets: impl IntoIterator<Item = F::Net>,
    ) {
        let mut editor = self.editor::<F>();
        for net in nets {
            if let Some(id) = editor.table.find(net) {
                editor.revise(Some(policy), id);
            }
        }
    }

    /// Facts about these prefixes changed: judges again now what is equal to one of them, within one, or covers one. Goes
    /// over the table once, however many they are, and not at all if nothing can lie within them.
    pub fn rejudge_related<F: RibFamily, P: ImportPolicy>(
        &mut self,
        policy: &P,
        nets: impl IntoIterator<Item = F::Net>,
    ) {
        let nets: BTreeSet<F::Net> = nets.into_iter().collect();
        if nets.is_empty() {
            return;
        }
        let mut lengths: BTreeSet<u8> = nets.iter().map(|&net| F::len(net)).collect();
        lengths.remove(&F::BITS);
        let table = F::table(&self.tables);
        let cut = |net: F::Net, len: u8| F::net(F::addr(net), len);
        let within = |id: &u32| {
            let net = table.net(*id);
            let above = lengths.range(..=F::len(net));
            above
                .filter_map(|&len| cut(net, len))
                .any(|net| nets.contains(&net))
        };
        let mut ids: BTreeSet<u32> = match lengths.is_empty() {
            true => BTreeSet::new(),
            false => table.ids_from(0).filter(within).collect(),
        };
        for &net in &nets {
            let covering = (0..=F::len(net)).filter(|&len| table.has_length(len));
            ids.extend(covering.filter_map(|len| table.find(cut(net, len)?)));
        }
        let mut editor = self.editor::<F>();
        for id in ids {
            editor.revise(Some(policy), id);
        }
    }

    /// Says what is known of next hops. Paths by them are decided again: at once for sources with few prefixes, else in
    /// [`Rib::poll_work`]. Goes over the prefixes of a source once, however many they are: where routes are reflected, each has a
    /// next hop of its own.
    pub fn set_next_hops(&mut self, known: impl IntoIterator<Item = (NextHop, Resolution)>) {
        let mut changed = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for (next_hop, resolution) in known {
            if let Some((hop, users)) = self.store.hops.set(&next_hop, resolution) {
                changed.insert(hop);
                sources.extend(users);
            }
        }
        for source in sources {
            self.recheck::<V4>(source, &changed);
            self.recheck::<V6>(source, &changed);
        }
    }

    fn recheck<F: RibFamily>(&mut self, source: SourceId, hops: &BTreeSet<u32>) {
        let Some(slot) = self.store.sources.find(source) else {
            return;
        };
        let blocks: Vec<u32> = slot.blocks(F::AFI).collect();
        if blocks.len() <= AT_ONCE_BLOCKS && slot.counts.get(F::AFI).received <= BLOCK {
            let ids: Vec<u32> = {
                let table = F::table(&self.tables);
                let of_block = |&block: &u32| table.block(block);
                let by_these = |(_, path): (u32, &Path)| {
                    let hop = || self.store.attrs.get(path.attrs).hop;
                    path.source == source && hops.contains(&hop())
                };
                let has = |id: &u32| table.paths(*id).any(by_these);
                blocks.iter().flat_map(of_block).filter(has).collect()
            };
            let mut editor = self.editor::<F>();
            for id in ids {
                editor.revise::<AcceptAll>(None, id);
            }
        } else {
            let table = F::table_mut(&mut self.tables);
            for block in blocks {
                table.recheck.insert(block);
            }
        }
    }

    /// Does up to about `budget` prefixes of waiting work; whether more waits.
    pub fn poll_work<P: ImportPolicy>(&mut self, policy: &P, budget: usize) -> bool {
        if !self.has_work() {
            return false;
        }
        let mut left = budget.div_ceil(BLOCK as usize).max(1);
        while left > 0 && (self.slice::<V4, P>(policy) || self.slice::<V6, P>(policy)) {
            left -= 1;
        }
        let more = self.has_work();
        if !more {
            self.rest();
        }
        more
    }

    fn slice<F: RibFamily, P: ImportPolicy>(&mut self, policy: &P) -> bool {
        let table = F::table_mut(&mut self.tables);
        // Removals go first: withdrawals are worth more than opinions.
        if let Some(block) = table.recheck.next(0) {
            let judge = table.rejudge.contains(block);
            self.work_on::<F, P>(judge.then_some(policy), block);
            return true;
        }
        if let Some(block) = table.rejudge.next(0) {
            self.work_on::<F, P>(Some(policy), block);
            return true;
        }
        false
    }

    fn work_on<F: RibFamily, P: ImportPolicy>(&mut self, policy: Option<&P>, block: u32) {
        let mut editor = self.editor::<F>();
        editor.table.recheck.remove(block);
        if policy.is_some() {
            editor.table.rejudge.remove(block);
        }
        let ids: Vec<u32> = editor.table.block(block).collect();
        for id in ids {
            editor.revise(policy, id);
        }
    }

    /// No block waits, so no path is dead.
    fn rest(&mut self) {
        for source in self.store.sources.iter_mut() {
            source.oldest = source.live;
        }
    }
}

/// The policy where none is asked.
pub(super) struct AcceptAll;

impl ImportPolicy for AcceptAll {
    fn judge<F: RibFamily>(
        &self,
        _: &SourceInfo,
        _: F::Net,
        _: Attrs<'_>,
        _: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        Ok(None)
    }
}
