//! What the RIB asks the core: may this route be used, and is this peer told of it.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::policy::{AttrEdits, Filter, FilterRule, PeerType, RejectReason, Verdict};
use dunlin_bgp::rib::{
    ExportAction, ExportNextHop, ExportPolicy, GroupKey, ImportPolicy, RibFamily, SourceInfo,
};
use dunlin_intent::{
    Cluster, ExportFilter, ImportPolicy as ImportIntent, NextHopMode, OriginKind, PeerKey,
    RouteSource,
};
use dunlin_net::{Family, IpNet};

use crate::peers::Peers;

/// The facts that import is judged by.
pub(crate) struct Import<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) peers: &'a Peers,
    /// Routes go into the kernel, so what they could capture matters.
    pub(crate) installs: bool,
}

impl ImportPolicy for Import<'_> {
    fn judge<F: RibFamily>(
        &self,
        source: &SourceInfo,
        net: F::Net,
        attrs: Attrs<'_>,
        next_hop: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        let Some(peer) = source.peer.and_then(|id| self.peers.get(id)) else {
            return Err(RejectReason::NoImportFilter);
        };
        let import = &peer.policy().import;
        judge_import::<F>(import, peer.key(), self, (source, net, attrs, next_hop))
    }
}

/// A route as the RIB asks about it: where it came from, its prefix, its attributes, its next hop.
pub(crate) type Asked<'a, F> = (&'a SourceInfo, <F as Family>::Net, Attrs<'a>, &'a NextHop);

/// Whether a route may be used that came from this peer, by what is to be learned from it.
pub(crate) fn judge_import<'p, F: RibFamily>(
    import: &'p ImportIntent,
    key: &PeerKey,
    facts: &Import<'_>,
    asked: Asked<'_, F>,
) -> Result<Option<&'p AttrEdits>, RejectReason> {
    let (_, net, attrs, next_hop) = asked;
    match import {
        ImportIntent::Nothing(reason) => Err(*reason),
        ImportIntent::OriginValidation => {
            let from = RouteSource::Node(key.name());
            let origin = facts.cluster.origin();
            origin.judge(net.into(), next_hop.addr, from)?;
            judge_originator(facts.cluster, net.into(), attrs)?;
            Ok(None)
        }
        ImportIntent::Filter(filter) => {
            judge_outside::<F>(Some(filter), RouteSource::Configured, facts, asked)
        }
        ImportIntent::Fabric(filter) => {
            judge_outside::<F>(filter.as_deref(), RouteSource::Fabric, facts, asked)
        }
    }
}

/// A reflected route names who originated it (RFC 4456 8): of a pod subnet, only its owner can have.
fn judge_originator(cluster: &Cluster, net: IpNet, attrs: Attrs<'_>) -> Result<(), RejectReason> {
    let (Some(originator), Some(owner)) = (attrs.originator_id(), cluster.origin().owner_of(net))
    else {
        return Ok(());
    };
    if cluster.router_id(&owner.node) == Some(originator) {
        Ok(())
    } else {
        Err(RejectReason::OriginatorNotOwner)
    }
}

/// The same for a router outside. Without a filter it may deliver pod subnets.
fn judge_outside<'p, F: RibFamily>(
    filter: Option<&'p Filter>,
    from: RouteSource<'_>,
    facts: &Import<'_>,
    (source, net, attrs, next_hop): Asked<'_, F>,
) -> Result<Option<&'p AttrEdits>, RejectReason> {
    let origin = facts.cluster.origin();
    let edits = match filter {
        Some(filter) => {
            let verdict = filter.judge::<F>(net, attrs, source.peer_type);
            verdict.into_result()?
        }
        None if origin.owner_of(net.into()).is_none() => return Err(RejectReason::NotAPodSubnet),
        None => None,
    };
    if facts.installs {
        origin.judge(net.into(), next_hop.addr, from)?;
        judge_originator(facts.cluster, net.into(), attrs)?;
    }
    Ok(edits)
}

/// Export policies by number. Node peers share one; each `BGPPeer` has its own, shared by those who come from its range.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    slots: Vec<Slot>,
    free: Vec<u32>,
    nodes: Option<u32>,
    configured: BTreeMap<PeerKey, u32>,
    /// What we originate.
    pub(crate) originated: Originated,
}

/// The kind of each prefix we originate.
#[derive(Debug, Default)]
pub(crate) struct Originated {
    kinds: BTreeMap<IpNet, OriginKind>,
    by_kind: BTreeMap<OriginKind, BTreeSet<IpNet>>,
}

impl Originated {
    /// Sets or removes a prefix's kind, and gives the one before.
    pub(crate) fn set(&mut self, net: IpNet, kind: Option<OriginKind>) -> Option<OriginKind> {
        let before = match kind {
            Some(kind) => {
                self.by_kind.entry(kind).or_default().insert(net);
                self.kinds.insert(net, kind)
            }
            None => self.kinds.remove(&net),
        };
        if let Some(before) = before
            && Some(before) != kind
            && let Some(nets) = self.by_kind.get_mut(&before)
        {
            nets.remove(&net);
            if nets.is_empty() {
                self.by_kind.remove(&before);
            }
        }
        before
    }

    /// The kind of a prefix.
    pub(crate) fn kind(&self, net: IpNet) -> Option<OriginKind> {
        self.kinds.get(&net).copied()
    }

    /// The prefixes of a kind.
    pub(crate) fn of(&self, kind: OriginKind) -> impl Iterator<Item = IpNet> {
        self.by_kind.get(&kind).into_iter().flatten().copied()
    }
}

/// What is to be looked at again because an export policy changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reexport {
    /// Nothing.
    Nothing,
    /// What we originate of these kinds.
    Kinds(Vec<OriginKind>),
    /// All that the policy's peers are told.
    All,
}

impl Reexport {
    fn between(
        before: &dunlin_intent::ExportPolicy,
        after: &dunlin_intent::ExportPolicy,
    ) -> Reexport {
        if before == after {
            return Reexport::Nothing;
        }
        if before.filter != after.filter || before.next_hop != after.next_hop {
            return Reexport::All;
        }
        let of = |policy: &dunlin_intent::ExportPolicy| -> BTreeSet<OriginKind> {
            policy.originated.keys().copied().collect()
        };
        let differs = |kind: &OriginKind| before.originated.get(kind) != after.originated.get(kind);
        let kinds = of(before).union(&of(after)).copied().collect::<Vec<_>>();
        Reexport::Kinds(kinds.into_iter().filter(|kind| differs(kind)).collect())
    }
}

/// One export policy.
#[derive(Debug)]
pub(crate) struct Slot {
    policy: dunlin_intent::ExportPolicy,
    /// What an originated route gets that also passes this rule of the filter: the edits of both.
    merged: BTreeMap<(OriginKind, usize), AttrEdits>,
}

impl Exports {
    /// The number of a peer's export policy; none if it was never [set](Exports::set).
    pub(crate) fn number(&self, key: &PeerKey) -> Option<u32> {
        if key.is_node() {
            self.nodes
        } else {
            self.configured.get(key).copied()
        }
    }

    /// The peer is wanted no longer: its number may stand for another one's policy.
    pub(crate) fn forget(&mut self, key: &PeerKey) {
        if let Some(number) = self.configured.remove(key) {
            self.free.push(number);
        }
    }

    /// The number of a peer's export policy, and what is to be looked at again because what it stands for has changed.
    pub(crate) fn set(
        &mut self,
        key: &PeerKey,
        policy: &dunlin_intent::ExportPolicy,
    ) -> (u32, Reexport) {
        if let Some(number) = self.number(key) {
            let slot = &mut self.slots[number as usize];
            let changed = Reexport::between(&slot.policy, policy);
            if changed != Reexport::Nothing {
                *slot = Slot::new(policy);
            }
            return (number, changed);
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = Slot::new(policy);
                number
            }
            None => {
                self.slots.push(Slot::new(policy));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if key.is_node() {
            self.nodes = Some(number);
        } else {
            self.configured.insert(key.clone(), number);
        }
        (number, Reexport::Nothing)
    }
}

impl Slot {
    /// Whether and how peers of this type are told of a route. `kind` says what it is of what we originate.
    pub(crate) fn export<F: RibFamily>(
        &self,
        kind: impl FnOnce(IpNet) -> Option<OriginKind>,
        to: PeerType,
        (net, attrs, source): (F::Net, Attrs<'_>, &SourceInfo),
    ) -> Result<ExportAction<'_>, RejectReason> {
        let ours = if source.is_local() {
            Some(kind(net.into()).ok_or(RejectReason::NotAdvertised)?)
        } else if is_reflected(source.peer_type, to) {
            return self.reflect::<F>(net, attrs);
        } else {
            None
        };
        let edits = self.judge::<F>(ours, net, attrs, to)?;
        let next_hop = match self.policy.next_hop {
            NextHopMode::SelfAddress => ExportNextHop::Own,
            NextHopMode::Unchanged => ExportNextHop::Unchanged,
        };
        Ok(ExportAction { edits, next_hop })
    }

    /// How a route is reflected: as it came, next hop included (RFC 4456 10), if a filter does not say otherwise.
    fn reflect<F: RibFamily>(
        &self,
        net: F::Net,
        attrs: Attrs<'_>,
    ) -> Result<ExportAction<'_>, RejectReason> {
        let edits = match &self.policy.filter {
            ExportFilter::None => None,
            ExportFilter::Missing => return Err(RejectReason::NotAdvertised),
            ExportFilter::Filter(filter) => filter
                .judge::<F>(net, attrs, PeerType::Internal)
                .into_result()?,
        };
        Ok(ExportAction {
            edits,
            next_hop: ExportNextHop::Unchanged,
        })
    }

    pub(crate) fn new(policy: &dunlin_intent::ExportPolicy) -> Slot {
        let mut merged = BTreeMap::new();
        if let ExportFilter::Filter(filter) = &policy.filter {
            for (kind, edits) in policy.originated.iter() {
                for (number, rule) in filter.rules.iter().enumerate() {
                    merged.insert((*kind, number), merge(edits, &rule.edits));
                }
            }
        }
        Slot {
            policy: policy.clone(),
            merged,
        }
    }

    /// Whether peers of this type are told of a route, and with which changes. `ours` is what it is of what we originate;
    /// none for a route that was learned.
    fn judge<F: RibFamily>(
        &self,
        ours: Option<OriginKind>,
        net: F::Net,
        attrs: Attrs<'_>,
        to: PeerType,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        let policy = &self.policy;
        let Some(kind) = ours else {
            return match &policy.filter {
                ExportFilter::Filter(filter) => filter.judge::<F>(net, attrs, to).into_result(),
                ExportFilter::None | ExportFilter::Missing => Err(RejectReason::NotAdvertised),
            };
        };
        let edits = policy.originated.get(&kind);
        let edits = edits.ok_or(RejectReason::NotAdvertised)?;
        match &policy.filter {
            ExportFilter::None => Ok(Some(edits)),
            ExportFilter::Missing => Err(RejectReason::NotAdvertised),
            ExportFilter::Filter(filter) => {
                let passed = match filter.judge::<F>(net, attrs, to) {
                    Verdict::Accept(edits) => edits,
                    Verdict::Reject(reason) => return Err(reason),
                };
                let of_rule = |rule: &FilterRule| std::ptr::eq(&rule.edits, passed);
                let rule = filter.rules.iter().position(of_rule).unwrap_or_default();
                Ok(self.merged.get(&(kind, rule)))
            }
        }
    }
}

/// Whether a learned route that the rules of BGP let pass is reflected: only a reflector passes it from an internal peer
/// to another.
fn is_reflected(from: PeerType, to: PeerType) -> bool {
    from == PeerType::Internal && to == PeerType::Internal
}

/// First the one, then the other, which has the last word on single values.
fn merge(first: &AttrEdits, second: &AttrEdits) -> AttrEdits {
    let mut merged = first.clone();
    merged.local_pref = second.local_pref.or(first.local_pref);
    merged.med = second.med.or(first.med);
    merged.prepend = second.prepend.or(first.prepend);
    for community in &second.add_communities {
        if !merged.add_communities.contains(community) {
            merged.add_communities.push(*community);
        }
    }
    merged
}

impl ExportPolicy for Exports {
    fn export<F: RibFamily>(
        &self,
        group: &GroupKey,
        net: F::Net,
        attrs: Attrs<'_>,
        source: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason> {
        let slot = self
            .slots
            .get(group.policy as usize)
            .ok_or(RejectReason::NotAdvertised)?;
        let kind = |net| self.originated.kind(net);
        slot.export::<F>(kind, group.encoding.peer_type, (net, attrs, source))
    }
}
