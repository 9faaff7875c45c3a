//! Graceful shutdown of this node (RFC 8326): first everything it originates becomes the last choice of whoever hears it,
//! then, when peers have had the time to move, its service addresses go.
//!
//! Pod subnets stay announced to the end, since the node's pods may still run and nobody else can reach them.

use std::collections::BTreeMap;

use dunlin_bgp::policy::{AttrEdits, CommunityValue, PeerType};

use super::Cluster;
use crate::fact::NodeFact;
use crate::intent::{DrainCause, OriginKind};

/// The community GRACEFUL_SHUTDOWN, 65535:0 (RFC 8326 section 3.1).
const GRACEFUL_SHUTDOWN: CommunityValue = CommunityValue::Standard(0xFFFF_0000);

impl Cluster {
    /// Says whether service addresses are withheld because this node is drained. They come back with `false`, whatever the
    /// Node says by then.
    pub fn set_withdrawn(&mut self, withdrawn: bool) {
        if self.services.withdrawn != withdrawn {
            self.services.withdrawn = withdrawn;
            self.services.dirty.all = true;
        }
    }

    /// Why a Node is to be drained, if it is.
    pub(super) fn drain_cause(&self, fact: &NodeFact) -> Option<DrainCause> {
        let on_cordon = self.settings.as_ref().is_some_and(|s| s.drain_on_cordon);
        if fact.drain {
            return Some(DrainCause::Annotation);
        }
        (on_cordon && fact.unschedulable).then_some(DrainCause::Cordon)
    }

    /// Where this node is to be drained, makes what it originates the last choice of a peer (RFC 8326 section 4.2).
    pub(super) fn shut_down_gracefully(
        &self,
        originated: &mut BTreeMap<OriginKind, AttrEdits>,
        peer_type: PeerType,
    ) {
        if self.local.as_ref().is_none_or(|l| l.draining.is_none()) {
            return;
        }
        for edits in originated.values_mut() {
            if peer_type == PeerType::Internal {
                edits.local_pref = Some(0);
            }
            if !edits.add_communities.contains(&GRACEFUL_SHUTDOWN) {
                edits.add_communities.push(GRACEFUL_SHUTDOWN);
            }
        }
    }
}
