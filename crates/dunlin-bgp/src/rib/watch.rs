//! Those who watch the tables (monitoring stations): which routes each has to be told.
//!
//! A watch holds sets of what changed, never how: it is told what is so when it asks. So one that does not ask for a while
//! costs a bit for each path and prefix. Only of what is gone more must be known, and of that no more than
//! [`GONE_MAX`] is kept: a watch that is further behind has to begin anew.

use std::collections::BTreeSet;

use dunlin_net::{Afi, Family, PerFamily};

use super::dirty::IdSet;
use super::source::{SourceId, SourceInfo};
use super::table::{NetId, Path, RibFamily, Table};
use super::{Rib, Store};
use crate::attrs::Attrs;
use crate::batch::NextHop;

/// Withdrawals that wait for one watch, in each family: some 10 MiB.
const GONE_MAX: usize = if cfg!(test) { 20 } else { 256 * 1024 };

/// Names a watch; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(u32);

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// What peers told, before import policy.
    pub adj_rib_in: bool,
    /// The best paths, after import policy; what we originate among them.
    pub loc_rib: bool,
}

/// Routes that a watch is told of.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a, F: Family> {
    /// The source whose Adj-RIB-In they are in, or `None` for the Loc-RIB.
    pub of: Option<SourceId>,
    /// The prefixes.
    pub nets: &'a [F::Net],
    /// The path identifier of each (RFC 7911), if the session carries them; else empty.
    pub path_ids: &'a [u32],
    /// What is known of them; `None` if they are gone.
    pub route: Option<SeenRoute<'a>>,
}

/// Attributes of routes that a watch is told of.
#[derive(Clone, Copy, Debug)]
pub struct SeenRoute<'a> {
    /// The source that told them.
    pub info: &'a SourceInfo,
    /// The attributes: as they came, for the Loc-RIB after import policy.
    pub attrs: Attrs<'a>,
    /// The next hop.
    pub next_hop: NextHop,
}

/// What [`Rib::poll_watch`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It has been told all of the family.
    All,
    /// There is more.
    More,
    /// It was so far behind that something is lost: end it and begin anew.
    Overrun,
}

/// What one watch has to be told of a family.
#[derive(Clone, Debug)]
struct Behind<F: Family> {
    id: WatchId,
    watch: Watch,
    /// Prefixes with paths in `paths`.
    nets: IdSet,
    /// Numbers of paths.
    paths: IdSet,
    /// Prefixes whose best path is another.
    best: IdSet,
    /// Withdrawals, of sources and (`None`) of the Loc-RIB.
    gone: BTreeSet<Gone<F>>,
    overrun: bool,
}

/// Of what, with which path identifier, which prefix.
type Gone<F> = (Option<SourceId>, Option<u32>, <F as Family>::Net);

impl<F: Family> Behind<F> {
    fn lose(&mut self, gone: Gone<F>) {
        if self.gone.len() < GONE_MAX {
            self.gone.insert(gone);
        } else {
            self.overrun = true;
            self.gone = BTreeSet::new();
        }
    }
}

/// All watches of a table; mostly none.
#[derive(Clone, Debug)]
pub(super) struct Watches<F: Family>(Vec<Behind<F>>);

impl<F: Family> Default for Watches<F> {
    fn default() -> Watches<F> {
        Watches(Vec::new())
    }
}

impl<F: Family> Table<F> {
    /// A path is new, or another than it was.
    #[inline]
    pub(super) fn watch_path(&mut self, id: NetId, number: u32) {
        if !self.watches.0.is_empty() {
            self.mark_path(id, number);
        }
    }

    fn mark_path(&mut self, id: NetId, number: u32) {
        let path = self.path(number);
        let gone = (Some(path.source), self.path_id(number, path), self.net(id));
        for behind in self.watches.0.iter_mut().filter(|b| b.watch.adj_rib_in) {
            behind.nets.insert(id);
            behind.paths.insert(number);
            behind.gone.remove(&gone);
        }
    }

    /// A path was removed. Of those that belonged to an earlier session, its end has told.
    #[inline]
    pub(super) fn watch_path_gone(&mut self, id: NetId, number: u32, path: &Path, epoch: u8) {
        if !self.watches.0.is_empty() {
            let gone = (Some(path.source), self.path_id(number, path), self.net(id));
            for behind in self.watches.0.iter_mut().filter(|b| b.watch.adj_rib_in) {
                behind.paths.remove(number);
                if path.epoch == epoch {
                    behind.lose(gone);
                }
            }
        }
    }

    /// The best path of a prefix is another, or there is none any more.
    #[inline]
    pub(super) fn watch_best(&mut self, id: NetId) {
        if !self.watches.0.is_empty() {
            self.mark_best(id);
        }
    }

    fn mark_best(&mut self, id: NetId) {
        let is_there = self.best(id).is_some_and(|path| path.used().is_some());
        let net = self.net(id);
        for behind in self.watches.0.iter_mut().filter(|b| b.watch.loc_rib) {
            if is_there {
                behind.best.insert(id);
                behind.gone.remove(&(None, None, net));
            } else {
                behind.best.remove(id);
                behind.lose((None, None, net));
            }
        }
    }

    /// Everything there is has to be told.
    fn watch(&mut self, id: WatchId, watch: Watch) {
        let mut behind = Behind {
            id,
            watch,
            nets: IdSet::default(),
            paths: IdSet::default(),
            best: IdSet::default(),
            gone: BTreeSet::new(),
            overrun: false,
        };
        // Whatever of these is not there is passed over when its turn comes.
        if watch.adj_rib_in {
            behind.nets.fill(self.limit());
            behind.paths.fill(self.path_limit());
        }
        if watch.loc_rib {
            behind.best.fill(self.limit());
        }
        self.watches.0.push(behind);
    }

    fn unwatch(&mut self, id: WatchId) {
        self.watches.0.retain(|behind| behind.id != id);
    }

    fn behind(&self, id: WatchId) -> usize {
        let behind = self.watches.0.iter().find(|behind| behind.id == id);
        behind.map_or(0, |b| b.nets.len() + b.best.len() + b.gone.len())
    }
}

/// A route to be told: what it says, and of which prefix.
struct Telling<F: Family> {
    of: Option<SourceId>,
    attrs: u32,
    path_id: Option<u32>,
    net: F::Net,
    id: NetId,
    number: u32,
}

impl<F: Family> Telling<F> {
    fn says(&self) -> (Option<SourceId>, u32, bool) {
        (self.of, self.attrs, self.path_id.is_some())
    }
}

/// Takes up to `limit` prefixes out of a set, and gives those that are there.
fn take_live<F: Family>(
    ids: &mut IdSet,
    table: &Table<F>,
    limit: usize,
) -> impl Iterator<Item = NetId> {
    let mut from = 0;
    let taken = (0..limit).map_while(move |_| {
        let id = ids.next(from)?;
        ids.remove(id);
        from = id;
        Some(id)
    });
    taken.filter(|id| table.is_live(*id))
}

impl Store {
    fn seen_route<F: Family>(&self, attrs: u32) -> SeenRoute<'_> {
        let set = self.attrs.get(attrs);
        let info = &self.sources.get(set.source).info;
        SeenRoute {
            info,
            attrs: Attrs::new(&set.bytes),
            next_hop: info.told_next_hop(F::AFI, self.hops.get(set.hop).next_hop),
        }
    }

    /// Takes up to `limit` prefixes whose paths have to be told.
    fn take_paths<F: Family>(
        &self,
        table: &Table<F>,
        behind: &mut Behind<F>,
        limit: usize,
        tellings: &mut Vec<Telling<F>>,
    ) {
        for id in take_live(&mut behind.nets, table, limit) {
            for (number, path) in table.paths(id) {
                let source = self.sources.get(path.source);
                // What an ended session left is not told: its end withdrew it.
                if behind.paths.remove(number)
                    && !source.info.is_local()
                    && path.epoch == *source.epoch.get(F::AFI)
                {
                    tellings.push(Telling {
                        of: Some(path.source),
                        attrs: path.attrs,
                        path_id: table.path_id(number, path),
                        net: table.net(id),
                        id,
                        number,
                    });
                }
            }
        }
    }

    fn take_best<F: Family>(
        table: &Table<F>,
        behind: &mut Behind<F>,
        limit: usize,
        tellings: &mut Vec<Telling<F>>,
    ) {
        for id in take_live(&mut behind.best, table, limit) {
            if let Some(attrs) = table.best(id).and_then(Path::used) {
                tellings.push(Telling {
                    of: None,
                    attrs,
                    path_id: None,
                    net: table.net(id),
                    id,
                    number: 0,
                });
            }
        }
    }
}

impl<F: Family> Behind<F> {
    fn is_told_all(&self) -> bool {
        self.gone.is_empty() && self.nets.is_empty() && self.best.is_empty()
    }

    /// Tells up to `limit` withdrawals; whether to go on.
    fn tell_gone(&mut self, limit: usize, tell: &mut impl FnMut(Seen<'_, F>) -> bool) -> bool {
        let mut left = limit;
        while left > 0
            && let Some(&(of, path_id, _)) = self.gone.first()
        {
            let (mut nets, mut path_ids) = (Vec::new(), Vec::new());
            while left > 0
                && let Some(&(same, id, net)) = self.gone.first()
                && (same, id.is_some()) == (of, path_id.is_some())
            {
                self.gone.pop_first();
                nets.push(net);
                path_ids.extend(id);
                left -= 1;
            }
            let seen = Seen {
                of,
                nets: &nets,
                path_ids: &path_ids,
                route: None,
            };
            if !tell(seen) {
                return false;
            }
        }
        left > 0
    }

    /// What was taken and not told waits again.
    fn put_back(&mut self, tellings: &[Telling<F>]) {
        for telling in tellings {
            if telling.of.is_some() {
                self.nets.insert(telling.id);
                self.paths.insert(telling.number);
            } else {
                self.best.insert(telling.id);
            }
        }
    }
}

impl Rib {
    /// How many prefixes have a best path.
    pub fn best_counts(&self) -> PerFamily<u64> {
        let of = |afi| {
            let sources = self.store.sources.iter();
            let best = sources.map(|(_, source)| u64::from(source.counts.get(afi).best));
            best.sum()
        };
        PerFamily {
            v4: of(Afi::Ipv4),
            v6: of(Afi::Ipv6),
        }
    }

    /// Begins a watch: everything there is has to be told first.
    pub fn watch(&mut self, watch: Watch) -> WatchId {
        let id = WatchId(self.next_watch);
        self.next_watch = self.next_watch.wrapping_add(1);
        self.tables.v4.watch(id, watch);
        self.tables.v6.watch(id, watch);
        id
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, id: WatchId) {
        self.tables.v4.unwatch(id);
        self.tables.v6.unwatch(id);
    }

    /// How many prefixes a watch has to be told of, about: at its beginning, places of the table that are free count too.
    pub fn watch_behind(&self, id: WatchId) -> usize {
        self.tables.v4.behind(id) + self.tables.v6.behind(id)
    }

    /// Tells a watch what changed in a family, up to about `limit` prefixes and until `tell` says `false`: withdrawals first,
    /// then routes, those with equal attributes together. Routes of sources whose session is down are not told: whoever
    /// watches has to be told of the session's end, and that withdraws them.
    pub fn poll_watch<F: RibFamily>(
        &mut self,
        id: WatchId,
        limit: usize,
        mut tell: impl FnMut(Seen<'_, F>) -> bool,
    ) -> Watched {
        let table = F::table_mut(&mut self.tables);
        let Some(at) = table.watches.0.iter().position(|behind| behind.id == id) else {
            return Watched::All;
        };
        // It is put back below; meanwhile nothing changes.
        let mut behind = table.watches.0.swap_remove(at);
        let told = self.tell_watch::<F>(&mut behind, limit, &mut tell);
        F::table_mut(&mut self.tables).watches.0.push(behind);
        told
    }

    fn tell_watch<F: RibFamily>(
        &self,
        behind: &mut Behind<F>,
        limit: usize,
        tell: &mut impl FnMut(Seen<'_, F>) -> bool,
    ) -> Watched {
        if behind.overrun {
            return Watched::Overrun;
        }
        if !behind.tell_gone(limit, tell) {
            return Watched::More;
        }
        let table = F::table(&self.tables);
        let mut tellings = Vec::new();
        self.store.take_paths(table, behind, limit, &mut tellings);
        Store::take_best(table, behind, limit, &mut tellings);
        tellings.sort_by_key(Telling::says);
        let mut told = 0;
        for run in tellings.chunk_by(|a, b| a.says() == b.says()) {
            let nets: Vec<F::Net> = run.iter().map(|telling| telling.net).collect();
            let path_ids: Vec<u32> = run.iter().filter_map(|telling| telling.path_id).collect();
            let go_on = tell(Seen {
                of: run[0].of,
                nets: &nets,
                path_ids: &path_ids,
                route: Some(self.store.seen_route::<F>(run[0].attrs)),
            });
            told += run.len();
            if !go_on {
                break;
            }
        }
        behind.put_back(&tellings[told..]);
        if behind.is_told_all() {
            Watched::All
        } else {
            Watched::More
        }
    }
}
