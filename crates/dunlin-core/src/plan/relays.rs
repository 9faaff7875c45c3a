//! What peers with an export filter would be told of what was learned from others.

use dunlin_bgp::attrs::{self, Attrs};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::rib::{Chosen, Foresight, RibFamily};
use dunlin_net::{IpNet, PeerId};

use super::Draft;
use super::bounded::Kept;
use super::exports::{Class, Side, Told};
use super::fields::Fields;
use crate::policy::{Slot, is_reflected};

impl Draft<'_> {
    /// Notes what would become of a learned prefix toward a peer that is told such.
    pub(super) fn relayed<F: RibFamily>(&self, class: &mut Class<'_>, seen: &Foresight<'_, F>) {
        let Some(peer) = class.relay else { return };
        let net: IpNet = seen.net.into();
        let [slot_before, slot_after] = &class.slots;
        let [side_before, side_after] = class.sides;
        let before = relay::<F>(
            side_before,
            slot_before,
            peer,
            seen.net,
            seen.before.as_ref(),
        );
        // What this node would begin to originate is told as that.
        let own = self.after.originations.contains_key(&net);
        let best = seen.after.as_ref().filter(|_| !own);
        let after = relay::<F>(side_after, slot_after, peer, seen.net, best);
        let from = |chosen: &Option<Chosen<'_>>| chosen.as_ref().and_then(|c| c.info.peer);
        let shift = &mut class.shift;
        match (before, after) {
            (None, Some(_)) => {
                let from = from(&seen.after);
                shift.appear.add(self.limit, net, || Kept::from(from));
            }
            (Some(_), None) => {
                let from = from(&seen.before);
                shift.go.add(self.limit, net, || Kept::from(from));
            }
            (Some(before), Some(after)) => {
                let changes = differences(before, after);
                if !changes.is_empty() {
                    let from = from(&seen.after);
                    shift.change.add(self.limit, net, || Kept {
                        changes,
                        ..Kept::from(from)
                    });
                }
            }
            (None, None) => {}
        }
    }
}

/// What is told of a learned route.
struct Relay<'a> {
    told: Told<'a>,
    attrs: &'a [u8],
    to: PeerType,
}

fn relay<'a, F: RibFamily>(
    side: Option<Side<'_>>,
    slot: &'a Option<Slot>,
    peer: Option<PeerId>,
    net: F::Net,
    best: Option<&'a Chosen<'_>>,
) -> Option<Relay<'a>> {
    let (side, slot, best) = (side?, slot.as_ref()?, best?);
    let back = best.info.peer.is_some() && best.info.peer == peer;
    if best.info.is_local() || back || best.may_be_told(F::AFI, &side.toward).is_err() {
        return None;
    }
    let attrs = Attrs::new(&best.attrs);
    let (to, learned) = (side.toward.peer_type, best.next_hop.addr);
    let (edits, next_hop) = if is_reflected(best.info.peer_type, to) {
        (slot.reflect::<F>(net, attrs).ok()?.edits, learned)
    } else {
        let edits = slot.judge::<F>(None, net, attrs, to).ok()?;
        (edits, side.next_hop(F::AFI, Some(learned))?)
    };
    let told = Told {
        edits: edits.filter(|edits| !edits.is_empty()),
        next_hop,
        mark: side.mark().filter(|_| attrs.only_to_customer().is_none()),
    };
    Some(Relay {
        told,
        attrs: &best.attrs,
        to,
    })
}

fn differences(before: Relay<'_>, after: Relay<'_>) -> Vec<dunlin_api::FieldChange> {
    if before.attrs == after.attrs && before.told == after.told {
        return Vec::new();
    }
    let made = |relay: &Relay<'_>| match relay.told.edits {
        Some(edits) => attrs::apply_edits(Attrs::new(relay.attrs), edits),
        None => relay.attrs.to_vec(),
    };
    let bytes = [made(&before), made(&after)];
    let attrs = [&bytes[0], &bytes[1]].map(|bytes| Attrs::new(bytes));
    let mut fields = Fields::default();
    fields.plain("AS_PATH", attrs.map(|a| a.as_path().to_string()));
    if after.to == PeerType::Internal {
        fields.optional("LOCAL_PREF", attrs.map(|a| a.local_pref()));
    }
    // A neighbour's MULTI_EXIT_DISC is not passed on, one set here is (RFC 4271 5.1.4).
    let med = |relay: &Relay<'_>| relay.told.edits.and_then(|edits| edits.med);
    fields.optional("MULTI_EXIT_DISC", [med(&before), med(&after)]);
    let communities = attrs.map(|a| {
        let standard = a
            .communities()
            .map(|c| format!("{}:{}", c >> 16, c & 0xffff));
        let large = a
            .large_communities()
            .map(|[x, y, z]| format!("{x}:{y}:{z}"));
        standard.chain(large).collect::<Vec<String>>()
    });
    fields.list(
        "communities",
        [&communities[0], &communities[1]].map(Vec::as_slice),
    );
    let mark =
        |(attrs, relay): (Attrs<'_>, &Relay<'_>)| attrs.only_to_customer().or(relay.told.mark);
    let marks = [(attrs[0], &before), (attrs[1], &after)].map(mark);
    fields.optional("ONLY_TO_CUSTOMER", marks);
    fields.plain("next hop", [before.told.next_hop, after.told.next_hop]);
    fields.0
}
