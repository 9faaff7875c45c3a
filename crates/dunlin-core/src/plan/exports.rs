//! What peers would be told of what this node originates.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_api::{Listed, PlannedExports, SessionEffect};
use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::policy::{AttrEdits, Role};
use dunlin_bgp::rib::{RibFamily, Toward};
use dunlin_bgp::session::Negotiated;
use dunlin_intent::{ExportFilter, ExportPolicy, NextHopMode, Origination, PeerIntent};
use dunlin_net::{Afi, Asn, IpNet, PeerId, PerFamily, V4, V6};

use super::bounded::{Kept, Shift};
use super::fields::{self, Fields};
use super::{Budget, Draft, Party, Wanted};
use crate::established::{external_role, own_next_hops};
use crate::policy::Slot;

/// What decides on what a peer is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Side<'a> {
    policy: &'a ExportPolicy,
    /// What the rules of BGP ask of the peer.
    pub(super) toward: Toward,
    local_asn: Asn,
    /// The next hops we name.
    own: PerFamily<Option<IpAddr>>,
}

/// Peers that are told the same now, and would be told the same.
pub(super) struct Class<'a> {
    pub(super) sides: [Option<Side<'a>>; 2],
    pub(super) slots: [Option<Slot>; 2],
    /// The one peer there is, where what it is told depends on whom it was learned from.
    pub(super) relay: Option<Option<PeerId>>,
    peers: Vec<String>,
    pub(super) shift: Shift,
}

/// What is told beside the prefix.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Told<'a> {
    pub(super) edits: Option<&'a AttrEdits>,
    pub(super) next_hop: IpAddr,
    /// The AS in ONLY_TO_CUSTOMER that our role makes us add (RFC 9234 5).
    pub(super) mark: Option<Asn>,
}

impl Side<'_> {
    /// The next hop that is named, if there is one.
    pub(super) fn next_hop(&self, afi: Afi, learned: Option<IpAddr>) -> Option<IpAddr> {
        match (self.policy.next_hop, learned) {
            (NextHopMode::Unchanged, Some(learned)) => Some(learned),
            _ => *self.own.get(afi),
        }
    }

    /// What it is marked with that our role says goes to customers alone, if nobody has marked it before.
    pub(super) fn mark(&self) -> Option<Asn> {
        let marks = self.toward.role.is_some_and(Role::marks_told);
        marks.then_some(self.local_asn)
    }

    fn relays(&self) -> bool {
        matches!(self.policy.filter, ExportFilter::Filter(_))
    }
}

impl<'a> Draft<'a> {
    /// All peers, those that are told the same together.
    pub(super) fn classes(&'a self, parties: &[Party<'a>]) -> Vec<Class<'a>> {
        let mut classes: Vec<Class<'a>> = Vec::new();
        for party in parties.iter().filter(|party| !party.is_range()) {
            let sides = self.sides(party);
            let relays = sides.iter().flatten().any(Side::relays);
            let found = classes
                .iter_mut()
                .find(|class| !relays && class.relay.is_none() && class.sides == sides);
            if let Some(class) = found {
                class.peers.push(party.name());
                continue;
            }
            classes.push(Class {
                slots: sides.map(|side| side.map(|side| Slot::new(side.policy))),
                relay: relays.then_some(party.peer.map(|peer| peer.id)),
                peers: vec![party.name()],
                shift: Shift::default(),
                sides,
            });
        }
        classes
    }

    /// What a peer is told by now and then; nothing where it is no peer or not even tried.
    fn sides(&'a self, party: &Party<'a>) -> [Option<Side<'a>>; 2] {
        let up = party.peer.and_then(|peer| peer.up.as_ref());
        let negotiated = up.map(|up| &*up.negotiated);
        let stays = party.effect() != Some(SessionEffect::Resets);
        let same = || {
            let (before, after) = (&party.before?.session, &party.after?.session);
            let families = before.families == after.families;
            Some(families && before.peer_type() == after.peer_type())
        };
        // What was negotiated holds until our side says something else.
        let keeps = stays || same() == Some(true);
        let side = |wanted: &'a Wanted, intent: Option<&'a Arc<PeerIntent>>, client, keeps| {
            let intent = intent?;
            let local = wanted.local.as_ref()?;
            self.config(wanted, intent)?.ok()?;
            let negotiated = negotiated.filter(|_| keeps);
            Some(Side {
                policy: &intent.policy.export,
                toward: Toward {
                    reflector_client: client,
                    ..toward(intent, negotiated)
                },
                local_asn: intent.session.local_asn,
                own: negotiated.map_or(local.next_hops, |negotiated| {
                    own_next_hops(negotiated, &intent.key, local.next_hops)
                }),
            })
        };
        let client = |intent: &Arc<PeerIntent>| intent.reflector_client;
        let (client_before, client_after) = match party.peer.filter(|peer| peer.is_established()) {
            Some(peer) => (peer.client, party.after.is_some_and(client)),
            None => (
                party.before.is_some_and(client),
                party.after.is_some_and(client),
            ),
        };
        let before = side(&self.before, party.before, client_before, true);
        let mut after = side(&self.after, party.after, client_after, keeps);
        // A family that loses its address is told nothing new by it.
        if let (Some(before), Some(after)) = (before, &mut after) {
            for afi in Afi::ALL {
                let own = after.own.get_mut(afi);
                *own = own.or(*before.own.get(afi));
            }
        }
        [before, after]
    }

    /// The prefixes whose origination would not stay as it is.
    pub(super) fn originations_moved(&self) -> BTreeSet<IpNet> {
        let (before, after) = (&self.before.originations, &self.after.originations);
        let gone = before.iter().filter(|(net, o)| after.get(net) != Some(o));
        let new = after.iter().filter(|(net, o)| before.get(net) != Some(o));
        gone.chain(new).map(|(net, _)| *net).collect()
    }

    /// What the peers of a class would be told of what this node originates.
    pub(super) fn originated(
        &self,
        class: &mut Class<'_>,
        moved: &BTreeSet<IpNet>,
        budget: &mut Budget,
    ) {
        let attrs = AttrBuilder::originated(Origin::Igp).build();
        let [before, after] = class.sides;
        let all: BTreeSet<IpNet>;
        let nets = if before == after {
            moved
        } else {
            let wanted = [&self.before, &self.after];
            let nets = wanted.into_iter().flat_map(|w| w.originations.keys());
            all = nets.copied().collect();
            &all
        };
        let [slot_before, slot_after] = &class.slots;
        for net in nets.iter().copied() {
            if !budget.spend() {
                return;
            }
            let told = |side, slot: &'_ Option<Slot>, wanted: &Wanted| {
                let origination = wanted.originations.get(&net)?;
                told(side, slot.as_ref()?, net, origination, Attrs::new(&attrs))
                    .map(|t| (t.edits.cloned().unwrap_or_default(), t.next_hop, t.mark))
            };
            let both = (
                told(before, slot_before, &self.before),
                told(after, slot_after, &self.after),
            );
            let kept = || Kept::from(None);
            match both {
                (None, Some(_)) => class.shift.appear.add(self.limit, net, kept),
                (Some(_), None) => class.shift.go.add(self.limit, net, kept),
                (Some(before), Some(after)) if before != after => {
                    class.shift.change.add(self.limit, net, || {
                        let mut fields = Fields::default();
                        fields::edits(&mut fields, [&before.0, &after.0]);
                        fields.plain("next hop", [before.1, after.1]);
                        fields.optional("ONLY_TO_CUSTOMER", [before.2, after.2]);
                        Kept {
                            changes: fields.0,
                            ..Kept::from(None)
                        }
                    });
                }
                _ => {}
            }
        }
    }

    /// The classes' outcomes, those of the same outcome together.
    pub(super) fn exports(&self, classes: Vec<Class<'_>>) -> Listed<PlannedExports> {
        let mut outcomes: Vec<(Shift, Listed<String>)> = Vec::new();
        for class in classes {
            let mut shift = class.shift;
            shift.reconcile();
            if shift.is_empty() {
                continue;
            }
            let at = outcomes.iter().position(|(other, _)| *other == shift);
            let at = at.unwrap_or_else(|| {
                outcomes.push((shift, Listed::default()));
                outcomes.len() - 1
            });
            for peer in class.peers {
                outcomes[at].1.add(self.limit, peer);
            }
        }
        let mut listed = Listed::default();
        for (shift, peers) in outcomes {
            if listed.items.len() >= self.limit {
                listed.more += 1;
                continue;
            }
            let prefixes = self.shown(&shift);
            listed.items.push(PlannedExports { peers, prefixes });
        }
        listed
    }
}

/// What the rules of BGP ask of a peer, by what was negotiated with it, or as if it agreed to all that we offer.
fn toward(intent: &PeerIntent, negotiated: Option<&Negotiated>) -> Toward {
    let session = &intent.session;
    let peer_type = negotiated.map_or_else(|| session.peer_type(), |n| n.peer_type);
    let offers_long_lived = || {
        let restart = session.graceful_restart;
        restart.is_some_and(|restart| restart.long_lived_secs > 0)
    };
    let offered = || PerFamily {
        v4: session.families.contains(&Afi::Ipv4),
        v6: session.families.contains(&Afi::Ipv6),
    };
    Toward {
        peer_type,
        reflector_client: intent.reflector_client,
        role: external_role(peer_type, intent),
        families: negotiated.map_or_else(offered, |n| n.families),
        long_lived: negotiated.map_or_else(offers_long_lived, Negotiated::takes_long_lived_stale),
    }
}

/// What a peer is told of a prefix of ours, if it is.
fn told<'s>(
    side: Option<Side<'_>>,
    slot: &'s Slot,
    net: IpNet,
    origination: &Origination,
    attrs: Attrs<'_>,
) -> Option<Told<'s>> {
    match net {
        IpNet::V4(net) => told_of::<V4>(side?, slot, net, origination, attrs),
        IpNet::V6(net) => told_of::<V6>(side?, slot, net, origination, attrs),
    }
}

fn told_of<'s, F: RibFamily>(
    side: Side<'_>,
    slot: &'s Slot,
    net: F::Net,
    origination: &Origination,
    attrs: Attrs<'_>,
) -> Option<Told<'s>> {
    if !*side.toward.families.get(F::AFI) {
        return None;
    }
    let kind = Some(origination.kind);
    let to = side.toward.peer_type;
    let edits = slot.judge::<F>(kind, net, attrs, to).ok()?;
    Some(Told {
        edits: edits.filter(|edits| !edits.is_empty()),
        next_hop: side.next_hop(F::AFI, None)?,
        mark: side.mark(),
    })
}
