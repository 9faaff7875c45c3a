//! What peers would be told of a prefix of the table: of what was learned from others, and of what is originated beside it.

use std::collections::BTreeSet;

use dunlin_api::FieldChange;
use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::rib::{Foresight, MAX_PATHS_TOLD, Moment, RibFamily, Said, SourceInfo, Told};
use dunlin_net::{Asn, IpNet, PeerId, RouterId, V4, V6};

use super::bounded::Kept;
use super::classes::{Becomes, Class, Teller};
use super::fields::{self, Fields};
use super::{Budget, Draft};

/// What this node originates, as the RIB holds it.
pub(super) struct Ours {
    /// The prefixes whose origination would not stay as it is.
    pub(super) moved: BTreeSet<IpNet>,
    attrs: Vec<u8>,
    info: SourceInfo,
}

impl Ours {
    pub(super) fn new(moved: BTreeSet<IpNet>) -> Ours {
        let nobody = RouterId(std::net::Ipv4Addr::UNSPECIFIED);
        Ours {
            moved,
            attrs: AttrBuilder::originated(Origin::Igp).build(),
            info: SourceInfo::local(nobody, Asn(0)),
        }
    }

    /// What peers are told of a prefix that is originated.
    pub(super) fn told<'s>(&'s self, net: IpNet, teller: &'s Teller<'_>) -> Option<Told<'s>> {
        teller.originations.get(&net)?;
        let path = (self.attrs.as_slice(), &self.info);
        match net {
            IpNet::V4(net) => Told::ours::<V4, _>(net, path, &teller.key, teller),
            IpNet::V6(net) => Told::ours::<V6, _>(net, path, &teller.key, teller),
        }
    }
}

impl Class<'_> {
    /// What is told of a prefix at a moment, and what it costs to say so.
    fn told<'s, F: RibFamily>(
        &'s self,
        moment: Moment,
        seen: &'s Foresight<'_, F>,
        ours: &'s Ours,
    ) -> (Said<'s>, usize) {
        let Some(teller) = self.teller(moment) else {
            return (Said::new(), 0);
        };
        let net: IpNet = seen.net.into();
        let (key, cost) = (&teller.key, seen.paths_told(&teller.key));
        let originated = teller.originations.contains_key(&net);
        if seen.is_ours || !originated {
            return (seen.told(moment, key, teller), cost);
        }
        // It is the best path as soon as it is in the table.
        let mut said = Said::new();
        said.extend(ours.told(net, teller));
        if *key.encoding.add_path.get(F::AFI) {
            said.extend(seen.told(moment, key, teller));
            said.truncate(MAX_PATHS_TOLD);
        }
        (said, cost)
    }
}

impl Draft<'_> {
    /// Notes what would become of a prefix of the table toward peers that are told of such.
    pub(super) fn relayed<F: RibFamily>(
        &self,
        class: &mut Class<'_>,
        seen: &Foresight<'_, F>,
        ours: &Ours,
        budget: &mut Budget,
    ) {
        let net: IpNet = seen.net.into();
        let (before, spent) = class.told(Moment::Before, seen, ours);
        let (after, more) = class.told(Moment::After, seen, ours);
        if !budget.spend(spent + more) {
            return;
        }
        let to = class.to();
        let toward = |peer: PeerId| {
            let [before, after] = [&before, &after].map(|said| {
                let others = said.iter().filter(|told| told.from != Some(peer));
                others.copied().collect::<Said<'_>>()
            });
            self.becomes([&before, &after], to)
        };
        let noted = match class.alone() {
            Some(peer) => (toward(peer), Vec::new()),
            None => {
                let sources = before.iter().chain(&after).filter_map(|told| told.from);
                let concerned = class.of_class(sources).into_iter();
                let all = self.becomes([&before, &after], to);
                // Where no path is another, none is for anybody.
                let stays = before
                    .iter()
                    .map(|told| told.number)
                    .eq(after.iter().map(|told| told.number));
                let concerned = concerned.filter(|_| all.is_some() || !stays);
                let others = concerned.map(|peer| (peer, toward(peer))).collect();
                (all, others)
            }
        };
        drop((before, after));
        class.found.note(net, noted, self.limit, budget);
    }

    /// What becomes of a prefix by what is told of it, now and then, to peers of this type.
    pub(super) fn becomes(&self, said: [&[Told<'_>]; 2], to: PeerType) -> Option<Becomes> {
        let from = |said: &[Told<'_>]| Kept::from(said.first().and_then(|told| told.from));
        match said {
            [[], []] => None,
            [[], after] => Some(Becomes::Appear(from(after))),
            [before, []] => Some(Becomes::Go(from(before))),
            [_, after] => {
                let changes = self.changes(said, to);
                (!changes.is_empty()).then(|| {
                    Becomes::Change(Kept {
                        changes,
                        ..from(after)
                    })
                })
            }
        }
    }

    fn changes(&self, [before, after]: [&[Told<'_>]; 2], to: PeerType) -> Vec<FieldChange> {
        let mut fields = Fields::default();
        if let ([one], [other]) = (before, after) {
            of_path(&mut fields, [one, other], to);
            return fields.0;
        }
        let from = |told: &Told<'_>| self.from(told.from);
        let labels = [before, after].map(|said| {
            let mut labels: Vec<String> = said.iter().map(from).collect();
            labels.sort_unstable();
            labels
        });
        fields.list("paths", [&labels[0], &labels[1]].map(Vec::as_slice));
        let is_in = |said: &[Told<'_>], one: &Told<'_>| said.iter().any(|t| t.number == one.number);
        for told in before {
            // The same path, or another one instead of it from the same peer.
            let same = after.iter().find(|other| other.number == told.number);
            let instead = |other: &&Told<'_>| other.from == told.from && !is_in(before, other);
            let Some(other) = same.or_else(|| after.iter().find(instead)) else {
                continue;
            };
            let mut own = Fields::default();
            of_path(&mut own, [told, other], to);
            fields.0.extend(own.0.into_iter().map(|change| FieldChange {
                field: format!("{} of the path from {}", change.field, from(told)),
                ..change
            }));
        }
        fields.0
    }

    fn from(&self, peer: Option<PeerId>) -> String {
        match peer {
            Some(peer) => self.core.peer_name(peer).unwrap_or_default(),
            None => "this node".to_owned(),
        }
    }
}

/// What differs between a path now and then.
fn of_path(fields: &mut Fields, both: [&Told<'_>; 2], to: PeerType) {
    let [before, after] = both;
    if before == after {
        return;
    }
    let is_ours = both.map(|told| told.from.is_none());
    match is_ours {
        [true, true] => {
            let edits = both.map(|told| told.edits.cloned().unwrap_or_default());
            fields::edits(fields, [&edits[0], &edits[1]]);
            fields.optional("ONLY_TO_CUSTOMER", both.map(|told| told.only_to_customer));
        }
        [false, false] => attributes(fields, both, to),
        _ => {
            let origin = |ours| if ours { "ours" } else { "learned" };
            return fields.plain("origin", is_ours.map(origin));
        }
    }
    fields.plain("next hop", both.map(|told| told.next_hop.addr));
}

fn attributes(fields: &mut Fields, both: [&Told<'_>; 2], to: PeerType) {
    let bytes = both.map(Told::attrs);
    let attrs = [&bytes[0], &bytes[1]].map(|bytes| Attrs::new(bytes));
    fields.plain("AS_PATH", attrs.map(|a| a.as_path().to_string()));
    if to == PeerType::Internal {
        fields.optional("LOCAL_PREF", attrs.map(|a| a.local_pref()));
    }
    // A neighbour's MULTI_EXIT_DISC is not passed on, one set here is (RFC 4271 5.1.4).
    let med = |told: &Told<'_>| told.edits.and_then(|edits| edits.med);
    fields.optional("MULTI_EXIT_DISC", both.map(med));
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
    let marks = attrs.map(|a| a.only_to_customer());
    fields.optional("ONLY_TO_CUSTOMER", marks);
}
