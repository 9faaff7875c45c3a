//! What is told to whom: the rules of BGP, then the core's policy.

use std::collections::BTreeMap;

use dunlin_net::{Afi, PeerId, PerFamily};
use smallvec::SmallVec;

use super::attrset::{AttrId, DecisionKey};
use super::decide::by_preference;
use super::group::{Group, GroupKey, Member, set_of};
use super::source::SourceInfo;
use super::table::{NetId, Path, RibFamily, Table};
use super::telling::{Tellable, several};
use super::{Rib, Store};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::{AttrEdits, CommunityValue, PeerType, RejectReason, Role};

/// The community of what is long-lived stale (RFC 9494 3.2).
const LLGR_STALE: u32 = 0xffff_0006;

/// What is added to what is long-lived stale here (RFC 9494 4.3).
pub(super) fn long_lived_mark() -> AttrEdits {
    AttrEdits {
        add_communities: vec![CommunityValue::Standard(LLGR_STALE)],
        ..AttrEdits::default()
    }
}

/// What the core says of routes told to peers. Asked again whenever the best path or the facts may have changed
/// ([`Rib::reexport`]).
pub trait ExportPolicy {
    /// Whether the group is told of a route, and how. The RIB itself sees to internal peers, well-known communities and
    /// split horizon.
    fn export<F: RibFamily>(
        &self,
        group: &GroupKey,
        net: F::Net,
        attrs: Attrs<'_>,
        source: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason>;
}

/// How a route is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportAction<'p> {
    /// Changes to its attributes.
    pub edits: Option<&'p AttrEdits>,
    /// The next hop to name.
    pub next_hop: ExportNextHop,
}

/// Which next hop is named to a peer (RFC 4271 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportNextHop {
    /// Ours.
    Own,
    /// The one the route was learned with. What we originate is told with ours all the same.
    Unchanged,
}

/// What a peer is told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportView<'a> {
    /// The attributes after export policy, before the rules for the kind of session (own AS, LOCAL_PREF).
    pub attrs: Attrs<'a>,
    /// The next hop.
    pub next_hop: NextHop,
    /// The identifier it is told with (RFC 7911), if the peer takes several paths.
    pub path_id: Option<u32>,
    /// Whether the peer was told already, or its turn is still to come.
    pub told: bool,
}

/// A peer that takes several paths of a prefix is told at most so many, the best ones.
pub const MAX_PATHS_TOLD: usize = if cfg!(test) { 3 } else { 64 };

/// The last edits made, to which set, and what came of it.
pub(super) type LastExport<'p> = Option<(AttrId, &'p AttrEdits, AttrId)>;

impl Store {
    /// What a group is to be told of a prefix now, with one use of the set counted.
    pub(super) fn export<'p, F: RibFamily, P: ExportPolicy>(
        &mut self,
        policy: &'p P,
        key: &GroupKey,
        table: &Table<F>,
        id: NetId,
        last: &mut LastExport<'p>,
    ) -> Result<Option<u32>, RejectReason> {
        match table.best(id) {
            Some(best) => self.export_path(policy, key, (table, id), best, last),
            None => Ok(None),
        }
    }

    /// What a group that is told several paths of a prefix is to be told now, best first: path identifiers, and sets with
    /// one use of each counted. An identifier is that of the path in the table, so it stays while the path does, and no
    /// other path has it meanwhile. Of paths with the same originator and next hop only the best is told.
    pub(super) fn export_paths<'p, F: RibFamily, P: ExportPolicy>(
        &mut self,
        policy: &'p P,
        key: &GroupKey,
        table: &Table<F>,
        id: NetId,
        last: &mut LastExport<'p>,
    ) -> SmallVec<[(u32, u32); 4]> {
        let candidates = self.candidates(table, id);
        let ranked = by_preference(&candidates).into_iter();
        several(
            ranked.map(|at| &candidates[at]),
            |candidate| candidate.way(),
            |candidate| {
                let path = table.path(candidate.number);
                let out = self.export_path(policy, key, (table, id), path, last);
                Some((candidate.number + 1, out.ok()??))
            },
        )
    }

    fn export_path<'p, F: RibFamily, P: ExportPolicy>(
        &mut self,
        policy: &'p P,
        key: &GroupKey,
        (table, id): (&Table<F>, NetId),
        path: &Path,
        last: &mut LastExport<'p>,
    ) -> Result<Option<u32>, RejectReason> {
        let Some(used) = path.used() else {
            return Ok(None);
        };
        let from = self.sources.get(path.source);
        let tellable = Tellable {
            attrs: self.attrs.attrs(used),
            flags: self.attrs.get(used).key.flags,
            source: &from.info,
            stale: from.is_long_lived(F::AFI, path.epoch),
            is_not_to_linger: self.is_not_to_linger(F::AFI, path),
        };
        let telling = key.tell::<F, P>(policy, table.net(id), &tellable)?;
        let flag = telling.flag;
        if self.next_hop_told(key, F::AFI, used | flag).is_none() {
            return Err(RejectReason::NoNextHop);
        }
        let set = match telling.edits {
            None => {
                self.attrs.retain(used);
                used
            }
            Some(edits) => match *last {
                Some((of, with, made)) if of == used && with == edits => {
                    self.attrs.retain(made);
                    made
                }
                _ => {
                    let made = self.edited(used, edits);
                    *last = Some((used, edits, made));
                    made
                }
            },
        };
        Ok(Some(self.with_mark(set, telling.marked) | flag))
    }

    /// The set with LLGR_STALE beside it, if it is to be marked.
    fn with_mark(&mut self, set: AttrId, marked: bool) -> AttrId {
        if !marked {
            return set;
        }
        let made = self.edited(set, &long_lived_mark());
        self.attrs.release(&mut self.hops, set);
        made
    }
}

/// What the rules of BGP ask of a peer before it may be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toward {
    /// The kind of session.
    pub peer_type: PeerType,
    /// It is a client of ours (RFC 4456).
    pub reflector_client: bool,
    /// What we are to it (RFC 9234), if it is an external peer and that is configured.
    pub role: Option<Role>,
    /// The families that are negotiated.
    pub families: PerFamily<bool>,
    /// It takes what is long-lived stale (RFC 9494 4.3).
    pub long_lived: bool,
}

impl Toward {
    /// Whether a path with these [flags](DecisionKey) may be told.
    pub(super) fn may_be_told(
        &self,
        afi: Afi,
        flags: u16,
        source: &SourceInfo,
    ) -> Result<(), RejectReason> {
        if !*self.families.get(afi) {
            return Err(RejectReason::FamilyNotNegotiated);
        }
        let marked = flags & DecisionKey::ONLY_TO_CUSTOMER != 0;
        if marked && self.role.is_some_and(|role| !role.may_be_told_marked()) {
            return Err(RejectReason::OnlyToCustomer);
        }
        if source.is_local() {
            return Ok(());
        }
        let internal = |peer_type| peer_type == PeerType::Internal;
        let reflected = source.reflector_client || self.reflector_client;
        if internal(source.peer_type) && internal(self.peer_type) && !reflected {
            return Err(RejectReason::InternalToInternal);
        }
        let forbidden = match self.peer_type {
            PeerType::External => DecisionKey::NO_ADVERTISE | DecisionKey::NO_EXPORT,
            PeerType::Internal => DecisionKey::NO_ADVERTISE,
        };
        if flags & forbidden != 0 {
            return Err(RejectReason::WellKnownCommunity);
        }
        Ok(())
    }

    /// Whether that holds too where it may be long-lived stale, here or where it came from.
    pub(super) fn may_be_told_long_lived(
        &self,
        flags: u16,
        stale: bool,
    ) -> Result<(), RejectReason> {
        let long_lived = stale || flags & DecisionKey::LLGR_STALE != 0;
        if long_lived && !self.long_lived {
            return Err(RejectReason::LongLivedStale);
        }
        Ok(())
    }
}

impl Rib {
    /// What a peer is told of a prefix: one path, or up to [`MAX_PATHS_TOLD`], best first; or why it is told nothing.
    /// Nothing at all if the peer is in no group or nothing is known of the prefix.
    pub fn exported<F: RibFamily, P: ExportPolicy, R>(
        &mut self,
        policy: &P,
        peer: PeerId,
        net: F::Net,
        mut show: impl FnMut(Result<ExportView<'_>, RejectReason>) -> R,
    ) -> Vec<R> {
        let table = F::table(&self.tables);
        let Some(group) = self.groups.of(peer) else {
            return Vec::new();
        };
        let (Some(member), Some(id)) = (group.member(peer), table.find(net)) else {
            return Vec::new();
        };
        let Some(best) = table.best(id) else {
            return Vec::new();
        };
        let (key, store) = (&group.key, &mut self.store);
        let mut shown = Vec::new();
        let mut reason = Err(RejectReason::SplitHorizon);
        if let Some(paths) = &group.out.get(F::AFI).paths {
            let entries: BTreeMap<u32, u32> = paths.of(id).map(|(at, id)| (id, at)).collect();
            for (path_id, out) in store.export_paths::<F, P>(policy, key, table, id, &mut None) {
                if member.source != Some(store.attrs.get(set_of(out)).source) {
                    let entry = entries.get(&path_id).copied();
                    let place = (entry, Some(path_id));
                    shown.push(store.show_export::<F, R>((group, member), out, place, &mut show));
                }
                store.attrs.release(&mut store.hops, set_of(out));
            }
        }
        if shown.is_empty() && member.source != Some(best.source) {
            reason = store.export::<F, P>(policy, key, table, id, &mut None);
        }
        match reason {
            _ if !shown.is_empty() => {}
            Err(reason) => shown.push(show(Err(reason))),
            Ok(None) => {}
            Ok(Some(out)) => {
                let place = (Some(id), None);
                shown.push(store.show_export::<F, R>((group, member), out, place, &mut show));
                store.attrs.release(&mut store.hops, set_of(out));
            }
        }
        shown
    }
}

impl Store {
    /// Shows what is told of one path; `entry` is the one in Adj-RIB-Out, if there is one yet.
    fn show_export<F: RibFamily, R>(
        &self,
        (group, member): (&Group, &Member),
        out: u32,
        (entry, path_id): (Option<u32>, Option<u32>),
        show: &mut impl FnMut(Result<ExportView<'_>, RejectReason>) -> R,
    ) -> R {
        let next_hop = self.attributes::<F>(&group.key, out, &mut Vec::new());
        let Some(next_hop) = next_hop else {
            return show(Err(RejectReason::AttrsTooLong));
        };
        let lag = member.lag.as_ref();
        let told = |entry: u32| {
            let lags = lag.is_some_and(|lag| lag.get(F::AFI).holds(entry));
            group.out.get(F::AFI).get(entry) == out && !lags
        };
        show(Ok(ExportView {
            attrs: self.attrs.attrs(set_of(out)),
            next_hop,
            path_id,
            told: entry.is_some_and(told),
        }))
    }
}
