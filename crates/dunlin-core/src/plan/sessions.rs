//! What would become of sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::{FieldChange, Plan, PlannedPeer, PlannedSessions, SessionEffect};
use dunlin_intent::{PeerIntent, Remote};

use super::fields::{self, Fields};
use super::node::installation;
use super::{Draft, Party, Wanted};
use crate::peer_config::{NotTried, Restart, peer_config};

/// What would become of a session, why, and why it would not be tried.
pub(super) type Fate = (SessionEffect, Vec<FieldChange>, Option<String>);

type Config = Result<dunlin_bgp::session::PeerConfig, NotTried>;

impl Draft<'_> {
    /// Those with the same fate are told together.
    pub(super) fn sessions(&self, parties: &[Party<'_>], plan: &mut Plan) {
        let mut groups: BTreeMap<Fate, PlannedSessions> = BTreeMap::new();
        for party in parties {
            let Some(fate) = party.fate.clone() else {
                continue;
            };
            let group = groups.entry(fate).or_default();
            group.established += u64::from(party.peer.is_some_and(|peer| peer.is_established()));
            group.peers.add(self.limit, planned_peer(party));
        }
        for ((effect, reasons, not_tried), group) in groups {
            let group = PlannedSessions {
                effect,
                reasons,
                not_tried,
                ..group
            };
            plan.sessions.add(self.limit, group);
        }
    }

    /// Nothing if the session stays as it is.
    pub(super) fn fate(&self, party: &Party<'_>) -> Option<Fate> {
        let (Some(before), Some(after)) = (party.before, party.after) else {
            let effect = match party.after {
                Some(_) => SessionEffect::Starts,
                None => SessionEffect::Ends,
            };
            let not_tried = party
                .after
                .and_then(|intent| self.config(&self.after, intent));
            let not_tried = not_tried.and_then(Result::err);
            return Some((effect, Vec::new(), text(not_tried)));
        };
        if !self.anew && Arc::ptr_eq(before, after) {
            return None;
        }
        let mut reasons = Fields::default();
        fields::session(&mut reasons, [&before.session, &after.session]);
        self.identity(&mut reasons);
        let configs = (
            self.config(&self.before, before)?,
            self.config(&self.after, after)?,
        );
        let effect = match &configs {
            (Ok(_), Err(why)) => {
                return Some((SessionEffect::Ends, reasons.0, text(Some(*why))));
            }
            (Err(_), Ok(_)) => SessionEffect::Starts,
            (Err(_), Err(why)) => {
                let changes = !reasons.0.is_empty();
                return changes.then(|| (SessionEffect::Changes, reasons.0, text(Some(*why))));
            }
            (Ok(old), Ok(new)) if self.resets(party, old, new) || self.exceeds(party, after) => {
                SessionEffect::Resets
            }
            (Ok(_), Ok(_)) if !reasons.0.is_empty() => SessionEffect::Changes,
            (Ok(_), Ok(_)) => SessionEffect::Policy,
        };
        fields::policy(&mut reasons, [before, after]);
        (!reasons.0.is_empty()).then_some((effect, reasons.0, None))
    }

    /// What every OPEN says of this node.
    fn identity(&self, reasons: &mut Fields) {
        if let (Some(before), Some(after)) = (&self.before.local, &self.after.local) {
            let both = [before, after];
            reasons.plain("routerID", both.map(|l| l.router_id));
            reasons.compare(
                "routeInstallation",
                both.map(|l| l.route_installation),
                |mode| Some(installation(*mode).to_owned()),
            );
        }
    }

    pub(super) fn config(&self, wanted: &Wanted, intent: &PeerIntent) -> Option<Config> {
        let local = wanted.local.as_ref()?;
        let core = self.core;
        let place = core.unnumbered.foresee(&core.links, &intent.session.remote);
        let restart = Restart::default();
        Some(peer_config(intent, place, local.router_id, restart))
    }

    /// Whether the peer announces more already than it may then.
    fn exceeds(&self, party: &Party<'_>, after: &PeerIntent) -> bool {
        party
            .peer
            .and_then(|peer| self.core.family_in_excess(peer, after.max_prefixes))
            .is_some()
    }

    /// Whether a session that is up ends because of what it stands on.
    fn resets(
        &self,
        party: &Party<'_>,
        old: &dunlin_bgp::session::PeerConfig,
        new: &dunlin_bgp::session::PeerConfig,
    ) -> bool {
        let up = party.peer.and_then(|peer| peer.up.as_ref());
        let Some(negotiated) = up.map(|up| &up.negotiated) else {
            return false;
        };
        let listen_port = self.before.local.as_ref().map(|local| local.listen_port);
        let dialled = Some(negotiated.local.port()) != listen_port;
        self.anew || old.remote != new.remote || old.must_reset(new, negotiated, dialled)
    }
}

fn text(why: Option<NotTried>) -> Option<String> {
    why.map(|why| why.text().to_owned())
}

fn planned_peer(party: &Party<'_>) -> PlannedPeer {
    let address = match party.peer.and_then(|peer| peer.dynamic) {
        Some(addr) => Some(addr),
        None => match party.after.or(party.before).map(|i| i.session.remote) {
            Some(Remote::Address(addr, _)) => Some(addr),
            Some(Remote::Interface(..)) => party.peer.and_then(|peer| peer.address()),
            _ => None,
        },
    };
    let state = party.peer.map(|peer| match peer.is_range() {
        true => "Listening".to_owned(),
        false => peer.state.to_string(),
    });
    PlannedPeer {
        name: party.name(),
        address,
        state,
    }
}
