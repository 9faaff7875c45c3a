//! Peers that are told the same, and would be told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_api::SessionEffect;
use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::policy::{PeerType, RejectReason};
use dunlin_bgp::rib::{ExportAction, GroupKey, Moment, RibFamily, SourceInfo};
use dunlin_intent::{ExportFilter, ExportPolicy, Origination, PeerIntent};
use dunlin_net::{Afi, IpNet, PeerId, PerFamily};

use super::bounded::{Kept, Shift};
use super::{Budget, Draft, Party, Wanted};
use crate::established::{group_key, offered_key};
use crate::policy::Slot;

/// What decides on what a peer is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side<'a> {
    key: GroupKey,
    policy: &'a ExportPolicy,
}

/// Sides that are equal have equal ones of these.
type Sign<'a> = [Option<(&'a str, usize, Option<IpAddr>)>; 2];

/// What a peer is told with.
pub(super) struct Teller<'a> {
    pub(super) key: GroupKey,
    slot: Slot,
    pub(super) originations: &'a BTreeMap<IpNet, Origination>,
}

impl dunlin_bgp::rib::ExportPolicy for Teller<'_> {
    fn export<F: RibFamily>(
        &self,
        group: &GroupKey,
        net: F::Net,
        attrs: Attrs<'_>,
        source: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason> {
        let kind = |net| Some(self.originations.get(&net)?.kind);
        let to = group.encoding.peer_type;
        self.slot.export::<F>(kind, to, (net, attrs, source))
    }
}

/// Peers that are told the same now, and would be told the same; but none is told what comes from itself.
pub(super) struct Class<'a> {
    sides: [Option<Side<'a>>; 2],
    pub(super) tellers: [Option<Teller<'a>>; 2],
    /// They may be told what was learned from others.
    pub(super) relays: bool,
    pub(super) peers: Vec<(String, Option<PeerId>)>,
    ids: BTreeSet<PeerId>,
    pub(super) found: Found,
}

/// What would become of what the peers of a class are told.
#[derive(Default)]
pub(super) struct Found {
    /// For those that none of it comes from.
    pub(super) shift: Shift,
    /// For the others, beside that.
    apart: BTreeMap<PeerId, Apart>,
}

/// What becomes of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    Appear(Kept),
    Go(Kept),
    Change(Kept),
}

/// What is otherwise for one peer, since it is not told what comes from itself.
#[derive(Default)]
struct Apart {
    /// How many of those that appear, go and change for the others do not for it.
    out: [u64; 3],
    /// Of them, those that do not come from it.
    not: BTreeSet<IpNet>,
    /// What becomes of some for it.
    shift: Shift,
}

impl Becomes {
    fn kept(&self) -> (usize, &Kept) {
        match self {
            Becomes::Appear(kept) => (0, kept),
            Becomes::Go(kept) => (1, kept),
            Becomes::Change(kept) => (2, kept),
        }
    }

    fn note(self, shift: &mut Shift, limit: usize, net: IpNet) {
        match self {
            Becomes::Appear(kept) => shift.appear.add(limit, net, || kept),
            Becomes::Go(kept) => shift.go.add(limit, net, || kept),
            Becomes::Change(kept) => shift.change.add(limit, net, || kept),
        }
    }
}

impl<'a> Side<'a> {
    fn sign(&self) -> (&'a str, usize, Option<IpAddr>) {
        let filter = match &self.policy.filter {
            ExportFilter::Filter(filter) => filter.name.as_str(),
            ExportFilter::None | ExportFilter::Missing => "",
        };
        let own = self.key.own_next_hop.v4.map(|hop| hop.addr);
        (filter, self.policy.originated.len(), own)
    }

    /// Whether it may be told what was learned from others. `clients`: we reflect for somebody.
    fn relays(&self, clients: bool) -> bool {
        match self.policy.filter {
            ExportFilter::Filter(_) => true,
            ExportFilter::Missing => false,
            ExportFilter::None => {
                let internal = self.key.encoding.peer_type == PeerType::Internal;
                internal && (clients || self.key.reflector_client)
            }
        }
    }
}

impl Class<'_> {
    /// What they are told depends on the same now and then.
    pub(super) fn stays(&self) -> bool {
        self.sides[0] == self.sides[1]
    }

    pub(super) fn teller(&self, moment: Moment) -> Option<&Teller<'_>> {
        self.tellers[moment as usize].as_ref()
    }

    /// Of the peers that a prefix comes from, those that are of this class.
    pub(super) fn of_class(&self, sources: impl Iterator<Item = PeerId>) -> BTreeSet<PeerId> {
        sources.filter(|peer| self.ids.contains(peer)).collect()
    }

    /// The kind of session that they have, or would.
    pub(super) fn to(&self) -> PeerType {
        let [before, after] = &self.tellers;
        let teller = after.as_ref().or(before.as_ref());
        teller.map_or(PeerType::External, |teller| teller.key.encoding.peer_type)
    }

    /// The one peer there is.
    pub(super) fn alone(&self) -> Option<PeerId> {
        match self.peers.as_slice() {
            [(_, peer)] => *peer,
            _ => None,
        }
    }
}

impl Found {
    /// Notes what becomes of a prefix for all, and for those of them that a path of it comes from.
    pub(super) fn note(
        &mut self,
        net: IpNet,
        (all, others): (Option<Becomes>, Vec<(PeerId, Option<Becomes>)>),
        limit: usize,
        budget: &mut Budget,
    ) {
        for (peer, own) in others {
            if own == all {
                continue;
            }
            let apart = self.apart.entry(peer).or_default();
            let mut implied = own.is_none();
            if let Some((kind, kept)) = all.as_ref().map(Becomes::kept) {
                apart.out[kind] += 1;
                implied &= kept.from == Some(peer);
            }
            // That what comes from a peer is not told to it needs no word.
            if implied {
                continue;
            }
            if !budget.spend_apart() {
                return;
            }
            apart.not.insert(net);
            if let Some(own) = own {
                own.note(&mut apart.shift, limit, net);
            }
        }
        if let Some(all) = all {
            all.note(&mut self.shift, limit, net);
        }
    }

    /// What becomes of what a peer is told; none if it is the same as for all.
    pub(super) fn own(&self, peer: Option<PeerId>, limit: usize) -> Option<Shift> {
        let peer = peer?;
        let apart = self
            .apart
            .get(&peer)
            .filter(|apart| !apart.not.is_empty())?;
        let keep = |net: IpNet, kept: &Kept| kept.from != Some(peer) && !apart.not.contains(&net);
        let (all, own) = (&self.shift, &apart.shift);
        let [appear, go, change] = apart.out;
        Some(Shift {
            appear: all.appear.without(appear, keep, &own.appear, limit),
            go: all.go.without(go, keep, &own.go, limit),
            change: all.change.without(change, keep, &own.change, limit),
        })
    }
}

impl<'a> Draft<'a> {
    /// All peers, those that are told the same together.
    pub(super) fn classes(&'a self, parties: &[Party<'a>]) -> Vec<Class<'a>> {
        let reflects = |party: &&Party<'_>| party.peer.is_some_and(|peer| peer.client);
        let would = |party: &&Party<'_>| party.after.is_some_and(|after| after.reflector_client);
        let clients = parties
            .iter()
            .any(|party| reflects(&party) || would(&party));
        let wanted = [&self.before, &self.after];
        let mut classes: Vec<Class<'a>> = Vec::new();
        // Who is told the same is looked for among those of the same sign, so that thousands are not compared with each other.
        let mut signs: BTreeMap<Sign<'a>, Vec<usize>> = BTreeMap::new();
        for party in parties.iter().filter(|party| !party.is_range()) {
            let sides = self.sides(party);
            let id = party.peer.map(|peer| peer.id);
            let sign = [&sides[0], &sides[1]].map(|side| side.as_ref().map(Side::sign));
            let alike = signs.entry(sign).or_default();
            let found = alike.iter().find(|at| classes[**at].sides == sides);
            if let Some(at) = found {
                classes[*at].peers.push((party.name(), id));
                classes[*at].ids.extend(id);
                continue;
            }
            alike.push(classes.len());
            let teller = |at: usize| {
                let side: &Side<'a> = sides[at].as_ref()?;
                Some(Teller {
                    key: side.key.clone(),
                    slot: Slot::new(side.policy),
                    originations: &wanted[at].originations,
                })
            };
            classes.push(Class {
                tellers: [teller(0), teller(1)],
                relays: sides.iter().flatten().any(|side| side.relays(clients)),
                peers: vec![(party.name(), id)],
                ids: id.into_iter().collect(),
                found: Found::default(),
                sides,
            });
        }
        classes
    }

    /// What a peer is told by now and then; nothing where it is no peer or not even tried.
    fn sides(&'a self, party: &Party<'a>) -> [Option<Side<'a>>; 2] {
        let up = party.peer.and_then(|peer| peer.up.as_ref());
        let negotiated = up.map(|up| &*up.negotiated);
        let resets = party.effect() == Some(SessionEffect::Resets);
        let same = || {
            let (before, after) = (&party.before?.session, &party.after?.session);
            let families = before.families == after.families;
            Some(families && before.peer_type() == after.peer_type())
        };
        // What was negotiated holds until our side says something else.
        let keeps = !resets || same() == Some(true);
        let side = |wanted: &'a Wanted, intent: Option<&'a Arc<PeerIntent>>, client, then: bool| {
            let intent = intent?;
            let next_hops = wanted.local.as_ref()?.next_hops;
            self.config(wanted, intent)?.ok()?;
            let mut key = match negotiated.filter(|_| keeps || !then) {
                None => offered_key((intent, client), next_hops),
                Some(negotiated) => group_key(0, negotiated, (intent, client), next_hops),
            };
            key.encoding.local_asn = intent.session.local_asn;
            // What it takes it has said, whatever we offered.
            if let Some(negotiated) = negotiated.filter(|_| resets && then) {
                let takes = negotiated.takes_paths();
                let send = intent.session.add_path.send;
                key.encoding.add_path = PerFamily {
                    v4: send && key.families.v4 && takes.v4,
                    v6: send && key.families.v6 && takes.v6,
                };
            }
            Some(Side {
                key,
                policy: &intent.policy.export,
            })
        };
        let client = |intent: &Arc<PeerIntent>| intent.reflector_client;
        let would = party.after.is_some_and(client);
        let is = match party.peer.filter(|peer| peer.is_established()) {
            Some(peer) => peer.client,
            None => party.before.is_some_and(client),
        };
        let before = side(&self.before, party.before, is, false);
        let mut after = side(&self.after, party.after, would, true);
        // A family that loses its address is told nothing new by it.
        if let (Some(before), Some(after)) = (&before, &mut after) {
            for afi in Afi::ALL {
                let own = after.key.own_next_hop.get_mut(afi);
                *own = own.or(*before.key.own_next_hop.get(afi));
            }
        }
        [before, after]
    }
}
