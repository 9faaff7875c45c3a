//! What of peers' announcements would be accepted and rejected.

use std::collections::{BTreeMap, HashMap};

use dunlin_api::{Listed, PlannedImports, SessionEffect};
use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::policy::{AttrEdits, PeerType, RejectReason};
use dunlin_bgp::rib::{Foresight, ImportPolicy, OtherPolicy, RibFamily, SourceInfo};
use dunlin_intent::{ImportPolicy as ImportIntent, Origination, PeerKey};
use dunlin_net::{IpNet, PeerId};

use super::Party;
use super::bounded::{Kept, Shift};
use crate::policy::{Import, judge_import};

/// What would be learned from a peer, by which kind of session, and how often our AS might stand in a path.
type Judge<'a> = (&'a PeerKey, &'a ImportIntent, PeerType, u8);

/// What would be learned from each peer that is there now; none where its session would end.
pub(super) struct Imports<'a> {
    peers: HashMap<PeerId, Option<Judge<'a>>, foldhash::fast::FixedState>,
    facts: Import<'a>,
    originations: &'a BTreeMap<IpNet, Origination>,
    /// It is not the same for all of them.
    pub(super) differ: bool,
}

/// What would become of what each peer announces.
#[derive(Default)]
pub(super) struct Learned {
    shifts: BTreeMap<PeerId, Shift>,
}

impl ImportPolicy for Imports<'_> {
    fn judge<F: RibFamily>(
        &self,
        source: &SourceInfo,
        net: F::Net,
        attrs: Attrs<'_>,
        next_hop: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        let peer = source.peer.and_then(|id| self.peers.get(&id));
        let Some((key, import, ..)) = peer.copied().flatten() else {
            return Err(RejectReason::NoImportFilter);
        };
        judge_import::<F>(import, key, &self.facts, (source, net, attrs, next_hop))
    }
}

impl OtherPolicy for Imports<'_> {
    fn originates<F: RibFamily>(&self, net: F::Net) -> bool {
        self.originations.contains_key(&net.into())
    }

    fn peer_type(&self, source: &SourceInfo) -> PeerType {
        let peer = source.peer.and_then(|id| self.peers.get(&id));
        let judge = peer.copied().flatten();
        judge.map_or(source.peer_type, |(_, _, peer_type, _)| peer_type)
    }

    fn allow_own_as(&self, source: &SourceInfo) -> u8 {
        let peer = source.peer.and_then(|id| self.peers.get(&id));
        let judge = peer.copied().flatten();
        judge.map_or(source.allow_own_as, |(.., allowed)| allowed)
    }
}

impl<'a> super::Draft<'a> {
    pub(super) fn imports(&'a self, parties: &[Party<'a>]) -> Imports<'a> {
        let mut imports = Imports {
            peers: HashMap::default(),
            facts: Import {
                cluster: &self.cluster,
                peers: &self.core.peers,
                installs: self.after.installs(),
            },
            originations: &self.after.originations,
            differ: false,
        };
        for party in parties {
            let Some(peer) = party.peer else { continue };
            let ends = party.effect() == Some(SessionEffect::Ends);
            let after = party.after.filter(|_| !ends);
            let now = &peer.intent.policy.import;
            imports.differ |= after.is_none_or(|after| {
                let allowed = peer.intent.policy.allow_own_as;
                after.policy.import != *now || after.policy.allow_own_as != allowed
            });
            let resets = party.effect() == Some(SessionEffect::Resets);
            let up = peer.up.as_ref().filter(|_| !resets);
            let judged_by = after.map(|after| {
                let intended = after.session.peer_type();
                let peer_type = up.map_or(intended, |up| up.negotiated.peer_type);
                let allowed = after.policy.allow_own_as;
                (party.key, &after.policy.import, peer_type, allowed)
            });
            imports.differ |= resets;
            imports.peers.insert(peer.id, judged_by);
        }
        imports
    }
}

impl Learned {
    /// Notes what would become of a prefix's paths.
    pub(super) fn see<F: RibFamily>(
        &mut self,
        imports: &Imports<'_>,
        limit: usize,
        seen: &Foresight<'_, F>,
    ) {
        let net: IpNet = seen.net.into();
        for path in &seen.paths {
            let Some(peer) = path.info.peer else { continue };
            let ends = imports.peers.get(&peer).is_none_or(Option::is_none);
            let kept = |reason: Option<RejectReason>| Kept {
                reason,
                ..Kept::from(None)
            };
            let shift = match (path.before, path.after) {
                (Ok(()), Ok(())) if !path.edited => continue,
                (Err(_), Err(_)) => continue,
                _ => self.shifts.entry(peer).or_default(),
            };
            match (path.before, path.after) {
                (Err(reason), _) => shift.appear.add(limit, net, || kept(Some(reason))),
                (Ok(()), Err(reason)) => {
                    let reason = (!ends).then_some(reason);
                    shift.go.add(limit, net, || kept(reason));
                }
                (Ok(()), Ok(())) => shift.change.add(limit, net, || kept(None)),
            }
        }
    }

    /// In words, by peer.
    pub(super) fn shown(&self, parties: &[Party<'_>], limit: usize) -> Listed<PlannedImports> {
        let mut listed = Listed::default();
        for party in parties {
            let shift = party.peer.and_then(|peer| self.shifts.get(&peer.id));
            let Some(shift) = shift else { continue };
            if listed.items.len() >= limit {
                listed.more += 1;
                continue;
            }
            listed.items.push(PlannedImports {
                peer: party.name(),
                prefixes: shift.shown(|_, _, _| None),
            });
        }
        listed
    }
}
