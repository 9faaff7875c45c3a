//! What of peers' announcements would be accepted and rejected.

use std::collections::{BTreeMap, HashMap};

use dunlin_api::{Listed, PlannedImports, SessionEffect};
use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::policy::{AttrEdits, RejectReason};
use dunlin_bgp::rib::{Foresight, ImportPolicy, OtherPolicy, RibFamily, SourceInfo};
use dunlin_bgp::wire::Capability;
use dunlin_intent::{
    ImportPolicy as ImportIntent, Origination, PeerIntent, PeerKey, Remote, RemoteAsn,
};
use dunlin_net::{IpNet, PeerId};

use super::Party;
use super::bounded::{Kept, Shift};
use crate::established::external_role;
use crate::peers::Peer;
use crate::policy::{Import, judge_import};

/// What would be known of a peer that is there now.
struct Known<'a> {
    /// What would be learned from it; nothing where its session would end.
    import: Option<(&'a PeerKey, &'a ImportIntent)>,
    /// Of its routes; none where it has none, or its session would end.
    source: Option<SourceInfo>,
    /// It has said what it is to us, and so marks what it is to mark (RFC 9234 5).
    says_role: bool,
}

/// What would be learned from each peer that is there now.
pub(super) struct Imports<'a> {
    peers: HashMap<PeerId, Known<'a>, foldhash::fast::FixedState>,
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
        let known = self.known(source);
        let Some((key, import)) = known.and_then(|known| known.import) else {
            return Err(RejectReason::NoImportFilter);
        };
        judge_import::<F>(import, key, &self.facts, (source, net, attrs, next_hop))
    }
}

impl OtherPolicy for Imports<'_> {
    fn originates<F: RibFamily>(&self, net: F::Net) -> bool {
        self.originations.contains_key(&net.into())
    }

    fn source<'s>(&'s self, now: &'s SourceInfo) -> &'s SourceInfo {
        let known = self.known(now);
        known.and_then(|known| known.source.as_ref()).unwrap_or(now)
    }

    fn marks_itself(&self, source: &SourceInfo) -> bool {
        self.known(source).is_some_and(|known| known.says_role)
    }
}

impl<'a> Imports<'a> {
    fn known(&self, source: &SourceInfo) -> Option<&Known<'a>> {
        self.peers.get(&source.peer?)
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
            let routing = self.core.routing.as_ref();
            let now = routing
                .zip(peer.source)
                .and_then(|(r, id)| r.rib.source(id));
            let resets = party.effect() == Some(SessionEffect::Resets);
            let stays = peer.is_established() && !resets;
            let source = now
                .zip(after)
                .map(|(now, after)| source_then(now, peer, after, stays));
            let import = &peer.intent.policy.import;
            let same_import = after.is_some_and(|after| after.policy.import == *import);
            imports.differ |= resets || !same_import || source.as_ref() != now;
            let negotiated = peer.up.as_ref().map(|up| &up.negotiated);
            let says_role = negotiated.is_some_and(|negotiated| {
                let mut said = negotiated.capabilities.iter();
                said.any(|capability| matches!(capability, Capability::Role(_)))
            });
            let known = Known {
                import: after.map(|after| (party.key, &after.policy.import)),
                source,
                says_role,
            };
            imports.peers.insert(peer.id, known);
        }
        imports
    }
}

/// What would be known of a peer's routes, by the session that is up if it stays.
fn source_then(now: &SourceInfo, peer: &Peer, after: &PeerIntent, stays: bool) -> SourceInfo {
    let mut then = SourceInfo {
        allow_own_as: after.policy.allow_own_as,
        reflector_client: after.reflector_client,
        ..now.clone()
    };
    let session = &after.session;
    if !stays {
        then.peer_type = session.peer_type();
        then.local_asn = session.local_asn;
        if let RemoteAsn::Exactly(asn) = session.remote_asn {
            then.remote_asn = asn;
        }
        if let (None, Remote::Address(addr, _)) = (peer.dynamic, session.remote) {
            then.remote_addr = addr;
        }
    }
    then.role = external_role(then.peer_type, after);
    then
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
            let known = imports.peers.get(&peer);
            let ends = known.is_none_or(|known| known.import.is_none());
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
