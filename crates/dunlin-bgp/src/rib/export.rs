//! What is told to whom: the rules of BGP, then the core's policy.

use dunlin_net::PeerId;

use super::attrset::{AttrId, DecisionKey};
use super::group::{GroupKey, KEEP_MED, OWN_NEXT_HOP, set_of};
use super::source::SourceInfo;
use super::table::{NetId, RibFamily, Table};
use super::{Rib, Store};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::{AttrEdits, PeerType, RejectReason};

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
    /// Whether the peer was told already, or its turn is still to come.
    pub told: bool,
}

/// The last edits made, to which set, and what came of it.
pub(super) type LastExport<'p> = Option<(AttrId, &'p AttrEdits, AttrId)>;

impl Store {
    /// What the rules of BGP say of telling a best path to a group.
    fn may_tell<F: RibFamily>(
        &self,
        key: &GroupKey,
        used: AttrId,
        source: &SourceInfo,
    ) -> Result<(), RejectReason> {
        if !*key.families.get(F::AFI) {
            return Err(RejectReason::FamilyNotNegotiated);
        }
        let flags = self.attrs.get(used).key.flags;
        may_pass_on(source, flags, key.encoding.peer_type, key.reflector_client)
    }

    /// What a group is to be told of a prefix now, with one use of the set counted.
    pub(super) fn export<'p, F: RibFamily, P: ExportPolicy>(
        &mut self,
        policy: &'p P,
        key: &GroupKey,
        table: &Table<F>,
        id: NetId,
        last: &mut LastExport<'p>,
    ) -> Result<Option<u32>, RejectReason> {
        let Some(best) = table.best(id) else {
            return Ok(None);
        };
        let Some(used) = best.used() else {
            return Ok(None);
        };
        let source = &self.sources.get(best.source).info;
        self.may_tell::<F>(key, used, source)?;
        let attrs = self.attrs.attrs(used);
        let action = policy.export::<F>(key, table.net(id), attrs, source)?;
        let mut flag = 0;
        if action.next_hop == ExportNextHop::Own || source.is_local() {
            flag |= OWN_NEXT_HOP;
        }
        // RFC 4271 5.1.4: a neighbour's MULTI_EXIT_DISC is not passed on, one set here is.
        if source.is_local() || action.edits.is_some_and(|edits| edits.med.is_some()) {
            flag |= KEEP_MED;
        }
        if self.next_hop_told(key, F::AFI, used | flag).is_none() {
            return Err(RejectReason::NoNextHop);
        }
        let set = match action.edits.filter(|edits| !edits.is_empty()) {
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
        Ok(Some(set | flag))
    }
}

/// What the rules of BGP say of telling a path with these [flags](DecisionKey) to a peer of this type.
pub(super) fn may_pass_on(
    source: &SourceInfo,
    flags: u8,
    to: PeerType,
    to_client: bool,
) -> Result<(), RejectReason> {
    if source.is_local() {
        return Ok(());
    }
    let internal = PeerType::Internal;
    if source.peer_type == internal && to == internal && !source.reflector_client && !to_client {
        return Err(RejectReason::InternalToInternal);
    }
    let forbidden = match to {
        PeerType::External => DecisionKey::NO_ADVERTISE | DecisionKey::NO_EXPORT,
        PeerType::Internal => DecisionKey::NO_ADVERTISE,
    };
    if flags & forbidden != 0 {
        return Err(RejectReason::WellKnownCommunity);
    }
    Ok(())
}

impl Rib {
    /// What a peer is told of a prefix, or why it is not. `None` if the peer is in no group or nothing is known of the
    /// prefix.
    pub fn exported<F: RibFamily, P: ExportPolicy, R>(
        &mut self,
        policy: &P,
        peer: PeerId,
        net: F::Net,
        show: impl FnOnce(Result<ExportView<'_>, RejectReason>) -> R,
    ) -> Option<R> {
        let table = F::table(&self.tables);
        let group = self.groups.of(peer)?;
        let member = group.member(peer)?;
        let id = table.find(net)?;
        let best = table.best(id)?;
        if member.source == Some(best.source) {
            return Some(show(Err(RejectReason::SplitHorizon)));
        }
        let key = &group.key;
        match self.store.export::<F, P>(policy, key, table, id, &mut None) {
            Err(reason) => Some(show(Err(reason))),
            Ok(None) => None,
            Ok(Some(out)) => {
                let set = set_of(out);
                if self
                    .store
                    .attributes::<F>(key, out, &mut Vec::new())
                    .is_none()
                {
                    self.store.attrs.release(&mut self.store.hops, set);
                    return Some(show(Err(RejectReason::AttrsTooLong)));
                }
                let lags = member
                    .lag
                    .as_ref()
                    .is_some_and(|lag| lag.get(F::AFI).holds(id));
                let view = ExportView {
                    attrs: self.store.attrs.attrs(set),
                    next_hop: self.store.next_hop_told(key, F::AFI, out)?,
                    told: group.out.get(F::AFI).get(id) == out && !lags,
                };
                let shown = show(Ok(view));
                self.store.attrs.release(&mut self.store.hops, set);
                Some(shown)
            }
        }
    }
}
