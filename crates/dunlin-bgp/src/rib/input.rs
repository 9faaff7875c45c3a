//! What comes in: batches of routes, originations, sources that come and go.

use dunlin_net::{Afi, PerFamily};

use super::attrset::{AttrId, DecisionKey};
use super::group::Groups;
use super::roles::marked;
use super::source::{SourceId, SourceInfo};
use super::table::{NONE, NetId, Path, RibFamily, Table};
use super::work::AcceptAll;
use super::{Rib, Store};
use crate::attrs::{self, Attrs};
use crate::batch::{BatchItem, NextHop, RouteBatch};
use crate::policy::{AttrEdits, RejectReason};

/// What the core says of routes learned from peers. Asked again for the same route whenever facts may have changed.
pub trait ImportPolicy {
    /// Whether the route may be used, and with which changes. Loops are sorted out before.
    fn judge<F: RibFamily>(
        &self,
        source: &SourceInfo,
        net: F::Net,
        attrs: Attrs<'_>,
        next_hop: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason>;
}

/// What is made of a route that an external peer is about to take away (RFC 8326 4.2), whatever a filter prefers.
pub(super) static LAST_CHOICE: AttrEdits = AttrEdits {
    local_pref: Some(0),
    med: None,
    prepend: None,
    add_communities: Vec::new(),
};

/// What a batch said beside routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// End-of-RIB of these families came.
    pub end_of_rib: PerFamily<bool>,
    /// A prefix of this family was one more than the source may have ([`Rib::set_limit`]); nothing was taken from there on.
    pub over_limit: Option<Afi>,
}

/// So many paths of one prefix are taken from one source (RFC 7911 lets a peer send any number); more are refused and
/// counted in [`SourceCounts::refused`](super::SourceCounts).
pub const MAX_PATHS_OF_SOURCE: usize = if cfg!(test) { 3 } else { 256 };

/// The last edits applied within one statement, and what they made of its attributes.
type LastEdit<'p> = Option<(&'p AttrEdits, AttrId)>;

impl Store {
    /// Judges a route; the attributes it is used with come with one use counted.
    fn judge<'p, F: RibFamily, P: ImportPolicy>(
        &mut self,
        policy: &'p P,
        source: SourceId,
        net: F::Net,
        id: AttrId,
        last: &mut LastEdit<'p>,
    ) -> Result<AttrId, RejectReason> {
        let info = &self.sources.get(source).info;
        let set = self.attrs.get(id);
        if let Some(reason) = set.key.refusal() {
            return Err(reason);
        }
        let edits = if info.is_local() {
            None
        } else {
            let next_hop = &self.hops.get(set.hop).next_hop;
            policy.judge::<F>(info, net, Attrs::new(&set.bytes), next_hop)?
        };
        let shut_down = set.key.flags & DecisionKey::SHUT_DOWN != 0;
        let edits = edits.filter(|edits| !edits.is_empty());
        let Some(edits) = edits.or(shut_down.then_some(&LAST_CHOICE)) else {
            self.attrs.retain(id);
            return Ok(id);
        };
        if let Some((last_edits, made)) = last
            && (std::ptr::eq(*last_edits, edits) || *last_edits == edits)
        {
            self.attrs.retain(*made);
            return Ok(*made);
        }
        let mut made = self.edited(id, edits);
        if shut_down {
            let preferred = made;
            made = self.edited(preferred, &LAST_CHOICE);
            self.attrs.release(&mut self.hops, preferred);
        }
        *last = Some((edits, made));
        Ok(made)
    }

    /// The set that edits make of a set, with one use counted.
    pub(super) fn edited(&mut self, id: AttrId, edits: &AttrEdits) -> AttrId {
        let set = self.attrs.get(id);
        let source = set.source;
        let next_hop = self.hops.get(set.hop).next_hop;
        let bytes = attrs::apply_edits(Attrs::new(&set.bytes), edits);
        let hash = attrs::hash(self.config.seed, &bytes, &next_hop);
        let info = &self.sources.get(source).info;
        self.attrs
            .acquire(&mut self.hops, (source, info), &bytes, hash, &next_hop)
    }

    fn release(&mut self, path: &Path) {
        self.attrs.release(&mut self.hops, path.attrs);
        if let Some(used) = path.used() {
            self.attrs.release(&mut self.hops, used);
        }
    }

    fn count_accepted(&mut self, afi: Afi, source: SourceId, was: bool, is: bool) {
        if was != is {
            let counts = self.sources.get_mut(source).counts.get_mut(afi);
            counts.accepted = counts.accepted.wrapping_add_signed(if is { 1 } else { -1 });
        }
    }
}

/// One family's table with all that a change of a prefix touches.
pub(super) struct Editor<'a, F: RibFamily> {
    pub(super) table: &'a mut Table<F>,
    pub(super) store: &'a mut Store,
    pub(super) groups: &'a mut Groups,
}

impl<F: RibFamily> Editor<'_, F> {
    /// The path that counts as best, though it may just have lost its acceptance.
    fn best(&self, id: NetId) -> Option<(AttrId, SourceId)> {
        let path = self.table.best(id)?;
        Some((path.used().unwrap_or(NONE), path.source))
    }

    /// Notes the best path of a prefix and marks what follows from it. `before` is still held by someone, so equal ids
    /// mean equal attributes.
    fn settle(&mut self, id: NetId, before: Option<(AttrId, SourceId)>, best: Option<u32>) {
        self.table.set_best(id, best);
        let after = best.map(|number| {
            let path = self.table.path(number);
            (path.used().unwrap_or(NONE), path.source)
        });
        if before.map(|best| best.1) != after.map(|best| best.1) {
            if let Some((_, source)) = before {
                self.store
                    .sources
                    .get_mut(source)
                    .counts
                    .get_mut(F::AFI)
                    .best -= 1;
            }
            if let Some((_, source)) = after {
                self.store
                    .sources
                    .get_mut(source)
                    .counts
                    .get_mut(F::AFI)
                    .best += 1;
            }
        }
        if before != after {
            self.groups.mark(F::AFI, id);
            self.table.watch_best(id);
        } else {
            self.groups.mark_several(F::AFI, id);
        }
        if self.store.config.fib && (before.is_some() || after.is_some()) {
            self.table.fib_dirty.insert(id);
        }
    }

    /// False if the source may not have one more, and nothing was done.
    fn announce<'p, P: ImportPolicy>(
        &mut self,
        policy: &'p P,
        source: SourceId,
        (net, path_id): (F::Net, Option<u32>),
        attrs: AttrId,
        last: &mut LastEdit<'p>,
    ) -> bool {
        let id = self.table.find_or_add(net);
        let present = self.table.path_of(id, source, path_id);
        if path_id.is_some() && self.is_crowded(id, source, present) {
            self.refuse(id, source);
            return true;
        }
        let slot = self.store.sources.get_mut(source);
        let epoch = *slot.epoch.get(F::AFI);
        let known = present.map(|number| self.table.path(number).epoch);
        if !slot.take(F::AFI, known) {
            self.groups.forget_if_unused(self.table, id);
            return false;
        }
        let used = self.store.judge::<F, P>(policy, source, net, attrs, last);
        let before = self.best(id);
        let lead = before.and(self.table.paths(id).next()).map(|lead| lead.0);
        let path = Path::new(source, epoch, attrs, used);
        match present {
            Some(number) => {
                let old = *self.table.path(number);
                let same = old.attrs == attrs && old.verdict() == used;
                if same && old.epoch == epoch {
                    if let Ok(used) = used {
                        self.store.attrs.release(&mut self.store.hops, used);
                    }
                    return true;
                }
                self.store.attrs.retain(attrs);
                let was = old.used().is_some();
                self.store.count_accepted(F::AFI, source, was, used.is_ok());
                self.table.replace_path(number, path);
                self.table.watch_path(id, number);
                let best = if lead == Some(number) {
                    self.store.decide(self.table, id)
                } else {
                    self.store.decide_about(self.table, id, number, lead)
                };
                self.settle(id, before, best);
                let source = self.store.sources.get(source);
                if source.is_long_lived(F::AFI, old.epoch) {
                    // It was told as long-lived stale, or not at all for that.
                    self.groups.mark(F::AFI, id);
                }
                self.store.release(&old);
            }
            None => {
                self.store.attrs.retain(attrs);
                self.store.sources.get_mut(source).count_in(F::AFI, id);
                self.store
                    .count_accepted(F::AFI, source, false, used.is_ok());
                let number = self.table.add_path(id, path, path_id);
                self.table.watch_path(id, number);
                let best = self.store.decide_about(self.table, id, number, lead);
                self.settle(id, before, best);
            }
        }
        true
    }

    /// Whether a prefix has as many paths of a source as are taken, this one not among them. Stale ones do not count: the
    /// peer may give its paths other identifiers after a restart.
    fn is_crowded(&self, id: NetId, source: SourceId, known: Option<u32>) -> bool {
        let epoch = *self.store.sources.get(source).epoch.get(F::AFI);
        if known.is_some_and(|number| self.table.path(number).epoch == epoch) {
            return false;
        }
        let of_source = |path: &Path| path.source == source && path.epoch == epoch;
        let paths = self.table.paths(id).filter(|(_, path)| of_source(path));
        paths.take(MAX_PATHS_OF_SOURCE).count() == MAX_PATHS_OF_SOURCE
    }

    fn refuse(&mut self, id: NetId, source: SourceId) {
        let counts = &mut self.store.sources.get_mut(source).counts;
        let counts = counts.get_mut(F::AFI);
        counts.refused = counts.refused.saturating_add(1);
        self.groups.forget_if_unused(self.table, id);
    }

    fn withdraw(&mut self, source: SourceId, (net, path_id): (F::Net, Option<u32>)) {
        let Some(id) = self.table.find(net) else {
            return;
        };
        if let Some(number) = self.table.path_of(id, source, path_id) {
            let before = self.best(id);
            self.remove(id, number, before);
            self.groups.forget_if_unused(self.table, id);
        }
    }

    /// Removes a path and decides again.
    fn remove(&mut self, id: NetId, number: u32, before: Option<(AttrId, SourceId)>) {
        let old = self.table.remove_path(id, number);
        let epoch = *self.store.sources.get(old.source).epoch.get(F::AFI);
        self.table.watch_path_gone(id, number, &old, epoch);
        let best = match self.table.best_number(id) {
            // Without MULTI_EXIT_DISC a path that was not the best one decided nothing.
            Some(lead) if !self.store.attrs.uses_med() && !old.is_best() => Some(lead),
            _ => self.store.decide(self.table, id),
        };
        let source = self.store.sources.get_mut(old.source);
        source.count_out(F::AFI, id, old.epoch);
        self.store
            .count_accepted(F::AFI, old.source, old.used().is_some(), false);
        self.settle(id, before, best);
        self.store.release(&old);
    }

    /// Looks at all paths of a prefix again: removes dead ones, asks the policy where there is one, decides.
    pub(super) fn revise<P: ImportPolicy>(&mut self, policy: Option<&P>, id: NetId) {
        let before = self.best(id);
        let held = before.map(|best| best.0);
        if let Some(held) = held {
            self.store.attrs.retain(held);
        }
        let numbers: smallvec::SmallVec<[u32; 8]> =
            self.table.paths(id).map(|(number, _)| number).collect();
        for number in numbers {
            let path = *self.table.path(number);
            if self.store.is_dead(F::AFI, &path) {
                let now = self.best(id);
                self.remove(id, number, now);
            } else if let Some(policy) = policy {
                self.judge_again(policy, id, number, path);
            }
        }
        let now = self.best(id);
        let best = self.store.decide(self.table, id);
        self.settle(id, now, best);
        if before != self.best(id) {
            self.groups.mark(F::AFI, id);
            self.table.watch_best(id);
        }
        if let Some(held) = held {
            self.store.attrs.release(&mut self.store.hops, held);
        }
        self.groups.forget_if_unused(self.table, id);
    }

    fn judge_again<P: ImportPolicy>(&mut self, policy: &P, id: NetId, number: u32, path: Path) {
        let net = self.table.net(id);
        let used = self
            .store
            .judge::<F, P>(policy, path.source, net, path.attrs, &mut None);
        let old = path.used();
        self.table.path_mut(number).set_used(used);
        self.store
            .count_accepted(F::AFI, path.source, old.is_some(), used.is_ok());
        if let Some(old) = old {
            self.store.attrs.release(&mut self.store.hops, old);
        }
    }
}

impl Rib {
    pub(super) fn editor<F: RibFamily>(&mut self) -> Editor<'_, F> {
        Editor {
            table: F::table_mut(&mut self.tables),
            store: &mut self.store,
            groups: &mut self.groups,
        }
    }

    /// Takes what a session read. Says nothing of a source that is not registered.
    pub fn apply<P: ImportPolicy>(
        &mut self,
        policy: &P,
        source: SourceId,
        batch: &RouteBatch,
    ) -> Applied {
        let mut applied = Applied::default();
        if self.store.sources.find(source).is_none_or(|s| s.leaving) {
            return applied;
        }
        for item in &batch.items {
            match item {
                BatchItem::Announce { afi, .. } => {
                    let taken =
                        match afi {
                            Afi::Ipv4 => self
                                .apply_announce::<dunlin_net::V4, P>(policy, source, batch, item),
                            Afi::Ipv6 => self
                                .apply_announce::<dunlin_net::V6, P>(policy, source, batch, item),
                        };
                    if !taken {
                        applied.over_limit = Some(*afi);
                        return applied;
                    }
                }
                BatchItem::Withdraw {
                    afi: Afi::Ipv4,
                    nlri,
                } => {
                    self.apply_withdraw::<dunlin_net::V4>(source, batch, nlri);
                }
                BatchItem::Withdraw {
                    afi: Afi::Ipv6,
                    nlri,
                } => {
                    self.apply_withdraw::<dunlin_net::V6>(source, batch, nlri);
                }
                BatchItem::EndOfRib(afi) => *applied.end_of_rib.get_mut(*afi) = true,
            }
        }
        applied
    }

    fn apply_announce<F: RibFamily, P: ImportPolicy>(
        &mut self,
        policy: &P,
        source: SourceId,
        batch: &RouteBatch,
        item: &BatchItem,
    ) -> bool {
        let BatchItem::Announce {
            attrs,
            hash,
            next_hop,
            nlri,
            ..
        } = item
        else {
            return true;
        };
        let bytes = batch.attr_bytes.get(range(attrs)).unwrap_or_default();
        let nets = routes::<F>(batch, nlri);
        self.announce_all::<F, P>(policy, source, (bytes, *hash), next_hop, nets)
    }

    /// False if the source may not have all of them; the rest was left.
    fn announce_all<F: RibFamily, P: ImportPolicy>(
        &mut self,
        policy: &P,
        source: SourceId,
        attrs: (&[u8], u64),
        next_hop: &NextHop,
        mut routes: impl Iterator<Item = (F::Net, Option<u32>)>,
    ) -> bool {
        let mut editor = self.editor::<F>();
        let info = &editor.store.sources.get(source).info;
        let (bytes, hash) = marked(info, attrs, next_hop, editor.store.config.seed);
        let id = editor.store.attrs.acquire(
            &mut editor.store.hops,
            (source, info),
            &bytes,
            hash,
            next_hop,
        );
        let mut last = None;
        let taken = routes.all(|route| editor.announce(policy, source, route, id, &mut last));
        editor.store.attrs.release(&mut editor.store.hops, id);
        taken
    }

    fn apply_withdraw<F: RibFamily>(
        &mut self,
        source: SourceId,
        batch: &RouteBatch,
        nlri: &std::ops::Range<u32>,
    ) {
        let mut editor = self.editor::<F>();
        for route in routes::<F>(batch, nlri) {
            editor.withdraw(source, route);
        }
    }

    /// Originates a prefix with canonical attribute bytes, or changes what it is originated with. `source` was
    /// registered with [`SourceInfo::local`]; false if it was not.
    pub fn originate<F: RibFamily>(&mut self, source: SourceId, net: F::Net, bytes: &[u8]) -> bool {
        if !self.is_local(source) {
            return false;
        }
        let next_hop = NextHop::new(self.store.config.router_id.0.into());
        let hash = attrs::hash(self.store.config.seed, bytes, &next_hop);
        self.announce_all::<F, AcceptAll>(
            &AcceptAll,
            source,
            (bytes, hash),
            &next_hop,
            [(net, None)].into_iter(),
        );
        true
    }

    /// Ends the origination of a prefix.
    pub fn withdraw_origination<F: RibFamily>(&mut self, source: SourceId, net: F::Net) {
        if self.is_local(source) {
            self.editor::<F>().withdraw(source, (net, None));
        }
    }

    fn is_local(&self, source: SourceId) -> bool {
        let source = self.store.sources.find(source);
        source.is_some_and(|source| source.info.is_local() && !source.leaving)
    }
}

/// The prefixes of an item, with their path identifiers where the session carries them.
fn routes<'b, F: RibFamily>(
    batch: &'b RouteBatch,
    nlri: &std::ops::Range<u32>,
) -> impl Iterator<Item = (F::Net, Option<u32>)> + use<'b, F> {
    let nets = F::nlri(batch).get(range(nlri)).unwrap_or_default();
    let ids = batch.path_ids.get(F::AFI);
    let mut ids = ids.get(range(nlri)).unwrap_or_default().iter();
    nets.iter().map(move |&net| (net, ids.next().copied()))
}

fn range(range: &std::ops::Range<u32>) -> std::ops::Range<usize> {
    range.start as usize..range.end as usize
}
