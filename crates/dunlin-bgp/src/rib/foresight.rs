//! What another import policy would make of the table, without changing anything.

use std::borrow::Cow;
use std::cell::OnceCell;

use dunlin_net::Family;
use smallvec::SmallVec;

use super::attrset::DecisionKey;
use super::decide::{Candidate, Candidates, by_preference, rank, shares_traffic};
use super::export::ExportPolicy;
use super::foretold::{Said, Told};
use super::group::GroupKey;
use super::input::{ImportPolicy, LAST_CHOICE};
use super::roles::marked_anew;
use super::source::SourceInfo;
use super::table::{NetId, Path, RibFamily, Table};
use super::telling::{Tellable, several};
use super::{Rib, Store};
use crate::attrs::{self, Attrs};
use crate::batch::NextHop;
use crate::policy::RejectReason;

/// How a table would be looked at.
pub trait OtherPolicy: ImportPolicy {
    /// Whether what is originated here stays so.
    fn originates<F: RibFamily>(&self, net: F::Net) -> bool;

    /// What would be known of a source of routes.
    fn source<'s>(&'s self, now: &'s SourceInfo) -> &'s SourceInfo;

    /// Whether a source that tells of its own AS in ONLY_TO_CUSTOMER has marked its routes itself, and not we, as our role asks
    /// (RFC 9234 5).
    fn marks_itself(&self, source: &SourceInfo) -> bool;
}

/// Now, or under the other policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Before,
    /// Then.
    After,
}

/// A prefix now and under another import policy.
pub struct Foresight<'a, F: Family> {
    /// The prefix.
    pub net: F::Net,
    /// Its paths, those originated here left out.
    pub paths: SmallVec<[ForeseenPath<'a>; 4]>,
    /// The best path now.
    pub before: Option<Chosen<'a>>,
    /// The best path then.
    pub after: Option<Chosen<'a>>,
    /// Whether any path is judged otherwise or gets other attributes.
    pub changed: bool,
    /// Whether it is originated here now.
    pub is_ours: bool,
    store: &'a Store,
    table: &'a Table<F>,
    id: NetId,
    judged: SmallVec<[Judged<'a>; 4]>,
    /// What takes part in the decision, the best path first: now and then, once somebody asked for it.
    ranked: [OnceCell<Ranked<'a>>; 2],
}

type Ranked<'a> = SmallVec<[Chosen<'a>; 4]>;

/// A path now and under another import policy.
#[derive(Clone, Copy, Debug)]
pub struct ForeseenPath<'a> {
    /// Where it came from.
    pub info: &'a SourceInfo,
    /// Why it is not used now, if it is not.
    pub before: Result<(), RejectReason>,
    /// Why it would not be used, if it would not.
    pub after: Result<(), RejectReason>,
    /// Whether it is used now and then, with other attributes.
    pub edited: bool,
}

/// A path that is, or would be, the best.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Where it came from.
    pub info: &'a SourceInfo,
    /// Its attributes after import policy.
    pub attrs: Cow<'a, [u8]>,
    /// Its next hop.
    pub next_hop: NextHop,
    /// The next hops that share its traffic, in order; given only where [`Foresight::changed`].
    pub hops: SmallVec<[NextHop; 1]>,
    number: u32,
    way: (u32, u32),
    flags: u16,
    long_lived: bool,
    is_not_to_linger: bool,
}

impl Chosen<'_> {
    fn told<'s, F: RibFamily, P: ExportPolicy>(
        &'s self,
        net: F::Net,
        key: &GroupKey,
        policy: &'s P,
    ) -> Option<Told<'s>> {
        let tellable = Tellable {
            attrs: Attrs::new(&self.attrs),
            flags: self.flags,
            source: self.info,
            stale: self.long_lived,
            is_not_to_linger: self.is_not_to_linger,
        };
        Told::of::<F, P>((net, self.number), &tellable, self.next_hop, key, policy)
    }
}

/// A path with what another policy makes of it.
struct Judged<'a> {
    number: u32,
    path_id: Option<u32>,
    path: &'a Path,
    /// What is known of its source then.
    info: &'a SourceInfo,
    verdict: Verdict<'a>,
}

type Verdict<'a> = Result<(Cow<'a, [u8]>, DecisionKey), RejectReason>;

impl Store {
    /// What another policy makes of a path from what is known of its source then.
    fn foresee<'a, F: RibFamily, P: OtherPolicy>(
        &'a self,
        policy: &P,
        net: F::Net,
        path: &Path,
        then: &SourceInfo,
    ) -> Verdict<'a> {
        let now = &self.sources.get(path.source).info;
        let set = self.attrs.get(path.attrs);
        let received = marked_anew(&set.bytes, [now, then], policy.marks_itself(now));
        let key = if now == then && matches!(received, Cow::Borrowed(_)) {
            set.key
        } else {
            DecisionKey::new(Attrs::new(&received), then, &self.attrs.us)
        };
        if let Some(reason) = key.refusal() {
            return Err(reason);
        }
        if now.is_local() {
            let stays = policy
                .originates::<F>(net)
                .then_some((Cow::Borrowed(&*set.bytes), set.key));
            return stays.ok_or(RejectReason::NotAdvertised);
        }
        let hop = self.hops.get(set.hop);
        let edits = policy.judge::<F>(then, net, Attrs::new(&received), &hop.next_hop)?;
        if !hop.resolution.reachable {
            return Err(RejectReason::NextHopUnresolved);
        }
        let leaves = DecisionKey::is_shut_down(Attrs::new(&received), then);
        let last_choice = leaves.then_some(&LAST_CHOICE);
        Ok(
            match edits.filter(|edits| !edits.is_empty()).or(last_choice) {
                None => (received, key),
                Some(edits) => {
                    let mut bytes = attrs::apply_edits(Attrs::new(&received), edits);
                    if let Some(edits) = last_choice {
                        bytes = attrs::apply_edits(Attrs::new(&bytes), edits);
                    }
                    let key = DecisionKey::new(Attrs::new(&bytes), then, &self.attrs.us);
                    (Cow::Owned(bytes), key)
                }
            },
        )
    }

    fn differs(&self, judged: &Judged<'_>) -> bool {
        match (self.ineligible(judged.path), &judged.verdict) {
            (Some(before), Err(after)) => before != *after,
            (None, Ok((bytes, _))) => {
                let used = judged.path.used().unwrap_or(judged.path.attrs);
                *self.attrs.get(used).bytes != **bytes
            }
            _ => true,
        }
    }

    /// A path as it is used now; `way` counts only where paths are compared.
    fn used<F: Family>(&self, (number, path): (u32, &Path), way: (u32, u32)) -> Option<Chosen<'_>> {
        let set = self.attrs.get(path.used()?);
        let source = self.sources.get(path.source);
        Some(Chosen {
            info: &source.info,
            attrs: Cow::Borrowed(&set.bytes),
            next_hop: self.hops.get(set.hop).next_hop,
            hops: SmallVec::new(),
            number,
            way,
            flags: set.key.flags,
            long_lived: source.is_long_lived(F::AFI, path.epoch),
            is_not_to_linger: self.is_not_to_linger(F::AFI, path),
        })
    }

    /// The best path now.
    fn chosen<F: RibFamily>(&self, table: &Table<F>, id: NetId) -> Option<Chosen<'_>> {
        let number = table.best_number(id)?;
        self.used::<F>((number, table.path(number)), (0, 0))
    }

    /// Those judged anew that take part in the decision.
    fn running<F: Family>(&self, judged: &[Judged<'_>]) -> Candidates {
        let candidate = |one: &Judged<'_>| {
            let (_, key) = one.verdict.as_ref().ok()?;
            let hop = self.attrs.get(one.path.attrs).hop;
            let (source, path) = (self.sources.get(one.path.source), one.path);
            let route = (hop, *key, one.path_id);
            let mut compared = self.compared(one.number, (path.source, one.info), route);
            compared.linger(source.is_long_lived(F::AFI, path.epoch));
            Some(compared)
        };
        judged.iter().filter_map(candidate).collect()
    }

    /// One of those judged anew, as it would be used.
    fn would_be<'a, F: Family>(
        &'a self,
        judged: &[Judged<'a>],
        candidate: &Candidate,
    ) -> Option<Chosen<'a>> {
        let one = judged.iter().find(|one| one.number == candidate.number)?;
        let (bytes, key) = one.verdict.as_ref().ok()?;
        let source = self.sources.get(one.path.source);
        Some(Chosen {
            info: one.info,
            attrs: bytes.clone(),
            next_hop: self.hops.get(candidate.hop).next_hop,
            hops: SmallVec::new(),
            number: one.number,
            way: candidate.way(),
            flags: key.flags,
            long_lived: source.is_long_lived(F::AFI, one.path.epoch),
            is_not_to_linger: self.is_not_to_linger(F::AFI, one.path),
        })
    }

    /// The best path of those judged anew.
    fn choose<'a, F: Family>(&'a self, judged: &[Judged<'a>]) -> Option<Chosen<'a>> {
        let candidates = self.running::<F>(judged);
        let lead = candidates.get(rank(&candidates).best?)?;
        let hops = self.sharing(&candidates);
        let chosen = self.would_be::<F>(judged, lead)?;
        Some(Chosen { hops, ..chosen })
    }

    fn sharing(&self, candidates: &[Candidate]) -> SmallVec<[NextHop; 1]> {
        let ranking = rank(candidates);
        let shares = candidates.iter().zip(&ranking.lost);
        let mut hops: SmallVec<[NextHop; 1]> = shares
            .filter(|(_, lost)| shares_traffic(**lost))
            .map(|(candidate, _)| self.hops.get(candidate.hop).next_hop)
            .collect();
        hops.sort_unstable();
        hops.dedup();
        hops
    }
}

impl<'a, F: RibFamily> Foresight<'a, F> {
    /// What peers with this key are told of the prefix at a moment, the best path first, by the same rules that
    /// [`Rib::poll_output`] goes by. Nobody is told what it told itself: that is not looked at here.
    pub fn told<'s, P: ExportPolicy>(
        &'s self,
        moment: Moment,
        key: &GroupKey,
        policy: &'s P,
    ) -> Said<'s> {
        let tell = |chosen: &'s Chosen<'a>| chosen.told::<F, P>(self.net, key, policy);
        if *key.encoding.add_path.get(F::AFI) {
            return several(self.ranked(moment).iter(), |chosen| chosen.way, tell);
        }
        let best = match moment {
            Moment::Before => &self.before,
            Moment::After => &self.after,
        };
        best.as_ref().and_then(tell).into_iter().collect()
    }

    /// How many paths [`told`](Foresight::told) looks at.
    pub fn paths_told(&self, key: &GroupKey) -> usize {
        match *key.encoding.add_path.get(F::AFI) {
            true => self.judged.len().max(1),
            false => 1,
        }
    }

    fn ranked(&self, moment: Moment) -> &[Chosen<'a>] {
        let (store, judged) = (self.store, &self.judged);
        let [before, after] = &self.ranked;
        if moment == Moment::Before || !self.changed {
            return before.get_or_init(|| {
                let candidates = store.candidates(self.table, self.id);
                let ranked = by_preference(&candidates).into_iter();
                let used = |at: usize| {
                    let one: &Candidate = &candidates[at];
                    let path = self.table.path(one.number);
                    store.used::<F>((one.number, path), one.way())
                };
                ranked.filter_map(used).collect()
            });
        }
        after.get_or_init(|| {
            let candidates = store.running::<F>(judged);
            let ranked = by_preference(&candidates).into_iter();
            let would_be = |at: usize| store.would_be::<F>(judged, &candidates[at]);
            ranked.filter_map(would_be).collect()
        })
    }
}

impl Rib {
    /// Shows each of the first `limit` prefixes as it is and as it would be under another import policy, in no order of
    /// prefixes. Says whether there were more.
    pub fn foresee<F: RibFamily, P: OtherPolicy>(
        &self,
        policy: &P,
        limit: usize,
        mut visit: impl FnMut(Foresight<'_, F>),
    ) -> bool {
        let table = F::table(&self.tables);
        let mut ids = table.ids_from(0).filter(|id| !table.is_bare(*id));
        for id in ids.by_ref().take(limit) {
            visit(self.foreseen(policy, table, id));
        }
        ids.next().is_some()
    }

    fn foreseen<'a, F: RibFamily, P: OtherPolicy>(
        &'a self,
        policy: &'a P,
        table: &'a Table<F>,
        id: NetId,
    ) -> Foresight<'a, F> {
        let store = &self.store;
        let net = table.net(id);
        let alive = table
            .paths(id)
            .filter(|(_, path)| !store.is_dead(F::AFI, path));
        let judged: SmallVec<[Judged<'a>; 4]> = alive
            .map(|(number, path)| {
                let info = policy.source(&store.sources.get(path.source).info);
                let verdict = store.foresee::<F, P>(policy, net, path, info);
                Judged {
                    number,
                    path_id: table.path_id(number, path),
                    path,
                    info,
                    verdict,
                }
            })
            .collect();
        let differs: SmallVec<[bool; 4]> = judged.iter().map(|one| store.differs(one)).collect();
        // What comes from somebody who is something else to us is decided on anew.
        let moved = |one: &Judged<'_>| *one.info != store.sources.get(one.path.source).info;
        let changed = differs.contains(&true) || judged.iter().any(moved);
        let mut before = store.chosen(table, id);
        let after = if changed {
            let candidates = store.candidates(table, id);
            if let Some(before) = &mut before {
                before.hops = store.sharing(&candidates);
            }
            store.choose::<F>(&judged)
        } else {
            before.clone()
        };
        let learned = judged.iter().zip(differs).map(|(one, differs)| {
            let before = store.ineligible(one.path).map_or(Ok(()), Err);
            let after = one.verdict.as_ref().map(|_| ()).map_err(|reason| *reason);
            ForeseenPath {
                info: &store.sources.get(one.path.source).info,
                before,
                after,
                edited: differs && before.is_ok() && after.is_ok(),
            }
        });
        Foresight {
            net,
            paths: learned.filter(|path| !path.info.is_local()).collect(),
            before,
            after,
            changed,
            is_ours: judged.iter().any(|one| one.info.is_local()),
            store,
            table,
            id,
            judged,
            ranked: Default::default(),
        }
    }
}
